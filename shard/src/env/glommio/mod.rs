//! The real world: hot files on the core's ring, cold files by glommio's DmaFile, tasks in glommio's queues. The only
//! place of the engine that names glommio. Files through the page cache are written by copies into a mapping (`cached`).
//!
//! # How a core runs
//! One task, the core's loop, does `ring.pass(..)`, handles what completed and calls [`Driver::after_pass`], for ever.
//! glommio serves its own rings, timers and pool only when no task is runnable, so that call is where everything else
//! gets its time, and where the core sleeps when there is nothing to do.
//!
//! # Invariants
//! - A background task never stays runnable by itself: [`Env::pause`] parks it until the driver releases it. A task
//!   that merely yielded would keep glommio from polling, and with it the bell of a sleeping loop.
//! - Whoever queues an operation, parks or sets a timer while the loop sleeps wakes it ([`Ring::nudge`]).
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the real world behind Env: its clock, its files, what its threads share"
)]
#![expect(
    unsafe_code,
    reason = "descriptors handed to glommio, mappings of the log, statvfs and getrandom"
)]

mod cached;
mod doorbell;
mod driver;
mod file;
mod pace;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod tests;
mod timers;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::io::{DmaFile, OpenOptions};
use glommio::{GlommioError, TaskQueueHandle};

use self::cached::{CachedFile, Mapping};
use self::pace::{Pace, Paced};
use self::timers::Timers;
use super::ring::Ring;
use super::{Env, Lane, Open, Queue, Sync};

pub use self::doorbell::Doorbell;
pub use self::driver::{Driver, Heartbeat};
pub use self::file::GlommioFile;

/// Shares of the core's loop and of the group commit, against those of [`GlommioEnv::set_shares`].
pub const CORE_SHARES: usize = 1000;

/// Shares of flush, and of compaction, unless set: beside a busy core they get a third and a sixth of its time.
const FLUSH_SHARES: usize = 500;
const COMPACTION_SHARES: usize = 200;

/// Large things that wait for the dropper thread; more are dropped where they are.
const GARBAGE_MAX: usize = 64;

/// One core's view of the real world. Cheap to clone, not `Send`.
#[derive(Debug, Clone)]
pub struct GlommioEnv {
    world: Rc<World>,
}

#[derive(Debug)]
struct World {
    ring: Ring,
    commit: TaskQueueHandle,
    pace: Rc<Pace>,
    timers: RefCell<Timers>,
    /// Operations that only a turn of glommio can complete.
    cold: Cell<usize>,
    start: Instant,
    random: Cell<u64>,
    /// Directories whose device has been kept off the polling ring.
    settled: RefCell<Vec<PathBuf>>,
    heartbeat: Arc<Heartbeat>,
}

impl GlommioEnv {
    /// The world of the executor that runs this task, and the driver for its loop. The calling task's queue becomes
    /// that of the group commit.
    ///
    /// # Errors
    /// No descriptor left, or no randomness.
    pub fn new(ring: Ring) -> io::Result<(Self, Driver)> {
        let executor = glommio::executor();
        let pace = Rc::new(Pace::new(FLUSH_SHARES, COMPACTION_SHARES));
        let world = World {
            commit: executor.current_task_queue(),
            pace,
            timers: RefCell::new(Timers::default()),
            cold: Cell::new(0),
            start: Instant::now(),
            random: Cell::new(system_random()?),
            settled: RefCell::new(Vec::new()),
            heartbeat: Arc::new(Heartbeat::new(ring.bell().clone())),
            ring,
        };
        let env = Self { world: Rc::new(world) };
        let driver = Driver::new(Rc::clone(&env.world))?;
        Ok((env, driver))
    }

    /// This core's ring.
    pub fn ring(&self) -> &Ring {
        &self.world.ring
    }

