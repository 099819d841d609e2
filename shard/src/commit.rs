//! Group commit: one frame is in flight while the next one gathers. No timer: a frame leaves as soon as the one before it
//! is on disk.
//!
//! ```text
//! write() ─▶ gather ──take──▶ segment.write ─▶ written_seq (and, under `always`, durable_seq) ─▶ acknowledgements
//! ```
//!
//! # Invariants
//! - Frames are written in order, one at a time, each at the end of the one before it.
//! - `written_seq` and `durable_seq` move only after the write or sync that they stand for has succeeded.
//! - The first failed write or sync is final (R30): no retry, no other segment.
//! - A segment is in the manifest before its first frame is written, and a new one begins only when all of the one before
//!   it is durable (R12).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::backlog::Calm;
use crate::batch::Op;
use crate::env::{Env, Queue, align_up};
use crate::error::Result;
use crate::event::Event;
use crate::key::SeqNo;
use crate::manifest::edit::{VersionEdit, WalMeta};
use crate::options::SyncPolicy;
use crate::shard::Shard;
use crate::stats::add;
use crate::wal::frame::{FrameBuilder, FrameHead, chain_frame, frame_bytes, witness_frame};
use crate::wal::segment::Segment;
use crate::wal::{Chain, SEGMENT_OVERHEAD_BYTES};

/// Frames behind the last batch that say that it was durable, once the log is idle. Two: else two blocks exchanged, the
/// batch and the one witness of it, would read like a torn tail.
const WITNESSES: u8 = 2;

/// Bytes that may gather while a frame is in flight; then writes wait. One command larger than this still fits alone.
pub(crate) const GATHER_BYTES_MAX: usize = 4 << 20;

/// Frames up to this size, in bytes, never allocate.
const FRAME_BYTES_USUAL: usize = 256 << 10;

/// Under `everysec`: how often the log is synced, and how late a sync may be before writes wait for it.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// How often a sync that is due or late is looked for: what this adds to the window of `everysec`.
const SYNC_LOOK: Duration = Duration::from_millis(100);
const SYNC_LOOKS: u32 = 10;

/// Unsynced bytes under the weaker policies that start a sync early, so that the change of a segment, which must wait
/// for all of the old one, has little left to wait for.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// The part of a segment that is not worth a sync of its own before the last one: 64 KiB of 16 MiB.
const LAST_SYNC_PART: u64 = 256;

/// The frame that gathers.
#[derive(Debug)]
pub(crate) struct Gather {
    frame: FrameBuilder,
    first_seq: SeqNo,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { frame: FrameBuilder::new(FRAME_BYTES_USUAL), first_seq: SeqNo(0) }
    }

    /// Bytes encoded so far.
    pub(crate) fn bytes(&self) -> usize {
        self.frame.bytes()
    }

    /// Bytes that the frame takes on disk.
    fn padded_bytes(&self) -> u64 {
        frame_bytes(self.frame.bytes()) as u64
    }

    /// Announces the number of the next operation.
    #[inline]
    pub(crate) fn begin(&mut self, seq: SeqNo) {
        if self.frame.is_empty() {
            self.first_seq = seq;
        }
        let next = self.first_seq.0 + u64::from(self.frame.ops());
        assert_eq!(next, seq.0, "the frame's numbers have no gap");
    }

    #[inline]
    pub(crate) fn push(&mut self, op: &Op<'_>) {
        self.frame.push(op);
    }
}

/// A live segment and the last operation in it.
#[derive(Debug, Clone, Copy)]
struct LiveSegment {
    meta: WalMeta,
    last_seq: SeqNo,
}

/// The live segments, oldest first; the last one is being written.
#[derive(Debug, Default)]
pub(crate) struct Log {
    live: VecDeque<LiveSegment>,
}

impl Log {
    /// A segment from recovery or a new one.
    pub(crate) fn push(&mut self, meta: WalMeta, last_seq: SeqNo) {
        self.live.push_back(LiveSegment { meta, last_seq });
    }

    fn wrote(&mut self, last_seq: SeqNo) {
        if let Some(segment) = self.live.back_mut() {
            segment.last_seq = last_seq;
        }
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.iter().map(|segment| segment.meta.bytes).sum()
    }

