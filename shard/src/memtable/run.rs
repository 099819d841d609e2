//! The order of a memtable's entries, made late: most are never read in order before they are flushed, and sorting many at
//! once costs a fraction of keeping them sorted.
//!
//! ```text
//! tail:    ....................   unsorted, in order of arrival; a skiplist of it, once somebody has read in order
//! tier 0:  [512] [512] [512]      sorted when the tail was full
//! tier 1:  [4096] [4096]          each merged from eight of the tier above, a little with every insert
//! tier 2:  [32768] [32768] ..
//! ```
//!
//! Sorting and merging a tenth of a million entries this way takes some 60 ns an entry; an insert into a skiplist of 32k entries took 300.
//!
//! # Invariants
//! - Every entry is in the tail or in exactly one array of a tier.
//! - Sequence numbers ascend from the oldest array of the last tier to the newest of the first, and on into the tail: of one key a later
//!   place holds the newer versions.
//! - What a merge reads stays readable until its result takes its place.

#![expect(
    clippy::disallowed_types,
    reason = "cursors hold arrays that a merge may replace, and a memtable is dropped on another thread: Arc, counted once per cursor"
)]

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::sync::Arc;

use super::raw::{EntryRef, Item, SkipRun};
use crate::key::SeqNo;
use crate::merge::prefix;

/// Entries of the tail: sorting as many takes some 15 us. Small in unit tests, so that they have many arrays.
pub(super) const TAIL_ENTRIES_MAX: usize = if cfg!(test) { 16 } else { 512 };

/// Arrays of a tier that become one of the next.
const FAN_IN: usize = if cfg!(test) { 4 } else { 8 };

/// Arrays of the last tier are not merged on: a flush merges them once.
const TIERS: usize = 3;

/// Entries of an array of the last tier: 32k.
const MERGED_ENTRIES_MAX: usize = TAIL_ENTRIES_MAX * FAN_IN * FAN_IN;
const _: () = assert!(TIERS == 3);

/// Merges go on each time that so many entries have come ...
const INSERTS_PER_STEP: usize = if cfg!(test) { 4 } else { 64 };
/// ... by so many, each: done when half of what the next merge of the tier needs is there.
const STEP_ENTRIES: usize = 2 * INSERTS_PER_STEP;

const _: () = assert!(TAIL_ENTRIES_MAX.is_multiple_of(INSERTS_PER_STEP));

/// Entries in order.
pub(super) struct Sorted<'a> {
    items: Vec<Item<'a>>,
    first_seq: SeqNo,
}

impl<'a> Sorted<'a> {
    pub(super) fn items(&self) -> &[Item<'a>] {
        &self.items
    }

    /// How many items have keys below `key`.
    pub(super) fn count_below(&self, key: &[u8]) -> usize {
        self.count_before(key, SeqNo(u64::MAX))
    }

    /// How many items stand before version `at` of `key`.
    fn count_before(&self, key: &[u8], at: SeqNo) -> usize {
        let words = prefix(key);
        self.items.partition_point(|item| match item.words.cmp(&words) {
            Ordering::Equal => {
                let order = item.entry.key().cmp(key);
                order.then_with(|| at.cmp(&item.entry.seq())).is_lt()
            }
            unequal => unequal.is_lt(),
        })
    }

    /// The newest version of `key` at or below `at`.
    fn find(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'a>> {
        let place = self.count_before(key, at);
        self.items.get(place).map(|item| item.entry).filter(|entry| entry.key() == key)
    }
}

/// A merge of the oldest arrays of a tier, as far as it has come.
struct Merging<'a> {
    /// What is left: the next item of each source, and the source with that item's index.
    heads: Vec<Item<'a>>,
    sources: Vec<(Arc<Sorted<'a>>, usize)>,
    out: Vec<Item<'a>>,
    first_seq: SeqNo,
}

impl<'a> Merging<'a> {
    fn new(sources: &[Arc<Sorted<'a>>]) -> Self {
        Self {
            heads: sources.iter().map(|source| source.items[0]).collect(),
            sources: sources.iter().map(|source| (Arc::clone(source), 0)).collect(),
            out: Vec::with_capacity(sources.iter().map(|source| source.items.len()).sum()),
            first_seq: sources[0].first_seq,
        }
    }

    /// Moves up to `count` items on; `true` when none is left.
    fn step(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let heads = self.heads.iter().enumerate();
            let Some((least, item)) = heads.min_by(|left, right| left.1.order(right.1)) else {
                return true;
            };
            self.out.push(*item);
            let (source, index) = &mut self.sources[least];
            *index += 1;
            if let Some(next) = source.items.get(*index) {
                self.heads[least] = *next;
            } else {
                self.heads.swap_remove(least);
                self.sources.swap_remove(least);
            }
        }
        self.heads.is_empty()
    }
}

