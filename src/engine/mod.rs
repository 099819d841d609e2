//! The embedded engine: the same shards on the same executors, without a socket.
//!
//! ```
//! use rusty_lsm::Engine;
//! # let dir = tempfile::tempdir_in(".")?;
//! # let dir = dir.path();
//! let engine = Engine::open(dir, 64 << 20)?;
//! engine.put(b"city", b"Bern")?;
//! assert_eq!(engine.get(b"city")?.as_deref(), Some(&b"Bern"[..]));
//! engine.delete(b"city")?;
//! assert_eq!(engine.get(b"city")?, None);
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A call travels to the shard of its key as a message (`mesh`) and runs on that core. What is in memory
//! is answered there and then; all else by a task. Opening and closing take the server's way (`server`), so the rules of both
//! are the same.
//!
//! - `call`: a call on its way, its answer, and who waits for it: a thread or a task. `on_core`: what it does there.
//! - `batch`, `keys`: what is sent. `scan`, `snapshot`: what is looked at longer.
//! - `options`, `error`, `asynch`: how it is opened, what can go wrong, the same as futures.
//!
//! # Invariants
//! - Every call is a future that works without any runtime; the blocking forms wait for it (`call::wait`).
//! - What calls of one thread do to one shard happens in the order of the calls, as long as each is awaited before the next.

mod asynch;
mod batch;
mod call;
mod error;
mod keys;
mod on_core;
mod options;
mod scan;
mod snapshot;

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use ::shard::cursor::Direction;
use ::shard::scan::Range;

use self::call::{Call, Expected, Parked, join, wait};
use self::keys::Keys;
use self::on_core::{Got, Looked};
use self::scan::{Merged, range_of};
use self::snapshot::Held;
use crate::command::Report;
use crate::config::LsmConfig;
use crate::mesh::Message;
use crate::server::Server;
use crate::start;

pub(crate) use self::on_core::CoreTools;
pub use ::shard::error::Error as ShardError;
pub use ::shard::options::{CompactionStyle, CompactionThresholds, SyncPolicy};
pub use asynch::AsyncEngine;
pub use batch::WriteBatch;
pub use call::{EngineFuture, block_on};
pub use error::{EngineError, Result};
pub use options::Options;
pub use scan::{AsyncScan, ScanIter};
pub use snapshot::{AsyncSnapshot, Snapshot};

/// Keys that one message of [`Engine::multi_get`] asks for: no message may hold a core for long.
const KEYS_PER_CALL: usize = 512;

#[derive(Debug)]
pub(crate) struct Inner {
    server: Server,
    /// Of scans and snapshots.
    next_id: AtomicU64,
    parked: Arc<Parked>,
}

