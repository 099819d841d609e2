//! One client connection: its input, its replies, what it waits for. State and small questions; `worker` moves it.
//!
//! # Invariants
//! - Commands run in the order in which they came. Where one must wait (admission, replies from elsewhere), the rest of
//!   the input stays unparsed: one round of a connection is under way at a time.
//! - At most one send is in flight; what becomes ready meanwhile gathers in `out`.
//! - Input is held up to one request (`ParserLimits`); while whole requests wait, up to `INPUT_BYTES_HELD`, then the
//!   socket is no longer read (a receive that was armed still brings one buffer).
//! - What is held beyond `HOLDING_BYTES_FREE` is written down in the ledger, input before it comes.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shard::huge_pages::{HUGE_BUFFER_BYTES_MIN, prefer_huge_pages};
use shard::key::SeqNo;

use crate::access::Login;
use crate::ask::Asks;
use crate::command::{Session, Spec};
use crate::gather::Gathers;
use crate::ledger::{HOLDING_BYTES_FREE, Holding, Ledger};
use crate::limits::{
    HOLD_PROGRESS_BYTES, HOLD_STALL_MAX, INPUT_BYTES_HELD, LINGER_BYTES_MAX, LINGER_TIME_MAX,
    LONG_REQUEST_BYTES, OUTPUT_BYTES_BEFORE_AUTH_MAX, OUTPUT_BYTES_STOP_READING, PUBLISHES_MAX,
    PUSH_BYTES_FOR_A_WHILE, PUSH_TIME_MAX, RESPONSE_BYTES_MAX,
};
use crate::mesh::Request;
use crate::net::arrivals::Arrivals;
use crate::net::tls::Tls;
use crate::reply::Replies;
use crate::resp::{OwnedArgs, Parser, ParserLimits};
use crate::transaction::{Replay, Transaction};
use crate::watch::Flag;
use crate::worker::Awaited;

