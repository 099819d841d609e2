//! Counts and latencies by command: what was sent is what is counted, LATENCY HISTOGRAM has Redis' shape, a reset empties it,
//! and the server's latencies are a part of what the load generator measures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::common::{
    Client, Options, Peer, Reply, Server, encode, is_stand_in, temp_dir, transcript,
};
use crate::load;

/// Calls, rejected and failed ones, from INFO commandstats.
fn counts(client: &mut Client) -> BTreeMap<String, [u64; 3]> {
    let text = client.say("INFO commandstats").text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
    lines
        .map(|line| {
            let (name, fields) = line.split_once(':').unwrap();
            let field = |wanted: &str| -> u64 {
                let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
                fields.find(|(name, _)| *name == wanted).unwrap().1.parse().unwrap()
            };
            (name.to_owned(), ["calls", "rejected_calls", "failed_calls"].map(field))
        })
        .collect()
}

/// Sends all of `lines` at once and reads their replies.
fn pipeline(client: &mut Client, lines: &[String]) -> Vec<Reply> {
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend(encode(&line.split_whitespace().collect::<Vec<_>>()));
    }
    client.send(&bytes).unwrap();
    lines.iter().map(|_| client.reply().unwrap()).collect()
}

/// Commands of each kind over keys of all shards, alone and in one pipeline, with each kind of error. Answers what is to be
/// counted.
fn send_all_kinds(client: &mut Client) -> BTreeMap<String, [u64; 3]> {
    let mut lines = Vec::new();
    for index in 0..50 {
        lines.push(format!("SET k{index} v"));
        lines.push(format!("GET k{index}"));
        lines.push(format!("GET k{index}"));
    }
    for _ in 0..10 {
        lines.push("MSET k1 a k2 b k3 c k4 d k5 e k6 f".into());
        lines.push("MGET k1 k2 k3 k4 k5 k6 never".into());
        lines.push("DEL k1 k2 k3 k4 never".into());
        lines.push("EXISTS k1 k2 k3 k4".into());
        lines.push("PING".into());
    }
    lines.push("DBSIZE".into());
    let good = lines.len();
    // Wrong numbers of arguments: not run. The others are run, and fail.
    for line in [
        "GET",
        "GET a b",
        "CLIENT",
        "CONFIG GET",
        "NOSUCH x",
        "CLIENT NOSUCH",
        "SET a b c",
        "MSET a b c",
        "SELECT 99",
        "PING a b",
    ] {
        lines.push(line.into());
    }
    for reply in &pipeline(client, &lines)[..good] {
        assert!(!reply.is_error(), "{reply:?}");
    }
    for line in &lines {
        assert_eq!(client.say(line).is_error(), !lines[..good].contains(line), "{line}");
    }
    let counted = [
        ("set", [51, 0, 1]),
        ("get", [100, 2, 0]),
        ("mset", [11, 0, 1]),
        ("mget", [10, 0, 0]),
        ("del", [10, 0, 0]),
        ("exists", [10, 0, 0]),
        ("ping", [11, 0, 1]),
        ("dbsize", [1, 0, 0]),
        ("client", [0, 1, 0]),
        ("config|get", [0, 1, 0]),
        ("select", [1, 0, 1]),
    ];
    counted.into_iter().map(|(name, counts)| (name.into(), counts.map(|count| count * 2))).collect()
}

#[test]
fn what_was_sent_is_what_is_counted() {
    for shards in [1, 2] {
        for sync in ["always", "no"] {
            let server = Server::start(&Options {
                shards: Some(shards),
                sync: Some(sync),
                ..Options::default()
            });
            // The second connection is another core's, if there are two.
            let (mut first, mut second) = (server.client(), server.client());
            assert_eq!(first.say("CONFIG RESETSTAT"), Reply::ok());
            let mut wanted = send_all_kinds(&mut first);
            for (name, more) in send_all_kinds(&mut second) {
                let sum = wanted.get_mut(&name).unwrap();
                (0..3).for_each(|index| sum[index] += more[index]);
            }
            wanted.insert("config|resetstat".into(), [1, 0, 0]);
            assert_eq!(counts(&mut first), wanted, "{shards} shards, {sync}");
            if is_stand_in() {
                return;
            }
            let errors = wanted.values().map(|counts| counts[1] + counts[2]).sum::<u64>();
            let unknown = 2 * 2 * 2;
            assert_eq!(first.info("total_error_replies"), (errors + unknown).to_string());
            let Reply::Array(set) = second.say("LATENCY HISTOGRAM set nosuch set") else {
                panic!()
            };
            assert_eq!(set.len(), 2, "{set:?}");
            let Reply::Array(fields) = &set[1] else { panic!("{set:?}") };
            assert_eq!(fields[..2], [Reply::bulk("calls"), Reply::Integer(204)]);
            let text = first.say("STATS").text();
            assert!(text.contains("\n GET Latency: p50 ") && text.contains("\n SET Latency: p50 "));
        }
    }
}

/// A reply of either protocol: how it begins, and what is in it.
#[derive(Debug)]
enum Value {
    Plain(String),
    Many(char, Vec<Value>),
}

