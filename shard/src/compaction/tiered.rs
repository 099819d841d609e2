//! The size-tiered picker: runs of one size are merged into a larger one; a byte is rewritten once per size class,
//! and a reader looks at more runs than under the leveled strategy. For write-heavy shards.
//!
//! # Where the runs stand
//! Age must be readable from a [`Version`], whose order is: L0 by age, then level after level. So each table of L0
//! is a run (a flush made it), and each non-empty level below is one run, older the deeper it lies:
//!
//! ```text
//! newest  L0: 31 30 29     fresh, one table each
//!         L1               free: the next merge of L0 goes to the deepest free level above the runs, L3
//!         L2               free
//!         L3               free
//!         L4: 28           four flushes
//!         L5: 24           four flushes
//! oldest  L6: 16..20       sixteen
//! ```
//!
//! A merge takes runs that are adjacent in age and writes the deepest level that is still above all older runs.
//! Six levels hold six runs: at width 4 that is three of one class and three of the next, then a merge of L0 must
//! take L1 along.
//!
//! # Order of picks
//! 1. L1 is taken and a level below is free: the runs above it slide down, by an edit alone.
//! 2. L0 holds `tier_width` tables: all of them into the next free level. Older runs of less than half that size join;
//!    if L1 is taken, it joins, and then each older run that is not larger than what is gathered.
//! 3. `tier_width` or more adjacent levels of one size (none twice another) are merged. This may be large and long;
//!    meanwhile 2 goes on above it, and if it cannot, the tables of L0 are merged among themselves.
//! 4. When idle: a merge of everything, once tombstones and expired values are a good part of all entries.

use super::leveled::within_l0;
use super::plan::{Plan, Reason};
use super::{DEAD_RICH, Range, Situation, hull};
use crate::limits::LEVELS;
use crate::manifest::edit::TableMeta;
use crate::manifest::version::Version;

/// Runs are of one size when none is more than this many times another.
const SIMILAR: u64 = 2;

/// One sorted run: a table of L0, or a whole level.
struct Run<'a> {
    level: usize,
    tables: Vec<&'a TableMeta>,
    bytes: u64,
    idle: bool,
}

/// The compaction that is due first; `None` when the tree is in shape.
pub(crate) fn pick<H>(version: &Version<H>, situation: &Situation<'_>) -> Option<Plan> {
    let runs = runs(version, situation);
    slide(version, situation, &runs)
        .or_else(|| pick_l0(version, situation, &runs))
        .or_else(|| pick_similar(version, situation, &runs))
        .or_else(|| situation.idle.then(|| pick_dead(version, situation, &runs)).flatten())
}

/// Newest first.
fn runs<'a, H>(version: &'a Version<H>, situation: &Situation<'_>) -> Vec<Run<'a>> {
    let run = |level: usize, tables: Vec<&'a TableMeta>| Run {
        level,
        bytes: tables.iter().map(|meta| meta.bytes).sum(),
        idle: tables.iter().all(|meta| situation.is_idle(meta)),
        tables,
    };
    let metas = |level: usize| version.levels[level].iter().map(|table| &table.meta);
    let fresh = metas(0).map(|meta| run(0, vec![meta]));
    let levels = (1..LEVELS).filter(|&level| !version.levels[level].is_empty());
    fresh.chain(levels.map(|level| run(level, metas(level).collect()))).collect()
}

/// Step 1: the oldest run above a free level moves down as far as it can, as long as L1 is taken.
fn slide<H>(version: &Version<H>, situation: &Situation<'_>, runs: &[Run<'_>]) -> Option<Plan> {
    if version.levels[1].is_empty() {
        return None;
    }
    let room = |index: usize| runs.get(index + 1).map_or(LEVELS, |older| older.level) - 1;
    let index = (0..runs.len())
        .rev()
        .find(|&index| runs[index].level > 0 && runs[index].level < room(index))?;
    let window = &runs[index..=index];
    merge(situation, window, room(index), Reason::Slide)
}

