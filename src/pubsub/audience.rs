//! On which cores anyone listens. A counter for each core, changed by that core alone and read by all: who publishes asks it,
//! and sends nothing to a core without subscribers.
//!
//! A core counts a subscription before it is confirmed, so that whoever knows of one is heard.

use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module.
#[derive(Debug)]
pub(crate) struct Audience {
    subscriptions: Vec<AtomicUsize>,
}

impl Audience {
    pub(crate) fn new(cores: usize) -> Self {
        Self { subscriptions: (0..cores).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Core `core` has so many subscriptions now.
    pub(crate) fn set(&self, core: usize, subscriptions: usize) {
        self.subscriptions[core].store(subscriptions, Ordering::SeqCst);
    }

    /// The cores with subscriptions.
    pub(crate) fn listening(&self) -> impl Iterator<Item = usize> + '_ {
        let counts = self.subscriptions.iter().enumerate();
        counts.filter(|(_, count)| count.load(Ordering::SeqCst) > 0).map(|(core, _)| core)
    }

    /// Whether anyone listens anywhere.
    pub(crate) fn is_there(&self) -> bool {
        self.listening().next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_with_subscriptions_are_those_that_listen() {
        let audience = Audience::new(3);
        assert!(!audience.is_there());
        audience.set(2, 5);
        audience.set(0, 1);
        assert_eq!(audience.listening().collect::<Vec<_>>(), [0, 2]);
        audience.set(0, 0);
        audience.set(2, 0);
        assert!(!audience.is_there());
    }
}
