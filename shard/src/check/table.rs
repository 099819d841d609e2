//! One table, read through from its first block to its last byte.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Report, show_key};
use crate::compaction::pace::{Abort, Pace, entry_bytes};
use crate::env::{Env, align_up};
use crate::error::{Error, Result};
use crate::expiry::Expiring;
use crate::key::{Entry, Identity, Kind, hash};
use crate::manifest::edit::TableMeta;
use crate::table::Table;
use crate::table::block::{Block, Window};
use crate::table::blocks::Blocks;

/// A block that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadBlock {
    /// Where it begins.
    pub offset: u64,
    /// The last separator before it: its keys are above. `None`: it is the first.
    pub above: Option<Vec<u8>>,
    /// Its keys are at or below this.
    pub upto: Vec<u8>,
}

impl BadBlock {
    /// Its keys, for a person; `smallest` is the table's.
    pub(super) fn keys(&self, smallest: &[u8]) -> String {
        match &self.above {
            Some(above) => {
                format!("keys above {} up to {}", show_key(above), show_key(&self.upto))
            }
            None => format!("keys {} to {}", show_key(smallest), show_key(&self.upto)),
        }
    }
}

/// What reading a table through has shown; what is wrong was told on the way.
#[derive(Debug)]
pub(super) struct Verified<E: Env> {
    /// `None`: nothing of it can be read.
    pub table: Option<Rc<Table<E>>>,
    /// Nothing is wrong.
    pub is_sound: bool,
    /// Its keys ascend: what can be read of it can be written to a new table.
    pub is_ordered: bool,
    /// Blocks that cannot be read.
    pub bad: Vec<BadBlock>,
}

/// Reads the table in `path`, which is said to be `meta`, and tells all that does not hold.
pub(super) async fn verify<E: Env>(
    env: &E,
    path: PathBuf,
    identity: Identity,
    meta: &TableMeta,
    report: &mut Report<'_>,
) -> Verified<E> {
    let damages = report.damages;
    let mut verified = Verified { table: None, is_sound: false, is_ordered: true, bad: Vec::new() };
    let table = match Table::open_path(env, path.clone(), identity, meta).await {
        Ok(table) => Rc::new(table),
        Err(error) => {
            match &error {
                Error::Io { kind: std::io::ErrorKind::NotFound, .. } => {
                    report.damage(&path, None, "the file is absent, though the manifest names it");
                }
                error => report.error(&path, error),
            }
            return verified;
        }
    };
    let mut walk = Walk {
        table: &table,
        path: &path,
        meta,
        pace: Pace::new(env, Abort::default()),
        seen: Seen { seq_min: u64::MAX, ..Seen::default() },
        said: BTreeSet::new(),
        report,
    };
    match walk.run(&mut verified).await {
        Ok(()) => verified.is_sound = walk.report.damages == damages,
        Err(error) => walk.report.error(&path, &error),
    }
    verified.is_ordered = !walk.said.contains(DISORDER);
    verified.table = Some(table);
    verified
}

/// What the entries add up to.
#[derive(Debug, Default)]
struct Seen {
    first: Vec<u8>,
    last: Vec<u8>,
    entries: u64,
    tombstones: u64,
    expiring: Expiring,
    raw_bytes: u64,
    seq_min: u64,
    seq_max: u64,
}

struct Walk<'a, 'b, E: Env> {
    table: &'a Rc<Table<E>>,
    path: &'a Path,
    meta: &'a TableMeta,
    pace: Pace<E>,
    seen: Seen,
    /// One line for each kind of thing that is wrong with entries: a million would say no more.
    said: BTreeSet<&'static str>,
    report: &'a mut Report<'b>,
}

