//! A shard whose manifest cannot be believed, out of all the tables and segments that are there.
//!
//! Which level a table stood in is not known, and a table of one level may be newer for one key and older for another
//! than a table of the next: so all of them are merged, the newest version of each key is kept, and the result is one
//! run in the last level.
//!
//! # Known limits
//! - A table that was replaced and whose file was not deleted yet is merged as well. Frames of manifests that can still be
//!   read tell of most of those. For the rest: a key that was deleted, whose tombstone a merge had already dropped, may be
//!   back.
//! - It takes the space of all tables once more.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::log::{Source, salvage};
use super::repair::{Room, tell_cut, tell_loss};
use super::table::verify;
use super::{Report, described};
use crate::compaction::outputs::Outputs;
use crate::compaction::pace::{Abort, Pace, entry_bytes};
use crate::cursor::{self, Cursor, Direction};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{Kind, SeqNo};
use crate::level::{LevelCursor, LevelTable};
use crate::limits::{LEVELS, SEQ_READ_MAX};
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::version::{TableRef, Version};
use crate::manifest::{FileName, State, decode_edit};
use crate::merge::Merge;
use crate::table::Table;
use crate::wal::header::Magic;
use crate::wal::walk::{Piece, Walk};

/// What frames of manifests that can still be read say.
#[derive(Debug, Default)]
struct Hints {
    /// Each table that they name; `None`: removed, and nobody added it again.
    tables: BTreeMap<u64, Option<TableMeta>>,
    flushed_seq: u64,
}

/// Rebuilds the shard of `room`, whose directory has `names`.
pub(super) async fn rebuild<E: Env>(
    room: &mut Room<'_, E>,
    names: &[String],
    dry_run: bool,
    report: &mut Report<'_>,
) -> Result<bool> {
    let Room { env, dir, identity, .. } = *room;
    let hints = hints(room, names).await?;
    let mut sources = Vec::new();
    let mut segments = Vec::new();
    let mut found = Vec::new();
    for name in names {
        match FileName::parse(name) {
            Some(FileName::Table(number)) => {
                found.push(number);
                // A table that was removed is not one that is lost.
                if !matches!(hints.tables.get(&number), Some(None)) {
                    sources.extend(table(room, number, &hints, report).await);
                }
            }
            Some(FileName::Segment(number)) => segments.push(number),
            _ => {}
        }
    }
    segments.sort_unstable();
    for (number, meta) in &hints.tables {
        if let Some(meta) = meta
            && !found.contains(number)
        {
            let path = crate::table::path(dir, *number);
            report.damage(&path, None, "the file is absent, though the manifest names it");
            tell_loss(&path, meta, false, &[], report);
        }
    }
    let newest = sources.iter().map(|source| source.meta.seq_max).max().unwrap_or(0);
    let mut source = Source {
        env,
        dir,
        identity,
        segments: &segments,
        floor: SeqNo(newest.max(hints.flushed_seq)),
        taken: SeqNo(hints.flushed_seq),
        known: SeqNo(0),
    };
    let first = super::log::first_taken(&source).await;
    if let Some(first) = first.filter(|first| *first > source.floor) {
        let what = format!(
            "the log begins after operation {}, tables hold operations up to {}: those between may be lost",
            first.0, source.floor.0
        );
        let path = crate::wal::path(dir, segments.first().copied().unwrap_or(0));
        report.lost(&path, None, what);
        source.floor = first;
    }
    let looked = super::log::look(&source).await?;
    tell_cut(&looked, report);
    report.refuse_newer()?;
    if dry_run {
        return Ok(true);
    }
    room.begin(report).await?;
    let mut tables = Vec::new();
    for Damaged { meta, table, is_whole } in sources {
        if is_whole {
            tables.push(LevelTable::new(TableRef { meta, handle: table }));
            continue;
        }
        for meta in room.write_again(&table).await? {
            tables.push(open_made(room, meta).await?);
        }
    }
    let numbers = async || Ok(room.number());
    let mut sink = room.sink(&numbers);
    let salvaged = salvage(&source, Some(&mut sink)).await?;
    for meta in std::mem::take(&mut sink.made) {
        tables.push(open_made(room, meta).await?);
    }
    let merged = merge(room, tables).await?;
    let level = u8::try_from(LEVELS - 1).unwrap_or(u8::MAX);
    let edit = VersionEdit {
        added: merged.into_iter().map(|meta| (level, meta)).collect(),
        ..VersionEdit::default()
    };
    let version = Version::default().apply(&edit, vec![(); edit.added.len()]);
    let state = State {
        version: version.map_err(|what| Error::corruption(dir, 0, what))?,
        flushed_seq: source.floor.max(salvaged.known).max(salvaged.upto),
        numbers_reserved: room.next.get(),
        ..State::default()
    };
    let what = format!(
        "rebuilt from its tables and {} operations of the log; keys deleted shortly before may be back",
        salvaged.taken
    );
    report.did(dir, what);
    room.commit(state, &edit, report).await?;
    Ok(true)
}

