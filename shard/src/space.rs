//! Whether there is space for new data: looked at each second, and learned from what the disk refuses.
//!
//! - **Low**: less is free than the reserve (R32). New values are refused; what is kept pays for flushes, compactions, the log
//!   and deletes, so that space can be given back.
//! - **Exhausted**: not even that works. The disk has refused a file or a block, whatever its free bytes say (inodes, a quota,
//!   someone else who took the reserve). Then nobody may wait for the background, which cannot go on: deletes are taken
//!   while the log has room for them and a quarter of a memtable is not used up, and then refused as well.
//!
//! Both end by themselves: low at 1.25 times the reserve, exhausted with the next success of a background job, or when none has
//! been refused for a while.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::env::Env;
use crate::error::Error;
use crate::options::{CompactionStyle, Options};
use crate::shard::Shard;
use crate::wal::SEGMENT_OVERHEAD_BYTES;
use crate::wal::frame::frame_bytes;

/// A refusal that was not repeated for this long says nothing any more. Longer than any pause before a retry.
const REFUSED_FOR: Duration = Duration::from_secs(15);

/// The part of a segment, one in so many, that only deletes may use while there is no spare.
const LOG_KEPT_FOR_DELETES: u64 = 8;

/// What a delete takes in a memtable beside its key, in bytes.
const DELETE_BYTES: usize = 64;

#[derive(Debug)]
struct Refused {
    words: String,
    at: Duration,
}

/// What is known about the space of a shard's file system.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// Free bytes and the reserve, while the first is below the second.
    low: Cell<Option<(u64, u64)>>,
    /// Free bytes and the reserve, when last looked at.
    seen: Cell<(u64, u64)>,
    refused: RefCell<Option<Refused>>,
    /// Memory taken by deletes while nothing could be flushed, in bytes.
    deletes_bytes: Cell<usize>,
    /// Bytes that the segment being written has left behind the frame in flight.
    pub(crate) log_room: Cell<u64>,
    /// Making a spare segment failed, and not for want of something: whoever writes next finds out whether the log goes on.
    pub(crate) spare_failed: Cell<bool>,
}

impl Space {
    /// New values are refused.
    pub(crate) fn is_full(&self) -> bool {
        self.low.get().is_some() || self.is_refused()
    }

    /// Less is free than the reserve.
    pub(crate) fn is_low(&self) -> bool {
        self.low.get().is_some()
    }

    fn is_refused(&self) -> bool {
        self.refused.borrow().is_some()
    }

    /// No file of `bytes` can be made: what needs one cannot go on.
    fn is_exhausted(&self, bytes: u64) -> bool {
        self.is_refused() || self.low.get().is_some_and(|(free, _)| free < bytes)
    }
}

/// Disk space that is kept for giving space back, whatever the tables are, in bytes: a compaction step, and for each shard of
/// the same file system its memtables and a segment.
pub fn reserve_bytes(options: &Options) -> u64 {
    let memtables = options.memtable_bytes as u64 * (1 + options.sealed_memtables_max as u64);
    2 * options.table.table_bytes
        + u64::from(options.shards_beside + 1) * (memtables + options.wal_segment_bytes)
}

impl<E: Env> Shard<E> {
    /// As [`reserve_bytes`]; a merge of L0 and L1, if that is larger, may have to write all of both before it gives any back.
    fn reserve_now(&self) -> u64 {
        let options = &self.inner.options;
        let step = 2 * options.table.table_bytes;
        let merge = match options.style {
            CompactionStyle::Leveled => {
                let version = &self.view().version;
                version.level_bytes(0) + version.level_bytes(1)
            }
            // A merge of the largest runs may be all there is: no reserve could be that large.
            CompactionStyle::SizeTiered => 0,
        };
        reserve_bytes(options) - step + step.max(merge)
    }