    /// Counters that another thread may watch.
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.world.heartbeat)
    }

    /// Runs `work` on the pool of blocking threads.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _cold = self.world.cold();
        glommio::executor().spawn_blocking(work).await
    }

    async fn open_hot(&self, path: &Path, how: Open) -> io::Result<GlommioFile> {
        let path = path.to_owned();
        let open = move || {
            let file = match hot_options(how, libc::O_NOATIME).open(&path) {
                // A file of another user.
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    hot_options(how, 0).open(path)
                }
                result => result,
            }?;
            let is_cached = how == Open::Write(Sync::PageCache);
            let mapping = if is_cached { Some(Mapping::new(&file)?) } else { None };
            Ok::<_, io::Error>((OwnedFd::from(file), mapping))
        };
        Ok(match self.blocking(open).await? {
            (file, None) => GlommioFile::hot(self.clone(), file),
            (file, Some(mapping)) => {
                GlommioFile::cached(self.clone(), CachedFile::new(file, mapping))
            }
        })
    }

    async fn open_cold(&self, path: &Path, how: Open) -> io::Result<GlommioFile> {
        match self.open_cold_with(path, how, libc::O_NOATIME).await {
            // A file of another user.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                self.open_cold_with(path, how, 0).await
            }
            result => result,
        }
    }

    async fn open_cold_with(&self, path: &Path, how: Open, flags: i32) -> io::Result<GlommioFile> {
        let _cold = self.world.cold();
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600).custom_flags(flags);
        match how {
            Open::CreateNew => options.write(true).create_new(true),
            Open::Read => &mut options,
            Open::Write(Sync::EachWrite) => options.write(true).custom_flags(flags | libc::O_DSYNC),
            Open::Write(_) => options.write(true),
        };
        let parent = path.parent().unwrap_or(Path::new("/"));
        let settled = self.world.settled.borrow().iter().any(|settled| settled == parent);
        let file = if settled {
            options.dma_open(path).await.map_err(io_error)?
        } else {
            let file = self.settle(path, how, options).await?;
            self.world.settled.borrow_mut().push(parent.to_owned());
            file
        };
        GlommioFile::cold(self.clone(), file).await
    }

    /// Opens the first file of a directory. glommio tries polled I/O with the first file it opens on a device, by a
    /// read; a polling ring keeps a core at 100 % while it waits. So it first sees the file write-only: the read fails,
    /// and polling is off for good.
    async fn settle(
        &self,
        path: &Path,
        how: Open,
        mut options: OpenOptions,
    ) -> io::Result<DmaFile> {
        let mut write_only = OpenOptions::new();
        write_only.write(true).mode(0o600);
        if how == Open::CreateNew {
            write_only.create_new(true);
            let file = write_only.dma_open(path).await.map_err(io_error)?;
            file.close().await.map_err(io_error)?;
            options.create_new(false);
        } else if let Ok(file) = write_only.dma_open(path).await {
            // Not ours to write: then glommio decides about polling by itself.
            file.close().await.map_err(io_error)?;
        }
        options.dma_open(path).await.map_err(io_error)
    }
}

impl Env for GlommioEnv {
    type File = GlommioFile;

    async fn open(&self, path: &Path, how: Open, lane: Lane) -> io::Result<GlommioFile> {
        match lane {
            // DmaFile knows no page cache.
            Lane::Cold if how != Open::Write(Sync::PageCache) => self.open_cold(path, how).await,
            Lane::Cold | Lane::Hot => self.open_hot(path, how).await,
        }
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _cold = self.world.cold();
        glommio::io::rename(from, to).await.map_err(io_error)
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.blocking(move || std::fs::hard_link(from, to)).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let _cold = self.world.cold();
        glommio::io::remove(path).await.map_err(io_error)
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        let create = move || match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        };
        self.blocking(create).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = dir.to_owned();
        self.blocking(move || list(&dir)).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = dir.to_owned();
        self.blocking(move || std::fs::File::open(dir)?.sync_all()).await
    }

    async fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let dir = dir.to_owned();
        self.blocking(move || free_bytes(&dir)).await
    }

    fn now(&self) -> Duration {
        self.world.start.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random_u64(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
        let state = self.world.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.world.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Fired by the driver, so exact to a pass, or to glommio's timer while the core sleeps.
    async fn sleep(&self, duration: Duration) {
        timers::sleep(&self.world, Instant::now() + duration).await;
    }

    async fn pause(&self) {
        let mut paused = false;
        poll_fn(|context| {
            if paused {
                return Poll::Ready(());
            }
            paused = true;
            if !self.world.pace.park_current(context.waker()) {
                // In the core's own queue: behind everyone who is runnable there.
                context.waker().wake_by_ref();
            }
            self.world.ring.nudge();
            Poll::Pending
        })
        .await;
    }

    fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static) {
        // One queue for all: then a yield of the loop polls every task that is runnable, and the driver knows when none
        // is. The pace, not glommio's shares, decides how much of a busy core the background gets.
        let commit = self.world.commit;
        let spawned = match queue {
            Queue::Commit => glommio::spawn_local_into(self.seen(task), commit),
            Queue::Flush | Queue::Compaction => {
                glommio::spawn_local_into(self.seen(self.paced(queue, task)), commit)
            }
        };
        spawned.expect("the queues live as long as the executor").detach();
        // It has not run yet: the loop must not go to sleep before it has.
        self.world.ring.nudge();
    }

    fn set_shares(&self, queue: Queue, shares: usize) {
        self.world.pace.set_shares(queue, shares);
    }

    fn dispose(&self, garbage: Box<dyn Send>) {
        static DROPPER: OnceLock<Option<SyncSender<Box<dyn Send>>>> = OnceLock::new();
        let dropper = DROPPER.get_or_init(|| {
            let (sender, receiver) = sync_channel::<Box<dyn Send>>(GARBAGE_MAX);
            let drop_all = move || receiver.iter().for_each(drop);
            let started = std::thread::Builder::new().name("dropper".to_owned()).spawn(drop_all);
            started.ok().map(|_| sender)
        });
        if let Some(dropper) = dropper {
            // Full, or gone: what comes back in the error is dropped here.
            drop(dropper.try_send(garbage));
        }
    }
}

