//! Data in and out: files of other programs into a server or a data directory, and back.
//!
//! - `input`: a file as it is read. `jsonl`, `csv`, `aof`, `rdb`: the formats.
//! - `import`: items of a file to commands of a [`crate::client::Client`], many under way at once. `export`: the way back.
//! - `run`: what `rusty-lsm import` and `export` do: open, show the progress, tell what came of it.
//!
//! # Invariants
//! - An import is commands, as any client sends them: it gets past no check that a SET has to pass.
//! - What a file claims decides nothing before it is checked: no length allocates, and damage names its place.
//! - Nothing is skipped in silence: what is not imported is counted, with the reason.

pub mod aof;
pub mod csv;
pub mod export;
pub mod import;
mod input;
pub mod jsonl;
pub mod rdb;
pub mod run;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::ClientError;
use crate::error::{ServerError, exit};

pub use input::Input;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// Milliseconds since 1970; 0: never.
    pub expires_at_ms: u64,
}

/// What is not imported, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// A value of another type: there are strings alone here.
    Kind(&'static str),
    /// A key above 64 KiB, or a value that the target does not take.
    TooLong,
    Expired,
    /// Of a database other than 0.
    Database,
    /// It was there already.
    Exists,
    /// The target has refused it.
    Refused,
    /// What is no key.
    Other(&'static str),
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "{kind}: only strings are stored here"),
            Self::TooLong => f.write_str("too long a key or value"),
            Self::Expired => f.write_str("expired"),
            Self::Database => f.write_str("of another database than 0"),
            Self::Exists => f.write_str("the key exists already"),
            Self::Refused => f.write_str("refused"),
            Self::Other(what) => write!(f, "{what}: not supported here"),
        }
    }
}

/// What a file has, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Set(Entry),
    /// To be carried out as it stands (AOF).
    Command(Vec<Vec<u8>>),
    Skip(Skipped),
}

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// With a line of names first
    Csv,
    /// Redis' append-only file: commands
    Aof,
    /// Redis' snapshot
    Rdb,
}

impl Format {
    /// By the name of a file.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "aof" | "manifest" => Some(Self::Aof),
            "rdb" => Some(Self::Rdb),
            _ => None,
        }
    }
}

/// Why a transfer ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The file is not what it should be.
    #[error("offset {offset}: {what}")]
    Damaged { offset: u64, what: String },
    #[error("offset {offset}: cannot be read: {source}")]
    Read { offset: u64, source: io::Error },
    #[error("{op} {}: {source}", path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// What one file of several has.
    #[error("{}: {error}", path.display())]
    In { path: PathBuf, error: Box<TransferError> },
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server cannot go on.
    #[error("the server answers: {0}")]
    Server(String),
    /// The command line, or what it asks for.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Start(#[from] ServerError),
}

impl TransferError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } => exit::DAMAGED,
            Self::In { error, .. } => error.exit_code(),
            Self::Usage(_) => exit::USAGE,
            Self::Start(error) => error.exit_code(),
            Self::Read { .. } | Self::Io { .. } | Self::Client(_) | Self::Server(_) => {
                exit::FAILURE
            }
        }
    }
}

/// How bytes stand in a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As they are.
    #[default]
    Utf8,
    /// Of key and value: one of them is no text.
    Base64,
}

impl Encoding {
    /// The simplest that keeps both.
    fn of(entry: &Entry) -> Self {
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        if is_text(&entry.key) && is_text(&entry.value) { Self::Utf8 } else { Self::Base64 }
    }

    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }

    /// `None`: it is no base64.
    fn decode(self, text: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(text),
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }

    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"" | b"utf8" => Some(Self::Utf8),
            b"base64" => Some(Self::Base64),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Base64 => "base64",
        }
    }
}
