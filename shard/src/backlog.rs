//! What the background is behind with, and what follows: the share of the core that it gets, and how fast writes may come.
//!
//! Two backlogs: tables of L0 that wait for a compaction, memtables that wait for a flush. Each has its [`Throttle`].

use std::cell::Cell;
use std::time::Duration;

use crate::compaction::plan::Plan;
use crate::env::{Env, Queue};
use crate::event::Event;
use crate::key::SeqNo;
use crate::manifest::version::Version;
use crate::shard::Shard;
use crate::throttle::Throttle;
use crate::view::View;

/// Shares of compaction and of flush beside a busy core, of 1000, with no backlog and with one that stops writes.
const COMPACTION_SHARES: (usize, usize) = (200, 1000);
const FLUSH_SHARES: (usize, usize) = (500, 1000);

/// How long slowed writes wait before they are looked at again.
const SLOWED_TICK: Duration = Duration::from_millis(1);

/// The part of the active memtable, one in so many, that is filled at full speed while as many others wait as may.
const MEMTABLE_CALM: u64 = 4;

/// Reads a second up to which a shard counts as idle: at 2 us each a fiftieth of its core.
const IDLE_READS_MAX: u64 = 10_000;

/// Seconds without a write after which what is not urgent is done beside any number of reads: they gain by it.
const QUIET_SECONDS_MAX: u32 = 10;

/// Tells idle time, once a second, from what was written and read since the last look.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    written: SeqNo,
    reads: u64,
    quiet_seconds: u32,
}

impl Calm {
    /// Whether this is the time for what is not urgent: nothing is written, and few read or it has waited long.
    pub(crate) fn look(&mut self, written: SeqNo, reads: u64) -> bool {
        let read = reads.wrapping_sub(self.reads);
        self.quiet_seconds =
            if written == self.written { self.quiet_seconds.saturating_add(1) } else { 0 };
        self.written = written;
        self.reads = reads;
        self.quiet_seconds >= 1
            && (read <= IDLE_READS_MAX || self.quiet_seconds >= QUIET_SECONDS_MAX)
    }
}

/// The throttles, and who waits behind them.
#[derive(Debug)]
pub(crate) struct Pressure {
    l0: Throttle,
    memtables: Throttle,
    /// Since when the compactions that took L0 down have been at it.
    l0_since: Cell<Duration>,
    /// A write waits to be let in.
    pub(crate) wanted: Event,
}

impl Pressure {
    pub(crate) fn new() -> Self {
        Self {
            l0: Throttle::new(),
            memtables: Throttle::new(),
            l0_since: Cell::default(),
            wanted: Event::new(),
        }
    }

    /// A write of `bytes` was let in.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize) {
        self.l0.charge(bytes);
        self.memtables.charge(bytes);
    }

    /// Compaction had nothing to do until `now`.
    pub(crate) fn compaction_idle(&self, now: Duration) {
        self.l0_since.set(now);
    }

    /// A compaction ended.
    pub(crate) fn compacted<H>(&self, plan: &Plan, version: &Version<H>, now: Duration) {
        if plan.level != 0 || plan.target == 0 {
            return;
        }
        let tables = version.levels[0].iter().map(|table| &table.meta);
        let bytes = tables.filter(|meta| plan.reads(meta.number)).map(|meta| meta.raw_bytes).sum();
        // The jobs below that made room for this one are part of what it took.
        let since = self.l0_since.replace(now);
        self.l0.drained(bytes, now.saturating_sub(since));
    }

    /// A memtable of `bytes` was flushed.
    pub(crate) fn flushed(&self, bytes: u64, took: Duration) {
        self.memtables.drained(bytes, took);
    }
}

impl<E: Env> Shard<E> {
    /// After each change of the view.
    pub(crate) fn look_at_backlog(&self) {
        let inner = &self.inner;
        let thresholds = &inner.options.thresholds;
        let view = inner.view.borrow();
        let tables = view.version.levels[0].len() as u64;
        let (compact, slow, stop) = (
            thresholds.l0_compact_tables as u64,
            thresholds.l0_slow_tables as u64,
            thresholds.l0_stop_tables as u64,
        );
        inner.pressure.l0.press(tables, slow, stop, self.env().now());
        let shares =
            between(COMPACTION_SHARES, tables.saturating_sub(compact), slow - compact.min(slow));
        self.env().set_shares(Queue::Compaction, shares);
        let sealed = view.sealed.len() as u64;
        let shares = between(FLUSH_SHARES, sealed, inner.options.sealed_memtables_max as u64);
        self.env().set_shares(Queue::Flush, shares);
    }

    /// Whether a write must wait because it came faster than the background goes.
    #[inline]
    pub(crate) fn is_slowed(&self, view: &View<E>) -> bool {
        let pressure = &self.inner.pressure;
        let options = &self.inner.options;
        let full = view.sealed.len() >= options.sealed_memtables_max;
        if full || pressure.memtables.is_pressed() {
            let stop = options.memtable_bytes as u64;
            let at = if full { view.active.bytes() as u64 } else { 0 };
            pressure.memtables.press(at, stop / MEMTABLE_CALM, stop, self.env().now());
        }
        let is_shut =
            |throttle: &Throttle| throttle.is_pressed() && !throttle.is_open(self.env().now());
        is_shut(&pressure.l0) || is_shut(&pressure.memtables)
    }

    /// Wakes the writes that were slowed when they may come again.
    pub(crate) async fn let_in_loop(self) {
        while !self.inner.closing.get() {
            self.inner.pressure.wanted.wait().await;
            while !self.inner.closing.get() {
                self.env().sleep(SLOWED_TICK).await;
                let view = self.view();
                if !self.is_slowed(&view) {
                    break;
                }
            }
            self.admission_changed();
        }
        self.task_ended();
    }
}

/// From the first of `shares` at nothing to the second at `full`.
fn between(shares: (usize, usize), at: u64, full: u64) -> usize {
    let (calm, pressed) = shares;
    let (at, full) = (at.min(full), full.max(1));
    let more = (pressed - calm) as u64 * at / full;
    calm + usize::try_from(more).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_with_the_backlog() {
        let of = |at| between((200, 1000), at, 8);
        assert_eq!([of(0), of(1), of(4), of(8), of(80)], [200, 300, 600, 1000, 1000]);
        assert_eq!(between((200, 1000), 0, 0), 200);
    }

    #[test]
    fn calm_is_without_writes_and_with_few_reads_or_after_a_while() {
        let mut calm = Calm::default();
        assert!(!calm.look(SeqNo(5), 0), "just written");
        assert!(calm.look(SeqNo(5), 10), "a quiet second");
        assert!(!calm.look(SeqNo(6), 20), "written again");
        let mut reads = 20;
        for second in 1..=QUIET_SECONDS_MAX {
            reads += IDLE_READS_MAX + 1;
            assert_eq!(calm.look(SeqNo(6), reads), second == QUIET_SECONDS_MAX, "{second}");
        }
        assert!(!calm.look(SeqNo(7), reads));
        assert!(calm.look(SeqNo(7), reads + IDLE_READS_MAX));
    }
}
