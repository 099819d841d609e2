//! The pure part against a model, from seeds: flushes of random batches, plans picked and carried out in memory,
//! up to three at a time and finishing in any order, under either strategy.
//!
//! After every step: the version is valid, and what a reader finds (newest table first) is what a map holds.
//! At the end: the tree comes to rest, and an idle tree of deleted keys holds nothing.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::plan::{Busy, Plan};
use super::super::retain::Retain;
use super::super::{Pointers, Situation, pick};
use super::Random;
use crate::expiry::Expiring;
use crate::key::{Entry, Kind, SeqNo};
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::version::Version;
use crate::options::{CompactionStyle, CompactionThresholds};

/// Key, sequence number, kind.
type Record = (Vec<u8>, u64, Kind);
type Records = Rc<Vec<Record>>;

/// Bytes of one entry, and a full table, in the model's small world.
const ENTRY_BYTES: u64 = 100;
const TABLE_BYTES: u64 = 20 * ENTRY_BYTES;
/// Lives per strategy. A thousand were run when this was written.
const SEEDS: u64 = 10;

fn meta(number: u64, records: &[Record]) -> TableMeta {
    TableMeta {
        number,
        bytes: records.len() as u64 * ENTRY_BYTES,
        crc: 0,
        entries: records.len() as u64,
        tombstones: records.iter().filter(|record| record.2 == Kind::Delete).count() as u64,
        expiring: Expiring::default(),
        raw_bytes: 0,
        smallest: records[0].0.clone(),
        largest: records[records.len() - 1].0.clone(),
        seq_min: records.iter().map(|record| record.1).min().unwrap(),
        seq_max: records.iter().map(|record| record.1).max().unwrap(),
    }
}

struct World {
    random: Random,
    style: CompactionStyle,
    thresholds: CompactionThresholds,
    version: Version<Records>,
    busy: Busy,
    pointers: Pointers,
    running: Vec<(Plan, Version<Records>)>,
    /// A flush that has its number and data, and is not installed.
    flushing: Option<(TableMeta, Records)>,
    model: BTreeMap<Vec<u8>, (u64, Kind)>,
    seq: u64,
    number: u64,
    plans: u64,
}

