//! A round of a connection: the commands that its input holds, up to where something must wait.

use shard::env::Env as _;
use shard::env::ring::{Completion, SocketEvent};
use shard::foresee::FORESEEN_MAX;
use shard::key::SeqNo;

use super::slow::{Awaited, note_run};
use super::{Pause, Worker};
use crate::command::table::Flags;
use crate::command::{self, CommandId, Flow, Place, Refusal, Spec};
use crate::dispatch::{ConnParts, Dispatched, Dispatcher};
use crate::limits::{COMMANDS_PER_TURN, TIMED_ARGS_MIN, TIMED_BYTES_MIN, TURN_US};
use crate::mesh::Message;
use crate::monitor;
use crate::net::arrivals::Reach;
use crate::net::connection::{Connection, Phase};
use crate::reply::{Replies, Sink};
use crate::resp::{Ahead, Args, OwnedArgs, Parsed, Protocol, look_ahead, writer};
use crate::slab::Key;

/// Commands between two looks at the clock.
const COMMANDS_PER_CLOCK: usize = 64;

impl Worker {
    /// Looks up side by side what clients ask for that send one GET at a time; a pipeline does so for itself. A guess for the
    /// processor's caches: each connection still parses and runs its own input.
    pub(super) fn foresee_single_gets(&self, completed: &[Completion]) {
        if completed.len() < 2 {
            return;
        }
        let mut gets = Keys::default();
        for completion in completed {
            if let SocketEvent::Received(buffer) = &completion.event
                && let Some((Ahead::Get(key), [])) = look_ahead(buffer)
                && usize::from(self.slots.shard_of_key(key)) == self.index
            {
                gets.push(key);
                if gets.count == FORESEEN_MAX {
                    break;
                }
            }
        }
        if gets.count > 1 {
            self.executor.shard.foresee(gets.keys());
        }
    }

