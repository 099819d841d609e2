//! Timers of one core, fired by its driver.
//!
//! Not glommio's: those are served in a turn only, and a core that makes turns for as long as anyone sleeps would
//! spend 5-10 % of its time on them.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use super::World;

/// Deadline, then a number that tells equal ones apart.
type Key = (Instant, u64);

#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    next: u64,
}

impl Timers {
    /// When the first one is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(key, _)| key.0)
    }

    /// Wakes those that are due.
    pub(super) fn fire(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > now {
                return;
            }
            first.remove().wake();
        }
    }
}

/// A timer that disappears with its future.
struct Set<'a> {
    world: &'a World,
    key: Key,
}

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.world.timers.borrow_mut().waiting.remove(&self.key);
    }
}

/// Returns at the deadline or soon after.
pub(super) async fn sleep(world: &Rc<World>, deadline: Instant) {
    let key = {
        let mut timers = world.timers.borrow_mut();
        timers.next += 1;
        (deadline, timers.next)
    };
    let _set = Set { world, key };
    // A sleeping loop has to look at its deadline again.
    world.ring.nudge();
    poll_fn(|context| {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        let mut timers = world.timers.borrow_mut();
        timers.waiting.insert(key, context.waker().clone());
        Poll::Pending
    })
    .await;
}
