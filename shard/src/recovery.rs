//! Opening a shard: manifest -> tables -> WAL -> orphans.
//!
//! 1. [`inspect`] reads only: the manifest, that each file it names is there, whole in length and ours, and that no log
//!    is there that it should name. The server inspects all shards before it opens one, so a refusal has changed nothing
//!    on disk.
//! 2. [`Inspected::open`] begins a new manifest, replays the log in bounded memory (a full memtable is flushed on the
//!    way, and the edit makes that progress durable), and goes on in a new segment whose first frame names the end of the
//!    old ones.
//! 3. What no manifest names is removed.
//!
//! Killed anywhere in this, the next open does it again: each step is an edit that stands whole or not at all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::backlog::Pressure;
use crate::cache::BlockCache;
use crate::check::repair::unfinished;
use crate::commit::{Gather, Log, LogSync, Spare};
use crate::compaction::outputs::Site;
use crate::compaction::pace::{Abort, Pace};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::event::{Event, Turnstile};
use crate::flush;
use crate::key::{Identity, SeqNo};
use crate::limits::BACKGROUND_SLICE_US;
use crate::manifest::edit::VersionEdit;
use crate::manifest::version::Version;
use crate::manifest::{FileName, Loaded, Manifest, Numbers, State};
use crate::memtable::MemTable;
use crate::options::Options;
use crate::shard::{Background, Inner, Progress, Shard};
use crate::space::Space;
use crate::stall::Stall;
use crate::stats::Counters;
use crate::table::Table;
use crate::view::View;
use crate::wal::frame::{FrameHead, chain_frame};
use crate::wal::reader::{Replay, first_operation};
use crate::wal::segment::{Segment, sync_found};
use crate::wal::{Chain, REMEDY};

/// Live segments with which a shard starts without flushing what it replayed.
const RECOVERED_SEGMENTS_MAX: usize = 4;

/// What recovery found and did; the banner and the log show it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Tables that stand after it.
    pub tables: u64,
    /// Segments read.
    pub wal_segments: u64,
    /// Frames replayed.
    pub wal_frames: u64,
    /// Operations replayed.
    pub wal_ops: u64,
    /// Bytes of the log replayed.
    pub wal_bytes: u64,
    /// Bytes of the torn tail that was cut.
    pub bytes_cut: u64,
    /// Tables written while replaying.
    pub flushed_tables: u64,
    /// Files of ours removed because the manifest did not name them.
    pub orphans_removed: u64,
    /// Of `Inspected::open`: log, tables, orphans. The look at the manifest before it is not counted.
    pub duration: Duration,
}

/// A shard whose files were looked at and found in order; nothing was changed yet.
#[derive(Debug)]
pub struct Inspected<E: Env> {
    env: E,
    dir: PathBuf,
    identity: Identity,
    options: Options,
    /// `None`: a new shard.
    pub(crate) loaded: Option<Loaded>,
    /// The tables that the manifest names, in its order.
    pub(crate) tables: Vec<Rc<Table<E>>>,
    has_data: bool,
}

/// Looks at a shard's directory. I/O: reads the manifest; of each table what stays in memory; of each segment its start.
///
/// # Errors
/// `Corruption`, `Foreign` or `Io`, naming the file; nothing was changed.
pub async fn inspect<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    options: Options,
) -> Result<Inspected<E>> {
    let names = match env.list(dir).await {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("listing", dir, &error)),
    };
    if unfinished(&names).is_some() {
        let what = "a repair was not finished; run `rusty-lsm repair` on the data directory again";
        return Err(Error::Foreign { path: dir.to_owned(), what: what.to_owned() });
    }
    let mut tables = Vec::new();
    let mut has_data = false;
    let loaded = if is_new(&names) {
        None
    } else {
        let loaded = Manifest::read(env, dir, identity).await?;
        check_unnamed(env, dir, identity, &loaded, &names).await?;
        open_replay(env, dir, identity, &loaded.state).await?;
        for (_, table) in loaded.state.version.tables() {
            let opened = Table::open(env, dir, identity, &table.meta).await;
            tables.push(Rc::new(opened.map_err(with_remedy)?));
        }
        has_data = loaded.state.flushed_seq > SeqNo(0);
        for segment in &loaded.state.wal {
            has_data =
                has_data || first_operation(env, dir, identity, segment.number).await?.is_some();
        }
        Some(loaded)
    };
    let (env, dir) = (env.clone(), dir.to_owned());
    Ok(Inspected { env, dir, identity, options, loaded, tables, has_data })
}

