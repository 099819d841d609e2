//! `Env` and `File` over the simulated disk: checks the contract, counts, suspends, applies faults.

use std::fmt::Display;
use std::future::{Future, pending};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::disk::{Ino, WriteEnd, errno};
use super::executor::{Sleep, pause};
use super::faults::{Effect, Kind};
use super::inode::SECTOR;
use super::{SimEnv, WALL_START_MS, World};
use crate::env::{Env, File, IoBuf, Lane, Open, Queue, Sync};
use crate::limits::{ALIGN, IO_BYTES_MAX};

/// How long an operation takes, in nanoseconds: mostly under the first, now and then up to the second.
const LATENCY_NS: u64 = 100_000;
const LATENCY_SLOW_NS: u64 = 5_000_000;
/// What one look at the clock costs, so that a loop that watches it ends.
const CLOCK_NS: u64 = 1_000;

/// One operation from its submission to its end.
struct Operation {
    world: Rc<World>,
    number: u64,
    kind: Kind,
    text: String,
    effect: Option<Effect>,
    ended: bool,
}

impl Operation {
    /// Submits: counts it and draws its fault. The operation at which the machine stops is still submitted; later
    /// ones never are.
    async fn begin(world: &Rc<World>, kind: Kind, path: &Path, detail: impl Display) -> Self {
        if world.executor.is_stopped() {
            pending::<()>().await;
        }
        let number = world.operations.get() + 1;
        world.operations.set(number);
        if world.crash_at.get() == Some(number) {
            world.executor.stop();
        }
        let path = path.display().to_string();
        let effect = world.faults.check(kind, &path);
        let text = format!("#{number} {kind:?} {path}{detail}");
        Self { world: world.clone(), number, kind, text, effect, ended: false }
    }

    /// The way to the device and back: at least one suspension, of a length that lets operations overtake each other.
    async fn travel(&self) {
        self.show();
        let latency = &self.world.latency;
        let ns = if self.world.executor.is_fifo() {
            LATENCY_NS
        } else if latency.chance(1, 16) {
            latency.below(LATENCY_SLOW_NS)
        } else {
            latency.below(LATENCY_NS)
        };
        let more = match self.effect {
            Some(Effect::Slow(by)) => by,
            _ => Duration::ZERO,
        };
        Sleep::new(&self.world.executor, Duration::from_nanos(ns) + more).await;
    }

    /// A moment for [`SimEnv::watch`]: submitted, or completed.
    fn show(&self) {
        let watcher = self.world.watcher.borrow().clone();
        if let Some(watcher) = watcher.0 {
            watcher(&SimEnv { world: self.world.clone() }, self.kind);
        }
    }

    fn error(&self) -> Option<i32> {
        match self.effect {
            Some(Effect::Error(number)) => Some(number),
            _ => None,
        }
    }

    fn check(&self) -> io::Result<()> {
        self.error().map_or(Ok(()), |number| Err(errno(number)))
    }

    /// A length that a short transfer of `len` bytes stops at.
    fn cut(&self, len: usize) -> usize {
        let sectors = (len / SECTOR) as u64;
        if self.effect != Some(Effect::Short) || sectors < 2 {
            return len;
        }
        super::pages::index(1 + self.world.damage.below(sectors - 1)) * SECTOR
    }

    fn end<T>(mut self, result: io::Result<T>) -> io::Result<T> {
        self.ended = true;
        let outcome = match &result {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        let fault = if self.effect.is_some() { " (fault)" } else { "" };
        let us = self.world.executor.now_ns() / 1000;
        self.world.note(format!("{us} us {}: {outcome}{fault}", self.text));
        self.show();
        result
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let allowed = self.ended || self.world.executor.is_stopped() || std::thread::panicking();
        assert!(allowed, "cancelled in flight: {}", self.text);
    }
}

impl SimEnv {
    async fn begin(&self, kind: Kind, path: &Path, detail: impl Display) -> Operation {
        Operation::begin(&self.world, kind, path, detail).await
    }
}

impl Env for SimEnv {
    type File = SimFile;

