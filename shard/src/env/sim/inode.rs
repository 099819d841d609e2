//! One simulated file: what the program sees, what a power cut leaves, and the writes in between.
//!
//! # Invariants
//! - `seen` = `durable` + the log, in order: every byte that the program can read has one of the two origins.
//! - A write is in the log from its completion until it and everything before it is durable. Order matters: a later
//!   durable write must not be undone by an earlier one that is only perhaps on disk.
//! - Writes in flight never overlap: which of them wins would be chance.

use std::collections::VecDeque;
use std::rc::Rc;

use super::cut::Cut;
use super::pages::Pages;
use super::random::Random;

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    pub(super) seen: Pages,
    durable: Pages,
    log: VecDeque<Logged>,
    in_flight: Vec<InFlight>,
    /// Completed writes so far.
    serial: u64,
    /// Handles that are open.
    pub(super) open: u32,
    /// Names that lead here, as the program sees it.
    pub(super) names: u32,
}

#[derive(Debug, Clone)]
struct Logged {
    serial: u64,
    offset: u64,
    data: Rc<[u8]>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The next sync makes it durable.
    Unsynced,
    Durable,
}

/// Submitted, not completed.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    operation: u64,
    pub(super) offset: u64,
    pub(super) data: Rc<[u8]>,
}

impl FileNode {
    /// A file as found at start: all of it durable.
    pub(super) fn settled(pages: Pages) -> Self {
        Self { seen: pages.clone(), durable: pages, names: 1, ..Self::default() }
    }

    /// Replaces all bytes behind the program's back, durable.
    pub(super) fn replace(&mut self, pages: Pages) {
        self.seen = pages.clone();
        self.durable = pages;
        self.log.clear();
    }

    pub(super) fn begin_write(&mut self, operation: u64, offset: u64, data: Rc<[u8]>) {
        let end = offset + data.len() as u64;
        for other in &self.in_flight {
            assert!(
                end <= other.offset || offset >= other.offset + other.data.len() as u64,
                "two writes in flight overlap: operations {} and {operation}",
                other.operation,
            );
        }
        self.in_flight.push(InFlight { operation, offset, data });
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(super) fn end_write(&mut self, operation: u64) -> InFlight {
        let found = self.in_flight.iter().position(|write| write.operation == operation);
        self.in_flight.swap_remove(found.expect("each write ends once"))
    }

    /// The first `len` bytes of a write arrive; `durable` is the promise of `O_DSYNC`, length included.
    pub(super) fn land(&mut self, write: &InFlight, len: usize, durable: bool) {
        let fate = if durable { Fate::Durable } else { Fate::Unsynced };
        self.log(write.offset, &write.data[..len], fate);
    }

    /// A write failed: some of its sectors may have arrived all the same, the length has not grown.
    pub(super) fn land_failed(&mut self, write: &InFlight, random: &Random) {
        if random.chance(1, 2) {
            return;
        }
        let room = self.seen.len().saturating_sub(write.offset);
        let len = write.data.len().min(super::pages::index(room));
        for (number, sector) in write.data[..len].chunks(SECTOR).enumerate() {
            if random.chance(1, 2) {
                self.log(write.offset + (number * SECTOR) as u64, sector, Fate::Unsynced);
            }
        }
    }

    fn log(&mut self, offset: u64, data: &[u8], fate: Fate) {
        if data.is_empty() {
            return;
        }
        self.seen.write(offset, data);
        self.serial += 1;
        self.log.push_back(Logged { serial: self.serial, offset, data: data.into(), fate });
        self.settle();
    }

    /// A sync covers the writes that completed before it was submitted: those up to this number.
    pub(super) fn watermark(&self) -> u64 {
        self.serial
    }

    /// Only what ends at `upto` or before was asked for.
    pub(super) fn sync(&mut self, watermark: u64, upto: u64) {
        let is_meant = |write: &Logged| {
            write.serial <= watermark && write.offset + write.data.len() as u64 <= upto
        };
        for write in self.log.iter_mut().filter(|write| is_meant(write)) {
            write.fate = Fate::Durable;
        }
        self.settle();
    }

    /// What the sync should have made durable is gone, or some of it: Linux forgets the pages that it could not write, so
    /// no later sync mends it, and a direct read gets what the device has. The length stays.
    pub(super) fn fail_sync(&mut self, watermark: u64, random: &Random) {
        let all = random.chance(1, 2);
        self.log.retain(|write| {
            write.serial > watermark || write.fate == Fate::Durable || !(all || random.chance(1, 2))
        });
        let mut seen = self.durable.clone();
        seen.extend(self.seen.len());
        for write in &self.log {
            seen.write(write.offset, &write.data);
        }
        self.seen = seen;
    }

    /// Folds the durable head of the log into the durable bytes.
    fn settle(&mut self) {
        if self.log.iter().all(|write| write.fate == Fate::Durable) {
            for write in self.log.drain(..) {
                self.durable.share(&self.seen, write.offset, write.data.len() as u64);
            }
            return;
        }
        while let Some(write) = self.log.front().filter(|write| write.fate == Fate::Durable) {
            self.durable.write(write.offset, &write.data);
            self.log.pop_front();
        }
    }

    /// The bytes after the crash.
    pub(super) fn after(&self, cut: &Cut) -> Pages {
        let mut pages =
            if cut.keeps_completed() { self.seen.clone() } else { self.durable.clone() };
        if !cut.keeps_completed() {
            for write in &self.log {
                if write.fate == Fate::Durable {
                    pages.write(write.offset, &write.data);
                } else {
                    cut.write(&mut pages, write.offset, &write.data);
                }
            }
        }
        for write in &self.in_flight {
            cut.write(&mut pages, write.offset, &write.data);
        }
        pages
    }

    /// What the next process finds after this one died: nothing that was not synced has become durable by that.
    pub(super) fn left_behind(&mut self, cut: &Cut) {
        self.open = 0;
        for write in std::mem::take(&mut self.in_flight) {
            let len = cut.landed(write.data.len());
            self.land(&write, len, false);
        }
    }
}
