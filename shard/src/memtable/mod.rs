//! The memtable: one generation of unflushed writes.
//!
//! ```text
//! index:  hash -> newest entry ──┐            one hash table per 256th of the hashes
//! arena:  [entry][entry]...[entry]  ◀─prev─   keys and values, in order of arrival
//! runs:   sorted ... sorted, tail             arrays in order, made as entries come; the newest are not sorted yet
//! ```
//!
//! An insert writes the entry, links it before the key's older versions, replaces the key's slot in the index and adds
//! the entry to the tail. A point read asks the index alone; an ordered read merges the arrays.
//!
//! # Invariants
//! - Sequence numbers ascend from insert to insert.
//! - Nothing is changed or freed before the memtable is dropped, except the slots of the index.
//! - Used from one thread, dropped on any: to free a whole generation takes too long for a core.

pub mod cursor;
mod index;
mod raw;
mod run;
mod tally;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;

use self_cell::self_cell;

pub use cursor::MemCursor;
pub(crate) use tally::Tally;

use crate::batch::Op;
use crate::cursor::Direction;
use crate::key::{self, Kind, SeqNo};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_CAP};
use cursor::RunCursor;
use index::Index;
use raw::{Arena, EntryRef};
use run::Runs;

/// Older versions of a key that a read walks over before it searches the runs instead. A search costs about as much.
const VERSIONS_WALKED_MAX: usize = 64;

/// One version of a key, borrowed from the memtable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemEntry<'a> {
    /// Its sequence number.
    pub seq: SeqNo,
    /// Value, expiring value or tombstone.
    pub kind: Kind,
    /// As it is stored.
    pub value: &'a [u8],
}

impl<'a> From<EntryRef<'a>> for MemEntry<'a> {
    #[inline]
    fn from(entry: EntryRef<'a>) -> Self {
        Self { seq: entry.seq(), kind: entry.kind(), value: entry.value() }
    }
}

/// One generation of unflushed writes. `Send`, so that it can be dropped elsewhere; not `Sync`.
pub struct MemTable {
    cell: Generation,
    first_seq: Cell<SeqNo>,
    last_seq: Cell<SeqNo>,
    sealed: Cell<bool>,
}

struct Parts<'a> {
    index: RefCell<Index<'a>>,
    tally: Tally,
    runs: Runs<'a>,
}

// Ties the entries to their arena: index and runs borrow from it, and only closures over any lifetime see them.
self_cell!(
    struct Generation {
        owner: Arena,
        #[not_covariant]
        dependent: Parts,
    }
);

impl MemTable {
    /// An empty memtable. `seed` is random and secret: with it no one can choose keys that make the index slow.
    pub fn new(seed: u64) -> Self {
        Self {
            cell: Generation::new(Arena::new(), |_| Parts {
                index: RefCell::new(Index::new(seed)),
                tally: Tally::default(),
                runs: Runs::new(),
            }),
            first_seq: Cell::new(SeqNo(0)),
            last_seq: Cell::new(SeqNo(0)),
            sealed: Cell::new(false),
        }
    }

    /// Applies `op`, whose `seq` is above all before it. The caller has checked the lengths against the limits.
    pub fn insert(&self, seq: SeqNo, op: Op<'_>) {
        assert!(!self.sealed.get());
        assert!(seq > self.last_seq.get());
        assert!(op.key().len() <= KEY_BYTES_MAX);
        assert!(op.value().len() <= VALUE_BYTES_CAP);
        let hash = key::hash(op.key());
        self.cell.with_dependent(|arena, parts| {
            let make = |prev| {
                let entry = arena.push(prev, seq, op);
                parts.tally.count(hash, prev.map(EntryRef::kind), &op);
                entry
            };
            let entry = parts.index.borrow_mut().replace(hash, op.key(), make);
            parts.runs.insert(entry);
        });
        if self.first_seq.get() == SeqNo(0) {
            self.first_seq.set(seq);
        }
        self.last_seq.set(seq);
    }

    /// The newest version of `key` at or below `at`; `hash` is [`key::hash`] of it. A tombstone is an answer, `None` is
    /// not: older tables may hold the key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8], at: SeqNo) -> Option<MemEntry<'_>> {
        self.cell.with_dependent(|_, parts| -> Option<MemEntry<'_>> {
            let newest = parts.index.borrow().find(hash, key)?;
            if newest.seq() <= at {
                return Some(newest.into());
            }
            find_older(newest, &parts.runs, key, at).map(MemEntry::from)
        })
    }

    /// Fetches what [`MemTable::get`] of a key with this hash will look at.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.cell.with_dependent(|_, parts| parts.index.borrow().prefetch(hash));
    }

    /// The newest version of `key`; `hash` is [`key::hash`] of it.
    #[inline]
    pub fn get_newest(&self, hash: u64, key: &[u8]) -> Option<MemEntry<'_>> {
        self.get(hash, key, SeqNo(u64::MAX))
    }

    /// All memory held for entries, in bytes: the arena's used part, and estimates of list nodes, arrays and index.
    /// Zero when empty (8 KiB are allocated even then).
    pub fn bytes(&self) -> usize {
        self.cell.with_dependent(|arena, parts| {
            arena.bytes() + parts.index.borrow().bytes() + parts.runs.bytes()
        })
    }

    /// Number of versions.
    pub fn entries(&self) -> usize {
        self.cell.with_dependent(|_, parts| parts.runs.entries())
    }

    /// Number of distinct keys.
    pub fn keys(&self) -> usize {
        self.cell.with_dependent(|_, parts| parts.index.borrow().keys())
    }

    /// What is known of its keys, at no cost.
    pub(crate) fn tally(&self) -> &Tally {
        self.cell.with_dependent(|_, parts| &parts.tally)
    }

    /// Whether nothing was inserted.
    pub fn is_empty(&self) -> bool {
        self.last_seq.get() == SeqNo(0)
    }

    /// The lowest sequence number in it; 0 when empty.
    pub fn first_seq(&self) -> SeqNo {
        self.first_seq.get()
    }

    /// The highest sequence number in it; 0 when empty.
    pub fn last_seq(&self) -> SeqNo {
        self.last_seq.get()
    }

    /// Ends the generation: no more inserts.
    pub fn seal(&self) {
        self.sealed.set(true);
    }

    /// Whether it was sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealed.get()
    }

    fn run_cursors(&self, direction: Direction) -> Vec<RunCursor<'_>> {
        self.cell.with_dependent(|_, parts| {
            let arrays = parts.runs.views().into_iter();
            arrays.map(|array| RunCursor::new(array, direction)).collect()
        })
    }
}

impl fmt::Debug for MemTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemTable")
            .field("entries", &self.entries())
            .field("bytes", &self.bytes())
            .field("first_seq", &self.first_seq())
            .field("last_seq", &self.last_seq())
            .field("sealed", &self.is_sealed())
            .finish()
    }
}

/// The newest version at or below `at`, older than `newest`, which is not.
#[cold]
fn find_older<'a>(
    newest: EntryRef<'a>,
    runs: &'a Runs<'_>,
    key: &[u8],
    at: SeqNo,
) -> Option<EntryRef<'a>> {
    let mut entry = newest;
    for _ in 0..VERSIONS_WALKED_MAX {
        entry = entry.prev()?;
        if entry.seq() <= at {
            return Some(entry);
        }
    }
    runs.find(key, at)
}
