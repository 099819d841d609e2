//! Commands on this core's shard. What is in memory is answered at once; what waits for the disk, or for a whole-shard
//! job, leaves a hole in the replies and is finished by long-lived tasks.
//!
//! # Invariants
//! - A command that has to wait, for admission or for the memory of its reply, has changed nothing: it is run again from
//!   its beginning.
//! - Existence (the count of DEL) is taken before the tombstone is written, in one stretch, so two DELs of one key never
//!   both count it.

mod many;
mod scans;
mod values;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use shard::admission::{Refusal, Wait};
use shard::batch::Op;
use shard::cursor::Direction;
use shard::env::glommio::GlommioEnv;
use shard::env::{Env as _, Queue};
use shard::key::SeqNo;
use shard::read::{PointRead, Read};
use shard::scan::Range;
use shard::shard::Shard;

use crate::apply;
use crate::command::{self, CommandId};
use crate::config::FlushDb;
use crate::error;
use crate::ledger::{Account, Holding};
use crate::limits::LARGE_REPLY_BYTES;
use crate::live::Live;
use crate::pubsub::{Events, NotifyClass};
use crate::reply::Sink;
use crate::resp::{Args, Protocol, writer};
use crate::slab::{Key, Slab};
use crate::watch::Watches;
use crate::work::WorkQueue;
use many::Combined;
use scans::{Positions, SCANNERS, ScanDone, ScanOrder};
use values::Fetch;

pub(crate) use scans::shard_of_cursor;

/// Who gets a reply that comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A connection of this core.
    Conn(Key),
    /// A request of another core or thread.
    Request(Key),
}

/// Whether a command was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Ran {
    Done,
    /// Nothing changed; run it again when the shard's admission has changed.
    Wait,
    /// Nothing changed: run it again when [`Executor::next_fetched`] names its target.
    Fetching,
    /// Nothing changed: replies hold all the memory that they may; run it again when some have left.
    NoRoom,
    /// Nothing changed: its reply is large and others of its connection come before; run it again when they have come.
    Later,
}

/// A reply that became ready.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) target: Target,
    pub(crate) hole: u32,
    pub(crate) bytes: Bytes,
    pub(crate) gate: SeqNo,
    /// For `bytes`; let go once they are with who gets them.
    pub(crate) holding: Holding,
}

/// Where the result of a disk read goes.
#[derive(Debug)]
enum Place {
    /// It is the whole reply.
    Reply { target: Target, hole: u32, protocol: Protocol },
    /// It is part of one.
    Part { parts: Key, position: usize },
    /// A command wants it before it runs.
    Fetch { target: Target, key: Box<[u8]> },
}

/// A value as it was read: bytes, and when it expires (milliseconds since 1970; 0: never).
type Fetched = Option<(Vec<u8>, u64)>;

#[derive(Debug)]
struct ReadJob {
    read: PointRead<GlommioEnv>,
    place: Place,
    holding: Holding,
}

#[derive(Debug)]
struct ReadDone {
    place: Place,
    result: shard::error::Result<Fetched>,
    holding: Holding,
}

/// A reply of several reads.
#[derive(Debug)]
struct Parts {
    target: Target,
    hole: u32,
    protocol: Protocol,
    gate: SeqNo,
    open: usize,
    combined: Combined,
    error: Option<String>,
    holding: Holding,
}

/// Jobs over the whole shard, one after the other.
#[derive(Debug, Clone, Copy)]
enum Job {
    Flush,
    Erase,
    /// Merges all tables; takes as long as it takes, beside the others.
    Compact,
    Count,
    /// Take the sync policy that is set now.
    Policy,
}

#[derive(Debug)]
struct JobOrder {
    job: Job,
    target: Target,
    hole: u32,
}

/// Keys of a shard up to which DBSIZE counts them where the estimate is not exact: some 50 ms of a core, in slices.
const KEYS_COUNTED_MAX: u64 = 100_000;
/// Keys counted by DBSIZE between two pauses.
const COUNT_PER_PAUSE: usize = 512;

/// One core's shard, as commands see it.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) shard: Shard<GlommioEnv>,
    env: GlommioEnv,
    reads: WorkQueue<ReadJob>,
    read: WorkQueue<ReadDone>,
    jobs: WorkQueue<JobOrder>,
    long_jobs: WorkQueue<JobOrder>,
    filled: WorkQueue<Filled>,
    parts: Slab<Parts>,
    /// Values that commands wait for, and whose have all come.
    fetches: HashMap<Target, Fetch>,
    fetched: VecDeque<Target>,
    scans: WorkQueue<ScanOrder>,
    scanned: WorkQueue<ScanDone>,
    positions: Positions,
    /// This shard's number, and how many there are.
    index: usize,
    shards: usize,
    watches: Watches,
    /// Erases that are done, and those that were ordered.
    erased: Rc<Cell<u64>>,
    erases_ordered: u64,
    pub(crate) live: Arc<Live>,
    /// The memory of replies, of all cores.
    output: Arc<Account>,
    /// Changes of keys that are to be published: the core's loop does.
    pub(crate) events: Events,
}