    /// New bytes. Parsed where they lie when nothing waits before them.
    pub(super) fn input(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.unparsed_bytes() > 0
            || !conn.may_run()
            || conn.waits_for_admission
            || conn.is_clogged()
        {
            conn.push_input(bytes);
            conn.needs_bytes = false;
            if conn.waits_for_admission {
                self.rearm(key);
            } else {
                self.run_conn(key);
            }
            return;
        }
        let consumed = self.run_commands(key, bytes);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.arrivals.parsed(consumed);
            conn.push_input(&bytes[consumed..]);
        }
        self.after_commands(key);
    }

    /// Runs what a connection has as input.
    pub(super) fn run_conn(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let may_run = conn.may_run() && !conn.waits_for_admission && !conn.is_clogged();
        if conn.unparsed_bytes() > 0 && may_run {
            self.run_input(key);
        }
        self.after_commands(key);
    }

    fn run_input(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let input = std::mem::take(&mut conn.input);
        let from = conn.input_from;
        let consumed = self.run_commands(key, &input[from..]);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.input = input;
            conn.arrivals.parsed(consumed);
            conn.consume(from + consumed);
        }
    }

    /// Parses and dispatches commands from `input` until it ends, something must wait, or the turn is over.
    /// Answers the bytes consumed.
    fn run_commands(&mut self, key: Key, input: &[u8]) -> usize {
        let Self {
            conns,
            executor,
            outbox,
            slots,
            facts,
            net,
            tallies,
            index,
            env,
            ready,
            unadmitted,
            released,
            pause,
            paused,
            monitor_lines,
            is_monitored,
            slow,
            thresholds,
            ..
        } = self;
        let Some(conn) = conns.get_mut(key) else { return 0 };
        let is_special = conn.is_special() || pause.is_some() || *is_monitored;
        let mut stalled = conn.stalled_since.take();
        let began = env.now();
        let mut consumed = 0;
        let mut foreseen = 0;
        let mut reach = Reach::default();
        conn.needs_bytes = false;
        for count in 1..=COMMANDS_PER_TURN {
            let rest = &input[consumed..];
            if consumed >= foreseen && !conn.parser.in_request() {
                let seen = Seen::new(rest);
                let is_ours = |key: &&[u8]| usize::from(slots.shard_of_key(key)) == *index;
                if seen.gets.count > 1 {
                    executor.shard.foresee(seen.gets.keys().filter(is_ours));
                }
                if seen.sets.count > 1 {
                    executor.shard.foresee_writes(seen.sets.keys().filter(is_ours));
                }
                foreseen = consumed + seen.bytes.max(1);
            }
            let parsed = match conn.parser.parse(rest) {
                Ok(parsed) => parsed,
                Err(error) => {
                    let before = conn.replies.buffer().len();
                    error.write(conn.replies.buffer());
                    if conn.replies.buffer().len() > before {
                        conn.replies
                            .answering(None, conn.arrivals.reached(&mut reach, input.len()));
                        conn.replies.done(SeqNo(0));
                    }
                    conn.phase = Phase::Finishing;
                    return input.len();
                }
            };
            let bytes = match parsed {
                Parsed::Incomplete => {
                    conn.needs_bytes = true;
                    return consumed;
                }
                Parsed::Empty { consumed: bytes } => {
                    consumed += bytes;
                    continue;
                }
                Parsed::Command { consumed: bytes } => bytes,
            };
            net.commands += 1;
            let args = conn.parser.args(rest);
            let mut barrier = false;
            let resolved = command::resolve(args);
            let is_timed =
                thresholds.times_all || bytes >= TIMED_BYTES_MIN || args.len() >= TIMED_ARGS_MIN;
            let mut since = if is_timed { Some(env.now()) } else { None };
            let lines_before = monitor_lines.len();
            let kind = resolved.as_ref().ok().map(|spec| spec.id);
            conn.replies.answering(kind, conn.arrivals.reached(&mut reach, consumed + bytes));
            if is_special
                && *is_monitored
                && let Ok(spec) = resolved
                && monitor::is_shown(spec)
            {
                monitor::line(monitor_lines, facts.now_us, &conn.session.peer, spec, args);
            }
            match resolved {
                Err(refusal) => {
                    if let Refusal::Arity(spec) = refusal {
                        tallies.rejected(spec.id);
                    }
                    let flow = refusal.write(args, conn.replies.buffer());
                    if end_reply(&mut conn.replies, &mut conn.phase, flow) {
                        return input.len();
                    }
                }
                Ok(spec)
                    if is_special
                        && let modes = Modes::of(conn, *pause)
                        && let Some(special) = modes.heed(spec, args, conn.replies.buffer()) =>
                {
                    match special {
                        Special::Answered => {
                            conn.replies.done(SeqNo(0));
                        }
                        Special::Paused => {
                            net.commands -= 1;
                            monitor_lines.truncate(lines_before);
                            conn.paused = true;
                            paused.push(key);
                            return consumed;
                        }
                        Special::Later => {
                            net.commands -= 1;
                            monitor_lines.truncate(lines_before);
                            conn.settles = true;
                            return consumed;
                        }
                        Special::ForCore => {
                            if !conn.is_settled(*released) {
                                net.commands -= 1;
                                monitor_lines.truncate(lines_before);
                                conn.settles = true;
                                return consumed;
                            }
                            conn.for_core = Some((spec, OwnedArgs::from(args)));
                            return consumed + bytes;
                        }
                    }
                }
                Ok(spec) if spec.place == Place::Local => {
                    let flow =
                        command::run(&mut conn.session, facts, spec, args, conn.replies.buffer());
                    if end_reply(&mut conn.replies, &mut conn.phase, flow) {
                        return input.len();
                    }
                }
                Ok(spec) => {
                    if let Err(error) = command::check(spec, args) {
                        error.write(conn.replies.buffer());
                        conn.replies.done(SeqNo(0));
                        consumed += bytes;
                        continue;
                    }
                    if spec.place == Place::Core {
                        if !conn.is_settled(*released) {
                            net.commands -= 1;
                            monitor_lines.truncate(lines_before);
                            conn.settles = true;
                            return consumed;
                        }
                        conn.for_core = Some((spec, OwnedArgs::from(args)));
                        return consumed + bytes;
                    }
                    let holes = conn.replies.open_holes();
                    let mut dispatcher = Dispatcher { index: *index, slots, executor, outbox };
                    let parts = ConnParts {
                        protocol: conn.session.protocol,
                        replies: &mut conn.replies,
                        gathers: &mut conn.gathers,
                    };
                    match dispatcher.dispatch(key, spec, args, parts) {
                        Dispatched::Next => {
                            if conn.replies.open_holes() > holes
                                && thresholds.watch()
                                && !outbox.has(*index)
                                && let Some(hole) = conn.replies.last_hole()
                                && usize::from(slots.shard_of_key(args.arg(1))) == *index
                            {
                                let awaited = Awaited::new(hole, env.now(), spec, args);
                                conn.awaited.push_back(awaited);
                            }
                            if conn.replies.open_holes() > holes {
                                // Whoever answers it knows how long it takes.
                                since = None;
                            }
                        }
                        Dispatched::Barrier => {
                            barrier = true;
                            since = None;
                        }
                        Dispatched::Later => {
                            net.commands -= 1;
                            monitor_lines.truncate(lines_before);
                            conn.stalled_since = stalled;
                            return consumed;
                        }
                        Dispatched::Wait => {
                            net.commands -= 1;
                            monitor_lines.truncate(lines_before);
                            conn.stalled_since = Some(stalled.unwrap_or(began));
                            conn.waits_for_admission = true;
                            unadmitted.push(key);
                            return consumed;
                        }
                    }
                }
            }
            since = stalled.or(since);
            if let Some(since) = since
                && let Ok(spec) = resolved
            {
                let took = (env.now().saturating_sub(since), stalled.take().is_some());
                note_run(slow, *thresholds, &conn.session, spec, args, took);
            }
            consumed += bytes;
            if barrier || conn.is_round_full() {
                return consumed;
            }
            if count % COMMANDS_PER_CLOCK == 0
                && env.now().saturating_sub(began).as_micros() >= u128::from(TURN_US)
            {
                break;
            }
        }
        // The turn is over, the input perhaps not.
        if !conn.queued && consumed < input.len() {
            conn.queued = true;
            ready.push_back(key);
        }
        consumed
    }

    /// Sends off what a round of commands made: requests to other cores, replies to the client. A round that ended with a
    /// command of the core goes on behind it until the turn is over.
    fn after_commands(&mut self, key: Key) {
        self.send_off(key);
        let mut began = None;
        while self.run_for_core(key) {
            let now = self.env.now();
            let spent = now.saturating_sub(*began.get_or_insert(now));
            if spent.as_micros() >= u128::from(TURN_US) {
                break;
            }
            self.run_input(key);
            self.send_off(key);
        }
        self.flush(key);
    }

    fn send_off(&mut self, key: Key) {
        let mut own = None;
        for (core, mut request) in self.outbox.take() {
            if let Some(conn) = self.conns.get_mut(key) {
                request.head = conn.replies.first_open_hole().unwrap_or_default();
                if request.is_large() {
                    request.hold(&self.shared.ledger.input, conn.room.take());
                }
            }
            if core == self.index {
                own = Some(request);
            } else {
                self.mesh.send(core, Message::Request(request));
            }
        }
        if let Some(request) = own {
            self.received(Message::Request(request));
        }
    }

    /// Sends commands again that another core sent back because their replies were too many.
    pub(super) fn ask_rests(&mut self, key: Key) {
        while let Some(conn) = self.conns.get_mut(key)
            && let Some(next) = conn.askable_rest()
        {
            let (core, mut request) = conn.rests.swap_remove(next);
            request.head = conn.replies.first_open_hole().unwrap_or_default();
            if core == self.index {
                self.received(Message::Request(request));
            } else {
                self.mesh.send(core, Message::Request(request));
            }
        }
    }
}

