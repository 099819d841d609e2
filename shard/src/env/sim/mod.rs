//! A deterministic world in memory: one seed, one order of events, one outcome.
//!
//! - `disk`, `inode`, `pages`: what is written and what is durable, kept apart; names likewise.
//! - `cut`: what a crash leaves. `faults`: operations that fail on demand.
//! - `executor`: tasks, timers, virtual clock. `io`: `Env` and `File` over all of these.
//!
//! ```ignore
//! let sim = Sim::new(seed);
//! sim.crash_at(17);
//! let finished = sim.try_run(|env| async move { .. });   // None: stopped at operation 17
//! let after = sim.crash(Crash::Random, seed);
//! after.run(|env| async move { .. });
//! ```
//!
//! # Invariants
//! - Every operation of `Env` and `File` suspends at least once, and takes a time drawn from the seed.
//! - A sync covers the writes that completed before it was submitted, no others.
//! - After the stop of `crash_at` nothing changes any more, whatever the program still does.

mod cut;
mod disk;
mod executor;
mod faults;
mod inode;
mod io;
mod pages;
mod random;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub use cut::Crash;
use disk::Disk;
use executor::Executor;
pub use faults::{Fault, FaultHandle, Faults, Kind};
pub use io::SimFile;
use pages::Pages;
use random::Random;

/// Lines that [`SimEnv::trace`] keeps.
const TRACE_LINES_MAX: usize = 10_000;
/// Lines shown when a run hangs.
const TRACE_LINES_SHOWN: usize = 20;
/// The wall clock at the start of a simulation, milliseconds since 1970.
const WALL_START_MS: u64 = 1_750_000_000_000;

/// What the random streams are for.
mod purpose {
    pub(super) const SCHEDULE: u64 = 1;
    pub(super) const LATENCY: u64 = 2;
    pub(super) const PROGRAM: u64 = 3;
    pub(super) const DISK: u64 = 4;
    pub(super) const CRASH: u64 = 5;
}

#[derive(Debug)]
struct World {
    executor: Executor,
    disk: RefCell<Disk>,
    faults: Faults,
    latency: Random,
    program: Random,
    damage: Random,
    operations: Cell<u64>,
    crash_at: Cell<Option<u64>>,
    wall_offset_ms: Cell<i64>,
    trace: RefCell<VecDeque<String>>,
    fingerprint: RefCell<DefaultHasher>,
    /// Handles that were dropped without `close`.
    dropped_open: RefCell<Vec<PathBuf>>,
    open: Cell<u64>,
    watcher: RefCell<Watcher>,
    seed: u64,
    /// Crashes before this machine's start.
    generation: u64,
}

type Watch = dyn Fn(&SimEnv, Kind);

/// Called at the moments of [`SimEnv::watch`].
#[derive(Clone, Default)]
struct Watcher(Option<Rc<Watch>>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watcher").field(&self.0.is_some()).finish()
    }
}

/// One machine. Dropping it ends its tasks; what an [`SimEnv`] offers, it offers too.
pub struct Sim {
    env: SimEnv,
}

/// The handle that the program gets. Cheap to clone.
#[derive(Clone)]
pub struct SimEnv {
    world: Rc<World>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sim").field(&self.env).finish()
    }
}

impl fmt::Debug for SimEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimEnv").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Deref for Sim {
    type Target = SimEnv;

    fn deref(&self) -> &SimEnv {
        &self.env
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.world.executor.stop();
        self.world.executor.clear();
    }
}

impl Sim {
    /// An empty disk that has only the directory `/`.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, 0, Disk::new())
    }

    fn with(seed: u64, generation: u64, disk: Disk) -> Self {
        let world = World {
            executor: Executor::new(Random::new(seed, purpose::SCHEDULE)),
            disk: RefCell::new(disk),
            faults: Faults::default(),
            latency: Random::new(seed, purpose::LATENCY),
            program: Random::new(seed, purpose::PROGRAM),
            damage: Random::new(seed, purpose::DISK),
            operations: Cell::new(0),
            crash_at: Cell::new(None),
            wall_offset_ms: Cell::new(0),
            trace: RefCell::default(),
            fingerprint: RefCell::default(),
            dropped_open: RefCell::default(),
            open: Cell::new(0),
            watcher: RefCell::default(),
            seed,
            generation,
        };
        Self { env: SimEnv { world: Rc::new(world) } }
    }

    /// The same order in each run, whatever the seed: first come, first served, all operations equally fast.
    #[must_use]
    pub fn fifo(self) -> Self {
        self.world.executor.set_fifo(true);
        self
    }

    /// The program's handle, for use inside [`Sim::run`].
    pub fn env(&self) -> SimEnv {
        self.env.clone()
    }

    /// Runs to the end. Tasks that it spawned and that still live go on in the next run of this machine.
    ///
    /// # Panics
    /// When nothing can happen any more (deadlock), or when [`SimEnv::crash_at`] stopped it.
    pub fn run<T, F: Future<Output = T>>(&self, program: impl FnOnce(SimEnv) -> F) -> T {
        self.try_run(program).expect("the machine was stopped by crash_at: use try_run")
    }

    /// Runs to the end, or `None` when [`SimEnv::crash_at`] stopped the machine first: the program and all its tasks
    /// are then dropped, and all that is left to do is [`SimEnv::crash`].
    pub fn try_run<T, F: Future<Output = T>>(
        &self,
        program: impl FnOnce(SimEnv) -> F,
    ) -> Option<T> {
        self.world.executor.run(program(self.env()), || self.last_lines())
    }
}

