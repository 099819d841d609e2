//! Where a command runs: on this connection, on this core's shard, on another core, or on several. The only file that
//! tells local from remote.
//!
//! - A command whose keys all lie in this core's shard runs at once.
//! - One whose keys lie in another shard goes into the one message that this pipeline sends to that core.
//! - Keys of several shards, and commands over all of them, become one part per shard and a gathered reply.
//!
//! Parts for this core's own shard take the same way as those of other cores: only whole commands take the short cut,
//! and only until there is such a part. Commands of one connection run in their order on every shard.

use bytes::Bytes;
use shard::key::SeqNo;

use crate::command::{
    CommandError, CommandId, Place, ScanOptions, Spec, StatsScope, histograms_named, info_sections,
    stats_scope,
};
use crate::execute::{Executor, Ran, Target, shard_of_cursor};
use crate::gather::{Rule, Show};
use crate::mesh::{ConnRef, Request};
use crate::multishard::{Part, Reading, part_of};
use crate::reply::Sink;
use crate::resp::{Args, Protocol, writer};
use crate::slab::Key;
use crate::slots::SlotTable;
use crate::watch::Flag;

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Dispatched {
    Next,
    /// Nothing changed; the same command again when what it waits for has changed.
    Wait,
    /// Nothing changed; the same command again when the values that it wants have come from disk.
    Fetching,
    /// Nothing changed; the same command again when the replies before it have come.
    Later,
    /// It went to all shards as a whole: what follows waits for it.
    Barrier,
}

impl From<Ran> for Dispatched {
    fn from(ran: Ran) -> Self {
        match ran {
            Ran::Done => Self::Next,
            Ran::Wait | Ran::NoRoom => Self::Wait,
            Ran::Fetching => Self::Fetching,
            Ran::Later => Self::Later,
        }
    }
}

/// Whether a command over several shards is done when each has done its part.
fn is_sum_of_parts(id: CommandId) -> bool {
    matches!(
        id,
        CommandId::Mset
            | CommandId::Mget
            | CommandId::Del
            | CommandId::Unlink
            | CommandId::Exists
            | CommandId::Touch
    )
}

/// Requests that this pass gathers for each core, one per connection and core.
#[derive(Debug)]
pub(crate) struct Outbox {
    index: usize,
    requests: Vec<Option<Box<Request>>>,
}

impl Outbox {
    pub(crate) fn new(index: usize, cores: usize) -> Self {
        Self { index, requests: (0..cores).map(|_| None).collect() }
    }

    /// Everything that was packed since: target core and request.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (usize, Box<Request>)> + '_ {
        self.requests
            .iter_mut()
            .enumerate()
            .filter_map(|(core, request)| Some((core, request.take()?)))
    }

    /// The watch of what was packed last for `core`.
    fn watched_by(&mut self, core: usize, flag: Flag) {
        if let Some(request) = &mut self.requests[core] {
            request.watched_by(flag);
        }
    }

    /// Whether something goes to `core` already: what comes later must not overtake it.
    pub(crate) fn has(&self, core: usize) -> bool {
        self.requests[core].is_some()
    }

    /// Adds a command for `core`; `hole`: the place of its reply, and whether its answer is all of that; `words`: its
    /// arguments, the name first.
    fn pack<'a>(
        &mut self,
        core: usize,
        conn: Key,
        protocol: Protocol,
        id: CommandId,
        hole: (u32, bool),
        words: impl Iterator<Item = &'a [u8]>,
    ) {
        let index = self.index;
        let request = self.requests[core].get_or_insert_with(|| {
            let core = u32::try_from(index).unwrap_or(u32::MAX);
            Box::new(Request::new(ConnRef { core, key: conn }))
        });
        request.push(id, protocol, hole, words);
    }
}

/// What dispatching needs of its core.
pub(crate) struct Dispatcher<'a> {
    pub(crate) index: usize,
    pub(crate) slots: &'a SlotTable,
    pub(crate) executor: &'a mut Executor,
    pub(crate) outbox: &'a mut Outbox,
}

