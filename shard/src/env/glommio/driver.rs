//! The part of a core's loop that is not sockets: who runs between two passes, and how the core sleeps.
//!
//! # After a pass
//! 1. Tasks of the loop's own queue that were woken (group commit, reads) run: the loop goes behind them.
//! 2. Parked background tasks are released as their budget allows, after what was queued is submitted, so that the
//!    device works meanwhile. The loop's queue yields, and they run a slice.
//! 3. While glommio's own I/O is in flight, now and then a *turn*: the loop suspends until glommio has polled its
//!    rings. It does so only when no task is runnable, which is why a mere yield is not enough.
//! 4. With nothing to do the core lingers: for some microseconds it gives the processor away and looks again. A
//!    sleeper costs whoever wakes it a system call and an interrupt, and itself two more and a switch; a request that
//!    hops to another core and back paid all that twice.
//! 5. Then the core sleeps.
//!
//! # Why no wake-up is lost
//! - From the kernel: the ring's eventfd is switched on before a last look at the ring ([`Ring::watch`]).
//! - From other threads: see [`Bell`].
//! - From tasks of this core, while the loop sleeps: every poll of one nudges it ([`Ring::nudge`]).
//! - The eventfd is read through glommio. That read stays in flight over a nudge, and its completion is taken by the
//!   next sleep: one spurious pass at most.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use glommio::io::BufferedFile;
use glommio::timer::Timer;

use super::World;
use crate::env::ring::{Bell, Completion, Ring, new_eventfd, write_eventfd};

/// Least time between two turns of glommio while the loop is busy. A turn costs 6 us of CPU (by an expired
/// timer instead of an eventfd 5 to 7); a cold operation waits
/// for up to two of these intervals.
const TURN_INTERVAL: Duration = Duration::from_micros(150);

/// How long the core stays awake with nothing to do. 10 to 30 us are alike at 50 clients without pipelining on two cores:
/// 59k GET/s and 12.4 us of CPU each without, 90k and 10.0 with; longer only costs CPU.
const LINGER: Duration = Duration::from_micros(20);

/// A processor given away that comes back only after this long was used for a time slice. So many of these in a row, and
/// someone keeps it busy all the time: giving it away then makes our clients wait, and a sleeper is at least woken up. (A
/// client that shares the processor sleeps when it has nothing to read, so that most looks are short.)
const LINGER_ROBBED: Duration = Duration::from_millis(1);
const LINGER_ROBBED_MAX: u32 = 5;

/// How long the core does not linger after that.
const LINGER_PAUSE: Duration = Duration::from_secs(1);

type Reading = Pin<Box<dyn Future<Output = ()>>>;

/// Held by the core's loop, which calls [`Driver::after_pass`] after each pass of its ring.
pub struct Driver {
    world: Rc<World>,
    bell: Rc<BufferedFile>,
    /// The read of the bell's eventfd, while one is in flight.
    reading: Option<Reading>,
    turn_signal: OwnedFd,
    turn_file: BufferedFile,
    last_turn: Instant,
    /// Not before this.
    linger_from: Instant,
    /// Long looks in a row.
    robbed: u32,
    turns: Cell<u64>,
    sleeps: Cell<u64>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Driver")
            .field("turns", &self.turns)
            .field("sleeps", &self.sleeps)
            .finish_non_exhaustive()
    }
}

impl Driver {
    pub(super) fn new(world: Rc<World>) -> io::Result<Self> {
        let bell = Rc::new(buffered(world.ring.bell().as_fd().try_clone_to_owned()?));
        let turn_signal = new_eventfd()?;
        let turn_file = buffered(turn_signal.try_clone()?);
        Ok(Self {
            world,
            bell,
            reading: None,
            turn_signal,
            turn_file,
            last_turn: Instant::now(),
            linger_from: Instant::now(),
            robbed: 0,
            turns: Cell::new(0),
            sleeps: Cell::new(0),
        })
    }

    /// Lets everything else run once, or sleeps. `busy`: the pass, or the handling of what it brought, found work.
    ///
    /// # Errors
    /// As [`Ring::pass`].
    pub async fn after_pass(&mut self, busy: bool) -> io::Result<()> {
        let world = Rc::clone(&self.world);
        world.beat();
        world.pace.set_busy(busy);
        let now = Instant::now();
        world.timers.borrow_mut().fire(now);
        glommio::executor().yield_now().await;
        let released = world.pace.release(now);
        if released {
            world.ring.submit()?;
        }
        if world.cold.get() > 0 && now - self.last_turn >= TURN_INTERVAL {
            self.turn().await;
        } else if busy || released || world.ring.is_nudged() {
            // The next pass; whoever was released runs in its yield.
        } else if self.linger(now) {
            // The next pass as well.
        } else if world.cold.get() == 0 {
            self.doze()?;
        } else {
            self.sleep().await?;
        }
        Ok(())
    }

    /// Stays awake for a moment. True: there is something to do.
    fn linger(&mut self, now: Instant) -> bool {
        if now < self.linger_from {
            return false;
        }
        let ring = &self.world.ring;
        let (end, mut looked) = (now + LINGER, now);
        loop {
            if ring.bell().is_rung() || ring.has_work() {
                return true;
            }
            if looked >= end {
                return false;
            }
            std::thread::yield_now();
            let back = Instant::now();
            if back - looked < LINGER_ROBBED {
                self.robbed = 0;
            } else {
                self.robbed += 1;
                if self.robbed == LINGER_ROBBED_MAX {
                    self.robbed = 0;
                    self.linger_from = back + LINGER_PAUSE;
                    return ring.bell().is_rung() || ring.has_work();
                }
            }
            looked = back;
        }
    }

