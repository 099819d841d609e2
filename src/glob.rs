//! Patterns as Redis knows them: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\` before a literal byte.
//!
//! No recursion, and one place to go back to: at most pattern x text steps, whatever the pattern (CVE-2022-36021,
//! CVE-2024-31228).

use crate::limits::GLOB_BYTES_MAX;

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Ignored,
}

/// Appends to `pattern` what matches `bytes` and nothing else.
pub fn push_literal(pattern: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        if b"*?[]\\^-".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
}

/// The pattern of what begins with `prefix`.
pub fn of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    push_literal(&mut pattern, prefix);
    pattern.push(b'*');
    pattern
}

/// Whether `text` matches `pattern` from end to end. A pattern above `GLOB_BYTES_MAX` matches nothing.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if pattern.len() > GLOB_BYTES_MAX {
        return false;
    }
    let (mut rest, mut left) = (pattern, text);
    // Behind the last star, and the text it has not swallowed yet.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            if after.is_empty() {
                return true;
            }
            retry = Some((after, left));
            rest = after;
            continue;
        }
        let stepped = match left.split_first() {
            None if rest.is_empty() => return true,
            // Nothing left to swallow: what is behind a star cannot match later either.
            None => return false,
            Some((&byte, tail)) => one(rest, byte, case).map(|rest| (rest, tail)),
        };
        (rest, left) = match (stepped, retry) {
            (Some(step), _) => step,
            (None, Some((after, [_, tail @ ..]))) => {
                retry = Some((after, tail));
                (after, tail)
            }
            (None, _) => return false,
        };
    }
}

/// Matches one byte against the pattern's first item: the pattern behind it.
fn one(pattern: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte, case),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            same(*literal, byte, case).then_some(rest)
        }
    }
}

/// A class behind its `[`; one that does not close ends with the pattern.
fn class(mut pattern: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    let mut negated = false;
    if let [b'^', rest @ ..] = pattern {
        negated = true;
        pattern = rest;
    }
    let mut found = false;
    loop {
        pattern = match pattern {
            [] => break,
            [b']', rest @ ..] => {
                pattern = rest;
                break;
            }
            [b'\\', literal, rest @ ..] => {
                found |= same(*literal, byte, case);
                rest
            }
            [from, b'-', to, rest @ ..] => {
                let (low, high, byte) = (fold(*from, case), fold(*to, case), fold(byte, case));
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= same(*literal, byte, case);
                rest
            }
        }
    }
    (found != negated).then_some(pattern)
}

fn same(a: u8, b: u8, case: Case) -> bool {
    fold(a, case) == fold(b, case)
}

fn fold(byte: u8, case: Case) -> u8 {
    match case {
        Case::Sensitive => byte,
        Case::Ignored => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_each_kind() {
        let yes: &[(&str, &str)] = &[
            ("", ""),
            ("*", ""),
            ("*", "any"),
            ("a*c", "abcbc"),
            ("*a*b*", "xxayyb"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("h[\\]]llo", "h]llo"),
            ("\\*", "*"),
            ("a\\", "a\\"),
            ("[ab", "b"),
            ("save", "SAVE"),
        ];
        let no: &[(&str, &str)] = &[
            ("", "a"),
            ("?", ""),
            ("a*c", "abcd"),
            ("h[^a]llo", "hallo"),
            ("\\*", "a"),
            ("[]", "a"),
            ("**?", ""),
        ];
        for (pattern, text) in yes {
            assert!(
                matches(pattern.as_bytes(), text.as_bytes(), Case::Ignored),
                "{pattern} {text}"
            );
        }
        for (pattern, text) in no {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes(), Case::Ignored),
                "{pattern} {text}"
            );
        }
        assert!(!matches(b"save", b"SAVE", Case::Sensitive));
    }

    #[test]
    fn no_pattern_takes_long() {
        // Exponential in a matcher that tries every star.
        let pattern = "a*".repeat(GLOB_BYTES_MAX / 2);
        let text = "a".repeat(2_000) + "b";
        assert!(matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive));
        let pattern = "a*".repeat(GLOB_BYTES_MAX / 2 - 1) + "c";
        assert!(!matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive));
        assert!(!matches(&[b'*'; GLOB_BYTES_MAX + 1], b"a", Case::Sensitive));
    }

    #[test]
    fn a_prefix_is_taken_by_its_bytes() {
        assert_eq!(of_prefix(b"user:"), b"user:*");
        assert_eq!(of_prefix(br"a*[b]?\^-"), br"a\*\[b\]\?\\\^\-*");
        for prefix in [&b"a*b"[..], b"[x]", b"[a-z]", b"\\", b"^-?", b"\xff", b"a*[b]?\\^-"] {
            let pattern = of_prefix(prefix);
            let key = [prefix, b"more"].concat();
            assert!(matches(&pattern, &key, Case::Sensitive), "{}", prefix.escape_ascii());
            assert!(matches(&pattern, prefix, Case::Sensitive), "{}", prefix.escape_ascii());
            assert!(!matches(&pattern, b"axb?\\^-", Case::Sensitive), "{}", prefix.escape_ascii());
        }
    }
}
