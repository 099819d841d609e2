//! Writes one table, from entries in key order.
//!
//! `add` is a plain call; `write_pending` is the I/O, due when `wants_write` says so.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::block::{Block, BlockBuilder};
use super::filter::{self, FilterBuilder};
use super::footer::{FOOTER_BYTES, FORMAT, Footer};
use super::index::{Index, separator};
use super::meta::{Meta, MetaBuf, Properties};
use super::stored::{Packer, Seed, TRAILER_BYTES, plain, trailer};
use super::writer::Writer;
use super::{META_ALIGN, PIECE_BYTES, path};
use crate::cache::BlockCache;
use crate::env::{Env, Lane};
use crate::error::Result;
use crate::key::{Entry, Identity, Kind, hash};
use crate::limits::{BACKGROUND_SLICE_US, KEY_BYTES_MAX, TABLE_META_BYTES_MAX};
use crate::manifest::edit::TableMeta;
use crate::options::TableOptions;
use crate::sketch::Sketch;

/// Meta bytes left free for what comes after the last check: smallest and largest key, the last blocks'
/// separators, the sketch, and the archive's own framing.
const META_RESERVE_BYTES: usize = 5 * KEY_BYTES_MAX + 8192;

const _: () = assert!(META_RESERVE_BYTES < TABLE_META_BYTES_MAX);

/// A table being written.
///
/// # Invariants
/// - Keys ascend strictly, over all blocks.
/// - The index lacks exactly the block that ended last (`ended`), until the key after it is known, and the one
///   being built.
pub struct TableBuilder<E: Env> {
    /// Where blocks go as they are made, if anywhere.
    cache: Option<Rc<BlockCache>>,
    env: E,
    identity: Identity,
    number: u64,
    options: TableOptions,
    seed: Seed,
    writer: Writer<E>,
    block: BlockBuilder,
    packer: Packer,
    ended: Option<Ended>,
    index: Index,
    filter: FilterBuilder,
    properties: Properties,
    sketch: Sketch,
    /// Memory for separators.
    scratch: Vec<u8>,
}

/// A block that was handed to the writer.
struct Ended {
    end: u64,
    raw_len: usize,
}

impl<E: Env> std::fmt::Debug for TableBuilder<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableBuilder")
            .field("path", &self.writer.path())
            .field("entries", &self.properties.entries)
            .finish_non_exhaustive()
    }
}

impl<E: Env> TableBuilder<E> {
    /// Creates the file of table `number` in `dir`.
    ///
    /// # Errors
    /// `Io`; also if the file exists: numbers are never used twice.
    pub async fn create(
        env: &E,
        dir: &Path,
        identity: Identity,
        number: u64,
        options: TableOptions,
        lane: Lane,
    ) -> Result<Self> {
        let writer = Writer::create(env, path(dir, number), lane).await?;
        Ok(Self {
            env: env.clone(),
            identity,
            number,
            seed: Seed::new(&identity, number),
            writer,
            block: BlockBuilder::default(),
            packer: Packer::default(),
            ended: None,
            index: Index::default(),
            filter: FilterBuilder::new(
                options.filter_bits_per_key,
                filter::seed(&identity, number),
            ),
            properties: Properties { seq_min: u64::MAX, ..Properties::default() },
            sketch: Sketch::default(),
            scratch: Vec::new(),
            cache: None,
            options,
        })
    }

    /// Puts each block into `cache` as it is made: what was just written is read soon, and is read from memory then.
    pub(crate) fn warm(&mut self, cache: &Rc<BlockCache>) {
        self.cache = Some(Rc::clone(cache));
    }

    /// Appends an entry; its key is above all before it. Copies the value: for one of several megabytes use
    /// [`TableBuilder::add_large`].
    pub fn add(&mut self, entry: &Entry<'_>) {
        self.begin(entry);
        self.block.add(entry);
        self.count(entry);
    }

    /// Appends an entry in a block of its own, its value slice by slice, writing on the way: the core is not held,
    /// and no second copy of the value is in memory.
    ///
    /// # Errors
    /// `Io`: [`TableBuilder::abandon`] is all that is left.
    pub async fn add_large(&mut self, entry: &Entry<'_>) -> Result<()> {
        self.end_block();
        self.begin(entry);
        self.block.add_head(entry);
        self.count(entry);
        let start = self.writer.position();
        let mut crc = self.seed.hasher(start);
        let (head, restarts) = self.block.finish_around_value();
        for part in [head].into_iter().chain(entry.value.chunks(PIECE_BYTES)).chain([restarts]) {
            crc.update(part);
            self.writer.put(part);
            if self.writer.is_due() {
                self.writer.write_pending().await?;
                // A write may complete at once, on a simulated disk for one.
                self.env.pause().await;
            }
        }
        let raw_len = head.len() + entry.value.len() + restarts.len();
        self.writer.put(&trailer(crc, plain()));
        self.block.clear();
        self.ended = Some(Ended { end: self.writer.position(), raw_len });
        Ok(())
    }

    /// Ends the block if `entry` does not fit it, and enters the block before into the index.
    fn begin(&mut self, entry: &Entry<'_>) {
        assert!(!self.is_full(), "the caller cuts its output before");
        assert!(self.properties.entries == 0 || entry.key > self.block.last_key());
        if !self.block.is_empty() && self.block.bytes_with(entry) > self.options.block_bytes {
            self.end_block();
        }
        if let Some(ended) = self.ended.take() {
            separator(self.block.last_key(), entry.key, &mut self.scratch);
            self.index.push(&self.scratch, ended.end, ended.raw_len);
        }
    }