/// Reads one reply off `bytes`; a map's keys and values one after the other.
fn read(bytes: &mut &[u8]) -> Value {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    *bytes = &bytes[end + 2..];
    let count = || head[1..].parse::<usize>().unwrap();
    match head.chars().next().unwrap() {
        '$' => {
            let text = String::from_utf8(bytes[..count()].to_vec()).unwrap();
            *bytes = &bytes[count() + 2..];
            Value::Plain(text)
        }
        kind @ ('*' | '%') => {
            let items = if kind == '%' { 2 * count() } else { count() };
            Value::Many(kind, (0..items).map(|_| read(bytes)).collect())
        }
        _ => Value::Plain(head),
    }
}

/// The shape of a reply to LATENCY HISTOGRAM: all but the times, commands by name.
fn shape(reply: &Value) -> String {
    let Value::Many(outer, commands) = reply else { return format!("{reply:?}") };
    let mut lines = Vec::new();
    for pair in commands.chunks(2) {
        let [Value::Plain(name), Value::Many(kind, fields)] = pair else { panic!("{pair:?}") };
        // It stands before what asks: whether its reply has left by then, which is when a call is counted, depends on the packets.
        if name == "hello" {
            continue;
        }
        let [
            Value::Plain(calls),
            Value::Plain(count),
            Value::Plain(histogram),
            Value::Many(inner, powers),
        ] = &fields[..]
        else {
            panic!("{fields:?}")
        };
        let number = |value: &Value| -> u64 {
            let Value::Plain(text) = value else { panic!("{value:?}") };
            text.strip_prefix(':').unwrap().parse().unwrap()
        };
        let powers: Vec<(u64, u64)> =
            powers.chunks(2).map(|power| (number(&power[0]), number(&power[1]))).collect();
        assert!(powers.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{name}: {powers:?}");
        assert_eq!(
            powers.last().map_or(0, |power| power.1),
            number(&fields[1]),
            "{name}: {powers:?}"
        );
        lines.push(format!("{name} {kind} {calls} {count} {histogram} {inner}\n"));
    }
    lines.sort();
    lines.insert(0, format!("{outer}\n"));
    lines.concat()
}

/// The shapes of what `port` answers in one protocol.
fn shapes(port: u16, protocol: u8) -> String {
    let hello = format!("HELLO {protocol}\r\n");
    let begin = "CONFIG RESETSTAT\r\nSET a 1\r\nSET b 1\r\nGET a\r\nMGET a b\r\nCLIENT ID\r\nCLIENT SETNAME x\r\nSET a 1 nosuch\r\nGET\r\n";
    let said = transcript(port, &[hello.as_bytes(), begin.as_bytes(), b"PING\r\n"]).unwrap();
    assert!(said.ends_with(b"+PONG\r\n"), "{}", said.escape_ascii());
    let mut out = String::new();
    for line in [
        "LATENCY HISTOGRAM",
        "LATENCY HISTOGRAM get SET client",
        "LATENCY HISTOGRAM client|id nosuch",
        "LATENCY HISTOGRAM nosuch",
        "LATENCY HISTOGRAM del",
        "LATENCY RESET",
        "LATENCY RESET some event",
        "LATENCY NOSUCH",
        "LATENCY",
        "LATENCY HELP x",
        "LATENCY HISTOGRAM latency",
    ] {
        let said = transcript(port, &[hello.as_bytes(), line.as_bytes(), b"\r\n"]).unwrap();
        let mut rest = &said[..];
        read(&mut rest);
        let reply = read(&mut rest);
        assert!(rest.is_empty(), "{line}: {}", rest.escape_ascii());
        // Ours empties the histograms when it is asked to reset.
        let reply = if line.ends_with(" latency") { String::new() } else { shape(&reply) };
        writeln!(out, "{line}\n{reply}").unwrap();
    }
    out
}

#[test]
fn the_histogram_has_the_shape_of_redis() {
    let Some(redis) = Peer::start() else { return };
    let options = Options { shards: Some(2), ..Options::default() };
    let server = Server::start(&options);
    for protocol in [2, 3] {
        let (wanted, ours) = (shapes(redis.port(), protocol), shapes(server.port(), protocol));
        assert_eq!(ours, wanted);
        assert!(ours.contains("set % calls :3 histogram_usec %\n") == (protocol == 3), "{ours}");
    }
}

#[test]
fn the_sections_on_commands_are_shown_where_redis_shows_them() {
    let Some(redis) = Peer::start() else { return };
    let server = Server::start(&Options::default());
    let titles = |port: u16, line: &str| -> Vec<String> {
        let text = Client::connect(port).unwrap().say(line).text();
        let titles = text.lines().filter_map(|line| line.strip_prefix("# "));
        titles
            .filter(|title| ["Commandstats", "Latencystats"].contains(title))
            .map(str::to_owned)
            .collect()
    };
    for line in [
        "INFO",
        "INFO default",
        "INFO all",
        "INFO everything",
        "INFO commandstats",
        "INFO LatencyStats cpu",
        "INFO cpu commandstats latencystats",
    ] {
        assert_eq!(titles(server.port(), line), titles(redis.port(), line), "{line}");
    }
    let mut client = server.client();
    client.say("GET a");
    let text = client.say("INFO latencystats").text();
    let line = text.lines().find_map(|line| line.strip_prefix("latency_percentiles_usec_get:"));
    let names: Vec<_> =
        line.unwrap().split(',').map(|field| field.split_once('=').unwrap()).collect();
    assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["p50", "p99", "p99.9"]);
    assert!(names.iter().all(|(_, value)| value.split_once('.').unwrap().1.len() == 3), "{text}");
}

