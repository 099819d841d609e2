//! What the tests of this room share: a log that knows what it acknowledged, and a replay that is checked against it.
//!
//! The k-th operation of every test log is [`op`]`(k)`: any replay that is not a prefix of these is wrong.

mod crash;
mod damage;
mod dump;
mod frames;
mod replay;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::frame::{FrameBuilder, FrameHead, chain_frame, witness_frame};
use super::reader::{Replay, Replayed};
use super::segment::Segment;
use super::{Chain, FIRST_FRAME};
use crate::batch::Op;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{Identity, SeqNo};
use crate::manifest::Manifest;
use crate::manifest::edit::{CleanStop, VersionEdit, WalMeta};
use crate::options::SyncPolicy;

pub(super) const ID: Identity =
    Identity { directory: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, shard: 3 };
pub(super) const DIR: &str = "/";

/// An operation with its own memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Owned {
    pub(super) fn op(&self) -> Op<'_> {
        match &self.value {
            Some(value) => Op::Put { key: &self.key, value, expires_at_ms: 0 },
            None => Op::Delete { key: &self.key },
        }
    }

    fn of(op: Op<'_>) -> Self {
        let value = match op {
            Op::Put { value, .. } => Some(value.to_vec()),
            Op::Delete { .. } => None,
        };
        Self { key: op.key().to_vec(), value }
    }
}

/// The operation with this number, of every test log.
pub(super) fn op(seq: u64) -> Owned {
    let key = format!("key{}", seq * 7 % 5).into_bytes();
    let byte = u8::try_from(seq % 251).unwrap();
    let value = match seq % 9 {
        0 => None,
        // Longer than a block.
        4 => Some(vec![byte; 5000]),
        _ => Some(vec![byte; usize::try_from(seq * 37 % 200).unwrap()]),
    };
    Owned { key, value }
}

/// What a crash cannot take from the test: how far the log had come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Handed to a write.
    pub(super) intended: Rc<Cell<u64>>,
    /// Whose write has completed.
    pub(super) written: Rc<Cell<u64>>,
    /// Durable.
    pub(super) durable: Rc<Cell<u64>>,
}

/// A log as the shard would write it.
pub(super) struct Log<E: Env> {
    env: E,
    policy: SyncPolicy,
    segment: Option<Segment<E>>,
    builder: FrameBuilder,
    listed: RefCell<Vec<WalMeta>>,
    /// Offset in the active segment up to which all is durable.
    synced_upto: u64,
    pub(super) last_seq: u64,
    /// Lists segments, where a test has one.
    pub(super) manifest: Option<Rc<Manifest<E>>>,
    pub(super) progress: Progress,
    /// Begin of each frame: segment, offset, end (unpadded), last operation.
    pub(super) frames: Vec<(u64, u64, u64, u64)>,
}

impl<E: Env> Log<E> {
    pub(super) fn new(env: &E, policy: SyncPolicy) -> Self {
        Self {
            env: env.clone(),
            policy,
            segment: None,
            builder: FrameBuilder::new(8192),
            listed: RefCell::default(),
            synced_upto: 0,
            last_seq: 0,
            manifest: None,
            progress: Progress::default(),
            frames: Vec::new(),
        }
    }

    /// Live segments.
    pub(super) fn listed(&self) -> Vec<WalMeta> {
        self.listed.borrow().clone()
    }

    fn head(&self, first_seq: u64) -> FrameHead {
        let segment = self.segment.as_ref().unwrap();
        FrameHead {
            identity: ID,
            segment: segment.number(),
            epoch: segment.epoch(),
            offset: segment.next_offset(),
            first_seq: SeqNo(first_seq),
            synced_upto: self.synced_upto,
            grain_bytes: segment.grain_bytes(),
        }
    }

    pub(super) async fn create(&self, number: u64, blocks: u64) -> Result<Segment<E>> {
        let segment =
            Segment::create(&self.env, Path::new(DIR), ID, number, blocks * 4096, self.policy)
                .await?;
        if let Some(manifest) = &self.manifest {
            let wal_added = vec![segment.meta()];
            manifest.append(&VersionEdit { wal_added, ..VersionEdit::default() }).await?;
        }
        self.listed.borrow_mut().push(segment.meta());
        Ok(segment)
    }

    /// Goes over to a new segment, whose chain names `before` or the active one.
    pub(super) async fn begin(
        &mut self,
        number: u64,
        blocks: u64,
        before: Option<(u64, u64)>,
    ) -> Result<()> {
        let next = self.create(number, blocks).await?;
        self.sync().await?;
        let old = self.segment.replace(next);
        let (segment, end) = match &old {
            Some(old) => (old.number(), old.next_offset()),
            None => before.unwrap_or_default(),
        };
        self.synced_upto = FIRST_FRAME;
        let chain = Chain { segment, end, last_seq: SeqNo(self.last_seq) };
        let frame = chain_frame(chain, self.head(0));
        self.write(frame, self.last_seq, 72).await?;
        if let Some(old) = old {
            old.close().await?;
        }
        Ok(())
    }

