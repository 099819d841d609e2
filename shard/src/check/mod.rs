//! Looking at a shard that nobody has open, and mending it.
//!
//! - [`check`]: everything that a start and every later read rely on, verified by the readers that they use. Reads only.
//! - [`repair`](mod@repair): makes `check` pass again; what it takes out is kept.
//! - [`contents`]: its live keys in order, and what it is made of. Reads only.
//! - [`dump`]: the records of one file, as rows.
//! - `table`, `log`, `order`: one table read through, the log behind a damaged place, versions across levels.
//!
//! # What [`check`] verifies
//! 1. `CURRENT` and the manifest: checksums, identity, each edit applies, levels do not overlap, and no file lies beside
//!    it that it should name.
//! 2. Each table: length, identity, every checksum, keys in order and within their bounds, counts, sequence numbers, and
//!    that its filter has every key.
//! 3. Over all tables: of each key, the version in the newer run has the larger sequence number.
//! 4. The log: segments, chain, frames, operations, no gap in the sequence numbers, and where it ends.
//! 5. What is left: files that the manifest does not name.
//!
//! The tables are read twice, for 2 and 3. Memory: as for a start, without memtables and cache.

pub mod contents;
pub mod dump;
mod log;
mod order;
mod rebuild;
pub mod repair;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use self::repair::{QUARANTINE, unfinished};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::version::Version;
use crate::manifest::{FileName, Loaded, Manifest};
use crate::recovery::{check_unnamed, is_new};
use crate::table::found;
use crate::wal::REMEDY;
use crate::wal::header::Magic;
use crate::wal::reader::Replay;
use crate::wal::walk::{Piece, Walk};

/// Bytes of a key that a message shows.
const KEY_BYTES_SHOWN: usize = 48;

/// Something about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes, if it is not about the file as a whole.
    pub offset: Option<u64>,
    /// What, as a clause.
    pub what: String,
}

/// What the caller is told on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something does not hold.
    Damage(Finding),
    /// Worth knowing, and in order.
    Note(Finding),
    /// Repair: what cannot be brought back.
    Lost(Finding),
    /// Repair: what was done.
    Done(Finding),
    /// How much of the shard was looked at, in bytes.
    Progress {
        /// So far.
        done: u64,
        /// In all, as far as is known.
        total: u64,
    },
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// No shard was ever opened here.
    pub is_new: bool,
    /// Tables.
    pub tables: u64,
    /// Their entries.
    pub entries: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Operations in them.
    pub operations: u64,
    /// The newest operation.
    pub last_seq: u64,
    /// Events of kind `Damage`.
    pub damages: u64,
    /// Events of kind `Note`.
    pub notes: u64,
}

/// Where events go, and how many there were.
pub(crate) struct Report<'a> {
    tell: &'a mut dyn FnMut(Event),
    damages: u64,
    notes: u64,
    losses: u64,
    done: u64,
    total: u64,
    /// A file of a later release was met.
    newer: Option<Error>,
}

impl<'a> Report<'a> {
    fn new(tell: &'a mut dyn FnMut(Event)) -> Self {
        Self { tell, damages: 0, notes: 0, losses: 0, done: 0, total: 0, newer: None }
    }

    /// What a later release wrote is not damage, and no repair's business.
    fn refuse_newer(&mut self) -> Result<()> {
        self.newer.take().map_or(Ok(()), Err)
    }

    fn damage(&mut self, path: &Path, offset: impl Into<Option<u64>>, what: impl Into<String>) {
        self.damages += 1;
        (self.tell)(Event::Damage(finding(path, offset, what)));
    }

    /// Damage as a reader tells it.
    fn error(&mut self, dir: &Path, error: &Error) {
        self.damages += 1;
        if let Error::Newer { .. } = error {
            self.newer.get_or_insert_with(|| error.clone());
        }
        (self.tell)(Event::Damage(finding_of(dir, error)));
    }

    fn note(&mut self, path: &Path, offset: impl Into<Option<u64>>, what: impl Into<String>) {
        self.notes += 1;
        (self.tell)(Event::Note(finding(path, offset, what)));
    }

    fn lost(&mut self, path: &Path, offset: impl Into<Option<u64>>, what: impl Into<String>) {
        self.losses += 1;
        (self.tell)(Event::Lost(finding(path, offset, what)));
    }

    fn did(&mut self, path: &Path, what: impl Into<String>) {
        (self.tell)(Event::Done(finding(path, None, what)));
    }

    fn progress(&mut self, bytes: u64) {
        self.done += bytes;
        self.total = self.total.max(self.done);
        (self.tell)(Event::Progress { done: self.done, total: self.total });
    }
}

fn finding(path: &Path, offset: impl Into<Option<u64>>, what: impl Into<String>) -> Finding {
    Finding { path: path.to_owned(), offset: offset.into(), what: what.into() }
}

