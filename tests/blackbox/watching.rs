//! SLOWLOG, MONITOR and LATENCY: what operators watch, on all cores at once.

use std::time::Duration;

use crate::common::{Client, Options, Peer, Reply, Server, encode, transcript};

fn started() -> Server {
    Server::start(&Options { shards: Some(4), memtable: Some("16MB"), ..Options::default() })
}

fn array(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(items) => items,
        other => panic!("{other:?}"),
    }
}

/// Every command is slow from nothing on: those of all cores are there, the newest first, cut and without secrets.
#[test]
fn slow_commands_of_all_cores_are_kept() {
    let server = started();
    let mut operator = server.client();
    assert_eq!(operator.say("SLOWLOG LEN"), Reply::Integer(0));
    operator.say("CONFIG SET slowlog-log-slower-than 0");
    operator.say("SLOWLOG RESET");
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.say(&format!("CLIENT SETNAME client-{index}"));
        client.command(&["SET", &format!("key:{index}"), &"v".repeat(200)]);
        client.say("HELLO 2 AUTH default secret");
    }
    let mut pipeline = encode(&["MGET"; 60]);
    pipeline.extend(encode(&["GET", "key:1"]));
    clients[2].send(&pipeline).unwrap();
    clients[2].reply().unwrap();
    clients[2].reply().unwrap();
    operator.say("CONFIG SET slowlog-log-slower-than -1");
    let entries = array(operator.say("SLOWLOG GET -1"));
    let entries: Vec<Vec<Reply>> = entries.into_iter().map(array).collect();
    let number = |reply: &Reply| match reply {
        Reply::Integer(number) => *number,
        other => panic!("{other:?}"),
    };
    assert!(entries.iter().map(|entry| number(&entry[0])).rev().is_sorted());
    let words = |entry: &Vec<Reply>| -> Vec<String> {
        array(entry[3].clone()).iter().map(Reply::text).collect()
    };
    for (index, client) in clients.iter().enumerate() {
        let key = format!("key:{index}");
        let set = entries.iter().find(|it| words(it)[0] == "SET" && words(it)[1] == key);
        let set = set.unwrap_or_else(|| panic!("no SET {key} in {entries:?}"));
        assert_eq!(words(set)[2], format!("{}... (72 more bytes)", "v".repeat(128)));
        assert_eq!(set[5].text(), format!("client-{index}"));
        assert_eq!(set[4].text(), client.stream().local_addr().unwrap().to_string());
        assert!(number(&set[1]) > 1_700_000_000 && number(&set[2]) >= 0);
    }
    let mget = entries.iter().find(|entry| words(entry)[0] == "MGET").unwrap();
    assert_eq!((words(mget).len(), &*words(mget)[31]), (32, "... (29 more arguments)"));
    let hello = entries.iter().find(|entry| words(entry)[0] == "HELLO").unwrap();
    assert_eq!(words(hello)[2..], ["AUTH", "(redacted)", "(redacted)"]);
    let kept = i64::try_from(entries.len()).unwrap();
    assert_eq!(operator.say("SLOWLOG LEN"), Reply::Integer(kept));
    assert_eq!(array(operator.say("SLOWLOG GET 3")).len(), 3);
    operator.say("CONFIG SET slowlog-max-len 5");
    assert_eq!(operator.say("SLOWLOG LEN"), Reply::Integer(5));
    assert_eq!(operator.say("SLOWLOG RESET"), Reply::ok());
    assert_eq!(operator.say("SLOWLOG LEN"), Reply::Integer(0));
}

/// A monitor sees the commands of all cores, each client's in its order, and none of an operator's.
#[test]
fn a_monitor_sees_the_commands_of_all_cores() {
    let server = started();
    let mut monitors = [server.client(), server.client()];
    for monitor in &mut monitors {
        assert_eq!(monitor.say("MONITOR"), Reply::ok());
    }
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.say(&format!("CLIENT SETNAME hidden-{index}"));
        client.command(&["SET", "k\n\"", &index.to_string()]);
        client.say("CONFIG GET save");
        client.say("HELLO 2 AUTH default secret");
        client.say("nosuch command");
        client.send(&[encode(&["GET", "a"]), encode(&["MGET", "a", "b", "c"])].concat()).unwrap();
        client.reply().unwrap();
        client.reply().unwrap();
    }
    for monitor in &mut monitors {
        let mut lines = Vec::new();
        while lines.len() < clients.len() * 5 {
            lines.push(monitor.reply().unwrap().text());
        }
        for (index, client) in clients.iter().enumerate() {
            let peer = client.stream().local_addr().unwrap();
            let of_client = |line: &&String| line.contains(&format!(" [0 {peer}] "));
            let said: Vec<&str> = lines
                .iter()
                .filter(of_client)
                .map(|line| line.split_once("] ").unwrap().1)
                .collect();
            let name = format!("\"CLIENT\" \"SETNAME\" \"hidden-{index}\"");
            let set = format!("\"SET\" \"k\\n\\\"\" \"{index}\"");
            assert_eq!(
                said,
                [
                    name.as_str(),
                    set.as_str(),
                    "\"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\"",
                    "\"GET\" \"a\"",
                    "\"MGET\" \"a\" \"b\" \"c\"",
                ]
            );
        }
    }
    // One that is reset is like any other again.
    let [mut reset, mut other] = monitors;
    assert_eq!(reset.say("RESET").text(), "RESET");
    assert_eq!(reset.say("GET k"), Reply::Nil);
    assert!(other.reply().unwrap().text().ends_with("\"RESET\""));
    assert!(other.reply().unwrap().text().ends_with("\"GET\" \"k\""));
    assert_eq!(reset.say("PING").text(), "PONG");
    drop(other);
}

