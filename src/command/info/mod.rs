//! The text of INFO. Field names are Redis' where tools read them (monitors drop what they do not know); `# LSM` and
//! `# Shards` are ours. The facts are gathered elsewhere; here they only become text.

mod commands;
mod facts;

use std::fmt::{Display, Write as _};

use super::session::REDIS_VERSION;
pub use facts::*;

/// Which sections are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections(u16);

const NAMES: [&str; 15] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "modules",
    "commandstats",
    "errorstats",
    "latencystats",
    "cluster",
    "keyspace",
    "lsm",
    "shards",
];

impl Sections {
    /// All of them.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Those named, in any case: `all` and `everything` mean all, `default` and no name at all leave out those on single
    /// commands, as in Redis; unknown names mean none.
    pub fn named<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut asked = None;
        for name in names {
            let bits: &mut u16 = asked.get_or_insert(0);
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if is("all") || is("everything") {
                *bits |= Self::ALL.0;
            } else if is("default") {
                *bits |= Self::default().0;
            } else if let Some(index) = NAMES.iter().position(|known| is(known)) {
                *bits |= 1 << index;
            }
        }
        asked.map_or(Self::default(), Self)
    }

    /// Whether one of them is on single commands.
    pub fn show_commands(self) -> bool {
        self.has("commandstats") || self.has("latencystats")
    }

    /// Whether the section called `name` is asked for.
    pub fn has(self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|index| self.0 >> index & 1 == 1)
    }
}

impl Default for Sections {
    fn default() -> Self {
        let index = |name| NAMES.iter().position(|known| *known == name).unwrap_or_default();
        let left_out = 1 << index("commandstats") | 1 << index("latencystats");
        Self(Self::ALL.0 & !left_out)
    }
}

/// The text, sections in Redis' order, a blank line between two.
pub fn render(facts: &InfoFacts, sections: Sections) -> String {
    let mut text = Text { out: String::with_capacity(4096), sections };
    server(&mut text, facts);
    clients(&mut text, &facts.clients);
    memory(&mut text, &facts.memory);
    persistence(&mut text, facts);
    stats(&mut text, &facts.stats);
    replication(&mut text, facts);
    if text.section("cpu", "CPU") {
        text.field("used_cpu_sys", format_args!("{:.6}", facts.cpu.system_s));
        text.field("used_cpu_user", format_args!("{:.6}", facts.cpu.user_s));
        text.field("used_cpu_sys_children", "0.000000");
        text.field("used_cpu_user_children", "0.000000");
    }
    // There are none, and tools look whether it is there.
    text.section("modules", "Modules");
    commands::commandstats(&mut text, &facts.commands);
    if text.section("errorstats", "Errorstats") {
        for (word, count) in facts.errors.iter() {
            text.field(format_args!("errorstat_{word}"), format_args!("count={count}"));
        }
    }
    commands::latencystats(&mut text, &facts.commands);
    if text.section("cluster", "Cluster") {
        text.field("cluster_enabled", 0);
    }
    if text.section("keyspace", "Keyspace") && facts.keyspace.keys > 0 {
        let Keyspace { keys, expires, avg_ttl_ms, .. } = facts.keyspace;
        text.field("db0", format_args!("keys={keys},expires={expires},avg_ttl={avg_ttl_ms}"));
    }
    lsm(&mut text, facts);
    shards(&mut text, &facts.shards);
    text.out
}

struct Text {
    out: String,
    sections: Sections,
}

impl Text {
    /// Begins a section if it is asked for.
    fn section(&mut self, name: &str, title: &str) -> bool {
        if !self.sections.has(name) {
            return false;
        }
        if !self.out.is_empty() {
            self.out.push_str("\r\n");
        }
        let _ = write!(self.out, "# {title}\r\n");
        true
    }

    /// One line; a line end in a value would end it early.
    fn field(&mut self, name: impl Display, value: impl Display) {
        let _ = write!(self.out, "{name}:");
        let start = self.out.len();
        let _ = write!(self.out, "{value}");
        if self.out[start..].contains(|char: char| char.is_control()) {
            let clean = self.out[start..].replace(|char: char| char.is_control(), " ");
            self.out.replace_range(start.., &clean);
        }
        self.out.push_str("\r\n");
    }

