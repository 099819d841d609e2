//! Ordered iteration over a memtable: a merge of its runs.

use std::fmt;
use std::rc::Rc;

use self_cell::self_cell;

use super::MemTable;
use super::raw::{EntryRef, Position};
use super::run::{RunView, SortedView};
use crate::cursor::{Cursor, Direction, Step};
use crate::error::Result;
use crate::key::{Entry, SeqNo};
use crate::merge::Merge;

/// Behind every version of a key in the internal order is seq 0, before every one of them is this.
const BEFORE_VERSIONS: SeqNo = SeqNo(super::SEQ_MAX);

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
        Self(Owned::new(Owner { table, direction }, Owner::merge))
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
            // Runs may have come, and lists become arrays.
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

/// One run. A list is walked by position, an array by index.
pub(super) struct RunCursor<'r> {
    run: RunView<'r>,
    direction: Direction,
    place: Place<'r>,
    current: Option<EntryRef<'r>>,
}

enum Place<'r> {
    List(Option<Position<'r>>),
    /// Index of the current entry; past the end in either direction is any index outside.
    Array(&'r [EntryRef<'r>], usize),
}

impl<'r> RunCursor<'r> {
    pub(super) fn new(run: RunView<'r>, direction: Direction) -> Self {
        Self { run, direction, place: Place::List(None), current: None }
    }

    fn seek_list(&self, key: Option<&[u8]>) -> Option<Position<'r>> {
        let list = self.run.list;
        match (self.direction, key) {
            (Direction::Forward, None) => list.first(),
            (Direction::Forward, Some(key)) => list.at_or_after(key, BEFORE_VERSIONS),
            (Direction::Backward, None) => list.last(),
            (Direction::Backward, Some(key)) => list.before(key, BEFORE_VERSIONS),
        }
    }

    fn seek_array(&self, sorted: SortedView<'r>, key: Option<&[u8]>) -> usize {
        let below = key.map(|key| sorted.count_below(key));
        match self.direction {
            Direction::Forward => below.unwrap_or(0),
            Direction::Backward => below.unwrap_or(sorted.entries.len()).wrapping_sub(1),
        }
    }
}

impl Cursor for RunCursor<'_> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.current.map(EntryRef::get)
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        if let Some(sorted) = self.run.sorted {
            let index = self.seek_array(sorted, key);
            self.current = sorted.entries.get(index).copied();
            self.place = Place::Array(sorted.entries, index);
        } else {
            let position = self.seek_list(key);
            self.current = position.as_ref().map(Position::entry);
            self.place = Place::List(position);
        }
        Step::Ready
    }

    #[inline]
    fn step(&mut self) -> Step {
        match &mut self.place {
            Place::List(Some(position)) => {
                let moved = match self.direction {
                    Direction::Forward => position.move_next(),
                    Direction::Backward => position.move_prev(),
                };
                self.current = if moved { Some(position.entry()) } else { None };
            }
            Place::List(None) => self.current = None,
            Place::Array(sorted, index) => {
                *index = match self.direction {
                    Direction::Forward => index.wrapping_add(1),
                    Direction::Backward => index.wrapping_sub(1),
                };
                self.current = sorted.get(*index).copied();
                let ahead = match self.direction {
                    Direction::Forward => index.wrapping_add(STEPS_AHEAD),
                    Direction::Backward => index.wrapping_sub(STEPS_AHEAD),
                };
                if let Some(entry) = sorted.get(ahead) {
                    entry.prefetch();
                }
            }
        }
        Step::Ready
    }

    async fn load(&mut self) -> Result<()> {
        Ok(())
    }
}
