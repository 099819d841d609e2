//! How many keys there are, about, without looking at them.
//!
//! A key may have versions in many runs (memtables, tables of L0, levels), and only the newest counts. So the runs are taken
//! from the newest down, and each adds the part of its entries that no newer run has, by the sketches of both; of those it
//! adds the part that is alive in it: neither tombstones nor expired. What lies shadowed in an older run, dead or not, then
//! counts as little as it should.
//!
//! Exact where that costs nothing: with one run only, whose dead are known.

use std::rc::{Rc, Weak};

use crate::env::Env;
use crate::expiry::Expiring;
use crate::manifest::edit::TableMeta;
use crate::manifest::version::{TableRef, Version};
use crate::memtable::MemTable;
use crate::shard::Shard;
use crate::sketch::Sketch;
use crate::table::Table;

/// What [`Shard::key_estimate`] answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyEstimate {
    /// Keys that a scan would find now. Never 0 if there are any.
    pub keys: u64,
    /// Those of them whose values end.
    pub expiring: u64,
    /// It is so: no estimate.
    pub exact: bool,
}

impl KeyEstimate {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.expiring += other.expiring;
        self.exact &= other.exact;
    }
}

/// What is known of the keys of one run.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Distinct keys, whatever is said of them.
    entries: u64,
    /// Of those, keys that no sketch has: of tables without one.
    unsketched: u64,
    /// Keys with a value that is not known to have expired.
    alive: u64,
    /// Of those, keys whose value ends.
    expiring: u64,
    /// `alive` is an estimate.
    is_estimate: bool,
}

impl Counts {
    fn of(entries: u64, dead: u64, expiring: &Expiring, now_ms: u64) -> Self {
        let expired = expiring.expired(now_ms).min(expiring.entries);
        Self {
            entries,
            unsketched: 0,
            alive: entries.saturating_sub(dead).saturating_sub(expired),
            expiring: expiring.entries - expired,
            is_estimate: expiring.entries > 0 && !expiring.is_exact(now_ms),
        }
    }

    fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.unsketched += other.unsketched;
        self.alive += other.alive;
        self.expiring += other.expiring;
        self.is_estimate |= other.is_estimate;
    }
}

/// The sketches of the runs of a version, merged once.
#[derive(Debug)]
pub(crate) struct Sketches<E: Env> {
    /// Its memory is held, so that no other version has its address; its tables are not.
    of: Weak<Version<Rc<Table<E>>>>,
    /// In the order of the runs.
    runs: Vec<Sketch>,
}

type OpenTable<E> = Rc<TableRef<Rc<Table<E>>>>;

/// The runs of a version, newest first: each table of L0, then each level that has any.
fn runs<E: Env>(version: &Version<Rc<Table<E>>>) -> impl Iterator<Item = &[OpenTable<E>]> {
    let [fresh, levels @ ..] = &version.levels;
    fresh.chunks(1).chain(levels.iter().filter(|tables| !tables.is_empty()).map(Vec::as_slice))
}

impl<E: Env> Shard<E> {
    /// How many keys there are. I/O: none. Cost: some 10 us a run, and a look at each table; after a change of the tables,
    /// once 4 KiB a table to be merged (16 MiB tables: 2-3 ms for 100 GB).
    pub fn key_estimate(&self) -> KeyEstimate {
        let view = self.view();
        let now_ms = self.env().wall_ms();
        let memtables = view.memtables().filter(|memtable| !memtable.is_empty());
        let mut parts: Vec<(Counts, &Sketch)> = memtables
            .map(|memtable| (in_memtable(memtable, now_ms), memtable.tally().sketch()))
            .collect();
        let in_tables: Vec<Counts> =
            runs(&view.version).map(|tables| in_run(tables, now_ms)).collect();
        if parts.len() + in_tables.len() <= 1 {
            let only = parts.first().map(|(counts, _)| *counts);
            return alone(&only.or_else(|| in_tables.first().copied()).unwrap_or_default());
        }
        let mut cached = self.inner.sketches.borrow_mut();
        let is_known = |known: &Sketches<E>| known.of.as_ptr() == Rc::as_ptr(&view.version);
        if !cached.as_ref().is_some_and(is_known) {
            *cached = Some(merged(&view.version));
        }
        let sketches = cached.as_ref().map_or(&[][..], |sketches| &sketches.runs);
        parts.extend(in_tables.into_iter().zip(sketches));
        together(&parts)
    }
}

fn in_memtable(memtable: &MemTable, now_ms: u64) -> Counts {
    let tally = memtable.tally();
    Counts::of(tally.keys(), tally.deleted(), &tally.expiring(), now_ms)
}

fn in_run<E: Env>(tables: &[OpenTable<E>], now_ms: u64) -> Counts {
    let mut all = Counts::default();
    for table in tables {
        let TableMeta { entries, tombstones, expiring, .. } = &table.meta;
        let mut counts = Counts::of(*entries, *tombstones, expiring, now_ms);
        if table.handle.sketch().is_none() {
            counts.unsketched = *entries;
        }
        all.add(&counts);
    }
    all
}

fn merged<E: Env>(version: &Rc<Version<Rc<Table<E>>>>) -> Sketches<E> {
    let merge = |tables: &[OpenTable<E>]| {
        let sketch = Sketch::default();
        for encoded in tables.iter().filter_map(|table| table.handle.sketch()) {
            sketch.merge_encoded(encoded);
        }
        sketch
    };
    Sketches { of: Rc::downgrade(version), runs: runs(version).map(merge).collect() }
}

/// No key is in two places.
fn alone(counts: &Counts) -> KeyEstimate {
    KeyEstimate { keys: counts.alive, expiring: counts.expiring, exact: !counts.is_estimate }
}

/// Runs from the newest to the oldest.
fn together(parts: &[(Counts, &Sketch)]) -> KeyEstimate {
    let above = Sketch::default();
    let (mut keys, mut expiring, mut known) = (0.0, 0.0, 0.0);
    for (counts, sketch) in parts.iter().filter(|(counts, _)| counts.entries > 0) {
        above.merge(sketch);
        let all = above.estimate();
        let (own, new) = (sketch.estimate(), all - known);
        known = all;
        // Both estimates err alike, so their ratio errs less than either.
        let share = if own > 0.0 { (new / own).clamp(0.0, 1.0) } else { 0.0 };
        let sketched = counts.entries - counts.unsketched;
        let fresh = float(sketched) * share + float(counts.unsketched);
        keys += fresh * float(counts.alive) / float(counts.entries);
        expiring += fresh * float(counts.expiring) / float(counts.entries);
    }
    let alive: u64 = parts.iter().map(|(counts, _)| counts.alive).sum();
    let keys = whole(keys).clamp(1, alive.max(1)).min(alive);
    KeyEstimate { keys, expiring: whole(expiring).min(keys), exact: alive == 0 }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of counts")]
fn whole(count: f64) -> u64 {
    count.round() as u64
}
