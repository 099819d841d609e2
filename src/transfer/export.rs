//! All keys of a server, page by page: SCAN, then value and end of each, many under way at once.
//!
//! What is written while it runs may be in the file or not. A key that is not a string is left out and counted.

use std::io::{self, Write};

use super::{Entry, Format, Skipped, TransferError, csv, jsonl, rdb};
use crate::client::{Client, Reply, encode};
use crate::glob::of_prefix;

/// Keys that a page asks for.
const PAGE_KEYS: &str = "500";

/// Bytes of names that are asked for at once: less than the two sockets hold and the server reads ahead. Values come one by one.
const ASKED_BYTES_MAX: usize = 64 << 10;

/// What came of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    pub keys: u64,
    pub bytes: u64,
    pub skipped: std::collections::BTreeMap<Skipped, u64>,
}

/// A file that is being written.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for an export")]
pub enum Output<W: Write> {
    Jsonl(W),
    Csv(csv::Writer<W>),
    Aof(W),
    Rdb(rdb::Writer<W>),
}

impl<W: Write> Output<W> {
    /// Writes the head of the format.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(format: Format, mut out: W) -> io::Result<Self> {
        Ok(match format {
            Format::Jsonl => Self::Jsonl(out),
            Format::Csv => Self::Csv(csv::Writer::begin(out)?),
            Format::Aof => {
                let mut head = Vec::new();
                encode(&mut head, &["SELECT", "0"]);
                out.write_all(&head)?;
                Self::Aof(out)
            }
            Format::Rdb => Self::Rdb(rdb::Writer::begin(out)?),
        })
    }

    /// Writes one key.
    ///
    /// # Errors
    /// The output's.
    pub fn put(&mut self, entry: &Entry) -> io::Result<()> {
        match self {
            Self::Jsonl(out) => jsonl::write(out, entry),
            Self::Csv(writer) => writer.put(entry),
            Self::Rdb(writer) => writer.put(entry),
            Self::Aof(out) => {
                let mut words: Vec<&[u8]> = vec![b"SET", &entry.key, &entry.value];
                let mut digits = itoa::Buffer::new();
                if entry.expires_at_ms > 0 {
                    words.extend([&b"PXAT"[..], digits.format(entry.expires_at_ms).as_bytes()]);
                }
                let mut command = Vec::new();
                encode(&mut command, &words);
                out.write_all(&command)
            }
        }
    }

    /// Writes the end of the format, and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn end(self) -> io::Result<W> {
        match self {
            Self::Jsonl(out) | Self::Aof(out) => Ok(out),
            Self::Csv(writer) => writer.end(),
            Self::Rdb(writer) => writer.end(),
        }
    }
}

/// Writes all keys that begin with `prefix`. `told` hears of the progress.
///
/// # Errors
/// The server's or the output's.
pub fn export<W: Write>(
    client: &mut Client,
    prefix: &[u8],
    output: &mut Output<W>,
    mut told: impl FnMut(&Exported),
) -> Result<Exported, TransferError> {
    let mut exported = Exported::default();
    let mut cursor = b"0".to_vec();
    let pattern = of_prefix(prefix);
    loop {
        let mut words: Vec<&[u8]> = vec![b"SCAN", &cursor, b"COUNT", PAGE_KEYS.as_bytes()];
        if !prefix.is_empty() {
            words.extend([&b"MATCH"[..], &pattern]);
        }
        let (next, keys) = page(&client.command(&words)?)?;
        let mut keys = &keys[..];
        while !keys.is_empty() {
            let mut bytes = 0;
            let few = keys.iter().take_while(|key| {
                bytes += key.len() + 32;
                bytes <= ASKED_BYTES_MAX
            });
            let (some, rest) = keys.split_at(few.count().max(1));
            fetch(client, some, output, &mut exported)?;
            keys = rest;
        }
        told(&exported);
        if next == b"0" {
            return Ok(exported);
        }
        cursor = next;
    }
}

/// Cursor and keys of a reply to SCAN.
fn page(reply: &Reply) -> Result<(Vec<u8>, Vec<Vec<u8>>), TransferError> {
    if let Some(error) = reply.error() {
        return Err(TransferError::Server(error.to_owned()));
    }
    let Some((cursor, keys)) = reply.page() else {
        return Err(TransferError::Server("SCAN: neither a page nor an error".into()));
    };
    Ok((cursor.to_vec(), keys.map(<[u8]>::to_vec).collect()))
}

fn fetch<W: Write>(
    client: &mut Client,
    keys: &[Vec<u8>],
    output: &mut Output<W>,
    exported: &mut Exported,
) -> Result<(), TransferError> {
    for key in keys {
        client.queue(&[&b"GET"[..], key]);
        client.queue(&[&b"PEXPIRETIME"[..], key]);
    }
    client.send()?;
    for key in keys {
        let (value, expires) = (client.receive()?, client.receive()?);
        let value = match value {
            Reply::Bulk(value) => value,
            // It has gone since.
            Reply::Nil => continue,
            reply => match reply.error() {
                Some(error) if error.starts_with("WRONGTYPE") => {
                    *exported.skipped.entry(Skipped::Kind("not a string")).or_default() += 1;
                    continue;
                }
                error => {
                    let text = error.unwrap_or("GET: neither a value nor an error");
                    return Err(TransferError::Server(text.to_owned()));
                }
            },
        };
        let expires_at_ms = match expires.integer() {
            Some(-2) => continue,
            Some(-1) => 0,
            Some(at) => at.cast_unsigned(),
            None => {
                let text = expires.error().unwrap_or("PEXPIRETIME: no number");
                return Err(TransferError::Server(text.to_owned()));
            }
        };
        exported.keys += 1;
        exported.bytes += (key.len() + value.len()) as u64;
        let written = output.put(&Entry { key: key.clone(), value, expires_at_ms });
        written.map_err(|source| TransferError::Io {
            op: "write",
            path: "the output".into(),
            source,
        })?;
    }
    Ok(())
}
