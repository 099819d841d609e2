//! Runs commands on values (`apply`) against this core's shard.
//!
//! 1. The command runs on what is in memory. If a value is on disk only, nothing has changed: all values that it may want are
//!    fetched, and it runs again when they are there.
//! 2. While they are fetched, their keys are watched. A value that was written meanwhile is not used: it is read again.
//! 3. The changes are made in one write of the shard, in the same stretch: what the command has seen is what it changes.
//!
//! # Invariants
//! - A fetched value is used only if its key was not written since the read of it began.
//! - Of one target (connection or request) one fetch is under way at a time.

use std::collections::HashMap;

use shard::admission::Refusal;
use shard::batch::Op;
use shard::env::Env as _;
use shard::env::glommio::GlommioEnv;
use shard::key::SeqNo;
use shard::read::{PointRead, Read};
use shard::shard::Shard;

use super::{Executor, Fetched, Place, Ran, Target, admit_reply, may_exist};
use crate::apply::{self, Change, Changes, Context, Outcome, Source, Stop, Txn, Value};
use crate::command::{self, CommandId};
use crate::error;
use crate::ledger::Holding;
use crate::reply::Sink;
use crate::resp::{Args, Protocol, writer};
use crate::watch::Flag;

/// Values that one command waits for, or has waited for.
#[derive(Debug)]
pub(super) struct Fetch {
    values: HashMap<Box<[u8]>, Fetched>,
    open: usize,
    /// Set when one of the keys is written.
    flag: Flag,
    error: Option<String>,
    /// For the values.
    holding: Holding,
}

/// What a command sees: fetched values first, then the shard.
struct FromShard<'a> {
    shard: &'a Shard<GlommioEnv>,
    fetched: Option<&'a Fetch>,
    /// What an answer depends on.
    gate: SeqNo,
    missing: Vec<PointRead<GlommioEnv>>,
    now_ms: u64,
}

impl Source for FromShard<'_> {
    fn read(&mut self, key: &[u8], see: &mut dyn FnMut(Option<Value<'_>>)) -> Outcome {
        if let Some(value) = self.fetched.and_then(|fetch| fetch.values.get(key)) {
            let value = value.as_ref().filter(|(_, at)| !apply::is_past(*at, self.now_ms));
            see(value.map(|(bytes, expires_at_ms)| Value { bytes, expires_at_ms: *expires_at_ms }));
            return Ok(());
        }
        let read = self.shard.read(key, |found| {
            let expires_at_ms = found.expires_at_ms;
            see(found.value.map(|bytes| Value { bytes, expires_at_ms }));
            found.gate
        });
        match read {
            Read::Done(gate) => {
                self.gate = self.gate.max(gate);
                Ok(())
            }
            Read::Disk(read) => {
                self.missing.push(read);
                Err(Stop::Fetch)
            }
        }
    }
}

