//! Where a request begins and ends, seen before hyper sees it: what two readers could take for different requests is refused.
//! hyper's own reader is kind to some of that (a bare LF, a second equal length, a length beside chunks).
//!
//! Pure: bytes in, bytes that may go on out. A head is held back until it is whole and has been looked at.
//!
//! # Invariants
//! - Nothing follows a refusal: in its place goes a request that the service answers with it, and then the end.
//! - One verdict for each head that goes on, in their order.

use std::borrow::Cow;
use std::collections::VecDeque;

use hyper::StatusCode;
use memchr::memmem;

use crate::limits::{
    HTTP_CHUNK_LINE_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_TRAILER_BYTES_MAX,
};

/// What goes on in the place of a head that is refused; the verdict tells what to answer.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why a head is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: Cow<'static, str>,
}

fn bad(text: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, text: text.into() }
}

/// What is known of a head that went on.
pub(super) type Verdict = Result<(), Refusal>;

/// A body is not what its head says; there is no way to find the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenBody;

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: between two requests.
    Idle,
    Head,
    Body,
    /// Nothing more is taken.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// A body of which so much is to come.
    Sized(u64),
    /// The line before a chunk.
    ChunkLine,
    Chunk(u64),
    /// CR LF behind a chunk; how much of it was seen.
    ChunkEnd(usize),
    /// Lines behind the last chunk, up to an empty one.
    Trailer,
    Ended,
}

/// One connection's input.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// A head or a line that is not whole.
    held: Vec<u8>,
    /// Up to here it has no end.
    searched: usize,
}

impl Default for Framing {
    fn default() -> Self {
        Self { state: State::Head, held: Vec::new(), searched: 0 }
    }
}

impl Framing {
    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Head if self.held.is_empty() => Phase::Idle,
            State::Head => Phase::Head,
            State::Ended => Phase::Ended,
            _ => Phase::Body,
        }
    }

    /// Takes `bytes`; what may go on is appended to `out`.
    ///
    /// # Errors
    /// A body has another form than it must have.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        verdicts: &mut VecDeque<Verdict>,
    ) -> Result<(), BrokenBody> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Ended => return Ok(()),
                State::Head => self.head(bytes, out, verdicts),
                State::Sized(left) => {
                    let (now, rest) = part(bytes, left);
                    out.extend_from_slice(now);
                    let left = left - now.len() as u64;
                    self.state = if left == 0 { State::Head } else { State::Sized(left) };
                    rest
                }
                State::ChunkLine => self.chunk_line(bytes, out)?,
                State::Chunk(left) => {
                    let (now, rest) = part(bytes, left);
                    out.extend_from_slice(now);
                    let left = left - now.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd(0) } else { State::Chunk(left) };
                    rest
                }
                State::ChunkEnd(seen) => {
                    if bytes[0] != b"\r\n"[seen] {
                        return Err(self.broken());
                    }
                    out.push(bytes[0]);
                    self.state = if seen == 1 { State::ChunkLine } else { State::ChunkEnd(1) };
                    &bytes[1..]
                }
                State::Trailer => self.trailer(bytes, out)?,
            };
        }
        Ok(())
    }

    /// In place of what was being read, and of all that follows, goes a request that is answered with `refusal`.
    pub(super) fn refuse(
        &mut self,
        refusal: Refusal,
        out: &mut Vec<u8>,
        verdicts: &mut VecDeque<Verdict>,
    ) {
        verdicts.push_back(Err(refusal));
        out.extend_from_slice(STAND_IN);
        self.state = State::Ended;
        self.held = Vec::new();
    }

    fn broken(&mut self) -> BrokenBody {
        self.state = State::Ended;
        self.held = Vec::new();
        BrokenBody
    }

    fn head<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
        verdicts: &mut VecDeque<Verdict>,
    ) -> &'a [u8] {
        // What some clients send behind a body.
        if self.held.is_empty() && matches!(bytes[0], b'\r' | b'\n') {
            return &bytes[1..];
        }
        let before = self.held.len();
        let room = HTTP_HEAD_BYTES_MAX + 1 - before;
        let (taken, _) = part(bytes, room as u64);
        self.held.extend_from_slice(taken);
        let from = self.searched.saturating_sub(3);
        let Some(at) = memmem::find(&self.held[from..], b"\r\n\r\n") else {
            let searched = std::mem::replace(&mut self.searched, self.held.len());
            if self.held.len() > HTTP_HEAD_BYTES_MAX {
                self.refuse(too_large(), out, verdicts);
            } else if let Some(refusal) = self.bare_line_end(searched) {
                self.refuse(refusal, out, verdicts);
            }
            return &bytes[taken.len()..];
        };
        let end = from + at + 4;
        let rest = &bytes[end - before..];
        self.held.truncate(end);
        self.searched = 0;
        if end > HTTP_HEAD_BYTES_MAX {
            self.refuse(too_large(), out, verdicts);
            return rest;
        }
        match body_of(&self.held) {
            Ok(state) => {
                verdicts.push_back(Ok(()));
                out.extend_from_slice(&self.held);
                self.held.clear();
                self.state = state;
            }
            Err(refusal) => self.refuse(refusal, out, verdicts),
        }
        rest
    }

    /// A head that ends with bare LFs would never end for us: told at once, before its time is over.
    fn bare_line_end(&self, mut from: usize) -> Option<Refusal> {
        while let Some(at) = memchr::memchr(b'\n', &self.held[from..]) {
            let at = from + at;
            if at == 0 || self.held[at - 1] != b'\r' {
                return Some(bad("a line ends with LF instead of CR LF"));
            }
            from = at + 1;
        }
        None
    }

    /// Up to the end of the line; `None`: it is not there yet.
    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        bytes_max: usize,
    ) -> Result<(Option<Vec<u8>>, &'a [u8]), BrokenBody> {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let (now, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.held.len() + now.len() > bytes_max {
            return Err(self.broken());
        }
        self.held.extend_from_slice(now);
        if end.is_none() {
            return Ok((None, rest));
        }
        if !self.held.ends_with(b"\r\n") || self.held[..self.held.len() - 2].contains(&b'\r') {
            return Err(self.broken());
        }
        Ok((Some(std::mem::take(&mut self.held)), rest))
    }

    fn chunk_line<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], BrokenBody> {
        let (line, rest) = self.line(bytes, HTTP_CHUNK_LINE_BYTES_MAX)?;
        let Some(line) = line else { return Ok(rest) };
        let size = line[..line.len() - 2].split(|byte| *byte == b';').next().unwrap_or_default();
        // 15 digits: no sum of two of them overflows.
        let is_plain = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(size).ok().filter(|_| is_plain);
        let Some(size) = size.and_then(|size| u64::from_str_radix(size, 16).ok()) else {
            return Err(self.broken());
        };
        out.extend_from_slice(&line);
        self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
        Ok(rest)
    }

    fn trailer<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], BrokenBody> {
        let (line, rest) = self.line(bytes, HTTP_TRAILER_BYTES_MAX)?;
        let Some(line) = line else { return Ok(rest) };
        if line == b"\r\n" {
            out.extend_from_slice(&line);
            self.state = State::Head;
        } else if !is_header(&line[..line.len() - 2]) {
            return Err(self.broken());
        }
        // A trailer means nothing here: it does not go on.
        Ok(rest)
    }
}

