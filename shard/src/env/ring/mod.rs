//! The core's own io_uring: operations in, completions out, and a bell. The only place that names io-uring.
//!
//! It knows files and sockets, and no protocol. One [`Ring`] per core, created and used on that core's thread.
//!
//! # A pass
//! 1. Operations are queued by plain calls ([`Ring::recv`], [`Ring::send`], a polled file operation): no
//!    system call.
//! 2. [`Ring::pass`] submits them all and reaps what has completed with one `io_uring_enter`; it enters again only
//!    while the kernel says that there is more, and not at all when there is nothing to do.
//! 3. File operations wake their tasks; socket events are handed to the caller.
//!
//! # Rules of sockets
//! - A token names a socket and is chosen by the caller. One receive and one send may be in flight per socket:
//!   several sends may be reordered.
//! - An accept goes on until an event says `more: false`: then arm it again, or not. A receive brings one buffer: arm it
//!   again when there is memory for another (back-pressure).
//! - After [`Ring::close`] what was in flight still completes under its token: reuse a token only after that.
//! - An accept that failed for lack of descriptors has ended: arm it again when a connection was closed, or later, and
//!   not at once.
//! - Sockets must not be `O_NONBLOCK` (the kernel would answer EAGAIN instead of waiting) and are closed by
//!   [`Ring::close`] only, which ends what is in flight: a descriptor closed behind the ring's back may be reused
//!   under a queued operation.
//!
//! # Invariants
//! - Memory that the kernel may touch is owned by the ring until the completion.
//! - Every operation except `cancel`, `shutdown` and `close` ends in exactly one completion without `more`.
#![expect(
    clippy::disallowed_types,
    reason = "a bell is rung by other threads; the kernel shares a tail with us"
)]
#![expect(unsafe_code, reason = "lends memory to the kernel; each block says why it stays valid")]

mod bell;
mod buffers;
mod file;
mod kernel;
mod slab;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};
use std::task::Waker;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{IoUring, opcode, squeue};

use self::buffers::Buffers;
use self::file::FileOps;
use self::kernel::{
    Core, KIND_ACCEPT, KIND_IGNORED, KIND_RECV, KIND_RECV_LARGE, KIND_SEND, KIND_SHIFT, Sending,
};
use self::slab::Slab;

pub use self::bell::Bell;
pub(in crate::env) use self::bell::{new_eventfd, write_eventfd};
pub use self::buffers::RecvBuffer;

/// Largest token: the byte above it says what kind of operation completed.
pub const TOKEN_MAX: u64 = (1 << KIND_SHIFT) - 1;

/// Times that one pass enters the kernel at most; the kernel may hand out only about 20 completions each time.
const ROUNDS_PER_PASS_MAX: usize = 16;

/// Most bytes of one send: a reply longer than that goes out in several, so that a slow reader's progress is seen.
const SEND_BYTES_MAX: usize = 1 << 20;

/// The groups of provided buffers.
const BUFFER_GROUP: u16 = 0;
const LARGE_BUFFER_GROUP: u16 = 1;

/// Buffers for connections in the middle of something long, and the bytes of each. One receive and one round of the core's
/// loop cost some 20 us: a value of 60 MB took 3,700 of them in buffers of the usual size.
const LARGE_RECV_BUFFERS: u16 = 8;
const LARGE_RECV_BUFFER_BYTES: u32 = 256 << 10;

/// Sizes of one ring.
#[derive(Debug, Clone)]
pub struct RingOptions {
    /// Operations queued before a submission is forced. Power of two. 64 bytes each.
    pub submissions: u32,
    /// Completions that fit without help from the kernel's overflow list; above the number of connections it
    /// costs 16 bytes each. Power of two.
    pub completions: u32,
    /// Buffers for received bytes, shared by all connections of the core. Power of two, at most 32,768.
    pub recv_buffers: u16,
    /// Bytes of each: what one receive can bring.
    pub recv_buffer_bytes: u32,
    /// File operations in flight at once; more wait their turn.
    pub file_ops_max: usize,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            submissions: 1024,
            completions: 8192,
            recv_buffers: 256,
            recv_buffer_bytes: 16 << 10,
            file_ops_max: 512,
        }
    }
}

/// What happened to a socket.
#[derive(Debug)]
pub struct Completion {
    /// As given with the operation.
    pub token: u64,
    /// What it was.
    pub event: SocketEvent,
    /// The operation, an accept, goes on. False: it has ended and may be armed again.
    pub more: bool,
}

/// See [`Completion`].
#[derive(Debug)]
pub enum SocketEvent {
    /// A connection. Close-on-exec, blocking.
    Accepted(OwnedFd),
    /// Bytes, at least one. Dropping the buffer gives it back.
    Received(RecvBuffer),
    /// The peer sends no more.
    Closed,
    /// `written` bytes of `buf[from..]` went out, maybe not all.
    Sent {
        /// As given to [`Ring::send`].
        buf: Vec<u8>,
        /// As given to [`Ring::send`].
        from: usize,
        /// Zero only if nothing could be sent.
        written: usize,
    },
    /// No buffer was free for a receive, which has ended: arm it again once [`Ring::buffers_free`] is above zero, or, after
    /// [`Ring::recv_large`], as an ordinary one.
    Starved,
    /// An accept or receive ended by [`Ring::cancel`] or [`Ring::close`].
    Cancelled,
    /// An accept or receive failed.
    Failed(io::Error),
    /// A send failed; the buffer comes back.
    SendFailed {
        /// As given to [`Ring::send`]; how much of it went out is unknown.
        buf: Vec<u8>,
        /// Why.
        error: io::Error,
    },
}

