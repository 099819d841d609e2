//! Commands that change what they have read, whether it was in memory or on disk, and in one shard or in several.

use std::collections::HashSet;
use std::thread;

use crate::common::{
    Client, Options, Peer, Random, Reply, Server, encode, is_stand_in, skip, transcript,
};

fn started(shards: u32) -> Server {
    Server::start(&Options { shards: Some(shards), memtable: Some("16MB"), ..Options::default() })
}

/// Two keys of different shards, and `{tag}` keys of one.
fn apart(client: &mut Client) -> (String, String) {
    let slot = |key: &str| crc16(key.as_bytes()) & 16_383;
    let first = "a0".to_owned();
    let second = (0..1000)
        .map(|number| format!("b{number}"))
        .find(|key| (slot(key) < 8192) != (slot(&first) < 8192));
    let second = second.unwrap();
    assert_eq!(client.say("PING").text(), "PONG");
    (first, second)
}

/// CRC16 as in Redis Cluster (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// Every increment counts once, although the values lie on disk when it begins and others write them meanwhile.
#[test]
fn no_increment_is_lost_while_values_come_from_disk() {
    const CLIENTS: u64 = 8;
    const KEYS: u64 = 200;
    const ROUNDS: u64 = 6;
    let server = started(2);
    let mut client = server.client();
    let filler = "x".repeat(4000);
    for round in 0..ROUNDS {
        // Every key in tables, and hardly a block of them in the cache.
        if !is_stand_in() {
            for number in 0..2000 {
                client.command(&["SET", &format!("filler:{round}:{number}"), &filler]);
            }
            client.say("FLUSHDB");
        }
        let port = server.port();
        let each = (0..CLIENTS).map(|number| {
            thread::spawn(move || {
                let mut client = Client::connect(port).unwrap();
                let mut random = Random(number + round * 100);
                for _ in 0..KEYS {
                    let key = format!("counter:{}", random.below(KEYS));
                    assert!(!client.command(&["INCR", &key]).is_error());
                    client.command(&["APPEND", &format!("text:{}", random.below(20)), "y"]);
                }
            })
        });
        each.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    }
    let mut total = 0;
    let mut letters = 0;
    for number in 0..KEYS {
        if let Reply::Bulk(count) = client.command(&["GET", &format!("counter:{number}")]) {
            total += String::from_utf8(count).unwrap().parse::<u64>().unwrap();
        }
    }
    for number in 0..20 {
        if let Reply::Integer(length) = client.command(&["STRLEN", &format!("text:{number}")]) {
            letters += length;
        }
    }
    assert_eq!(total, CLIENTS * KEYS * ROUNDS);
    assert_eq!(letters.cast_unsigned(), CLIENTS * KEYS * ROUNDS);
}

/// A transaction in one shard is seen whole by everyone: two keys always have the same value.
#[test]
fn a_transaction_in_one_shard_is_isolated() {
    let server = started(2);
    let port = server.port();
    let writer = thread::spawn(move || {
        let mut client = Client::connect(port).unwrap();
        for number in 0..400 {
            client.say("MULTI");
            client.say(&format!("SET {{t}}a {number}"));
            client.say("STRLEN {t}a");
            client.say(&format!("SET {{t}}b {number}"));
            assert!(matches!(client.say("EXEC"), Reply::Array(replies) if replies.len() == 3));
        }
    });
    let mut client = server.client();
    while !writer.is_finished() {
        let Reply::Array(both) = client.say("MGET {t}a {t}b") else { panic!("an array") };
        assert_eq!(both[0], both[1]);
    }
    writer.join().unwrap();
}

#[test]
fn a_watch_sees_writes_of_other_cores_and_shards() {
    let server = started(2);
    let (mut one, mut other) = (server.client(), server.client());
    let (here, there) = apart(&mut one);
    for key in [&here, &there] {
        for write in [
            "SET {} 1",
            "DEL {}",
            "INCR {}",
            "APPEND {} x",
            "EXPIRE {} 100",
            "MSET {} 2",
            "FLUSHALL",
        ] {
            one.command(&["SET", key, "7"]);
            one.command(&["WATCH", &here, &there]);
            one.say("MULTI");
            one.command(&["SET", "{q}x", "1"]);
            assert!(!other.say(&write.replace("{}", key)).is_error(), "{write}");
            assert_eq!(one.say("EXEC"), Reply::Nil, "{write} {key}");
        }
        // A write before WATCH, one's own before MULTI, and one after UNWATCH.
        other.command(&["SET", key, "1"]);
        one.command(&["WATCH", key]);
        one.say("MULTI");
        one.command(&["GET", key]);
        assert_eq!(one.say("EXEC"), Reply::Array(vec![Reply::bulk("1")]));
        one.command(&["WATCH", key]);
        one.say("UNWATCH");
        other.command(&["SET", key, "2"]);
        one.say("MULTI");
        one.command(&["GET", key]);
        assert_eq!(one.say("EXEC"), Reply::Array(vec![Reply::bulk("2")]));
    }
}