#[test]
fn a_reset_empties_the_histograms() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut clients = [server.client(), server.client()];
    let say_some = |clients: &mut [Client; 2]| {
        for client in clients {
            assert_eq!(client.say("SET a 1"), Reply::ok());
            assert_eq!(client.say("GET a"), Reply::bulk("1"));
        }
    };
    let calls = |client: &mut Client| match client.say("LATENCY HISTOGRAM get set") {
        Reply::Array(commands) => commands.len() / 2,
        other => panic!("{other:?}"),
    };
    say_some(&mut clients);
    assert_eq!(calls(&mut clients[0]), 2);
    assert_eq!(clients[0].say("LATENCY RESET command"), Reply::Integer(0));
    assert_eq!(calls(&mut clients[0]), 2, "a series of events is no histogram");
    assert_eq!(clients[0].say("LATENCY RESET"), Reply::Integer(0));
    assert_eq!(calls(&mut clients[1]), 0);
    assert_eq!(counts(&mut clients[0])["set"], [2, 0, 0], "counts go on");
    say_some(&mut clients);
    assert_eq!(clients[1].say("CONFIG RESETSTAT"), Reply::ok());
    assert_eq!(calls(&mut clients[0]), 0);
    assert!(!counts(&mut clients[0]).contains_key("set"));
    assert_eq!(clients[0].say("STATS").text().matches(" Latency: none yet").count(), 2);
}

#[test]
fn the_load_generator_sees_the_same_and_no_less() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let json = home.path().join("run.json");
    for (shards, pace) in [(1, "--clients 10"), (2, "--clients 8 --pipeline 16 --threads 2")] {
        let options =
            Options { shards: Some(shards), sync: Some("everysec"), ..Options::default() };
        let server = Server::start(&options);
        load::succeeds(server.port(), "--workload load --keys 1000 --pipeline 16");
        let mut client = server.client();
        assert_eq!(client.say("CONFIG RESETSTAT"), Reply::ok());
        let line = format!(
            "--workload a --keys 1000 --requests 20000 --warmup 0 {pace} --json {}",
            json.display()
        );
        load::succeeds(server.port(), &line);
        let run = std::fs::read_to_string(&json).unwrap();
        let run: serde_json::Value = serde_json::from_str(&run).unwrap();
        let counted = counts(&mut client);
        let latencies = client.say("INFO latencystats").text();
        for (kind, name) in [("GET", "get"), ("SET", "set")] {
            let mut rows = run["rows"].as_array().unwrap().iter();
            let row = rows.find(|row| row["kind"] == kind).unwrap();
            let sent = row["requests"].as_u64().unwrap();
            assert!(sent > 5_000, "{run}");
            assert_eq!(counted[name], [sent, 0, 0], "{kind}, {line}");
            let prefix = format!("latency_percentiles_usec_{name}:");
            let fields = latencies.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
            for (field, theirs) in [("p50=", "p50_us"), ("p99=", "p99_us"), ("p99.9=", "p999_us")] {
                let ours = fields.split(',').find_map(|text| text.strip_prefix(field)).unwrap();
                let (ours, theirs): (f64, f64) =
                    (ours.parse().unwrap(), row[theirs].as_f64().unwrap());
                // Two digits: a 128th, or the microsecond that is the shortest.
                let allowed = theirs + (theirs / 128.0).max(1.0);
                assert!(
                    ours <= allowed,
                    "{kind} {field}{ours} us, by the load {theirs} us: {line}"
                );
                assert!(ours > 0.0);
            }
        }
    }
}

#[test]
fn latencies_are_not_kept_where_nobody_wants_them() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(1), ..Options::default() });
    let mut client = server.client();
    assert_eq!(client.say("CONFIG SET latency-tracking no"), Reply::ok());
    let has = |client: &mut Client, name: &str| {
        client
            .say("INFO latencystats")
            .text()
            .contains(&format!("latency_percentiles_usec_{name}:"))
    };
    // A core hears of it with its next sweep, and one command may be on its way then.
    for _ in 0..50 {
        client.say("LATENCY RESET");
        client.say("SET a 1");
        if !has(&mut client, "set") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(!has(&mut client, "set"));
    let calls = counts(&mut client)["set"][0];
    client.say("SET a 1");
    assert_eq!(counts(&mut client)["set"][0], calls + 1, "calls are counted all the same");
    assert_eq!(client.say("CONFIG SET latency-tracking yes"), Reply::ok());
    for _ in 0..50 {
        client.say("SET a 1");
        if has(&mut client, "set") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("latencies are not counted again");
}
