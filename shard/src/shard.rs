//! One shard: the LSM tree of one core. This file is the state and the small questions about it; what happens lives in
//! `write` (admission, memtable), `commit` (group commit), `read`, `scan`, `background` (flush, compaction) and `recovery`.
//!
//! # Invariants
//! - `flushed_seq <= durable_seq <= written_seq <= last_seq` under every policy, and each only ever grows: `Progress`
//!   asserts it where they move.
//! - Every operation above `flushed_seq` is in a memtable of the current view and in a live WAL segment or in the
//!   frame that gathers.
//! - The view is replaced whole, in one stretch without an await.
//! - `failure` is set once and never cleared: restart recovers.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::backlog::Pressure;
use crate::cache::BlockCache;
use crate::commit::{Gather, Log, LogSync, Spare};
use crate::compaction;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::estimate::Sketches;
use crate::event::{Event, Turnstile};
use crate::foresee::Foresight;
use crate::key::{Identity, SeqNo};
use crate::limits::LEVELS;
use crate::manifest::{Manifest, Numbers};
use crate::options::{Options, SyncPolicy};
use crate::space::Space;
use crate::stall::Stall;
use crate::stats::{CounterValues, Counters, ShardStats};
use crate::view::View;

/// A handle on one shard. Clones share it; it never leaves its core.
#[derive(Debug)]
pub struct Shard<E: Env> {
    pub(crate) inner: Rc<Inner<E>>,
}

impl<E: Env> Clone for Shard<E> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

/// How far the operations of this shard have come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) last: Cell<SeqNo>,
    pub(crate) written: Cell<SeqNo>,
    pub(crate) durable: Cell<SeqNo>,
    pub(crate) flushed: Cell<SeqNo>,
    /// One of the above moved, or the shard failed.
    pub(crate) moved: Event,
}

impl Progress {
    /// The kernel has every operation up to `seq`.
    pub(crate) fn wrote(&self, seq: SeqNo) {
        assert!(self.written.get() <= seq, "what was written does not shrink");
        assert!(seq <= self.last.get(), "what was written was applied before");
        self.written.set(seq);
    }

    /// Every operation up to `seq` survives a power cut.
    pub(crate) fn made_durable(&self, seq: SeqNo) {
        assert!(self.durable.get() <= seq, "what is durable does not shrink");
        assert!(seq <= self.written.get(), "what is durable was written before");
        self.durable.set(seq);
    }

    /// Every operation up to `seq` is in tables that the manifest names.
    pub(crate) fn flushed_upto(&self, seq: SeqNo) {
        assert!(self.flushed.get() <= seq, "what is in tables does not shrink");
        assert!(seq <= self.durable.get(), "what is in tables is durable in the log (R25)");
        self.flushed.set(seq);
    }
}

/// What the background tasks wait for, and what keeps them apart.
#[derive(Debug, Default)]
pub(crate) struct Background {
    pub(crate) flush_wanted: Event,
    pub(crate) compaction_wanted: Event,
    /// Held while a memtable is flushed.
    pub(crate) flushing: Turnstile,
    /// Held while a compaction runs.
    pub(crate) compacting: Turnstile,
    /// A compaction in flight should give up.
    pub(crate) abort: Rc<Cell<bool>>,
    pub(crate) running: Cell<bool>,
    /// Wall clock of the newest flush, in milliseconds since 1970; 0: none yet.
    pub(crate) last_flush_ms: Cell<u64>,
    /// The newest attempt to flush has failed.
    pub(crate) flush_failing: Cell<bool>,
    /// Tasks that have not ended yet; `close` waits for none.
    pub(crate) tasks: Cell<usize>,
    pub(crate) ended: Event,
}

