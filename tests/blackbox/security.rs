//! Who may do what: passwords, users, addresses, and the limits before login.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{
    Client, Options, Peer, Reply, Server, encode, is_stand_in, program_command, run_to_end,
    temp_dir, transcript,
};

const PASSWORD: &str = "correct horse";

/// A file of that text and mode; it stays until the tests end.
fn file(text: &str, mode: u32) -> PathBuf {
    let path = temp_dir().keep().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// `name=value` behind `--set`, for as long as the tests run.
fn set(name: &str, value: &str) -> &'static str {
    format!("{name}={value}").leak()
}

fn guarded(shards: u32, more: &[&'static str]) -> Server {
    let password = file(&format!("{PASSWORD}\n"), 0o600);
    let path = set("requirepass_file", password.to_str().unwrap());
    let more: Vec<&'static str> = ["--set", path].into_iter().chain(more.iter().copied()).collect();
    Server::start(&Options { shards: Some(shards), more: more.leak(), ..Options::default() })
}

fn logged_in(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(client.command(&["AUTH", PASSWORD]), Reply::ok());
    client
}

fn error(text: &str) -> Reply {
    Reply::Error(text.into())
}

#[test]
fn nothing_is_done_for_who_has_not_logged_in() {
    if is_stand_in() {
        return;
    }
    let server = guarded(2, &[]);
    let mut client = server.client();
    let refused = error("NOAUTH Authentication required.");
    for line in [
        "PING",
        "GET a",
        "SET a 1",
        "FLUSHALL",
        "INFO",
        "CONFIG GET *",
        "CONFIG SET requirepass x",
        "COMMAND",
        "CLIENT ID",
        "DBSIZE",
        "MGET a b",
        "SHUTDOWN NOW",
        "ACL WHOAMI",
    ] {
        assert_eq!(client.say(line), refused, "{line}");
    }
    assert_eq!(
        client.say("AUTH wrong"),
        error("WRONGPASS invalid username-password pair or user is disabled.")
    );
    assert_eq!(client.say("GET a"), refused);
    assert_eq!(client.command(&["AUTH", PASSWORD]), Reply::ok());
    assert_eq!(client.say("SET a 1"), Reply::ok());
    assert_eq!(client.command(&["AUTH", "default", PASSWORD]), Reply::ok());
    // A wrong one takes no right away, as in Redis; RESET does.
    assert!(client.say("AUTH default wrong").is_error());
    assert_eq!(client.say("GET a"), Reply::bulk("1"));
    assert_eq!(client.say("RESET"), Reply::Simple("RESET".into()));
    assert_eq!(client.say("GET a"), refused);
    assert!(!client.command(&["HELLO", "2", "AUTH", "default", PASSWORD]).is_error());
    assert_eq!(client.say("GET a"), Reply::bulk("1"));
    assert_eq!(client.say("QUIT"), Reply::ok());
    let said = server.stderr();
    assert!(!said.contains(PASSWORD) && !said.contains("wrong"), "{said}");
}

/// What a client says before it logs in, to both.
#[test]
fn login_is_told_in_redis_words() {
    let server = Server::start(&Options::default());
    let Some(peer) = Peer::start() else { return };
    let mut setters =
        [Client::connect(server.port()).unwrap(), Client::connect(peer.port()).unwrap()];
    let compare = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let request = encode(&words);
        let ask = |port| String::from_utf8(transcript(port, &[&request]).unwrap()).unwrap();
        assert_eq!(ask(server.port()), ask(peer.port()), "{line}");
    };
    for line in ["AUTH x", "AUTH default x", "AUTH nosuch x", "AUTH", "AUTH a b c", "ACL LIST"] {
        compare(line);
    }
    for setter in &mut setters {
        assert_eq!(setter.say("CONFIG SET requirepass foo"), Reply::ok());
        // Who was here before stays.
        assert_eq!(setter.say("PING"), Reply::Simple("PONG".into()));
    }
    for line in [
        "PING",
        "HELLO",
        "HELLO 3",
        "HELLO 4",
        "HELLO 2 SETNAME x",
        "HELLO 2 AUTH default bar",
        "AUTH",
        "AUTH a b c",
        "AUTH bar",
        "AUTH nosuch foo",
        "NOSUCH x",
        "GET",
        "CLIENT",
        "CLIENT nosuch",
        "RESET",
        "QUIT",
        "AUTH foo",
        "AUTH default foo",
    ] {
        compare(line);
    }
    for request in [
        &b"*11\r\n"[..],
        b"*10\r\n$16385\r\n",
        b"*1\r\n$4\r\nPING\r\n*11\r\n",
        b"*2\r\n$4\r\nAUTH\r\n$16385\r\n",
        b"PING\r\nPING\r\nQUIT\r\nPING\r\n",
    ] {
        let ask = |port| String::from_utf8(transcript(port, &[request]).unwrap()).unwrap();
        assert_eq!(ask(server.port()), ask(peer.port()), "{request:?}");
    }
    for setter in &mut setters {
        assert_eq!(setter.command(&["CONFIG", "SET", "requirepass", ""]), Reply::ok());
    }
    compare("PING");
}

