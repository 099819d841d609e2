//! Bytes to commands: one pass, no copy, resumable at any byte.
//!
//! # Steps
//! 1. The first byte decides: `*` begins a request of bulk strings, anything else a line.
//! 2. A count or length line is read by [`quick_number`] where it is short, plain and whole; all else goes through
//!    [`Parser::line`], which remembers how far it has searched for the line's end.
//! 3. A bulk string is only compared with the input's length until it is whole; its bytes are never looked at.
//!
//! # Invariants
//! - The result for some input does not depend on how it was split: every decision looks at bytes that belong to the
//!   current item, and is taken once these are all there.
//! - No byte is searched twice. `at` and `searched` only grow within one command.
//! - After an error the parser answers that error for ever.

use super::args::{ArgRange, Args};
use super::error::ProtocolError;
use super::inline;
use crate::limits::{
    ARG_SLOTS_RESERVED, ARGS_BEFORE_AUTH_MAX, ARGS_MAX, BULK_BYTES_BEFORE_AUTH_MAX, BULK_BYTES_CAP,
    LINE_BYTES_MAX, PARSER_KEEP, REQUEST_BYTES_BEFORE_AUTH_MAX, REQUEST_SLACK_BYTES,
};

/// Shortest bulk string on the wire: `$0`, CRLF, CRLF.
const BULK_WIRE_BYTES_MIN: usize = 6;

/// What one connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParserLimits {
    /// Longest bulk string, in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: u32,
    /// Longest request, in bytes: what one connection can make the server hold.
    pub request_bytes_max: u32,
    /// Whether the stricter figures before login hold.
    pub before_auth: bool,
}

impl ParserLimits {
    /// Of a client that is logged in, or needs no login.
    pub fn new(bulk_bytes_max: u32) -> Self {
        assert!(bulk_bytes_max <= BULK_BYTES_CAP);
        let request_bytes_max = bulk_bytes_max + REQUEST_SLACK_BYTES;
        Self { bulk_bytes_max, request_bytes_max, before_auth: false }
    }

    /// Of a client that has not logged in yet.
    pub fn before_auth(bulk_bytes_max: u32) -> Self {
        Self {
            request_bytes_max: REQUEST_BYTES_BEFORE_AUTH_MAX,
            before_auth: true,
            ..Self::new(bulk_bytes_max)
        }
    }
}

/// What the input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Parsed {
    /// More bytes are needed: call again with the same bytes and those that came since.
    Incomplete,
    /// Nothing to do (a blank line, an empty request): drop `consumed` bytes, call again.
    Empty { consumed: usize },
    /// One command, its arguments in [`Parser::args`]: then drop `consumed` bytes, call again.
    Command { consumed: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first byte of a request.
    Start,
    /// In an inline request.
    Inline,
    /// In the line that counts the arguments.
    Count,
    /// In the line of a bulk string's length.
    Length,
    /// In a bulk string of that length, or in the CRLF behind it.
    Bulk(u32),
}

/// The parser of one connection. It holds no input: the caller shows it the bytes from the current request's first.
#[derive(Debug)]
pub struct Parser {
    limits: ParserLimits,
    phase: Phase,
    /// Where the current item begins in the input.
    at: usize,
    /// Bytes of the current line that hold no line end.
    searched: usize,
    /// Arguments still to come, the current one included.
    left: u32,
    ranges: Vec<ArgRange>,
    /// The arguments' bytes if the command was inline (unquoting moves them).
    scratch: Vec<u8>,
    is_inline: bool,
    failed: Option<ProtocolError>,
}

/// A count or length line.
enum Line {
    More,
    TooLong,
    /// No plain number before the CR, or no LF behind it.
    Bad,
    Number {
        value: i64,
        next: usize,
    },
}

impl Parser {
    pub fn new(limits: ParserLimits) -> Self {
        Self {
            limits,
            phase: Phase::Start,
            at: 0,
            searched: 0,
            left: 0,
            ranges: Vec::new(),
            scratch: Vec::new(),
            is_inline: false,
            failed: None,
        }
    }

    /// Other limits from the next request on (after login).
    pub fn set_limits(&mut self, limits: ParserLimits) {
        self.limits = limits;
    }

    /// Looks for one command at the start of `input`, which holds the same bytes as in the last call that answered
    /// [`Parsed::Incomplete`], and more. Costs nothing for bytes already seen.
    ///
    /// # Errors
    /// The connection is to be closed after [`ProtocolError::write`]; later calls answer the same.
    #[inline]
    pub fn parse(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let parsed = self.advance(input);
        if let Err(error) = parsed {
            self.failed = Some(error);
        }
        parsed
    }

