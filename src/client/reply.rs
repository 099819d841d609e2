//! Replies as a client has them, from bytes in any pieces; RESP2 and RESP3.
//!
//! # Invariants
//! - A byte is looked at once, however the pieces fall: half an array is kept as the items that it has.
//! - Nothing is allocated by a length that was only announced.

use memchr::memchr;

/// Arrays in arrays. INFO's and COMMAND's replies have five.
const DEPTH_MAX: usize = 32;

/// Bytes of a line: a status, an error, a number.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes of one string: the longest that a server may store.
const STRING_BYTES_MAX: usize = 512 << 20;

/// Items of one array. KEYS on a large database has many.
const ITEMS_MAX: usize = 1 << 28;

/// Items for which room is made before they have come.
const ITEMS_AHEAD_MAX: usize = 1024;

/// Largest buffer that is kept from one reply to the next, in bytes.
const BUFFER_KEPT_BYTES: usize = 256 << 10;

/// What a server answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+OK`
    Status(String),
    /// `-ERR text`, without the dash.
    Error(String),
    Integer(i64),
    /// A string.
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
    /// RESP3 from here on.
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    /// What was not asked for: a message, or an invalidation.
    Push(Vec<Reply>),
    Double(f64),
    Boolean(bool),
    /// An integer of any length, in digits.
    BigNumber(String),
    /// Text for people, without its format.
    Verbatim(Vec<u8>),
}

impl Reply {
    /// The bytes of a string, a status or a text.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) | Self::Verbatim(bytes) => Some(bytes),
            Self::Status(text) | Self::BigNumber(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The text of an error.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Cursor and keys of a page, as SCAN answers it; cursor `0`: there are no more.
    pub fn page(&self) -> Option<(&[u8], impl Iterator<Item = &[u8]>)> {
        let [cursor, keys] = self.items()? else { return None };
        Some((cursor.bytes()?, keys.items()?.iter().filter_map(Self::bytes)))
    }

    /// The items of an array, a set or a push.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }
}

/// Why bytes are no reply. Whoever sent them does not speak this protocol, or is out of step: the connection is of no use
/// any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a reply begins with byte {0:#04x}")]
    Type(u8),
    #[error("a line has no end within {LINE_BYTES_MAX} bytes")]
    Line,
    #[error("a length or number is none")]
    Number,
    #[error("a string of {0} bytes; {STRING_BYTES_MAX} are taken")]
    Long(u64),
    #[error("an array of {0} items; {ITEMS_MAX} are taken")]
    Many(u64),
    #[error("a string is not followed by CR LF")]
    End,
    #[error("arrays in arrays, deeper than {DEPTH_MAX}")]
    Deep,
}

/// An array that is not whole yet.
#[derive(Debug)]
struct Open {
    kind: u8,
    /// Items that are still to come.
    left: usize,
    items: Vec<Reply>,
}

/// Cuts a stream of bytes into replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    /// Up to here `buffer` is used up.
    at: usize,
    /// From `at` up to here there is no line end.
    searched: usize,
    open: Vec<Open>,
}

