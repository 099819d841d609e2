//! Telemetry as data: what INFO and STATS say, in one structure that STATS JSON sends. The dashboard, `/stats_all`,
//! `/metrics` and `top` are made from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::info::{
    Clients, Cpu, InfoFacts, Keyspace, Lsm, Memory, Persistence, Server, Shard, Stats,
};
use super::latency::{powers, quantile_us};
use super::table;
use crate::latency::Tallies;

/// Everything that is known of a running server. Numbers of commands and latencies are of all cores together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub server: Server,
    pub clients: Clients,
    pub memory: Memory,
    pub persistence: Persistence,
    pub stats: Stats,
    pub cpu: Cpu,
    pub keyspace: Keyspace,
    /// Those that were ever called, by name (`get`, `client|id`).
    pub commands: BTreeMap<String, CommandReport>,
    /// Error replies by their first word.
    pub errors: BTreeMap<String, u64>,
    /// All shards together.
    pub lsm: Lsm,
    /// In order.
    pub shards: Vec<Shard>,
}

/// One command. Times run from a request's last byte to its reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandReport {
    pub calls: u64,
    pub failed: u64,
    /// Not run, for a wrong number of arguments.
    pub rejected: u64,
    /// All calls together.
    pub total_us: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// Microseconds, and the calls that took at most so long; ascending in both.
    pub upto_us: Vec<(u64, u64)>,
}

impl From<&InfoFacts> for Report {
    fn from(facts: &InfoFacts) -> Self {
        Self {
            server: facts.server.clone(),
            clients: facts.clients.clone(),
            memory: facts.memory.clone(),
            persistence: facts.persistence.clone(),
            stats: facts.stats.clone(),
            cpu: facts.cpu.clone(),
            keyspace: facts.keyspace.clone(),
            commands: commands(&facts.commands),
            errors: facts.errors.iter().map(|(word, count)| (word.to_owned(), count)).collect(),
            lsm: facts.lsm.clone(),
            shards: facts.shards.clone(),
        }
    }
}

impl Report {
    /// As STATS JSON sends it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unreachable!("plain data: {error}"))
    }

    /// # Errors
    /// The text is no report of this version.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

fn commands(tallies: &Tallies) -> BTreeMap<String, CommandReport> {
    let mut commands = BTreeMap::new();
    for spec in table::all_with_subcommands() {
        let tally = tallies.of(spec.id);
        if tally.calls == 0 && tally.rejected == 0 {
            continue;
        }
        let mut report = CommandReport {
            calls: tally.calls,
            failed: tally.failed,
            rejected: tally.rejected,
            total_us: tally.total_ns / 1000,
            ..CommandReport::default()
        };
        if let Some(latencies) = &tally.latencies {
            report.p50_us = quantile_us(latencies, 0.5);
            report.p99_us = quantile_us(latencies, 0.99);
            report.p999_us = quantile_us(latencies, 0.999);
            report.max_us = quantile_us(latencies, 1.0);
            report.upto_us = powers(latencies);
        }
        commands.insert(spec.name.to_owned(), report);
    }
    commands
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::CommandId;

    #[test]
    fn a_report_survives_its_json() {
        let mut facts = InfoFacts::default();
        facts.commands.answered(CommandId::Get.index(), 3, Duration::from_micros(10));
        facts.lsm.stalls.l0 = 7;
        facts.lsm.level_bytes = vec![1, 2];
        facts.shards = vec![Shard { read_only: "EIO".into(), ..Shard::default() }];
        let report = Report::from(&facts);
        assert_eq!(report.commands["get"].calls, 3);
        assert_eq!(report.commands["get"].upto_us.last(), Some(&(16, 3)));
        let json = report.to_json();
        assert!(json.contains(r#""level_bytes":[1,2]"#), "{json}");
        assert_eq!(Report::from_json(json.as_bytes()).unwrap(), report);
    }
}
