//! How much of a busy core the background gets.
//!
//! glommio's shares order runnable queues, but a turn of glommio (see the driver) runs whatever is runnable, whatever
//! its shares. So the driver decides itself: beside a busy loop a background queue that has run for `t` is not run
//! again before the loop had `t * CORE_SHARES / shares`. On an idle core everyone runs at once. (Without this a task that
//! works 200 us after each cold read took five times the busy loop's own time.)
//!
//! # Invariants
//! - A task that may not run, or that paused, has its waker in `parked` and is not runnable.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{CORE_SHARES, World};
use crate::env::Queue;

#[derive(Debug)]
pub(super) struct Pace {
    /// The loop found work in its last pass.
    busy: Cell<bool>,
    /// Whose task is being polled.
    current: Cell<Option<Queue>>,
    flush: Budget,
    compaction: Budget,
}

#[derive(Debug)]
struct Budget {
    shares: Cell<usize>,
    /// Beside a busy loop, not before this.
    ready_at: Cell<Instant>,
    /// In order of arrival.
    parked: RefCell<VecDeque<Waker>>,
}

impl Budget {
    fn new(shares: usize) -> Self {
        Self {
            shares: Cell::new(shares),
            ready_at: Cell::new(Instant::now()),
            parked: RefCell::new(VecDeque::new()),
        }
    }

    fn park(&self, waker: &Waker) {
        let mut parked = self.parked.borrow_mut();
        // A task that is woken twice while parked stays parked once.
        if !parked.iter().any(|other| other.will_wake(waker)) {
            parked.push_back(waker.clone());
        }
    }
}

impl Pace {
    pub(super) fn new(flush: usize, compaction: usize) -> Self {
        Self {
            busy: Cell::new(false),
            current: Cell::new(None),
            flush: Budget::new(flush),
            compaction: Budget::new(compaction),
        }
    }

    fn budget(&self, queue: Queue) -> &Budget {
        match queue {
            Queue::Flush => &self.flush,
            Queue::Compaction => &self.compaction,
            Queue::Commit => panic!("the group commit is not background work"),
        }
    }

    pub(super) fn set_shares(&self, queue: Queue, shares: usize) {
        assert!((1..=CORE_SHARES).contains(&shares));
        self.budget(queue).shares.set(shares);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// Parks the background task that is being polled. False if it is none.
    pub(super) fn park_current(&self, waker: &Waker) -> bool {
        let Some(queue) = self.current.get() else { return false };
        self.budget(queue).park(waker);
        true
    }

    /// Wakes the parked tasks that may run now: beside a busy loop one of each queue, whose slice will close the gate
    /// behind it, so that equals take turns. True if there were any.
    pub(super) fn release(&self, now: Instant) -> bool {
        let mut any = false;
        for budget in [&self.flush, &self.compaction] {
            let busy = self.busy.get();
            if busy && now < budget.ready_at.get() {
                continue;
            }
            let mut parked = budget.parked.borrow_mut();
            let count = if busy { parked.len().min(1) } else { parked.len() };
            for waker in parked.drain(..count) {
                any = true;
                waker.wake();
            }
        }
        any
    }

    fn may_run(&self, queue: Queue, now: Instant) -> bool {
        !self.busy.get() || now >= self.budget(queue).ready_at.get()
    }

    fn charge(&self, queue: Queue, ran: Duration, now: Instant) {
        let budget = self.budget(queue);
        let shares = u32::try_from(budget.shares.get()).expect("at most CORE_SHARES");
        let rest = ran * u32::try_from(CORE_SHARES).expect("a constant") / shares;
        budget.ready_at.set(now + rest);
    }
}

/// A background task under its queue's budget.
pub(super) struct Paced {
    world: Rc<World>,
    queue: Queue,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

impl Paced {
    pub(super) fn new(
        world: Rc<World>,
        queue: Queue,
        work: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Self {
        Self { world, queue, work }
    }
}

impl Future for Paced {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = Rc::clone(&self.world);
        let (pace, queue) = (&world.pace, self.queue);
        let began = Instant::now();
        if !pace.may_run(queue, began) {
            pace.budget(queue).park(context.waker());
            return Poll::Pending;
        }
        let outer = pace.current.replace(Some(queue));
        assert_eq!(outer, None);
        let result = self.work.as_mut().poll(context);
        pace.current.set(None);
        let ended = Instant::now();
        pace.charge(queue, ended - began, ended);
        world.beat();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside a busy loop a slice is followed by a rest in proportion to the shares; beside an idle one by none.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "moments are only made of others")]
    fn a_slice_is_paid_for_by_a_rest() {
        let (pace, now) = (Pace::new(500, 200), Instant::now());
        let slice = Duration::from_micros(200);
        let at = |us: u64| now + Duration::from_micros(us);
        for (queue, rest_us) in [(Queue::Flush, 400), (Queue::Compaction, 1_000)] {
            pace.set_busy(true);
            pace.charge(queue, slice, now);
            assert!(!pace.may_run(queue, at(rest_us - 1)));
            assert!(pace.may_run(queue, at(rest_us)));
            pace.set_busy(false);
            assert!(pace.may_run(queue, now));
        }
        // Of several that wait one is let through at a time.
        pace.set_busy(true);
        for _ in 0..3 {
            pace.compaction.parked.borrow_mut().push_back(Waker::noop().clone());
        }
        assert!(!pace.release(at(999)));
        assert!(pace.release(at(1_000)));
        assert_eq!(pace.compaction.parked.borrow().len(), 2);
    }
}
