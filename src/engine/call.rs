//! One call to a core: on its way, and its answer.
//!
//! A call is a closure in the core's inbox and a place for its answer, which the core fills and then wakes whoever asked: a task
//! of any runtime, or a thread in [`wait`].
//!
//! # Invariants
//! - The core's side takes no lock and blocks never: an answer is a push into a queue with room for it, and a wake-up.
//! - An answer that nobody waits for any more is dropped with its place; what was asked for is done all the same.
//! - A core that has died answers [`EngineError::Closed`]: its calls are looked at again when the watchdog has seen it
//!   ([`Parked`]), and those of blocked threads each [`LIFE_CHECK`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use atomic_waker::AtomicWaker;
use crossbeam_queue::ArrayQueue;
use tokio::sync::oneshot;

use super::on_core::CoreTools;
use super::{EngineError, Inner, Result};
use crate::error::ServerError;
use crate::mesh::Message;
use crate::server::LIFE_CHECK;

/// Looks at an answer that comes soon, before the thread gives its CPU away: what a core that is awake on another CPU needs.
const SPINS: usize = 40;
/// Hints of a spin to the CPU, between two looks.
const HINTS_PER_SPIN: usize = 4;
/// Looks with the CPU given away in between, before the thread sleeps: the core may be on this very CPU.
const YIELDS: usize = 40;

/// Where an answer is put.
#[derive(Debug)]
struct Place<T> {
    answer: ArrayQueue<T>,
    asker: AtomicWaker,
    /// Nobody will answer, or somebody has.
    is_over: AtomicBool,
}

/// The core's end of a call.
#[derive(Debug)]
pub(super) struct Answer<T>(Arc<Place<shard::error::Result<T>>>);

impl<T> Answer<T> {
    /// Answers.
    pub(super) fn give(self, answer: shard::error::Result<T>) {
        // There is room: an answer is given once.
        drop(self.0.answer.push(answer));
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.asker.wake();
    }
}

/// A call that is sent when it is first polled. Holds the engine open.
#[derive(Debug)]
#[must_use = "nothing is sent before it is polled"]
pub(super) struct Call<T> {
    inner: Arc<Inner>,
    core: usize,
    /// Until it is sent.
    message: Option<Message>,
    place: Arc<Place<shard::error::Result<T>>>,
}

impl<T: Send + 'static> Call<T> {
    pub(super) fn new(
        inner: &Arc<Inner>,
        core: usize,
        work: impl FnOnce(&CoreTools, Answer<T>) + Send + 'static,
    ) -> Self {
        let place = Arc::new(Place {
            answer: ArrayQueue::new(1),
            asker: AtomicWaker::new(),
            is_over: AtomicBool::new(false),
        });
        let answer = Answer(Arc::clone(&place));
        let message = Message::Call(Box::new(move |tools| work(tools, answer)));
        Self { inner: Arc::clone(inner), core, message: Some(message), place }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let server = &this.inner.server;
        // Asked first: what the core answered before it ended is not overlooked.
        let has_ended = server.core_has_ended(this.core);
        if let Some(message) = this.message.take() {
            if has_ended {
                return Poll::Ready(Err(EngineError::Closed));
            }
            if let Err(back) = server.door(this.core).send(message) {
                // A full inbox empties within a pass of the core's loop.
                this.message = Some(back);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        this.place.asker.register(context.waker());
        let is_over = has_ended || this.place.is_over.load(Ordering::Acquire);
        match this.place.answer.pop() {
            Some(answer) => Poll::Ready(answer.map_err(EngineError::Shard)),
            None if is_over => Poll::Ready(Err(EngineError::Closed)),
            None => Poll::Pending,
        }
    }
}

/// All of `calls`, under way at the same time; their answers in order.
pub(super) async fn join<T>(mut calls: Vec<Call<T>>) -> Vec<Result<T>> {
    let mut answers: Vec<Option<Result<T>>> = calls.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (answer, call) in answers.iter_mut().zip(&mut calls) {
            if answer.is_none()
                && let Poll::Ready(given) = Pin::new(call).poll(context)
            {
                *answer = Some(given);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

/// When an answer is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Within microseconds, usually: it is worth staying awake for.
    Soon,
    /// After a write to disk or more.
    Later,
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// The waker of this thread; made once, unless the thread is ending.
fn thread_waker() -> Waker {
    let new = || Waker::from(Arc::new(ThreadWaker(thread::current())));
    let kept = WAKER.try_with(|kept| kept.borrow_mut().get_or_insert_with(new).clone());
    kept.unwrap_or_else(|_| new())
}

/// Runs `future` to its end on this thread, which sleeps while there is nothing to do: for programs and tests without a runtime.
///
/// ```
/// assert_eq!(rusty_lsm::engine::block_on(async { 6 * 7 }), 42);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    wait(future, Expected::Later)
}

/// Blocks the calling thread until `future` is done.
pub(super) fn wait<F: Future>(future: F, expected: Expected) -> F::Output {
    let mut future = pin!(future);
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    let (spins, yields) = match expected {
        Expected::Soon => (SPINS, YIELDS),
        Expected::Later => (0, 0),
    };
    for look in 0..spins + yields {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if look < spins {
            (0..HINTS_PER_SPIN).for_each(|_| std::hint::spin_loop());
        } else {
            thread::yield_now();
        }
    }
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park_timeout(LIFE_CHECK);
    }
}

/// What `work` answers, which blocks: on a thread of its own, started with the first poll. `failed`: where there is none.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
    failed: fn(Arc<ServerError>) -> EngineError,
) -> Result<T> {
    let (sender, answer) = oneshot::channel();
    // Nobody may be waiting any more.
    let run = move || drop(sender.send(work()));
    match thread::Builder::new().name("engine".into()).spawn(run) {
        Ok(_) => answer.await.unwrap_or(Err(EngineError::Closed)),
        Err(error) => Err(failed(Arc::new(ServerError::Runtime(error)))),
    }
}

/// Tasks of other runtimes that wait for answers. Woken when a core has died: they look for themselves.
#[derive(Debug, Default)]
pub(super) struct Parked {
    next: AtomicU64,
    #[expect(
        clippy::disallowed_types,
        reason = "taken by threads of the caller's and by the watchdog, never by a core's"
    )]
    tasks: std::sync::Mutex<HashMap<u64, Waker>>,
}

