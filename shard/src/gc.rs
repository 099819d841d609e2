//! Obsolete files: deleted once no manifest names them and nobody reads them any more.
//!
//! # Invariants
//! - A file gets here only after the edit that forgot it is durable (R28).
//! - A table is deleted when this list holds its last reference: no version, view or cursor has it. Looked at after each
//!   flush and compaction, and each second while something waits: a reader may have held it at the time.
//! - A file that cannot be deleted stays on the list and is tried again; recovery removes what was left behind.

use std::path::PathBuf;
use std::rc::Rc;

use crate::env::Env;
use crate::shard::Shard;
use crate::stats::add;
use crate::table::{Pace, Table};

/// What waits for its deletion.
#[derive(Debug)]
pub(crate) struct Obsolete<E: Env> {
    tables: Vec<Rc<Table<E>>>,
    files: Vec<PathBuf>,
}

impl<E: Env> Default for Obsolete<E> {
    fn default() -> Self {
        Self { tables: Vec::new(), files: Vec::new() }
    }
}

impl<E: Env> Obsolete<E> {
    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.files.is_empty()
    }

    pub(crate) fn add_table(&mut self, table: Rc<Table<E>>) {
        self.tables.push(table);
    }

    pub(crate) fn add_file(&mut self, path: PathBuf) {
        self.files.push(path);
    }

    /// A table that only this list still holds.
    fn take_free_table(&mut self) -> Option<Table<E>> {
        let index = self.tables.iter().position(|table| Rc::strong_count(table) == 1)?;
        let table = self.tables.swap_remove(index);
        Some(Rc::into_inner(table).unwrap_or_else(|| unreachable!("its count was one")))
    }
}

impl<E: Env> Shard<E> {
    /// Deletes what can be deleted now. I/O: one unlink a file, one directory sync if any.
    pub(crate) async fn collect_garbage(&self) {
        let inner = &self.inner;
        let mut removed = false;
        loop {
            let table = inner.obsolete.borrow_mut().take_free_table();
            let Some(table) = table else { break };
            let path = table.path().to_owned();
            self.forget_blocks(&table).await;
            if let Err(error) = table.close().await {
                tracing::warn!(%error, "closing an obsolete table");
            }
            inner.obsolete.borrow_mut().add_file(path);
        }
        let files = std::mem::take(&mut inner.obsolete.borrow_mut().files);
        for path in files {
            match inner.env.remove(&path).await {
                Ok(()) => removed = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    add(&inner.counters.background_errors, 1);
                    tracing::warn!(path = %path.display(), %error, "removing an obsolete file");
                    inner.obsolete.borrow_mut().add_file(path);
                }
            }
        }
        if removed && let Err(error) = inner.env.sync_dir(&inner.dir).await {
            add(&inner.counters.background_errors, 1);
            tracing::warn!(%error, "syncing the directory after removals");
        }
    }

    /// Gives the memory of its cached blocks back now: by age alone they would go last, and what is in use before them.
    async fn forget_blocks(&self, table: &Table<E>) {
        let mut pace = Pace::start(self.env());
        for index in 0..table.blocks() {
            if let Some(handle) = table.block(index) {
                self.cache().drop_block(table.number(), handle.offset());
            }
            pace.pause().await;
        }
    }
}