/// The keys of the plain commands that a pipeline holds next.
struct Seen<'a> {
    gets: Keys<'a>,
    sets: Keys<'a>,
    /// Bytes looked at.
    bytes: usize,
}

#[derive(Default)]
struct Keys<'a> {
    keys: [&'a [u8]; FORESEEN_MAX],
    count: usize,
}

impl<'a> Keys<'a> {
    fn push(&mut self, key: &'a [u8]) {
        self.keys[self.count] = key;
        self.count += 1;
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        self.keys[..self.count].iter().copied()
    }
}

impl<'a> Seen<'a> {
    fn new(input: &'a [u8]) -> Self {
        let mut seen = Self { gets: Keys::default(), sets: Keys::default(), bytes: 0 };
        let mut rest = input;
        for _ in 0..FORESEEN_MAX {
            let Some((command, behind)) = look_ahead(rest) else { break };
            match command {
                Ahead::Get(key) => seen.gets.push(key),
                Ahead::Set(key) => seen.sets.push(key),
            }
            rest = behind;
        }
        seen.bytes = input.len() - rest.len();
        seen
    }
}

/// What becomes of a command of a connection that is not like others.
enum Special {
    /// Its reply is written.
    Answered,
    /// It waits for the replies before it.
    Later,
    /// It waits for the end of a pause.
    Paused,
    /// Its core carries it out, as it does not for others.
    ForCore,
}

