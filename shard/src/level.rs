//! Iteration over one sorted run: tables that ascend and do not overlap, one after the other, each opened when it is reached.

use std::fmt;
use std::rc::Rc;

use crate::cache::BlockCache;
use crate::cursor::{Cursor, Direction, Step};
use crate::env::Env;
use crate::error::Result;
use crate::event::Turnstile;
use crate::key::Entry;
use crate::manifest::version::TableRef;
use crate::table::{Table, TableCursor};

/// A table of a level, its handle open.
pub(crate) type LevelTable<E> = Rc<TableRef<Rc<Table<E>>>>;

/// A cursor over the tables of one run.
///
/// # Invariants
/// - `wanted` is set exactly between a movement that answered `Load` and the `load` that completes it.
/// - While nothing is wanted: `at` is the table stood in, and `current` its cursor, which stands; or the end.
pub struct LevelCursor<E: Env> {
    tables: Vec<LevelTable<E>>,
    source: Source,
    direction: Direction,
    /// Index into `tables`; its length at the end and before the first seek.
    at: usize,
    /// A cursor and the index of its table. At the end, or while `wanted` is `Open`, it may be another one than `at`.
    current: Option<(usize, TableCursor<E>)>,
    wanted: Option<Wanted>,
    /// The key of the last seek, for the table where it begins.
    target: Vec<u8>,
    failed: bool,
    keys_only: Option<Rc<Turnstile>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The table `at` is to be opened and entered.
    Open(Enter),
    /// The current cursor's load is to be completed.
    Inner,
}

/// Where a table is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enter {
    Target,
    Begin,
}

#[derive(Debug)]
enum Source {
    Hot(Rc<BlockCache>),
    Cold,
}

impl<E: Env> fmt::Debug for LevelCursor<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LevelCursor")
            .field("tables", &self.tables.len())
            .field("at", &self.at)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl<E: Env> LevelCursor<E> {
    /// Reads through the block cache, for a client's scan. `tables` ascend and do not overlap.
    pub fn hot(tables: Vec<LevelTable<E>>, cache: Rc<BlockCache>, direction: Direction) -> Self {
        Self::new(tables, Source::Hot(cache), direction)
    }

    /// As [`TableCursor::keys_only`].
    pub(crate) fn keys_only(self, keys_only: Option<Rc<Turnstile>>) -> Self {
        Self { keys_only, ..self }
    }

    /// Reads large pieces past the cache, one file open at a time; close it with [`LevelCursor::close`].
    pub fn cold(tables: Vec<LevelTable<E>>, direction: Direction) -> Self {
        Self::new(tables, Source::Cold, direction)
    }

    fn new(tables: Vec<LevelTable<E>>, source: Source, direction: Direction) -> Self {
        assert!(
            tables.windows(2).all(|pair| pair[0].meta.largest < pair[1].meta.smallest),
            "a run ascends"
        );
        Self {
            at: tables.len(),
            tables,
            source,
            direction,
            current: None,
            wanted: None,
            target: Vec::new(),
            failed: false,
            keys_only: None,
        }
    }

    /// Closes what is open.
    ///
    /// # Errors
    /// `Io` of closing a file.
    pub async fn close(mut self) -> Result<()> {
        match self.current.take() {
            Some((_, cursor)) => cursor.close().await,
            None => Ok(()),
        }
    }

    /// Enters table `at`, opening it if need be.
    fn enter(&mut self, how: Enter) -> Step {
        let Some(table) = self.tables.get(self.at) else { return Step::Ready };
        if self.current.as_ref().is_none_or(|&(held, _)| held != self.at) {
            match &self.source {
                Source::Cold => {
                    self.wanted = Some(Wanted::Open(how));
                    return Step::Load;
                }
                Source::Hot(cache) => {
                    let (table, cache) = (Rc::clone(&table.handle), Rc::clone(cache));
                    let cursor = TableCursor::hot(table, cache, self.direction);
                    self.current = Some((self.at, cursor.keys_only(self.keys_only.clone())));
                }
            }
        }
        let key = (how == Enter::Target).then_some(self.target.as_slice());
        let Some((_, cursor)) = &mut self.current else { unreachable!("opened above") };
        let step = cursor.seek(key);
        self.after(step)
    }

    /// Goes on from what the current cursor answered: at its end, into the next table.
    fn after(&mut self, step: Step) -> Step {
        if step == Step::Load {
            self.wanted = Some(Wanted::Inner);
            return Step::Load;
        }
        match &self.current {
            Some((_, cursor)) if cursor.entry().is_some() => Step::Ready,
            _ => {
                self.at = match self.direction {
                    Direction::Forward => self.at + 1,
                    Direction::Backward => self.at.checked_sub(1).unwrap_or(self.tables.len()),
                };
                // Not endless: tables are not empty, and `begin` is in each of them.
                self.enter(Enter::Begin)
            }
        }
    }

    async fn load_wanted(&mut self, wanted: Wanted) -> Result<()> {
        match wanted {
            Wanted::Open(how) => {
                if let Some((_, cursor)) = self.current.take() {
                    cursor.close().await?;
                }
                let table = Rc::clone(&self.tables[self.at].handle);
                let cursor = TableCursor::cold(table, self.direction).await?;
                self.current = Some((self.at, cursor));
                self.wanted = None;
                // What it answers is in `wanted`.
                let _ = self.enter(how);
            }
            Wanted::Inner => {
                let Some((_, cursor)) = &mut self.current else { unreachable!("it wants a load") };
                cursor.load().await?;
                self.wanted = None;
                let _ = self.after(Step::Ready);
            }
        }
        Ok(())
    }
}

