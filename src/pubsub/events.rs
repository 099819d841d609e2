//! Changes of keys on their way to those who listen (`notify-keyspace-events`).
//!
//! The executor says what happened; the core's loop publishes it once the shard has released it: what an event tells of is
//! durable, as far as the sync policy goes. Without flags set, and without anyone who listens, an event costs one look.
//!
//! # Invariants
//! - Events leave in the order in which they happened.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use shard::key::SeqNo;

use super::{Audience, Published};
use crate::live::notify;

/// What kind of event it is: those that the setting names are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "named by the commands that change keys"))]
pub(crate) enum NotifyClass {
    /// A command on keys of any type.
    Generic,
    /// A command on strings.
    String,
    /// A key's time was up.
    Expired,
    /// A key was made that was not there.
    New,
    /// A key was asked for that is not there.
    KeyMiss,
}

impl NotifyClass {
    fn flag(self) -> u32 {
        match self {
            Self::Generic => notify::GENERIC,
            Self::String => notify::STRING,
            Self::Expired => notify::EXPIRED,
            Self::New => notify::NEW,
            Self::KeyMiss => notify::KEY_MISS,
        }
    }
}

#[derive(Debug)]
struct Event {
    name: &'static str,
    key: Bytes,
    flags: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Events {
    audience: Option<Arc<Audience>>,
    /// Of this pass.
    fresh: Vec<Event>,
    /// Those that wait for the log, with what they wait for, ascending.
    gated: VecDeque<(SeqNo, Event)>,
}

impl Events {
    pub(crate) fn new(audience: Arc<Audience>) -> Self {
        Self { audience: Some(audience), ..Self::default() }
    }

    /// `name` happened to `key`; `flags` are those of the setting.
    #[inline]
    pub(crate) fn note(&mut self, flags: u32, class: NotifyClass, name: &'static str, key: &[u8]) {
        if flags & class.flag() != 0 && flags & (notify::KEYSPACE | notify::KEYEVENT) != 0 {
            self.keep(flags, name, key);
        }
    }

    #[cold]
    fn keep(&mut self, flags: u32, name: &'static str, key: &[u8]) {
        if self.audience.as_ref().is_some_and(|audience| audience.is_there()) {
            self.fresh.push(Event { name, key: Bytes::copy_from_slice(key), flags });
        }
    }

    /// Whether there is something to publish, now or later.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.gated.is_empty()
    }

    /// What is to be published now. `last` is the newest operation of the shard, and what happened since the last call waits for
    /// it: the number of the very operation is not known here, and it is at most one pass older.
    pub(crate) fn take(&mut self, last: SeqNo, released: SeqNo) -> Vec<Published> {
        self.gated.extend(self.fresh.drain(..).map(|event| (last, event)));
        let mut published = Vec::new();
        while let Some((gate, _)) = self.gated.front()
            && *gate <= released
            && let Some((_, event)) = self.gated.pop_front()
        {
            event.publish(&mut published);
        }
        published
    }

    /// The shard has failed: what waits has not happened.
    pub(crate) fn forget(&mut self) {
        self.fresh.clear();
        self.gated.clear();
    }
}

impl Event {
    /// In Redis' order: the key's channel first.
    fn publish(self, into: &mut Vec<Published>) {
        let channel = |head: &[u8], tail: &[u8]| Bytes::from([head, tail].concat());
        let Self { name, key, flags } = self;
        if flags & notify::KEYSPACE != 0 {
            into.push(Published {
                is_sharded: false,
                channel: channel(b"__keyspace@0__:", &key),
                message: Bytes::from_static(name.as_bytes()),
            });
        }
        if flags & notify::KEYEVENT != 0 {
            into.push(Published {
                is_sharded: false,
                channel: channel(b"__keyevent@0__:", name.as_bytes()),
                message: key,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(letters: &str) -> u32 {
        notify::parse(letters).unwrap()
    }

    fn texts(published: &[Published]) -> Vec<String> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let one = |it: &Published| format!("{} {}", text(&it.channel), text(&it.message));
        published.iter().map(one).collect()
    }

    #[test]
    fn only_what_is_set_and_heard_is_kept() {
        let audience = Arc::new(Audience::new(1));
        let mut events = Events::new(Arc::clone(&audience));
        events.note(set("KEA"), NotifyClass::String, "set", b"k");
        assert!(events.is_empty(), "nobody listens");
        audience.set(0, 1);
        for (letters, class) in [
            ("", NotifyClass::String),
            ("A", NotifyClass::String),
            ("Kg", NotifyClass::String),
            ("KEA", NotifyClass::New),
            ("KEA", NotifyClass::KeyMiss),
        ] {
            events.note(set(letters), class, "set", b"k");
            assert!(events.is_empty(), "{letters} {class:?}");
        }
        events.note(set("K$"), NotifyClass::String, "set", b"a");
        events.note(set("Eg"), NotifyClass::Generic, "del", b"a");
        let taken = events.take(SeqNo(0), SeqNo(0));
        assert_eq!(texts(&taken), ["__keyspace@0__:a set", "__keyevent@0__:del a"]);
    }

    #[test]
    fn an_event_waits_for_what_it_tells_of() {
        let audience = Arc::new(Audience::new(1));
        audience.set(0, 1);
        let mut events = Events::new(audience);
        events.note(set("KEx"), NotifyClass::Expired, "expired", b"a");
        assert!(events.take(SeqNo(7), SeqNo(6)).is_empty() && !events.is_empty());
        events.note(set("Ex"), NotifyClass::Expired, "expired", b"b");
        let taken = texts(&events.take(SeqNo(8), SeqNo(7)));
        assert_eq!(taken, ["__keyspace@0__:a expired", "__keyevent@0__:expired a"]);
        assert_eq!(texts(&events.take(SeqNo(9), SeqNo(8))), ["__keyevent@0__:expired b"]);
        events.note(set("Ex"), NotifyClass::Expired, "expired", b"c");
        assert!(events.take(SeqNo(10), SeqNo(9)).is_empty());
        events.note(set("Ex"), NotifyClass::Expired, "expired", b"d");
        events.forget();
        assert!(events.is_empty() && events.take(SeqNo(11), SeqNo(11)).is_empty());
    }
}