/// What makes a connection unlike others.
struct Modes {
    publishes: bool,
    /// It listens and speaks RESP2, where a message cannot be told from a reply.
    listens_only: bool,
    pause: Option<Pause>,
    monitors: bool,
}

impl Modes {
    fn of(conn: &Connection, pause: Option<Pause>) -> Self {
        Self {
            publishes: conn.asks.publishes() > 0,
            listens_only: conn.is_subscriber() && conn.session.protocol == Protocol::Resp2,
            pause,
            monitors: conn.monitors,
        }
    }

    /// Looks at a command; `None`: it is run like any other.
    #[cold]
    fn heed(&self, spec: &'static Spec, args: Args<'_>, out: &mut Vec<u8>) -> Option<Special> {
        use CommandId as Id;
        let is_publish = matches!(spec.id, Id::Publish | Id::Spublish);
        if self.publishes && !is_publish {
            return Some(Special::Later);
        }
        if self.monitors && (spec.is_write() || spec.flags.has(Flags::READONLY) || is_publish) {
            writer::error(out, "ERR Replica can't interact with the keyspace");
            return Some(Special::Answered);
        }
        if self.pause.is_some_and(|pause| pause.holds(spec)) {
            return Some(Special::Paused);
        }
        if spec.id == Id::Reset {
            return Some(Special::ForCore);
        }
        if !self.listens_only {
            return None;
        }
        match spec.id {
            Id::Ping if args.len() <= 2 => {
                writer::array(out, 2);
                writer::bulk(out, b"pong");
                writer::bulk(out, args.get(1).unwrap_or_default());
                Some(Special::Answered)
            }
            Id::Subscribe
            | Id::Unsubscribe
            | Id::Psubscribe
            | Id::Punsubscribe
            | Id::Ssubscribe
            | Id::Sunsubscribe
            | Id::Ping
            | Id::Quit => None,
            _ => {
                writer::error(
                    out,
                    format_args!(
                        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                         RESET are allowed in this context",
                        spec.name
                    ),
                );
                Some(Special::Answered)
            }
        }
    }
}

/// Closes the reply that a command without a shard wrote; true: nothing more is run.
fn end_reply(replies: &mut Replies, phase: &mut Phase, flow: Flow) -> bool {
    match flow {
        Flow::Continue => {
            replies.done(SeqNo(0));
            false
        }
        Flow::CloseAfterReply => {
            replies.done(SeqNo(0));
            *phase = Phase::Finishing;
            true
        }
        Flow::CloseSilently => {
            *phase = Phase::Finishing;
            true
        }
    }
}
