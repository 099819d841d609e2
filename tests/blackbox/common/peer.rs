//! `redis-server` beside ours: the same raw bytes to both, and the raw replies compared.

use std::io;
use std::path::Path;

use super::client::Client;
use super::server::{Options, Server};

/// A Redis to compare with.
#[derive(Debug)]
pub(crate) struct Peer(Server);

impl Peer {
    /// `None`, said aloud, where `redis-server` is not installed (`scripts/test` installs it).
    pub(crate) fn start() -> Option<Self> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&paths).map(|dir| dir.join("redis-server"));
        let Some(program) = program.into_iter().find(|path| path.is_file()) else {
            super::skip("redis-server is not installed");
            return None;
        };
        Some(Self(Server::start_program(Path::new(&program), &Options::default())))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }
}

/// All bytes that a server answers to `pieces`, each sent with a write of its own. Ends at an echo that is appended, or where
/// the server closes.
pub(crate) fn transcript(port: u16, pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
    const MARK: &[u8] = b"$18\r\nend-of-transcript!\r\n";
    let mut client = Client::connect(port)?;
    for piece in pieces {
        // Refused only once the server has closed; what it said before is still read below.
        if client.send(piece).is_err() {
            break;
        }
    }
    let _ = client.send(b"*2\r\n$4\r\nECHO\r\n$18\r\nend-of-transcript!\r\n");
    client.finish();
    let mut said = client.rest()?;
    if said.ends_with(MARK) {
        said.truncate(said.len() - MARK.len());
    } else {
        said.extend_from_slice(b"<closed>");
    }
    Ok(said)
}
