//! `RESHARD` in the data directory: a change of its number of shards that is under way, or whose rest is still there.
//!
//! ```text
//! magic    8  "RLSM-RSH"
//! version  4  1
//! then twice, for the directory before and after: length 4, and the bytes of a FORMAT
//! crc      4  CRC-32 (IEEE) of all before it
//! ```
//!
//! # Invariants
//! - It is there before the first of the new shards, and goes after the last of those that are not data any more.
//! - FORMAT is the first of the two: the new shards are unfinished. FORMAT is the second: the old ones are not data any more.
//!   What is removed is named by this file and decided by FORMAT; without this file nothing is removed.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use shard::coding::{Reader, crc32};

use super::{Format, read, replace, sync_dir};
use crate::error::ServerError;

const NAME: &str = "RESHARD";
const TMP: &str = "RESHARD.tmp";
const MAGIC: &[u8; 8] = b"RLSM-RSH";
const VERSION: u32 = 1;

/// From one set of shards to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) old: Format,
    pub(crate) new: Format,
}

impl Move {
    /// The one that is noted in the data directory at `path`, if there is one.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, ServerError> {
        let file = path.join(NAME);
        let Some(bytes) = read(&file)? else { return Ok(None) };
        Self::decode(&file, &bytes).map(Some)
    }

    /// Notes it, durably.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ServerError> {
        replace(path, NAME, TMP, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        for format in [&self.old, &self.new] {
            let bytes = format.encode();
            let len = u32::try_from(bytes.len())
                .unwrap_or_else(|_| unreachable!("a range a slot at most"));
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        let crc = crc32(&[], &[&out]);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(file: &Path, bytes: &[u8]) -> Result<Self, ServerError> {
        let damaged = |what: &str| {
            ServerError::Damaged {
            path: file.to_owned(),
            what: what.into(),
            remedy: "the data is where FORMAT says; remove this file and start, shards that FORMAT does not name stay".into(),
        }
        };
        let split = bytes.split_last_chunk();
        let (body, crc) = split.ok_or_else(|| damaged("it is too short"))?;
        if crc32(&[], &[body]) != u32::from_le_bytes(*crc) {
            return Err(damaged("its checksum does not match"));
        }
        let mut reader = Reader::new(body);
        if reader.array() != Some(*MAGIC) || reader.u32() != Some(VERSION) {
            return Err(damaged("it is none of ours"));
        }
        let mut formats = [(); 2].map(|()| {
            let len = reader.u32()? as usize;
            reader.bytes(len).map(<[u8]>::to_vec)
        });
        let mut take = |at: usize| {
            let bytes = formats[at].take().ok_or_else(|| damaged("it is too short"))?;
            Format::decode(file, &bytes)
        };
        Ok(Self { old: take(0)?, new: take(1)? })
    }

    /// Removes the shards of the side that is not data, then the note. `format`: what FORMAT says. I/O: their files are removed.
    ///
    /// # Errors
    /// `DataDir` if FORMAT is neither; `Io`. Call it again.
    pub(crate) fn clear(&self, path: &Path, format: &Format) -> Result<(), ServerError> {
        let gone = if *format == self.new {
            &self.old
        } else if *format == self.old {
            &self.new
        } else {
            return Err(ServerError::DataDir {
                path: path.to_owned(),
                what: format!("its {NAME} does not belong to its FORMAT"),
                remedy: "restore both from one backup".into(),
            });
        };
        for dir in shard_paths(gone, path) {
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ServerError::io("remove", &dir, error));
                }
                _ => {}
            }
        }
        sync_dir(path)?;
        let note = path.join(NAME);
        fs::remove_file(&note).map_err(|e| ServerError::io("remove", &note, e))?;
        sync_dir(path)
    }
}

/// The directories of all shards of `format`.
pub(crate) fn shard_paths(format: &Format, path: &Path) -> impl Iterator<Item = PathBuf> {
    (0..format.slots.shards()).map(|shard| format.shard_path(path, shard))
}

/// At a start: what an unfinished change has made is stale from now on, and what a finished one has left is no data.
///
/// # Errors
/// As [`Move::read`] and [`Move::clear`].
pub(super) fn settle(path: &Path, format: &Format) -> Result<(), ServerError> {
    let Some(found) = Move::read(path)? else { return Ok(()) };
    if *format == found.old {
        let words = format!(
            "rusty-lsm: a change from {} to {} shards was not finished: what it has made is removed, since the data goes on",
            found.old.slots.shards(),
            found.new.slots.shards()
        );
        // The log may not be set up yet; a closed pipe is not our failure.
        let _ = writeln!(io::stderr(), "{words}");
    }
    found.clear(path, format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::SlotTable;

    fn format(generation: u32, shards: u32) -> Format {
        let slots = SlotTable::contiguous(shards);
        Format { directory: 5 + u128::from(generation), generation, slots }
    }

    fn make(path: &Path, format: &Format) {
        for dir in shard_paths(format, path) {
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("000001.sst"), "x").unwrap();
        }
    }

    fn there(path: &Path) -> Vec<String> {
        let names = fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_side_that_format_does_not_name_is_removed() {
        let moving = Move { old: format(0, 2), new: format(1, 3) };
        for (named, left) in [
            (&moving.old, ["shard-000", "shard-001"].as_slice()),
            (&moving.new, &["shard-000-g1", "shard-001-g1", "shard-002-g1"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path(), &moving.old);
            make(dir.path(), &moving.new);
            settle(dir.path(), named).unwrap();
            assert_eq!(there(dir.path()).len(), 5, "without a note nothing is removed");
            moving.write(dir.path()).unwrap();
            assert_eq!(Move::read(dir.path()).unwrap(), Some(moving.clone()));
            let other = settle(dir.path(), &format(7, 3)).unwrap_err();
            assert_eq!((other.exit_code(), there(dir.path()).len()), (78, 6), "{other}");
            settle(dir.path(), named).unwrap();
            assert_eq!(there(dir.path()), left);
        }
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let whole = Move { old: format(0, 2), new: format(1, 3) }.encode();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(Move::decode(Path::new("d"), &bytes).is_err(), "byte {at}");
            assert!(Move::decode(Path::new("d"), &whole[..at]).is_err(), "cut at {at}");
        }
    }
}
