//! The oracle of the crash tests: what was written, in order, and what of it must be there after which kind of crash.
//! It lives outside the machine that crashes.
//!
//! - A power cut leaves at least all up to `durable_seq`; the death of the process at least all up to `written_seq`. Under
//!   `always` both are what was acknowledged.
//! - What is found is the story after exactly one of its steps (no hole, nothing torn), and the shard's own `last_seq` says
//!   which one.
//! - Under `everysec` no acknowledged write stays undurable longer than the window.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::open_with_report;
use crate::admission::Refusal;
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::SimEnv;
use crate::key::SeqNo;
use crate::manifest::{FileName, Manifest};
use crate::options::{Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

pub(crate) type Bytes = Rc<[u8]>;
pub(crate) type Model = BTreeMap<Bytes, Bytes>;

/// R6: a second, and one sync; syncs of the simulated disk take milliseconds.
const WINDOW: Duration = Duration::from_millis(1_100);

/// A key and what becomes of it.
pub(crate) type Change = (Bytes, Deal);

/// What a write does to a key.
#[derive(Debug, Clone)]
pub(crate) enum Deal {
    /// A value; with one that ends after all that this machine will live through.
    Put(Bytes, bool),
    /// A value that has ended already: nothing is there, and whatever was is not.
    PutExpired(Bytes),
    /// Nothing.
    Delete,
}

/// After any simulated time, and before it, in milliseconds since 1970.
const LATER_MS: u64 = 7_000_000_000_000;
const LONG_AGO_MS: u64 = 1_000_000_000_000;

#[derive(Debug, Clone)]
enum Deed {
    Batch(Rc<[Change]>),
    Erase,
}

#[derive(Debug, Clone)]
struct Step {
    /// Of its last operation; an erase has the number of the one before it.
    seq: u64,
    deed: Deed,
    /// An erase is durable when its call has returned, whatever the numbers say.
    is_over: bool,
    acknowledged_at: Option<Duration>,
}

impl Step {
    fn apply(&self, model: &mut Model) {
        match &self.deed {
            Deed::Batch(changes) => apply(model, changes),
            Deed::Erase => model.clear(),
        }
    }
}

pub(crate) fn apply(model: &mut Model, changes: &[Change]) {
    for (key, deal) in changes {
        match deal {
            Deal::Put(value, _) => model.insert(Rc::clone(key), Rc::clone(value)),
            Deal::PutExpired(_) | Deal::Delete => model.remove(key),
        };
    }
}

/// What was written, and how much of it is promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    /// The least that a power cut leaves.
    base: Model,
    base_seq: u64,
    /// What came after it, in order.
    pending: VecDeque<Step>,
    /// How much of that the death of the process leaves, at least.
    written: usize,
}

impl Story {
    /// The least that the next process finds after a crash, as a number of pending steps.
    pub(crate) fn least(&self, only_process: bool) -> usize {
        if only_process { self.written } else { 0 }
    }

    /// The first and the last number that may be found as the last: with the disk, what a start is held against.
    pub(crate) fn last_seq(&self) -> u64 {
        let last = self.pending.back().map_or(self.base_seq, |step| step.seq);
        (last << 20) + self.base_seq
    }

    /// Which step leads to `found`, where the shard says that the last operation is `last_seq`.
    fn find(&self, found: &Model, last_seq: u64) -> Option<usize> {
        let mut model = self.base.clone();
        let mut hit = (self.base_seq == last_seq && model == *found).then_some(0);
        for (index, step) in self.pending.iter().enumerate() {
            step.apply(&mut model);
            if step.seq == last_seq && model == *found {
                hit = Some(index + 1);
            }
        }
        hit
    }

    /// What is known once `steps` were found: after a power cut they are durable, after a mere kill they are written.
    pub(crate) fn found(mut self, steps: usize, only_process: bool) -> Self {
        self.pending.truncate(steps);
        self.written = steps;
        if !only_process {
            self.settle();
        }
        self
    }

    /// All of it is durable.
    fn settle(&mut self) {
        for step in self.pending.drain(..) {
            step.apply(&mut self.base);
            self.base_seq = step.seq;
        }
        self.written = 0;
    }

