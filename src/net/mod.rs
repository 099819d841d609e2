//! Sockets on the core's ring.
pub(crate) mod arrivals;
pub(crate) mod connection;
pub mod listeners;
pub(crate) mod tls;

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use listeners::Transport;

/// A plain stream over a second descriptor of the socket.
fn stream(socket: &OwnedFd) -> Option<TcpStream> {
    socket.try_clone().ok().map(TcpStream::from)
}

/// No delay for small replies. (A unix socket knows no such thing.) Keepalive is the listener's, inherited.
pub(crate) fn tune(socket: &OwnedFd) {
    if let Some(stream) = stream(socket) {
        // A socket that refuses it works all the same.
        drop(stream.set_nodelay(true));
    }
}

/// Says that nothing follows; the peer may still send.
pub(crate) fn shut_write(socket: &OwnedFd) {
    if let Some(stream) = stream(socket) {
        // Refused only where the peer is gone.
        drop(stream.shutdown(Shutdown::Write));
    }
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
    if transport == Transport::Unix {
        // As Redis writes it: the path of the socket, and no port.
        let local = socket.try_clone().map(UnixStream::from).and_then(|stream| stream.local_addr());
        let path = local.ok().and_then(|local| local.as_pathname().map(Path::to_owned));
        let text = format!("{}:0", path.unwrap_or_default().display());
        return Addresses { peer: text.clone(), local: text, is_local: true };
    }
    let text = |address: std::io::Result<SocketAddr>| {
        address.map_or_else(|_| String::new(), |address| address.to_string())
    };
    stream(socket).map_or_else(Default::default, |stream| {
        let peer = stream.peer_addr();
        let is_local = peer.as_ref().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        Addresses { peer: text(peer), local: text(stream.local_addr()), is_local }
    })
}

/// One last line for a connection that is not served. Its socket buffer is empty, so this does not block.
pub(crate) fn reject(socket: &OwnedFd, line: &[u8]) {
    if let Some(mut stream) = stream(socket) {
        drop(stream.set_nonblocking(true));
        drop(stream.write(line));
    }
}
