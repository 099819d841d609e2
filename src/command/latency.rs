//! LATENCY HISTOGRAM, and latencies as text. The reply has Redis 7's shape: each command with its number of calls and a map
//! from a power of two microseconds, as the histogram knows it, to the number of calls that took no longer. Powers that add
//! no call are left out.

use super::table::{self, CommandSet};
use crate::latency::{Latencies, Tallies};
use crate::limits::LATENCY_NS_MAX;
use crate::resp::{Protocol, writer};

/// Nanoseconds of the first power.
const FIRST_NS: u64 = 1024;

/// Appends the histograms of those of `asked` that were answered, in the order of the table.
pub fn histogram(tallies: &Tallies, asked: CommandSet, protocol: Protocol, out: &mut Vec<u8>) {
    let shown: Vec<_> = table::all_with_subcommands()
        .filter(|spec| asked.has(spec.id))
        .filter_map(|spec| Some((spec.name, tallies.of(spec.id).latencies.as_ref()?)))
        .collect();
    writer::map(out, shown.len(), protocol);
    for (name, latencies) in shown {
        writer::bulk(out, name.as_bytes());
        writer::map(out, 2, protocol);
        writer::bulk(out, b"calls");
        integer(out, latencies.len());
        writer::bulk(out, b"histogram_usec");
        let powers = powers(latencies);
        writer::map(out, powers.len(), protocol);
        for (upto_us, calls) in powers {
            integer(out, upto_us);
            integer(out, calls);
        }
    }
}

fn integer(out: &mut Vec<u8>, number: u64) {
    writer::integer(out, i64::try_from(number).unwrap_or(i64::MAX));
}

/// The powers that `powers` can name, in microseconds, up to the longest latency that is told apart.
pub fn bounds_us() -> Vec<u64> {
    let latencies = crate::latency::no_latencies();
    std::iter::successors(Some(FIRST_NS), |power_ns| power_ns.checked_mul(2))
        .take_while(|power_ns| *power_ns <= LATENCY_NS_MAX)
        .map(|power_ns| latencies.highest_equivalent(power_ns) / 1000)
        .collect()
}

/// Microseconds and the calls that took at most so long, ascending in both.
pub(super) fn powers(latencies: &Latencies) -> Vec<(u64, u64)> {
    let mut powers: Vec<(u64, u64)> = Vec::new();
    let (mut power_ns, mut calls) = (FIRST_NS, 0);
    for cell in latencies.iter_recorded() {
        while latencies.highest_equivalent(power_ns) < cell.value_iterated_to() {
            power_ns *= 2;
        }
        calls += cell.count_since_last_iteration();
        let upto_us = latencies.highest_equivalent(power_ns) / 1000;
        match powers.last_mut() {
            Some((last, upto)) if *last == upto_us => *upto = calls,
            _ => powers.push((upto_us, calls)),
        }
    }
    powers
}

/// A quantile, in microseconds, as fine as it is known.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) fn quantile_us(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::CommandId;

    /// As redis-server 7.0.15 says it: 33 us for 32,768 ns, 66 for 65,536, and so on.
    #[test]
    fn powers_are_those_of_redis_and_counts_add_up() {
        let mut latencies = crate::latency::no_latencies();
        for (nanos, count) in [
            (0, 1),
            (900, 1),
            (1_024, 1),
            (1_600, 1),
            (4_000, 5),
            (33_000, 1),
            (33_500, 1),
            (100_000, 10),
            (1_000_000, 1),
            (20_000_000, 1),
            (59_000_000_000, 1),
        ] {
            latencies.saturating_record_n(nanos, count);
        }
        let wanted = [
            (1, 3),
            (2, 4),
            (4, 9),
            (33, 10),
            (66, 11),
            (132, 21),
            (1056, 22),
            (33_816, 23),
            (69_256_347, 24),
        ];
        assert_eq!(powers(&latencies), wanted);
        assert_eq!(powers(&crate::latency::no_latencies()), []);
    }

    #[test]
    fn the_reply_has_a_map_for_each_command_that_was_answered() {
        let mut tallies = Tallies::default();
        tallies.answered(CommandId::Set.index(), 2, Duration::from_micros(3));
        tallies.answered(CommandId::ConfigGet.index(), 1, Duration::from_micros(1));
        tallies.rejected(CommandId::Get);
        let shown = |asked, protocol| {
            let mut out = Vec::new();
            histogram(&tallies, asked, protocol, &mut out);
            String::from_utf8(out).unwrap().replace("\r\n", "|")
        };
        let set = "$3|set|*4|$5|calls|:2|$14|histogram_usec|*2|:4|:2|";
        let get = "$10|config|get|*4|$5|calls|:1|$14|histogram_usec|*2|:1|:1|";
        assert_eq!(shown(CommandSet::ALL, Protocol::Resp2), format!("*4|{set}{get}"));
        let mut one = CommandSet::default();
        one.insert(CommandId::Set);
        one.insert(CommandId::Get);
        let set = "$3|set|%2|$5|calls|:2|$14|histogram_usec|%1|:4|:2|";
        assert_eq!(shown(one, Protocol::Resp3), format!("%1|{set}"));
        assert_eq!(shown(CommandSet::default(), Protocol::Resp3), "%0|");
    }
}
