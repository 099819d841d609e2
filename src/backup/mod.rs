//! Checkpoints of a whole data directory: what one is, its name, and how all that lie at one place are listed and deleted.
//!
//! ```text
//! ROOT/                <data_dir>/backups, or `backup_dir`
//!   .lock              held with flock by whoever makes, replaces or deletes one
//!   NAME/              a checkpoint: whole, or not under this name
//!     CHECKPOINT       what it holds, as TOML; its presence says that this is no data directory
//!     FORMAT           as of the data directory: same identity, same slots
//!     shard-000/       `shard::checkpoint`: tables, which the data directory may still use, a manifest, CURRENT
//!   .NAME.tmp/         one that is being made, or deleted; a left one goes with the next
//! ```
//!
//! - `draft`: how one gets its name. `saver`: CHECKPOINT, SAVE and BGSAVE of a server. `offline`: `rusty-lsm checkpoint`.
//!   `restore`: the way back.
//!
//! # What is safe about it
//! - Tables are never written again, so a second name costs no bytes at first. A checkpoint keeps the bytes of its tables on the
//!   disk: after all data was rewritten, as much again as the data.
//! - A checkpoint has the identity of its directory: every file of it is known by its checksums to be of that directory, that
//!   shard and that number. What is restored from it has the same identity, and gives its files numbers far from all others
//!   (`shard::checkpoint`): no two copies ever have different bytes under one name.
//! - Names are letters, digits and `._-`, and none begins with a dot: no path leads out of ROOT. A link in the place of a checkpoint
//!   is refused.

mod draft;
mod offline;
mod restore;
pub mod saver;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ServerError;
use crate::format::{CHECKPOINT, sync_dir};
use crate::sys;

pub(crate) use draft::Draft;
pub use offline::checkpoint;
pub use restore::restore;
pub(crate) use saver::Saver;

/// What SAVE, BGSAVE and SHUTDOWN SAVE make anew each time.
pub(crate) const DUMP: &str = "dump";

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Longest file CHECKPOINT that is read, in bytes: some 60 a shard.
const CHECKPOINT_BYTES_MAX: u64 = 256 << 10;

const LOCK: &str = ".lock";

/// The name of a checkpoint: a letter, digit or `_`, then up to 63 of these, dots and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_inner = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
        let is_name = text.len() <= NAME_BYTES_MAX
            && text.first().is_some_and(|&first| is_word(first))
            && text.iter().all(|&byte| is_inner(byte));
        match str::from_utf8(text) {
            Ok(text) if is_name => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "'{}' is no name for a checkpoint: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ . -, the first of them no dot and no dash",
                text.get(..NAME_BYTES_MAX).unwrap_or(text).escape_ascii()
            )),
        }
    }

    pub(crate) fn dump() -> Self {
        Self(DUMP.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn tmp(&self) -> String {
        format!(".{}.tmp", self.0)
    }

    /// Whether `name` is of a checkpoint that is being made or deleted.
    fn is_tmp(name: &str) -> bool {
        let inner = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
        inner.is_some_and(|inner| Self::parse(inner.as_bytes()).is_ok())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The file CHECKPOINT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Of the program that made it.
    pub(crate) version: String,
    /// In seconds since 1970.
    pub(crate) made_s: u64,
    pub(crate) shards: Vec<ShardDescription>,
}

/// What a checkpoint holds of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardDescription {
    /// Every operation up to this one.
    pub(crate) last_seq: u64,
    pub(crate) tables: u64,
    pub(crate) bytes: u64,
}

impl From<&shard::checkpoint::Checkpoint> for ShardDescription {
    fn from(made: &shard::checkpoint::Checkpoint) -> Self {
        Self { last_seq: made.last_seq, tables: made.tables, bytes: made.bytes }
    }
}

impl Description {
    pub(crate) fn bytes(&self) -> u64 {
        // Written by us, and read from where anyone may have been.
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.bytes))
    }

    pub(crate) fn tables(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.tables))
    }

    /// Of the checkpoint in `dir`; `None`: there is none.
    ///
    /// # Errors
    /// `Backup` for what cannot be read as one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, ServerError> {
        let path = dir.join(CHECKPOINT);
        let mut text = String::new();
        let read = File::open(&path)
            .and_then(|file| file.take(CHECKPOINT_BYTES_MAX).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ServerError::io("read", &path, error)),
            Ok(_) => toml::from_str(&text).map(Some).map_err(|error| {
                refused(
                    dir,
                    &format!("its {CHECKPOINT} cannot be read: {}", error.message()),
                    "take another one",
                )
            }),
        }
    }
}