    /// Bytes, and the same for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(format_args!("{name}_human"), human(bytes));
    }
}

fn server(text: &mut Text, facts: &InfoFacts) {
    if !text.section("server", "Server") {
        return;
    }
    let server = &facts.server;
    text.field("redis_version", REDIS_VERSION);
    text.field("redis_git_sha1", &server.git_sha1);
    text.field("redis_git_dirty", 0);
    text.field("redis_build_id", "0");
    text.field("redis_mode", "standalone");
    text.field("rusty_lsm_version", &server.version);
    text.field("os", &server.os);
    text.field("arch_bits", usize::BITS);
    text.field("multiplexing_api", "io_uring");
    text.field("process_id", server.process_id);
    text.field("process_supervised", "no");
    text.field("run_id", &server.run_id);
    text.field("tcp_port", server.tcp_port);
    text.field("server_time_usec", server.now_us);
    text.field("uptime_in_seconds", server.uptime_s);
    text.field("uptime_in_days", server.uptime_s / 86_400);
    text.field("hz", 10);
    text.field("configured_hz", 10);
    // Seconds in 24 bits, as Redis counts them.
    text.field("lru_clock", (server.now_us / 1_000_000) & 0x00ff_ffff);
    text.field("executable", &server.executable);
    text.field("config_file", &server.config_file);
    text.field("io_threads_active", 0);
}

fn clients(text: &mut Text, clients: &Clients) {
    if !text.section("clients", "Clients") {
        return;
    }
    text.field("connected_clients", clients.connected);
    text.field("cluster_connections", 0);
    text.field("maxclients", clients.max);
    text.field("client_recent_max_input_buffer", clients.recent_max_input_bytes);
    text.field("client_recent_max_output_buffer", clients.recent_max_output_bytes);
    text.field("blocked_clients", 0);
    text.field("tracking_clients", 0);
    text.field("clients_in_timeout_table", 0);
}

fn memory(text: &mut Text, memory: &Memory) {
    if !text.section("memory", "Memory") {
        return;
    }
    text.bytes("used_memory", memory.used);
    text.bytes("used_memory_rss", memory.rss);
    text.bytes("used_memory_peak", memory.peak);
    let percent = |part, whole| format!("{:.2}%", 100.0 * ratio(part, whole));
    text.field("used_memory_peak_perc", percent(memory.used, memory.peak));
    text.field("used_memory_overhead", memory.used.saturating_sub(memory.dataset));
    text.field("used_memory_startup", 0);
    text.field("used_memory_dataset", memory.dataset);
    text.field("used_memory_dataset_perc", percent(memory.dataset, memory.used));
    text.bytes("used_memory_lua", 0);
    text.bytes("used_memory_scripts", 0);
    for name in ["number_of_cached_scripts", "number_of_functions", "number_of_libraries"] {
        text.field(name, 0);
    }
    text.field("mem_clients_normal", memory.clients);
    text.field("allocator_allocated", memory.allocated);
    text.field("allocator_active", memory.active);
    text.field("allocator_resident", memory.resident);
    text.bytes("total_system_memory", memory.system);
    text.bytes("maxmemory", memory.max);
    text.field("maxmemory_policy", "noeviction");
    text.field("mem_fragmentation_ratio", format_args!("{:.2}", ratio(memory.rss, memory.used)));
    text.field("mem_fragmentation_bytes", memory.rss.saturating_sub(memory.used));
    text.field(
        "allocator_frag_ratio",
        format_args!("{:.2}", ratio(memory.active, memory.allocated)),
    );
    text.field("allocator_frag_bytes", memory.active.saturating_sub(memory.allocated));
    text.field("allocator_rss_ratio", format_args!("{:.2}", ratio(memory.resident, memory.active)));
    text.field("allocator_rss_bytes", memory.resident.saturating_sub(memory.active));
    for name in ["mem_not_counted_for_evict", "mem_replication_backlog", "mem_clients_slaves"] {
        text.field(name, 0);
    }
    text.field("mem_aof_buffer", 0);
    text.field("mem_allocator", "jemalloc");
    for name in ["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"] {
        text.field(name, 0);
    }
}