    fn count(&mut self, entry: &Entry<'_>) {
        let hash = hash(entry.key);
        self.filter.add(hash);
        self.sketch.add(hash);
        let properties = &mut self.properties;
        if properties.entries == 0 {
            properties.smallest.extend_from_slice(entry.key);
        }
        properties.entries += 1;
        properties.tombstones += u64::from(entry.kind == Kind::Delete);
        properties.expiring.add(entry);
        properties.raw_bytes += (entry.key.len() + entry.value.len()) as u64;
        properties.seq_min = properties.seq_min.min(entry.seq.0);
        properties.seq_max = properties.seq_max.max(entry.seq.0);
    }

    /// Hands the block being built, if any, to the writer.
    fn end_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        assert!(self.ended.is_none(), "the block before is in the index");
        let body = self.block.finish();
        let raw_len = body.len();
        if let Some(cache) = &self.cache
            && let Ok(block) = Block::new(body.to_vec())
        {
            cache.keep_made(self.number, self.writer.position(), block);
        }
        let (payload, kind) = self.packer.pack(body, self.options.compression);
        let mut crc = self.seed.hasher(self.writer.position());
        crc.update(payload);
        self.writer.put(payload);
        self.writer.put(&trailer(crc, kind));
        self.block.clear();
        self.ended = Some(Ended { end: self.writer.position(), raw_len });
    }

    /// Whether enough bytes wait for [`TableBuilder::write_pending`] to be called.
    pub fn wants_write(&self) -> bool {
        self.writer.is_due()
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// `Io`: [`TableBuilder::abandon`] is all that is left.
    pub async fn write_pending(&mut self) -> Result<()> {
        self.writer.write_pending().await
    }

    /// Whether index and filter are as large as one table's may be: the output must be cut here.
    pub fn is_full(&self) -> bool {
        self.index.bytes() + self.filter.bytes() + META_RESERVE_BYTES >= TABLE_META_BYTES_MAX
    }

    /// Length of the file if it were finished now, in bytes; the block being built counts uncompressed.
    pub fn estimated_bytes(&self) -> u64 {
        let unwritten = self.block.bytes() + self.index.bytes() + self.filter.bytes();
        self.writer.position() + (unwritten + TRAILER_BYTES + FOOTER_BYTES) as u64
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.properties.entries
    }

    /// The key added last; empty before the first.
    pub fn last_key(&self) -> &[u8] {
        self.block.last_key()
    }

    /// Writes the rest, syncs and closes the file. The directory is not synced. There must be an entry.
    ///
    /// # Errors
    /// `Io`; the file is then removed as far as the disk allows.
    pub async fn finish(mut self) -> Result<TableMeta> {
        match self.write_end().await {
            Ok(meta) => {
                self.writer.close().await?;
                Ok(meta)
            }
            Err(error) => {
                // The first error tells more than one of the removal; an orphan goes at the next start.
                let _ = self.writer.discard().await;
                Err(error)
            }
        }
    }

    /// Closes and removes the unfinished file.
    ///
    /// # Errors
    /// `Io` of the removal: the file then stays until the next start removes it.
    pub async fn abandon(self) -> Result<()> {
        self.writer.discard().await
    }

    async fn write_end(&mut self) -> Result<TableMeta> {
        assert!(self.properties.entries > 0, "an empty table is abandoned, not finished");
        self.end_block();
        if let Some(ended) = self.ended.take() {
            self.index.push(self.block.last_key(), ended.end, ended.raw_len);
        }
        self.properties.largest.extend_from_slice(self.block.last_key());
        let filter = std::mem::replace(&mut self.filter, FilterBuilder::new(0, 0));
        let meta = Meta {
            filter: filter.finish(&self.env).await,
            index: std::mem::take(&mut self.index),
            properties: std::mem::take(&mut self.properties),
            sketch: self.sketch.encode(),
        };
        let region = meta.encode();
        assert!(region.len() <= TABLE_META_BYTES_MAX, "is_full keeps a reserve");
        self.writer.pad(META_ALIGN);
        let meta_offset = self.writer.position();
        let meta_crc = self.write_region(&region, meta_offset).await?;
        let footer = Footer {
            format: FORMAT,
            identity: self.identity,
            number: self.number,
            meta_offset,
            meta_len: u32::try_from(region.len()).expect("below TABLE_META_BYTES_MAX"),
            meta_crc,
        };
        self.writer.put(&footer.encode());
        let (bytes, crc) = self.writer.sync().await?;
        Ok(meta.properties.table_meta(self.number, bytes, crc))
    }

    /// Writes the meta region in pieces; answers its CRC.
    async fn write_region(&mut self, region: &MetaBuf, offset: u64) -> Result<u32> {
        let mut crc = self.seed.hasher(offset);
        let mut slice_start = self.env.now();
        for piece in region.chunks(PIECE_BYTES) {
            crc.update(piece);
            self.writer.put(piece);
            if self.writer.is_due() {
                self.writer.write_pending().await?;
            }
            if self.env.now().saturating_sub(slice_start)
                > Duration::from_micros(BACKGROUND_SLICE_US)
            {
                self.env.pause().await;
                slice_start = self.env.now();
            }
        }
        Ok(crc.finalize())
    }
}
