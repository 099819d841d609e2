//! `SCAN [PREFIX] [LIMIT n]`: the keys that begin so, as a table. `SCAN <cursor> ..`, with a number, is the server's.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Format, Outcome, Session, timed};
use crate::client::Reply;
use crate::glob::of_prefix;
use crate::limits::GLOB_BYTES_MAX;
use crate::terminal::link::LinkError;
use crate::terminal::{print, render, table};

/// Keys shown unless LIMIT says more.
const LIMIT_DEFAULT: usize = 100;

/// Keys that may be asked for: all of them are held, to be shown in order.
const LIMIT_MAX: usize = 1_000_000;

/// What SCAN looks at in one call.
const COUNT: &str = "1000";

/// Keys whose type, size and TTL are asked for in one pipeline.
const KEYS_AT_ONCE: usize = 256;

/// Characters of a key in the table.
const KEY_CHARACTERS_MAX: usize = 120;

/// Whether this SCAN is not the server's: it has no number where a cursor stands, or that is quoted.
pub(super) fn is_ours(line: &[u8], words: &[Vec<u8>]) -> bool {
    let Some(first) = words.get(1) else { return true };
    let written = line.trim_ascii_start().get(words[0].len()..).unwrap_or_default();
    let is_quoted = written.trim_ascii_start().starts_with(b"\"")
        || written.trim_ascii_start().starts_with(b"'");
    is_quoted || first.is_empty() || !first.iter().all(u8::is_ascii_digit)
}

pub(super) fn run(session: &mut Session, line: &[u8], words: &[Vec<u8>]) -> Outcome {
    let (prefix, limit) = match parse(words) {
        Ok(parsed) => parsed,
        Err(what) => return Outcome::Failed(what),
    };
    let (found, took) = timed(|| find(session, prefix, limit));
    let (keys, is_all) = match found {
        Ok(found) => found,
        Err(Failure::Link(error)) => return error.into(),
        Err(Failure::Reply(text)) => return session.show(line, &Reply::Error(text), took),
    };
    let rows = match describe(session, &keys) {
        Ok(rows) => rows,
        Err(error) => return error.into(),
    };
    if session.format == Format::Json {
        let keys: Vec<_> = rows.iter().map(Row::json).collect();
        print(&format!("{}\n", json!({ "command": "SCAN", "reply": keys, "is_all": is_all })));
        return Outcome::Done;
    }
    if !rows.is_empty() {
        let cells = rows.iter().map(|row| row.cells(session.format)).collect();
        print(&table::lines(&["key", "type", ">bytes", ">ttl"], cells));
    }
    if session.is_interactive {
        let more =
            if is_all { String::new() } else { format!("; there are more: LIMIT {}", limit * 10) };
        let keys = if rows.len() == 1 { "key" } else { "keys" };
        session.say(&format!("{} {keys}{more}", rows.len()), took);
    }
    Outcome::Done
}

fn parse(words: &[Vec<u8>]) -> Result<(&[u8], usize), String> {
    let is_limit = |word: &[u8]| word.eq_ignore_ascii_case(b"LIMIT") || word == b"--limit";
    let (prefix, rest): (&[u8], _) = match words {
        [] => (b"", words),
        [first, _] if is_limit(first) => (b"", words),
        [first, rest @ ..] => (first, rest),
    };
    let limit = match rest {
        [] => LIMIT_DEFAULT,
        [word, number] if is_limit(word) => std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse().ok())
            .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            .ok_or_else(|| format!("LIMIT is a number from 1 to {LIMIT_MAX}"))?,
        _ => {
            return Err(
                "SCAN [PREFIX] [LIMIT n]; with a number first it is the server's SCAN".into()
            );
        }
    };
    if of_prefix(prefix).len() > GLOB_BYTES_MAX {
        return Err(format!(
            "a prefix of {} bytes; its pattern may have {GLOB_BYTES_MAX}",
            prefix.len()
        ));
    }
    Ok((prefix, limit))
}