fn too_large() -> Refusal {
    Refusal {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        text: format!(
            "the head is longer than {HTTP_HEAD_BYTES_MAX} bytes or has more than {HTTP_HEADERS_MAX} headers"
        )
        .into(),
    }
}

/// The first `most` bytes, and the rest.
fn part(bytes: &[u8], most: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()))
}

/// Looks at a whole head; answers what follows it.
fn body_of(head: &[u8]) -> Result<State, Refusal> {
    let mut lines = Lines { rest: &head[..head.len() - 2] };
    let request = lines.next().ok_or_else(|| bad("an empty head"))??;
    let is_http_10 = is_http_10(request)?;
    let mut length = None;
    let mut is_chunked = false;
    let mut headers = 0;
    for line in lines {
        let line = line?;
        headers += 1;
        if headers > HTTP_HEADERS_MAX {
            return Err(too_large());
        }
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(bad("a header goes on in a second line"));
        }
        if !is_header(line) {
            return Err(bad("a header is not of the form NAME: VALUE"));
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() {
                return Err(bad("two content-lengths"));
            }
            length = Some(digits(value).ok_or_else(|| bad("content-length is not a number"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") || is_http_10 {
                return Err(bad("transfer-encoding is not 'chunked', once, in HTTP/1.1"));
            }
            is_chunked = true;
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(bad("content-length and transfer-encoding")),
        (None | Some(0), false) => Ok(State::Head),
        (Some(length), false) => Ok(State::Sized(length)),
        (None, true) => Ok(State::ChunkLine),
    }
}

/// Looks at the first line: `METHOD target HTTP/1.x`.
fn is_http_10(line: &[u8]) -> Result<bool, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let is_method = |method: &[u8]| {
        (1..=16).contains(&method.len()) && method.iter().all(u8::is_ascii_alphabetic)
    };
    let is_target = |target: &[u8]| !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    if !method.is_some_and(is_method) || !target.is_some_and(is_target) || parts.next().is_some() {
        return Err(bad("the first line is not of the form METHOD target HTTP/1.1"));
    }
    match version {
        Some(b"HTTP/1.1") => Ok(false),
        Some(b"HTTP/1.0") => Ok(true),
        _ => Err(bad("only HTTP/1.1 and HTTP/1.0 are spoken here")),
    }
}

/// Plain digits: no sign, no blank, no list.
fn digits(value: &[u8]) -> Option<u64> {
    let is_plain = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_plain)?.parse().ok()
}

/// `name: value` with a name of token characters up to the colon.
fn is_header(line: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    match memchr::memchr(b':', line) {
        Some(colon @ 1..) => line[..colon].iter().all(is_token) && !line.contains(&0),
        _ => false,
    }
}

