//! `rusty-lsm restore`: a data directory out of a checkpoint.
//!
//! # The steps
//! 1. The checkpoint is checked whole, as `rusty-lsm check` does. With damage nothing is made.
//! 2. `.DIR.restoring` is made beside the data directory. Each shard gets the checkpoint's tables, as links or copies, and a manifest
//!    of its own. FORMAT comes last; all of it is synced.
//! 3. What was made is checked the same way.
//! 4. One rename makes it the data directory. In the place of another one, the two change names in one step; the old one
//!    stays beside it as `DIR.replaced-TIME`. Its checkpoints stay where they were.
//!
//! # Invariants
//! - The data directory is the old one or the new one, whole, at every moment.
//! - Nothing that holds data is deleted: what is unfinished has the file `RESTORING`, which goes before the data directory is touched.
//!   A directory of that name without it is what an earlier restore was killed with behind step 4; it is kept.
//! - One restore at a time in one directory: it holds a lock on the directory above.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use shard::checkpoint::{Transfer, restore as restore_shard};
use shard::env::glommio::GlommioEnv;

use super::{Description, refused};
use crate::cli::data::RestoreArgs;
use crate::error::ServerError;
use crate::format::{BACKUPS, DataDir, HARMLESS, sync_dir, write_format};
use crate::sys;
use crate::tools::check::{check_all, shards};
use crate::tools::output::Output;
use crate::tools::{on_a_core, stamp};

/// In a directory that is being made; it goes right before the directory gets its name.
const MARK: &str = "RESTORING";

/// Makes a data directory of a checkpoint, and prints what was found and done. Answers whether the checkpoint has no damage; with
/// damage nothing is made.
///
/// # Errors
/// `Backup`, `DataDir`: what is no checkpoint, a directory that has data; `Locked`; a missing io_uring; `Io`.
pub fn restore(args: &RestoreArgs) -> Result<bool, ServerError> {
    let from = &args.checkpoint;
    let place = Place::at(&args.data_dir)?;
    place.finish_earlier()?;
    if Description::read(from)?.is_none() {
        let remedy =
            "name the directory of a checkpoint: rusty-lsm checkpoint --list --data-dir DIR";
        return Err(refused(from, "it is no checkpoint: it has no file CHECKPOINT", remedy));
    }
    let source = DataDir::existing(from, true)?;
    let place = place.look(from, args.replace)?;
    let how = if args.copy { Transfer::Copy } else { Transfer::Link };
    let made = on_a_core(async move |env| {
        let mut output = Output::new(source.path());
        if !check_all(&env, &source, &mut output).await? {
            output.line("nothing was restored: take another checkpoint");
            return Ok(false);
        }
        place.make_room()?;
        let made = make(&env, &source, &place, how).await;
        match made {
            Ok(true) => {
                place.take()?;
                output.line(&format!("restored to {}", place.to.display()));
                Ok(true)
            }
            failed => {
                // What is left there says what it is, and goes with the next restore.
                let _removed = fs::remove_dir_all(&place.tmp);
                failed
            }
        }
    });
    made?
}

/// Steps 2 and 3.
async fn make(
    env: &GlommioEnv,
    source: &DataDir,
    place: &Place,
    how: Transfer,
) -> Result<bool, ServerError> {
    let mut output = Output::new(source.path());
    let count = source.shards();
    for (index, identity) in shards(source) {
        output.begin(format!("restoring shard {} of {count}", index + 1));
        let to = source.format().shard_path(&place.tmp, index);
        let mut tell = |event| output.event(&event);
        restore_shard(env, &source.shard_path(index), &to, identity, how, &mut tell).await?;
    }
    // Ends with a sync of the directory.
    write_format(&place.tmp, source.format())?;
    let made = DataDir::existing(&place.tmp, true)?;
    let mut output = Output::new(made.path());
    check_all(env, &made, &mut output).await
}

/// Where the data directory is to be, and what is there.
struct Place {
    to: PathBuf,
    parent: PathBuf,
    tmp: PathBuf,
    is_there: bool,
    /// A data directory, whose lock is held.
    old: Option<DataDir>,
    /// On the directory above.
    _lock: File,
}

