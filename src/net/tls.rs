//! TLS between the socket and the parser: a filter. What was received becomes plain input, replies become records.
//!
//! # Invariants
//! - No I/O and no clock: bytes in, bytes out.
//! - What is held beyond one record each way is replies that wait to be sealed, and they are counted as unsent output.
//! - At most [`SEALED_BYTES`] are sealed at a time, when the send before has come back: what is large takes more than one turn.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::config::is_private;

/// Plain bytes that become records for one send.
const SEALED_BYTES: usize = 256 << 10;
/// Plain bytes read at a time.
const OPENED_BYTES: usize = 16 << 10;

/// One connection's.
#[derive(Debug)]
pub(crate) struct Tls {
    session: ServerConnection,
    /// Replies that are not records yet: `plain[from..]`.
    plain: Vec<u8>,
    from: usize,
}

impl Tls {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Box<Self>, rustls::Error> {
        let mut session = ServerConnection::new(Arc::clone(config))?;
        // Bounded by `SEALED_BYTES`.
        session.set_buffer_limit(None);
        Ok(Box::new(Self { session, plain: Vec::new(), from: 0 }))
    }

    /// Takes what was received, and adds what it says to `plain`; true: the peer sends no more.
    ///
    /// # Errors
    /// It is no TLS, or none that we speak: an alert is ready to be sent, and nothing more is read.
    pub(crate) fn open(&mut self, mut received: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut ended = false;
        while !received.is_empty() && !ended {
            self.session.read_tls(&mut received)?;
            let state = self
                .session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            ended = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let at = plain.len();
                plain.resize(at + left.min(OPENED_BYTES), 0);
                let read = self.session.reader().read(&mut plain[at..])?;
                plain.truncate(at + read);
                left -= read.min(left);
                if read == 0 {
                    break;
                }
            }
        }
        Ok(ended)
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Replies that wait to be sealed.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.plain.len() - self.from
    }

    /// Takes replies.
    pub(crate) fn push(&mut self, replies: Vec<u8>) {
        if self.waiting_bytes() == 0 {
            (self.plain, self.from) = (replies, 0);
        } else {
            self.plain.extend_from_slice(&replies);
        }
    }

    /// The next records to send; empty: there are none now.
    pub(crate) fn seal(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        if !self.is_handshaking() {
            let upto = self.plain.len().min(self.from + SEALED_BYTES);
            // Into memory, without a limit: it takes all.
            let taken = self.session.writer().write(&self.plain[self.from..upto]).unwrap_or(0);
            self.from += taken;
            if self.from == self.plain.len() {
                (self.plain, self.from) = (Vec::new(), 0);
            }
        }
        while self.session.wants_write() {
            if self.session.write_tls(&mut records).is_err() {
                break;
            }
        }
        records
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&mut self) {
        self.session.send_close_notify();
    }
}

/// What the files of the settings make. `client_ca`: clients must show a certificate of one of these.
///
/// # Errors
/// A file that cannot be read or used.
pub(crate) fn server_config(
    certificates: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, String> {
    let say =
        |path: &Path, problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = read_certificates(certificates)?;
    is_private(key).map_err(|problem| say(key, &problem))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| say(key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| say(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| say(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, secret).map(Arc::new).map_err(|error| say(certificates, &error))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let say = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| say(&error))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|error| say(&error))?;
    if found.is_empty() { Err(say(&"no certificate in it")) } else { Ok(found) }
}
