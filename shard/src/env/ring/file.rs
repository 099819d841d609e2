//! File operations in flight: who waits for them, and the memory that the kernel works on.
//!
//! # Invariants
//! - From submission to completion the slot owns the buffer and holds the file open. A dropped future only marks its
//!   slot; the memory stays, and the descriptor cannot be reused for another file under a queued request.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};

use super::Ring;
use super::kernel::{KIND_FILE, outcome};
use crate::env::IoBuf;
use crate::limits::IO_BYTES_MAX;

/// One operation's slot.
#[derive(Debug)]
enum Slot {
    Free,
    Flying { _file: Rc<OwnedFd>, buf: IoBuf, waker: Option<Waker>, abandoned: bool },
    Landed { result: i32, buf: IoBuf },
}

/// All file operations of one ring.
#[derive(Debug)]
pub(super) struct FileOps {
    slots: Vec<Slot>,
    free: Vec<u32>,
    flying: usize,
    max: usize,
    /// Those who found no free slot.
    waiting: Vec<Waker>,
}

impl FileOps {
    pub(super) fn new(max: usize) -> Self {
        assert!(max > 0);
        Self { slots: Vec::new(), free: Vec::new(), flying: 0, max, waiting: Vec::new() }
    }

    /// Operations that the kernel has not completed.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    /// Whether another operation may start.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.max
    }

    /// Wakes this waiter when a slot becomes free.
    pub(super) fn wait_for_room(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// Takes the memory over until the operation in the returned slot has completed.
    pub(super) fn launch(&mut self, file: Rc<OwnedFd>, buf: IoBuf) -> u32 {
        assert!(self.has_room());
        let slot = Slot::Flying { _file: file, buf, waker: None, abandoned: false };
        self.flying += 1;
        if let Some(index) = self.free.pop() {
            assert!(matches!(self.slots[index as usize], Slot::Free));
            self.slots[index as usize] = slot;
            return index;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len() - 1).expect("bounded by max")
    }

    /// The kernel is done with a slot.
    pub(super) fn land(&mut self, index: u32, result: i32) {
        let slot = &mut self.slots[index as usize];
        let Slot::Flying { buf, waker, abandoned, .. } = std::mem::replace(slot, Slot::Free) else {
            panic!("a completion for file slot {index}, which is not in flight");
        };
        assert!(self.flying > 0);
        self.flying -= 1;
        if abandoned {
            self.release(index);
            return;
        }
        *slot = Slot::Landed { result, buf };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The result and the buffer, once.
    pub(super) fn poll(&mut self, index: u32, context: &Context<'_>) -> Poll<(i32, IoBuf)> {
        let slot = &mut self.slots[index as usize];
        match slot {
            Slot::Flying { waker, .. } => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
            Slot::Landed { .. } => {
                let Slot::Landed { result, buf } = std::mem::replace(slot, Slot::Free) else {
                    unreachable!("matched above");
                };
                self.release(index);
                Poll::Ready((result, buf))
            }
            Slot::Free => panic!("file slot {index} was polled after it ended"),
        }
    }

    /// Nobody waits for this slot any more.
    pub(super) fn abandon(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        match slot {
            Slot::Flying { waker, abandoned, .. } => {
                *waker = None;
                *abandoned = true;
            }
            Slot::Landed { .. } => {
                *slot = Slot::Free;
                self.release(index);
            }
            Slot::Free => {}
        }
    }

    fn release(&mut self, index: u32) {
        assert!(matches!(self.slots[index as usize], Slot::Free));
        self.free.push(index);
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

impl Ring {
    /// Reads up to `len` bytes at `offset` to the start of `buf`.
    pub async fn read(
        &self,
        file: &Rc<OwnedFd>,
        mut buf: IoBuf,
        offset: u64,
        len: usize,
    ) -> (io::Result<()>, IoBuf) {
        assert!(len <= IO_BYTES_MAX);
        buf.clear();
        buf.reserve(len);
        let fd = Fd(file.as_raw_fd());
        let entry =
            opcode::Read::new(fd, buf.as_mut_ptr(), request_len(len)).offset(offset).build();
        let (result, mut buf) = self.carry_out(file, buf, entry).await;
        let read = result.map(|count| {
            assert!(count <= len);
            // SAFETY: `len` bytes were reserved, and the kernel has written `count` of them.
            unsafe { buf.set_len(count) };
        });
        (read, buf)
    }

    /// Writes `buf[from..from + len]` at `offset`; answers the bytes written.
    ///
    /// Always by a worker of the kernel. It would try on the core's thread first, where ext4 writes down the time of the change
    /// and waits for a commit of its journal, and so for the disk, whatever was asked of it (seen with Linux 6.18: a core that
    /// stood still for as long as its disk, 16 times in 120). A worker takes the place of the one that would flush for `O_DSYNC`,
    /// so it costs nothing that could be measured.
    pub async fn write(
        &self,
        file: &Rc<OwnedFd>,
        buf: IoBuf,
        from: usize,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, IoBuf) {
        assert!(len <= IO_BYTES_MAX);
        let bytes = &buf[from..from + len];
        let fd = Fd(file.as_raw_fd());
        let entry = opcode::Write::new(fd, bytes.as_ptr(), request_len(len)).offset(offset).build();
        self.carry_out(file, buf, entry.flags(squeue::Flags::ASYNC)).await
    }

    /// Makes completed writes durable.
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    pub async fn fdatasync(&self, file: &Rc<OwnedFd>) -> io::Result<()> {
        // No length is all of the file.
        self.fdatasync_range(file, 0).await
    }

    /// The same for what lies before `upto`: of pages behind it nothing is written back.
    ///
    /// # Errors
    /// As `fdatasync(2)`.
    pub async fn fdatasync_to(&self, file: &Rc<OwnedFd>, upto: u64) -> io::Result<()> {
        assert!(upto > 0);
        self.fdatasync_range(file, u32::try_from(upto - 1).unwrap_or(0)).await
    }

    /// `last`: the last byte that is meant, from the start of the file.
    async fn fdatasync_range(&self, file: &Rc<OwnedFd>, last: u32) -> io::Result<()> {
        let fd = Fd(file.as_raw_fd());
        let entry = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
        self.carry_out(file, IoBuf::new(), with_len(entry, last)).await.0.map(|_| ())
    }

    /// Submits a file operation on `buf`'s memory and waits for it.
    async fn carry_out(
        &self,
        file: &Rc<OwnedFd>,
        buf: IoBuf,
        entry: squeue::Entry,
    ) -> (io::Result<usize>, IoBuf) {
        let files = &self.core.files;
        poll_fn(|context| {
            let mut files = files.borrow_mut();
            if files.has_room() {
                return Poll::Ready(());
            }
            files.wait_for_room(context.waker());
            Poll::Pending
        })
        .await;
        // Moving the buffer into its slot leaves its bytes where they are.
        let slot = files.borrow_mut().launch(Rc::clone(file), buf);
        let mut flight = Flight { ring: self, slot, over: false };
        self.core.push(entry.user_data(KIND_FILE | u64::from(slot)));
        let (result, buf) = poll_fn(|context| files.borrow_mut().poll(slot, context)).await;
        flight.over = true;
        (outcome(result), buf)
    }
}

/// A file operation between submission and completion; dropped early it leaves the memory to the ring.
struct Flight<'a> {
    ring: &'a Ring,
    slot: u32,
    over: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.ring.core.files.borrow_mut().abandon(self.slot);
        }
    }
}

/// Sets the field `len` of an entry, which the crate offers for some operations only.
fn with_len(mut entry: squeue::Entry, len: u32) -> squeue::Entry {
    /// Where it stands in `struct io_uring_sqe` (`include/uapi/linux/io_uring.h`), in bytes.
    const LEN_AT: usize = 24;
    const { assert!(size_of::<squeue::Entry>() == 64) };
    // SAFETY: an entry is the kernel's structure of 64 plain bytes, and the field is an aligned u32 of it.
    unsafe { (&raw mut entry).byte_add(LEN_AT).cast::<u32>().write(len) };
    entry
}

fn request_len(len: usize) -> u32 {
    u32::try_from(len).expect("at most IO_BYTES_MAX")
}
