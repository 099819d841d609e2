//! The manifest: which files make up the shard.
//!
//! # Files
//! ```text
//! CURRENT           one header block: the number of the manifest in use, and where its snapshot ends
//! manifest-NNNNNN   header block, then frames: the snapshot's parts, then one edit after the other
//! ```
//! Header block and frames have the shape of the log's (see [`crate::wal`]); the fields that differ:
//! ```text
//! kind         4 part of the snapshot, 5 edit
//! first_seq    index of the frame in this manifest, from 0
//! synced_upto  of an edit: its own offset, for each edit is synced before the next; of a part: 0
//! payload      one VersionEdit as an rkyv archive (little-endian, 32-bit offsets), its root at the end; it begins at a
//!              multiple of 16 bytes, as the archive needs. In a file of format 1 it is one of `v1`, whose tables have no times
//! ```
//!
//! # Validity
//! - A snapshot is synced before `CURRENT` names it: a frame before the snapshot's end that is not whole is damage.
//! - An edit that is not whole is damage if a head stands at a later boundary, else a torn tail: it was never
//!   acknowledged, and is cut.
//!
//! # Invariants
//! - A manifest that was read is never appended to: each start writes a new one and switches `CURRENT`.
//! - `CURRENT` is switched in this order: manifest synced, directory synced, `CURRENT.tmp` written and synced, renamed,
//!   directory synced. Only then is the old manifest removed.
//! - The state in memory changes after the edit is durable, and not otherwise.

mod current;
pub(crate) mod edit;
mod file;
pub(crate) mod log;
pub(crate) mod numbers;
pub(crate) mod state;
mod v1;
pub(crate) mod version;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::error::{Error, Result};

pub(crate) use file::edit as decode_edit;
pub(crate) use log::{Loaded, Manifest};
pub(crate) use numbers::Numbers;
pub(crate) use state::State;

/// Numbers at and above this are nobody's: a file with such a name is not ours.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// The name of a manifest.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("manifest-{number:06}"))
}

/// What kind of file a name of the shard's directory stands for, with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileName {
    /// `{number:06}.sst`
    Table(u64),
    /// `{number:06}.wal`
    Segment(u64),
    /// `manifest-{number:06}`
    Manifest(u64),
    /// `CURRENT`
    Current,
    /// `CURRENT.tmp`
    CurrentTmp,
}

impl FileName {
    /// `None` for a name that this crate never gives to a file: such a file is left alone.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = |digits: &str| {
            let number = digits.parse().ok().filter(|&number: &u64| number < NUMBER_MAX)?;
            // Leading zeros, signs: only the one canonical form is ours.
            (format!("{number:06}") == digits).then_some(number)
        };
        if let Some(digits) = name.strip_suffix(".sst") {
            number(digits).map(Self::Table)
        } else if let Some(digits) = name.strip_suffix(".wal") {
            number(digits).map(Self::Segment)
        } else if let Some(digits) = name.strip_prefix("manifest-") {
            number(digits).map(Self::Manifest)
        } else {
            match name {
                "CURRENT" => Some(Self::Current),
                "CURRENT.tmp" => Some(Self::CurrentTmp),
                _ => None,
            }
        }
    }

    /// The number of a numbered file.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Table(number) | Self::Segment(number) | Self::Manifest(number) => Some(number),
            Self::Current | Self::CurrentTmp => None,
        }
    }
}

/// Whether a manifest was ever made durable in `dir`.
///
/// # Errors
/// `Io`.
#[cfg(test)]
pub(crate) async fn exists<E: Env>(env: &E, dir: &Path) -> Result<bool> {
    Ok(list(env, dir).await?.contains(&FileName::Current))
}

/// Our own files in `dir`.
async fn list<E: Env>(env: &E, dir: &Path) -> Result<Vec<FileName>> {
    let names = env.list(dir).await.map_err(|error| Error::io("list", dir, &error))?;
    Ok(names.iter().filter_map(|name| FileName::parse(name)).collect())
}
