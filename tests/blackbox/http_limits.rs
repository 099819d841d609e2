//! What a client of HTTP cannot do: hide a request in another, hold what it does not use, be slow for ever, come in any number.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::common::{Http, Options, Reply, Server, free_port, is_stand_in};

fn server(more: &'static [&'static str]) -> Server {
    Server::start(&Options { shards: Some(1), http: Some(free_port()), more, ..Options::default() })
}

/// Raw bytes; the status codes of all answers until the end.
fn statuses(server: &Server, bytes: &[u8]) -> (Vec<u16>, String) {
    let mut http = server.http();
    http.send(bytes).unwrap();
    let _ = http.stream().shutdown(Shutdown::Write);
    let text = String::from_utf8_lossy(&http.rest()).into_owned();
    // Texts of errors name the version, too.
    let codes =
        text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text[at + 9..].get(..3)?.parse().ok());
    (codes.collect(), text)
}

/// Each of these was two requests for one reader and one for another, somewhere.
#[test]
fn no_request_hides_in_another() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut client = server.client();
    let hidden = "PUT /keys/hidden HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";
    let head = "PUT /keys/a HTTP/1.1\r\nHost: localhost\r\n";
    for request in [
        format!("{head}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0\r\nContent-Length: 77\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("{head}Content-Length: +0\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0x0\r\n\r\n{hidden}"),
        format!("{head}Content-Length: 0, 0\r\n\r\n{hidden}"),
        format!("{head}Content-Length : 0\r\n\r\n{hidden}"),
        format!("{head}X: y\r\n Content-Length: 77\r\n\r\n{hidden}"),
        format!("{head}X: y\nContent-Length: 77\r\n\r\n{hidden}"),
        format!("{head}X: y\rContent-Length: 77\r\n\r\n{hidden}"),
        format!("PUT /keys/a HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!(
            "PUT /keys/a HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF0\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{hidden}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n0\n\n{hidden}"),
        format!("PUT /keys/a b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("PUT /keys/a\r\nHost: localhost\r\n\r\n{hidden}"),
        format!("\0\r\n\r\n{hidden}"),
    ] {
        let (codes, text) = statuses(&server, request.as_bytes());
        assert_eq!(codes, [400], "{request:?}\n{text}");
        assert_eq!(client.say("EXISTS hidden"), Reply::Integer(0), "{request:?}");
        assert_eq!(client.say("EXISTS a"), Reply::Integer(0), "{request:?}");
    }
    // What came before was in order, and is answered in its place.
    let (codes, _) = statuses(
        &server,
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\nHost: localhost\r\n\r\n{hidden}").as_bytes(),
    );
    assert_eq!(codes, [200, 400]);
    // And this is in order.
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nA: b\r\n\r\n{hidden}"
    );
    assert_eq!(statuses(&server, chunked.as_bytes()).0, [204, 204]);
    assert_eq!(client.say("GET a"), Reply::bulk("abc"));
    assert_eq!(client.say("GET hidden"), Reply::bulk("x"));
}

#[test]
fn heads_and_bodies_have_their_limits() {
    if is_stand_in() {
        return;
    }
    let server = server(&["--set", "http_body_max=1MB"]);
    let mut client = server.client();
    let sized = |bytes: usize| {
        let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ";
        format!("{head}{}\r\n\r\n", "x".repeat(bytes - head.len() - 4))
    };
    assert_eq!(statuses(&server, sized(16 << 10).as_bytes()).0, [200]);
    assert_eq!(statuses(&server, sized((16 << 10) + 1).as_bytes()).0, [431]);
    let many = |count: usize| {
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(count - 1))
    };
    assert_eq!(statuses(&server, many(100).as_bytes()).0, [200]);
    assert_eq!(statuses(&server, many(101).as_bytes()).0, [431]);
    let limit = 1 << 20;
    assert_eq!(server.http().put("/keys/a", &vec![b'x'; limit]).status, 204);
    assert_eq!(client.say("STRLEN a"), Reply::Integer(i64::try_from(limit).unwrap()));
    // Told before the body has come, and told to who sends it all the same.
    server.http().put("/keys/b", &vec![b'x'; limit + 1]).refused(413, "http_body_max");
    let mut http = server.http();
    http.send(b"PUT /keys/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n")
        .unwrap();
    http.response(false).unwrap().refused(413, "1048576 bytes");
    let mut http = server.http();
    http.send(b"PUT /keys/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..17 {
        let _ = http.send(chunk.as_bytes());
    }
    http.response(false).unwrap().refused(413, "http_body_max");
    // Who waits to be told whether to send is told.
    let mut http = server.http();
    http.send(b"PUT /keys/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(http.head().unwrap(), "HTTP/1.1 100 Continue");
    http.send(b"abc").unwrap();
    assert_eq!(http.response(false).unwrap().status, 204);
    assert_eq!(client.say("EXISTS b"), Reply::Integer(0));
    let long = "k".repeat(12_000);
    assert_eq!(server.http().put(&format!("/keys/{long}"), b"v").status, 204);
}

