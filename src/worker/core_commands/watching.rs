//! MONITOR, SLOWLOG and LATENCY: what operators watch.

use bytes::Bytes;
use shard::env::Env as _;
use shard::key::SeqNo;

use crate::ask::{Answer, Ask, slowest, sum, union};
use crate::command::{CommandError, CommandId};
use crate::reply::Sink;
use crate::resp::{Args, Protocol, strict_number, writer};
use crate::series::{AllSeries, graph};
use crate::slab::Key;
use crate::slowlog;
use crate::worker::Worker;

/// Entries that SLOWLOG GET shows unasked.
const SHOWN_COUNT: usize = 10;

fn integer(out: &mut Vec<u8>, number: u64) {
    writer::integer(out, i64::try_from(number).unwrap_or(i64::MAX));
}

/// `SLOWLOG GET [count]`
fn shown_count(args: Args<'_>) -> Result<usize, CommandError> {
    if args.len() > 3 {
        return Err(CommandError::SubcommandArity(args.arg(1).to_vec(), "SLOWLOG"));
    }
    match args.get(2).map(strict_number) {
        None => Ok(SHOWN_COUNT),
        Some(Some(-1)) => Ok(usize::MAX),
        Some(Some(count)) if count >= 0 => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        Some(_) => {
            let text = "ERR count should be greater than or equal to -1";
            Err(CommandError::Text(text.into()))
        }
    }
}

fn merged(answers: Vec<Answer>) -> AllSeries {
    let mut all = AllSeries::default();
    for answer in answers {
        let Answer::Series(series) = answer else { unreachable!("series were asked for") };
        all.add(&series);
    }
    all
}

impl Worker {
    /// MONITOR: from here on this connection is told of every command.
    pub(super) fn monitor(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        writer::ok(conn.replies.buffer());
        conn.replies.done(SeqNo(0));
        if !conn.monitors {
            conn.monitors = true;
            self.monitors.push(key);
            self.shared.monitored.set(self.index, self.monitors.len());
        }
    }

    pub(super) fn slowlog(
        &mut self,
        key: Key,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        // As many as all cores together keep for it.
        let max = usize::try_from(self.shared.live.slowlog_max_len()).unwrap_or(usize::MAX);
        match id {
            CommandId::SlowlogGet => {
                let count = shown_count(args)?.min(max);
                let finish = move |answers| slowlog::render(slowest(answers), count);
                self.ask_all(key, &Ask::Slowest(count), Box::new(finish));
            }
            CommandId::SlowlogLen => {
                let finish = move |answers| {
                    let mut out = Vec::new();
                    integer(&mut out, sum(answers).min(max as u64));
                    out
                };
                self.ask_all(key, &Ask::SlowCount, Box::new(finish));
            }
            _ => {
                let finish = |answers| {
                    drop(answers);
                    writer::OK.to_vec()
                };
                self.ask_all(key, &Ask::ForgetSlow, Box::new(finish));
            }
        }
        Ok(())
    }

    /// LATENCY LATEST, HISTORY, GRAPH, DOCTOR.
    pub(super) fn latency(&mut self, key: Key, id: CommandId, args: Args<'_>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let protocol = conn.session.protocol;
        let name = args.get(2).unwrap_or_default().to_ascii_lowercase();
        let now_s = self.facts.now_us / 1_000_000;
        let threshold_ms = self.shared.live.latency_monitor_threshold_ms();
        let finish = move |answers: Vec<Answer>| {
            let all = merged(answers);
            let mut out = Vec::new();
            match id {
                CommandId::LatencyLatest => latest(&all, &mut out),
                CommandId::LatencyHistory => history(&all, &name, &mut out),
                CommandId::LatencyGraph => graphed(&all, &name, now_s, protocol, &mut out),
                _ => writer::verbatim(&mut out, all.report(threshold_ms).as_bytes(), protocol),
            }
            out
        };
        self.ask_all(key, &Ask::Series, Box::new(finish));
    }

    /// LATENCY RESET: event series, and without a name the histograms, too; answers how many series had samples.
    pub(super) fn latency_reset(&mut self, key: Key, args: Args<'_>) {
        let names: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_ascii_lowercase).collect();
        let finish = |answers| {
            let mut out = Vec::new();
            integer(&mut out, union(answers).len() as u64);
            out
        };
        self.ask_all(key, &Ask::ForgetSeries(names.into()), Box::new(finish));
    }

    pub(in crate::worker) fn forget_series(&mut self, names: &[Vec<u8>]) -> Vec<Bytes> {
        self.keep_slow();
        if names.is_empty() {
            self.tallies.forget_latencies();
        }
        let forgotten = self.series.forget(names);
        forgotten.into_iter().map(|name| Bytes::from_static(name.as_bytes())).collect()
    }

    /// Shows this pass' commands to the monitors of all cores.
    pub(in crate::worker) fn feed_monitors(&mut self) {
        self.is_monitored = self.shared.monitored.is_there();
        if self.monitor_lines.is_empty() {
            return;
        }
        let lines = Bytes::from(std::mem::take(&mut self.monitor_lines));
        let shared = std::sync::Arc::clone(&self.shared);
        for core in shared.monitored.listening() {
            if core == self.index {
                self.show_monitors(&lines);
            } else if self.mesh.backlog(core) < crate::limits::EVENTS_BACKLOG_MAX {
                let ask = Box::new(Ask::Monitored(lines.clone()));
                self.mesh.send(core, crate::mesh::Message::Ask(None, ask));
            } else {
                self.net.events_dropped += 1;
            }
        }
    }

    /// Shows lines to the monitors of this core.
    pub(in crate::worker) fn show_monitors(&mut self, lines: &Bytes) {
        let Self { conns, pushed, monitors, .. } = self;
        for &key in &*monitors {
            crate::worker::listeners::push(conns, pushed, key, |_| lines.clone());
        }
    }

    /// A connection monitors no longer.
    pub(in crate::worker) fn forget_monitor(&mut self, key: Key) {
        self.monitors.retain(|monitor| *monitor != key);
        self.shared.monitored.set(self.index, self.monitors.len());
    }

    /// What a command of the core took, where that is measured.
    pub(super) fn core_command_began(&self) -> Option<std::time::Duration> {
        self.thresholds.watch().then(|| self.env.now())
    }
}

fn latest(all: &AllSeries, out: &mut Vec<u8>) {
    writer::array(out, all.present().count());
    for (what, series) in all.present() {
        let Some(last) = series.samples.back() else { unreachable!("it has samples") };
        writer::array(out, 4);
        writer::bulk(out, what.name().as_bytes());
        for number in [last.at_s, last.ms, series.worst_ms] {
            integer(out, number);
        }
    }
}

fn history(all: &AllSeries, name: &[u8], out: &mut Vec<u8>) {
    let samples = all.named(name).map(|series| &series.samples);
    writer::array(out, samples.map_or(0, std::collections::VecDeque::len));
    for sample in samples.into_iter().flatten() {
        writer::array(out, 2);
        integer(out, sample.at_s);
        integer(out, sample.ms);
    }
}

fn graphed(all: &AllSeries, name: &[u8], now_s: u64, protocol: Protocol, out: &mut Vec<u8>) {
    let shown = String::from_utf8_lossy(name);
    match all.named(name) {
        Some(series) => {
            writer::verbatim(out, graph(&shown, series, now_s).as_bytes(), protocol);
        }
        None => {
            writer::error_quoting(out, "ERR No samples available for event '", name, "'");
        }
    }
}
