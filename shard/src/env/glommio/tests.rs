//! On a real directory: these tests need io_uring and a file system with O_DIRECT.
#![expect(clippy::disallowed_macros, reason = "figures for whoever runs the test by hand")]
#![expect(clippy::cast_possible_truncation, reason = "patterns are cut to bytes")]

mod allocation;
mod cached;
mod sleep;
mod waits;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};

use super::cached::CachedFile;
use super::file::GlommioFile;
use super::{Driver, GlommioEnv};
use crate::env::ring::write_eventfd;
use crate::env::ring::{Bell, Ring, RingOptions};
use crate::env::{Env, File, IoBuf, Lane, Open, Queue, Sync, read_exact_at, write_all_at};
use crate::limits::{ALIGN, IO_BYTES_MAX};

/// Runs a test on an executor of its own, with the driver of its core.
pub(super) fn on_core<Work: Future<Output = ()> + 'static>(
    test: impl FnOnce(GlommioEnv, Driver) -> Work + Send + 'static,
) {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("test")
        .io_memory(1 << 20)
        .spawn(move || async move {
            let ring = Ring::new(&RingOptions::default(), Bell::new().unwrap()).unwrap();
            let (env, driver) = GlommioEnv::new(ring).unwrap();
            test(env, driver).await;
        })
        .unwrap()
        .join()
        .unwrap();
}

/// A directory on a real disk, removed at the end: temporary directories may be in memory, without O_DIRECT.
pub(super) fn directory() -> tempfile::TempDir {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp");
    std::fs::create_dir_all(&base).unwrap();
    tempfile::Builder::new().prefix("env-").tempdir_in(base.canonicalize().unwrap()).unwrap()
}

pub(super) fn pattern(len: usize, seed: u8) -> IoBuf {
    let mut buf = IoBuf::with_capacity(len);
    for index in 0..len {
        buf.push((index / 7 + index % 251) as u8 ^ seed);
    }
    buf
}

async fn round_trip(env: &GlommioEnv, path: PathBuf, lane: Lane, len: usize) {
    let file = env.open(&path, Open::CreateNew, lane).await.unwrap();
    let (written, _) = write_all_at(&file, pattern(len, 1), 0).await;
    written.unwrap();
    let (written, _) = write_all_at(&file, pattern(ALIGN, 2), 2 * ALIGN as u64).await;
    written.unwrap();
    file.sync().await.unwrap();
    assert_eq!(file.len().await.unwrap(), len as u64);
    file.close().await.unwrap();

    let file = env.open(&path, Open::Read, lane).await.unwrap();
    let read = read_exact_at(&file, 0, len).await.unwrap();
    let mut expected = pattern(len, 1);
    expected[2 * ALIGN..3 * ALIGN].copy_from_slice(&pattern(ALIGN, 2));
    assert_eq!(read.as_slice(), expected.as_slice());
    // Short at the end of the file, empty behind it.
    let (result, buf) = file.read_at(read, (len - ALIGN) as u64, 4 * ALIGN).await;
    result.unwrap();
    assert_eq!(buf.as_slice(), &expected[len - ALIGN..]);
    let (result, buf) = file.read_at(buf, len as u64, ALIGN).await;
    result.unwrap();
    assert!(buf.is_empty());
    let error = read_exact_at(&file, (len - ALIGN) as u64, 2 * ALIGN).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    file.close().await.unwrap();
}

#[test]
fn files_round_trip_through_both_lanes() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let work = async {
            for (name, lane) in [("hot", Lane::Hot), ("cold", Lane::Cold)] {
                round_trip(&env, root.join(name), lane, 8 * ALIGN).await;
                round_trip(
                    &env,
                    root.join(format!("{name}-large")),
                    lane,
                    3 * IO_BYTES_MAX + ALIGN,
                )
                .await;
            }
        };
        driver.run(work).await.unwrap();
    });
}

