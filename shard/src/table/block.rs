//! The body of a data block: entries with shared key prefixes, and restart points to search by.
//! Layout: the picture in [`super`].
//!
//! # Invariants
//! - Keys ascend strictly; restart `i` is the offset of entry `RESTART_INTERVAL * i`, whose key is whole.
//! - A [`Block`] was walked once from end to end when it was made, so no later read of it can fail.
//!
//! # Searching
//! Binary over the restart points, then entry by entry: each probe is a cache miss in a block that lies in memory for
//! long. A block that is searched by hash a second time gets a byte of hash for each entry ([`Block::find_hashed`]); one
//! look at those names the few entries between two restart points that may be the one, and mostly says so of none or one.

use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

use crate::coding::{Reader, put_varint};
use crate::env::IoBuf;
use crate::expiry::{self, EXPIRY_BYTES, STORED_BYTES_MAX};
use crate::key::{self, Entry, Kind, SeqNo};
use crate::limits::{BLOCK_RAW_BYTES_MAX, KEY_BYTES_MAX, VALUE_BYTES_CAP};
use crate::prefetch::{PREFETCHED_BYTES, prefetch_in};

/// Entries from one restart point to the next. More: smaller blocks, longer linear searches.
pub const RESTART_INTERVAL: usize = 4;

/// Most bytes that one entry adds to a body besides its key and value: four varints, the kind, a restart.
pub const ENTRY_OVERHEAD_BYTES: usize = 1 + 3 + 1 + 10 + 5 + 4;

const _: () = assert!(
    STORED_BYTES_MAX + KEY_BYTES_MAX + ENTRY_OVERHEAD_BYTES + size_of::<u32>()
        <= BLOCK_RAW_BYTES_MAX
);

/// Builds one body after another in the same memory.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    body: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// Whether the body has no entry yet.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The key added last, in whichever block; empty before the first.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Upper bound of the body's length if `entry` were added now, in bytes.
    pub fn bytes_with(&self, entry: &Entry<'_>) -> usize {
        self.bytes() + ENTRY_OVERHEAD_BYTES + entry.key.len() + entry.value.len()
    }

    /// The body's length if it were finished now, in bytes.
    pub fn bytes(&self) -> usize {
        self.body.len() + (self.restarts.len() + 1) * size_of::<u32>()
    }

    /// Appends `entry`, whose key is above the last one.
    pub fn add(&mut self, entry: &Entry<'_>) {
        self.add_head(entry);
        self.body.extend_from_slice(entry.value);
    }

    /// Appends all of `entry` but its value, which the caller then writes itself: for values that are too large to
    /// be copied in one stretch. Such an entry is the only one of its block.
    pub fn add_head(&mut self, entry: &Entry<'_>) {
        assert!(entry.key.len() <= KEY_BYTES_MAX);
        assert!(expiry::is_possible(entry.kind, entry.value));
        assert!(self.is_empty() || entry.key > self.last_key.as_slice());
        let shared = if self.entries.is_multiple_of(RESTART_INTERVAL) {
            self.restarts.push(u32::try_from(self.body.len()).expect("a body is below 4 GiB"));
            0
        } else {
            common_prefix(&self.last_key, entry.key)
        };
        let tail = entry.key.get(shared..).unwrap_or_default();
        put_varint(&mut self.body, shared as u64);
        put_varint(&mut self.body, tail.len() as u64);
        self.body.push(entry.kind as u8);
        put_varint(&mut self.body, entry.seq.0);
        put_varint(&mut self.body, entry.value.len() as u64);
        self.body.extend_from_slice(tail);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(tail);
        self.entries += 1;
    }

    /// Ends the body with its restart points and hands it out; [`BlockBuilder::clear`] follows.
    pub fn finish(&mut self) -> &[u8] {
        assert!(!self.is_empty());
        for restart in &self.restarts {
            self.body.extend_from_slice(&restart.to_le_bytes());
        }
        let count = u32::try_from(self.restarts.len()).expect("fewer restarts than bytes");
        self.body.extend_from_slice(&count.to_le_bytes());
        &self.body
    }

    /// The body of a block whose only entry came by [`BlockBuilder::add_head`]: what stands before its value and
    /// what stands behind it.
    pub fn finish_around_value(&mut self) -> (&[u8], &[u8]) {
        assert_eq!(self.entries, 1);
        let head = self.body.len();
        self.finish();
        self.body.split_at(head)
    }

    /// Ready for the next body. The last key stays known.
    pub fn clear(&mut self) {
        self.body.clear();
        self.restarts.clear();
        self.entries = 0;
    }
}

