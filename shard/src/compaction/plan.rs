//! What a picker decided: the tables that are merged, and where the result goes.

use std::fmt;

use crate::manifest::edit::VersionEdit;
use crate::manifest::version::Version;

/// Why a plan was made. For logs, INFO and the golden scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// L0 has `l0_compact_tables` or more.
    L0Full,
    /// L0 is full and cannot move down now: L1 is being written there.
    L0Waits,
    /// L0 is full of small tables: they are merged among themselves before a much larger L1 is rewritten for them.
    L0Small,
    /// A level holds more bytes than its target.
    LevelFull,
    /// Nothing is being written, and readers look at each table of L0.
    Idle,
    /// A table rich in tombstones and expired values, with nothing more urgent to do.
    Dead,
    /// Tables of which everything has expired.
    Expired,
    /// Somebody asked for everything to be merged.
    Asked,
    /// Size-tiered: enough runs of one size.
    Tier,
    /// Size-tiered: a run moves down, to make room above it.
    Slide,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::L0Full => "L0 is full",
            Self::L0Waits => "L0 waits for L1",
            Self::L0Small => "L0 is small against L1",
            Self::LevelFull => "level is full",
            Self::Idle => "idle",
            Self::Dead => "dead data",
            Self::Expired => "expired",
            Self::Asked => "asked for",
            Self::Tier => "runs of one size",
            Self::Slide => "makes room above",
        })
    }
}

/// One compaction, decided and not yet carried out.
///
/// # Invariants
/// - No table of `target` outside `inputs` meets `smallest..=largest` (for `target` >= 1).
/// - No table older than an input, between it and `target`, meets it and stays out.
/// - The inputs of L0 are adjacent in age where they overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The newest level it reads.
    pub level: u8,
    /// The level it writes.
    pub target: u8,
    /// Level and file number: levels from the top down, each in its own order.
    pub inputs: Vec<(u8, u64)>,
    /// The inputs move as they are: an edit, no table is read or written.
    pub trivial: bool,
    /// The inputs go, and nothing comes in their place; only of a trivial plan.
    pub drop: bool,
    /// Why it was made.
    pub reason: Reason,
    /// Hull of all inputs: every output lies within it.
    pub smallest: Vec<u8>,
    /// The other end of the hull.
    pub largest: Vec<u8>,
    /// Outputs are cut so that none meets much of the level below the target (leveled only:
    /// below a run of the size-tiered strategy lies another run, many times larger).
    pub limit_overlap: bool,
}

impl Plan {
    /// Whether table `number` is an input.
    pub(crate) fn reads(&self, number: u64) -> bool {
        self.inputs.iter().any(|&(_, input)| input == number)
    }

    /// The edit of a trivial plan: the tables leave their level and stand in the target, under the same numbers, or nowhere.
    /// The caller reuses their open handles. `None` if the plan is not trivial: it takes a job.
    pub(crate) fn trivial_edit<H>(&self, version: &Version<H>) -> Option<VersionEdit> {
        if !self.trivial {
            return None;
        }
        let mut edit = VersionEdit { removed: self.inputs.clone(), ..VersionEdit::default() };
        for &(level, number) in self.inputs.iter().filter(|_| !self.drop) {
            let tables = &version.levels[usize::from(level)];
            let table = tables.iter().find(|table| table.meta.number == number);
            let table = table.expect("the plan was made on this version");
            edit.added.push((self.target, table.meta.clone()));
        }
        Some(edit)
    }
}

/// `L1 -> L2 [a..f] L1: 12; L2: 7 8; level is full`, with `move` or `drop` behind the target of a trivial plan.
impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.trivial, self.drop) {
            (true, true) => " drop",
            (true, false) => " move",
            (false, _) => "",
        };
        let (from, to) = (self.smallest.escape_ascii(), self.largest.escape_ascii());
        write!(out, "L{} -> L{}{how} [{from}..{to}]", self.level, self.target)?;
        let mut before = None;
        for &(level, number) in &self.inputs {
            if before != Some(level) {
                write!(out, "{} L{level}:", if before.is_some() { ";" } else { "" })?;
                before = Some(level);
            }
            write!(out, " {number}")?;
        }
        write!(out, "; {}", self.reason)
    }
}

/// The compactions that run now. The file numbers alone would not do: an output may span a gap between the
/// inputs of its target level, and a table that another plan moves into that gap would overlap it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy {
    running: Vec<Plan>,
}

impl Busy {
    /// Nothing runs.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `plan` starts. Its inputs must be idle.
    #[cfg_attr(not(test), expect(dead_code, reason = "a shard runs one compaction at a time"))]
    pub(crate) fn start(&mut self, plan: &Plan) {
        assert!(plan.inputs.iter().all(|&(_, number)| !self.reads(number)), "an input is busy");
        self.running.push(plan.clone());
    }

    /// `plan` ended, whatever came of it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a shard runs one compaction at a time"))]
    pub(crate) fn end(&mut self, plan: &Plan) {
        let index = self.running.iter().position(|running| running == plan);
        self.running.swap_remove(index.expect("the plan was started"));
    }

    /// Whether table `number` is an input of a running compaction.
    pub(crate) fn reads(&self, number: u64) -> bool {
        self.running.iter().any(|plan| plan.reads(number))
    }

    /// Whether a running compaction writes into `level`.
    pub(crate) fn targets(&self, level: usize) -> bool {
        self.running.iter().any(|plan| usize::from(plan.target) == level)
    }

    /// Whether a running compaction may write tables into `level` that meet `smallest..=largest`.
    pub(crate) fn writes(&self, level: usize, smallest: &[u8], largest: &[u8]) -> bool {
        self.running.iter().any(|plan| {
            usize::from(plan.target) == level
                && plan.smallest.as_slice() <= largest
                && smallest <= plan.largest.as_slice()
        })
    }
}
