//! Point reads: pin a view, look from newest to oldest, unpin by drop.
//!
//! ```text
//! active memtable -> sealed memtables -> L0, newest table first -> L1 -> ... -> L6
//!                    |                   a table: key range -> filter -> index -> block (cache, else one direct read)
//!                    `-> or straight to the block where the key was found last (`cache::locations`)
//! ```
//!
//! Whatever is in memory is answered by a plain call, [`Shard::read`]. Only when a block is missing does it give back a
//! [`PointRead`], which holds its view and finishes later: whoever waits for the disk holds up nobody.

use std::ops::Deref;
use std::rc::Rc;

use crate::env::Env;
use crate::error::Result;
use crate::expiry::{self, EXPIRY_BYTES};
use crate::foresee::Sight;
use crate::key::{self, Entry, Kind, SeqNo};
use crate::limits::LEVELS;
use crate::manifest::version::TableRef;
use crate::shard::Shard;
use crate::stats::add;
use crate::table::block::Block;
use crate::table::{BlockHandle, BlockValue, Table};
use crate::view::View;

type OpenTable<E> = Rc<TableRef<Rc<Table<E>>>>;

/// What a read found, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// `None`: no such key, or it was deleted, or its value has expired.
    pub value: Option<&'a [u8]>,
    /// When the value ends, in milliseconds since 1970; 0: never, or there is none.
    pub expires_at_ms: u64,
    /// The operation that this answer depends on; an answer may leave the server once
    /// [`Shard::released_seq`] has reached it. Zero: durable for long.
    pub gate: SeqNo,
}

impl<'a> Found<'a> {
    const ABSENT: Self = Self { value: None, expires_at_ms: 0, gate: SeqNo(0) };

    /// What `env`'s clock leaves of a version.
    #[inline]
    fn of(env: &impl Env, kind: Kind, stored: &'a [u8], gate: SeqNo) -> Self {
        match expiry::live(kind, stored, || env.wall_ms()) {
            Some(live) => Self { value: Some(live.value), expires_at_ms: live.expires_at_ms, gate },
            None => Self { gate, ..Self::ABSENT },
        }
    }

    /// As [`Found::of`], of an entry in a table: durable for long.
    #[inline]
    fn in_table(env: &impl Env, entry: &Entry<'a>) -> Self {
        Self::of(env, entry.kind, entry.value, SeqNo(0))
    }
}

/// A read that is answered, or one that waits for a block.
#[derive(Debug)]
pub enum Read<E: Env, R> {
    /// What `answer` made of it.
    Done(R),
    /// To be finished by awaiting it.
    Disk(PointRead<E>),
}

/// Position in the tables of a view: level, and in L0 the table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Search {
    level: usize,
    l0_index: usize,
}

impl Search {
    /// The next table that may hold `key`, and the block of it that would. Filters and indexes are in memory.
    pub(crate) fn next<'v, E: Env>(
        &mut self,
        shard: &Shard<E>,
        view: &'v View<E>,
        key: &[u8],
        hash: u64,
    ) -> Option<(&'v OpenTable<E>, BlockHandle)> {
        while self.level < LEVELS {
            let table = if self.level == 0 {
                let table = view.version.levels[0].get(self.l0_index);
                self.l0_index += 1;
                if table.is_none() {
                    self.level = 1;
                    continue;
                }
                table.filter(|table| {
                    let meta = &table.meta;
                    meta.smallest.as_slice() <= key && key <= meta.largest.as_slice()
                })
            } else {
                self.level += 1;
                view.version.candidate(self.level - 1, key)
            };
            let Some(table) = table else { continue };
            if !table.handle.may_contain(hash) {
                add(&shard.counters().filter_useful, 1);
                continue;
            }
            if let Some(handle) = table.handle.find_block(key) {
                return Some((table, handle));
            }
        }
        None
    }
}