/// Where a block's body lies.
enum Store {
    /// Decompressed, or copied out of a larger read.
    Own(Vec<u8>),
    /// In the buffer of the direct read itself.
    Read { buf: IoBuf, range: Range<usize> },
}

impl Store {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(body) => body,
            Self::Read { buf, range } => buf.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// One decompressed and verified data block.
pub struct Block {
    store: Store,
    /// End of the entries in the body; the restart points follow.
    entries_end: usize,
    restarts: usize,
    /// A byte of each entry's hash, in order, once it paid to make them.
    tags: OnceCell<Box<[u8]>>,
    /// It was searched by hash before.
    searched: Cell<bool>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("bytes", &self.body().len())
            .field("restarts", &self.restarts)
            .finish_non_exhaustive()
    }
}

/// An entry's head, decoded: where its parts lie in the body.
#[derive(Debug, Clone)]
struct Head {
    shared: usize,
    kind: Kind,
    seq: SeqNo,
    /// Begin of the key's tail.
    tail: usize,
    /// End of the tail, begin of the value.
    value: usize,
    /// End of the value, begin of the next entry.
    end: usize,
}

impl Head {
    /// The entry at offset `at` of `entries`; `None` if the bytes are not one, which cannot be once the block was
    /// checked.
    #[inline]
    fn at(entries: &[u8], at: usize) -> Option<Self> {
        let mut reader = Reader::new(entries.get(at..)?);
        let shared = usize::try_from(reader.varint()?).ok()?;
        let unshared = usize::try_from(reader.varint()?).ok()?;
        let kind = Kind::from_u8(reader.u8()?)?;
        let seq = SeqNo(reader.varint()?);
        let value_len = usize::try_from(reader.varint()?).ok()?;
        if shared > KEY_BYTES_MAX || unshared > KEY_BYTES_MAX {
            return None;
        }
        let possible = match kind {
            Kind::Put => 0..=VALUE_BYTES_CAP,
            Kind::Delete => 0..=0,
            Kind::Expiring => EXPIRY_BYTES..=STORED_BYTES_MAX,
        };
        if !possible.contains(&value_len) {
            return None;
        }
        let tail = entries.len() - reader.remaining();
        let (value, end) = (tail + unshared, tail + unshared + value_len);
        (end <= entries.len()).then_some(Self { shared, kind, seq, tail, value, end })
    }

    /// What the key does not share with the one before it.
    #[inline]
    fn tail<'a>(&self, entries: &'a [u8]) -> Option<&'a [u8]> {
        entries.get(self.tail..self.value)
    }
}

/// Restart point `index` of a body whose entries end at `entries_end`.
#[inline]
fn restart(body: &[u8], entries_end: usize, index: usize) -> Option<usize> {
    let from = entries_end + index * size_of::<u32>();
    let bytes = body.get(from..from + size_of::<u32>())?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

/// What [`Block::find`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its sequence number.
    pub seq: SeqNo,
    /// Value, expiring value or tombstone.
    pub kind: Kind,
    /// Where the value lies in [`Block::body`]; empty for a tombstone.
    pub value: Range<usize>,
    /// Offset in [`Block::body`] of the restart point before it.
    pub restart: usize,
}