    fn advance(&mut self, written: u64, durable: u64, now: Duration, window: Option<Duration>) {
        while let Some(step) = self.pending.front() {
            if step.seq > durable || !step.is_over {
                break;
            }
            step.apply(&mut self.base);
            self.base_seq = step.seq;
            self.pending.pop_front();
        }
        let is_written = |step: &&mut Step| step.seq <= written && step.is_over;
        self.written = 0;
        for step in self.pending.iter_mut().take_while(is_written) {
            self.written += 1;
            let at = *step.acknowledged_at.get_or_insert(now);
            let late = now.saturating_sub(at);
            assert!(
                window.is_none_or(|window| late <= window),
                "operation {} was acknowledged {late:?} ago and is not durable yet",
                step.seq
            );
        }
    }
}

/// Tells the story of one running machine. Clones of it are taken at any moment.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    story: RefCell<Story>,
    /// After all of it.
    live: RefCell<Model>,
    shard: RefCell<Option<Shard<SimEnv>>>,
}

impl Teller {
    pub(crate) fn new(story: Story) -> Rc<Self> {
        let mut live = story.base.clone();
        for step in &story.pending {
            step.apply(&mut live);
        }
        let (story, live) = (RefCell::new(story), RefCell::new(live));
        Rc::new(Self { story, live, shard: RefCell::default() })
    }

    /// Takes note of how far the shard has come.
    pub(crate) fn look(&self) {
        if let Some(shard) = &*self.shard.borrow() {
            let progress = &shard.inner.progress;
            let window = (shard.policy() == SyncPolicy::EverySecond).then_some(WINDOW);
            let (written, durable) = (progress.written.get().0, progress.durable.get().0);
            self.story.borrow_mut().advance(written, durable, shard.env().clock(), window);
        }
    }

    pub(crate) fn story(&self) -> Story {
        self.story.borrow().clone()
    }

    pub(crate) fn live(&self) -> Model {
        self.live.borrow().clone()
    }

    pub(crate) async fn open(&self, env: &SimEnv, options: &Options) -> Shard<SimEnv> {
        let shard = match open_with_report(env, options.clone()).await {
            Ok((shard, _)) => shard,
            Err(error) => panic!("opening: {error}"),
        };
        roll_over_often(&shard);
        *self.shard.borrow_mut() = Some(shard.clone());
        shard
    }

    pub(crate) async fn close(&self, shard: &Shard<SimEnv>) {
        shard.close().await.unwrap();
        self.let_go();
        self.story.borrow_mut().settle();
    }

    /// Drops the shard: it holds its machine, which holds whoever watches it.
    pub(crate) fn let_go(&self) {
        let shard = self.shard.take();
        drop(shard);
    }

    /// Writes once the shard takes it; does not wait for the acknowledgement.
    pub(crate) async fn write(&self, shard: &Shard<SimEnv>, changes: Vec<Change>) -> SeqNo {
        let seq = loop {
            let written = shard.write(&ops(&changes));
            match written {
                Ok(seq) => break seq,
                Err(Refusal::Wait(_)) => shard.inner.admission.wait().await,
                Err(Refusal::Error(error)) => panic!("writing: {error}"),
            }
        };
        apply(&mut self.live.borrow_mut(), &changes);
        let deed = Deed::Batch(changes.into());
        let step = Step { seq: seq.0, deed, is_over: true, acknowledged_at: None };
        self.story.borrow_mut().pending.push_back(step);
        seq
    }

    pub(crate) async fn erase(&self, shard: &Shard<SimEnv>) {
        let seq = shard.stats().last_seq;
        let step = Step { seq, deed: Deed::Erase, is_over: false, acknowledged_at: None };
        self.story.borrow_mut().pending.push_back(step);
        self.live.borrow_mut().clear();
        shard.erase().await.unwrap();
        let mut story = self.story.borrow_mut();
        let step = story.pending.back_mut().expect("nothing else is written meanwhile");
        step.is_over = true;
    }
}

pub(crate) fn ops(changes: &[Change]) -> Vec<Op<'_>> {
    changes
        .iter()
        .map(|(key, deal)| match deal {
            Deal::Put(value, false) => Op::Put { key, value, expires_at_ms: 0 },
            Deal::Put(value, true) => Op::Put { key, value, expires_at_ms: LATER_MS },
            Deal::PutExpired(value) => Op::Put { key, value, expires_at_ms: LONG_AGO_MS },
            Deal::Delete => Op::Delete { key },
        })
        .collect()
}

/// The smallest manifest is two blocks; a few edits more, and it is replaced.
pub(crate) fn roll_over_often(shard: &Shard<SimEnv>) {
    shard.inner.manifest.roll_over_at(24 << 10);
}

