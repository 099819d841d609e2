//! What HTTP does: keys in every form, searches, batches, telemetry, events.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::{Http, Options, Reply, Server, free_port, is_stand_in};

fn server(shards: u32) -> Server {
    Server::start(&Options { shards: Some(shards), http: Some(free_port()), ..Options::default() })
}

#[test]
fn any_bytes_are_a_key_and_a_value() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    let (mut http, mut client) = (server.http(), server.client());
    let all: Vec<u8> = (0..=255).collect();
    for (path, key) in [
        ("a", &b"a"[..]),
        ("a%2Fb%3F%23%20%25", b"a/b?# %"),
        ("%00%FF%0D%0A", b"\x00\xff\r\n"),
        ("%2561", b"%61"),
        ("a+b", b"a+b"),
        ("%73earch", b"search"),
        ("", b""),
    ] {
        let path = format!("/keys/{path}");
        assert_eq!(http.put(&path, &all).status, 204, "{path}");
        assert_eq!(client.command(&[b"GET", key]), Reply::bulk(&all), "{path}");
        let got = http.get(&path);
        assert_eq!((got.status, &got.body), (200, &all), "{path}");
        assert_eq!(got.header("content-type"), Some("application/octet-stream"));
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        let head = http.ask("HEAD", &path, "", b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some("256")));
        assert_eq!(http.ask("DELETE", &path, "", b"").status, 204);
        http.ask("DELETE", &path, "", b"").refused(404, "no such key");
        http.get(&path).refused(404, "no such key");
        assert_eq!(http.ask("HEAD", &path, "", b"").status, 404);
    }
    assert_eq!(http.put("/keys/empty", b"").status, 204);
    let head = http.ask("HEAD", "/keys/empty", "", b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("0")));
    assert_eq!(http.get("/keys/empty").body, b"");
}

