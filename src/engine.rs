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
//! is answered there and then; all else by a task of its own. Opening and closing take the server's way
//! (`server`), so the rules of both are the same.

use std::cell::RefCell;
use std::collections::HashMap;
use std::iter::{FusedIterator, Peekable};
use std::net::Ipv4Addr;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use shard::batch::Op;
use shard::cursor::Direction;
use shard::env::glommio::GlommioEnv;
use shard::env::{Env as _, Queue};
use shard::limits::BACKGROUND_SLICE_US;
use shard::read::Read;
use shard::scan::{Range, Scan};
use shard::shard::Shard;

use crate::config::LsmConfig;
use crate::error::ServerError;
use crate::mesh::Message;
use crate::net::listeners::MoreListeners;
use crate::server::{LIFE_CHECK, Server};
use crate::start;

/// Entries that a scan fetches from a shard at a time.
const PAGE_ENTRIES: usize = 256;

/// Bytes of keys and values after which a page ends early: large values must not gather.
const PAGE_BYTES: usize = 1 << 20;

/// What a core offers to calls from other threads.
pub(crate) struct CoreTools {
    shard: Shard<GlommioEnv>,
    env: GlommioEnv,
    /// Scans between two pages.
    scans: Rc<RefCell<HashMap<u64, Scan<GlommioEnv>>>>,
}

impl std::fmt::Debug for CoreTools {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CoreTools").finish_non_exhaustive()
    }
}

impl CoreTools {
    pub(crate) fn new(shard: Shard<GlommioEnv>, env: GlommioEnv) -> Self {
        Self { shard, env, scans: Rc::default() }
    }

    /// For a task of its own.
    pub(crate) fn parts(&self) -> (Shard<GlommioEnv>, &GlommioEnv) {
        (self.shard.clone(), &self.env)
    }
}

/// Why a call on the engine failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine could not be started.
    #[error("{0}")]
    Start(String),
    /// The shard of the key refused or failed.
    #[error(transparent)]
    Shard(#[from] shard::error::Error),
    /// No checkpoint was made.
    #[error("{0}")]
    Checkpoint(String),
    /// A core has ended without being told to; the log says why.
    #[error("the engine is closed")]
    Closed,
    /// The engine's threads did not end in order. Acknowledged writes are in the log all the same.
    #[error("closing the engine: {0}")]
    Stop(String),
}

type Result<T> = std::result::Result<T, EngineError>;

#[derive(Debug)]
struct Inner {
    server: Server,
    next_scan: std::sync::atomic::AtomicU64,
}

