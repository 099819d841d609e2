//! One segment of the log, from its creation to its last frame.
//!
//! # Invariants
//! - `offset` moves only over bytes whose write has completed whole; after an error nothing more is written.
//! - One write at a time; a sync may run beside it, and covers what was written before.
//! - No block that holds a durable byte is written again: only 512 bytes are atomic. Where a write is not durable by itself a
//!   block takes several frames, and a sync ends where one ends ([`Segment::is_between_blocks`]).

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use crate::env::{Env, File, IoBuf, Lane, Open, Sync, try_allocate, write_all_at, write_all_in};
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::limits::{ALIGN, IO_BYTES_MAX};
use crate::manifest::edit::WalMeta;
use crate::options::SyncPolicy;

use super::header::{FORMAT, Header, Magic};
use super::{FIRST_FRAME, GRAIN_BYTES, SEGMENT_BYTES_MIN, path};

/// An open segment that takes frames.
pub(crate) struct Segment<E: Env> {
    file: E::File,
    path: PathBuf,
    meta: WalMeta,
    epoch: u64,
    /// Opened with `O_DSYNC`.
    each_write: bool,
    grain_bytes: usize,
    /// Where the next frame begins.
    offset: Cell<u64>,
    state: Cell<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Ready,
    /// Until its completion the outcome of a write is unknown: a caller that goes away half-way leaves it so.
    Writing,
    Failed,
}

impl<E: Env> std::fmt::Debug for Segment<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Segment")
            .field("path", &self.path)
            .field("offset", &self.offset.get())
            .finish_non_exhaustive()
    }
}

impl<E: Env> Segment<E> {
    /// Makes a segment of `bytes` bytes (header included) durable on disk, all zeros behind its header, and opens it.
    /// The caller lists it in the manifest before it writes the first frame, a chain frame.
    ///
    /// I/O: under `Always` `bytes` written on the cold lane, else a block, and the space taken; one sync of the file and one of
    /// the directory.
    ///
    /// # Errors
    /// `Io`; the partial file is removed. Try again under a new number.
    pub(crate) async fn create(
        env: &E,
        dir: &Path,
        identity: Identity,
        number: u64,
        bytes: u64,
        policy: SyncPolicy,
    ) -> Result<Self> {
        assert!(bytes >= SEGMENT_BYTES_MIN);
        assert!(bytes.is_multiple_of(ALIGN as u64));
        let path = path(dir, number);
        let file = env
            .open(&path, Open::CreateNew, Lane::Cold)
            .await
            .map_err(|error| Error::io("create", &path, &error))?;
        let epoch = env.random_u64();
        let each_write = policy == SyncPolicy::Always;
        let grain_bytes = if each_write { ALIGN } else { GRAIN_BYTES };
        let header = Header { format: FORMAT, number, epoch, extent: bytes, grain_bytes };
        let header = header.encode(Magic::Segment, identity);
        let made = match prewrite(env, file, header, bytes, policy).await {
            Ok(()) => reopen(env, dir, &path, policy).await,
            Err(error) => Err(("prewrite", error)),
        };
        match made {
            Ok(file) => {
                let meta = WalMeta { number, bytes };
                let (offset, state) = (Cell::new(FIRST_FRAME), Cell::new(Condition::Ready));
                Ok(Self { file, path, meta, epoch, each_write, grain_bytes, offset, state })
            }
            Err((op, error)) => {
                // Nothing names the file yet. If it cannot be removed now, recovery removes it.
                let _orphan = env.remove(&path).await;
                Err(Error::io(op, &path, &error))
            }
        }
    }

    /// Writes a finished frame at [`Segment::next_offset`]. If [`Segment::is_durable_on_write`], it is durable when this
    /// returns. The buffer comes back in every case.
    ///
    /// # Errors
    /// `Io`: whether the frame is on disk is unknown, and the segment takes no more.
    pub(crate) async fn write(&self, frame: IoBuf) -> (Result<()>, IoBuf) {
        assert_eq!(self.state.get(), Condition::Ready, "one write at a time, none after an error");
        assert!(!frame.is_empty());
        assert!(frame.len() as u64 <= self.room());
        let (offset, bytes) = (self.offset.get(), frame.len() as u64);
        self.state.set(Condition::Writing);
        let (written, frame) = write_all_in(&self.file, frame, offset, self.grain_bytes).await;
        match written {
            // A sync beside it may have failed meanwhile.
            Ok(()) if self.state.get() == Condition::Writing => {
                self.state.set(Condition::Ready);
                self.offset.set(offset + bytes);
                (Ok(()), frame)
            }
            Ok(()) => (Err(Error::io("write", &self.path, &failed_before())), frame),
            Err(error) => {
                self.state.set(Condition::Failed);
                (Err(Error::io("write", &self.path, &error)), frame)
            }
        }
    }

