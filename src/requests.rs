//! Requests of other cores and threads that are under way on this core's shard.
//!
//! # Invariants
//! - A request's commands run in their order; one that must wait for admission holds up only its own request.
//! - Its response leaves once every command is answered and the shard has released all that the answers depend on.
//! - A response holds `RESPONSE_BYTES_MAX` and one reply at most: commands beyond that go back, not run.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shard::env::Env as _;
use shard::env::glommio::GlommioEnv;
use shard::foresee::FORESEEN_MAX;
use shard::key::SeqNo;

use crate::command::{CommandId, shows_commands, table};
use crate::execute::{Executor, Ran, Target};
use crate::facts::CoreStats;
use crate::ledger::{Account, Holding};
use crate::limits::{RESPONSE_BYTES_MAX, TIMED_ARGS_MIN};
use crate::mesh::{ConnRef, Payload, Request, Response};
use crate::reply::Sink;
use crate::resp::{Args, writer};
use crate::slab::{Key, Slab};
use crate::worker::{SlowNote, Thresholds};

/// The answer to one command of a request.
#[derive(Debug)]
enum Answer {
    /// Bytes of the shared buffer up to here.
    Upto(usize),
    Open,
    Filled(Payload),
}

/// The answers so far, one per command.
#[derive(Debug, Default)]
struct Answers {
    buffer: Vec<u8>,
    each: Vec<Answer>,
    open: usize,
    /// Bytes that answers from the disk are expected to have.
    expected_bytes: usize,
    /// Bytes that were filled in.
    filled_bytes: usize,
    gate: SeqNo,
    /// For the buffer and what was filled in.
    holding: Holding,
    /// The next reply is large: what there is leaves first.
    stopped: bool,
}

impl Answers {
    fn hold(&mut self, account: &Arc<Account>) {
        self.holding.set(account, self.buffer.len() + self.filled_bytes);
    }

    fn is_full(&self) -> bool {
        self.stopped || self.buffer.len() + self.expected_bytes >= RESPONSE_BYTES_MAX
    }
}

impl Sink for Answers {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn done(&mut self, gate: SeqNo) {
        self.each.push(Answer::Upto(self.buffer.len()));
        self.gate = self.gate.max(gate);
    }

