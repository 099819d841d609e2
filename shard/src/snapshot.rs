//! A shard as it was at one moment, for as long as somebody looks at it.
//!
//! # Invariants
//! - What it shows never changes, not by writes, flushes, merges or an erase, nor by the clock: a value that had not ended at its
//!   moment is there.
//! - It holds its view: memory of memtables and space of tables that are else of no use are not given back before it is dropped.

use std::rc::Rc;

use crate::cursor::Direction;
use crate::env::Env;
use crate::error::Result;
use crate::expiry;
use crate::key::{self, SeqNo};
use crate::read::PointRead;
use crate::scan::{AsOf, Range, Scan};
use crate::shard::Shard;
use crate::stats::add;
use crate::view::View;

/// A shard at one moment.
#[derive(Debug)]
pub struct Snapshot<E: Env> {
    shard: Shard<E>,
    view: Rc<View<E>>,
    at: SeqNo,
    gate: SeqNo,
    now_ms: u64,
}

impl<E: Env> Shard<E> {
    /// This shard as it is now. Costs a few words; what it comes to hold back, see [`Snapshot`].
    pub fn snapshot(&self) -> Snapshot<E> {
        let at = self.readable_seq().min(self.last_seq());
        let (gate, now_ms) = (self.gate_of(at), self.env().wall_ms());
        Snapshot { shard: self.clone(), view: self.view(), at, gate, now_ms }
    }
}

impl<E: Env> Snapshot<E> {
    /// The newest operation that it shows.
    pub fn seq(&self) -> SeqNo {
        self.at
    }

    /// What it shows may be told once [`Shard::released_seq`] has reached this.
    pub fn gate(&self) -> SeqNo {
        self.gate
    }

    /// The value of `key` at that moment, and when it ends (milliseconds since 1970; 0: never).
    /// I/O: as a point read of the shard.
    ///
    /// # Errors
    /// Reading or verifying a block; the log failed before what it shows was acknowledged.
    pub async fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u64)>> {
        self.shard.released(self.gate).await?;
        add(&self.shard.counters().reads, 1);
        let hash = key::hash(key);
        for memtable in self.view.memtables() {
            if let Some(entry) = memtable.get(hash, key, self.at) {
                let live = expiry::live(entry.kind, entry.value, || self.now_ms);
                add(&self.shard.counters().read_hits, u64::from(live.is_some()));
                return Ok(live.map(|live| (live.value.to_vec(), live.expires_at_ms)));
            }
        }
        let view = Rc::clone(&self.view);
        let read = PointRead::in_tables(self.shard.clone(), view, key, hash, self.now_ms);
        Ok(read.finish().await?.map(|value| (value.to_vec(), value.expires_at_ms())))
    }

    /// Iterates over the keys of `range` that were there.
    pub fn scan(&self, range: Range, direction: Direction) -> Scan<E> {
        let as_of = AsOf { view: Rc::clone(&self.view), at: self.at, now_ms: self.now_ms };
        Scan::new(&self.shard, as_of, range, direction, None)
    }
}
