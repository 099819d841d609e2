//! `/metrics`: the report of all cores for Prometheus, as OpenMetrics text. One source for this, `/stats_all` and INFO.
//!
//! A name's unit is a base unit. What is of one shard has its label, and is not given in sum as well: Prometheus sums.

use std::fmt;

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::answer::{Answer, Failure, answer};
use super::reports;
use super::server::Site;
use crate::command::latency::bounds_us;
use crate::command::{CommandReport, Report, info};

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn respond(site: &Site) -> Result<Answer, Failure> {
    let text = text(reports::report(site).await?);
    Ok(answer(StatusCode::OK, KIND, text))
}

fn text(report: Report) -> String {
    let mut registry = Registry::with_prefix("rusty_lsm");
    registry.register_collector(Box::new(Collected(report)));
    let mut text = String::new();
    // A String takes every write.
    let _ = encode(&mut text, &registry);
    text
}

/// One report, as metrics.
#[derive(Debug)]
struct Collected(Report);

/// Labels of a metric.
type Labels = Vec<(&'static str, String)>;

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    /// `_total` is added to the name.
    fn counters<T: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, T)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            if labels.is_empty() {
                metric.encode_counter::<Labels, _, u64>(&value, None)?;
            } else {
                metric.encode_family(&labels)?.encode_counter::<Labels, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauges(name, help, [(Labels::new(), float(value))])
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Labels::new(), value)])
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(micros: u64) -> f64 {
    float(micros) / 1e6
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

fn label(name: &'static str, value: impl fmt::Display) -> Labels {
    vec![(name, value.to_string())]
}

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        let report = &self.0;
        process(&mut out, report)?;
        commands(&mut out, report)?;
        shards(&mut out, report)?;
        levels(&mut out, report)?;
        disk(&mut out, report)
    }
}

fn process(out: &mut Out<'_>, report: &Report) -> fmt::Result {
    let server = &report.server;
    let about = vec![("version", server.version.clone()), ("run_id", server.run_id.clone())];
    out.gauges("build_info", "What runs; always 1.", [(about, 1.0)])?;
    out.gauge("uptime_seconds", "Seconds since the start.", server.uptime_s)?;
    let clients = &report.clients;
    out.gauge("connected_clients", "Clients of the Redis protocol.", clients.connected)?;
    out.gauge("maxclients", "Clients that may be connected.", clients.max)?;
    let stats = &report.stats;
    out.counter("connections_received", "Clients that came.", stats.connections_received)?;
    out.counter("connections_rejected", "Clients that were refused.", stats.rejected_connections)?;
    out.counter("commands_processed", "Commands, all of them.", stats.commands_processed)?;
    out.counter("net_input_bytes", "Bytes from clients.", stats.net_input_bytes)?;
    out.counter("net_output_bytes", "Bytes to clients.", stats.net_output_bytes)?;
    out.counter("keyspace_hits", "Reads of keys that were there.", stats.keyspace_hits)?;
    out.counter("keyspace_misses", "Reads of keys that were not.", stats.keyspace_misses)?;
    out.counter("expired_keys", "Keys whose time was over.", stats.expired_keys)?;
    out.gauge("keys", "Keys, about; INFO says how exact that is.", report.keyspace.keys)?;
    let memory = &report.memory;
    out.gauge("memory_used_bytes", "Resident memory.", memory.used)?;
    out.gauge("memory_budget_bytes", "The budget of all of it.", memory.max)?;
    out.gauge("memory_connections_bytes", "What requests and replies hold.", memory.clients)?;
    let cpu = &report.cpu;
    let modes = [(label("mode", "user"), cpu.user_s), (label("mode", "system"), cpu.system_s)];
    out.counters("cpu_seconds", "Processor time of the process.", modes)?;
    let errors = report.errors.iter().map(|(word, count)| (label("error", word), *count));
    out.counters("error_replies", "Error replies, by their first word.", errors)
}

fn commands(out: &mut Out<'_>, report: &Report) -> fmt::Result {
    let each = |of: fn(&CommandReport) -> u64| {
        report.commands.iter().map(move |(name, command)| (label("cmd", name), of(command)))
    };
    out.counters("commands", "Commands, by name.", each(|command| command.calls))?;
    out.counters("commands_failed", "Those that were answered by an error.", each(|it| it.failed))?;
    out.counters("commands_rejected", "Those that were not run.", each(|it| it.rejected))?;
    let bounds = bounds_us();
    let help = "From a request's last byte to its reply.";
    let name = "command_duration_seconds";
    let mut metric = out.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (name, command) in &report.commands {
        let Some((_, all)) = command.upto_us.last() else { continue };
        let buckets = buckets(&bounds, &command.upto_us);
        let labels = label("cmd", name);
        let mut one = metric.encode_family(&labels)?;
        one.encode_histogram::<Labels>(seconds(command.total_us), *all, &buckets, None)?;
    }
    Ok(())
}

