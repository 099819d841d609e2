//! A round of a connection: the commands that its input holds, up to where something must wait.

use std::time::Duration;

use shard::env::Env as _;
use shard::env::glommio::GlommioEnv;
use shard::env::ring::{Completion, SocketEvent};
use shard::foresee::FORESEEN_MAX;
use shard::key::SeqNo;

use super::late::{Late, LateReply};
use super::slow::{Awaited, SlowNote, Thresholds, note_run};
use super::special::{Modes, Special};
use super::{Pause, Worker, transactions};
use crate::access::{self, Login};
use crate::command::{self, CommandId, Flow, Place, Refusal, ServerFacts, Spec};
use crate::dispatch::{ConnParts, Dispatched, Dispatcher};
use crate::latency::Tallies;
use crate::limits::{COMMANDS_PER_TURN, TIMED_ARGS_MIN, TIMED_BYTES_MIN, TURN_US};
use crate::mesh::Message;
use crate::monitor;
use crate::net::arrivals::Reach;
use crate::net::connection::{Connection, Phase};
use crate::reply::Sink;
use crate::resp::{Ahead, Args, OwnedArgs, Parsed, Parser, look_ahead};
use crate::server::Shared;
use crate::slab::Key;
use crate::transaction::is_never_queued;

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
            || !conn.replay.is_done()
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
            conn.note_parsed(consumed);
            conn.push_input(&bytes[consumed..]);
        }
        self.after_commands(key);
    }

    /// Runs what a connection has as input.
    pub(super) fn run_conn(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let may_run = conn.may_run() && !conn.waits_for_admission && !conn.is_clogged();
        if (conn.unparsed_bytes() > 0 || !conn.replay.is_done()) && may_run {
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
            conn.note_parsed(consumed);
            conn.consume(from + consumed);
        }
    }

    /// Runs commands: first those that a transaction left to be run one by one, then those that `input` begins with, until
    /// something must wait or the turn is over. Answers the bytes consumed.
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
            limits,
            env,
            ready,
            unadmitted,
            shared,
            late,
            next_sweep,
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
        let began = env.now();
        let mut reach = Reach::default();
        conn.needs_bytes = false;
        // Both lend their arguments to the commands that change the connection.
        let mut replay = std::mem::take(&mut conn.replay);
        let mut parser =
            std::mem::replace(&mut conn.parser, Parser::new(limits.of(&conn.session, &facts.live)));
        let dispatcher = Dispatcher { index: *index, slots, executor, outbox };
        let mut round = Round {
            key,
            dispatcher,
            facts,
            tallies,
            unadmitted,
            env,
            shared,
            late,
            next_sweep,
            began,
            released: *released,
            stalled: conn.stalled_since.take(),
            is_special: conn.is_special() || pause.is_some() || *is_monitored,
            pause: *pause,
            paused,
            is_monitored: *is_monitored,
            monitor_lines,
            slow,
            thresholds: *thresholds,
        };
        let (mut consumed, mut foreseen) = (0, 0);
        let mut step = Step::Next;
        let mut count = 0;
        while step == Step::Next && count < COMMANDS_PER_TURN {
            count += 1;
            if count % COMMANDS_PER_CLOCK == 0
                && env.now().saturating_sub(began).as_micros() >= u128::from(TURN_US)
            {
                break;
            }
            if let Some((spec, args)) = replay.peek() {
                conn.replies.answering(Some(spec.id), began);
                step = round.run(conn, Ok(spec), args, args.data_bytes());
                if step.has_run() {
                    net.commands += 1;
                    replay.advance();
                }
                continue;
            }
            let rest = &input[consumed..];
            if consumed >= foreseen && !parser.in_request() {
                foreseen = consumed + round.foresee(rest);
            }
            let parsed = match parser.parse(rest) {
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
                    step = Step::End;
                    break;
                }
            };
            let bytes = match parsed {
                Parsed::Incomplete => {
                    conn.needs_bytes = true;
                    step = Step::Wait;
                    break;
                }
                Parsed::Empty { consumed: bytes } => {
                    consumed += bytes;
                    continue;
                }
                Parsed::Command { consumed: bytes } => bytes,
            };
            let args = parser.args(rest);
            let resolved = command::resolve(args);
            let kind = resolved.as_ref().ok().map(|spec| spec.id);
            conn.replies.answering(kind, conn.arrivals.reached(&mut reach, consumed + bytes));
            step = round.run(conn, resolved, args, bytes);
            if matches!(kind, Some(CommandId::Auth | CommandId::Hello | CommandId::Reset)) {
                parser.set_limits(limits.of(&conn.session, &facts.live));
            }
            if !conn.replay.is_done() {
                replay = std::mem::take(&mut conn.replay);
            }
            if step.has_run() {
                net.commands += 1;
                consumed += bytes;
            }
        }
        if step == Step::End {
            consumed = input.len();
        }
        // The turn is over, the input perhaps not.
        if step == Step::Next && !conn.queued && (consumed < input.len() || !replay.is_done()) {
            conn.queued = true;
            ready.push_back(key);
        }
        (conn.replay, conn.parser) = (replay, parser);
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
            self.send_request(core, request);
        }
    }
}

