//! `STATS`: the server's own text, and a table of its shards. From a server that is not ours: its error.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Format, Outcome, Session, timed};
use crate::client::Reply;
use crate::command::Report;
use crate::terminal::{grouped, print, render, size, table};

pub(super) fn run(session: &mut Session, line: &[u8]) -> Outcome {
    if session.format == Format::Json {
        return as_json(session, line);
    }
    let (reply, took) = timed(|| session.link.command(&["STATS"], &session.interrupt));
    let text = match reply {
        Ok(reply @ Reply::Error(_)) => return session.show(line, &reply, took),
        Ok(reply) => render::lines(reply.bytes().unwrap_or_default()),
        Err(error) => return error.into(),
    };
    print(&format!("{}\n", text.trim_end()));
    let report = session.link.command(&["STATS", "JSON"], &session.interrupt);
    // An older release has no JSON: its text was shown.
    let report = report.ok().and_then(|reply| Report::from_json(reply.bytes()?).ok());
    if let Some(report) = report {
        print(&shards(&report));
    }
    if session.is_interactive {
        session.say("", took);
    }
    Outcome::Done
}

fn as_json(session: &mut Session, line: &[u8]) -> Outcome {
    let (reply, took) = timed(|| session.link.command(&["STATS", "JSON"], &session.interrupt));
    match reply {
        Ok(reply) => {
            match reply.bytes().and_then(|text| serde_json::from_slice::<Value>(text).ok()) {
                Some(report) => {
                    let time_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    print(&format!(
                        "{}\n",
                        json!({ "command": "STATS", "reply": report, "time_us": time_us })
                    ));
                    Outcome::Done
                }
                None => session.show(line, &reply, Duration::ZERO),
            }
        }
        Err(error) => error.into(),
    }
}

/// A row for each shard.
fn shards(report: &Report) -> String {
    let rows = report.shards.iter().map(|shard| {
        let levels: Vec<String> = shard.level_tables.iter().map(u64::to_string).collect();
        let looked = shard.cache_hits + shard.cache_misses;
        let hits = match (shard.cache_hits * 100).checked_div(looked) {
            Some(percent) => format!("{percent} %"),
            None => "-".to_owned(),
        };
        let state = if !shard.read_only.is_empty() {
            "read-only"
        } else if shard.disk_full {
            "disk full"
        } else if shard.compaction_running {
            "compacting"
        } else {
            "ok"
        };
        vec![
            shard.core.to_string(),
            grouped(shard.keys),
            size(shard.memtable_bytes),
            levels.join(" "),
            size(shard.bytes),
            size(shard.wal_bytes),
            hits,
            grouped(shard.stalls.sum()),
            state.to_owned(),
        ]
    });
    table::lines(
        &[
            ">shard",
            ">keys",
            ">memtable",
            "tables L0-L6",
            ">on disk",
            ">log",
            ">cache hits",
            ">stalls",
            "state",
        ],
        rows.collect(),
    )
}