#[derive(Debug)]
pub(crate) struct Inner<E: Env> {
    pub(crate) env: E,
    pub(crate) dir: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) options: Options,
    pub(crate) policy: Cell<SyncPolicy>,
    pub(crate) view: RefCell<Rc<View<E>>>,
    /// Counts the views that were published.
    pub(crate) views: Cell<u64>,
    pub(crate) foresight: RefCell<Foresight>,
    /// Of the version that was asked about last.
    pub(crate) sketches: RefCell<Option<Sketches<E>>>,
    pub(crate) manifest: Manifest<E>,
    pub(crate) numbers: Numbers,
    pub(crate) cache: Rc<BlockCache>,
    /// Of the indexes and filters of the tables in the view.
    pub(crate) table_memory_bytes: Cell<u64>,
    pub(crate) progress: Progress,
    pub(crate) gather: RefCell<Gather>,
    pub(crate) log: RefCell<Log>,
    pub(crate) commit_wanted: Event,
    pub(crate) sync: LogSync<E>,
    pub(crate) spare: RefCell<Option<Spare<E>>>,
    pub(crate) spare_wanted: Event,
    /// Held while a segment is made: their numbers follow the order of their use.
    pub(crate) making_segment: Turnstile,
    /// Where the log ended when its committer stopped in order.
    pub(crate) clean_end: Cell<Option<(u64, u64)>>,
    pub(crate) background: Background,
    /// Something that writes wait for may have changed.
    pub(crate) admission: Event,
    /// How long writes have waited for that.
    pub(crate) stall: Stall,
    /// Slows writes while the background is behind.
    pub(crate) pressure: Pressure,
    /// Time for what is not urgent ([`crate::backlog::Calm`]).
    pub(crate) quiet: Cell<bool>,
    pub(crate) erasing: Cell<bool>,
    pub(crate) closing: Cell<bool>,
    pub(crate) sync_late: Cell<bool>,
    pub(crate) space: Space,
    pub(crate) failure: RefCell<Option<String>>,
    pub(crate) obsolete: RefCell<crate::gc::Obsolete<E>>,
    pub(crate) counters: Counters,
}

impl<E: Env> Shard<E> {
    /// The view now. Cheap: one reference count.
    pub(crate) fn view(&self) -> Rc<View<E>> {
        Rc::clone(&self.inner.view.borrow())
    }

    /// A file number that was never used. I/O: a manifest edit now and then.
    pub(crate) async fn next_number(&self) -> Result<u64> {
        self.inner.numbers.next(&self.inner.manifest).await
    }

    /// Replaces the view. The old one lives on in whoever pinned it.
    pub(crate) fn publish(&self, view: View<E>) {
        let old = self.inner.view.replace(Rc::new(view));
        drop(old);
        self.inner.views.set(self.inner.views.get() + 1);
        self.look_at_view();
        self.admission_changed();
    }

    /// What follows from the view that holds now.
    pub(crate) fn look_at_view(&self) {
        let view = self.view();
        let (mut entries, mut meta_bytes) = (0, 0);
        for (_, table) in view.version.tables() {
            entries += table.meta.entries;
            meta_bytes += table.handle.memory_bytes() as u64;
        }
        self.inner.cache.expect_keys(entries);
        self.inner.table_memory_bytes.set(meta_bytes);
        self.settle_memory();
        self.look_at_backlog();
    }

    /// Indexes and filters that need more than their part of the memory get it from the block cache, a step at a time.
    pub(crate) fn settle_memory(&self) {
        let part = self.inner.options.table_meta_bytes as u64;
        self.inner.cache.lend(self.inner.table_memory_bytes.get().saturating_sub(part));
    }