/// A start that damage of a table ends says what to do; a read of a running server has no use for it.
fn with_remedy(error: Error) -> Error {
    match error {
        Error::Corruption { path, offset, what } => {
            Error::Corruption { path, offset, what: format!("{what}; {REMEDY}") }
        }
        // Absent: the manifest names it.
        Error::Io { path, kind: std::io::ErrorKind::NotFound, .. } => Error::corruption(
            &path,
            0,
            format!("the file is absent, though it is in use; {REMEDY}"),
        ),
        error => error,
    }
}

/// Whether no shard ever stood in a directory with these names: a first start that was cut short leaves a manifest
/// without `CURRENT`, and nothing else of ours.
pub(crate) fn is_new(names: &[String]) -> bool {
    names
        .iter()
        .filter_map(|name| FileName::parse(name))
        .all(|name| matches!(name, FileName::Manifest(_) | FileName::CurrentTmp))
}

/// A manifest that was cut short reads like one whose last edits were never written. But every file has its number
/// reserved, and every segment is listed, before it is used: a file that contradicts this is data that would be removed.
pub(crate) async fn check_unnamed<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    loaded: &Loaded,
    names: &[String],
) -> Result<()> {
    let state = &loaded.state;
    let cut = |name: &str, what: String| {
        let manifest = crate::manifest::path(dir, loaded.number);
        let what = format!("the edits end here, but {name} {what}; {REMEDY}");
        Err(Error::corruption(&manifest, loaded.end, what))
    };
    for name in names {
        let (number, is_segment) = match FileName::parse(name) {
            Some(FileName::Table(number)) => (number, false),
            Some(FileName::Segment(number)) => (number, true),
            _ => continue,
        };
        if number >= state.numbers_reserved {
            return cut(name, "has a number that was never given out".to_owned());
        }
        if !is_segment || state.wal.iter().any(|segment| segment.number == number) {
            continue;
        }
        let first = first_operation(env, dir, identity, number).await?;
        if let Some(first) = first.filter(|first| *first > state.flushed_seq) {
            return cut(name, format!("holds operation {}, which no table has", first.0));
        }
    }
    Ok(())
}

impl<E: Env> Inspected<E> {
    /// No shard was ever opened here.
    pub fn is_new(&self) -> bool {
        self.loaded.is_none()
    }

    /// Something was written to it.
    pub fn has_data(&self) -> bool {
        self.has_data
    }

    /// Opens the shard and starts its tasks. `progress` is told bytes of log replayed and their total.
    ///
    /// # Errors
    /// `Corruption` where the log is damaged (not merely torn at its end), `Io`; opening again is always safe.
    pub async fn open(self, mut progress: impl FnMut(u64, u64)) -> Result<(Shard<E>, Recovery)> {
        let Self { env, dir, identity, options, loaded, tables, has_data: _ } = self;
        let began = env.now();
        let mut report = Recovery::default();
        let manifest = if let Some(loaded) = loaded {
            Manifest::start(&env, &dir, identity, loaded).await?
        } else {
            env.create_dir(&dir).await.map_err(|error| Error::io("creating", &dir, &error))?;
            // Without this a power cut takes the whole shard, however well its files were synced.
            if let Some(parent) = dir.parent() {
                let synced = env.sync_dir(parent).await;
                synced.map_err(|error| Error::io("syncing", parent, &error))?;
            }
            Manifest::create(&env, &dir, identity).await?
        };
        for segment in &manifest.state().wal {
            sync_found(&env, &dir, segment.number).await?;
        }
        let numbers = Numbers::new();
        let replay = Replayer {
            site: Site { env: &env, dir: &dir, identity, options: &options.table, warm: None },
            memtable_bytes: options.memtable_bytes,
            verify: options.verify_tables,
            manifest: &manifest,
            numbers: &numbers,
        };
        let (memtable, replayed) = replay.run(&mut report, &mut progress).await?;
        let state = manifest.state();
        let version = open_tables(&env, &dir, identity, &state.version, &tables).await?;
        report.tables = version.tables().count() as u64;
        let last_seq = replayed.last_seq.max(state.flushed_seq);
        let mut log = Log::default();
        for segment in &state.wal {
            log.push(*segment, last_seq);
        }
        let cache_seed = env.random_u64();
        let shard = Shard {
            inner: Rc::new(Inner {
                cache: Rc::new(BlockCache::new(options.block_cache_bytes, cache_seed)),
                dir,
                identity,
                policy: Cell::new(options.sync),
                view: RefCell::new(Rc::new(View {
                    active: memtable,
                    sealed: Vec::new(),
                    version: Rc::new(version),
                })),
                manifest,
                numbers,
                progress: Progress {
                    last: Cell::new(last_seq),
                    written: Cell::new(last_seq),
                    durable: Cell::new(last_seq),
                    flushed: Cell::new(state.flushed_seq),
                    moved: Event::new(),
                },
                gather: RefCell::new(Gather::new()),
                log: RefCell::new(log),
                commit_wanted: Event::new(),
                sync: LogSync::new(env.now()),
                spare: RefCell::new(None),
                spare_wanted: Event::new(),
                making_segment: Turnstile::new(),
                clean_end: Cell::new(None),
                background: Background::default(),
                admission: Event::new(),
                stall: Stall::default(),
                pressure: Pressure::new(),
                quiet: Cell::new(false),
                views: Cell::new(0),
                table_memory_bytes: Cell::new(0),
                foresight: RefCell::default(),
                sketches: RefCell::default(),
                erasing: Cell::new(false),
                closing: Cell::new(false),
                sync_late: Cell::new(false),
                space: Space::default(),
                failure: RefCell::new(None),
                obsolete: RefCell::default(),
                counters: Counters::default(),
                options,
                env,
            }),
        };
        let segment = shard.begin_log(replayed.segment, replayed.end, last_seq).await?;
        shard.forget_flushed_segments().await?;
        // Before any task runs: a file that is being made is not an orphan.
        report.orphans_removed = shard.remove_orphans().await?;
        shard.start_log(segment);
        shard.start_background();
        shard.look_at_view();
        if shard.inner.log.borrow().live_segments() > RECOVERED_SEGMENTS_MAX {
            // Every start begins a segment: without this a server that is restarted again and again would replay more
            // each time, and fill the disk.
            shard.seal();
        }
        report.duration = shard.env().now().saturating_sub(began);
        Ok((shard, report))
    }
}

