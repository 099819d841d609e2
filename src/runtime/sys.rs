//! CPUs, thread names and signals: system calls without a safe interface.
#![expect(unsafe_code, reason = "affinity, thread ids and signals have no safe interface")]

use std::io;

/// As the kernel knows a thread.
pub(super) type ThreadId = libc::pid_t;

/// Ignored by default, so harmless if it ever hits another thread.
const INTERRUPT: libc::c_int = libc::SIGURG;

/// The CPUs this process may run on, ascending.
///
/// # Errors
/// As `sched_getaffinity(2)`.
pub fn available_cpus() -> io::Result<Vec<usize>> {
    let set = affinity()?;
    let count = usize::try_from(libc::CPU_SETSIZE).expect("a positive constant");
    // SAFETY: the set is valid, and `cpu` is below its size.
    Ok((0..count).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// CPUs' worth of time that the control group allows, if it limits it. For the log: more cores than that are
/// throttled together.
pub fn cpu_quota() -> Option<f64> {
    parse_quota(&std::fs::read_to_string("/sys/fs/cgroup/cpu.max").ok()?)
}

/// `quota period` in microseconds, or `max period`.
fn parse_quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

fn affinity() -> io::Result<libc::cpu_set_t> {
    let mut set = empty_set();
    // SAFETY: `set` has the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= usize::try_from(libc::CPU_SETSIZE).expect("a positive constant") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = empty_set();
    // SAFETY: `cpu` is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` has the size given; 0 is this thread.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run on all of these; it stays where it is if the kernel refuses. For a thread that a core has
/// started: it would compete with that core for its CPU.
pub(crate) fn run_on(cpus: &[usize]) {
    let mut set = empty_set();
    let count = usize::try_from(libc::CPU_SETSIZE).expect("a positive constant");
    for &cpu in cpus.iter().filter(|&&cpu| cpu < count) {
        // SAFETY: `cpu` is below the set's size.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` has the size given; 0 is this thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

/// How long the scheduler means to let the calling thread run at a time. It says how soon the thread gets its turn, not how much it
/// gets: of two that want one CPU, the one with the shorter slice goes first when it wakes up. Inherited by the threads that it starts.
/// Linux before 6.12 takes the wish and does nothing.
///
/// # Errors
/// As `sched_setattr(2)`; outside of 0.1 to 100 ms the kernel takes the nearest.
pub(super) fn wish_slice(time: std::time::Duration) -> io::Result<()> {
    let mut attr = scheduling()?;
    let is_fair = |policy: libc::c_int| u32::try_from(policy) == Ok(attr.sched_policy);
    if ![libc::SCHED_OTHER, libc::SCHED_BATCH].into_iter().any(is_fair) {
        // Somebody has given this process another policy, which knows no such slices.
        return Ok(());
    }
    attr.sched_runtime = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: a whole `sched_attr` of ours, whose size it says; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The calling thread's.
fn scheduling() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>();
    // SAFETY: integers, for which zeroes are valid.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the `size` bytes of ours at most; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    if result == 0 { Ok(attr) } else { Err(io::Error::last_os_error()) }
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a bit mask; all zeros is the empty one.
    unsafe { std::mem::zeroed() }
}

/// The calling thread's id.
pub(super) fn thread_id() -> ThreadId {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::gettid() }
}

/// For `ps` and `perf`; cut at 15 bytes.
pub(super) fn name_thread(name: &str) {
    let mut bytes = [0_u8; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    // SAFETY: a zero-terminated local of the 16 bytes that the kernel reads at most.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

extern "C" fn do_nothing(_signal: libc::c_int) {}

/// Without SA_RESTART: the wait must return.
pub(super) fn install_interrupt() -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is valid: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, so it is safe at any moment; no old action is asked for.
    let result = unsafe { libc::sigaction(INTERRUPT, &raw const action, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// By thread id, not by pthread handle: a thread that has just ended is an error, not undefined behaviour.
pub(super) fn interrupt(thread: ThreadId) {
    // SAFETY: takes numbers only; the signal's handler does nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, INTERRUPT) };
}

/// Functions of the kernel that a line of the log names.
const FRAMES_MAX: usize = 12;

/// Where the kernel has a thread of this process: its state (`ps`' letter) and the kernel's functions that it is in, the
/// innermost first, as far as we may see them (root sees all, others at most the first). For a line in the log; not for a
/// core's thread, since it reads files.
pub(super) fn whereabouts(thread: ThreadId) -> String {
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/self/task/{thread}/{name}")).unwrap_or_default()
    };
    let stat = read("stat");
    // The name, in parentheses, may hold any character.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
    let stack = read("stack");
    let frame = |line: &str| Some(line.split_once("] ")?.1.split('+').next()?.to_owned());
    let mut frames: Vec<String> = stack.lines().filter_map(frame).take(FRAMES_MAX).collect();
    if frames.is_empty() {
        frames.push(read("wchan"));
    }
    format!("{state} {}", frames.join(" < "))
}

/// Sleeps, and answers what was left when a signal ended it.
#[cfg(test)]
pub(super) fn sleep_until_interrupted(time: std::time::Duration) -> std::time::Duration {
    let seconds = libc::time_t::try_from(time.as_secs()).expect("short");
    let wanted = libc::timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut left = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: reads one local, fills another.
    unsafe { libc::nanosleep(&raw const wanted, &raw mut left) };
    std::time::Duration::from_secs(left.tv_sec.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_thread_is() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(thread_id()).unwrap();
            ended.recv().unwrap_err();
        });
        let id = told.recv().unwrap();
        // It is on its way into the wait.
        let waits = |text: &String| text.starts_with("S ");
        let found = (0..1_000).map(|_| {
            std::thread::yield_now();
            whereabouts(id)
        });
        let found: Vec<String> = found.filter(waits).take(1).collect();
        assert_eq!(found.len(), 1, "{}", whereabouts(id));
        drop(end);
        thread.join().unwrap();
        assert_eq!(whereabouts(id), "? ");
    }

    #[test]
    fn quota_of_the_control_group() {
        assert_eq!(parse_quota("max 100000\n"), None);
        assert_eq!(parse_quota("150000 100000\n"), Some(1.5));
        assert_eq!(parse_quota(""), None);
        assert_eq!(parse_quota("0 0"), None);
    }

    #[test]
    fn a_slice_changes_nothing_else() {
        let wished = std::thread::spawn(|| {
            let before = scheduling().unwrap();
            wish_slice(std::time::Duration::from_micros(700)).unwrap();
            (before, scheduling().unwrap())
        });
        let (before, after) = wished.join().unwrap();
        assert_eq!(
            (after.sched_policy, after.sched_nice, after.sched_priority),
            (before.sched_policy, before.sched_nice, before.sched_priority)
        );
        // Linux before 6.12 tells of none.
        assert!(
            before.sched_runtime == 0 || after.sched_runtime == 700_000,
            "{before:?} {after:?}"
        );
    }

    #[test]
    fn cpus_are_listed_and_one_can_be_pinned_to() {
        let cpus = available_cpus().unwrap();
        assert!(cpus.is_sorted());
        let last = *cpus.last().unwrap();
        let pinned = std::thread::spawn(move || {
            pin_to(last).unwrap();
            available_cpus().unwrap()
        });
        assert_eq!(pinned.join().unwrap(), [last]);
        assert!(pin_to(1 << 20).is_err());
    }
}
