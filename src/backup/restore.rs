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
//! - Nothing that holds data is deleted.

use std::fs::{self, DirBuilder};
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
    if Description::read(from)?.is_none() {
        let remedy =
            "name the directory of a checkpoint: rusty-lsm checkpoint --list --data-dir DIR";
        return Err(refused(from, "it is no checkpoint: it has no file CHECKPOINT", remedy));
    }
    let source = DataDir::existing(from, true)?;
    let place = Place::look(&args.data_dir, args.replace)?;
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
}

impl Place {
    fn look(to: &Path, replace: bool) -> Result<Self, ServerError> {
        let data_dir = |what: &str, remedy: &str| ServerError::DataDir {
            path: to.to_owned(),
            what: what.into(),
            remedy: remedy.into(),
        };
        let name = to.file_name().and_then(|name| name.to_str());
        let name =
            name.ok_or_else(|| data_dir("its path has no name at its end", "name a directory"))?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_owned();
        let tmp = parent.join(format!(".{name}.restoring"));
        let mut place = Self { to: to.to_owned(), parent, tmp, is_there: false, old: None };
        let found = match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(place),
            found => found.map_err(|e| ServerError::io("look at", to, e))?,
        };
        if !found.is_dir() {
            return Err(data_dir("it is no directory", "name another --data-dir"));
        }
        let above = fs::metadata(&place.parent)
            .map_err(|e| ServerError::io("look at", &place.parent, e))?;
        if above.dev() != found.dev() {
            let what = "a file system is mounted there, and it is replaced as a whole";
            return Err(data_dir(what, "name a directory below it"));
        }
        place.is_there = true;
        let names = fs::read_dir(to).map_err(|e| ServerError::io("read directory", to, e))?;
        let is_data = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| !HARMLESS.iter().any(|name| entry.file_name() == *name))
        };
        if names.into_iter().any(is_data) {
            if !replace {
                let remedy =
                    "name another --data-dir, or add --replace: the old one is kept beside it";
                return Err(data_dir("it has data", remedy));
            }
            place.old = Some(DataDir::existing(to, false)?);
        }
        Ok(place)
    }

    /// An empty directory to work in; what a killed restore has left there goes.
    fn make_room(&self) -> Result<(), ServerError> {
        if self.tmp.exists() {
            if !self.tmp.join(MARK).exists() && DataDir::existing(&self.tmp, true).is_err() {
                let remedy = "take it away: it is where the data is made";
                return Err(refused(
                    &self.tmp,
                    "it is there, and not of an earlier restore",
                    remedy,
                ));
            }
            fs::remove_dir_all(&self.tmp).map_err(|e| ServerError::io("remove", &self.tmp, e))?;
        }
        DirBuilder::new()
            .recursive(true)
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
        let backups = tmp.join(BACKUPS);
        if backups.exists() {
            fs::rename(&backups, to.join(BACKUPS))
                .map_err(|e| ServerError::io("move", &backups, e))?;
            sync_dir(to)?;
            sync_dir(tmp)?;
        }
        if self.old.is_some() {
            let kept = self.kept();
            fs::rename(tmp, &kept).map_err(|e| ServerError::io("rename", tmp, e))?;
            let mut output = Output::new(Path::new(""));
            output.line(&format!(
                "the old data is in {}: delete it when it is not needed",
                kept.display()
            ));
        } else {
            // Nothing of value was in it.
            let _removed = fs::remove_dir_all(tmp);
        }
        sync_dir(parent)
    }

    fn kept(&self) -> PathBuf {
        let name = self.to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{name}.replaced-{}", stamp(sys::wall_us() / 1_000_000));
        // As the data directory was named.
        self.to.with_file_name(name)
    }
}
