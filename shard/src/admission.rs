//! The ladder: every reason for which a write waits or is refused, in the order in which it is asked.
//!
//! A wait is an answer, not a block: the caller parks the command and asks again after the next change. Deletes climb
//! further than other writes: a full disk must not keep anyone from freeing space.

use crate::error::Error;

/// Why a write waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The shard is being erased (FLUSHALL); everything waits for that.
    Erasing,
    /// The next WAL frame is full and the one before it is still being written, or its segment is still being made.
    Commit,
    /// Under `everysec`: the last sync is late; going on would widen the window of loss.
    SyncLate,
    /// The memtable is full and as many sealed ones as allowed wait for their flush.
    Memtables,
    /// L0 has so many tables that reads would suffer.
    L0,
    /// The background is behind: writes come no faster than it goes, in proportion to the backlog.
    Slowed,
}

/// Why a write is not taken now.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Ask again later; nothing was changed.
    Wait(Wait),
    /// Never, for this write; nothing was changed.
    Error(Error),
}

/// What the ladder looks at. Gathered by the shard for each write; all plain values.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "facts, not modes")]
pub struct Situation {
    /// `close` was called.
    pub closing: bool,
    /// The log failed.
    pub read_only: bool,
    /// Less free space than the reserve.
    pub disk_full: bool,
    /// Not even the reserve is there: what needs a new file waits for others to free space.
    pub out_of_space: bool,
    /// An erase is under way.
    pub erasing: bool,
    /// Bytes in the frame that gathers.
    pub gathered_bytes: usize,
    /// What this write would add to it, at most.
    pub added_bytes: usize,
    /// The most that a frame of several writes may hold.
    pub gather_bytes_max: usize,
    /// Neither the segment being written nor a spare has room for that frame. What is taken must never wait for a segment
    /// that a full disk refuses: nobody could answer it.
    pub log_full: bool,
    /// The last sync of `everysec` is overdue.
    pub sync_late: bool,
    /// The memtable is due to be sealed.
    pub memtable_full: bool,
    /// Memtables that wait for their flush.
    pub sealed: usize,
    /// The most of them.
    pub sealed_max: usize,
    /// Deletes have taken what memory they may while nothing can be flushed.
    pub deletes_spent: bool,
    /// Tables in L0.
    pub l0_tables: usize,
    /// How many of them make writes wait.
    pub l0_stop_tables: usize,
    /// Slowed in proportion to a backlog, and the allowance is used up.
    pub slowed: bool,
    /// The write holds no new value.
    pub deletes_only: bool,
}

/// The first rung that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// The shard closes: never again.
    Closing,
    /// The log failed: not before a restart.
    ReadOnly,
    /// No space for new values; or, for deletes, nothing that they would wait for can go on.
    DiskFull,
    /// Later.
    Wait(Wait),
}

/// Climbs the ladder; `None` means: write.
#[inline]
pub fn climb(at: &Situation) -> Option<Rung> {
    if at.closing {
        return Some(Rung::Closing);
    }
    if at.read_only {
        return Some(Rung::ReadOnly);
    }
    if at.disk_full && !at.deletes_only {
        return Some(Rung::DiskFull);
    }
    if at.erasing {
        return Some(Rung::Wait(Wait::Erasing));
    }
    // An empty frame takes any write that is within its own limits, else a large one would wait for ever.
    if at.gathered_bytes > 0 && at.gathered_bytes + at.added_bytes > at.gather_bytes_max {
        return Some(Rung::Wait(Wait::Commit));
    }
    if at.log_full {
        return Some(if at.out_of_space { Rung::DiskFull } else { Rung::Wait(Wait::Commit) });
    }
    if at.sync_late {
        return Some(Rung::Wait(Wait::SyncLate));
    }
    if at.out_of_space && at.deletes_only {
        // A background that cannot go on is not waited for.
        return at.deletes_spent.then_some(Rung::DiskFull);
    }
    if at.memtable_full && at.sealed >= at.sealed_max {
        return Some(Rung::Wait(Wait::Memtables));
    }
    if at.l0_tables >= at.l0_stop_tables {
        return Some(Rung::Wait(Wait::L0));
    }
    if at.slowed {
        return Some(Rung::Wait(Wait::Slowed));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Situation {
        Situation {
            closing: false,
            read_only: false,
            disk_full: false,
            out_of_space: false,
            erasing: false,
            gathered_bytes: 0,
            added_bytes: 100,
            gather_bytes_max: 1000,
            log_full: false,
            sync_late: false,
            memtable_full: false,
            sealed: 0,
            sealed_max: 2,
            deletes_spent: false,
            l0_tables: 0,
            l0_stop_tables: 24,
            slowed: false,
            deletes_only: false,
        }
    }

    #[test]
    fn each_rung_holds_alone() {
        assert_eq!(climb(&calm()), None);
        let cases = [
            (Situation { closing: true, ..calm() }, Rung::Closing),
            (Situation { read_only: true, ..calm() }, Rung::ReadOnly),
            (Situation { disk_full: true, ..calm() }, Rung::DiskFull),
            (Situation { erasing: true, ..calm() }, Rung::Wait(Wait::Erasing)),
            (Situation { gathered_bytes: 901, ..calm() }, Rung::Wait(Wait::Commit)),
            (Situation { log_full: true, ..calm() }, Rung::Wait(Wait::Commit)),
            (Situation { sync_late: true, ..calm() }, Rung::Wait(Wait::SyncLate)),
            (Situation { memtable_full: true, sealed: 2, ..calm() }, Rung::Wait(Wait::Memtables)),
            (Situation { l0_tables: 24, ..calm() }, Rung::Wait(Wait::L0)),
            (Situation { slowed: true, ..calm() }, Rung::Wait(Wait::Slowed)),
        ];
        for (situation, rung) in cases {
            assert_eq!(climb(&situation), Some(rung), "{situation:?}");
        }
    }

    #[test]
    fn bounds_are_inclusive_where_they_say_so() {
        assert_eq!(climb(&Situation { gathered_bytes: 900, ..calm() }), None);
        assert_eq!(climb(&Situation { memtable_full: true, sealed: 1, ..calm() }), None);
        assert_eq!(climb(&Situation { l0_tables: 23, ..calm() }), None);
        // One write larger than the frame's usual size passes when the frame is empty.
        assert_eq!(climb(&Situation { added_bytes: 1 << 20, ..calm() }), None);
    }

    #[test]
    fn a_delete_passes_a_full_disk_unless_it_would_wait_for_space() {
        let full = Situation { disk_full: true, deletes_only: true, ..calm() };
        assert_eq!(climb(&full), None);
        let stuck = Situation { memtable_full: true, sealed: 2, ..full };
        assert_eq!(climb(&stuck), Some(Rung::Wait(Wait::Memtables)), "the reserve pays its flush");
        let out = Situation { out_of_space: true, ..full };
        assert_eq!(climb(&out), None);
        let background_stands = [
            Situation { memtable_full: true, sealed: 2, ..out },
            Situation { l0_tables: 24, ..out },
            Situation { slowed: true, ..out },
        ];
        for passes in background_stands {
            assert_eq!(climb(&passes), None, "{passes:?}");
        }
        for stuck in [Situation { deletes_spent: true, ..out }, Situation { log_full: true, ..out }]
        {
            assert_eq!(climb(&stuck), Some(Rung::DiskFull), "{stuck:?}");
        }
        // A full frame leaves with the write before it: that needs no file.
        let full_frame = Situation { gathered_bytes: 901, ..out };
        assert_eq!(climb(&full_frame), Some(Rung::Wait(Wait::Commit)));
    }
}