fn persistence(text: &mut Text, facts: &InfoFacts) {
    if !text.section("persistence", "Persistence") {
        return;
    }
    let persistence = &facts.persistence;
    let status = |ok| if ok { "ok" } else { "err" };
    text.field("loading", u8::from(persistence.loading));
    text.field("async_loading", 0);
    text.field("rdb_changes_since_last_save", persistence.changes_since_flush);
    text.field("rdb_bgsave_in_progress", u8::from(persistence.save_in_progress));
    text.field("rdb_last_save_time", persistence.last_save_s);
    text.field("rdb_last_bgsave_status", status(persistence.last_save_ok));
    text.field("rdb_last_bgsave_time_sec", persistence.last_save_took_s);
    text.field("rdb_current_bgsave_time_sec", persistence.current_save_s);
    text.field("flush_in_progress", u8::from(persistence.flush_in_progress));
    text.field("last_flush_time", persistence.last_flush_s);
    text.field("last_flush_status", status(persistence.last_flush_ok));
    text.field("aof_enabled", 1);
    text.field("aof_rewrite_in_progress", 0);
    text.field("aof_rewrite_scheduled", 0);
    text.field("aof_last_rewrite_time_sec", -1);
    text.field("aof_current_rewrite_time_sec", -1);
    text.field("aof_last_bgrewrite_status", "ok");
    text.field("aof_last_write_status", status(persistence.last_write_ok));
    text.field("aof_current_size", facts.lsm.wal_bytes);
    text.field("aof_pending_bio_fsync", persistence.syncs_pending);
    text.field("aof_delayed_fsync", persistence.syncs_delayed);
    text.field("wal_last_write_status", status(persistence.last_write_ok));
    let recovery = &persistence.recovery;
    for (name, value) in [
        ("wal_segments", persistence.segments),
        ("wal_unsynced_operations", persistence.unsynced_operations),
        ("unflushed_bytes", persistence.unflushed_bytes),
        ("failed_shards", persistence.failed_shards),
        ("disk_full_shards", persistence.disk_full_shards),
        ("recovery_tables", recovery.tables),
        ("recovery_segments", recovery.segments),
        ("recovery_operations", recovery.operations),
        ("recovery_bytes", recovery.bytes),
        ("recovery_cut_bytes", recovery.cut_bytes),
        ("recovery_msec", recovery.ms),
    ] {
        text.field(name, value);
    }
}

fn stats(text: &mut Text, stats: &Stats) {
    if !text.section("stats", "Stats") {
        return;
    }
    text.field("total_connections_received", stats.connections_received);
    text.field("total_commands_processed", stats.commands_processed);
    text.field("instantaneous_ops_per_sec", stats.ops_per_s);
    text.field("total_net_input_bytes", stats.net_input_bytes);
    text.field("total_net_output_bytes", stats.net_output_bytes);
    text.field("instantaneous_input_kbps", format_args!("{:.2}", stats.input_kib_per_s));
    text.field("instantaneous_output_kbps", format_args!("{:.2}", stats.output_kib_per_s));
    text.field("rejected_connections", stats.rejected_connections);
    for name in ["sync_full", "sync_partial_ok", "sync_partial_err"] {
        text.field(name, 0);
    }
    text.field("expired_keys", stats.expired_keys);
    text.field("evicted_keys", 0);
    text.field("evicted_clients", 0);
    text.field("keyspace_hits", stats.keyspace_hits);
    text.field("keyspace_misses", stats.keyspace_misses);
    text.field("pubsub_channels", stats.pubsub_channels);
    text.field("pubsub_patterns", stats.pubsub_patterns);
    text.field("pubsubshard_channels", stats.pubsub_shard_channels);
    for name in ["latest_fork_usec", "total_forks", "tracking_total_keys"] {
        text.field(name, 0);
    }
    text.field("unexpected_error_replies", 0);
    text.field("total_error_replies", stats.error_replies);
    text.field("protocol_errors", stats.protocol_errors);
}