enum Failure {
    Link(LinkError),
    Reply(String),
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// The first `limit` keys in order of those that the pages have, and whether there are no others.
fn find(
    session: &mut Session,
    prefix: &[u8],
    limit: usize,
) -> Result<(BTreeSet<Vec<u8>>, bool), Failure> {
    let pattern = of_prefix(prefix);
    let mut cursor = b"0".to_vec();
    let mut found = BTreeSet::new();
    loop {
        let words: [&[u8]; 6] = [b"SCAN", &cursor, b"MATCH", &pattern, b"COUNT", COUNT.as_bytes()];
        let reply = session.link.command(&words, &session.interrupt)?;
        if let Some(text) = reply.error() {
            return Err(Failure::Reply(text.to_owned()));
        }
        let Some((next, keys)) = reply.page() else {
            return Err(Failure::Reply("SCAN was answered with something else".into()));
        };
        found.extend(keys.map(<[u8]>::to_vec));
        cursor = next.to_vec();
        let is_end = cursor == b"0";
        if is_end || found.len() > limit {
            let is_all = is_end && found.len() <= limit;
            while found.len() > limit {
                found.pop_last();
            }
            return Ok((found, is_all));
        }
    }
}

struct Row {
    key: Vec<u8>,
    kind: String,
    bytes: Option<i64>,
    ttl_ms: i64,
}

impl Row {
    fn cells(&self, format: Format) -> Vec<String> {
        let key = if format == Format::Raw && std::str::from_utf8(&self.key).is_ok_and(is_plain) {
            String::from_utf8_lossy(&self.key).into_owned()
        } else {
            render::quoted(&self.key)
        };
        let shown: String = key.chars().take(KEY_CHARACTERS_MAX).collect();
        let cut = if shown.len() < key.len() { ".." } else { "" };
        #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
        let ttl = match self.ttl_ms {
            ..0 => "-".to_owned(),
            ms => format!("{:.3} s", ms as f64 / 1000.0),
        };
        let bytes = self.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
        vec![format!("{shown}{cut}"), self.kind.clone(), bytes, ttl]
    }

    fn json(&self) -> serde_json::Value {
        let ttl_ms = (self.ttl_ms >= 0).then_some(self.ttl_ms);
        json!({ "key": render::bytes(&self.key), "type": self.kind, "bytes": self.bytes, "ttl_ms": ttl_ms })
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// Type, size and TTL of each key; one that is gone meanwhile is left out.
fn describe(session: &mut Session, keys: &BTreeSet<Vec<u8>>) -> Result<Vec<Row>, LinkError> {
    let keys: Vec<&Vec<u8>> = keys.iter().collect();
    let mut rows = Vec::with_capacity(keys.len());
    for some in keys.chunks(KEYS_AT_ONCE) {
        let client = session.link.client()?;
        for key in some {
            for name in [&b"TYPE"[..], b"STRLEN", b"PTTL"] {
                client.queue(&[name, key]);
            }
        }
        let sent = client.send();
        if let Err(error) = sent {
            session.link.hang_up();
            return Err(error.into());
        }
        for key in some {
            let mut next = || session.link.receive(&session.interrupt);
            let (kind, bytes, ttl) = (next()?, next()?, next()?);
            let kind = kind.bytes().map_or("?".into(), String::from_utf8_lossy).into_owned();
            if kind != "none" {
                let ttl_ms = ttl.integer().unwrap_or(-1);
                rows.push(Row { key: (*key).clone(), kind, bytes: bytes.integer(), ttl_ms });
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(line: &str) -> bool {
        is_ours(line.as_bytes(), &crate::resp::words(line.as_bytes()).unwrap())
    }

    #[test]
    fn a_number_is_a_cursor_unless_it_is_quoted() {
        for line in
            ["SCAN", "scan user:", " scan \"2024\" LIMIT 5", "SCAN '7'", "SCAN 20-1", "SCAN \"\""]
        {
            assert!(ours(line), "{line}");
        }
        for line in ["SCAN 0", "scan 17 MATCH a* COUNT 5"] {
            assert!(!ours(line), "{line}");
        }
    }

    #[test]
    fn words_of_a_scan() {
        let words = |line: &str| crate::resp::words(line.as_bytes()).unwrap();
        let ok = |line: &str| parse(&words(line)).map(|(prefix, limit)| (prefix.to_vec(), limit));
        assert_eq!(ok(""), Ok((b"".to_vec(), 100)));
        assert_eq!(ok("user:"), Ok((b"user:".to_vec(), 100)));
        assert_eq!(ok("user: limit 7"), Ok((b"user:".to_vec(), 7)));
        assert_eq!(ok("LIMIT 7"), Ok((b"".to_vec(), 7)));
        assert_eq!(ok("LIMIT"), Ok((b"LIMIT".to_vec(), 100)));
        for wrong in ["a LIMIT 0", "a LIMIT x", "a b", "a LIMIT 1000001", "a LIMIT 1 2"] {
            assert!(ok(wrong).is_err(), "{wrong}");
        }
    }
}
