//! An open table: everything but its data in memory, verified once.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::block::Block;
use super::filter;
use super::footer::{FOOTER_BYTES, Footer};
use super::index::BlockHandle;
use super::meta::{MetaBuf, MetaCell, Parts};
use super::stored::{self, Seed};
use super::{META_ALIGN, PIECE_BYTES, path};
use crate::env::{Env, File, IoBuf, Lane, Open, align_down, align_up, read_exact_at};
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::limits::{ALIGN, BACKGROUND_SLICE_US, IO_BYTES_MAX, TABLE_META_BYTES_MAX};
use crate::manifest::edit::TableMeta;
use crate::sketch;

/// Blocks of the index verified between two looks at the clock.
const INDEX_SLICE: usize = 4096;

/// A table whose file is open. Shared by `Rc`; closed when the last version that holds it is gone.
pub struct Table<E: Env> {
    env: E,
    file: E::File,
    path: PathBuf,
    number: u64,
    meta: MetaCell,
    seed: Seed,
    filter_seed: u64,
}

impl<E: Env> std::fmt::Debug for Table<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<E: Env> Table<E> {
    /// Opens the table that the manifest calls `meta`. I/O: one read of the file's tail; a second one if the meta
    /// region is larger than guessed from the number of entries.
    ///
    /// # Errors
    /// `Io`; `Corruption` where the file is not what was written or the manifest says something else; `Foreign`
    /// for a whole table of another directory, shard, number or format.
    pub async fn open(env: &E, dir: &Path, identity: Identity, meta: &TableMeta) -> Result<Self> {
        Self::open_path(env, path(dir, meta.number), identity, meta).await
    }

    /// [`Table::open`] of a file under whatever name.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn open_path(
        env: &E,
        path: PathBuf,
        identity: Identity,
        meta: &TableMeta,
    ) -> Result<Self> {
        let file = env
            .open(&path, Open::Read, Lane::Hot)
            .await
            .map_err(|error| Error::io("open", &path, &error))?;
        let seed = Seed::new(&identity, meta.number);
        let tail = Tail { env, file: &file, path: &path, identity, seed, expected: meta };
        match tail.load().await {
            Ok(cell) => Ok(Self {
                env: env.clone(),
                file,
                path,
                number: meta.number,
                meta: cell,
                seed,
                filter_seed: filter::seed(&identity, meta.number),
            }),
            Err(error) => {
                // Read only: closing it can lose nothing, and the first error tells more.
                let _ = file.close().await;
                Err(error)
            }
        }
    }

    /// File number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn env(&self) -> &E {
        &self.env
    }

    /// Memory held, in bytes, blocks not included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.meta.memory_bytes()
    }

    /// Whether a key with this [`hash`](crate::key::hash) may be here; `false` is certain. No I/O.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.meta.get().filter.may_contain(hash, self.filter_seed)
    }

    /// The only block that may hold `key`. No I/O, no allocation.
    #[inline]
    pub fn find_block(&self, key: &[u8]) -> Option<BlockHandle> {
        self.block(self.block_index(key))
    }

    /// Number of data blocks.
    pub fn blocks(&self) -> usize {
        self.meta.get().index.len()
    }

    /// Block `index`, in key order.
    pub fn block(&self, index: usize) -> Option<BlockHandle> {
        self.meta.get().index.handle(index)
    }

    /// The key at or below which all keys of block `index` lie, and above which all of the next one.
    pub(crate) fn separator(&self, index: usize) -> Option<&[u8]> {
        self.meta.get().index.separator(index)
    }

    /// Memory of the filter's bits, in bytes; 0: there is no filter.
    pub(crate) fn filter_bytes(&self) -> usize {
        self.meta.get().filter.bytes()
    }

    /// The sketch of its keys; `None`: it is of a format that has none.
    pub(crate) fn sketch(&self) -> Option<&[u8]> {
        self.meta.get().sketch
    }

    /// The index of [`Table::find_block`]'s block; `blocks()` if `key` is above all.
    pub(super) fn block_index(&self, key: &[u8]) -> usize {
        self.meta.get().index.find(key)
    }

    /// Reads and verifies a block, past any cache. I/O: one read.
    ///
    /// # Errors
    /// `Io`, or `Corruption` with the block's offset.
    pub async fn read_block(&self, handle: BlockHandle) -> Result<Rc<Block>> {
        let (from, len) = span(&handle);
        let buf = read(&self.file, &self.path, from, len).await?;
        self.open_block(buf, from, handle).await
    }

    /// The block `handle` out of `buf`, which was read at `from` for this block alone.
    pub(super) async fn open_block(
        &self,
        buf: IoBuf,
        from: u64,
        handle: BlockHandle,
    ) -> Result<Rc<Block>> {
        let start = position(handle.offset - from);
        let range = start..start + handle.stored_len;
        let stored = buf.get(range.clone()).unwrap_or_default();
        let holds = if stored.len() <= IO_BYTES_MAX {
            stored::crc_holds(stored, self.seed.hasher(handle.offset))
        } else {
            self.large_crc_holds(stored, handle.offset).await
        };
        if !holds {
            return Err(self.damage(&handle, stored::CRC_FAILED));
        }
        let block = stored::open_read(buf, range, handle.raw_len);
        block.map(Rc::new).map_err(|what| self.damage(&handle, what))
    }

    /// The block `handle` copied out of `stored`, its bytes in a larger read.
    pub(super) fn copy_block(&self, stored: &[u8], handle: BlockHandle) -> Result<Rc<Block>> {
        if !stored::crc_holds(stored, self.seed.hasher(handle.offset)) {
            return Err(self.damage(&handle, stored::CRC_FAILED));
        }
        let block = stored::open_copy(stored, handle.raw_len);
        block.map(Rc::new).map_err(|what| self.damage(&handle, what))
    }

    /// The CRC of a block so large that checking it in one stretch would hold the core.
    async fn large_crc_holds(&self, stored: &[u8], offset: u64) -> bool {
        let Some((body, crc)) = stored.split_last_chunk::<4>() else { return false };
        let mut hasher = self.seed.hasher(offset);
        let mut pace = Pace::start(&self.env);
        for piece in body.chunks(PIECE_BYTES) {
            hasher.update(piece);
            pace.pause().await;
        }
        hasher.finalize() == u32::from_le_bytes(*crc)
    }

    fn damage(&self, handle: &BlockHandle, what: &str) -> Error {
        Error::corruption(&self.path, handle.offset, what)
    }

    /// Closes the file.
    ///
    /// # Errors
    /// `Io`.
    pub async fn close(self) -> Result<()> {
        self.file.close().await.map_err(|error| Error::io("close", &self.path, &error))
    }
}