/// Optimistic locking by many clients: no update is lost.
#[test]
fn watched_increments_add_up() {
    let server = started(2);
    let port = server.port();
    let each = (0..4).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(port).unwrap();
            let mut done = 0;
            while done < 50 {
                client.say("WATCH n");
                let now = match client.say("GET n") {
                    Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap().parse::<u64>().unwrap(),
                    _ => 0,
                };
                client.say("MULTI");
                client.say(&format!("SET n {}", now + 1));
                done += u64::from(client.say("EXEC") != Reply::Nil);
            }
        })
    });
    each.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(server.client().say("GET n"), Reply::bulk("200"));
}

#[test]
fn a_transaction_over_several_shards_runs_in_order() {
    let server = started(4);
    let mut client = server.client();
    let mut words = vec!["MULTI".to_owned()];
    for number in 0..50 {
        words.push(format!("SET k{number} {number}"));
        words.push(format!("INCR k{number}"));
    }
    words.push("DBSIZE".to_owned());
    words.push("NOTHING".to_owned());
    for line in &words[..words.len() - 1] {
        let reply = client.say(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    let Reply::Array(replies) = client.say("EXEC") else { panic!("an array") };
    assert_eq!(replies.len(), 101);
    for number in 0..50_usize {
        assert_eq!(replies[2 * number], Reply::ok());
        assert_eq!(replies[2 * number + 1], Reply::Integer(i64::try_from(number + 1).unwrap()));
    }
    assert_eq!(replies[100], Reply::Integer(50));
    client.say("MULTI");
    assert!(client.say("NOTHING").is_error());
    assert!(client.say("EXEC").text().contains("EXECABORT"));
    assert_eq!(client.say("PING").text(), "PONG");
}

#[test]
fn commands_over_keys_of_two_shards() {
    let server = started(2);
    let mut client = server.client();
    let (a, b) = apart(&mut client);
    client.command(&["SET", &a, "value", "PX", "1000000"]);
    assert_eq!(client.command(&["RENAME", &a, &b]), Reply::ok());
    assert_eq!(
        client.command(&["MGET", &a, &b]),
        Reply::Array(vec![Reply::Nil, Reply::bulk("value")])
    );
    assert!(matches!(client.command(&["PTTL", &b]), Reply::Integer(ms) if ms > 900_000));
    assert_eq!(client.command(&["COPY", &b, &a]), Reply::Integer(1));
    assert_eq!(client.command(&["COPY", &b, &a]), Reply::Integer(0));
    assert_eq!(client.command(&["RENAMENX", &b, &a]), Reply::Integer(0));
    assert_eq!(client.command(&["MSETNX", &a, "1", &b, "2"]), Reply::Integer(0));
    assert_eq!(client.command(&["DEL", &a, &b]), Reply::Integer(2));
    assert_eq!(client.command(&["MSETNX", &a, "\u{f}", &b, "\u{3}"]), Reply::Integer(1));
    assert_eq!(client.command(&["BITOP", "AND", &b, &a, &b]), Reply::Integer(1));
    assert_eq!(client.command(&["GET", &b]), Reply::bulk("\u{3}"));
    assert_eq!(client.command(&["LCS", &a, &b, "LEN"]), Reply::Integer(0));
    assert!(client.command(&["RENAME", "never", &b]).text().contains("no such key"));
    // In one pipeline: what follows sees what was done.
    client.command(&["SET", &a, "first"]);
    let piped = [
        &["RENAME", &a, &b][..],
        &["GET", &b],
        &["SET", &a, "second"],
        &["RENAME", &b, &a],
        &["GET", &a],
        &["EXISTS", &a, &b],
    ];
    let bytes: Vec<u8> = piped.iter().flat_map(|words| encode(words)).collect();
    client.send(&bytes).unwrap();
    let replies: Vec<Reply> = piped.iter().map(|_| client.reply().unwrap()).collect();
    let wanted = vec![
        Reply::ok(),
        Reply::bulk("first"),
        Reply::ok(),
        Reply::ok(),
        Reply::bulk("first"),
        Reply::Integer(1),
    ];
    assert_eq!(replies, wanted);
}

/// Each key that stays is returned, whatever is written, flushed and compacted meanwhile.
#[test]
fn scan_returns_what_stays() {
    let server = started(3);
    let mut client = server.client();
    let keys: HashSet<String> = (0..3000).map(|number| format!("stays:{number}")).collect();
    for key in &keys {
        client.command(&["SET", key, "v"]);
    }
    let port = server.port();
    let writer = thread::spawn(move || {
        let mut client = Client::connect(port).unwrap();
        for number in 0..4000 {
            client.command(&["SET", &format!("comes:{number}"), "v"]);
            client.command(&["DEL", &format!("comes:{}", number / 2)]);
            if number % 1000 == 0 && !is_stand_in() {
                client.say("FLUSHDB");
            }
        }
    });
    for pattern in ["*", "stays:*", "?tays:*"] {
        let mut seen = HashSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let Reply::Array(page) =
                client.command(&["SCAN", &cursor, "MATCH", pattern, "COUNT", "37"])
            else {
                panic!("an array")
            };
            let (Reply::Bulk(next), Reply::Array(found)) = (&page[0], &page[1]) else {
                panic!("cursor and keys")
            };
            seen.extend(found.iter().filter_map(|key| match key {
                Reply::Bulk(key) => String::from_utf8(key.clone()).ok(),
                _ => None,
            }));
            cursor = String::from_utf8(next.clone()).unwrap();
            assert!(cursor.parse::<u64>().unwrap() < 1 << 53);
            if cursor == "0" {
                break;
            }
        }
        assert!(keys.is_subset(&seen), "{pattern}: {} missing", keys.difference(&seen).count());
    }
    writer.join().unwrap();
    if is_stand_in() {
        return skip("cursors are its own");
    }
    for (line, wanted) in [
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN 255", "ERR invalid cursor"),
        ("SCAN 99999999999", "ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer"),
        ("SCAN 0 MATCH", "ERR syntax error"),
    ] {
        assert!(client.say(line).text().contains(wanted), "{line}");
    }
    let Reply::Array(all) = client.say("KEYS stays:*") else { panic!("an array") };
    assert_eq!(all.len(), keys.len());
    let mut random = HashSet::new();
    for _ in 0..30 {
        random.insert(client.say("RANDOMKEY").text());
    }
    assert!(random.len() > 3, "{random:?}");
}

/// `atomic-transactions yes`: what would not be atomic is refused as a whole, and what is in one shard is not.
#[test]
fn transactions_over_several_shards_can_be_refused() {
    let server = started(2);
    let mut client = server.client();
    if is_stand_in() {
        return skip("every transaction of Redis is atomic");
    }
    assert_eq!(client.say("CONFIG SET atomic-transactions yes"), Reply::ok());
    let mut exec = |commands: &[&str]| {
        client.say("MULTI");
        for command in commands {
            assert_eq!(client.say(command), Reply::Simple("QUEUED".into()));
        }
        client.say("EXEC")
    };
    let spread: Vec<String> = (0..20).map(|number| format!("SET spread:{number} v")).collect();
    let spread: Vec<&str> = spread.iter().map(String::as_str).collect();
    for refused in [&spread[..], &["SET {t}1 v", "DBSIZE"]] {
        let reply = exec(refused);
        assert!(reply.text().starts_with("EXECABORT"), "{reply:?}");
        assert!(reply.text().contains("atomic-transactions"), "{reply:?}");
    }
    let done = exec(&["SET {t}2 v", "PING", "GET {t}2"]);
    assert_eq!(
        done,
        Reply::Array(vec![Reply::ok(), Reply::Simple("PONG".into()), Reply::bulk("v")])
    );
    assert_eq!(client.say("KEYS *"), Reply::Array(vec![Reply::bulk("{t}2")]), "nothing was run");
    assert_eq!(client.say("CONFIG SET atomic-transactions no"), Reply::ok());
    client.say("MULTI");
    client.say("SET {t}1 v");
    client.say("DBSIZE");
    assert_eq!(client.say("EXEC"), Reply::Array(vec![Reply::ok(), Reply::Integer(2)]));
}

/// Byte for byte what redis-server says: what leaves a value as it is tells nobody who watches the key.
#[test]
fn what_changes_no_bit_is_no_write() {
    let Some(peer) = Peer::start() else { return };
    let server = started(1);
    for write in [
        "SETBIT a 0 0",
        "SETBIT a 0 1",
        "SETBIT a 30 0",
        "SETBIT absent 0 0",
        "BITFIELD a set u8 0 97",
        "BITFIELD a set u8 0 98",
        "BITFIELD a incrby u8 0 0",
        "BITFIELD a set u8 0 97 get u8 8",
        "BITFIELD absent set u8 0 0",
        "SETRANGE a 0 abc",
        "EXPIRE a 100 \u{e9}",
        "EXPIREAT a 100 GT \u{e9}",
        "HELLO 2 \u{e9}",
    ] {
        let lines = ["DEL absent", "SET a abc", "WATCH a absent", write, "MULTI", "GET a", "EXEC"];
        let pieces = lines.map(|line| encode(&line.split(' ').collect::<Vec<_>>()));
        let pieces = pieces.each_ref().map(Vec::as_slice);
        let [ours, theirs] = [server.port(), peer.port()]
            .map(|port| String::from_utf8(transcript(port, &pieces).unwrap()).unwrap());
        assert_eq!(ours, theirs, "{write}");
    }
}