#[test]
fn the_limits_before_login_end_with_it() {
    if is_stand_in() {
        return;
    }
    let server = guarded(1, &[]);
    let long = "x".repeat(16 << 10);
    let mut client = server.client();
    // Ten arguments and 16 KiB are taken.
    assert!(client.command(&["GET", &long]).text().starts_with("NOAUTH"));
    assert!(client.command(&[&long; 10]).text().starts_with("ERR unknown command"));
    let mut eleven = server.client();
    let reply = eleven.command(&["GET"; 11]).text();
    assert_eq!(reply, "ERR Protocol error: unauthenticated multibulk length");
    assert_eq!(eleven.rest().unwrap(), b"");
    let mut longer = server.client();
    longer.send(b"*2\r\n$3\r\nGET\r\n$16385\r\n").unwrap();
    assert_eq!(longer.reply().unwrap().text(), "ERR Protocol error: unauthenticated bulk length");
    assert_eq!(client.command(&["AUTH", PASSWORD]), Reply::ok());
    assert_eq!(
        client.command(&["MSET", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5", "f", "6"]),
        Reply::ok()
    );
    assert_eq!(client.command(&["SET", "a", &"y".repeat(1 << 20)]), Reply::ok());
    assert_eq!(client.say("RESET"), Reply::Simple("RESET".into()));
    assert!(client.command(&["GET"; 11]).text().contains("unauthenticated multibulk length"));
}

/// CVE-2025-21605: replies that pile up before login. And login has ten seconds in all, whatever is said meanwhile.
#[test]
fn who_does_not_log_in_holds_nothing_and_is_closed() {
    if is_stand_in() {
        return;
    }
    let server = guarded(1, &[]);
    let mut own = logged_in(&server);
    let rss = |own: &mut Client| own.info("used_memory_rss").parse::<u64>().unwrap();
    let before = rss(&mut own);
    let began = Instant::now();
    let pings = b"PING\r\n".repeat(100_000);
    let mut silent: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            while stream.write_all(&pings).is_ok() {}
            stream
        })
        .collect();
    let mut talking = server.client();
    let held = rss(&mut own).saturating_sub(before);
    assert!(held < 16 << 20, "{held} bytes more for twenty clients who do not read");
    while talking.try_command(&["PING"]).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(30), "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    for stream in &mut silent {
        let mut bytes = [0; 4096];
        // To its end, or to a reset: never to the end of patience.
        while stream.read(&mut bytes).is_ok_and(|bytes| bytes > 0) {}
    }
    assert_eq!(own.say("PING"), Reply::Simple("PONG".into()));
    assert_eq!(own.info("connected_clients"), "1");
}