    pub(crate) fn cache(&self) -> &Rc<BlockCache> {
        &self.inner.cache
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn env(&self) -> &E {
        &self.inner.env
    }

    /// The directory of this shard.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// What it was opened with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// When a write is acknowledged now.
    pub fn policy(&self) -> SyncPolicy {
        self.inner.policy.get()
    }

    /// The newest operation that a read may look at: all of them, or after a failed WAL those that are durable.
    pub(crate) fn readable_seq(&self) -> SeqNo {
        if self.inner.failure.borrow().is_some() {
            self.inner.progress.durable.get()
        } else {
            SeqNo(u64::MAX >> 8)
        }
    }

    /// What an answer that saw `seq` has to wait for.
    pub(crate) fn gate_of(&self, seq: SeqNo) -> SeqNo {
        match self.policy() {
            SyncPolicy::Always => seq,
            SyncPolicy::EverySecond | SyncPolicy::Never => SeqNo(0),
        }
    }

    /// Every operation up to this one may be acknowledged: under `always` it is durable, else the kernel has it.
    /// The one place that decides what "acknowledged" means.
    #[inline]
    pub fn released_seq(&self) -> SeqNo {
        match self.inner.policy.get() {
            SyncPolicy::Always => self.inner.progress.durable.get(),
            SyncPolicy::EverySecond | SyncPolicy::Never => self.inner.progress.written.get(),
        }
    }

    /// The newest operation: what waits for it has waited for all of this shard.
    pub fn last_seq(&self) -> SeqNo {
        self.inner.progress.last.get()
    }

    /// Waits until [`Shard::released_seq`] has reached `seq`.
    ///
    /// # Errors
    /// `ReadOnly` if the WAL failed first: whether the operation survives is then unknown.
    pub async fn released(&self, seq: SeqNo) -> Result<()> {
        self.inner
            .progress
            .moved
            .until(|| {
                if self.released_seq() >= seq {
                    return Some(Ok(()));
                }
                self.failure().map(Err)
            })
            .await
    }

    /// Waits until everything up to `seq` is durable, and under the weaker policies asks for the sync that makes it so.
    pub(crate) async fn made_durable(&self, seq: SeqNo) -> Result<()> {
        self.inner
            .progress
            .moved
            .until(|| {
                if self.inner.progress.durable.get() >= seq {
                    return Some(Ok(()));
                }
                self.inner.sync.wanted.set(true);
                self.inner.commit_wanted.signal();
                self.failure().map(Err)
            })
            .await
    }

    /// Why the shard is read-only, if it is.
    pub fn failure(&self) -> Option<Error> {
        let cause = self.inner.failure.borrow().clone()?;
        Some(Error::ReadOnly { shard: self.inner.identity.shard, cause })
    }

    /// The shard turns read-only; the first cause stays.
    pub(crate) fn fail(&self, cause: &Error) {
        let mut failure = self.inner.failure.borrow_mut();
        if failure.is_none() {
            tracing::error!(shard = self.inner.identity.shard, %cause, "the shard is read-only from now on");
            *failure = Some(cause.to_string());
        }
        drop(failure);
        self.inner.progress.moved.signal();
        self.admission_changed();
    }

    /// Everything `STATS` and `INFO` show. No I/O.
    pub fn stats(&self) -> ShardStats {
        let inner = &self.inner;
        let view = self.view();
        let mut stats = ShardStats {
            memtable_bytes: view.active.bytes() as u64,
            memtable_entries: view.active.entries() as u64,
            sealed_memtables: view.sealed.len() as u64,
            sealed_bytes: view.sealed.iter().map(|sealed| sealed.bytes() as u64).sum(),
            cache_bytes: inner.cache.bytes(),
            cache_capacity_bytes: inner.cache.capacity_bytes(),
            table_memory_bytes: inner.table_memory_bytes.get(),
            cache_hits: inner.cache.counts().hits,
            cache_misses: inner.cache.counts().misses,
            wal_live_bytes: inner.log.borrow().live_bytes(),
            wal_live_segments: inner.log.borrow().live_segments() as u64,
            last_seq: inner.progress.last.get().0,
            durable_seq: inner.progress.durable.get().0,
            flushed_seq: inner.progress.flushed.get().0,
            read_only: inner.failure.borrow().clone(),
            disk_full: inner.space.is_full(),
            compaction_running: inner.background.running.get(),
            compaction_pending_bytes: compaction::pending_bytes(
                inner.options.style,
                &view.version,
                &inner.options.thresholds,
            ),
            last_flush_ms: inner.background.last_flush_ms.get(),
            flush_failing: inner.background.flush_failing.get(),
            counters: CounterValues {
                stalled_ns: inner.stall.total_ns(self.env().now()),
                ..inner.counters.snapshot()
            },
            ..ShardStats::default()
        };
        for level in 0..LEVELS {
            stats.level_tables[level] = view.version.levels[level].len() as u64;
            stats.level_bytes[level] = view.version.level_bytes(level);
        }
        for (_, table) in view.version.tables() {
            stats.entries += table.meta.entries;
            stats.tombstones += table.meta.tombstones;
        }
        stats.entries += view.memtables().map(|table| table.entries() as u64).sum::<u64>();
        stats
    }
}
