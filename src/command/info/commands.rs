//! The sections on commands. `usec` is the time from a command's last byte to its reply, waiting included, where Redis has
//! the time that the command itself ran.

use super::Text;
use super::ratio;
use crate::command::latency::quantile_us;
use crate::command::table;
use crate::latency::Tallies;

pub(super) fn commandstats(text: &mut Text, tallies: &Tallies) {
    if !text.section("commandstats", "Commandstats") {
        return;
    }
    for spec in table::all_with_subcommands() {
        let tally = tallies.of(spec.id);
        if tally.calls == 0 && tally.rejected == 0 {
            continue;
        }
        let micros = tally.total_ns / 1000;
        text.field(
            format_args!("cmdstat_{}", spec.name),
            format_args!(
                "calls={},usec={micros},usec_per_call={:.2},rejected_calls={},failed_calls={}",
                tally.calls,
                ratio(micros, tally.calls),
                tally.rejected,
                tally.failed
            ),
        );
    }
}

pub(super) fn latencystats(text: &mut Text, tallies: &Tallies) {
    if !text.section("latencystats", "Latencystats") {
        return;
    }
    for spec in table::all_with_subcommands() {
        if let Some(latencies) = &tallies.of(spec.id).latencies {
            let us = |quantile| quantile_us(latencies, quantile);
            text.field(
                format_args!("latency_percentiles_usec_{}", spec.name),
                format_args!("p50={:.3},p99={:.3},p99.9={:.3}", us(0.5), us(0.99), us(0.999)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{InfoFacts, Sections, render};
    use crate::command::CommandId;

    #[test]
    fn commands_that_were_asked_for_have_their_lines() {
        let mut facts = InfoFacts::default();
        let get = CommandId::Get.index();
        facts.commands.answered(get, 99, Duration::from_micros(10));
        facts.commands.answered(get, 1, Duration::from_micros(1010));
        facts.commands.failed(get);
        facts.commands.rejected(CommandId::ClientId);
        let shown = |name: &str| render(&facts, Sections::named([name.as_bytes()].into_iter()));
        assert_eq!(
            shown("CommandStats"),
            "# Commandstats\r\n\
             cmdstat_get:calls=100,usec=2000,usec_per_call=20.00,rejected_calls=0,failed_calls=1\r\n\
             cmdstat_client|id:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n"
        );
        assert_eq!(
            shown("latencystats"),
            "# Latencystats\r\nlatency_percentiles_usec_get:p50=10.239,p99=10.239,p99.9=1011.711\r\n"
        );
        assert!(!shown("default").contains("get"), "as in Redis, only where they are asked for");
        for name in ["all", "everything"] {
            let text = shown(name);
            assert!(text.contains("\r\ncmdstat_get:") && text.contains("\r\nlatency_percentiles_"));
        }
    }
}
