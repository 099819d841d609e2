//! The answer must not depend on how the bytes arrived, and nobody's pace may hurt another.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::common::{
    Client, Options, Random, Reply, Server, encode, is_stand_in, skip, transcript,
};

/// Long enough that two writes arrive as two reads, short enough to do it at every byte.
const GAP: Duration = Duration::from_micros(300);

/// A pipeline with everything that a parser has to stop in: counts of several digits, empty and binary arguments, inline
/// requests, empty lines, keys of several shards.
fn pipeline() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(encode(&["SET", "split:1", "one"]));
    bytes.extend(b"\r\nPING\r\n*0\r\n");
    bytes.extend(encode(&[
        "MSET",
        "split:2",
        "two\r\n$3\r\n",
        "split:3",
        "",
        "split:4",
        "4444444444444",
    ]));
    bytes.extend(b"GET split:1\r\n");
    bytes.extend(encode(&["MGET", "split:4", "never", "split:3", "split:2", "split:1"]));
    bytes.extend(encode(&["DEL", "split:1", "split:2"]));
    bytes.extend(encode(&["EXISTS", "split:1", "split:2", "split:3"]));
    bytes.extend(encode(&["NOSUCH", "x"]));
    bytes
}

#[test]
fn a_pipeline_cut_at_every_byte_answers_alike() {
    let server = Server::start(&Options::default());
    let whole = pipeline();
    let expected = transcript(server.port(), &[&whole]).unwrap();
    assert!(expected.starts_with(b"+OK\r\n+PONG\r\n+OK\r\n$3\r\none\r\n*5\r\n"), "{expected:?}");
    for cut in 1..whole.len() {
        let mut client = server.client();
        client.send(&whole[..cut]).unwrap();
        thread::sleep(GAP);
        client.send(&whole[cut..]).unwrap();
        client.finish();
        assert_eq!(client.rest().unwrap(), expected, "cut before byte {cut}");
    }
}

#[test]
fn a_pipeline_sent_byte_by_byte_answers_alike() {
    let server = Server::start(&Options::default());
    let whole = pipeline();
    let expected = transcript(server.port(), &[&whole]).unwrap();
    let mut client = server.client();
    for byte in &whole {
        client.send(&[*byte]).unwrap();
        thread::sleep(GAP);
    }
    client.finish();
    assert_eq!(client.rest().unwrap(), expected);
}

#[test]
fn a_pipeline_cut_at_random_answers_alike() {
    let server = Server::start(&Options::default());
    let mut random = Random(7);
    let value = random.bytes(100_000);
    let mut whole = Vec::new();
    for index in 0..40 {
        let len = usize::try_from(random.below(20_000)).unwrap();
        let key = format!("random:{}", index % 13);
        whole.extend(encode(&[b"SET".as_slice(), key.as_bytes(), &value[..len]]));
        whole.extend(encode(&["GET", &key]));
    }
    let expected = transcript(server.port(), &[&whole]).unwrap();
    for _ in 0..10 {
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = whole.as_slice();
        while !rest.is_empty() {
            let len = (1 + usize::try_from(random.below(30_000)).unwrap()).min(rest.len());
            let (piece, after) = rest.split_at(len);
            pieces.push(piece);
            rest = after;
        }
        assert!(
            transcript(server.port(), &pieces).unwrap() == expected,
            "replies depend on the cuts"
        );
    }
}

/// Writes on one thread, reads on another: a client that pipelines without end must never be stuck.
#[test]
fn a_deep_pipeline_comes_back_whole_and_in_order() {
    const DEPTH: usize = 100_000;
    let server = Server::start(&Options { sync: Some("everysec"), ..Options::default() });
    let mut reader = server.client();
    let mut writer = reader.stream().try_clone().unwrap();
    let sender = thread::spawn(move || {
        for index in 0..DEPTH {
            let key = format!("deep:{}", index % 1_000);
            let value = index.to_string();
            let mut bytes = encode(&["SET", &key, &value]);
            bytes.extend(encode(&["GET", &key]));
            writer.write_all(&bytes).unwrap();
        }
    });
    for index in 0..DEPTH {
        assert_eq!(reader.reply().unwrap(), Reply::ok(), "SET {index}");
        assert_eq!(reader.reply().unwrap(), Reply::bulk(index.to_string()), "GET {index}");
    }
    sender.join().unwrap();
}

