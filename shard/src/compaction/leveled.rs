//! The leveled picker: each level below L0 is one sorted run, ten times the one above.
//!
//! # Targets
//! The deepest level in use may grow to its static size, `level_base_bytes * level_ratio^(n-1)`. A level above it
//! aims at its share of what the deepest level really holds (never below `level_base_bytes`): with static targets
//! all the way, a deepest level that has just begun would lie under levels ten times its size, full of versions it
//! has too, and the shard would take twice its data on disk. When the deepest level overflows, one table opens
//! the level below, the old deepest level then has a small target, and its tables follow by trivial moves.
//!
//! # Order of picks
//! 1. L0, once it has `l0_compact_tables`: each of its tables costs every reader a look. Unless L1 is above its target
//!    and large against L0 ([`L1_OVER_L0`]): a merge rewrites all of it for the little that comes from above, so it is
//!    made smaller first, however urgent L0 is. Going on with L0 made L1 larger with each merge, and each merge longer.
//! 2. The level with the highest score: bytes that are not already on their way, against the target.
//! 3. When idle: what is left in L0, so that reads look at one run less and old versions give their space back; then
//!    tables rich in dead data (tombstones, and values that have expired), downwards, or rewritten where nothing lies below them.

use std::cmp::Reverse;
use std::rc::Rc;

use super::plan::{Plan, Reason};
use super::{OVERLAP_TABLES_MAX, Range, Situation, hull};
use crate::limits::LEVELS;
use crate::manifest::edit::TableMeta;
use crate::manifest::version::{TableRef, Version};
use crate::options::CompactionThresholds;

/// A score: 1000 is a level at its target.
type PerMille = u64;
const FULL: PerMille = 1000;

/// An overfull L1 of more than this many times the bytes of L0 goes first: a byte from L0 then costs at most three
/// written into L1, and L1 may grow in proportion when writes come faster than it can be taken down.
const L1_OVER_L0: u64 = 2;

/// L0 tables are merged among themselves first when L1 is more than this many times their size there.
const L0_SMALL: u64 = 10;

/// Tables of a level looked at in one pick, from its pointer on: with 100 GB in a level, a look at all of
/// them would hold the core for milliseconds.
const CANDIDATES_MAX: usize = 256;

/// A table made of dead data counts as this many times its size more when tables are compared.
const DEAD_WEIGHT: u64 = 4;

/// The compaction that is due first; `None` when the tree is in shape.
pub(crate) fn pick<H>(version: &Version<H>, situation: &Situation<'_>) -> Option<Plan> {
    let scores = scores(version, situation);
    let mut due: Vec<usize> = (0..LEVELS - 1).filter(|&level| scores[level] >= FULL).collect();
    let l1_is_large = version.level_bytes(1) > version.level_bytes(0).saturating_mul(L1_OVER_L0);
    let l0_first = scores[1] < FULL || !l1_is_large;
    due.sort_by_key(|&level| (Reverse(level == 0 && l0_first), Reverse(scores[level]), level));
    due.into_iter()
        .find_map(|level| match level {
            0 => pick_l0(version, situation),
            _ => pick_level(version, situation, level),
        })
        .or_else(|| situation.idle.then(|| pick_idle(version, situation)).flatten())
}

/// What each level should hold at most, in bytes; the last one anything. L0 is counted in tables.
pub(crate) fn targets<H>(version: &Version<H>, thresholds: &CompactionThresholds) -> [u64; LEVELS] {
    let base = thresholds.level_base_bytes.max(1);
    let ratio = thresholds.level_ratio.max(2);
    let deepest = (1..LEVELS).rev().find(|&level| !version.levels[level].is_empty()).unwrap_or(1);
    let mut targets = [u64::MAX; LEVELS];
    let mut aim = base;
    for target in &mut targets[1..LEVELS - 1] {
        *target = aim;
        aim = aim.saturating_mul(ratio);
    }
    let mut share = version.level_bytes(deepest);
    for level in (1..deepest).rev() {
        share /= ratio;
        targets[level] = targets[level].min(share.max(base));
    }
    targets
}