impl SimEnv {
    /// The machine after a crash now: a new one, with the disk as `kind` leaves it. This one is not changed, so that many
    /// crashes can be tried from one moment. The wall clock goes on; faults are not taken along.
    pub fn crash(&self, kind: Crash, seed: u64) -> Sim {
        let disk = self.world.disk.borrow().crash(kind, Random::new(seed, purpose::CRASH));
        // The program must not draw the same numbers again, even where all seeds are equal.
        let generation = self.world.generation + 1;
        let seed = Random::new(seed ^ self.world.seed.rotate_left(32), generation).next();
        let after = Sim::with(seed, generation, disk);
        let passed = i64::try_from(self.world.executor.now_ns() / 1_000_000).unwrap_or(i64::MAX);
        after.world.wall_offset_ms.set(self.world.wall_offset_ms.get().saturating_add(passed));
        after.world.executor.set_fifo(self.world.executor.is_fifo());
        after
    }

    /// Stops the machine when operation `number` (from 1) is submitted: it is in flight, and nothing later happens.
    pub fn crash_at(&self, number: u64) {
        self.world.crash_at.set(Some(number));
    }

    /// Calls `watcher` twice for each operation: when it has been submitted, and when it has completed. It may look, and
    /// try crashes; it draws nothing from this machine's chance, so the run is the same without it.
    pub fn watch(&self, watcher: impl Fn(&SimEnv, Kind) + 'static) {
        *self.world.watcher.borrow_mut() = Watcher(Some(Rc::new(watcher)));
    }

    /// Ends [`SimEnv::watch`], and drops what the watcher held.
    pub fn unwatch(&self) {
        let watcher = self.world.watcher.take();
        drop(watcher);
    }

    /// Whether [`SimEnv::crash_at`] has stopped the machine.
    pub fn is_stopped(&self) -> bool {
        self.world.executor.is_stopped()
    }

    /// The monotonic clock, looked at from outside: unlike `Env::now` it costs the machine nothing.
    pub fn clock(&self) -> Duration {
        Duration::from_nanos(self.world.executor.now_ns())
    }

    /// Operations submitted so far.
    pub fn operations(&self) -> u64 {
        self.world.operations.get()
    }

    /// The faults of this machine.
    pub fn faults(&self) -> Faults {
        self.world.faults.clone()
    }

    /// Sets the free space; files that grow use it up, removed ones give it back.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.world.disk.borrow_mut().set_free(bytes);
    }

    /// Moves the wall clock; the monotonic one does not see it.
    pub fn shift_wall_ms(&self, by: i64) {
        let offset = &self.world.wall_offset_ms;
        offset.set(offset.get().saturating_add(by));
    }

    /// The last operations (10,000), one line each: time, number, what, how it ended.
    pub fn trace(&self) -> Vec<String> {
        self.world.trace.borrow().iter().cloned().collect()
    }

    /// A hash over all lines of the trace so far.
    pub fn fingerprint(&self) -> u64 {
        self.world.fingerprint.borrow().finish()
    }

    /// A hash over all names and bytes on the disk, as the program sees them: after a power cut that is all there is.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.world.disk.borrow().digest(&mut hasher);
        hasher.finish()
    }

    /// Tasks that have not ended, as lines.
    pub fn tasks(&self) -> Vec<String> {
        self.world.executor.tasks()
    }

    /// Files that are open now.
    pub fn open_files(&self) -> u64 {
        self.world.open.get()
    }

    /// Files that were dropped without `close`: allowed only after an error.
    pub fn dropped_open(&self) -> Vec<PathBuf> {
        self.world.dropped_open.borrow().clone()
    }

    /// Every file with its length, sorted by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.world.disk.borrow().files()
    }

    /// The bytes of a file as the program would read them.
    pub fn read_raw(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let disk = self.world.disk.borrow();
        let ino = disk.find_file(path.as_ref()).expect("read_raw of an existing file");
        disk.file(ino).seen.to_vec()
    }

    /// Makes a file have these bytes, durable, its name too; creates it if absent.
    pub fn write_raw(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut pages = Pages::default();
        pages.write(0, bytes);
        self.world.disk.borrow_mut().put(path.as_ref(), pages);
    }

    /// Makes a directory exist, with those above it, durable.
    pub fn make_dir(&self, path: impl AsRef<Path>) {
        self.world.disk.borrow_mut().put_dir(path.as_ref());
    }

    /// Inverts the bits of `mask` in one byte of a file.
    pub fn flip(&self, path: impl AsRef<Path>, offset: u64, mask: u8) {
        let mut bytes = self.read_raw(&path);
        bytes[pages::index(offset)] ^= mask;
        self.write_raw(path, &bytes);
    }

    /// Cuts a file.
    pub fn truncate(&self, path: impl AsRef<Path>, len: u64) {
        let mut bytes = self.read_raw(&path);
        bytes.truncate(pages::index(len));
        self.write_raw(path, &bytes);
    }

    fn last_lines(&self) -> String {
        let trace = self.world.trace.borrow();
        let skipped = trace.len().saturating_sub(TRACE_LINES_SHOWN);
        let mut text = String::from("last operations:\n");
        for line in trace.iter().skip(skipped) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl World {
    fn note(&self, line: String) {
        line.hash(&mut *self.fingerprint.borrow_mut());
        let mut trace = self.trace.borrow_mut();
        if trace.len() == TRACE_LINES_MAX {
            trace.pop_front();
        }
        trace.push_back(line);
    }
}