/// A handle on a database in a directory; clones share it. The last one to be dropped closes it (a [`ScanIter`], a
/// [`Snapshot`], an [`AsyncEngine`] and an unfinished [`EngineFuture`] are handles, too); what was acknowledged is on disk by
/// then, closed or not.
///
/// Calls block the calling thread until the answer is there, and a write until it is durable: writes of several threads
/// share one sync, those of one thread wait for one each. [`Engine::asynch`] has the same calls as futures. Keys have at most
/// 64 KiB, values what [`Options::value_bytes_max`] says.
///
/// # What it costs
/// A call goes to the thread of its key's shard and back: some microseconds. Many keys at once ([`Engine::multi_get`],
/// [`Engine::write`]) share that way.
///
/// # What it does to its process
/// One thread pinned to each CPU that the process may use, with two more beside it for blocking calls, and a watchdog.
/// The limits of open files and of locked memory are raised as far as they may be, and `SIGURG` gets a handler that
/// does nothing. All of its threads end with it, and all of its descriptors are closed but one eventfd for each shard, which the runtime
/// keeps: a process that opens and closes databases thousands of times needs the room.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// let other = engine.clone();
/// let writer = std::thread::spawn(move || other.put(b"city", b"Bern"));
/// writer.join().expect("it does not panic")?;
/// assert_eq!(engine.get(b"city")?.as_deref(), Some(&b"Bern"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// Opens or creates the database in `dir`, with `memtable_bytes` of unflushed data in all, one shard for each CPU
    /// that the process may use (or as many as the directory was made with). All else is the server's default: every
    /// write is on disk before `put` returns, and the block cache may grow to most of a quarter of the machine's memory
    /// (of half of a container's). [`Options`] sets it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let dir = dir.path();
    /// let engine = rusty_lsm::Engine::open(dir, 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// drop(engine);
    /// let again = rusty_lsm::Engine::open(dir, 64 << 20)?;
    /// assert_eq!(again.get(b"city")?.as_deref(), Some(&b"Bern"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Locked`: another process has the directory open. `Start` says what is wrong with it or with the system, and the
    /// remedy.
    pub fn open(dir: impl AsRef<Path>, memtable_bytes: usize) -> Result<Self> {
        Options::new().memtable_bytes(memtable_bytes as u64).open(dir)
    }

    /// As [`Engine::open`], with all settings. Those of sockets, clients and logs mean nothing here; nothing is read from
    /// files or environment.
    ///
    /// ```
    /// use rusty_lsm::{Engine, config::LsmConfig};
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let dir = dir.path();
    /// let config = LsmConfig { data_dir: dir.into(), memory: Some(256 << 20), ..LsmConfig::default() };
    /// let engine = Engine::with_config(config)?;
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn with_config(config: LsmConfig) -> Result<Self> {
        let server = start::embedded(config).map_err(EngineError::start)?;
        let parked = Arc::new(Parked::default());
        let told = Arc::clone(&parked);
        server.when_a_core_ends(move || told.wake_all());
        Ok(Self { inner: Arc::new(Inner { server, next_id: AtomicU64::new(0), parked }) })
    }

    /// The same database, with calls that do not block.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// let db = engine.asynch();
    /// let put = async move { db.put(b"city", b"Bern").await };
    /// rusty_lsm::engine::block_on(put)?; // or any other executor
    /// assert!(engine.get(b"city")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn asynch(&self) -> AsyncEngine {
        AsyncEngine(Arc::clone(&self.inner))
    }

    /// Sets `key` to `value`. Returns when it is durable.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.put(b"city", b"Basel")?;
    /// assert_eq!(engine.get(b"city")?.as_deref(), Some(&b"Basel"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Shard`: the limits, a full disk, or a shard that is read-only.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        self.write(batch)
    }

    /// Sets `key` to `value`, to be absent once `ttl` is over. Returns when it is durable.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// use std::time::{Duration, SystemTime};
    /// engine.put_with_ttl(b"session", b"f00", Duration::from_secs(60))?;
    /// assert!(engine.expires_at(b"session")?.unwrap() > SystemTime::now());
    /// engine.put_with_ttl(b"session", b"f00", Duration::ZERO)?;
    /// assert_eq!(engine.get(b"session")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.put_with_ttl(key, value, ttl);
        self.write(batch)
    }

    /// Removes `key`, whether it is there or not. Returns when that is durable.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.delete(b"city")?;
    /// engine.delete(b"never there")?;
    /// assert_eq!(engine.get(b"city")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        self.write(batch)
    }

    /// Makes all writes of `batch`, and returns when they are durable: atomic within each shard, also in a crash, and shard
    /// by shard across them ([`WriteBatch`] has more). An empty one does nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put(b"{order:1}:item", b"tea");
    /// batch.put(b"{order:1}:price", b"3");
    /// engine.write(batch)?;
    /// assert_eq!(engine.prefix(b"{order:1}").count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::put`], the first of all shards; those parts that were taken stay.
    pub fn write(&self, batch: WriteBatch) -> Result<()> {
        wait(Arc::clone(&self.inner).write(batch), Expected::Later)
    }

    /// The value of `key`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// assert_eq!(engine.get(b"absent")?, None);
    /// engine.put(b"empty", b"")?;
    /// assert_eq!(engine.get(b"empty")?, Some(Vec::new()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Shard`: reading or verifying a block.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(wait(self.inner.get(key), Expected::Soon)?.map(|(value, _)| value))
    }

    /// When the value of `key` ends; `None`: never, or there is none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// use std::time::{Duration, SystemTime};
    /// engine.put_with_ttl(b"session", b"f00", Duration::from_secs(60))?;
    /// let end = engine.expires_at(b"session")?.unwrap();
    /// assert!(end <= SystemTime::now() + Duration::from_secs(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<SystemTime>> {
        Ok(wall_time(wait(self.inner.get(key), Expected::Soon)?))
    }

    /// The values of `keys`, in their order. Each shard is asked for up to 512 keys at a time, all shards at once: far cheaper
    /// than as many calls of [`Engine::get`], and no snapshot.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"a", b"1")?;
    /// let values = engine.multi_get(&["a", "b"])?;
    /// assert_eq!(values, [Some(b"1".to_vec()), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>> {
        wait(self.inner.multi_get(Keys::copied(keys)), Expected::Soon)
    }

    /// The live keys of `range` with their values, in order, whatever their shards. Each shard is seen at the one moment
    /// at which this call reached it: a write that was acknowledged before is seen, one that is made later is not.
    /// Errors of reading come out of the iterator.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"user:1", b"Ada")?;
    /// engine.put(b"user:2", b"Grace")?;
    /// engine.put(b"visit:1", b"today")?;
    /// let users = engine.scan("user:".."user;").collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(users.len(), 2);
    /// assert_eq!(users[0], (b"user:1".to_vec(), b"Ada".to_vec()));
    /// let all = engine.scan::<&[u8]>(..).count();
    /// assert_eq!(all, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// I/O: pages of at most 256 entries or 1 MiB (a larger value is a page of its own), fetched when they are needed.
    pub fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> ScanIter {
        self.begin(range_of(&range), Direction::Forward)
    }

    /// As [`Engine::scan`], from the last key of the range to the first.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// for day in ["2026-11-25", "2026-11-26", "2026-11-27"] {
    ///     engine.put(day.as_bytes(), b"")?;
    /// }
    /// let (newest, _) = engine.scan_reverse(..="2026-11-26").next().unwrap()?;
    /// assert_eq!(newest, b"2026-11-26");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan_reverse<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> ScanIter {
        self.begin(range_of(&range), Direction::Backward)
    }

    /// As [`Engine::scan`], of the keys that begin with `prefix`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"user:1", b"Ada")?;
    /// engine.put(b"visit:1", b"today")?;
    /// assert_eq!(engine.prefix(b"user:").count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefix(&self, prefix: &[u8]) -> ScanIter {
        self.begin(Range::prefix(prefix), Direction::Forward)
    }

    /// The database as it is now, to be read for as long as the snapshot lives. Costs one message to each shard; what it holds
    /// back, see [`Snapshot`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// let before = engine.snapshot()?;
    /// engine.delete(b"city")?;
    /// assert!(before.get(b"city")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Shard`: a log that failed. `Closed`.
    pub fn snapshot(&self) -> Result<Snapshot> {
        wait(Held::take(Arc::clone(&self.inner)), Expected::Later).map(Snapshot)
    }

    /// Writes what is in memory to tables, and returns when it is there. Nothing that was acknowledged needs it; opening after
    /// it is faster.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.flush()?;
    /// assert_eq!(engine.stats()?.lsm.tables, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Shard`: the disk, or a shard that is read-only.
    pub fn flush(&self) -> Result<()> {
        wait(Arc::clone(&self.inner).flush(), Expected::Later)
    }

    /// Flushes, and merges all tables of each shard into one level: nothing of what was deleted or overwritten is left. I/O:
    /// everything is read and written once, and meanwhile takes twice its space.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.delete(b"city")?;
    /// engine.compact()?;
    /// assert_eq!(engine.stats()?.lsm.tables, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::flush`]; then the tables are as they were.
    pub fn compact(&self) -> Result<()> {
        wait(Arc::clone(&self.inner).compact(), Expected::Later)
    }

    /// All that the server's INFO and STATS tell, of all shards and of each. What it says of clients and commands is of
    /// connections, which there are none of.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"a", b"1")?;
    /// let stats = engine.stats()?;
    /// assert_eq!(stats.keyspace.keys, 1);
    /// assert!(stats.lsm.memtable_bytes > 0);
    /// assert!(stats.shards.iter().all(|shard| shard.read_only.is_empty()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`.
    pub fn stats(&self) -> Result<Report> {
        wait(Arc::clone(&self.inner).stats(), Expected::Soon)
    }

    /// Makes a checkpoint of all shards in `dir`, which is absent and lies on the same file system: of each shard one moment, with
    /// all that was acknowledged before. Others go on meanwhile. Durable when it returns; `rusty-lsm restore` makes a database of it.
    ///
    /// ```
    /// # let parent = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(parent.path().join("db"), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.checkpoint(parent.path().join("monday"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Checkpoint`: the place cannot be used, another one is being made, or a shard failed.
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<()> {
        let made = self.inner.server.checkpoint(dir.as_ref());
        made.map(drop).map_err(|error| EngineError::Checkpoint(Arc::new(error)))
    }

    /// Closes the database if this is the last handle; else it stays open for the others. Nothing is flushed: the next
    /// open replays the log.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// engine.close()?;
    /// let again = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// assert!(again.get(b"city")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Shard`: a shard that had failed. `Stop`: a thread did not end in order.
    pub fn close(self) -> Result<()> {
        match Arc::into_inner(self.inner) {
            Some(inner) => inner.server.stop().map_err(EngineError::stop),
            None => Ok(()),
        }
    }

    fn begin(&self, range: Range, direction: Direction) -> ScanIter {
        ScanIter(Merged::begin(&self.inner, &Looked { range, direction, snapshot: None }))
    }
}