#[test]
fn errors_keep_their_kind() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let work = async {
            for lane in [Lane::Hot, Lane::Cold] {
                let path = root.join(format!("{lane:?}"));
                let error = env.open(&path, Open::Read, lane).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
                let how = Open::Write(Sync::Explicit);
                assert_eq!(
                    env.open(&path, how, lane).await.unwrap_err().kind(),
                    io::ErrorKind::NotFound
                );
                env.open(&path, Open::CreateNew, lane).await.unwrap().close().await.unwrap();
                let error = env.open(&path, Open::CreateNew, lane).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
                let file = env.open(&path, Open::Read, lane).await.unwrap();
                let (written, buf) = file.write_at(pattern(ALIGN, 0), 0, ALIGN, 0).await;
                assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EBADF));
                assert_eq!(buf.len(), ALIGN, "a failed write gives its buffer back");
                file.close().await.unwrap();
            }
            let missing = root.join("missing");
            assert_eq!(env.remove(&missing).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(env.list(&missing).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(env.sync_dir(&missing).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(env.free_bytes(&missing).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            let linked = env.link(&missing, &root.join("other")).await;
            assert_eq!(linked.unwrap_err().kind(), io::ErrorKind::NotFound);
            let (file, second) = (root.join("Hot"), root.join("second"));
            env.link(&file, &second).await.unwrap();
            let linked = env.link(&file, &second).await;
            assert_eq!(linked.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            env.remove(&second).await.unwrap();
            let renamed = env.rename(&missing, &root.join("other")).await;
            assert_eq!(renamed.unwrap_err().kind(), io::ErrorKind::NotFound);
        };
        driver.run(work).await.unwrap();
    });
}

/// The flags of whatever this process has open at `path`.
fn flags_of(path: &Path) -> i32 {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        if std::fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            let number = entry.file_name().into_string().unwrap();
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            return i32::from_str_radix(flags.trim(), 8).unwrap();
        }
    }
    panic!("{} is not open", path.display());
}

#[test]
fn files_are_opened_as_asked() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let work = async {
            for lane in [Lane::Hot, Lane::Cold] {
                let path = root.join(format!("{lane:?}"));
                env.open(&path, Open::CreateNew, lane).await.unwrap().close().await.unwrap();
                let mode = std::os::unix::fs::PermissionsExt::mode(
                    &std::fs::metadata(&path).unwrap().permissions(),
                );
                assert_eq!(mode & 0o777, 0o600);
                for (how, wanted, unwanted) in [
                    (Open::Read, libc::O_DIRECT, libc::O_DSYNC | libc::O_RDWR),
                    (Open::Write(Sync::Explicit), libc::O_DIRECT | libc::O_RDWR, libc::O_DSYNC),
                    (
                        Open::Write(Sync::EachWrite),
                        libc::O_DIRECT | libc::O_RDWR | libc::O_DSYNC,
                        0,
                    ),
                    (Open::Write(Sync::PageCache), libc::O_RDWR, libc::O_DIRECT | libc::O_DSYNC),
                ] {
                    let file = env.open(&path, how, lane).await.unwrap();
                    let flags = flags_of(&path);
                    let what = format!("{lane:?} {how:?}: {flags:o}");
                    assert_eq!(flags & wanted, wanted, "{what}");
                    assert_eq!(flags & unwanted, 0, "{what}");
                    assert_ne!(flags & libc::O_CLOEXEC, 0, "{what}");
                    assert_ne!(flags & libc::O_NOATIME, 0, "{what}");
                    if how != Open::Read {
                        let (written, _) = write_all_at(&file, pattern(2 * ALIGN, 9), 0).await;
                        written.unwrap();
                    }
                    file.close().await.unwrap();
                    // The descriptor is gone once close has returned.
                    assert!(std::fs::read_dir("/proc/self/fd").unwrap().all(|entry| {
                        std::fs::read_link(entry.unwrap().path()).map_or(true, |to| to != path)
                    }));
                }
            }
            // glommio's polling ring, which keeps a core awake, was never used.
            let stats = glommio::executor().io_stats();
            assert_eq!(stats.poll_ring.file_writes(), (0, 0));
        };
        driver.run(work).await.unwrap();
    });
}