/// The aligned offset and length of the read that a block needs.
pub(super) fn span(handle: &BlockHandle) -> (u64, usize) {
    let from = align_down(handle.offset);
    (from, position(align_up(handle.end()) - from))
}

/// A distance within one read.
pub(super) fn position(distance: u64) -> usize {
    usize::try_from(distance).expect("bounded by the length of a read")
}

/// Reads exactly `len` bytes at `from`; a file that ends before is damaged.
pub(super) async fn read<F: File>(file: &F, path: &Path, from: u64, len: usize) -> Result<IoBuf> {
    read_exact_at(file, from, len).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::corruption(path, from, "the file ends before the bytes that belong here")
        }
        _ => Error::io("read", path, &error),
    })
}

/// Pauses when a slice of background work is used up.
pub(crate) struct Pace<'a, E: Env> {
    env: &'a E,
    start: Duration,
}

impl<'a, E: Env> Pace<'a, E> {
    pub(crate) fn start(env: &'a E) -> Self {
        Self { env, start: env.now() }
    }

    pub(crate) async fn pause(&mut self) {
        if self.env.now().saturating_sub(self.start) > Duration::from_micros(BACKGROUND_SLICE_US) {
            self.env.pause().await;
            self.start = self.env.now();
        }
    }
}

/// Reading and verifying the end of a table.
struct Tail<'a, E: Env> {
    env: &'a E,
    file: &'a E::File,
    path: &'a Path,
    identity: Identity,
    seed: Seed,
    expected: &'a TableMeta,
}