impl World {
    fn new(seed: u64, style: CompactionStyle) -> Self {
        Self {
            random: Random(seed),
            style,
            thresholds: CompactionThresholds {
                level_base_bytes: 4 * TABLE_BYTES,
                level_ratio: 4,
                ..CompactionThresholds::default()
            },
            version: Version::default(),
            busy: Busy::new(),
            pointers: Pointers::default(),
            running: Vec::new(),
            flushing: None,
            model: BTreeMap::new(),
            seq: 0,
            number: 0,
            plans: 0,
        }
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Takes a number and the data; the table stands in the version only after `end_flush`.
    fn begin_flush(&mut self) {
        let (space, start) = (1 + self.random.below(400), self.random.below(600));
        let deletes = self.random.below(3) * 3;
        let mut batch = BTreeMap::new();
        for _ in 0..=self.random.below(40) {
            let key = format!("{:04}", start + self.random.below(space)).into_bytes();
            self.seq += 1;
            let kind = if self.random.below(10) < deletes { Kind::Delete } else { Kind::Put };
            batch.insert(key, (self.seq, kind));
        }
        self.flush(batch);
    }

    fn flush(&mut self, batch: BTreeMap<Vec<u8>, (u64, Kind)>) {
        let number = self.next_number();
        let records: Vec<Record> =
            batch.iter().map(|(key, &(seq, kind))| (key.clone(), seq, kind)).collect();
        self.model.extend(batch);
        self.flushing = Some((meta(number, &records), Rc::new(records)));
    }

    fn end_flush(&mut self) {
        if let Some((meta, records)) = self.flushing.take() {
            let edit = VersionEdit { added: vec![(0, meta)], ..VersionEdit::default() };
            self.version = self.version.apply(&edit, vec![records]).unwrap();
        }
    }

    /// Whether a plan was found; it starts, a trivial one is done at once.
    fn pick(&mut self, idle: bool) -> bool {
        let situation = Situation {
            thresholds: &self.thresholds,
            table_bytes: TABLE_BYTES,
            busy: &self.busy,
            pointers: &self.pointers,
            idle,
            now_ms: 0,
        };
        let Some(plan) = pick(self.style, &self.version, &situation) else {
            return false;
        };
        self.plans += 1;
        self.pointers.advance(&plan);
        if plan.trivial {
            let edit = plan.trivial_edit(&self.version).unwrap();
            let handles = edit.added.iter().map(|(_, meta)| self.records(meta.number)).collect();
            self.version = self.version.apply(&edit, handles).unwrap();
        } else {
            self.busy.start(&plan);
            self.running.push((plan, self.version.clone()));
        }
        true
    }

    fn records(&self, number: u64) -> Records {
        let mut tables = self.version.tables();
        Rc::clone(&tables.find(|(_, table)| table.meta.number == number).unwrap().1.handle)
    }

    /// One of the running compactions ends: it saw the version it was planned on.
    fn finish(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = usize::try_from(self.random.below(self.running.len() as u64)).unwrap();
        let (plan, seen) = self.running.swap_remove(index);
        let mut all: Vec<Record> =
            plan.inputs.iter().flat_map(|&(_, n)| self.records(n).as_ref().clone()).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut retain = Retain::new(&seen, &plan, 0);
        all.retain(|(key, seq, kind)| {
            retain.keep(Entry { key, seq: SeqNo(*seq), kind: *kind, value: b"" }).is_some()
        });
        let table = if plan.target == 0 { all.len().max(1) } else { 20 };
        let mut edit = VersionEdit { removed: plan.inputs.clone(), ..VersionEdit::default() };
        let mut handles = Vec::new();
        for records in all.chunks(table) {
            edit.added.push((plan.target, meta(self.next_number(), records)));
            handles.push(Rc::new(records.to_vec()));
        }
        self.version = self.version.apply(&edit, handles).unwrap();
        self.busy.end(&plan);
    }

    /// The read path: L0 newest first, then one table a level.
    fn get(&self, key: &[u8]) -> Option<(u64, Kind)> {
        let l0 = self.version.levels[0].iter();
        let deeper =
            (1..self.version.levels.len()).filter_map(|level| self.version.candidate(level, key));
        l0.chain(deeper).find_map(|table| {
            let found = table.handle.binary_search_by(|record| record.0.as_slice().cmp(key));
            found.ok().map(|index| (table.handle[index].1, table.handle[index].2))
        })
    }

    fn check(&self) {
        let in_flush = self.flushing.as_ref().map(|(_, records)| records);
        // A seventh of the keys, another one each time.
        let sample = self.model.iter().skip(usize::try_from(self.plans % 7).unwrap()).step_by(7);
        for (key, &(seq, kind)) in sample {
            if in_flush.is_some_and(|records| records.iter().any(|record| &record.0 == key)) {
                continue; // a reader meets the memtable first
            }
            let found = self.get(key);
            let gone = kind == Kind::Delete && found.is_none();
            assert!(gone || found == Some((seq, kind)), "{key:?}: {found:?}, not {seq} {kind:?}");
        }
    }

    fn settle(&mut self, idle: bool) {
        self.end_flush();
        for round in 0.. {
            assert!(round < 10_000, "the tree does not come to rest");
            if !self.pick(idle) {
                if self.running.is_empty() {
                    break;
                }
                self.finish();
            }
            self.check();
        }
    }
}

fn live_through(seed: u64, style: CompactionStyle) -> World {
    let mut world = World::new(seed, style);
    for _ in 0..300 {
        match world.random.below(6) {
            0 | 1 if world.flushing.is_none() => world.begin_flush(),
            0..=2 => world.end_flush(),
            3 | 4 if world.running.len() < 3 => {
                let idle = world.random.below(8) == 0;
                world.pick(idle);
            }
            _ => world.finish(),
        }
        world.check();
    }
    world.settle(false);
    world
}

#[test]
fn readers_find_the_newest_through_any_order_of_compactions() {
    for style in [CompactionStyle::Leveled, CompactionStyle::SizeTiered] {
        let mut plans = 0;
        for seed in 0..SEEDS {
            plans += live_through(seed, style).plans;
        }
        assert!(plans > SEEDS * 12, "{style:?}: only {plans} plans");
    }
}

#[test]
fn a_tree_at_rest_is_in_shape() {
    for seed in 0..SEEDS / 2 {
        let world = live_through(seed, CompactionStyle::Leveled);
        assert!(world.version.levels[0].len() < 4);
        assert!(world.version.level_bytes(1) <= 4 * TABLE_BYTES);
        let world = live_through(seed, CompactionStyle::SizeTiered);
        assert!(world.version.levels[0].len() < 4);
    }
}

#[test]
fn an_idle_tree_gives_back_the_space_of_deleted_keys() {
    for style in [CompactionStyle::Leveled, CompactionStyle::SizeTiered] {
        for seed in 0..SEEDS / 2 {
            let mut world = live_through(seed, style);
            let keys: Vec<Vec<u8>> = world.model.keys().cloned().collect();
            let batch = keys.into_iter().map(|key| {
                world.seq += 1;
                (key, (world.seq, Kind::Delete))
            });
            let batch = batch.collect();
            world.flush(batch);
            world.settle(false);
            world.settle(true);
            let left: Vec<_> = world.version.tables().map(|(_, table)| &table.meta).collect();
            assert!(left.is_empty(), "{style:?} {seed}: {left:?}");
        }
    }
}
