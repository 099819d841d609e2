//! The memory of one memtable and what points into it: the only unsafe code of this room.
//!
//! ```text
//! entry = prev pointer (8, or null) | seq << 8 + kind (8) | key length u32 | value length u32 | key | value
//! ```
//!
//! # Invariants
//! - An entry starts at a multiple of eight bytes, is written once, whole, before anything points to it, and never
//!   moves or changes until its [`Arena`] is dropped.
//! - An [`EntryRef`] borrows the arena that it points into; `prev` leads to an entry that lives as long.
//! - A [`Node`] is an [`Item`] without its lifetime, since crossbeam's sets want `'static` keys. It never leaves
//!   this file: a [`SkipRun`] is invariant in the lifetime that its nodes have lost, and gives it back on the way out.
#![expect(
    unsafe_code,
    reason = "one arena per memtable, and keys in the skiplist's nodes (design D7)"
)]

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::slice;

use crossbeam_skiplist::SkipSet;

use crate::batch::Op;
use crate::huge_pages::prefer_huge_pages;
use crate::key::{Entry, Kind, SeqNo};
use crate::limits::SEQ_READ_MAX;
use crate::merge::prefix;
use crate::prefetch::prefetch;

/// Size of a chunk of the arena, in words of eight bytes (1 MiB).
const CHUNK_WORDS: usize = (1 << 20) / WORD;

/// An entry above this many words (128 KiB) gets a chunk of its own, so that at most an eighth of a chunk is lost at its end.
const SHARED_WORDS_MAX: usize = CHUNK_WORDS / 8;

/// Sequence numbers share a word with the kind.
pub(super) const SEQ_MAX: u64 = (1 << 56) - 1;
const _: () = assert!(SEQ_READ_MAX <= SEQ_MAX / 2 + 1);

const WORD: usize = size_of::<u64>();
const HEADER_WORDS: usize = size_of::<Header>() / WORD;

const _: () = assert!(size_of::<Header>() == 24);
const _: () = assert!(align_of::<Header>() <= align_of::<u64>());
const _: () = assert!(size_of::<Node>() == 24);

#[repr(C)]
struct Header {
    prev: *const Header,
    tag: u64,
    key_len: u32,
    value_len: u32,
}

type Chunk = NonNull<[MaybeUninit<u64>]>;

/// Append-only memory for entries. Freed as a whole; untouched pages of a chunk cost nothing.
pub(super) struct Arena {
    chunks: RefCell<Vec<Chunk>>,
    /// The free end of the newest shared chunk, and the words left there.
    free: Cell<NonNull<u64>>,
    room_words: Cell<usize>,
    words: Cell<usize>,
}

// SAFETY: the chunks are owned by this arena alone; nothing in it belongs to a thread.
unsafe impl Send for Arena {}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            chunks: RefCell::new(Vec::new()),
            free: Cell::new(NonNull::dangling()),
            room_words: Cell::new(0),
            words: Cell::new(0),
        }
    }

    /// Memory handed out or lost at the ends of chunks, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.words.get() * WORD
    }

    /// Copies `op` in. `prev` is the next older version of the key.
    #[inline]
    pub(super) fn push<'a>(
        &'a self,
        prev: Option<EntryRef<'a>>,
        seq: SeqNo,
        op: Op<'_>,
    ) -> EntryRef<'a> {
        let (key, value, expiry) = (op.key(), op.value(), op.expiry());
        let expiry = expiry.as_ref().map_or(&[][..], |expiry| expiry);
        assert!(seq.0 <= SEQ_MAX);
        let header = Header {
            prev: prev.map_or(ptr::null(), |prev| prev.header.as_ptr().cast_const()),
            tag: seq.0 << 8 | u64::from(op.kind() as u8),
            key_len: length(key.len()),
            value_len: length(op.stored_bytes()),
        };
        let words = HEADER_WORDS + (key.len() + op.stored_bytes()).div_ceil(WORD);
        let at = self.allocate(words);
        // SAFETY: `allocate` gave `words` words that nothing else refers to, aligned for Header; header, key, expiry and
        // value fit in them by the computation of `words`; the sources are borrowed slices, elsewhere.
        unsafe {
            at.cast::<Header>().write(header);
            let bytes = at.cast::<u8>().add(size_of::<Header>());
            ptr::copy_nonoverlapping(key.as_ptr(), bytes.as_ptr(), key.len());
            let stored = bytes.add(key.len());
            ptr::copy_nonoverlapping(expiry.as_ptr(), stored.as_ptr(), expiry.len());
            let user = stored.add(expiry.len());
            ptr::copy_nonoverlapping(value.as_ptr(), user.as_ptr(), value.len());
        }
        EntryRef { header: at.cast(), arena: PhantomData }
    }

    #[inline]
    fn allocate(&self, words: usize) -> NonNull<u64> {
        if words > self.room_words.get() {
            return self.allocate_slow(words);
        }
        let at = self.free.get();
        // SAFETY: `room_words` words follow `free` in its chunk.
        self.free.set(unsafe { at.add(words) });
        self.room_words.set(self.room_words.get() - words);
        self.words.set(self.words.get() + words);
        at
    }

    #[cold]
    fn allocate_slow(&self, words: usize) -> NonNull<u64> {
        if words > SHARED_WORDS_MAX {
            self.words.set(self.words.get() + words);
            return self.chunk(words);
        }
        // What is left of the old chunk stays unused, and counts.
        self.words.set(self.words.get() + self.room_words.get());
        self.free.set(self.chunk(CHUNK_WORDS));
        self.room_words.set(CHUNK_WORDS);
        self.allocate(words)
    }

    fn chunk(&self, words: usize) -> NonNull<u64> {
        // A raw pointer and not a Box: a Box claims its bytes for itself whenever it is moved.
        let chunk = NonNull::from(Box::leak(Box::<[u64]>::new_uninit_slice(words)));
        prefer_huge_pages(chunk.as_ptr().cast_const().cast(), words * WORD);
        self.chunks.borrow_mut().push(chunk);
        chunk.cast()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for chunk in self.chunks.get_mut().drain(..) {
            // SAFETY: made by `Box::leak` in `chunk`, and taken out of the list, so freed once; every EntryRef borrows
            // the arena and is gone.
            drop(unsafe { Box::from_raw(chunk.as_ptr()) });
        }
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("keys and values are limited far below 4 GiB")
}

