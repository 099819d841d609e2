//! Tasks, timers and the virtual clock: one thread, one order for each seed.
//!
//! A step polls one ready task. When none is ready, the clock jumps to the next timer; when there is no timer either,
//! nothing can ever happen again and the run panics, naming who waits.
#![expect(
    clippy::disallowed_types,
    reason = "a waker must be Send and Sync, even where nobody sends it"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::random::Random;
use crate::env::Queue;

/// Polls in one run before it counts as an endless loop.
const STEPS_MAX: u64 = 20_000_000;
/// What one poll costs on the virtual clock, so that a loop of pauses sees time pass.
const STEP_NS: u64 = 1_000;
/// The future of `run` itself.
const MAIN: u64 = 0;

type Ready = Arc<Mutex<Vec<u64>>>;

#[derive(Debug)]
pub(super) struct Executor {
    tasks: RefCell<BTreeMap<u64, Task>>,
    next: Cell<u64>,
    ready: Ready,
    timers: RefCell<BTreeMap<TimerKey, Waker>>,
    timers_made: Cell<u64>,
    now_ns: Cell<u64>,
    random: Random,
    fifo: Cell<bool>,
    running: Cell<bool>,
    /// The machine is off: nothing happens any more.
    stopped: Cell<bool>,
}

/// Deadline in nanoseconds, then the order of making.
type TimerKey = (u64, u64);

struct Task {
    queue: Queue,
    name: &'static str,
    waker: Arc<TaskWaker>,
    /// Absent while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.queue, self.name)
    }
}

/// `Waker` demands Send and Sync, hence the lock and the atomic; no second thread ever comes.
#[derive(Debug)]
struct TaskWaker {
    task: u64,
    queued: AtomicBool,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.task);
        }
    }
}

fn lock(ready: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    ready.lock().expect("nothing panics under this lock")
}

impl Executor {
    pub(super) fn new(random: Random) -> Self {
        Self {
            tasks: RefCell::default(),
            next: Cell::new(MAIN + 1),
            ready: Ready::default(),
            timers: RefCell::default(),
            timers_made: Cell::new(0),
            now_ns: Cell::new(1_000_000_000),
            random,
            fifo: Cell::new(false),
            running: Cell::new(false),
            stopped: Cell::new(false),
        }
    }