impl Inner {
    /// Sends work that has no answer; none to a core that is gone. Waits while an inbox is full, which empties within a pass of
    /// its core's loop.
    fn post(&self, core: usize, work: impl FnOnce(&CoreTools) + Send + 'static) {
        let mut message = Message::Call(Box::new(work));
        while !self.server.core_has_ended(core) {
            match self.server.door(core).send(message) {
                Ok(()) => return,
                Err(back) => message = back,
            }
            std::thread::yield_now();
        }
    }

    fn get(self: &Arc<Self>, key: &[u8]) -> Call<Got> {
        let (core, key) = (self.server.shard_of(key), key.to_vec());
        Call::new(self, core, move |tools, answer| tools.get(&key, answer))
    }

    fn multi_get(
        self: &Arc<Self>,
        keys: Keys,
    ) -> impl Future<Output = Result<Vec<Option<Vec<u8>>>>> + Send + use<> {
        let keys = Arc::new(keys);
        let mut places = vec![Vec::new(); self.server.shards()];
        for place in 0..keys.len() {
            places[self.server.shard_of(keys.get(place))].push(place);
        }
        let (mut asked, mut calls) = (Vec::new(), Vec::new());
        for (core, places) in places.iter().enumerate() {
            for some in places.chunks(KEYS_PER_CALL) {
                let (keys, places) = (Arc::clone(&keys), some.to_vec());
                asked.push(some.to_vec());
                calls.push(Call::new(self, core, move |tools, answer| {
                    tools.multi_get(&keys, &places, answer);
                }));
            }
        }
        async move {
            let mut values = vec![None; keys.len()];
            for (places, answer) in asked.into_iter().zip(join(calls).await) {
                for (place, value) in places.into_iter().zip(answer?) {
                    values[place] = value;
                }
            }
            Ok(values)
        }
    }

