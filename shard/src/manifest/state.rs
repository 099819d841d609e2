//! What the manifest says, as one value.
//!
//! # Invariants (checked by [`State::apply`])
//! - Those of [`Version`].
//! - No sequence number is above `SEQ_READ_MAX`, no file longer than `FILE_BYTES_MAX`.
//! - Every file number in use is below `numbers_reserved`, which never goes down; neither does `flushed_seq`.
//! - Segments ascend by number, and each has room for its header and chain frame.
//! - A clean stop names a live segment, or 0 when none was used.

use super::NUMBER_MAX;
use super::edit::{CleanStop, TableMeta, VersionEdit, WalMeta};
use super::version::Version;
use crate::key::SeqNo;
use crate::limits::{ALIGN, FILE_BYTES_MAX, SEQ_READ_MAX};
use crate::wal::{FIRST_FRAME, SEGMENT_BYTES_MIN};

/// Bytes of table descriptions in one part of a snapshot, about: a snapshot of any size is written in small requests.
const PART_BYTES: usize = 256 << 10;

/// The state of a shard's directory. Cheap to clone: tables are shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The tables of each level, without handles.
    pub version: Version<()>,
    /// Every operation up to this one is in tables.
    pub flushed_seq: SeqNo,
    /// Live segments in order.
    pub wal: Vec<WalMeta>,
    /// All file numbers below this may be in use.
    pub numbers_reserved: u64,
    /// Set if nothing happened since the shard was closed in order.
    pub clean_stop: Option<CleanStop>,
}

impl State {
    /// Applies an edit, whole or not at all.
    ///
    /// # Errors
    /// What is inconsistent; nothing has changed then.
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> Result<(), String> {
        let version = self.version.apply(edit, vec![(); edit.added.len()])?;
        let numbers_reserved = edit.numbers_reserved.unwrap_or(self.numbers_reserved);
        if numbers_reserved < self.numbers_reserved {
            return Err(format!(
                "reserved numbers go down from {} to {numbers_reserved}",
                self.numbers_reserved
            ));
        }
        if numbers_reserved >= NUMBER_MAX {
            return Err(format!("reserved numbers up to {numbers_reserved}"));
        }
        let flushed_seq = edit.flushed_seq.map_or(self.flushed_seq, SeqNo);
        if flushed_seq < self.flushed_seq {
            return Err(format!(
                "the flushed operation goes down from {} to {}",
                self.flushed_seq.0, flushed_seq.0
            ));
        }
        let stop = edit.clean_stop.map_or(0, |stop| stop.last_seq);
        if let Some(seq) = [flushed_seq.0, stop].into_iter().find(|&seq| seq > SEQ_READ_MAX) {
            return Err(format!("operation {seq} is out of range"));
        }
        for (_, meta) in &edit.added {
            meta.check().map_err(|what| format!("{what}: {}", meta.number))?;
        }
        let tables = edit.added.iter().map(|(_, meta)| meta.number);
        let numbers = tables.chain(edit.wal_added.iter().map(|meta| meta.number));
        if let Some(number) = numbers.into_iter().find(|&number| number >= numbers_reserved) {
            return Err(format!("number {number} was not reserved ({numbers_reserved})"));
        }
        let wal = self.segments_after(edit)?;
        if let Some(stop) = edit.clean_stop {
            check_clean_stop(&wal, stop)?;
        }
        let clean_stop = edit.clean_stop;
        *self = Self { version, flushed_seq, wal, numbers_reserved, clean_stop };
        Ok(())
    }

    fn segments_after(&self, edit: &VersionEdit) -> Result<Vec<WalMeta>, String> {
        let mut wal = self.wal.clone();
        for meta in &edit.wal_added {
            if wal.last().is_some_and(|last| last.number >= meta.number) {
                return Err(format!("segment {} is not above the one before it", meta.number));
            }
            let is_possible = (SEGMENT_BYTES_MIN..=FILE_BYTES_MAX).contains(&meta.bytes);
            if !is_possible || !meta.bytes.is_multiple_of(ALIGN as u64) {
                return Err(format!("segment {} of {} bytes", meta.number, meta.bytes));
            }
            wal.push(*meta);
        }
        if let Some(first_live) = edit.wal_first_live {
            wal.retain(|meta| meta.number >= first_live);
        }
        Ok(wal)
    }

    /// Edits that make this state out of the empty one, in order.
    pub(super) fn parts(&self) -> Vec<Vec<(u8, &TableMeta)>> {
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for (level, table) in self.version.tables() {
            let meta = &table.meta;
            bytes += size_of::<TableMeta>() + meta.smallest.len() + meta.largest.len();
            let level = u8::try_from(level).expect("LEVELS is below 256");
            if bytes > PART_BYTES
                && let Some(part) = parts.last()
                && !part.is_empty()
            {
                bytes = 0;
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                part.push((level, meta));
            }
        }
        parts
    }

    /// One of [`State::parts`] as an edit. All that is not a table is in the last one: a clean stop must come last.
    pub(super) fn part(&self, tables: &[(u8, &TableMeta)], is_last: bool) -> VersionEdit {
        let mut edit = VersionEdit {
            added: tables.iter().map(|&(level, meta)| (level, meta.clone())).collect(),
            numbers_reserved: Some(self.numbers_reserved),
            ..VersionEdit::default()
        };
        if is_last {
            edit.wal_added.clone_from(&self.wal);
            edit.flushed_seq = Some(self.flushed_seq.0);
            edit.clean_stop = self.clean_stop;
        }
        edit
    }
}

fn check_clean_stop(wal: &[WalMeta], stop: CleanStop) -> Result<(), String> {
    if stop.segment == 0 {
        return Ok(());
    }
    match wal.iter().find(|meta| meta.number == stop.segment) {
        Some(meta) if (FIRST_FRAME..=meta.bytes).contains(&stop.end) => Ok(()),
        Some(meta) => Err(format!(
            "the log ends at {} in segment {} of {} bytes",
            stop.end, stop.segment, meta.bytes
        )),
        None => Err(format!("the log ends in segment {}, which is not live", stop.segment)),
    }
}