/// A handle on a database in a directory; clones share it. The last one to be dropped closes it (a [`ScanIter`] is a
/// handle, too); what was acknowledged is on disk by then, closed or not.
///
/// Calls block the calling thread until the answer is there, and a write until it is durable: writes of several threads
/// share one sync, those of one thread wait for one each.
///
/// # What it does to its process
/// One thread pinned to each CPU that the process may use, with two more beside it for blocking calls, and a watchdog.
/// The limits of open files and of locked memory are raised as far as they may be, and `SIGURG` gets a handler that
/// does nothing.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// Opens or creates the database in `dir`, with `memtable_bytes` of unflushed data in all, one shard for each CPU
    /// that the process may use (or as many as the directory was made with). All else is the server's default: every
    /// write is on disk before `put` returns, and the block cache may grow to most of a quarter of the machine's memory
    /// (of half of a container's). [`Engine::with_config`] sets it.
    ///
    /// # Errors
    /// `Start` says what is wrong with the directory or the system, and the remedy.
    pub fn open(dir: impl AsRef<Path>, memtable_bytes: usize) -> Result<Self> {
        let memtable_capacity = Some(memtable_bytes as u64);
        let data_dir = dir.as_ref().to_owned();
        Self::with_config(LsmConfig { data_dir, memtable_capacity, ..LsmConfig::default() })
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
        // Port 0: the preflight looks whether the address is free, and there is none.
        let local = LsmConfig { bind: Ipv4Addr::LOCALHOST.into(), port: 0, ..config };
        let server = start::prepare(local)
            .and_then(|prepared| prepared.start(None, MoreListeners::default(), None))
            .map_err(|error| EngineError::Start(error.to_string()))?;
        let next_scan = std::sync::atomic::AtomicU64::new(0);
        Ok(Self { inner: Arc::new(Inner { server, next_scan }) })
    }

    /// Sets `key` to `value`. Returns when it is durable.
    ///
    /// # Errors
    /// `Shard`: the limits, a full disk, or a shard that is read-only.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let core = self.inner.server.shard_of(key);
        let (key, value) = (key.to_vec(), value.to_vec());
        self.call(core, |shard| async move {
            let op = Op::Put { key: &key, value: &value, expires_at_ms: 0 };
            shard.put_all(&[op]).await.map(drop)
        })
    }

    /// Removes `key`, whether it is there or not. Returns when that is durable.
    ///
    /// # Errors
    /// As [`Engine::put`].
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        let core = self.inner.server.shard_of(key);
        let key = key.to_vec();
        self.call(core, |shard| async move {
            shard.put_all(&[Op::Delete { key: &key }]).await.map(drop)
        })
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// `Shard`: reading or verifying a block.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let core = self.inner.server.shard_of(key);
        let key = key.to_vec();
        let (answer, answers) = sync_channel(1);
        self.inner.tell(core, move |tools| {
            let shard = tools.shard.clone();
            match shard.read(&key, |found| (found.value.map(<[u8]>::to_vec), found.gate)) {
                // The usual case: no task is made for it.
                Read::Done((value, gate)) if gate <= shard.released_seq() => {
                    drop(answer.send(Ok(value)));
                }
                Read::Done((value, gate)) => {
                    let run = async move { shard.released(gate).await.map(|()| value) };
                    tools.env.spawn(Queue::Commit, send_result(run, answer));
                }
                Read::Disk(read) => {
                    let run = async { Ok(read.finish().await?.map(|value| value.to_vec())) };
                    tools.env.spawn(Queue::Commit, send_result(run, answer));
                }
            }
        })?;
        self.inner.received(core, &answers)
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
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        let range = Range { from: owned(range.start_bound()), to: owned(range.end_bound()) };
        let id = self.inner.next_scan.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let shards = self.inner.server.shards();
        let mut sources = Vec::with_capacity(shards);
        for core in 0..shards {
            let range = range.clone();
            // A core that is gone is told of by the first page.
            let _ = self.inner.tell(core, move |tools| {
                let scan = tools.shard.scan(range, Direction::Forward);
                tools.scans.borrow_mut().insert(id, scan);
            });
            sources.push(Source { page: Vec::new().into_iter().peekable(), more: true });
        }
        ScanIter { engine: self.clone(), id, sources }
    }

    /// Makes a checkpoint of all shards in `dir`, which is absent and lies on the same file system: of each shard one moment, with
    /// all that was acknowledged before. Others go on meanwhile. Durable when it returns; `rusty-lsm restore` makes a database of it.
    ///
    /// # Errors
    /// `Checkpoint`: the place cannot be used, another one is being made, or a shard failed.
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> Result<()> {
        let made = self.inner.server.checkpoint(dir.as_ref());
        made.map(drop).map_err(|error| EngineError::Checkpoint(error.to_string()))
    }

    /// Closes the database if this is the last handle; else it stays open for the others. Nothing is flushed: the next
    /// open replays the log.
    ///
    /// # Errors
    /// `Shard`: a shard that had failed. `Stop`: a thread did not end in order.
    pub fn close(self) -> Result<()> {
        match Arc::into_inner(self.inner) {
            Some(inner) => inner.server.stop().map_err(|error| match error {
                ServerError::Shard(error) => EngineError::Shard(error),
                other => EngineError::Stop(other.to_string()),
            }),
            None => Ok(()),
        }
    }

    fn call<T, Work, Run>(&self, core: usize, work: Work) -> Result<T>
    where
        T: Send + 'static,
        Work: FnOnce(Shard<GlommioEnv>) -> Run + Send + 'static,
        Run: Future<Output = shard::error::Result<T>> + 'static,
    {
        let (answer, answers) = sync_channel(1);
        self.inner.tell(core, move |tools| {
            let run = work(tools.shard.clone());
            tools.env.spawn(Queue::Commit, send_result(run, answer));
        })?;
        self.inner.received(core, &answers)
    }
}

async fn send_result<T>(
    run: impl Future<Output = shard::error::Result<T>>,
    answer: SyncSender<shard::error::Result<T>>,
) {
    // A caller that went away needs no answer. The channel has room for this one: it does not block.
    drop(answer.send(run.await));
}

impl Inner {
    /// `Closed` if the core is gone.
    fn tell(&self, core: usize, call: impl FnOnce(&CoreTools) + Send + 'static) -> Result<()> {
        let mut message = Message::Call(Box::new(call));
        while !self.server.core_has_ended(core) {
            match self.server.door(core).send(message) {
                Ok(()) => return Ok(()),
                // A full inbox empties within a pass of the core's loop.
                Err(back) => message = back,
            }
            std::thread::yield_now();
        }
        Err(EngineError::Closed)
    }

