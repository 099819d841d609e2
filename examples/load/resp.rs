//! RESP2 as a client needs it: the head of a request, and a reply where it lies.

use crate::limits::{DEPTH_MAX, LINE_BYTES_MAX, REPLY_BYTES_MAX};

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a reply begins with byte {0:#04x}")]
    Type(u8),
    #[error("a line without its end in {LINE_BYTES_MAX} bytes")]
    Line,
    #[error("a length or number that is none")]
    Number,
    #[error("a string without its end")]
    End,
    #[error("arrays in arrays, {DEPTH_MAX} deep")]
    Depth,
    #[error("a reply of more than {REPLY_BYTES_MAX} bytes")]
    TooLarge,
}

/// A reply, borrowed from the buffer that it was received into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Simple(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Nil,
    Array(Items<'a>),
}

/// The items of an array; all of them are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Items<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl Items<'_> {
    /// Items that are left.
    pub(crate) fn left(&self) -> usize {
        self.count
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        if self.count == 0 {
            return None;
        }
        // The array was only made once all of its items had been found whole.
        let Ok(Parsed::Whole(reply, bytes)) = parse(self.bytes) else { return None };
        self.count -= 1;
        self.bytes = &self.bytes[bytes..];
        Some(reply)
    }
}

/// What is at the beginning of the received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A reply and its length.
    Whole(Reply<'a>, usize),
    /// Not all of one: at least so many bytes are needed in all.
    Needs(usize),
}

/// The first reply in `bytes`. No allocation and no copy.
/// # Errors
/// What is there can never become a reply within the limits.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Malformed> {
    parse_at(bytes, 0)
}

fn parse_at(bytes: &[u8], depth: usize) -> Result<Parsed<'_>, Malformed> {
    let Some(&kind) = bytes.first() else { return Ok(Parsed::Needs(1)) };
    if !b"+-:$*_".contains(&kind) {
        return Err(Malformed::Type(kind));
    }
    let searched = &bytes[1..bytes.len().min(LINE_BYTES_MAX)];
    let line = match memchr::memchr(b'\r', searched) {
        Some(end) if end + 2 < bytes.len() => &bytes[1..=end],
        None if bytes.len() >= LINE_BYTES_MAX => return Err(Malformed::Line),
        Some(_) | None => return Ok(Parsed::Needs(bytes.len() + 1)),
    };
    if bytes[line.len() + 2] != b'\n' {
        return Err(Malformed::Line);
    }
    let head = line.len() + 3;
    match kind {
        b'+' => Ok(Parsed::Whole(Reply::Simple(line), head)),
        b'-' => Ok(Parsed::Whole(Reply::Error(line), head)),
        b':' => Ok(Parsed::Whole(Reply::Integer(integer(line)?), head)),
        b'_' => Ok(Parsed::Whole(Reply::Nil, head)),
        b'$' => match length(line)? {
            None => Ok(Parsed::Whole(Reply::Nil, head)),
            Some(len) => bulk(bytes, head, len),
        },
        _ => match length(line)? {
            None => Ok(Parsed::Whole(Reply::Nil, head)),
            Some(count) => array(bytes, head, count, depth),
        },
    }
}

fn bulk(bytes: &[u8], head: usize, len: usize) -> Result<Parsed<'_>, Malformed> {
    let whole = head + len + 2;
    if whole > REPLY_BYTES_MAX {
        return Err(Malformed::TooLarge);
    }
    if bytes.len() < whole {
        return Ok(Parsed::Needs(whole));
    }
    if &bytes[head + len..whole] != b"\r\n" {
        return Err(Malformed::End);
    }
    Ok(Parsed::Whole(Reply::Bulk(&bytes[head..head + len]), whole))
}

fn array(bytes: &[u8], head: usize, count: usize, depth: usize) -> Result<Parsed<'_>, Malformed> {
    if depth == DEPTH_MAX {
        return Err(Malformed::Depth);
    }
    let mut at = head;
    for _ in 0..count {
        match parse_at(&bytes[at..], depth + 1)? {
            Parsed::Whole(_, len) => at += len,
            Parsed::Needs(more) if at + more > REPLY_BYTES_MAX => return Err(Malformed::TooLarge),
            Parsed::Needs(more) => return Ok(Parsed::Needs(at + more)),
        }
    }
    Ok(Parsed::Whole(Reply::Array(Items { count, bytes: &bytes[head..at] }), at))
}

