//! Makes [`super::check`] pass again on a shard that nobody has open.
//!
//! # What is taken out, and what is kept
//! - No byte of any file is changed. What is wrong with a file is mended by a new file under a new number, and a new
//!   manifest makes the change, whole or not at all. Files that it does not name any more get another name
//!   (`NNNNNN.sst.quarantine-..`), and stay. (A copy of everything would need the space of the whole data directory; and
//!   a copy of the damaged files is what the originals are.)
//! - A table with damaged blocks is written again without them, in its level; one that cannot be read at all goes.
//!   Its keys are told: they may be absent, or show an older value that lies in a level below.
//! - A log that a start refuses becomes tables of L0, up to the damage that may have held what no table has (`log`).
//! - A shard whose manifest cannot be believed is rebuilt from all of its tables (`rebuild`).
//!
//! # The steps
//! 1. Look, and say what is lost. Nothing is changed so far.
//! 2. A file `REPAIR-NNNNNN`, whose name is all it says: until it is gone a start is refused, and tables and
//!    manifests from that number on that are not in use are unfinished work.
//! 3. New tables. A copy of `CURRENT`. The manifest that names the new tables.
//! 4. Only then files get their quarantine names, and last `REPAIR-NNNNNN` goes.
//!
//! Killed anywhere in this, the next repair does it again.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::log::{Sink, Source, look, salvage};
use super::table::{BadBlock, Verified, verify};
use super::{Event, Report, names, replay, show_key};
use crate::compaction::outputs::{Outputs, Site};
use crate::compaction::pace::{Abort, Pace, entry_bytes};
use crate::env::{Env, File, IoBuf, Lane, Open, write_all_at};
use crate::error::{Error, Result};
use crate::key::{Identity, SeqNo};
use crate::limits::{ALIGN, IO_BYTES_MAX};
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::{FileName, Loaded, Manifest, State};
use crate::memtable::MemTable;
use crate::options::TableOptions;
use crate::recovery::{check_unnamed, is_new};
use crate::table::Table;
use crate::table::block::Window;
use crate::table::blocks::Blocks;
use crate::table::found::describe;

/// Begins the name of the file that says that a repair is under way.
const INTENT: &str = "REPAIR-";

/// Between the name of a file that was taken out and the time when it was.
pub const QUARANTINE: &str = ".quarantine-";

/// Bytes of the log in memory before they become a table.
const MEMTABLE_BYTES: usize = 16 << 20;

/// What a repair did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Whether anything was to be done.
    pub changed: bool,
    /// Events of kind `Damage`.
    pub damages: u64,
    /// Events of kind `Lost`.
    pub losses: u64,
}

/// The number from which on tables are unfinished work, if one of `names` says that a repair was not finished.
pub(crate) fn unfinished(names: &[String]) -> Option<u64> {
    names.iter().find_map(|name| name.strip_prefix(INTENT)?.parse().ok())
}

/// Repairs the shard in `dir`. What it takes out gets `stamp` behind [`QUARANTINE`] in its name. With `dry_run` it only
/// looks, and tells the same.
///
/// # Errors
/// `Io`, above all when the disk is full: the shard is as it was, or as it is to be; call it again. `Newer`.
pub async fn repair<E: Env>(
    env: &E,
    dir: &Path,
    stamp: &str,
    identity: Identity,
    dry_run: bool,
    tell: &mut dyn FnMut(Event),
) -> Result<Repaired> {
    let mut report = Report::new(tell);
    let mut names = names(env, dir).await?;
    let mut changed = false;
    if !is_new(&names) {
        let taken = names.iter().filter_map(|name| FileName::parse(name)?.number()).max();
        let mut room = Room {
            env,
            dir,
            stamp,
            identity,
            options: TableOptions::default(),
            next: Cell::new(taken.map_or(1, |number| number + 1)),
            unfinished: unfinished(&names),
        };
        if room.unfinished.is_some() {
            let left = room.left_over(&names).await;
            names.retain(|name| !left.contains(name));
            if !dry_run {
                room.take_out(&left, &mut report).await?;
            }
        }
        changed = match believed(&room, &names, &mut report).await {
            Some((loaded, is_current)) => {
                mend(&mut room, &loaded, is_current, dry_run, &mut report).await?
            }
            None => super::rebuild::rebuild(&mut room, &names, dry_run, &mut report).await?,
        };
    }
    Ok(Repaired { changed, damages: report.damages, losses: report.losses })
}