#[test]
fn each_wrong_password_is_answered_later_and_others_do_not_wait() {
    if is_stand_in() {
        return;
    }
    let server = guarded(1, &[]);
    let mut own = logged_in(&server);
    let mut guesser = server.client();
    let mut waits = Vec::new();
    for guess in 0..4 {
        let began = Instant::now();
        guesser.send(&encode(&["AUTH", &format!("guess{guess}")])).unwrap();
        // The core goes on meanwhile.
        assert_eq!(own.say("PING"), Reply::Simple("PONG".into()));
        assert!(guesser.reply().unwrap().text().starts_with("WRONGPASS"));
        waits.push(began.elapsed());
    }
    let least = [100, 200, 400, 800].map(Duration::from_millis);
    assert!(waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
    // What is sent behind it waits for it, in order.
    guesser
        .send(
            &[encode(&["AUTH", "wrong"]), encode(&["AUTH", PASSWORD]), encode(&["PING"])].concat(),
        )
        .unwrap();
    assert!(guesser.reply().unwrap().is_error());
    assert_eq!(guesser.reply().unwrap(), Reply::ok());
    assert_eq!(guesser.reply().unwrap(), Reply::Simple("PONG".into()));
    // Who logged in is no guesser.
    let began = Instant::now();
    assert!(guesser.say("AUTH wrong").is_error());
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[test]
fn the_readonly_user_reads_and_denied_commands_are_nobody_s() {
    if is_stand_in() {
        return;
    }
    let path = file("look", 0o400);
    let server = guarded(
        2,
        &[
            "--set",
            "readonly_user=viewer",
            "--set",
            set("readonly_password_file", path.to_str().unwrap()),
            "--set",
            "deny_commands=flushall, config|resetstat",
        ],
    );
    let mut own = logged_in(&server);
    assert_eq!(own.say("SET a 1"), Reply::ok());
    let denied = |name: &str| {
        error(&format!("NOPERM this user has no permissions to run the '{name}' command"))
    };
    assert_eq!(own.say("FLUSHALL"), denied("flushall"));
    assert_eq!(own.say("CONFIG RESETSTAT"), denied("config|resetstat"));
    assert_eq!(own.say("CONFIG SET timeout 0"), Reply::ok());
    assert_eq!(own.say("ACL WHOAMI"), Reply::bulk("default"));
    let mut viewer = server.client();
    assert!(viewer.command(&["AUTH", "viewer", PASSWORD]).is_error());
    assert_eq!(viewer.say("AUTH viewer look"), Reply::ok());
    assert_eq!(viewer.say("GET a"), Reply::bulk("1"));
    assert_eq!(viewer.say("ACL WHOAMI"), Reply::bulk("viewer"));
    assert!(!viewer.say("INFO").is_error());
    for (line, name) in [
        ("SET a 2", "set"),
        ("DEL a", "del"),
        ("MSET a 1 b 2", "mset"),
        ("FLUSHDB", "flushdb"),
        ("FLUSHALL", "flushall"),
        ("CONFIG SET timeout 0", "config|set"),
        ("CONFIG GET *", "config|get"),
        ("SHUTDOWN NOW", "shutdown"),
        ("DEBUG SLEEP 1", "debug"),
        ("ACL LIST", "acl|list"),
    ] {
        assert_eq!(viewer.say(line), denied(name), "{line}");
    }
    let shown = own.say("CLIENT LIST").text();
    assert_eq!(shown.matches(" user=viewer ").count(), 1, "{shown}");
    let mut other = server.client();
    assert_eq!(other.say("AUTH viewer look"), Reply::ok());
    assert_eq!(own.say("CLIENT KILL USER nobody"), error("ERR No such user 'nobody'"));
    assert_eq!(viewer.command(&["AUTH", PASSWORD]), Reply::ok());
    assert_eq!(own.say("CLIENT KILL USER viewer"), Reply::Integer(1));
    assert_eq!(viewer.say("SET a 2"), Reply::ok());
}

/// An address of this machine that is not loopback, if it has one: a packet to it stays here, and comes from it.
fn other_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: only the route is looked up.
    socket.connect("198.51.100.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

fn ask_at(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(request);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn other_machines_are_refused_until_there_is_a_password() {
    let Some(address) = other_address() else { return };
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options {
        shards: Some(2),
        more: &["--bind", "0.0.0.0"],
        ..Options::default()
    });
    let outside = SocketAddr::from((address, server.port()));
    for _ in 0..4 {
        let text = ask_at(outside, b"PING\r\n");
        assert!(text.starts_with("-DENIED ") && text.contains("requirepass"), "{text}");
    }
    let mut own = server.client();
    assert_eq!(own.say("CONFIG SET requirepass foo"), Reply::ok());
    assert_eq!(ask_at(outside, b"PING\r\nQUIT\r\n"), "-NOAUTH Authentication required.\r\n+OK\r\n");
    // What changes the server as a whole is for this machine.
    let text = ask_at(
        outside,
        b"AUTH foo\r\nPING\r\nCONFIG SET protected-mode no\r\nSHUTDOWN NOW\r\nQUIT\r\n",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["+OK", "+PONG"]);
    for (line, name) in lines[2..4].iter().zip(["config|set", "shutdown"]) {
        assert!(
            line.starts_with(&format!("-ERR the '{name}' command is taken from this machine only")),
            "{line}"
        );
    }
    assert_eq!(own.command(&["CONFIG", "SET", "requirepass", ""]), Reply::ok());
    assert!(ask_at(outside, b"PING\r\n").starts_with("-DENIED "));
    assert_eq!(own.say("CONFIG SET protected-mode no"), Reply::ok());
    assert_eq!(ask_at(outside, b"PING\r\nQUIT\r\n"), "+PONG\r\n+OK\r\n");
}

#[test]
fn a_secret_that_others_can_see_is_refused() {
    if is_stand_in() {
        return;
    }
    let start = |word: &str| {
        let home = temp_dir();
        let mut command = program_command();
        command.args(["start", "--check-config", "--set", word]).current_dir(home.path());
        run_to_end(&mut command)
    };
    let open = file("x", 0o644);
    start(set("requirepass_file", open.to_str().unwrap()))
        .refused(&[78], &["others may read it", "chmod"]);
    let empty = file("\n", 0o600);
    start(set("requirepass_file", empty.to_str().unwrap())).refused(&[78], &["empty"]);
    start("requirepass_file=/nonexistent").refused(&[78], &["/nonexistent"]);
    let exit = start("requirepass=hunter2");
    exit.refused(&[2], &["requirepass", "command line"]);
    assert!(!exit.stderr.contains("hunter2"), "{}", exit.stderr);
    start("deny_commands=nosuch").refused(&[2], &["nosuch"]);
    start("readonly_user=viewer").refused(&[78], &["readonly_password_file"]);
    let settings = file("requirepass = \"hunter2\"\n", 0o644);
    let mut command = program_command();
    command.args(["start", "--check-config", "--config", settings.to_str().unwrap()]);
    run_to_end(&mut command).refused(&[78], &["others may read it"]);
}
