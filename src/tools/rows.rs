//! A dump's rows as lines: text for a person, or one JSON object each.
//!
//! Bytes of a user are escaped as in Rust's byte strings (`\xff`, `\n`, `\\`), so that every line is text and no two keys
//! look alike. Without `--full` they are cut, and their length is told beside them.

use std::fmt::Write as _;
use std::io::{BufWriter, Stdout, Write as _, stdout};

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use shard::check::dump::{Row, Value};

/// Bytes shown of a key or value, unless all are.
const BYTES_SHOWN: usize = 48;

/// Writes rows to the output.
pub(super) struct Printer {
    out: BufWriter<Stdout>,
    json: bool,
    full: bool,
}

impl Printer {
    pub(super) fn new(json: bool, full: bool) -> Self {
        Self { out: BufWriter::new(stdout()), json, full }
    }

    /// `false`: nobody reads any more.
    pub(super) fn print(&mut self, row: &Row) -> bool {
        let line = if self.json { json(row, self.full) } else { text(row, self.full) };
        writeln!(self.out, "{line}").is_ok()
    }

    pub(super) fn finish(mut self) {
        // A closed pipe is not our failure.
        let _ = self.out.flush();
    }
}

/// The bytes to show, and whether some are left out.
fn cut(bytes: &[u8], full: bool) -> (String, bool) {
    match bytes.get(..BYTES_SHOWN) {
        Some(start) if !full && start.len() < bytes.len() => {
            (start.escape_ascii().to_string(), true)
        }
        _ => (bytes.escape_ascii().to_string(), false),
    }
}

fn text(row: &Row, full: bool) -> String {
    let mut line = if row.is_part {
        format!("{:>12}{}", "", row.record)
    } else {
        format!("{:>10}  {}", row.offset, row.record)
    };
    for (name, value) in &row.fields {
        // A String takes every write.
        let _ = match value {
            Value::Number(number) => write!(line, " {name}={number}"),
            Value::Text(words) if words.contains(' ') => write!(line, " {name}=\"{words}\""),
            Value::Text(word) => write!(line, " {name}={word}"),
            Value::Bytes(bytes) => match cut(bytes, full) {
                (shown, true) => write!(line, " {name}=\"{shown}\"...({} bytes)", bytes.len()),
                (shown, false) => write!(line, " {name}=\"{shown}\""),
            },
        };
    }
    line
}

fn json(row: &Row, full: bool) -> String {
    // Numbers and text, in order: nothing that could fail.
    serde_json::to_string(&Json { row, full }).unwrap_or_default()
}

struct Json<'a> {
    row: &'a Row,
    full: bool,
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("record", self.row.record)?;
        map.serialize_entry("offset", &self.row.offset)?;
        for (name, value) in &self.row.fields {
            match value {
                Value::Number(number) => map.serialize_entry(name, number)?,
                Value::Text(words) => map.serialize_entry(name, words)?,
                Value::Bytes(bytes) => {
                    let (shown, is_cut) = cut(bytes, self.full);
                    map.serialize_entry(name, &shown)?;
                    if is_cut {
                        map.serialize_entry(&format!("{name}_bytes"), &bytes.len())?;
                    }
                }
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_and_cut() {
        let row = Row {
            record: "put",
            offset: 4096,
            is_part: true,
            fields: vec![
                ("seq", Value::Number(7)),
                ("key", Value::Bytes(b"a\"\n\xff".to_vec())),
                ("value", Value::Bytes(vec![b'x'; 60])),
                ("what", Value::Text("two words".into())),
            ],
        };
        let shown = "x".repeat(48);
        assert_eq!(
            text(&row, false),
            format!(
                "            put seq=7 key=\"a\\\"\\n\\xff\" value=\"{shown}\"...(60 bytes) what=\"two words\""
            )
        );
        assert_eq!(
            json(&row, false),
            format!(
                r#"{{"record":"put","offset":4096,"seq":7,"key":"a\\\"\\n\\xff","value":"{shown}","value_bytes":60,"what":"two words"}}"#
            )
        );
        assert!(json(&row, true).contains(&"x".repeat(60)));
    }
}