    /// Compares the free space with the reserve.
    pub(crate) async fn look_at_free_space(&self) {
        let inner = &self.inner;
        let space = &inner.space;
        let free = match inner.env.free_bytes(&inner.dir).await {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "asking for the free space");
                return;
            }
        };
        let reserve = self.reserve_now();
        let was_full = space.is_full();
        // Resumes at 1.25 times the reserve, so that it does not flutter.
        let limit = if space.is_low() { reserve + reserve / 4 } else { reserve };
        space.seen.set((free, reserve));
        space.low.set((free < limit).then_some((free, reserve)));
        let now = inner.env.now();
        let is_old = |refused: &Refused| now.saturating_sub(refused.at) > REFUSED_FOR;
        if space.refused.borrow().as_ref().is_some_and(is_old) {
            *space.refused.borrow_mut() = None;
        }
        self.tell_space(was_full);
    }

    /// A background job was refused space.
    pub(crate) async fn space_refused(&self, error: &Error) {
        let space = &self.inner.space;
        let was_full = space.is_full();
        let refused = Refused { words: error.to_string(), at: self.env().now() };
        *space.refused.borrow_mut() = Some(refused);
        self.tell_space(was_full);
        self.look_at_free_space().await;
    }

    /// Something that needs space has succeeded.
    pub(crate) fn space_taken(&self) {
        let space = &self.inner.space;
        if !space.is_refused() {
            return;
        }
        let was_full = space.is_full();
        *space.refused.borrow_mut() = None;
        self.tell_space(was_full);
    }

    fn tell_space(&self, was_full: bool) {
        let inner = &self.inner;
        let is_full = inner.space.is_full();
        let (free, reserve) = inner.space.seen.get();
        if is_full && !was_full {
            tracing::error!(free, reserve, "disk full: writes are refused until space is back");
        }
        if was_full && !is_full {
            tracing::info!(free, reserve, "space is back: writes are taken again");
            inner.spare_wanted.signal();
        }
        if !self.is_out_of_space() {
            inner.space.deletes_bytes.set(0);
        }
        // Also what was exhausted and is low now changes what is admitted.
        self.admission_changed();
    }

    /// Nothing may wait for the background: it is refused the space that it needs.
    pub(crate) fn is_out_of_space(&self) -> bool {
        self.inner.space.is_exhausted(self.inner.options.wal_segment_bytes)
    }

    pub(crate) fn charge_deletes(&self, ops: usize, bytes: usize) {
        if self.is_out_of_space() {
            let spent = &self.inner.space.deletes_bytes;
            spent.set(spent.get() + bytes + ops * DELETE_BYTES);
        }
    }

    pub(crate) fn are_deletes_spent(&self) -> bool {
        self.inner.space.deletes_bytes.get() >= self.inner.options.memtable_bytes / 4
    }

    /// The frame that gathers, with `added_bytes` more, would have to wait for a segment to be made. A write that is alone in
    /// a frame larger than any segment is let in all the same: its segment is made for it. While there is no spare, the end
    /// of the segment is kept for deletes: perhaps none can be made.
    pub(crate) fn is_log_full(
        &self,
        gathered_bytes: usize,
        added_bytes: usize,
        deletes_only: bool,
    ) -> bool {
        let inner = &self.inner;
        let needed = frame_bytes(gathered_bytes + added_bytes) as u64;
        let room = inner.space.log_room.get();
        let kept = inner.options.wal_segment_bytes / LOG_KEPT_FOR_DELETES;
        let may_take_all = || deletes_only || inner.spare.borrow().is_some();
        if needed + kept <= room || (needed <= room && may_take_all()) {
            return false;
        }
        let usual = inner.options.wal_segment_bytes - SEGMENT_OVERHEAD_BYTES;
        if inner.space.spare_failed.get() || (gathered_bytes == 0 && needed > usual) {
            return false;
        }
        inner.spare.borrow().as_ref().is_none_or(|spare| needed > spare.room())
    }

    /// The refusal that a client sees.
    pub(crate) fn disk_full_error(&self) -> Error {
        let space = &self.inner.space;
        let (free_bytes, reserve_bytes) = space.low.get().unwrap_or(space.seen.get());
        let words = space.refused.borrow().as_ref().map(|refused| refused.words.clone());
        // Where little is free that says it all.
        let refused = words.filter(|_| !space.is_low());
        Error::DiskFull { dir: self.inner.dir.clone(), free_bytes, reserve_bytes, refused }
    }
}