impl Parked {
    pub(super) fn wake_all(&self) {
        let tasks = std::mem::take(&mut *self.lock());
        tasks.into_values().for_each(Waker::wake);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waker>> {
        // Whoever panicked inside has left a whole map behind.
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The place of one task among those that are woken; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    parked: Arc<Parked>,
    number: Option<u64>,
}

impl Seat {
    pub(super) fn new(inner: &Inner) -> Self {
        Self { parked: Arc::clone(&inner.parked), number: None }
    }

    /// Wakes the task of `context` when a core has died. Whoever sits down looks once more afterwards.
    pub(super) fn take(&mut self, context: &Context<'_>) {
        let parked = &self.parked;
        let number =
            *self.number.get_or_insert_with(|| parked.next.fetch_add(1, Ordering::Relaxed));
        parked.lock().insert(number, context.waker().clone());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.parked.lock().remove(&number);
        }
    }
}

/// The answer to an asynchronous call on the engine: a future for any runtime, `Send` and `Unpin`.
///
/// Nothing happens before it is polled. **Dropping it** after that takes nothing back: a write that is on its way is made, and
/// only whether it is durable is not learnt. Before its first poll a dropped future has done nothing. It holds the engine open;
/// if it is the last to do so, its drop closes the engine and blocks for that long.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// # rusty_lsm::engine::block_on(async move {
/// # let db = engine.asynch();
/// let put: rusty_lsm::engine::EngineFuture<()> = db.put(b"city", b"Bern");
/// assert_eq!(db.get(b"city").await?, None, "not sent yet");
/// put.await?;
/// assert!(db.get(b"city").await?.is_some());
/// # Ok::<(), rusty_lsm::EngineError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens before it is awaited"]
pub struct EngineFuture<T> {
    future: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    seat: Seat,
}

impl<T> EngineFuture<T> {
    pub(super) fn new(
        inner: &Inner,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self::with_seat(Seat::new(inner), future)
    }

    /// Where `future` has taken the engine.
    pub(super) fn with_seat(
        seat: Seat,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self { future: Box::pin(future), seat }
    }
}

impl<T> std::fmt::Debug for EngineFuture<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EngineFuture").finish_non_exhaustive()
    }
}

impl<T> Future for EngineFuture<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        if let Poll::Ready(output) = this.future.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        this.seat.take(context);
        // A core that died between the two is seen now.
        this.future.as_mut().poll(context)
    }
}
