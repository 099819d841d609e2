//! Who may use HTTP, and from where: names, pages of others, kinds of bodies, tokens, passwords, addresses, ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;

use crate::common::{
    Http, Options, Reply, Server, free_port, is_stand_in, program_command, run_to_end, skip,
    temp_dir,
};

const TOKEN: &str = "t0ken with blanks";
const PASSWORD: &str = "correct horse";

fn file(text: &str, mode: u32) -> PathBuf {
    let path = temp_dir().keep().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn set(name: &str, value: &str) -> [&'static str; 2] {
    ["--set", format!("{name}={value}").leak()]
}

fn server(more: &[[&'static str; 2]]) -> Server {
    let more = more.as_flattened().to_vec().leak();
    Server::start(&Options { shards: Some(1), http: Some(free_port()), more, ..Options::default() })
}

fn token() -> [&'static str; 2] {
    set("http_token_file", file(&format!("{TOKEN}\n"), 0o600).to_str().unwrap())
}

fn password() -> [&'static str; 2] {
    set("requirepass_file", file(&format!("{PASSWORD}\n"), 0o600).to_str().unwrap())
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

/// DNS rebinding: a page that has pointed its own name at this machine.
#[test]
fn only_our_names_are_answered() {
    if is_stand_in() {
        return;
    }
    let server = server(&[set("http_hosts", "db.example, Db2.Example")]);
    let mut http = server.http();
    for host in ["localhost", "127.0.0.1:8081", "[::1]", "DB.example:80", "db2.example"] {
        let headers = format!("Host: {host}\r\n");
        assert_eq!(http.ask("GET", "/healthz", &headers, b"").status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "localhost:1:1", ""] {
        let headers = format!("Host: {host}\r\n");
        for (method, path) in
            [("GET", "/healthz"), ("GET", "/"), ("DELETE", "/keys/a"), ("GET", "/nosuch")]
        {
            http.ask(method, path, &headers, b"").refused(421, "http_hosts");
        }
    }
    http.ask("GET", "http://evil.example/healthz", "", b"").refused(421, "http_hosts");
    let two = "Host: localhost\r\nHost: evil.example\r\n";
    http.ask("GET", "/healthz", two, b"").refused(400, "one Host");
    let mut http = server.http();
    http.send(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    http.response(false).unwrap().refused(400, "one Host");
    let mut http = server.http();
    http.send(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    http.response(false).unwrap().refused(400, "one Host");
}

/// A page of someone else in a browser of this machine.
#[test]
fn pages_of_others_can_do_nothing() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let (mut http, mut client) = (server.http(), server.client());
    assert_eq!(client.say("SET a 1"), Reply::ok());
    for header in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://localhost:1\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        for (method, path, kind) in [
            ("PUT", "/keys/a", "application/octet-stream"),
            ("POST", "/keys", "application/json"),
            ("DELETE", "/keys/a", ""),
            ("GET", "/keys/a", ""),
            ("GET", "/stats_all", ""),
            ("GET", "/events", ""),
            ("POST", "/backup", "application/json"),
        ] {
            let headers = if kind.is_empty() {
                header.to_owned()
            } else {
                format!("{header}Content-Type: {kind}\r\n")
            };
            let answer = http.ask(method, path, &headers, b"");
            answer.refused(403, "another origin");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        // A link to the dashboard is no harm.
        assert_eq!(http.ask("GET", "/", header, b"").status, 200);
    }
    let own = "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/octet-stream\r\n";
    assert_eq!(http.ask("PUT", "/keys/b", own, b"2").status, 204);
    // What a form can send, with or without its headers.
    for kind in [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: text/plain; x=application/json\r\n",
        "",
    ] {
        let body = br#"{"key":"a","value":"2"}"#;
        for path in ["/keys", "/batch", "/backup", "/keys/a/ttl"] {
            http.ask("POST", path, kind, body).refused(415, "content-type");
        }
    }
    http.ask("PUT", "/keys/a", "Content-Type: text/plain\r\n", b"2").refused(415, "content-type");
    assert_eq!(client.say("GET a"), Reply::bulk("1"));
    assert_eq!(client.say("GET b"), Reply::bulk("2"));
    let typed = "Content-Type: application/json; charset=utf-8\r\n";
    assert_eq!(http.ask("POST", "/keys", typed, br#"{"key":"c","value":"3"}"#).status, 201);
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    if is_stand_in() {
        return;
    }
    let server = server(&[token()]);
    let mut http = server.http();
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for (method, path) in [
        ("GET", "/keys/a"),
        ("HEAD", "/keys/a"),
        ("PUT", "/keys/a"),
        ("DELETE", "/keys/a"),
        ("POST", "/keys"),
        ("POST", "/keys/a/ttl"),
        ("GET", "/keys/search"),
        ("POST", "/batch"),
        ("GET", "/stats_all"),
        ("GET", "/metrics"),
        ("GET", "/events"),
        ("GET", "/slowlog"),
        ("POST", "/backup"),
    ] {
        let answer = http.ask(method, path, "", b"");
        assert_eq!(answer.status, 401, "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"rusty-lsm\""));
    }
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(http.get(path).status, 200, "{path} is no secret");
    }
    for wrong in [
        "Authorization: Bearer t0ken\r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Authorization: Basic {TOKEN}\r\n"),
        // There is no password: any would do for the Redis protocol.
        basic("default", ""),
        basic("default", TOKEN),
    ] {
        http.ask("GET", "/keys/a", &wrong, b"").refused(401, "wrong");
        // Else the next try would come late.
        assert_eq!(http.ask("GET", "/keys/a", &right, b"").status, 404);
    }
    let twice = format!("Authorization: Bearer x\r\n{right}");
    http.ask("GET", "/keys/a", &twice, b"").refused(401, "wrong");
    assert_eq!(http.ask("PUT", "/keys/a", &right, b"1").status, 204);
    // The Redis protocol has its own door.
    assert_eq!(server.client().say("GET a"), Reply::bulk("1"));
    let said = server.stderr();
    assert!(!said.contains(TOKEN), "{said}");
    let shown = server.client().command(&["CONFIG", "GET", "http*"]);
    assert!(
        !format!("{shown:?}").contains(TOKEN) && !format!("{shown:?}").contains("http-token\""),
        "{shown:?}"
    );
}

#[test]
fn a_password_is_no_way_around() {
    if is_stand_in() {
        return;
    }
    let reader = file("reading\n", 0o600);
    let server = server(&[
        password(),
        set("readonly_user", "viewer"),
        set("readonly_password_file", reader.to_str().unwrap()),
    ]);
    let mut http = server.http();
    http.get("/keys/a").refused(401, "Authorization");
    http.put("/keys/a", b"1").refused(401, "Authorization");
    let all = basic("default", PASSWORD);
    assert_eq!(http.ask("PUT", "/keys/a", &all, b"1").status, 204);
    let read = basic("viewer", "reading");
    assert_eq!(http.ask("GET", "/keys/a", &read, b"").body, b"1");
    for path in ["/stats_all", "/metrics", "/keys/search"] {
        assert_eq!(http.ask("GET", path, &read, b"").status, 200, "{path}");
    }
    for (method, path) in
        [("PUT", "/keys/a"), ("DELETE", "/keys/a"), ("POST", "/batch"), ("GET", "/slowlog")]
    {
        http.ask(method, path, &read, b"").refused(403, "only read");
    }
    for wrong in [basic("viewer", PASSWORD), basic("nobody", PASSWORD), basic("default", "x")] {
        http.ask("GET", "/keys/a", &wrong, b"").refused(401, "wrong");
        assert_eq!(http.ask("GET", "/keys/a", &all, b"").status, 200);
    }
    // A password that comes later holds at once.
    let mut client = server.client();
    assert_eq!(client.command(&["AUTH", PASSWORD]), Reply::ok());
    assert_eq!(client.say("CONFIG SET requirepass other"), Reply::ok());
    http.ask("GET", "/keys/a", &all, b"").refused(401, "wrong");
    assert_eq!(http.ask("GET", "/keys/a", &basic("default", "other"), b"").status, 200);
}

/// Each wrong try makes the next answer later; what other connections ask is not held up.
#[test]
fn guessing_takes_its_time() {
    if is_stand_in() {
        return;
    }
    let server = server(&[token()]);
    let began = std::time::Instant::now();
    let mut http = server.http();
    for _ in 0..4 {
        http.ask("GET", "/keys/a", "Authorization: Bearer x\r\n", b"").refused(401, "wrong");
    }
    let took = began.elapsed();
    assert!(took.as_millis() >= 100 + 200 + 400 + 800, "{took:?}");
}

#[test]
fn the_deny_list_holds() {
    if is_stand_in() {
        return;
    }
    let server = server(&[set("deny_commands", "del, slowlog, scan, set")]);
    let mut http = server.http();
    http.ask("DELETE", "/keys/a", "", b"").refused(403, "NOPERM");
    http.put("/keys/a", b"1").refused(403, "NOPERM");
    http.get("/keys/search?q=a").refused(403, "NOPERM");
    http.get("/slowlog").refused(403, "NOPERM");
    let results =
        http.post("/batch", r#"[{"op":"delete","key":"a"},{"op":"get","key":"a"}]"#).json();
    assert_eq!(
        (&results["results"][0]["status"], &results["results"][1]["status"]),
        (&json!(403), &json!(404))
    );
    http.get("/keys/a").refused(404, "no such key");
}

#[test]
fn other_machines_need_a_secret() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let start = |words: &[&str]| {
        let mut command = program_command();
        let port = free_port().to_string();
        command.args(["start", "--port", &port, "--data-dir", dir.to_str().unwrap()]).args(words);
        run_to_end(&mut command)
    };
    let http = free_port().to_string();
    let words = ["http_bind", "http_token_file", "requirepass_file"];
    start(&["--http-port", &http, "--http-bind", "0.0.0.0"]).refused(&[78], &words);
    start(&["--http-bind", "::"]).refused(&[78], &words);
    start(&["--http-bind", "here"]).refused(&[2], &["not an IP address"]);
    start(&["--set", "http_token=x"]).refused(&[2], &["command line"]);
    let open = file("x\n", 0o644);
    start(&["--http-token-file", open.to_str().unwrap()]).refused(&[78], &["chmod"]);
    assert!(!dir.exists());

    let server = server(&[set("http_bind", "0.0.0.0"), token()]);
    let port = server.http().stream().peer_addr().unwrap().port();
    let Some(address) = other_address() else {
        return skip("this machine has no other address than loopback");
    };
    let mut far = Http::over(std::net::TcpStream::connect((address, port)).unwrap());
    let host = format!("Host: {address}:{port}\r\n");
    far.ask("GET", "/keys/a", &host, b"").refused(401, "Authorization");
    let right = format!("{host}Authorization: Bearer {TOKEN}\r\n");
    far.ask("GET", "/keys/a", &right, b"").refused(404, "no such key");
    far.ask("GET", "/keys/a", "Host: evil.example\r\n", b"").refused(421, "http_hosts");
}

/// A secret that was taken away at runtime leaves nobody in.
#[test]
fn without_a_secret_other_machines_are_not_served() {
    if is_stand_in() {
        return;
    }
    let server = server(&[set("http_bind", "0.0.0.0"), password()]);
    let mut client = server.client();
    assert_eq!(client.command(&["AUTH", PASSWORD]), Reply::ok());
    assert_eq!(client.command(&["CONFIG", "SET", "requirepass", ""]), Reply::ok());
    let port = server.http().stream().peer_addr().unwrap().port();
    server.http().get("/keys/a").refused(404, "no such key");
    let Some(address) = other_address() else {
        return skip("this machine has no other address than loopback");
    };
    let mut far = Http::over(std::net::TcpStream::connect((address, port)).unwrap());
    let host = format!("Host: {address}\r\n");
    far.ask("GET", "/keys/a", &host, b"").refused(403, "http_token_file");
}

/// Of this machine, in a network; nothing is sent to find it.
fn other_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address)
            if !address.ip().is_loopback() && !address.ip().is_unspecified() =>
        {
            Some(*address.ip())
        }
        _ => None,
    }
}

/// A port that was asked for must be free; the default one may be taken.
#[test]
fn a_port_that_is_in_use() {
    if is_stand_in() {
        return;
    }
    let taken = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = temp_dir();
    let mut command = program_command();
    command.args(["start", "--port", &free_port().to_string(), "--http-port", &port, "--data-dir"]);
    command.arg(home.path().join("d"));
    run_to_end(&mut command).refused(&[1], &[&port, "--http-port"]);
    // Whoever has it: this test, or another server on this machine.
    let _default = TcpListener::bind((Ipv4Addr::LOCALHOST, 8081));
    let home = temp_dir();
    let resp = free_port();
    let mut command = program_command();
    command.args(["start", "--port", &resp.to_string(), "--data-dir"]).arg(home.path().join("d"));
    let log = home.path().join("err");
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    while !said().contains("\n  ready ") {
        assert!(child.try_wait().unwrap().is_none(), "{}", said());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said().contains("no HTTP: port 8081") && !said().contains("\n  http "), "{}", said());
}
