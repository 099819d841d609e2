//! How long writes waited: the time in which at least one did.
//!
//! A write that is told to wait asks again after the next change of what it waits for, and nobody says how many wait. So a
//! stall begins when a write is told to wait and none waits yet, and ends when one is taken after a change: if others still
//! wait, they are told so in the same moment, and the next stall begins. One that is taken without a change (small, where
//! a large one waits) ends nothing. Whoever waits asks again within [`ASKS_AGAIN_WITHIN`] of a change; if nobody does, whoever
//! waited is gone (its connection was closed), and the stall ended with the change.
//!
//! Plain values, no I/O; the caller says what time it is.

use std::cell::Cell;
use std::time::Duration;

/// A core that is busy with other connections comes back to those that wait in less.
const ASKS_AGAIN_WITHIN: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    since: Cell<Option<Duration>>,
    /// The first change since a write was last told to wait.
    changed_at: Cell<Option<Duration>>,
    ended_ns: Cell<u64>,
}

impl Stall {
    /// Whether a write waits, or is about to ask again: else nobody need ask for the time.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.since.get().is_some()
    }

    /// A write was told to wait.
    pub(crate) fn waits(&self, now: Duration) {
        if self.is_over(now) {
            self.end(now);
        }
        if !self.is_open() {
            self.since.set(Some(now));
        }
        self.changed_at.set(None);
    }

    /// What writes wait for may have changed.
    pub(crate) fn changed(&self, now: Duration) {
        if self.is_open() && self.changed_at.get().is_none() {
            self.changed_at.set(Some(now));
        }
    }

    /// A write that asked waits no longer, or had not to.
    pub(crate) fn passed(&self, now: Duration) {
        if self.changed_at.get().is_some() {
            self.end(now);
        }
    }

    /// All stalls, the one that is open included.
    pub(crate) fn total_ns(&self, now: Duration) -> u64 {
        self.ended_ns.get() + self.open_ns(now)
    }

    /// Nobody has asked again.
    fn is_over(&self, now: Duration) -> bool {
        self.changed_at.get().is_some_and(|at| now.saturating_sub(at) > ASKS_AGAIN_WITHIN)
    }

    fn end(&self, now: Duration) {
        self.ended_ns.set(self.total_ns(now));
        self.since.set(None);
        self.changed_at.set(None);
    }

    fn open_ns(&self, now: Duration) -> u64 {
        let Some(since) = self.since.get() else { return 0 };
        let end = match self.changed_at.get() {
            Some(changed_at) if self.is_over(now) => changed_at,
            _ => now,
        };
        u64::try_from(end.saturating_sub(since).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn total_ms(stall: &Stall, at: u64) -> u64 {
        stall.total_ns(ms(at)) / 1_000_000
    }

    #[test]
    fn a_stall_lasts_from_the_first_refusal_to_the_write_that_is_taken_after_a_change() {
        let stall = Stall::default();
        stall.passed(ms(1));
        stall.changed(ms(5));
        assert!(!stall.is_open());
        stall.waits(ms(10));
        stall.waits(ms(12));
        assert_eq!(total_ms(&stall, 15), 5, "one that is open counts");
        stall.changed(ms(20));
        stall.waits(ms(22));
        // A small write passes while the others wait.
        stall.passed(ms(25));
        assert!(stall.is_open());
        stall.changed(ms(30));
        stall.passed(ms(31));
        assert!(!stall.is_open());
        assert_eq!(total_ms(&stall, 1000), 21);
        // The second one of those who waited has to go on waiting.
        stall.waits(ms(31));
        stall.changed(ms(40));
        stall.passed(ms(40));
        assert_eq!(total_ms(&stall, 1000), 30);
    }

    #[test]
    fn nobody_waits_who_does_not_ask_again() {
        let stall = Stall::default();
        stall.waits(ms(10));
        stall.changed(ms(20));
        stall.changed(ms(50));
        assert_eq!(total_ms(&stall, 60), 50, "it may still ask");
        assert_eq!(total_ms(&stall, 5000), 10);
        stall.waits(ms(6000));
        assert_eq!(total_ms(&stall, 6001), 11);
        stall.changed(ms(6010));
        stall.passed(ms(9000));
        assert_eq!(total_ms(&stall, 9000), 20);
    }
}
