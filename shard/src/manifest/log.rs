//! The running manifest: edits in, a new file when the old one is long or has failed.
//!
//! # A new manifest, step by step
//! 1. Take a number that no file has, and say in the snapshot that it is taken.
//! 2. Write the snapshot, sync the file, sync the directory.
//! 3. Write and sync `CURRENT.tmp`, rename it to `CURRENT`, sync the directory.
//! 4. Only now remove the old manifest.
//!
//! # When it fails
//! - No space for an edit: nothing has changed, on disk or in memory; it may be tried again.
//! - An edit's write or sync: it may or may not be on disk. A whole new manifest, with the edit in its snapshot,
//!   settles it. If that fails too, the error is final: every later append answers it.
//! - A new manifest that was only wanted because the old one is long, before step 3: the old one goes on.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::current::{self, Failed};
use super::edit::VersionEdit;
use super::file::{self, ManifestFile};
use super::state::State;
use super::{FileName, list, path};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::event::Turnstile;
use crate::key::Identity;
use crate::limits::{ALIGN, MANIFEST_BYTES_MAX};
use crate::wal::frame::FrameKind;
use crate::wal::header::{FORMAT, Header, Magic};
use crate::wal::walk::{Piece, Walk};
use crate::wal::{FIRST_FRAME, REMEDY};

/// What reading a manifest has found.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The sum of all edits.
    pub state: State,
    /// Number of the manifest that was read.
    pub number: u64,
    /// Frames applied.
    pub frames: u64,
    /// Where they end, in bytes.
    pub end: u64,
    /// Bytes of a torn last edit that were cut: it was never acknowledged. Worth a line in the log.
    pub bytes_cut: u64,
}

/// The manifest of an open shard.
pub(crate) struct Manifest<E: Env> {
    env: E,
    dir: PathBuf,
    identity: Identity,
    turnstile: Turnstile,
    state: RefCell<Rc<State>>,
    /// Taken out by the append that runs.
    file: Cell<Option<ManifestFile<E>>>,
    failed: RefCell<Option<Error>>,
    /// Numbers below this were given to manifests that failed; the state does not know of them.
    number_floor: Cell<u64>,
    /// Length at which the file is replaced, in bytes.
    pub(super) rollover_bytes: Cell<u64>,
    /// What the length is held against where the snapshot is small: [`MANIFEST_BYTES_MAX`].
    bytes_max: Cell<u64>,
}