    pub(crate) fn live_segments(&self) -> usize {
        self.live.len()
    }

    /// The first segment that is still needed once everything up to `flushed` is in tables.
    pub(crate) fn first_live(&self, flushed: SeqNo) -> Option<u64> {
        let last = self.live.back()?;
        let needed = self.live.iter().find(|segment| segment.last_seq > flushed);
        Some(needed.unwrap_or(last).meta.number)
    }

    /// Forgets the segments below `first`; answers their numbers.
    pub(crate) fn drop_below(&mut self, first: u64) -> Vec<u64> {
        let mut dropped = Vec::new();
        while let Some(segment) = self.live.front() {
            if segment.meta.number >= first {
                break;
            }
            dropped.push(segment.meta.number);
            self.live.pop_front();
        }
        dropped
    }
}

/// What the commit task owns.
#[derive(Debug)]
pub(crate) struct Committer<E: Env> {
    shard: Shard<E>,
    segment: Rc<Segment<E>>,
    /// Bytes written since the last sync began.
    unsynced_bytes: u64,
    /// Frames still to be written behind the last batch that say that it was durable.
    witnesses_wanted: u8,
}

/// The syncs of the weaker policies: one at a time, beside the writes, by a task of their own. Under `always` a
/// completed write is durable, and none are ordered.
#[derive(Debug)]
pub(crate) struct LogSync<E: Env> {
    order: RefCell<Option<SyncOrder<E>>>,
    ordered: Event,
    busy: Cell<bool>,
    began: Cell<Duration>,
    /// Everything before this offset of the current segment is durable.
    upto: Cell<u64>,
    /// A flush waits for what is written to become durable.
    pub(crate) wanted: Cell<bool>,
    /// Nothing was written for a second.
    idle: Cell<bool>,
    closed: Cell<bool>,
}

impl<E: Env> LogSync<E> {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            order: RefCell::new(None),
            ordered: Event::new(),
            busy: Cell::new(false),
            began: Cell::new(now),
            upto: Cell::new(0),
            wanted: Cell::new(false),
            idle: Cell::new(false),
            closed: Cell::new(false),
        }
    }
}

/// Make `segment` durable as far as `upto`: then every operation up to `seq` is.
#[derive(Debug)]
struct SyncOrder<E: Env> {
    segment: Rc<Segment<E>>,
    upto: u64,
    seq: SeqNo,
}

impl<E: Env> Committer<E> {
    pub(crate) fn new(shard: Shard<E>, segment: Segment<E>) -> Self {
        shard.inner.sync.upto.set(segment.next_offset());
        // The chain that the segment begins with is the first one.
        let witnesses_wanted = if segment.is_durable_on_write() { WITNESSES - 1 } else { 0 };
        let new = Self { shard, segment: Rc::new(segment), unsynced_bytes: 0, witnesses_wanted };
        new.announce_room(0);
        new
    }

    /// Runs until the shard fails or is closed; closes the segment, and says where it ended.
    pub(crate) async fn run(mut self) {
        let result = self.commit_all().await;
        let Self { shard, segment, .. } = self;
        match result {
            Ok(()) => {
                shard.inner.clean_end.set(Some((segment.number(), segment.next_offset())));
            }
            Err(error) => shard.fail(&error),
        }
        shard.inner.sync.closed.set(true);
        shard.inner.sync.ordered.signal();
        // A sync that failed or still runs drops it.
        if let Some(segment) = Rc::into_inner(segment)
            && let Err(error) = segment.close().await
        {
            tracing::warn!(%error, "closing a write-ahead log segment");
        }
        shard.task_ended();
    }

    async fn commit_all(&mut self) -> Result<()> {
        let shard = self.shard.clone();
        loop {
            if let Some(error) = shard.failure() {
                return Err(error);
            }
            if self.sync_is_due() {
                self.order_sync().await?;
            }
            if !shard.inner.gather.borrow().frame.is_empty() {
                self.commit_one().await?;
            } else if shard.inner.closing.get() {
                return self.all_durable().await;
            } else if self.witness_is_due() {
                self.commit_witness().await?;
            } else {
                shard.inner.commit_wanted.wait().await;
            }
        }
    }