/// Makes an empty shard in `dir`, which has none: for one that is gone.
///
/// # Errors
/// `Io`; `Corruption` if a shard's files are there.
pub async fn make_empty<E: Env>(env: &E, dir: &Path, identity: Identity) -> Result<()> {
    env.create_dir(dir).await.map_err(|error| Error::io("create", dir, &error))?;
    if let Some(parent) = dir.parent() {
        env.sync_dir(parent).await.map_err(|error| Error::io("sync", parent, &error))?;
    }
    Manifest::create(env, dir, identity).await?.close().await
}

/// One shard's repair: its place and its numbers.
pub(super) struct Room<'a, E: Env> {
    pub env: &'a E,
    pub dir: &'a Path,
    pub stamp: &'a str,
    pub identity: Identity,
    pub options: TableOptions,
    pub next: Cell<u64>,
    /// See [`unfinished`].
    pub unfinished: Option<u64>,
}

/// Whether a file that `loaded` names is absent while a table stands there that it does not name. That one may hold what the
/// other did, by an edit that is gone: files are removed only once such an edit is durable.
async fn names_replaced_files<E: Env>(
    room: &Room<'_, E>,
    loaded: &Loaded,
    names: &[String],
) -> Option<Error> {
    let Room { env, dir, identity, .. } = *room;
    let there = |path: &PathBuf| names.iter().any(|name| path.ends_with(name));
    let in_use: BTreeSet<u64> =
        loaded.state.version.tables().map(|(_, table)| table.meta.number).collect();
    let tables = in_use.iter().map(|number| crate::table::path(dir, *number));
    let segments = loaded.state.wal.iter().map(|segment| crate::wal::path(dir, segment.number));
    let absent = tables.chain(segments).find(|path| !there(path))?;
    for name in names {
        let Some(FileName::Table(number)) = FileName::parse(name) else { continue };
        if in_use.contains(&number) {
            continue;
        }
        // An output of a merge that was never finished does not tell what it is.
        if let Ok((whose, meta)) = describe(env, &dir.join(name)).await
            && whose == identity
            && meta.number == number
        {
            let manifest = crate::manifest::path(dir, loaded.number);
            let what = format!(
                "edits are missing: it names {}, which is absent, and not {name}, which may hold the same",
                absent.display()
            );
            return Some(Error::corruption(&manifest, loaded.end, what));
        }
    }
    None
}

/// The manifest to go by, and whether `CURRENT` names it: the one in use, else the newest that is whole. One that lacks
/// edits is none.
async fn believed<E: Env>(
    room: &Room<'_, E>,
    names: &[String],
    report: &mut Report<'_>,
) -> Option<(Loaded, bool)> {
    let Room { env, dir, identity, .. } = *room;
    match Manifest::read(env, dir, identity).await {
        Ok(loaded) => match check_unnamed(env, dir, identity, &loaded, names).await {
            Ok(()) => match names_replaced_files(room, &loaded, names).await {
                None => return Some((loaded, true)),
                Some(error) => report.error(dir, &error),
            },
            Err(error) => report.error(dir, &error),
        },
        Err(error) => report.error(dir, &error),
    }
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| match FileName::parse(name) {
            Some(FileName::Manifest(number)) => Some(number),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        if let Ok(loaded) = Manifest::read_number(env, dir, identity, number).await
            && check_unnamed(env, dir, identity, &loaded, names).await.is_ok()
            && names_replaced_files(room, &loaded, names).await.is_none()
        {
            return Some((loaded, false));
        }
    }
    None
}

/// A table that is written again, or goes.
struct Patient<E: Env> {
    level: u8,
    meta: TableMeta,
    /// `None`: nothing of it can be used.
    table: Option<Rc<Table<E>>>,
}

