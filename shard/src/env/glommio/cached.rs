//! Files through the page cache: the log under the policies that do not wait for the disk.
//!
//! A write of such a file by the kernel is a job for a thread of its own (ext4 and others take none that must not wait): a
//! wake-up and a switch, 15 us on an idle machine and up to the scheduler on a busy one. And it may wait in there: it touches the
//! file's inode, which a sync that runs beside it may hold for tens of milliseconds. So the file is mapped, and a write is a
//! copy into the mapping, which is the same page cache: what is there survives the process.
//!
//! The core's thread must not wait for the file system in a page fault either. So it only writes into pages that a thread of
//! the pool has made writable shortly before: the *window*. The window moves ahead of the writes, larger for faster ones. Pages
//! that were made too long ago may have been written back, and the next store would have to ask the file system again: they do
//! not count. Nor do those that the kernel has written back early: the window is looked at by `cachestat` once a millisecond.
//! Whatever is not in the window, and what is too long to be copied between two passes, goes by the ring.
//!
//! # Invariants
//! - The range of the file that is synced ends with what was written: the pages ahead stay writable.
//! - The mapping outlives every job that works on it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::GlommioEnv;
use crate::env::{Env, IoBuf, Queue, align_down};
use crate::event::Event;
use crate::limits::ALIGN;

/// Longer writes go by the ring, in bytes: a copy of this length takes some 20 us.
pub(super) const COPY_BYTES_MAX: usize = 128 << 10;

/// How long a page counts as writable. The kernel writes back what is dirty for 30 s, unless told otherwise, and looks every 5.
pub(super) const FRESH: Duration = Duration::from_secs(3);

/// How long pages that were dirty count as dirty, and how many bytes of them one look is at. A look is a system call.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const LOOK_BYTES: u64 = 64 << 10;

/// Writes by the ring that follow each other this closely are worth a window.
const OFTEN: Duration = Duration::from_millis(10);

/// Bytes that one job makes writable: at first, and at most.
const STEP_BYTES_MIN: u64 = 256 << 10;
const STEP_BYTES_MAX: u64 = 4 << 20;

/// A step that was used up in less than the first is followed by one of twice its size; in more than the second, of half.
const STEP_SHORT: Duration = Duration::from_millis(100);
const STEP_LONG: Duration = Duration::from_secs(1);

/// A file's bytes in memory.
#[derive(Debug)]
pub(super) struct Mapping {
    /// An address; never dereferenced but by [`Mapping::copy`].
    start: usize,
    bytes: usize,
}