impl<E: Env> Walk<'_, '_, E> {
    async fn run(&mut self, verified: &mut Verified<E>) -> Result<()> {
        let mut blocks = Blocks::open(Rc::clone(self.table)).await?;
        let mut window = Window::default();
        while let Some((index, handle, block)) = blocks.next().await {
            self.report.progress(handle.stored_len() as u64);
            let before = index.checked_sub(1).and_then(|before| self.table.separator(before));
            let upto = self.table.separator(index).unwrap_or_default();
            match block {
                Ok(block) => {
                    self.block(handle.offset(), before, upto, &block, &mut window).await?;
                }
                Err(error) => {
                    let (above, upto) = (before.map(<[u8]>::to_vec), upto.to_vec());
                    let bad = BadBlock { offset: handle.offset(), above, upto };
                    let what = match &error {
                        Error::Corruption { what, .. } => what.clone(),
                        other => other.to_string(),
                    };
                    let what = format!("{what} ({})", bad.keys(&self.meta.smallest));
                    self.report.damage(self.path, handle.offset(), what);
                    verified.bad.push(bad);
                }
            }
        }
        let (len, crc) = blocks.finish(self.meta.bytes).await?;
        if verified.bad.is_empty() {
            self.totals(crc);
        }
        if len > align_up(self.meta.bytes) {
            let what = format!("{} bytes behind the table's end, ignored", len - self.meta.bytes);
            self.report.note(self.path, self.meta.bytes, what);
        }
        Ok(())
    }

    async fn block(
        &mut self,
        offset: u64,
        above: Option<&[u8]>,
        upto: &[u8],
        block: &Block,
        window: &mut Window,
    ) -> Result<()> {
        for restart in 0..block.restarts() {
            block.window(restart, window);
            for index in 0..window.len() {
                let Some(entry) = window.entry(index, block) else { continue };
                self.entry(offset, above, upto, &entry);
                self.pace.after(entry_bytes(&entry)).await?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, offset: u64, above: Option<&[u8]>, upto: &[u8], entry: &Entry<'_>) {
        let seen = &mut self.seen;
        let mut wrong = Vec::new();
        if seen.entries > 0 && entry.key <= seen.last.as_slice() {
            wrong.push(DISORDER);
        }
        if entry.key > upto || above.is_some_and(|above| entry.key <= above) {
            wrong.push("a key outside of what the index says of its block");
        }
        if !(self.meta.seq_min..=self.meta.seq_max).contains(&entry.seq.0) {
            wrong.push("a sequence number outside of what the manifest says of the table");
        }
        if !self.table.may_contain(hash(entry.key)) {
            wrong.push("a key that the filter denies: it would be answered as absent");
        }
        if seen.entries == 0 {
            seen.first.extend_from_slice(entry.key);
        }
        seen.last.clear();
        seen.last.extend_from_slice(entry.key);
        seen.entries += 1;
        seen.tombstones += u64::from(entry.kind == Kind::Delete);
        seen.expiring.add(entry);
        seen.raw_bytes += entry_bytes(entry);
        seen.seq_min = seen.seq_min.min(entry.seq.0);
        seen.seq_max = seen.seq_max.max(entry.seq.0);
        for what in wrong {
            if self.said.insert(what) {
                let what = format!("{what}: {} at {}", show_key(entry.key), entry.seq.0);
                self.report.damage(self.path, offset, what);
            }
        }
    }

    /// What only a whole table can be held to.
    fn totals(&mut self, crc: Option<u32>) {
        let (seen, meta) = (&self.seen, self.meta);
        let counts = [
            ("entries", seen.entries, meta.entries),
            ("tombstones", seen.tombstones, meta.tombstones),
            ("values that expire", seen.expiring.entries, meta.expiring.entries),
            ("as the first time of an end", seen.expiring.first_ms, meta.expiring.first_ms),
            ("as the last time of an end", seen.expiring.last_ms, meta.expiring.last_ms),
            ("bytes of keys and values", seen.raw_bytes, meta.raw_bytes),
            ("as the oldest operation", seen.seq_min, meta.seq_min),
            ("as the newest operation", seen.seq_max, meta.seq_max),
        ];
        let mut wrong: Vec<String> = counts
            .into_iter()
            .filter(|(_, found, said)| found != said)
            .map(|(of, found, said)| format!("it has {found} {of}, the manifest says {said}"))
            .collect();
        if (&seen.first, &seen.last) != (&meta.smallest, &meta.largest) {
            wrong.push("its first or last key is not the one that the manifest gives".to_owned());
        }
        if crc.is_some_and(|crc| crc != meta.crc) {
            wrong.push("its bytes are not those whose checksum the manifest has".to_owned());
        }
        for what in wrong {
            self.report.damage(self.path, None, what);
        }
    }
}

const DISORDER: &str = "a key that is not above the one before it";