/// Step 2.
fn pick_l0<H>(version: &Version<H>, situation: &Situation<'_>, runs: &[Run<'_>]) -> Option<Plan> {
    let fresh = version.levels[0].len();
    let idle = version.levels[0].iter().filter(|table| situation.is_idle(&table.meta)).count();
    let width = situation.thresholds.tier_width.max(2);
    if idle < width {
        return None;
    }
    let mut end = fresh;
    let mut gathered: u64 = runs[..fresh].iter().map(|run| run.bytes).sum();
    let no_room = !version.levels[1].is_empty();
    while let Some(older) = runs.get(end) {
        let joins = if no_room {
            end == fresh || older.bytes <= gathered
        } else {
            older.idle && older.bytes.saturating_mul(SIMILAR) < gathered
        };
        if !joins {
            break;
        }
        gathered += older.bytes;
        end += 1;
    }
    merge_window(situation, runs, 0, end, Reason::L0Full)
        .or_else(|| within_l0(version, situation, Reason::L0Waits, width))
}

/// Step 3, from the newest runs on: small merges first.
fn pick_similar<H>(
    version: &Version<H>,
    situation: &Situation<'_>,
    runs: &[Run<'_>],
) -> Option<Plan> {
    let width = situation.thresholds.tier_width.max(2);
    (version.levels[0].len()..runs.len()).find_map(|start| {
        let (mut least, mut most) = (runs[start].bytes, runs[start].bytes);
        let count = runs[start..]
            .iter()
            .take_while(|run| {
                least = least.min(run.bytes);
                most = most.max(run.bytes);
                run.idle && most <= least.saturating_mul(SIMILAR)
            })
            .count();
        (count >= width)
            .then(|| merge_window(situation, runs, start, start + count, Reason::Tier))
            .flatten()
    })
}

/// Step 4.
fn pick_dead<H>(version: &Version<H>, situation: &Situation<'_>, runs: &[Run<'_>]) -> Option<Plan> {
    let (mut dead, mut entries) = (0_u64, 0_u64);
    for (_, table) in version.tables() {
        dead += situation.dead(&table.meta);
        entries += table.meta.entries;
    }
    if dead == 0 || dead.saturating_mul(DEAD_RICH) < entries {
        return None;
    }
    let plan = merge_window(situation, runs, 0, runs.len(), Reason::Dead)?;
    // Moving would drop nothing.
    Some(Plan { trivial: false, ..plan })
}

/// Merges `runs[start..end]` into the deepest level above all older runs.
fn merge_window(
    situation: &Situation<'_>,
    runs: &[Run<'_>],
    start: usize,
    end: usize,
    reason: Reason,
) -> Option<Plan> {
    let below = runs.get(end).map_or(LEVELS, |older| older.level);
    assert!(below > 1, "a merge of L0 has room, or takes L1 along");
    merge(situation, &runs[start..end], below - 1, reason)
}

/// `None` while an input or the target is busy.
fn merge(
    situation: &Situation<'_>,
    window: &[Run<'_>],
    target: usize,
    reason: Reason,
) -> Option<Plan> {
    if window.iter().any(|run| !run.idle) || situation.busy.targets(target) {
        return None;
    }
    let metas = || window.iter().flat_map(|run| run.tables.iter().copied());
    let mut by_key: Vec<Range<'_>> = metas().map(Range::of).collect();
    by_key.sort_unstable_by_key(|range| range.smallest);
    let apart = by_key.windows(2).all(|pair| pair[0].largest < pair[1].smallest);
    let small = |level: usize| u8::try_from(level).expect("a level is below LEVELS");
    let range = hull(metas())?;
    Some(Plan {
        level: small(window.first()?.level),
        target: small(target),
        inputs: window
            .iter()
            .flat_map(|run| run.tables.iter().map(|meta| (small(run.level), meta.number)))
            .collect(),
        trivial: apart && window.iter().all(|run| run.level != target),
        drop: false,
        reason,
        smallest: range.smallest.to_vec(),
        largest: range.largest.to_vec(),
        limit_overlap: false,
    })
}