    fn sync_is_due(&self) -> bool {
        let sync = &self.shard.inner.sync;
        if self.unsynced_bytes == 0 || sync.busy.get() {
            return false;
        }
        let due = || self.shard.env().now().saturating_sub(sync.began.get()) >= SYNC_INTERVAL;
        let many = self.unsynced_bytes >= UNSYNCED_BYTES_MAX || self.segment_ends_soon();
        match self.shard.policy() {
            // A segment of a weaker policy, still in use: each frame is synced as soon as the one before it is.
            SyncPolicy::Always => true,
            SyncPolicy::EverySecond => sync.wanted.get() || many || due(),
            SyncPolicy::Never => sync.wanted.get() || many,
        }
    }

    /// The next segment begins only when all of this one is durable, and writes wait for that. So syncs come closer as its end
    /// does: each covers half of what was left, until so little is that the last one is as fast as any.
    fn segment_ends_soon(&self) -> bool {
        let least_bytes = self.segment.meta().bytes / LAST_SYNC_PART;
        self.unsynced_bytes >= self.segment.room().max(least_bytes)
    }

    /// Starts the sync of all that was written so far; writes go on beside it, in blocks of their own.
    async fn order_sync(&mut self) -> Result<()> {
        let shard = self.shard.clone();
        let inner = &shard.inner;
        assert!(!inner.sync.busy.get());
        if !self.segment.is_between_blocks() {
            self.write_witness().await?;
        }
        self.unsynced_bytes = 0;
        inner.sync.wanted.set(false);
        inner.sync.busy.set(true);
        inner.sync.began.set(inner.env.now());
        let seq = inner.progress.written.get();
        let (segment, upto) = (Rc::clone(&self.segment), self.segment.next_offset());
        *inner.sync.order.borrow_mut() = Some(SyncOrder { segment, upto, seq });
        inner.sync.ordered.signal();
        Ok(())
    }

    /// Waits until everything written is durable.
    async fn all_durable(&mut self) -> Result<()> {
        let shard = self.shard.clone();
        loop {
            let progress = &shard.inner.progress;
            if progress.durable.get() == progress.written.get() && !shard.inner.sync.busy.get() {
                return Ok(());
            }
            if let Some(error) = shard.failure() {
                return Err(error);
            }
            if !shard.inner.sync.busy.get() {
                self.order_sync().await?;
            }
            progress.moved.wait().await;
        }
    }

