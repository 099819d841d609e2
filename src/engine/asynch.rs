//! The engine for asynchronous programs, of any runtime or none.

use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shard::cursor::Direction;
use shard::scan::Range;

use super::call::EngineFuture;
use super::keys::Keys;
use super::on_core::Looked;
use super::scan::{AsyncScan, Merged, range_of};
use super::snapshot::{AsyncSnapshot, Held};
use super::{Inner, WriteBatch, wall_time};
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
    pub fn put(&self, key: &[u8], value: &[u8]) -> EngineFuture<()> {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        self.write(batch)
    }

    /// As [`super::Engine::put_with_ttl`].
    pub fn put_with_ttl(&self, key: &[u8], value: &[u8], ttl: Duration) -> EngineFuture<()> {
        let mut batch = WriteBatch::new();
        batch.put_with_ttl(key, value, ttl);
        self.write(batch)
    }

    /// As [`super::Engine::delete`].
    pub fn delete(&self, key: &[u8]) -> EngineFuture<()> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        self.write(batch)
    }

    /// As [`super::Engine::write`].
    pub fn write(&self, batch: WriteBatch) -> EngineFuture<()> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).write(batch))
    }

    /// As [`super::Engine::get`].
    pub fn get(&self, key: &[u8]) -> EngineFuture<Option<Vec<u8>>> {
        let call = self.0.get(key);
        EngineFuture::new(&self.0, async move { Ok(call.await?.map(|(value, _)| value)) })
    }

    /// As [`super::Engine::expires_at`].
    pub fn expires_at(&self, key: &[u8]) -> EngineFuture<Option<SystemTime>> {
        let call = self.0.get(key);
        EngineFuture::new(&self.0, async move { Ok(wall_time(call.await?)) })
    }

    /// As [`super::Engine::multi_get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> EngineFuture<Vec<Option<Vec<u8>>>> {
        EngineFuture::new(&self.0, self.0.multi_get(Keys::copied(keys)))
    }

    /// As [`super::Engine::scan`]: each shard is seen at the moment of this call, which is sent at once.
    pub fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> AsyncScan {
        self.begin(range_of(&range), Direction::Forward)
    }

    /// As [`super::Engine::scan_reverse`].
    pub fn scan_reverse<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> AsyncScan {
        self.begin(range_of(&range), Direction::Backward)
    }

    /// As [`super::Engine::prefix`].
    pub fn prefix(&self, prefix: &[u8]) -> AsyncScan {
        self.begin(Range::prefix(prefix), Direction::Forward)
    }

    /// As [`super::Engine::snapshot`].
    pub fn snapshot(&self) -> EngineFuture<AsyncSnapshot> {
        let held = Held::take(Arc::clone(&self.0));
        EngineFuture::new(&self.0, async move { held.await.map(AsyncSnapshot) })
    }

    /// As [`super::Engine::flush`].
    pub fn flush(&self) -> EngineFuture<()> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).flush())
    }

    /// As [`super::Engine::compact`].
    pub fn compact(&self) -> EngineFuture<()> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).compact())
    }

    /// As [`super::Engine::stats`].
    pub fn stats(&self) -> EngineFuture<Report> {
        EngineFuture::new(&self.0, Arc::clone(&self.0).stats())
    }

    fn begin(&self, range: Range, direction: Direction) -> AsyncScan {
        AsyncScan::new(Merged::begin(&self.0, &Looked { range, direction, snapshot: None }))
    }
}
