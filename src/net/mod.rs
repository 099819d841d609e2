//! Sockets on the core's ring.
pub(crate) mod arrivals;
pub(crate) mod connection;
pub mod listeners;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::net::{SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, sockopt};

use listeners::Transport;

// All of these borrow the descriptor: a second one may not be had when it is needed most.

/// No delay for small replies. (A unix socket knows no such thing.) Keepalive is the listener's, inherited.
pub(crate) fn tune(socket: &OwnedFd) {
    // A socket that refuses it works all the same.
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// Says that nothing follows; the peer may still send.
pub(crate) fn shut_write(socket: &OwnedFd) {
    // Refused only where the peer is gone.
    let _ = rustix::net::shutdown(socket, Shutdown::Write);
}

/// Both ends of a connection as text, empty where there is none.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) peer: String,
    pub(crate) local: String,
    /// The peer is on this machine: it came over loopback.
    pub(crate) is_local: bool,
}

pub(crate) fn addresses(socket: &OwnedFd, transport: Transport) -> Addresses {
    if transport == Transport::Internal {
        let text = "internal:0".to_owned();
        return Addresses { peer: text.clone(), local: text, is_local: true };
    }
    let local = rustix::net::getsockname(socket).ok();
    if transport == Transport::Unix {
        // As Redis writes it: the path of the socket, and no port.
        let local = local.and_then(|local| SocketAddrUnix::try_from(local).ok());
        let path = local.as_ref().and_then(SocketAddrUnix::path_bytes).unwrap_or_default();
        let text = format!("{}:0", Path::new(std::ffi::OsStr::from_bytes(path)).display());
        return Addresses { peer: text.clone(), local: text, is_local: true };
    }
    let of = |address: Option<SocketAddrAny>| SocketAddr::try_from(address?).ok();
    let text = |address: Option<SocketAddr>| address.map_or_else(String::new, |it| it.to_string());
    let (peer, local) = (of(rustix::net::getpeername(socket).ok().flatten()), of(local));
    let is_local = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    Addresses { peer: text(peer), local: text(local), is_local }
}

/// One last line for a connection that is not served. Its socket buffer is empty, so this does not block.
pub(crate) fn reject(socket: &OwnedFd, line: &[u8]) {
    let _ = rustix::net::send(socket, line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
