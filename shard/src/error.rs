//! What can go wrong in a shard, told as sentences: what, where, limit, remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Few and semantic: a caller decides by variant, a person reads the text.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("{op} {}: {message}", path.display())]
    Io {
        /// What was being done, as a participle: `reading`.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// For decisions; see [`Error::is_no_space`].
        kind: io::ErrorKind,
        /// The system's number, if it gave one.
        code: Option<i32>,
        /// The system's own words.
        message: String,
    },
    /// Bytes on disk are not what was written: never answered as "not found".
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Corruption {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What does not hold.
        what: String,
    },
    /// A file of another directory, shard, number or format.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, or what it is not.
        what: String,
    },
    /// A file of a later release. It is left as it is, by repair too.
    #[error(
        "{}: format {format} is unknown, this version reads format {reads}; a newer version of rusty-lsm wrote it: use that version",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// Ours.
        reads: u32,
    },
    /// An argument is above its limit.
    #[error("{what} is {len} bytes long, the limit is {max}")]
    TooLarge {
        /// Which argument.
        what: &'static str,
        /// Its length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A write or sync of the log or manifest failed, or no flush succeeds: the outcome of writes in flight is unknown, no
    /// more are taken.
    #[error(
        "shard {shard} is read-only since its disk failed ({cause}); restart the server to recover"
    )]
    ReadOnly {
        /// The shard's number.
        shard: u32,
        /// The failed operation.
        cause: String,
    },
    /// Too little space for new data. Reads and deletes go on; writes resume by themselves.
    #[error("disk full: {} has {free_bytes} bytes free, the reserve is {reserve_bytes}{}; free some space, writes resume by themselves", dir.display(), but(refused.as_ref()))]
    DiskFull {
        /// The shard's directory.
        dir: PathBuf,
        /// What the file system has left.
        free_bytes: u64,
        /// What is kept for flushes and compactions.
        reserve_bytes: u64,
        /// What the disk refused although so much is free: it lacks inodes, or a quota is used up.
        refused: Option<String>,
    },
    /// The shard is being closed.
    #[error("the shard is closing")]
    Closing,
}

fn but(refused: Option<&String>) -> String {
    refused.map_or_else(String::new, |words| format!(", but {words}"))
}

impl Error {
    /// An I/O error with what was done to which file.
    pub fn io(op: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io {
            op,
            path: path.to_owned(),
            kind: error.kind(),
            code: error.raw_os_error(),
            message: error.to_string(),
        }
    }

    /// Damage at `offset` of `path`.
    pub fn corruption(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corruption { path: path.to_owned(), offset, what: what.into() }
    }

    /// Whether something was lacking that others may give back: space, or descriptors. What was to be made was not made.
    pub fn is_passing(&self) -> bool {
        let descriptors = [Some(libc::EMFILE), Some(libc::ENFILE)];
        self.is_no_space() || matches!(self, Self::Io { code, .. } if descriptors.contains(code))
    }

    /// Whether the same call may succeed later without anything being done to this shard.
    pub fn is_retryable(&self) -> bool {
        match self {
            // Space and descriptors may come back.
            Self::DiskFull { .. } => true,
            Self::Io { .. } => self.is_passing(),
            // Bytes on disk and limits stay as they are, and only a restart helps a shard whose disk has failed.
            Self::Corruption { .. }
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::TooLarge { .. }
            | Self::ReadOnly { .. }
            | Self::Closing => false,
        }
    }

    /// Whether the disk (or its quota) is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Io { kind, .. } => {
                matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::DiskFull { .. } => true,
            _ => false,
        }
    }
}
