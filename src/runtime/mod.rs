//! Threads and executors behind our own names: cores, helpers, and the watchdog over them. The only file of the server
//! that names glommio.
//!
//! A *core* is a pinned thread with an executor, a ring and a driver; it serves shards. A *helper* is an executor
//! without them, not pinned, for work beside the traffic (HTTP).

mod sys;
mod watchdog;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement};
use shard::env::glommio::{Driver, GlommioEnv};
use shard::env::ring::{Bell, Ring, RingOptions};
use tracing::{debug, info, warn};

use self::sys::{install_interrupt, name_thread, pin_to, thread_id, wish_slice};
use self::watchdog::{Watchdog, Watched};

pub(crate) use self::sys::run_on;
pub use self::sys::{available_cpus, cpu_quota};
pub use self::watchdog::WatchCounters;

/// Registered with each of glommio's three rings; above 2 MiB the registration often fails for lack of lockable
/// memory. What does not fit comes from the heap.
const IO_MEMORY_BYTES: usize = 1 << 20;

/// Requests in flight per ring of glommio: cold I/O only.
const RING_DEPTH: usize = 128;

/// Threads per core for blocking calls (open, rename, directory syncs): a slow sync does not hold up an open.
const BLOCKING_THREADS: usize = 2;

/// How long a core runs at a time while others want its CPU. It is pinned and cannot go elsewhere, so what counts is how soon it gets
/// its turn. The kernel's 2.8 ms let 50 clients of two shards on two cores have 32,000 GETs a second, 0.1 to 0.3 ms 38,000 to 42,000
/// (`everysec`, P=1); P=16 and `always` are as before.
const CORE_SLICE: Duration = Duration::from_micros(200);

/// What one core is given at its start.
#[derive(Debug)]
pub struct CoreContext {
    pub index: usize,
    /// One bell per core; `bells[index]` is this core's own.
    pub bells: Arc<[Bell]>,
    pub env: GlommioEnv,
    pub driver: Driver,
    pub ring: Ring,
}

/// How cores are made.
#[derive(Debug, Clone, Default)]
pub struct CoreOptions {
    /// The CPU of each core; as many cores as there are entries.
    pub cpus: Vec<usize>,
    pub ring: RingOptions,
}

/// Running cores. Dropping it leaves them running; end them by a message and [`Cores::join`].
pub struct Cores<T: Send + 'static> {
    handles: Vec<ExecutorJoinHandle<Option<T>>>,
    bells: Arc<[Bell]>,
    ends: Vec<Arc<AtomicBool>>,
    watchdog: Watchdog,
}

impl<T: Send + 'static> fmt::Debug for Cores<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cores = formatter.debug_struct("Cores");
        cores.field("count", &self.handles.len()).field("watchdog", &self.watchdog);
        cores.finish_non_exhaustive()
    }
}

/// Starts one core per CPU and runs on each what `make(index)` returns. No core runs its work unless all have an
/// executor and a ring.
///
/// # Errors
/// The first core's reason: io_uring forbidden (EPERM) or too old (ENOSYS, EINVAL), no lockable memory (ENOMEM), no
/// descriptors. CPUs that a core cannot be pinned to are no error: it runs unpinned, and the log says so.
pub fn start<Work, Run, T>(
    options: &CoreOptions,
    mut make: impl FnMut(usize) -> Work,
) -> io::Result<Cores<T>>
where
    Work: FnOnce(CoreContext) -> Run + Send + 'static,
    Run: Future<Output = T> + 'static,
    T: Send + 'static,
{
    assert!(!options.cpus.is_empty());
    install_interrupt()?;
    let bells: io::Result<Vec<Bell>> = options.cpus.iter().map(|_| Bell::new()).collect();
    let bells: Arc<[Bell]> = bells?.into();
    let (report, reports) = channel();
    let mut handles = Vec::new();
    let mut gates = Vec::new();
    for (index, &cpu) in options.cpus.iter().enumerate() {
        let (gate, opened) = channel();
        let seed = Seed { index, cpu, bells: Arc::clone(&bells), ring: options.ring.clone() };
        handles.push(start_core(seed, report.clone(), opened, make(index))?);
        gates.push(gate);
    }
    drop(report);
    let mut watched = Vec::new();
    for started in reports {
        // An error here drops the gates: the cores that wait at them end.
        watched.push(started?);
    }
    if watched.len() < handles.len() {
        // An executor failed before it ran anything. The others end at their gates.
        drop(gates);
        return Err(first_failure(handles));
    }
    watched.sort_by_key(|core| core.index);
    let ends = watched.iter().map(|core| Arc::clone(&core.ended)).collect();
    let watchdog = Watchdog::start(watched)?;
    for gate in gates {
        // A core that has ended meanwhile shows up in `join`.
        gate.send(()).ok();
    }
    Ok(Cores { handles, bells, ends, watchdog })
}