impl Mapping {
    /// Maps all of `file`, if the file system can and there is anything.
    pub(super) fn new(file: &std::fs::File) -> io::Result<Option<Arc<Self>>> {
        let bytes = file.metadata()?.len();
        let Ok(bytes) = usize::try_from(bytes) else { return Ok(None) };
        if bytes == 0 {
            return Ok(None);
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of ours is there.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        // Not every file system has mappings: then all goes by the ring.
        Ok((start != libc::MAP_FAILED)
            .then(|| Arc::new(Self { start: start.expose_provenance(), bytes })))
    }

    /// Makes pages writable ahead of time. Waits for the file system, so not for a core's thread.
    fn make_writable(&self, from: u64, bytes: u64) -> io::Result<()> {
        self.advise(from, bytes, libc::MADV_POPULATE_WRITE)
    }

    /// Forgets the addresses of pages that are not needed any more; the page cache keeps them.
    fn let_go(&self, from: u64, bytes: u64) {
        // Nothing depends on it.
        let _result = self.advise(from, bytes, libc::MADV_DONTNEED);
    }

    fn advise(&self, from: u64, bytes: u64, advice: i32) -> io::Result<()> {
        let (from, bytes) = (position(from), position(bytes));
        assert!(from + bytes <= self.bytes);
        let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(self.start + from);
        // SAFETY: the range lies in the mapping. Both kinds of advice leave the bytes of a shared file as they are.
        let result = unsafe { libc::madvise(start, bytes, advice) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn copy(&self, bytes: &[u8], offset: u64) {
        let offset = position(offset);
        assert!(offset + bytes.len() <= self.bytes);
        let to = std::ptr::with_exposed_provenance_mut::<u8>(self.start + offset);
        // SAFETY: the range lies in the mapping, which lives; nobody holds a reference into it, and only this thread writes there.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(self.start);
        // SAFETY: the mapping made in `new`, which nothing refers to any more.
        unsafe { libc::munmap(start, self.bytes) };
    }
}

/// Pages that are writable.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: u64,
    upto: u64,
    made: Instant,
}

/// Pages that were dirty when they were looked at.
#[derive(Debug, Clone, Copy)]
struct Look {
    upto: u64,
    at: Instant,
}

/// The pages ahead of the writes.
#[derive(Debug)]
struct Window {
    mapping: Arc<Mapping>,
    /// Without a gap; the first one is being written.
    steps: RefCell<VecDeque<Step>>,
    look: Cell<Option<Look>>,
    /// Whether the kernel tells what is dirty; `None` before the first look.
    can_look: Cell<Option<bool>>,
    /// A job is at work on the next one.
    making: Cell<bool>,
    made: Event,
    step_bytes: Cell<u64>,
    last_by_ring: Cell<Option<Instant>>,
    /// The file system would not: no more jobs.
    refused: Cell<bool>,
}

/// An open file of this kind.
#[derive(Debug)]
pub(super) struct CachedFile {
    pub(super) fd: Rc<OwnedFd>,
    window: Option<Rc<Window>>,
}

impl CachedFile {
    pub(super) fn new(fd: OwnedFd, mapping: Option<Arc<Mapping>>) -> Self {
        let window = mapping.map(|mapping| {
            Rc::new(Window {
                mapping,
                steps: RefCell::default(),
                look: Cell::new(None),
                can_look: Cell::new(None),
                making: Cell::new(false),
                made: Event::new(),
                step_bytes: Cell::new(STEP_BYTES_MIN),
                last_by_ring: Cell::new(None),
                refused: Cell::new(false),
            })
        });
        Self { fd: Rc::new(fd), window }
    }

    /// Writes `buf[from..from + len]` at `offset`.
    pub(super) async fn write(
        &self,
        env: &GlommioEnv,
        buf: IoBuf,
        from: usize,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, IoBuf) {
        if let Some(window) = &self.window {
            let now = Instant::now();
            let copied = window.copy(&self.fd, &buf[from..from + len], offset, now);
            // What is too long to be copied has no use for a window either.
            if copied || (len <= COPY_BYTES_MAX && window.is_worth_it(now)) {
                window.move_on(env, offset + len as u64, now);
            }
            if copied {
                return (Ok(len), buf);
            }
        }
        env.world.ring.write(&self.fd, buf, from, len, offset).await
    }

    /// Where the pages that are writable end.
    #[cfg(test)]
    pub(super) fn ready_upto(&self) -> u64 {
        let last = self.window.as_ref().and_then(|window| window.steps.borrow().back().copied());
        last.map_or(0, |last| last.upto)
    }

    /// What is left to be closed once no job needs the mapping any more.
    pub(super) async fn into_parts(self) -> (Rc<OwnedFd>, Option<Arc<Mapping>>) {
        let Some(window) = self.window else { return (self.fd, None) };
        window.made.until(|| (!window.making.get()).then_some(())).await;
        (self.fd, Some(Arc::clone(&window.mapping)))
    }
}

impl Window {
    /// Copies `bytes` to `offset` if all of it lies in fresh pages.
    fn copy(&self, fd: &OwnedFd, bytes: &[u8], offset: u64, now: Instant) -> bool {
        let end = offset + bytes.len() as u64;
        let mut steps = self.steps.borrow_mut();
        let (Some(first), Some(last)) = (steps.front(), steps.back()) else { return false };
        // The first is the oldest.
        let is_ready = first.from <= offset && end <= last.upto && now - first.made < FRESH;
        if !is_ready || bytes.len() > COPY_BYTES_MAX {
            return false;
        }
        let upto = (offset + LOOK_BYTES).clamp(end, last.upto);
        if !self.are_dirty(fd, offset, end, upto, now) {
            // Written back early: they are made writable anew.
            steps.clear();
            return false;
        }
        self.mapping.copy(bytes, offset);
        true
    }

    /// Whether the pages of `offset..end` are dirty, so that a store does not ask the file system: looks at those up to `upto` if the
    /// last look is too old.
    fn are_dirty(&self, fd: &OwnedFd, offset: u64, end: u64, upto: u64, now: Instant) -> bool {
        let is_known = |look: Look| end <= look.upto && now - look.at < LOOK_INTERVAL;
        if self.can_look.get() == Some(false) || self.look.get().is_some_and(is_known) {
            return true;
        }
        let from = align_down(offset);
        let bytes = dirty_bytes(fd, from, upto - from).unwrap_or_else(|error| {
            tracing::debug!(%error, "whether the log's pages are dirty cannot be seen: taken for so while fresh");
            0
        });
        if self.can_look.get().is_none() {
            // No call, or a file system in memory, which has no use for it: of pages just made writable none would be dirty.
            self.can_look.set(Some(bytes > 0));
        }
        let are_dirty = bytes >= upto - from;
        self.look.set(are_dirty.then_some(Look { upto, at: now }));
        are_dirty || self.can_look.get() == Some(false)
    }

    /// Whether writes come so often that a window pays.
    fn is_worth_it(&self, now: Instant) -> bool {
        self.last_by_ring.replace(Some(now)).is_some_and(|last| now - last < OFTEN)
    }

    /// Moves the window on to `offset`, where the next write will be: forgets what lies behind or is too old, and has the
    /// next step made when less than one is left.
    fn move_on(self: &Rc<Self>, env: &GlommioEnv, offset: u64, now: Instant) {
        if self.making.get() {
            return;
        }
        let mut behind = None;
        let mut steps = self.steps.borrow_mut();
        while let Some(step) = steps.front().copied() {
            if step.upto > offset && now - step.made < FRESH {
                break;
            }
            steps.pop_front();
            let from = behind.map_or(step.from, |(from, _)| from);
            behind = Some((from, step.upto));
            if step.upto <= offset {
                self.adapt(now - step.made);
            }
        }
        let from = steps.back().map_or(align_down(offset), |last| last.upto);
        let (step_bytes, file_bytes) = (self.step_bytes.get(), self.mapping.bytes as u64);
        let upto = (from + step_bytes).min(align_down(file_bytes));
        let is_wanted = from < offset + step_bytes / 2 && from < upto && !self.refused.get();
        drop(steps);
        if !is_wanted && behind.is_none() {
            return;
        }
        self.making.set(true);
        let (window, blocking) = (Rc::clone(self), env.clone());
        env.spawn(Queue::Commit, async move {
            let mapping = Arc::clone(&window.mapping);
            let job = move || {
                if let Some((from, upto)) = behind {
                    mapping.let_go(from, upto - from);
                }
                if is_wanted { mapping.make_writable(from, upto - from) } else { Ok(()) }
            };
            let result = blocking.blocking(job).await;
            window.making.set(false);
            match result {
                Ok(()) if is_wanted => {
                    let made = Instant::now();
                    window.steps.borrow_mut().push_back(Step { from, upto, made });
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%error, "the log's pages cannot be made writable ahead");
                    window.refused.set(true);
                }
            }
            window.made.signal();
        });
    }

    fn adapt(&self, used_up_in: Duration) {
        let bytes = self.step_bytes.get();
        let bytes = if used_up_in < STEP_SHORT {
            bytes * 2
        } else if used_up_in > STEP_LONG {
            bytes / 2
        } else {
            bytes
        };
        self.step_bytes.set(bytes.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX));
    }
}

