//! PUBLISH, SUBSCRIBE and their like.

use bytes::Bytes;
use shard::key::SeqNo;

use crate::ask::{Ask, sum, sums, union};
use crate::command::{CommandError, CommandId};
use crate::limits::{CHANNEL_BYTES_MAX, GLOB_BYTES_MAX, SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX};
use crate::pubsub::{Kind, Published, confirm};
use crate::reply::{Muted, Sink};
use crate::resp::{Args, writer};
use crate::slab::Key;
use crate::worker::Worker;

/// What a command is about.
fn kind_of(id: CommandId) -> Kind {
    use CommandId as Id;
    match id {
        Id::Psubscribe | Id::Punsubscribe | Id::PubsubNumpat => Kind::Pattern,
        Id::Ssubscribe
        | Id::Sunsubscribe
        | Id::Spublish
        | Id::PubsubShardchannels
        | Id::PubsubShardnumsub => Kind::Shard,
        _ => Kind::Channel,
    }
}

fn check_channel(channel: &[u8]) -> Result<(), CommandError> {
    if channel.len() <= CHANNEL_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "ERR a channel's name is {} bytes long, the limit is {CHANNEL_BYTES_MAX}",
        channel.len()
    );
    Err(CommandError::Text(text.into()))
}

fn check_pattern(pattern: &[u8]) -> Result<(), CommandError> {
    if pattern.len() <= GLOB_BYTES_MAX {
        return Ok(());
    }
    let text =
        format!("ERR a pattern is {} bytes long, the limit is {GLOB_BYTES_MAX}", pattern.len());
    Err(CommandError::Text(text.into()))
}

fn integer(out: &mut Vec<u8>, number: u64) {
    writer::integer(out, i64::try_from(number).unwrap_or(i64::MAX));
}

impl Worker {
    pub(super) fn publish(
        &mut self,
        key: Key,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        check_channel(args.arg(1))?;
        let published = Published {
            is_sharded: id == CommandId::Spublish,
            channel: Bytes::copy_from_slice(args.arg(1)),
            message: Bytes::copy_from_slice(args.arg(2)),
        };
        let shared = std::sync::Arc::clone(&self.shared);
        let finish = |answers| {
            let mut out = Vec::new();
            integer(&mut out, sum(answers));
            out
        };
        self.ask(key, shared.audience.listening(), &Ask::Publish(published), Box::new(finish));
        Ok(())
    }

    /// (P|S)SUBSCRIBE and (P|S)UNSUBSCRIBE: a confirmation for each name, which together are the reply.
    pub(super) fn subscribe(
        &mut self,
        key: Key,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        use CommandId as Id;
        let subscribes = matches!(id, Id::Subscribe | Id::Psubscribe | Id::Ssubscribe);
        let kind = kind_of(id);
        let mut names: Vec<Bytes> = Vec::new();
        if subscribes {
            for name in args.iter().skip(1) {
                if kind == Kind::Pattern { check_pattern(name)? } else { check_channel(name)? }
            }
            self.admit_subscriptions(key, args)?;
        }
        let asked: Vec<&[u8]> = if args.len() > 1 {
            args.iter().skip(1).collect()
        } else {
            names = self.registry.names_of(key, kind);
            names.iter().map(Bytes::as_ref).collect()
        };
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let protocol = conn.session.protocol;
        // Who is told of it is told, whatever CLIENT REPLY says.
        let muted = conn.replies.muted();
        conn.replies.mute(Muted::No);
        let out = conn.replies.buffer();
        let registry = &mut self.registry;
        for name in &asked {
            if subscribes {
                registry.subscribe(key, kind, name);
            } else {
                registry.unsubscribe(key, kind, name);
            }
            let left = left_of(kind, registry.counts(key));
            confirm(out, kind.verb(subscribes), Some(name), left, protocol);
        }
        if asked.is_empty() {
            let left = left_of(kind, registry.counts(key));
            confirm(out, kind.verb(subscribes), None, left, protocol);
        }
        conn.replies.done(SeqNo(0));
        conn.replies.mute(if muted == Muted::All { muted } else { Muted::No });
        drop(names);
        self.subscriptions_changed(key);
        Ok(())
    }

    fn admit_subscriptions(&self, key: Key, args: Args<'_>) -> Result<(), CommandError> {
        let names: Vec<&[u8]> = args.iter().skip(1).collect();
        self.registry.admit(key, names.into_iter()).map_err(|_| {
            let text = format!(
                "ERR a connection listens to at most {SUBSCRIPTIONS_MAX} channels and patterns, and to \
                 {SUBSCRIPTION_BYTES_MAX} bytes of names"
            );
            CommandError::Text(text.into())
        })
    }

    /// PUBSUB, by subcommand.
    pub(super) fn pubsub(&mut self, key: Key, id: CommandId, args: Args<'_>) {
        use CommandId as Id;
        let kind = kind_of(id);
        let copied = |from: usize| args.iter().skip(from).map(Bytes::copy_from_slice);
        match id {
            Id::PubsubNumsub | Id::PubsubShardnumsub => {
                let names: Vec<Bytes> = copied(2).collect();
                let ask = Ask::Listeners(kind, names.clone());
                let finish = move |answers| {
                    let mut out = Vec::new();
                    writer::array(&mut out, names.len() * 2);
                    for (name, count) in names.iter().zip(sums(answers)) {
                        writer::bulk(&mut out, name);
                        integer(&mut out, count);
                    }
                    out
                };
                self.ask_all(key, &ask, Box::new(finish));
            }
            Id::PubsubNumpat => {
                let finish = |answers| {
                    let mut out = Vec::new();
                    integer(&mut out, union(answers).len() as u64);
                    out
                };
                self.ask_all(key, &Ask::Names(kind, None), Box::new(finish));
            }
            _ => {
                let finish = |answers| {
                    let names = union(answers);
                    let mut out = Vec::new();
                    writer::array(&mut out, names.len());
                    for name in &names {
                        writer::bulk(&mut out, name);
                    }
                    out
                };
                self.ask_all(key, &Ask::Names(kind, copied(2).next()), Box::new(finish));
            }
        }
    }
}

/// The number that a confirmation shows: shard channels are counted apart.
fn left_of(kind: Kind, [channels, patterns, shard_channels]: [usize; 3]) -> usize {
    if kind == Kind::Shard { shard_channels } else { channels + patterns }
}
