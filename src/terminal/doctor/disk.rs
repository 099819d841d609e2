//! The directory, what it lies on, and what a write costs there that is on disk when it returns.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use shard::env::IoBuf;
use shard::limits::ALIGN;

use super::Check;
use crate::error::ServerError;
use crate::format::DataDir;
use crate::preflight::{self, DOCTOR_FILE, OVERLAYFS, RAMFS, TMPFS};
use crate::sys;
use crate::terminal::{micros, size};

/// Writes that are timed, of each kind, and the time after which it is enough.
const SAMPLES_MAX: u64 = 400;
const SAMPLING_TIME_MAX: Duration = Duration::from_secs(2);

/// The file that they go to, written before.
const FILE_BYTES: usize = 1 << 20;

/// A sync above this holds clients up, in microseconds.
const SYNC_P99_US_MAX: u64 = 20_000;

/// No disk is so fast: what is said to be synced lies in a memory that loses it.
const SYNC_P50_US_MIN: u64 = 5;

/// Free space below this part of the file system is worth a word.
const FREE_PART_MIN: u64 = 10;

const EXT4: i64 = 0xef53;
const XFS: i64 = 0x5846_5342;
const BTRFS: i64 = 0x9123_683e;
const NFS: i64 = 0x6969;
const ZFS: i64 = 0x2fc1_2fc1;
const FUSE: i64 = 0x6573_5546;

const DIRECTORY: &str = "directory";
const FILE_SYSTEM: &str = "file system";

/// All of them; without a directory to write to, those that need none.
pub(super) fn checks(data_dir: &Path) -> Vec<Check> {
    let (mut checks, place) = directory(data_dir);
    let Some(place) = place else { return checks };
    checks.push(file_system(&place));
    checks.push(space(&place));
    let direct = preflight::probe_direct_io(&place);
    let is_direct = direct.is_ok();
    checks.push(match direct {
        Ok(()) => Check::ok("direct I/O", format!("works, in blocks of {ALIGN} bytes")),
        Err(error) => Check::refused("direct I/O", &error),
    });
    if is_direct {
        checks.push(sync_cost("O_DSYNC", &place, Kind::Dsync));
        checks.push(sync_cost("fdatasync", &place, Kind::Fdatasync));
    }
    checks.push(device(&place, Path::new("/sys")));
    checks
}

