//! Sockets on the core's ring.
pub(crate) mod arrivals;
pub(crate) mod connection;

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;

/// A plain stream over a second descriptor of the socket.
fn stream(socket: &OwnedFd) -> Option<TcpStream> {
    socket.try_clone().ok().map(TcpStream::from)
}

/// No delay for small replies. Keepalive is the listener's, inherited.
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

/// Peer and local address as text, empty where there is none.
pub(crate) fn addresses(socket: &OwnedFd) -> (String, String) {
    let text = |address: std::io::Result<std::net::SocketAddr>| {
        address.map_or_else(|_| String::new(), |address| address.to_string())
    };
    stream(socket).map_or_else(Default::default, |stream| {
        (text(stream.peer_addr()), text(stream.local_addr()))
    })
}

/// One last line for a connection that is not served. Its socket buffer is empty, so this does not block.
pub(crate) fn reject(socket: &OwnedFd, line: &[u8]) {
    if let Some(mut stream) = stream(socket) {
        drop(stream.set_nonblocking(true));
        drop(stream.write(line));
    }
}
