//! Carries a plan out: reads, merges, writes, and answers with the edit that puts it into effect.
//!
//! The steps:
//! 1. A cold cursor over each sorted run among the inputs: each table of L0, each deeper level.
//! 2. Merge; [`Retain`] drops what nobody can see; [`Cuts`] decides where one output ends and the next begins.
//! 3. Outputs synced, then the directory; each is opened again and, if wanted, read through.
//! 4. The edit: inputs removed, outputs added. The caller installs it.
//!
//! On any error, and when told to end, all outputs are removed; the inputs are never touched.

use std::rc::Rc;
use std::time::Duration;

use super::outputs::{Outputs, Site};
use super::pace::{Pace, entry_bytes};
use super::plan::Plan;
use super::retain::Retain;
use super::verify::check_output;
use super::{OVERLAP_TABLES_MAX, Range};
use crate::cursor::{self, Cursor, Direction};
use crate::env::Env;
use crate::error::Result;
use crate::level::{LevelCursor, LevelTable};
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::version::{TableRef, Version};
use crate::merge::Merge;
use crate::table::Table;

/// What a job is told.
#[derive(Debug)]
pub(crate) struct Job<'a, E: Env> {
    /// Where its outputs go.
    pub site: Site<'a, E>,
    /// The version that the plan was made on.
    pub version: &'a Version<Rc<Table<E>>>,
    /// Not a trivial one.
    pub plan: &'a Plan,
    /// When it pauses, and whether it was told to stop.
    pub pace: &'a Pace<E>,
    /// Reads each output through before the inputs are given up: twice the reading, and no damage spreads.
    pub verify: bool,
}

/// What a job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct JobStats {
    /// Size of the inputs.
    pub bytes_read: u64,
    /// Size of the outputs.
    pub bytes_written: u64,
    /// Versions in the inputs.
    pub entries_read: u64,
    /// Versions dropped because a newer one was there.
    pub entries_shadowed: u64,
    /// Tombstones dropped because nothing was left to hide.
    pub tombstones_dropped: u64,
    /// Values that had expired: dropped, or replaced by tombstones.
    pub entries_expired: u64,
    /// From the first read to the last sync.
    pub duration: Duration,
}

/// The result of a job.
#[derive(Debug)]
pub(crate) struct Done {
    /// To be appended to the manifest; its outputs are durable.
    pub edit: VersionEdit,
    /// What it did.
    pub stats: JobStats,
}

/// Carries `job.plan` out. `numbers` gives file numbers that are reserved and were never used.
///
/// I/O: reads all inputs and writes the outputs once (reads those too with `verify`), on the cold lane.
///
/// # Errors
/// Reading, writing, damage, or `Closing` when told to end. The outputs are removed, the version is as before.
pub(crate) async fn run<E, N>(job: &Job<'_, E>, numbers: &N) -> Result<Done>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    assert!(!job.plan.trivial, "a trivial plan is an edit only");
    // Boxed: builder and cursors make it many kilobytes, which every caller's future would hold.
    Box::pin(carry_out(job, numbers)).await
}

async fn carry_out<E, N>(job: &Job<'_, E>, numbers: &N) -> Result<Done>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    let began = job.site.env.now();
    let mut outputs = Outputs::new(&job.site, numbers);
    let mut retain = Retain::new(job.version, job.plan, job.site.env.wall_ms());
    match write(job, &mut retain, &mut outputs).await {
        Ok((added, entries_read)) => {
            let stats = JobStats {
                bytes_read: inputs(job).map(|(_, table)| table.meta.bytes).sum(),
                bytes_written: added.iter().map(|meta| meta.bytes).sum(),
                entries_read,
                entries_shadowed: retain.shadowed,
                tombstones_dropped: retain.buried,
                entries_expired: retain.expired,
                duration: job.site.env.now().saturating_sub(began),
            };
            Ok(Done { edit: edit(job.plan, added), stats })
        }
        Err(error) => {
            outputs.abandon().await;
            Err(error)
        }
    }
}

fn edit(plan: &Plan, added: Vec<TableMeta>) -> VersionEdit {
    let hull = Range { smallest: &plan.smallest, largest: &plan.largest };
    assert!(
        added.iter().all(|meta| hull.contains(&Range::of(meta))),
        "outputs lie within the plan"
    );
    VersionEdit {
        added: added.into_iter().map(|meta| (plan.target, meta)).collect(),
        removed: plan.inputs.clone(),
        ..VersionEdit::default()
    }
}

