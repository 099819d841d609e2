//! What happened between two looks at the same process.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::{CommandReport, Report};

/// Each by second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) commands: f64,
    pub(super) reads: f64,
    pub(super) writes: f64,
    pub(super) errors: f64,
    pub(super) input_bytes: f64,
    pub(super) output_bytes: f64,
    pub(super) user_bytes: f64,
    pub(super) log_bytes: f64,
    pub(super) syncs: f64,
    pub(super) flushed_bytes: f64,
    pub(super) compacted_bytes: f64,
    pub(super) disk_reads: f64,
    pub(super) stalls: f64,
    /// Of the time, that part in which at least one write waited.
    pub(super) stalled_part: f64,
    /// Of one core's time.
    pub(super) cpu_part: f64,
    /// Of the log's writes and syncs, the mean wait, in microseconds.
    pub(super) log_wait_us: f64,
    pub(super) by_command: BTreeMap<String, CommandRate>,
}

/// One command.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct CommandRate {
    pub(super) calls: f64,
    /// Of all time, spent in this command's calls.
    pub(super) busy: f64,
    /// Of the calls since the look before, 99 % took at most this, known to a power of two; 0: there were none.
    pub(super) p99_us: u64,
}

impl Rates {
    pub(super) fn between(old: &Report, new: &Report, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let rate =
            |field: fn(&Report) -> u64| field(new).saturating_sub(field(old)) as f64 / seconds;
        let frames = rate(|report| report.lsm.wal_writes);
        let waited_us = rate(|report| report.lsm.wal_wait_us);
        let cpu = |report: &Report| report.cpu.user_s + report.cpu.system_s;
        Self {
            commands: rate(|report| report.stats.commands_processed),
            reads: rate(|report| report.lsm.reads),
            writes: rate(|report| report.shards.iter().map(|shard| shard.writes).sum()),
            errors: rate(|report| report.stats.error_replies),
            input_bytes: rate(|report| report.stats.net_input_bytes),
            output_bytes: rate(|report| report.stats.net_output_bytes),
            user_bytes: rate(|report| report.lsm.written_user_bytes),
            log_bytes: rate(|report| report.lsm.wal_written_bytes),
            syncs: rate(|report| report.lsm.wal_syncs),
            flushed_bytes: rate(|report| report.lsm.flushed_bytes),
            compacted_bytes: rate(|report| report.lsm.compacted_bytes),
            disk_reads: rate(|report| report.lsm.disk_reads),
            stalls: rate(|report| report.lsm.stalls.sum()),
            stalled_part: rate(|report| report.lsm.stall_us) / 1e6,
            cpu_part: (cpu(new) - cpu(old)).max(0.0) / seconds,
            log_wait_us: if frames > 0.0 { waited_us / frames } else { 0.0 },
            by_command: by_command(old, new, seconds),
        }
    }
}

fn by_command(old: &Report, new: &Report, seconds: f64) -> BTreeMap<String, CommandRate> {
    let none = CommandReport::default();
    let rates = new.commands.iter().map(|(name, now)| {
        let before = old.commands.get(name).unwrap_or(&none);
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let rate = CommandRate {
            calls: per_second(now.calls, before.calls),
            busy: per_second(now.total_us, before.total_us) / 1e6,
            p99_us: p99_us(&before.upto_us, &now.upto_us),
        };
        (name.clone(), rate)
    });
    rates.collect()
}

/// The bound below which 99 % of those calls lie that `now` counts and `before` did not. Both are cumulative.
fn p99_us(before: &[(u64, u64)], now: &[(u64, u64)]) -> u64 {
    let counted = |bound: u64| {
        let upto = before.iter().take_while(|(upto, _)| *upto <= bound).last();
        upto.map_or(0, |(_, calls)| *calls)
    };
    let fresh: Vec<(u64, u64)> =
        now.iter().map(|(bound, calls)| (*bound, calls.saturating_sub(counted(*bound)))).collect();
    let Some((_, all)) = fresh.last().filter(|(_, all)| *all > 0) else { return 0 };
    let wanted = all - all / 100;
    fresh.iter().find(|(_, calls)| *calls >= wanted).map_or(0, |(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_by_second() {
        let mut old = Report::default();
        let mut new = Report::default();
        (old.stats.commands_processed, new.stats.commands_processed) = (100, 1_100);
        (new.lsm.wal_writes, new.lsm.wal_wait_us) = (10, 5_000);
        new.lsm.stall_us = 500_000;
        new.cpu.user_s = 1.0;
        let rates = Rates::between(&old, &new, Duration::from_secs(2));
        assert!((rates.commands - 500.0).abs() < 1e-6 && (rates.log_wait_us - 500.0).abs() < 1e-6);
        assert!((rates.stalled_part - 0.25).abs() < 1e-6 && (rates.cpu_part - 0.5).abs() < 1e-6);
        // CONFIG RESETSTAT between the two.
        assert!(Rates::between(&new, &old, Duration::from_secs(1)).commands.abs() < 1e-9);
    }

    #[test]
    fn the_latencies_of_the_interval_alone() {
        assert_eq!(p99_us(&[], &[]), 0);
        assert_eq!(p99_us(&[(16, 5)], &[(16, 5)]), 0, "no new ones");
        assert_eq!(p99_us(&[(1024, 500)], &[(16, 400), (1024, 900)]), 16);
        let before = [(16, 1_000), (1024, 1_000)];
        assert_eq!(p99_us(&before, &[(16, 1_090), (64, 1_098), (1024, 1_100)]), 1024);
        assert_eq!(p99_us(&before, &[(16, 1_090), (64, 1_099), (1024, 1_100)]), 64);
    }
}