/// Where the log was found to end.
#[derive(Debug, Clone, Copy, Default)]
struct LogEnd {
    last_seq: SeqNo,
    segment: u64,
    end: u64,
}

struct Replayer<'a, E: Env> {
    site: Site<'a, E>,
    memtable_bytes: usize,
    verify: bool,
    manifest: &'a Manifest<E>,
    numbers: &'a Numbers,
}

/// The log that `state` names, from its beginning.
pub(crate) async fn open_replay<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    state: &State,
) -> Result<Replay<E>> {
    Replay::open(env, dir, identity, &state.wal, state.flushed_seq, state.clean_stop).await
}

impl<E: Env> Replayer<'_, E> {
    /// Applies every operation above `flushed_seq`. A memtable that fills up goes to a table, and the manifest knows it
    /// before the next one is filled: memory stays bounded, and a crash here loses no progress.
    async fn run(
        self,
        report: &mut Recovery,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<(Rc<MemTable>, LogEnd)> {
        let state = self.manifest.state();
        let total_bytes = state.wal.iter().map(|segment| segment.bytes).sum();
        let Site { env, dir, identity, .. } = self.site;
        let mut memtable = Rc::new(MemTable::new(env.random_u64()));
        let mut replay = open_replay(env, dir, identity, &state).await?;
        let mut slice_began = env.now();
        let mut bytes_read = 0;
        loop {
            let Some(frame) = replay.next_frame().await? else { break };
            for (seq, op) in frame.unflushed() {
                memtable.insert(seq, op);
            }
            bytes_read += frame.payload_bytes();
            let slice = env.now().saturating_sub(slice_began).as_micros();
            if slice >= u128::from(BACKGROUND_SLICE_US) {
                progress(bytes_read, total_bytes);
                env.pause().await;
                slice_began = env.now();
            }
            if memtable.bytes() >= self.memtable_bytes {
                report.flushed_tables += self.flush(&memtable).await?;
                memtable = Rc::new(MemTable::new(env.random_u64()));
            }
        }
        let done = replay.finish();
        report.wal_segments = state.wal.len() as u64;
        report.wal_frames = done.frames;
        report.wal_ops = done.ops;
        report.wal_bytes = done.bytes;
        report.bytes_cut = done.bytes_cut;
        if done.bytes_cut > 0 {
            tracing::warn!(
                shard = identity.shard,
                segment = done.segment,
                offset = done.end,
                bytes = done.bytes_cut,
                "the write-ahead log had a torn tail, as after a power cut or kill; it was cut"
            );
        }
        Ok((memtable, LogEnd { last_seq: done.last_seq, segment: done.segment, end: done.end }))
    }

    async fn flush(&self, memtable: &Rc<MemTable>) -> Result<u64> {
        memtable.seal();
        let pace = Pace::new(self.site.env, Abort::default());
        let numbers = async || self.numbers.next(self.manifest).await;
        let verify = self.verify;
        let flushed =
            flush::build(&self.site, Rc::clone(memtable), &pace, &numbers, verify, &|_| {}).await?;
        let tables = flushed.tables.len() as u64;
        let edit = VersionEdit {
            added: flushed.tables.into_iter().map(|meta| (0, meta)).collect(),
            flushed_seq: Some(memtable.last_seq().0),
            ..VersionEdit::default()
        };
        self.manifest.append(&edit).await?;
        Ok(tables)
    }
}

