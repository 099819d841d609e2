//! Ways in beside the plain port, and how long a client may take for a request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::{Options, Reply, Server, encode, free_port, is_stand_in, skip, temp_dir};

/// Sends, and reads until the other side closes or has said `bytes` bytes.
fn ask(stream: &mut (impl Read + Write), request: &[u8], bytes: usize) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut reply = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while reply.len() < bytes {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(read) => reply.extend_from_slice(&chunk[..read]),
        }
    }
    reply
}

#[test]
fn the_unix_socket_is_a_way_in_for_this_user() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir().keep();
    let path = home.join("s");
    let word: &'static str = path.to_str().unwrap().to_owned().leak();
    let options =
        Options { shards: Some(2), more: vec!["--unixsocket", word].leak(), ..Options::default() };
    // Left behind by one that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let mut server = Server::start(&options);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for _ in 0..4 {
        let mut stream = UnixStream::connect(&path).unwrap();
        assert_eq!(
            ask(&mut stream, b"SET a 1\r\nGET a\r\nQUIT\r\n", 99),
            b"+OK\r\n$1\r\n1\r\n+OK\r\n"
        );
    }
    let mut stream = UnixStream::connect(&path).unwrap();
    let info = String::from_utf8(ask(&mut stream, b"CLIENT INFO\r\nQUIT\r\n", 4096)).unwrap();
    assert!(info.contains(&format!(" addr={word}:0 ")), "{info}");
    // It is of this machine.
    let mut stream = UnixStream::connect(&path).unwrap();
    assert_eq!(ask(&mut stream, b"CONFIG SET timeout 0\r\nQUIT\r\n", 99), b"+OK\r\n+OK\r\n");
    assert_eq!(server.client().setting("unixsocket"), word);
    // Another server does not take it away.
    let exit = crate::common::run_to_end(crate::common::program_command().args([
        "start",
        "--port",
        &free_port().to_string(),
        "--unixsocket",
        word,
        "--data-dir",
        home.join("other").to_str().unwrap(),
    ]));
    assert!(
        exit.code != Some(0) && exit.stderr.contains("a server listens there"),
        "{}",
        exit.stderr
    );
    server.terminate();
    assert!(!path.exists(), "it goes with its server");
    server.start_again(&options);
    server.crash_and_restart();
    let mut stream = UnixStream::connect(&path).unwrap();
    assert_eq!(ask(&mut stream, b"GET a\r\nQUIT\r\n", 99), b"$1\r\n1\r\n+OK\r\n");
}

#[test]
fn a_request_that_does_not_come_ends_its_connection() {
    if is_stand_in() {
        return;
    }
    let more = &["--set", "request_timeout=1s"];
    let server = Server::start(&Options { shards: Some(1), more, ..Options::default() });
    let mut idle = server.client();
    assert_eq!(idle.say("PING"), Reply::Simple("PONG".into()));
    let mut half = server.client();
    half.send(b"*2\r\n$3\r\nGET").unwrap();
    // A byte now and then is no progress: a timer that each byte starts anew would never end.
    let mut slow = server.client();
    let request = encode(&["SET", "a", &"x".repeat(1000)]);
    let began = Instant::now();
    for byte in &request {
        if slow.send(std::slice::from_ref(byte)).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < Duration::from_secs(15), "it may go on for ever");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(half.rest().unwrap(), b"");
    // Whoever is fast enough may take longer in all; and who has begun nothing may wait.
    let mut steady = server.client();
    let request = encode(&["SET", "a", &"x".repeat(400 << 10)]);
    for piece in request.chunks(40 << 10) {
        steady.send(piece).unwrap();
        thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(steady.reply().unwrap(), Reply::ok());
    assert_eq!(idle.say("GET b"), Reply::Nil);
}

/// Certificates of two authorities: `ca` signed `server` and `client`, `stranger` only itself.
struct Certificates(PathBuf);

impl Certificates {
    /// `None`, said aloud, without the program that makes them.
    fn make() -> Option<Self> {
        let dir = temp_dir().keep();
        let run = |line: &str| {
            let words = line.split(' ');
            Command::new("openssl")
                .args(words)
                .current_dir(&dir)
                .output()
                .is_ok_and(|out| out.status.success())
        };
        std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost").unwrap();
        let make = |name: &str, by: &str| {
            let key = format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key"
            );
            if by == name {
                run(&format!("{key} -x509 -days 30 -out {name}.crt"))
            } else {
                run(&format!("{key} -out {name}.csr"))
                    && run(&format!(
                        "x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -days 30 -extfile names -out {name}.crt"
                    ))
            }
        };
        let is_done = make("ca", "ca")
            && make("server", "ca")
            && make("client", "ca")
            && make("stranger", "stranger");
        if !is_done {
            skip("openssl is not installed");
            return None;
        }
        std::fs::set_permissions(dir.join("server.key"), std::fs::Permissions::from_mode(0o600))
            .unwrap();
        Some(Self(dir))
    }

    fn path(&self, name: &str) -> &'static str {
        self.0.join(name).to_str().unwrap().to_owned().leak()
    }

    fn client(&self, own: Option<&str>) -> Arc<ClientConfig> {
        let read =
            |name: String| CertificateDer::from_pem_file(Path::new(&self.0.join(name))).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read("ca.crt".into())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.0.join(format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![read(format!("{name}.crt"))], key).unwrap()
            }
        })
    }
}

