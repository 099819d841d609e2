//! The sorted runs of a memtable: small enough that an insert stays within the cache.
//!
//! # Invariants
//! - All runs but the last are sealed. Sequence numbers ascend from run to run, so of one key a later run holds the
//!   newer versions.
//! - While a run fills, the entries of the one before it are collected into an array, in steps; that is done long
//!   before the run is full.

use std::cell::{Cell, OnceCell, RefCell};

use super::raw::{EntryRef, ListView, SkipRun};
use crate::key::SeqNo;
use crate::merge::prefix;

/// Entries of a run. At 32k an insert takes 0.3 us, at 128k 0.5, at 600k 1.0 (design D7).
/// Small in unit tests, so that they have many runs.
pub(super) const RUN_ENTRIES_MAX: usize = if cfg!(test) { 64 } else { 32 << 10 };

/// Runs of a memtable: 33 million entries, some 4 GiB. The last run just goes on growing.
const RUNS_MAX: usize = 1024;

/// One step of collecting is made per this many inserts ...
const INSERTS_PER_COLLECT: usize = if cfg!(test) { 4 } else { 64 };
/// ... and takes this many entries, some 20 us.
const COLLECT_ENTRIES: usize = if cfg!(test) { 16 } else { 256 };

/// One node of a skiplist, in bytes: key 24, references 8, two levels on average 16, and the allocator's rounding
/// (jemalloc has classes 48, 64, 80).
const NODE_BYTES: usize = 56;

/// Every so many entries of a sealed run, one key's prefix is kept aside: a search touches four entries instead of fifteen,
/// each of which is a cache miss.
const SAMPLE_EVERY: usize = if cfg!(test) { 4 } else { 8 };

/// One entry of an array, in bytes.
const SORTED_BYTES: usize = size_of::<EntryRef<'_>>() + size_of::<[u64; 2]>() / SAMPLE_EVERY;

const _: () =
    assert!(RUN_ENTRIES_MAX / COLLECT_ENTRIES * INSERTS_PER_COLLECT < RUN_ENTRIES_MAX / 2);

struct Run<'a> {
    list: SkipRun<'a>,
    first_seq: SeqNo,
    /// All entries, some time after the run was sealed.
    sorted: OnceCell<Sorted<'a>>,
}

/// The entries of a sealed run in order. A step forward takes a third of one in the list, a step backward a seventh (it
/// is a search there): neither waits for a node, and the entries to come are known.
#[derive(Default)]
struct Sorted<'a> {
    entries: Vec<EntryRef<'a>>,
    /// Prefixes of the keys of `entries[k * SAMPLE_EVERY]`.
    samples: Vec<[u64; 2]>,
}

impl<'a> Sorted<'a> {
    /// A sealed run has this many, so nothing is moved later.
    fn reserve(&mut self) {
        self.entries.reserve_exact(RUN_ENTRIES_MAX);
        self.samples.reserve_exact(RUN_ENTRIES_MAX / SAMPLE_EVERY);
    }

    fn push(&mut self, entry: EntryRef<'a>, prefix: [u64; 2]) {
        if self.entries.len().is_multiple_of(SAMPLE_EVERY) {
            self.samples.push(prefix);
        }
        self.entries.push(entry);
    }

    fn view(&self) -> SortedView<'_> {
        SortedView { entries: &self.entries, samples: &self.samples }
    }
}

pub(super) struct Runs<'a> {
    /// Filled from the front. Never moved, so that cursors can borrow a run while others are added.
    slots: Box<[OnceCell<Box<Run<'a>>>]>,
    count: Cell<usize>,
    /// Entries of the last run.
    active_entries: Cell<usize>,
    entries: Cell<usize>,
    collected: RefCell<Sorted<'a>>,
}

