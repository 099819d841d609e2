//! What took long: noted where it is seen, kept once a pass (`crate::slowlog`, `crate::series`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use shard::env::Env as _;

use super::Worker;
use crate::ask::Ask;
use crate::command::{Session, Spec, table::Flags};
use crate::live::Live;
use crate::mesh::{ConnRef, Message};
use crate::resp::{Args, OwnedArgs};
use crate::series::Slowness;
use crate::slab::Key;
use crate::slowlog::{Slow, kept};

/// From here down every command is timed; above it those that wait or are large.
const ALL_TIMED_BELOW_US: i64 = 1_000;

/// What counts as slow now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Thresholds {
    /// For SLOWLOG; `None`: nothing does.
    log: Option<Duration>,
    /// For LATENCY, in milliseconds; 0: nothing does.
    pub(super) events_ms: u64,
    pub(crate) times_all: bool,
}

impl Thresholds {
    pub(super) fn of(live: &Live) -> Self {
        let log_us = live.slowlog_log_slower_than_us();
        Self {
            log: u64::try_from(log_us).ok().map(Duration::from_micros),
            events_ms: live.latency_monitor_threshold_ms(),
            times_all: (0..ALL_TIMED_BELOW_US).contains(&log_us),
        }
    }

    /// Whether so long is to be noted anywhere.
    pub(crate) fn is_slow(self, took: Duration) -> bool {
        let is_event = self.events_ms > 0 && took >= Duration::from_millis(self.events_ms);
        is_event || self.log.is_some_and(|log| took >= log)
    }

    /// Whether anything is noted.
    pub(crate) fn watch(self) -> bool {
        self.log.is_some() || self.events_ms > 0
    }
}

/// A command that took long.
#[derive(Debug, Clone)]
pub(crate) struct SlowNote {
    pub(crate) spec: &'static Spec,
    /// Cut, and without secrets.
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) took: Duration,
    /// It waited to be admitted.
    pub(crate) stalled: bool,
    peer: String,
    name: Vec<u8>,
}

impl SlowNote {
    pub(crate) fn new(spec: &'static Spec, args: Args<'_>, took: Duration, stalled: bool) -> Self {
        let (peer, name) = Default::default();
        Self { spec, args: kept(spec, args), took, stalled, peer, name }
    }

    #[must_use]
    pub(super) fn by(mut self, peer: &str, name: &[u8]) -> Self {
        peer.clone_into(&mut self.peer);
        name.clone_into(&mut self.name);
        self
    }
}

/// A command whose answer its core waits for from the disk.
#[derive(Debug)]
pub(crate) struct Awaited {
    hole: u32,
    since: Duration,
    spec: &'static Spec,
    args: OwnedArgs,
}

impl Awaited {
    pub(crate) fn new(hole: u32, since: Duration, spec: &'static Spec, args: Args<'_>) -> Self {
        Self { hole, since, spec, args: OwnedArgs::from(args) }
    }
}

impl Worker {
    /// An answer from the disk came for `hole`.
    pub(super) fn note_awaited(&mut self, key: Key, hole: u32) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(at) = conn.awaited.iter().position(|awaited| awaited.hole == hole) else { return };
        let Some(Awaited { since, spec, args, .. }) = conn.awaited.swap_remove_back(at) else {
            return;
        };
        let took = self.reaped_at.saturating_sub(since);
        if self.thresholds.is_slow(took) {
            let note = SlowNote::new(spec, args.args(), took, false);
            self.slow.push(note.by(&conn.session.peer, &conn.session.name));
        }
    }

    /// Commands of other cores' connections that took long here: told to their cores.
    pub(super) fn tell_slow(&mut self) {
        for (ConnRef { core, key }, note) in self.requests.take_slow() {
            if core as usize == self.index {
                self.hear_slow(key, note);
            } else {
                let ask = Box::new(Ask::NoteSlow(key, Box::new(note)));
                self.mesh.send(core as usize, Message::Ask(None, ask));
            }
        }
    }

    /// A command of a connection here took long elsewhere.
    pub(super) fn hear_slow(&mut self, key: Key, note: SlowNote) {
        if let Some(conn) = self.conns.get_mut(key) {
            self.slow.push(note.by(&conn.session.peer, &conn.session.name));
        }
    }

    /// Keeps what was noted.
    pub(super) fn keep_slow(&mut self) {
        let (at_s, thresholds) = (self.facts.now_us / 1_000_000, self.thresholds);
        let max = usize::try_from(self.shared.live.slowlog_max_len()).unwrap_or(usize::MAX);
        for note in std::mem::take(&mut self.slow) {
            let SlowNote { spec, args, took, stalled, peer, name } = note;
            let what =
                if spec.flags.has(Flags::FAST) { Slowness::FastCommand } else { Slowness::Command };
            self.series.note(what, at_s, took, thresholds.events_ms);
            if stalled {
                self.series.note(Slowness::WriteStall, at_s, took, thresholds.events_ms);
            }
            let is_logged = thresholds.log.is_some_and(|log| took >= log);
            if is_logged && !spec.flags.has(Flags::SKIP_SLOWLOG) {
                let id = self.shared.slow_ids.fetch_add(1, Ordering::Relaxed);
                self.slowlog.note(Slow { id, at_s, took, args, peer, name }, max);
            }
        }
    }

    /// Replies wait for the log, or have got it.
    pub(super) fn time_log(&mut self, moved: bool) {
        if moved && let Some(since) = self.log_awaited_since.take() {
            let (at_s, took) =
                (self.facts.now_us / 1_000_000, self.reaped_at.saturating_sub(since));
            self.series.note(Slowness::WalSync, at_s, took, self.thresholds.events_ms);
        }
        if self.thresholds.events_ms > 0
            && self.log_awaited_since.is_none()
            && !self.gated.is_empty()
        {
            self.log_awaited_since = Some(self.env.now());
        }
    }
}

/// Notes a command that was run in this round, if it took long.
pub(super) fn note_run(
    slow: &mut Vec<SlowNote>,
    thresholds: Thresholds,
    session: &Session,
    spec: &'static Spec,
    args: Args<'_>,
    (took, stalled): (Duration, bool),
) {
    if thresholds.is_slow(took) {
        let note = SlowNote::new(spec, args, took, stalled);
        slow.push(note.by(&session.peer, &session.name));
    }
}
