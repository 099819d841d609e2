//! A view of all shards that stays as it is.

use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shard::cursor::Direction;
use shard::scan::Range;

use super::call::{Call, EngineFuture, Expected, join, wait};
use super::on_core::{Got, Looked};
use super::scan::{AsyncScan, Merged, ScanIter, range_of};
use super::{Inner, Result};

/// What the cores hold for a snapshot; let go with it.
#[derive(Debug)]
pub(super) struct Held {
    inner: Arc<Inner>,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let id = self.id;
        for core in 0..self.inner.server.shards() {
            self.inner.post(core, move |tools| tools.forget_snapshot(id));
        }
    }
}

impl Held {
    /// Takes one of every shard.
    pub(super) async fn take(inner: Arc<Inner>) -> Result<Arc<Self>> {
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let calls = (0..inner.server.shards())
            .map(|core| Call::new(&inner, core, move |tools, answer| tools.snapshot(id, answer)))
            .collect();
        // Before the answers: what was taken is let go of also if one is an error.
        let held = Arc::new(Self { inner, id });
        join(calls).await.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(held)
    }

    fn get(self: &Arc<Self>, key: &[u8]) -> Call<Got> {
        let (id, core, key) = (self.id, self.inner.server.shard_of(key), key.to_vec());
        Call::new(&self.inner, core, move |tools, answer| tools.get_of_snapshot(id, key, answer))
    }

    fn scan(self: &Arc<Self>, range: Range, direction: Direction) -> Merged {
        let looked = Looked { range, direction, snapshot: Some(self.id) };
        Merged::begin(&self.inner, &looked)
    }
}

/// The database as it was when this was taken; clones are the same one.
///
/// Each shard is seen at one moment between the call of [`super::Engine::snapshot`] and its return: a write that was acknowledged
/// before is seen, one that is begun later is not, and of a [`super::WriteBatch`] all of a shard's part or nothing. Time stands
/// still, too: a value that had not ended is there.
///
/// **What it holds back**: nothing at first. As long as it lives, memtables that it sees stay in memory after their flush, and
/// tables that it sees stay on disk after their compaction. So one that is kept for hours of writing can cost as much memory as
/// the memtables and as much disk as the data. Dropped, it gives both back.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// engine.put(b"city", b"Bern")?;
/// let before = engine.snapshot()?;
/// engine.put(b"city", b"Basel")?;
/// engine.put(b"country", b"CH")?;
/// assert_eq!(before.get(b"city")?.as_deref(), Some(&b"Bern"[..]));
/// assert_eq!(before.scan::<&[u8]>(..).count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Snapshot(pub(super) Arc<Held>);

impl Snapshot {
    /// The value that `key` had.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// let before = engine.snapshot()?;
    /// engine.put(b"city", b"Bern")?;
    /// assert_eq!(before.get(b"city")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Shard`: reading or verifying a block.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(wait(self.0.get(key), Expected::Soon)?.map(|(value, _)| value))
    }

    /// The keys of `range` with their values, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"user:1", b"Ada")?;
    /// let before = engine.snapshot()?;
    /// engine.put(b"user:2", b"Grace")?;
    /// assert_eq!(before.scan("user:".."user;").count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> ScanIter {
        ScanIter(self.0.scan(range_of(&range), Direction::Forward))
    }

    /// The same from the last key to the first.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"a", b"1")?;
    /// engine.put(b"b", b"2")?;
    /// let (last, _) = engine.snapshot()?.scan_reverse::<&str>(..).next().unwrap()?;
    /// assert_eq!(last, b"b");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan_reverse<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> ScanIter {
        ScanIter(self.0.scan(range_of(&range), Direction::Backward))
    }

    /// The keys that begin with `prefix`, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"user:1", b"Ada")?;
    /// engine.put(b"visit:1", b"today")?;
    /// assert_eq!(engine.snapshot()?.prefix(b"user:").count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefix(&self, prefix: &[u8]) -> ScanIter {
        ScanIter(self.0.scan(Range::prefix(prefix), Direction::Forward))
    }

    /// The same snapshot, with calls that do not block.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// engine.put(b"city", b"Bern")?;
    /// let before = engine.snapshot()?.asynch();
    /// engine.delete(b"city")?;
    /// assert!(rusty_lsm::engine::block_on(before.get(b"city"))?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn asynch(&self) -> AsyncSnapshot {
        AsyncSnapshot(Arc::clone(&self.0))
    }
}

/// As [`Snapshot`], with calls that do not block.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// # rusty_lsm::engine::block_on(async move {
/// let db = engine.asynch();
/// db.put(b"city", b"Bern").await?;
/// let before = db.snapshot().await?;
/// db.delete(b"city").await?;
/// assert!(before.get(b"city").await?.is_some());
/// # Ok::<(), rusty_lsm::EngineError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct AsyncSnapshot(pub(super) Arc<Held>);

impl AsyncSnapshot {
    /// The value that `key` had.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// let before = db.snapshot().await?;
    /// db.put(b"city", b"Bern").await?;
    /// assert_eq!(before.get(b"city").await?, None);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&self, key: &[u8]) -> EngineFuture<Option<Vec<u8>>> {
        let (held, call) = (Arc::clone(&self.0), self.0.get(key));
        EngineFuture::new(&self.0.inner, async move {
            let got = call.await?;
            drop(held);
            Ok(got.map(|(value, _)| value))
        })
    }

    /// The keys of `range` with their values, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"user:1", b"Ada").await?;
    /// let before = db.snapshot().await?;
    /// db.delete(b"user:1").await?;
    /// assert!(before.scan("user:".."user;").next().await.is_some());
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> AsyncScan {
        AsyncScan::new(self.0.scan(range_of(&range), Direction::Forward))
    }

    /// The same from the last key to the first.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"a", b"1").await?;
    /// db.put(b"b", b"2").await?;
    /// let (last, _) = db.snapshot().await?.scan_reverse::<&str>(..).next().await.unwrap()?;
    /// assert_eq!(last, b"b");
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan_reverse<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> AsyncScan {
        AsyncScan::new(self.0.scan(range_of(&range), Direction::Backward))
    }

    /// The keys that begin with `prefix`, in order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"visit:1", b"today").await?;
    /// assert!(db.snapshot().await?.prefix(b"user:").next().await.is_none());
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefix(&self, prefix: &[u8]) -> AsyncScan {
        AsyncScan::new(self.0.scan(Range::prefix(prefix), Direction::Forward))
    }
}