/// An error of a reader, without the remedy that is meant for a start.
fn finding_of(dir: &Path, error: &Error) -> Finding {
    match error {
        Error::Corruption { path, offset, what } => {
            let what = what.strip_suffix(REMEDY).and_then(|what| what.strip_suffix("; "));
            let Error::Corruption { what: whole, .. } = error else { unreachable!("matched") };
            finding(path, *offset, what.unwrap_or(whole))
        }
        Error::Foreign { path, what } => finding(path, None, what),
        Error::Io { op, path, message, .. } => finding(path, None, format!("{op}: {message}")),
        Error::Newer { path, format, .. } => {
            let what =
                format!("format {format}, of a newer version of rusty-lsm: use that version");
            finding(path, None, what)
        }
        other => finding(dir, None, other.to_string()),
    }
}

/// A key as it stands in messages: escaped, and shortened.
pub fn show_key(key: &[u8]) -> String {
    match key.get(..KEY_BYTES_SHOWN) {
        Some(start) if start.len() < key.len() => {
            format!("\"{}\"... ({} bytes)", start.escape_ascii(), key.len())
        }
        _ => format!("\"{}\"", key.escape_ascii()),
    }
}

/// Verifies the shard in `dir`; the module's head says what. Every finding is told, and the look goes on.
///
/// # Errors
/// Only what leaves nothing to look at: the directory cannot be listed.
pub async fn check<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    tell: &mut dyn FnMut(Event),
) -> Result<Checked> {
    let mut report = Report::new(tell);
    let mut checked = Checked::default();
    let names = names(env, dir).await?;
    if is_new(&names) {
        checked.is_new = true;
        return Ok(checked);
    }
    if unfinished(&names).is_some() {
        report.damage(dir, None, "a repair was not finished; run it again");
    }
    let loaded = manifest(env, dir, identity, &names, &mut report).await;
    match &loaded {
        Some(loaded) => {
            let version = tables(env, dir, identity, loaded, &mut checked, &mut report).await?;
            if let Some(version) = version {
                order::verify(env, &version, &mut report).await?;
                close(version).await?;
            }
            log(env, dir, identity, loaded, &mut checked, &mut report).await;
            leftovers(dir, loaded, &names, &mut report);
        }
        None => unlisted(env, dir, identity, &names, &mut checked, &mut report).await?,
    }
    (checked.damages, checked.notes) = (report.damages, report.notes);
    Ok(checked)
}

/// Whether nothing is wrong with one table.
#[cfg(any(test, feature = "sim"))]
pub(crate) async fn table_is_sound<E: Env>(
    env: &E,
    path: PathBuf,
    identity: Identity,
    meta: &TableMeta,
) -> bool {
    let mut tell = |_| {};
    table::verify(env, path, identity, meta, &mut Report::new(&mut tell)).await.is_sound
}

/// The names in `dir`; none if it is absent.
async fn names<E: Env>(env: &E, dir: &Path) -> Result<Vec<String>> {
    match env.list(dir).await {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", dir, &error)),
    }
}

/// Step 1. `None`: what the manifest names is not known.
async fn manifest<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    names: &[String],
    report: &mut Report<'_>,
) -> Option<Loaded> {
    let loaded = match Manifest::read(env, dir, identity).await {
        Ok(loaded) => loaded,
        Err(error) => {
            report.error(dir, &error);
            return None;
        }
    };
    let path = crate::manifest::path(dir, loaded.number);
    if loaded.bytes_cut > 0 {
        let what = format!("a torn edit of {} bytes, never acknowledged", loaded.bytes_cut);
        report.note(&path, loaded.end, what);
    }
    if let Err(error) = check_unnamed(env, dir, identity, &loaded, names).await {
        report.error(dir, &error);
    }
    for (_, table) in loaded.state.version.tables() {
        if table.meta.seq_max > loaded.state.flushed_seq.0 {
            let what = format!(
                "table {} has operation {}, but tables are said to hold those up to {}",
                table.meta.number, table.meta.seq_max, loaded.state.flushed_seq.0
            );
            report.damage(&path, None, what);
        }
    }
    Some(loaded)
}

/// Step 2. Answers the open tables if all are sound.
async fn tables<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    loaded: &Loaded,
    checked: &mut Checked,
    report: &mut Report<'_>,
) -> Result<Option<Version<Rc<crate::table::Table<E>>>>> {
    let metas = || loaded.state.version.tables().map(|(_, table)| &table.meta);
    let log: u64 = loaded.state.wal.iter().map(|segment| segment.bytes).sum();
    report.total = metas().map(|meta| meta.bytes + meta.raw_bytes).sum::<u64>() + log;
    let (mut edit, mut opened, mut all_sound) = (VersionEdit::default(), Vec::new(), true);
    for (level, table) in loaded.state.version.tables() {
        checked.tables += 1;
        checked.entries += table.meta.entries;
        let path = crate::table::path(dir, table.meta.number);
        let verified = table::verify(env, path, identity, &table.meta, report).await;
        match verified.table.filter(|_| verified.is_sound) {
            Some(sound) => {
                edit.added.push((u8::try_from(level).unwrap_or(u8::MAX), table.meta.clone()));
                opened.push(sound);
            }
            None => all_sound = false,
        }
    }
    if !all_sound {
        return Ok(None);
    }
    let version = Version::default().apply(&edit, opened);
    version.map(Some).map_err(|what| Error::corruption(dir, 0, what))
}