    /// Takes what has gathered and writes it as one frame.
    async fn commit_one(&mut self) -> Result<()> {
        let shard = self.shard.clone();
        let mut is_new_segment = false;
        loop {
            // It may grow while a segment is made: ask again each time.
            let needed = shard.inner.gather.borrow().padded_bytes();
            if needed <= self.segment.room() {
                break;
            }
            self.next_segment(needed).await?;
            is_new_segment = true;
        }
        if is_new_segment {
            // Only now: a spare of the usual size, made meanwhile, would be taken again by a frame too large for it.
            shard.inner.spare_wanted.signal();
        }
        // From here to the write nothing is awaited: the frame's offset and numbers belong together.
        let (first_seq, ops, buf) = {
            let mut gather = shard.inner.gather.borrow_mut();
            let (first_seq, ops) = (gather.first_seq, u64::from(gather.frame.ops()));
            (first_seq, ops, gather.frame.finish(self.head(first_seq)))
        };
        let last_seq = SeqNo(first_seq.0 + ops - 1);
        let bytes = buf.len() as u64;
        self.announce_room(bytes);
        shard.admission_changed();
        let began = shard.env().now();
        let (result, buf) = self.segment.write(buf).await;
        shard.inner.gather.borrow_mut().frame.give_back(buf);
        result?;
        let waited = shard.env().now().saturating_sub(began);
        let counters = shard.counters();
        add(&counters.wal_frames, 1);
        add(&counters.wal_ops, ops);
        add(&counters.wal_bytes, bytes);
        add(&counters.wal_wait_ns, u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        shard.inner.log.borrow_mut().wrote(last_seq);
        shard.inner.progress.wrote(last_seq);
        if self.is_durable_on_write() {
            add(&counters.wal_syncs, 1);
            shard.inner.sync.upto.set(self.segment.next_offset());
            self.witnesses_wanted = WITNESSES;
            shard.inner.sync.idle.set(false);
            shard.inner.progress.made_durable(last_seq);
        } else {
            self.unsynced_bytes += bytes;
        }
        shard.inner.progress.moved.signal();
        Ok(())
    }

    /// Damage in the last batch reads like a torn tail until something behind it says that it was durable. While nobody
    /// writes, frames for that alone cost nothing (R19). Under the weaker policies an acknowledged tail may be torn.
    fn witness_is_due(&self) -> bool {
        let inner = &self.shard.inner;
        // In a full segment the chain of the next one has to say it; but an idle log makes none for that.
        let is_possible = self.has_room_for_witness() || inner.spare.borrow().is_some();
        self.witnesses_wanted > 0 && inner.sync.idle.get() && is_possible
    }

    fn has_room_for_witness(&self) -> bool {
        self.segment.room() >= frame_bytes(0) as u64
    }

    /// Writes the frame that says that all before it is durable.
    async fn commit_witness(&mut self) -> Result<()> {
        let shard = self.shard.clone();
        let inner = &shard.inner;
        if !self.has_room_for_witness() {
            self.next_segment(0).await?;
            inner.spare_wanted.signal();
            return Ok(());
        }
        self.witnesses_wanted -= 1;
        self.write_witness().await?;
        inner.sync.upto.set(self.segment.next_offset());
        Ok(())
    }

    /// Fills the block in which the log ends, or the next one. There is room: the segment is whole blocks.
    async fn write_witness(&self) -> Result<()> {
        let inner = &self.shard.inner;
        let frame = witness_frame(self.head(SeqNo(inner.progress.written.get().0 + 1)));
        add(&inner.counters.wal_bytes, frame.len() as u64);
        self.announce_room(frame.len() as u64);
        self.segment.write(frame).await.0
    }

    /// Before a write of `bytes`: what is admitted meanwhile must not count on this room, nor on what is left of a block, which
    /// a witness may fill.
    fn announce_room(&self, bytes: u64) {
        let end = align_up(self.segment.next_offset() + bytes);
        let room = self.segment.meta().bytes - end;
        self.shard.inner.space.log_room.set(room);
    }

    fn head(&self, first_seq: SeqNo) -> FrameHead {
        FrameHead {
            identity: self.shard.inner.identity,
            segment: self.segment.number(),
            epoch: self.segment.epoch(),
            offset: self.segment.next_offset(),
            first_seq,
            synced_upto: self.shard.inner.sync.upto.get(),
            grain_bytes: self.segment.grain_bytes(),
        }
    }

    /// A completed write is durable by itself. Not the policy decides, which may have changed since the segment was made.
    fn is_durable_on_write(&self) -> bool {
        self.segment.is_durable_on_write()
    }

    /// Goes on in a new segment, whose first frame names the end of this one.
    async fn next_segment(&mut self, needed: u64) -> Result<()> {
        self.all_durable().await?;
        let shard = self.shard.clone();
        // A spare is used whatever its size, so that segments follow each other in the order of their numbers.
        let segment = {
            let _pass = shard.inner.making_segment.enter().await;
            let spare = shard.inner.spare.take();
            match spare {
                Some(spare) => spare,
                None => Spare::make_when_space(&shard, needed).await?,
            }
        };
        let previous = std::mem::replace(&mut self.segment, Rc::new(segment.segment));
        self.announce_room(0);
        let last_seq = shard.inner.progress.written.get();
        shard.inner.sync.upto.set(0);
        let chain = Chain { segment: previous.number(), end: previous.next_offset(), last_seq };
        let chain = chain_frame(chain, self.head(SeqNo(0)));
        let (result, _) = self.segment.write(chain).await;
        result?;
        self.witnesses_wanted = self.witnesses_wanted.saturating_sub(1);
        shard.inner.log.borrow_mut().push(segment.meta, last_seq);
        if !self.is_durable_on_write() {
            self.segment.sync_to(self.segment.next_offset()).await?;
        }
        shard.inner.sync.upto.set(self.segment.next_offset());
        let Some(previous) = Rc::into_inner(previous) else {
            unreachable!("no sync runs: everything was durable")
        };
        previous.close().await?;
        shard.seal_if_log_is_long();
        Ok(())
    }
}

/// A segment made in advance: prewritten, and listed in the manifest.
#[derive(Debug)]
pub(crate) struct Spare<E: Env> {
    segment: Segment<E>,
    meta: WalMeta,
}

impl<E: Env> Spare<E> {
    /// Makes a segment with room for a frame of `needed` bytes, and lists it in the manifest.
    /// I/O: writes the whole segment once, two syncs, one manifest edit.
    pub(crate) async fn make(shard: &Shard<E>, needed: u64) -> Result<Self> {
        let inner = &shard.inner;
        let policy = shard.policy();
        let number = shard.next_number().await?;
        let bytes = inner.options.wal_segment_bytes.max(needed + 2 * crate::limits::ALIGN as u64);
        let bytes = align_up(bytes);
        let segment =
            Segment::create(&inner.env, &inner.dir, inner.identity, number, bytes, policy).await?;
        let meta = segment.meta();
        let edit = VersionEdit { wal_added: vec![meta], ..VersionEdit::default() };
        if let Err(error) = inner.manifest.append(&edit).await {
            if inner.manifest.failure().is_none() {
                // Certainly not listed. What cannot be removed now, recovery removes.
                let _closed = segment.close().await;
                let _orphan = inner.env.remove(&crate::wal::path(&inner.dir, number)).await;
            }
            return Err(error);
        }
        add(&inner.counters.wal_segments, 1);
        Ok(Self { segment, meta })
    }

