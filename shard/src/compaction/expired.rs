//! Tables of which everything has expired: they go by an edit alone, unread.
//!
//! A table may go when it holds nothing but values that end, the last of them has, and no older table can hold one of its
//! keys: then a merge would drop all of it, too ([`super::retain`]). Newer tables do not matter.

use super::plan::{Plan, Reason};
use super::{Range, Situation, hull};
use crate::limits::LEVELS;
use crate::manifest::edit::TableMeta;
use crate::manifest::version::Version;

/// All such tables of the deepest level that has some: those above may then have nothing below them any more.
pub(crate) fn pick<H>(version: &Version<H>, situation: &Situation<'_>) -> Option<Plan> {
    (0..LEVELS).rev().find_map(|level| {
        let metas: Vec<&TableMeta> =
            version.levels[level].iter().map(|table| &table.meta).collect();
        let mut gone: Vec<&TableMeta> = Vec::new();
        for (index, meta) in metas.iter().enumerate() {
            // L0 is newest first; in any other level no two meet.
            let older = if level == 0 { &metas[index + 1..] } else { &[] };
            if has_expired(meta, situation)
                && situation.is_idle(meta)
                && !older.iter().any(|older| Range::of(older).meets(&Range::of(meta)))
                && !is_over_others(version, situation, level, meta)
            {
                gone.push(meta);
            }
        }
        let range = hull(gone.iter().copied())?;
        let level = u8::try_from(level).expect("a level is below LEVELS");
        Some(Plan {
            level,
            target: level,
            inputs: gone.iter().map(|meta| (level, meta.number)).collect(),
            trivial: true,
            drop: true,
            reason: Reason::Expired,
            smallest: range.smallest.to_vec(),
            largest: range.largest.to_vec(),
            limit_overlap: false,
        })
    })
}

fn has_expired(meta: &TableMeta, situation: &Situation<'_>) -> bool {
    meta.expiring.entries == meta.entries && meta.expiring.last_ms <= situation.now_ms
}

/// Whether a deeper level holds, or will hold, something in its range.
fn is_over_others<H>(
    version: &Version<H>,
    situation: &Situation<'_>,
    level: usize,
    meta: &TableMeta,
) -> bool {
    (level + 1..LEVELS).any(|below| {
        !version.overlapping(below, &meta.smallest, &meta.largest).is_empty()
            || situation.busy.writes(below, &meta.smallest, &meta.largest)
    })
}