/// What became of a command, and how the round goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It was run; the next one.
    Next,
    /// It was run; what follows waits.
    Stop,
    /// Nothing more is run for this client.
    End,
    /// It was not run, and is met again.
    Wait,
}

impl Step {
    fn has_run(self) -> bool {
        self != Self::Wait
    }
}

/// What a command of a round meets, beside its connection.
struct Round<'a> {
    key: Key,
    dispatcher: Dispatcher<'a>,
    facts: &'a ServerFacts,
    tallies: &'a mut Tallies,
    unadmitted: &'a mut Vec<Key>,
    env: &'a GlommioEnv,
    shared: &'a Shared,
    late: &'a mut Vec<Late>,
    next_sweep: &'a mut Duration,
    began: Duration,
    released: SeqNo,
    /// Since when the first command waits, and whether to be admitted.
    stalled: Option<(Duration, bool)>,
    /// Its commands are looked at before they are run.
    is_special: bool,
    pause: Option<Pause>,
    paused: &'a mut Vec<Key>,
    is_monitored: bool,
    monitor_lines: &'a mut Vec<u8>,
    slow: &'a mut Vec<SlowNote>,
    thresholds: Thresholds,
}

impl Round<'_> {
    /// Looks up side by side what the next commands of a pipeline ask for. Answers how many bytes of it were looked at.
    fn foresee(&self, input: &[u8]) -> usize {
        let seen = Seen::new(input);
        let Dispatcher { index, slots, executor, .. } = &self.dispatcher;
        let is_ours = |key: &&[u8]| usize::from(slots.shard_of_key(key)) == *index;
        if seen.gets.count > 1 {
            executor.shard.foresee(seen.gets.keys().filter(is_ours));
        }
        if seen.sets.count > 1 {
            executor.shard.foresee_writes(seen.sets.keys().filter(is_ours));
        }
        seen.bytes.max(1)
    }

    /// Runs or sends one command of so many bytes.
    #[inline]
    fn run(
        &mut self,
        conn: &mut Connection,
        resolved: Result<&'static Spec, Refusal>,
        args: Args<'_>,
        bytes: usize,
    ) -> Step {
        let spec = match resolved {
            Ok(spec) => spec,
            Err(refusal) => {
                if let Refusal::Arity(spec) = refusal {
                    self.tallies.rejected(spec.id);
                }
                if let Some(transaction) = &mut conn.transaction {
                    transaction.fail();
                }
                if let Refusal::Arity(spec) = refusal
                    && spec.id == CommandId::Exec
                {
                    let dispatched = transactions::abort(conn, spec);
                    return self.after(conn, dispatched);
                }
                let flow = refusal.write(args, conn.replies.buffer());
                return end_reply(conn, flow);
            }
        };
        if !access::is_free(&conn.session, spec)
            && let Err(error) = access::permit(&conn.session, &self.facts.live, spec)
        {
            self.tallies.rejected(spec.id);
            if let Some(transaction) = &mut conn.transaction {
                transaction.fail();
            }
            error.write(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
            return Step::Next;
        }
        let is_timed = self.thresholds.times_all
            || bytes >= TIMED_BYTES_MIN
            || args.len() >= TIMED_ARGS_MIN
            || self.stalled.is_some();
        if is_timed {
            return self.run_timed(conn, spec, args);
        }
        self.run_known(conn, spec, args)
    }

    /// Runs one, and notes it if it took long.
    #[cold]
    fn run_timed(&mut self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) -> Step {
        let stalled = self.stalled;
        let since = stalled.map_or_else(|| self.env.now(), |(since, _)| since);
        let holes = conn.replies.open_holes();
        let step = self.run_known(conn, spec, args);
        // What is answered later is noted by whoever answers it.
        if step.has_run() && conn.replies.open_holes() == holes && spec.place != Place::Core {
            let took = self.env.now().saturating_sub(since);
            let is_stall = stalled.is_some_and(|(_, is_stall)| is_stall);
            note_run(self.slow, self.thresholds, &conn.session, spec, args, (took, is_stall));
        }
        if step.has_run() {
            self.stalled = None;
        }
        step
    }

    #[inline]
    fn run_known(&mut self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) -> Step {
        if self.is_special {
            return self.run_special(conn, spec, args);
        }
        self.run_plain(conn, spec, args)
    }

    /// Runs one while someone monitors or commands are held back, or of a connection that is not like others.
    #[cold]
    fn run_special(&mut self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) -> Step {
        let lines = self.monitor_lines.len();
        if self.is_monitored && monitor::is_shown(spec) {
            let peer = &conn.session.peer;
            monitor::line(self.monitor_lines, self.facts.now_us, peer, spec, args);
        }
        let modes = Modes::of(conn, self.pause);
        let step = match modes.heed(spec, args, conn.replies.buffer()) {
            None => self.run_plain(conn, spec, args),
            Some(Special::Answered) => {
                conn.replies.done(SeqNo(0));
                Step::Next
            }
            Some(Special::Paused) => {
                conn.paused = true;
                self.paused.push(self.key);
                Step::Wait
            }
            Some(Special::Later) => {
                conn.settles = true;
                Step::Wait
            }
            Some(Special::ForCore) => self.leave_to_core(conn, spec, args),
        };
        if !step.has_run() {
            self.monitor_lines.truncate(lines);
        }
        step
    }

    /// A command that the core carries out behind this round, once all before it is done and released.
    fn leave_to_core(&self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) -> Step {
        if !conn.is_settled(self.released) {
            conn.settles = true;
            return Step::Wait;
        }
        conn.for_core = Some((spec, OwnedArgs::from(args)));
        Step::Stop
    }

    fn run_plain(&mut self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) -> Step {
        if conn.transaction.is_some() && !is_never_queued(spec.id) {
            let dispatched = transactions::queue(conn, spec, args, &self.dispatcher);
            return self.after(conn, dispatched);
        }
        if spec.place == Place::Local {
            return self.local(conn, spec, args);
        }
        if let Err(error) = command::check(spec, args) {
            error.write(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
            return Step::Next;
        }
        if spec.place == Place::Core {
            return self.leave_to_core(conn, spec, args);
        }
        let holes = conn.replies.open_holes();
        let dispatched = if spec.place == Place::Transaction {
            transactions::run(conn, self.key, spec, args, self.facts, &mut self.dispatcher)
        } else {
            let parts = ConnParts {
                protocol: conn.session.protocol,
                replies: &mut conn.replies,
                gathers: &mut conn.gathers,
            };
            self.dispatcher.dispatch(self.key, spec, args, parts)
        };
        if dispatched == Dispatched::Next && conn.replies.open_holes() > holes {
            self.await_disk(conn, spec, args);
        }
        self.after(conn, dispatched)
    }

    /// A command that is answered here.
    fn local(&mut self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) -> Step {
        let from = conn.replies.buffer().len();
        let out = conn.replies.buffer();
        let flow = command::run(&mut conn.session, self.facts, spec, args, out);
        if spec.id == CommandId::Reset {
            conn.leave_transaction();
            conn.replies.reset_mute();
        }
        let wait = match flow {
            Flow::WrongPassword => self.shared.penalties.failed(&conn.session.peer, self.env.now()),
            Flow::Late(wait) => wait,
            _ => {
                if spec.id == CommandId::Auth && conn.session.login != Login::None {
                    self.shared.penalties.succeeded(&conn.session.peer);
                }
                return end_reply(conn, flow);
            }
        };
        let reply = conn.replies.buffer().split_off(from);
        let (due, hole) = (self.env.now() + wait, conn.replies.hole(0));
        self.late.push(Late { due, key: self.key, hole, reply: LateReply::Ready(reply) });
        *self.next_sweep = (*self.next_sweep).min(due);
        Step::Stop
    }

    /// Notes when a command began whose answer this core's own disk brings. Those that are sent to other cores are timed there.
    fn await_disk(&self, conn: &mut Connection, spec: &'static Spec, args: Args<'_>) {
        let Dispatcher { index, slots, outbox, .. } = &self.dispatcher;
        let is_here = |key: &[u8]| usize::from(slots.shard_of_key(key)) == *index;
        if self.thresholds.watch()
            && !outbox.has(*index)
            && spec.place == Place::Keys
            && spec.key_positions(args.len()).next().is_some_and(|at| is_here(args.arg(at)))
            && let Some(hole) = conn.replies.last_hole()
        {
            conn.awaited.push_back(Awaited::new(hole, self.env.now(), spec, args));
        }
    }

    fn after(&mut self, conn: &mut Connection, dispatched: Dispatched) -> Step {
        match dispatched {
            Dispatched::Next if conn.is_round_full() => Step::Stop,
            Dispatched::Next => Step::Next,
            Dispatched::Barrier => Step::Stop,
            Dispatched::Later => {
                conn.stalled_since = self.stalled;
                Step::Wait
            }
            Dispatched::Fetching => {
                conn.stalled_since = self.stalled.or(Some((self.began, false)));
                conn.waits_for_admission = true;
                Step::Wait
            }
            Dispatched::Wait => {
                conn.stalled_since = self.stalled.or(Some((self.began, true)));
                conn.waits_for_admission = true;
                self.unadmitted.push(self.key);
                Step::Wait
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

/// Closes the reply that a command without a shard wrote.
fn end_reply(conn: &mut Connection, flow: Flow) -> Step {
    if flow != Flow::CloseSilently {
        conn.replies.done(SeqNo(0));
    }
    if flow == Flow::Continue {
        return if conn.is_round_full() { Step::Stop } else { Step::Next };
    }
    conn.phase = Phase::Finishing;
    Step::End
}
