//! Replies to bytes, appended to a connection's output. In RESP2 a map is an array of twice the length, a set an
//! array, a verbatim text a bulk string.

use std::fmt;
use std::io::Write as _;

use crate::limits::{ERROR_ARG_BYTES, ERROR_BYTES_MAX};

/// The protocol that a client asked for by HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

impl Protocol {
    /// 2 or 3.
    pub fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

pub const OK: &[u8] = b"+OK\r\n";
pub const PONG: &[u8] = b"+PONG\r\n";

/// `+text`. The text is ours: no control bytes.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.bytes().any(|byte| byte.is_ascii_control()));
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(OK);
}

/// `-text`: any text, made safe. Control bytes become spaces (a CR LF in a key would split the reply), and it ends
/// after `ERROR_BYTES_MAX`.
#[cold]
pub fn error(out: &mut Vec<u8>, text: impl fmt::Display) {
    out.push(b'-');
    let start = out.len();
    // A Vec takes every write.
    let _ = write!(out, "{text}");
    out.truncate(start + ERROR_BYTES_MAX);
    for byte in out.get_mut(start..).unwrap_or_default() {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `-`, then `before`, at most `ERROR_ARG_BYTES` of a client's bytes, and `after`.
#[cold]
pub fn error_quoting(out: &mut Vec<u8>, before: &str, quoted: &[u8], after: &str) {
    out.push(b'-');
    out.extend_from_slice(before.as_bytes());
    out.extend(shown(quoted, ERROR_ARG_BYTES));
    out.extend_from_slice(after.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// At most `max` bytes of a client's argument as an error text or a log line may show them.
pub fn shown(argument: &[u8], max: usize) -> impl Iterator<Item = u8> + '_ {
    argument.iter().take(max).map(|byte| if byte.is_ascii_control() { b' ' } else { *byte })
}

#[inline]
pub fn integer(out: &mut Vec<u8>, value: i64) {
    header(out, b':', value);
}

/// A bulk string: any bytes.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 16);
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// No value.
#[inline]
pub fn null(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// No array.
pub fn null_array(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// `items` replies follow.
pub fn array(out: &mut Vec<u8>, items: usize) {
    length(out, b'*', items);
}

/// `items` replies follow that answer no command; an array in RESP2.
pub fn push(out: &mut Vec<u8>, items: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => length(out, b'*', items),
        Protocol::Resp3 => length(out, b'>', items),
    }
}

/// `pairs` times a key and a value follow.
pub fn map(out: &mut Vec<u8>, pairs: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => length(out, b'*', pairs * 2),
        Protocol::Resp3 => length(out, b'%', pairs),
    }
}

/// `items` replies follow, in no order.
pub fn set(out: &mut Vec<u8>, items: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => length(out, b'*', items),
        Protocol::Resp3 => length(out, b'~', items),
    }
}

/// Text for people.
pub fn verbatim(out: &mut Vec<u8>, text: &[u8], protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => bulk(out, text),
        Protocol::Resp3 => {
            length(out, b'=', text.len() + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A number with a fraction; text in RESP2.
pub fn double(out: &mut Vec<u8>, value: f64, protocol: Protocol) {
    let text = value.to_string();
    match protocol {
        Protocol::Resp2 => bulk(out, text.as_bytes()),
        Protocol::Resp3 => {
            out.push(b',');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A boolean; 1 or 0 in RESP2.
pub fn boolean(out: &mut Vec<u8>, value: bool, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => integer(out, i64::from(value)),
        Protocol::Resp3 => out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
    }
}

#[inline]
fn length(out: &mut Vec<u8>, kind: u8, length: usize) {
    if let Ok(digit @ 0..=9) = u8::try_from(length) {
        out.extend_from_slice(&[kind, b'0' + digit, b'\r', b'\n']);
        return;
    }
    header(out, kind, length);
}

#[inline]
fn header(out: &mut Vec<u8>, kind: u8, number: impl itoa::Integer) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}