/// What a connection is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// No more commands; replies still leave, then it is closed.
    Finishing,
    /// The last reply is with the kernel, and the peer was told that nothing follows; what it still sends is thrown away
    /// until it ends, for a bounded time and number of bytes.
    Lingering,
    /// Nothing more leaves; it goes when its send has come back.
    Dead,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts about it, each true or not by itself")]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) phase: Phase,
    /// Bytes not yet parsed: `input[input_from..]`.
    pub(crate) input: Vec<u8>,
    pub(crate) input_from: usize,
    /// When those came, or those of the receive that is being parsed.
    pub(crate) arrivals: Arrivals,
    pub(crate) parser: Parser,
    pub(crate) session: Session,
    pub(crate) replies: Replies,
    pub(crate) gathers: Gathers,
    /// What was asked of other cores for it.
    pub(crate) asks: Asks,
    /// Channels, patterns and shard channels that it listens to.
    pub(crate) subscriptions: [usize; 3],
    /// It is sent what others publish, and is in the list of those who are to be flushed.
    pub(crate) pushed: bool,
    /// Since when more waits for it than a subscriber may leave unread for long.
    pub(crate) lags_since: Option<Duration>,
    /// It is shown every command.
    pub(crate) monitors: bool,
    /// Commands whose answers come from the disk, and since when the shard refuses its next one.
    pub(crate) awaited: VecDeque<Awaited>,
    /// Or whether it is refused (false: it waits for the disk).
    pub(crate) stalled_since: Option<(Duration, bool)>,
    /// What was pushed while the array of a transaction's replies was not whole.
    pub(crate) held_pushes: Vec<Bytes>,
    held_push_bytes: usize,
    /// Its next command waits until the replies before it are released.
    pub(crate) settles: bool,
    /// Its next command waits for the end of a pause.
    pub(crate) paused: bool,
    /// A command that this core itself carries out, once it is through with the round (`worker::core_commands`).
    pub(crate) for_core: Option<(&'static Spec, OwnedArgs)>,
    /// What was queued since MULTI.
    pub(crate) transaction: Option<Transaction>,
    /// Of the keys that it watches.
    pub(crate) watch: Option<Flag>,
    /// Commands of a transaction over several shards: they come before what is to be parsed.
    pub(crate) replay: Replay,
    /// For what the transaction holds.
    queued_room: Holding,
    /// Commands that another core sent back: shard, and what is to be asked again.
    pub(crate) rests: Vec<(usize, Box<Request>)>,
    pub(crate) out: Vec<u8>,
    /// Where it speaks TLS.
    pub(crate) tls: Option<Box<Tls>>,
    /// Nothing of a request is there, or since when there is a part and no whole one has come.
    part_since: Option<Duration>,
    /// The memory of all connections, and what this one has of it: for `input`, and for replies that have not left.
    ledger: Arc<Ledger>,
    pub(crate) room: Holding,
    owed: Holding,
    /// It is not read until there is room for more of its request.
    pub(crate) waits_for_room: bool,
    /// It is in the list of those who wait for room, or have waited and are still there.
    pub(crate) is_roomless: bool,
    /// A send is in flight, and of how many bytes.
    pub(crate) sending: bool,
    pub(crate) sending_bytes: usize,
    /// A receive is armed.
    pub(crate) receiving: bool,
    /// Its receive ended because no buffer was free.
    pub(crate) starved: bool,
    /// The shard of this core did not admit its next command.
    pub(crate) waits_for_admission: bool,
    /// It is in the list of those that go on in the next pass.
    pub(crate) queued: bool,
    /// It is in the list of those that wait for the shard's log.
    pub(crate) gated: bool,
    /// No more input is taken: the peer ended it, or the server stops. What was received whole is still run.
    pub(crate) hung_up: bool,
    /// The parser has seen all of the input and wants more: what is unparsed is part of one request.
    pub(crate) needs_bytes: bool,
    /// When a send last made progress (or began).
    pub(crate) progress_at: Duration,
    pub(crate) last_active_at: Duration,
    pub(crate) accepted_at: Duration,
    /// When it last had sent [`HOLD_PROGRESS_BYTES`] more, and what it has sent since.
    sent_enough_at: Duration,
    sent_since_bytes: usize,
    /// When it began to linger, and what was thrown away since, in bytes.
    pub(crate) lingers_since: Duration,
    pub(crate) discarded_bytes: u64,
}

impl Connection {
    pub(crate) fn new(
        socket: OwnedFd,
        limits: ParserLimits,
        session: Session,
        ledger: Arc<Ledger>,
        now: Duration,
    ) -> Self {
        Self {
            socket,
            phase: Phase::Open,
            input: Vec::new(),
            input_from: 0,
            arrivals: Arrivals::default(),
            parser: Parser::new(limits),
            session,
            replies: Replies::default(),
            gathers: Gathers::default(),
            asks: Asks::default(),
            subscriptions: [0; 3],
            pushed: false,
            lags_since: None,
            monitors: false,
            awaited: VecDeque::new(),
            stalled_since: None,
            held_pushes: Vec::new(),
            held_push_bytes: 0,
            settles: false,
            paused: false,
            for_core: None,
            transaction: None,
            watch: None,
            replay: Replay::default(),
            queued_room: Holding::default(),
            rests: Vec::new(),
            out: Vec::new(),
            tls: None,
            part_since: None,
            ledger,
            room: Holding::default(),
            owed: Holding::default(),
            waits_for_room: false,
            is_roomless: false,
            sending: false,
            sending_bytes: 0,
            receiving: false,
            starved: false,
            waits_for_admission: false,
            queued: false,
            gated: false,
            hung_up: false,
            needs_bytes: false,
            progress_at: now,
            last_active_at: now,
            accepted_at: now,
            sent_enough_at: now,
            sent_since_bytes: 0,
            lingers_since: now,
            discarded_bytes: 0,
        }
    }