    fn hole(&mut self, expected_bytes: usize) -> u32 {
        self.expected_bytes += expected_bytes;
        self.each.push(Answer::Open);
        self.open += 1;
        u32::try_from(self.each.len() - 1).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
struct UnderWay {
    request: Request,
    /// Commands run so far.
    ran: usize,
    answers: Answers,
    /// When it was last taken up, and since when its next command waits: to be admitted, or else for the disk.
    began: Duration,
    stalled_since: Option<(Duration, bool)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Requests {
    /// The memory of replies, of all cores.
    output: Arc<Account>,
    under_way: Slab<UnderWay>,
    /// Those whose next command waits for admission.
    waiting: Vec<Key>,
    /// Those that wait for the log: the gate, ascending, and whose.
    gated: std::collections::VecDeque<(SeqNo, Key)>,
    /// CONFIG RESETSTAT has come: what this core counts is to begin anew.
    anew: bool,
    /// The time of this pass, and what counts as slow.
    now: Duration,
    clock: Option<GlommioEnv>,
    thresholds: Thresholds,
    /// Commands that took long, and whose they are.
    slow: Vec<(ConnRef, SlowNote)>,
}

/// A response and where it goes.
pub(crate) type Finished = (ConnRef, Response);

impl Requests {
    pub(crate) fn new(output: Arc<Account>) -> Self {
        Self {
            output,
            under_way: Slab::default(),
            waiting: Vec::new(),
            gated: std::collections::VecDeque::new(),
            anew: false,
            now: Duration::ZERO,
            clock: None,
            thresholds: Thresholds::default(),
            slow: Vec::new(),
        }
    }

    /// For what is timed.
    pub(crate) fn set_clock(&mut self, clock: GlommioEnv) {
        self.clock = Some(clock);
    }

    /// A pass began.
    pub(crate) fn at(&mut self, now: Duration, thresholds: Thresholds) {
        self.now = now;
        self.thresholds = thresholds;
    }

    /// Commands that took long since the last call.
    pub(crate) fn take_slow(&mut self) -> Vec<(ConnRef, SlowNote)> {
        std::mem::take(&mut self.slow)
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Runs a request as far as it goes now.
    pub(crate) fn begin(
        &mut self,
        request: Request,
        executor: &mut Executor,
        stats: &dyn Fn(&Executor, bool) -> CoreStats,
        finished: &mut Vec<Finished>,
    ) {
        let key = self.under_way.insert(UnderWay {
            request,
            ran: 0,
            answers: Answers::default(),
            began: self.now,
            stalled_since: None,
        });
        self.go_on(key, executor, stats, finished);
    }

    /// The shard's admission has changed: those that waited try again.
    pub(crate) fn retry(
        &mut self,
        executor: &mut Executor,
        stats: &dyn Fn(&Executor, bool) -> CoreStats,
        finished: &mut Vec<Finished>,
    ) {
        for key in std::mem::take(&mut self.waiting) {
            self.go_on(key, executor, stats, finished);
        }
    }

    /// The values that the next command of request `key` wants have come. Answers whether that request is there.
    pub(crate) fn fetched(
        &mut self,
        key: Key,
        executor: &mut Executor,
        stats: &dyn Fn(&Executor, bool) -> CoreStats,
        finished: &mut Vec<Finished>,
    ) -> bool {
        let is_there = self.under_way.get_mut(key).is_some();
        if is_there {
            self.go_on(key, executor, stats, finished);
        }
        is_there
    }

    /// Whether this core's counts are to begin anew; told once.
    pub(crate) fn take_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    pub(crate) fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn any_gated(&self) -> bool {
        !self.gated.is_empty()
    }

    fn go_on(
        &mut self,
        key: Key,
        executor: &mut Executor,
        stats: &dyn Fn(&Executor, bool) -> CoreStats,
        finished: &mut Vec<Finished>,
    ) {
        let Some(UnderWay { request, ran, answers, began, stalled_since }) =
            self.under_way.get_mut(key)
        else {
            unreachable!("a request is there until it is finished")
        };
        *began = self.now;
        let mut foreseen = *ran;
        while let Some(&command) = request.commands().get(*ran) {
            if answers.is_full() {
                break;
            }
            if *ran >= foreseen {
                let ahead = request.commands().iter().skip(*ran).take(FORESEEN_MAX);
                foreseen += ahead.len();
                if ahead.len() > 1 {
                    let gets = ahead.filter(|command| command.id == CommandId::Get);
                    executor.shard.foresee(gets.map(|command| request.args(command).arg(1)));
                }
            }
            let args = request.args(&command);
            if matches!(
                command.id,
                CommandId::Stats
                    | CommandId::Info
                    | CommandId::LatencyHistogram
                    | CommandId::Lastsave
                    | CommandId::MemoryStats
            ) {
                let stats = stats(executor, shows_commands(command.id, args));
                answers.each.push(Answer::Filled(Payload::Stats(Box::new(stats))));
            } else if command.id == CommandId::ConfigResetstat {
                self.anew = true;
                writer::ok(answers.buffer());
                answers.done(SeqNo(0));
            } else if command.id == CommandId::Watch {
                if let Some(flag) = request.watch(&command) {
                    executor.watch(args.iter().skip(1), flag);
                }
                writer::ok(answers.buffer());
                answers.done(SeqNo(0));
            } else {
                let target = Target::Request(key);
                let is_next = command.hole == request.head;
                let is_timed =
                    self.thresholds.times_all || args.len() >= TIMED_ARGS_MIN || request.is_large();
                let clock = self.clock.as_ref().filter(|_| is_timed);
                let since =
                    stalled_since.map(|(since, _)| since).or_else(|| clock.map(GlommioEnv::now));
                let open = answers.open;
                let protocol = command.protocol;
                let ran = if command.id == CommandId::Exec {
                    let watch = request.watch(&command);
                    executor.run_transaction(args, watch, protocol, target, is_next, answers)
                } else {
                    executor.run(command.id, args, protocol, target, is_next, answers)
                };
                match ran {
                    Ran::Done => {
                        if let Some(since) = since
                            && answers.open == open
                        {
                            let now = clock.map_or(self.now, GlommioEnv::now);
                            let took = now.saturating_sub(since);
                            let stalled =
                                stalled_since.take().is_some_and(|(_, is_stall)| is_stall);
                            let origin = request.origin;
                            let slow = &mut self.slow;
                            note(slow, self.thresholds, origin, command.id, args, took, stalled);
                        }
                        *stalled_since = None;
                    }
                    Ran::Fetching => {
                        stalled_since.get_or_insert((self.now, false));
                        answers.hold(&self.output);
                        return;
                    }
                    Ran::NoRoom | Ran::Wait if answers.each.is_empty() => {
                        stalled_since.get_or_insert((self.now, true));
                        self.waiting.push(key);
                        return;
                    }
                    Ran::Wait => {
                        stalled_since.get_or_insert((self.now, true));
                        answers.hold(&self.output);
                        self.waiting.push(key);
                        return;
                    }
                    Ran::NoRoom | Ran::Later => {
                        answers.stopped = true;
                        break;
                    }
                }
            }
            if command.hole == request.head && command.is_whole {
                request.head = request.head.wrapping_add(1);
            }
            *ran += 1;
        }
        answers.hold(&self.output);
        self.finish_if_complete(key, executor.shard.released_seq(), finished);
    }

    /// A command of request `key` was answered.
    pub(crate) fn fill(
        &mut self,
        key: Key,
        hole: u32,
        bytes: Bytes,
        gate: SeqNo,
        released: SeqNo,
        finished: &mut Vec<Finished>,
    ) {
        let Some(under_way) = self.under_way.get_mut(key) else {
            unreachable!("a request is there until it is finished")
        };
        let took = self.now.saturating_sub(under_way.began);
        if self.thresholds.is_slow(took)
            && let Some(command) = under_way.request.commands().get(hole as usize)
        {
            let request = &under_way.request;
            let (origin, args) = (request.origin, request.args(command));
            note(&mut self.slow, self.thresholds, origin, command.id, args, took, false);
        }
        let answers = &mut under_way.answers;
        let answer = &mut answers.each[hole as usize];
        assert!(matches!(answer, Answer::Open), "a command is answered once");
        answers.filled_bytes += bytes.len();
        *answer = Answer::Filled(Payload::Reply(bytes));
        answers.hold(&self.output);
        answers.open -= 1;
        answers.gate = answers.gate.max(gate);
        self.finish_if_complete(key, released, finished);
    }

    /// The log went on: what waited for it leaves.
    pub(crate) fn release(&mut self, released: SeqNo, finished: &mut Vec<Finished>) {
        while let Some(&(gate, key)) = self.gated.front() {
            if gate > released {
                break;
            }
            self.gated.pop_front();
            self.finish(key, finished);
        }
    }

    /// The shard failed: what waited for its log is answered by the error.
    pub(crate) fn fail_gated(&mut self, error: &str, finished: &mut Vec<Finished>) {
        for (_, key) in std::mem::take(&mut self.gated) {
            if let Some(under_way) = self.under_way.get_mut(key) {
                for answer in &mut under_way.answers.each {
                    let mut bytes = Vec::new();
                    writer::error(&mut bytes, error);
                    *answer = Answer::Filled(Payload::Reply(bytes.into()));
                }
            }
            self.finish(key, finished);
        }
    }

    fn finish_if_complete(&mut self, key: Key, released: SeqNo, finished: &mut Vec<Finished>) {
        let Some(under_way) = self.under_way.get_mut(key) else { return };
        let all_ran = under_way.ran == under_way.request.commands().len();
        let complete = all_ran || under_way.answers.is_full();
        if !complete || under_way.answers.open > 0 {
            return;
        }
        if under_way.answers.gate <= released {
            self.finish(key, finished);
            return;
        }
        // The list stays in order: whoever comes later waits for what is already waited for, at most one sync more.
        let last = self.gated.back().map_or(SeqNo(0), |(gate, _)| *gate);
        self.gated.push_back((under_way.answers.gate.max(last), key));
    }

    fn finish(&mut self, key: Key, finished: &mut Vec<Finished>) {
        let Some(UnderWay { request, ran, answers, .. }) = self.under_way.remove(key) else {
            unreachable!("a request is finished once")
        };
        let Answers { buffer, each, holding, .. } = answers;
        let mut buffer = BytesMut::from(Bytes::from(buffer));
        let mut taken = 0;
        let parts = request
            .commands()
            .iter()
            .zip(each)
            .map(|(command, answer)| {
                let payload = match answer {
                    Answer::Upto(end) => {
                        let bytes = buffer.split_to(end - taken).freeze();
                        taken = end;
                        Payload::Reply(bytes)
                    }
                    Answer::Filled(payload) => payload,
                    Answer::Open => unreachable!("complete"),
                };
                (command.hole, payload)
            })
            .collect();
        finished.push((request.origin, Response { parts, rest: request.rest(ran), holding }));
    }
}

/// Notes a command of another core's connection, if it took long.
fn note(
    slow: &mut Vec<(ConnRef, SlowNote)>,
    thresholds: Thresholds,
    origin: ConnRef,
    id: CommandId,
    args: Args<'_>,
    took: Duration,
    stalled: bool,
) {
    if thresholds.is_slow(took)
        && let Some(spec) = table::by_id(id)
    {
        slow.push((origin, SlowNote::new(spec, args, took, stalled)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::resp::Protocol;

    /// A request whose commands have all run: `Some(gate)` answered at once, `None` still open.
    fn begun(requests: &mut Requests, gates: &[Option<u64>]) -> Key {
        let core = ConnRef { core: 0, key: Slab::<()>::default().insert(()) };
        let mut request = Request::new(core);
        let mut answers = Answers::default();
        for (hole, gate) in (0..).zip(gates) {
            request.push(CommandId::Set, Protocol::Resp2, (hole, true), [&b"SET"[..]].into_iter());
            match gate {
                Some(gate) => {
                    writer::ok(answers.buffer());
                    answers.done(SeqNo(*gate));
                }
                None => assert_eq!(answers.hole(0), hole),
            }
        }
        requests.under_way.insert(UnderWay {
            request,
            ran: gates.len(),
            answers,
            began: Duration::ZERO,
            stalled_since: None,
        })
    }

    fn texts(finished: &mut Vec<Finished>) -> Vec<String> {
        let text = |payload: Payload| match payload {
            Payload::Reply(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Payload::Stats(_) => unreachable!("none was asked"),
        };
        let one = |response: Response| response.parts.into_iter().map(|(_, part)| text(part));
        finished.drain(..).map(|(_, response)| one(response).collect()).collect()
    }

    #[test]
    fn a_response_leaves_once_all_that_it_depends_on_is_released() {
        let (mut requests, mut finished) = (Requests::new(Ledger::new(1 << 20).output), Vec::new());
        let first = begun(&mut requests, &[Some(3), Some(5), Some(0)]);
        requests.finish_if_complete(first, SeqNo(4), &mut finished);
        let second = begun(&mut requests, &[Some(7)]);
        requests.finish_if_complete(second, SeqNo(4), &mut finished);
        let third = begun(&mut requests, &[Some(4)]);
        requests.finish_if_complete(third, SeqNo(4), &mut finished);
        // The third depends on nothing that is not released.
        assert_eq!(texts(&mut finished), ["+OK\r\n"]);
        assert!(requests.any_gated());
        requests.release(SeqNo(4), &mut finished);
        assert!(finished.is_empty());
        requests.release(SeqNo(5), &mut finished);
        assert_eq!(texts(&mut finished), ["+OK\r\n+OK\r\n+OK\r\n"]);
        requests.release(SeqNo(6), &mut finished);
        assert!(finished.is_empty());
        requests.release(SeqNo(7), &mut finished);
        assert_eq!((texts(&mut finished).len(), requests.len()), (1, 0));
    }

    #[test]
    fn an_answer_that_comes_later_has_its_gate() {
        let (mut requests, mut finished) = (Requests::new(Ledger::new(1 << 20).output), Vec::new());
        let key = begun(&mut requests, &[Some(1), None]);
        requests.finish_if_complete(key, SeqNo(2), &mut finished);
        assert!(finished.is_empty() && !requests.any_gated());
        let bytes = Bytes::from_static(b":1\r\n");
        requests.fill(key, 1, bytes, SeqNo(9), SeqNo(2), &mut finished);
        assert!(finished.is_empty());
        requests.release(SeqNo(9), &mut finished);
        assert_eq!(texts(&mut finished), ["+OK\r\n:1\r\n"]);
    }

    #[test]
    fn a_failed_shard_answers_what_waits_for_its_log_with_the_error() {
        let (mut requests, mut finished) = (Requests::new(Ledger::new(1 << 20).output), Vec::new());
        let key = begun(&mut requests, &[Some(3), Some(4)]);
        requests.finish_if_complete(key, SeqNo(2), &mut finished);
        requests.fail_gated("ERR gone", &mut finished);
        assert_eq!(texts(&mut finished), ["-ERR gone\r\n-ERR gone\r\n"]);
        assert!(!requests.any_gated());
    }
}