/// `None` for -1, which is nil.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match integer(line)? {
        -1 => Ok(None),
        number => {
            let len = usize::try_from(number).map_err(|_| Malformed::Number)?;
            if len > REPLY_BYTES_MAX { Err(Malformed::TooLarge) } else { Ok(Some(len)) }
        }
    }
}

fn integer(line: &[u8]) -> Result<i64, Malformed> {
    let (is_negative, digits) = match line {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, line),
    };
    // 18 digits never overflow; no server sends more.
    if digits.is_empty() || digits.len() > 18 {
        return Err(Malformed::Number);
    }
    let mut number = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Malformed::Number);
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    Ok(if is_negative { -number } else { number })
}

/// Appends `$len\r\n`, with `*` instead of `$` for an array.
pub(crate) fn append_head(out: &mut Vec<u8>, kind: u8, len: usize) {
    let mut buffer = itoa::Buffer::new();
    out.push(kind);
    out.extend_from_slice(buffer.format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Reply<'_> {
        match parse(bytes) {
            Ok(Parsed::Whole(reply, len)) => {
                assert_eq!(len, bytes.len());
                reply
            }
            other => panic!("{other:?}"),
        }
    }

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"-\r\n",
        b":-42\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"$-1\r\n",
        b"_\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*3\r\n$2\r\nab\r\n$-1\r\n*2\r\n:1\r\n+x\r\n",
    ];

    #[test]
    fn every_kind_of_reply_is_read() {
        let replies: Vec<Reply<'_>> = REPLIES.iter().map(|bytes| whole(bytes)).collect();
        assert_eq!(replies[0], Reply::Simple(b"OK"));
        assert_eq!(replies[1], Reply::Error(b"ERR no"));
        assert_eq!(replies[2], Reply::Error(b""));
        assert_eq!(replies[3], Reply::Integer(-42));
        assert_eq!(replies[4], Reply::Bulk(b""));
        assert_eq!(replies[5], Reply::Bulk(b"a\r\nbc"));
        assert!(replies[6..9].iter().all(|reply| *reply == Reply::Nil));
        let Reply::Array(items) = replies[10].clone() else { panic!("{:?}", replies[10]) };
        assert_eq!(items.left(), 3);
        let items: Vec<Reply<'_>> = items.collect();
        assert_eq!(items[..2], [Reply::Bulk(b"ab"), Reply::Nil]);
        let Reply::Array(inner) = items[2].clone() else { panic!("{:?}", items[2]) };
        let inner: Vec<Reply<'_>> = inner.collect();
        assert_eq!(inner, [Reply::Integer(1), Reply::Simple(b"x")]);
    }

    #[test]
    fn a_reply_cut_at_any_byte_needs_more_and_no_more_than_there_is() {
        for &bytes in REPLIES {
            for cut in 0..bytes.len() {
                match parse(&bytes[..cut]) {
                    Ok(Parsed::Needs(len)) => {
                        assert!(len > cut && len <= bytes.len(), "{bytes:?} cut at {cut}: {len}");
                    }
                    other => panic!("{bytes:?} cut at {cut}: {other:?}"),
                }
            }
            // What follows it changes nothing.
            let longer = [bytes, b"$7\r\nabc"].concat();
            assert_eq!(parse(&longer), Ok(Parsed::Whole(whole(bytes), bytes.len())));
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let cases: &[(&[u8], Malformed)] = &[
            (b"HTTP/1.1", Malformed::Type(b'H')),
            (b":12a\r\n", Malformed::Number),
            (b":\r\n", Malformed::Number),
            (b"$-2\r\n", Malformed::Number),
            (b"$1111111111111111111\r\n", Malformed::Number),
            (b"+a\rb\r\n", Malformed::Line),
            (b"$3\r\nabcde", Malformed::End),
            (b"$99999999\r\n", Malformed::TooLarge),
            (b"$33554432\r\n", Malformed::TooLarge),
            (b"*1\r\n$33554432\r\n", Malformed::TooLarge),
            (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", Malformed::Depth),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(parse(bytes), Err(*wanted), "{:?}", String::from_utf8_lossy(bytes));
        }
        let endless = vec![b'-'; LINE_BYTES_MAX];
        assert_eq!(parse(&endless), Err(Malformed::Line));
    }
}
