//! Looks, before any thread starts, whether this machine can run the server: each thing that is missing is one line
//! with what, where, limit and remedy, and an exit code.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use shard::env::IoBuf;
use shard::limits::ALIGN;
use shard::options::SyncPolicy;

use crate::config::{LsmConfig, show_size};
use crate::error::ServerError;
use crate::limits::{
    DESCRIPTORS_PER_SHARD, DESCRIPTORS_RESERVED, HTTP_CONNECTIONS_MAX, HTTP_LINKS_QUICK,
    HTTP_LINKS_SLOW, MEMLOCK_BYTES_MIN,
};
use crate::net::listeners::once_free;
use crate::sys::{self, Resource};

/// Oldest kernel that has all operations of the ring: major and minor.
const KERNEL_MIN: (u32, u32) = (6, 1);
pub(crate) const TMPFS: i64 = 0x0102_1994;
pub(crate) const RAMFS: i64 = 0x8584_58f6;
pub(crate) const OVERLAYFS: i64 = 0x794c_7630;
/// Removed at once; a left one is removed by the next start.
pub(crate) const PROBE_FILE: &str = "PROBE.tmp";

/// What `rusty-lsm doctor` writes to measure the disk, and removes.
pub(crate) const DOCTOR_FILE: &str = "DOCTOR.tmp";

/// What the server may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// Open files, at most.
    pub descriptors: u64,
    /// `maxclients`, lowered to what the descriptors allow.
    pub maxclients: u32,
    /// As many clients as the descriptors allow, whatever the setting.
    pub clients_ceiling: u32,
    /// For the log, each a sentence.
    pub warnings: Vec<String>,
}

/// Checkpoints are second names of tables, which exist within one file system only.
///
/// # Errors
/// `Unavailable`: they are to lie on another one.
pub fn backup_dir(data_dir: &Path, backup_dir: Option<&Path>) -> Result<(), ServerError> {
    let Some(wanted) = backup_dir else { return Ok(()) };
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
    let here = Path::new(".");
    // It is made with the first checkpoint: until then it lies where the directory above it does.
    let above = wanted.ancestors().map(|dir| if dir.as_os_str().is_empty() { here } else { dir });
    let there = above
        .map(device)
        .find(|device| !matches!(device, Err(error) if error.kind() == io::ErrorKind::NotFound));
    let there = there.unwrap_or(Err(io::ErrorKind::NotFound.into()));
    let there = there.map_err(|e| ServerError::io("look at", wanted, e))?;
    if device(data_dir).map_err(|e| ServerError::io("look at", data_dir, e))? == there {
        return Ok(());
    }
    Err(ServerError::Unavailable {
        what: format!(
            "backup_dir {} lies on another file system than the data directory {}",
            wanted.display(),
            data_dir.display()
        ),
        remedy: "name a directory on the same one, and copy checkpoints away from there (rsync)"
            .into(),
    })
}

/// Everything that does not need the data directory.
///
/// # Errors
/// `Unavailable` for kernel, ring, locked memory and descriptors; `Address` for the port.
pub fn machine(config: &LsmConfig, shards: u32) -> Result<Machine, ServerError> {
    let (kernel, descriptors) = core()?;
    let http = if config.http_port == Some(0) { 0 } else { http_descriptors(descriptors, shards) };
    let clients_ceiling = clients(descriptors - http, shards)?;
    let maxclients = config.maxclients.min(clients_ceiling);
    check_port(config.bind, config.port)?;
    let mut warnings = Vec::new();
    if maxclients < config.maxclients {
        warnings.push(format!(
            "maxclients is {maxclients}, not {}: the limit of open files is {descriptors}; raise it with ulimit -n, \
             LimitNOFILE or --ulimit nofile",
            config.maxclients
        ));
    }
    if !config.bind.is_loopback() {
        warnings.push(format!(
            "listening on {}: whoever reaches this address can read and erase all data, there is no password",
            config.bind
        ));
    }
    Ok(Machine { kernel, descriptors, maxclients, clients_ceiling, warnings })
}

