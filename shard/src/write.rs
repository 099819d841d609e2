//! The write path: admission, then WAL frame and memtable in one stretch without an await.
//!
//! 1. The ladder (`admission`) is asked; a refusal changes nothing.
//! 2. Each operation takes the next sequence number and goes into the frame that gathers and into the memtable.
//! 3. The commit task is told. The caller answers its client once [`Shard::released_seq`] has reached the number that
//!    the write returned.
//!
//! All operations of one call are in one frame: replayed together or not at all.

use std::rc::Rc;

use crate::admission::{Refusal, Rung, Situation, Wait, climb};
use crate::batch::Op;
use crate::commit::GATHER_BYTES_MAX;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{Kind, SeqNo};
use crate::limits::KEY_BYTES_MAX;
use crate::memtable::MemTable;
use crate::shard::Shard;
use crate::stats::add;
use crate::wal::FRAME_BYTES_MAX;
use crate::wal::frame::FRAME_HEAD_BYTES;

impl<E: Env> Shard<E> {
    /// Applies `ops` in order, together. Answers the sequence number of the last one.
    ///
    /// # Errors
    /// `Refusal::Wait`: nothing changed, ask again when [`Shard::admission_changes`] has moved. `Refusal::Error`: nothing
    /// changed, and asking again will not help.
    pub fn write(&self, ops: &[Op<'_>]) -> std::result::Result<SeqNo, Refusal> {
        assert!(!ops.is_empty());
        let added_bytes = self.check_sizes(ops).map_err(Refusal::Error)?;
        self.admit(ops, added_bytes)?;
        let inner = &self.inner;
        if self.would_overflow(added_bytes) {
            self.seal_if_allowed();
        }
        let view = inner.view.borrow();
        let mut gather = inner.gather.borrow_mut();
        let mut seq = inner.progress.last.get();
        gather.begin(SeqNo(seq.0 + 1));
        let mut user_bytes = 0;
        for op in ops {
            seq = SeqNo(seq.0 + 1);
            gather.push(op);
            view.active.insert(seq, *op);
            user_bytes += op.key().len() + op.value().len();
        }
        inner.progress.last.set(seq);
        let full = view.active.bytes() >= inner.options.memtable_bytes;
        inner.pressure.charge(added_bytes);
        self.charge_deletes(ops.len(), added_bytes);
        drop((view, gather));
        if full {
            self.seal_if_allowed();
        }
        add(&inner.counters.writes, ops.len() as u64);
        add(&inner.counters.written_user_bytes, user_bytes as u64);
        inner.commit_wanted.signal();
        Ok(seq)
    }

    /// Applies `ops`, waiting for admission and for the acknowledgement.
    ///
    /// # Errors
    /// As [`Shard::write`]; `ReadOnly` also when the WAL failed after the write was taken: its outcome is then unknown.
    pub async fn put_all(&self, ops: &[Op<'_>]) -> Result<SeqNo> {
        loop {
            match self.write(ops) {
                Ok(seq) => {
                    self.released(seq).await?;
                    return Ok(seq);
                }
                Err(Refusal::Error(error)) => return Err(error),
                Err(Refusal::Wait(_)) => self.inner.admission.wait().await,
            }
        }
    }

    /// Counts the changes of what writes wait for: one that waits asks again when this has moved.
    pub fn admission_changes(&self) -> u64 {
        self.inner.admission.signals()
    }

    /// Whether a plain write would be taken, or refused with an error; `false`: it would wait.
    pub fn is_open_for_writes(&self) -> bool {
        !matches!(climb(&self.situation(false, 0)), Some(Rung::Wait(_)))
    }

    /// Whether FLUSHALL is erasing: then reads wait as well.
    pub fn is_erasing(&self) -> bool {
        self.inner.erasing.get()
    }

    /// Whether `added_bytes` more make the active memtable larger than it may be. One write alone may, else none of its size
    /// could ever be taken.
    fn would_overflow(&self, added_bytes: usize) -> bool {
        let active = &self.inner.view.borrow().active;
        !active.is_empty() && active.bytes() + added_bytes > self.inner.options.memtable_bytes
    }

    fn check_sizes(&self, ops: &[Op<'_>]) -> Result<usize> {
        let mut bytes = 0;
        for op in ops {
            let (key_len, value_len) = (op.key().len(), op.value().len());
            if key_len > KEY_BYTES_MAX {
                return Err(Error::TooLarge { what: "the key", len: key_len, max: KEY_BYTES_MAX });
            }
            let max = self.inner.options.value_bytes_max;
            if value_len > max {
                return Err(Error::TooLarge { what: "the value", len: value_len, max });
            }
            bytes += op.encoded_bytes_max();
        }
        let max = FRAME_BYTES_MAX - FRAME_HEAD_BYTES;
        if bytes > max {
            return Err(Error::TooLarge { what: "the command", len: bytes, max });
        }
        Ok(bytes)
    }

    fn situation(&self, deletes_only: bool, added_bytes: usize) -> Situation {
        let inner = &self.inner;
        let view = inner.view.borrow();
        Situation {
            closing: inner.closing.get(),
            read_only: inner.failure.borrow().is_some(),
            disk_full: inner.space.is_full(),
            out_of_space: self.is_out_of_space(),
            erasing: inner.erasing.get(),
            gathered_bytes: inner.gather.borrow().bytes(),
            added_bytes,
            gather_bytes_max: GATHER_BYTES_MAX,
            log_full: self.is_log_full(inner.gather.borrow().bytes(), added_bytes, deletes_only),
            sync_late: inner.sync_late.get(),
            memtable_full: self.would_overflow(added_bytes),
            sealed: view.sealed.len(),
            sealed_max: inner.options.sealed_memtables_max,
            deletes_spent: self.are_deletes_spent(),
            l0_tables: view.version.levels[0].len(),
            l0_stop_tables: inner.options.thresholds.l0_stop_tables,
            slowed: self.is_slowed(&view),
            deletes_only,
        }
    }

    fn admit(&self, ops: &[Op<'_>], added_bytes: usize) -> std::result::Result<(), Refusal> {
        let deletes_only = ops.iter().all(|op| op.kind() == Kind::Delete);
        let Some(rung) = climb(&self.situation(deletes_only, added_bytes)) else {
            self.no_longer_waits();
            return Ok(());
        };
        if !matches!(rung, Rung::Wait(_)) {
            self.no_longer_waits();
        }
        Err(match rung {
            Rung::Closing => Refusal::Error(Error::Closing),
            Rung::ReadOnly => Refusal::Error(self.failure().unwrap_or(Error::Closing)),
            Rung::DiskFull => {
                add(&self.inner.counters.refused_disk_full, 1);
                Refusal::Error(self.disk_full_error())
            }
            Rung::Wait(wait) => {
                self.must_wait(wait);
                Refusal::Wait(wait)
            }
        })
    }

    /// A write is told to wait: every reason is counted here. The caller may have seen by itself that it must wait for an
    /// erase.
    pub fn must_wait(&self, wait: Wait) {
        let counters = &self.inner.counters;
        let counter = match wait {
            Wait::Erasing => &counters.stalls_erasing,
            Wait::Commit => &counters.stalls_commit,
            Wait::SyncLate => &counters.stalls_sync,
            Wait::Memtables => &counters.stalls_memtable,
            Wait::L0 => &counters.stalls_l0,
            Wait::Slowed => {
                self.inner.pressure.wanted.signal();
                &counters.stalls_slowed
            }
        };
        add(counter, 1);
        self.inner.stall.waits(self.env().now());
    }

    fn no_longer_waits(&self) {
        if self.inner.stall.is_open() {
            self.inner.stall.passed(self.env().now());
        }
    }

    /// What writes wait for may have changed: those that do ask again.
    pub(crate) fn admission_changed(&self) {
        if self.inner.stall.is_open() {
            self.inner.stall.changed(self.env().now());
        }
        self.inner.admission.signal();
    }

    /// Seals the active memtable unless too many wait already; then the next write waits on the ladder.
    pub(crate) fn seal_if_allowed(&self) {
        let view = self.view();
        if view.active.is_empty() || view.sealed.len() >= self.inner.options.sealed_memtables_max {
            return;
        }
        self.seal();
    }

    /// Seals the active memtable, whatever waits.
    pub(crate) fn seal(&self) {
        let view = self.view();
        assert!(!view.active.is_empty());
        view.active.seal();
        self.publish(view.sealed_by(Rc::new(MemTable::new(self.env().random_u64()))));
        self.inner.background.flush_wanted.signal();
    }
}
