//! `clear`: everything of ours in a data directory is removed, and nothing else ever.
//!
//! # Invariants
//! - The lock is held from before the first look to the last removal.
//! - Every name is looked at before one is removed; one that is not ours keeps all of them.
//! - FORMAT and LOCK go last: a `clear` that was killed is run again.
//! - No link is followed.
//! - Checkpoints stay: `rusty-lsm checkpoint --delete` removes them, one by one.

use std::fs::{self, DirEntry};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use shard::check::contents::is_ours;

use super::{complain, print, size};
use crate::cli::ClearArgs;
use crate::error::ServerError;
use crate::format::{self, DataDir};
use crate::overrides;

/// Entries of one directory that are looked at: far more than a shard ever has files.
const ENTRIES_MAX: usize = 10_000_000;

/// What is to go, in this order.
#[derive(Debug, Default)]
struct Found {
    /// Of shards and quarantines, then settings.
    files: Vec<PathBuf>,
    /// The deepest first.
    dirs: Vec<PathBuf>,
    /// FORMAT, then LOCK.
    last: Vec<PathBuf>,
    bytes: u64,
    foreign: Vec<PathBuf>,
}

/// Removes all data. Answers whether it was wanted, and done.
///
/// # Errors
/// `Locked`; `DataDir`: not one of ours, or something in it is not; `Io`.
pub fn clear(args: &ClearArgs) -> Result<bool, ServerError> {
    let data_dir = DataDir::existing(&args.data_dir, false)?;
    data_dir.check_settled()?;
    let found = Found::below(data_dir.path(), data_dir.shards())?;
    if let Some(first) = found.foreign.first() {
        let others = match found.foreign.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        return Err(ServerError::DataDir {
            path: data_dir.path().to_owned(),
            what: format!("{}{others} is not ours; nothing was removed", first.display()),
            remedy: "move it away, or remove the directory by hand".into(),
        });
    }
    let what = format!(
        "{}: {} files of {} shards, {}",
        data_dir.path().display(),
        found.files.len(),
        data_dir.shards(),
        size(found.bytes)
    );
    if !args.yes && !agreed(&what).map_err(ServerError::Runtime)? {
        complain("nothing was removed");
        return Ok(false);
    }
    found.remove(data_dir.path())?;
    print(&format!("removed {what}\n"));
    Ok(true)
}