#[derive(Default)]
struct Tier<'a> {
    /// Oldest first.
    arrays: Vec<Arc<Sorted<'a>>>,
    /// Of the first of them.
    merging: Option<Merging<'a>>,
}

pub(super) struct Runs<'a> {
    tail: RefCell<Tail<'a>>,
    tiers: RefCell<[Tier<'a>; TIERS]>,
    entries: Cell<usize>,
}

#[derive(Default)]
struct Tail<'a> {
    items: Vec<Item<'a>>,
    /// The same in order, as far as it has been read in order: `listed` items of it.
    list: Option<SkipRun<'a>>,
    listed: usize,
    /// What was read in order last.
    view: Option<Arc<Sorted<'a>>>,
}

impl<'a> Tail<'a> {
    fn first_seq(&self) -> SeqNo {
        self.items.first().map_or(SeqNo(0), |item| item.entry.seq())
    }

    /// The items in order, to be kept.
    fn sorted(&mut self) -> Vec<Item<'a>> {
        if self.list.is_some() {
            return self.in_order();
        }
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable_by(Item::order);
        items
    }

    /// The items in order, by way of the list: a reader who comes again pays for what was added since.
    fn in_order(&mut self) -> Vec<Item<'a>> {
        let list = self.list.get_or_insert_with(SkipRun::new);
        for item in &self.items[self.listed..] {
            list.insert(*item);
        }
        self.listed = self.items.len();
        let mut items = Vec::with_capacity(self.items.len());
        list.each(|item| items.push(item));
        items
    }

    fn view(&mut self) -> Arc<Sorted<'a>> {
        let known = self.view.take().filter(|view| view.items.len() == self.items.len());
        let view = known.unwrap_or_else(|| {
            Arc::new(Sorted { items: self.in_order(), first_seq: self.first_seq() })
        });
        Arc::clone(self.view.insert(view))
    }
}

impl<'a> Runs<'a> {
    pub(super) fn new() -> Self {
        Self { tail: RefCell::default(), tiers: RefCell::default(), entries: Cell::new(0) }
    }

    /// Memory of the order, in bytes: an estimate, entries not included.
    pub(super) fn bytes(&self) -> usize {
        let entries = self.entries.get();
        // Each entry is in one array, and the newest ones in the merges under way.
        (entries + entries.min(2 * MERGED_ENTRIES_MAX)) * size_of::<Item<'_>>()
    }

    /// Number of entries.
    pub(super) fn entries(&self) -> usize {
        self.entries.get()
    }

    /// Adds an entry with a higher sequence number than all before it.
    #[inline]
    pub(super) fn insert(&self, entry: EntryRef<'a>) {
        let mut tail = self.tail.borrow_mut();
        if tail.items.capacity() == 0 {
            tail.items.reserve_exact(TAIL_ENTRIES_MAX);
        }
        tail.items.push(Item::new(entry));
        let entries = self.entries.get() + 1;
        self.entries.set(entries);
        if entries.is_multiple_of(INSERTS_PER_STEP) {
            if entries.is_multiple_of(TAIL_ENTRIES_MAX) {
                let first_seq = tail.first_seq();
                let items = tail.sorted();
                *tail = Tail::default();
                self.tiers.borrow_mut()[0].arrays.push(Arc::new(Sorted { items, first_seq }));
            }
            self.step();
        }
    }

    /// Goes on with the merges.
    #[cold]
    fn step(&self) {
        let tiers = &mut *self.tiers.borrow_mut();
        for number in 0..TIERS - 1 {
            let tier = &mut tiers[number];
            if tier.merging.is_none() && tier.arrays.len() >= FAN_IN {
                tier.merging = Some(Merging::new(&tier.arrays[..FAN_IN]));
            }
            let Some(merging) = &mut tier.merging else { continue };
            if merging.step(STEP_ENTRIES) {
                let Merging { out, first_seq, .. } = tier.merging.take().expect("found above");
                tier.arrays.drain(..FAN_IN);
                tiers[number + 1].arrays.push(Arc::new(Sorted { items: out, first_seq }));
            }
        }
    }

    /// The arrays to read, oldest first, the tail as it is now among them.
    pub(super) fn views(&self) -> Vec<Arc<Sorted<'a>>> {
        let tiers = self.tiers.borrow();
        let arrays = tiers.iter().rev().flat_map(|tier| &tier.arrays).cloned();
        let mut tail = self.tail.borrow_mut();
        arrays.chain((!tail.items.is_empty()).then(|| tail.view())).collect()
    }

    /// The newest version of `key` at or below `at`, by a search in each array that may hold it.
    pub(super) fn find(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'a>> {
        let arrays = self.views();
        let candidates = arrays.iter().filter(|array| array.first_seq <= at);
        candidates.rev().find_map(|array| array.find(key, at))
    }
}
