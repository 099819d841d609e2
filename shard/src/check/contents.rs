//! What a closed shard holds, in order, read by the engine's own readers: not a byte of the directory is changed, not even by
//! what a start would do first (a torn tail is stepped over, not cut; orphans stay).
//!
//! The log is replayed into memtables that are never flushed, those keys alone that are asked for: memory as large as that part
//! of the live log. Of the tables one large piece a run is held.
//!
//! # Invariants
//! - Reads only.
//! - What is shown is what a start would serve: damage where a start refuses is an error here, too.

use std::path::Path;
use std::rc::Rc;

use super::repair::{QUARANTINE, unfinished};
use crate::cursor::{Cursor, Direction, Step};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::expiry;
use crate::key::{Entry, Identity, Kind};
use crate::level::LevelCursor;
use crate::limits::LEVELS;
use crate::manifest::FileName;
use crate::manifest::edit::VersionEdit;
use crate::manifest::version::Version;
use crate::memtable::{MemCursor, MemTable};
use crate::merge::{Merge, Newest, Tombstones};
use crate::options::Options;
use crate::recovery::{Inspected, inspect, open_replay};
use crate::scan::{LiveEntry, Range};
use crate::table::Table;

/// A memtable that grew to this is followed by another one: an arena has its limits.
const MEMTABLE_BYTES: usize = 64 << 20;

/// One sorted run.
#[derive(Debug)]
enum Run<E: Env> {
    Mem(MemCursor),
    Level(Box<LevelCursor<E>>),
}

impl<E: Env> Cursor for Run<E> {
    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Mem(cursor) => cursor.entry(),
            Self::Level(cursor) => cursor.entry(),
        }
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        match self {
            Self::Mem(cursor) => cursor.seek(key),
            Self::Level(cursor) => cursor.seek(key),
        }
    }

    fn step(&mut self) -> Step {
        match self {
            Self::Mem(cursor) => cursor.step(),
            Self::Level(cursor) => cursor.step(),
        }
    }

    async fn load(&mut self) -> Result<()> {
        match self {
            Self::Mem(cursor) => cursor.load().await,
            Self::Level(cursor) => cursor.load().await,
        }
    }
}

/// The live keys of a closed shard, ascending. What had expired when it was opened is not there.
#[derive(Debug)]
pub struct Contents<E: Env> {
    newest: Newest<Merge<Run<E>>>,
    range: Range,
    now_ms: u64,
    started: bool,
    tables: Version<Rc<Table<E>>>,
}

impl<E: Env> Contents<E> {
    /// Opens what the manifest in `dir` names and replays the log. `None`: no shard was ever opened there. I/O: as a start,
    /// without its writes.
    ///
    /// # Errors
    /// What a start would refuse: `Corruption`, `Foreign`, `Newer`; `Io`.
    pub async fn open(
        env: &E,
        dir: &Path,
        identity: Identity,
        range: Range,
    ) -> Result<Option<Self>> {
        let Inspected { loaded, tables, .. } =
            inspect(env, dir, identity, Options::default()).await?;
        let Some(loaded) = loaded else { return Ok(None) };
        let state = &loaded.state;
        let mut edit = VersionEdit::default();
        for (level, table) in state.version.tables() {
            edit.added.push((u8::try_from(level).unwrap_or(u8::MAX), table.meta.clone()));
        }
        let tables = Version::default().apply(&edit, tables);
        let tables = tables.map_err(|what| Error::corruption(dir, 0, what))?;
        let mut memtables = vec![Rc::new(MemTable::new(env.random_u64()))];
        let mut replay = open_replay(env, dir, identity, state).await?;
        while let Some(frame) = replay.next_frame().await? {
            for (seq, op) in frame.unflushed().filter(|(_, op)| range.contains(op.key())) {
                if memtables.last().is_none_or(|last| last.bytes() >= MEMTABLE_BYTES) {
                    memtables.push(Rc::new(MemTable::new(env.random_u64())));
                }
                let Some(active) = memtables.last() else { unreachable!("one at least") };
                active.insert(seq, op);
            }
            env.pause().await;
        }
        let last_seq = replay.finish().last_seq.max(state.flushed_seq);
        let direction = Direction::Forward;
        let mut runs: Vec<Run<E>> =
            memtables.into_iter().map(|table| Run::Mem(MemCursor::new(table, direction))).collect();
        let [fresh, levels @ ..] = &tables.levels;
        let fresh = fresh.chunks(1).map(<[_]>::to_vec);
        for run in fresh.chain(levels.iter().filter(|level| !level.is_empty()).cloned()) {
            runs.push(Run::Level(Box::new(LevelCursor::cold(run, direction))));
        }
        let now_ms = env.wall_ms();
        let hide = Tombstones::Hide { now_ms };
        let newest = Newest::new(Merge::new(runs, direction), direction, last_seq, hide);
        Ok(Some(Self { newest, range, now_ms, started: false, tables }))
    }