impl<E: Env> Cursor for LevelCursor<E> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        match &self.current {
            Some((held, cursor)) if *held == self.at && self.wanted.is_none() => cursor.entry(),
            _ => None,
        }
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        self.wanted = None;
        if self.failed {
            return Step::Ready;
        }
        self.target.clear();
        self.target.extend_from_slice(key.unwrap_or_default());
        let count = self.tables.len();
        let first_with = |key: &[u8]| match self.direction {
            // The first table that ends at or above the key; the last that begins below it.
            Direction::Forward => {
                self.tables.partition_point(|table| table.meta.largest.as_slice() < key)
            }
            Direction::Backward => {
                let below = |table: &LevelTable<E>| table.meta.smallest.as_slice() < key;
                self.tables.partition_point(below).checked_sub(1).unwrap_or(count)
            }
        };
        self.at = match (key, self.direction) {
            (Some(key), _) => first_with(key),
            (None, Direction::Forward) => 0,
            (None, Direction::Backward) => count.saturating_sub(1),
        };
        self.enter(if key.is_some() { Enter::Target } else { Enter::Begin })
    }

    #[inline]
    fn step(&mut self) -> Step {
        assert!(self.wanted.is_none() && self.at < self.tables.len(), "step from nowhere");
        let Some((_, cursor)) = &mut self.current else { unreachable!("it stands in a table") };
        let step = cursor.step();
        if step == Step::Ready && cursor.entry().is_some() {
            return Step::Ready;
        }
        self.after(step)
    }

    async fn load(&mut self) -> Result<()> {
        while let Some(wanted) = self.wanted {
            if let Err(error) = self.load_wanted(wanted).await {
                self.wanted = None;
                self.failed = true;
                self.at = self.tables.len();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Lent to a merge, so that it can be closed afterwards.
impl<E: Env> Cursor for &mut LevelCursor<E> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        (**self).entry()
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        (**self).seek(key)
    }

    #[inline]
    fn step(&mut self) -> Step {
        (**self).step()
    }

    async fn load(&mut self) -> Result<()> {
        (**self).load().await
    }
}
