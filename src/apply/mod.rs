//! Commands on values, as functions: they look at what keys hold, decide, and leave changes that are then made all at once.
//!
//! A command sees values through a [`Txn`], which answers from what the command itself (or the transaction before it) has
//! changed, and else from its [`Source`]. A source that must read from disk first says [`Stop::Fetch`]; the command is then run
//! again from its beginning, when the value is there. So no command is ever suspended half way, and whoever runs it makes its
//! changes in one write of the shard: atomic, also in a crash.
//!
//! # Invariants
//! - A command checks everything before its first change: one that answers an error has changed nothing.
//! - Nothing here waits, reads a clock or knows a shard.

mod bitfield;
mod bits;
mod counters;
mod dump;
mod expire;
mod keys;
mod lcs;
mod longdouble;
mod options;
mod ranges;
mod strings;
mod transfer;

use std::collections::HashMap;

use crate::command::{CommandError, CommandId};
use crate::pubsub::NotifyClass;
use crate::resp::{Args, Protocol};

pub(crate) use expire::is_past;
pub(crate) use transfer::{Values, write_words};

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) bytes: &'a [u8],
    /// Milliseconds since 1970; 0: never.
    pub(crate) expires_at_ms: u64,
}

/// Why a command does not go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The source must bring a value first: run the command again then.
    Fetch,
    Error(CommandError),
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Error(error)
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Where values come from.
pub(crate) trait Source {
    /// Shows what `key` holds, as far as it has not expired.
    ///
    /// # Errors
    /// [`Stop::Fetch`], of which the source takes note.
    fn read(&mut self, key: &[u8], see: &mut dyn FnMut(Option<Value<'_>>)) -> Outcome;
}

/// A value that a key is to have: its bytes, and when it expires (milliseconds since 1970; 0: never).
type NewValue = (Vec<u8>, u64);

/// What becomes of a key; `None`: it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    pub(crate) new: Option<NewValue>,
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) class: NotifyClass,
    pub(crate) name: &'static str,
    pub(crate) key: Vec<u8>,
}

/// From how many changes on they are found by hash.
const CHANGES_SEARCHED: usize = 8;

/// What a command or transaction changes: for each key what it holds in the end.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    list: Vec<Change>,
    /// What is told to who listens, in order.
    events: Vec<Event>,
    /// Where in `list` a key stands, once there are many.
    places: HashMap<Vec<u8>, usize>,
}

impl Changes {
    fn place(&self, key: &[u8]) -> Option<usize> {
        if self.list.len() <= CHANGES_SEARCHED {
            return self.list.iter().position(|change| change.key == key);
        }
        self.places.get(key).copied()
    }

    fn get(&self, key: &[u8]) -> Option<&Change> {
        self.place(key).map(|place| &self.list[place])
    }

    fn set(&mut self, key: &[u8], new: Option<NewValue>) {
        if let Some(place) = self.place(key) {
            self.list[place].new = new;
            return;
        }
        self.list.push(Change { key: key.to_vec(), new });
        if self.list.len() == CHANGES_SEARCHED + 1 {
            let each = self.list.iter().enumerate();
            self.places = each.map(|(place, change)| (change.key.clone(), place)).collect();
        } else if self.list.len() > CHANGES_SEARCHED {
            self.places.insert(key.to_vec(), self.list.len() - 1);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// In the order of their first change.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Change> {
        self.list.iter()
    }
}

/// What a run of commands must know that is in no key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) protocol: Protocol,
    /// Wall clock, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Longest value, in bytes.
    pub(crate) value_bytes_max: usize,
    /// Whether somebody may want to know what happens to keys.
    pub(crate) notifies: bool,
}