/// Asks who sits there. Who cannot be asked has not agreed.
fn agreed(what: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        complain("to remove all data without being asked, say --yes");
        return Ok(false);
    }
    let mut err = io::stderr();
    write!(err, "remove {what}, for ever? Type yes: ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

impl Found {
    fn below(root: &Path, shards: u32) -> Result<Self, ServerError> {
        let mut found = Self::default();
        for entry in entries(root)? {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if name.starts_with("quarantine-") && is_dir(&entry)? {
                for inner in entries(&path)? {
                    if is_dir(&inner)?
                        && shard_number(&inner.file_name().to_string_lossy()).is_some()
                    {
                        found.shard(&inner.path())?;
                    } else {
                        found.foreign.push(inner.path());
                    }
                }
                found.dirs.push(path);
            } else if shard_number(&name).is_some_and(|number| number < shards) && is_dir(&entry)? {
                found.shard(&path)?;
            } else if is_file(&entry)? && overrides::NAMES.contains(&&*name) {
                found.file(&entry)?;
            } else if is_file(&entry)? && format::NAMES.contains(&&*name) {
                found.last.push(path);
            } else if !["lost+found", format::BACKUPS].contains(&&*name) {
                found.foreign.push(path);
            }
        }
        // As they are named there: the lock is the last to go.
        let place = |path: &PathBuf| format::NAMES.iter().position(|name| path.ends_with(name));
        found.last.sort_by_key(place);
        Ok(found)
    }

    fn shard(&mut self, dir: &Path) -> Result<(), ServerError> {
        for entry in entries(dir)? {
            if is_file(&entry)? && is_ours(&entry.file_name().to_string_lossy()) {
                self.file(&entry)?;
            } else {
                self.foreign.push(entry.path());
            }
        }
        self.dirs.push(dir.to_owned());
        Ok(())
    }

    fn file(&mut self, entry: &DirEntry) -> Result<(), ServerError> {
        let path = entry.path();
        self.bytes += entry.metadata().map_err(|e| ServerError::io("look at", &path, e))?.len();
        self.files.push(path);
        Ok(())
    }

    fn remove(&self, root: &Path) -> Result<(), ServerError> {
        for file in &self.files {
            fs::remove_file(file).map_err(|e| ServerError::io("remove", file, e))?;
        }
        for dir in &self.dirs {
            fs::remove_dir(dir).map_err(|e| ServerError::io("remove", dir, e))?;
        }
        for file in &self.last {
            fs::remove_file(file).map_err(|e| ServerError::io("remove", file, e))?;
        }
        let synced = fs::File::open(root).and_then(|dir| dir.sync_all());
        synced.map_err(|e| ServerError::io("sync directory", root, e))
    }
}

fn entries(dir: &Path) -> Result<Vec<DirEntry>, ServerError> {
    let failed = |error| ServerError::io("read directory", dir, error);
    let entries: io::Result<Vec<DirEntry>> =
        fs::read_dir(dir).map_err(failed)?.take(ENTRIES_MAX + 1).collect();
    let entries = entries.map_err(failed)?;
    if entries.len() > ENTRIES_MAX {
        return Err(failed(io::Error::other(format!("more than {ENTRIES_MAX} entries"))));
    }
    Ok(entries)
}

/// The kind of the entry itself, not of what a link leads to.
fn is_dir(entry: &DirEntry) -> Result<bool, ServerError> {
    let kind = entry.file_type().map_err(|e| ServerError::io("look at", &entry.path(), e))?;
    Ok(kind.is_dir())
}

fn is_file(entry: &DirEntry) -> Result<bool, ServerError> {
    let kind = entry.file_type().map_err(|e| ServerError::io("look at", &entry.path(), e))?;
    Ok(kind.is_file())
}

/// Of `shard-NNN`, or `shard-NNN-gN` after a change of their number, in its one form.
fn shard_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("shard-")?;
    let (digits, generation) = digits.split_once("-g").unwrap_or((digits, "1"));
    let number = digits.parse().ok()?;
    let generation: u32 = generation.parse().ok()?;
    let forms = [format!("shard-{number:03}"), format!("shard-{number:03}-g{generation}")];
    forms.iter().any(|form| form == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> (tempfile::TempDir, Found) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "12345").unwrap();
        }
        let found = Found::below(dir.path(), 2).unwrap();
        (dir, found)
    }

    #[test]
    fn what_is_ours_goes_and_the_lock_last() {
        let (dir, found) = found(&[
            "LOCK",
            "FORMAT",
            "overrides.toml",
            "shard-000/CURRENT",
            "shard-000/000001.wal",
            "shard-001-g1/manifest-000003",
            "quarantine-20261127/shard-001/000007.sst",
        ]);
        assert!(found.foreign.is_empty(), "{found:?}");
        assert_eq!((found.files.len(), found.dirs.len(), found.bytes), (5, 4, 25));
        assert!(found.last[0].ends_with("FORMAT") && found.last[1].ends_with("LOCK"));
        found.remove(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let (dir, found) = self::found(&["FORMAT", "backups/dump/CHECKPOINT"]);
        found.remove(dir.path()).unwrap();
        assert!(dir.path().join("backups/dump/CHECKPOINT").exists());
    }

    #[test]
    fn what_is_not_ours_is_found_wherever_it_is() {
        for foreign in [
            "notes.txt",
            "shard-000/notes.txt",
            "shard-0/CURRENT",
            "shard-007/CURRENT",
            "shard-001-g01/CURRENT",
            "quarantine-1/x",
            "quarantine-1/shard-000/x",
        ] {
            let (_dir, found) = found(&["FORMAT", "shard-000/CURRENT", foreign]);
            assert_eq!(found.foreign.len(), 1, "{foreign}: {found:?}");
        }
        let (dir, _) = found(&["FORMAT"]);
        std::os::unix::fs::symlink("/", dir.path().join("shard-000")).unwrap();
        assert_eq!(Found::below(dir.path(), 2).unwrap().foreign.len(), 1, "a link is not followed");
    }
}
