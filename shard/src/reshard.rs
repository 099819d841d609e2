//! The keys of some shards in others, by another table of slots: read in key order over all sources, written as one sorted run a
//! target. Offline; nothing is written to a source but what a start writes.
//!
//! # The steps, for [`copy`]
//! 1. Each target has a manifest; a new one is made. The largest key in its tables is how far it has come: what a killed
//!    copy has left is gone on with, and files that the manifest does not name are removed.
//! 2. One merge over all sources gives each live key once, in order. Its target takes it unless it has come further already.
//! 3. A table that is full is synced, and an edit adds it to the last level.
//! 4. When all is there, an edit says up to which operation: the largest of all sources. Then the target is complete.
//!
//! [`compare`] reads both sides again, side by side.
//!
//! # Invariants
//! - A target is complete, or says how far it has come; killed anywhere, the next call goes on from there.
//! - Every key keeps its value, its end and its sequence number. Keys of different sources may have the same number then: nothing
//!   orders two keys by it, and every later operation has a larger one.

use std::cmp::Ordering;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::check::{Event, show_key};
use crate::compaction::outputs::{Outputs, Site};
use crate::compaction::pace::{Abort, Pace, entry_bytes};
use crate::cursor::Direction;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{Identity, SeqNo};
use crate::limits::LEVELS;
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::{FileName, Manifest, Numbers};
use crate::options::{Options, TableOptions};
use crate::recovery::is_new;
use crate::scan::{LiveEntry, Range, Scan};
use crate::shard::Shard;
use crate::table;

/// Options for a shard that is only read: no memory to speak of, and a log of the least length.
pub fn reading_options(table: TableOptions) -> Options {
    Options {
        memtable_bytes: 16 << 20,
        block_cache_bytes: 4 << 20,
        wal_segment_bytes: 64 << 10,
        table,
        ..Options::default()
    }
}

/// A shard to be made.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its directory; made if it is absent.
    pub dir: PathBuf,
    /// Of the new data directory.
    pub identity: Identity,
}

/// What [`compare`] has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Keys, each with the same value, end and number on both sides.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// One target while it is written.
struct Side<E: Env> {
    dir: PathBuf,
    identity: Identity,
    manifest: Manifest<E>,
    numbers: Numbers,
    /// Every key up to this one is there.
    upto: Option<Vec<u8>>,
}

/// Writes every live key of `sources` into the target that `route` names for it, by its place in `targets`.
///
/// I/O: reads all blocks of the sources once, writes their live part. `tell` hears of the progress, in bytes of keys and values.
///
/// # Errors
/// `Io`, above all for want of space; what a reader of a source says. The next call goes on where this one ended.
pub async fn copy<E: Env>(
    env: &E,
    sources: &[Shard<E>],
    targets: &[Target],
    route: &dyn Fn(&[u8]) -> usize,
    table: &TableOptions,
    tell: &mut dyn FnMut(Event),
) -> Result<()> {
    let last_seq = sources.iter().map(Shard::last_seq).max().unwrap_or_default();
    let mut sides = Vec::with_capacity(targets.len());
    for target in targets {
        sides.push(open_side(env, target, last_seq).await?);
    }
    // Each of the targets that are not complete has come this far.
    let from = sides.iter().flatten().map(|side| side.upto.as_deref()).min().flatten();
    let from = from.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()));
    let range = Range { from, to: Bound::Unbounded };
    // Boxed: the builders make it many kilobytes, which every caller's future would hold.
    Box::pin(write(env, sources, &sides, range, route, table, tell)).await?;
    for side in sides.into_iter().flatten() {
        let flushed_seq = Some(last_seq.0);
        side.manifest.append(&VersionEdit { flushed_seq, ..VersionEdit::default() }).await?;
        side.manifest.close().await?;
    }
    Ok(())
}