/// The calls in each bucket of `bounds` and in the one without a bound, from those that took at most so long.
fn buckets(bounds_us: &[u64], upto_us: &[(u64, u64)]) -> Vec<(f64, u64)> {
    let mut before = 0;
    let mut buckets = Vec::new();
    for bound in bounds_us {
        let upto = upto_us.iter().rev().find(|(us, _)| us <= bound).map_or(0, |(_, calls)| *calls);
        buckets.push((seconds(*bound), upto - before));
        before = upto;
    }
    let all = upto_us.last().map_or(0, |(_, calls)| *calls);
    buckets.push((f64::INFINITY, all - before));
    buckets
}

fn shards(out: &mut Out<'_>, report: &Report) -> fmt::Result {
    let each = |of: fn(&info::Shard) -> u64| {
        report.shards.iter().enumerate().map(move |(shard, it)| (label("shard", shard), of(it)))
    };
    let gauges = |of: fn(&info::Shard) -> u64| each(of).map(|(labels, it)| (labels, float(it)));
    out.gauges("shard_keys", "Entries that are no deletions.", gauges(|it| it.keys))?;
    out.gauges(
        "memtable_bytes",
        "Memtables, those that wait for their flush included.",
        gauges(|it| it.memtable_bytes),
    )?;
    out.gauges(
        "memtables_sealed",
        "Memtables that wait for their flush.",
        gauges(|it| it.memtables_sealed),
    )?;
    out.gauges("block_cache_bytes", "Cached blocks.", gauges(|it| it.cache_bytes))?;
    out.counters("block_cache_hits", "Blocks that were in the cache.", each(|it| it.cache_hits))?;
    out.counters("block_cache_misses", "Blocks that were not.", each(|it| it.cache_misses))?;
    out.gauges(
        "table_memory_bytes",
        "Indexes and filters of open tables.",
        gauges(|it| it.table_memory_bytes),
    )?;
    out.gauges("wal_bytes", "Live segments of the log.", gauges(|it| it.wal_bytes))?;
    out.gauges(
        "compaction_running",
        "1: one is under way.",
        gauges(|it| u64::from(it.compaction_running)),
    )?;
    out.gauges(
        "compaction_pending_bytes",
        "Bytes that are to be merged.",
        gauges(|it| it.compaction_pending_bytes),
    )?;
    out.gauges(
        "shard_read_only",
        "1: the disk failed, and it takes no writes.",
        gauges(|it| u64::from(!it.read_only.is_empty())),
    )?;
    out.gauges(
        "shard_disk_full",
        "1: it takes no new values.",
        gauges(|it| u64::from(it.disk_full)),
    )?;
    out.counters("shard_commands", "Commands that it ran.", each(|it| it.commands))?;
    out.counters("shard_reads", "Point reads.", each(|it| it.reads))?;
    out.counters("shard_writes", "Operations that were written.", each(|it| it.writes))?;
    out.gauges(
        "unflushed_operations",
        "Written, and only in the log.",
        gauges(|it| it.last_seq.saturating_sub(it.flushed_seq)),
    )?;
    out.gauges(
        "unsynced_operations",
        "Written, and not on disk yet.",
        gauges(|it| it.last_seq.saturating_sub(it.durable_seq)),
    )?;
    let stalled = each(|it| it.stall_us).map(|(labels, us)| (labels, seconds(us)));
    out.counters("write_stall_seconds", "In which at least one write waited.", stalled)?;
    let reasons = report.shards.iter().enumerate().flat_map(|(shard, it)| {
        it.stalls.named().into_iter().map(move |(name, count)| {
            let reason = name.trim_start_matches("stalls_").to_owned();
            (vec![("shard", shard.to_string()), ("reason", reason)], count)
        })
    });
    out.counters("write_stalls", "Times that a write was told to wait.", reasons)
}

