//! A client's bytes.
//!
//! Input: a byte of flags, four bytes that say where the stream is cut, the stream. In the stream `RUN n b` stands for n KiB of
//! the byte b, so that a short input reaches the limits of 16 and 64 KiB.
//!
//! What holds: the commands and the error do not depend on the cuts; an error is final; a command written as a request is read
//! as the same command; every refusal is one line of bounded length.

use crate::command::{check, info_sections, resolve};
use crate::glob::{Case, matches};
use crate::limits::{ERROR_ARG_BYTES, ERROR_BYTES_MAX};
use crate::resp::{Args, Parsed, Parser, ParserLimits, ProtocolError, writer};

/// Begins a run in the stream: the bytes in KiB, the byte. A run of nothing is this byte itself.
const RUN: u8 = 0xff;
/// Longest run, in KiB: above the longest line.
const RUN_KIB_MAX: usize = 80;
/// Longest stream, in bytes.
const STREAM_BYTES_MAX: usize = 256 << 10;
/// Longest bulk string when commands are read again, in bytes: a whole stream.
const AGAIN_BULK_BYTES_MAX: u32 = 256 << 10;
/// Longest bulk string that is taken, in bytes: small, so that runs reach it.
const BULK_BYTES_MAX: u32 = 128 << 10;
/// Longest request, in bytes: two of the longest bulk strings are one too many.
const REQUEST_BYTES_MAX: u32 = 200 << 10;
/// A stream up to this length is cut at every byte, too.
const EVERY_BYTE_MAX: usize = 2 << 10;

type Commands = Vec<Vec<Vec<u8>>>;

/// See the module's head.
///
/// # Panics
/// If something does not hold.
pub fn resp(input: &[u8]) {
    let Some((&flags, rest)) = input.split_first() else { return };
    let Some((cuts, rest)) = rest.split_first_chunk::<4>() else { return };
    let limits = match flags & 1 {
        0 => ParserLimits {
            request_bytes_max: REQUEST_BYTES_MAX,
            ..ParserLimits::new(BULK_BYTES_MAX)
        },
        _ => ParserLimits::before_auth(BULK_BYTES_MAX),
    };
    let stream = stream(rest);
    let whole = drive(limits, &stream, &mut |left| left);
    let mut state = u32::from_le_bytes(*cuts) | 1;
    let cut = drive(limits, &stream, &mut |_| {
        // xorshift: short pieces mostly, now and then a long one.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let shift = [4, 9, 14, 17][(state >> 30) as usize];
        (state & ((1 << shift) - 1)) as usize + 1
    });
    assert!(whole == cut, "the cuts show");
    if stream.len() <= EVERY_BYTE_MAX {
        assert!(whole == drive(limits, &stream, &mut |_| 1), "a cut at every byte shows");
    }
    let (commands, error, _) = whole;
    again(&commands);
    for words in &commands {
        refused(words);
    }
    if let Some(error) = error {
        let mut out = Vec::new();
        error.write(&mut out);
        is_one_error(&out, error == ProtocolError::CrossProtocol);
    }
}

fn stream(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (RUN, [kib, byte, tail @ ..]) if *kib > 0 => {
                let len = (usize::from(*kib).min(RUN_KIB_MAX) << 10) - usize::from(*byte & 1);
                out.resize((out.len() + len).min(STREAM_BYTES_MAX), *byte);
                rest = tail;
            }
            (RUN, [_, tail @ ..]) => {
                out.push(RUN);
                rest = tail;
            }
            _ => out.push(byte),
        }
    }
    out.truncate(STREAM_BYTES_MAX);
    out
}

/// What a connection makes of the stream, in pieces of `next` bytes, which is told how many are left: the commands, the error,
/// and the bytes that are no whole request.
fn drive(
    limits: ParserLimits,
    stream: &[u8],
    next: &mut dyn FnMut(usize) -> usize,
) -> (Commands, Option<ProtocolError>, usize) {
    let mut parser = Parser::new(limits);
    let (mut commands, mut from, mut to) = (Commands::new(), 0, 0);
    while to < stream.len() {
        to += next(stream.len() - to).min(stream.len() - to);
        loop {
            let input = stream.get(from..to).unwrap_or_default();
            match parser.parse(input) {
                Err(error) => {
                    assert_eq!(parser.parse(b"*1\r\n$4\r\nPING\r\n"), Err(error), "final");
                    return (commands, Some(error), 0);
                }
                Ok(Parsed::Incomplete) => break,
                Ok(Parsed::Empty { consumed }) => from += taken(consumed, input),
                Ok(Parsed::Command { consumed }) => {
                    commands.push(parser.args(input).iter().map(<[u8]>::to_vec).collect());
                    from += taken(consumed, input);
                }
            }
        }
    }
    (commands, None, stream.len() - from)
}

/// Something was consumed, and no more than there is: else this would not end.
fn taken(consumed: usize, input: &[u8]) -> usize {
    assert!((1..=input.len()).contains(&consumed), "{consumed} of {}", input.len());
    consumed
}

/// The commands as requests, and read again. An inline word may be longer than a bulk string before login: the wide limits.
fn again(commands: &Commands) {
    let mut out = Vec::new();
    for words in commands {
        writer::array(&mut out, words.len());
        for word in words {
            writer::bulk(&mut out, word);
        }
    }
    let (read, error, rest) = drive(ParserLimits::new(AGAIN_BULK_BYTES_MAX), &out, &mut |n| n);
    assert!(read == *commands && error.is_none() && rest == 0, "{error:?}, {rest} bytes are left");
}

/// The command's way up to the first thing that needs a shard.
fn refused(words: &[Vec<u8>]) {
    let mut data = Vec::new();
    let mut ranges = Vec::new();
    for word in words {
        let start = u32::try_from(data.len()).expect("a request is below 4 GiB");
        data.extend_from_slice(word);
        ranges.push((start, u32::try_from(data.len()).expect("a request is below 4 GiB")));
    }
    let args = Args::new(&data, &ranges);
    let mut out = Vec::new();
    match resolve(args) {
        Err(refusal) => {
            let flow = refusal.write(args, &mut out);
            is_one_error(&out, flow == crate::command::Flow::CloseSilently);
        }
        Ok(spec) => {
            if let Err(error) = check(spec, args) {
                error.write(&mut out);
                return is_one_error(&out, false);
            }
            assert!(spec.key_positions(args.len()).all(|position| position < args.len()));
            let _sections = info_sections(args);
        }
    }
    if let [pattern, text, ..] = words {
        let text = text.get(..ERROR_BYTES_MAX).unwrap_or(text);
        // A class that excludes may match less when the case does not count: only that both end.
        for case in [Case::Sensitive, Case::Ignored] {
            let _found = matches(pattern, text, case);
        }
    }
}

/// One error reply: a line, no control bytes in it, no longer than its limits allow. `silent`: nothing.
fn is_one_error(out: &[u8], silent: bool) {
    if silent {
        return assert!(out.is_empty(), "a silent refusal speaks");
    }
    let text = out.strip_prefix(b"-").and_then(|out| out.strip_suffix(b"\r\n"));
    let text = text.expect("an error reply is one line");
    assert!(!text.iter().any(u8::is_ascii_control), "{}", text.escape_ascii());
    assert!(text.len() <= ERROR_BYTES_MAX + 3 * ERROR_ARG_BYTES, "{} bytes of error", text.len());
}
