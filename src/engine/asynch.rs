//! The engine for asynchronous programs, of any runtime or none.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shard::cursor::Direction;
use shard::scan::Range;

use super::call::{EngineFuture, Seat, on_a_thread};
use super::keys::Keys;
use super::on_core::Looked;
use super::scan::{AsyncScan, Merged, range_of};
use super::snapshot::{AsyncSnapshot, Held};
use super::{Engine, EngineError, Inner, WriteBatch, wall_time};
use crate::command::Report;

/// An [`super::Engine`] whose calls are futures: made by [`super::Engine::asynch`]. Clones share the database; it is closed when
/// the last handle of either kind goes.
///
/// A call is sent when its future is first polled, so several under way at once are several futures polled side by side (`join`
/// of whatever runtime there is). What dropping one means stands at [`EngineFuture`].
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// # rusty_lsm::engine::block_on(async move {
/// let db = engine.asynch();
/// db.put(b"city", b"Bern").await?;
/// assert_eq!(db.get(b"city").await?.as_deref(), Some(&b"Bern"[..]));
/// # Ok::<(), rusty_lsm::EngineError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct AsyncEngine(pub(super) Arc<Inner>);

impl AsyncEngine {
    /// As [`super::Engine::put`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// let (one, other) = (db.put(b"city", b"Bern"), db.put(b"river", b"Aare"));
    /// one.await?;
    /// other.await?;
    /// assert_eq!(db.get(b"river").await?.as_deref(), Some(&b"Aare"[..]));
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put(&self, key: &[u8], value: &[u8]) -> EngineFuture<()> {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        self.write(batch)
    }

    /// As [`super::Engine::put_with_ttl`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// use std::time::Duration;
    /// db.put_with_ttl(b"session", b"f00", Duration::from_secs(60)).await?;
    /// assert!(db.expires_at(b"session").await?.is_some());
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> EngineFuture<()> {
        let mut batch = WriteBatch::new();
        batch.put_with_ttl(key, value, ttl);
        self.write(batch)
    }

    /// As [`super::Engine::delete`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// db.delete(b"city").await?;
    /// assert_eq!(db.get(b"city").await?, None);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&self, key: &[u8]) -> EngineFuture<()> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        self.write(batch)
    }

    /// As [`super::Engine::write`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put(b"{user:1}:name", b"Ada");
    /// batch.put(b"{user:1}:mail", b"ada@example.org");
    /// db.write(batch).await?;
    /// assert!(db.get(b"{user:1}:mail").await?.is_some());
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, batch: WriteBatch) -> EngineFuture<()> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).write(batch))
    }

    /// As [`super::Engine::get`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// assert_eq!(db.get(b"absent").await?, None);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&self, key: &[u8]) -> EngineFuture<Option<Vec<u8>>> {
        let call = self.0.get(key);
        EngineFuture::new(&self.0, async move { Ok(call.await?.map(|(value, _)| value)) })
    }

    /// As [`super::Engine::expires_at`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// assert_eq!(db.expires_at(b"city").await?, None, "for ever");
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expires_at(&self, key: &[u8]) -> EngineFuture<Option<SystemTime>> {
        let call = self.0.get(key);
        EngineFuture::new(&self.0, async move { Ok(wall_time(call.await?)) })
    }

    /// As [`super::Engine::multi_get`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"a", b"1").await?;
    /// assert_eq!(db.multi_get(&["a", "b"]).await?, [Some(b"1".to_vec()), None]);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> EngineFuture<Vec<Option<Vec<u8>>>> {
        EngineFuture::new(&self.0, self.0.multi_get(Keys::copied(keys)))
    }

    /// As [`super::Engine::scan`]: each shard is seen at the moment of this call, which is sent at once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"user:1", b"Ada").await?;
    /// let mut users = db.scan("user:".."user;");
    /// while let Some(pair) = users.next().await {
    ///     let (key, value) = pair?;
    ///     assert_eq!((&key[..], &value[..]), (&b"user:1"[..], &b"Ada"[..]));
    /// }
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> AsyncScan {
        self.begin(range_of(&range), Direction::Forward)
    }

    /// As [`super::Engine::scan_reverse`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// for day in ["2026-11-26", "2026-11-27"] {
    ///     db.put(day.as_bytes(), b"").await?;
    /// }
    /// let (newest, _) = db.scan_reverse::<&str>(..).next().await.unwrap()?;
    /// assert_eq!(newest, b"2026-11-27");
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan_reverse<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> AsyncScan {
        self.begin(range_of(&range), Direction::Backward)
    }

    /// As [`super::Engine::prefix`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"visit:1", b"today").await?;
    /// assert!(db.prefix(b"user:").next().await.is_none());
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefix(&self, prefix: &[u8]) -> AsyncScan {
        self.begin(Range::prefix(prefix), Direction::Forward)
    }

    /// As [`super::Engine::snapshot`].
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
    pub fn snapshot(&self) -> EngineFuture<AsyncSnapshot> {
        let held = Held::take(Arc::clone(&self.0));
        EngineFuture::new(&self.0, async move { held.await.map(AsyncSnapshot) })
    }

    /// As [`super::Engine::flush`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// db.flush().await?;
    /// assert_eq!(db.stats().await?.lsm.tables, 1);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) -> EngineFuture<()> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).flush())
    }

    /// As [`super::Engine::compact`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// db.delete(b"city").await?;
    /// db.compact().await?;
    /// assert_eq!(db.stats().await?.lsm.tables, 0);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compact(&self) -> EngineFuture<()> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).compact())
    }

    /// As [`super::Engine::stats`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// assert_eq!(db.stats().await?.keyspace.keys, 1);
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> EngineFuture<Report> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).stats())
    }

    /// As [`super::Engine::checkpoint`], on a thread of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// db.checkpoint(dir.path().join("monday")).await?;
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn checkpoint(&self, dir: impl AsRef<Path>) -> EngineFuture<()> {
        let (engine, dir) = (Engine { inner: Arc::clone(&self.0) }, dir.as_ref().to_owned());
        let made = on_a_thread(move || engine.checkpoint(dir), EngineError::Checkpoint);
        EngineFuture::new(&self.0, made)
    }

    /// As [`super::Engine::close`], on a thread of its own; a drop of the last handle blocks for as long instead.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # rusty_lsm::engine::block_on(async move {
    /// # let db = engine.asynch();
    /// db.put(b"city", b"Bern").await?;
    /// drop(engine);
    /// db.close().await?;
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> EngineFuture<()> {
        let seat = Seat::new(&self.0);
        let engine = Engine { inner: self.0 };
        EngineFuture::with_seat(seat, on_a_thread(move || engine.close(), EngineError::Stop))
    }

    fn begin(&self, range: Range, direction: Direction) -> AsyncScan {
        AsyncScan::new(Merged::begin(&self.0, &Looked { range, direction, snapshot: None }))
    }
}
