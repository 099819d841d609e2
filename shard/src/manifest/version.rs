//! The set of tables at one moment: immutable, shared by `Rc`, published whole.
//!
//! # Invariants (asserted by [`Version::check`] after each edit)
//! - L0: newest data first (descending largest sequence number); tables may overlap. Not by file number: a merge within L0
//!   may take its number after a flush that began meanwhile, whose data is newer.
//! - L1 and below: ascending by smallest key, and no two tables of one level overlap.
//! - A file number stands in one level only.

use std::fmt::Debug;
use std::rc::Rc;

use super::edit::{TableMeta, VersionEdit};
use crate::limits::LEVELS;

/// A table in a version: what the manifest says of it, and the open handle `H` (`()` in tests of pure code).
#[derive(Debug)]
pub struct TableRef<H> {
    /// What the manifest says.
    pub meta: TableMeta,
    /// The open table.
    pub handle: H,
}

/// The tables of each level.
#[derive(Debug)]
pub(crate) struct Version<H> {
    /// L0 newest first; below it each level by key, without overlap.
    pub levels: [Vec<Rc<TableRef<H>>>; LEVELS],
}

/// Orders the tables of L0: each holds its own stretch of sequence numbers (tables cut from one merge or flush
/// share theirs, and do not overlap).
fn age(meta: &TableMeta) -> (u64, u64) {
    (meta.seq_max, meta.number)
}

impl<H> Clone for Version<H> {
    fn clone(&self) -> Self {
        Self { levels: self.levels.clone() }
    }
}

impl<H> Default for Version<H> {
    fn default() -> Self {
        Self { levels: std::array::from_fn(|_| Vec::new()) }
    }
}

impl<H> Version<H> {
    /// The version after `edit`, whose added tables were opened as `opened` (same order).
    ///
    /// # Errors
    /// What is inconsistent: a removed table that is not there, an added one that is, an overlap.
    pub(crate) fn apply(&self, edit: &VersionEdit, opened: Vec<H>) -> Result<Self, String> {
        assert_eq!(edit.added.len(), opened.len());
        let mut next = self.clone();
        for &(level, number) in &edit.removed {
            let tables =
                next.levels.get_mut(usize::from(level)).ok_or_else(|| format!("level {level}"))?;
            let index = tables
                .iter()
                .position(|table| table.meta.number == number)
                .ok_or_else(|| format!("table {number} is not in level {level}"))?;
            tables.remove(index);
        }
        for ((level, meta), handle) in edit.added.iter().zip(opened) {
            let tables =
                next.levels.get_mut(usize::from(*level)).ok_or_else(|| format!("level {level}"))?;
            let index = if *level == 0 {
                tables.partition_point(|table| age(&table.meta) > age(meta))
            } else {
                tables.partition_point(|table| table.meta.smallest < meta.smallest)
            };
            tables.insert(index, Rc::new(TableRef { meta: meta.clone(), handle }));
        }
        next.check()?;
        Ok(next)
    }

    /// Verifies the invariants above.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut numbers: Vec<u64> = self.tables().map(|(_, table)| table.meta.number).collect();
        numbers.sort_unstable();
        if let Some([twice, _]) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("table {twice} stands in two places"));
        }
        for (level, table) in self.tables() {
            if table.meta.smallest > table.meta.largest {
                return Err(format!(
                    "table {} in level {level}: smallest key above largest",
                    table.meta.number
                ));
            }
        }
        if let Some(pair) =
            self.levels[0].windows(2).find(|pair| age(&pair[0].meta) < age(&pair[1].meta))
        {
            return Err(format!(
                "table {} stands before table {} in L0, which is newer",
                pair[0].meta.number, pair[1].meta.number
            ));
        }
        for tables in &self.levels[1..] {
            for pair in tables.windows(2) {
                if pair[0].meta.largest >= pair[1].meta.smallest {
                    return Err(format!(
                        "tables {} and {} of one level overlap",
                        pair[0].meta.number, pair[1].meta.number
                    ));
                }
            }
        }
        Ok(())
    }

    /// All tables with their level, from L0 down.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (usize, &Rc<TableRef<H>>)> {
        self.levels
            .iter()
            .enumerate()
            .flat_map(|(level, tables)| tables.iter().map(move |table| (level, table)))
    }

    /// Bytes on disk of one level.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.meta.bytes).sum()
    }

    /// The tables of `level` whose key range meets `smallest..=largest`, in the level's order.
    pub(crate) fn overlapping(
        &self,
        level: usize,
        smallest: &[u8],
        largest: &[u8],
    ) -> &[Rc<TableRef<H>>] {
        assert!(level > 0, "L0 is not sorted by key");
        let tables = &self.levels[level];
        let from = tables.partition_point(|table| table.meta.largest.as_slice() < smallest);
        let to = tables.partition_point(|table| table.meta.smallest.as_slice() <= largest);
        &tables[from..to.max(from)]
    }

    /// The one table of `level` (>= 1) that may hold `key`.
    pub(crate) fn candidate(&self, level: usize, key: &[u8]) -> Option<&Rc<TableRef<H>>> {
        let tables = &self.levels[level];
        let index = tables.partition_point(|table| table.meta.largest.as_slice() < key);
        tables.get(index).filter(|table| table.meta.smallest.as_slice() <= key)
    }
}