/// The input tables with their levels, from the top down.
fn inputs<'a, E: Env>(job: &Job<'a, E>) -> impl Iterator<Item = (usize, &'a LevelTable<E>)> {
    let plan = job.plan;
    job.version.tables().filter(move |(_, table)| plan.reads(table.meta.number))
}

/// Steps 1 to 3. Answers the outputs and the number of entries read.
async fn write<E, N>(
    job: &Job<'_, E>,
    retain: &mut Retain,
    outputs: &mut Outputs<'_, E, N>,
) -> Result<(Vec<TableMeta>, u64)>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    assert_eq!(inputs(job).count(), job.plan.inputs.len(), "the inputs are in the version");
    let mut runs = runs(job);
    let merged = merge(job, &mut runs, retain, outputs).await;
    for run in runs {
        let closed = run.close().await;
        // Of a merge that failed, only its own error counts.
        if merged.is_ok() {
            closed?;
        }
    }
    let entries = merged?;
    let expected: u64 = inputs(job).map(|(_, table)| table.meta.entries).sum();
    assert_eq!(entries, expected, "every entry of every input was met");
    let added = outputs.finish().await?;
    for meta in &added {
        check_output(&job.site, job.pace, meta, job.verify).await?;
    }
    Ok((added, entries))
}

/// A cursor over each run among the inputs.
fn runs<E: Env>(job: &Job<'_, E>) -> Vec<LevelCursor<E>> {
    let mut runs: Vec<(usize, Vec<LevelTable<E>>)> = Vec::new();
    for (level, table) in inputs(job) {
        match runs.last_mut() {
            Some((last, tables)) if *last == level && level > 0 => tables.push(Rc::clone(table)),
            _ => runs.push((level, vec![Rc::clone(table)])),
        }
    }
    runs.into_iter().map(|(_, tables)| LevelCursor::cold(tables, Direction::Forward)).collect()
}

/// Step 2. Answers the number of entries read.
async fn merge<E, N>(
    job: &Job<'_, E>,
    runs: &mut [LevelCursor<E>],
    retain: &mut Retain,
    outputs: &mut Outputs<'_, E, N>,
) -> Result<u64>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    let mut merge = Merge::new(runs.iter_mut().collect(), Direction::Forward);
    let mut cuts = Cuts::new(job.version, job.plan, job.site.options.table_bytes);
    let mut entries = 0;
    cursor::seek(&mut merge, None).await?;
    while let Some(entry) = merge.entry() {
        entries += 1;
        let bytes = entry_bytes(&entry);
        if let Some(kept) = retain.keep(entry) {
            if cuts.before(kept.key, outputs.current_bytes()) {
                outputs.cut().await?;
            }
            outputs.add(&kept).await?;
        }
        job.pace.after(bytes).await?;
        cursor::step(&mut merge).await?;
    }
    Ok(entries)
}

/// Where one output ends.
pub(super) struct Cuts<H> {
    /// An output this large is full; `u64::MAX` in L0, where a run must stay one table.
    table_bytes: u64,
    /// Bytes of the level below the target that one output may meet.
    overlap_max: u64,
    /// Tables below the target, ascending; those before `at` end before the last key.
    below: Vec<Rc<TableRef<H>>>,
    at: usize,
    /// Bytes of the tables below that end within the current output.
    overlap: u64,
}

impl<H> Cuts<H> {
    pub(super) fn new(version: &Version<H>, plan: &Plan, table_bytes: u64) -> Self {
        let below = usize::from(plan.target) + 1;
        let below = if plan.limit_overlap && below < version.levels.len() {
            version.overlapping(below, &plan.smallest, &plan.largest).to_vec()
        } else {
            Vec::new()
        };
        Self {
            table_bytes: if plan.target == 0 { u64::MAX } else { table_bytes },
            overlap_max: table_bytes.saturating_mul(OVERLAP_TABLES_MAX),
            below,
            at: 0,
            overlap: 0,
        }
    }

    /// Whether the output, `bytes` long now, ends before `key`. Keys come in ascending order.
    pub(super) fn before(&mut self, key: &[u8], bytes: u64) -> bool {
        let mut border = false;
        while let Some(table) = self.below.get(self.at)
            && table.meta.largest.as_slice() < key
        {
            self.overlap += table.meta.bytes;
            self.at += 1;
            border = true;
        }
        if bytes == 0 {
            self.overlap = 0;
            return false;
        }
        // Nearly full at a border below: ended here, it and the next one do not both meet the same table below.
        let aligned = border && bytes >= self.table_bytes / 4 * 3;
        let cut = bytes >= self.table_bytes || aligned || self.overlap > self.overlap_max;
        if cut {
            self.overlap = 0;
        }
        cut
    }
}