impl ReplyReader {
    /// Adds what was received.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(BUFFER_KEPT_BYTES);
            self.searched = 0;
            self.at = 0;
        } else if self.at > self.buffer.len() / 2 {
            self.buffer.drain(..self.at);
            self.searched = self.searched.saturating_sub(self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next reply, if all of it has come.
    ///
    /// # Errors
    /// What has come is no reply.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, Malformed> {
        while let Some(mut reply) = self.element()? {
            // An item completes its array, which may complete another.
            loop {
                let Some(open) = self.open.last_mut() else { return Ok(Some(reply)) };
                open.items.push(reply);
                open.left -= 1;
                if open.left > 0 {
                    break;
                }
                let Some(open) = self.open.pop() else { unreachable!("it was the last one") };
                reply = whole(open.kind, open.items);
            }
        }
        Ok(None)
    }

    /// Something that is whole by itself; heads of arrays are opened on the way.
    fn element(&mut self) -> Result<Option<Reply>, Malformed> {
        loop {
            let Some((line, after)) = self.line()? else { return Ok(None) };
            let Some((&kind, rest)) = line.split_first() else {
                return Err(Malformed::Type(b'\r'));
            };
            let reply = match kind {
                b'+' => Reply::Status(text(rest)),
                b'-' => Reply::Error(text(rest)),
                b':' => Reply::Integer(number(rest)?),
                b'_' => Reply::Nil,
                b',' => Reply::Double(text(rest).parse().map_err(|_| Malformed::Number)?),
                b'#' => Reply::Boolean(rest == b"t"),
                b'(' => Reply::BigNumber(text(rest)),
                b'$' | b'=' | b'!' => {
                    let Some(len) = length(rest)? else {
                        self.take_upto(after);
                        return Ok(Some(Reply::Nil));
                    };
                    if len > STRING_BYTES_MAX as u64 {
                        return Err(Malformed::Long(len));
                    }
                    let len = usize::try_from(len).map_err(|_| Malformed::Long(len))?;
                    let Some(bytes) = self.buffer.get(after..after + len + 2) else {
                        return Ok(None);
                    };
                    let Some(bytes) = bytes.strip_suffix(b"\r\n") else {
                        return Err(Malformed::End);
                    };
                    let reply = match kind {
                        b'$' => Reply::Bulk(bytes.to_vec()),
                        b'!' => Reply::Error(text(bytes)),
                        // `txt:` or `mkd:` before it.
                        _ => Reply::Verbatim(bytes.get(4..).unwrap_or_default().to_vec()),
                    };
                    self.take_upto(after + len + 2);
                    return Ok(Some(reply));
                }
                b'*' | b'~' | b'>' | b'%' => {
                    let count = length(rest)?;
                    self.take_upto(after);
                    let Some(count) = count else { return Ok(Some(Reply::Nil)) };
                    let items = if kind == b'%' { count.saturating_mul(2) } else { count };
                    if items > ITEMS_MAX as u64 {
                        return Err(Malformed::Many(items));
                    }
                    let left = usize::try_from(items).map_err(|_| Malformed::Many(items))?;
                    if left == 0 {
                        return Ok(Some(whole(kind, Vec::new())));
                    }
                    if self.open.len() == DEPTH_MAX {
                        return Err(Malformed::Deep);
                    }
                    let items = Vec::with_capacity(left.min(ITEMS_AHEAD_MAX));
                    self.open.push(Open { kind, left, items });
                    continue;
                }
                other => return Err(Malformed::Type(other)),
            };
            self.take_upto(after);
            return Ok(Some(reply));
        }
    }

    /// The line at the beginning of what is left, and where the next one begins.
    fn line(&mut self) -> Result<Option<(&[u8], usize)>, Malformed> {
        let from = self.searched.max(self.at);
        let Some(end) = memchr(b'\n', &self.buffer[from..]) else {
            self.searched = self.buffer.len();
            let is_long = self.buffer.len() - self.at > LINE_BYTES_MAX;
            return if is_long { Err(Malformed::Line) } else { Ok(None) };
        };
        let end = from + end;
        // Asked again while the string behind it comes: the end is found at once.
        self.searched = end;
        let line = &self.buffer[self.at..end];
        if line.len() > LINE_BYTES_MAX {
            return Err(Malformed::Line);
        }
        let line = line.strip_suffix(b"\r").ok_or(Malformed::End)?;
        Ok(Some((line, end + 1)))
    }

    fn take_upto(&mut self, upto: usize) {
        self.at = upto;
        self.searched = upto;
    }
}

fn whole(kind: u8, items: Vec<Reply>) -> Reply {
    match kind {
        b'~' => Reply::Set(items),
        b'>' => Reply::Push(items),
        b'%' => {
            let mut items = items.into_iter();
            let pairs = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
            Reply::Map(pairs.collect())
        }
        _ => Reply::Array(items),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed::Number)
}

/// `None` is RESP2's null.
fn length(digits: &[u8]) -> Result<Option<u64>, Malformed> {
    match number(digits)? {
        -1 => Ok(None),
        length => u64::try_from(length).map(Some).map_err(|_| Malformed::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Reply>, Malformed> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some(reply) = reader.next_reply()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn every_kind_in_any_pieces() {
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let bytes = b"+OK\r\n-ERR no\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n$0\r\n\r\n*-1\r\n*0\r\n_\r\n,1.5\r\n#t\r\n(123\r\n\
            =6\r\ntxt:hi\r\n*2\r\n*1\r\n:1\r\n%1\r\n+k\r\n~1\r\n$1\r\nv\r\n>1\r\n+p\r\n!5\r\nERR x\r\n";
        let expected = vec![
            Reply::Status("OK".into()),
            Reply::Error("ERR no".into()),
            Reply::Integer(-7),
            bulk("a\r\nb"),
            Reply::Nil,
            bulk(""),
            Reply::Nil,
            Reply::Array(vec![]),
            Reply::Nil,
            Reply::Double(1.5),
            Reply::Boolean(true),
            Reply::BigNumber("123".into()),
            Reply::Verbatim(b"hi".to_vec()),
            Reply::Array(vec![
                Reply::Array(vec![Reply::Integer(1)]),
                Reply::Map(vec![(Reply::Status("k".into()), Reply::Set(vec![bulk("v")]))]),
            ]),
            Reply::Push(vec![Reply::Status("p".into())]),
            Reply::Error("ERR x".into()),
        ];
        for piece in 1..bytes.len() {
            assert_eq!(read(bytes, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for (bytes, error) in [
            (&b"HTTP/1.1 200\r\n"[..], Malformed::Type(b'H')),
            (b":1x\r\n", Malformed::Number),
            (b"$-2\r\n", Malformed::Number),
            (b"$1\r\nabc", Malformed::End),
            (b"+OK\n", Malformed::End),
            (b"$9999999999\r\n", Malformed::Long(9_999_999_999)),
            (b"*9999999999\r\n", Malformed::Many(9_999_999_999)),
        ] {
            assert_eq!(read(bytes, 3), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(&b"*1\r\n".repeat(DEPTH_MAX + 1), 4), Err(Malformed::Deep));
        assert_eq!(read(&vec![b'+'; LINE_BYTES_MAX + 2], 4096), Err(Malformed::Line));
    }
}