impl Block {
    /// Takes over a body.
    ///
    /// # Errors
    /// What is wrong with its structure: every offset and length in it is checked here, once.
    pub fn new(body: Vec<u8>) -> Result<Self, &'static str> {
        Self::check(Store::Own(body))
    }

    /// Takes over the buffer of a read in which the body lies at `range`: no copy.
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn from_read(buf: IoBuf, range: Range<usize>) -> Result<Self, &'static str> {
        assert!(range.start <= range.end && range.end <= buf.len());
        Self::check(Store::Read { buf, range })
    }

    fn check(store: Store) -> Result<Self, &'static str> {
        let (rest, restarts) =
            store.bytes().split_last_chunk::<4>().ok_or("a block shorter than its trailer")?;
        let restarts = u32::from_le_bytes(*restarts) as usize;
        let entries_end = restarts
            .checked_mul(size_of::<u32>())
            .and_then(|bytes| rest.len().checked_sub(bytes))
            .ok_or("more restart points than bytes")?;
        let entries = rest.get(..entries_end).unwrap_or_default();
        let (mut at, mut count, mut key_len) = (0, 0_usize, 0);
        while at < entries_end {
            let head = Head::at(entries, at).ok_or("an entry that does not parse")?;
            if count.is_multiple_of(RESTART_INTERVAL) {
                let restart = restart(rest, entries_end, count / RESTART_INTERVAL);
                if restart != Some(at) || head.shared != 0 {
                    return Err("a restart point that is not where it should be");
                }
            } else if head.shared > key_len {
                return Err("a key that shares more than there is");
            }
            key_len = head.shared + head.value - head.tail;
            if key_len > KEY_BYTES_MAX {
                return Err("a key above the limit");
            }
            if head.kind == Kind::Expiring
                && entries.get(head.value..head.end).and_then(expiry::split).is_none()
            {
                return Err("an expiring value without a time");
            }
            at = head.end;
            count += 1;
        }
        if count == 0 || restarts != count.div_ceil(RESTART_INTERVAL) {
            return Err("a number of restart points that does not fit the entries");
        }
        let (tags, searched) = (OnceCell::new(), Cell::new(false));
        Ok(Self { store, entries_end, restarts, tags, searched })
    }

    /// Entries and restart points, decompressed.
    #[inline]
    pub fn body(&self) -> &[u8] {
        self.store.bytes()
    }

    /// The same entries, each with an empty value (and the time when it ends): for who asks for keys only and is not to hold large values.
    pub(crate) fn without_values(&self) -> Self {
        let mut builder = BlockBuilder::default();
        let mut window = Window::default();
        for restart in 0..self.restarts() {
            self.window(restart, &mut window);
            for index in 0..window.len() {
                let Some(entry) = window.entry(index, self) else { continue };
                let head = if entry.kind == Kind::Expiring { EXPIRY_BYTES } else { 0 };
                builder.add(&Entry { value: entry.value.get(..head).unwrap_or_default(), ..entry });
            }
        }
        let body = builder.finish().to_vec();
        Self::new(body).unwrap_or_else(|what| panic!("a block just built is none: {what}"))
    }

    /// The part of the body that holds entries.
    #[inline]
    fn entries(&self) -> &[u8] {
        self.body().get(..self.entries_end).unwrap_or_default()
    }

    /// All memory that this block holds, in bytes: its weight in the cache.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            // Its tags, whether they are there yet or not.
            + self.restarts * RESTART_INTERVAL
            + match &self.store {
                Store::Own(body) => body.capacity(),
                Store::Read { buf, .. } => buf.capacity(),
            }
    }

    /// Restart points; at least one.
    pub fn restarts(&self) -> usize {
        self.restarts
    }

    /// The last restart point whose key is at or below `key`; the first one if there is none.
    pub fn restart_before(&self, key: &[u8]) -> usize {
        let entries = self.entries();
        let (mut low, mut high) = (0, self.restarts);
        // The key at `low` is at or below `key` (or low is 0), the one at `high` above it (or high is the end).
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let at = restart(self.body(), self.entries_end, middle);
            let head = at.and_then(|at| Head::at(entries, at));
            if head.and_then(|head| head.tail(entries)).is_some_and(|at_key| at_key <= key) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The entry of `key`. Allocates nothing.
    pub fn find(&self, key: &[u8]) -> Option<Found> {
        self.find_from(self.restart_before(key), key)
    }

    /// As [`Block::find`], knowing the key's [`hash`](key::hash). Allocates a byte an entry the second time.
    pub fn find_hashed(&self, key: &[u8], hash: u64) -> Option<Found> {
        let tags = match self.tags.get() {
            Some(tags) => tags,
            // Most blocks of a working set larger than memory are read for one key, and then driven out.
            None if !self.searched.replace(true) => return self.find(key),
            None => self.tags.get_or_init(|| self.make_tags()),
        };
        let mut tried = None;
        for index in memchr::memchr_iter(tag_of(hash), tags) {
            let restart = index / RESTART_INTERVAL;
            if tried.replace(restart) != Some(restart)
                && let Some(found) = self.find_from(restart, key)
            {
                return Some(found);
            }
        }
        None
    }

    /// Fetches what [`Block::find_hashed`] looks at first: the tags, and the restart points.
    #[inline]
    pub(crate) fn prefetch_tags(&self) {
        prefetch_in(self.tags.get().map_or(&[], |tags| tags), 0);
        prefetch_in(self.body(), self.entries_end);
    }

    /// Fetches the entries that [`Block::find_hashed`] will look at.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        let Some(tags) = self.tags.get() else { return };
        if let Some(index) = memchr::memchr(tag_of(hash), tags)
            && let Some(at) = restart(self.body(), self.entries_end, index / RESTART_INTERVAL)
        {
            prefetch_in(self.body(), at);
        }
    }

    /// Fetches the entries from the restart point at this offset of the body on.
    #[inline]
    pub(crate) fn prefetch_restart(&self, restart: usize) {
        let body = self.body();
        prefetch_in(body, restart);
        prefetch_in(body, restart + PREFETCHED_BYTES);
        prefetch_in(body, restart + 2 * PREFETCHED_BYTES);
    }

    fn make_tags(&self) -> Box<[u8]> {
        let mut tags = Vec::with_capacity(self.restarts * RESTART_INTERVAL);
        let mut window = Window::default();
        for index in 0..self.restarts {
            self.window(index, &mut window);
            let keys = window.items.iter().map(|item| window.keys.get(item.key.clone()));
            tags.extend(keys.map(|key| tag_of(key::hash(key.unwrap_or_default()))));
        }
        tags.into()
    }

    /// The entry of `key`, if it lies between restart point `index` and the first key above it.
    fn find_from(&self, index: usize, key: &[u8]) -> Option<Found> {
        self.find_at(restart(self.body(), self.entries_end, index)?, key)
    }

    /// As [`Block::find`], from the restart point at this offset of the body on.
    pub(crate) fn find_at(&self, restart: usize, key: &[u8]) -> Option<Found> {
        let entries = self.entries();
        let mut at = restart;
        // Bytes that `key` has in common with the entry looked at last, which is below `key`.
        let mut matched = 0;
        while at < entries.len() {
            let head = Head::at(entries, at)?;
            // One that shares more than `matched` bytes with its predecessor differs from `key` where that one did.
            if head.shared <= matched {
                let (tail, rest) = (head.tail(entries)?, key.get(head.shared..)?);
                let same = common_prefix(tail, rest);
                // The first bytes that differ; an end is below any byte.
                match tail.get(same).cmp(&rest.get(same)) {
                    Ordering::Less => {}
                    Ordering::Equal => {
                        let value = head.value..head.end;
                        return Some(Found { seq: head.seq, kind: head.kind, value, restart });
                    }
                    Ordering::Greater => return None,
                }
                matched = head.shared + same;
            }
            at = head.end;
        }
        None
    }

    /// The entry of `key`, whatever its kind. Allocates nothing.
    pub fn get<'a>(&'a self, key: &'a [u8]) -> Option<Entry<'a>> {
        self.entry(key, self.find(key)?)
    }

    /// As [`Block::get`], by [`Block::find_hashed`].
    #[inline]
    pub fn get_hashed<'a>(&'a self, key: &'a [u8], hash: u64) -> Option<Entry<'a>> {
        self.entry(key, self.find_hashed(key, hash)?)
    }

    /// What [`Block::find`] and its like have found of `key`.
    pub(crate) fn entry<'a>(&'a self, key: &'a [u8], found: Found) -> Option<Entry<'a>> {
        let value = self.body().get(found.value)?;
        Some(Entry { key, seq: found.seq, kind: found.kind, value })
    }

    /// Decodes the entries from restart point `index` to the next one into `window`.
    pub fn window(&self, index: usize, window: &mut Window) {
        window.keys.clear();
        window.items.clear();
        let (body, entries) = (self.body(), self.entries());
        let offset = |index: usize| {
            let offset = (index < self.restarts).then(|| restart(body, self.entries_end, index));
            offset.flatten().unwrap_or(self.entries_end)
        };
        let (mut at, end) = (offset(index), offset(index + 1));
        let mut key = 0..0;
        while at < end {
            let Some(head) = Head::at(entries, at) else { break };
            let Some(tail) = head.tail(entries) else { break };
            let start = window.keys.len();
            window.keys.extend_from_within(key.start..key.start + head.shared);
            window.keys.extend_from_slice(tail);
            key = start..window.keys.len();
            at = head.end;
            window.items.push(Item {
                key: key.clone(),
                kind: head.kind,
                seq: head.seq,
                value: head.value..head.end,
            });
        }
    }
}