    /// Waits for the answer to a call; `Closed` if the core is gone, with the call in its inbox or half-way.
    fn received<T>(&self, core: usize, answers: &Receiver<shard::error::Result<T>>) -> Result<T> {
        loop {
            // Asked before the wait: what it answered in the meantime is not overlooked.
            let has_ended = self.server.core_has_ended(core);
            match answers.recv_timeout(LIFE_CHECK) {
                Ok(answer) => return answer.map_err(EngineError::Shard),
                Err(RecvTimeoutError::Timeout) if !has_ended => {}
                Err(_) => return Err(EngineError::Closed),
            }
        }
    }
}

type Pair = (Vec<u8>, Vec<u8>);

/// Some entries of one shard, and whether there may be more.
type Page = (Vec<Pair>, bool);

/// Where a scan stands in one shard.
#[derive(Debug)]
struct Source {
    page: Peekable<std::vec::IntoIter<Pair>>,
    more: bool,
}

/// Key and value pairs in key order; after an error, nothing more. Dropping it early is fine.
///
/// Holds what it sees, in memory and on disk, until it is dropped, whatever is written or compacted meanwhile.
#[derive(Debug)]
pub struct ScanIter {
    engine: Engine,
    id: u64,
    sources: Vec<Source>,
}

impl ScanIter {
    /// The next page of one shard.
    fn fetch(&self, core: usize) -> Result<Page> {
        let (answer, answers) = sync_channel(1);
        let id = self.id;
        self.engine.inner.tell(core, move |tools| {
            let run =
                next_page(tools.shard.clone(), tools.env.clone(), Rc::clone(&tools.scans), id);
            tools.env.spawn(Queue::Commit, send_result(run, answer));
        })?;
        self.engine.inner.received(core, &answers)
    }

    /// Fetches where a page has ended, so that each shard shows its next entry, if it has one.
    fn fill(&mut self) -> Result<()> {
        for core in 0..self.sources.len() {
            while self.sources[core].page.peek().is_none() && self.sources[core].more {
                let (page, more) = self.fetch(core)?;
                self.sources[core] = Source { page: page.into_iter().peekable(), more };
            }
        }
        Ok(())
    }
}

/// Takes the scan out while it runs: one page of it at a time.
async fn next_page(
    shard: Shard<GlommioEnv>,
    env: GlommioEnv,
    scans: Rc<RefCell<HashMap<u64, Scan<GlommioEnv>>>>,
    id: u64,
) -> shard::error::Result<Page> {
    let taken = scans.borrow_mut().remove(&id);
    let Some(mut scan) = taken else { return Ok((Vec::new(), false)) };
    let (mut page, mut bytes) = (Vec::new(), 0);
    let mut slice_began = env.now();
    while page.len() < PAGE_ENTRIES && bytes < PAGE_BYTES {
        let Some(entry) = scan.next().await? else {
            shard.released(scan.gate()).await?;
            return Ok((page, false));
        };
        bytes += entry.key.len() + entry.value.len();
        page.push((entry.key.to_vec(), entry.value.to_vec()));
        let slice = env.now().saturating_sub(slice_began).as_micros();
        if slice >= u128::from(BACKGROUND_SLICE_US) {
            env.pause().await;
            slice_began = env.now();
        }
    }
    shard.released(scan.gate()).await?;
    scans.borrow_mut().insert(id, scan);
    Ok((page, true))
}

impl Iterator for ScanIter {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            // Going on would leave out what that shard still has.
            self.sources.clear();
            return Some(Err(error));
        }
        let shown = self.sources.iter_mut().enumerate();
        let keys = shown.filter_map(|(core, source)| Some((&source.page.peek()?.0, core)));
        let (_, core) = keys.min()?;
        self.sources[core].page.next().map(Ok)
    }
}

impl FusedIterator for ScanIter {}

impl Drop for ScanIter {
    fn drop(&mut self) {
        let id = self.id;
        for core in 0..self.engine.inner.server.shards() {
            // One that is gone holds nothing.
            let _ = self.engine.inner.tell(core, move |tools| {
                drop(tools.scans.borrow_mut().remove(&id));
            });
        }
    }
}

#[cfg(test)]
mod tests {
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
        engine.inner.tell(1, |_| panic!("on purpose, by a test")).unwrap();
        assert!(matches!(engine.get(&keys[1]), Err(EngineError::Closed)));
        assert!(matches!(engine.put(&keys[1], b"after"), Err(EngineError::Closed)));
        assert!(engine.scan::<&[u8]>(..).any(|entry| matches!(entry, Err(EngineError::Closed))));
        // More than an inbox holds: nobody spins on a full one.
        for _ in 0..10_000 {
            let _ = engine.inner.tell(1, |_| {});
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
