//! One JSON object a line: `{"key":"..","value":"..","encoding":"utf8","expires_at_ms":1764288000000}`.
//!
//! `encoding` is of key and value both (`base64` if one of them is no text) and may be absent, as may `expires_at_ms`. Other
//! names are refused, and so is a name that comes twice.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::{Encoding, Entry, Input, Item, TransferError};

/// Longest line: the longest value in base64, its key, and what is around them. JSON's escapes may make text longer than that;
/// such a value is refused.
const LINE_BYTES_MAX: usize = 768 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: String,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

/// The next line that is not empty.
///
/// # Errors
/// Damage, with the place where the line begins.
pub fn next_item<R: Read>(input: &mut Input<R>) -> Result<Option<Item>, TransferError> {
    loop {
        let offset = input.offset();
        let Some(text) = input.line(LINE_BYTES_MAX)? else { return Ok(None) };
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let damaged = |what: String| TransferError::Damaged { offset, what };
        let line: Line = serde_json::from_slice(&text)
            .map_err(|error| damaged(format!("the line is no entry: {error}")))?;
        let Line { key, value, encoding, expires_at_ms } = line;
        let decoded = encoding.decode(key.into_bytes()).zip(encoding.decode(value.into_bytes()));
        let Some((key, value)) = decoded else {
            return Err(damaged("key or value is no base64".into()));
        };
        let expires_at_ms = expires_at_ms.unwrap_or(0);
        return Ok(Some(Item::Set(Entry { key, value, expires_at_ms })));
    }
}

/// Writes one key.
///
/// # Errors
/// The output's.
pub fn write(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let encoding = Encoding::of(entry);
    let line = Line {
        key: encoding.encode(&entry.key),
        value: encoding.encode(&entry.value),
        encoding,
        expires_at_ms: (entry.expires_at_ms > 0).then_some(entry.expires_at_ms),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