    /// What is sent next: replies, as records where it speaks TLS. `is_last`: nothing follows.
    pub(crate) fn next_output(&mut self, is_last: bool) -> Vec<u8> {
        let out = std::mem::take(&mut self.out);
        let Some(tls) = &mut self.tls else { return out };
        tls.push(out);
        if is_last {
            tls.finish();
        }
        tls.seal()
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Commands were taken off the input.
    pub(crate) fn note_parsed(&mut self, bytes: usize) {
        if bytes > 0 {
            self.part_since = None;
        }
    }

    /// It has begun a request, and for `timeout` neither its end has come nor [`HOLD_PROGRESS_BYTES`] more of it. Asked at
    /// each sweep: the first time it only takes note.
    pub(crate) fn sends_too_slowly(&mut self, now: Duration, timeout: Duration) -> bool {
        let waits_for_client = self.needs_bytes
            && self.unparsed_bytes() > 0
            && !self.waits_for_room
            && self.phase == Phase::Open
            && self.is_drained();
        if !waits_for_client {
            self.part_since = None;
            return false;
        }
        let began = *self.part_since.get_or_insert(now);
        now.saturating_sub(began.max(self.sent_enough_at)) > timeout
    }

    /// Whether the next command may be parsed now.
    pub(crate) fn may_run(&self) -> bool {
        self.phase == Phase::Open && !self.is_held()
    }

    /// Its next command waits: for replies before it, or for the end of a pause.
    fn is_held(&self) -> bool {
        self.replies.has_open_holes() || self.settles || self.paused
    }

    /// Whether its commands are looked at before they are run: it listens, monitors, or messages of it are under way.
    pub(crate) fn is_special(&self) -> bool {
        self.is_subscriber() || self.monitors || self.asks.publishes() > 0
    }

    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscriptions != [0; 3]
    }

    /// Whether the next command may be run in this turn, behind one that its core has carried out. Messages that other cores
    /// have not confirmed hold up no message behind them, up to a bound.
    pub(crate) fn may_go_on(&self) -> bool {
        self.phase == Phase::Open
            && !self.settles
            && !self.paused
            && self.has_commands()
            && !self.waits_for_admission
            && !self.is_clogged()
            && self.replies.open_holes() == self.asks.publishes()
            && self.asks.publishes() < PUBLISHES_MAX
    }

    /// Whether a command that its core carries out may be run: what was asked before it is done, and released.
    pub(crate) fn is_settled(&self, released: SeqNo) -> bool {
        self.replies.open_holes() == self.asks.publishes() && self.replies.is_released(released)
    }

    /// Keeps what was pushed until the array of its transaction's replies is whole.
    pub(crate) fn hold_push(&mut self, bytes: Bytes) {
        self.held_push_bytes += bytes.len();
        self.held_pushes.push(bytes);
    }

    /// Lets go of that once it is.
    pub(crate) fn release_pushes(&mut self) {
        if self.replay.is_done() {
            self.held_push_bytes = 0;
            for bytes in std::mem::take(&mut self.held_pushes) {
                self.replies.push(bytes);
            }
        }
    }