/// How full each level is, without the tables that a running compaction takes away.
fn scores<H>(version: &Version<H>, situation: &Situation<'_>) -> [PerMille; LEVELS] {
    let targets = targets(version, situation.thresholds);
    let idle = |table: &&Rc<TableRef<H>>| situation.is_idle(&table.meta);
    let mut scores = [0; LEVELS];
    let tables = version.levels[0].iter().filter(idle).count() as u64;
    scores[0] = tables * FULL / (situation.thresholds.l0_compact_tables.max(1) as u64);
    for level in 1..LEVELS - 1 {
        let bytes: u64 =
            version.levels[level].iter().filter(idle).map(|table| table.meta.bytes).sum();
        // Above the target by a single byte is full too.
        scores[level] = if bytes > targets[level] {
            (bytes / (targets[level] / FULL).max(1)).max(FULL)
        } else {
            0
        };
    }
    scores
}

/// L0 into L1, or, where that cannot be or would be a waste now, the newest tables of L0 into one.
fn pick_l0<H>(version: &Version<H>, situation: &Situation<'_>) -> Option<Plan> {
    let Some(plan) = into_l1(version, situation, Reason::L0Full) else {
        let enough = situation.thresholds.l0_compact_tables.max(2);
        return within_l0(version, situation, Reason::L0Waits, enough);
    };
    let bytes = |wanted: u8| input_bytes(version, &plan, wanted);
    let calm = version.levels[0].len() < situation.thresholds.l0_slow_tables;
    let wasteful = bytes(0).saturating_mul(L0_SMALL) < bytes(1);
    let merged = if calm && wasteful && !plan.trivial {
        within_l0(version, situation, Reason::L0Small, 2)
    } else {
        None
    };
    merged.or(Some(plan))
}

fn input_bytes<H>(version: &Version<H>, plan: &Plan, level: u8) -> u64 {
    let tables = version.levels[usize::from(level)].iter();
    tables.filter(|table| plan.reads(table.meta.number)).map(|table| table.meta.bytes).sum()
}

/// The oldest idle table of L0, all that overlap it, directly or through each other, and L1 below them.
/// A table may go down only with all older ones that it overlaps: so those over the size limit
/// are left out from the newest on.
fn into_l1<H>(version: &Version<H>, situation: &Situation<'_>, reason: Reason) -> Option<Plan> {
    let mut by_age = version.levels[0].iter().map(|table| &table.meta).rev();
    let seed = by_age.find(|meta| situation.is_idle(meta))?;
    let mut whole = Range::of(seed);
    loop {
        let meeting = version.levels[0].iter().map(|table| &table.meta);
        let meeting =
            meeting.filter(|meta| situation.is_idle(meta) && Range::of(meta).meets(&whole));
        let wider = hull(meeting).unwrap_or(whole);
        if wider == whole {
            break;
        }
        whole = wider;
    }
    let below = |range: Range<'_>| bytes_of(version.overlapping(1, range.smallest, range.largest));
    // What the oldest table costs below must be paid anyway: it is no reason to take others another time.
    let due_below = below(Range::of(seed));
    let (mut taken, mut left): (Vec<&TableMeta>, Vec<&TableMeta>) = (Vec::new(), Vec::new());
    let mut siblings = 0;
    for meta in version.levels[0].iter().map(|table| &table.meta).rev() {
        let range = Range::of(meta);
        let fits = || {
            let all = hull(taken.iter().copied().chain([meta])).unwrap_or(range);
            let more_below = below(all).saturating_sub(due_below);
            let bytes: u64 = taken.iter().map(|meta| meta.bytes).sum();
            taken.is_empty() || bytes + meta.bytes + more_below <= situation.input_bytes_max()
        };
        siblings += usize::from(range.meets(&whole));
        let stays_above = left.iter().any(|older| Range::of(older).meets(&range));
        if situation.is_idle(meta) && range.meets(&whole) && !stays_above && fits() {
            taken.push(meta);
        } else {
            left.push(meta);
        }
    }
    taken.reverse();
    let may_move = siblings == 1;
    downwards(version, situation, 0, &taken, may_move, reason)
}

