//! From the cores' numbers to the texts of INFO and STATS: one source for both.

use std::time::Instant;

use crate::command::info::{self, InfoFacts};
use crate::command::stats_text::{self, StatsFacts};
use crate::facts::{CoreStats, NetStats};
use crate::gather::Show;
use crate::resp::{Protocol, writer};
use crate::server::Shared;
use crate::sys;

/// What does not change while the server runs.
#[derive(Debug, Clone)]
pub struct Static {
    pub started: Instant,
    pub kernel: String,
    pub run_id: String,
    pub port: u16,
    pub config_file: String,
    pub memory_budget_bytes: u64,
    pub system_memory_bytes: u64,
    pub sync: &'static str,
    pub flushdb: &'static str,
}

impl Shared {
    /// Appends the reply that shows `cores`.
    pub(crate) fn render(
        &self,
        cores: &[CoreStats],
        show: Show,
        protocol: Protocol,
        out: &mut Vec<u8>,
    ) {
        let text = match show {
            Show::Stats { per_shard } => {
                let shards: Vec<StatsFacts> = cores.iter().map(stats_facts).collect();
                stats_text::render(&shards, per_shard)
            }
            Show::Info(sections) => info::render(&self.info_facts(cores), sections),
        };
        writer::verbatim(out, text.as_bytes(), protocol);
    }

    fn info_facts(&self, cores: &[CoreStats]) -> InfoFacts {
        let mut net = NetStats::default();
        let mut sum = shard::stats::ShardStats::default();
        for core in cores {
            net.add(&core.net);
            sum.add(&core.shard);
        }
        let fixed = &self.telemetry;
        let usage = sys::usage();
        let server = info::Server {
            version: env!("CARGO_PKG_VERSION").into(),
            os: format!("Linux {}", fixed.kernel),
            process_id: std::process::id(),
            run_id: fixed.run_id.clone(),
            tcp_port: fixed.port,
            now_us: sys::wall_us(),
            uptime_s: fixed.started.elapsed().as_secs(),
            executable: std::env::current_exe()
                .map_or_else(|_| String::new(), |path| path.display().to_string()),
            config_file: fixed.config_file.clone(),
            ..info::Server::default()
        };
        let mut facts = InfoFacts { server, ..InfoFacts::default() };
        facts.clients.connected = net.connections;
        facts.clients.max = self.clients_max() as u64;
        facts.memory = info::Memory {
            used: usage.rss_bytes,
            rss: usage.rss_bytes,
            peak: usage.rss_peak_bytes,
            dataset: sum.memtable_bytes + sum.sealed_bytes + sum.cache_bytes,
            allocated: usage.rss_bytes,
            active: usage.rss_bytes,
            resident: usage.rss_bytes,
            system: fixed.system_memory_bytes,
            max: fixed.memory_budget_bytes,
        };
        facts.persistence = info::Persistence {
            loading: false,
            changes_since_flush: cores
                .iter()
                .map(|core| core.shard.last_seq.saturating_sub(core.shard.flushed_seq))
                .sum(),
            flush_in_progress: sum.sealed_memtables > 0,
            last_flush_ok: sum.counters.background_errors == 0,
            last_write_ok: sum.read_only.is_none(),
            ..info::Persistence::default()
        };
        let uptime_s = fixed.started.elapsed().as_secs().max(1);
        facts.stats = info::Stats {
            connections_received: net.connections_received,
            commands_processed: net.commands,
            ops_per_s: net.commands / uptime_s,
            net_input_bytes: net.input_bytes,
            net_output_bytes: net.output_bytes,
            rejected_connections: net.connections_rejected,
            keyspace_hits: sum.counters.read_hits,
            keyspace_misses: sum.counters.reads - sum.counters.read_hits.min(sum.counters.reads),
            error_replies: net.errors,
            ..info::Stats::default()
        };
        facts.cpu = info::Cpu { system_s: usage.system_s, user_s: usage.user_s };
        facts.keyspace.keys = sum.entries - sum.tombstones.min(sum.entries);
        facts.keyspace.keys_estimated = true;
        facts.lsm = self.lsm(&sum, cores);
        facts.shards = cores.iter().map(shard_facts).collect();
        facts
    }

    fn lsm(&self, sum: &shard::stats::ShardStats, cores: &[CoreStats]) -> info::Lsm {
        let counters = &sum.counters;
        let watch = self.watch.get();
        info::Lsm {
            sync: self.telemetry.sync.into(),
            flushdb: self.telemetry.flushdb.into(),
            memtable_bytes: sum.memtable_bytes + sum.sealed_bytes,
            memtables_sealed: sum.sealed_memtables,
            tables: sum.tables(),
            level_tables: sum.level_tables.to_vec(),
            level_bytes: sum.level_bytes.to_vec(),
            cache_bytes: sum.cache_bytes,
            cache_capacity_bytes: sum.cache_capacity_bytes,
            cache_hits: sum.cache_hits,
            cache_misses: sum.cache_misses,
            filter_useful: counters.filter_useful,
            filter_false: counters.filter_false,
            wal_bytes: sum.wal_live_bytes,
            wal_written_bytes: counters.wal_bytes,
            wal_writes: counters.wal_frames,
            wal_operations: counters.wal_ops,
            flushed_bytes: counters.flushed_bytes,
            compacted_bytes: counters.compaction_written_bytes,
            compactions: counters.compactions,
            stalls: stalls(counters),
            stall_us: counters.stalled_ns / 1000,
            read_only_shards: cores.iter().filter(|core| core.shard.read_only.is_some()).count()
                as u64,
            disk_full_shards: cores.iter().filter(|core| core.shard.disk_full).count() as u64,
            watchdog_interrupts: watch
                .map_or(0, |watch| watch.interrupts.load(std::sync::atomic::Ordering::Relaxed)),
            ..info::Lsm::default()
        }
    }
}

fn stalls(counters: &shard::stats::CounterValues) -> u64 {
    counters.stalls_commit
        + counters.stalls_memtable
        + counters.stalls_l0
        + counters.stalls_sync
        + counters.stalls_slowed
}

fn stats_facts(core: &CoreStats) -> StatsFacts {
    let shard = &core.shard;
    StatsFacts {
        memtable_bytes: shard.memtable_bytes + shard.sealed_bytes,
        memtables_sealed: shard.sealed_memtables,
        tables: shard.tables(),
        level_tables: shard.level_tables.to_vec(),
        table_bytes: shard.level_bytes.iter().sum(),
        cache_bytes: shard.cache_bytes,
        cache_capacity_bytes: shard.cache_capacity_bytes,
        cache_hits: shard.cache_hits,
        cache_misses: shard.cache_misses,
        wal_bytes: shard.wal_live_bytes,
        wal_writes: shard.counters.wal_frames,
        wal_operations: shard.counters.wal_ops,
        keys: shard.entries - shard.tombstones.min(shard.entries),
        keys_estimated: true,
        stalls: stalls(&shard.counters),
    }
}

fn shard_facts(core: &CoreStats) -> info::Shard {
    let shard = &core.shard;
    info::Shard {
        core: core.index as u64,
        keys: shard.entries - shard.tombstones.min(shard.entries),
        memtable_bytes: shard.memtable_bytes + shard.sealed_bytes,
        tables: shard.tables(),
        bytes: shard.level_bytes.iter().sum(),
        connections: core.net.connections,
        commands: core.net.commands + core.net.commands_from_mesh,
        disk_full: shard.disk_full,
        read_only: shard.read_only.clone().unwrap_or_default(),
    }
}