/// Everything in the shard, found three ways that must agree: both directions, and key by key.
pub(crate) async fn contents(shard: &Shard<SimEnv>) -> Model {
    let mut forward = Vec::new();
    let mut scan = shard.scan(Range::all(), Direction::Forward);
    while let Some(entry) = scan.next().await.unwrap() {
        forward.push((Bytes::from(entry.key), Bytes::from(entry.value)));
    }
    let mut scan = shard.scan(Range::all(), Direction::Backward);
    let mut backward = Vec::new();
    while let Some(entry) = scan.next().await.unwrap() {
        backward.push((Bytes::from(entry.key), Bytes::from(entry.value)));
    }
    backward.reverse();
    assert!(forward == backward, "both directions give the same");
    let count = forward.len();
    let model: Model = forward.into_iter().collect();
    assert_eq!(model.len(), count, "each key once");
    for (key, value) in &model {
        let got = shard.get(key).await.unwrap();
        assert!(got.as_deref() == Some(&**value), "scan and get agree");
    }
    model
}

/// What a start on this disk finds: one prefix of the story, and the same at each further start.
pub(crate) struct Found {
    /// Pending steps that survived.
    pub(crate) steps: usize,
    /// Operations of the disk that a start takes.
    pub(crate) start_operations: u64,
}

/// Opens, checks, goes on, closes, and opens again. `universe`: every key that was ever written.
pub(crate) async fn verify(
    env: &SimEnv,
    options: &Options,
    story: &Story,
    least: usize,
    universe: &[Bytes],
) -> Found {
    let before = env.operations();
    let shard = match open_with_report(env, options.clone()).await {
        Ok((shard, _)) => shard,
        Err(error) => panic!("opening: {error}"),
    };
    roll_over_often(&shard);
    let start_operations = env.operations() - before;
    let last_seq = shard.stats().last_seq;
    let found = contents(&shard).await;
    let Some(steps) = story.find(&found, last_seq) else {
        let seqs: Vec<u64> = story.pending.iter().map(|step| step.seq).collect();
        panic!("no state after {} or {seqs:?}; found {last_seq} with {found:?}", story.base_seq);
    };
    assert!(steps >= least, "{steps} of {} steps survived, {least} must", story.pending.len());
    for key in universe {
        let got = shard.get(key).await.unwrap();
        assert!(got.as_deref() == found.get(key).map(|value| &**value), "scan and get agree");
    }
    // It goes on.
    let (key, value) = (&b"zz"[..], &b"1"[..]);
    let seq = shard
        .put_all(&[Op::Put { key, value, expires_at_ms: 0 }, Op::Delete { key }])
        .await
        .unwrap();
    assert_eq!(seq.0, last_seq + 2);
    shard.close().await.unwrap();
    check_closed(env).await;
    // A second start answers the same.
    let shard = match open_with_report(env, options.clone()).await {
        Ok((shard, _)) => shard,
        Err(error) => panic!("opening again: {error}"),
    };
    assert_eq!(shard.stats().last_seq, last_seq + 2);
    assert!(contents(&shard).await == found, "a second start answers the same");
    shard.close().await.unwrap();
    check_closed(env).await;
    Found { steps, start_operations }
}

/// After a close in order no descriptor is open, and no file is there that the manifest does not name.
pub(crate) async fn check_closed(env: &SimEnv) {
    assert_eq!(env.open_files(), 0, "open after the close");
    assert!(env.dropped_open().is_empty(), "dropped: {:?}", env.dropped_open());
    check_files(env).await;
}

pub(crate) async fn check_files(env: &SimEnv) {
    let dir = std::path::Path::new(super::DIR);
    let loaded = Manifest::read(env, dir, super::IDENTITY).await.unwrap();
    let state = &loaded.state;
    for name in env.list(dir).await.unwrap() {
        let is_named = match FileName::parse(&name) {
            Some(FileName::Table(number)) => {
                state.version.tables().any(|(_, table)| table.meta.number == number)
            }
            Some(FileName::Segment(number)) => state.wal.iter().any(|meta| meta.number == number),
            Some(FileName::Manifest(number)) => number == loaded.number,
            Some(FileName::Current) => true,
            Some(FileName::CurrentTmp) | None => false,
        };
        assert!(is_named, "{name} was left behind");
    }
}
