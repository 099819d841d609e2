//! Where keys were found last: from a key's hash to the entry in a cached block, past filters, indexes and the cache's own
//! table. A read of a key in tables waits for some dozen cache misses one after the other; by its location for four.
//!
//! ```text
//! hash ─▶ bucket (one cache line, four locations) ─▶ place (number, generation) ─▶ block ─▶ entries from a restart point
//! ```
//!
//! A location is a hint of *where*, and who follows it compares the key; that it is the *newest* version there, nothing in
//! the block can say. So:
//!
//! # Invariants
//! - A location names the newest version of its key in all tables of the current version. It is noted only by a read that
//!   found it so in one stretch, with no memtable holding the key; a flush forgets each key that it writes before its tables
//!   are installed; erasing forgets all. A compaction changes nothing: the newest version stays what it was, or it has
//!   ended, as its own bytes say.
//! - A block that left the cache is never reached: its place has another generation then.
//! - Memory is bounded by what it was given, whatever is noted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Key;
use crate::key;
use crate::prefetch::prefetch;
use crate::table::block::Block;

/// Locations of one bucket: a cache line.
const WAYS: usize = 4;

/// Fewest buckets; each growth makes so many times as many.
const BUCKETS_MIN: usize = 1 << 10;
const GROWTH: usize = 4;

/// Keys per bucket that the buckets are made for.
const KEYS_PER_BUCKET: usize = 3;

const _: () = assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64);

/// A block in the cache: its number, and the generation of that number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    place: u32,
    /// Zero: none.
    generation: u32,
}

/// Where a key was found. All zero: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Location {
    /// Part of the key's hash that did not choose the bucket.
    tag: u32,
    spot: Spot,
    /// Offset in the block's body of a restart point at or before the entry.
    restart: u32,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([Location; WAYS]);

/// The map. A cache of its own: whatever does not fit is forgotten.
#[derive(Debug)]
pub(super) struct Locations {
    seed: u64,
    /// None until something is noted.
    buckets: RefCell<Vec<Bucket>>,
    /// Locations noted since the buckets were made.
    noted: Cell<usize>,
    /// Keys that there are in tables, about.
    keys: Cell<u64>,
    buckets_max: usize,
}

impl Locations {
    /// At most `bytes`; `seed` is random and secret: who knows only the hash cannot choose keys that share a bucket.
    pub(super) fn new(bytes: usize, seed: u64) -> Self {
        let buckets = bytes / size_of::<Bucket>();
        let buckets_max = if buckets == 0 { 0 } else { 1 << buckets.ilog2() };
        Self {
            seed,
            buckets: RefCell::default(),
            noted: Cell::new(0),
            keys: Cell::new(0),
            buckets_max,
        }
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.borrow().len() * size_of::<Bucket>()
    }

    /// The most that may become.
    pub(super) fn bytes_max(&self) -> usize {
        self.buckets_max * size_of::<Bucket>()
    }

    /// There are about so many keys in tables: buckets that are made from now on are enough for them.
    pub(super) fn expect_keys(&self, keys: u64) {
        self.keys.set(keys);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.noted.get() == 0
    }

    /// The number of the bucket among `count` (a power of two), and the tag in it.
    #[inline]
    fn split(&self, hash: u64, count: usize) -> (usize, u32) {
        let mixed = key::spread(hash, self.seed);
        #[expect(clippy::cast_possible_truncation, reason = "takes two parts of 64 bits")]
        {
            (mixed as usize & (count - 1), (mixed >> 32) as u32)
        }
    }