/// What cannot be synced says so: whoever does not ask the kernel does not hear of it. A descriptor that is only a place
/// (`O_PATH`) takes no sync, and `/proc` is no file system that could make a name durable.
#[test]
fn syncs_reach_the_kernel() {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let dir = directory();
    let path = dir.path().join("file");
    std::fs::write(&path, b"").unwrap();
    let (sender, answers) = std::sync::mpsc::channel();
    on_core(|env, mut driver| async move {
        let work = async {
            let mut options = std::fs::OpenOptions::new();
            let place = options.read(true).custom_flags(libc::O_PATH).open(&path).unwrap();
            // glommio looks at what it opens: its descriptor becomes a place afterwards. The first file is opened by `Env`,
            // which keeps glommio from polling.
            env.open(&path, Open::Read, Lane::Cold).await.unwrap().close().await.unwrap();
            let cold = glommio::io::DmaFile::open(&path).await.unwrap();
            // SAFETY: both numbers are open descriptors of this test's.
            assert!(unsafe { libc::dup2(place.as_raw_fd(), cold.as_raw_fd()) } >= 0);
            let cold = GlommioFile::cold(env.clone(), cold).await.unwrap();
            let also_place = place.try_clone().unwrap();
            let cached = GlommioFile::cached(env.clone(), CachedFile::new(also_place.into(), None));
            let hot = GlommioFile::hot(env.clone(), place.into());
            sender.send(cached.sync_to(ALIGN as u64).await).unwrap();
            for file in [hot, cold, cached] {
                sender.send(file.sync().await).unwrap();
                file.close().await.unwrap();
            }
            sender.send(env.sync_dir(Path::new("/proc/self/fd")).await).unwrap();
        };
        driver.run(work).await.unwrap();
    });
    let errors: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_err()).collect();
    let numbers: Vec<_> = errors.iter().map(io::Error::raw_os_error).collect();
    let [bad, invalid] = [Some(libc::EBADF), Some(libc::EINVAL)];
    assert_eq!(numbers, [bad, bad, bad, bad, invalid]);
}

#[test]
fn directories_and_names() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let work = async {
            let inner = root.join("inner");
            env.create_dir(&inner).await.unwrap();
            env.create_dir(&inner).await.unwrap();
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&inner).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o700);
            for name in ["c", "a", "b"] {
                let file = env.open(&inner.join(name), Open::CreateNew, Lane::Hot).await.unwrap();
                file.close().await.unwrap();
            }
            assert_eq!(env.list(&inner).await.unwrap(), ["a", "b", "c"]);
            env.rename(&inner.join("c"), &inner.join("a")).await.unwrap();
            env.remove(&inner.join("b")).await.unwrap();
            env.sync_dir(&inner).await.unwrap();
            assert_eq!(env.list(&inner).await.unwrap(), ["a"]);
            let blocked = env.create_dir(&inner.join("a")).await.unwrap_err();
            assert_eq!(blocked.kind(), io::ErrorKind::AlreadyExists, "a file is in the way");
            assert!(env.free_bytes(&root).await.unwrap() > 1 << 20);
        };
        driver.run(work).await.unwrap();
    });
}

#[test]
fn a_dropped_operation_leaves_its_memory_to_the_ring() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let work = async {
            let file = env.open(&root.join("f"), Open::CreateNew, Lane::Hot).await.unwrap();
            let (written, _) = write_all_at(&file, pattern(IO_BYTES_MAX, 3), 0).await;
            written.unwrap();
            for _ in 0..50 {
                let mut read = Box::pin(file.read_at(IoBuf::new(), 0, IO_BYTES_MAX));
                let pending =
                    poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()));
                assert!(pending.await);
                drop(read);
            }
            assert!(env.ring().files_in_flight() > 0);
            // The file may be closed meanwhile: its operations hold it.
            file.close().await.unwrap();
            while env.ring().files_in_flight() > 0 {
                env.sleep(Duration::from_millis(1)).await;
            }
        };
        driver.run(work).await.unwrap();
    });
}