    async fn open(&self, path: &Path, how: Open, lane: Lane) -> io::Result<SimFile> {
        let op = self.begin(Kind::Open, path, format_args!(" {how:?} {lane:?}")).await;
        let create = how == Open::CreateNew;
        let begun = if create {
            self.world.disk.borrow_mut().begin_create(op.number, path)
        } else {
            Ok(())
        };
        op.travel().await;
        let found = begun.and_then(|()| {
            let mut disk = self.world.disk.borrow_mut();
            let ino = if create {
                disk.end_names(op.number, op.error())?
            } else {
                op.check().and_then(|()| disk.find_file(path))?
            };
            disk.opened(ino);
            Ok(ino)
        });
        let ino = op.end(found)?;
        self.world.open.set(self.world.open.get() + 1);
        let world = self.world.clone();
        Ok(SimFile { world, ino, path: path.to_owned(), how, closed: false })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let op = self.begin(Kind::Rename, from, format_args!(" to {}", to.display())).await;
        let begun = self.world.disk.borrow_mut().begin_rename(op.number, from, to);
        self.end_names(op, begun).await
    }

    async fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let op = self.begin(Kind::Link, from, format_args!(" as {}", to.display())).await;
        let begun = self.world.disk.borrow_mut().begin_link(op.number, from, to);
        self.end_names(op, begun).await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let op = self.begin(Kind::Remove, path, "").await;
        let begun = self.world.disk.borrow_mut().begin_remove(op.number, path);
        self.end_names(op, begun).await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let op = self.begin(Kind::CreateDir, path, "").await;
        let begun = self.world.disk.borrow_mut().begin_create_dir(op.number, path);
        self.end_names(op, begun).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let op = self.begin(Kind::List, dir, "").await;
        op.travel().await;
        let names = op.check().and_then(|()| self.world.disk.borrow().list(dir));
        op.end(names)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let op = self.begin(Kind::SyncDir, dir, "").await;
        let found = {
            let disk = self.world.disk.borrow();
            disk.find_dir(dir).map(|ino| (ino, disk.dir_watermark()))
        };
        op.travel().await;
        let synced = op.check().and(found).map(|(ino, watermark)| {
            self.world.disk.borrow_mut().sync_dir(ino, watermark);
        });
        op.end(synced)
    }

    async fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let op = self.begin(Kind::FreeBytes, dir, "").await;
        op.travel().await;
        let free = op.check().and_then(|()| {
            let disk = self.world.disk.borrow();
            disk.find_dir(dir).map(|_| disk.free())
        });
        op.end(free)
    }

    fn now(&self) -> Duration {
        self.world.executor.advance(CLOCK_NS);
        Duration::from_nanos(self.world.executor.now_ns())
    }

    fn wall_ms(&self) -> u64 {
        let ms = WALL_START_MS + self.world.executor.now_ns() / 1_000_000;
        ms.saturating_add_signed(self.world.wall_offset_ms.get())
    }

    fn random_u64(&self) -> u64 {
        self.world.program.next()
    }

    async fn sleep(&self, duration: Duration) {
        Sleep::new(&self.world.executor, duration).await;
    }

    async fn pause(&self) {
        pause().await;
    }

    fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static) {
        self.world.executor.spawn(queue, task);
    }

    fn set_shares(&self, _: Queue, _: usize) {}

    fn dispose(&self, garbage: Box<dyn Send>) {
        drop(garbage);
    }
}

impl SimEnv {
    async fn end_names(&self, op: Operation, begun: io::Result<()>) -> io::Result<()> {
        op.travel().await;
        let done = begun.and_then(|()| {
            self.world.disk.borrow_mut().end_names(op.number, op.error()).map(|_| ())
        });
        op.end(done)
    }
}

/// An open file of the simulation.
pub struct SimFile {
    world: Rc<World>,
    ino: Ino,
    path: PathBuf,
    how: Open,
    closed: bool,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({}, {:?})", self.path.display(), self.how)
    }
}

impl SimFile {
    async fn begin(&self, kind: Kind, detail: impl Display) -> Operation {
        Operation::begin(&self.world, kind, &self.path, detail).await
    }

    /// The contract of direct I/O.
    fn check(&self, buf: *const u8, offset: u64, len: usize) {
        let path = self.path.display();
        assert!(len > 0, "{path}: an empty request");
        assert!(len <= IO_BYTES_MAX, "{path}: a request of {len} bytes");
        assert!(len.is_multiple_of(ALIGN), "{path}: a request of {len} bytes");
        assert!(offset.is_multiple_of(ALIGN as u64), "{path}: a request at {offset}");
        assert!(buf.addr().is_multiple_of(ALIGN), "{path}: a buffer at {buf:?}");
    }
}

