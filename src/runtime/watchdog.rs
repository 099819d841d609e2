//! Watches the cores from a thread of its own.
//!
//! glommio 0.9 was seen to sleep for ever on a request that had completed, until a signal interrupted the wait (only
//! with a preemption timer of 1 ms; never lower it from its 100 ms). So this thread compares each core's beats with
//! what it waits for, and interrupts by a signal that does nothing. A wait that was right goes on after it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shard::env::glommio::Heartbeat;
use tracing::warn;

use super::sys::{ThreadId, interrupt, whereabouts};

/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// A core without a beat for this long is interrupted, if it waits for something.
const STALL_MIN: Duration = Duration::from_secs(1);

/// What the watchdog has seen since the start, all cores together.
#[derive(Debug, Default)]
pub struct WatchCounters {
    /// Waits interrupted: completed I/O or a rung bell that a core did not notice, or a disk slower than a second.
    pub interrupts: AtomicU64,
    /// Stalls: a core that was awake, without a beat for a second.
    pub stalls: AtomicU64,
    /// Cores that are in one now.
    pub stalled_cores: AtomicU64,
    pub(crate) ends: Ends,
}

/// Who wants to know that a core has ended.
#[derive(Default)]
pub(crate) struct Ends(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl std::fmt::Debug for Ends {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ends")
    }
}

impl Ends {
    /// The first one to ask is told, with every look of the watchdog from then on.
    pub(crate) fn tell(&self, notice: impl Fn() + Send + Sync + 'static) {
        // A second one has no use for it.
        let _ = self.0.set(Box::new(notice));
    }

    fn noticed(&self) {
        if let Some(notice) = self.0.get() {
            notice();
        }
    }
}

/// One core, as the watchdog knows it.
pub(super) struct Watched {
    pub(super) index: usize,
    pub(super) thread: ThreadId,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) ended: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) counters: Arc<WatchCounters>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    pub(super) fn start(watched: Vec<Watched>) -> io::Result<Self> {
        let counters = Arc::new(WatchCounters::default());
        let (stop, stopped) = channel();
        let shared = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch(watched, &shared, &stopped))?;
        Ok(Self { counters, stop, thread })
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        // It only ends by returning: panics abort.
        drop(self.thread.join());
    }
}

fn watch(watched: Vec<Watched>, counters: &WatchCounters, stopped: &Receiver<()>) {
    let mut patients: Vec<Patient> = watched.into_iter().map(Patient::new).collect();
    // Ends when the other side is dropped.
    while stopped.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let now = Instant::now();
        if patients.iter().any(|patient| patient.watched.ended.load(Ordering::SeqCst)) {
            counters.ends.noticed();
        }
        for patient in &mut patients {
            match patient.examine(now) {
                Finding::Well => {}
                Finding::Waits => {
                    let count = counters.interrupts.fetch_add(1, Ordering::Relaxed) + 1;
                    // First, since the interrupt changes where the thread is.
                    patient.report(count, "core waits for over a second, interrupted");
                    interrupt(patient.watched.thread);
                }
                Finding::Stalls => {
                    let count = counters.stalls.fetch_add(1, Ordering::Relaxed) + 1;
                    patient.report(count, "core busy without a pass for over a second");
                }
            }
        }
        let stalled = patients.iter().filter(|patient| patient.is_stalled).count();
        counters.stalled_cores.store(stalled as u64, Ordering::Relaxed);
    }
}

/// One core, between two looks.
struct Patient {
    watched: Watched,
    beats: u64,
    since: Instant,
    is_stalled: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Well,
    /// Asleep or in a turn, though there is something to wait for.
    Waits,
    /// Awake, and not passing.
    Stalls,
}

impl Patient {
    fn new(watched: Watched) -> Self {
        Self { watched, beats: 0, since: Instant::now(), is_stalled: false }
    }

    fn examine(&mut self, now: Instant) -> Finding {
        let heart = &self.watched.heartbeat;
        let beats = heart.beats();
        if beats != self.beats || self.watched.ended.load(Ordering::SeqCst) {
            (self.beats, self.since) = (beats, now);
            self.is_stalled = false;
            return Finding::Well;
        }
        if now.saturating_duration_since(self.since) < STALL_MIN {
            return Finding::Well;
        }
        let finding = if heart.in_flight() > 0 || heart.is_rung() {
            Finding::Waits
        } else if heart.is_asleep() {
            // Nothing to do: the normal night.
            return Finding::Well;
        } else {
            Finding::Stalls
        };
        self.is_stalled = finding == Finding::Stalls;
        self.since = now;
        finding
    }

    /// Logs the first findings and then ever fewer.
    fn report(&self, count: u64, what: &str) {
        if count.is_power_of_two() {
            let heart = &self.watched.heartbeat;
            warn!(
                core = self.watched.index,
                in_flight = heart.in_flight(),
                rung = heart.is_rung(),
                asleep = heart.is_asleep(),
                kernel = whereabouts(self.watched.thread),
                count,
                "{what}"
            );
        }
    }
}
