//! The set of tables at one moment: immutable, shared by `Rc`, published whole.
//!
//! # Invariants (asserted by [`Version::check`] after each edit)
//! - L0: newest first (descending file number); tables may overlap.
//! - L1 and below: ascending by smallest key, and no two tables of one level overlap.
//! - A file number stands in one level only.

use std::fmt::Debug;
use std::rc::Rc;

use super::edit::{TableMeta, VersionEdit};
use crate::limits::LEVELS;

/// A table in a version: what the manifest says of it, and the open handle `H` (`()` in tests of pure code).
#[derive(Debug)]
pub struct TableRef<H> {
    pub meta: TableMeta,
    pub handle: H,
}

/// The tables of each level.
#[derive(Debug)]
pub struct Version<H> {
    pub levels: [Vec<Rc<TableRef<H>>>; LEVELS],
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
    pub fn apply(&self, edit: &VersionEdit, opened: Vec<H>) -> Result<Self, String> {
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
                tables.partition_point(|table| table.meta.number > meta.number)
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
    pub fn check(&self) -> Result<(), String> {
        let mut numbers: Vec<u64> = self.tables().map(|(_, table)| table.meta.number).collect();
        numbers.sort_unstable();
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("table {} stands in two places", pair[0]));
        }
        for (level, table) in self.tables() {
            if table.meta.smallest > table.meta.largest {
                return Err(format!(
                    "table {} in level {level}: smallest key above largest",
                    table.meta.number
                ));
            }
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
    pub fn tables(&self) -> impl Iterator<Item = (usize, &Rc<TableRef<H>>)> {
        self.levels
            .iter()
            .enumerate()
            .flat_map(|(level, tables)| tables.iter().map(move |table| (level, table)))
    }

    /// Bytes on disk of one level.
    pub fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|table| table.meta.bytes).sum()
    }

    /// The tables of `level` whose key range meets `smallest..=largest`, in the level's order.
    pub fn overlapping(&self, level: usize, smallest: &[u8], largest: &[u8]) -> &[Rc<TableRef<H>>] {
        assert!(level > 0, "L0 is not sorted by key");
        let tables = &self.levels[level];
        let from = tables.partition_point(|table| table.meta.largest.as_slice() < smallest);
        let to = tables.partition_point(|table| table.meta.smallest.as_slice() <= largest);
        &tables[from..to.max(from)]
    }

    /// The one table of `level` (>= 1) that may hold `key`.
    pub fn candidate(&self, level: usize, key: &[u8]) -> Option<&Rc<TableRef<H>>> {
        let tables = &self.levels[level];
        let index = tables.partition_point(|table| table.meta.largest.as_slice() < key);
        tables.get(index).filter(|table| table.meta.smallest.as_slice() <= key)
    }
}
