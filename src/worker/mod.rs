//! What one core does: its loop, its connections, its shard, its side of the mesh.
//!
//! One pass of the loop:
//! 1. The ring: submit, reap; socket events are handled (accept, receive, send).
//! 2. The mesh: requests run on this shard, responses fill holes of connections here.
//! 3. What the disk or a whole-shard job answered fills holes.
//! 4. What the log released leaves; what waited for admission tries again; connections with input left go on.
//! 5. Everyone who was sent something is rung. Then the driver: other tasks, turns, sleep.
//!
//! Nothing here blocks, and nothing here awaits but step 5. `sockets` is step 1, `rounds` how a connection's commands are run.

mod asks;
mod core_commands;
mod late;
mod listeners;
mod multishard;
mod rounds;
mod slow;
mod sockets;
mod special;
mod transactions;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shard::env::Env as _;
use shard::env::glommio::{Driver, GlommioEnv};
use shard::env::ring::Ring;
use shard::key::SeqNo;

use self::multishard::Step;
use crate::access::Login;
use crate::command::{CommandId, ServerFacts, Session, Spec};
use crate::dispatch::Outbox;
use crate::engine::CoreTools;
use crate::execute::{Executor, Filled, Target};
use crate::facts::{CoreStats, Earlier, NetStats};
use crate::gather::{GATHERED_GATE, Gathered};
use crate::latency::Tallies;
use crate::limits::{AUTH_TIME_MAX, MESSAGES_PER_PASS, OUTPUT_STALL_MAX, SWEEP_INTERVAL};
use crate::live::Live;
use crate::mesh::{ConnRef, Endpoint, Message, Response};
use crate::net::connection::Connection;
use crate::net::listeners::Listener;
use crate::pubsub::{Events, Registry};
use crate::requests::{Finished, Requests};
use crate::resp::ParserLimits;
use crate::series::AllSeries;
use crate::server::Shared;
use crate::slab::{Key, Slab};
use crate::slots::SlotTable;
use crate::slowlog::Slowlog;
use crate::worker::late::Late;

pub(crate) use slow::{Awaited, SlowNote, Thresholds};

/// The token of the first listener, those of the others below it; connections' tokens have an index that is never as large.
const LISTENER: u64 = (1 << 56) - 1;
/// The plain port, the unix socket, the port for TLS.
const LISTENERS_MAX: u64 = 3;

/// The token of the listener at `place`.
fn listener_token(place: usize) -> u64 {
    LISTENER - place as u64
}

/// The place of the listener whose token this is, if it is one.
fn listener_place(token: u64) -> Option<usize> {
    let below = LISTENER.checked_sub(token)?;
    usize::try_from(below).ok().filter(|_| below < LISTENERS_MAX)
}

/// How long a stopping core waits for clients to take their last replies.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What requests may be like.
#[derive(Debug, Clone, Copy)]
struct InputLimits {
    bulk_bytes_max: u32,
}

impl InputLimits {
    fn of(self, session: &Session, live: &Live) -> ParserLimits {
        if session.must_log_in(live) {
            ParserLimits::before_auth(self.bulk_bytes_max)
        } else {
            ParserLimits::new(self.bulk_bytes_max)
        }
    }
}

/// Commands are held back (CLIENT PAUSE).
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Duration,
    /// Not only those that write.
    all: bool,
}

impl Pause {
    fn holds(self, spec: &Spec) -> bool {
        // Whoever has paused the server can end it.
        (self.all && spec.id != CommandId::ClientUnpause)
            || spec.is_write()
            || matches!(spec.id, CommandId::Publish | CommandId::Spublish | CommandId::Exec)
    }
}

