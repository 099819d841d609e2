//! The one door to the world: files, directories, clocks, randomness, tasks.
//!
//! The engine is generic over [`Env`]; nothing above this folder names an operating system, a runtime or a clock.
//!
//! - `ring`: the core's own io_uring. Operations in, completions out, bell. The only file that names io-uring.
//! - `glommio`: the real world. Hot files on the ring, cold files by DmaFile. The only file that names glommio.
//! - `sim`: a deterministic disk in memory that keeps "written" and "synced" apart, with crash clones and faults.
//!
//! # Contract
//! - Nothing is durable before a sync: bytes by [`File::sync`] (or a completed write in [`Sync::EachWrite`] mode
//!   to bytes that existed before), names by [`Env::sync_dir`].
//! - Offsets, lengths and buffers of reads and writes are multiples of [`ALIGN`], but of writes in [`Sync::PageCache`] mode, which
//!   change a part of a block as well. Files end at an aligned length.
//! - No request is longer than [`IO_BYTES_MAX`]; [`write_all_at`] and [`read_exact_at`] split longer ones.
//! - Reads and writes may be short. A failed operation gives the buffer back.

pub mod glommio;
pub mod ring;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use rkyv::util::AlignedVec;

use crate::huge_pages::prefer_huge_pages;
use crate::limits::{ALIGN, IO_BYTES_MAX};

/// A buffer for direct I/O: its address is aligned to [`ALIGN`].
pub type IoBuf = AlignedVec<ALIGN>;

/// Who waits for this file. Decides how the operations travel, never what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A client waits: WAL and block reads. On the core's own ring.
    Hot,
    /// Nobody waits: flush, compaction, manifest. By the runtime's own file I/O.
    Cold,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Must not exist (`O_EXCL`), readable and writable, mode 0600.
    CreateNew,
    /// Must exist, for reading.
    Read,
    /// Must exist, for reading and writing.
    Write(Sync),
}

/// What a completed write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Direct I/O; not durable before [`File::sync`].
    Explicit,
    /// Direct I/O, `O_DSYNC`: durable when the write completes.
    EachWrite,
    /// Through the page cache: a completed write survives the process, not the machine, until [`File::sync`]. Any offset and
    /// length within the file's. For the weaker WAL policies.
    PageCache,
}

/// Where a background task queues. Foreground work is not spawned: it runs in the core's own loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// The group commit: as urgent as the sockets.
    Commit,
    /// Flush and L0: the next in line.
    Flush,
    /// Everything that can wait.
    Compaction,
}

/// The world of one core. Cheap to clone (`Rc` inside).
///
/// Futures are not `Send`: they never leave their core.
pub trait Env: Clone + 'static {
    /// An open file of this world.
    type File: File;

    /// Opens a file. `CreateNew` fails with `AlreadyExists`; the new name is durable only after [`Env::sync_dir`].
    async fn open(&self, path: &Path, how: Open, lane: Lane) -> io::Result<Self::File>;
    /// Replaces `to` by `from` atomically; durable after [`Env::sync_dir`].
    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives the file `from` a second name, `to`, which must be absent (`AlreadyExists`) and lie on the same file system
    /// (`CrossesDevices`). Only names change: both lead to the same bytes, and removing one leaves the other. The new name is
    /// durable after [`Env::sync_dir`] of its directory; the bytes are as durable as they were.
    async fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable after [`Env::sync_dir`].
    async fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory (mode 0700) if it is absent; durable after [`Env::sync_dir`] of its parent.
    async fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    async fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes the names of a directory durable (a full fsync).
    async fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes free for us on the file system of `dir`.
    async fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Monotonic time since an arbitrary start.
    fn now(&self) -> Duration;
    /// Wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> u64;
    /// Random bits: seeds, epochs, identities.
    fn random_u64(&self) -> u64;

    /// Returns after `duration` or later, by [`Env::now`].
    async fn sleep(&self, duration: Duration);
    /// Lets everything else run once. Background work calls it after at most
    /// [`BACKGROUND_SLICE_US`](crate::limits::BACKGROUND_SLICE_US) of work; it is a real suspension.
    async fn pause(&self);
    /// Starts a long-lived task on this core. Tasks end by themselves; there is no cancellation.
    fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static);
    /// How much of a busy core a background queue gets, of 1000 (less is more patient). An idle core is theirs anyway.
    fn set_shares(&self, queue: Queue, shares: usize);
    /// Drops something large where no client waits for it (a plain thread in the real world).
    fn dispose(&self, garbage: Box<dyn Send>);
}

/// An open file. Dropping it without [`File::close`] is allowed only after an error.
#[expect(clippy::len_without_is_empty, reason = "nobody asks; an answer costs a system call")]
pub trait File: 'static {
    /// Reads up to `len` bytes at `offset` into `buf`, from its start; `buf`'s length is then the bytes read
    /// (short only at the end of the file or after an interrupted read).
    async fn read_at(&self, buf: IoBuf, offset: u64, len: usize) -> (io::Result<()>, IoBuf);
    /// Writes `buf[from..from + len]` at `offset`; answers how many bytes were written, maybe fewer than `len`.
    async fn write_at(
        &self,
        buf: IoBuf,
        from: usize,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, IoBuf);
    /// Takes the space for `bytes` bytes, a multiple of [`ALIGN`] above the file's length, which it has then; what is new reads as
    /// zeros. Durable after a sync, as a write is; what is written there later changes metadata once more.
    ///
    /// # Errors
    /// `Unsupported` where the file system cannot; then nothing has changed.
    async fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Makes all completed writes durable (fdatasync). After an error nothing about this file is certain.
    async fn sync(&self) -> io::Result<()>;
    /// The same for the completed writes that end at `upto` or before; of the others nothing is known. What is written
    /// meanwhile into other blocks is not held up.
    async fn sync_to(&self, upto: u64) -> io::Result<()>;
    /// Length in bytes, as the file system has it.
    async fn len(&self) -> io::Result<u64>;
    /// Gives the descriptor back. Makes nothing durable.
    async fn close(self) -> io::Result<()>;
}