impl<E: Env> std::fmt::Debug for Manifest<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Manifest").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl<E: Env> Manifest<E> {
    /// The first manifest of a new shard in `dir`, which exists. After a crash in the middle, call it again.
    ///
    /// # Errors
    /// `Corruption` if the directory holds a shard's files already; `Io`.
    pub(crate) async fn create(env: &E, dir: &Path, identity: Identity) -> Result<Self> {
        let mut names = list(env, dir).await?.into_iter();
        if names.any(|name| !matches!(name, FileName::Manifest(_) | FileName::CurrentTmp)) {
            let what = format!("a shard's files are there already; {REMEDY}");
            return Err(Error::corruption(&dir.join("CURRENT"), 0, what));
        }
        // Numbers begin at 1: 0 means "none" in chain frames.
        let state = State { numbers_reserved: 1, ..State::default() };
        Self::begin(env, dir, identity, state).await
    }

    /// What the manifest says. Changes nothing.
    ///
    /// # Errors
    /// `Corruption` naming file and offset, also if `CURRENT` or the manifest is absent; `Foreign`; `Io`.
    pub(crate) async fn read(env: &E, dir: &Path, identity: Identity) -> Result<Loaded> {
        file::read(env, dir, identity).await
    }

    /// Writes a new manifest that says what was read, and switches to it. Every other manifest is removed.
    ///
    /// # Errors
    /// `Io`; the old manifest, or the new one, is in use then, and both say the same.
    pub(crate) async fn start(
        env: &E,
        dir: &Path,
        identity: Identity,
        loaded: Loaded,
    ) -> Result<Self> {
        let Loaded { state, number, frames, end, bytes_cut } = loaded;
        if bytes_cut > 0 {
            let dir = dir.display();
            tracing::warn!(
                %dir, manifest = number, frames, end, bytes = bytes_cut,
                "cut a torn edit off the end of the manifest: it was never acknowledged"
            );
        }
        Self::begin(env, dir, identity, state).await
    }

    /// What the manifest `number` says, whatever `CURRENT` says: for repair. Its snapshot is taken to end where its edits
    /// begin, if it has all of its parts.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub(crate) async fn read_number(
        env: &E,
        dir: &Path,
        identity: Identity,
        number: u64,
    ) -> Result<Loaded> {
        let path = path(dir, number);
        let mut walk = Walk::open(env, path.clone(), Magic::Manifest, identity).await?;
        let header = walk.header();
        let (mut extent, mut is_complete) = (FIRST_FRAME, false);
        while let Some(Piece::Frame { offset, head, payload }) = walk.next().await? {
            if head.kind != FrameKind::Snapshot {
                break;
            }
            extent = offset + head.padded();
            // The last part, and no other, says what is flushed.
            is_complete =
                file::edit(payload, header.format).is_ok_and(|edit| edit.flushed_seq.is_some());
        }
        walk.close().await;
        if !is_complete {
            return Err(Error::corruption(&path, extent, "its snapshot is not whole"));
        }
        file::read_named(env, dir, identity, Header { extent, ..header }).await
    }

    /// Makes `state` what the shard is, durably, in a new manifest; the old ones stay. For repair. Answers the state with
    /// the number of its manifest reserved, and that number.
    ///
    /// # Errors
    /// `Io`; either manifest is in use then.
    pub(crate) async fn replace_all(
        env: &E,
        dir: &Path,
        identity: Identity,
        state: State,
    ) -> Result<(State, u64)> {
        let names = list(env, dir).await?;
        let (file, state) = Self::write_new(env, dir, identity, state, &names).await?;
        let number = file.number();
        file.close().await?;
        Ok((state, number))
    }

    /// Writes the manifest `number`, which says `state`, into `dir`, which has none; `CURRENT` names it when all is durable.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn write_alone(
        env: &E,
        dir: &Path,
        identity: Identity,
        number: u64,
        state: &State,
    ) -> Result<()> {
        install(env, dir, identity, number, state).await.map_err(Failed::into_error)?.close().await
    }

    async fn write_new(
        env: &E,
        dir: &Path,
        identity: Identity,
        mut state: State,
        names: &[FileName],
    ) -> Result<(ManifestFile<E>, State)> {
        // A crash may have left a manifest that nothing names: its number was taken, and not recorded.
        let taken = names.iter().filter_map(|name| name.number()).max();
        let number = state.numbers_reserved.max(taken.map_or(0, |number| number + 1));
        state.numbers_reserved = number + 1;
        let file = install(env, dir, identity, number, &state).await.map_err(Failed::into_error)?;
        Ok((file, state))
    }

    async fn begin(env: &E, dir: &Path, identity: Identity, state: State) -> Result<Self> {
        let names = list(env, dir).await?;
        let (file, state) = Self::write_new(env, dir, identity, state, &names).await?;
        for name in names {
            if let FileName::Manifest(old) = name {
                remove_old(env, &path(dir, old)).await;
            }
        }
        let _durable_later = env.sync_dir(dir).await;
        Ok(Self {
            env: env.clone(),
            dir: dir.to_owned(),
            identity,
            turnstile: Turnstile::new(),
            state: RefCell::new(Rc::new(state)),
            number_floor: Cell::new(0),
            rollover_bytes: Cell::new(rollover_bytes(&file, MANIFEST_BYTES_MAX)),
            bytes_max: Cell::new(MANIFEST_BYTES_MAX),
            file: Cell::new(Some(file)),
            failed: RefCell::new(None),
        })
    }

    /// What is durable now.
    pub(crate) fn state(&self) -> Rc<State> {
        self.state.borrow().clone()
    }

    /// Makes an edit durable, then changes the state in memory. Callers come one at a time, in the order they asked.
    ///
    /// I/O: one write and one sync; a new manifest now and then.
    ///
    /// # Errors
    /// `Io`. If [`Manifest::failure`] is `None` then: no space, the edit is not on disk, what it names may be deleted. Else
    /// final: whether it is on disk is unknown. Delete neither its inputs nor its outputs; every later append answers the
    /// same error.
    pub(crate) async fn append(&self, edit: &VersionEdit) -> Result<()> {
        let _pass = self.turnstile.enter().await;
        self.append_alone(edit).await
    }

    /// Reserves `count` file numbers; answers the first.
    ///
    /// # Errors
    /// See [`Manifest::append`].
    pub(super) async fn reserve(&self, count: u64) -> Result<u64> {
        let _pass = self.turnstile.enter().await;
        let first = self.state().numbers_reserved.max(self.number_floor.get());
        let numbers_reserved = Some(first + count);
        self.append_alone(&VersionEdit { numbers_reserved, ..VersionEdit::default() }).await?;
        Ok(first)
    }

    /// Replaces the file as often as a test wants it.
    #[cfg(test)]
    pub(crate) fn roll_over_at(&self, bytes: u64) {
        self.bytes_max.set(bytes);
        self.rollover_bytes.set(bytes);
    }

    /// Why no edit can be made durable any more, if so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.borrow().clone()
    }

    /// Closes the file. Later appends answer [`Error::Closing`].
    ///
    /// # Errors
    /// `Io`; nothing is lost.
    pub(crate) async fn close(&self) -> Result<()> {
        let _pass = self.turnstile.enter().await;
        self.failed.borrow_mut().get_or_insert(Error::Closing);
        match self.file.take() {
            Some(file) => file.close().await,
            None => Ok(()),
        }
    }

    async fn append_alone(&self, edit: &VersionEdit) -> Result<()> {
        if let Some(error) = &*self.failed.borrow() {
            return Err(error.clone());
        }
        let mut next = State::clone(&self.state());
        if let Err(what) = next.apply(edit) {
            panic!("an edit that cannot be applied: {what}");
        }
        let file = self.file.take().expect("one append at a time");
        match self.write(file, edit, next).await {
            Ok((file, next)) => {
                self.file.set(Some(file));
                *self.state.borrow_mut() = Rc::new(next);
                Ok(())
            }
            Err((Some(file), error)) => {
                self.file.set(Some(file));
                Err(error)
            }
            Err((None, error)) => {
                *self.failed.borrow_mut() = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Makes `edit`, which leads to `next`, durable in `file` or in a new one. With an error comes the file, if it goes on
    /// as it was.
    async fn write(
        &self,
        mut file: ManifestFile<E>,
        edit: &VersionEdit,
        next: State,
    ) -> std::result::Result<(ManifestFile<E>, State), (Option<ManifestFile<E>>, Error)> {
        if file.bytes() >= self.rollover_bytes.get() {
            match self.replace(next.clone()).await {
                Ok(new) => return Ok(self.retire(file, new).await),
                Err(Failed::Untouched(error)) => {
                    tracing::warn!("a new manifest failed, the old one goes on: {error}");
                    self.rollover_bytes.set(file.bytes() + MANIFEST_BYTES_MAX / 4);
                }
                // Which of the two is in use is unknown: appending to either may be lost.
                Err(Failed::Unknown(error)) => {
                    return self.settle(file, next, &error).await.map_err(|error| (None, error));
                }
            }
        }
        match file.append(edit).await {
            Ok(()) => Ok((file, next)),
            Err(Failed::Untouched(error)) => Err((Some(file), error)),
            Err(Failed::Unknown(error @ Error::TooLarge { .. })) => {
                panic!("an edit beyond any plan: {error}")
            }
            Err(Failed::Unknown(error)) => {
                self.settle(file, next, &error).await.map_err(|error| (None, error))
            }
        }
    }

    /// R24: after a failure that leaves open what is on disk, a whole new manifest, or the end.
    async fn settle(
        &self,
        file: ManifestFile<E>,
        next: State,
        error: &Error,
    ) -> Result<(ManifestFile<E>, State)> {
        tracing::warn!("the manifest failed, writing a new one: {error}");
        match self.replace(next).await {
            Ok(new) => Ok(self.retire(file, new).await),
            Err(failed) => Err(failed.into_error()),
        }
    }

    /// Steps 1 to 3 for `next`.
    async fn replace(
        &self,
        mut next: State,
    ) -> std::result::Result<(ManifestFile<E>, State), Failed> {
        let number = next.numbers_reserved.max(self.number_floor.get());
        self.number_floor.set(number + 1);
        next.numbers_reserved = number + 1;
        let file = install(&self.env, &self.dir, self.identity, number, &next).await?;
        self.rollover_bytes.set(rollover_bytes(&file, self.bytes_max.get()));
        Ok((file, next))
    }

    /// Step 4.
    async fn retire(
        &self,
        old: ManifestFile<E>,
        new: (ManifestFile<E>, State),
    ) -> (ManifestFile<E>, State) {
        old.remove(&self.env).await;
        // If the old name comes back after a crash, the next start removes it.
        let _durable_later = self.env.sync_dir(&self.dir).await;
        new
    }
}

/// A snapshot may be longer than the bound by itself: then the file may double.
fn rollover_bytes<E: Env>(file: &ManifestFile<E>, bytes_max: u64) -> u64 {
    bytes_max.max(2 * file.snapshot_end())
}

/// Steps 2 and 3.
async fn install<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    number: u64,
    state: &State,
) -> std::result::Result<ManifestFile<E>, Failed> {
    let file =
        ManifestFile::create(env, dir, identity, number, state).await.map_err(Failed::Untouched)?;
    if let Err(error) = env.sync_dir(dir).await {
        file.remove(env).await;
        return Err(Failed::Untouched(Error::io("sync the directory", dir, &error)));
    }
    let (number, extent) = (file.number(), file.snapshot_end());
    let header = Header { format: FORMAT, number, epoch: 0, extent, grain_bytes: ALIGN };
    match current::switch(env, dir, identity, header).await {
        Ok(()) => Ok(file),
        Err(failed @ Failed::Untouched(_)) => {
            file.remove(env).await;
            Err(failed)
        }
        Err(failed) => Err(failed),
    }
}

async fn remove_old<E: Env>(env: &E, path: &Path) {
    if let Err(error) = env.remove(path).await {
        tracing::warn!("remove {}: {error}; the next start removes it", path.display());
    }
}
