//! The kernel's side of a ring: queueing, entering, completing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use io_uring::types::CancelBuilder;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};

use super::bell::Bell;
use super::buffers::{Buffers, RecvBuffer};
use super::file::FileOps;
use super::slab::Slab;
use super::{Completion, SocketEvent, TOKEN_MAX};

/// The top byte of an operation's number says what it is; below it a token, or an index.
pub(super) const KIND_SHIFT: u32 = 56;
pub(super) const KIND_IGNORED: u64 = 0;
pub(super) const KIND_FILE: u64 = 1 << KIND_SHIFT;
pub(super) const KIND_ACCEPT: u64 = 2 << KIND_SHIFT;
pub(super) const KIND_RECV: u64 = 3 << KIND_SHIFT;
pub(super) const KIND_SEND: u64 = 4 << KIND_SHIFT;
const KIND_BELL: u64 = 5 << KIND_SHIFT;
pub(super) const KIND_RECV_LARGE: u64 = 6 << KIND_SHIFT;

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) token: u64,
    pub(super) buf: Vec<u8>,
    pub(super) from: usize,
}

/// The queues shared with the kernel, and all memory that it may touch.
pub(super) struct Core {
    // Declared before the buffers: it is dropped first, and with it the kernel's hold on them.
    pub(super) uring: RefCell<IoUring>,
    pub(super) buffers: Rc<Buffers>,
    /// For receives of connections that send much.
    pub(super) large_buffers: Rc<Buffers>,
    /// Operations that found the submission queue full. Bounded by the operations in flight that the callers allow.
    pub(super) backlog: RefCell<VecDeque<squeue::Entry>>,
    pub(super) files: RefCell<FileOps>,
    pub(super) sends: RefCell<Slab<Sending>>,
    /// Accepts and receives armed.
    pub(super) armed: Cell<usize>,
    pub(super) bell: Bell,
    /// The poll of the bell ended, and is to be made again.
    pub(super) bell_unwatched: Cell<bool>,
    /// Something was queued, or someone asked for a pass, since the last one began.
    pub(super) nudged: Cell<bool>,
    /// The kernel says that it has completions to make, and the last entry made none. See [`Core::enter`].
    pub(super) taskrun_is_stale: Cell<bool>,
    /// The core's loop, while it sleeps.
    pub(super) sleeper: Cell<Option<Waker>>,
    pub(super) enters: Cell<u64>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Core")
            .field("armed", &self.armed)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn nudge(&self) {
        self.nudged.set(true);
        if let Some(waker) = self.sleeper.take() {
            waker.wake();
        }
    }