/// With a manifest to go by.
async fn mend<E: Env>(
    room: &mut Room<'_, E>,
    loaded: &Loaded,
    is_current: bool,
    dry_run: bool,
    report: &mut Report<'_>,
) -> Result<bool> {
    let Room { env, dir, identity, .. } = *room;
    let state = &loaded.state;
    room.next.set(room.next.get().max(state.numbers_reserved));
    report.total = state.version.tables().map(|(_, table)| table.meta.bytes).sum();
    let mut patients = Vec::new();
    for (level, table) in state.version.tables() {
        let meta = table.meta.clone();
        let path = crate::table::path(dir, meta.number);
        let Verified { table, is_sound, is_ordered, bad } =
            verify(env, path.clone(), identity, &meta, report).await;
        if is_sound {
            continue;
        }
        let table = table.filter(|table| is_ordered && bad.len() < table.blocks());
        tell_loss(&path, &meta, table.is_some(), &bad, report);
        patients.push(Patient { level: u8::try_from(level).unwrap_or(u8::MAX), meta, table });
    }
    let log_error = replay(env, dir, identity, loaded, report).await.err();
    let segments: Vec<u64> = state.wal.iter().map(|segment| segment.number).collect();
    let source = Source {
        env,
        dir,
        identity,
        segments: &segments,
        floor: state.flushed_seq,
        taken: state.flushed_seq,
        known: SeqNo(state.clean_stop.map_or(0, |stop| stop.last_seq)),
    };
    if let Some(error) = &log_error {
        report.error(dir, error);
        let seen = look(&source).await?;
        tell_cut(&seen, report);
    }
    report.refuse_newer()?;
    let is_sound = is_current && patients.is_empty() && log_error.is_none();
    if is_sound && room.unfinished.is_none() {
        return Ok(false);
    }
    if dry_run {
        return Ok(true);
    }
    if is_sound {
        room.end(state, loaded.number, report).await?;
        return Ok(true);
    }
    room.begin(report).await?;
    let mut next = state.clone();
    next.clean_stop = None;
    let mut edit = VersionEdit::default();
    for patient in &patients {
        edit.removed.push((patient.level, patient.meta.number));
        if let Some(table) = &patient.table {
            let made = room.write_again(table).await?;
            edit.added.extend(made.into_iter().map(|meta| (patient.level, meta)));
        }
    }
    if log_error.is_some() {
        let numbers = async || Ok(room.number());
        let mut sink = room.sink(&numbers);
        let salvaged = salvage(&source, Some(&mut sink)).await?;
        edit.added.extend(sink.made.into_iter().map(|meta| (0, meta)));
        next.wal.clear();
        // Numbers of what is lost are not given again.
        next.flushed_seq = state.flushed_seq.max(salvaged.known).max(salvaged.upto);
        let what = format!("{} operations of the log are in tables now", salvaged.taken);
        report.did(dir, what);
    } else {
        next.clean_stop = state.clean_stop;
    }
    let version = state.version.apply(&edit, vec![(); edit.added.len()]);
    next.version = version.map_err(|what| Error::corruption(dir, 0, what))?;
    next.numbers_reserved = room.next.get();
    room.commit(next, &edit, report).await?;
    Ok(true)
}

/// Says which keys a table's damage concerns.
pub(super) fn tell_loss(
    path: &Path,
    meta: &TableMeta,
    is_kept: bool,
    bad: &[BadBlock],
    report: &mut Report<'_>,
) {
    const MAY: &str = "may be absent, or show an older value";
    if !is_kept {
        let (from, to) = (show_key(&meta.smallest), show_key(&meta.largest));
        let what = format!("keys {from} to {to} {MAY}: {} entries", meta.entries);
        report.lost(path, None, what);
        return;
    }
    for block in bad {
        report.lost(path, block.offset, format!("{} {MAY}", block.keys(&meta.smallest)));
    }
}

pub(super) fn tell_cut(seen: &super::log::Salvaged, report: &mut Report<'_>) {
    if let Some(cut) = &seen.cut {
        report.lost(&cut.path, cut.offset, cut.what());
    }
}