    pub(super) fn set_fifo(&self, fifo: bool) {
        self.fifo.set(fifo);
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.fifo.get()
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    pub(super) fn advance(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }

    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    fn waker(&self, task: u64) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { task, queued: AtomicBool::new(false), ready: self.ready.clone() })
    }

    pub(super) fn spawn<F: Future<Output = ()> + 'static>(&self, queue: Queue, future: F) {
        if self.stopped.get() {
            return;
        }
        let id = self.next.get();
        self.next.set(id + 1);
        let waker = self.waker(id);
        waker.wake_by_ref();
        let (name, future) = (std::any::type_name::<F>(), Some(Box::pin(future) as _));
        self.tasks.borrow_mut().insert(id, Task { queue, name, waker, future });
    }

    /// Tasks that have not ended.
    pub(super) fn tasks(&self) -> Vec<String> {
        self.tasks.borrow().iter().map(|(id, task)| format!("task {id} {task:?}")).collect()
    }

    /// Drops all tasks. Their destructors may call back, so nothing is borrowed meanwhile.
    pub(super) fn clear(&self) {
        let tasks = self.tasks.take();
        drop(tasks);
        let timers = self.timers.take();
        drop(timers);
    }

    /// Runs until `main` ends; `None` when the machine was stopped first, all tasks are then dropped.
    pub(super) fn run<T>(
        &self,
        main: impl Future<Output = T>,
        describe: impl Fn() -> String,
    ) -> Option<T> {
        assert!(!self.running.replace(true), "run inside run");
        let result = self.steps(main, describe);
        self.running.set(false);
        if self.stopped.get() {
            self.clear();
        }
        result
    }

    fn steps<T>(&self, main: impl Future<Output = T>, describe: impl Fn() -> String) -> Option<T> {
        let mut main = pin!(main);
        let main_waker = self.waker(MAIN);
        main_waker.wake_by_ref();
        for _ in 0..STEPS_MAX {
            if self.stopped.get() {
                return None;
            }
            self.fire();
            let Some(task) = self.pick() else {
                self.jump(&describe);
                continue;
            };
            self.advance(STEP_NS);
            if task != MAIN {
                self.poll(task);
                continue;
            }
            main_waker.queued.store(false, Ordering::Relaxed);
            let waker = Waker::from(main_waker.clone());
            if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                // What it did after the stop is not part of the world.
                return (!self.stopped.get()).then_some(value);
            }
        }
        panic!("no end after {STEPS_MAX} steps\n{}{}", self.situation(), describe());
    }

    /// Wakes the timers that are due.
    fn fire(&self) {
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= self.now_ns.get() => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }

    /// Nothing is ready: on to the next timer.
    fn jump(&self, describe: &impl Fn() -> String) {
        let next = self.timers.borrow().keys().next().copied();
        match next {
            Some((deadline, _)) => self.now_ns.set(self.now_ns.get().max(deadline)),
            None => panic!("deadlock: nothing can run\n{}{}", self.situation(), describe()),
        }
    }

    fn situation(&self) -> String {
        let mut text =
            format!("at {} us of virtual time\nwaiting: the run itself\n", self.now_ns() / 1000);
        for task in self.tasks() {
            let _ = writeln!(text, "waiting: {task}");
        }
        text
    }

    fn pick(&self) -> Option<u64> {
        let mut ready = lock(&self.ready);
        if ready.is_empty() {
            return None;
        }
        if self.fifo.get() {
            return Some(ready.remove(0));
        }
        let draw =
            || usize::try_from(self.random.below(ready.len() as u64)).expect("below a length");
        let (mut chosen, other) = (draw(), draw());
        // Queues, loosely: half of the time the more urgent of two.
        if self.random.chance(1, 2) && self.urgency(ready[other]) < self.urgency(ready[chosen]) {
            chosen = other;
        }
        Some(ready.remove(chosen))
    }

    fn urgency(&self, task: u64) -> u8 {
        match self.tasks.borrow().get(&task).map(|task| task.queue) {
            None | Some(Queue::Commit) => 0,
            Some(Queue::Flush) => 1,
            Some(Queue::Compaction) => 2,
        }
    }

    fn poll(&self, id: u64) {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            // Woken after its end.
            let Some(task) = tasks.get_mut(&id) else { return };
            task.waker.queued.store(false, Ordering::Relaxed);
            (task.future.take().expect("polled once at a time"), Waker::from(task.waker.clone()))
        };
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let task = if ended {
            self.tasks.borrow_mut().remove(&id)
        } else {
            if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
                task.future = Some(future);
            }
            None
        };
        drop(task);
    }

    fn set_timer(&self, deadline_ns: u64, waker: Waker) -> TimerKey {
        let key = (deadline_ns, self.timers_made.get());
        self.timers_made.set(key.1 + 1);
        self.timers.borrow_mut().insert(key, waker);
        key
    }
}

/// Waits until a moment of the virtual clock; suspends at least once.
pub(super) struct Sleep<'a> {
    executor: &'a Executor,
    deadline_ns: u64,
    timer: Option<TimerKey>,
}

impl<'a> Sleep<'a> {
    pub(super) fn new(executor: &'a Executor, duration: Duration) -> Self {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1);
        let deadline_ns = executor.now_ns().saturating_add(ns);
        Self { executor, deadline_ns, timer: None }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = self.executor;
        if executor.is_stopped() {
            return Poll::Pending;
        }
        if let Some(timer) = self.timer.take() {
            executor.timers.borrow_mut().remove(&timer);
            if executor.now_ns() >= self.deadline_ns {
                return Poll::Ready(());
            }
        }
        self.timer = Some(executor.set_timer(self.deadline_ns, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.executor.timers.borrow_mut().remove(&timer);
        }
    }
}

/// Suspends once and is ready again at once.
pub(super) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