impl<T: Send + 'static> Cores<T> {
    /// One bell per core.
    pub fn bells(&self) -> &Arc<[Bell]> {
        &self.bells
    }

    /// For each core, whether it has ended, in whatever way.
    pub fn ends(&self) -> Vec<Arc<AtomicBool>> {
        self.ends.clone()
    }

    /// What the watchdog has seen.
    pub fn watch_counters(&self) -> Arc<WatchCounters> {
        Arc::clone(&self.watchdog.counters)
    }

    /// Waits until all cores have ended, and returns their results in order.
    ///
    /// # Errors
    /// The first executor that failed; all have ended then, too.
    pub fn join(self) -> io::Result<Vec<T>> {
        let ended: Vec<_> = self.handles.into_iter().map(ExecutorJoinHandle::join).collect();
        self.watchdog.stop();
        let result = |ended: glommio::Result<Option<T>, ()>| match ended {
            Ok(result) => Ok(result.expect("every gate was opened")),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        ended.into_iter().map(result).collect()
    }
}

fn first_failure<T: Send + 'static>(handles: Vec<ExecutorJoinHandle<T>>) -> io::Error {
    for handle in handles {
        if let Err(error) = handle.join() {
            return io::Error::other(error.to_string());
        }
    }
    io::Error::other("a core ended before it started")
}

/// What a core's thread is made from.
struct Seed {
    index: usize,
    cpu: usize,
    bells: Arc<[Bell]>,
    ring: RingOptions,
}

fn start_core<Work, Run, T>(
    seed: Seed,
    report: Sender<io::Result<Watched>>,
    gate: Receiver<()>,
    work: Work,
) -> io::Result<ExecutorJoinHandle<Option<T>>>
where
    Work: FnOnce(CoreContext) -> Run + Send + 'static,
    Run: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let run = move || async move {
        let ended = EndMark::default();
        // A panic of another task unwinds the thread, and may leave this one as it is.
        ENDS_WITH_THREAD.set(Some(EndMark(Arc::clone(&ended.0))));
        let context = match seed.grow() {
            Ok(context) => context,
            Err(error) => {
                drop(report.send(Err(error)));
                return None;
            }
        };
        let watched = Watched {
            index: context.index,
            thread: thread_id(),
            heartbeat: context.env.heartbeat(),
            ended: Arc::clone(&ended.0),
        };
        drop(report.send(Ok(watched)));
        drop(report);
        // Blocks this thread, on which nothing else runs yet.
        gate.recv().ok()?;
        Some(work(context).await)
    };
    // The name that its pool's threads keep, with the executor's number; the core's own thread takes another.
    executor("blocking").spawn(run).map_err(|error| io::Error::other(error.to_string()))
}

impl Seed {
    /// On the core's own thread and executor.
    fn grow(self) -> io::Result<CoreContext> {
        name_thread(&format!("core-{}", self.index));
        // By ourselves: glommio's placement reads sysfs, which containers hide, and pins the blocking threads too.
        match pin_to(self.cpu) {
            Ok(()) => info!(core = self.index, cpu = self.cpu, "core pinned"),
            Err(error) => {
                warn!(core = self.index, cpu = self.cpu, %error, "core not pinned to its CPU");
            }
        }
        if let Err(error) = wish_slice(CORE_SLICE) {
            debug!(core = self.index, %error, "the core runs in slices of the usual length");
        }
        let ring = Ring::new(&self.ring, self.bells[self.index].clone())?;
        let (env, driver) = GlommioEnv::new(ring.clone())?;
        Ok(CoreContext { index: self.index, bells: self.bells, env, driver, ring })
    }
}