    /// Moves to the first key, then to the next one.
    ///
    /// # Errors
    /// Reading or verifying a block; there is no position then.
    pub async fn advance(&mut self) -> Result<()> {
        if self.started {
            self.newest.next().await?;
        } else {
            self.started = true;
            let start = self.range.start(Direction::Forward);
            self.newest.seek(start.as_deref()).await?;
        }
        // A seek lands on an excluded bound itself.
        while self.newest.entry().is_some_and(|entry| self.range.is_excluded_start(entry.key)) {
            self.newest.next().await?;
        }
        Ok(())
    }

    /// The key stood on; `None` before the first and behind the last.
    pub fn entry(&self) -> Option<LiveEntry<'_>> {
        let Entry { key, seq, kind, value } = self.newest.entry()?;
        let live =
            expiry::live(kind, value, || self.now_ms).filter(|_| self.range.contains(key))?;
        Some(LiveEntry { key, seq, value: live.value, expires_at_ms: live.expires_at_ms })
    }

    /// Closes all files.
    ///
    /// # Errors
    /// `Io`.
    pub async fn close(self) -> Result<()> {
        for run in self.newest.into_cursor().into_sources() {
            if let Run::Level(cursor) = run {
                cursor.close().await?;
            }
        }
        super::close(self.tables).await
    }
}

/// What a closed shard is made of, without a look into its tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// No shard was ever opened here.
    pub is_new: bool,
    /// Tables of each level.
    pub level_tables: [u64; LEVELS],
    /// Their bytes on disk.
    pub level_bytes: [u64; LEVELS],
    /// Key and value bytes of all tables, before compression.
    pub raw_bytes: u64,
    /// Versions in tables, tombstones included.
    pub entries: u64,
    /// Those of them that are tombstones.
    pub tombstones: u64,
    /// Those of them whose values end.
    pub expiring: u64,
    /// Live segments of the log.
    pub segments: u64,
    /// Their length, as prewritten.
    pub log_bytes: u64,
    /// Operations in the log that no table holds yet.
    pub log_operations: u64,
    /// Those of them that are deletes.
    pub log_deletes: u64,
    /// Bytes of those operations.
    pub log_operation_bytes: u64,
    /// A torn tail, which the next start cuts, in bytes.
    pub torn_bytes: u64,
    /// The newest operation.
    pub last_seq: u64,
    /// The newest operation that is in tables.
    pub flushed_seq: u64,
    /// It was closed in order.
    pub is_closed_in_order: bool,
}

impl Outline {
    /// More keys than this there are not: every version that is no tombstone, as if each were of another key.
    pub fn keys_max(&self) -> u64 {
        (self.entries - self.tombstones) + (self.log_operations - self.log_deletes)
    }
}

/// Reads the manifest and the log of the shard in `dir`, and of each table what a start reads of it. Changes nothing.
///
/// # Errors
/// As [`Contents::open`].
pub async fn outline<E: Env>(env: &E, dir: &Path, identity: Identity) -> Result<Outline> {
    let Inspected { loaded, tables, .. } = inspect(env, dir, identity, Options::default()).await?;
    let Some(loaded) = loaded else { return Ok(Outline { is_new: true, ..Outline::default() }) };
    let state = &loaded.state;
    let mut outline = Outline {
        segments: state.wal.len() as u64,
        log_bytes: state.wal.iter().map(|segment| segment.bytes).sum(),
        flushed_seq: state.flushed_seq.0,
        is_closed_in_order: state.clean_stop.is_some(),
        ..Outline::default()
    };
    for (level, table) in state.version.tables() {
        outline.level_tables[level] += 1;
        outline.level_bytes[level] += table.meta.bytes;
        outline.raw_bytes += table.meta.raw_bytes;
        outline.entries += table.meta.entries;
        outline.tombstones += table.meta.tombstones;
        outline.expiring += table.meta.expiring.entries;
    }
    let mut replay = open_replay(env, dir, identity, state).await?;
    while let Some(frame) = replay.next_frame().await? {
        for (_, op) in frame.unflushed() {
            outline.log_operations += 1;
            outline.log_deletes += u64::from(op.kind() == Kind::Delete);
            outline.log_operation_bytes += (op.key().len() + op.stored_bytes()) as u64;
        }
        env.pause().await;
    }
    let replayed = replay.finish();
    outline.torn_bytes = replayed.bytes_cut;
    outline.last_seq = replayed.last_seq.max(state.flushed_seq).0;
    for table in tables {
        if let Some(table) = Rc::into_inner(table) {
            table.close().await?;
        }
    }
    Ok(outline)
}

/// Whether a file of this name in a shard's directory is one that the engine has made: a live one, an orphan, or what a repair
/// has taken out.
pub fn is_ours(name: &str) -> bool {
    let plain = name.split_once(QUARANTINE).map_or(name, |(plain, _)| plain);
    FileName::parse(plain).is_some() || unfinished(&[plain.to_owned()]).is_some()
}
