//! What a memtable knows of its keys without looking at them: counted as each operation comes.

use std::cell::Cell;

use crate::batch::Op;
use crate::expiry::Expiring;
use crate::key::Kind;
use crate::sketch::Sketch;

/// Of the newest version of each key.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sketch: Sketch,
    keys: Cell<u64>,
    deleted: Cell<u64>,
    /// The times are those of all versions that there ever were.
    expiring: Cell<Expiring>,
}

impl Tally {
    /// `op` replaces the version of kind `before`; without one, its key with this `hash` is new.
    #[inline]
    pub(super) fn count(&self, hash: u64, before: Option<Kind>, op: &Op<'_>) {
        if before.is_none() {
            self.sketch.add(hash);
            self.keys.set(self.keys.get() + 1);
        }
        let is_plain = matches!(before, None | Some(Kind::Put)) && op.kind() == Kind::Put;
        if !is_plain {
            self.count_others(before, op);
        }
    }

    /// Any but plain values.
    fn count_others(&self, before: Option<Kind>, op: &Op<'_>) {
        let mut expiring = self.expiring.get();
        match before {
            Some(Kind::Delete) => self.deleted.set(self.deleted.get() - 1),
            Some(Kind::Expiring) => expiring.entries -= 1,
            Some(Kind::Put) | None => {}
        }
        match op {
            Op::Delete { .. } => self.deleted.set(self.deleted.get() + 1),
            Op::Put { expires_at_ms: 0, .. } => {}
            Op::Put { expires_at_ms, .. } => {
                let is_first = expiring.last_ms == 0;
                let first = if is_first { *expires_at_ms } else { expiring.first_ms };
                expiring.first_ms = first.min(*expires_at_ms);
                expiring.last_ms = expiring.last_ms.max(*expires_at_ms);
                expiring.entries += 1;
            }
        }
        self.expiring.set(expiring);
    }

    /// Distinct keys, deleted ones included.
    pub(crate) fn keys(&self) -> u64 {
        self.keys.get()
    }

    /// Keys whose newest version is a tombstone.
    pub(crate) fn deleted(&self) -> u64 {
        self.deleted.get()
    }

    /// Keys whose newest version ends at a time.
    pub(crate) fn expiring(&self) -> Expiring {
        self.expiring.get()
    }

    /// Of all keys.
    pub(crate) fn sketch(&self) -> &Sketch {
        &self.sketch
    }
}
