//! What one core tells about itself, to be summed where it is shown.

use shard::stats::ShardStats;

/// Counters of one core's network side. All since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NetStats {
    pub(crate) connections: u64,
    pub(crate) connections_received: u64,
    pub(crate) connections_rejected: u64,
    pub(crate) commands: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) errors: u64,
    /// Commands that another core sent here.
    pub(crate) commands_from_mesh: u64,
    /// Connections closed because they did not read their replies.
    pub(crate) output_closed: u64,
    /// Passes of the core's loop.
    pub(crate) passes: u64,
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
        self.commands_from_mesh += other.commands_from_mesh;
        self.output_closed += other.output_closed;
        self.passes += other.passes;
    }
}

/// One core: its network side and its shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct CoreStats {
    pub(crate) index: usize,
    pub(crate) net: NetStats,
    pub(crate) shard: ShardStats,
}
