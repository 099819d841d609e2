//! Ordered iteration over a pinned view: one sequence number, whatever is written, flushed or compacted meanwhile.

use std::ops::Bound;
use std::rc::Rc;

use crate::cursor::{Cursor, Direction, Step};
use crate::env::Env;
use crate::error::Result;
use crate::event::Turnstile;
use crate::expiry::{self, Live};
use crate::key::{Entry, SeqNo};
use crate::level::LevelCursor;
use crate::memtable::MemCursor;
use crate::merge::{Merge, Newest, Tombstones};
use crate::shard::Shard;
use crate::table::TableCursor;
use crate::view::View;

/// One sorted run of a view.
#[derive(Debug)]
enum Run<E: Env> {
    Mem(MemCursor),
    Table(TableCursor<E>),
    Level(LevelCursor<E>),
}

impl<E: Env> Cursor for Run<E> {
    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Mem(cursor) => cursor.entry(),
            Self::Table(cursor) => cursor.entry(),
            Self::Level(cursor) => cursor.entry(),
        }
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        match self {
            Self::Mem(cursor) => cursor.seek(key),
            Self::Table(cursor) => cursor.seek(key),
            Self::Level(cursor) => cursor.seek(key),
        }
    }

    fn step(&mut self) -> Step {
        match self {
            Self::Mem(cursor) => cursor.step(),
            Self::Table(cursor) => cursor.step(),
            Self::Level(cursor) => cursor.step(),
        }
    }

    async fn load(&mut self) -> Result<()> {
        match self {
            Self::Mem(cursor) => cursor.load().await,
            Self::Table(cursor) => cursor.load().await,
            Self::Level(cursor) => cursor.load().await,
        }
    }
}

/// Which keys: `from` and `to` in key order, whatever the direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The smaller end.
    pub from: Bound<Vec<u8>>,
    /// The larger end.
    pub to: Bound<Vec<u8>>,
}

impl Range {
    /// Every key.
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        // The smallest key above all of them: the last byte that can be raised, raised.
        let mut end = prefix.to_vec();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        let to = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(prefix.to_vec()), to }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let above = match &self.from {
            Bound::Included(from) => key >= from.as_slice(),
            Bound::Excluded(from) => key > from.as_slice(),
            Bound::Unbounded => true,
        };
        let below = match &self.to {
            Bound::Included(to) => key <= to.as_slice(),
            Bound::Excluded(to) => key < to.as_slice(),
            Bound::Unbounded => true,
        };
        above && below
    }

    /// Whether it is the excluded smaller end: a forward seek lands on it.
    pub(crate) fn is_excluded_start(&self, key: &[u8]) -> bool {
        matches!(&self.from, Bound::Excluded(from) if key == from.as_slice())
    }

    /// The key to seek to, in the given direction. Forward seeks land at or after it, backward ones before it.
    pub(crate) fn start(&self, direction: Direction) -> Option<Vec<u8>> {
        match (direction, &self.from, &self.to) {
            (Direction::Forward, Bound::Included(key) | Bound::Excluded(key), _)
            | (Direction::Backward, _, Bound::Excluded(key)) => Some(key.clone()),
            (Direction::Backward, _, Bound::Included(key)) => {
                let mut after = key.clone();
                after.push(0);
                Some(after)
            }
            (Direction::Forward, Bound::Unbounded, _)
            | (Direction::Backward, _, Bound::Unbounded) => None,
        }
    }
}

/// A key that is there, borrowed from the scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveEntry<'a> {
    /// The user key.
    pub key: &'a [u8],
    /// The operation that wrote this version.
    pub seq: SeqNo,
    /// The user's value.
    pub value: &'a [u8],
    /// When the value ends, in milliseconds since 1970; 0: never.
    pub expires_at_ms: u64,
}

/// An iteration in progress. What had expired when it began is not there; what expires meanwhile is. Holds its view until it is dropped; nothing is read ahead of `next`.
#[derive(Debug)]
pub struct Scan<E: Env> {
    newest: Newest<Merge<Run<E>>>,
    range: Range,
    direction: Direction,
    started: bool,
    gate: SeqNo,
    now_ms: u64,
    _view: Rc<View<E>>,
}

impl<E: Env> Shard<E> {
    /// Iterates over the live keys of `range` as they are now.
    pub fn scan(&self, range: Range, direction: Direction) -> Scan<E> {
        self.scan_with(range, direction, None)
    }

    /// As [`Shard::scan`], for who needs the keys alone: large values are empty. Memory: one block of up to 64 KiB a run, and one
    /// of any size, where a scan with values holds one of any size a run.
    pub fn scan_keys(&self, range: Range, direction: Direction) -> Scan<E> {
        self.scan_with(range, direction, Some(&Rc::new(Turnstile::new())))
    }

