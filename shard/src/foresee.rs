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

use crate::cache::Spot;
use crate::env::Env;
use crate::key;
use crate::read::Search;
use crate::shard::Shard;
use crate::table::block::Block;
use crate::view::View;
use std::rc::Rc;

/// Keys that are looked up side by side. More would drive each other out of the first-level cache.
pub const FORESEEN_MAX: usize = 16;

/// Longest key that is foreseen, in bytes.
const KEY_BYTES_FORESEEN: usize = 64;

/// Largest block that is kept for a read to come, in bytes.
const BLOCK_BYTES_FORESEEN: usize = 64 << 10;

/// What is known of a key that no memtable held.
#[derive(Debug)]
pub(crate) enum Sight {
    /// No table holds it.
    Absent,
    /// It was found in this block before, from this restart point on.
    Located(Rc<Block>, usize),
    /// The first block that may hold it; the search goes on behind it.
    Searched { search: Search, block: Rc<Block>, spot: Spot },
}

#[derive(Debug)]
struct Foreseen {
    key: [u8; KEY_BYTES_FORESEEN],
    key_len: usize,
    /// `None`: it was used.
    sight: Option<Sight>,
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
    pub(crate) fn take(&mut self, key: &[u8], views: u64) -> Option<Sight> {
        if self.next == self.places.len() || self.views != views {
            return None;
        }
        let ahead = self.places.get_mut(self.next..).unwrap_or_default();
        let distance =
            ahead.iter().position(|place| place.key.get(..place.key_len) == Some(key))?;
        self.next += distance + 1;
        ahead.get_mut(distance)?.sight.take()
    }
}

impl<E: Env> Shard<E> {
    /// Fetches what writing these keys soon will look at: each one's place in the memtable's index, and its entry there.
    pub fn foresee_writes<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) {
        let view = self.inner.view.borrow();
        for key in keys {
            view.active.prefetch(key::hash(key));
        }
    }

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
        for Ahead { hash, .. } in ahead {
            view.memtables().for_each(|memtable| memtable.prefetch(*hash));
            self.cache().prefetch_location(*hash);
        }
        let mut in_memtables = [false; FORESEEN_MAX];
        for (found, Ahead { key, hash }) in in_memtables.iter_mut().zip(ahead) {
            *found = view.memtables().any(|memtable| memtable.get(*hash, key, at).is_some());
        }
        let to_tables = || ahead.iter().zip(in_memtables).filter(|(_, found)| !found);
        // Locations; for those without, filters and indexes.
        let mut locations = [None; FORESEEN_MAX];
        for (location, (Ahead { hash, .. }, _)) in locations.iter_mut().zip(to_tables()) {
            *location = self.cache().location(*hash);
        }
        let mut sights = [const { None }; FORESEEN_MAX];
        for (sight, (location, (Ahead { key, hash }, _))) in
            sights.iter_mut().zip(locations.iter().zip(to_tables()))
        {
            let located = location.and_then(|location| self.cache().located(&location));
            *sight = match located {
                Some((block, restart)) => Some(Sight::Located(block, restart)),
                None => self.search_ahead(&view, key, *hash),
            };
        }
        for (sight, (Ahead { key, .. }, _)) in sights.into_iter().zip(to_tables()) {
            let Some(sight) = sight else { continue };
            match &sight {
                Sight::Absent => {}
                Sight::Located(block, restart) => block.prefetch_restart(*restart),
                Sight::Searched { block, .. } => block.prefetch_tags(),
            }
            let mut copy = [0; KEY_BYTES_FORESEEN];
            copy[..key.len()].copy_from_slice(key);
            places.push(Foreseen { key: copy, key_len: key.len(), sight: Some(sight) });
        }
        for place in &*places {
            if let Some(Sight::Searched { block, .. }) = &place.sight {
                let key = place.key.get(..place.key_len).unwrap_or_default();
                block.prefetch_entry(key::hash(key));
            }
        }
    }

    /// Filters, indexes and the cache; `None`: the block is not in memory, or too large to be kept for a read to come.
    fn search_ahead(&self, view: &View<E>, key: &[u8], hash: u64) -> Option<Sight> {
        let mut search = Search::default();
        let Some((table, handle)) = search.next(self, view, key, hash) else {
            return Some(Sight::Absent);
        };
        if handle.raw_len() > BLOCK_BYTES_FORESEEN {
            return None;
        }
        let (block, spot) = self.cache().get_at(table.meta.number, handle.offset())?;
        Some(Sight::Searched { search, block, spot })
    }
}
