//! Ordered iteration over a memtable: a merge of its arrays.

#![expect(clippy::disallowed_types, reason = "see `run`")]

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use self_cell::self_cell;

use super::MemTable;
use super::raw::EntryRef;
use super::run::Sorted;
use crate::cursor::{Cursor, Direction, Step};
use crate::error::Result;
use crate::key::Entry;
use crate::merge::Merge;

/// All versions of all keys of a memtable, in one direction. Never fails, never loads.
///
/// It may be kept while inserts go on, and may or may not see those made after its last seek; readers filter by
/// sequence number.
pub struct MemCursor(Owned);

/// How far ahead of the current one an entry is fetched into the cache.
const STEPS_AHEAD: usize = 2;

type RunMerge<'r> = Merge<RunCursor<'r>>;

self_cell!(
    struct Owned {
        owner: Owner,
        #[covariant]
        dependent: RunMerge,
    }
);

struct Owner {
    table: Rc<MemTable>,
    direction: Direction,
}

impl Owner {
    fn merge(&self) -> RunMerge<'_> {
        Merge::new(self.table.run_cursors(self.direction), self.direction)
    }
}

impl MemCursor {
    /// Stands on nothing until the first seek.
    pub fn new(table: Rc<MemTable>, direction: Direction) -> Self {
        let owner = Owner { table, direction };
        Self(Owned::new(owner, |owner| Merge::new(Vec::new(), owner.direction)))
    }
}

impl fmt::Debug for MemCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemCursor").field(&self.entry()).finish()
    }
}

impl Cursor for MemCursor {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.0.borrow_dependent().entry()
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        self.0.with_dependent_mut(|owner, merge| {
            // Entries have come, and arrays were merged.
            *merge = owner.merge();
            merge.seek(key)
        })
    }

    #[inline]
    fn step(&mut self) -> Step {
        self.0.with_dependent_mut(|_, merge| merge.step())
    }

    async fn load(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One array.
pub(super) struct RunCursor<'r> {
    array: Arc<Sorted<'r>>,
    direction: Direction,
    /// Of the current entry; past the end in either direction is any index outside.
    index: usize,
    current: Option<EntryRef<'r>>,
}

impl<'r> RunCursor<'r> {
    pub(super) fn new(array: Arc<Sorted<'r>>, direction: Direction) -> Self {
        Self { array, direction, index: usize::MAX, current: None }
    }

    fn go_to(&mut self, index: usize) {
        self.index = index;
        self.current = self.array.items().get(index).map(|item| item.entry);
    }

    fn by(&self, steps: usize) -> usize {
        match self.direction {
            Direction::Forward => self.index.wrapping_add(steps),
            Direction::Backward => self.index.wrapping_sub(steps),
        }
    }
}

impl Cursor for RunCursor<'_> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.current.map(EntryRef::get)
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        let below = key.map(|key| self.array.count_below(key));
        self.go_to(match self.direction {
            Direction::Forward => below.unwrap_or(0),
            Direction::Backward => below.unwrap_or(self.array.items().len()).wrapping_sub(1),
        });
        Step::Ready
    }

    #[inline]
    fn step(&mut self) -> Step {
        // At the end it stays there.
        if self.current.is_some() {
            self.go_to(self.by(1));
            if let Some(item) = self.array.items().get(self.by(STEPS_AHEAD)) {
                item.entry.prefetch();
            }
        }
        Step::Ready
    }

    async fn load(&mut self) -> Result<()> {
        Ok(())
    }
}
