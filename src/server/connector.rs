//! The way in from within the process.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::ledger::Ledger;
use crate::live::Live;
use crate::mesh::Message;
use crate::net::listeners::Transport;
use crate::slots::SlotTable;

/// Makes connections to the cores from within the process: HTTP, the embedded REPL. What they say takes the way that a client's
/// commands take (order, back-pressure, limits, deny-list), without a port and without a login.
#[derive(Debug, Clone)]
pub struct Connector {
    shared: Arc<Shared>,
    slots: SlotTable,
}

impl Connector {
    pub(super) fn new(shared: Arc<Shared>, slots: SlotTable) -> Self {
        Self { shared, slots }
    }

    /// Shards, and cores.
    pub fn shards(&self) -> usize {
        self.shared.cores
    }

    /// The core on which commands on `key` need no hop.
    pub fn core_of(&self, key: &[u8]) -> usize {
        usize::from(self.slots.shard_of_key(key))
    }

    pub(crate) fn live(&self) -> &Live {
        &self.shared.live
    }

    /// The memory that all connections hold.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// A wrong password came from `peer`: how long its reply waits.
    pub(crate) fn login_failed(&self, peer: &str) -> Duration {
        self.shared.penalties.failed(peer, self.shared.telemetry.started.elapsed())
    }

    pub(crate) fn login_succeeded(&self, peer: &str) {
        self.shared.penalties.succeeded(peer);
    }

    /// A connection to `core`, taken modulo their number: RESP2 at first, as the default user. It is not counted among the
    /// clients, and ends when the server stops.
    ///
    /// # Errors
    /// No descriptors are left; the server stops.
    pub fn connect(&self, core: usize) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let doors = self.shared.doors.get();
        let door = doors.and_then(|doors| doors.get(core % self.shared.cores));
        let stopped = || io::Error::new(io::ErrorKind::NotConnected, "the server stops");
        if self.shared.is_loading() || self.shared.stopping.load(Ordering::Acquire) {
            return Err(stopped());
        }
        let adopt = Message::Adopt(theirs.into(), Transport::Internal);
        door.ok_or_else(stopped)?.send(adopt).map_err(|_| {
            io::Error::new(io::ErrorKind::WouldBlock, "the core has too much before it")
        })?;
        Ok(ours)
    }
}