fn replication(text: &mut Text, facts: &InfoFacts) {
    if !text.section("replication", "Replication") {
        return;
    }
    text.field("role", "master");
    text.field("connected_slaves", 0);
    text.field("master_failover_state", "no-failover");
    text.field("master_replid", &facts.server.run_id);
    text.field("master_replid2", "0".repeat(40));
    text.field("master_repl_offset", 0);
    text.field("second_repl_offset", -1);
    for name in ["active", "size", "first_byte_offset", "histlen"] {
        text.field(format_args!("repl_backlog_{name}"), 0);
    }
}

fn lsm(text: &mut Text, facts: &InfoFacts) {
    if !text.section("lsm", "LSM") {
        return;
    }
    let lsm = &facts.lsm;
    text.field("sync", &lsm.sync);
    text.field("flushdb", &lsm.flushdb);
    text.field("shards", facts.shards.len());
    text.field("keys_estimated", u8::from(facts.keyspace.keys_estimated));
    text.field("memtables_sealed", lsm.memtables_sealed);
    text.field("tables", lsm.tables);
    text.field("level_tables", list(&lsm.level_tables));
    text.field("level_bytes", list(&lsm.level_bytes));
    text.field(
        "cache_hit_ratio",
        format_args!("{:.4}", ratio(lsm.cache_hits, lsm.cache_hits + lsm.cache_misses)),
    );
    text.field(
        "wal_operations_per_write",
        format_args!("{:.2}", ratio(lsm.wal_operations, lsm.wal_writes)),
    );
    let write_stalls = lsm.stalls.sum();
    let counters = [
        ("memtable_bytes", lsm.memtable_bytes),
        ("cache_bytes", lsm.cache_bytes),
        ("cache_capacity_bytes", lsm.cache_capacity_bytes),
        ("table_memory_bytes", lsm.table_memory_bytes),
        ("cache_hits", lsm.cache_hits),
        ("cache_misses", lsm.cache_misses),
        ("filter_useful", lsm.filter_useful),
        ("filter_false", lsm.filter_false),
        ("wal_bytes", lsm.wal_bytes),
        ("wal_written_bytes", lsm.wal_written_bytes),
        ("wal_writes", lsm.wal_writes),
        ("wal_operations", lsm.wal_operations),
        ("flushed_bytes", lsm.flushed_bytes),
        ("compacted_bytes", lsm.compacted_bytes),
        ("compactions", lsm.compactions),
        ("compaction_pending_bytes", lsm.compaction_pending_bytes),
        ("compactions_running", lsm.compactions_running),
        ("write_stalls", write_stalls),
        ("write_stall_usec", lsm.stall_us),
    ];
    let more = [
        ("read_only_shards", lsm.read_only_shards),
        ("disk_full_shards", lsm.disk_full_shards),
        ("read_errors", lsm.read_errors),
        ("watchdog_interrupts", lsm.watchdog_interrupts),
    ];
    for (name, value) in counters.into_iter().chain(lsm.stalls.named()).chain(more) {
        text.field(name, value);
    }
}

fn shards(text: &mut Text, shards: &[Shard]) {
    if !text.section("shards", "Shards") {
        return;
    }
    for (index, shard) in shards.iter().enumerate() {
        let state = match (shard.read_only.is_empty(), shard.disk_full) {
            (false, _) => "read-only",
            (true, true) => "disk-full",
            (true, false) => "ok",
        };
        text.field(
            format_args!("shard{index}"),
            format_args!(
                "core={},state={state},keys={},memtable_bytes={},tables={},bytes={},connections={},commands={}",
                shard.core,
                shard.keys,
                shard.memtable_bytes,
                shard.tables,
                shard.bytes,
                shard.connections,
                shard.commands
            ),
        );
        if !shard.read_only.is_empty() {
            text.field(format_args!("shard{index}_read_only"), &shard.read_only);
        }
    }
}

