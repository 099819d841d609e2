//! Checkpoints: a second directory that holds a shard as it was at one moment, made while it goes on. And back: a shard out of one.
//!
//! # The steps
//! 1. All memtables are flushed up to the newest operation of now.
//! 2. Version and sequence number are pinned in one stretch: what flushes and compactions do from here on changes nothing of them.
//! 3. Each table gets a second name in the new directory (a hard link: no byte is copied).
//! 4. A manifest there names exactly these; then `CURRENT` names it. No log is needed: every operation up to the number is in
//!    tables.
//! 5. The pin goes. Tables that were merged away meanwhile are deleted here, and live on there.
//!
//! # Invariants
//! - `CURRENT` comes last, and everything is durable before it: a directory with one is whole.
//! - Nothing of the shard itself is changed but for the flush: whatever becomes of the checkpoint, the shard is in order.
//! - One number, one content: within one directory's identity no two tables or manifests ever have the same number, on
//!   whichever side of a restore. What is restored goes on far above all numbers that were given out (`leap`). So a file
//!   of one copy never passes for another one's, and copies by name and size (rsync) never mix two of them up.
//! - Whoever calls gives the directory its final name once all shards are done, and removes it when anything fails.

use std::io::ErrorKind;
use std::path::Path;

use crate::check::{Event, Finding};
use crate::env::{Env, File, IoBuf, Lane, Open, align_up, read_exact_at, write_all_at};
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::limits::IO_BYTES_MAX;
use crate::manifest::{Manifest, NUMBER_MAX, State};
use crate::shard::Shard;
use crate::table;

/// File numbers that a restored shard leaves out, at random, are fewer than this. Two copies that are restored from one
/// checkpoint meet with the chance of the files that they make in their lives to this: a million to a million millions.
const LEAP_MAX: u64 = 1 << 40;

/// What a checkpoint holds of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every operation up to this one, and none above it.
    pub last_seq: u64,
    /// Tables.
    pub tables: u64,
    /// Their bytes, which this checkpoint keeps on the disk for as long as it is there.
    pub bytes: u64,
}

impl Checkpoint {
    fn of(state: &State) -> Self {
        let tables = || state.version.tables().map(|(_, table)| table.meta.bytes);
        let (tables, bytes) = (tables().count() as u64, tables().sum());
        Self { last_seq: state.flushed_seq.0, tables, bytes }
    }
}

/// How tables come to a restored shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// As second names of the same bytes; copied where the file system cannot.
    Link,
    /// As copies.
    Copy,
}

impl<E: Env> Shard<E> {
    /// Makes a checkpoint of this shard in `dir`, which is absent or empty and lies on the same file system. Durable, its name
    /// in the directory above included, when it returns. Reads, writes, flushes and compactions go on meanwhile.
    ///
    /// It holds every operation that was applied before the call, and possibly some that came while it flushed.
    ///
    /// I/O: a flush of what is in memory; one link a table; a manifest.
    ///
    /// # Errors
    /// `ReadOnly`, `DiskFull`, `Closing`; `Io` when a name or the manifest cannot be made. What was made of `dir` is left there.
    pub async fn checkpoint(&self, dir: &Path) -> Result<Checkpoint> {
        let inner = &self.inner;
        let _under_way = UnderWay::of(self);
        // A flush would wait for space.
        if inner.space.is_full() {
            return Err(self.disk_full_error());
        }
        self.flush().await?;
        let number = self.next_number().await?;
        let env = &inner.env;
        make_dir(env, dir).await?;
        // The pin. No await between the three.
        if inner.closing.get() {
            return Err(Error::Closing);
        }
        let (view, state) = (self.view(), inner.manifest.state());
        assert_eq!(state.flushed_seq, inner.progress.flushed.get(), "both change in one stretch");
        for (_, table) in view.version.tables() {
            if inner.closing.get() {
                return Err(Error::Closing);
            }
            let from = table.handle.path();
            let to = table::path(dir, table.meta.number);
            let linked = env.link(from, &to).await;
            linked.map_err(|error| Error::io("making a second name for a table", &to, &error))?;
        }
        let state = State { wal: Vec::new(), clean_stop: None, ..State::clone(&state) };
        assert!(number < state.numbers_reserved, "reserved before its use");
        assert_eq!(state.version.tables().count(), view.version.tables().count(), "one moment");
        write_alone(env, dir, inner.identity, number, &state).await?;
        drop(view);
        self.collect_garbage().await;
        Ok(Checkpoint::of(&state))
    }
}

/// Keeps [`Shard::close`] waiting until a checkpoint that was begun has ended, which it does soon then.
struct UnderWay<'a, E: Env>(&'a Shard<E>);

impl<'a, E: Env> UnderWay<'a, E> {
    fn of(shard: &'a Shard<E>) -> Self {
        let tasks = &shard.inner.background.tasks;
        tasks.set(tasks.get() + 1);
        Self(shard)
    }
}

impl<E: Env> Drop for UnderWay<'_, E> {
    fn drop(&mut self) {
        self.0.task_ended();
    }
}

/// What a checkpoint in `dir` says that it holds. I/O: reads its manifest.
///
/// # Errors
/// As a start's look at a manifest; `Foreign` if it has a log: then it is a shard, and no checkpoint.
pub async fn read<E: Env>(env: &E, dir: &Path, identity: Identity) -> Result<Checkpoint> {
    load(env, dir, identity).await.map(|state| Checkpoint::of(&state))
}

