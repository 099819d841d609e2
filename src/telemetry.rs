//! From the cores' numbers to INFO, STATS and LATENCY HISTOGRAM: one source for all.

use shard::estimate::KeyEstimate;
use std::time::Instant;

use crate::command::info::{self, InfoFacts};
use crate::command::stats_text::{self, StatsFacts};
use crate::command::{self, CommandId};
use crate::config::sync_name;
use crate::facts::{CoreStats, NetStats};
use crate::gather::Show;
use crate::latency::Tallies;
use crate::resp::{Protocol, writer};
use crate::server::Shared;
use crate::sys;

/// What does not change while the server runs.
#[derive(Debug, Clone)]
pub struct Static {
    pub started: Instant,
    /// The same on the wall clock, in seconds since 1970.
    pub started_wall_s: u64,
    pub kernel: String,
    pub run_id: String,
    pub port: u16,
    pub config_file: String,
    pub memory_budget_bytes: u64,
    pub system_memory_bytes: u64,
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
        if let Show::Latency(asked) = show {
            command::latency::histogram(&tallies(cores), asked, protocol, out);
            return;
        }
        if let Show::LastSave = show {
            writer::integer(out, self.last_save_s().cast_signed());
            return;
        }
        if let Show::Memory = show {
            command::memory_stats(&self.info_facts(cores), protocol, out);
            return;
        }
        if let Show::Report = show {
            writer::bulk(out, self.report(cores).to_json().as_bytes());
            return;
        }
        let text = match show {
            Show::Stats { per_shard } => {
                let shards: Vec<StatsFacts> = cores.iter().map(stats_facts).collect();
                stats_text::render(&shards, per_shard)
            }
            Show::Info(sections) => info::render(&self.info_facts(cores), sections),
            Show::Latency(_) | Show::LastSave | Show::Memory | Show::Report => {
                unreachable!("no text")
            }
        };
        writer::verbatim(out, text.as_bytes(), protocol);
    }

    /// `cores` as data.
    pub(crate) fn report(&self, cores: &[CoreStats]) -> command::Report {
        command::Report::from(&self.info_facts(cores))
    }

    fn info_facts(&self, cores: &[CoreStats]) -> InfoFacts {
        let mut net = NetStats::default();
        for core in cores {
            net.add(&core.net);
        }
        let sum = sum_of(cores);
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
        facts.clients.recent_max_input_bytes = net.input_held_max;
        facts.clients.recent_max_output_bytes = net.output_held_max;
        facts.errors = net.error_classes;
        facts.clients.max = self.live.clients_max().into();
        facts.memory = info::Memory {
            used: usage.rss_bytes,
            rss: usage.rss_bytes,
            // The kernel notes the peak now and then only.
            peak: usage.rss_peak_bytes.max(usage.rss_bytes),
            dataset: sum.memtable_bytes + sum.sealed_bytes + sum.cache_bytes,
            clients: self.ledger.used_bytes(),
            allocated: usage.rss_bytes,
            active: usage.rss_bytes,
            resident: usage.rss_bytes,
            system: fixed.system_memory_bytes,
            max: fixed.memory_budget_bytes,
        };
        facts.persistence = self.persistence(&sum, cores);
        let reads = sum.counters.reads.saturating_sub(net.reads_before);
        let hits = sum.counters.read_hits.saturating_sub(net.read_hits_before);
        facts.stats = info::Stats {
            connections_received: net.connections_received,
            commands_processed: net.commands,
            ops_per_s: net.rates.commands,
            input_kib_per_s: kib(net.rates.input_bytes),
            output_kib_per_s: kib(net.rates.output_bytes),
            net_input_bytes: net.input_bytes,
            net_output_bytes: net.output_bytes,
            rejected_connections: net.connections_rejected,
            keyspace_hits: hits,
            keyspace_misses: reads.saturating_sub(hits),
            error_replies: net.errors,
            expired_keys: sum.counters.expired_keys,
            pubsub_channels: net.listened[0],
            pubsub_patterns: net.listened[1],
            pubsub_shard_channels: net.listened[2],
            ..info::Stats::default()
        };
        facts.cpu = info::Cpu { system_s: usage.system_s, user_s: usage.user_s };
        let mut keys = KeyEstimate { exact: true, ..KeyEstimate::default() };
        for core in cores {
            keys.add(&core.keys);
        }
        facts.keyspace.keys = keys.keys;
        facts.keyspace.keys_estimated = !keys.exact;
        facts.keyspace.expires = keys.expiring;
        facts.commands = tallies(cores);
        facts.lsm = self.lsm(&sum, cores);
        facts.shards = cores.iter().map(shard_facts).collect();
        facts
    }

    /// What INFO tells before the shards are open, to one of `clients`.
    pub(crate) fn loading_facts(&self, clients: u64) -> InfoFacts {
        let mut facts = self.info_facts(&[]);
        facts.clients.connected = clients;
        facts
    }

    /// As in Redis, the start counts as one.
    fn last_save_s(&self) -> u64 {
        self.saver.saves().last_save_s.max(self.telemetry.started_wall_s)
    }

    /// As above.
    fn last_flush_s(&self, sum: &shard::stats::ShardStats) -> u64 {
        (sum.last_flush_ms / 1000).max(self.telemetry.started_wall_s)
    }

    fn persistence(
        &self,
        sum: &shard::stats::ShardStats,
        cores: &[CoreStats],
    ) -> info::Persistence {
        let count = |is: fn(&shard::stats::ShardStats) -> bool| {
            cores.iter().filter(|core| is(&core.shard)).count() as u64
        };
        let total = |of: fn(&shard::stats::ShardStats) -> u64| -> u64 {
            cores.iter().map(|core| of(&core.shard)).sum()
        };
        let saves = self.saver.saves();
        info::Persistence {
            loading: self.is_loading(),
            changes_since_flush: total(|shard| shard.last_seq.saturating_sub(shard.flushed_seq)),
            flush_in_progress: sum.sealed_memtables > 0,
            last_flush_s: self.last_flush_s(sum),
            last_flush_ok: !sum.flush_failing,
            save_in_progress: saves.in_progress,
            last_save_s: self.last_save_s(),
            last_save_ok: saves.last_ok,
            last_save_took_s: saves.last_took_s,
            current_save_s: saves.current_s,
            last_write_ok: sum.read_only.is_none(),
            syncs_pending: count(|shard| shard.durable_seq < shard.last_seq),
            syncs_delayed: sum.counters.stalls_sync,
            unsynced_operations: total(|shard| shard.last_seq.saturating_sub(shard.durable_seq)),
            unflushed_bytes: sum.memtable_bytes + sum.sealed_bytes,
            failed_shards: count(|shard| shard.read_only.is_some()),
            disk_full_shards: count(|shard| shard.disk_full),
            segments: sum.wal_live_segments,
            recovery: self.recovery.get().copied().unwrap_or_default(),
        }
    }

    fn lsm(&self, sum: &shard::stats::ShardStats, cores: &[CoreStats]) -> info::Lsm {
        let counters = &sum.counters;
        let watch = self.watch.get();
        info::Lsm {
            sync: sync_name(self.live.sync()).into(),
            flushdb: self.live.flushdb().name().into(),
            memtable_bytes: sum.memtable_bytes + sum.sealed_bytes,
            memtables_sealed: sum.sealed_memtables,
            tables: sum.tables(),
            level_tables: sum.level_tables.to_vec(),
            level_bytes: sum.level_bytes.to_vec(),
            cache_bytes: sum.cache_bytes,
            cache_capacity_bytes: sum.cache_capacity_bytes,
            table_memory_bytes: sum.table_memory_bytes,
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
            compaction_pending_bytes: sum.compaction_pending_bytes,
            compactions_running: cores.iter().filter(|core| core.shard.compaction_running).count()
                as u64,
            read_errors: counters.read_errors,
            written_user_bytes: counters.written_user_bytes,
            reads: counters.reads,
            disk_reads: counters.disk_reads,
            wal_syncs: counters.wal_syncs,
            wal_wait_us: counters.wal_wait_ns / 1000,
            flushes: counters.flushes,
            compaction_read_bytes: counters.compaction_read_bytes,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn stalls(counters: &shard::stats::CounterValues) -> info::Stalls {
    info::Stalls {
        commit: counters.stalls_commit,
        memtable: counters.stalls_memtable,
        l0: counters.stalls_l0,
        sync: counters.stalls_sync,
        slowed: counters.stalls_slowed,
        erasing: counters.stalls_erasing,
    }
}

/// All shards together.
fn sum_of(cores: &[CoreStats]) -> shard::stats::ShardStats {
    let mut sum = shard::stats::ShardStats::default();
    for core in cores {
        sum.add(&core.shard);
    }
    sum
}

/// What all cores have counted by command.
fn tallies(cores: &[CoreStats]) -> Tallies {
    let mut sum = Tallies::default();
    cores.iter().filter_map(|core| core.tallies.as_ref()).for_each(|tallies| sum.add(tallies));
    sum
}

fn stats_facts(core: &CoreStats) -> StatsFacts {
    let shard = &core.shard;
    let latencies = |id| core.tallies.as_ref().and_then(|tallies| tallies.of(id).latencies.clone());
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
        keys: core.keys.keys,
        keys_estimated: !core.keys.exact,
        stalls: stalls(&shard.counters).sum(),
        get: latencies(CommandId::Get),
        set: latencies(CommandId::Set),
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
        memtables_sealed: shard.sealed_memtables,
        level_tables: shard.level_tables.to_vec(),
        level_bytes: shard.level_bytes.to_vec(),
        cache_bytes: shard.cache_bytes,
        cache_hits: shard.cache_hits,
        cache_misses: shard.cache_misses,
        table_memory_bytes: shard.table_memory_bytes,
        wal_bytes: shard.wal_live_bytes,
        compaction_running: shard.compaction_running,
        compaction_pending_bytes: shard.compaction_pending_bytes,
        stalls: stalls(&shard.counters),
        stall_us: shard.counters.stalled_ns / 1000,
        reads: shard.counters.reads,
        writes: shard.counters.writes,
        last_seq: shard.last_seq,
        durable_seq: shard.durable_seq,
        flushed_seq: shard.flushed_seq,
    }
}
