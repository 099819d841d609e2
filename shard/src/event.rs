//! Waiting, within one core: an event that tasks await, and a turnstile that lets one through at a time.
//! Plain cells: no lock, no atomic, nothing crosses a thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Something happened; look again. Waiters recheck their own condition in a loop.
#[derive(Debug, Default)]
pub(crate) struct Event {
    /// Counts signals, so that one between a check and its wait is not lost.
    signals: Cell<u64>,
    waiters: RefCell<Vec<Waker>>,
}

impl Event {
    /// Never signalled.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Signals so far.
    pub(crate) fn signals(&self) -> u64 {
        self.signals.get()
    }

    /// Wakes everyone who waits now.
    pub(crate) fn signal(&self) {
        self.signals.set(self.signals.get().wrapping_add(1));
        for waker in self.waiters.take() {
            waker.wake();
        }
    }

    /// Returns after the next signal.
    pub(crate) async fn wait(&self) {
        let seen = self.signals.get();
        poll_fn(|context| {
            if self.signals.get() != seen {
                return Poll::Ready(());
            }
            let mut waiters = self.waiters.borrow_mut();
            if !waiters.iter().any(|waker| waker.will_wake(context.waker())) {
                waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Returns once `ready` answers `Some`, asked now and after each signal.
    pub(crate) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(value) = ready() {
                return value;
            }
            self.wait().await;
        }
    }
}

/// One at a time, among the tasks of one core.
#[derive(Debug, Default)]
pub(crate) struct Turnstile {
    busy: Cell<bool>,
    freed: Event,
}

impl Turnstile {
    /// Nobody inside.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits until nobody holds the pass; dropping the pass lets the next one in.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        self.freed.until(|| (!self.busy.get()).then_some(())).await;
        self.busy.set(true);
        Pass { turnstile: self }
    }
}

/// The right to be inside.
#[derive(Debug)]
#[must_use = "dropping the pass lets the next one in"]
pub(crate) struct Pass<'a> {
    turnstile: &'a Turnstile,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.turnstile.busy.set(false);
        self.turnstile.freed.signal();
    }
}