/// Bytes that were announced take no memory before they come.
#[test]
fn what_is_announced_costs_nothing() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut client = server.client();
    let rss =
        |client: &mut crate::common::Client| client.info("used_memory_rss").parse::<u64>().unwrap();
    let mut warm: Vec<Http> = (0..50).map(|_| server.http()).collect();
    for http in &mut warm {
        assert_eq!(http.put("/keys/a", b"x").status, 204);
    }
    let before = rss(&mut client);
    let mut held = Vec::new();
    for _ in 0..500 {
        let mut http = server.http();
        http.send(b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n\r\nx")
            .unwrap();
        held.push(http);
    }
    std::thread::sleep(Duration::from_millis(300));
    let after = rss(&mut client);
    assert!(after < before + (64 << 20), "{before} bytes, then {after}");
}

/// One byte in time is no excuse: 1,000 connections that send a byte a second are cut, and the Redis protocol does not feel
/// them.
#[test]
fn slow_senders_are_cut_and_hurt_nobody() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut client = server.client();
    let mut slow: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let mut http = server.http();
            let begin: &[u8] = if number % 2 == 0 {
                b"GET /healthz HTTP/1.1\r\nX: "
            } else {
                b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
            };
            http.send(begin).unwrap();
            http.stream().try_clone().unwrap()
        })
        .collect();
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    let mut left = slow.len();
    while left > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{left} are still open");
        for stream in &mut slow {
            use std::io::Write as _;
            let _ = stream.write_all(b"x");
        }
        for number in 0..200 {
            let asked = Instant::now();
            assert_eq!(client.command(&["SET", &format!("k{number}"), "v"]), Reply::ok());
            longest = longest.max(asked.elapsed());
        }
        std::thread::sleep(Duration::from_secs(1));
        slow.retain_mut(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut said = Vec::new();
            let is_open = matches!(stream.read_to_end(&mut said), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            let text = String::from_utf8_lossy(&said);
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
            stream.set_nonblocking(false).unwrap();
            is_open && text.is_empty()
        });
        left = slow.len();
    }
    assert!(
        began.elapsed() >= Duration::from_secs(9),
        "cut before their time: {:?}",
        began.elapsed()
    );
    eprintln!("the longest SET beside them: {longest:?}");
    assert_eq!(server.http().get("/healthz").status, 200);
}