/// The core's ring. Cheap to clone, not `Send`.
#[derive(Debug, Clone)]
pub struct Ring {
    core: Rc<Core>,
}

impl Ring {
    /// A ring for this thread; others wake it by `bell`.
    ///
    /// # Errors
    /// EPERM: io_uring is forbidden here (seccomp, sysctl). ENOSYS, EINVAL: the kernel is older than 6.1.
    pub fn new(options: &RingOptions, bell: Bell) -> io::Result<Self> {
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(options.completions)
            .dontfork()
            .build(options.submissions)?;
        let buffers = Rc::new(Buffers::new(options.recv_buffers, options.recv_buffer_bytes)?);
        let large_buffers = Rc::new(Buffers::new(LARGE_RECV_BUFFERS, LARGE_RECV_BUFFER_BYTES)?);
        for (group, buffers) in [(BUFFER_GROUP, &buffers), (LARGE_BUFFER_GROUP, &large_buffers)] {
            // SAFETY: the memory has as many entries as said, and lives until the ring is closed: `Core` holds it, and
            // its `uring` is dropped first.
            unsafe {
                uring.submitter().register_buf_ring_with_flags(
                    buffers.ring_address(),
                    buffers.count(),
                    group,
                    0,
                )?;
            }
            buffers.fill();
        }
        uring.submitter().register_eventfd(bell.as_fd().as_raw_fd())?;
        let core = Core {
            uring: RefCell::new(uring),
            buffers,
            large_buffers,
            backlog: RefCell::new(VecDeque::new()),
            files: RefCell::new(FileOps::new(options.file_ops_max)),
            sends: RefCell::new(Slab::new()),
            armed: Cell::new(0),
            bell,
            bell_unwatched: Cell::new(false),
            nudged: Cell::new(false),
            taskrun_is_stale: Cell::new(false),
            sleeper: Cell::new(None),
            enters: Cell::new(0),
        };
        core.uring.borrow_mut().completion().disable_eventfd();
        core.watch_bell();
        Ok(Self { core: Rc::new(core) })
    }

    /// This core's bell.
    pub fn bell(&self) -> &Bell {
        &self.core.bell
    }

    /// Submits everything and reaps what has completed: at most `ROUNDS_PER_PASS_MAX` times the completion queue's
    /// size. Wakes the tasks of file operations; socket events are pushed to `completed`. True if anything completed or
    /// the bell was rung: look into the mailboxes **after** the pass.
    ///
    /// # Errors
    /// The ring itself is broken: a bug of ours, or the kernel has no memory.
    pub fn pass(&self, completed: &mut Vec<Completion>) -> io::Result<bool> {
        self.core.nudged.set(false);
        self.core.taskrun_is_stale.set(false);
        let mut any = self.core.bell.take();
        for _ in 0..ROUNDS_PER_PASS_MAX {
            if self.core.wants_enter() {
                self.core.enter()?;
            }
            any |= self.core.reap(completed) > 0;
            if self.core.bell_unwatched.take() {
                self.core.watch_bell();
            }
            if !self.core.wants_enter() {
                return Ok(any);
            }
        }
        // More to come: the caller must not sleep.
        Ok(true)
    }

    /// Hands queued operations to the kernel without looking at completions: before work that takes a while.
    ///
    /// # Errors
    /// As [`Ring::pass`].
    pub fn submit(&self) -> io::Result<()> {
        if self.core.queued() > 0 { self.core.enter() } else { Ok(()) }
    }

