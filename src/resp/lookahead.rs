//! What follows in a pipeline, seen early: the keys of the plainest commands, before they are parsed for good.

use super::parser::quick_number;

/// A command in the one form that every client library sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead<'a> {
    /// `GET key`.
    Get(&'a [u8]),
    /// `SET key value`.
    Set(&'a [u8]),
}

/// The first command of `input`, and what lies behind it. `None` says nothing: it may be another command, a longer one,
/// or not all there.
#[inline]
pub(crate) fn look_ahead(input: &[u8]) -> Option<(Ahead<'_>, &[u8])> {
    let (head, rest) = input.split_first_chunk::<14>()?;
    let [b'*', words, b'\r', b'\n', b'$', b'3', b'\r', b'\n', name @ .., b'\r', b'\n', b'$'] = head
    else {
        return None;
    };
    let (key, rest) = bulk(rest)?;
    match words {
        b'2' if name.eq_ignore_ascii_case(b"get") => Some((Ahead::Get(key), rest)),
        b'3' if name.eq_ignore_ascii_case(b"set") => {
            let (_, rest) = bulk(rest.strip_prefix(b"$")?)?;
            Some((Ahead::Set(key), rest))
        }
        _ => None,
    }
}

/// A bulk string behind its dollar sign, and what lies behind it.
#[inline]
fn bulk(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, line) = quick_number(input)?;
    let end = line + len as usize;
    let bytes = input.get(line..end)?;
    Some((bytes, input.get(end..)?.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_commands_are_seen_and_all_else_is_not() {
        let get = b"*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n";
        assert_eq!(look_ahead(get), Some((Ahead::Get(b"hello"), &[][..])));
        let pipeline =
            b"*3\r\n$3\r\nset\r\n$1\r\na\r\n$3\r\n\r\nx\r\n*2\r\n$3\r\nGet\r\n$1\r\nb\r\n+";
        let (first, rest) = look_ahead(pipeline).unwrap();
        assert_eq!(
            (first, look_ahead(rest)),
            (Ahead::Set(b"a"), Some((Ahead::Get(b"b"), &b"+"[..])))
        );
        for end in 0..get.len() {
            assert_eq!(look_ahead(get.get(..end).unwrap()), None, "{end}");
        }
        for other in [
            "*1\r\n$4\r\nPING\r\n",
            "GET a\r\n",
            "*2\r\n$3\r\nDEL\r\n$1\r\na\r\n",
            "*2\r\n$3\r\nGET\r\n$2\r\na\r\n\r",
        ] {
            assert_eq!(look_ahead(other.as_bytes()), None, "{other}");
        }
    }
}