/// The lines of a head, each of which ends with CR LF and has neither elsewhere.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', self.rest)?;
        if !self.rest[end..].starts_with(b"\r\n") {
            self.rest = &[];
            return Some(Err(bad("a line ends with LF or CR instead of CR LF")));
        }
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 2..];
        Some(Ok(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on, and the verdicts, of `bytes` in pieces.
    fn pass(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<Verdict>, bool) {
        let (mut framing, mut out, mut verdicts) =
            (Framing::default(), Vec::new(), VecDeque::new());
        let mut is_broken = false;
        for piece in bytes.chunks(piece) {
            is_broken |= framing.feed(piece, &mut out, &mut verdicts).is_err();
        }
        (out, verdicts.into(), is_broken)
    }

    #[test]
    fn plain_requests_go_on_as_they_are_in_any_pieces() {
        let bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde\
            PUT /c HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n\
            GET /d HTTP/1.0\r\n\r\n";
        for piece in 1..bytes.len() {
            let (out, verdicts, is_broken) = pass(bytes, piece);
            assert_eq!(out, bytes, "in pieces of {piece}");
            assert_eq!((verdicts, is_broken), (vec![Ok(()); 4], false));
        }
    }

    #[test]
    fn what_two_readers_could_take_for_two_things_is_refused() {
        for (head, why) in [
            ("GET / HTTP/1.1\nHost: x\n\n", "LF"),
            ("GET / HTTP/1.1\r\nHost: x\n\r\n\r\n", "LF"),
            ("GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", "CR"),
            ("GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", "second line"),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", "NAME"),
            ("GET / HTTP/1.1\r\n: x\r\n\r\n", "NAME"),
            ("GET / HTTP/1.1\r\nHost\r\n\r\n", "NAME"),
            ("GET / b HTTP/1.1\r\n\r\n", "first line"),
            ("GET  / HTTP/1.1\r\n\r\n", "first line"),
            ("G@T / HTTP/1.1\r\n\r\n", "first line"),
            ("GET /\x7f HTTP/1.1\r\n\r\n", "first line"),
            ("GET /\r\n\r\n", "only HTTP/1.1"),
            ("GET / HTTP/2.0\r\n\r\n", "only HTTP/1.1"),
            ("GET / HTTP/1.1\r\nX: \0\r\n\r\n", "NAME"),
            ("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "two"),
            ("PUT / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", "number"),
            ("PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", "number"),
            ("PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "number"),
            ("PUT / HTTP/1.1\r\nContent-Length:\r\n\r\n", "number"),
            ("PUT / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", "number"),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "content-length and",
            ),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
                "content-length and",
            ),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "chunked"),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", "chunked"),
            ("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
        ] {
            for piece in 1..head.len() {
                let request = format!("{head}GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
                let (out, verdicts, _) = pass(request.as_bytes(), piece);
                assert_eq!(out, STAND_IN, "{head:?} in pieces of {piece}");
                let refusal = verdicts[0].clone().unwrap_err();
                assert_eq!((verdicts.len(), refusal.status.as_u16()), (1, 400));
                assert!(refusal.text.contains(why), "{head:?}: {}", refusal.text);
            }
        }
    }

    #[test]
    fn heads_have_their_limits() {
        let sized = |bytes: usize| {
            let start = "GET / HTTP/1.1\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
        };
        let many = |headers| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(headers));
        for (head, is_taken) in [
            (sized(HTTP_HEAD_BYTES_MAX), true),
            (sized(HTTP_HEAD_BYTES_MAX + 1), false),
            (many(HTTP_HEADERS_MAX), true),
            (many(HTTP_HEADERS_MAX + 1), false),
        ] {
            for piece in [1, 1000, 1 << 20] {
                let (_, verdicts, _) = pass(head.as_bytes(), piece);
                let status = verdicts[0].as_ref().map_err(|refusal| refusal.status.as_u16());
                assert_eq!(status.err(), (!is_taken).then_some(431), "{} bytes", head.len());
            }
        }
    }

    #[test]
    fn bodies_in_chunks_have_one_form() {
        let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "3\nabc",
            "-3\r\nabc",
            "+3\r\nabc",
            "0x3\r\nabc",
            " 3\r\nabc",
            "\r\nabc",
            "3\r\nabcd",
            "3\r\nabc\n",
            "ffffffffffffffff\r\nabc",
            "10000000000000003\r\nabc",
            "3\r;\r\nabc",
            "0\r\nx\r\n\r\n",
            "0\r\n\n",
        ] {
            for piece in 1..body.len() {
                let bytes = format!("{head}{body}GET /second HTTP/1.1\r\n\r\n");
                let (out, verdicts, is_broken) = pass(bytes.as_bytes(), piece);
                assert!(is_broken && verdicts.len() == 1, "{body:?} in pieces of {piece}");
                assert!(!out.windows(7).any(|part| part == b"/second"), "{body:?}");
            }
        }
        let long = format!("{head}3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(HTTP_CHUNK_LINE_BYTES_MAX));
        assert!(pass(long.as_bytes(), 7).2);
        let (out, _, is_broken) = pass(format!("{head}0\r\nA: b\r\n\r\n").as_bytes(), 3);
        assert_eq!((out, is_broken), (format!("{head}0\r\n\r\n").into_bytes(), false));
    }
}