/// Steps 2 and 3.
async fn write<E: Env>(
    env: &E,
    sources: &[Shard<E>],
    sides: &[Option<Side<E>>],
    range: Range,
    route: &dyn Fn(&[u8]) -> usize,
    table: &TableOptions,
    tell: &mut dyn FnMut(Event),
) -> Result<()> {
    if sides.iter().all(Option::is_none) {
        return Ok(());
    }
    let rooms: Vec<_> = sides
        .iter()
        .map(|side| {
            let Side { dir, identity, .. } = side.as_ref()?;
            Some(Site { env, dir, identity: *identity, options: table, warm: None })
        })
        .collect();
    let numbers: Vec<_> = sides
        .iter()
        .map(|side| {
            async move || match side {
                Some(target) => target.numbers.next(&target.manifest).await,
                None => Err(Error::Closing),
            }
        })
        .collect();
    let begin = |at: usize| rooms[at].as_ref().map(|room| Outputs::new(room, &numbers[at]));
    let mut outputs: Vec<_> = (0..sides.len()).map(begin).collect();
    let mut progress = Progress::of(sources, tell);
    let pace = Pace::new(env, Abort::default());
    let mut scans = begin_all(sources, &range).await?;
    while let Some(at) = smallest(&scans) {
        let Some(entry) = scans[at].stored() else { unreachable!("the smallest is there") };
        let bytes = entry_bytes(&entry);
        let to = route(entry.key);
        if let (Some(side), Some(output)) = (&sides[to], &mut outputs[to])
            && side.upto.as_deref().is_none_or(|upto| entry.key > upto)
        {
            output.add(&entry).await?;
            if output.current_bytes() >= table.table_bytes {
                install(side, output.finish().await?).await?;
                outputs[to] = begin(to);
            }
        }
        progress.add(bytes);
        pace.after(bytes).await?;
        scans[at].next().await?;
    }
    for (side, output) in sides.iter().zip(outputs) {
        if let (Some(side), Some(mut output)) = (side, output) {
            install(side, output.finish().await?).await?;
        }
    }
    Ok(())
}

/// Reads `sources` and `targets` again, side by side: each key is on both, with the same value, end and number, and in the
/// target that `route` names. A key that has ended since may be on one alone.
///
/// I/O: reads all blocks of both sides once.
///
/// # Errors
/// `Corruption` names the first difference; what a reader says.
pub async fn compare<E: Env>(
    env: &E,
    sources: &[Shard<E>],
    targets: &[Shard<E>],
    route: &dyn Fn(&[u8]) -> usize,
    tell: &mut dyn FnMut(Event),
) -> Result<Compared> {
    let mut progress = Progress::of(sources, tell);
    let pace = Pace::new(env, Abort::default());
    let range = Range::all();
    let mut before = begin_all(sources, &range).await?;
    let mut after = begin_all(targets, &range).await?;
    let mut compared = Compared::default();
    loop {
        let (old, new) = (smallest(&before), smallest(&after));
        let left = old.and_then(|at| before[at].current());
        let right = new.and_then(|at| after[at].current());
        let order = match (left, right) {
            (None, None) => return Ok(compared),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.key.cmp(right.key),
        };
        let shown = if order.is_gt() { right } else { left };
        let Some(shown) = shown else { unreachable!("one of them is there") };
        let bytes = (shown.key.len() + shown.value.len()) as u64;
        let dir_of = |at: usize| targets[at].dir();
        let to = route(shown.key);
        if order.is_eq() {
            let is_same = left == right && new == Some(to);
            if !is_same {
                return Err(differs(dir_of(to), &shown, "is another one, or in another shard"));
            }
            compared.keys += 1;
            compared.bytes += bytes;
        } else if !has_ended(env, &shown) {
            let what = if order.is_lt() { "is missing" } else { "was never there" };
            return Err(differs(dir_of(to), &shown, what));
        }
        progress.add(bytes);
        pace.after(bytes).await?;
        if let (Some(at), true) = (old, order.is_le()) {
            before[at].next().await?;
        }
        if let (Some(at), true) = (new, order.is_ge()) {
            after[at].next().await?;
        }
    }
}