#[test]
fn half_a_request_and_a_close_leave_nothing_behind() {
    let server = Server::start(&Options::default());
    let whole = encode(&["SET", "half", "a value"]);
    for cut in 1..whole.len() {
        let mut client = server.client();
        client.send(&whole[..cut]).unwrap();
        client.finish();
        assert_eq!(client.rest().unwrap(), b"", "cut before byte {cut}");
    }
    // And without a word: the socket is dropped with the request half sent, and once with replies unread.
    for _ in 0..50 {
        server.client().send(&whole[..whole.len() - 2]).unwrap();
        server.client().send(&encode(&["GET", "half"]).repeat(50)).unwrap();
    }
    let mut client = server.client();
    assert_eq!(client.say("GET half"), Reply::Nil);
    assert_eq!(client.say("PING"), Reply::Simple("PONG".into()));
}

/// hardening, section 2: reading stops at 1 MiB of replies pending, and at 256 MiB or after 60 s the connection is closed.
/// The server's memory stays bounded and the others are served meanwhile.
#[test]
fn a_slow_reader_costs_little_and_hurts_nobody() {
    slow_reader(false);
}

#[test]
fn a_slow_reader_of_tables_costs_little_and_hurts_nobody() {
    slow_reader(true);
}

/// Sends small requests as fast as it can and reads nothing: neither requests nor replies pile up in the server.
#[test]
fn a_flood_of_small_requests_costs_little() {
    let server = Server::start(&Options::default());
    let mut other = server.client();
    assert_eq!(other.command(&["SET", "small:0", &"v".repeat(100)]), Reply::ok());
    let before = resident_bytes(server.pid());
    let flood = server.client();
    flood.stream().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let asks: Vec<u8> =
        (0..1_000).flat_map(|index| encode(&["GET", &format!("small:{}", index % 4)])).collect();
    let mut sent = 0;
    while sent < 1_000_000_000 && flood.stream().write_all(&asks).is_ok() {
        sent += asks.len();
    }
    if is_stand_in() {
        return;
    }
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB more after {sent} bytes of requests", grown >> 20);
    assert_eq!(other.say("PING"), Reply::Simple("PONG".into()));
}

fn slow_reader(from_tables: bool) {
    const VALUE: usize = 1 << 20;
    let server = Server::start(&Options::default());
    let mut other = server.client();
    let value = Random(3).bytes(VALUE);
    // Of either core, whichever the connection belongs to.
    for key in ["large:0", "large:1", "large:2", "large:3"] {
        assert_eq!(other.command(&[b"SET".as_slice(), key.as_bytes(), &value]), Reply::ok());
    }
    if from_tables {
        assert_eq!(other.say("FLUSHDB"), Reply::ok());
    }
    let before = resident_bytes(server.pid());

    // Asks for 4 GiB and reads nothing. The server stops reading, so the sender gets stuck: it gives up by its time limit.
    let slow = server.client();
    slow.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let asks: Vec<u8> =
        (0..4_096).flat_map(|index| encode(&["GET", &format!("large:{}", index % 4)])).collect();
    let mut sender = slow.stream().try_clone().unwrap();
    let refused = sender.write_all(&asks).err();

    // Each of these has the client's own time limit: nobody is starved.
    for _ in 0..200 {
        assert_eq!(other.say("PING"), Reply::Simple("PONG".into()));
    }
    if is_stand_in() {
        return;
    }
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "{} MiB more memory for a reader that does not read ({refused:?})",
        grown >> 20
    );
    // It still gets what it asked for, in order and whole.
    let mut got = vec![0; b"$1048576\r\n".len() + VALUE + 2];
    let mut reader = slow.stream();
    for index in 0..200 {
        reader.read_exact(&mut got).unwrap();
        assert!(got.starts_with(b"$1048576\r\n"), "reply {index}");
        assert!(got[10..10 + VALUE] == value, "a slow reader gets other bytes at {index}");
    }
}

#[test]
fn many_declared_lengths_cost_no_memory() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
    let before = resident_bytes(server.pid());
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..400 {
        let Ok(mut client) = Client::connect(server.port()) else {
            skip("too few descriptors for 400 connections");
            return;
        };
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\nx").unwrap();
        clients.push(client);
    }
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
    let grown = resident_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB for 400 declared values of 64 MiB", grown >> 20);
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
