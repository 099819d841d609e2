//! Checkpoints of a running server, one at a time: CHECKPOINT, SAVE, BGSAVE, SHUTDOWN SAVE, and the embedded engine's.
//!
//! A thread of its own makes each: it asks every core for its shard's part (`mesh`), waits for all of them, and gives the
//! checkpoint its name (`draft`). No core waits for the disk, and what a client waits for is looked at now and then
//! (`worker::late`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};

use shard::checkpoint::Checkpoint;
use shard::env::{Env as _, Queue};

use super::{Draft, Name};
use crate::error::ServerError;
use crate::format::Format;
use crate::mesh::Message;
use crate::runtime;
use crate::server::{LIFE_CHECK, Shared};
use crate::sys;

/// What became of a checkpoint: where it lies, or what went wrong. Empty: it is under way.
pub type Outcome = Arc<OnceLock<Result<PathBuf, String>>>;

/// In Redis' words.
pub(crate) const BUSY: &str = "Background save already in progress";

/// Whether one is being made, and how the last one went.
#[derive(Debug)]
pub(crate) struct Saver {
    root: PathBuf,
    format: Format,
    /// Of the process: a thread that a core starts would be pinned like it.
    cpus: Vec<usize>,
    is_busy: AtomicBool,
    /// Of the one under way, in seconds since 1970.
    began_s: AtomicU64,
    /// Of the last one that was made, in seconds since 1970; 0: none since the start.
    last_save_s: AtomicU64,
    last_failed: AtomicBool,
    /// Of the last one, in seconds; -1: none.
    last_took_s: AtomicI64,
}

/// What INFO tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saves {
    pub(crate) in_progress: bool,
    pub(crate) last_save_s: u64,
    pub(crate) last_ok: bool,
    /// -1: there was none.
    pub(crate) last_took_s: i64,
    /// -1: none is under way.
    pub(crate) current_s: i64,
}

fn now_s() -> u64 {
    sys::wall_us() / 1_000_000
}

impl Saver {
    pub(crate) fn new(root: PathBuf, format: Format) -> Self {
        Self {
            root,
            format,
            cpus: runtime::available_cpus().unwrap_or_default(),
            is_busy: AtomicBool::new(false),
            began_s: AtomicU64::new(0),
            last_save_s: AtomicU64::new(0),
            last_failed: AtomicBool::new(false),
            last_took_s: AtomicI64::new(-1),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    pub(crate) fn saves(&self) -> Saves {
        let in_progress = self.is_busy();
        let since = now_s().saturating_sub(self.began_s.load(Ordering::Relaxed));
        Saves {
            in_progress,
            last_save_s: self.last_save_s.load(Ordering::Relaxed),
            last_ok: !self.last_failed.load(Ordering::Relaxed),
            last_took_s: self.last_took_s.load(Ordering::Relaxed),
            current_s: if in_progress { since.cast_signed() } else { -1 },
        }
    }

    /// Takes the one place; false: it is taken.
    fn enter(&self) -> bool {
        let was_free = !self.is_busy.swap(true, Ordering::AcqRel);
        if was_free {
            self.began_s.store(now_s(), Ordering::Relaxed);
        }
        was_free
    }

    fn leave(&self, is_ok: bool) {
        let now = now_s();
        let took = now.saturating_sub(self.began_s.load(Ordering::Relaxed));
        self.last_took_s.store(took.cast_signed(), Ordering::Relaxed);
        self.last_failed.store(!is_ok, Ordering::Relaxed);
        if is_ok {
            self.last_save_s.store(now, Ordering::Relaxed);
        }
        self.is_busy.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Begins the checkpoint `name`, at the place of the settings; does not wait. `replaces`: it may be there already.
    ///
    /// # Errors
    /// One is being made; there is no thread.
    pub(crate) fn begin_save(
        self: &Arc<Self>,
        name: Name,
        replaces: bool,
    ) -> Result<Outcome, String> {
        if !self.saver.enter() {
            return Err(BUSY.into());
        }
        let (outcome, shared) = (Outcome::default(), Arc::clone(self));
        let tell = Arc::clone(&outcome);
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || {
            runtime::run_on(&shared.saver.cpus);
            let made = shared.save_now(&shared.saver.root, name, replaces);
            let made = made.map_err(|error| error.to_string());
            shared.saver.leave(made.is_ok());
            // Nobody else sets it.
            drop(tell.set(made));
        });
        match thread {
            Ok(_) => Ok(outcome),
            Err(error) => {
                self.saver.leave(false);
                Err(error.to_string())
            }
        }
    }

    /// Makes a checkpoint under `root` on this thread, which is none of a core.
    ///
    /// # Errors
    /// `Backup`: one is being made, or the name is taken; a shard's error; `Io`.
    pub(crate) fn save(&self, root: &Path, name: Name) -> Result<PathBuf, ServerError> {
        if !self.saver.enter() {
            return Err(super::refused(root, BUSY, "try again when it is done"));
        }
        let made = self.save_now(root, name, false);
        self.saver.leave(made.is_ok());
        made
    }

    fn save_now(&self, root: &Path, name: Name, replaces: bool) -> Result<PathBuf, ServerError> {
        let made = self.make(root, name, replaces);
        match &made {
            Ok(path) => tracing::info!(path = %path.display(), "checkpoint made"),
            Err(error) => tracing::error!(%error, "no checkpoint was made"),
        }
        made
    }

    fn make(&self, root: &Path, name: Name, replaces: bool) -> Result<PathBuf, ServerError> {
        let draft = Draft::begin(root, name, self.saver.format.clone(), replaces)?;
        let (tell, told) = channel();
        for core in 0..self.cores {
            let index = u32::try_from(core).unwrap_or(u32::MAX);
            let (dir, tell) = (draft.shard_path(index), tell.clone());
            let call = Message::Call(Box::new(move |tools| {
                let (shard, env) = tools.parts();
                env.spawn(Queue::Flush, async move {
                    // Whoever asked may have given up.
                    drop(tell.send((core, shard.checkpoint(&dir).await)));
                });
            }));
            self.call(core, call)?;
        }
        drop(tell);
        let parts = self.await_parts(&told)?;
        draft.commit(&parts).map(|(path, _)| path)
    }

    fn await_parts(
        &self,
        told: &Receiver<(usize, shard::error::Result<Checkpoint>)>,
    ) -> Result<Vec<Checkpoint>, ServerError> {
        let mut parts = vec![None; self.cores];
        while parts.iter().any(Option::is_none) {
            let has_ended = self.any_core_has_ended();
            match told.recv_timeout(LIFE_CHECK) {
                Ok((core, part)) => parts[core] = Some(part?),
                Err(RecvTimeoutError::Timeout) if !has_ended => {}
                Err(_) => return Err(ServerError::Shard(shard::error::Error::Closing)),
            }
        }
        Ok(parts.into_iter().flatten().collect())
    }
}