/// What is run at once: one command, or a transaction.
#[derive(Clone, Copy)]
enum Work<'a> {
    One(CommandId, Args<'a>),
    Many(Args<'a>),
}

impl Work<'_> {
    fn run(self, txn: &mut Txn<'_>, out: &mut Vec<u8>) -> Outcome {
        match self {
            Self::One(id, args) => run_one(txn, id, args, out),
            Self::Many(args) => {
                writer::array(out, command::packed_commands(args).count());
                for (id, args) in command::packed_commands(args) {
                    let before = out.len();
                    let Some(id) = id else {
                        out.extend_from_slice(args.arg(0));
                        continue;
                    };
                    match run_one(txn, id, args, out) {
                        Ok(()) => {}
                        Err(Stop::Fetch) => return Err(Stop::Fetch),
                        // Its own reply; those behind it are run.
                        Err(Stop::Error(error)) => {
                            out.truncate(before);
                            error.write(out);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Every key that may be looked at.
    fn keys(&self, see: &mut dyn FnMut(&[u8])) {
        let mut of_one = |id: CommandId, args: Args<'_>| {
            if id == CommandId::InternalRead {
                args.iter().skip(1).for_each(&mut *see);
            } else if let Some(spec) = command::by_id(id) {
                spec.key_positions(args.len()).for_each(|position| see(args.arg(position)));
            }
        };
        match self {
            Self::One(id, args) => of_one(*id, *args),
            Self::Many(args) => {
                command::packed_commands(*args).for_each(|(id, args)| {
                    if let Some(id) = id {
                        of_one(id, args);
                    }
                });
            }
        }
    }
}

fn run_one(txn: &mut Txn<'_>, id: CommandId, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let Some(run) = apply::command(id) else { unreachable!("{id:?} is no command on values") };
    if let Some(spec) = command::by_id(id) {
        command::check_keys(spec, args)?;
    }
    run(txn, args, out)
}

impl Executor {
    /// Runs a command on values that needs more than one look at memory, or one write.
    pub(super) fn run_on_values<S: Sink>(
        &mut self,
        id: CommandId,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        self.run_work(Work::One(id, args), protocol, target, is_next, sink)
    }

    /// Runs a transaction whose keys are all of this shard: all of it, or nothing if `watch` is set. `args`: as packed.
    pub(crate) fn run_transaction<S: Sink>(
        &mut self,
        args: Args<'_>,
        watch: Option<&Flag>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        if self.shard.is_erasing() {
            return Ran::Wait;
        }
        if watch.is_some_and(Flag::is_set) {
            self.fetches.remove(&target);
            writer::null_array(sink.buffer(), protocol);
            sink.done(SeqNo(0));
            return Ran::Done;
        }
        self.run_work(Work::Many(args), protocol, target, is_next, sink)
    }

    fn run_work<S: Sink>(
        &mut self,
        work: Work<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        let fetched = if self.fetches.is_empty() { None } else { self.fetches.remove(&target) };
        let before = sink.buffer().len();
        if let Some(Fetch { error: Some(error), .. }) = &fetched {
            writer::error(sink.buffer(), error);
            sink.done(SeqNo(0));
            return Ran::Done;
        }
        let fetched = fetched.filter(|fetch| !fetch.flag.is_set());
        assert!(fetched.as_ref().is_none_or(|fetch| fetch.open == 0), "run again too early");
        let context = self.context(protocol);
        let mut source = FromShard {
            shard: &self.shard,
            fetched: fetched.as_ref(),
            gate: SeqNo(0),
            missing: Vec::new(),
            now_ms: context.now_ms,
        };
        let mut txn = Txn::new(&mut source, context);
        let outcome = work.run(&mut txn, sink.buffer());
        let changes = txn.into_changes();
        let gate = source.gate;
        match outcome {
            Ok(()) => {}
            Err(Stop::Error(error)) => {
                sink.buffer().truncate(before);
                error.write(sink.buffer());
                sink.done(gate);
                return Ran::Done;
            }
            Err(Stop::Fetch) => {
                sink.buffer().truncate(before);
                return self.fetch_for(work, target, is_next);
            }
        }
        let ran = match admit_reply(&self.output, is_next, sink.buffer().len() - before) {
            Err(not_now) => not_now,
            Ok(()) if changes.is_empty() => {
                self.tell(&changes);
                sink.done(gate);
                Ran::Done
            }
            Ok(()) => self.make(&changes, before, sink),
        };
        if ran != Ran::Done {
            sink.buffer().truncate(before);
            if let Some(fetched) = fetched {
                self.fetches.insert(target, fetched);
            }
        } else if let Some(Fetch { values, flag, .. }) = &fetched {
            for key in values.keys() {
                self.watches.remove(key, flag);
            }
        }
        ran
    }

    pub(crate) fn context(&self, protocol: Protocol) -> Context {
        Context {
            protocol,
            now_ms: self.env.wall_ms(),
            value_bytes_max: self.shard.options().value_bytes_max,
            notifies: self.live.notify_keyspace_events() != 0,
        }
    }

    /// Makes changes, all at once. The reply that goes with them lies behind `before`.
    fn make<S: Sink>(&mut self, changes: &Changes, before: usize, sink: &mut S) -> Ran {
        let ops: Vec<Op<'_>> = changes.iter().map(op_of).collect();
        match self.shard.write(&ops) {
            Ok(seq) => {
                self.written(changes.iter().map(|change| change.key.as_slice()));
                self.tell(changes);
                sink.done(seq);
            }
            Err(Refusal::Wait(_)) => return Ran::Wait,
            Err(Refusal::Error(error)) => {
                sink.buffer().truncate(before);
                writer::error(sink.buffer(), error::reply_text(&error));
                sink.done(SeqNo(0));
            }
        }
        Ran::Done
    }

    /// Publishes what has happened, to who listens.
    fn tell(&mut self, changes: &Changes) {
        for event in changes.events() {
            self.notify(event.class, event.name, &event.key);
        }
    }

    /// Keys were written: whoever watches them is told.
    #[inline]
    pub(super) fn written<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) {
        if !self.watches.is_empty() {
            keys.for_each(|key| self.watches.written(key));
        }
    }

    /// WATCH: `flag` is set when one of `keys` is written.
    pub(crate) fn watch<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, flag: &Flag) {
        // An erase that was ordered will take what is there now.
        let erases = self.erases_ordered != self.erased.get();
        for key in keys {
            self.watches.add(key, flag);
            if erases && may_exist(&self.shard, key) {
                self.watches.written(key);
            }
        }
    }

    /// Fetches what `work` may want and is not in memory.
    fn fetch_for(&mut self, work: Work<'_>, target: Target, is_next: bool) -> Ran {
        let mut reads: HashMap<Box<[u8]>, PointRead<GlommioEnv>> = HashMap::new();
        let shard = &self.shard;
        work.keys(&mut |key| {
            if !reads.contains_key(key)
                && let Read::Disk(read) = shard.read(key, |_| ())
            {
                reads.insert(key.into(), read);
            }
        });
        assert!(!reads.is_empty(), "what a command looks at is among its keys");
        let expected = reads.values().map(PointRead::expected_bytes).sum();
        if let Err(not_now) = admit_reply(&self.output, is_next, expected) {
            return not_now;
        }
        let flag = Flag::default();
        for key in reads.keys() {
            self.watches.add(key, &flag);
        }
        let fetch = Fetch {
            values: HashMap::with_capacity(reads.len()),
            open: reads.len(),
            flag,
            error: None,
            holding: Holding::default(),
        };
        self.fetches.insert(target, fetch);
        for (key, read) in reads {
            self.fetch(read, Place::Fetch { target, key });
        }
        Ran::Fetching
    }

    /// A value has come, or has failed to.
    pub(super) fn fetched_value(
        &mut self,
        target: Target,
        key: Box<[u8]>,
        result: shard::error::Result<Fetched>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&target) else {
            unreachable!("a fetch is there until its last value has come")
        };
        match result {
            Ok(value) => {
                let bytes = value.as_ref().map_or(0, |(bytes, _)| bytes.len());
                fetch.holding.set(&self.output, fetch.holding.bytes() + bytes);
                fetch.values.insert(key, value);
            }
            Err(error) => fetch.error = Some(error::reply_text(&error).into_owned()),
        }
        fetch.open -= 1;
        if fetch.open == 0 {
            self.fetched.push_back(target);
        }
    }

    /// Whose command may be run again, because its values have come.
    pub(crate) fn next_fetched(&mut self) -> Option<Target> {
        self.fetched.pop_front()
    }

    /// Whoever waited for these values is gone.
    pub(crate) fn forget_fetch(&mut self, target: Target) {
        self.fetches.remove(&target);
    }
}

fn op_of(change: &Change) -> Op<'_> {
    match &change.new {
        Some((value, expires_at_ms)) => {
            Op::Put { key: &change.key, value, expires_at_ms: *expires_at_ms }
        }
        None => Op::Delete { key: &change.key },
    }
}
