//! How other threads wake a core that sleeps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const AWAKE: u8 = 0;
/// In the executor's wait.
const SLEEPS: u8 = 1;
/// In the ring's wait.
const DOZES: u8 = 2;

/// The bell of one core: cheap while the core is awake, one eventfd write when it sleeps.
///
/// # Protocol
/// The ringer: 1. makes its message visible (pushes it into a queue), 2. sets `rung`, 3. if `asleep` is set, clears it
/// and writes the eventfd of the place where the core sleeps. The core before it sleeps: 1. sets `asleep`, 2. looks at `rung`: if it is set, it does not
/// sleep. Both sides write one flag and then read the other's, sequentially consistent: at least one of them sees the
/// other, so no message is left behind. The core clears `rung` **before** it looks into its queues.
#[derive(Debug, Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Read by the core's executor while it sleeps in there; also registered with the core's ring.
    eventfd: OwnedFd,
    /// Polled by the core's ring, for while the core dozes in that. Never read: the poll sees each write.
    doze_eventfd: OwnedFd,
    /// `AWAKE`, or where the core sleeps, or is about to.
    asleep: AtomicU8,
    /// Someone rang since the core last looked.
    rung: AtomicBool,
}

impl Bell {
    /// A bell for a core that need not run yet. I/O: one system call.
    ///
    /// # Errors
    /// No file descriptor left.
    pub fn new() -> io::Result<Self> {
        let shared = Shared {
            eventfd: new_eventfd()?,
            doze_eventfd: new_eventfd()?,
            asleep: AtomicU8::new(AWAKE),
            rung: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes the core look into its queues soon. From any thread; never blocks.
    pub fn ring(&self) {
        if self.shared.rung.swap(true, Ordering::SeqCst) {
            // Whoever set it has woken the core, or the core was awake and has yet to look.
            return;
        }
        match self.shared.asleep.swap(AWAKE, Ordering::SeqCst) {
            SLEEPS => self.signal(),
            DOZES => write_eventfd(self.shared.doze_eventfd.as_fd()),
            _ => {}
        }
    }

    /// Wakes whatever reads the eventfd, asleep or not.
    pub(in crate::env) fn signal(&self) {
        write_eventfd(self.shared.eventfd.as_fd());
    }

    /// Whether someone rang and the core has not looked yet.
    pub fn is_rung(&self) -> bool {
        self.shared.rung.load(Ordering::SeqCst)
    }

    /// Whether the core sleeps.
    pub fn is_asleep(&self) -> bool {
        self.shared.asleep.load(Ordering::SeqCst) != AWAKE
    }

    /// What the ring polls.
    pub(in crate::env) fn doze_fd(&self) -> BorrowedFd<'_> {
        self.shared.doze_eventfd.as_fd()
    }

    /// The core, before it looks into its queues: whether anyone rang.
    pub(in crate::env) fn take(&self) -> bool {
        // A plain look first: the swap takes the cache line away from the ringers.
        self.shared.rung.load(Ordering::SeqCst) && self.shared.rung.swap(false, Ordering::SeqCst)
    }

    /// The core, before it sleeps in its executor: false if someone rang in between.
    pub(in crate::env) fn lie_down(&self) -> bool {
        self.lie_down_as(SLEEPS)
    }

    /// The core, before it sleeps in its ring: false if someone rang in between.
    pub(in crate::env) fn doze_off(&self) -> bool {
        self.lie_down_as(DOZES)
    }

    fn lie_down_as(&self, how: u8) -> bool {
        self.shared.asleep.store(how, Ordering::SeqCst);
        if self.shared.rung.load(Ordering::SeqCst) {
            self.get_up();
            return false;
        }
        true
    }

    /// The core, after it slept.
    pub(in crate::env) fn get_up(&self) {
        self.shared.asleep.store(AWAKE, Ordering::SeqCst);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

/// Blocking (not `O_NONBLOCK`): a ring answers EAGAIN at once for a non-blocking one, instead of waiting.
pub(in crate::env) fn new_eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just created, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd.
pub(in crate::env) fn write_eventfd(eventfd: BorrowedFd<'_>) {
    let one = 1_u64;
    // SAFETY: eight bytes of a local are read during the call.
    let written = unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
    // The only error of a valid eventfd is a counter near 2^64.
    assert_eq!(written, 8);
}