/// One entry of an arena.
#[derive(Clone, Copy)]
pub(super) struct EntryRef<'a> {
    header: NonNull<Header>,
    arena: PhantomData<&'a Arena>,
}

// SAFETY: like `&'a [u8]`: it gives shared access to bytes that no one changes while `'a` lasts. An arena that goes on
// allocating writes to other bytes.
unsafe impl Send for EntryRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for EntryRef<'_> {}

impl<'a> EntryRef<'a> {
    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: points to a header written by `push`, which lives and stays unchanged for `'a`.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub(super) fn seq(self) -> SeqNo {
        SeqNo(self.header().tag >> 8)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        #[expect(clippy::cast_possible_truncation, reason = "the kind is the lowest byte")]
        Kind::from_u8(self.header().tag as u8).expect("push wrote a kind")
    }

    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        // SAFETY: `push` wrote `key_len` bytes behind the header, in the same chunk.
        unsafe {
            let bytes = self.header.cast::<u8>().add(size_of::<Header>());
            slice::from_raw_parts(bytes.as_ptr(), self.header().key_len as usize)
        }
    }

    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        let header = self.header();
        // SAFETY: `push` wrote `value_len` bytes behind the key, in the same chunk.
        unsafe {
            let bytes = self.header.cast::<u8>().add(size_of::<Header>() + header.key_len as usize);
            slice::from_raw_parts(bytes.as_ptr(), header.value_len as usize)
        }
    }

    /// The next older version of the same key in this memtable.
    #[inline]
    pub(super) fn prev(self) -> Option<EntryRef<'a>> {
        let header = NonNull::new(self.header().prev.cast_mut())?;
        Some(EntryRef { header, arena: PhantomData })
    }

    /// Tells the processor that the entry will be read soon. Entries of neighbouring keys lie anywhere in the arena, so
    /// each would else be waited for.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch(self.header.as_ptr().cast_const().cast());
    }

    #[inline]
    pub(super) fn get(self) -> Entry<'a> {
        Entry { key: self.key(), seq: self.seq(), kind: self.kind(), value: self.value() }
    }
}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// One place in the order: the first 16 bytes of the key as numbers, so that most comparisons touch no entry, and the entry
/// for the rest.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) words: [u64; 2],
    pub(super) entry: EntryRef<'a>,
}

impl<'a> Item<'a> {
    #[inline]
    pub(super) fn new(entry: EntryRef<'a>) -> Self {
        Self { words: prefix(entry.key()), entry }
    }

    /// The internal order: by key, of one key the newest first.
    #[inline]
    pub(super) fn order(&self, other: &Self) -> Ordering {
        // A shorter key is padded with zeros, so equal words decide nothing: "a" and "a\0" differ behind them.
        match self.words.cmp(&other.words) {
            Ordering::Equal => self.order_by_entry(other),
            unequal => unequal,
        }
    }

    fn order_by_entry(&self, other: &Self) -> Ordering {
        let (left, right) = (self.entry, other.entry);
        left.key().cmp(right.key()).then_with(|| right.seq().cmp(&left.seq()))
    }
}

/// What a node of the skiplist holds: an [`Item`] without its lifetime.
#[derive(Clone, Copy)]
struct Node {
    words: [u64; 2],
    entry: NonNull<Header>,
}

// SAFETY: an EntryRef without its lifetime, see there.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    #[inline]
    fn new(item: Item<'_>) -> Self {
        Self { words: item.words, entry: item.entry.header }
    }

    /// # Safety
    /// The arena of the entry must outlive `'a`.
    #[inline]
    unsafe fn item<'a>(self) -> Item<'a> {
        Item { words: self.words, entry: EntryRef { header: self.entry, arena: PhantomData } }
    }
}

impl Ord for Node {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // SAFETY: nodes are compared only while both live in a list, or a function of this file holds them; either
        // way their arenas are borrowed or owned there.
        let (left, right) = unsafe { (self.item(), other.item()) };
        left.order(&right)
    }
}

impl PartialOrd for Node {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Node {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Node {}

/// A sorted set of entries. Invariant in `'a`, else an entry of a shorter life could be put in.
pub(super) struct SkipRun<'a> {
    set: SkipSet<Node>,
    entries: PhantomData<Cell<EntryRef<'a>>>,
}

impl<'a> SkipRun<'a> {
    pub(super) fn new() -> Self {
        Self { set: SkipSet::new(), entries: PhantomData }
    }

    /// Adds an entry whose (key, sequence number) is not there yet.
    #[inline]
    pub(super) fn insert(&self, item: Item<'a>) {
        self.set.insert(Node::new(item));
    }

    /// Hands all entries to `each`, in order.
    pub(super) fn each(&self, mut each: impl FnMut(Item<'a>)) {
        for place in &self.set {
            // SAFETY: all nodes of this set came from an `Item<'a>`.
            each(unsafe { place.value().item() });
        }
    }
}