fn refused(path: &Path, what: &str, remedy: &str) -> ServerError {
    ServerError::Backup { path: path.to_owned(), what: what.into(), remedy: remedy.into() }
}

/// The checkpoint `name` under `root`, if it is one. `None`: nothing has that name.
///
/// # Errors
/// `Backup` for anything else of that name: a link, a file, a directory of somebody else.
fn look(root: &Path, name: &Name) -> Result<Option<Description>, ServerError> {
    let path = root.join(name.as_str());
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ServerError::io("look at", &path, error)),
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(refused(&path, "it is no directory", "take it away, or use another name"));
        }
    }
    match Description::read(&path)? {
        Some(found) => Ok(Some(found)),
        None => {
            Err(refused(&path, "it is no checkpoint of ours", "take it away, or use another name"))
        }
    }
}

/// All checkpoints under `root`, by name. What is none is left out.
///
/// # Errors
/// `Io`.
pub(crate) fn list(root: &Path) -> Result<Vec<(Name, Description)>, ServerError> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| ServerError::io("read directory", root, e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| ServerError::io("read directory", root, e))?.file_name();
        let Some(name) = name.to_str().and_then(|name| Name::parse(name.as_bytes()).ok()) else {
            continue;
        };
        if let Ok(Some(description)) = look(root, &name) {
            found.push((name, description));
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}

/// Deletes the checkpoint `name` under `root`: from the first moment on it is not under its name, so half a checkpoint is never
/// taken for a whole one. The space comes back as far as the data directory does not use the tables.
///
/// # Errors
/// `Backup` if there is none, or another one is being made there; `Io`.
pub(crate) fn delete(root: &Path, name: &Name) -> Result<Description, ServerError> {
    let path = root.join(name.as_str());
    let absent = || refused(&path, "there is none", "list them with: rusty-lsm checkpoint --list");
    let found = look(root, name)?.ok_or_else(absent)?;
    let _lock = lock(root)?;
    clear(root)?;
    let tmp = root.join(name.tmp());
    fs::rename(&path, &tmp).map_err(|e| ServerError::io("rename", &path, e))?;
    sync_dir(root)?;
    remove(&tmp)?;
    Ok(found)
}

/// Makes `root` (0700), if it is absent, and takes the lock on it.
///
/// # Errors
/// `Backup` if somebody else has it; `Io`.
fn lock(root: &Path) -> Result<File, ServerError> {
    let made = fs::DirBuilder::new().mode(0o700).create(root);
    match made {
        Ok(()) => sync_dir(
            root.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && root.is_dir() => {}
        Err(error) => return Err(ServerError::io("create", root, error)),
    }
    let path = root.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|e| ServerError::io("open", &path, e))?;
    if sys::try_lock(&file).map_err(|e| ServerError::io("lock", &path, e))? {
        Ok(file)
    } else {
        Err(refused(
            root,
            "another checkpoint is being made or deleted there",
            "try again when it is done",
        ))
    }
}

/// Removes what was left by somebody who was killed while making or deleting one. The lock is held.
///
/// # Errors
/// `Io`.
fn clear(root: &Path) -> Result<(), ServerError> {
    let entries = fs::read_dir(root).map_err(|e| ServerError::io("read directory", root, e))?;
    for entry in entries {
        let name = entry.map_err(|e| ServerError::io("read directory", root, e))?.file_name();
        if name.to_str().is_some_and(Name::is_tmp) {
            remove(&root.join(name))?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<(), ServerError> {
    fs::remove_dir_all(dir).map_err(|e| ServerError::io("remove", dir, e))
}

/// At a start: what was left under `root` by a server that was killed. Nothing there is no trouble, nor is somebody at work.
pub(crate) fn clear_left_over(root: &Path) {
    let is_tmp = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(Name::is_tmp))
    };
    if !fs::read_dir(root).is_ok_and(|mut entries| entries.any(is_tmp)) {
        return;
    }
    let cleared = lock(root).and_then(|_lock| clear(root));
    if let Err(error) = cleared {
        tracing::warn!(%error, "an unfinished checkpoint stays");
    }
}

/// Where checkpoints of the data directory at `data_dir` lie.
pub(crate) fn root(data_dir: &Path, backup_dir: Option<&Path>) -> PathBuf {
    backup_dir.map_or_else(|| data_dir.join(crate::format::BACKUPS), Path::to_owned)
}

#[cfg(test)]
mod tests;
