//! Data blocks in memory: byte-capped, scan-resistant, one per core; and where in them keys were found ([`locations`]).
//!
//! # Invariants
//! - A block is read by one task at a time; whoever misses meanwhile waits for that read and shares its outcome,
//!   error included.
//! - A reader that is dropped leaves nobody waiting: the next waiter reads.

mod locations;

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use hashbrown::HashMap;
use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

pub(crate) use self::locations::{Location, Spot};
use self::locations::{Locations, Places};
use crate::env::Env;
use crate::error::Result;
use crate::event::Event;
use crate::table::block::Block;
use crate::table::{BlockHandle, Table};

/// The largest share of the cache that one block may take: a single large value must not drive out all else.
const BLOCK_SHARE_MAX: usize = 8;

/// What the cache itself needs per block, about: slot, hash, links, two reference counts, a place.
const SLOT_BYTES: usize = 120;

/// The part of the cache's memory, one in so many, that locations may take.
const LOCATIONS_SHARE: usize = 16;

/// Steps in which the memory for blocks changes, in bytes: to evict more at once takes too long for a core.
const LENT_STEP_BYTES: u64 = 1 << 20;

/// The part of that memory, one in so many, that is never lent.
const KEPT_SHARE: u64 = 4;

/// Of the reads by location, one in so many tells the cache that its block is in use: all would pay for what they save.
const TOUCH_EVERY: u64 = 8;

/// Guess of a block's size, for the number of blocks no longer held that are remembered.
const BLOCK_BYTES_GUESS: usize = 4096;

/// File number and offset. Numbers are never used twice, so neither is a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    table: u64,
    offset: u64,
}

/// How lookups went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Lookups that found their block.
    pub hits: u64,
    /// Reads from disk.
    pub misses: u64,
    /// Lookups that waited for another one's read.
    pub shared: u64,
}

/// A block in the cache, and where that is.
#[derive(Debug, Clone)]
struct Held {
    block: Rc<Block>,
    spot: Option<Spot>,
}

/// Gives places back as blocks leave.
#[derive(Debug, Clone)]
struct Leaving(Rc<Places>);

impl Lifecycle<Key, Held> for Leaving {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, held: Held) {
        if let Some(spot) = held.spot {
            self.0.give_back(spot);
        }
    }
}

type Blocks = Cache<Key, Held, Bytes, Seeded, Leaving>;

/// The block cache of one core.
pub struct BlockCache {
    blocks: RefCell<Blocks>,
    reads: RefCell<HashMap<Key, Rc<Read>, Seeded>>,
    block_bytes_max: usize,
    /// For blocks, when nothing of it is lent.
    blocks_bytes: u64,
    lent_bytes: Cell<u64>,
    counts: Cell<CacheCounts>,
    places: Rc<Places>,
    locations: Locations,
}

/// A read in flight, or its outcome.
#[derive(Default)]
struct Read {
    outcome: RefCell<Outcome>,
    changed: Event,
}

#[derive(Default, Clone)]
enum Outcome {
    #[default]
    Pending,
    Done(Result<Rc<Block>>),
    /// The reader was dropped.
    Abandoned,
}

