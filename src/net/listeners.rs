//! Where clients come in besides the plain port: a unix socket, and a port for TLS. Opened at start, before any core.
//!
//! # Invariants
//! - A socket file is replaced only where nobody listens at it, and removed at stop only if it is still ours.
//! - It is never open to more users than its mode says: it is made with it.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::limits::{ADDRESS_LOOK, ADDRESS_WAIT_MAX};

/// How a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Tls,
    /// From within this process ([`crate::server::Connector`]): a way in that is no port. It is no client that is counted,
    /// listed or closed for being idle, and whoever made it has asked already who is there.
    Internal,
}

/// Beside the plain port.
#[derive(Debug, Default)]
pub struct MoreListeners {
    pub(crate) unix: Option<(UnixListener, SocketFile)>,
    pub(crate) tls: Option<(TcpListener, Arc<rustls::ServerConfig>)>,
}

/// The name of a unix socket, taken away with this.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever has put another there since keeps it.
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// What `listen` gives, asked again while the address is in use, for [`ADDRESS_WAIT_MAX`] at most: whoever starts the next
/// server when one was killed is quicker than the kernel, which keeps that one's listeners a while longer. Before any core
/// is started.
///
/// # Errors
/// As `listen`.
pub(crate) fn once_free<T>(mut listen: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match listen() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && began.elapsed() < ADDRESS_WAIT_MAX =>
            {
                #[expect(clippy::disallowed_methods, reason = "before any core is started")]
                thread::sleep(ADDRESS_LOOK);
            }
            result => return result,
        }
    }
}

/// Listens at `path`, for whom `mode` lets in.
///
/// # Errors
/// Somebody listens there, something else lies there, or it cannot be made.
pub(crate) fn listen_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::other("something else than a socket lies there"));
        }
        Ok(_) => match UnixStream::connect(path) {
            // Left behind by one that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "a server listens there"));
            }
        },
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = crate::sys::with_umask(!mode & 0o777, || UnixListener::bind(path))?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)? };
    // A mode with more than the umask leaves of a socket's own.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok((listener, file))
}

/// A listener as a core has it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) transport: Transport,
    /// Its accept ended and is to be armed again.
    pub(crate) is_paused: bool,
}

impl Listener {
    pub(crate) fn new(socket: impl Into<OwnedFd>, transport: Transport) -> Self {
        Self { socket: socket.into(), transport, is_paused: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_about_to_be_free_is_waited_for() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        assert!(TcpListener::bind(address).is_err());
        let (mut held, mut looks) = (Some(held), 0);
        once_free(|| {
            looks += 1;
            let result = TcpListener::bind(address);
            // The kernel lets go of it now.
            held = None;
            result
        })
        .unwrap();
        assert_eq!(looks, 2);
        let mut looks = 0;
        let missing = once_free(|| -> io::Result<()> {
            looks += 1;
            Err(io::ErrorKind::NotFound.into())
        });
        assert_eq!((missing.unwrap_err().kind(), looks), (io::ErrorKind::NotFound, 1));
    }

    #[test]
    fn a_socket_is_replaced_only_where_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, file) = listen_unix(&path, 0o700).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        UnixStream::connect(&path).unwrap();
        assert_eq!(listen_unix(&path, 0o700).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Left behind.
        std::mem::forget(file);
        drop(listener);
        let (second, file) = listen_unix(&path, 0o770).unwrap();
        UnixStream::connect(&path).unwrap();
        drop((second, file));
        assert!(!path.exists(), "taken away at the end");
        fs::write(&path, "x").unwrap();
        assert!(listen_unix(&path, 0o700).unwrap_err().to_string().contains("something else"));
        assert_eq!(fs::read(&path).unwrap(), b"x");
        fs::remove_file(&path).unwrap();
        let (_listener, file) = listen_unix(&path, 0o700).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert!(path.exists(), "what another has put there stays");
        assert!(listen_unix(&dir.path().join("absent/s"), 0o700).is_err());
    }
}