impl<E: Env> Tail<'_, E> {
    fn damage(&self, offset: u64, what: &str) -> Error {
        Error::corruption(self.path, offset, what)
    }

    async fn load(&self) -> Result<MetaCell> {
        self.expected.check().map_err(|what| self.damage(0, what))?;
        let end = self.expected.bytes;
        let footer_at = end
            .checked_sub(FOOTER_BYTES as u64)
            .ok_or_else(|| self.damage(0, "the manifest gives it an impossible length"))?;
        let mut from = align_down(end.saturating_sub(self.guess()).min(footer_at));
        let mut buf = read(self.file, self.path, from, position(align_up(end) - from)).await?;
        let footer = self.footer(buf.get(position(footer_at - from)..), footer_at)?;
        if footer.meta_offset < from {
            from = align_down(footer.meta_offset);
            buf = read(self.file, self.path, from, position(align_up(end) - from)).await?;
        }
        let region = buf.get(position(footer.meta_offset - from)..position(footer_at - from));
        let region = self.verified_copy(region.unwrap_or_default(), &footer).await?;
        let cell = MetaCell::new(region, footer.format)
            .map_err(|what| self.damage(footer.meta_offset, what))?;
        self.check(cell.get(), footer.meta_offset).await?;
        Ok(cell)
    }

    /// Bytes that the meta region and footer of such a table probably need: 12 bits a key for the filter, an index
    /// entry of 40 bytes for each KiB, the sketch. Wrong only means one more read.
    fn guess(&self) -> u64 {
        let TableMeta { entries, raw_bytes, smallest, largest, .. } = self.expected;
        let keys = (smallest.len() + largest.len()) as u64;
        let bytes = (entries / 2).saturating_mul(3).saturating_add(raw_bytes / 1024 * 40);
        let sketch = entries.saturating_mul(3).min(4096);
        bytes.saturating_add(keys * 2 + 1024 + sketch).min(IO_BYTES_MAX as u64 - ALIGN as u64)
    }

    fn footer(&self, bytes: Option<&[u8]>, footer_at: u64) -> Result<Footer> {
        let bytes = bytes
            .and_then(|bytes| bytes.first_chunk())
            .ok_or_else(|| self.damage(footer_at, "the footer is missing"))?;
        let footer = Footer::decode(bytes, &self.identity, self.expected.number)
            .map_err(|why| why.into_error(self.path, footer_at))?;
        let len = footer.meta_len as usize;
        if footer.meta_offset.checked_add(len as u64) != Some(footer_at)
            || !footer.meta_offset.is_multiple_of(META_ALIGN as u64)
            || len > TABLE_META_BYTES_MAX
        {
            return Err(
                self.damage(footer_at, "the footer gives the meta region no possible place")
            );
        }
        Ok(footer)
    }

    /// The meta region in memory of its own (the read holds more than it), if its CRC holds.
    async fn verified_copy(&self, region: &[u8], footer: &Footer) -> Result<MetaBuf> {
        let mut copy = MetaBuf::with_capacity(region.len());
        let mut crc = self.seed.hasher(footer.meta_offset);
        let mut pace = Pace::start(self.env);
        for piece in region.chunks(PIECE_BYTES) {
            crc.update(piece);
            copy.extend_from_slice(piece);
            pace.pause().await;
        }
        if crc.finalize() != footer.meta_crc {
            let what = "the meta region's checksum does not match its bytes";
            return Err(self.damage(footer.meta_offset, what));
        }
        Ok(copy)
    }

    /// Everything that a later read relies on, and that this is the table that the manifest means.
    async fn check(&self, meta: &Parts<'_>, meta_offset: u64) -> Result<()> {
        let damage = |what: &str| self.damage(meta_offset, what);
        meta.filter.check().map_err(damage)?;
        let blocks = meta.index.len();
        let mut pace = Pace::start(self.env);
        for from in (0..blocks).step_by(INDEX_SLICE) {
            let to = (from + INDEX_SLICE).min(blocks);
            meta.index.check(from, to, meta_offset).map_err(damage)?;
            pace.pause().await;
        }
        meta.sketch.map_or(Ok(()), sketch::check).map_err(damage)?;
        let found = meta.properties();
        let last = blocks.checked_sub(1).ok_or_else(|| damage("a table without blocks"))?;
        if meta.index.separator(last) != Some(&found.largest) {
            return Err(damage("the index does not end with the largest key"));
        }
        let expected = self.expected;
        let agrees = found.entries == expected.entries
            && found.tombstones == expected.tombstones
            && found.expiring == expected.expiring
            && found.raw_bytes == expected.raw_bytes
            && found.smallest == expected.smallest
            && found.largest == expected.largest
            && found.seq_min == expected.seq_min
            && found.seq_max == expected.seq_max;
        if !agrees {
            return Err(damage("its properties are not the ones that the manifest gives"));
        }
        Ok(())
    }
}