    fn scan_with(
        &self,
        range: Range,
        direction: Direction,
        keys_only: Option<&Rc<Turnstile>>,
    ) -> Scan<E> {
        let at = self.readable_seq().min(self.inner.progress.last.get());
        let as_of = AsOf { view: self.view(), at, now_ms: self.env().wall_ms() };
        Scan::new(self, as_of, range, direction, keys_only)
    }
}

/// What a scan looks at.
pub(crate) struct AsOf<E: Env> {
    pub(crate) view: Rc<View<E>>,
    /// The newest operation that it sees.
    pub(crate) at: SeqNo,
    /// What has ended by then is not there.
    pub(crate) now_ms: u64,
}

impl<E: Env> Scan<E> {
    /// Reads `as_of`, which `shard` had or has.
    pub(crate) fn new(
        shard: &Shard<E>,
        as_of: AsOf<E>,
        range: Range,
        direction: Direction,
        keys_only: Option<&Rc<Turnstile>>,
    ) -> Self {
        let AsOf { view, at, now_ms } = as_of;
        let mut runs: Vec<Run<E>> = view
            .memtables()
            .map(|memtable| Run::Mem(MemCursor::new(Rc::clone(memtable), direction)))
            .collect();
        let cache = shard.cache();
        for table in &view.version.levels[0] {
            let (table, cache) = (Rc::clone(&table.handle), Rc::clone(cache));
            let cursor = TableCursor::hot(table, cache, direction);
            runs.push(Run::Table(cursor.keys_only(keys_only.cloned())));
        }
        for tables in view.version.levels[1..].iter().filter(|tables| !tables.is_empty()) {
            let cursor = LevelCursor::hot(tables.clone(), Rc::clone(cache), direction);
            runs.push(Run::Level(cursor.keys_only(keys_only.cloned())));
        }
        let hide = Tombstones::Hide { now_ms };
        let newest = Newest::new(Merge::new(runs, direction), direction, at, hide);
        let gate = shard.gate_of(at);
        Self { newest, range, direction, started: false, gate, now_ms, _view: view }
    }
}

impl<E: Env> Shard<E> {
    /// A place among the keys of the tables, at random: the end of a block, each as likely as any other. `None`: there are no
    /// tables. No I/O.
    pub fn random_place(&self) -> Option<Vec<u8>> {
        let view = self.view();
        let blocks: u64 =
            view.version.tables().map(|(_, table)| table.handle.blocks() as u64).sum();
        let mut at = self.env().random_u64().checked_rem(blocks)?;
        for (_, table) in view.version.tables() {
            let blocks = table.handle.blocks() as u64;
            if at < blocks {
                let end = usize::try_from(at).ok().and_then(|at| table.handle.separator(at));
                return end.map(<[u8]>::to_vec);
            }
            at -= blocks;
        }
        None
    }
}

impl<E: Env> Scan<E> {
    /// An answer made of this scan may leave once [`Shard::released_seq`] has reached this.
    pub fn gate(&self) -> SeqNo {
        self.gate
    }

    /// The next live entry, or `None` at the end of the range. Borrowed until the next call.
    ///
    /// # Errors
    /// Reading or verifying a block; the scan is then at its end.
    pub async fn next(&mut self) -> Result<Option<LiveEntry<'_>>> {
        self.advance().await?;
        Ok(self.current())
    }

    /// What [`Scan::next`] has answered last; `None` before the first call and at the end.
    pub fn current(&self) -> Option<LiveEntry<'_>> {
        let Entry { key, seq, kind, value } = self.stored()?;
        let Live { value, expires_at_ms } = expiry::live(kind, value, || self.now_ms)?;
        Some(LiveEntry { key, seq, value, expires_at_ms })
    }

    /// The same as it is stored.
    pub(crate) fn stored(&self) -> Option<Entry<'_>> {
        let entry = self.newest.entry().filter(|_| self.started);
        entry.filter(|entry| self.range.contains(entry.key))
    }

    async fn advance(&mut self) -> Result<()> {
        if self.started {
            self.newest.next().await?;
        } else {
            self.started = true;
            let start = self.range.start(self.direction);
            self.newest.seek(start.as_deref()).await?;
            // A seek lands on an excluded bound itself.
            while self.direction == Direction::Forward
                && self.newest.entry().is_some_and(|entry| self.range.is_excluded_start(entry.key))
            {
                self.newest.next().await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        let range = Range::prefix(b"ab");
        assert_eq!(range.to, Bound::Excluded(b"ac".to_vec()));
        assert_eq!(Range::prefix(b"a\xff\xff").to, Bound::Excluded(b"b".to_vec()));
        assert_eq!(Range::prefix(b"\xff").to, Bound::Unbounded);
        assert!(range.contains(b"ab") && range.contains(b"ab\xff") && !range.contains(b"ac"));
    }
}
