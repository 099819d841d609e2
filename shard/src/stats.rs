//! Counters of one shard: plain cells while it runs, a plain struct when somebody asks.

use std::cell::Cell;

use crate::limits::LEVELS;

/// Defines the cells and the snapshot from one list, so that no counter is forgotten in either.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters. Written by the shard, read by [`Counters::snapshot`].
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Cell<u64>,)*
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All values now.
            pub fn snapshot(&self) -> CounterValues {
                CounterValues { $($name: self.$name.get(),)* }
            }
        }

        impl CounterValues {
            /// Adds another shard's values.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Operations applied.
    writes,
    /// Key and value bytes of those operations.
    written_user_bytes,
    /// Point reads answered.
    reads,
    /// Point reads that found a value.
    read_hits,
    /// Point reads that had to wait for a block.
    disk_reads,
    /// Tables that a filter kept a point read from opening.
    filter_useful,
    /// Tables that a filter let through in vain.
    filter_false,
    /// Point reads that ended with an error of the disk, or of what it held.
    read_errors,
    /// WAL frames written, one per group commit.
    wal_frames,
    /// Operations in those frames.
    wal_ops,
    /// WAL bytes written, padding included.
    wal_bytes,
    /// WAL syncs, or frames written with O_DSYNC.
    wal_syncs,
    /// Nanoseconds spent waiting for WAL writes and syncs.
    wal_wait_ns,
    /// WAL segments made.
    wal_segments,
    /// Memtables flushed.
    flushes,
    /// Bytes of tables made by flushes.
    flushed_bytes,
    /// Compactions that read and wrote tables.
    compactions,
    /// Tables moved down a level as they were.
    trivial_moves,
    /// Table bytes read by compactions.
    compaction_read_bytes,
    /// Table bytes written by compactions.
    compaction_written_bytes,
    /// Values that had expired and that a flush or compaction dropped.
    expired_keys,
    /// Background jobs that failed and will be tried again.
    background_errors,
    /// Times that a write was told to wait because the next frame was full. A write that asks again and must go on waiting
    /// counts again, here and below.
    stalls_commit,
    /// The same for the flush of a memtable.
    stalls_memtable,
    /// The same because L0 had too many tables.
    stalls_l0,
    /// The same for a late sync.
    stalls_sync,
    /// The same because the background was behind and writes came faster than it went.
    stalls_slowed,
    /// The same for the end of an erase (FLUSHALL).
    stalls_erasing,
    /// Nanoseconds in which at least one write waited, for any of these. Kept by `stall`.
    stalled_ns,
    /// Writes refused because the disk was full.
    refused_disk_full,
}

/// Adds to a counter.
pub fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().wrapping_add(by));
}

/// What `STATS` and `INFO` show of one shard. All sizes in bytes.
#[derive(Debug, Clone, Default)]
pub struct ShardStats {
    /// Memory of the memtable that takes writes.
    pub memtable_bytes: u64,
    /// Versions in it.
    pub memtable_entries: u64,
    /// Memtables that wait for their flush, or are being flushed.
    pub sealed_memtables: u64,
    /// Memory of those.
    pub sealed_bytes: u64,
    /// Tables of each level.
    pub level_tables: [u64; LEVELS],
    /// Bytes on disk of each level.
    pub level_bytes: [u64; LEVELS],
    /// Versions in tables and memtables: an upper bound of the number of keys.
    pub entries: u64,
    /// Those of them that are tombstones.
    pub tombstones: u64,
    /// Memory of the indexes and filters of all open tables.
    pub table_memory_bytes: u64,
    /// Memory of the cached blocks.
    pub cache_bytes: u64,
    /// The most that may become.
    pub cache_capacity_bytes: u64,
    /// Blocks found in the cache.
    pub cache_hits: u64,
    /// Blocks read from disk for it.
    pub cache_misses: u64,
    /// Length of the WAL segments that recovery would read, as prewritten.
    pub wal_live_bytes: u64,
    /// How many those are.
    pub wal_live_segments: u64,
    /// The newest operation.
    pub last_seq: u64,
    /// The newest operation that a power cut leaves.
    pub durable_seq: u64,
    /// The newest operation that is in tables, with all before it.
    pub flushed_seq: u64,
    /// Why the shard takes no writes, if it does not.
    pub read_only: Option<String>,
    /// Too little space: only deletes are taken.
    pub disk_full: bool,
    /// Wall clock of the newest flush, in milliseconds since 1970; 0: none since the start.
    pub last_flush_ms: u64,
    /// The newest attempt to flush has failed; it is tried again.
    pub flush_failing: bool,
    /// At least one compaction runs.
    pub compaction_running: bool,
    /// Table bytes that a compaction is due for.
    pub compaction_pending_bytes: u64,
    /// Counted since the shard was opened.
    pub counters: CounterValues,
}

impl ShardStats {
    /// Tables over all levels.
    pub fn tables(&self) -> u64 {
        self.level_tables.iter().sum()
    }

    /// Sums what can be summed over shards; sequence numbers are left alone.
    pub fn add(&mut self, other: &Self) {
        self.memtable_bytes += other.memtable_bytes;
        self.memtable_entries += other.memtable_entries;
        self.sealed_memtables += other.sealed_memtables;
        self.sealed_bytes += other.sealed_bytes;
        for level in 0..LEVELS {
            self.level_tables[level] += other.level_tables[level];
            self.level_bytes[level] += other.level_bytes[level];
        }
        self.entries += other.entries;
        self.tombstones += other.tombstones;
        self.table_memory_bytes += other.table_memory_bytes;
        self.cache_bytes += other.cache_bytes;
        self.cache_capacity_bytes += other.cache_capacity_bytes;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.wal_live_bytes += other.wal_live_bytes;
        self.wal_live_segments += other.wal_live_segments;
        self.disk_full |= other.disk_full;
        self.last_flush_ms = self.last_flush_ms.max(other.last_flush_ms);
        self.flush_failing |= other.flush_failing;
        self.compaction_running |= other.compaction_running;
        self.compaction_pending_bytes += other.compaction_pending_bytes;
        if self.read_only.is_none() {
            self.read_only.clone_from(&other.read_only);
        }
        self.counters.add(&other.counters);
    }
}