/// Whether the data directory, which exists and is ours, lies where data can be kept: warnings.
///
/// # Errors
/// `DataDir` for a file system in memory (unless `sync` is `no`) or without direct I/O; `Io`.
pub fn data_dir(path: &Path, sync: SyncPolicy) -> Result<Vec<String>, ServerError> {
    let kind = sys::file_system(path).map_err(|e| ServerError::io("statfs", path, e))?;
    let mut warnings = Vec::new();
    match kind {
        TMPFS | RAMFS if sync == SyncPolicy::Never => {
            warnings.push(format!(
                "{} is in memory: all data is lost with the machine",
                path.display()
            ));
        }
        TMPFS | RAMFS => {
            return Err(ServerError::DataDir {
                path: path.to_owned(),
                what: "it lies in memory (tmpfs), where no sync makes anything durable".into(),
                remedy: "name a --data-dir on a disk, or accept the loss with --sync no".into(),
            });
        }
        OVERLAYFS => warnings.push(format!(
            "{} lies in the container itself and goes away with it: mount a volume there",
            path.display()
        )),
        _ => {}
    }
    probe_direct_io(path)?;
    Ok(warnings)
}

/// What a single core needs, be it for a server or for a tool. Answers the kernel's release and the open files that it
/// may have.
///
/// # Errors
/// `Unavailable` for kernel, ring and locked memory.
pub(crate) fn core() -> Result<(String, u64), ServerError> {
    let kernel = sys::kernel_release().map_err(|e| ServerError::io("uname", Path::new("/"), e))?;
    check_kernel(&kernel)?;
    check_ring(sys::probe_ring(), || {
        fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()
    })?;
    let locked = sys::raise_limit(Resource::LockedMemory)
        .map_err(|e| ServerError::io("read the limit of", Path::new("locked memory"), e))?;
    check_locked_memory(locked)?;
    let descriptors = sys::raise_limit(Resource::Descriptors)
        .map_err(|e| ServerError::io("read the limit of", Path::new("open files"), e))?;
    Ok((kernel, descriptors))
}

pub(crate) fn check_kernel(release: &str) -> Result<(), ServerError> {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit()).map(str::parse::<u32>);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        // A name that says nothing: the ring's probe decides.
        _ => return Ok(()),
    };
    if version >= KERNEL_MIN {
        return Ok(());
    }
    let (major, minor) = KERNEL_MIN;
    Err(ServerError::Unavailable {
        what: format!("Linux {release} is too old, {major}.{minor} is needed"),
        remedy: "update the kernel of this machine (of the host, for a container)".into(),
    })
}

/// Names the cause that an error of `io_uring_setup` has; `disabled` reads the sysctl.
pub(crate) fn check_ring(
    probe: io::Result<()>,
    disabled: impl FnOnce() -> Option<String>,
) -> Result<(), ServerError> {
    let Err(error) = probe else { return Ok(()) };
    let (cause, remedy) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match disabled().as_deref().map(str::trim) {
            Some(level @ ("1" | "2")) => (
                format!("the kernel forbids it (kernel.io_uring_disabled = {level})"),
                "allow it: sysctl -w kernel.io_uring_disabled=0",
            ),
            _ => (
                "a seccomp profile forbids it, as Docker's default does".to_owned(),
                "run the container with --security-opt seccomp=scripts/seccomp.json of this repository",
            ),
        },
        Some(libc::ENOSYS) => (
            "this kernel has none".to_owned(),
            "use a kernel of 6.1 or newer, built with CONFIG_IO_URING",
        ),
        Some(libc::EINVAL) => (
            "this kernel lacks DEFER_TASKRUN".to_owned(),
            "use a kernel of 6.1 or newer; sandboxes like gVisor have none",
        ),
        Some(libc::ENOMEM) => (
            "not enough memory may be locked".to_owned(),
            "raise the limit: ulimit -l unlimited, LimitMEMLOCK=infinity, or docker run --ulimit memlock=-1",
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            ("no more files may be opened".to_owned(), "raise the limit: ulimit -n 65535")
        }
        _ => ("io_uring_setup failed".to_owned(), "see the kernel's log"),
    };
    Err(ServerError::Unavailable {
        what: format!("io_uring is not available: {cause} ({error})"),
        remedy: remedy.into(),
    })
}

