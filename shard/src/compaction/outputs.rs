//! New tables, one after the other, from one ascending stream of entries: what a flush and a compaction write.
//!
//! # Invariants
//! - Until [`Outputs::finish`] has returned, no table is more than a file nobody refers to; [`Outputs::abandon`] removes them all.
//! - The tables ascend and do not overlap. No table is empty: without entries there is none.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

use crate::cache::BlockCache;
use crate::env::{Env, Lane};
use crate::error::{Error, Result};
use crate::key::{Entry, Identity};
use crate::manifest::edit::TableMeta;
use crate::options::TableOptions;
use crate::table::{self, PIECE_BYTES, TableBuilder};

/// Where tables are written.
#[derive(Debug)]
pub(crate) struct Site<'a, E> {
    /// The world.
    pub env: &'a E,
    /// The shard's directory.
    pub dir: &'a Path,
    /// Part of every checksum.
    pub identity: Identity,
    /// How tables are laid out.
    pub options: &'a TableOptions,
    /// Blocks go into this cache as they are made.
    pub(crate) warm: Option<&'a Rc<BlockCache>>,
}

/// The tables being written.
pub(crate) struct Outputs<'a, E: Env, N> {
    site: &'a Site<'a, E>,
    numbers: &'a N,
    current: Option<TableBuilder<E>>,
    done: Vec<TableMeta>,
    /// Numbers of all files created.
    created: Vec<u64>,
}

impl<E: Env, N> fmt::Debug for Outputs<'_, E, N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Outputs").field("done", &self.done).finish_non_exhaustive()
    }
}

impl<'a, E: Env, N: AsyncFn() -> Result<u64>> Outputs<'a, E, N> {
    /// `numbers` gives file numbers that are reserved and were never used.
    pub(crate) fn new(site: &'a Site<'a, E>, numbers: &'a N) -> Self {
        Self { site, numbers, current: None, done: Vec::new(), created: Vec::new() }
    }

    /// Bytes of the table being written, estimated; 0 between tables.
    pub(crate) fn current_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, TableBuilder::estimated_bytes)
    }

    /// Ends the table being written, if there is one: the next entry begins another.
    ///
    /// # Errors
    /// Writing or syncing it. Call [`Outputs::abandon`].
    pub(crate) async fn cut(&mut self) -> Result<()> {
        if let Some(builder) = self.current.take() {
            self.done.push(builder.finish().await?);
        }
        Ok(())
    }

    /// Appends `entry`, whose key is above all before it.
    ///
    /// # Errors
    /// Creating or writing a table. Call [`Outputs::abandon`].
    pub(crate) async fn add(&mut self, entry: &Entry<'_>) -> Result<()> {
        if self.current.as_ref().is_some_and(TableBuilder::is_full) {
            self.cut().await?;
        }
        if self.current.is_none() {
            let number = (self.numbers)().await?;
            let Site { env, dir, identity, options, warm } = *self.site;
            let options = options.clone();
            let builder =
                TableBuilder::create(env, dir, identity, number, options, Lane::Cold).await?;
            self.created.push(number);
            let builder = self.current.insert(builder);
            if let Some(cache) = warm {
                builder.warm(cache);
            }
        }
        let Some(builder) = &mut self.current else { unreachable!("set above") };
        if entry.value.len() >= PIECE_BYTES {
            builder.add_large(entry).await?;
        } else {
            builder.add(entry);
        }
        if builder.wants_write() {
            builder.write_pending().await?;
        }
        Ok(())
    }

    /// Ends the last table and makes the names of all durable.
    ///
    /// # Errors
    /// Writing or syncing. Call [`Outputs::abandon`].
    pub(crate) async fn finish(&mut self) -> Result<Vec<TableMeta>> {
        self.cut().await?;
        assert!(
            self.done.windows(2).all(|pair| pair[0].largest < pair[1].smallest),
            "outputs ascend"
        );
        if !self.done.is_empty() {
            let Site { env, dir, .. } = *self.site;
            env.sync_dir(dir).await.map_err(|error| Error::io("sync directory", dir, &error))?;
        }
        Ok(self.done.clone())
    }

    /// Removes everything written. A file that cannot be removed is an orphan, which the next start removes.
    pub(crate) async fn abandon(mut self) {
        if let Some(builder) = self.current.take() {
            // Its file is among those below.
            let _ = builder.abandon().await;
        }
        for number in self.created {
            let path = table::path(self.site.dir, number);
            match self.site.env.remove(&path).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "an abandoned table could not be removed");
                }
                _ => {}
            }
        }
    }
}
