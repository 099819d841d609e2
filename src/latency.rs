//! What one core counts of the commands of its connections: calls, refusals, failures, and how long they took.
//!
//! A latency is the time from the pass of the loop that received a command's last byte to the moment when its reply is
//! handed to the socket: parsing, the turns of others, group commit, disk and other cores are all in it. The kernel's
//! buffers and the network are not. It belongs to the core of the connection, wherever the keys lie.
//!
//! # Invariants
//! - A command is counted once, when its reply leaves, under its own kind; the parts of it that other cores run are not.
//! - A histogram is made when its command is first answered: memory is at most `LATENCY_BYTES_MAX` a core.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::command::CommandId;
use crate::limits::{LATENCY_BYTES_MAX, LATENCY_DIGITS, LATENCY_NS_MAX, LATENCY_NS_MIN};

/// Cells of one histogram: halves of 256 (two digits), one more than doublings from `LATENCY_NS_MIN` to the longest.
const CELLS: usize = 128 * 20 + 128;
const _: () = assert!(CommandId::COUNT * CELLS * size_of::<u64>() <= LATENCY_BYTES_MAX);

/// One command's, in nanoseconds.
pub type Latencies = Histogram<u64>;

/// What is known of one command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommandTally {
    /// Replies handed to sockets.
    pub calls: u64,
    /// Of those, errors.
    pub failed: u64,
    /// Times that it was not run: its number of arguments was wrong.
    pub rejected: u64,
    /// All latencies together, in nanoseconds.
    pub total_ns: u64,
    pub latencies: Option<Latencies>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Tallies {
    commands: Box<[CommandTally]>,
    /// Whether histograms are kept; calls are counted all the same.
    is_tracking: bool,
}

impl Default for Tallies {
    fn default() -> Self {
        let commands = (0..CommandId::COUNT).map(|_| CommandTally::default()).collect();
        Self { commands, is_tracking: true }
    }
}

impl Tallies {
    pub fn of(&self, id: CommandId) -> &CommandTally {
        &self.commands[id.index()]
    }

    /// `count` replies to commands of place `index` left, after `latency` each.
    pub(crate) fn answered(&mut self, index: usize, count: u64, latency: Duration) {
        let tally = &mut self.commands[index];
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        tally.calls += count;
        tally.total_ns = tally.total_ns.saturating_add(nanos.saturating_mul(count));
        if self.is_tracking {
            tally.latencies.get_or_insert_with(no_latencies).saturating_record_n(nanos, count);
        }
    }

    /// Whether latencies are counted from now on; those that were stay.
    pub(crate) fn track(&mut self, on: bool) {
        self.is_tracking = on;
    }

    /// CONFIG RESETSTAT: nothing was counted yet.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self { is_tracking: self.is_tracking, ..Self::default() };
    }

    /// A reply to a command of place `index` was an error.
    #[cold]
    pub(crate) fn failed(&mut self, index: usize) {
        self.commands[index].failed += 1;
    }

    /// A command was refused before it was run.
    #[cold]
    pub(crate) fn rejected(&mut self, id: CommandId) {
        self.commands[id.index()].rejected += 1;
    }

    /// Empties the histograms, and gives their memory back; counts go on.
    pub(crate) fn forget_latencies(&mut self) {
        self.commands.iter_mut().for_each(|tally| tally.latencies = None);
    }

    /// Adds another core's.
    pub fn add(&mut self, other: &Self) {
        for (sum, tally) in self.commands.iter_mut().zip(&other.commands) {
            sum.calls += tally.calls;
            sum.failed += tally.failed;
            sum.rejected += tally.rejected;
            sum.total_ns = sum.total_ns.saturating_add(tally.total_ns);
            add_latencies(&mut sum.latencies, tally.latencies.as_ref());
        }
    }
}

/// Adds another core's.
pub fn add_latencies(sum: &mut Option<Latencies>, other: Option<&Latencies>) {
    if let Some(other) = other {
        let added = sum.get_or_insert_with(no_latencies).add(other);
        assert!(added.is_ok(), "all have the same bounds");
    }
}

/// An empty histogram.
pub(crate) fn no_latencies() -> Latencies {
    match Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, LATENCY_DIGITS) {
        Ok(latencies) => latencies,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: usize = CommandId::Get.index();

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn latencies_are_kept_to_two_digits_and_within_their_bounds() {
        let mut tallies = Tallies::default();
        assert_eq!(tallies.of(CommandId::Get).latencies, None, "no memory before the first");
        for micros in [0, 1, 7, 1_000, 123_456, 59_000_000] {
            tallies.answered(GET, 1, us(micros));
            let latencies = tallies.of(CommandId::Get).latencies.as_ref().unwrap();
            let (shown, measured) = (latencies.max(), micros * 1000);
            assert!(shown >= measured, "{micros} us: {shown} ns");
            assert!(shown <= measured + (measured / 128).max(LATENCY_NS_MIN), "{micros}: {shown}");
        }
        tallies.answered(GET, 3, Duration::from_secs(4000));
        let get = tallies.of(CommandId::Get);
        let latencies = get.latencies.as_ref().unwrap();
        assert_eq!((get.calls, latencies.len()), (9, 9));
        assert!(latencies.max() >= LATENCY_NS_MAX, "{}", latencies.max());
        assert!(latencies.max() <= 70 * 1_000_000_000, "beyond the bounds nothing is told apart");
        assert_eq!(
            get.total_ns,
            (1 + 7 + 1_000 + 123_456 + 59_000_000) * 1000 + 12_000_000_000_000
        );
    }

    #[test]
    fn memory_is_what_the_bound_says() {
        assert_eq!(no_latencies().distinct_values(), CELLS);
    }

    #[test]
    fn cores_are_summed_and_each_begins_anew() {
        let (mut sum, mut other) = (Tallies::default(), Tallies::default());
        sum.answered(GET, 2, us(10));
        other.answered(GET, 3, us(500));
        other.failed(GET);
        other.rejected(CommandId::Set);
        sum.add(&other);
        let get = sum.of(CommandId::Get);
        assert_eq!((get.calls, get.failed, get.total_ns), (5, 1, 1_520_000));
        let latencies = get.latencies.as_ref().unwrap();
        assert_eq!((latencies.len(), latencies.count_between(0, 20_000)), (5, 2));
        let set = sum.of(CommandId::Set);
        assert_eq!((set.calls, set.rejected, &set.latencies), (0, 1, &None));
        sum.forget_latencies();
        let get = sum.of(CommandId::Get);
        assert_eq!((get.calls, &get.latencies), (5, &None));
    }
}
