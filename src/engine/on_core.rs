//! The engine's side of a core: what its calls do there. Runs within the core's loop, so nothing here blocks; what has to wait
//! is done by long-lived tasks, which are made when a core is first called.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use shard::admission::Refusal;
use shard::cursor::Direction;
use shard::env::glommio::GlommioEnv;
use shard::env::{Env as _, Queue};
use shard::error::Error;
use shard::foresee::FORESEEN_MAX;
use shard::key::SeqNo;
use shard::limits::BACKGROUND_SLICE_US;
use shard::read::{PointRead, Read};
use shard::scan::{Range, Scan};
use shard::shard::Shard;
use shard::snapshot::Snapshot;

use super::batch::WriteBatch;
use super::call::Answer;
use super::keys::Keys;
use crate::facts::CoreStats;
use crate::work::WorkQueue;

/// Entries that a scan fetches from a shard at a time.
const PAGE_ENTRIES: usize = 256;

/// Bytes of keys and values after which a page ends early: large values must not gather.
const PAGE_BYTES: usize = 1 << 20;

/// Tasks of one core that read from disk for calls. Others wait for one of them.
const READERS: usize = 32;

/// Block reads that one call has under way.
const READS_PER_CALL: usize = 32;

pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Some entries of one shard, and whether there may be more.
pub(super) type Page = (Vec<Pair>, bool);

/// A value, and when it ends (milliseconds since 1970; 0: never).
pub(super) type Got = Option<(Vec<u8>, u64)>;

type Job = Pin<Box<dyn Future<Output = ()>>>;

/// What waits for the log.
struct Released {
    seq: SeqNo,
    then: Box<dyn FnOnce(shard::error::Result<()>)>,
}

impl std::fmt::Debug for Released {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Released").field(&self.seq).finish()
    }
}

/// The tasks' work.
#[derive(Clone)]
struct Helpers {
    released: WorkQueue<Released>,
    jobs: WorkQueue<Job>,
}

/// What a core offers to calls from other threads.
pub(crate) struct CoreTools {
    shard: Shard<GlommioEnv>,
    env: GlommioEnv,
    helpers: OnceCell<Helpers>,
    /// Scans between two pages.
    scans: Rc<RefCell<HashMap<u64, Scan<GlommioEnv>>>>,
    snapshots: RefCell<HashMap<u64, Rc<Snapshot<GlommioEnv>>>>,
}

impl std::fmt::Debug for CoreTools {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CoreTools").finish_non_exhaustive()
    }
}

/// Where a scan looks, and how it goes.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) range: Range,
    pub(super) direction: Direction,
    /// Of this snapshot; `None`: of now.
    pub(super) snapshot: Option<u64>,
}

impl CoreTools {
    pub(crate) fn new(shard: Shard<GlommioEnv>, env: GlommioEnv) -> Self {
        let (helpers, scans, snapshots) = (OnceCell::new(), Rc::default(), RefCell::default());
        Self { shard, env, helpers, scans, snapshots }
    }

    /// For a task of its own.
    pub(crate) fn parts(&self) -> (Shard<GlommioEnv>, &GlommioEnv) {
        (self.shard.clone(), &self.env)
    }

    /// Ends the tasks once they have nothing left to do, and lets go of what calls have left.
    pub(crate) fn close(&self) {
        self.scans.borrow_mut().clear();
        self.snapshots.borrow_mut().clear();
        if let Some(helpers) = self.helpers.get() {
            helpers.released.close();
            helpers.jobs.close();
        }
    }

    fn helpers(&self) -> &Helpers {
        self.helpers.get_or_init(|| {
            let (released, jobs) = (WorkQueue::<Released>::default(), WorkQueue::<Job>::default());
            // One, in order: what waits for a later write has waited for the earlier ones.
            let (shard, queue) = (self.shard.clone(), released.clone());
            self.env.spawn(Queue::Commit, async move {
                while let Some(Released { seq, then }) = queue.pop().await {
                    then(shard.released(seq).await);
                }
            });
            for _ in 0..READERS {
                let queue = jobs.clone();
                self.env.spawn(Queue::Commit, async move {
                    while let Some(job) = queue.pop().await {
                        job.await;
                    }
                });
            }
            Helpers { released, jobs }
        })
    }

    fn job(&self, job: impl Future<Output = ()> + 'static) {
        self.helpers().jobs.push(Box::pin(job));
    }

    /// Calls `then` once everything up to `seq` may be acknowledged.
    fn once_released(&self, seq: SeqNo, then: impl FnOnce(shard::error::Result<()>) + 'static) {
        if seq <= self.shard.released_seq() {
            then(Ok(()));
        } else {
            self.helpers().released.push(Released { seq, then: Box::new(then) });
        }
    }

    pub(super) fn get(&self, key: &[u8], answer: Answer<Got>) {
        let read = self.shard.read(key, |found| {
            (found.value.map(|value| (value.to_vec(), found.expires_at_ms)), found.gate)
        });
        match read {
            Read::Done((value, gate)) => {
                self.once_released(gate, |result| answer.give(result.map(|()| value)));
            }
            Read::Disk(read) => self.job(async { answer.give(got(read).await) }),
        }
    }