/// What is known of the directory, and where to measure: it, or if it is not there yet the first above it that is.
fn directory(path: &Path) -> (Vec<Check>, Option<PathBuf>) {
    let shown = path.display();
    if path.is_dir() {
        let check = match DataDir::existing(path, true) {
            Ok(found) => Check::ok(
                DIRECTORY,
                format!("{shown}: a data directory of {} shards", found.shards()),
            ),
            Err(ServerError::Locked { .. }) => Check::warn(
                DIRECTORY,
                format!("{shown}: a server has it open"),
                "stop it for figures of an idle disk",
            ),
            Err(ServerError::DataDir { .. }) if is_empty(path) => {
                Check::ok(DIRECTORY, format!("{shown}: empty"))
            }
            Err(error) => Check::refused(DIRECTORY, &error),
        };
        return (vec![check], Some(path.to_owned()));
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let above = absolute.ancestors().skip(1).find(|above| above.is_dir()).map(Path::to_owned);
    let check = match &above {
        Some(above) if !path.exists() => {
            Check::ok(DIRECTORY, format!("{shown} is not there yet; looked at {}", above.display()))
        }
        _ => {
            Check::fail(DIRECTORY, format!("{shown} is not a directory"), "name another --data-dir")
        }
    };
    (vec![check], above.filter(|_| !path.exists()))
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn file_system(path: &Path) -> Check {
    match sys::file_system(path) {
        Ok(TMPFS | RAMFS) => Check::fail(
            FILE_SYSTEM,
            "tmpfs: it lies in memory, where no sync makes anything durable",
            "name a --data-dir on a disk, or accept the loss with --sync no",
        ),
        Ok(OVERLAYFS) => Check::warn(
            FILE_SYSTEM,
            "overlayfs: it lies in the container itself and goes away with it",
            "mount a volume there",
        ),
        Ok(NFS | FUSE) => Check::warn(
            FILE_SYSTEM,
            "over a network or FUSE: every sync waits for another machine or process",
            "use a local disk with ext4 or xfs",
        ),
        Ok(BTRFS | ZFS) => Check::warn(
            FILE_SYSTEM,
            "btrfs or zfs: it copies on each write, so that prewriting the log gains nothing",
            "use ext4 or xfs for steady latencies",
        ),
        Ok(EXT4) => Check::ok(FILE_SYSTEM, "ext4"),
        Ok(XFS) => Check::ok(FILE_SYSTEM, "xfs"),
        Ok(other) => Check::warn(
            FILE_SYSTEM,
            format!("unknown here (number {other:#x})"),
            "ext4 and xfs are what it is tested on",
        ),
        Err(error) => {
            Check::fail(FILE_SYSTEM, format!("cannot be asked: {error}"), "look at its mount")
        }
    }
}

fn space(path: &Path) -> Check {
    match sys::space(path) {
        Ok((free, total)) => {
            let what = format!("{} free of {}", size(free), size(total));
            if free < total / FREE_PART_MIN {
                Check::warn(
                    "space",
                    what,
                    "with less than its reserve the server refuses writes: make room",
                )
            } else {
                Check::ok("space", what)
            }
        }
        Err(error) => {
            Check::fail("space", format!("cannot be asked: {error}"), "look at its mount")
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As the log writes under `always`.
    Dsync,
    /// As it syncs under `everysec`.
    Fdatasync,
}

fn sync_cost(name: &'static str, dir: &Path, kind: Kind) -> Check {
    let path = dir.join(DOCTOR_FILE);
    let measured = measure(&path, kind);
    // One that was never made is no trouble.
    let _ = fs::remove_file(&path);
    match measured {
        Ok(times) => judge(name, &times),
        Err(error) => Check::fail(
            name,
            format!("{} cannot be written: {error}", path.display()),
            "look at the directory's owner and mode, and at the disk",
        ),
    }
}

fn judge(name: &'static str, times: &Histogram<u64>) -> Check {
    #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
    let at = |quantile| micros(times.value_at_quantile(quantile) as f64);
    let what = format!(
        "a write of 4 KB that is on disk when it returns: p50 {}, p99 {}, max {} ({} writes)",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
    if times.value_at_quantile(0.5) < SYNC_P50_US_MIN {
        return Check::warn(
            name,
            format!("{what}: no disk is so fast"),
            "find out whether a sync reaches the disk: a virtual machine's cache mode, or libeatmydata",
        );
    }
    if times.value_at_quantile(0.99) > SYNC_P99_US_MAX {
        return Check::warn(
            name,
            what,
            "under --sync always a client waits so long; a disk with power-loss protection, or --sync everysec, is faster",
        );
    }
    Check::ok(name, what)
}

/// Microseconds of each write of a block that is on disk afterwards, in a file whose blocks were written before.
fn measure(path: &Path, kind: Kind) -> io::Result<Histogram<u64>> {
    // Left by one that was killed.
    let _ = fs::remove_file(path);
    let mut block = IoBuf::new();
    block.resize(ALIGN, 0x5a);
    let open = |flags: i32, create: bool| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(create).mode(0o600).custom_flags(flags).open(path)
    };
    let made = open(libc::O_DIRECT, true)?;
    for offset in (0..FILE_BYTES).step_by(ALIGN) {
        made.write_all_at(&block, offset as u64)?;
    }
    made.sync_all()?;
    let file: File = match kind {
        Kind::Dsync => open(libc::O_DIRECT | libc::O_DSYNC, false)?,
        Kind::Fdatasync => made,
    };
    let mut times = match Histogram::new_with_bounds(1, 60_000_000, 3) {
        Ok(times) => times,
        Err(error) => unreachable!("bounds that are constants: {error}"),
    };
    let began = Instant::now();
    let blocks = (FILE_BYTES / ALIGN) as u64;
    while times.len() < SAMPLES_MAX && began.elapsed() < SAMPLING_TIME_MAX {
        let at = Instant::now();
        file.write_all_at(&block, times.len() % blocks * ALIGN as u64)?;
        if kind == Kind::Fdatasync {
            file.sync_data()?;
        }
        times.saturating_record(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
    }
    Ok(times)
}

/// The disk below, by its numbers.
fn device(path: &Path, sys: &Path) -> Check {
    const NAME: &str = "disk";
    let Ok(metadata) = fs::metadata(path) else { return Check::ok(NAME, "cannot be asked") };
    let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    let block = sys.join(format!("dev/block/{major}:{minor}"));
    let Ok(block) = block.canonicalize() else {
        return Check::ok(NAME, "no block device of this machine");
    };
    // Of a partition, the queue is its disk's.
    let Some(queue) =
        block.ancestors().take(2).map(|dir| dir.join("queue")).find(|dir| dir.is_dir())
    else {
        return Check::ok(NAME, "a block device without a queue");
    };
    let read =
        |name: &str| fs::read_to_string(queue.join(name)).unwrap_or_default().trim().to_owned();
    let scheduler = read("scheduler");
    let chosen =
        scheduler.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("none");
    let disk = queue.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let what = format!("{disk}: scheduler {chosen}, {}", read("write_cache"));
    if read("rotational") == "1" && !disk.starts_with("vd") && !disk.starts_with("xvd") {
        return Check::warn(
            NAME,
            format!("{what}; it rotates"),
            "an SSD makes every sync and read some hundred times faster",
        );
    }
    match chosen {
        "bfq" | "cfq" => {
            Check::warn(NAME, what, format!("echo none > /sys/block/{disk}/queue/scheduler"))
        }
        _ => Check::ok(NAME, what),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn what_a_sync_costs_is_judged() {
        let times = |us: u64| {
            let mut times = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
            times.record_n(us, 100).unwrap();
            judge("x", &times).status
        };
        assert_eq!([1, 200, 30_000].map(times), [Status::Warn, Status::Ok, Status::Warn]);
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let checks = checks(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{checks:?}");
        assert!(checks[0].what.ends_with("empty"), "{checks:?}");
        let absent = dir.path().join("a/b");
        assert!(directory(&absent).1.is_some_and(|place| place == dir.path()));
        fs::write(absent.parent().unwrap(), "a file").unwrap();
        assert_eq!(directory(absent.parent().unwrap()).0[0].status, Status::Fail);
    }
}