async fn close<E: Env>(version: Version<Rc<crate::table::Table<E>>>) -> Result<()> {
    let handles: Vec<_> = version.tables().map(|(_, table)| Rc::clone(&table.handle)).collect();
    drop(version);
    for table in handles {
        if let Some(table) = Rc::into_inner(table) {
            table.close().await?;
        }
    }
    Ok(())
}

/// Step 4: as recovery will read it.
async fn log<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    loaded: &Loaded,
    checked: &mut Checked,
    report: &mut Report<'_>,
) {
    checked.segments = loaded.state.wal.len() as u64;
    checked.last_seq = loaded.state.flushed_seq.0;
    match replay(env, dir, identity, loaded, report).await {
        Ok(replayed) => {
            checked.operations = replayed.ops;
            checked.last_seq = replayed.last_seq.0;
            if replayed.bytes_cut > 0 {
                let path = crate::wal::path(dir, replayed.segment);
                let what = format!(
                    "a torn tail of {} bytes, as a power cut or kill leaves it; the next start cuts it",
                    replayed.bytes_cut
                );
                report.note(&path, replayed.end, what);
            }
        }
        Err(error) => report.error(dir, &error),
    }
}

/// All of the log, verified.
async fn replay<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    loaded: &Loaded,
    report: &mut Report<'_>,
) -> Result<crate::wal::reader::Replayed> {
    let state = &loaded.state;
    let mut replay =
        Replay::open(env, dir, identity, &state.wal, state.flushed_seq, state.clean_stop).await?;
    while let Some(frame) = replay.next_frame().await? {
        report.progress(frame.payload_bytes());
        env.pause().await;
    }
    Ok(replay.finish())
}

/// Step 5.
fn leftovers(dir: &Path, loaded: &Loaded, names: &[String], report: &mut Report<'_>) {
    let state = &loaded.state;
    for name in names {
        let is_live = match FileName::parse(name) {
            Some(FileName::Table(number)) => {
                state.version.tables().any(|(_, table)| table.meta.number == number)
            }
            Some(FileName::Segment(number)) => {
                state.wal.iter().any(|segment| segment.number == number)
            }
            Some(FileName::Manifest(number)) => number == loaded.number,
            Some(FileName::Current) => true,
            Some(FileName::CurrentTmp) => false,
            None => {
                let what = if name.contains(QUARANTINE) {
                    "taken out by a repair; not needed any more"
                } else {
                    "not a file of a shard; it is left alone"
                };
                report.note(&dir.join(name), None, what);
                true
            }
        };
        if !is_live {
            let what = "an orphan: the manifest does not name it; the next start removes it";
            report.note(&dir.join(name), None, what);
        }
    }
}

/// Steps 2 and 4 without a manifest: each file by itself.
async fn unlisted<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    names: &[String],
    checked: &mut Checked,
    report: &mut Report<'_>,
) -> Result<()> {
    for name in names {
        match FileName::parse(name) {
            Some(FileName::Table(number)) => {
                checked.tables += 1;
                let path = crate::table::path(dir, number);
                if let Some(meta) = described(env, &path, identity, number, report).await {
                    checked.entries += meta.entries;
                    table::verify(env, path, identity, &meta, report).await;
                }
            }
            Some(FileName::Segment(number)) => {
                checked.segments += 1;
                let path = crate::wal::path(dir, number);
                match Walk::open(env, path, Magic::Segment, identity).await {
                    Ok(mut walk) => {
                        while let Some(piece) = walk.next().await? {
                            if let Piece::Frame { head, .. } = piece {
                                checked.operations += u64::from(head.ops);
                                report.progress(head.padded());
                            }
                        }
                        walk.close().await;
                    }
                    Err(error) => report.error(dir, &error),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a table says of itself, if it is the one that its name says.
async fn described<E: Env>(
    env: &E,
    path: &Path,
    identity: Identity,
    number: u64,
    report: &mut Report<'_>,
) -> Option<TableMeta> {
    match found::describe(env, path).await {
        Ok((whose, meta)) if whose == identity && meta.number == number => Some(meta),
        Ok((whose, meta)) => {
            let what = format!(
                "it is table {} of shard {} of directory {:032x}",
                meta.number, whose.shard, whose.directory
            );
            report.damage(path, None, what);
            None
        }
        Err(error) => {
            report.error(path, &error);
            None
        }
    }
}