    async fn write(self: Arc<Self>, batch: WriteBatch) -> Result<()> {
        let mut places = vec![Vec::new(); self.server.shards()];
        for (place, key) in batch.keys().enumerate() {
            places[self.server.shard_of(key)].push(place);
        }
        let (all, batch) = (batch.len(), Arc::new(batch));
        let parts = places.into_iter().enumerate().filter(|(_, places)| !places.is_empty());
        let calls = parts.map(|(core, places)| {
            let batch = Arc::clone(&batch);
            let places = (places.len() < all).then_some(places);
            Call::new(&self, core, move |tools, answer| tools.write(batch, places, answer))
        });
        all_of(calls.collect()).await
    }

    async fn flush(self: Arc<Self>) -> Result<()> {
        let cores = 0..self.server.shards();
        let calls = cores.map(|core| Call::new(&self, core, CoreTools::flush));
        all_of(calls.collect()).await
    }

    async fn compact(self: Arc<Self>) -> Result<()> {
        let cores = 0..self.server.shards();
        let calls = cores.map(|core| Call::new(&self, core, CoreTools::compact));
        all_of(calls.collect()).await
    }

    async fn stats(self: Arc<Self>) -> Result<Report> {
        let cores = 0..self.server.shards();
        let ask = |core| Call::new(&self, core, move |tools, answer| tools.stats(core, answer));
        let answers = join(cores.map(ask).collect()).await;
        let cores = answers.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(self.server.report(&cores))
    }
}