pub(crate) fn check_locked_memory(bytes: u64) -> Result<(), ServerError> {
    if bytes >= MEMLOCK_BYTES_MIN {
        return Ok(());
    }
    Err(ServerError::Unavailable {
        what: format!(
            "only {} of memory may be locked, the rings need {}",
            show_size(bytes),
            show_size(MEMLOCK_BYTES_MIN)
        ),
        remedy: "raise it: ulimit -l unlimited, LimitMEMLOCK=infinity, or docker run --ulimit memlock=-1".into(),
    })
}

/// Connections of HTTP: as many as are of use, or a quarter of the open files.
pub(crate) fn http_connections(descriptors: u64) -> usize {
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX).min(HTTP_CONNECTIONS_MAX)
}

/// Open files of HTTP: its connections, and both ends of its links to the cores.
fn http_descriptors(descriptors: u64, shards: u32) -> u64 {
    let links = (HTTP_LINKS_QUICK + HTTP_LINKS_SLOW) as u64 * 2 * u64::from(shards);
    (http_connections(descriptors) as u64 + links).min(descriptors / 2)
}

/// Connections that leave each shard its files.
pub(crate) fn clients(descriptors: u64, shards: u32) -> Result<u32, ServerError> {
    let reserved = DESCRIPTORS_RESERVED + u64::from(shards) * DESCRIPTORS_PER_SHARD;
    match descriptors.saturating_sub(reserved) {
        0 => Err(ServerError::Unavailable {
            what: format!("only {descriptors} files may be open, {shards} shards need {reserved} and each client one"),
            remedy: "raise the limit: ulimit -n 65535, LimitNOFILE=65535, or docker run --ulimit nofile=65535:65535"
                .into(),
        }),
        left => Ok(u32::try_from(left).unwrap_or(u32::MAX)),
    }
}

/// Whether nobody listens there, if need be a little later (see [`once_free`]), so that a start that is refused has made
/// nothing. It binds and does not listen: whoever already asks for the server would be let in, and cut off.
fn check_port(bind: IpAddr, port: u16) -> Result<(), ServerError> {
    let Err(error) = once_free(|| bind_only(SocketAddr::new(bind, port))) else { return Ok(()) };
    let (what, remedy) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("port {port} of {bind} is in use"),
            "stop who listens there, or use another --port",
        ),
        io::ErrorKind::AddrNotAvailable => {
            (format!("{bind} is no address of this machine"), "use another --bind")
        }
        io::ErrorKind::PermissionDenied => (
            format!("port {port} is for privileged processes"),
            "use a --port of 1024 or above, or grant CAP_NET_BIND_SERVICE",
        ),
        _ => (
            format!("cannot listen on port {port} of {bind}: {error}"),
            "use another --bind or --port",
        ),
    };
    Err(ServerError::Address { what, remedy: remedy.into() })
}

/// As `TcpListener::bind`, less the listening.
fn bind_only(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(net::bind(&socket, &address)?)
}