    /// Makes every frame before `upto`, the end of a block that was reached, durable. Needed only where a write is not by
    /// itself. Frames behind it may be written meanwhile.
    ///
    /// # Errors
    /// `Io`: nothing about this segment is certain, it takes no more.
    pub(crate) async fn sync_to(&self, upto: u64) -> Result<()> {
        assert!(upto.is_multiple_of(ALIGN as u64), "a block of which a part is durable");
        assert!(upto <= self.offset.get());
        let synced = match self.state.get() {
            Condition::Failed => Err(failed_before()),
            Condition::Ready | Condition::Writing => self.file.sync_to(upto).await,
        };
        if synced.is_err() {
            self.state.set(Condition::Failed);
        }
        synced.map_err(|error| Error::io("sync", &self.path, &error))
    }

    /// Closes the file; it makes nothing durable.
    ///
    /// # Errors
    /// `Io`; the file is closed all the same.
    pub(crate) async fn close(self) -> Result<()> {
        self.file.close().await.map_err(|error| Error::io("close", &self.path, &error))
    }

    /// Whether it was opened for [`SyncPolicy::Always`].
    pub(crate) fn is_durable_on_write(&self) -> bool {
        self.each_write
    }

    /// What batches are padded to, in bytes.
    pub(crate) fn grain_bytes(&self) -> usize {
        self.grain_bytes
    }

    /// Whether the log ends with a whole block: only then may it be synced. A witness fills the block.
    pub(crate) fn is_between_blocks(&self) -> bool {
        self.offset.get().is_multiple_of(ALIGN as u64)
    }

    /// Bytes left for frames.
    pub(crate) fn room(&self) -> u64 {
        self.meta.bytes - self.offset.get()
    }

    /// Where the next frame begins.
    pub(crate) fn next_offset(&self) -> u64 {
        self.offset.get()
    }

    /// File number.
    pub(crate) fn number(&self) -> u64 {
        self.meta.number
    }

    /// Random, part of the seed of its frames' checksums.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the manifest is told.
    pub(crate) fn meta(&self) -> WalMeta {
        self.meta
    }
}

/// Makes what is found in a segment durable. A process that was killed may have left frames that its successor reads, and
/// that a power cut would still take: nothing may be built on them before (R12, R25).
///
/// I/O: one sync.
///
/// # Errors
/// `Io`: nothing about this segment is certain.
pub(crate) async fn sync_found<E: Env>(env: &E, dir: &Path, number: u64) -> Result<()> {
    let path = path(dir, number);
    let file = env
        .open(&path, Open::Write(Sync::Explicit), Lane::Cold)
        .await
        .map_err(|error| Error::io("open", &path, &error))?;
    let synced = file.sync().await;
    let closed = file.close().await;
    synced.and(closed).map_err(|error| Error::io("sync", &path, &error))
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write or sync of this segment failed")
}

/// Header and zeros over the whole length, synced, closed.
///
/// Where each write is to be durable by itself the zeros are written: writing into an extent that is only allocated changes
/// metadata, and so each `O_DSYNC` write would commit the journal. Where one sync a second does that anyway, the space is
/// only taken, and each byte of the log is written once.
async fn prewrite<E: Env>(
    env: &E,
    file: E::File,
    header: IoBuf,
    bytes: u64,
    policy: SyncPolicy,
) -> io::Result<()> {
    let mut offset = header.len() as u64;
    let (written, mut piece) = write_all_at(&file, header, 0).await;
    written?;
    if policy != SyncPolicy::Always && offset < bytes && try_allocate(&file, bytes).await? {
        offset = bytes;
    }
    piece.clear();
    while offset < bytes {
        let len = (bytes - offset).min(IO_BYTES_MAX as u64);
        piece.resize(usize::try_from(len).expect("at most IO_BYTES_MAX"), 0);
        let (written, back) = write_all_at(&file, piece, offset).await;
        written?;
        piece = back;
        offset += len;
        env.pause().await;
    }
    file.sync().await?;
    file.close().await
}

/// The name becomes durable, and the file gets the descriptor that frames are written through. The zeros were written
/// through another one: `O_DSYNC` over the whole length would have cost a flush per piece.
async fn reopen<E: Env>(
    env: &E,
    dir: &Path,
    path: &Path,
    policy: SyncPolicy,
) -> std::result::Result<E::File, (&'static str, io::Error)> {
    env.sync_dir(dir).await.map_err(|error| ("sync the directory of", error))?;
    let sync = match policy {
        SyncPolicy::Always => Sync::EachWrite,
        SyncPolicy::EverySecond | SyncPolicy::Never => Sync::PageCache,
    };
    env.open(path, Open::Write(sync), Lane::Hot).await.map_err(|error| ("open", error))
}