async fn open_tables<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    metas: &Version<()>,
    inspected: &[Rc<Table<E>>],
) -> Result<Version<Rc<Table<E>>>> {
    let inspected: BTreeMap<u64, &Rc<Table<E>>> =
        inspected.iter().map(|table| (table.number(), table)).collect();
    let mut edit = VersionEdit::default();
    let mut opened = Vec::new();
    for (level, table) in metas.tables() {
        opened.push(match inspected.get(&table.meta.number) {
            Some(table) => Rc::clone(table),
            // Written by the replay.
            None => Rc::new(Table::open(env, dir, identity, &table.meta).await?),
        });
        edit.added.push((u8::try_from(level).unwrap_or(u8::MAX), table.meta.clone()));
    }
    Version::default().apply(&edit, opened).map_err(|what| Error::corruption(dir, 0, what))
}

impl<E: Env> Shard<E> {
    /// Goes on in a new segment: one that was read is never written again.
    async fn begin_log(&self, previous: u64, end: u64, last_seq: SeqNo) -> Result<Segment<E>> {
        let (segment, meta) = Spare::make(self, 0).await?.into_parts();
        let inner = &self.inner;
        let head = FrameHead {
            identity: inner.identity,
            segment: segment.number(),
            epoch: segment.epoch(),
            offset: segment.next_offset(),
            first_seq: SeqNo(0),
            synced_upto: 0,
            grain_bytes: segment.grain_bytes(),
        };
        let chain = chain_frame(Chain { segment: previous, end, last_seq }, head);
        segment.write(chain).await.0?;
        segment.sync_to(segment.next_offset()).await?;
        inner.log.borrow_mut().push(meta, last_seq);
        Ok(segment)
    }

    /// Segments whose operations are all in tables are not needed. I/O: one manifest edit, if there are any.
    async fn forget_flushed_segments(&self) -> Result<()> {
        let inner = &self.inner;
        let first = inner.log.borrow().first_live(inner.progress.flushed.get());
        let live = inner.log.borrow().live_segments();
        let Some(first) = first.filter(|_| live > 1) else { return Ok(()) };
        if inner.log.borrow_mut().drop_below(first).is_empty() {
            return Ok(());
        }
        let edit = VersionEdit { wal_first_live: Some(first), ..VersionEdit::default() };
        inner.manifest.append(&edit).await
    }

    /// Removes the files of ours that the manifest does not name. Files of other names are left alone, with a word.
    async fn remove_orphans(&self) -> Result<u64> {
        let inner = &self.inner;
        let names = inner
            .env
            .list(&inner.dir)
            .await
            .map_err(|error| Error::io("listing", &inner.dir, &error))?;
        let state = inner.manifest.state();
        let mut removed = 0;
        for name in names {
            let is_live = match FileName::parse(&name) {
                Some(FileName::Table(number)) => {
                    state.version.tables().any(|(_, table)| table.meta.number == number)
                }
                Some(FileName::Segment(number)) => {
                    state.wal.iter().any(|segment| segment.number == number)
                }
                // The manifest's own files are its own business.
                Some(FileName::Manifest(_) | FileName::Current | FileName::CurrentTmp) => true,
                None => {
                    let dir = inner.dir.display();
                    tracing::warn!(%dir, name, "a file that is not ours; left alone");
                    true
                }
            };
            if !is_live {
                let path = inner.dir.join(&name);
                inner
                    .env
                    .remove(&path)
                    .await
                    .map_err(|error| Error::io("removing", &path, &error))?;
                removed += 1;
            }
        }
        if removed > 0 {
            inner
                .env
                .sync_dir(&inner.dir)
                .await
                .map_err(|error| Error::io("syncing", &inner.dir, &error))?;
        }
        Ok(removed)
    }
}
