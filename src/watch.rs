//! Who wants to know that a key was written: transactions that WATCH it, and commands that fetch its value from disk.
//!
//! # Invariants
//! - A flag that was set stays so; whoever wants to watch anew takes a new one.
//! - A flag that nobody else holds any more belongs to a watch that has ended; its keys are forgotten some time later.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether any of the keys of one watch was written. Shared by a connection and the shards of its keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flag(Arc<AtomicBool>);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Keys watched at once on one core for each that was watched when the abandoned ones were last looked for.
const GROWTH: usize = 2;
/// Watched keys below which nobody looks for abandoned ones.
const KEPT_MIN: usize = 256;

/// The watched keys of one shard. std's hasher is seeded at random: clients choose these keys.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_key: HashMap<Box<[u8]>, Vec<Flag>>,
    /// Keys left when abandoned ones were last thrown out.
    kept: usize,
}

impl Watches {
    /// From now on `flag` is set when `key` is written.
    pub(crate) fn add(&mut self, key: &[u8], flag: &Flag) {
        if self.by_key.len() >= (self.kept * GROWTH).max(KEPT_MIN) {
            self.throw_out();
        }
        let flags = self.by_key.entry(key.into()).or_default();
        flags.retain(|other| !other.is_abandoned() && !other.is_set());
        if !flags.iter().any(|other| other.is(flag)) {
            flags.push(flag.clone());
        }
    }

    /// No longer.
    pub(crate) fn remove(&mut self, key: &[u8], flag: &Flag) {
        if let Some(flags) = self.by_key.get_mut(key) {
            flags.retain(|other| !other.is(flag));
            if flags.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// `key` was written: whoever watches it is told, once.
    pub(crate) fn written(&mut self, key: &[u8]) {
        if let Some(flags) = self.by_key.remove(key) {
            flags.iter().for_each(Flag::set);
        }
    }

    /// All keys were that were `there`.
    pub(crate) fn all_written(&mut self, there: impl Fn(&[u8]) -> bool) {
        for (_, flags) in self.by_key.extract_if(|key, _| there(key)) {
            flags.iter().for_each(Flag::set);
        }
    }

    fn throw_out(&mut self) {
        self.by_key.retain(|_, flags| {
            flags.retain(|flag| !flag.is_abandoned());
            !flags.is_empty()
        });
        self.kept = self.by_key.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_to_each_who_watches_and_to_nobody_else() {
        let mut watches = Watches::default();
        let (one, both, other) = (Flag::default(), Flag::default(), Flag::default());
        watches.add(b"a", &one);
        watches.add(b"a", &both);
        watches.add(b"b", &both);
        watches.add(b"b", &other);
        watches.written(b"a");
        assert!(one.is_set() && both.is_set() && !other.is_set());
        watches.remove(b"b", &other);
        watches.add(b"absent", &other);
        let late = Flag::default();
        watches.add(b"b", &late);
        watches.all_written(|key| key != b"absent");
        assert!(late.is_set() && !other.is_set() && !watches.is_empty());
    }

    #[test]
    fn watches_that_ended_are_forgotten() {
        let mut watches = Watches::default();
        for number in 0..10 * KEPT_MIN {
            watches.add(&number.to_le_bytes(), &Flag::default());
        }
        assert!(watches.by_key.len() <= KEPT_MIN, "{}", watches.by_key.len());
    }
}
