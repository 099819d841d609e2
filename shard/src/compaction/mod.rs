//! Compaction: merging tables so that reads look at few of them and dead data gives its space back.
//!
//! The steps of one compaction:
//! 1. [`expired::pick`], [`leveled::pick`] or [`tiered::pick`] (pure) looks at the [`Version`] and decides a [`Plan`](plan::Plan), or that nothing is due.
//! 2. The caller adds the plan to [`Busy`](plan::Busy). A trivial plan is an edit: go to 5.
//! 3. [`job::run`] reads the inputs by cold cursors, merges them, lets [`retain`] drop what nobody can see any more,
//!    and writes outputs into new files, cut by size and by what lies below. It gives way every 500 us ([`pace`]).
//! 4. The outputs are synced, then the directory. Until here a failure or an abort leaves nothing but the inputs.
//! 5. The caller appends the edit to the manifest and publishes the new version: the inputs are obsolete.
//!
//! # Invariants
//! - Pickers and `retain` are pure: no I/O, no clock, no randomness. The same version and time give the same plan.
//! - A table never moves below an older one that it overlaps.
//! - Only one version of a key leaves a merge, the newest: views pin the tables they need.
pub(crate) mod expired;
pub(crate) mod job;
pub(crate) mod leveled;
pub(crate) mod outputs;
pub(crate) mod pace;
pub(crate) mod plan;
pub(crate) mod retain;
pub(crate) mod tiered;
pub(crate) mod verify;

#[cfg(test)]
mod tests;

use crate::limits::LEVELS;
use crate::manifest::edit::TableMeta;
use crate::manifest::version::Version;
use crate::options::{CompactionStyle, CompactionThresholds};

use plan::{Busy, Plan};

/// Input of one leveled compaction, in tables of full size: above this no further table is taken in by choice.
/// 25 is what LevelDB found to be a good bound; at 16 MiB a table it is 400 MiB, some seconds of work.
pub(crate) const COMPACTION_TABLES_MAX: u64 = 25;

/// What an output may overlap in the level below it, in tables of full size: bounds the compaction that later
/// takes this output down.
pub(crate) const OVERLAP_TABLES_MAX: u64 = 10;

/// A table is rich in dead data when tombstones and expired values are at least one in this many of its entries.
pub(crate) const DEAD_RICH: u64 = 4;

/// What a picker is told besides the version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    /// When a level is too full.
    pub thresholds: &'a CompactionThresholds,
    /// Size of a full table, in bytes.
    pub table_bytes: u64,
    /// What runs already.
    pub busy: &'a Busy,
    /// Where each level goes on.
    pub pointers: &'a Pointers,
    /// Nothing is being written: L0 may be merged and dead data cleared before they are due.
    pub idle: bool,
    /// What has expired, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Situation<'_> {
    fn input_bytes_max(&self) -> u64 {
        self.table_bytes.saturating_mul(COMPACTION_TABLES_MAX)
    }

    fn is_idle(&self, meta: &TableMeta) -> bool {
        !self.busy.reads(meta.number)
    }

    /// Tombstones and values that have expired, about: what a merge at the bottom would drop.
    fn dead(&self, meta: &TableMeta) -> u64 {
        meta.tombstones.saturating_add(meta.expiring.expired(self.now_ms))
    }

    fn is_rich_in_dead(&self, meta: &TableMeta) -> bool {
        let dead = self.dead(meta);
        dead > 0 && dead.saturating_mul(DEAD_RICH) >= meta.entries
    }
}

/// Where each level's next compaction begins to look, so that all of a level has its turn.
/// Kept in memory only: after a restart each level begins at its first key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pointers {
    after: [Vec<u8>; LEVELS],
}

impl Pointers {
    /// The next compaction of the plan's level looks behind the plan's range first.
    pub(crate) fn advance(&mut self, plan: &Plan) {
        self.after[usize::from(plan.level)].clone_from(&plan.largest);
    }
}

/// The next compaction that is due, by the strategy chosen.
pub(crate) fn pick<H>(
    style: CompactionStyle,
    version: &Version<H>,
    situation: &Situation<'_>,
) -> Option<Plan> {
    // It costs an edit, and gives back space that a merge would otherwise read and write.
    expired::pick(version, situation).or_else(|| match style {
        CompactionStyle::Leveled => leveled::pick(version, situation),
        CompactionStyle::SizeTiered => tiered::pick(version, situation),
    })
}

/// All tables into the lowest level that has any; `None` without tables.
pub(crate) fn everything<H>(version: &Version<H>) -> Option<Plan> {
    let range = hull(version.tables().map(|(_, table)| &table.meta))?;
    let small = |level: usize| u8::try_from(level).expect("a level is below LEVELS");
    let inputs: Vec<(u8, u64)> =
        version.tables().map(|(level, table)| (small(level), table.meta.number)).collect();
    let level = |found: Option<&(u8, u64)>| found.map_or(0, |(level, _)| *level);
    Some(Plan {
        level: level(inputs.first()),
        target: level(inputs.last()).max(1),
        trivial: false,
        drop: false,
        reason: plan::Reason::Asked,
        smallest: range.smallest.to_vec(),
        largest: range.largest.to_vec(),
        // There is nothing below.
        limit_overlap: false,
        inputs,
    })
}

/// Bytes of tables that a compaction is due for: of levels what is above their targets, of L0 all once it has enough tables.
pub(crate) fn pending_bytes<H>(
    style: CompactionStyle,
    version: &Version<H>,
    thresholds: &CompactionThresholds,
) -> u64 {
    let due = |enough: usize| {
        if version.levels[0].len() >= enough.max(1) { version.level_bytes(0) } else { 0 }
    };
    match style {
        CompactionStyle::SizeTiered => due(thresholds.tier_width),
        CompactionStyle::Leveled => {
            let targets = leveled::targets(version, thresholds);
            let over = |level: usize| version.level_bytes(level).saturating_sub(targets[level]);
            due(thresholds.l0_compact_tables) + (1..LEVELS - 1).map(over).sum::<u64>()
        }
    }
}

/// A key range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range<'a> {
    smallest: &'a [u8],
    largest: &'a [u8],
}

impl<'a> Range<'a> {
    fn of(meta: &'a TableMeta) -> Self {
        Self { smallest: &meta.smallest, largest: &meta.largest }
    }

    fn meets(&self, other: &Range<'_>) -> bool {
        self.smallest <= other.largest && other.smallest <= self.largest
    }

    fn contains(&self, other: &Range<'_>) -> bool {
        self.smallest <= other.smallest && other.largest <= self.largest
    }

    /// The smallest range that holds both.
    fn hull(&self, other: &Range<'a>) -> Self {
        Self {
            smallest: self.smallest.min(other.smallest),
            largest: self.largest.max(other.largest),
        }
    }
}

/// The hull of some tables; `None` for no table.
fn hull<'a>(metas: impl Iterator<Item = &'a TableMeta>) -> Option<Range<'a>> {
    metas.map(Range::of).reduce(|all, range| all.hull(&range))
}