impl<'a> Runs<'a> {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..RUNS_MAX).map(|_| OnceCell::new()).collect(),
            count: Cell::new(0),
            active_entries: Cell::new(0),
            entries: Cell::new(0),
            collected: RefCell::new(Sorted::default()),
        }
    }

    /// Memory of the runs, in bytes: an estimate, entries not included.
    pub(super) fn bytes(&self) -> usize {
        self.entries.get() * (NODE_BYTES + SORTED_BYTES)
    }

    /// Number of entries.
    pub(super) fn entries(&self) -> usize {
        self.entries.get()
    }

    /// Adds an entry with a higher sequence number than all before it.
    #[inline]
    pub(super) fn insert(&self, entry: EntryRef<'a>) {
        let active = match self.run(self.count.get().wrapping_sub(1)) {
            Some(run) if self.active_entries.get() < RUN_ENTRIES_MAX => run,
            _ => self.begin(entry.seq()),
        };
        active.list.insert(entry);
        self.entries.set(self.entries.get() + 1);
        self.active_entries.set(self.active_entries.get() + 1);
        if self.active_entries.get().is_multiple_of(INSERTS_PER_COLLECT) && self.count.get() > 1 {
            self.collect_step();
        }
    }

    fn run(&self, index: usize) -> Option<&Run<'a>> {
        self.slots.get(index)?.get().map(|run| &**run)
    }

    /// Seals the last run and begins the next.
    #[cold]
    fn begin(&self, first_seq: SeqNo) -> &Run<'a> {
        let count = self.count.get();
        if count == RUNS_MAX {
            return self.run(count - 1).expect("all runs are there");
        }
        assert!(count < 2 || self.run(count - 2).is_some_and(|run| run.sorted.get().is_some()));
        let run = Run { list: SkipRun::new(), first_seq, sorted: OnceCell::new() };
        assert!(self.slots[count].set(Box::new(run)).is_ok());
        self.count.set(count + 1);
        self.active_entries.set(0);
        self.run(count).expect("set above")
    }

    /// Collects the next entries of the run sealed last.
    #[cold]
    fn collect_step(&self) {
        let Some(run) = self.run(self.count.get() - 2) else { return };
        if run.sorted.get().is_some() {
            return;
        }
        let mut collected = self.collected.borrow_mut();
        if collected.entries.is_empty() {
            collected.reserve();
        }
        let last = collected.entries.last().copied();
        let more = run.list.collect(last, COLLECT_ENTRIES, |entry, prefix| {
            collected.push(entry, prefix);
        });
        if !more {
            assert!(run.sorted.set(std::mem::take(&mut *collected)).is_ok());
        }
    }

    /// The runs to read, oldest first.
    pub(super) fn views(&self) -> impl DoubleEndedIterator<Item = RunView<'_>> {
        (0..self.count.get()).filter_map(|index| self.run(index)).map(|run| RunView {
            list: run.list.view(),
            sorted: run.sorted.get().map(Sorted::view),
            first_seq: run.first_seq,
        })
    }

    /// The newest version of `key` at or below `at`, by a search in each run that may hold it.
    pub(super) fn find(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let candidates = self.views().rev().filter(|run| run.first_seq <= at);
        candidates
            .filter_map(|run| run.list.at_or_after(key, at))
            .map(|place| place.entry())
            .find(|entry| entry.key() == key)
    }
}

/// A run to read from.
#[derive(Clone, Copy)]
pub(super) struct RunView<'r> {
    pub(super) list: ListView<'r>,
    pub(super) sorted: Option<SortedView<'r>>,
    first_seq: SeqNo,
}

/// All entries of a sealed run, in order.
#[derive(Clone, Copy)]
pub(super) struct SortedView<'r> {
    pub(super) entries: &'r [EntryRef<'r>],
    samples: &'r [[u64; 2]],
}

impl SortedView<'_> {
    /// How many entries have keys below `key`.
    pub(super) fn count_below(self, key: &[u8]) -> usize {
        let prefix = prefix(key);
        // Before the last sample below, all keys are below; from the first sample above, none is.
        let below = self.samples.partition_point(|sample| *sample < prefix);
        let equal = self.samples[below..].partition_point(|sample| *sample == prefix);
        let start = below.saturating_sub(1) * SAMPLE_EVERY;
        let end = self.entries.len().min((below + equal) * SAMPLE_EVERY);
        start + self.entries[start..end].partition_point(|entry| entry.key() < key)
    }
}