impl Executor {
    /// Starts the tasks that finish what has to wait. `index` and `shards`: which shard this is, and of how many.
    pub(crate) fn new(
        shard: Shard<GlommioEnv>,
        env: &GlommioEnv,
        live: Arc<Live>,
        output: Arc<Account>,
        (index, shards): (usize, usize),
    ) -> Self {
        let this = Self {
            env: env.clone(),
            reads: WorkQueue::default(),
            read: WorkQueue::default(),
            jobs: WorkQueue::default(),
            long_jobs: WorkQueue::default(),
            filled: WorkQueue::default(),
            parts: Slab::default(),
            fetches: HashMap::new(),
            fetched: VecDeque::new(),
            scans: WorkQueue::default(),
            scanned: WorkQueue::default(),
            positions: Positions::default(),
            index,
            shards,
            watches: Watches::default(),
            erased: Rc::default(),
            erases_ordered: 0,
            live,
            output,
            events: Events::default(),
            shard,
        };
        for _ in 0..this.shard.options().reads_in_flight_max {
            let (reads, read) = (this.reads.clone(), this.read.clone());
            env.spawn(Queue::Commit, async move {
                while let Some(ReadJob { read: job, place, holding }) = reads.pop().await {
                    let result = job
                        .finish()
                        .await
                        .map(|value| value.map(|value| (value.to_vec(), value.expires_at_ms())));
                    read.push(ReadDone { place, result, holding });
                }
            });
        }
        for _ in 0..SCANNERS {
            let (orders, done) = (this.scans.clone(), this.scanned.clone());
            env.spawn(Queue::Commit, scans::scanner(this.shard.clone(), env.clone(), orders, done));
        }
        for (queue, jobs) in [(Queue::Commit, &this.jobs), (Queue::Compaction, &this.long_jobs)] {
            let (jobs, filled) = (jobs.clone(), this.filled.clone());
            let (shard, env_of_jobs) = (this.shard.clone(), env.clone());
            let (live, erased) = (Arc::clone(&this.live), Rc::clone(&this.erased));
            env.spawn(queue, async move {
                while let Some(order) = jobs.pop().await {
                    let bytes = run_job(&shard, &env_of_jobs, &live, order.job).await;
                    erased.set(erased.get() + u64::from(matches!(order.job, Job::Erase)));
                    let JobOrder { target, hole, .. } = order;
                    let (bytes, gate) = (bytes.into(), SeqNo(0));
                    filled.push(Filled { target, hole, bytes, gate, holding: Holding::default() });
                }
            });
        }
        this
    }

    /// `event` has happened to `key`: published, if the setting and someone who listens want it.
    #[inline]
    pub(crate) fn notify(&mut self, class: NotifyClass, event: &'static str, key: &[u8]) {
        self.events.note(self.live.notify_keyspace_events(), class, event, key);
    }

    /// Moves when a command that waits may be tried again.
    pub(crate) fn changes(&self) -> u64 {
        self.shard.admission_changes().wrapping_add(self.output.returns())
    }

    /// Ends the tasks once they have nothing left to do.
    pub(crate) fn close(&self) {
        self.reads.close();
        self.jobs.close();
        self.scans.close();
        self.long_jobs.close();
    }

    /// A reply that became ready since, if any.
    pub(crate) fn next_filled(&mut self) -> Option<Filled> {
        while let Some(ReadDone { place, result, holding }) = self.read.try_pop() {
            if let Some(filled) = self.place(place, result, holding) {
                return Some(filled);
            }
        }
        while let Some(done) = self.scanned.try_pop() {
            if let Some(filled) = self.scanned(done) {
                return Some(filled);
            }
        }
        self.filled.try_pop()
    }