/// 0 where there is nothing to compare.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Two decimals of the largest unit that fits, as Redis writes it: `1.46M`.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn human(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = *next;
    }
    format!("{value:.2}{unit}")
}

/// `[2, 1, 0]`
pub(super) fn list(numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(names: &'a [&'a str]) -> Sections {
        Sections::named(names.iter().map(|name| name.as_bytes()))
    }

    #[test]
    fn sections_are_chosen_by_name_in_any_case() {
        assert_eq!(names(&[]), Sections::default());
        assert_eq!(names(&["Default"]), Sections::default());
        assert_eq!(names(&["ALL"]), Sections::ALL);
        assert_eq!(names(&["nosuch"]), Sections(0));
        let two = names(&["Replication", "nosuch", "CPU"]);
        let text = render(&InfoFacts::default(), two);
        assert!(
            text.starts_with("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\n\r\n# CPU\r\nused_cpu_sys:0.000000\r\n"), "{text}");
        assert_eq!(text.matches("# ").count(), 2);
        assert_eq!(render(&InfoFacts::default(), names(&["nosuch"])), "");
    }

    /// The fields that redis-cli --stat, redis_exporter, RedisInsight, ioredis and HAProxy read.
    #[test]
    fn fields_that_tools_read_are_there() {
        let facts = InfoFacts {
            keyspace: Keyspace { keys: 5, ..Keyspace::default() },
            shards: vec![Shard { read_only: "EIO\r\nrole:slave".into(), ..Shard::default() }],
            ..InfoFacts::default()
        };
        let text = render(&facts, Sections::ALL);
        for name in [
            "redis_version:7.4.0",
            "redis_mode:standalone",
            "os:",
            "process_id:",
            "run_id:",
            "tcp_port:",
            "uptime_in_seconds:",
            "uptime_in_days:",
            "connected_clients:",
            "blocked_clients:",
            "maxclients:",
            "client_recent_max_input_buffer:",
            "client_recent_max_output_buffer:",
            "used_memory:",
            "used_memory_rss:",
            "used_memory_peak:",
            "used_memory_dataset:",
            "used_memory_human:0B",
            "maxmemory:",
            "maxmemory_policy:noeviction",
            "mem_fragmentation_ratio:",
            "allocator_allocated:",
            "allocator_active:",
            "allocator_resident:",
            "total_system_memory:",
            "loading:0",
            "async_loading:0",
            "rdb_changes_since_last_save:",
            "rdb_bgsave_in_progress:0",
            "rdb_last_save_time:",
            "rdb_last_bgsave_status:",
            "aof_enabled:1",
            "aof_last_write_status:",
            "aof_pending_bio_fsync:",
            "aof_delayed_fsync:",
            "total_connections_received:",
            "total_commands_processed:",
            "instantaneous_ops_per_sec:",
            "instantaneous_input_kbps:",
            "instantaneous_output_kbps:",
            "total_net_input_bytes:",
            "total_net_output_bytes:",
            "rejected_connections:",
            "expired_keys:",
            "evicted_keys:",
            "keyspace_hits:",
            "keyspace_misses:",
            "total_error_replies:",
            "pubsub_channels:",
            "sync_full:",
            "sync_partial_ok:",
            "sync_partial_err:",
            "used_cpu_sys:",
            "used_cpu_user:",
            "cluster_enabled:0",
            "role:master",
            "master_replid:",
            "second_repl_offset:-1",
            "repl_backlog_histlen:0",
            "# Modules",
            "# Errorstats",
            "lru_clock:",
            "used_memory_overhead:",
            "tracking_clients:0",
            "connected_slaves:0",
            "master_repl_offset:",
            "db0:keys=5,expires=0,avg_ttl=0",
            "keys_estimated:0",
            "shard0:core=0,state=read-only,keys=0",
        ] {
            assert!(text.contains(&format!("\r\n{name}")), "{name} is missing");
        }
        assert!(!text.contains("\nrole:slave"), "a value cannot begin a line");
        assert!(text.ends_with("\r\n"));
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1_535_272, "1.46M"),
            (25_276_502_016, "23.54G"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
