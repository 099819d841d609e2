//! The few system calls that std has no name for, each behind a safe function. Used beside the cores: at start,
//! while data is loaded, and for INFO.
#![expect(unsafe_code, reason = "libc calls; every block says why it is sound")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Takes the exclusive lock of an open file without waiting: false if another open file has it. The lock goes with
/// the file, and with the process however it ends.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: flock takes a descriptor, which `file` keeps open, and touches no memory of ours.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Runs `make` while new files get none of these bits. At start, while there is one thread: the mask is the process'.
pub(crate) fn with_umask<T>(mask: u32, make: impl FnOnce() -> T) -> T {
    // SAFETY: takes and answers an integer, and cannot fail.
    let before = unsafe { libc::umask(mask) };
    let result = make();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    result
}

/// Makes the calling thread, and those that it starts, less urgent than the process' other ones.
pub(crate) fn stand_back(by: libc::c_int) {
    // SAFETY: takes and answers integers; 0 is this thread (of the kernel's, against POSIX), and -1 may be its value as well.
    let now = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // SAFETY: as above. It cannot fail: nobody is refused less.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, now.saturating_add(by)) };
}

/// Exchanges the names of two files or directories of one file system in one step.
///
/// # Errors
/// As `renameat2(2)`: `EINVAL` where the file system cannot.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let one = CString::new(one.as_os_str().as_bytes())?;
    let other = CString::new(other.as_os_str().as_bytes())?;
    let here = libc::AT_FDCWD;
    // SAFETY: both paths end with a zero byte and live as long as the call.
    let result =
        unsafe { libc::renameat2(here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user that this process acts as.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: no argument, cannot fail.
    unsafe { libc::geteuid() }
}

/// The kernel's release, as `uname -r` prints it.
pub(crate) fn kernel_release() -> io::Result<String> {
    // SAFETY: `utsname` is arrays of bytes, for which zeroes are valid.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole `utsname` of ours, which the call fills.
    if unsafe { libc::uname(&raw mut name) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel ends each field with a zero byte, and `name` outlives the borrow.
    let release = unsafe { CStr::from_ptr(name.release.as_ptr()) };
    Ok(release.to_string_lossy().into_owned())
}

/// What a process may use of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Descriptors,
    LockedMemory,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Descriptors => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// Raises the soft limit to the hard one; answers what then holds (`u64::MAX`: no limit).
pub(crate) fn raise_limit(resource: Resource) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to an `rlimit` of ours, which the call fills.
    if unsafe { libc::getrlimit(resource.number(), &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur == limit.rlim_max {
        return Ok(limit.rlim_cur);
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the pointer is to an `rlimit` of ours, which the call only reads.
    let done = unsafe { libc::setrlimit(resource.number(), &raw const raised) } == 0;
    Ok(if done { raised.rlim_cur } else { limit.rlim_cur })
}

/// The magic number of the file system of `path`.
pub(crate) fn file_system(path: &Path) -> io::Result<i64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statfs` is integers, for which zeroes are valid.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and the pointer is to a whole `statfs` of ours.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_type)
}

/// Bytes that a process without privileges may still write to the file system of `path`, and its size.
pub(crate) fn space(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statvfs` is integers, for which zeroes are valid.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and the pointer is to a whole `statvfs` of ours.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Whether something (NTP) keeps the machine's clock right, as far as the kernel knows.
pub(crate) fn clock_is_kept() -> io::Result<bool> {
    // SAFETY: `timex` is integers, for which zeroes are valid.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole `timex` of ours; with `modes` zero the call only reads the clock's state.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR)
}

/// Sets up an io_uring of the kind that the cores need and closes it again.
pub(crate) fn probe_ring() -> io::Result<()> {
    /// Words of `struct io_uring_params`: ten of its own, and two sets of offsets of ten each.
    const PARAMS_WORDS: usize = 30;
    const FLAGS_WORD: usize = 2;
    const SINGLE_ISSUER: u32 = 1 << 12;
    const DEFER_TASKRUN: u32 = 1 << 13;
    let mut params = [0_u32; PARAMS_WORDS];
    params[FLAGS_WORD] = SINGLE_ISSUER | DEFER_TASKRUN;
    // SAFETY: the pointer is to 120 zeroed bytes of ours, the size of `io_uring_params`, which the call fills.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8_u32, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    if let Ok(fd) = libc::c_int::try_from(fd) {
        // SAFETY: the descriptor was just made, and nobody else knows it.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// What this process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    pub(crate) rss_peak_bytes: u64,
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
}

/// Memory and processor time of this process. Costs a read of a few bytes that the kernel makes up: no disk.
pub(crate) fn usage() -> Usage {
    const PAGE_BYTES: u64 = 4096;
    // SAFETY: `rusage` is integers, for which zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole `rusage` of ours, which the call fills.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Usage {
        rss_bytes: pages.unwrap_or(0) * PAGE_BYTES,
        rss_peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        user_s: seconds(usage.ru_utime),
        system_s: seconds(usage.ru_stime),
    }
}

/// Wall clock, in microseconds since 1970.
pub(crate) fn wall_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Waits until one of these can be read or has ended, at most for `time`.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], time: std::time::Duration) -> io::Result<()> {
    let poll =
        |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<libc::pollfd> = fds.iter().map(poll).collect();
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    let ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to `count` entries of ours, and the borrows keep the descriptors open.
    if unsafe { libc::poll(polled.as_mut_ptr(), count, ms) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// A longer queue of connections to accept than std asks for, and keepalive, which accepted sockets inherit.
pub(crate) fn tune_listener(
    listener: &std::net::TcpListener,
    keepalive: std::time::Duration,
) -> io::Result<()> {
    let fd = listener.as_raw_fd();
    // SAFETY: takes a descriptor, which `listener` keeps open, and touches no memory of ours.
    if unsafe { libc::listen(fd, crate::limits::LISTEN_BACKLOG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if keepalive.is_zero() {
        return Ok(());
    }
    let seconds = libc::c_int::try_from(keepalive.as_secs().max(1)).unwrap_or(libc::c_int::MAX);
    for (level, name, value) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, (seconds / 3).max(1)),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    ] {
        let value: libc::c_int = value;
        let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
        // SAFETY: the pointer is to a whole integer of ours, of the length said.
        let set = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the calling thread.
    fn nice() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_that_stands_back_is_the_only_one() {
        let before = nice();
        let back = std::thread::spawn(|| {
            stand_back(3);
            nice()
        });
        assert_eq!(back.join().unwrap(), (before + 3).min(19));
        assert_eq!(nice(), before);
    }
}