#[test]
fn more_file_operations_than_the_ring_takes_wait_their_turn() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let done = Rc::new(Cell::new(0));
        let work = async {
            let file = env.open(&root.join("f"), Open::CreateNew, Lane::Hot).await.unwrap();
            let (written, _) = write_all_at(&file, pattern(64 * ALIGN, 3), 0).await;
            written.unwrap();
            let file = Rc::new(file);
            for task in 0..600_u64 {
                let (file, done) = (Rc::clone(&file), Rc::clone(&done));
                env.spawn(Queue::Commit, async move {
                    let offset = task % 64 * ALIGN as u64;
                    let read = read_exact_at(&*file, offset, ALIGN).await.unwrap();
                    let all = pattern(64 * ALIGN, 3);
                    assert_eq!(read.as_slice(), &all[offset as usize..][..ALIGN]);
                    done.set(done.get() + 1);
                });
            }
            while done.get() < 600 {
                env.sleep(Duration::from_millis(1)).await;
            }
        };
        driver.run(work).await.unwrap();
    });
}

#[test]
fn timers_fire_in_order_and_wake_a_sleeping_core() {
    on_core(|env, mut driver| async move {
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let others = Rc::new(Cell::new(0));
        for millis in [30, 10, 20, 40] {
            let (env2, order) = (env.clone(), Rc::clone(&order));
            env.spawn(Queue::Commit, async move {
                let due = env2.now() + Duration::from_millis(millis);
                env2.sleep(Duration::from_millis(millis)).await;
                assert!(env2.now() >= due);
                order.borrow_mut().push(millis);
            });
        }
        for queue in [Queue::Flush, Queue::Compaction] {
            let (env2, others) = (env.clone(), Rc::clone(&others));
            env.spawn(queue, async move {
                env2.sleep(Duration::from_millis(25)).await;
                others.set(others.get() + 1);
            });
        }
        let all = async {
            while order.borrow().len() < 4 || others.get() < 2 {
                env.sleep(Duration::from_millis(1)).await;
            }
        };
        driver.run(all).await.unwrap();
        assert_eq!(*order.borrow(), [10, 20, 30, 40]);
        // On a busy machine each timer may be due before the core has got as far as to sleep.
        for _ in 0..100 {
            if driver.sleeps() == 0 {
                driver.run(env.sleep(Duration::from_millis(20))).await.unwrap();
            }
        }
        assert!(driver.sleeps() > 0);
        assert_eq!(driver.turns(), 0, "no turn is needed for a timer");
    });
}

#[test]
fn randomness_and_clocks() {
    on_core(|env, _driver| async move {
        let (a, b) = (env.random_u64(), env.random_u64());
        assert_ne!(a, b);
        assert!(env.wall_ms() > 1_700_000_000_000);
        assert!(env.now() <= env.now());
    });
}

#[test]
fn garbage_is_dropped_on_another_thread() {
    struct Garbage(std::sync::mpsc::Sender<std::thread::ThreadId>);
    impl Drop for Garbage {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }
    on_core(|env, _driver| async move {
        let (sender, receiver) = std::sync::mpsc::channel();
        env.dispose(Box::new(Garbage(sender)));
        assert_ne!(receiver.recv().unwrap(), std::thread::current().id());
    });
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills a local.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0);
    Duration::from_nanos((time.tv_sec * 1_000_000_000 + time.tv_nsec).cast_unsigned())
}

fn cpu_since(began: Duration) -> Duration {
    cpu_time().saturating_sub(began)
}

#[test]
fn an_idle_core_sleeps() {
    on_core(|env, mut driver| async move {
        driver.run(env.sleep(Duration::from_millis(20))).await.unwrap();
        let (cpu, sleeps) = (cpu_time(), driver.sleeps());
        driver.run(env.sleep(Duration::from_millis(500))).await.unwrap();
        println!("500 ms idle: {:?} of CPU, {} sleeps", cpu_since(cpu), driver.sleeps() - sleeps);
        assert!(driver.sleeps() - sleeps < 5, "a sleep lasts until there is something to do");
    });
}

