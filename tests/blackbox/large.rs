//! The largest key and value, and one byte more.

use crate::common::{Options, Random, Reply, Server, encode, is_stand_in};

const VALUE_MAX: usize = 64 << 20;
const KEY_MAX: usize = 64 << 10;

/// So much memory that the longest value is not limited by it, on any machine.
fn options() -> Options {
    Options { memory: Some("2GB"), ..Options::default() }
}

#[test]
fn a_64_mib_value_is_kept_through_flush_and_kill_9() {
    let mut server = Server::start(&options());
    let value = Random(1).bytes(VALUE_MAX);
    let mut client = server.client();
    assert_eq!(client.command(&[b"SET".as_slice(), b"large", &value]), Reply::ok());
    assert_eq!(client.command(&["SET", "small", "beside it"]), Reply::ok());
    assert!(client.say("GET large") == Reply::bulk(&value), "other bytes came back");
    server.crash_and_restart();
    let mut client = server.client();
    assert!(client.say("GET large") == Reply::bulk(&value), "other bytes after kill -9");
    if !is_stand_in() {
        assert_eq!(client.say("FLUSHDB"), Reply::ok());
        assert!(client.say("GET large") == Reply::bulk(&value), "other bytes from its table");
        server.restart();
        let mut client = server.client();
        assert!(client.say("GET large") == Reply::bulk(&value), "other bytes after a restart");
    }
    assert_eq!(server.client().say("GET small"), Reply::bulk("beside it"));
}

#[test]
fn a_value_one_byte_too_long_is_refused_before_it_is_sent() {
    let server = Server::start(&options());
    let mut client = server.client();
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", VALUE_MAX + 1);
    client.send(head.as_bytes()).unwrap();
    let said = String::from_utf8(client.rest().unwrap()).unwrap();
    assert_eq!(said, "-ERR Protocol error: invalid bulk length\r\n");
    assert_eq!(server.client().say("GET k"), Reply::Nil);
}

#[test]
fn a_64_kib_key_works_and_one_byte_more_is_refused() {
    let mut server = Server::start(&options());
    let mut client = server.client();
    let key = "k".repeat(KEY_MAX);
    let long = "k".repeat(KEY_MAX + 1);
    assert_eq!(client.command(&["SET", &key, "at the limit"]), Reply::ok());
    if !is_stand_in() {
        for refused in [
            client.command(&["SET", &long, "above it"]),
            client.command(&["GET", &long]),
            client.command(&["DEL", &long]),
            client.command(&["MSET", "other", "1", &long, "2"]),
        ] {
            assert!(refused.is_error(), "{refused:?}");
            let text = refused.text();
            assert!(text.starts_with("ERR "), "{text}");
            assert!(text.contains("65536") || text.contains("64 KiB"), "names the limit: {text}");
            assert!(text.len() < 512, "shows little of the key: {text}");
        }
        assert_eq!(client.say("GET other"), Reply::Nil);
    }
    // The connection goes on, and the key is there after a crash.
    assert_eq!(client.command(&["GET", &key]), Reply::bulk("at the limit"));
    server.crash_and_restart();
    assert_eq!(server.client().command(&["GET", &key]), Reply::bulk("at the limit"));
}

/// A large value arrives in many reads: others are requests between them.
#[test]
fn large_values_beside_small_requests() {
    let server = Server::start(&Options { sync: Some("everysec"), ..options() });
    let value = Random(2).bytes(8 << 20);
    let port = server.port();
    let writer = std::thread::spawn(move || {
        let mut client = crate::common::Client::connect(port).unwrap();
        for index in 0..8 {
            let key = format!("large:{}", index % 4);
            client.send(&encode(&[b"SET".as_slice(), key.as_bytes(), &value])).unwrap();
            assert_eq!(client.reply().unwrap(), Reply::ok());
            assert!(client.command(&["GET", &key]) == Reply::bulk(&value), "{key}");
        }
    });
    let mut client = server.client();
    let mut requests = 0;
    while !writer.is_finished() {
        let key = format!("small:{}", requests % 100);
        assert_eq!(client.command(&["SET", &key, "1"]), Reply::ok());
        assert_eq!(client.command(&["GET", &key]), Reply::bulk("1"));
        requests += 1;
    }
    writer.join().unwrap();
    assert!(requests > 0);
}
