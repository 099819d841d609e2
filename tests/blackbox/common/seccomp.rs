//! A system call filter like Docker's: the child gets an error from `io_uring_setup`.
#![expect(unsafe_code, reason = "a seccomp filter is installed between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// After this, `io_uring_setup` fails with `errno` in the program that `command` starts.
///
/// Classic BPF: load the call's number; if it is `io_uring_setup`, return the error, else allow.
pub(crate) fn deny_io_uring(command: &mut Command, errno: i32) {
    let errno = u32::try_from(errno).unwrap() & 0xffff;
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let word =
        |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let filter = [
        word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        word(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: prctl reads its arguments only; `program` and `filter` live until both calls have returned.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
                    != 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure calls prctl only: no allocation, no lock.
    unsafe { command.pre_exec(install) };
}
