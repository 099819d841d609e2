//! A round of a connection: the commands that its input holds, up to where something must wait.

use shard::env::Env as _;
use shard::env::ring::{Completion, SocketEvent};
use shard::foresee::FORESEEN_MAX;
use shard::key::SeqNo;

use super::Worker;
use super::late::{Late, LateReply};
use crate::access::{self, Login};
use crate::command::table::Flags;
use crate::command::{self, CommandId, Flow, Place, Refusal};
use crate::dispatch::{ConnParts, Dispatched, Dispatcher};
use crate::limits::{COMMANDS_PER_TURN, TURN_US};
use crate::mesh::Message;
use crate::net::arrivals::Reach;
use crate::net::connection::{Connection, Phase};
use crate::reply::Sink;
use crate::resp::{Ahead, OwnedArgs, Parsed, look_ahead};
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
            conn.note_parsed(consumed);
            conn.push_input(&bytes[consumed..]);
        }
        self.after_commands(key);
    }

    /// Runs what a connection has as input.
    pub(super) fn run_conn(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let may_run = conn.may_run() && !conn.waits_for_admission && !conn.is_clogged();
        if conn.unparsed_bytes() > 0 && may_run {
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
        self.after_commands(key);
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
            limits,
            env,
            ready,
            unadmitted,
            shared,
            late,
            next_sweep,
            ..
        } = self;
        let Some(conn) = conns.get_mut(key) else { return 0 };
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
            let kind = resolved.as_ref().ok().map(|spec| spec.id);
            conn.replies.answering(kind, conn.arrivals.reached(&mut reach, consumed + bytes));
            match resolved {
                Err(refusal) => {
                    if let Refusal::Arity(spec) = refusal {
                        tallies.rejected(spec.id);
                    }
                    let flow = refusal.write(args, conn.replies.buffer());
                    if end_reply(conn, flow) {
                        return input.len();
                    }
                }
                Ok(spec)
                    if !access::is_free(&conn.session, spec)
                        && let Err(error) = access::permit(&conn.session, &facts.live, spec) =>
                {
                    tallies.rejected(spec.id);
                    error.write(conn.replies.buffer());
                    conn.replies.done(SeqNo(0));
                }
                Ok(spec) if spec.flags.has(Flags::NO_AUTH) => {
                    let from = conn.replies.buffer().len();
                    let flow =
                        command::run(&mut conn.session, facts, spec, args, conn.replies.buffer());
                    conn.parser.set_limits(limits.of(&conn.session, &facts.live));
                    if flow == Flow::WrongPassword {
                        let now = env.now();
                        let wait = shared.penalties.failed(&conn.session.peer, now);
                        let reply = conn.replies.buffer().split_off(from);
                        late.push(Late {
                            due: now + wait,
                            key,
                            hole: conn.replies.hole(0),
                            reply: LateReply::Ready(reply),
                        });
                        *next_sweep = (*next_sweep).min(now + wait);
                        return consumed + bytes;
                    }
                    if spec.id == CommandId::Auth && conn.session.login != Login::None {
                        shared.penalties.succeeded(&conn.session.peer);
                    }
                    if end_reply(conn, flow) {
                        return input.len();
                    }
                }
                Ok(spec) if spec.place == Place::Local => {
                    let from = conn.replies.buffer().len();
                    let flow =
                        command::run(&mut conn.session, facts, spec, args, conn.replies.buffer());
                    if let Flow::Late(wait) = flow {
                        let reply = conn.replies.buffer().split_off(from);
                        let (due, hole) = (env.now() + wait, conn.replies.hole(0));
                        late.push(Late { due, key, hole, reply: LateReply::Ready(reply) });
                        *next_sweep = (*next_sweep).min(due);
                        return consumed + bytes;
                    }
                    if end_reply(conn, flow) {
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
                        conn.for_core = Some((spec, OwnedArgs::from(args)));
                        return consumed + bytes;
                    }
                    let mut dispatcher = Dispatcher { index: *index, slots, executor, outbox };
                    let parts = ConnParts {
                        protocol: conn.session.protocol,
                        replies: &mut conn.replies,
                        gathers: &mut conn.gathers,
                    };
                    match dispatcher.dispatch(key, spec, args, parts) {
                        Dispatched::Next => {}
                        Dispatched::Barrier => barrier = true,
                        Dispatched::Later => {
                            net.commands -= 1;
                            return consumed;
                        }
                        Dispatched::Wait => {
                            net.commands -= 1;
                            conn.waits_for_admission = true;
                            unadmitted.push(key);
                            return consumed;
                        }
                    }
                }
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

    /// Sends off what a round of commands made: requests to other cores, replies to the client.
    fn after_commands(&mut self, key: Key) {
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
        self.run_for_core(key);
        self.flush(key);
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

/// Closes the reply that a command without a shard wrote; true: nothing more is run.
fn end_reply(conn: &mut Connection, flow: Flow) -> bool {
    match flow {
        Flow::Continue | Flow::WrongPassword | Flow::Late(_) => {
            conn.replies.done(SeqNo(0));
            false
        }
        Flow::CloseAfterReply => {
            conn.replies.done(SeqNo(0));
            conn.phase = Phase::Finishing;
            true
        }
        Flow::CloseSilently => {
            conn.phase = Phase::Finishing;
            true
        }
    }
}
