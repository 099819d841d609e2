//! What an engine can be told when it is opened.

use std::path::Path;

use shard::options::{CompactionStyle, CompactionThresholds, SyncPolicy};

use super::{Engine, Result};
use crate::config::{CacheCapacity, LsmConfig};

/// How a database is opened; what is not said is the server's default. Sizes are bytes.
///
/// ```
/// use rusty_lsm::{Options, engine::SyncPolicy};
/// # let dir = tempfile::tempdir_in(".")?;
/// # let dir = dir.path();
/// let engine = Options::new()
///     .memtable_bytes(32 << 20)
///     .memory(512 << 20)
///     .sync(SyncPolicy::EverySecond)
///     .open(dir)?;
/// engine.put(b"city", b"Bern")?;
/// engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is opened before `open`"]
pub struct Options {
    config: LsmConfig,
}

impl Options {
    /// All as in the server.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Unflushed writes, all shards together. Default 64 MiB, or what the memory allows. Larger: less is rewritten, and opening
    /// after a crash takes longer.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().memtable_bytes(16 << 20).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memtable_bytes(mut self, bytes: u64) -> Self {
        self.config.memtable_capacity = Some(bytes);
        self
    }

    /// LSM trees, each on a thread of its own, pinned to a CPU. Default: one for each CPU that the process may use. A directory
    /// keeps the number that it was made with: another one is refused.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().shards(2).open(dir.path())?;
    /// assert_eq!(engine.stats()?.shards.len(), 2);
    /// # drop(engine);
    /// assert!(rusty_lsm::Options::new().shards(3).open(dir.path()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shards(mut self, shards: u32) -> Self {
        self.config.shards = Some(shards);
        self
    }

    /// When a write is acknowledged. Default [`SyncPolicy::Always`]: when it is on disk. The others cost a write no wait for the
    /// disk, and a power cut takes what was not synced yet.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// use rusty_lsm::engine::SyncPolicy;
    /// let engine = rusty_lsm::Options::new().sync(SyncPolicy::EverySecond).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.config.sync = policy;
        self
    }

    /// The whole budget: memtables, block cache, indexes and filters. Default: a quarter of the machine's memory, half of a
    /// container's. Less than the memtables and the cache need is refused.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().shards(1).memory(256 << 20).open(dir.path())?;
    /// # drop(engine);
    /// let error = rusty_lsm::Options::new().memory(1 << 20).open(dir.path()).unwrap_err();
    /// assert!(error.to_string().contains("memory"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory(mut self, bytes: u64) -> Self {
        self.config.memory = Some(bytes);
        self
    }

    /// Cached data blocks, all shards together. Default: what the memory leaves.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().block_cache_bytes(32 << 20).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block_cache_bytes(mut self, bytes: u64) -> Self {
        self.config.block_cache_capacity = Some(CacheCapacity::Bytes(bytes));
        self
    }

    /// A data block before compression, 1 KiB to 64 KiB. Default 4 KiB. Larger: smaller indexes, better compression, more bytes
    /// read for one key.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().block_bytes(16 << 10).open(dir.path())?;
    /// # drop(engine);
    /// assert!(rusty_lsm::Options::new().block_bytes(1 << 20).open(dir.path()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block_bytes(mut self, bytes: u64) -> Self {
        self.config.block_size = bytes;
        self
    }

    /// Snappy, block by block, where it saves an eighth or more. Default on.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().compression(false).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compression(mut self, on: bool) -> Self {
        self.config.compression = on;
        self
    }

    /// Filter memory per key, in bits. Default 10, about 1 % of absent keys read from disk in vain; 0: no filters.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().filter_bits_per_key(16).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn filter_bits_per_key(mut self, bits: u64) -> Self {
        self.config.filter_bits_per_key = bits;
        self
    }

    /// Size at which a table is cut. Default 16 MiB. Larger: fewer files, longer compactions.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().table_bytes(4 << 20).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.config.table_size = bytes;
        self
    }

    /// Reads each new table through before what it replaces is given up. Default off; on, all that is flushed or compacted is
    /// read once more.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().verify_tables(true).open(dir.path())?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.flush()?; // the table was read before this returns
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify_tables(mut self, on: bool) -> Self {
        self.config.verify_tables = on;
        self
    }

    /// How tables are merged. Default leveled: least space and fewest tables to read; size-tiered: least rewriting.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// use rusty_lsm::engine::CompactionStyle;
    /// let engine = rusty_lsm::Options::new().compaction_style(CompactionStyle::SizeTiered).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compaction_style(mut self, style: CompactionStyle) -> Self {
        self.config.compaction_style = style;
        self
    }

    /// When tables are merged, and when writes slow down for it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// use rusty_lsm::engine::CompactionThresholds;
    /// let thresholds = CompactionThresholds { l0_compact_tables: 8, ..Default::default() };
    /// let engine = rusty_lsm::Options::new().compaction_thresholds(thresholds).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compaction_thresholds(mut self, thresholds: CompactionThresholds) -> Self {
        self.config.compaction_thresholds = thresholds;
        self
    }

    /// A segment of the log, one shard. Default 16 MiB. It is made in advance, so a small database is no smaller than two of
    /// these for each shard.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().wal_segment_bytes(4 << 20).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wal_segment_bytes(mut self, bytes: u64) -> Self {
        self.config.wal_segment_size = bytes;
        self
    }

    /// The log of one shard at which it flushes whatever is in memory. Default 256 MiB. Larger: opening after a crash takes
    /// longer.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().wal_bytes(64 << 20).open(dir.path())?;
    /// # engine.put(b"a", b"1")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wal_bytes(mut self, bytes: u64) -> Self {
        self.config.wal_capacity = bytes;
        self
    }

    /// Longest value. Default: what the memory allows, at most 64 MiB; more than that is refused.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().value_bytes_max(1 << 20).open(dir.path())?;
    /// assert!(engine.put(b"film", &vec![0; 2 << 20]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value_bytes_max(mut self, bytes: u64) -> Self {
        self.config.proto_max_bulk_len = Some(bytes);
        self
    }

    /// Opens or creates the database in `dir`. I/O: every table is opened and the log is replayed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Options::new().open(dir.path())?;
    /// let twice = rusty_lsm::Options::new().open(dir.path()).unwrap_err();
    /// assert!(matches!(twice, rusty_lsm::EngineError::Locked(_)), "{twice}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Locked`: another process has it open. `Start` says what is wrong with the directory, the settings or the system, and
    /// the remedy.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Engine> {
        Engine::with_config(LsmConfig { data_dir: dir.as_ref().to_owned(), ..self.config })
    }
}