impl Place {
    fn at(to: &Path) -> Result<Self, ServerError> {
        let name = to.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            refuse(to, "its path has no name at its end", "name a directory by its own name")
        })?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_owned();
        let failed = |error| ServerError::io("open", &parent, error);
        let lock = File::open(&parent).map_err(failed)?;
        if !sys::try_lock(&lock).map_err(failed)? {
            let what = "another restore is at work in the directory above it";
            return Err(refuse(to, what, "try again when it is done"));
        }
        let tmp = parent.join(format!(".{name}.restoring"));
        Ok(Self { to: to.to_owned(), parent, tmp, is_there: false, old: None, _lock: lock })
    }

    /// What a restore that was killed behind its switch has left is the old data: it gets the name that it should have.
    fn finish_earlier(&self) -> Result<(), ServerError> {
        if self.tmp.exists() && !self.tmp.join(MARK).exists() { self.keep_old() } else { Ok(()) }
    }

    /// Looks at what is there. `from`: the checkpoint.
    fn look(mut self, from: &Path, replace: bool) -> Result<Self, ServerError> {
        let to = &self.to;
        let found = match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self),
            found => found.map_err(|e| ServerError::io("look at", to, e))?,
        };
        if !found.is_dir() {
            return Err(refuse(to, "it is no directory", "name another --data-dir"));
        }
        let above = fs::metadata(&self.parent);
        if above.map_err(|e| ServerError::io("look at", &self.parent, e))?.dev() != found.dev() {
            let what = "a file system is mounted there, and it is replaced as a whole";
            return Err(refuse(to, what, "name a directory below it"));
        }
        let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (from, inner) = (whole(from), whole(to));
        if from.starts_with(&inner) && !from.starts_with(inner.join(BACKUPS)) {
            let what = "the checkpoint lies in it, and would go with it";
            return Err(refuse(
                to,
                what,
                "move the checkpoint elsewhere, or name another --data-dir",
            ));
        }
        self.is_there = true;
        let names = fs::read_dir(to).map_err(|e| ServerError::io("read directory", to, e))?;
        let is_data = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| !HARMLESS.iter().any(|name| entry.file_name() == *name))
        };
        if names.into_iter().any(is_data) {
            if !replace {
                let remedy =
                    "name another --data-dir, or add --replace: the old one is kept beside it";
                return Err(refuse(to, "it has data", remedy));
            }
            self.old = Some(DataDir::existing(to, false)?);
        }
        Ok(self)
    }

    /// An empty directory to work in; what a killed restore has left unfinished goes.
    fn make_room(&self) -> Result<(), ServerError> {
        if self.tmp.join(MARK).exists() {
            fs::remove_dir_all(&self.tmp).map_err(|e| ServerError::io("remove", &self.tmp, e))?;
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&self.tmp)
            .and_then(|()| fs::write(self.tmp.join(MARK), ""))
            .map_err(|e| ServerError::io("create", &self.tmp, e))
    }

    /// Step 4.
    fn take(&self) -> Result<(), ServerError> {
        let Self { to, parent, tmp, .. } = self;
        let mark = tmp.join(MARK);
        fs::remove_file(&mark).map_err(|e| ServerError::io("remove", &mark, e))?;
        sync_dir(tmp)?;
        if !self.is_there {
            fs::rename(tmp, to).map_err(|e| ServerError::io("rename", tmp, e))?;
            return sync_dir(parent);
        }
        sys::exchange(tmp, to).map_err(|e| ServerError::io("exchange with", to, e))?;
        sync_dir(parent)?;
        self.keep_old()
    }

    /// What is in the place of the unfinished is the old data directory: its checkpoints go back, and it gets its name.
    fn keep_old(&self) -> Result<(), ServerError> {
        let Self { to, parent, tmp, .. } = self;
        let backups = tmp.join(BACKUPS);
        if backups.exists() && to.is_dir() && !to.join(BACKUPS).exists() {
            let back = to.join(BACKUPS);
            fs::rename(&backups, back).map_err(|e| ServerError::io("move", &backups, e))?;
            sync_dir(to)?;
            sync_dir(tmp)?;
        }
        let mut output = Output::new(Path::new(""));
        if crate::format::is_made(tmp) {
            let kept = self.kept();
            fs::rename(tmp, &kept).map_err(|e| ServerError::io("rename", tmp, e))?;
            let kept = kept.display();
            output.line(&format!("the old data is in {kept}: delete it when it is not needed"));
        } else {
            // Nothing of value was in it: only what a directory may have that is to become ours.
            for name in HARMLESS {
                let _removed = fs::remove_file(tmp.join(name));
            }
            fs::remove_dir(tmp).map_err(|e| ServerError::io("remove", tmp, e))?;
        }
        sync_dir(parent)
    }

    /// Where the old data goes, under a name that nothing has: of two restores in one second each keeps what it has replaced.
    fn kept(&self) -> PathBuf {
        let name = self.to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{name}.replaced-{}", stamp(sys::wall_us() / 1_000_000));
        // As the data directory was named.
        let first = self.to.with_file_name(&name);
        let others = (2_u64..).map(|number| self.to.with_file_name(format!("{name}-{number}")));
        let mut names = std::iter::once(first.clone()).chain(others);
        names.find(|name| fs::symlink_metadata(name).is_err()).unwrap_or(first)
    }
}