    /// Queues an operation whose memory, if any, is owned by this ring.
    pub(super) fn push(&self, entry: squeue::Entry) {
        self.nudge();
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            // SAFETY: the operation's memory is in `files`, `sends` or `buffers` until its completion.
            if unsafe { self.uring.borrow_mut().submission().push(&entry) }.is_ok() {
                return;
            }
        }
        backlog.push_back(entry);
    }

    /// Operations that the kernel has not seen.
    pub(super) fn queued(&self) -> usize {
        self.uring.borrow_mut().submission().len() + self.backlog.borrow().len()
    }

    pub(super) fn has_completed(&self) -> bool {
        !self.uring.borrow_mut().completion().is_empty()
    }

    /// Whether entering the kernel would bring anything.
    pub(super) fn wants_enter(&self) -> bool {
        if !self.backlog.borrow().is_empty() {
            return true;
        }
        let mut uring = self.uring.borrow_mut();
        let submission = uring.submission();
        !submission.is_empty()
            || (submission.taskrun() && !self.taskrun_is_stale.get())
            || submission.cq_overflow()
    }

    /// One system call: submits, and lets the kernel complete what it can.
    ///
    /// The kernel's flag for completions to be made may stay set without any (Linux 6.18): who adds one does so first and
    /// raises the flag then, and an entry in between takes the completion and lowers a flag that was not up yet. Nobody
    /// lowers it before the next completion, so a loop that trusts it goes round for ever. Here it is believed again with
    /// the next pass; a wait in the kernel needs no flag.
    pub(super) fn enter(&self) -> io::Result<()> {
        let mut uring = self.uring.borrow_mut();
        let (submitter, mut submission, _) = uring.split();
        let mut backlog = self.backlog.borrow_mut();
        while let Some(entry) = backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            backlog.pop_front();
        }
        submission.sync();
        let to_submit = u32::try_from(submission.len()).expect("a queue's length");
        self.enters.set(self.enters.get() + 1);
        // SAFETY: no argument is passed; the queued operations were pushed under `push`'s promise.
        let entered = unsafe {
            submitter.enter::<libc::sigset_t>(to_submit, 0, EnterFlags::GETEVENTS.bits(), None)
        };
        drop(submission);
        self.taskrun_is_stale.set(entered.is_ok() && uring.completion().is_empty());
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal (the watchdog's), or completions to be reaped first: the next round goes on.
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// As [`Core::enter`], and waits for a completion or the end of `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut uring = self.uring.borrow_mut();
        let (submitter, mut submission, _) = uring.split();
        submission.sync();
        self.enters.set(self.enters.get() + 1);
        let waited = match timeout {
            None => submitter.submit_and_wait(1),
            Some(timeout) => {
                let timeout = types::Timespec::from(timeout);
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&timeout))
            }
        };
        match waited {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ETIME) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Keeps a poll on the bell's eventfd, for while the core sleeps in this ring.
    pub(super) fn watch_bell(&self) {
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        let fd = types::Fd(self.bell.doze_fd().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, readable).multi(true).build();
        self.push(poll.user_data(KIND_BELL));
    }

    /// Hands out everything in the completion queue.
    pub(super) fn reap(&self, completed: &mut Vec<Completion>) -> usize {
        let mut uring = self.uring.borrow_mut();
        let mut queue = uring.completion();
        let mut count = 0;
        for entry in &mut queue {
            count += 1;
            self.complete(&entry, completed);
        }
        count
    }

    fn complete(&self, entry: &cqueue::Entry, completed: &mut Vec<Completion>) {
        let (kind, low) = (entry.user_data() & !TOKEN_MAX, entry.user_data() & TOKEN_MAX);
        let result = entry.result();
        let more = cqueue::more(entry.flags());
        match kind {
            KIND_FILE => {
                let slot = u32::try_from(low).expect("as pushed");
                self.files.borrow_mut().land(slot, result);
            }
            KIND_ACCEPT => {
                self.disarm(more);
                let event = accepted(result);
                completed.push(Completion { token: low, event, more });
            }
            KIND_RECV | KIND_RECV_LARGE => {
                self.disarm(more);
                let of = if kind == KIND_RECV { &self.buffers } else { &self.large_buffers };
                let event = received(of, result, entry.flags());
                completed.push(Completion { token: low, event, more });
            }
            KIND_SEND => {
                let index = u32::try_from(low).expect("as pushed");
                let Sending { token, buf, from } = self.sends.borrow_mut().remove(index);
                let event = match outcome(result) {
                    Ok(written) => SocketEvent::Sent { buf, from, written },
                    Err(error) => SocketEvent::SendFailed { buf, error },
                };
                completed.push(Completion { token, event, more: false });
            }
            KIND_BELL if more || result == -libc::ECANCELED => {}
            KIND_BELL => self.bell_unwatched.set(true),
            KIND_IGNORED => {}
            _ => panic!("a completion of unknown kind {kind:#x}"),
        }
    }

    fn disarm(&self, more: bool) {
        if !more {
            assert!(self.armed.get() > 0);
            self.armed.set(self.armed.get() - 1);
        }
    }

    /// Cancels everything and waits for the kernel to let go of our memory. False when it does not in time.
    fn let_go(&self) -> bool {
        /// Entering a second, with a millisecond's rest each.
        const ATTEMPTS_MAX: usize = 1000;
        let busy = || {
            self.armed.get() > 0
                || self.files.borrow().flying() > 0
                || self.sends.borrow().len() > 0
        };
        if busy() {
            self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build());
        }
        let mut dropped = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            if self.queued() == 0 && !busy() {
                return true;
            }
            if self.enter().is_err() {
                return false;
            }
            self.reap(&mut dropped);
            dropped.clear();
            if busy() {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the ring closes: no task runs any more"
                )]
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        false
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if !self.let_go() {
            // The kernel may still write there: never give this memory to anyone else.
            std::mem::forget(self.files.replace(FileOps::new(1)));
            std::mem::forget(self.sends.replace(Slab::new()));
            std::mem::forget(Rc::clone(&self.buffers));
            std::mem::forget(Rc::clone(&self.large_buffers));
        }
    }
}

fn received(of: &Rc<Buffers>, result: i32, flags: u32) -> SocketEvent {
    let buffer = cqueue::buffer_select(flags)
        .map(|id| RecvBuffer::taken(of, id, u32::try_from(result).unwrap_or(0)));
    match (outcome(result), buffer) {
        // A buffer that came with the end or an error goes back by its drop.
        (Ok(0), _) => SocketEvent::Closed,
        (Ok(_), Some(buffer)) => SocketEvent::Received(buffer),
        (Ok(_), None) => panic!("received without a buffer"),
        (Err(error), _) => match error.raw_os_error() {
            Some(libc::ENOBUFS) => SocketEvent::Starved,
            Some(libc::ECANCELED) => SocketEvent::Cancelled,
            _ => SocketEvent::Failed(error),
        },
    }
}

fn accepted(result: i32) -> SocketEvent {
    match outcome(result) {
        // SAFETY: the kernel has just opened this descriptor for us.
        Ok(_) => SocketEvent::Accepted(unsafe { OwnedFd::from_raw_fd(result) }),
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => SocketEvent::Cancelled,
        Err(error) => SocketEvent::Failed(error),
    }
}

/// A completion's result as the count it is, or the error.
pub(super) fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
