//! Ranges over all shards: pages of each, merged.

use std::future::{Future as _, poll_fn};
use std::iter::{FusedIterator, Peekable};
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use shard::cursor::Direction;
use shard::scan::Range;

use super::call::{Call, Expected, Seat, wait};
use super::on_core::{Looked, Page, Pair};
use super::{Inner, Result};

pub(super) fn range_of<K: AsRef<[u8]>>(range: &impl RangeBounds<K>) -> Range {
    let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
    Range { from: owned(range.start_bound()), to: owned(range.end_bound()) }
}

/// Where a scan stands in one shard.
#[derive(Debug)]
struct Source {
    page: Peekable<std::vec::IntoIter<Pair>>,
    more: bool,
    /// The next page, on its way. Kept here, so that a future that is dropped loses none.
    call: Option<Call<Page>>,
}

impl Source {
    fn of((page, more): Page) -> Self {
        Self { page: page.into_iter().peekable(), more, call: None }
    }
}

/// A scan of all shards. Dropped, it is forgotten by them.
#[derive(Debug)]
pub(super) struct Merged {
    inner: Arc<Inner>,
    id: u64,
    direction: Direction,
    sources: Vec<Source>,
}

impl Merged {
    /// Begins in every shard. A core that is gone is told of by the first page.
    pub(super) fn begin(inner: &Arc<Inner>, looked: &Looked) -> Self {
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let mut sources = Vec::with_capacity(inner.server.shards());
        for core in 0..inner.server.shards() {
            let looked = looked.clone();
            inner.post(core, move |tools| tools.begin_scan(id, looked));
            sources.push(Source::of((Vec::new(), true)));
        }
        Self { inner: Arc::clone(inner), id, direction: looked.direction, sources }
    }

    /// Ready when each shard shows its next entry, if it has one: fetches pages where one has ended.
    fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let (id, mut is_filled) = (self.id, true);
        for core in 0..self.sources.len() {
            // A page may be empty and not the last.
            while self.sources[core].more && self.sources[core].page.len() == 0 {
                let inner = &self.inner;
                let call = self.sources[core].call.get_or_insert_with(|| {
                    Call::new(inner, core, move |tools, answer| tools.page(id, answer))
                });
                match Pin::new(call).poll(context) {
                    Poll::Pending => {
                        is_filled = false;
                        break;
                    }
                    Poll::Ready(Ok(page)) => self.sources[core] = Source::of(page),
                    Poll::Ready(Err(error)) => {
                        // Going on would leave out what that shard still has.
                        self.sources.clear();
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
        if is_filled { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Pair>>> {
        self.poll_filled(context).map(|filled| match filled {
            Ok(()) => self.pop().map(Ok),
            Err(error) => Some(Err(error)),
        })
    }

    fn pop(&mut self) -> Option<Pair> {
        let shown = self.sources.iter_mut().enumerate();
        let keys = shown.filter_map(|(core, source)| Some((&source.page.peek()?.0, core)));
        let (_, core) = match self.direction {
            Direction::Forward => keys.min()?,
            Direction::Backward => keys.max()?,
        };
        self.sources[core].page.next()
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        let id = self.id;
        for core in 0..self.inner.server.shards() {
            self.inner.post(core, move |tools| tools.forget_scan(id));
        }
    }
}

/// Key and value pairs in the order of the scan; after an error, nothing more. Dropping it early is fine.
///
/// Holds what it sees, in memory and on disk, until it is dropped, whatever is written or compacted meanwhile.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// engine.put(b"a", b"1")?;
/// let mut all = engine.scan::<&str>(..);
/// engine.delete(b"a")?;
/// assert_eq!(all.next().unwrap()?, (b"a".to_vec(), b"1".to_vec()), "as it was");
/// assert!(all.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ScanIter(pub(super) Merged);

impl Iterator for ScanIter {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        let scan = &mut self.0;
        wait(poll_fn(|context| scan.poll_next(context)), Expected::Soon)
    }
}

impl FusedIterator for ScanIter {}

/// A scan without blocking: ask it for one pair after the other.
///
/// Holds what it sees, as [`ScanIter`] does.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// # rusty_lsm::engine::block_on(async move {
/// # let db = engine.asynch();
/// db.put(b"a", b"1").await?;
/// let mut all = db.scan::<&str>(..);
/// assert!(all.next().await.unwrap().is_ok());
/// assert!(all.next().await.is_none());
/// # Ok::<(), rusty_lsm::EngineError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncScan {
    scan: Merged,
    seat: Seat,
}

impl AsyncScan {
    pub(super) fn new(scan: Merged) -> Self {
        let seat = Seat::new(&scan.inner);
        Self { scan, seat }
    }

    /// The next pair; `None` at the end, and after an error. Dropping the future loses no pair: the next call goes on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// # engine.put(b"user:1", b"Ada")?;
    /// # rusty_lsm::engine::block_on(async move {
    /// let mut users = engine.asynch().prefix(b"user:");
    /// while let Some(pair) = users.next().await {
    ///     let (key, value) = pair?;
    ///     assert_eq!((&key[..], &value[..]), (&b"user:1"[..], &b"Ada"[..]));
    /// }
    /// # Ok::<(), rusty_lsm::EngineError>(())
    /// # })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Shard`: reading or verifying a block.
    pub async fn next(&mut self) -> Option<Result<Pair>> {
        let Self { scan, seat } = self;
        poll_fn(|context| {
            let next = scan.poll_next(context);
            if next.is_ready() {
                return next;
            }
            seat.take(context);
            // A core that died between the two is seen now.
            scan.poll_next(context)
        })
        .await
    }
}