/// A table to be merged.
struct Damaged<E: Env> {
    meta: TableMeta,
    table: Rc<Table<E>>,
    is_whole: bool,
}

async fn table<E: Env>(
    room: &Room<'_, E>,
    number: u64,
    hints: &Hints,
    report: &mut Report<'_>,
) -> Option<Damaged<E>> {
    let path = crate::table::path(room.dir, number);
    let Some(meta) = described(room.env, &path, room.identity, number, report).await else {
        match hints.tables.get(&number) {
            Some(Some(meta)) => tell_loss(&path, meta, false, &[], report),
            _ => report.lost(&path, None, "all of its keys: it cannot be told which they were"),
        }
        return None;
    };
    let verified = verify(room.env, path.clone(), room.identity, &meta, report).await;
    let blocks = verified.table.as_ref().map_or(0, |table| table.blocks());
    let table = verified.table.filter(|_| verified.is_ordered && verified.bad.len() < blocks);
    tell_loss(&path, &meta, table.is_some(), &verified.bad, report);
    // What is wrong about it in whatever way is written again: a merge relies on what a table says of itself.
    table.map(|table| Damaged { meta, table, is_whole: verified.is_sound })
}

async fn hints<E: Env>(room: &Room<'_, E>, names: &[String]) -> Result<Hints> {
    let mut hints = Hints::default();
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| match FileName::parse(name) {
            Some(FileName::Manifest(number)) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    for number in numbers {
        let path = crate::manifest::path(room.dir, number);
        let walk = Walk::open(room.env, path, Magic::Manifest, room.identity).await;
        let mut walk = match walk {
            Ok(walk) => walk,
            Err(error @ Error::Newer { .. }) => return Err(error),
            Err(_) => continue,
        };
        let format = walk.header().format;
        while let Some(piece) = walk.next().await? {
            let Piece::Frame { payload, .. } = piece else { continue };
            let Ok(edit) = decode_edit(payload, format) else { continue };
            hints.tables.extend(edit.removed.iter().map(|&(_, number)| (number, None)));
            let added = edit.added.into_iter();
            hints.tables.extend(added.map(|(_, meta)| (meta.number, Some(meta))));
            // A manifest whose edits do not apply may say anything.
            let flushed_seq = edit.flushed_seq.filter(|&seq| seq <= SEQ_READ_MAX);
            hints.flushed_seq = hints.flushed_seq.max(flushed_seq.unwrap_or(0));
        }
        walk.close().await;
    }
    Ok(hints)
}

async fn open_made<E: Env>(room: &Room<'_, E>, meta: TableMeta) -> Result<LevelTable<E>> {
    let table = Table::open(room.env, room.dir, room.identity, &meta).await?;
    Ok(LevelTable::new(TableRef { meta, handle: Rc::new(table) }))
}

/// As few runs as possible: each table goes behind the first run that ends before it.
fn runs<E: Env>(mut tables: Vec<LevelTable<E>>) -> Vec<Vec<LevelTable<E>>> {
    tables.sort_by(|left, right| left.meta.smallest.cmp(&right.meta.smallest));
    let mut runs: Vec<Vec<LevelTable<E>>> = Vec::new();
    for table in tables {
        let ends_before = |run: &&mut Vec<LevelTable<E>>| {
            run.last().is_none_or(|last| last.meta.largest < table.meta.smallest)
        };
        match runs.iter_mut().find(ends_before) {
            Some(run) => run.push(table),
            None => runs.push(vec![table]),
        }
    }
    runs
}

/// The newest version of each key of `tables`; no tombstones: nothing lies below.
async fn merge<E: Env>(room: &Room<'_, E>, tables: Vec<LevelTable<E>>) -> Result<Vec<TableMeta>> {
    let mut runs: Vec<LevelCursor<E>> =
        runs(tables).into_iter().map(|run| LevelCursor::cold(run, Direction::Forward)).collect();
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = async || Ok(room.number());
    let site = room.site();
    let mut outputs = Outputs::new(&site, &numbers);
    let pace = Pace::new(room.env, Abort::default());
    let mut merge = Merge::new(runs.iter_mut().collect(), Direction::Forward);
    let mut last: Option<Vec<u8>> = None;
    cursor::seek(&mut merge, None).await?;
    while let Some(entry) = merge.entry() {
        let bytes = entry_bytes(&entry);
        if last.as_deref() != Some(entry.key) {
            let key = last.get_or_insert_default();
            key.clear();
            key.extend_from_slice(entry.key);
            if entry.kind != Kind::Delete {
                if outputs.current_bytes() >= room.options.table_bytes {
                    outputs.cut().await?;
                }
                outputs.add(&entry).await?;
            }
        }
        pace.after(bytes).await?;
        cursor::step(&mut merge).await?;
    }
    drop(merge);
    for run in runs {
        run.close().await?;
    }
    outputs.finish().await
}