    pub(super) async fn sync(&mut self) -> Result<()> {
        if self.segment.as_ref().is_some_and(|segment| !segment.is_between_blocks()) {
            self.witness().await?;
        }
        if let Some(segment) = &self.segment {
            let upto = segment.next_offset();
            segment.sync_to(upto).await?;
            self.synced_upto = upto;
        }
        self.progress.durable.set(self.last_seq);
        Ok(())
    }

    /// Writes the next `count` operations as one batch.
    pub(super) async fn batch(&mut self, count: u64) -> Result<()> {
        let ops: Vec<Owned> = (1..=count).map(|index| op(self.last_seq + index)).collect();
        self.write_ops(&ops).await
    }

    pub(super) async fn write_ops(&mut self, ops: &[Owned]) -> Result<()> {
        for op in ops {
            self.builder.push(&op.op());
        }
        let len = 48 + self.builder.bytes();
        let head = self.head(self.last_seq + 1);
        let frame = self.builder.finish(head);
        self.write(frame, self.last_seq + ops.len() as u64, len).await
    }

    pub(super) async fn witness(&mut self) -> Result<()> {
        let frame = witness_frame(self.head(self.last_seq + 1));
        self.write(frame, self.last_seq, 48).await
    }

    async fn write(&mut self, frame: crate::env::IoBuf, last_seq: u64, len: usize) -> Result<()> {
        let segment = self.segment.as_ref().unwrap();
        let (number, offset) = (segment.number(), segment.next_offset());
        // Recorded before: what a crash leaves may hold it.
        self.frames.push((number, offset, offset + len as u64, last_seq));
        self.progress.intended.set(last_seq);
        let (written, frame) = segment.write(frame).await;
        self.builder.give_back(frame);
        written?;
        self.last_seq = last_seq;
        self.progress.written.set(last_seq);
        if self.policy == SyncPolicy::Always {
            self.synced_upto = segment.next_offset();
            self.progress.durable.set(last_seq);
        }
        Ok(())
    }

    pub(super) fn end(&self) -> (u64, u64) {
        let segment = self.segment.as_ref().unwrap();
        (segment.number(), segment.next_offset())
    }

    pub(super) fn clean_stop(&self) -> CleanStop {
        let (segment, end) = self.end();
        CleanStop { segment, end, last_seq: self.last_seq }
    }

    pub(super) async fn close(self) -> Result<()> {
        match self.segment {
            Some(segment) => segment.close().await,
            None => Ok(()),
        }
    }
}

/// Three segments of 8, 6 and 8 blocks; batches of several operations, one longer than a block; room left in each.
pub(super) async fn small_log<E: Env>(env: &E) -> Log<E> {
    let mut log = Log::new(env, SyncPolicy::Always);
    log.begin(1, 8, None).await.unwrap();
    for count in [1, 2, 1] {
        log.batch(count).await.unwrap();
    }
    log.begin(4, 6, None).await.unwrap();
    log.batch(3).await.unwrap();
    log.batch(1).await.unwrap();
    log.begin(5, 8, None).await.unwrap();
    log.batch(2).await.unwrap();
    log.witness().await.unwrap();
    log.batch(2).await.unwrap();
    log
}

/// Replays and checks that the operations are a prefix of the ones that all test logs have, from `flushed_seq` on.
pub(super) async fn replay<E: Env>(
    env: &E,
    listed: &[WalMeta],
    flushed_seq: u64,
    clean_stop: Option<CleanStop>,
) -> Result<Replayed> {
    let dir = Path::new(DIR);
    let mut replay = Replay::open(env, dir, ID, listed, SeqNo(flushed_seq), clean_stop).await?;
    let mut next = flushed_seq + 1;
    while let Some(frame) = replay.next_frame().await? {
        assert_eq!(frame.unflushed().next().is_none(), frame.last_seq.0 <= flushed_seq);
        for (seq, found) in frame.ops() {
            assert_eq!(Owned::of(found), op(seq.0), "operation {}", seq.0);
        }
        for (seq, _) in frame.unflushed() {
            assert_eq!(seq.0, next);
            next += 1;
        }
        assert_eq!(next, frame.last_seq.0.max(flushed_seq) + 1);
    }
    let replayed = replay.finish();
    assert_eq!(replayed.last_seq.0 + 1, next);
    Ok(replayed)
}

/// File and offset of a report of damage, which must say what to do.
pub(super) fn corruption(error: &Error) -> (PathBuf, u64) {
    assert!(error.to_string().contains("rusty-lsm repair"), "{error}");
    match error {
        Error::Corruption { path, offset, .. } => (path.clone(), *offset),
        other => panic!("not a corruption: {other}"),
    }
}
