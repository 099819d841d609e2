//! A connection's transaction: what it has queued since MULTI.
//!
//! # Where it runs
//! - All keys in one shard: there, in one stretch and one write: atomic, isolated, and atomic in a crash.
//! - Else, or with commands over all shards: like the pipeline of its commands, behind the head of the array of replies. Each
//!   shard carries out its commands in their order; others may come between ([`Home::Many`]).

use crate::command::table::Flags;
use crate::command::{self, CommandError, CommandId, PackedHead, Place, Spec};
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_COMMANDS_MAX};
use crate::resp::{Args, OwnedArgs};
use crate::slots::SlotTable;

/// Whose keys a transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Home {
    /// None yet.
    #[default]
    Nobody,
    /// Those of one shard.
    One(usize),
    /// Those of several, or a command that is not about keys alone.
    Many,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// As it travels: `EXEC`, then head and words of each command.
    words: OwnedArgs,
    commands: usize,
    home: Home,
    /// One of its commands was refused: EXEC will refuse it as a whole.
    failed: bool,
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            words: [&b"EXEC"[..]].into_iter().collect(),
            commands: 0,
            home: Home::Nobody,
            failed: false,
        }
    }
}

/// Whether a command is run at once within a transaction, instead of being queued.
pub(crate) fn is_never_queued(id: CommandId) -> bool {
    matches!(
        id,
        CommandId::Exec
            | CommandId::Discard
            | CommandId::Multi
            | CommandId::Watch
            | CommandId::Quit
            | CommandId::Reset
    )
}

/// Whether a command that needs no shard is answered at once and leaves its connection as it is.
fn can_be_answered_ahead(spec: &Spec) -> bool {
    !spec.flags.has(Flags::NO_AUTH) && spec.id != CommandId::Debug
}

/// Whether a transaction of `commands` may get one more, which makes it `bytes` large.
fn has_room(commands: usize, bytes: usize) -> bool {
    commands < TRANSACTION_COMMANDS_MAX && bytes <= TRANSACTION_BYTES_MAX
}

impl Transaction {
    /// A command was refused before it could be queued.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn home(&self) -> Home {
        self.home
    }

    pub(crate) fn commands(&self) -> usize {
        self.commands
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.words.bytes()
    }

    /// Queues a command.
    ///
    /// # Errors
    /// It is too large then: it has failed.
    pub(crate) fn queue(
        &mut self,
        spec: &'static Spec,
        args: Args<'_>,
        slots: &SlotTable,
    ) -> Result<(), CommandError> {
        if !has_room(self.commands, self.words.bytes() + args.data_bytes()) {
            self.failed = true;
            return Err(CommandError::TransactionTooLarge);
        }
        self.commands += 1;
        self.words.push(&command::packed(Some(spec.id), args.len()));
        args.iter().for_each(|word| self.words.push(word));
        match spec.place {
            Place::Keys if crate::apply::command(spec.id).is_some() => {
                for position in spec.key_positions(args.len()) {
                    let shard = usize::from(slots.shard_of_key(args.arg(position)));
                    self.home = match self.home {
                        Home::Nobody => Home::One(shard),
                        Home::One(other) if other == shard => self.home,
                        _ => Home::Many,
                    };
                }
            }
            Place::Local if can_be_answered_ahead(spec) => {}
            _ => self.home = Home::Many,
        }
        Ok(())
    }

    /// The same with the replies of commands that need no shard, which `answer` makes, in their place.
    pub(crate) fn with_local_replies(
        &self,
        mut answer: impl FnMut(&'static Spec, Args<'_>) -> Vec<u8>,
    ) -> OwnedArgs {
        let mut words = OwnedArgs::default();
        words.push(self.words.args().arg(0));
        for (id, args) in command::packed_commands(self.words.args()) {
            let Some(spec) = id.and_then(command::by_id) else { continue };
            if spec.place == Place::Local {
                let head: PackedHead = command::packed(None, 1);
                words.push(&head);
                words.push(&answer(spec, args));
            } else {
                words.push(&command::packed(Some(spec.id), args.len()));
                args.iter().for_each(|word| words.push(word));
            }
        }
        words
    }

    /// Its commands, to be run one after the other.
    pub(crate) fn into_replay(self) -> Replay {
        Replay { words: self.words, at: 1 }
    }
}