impl Dispatcher<'_> {
    /// Runs or sends one command of connection `key`, whose name and arity were checked.
    pub(crate) fn dispatch(
        &mut self,
        key: Key,
        spec: &'static Spec,
        args: Args<'_>,
        mut conn: ConnParts<'_>,
    ) -> Dispatched {
        match spec.place {
            Place::Local | Place::Core | Place::Transaction | Place::Container => {
                unreachable!("{} needs no shard", spec.name)
            }
            Place::Cursor => self.scan(key, spec.id, args, &mut conn),
            Place::Keys if spec.keys.first == 1 && spec.keys.last == 1 => {
                let core = usize::from(self.slots.shard_of_key(args.arg(1)));
                self.whole(core, key, spec.id, args, &mut conn)
            }
            Place::Keys => self.keys(key, spec, args, &mut conn),
            Place::AllShards => self.all(key, spec.id, args, &mut conn),
        }
    }

    /// A command for one shard.
    fn whole(
        &mut self,
        core: usize,
        key: Key,
        id: CommandId,
        args: Args<'_>,
        conn: &mut ConnParts<'_>,
    ) -> Dispatched {
        let protocol = conn.protocol;
        if core == self.index && !self.outbox.has(core) {
            let (target, is_next) = (Target::Conn(key), !conn.replies.has_open_holes());
            return self.executor.run(id, args, protocol, target, is_next, conn.replies).into();
        }
        let hole = conn.replies.hole(0);
        self.outbox.pack(core, key, protocol, id, (hole, true), args.iter());
        Dispatched::Next
    }

    /// A command over keys that may lie in several shards.
    fn keys(
        &mut self,
        key: Key,
        spec: &'static Spec,
        args: Args<'_>,
        conn: &mut ConnParts<'_>,
    ) -> Dispatched {
        let positions = || spec.key_positions(args.len());
        let shard_of = |position: usize| usize::from(self.slots.shard_of_key(args.arg(position)));
        let first = positions().next().map_or(self.index, shard_of);
        if positions().all(|position| shard_of(position) == first) {
            return self.whole(first, key, spec.id, args, conn);
        }
        if !is_sum_of_parts(spec.id) {
            let reading = Reading::new(spec.id, args.into(), positions(), self.slots);
            let hole = conn.replies.hole(0);
            for (core, words) in reading.asked() {
                let words = words.args();
                let place = (hole, false);
                let id = CommandId::InternalRead;
                self.outbox.pack(*core, key, conn.protocol, id, place, words.iter());
            }
            conn.gathers.begin(hole, reading.asked().len(), Rule::Read(Box::new(reading)));
            return Dispatched::Barrier;
        }
        let mut by_core: Vec<(usize, Vec<usize>)> = Vec::new();
        for position in positions() {
            let core = shard_of(position);
            match by_core.iter_mut().find(|(other, _)| *other == core) {
                Some((_, of_core)) => of_core.push(position),
                None => by_core.push((core, vec![position])),
            }
        }
        let rule = match spec.id {
            CommandId::Mset | CommandId::Watch => Rule::Ok,
            CommandId::Mget => Rule::Array {
                positions: by_core
                    .iter()
                    .map(|(core, of_core)| {
                        (as_u32(*core), of_core.iter().map(|at| as_u32(at - 1)).collect())
                    })
                    .collect(),
                values: vec![Bytes::new(); args.len() - 1],
            },
            _ => Rule::Sum(0),
        };
        let hole = conn.replies.hole(0);
        conn.gathers.begin(hole, by_core.len(), rule);
        let step = positions().nth(1).map_or(1, |second| second - 1);
        for (core, of_core) in by_core {
            let words = of_core.iter().flat_map(|&at| (at..at + step).map(|at| args.arg(at)));
            let name = std::iter::once(args.arg(0));
            let words = name.chain(words);
            self.outbox.pack(core, key, conn.protocol, spec.id, (hole, false), words);
        }
        Dispatched::Next
    }

    /// SCAN: goes to the shard that its cursor names.
    fn scan(
        &mut self,
        key: Key,
        id: CommandId,
        args: Args<'_>,
        conn: &mut ConnParts<'_>,
    ) -> Dispatched {
        let cursor = ScanOptions::parse(args).map_or(0, |options| options.cursor);
        let core = shard_of_cursor(cursor);
        if core >= self.outbox.requests.len() {
            CommandError::Cursor.write(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
            return Dispatched::Next;
        }
        self.whole(core, key, id, args, conn)
    }

    /// EXEC of a transaction whose keys all lie in `shard`; `words`: as packed.
    pub(crate) fn exec(
        &mut self,
        shard: usize,
        key: Key,
        words: Args<'_>,
        watch: Option<&Flag>,
        conn: &mut ConnParts<'_>,
    ) -> Dispatched {
        let protocol = conn.protocol;
        if shard == self.index && !self.outbox.has(shard) {
            let (target, is_next) = (Target::Conn(key), !conn.replies.has_open_holes());
            return self
                .executor
                .run_transaction(words, watch, protocol, target, is_next, conn.replies)
                .into();
        }
        let hole = conn.replies.hole(0);
        self.outbox.pack(shard, key, protocol, CommandId::Exec, (hole, true), words.iter());
        if let Some(watch) = watch {
            self.outbox.watched_by(shard, watch.clone());
            // What comes behind must not write a watched key of another shard before this has looked.
            return Dispatched::Barrier;
        }
        Dispatched::Next
    }

    /// WATCH.
    pub(crate) fn watch(
        &mut self,
        key: Key,
        spec: &'static Spec,
        args: Args<'_>,
        flag: &Flag,
        conn: &mut ConnParts<'_>,
    ) -> Dispatched {
        let mut by_core: Vec<Part> = Vec::new();
        for position in spec.key_positions(args.len()) {
            let word = args.arg(position);
            part_of(&mut by_core, usize::from(self.slots.shard_of_key(word))).push(word);
        }
        if let [(core, words)] = by_core.as_slice()
            && *core == self.index
            && !self.outbox.has(*core)
        {
            self.executor.watch(words.args().iter().skip(1), flag);
            writer::ok(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
            return Dispatched::Next;
        }
        let hole = conn.replies.hole(0);
        conn.gathers.begin(hole, by_core.len(), Rule::Ok);
        for (core, words) in &by_core {
            let words = words.args();
            self.outbox.pack(*core, key, conn.protocol, spec.id, (hole, false), words.iter());
            self.outbox.watched_by(*core, flag.clone());
        }
        Dispatched::Next
    }

    /// A command for every shard.
    fn all(
        &mut self,
        key: Key,
        id: CommandId,
        args: Args<'_>,
        conn: &mut ConnParts<'_>,
    ) -> Dispatched {
        if id == CommandId::ConfigSet
            && let Err(error) = self.executor.live.set(args)
        {
            error.write(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
            return Dispatched::Next;
        }
        let rule = match id {
            CommandId::Dbsize => Rule::Sum(0),
            CommandId::Keys => Rule::Concat { elements: 0, bytes: Vec::new() },
            CommandId::Randomkey => Rule::Pick { seen: 0, picked: None, protocol: conn.protocol },
            CommandId::LatencyHistogram => {
                Rule::Stats { cores: Vec::new(), show: Show::Latency(histograms_named(args)) }
            }
            CommandId::Stats => {
                let show = match stats_scope(args) {
                    Ok(StatsScope::Report) => Show::Report,
                    scope => Show::Stats { per_shard: scope == Ok(StatsScope::EachShard) },
                };
                Rule::Stats { cores: Vec::new(), show }
            }
            CommandId::Bgrewriteaof => Rule::Said("Background append only file rewriting started"),
            CommandId::Lastsave => Rule::Stats { cores: Vec::new(), show: Show::LastSave },
            CommandId::MemoryStats => Rule::Stats { cores: Vec::new(), show: Show::Memory },
            CommandId::Info => {
                Rule::Stats { cores: Vec::new(), show: Show::Info(info_sections(args)) }
            }
            _ => Rule::Ok,
        };
        let cores = self.outbox.requests.len();
        let hole = conn.replies.hole(0);
        conn.gathers.begin(hole, cores, rule);
        for core in 0..cores {
            self.outbox.pack(core, key, conn.protocol, id, (hole, false), args.iter());
        }
        Dispatched::Barrier
    }
}

/// The parts of a connection that a command changes (its input is borrowed by the command itself).
pub(crate) struct ConnParts<'a> {
    pub(crate) replies: &'a mut crate::reply::Replies,
    pub(crate) gathers: &'a mut crate::gather::Gathers,
    pub(crate) protocol: Protocol,
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or_else(|_| unreachable!("bounded by ARGS_MAX and SHARDS_MAX"))
}