fn levels(out: &mut Out<'_>, report: &Report) -> fmt::Result {
    let each = |of: fn(&info::Shard) -> &Vec<u64>| {
        report.shards.iter().enumerate().flat_map(move |(shard, it)| {
            of(it).iter().enumerate().map(move |(level, value)| {
                let labels = vec![("shard", shard.to_string()), ("level", level.to_string())];
                (labels, float(*value))
            })
        })
    };
    out.gauges("level_bytes", "Tables of a level.", each(|it| &it.level_bytes))?;
    out.gauges("level_tables", "Their number.", each(|it| &it.level_tables))
}

fn disk(out: &mut Out<'_>, report: &Report) -> fmt::Result {
    let lsm = &report.lsm;
    out.counter("wal_written_bytes", "Bytes that the logs wrote.", lsm.wal_written_bytes)?;
    out.counter("wal_writes", "Writes of the logs.", lsm.wal_writes)?;
    out.counter("wal_operations", "Operations in them.", lsm.wal_operations)?;
    // A summary without quantiles: how often, and how long in all.
    let waited = [(Labels::new(), seconds(lsm.wal_wait_us))];
    out.counters(
        "wal_fsync_seconds",
        "In which the logs' writes and syncs were waited for.",
        waited,
    )?;
    out.counter("wal_fsyncs", "Syncs of the logs.", lsm.wal_syncs)?;
    out.counter("bloom_useful", "Tables that a filter spared a read.", lsm.filter_useful)?;
    out.counter("bloom_false", "Tables that were read for nothing.", lsm.filter_false)?;
    out.counter("flushes", "Memtables that became tables.", lsm.flushes)?;
    out.counter("flushed_bytes", "Bytes of those tables.", lsm.flushed_bytes)?;
    out.counter("compactions", "Merges.", lsm.compactions)?;
    out.counter("compaction_read_bytes", "Bytes that they read.", lsm.compaction_read_bytes)?;
    out.counter("compaction_written_bytes", "Bytes that they wrote.", lsm.compacted_bytes)?;
    out.counter("user_written_bytes", "Keys and values of all writes.", lsm.written_user_bytes)?;
    let written = lsm.wal_written_bytes + lsm.flushed_bytes + lsm.compacted_bytes;
    let amplification = ratio(written, lsm.written_user_bytes);
    let help = "Bytes written to disk for each byte that was stored.";
    out.gauges("write_amplification", help, [(Labels::new(), amplification)])?;
    out.counter("disk_reads", "Point reads that waited for a block.", lsm.disk_reads)?;
    out.counter("read_errors", "Reads that the disk refused.", lsm.read_errors)?;
    out.gauge("block_cache_capacity_bytes", "What the caches may hold.", lsm.cache_capacity_bytes)?;
    out.counter("watchdog_interrupts", "Waits that the watchdog ended.", lsm.watchdog_interrupts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut report = Report::default();
        let get = CommandReport {
            calls: 3,
            total_us: 500,
            upto_us: vec![(2, 1), (33, 3)],
            ..CommandReport::default()
        };
        report.commands.insert("get".into(), get);
        report.errors.insert("ERR".into(), 4);
        report.lsm.wal_wait_us = 1_500_000;
        report.shards = vec![info::Shard {
            level_bytes: vec![10, 0],
            stalls: info::Stalls { l0: 2, ..info::Stalls::default() },
            ..info::Shard::default()
        }];
        let text = text(report);
        for line in [
            "# TYPE rusty_lsm_commands counter",
            "rusty_lsm_commands_total{cmd=\"get\"} 3",
            "rusty_lsm_error_replies_total{error=\"ERR\"} 4",
            "# TYPE rusty_lsm_command_duration_seconds histogram",
            "rusty_lsm_command_duration_seconds_sum{cmd=\"get\"} 0.0005",
            "rusty_lsm_command_duration_seconds_count{cmd=\"get\"} 3",
            "rusty_lsm_command_duration_seconds_bucket{le=\"0.000001\",cmd=\"get\"} 0",
            "rusty_lsm_command_duration_seconds_bucket{le=\"0.000002\",cmd=\"get\"} 1",
            "rusty_lsm_command_duration_seconds_bucket{le=\"0.000016\",cmd=\"get\"} 1",
            "rusty_lsm_command_duration_seconds_bucket{le=\"0.000033\",cmd=\"get\"} 3",
            "rusty_lsm_command_duration_seconds_bucket{le=\"+Inf\",cmd=\"get\"} 3",
            "rusty_lsm_level_bytes{shard=\"0\",level=\"0\"} 10.0",
            "rusty_lsm_write_stalls_total{shard=\"0\",reason=\"l0\"} 2",
            "rusty_lsm_wal_fsync_seconds_total 1.5",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
        let mut names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "each name once");
    }
}