impl std::fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache")
            .field("bytes", &self.bytes())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl BlockCache {
    /// A cache of at most `bytes`; 0 keeps nothing. `seed`: random, from `Env`.
    pub fn new(bytes: usize, seed: u64) -> Self {
        let locations = Locations::new(bytes / LOCATIONS_SHARE, seed);
        let bytes = bytes - bytes / LOCATIONS_SHARE;
        let places = Rc::<Places>::default();
        let options = OptionsBuilder::new()
            .estimated_items_capacity(bytes / BLOCK_BYTES_GUESS)
            .weight_capacity(bytes as u64)
            .build()
            .expect("both capacities are given");
        let leaving = Leaving(Rc::clone(&places));
        let blocks = Cache::with_options(options, Bytes, Seeded(seed), leaving);
        Self {
            blocks: RefCell::new(blocks),
            reads: RefCell::new(HashMap::with_hasher(Seeded(seed))),
            block_bytes_max: bytes / BLOCK_SHARE_MAX,
            blocks_bytes: bytes as u64,
            lent_bytes: Cell::new(0),
            counts: Cell::default(),
            places,
            locations,
        }
    }

    /// The block of `table` at `offset`, if it is in memory.
    #[inline]
    pub fn get(&self, table: u64, offset: u64) -> Option<Rc<Block>> {
        self.get_at(table, offset).map(|(block, _)| block)
    }

    /// The same, and where it is: for [`BlockCache::note`].
    #[inline]
    pub(crate) fn get_at(&self, table: u64, offset: u64) -> Option<(Rc<Block>, Spot)> {
        let blocks = self.blocks.borrow();
        let held = blocks.get(&Key { table, offset })?;
        self.count(|counts| counts.hits += 1);
        Some((Rc::clone(&held.block), held.spot.unwrap_or_default()))
    }

    /// Fetches the first line of what [`BlockCache::location`] looks at.
    #[inline]
    pub(crate) fn prefetch_location(&self, hash: u64) {
        self.locations.prefetch(hash);
    }

    /// Where the key with this hash was found last, if that is known; what [`BlockCache::located`] looks at is fetched.
    #[inline]
    pub(crate) fn location(&self, hash: u64) -> Option<Location> {
        let location = self.locations.find(hash)?;
        self.places.prefetch(&location);
        Some(location)
    }

    /// The block of `location` and the offset of a restart point in it, if it is still in memory. Whether the key is there
    /// is to be seen; if it is, that is its newest version in all tables.
    #[inline]
    pub(crate) fn located(&self, location: &Location) -> Option<(Rc<Block>, usize)> {
        let (block, key, restart) = self.places.get(location)?;
        self.count(|counts| counts.hits += 1);
        if self.counts.get().hits.is_multiple_of(TOUCH_EVERY) {
            self.blocks.borrow().get(&key);
        }
        Some((block, restart))
    }

    /// Notes that the newest version in all tables of the key with this hash lies in the block at `spot`, not before restart
    /// point `restart` of its body. The caller has just seen it so: with no memtable of the current view holding the key, and
    /// without an await since.
    #[inline]
    pub(crate) fn note(&self, hash: u64, spot: Spot, restart: usize) {
        self.locations.note(hash, spot, restart, |spot| self.places.is_live(spot));
    }

    /// There are about so many keys in tables.
    pub(crate) fn expect_keys(&self, keys: u64) {
        self.locations.expect_keys(keys);
    }

    /// Whether no location is known, so that none need be forgotten.
    #[inline]
    pub(crate) fn knows_nothing(&self) -> bool {
        self.locations.is_empty()
    }

    /// Forgets where the key with this hash was found: a newer version is about to be in a table.
    #[inline]
    pub(crate) fn forget(&self, hash: u64) {
        self.locations.forget(hash);
    }

    /// Forgets where all keys were found.
    pub(crate) fn forget_all(&self) {
        self.locations.forget_all();
    }

    /// The block, from memory or by a read, which other callers then share. I/O: at most one read.
    ///
    /// # Errors
    /// See [`Table::read_block`]; an error reaches everyone who waits, and the next caller reads again.
    pub async fn load<E: Env>(&self, table: &Table<E>, handle: BlockHandle) -> Result<Rc<Block>> {
        let key = Key { table: table.number(), offset: handle.offset() };
        self.share(key, table.read_block(handle)).await
    }

    /// The block `key`, by `read` if nobody else is reading it.
    async fn share(
        &self,
        key: Key,
        read: impl Future<Output = Result<Rc<Block>>>,
    ) -> Result<Rc<Block>> {
        let mut waited = false;
        loop {
            if let Some(block) = self.blocks.borrow().get(&key) {
                if !waited {
                    self.count(|counts| counts.hits += 1);
                }
                return Ok(Rc::clone(&block.block));
            }
            let others = self.reads.borrow().get(&key).cloned();
            let Some(other) = others else { break };
            if !waited {
                waited = true;
                self.count(|counts| counts.shared += 1);
            }
            if let Outcome::Done(outcome) = other.outcome().await {
                return outcome;
            }
        }
        self.count(|counts| counts.misses += 1);
        let guard = Reading::start(self, key);
        let outcome = read.await;
        if let Ok(block) = &outcome {
            self.keep(key, block);
        }
        guard.finish(&outcome);
        outcome
    }

    /// Takes a block that was just made for `table` at `offset`.
    pub(crate) fn keep_made(&self, table: u64, offset: u64, block: Block) {
        self.keep(Key { table, offset }, &Rc::new(block));
    }

    fn keep(&self, key: Key, block: &Rc<Block>) {
        if block.memory_bytes() <= self.block_bytes_max {
            let held = Held { block: Rc::clone(block), spot: self.places.take(key, block) };
            self.blocks.borrow_mut().insert(key, held);
        }
    }

    /// Lets go of the block of `table` at `offset`: the table is gone, and nobody will ask for it.
    pub(crate) fn drop_block(&self, table: u64, offset: u64) {
        let held = self.blocks.borrow_mut().remove(&Key { table, offset });
        if let Some(spot) = held.and_then(|(_, held)| held.spot) {
            self.places.give_back(spot);
        }
    }

    /// Others need `bytes` of the memory for blocks, or no longer: as much as that is lent, up to what is kept in any case.
    /// Changes by one step at a time, so that no call evicts for long: call it again and again.
    pub(crate) fn lend(&self, bytes: u64) {
        let most = self.blocks_bytes - self.blocks_bytes / KEPT_SHARE;
        let wanted = bytes.next_multiple_of(LENT_STEP_BYTES).min(most);
        let lent = self.lent_bytes.get();
        let next = wanted.min(lent + LENT_STEP_BYTES);
        if next != lent {
            self.lent_bytes.set(next);
            self.blocks.borrow_mut().set_capacity(self.blocks_bytes - next);
        }
    }

    /// The most that blocks and locations may take now, in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.blocks.borrow().capacity() + self.locations.bytes_max() as u64
    }

    /// Memory of the blocks and locations held, in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.borrow().weight() + self.locations.bytes() as u64
    }

    /// How lookups went so far.
    pub fn counts(&self) -> CacheCounts {
        self.counts.get()
    }

    fn count(&self, change: impl FnOnce(&mut CacheCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl Read {
    /// Waits for the end of the read.
    async fn outcome(&self) -> Outcome {
        self.changed
            .until(|| match &*self.outcome.borrow() {
                Outcome::Pending => None,
                ended => Some(ended.clone()),
            })
            .await
    }

    fn end(&self, outcome: Outcome) {
        *self.outcome.borrow_mut() = outcome;
        self.changed.signal();
    }
}

/// The one reader of a block: however it ends, the waiters learn of it.
struct Reading<'a> {
    cache: &'a BlockCache,
    key: Key,
    read: Rc<Read>,
}

impl<'a> Reading<'a> {
    fn start(cache: &'a BlockCache, key: Key) -> Self {
        let read = Rc::<Read>::default();
        let before = cache.reads.borrow_mut().insert(key, Rc::clone(&read));
        assert!(before.is_none(), "one read of a block at a time");
        Self { cache, key, read }
    }

    fn finish(self, outcome: &Result<Rc<Block>>) {
        *self.read.outcome.borrow_mut() = Outcome::Done(outcome.clone());
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.cache.reads.borrow_mut().remove(&self.key);
        let outcome = match self.read.outcome.take() {
            Outcome::Pending => Outcome::Abandoned,
            ended => ended,
        };
        self.read.end(outcome);
    }
}

/// A block weighs what it holds.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Held> for Bytes {
    fn weight(&self, _: &Key, held: &Held) -> u64 {
        (held.block.memory_bytes() + SLOT_BYTES) as u64
    }
}

/// Hashes the two numbers of a key; seeded, since the standard library's seed comes from outside `Env`.
#[derive(Debug, Clone)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(self.0)
    }
}

/// Multiply and fold, per word.
#[derive(Debug)]
struct Mixer(u64);

impl Hasher for Mixer {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(xxhash_rust::xxh3::xxh3_64(bytes));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // hashbrown takes a slot from the lower bits and a tag from the upper ones: mix once more.
        let mixed = self.0.wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

#[cfg(test)]
mod tests;