    /// Accepts connections until an event says `more: false`.
    pub fn accept_multi(&self, listener: impl AsFd, token: u64) {
        let fd = Fd(listener.as_fd().as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.arm(entry, KIND_ACCEPT, token);
    }

    /// Receives once, at most one buffer. Not until the socket is empty: one that is full would take all buffers, and more
    /// than its reader has memory for.
    pub fn recv(&self, socket: impl AsFd, token: u64) {
        self.recv_from(&socket, BUFFER_GROUP, KIND_RECV, token);
    }

    /// As [`Ring::recv`], into one of a few buffers of 256 KiB: for a peer that is known to send that much. Worth asking for
    /// only while [`Ring::large_buffers_free`] is above zero.
    pub fn recv_large(&self, socket: impl AsFd, token: u64) {
        self.recv_from(&socket, LARGE_BUFFER_GROUP, KIND_RECV_LARGE, token);
    }

    fn recv_from(&self, socket: &impl AsFd, group: u16, kind: u64, token: u64) {
        let fd = Fd(socket.as_fd().as_raw_fd());
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), 0)
            .buf_group(group)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.arm(entry, kind, token);
    }

    /// Sends `buf[from..]`, which is not empty; the buffer comes back with the completion.
    pub fn send(&self, socket: impl AsFd, buf: Vec<u8>, from: usize, token: u64) {
        assert!(token <= TOKEN_MAX);
        assert!(from < buf.len());
        let bytes = &buf[from..];
        let len = u32::try_from(bytes.len().min(SEND_BYTES_MAX)).expect("bounded above");
        let entry = opcode::Send::new(Fd(socket.as_fd().as_raw_fd()), bytes.as_ptr(), len)
            // The kernel goes on after a short send by itself.
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        // Moving the vector into the slab leaves its bytes where they are.
        let index = self.core.sends.borrow_mut().insert(Sending { token, buf, from });
        self.core.push(entry.user_data(KIND_SEND | u64::from(index)));
    }

    /// Ends the accept and the receive of a token; they answer `Cancelled`, unless they had ended before.
    pub fn cancel(&self, token: u64) {
        assert!(token <= TOKEN_MAX);
        for kind in [KIND_ACCEPT, KIND_RECV, KIND_RECV_LARGE] {
            let entry = opcode::AsyncCancel::new(kind | token).build();
            self.core.push(entry.user_data(KIND_IGNORED));
        }
    }

    /// Shuts both directions down: receives answer `Closed`, sends fail.
    pub fn shutdown(&self, socket: impl AsFd) {
        let fd = Fd(socket.as_fd().as_raw_fd());
        let entry = opcode::Shutdown::new(fd, libc::SHUT_RDWR).build();
        self.core.push(entry.user_data(KIND_IGNORED));
    }

    /// Ends all that is in flight on a socket, which answers as cancelled, and closes it.
    pub fn close(&self, socket: OwnedFd) {
        let fd = Fd(socket.into_raw_fd());
        // An armed receive holds the socket open: without this the peer would see no end.
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all()).build();
        self.core.push(cancel.user_data(KIND_IGNORED));
        self.core.push(opcode::Close::new(fd).build().user_data(KIND_IGNORED));
    }

    /// Receive buffers that the kernel still has.
    pub fn buffers_free(&self) -> usize {
        self.core.buffers.free()
    }

    /// The same, of those for [`Ring::recv_large`].
    pub fn large_buffers_free(&self) -> usize {
        self.core.large_buffers.free()
    }

    /// File operations that the kernel has not completed.
    pub fn files_in_flight(&self) -> usize {
        self.core.files.borrow().flying()
    }

    /// Sends that the kernel has not completed.
    pub fn sends_in_flight(&self) -> usize {
        self.core.sends.borrow().len()
    }

    /// All operations in flight; armed accepts and receives among them.
    pub fn in_flight(&self) -> usize {
        self.files_in_flight() + self.sends_in_flight() + self.core.armed.get()
    }

    /// System calls made by this ring since it was created.
    pub fn enters(&self) -> u64 {
        self.core.enters.get()
    }

    /// Makes the core's loop pass again soon, also when it sleeps. On this thread; others use the [`Bell`].
    pub fn nudge(&self) {
        self.core.nudge();
    }

    fn arm(&self, entry: squeue::Entry, kind: u64, token: u64) {
        assert!(token <= TOKEN_MAX);
        self.core.armed.set(self.core.armed.get() + 1);
        self.core.push(entry.user_data(kind | token));
    }

    /// Before the loop sleeps: lets the kernel ring the bell for completions. False when there is something to do.
    pub(in crate::env) fn watch(&self) -> io::Result<bool> {
        self.core.uring.borrow_mut().completion().enable_eventfd();
        // Between our flag and the look below: what completed before the flag was seen rings no bell.
        fence(Ordering::SeqCst);
        // Entering is the one look that is right on every machine: the flags may lag.
        self.core.enter()?;
        let idle =
            !self.core.nudged.get() && !self.core.wants_enter() && !self.core.has_completed();
        if !idle {
            self.unwatch();
        }
        Ok(idle)
    }

    /// Sleeps in this ring until something completes, the bell is rung, a signal comes or `timeout` is over. One system
    /// call, which also submits. Nothing else of this thread runs meanwhile: its executor's tasks and I/O wait.
    pub(in crate::env) fn doze(&self, timeout: Option<Duration>) -> io::Result<()> {
        if self.has_work() {
            return Ok(());
        }
        self.core.wait(timeout)
    }

    /// Whether a pass would find anything, as far as can be told without a system call.
    pub(in crate::env) fn has_work(&self) -> bool {
        self.core.nudged.get() || self.core.wants_enter() || self.core.has_completed()
    }

    /// After the loop slept.
    pub(in crate::env) fn unwatch(&self) {
        self.core.uring.borrow_mut().completion().disable_eventfd();
    }

    /// Whether a pass was asked for, or something queued, since the last one began.
    pub(in crate::env) fn is_nudged(&self) -> bool {
        self.core.nudged.get()
    }

    /// Whom to wake at the next nudge.
    pub(in crate::env) fn set_sleeper(&self, waker: Option<Waker>) {
        self.core.sleeper.set(waker);
    }
}