/// Makes the shard that the checkpoint in `from` holds, in `to`, which is absent or empty. Durable, its name in the directory above
/// included, when it returns. Verifies nothing but the manifest: see [`check`](crate::check::check).
///
/// I/O: one link a table, or a read and a write of all; a manifest. `tell` hears of the progress, in bytes of tables.
///
/// # Errors
/// As [`read`]; `Io`. What was made of `to` is left there.
pub async fn restore<E: Env>(
    env: &E,
    from: &Path,
    to: &Path,
    identity: Identity,
    how: Transfer,
    tell: &mut dyn FnMut(Event),
) -> Result<Checkpoint> {
    let mut state = load(env, from, identity).await?;
    let held = Checkpoint::of(&state);
    make_dir(env, to).await?;
    let (mut how, mut done) = (how, 0);
    for (_, table) in state.version.tables() {
        let number = table.meta.number;
        let (source, target) = (table::path(from, number), table::path(to, number));
        how = transfer(env, &source, &target, how, tell).await?;
        done += table.meta.bytes;
        tell(Event::Progress { done, total: held.bytes });
    }
    let number = leap(state.numbers_reserved, env.random_u64());
    state.numbers_reserved = number + 1;
    write_alone(env, to, identity, number, &state).await?;
    Ok(held)
}

/// A number far above `reserved`, so that no other copy of the same directory gives it to a file, too.
fn leap(reserved: u64, random: u64) -> u64 {
    let number = reserved + random % LEAP_MAX;
    // Millions of restores, one of the other, lead there: then numbers go on as they are.
    if number < NUMBER_MAX / 2 { number } else { reserved }
}

async fn load<E: Env>(env: &E, dir: &Path, identity: Identity) -> Result<State> {
    let state = Manifest::read(env, dir, identity).await?.state;
    if !state.wal.is_empty() {
        let what = "it has a log: it is a shard of a data directory, and no checkpoint";
        return Err(Error::Foreign { path: dir.to_owned(), what: what.to_owned() });
    }
    Ok(state)
}

/// Makes `dir`, unless it is there and empty.
async fn make_dir<E: Env>(env: &E, dir: &Path) -> Result<()> {
    env.create_dir(dir).await.map_err(|error| Error::io("creating", dir, &error))?;
    let names = env.list(dir).await.map_err(|error| Error::io("listing", dir, &error))?;
    match names.first() {
        None => Ok(()),
        Some(name) => {
            let what = format!("there is something in it already ({name})");
            Err(Error::Foreign { path: dir.to_owned(), what })
        }
    }
}

/// Step 4: everything so far becomes durable, then `CURRENT`, then the directory's own name.
async fn write_alone<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    number: u64,
    state: &State,
) -> Result<()> {
    Manifest::write_alone(env, dir, identity, number, state).await?;
    if let Some(parent) = dir.parent() {
        let synced = env.sync_dir(parent).await;
        synced.map_err(|error| Error::io("syncing", parent, &error))?;
    }
    Ok(())
}

/// Brings one table; answers how the next one is to come.
async fn transfer<E: Env>(
    env: &E,
    source: &Path,
    target: &Path,
    how: Transfer,
    tell: &mut dyn FnMut(Event),
) -> Result<Transfer> {
    if how == Transfer::Link {
        match env.link(source, target).await {
            Ok(()) => return Ok(how),
            Err(error) if wants_copy(&error) => {
                let what =
                    format!("tables are copied from here on, since links are refused: {error}");
                tell(Event::Note(Finding { path: source.to_owned(), offset: None, what }));
            }
            Err(error) => return Err(Error::io("making a second name for", source, &error)),
        }
    }
    copy(env, source, target).await?;
    Ok(Transfer::Copy)
}

/// Another file system, one without links, or a file that has as many names as it may have.
fn wants_copy(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CrossesDevices
            | ErrorKind::Unsupported
            | ErrorKind::PermissionDenied
            | ErrorKind::TooManyLinks
    )
}

async fn copy<E: Env>(env: &E, source: &Path, target: &Path) -> Result<()> {
    let reading = |error: std::io::Error| Error::io("reading", source, &error);
    let writing = |error: std::io::Error| Error::io("writing", target, &error);
    let from = env.open(source, Open::Read, Lane::Cold).await.map_err(reading)?;
    let to = env.open(target, Open::CreateNew, Lane::Cold).await.map_err(writing)?;
    let bytes = from.len().await.map_err(reading)?;
    let mut at = 0;
    while at < bytes {
        let (piece, len) = piece(&from, at, bytes).await.map_err(reading)?;
        let (written, _buf) = write_all_at(&to, piece, at).await;
        written.map_err(writing)?;
        at += len;
        env.pause().await;
    }
    to.sync().await.map_err(writing)?;
    to.close().await.map_err(writing)?;
    // Read only: closing it can lose nothing.
    let _closed = from.close().await;
    Ok(())
}

/// The next piece of a file of `bytes` bytes, and its length. A copy by foreign hands may lack the padding at its end.
async fn piece<F: File>(file: &F, at: u64, bytes: u64) -> std::io::Result<(IoBuf, u64)> {
    let len = align_up(bytes - at).min(IO_BYTES_MAX as u64);
    let want = usize::try_from(len).unwrap_or(IO_BYTES_MAX);
    if at + len <= bytes {
        return Ok((read_exact_at(file, at, want).await?, len));
    }
    let (read, mut buf) = file.read_at(IoBuf::new(), at, want).await;
    read?;
    if (buf.len() as u64) < bytes - at {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    buf.resize(want, 0);
    Ok((buf, len))
}