    /// Fetches the line that [`Locations::find`] will look at.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let buckets = self.buckets.borrow();
        if !buckets.is_empty()
            && let Some(bucket) = buckets.get(self.split(hash, buckets.len()).0)
        {
            prefetch(std::ptr::from_ref(bucket).cast());
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<Location> {
        let buckets = self.buckets.borrow();
        if buckets.is_empty() {
            return None;
        }
        let (bucket, tag) = self.split(hash, buckets.len());
        let Bucket(ways) = buckets.get(bucket)?;
        ways.iter().find(|location| location.tag == tag && location.spot.generation != 0).copied()
    }

    /// Notes where the key with this hash lies: behind restart point `restart` of the block at `spot`. One of its bucket is
    /// given up for it if need be, first one that `is_live` does not hold for.
    pub(super) fn note(
        &self,
        hash: u64,
        spot: Spot,
        restart: usize,
        is_live: impl Fn(Spot) -> bool,
    ) {
        let Ok(restart) = u32::try_from(restart) else { return };
        if self.buckets_max == 0 || spot.generation == 0 {
            return;
        }
        let mut buckets = self.buckets.borrow_mut();
        self.grow_if_crowded(&mut buckets);
        let (bucket, tag) = self.split(hash, buckets.len());
        let Some(Bucket(ways)) = buckets.get_mut(bucket) else { return };
        let taken = |way: &Location| way.spot.generation != 0 && is_live(way.spot);
        let way = ways
            .iter()
            .position(|way| way.tag == tag)
            .or_else(|| ways.iter().position(|way| !taken(way)))
            .unwrap_or(tag as usize % WAYS);
        if let Some(way) = ways.get_mut(way) {
            *way = Location { tag, spot, restart };
            self.noted.set(self.noted.get() + 1);
        }
    }

    /// Forgets where the key with this hash lies (and whoever shares its tag).
    #[inline]
    pub(super) fn forget(&self, hash: u64) {
        let mut buckets = self.buckets.borrow_mut();
        if buckets.is_empty() {
            return;
        }
        let (bucket, tag) = self.split(hash, buckets.len());
        let Some(Bucket(ways)) = buckets.get_mut(bucket) else { return };
        for way in ways.iter_mut().filter(|way| way.tag == tag) {
            *way = Location::default();
        }
    }

    pub(super) fn forget_all(&self) {
        *self.buckets.borrow_mut() = Vec::new();
        self.noted.set(0);
    }

    /// Buckets that are nearly full are replaced by more, empty ones: to move what they hold would take too long for a
    /// core, and it comes back with the next reads.
    fn grow_if_crowded(&self, buckets: &mut Vec<Bucket>) {
        let len = buckets.len();
        if len == self.buckets_max || (len > 0 && self.noted.get() < len * KEYS_PER_BUCKET) {
            return;
        }
        let keys = usize::try_from(self.keys.get()).unwrap_or(usize::MAX);
        let for_all = (keys / KEYS_PER_BUCKET).checked_next_power_of_two().unwrap_or(usize::MAX);
        let wanted = for_all.max(BUCKETS_MIN).max(len * GROWTH).min(self.buckets_max);
        *buckets = Vec::new();
        *buckets = vec![Bucket::default(); wanted];
        self.noted.set(0);
    }
}

/// Numbers for the blocks that are in the cache. A number is used again, under another generation.
#[derive(Debug, Default)]
pub(super) struct Places {
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<u32>>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    key: Key,
    /// `None`: free.
    block: Option<Rc<Block>>,
}

impl Places {
    /// A number for `block`, which is in the cache under `key` from now on; `None`: there are too many.
    pub(super) fn take(&self, key: Key, block: &Rc<Block>) -> Option<Spot> {
        let mut places = self.places.borrow_mut();
        let block = Some(Rc::clone(block));
        if let Some(number) = self.free.borrow_mut().pop() {
            let place = places.get_mut(number as usize)?;
            (place.key, place.block) = (key, block);
            return Some(Spot { place: number, generation: place.generation });
        }
        let number = u32::try_from(places.len()).ok()?;
        places.push(Place { generation: 1, key, block });
        Some(Spot { place: number, generation: 1 })
    }

    /// The block at `spot` has left the cache.
    pub(super) fn give_back(&self, spot: Spot) {
        let mut places = self.places.borrow_mut();
        let Some(place) = places.get_mut(spot.place as usize) else { return };
        assert_eq!(place.generation, spot.generation, "a place is given back once");
        let block = place.block.take();
        place.generation = place.generation.wrapping_add(1).max(1);
        self.free.borrow_mut().push(spot.place);
        drop((places, block));
    }

    pub(super) fn is_live(&self, spot: Spot) -> bool {
        let places = self.places.borrow();
        places.get(spot.place as usize).is_some_and(|place| place.generation == spot.generation)
    }

    /// Fetches what [`Places::get`] will look at.
    #[inline]
    pub(super) fn prefetch(&self, location: &Location) {
        if let Some(place) = self.places.borrow().get(location.spot.place as usize) {
            prefetch(std::ptr::from_ref(place).cast());
        }
    }