    /// As [`Spare::make`], but a full disk or descriptor table is waited out: nothing was promised yet to those who wait
    /// for the frame.
    async fn make_when_space(shard: &Shard<E>, needed: u64) -> Result<Self> {
        loop {
            match Self::make(shard, needed).await {
                // A manifest that has failed for good answers its first error for ever: no space helps it.
                Err(error)
                    if error.is_passing()
                        && !shard.inner.closing.get()
                        && shard.inner.manifest.failure().is_none() =>
                {
                    add(&shard.counters().background_errors, 1);
                    tracing::warn!(%error, "the next write-ahead log segment cannot be made; writes wait");
                    if error.is_no_space() {
                        shard.space_refused(&error).await;
                    }
                    shard.nap(SYNC_INTERVAL).await;
                }
                made => {
                    if made.is_ok() {
                        shard.space_taken();
                    }
                    return made;
                }
            }
        }
    }

    /// Bytes that frames have in it, behind the chain.
    pub(crate) fn room(&self) -> u64 {
        self.meta.bytes - SEGMENT_OVERHEAD_BYTES
    }

    pub(crate) fn into_parts(self) -> (Segment<E>, WalMeta) {
        (self.segment, self.meta)
    }
}

impl<E: Env> Shard<E> {
    /// Keeps one spare segment ready. A failure to make one is no failure of the log: the committer makes its own, and
    /// only its own failure is final.
    pub(crate) async fn keep_spare(self) {
        loop {
            if self.inner.closing.get() || self.inner.failure.borrow().is_some() {
                break;
            }
            if self.inner.spare.borrow().is_none() {
                let pass = self.inner.making_segment.enter().await;
                let made = Spare::make(&self, 0).await;
                let failed = made.as_ref().err().cloned();
                let is_broken = failed.as_ref().is_some_and(|error| !error.is_passing());
                self.inner.space.spare_failed.set(is_broken);
                if let Ok(spare) = made {
                    self.space_taken();
                    *self.inner.spare.borrow_mut() = Some(spare);
                }
                drop(pass);
                self.admission_changed();
                if let Some(error) = failed {
                    self.background_error("making a spare log segment", &error).await;
                    self.nap(SYNC_INTERVAL).await;
                }
                continue;
            }
            self.inner.spare_wanted.wait().await;
        }
        self.task_ended();
    }