impl<E: Env> Room<'_, E> {
    /// A file number that no file has.
    pub(super) fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    pub(super) fn site(&self) -> Site<'_, E> {
        let Self { env, dir, identity, ref options, .. } = *self;
        Site { env, dir, identity, options, warm: None }
    }

    pub(super) fn sink<'s, N: AsyncFn() -> Result<u64>>(
        &'s self,
        numbers: &'s N,
    ) -> Sink<'s, E, &'s N>
    where
        &'s N: AsyncFn() -> Result<u64>,
    {
        Sink {
            site: self.site(),
            numbers,
            memtable: Rc::new(MemTable::new(self.env.random_u64())),
            memtable_bytes: MEMTABLE_BYTES,
            made: Vec::new(),
        }
    }

    /// What a killed repair has left: tables that the manifest in use does not name, and manifests that are not in use.
    /// One of those must not be believed without its tables.
    async fn left_over(&self, names: &[String]) -> Vec<String> {
        let Self { env, dir, identity, unfinished, .. } = *self;
        let loaded = Manifest::read(env, dir, identity).await.ok();
        let is_live = |number: u64| {
            let mut tables = loaded.iter().flat_map(|loaded| loaded.state.version.tables());
            tables.any(|(_, table)| table.meta.number == number)
        };
        let is_ours = |number: u64| unfinished.is_some_and(|first| number >= first);
        let left = names.iter().filter(|name| match FileName::parse(name) {
            Some(FileName::Table(number)) => is_ours(number) && !is_live(number),
            Some(FileName::Manifest(number)) => {
                is_ours(number) && loaded.as_ref().is_none_or(|loaded| loaded.number != number)
            }
            _ => false,
        });
        left.cloned().collect()
    }

    /// Step 2, and the copy of `CURRENT`.
    pub(super) async fn begin(&mut self, report: &mut Report<'_>) -> Result<()> {
        let Self { env, dir, .. } = *self;
        if self.unfinished.is_none() {
            let first = self.next.get();
            let path = self.intent(first);
            let failed = |error| Error::io("create", &path, &error);
            let file = env.open(&path, Open::CreateNew, Lane::Cold).await.map_err(failed)?;
            file.close().await.map_err(failed)?;
            env.sync_dir(dir).await.map_err(|error| Error::io("sync", dir, &error))?;
            self.unfinished = Some(first);
        }
        let current = dir.join("CURRENT");
        if let Err(error) = copy(env, &current, &self.quarantined("CURRENT")).await {
            report.note(&current, None, format!("it could not be copied: {error}"));
        }
        Ok(())
    }

    fn intent(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{INTENT}{first:06}"))
    }

    fn quarantined(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{QUARANTINE}{}", self.stamp))
    }

    /// A table without the blocks of `table` that cannot be read; none if that leaves nothing.
    pub(super) async fn write_again(&self, table: &Rc<Table<E>>) -> Result<Vec<TableMeta>> {
        let numbers = async || Ok(self.number());
        let site = self.site();
        let mut outputs = Outputs::new(&site, &numbers);
        let pace = Pace::new(self.env, Abort::default());
        let mut blocks = Blocks::open(Rc::clone(table)).await?;
        let mut window = Window::default();
        while let Some((_, _, block)) = blocks.next().await {
            let Ok(block) = block else { continue };
            for restart in 0..block.restarts() {
                block.window(restart, &mut window);
                for index in 0..window.len() {
                    let Some(entry) = window.entry(index, &block) else { continue };
                    outputs.add(&entry).await?;
                    pace.after(entry_bytes(&entry)).await?;
                }
            }
        }
        drop(blocks);
        outputs.finish().await
    }

    /// Steps 3 and 4, once the new tables are there.
    pub(super) async fn commit(
        &self,
        state: State,
        edit: &VersionEdit,
        report: &mut Report<'_>,
    ) -> Result<()> {
        let Self { env, dir, identity, .. } = *self;
        for (_, meta) in &edit.added {
            report.did(&crate::table::path(dir, meta.number), "a new table");
        }
        let (state, manifest) = Manifest::replace_all(env, dir, identity, state).await?;
        report.did(&crate::manifest::path(dir, manifest), "a new manifest, in use now");
        self.end(&state, manifest, report).await
    }

    /// Step 4.
    async fn end(&self, state: &State, manifest: u64, report: &mut Report<'_>) -> Result<()> {
        let Self { env, dir, .. } = *self;
        let mut names = names(env, dir).await?;
        names.retain(|name| match FileName::parse(name) {
            Some(FileName::Table(number)) => {
                !state.version.tables().any(|(_, table)| table.meta.number == number)
            }
            Some(FileName::Segment(number)) => {
                !state.wal.iter().any(|segment| segment.number == number)
            }
            Some(FileName::Manifest(number)) => number != manifest,
            Some(FileName::CurrentTmp) => true,
            Some(FileName::Current) | None => false,
        });
        self.take_out(&names, report).await?;
        if let Some(first) = self.unfinished {
            let path = self.intent(first);
            env.remove(&path).await.map_err(|error| Error::io("remove", &path, &error))?;
        }
        env.sync_dir(dir).await.map_err(|error| Error::io("sync", dir, &error))
    }

    async fn take_out(&self, names: &[String], report: &mut Report<'_>) -> Result<()> {
        let Self { env, dir, .. } = *self;
        for name in names {
            let (from, to) = (dir.join(name), self.quarantined(name));
            env.rename(&from, &to).await.map_err(|error| Error::io("rename", &from, &error))?;
            report.did(&from, "taken out, and kept in the quarantine");
        }
        env.sync_dir(dir).await.map_err(|error| Error::io("sync", dir, &error))
    }
}

/// Copies a small file, whole blocks of it; an older copy is kept: it is the original.
async fn copy<E: Env>(env: &E, from: &Path, to: &Path) -> std::io::Result<()> {
    let source = match env.open(from, Open::Read, Lane::Cold).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let (read, mut bytes) = source.read_at(IoBuf::new(), 0, IO_BYTES_MAX).await;
    source.close().await?;
    read?;
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    let target = match env.open(to, Open::CreateNew, Lane::Cold).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        opened => opened?,
    };
    let (written, _bytes) = write_all_at(&target, bytes, 0).await;
    written?;
    target.sync().await?;
    target.close().await
}
