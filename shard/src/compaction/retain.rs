//! What a merge keeps: the newest version of each key, and a tombstone only while something older may lie under it.
//!
//! A value that has expired is a tombstone from the job's time on, which is one and the same for all of it: where nothing older
//! may lie it goes, else a tombstone with its sequence number takes its place. So no older version comes back, whatever the
//! clock says later.
//!
//! A tombstone of key `k` may go when no table outside the merge that is older than it can hold `k`. Older are: every
//! table of a level below the target; tables of the target and of the levels read that are not inputs; in L0, tables
//! older than the newest input. Newer tables do not matter: what they say of `k` wins anyway. The set is taken from
//! the version at the start of the job: later versions only add newer data above.

use crate::expiry;
use crate::key::{Entry, Kind};
use crate::manifest::edit::TableMeta;
use crate::manifest::version::Version;

use super::Range;
use super::plan::Plan;

/// Decides entry by entry; fed in the internal order.
#[derive(Debug)]
pub(crate) struct Retain {
    older: Older,
    /// The time of the job, in milliseconds since 1970.
    now_ms: u64,
    /// The last key seen; `None` before the first.
    last: Option<Last>,
    /// Versions dropped because a newer one of their key came before.
    pub shadowed: u64,
    /// Tombstones dropped because nothing lies under them.
    pub buried: u64,
    /// Values that had expired: dropped, or replaced by tombstones.
    pub expired: u64,
}

#[derive(Debug)]
struct Last {
    key: Vec<u8>,
    seq: u64,
}

impl Retain {
    /// For the merge that `plan` describes, at the time `now_ms`.
    pub(crate) fn new<H>(version: &Version<H>, plan: &Plan, now_ms: u64) -> Self {
        Self::with(Older::Ranges { ranges: older_ranges(version, plan), at: 0 }, now_ms)
    }

    /// Keeps every tombstone: for a flush at the time `now_ms`, under which anything may lie.
    pub(crate) fn keeping_tombstones(now_ms: u64) -> Self {
        Self::with(Older::Everything, now_ms)
    }

    fn with(older: Older, now_ms: u64) -> Self {
        Self { older, now_ms, last: None, shadowed: 0, buried: 0, expired: 0 }
    }

    /// What of `entry` goes to the output.
    pub(crate) fn keep<'a>(&mut self, entry: Entry<'a>) -> Option<Entry<'a>> {
        match &mut self.last {
            Some(last) if last.key == entry.key => {
                assert!(entry.seq.0 < last.seq, "versions of a key come newest first");
                last.seq = entry.seq.0;
                self.shadowed += 1;
                return None;
            }
            Some(last) => {
                assert!(last.key.as_slice() < entry.key, "keys come in ascending order");
                last.key.clear();
                last.key.extend_from_slice(entry.key);
                last.seq = entry.seq.0;
            }
            None => self.last = Some(Last { key: entry.key.to_vec(), seq: entry.seq.0 }),
        }
        let expired = expiry::has_expired(&entry, self.now_ms);
        self.expired += u64::from(expired);
        if entry.kind != Kind::Delete && !expired {
            return Some(entry);
        }
        let tombstone = Entry { kind: Kind::Delete, value: &[], ..entry };
        let kept = self.older.may_hold(entry.key).then_some(tombstone);
        self.buried += u64::from(kept.is_none() && !expired);
        kept
    }
}

/// Where older versions may lie.
#[derive(Debug)]
enum Older {
    Everything,
    /// Ascending, apart from each other; `at` is the first that does not end before the last key asked for.
    Ranges {
        ranges: Vec<(Vec<u8>, Vec<u8>)>,
        at: usize,
    },
}

impl Older {
    /// Keys are asked for in ascending order: the position only moves on, a whole merge walks the ranges once.
    fn may_hold(&mut self, key: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Ranges { ranges, at } => {
                while ranges.get(*at).is_some_and(|(_, largest)| largest.as_slice() < key) {
                    *at += 1;
                }
                ranges.get(*at).is_some_and(|(smallest, _)| smallest.as_slice() <= key)
            }
        }
    }
}

/// The union of the key ranges of all tables under the merge, as far as they meet it.
fn older_ranges<H>(version: &Version<H>, plan: &Plan) -> Vec<(Vec<u8>, Vec<u8>)> {
    let hull = Range { smallest: &plan.smallest, largest: &plan.largest };
    // Older in L0: behind the newest input in L0's order, or all of it if the newest input lies deeper
    // (then nothing of L0 is older, and none is taken: the levels above `plan.level` are newer).
    let mut below_newest_input = plan.level > 0;
    let mut found: Vec<&TableMeta> = Vec::new();
    for (level, table) in version.tables() {
        if level < usize::from(plan.level) {
            continue;
        }
        if plan.reads(table.meta.number) {
            below_newest_input = true;
        } else if below_newest_input && Range::of(&table.meta).meets(&hull) {
            found.push(&table.meta);
        }
    }
    found.sort_by(|a, b| a.smallest.cmp(&b.smallest));
    let mut ranges: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for meta in found {
        match ranges.last_mut() {
            Some((_, largest)) if *largest >= meta.smallest => {
                if *largest < meta.largest {
                    largest.clone_from(&meta.largest);
                }
            }
            _ => ranges.push((meta.smallest.clone(), meta.largest.clone())),
        }
    }
    ranges
}
