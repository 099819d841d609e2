//! Replies as text: as `redis-cli` shows them to people, as they are, and as JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::client::Reply;

/// As redis-cli prints it on a terminal, without a line end.
pub(super) fn pretty(reply: &Reply) -> String {
    let mut out = String::new();
    write(reply, &mut String::new(), &mut out);
    out
}

fn write(reply: &Reply, indent: &mut String, out: &mut String) {
    // A String takes every write.
    let _ = match reply {
        Reply::Status(text) => write!(out, "{}", printable(text)),
        Reply::Error(text) => write!(out, "(error) {}", printable(text)),
        Reply::Integer(number) => write!(out, "(integer) {number}"),
        Reply::Bulk(bytes) => write!(out, "{}", quoted(bytes)),
        Reply::Nil => write!(out, "(nil)"),
        Reply::Double(number) => write!(out, "(double) {number}"),
        Reply::Boolean(is) => write!(out, "({is})"),
        Reply::BigNumber(digits) => write!(out, "(big number) {}", printable(digits)),
        Reply::Verbatim(text) => write!(out, "{}", lines(text)),
        Reply::Array(items) => return list(items, ')', "(empty array)", indent, out),
        Reply::Set(items) => return list(items, '~', "(empty set)", indent, out),
        Reply::Push(items) => return list(items, '>', "(empty push)", indent, out),
        Reply::Map(pairs) => return map(pairs, indent, out),
    };
}

fn list(items: &[Reply], mark: char, empty: &str, indent: &mut String, out: &mut String) {
    if items.is_empty() {
        out.push_str(empty);
    }
    each(items, mark, indent, out, write);
}

fn map(pairs: &[(Reply, Reply)], indent: &mut String, out: &mut String) {
    if pairs.is_empty() {
        out.push_str("(empty hash)");
    }
    each(pairs, '#', indent, out, |(key, value), indent, out| {
        write(key, indent, out);
        out.push_str(" => ");
        write(value, indent, out);
    });
}

/// Numbered items, what is in them further in.
fn each<T>(
    items: &[T],
    mark: char,
    indent: &mut String,
    out: &mut String,
    show: impl Fn(&T, &mut String, &mut String),
) {
    let width = items.len().to_string().len();
    let outer = indent.len();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push('\n');
            out.push_str(&indent[..outer]);
        }
        // A String takes every write.
        let _ = write!(out, "{:>width$}{mark} ", index + 1);
        indent.extend(std::iter::repeat_n(' ', width + 2));
        show(item, indent, out);
        indent.truncate(outer);
    }
}

/// Bytes in double quotes: they can be typed again so.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(*byte)),
            // A String takes every write.
            other => drop(write!(out, "\\x{other:02x}")),
        }
    }
    out.push('"');
    out
}

/// Text of a server on a terminal: what would move the cursor or change colours is shown, not done.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// The same of several lines.
pub(super) fn lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
}

/// As it is, for programs: strings without quotes, items a line each.
pub(super) fn raw(reply: &Reply, out: &mut Vec<u8>) {
    let each = |items: &[Reply], out: &mut Vec<u8>| {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b'\n');
            }
            raw(item, out);
        }
    };
    match reply {
        Reply::Nil => {}
        Reply::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Reply::Double(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Reply::Boolean(is) => out.extend_from_slice(is.to_string().as_bytes()),
        Reply::Error(text) => out.extend_from_slice(text.as_bytes()),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => each(items, out),
        Reply::Map(pairs) => {
            for (index, (key, value)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push(b'\n');
                }
                raw(key, out);
                out.push(b' ');
                raw(value, out);
            }
        }
        Reply::Status(_) | Reply::Bulk(_) | Reply::BigNumber(_) | Reply::Verbatim(_) => {
            out.extend_from_slice(reply.bytes().unwrap_or_default());
        }
    }
}

/// As JSON: text as text, other bytes as `{"base64": ".."}`, maps as objects where all keys are text.
pub(super) fn json(reply: &Reply) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Integer(number) => json!(number),
        Reply::Double(number) if number.is_finite() => json!(number),
        Reply::Double(number) => json!(number.to_string()),
        Reply::Boolean(is) => json!(is),
        Reply::Error(text) => json!({ "error": text }),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            items.iter().map(json).collect()
        }
        Reply::Map(pairs) => object(pairs),
        Reply::Status(_) | Reply::Bulk(_) | Reply::BigNumber(_) | Reply::Verbatim(_) => {
            bytes(reply.bytes().unwrap_or_default())
        }
    }
}

fn object(pairs: &[(Reply, Reply)]) -> Value {
    let text = |reply: &Reply| std::str::from_utf8(reply.bytes()?).ok().map(str::to_owned);
    let named: Option<serde_json::Map<String, Value>> =
        pairs.iter().map(|(key, value)| Some((text(key)?, json(value)))).collect();
    match named {
        Some(named) if named.len() == pairs.len() => Value::Object(named),
        _ => pairs.iter().map(|(key, value)| json!([json(key), json(value)])).collect(),
    }
}

/// Bytes of a user.
pub(super) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    #[test]
    fn as_redis_cli_prints_them() {
        for (reply, text) in [
            (Reply::Status("OK".into()), "OK"),
            (Reply::Error("ERR no\x1b[2J".into()), "(error) ERR no\\u{1b}[2J"),
            (Reply::Integer(-7), "(integer) -7"),
            (Reply::Bulk(b"a\"\\\n\x00\xff".to_vec()), r#""a\"\\\n\x00\xff""#),
            (Reply::Nil, "(nil)"),
            (Reply::Array(vec![]), "(empty array)"),
            (Reply::Double(1.5), "(double) 1.5"),
            (Reply::Boolean(true), "(true)"),
            (Reply::Verbatim(b"one\r\ntwo\x1b\r\n".to_vec()), "one\ntwo\\u{1b}"),
        ] {
            assert_eq!(pretty(&reply), text);
        }
        let nested = Reply::Array(vec![
            Reply::Array(vec![bulk("a"), Reply::Array(vec![Reply::Integer(1), Reply::Nil])]),
            Reply::Map(vec![
                (bulk("k"), Reply::Set(vec![bulk("x"), bulk("y")])),
                (bulk("l"), bulk("z")),
            ]),
        ]);
        assert_eq!(
            pretty(&nested),
            "1) 1) \"a\"\n   2) 1) (integer) 1\n      2) (nil)\n\
             2) 1# \"k\" => 1~ \"x\"\n      2~ \"y\"\n   2# \"l\" => \"z\""
        );
        let ten = Reply::Array((0..10).map(Reply::Integer).collect());
        assert!(pretty(&ten).starts_with(" 1) (integer) 0\n 2) "), "{}", pretty(&ten));
    }

    #[test]
    fn what_is_quoted_is_what_was_typed() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let words = crate::resp::words(quoted(&all).as_bytes()).unwrap();
        assert_eq!(words, [all]);
    }

    #[test]
    fn raw_and_json() {
        let mut out = Vec::new();
        raw(&Reply::Array(vec![bulk("a b"), Reply::Nil, Reply::Integer(3)]), &mut out);
        assert_eq!(out, b"a b\n\n3");
        let map = Reply::Map(vec![(bulk("k"), Reply::Bulk(vec![0xff])), (bulk("n"), Reply::Nil)]);
        assert_eq!(json(&map), json!({"k": {"base64": "/w=="}, "n": null}));
        let twice = Reply::Map(vec![(bulk("k"), Reply::Nil), (bulk("k"), Reply::Nil)]);
        assert_eq!(json(&twice), json!([["k", null], ["k", null]]));
    }
}