#[test]
fn more_connections_than_there_may_be_are_told_so() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut held: Vec<Http> = Vec::new();
    let mut told = None;
    for _ in 0..1100 {
        let mut http = server.http();
        http.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let Ok(answer) = http.response(false) else { continue };
        if answer.status == 503 {
            told = Some(answer);
            break;
        }
        held.push(http);
    }
    told.unwrap().refused(503, "too many connections");
    assert_eq!(held.len(), 1024);
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
    held.truncate(1000);
    // Their ends are seen soon.
    loop {
        let mut http = server.http();
        http.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        if http.response(false).is_ok_and(|answer| answer.status == 200) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A large value to one who does not read it holds up nobody else.
#[test]
fn who_does_not_read_holds_up_nobody() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut http = server.http();
    let value = vec![b'x'; 30 << 20];
    assert_eq!(http.put("/keys/large", &value).status, 204);
    let mut deaf: Vec<Http> = (0..4).map(|_| server.http()).collect();
    for http in &mut deaf {
        http.send(b"GET /keys/large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    for _ in 0..20 {
        assert_eq!(http.put("/keys/small", b"1").status, 204);
        assert_eq!(http.get("/keys/small").body, b"1");
    }
    let head = deaf[0].head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(deaf[0].exactly(value.len()).unwrap() == value);
    drop(deaf);
    assert_eq!(http.get("/keys/large").body.len(), value.len());
}

/// A start with recovery: alive at once, ready later, and never a wrong answer between.
#[test]
fn it_says_when_it_is_ready() {
    if is_stand_in() {
        return;
    }
    let port = free_port();
    let options =
        Options { shards: Some(2), sync: Some("no"), http: Some(port), ..Options::default() };
    let mut server = Server::start(&options);
    let mut client = server.client();
    let value = "v".repeat(10_000);
    for number in 0..3_000 {
        assert_eq!(client.command(&["SET", &format!("k{number}"), &value]), Reply::ok());
    }
    server.kill9();
    let mut again = Server::start_unready(server.home(), &options, 1);
    let mut seen = Vec::new();
    loop {
        let Ok(mut http) = Http::connect(port) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        assert_eq!(http.get("/healthz").status, 200);
        let ready = http.get("/readyz");
        let state = ready.json()["status"].as_str().unwrap().to_owned();
        if ready.status == 200 {
            assert_eq!(state, "ready");
            assert_eq!(http.get("/keys/k2999").body, value.as_bytes());
            break;
        }
        assert_eq!((ready.status, state.as_str()), (503, "recovering"));
        let early = http.get("/keys/k1");
        assert!(matches!(early.status, 200 | 503), "{}", early.text());
        seen.push(state);
    }
    assert!(!seen.is_empty(), "it was never seen recovering");
    assert_eq!(again.terminate().code, Some(0));
}

/// What was asked before the end is answered, and the end comes.
#[test]
fn a_server_that_stops_finishes_its_answers() {
    if is_stand_in() {
        return;
    }
    let mut server = server(&[]);
    let mut idle = server.http();
    assert_eq!(idle.get("/healthz").status, 200);
    let mut half = server.http();
    half.send(b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.terminate().code, Some(0));
    assert_eq!(idle.rest(), b"");
}

/// Each deadline has its answer.
#[test]
fn who_is_too_slow_is_told() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut head = server.http();
    head.send(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let mut body = server.http();
    body.send(b"PUT /keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    let mut silent = server.http();
    head.response(false).unwrap().refused(408, "head took longer");
    body.response(false).unwrap().refused(408, "too slowly");
    assert_eq!(silent.rest(), b"");
    assert_eq!((head.rest(), body.rest()), (vec![], vec![]));
    assert_eq!(server.client().say("EXISTS a"), Reply::Integer(0));
}

/// Searches hold up neither each other nor what is quick: beyond so many they are refused at once.
#[test]
fn too_many_searches_are_told_to_come_later() {
    if is_stand_in() {
        return;
    }
    let server = server(&[]);
    let mut client = server.client();
    assert_eq!(client.say("SET a 1"), Reply::ok());
    assert_eq!(client.say("CLIENT PAUSE 60000 ALL"), Reply::ok());
    let mut waiting: Vec<Http> = (0..200).map(|_| server.http()).collect();
    for http in &mut waiting {
        http.send(b"GET /keys/search HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        http.stream().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    }
    let began = Instant::now();
    let mut refused = 0;
    // One more round than is needed: nobody else is refused.
    let mut rounds_left = 2;
    while rounds_left > 0 && began.elapsed() < Duration::from_secs(60) {
        waiting.retain_mut(|http| match http.response(false) {
            Ok(answer) => {
                answer.refused(429, "try again");
                assert_eq!(answer.header("retry-after"), Some("1"));
                refused += 1;
                false
            }
            Err(_) => true,
        });
        if refused >= 72 {
            rounds_left -= 1;
        }
    }
    assert_eq!((waiting.len(), refused), (128, 72));
    assert_eq!(client.say("CLIENT UNPAUSE"), Reply::ok());
    for mut http in waiting {
        http.stream().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(http.response(false).unwrap().status, 200);
    }
}