    /// The block that `location` names, its key in the cache, and the offset in it; `None` if it has left the cache.
    #[inline]
    pub(super) fn get(&self, location: &Location) -> Option<(Rc<Block>, Key, usize)> {
        let places = self.places.borrow();
        let place = places.get(location.spot.place as usize)?;
        if place.generation != location.spot.generation {
            return None;
        }
        Some((Rc::clone(place.block.as_ref()?), place.key, location.restart as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Entry, Kind, SeqNo};
    use crate::table::block::BlockBuilder;

    const ALIVE: fn(Spot) -> bool = |_| true;

    fn spot(place: u32) -> Spot {
        Spot { place, generation: 9 }
    }

    fn block() -> Rc<Block> {
        let mut builder = BlockBuilder::default();
        builder.add(&Entry { key: b"k", seq: SeqNo(1), kind: Kind::Put, value: b"v" });
        Rc::new(Block::new(builder.finish().to_vec()).unwrap())
    }

    #[test]
    fn what_was_noted_is_found_until_it_is_forgotten() {
        let locations = Locations::new(1 << 20, 7);
        assert!(locations.is_empty() && locations.find(5).is_none());
        locations.forget(5);
        locations.note(5, spot(3), 40, ALIVE);
        locations.note(6, spot(4), 41, ALIVE);
        let found = locations.find(5).unwrap();
        assert_eq!((found.spot, found.restart), (spot(3), 40));
        locations.note(5, spot(8), 2, ALIVE);
        assert_eq!(locations.find(5).unwrap().spot, spot(8));
        locations.forget(5);
        assert_eq!((locations.find(5), locations.find(6).unwrap().spot), (None, spot(4)));
        locations.forget_all();
        assert!(locations.find(6).is_none() && locations.bytes() == 0);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_is_kept() {
        for (bytes, keys) in
            [(0, 0), (63, 9), (64, 1 << 40), (1000, 0), (1 << 20, 0), (1 << 20, 1 << 40)]
        {
            let locations = Locations::new(bytes, 7);
            locations.expect_keys(keys);
            for hash in 0..200_000_u64 {
                let hash = key::spread(hash, 1);
                locations.note(hash, spot(1), 0, ALIVE);
                assert_eq!(locations.find(hash).is_some(), bytes >= 64, "{bytes}");
            }
            assert!(locations.bytes() <= bytes, "{bytes}");
            assert!(locations.bytes() > bytes / 2 || bytes < 64, "{bytes}");
        }
    }

    #[test]
    fn buckets_are_made_for_the_keys_that_there_are() {
        let locations = Locations::new(1 << 30, 7);
        locations.expect_keys(300_000);
        for hash in 0..300_000_u64 {
            locations.note(key::spread(hash, 1), spot(1), 0, ALIVE);
        }
        assert_eq!(locations.bytes(), 64 << 17);
        let known = (0..300_000_u64).filter(|hash| locations.find(key::spread(*hash, 1)).is_some());
        assert!(known.count() > 280_000);
    }

    #[test]
    fn a_dead_one_goes_first() {
        // One bucket, so that all meet.
        let locations = Locations::new(64, 7);
        for hash in 0..4 {
            locations.note(hash, spot(u32::try_from(hash).unwrap()), 0, ALIVE);
        }
        locations.note(4, spot(4), 0, |of| of != spot(2));
        let found: Vec<_> = (0..5).map(|hash| locations.find(hash).is_some()).collect();
        assert_eq!(found, [true, true, false, true, true]);
    }

    #[test]
    fn a_block_that_left_is_not_reached_by_an_old_location() {
        let (places, key) = (Places::default(), Key { table: 1, offset: 2 });
        let first = places.take(key, &block()).unwrap();
        let old = Location { tag: 0, spot: first, restart: 5 };
        let (_, of, at) = places.get(&old).unwrap();
        assert_eq!((of, at), (key, 5));
        assert!(places.is_live(first));
        places.give_back(first);
        assert!(places.get(&old).is_none() && !places.is_live(first));
        // The number comes back, and the old location still leads nowhere.
        let second = places.take(Key { table: 1, offset: 9 }, &block()).unwrap();
        assert_eq!((second.place, second.generation), (first.place, first.generation + 1));
        assert!(places.get(&old).is_none() && !places.is_live(first) && places.is_live(second));
    }
}