impl GlommioEnv {
    /// A task whose every poll asks for a pass: what it changed may let the loop go on, though it queued nothing.
    fn seen<T: Future<Output = ()> + 'static>(&self, task: T) -> impl Future<Output = ()> + use<T> {
        let world = Rc::clone(&self.world);
        let mut task = Box::pin(task);
        poll_fn(move |context| {
            world.ring.nudge();
            task.as_mut().poll(context)
        })
    }

    fn paced(&self, queue: Queue, task: impl Future<Output = ()> + 'static) -> Paced {
        Paced::new(Rc::clone(&self.world), queue, Box::pin(task))
    }
}

impl World {
    /// Counts an operation that needs glommio's turn, until dropped.
    fn cold(&self) -> Cold<'_> {
        self.cold.set(self.cold.get() + 1);
        self.beat();
        Cold { world: self }
    }

    /// Tells the watchdog that this core lives, and what it waits for.
    fn beat(&self) {
        self.heartbeat.beat(self.ring.files_in_flight() + self.cold.get());
    }
}

#[derive(Debug)]
struct Cold<'a> {
    world: &'a World,
}

impl Drop for Cold<'_> {
    fn drop(&mut self) {
        self.world.cold.set(self.world.cold.get() - 1);
        // Also while the loop sleeps: the watchdog would take a stale count for a lost completion.
        self.world.beat();
    }
}

/// `flags`: O_NOATIME, or none. The kernel writes down when a file was read first, on the thread that reads: in ext4 that waits
/// for a commit of its journal.
fn hot_options(how: Open, flags: i32) -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).mode(0o600);
    let direct = match how {
        Open::CreateNew => {
            options.write(true).create_new(true);
            libc::O_DIRECT
        }
        Open::Read => libc::O_DIRECT,
        Open::Write(sync) => {
            options.write(true);
            match sync {
                Sync::Explicit => libc::O_DIRECT,
                Sync::EachWrite => libc::O_DIRECT | libc::O_DSYNC,
                Sync::PageCache => 0,
            }
        }
    };
    // The standard library adds O_CLOEXEC.
    options.custom_flags(flags | direct);
    options
}

fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        match name.into_string() {
            Ok(name) => names.push(name),
            Err(name) => {
                let what = format!("the file name {} is not UTF-8", name.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn free_bytes(dir: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends in a zero, and `stat` has room for the answer.
    let result = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed is a valid value, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    // What an unprivileged process may use.
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn system_random() -> io::Result<u64> {
    let mut seed = [0_u8; 8];
    // SAFETY: fills the eight bytes of a local.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    // Up to 256 bytes come whole.
    if got == 8 { Ok(u64::from_le_bytes(seed)) } else { Err(io::Error::last_os_error()) }
}

/// The operating system's error inside glommio's, with its kind.
fn io_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}