    /// Sleeps in the ring itself, without glommio. Right only while glommio has nothing to do: no I/O of its own in
    /// flight, and no task runnable. All tasks share the loop's queue, so a yield in which none of them was polled says
    /// that none is. Costs one system call, where glommio's sleep costs three and a barrier on all cores.
    fn doze(&self) -> io::Result<()> {
        let ring = &self.world.ring;
        let deadline = self.world.timers.borrow().deadline();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        if ring.bell().doze_off() {
            self.sleeps.set(self.sleeps.get() + 1);
            self.world.beat();
            let woken = ring.doze(timeout);
            ring.bell().get_up();
            woken?;
        }
        Ok(())
    }

    /// Runs `work` to its end, passing the ring meanwhile; socket events are dropped. For recovery, tools and tests.
    ///
    /// # Errors
    /// As [`Ring::pass`].
    pub async fn run<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        let ring: Ring = self.world.ring.clone();
        let passing = async {
            let mut completed: Vec<Completion> = Vec::new();
            loop {
                let busy = ring.pass(&mut completed)?;
                completed.clear();
                self.after_pass(busy).await?;
            }
        };
        let mut passing = pin!(passing);
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(result) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(result));
            }
            passing.as_mut().poll(context).map(|ended: io::Result<()>| {
                Err(ended.expect_err("the loop ends by an error only"))
            })
        })
        .await
    }

    /// Sleeps as soon as there is nothing to do.
    #[cfg(test)]
    pub(super) fn never_linger(&mut self) {
        self.linger_from += Duration::from_secs(3600);
    }

    /// Closes what the driver has given to glommio, which closes nothing that is merely dropped when its executor ends. The
    /// last thing that a core does.
    pub async fn close(mut self) {
        if let Some(reading) = self.reading.take() {
            // It holds the bell's file until there is something to read.
            write_eventfd(self.world.ring.bell().as_fd());
            reading.await;
        }
        let Self { bell, turn_file, .. } = self;
        let closed = turn_file.close().await;
        assert!(closed.is_ok());
        if let Some(bell) = Rc::into_inner(bell) {
            let closed = bell.close().await;
            assert!(closed.is_ok());
        }
    }

    /// Turns of glommio made while the loop was awake.
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// Times that the loop slept.
    pub fn sleeps(&self) -> u64 {
        self.sleeps.get()
    }

    /// Suspends until glommio has polled its rings.
    pub(super) async fn turn(&mut self) {
        self.turns.set(self.turns.get() + 1);
        write_eventfd(self.turn_signal.as_fd());
        let read = self.turn_file.read_at(0, 8).await;
        assert!(read.is_ok());
        self.last_turn = Instant::now();
    }

    async fn sleep(&mut self) -> io::Result<()> {
        let world = Rc::clone(&self.world);
        let ring = &world.ring;
        if !ring.watch()? {
            return Ok(());
        }
        if ring.bell().lie_down() {
            self.sleeps.set(self.sleeps.get() + 1);
            world.beat();
            self.wait(ring).await;
            ring.set_sleeper(None);
            ring.bell().get_up();
            // glommio polls while the loop sleeps.
            self.last_turn = Instant::now();
        }
        ring.unwatch();
        Ok(())
    }

    /// Returns when the bell's eventfd was written, the ring was nudged or a timer is due.
    async fn wait(&mut self, ring: &Ring) {
        let bell = Rc::clone(&self.bell);
        let reading = self.reading.get_or_insert_with(|| {
            Box::pin(async move {
                let read = bell.read_at(0, 8).await;
                assert!(read.is_ok());
            })
        });
        let deadline = self.world.timers.borrow().deadline();
        let mut timer =
            deadline.map(|deadline| Timer::new(deadline.saturating_duration_since(Instant::now())));
        let mut read = false;
        poll_fn(|context: &mut Context<'_>| {
            ring.set_sleeper(Some(context.waker().clone()));
            read = reading.as_mut().poll(context).is_ready();
            let due = timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(context).is_ready());
            if read || due || ring.is_nudged() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if read {
            self.reading = None;
        }
    }
}

/// Gives a descriptor to glommio.
pub(super) fn buffered(fd: OwnedFd) -> BufferedFile {
    // SAFETY: the descriptor is open, and its owner gives it away.
    unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) }
}

/// What a watchdog on another thread may know of a core. Written by the core only, relaxed: a late view does no harm.
#[derive(Debug)]
pub struct Heartbeat {
    beats: AtomicU64,
    in_flight: AtomicUsize,
    bell: Bell,
}

impl Heartbeat {
    pub(super) fn new(bell: Bell) -> Self {
        Self { beats: AtomicU64::new(0), in_flight: AtomicUsize::new(0), bell }
    }

    pub(super) fn beat(&self, in_flight: usize) {
        // One writer: no read-modify-write needed.
        self.beats.store(self.beats.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    /// Grows as the core makes progress.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// File operations in flight at the last beat, hot and cold.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the core sleeps.
    pub fn is_asleep(&self) -> bool {
        self.bell.is_asleep()
    }

    /// Whether someone rang and the core has not looked yet.
    pub fn is_rung(&self) -> bool {
        self.bell.is_rung()
    }
}
