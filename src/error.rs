//! What ends the server, or one command: sentences that say what, where, limit and remedy, and the one table from
//! errors to exit codes and reply texts.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;

/// Exit codes; also in `--help`.
pub mod exit {
    /// Stopped in order.
    pub const OK: u8 = 0;
    /// Anything else that went wrong.
    pub const FAILURE: u8 = 1;
    /// A command line that is not understood (also clap's).
    pub const USAGE: u8 = 2;
    /// `check`, `repair` or a dump found damage that is there still.
    pub const DAMAGED: u8 = 65;
    /// io_uring is not available, or the kernel is too old.
    pub const UNAVAILABLE: u8 = 69;
    /// Another process uses the data directory.
    pub const LOCKED: u8 = 75;
    /// A setting, or the data directory that it names, cannot be used.
    pub const CONFIG: u8 = 78;
}

/// Why the server does not start, or stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused an operation on a file.
    #[error("{op} {}: {source}", path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// The data directory cannot be used as it is; nothing in it was changed.
    #[error("data directory {}: {what}; {remedy}", path.display())]
    DataDir { path: PathBuf, what: String, remedy: String },
    /// Bytes on disk are not what was written.
    #[error("{} is damaged: {what}; {remedy}", path.display())]
    Damaged { path: PathBuf, what: String, remedy: String },
    #[error("data directory {} is in use by another process{}; stop it, or use another --data-dir", path.display(), pid_text(*pid))]
    Locked { path: PathBuf, pid: Option<u32> },
    /// A checkpoint cannot be made, taken or deleted; nothing was changed.
    #[error("checkpoint {}: {what}; {remedy}", path.display())]
    Backup { path: PathBuf, what: String, remedy: String },
    /// The machine or container lacks something.
    #[error("{what}; {remedy}")]
    Unavailable { what: String, remedy: String },
    /// The address cannot be listened on.
    #[error("{what}; {remedy}")]
    Address { what: String, remedy: String },
    #[error(transparent)]
    Shard(#[from] shard::error::Error),
    /// Threads, executors or rings.
    #[error("the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// A core ended before it had started.
    #[error("a core ended while the server started; the log says why")]
    CoreDied,
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
}

impl ServerError {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(error) if error.is_usage() => exit::USAGE,
            Self::Config(_) | Self::DataDir { .. } => exit::CONFIG,
            Self::Locked { .. } => exit::LOCKED,
            Self::Unavailable { .. } => exit::UNAVAILABLE,
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Backup { .. }
            | Self::Address { .. }
            | Self::Shard(_)
            | Self::Runtime(_)
            | Self::CoreDied => exit::FAILURE,
        }
    }
}

/// The text of the error reply for a shard's error. Redis' `MISCONF` is what clients know for "writes are refused
/// because of the disk"; whoever wrote it learns from the rest what to do.
pub fn reply_text(error: &shard::error::Error) -> Cow<'static, str> {
    use shard::error::Error;
    match error {
        Error::ReadOnly { .. } | Error::DiskFull { .. } => format!("MISCONF {error}").into(),
        Error::Closing => "ERR the server is shutting down".into(),
        _ => format!("ERR {error}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_exit_code_and_says_what_to_do() {
        let locked = ServerError::Locked { path: "d".into(), pid: Some(7) };
        assert_eq!(locked.exit_code(), 75);
        assert_eq!(
            locked.to_string(),
            "data directory d is in use by another process (pid 7); stop it, or use another --data-dir"
        );
        let unavailable = ServerError::Unavailable { what: "x".into(), remedy: "y".into() };
        assert_eq!(unavailable.exit_code(), 69);
    }

    #[test]
    fn errors_of_a_shard_become_replies() {
        use shard::error::Error;
        let full =
            Error::DiskFull { dir: "d".into(), free_bytes: 1, reserve_bytes: 2, refused: None };
        assert!(reply_text(&full).starts_with("MISCONF disk full: d has 1 bytes free"));
        assert_eq!(reply_text(&Error::Closing), "ERR the server is shutting down");
        assert!(
            reply_text(&Error::corruption(Path::new("f"), 9, "crc"))
                .starts_with("ERR f is damaged at offset 9")
        );
    }
}