#[test]
fn json_shows_text_as_text_and_bytes_as_base64() {
    if is_stand_in() {
        return;
    }
    let server = server(1);
    let (mut http, mut client) = (server.http(), server.client());
    let created = http.post("/keys", r#"{"key":"k","value":"<script>ä\u0000","ttl":100}"#);
    assert_eq!((created.status, created.json()), (201, json!({ "key": "k" })));
    assert_eq!(client.say("GET k"), Reply::bulk("<script>ä\0"));
    let ttl = client.say("TTL k");
    assert!(ttl == Reply::Integer(100) || ttl == Reply::Integer(99), "{ttl:?}");
    let got =
        http.ask("GET", "/keys/k", "Accept: text/html, application/json;q=0.9\r\n", b"").json();
    assert_eq!((&got["value"], &got["encoding"]), (&json!("<script>ä\0"), &json!("utf8")));
    assert!(got["ttl_ms"].as_i64().unwrap() > 90_000);
    assert_eq!(http.get("/keys/k?encoding=base64").json()["value"], "PHNjcmlwdD7DpAA=");

    let bytes = r#"{"key":"/w==","key_encoding":"base64","value":"AP8=","encoding":"base64"}"#;
    assert_eq!(http.post("/keys", bytes).status, 201);
    assert_eq!(client.command(&[b"GET", &b"\xff"[..]]), Reply::bulk(b"\x00\xff"));
    let got = http.ask("GET", "/keys/%ff", "Accept: application/json\r\n", b"").json();
    assert_eq!(
        got,
        json!({ "key": "/w==", "key_encoding": "base64", "value": "AP8=", "encoding": "base64", "ttl_ms": null })
    );
    http.get("/keys/%ff?encoding=utf8").refused(400, "UTF-8");
    http.get("/keys/k?encoding=hex").refused(400, "utf8 or base64");
    for (body, word) in [
        ("", "expected"),
        ("{", "EOF"),
        ("[]", "expected"),
        (r#"{"key":"k"}"#, "missing field `value`"),
        (r#"{"key":"k","value":"v","tll":1}"#, "tll"),
        (r#"{"key":"k","value":7}"#, "string"),
        (r#"{"key":"k","value":{"deep":{}}}"#, "string"),
        (r#"{"key":"k","value":"v","ttl":0}"#, "above 0"),
        (r#"{"key":"k","value":"v","ttl":-1}"#, "u64"),
        (r#"{"key":"k","value":"v","ttl":1,"px":1}"#, "not both"),
        (r#"{"key":"k","value":"v","encoding":"hex"}"#, "hex"),
        (r#"{"key":"k","value":"?","encoding":"base64"}"#, "base64"),
        (r#"{"key":"k","value":"v","ttl":9223372036854775807}"#, "invalid expire"),
        ("{\"key\":\"k\",\"value\":\"\u{1}\"}", "control"),
    ] {
        http.post("/keys", body).refused(400, word);
    }
    // Deeper than any reader could go.
    http.post("/keys", &"[".repeat(100_000)).refused(400, "expected");
    assert_eq!(client.say("GET k"), Reply::bulk("<script>ä\0"), "none of these was done");
}

#[test]
fn a_key_s_end_is_set_and_taken_away() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    let (mut http, mut client) = (server.http(), server.client());
    assert_eq!(http.put("/keys/a?ttl=100", b"1").status, 204);
    assert!(client.say("PTTL a") != Reply::Integer(-1));
    assert_eq!(http.put("/keys/a?px=100000", b"2").status, 204);
    assert!(client.say("PTTL a") != Reply::Integer(-1));
    assert_eq!(http.post("/keys/a/ttl", "{}").json(), json!({ "ttl_ms": null }));
    assert_eq!(client.say("TTL a"), Reply::Integer(-1));
    let left = http.post("/keys/a/ttl", r#"{"ttl":50}"#).json()["ttl_ms"].as_i64().unwrap();
    assert!((40_000..=50_000).contains(&left), "{left}");
    http.post("/keys/nosuch/ttl", r#"{"ttl":50}"#).refused(404, "no such key");
    http.put("/keys/a?ttl=0", b"3").refused(400, "ttl must be");
    http.put("/keys/a?ttl=1&px=1", b"3").refused(400, "not both");
    http.put("/keys/a?tll=1", b"3").refused(400, "'tll'");
    assert_eq!(client.say("GET a"), Reply::bulk("2"));
}

#[test]
fn searches_find_all_keys_page_by_page() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    let mut client = server.client();
    for number in 0..350 {
        assert_eq!(client.say(&format!("SET usr:{number} x")), Reply::ok());
        assert_eq!(client.say(&format!("SET other:usr:{number} x")), Reply::ok());
    }
    assert_eq!(client.command(&[&b"SET"[..], b"usr:\xff", b"x"]), Reply::ok());
    assert_eq!(client.say("SET a*b x"), Reply::ok());
    // Not earlier: a connection that asks nothing is closed.
    let mut http = server.http();
    let mut all = |query: &str, limit: usize| {
        let (mut keys, mut pages) = (BTreeSet::new(), 0);
        let mut next = String::new();
        loop {
            let page = http.get(&format!("/keys/search?{query}&limit={limit}{next}")).json();
            let found = page["keys"].as_array().unwrap();
            assert!(found.len() <= limit);
            for key in found {
                assert!(keys.insert(key.to_string()), "{key} twice");
            }
            pages += 1;
            match &page["next"] {
                Value::Null => return (keys, pages),
                cursor => next = format!("&next={}", cursor.as_str().unwrap()),
            }
        }
    };
    let (keys, pages) = all("q=usr:&prefix=true", 100);
    assert_eq!(keys.len(), 351);
    assert!((4..=6).contains(&pages), "{pages} pages");
    assert!(keys.contains(r#"{"base64":"dXNyOv8="}"#), "{keys:?}");
    assert_eq!(all("q=usr:&prefix=false", 1000).0.len(), 701);
    assert_eq!(all("q=*&prefix=false", 7).0.into_iter().collect::<Vec<_>>(), [r#""a*b""#]);
    assert_eq!(all("q=", 1000).0.len(), 702);
    assert_eq!(all("q=nosuch", 10).0.len(), 0);
    for (query, word) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("next=x", "next"),
        ("prefix=maybe", "prefix"),
        ("Q=a", "'Q'"),
    ] {
        http.get(&format!("/keys/search?{query}")).refused(400, word);
    }
    let long = "x".repeat(1100);
    http.get(&format!("/keys/search?q={long}")).refused(400, "longer than 1024");
}

#[test]
fn a_batch_is_answered_one_by_one() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    let mut http = server.http();
    let mut operations = Vec::new();
    for number in 0..20 {
        operations.push(
            json!({ "op": "set", "key": format!("k{number}"), "value": format!("v{number}") }),
        );
        operations.push(json!({ "op": "get", "key": format!("k{number}") }));
    }
    operations.push(
        json!({ "op": "set", "key": "b", "value": "AP8=", "encoding": "base64", "px": 100_000 }),
    );
    operations.push(json!({ "op": "get", "key": "b" }));
    operations.push(json!({ "op": "delete", "key": "k0" }));
    operations.push(json!({ "op": "delete", "key": "k0" }));
    operations.push(json!({ "op": "get", "key": "k0" }));
    operations.push(json!({ "op": "set", "key": "x", "value": "v", "ttl": i64::MAX }));
    let answer = http.post("/batch", &Value::from(operations).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = answer.json()["results"].clone();
    for number in 0..20 {
        assert_eq!(results[2 * number], json!({ "status": 204 }));
        let value = json!({ "status": 200, "value": format!("v{number}"), "encoding": "utf8" });
        assert_eq!(results[2 * number + 1], value);
    }
    assert_eq!(results[41], json!({ "status": 200, "value": "AP8=", "encoding": "base64" }));
    let statuses: Vec<i64> = (42..46).map(|at| results[at]["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [204, 404, 404, 400]);
    assert!(results[45]["error"].as_str().unwrap().contains("expire"), "{}", results[45]);
    // One that cannot be read: nothing of it is done.
    for (more, word) in [
        (json!({ "op": "get" }), "key"),
        (json!({ "op": "steal", "key": "a" }), "steal"),
        (json!({ "op": "get", "key": "a", "value": "v" }), "operation 1: only set"),
        (json!({ "op": "set", "key": "a" }), "operation 1: set needs"),
    ] {
        let batch = json!([{ "op": "set", "key": "never", "value": "1" }, more]);
        http.post("/batch", &batch.to_string()).refused(400, word);
    }
    http.get("/keys/never").refused(404, "no such key");
    let most = |count| Value::from(vec![json!({ "op": "get", "key": "a" }); count]).to_string();
    assert_eq!(http.post("/batch", &most(1000)).json()["results"].as_array().unwrap().len(), 1000);
    server.http().post("/batch", &most(1001)).refused(413, "1000 are taken");
    assert_eq!(http.post("/batch", "[]").json(), json!({ "results": [] }));
}

/// INFO, `/stats_all` and `/metrics` come from one source.
#[test]
fn telemetry_is_the_same_by_every_way() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    let (mut http, mut client) = (server.http(), server.client());
    for number in 0..200 {
        client.say(&format!("SET k{number} v"));
        client.say(&format!("GET k{number}"));
    }
    client.say("FLUSHDB");
    client.say("GET nosuch");
    client.say("INCR k1");
    let stats = http.get("/stats_all").json();
    let metrics = http.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let metrics = metrics.text();
    assert!(metrics.ends_with("# EOF\n"));
    let sum = |name: &str| -> u64 {
        let lines = metrics.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values: Vec<f64> =
            lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(!values.is_empty(), "no {name} in\n{metrics}");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let sum = values.iter().sum::<f64>() as u64;
        sum
    };
    let mut info = |name: &str| -> u64 { client.info(name).parse().unwrap() };
    let level_bytes: u64 =
        stats["lsm"]["level_bytes"].as_array().unwrap().iter().map(|it| it.as_u64().unwrap()).sum();
    assert!(level_bytes > 0);
    assert_eq!(sum("rusty_lsm_level_bytes"), level_bytes);
    for (metric, path, field) in [
        ("rusty_lsm_keyspace_hits_total", "/stats/keyspace_hits", "keyspace_hits"),
        ("rusty_lsm_keyspace_misses_total", "/stats/keyspace_misses", "keyspace_misses"),
        ("rusty_lsm_wal_writes_total", "/lsm/wal_writes", "wal_writes"),
        ("rusty_lsm_wal_operations_total", "/lsm/wal_operations", "wal_operations"),
        ("rusty_lsm_wal_written_bytes_total", "/lsm/wal_written_bytes", "wal_written_bytes"),
        ("rusty_lsm_wal_bytes", "/lsm/wal_bytes", "wal_bytes"),
        (
            "rusty_lsm_compaction_pending_bytes",
            "/lsm/compaction_pending_bytes",
            "compaction_pending_bytes",
        ),
        ("rusty_lsm_block_cache_bytes", "/lsm/cache_bytes", "cache_bytes"),
        ("rusty_lsm_table_memory_bytes", "/lsm/table_memory_bytes", "table_memory_bytes"),
        ("rusty_lsm_error_replies_total", "/stats/error_replies", "total_error_replies"),
        ("rusty_lsm_connected_clients", "/clients/connected", "connected_clients"),
        ("rusty_lsm_memory_budget_bytes", "/memory/max", "maxmemory"),
    ] {
        let value = stats.pointer(path).unwrap().as_u64().unwrap();
        assert_eq!(sum(metric), value, "{metric} and {path}");
        assert_eq!(info(field), value, "{field} and {path}");
    }
    assert_eq!(stats["commands"]["set"]["calls"], 200);
    assert!(metrics.contains("rusty_lsm_commands_total{cmd=\"set\"} 200"), "{metrics}");
    assert!(metrics.contains("rusty_lsm_command_duration_seconds_count{cmd=\"get\"} 201"));
    let all = "rusty_lsm_command_duration_seconds_bucket{le=\"+Inf\",cmd=\"get\"} 201";
    assert!(metrics.contains(all), "{metrics}");
    assert_eq!(stats["shards"].as_array().unwrap().len(), 2);
}

#[test]
fn events_come_each_second_to_a_bounded_number_of_listeners() {
    if is_stand_in() {
        return;
    }
    let mut server = server(2);
    let listen = |server: &Server| -> Http {
        let mut http = server.http();
        http.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        http
    };
    let mut listeners: Vec<Http> = (0..64).map(|_| listen(&server)).collect();
    for http in &mut listeners {
        let head = http.head().unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        for _ in 0..2 {
            let event = http.upto(b"\n\n").unwrap();
            let json = event.split_once("event: report\ndata: ").unwrap().1;
            let json: Value = serde_json::from_str(json.trim()).unwrap();
            assert_eq!(json["shards"].as_array().unwrap().len(), 2);
        }
    }
    server.http().get("/events").refused(429, "64 listen");
    drop(listeners.pop());
    // It is noticed with one of the next events.
    loop {
        let mut http = listen(&server);
        if http.head().unwrap().starts_with("HTTP/1.1 200") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // Whoever listens does not keep the server from its end.
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn slow_commands_are_shown() {
    if is_stand_in() {
        return;
    }
    let server = server(1);
    let (mut http, mut client) = (server.http(), server.client());
    assert_eq!(http.get("/slowlog").json(), json!({ "entries": [] }));
    assert_eq!(client.say("CONFIG SET slowlog-log-slower-than 0"), Reply::ok());
    let mut words = vec![b"MGET".to_vec(), b"<script>".to_vec(), b"\xff\n".to_vec()];
    words.extend((0..80).map(|number| format!("k{number}").into_bytes()));
    client.command(&words);
    let entries = http.get("/slowlog").json()["entries"].clone();
    let command = &entries
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["command"][0] == "MGET")
        .unwrap()["command"];
    assert_eq!((&command[1], &command[2]), (&json!("<script>"), &json!("\\xff\\n")));
}

#[test]
fn what_is_fixed_is_there() {
    if is_stand_in() {
        return;
    }
    let server = server(1);
    let mut http = server.http();
    let page = http.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(http.get("/openapi.json").json()["openapi"], "3.1.0");
    assert_eq!(http.get("/healthz").json(), json!({ "status": "ok" }));
    assert_eq!(http.get("/readyz").json(), json!({ "status": "ready" }));
    http.post("/backup", "{}").refused(400, "missing field `name`");
    for path in ["/nosuch", "/keys/a/b", "/../etc/passwd", "/keys/a/b/ttl", "//", "/%"] {
        http.get(path).refused(404, "no such path");
    }
    for (method, path, allow) in [
        ("POST", "/healthz", "GET, HEAD"),
        ("PATCH", "/keys/a", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", "/keys/a", "GET, HEAD, PUT, DELETE"),
        ("TRACE", "/", "GET, HEAD"),
        ("GET", "/batch", "POST"),
        ("NOSUCH", "/keys", "POST"),
    ] {
        let answer = http.ask(method, path, "", b"");
        answer.refused(405, "takes");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

/// Many requests on one connection without waiting, and many connections: each gets its own answer.
#[test]
fn answers_belong_to_their_requests() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let mut http = server.http();
            scope.spawn(move || {
                for round in 0..20 {
                    let mut bytes = Vec::new();
                    for number in 0..20 {
                        let value = format!("{worker}:{round}:{number}");
                        let length = value.len();
                        bytes.extend_from_slice(
                            format!(
                                "PUT /keys/{worker}:{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{value}\
                                 GET /keys/{worker}:{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                            )
                            .as_bytes(),
                        );
                    }
                    http.send(&bytes).unwrap();
                    for number in 0..20 {
                        assert_eq!(http.response(false).unwrap().status, 204);
                        let got = http.response(false).unwrap().text();
                        assert_eq!(got, format!("{worker}:{round}:{number}"));
                    }
                }
            });
        }
    });
}

/// Alert rules and the Grafana dashboard ask for metrics that there are.
#[test]
fn what_is_deployed_asks_for_what_there_is() {
    if is_stand_in() {
        return;
    }
    let server = server(2);
    let mut http = server.http();
    http.put("/keys/a", b"1");
    // An error and a slow command have no series before there was one.
    server.client().say("NOSUCH");
    let metrics = http.get("/metrics").text();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    let names = |text: &str| -> BTreeSet<String> {
        let after = text.match_indices("rusty_lsm_").map(|(at, _)| &text[at..]);
        after.map(|rest| rest.chars().take_while(|&c| is_name(c)).collect()).collect()
    };
    let there = names(&metrics);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy");
    for file in ["alerts.yaml", "grafana/rusty-lsm.json"] {
        let asked = names(&std::fs::read_to_string(root.join(file)).unwrap());
        assert!(asked.len() > 5, "{file}");
        let lacking: Vec<_> = asked.difference(&there).collect();
        assert!(lacking.is_empty(), "{file} asks for {lacking:?}; there are {there:?}");
    }
}