/// All `calls` at once; the first error, once all have been answered.
async fn all_of(calls: Vec<Call<()>>) -> Result<()> {
    join(calls).await.into_iter().collect()
}

/// When what a key holds ends.
fn wall_time(got: Got) -> Option<SystemTime> {
    let (_, expires_at_ms) = got?;
    (expires_at_ms > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(expires_at_ms))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A panic on a core: calls to it fail, also those that wait already; the other core goes on; closing ends.
    #[test]
    fn a_core_that_died_is_an_error_and_holds_nothing_up() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let config = LsmConfig {
            data_dir: dir.path().join("d"),
            shards: Some(2),
            memory: Some(256 << 20),
            wal_segment_size: 1 << 20,
            ..LsmConfig::default()
        };
        let engine = Engine::with_config(config.clone()).unwrap();
        let key_of = |core| {
            let mut numbers = (0..1_000_u32).map(u32::to_le_bytes);
            numbers.find(|key| engine.inner.server.shard_of(key) == core).unwrap()
        };
        let keys = [key_of(0), key_of(1)];
        for key in keys {
            engine.put(&key, b"before").unwrap();
        }
        // A task of a runtime that waits for that core: nobody but the watchdog can wake it.
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_asked);
        engine.inner.post(1, move |_| {
            while !asked.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            panic!("on purpose, by a test");
        });
        let mut waiting = engine.asynch().get(&keys[1]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(std::future::poll_fn(|context| {
            let polled = Pin::new(&mut waiting).poll(context);
            is_asked.store(true, Ordering::Release);
            polled
        }));
        assert!(matches!(answer, Err(EngineError::Closed)));
        assert!(matches!(engine.get(&keys[1]), Err(EngineError::Closed)));
        assert!(matches!(engine.put(&keys[1], b"after"), Err(EngineError::Closed)));
        assert!(matches!(block_on(engine.asynch().get(&keys[1])), Err(EngineError::Closed)));
        assert!(engine.scan::<&[u8]>(..).any(|entry| matches!(entry, Err(EngineError::Closed))));
        // More than an inbox holds: nobody spins on a full one.
        for _ in 0..10_000 {
            engine.inner.post(1, |_| {});
        }
        engine.put(&keys[0], b"after").unwrap();
        assert_eq!(engine.get(&keys[0]).unwrap().unwrap(), b"after");
        assert!(matches!(engine.close(), Err(EngineError::Stop(_))));
        let engine = Engine::with_config(config).unwrap();
        assert_eq!(engine.get(&keys[0]).unwrap().unwrap(), b"after");
        assert_eq!(engine.get(&keys[1]).unwrap().unwrap(), b"before");
        engine.close().unwrap();
    }
}