#[test]
fn a_bell_wakes_a_sleeping_core() {
    on_core(|env, mut driver| async move {
        let bell = env.ring().bell().clone();
        let (asked, answer) = std::sync::mpsc::channel();
        let (answered, done) = std::sync::mpsc::channel();
        let ringer = std::thread::spawn(move || {
            for round in 0..200 {
                while round % 2 == 0 && !bell.is_asleep() {
                    std::thread::yield_now();
                }
                asked.send(Instant::now()).unwrap();
                bell.ring();
                done.recv_timeout(Duration::from_secs(5)).expect("the core wakes");
            }
        });
        let mut completed = Vec::new();
        let (mut answers, mut worst) = (0, Duration::ZERO);
        while answers < 200 {
            let busy = env.ring().pass(&mut completed).unwrap();
            while let Ok(asked) = answer.try_recv() {
                worst = worst.max(asked.elapsed());
                answers += 1;
                answered.send(()).unwrap();
            }
            driver.after_pass(busy).await.unwrap();
        }
        ringer.join().unwrap();
        println!("200 bells, {} sleeps, slowest answer after {worst:?}", driver.sleeps());
        assert!(driver.sleeps() >= 100);
    });
}

/// Keeps the loop busy in passes of `pass` until `done`. Answers how many.
async fn busy_loop(
    env: &GlommioEnv,
    driver: &mut Driver,
    pass: Duration,
    done: impl Fn() -> bool,
) -> u64 {
    let (mut passes, mut completed) = (0, Vec::new());
    while !done() {
        spin(pass);
        env.ring().pass(&mut completed).unwrap();
        passes += 1;
        driver.after_pass(true).await.unwrap();
    }
    passes
}

/// Works for a while, by this thread's own time: other processes do not count.
pub(super) fn spin(time: Duration) {
    let began = cpu_time();
    while cpu_since(began) < time {}
}

#[test]
fn background_tasks_share_a_busy_core() {
    on_core(|env, mut driver| async move {
        let stop = Rc::new(Cell::new(false));
        let ran = Rc::new([const { Cell::new(0_u32) }; 3]);
        for (task, queue) in
            [Queue::Flush, Queue::Compaction, Queue::Compaction].into_iter().enumerate()
        {
            let (env2, ran, stop) = (env.clone(), Rc::clone(&ran), Rc::clone(&stop));
            env.spawn(queue, async move {
                while !stop.get() {
                    spin(Duration::from_micros(200));
                    ran[task].set(ran[task].get() + 1);
                    env2.pause().await;
                }
            });
        }
        let cpu = cpu_time();
        let all_ran = || ran.iter().all(|slices| slices.get() >= 20);
        let passes = busy_loop(&env, &mut driver, Duration::from_micros(20), all_ran).await;
        let [flush, first, second] = [0, 1, 2].map(|task| ran[task].get());
        println!(
            "{:?} of CPU: {passes} passes of 20 us, slices of 200 us: flush {flush}, compaction {first} + {second}",
            cpu_since(cpu)
        );
        // In which proportion, `pace` tests with clocks of its own: here other processes have a say.
        assert!(first.abs_diff(second) <= 1 + first / 2, "equals take turns");
        assert!(passes + 1 >= u64::from(flush), "a pass of the loop between two slices");
        // Without the loop's load they have the core for themselves.
        let before = ran.each_ref().map(Cell::get);
        while ran.iter().zip(before).any(|(ran, before)| ran.get() == before) {
            driver.run(env.sleep(Duration::from_millis(1))).await.unwrap();
        }
        stop.set(true);
        driver.run(env.sleep(Duration::from_millis(20))).await.unwrap();
    });
}