impl File for SimFile {
    async fn read_at(&self, mut buf: IoBuf, offset: u64, len: usize) -> (io::Result<()>, IoBuf) {
        buf.clear();
        buf.reserve(len);
        self.check(buf.as_ptr(), offset, len);
        let op = self.begin(Kind::Read, format_args!(" {len} at {offset}")).await;
        op.travel().await;
        let read = op.check().map(|()| {
            let len = op.cut(len);
            self.world.disk.borrow().file(self.ino).seen.read(offset, len, &mut buf);
        });
        (op.end(read), buf)
    }

    async fn write_at(
        &self,
        buf: IoBuf,
        from: usize,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, IoBuf) {
        let data = &buf[from..from + len];
        if self.how == Open::Write(Sync::PageCache) {
            let end = self.world.disk.borrow().file(self.ino).seen.len();
            assert!(
                offset + len as u64 <= end,
                "{}: a cached write behind the end",
                self.path.display()
            );
            assert!((1..=IO_BYTES_MAX).contains(&len));
        } else {
            self.check(data.as_ptr(), offset, len);
        }
        assert_ne!(self.how, Open::Read, "a write to {}, opened for reading", self.path.display());
        let op = self.begin(Kind::Write, format_args!(" {len} at {offset}")).await;
        self.world.disk.borrow_mut().begin_write(self.ino, op.number, offset, data);
        op.travel().await;
        let end = match op.effect {
            None | Some(Effect::Slow(_)) => WriteEnd::Whole,
            Some(Effect::Short) => WriteEnd::Short(op.cut(len)),
            Some(Effect::Error(number)) => WriteEnd::Error(number),
        };
        let durable = self.how == Open::Write(Sync::EachWrite);
        let random = &self.world.damage;
        let mut disk = self.world.disk.borrow_mut();
        let written = disk.end_write(self.ino, op.number, end, durable, random);
        drop(disk);
        (op.end(written), buf)
    }

    async fn allocate(&self, bytes: u64) -> io::Result<()> {
        let path = self.path.display();
        assert!(bytes.is_multiple_of(ALIGN as u64), "{path}: {bytes} bytes to be allocated");
        let len = self.world.disk.borrow().file(self.ino).seen.len();
        assert!(bytes > len, "{path}: {bytes} bytes to be allocated of {len}");
        let op = self.begin(Kind::Allocate, format_args!(" {bytes}")).await;
        let zeros = vec![0; super::pages::index(bytes - len)];
        self.world.disk.borrow_mut().begin_write(self.ino, op.number, len, &zeros);
        op.travel().await;
        let end = op.error().map_or(WriteEnd::Whole, WriteEnd::Error);
        let random = &self.world.damage;
        let taken = self.world.disk.borrow_mut().end_write(self.ino, op.number, end, false, random);
        // A disk that is full midway keeps what it has given.
        op.end(taken.and_then(
            |taken| {
                if taken == zeros.len() { Ok(()) } else { Err(errno(libc::ENOSPC)) }
            },
        ))
    }

    async fn sync(&self) -> io::Result<()> {
        self.sync_to(u64::MAX).await
    }

    async fn sync_to(&self, upto: u64) -> io::Result<()> {
        let op = self.begin(Kind::Sync, "").await;
        let watermark = self.world.disk.borrow().file(self.ino).watermark();
        op.travel().await;
        let synced = op.check();
        {
            let random = &self.world.damage;
            let mut disk = self.world.disk.borrow_mut();
            match op.error() {
                None => disk.file_mut(self.ino).sync(watermark, upto),
                // Interrupted before anything happened.
                Some(libc::EINTR) => {}
                Some(_) => disk.file_mut(self.ino).fail_sync(watermark, random),
            }
        }
        op.end(synced)
    }

    async fn len(&self) -> io::Result<u64> {
        let op = self.begin(Kind::Len, "").await;
        op.travel().await;
        let len = op.check().map(|()| self.world.disk.borrow().file(self.ino).seen.len());
        op.end(len)
    }

    async fn close(mut self) -> io::Result<()> {
        let op = self.begin(Kind::Close, "").await;
        op.travel().await;
        // Closed even where close answers an error, as on Linux.
        self.closed = true;
        let closed = op.check();
        op.end(closed)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.world.open.set(self.world.open.get() - 1);
        if self.world.executor.is_stopped() || std::thread::panicking() {
            return;
        }
        if !self.closed {
            self.world.dropped_open.borrow_mut().push(self.path.clone());
        }
        self.world.disk.borrow_mut().closed(self.ino);
    }
}