/// Commands that a connection runs before it parses more input.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    words: OwnedArgs,
    /// The next command's head.
    at: usize,
}

impl Replay {
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.words.args().len()
    }

    pub(crate) fn peek(&self) -> Option<(&'static Spec, Args<'_>)> {
        let words = self.words.args();
        let (id, count) = command::unpacked(words.get(self.at)?);
        let spec = id.and_then(command::by_id)?;
        Some((spec, words.part(self.at + 1, count)))
    }

    pub(crate) fn advance(&mut self) {
        if let Some((_, args)) = self.peek() {
            self.at += 1 + args.len();
        }
        if self.is_done() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(transaction: &mut Transaction, words: &[&str]) {
        let owned: OwnedArgs = words.iter().map(|word| word.as_bytes()).collect();
        let spec = command::lookup(words[0].as_bytes()).unwrap();
        transaction.queue(spec, owned.args(), &SlotTable::contiguous(2)).unwrap();
    }

    #[test]
    fn a_transaction_lives_where_all_its_keys_do() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.home(), Home::Nobody);
        queue(&mut transaction, &["PING"]);
        queue(&mut transaction, &["SET", "{a}1", "v"]);
        queue(&mut transaction, &["RENAME", "{a}1", "{a}2"]);
        assert!(matches!(transaction.home(), Home::One(_)));
        let Home::One(home) = transaction.home() else { unreachable!() };
        let other = (0..).map(|number| number.to_string());
        let slots = SlotTable::contiguous(2);
        let other =
            other.into_iter().find(|key| usize::from(slots.shard_of_key(key.as_bytes())) != home);
        queue(&mut transaction, &["GET", &other.unwrap()]);
        assert_eq!((transaction.home(), transaction.commands()), (Home::Many, 4));
        let mut seen = Vec::new();
        let mut replay = transaction.into_replay();
        while let Some((spec, args)) = replay.peek() {
            seen.push((spec.name, args.len()));
            replay.advance();
        }
        assert_eq!(seen, [("ping", 1), ("set", 3), ("rename", 3), ("get", 2)]);
        assert!(replay.is_done());
    }

    #[test]
    fn a_transaction_is_bounded_and_has_failed_then() {
        assert!(has_room(TRANSACTION_COMMANDS_MAX - 1, TRANSACTION_BYTES_MAX));
        assert!(!has_room(TRANSACTION_COMMANDS_MAX, 0));
        assert!(!has_room(0, TRANSACTION_BYTES_MAX + 1));
        let mut full = Transaction { commands: TRANSACTION_COMMANDS_MAX, ..Transaction::default() };
        let (spec, slots) = (command::lookup(b"PING").unwrap(), SlotTable::contiguous(2));
        let words: OwnedArgs = [&b"PING"[..]].into_iter().collect();
        full.queue(spec, words.args(), &slots).unwrap_err();
        assert!(full.has_failed());
        assert_eq!((full.commands(), full.words.args().len()), (TRANSACTION_COMMANDS_MAX, 1));
    }

    #[test]
    fn what_needs_no_shard_is_answered_before() {
        let mut transaction = Transaction::default();
        queue(&mut transaction, &["PING"]);
        queue(&mut transaction, &["GET", "a"]);
        let words = transaction.with_local_replies(|spec, _| format!("+{}\r\n", spec.name).into());
        let words = words.args();
        assert_eq!(words.arg(2), b"+ping\r\n");
        assert_eq!(command::unpacked(words.arg(1)), (None, 1));
        assert_eq!(command::unpacked(words.arg(3)), (Some(CommandId::Get), 2));
    }
}