    /// Runs one command of the table that touches keys of this shard, all of them its own. `is_next`: nothing has to
    /// come before its reply.
    pub(crate) fn run<S: Sink>(
        &mut self,
        id: CommandId,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        if self.shard.is_erasing() {
            if command::by_id(id).is_some_and(command::Spec::is_write) {
                self.shard.must_wait(Wait::Erasing);
            }
            return Ran::Wait;
        }
        // What happens to keys is told by the functions of `apply`; the short ways below say nothing.
        if self.live.notify_keyspace_events() != 0 && apply::command(id).is_some() {
            return self.run_on_values(id, args, protocol, target, is_next, sink);
        }
        match id {
            CommandId::Get => return self.get(args, protocol, target, is_next, sink),
            CommandId::Set if args.len() == 3 => return self.set(args, sink),
            CommandId::Mset => return self.mset(args, sink),
            CommandId::Del | CommandId::Unlink => {
                return self.del(args, protocol, target, is_next, sink);
            }
            CommandId::Mget => return self.mget(args, protocol, target, is_next, sink),
            CommandId::Exists | CommandId::Touch => {
                return self.exists(args, protocol, target, is_next, sink);
            }
            CommandId::Scan => self.scan(args, protocol, target, sink),
            CommandId::Keys | CommandId::Randomkey => {
                self.look_for_keys(id, args, protocol, target, sink);
            }
            CommandId::Dbsize => self.order(Job::Count, target, sink),
            CommandId::Bgrewriteaof => self.order(Job::Flush, target, sink),
            CommandId::Compact => {
                let hole = sink.hole(0);
                self.long_jobs.push(JobOrder { job: Job::Compact, target, hole });
            }
            CommandId::Flushall => self.order(Job::Erase, target, sink),
            CommandId::Flushdb => {
                let erases = self.live.flushdb() == FlushDb::Erase;
                let job = if erases { Job::Erase } else { Job::Flush };
                self.order(job, target, sink);
            }
            // Stored by who sent it; only a change of policy is work for the shard.
            CommandId::ConfigSet if self.live.sync() != self.shard.policy() => {
                self.order(Job::Policy, target, sink);
            }
            CommandId::ConfigSet => {
                writer::ok(sink.buffer());
                sink.done(SeqNo(0));
            }
            _ if apply::command(id).is_some() => {
                return self.run_on_values(id, args, protocol, target, is_next, sink);
            }
            _ => unreachable!("dispatch sends only commands of a shard here"),
        }
        Ran::Done
    }

    fn get<S: Sink>(
        &mut self,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        let output = &*self.output;
        let read = self.shard.read(args.arg(1), |found| {
            admit_reply(output, is_next, found.value.map_or(0, <[u8]>::len))?;
            let out = sink.buffer();
            match found.value {
                Some(value) => writer::bulk(out, value),
                None => writer::null(out, protocol),
            }
            Ok(found.gate)
        });
        match read {
            Read::Done(Ok(gate)) => sink.done(gate),
            Read::Done(Err(not_now)) => return not_now,
            Read::Disk(read) => {
                if let Err(not_now) = admit_reply(output, is_next, read.expected_bytes()) {
                    return not_now;
                }
                let hole = sink.hole(read.expected_bytes());
                self.fetch(read, Place::Reply { target, hole, protocol });
            }
        }
        Ran::Done
    }

    /// Reads from disk what `place` waits for. Block, value and reply are in memory at once, or nearly so.
    fn fetch(&self, read: PointRead<GlommioEnv>, place: Place) {
        let holding = Holding::of(&self.output, 2 * read.expected_bytes());
        self.reads.push(ReadJob { read, place, holding });
    }

    fn set<S: Sink>(&mut self, args: Args<'_>, sink: &mut S) -> Ran {
        self.write(&[Op::Put { key: args.arg(1), value: args.arg(2), expires_at_ms: 0 }], sink)
    }

    fn mset<S: Sink>(&mut self, args: Args<'_>, sink: &mut S) -> Ran {
        let mut ops = Vec::with_capacity(args.len() / 2);
        for index in (1..args.len()).step_by(2) {
            ops.push(Op::Put {
                key: args.arg(index),
                value: args.arg(index + 1),
                expires_at_ms: 0,
            });
        }
        self.write(&ops, sink)
    }

