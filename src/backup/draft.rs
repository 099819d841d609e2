//! A checkpoint while it is made, from its temporary name to its own.
//!
//! # The steps
//! 1. The lock on the root; what was left there goes.
//! 2. `.NAME.tmp` is made. The shards make theirs in it, each durable with its name.
//! 3. CHECKPOINT and FORMAT are written and synced, then the directory.
//! 4. One rename gives it its name; to replace another one, the two change names in one step. The root is synced.
//! 5. Only then does the replaced one go.
//!
//! # Invariants
//! - Under the name there is a whole checkpoint or nothing, and where there was one, there is one at every moment.
//! - A draft that is dropped removes itself.
//! - No two checkpoints of one root have files that are dated in the same second.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shard::checkpoint::Checkpoint;

use super::{Description, Name, clear, list, lock, look, refused, remove};
use crate::error::ServerError;
use crate::format::{CHECKPOINT, Format, sync, sync_dir, write_format};
use crate::sys;

/// Checkpoints under one root. Each keeps space and names; who makes more than that in a loop is stopped.
const CHECKPOINTS_MAX: usize = 1_000;

/// How much later than the clock files may be dated: the kernel dates them by its last tick.
const TICK_US: u64 = 20_000;

/// Waits until files that are written are dated in another second than those of a checkpoint that was made at `made_s`: copiers
/// (rsync) take two files of one name, size and second for the same, and `CURRENT` has the same name and size in all of them.
fn await_another_second(made_s: u64) {
    // It may come from anywhere: a number beyond all times is in the future.
    let from_us = made_s.saturating_mul(1_000_000);
    let until_us = from_us.saturating_add(1_000_000 + TICK_US);
    loop {
        let now_us = sys::wall_us();
        // A clock that was set back is no reason to wait.
        if now_us >= until_us || now_us < from_us {
            return;
        }
        std::thread::park_timeout(Duration::from_micros(until_us - now_us));
    }
}

/// A checkpoint without its name.
#[derive(Debug)]
pub(crate) struct Draft {
    root: PathBuf,
    name: Name,
    format: Format,
    /// There is one of this name, which this one replaces.
    replaces: bool,
    is_done: bool,
    _lock: File,
}

impl Draft {
    /// Steps 1 and 2, for a data directory of this format. `replaces`: there may be one of this name already.
    ///
    /// # Errors
    /// `Backup`: there is one, or somebody else makes one; `Io`.
    pub(crate) fn begin(
        root: &Path,
        name: Name,
        format: Format,
        replaces: bool,
    ) -> Result<Self, ServerError> {
        let lock = lock(root)?;
        let found = look(root, &name)?;
        if found.is_some() && !replaces {
            let remedy =
                format!("use another name, or delete it: rusty-lsm checkpoint --delete {name}");
            return Err(refused(&root.join(name.as_str()), "it exists", &remedy));
        }
        let others = list(root)?;
        if found.is_none() && others.len() >= CHECKPOINTS_MAX {
            let what =
                format!("there are {CHECKPOINTS_MAX} checkpoints already, which is the limit");
            return Err(refused(root, &what, "delete some: rusty-lsm checkpoint --delete NAME"));
        }
        for (_, other) in &others {
            await_another_second(other.made_s);
        }
        clear(root)?;
        let replaces = found.is_some();
        let draft =
            Self { root: root.to_owned(), name, format, replaces, is_done: false, _lock: lock };
        let tmp = draft.tmp();
        let made = DirBuilder::new().mode(0o700).create(&tmp);
        made.map_err(|e| ServerError::io("create", &tmp, e))?;
        Ok(draft)
    }

    fn tmp(&self) -> PathBuf {
        self.root.join(self.name.tmp())
    }

    /// Where shard `index` makes its part.
    pub(crate) fn shard_path(&self, index: u32) -> PathBuf {
        self.format.shard_path(&self.tmp(), index)
    }

    pub(crate) fn shards(&self) -> u32 {
        self.format.slots.shards()
    }

    /// Steps 3 to 5, when all shards have made their parts, given in order. Answers where it lies and what it holds.
    ///
    /// # Errors
    /// `Io`. The checkpoint may then be there under its name, whole; what is unfinished is removed.
    pub(crate) fn commit(
        mut self,
        parts: &[Checkpoint],
    ) -> Result<(PathBuf, Description), ServerError> {
        assert_eq!(parts.len(), self.shards() as usize, "each shard has its part");
        let (tmp, path) = (self.tmp(), self.root.join(self.name.as_str()));
        let description = Description {
            version: env!("CARGO_PKG_VERSION").into(),
            made_s: sys::wall_us() / 1_000_000,
            shards: parts.iter().map(Into::into).collect(),
        };
        write_description(&tmp.join(CHECKPOINT), &description)?;
        // Ends with a sync of the directory: all names in it are durable then.
        write_format(&tmp, &self.format)?;
        let named =
            if self.replaces { sys::exchange(&tmp, &path) } else { fs::rename(&tmp, &path) };
        named.map_err(|e| ServerError::io("rename", &tmp, e))?;
        self.is_done = true;
        sync_dir(&self.root)?;
        if self.replaces {
            // The new one is there: that the old one stays a while is no failure.
            if let Err(error) = remove(&tmp) {
                tracing::warn!(%error, "a replaced checkpoint stays until the next one");
            }
        }
        Ok((path, description))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = remove(&self.tmp())
        {
            tracing::warn!(%error, "an unfinished checkpoint stays until the next one");
        }
    }
}

fn write_description(path: &Path, description: &Description) -> Result<(), ServerError> {
    let text = toml::to_string(description)
        .unwrap_or_else(|error| unreachable!("numbers and a version: {error}"));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        sync(&file, path)
    };
    write().map_err(|e| ServerError::io("write", path, e))
}
