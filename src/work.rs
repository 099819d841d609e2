//! Long-lived tasks that take work from a queue: no task is made for a request (making one takes a process-wide lock).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    idle: VecDeque<Waker>,
    closed: bool,
}

/// A queue of one core; its bound is the bound of those who push.
#[derive(Debug)]
pub(crate) struct WorkQueue<T> {
    state: Rc<RefCell<State<T>>>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { state: Rc::clone(&self.state) }
    }
}

impl<T> Default for WorkQueue<T> {
    fn default() -> Self {
        let state = State { items: VecDeque::new(), idle: VecDeque::new(), closed: false };
        Self { state: Rc::new(RefCell::new(state)) }
    }
}

impl<T> WorkQueue<T> {
    /// Adds an item and wakes one worker.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.state.borrow_mut();
        state.items.push_back(item);
        let waker = state.idle.pop_front();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next item; `None` once the queue is closed and empty.
    pub(crate) async fn pop(&self) -> Option<T> {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if let Some(item) = state.items.pop_front() {
                return Poll::Ready(Some(item));
            }
            if state.closed {
                return Poll::Ready(None);
            }
            state.idle.push_back(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The next item, if there is one now.
    pub(crate) fn try_pop(&self) -> Option<T> {
        self.state.borrow_mut().items.pop_front()
    }

    /// Ends the workers once the queue is empty.
    pub(crate) fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for waker in idle {
            waker.wake();
        }
    }
}
