//! Connections that are sent what they have not asked for: subscribers.
//!
//! What is sent to one waits in its replies until the end of the pass, and leaves in one send. Who does not read is closed at
//! `PUSH_BYTES_MAX`, or when more than `PUSH_BYTES_FOR_A_WHILE` has waited for `PUSH_TIME_MAX`; nobody else is held up by it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Worker;
use crate::ask::Ask;
use crate::glob::{self, Case};
use crate::limits::{EVENTS_BACKLOG_MAX, PUSH_BYTES_MAX, PUSHED_PER_PASS};
use crate::mesh::Message;
use crate::net::connection::{Connection, Phase};
use crate::pubsub::{Encoded, Kind, Published};
use crate::resp::Protocol;
use crate::slab::{Key, Slab};

impl Worker {
    /// Sends a message to the subscribers of this core; answers how many there are, one for each subscription.
    pub(super) fn deliver_message(&mut self, published: &Published) -> u64 {
        let Self { conns, registry, pushed, .. } = self;
        let mut receivers = 0;
        let mut encoded = Encoded::default();
        for &key in registry.listeners(published.kind(), &published.channel) {
            receivers += 1;
            push(conns, pushed, key, |protocol| {
                encoded.in_protocol(protocol, |protocol| published.encode(protocol)).clone()
            });
        }
        if published.is_sharded {
            return receivers;
        }
        for (pattern, keys) in registry.matching(&published.channel) {
            let mut encoded = Encoded::default();
            for &key in keys {
                receivers += 1;
                push(conns, pushed, key, |protocol| {
                    let encode = |protocol| published.encode_matched(pattern, protocol);
                    encoded.in_protocol(protocol, encode).clone()
                });
            }
        }
        receivers
    }

    /// Publishes what has happened to keys of this shard, as far as the log has released it.
    pub(super) fn publish_events(&mut self) -> bool {
        if self.executor.events.is_empty() {
            return false;
        }
        if self.executor.shard.failure().is_some() {
            self.executor.events.forget();
            return false;
        }
        let shard = &self.executor.shard;
        let (last, released) = (shard.last_seq(), shard.released_seq());
        let published = self.executor.events.take(last, released);
        let is_busy = !published.is_empty();
        let listening: Vec<usize> = self.shared.audience.listening().collect();
        for published in published {
            for &core in &listening {
                if core == self.index {
                    self.deliver_message(&published);
                } else if self.mesh.backlog(core) < EVENTS_BACKLOG_MAX {
                    let ask = Box::new(Ask::Publish(published.clone()));
                    self.mesh.send(core, Message::Ask(None, ask));
                } else {
                    self.net.events_dropped += 1;
                }
            }
        }
        is_busy
    }

    /// Sends off what was pushed, to a bounded number of connections in a pass.
    pub(super) fn flush_pushed(&mut self) -> bool {
        let count = self.pushed.len().min(PUSHED_PER_PASS);
        for _ in 0..count {
            let Some(key) = self.pushed.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.pushed = false;
            if conn.unread_bytes() > PUSH_BYTES_MAX {
                self.close_lagging(key);
            } else {
                self.flush(key);
            }
        }
        count > 0
    }

    /// Closes a connection that does not read what it is sent.
    pub(super) fn close_lagging(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            tracing::warn!(peer = conn.session.peer, "closed: it does not read what it listens to");
            self.net.output_closed += 1;
            self.kill(key);
        }
    }

    /// Names that someone of this core listens to.
    pub(super) fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let matches = |name: &&Bytes| {
            pattern.is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive))
        };
        self.registry.names(kind).filter(matches).cloned().collect()
    }

    /// Tells the other cores, and the connection, what it listens to now.
    pub(super) fn subscriptions_changed(&mut self, key: Key) {
        self.count_subscriptions();
        if let Some(conn) = self.conns.get_mut(key) {
            conn.subscriptions = self.registry.counts(key);
        }
    }

    /// A connection is gone.
    pub(super) fn forget_subscriptions(&mut self, key: Key, conn: &Connection) {
        if conn.monitors {
            self.forget_monitor(key);
        }
        if conn.is_subscriber() {
            self.registry.forget(key);
            self.count_subscriptions();
        }
    }

    fn count_subscriptions(&mut self) {
        self.shared.audience.set(self.index, self.registry.len());
        self.net.listened = Kind::ALL.map(|kind| self.registry.names(kind).len() as u64);
    }
}

/// Puts bytes that nobody asked for behind the replies of a connection.
pub(super) fn push(
    conns: &mut Slab<Connection>,
    pushed: &mut VecDeque<Key>,
    key: Key,
    bytes: impl FnOnce(Protocol) -> Bytes,
) {
    let Some(conn) = conns.get_mut(key) else { return };
    if conn.phase != Phase::Open || conn.unread_bytes() > PUSH_BYTES_MAX {
        return;
    }
    let bytes = bytes(conn.session.protocol);
    if conn.replay.is_done() {
        conn.replies.push(bytes);
    } else {
        conn.hold_push(bytes);
    }
    if !conn.pushed {
        conn.pushed = true;
        pushed.push_back(key);
    }
}