/// Transfers that may end before one aligned block is done before that counts as the end: a short transfer is legal
/// and says nothing, several in a row do.
const STALLS_MAX: usize = 3;

/// Times in a row that one transfer is begun again after an interruption; then it has failed.
const INTERRUPTIONS_MAX: usize = 100;

/// Rounds up to the alignment.
pub const fn align_up(len: u64) -> u64 {
    len.next_multiple_of(ALIGN as u64)
}

/// Rounds down to the alignment.
pub const fn align_down(offset: u64) -> u64 {
    offset - offset % ALIGN as u64
}

/// Whether a transfer that ended so is begun again.
fn is_again(error: &io::Error, interruptions: &mut usize) -> bool {
    *interruptions += 1;
    error.kind() == io::ErrorKind::Interrupted && *interruptions <= INTERRUPTIONS_MAX
}

/// Writes the whole of `buf` at `offset` in requests of at most [`IO_BYTES_MAX`]; goes on after a short write from the
/// last aligned boundary. The buffer comes back in every case, to be used again.
///
/// # Errors
/// The first error, or `WriteZero` when the file takes no more.
pub async fn write_all_at<F: File>(file: &F, buf: IoBuf, offset: u64) -> (io::Result<()>, IoBuf) {
    write_all_in(file, buf, offset, ALIGN).await
}

/// As [`write_all_at`], in multiples of `grain_bytes`: fewer than [`ALIGN`] only for a file in [`Sync::PageCache`] mode.
///
/// # Errors
/// As [`write_all_at`].
pub async fn write_all_in<F: File>(
    file: &F,
    buf: IoBuf,
    offset: u64,
    grain_bytes: usize,
) -> (io::Result<()>, IoBuf) {
    assert!(offset.is_multiple_of(grain_bytes as u64));
    assert!(buf.len().is_multiple_of(grain_bytes));
    let (mut buf, mut from, mut stalls, mut interruptions) = (buf, 0, 0, 0);
    while from < buf.len() {
        let len = (buf.len() - from).min(IO_BYTES_MAX);
        let (written, back) = file.write_at(buf, from, len, offset + from as u64).await;
        buf = back;
        let whole = match written {
            Ok(count) => {
                assert!(count <= len);
                let whole = if count == len { len } else { count - count % grain_bytes };
                stalls = if whole == 0 { stalls + 1 } else { 0 };
                if count == 0 || stalls > STALLS_MAX {
                    return (Err(io::ErrorKind::WriteZero.into()), buf);
                }
                whole
            }
            Err(error) if is_again(&error, &mut interruptions) => continue,
            Err(error) => return (Err(error), buf),
        };
        from += whole;
    }
    (Ok(()), buf)
}

/// Takes the space for a file of `bytes` bytes: see [`File::allocate`]. False: the file system cannot, nothing has changed.
///
/// # Errors
/// No space for one.
pub async fn try_allocate<F: File>(file: &F, bytes: u64) -> io::Result<bool> {
    let mut interruptions = 0;
    loop {
        match file.allocate(bytes).await {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
            Err(error) if is_again(&error, &mut interruptions) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads exactly `len` bytes (aligned) at `offset` (aligned).
///
/// # Errors
/// The first error, or `UnexpectedEof` when the file ends before. The caller has checked `len` against a limit.
pub async fn read_exact_at<F: File>(file: &F, offset: u64, len: usize) -> io::Result<IoBuf> {
    assert_eq!(offset % ALIGN as u64, 0);
    assert_eq!(len % ALIGN, 0);
    // One request, the common case, reads straight into the result.
    let mut all = IoBuf::with_capacity(len);
    prefer_huge_pages(all.as_ptr(), len);
    let mut interruptions = 0;
    if len <= IO_BYTES_MAX {
        loop {
            let (read, back) = file.read_at(all, offset, len).await;
            all = back;
            match read {
                Ok(()) if all.len() == len => return Ok(all),
                // Short: begin again below, in pieces.
                Ok(()) => break,
                Err(error) if is_again(&error, &mut interruptions) => {}
                Err(error) => return Err(error),
            }
        }
        all.clear();
    }
    let mut piece = IoBuf::with_capacity(len.min(IO_BYTES_MAX));
    let mut stalls = 0;
    while all.len() < len {
        let want = (len - all.len()).min(IO_BYTES_MAX);
        let (read, back) = file.read_at(piece, offset + all.len() as u64, want).await;
        piece = back;
        match read {
            Ok(()) => {}
            Err(error) if is_again(&error, &mut interruptions) => continue,
            Err(error) => return Err(error),
        }
        let whole = piece.len() - piece.len() % ALIGN;
        stalls = if whole == 0 { stalls + 1 } else { 0 };
        if piece.is_empty() || stalls > STALLS_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&piece[..whole]);
    }
    Ok(all)
}