    fn write<S: Sink>(&mut self, ops: &[Op<'_>], sink: &mut S) -> Ran {
        match self.shard.write(ops) {
            Ok(seq) => {
                self.written(ops.iter().map(Op::key));
                writer::ok(sink.buffer());
                sink.done(seq);
            }
            Err(Refusal::Wait(_)) => return Ran::Wait,
            Err(Refusal::Error(error)) => {
                writer::error(sink.buffer(), error::reply_text(&error));
                sink.done(SeqNo(0));
            }
        }
        Ran::Done
    }

    /// Puts the result of a read in its place; the reply, if that completed one.
    fn place(
        &mut self,
        place: Place,
        result: shard::error::Result<Fetched>,
        mut holding: Holding,
    ) -> Option<Filled> {
        match place {
            Place::Fetch { target, key } => {
                self.fetched_value(target, key, result);
                None
            }
            Place::Reply { target, hole, protocol } => {
                let mut bytes = Vec::new();
                match result {
                    Ok(Some((value, _))) => writer::bulk(&mut bytes, &value),
                    Ok(None) => writer::null(&mut bytes, protocol),
                    Err(error) => writer::error(&mut bytes, error::reply_text(&error)),
                }
                holding.set(&self.output, bytes.len());
                let (bytes, gate) = (bytes.into(), SeqNo(0));
                Some(Filled { target, hole, bytes, gate, holding })
            }
            Place::Part { parts: key, position } => {
                let Some(parts) = self.parts.get_mut(key) else {
                    panic!("parts end with their last read")
                };
                parts.open -= 1;
                match (result, &mut parts.combined) {
                    (Ok(value), Combined::Count(count)) => *count += i64::from(value.is_some()),
                    (Ok(value), Combined::Array(values)) => {
                        values[position] = value.map(|(value, _)| value);
                    }
                    (Err(error), _) => parts.error = Some(error::reply_text(&error).into_owned()),
                }
                parts.holding.set(&self.output, parts.combined.bytes());
                if parts.open > 0 {
                    return None;
                }
                let mut parts = self.parts.remove(key)?;
                let mut bytes = Vec::new();
                match &parts.error {
                    Some(error) => writer::error(&mut bytes, error),
                    None => parts.combined.write(&mut bytes, parts.protocol),
                }
                parts.holding.set(&self.output, bytes.len());
                let Parts { target, hole, gate, holding, .. } = parts;
                Some(Filled { target, hole, bytes: bytes.into(), gate, holding })
            }
        }
    }

    fn order<S: Sink>(&mut self, job: Job, target: Target, sink: &mut S) {
        if matches!(job, Job::Erase) {
            self.erases_ordered += 1;
            let shard = &self.shard;
            self.watches.all_written(|key| may_exist(shard, key));
        }
        self.jobs.push(JobOrder { job, target, hole: sink.hole(0) });
    }
}

/// Whether a reply of `bytes` may be made now. What is large must be able to leave at once: whoever holds memory then
/// waits for its client alone, and never for someone who waits for memory.
fn admit_reply(output: &Account, is_next: bool, bytes: usize) -> Result<(), Ran> {
    if bytes <= LARGE_REPLY_BYTES {
        return Ok(());
    }
    if !is_next {
        return Err(Ran::Later);
    }
    if output.is_full() {
        // Asked once more after telling that someone waits.
        output.expect_returns();
        if output.is_full() {
            return Err(Ran::NoRoom);
        }
    }
    Ok(())
}

/// Whether a key is there, or may be: nothing is read from disk for it.
fn may_exist(shard: &Shard<GlommioEnv>, key: &[u8]) -> bool {
    !matches!(shard.read(key, |found| found.value.is_some()), Read::Done(false))
}

async fn run_job(shard: &Shard<GlommioEnv>, env: &GlommioEnv, live: &Live, job: Job) -> Vec<u8> {
    let mut out = Vec::new();
    let done = match job {
        Job::Flush => shard.flush().await.map(|()| writer::ok(&mut out)),
        Job::Compact => shard.compact_all().await.map(|()| writer::ok(&mut out)),
        Job::Erase => shard.erase().await.map(|()| writer::ok(&mut out)),
        Job::Policy => shard.set_policy(live.sync()).await.map(|()| writer::ok(&mut out)),
        Job::Count => count_keys(shard, env).await.map(|count| writer::integer(&mut out, count)),
    };
    if let Err(error) = done {
        writer::error(&mut out, error::reply_text(&error));
    }
    out
}

/// The number of live keys: exact if that is known, or cheap enough to count; else the estimate, within some per cent.
async fn count_keys(shard: &Shard<GlommioEnv>, env: &GlommioEnv) -> shard::error::Result<i64> {
    let mut scan = shard.scan_keys(Range::all(), Direction::Forward);
    let estimate = shard.key_estimate();
    if estimate.exact || estimate.keys > KEYS_COUNTED_MAX {
        let gate = scan.gate();
        drop(scan);
        shard.released(gate).await?;
        return Ok(i64::try_from(estimate.keys).unwrap_or(i64::MAX));
    }
    let mut count = 0_i64;
    while scan.next().await?.is_some() {
        count += 1;
        if count.unsigned_abs().is_multiple_of(COUNT_PER_PAUSE as u64) {
            env.pause().await;
        }
    }
    let gate = scan.gate();
    drop(scan);
    shard.released(gate).await?;
    Ok(count)
}
