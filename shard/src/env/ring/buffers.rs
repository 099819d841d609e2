//! The buffers into which the kernel receives: one ring of them per core, shared by all its connections.
//!
//! ```text
//! ring:  entry 0 | entry 1 | .. | entry n-1     16 bytes each: address, length, id; the tail lies in entry 0
//! bytes: buffer 0 | buffer 1 | .. | buffer n-1
//! ```
//!
//! # Invariants
//! - A buffer belongs either to the kernel (its id lies in the ring) or to exactly one [`RecvBuffer`].
//! - `free` is the number of those that belong to the kernel.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// The kernel's limit.
pub(super) const RECV_BUFFERS_MAX: u16 = 1 << 15;

/// Memory for the buffer ring and its buffers.
#[derive(Debug)]
pub(super) struct Buffers {
    ring: Mapping,
    bytes: Mapping,
    count: u16,
    each: u32,
    tail: Cell<u16>,
    free: Cell<usize>,
}

impl Buffers {
    /// `count` (a power of two) buffers of `each` bytes. The pages are touched only when used.
    pub(super) fn new(count: u16, each: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        assert!(count <= RECV_BUFFERS_MAX);
        assert!(each > 0);
        let ring = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(usize::from(count) * each as usize)?;
        Ok(Self { ring, bytes, count, each, tail: Cell::new(0), free: Cell::new(0) })
    }

    /// Where the kernel finds the ring.
    pub(super) fn ring_address(&self) -> u64 {
        self.ring.start.as_ptr() as u64
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn free(&self) -> usize {
        self.free.get()
    }

    /// Gives all buffers to the kernel, once, after the ring is registered.
    pub(super) fn fill(&self) {
        assert_eq!(self.free.get(), 0);
        for id in 0..self.count {
            self.give_back(id);
        }
    }

    fn give_back(&self, id: u16) {
        assert!(id < self.count);
        let tail = self.tail.get();
        let index = usize::from(tail & (self.count - 1));
        let entries: NonNull<BufRingEntry> = self.ring.start.cast();
        // SAFETY: `index` is below the number of entries; the kernel reads an entry only after the tail below passed
        // it, and this one is not in use: the ring has as many entries as there are buffers. The setters leave the
        // tail alone, which lies in the fourth field of entry 0.
        unsafe {
            let entry = &mut *entries.as_ptr().add(index);
            entry.set_addr(self.address(id) as u64);
            entry.set_len(self.each);
            entry.set_bid(id);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        self.free.set(self.free.get() + 1);
        assert!(self.free.get() <= usize::from(self.count));
        // SAFETY: entry 0 is valid, and its tail is a shared, aligned u16 that only this thread writes.
        unsafe {
            let shared = BufRingEntry::tail(entries.as_ptr()).cast::<AtomicU16>();
            (*shared).store(tail, Ordering::Release);
        }
    }

    fn address(&self, id: u16) -> *mut u8 {
        // SAFETY: `id` is below `count`: inside the mapping.
        unsafe { self.bytes.start.as_ptr().add(usize::from(id) * self.each as usize) }
    }
}

/// Bytes received from a socket. Dropping it gives its buffer back to the kernel, so drop it in the pass that
/// brought it: a burst may take all buffers at once.
#[derive(Debug)]
pub struct RecvBuffer {
    buffers: Rc<Buffers>,
    id: u16,
    len: u32,
}

impl RecvBuffer {
    /// Takes over buffer `id`, in which the kernel has put `len` bytes.
    pub(super) fn taken(buffers: &Rc<Buffers>, id: u16, len: u32) -> Self {
        assert!(id < buffers.count);
        assert!(len <= buffers.each);
        let free = buffers.free.get();
        assert!(free > 0);
        buffers.free.set(free - 1);
        Self { buffers: Rc::clone(buffers), id, len }
    }
}

impl Deref for RecvBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the buffer is ours until it is given back in `drop`, and the kernel has written `len` bytes of it
        // (the rest of an anonymous mapping is zeros).
        unsafe { std::slice::from_raw_parts(self.buffers.address(self.id), self.len as usize) }
    }
}

impl Drop for RecvBuffer {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}

/// Anonymous memory, page aligned, zeroed when first touched.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: asks for fresh memory, touches none.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, unmapped once; all that points into it is gone: `RecvBuffer`s
        // hold the `Buffers`, and the kernel's ring is closed before (see the ring's drop).
        let unmapped = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        assert_eq!(unmapped, 0);
    }
}