/// A monitor that does not read is closed, and others are not held up by it.
#[test]
fn a_monitor_that_does_not_read_is_closed() {
    let server = started();
    let mut monitor = server.client();
    monitor.say("MONITOR");
    let mut client = server.client();
    let text = "x".repeat(60_000);
    for _ in 0..20 {
        let mut pipeline = Vec::new();
        (0..50).for_each(|_| pipeline.extend(encode(&["ECHO", &text])));
        client.send(&pipeline).unwrap();
        (0..50).for_each(|_| assert_eq!(client.reply().unwrap(), Reply::bulk(&text)));
    }
    assert!(monitor.rest().unwrap().len() < 60_000 * 1_000);
    let told = server.stderr().matches("it does not read what it listens to").count();
    assert_eq!(told, 1, "{}", server.stderr());
}

#[test]
fn what_was_slow_is_told_as_series() {
    let server =
        Server::start(&Options { shards: Some(2), sync: Some("always"), ..Options::default() });
    let mut client = server.client();
    assert_eq!(client.say("LATENCY LATEST"), Reply::Array(vec![]));
    assert!(client.say("LATENCY DOCTOR").text().starts_with("Nothing is watched"));
    client.say("CONFIG SET latency-monitor-threshold 1");
    // Large values: copied, and synced, for longer than a millisecond.
    let value = vec![b'x'; 8 << 20];
    let mut seen = Vec::new();
    for index in 0..20 {
        client.command(&[b"SET", format!("key:{index}").as_bytes(), value.as_slice()]);
        let latest = array(client.say("LATENCY LATEST"));
        seen = latest.into_iter().map(|event| array(event)[0].text()).collect::<Vec<_>>();
        if seen.iter().any(|name| name == "command") && seen.iter().any(|name| name == "wal-sync") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(seen.iter().any(|name| name == "wal-sync"), "{seen:?}");
    let history = array(client.say("LATENCY HISTORY wal-sync"));
    assert!(!history.is_empty() && history.len() < 160);
    assert!(client.say("LATENCY GRAPH wal-sync").text().starts_with("wal-sync - high "));
    assert!(client.say("LATENCY DOCTOR").text().contains("wal-sync: in "));
    assert_eq!(client.say("LATENCY RESET nosuch"), Reply::Integer(0));
    client.say("CONFIG SET latency-monitor-threshold 0");
    let Reply::Integer(reset) = client.say("LATENCY RESET") else { panic!("a number") };
    assert_eq!(usize::try_from(reset).unwrap(), seen.len());
    assert_eq!(client.say("LATENCY LATEST"), Reply::Array(vec![]));
}

/// Byte for byte what redis-server says.
#[test]
fn watching_is_answered_as_by_redis() {
    let Some(peer) = Peer::start() else { return };
    let server = started();
    for lines in [
        "SLOWLOG GET x|SLOWLOG GET -2|SLOWLOG GET -1|SLOWLOG GET 3 4|SLOWLOG LEN|SLOWLOG LEN x|SLOWLOG RESET|SLOWLOG foo",
        "SLOWLOG|SLOWLOG GET|SLOWLOG GET 0",
        "LATENCY LATEST|LATENCY LATEST x|LATENCY HISTORY foo|LATENCY HISTORY|LATENCY RESET|LATENCY RESET foo bar",
        "LATENCY GRAPH foo|LATENCY GRAPH|LATENCY foo|LATENCY DOCTOR x",
        "MONITOR x|MONITOR|GET a|RESET|GET a|PING",
        "MONITOR|QUIT|PING",
    ] {
        let pieces: Vec<Vec<u8>> =
            lines.split('|').map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let [ours, theirs] = [server.port(), peer.port()]
            .map(|port| String::from_utf8(transcript(port, &pieces).unwrap()).unwrap());
        assert_eq!(ours, theirs, "{lines}");
    }
}