thread_local! {
    static ENDS_WITH_THREAD: std::cell::Cell<Option<EndMark>> = const { std::cell::Cell::new(None) };
}

/// Says that a thread is over, however it ends.
#[derive(Default)]
struct EndMark(Arc<AtomicBool>);

impl Drop for EndMark {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A running helper.
pub struct Helper<T: Send + 'static> {
    handle: ExecutorJoinHandle<T>,
}

impl<T: Send + 'static> fmt::Debug for Helper<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Helper").finish_non_exhaustive()
    }
}

/// Starts an executor that is not pinned and serves no shard.
///
/// # Errors
/// As [`start`].
pub fn start_helper<Run, T>(
    name: &'static str,
    work: impl FnOnce() -> Run + Send + 'static,
) -> io::Result<Helper<T>>
where
    Run: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let run = move || async move {
        name_thread(name);
        work().await
    };
    let handle = executor(name).spawn(run);
    Ok(Helper { handle: handle.map_err(|error| io::Error::other(error.to_string()))? })
}

impl<T: Send + 'static> Helper<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// Its executor failed.
    pub fn join(self) -> io::Result<T> {
        self.handle.join().map_err(|error| io::Error::other(error.to_string()))
    }
}

/// The preemption timer stays at glommio's 100 ms: see the watchdog.
fn executor(name: &str) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    use super::*;

    /// Two cores ring each other's bell in turn, some of the time once the other one sleeps.
    #[test]
    fn cores_wake_each_other() {
        const ROUNDS: u64 = 2000;
        const LONG_TURN_EVERY: u64 = 9;
        let counter = Arc::new(AtomicU64::new(0));
        let options = CoreOptions { cpus: vec![0, usize::MAX], ring: RingOptions::default() };
        let cores = start(&options, |index| {
            let counter = Arc::clone(&counter);
            move |mut core: CoreContext| async move {
                let other = core.bells[1 - index].clone();
                let mut completed = Vec::new();
                loop {
                    let busy = core.ring.pass(&mut completed).unwrap();
                    let at = counter.load(Ordering::SeqCst);
                    if at >= ROUNDS {
                        other.ring();
                        return core.driver.sleeps();
                    }
                    if at % 2 == index as u64 {
                        while at.is_multiple_of(LONG_TURN_EVERY) && !other.is_asleep() {
                            std::thread::yield_now();
                        }
                        counter.store(at + 1, Ordering::SeqCst);
                        other.ring();
                    }
                    core.driver.after_pass(busy).await.unwrap();
                }
            }
        })
        .unwrap();
        let counters = cores.watch_counters();
        let began = Instant::now();
        let sleeps = cores.join().unwrap();
        println!("{ROUNDS} handovers in {:?}, sleeps {sleeps:?}", began.elapsed());
        assert_eq!(counters.interrupts.load(Ordering::Relaxed), 0);
        assert!(sleeps.iter().all(|&sleeps| sleeps >= ROUNDS / LONG_TURN_EVERY / 2 - 1));
    }

    /// A core that rests although its bell was rung, as after a lost wake-up: the watchdog interrupts and counts it.
    #[test]
    fn the_watchdog_interrupts_a_wait() {
        let options = CoreOptions { cpus: vec![0], ring: RingOptions::default() };
        let cores = start(&options, |_| {
            move |core: CoreContext| async move {
                core.ring.bell().ring();
                // Blocks the thread: only a signal ends it early.
                sys::sleep_until_interrupted(Duration::from_secs(20))
            }
        })
        .unwrap();
        let counters = cores.watch_counters();
        let left = cores.join().unwrap();
        assert!(left[0] > Duration::ZERO, "the signal ended the wait");
        assert!(counters.interrupts.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_core_that_cannot_start_is_an_error() {
        let ring = RingOptions { submissions: 0, ..RingOptions::default() };
        let options = CoreOptions { cpus: vec![0, 0], ring };
        let started = start(&options, |_| |_core: CoreContext| async {});
        assert_eq!(started.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
