//! `scan`: the keys and values of a closed directory, ascending over all shards. Each shard is read in order
//! (`shard::check::contents`), and the least key of all comes next: nothing is gathered, and nothing in the directory changes.

use std::io::{BufWriter, Stdout, Write as _, stdout};
use std::ops::Bound;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use shard::check::contents::Contents;
use shard::env::Env as _;
use shard::env::glommio::GlommioEnv;
use shard::scan::{LiveEntry, Range};

use super::check::shards;
use super::on_a_core;
use crate::cli::ScanArgs;
use crate::config::ConfigError;
use crate::error::ServerError;
use crate::format::DataDir;

/// Entries after which other tasks of the core may run.
const ENTRIES_AT_ONCE: u64 = 1024;

/// Prints what the directory holds. Answers true: it could be read to its end, or to that of its reader.
///
/// # Errors
/// `Locked`, `DataDir`; damage where a start would refuse; a missing io_uring; `--hex` on a bound that is none.
pub fn scan(args: &ScanArgs) -> Result<bool, ServerError> {
    let range = range(args)?;
    let data_dir = DataDir::existing(&args.dir, true)?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let style = Style { hex: args.hex, json: args.json, keys_only: args.keys_only };
    on_a_core(async move |env| scan_all(&env, &data_dir, &range, limit, style).await)?
}

/// What is asked for.
fn range(args: &ScanArgs) -> Result<Range, ServerError> {
    let bytes = |flag: &'static str, text: &str| {
        if !args.hex {
            return Ok(text.as_bytes().to_vec());
        }
        let what = || {
            format!(
                "'{}': with --hex it is an even number of hexadecimal digits",
                text.escape_debug()
            )
        };
        from_hex(text).ok_or_else(|| ServerError::Config(ConfigError::of_flag(flag, what())))
    };
    if let Some(prefix) = &args.prefix {
        return Ok(Range::prefix(&bytes("--prefix", prefix)?));
    }
    let from = args.from.as_ref().map(|from| bytes("--from", from)).transpose()?;
    let to = args.to.as_ref().map(|to| bytes("--to", to)).transpose()?;
    Ok(Range {
        from: from.map_or(Bound::Unbounded, Bound::Included),
        to: to.map_or(Bound::Unbounded, Bound::Excluded),
    })
}

async fn scan_all(
    env: &GlommioEnv,
    data_dir: &DataDir,
    range: &Range,
    limit: u64,
    style: Style,
) -> Result<bool, ServerError> {
    let mut sources = Vec::new();
    for (shard, identity) in shards(data_dir) {
        let dir = data_dir.shard_path(shard);
        let opened = Contents::open(env, &dir, identity, range.clone()).await?;
        if let Some(mut contents) = opened {
            contents.advance().await?;
            sources.push(contents);
        }
    }
    let mut out = BufWriter::new(stdout());
    let mut printed = 0;
    while printed < limit {
        let standing = sources.iter().enumerate();
        let standing = standing.filter_map(|(index, source)| Some((source.entry()?, index)));
        let Some((entry, index)) = standing.min_by_key(|(entry, _)| entry.key) else { break };
        if style.print(&mut out, &entry).is_err() {
            // Nobody reads any more.
            return Ok(true);
        }
        printed += 1;
        sources[index].advance().await?;
        if printed % ENTRIES_AT_ONCE == 0 {
            env.pause().await;
        }
    }
    // A closed pipe is not our failure.
    let _ = out.flush();
    for source in sources {
        source.close().await?;
    }
    Ok(true)
}

/// How a line looks.
#[derive(Debug, Clone, Copy)]
struct Style {
    hex: bool,
    json: bool,
    keys_only: bool,
}

impl Style {
    fn print(self, out: &mut BufWriter<Stdout>, entry: &LiveEntry<'_>) -> std::io::Result<()> {
        let line = self.line(entry);
        writeln!(out, "{line}")
    }

    fn line(self, entry: &LiveEntry<'_>) -> String {
        if self.json {
            // Text and a number: nothing that could fail.
            return serde_json::to_string(&self.object(entry)).unwrap_or_default();
        }
        let shown = |bytes: &[u8]| if self.hex { to_hex(bytes) } else { escaped(bytes) };
        if self.keys_only {
            shown(entry.key)
        } else {
            format!("{}\t{}", shown(entry.key), shown(entry.value))
        }
    }

    /// As `import` reads it, but for hexadecimal digits.
    fn object(self, entry: &LiveEntry<'_>) -> Line {
        let value = Some(entry.value).filter(|_| !self.keys_only);
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let both = |shown: fn(&[u8]) -> String| (shown(entry.key), value.map(shown));
        let ((key, value), encoding) = if self.hex {
            (both(to_hex), Some("hex"))
        } else {
            match (text(entry.key), value.map_or(Some(String::new()), text)) {
                (Some(key), Some(text)) => ((key, value.map(|_| text)), None),
                _ => (both(|bytes| STANDARD.encode(bytes)), Some("base64")),
            }
        };
        let expires_at_ms = Some(entry.expires_at_ms).filter(|at| *at > 0);
        Line { key, value, encoding, expires_at_ms }
    }
}

#[derive(Debug, Serialize)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

/// As in dumps: text that no terminal takes for a command, and that shows where a field ends.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use shard::key::SeqNo;

    use super::*;

    #[test]
    fn lines_of_every_style() {
        let entry =
            LiveEntry { key: b"a\t\xff", seq: SeqNo(1), value: b"\"v\"\n\\", expires_at_ms: 7 };
        let line = |hex, json, keys_only| Style { hex, json, keys_only }.line(&entry);
        assert_eq!(line(false, false, false), "a\\t\\xff\t\"v\"\\n\\\\");
        assert_eq!(line(true, false, false), "6109ff\t2276220a5c");
        assert_eq!(line(false, false, true), "a\\t\\xff");
        assert_eq!(
            line(false, true, false),
            r#"{"key":"YQn/","value":"InYiClw=","encoding":"base64","expires_at_ms":7}"#
        );
        let text = LiveEntry { key: "ü".as_bytes(), expires_at_ms: 0, ..entry };
        let line = Style { hex: false, json: true, keys_only: true }.line(&text);
        assert_eq!(line, r#"{"key":"ü"}"#);
    }

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(from_hex("00fFa1"), Some(vec![0, 0xff, 0xa1]));
        assert_eq!((from_hex("0"), from_hex("0g"), from_hex("")), (None, None, Some(vec![])));
        assert_eq!(from_hex(&to_hex(b"\x00\x7f\xff")), Some(b"\x00\x7f\xff".to_vec()));
    }
}