fn refuse(to: &Path, what: &str, remedy: &str) -> ServerError {
    ServerError::DataDir { path: to.to_owned(), what: what.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, Shards};

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|name| name.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn make_data(path: &Path) {
        drop(DataDir::open(path, Shards::Asked(1)).unwrap());
    }

    /// Killed between the exchange and the rest: the directory beside is the old data, with the checkpoints.
    #[test]
    fn what_was_replaced_is_kept_whenever_the_restore_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (to, tmp) = (dir.path().join("d"), dir.path().join(".d.restoring"));
        make_data(&to);
        make_data(&tmp);
        fs::create_dir_all(tmp.join("backups/monday")).unwrap();
        let place = Place::at(&to).unwrap();
        place.finish_earlier().unwrap();
        assert!(to.join("backups/monday").exists());
        let left = names(dir.path());
        assert!(left.len() == 2 && left[1].starts_with("d.replaced-"), "{left:?}");
        assert!(crate::format::is_made(&dir.path().join(&left[1])));
        // What is marked is unfinished, and goes.
        fs::create_dir(&tmp).unwrap();
        fs::write(tmp.join(MARK), "").unwrap();
        place.finish_earlier().unwrap();
        place.make_room().unwrap();
        assert_eq!(names(&tmp), [MARK]);
        assert!(Place::at(&to).is_err(), "one at a time");
    }

    #[test]
    fn what_was_replaced_never_goes_where_something_lies() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("d");
        let place = Place::at(&to).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let kept = place.kept();
            fs::create_dir(&kept).unwrap();
            assert!(seen.insert(kept));
        }
        assert_eq!(names(dir.path()).len(), 5);
    }

    #[test]
    fn an_empty_directory_is_taken_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        let look = |to: &Path| Place::at(to).unwrap().look(&from, true);
        let to = dir.path().join("d");
        assert!(!look(&to).unwrap().is_there);
        fs::create_dir(&to).unwrap();
        fs::create_dir(to.join("lost+found")).unwrap();
        assert!(look(&to).unwrap().old.is_none());
        fs::write(to.join("mine"), "").unwrap();
        assert!(look(&to).is_err(), "not a data directory");
        fs::remove_file(to.join("mine")).unwrap();
        fs::remove_dir(to.join("lost+found")).unwrap();
        let place = look(&to).unwrap();
        place.make_room().unwrap();
        write_format(&place.tmp, &Format::new(1, 0).unwrap()).unwrap();
        place.take().unwrap();
        drop(place);
        assert_eq!(names(dir.path()), ["d"]);
        assert_eq!(names(&to), ["FORMAT"]);
        let inner = Place::at(&to).unwrap().look(&to.join("x"), true);
        assert!(inner.is_err_and(|error| error.to_string().contains("would go with it")));
    }
}
