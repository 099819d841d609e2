//! Inline requests: one line of words, as a person types it. The rules of quoting are Redis':
//!
//! - Blanks between words: space, tab, CR, LF, vertical tab, form feed; a word ends at space, tab, CR, LF only.
//! - `"..."` may begin anywhere in a word; in it `\n \r \t \b \a`, `\xHH`, and `\c` for any other byte c.
//! - `'...'` likewise; in it only `\'`.
//! - A closing quote ends its word: a blank or the line's end must follow.

use super::args::ArgRange;

/// Splits `line` (without its newline) into `words`, the unquoted bytes one after the other in `scratch`.
/// `None`: a quote that does not close, or that closes inside a word.
pub(super) fn split(line: &[u8], scratch: &mut Vec<u8>, words: &mut Vec<ArgRange>) -> Option<()> {
    scratch.clear();
    words.clear();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        (_, rest) = rest.split_at_checked(blanks)?;
        if rest.is_empty() {
            return Some(());
        }
        let start = position(scratch);
        rest = word(rest, scratch)?;
        words.push((start, position(scratch)));
    }
}

/// The words of a line that a person has typed, each by itself; `None` as in [`split`].
pub(crate) fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut scratch, mut ranges) = (Vec::new(), Vec::new());
    split(line, &mut scratch, &mut ranges)?;
    let word = |&(from, to): &ArgRange| scratch.get(from as usize..to as usize).map(<[u8]>::to_vec);
    ranges.iter().map(word).collect()
}

/// The first word of a line, quotes not looked at.
pub(super) fn first_word(line: &[u8]) -> &[u8] {
    line.split(|byte| is_blank(*byte)).find(|word| !word.is_empty()).unwrap_or_default()
}

/// Appends one word to `out`; answers what follows it.
fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => return Some(rest),
            b'"' => return closed(double_quoted(tail, out)?),
            b'\'' => return closed(single_quoted(tail, out)?),
            _ => out.push(byte),
        }
        rest = tail;
    }
    Some(rest)
}

fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_blank(*byte)).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                out.push(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// C's `isspace`: with the vertical tab, which Rust leaves out.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[expect(clippy::cast_possible_truncation, reason = "a line is at most LINE_BYTES_MAX long")]
fn position(scratch: &[u8]) -> u32 {
    scratch.len() as u32
}