/// The newest idle tables of L0 into one of L0: fewer for a reader to look at until L1 is free. At least `enough`,
/// adjacent in age; a table more than twice what is gathered ends them, so that a byte is not merged again and again.
pub(super) fn within_l0<H>(
    version: &Version<H>,
    situation: &Situation<'_>,
    reason: Reason,
    enough: usize,
) -> Option<Plan> {
    let mut gathered = 0_u64;
    let mut taken: Vec<&TableMeta> = Vec::new();
    for meta in version.levels[0].iter().map(|table| &table.meta) {
        let similar = taken.is_empty() || meta.bytes <= gathered.saturating_mul(2);
        let fits = gathered + meta.bytes <= situation.input_bytes_max();
        if !situation.is_idle(meta) || !similar || !fits {
            break;
        }
        gathered += meta.bytes;
        taken.push(meta);
    }
    if taken.len() < enough {
        return None;
    }
    let range = hull(taken.iter().copied())?;
    Some(Plan { limit_overlap: false, ..plan::<H>(0, 0, &taken, &[], range, reason) })
}

/// The table of `level` that is cheapest to move down for what it brings.
fn pick_level<H>(version: &Version<H>, situation: &Situation<'_>, level: usize) -> Option<Plan> {
    let tables = &version.levels[level];
    let pointer = situation.pointers.after[level].as_slice();
    let first = tables.partition_point(|table| table.meta.smallest.as_slice() <= pointer);
    let turn = (first..tables.len()).chain(0..first).take(CANDIDATES_MAX);
    let mut candidates: Vec<(u64, usize)> = turn
        .filter(|&index| situation.is_idle(&tables[index].meta))
        .map(|index| (cost(version, situation, level, &tables[index].meta), index))
        .collect();
    // Stable: equal costs stay in turn.
    candidates.sort_by_key(|&(cost, _)| cost);
    candidates.into_iter().find_map(|(_, index)| {
        downwards(version, situation, level, &[&tables[index].meta], true, Reason::LevelFull)
    })
}

/// Bytes rewritten below per 1000 bytes moved; dead data make the table weigh more, for they free space.
fn cost<H>(version: &Version<H>, situation: &Situation<'_>, level: usize, meta: &TableMeta) -> u64 {
    let below = bytes_of(version.overlapping(level + 1, &meta.smallest, &meta.largest));
    let dead =
        u128::from(meta.bytes) * u128::from(situation.dead(meta).saturating_mul(DEAD_WEIGHT));
    let weight = u128::from(meta.bytes) + dead / u128::from(meta.entries.max(1));
    u64::try_from(u128::from(below) * 1000 / weight.max(1)).unwrap_or(u64::MAX)
}

/// The plan that takes `sources` of `level` one level down; `None` while something it needs is busy.
fn downwards<H>(
    version: &Version<H>,
    situation: &Situation<'_>,
    level: usize,
    sources: &[&TableMeta],
    may_move: bool,
    reason: Reason,
) -> Option<Plan> {
    let target = level + 1;
    let own = hull(sources.iter().copied())?;
    let below = version.overlapping(target, own.smallest, own.largest);
    let range = hull(below.iter().map(|table| &table.meta)).map_or(own, |below| own.hull(&below));
    if below.iter().any(|table| !situation.is_idle(&table.meta))
        || situation.busy.writes(target, range.smallest, range.largest)
    {
        return None;
    }
    let limit = situation.table_bytes.saturating_mul(OVERLAP_TABLES_MAX);
    if may_move && sources.len() == 1 && below.is_empty() {
        // Moved onto much of the level after, it would make a huge compaction: rewriting cuts it.
        let after = version
            .levels
            .get(target + 1)
            .map_or(0, |_| bytes_of(version.overlapping(target + 1, own.smallest, own.largest)));
        if after <= limit {
            let plan = plan::<H>(level, target, sources, &[], range, reason);
            return Some(Plan { trivial: true, ..plan });
        }
    }
    let wider = widen(version, situation, level, sources, bytes_of(below), range);
    Some(plan(level, target, wider.as_deref().unwrap_or(sources), below, range, reason))
}