    /// What waits for a client that is sent what it has not asked for.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.waiting_output() + self.sending_bytes + self.held_push_bytes
    }

    /// Whether it leaves unread more than a subscriber may.
    pub(crate) fn lags(&mut self, now: Duration) -> bool {
        if self.unread_bytes() <= PUSH_BYTES_FOR_A_WHILE {
            self.lags_since = None;
            return false;
        }
        let since = *self.lags_since.get_or_insert(now);
        now.saturating_sub(since) > PUSH_TIME_MAX
    }

    /// Whether the input may hold a whole request: one that was not looked at since the last bytes came.
    pub(crate) fn has_commands(&self) -> bool {
        self.unparsed_bytes() > 0 && !self.needs_bytes || !self.replay.is_done()
    }

    /// Writes down what the transaction holds.
    pub(crate) fn hold_transaction(&mut self) {
        let bytes = self.transaction.as_ref().map_or(0, Transaction::bytes);
        if bytes > HOLDING_BYTES_FREE {
            self.queued_room.set(&self.ledger.input, bytes);
        }
    }

    pub(crate) fn end_transaction(&mut self) {
        self.transaction = None;
        self.queued_room.set(&self.ledger.input, 0);
    }

    /// With the watches that belong to it.
    pub(crate) fn leave_transaction(&mut self) {
        self.end_transaction();
        self.watch = None;
    }

    /// Adds what was received, or what the parser left of it.
    pub(crate) fn push_input(&mut self, bytes: &[u8]) {
        if self.input_from == self.input.len() {
            self.input.clear();
            self.input_from = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// Forgets input that was parsed. Moves the rest to the front only when that costs less than it frees.
    pub(crate) fn consume(&mut self, upto: usize) {
        assert!(upto <= self.input.len());
        self.input_from = upto;
        if self.input_from == self.input.len() {
            self.input.clear();
            self.input_from = 0;
            if self.input.capacity() > HOLDING_BYTES_FREE {
                self.input = Vec::new();
            }
        } else if self.input_from >= self.input.len() / 2 {
            self.input.drain(..self.input_from);
            self.input_from = 0;
        }
    }

    pub(crate) fn unparsed_bytes(&self) -> usize {
        self.input.len() - self.input_from
    }

    /// Whether the socket should be read.
    pub(crate) fn wants_input(&self) -> bool {
        if self.phase == Phase::Lingering {
            return true;
        }
        if self.phase != Phase::Open || self.hung_up {
            return false;
        }
        // Of a request that is not whole the parser itself bounds what it needs.
        let has_enough = self.has_commands() && self.unparsed_bytes() >= INPUT_BYTES_HELD;
        !has_enough && !self.is_clogged()
    }

    /// The client does not read its replies as fast as it sends commands.
    pub(crate) fn is_clogged(&self) -> bool {
        let waiting = self.waiting_output();
        let max = match self.session.login {
            Login::None => OUTPUT_BYTES_BEFORE_AUTH_MAX,
            _ => OUTPUT_BYTES_STOP_READING,
        };
        waiting >= max || (waiting > HOLDING_BYTES_FREE && self.ledger.output.is_full())
    }

    /// Bytes came that are to be parsed.
    pub(crate) fn note_arrival(&mut self, bytes: usize, now: Duration) {
        // All that was here has been looked at: it is the beginning of what comes now.
        let is_rest = self.needs_bytes && self.unparsed_bytes() > 0;
        self.arrivals.came(bytes, now, is_rest);
    }

    /// The client has sent so many bytes.
    pub(crate) fn note_received(&mut self, bytes: usize, now: Duration) {
        self.last_active_at = now;
        self.sent_since_bytes += bytes;
        if self.sent_since_bytes >= HOLD_PROGRESS_BYTES {
            self.sent_enough_at = now;
            self.sent_since_bytes = 0;
        }
    }

    /// It is in the middle of a long request.
    pub(crate) fn is_to_send_much(&self) -> bool {
        self.needs_bytes && self.parser.needed_hint(self.unparsed_bytes()) >= LONG_REQUEST_BYTES
    }

    /// Whether it may ask for room: one that waits has its turn in the list, unless it needs none any more.
    pub(crate) fn may_take_room(&self) -> bool {
        !self.waits_for_room || self.input.len() <= HOLDING_BYTES_FREE
    }

    /// Sees that there is memory for more input than is held, and answers whether there is. It grows towards what the
    /// request needs as bytes arrive: at most to double, a long one to four times.
    pub(crate) fn take_room(&mut self) -> bool {
        let held = self.input.len();
        if held <= HOLDING_BYTES_FREE {
            self.room.set(&self.ledger.input, 0);
            self.waits_for_room = false;
            return true;
        }
        if held < self.room.bytes() {
            self.waits_for_room = false;
            return true;
        }
        let to_come =
            if self.needs_bytes { self.parser.needed_hint(self.unparsed_bytes()) } else { held };
        let growth_max = if held < LONG_REQUEST_BYTES { held } else { 3 * held };
        let wanted = held + to_come.clamp(HOLDING_BYTES_FREE, growth_max);
        let account = &self.ledger.input;
        let granted = self.room.try_grow(account, wanted) || {
            account.expect_returns();
            self.room.try_grow(account, wanted)
        };
        if granted {
            self.grow_input(wanted);
        } else {
            // What came before the socket was no longer read.
            self.room.set(account, held);
        }
        self.waits_for_room = !granted;
        granted
    }

    fn grow_input(&mut self, bytes: usize) {
        if bytes < HUGE_BUFFER_BYTES_MIN {
            self.input.reserve_exact(bytes - self.input.len());
            return;
        }
        // Not within `reserve_exact`: it has touched the pages when it returns.
        let mut grown = Vec::with_capacity(bytes);
        prefer_huge_pages(grown.as_ptr(), bytes);
        grown.extend_from_slice(&self.input);
        self.input = grown;
    }

    /// It has waited for room, through no fault of its client.
    pub(crate) fn has_room_again(&mut self, now: Duration) {
        (self.waits_for_room, self.is_roomless) = (false, false);
        self.sent_enough_at = now;
    }

    /// Writes down what its replies hold.
    pub(crate) fn hold_output(&mut self, now: impl FnOnce() -> Duration) {
        let bytes = self.waiting_output() + self.sending_bytes + self.gathers.held_bytes();
        if bytes > HOLDING_BYTES_FREE && self.owed.bytes() == 0 {
            self.progress_at = now();
        }
        self.owed.set(&self.ledger.output, bytes);
    }

    /// Others wait for memory that this client keeps without getting on.
    pub(crate) fn is_in_the_way(&self, now: Duration) -> bool {
        let stalled = |since: Duration| now.saturating_sub(since) > HOLD_STALL_MAX;
        let sends_too_slowly = self.room.bytes() > 0
            && self.needs_bytes
            && !self.waits_for_room
            && stalled(self.sent_enough_at);
        let reads_too_slowly = self.owed.bytes() > 0 && stalled(self.progress_at);
        (sends_too_slowly && self.ledger.input.is_waited_for())
            || (reads_too_slowly && self.ledger.output.is_waited_for())
    }

    /// Bytes of replies that are ready and not yet with the kernel.
    pub(crate) fn waiting_output(&self) -> usize {
        let sealed_later = self.tls.as_ref().map_or(0, |tls| tls.waiting_bytes());
        self.out.len() + self.replies.held_bytes() + sealed_later
    }

    /// The round has enough replies to come.
    pub(crate) fn is_round_full(&self) -> bool {
        self.is_clogged() || self.replies.expected_bytes() >= RESPONSE_BYTES_MAX
    }

    /// Commands that may be asked again now: those that bring the next reply, once the client has taken what is ready.
    pub(crate) fn askable_rest(&self) -> Option<usize> {
        if self.rests.is_empty() || self.out.len() >= OUTPUT_BYTES_STOP_READING {
            return None;
        }
        let first = self.replies.first_open_hole();
        let holds = |request: &Request| request.commands().first().map(|command| command.hole);
        self.rests.iter().position(|(_, request)| holds(request) == first)
    }

    /// How long nothing has come from the client, nor gone to it. Zero while it waits for us.
    pub(crate) fn idle_time(&self, now: Duration) -> Duration {
        if self.is_drained() && !self.has_commands() && !self.waits_for_admission {
            now.saturating_sub(self.last_active_at.max(self.progress_at))
        } else {
            Duration::ZERO
        }
    }

    /// Takes note of input that nobody reads; whether it may go on.
    pub(crate) fn discard(&mut self, bytes: usize) -> bool {
        self.discarded_bytes += bytes as u64;
        self.discarded_bytes <= LINGER_BYTES_MAX
    }

    /// It has had its time to end its side.
    pub(crate) fn has_lingered(&self, now: Duration) -> bool {
        self.phase == Phase::Lingering && now.saturating_sub(self.lingers_since) > LINGER_TIME_MAX
    }

    /// Everything was answered and sent.
    pub(crate) fn is_drained(&self) -> bool {
        let all_sealed = self.tls.as_ref().is_none_or(|tls| tls.waiting_bytes() == 0);
        self.replies.is_empty() && self.out.is_empty() && all_sealed && !self.sending
    }
}