fn differs(dir: &Path, entry: &LiveEntry<'_>, what: &str) -> Error {
    Error::corruption(dir, 0, format!("key {} {what}", show_key(entry.key)))
}

fn has_ended<E: Env>(env: &E, entry: &LiveEntry<'_>) -> bool {
    entry.expires_at_ms != 0 && entry.expires_at_ms <= env.wall_ms()
}

/// Scans of all shards, each at its first key.
async fn begin_all<E: Env>(shards: &[Shard<E>], range: &Range) -> Result<Vec<Scan<E>>> {
    let mut scans = Vec::with_capacity(shards.len());
    for shard in shards {
        let mut scan = shard.scan(range.clone(), Direction::Forward);
        scan.next().await?;
        scans.push(scan);
    }
    Ok(scans)
}

/// The scan whose key is the smallest. No key is in two of them.
fn smallest<E: Env>(scans: &[Scan<E>]) -> Option<usize> {
    let keys = scans.iter().enumerate();
    keys.filter_map(|(at, scan)| Some((scan.stored()?.key, at))).min().map(|(_, at)| at)
}

/// Step 1. `None`: this target is complete.
async fn open_side<E: Env>(env: &E, target: &Target, last_seq: SeqNo) -> Result<Option<Side<E>>> {
    let Target { dir, identity } = target;
    let (dir, identity) = (dir.clone(), *identity);
    env.create_dir(&dir).await.map_err(|error| Error::io("creating", &dir, &error))?;
    if let Some(parent) = dir.parent() {
        let synced = env.sync_dir(parent).await;
        synced.map_err(|error| Error::io("syncing", parent, &error))?;
    }
    let names = env.list(&dir).await.map_err(|error| Error::io("listing", &dir, &error))?;
    let numbers = Numbers::new();
    if is_new(&names) {
        let manifest = Manifest::create(env, &dir, identity).await?;
        return Ok(Some(Side { dir, identity, manifest, numbers, upto: None }));
    }
    let loaded = Manifest::read(env, &dir, identity).await?;
    let tables = || loaded.state.version.tables().map(|(_, table)| &table.meta);
    if loaded.state.flushed_seq >= last_seq && last_seq > SeqNo(0) {
        return Ok(None);
    }
    let upto = tables().map(|meta| meta.largest.clone()).max();
    let live: Vec<u64> = tables().map(|meta| meta.number).collect();
    let manifest = Manifest::start(env, &dir, identity, loaded).await?;
    for name in &names {
        if let Some(FileName::Table(number)) = FileName::parse(name)
            && !live.contains(&number)
        {
            let path = table::path(&dir, number);
            env.remove(&path).await.map_err(|error| Error::io("removing", &path, &error))?;
        }
    }
    Ok(Some(Side { dir, identity, manifest, numbers, upto }))
}

/// Adds tables that are durable.
async fn install<E: Env>(side: &Side<E>, tables: Vec<TableMeta>) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let level = u8::try_from(LEVELS - 1).unwrap_or(u8::MAX);
    let added = tables.into_iter().map(|meta| (level, meta)).collect();
    side.manifest.append(&VersionEdit { added, ..VersionEdit::default() }).await
}

/// Bytes of keys and values, told now and then.
struct Progress<'a> {
    tell: &'a mut dyn FnMut(Event),
    done: u64,
    told: u64,
    total: u64,
}

/// Between two tellings.
const TOLD_EVERY_BYTES: u64 = 1 << 20;

impl<'a> Progress<'a> {
    fn of<E: Env>(shards: &[Shard<E>], tell: &'a mut dyn FnMut(Event)) -> Self {
        let tables = |shard: &Shard<E>| -> u64 {
            let view = shard.view();
            view.version.tables().map(|(_, table)| table.meta.raw_bytes).sum()
        };
        let total = shards.iter().map(tables).sum();
        Self { tell, done: 0, told: 0, total }
    }

    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done - self.told >= TOLD_EVERY_BYTES {
            self.told = self.done;
            (self.tell)(Event::Progress { done: self.done, total: self.total.max(self.done) });
        }
    }
}
