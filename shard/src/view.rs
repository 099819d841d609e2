//! A pinned view: what a read may look at, from newest to oldest.
//!
//! # Invariants
//! - A view never changes. Whoever holds one keeps its memtables and tables alive, whatever is flushed, compacted or
//!   erased meanwhile; flush and compaction may therefore always drop shadowed versions.
//! - Together the parts hold every version at or below any sequence number that the view was pinned at.

use std::rc::Rc;

use crate::env::Env;
use crate::manifest::version::Version;
use crate::memtable::MemTable;
use crate::table::Table;

/// The parts of the tree at one moment.
#[derive(Debug)]
pub(crate) struct View<E: Env> {
    /// The memtable that took writes when the view was made.
    pub active: Rc<MemTable>,
    /// Newest first.
    pub sealed: Vec<Rc<MemTable>>,
    /// The tables.
    pub version: Rc<Version<Rc<Table<E>>>>,
}

impl<E: Env> View<E> {
    /// All memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Rc<MemTable>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }

    /// The view after its active memtable was sealed and `fresh` took its place.
    #[must_use]
    pub(crate) fn sealed_by(&self, fresh: Rc<MemTable>) -> Self {
        let sealed = std::iter::once(&self.active).chain(&self.sealed).cloned().collect();
        Self { active: fresh, sealed, version: Rc::clone(&self.version) }
    }

    /// The view with another version.
    #[must_use]
    pub(crate) fn with_version(&self, version: Rc<Version<Rc<Table<E>>>>) -> Self {
        Self { active: Rc::clone(&self.active), sealed: self.sealed.clone(), version }
    }

    /// The view after its oldest sealed memtable went to tables that `version` holds.
    #[must_use]
    pub(crate) fn flushed_into(&self, version: Rc<Version<Rc<Table<E>>>>) -> Self {
        let mut sealed = self.sealed.clone();
        assert!(sealed.pop().is_some(), "only a sealed memtable is flushed");
        Self { active: Rc::clone(&self.active), sealed, version }
    }
}
