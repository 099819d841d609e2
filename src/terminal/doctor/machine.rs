//! What does not depend on a directory. Reads /proc and /sys; tests read files of their own.

use std::fs;
use std::path::Path;

use super::Check;
use crate::config::{HostMemory, LsmConfig};
use crate::limits::{LISTEN_BACKLOG, MEMLOCK_BYTES_MIN};
use crate::preflight;
use crate::runtime;
use crate::start;
use crate::sys::{self, Resource};
use crate::terminal::{grouped, size};

const MEMLOCK: &str = "memlock";
const DESCRIPTORS: &str = "open files";

/// All of them.
pub(super) fn checks() -> Vec<Check> {
    let root = Path::new("/");
    vec![
        kernel(),
        ring(),
        locked_memory(),
        descriptors(),
        cores(),
        memory(),
        swap(&read(root, "proc/swaps")),
        huge_pages(&read(root, "sys/kernel/mm/transparent_hugepage/enabled")),
        backlog(&read(root, "proc/sys/net/core/somaxconn")),
        clock_source(&read(
            root,
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
        )),
        clock(),
    ]
}

/// Empty if it cannot be read.
fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

fn kernel() -> Check {
    let release = sys::kernel_release().unwrap_or_default();
    match preflight::check_kernel(&release) {
        Ok(()) => Check::ok("kernel", format!("Linux {release}")),
        Err(error) => Check::refused("kernel", &error),
    }
}

fn ring() -> Check {
    let disabled = || fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    match preflight::check_ring(sys::probe_ring(), disabled) {
        Ok(()) => Check::ok("io_uring", "allowed, with all that the cores need"),
        Err(error) => Check::refused("io_uring", &error),
    }
}

fn locked_memory() -> Check {
    let bytes = match sys::raise_limit(Resource::LockedMemory) {
        Ok(bytes) => bytes,
        Err(error) => {
            return Check::fail(MEMLOCK, format!("its limit cannot be read: {error}"), "");
        }
    };
    match preflight::check_locked_memory(bytes) {
        Ok(()) if bytes == u64::MAX => Check::ok(MEMLOCK, "no limit"),
        Ok(()) => {
            let least = size(MEMLOCK_BYTES_MIN);
            Check::ok(MEMLOCK, format!("{} may be locked, {least} are needed", size(bytes)))
        }
        Err(error) => Check::refused(MEMLOCK, &error),
    }
}

fn descriptors() -> Check {
    let count = match sys::raise_limit(Resource::Descriptors) {
        Ok(count) => count,
        Err(error) => {
            return Check::fail(DESCRIPTORS, format!("their limit cannot be read: {error}"), "");
        }
    };
    let wanted = LsmConfig::default().maxclients;
    match preflight::clients(count, start::cores()) {
        Ok(clients) if clients >= wanted => Check::ok(
            DESCRIPTORS,
            format!("{} at most: enough for {} clients", grouped(count), grouped(wanted.into())),
        ),
        Ok(clients) => Check::warn(
            DESCRIPTORS,
            format!("{} at most: enough for {clients} clients, not for {wanted}", grouped(count)),
            "ulimit -n 65535, LimitNOFILE=65535, or docker run --ulimit nofile=65535:65535",
        ),
        Err(error) => Check::refused(DESCRIPTORS, &error),
    }
}

fn cores() -> Check {
    let cores = start::cores();
    match runtime::cpu_quota() {
        Some(quota) if quota < f64::from(cores) => Check::warn(
            "cores",
            format!(
                "{cores} may be used, but the container gets the time of {quota:.1}: pinned cores would stand still"
            ),
            format!("start with --shards {:.0}, or raise the quota", quota.floor().max(1.0)),
        ),
        _ => Check::ok("cores", format!("{cores}: as many shards in a new data directory")),
    }
}

