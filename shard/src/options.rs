//! What can be set for one shard. Each field: unit, default, and what a larger value costs.

/// When a write is acknowledged, and what survives (the table of the README).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// After its WAL frame is on disk.
    #[default]
    Always,
    /// After the kernel has it; synced once a second.
    EverySecond,
    /// After the kernel has it; synced when the kernel likes.
    Never,
}

/// How tables are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompactionStyle {
    #[default]
    /// Sorted levels, each a ratio larger than the one above: fewest runs to read, most rewriting.
    Leveled,
    /// Runs of similar size are merged together: least rewriting, more runs to read and more space.
    SizeTiered,
}

/// When a level is too full, and when writes slow down for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionThresholds {
    /// Tables in L0 that start a compaction. Default 4. Larger: fewer, bigger merges, slower reads.
    pub l0_compact_tables: usize,
    /// Tables in L0 from which writes are slowed in proportion. Default 12.
    pub l0_slow_tables: usize,
    /// Tables in L0 at which writes wait. Default 24.
    pub l0_stop_tables: usize,
    /// Target of L1, in bytes. Default 64 MiB. Larger: less write amplification above, longer L0 merges.
    pub level_base_bytes: u64,
    /// Each level's target over the one above. Default 10. Larger: fewer levels, more bytes per merge.
    pub level_ratio: u64,
    /// Size-tiered: tables of similar size that are merged together. Default 4.
    pub tier_width: usize,
}

impl Default for CompactionThresholds {
    fn default() -> Self {
        Self {
            l0_compact_tables: 4,
            l0_slow_tables: 12,
            l0_stop_tables: 24,
            level_base_bytes: 64 << 20,
            level_ratio: 10,
            tier_width: 4,
        }
    }
}

/// How a table is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// Target of a data block before compression, in bytes; 1 KiB to 64 KiB, default 4 KiB.
    /// Larger: smaller index, better compression, more bytes read per point read.
    pub block_bytes: usize,
    /// Snappy, per block, where it saves an eighth or more. Default on.
    pub compression: bool,
    /// Filter memory per key, in bits; 0 = no filter. Default 10 (about 1 % false positives).
    pub filter_bits_per_key: usize,
    /// An output is cut at this size, in bytes. Default 16 MiB. Larger: fewer files, longer compactions.
    pub table_bytes: u64,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            block_bytes: 4 << 10,
            compression: true,
            filter_bits_per_key: 10,
            table_bytes: 16 << 20,
        }
    }
}

/// Everything a shard can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// When a write is acknowledged. Default `Always`.
    pub sync: SyncPolicy,
    /// Unflushed bytes (keys, values and their overhead) at which the memtable is sealed. Default 32 MiB a shard.
    /// Larger: less write amplification, longer recovery, more memory.
    pub memtable_bytes: usize,
    /// Sealed memtables that may wait for their flush before writes wait. Default 2.
    pub sealed_memtables_max: usize,
    /// Memory for data blocks, in bytes. Default 32 MiB a shard.
    pub block_cache_bytes: usize,
    /// Memory for the indexes and filters of open tables, in bytes. What they need beyond it is taken from the block cache's.
    /// Default 8 MiB a shard: enough for some 6 GB in blocks of 4 KiB, or 6 million keys, whichever is less.
    pub table_meta_bytes: usize,
    /// Size of one WAL segment, in bytes; a frame that needs more gets a segment of its own. Default 16 MiB.
    pub wal_segment_bytes: u64,
    /// Live WAL bytes at which the memtable is sealed even if it is not full (small batches are padded to 4 KiB).
    /// Default 256 MiB. Larger: longer recovery.
    pub wal_bytes_max: u64,
    /// Longest value, in bytes. Default 64 MiB: it must fit a WAL frame and a memtable.
    pub value_bytes_max: usize,
    /// Other shards whose files lie on the same file system. Default 0. Larger: more disk space is kept free for all of them.
    pub shards_beside: u32,
    /// Block reads in flight. Default 128.
    pub reads_in_flight_max: usize,
    /// Reads every new table through, past the cache, before the manifest names it and its inputs are given up: what did
    /// not reach the disk as it was written is found while the data is still elsewhere. Default off; on, all that a flush or
    /// a compaction writes is read once more.
    pub verify_tables: bool,
    /// How tables are laid out.
    pub table: TableOptions,
    /// How they are merged. Default leveled.
    pub style: CompactionStyle,
    /// When they are merged, and when writes wait for it.
    pub thresholds: CompactionThresholds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::default(),
            memtable_bytes: 32 << 20,
            sealed_memtables_max: 2,
            block_cache_bytes: 32 << 20,
            table_meta_bytes: 8 << 20,
            wal_segment_bytes: 16 << 20,
            wal_bytes_max: 256 << 20,
            value_bytes_max: 64 << 20,
            shards_beside: 0,
            reads_in_flight_max: 128,
            verify_tables: false,
            table: TableOptions::default(),
            style: CompactionStyle::default(),
            thresholds: CompactionThresholds::default(),
        }
    }
}