    /// The arguments of the command that [`Parser::parse`] found in this very `input`; valid until its next call.
    #[inline]
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        debug_assert_eq!(self.phase, Phase::Start, "a command that is not whole");
        Args::new(if self.is_inline { &self.scratch } else { input }, &self.ranges)
    }

    /// Bytes that must still come before the request can be whole, given `input_bytes` of it; at least 1. It is what
    /// the client claims: grow towards it as bytes arrive, do not reserve it at once.
    pub fn needed_hint(&self, input_bytes: usize) -> usize {
        let after = (self.left as usize).saturating_sub(1) * BULK_WIRE_BYTES_MIN;
        match self.phase {
            Phase::Start | Phase::Inline | Phase::Count => 1,
            Phase::Length => after + 1,
            Phase::Bulk(len) => (self.at + len as usize + 2 + after).saturating_sub(input_bytes),
        }
        .max(1)
    }

    /// Whether a request has begun and is not whole.
    pub fn in_request(&self) -> bool {
        self.phase != Phase::Start
    }

    /// Argument slots held.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.ranges.capacity()
    }

    #[inline]
    fn advance(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        if self.phase == Phase::Start {
            match input.first() {
                None => return Ok(Parsed::Incomplete),
                Some(b'*') => self.begin(Phase::Count),
                Some(_) => self.begin(Phase::Inline),
            }
        }
        if self.phase == Phase::Inline {
            return self.inline(input);
        }
        if self.phase == Phase::Count {
            match self.count(input)? {
                Some(parsed) => return Ok(parsed),
                None => self.phase = Phase::Length,
            }
        }
        self.bulks(input)
    }

    #[inline]
    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.at = 0;
        self.searched = 0;
        self.is_inline = phase == Phase::Inline;
        self.ranges.clear();
        if self.ranges.capacity() > PARSER_KEEP {
            self.ranges.shrink_to(ARG_SLOTS_RESERVED);
        }
        if self.scratch.capacity() > PARSER_KEEP {
            self.scratch = Vec::new();
        }
    }

    /// The line `*N`. `None`: N arguments follow.
    #[inline]
    fn count(&mut self, input: &[u8]) -> Result<Option<Parsed>, ProtocolError> {
        let (value, next) = match quick_number(input.get(1..).unwrap_or_default()) {
            Some((value, bytes)) => (i64::from(value), 1 + bytes),
            None => match self.line(input) {
                Line::More => return Ok(Some(Parsed::Incomplete)),
                Line::TooLong => return Err(ProtocolError::CountTooLong),
                Line::Bad => return Err(ProtocolError::InvalidCount),
                Line::Number { value, next } => (value, next),
            },
        };
        if value <= 0 {
            self.phase = Phase::Start;
            return Ok(Some(Parsed::Empty { consumed: next }));
        }
        let count = u32::try_from(value).unwrap_or(u32::MAX);
        if count > ARGS_MAX {
            return Err(ProtocolError::InvalidCount);
        }
        if self.limits.before_auth && count > ARGS_BEFORE_AUTH_MAX {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        self.left = count;
        self.ranges.reserve(ARG_SLOTS_RESERVED.min(count as usize));
        self.at = next;
        self.searched = 0;
        Ok(None)
    }

    #[inline]
    fn bulks(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        loop {
            let len = match self.phase {
                Phase::Bulk(len) => len,
                _ => match self.length(input)? {
                    Some(len) => len,
                    None => return Ok(Parsed::Incomplete),
                },
            };
            let end = self.at + len as usize;
            match input.get(end..end + 2) {
                None => {
                    self.phase = Phase::Bulk(len);
                    return Ok(Parsed::Incomplete);
                }
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::MissingNewline),
            }
            // No truncation: `length` has compared the end with `request_bytes_max`, a u32.
            #[expect(clippy::cast_possible_truncation, reason = "checked by `length`")]
            self.ranges.push((self.at as u32, end as u32));
            self.at = end + 2;
            self.left -= 1;
            if self.left == 0 {
                self.phase = Phase::Start;
                return Ok(Parsed::Command { consumed: self.at });
            }
            self.phase = Phase::Length;
        }
    }

    /// The line `$N`. `None`: more bytes are needed.
    #[inline]
    fn length(&mut self, input: &[u8]) -> Result<Option<u32>, ProtocolError> {
        let line = input.get(self.at..).unwrap_or_default();
        let quick = match line {
            [b'$', digits @ ..] => quick_number(digits),
            _ => None,
        };
        let (len, next) = match quick {
            Some((value, bytes)) => (value, self.at + 1 + bytes),
            None => match self.slow_length(input)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if len > self.limits.bulk_bytes_max {
            return Err(ProtocolError::InvalidLength);
        }
        if self.limits.before_auth && len > BULK_BYTES_BEFORE_AUTH_MAX {
            return Err(ProtocolError::UnauthenticatedLength);
        }
        let max = self.limits.request_bytes_max;
        if next + len as usize + 2 > max as usize {
            return Err(ProtocolError::RequestTooLong { max });
        }
        self.at = next;
        self.searched = 0;
        Ok(Some(len))
    }

    #[cold]
    fn slow_length(&mut self, input: &[u8]) -> Result<Option<(u32, usize)>, ProtocolError> {
        let line = self.line(input);
        if matches!(line, Line::More) {
            return Ok(None);
        }
        if matches!(line, Line::TooLong) {
            return Err(ProtocolError::LengthTooLong);
        }
        match (input.get(self.at), line) {
            (Some(b'$'), Line::Number { value, next }) => {
                let len = u32::try_from(value).map_err(|_| ProtocolError::InvalidLength)?;
                Ok(Some((len, next)))
            }
            (Some(b'$') | None, _) => Err(ProtocolError::InvalidLength),
            (Some(&got), _) => Err(ProtocolError::ExpectedBulk { got }),
        }
    }

    /// The number after the first byte of the line at `at`, found by its CR and checked byte by byte.
    #[cold]
    fn line(&mut self, input: &[u8]) -> Line {
        let line = input.get(self.at..).unwrap_or_default();
        let Some(cr) = search(line, b'\r', &mut self.searched) else {
            return if line.len() > LINE_BYTES_MAX { Line::TooLong } else { Line::More };
        };
        match line.get(cr + 1) {
            None => Line::More,
            Some(b'\n') => match line.get(1..cr).and_then(strict_number) {
                Some(value) => Line::Number { value, next: self.at + cr + 2 },
                None => Line::Bad,
            },
            Some(_) => Line::Bad,
        }
    }

    #[cold]
    fn inline(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        let Some(newline) = search(input, b'\n', &mut self.searched) else {
            let too_long = input.len() > LINE_BYTES_MAX;
            return if too_long {
                Err(ProtocolError::InlineTooLong)
            } else {
                Ok(Parsed::Incomplete)
            };
        };
        let line = input.get(..newline).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first = inline::first_word(line);
        if is_http(first) {
            return Err(ProtocolError::CrossProtocol);
        }
        if inline::split(line, &mut self.scratch, &mut self.ranges).is_none() {
            return Err(ProtocolError::UnbalancedQuotes);
        }
        if self.limits.before_auth && self.ranges.len() > ARGS_BEFORE_AUTH_MAX as usize {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        self.phase = Phase::Start;
        let consumed = newline + 1;
        if self.ranges.is_empty() {
            return Ok(Parsed::Empty { consumed });
        }
        Ok(Parsed::Command { consumed })
    }
}

/// Whether a command's name is that of an HTTP request's first or second line.
pub(crate) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Up to three digits and CRLF, in the one canonical form: the number, and the bytes read. `None` says nothing: the line
/// may be longer, broken or not all there. Patterns, not a loop: nearly every line of real traffic ends here.
#[inline]
pub(super) fn quick_number(line: &[u8]) -> Option<(u32, usize)> {
    let digit = |byte: u8| u32::from(byte - b'0');
    match *line {
        [a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(a), 3)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(a) * 10 + digit(b), 4)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 5))
        }
        _ => None,
    }
}

/// A decimal number in its one canonical form, as Redis takes it: no plus, no leading zero, no "-0", 64 bits.
pub(crate) fn strict_number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let negative = digits.len() < text.len();
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0_i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        let digit = i64::from(digit);
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit) } else { value.checked_add(digit) }?;
    }
    Some(value)
}

/// The first `byte` among the first `LINE_BYTES_MAX + 1` of `line`, going on after what was searched before.
fn search(line: &[u8], byte: u8, searched: &mut usize) -> Option<usize> {
    let window = line.get(..line.len().min(LINE_BYTES_MAX + 1)).unwrap_or_default();
    let from = (*searched).min(window.len());
    let found = memchr::memchr(byte, window.get(from..).unwrap_or_default());
    *searched = found.map_or(window.len(), |index| from + index);
    found.map(|index| from + index)
}