impl<E: Env> Shard<E> {
    /// Newest value of `key`, handed to `answer` where it lies (no copy).
    /// I/O: none on a memtable or cache hit; else [`Read::Disk`], which reads at most one block per sorted run whose
    /// filter passes.
    pub fn read<R>(&self, key: &[u8], answer: impl FnOnce(Found<'_>) -> R) -> Read<E, R> {
        add(&self.counters().reads, 1);
        let hash = key::hash(key);
        let view = self.view();
        let at = self.readable_seq();
        for memtable in view.memtables() {
            if let Some(entry) = memtable.get(hash, key, at) {
                let gate = self.gate_of(entry.seq);
                let found = Found::of(self.env(), entry.kind, entry.value, gate);
                return Read::Done(self.answered(found, answer));
            }
        }
        let foreseen = self.inner.foresight.borrow_mut().take(key, self.inner.views.get());
        let (mut search, mut next, mut located) = (Search::default(), None, None);
        match foreseen {
            None => located = self.locate(hash),
            Some(Sight::Absent) => return Read::Done(self.answered(Found::ABSENT, answer)),
            Some(Sight::Located(block, restart)) => located = Some((block, restart)),
            Some(Sight::Searched { search: upto, block, spot }) => {
                search = upto;
                next = Some((block, spot));
            }
        }
        // Another key of the same hash, or part of it, may be meant: then it is not there.
        if let Some((block, restart)) = located
            && let Some(found) = block.find_at(restart, key)
            && let Some(entry) = block.entry(key, found)
        {
            return Read::Done(self.answered(Found::in_table(self.env(), &entry), answer));
        }
        loop {
            let (block, spot) = if let Some(known) = next.take() {
                known
            } else {
                let Some((table, handle)) = search.next(self, &view, key, hash) else {
                    return Read::Done(self.answered(Found::ABSENT, answer));
                };
                let Some(cached) = self.cache().get_at(table.meta.number, handle.offset()) else {
                    add(&self.counters().disk_reads, 1);
                    return Read::Disk(PointRead {
                        shard: self.clone(),
                        pending: Some((Rc::clone(table), handle)),
                        search,
                        hash,
                        key: key.into(),
                        view,
                        now_ms: None,
                    });
                };
                cached
            };
            if let Some(found) = block.find_hashed(key, hash) {
                let restart = found.restart;
                if let Some(entry) = block.entry(key, found) {
                    // In no memtable of the current view, and here first of its tables: the newest version there.
                    self.cache().note(hash, spot, restart);
                    return Read::Done(self.answered(Found::in_table(self.env(), &entry), answer));
                }
            }
            add(&self.counters().filter_false, 1);
        }
    }

    /// The block in which the key with this hash was found last, and the restart point before it.
    fn locate(&self, hash: u64) -> Option<(Rc<Block>, usize)> {
        self.cache().located(&self.cache().location(hash)?)
    }

    fn answered<R>(&self, found: Found<'_>, answer: impl FnOnce(Found<'_>) -> R) -> R {
        if found.value.is_some() {
            add(&self.counters().read_hits, 1);
        }
        answer(found)
    }

    /// Newest value of `key`, waiting for the disk where needed, and for durability where the policy demands it.
    ///
    /// # Errors
    /// `Corruption` names file and offset; after `Io` the shard still serves other reads.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let read = self.read(key, |found| (found.value.map(<[u8]>::to_vec), found.gate));
        match read {
            Read::Done((value, gate)) => {
                self.released(gate).await?;
                Ok(value)
            }
            Read::Disk(read) => Ok(read.finish().await?.map(|value| value.to_vec())),
        }
    }
}

/// A point read that waits for the disk. Holds its view: what it answers was true when it began.
#[derive(Debug)]
pub struct PointRead<E: Env> {
    shard: Shard<E>,
    view: Rc<View<E>>,
    key: Box<[u8]>,
    hash: u64,
    search: Search,
    pending: Option<(OpenTable<E>, BlockHandle)>,
    /// What has ended by then is not there; `None`: by the moment of the answer.
    now_ms: Option<u64>,
}

/// A value in a block that was read.
#[derive(Debug)]
pub struct DiskValue {
    value: BlockValue,
    expires_at_ms: u64,
}

impl DiskValue {
    /// When the value ends, in milliseconds since 1970; 0: never.
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }
}

impl Deref for DiskValue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.value
    }
}

impl<E: Env> PointRead<E> {
    /// Of the tables of `view` alone, as they were at `now_ms`. `hash` is that of `key`.
    pub(crate) fn in_tables(
        shard: Shard<E>,
        view: Rc<View<E>>,
        key: &[u8],
        hash: u64,
        now_ms: u64,
    ) -> Self {
        let (search, pending) = (Search::default(), None);
        Self { shard, view, key: key.into(), hash, search, pending, now_ms: Some(now_ms) }
    }

    /// What the value may take in memory, in bytes, as far as is known before the block is read: for bounding how many
    /// reads are under way.
    pub fn expected_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |(_, handle)| handle.raw_len())
    }

    /// Reads block after block until the key is found or no run is left. Concurrent reads of one block share one I/O.
    ///
    /// # Errors
    /// Reading or verifying a block: never answered as "not found".
    pub async fn finish(mut self) -> Result<Option<DiskValue>> {
        loop {
            let (table, handle) = match self.pending.take() {
                Some(pending) => pending,
                None => match self.search.next(&self.shard, &self.view, &self.key, self.hash) {
                    Some((table, handle)) => (Rc::clone(table), handle),
                    None => return Ok(None),
                },
            };
            let block = self.shard.cache().load(&table.handle, handle).await.inspect_err(|_| {
                add(&self.shard.counters().read_errors, 1);
            })?;
            if let Some((_, kind, stored)) = BlockValue::find(&block, &self.key) {
                let env = self.shard.env();
                let value =
                    disk_value(kind, stored, || self.now_ms.unwrap_or_else(|| env.wall_ms()));
                add(&self.shard.counters().read_hits, u64::from(value.is_some()));
                return Ok(value);
            }
            add(&self.shard.counters().filter_false, 1);
        }
    }
}

/// What a clock leaves of a version in a block.
fn disk_value(kind: Kind, stored: BlockValue, now_ms: impl FnOnce() -> u64) -> Option<DiskValue> {
    let expires_at_ms = expiry::live(kind, &stored, now_ms)?.expires_at_ms;
    let BlockValue { block, mut range } = stored;
    if kind == Kind::Expiring {
        range.start += EXPIRY_BYTES;
    }
    Some(DiskValue { value: BlockValue { block, range }, expires_at_ms })
}