fn connect(port: u16, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

fn tls_server(certificates: &Certificates, more: &[&'static str]) -> (Server, u16) {
    let port = free_port();
    let words = [
        "--tls-port",
        port.to_string().leak(),
        "--tls-cert",
        certificates.path("server.crt"),
        "--tls-key",
        certificates.path("server.key"),
    ];
    let more: Vec<&'static str> = words.into_iter().chain(more.iter().copied()).collect();
    let options = Options { shards: Some(2), more: more.leak(), ..Options::default() };
    (Server::start(&options), port)
}

#[test]
fn commands_and_large_values_go_through_tls() {
    if is_stand_in() {
        return;
    }
    let Some(certificates) = Certificates::make() else { return };
    let (server, port) = tls_server(&certificates, &[]);
    let config = certificates.client(None);
    for round in 0..4 {
        let mut stream = connect(port, &config);
        assert_eq!(ask(&mut stream, b"PING\r\n", 7), b"+PONG\r\n");
        // Larger than a record, than what is sealed at a time, and than what is sent at a time.
        let value = vec![b'a' + round; (3 << 20) + usize::from(round)];
        let set = encode(&[b"SET".as_slice(), b"big", &value]);
        assert_eq!(ask(&mut stream, &set, 5), b"+OK\r\n");
        let head = format!("${}\r\n", value.len());
        let get = encode(&["GET", "big"]);
        let bytes = head.len() + value.len() + 2;
        let reply = ask(&mut stream, &get.repeat(3), 3 * bytes);
        assert_eq!(reply.len(), 3 * bytes);
        assert!(
            reply[2 * bytes..].starts_with(head.as_bytes())
                && reply[..bytes] == reply[bytes..2 * bytes]
        );
        // Pipelines, in pieces that no record knows of.
        let pings = b"PING\r\n".repeat(5_000);
        let reply = ask(&mut stream, &pings, 5_000 * 7);
        assert!(reply == b"+PONG\r\n".repeat(5_000));
        // The end is said, so that nobody can cut off the last replies unseen.
        assert_eq!(ask(&mut stream, b"QUIT\r\n", 99), b"+OK\r\n");
        assert!(stream.conn.process_new_packets().unwrap().peer_has_closed());
    }
    // The plain port speaks no TLS, and the other nothing else.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let reply = ask(&mut plain, b"PING\r\nPING\r\nPING\r\n", 99);
    assert!(!reply.starts_with(b"+PONG"), "{reply:?}");
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn clients_show_a_certificate_where_they_must() {
    if is_stand_in() {
        return;
    }
    let Some(certificates) = Certificates::make() else { return };
    let (_server, port) = tls_server(&certificates, &["--tls-ca", certificates.path("ca.crt")]);
    let mut stream = connect(port, &certificates.client(Some("client")));
    assert_eq!(ask(&mut stream, b"PING\r\n", 7), b"+PONG\r\n");
    for own in [None, Some("stranger")] {
        let mut stream = connect(port, &certificates.client(own));
        let _ = stream.write_all(b"PING\r\n");
        let mut reply = Vec::new();
        assert!(stream.read_to_end(&mut reply).is_err() && reply.is_empty(), "{own:?}: {reply:?}");
    }
}

/// The limits before login hold in the handshake, too: ten seconds.
#[test]
fn a_handshake_that_does_not_come_ends_its_connection() {
    if is_stand_in() {
        return;
    }
    let Some(certificates) = Certificates::make() else { return };
    let (server, port) = tls_server(&certificates, &[]);
    let began = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(silent.read(&mut bytes).unwrap(), 0);
    assert!((9..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn files_for_tls_that_cannot_be_used_are_named() {
    if is_stand_in() {
        return;
    }
    let Some(certificates) = Certificates::make() else { return };
    let start = |cert: &str, key: &str| {
        let home = temp_dir();
        let mut command = crate::common::program_command();
        command.current_dir(home.path()).args(["start", "--port", &free_port().to_string()]);
        command.args([
            "--tls-port",
            &free_port().to_string(),
            "--tls-cert",
            cert,
            "--tls-key",
            key,
        ]);
        crate::common::run_to_end(&mut command)
    };
    let (cert, key) = (certificates.path("server.crt"), certificates.path("server.key"));
    let exit = start("/nonexistent", key);
    assert!(exit.code != Some(0) && exit.stderr.contains("/nonexistent"), "{}", exit.stderr);
    let exit = start(key, key);
    assert!(exit.code != Some(0) && exit.stderr.contains("no certificate"), "{}", exit.stderr);
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let exit = start(cert, key);
    assert!(exit.code != Some(0) && exit.stderr.contains("others may read it"), "{}", exit.stderr);
    let mut command = crate::common::program_command();
    command.args(["start", "--check-config", "--tls-port", "1"]);
    crate::common::run_to_end(&mut command).refused(&[78], &["tls_port", "tls_cert"]);
}
