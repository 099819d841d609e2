//! The dice of a crash: what becomes of each thing that is not known to be durable.
//!
//! A torn write may spoil the blocks that it touches, and with them what is durable there: some devices write 4 KiB or nothing
//! that can be read. Whoever changes a part of a block that holds something durable finds out.

use super::inode::SECTOR;
use super::pages::Pages;
use super::random::Random;
use crate::env::align_down;
use crate::limits::ALIGN;

/// How the machine, or only the process, dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Power cut, the worst for us: only what was synced is there.
    SyncedOnly,
    /// Power cut, the luckiest: everything completed is there, and durable. Of what was in flight, anything.
    Everything,
    /// The process is killed, the machine goes on: everything completed is there for the next process, but what was not
    /// synced is still not durable, and a power cut may take it later. Of what was in flight, anything.
    Process,
    /// Power cut: each unsynced write kept, dropped or torn at 512 bytes, each unsynced name change kept or undone.
    Random,
}

/// What reads as nothing that was ever written.
pub(super) const SPOILT: [u8; ALIGN] = [0x5a; ALIGN];

/// Sectors are drawn out of this many.
const DICE: u64 = 8;

pub(super) struct Cut {
    kind: Crash,
    random: Random,
    /// Out of [`DICE`]: kept whole below the first, dropped below the second, else torn. Drawn anew for each crash, so
    /// that crashes which keep nearly all and crashes which drop nearly all are both common.
    keep: u64,
    drop: u64,
    /// Whether name changes survive as a prefix (a journal) or each for itself.
    journal: bool,
}

impl Cut {
    pub(super) fn new(kind: Crash, random: Random) -> Self {
        let keep = random.below(DICE);
        let drop = keep + random.below(DICE - keep + 1);
        let journal = random.chance(1, 2);
        Self { kind, random, keep, drop, journal }
    }

    /// Whether all that completed survives.
    pub(super) fn keeps_completed(&self) -> bool {
        self.kind == Crash::Everything
    }

    /// Whether only the process died.
    pub(super) fn is_process(&self) -> bool {
        self.kind == Crash::Process
    }

    /// How much of a write in flight a dead process leaves: all, a part or nothing.
    pub(super) fn landed(&self, len: usize) -> usize {
        let sectors = (len / SECTOR) as u64;
        match self.random.below(4) {
            0 => 0,
            // Bytes that were being copied.
            1 if !len.is_multiple_of(SECTOR) => super::pages::index(self.random.below(len as u64)),
            1 => super::pages::index(self.random.below(sectors + 1)) * SECTOR,
            _ => len,
        }
    }

    /// Whether an operation on names that was in flight has happened.
    pub(super) fn happens(&self) -> bool {
        self.kind != Crash::SyncedOnly && self.random.chance(1, 2)
    }

    /// Which of `count` unsynced changes of one directory survive, in order.
    pub(super) fn changes(&self, count: usize) -> Vec<bool> {
        match self.kind {
            Crash::Everything | Crash::Process => vec![true; count],
            Crash::SyncedOnly => vec![false; count],
            Crash::Random if self.journal => {
                let kept = self.random.below(count as u64 + 1);
                (0..count as u64).map(|change| change < kept).collect()
            }
            Crash::Random => (0..count).map(|_| self.random.chance(1, 2)).collect(),
        }
    }

    /// A write that may be on disk: kept, dropped or torn.
    pub(super) fn write(&self, pages: &mut Pages, offset: u64, data: &[u8]) {
        if self.kind == Crash::SyncedOnly {
            return;
        }
        let end = offset + data.len() as u64;
        let dice = self.random.below(DICE);
        if dice < self.keep {
            pages.write(offset, data);
        } else if dice < self.drop {
            // The length may have become durable without the bytes: zeros.
            if self.random.chance(1, 4) {
                pages.extend(end);
            }
        } else {
            self.tear(pages, offset, data);
            if self.random.chance(1, 2) {
                pages.extend(end);
            }
        }
        pages.extend_aligned();
    }

    fn tear(&self, pages: &mut Pages, offset: u64, data: &[u8]) {
        if self.kind == Crash::Random && self.random.chance(1, 4) {
            let mut block = align_down(offset);
            while block < offset + data.len() as u64 {
                if self.random.chance(1, 2) {
                    pages.write(block, &SPOILT);
                }
                block += ALIGN as u64;
            }
            return;
        }
        let sectors = data.len().div_ceil(SECTOR) as u64;
        let (shape, at) = (self.random.below(3), self.random.below(sectors + 1));
        for (number, sector) in (0u64..).zip(data.chunks(SECTOR)) {
            let kept = match shape {
                0 => number < at,
                1 => number >= at,
                _ => self.random.chance(1, 2),
            };
            if kept {
                pages.write(offset + number * SECTOR as u64, sector);
            }
        }
    }
}