/// One command, or a transaction of several, that is being run.
pub(crate) struct Txn<'a> {
    source: &'a mut dyn Source,
    changes: Changes,
    pub(crate) context: Context,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(source: &'a mut dyn Source, context: Context) -> Self {
        Self { source, changes: Changes::default(), context }
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    fn protocol(&self) -> Protocol {
        self.context.protocol
    }

    /// What `look` makes of what `key` holds now, where it lies.
    fn look<R>(&mut self, key: &[u8], look: impl FnOnce(Option<Value<'_>>) -> R) -> Outcome<R> {
        if let Some(change) = self.changes.get(key) {
            return Ok(look(
                change
                    .new
                    .as_ref()
                    .map(|(bytes, expires_at_ms)| Value { bytes, expires_at_ms: *expires_at_ms }),
            ));
        }
        let (mut look, mut result) = (Some(look), None);
        self.source.read(key, &mut |value| {
            if let Some(look) = look.take() {
                result = Some(look(value));
            }
        })?;
        result.ok_or(Stop::Fetch)
    }

    /// A copy of what `key` holds.
    fn get(&mut self, key: &[u8]) -> Outcome<Option<NewValue>> {
        self.look(key, |value| value.map(|value| (value.bytes.to_vec(), value.expires_at_ms)))
    }

    fn exists(&mut self, key: &[u8]) -> Outcome<bool> {
        self.look(key, |value| value.is_some())
    }

    /// Gives `key` a value; `event` is what happened to it. One that has expired already removes it.
    ///
    /// # Errors
    /// The value is longer than values may be.
    fn put(
        &mut self,
        event: &'static str,
        key: &[u8],
        bytes: Vec<u8>,
        expires_at_ms: u64,
    ) -> Outcome {
        self.check_length(bytes.len())?;
        if is_past(expires_at_ms, self.context.now_ms) {
            return self.delete(key);
        }
        if self.context.notifies {
            if !self.exists(key)? {
                self.event(NotifyClass::New, "new", key);
            }
            let is_generic =
                matches!(event, "expire" | "persist" | "rename_to" | "copy_to" | "restore");
            let class = if is_generic { NotifyClass::Generic } else { NotifyClass::String };
            self.event(class, event, key);
        }
        self.changes.set(key, Some((bytes, expires_at_ms)));
        Ok(())
    }

    /// Removes `key`. Writes nothing if it is not there.
    fn delete(&mut self, key: &[u8]) -> Outcome {
        self.remove("del", key)
    }

    fn remove(&mut self, event: &'static str, key: &[u8]) -> Outcome {
        if self.exists(key)? {
            self.event(NotifyClass::Generic, event, key);
            self.changes.set(key, None);
        }
        Ok(())
    }

    /// Takes note of what happened, if anybody may want to know.
    fn event(&mut self, class: NotifyClass, name: &'static str, key: &[u8]) {
        if self.context.notifies {
            self.changes.events.push(Event { class, name, key: key.to_vec() });
        }
    }

    /// Removes `key`, whether it is there or not.
    fn remove_unseen(&mut self, key: &[u8]) {
        self.event(NotifyClass::Generic, "del", key);
        self.changes.set(key, None);
    }

    /// Whether a value may be so long.
    fn check_length(&self, bytes: usize) -> Outcome {
        if bytes > self.context.value_bytes_max {
            return Err(CommandError::ValueTooLong.into());
        }
        Ok(())
    }
}

/// A command's function: its one reply goes to the buffer.
pub(crate) type Command = fn(&mut Txn<'_>, Args<'_>, &mut Vec<u8>) -> Outcome;

/// The function of a command on values; `None`: it is not one.
pub(crate) fn command(id: CommandId) -> Option<Command> {
    use CommandId as Id;
    Some(match id {
        Id::Get => strings::get,
        Id::Set => strings::set,
        Id::Setnx => strings::setnx,
        Id::Setex | Id::Psetex => strings::setex,
        Id::Getex => strings::getex,
        Id::Getdel => strings::getdel,
        Id::Getset => strings::getset,
        Id::Mget => strings::mget,
        Id::Mset => strings::mset,
        Id::Msetnx => strings::msetnx,
        Id::Append => ranges::append,
        Id::Strlen => ranges::strlen,
        Id::Getrange | Id::Substr => ranges::getrange,
        Id::Setrange => ranges::setrange,
        Id::Lcs => lcs::lcs,
        Id::Incr => counters::incr,
        Id::Decr => counters::decr,
        Id::Incrby => counters::incrby,
        Id::Decrby => counters::decrby,
        Id::Incrbyfloat => counters::incrbyfloat,
        Id::Setbit => bits::setbit,
        Id::Getbit => bits::getbit,
        Id::Bitcount => bits::bitcount,
        Id::Bitpos => bits::bitpos,
        Id::Bitop => bits::bitop,
        Id::Bitfield => bitfield::bitfield,
        Id::BitfieldRo => bitfield::bitfield_ro,
        Id::Del | Id::Unlink => keys::del,
        Id::Dump => dump::dump,
        Id::Restore => dump::restore,
        Id::Exists | Id::Touch => keys::exists,
        Id::Type => keys::kind,
        Id::Rename => keys::rename,
        Id::Renamenx => keys::renamenx,
        Id::Copy => keys::copy,
        Id::Move => keys::change_database,
        Id::ObjectEncoding => keys::encoding,
        Id::ObjectFreq => keys::freq,
        Id::ObjectIdletime => keys::idletime,
        Id::ObjectRefcount => keys::refcount,
        Id::MemoryUsage => keys::memory_usage,
        Id::Expire | Id::Pexpire | Id::Expireat | Id::Pexpireat => expire::expire,
        Id::Ttl | Id::Pttl | Id::Expiretime | Id::Pexpiretime => expire::ttl,
        Id::Persist => expire::persist,
        Id::InternalRead => transfer::read,
        Id::InternalWrite => transfer::write,
        _ => return None,
    })
}