/// A task that is woken by its I/O and never pauses is held to its shares too.
#[test]
fn turns_do_not_break_the_shares() {
    on_core(|env, mut driver| async move {
        let (stop, slices) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u32)));
        let (env2, stop2, slices2) = (env.clone(), Rc::clone(&stop), Rc::clone(&slices));
        env.spawn(Queue::Compaction, async move {
            while !stop2.get() {
                spin(Duration::from_micros(200));
                slices2.set(slices2.get() + 1);
                env2.blocking(|| ()).await;
            }
        });
        let enough = || slices.get() >= 50;
        let passes = busy_loop(&env, &mut driver, Duration::from_micros(20), enough).await;
        println!("{passes} passes of 20 us, {} slices of 200 us", slices.get());
        // However it is woken, it waits for its turn: the loop passes between two slices.
        assert!(passes + 1 >= u64::from(slices.get()));
        stop.set(true);
        driver.run(env.sleep(Duration::from_millis(20))).await.unwrap();
    });
}

/// Cold operations beside a loop that never sleeps. The times are printed, not asserted.
#[test]
fn cold_operations_go_on_beside_a_busy_loop() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let times = Rc::new(std::cell::RefCell::new(Vec::new()));
        let done = Rc::new(Cell::new(false));
        let (env2, times2, done2) = (env.clone(), Rc::clone(&times), Rc::clone(&done));
        env.spawn(Queue::Flush, async move {
            let file = env2.open(&root.join("cold"), Open::CreateNew, Lane::Cold).await.unwrap();
            let mut buf = pattern(ALIGN, 1);
            for round in 0..100_u64 {
                let began = Instant::now();
                let (written, back) = write_all_at(&file, buf, round * ALIGN as u64).await;
                written.unwrap();
                file.sync().await.unwrap();
                let synced = began.elapsed();
                buf = read_exact_at(&file, round * ALIGN as u64, ALIGN).await.unwrap();
                assert_eq!(buf.as_slice(), back.as_slice());
                times2.borrow_mut().push((synced, began.elapsed().saturating_sub(synced)));
            }
            file.close().await.unwrap();
            done2.set(true);
        });
        busy_loop(&env, &mut driver, Duration::from_micros(5), || done.get()).await;
        let mut times = times.take();
        times.sort_unstable();
        let (median, worst) = (times[50], times[99]);
        println!(
            "write + sync, then read, 4 KiB: median {median:?}, worst {worst:?}, {} turns",
            driver.turns()
        );
        assert!(driver.turns() > 0);
    });
}

/// Prints what the parts of the loop cost. Worth reading in an optimised build.
#[test]
fn costs_of_the_loop() {
    const TIMES: u32 = 2000;
    on_core(|env, mut driver| async move {
        driver.never_linger();
        let mut completed = Vec::new();
        let began = cpu_time();
        for _ in 0..TIMES {
            env.ring().pass(&mut completed).unwrap();
            driver.after_pass(true).await.unwrap();
        }
        println!("empty pass: {:?} of CPU", cpu_since(began) / TIMES);
        let began = cpu_time();
        for _ in 0..TIMES {
            glommio::executor().yield_now().await;
        }
        println!("yield: {:?}", cpu_since(began) / TIMES);
        let began = cpu_time();
        for _ in 0..TIMES {
            glommio::executor().yield_task_queue_now().await;
        }
        println!("yield of the queue: {:?}", cpu_since(began) / TIMES);
        let began = cpu_time();
        for _ in 0..TIMES {
            driver.turn().await;
        }
        println!("turn: {:?}", cpu_since(began) / TIMES);
        let bell = env.ring().bell().clone();
        let began = cpu_time();
        for _ in 0..TIMES {
            env.ring().pass(&mut completed).unwrap();
            write_eventfd(bell.doze_fd());
            driver.after_pass(false).await.unwrap();
        }
        println!("sleep that is over at once: {:?}", cpu_since(began) / TIMES);
        assert_eq!(driver.sleeps(), u64::from(TIMES));
    });
}
