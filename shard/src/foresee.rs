//! Reads of a pipeline, looked up side by side before they are answered one by one.
//!
//! A point read in memory is a chain of cache misses: slot of the index, filter, separators, slot of the cache, block, tags,
//! entry; each waits for the one before. [`Shard::foresee`] takes the chains of several keys a step at a time, so that
//! their misses overlap, and keeps where it came to. [`Shard::read`](crate::read) then goes on from there. (The idea is
//! group prefetching: S. Chen et al., "Improving hash join performance through prefetching", ACM TODS 32(3), 2007.)
//!
//! # Invariants
//! - It changes no answer: memtables are always asked anew, and a place in the tables counts for the very view, and for the
//!   very key, that it was found with.

use crate::env::Env;
use crate::key;
use crate::read::Search;
use crate::shard::Shard;
use crate::table::block::Block;
use std::rc::Rc;

/// Keys that are looked up side by side. More would drive each other out of the first-level cache.
pub const FORESEEN_MAX: usize = 16;

/// Longest key that is foreseen, in bytes.
const KEY_BYTES_FORESEEN: usize = 64;

/// Largest block that is kept for a read to come, in bytes.
const BLOCK_BYTES_FORESEEN: usize = 64 << 10;

/// Where the search for a key in the tables has come to.
#[derive(Debug)]
pub(crate) struct Foreseen {
    key: [u8; KEY_BYTES_FORESEEN],
    key_len: usize,
    /// Goes on behind `block`.
    pub(crate) search: Search,
    /// The first block that may hold the key; `None`: no table does.
    pub(crate) block: Option<Rc<Block>>,
}

/// What was foreseen, in the order of the keys.
#[derive(Debug, Default)]
pub(crate) struct Foresight {
    places: Vec<Foreseen>,
    /// Those before were used, or passed over.
    next: usize,
    /// [`crate::shard::Inner::views`] when it was made.
    views: u64,
}

impl Foresight {
    /// The place of `key`, once.
    #[inline]
    pub(crate) fn take(&mut self, key: &[u8], views: u64) -> Option<(Search, Option<Rc<Block>>)> {
        if self.next == self.places.len() || self.views != views {
            return None;
        }
        let ahead = self.places.get_mut(self.next..).unwrap_or_default();
        let distance =
            ahead.iter().position(|place| place.key.get(..place.key_len) == Some(key))?;
        self.next += distance + 1;
        let place = ahead.get_mut(distance)?;
        Some((place.search, place.block.take()))
    }
}

impl<E: Env> Shard<E> {
    /// Looks up the first [`FORESEEN_MAX`] of `keys`, which will be read soon, in this order. I/O: none; what is not in
    /// memory is left to the read.
    pub fn foresee<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        /// A key on its way.
        #[derive(Clone, Copy)]
        struct Ahead<'k> {
            key: &'k [u8],
            hash: u64,
        }
        let mut ahead = [Ahead { key: &[], hash: 0 }; FORESEEN_MAX];
        let mut count = 0;
        let short = keys.filter(|key| key.len() <= KEY_BYTES_FORESEEN);
        for (place, key) in ahead.iter_mut().zip(short) {
            *place = Ahead { key, hash: key::hash(key) };
            count += 1;
        }
        let ahead = ahead.get(..count).unwrap_or_default();
        let view = self.view();
        let at = self.readable_seq();
        let mut foresight = self.inner.foresight.borrow_mut();
        let Foresight { places, next, views } = &mut *foresight;
        places.clear();
        (*next, *views) = (0, self.inner.views.get());
        let mut in_memtables = [false; FORESEEN_MAX];
        for (found, Ahead { key, hash }) in in_memtables.iter_mut().zip(ahead) {
            *found = view.memtables().any(|memtable| memtable.get(*hash, key, at).is_some());
        }
        let to_tables = || ahead.iter().zip(in_memtables).filter(|(_, found)| !found);
        // Filters and indexes.
        let mut found = [const { None }; FORESEEN_MAX];
        for (place, (Ahead { key, hash }, _)) in found.iter_mut().zip(to_tables()) {
            let mut search = Search::default();
            let block = search.next(self, &view, key, *hash);
            *place = Some((search, block.map(|(table, handle)| (table.meta.number, handle))));
        }
        // Blocks.
        for ((search, block), (Ahead { key, .. }, _)) in
            found.into_iter().flatten().zip(to_tables())
        {
            let block = match block {
                None => None,
                Some((_, handle)) if handle.raw_len() > BLOCK_BYTES_FORESEEN => continue,
                Some((number, handle)) => match self.cache().get(number, handle.offset()) {
                    None => continue,
                    found => found,
                },
            };
            let mut copy = [0; KEY_BYTES_FORESEEN];
            copy[..key.len()].copy_from_slice(key);
            places.push(Foreseen { key: copy, key_len: key.len(), search, block });
        }
        for place in &*places {
            place.block.as_ref().inspect(|block| block.prefetch_tags());
        }
        for place in &*places {
            let key = place.key.get(..place.key_len).unwrap_or_default();
            place.block.as_ref().inspect(|block| block.prefetch_entry(key::hash(key)));
        }
    }
}
