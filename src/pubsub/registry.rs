//! The subscriptions of one core's connections.
//!
//! # Invariants
//! - A connection stands in the list of a name exactly where its own record says; a list without connections is gone.
//! - A connection's names and their bytes are bounded, and what they hold is written down in the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Kind;
use crate::glob::{self, Case};
use crate::ledger::{Account, Holding};
use crate::limits::{SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX};
use crate::slab::Key;

/// What a subscription takes beside its name, in bytes.
const SUBSCRIPTION_COST_BYTES: usize = 96;

/// A connection would have more, or longer, subscriptions than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What one connection listens to: each name with its place in the list of that name.
#[derive(Debug, Default)]
struct Subscriber {
    names: [HashMap<Bytes, usize>; 3],
    bytes: usize,
    holding: Holding,
}

impl Subscriber {
    fn count(&self) -> usize {
        self.names.iter().map(HashMap::len).sum()
    }
}

/// See the module. Names come from clients: the maps have std's hasher, seeded at random.
#[derive(Debug)]
pub(crate) struct Registry {
    listeners: [HashMap<Bytes, Vec<Key>>; 3],
    subscribers: HashMap<Key, Subscriber>,
    subscriptions: usize,
    memory: Arc<Account>,
}

impl Registry {
    pub(crate) fn new(memory: Arc<Account>) -> Self {
        Self {
            listeners: Default::default(),
            subscribers: HashMap::new(),
            subscriptions: 0,
            memory,
        }
    }

    /// All subscriptions.
    pub(crate) fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether connection `key` may subscribe to `names`, too.
    ///
    /// # Errors
    /// It may not, and nothing has changed.
    pub(crate) fn admit<'a>(
        &self,
        key: Key,
        names: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<(), Full> {
        let (count, bytes) = match self.subscribers.get(&key) {
            Some(subscriber) => (subscriber.count(), subscriber.bytes),
            None => (0, 0),
        };
        let count = count + names.len();
        let bytes = bytes + names.map(|name| name.len() + SUBSCRIPTION_COST_BYTES).sum::<usize>();
        if count > SUBSCRIPTIONS_MAX || bytes > SUBSCRIPTION_BYTES_MAX { Err(Full) } else { Ok(()) }
    }

    /// Subscribes; answers whether that is new.
    pub(crate) fn subscribe(&mut self, key: Key, kind: Kind, name: &[u8]) -> bool {
        let subscriber = self.subscribers.entry(key).or_default();
        let names = &mut subscriber.names[kind.index()];
        if names.contains_key(name) {
            return false;
        }
        let listeners = &mut self.listeners[kind.index()];
        // One copy of a name for all that listen to it.
        let shared = listeners.get_key_value(name).map(|(name, _)| name.clone());
        let shared = shared.unwrap_or_else(|| Bytes::copy_from_slice(name));
        let list = listeners.entry(shared.clone()).or_default();
        names.insert(shared, list.len());
        list.push(key);
        subscriber.bytes += name.len() + SUBSCRIPTION_COST_BYTES;
        subscriber.holding.set(&self.memory, subscriber.bytes);
        self.subscriptions += 1;
        true
    }

