//! Key -> newest entry, for point reads and misses that touch no run.
//!
//! # Invariants
//! - Every key of the memtable is in exactly one place: its part's table, or `collided`.
//! - A table holds at most [`COLLISIONS_MAX`] keys of one hash, so that no choice of keys makes a probe long.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::raw::EntryRef;
use crate::key;

/// Parts of the index, by hash: a table grows in one go, and so a 256th of the index does. At 280k
/// keys (64 MiB) a step moves a thousand slots, some 20-40 us.
const PARTS: usize = 256;

/// Keys of one 64-bit hash beyond this go to an ordered map. By chance not even two meet; the hash has no secret
/// (filters share it), so someone could make many.
const COLLISIONS_MAX: usize = 8;

/// Estimate of one key's share of the ordered map, in bytes: 24 per slot, nodes two thirds full.
const COLLIDED_BYTES: usize = 40;

const _: () = assert!(PARTS.is_power_of_two());

/// The hash beside the pointer costs eight bytes and saves a cache miss on a false match, and on every slot when a
/// table grows.
struct Slot<'a> {
    hash: u64,
    entry: EntryRef<'a>,
}

pub(super) struct Index<'a> {
    seed: u64,
    parts: Box<[HashTable<Slot<'a>>]>,
    collided: BTreeMap<&'a [u8], EntryRef<'a>>,
    bytes: usize,
}

impl<'a> Index<'a> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            parts: (0..PARTS).map(|_| HashTable::new()).collect(),
            collided: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Memory of the tables, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of keys.
    pub(super) fn keys(&self) -> usize {
        self.in_tables() + self.collided.len()
    }

    /// Number of keys that are not in the ordered map.
    pub(super) fn in_tables(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Spreads the caller's hash with a secret: who knows only the hash cannot choose keys that share a part or a probe
    /// sequence.
    #[inline]
    fn spread(&self, hash: u64) -> u64 {
        key::spread(hash, self.seed)
    }

    /// A table uses the lowest and the highest bits of a hash; these are others.
    #[inline]
    fn part(hash: u64) -> usize {
        (hash >> 40) as usize & (PARTS - 1)
    }

    /// Fetches the entry that [`Index::find`] will compare, if there is one with this hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let hash = self.spread(hash);
        if let Some(slot) = self.parts[Self::part(hash)].find(hash, |slot| slot.hash == hash) {
            slot.entry.prefetch();
        }
    }

    /// The newest entry of `key`.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<EntryRef<'a>> {
        let hash = self.spread(hash);
        let mut others = 0;
        let found =
            self.parts[Self::part(hash)].find(hash, |slot| matches(slot, hash, key, &mut others));
        match found {
            Some(slot) => Some(slot.entry),
            None if others < COLLISIONS_MAX => None,
            None => self.collided.get(key).copied(),
        }
    }

    /// Makes the newest entry of a key from the one before it.
    #[inline]
    pub(super) fn replace(
        &mut self,
        hash: u64,
        key: &[u8],
        make: impl FnOnce(Option<EntryRef<'a>>) -> EntryRef<'a>,
    ) -> EntryRef<'a> {
        let hash = self.spread(hash);
        let part = &mut self.parts[Self::part(hash)];
        let mut others = 0;
        if let Some(slot) = part.find_mut(hash, |slot| matches(slot, hash, key, &mut others)) {
            slot.entry = make(Some(slot.entry));
            return slot.entry;
        }
        if others >= COLLISIONS_MAX {
            return self.replace_collided(key, make);
        }
        let entry = make(None);
        let before =
            if part.len() == part.capacity() { Some(part.allocation_size()) } else { None };
        part.insert_unique(hash, Slot { hash, entry }, |slot| slot.hash);
        if let Some(before) = before {
            self.bytes += part.allocation_size() - before;
        }
        entry
    }

    #[cold]
    fn replace_collided(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<EntryRef<'a>>) -> EntryRef<'a>,
    ) -> EntryRef<'a> {
        let entry = make(self.collided.get(key).copied());
        if self.collided.insert(entry.key(), entry).is_none() {
            self.bytes += COLLIDED_BYTES;
        }
        entry
    }
}

#[inline]
fn matches(slot: &Slot<'_>, hash: u64, key: &[u8], others: &mut usize) -> bool {
    if slot.hash != hash {
        return false;
    }
    let same = slot.entry.key() == key;
    *others += usize::from(!same);
    same
}