fn memory() -> Check {
    let host = HostMemory::detect();
    let whose = if host.is_limit { "the container's limit" } else { "the machine's" };
    match LsmConfig::default().derive(start::cores(), &host) {
        Ok(plan) => Check::ok(
            "memory",
            format!(
                "{} ({whose}); without --memory the server takes {}",
                size(host.bytes),
                size(plan.budget_bytes)
            ),
        ),
        Err(error) => Check::fail(
            "memory",
            format!("{} ({whose}): {error}", size(host.bytes)),
            "give it more memory, or start with fewer --shards",
        ),
    }
}

fn swap(swaps: &str) -> Check {
    let areas = swaps.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    if areas == 0 {
        return Check::ok("swap", "none");
    }
    Check::warn(
        "swap",
        format!("{areas} in use: memory that is swapped out makes a core wait for the disk"),
        "swapoff -a, or memory.swap.max=0 for the service",
    )
}

fn huge_pages(enabled: &str) -> Check {
    let chosen = enabled.split('[').nth(1).and_then(|rest| rest.split(']').next());
    match chosen {
        Some("always") => Check::warn(
            "huge pages",
            "transparent huge pages are always tried: the process may hold more memory than its budget says",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        Some(other) => Check::ok("huge pages", format!("transparent ones: {other}")),
        None => Check::ok("huge pages", "this kernel has no transparent ones"),
    }
}

fn backlog(somaxconn: &str) -> Check {
    match somaxconn.trim().parse::<i32>() {
        Ok(most) if most < LISTEN_BACKLOG => Check::warn(
            "backlog",
            format!(
                "net.core.somaxconn is {most}: when many clients connect at once, some are refused"
            ),
            format!("sysctl -w net.core.somaxconn={LISTEN_BACKLOG}"),
        ),
        Ok(most) => Check::ok("backlog", format!("net.core.somaxconn is {most}")),
        Err(_) => Check::ok("backlog", "net.core.somaxconn cannot be read here"),
    }
}

fn clock_source(source: &str) -> Check {
    match source.trim() {
        "" => Check::ok("clock source", "cannot be read here"),
        slow @ ("hpet" | "acpi_pm" | "jiffies") => Check::warn(
            "clock source",
            format!(
                "{slow}: a look at the clock is a call into the kernel, some microseconds each"
            ),
            "boot with clocksource=tsc if the machine's TSC is stable",
        ),
        good => Check::ok("clock source", good),
    }
}

fn clock() -> Check {
    match sys::clock_is_kept() {
        Ok(true) => Check::ok("clock", "kept by a time service"),
        Ok(false) => Check::warn(
            "clock",
            "nothing keeps it right, as far as the kernel knows: values with a TTL end by it",
            "run chrony, systemd-timesyncd or ntpd (on the host, for a container or guest)",
        ),
        Err(error) => Check::ok("clock", format!("cannot be asked here: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn what_is_read_is_judged() {
        let head = "Filename Type Size Used Priority\n";
        assert_eq!(swap(head).status, Status::Ok);
        assert_eq!(swap(&format!("{head}/swapfile file 1 0 -2\n")).status, Status::Warn);
        assert_eq!(huge_pages("[always] madvise never\n").status, Status::Warn);
        assert_eq!(huge_pages("always [madvise] never\n").what, "transparent ones: madvise");
        assert_eq!(huge_pages("").status, Status::Ok);
        assert_eq!(backlog("128\n").status, Status::Warn);
        assert_eq!((backlog("4096\n").status, backlog("").status), (Status::Ok, Status::Ok));
        assert_eq!(
            (clock_source("hpet\n").status, clock_source("tsc\n").status),
            (Status::Warn, Status::Ok)
        );
    }

    #[test]
    fn every_check_says_what_is_so() {
        let checks = checks();
        assert_eq!(checks.len(), 11);
        for check in checks {
            assert!(!check.what.is_empty(), "{check:?}");
            assert!(check.status == Status::Ok || !check.remedy.is_empty(), "{check:?}");
        }
    }
}