/// More tables of the source level that lie within the range anyway: they go down without another byte of the target.
fn widen<'a, H>(
    version: &'a Version<H>,
    situation: &Situation<'_>,
    level: usize,
    sources: &[&TableMeta],
    below_bytes: u64,
    range: Range<'_>,
) -> Option<Vec<&'a TableMeta>> {
    if level == 0 {
        return None;
    }
    let mut bytes = below_bytes + sources.iter().map(|meta| meta.bytes).sum::<u64>();
    let mut all = Vec::new();
    for table in version.overlapping(level, range.smallest, range.largest) {
        let meta = &table.meta;
        let chosen = sources.iter().any(|source| source.number == meta.number);
        let free = range.contains(&Range::of(meta))
            && situation.is_idle(meta)
            && bytes + meta.bytes <= situation.input_bytes_max();
        if chosen || free {
            bytes += if chosen { 0 } else { meta.bytes };
            all.push(meta);
        }
    }
    Some(all)
}

/// Two tables of L0 are worth the rewriting of L1 once; a single one is not, so that a trickle of writes, flushed now and
/// then, does not rewrite it each time.
fn pick_idle<H>(version: &Version<H>, situation: &Situation<'_>) -> Option<Plan> {
    let l0 = (version.levels[0].len() > 1).then(|| into_l1(version, situation, Reason::Idle));
    l0.flatten().or_else(|| pick_dead(version, situation))
}

/// Space that only dead data hold back, from the top down. Each plan moves them lower or drops them: it ends.
fn pick_dead<H>(version: &Version<H>, situation: &Situation<'_>) -> Option<Plan> {
    if version.levels[0].iter().any(|table| situation.is_rich_in_dead(&table.meta))
        && let Some(plan) = into_l1(version, situation, Reason::Dead)
    {
        return Some(plan);
    }
    (1..LEVELS).find_map(|level| {
        let rich = version.levels[level].iter().map(|table| &table.meta);
        let mut rich =
            rich.filter(|meta| situation.is_rich_in_dead(meta) && situation.is_idle(meta));
        rich.find_map(|meta| clear(version, situation, level, meta))
    })
}

/// One table rich in dead data: rewritten in place if it covers nothing, else taken down.
fn clear<H>(
    version: &Version<H>,
    situation: &Situation<'_>,
    level: usize,
    meta: &TableMeta,
) -> Option<Plan> {
    let range = Range::of(meta);
    let covers =
        |below: usize| !version.overlapping(below, range.smallest, range.largest).is_empty();
    if (level + 1..LEVELS).any(covers) {
        return downwards(version, situation, level, &[meta], true, Reason::Dead);
    }
    let free = !situation.busy.writes(level, range.smallest, range.largest);
    free.then(|| plan::<H>(level, level, &[meta], &[], range, Reason::Dead))
}

fn plan<H>(
    level: usize,
    target: usize,
    sources: &[&TableMeta],
    below: &[Rc<TableRef<H>>],
    range: Range<'_>,
    reason: Reason,
) -> Plan {
    let small = |level: usize| u8::try_from(level).expect("a level is below LEVELS");
    let sources = sources.iter().map(|meta| (small(level), meta.number));
    let below = below.iter().map(|table| (small(target), table.meta.number));
    Plan {
        level: small(level),
        target: small(target),
        inputs: sources.chain(below).collect(),
        trivial: false,
        drop: false,
        reason,
        smallest: range.smallest.to_vec(),
        largest: range.largest.to_vec(),
        limit_overlap: true,
    }
}

fn bytes_of<H>(tables: &[Rc<TableRef<H>>]) -> u64 {
    tables.iter().map(|table| table.meta.bytes).sum()
}