/// Bytes of whole pages that are dirty in the page cache, of those that `bytes` from `from`, at the start of a page, touch. A page
/// is [`ALIGN`] here: where they are larger, they could not be made writable in such steps.
///
/// # Errors
/// As `cachestat(2)`: there is none before Linux 6.5, nor where a filter forbids it.
pub(super) fn dirty_bytes(fd: &OwnedFd, from: u64, bytes: u64) -> io::Result<u64> {
    /// Its number on every architecture (`include/uapi/asm-generic/unistd.h`).
    const SYS_CACHESTAT: libc::c_long = 451;
    /// `struct cachestat_range` and `struct cachestat` of `include/uapi/linux/mman.h`.
    #[repr(C)]
    struct Range {
        from: u64,
        bytes: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Found {
        cached: u64,
        dirty: u64,
        written_back: u64,
        evicted: u64,
        evicted_recently: u64,
    }
    let range = Range { from, bytes };
    let mut found = Found::default();
    // SAFETY: reads one local, fills another, both of the kernel's structures' shapes.
    let result = unsafe {
        libc::syscall(SYS_CACHESTAT, fd.as_raw_fd(), &raw const range, &raw mut found, 0)
    };
    if result == 0 { Ok(found.dirty * ALIGN as u64) } else { Err(io::Error::last_os_error()) }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("within the address space")
}
