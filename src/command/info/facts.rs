//! What INFO tells, gathered from all cores: numbers and words, no text.

use serde::{Deserialize, Serialize};

use crate::error_classes::ErrorClasses;
use crate::latency::Tallies;

/// Everything INFO tells, gathered from all cores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InfoFacts {
    pub server: Server,
    pub clients: Clients,
    pub memory: Memory,
    pub persistence: Persistence,
    pub stats: Stats,
    pub cpu: Cpu,
    pub keyspace: Keyspace,
    /// By command; empty unless [`super::Sections::show_commands`].
    pub commands: Tallies,
    pub errors: ErrorClasses,
    pub lsm: Lsm,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Ours.
    pub version: String,
    pub git_sha1: String,
    pub os: String,
    pub process_id: u32,
    /// 40 hexadecimal digits, new at each start.
    pub run_id: String,
    pub tcp_port: u16,
    pub now_us: u64,
    pub uptime_s: u64,
    pub executable: String,
    pub config_file: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    pub connected: u64,
    pub max: u64,
    pub recent_max_input_bytes: u64,
    pub recent_max_output_bytes: u64,
}

/// In bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub used: u64,
    pub rss: u64,
    pub peak: u64,
    pub dataset: u64,
    /// What is large of the requests that come in and of the replies that have not left.
    pub clients: u64,
    pub allocated: u64,
    pub active: u64,
    pub resident: u64,
    pub system: u64,
    /// The budget.
    pub max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts, not modes")]
pub struct Persistence {
    pub loading: bool,
    /// Writes acknowledged and not yet in tables: what a recovery would replay.
    pub changes_since_flush: u64,
    pub flush_in_progress: bool,
    /// Seconds since 1970.
    pub last_flush_s: u64,
    pub last_flush_ok: bool,
    /// A checkpoint is being made.
    pub save_in_progress: bool,
    /// When the last one was made, or the start; seconds since 1970.
    pub last_save_s: u64,
    /// The last one was made.
    pub last_save_ok: bool,
    /// -1: there was none since the start.
    pub last_save_took_s: i64,
    /// Of the one under way; -1: there is none.
    pub current_save_s: i64,
    /// No shard is read-only: each write and sync of a log has succeeded.
    pub last_write_ok: bool,
    /// Shards with writes that are not on disk yet.
    pub syncs_pending: u64,
    pub syncs_delayed: u64,
    /// Operations that a power cut would take.
    pub unsynced_operations: u64,
    /// Memory of the writes that only the logs hold.
    pub unflushed_bytes: u64,
    pub failed_shards: u64,
    pub disk_full_shards: u64,
    /// Live segments of all logs.
    pub segments: u64,
    pub recovery: Recovery,
}

/// What the start found, all shards together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    pub tables: u64,
    pub segments: u64,
    pub operations: u64,
    pub bytes: u64,
    /// Of a torn end: never acknowledged.
    pub cut_bytes: u64,
    /// Of the slowest shard.
    pub ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub connections_received: u64,
    pub commands_processed: u64,
    pub ops_per_s: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub input_kib_per_s: f64,
    pub output_kib_per_s: f64,
    pub rejected_connections: u64,
    pub expired_keys: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub error_replies: u64,
    pub protocol_errors: u64,
    /// That somebody listens to. A name counts once for each core that has a listener.
    pub pubsub_channels: u64,
    pub pubsub_patterns: u64,
    pub pubsub_shard_channels: u64,
}

/// In seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    pub system_s: f64,
    pub user_s: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyspace {
    pub keys: u64,
    pub keys_estimated: bool,
    pub expires: u64,
    pub avg_ttl_ms: u64,
}

/// Sums over all shards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lsm {
    pub sync: String,
    pub flushdb: String,
    pub memtable_bytes: u64,
    pub memtables_sealed: u64,
    pub tables: u64,
    pub level_tables: Vec<u64>,
    pub level_bytes: Vec<u64>,
    pub cache_bytes: u64,
    pub cache_capacity_bytes: u64,
    /// Of the indexes and filters of open tables.
    pub table_memory_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub filter_useful: u64,
    pub filter_false: u64,
    pub wal_bytes: u64,
    pub wal_written_bytes: u64,
    pub wal_writes: u64,
    pub wal_operations: u64,
    pub flushed_bytes: u64,
    pub compacted_bytes: u64,
    pub compactions: u64,
    pub compaction_pending_bytes: u64,
    /// Shards in which one runs.
    pub compactions_running: u64,
    pub stalls: Stalls,
    /// In which at least one write waited.
    pub stall_us: u64,
    pub read_only_shards: u64,
    /// Shards that refuse new values for want of space.
    pub disk_full_shards: u64,
    pub read_errors: u64,
    pub watchdog_interrupts: u64,
    /// Key and value bytes of all writes.
    pub written_user_bytes: u64,
    pub reads: u64,
    /// Point reads that waited for a block.
    pub disk_reads: u64,
    pub wal_syncs: u64,
    /// In which the log's writes and syncs were waited for.
    pub wal_wait_us: u64,
    pub flushes: u64,
    pub compaction_read_bytes: u64,
}

/// By reason: times that a write was told to wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalls {
    pub commit: u64,
    pub memtable: u64,
    pub l0: u64,
    pub sync: u64,
    pub slowed: u64,
    pub erasing: u64,
}

impl Stalls {
    /// Each with the name that it has in INFO.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("stalls_commit", self.commit),
            ("stalls_memtable", self.memtable),
            ("stalls_l0", self.l0),
            ("stalls_sync", self.sync),
            ("stalls_slowed", self.slowed),
            ("stalls_erasing", self.erasing),
        ]
    }

    pub fn sum(&self) -> u64 {
        self.named().iter().map(|(_, times)| times).sum()
    }
}

/// One shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub core: u64,
    pub keys: u64,
    pub memtable_bytes: u64,
    pub tables: u64,
    pub bytes: u64,
    pub connections: u64,
    pub commands: u64,
    /// It refuses new values for want of space.
    pub disk_full: bool,
    /// Why it is read-only; empty if it is not.
    pub read_only: String,
    pub memtables_sealed: u64,
    pub level_tables: Vec<u64>,
    pub level_bytes: Vec<u64>,
    pub cache_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub table_memory_bytes: u64,
    /// Of the live segments of its log.
    pub wal_bytes: u64,
    pub compaction_running: bool,
    pub compaction_pending_bytes: u64,
    pub stalls: Stalls,
    /// In which at least one write waited.
    pub stall_us: u64,
    pub reads: u64,
    pub writes: u64,
    /// The newest operation, the newest that a power cut leaves, and the newest that is in tables.
    pub last_seq: u64,
    pub durable_seq: u64,
    pub flushed_seq: u64,
}