/// The entries of one restart interval with whole keys, so that a cursor can go both ways. Memory is used again;
/// at most `RESTART_INTERVAL` of the longest keys.
#[derive(Debug, Default)]
pub struct Window {
    keys: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    key: Range<usize>,
    kind: Kind,
    seq: SeqNo,
    value: Range<usize>,
}

impl Window {
    /// Entries.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no window was decoded yet.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Entry `index`, whose value lies in `block`, the block that this window was made from.
    #[inline]
    pub fn entry<'a>(&'a self, index: usize, block: &'a Block) -> Option<Entry<'a>> {
        let item = self.items.get(index)?;
        let value = block.body().get(item.value.clone())?;
        let key = self.keys.get(item.key.clone())?;
        Some(Entry { key, seq: item.seq, kind: item.kind, value })
    }

    /// Entries with a key below `key`.
    pub fn below(&self, key: &[u8]) -> usize {
        self.items
            .partition_point(|item| self.keys.get(item.key.clone()).is_some_and(|ours| ours < key))
    }
}

/// A value that keeps the block alive in which it lies: an answer without a copy.
#[derive(Debug, Clone)]
pub struct BlockValue {
    /// What it lies in.
    pub block: Rc<Block>,
    /// Where in [`Block::body`].
    pub range: Range<usize>,
}

impl BlockValue {
    /// The entry of `key` in `block`: sequence number, kind and value.
    pub fn find(block: &Rc<Block>, key: &[u8]) -> Option<(SeqNo, Kind, Self)> {
        let found = block.find(key)?;
        Some((found.seq, found.kind, Self { block: Rc::clone(block), range: found.value }))
    }
}

impl Deref for BlockValue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.block.body().get(self.range.clone()).unwrap_or_default()
    }
}

/// The byte of a hash that a block keeps. Any will do: a filter mixes the whole hash with a secret of its own.
#[inline]
fn tag_of(hash: u64) -> u8 {
    hash.to_be_bytes()[0]
}

/// Length of the longest common prefix, in bytes.
#[inline]
pub(super) fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let mut same = 0;
    let mut words = left.chunks_exact(WORD).zip(right.chunks_exact(WORD));
    for (one, two) in &mut words {
        if one != two {
            break;
        }
        same += WORD;
    }
    let (left, right) = (left.get(same..), right.get(same..));
    let rest = left.unwrap_or_default().iter().zip(right.unwrap_or_default());
    same + rest.take_while(|(one, two)| one == two).count()
}
