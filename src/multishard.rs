//! Commands over keys of several shards that are more than the sum of their parts: RENAME, COPY, MSETNX, BITOP, LCS.
//!
//! 1. The values of all keys come to the connection's core, each as it is in its shard at that moment.
//! 2. The command runs on them there, by the same function that runs it within one shard.
//! 3. Its changes go to their shards: new values first. Keys are removed only when these are acknowledged: a crash between the
//!    two leaves a value twice, and never loses it.
//!
//! It is not atomic: others may read or write these keys between the steps. Keys with one hash tag lie in one shard, where it
//! is.

use bytes::Bytes;

use crate::apply::{self, Change, Context, Stop, Txn, Values, write_words};
use crate::command::{CommandError, CommandId};
use crate::resp::OwnedArgs;
use crate::slots::SlotTable;

/// Words of one command for one core.
pub(crate) type Part = (usize, OwnedArgs);

/// A command whose values are on their way.
#[derive(Debug)]
pub(crate) struct Reading {
    id: CommandId,
    args: OwnedArgs,
    /// Which keys each core was asked for.
    asked: Vec<Part>,
    values: Values,
}

/// A command whose changes are.
#[derive(Debug)]
pub(crate) struct Writing {
    /// What goes out when all that is out has been acknowledged.
    pub(crate) removals: Vec<Part>,
    pub(crate) reply: Bytes,
}

impl Reading {
    /// Of the command `args`, whose keys stand at `positions`.
    pub(crate) fn new(
        id: CommandId,
        args: OwnedArgs,
        positions: impl Iterator<Item = usize>,
        slots: &SlotTable,
    ) -> Self {
        let mut asked: Vec<Part> = Vec::new();
        for position in positions {
            let key = args.args().arg(position);
            part_of(&mut asked, usize::from(slots.shard_of_key(key))).push(key);
        }
        Self { id, args, asked, values: Values::default() }
    }

    /// What to ask, as [`CommandId::InternalRead`].
    pub(crate) fn asked(&self) -> &[Part] {
        &self.asked
    }

    /// The answer of a core.
    pub(crate) fn add(&mut self, core: usize, reply: &[u8]) {
        if let Some((_, words)) = self.asked.iter().find(|(of, _)| *of == core) {
            self.values.add(words.args().iter().skip(1), reply);
        }
    }

    /// Bytes of values that have come.
    pub(crate) fn held_bytes(&self) -> usize {
        self.values.bytes()
    }

    /// Runs the command. Answers what goes out now, as [`CommandId::InternalWrite`] (nothing: the reply is all), and what
    /// is to be done behind that.
    pub(crate) fn run(mut self, context: Context, slots: &SlotTable) -> (Vec<Part>, Writing) {
        self.values.now_ms = context.now_ms;
        let Some(run) = apply::command(self.id) else {
            unreachable!("{:?} is no command on values", self.id)
        };
        let mut reply = Vec::new();
        let mut txn = Txn::new(&mut self.values, context);
        match run(&mut txn, self.args.args(), &mut reply) {
            Ok(()) => {}
            Err(stop) => {
                reply.clear();
                let error = match stop {
                    Stop::Error(error) => error,
                    Stop::Fetch => CommandError::text("ERR a key of this command was not read"),
                };
                error.write(&mut reply);
                return (Vec::new(), Writing { removals: Vec::new(), reply: reply.into() });
            }
        }
        let changes = txn.into_changes();
        let parts = |of: fn(&&Change) -> bool| {
            let mut parts: Vec<Part> = Vec::new();
            for change in changes.iter().filter(of) {
                let core = usize::from(slots.shard_of_key(&change.key));
                write_words(change, part_of(&mut parts, core));
            }
            parts
        };
        let (puts, removals) = (parts(|it| it.new.is_some()), parts(|it| it.new.is_none()));
        let reply = reply.into();
        if puts.is_empty() {
            (removals, Writing { removals: Vec::new(), reply })
        } else {
            (puts, Writing { removals, reply })
        }
    }
}

/// The words for `core`, a name before them.
pub(crate) fn part_of(parts: &mut Vec<Part>, core: usize) -> &mut OwnedArgs {
    let at = parts.iter().position(|(of, _)| *of == core).unwrap_or_else(|| {
        parts.push((core, [&b"ACROSS"[..]].into_iter().collect()));
        parts.len() - 1
    });
    &mut parts[at].1
}