/// Writes one aligned block past the page cache and reads it back.
pub(crate) fn probe_direct_io(dir: &Path) -> Result<(), ServerError> {
    let path = dir.join(PROBE_FILE);
    let result = direct_io(&path);
    let removed = fs::remove_file(&path);
    match result {
        Ok(()) => removed.map_err(|e| ServerError::io("remove", &path, e)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(ServerError::DataDir {
            path: dir.to_owned(),
            what: format!("its file system has no direct I/O of {ALIGN} bytes ({error})"),
            remedy: "use ext4 or xfs, on a disk with blocks of 4096 bytes or less".into(),
        }),
        Err(error) => Err(ServerError::io("write", &path, error)),
    }
}

fn direct_io(path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut block = IoBuf::new();
    block.resize(ALIGN, 0x5a);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    file.write_all_at(&block, 0)?;
    block.fill(0);
    file.read_exact_at(&mut block, 0)?;
    if block.iter().all(|byte| *byte == 0x5a) {
        Ok(())
    } else {
        Err(io::Error::other("a block read back is not what was written"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn text(result: Result<(), ServerError>) -> (u8, String) {
        let error = result.unwrap_err();
        (error.exit_code(), error.to_string())
    }

    #[test]
    fn kernels() {
        for release in ["6.1.0", "6.18.44-fc-v669", "7.0-rc1", "10.2", "nonsense"] {
            check_kernel(release).unwrap();
        }
        let (code, text) = text(check_kernel("5.15.0-91-generic"));
        assert_eq!(code, 69);
        assert!(
            text.contains("Linux 5.15.0-91-generic is too old, 6.1 is needed; update"),
            "{text}"
        );
    }

    #[test]
    fn each_error_of_the_ring_has_its_cause_and_remedy() {
        for (errno, sysctl, part) in [
            (libc::EPERM, Some("2\n"), "kernel.io_uring_disabled = 2"),
            (libc::EPERM, Some("0\n"), "seccomp"),
            (libc::EPERM, None, "--security-opt seccomp="),
            (libc::ENOSYS, None, "CONFIG_IO_URING"),
            (libc::ENOMEM, None, "memlock=-1"),
            (libc::EINVAL, None, "DEFER_TASKRUN"),
        ] {
            let probe = Err(io::Error::from_raw_os_error(errno));
            let (code, text) = text(check_ring(probe, || sysctl.map(str::to_owned)));
            assert_eq!(code, 69);
            assert!(text.contains(part) && !text.contains('\n'), "{text}");
        }
        check_ring(Ok(()), || None).unwrap();
    }

    #[test]
    fn limits_on_each_side() {
        check_locked_memory(MEMLOCK_BYTES_MIN).unwrap();
        assert_eq!(text(check_locked_memory(MEMLOCK_BYTES_MIN - 1)).0, 69);
        let reserved = DESCRIPTORS_RESERVED + 2 * DESCRIPTORS_PER_SHARD;
        assert_eq!(clients(reserved + 10_000, 2).unwrap(), 10_000);
        assert_eq!(clients(reserved + 1, 2).unwrap(), 1);
        let (code, text) = text(clients(reserved, 2).map(drop));
        assert!(code == 69 && text.contains("ulimit -n"), "{text}");
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (code, text) = text(check_port("127.0.0.1".parse().unwrap(), port));
        assert_eq!(code, 1);
        assert!(text.contains(&format!("port {port} of 127.0.0.1 is in use")), "{text}");
        drop(listener);
        check_port("127.0.0.1".parse().unwrap(), port).unwrap();
    }

    #[test]
    fn nobody_is_let_in_by_a_look_at_the_port() {
        const CONNECTS: u32 = 20_000;
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                while !ends.load(Ordering::Acquire) {
                    bind_only(address).unwrap();
                }
            });
            let is_refused = || {
                let error = TcpStream::connect(address).err().map(|error| error.kind());
                error == Some(io::ErrorKind::ConnectionRefused)
            };
            let all_refused = (0..CONNECTS).all(|_| is_refused());
            ends.store(true, Ordering::Release);
            looking.join().unwrap();
            assert!(all_refused);
        });
    }

    #[test]
    fn memory_is_no_place_for_durable_data() {
        let shm = Path::new("/dev/shm");
        if sys::file_system(shm).ok() != Some(TMPFS) {
            eprintln!("skipped: {} is no tmpfs here", shm.display());
            return;
        }
        let dir = tempfile::tempdir_in(shm).unwrap();
        let error = data_dir(dir.path(), SyncPolicy::Always).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains("--sync no"), "{error}");
    }

    #[test]
    fn direct_io_leaves_nothing_behind() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        fs::write(dir.path().join(PROBE_FILE), "left by a killed start").unwrap();
        if let Err(error) = data_dir(dir.path(), SyncPolicy::Never) {
            assert!(error.to_string().contains("no direct I/O"), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