    /// Ends a subscription; answers whether there was one.
    pub(crate) fn unsubscribe(&mut self, key: Key, kind: Kind, name: &[u8]) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&key) else { return false };
        let Some(place) = subscriber.names[kind.index()].remove(name) else { return false };
        subscriber.bytes -= name.len() + SUBSCRIPTION_COST_BYTES;
        subscriber.holding.set(&self.memory, subscriber.bytes);
        if subscriber.count() == 0 {
            self.subscribers.remove(&key);
        }
        self.leave(key, kind, name, place);
        true
    }

    /// Takes `key` out of the list of `name`, where it stands at `place`.
    fn leave(&mut self, key: Key, kind: Kind, name: &[u8], place: usize) {
        let listeners = &mut self.listeners[kind.index()];
        let Some(list) = listeners.get_mut(name) else {
            unreachable!("a name that is listened to has a list")
        };
        assert_eq!(list.swap_remove(place), key, "who listens stands where its record says");
        if let Some(moved) = list.get(place) {
            let record = self.subscribers.get_mut(moved);
            let at = record.and_then(|record| record.names[kind.index()].get_mut(name));
            let Some(at) = at else { unreachable!("who is in a list has a record of it") };
            *at = place;
        }
        if list.is_empty() {
            listeners.remove(name);
        }
        self.subscriptions -= 1;
    }

    /// A connection is gone.
    pub(crate) fn forget(&mut self, key: Key) {
        let Some(subscriber) = self.subscribers.remove(&key) else { return };
        for (kind, names) in Kind::ALL.into_iter().zip(subscriber.names) {
            for (name, place) in names {
                self.leave(key, kind, &name, place);
            }
        }
    }

    /// What connection `key` listens to, by kind.
    pub(crate) fn counts(&self, key: Key) -> [usize; 3] {
        let subscriber = self.subscribers.get(&key);
        subscriber.map_or([0; 3], |subscriber| subscriber.names.each_ref().map(HashMap::len))
    }

    /// The names that connection `key` listens to.
    pub(crate) fn names_of(&self, key: Key, kind: Kind) -> Vec<Bytes> {
        let names = self.subscribers.get(&key).map(|subscriber| &subscriber.names[kind.index()]);
        names.into_iter().flat_map(HashMap::keys).cloned().collect()
    }

    /// Who listens to exactly this name.
    pub(crate) fn listeners(&self, kind: Kind, name: &[u8]) -> &[Key] {
        self.listeners[kind.index()].get(name).map_or(&[], Vec::as_slice)
    }

    /// Who listens to a pattern that `channel` matches.
    pub(crate) fn matching<'a>(
        &'a self,
        channel: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a [Key])> {
        let patterns = self.listeners[Kind::Pattern.index()].iter();
        patterns
            .filter(|(pattern, _)| glob::matches(pattern, channel, Case::Sensitive))
            .map(|(pattern, list)| (pattern, list.as_slice()))
    }

    /// All names of a kind that someone listens to.
    pub(crate) fn names(&self, kind: Kind) -> impl ExactSizeIterator<Item = &Bytes> {
        self.listeners[kind.index()].keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::slab::Slab;

    fn registry() -> (Registry, [Key; 3]) {
        let mut slab = Slab::default();
        let keys = [(); 3].map(|()| slab.insert(()));
        (Registry::new(Arc::clone(&Ledger::new(1 << 30).output)), keys)
    }

    #[test]
    fn whoever_leaves_leaves_the_others_in_their_places() {
        let (mut registry, [a, b, c]) = registry();
        for key in [a, b, c] {
            assert!(registry.subscribe(key, Kind::Channel, b"x"));
            assert!(registry.subscribe(key, Kind::Pattern, b"x*"));
        }
        assert!(!registry.subscribe(a, Kind::Channel, b"x"), "it has that");
        assert!(registry.unsubscribe(a, Kind::Channel, b"x"));
        assert!(!registry.unsubscribe(a, Kind::Channel, b"x"));
        assert_eq!(registry.listeners(Kind::Channel, b"x"), [c, b]);
        assert_eq!((registry.len(), registry.counts(a)), (5, [0, 1, 0]));
        registry.forget(c);
        assert_eq!(registry.listeners(Kind::Channel, b"x"), [b]);
        assert_eq!(registry.matching(b"xyz").next().unwrap().1, [a, b]);
        registry.forget(b);
        registry.forget(b);
        assert_eq!(registry.names(Kind::Channel).count(), 0);
        assert!(registry.unsubscribe(a, Kind::Pattern, b"x*"));
        assert_eq!((registry.len(), registry.subscribers.len()), (0, 0));
    }

    #[test]
    fn kinds_are_apart() {
        let (mut registry, [a, ..]) = registry();
        registry.subscribe(a, Kind::Shard, b"x");
        registry.subscribe(a, Kind::Pattern, b"[xy]");
        assert!(registry.listeners(Kind::Channel, b"x").is_empty());
        assert_eq!(registry.names_of(a, Kind::Shard), ["x"]);
        assert_eq!((registry.matching(b"x").count(), registry.matching(b"z").count()), (1, 0));
    }

    #[test]
    fn a_connection_has_a_bounded_number_of_names() {
        let (mut registry, [a, b, _]) = registry();
        let name = vec![b'x'; SUBSCRIPTION_BYTES_MAX / 2];
        assert_eq!(registry.admit(a, [name.as_slice(); 1].into_iter()), Ok(()));
        registry.subscribe(a, Kind::Channel, &name);
        assert_eq!(registry.admit(a, [name.as_slice(); 1].into_iter()), Err(Full));
        assert_eq!(registry.admit(b, [name.as_slice(); 1].into_iter()), Ok(()));
        let short = |count| vec![&b"y"[..]; count];
        assert_eq!(registry.admit(b, short(SUBSCRIPTIONS_MAX).into_iter()), Ok(()));
        assert_eq!(registry.admit(b, short(SUBSCRIPTIONS_MAX + 1).into_iter()), Err(Full));
        registry.unsubscribe(a, Kind::Channel, &name);
        assert_eq!(registry.admit(a, [name.as_slice(); 1].into_iter()), Ok(()));
    }
}