/// One core.
pub(crate) struct Worker {
    index: usize,
    env: GlommioEnv,
    ring: Ring,
    mesh: Endpoint,
    executor: Executor,
    tools: CoreTools,
    requests: Requests,
    slots: Rc<SlotTable>,
    shared: Arc<Shared>,
    facts: ServerFacts,
    limits: InputLimits,
    listeners: Vec<Listener>,
    next_core: usize,
    conns: Slab<Connection>,
    /// Those of them that come from within the process.
    internal_conns: usize,
    outbox: Outbox,
    net: NetStats,
    /// What was answered to this core's connections, and how late.
    tallies: Tallies,
    /// When what this pass handles was received.
    reaped_at: Duration,
    /// What this core's connections listen to.
    registry: Registry,
    /// Connections that were sent what they did not ask for, and are to be flushed.
    pushed: VecDeque<Key>,
    /// Connections that are shown every command, whether there are any on any core, and the lines of this pass.
    monitors: Vec<Key>,
    is_monitored: bool,
    monitor_lines: Vec<u8>,
    /// What took long: noted in this pass, and kept.
    slow: Vec<SlowNote>,
    thresholds: Thresholds,
    slowlog: Slowlog,
    series: AllSeries,
    log_awaited_since: Option<Duration>,
    /// Commands are held back, and these connections have some.
    pause: Option<Pause>,
    paused: Vec<Key>,
    /// Connections that go on in the next pass.
    ready: VecDeque<Key>,
    /// Connections whose first reply waits for the log.
    gated: Vec<Key>,
    /// Connections whose next command waits for admission.
    unadmitted: Vec<Key>,
    /// Connections whose receive ended for want of a buffer.
    starved: Vec<Key>,
    /// Connections that are not read until there is memory for more of their requests; the first one longest.
    roomless: VecDeque<Key>,
    /// [`crate::ledger::Account::returns`] when they were last looked at.
    room_seen: u64,
    /// Replies that wait for their time; at most one a connection.
    late: Vec<Late>,
    released: SeqNo,
    admission_seen: u64,
    finished: Vec<Finished>,
    stopping: Option<Duration>,
    quiet: bool,
    left: bool,
    next_sweep: Duration,
    swept: Earlier,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        env: GlommioEnv,
        mesh: Endpoint,
        mut executor: Executor,
        slots: SlotTable,
        shared: Arc<Shared>,
        listeners: Vec<Listener>,
    ) -> Self {
        executor.events = Events::new(Arc::clone(&shared.audience));
        let ring = env.ring().clone();
        let cores = shared.cores;
        let limits = InputLimits { bulk_bytes_max: shared.bulk_bytes_max };
        let facts = ServerFacts { now_us: 0, live: Arc::clone(&shared.live) };
        for (place, listener) in listeners.iter().enumerate() {
            ring.accept_multi(&listener.socket, listener_token(place));
        }
        let now = env.now();
        let mut requests = Requests::new(Arc::clone(&shared.ledger.output));
        requests.set_clock(env.clone());
        Self {
            index,
            ring,
            mesh,
            tools: CoreTools::new(executor.shard.clone(), env.clone()),
            requests,
            slots: Rc::new(slots),
            facts,
            limits,
            listeners,
            next_core: 0,
            conns: Slab::default(),
            internal_conns: 0,
            outbox: Outbox::new(index, cores),
            net: NetStats::default(),
            tallies: Tallies::default(),
            reaped_at: now,
            registry: Registry::new(Arc::clone(&shared.ledger.output)),
            pushed: VecDeque::new(),
            monitors: Vec::new(),
            is_monitored: false,
            monitor_lines: Vec::new(),
            slow: Vec::new(),
            thresholds: Thresholds::default(),
            slowlog: Slowlog::default(),
            series: AllSeries::default(),
            log_awaited_since: None,
            pause: None,
            paused: Vec::new(),
            ready: VecDeque::new(),
            gated: Vec::new(),
            unadmitted: Vec::new(),
            starved: Vec::new(),
            roomless: VecDeque::new(),
            room_seen: 0,
            late: Vec::new(),
            released: executor.shard.released_seq(),
            admission_seen: 0,
            finished: Vec::new(),
            stopping: None,
            quiet: false,
            left: false,
            next_sweep: now,
            swept: Earlier::default(),
            executor,
            shared,
            env,
        }
    }

    /// Runs until the server stops.
    ///
    /// # Errors
    /// The ring is broken.
    pub(crate) async fn run(&mut self, driver: &mut Driver) -> std::io::Result<()> {
        let mut completed = Vec::new();
        let mut messages = Vec::new();
        while !self.left {
            let mut busy = self.ring.pass(&mut completed)?;
            self.net.passes += 1;
            self.facts.now_us = self.env.wall_ms() * 1000;
            if !completed.is_empty() {
                self.reaped_at = self.env.now();
            }
            self.thresholds = Thresholds::of(&self.shared.live);
            self.requests.at(self.reaped_at, self.thresholds);
            self.foresee_single_gets(&completed);
            for completion in completed.drain(..) {
                busy = true;
                self.completed(completion);
            }
            self.mesh.receive(MESSAGES_PER_PASS, &mut messages);
            for message in messages.drain(..) {
                busy = true;
                self.received(message);
            }
            busy |= self.go_on();
            busy |= self.mesh.ring();
            driver.after_pass(busy).await?;
        }
        Ok(())
    }

    // ---- step 2: the mesh ----

    pub(super) fn received(&mut self, message: Message) {
        match message {
            Message::Request(request) => {
                self.net.commands_from_mesh += request.commands().len() as u64;
                self.requests.begin(
                    *request,
                    &mut self.executor,
                    &core_stats(
                        self.index,
                        &self.net,
                        self.conns.len() - self.internal_conns,
                        &self.tallies,
                    ),
                    &mut self.finished,
                );
                self.count_anew();
                self.deliver();
            }
            Message::Response(key, shard, response) => self.respond(key, shard, *response),
            Message::Adopt(socket, transport) => self.adopt(socket, transport),
            Message::Ask(from, ask) => self.asked(from, &ask),
            Message::Answer(key, hole, answer) => self.answered(key, hole, *answer),
            Message::Call(call) => call(&self.tools),
            Message::Stop => self.stop(),
            Message::Leave => self.left = true,
        }
    }

    /// Sends the responses that became ready.
    pub(super) fn deliver(&mut self) {
        let shard = u32::try_from(self.index).unwrap_or(u32::MAX);
        while let Some((origin, response)) = self.finished.pop() {
            let ConnRef { core, key } = origin;
            if core as usize == self.index {
                self.respond(key, shard, response);
            } else {
                self.mesh.send(core as usize, Message::Response(key, shard, Box::new(response)));
            }
        }
    }

    /// Answers of a shard for a connection of this core.
    pub(super) fn respond(&mut self, key: Key, shard: u32, response: Response) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.rests.extend(response.rest.map(|rest| (shard as usize, rest)));
        let mut multishard = Vec::new();
        for (hole, payload) in response.parts {
            match conn.gathers.take(hole, shard, payload) {
                None => {}
                Some(Gathered::Reply(bytes)) => conn.replies.fill(hole, bytes, GATHERED_GATE),
                Some(Gathered::Stats(cores, show)) => {
                    let mut out = Vec::new();
                    self.shared.render(&cores, show, conn.session.protocol, &mut out);
                    conn.replies.fill(hole, out.into(), GATHERED_GATE);
                }
                Some(Gathered::Read(reading)) => multishard.push((hole, Step::Read(reading))),
                Some(Gathered::Written(writing)) => multishard.push((hole, Step::Written(writing))),
            }
        }
        for (hole, step) in multishard {
            self.go_on_multishard(key, hole, step);
        }
        self.flush(key);
        drop(response.holding);
    }

    // ---- steps 3 and 4 ----

    /// Whatever became possible since the last pass. Answers whether anything was done.
    fn go_on(&mut self) -> bool {
        let mut busy = false;
        while let Some(filled) = self.executor.next_filled() {
            busy = true;
            let Filled { target, hole, bytes, gate, holding } = filled;
            match target {
                Target::Conn(key) => {
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.replies.fill(hole, bytes, gate);
                        if !conn.awaited.is_empty() {
                            self.note_awaited(key, hole);
                        }
                        self.flush(key);
                    }
                }
                Target::Request(key) => {
                    let finished = &mut self.finished;
                    let released = self.executor.shard.released_seq();
                    self.requests.fill(key, hole, bytes, gate, released, finished);
                    self.deliver();
                }
            }
            // Whoever got the bytes has written them down.
            drop(holding);
        }
        busy |= self.end_pause();
        busy |= self.run_fetched();
        busy |= self.release();
        busy |= self.admit();
        busy |= self.give_room();
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            busy = true;
            if let Some(conn) = self.conns.get_mut(key) {
                conn.queued = false;
                self.ask_rests(key);
                self.run_conn(key);
            }
        }
        busy |= self.publish_events();
        self.feed_monitors();
        busy |= self.flush_pushed();
        self.tell_slow();
        if !self.slow.is_empty() {
            self.keep_slow();
        }
        self.rearm_starved();
        self.sweep();
        busy
    }

    /// Commands whose values have come from disk run again.
    fn run_fetched(&mut self) -> bool {
        let mut busy = false;
        while let Some(target) = self.executor.next_fetched() {
            busy = true;
            let is_there = match target {
                Target::Conn(key) => {
                    let conn = self.conns.get_mut(key);
                    let is_there = conn.map(|conn| conn.waits_for_admission = false).is_some();
                    self.run_conn(key);
                    is_there
                }
                Target::Request(key) => self.requests.fetched(
                    key,
                    &mut self.executor,
                    &core_stats(
                        self.index,
                        &self.net,
                        self.conns.len() - self.internal_conns,
                        &self.tallies,
                    ),
                    &mut self.finished,
                ),
            };
            if !is_there {
                self.executor.forget_fetch(target);
            }
            self.count_anew();
            self.deliver();
        }
        busy
    }

    /// The log went on, or failed.
    fn release(&mut self) -> bool {
        let released = self.executor.shard.released_seq();
        let moved = released != self.released;
        self.time_log(moved);
        if moved {
            self.released = released;
            self.requests.release(released, &mut self.finished);
            self.deliver();
            for key in std::mem::take(&mut self.gated) {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.gated = false;
                    self.flush(key);
                }
            }
        }
        self.fail_gated() || moved
    }

    /// What waits for a log that has failed is answered by the error. Not once: reads of what the log did not take come
    /// later too.
    fn fail_gated(&mut self) -> bool {
        if self.gated.is_empty() && !self.requests.any_gated() {
            return false;
        }
        let Some(error) = self.executor.shard.failure() else { return false };
        let text = crate::error::reply_text(&error);
        for key in std::mem::take(&mut self.gated) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.gated = false;
                conn.replies.fail_gated(self.released, &text);
                self.flush(key);
            }
        }
        self.requests.fail_gated(&text, &mut self.finished);
        self.deliver();
        true
    }

    /// Those who waited for admission try again when it may have changed.
    fn admit(&mut self) -> bool {
        if self.unadmitted.is_empty() && !self.requests.any_waiting() {
            return false;
        }
        let changes = self.executor.changes();
        if changes == self.admission_seen {
            return false;
        }
        self.admission_seen = changes;
        for key in std::mem::take(&mut self.unadmitted) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.waits_for_admission = false;
                self.run_conn(key);
            }
        }
        self.requests.retry(
            &mut self.executor,
            &core_stats(
                self.index,
                &self.net,
                self.conns.len() - self.internal_conns,
                &self.tallies,
            ),
            &mut self.finished,
        );
        self.count_anew();
        self.deliver();
        true
    }

    /// Carries out what CONFIG RESETSTAT has asked of this core.
    fn count_anew(&mut self) {
        if self.requests.take_anew() {
            self.net.begin_anew(&self.executor.shard.stats().counters);
            self.tallies.begin_anew();
        }
    }

    fn rearm_starved(&mut self) {
        if self.starved.is_empty() || self.ring.buffers_free() == 0 {
            return;
        }
        for key in std::mem::take(&mut self.starved) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.starved = false;
                self.rearm(key);
            }
        }
    }

    /// Now and then: replies that nobody reads, idle clients, a paused listener, the end of a stop.
    fn sweep(&mut self) {
        let now = self.env.now();
        if now < self.next_sweep {
            return;
        }
        let next_late = self.answer_late(now);
        self.next_sweep = next_late.unwrap_or(Duration::MAX).min(now + SWEEP_INTERVAL);
        for (place, listener) in self.listeners.iter_mut().enumerate() {
            if std::mem::take(&mut listener.is_paused) {
                self.ring.accept_multi(&listener.socket, listener_token(place));
            }
        }
        self.net.tell_rates(&mut self.swept, now);
        self.tallies.track(self.shared.live.latency_tracking());
        (self.net.input_held_max, self.net.output_held_max) = (0, 0);
        let timeout = self.shared.live.timeout();
        let request_timeout = self.shared.live.request_timeout();
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let held = (conn.unparsed_bytes() as u64, conn.waiting_output() as u64);
            self.net.input_held_max = self.net.input_held_max.max(held.0);
            self.net.output_held_max = self.net.output_held_max.max(held.1);
            if conn.has_lingered(now) {
                self.remove(key);
                continue;
            }
            if conn.session.login == Login::None {
                if !conn.session.must_log_in(&self.shared.live) {
                    // The password was taken away.
                    conn.session.begin(&self.shared.live);
                    conn.parser.set_limits(self.limits.of(&conn.session, &self.shared.live));
                } else if now.saturating_sub(conn.accepted_at) > AUTH_TIME_MAX {
                    tracing::debug!(peer = conn.session.peer, "closed: it did not log in in time");
                    self.kill(key);
                    continue;
                }
            }
            if conn.is_handshaking() && now.saturating_sub(conn.accepted_at) > AUTH_TIME_MAX {
                tracing::debug!(peer = conn.session.peer, "closed: no TLS handshake in time");
                self.kill(key);
                continue;
            }
            if request_timeout.is_some_and(|timeout| conn.sends_too_slowly(now, timeout)) {
                tracing::debug!(peer = conn.session.peer, "closed: its request did not come");
                self.kill(key);
                continue;
            }
            // Who listens has nothing to say.
            if !conn.is_subscriber()
                && !conn.monitors
                && !conn.session.is_internal
                && timeout.is_some_and(|timeout| conn.idle_time(now) > timeout)
            {
                tracing::debug!(peer = conn.session.peer, "closed: it was idle");
                self.kill(key);
                continue;
            }
            if conn.is_in_the_way(now) {
                tracing::warn!(
                    peer = conn.session.peer,
                    "closed: memory is short, and it neither sends the rest of a large request nor reads its replies"
                );
                self.kill(key);
                continue;
            }
            if (conn.is_subscriber() || conn.monitors) && conn.lags(now) {
                self.close_lagging(key);
                continue;
            }
            if conn.sending && now.saturating_sub(conn.progress_at) > OUTPUT_STALL_MAX {
                tracing::warn!(peer = conn.session.peer, "closed: its replies made no progress");
                self.net.output_closed += 1;
                self.kill(key);
            }
        }
        if let Some(began) = self.stopping {
            if now.saturating_sub(began) > DRAIN_MAX && self.conns.len() > 0 {
                let connections = self.conns.len();
                tracing::warn!(connections, "closed: they did not take their last replies in time");
                for key in self.conns.keys() {
                    self.kill(key);
                }
            }
            if !self.quiet && self.conns.len() == 0 && self.requests.len() == 0 {
                self.quiet = true;
                self.shared.core_is_quiet(self.index);
            }
        }
    }

    // ---- stop ----

    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(self.env.now());
        for place in 0..self.listeners.len() {
            self.ring.cancel(listener_token(place));
        }
        self.listeners.clear();
        self.unpause();
        for key in self.conns.keys() {
            self.hang_up(key);
        }
        self.next_sweep = self.env.now();
    }

    /// Ends the executor's tasks and gives the shard back to be closed.
    pub(crate) fn into_shard(self) -> shard::shard::Shard<GlommioEnv> {
        self.executor.close();
        self.tools.close();
        self.executor.shard
    }
}

/// Telemetry of this core at this moment; with what it counts by command only if that is shown: up to a megabyte.
fn core_stats(
    index: usize,
    net: &NetStats,
    connections: usize,
    tallies: &Tallies,
) -> impl Fn(&Executor, bool) -> CoreStats {
    let net = *net;
    move |executor, shows_commands| CoreStats {
        index,
        net: NetStats { connections: connections as u64, ..net },
        shard: executor.shard.stats(),
        keys: executor.shard.key_estimate(),
        tallies: shows_commands.then(|| tallies.clone()),
    }
}
