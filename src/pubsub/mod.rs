//! Publish and subscribe: who listens, and what they are sent.
//!
//! Each core knows the subscriptions of its own connections (`registry`). Of other cores it knows only whether anyone listens
//! there at all (`audience`): a message goes to those cores, and each answers how many of its connections got it. Changes of
//! keys are published the same way (`events`), without an answer.
//!
//! # Invariants
//! - Messages of one publisher reach a subscriber in the order in which they were published.
//! - What a message or an event follows on its connection or shard is durable, as the sync policy has it, before it is sent.
//! - A message is encoded once for each core, protocol and pattern, whatever the number of those who get it.

mod audience;
mod events;
mod registry;

use bytes::Bytes;

pub(crate) use audience::Audience;
pub(crate) use events::{Events, NotifyClass};
pub(crate) use registry::Registry;

use crate::resp::{Protocol, writer};

/// What a subscription is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    /// A channel of Redis Cluster's kind: a name space of its own.
    Shard,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The word at the head of a confirmation.
    pub(crate) fn verb(self, subscribes: bool) -> &'static str {
        match (self, subscribes) {
            (Self::Channel, true) => "subscribe",
            (Self::Channel, false) => "unsubscribe",
            (Self::Pattern, true) => "psubscribe",
            (Self::Pattern, false) => "punsubscribe",
            (Self::Shard, true) => "ssubscribe",
            (Self::Shard, false) => "sunsubscribe",
        }
    }
}

/// A message on its way to the subscribers of a core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// By SPUBLISH: patterns do not see it.
    pub(crate) is_sharded: bool,
    pub(crate) channel: Bytes,
    pub(crate) message: Bytes,
}

impl Published {
    /// The registry that its channel is looked up in.
    pub(crate) fn kind(&self) -> Kind {
        if self.is_sharded { Kind::Shard } else { Kind::Channel }
    }

    /// As a subscriber of the channel gets it.
    pub(crate) fn encode(&self, protocol: Protocol) -> Bytes {
        let word = if self.is_sharded { "smessage" } else { "message" };
        let mut out = Vec::with_capacity(self.channel.len() + self.message.len() + 64);
        writer::push(&mut out, 3, protocol);
        for part in [word.as_bytes(), &self.channel, &self.message] {
            writer::bulk(&mut out, part);
        }
        out.into()
    }

    /// As a subscriber of `pattern` gets it.
    pub(crate) fn encode_matched(&self, pattern: &[u8], protocol: Protocol) -> Bytes {
        let bytes = pattern.len() + self.channel.len() + self.message.len();
        let mut out = Vec::with_capacity(bytes + 80);
        writer::push(&mut out, 4, protocol);
        for part in [b"pmessage", pattern, &self.channel, &self.message] {
            writer::bulk(&mut out, part);
        }
        out.into()
    }
}

/// One message in the protocols that were asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Encoded([Option<Bytes>; 2]);

impl Encoded {
    /// The bytes for `protocol`, made when first asked for.
    pub(crate) fn in_protocol(
        &mut self,
        protocol: Protocol,
        encode: impl FnOnce(Protocol) -> Bytes,
    ) -> &Bytes {
        let place = usize::from(protocol == Protocol::Resp3);
        self.0[place].get_or_insert_with(|| encode(protocol))
    }
}

/// The confirmation of one subscription or its end; `name`: none where there was nothing to end.
pub(crate) fn confirm(
    out: &mut Vec<u8>,
    verb: &str,
    name: Option<&[u8]>,
    left: usize,
    protocol: Protocol,
) {
    writer::push(out, 3, protocol);
    writer::bulk(out, verb.as_bytes());
    match name {
        Some(name) => writer::bulk(out, name),
        None => writer::null(out, protocol),
    }
    writer::integer(out, i64::try_from(left).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded_as_redis_does() {
        let published = Published {
            is_sharded: false,
            channel: Bytes::from_static(b"a"),
            message: Bytes::from_static(b"hi"),
        };
        let mut encoded = Encoded::default();
        let bytes = encoded.in_protocol(Protocol::Resp2, |protocol| published.encode(protocol));
        assert_eq!(bytes, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
        let first = bytes.as_ptr();
        let again = encoded.in_protocol(Protocol::Resp2, |_| unreachable!("it is there"));
        assert_eq!(again.as_ptr(), first);
        let push = published.encode_matched(b"?", Protocol::Resp3);
        assert_eq!(push, ">4\r\n$8\r\npmessage\r\n$1\r\n?\r\n$1\r\na\r\n$2\r\nhi\r\n");
        let sharded = Published { is_sharded: true, ..published };
        let push = sharded.encode(Protocol::Resp3);
        assert_eq!(push, ">3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$2\r\nhi\r\n");
        let mut out = Vec::new();
        confirm(&mut out, Kind::Channel.verb(false), None, 0, Protocol::Resp2);
        assert_eq!(out, b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n");
    }
}
