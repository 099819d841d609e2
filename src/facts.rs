//! What one core tells about itself, to be summed where it is shown.

use std::time::Duration;

use shard::estimate::KeyEstimate;
use shard::stats::{CounterValues, ShardStats};

use crate::error_classes::ErrorClasses;
use crate::latency::Tallies;

/// Counters of one core's network side. All since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NetStats {
    pub(crate) connections: u64,
    pub(crate) connections_received: u64,
    pub(crate) connections_rejected: u64,
    pub(crate) commands: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    /// Error replies that left.
    pub(crate) errors: u64,
    /// The same by their first word.
    pub(crate) error_classes: ErrorClasses,
    /// Most input and output that one connection held at the last sweep, in bytes.
    pub(crate) input_held_max: u64,
    pub(crate) output_held_max: u64,
    /// Commands that another core sent here.
    pub(crate) commands_from_mesh: u64,
    /// Connections closed because they did not read their replies.
    pub(crate) output_closed: u64,
    /// Changes of keys that were not told to another core that was too far behind.
    pub(crate) events_dropped: u64,
    /// Names that connections of this core listen to now, by kind (`pubsub::Kind`): one that several cores have counts on each.
    pub(crate) listened: [u64; 3],
    /// Passes of the core's loop.
    pub(crate) passes: u64,
    /// What the shard had counted of reads, and of those that found a value, when these counts began.
    pub(crate) reads_before: u64,
    pub(crate) read_hits_before: u64,
    /// Commands and bytes in the last interval between two sweeps, per second.
    pub(crate) rates: Rates,
}

/// Per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) commands: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
}

/// The counters of an earlier moment, from which rates are told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Earlier {
    at: Duration,
    commands: u64,
    input_bytes: u64,
    output_bytes: u64,
}

impl NetStats {
    /// Adds another core's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.connections_received += other.connections_received;
        self.connections_rejected += other.connections_rejected;
        self.commands += other.commands;
        self.input_bytes += other.input_bytes;
        self.output_bytes += other.output_bytes;
        self.errors += other.errors;
        self.error_classes.add(&other.error_classes);
        self.input_held_max = self.input_held_max.max(other.input_held_max);
        self.output_held_max = self.output_held_max.max(other.output_held_max);
        self.commands_from_mesh += other.commands_from_mesh;
        self.output_closed += other.output_closed;
        self.events_dropped += other.events_dropped;
        self.listened.iter_mut().zip(other.listened).for_each(|(sum, count)| *sum += count);
        self.passes += other.passes;
        self.reads_before += other.reads_before;
        self.read_hits_before += other.read_hits_before;
        self.rates.commands += other.rates.commands;
        self.rates.input_bytes += other.rates.input_bytes;
        self.rates.output_bytes += other.rates.output_bytes;
    }

    /// CONFIG RESETSTAT: counts begin anew; what is so now stays. The shard's own counters go on.
    pub(crate) fn begin_anew(&mut self, shard: &CounterValues) {
        *self = Self {
            passes: self.passes,
            listened: self.listened,
            rates: self.rates,
            reads_before: shard.reads,
            read_hits_before: shard.read_hits,
            ..Self::default()
        };
    }

    /// Tells the rates since `earlier`, which becomes now.
    pub(crate) fn tell_rates(&mut self, earlier: &mut Earlier, now: Duration) {
        let elapsed_ms = now.saturating_sub(earlier.at).as_millis().max(1);
        let rate = |count: u64, before: u64| {
            // Below it only after a reset.
            let more = u128::from(count.checked_sub(before).unwrap_or(count));
            u64::try_from(more * 1000 / elapsed_ms).unwrap_or(u64::MAX)
        };
        self.rates = Rates {
            commands: rate(self.commands, earlier.commands),
            input_bytes: rate(self.input_bytes, earlier.input_bytes),
            output_bytes: rate(self.output_bytes, earlier.output_bytes),
        };
        let Self { commands, input_bytes, output_bytes, .. } = *self;
        *earlier = Earlier { at: now, commands, input_bytes, output_bytes };
    }
}

/// One core: its network side and its shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct CoreStats {
    pub(crate) index: usize,
    pub(crate) net: NetStats,
    pub(crate) shard: ShardStats,
    pub(crate) keys: KeyEstimate,
    /// By command; only where that is shown.
    pub(crate) tallies: Option<Tallies>,
}