    /// The values of the keys at `places`, in that order.
    pub(super) fn multi_get(
        &self,
        keys: &Keys,
        places: &[usize],
        answer: Answer<Vec<Option<Vec<u8>>>>,
    ) {
        let mut values = Vec::with_capacity(places.len());
        let mut reads = Vec::new();
        let mut gate = SeqNo(0);
        for some in places.chunks(FORESEEN_MAX) {
            self.shard.foresee(some.iter().map(|place| keys.get(*place)));
            for place in some {
                let read = self
                    .shard
                    .read(keys.get(*place), |found| (found.value.map(<[u8]>::to_vec), found.gate));
                match read {
                    Read::Done((value, seen)) => {
                        values.push(value);
                        gate = gate.max(seen);
                    }
                    Read::Disk(read) => {
                        reads.push((values.len(), read));
                        values.push(None);
                    }
                }
            }
        }
        if reads.is_empty() {
            self.once_released(gate, |result| answer.give(result.map(|()| values)));
            return;
        }
        let shard = self.shard.clone();
        self.job(async move { answer.give(read_all(&shard, gate, reads, values).await) });
    }

    /// The writes of `batch` at `places`, or all, in one go.
    pub(super) fn write(
        &self,
        batch: Arc<WriteBatch>,
        places: Option<Vec<usize>>,
        answer: Answer<()>,
    ) {
        let taken = self.shard.write(&batch.ops(places.as_deref(), self.env.wall_ms()));
        match taken {
            Ok(seq) => self.once_released(seq, |result| answer.give(result)),
            Err(Refusal::Error(error)) => answer.give(Err(error)),
            Err(Refusal::Wait(_)) => {
                let (shard, now_ms) = (self.shard.clone(), self.env.wall_ms());
                // A task of its own: whoever waits to write must not hold up who reads.
                self.env.spawn(Queue::Commit, async move {
                    let written = shard.put_all(&batch.ops(places.as_deref(), now_ms)).await;
                    answer.give(written.map(drop));
                });
            }
        }
    }

    pub(super) fn snapshot(&self, id: u64, answer: Answer<()>) {
        let snapshot = self.shard.snapshot();
        let gate = snapshot.gate();
        self.snapshots.borrow_mut().insert(id, Rc::new(snapshot));
        self.once_released(gate, |result| answer.give(result));
    }

    pub(super) fn forget_snapshot(&self, id: u64) {
        drop(self.snapshots.borrow_mut().remove(&id));
    }

    pub(super) fn get_of_snapshot(&self, id: u64, key: Vec<u8>, answer: Answer<Got>) {
        let snapshot = self.snapshots.borrow().get(&id).cloned();
        let Some(snapshot) = snapshot else { return answer.give(Err(Error::Closing)) };
        self.job(async move { answer.give(snapshot.get(&key).await) });
    }

    pub(super) fn begin_scan(&self, id: u64, looked: Looked) {
        let Looked { range, direction, snapshot } = looked;
        let scan = match snapshot {
            None => self.shard.scan(range, direction),
            Some(snapshot) => {
                let snapshots = self.snapshots.borrow();
                // Whoever scans it holds it.
                let Some(snapshot) = snapshots.get(&snapshot) else { return };
                snapshot.scan(range, direction)
            }
        };
        self.scans.borrow_mut().insert(id, scan);
    }

    pub(super) fn forget_scan(&self, id: u64) {
        drop(self.scans.borrow_mut().remove(&id));
    }

    /// The next page of a scan.
    pub(super) fn page(&self, id: u64, answer: Answer<Page>) {
        let (shard, env, scans) = (self.shard.clone(), self.env.clone(), Rc::clone(&self.scans));
        self.job(async move { answer.give(next_page(shard, env, scans, id).await) });
    }

    pub(super) fn flush(&self, answer: Answer<()>) {
        let shard = self.shard.clone();
        self.env.spawn(Queue::Commit, async move { answer.give(shard.flush().await) });
    }

    pub(super) fn compact(&self, answer: Answer<()>) {
        let shard = self.shard.clone();
        self.env.spawn(Queue::Compaction, async move { answer.give(shard.compact_all().await) });
    }

    pub(super) fn stats(&self, index: usize, answer: Answer<CoreStats>) {
        answer.give(Ok(CoreStats {
            index,
            shard: self.shard.stats(),
            keys: self.shard.key_estimate(),
            ..CoreStats::default()
        }));
    }
}

async fn got(read: PointRead<GlommioEnv>) -> shard::error::Result<Got> {
    Ok(read.finish().await?.map(|value| (value.to_vec(), value.expires_at_ms())))
}

/// Finishes `reads` into their places among `values`.
async fn read_all(
    shard: &Shard<GlommioEnv>,
    gate: SeqNo,
    mut reads: Vec<(usize, PointRead<GlommioEnv>)>,
    mut values: Vec<Option<Vec<u8>>>,
) -> shard::error::Result<Vec<Option<Vec<u8>>>> {
    while !reads.is_empty() {
        let some = reads.split_off(reads.len().saturating_sub(READS_PER_CALL));
        let mut open: Vec<_> =
            some.into_iter().map(|(place, read)| (place, Box::pin(got(read)))).collect();
        let mut failed = None;
        std::future::poll_fn(|context| {
            open.retain_mut(|(place, read)| match read.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(Ok(value)) => {
                    values[*place] = value.map(|(value, _)| value);
                    false
                }
                Poll::Ready(Err(error)) => {
                    failed = Some(error);
                    false
                }
            });
            if open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    shard.released(gate).await?;
    Ok(values)
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