    /// Changes when a write is acknowledged, from the next one on, until the shard is opened again. To `Always`: returns once
    /// all that was acknowledged before is durable, too (R7). The segments that exist keep the way in which they are written.
    ///
    /// # Errors
    /// `ReadOnly`: the log has failed, before or meanwhile. The new policy holds.
    pub async fn set_policy(&self, policy: SyncPolicy) -> Result<()> {
        self.inner.policy.set(policy);
        // What waits to be released may be so now.
        self.inner.progress.moved.signal();
        self.inner.commit_wanted.signal();
        match policy {
            SyncPolicy::Always => self.made_durable(self.inner.progress.last.get()).await,
            SyncPolicy::EverySecond | SyncPolicy::Never => Ok(()),
        }
    }

    /// Starts the tasks of the log.
    pub(crate) fn start_log(&self, segment: Segment<E>) {
        let committer = Committer::new(self.clone(), segment);
        self.start_task(Queue::Commit, committer.run());
        self.start_task(Queue::Commit, self.clone().sync_loop());
        self.start_task(Queue::Compaction, self.clone().keep_spare());
        self.start_task(Queue::Commit, self.clone().tick());
    }

    /// Carries out the syncs that the committer orders. A failed one is final, as a failed write is.
    async fn sync_loop(self) {
        let sync = &self.inner.sync;
        loop {
            let order = sync.order.take();
            let Some(SyncOrder { segment, upto, seq }) = order else {
                if sync.closed.get() {
                    break;
                }
                sync.ordered.wait().await;
                continue;
            };
            let synced = segment.sync_to(upto).await;
            // The committer takes its segment back, alone, when it sees that this is over.
            drop(segment);
            match synced {
                Ok(()) => {
                    add(&self.inner.counters.wal_syncs, 1);
                    sync.upto.set(upto);
                    self.inner.progress.made_durable(seq);
                }
                Err(error) => self.fail(&error),
            }
            sync.busy.set(false);
            self.inner.sync_late.set(false);
            self.admission_changed();
            self.inner.progress.moved.signal();
            self.inner.commit_wanted.signal();
        }
        self.task_ended();
    }

    /// Under `everysec`: a sync that is due is ordered also when nobody writes any more, and one that takes longer than its
    /// interval makes writes wait, so that the window of what a power cut may take stays bounded (R6).
    fn look_at_sync(&self) {
        let sync = &self.inner.sync;
        if self.policy() == SyncPolicy::EverySecond
            && self.inner.progress.durable.get() < self.inner.progress.written.get()
        {
            self.inner.commit_wanted.signal();
        }
        let late = sync.busy.get()
            && self.policy() == SyncPolicy::EverySecond
            && self.env().now().saturating_sub(sync.began.get()) > 2 * SYNC_INTERVAL;
        if late && !self.inner.sync_late.replace(true) {
            tracing::warn!("a sync of the write-ahead log is late; writes wait for it");
        }
    }

    /// Due syncs ten times a second; once a second the witness of an idle log, free space, idle compaction, files that a
    /// reader held.
    async fn tick(self) {
        let mut written_before = SeqNo(0);
        let mut calm = Calm::default();
        let mut looks = 0;
        while !self.inner.closing.get() {
            self.nap(SYNC_LOOK).await;
            self.look_at_sync();
            self.settle_memory();
            looks = (looks + 1) % SYNC_LOOKS;
            if looks > 0 {
                continue;
            }
            let written = self.inner.progress.written.get();
            self.inner.sync.idle.set(written == written_before);
            self.inner.quiet.set(calm.look(written, self.counters().reads.get()));
            written_before = written;
            self.inner.commit_wanted.signal();
            self.look_at_free_space().await;
            self.inner.background.compaction_wanted.signal();
            if !self.inner.obsolete.borrow().is_empty() {
                self.collect_garbage().await;
            }
        }
        self.task_ended();
    }

    fn seal_if_log_is_long(&self) {
        if self.inner.log.borrow().live_bytes() >= self.inner.options.wal_bytes_max {
            self.seal_if_allowed();
        }
    }
}
