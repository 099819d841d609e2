//! What clients make the server hold is bounded for all of them together, and those who are in the others' way go.

use std::io::Write as _;
use std::time::Duration;

use crate::common::{Client, Options, Random, Reply, Server, encode};

/// Those who are in the way go one after the other, each after [`rusty_lsm::limits::HOLD_STALL_MAX`].
const CLIENTS_IN_THE_WAY: usize = 5;
const CLIENTS: usize = 30;
/// More than one of them is too much for either direction; longer than what is taken by default with so little memory.
const VALUE_BYTES: usize = 8 << 20;
/// The eighth of the memory that is for connections; one request in each direction may go beyond it, twice while it moves
/// between cores or from the disk to a reply; and what lies below the size from which is counted.
const HELD_BYTES_MAX: u64 = (16 << 20) + 4 * (9 << 20);

fn server() -> Server {
    Server::start(&Options {
        memory: Some("128MB"),
        sync: Some("no"),
        more: &["--set", "proto_max_bulk_len=8MB"],
        ..Options::default()
    })
}

/// Sends what the server takes of `bytes` before it stops reading.
fn send_until_stuck(client: &Client, bytes: &[u8]) {
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // A timeout is what is hoped for; a reset is a client that was in the way.
    drop(stream.write_all(bytes));
}

fn is_within_bounds(client: &mut Client) {
    let held: u64 = client.info("mem_clients_normal").parse().unwrap();
    assert!(held <= HELD_BYTES_MAX, "{held} bytes held for connections");
}

#[test]
fn half_sent_requests_are_bounded_together_and_give_way() {
    let server = server();
    let value = Random(1).bytes(VALUE_BYTES);
    let request = encode(&[b"SET".as_slice(), b"half", &value]);
    let crowd: Vec<Client> = (0..CLIENTS_IN_THE_WAY).map(|_| server.client()).collect();
    let mut small = server.client();
    for client in &crowd {
        send_until_stuck(client, &request[..VALUE_BYTES * 3 / 4]);
        is_within_bounds(&mut small);
    }
    assert_eq!(small.say("SET small 1"), Reply::ok());
    // Its turn comes once those that send no more are closed.
    assert_eq!(server.client().command(&[b"SET".as_slice(), b"large", &value]), Reply::ok());
    assert!(server.client().say("GET large") == Reply::bulk(&value));
    assert_eq!(small.say("GET half"), Reply::Nil);
    assert!(server.stderr().contains("memory is short"), "{}", server.stderr());
}

#[test]
fn unread_replies_are_bounded_together_and_give_way() {
    let server = server();
    let value = Random(2).bytes(VALUE_BYTES);
    let mut small = server.client();
    for key in ["{a}", "{b}", "{c}"] {
        let set = [b"SET".as_slice(), key.as_bytes(), &value];
        assert_eq!(small.command(&set), Reply::ok());
    }
    let mut crowd: Vec<Client> = (0..CLIENTS_IN_THE_WAY).map(|_| server.client()).collect();
    for (number, client) in crowd.iter_mut().enumerate() {
        for key in ["{a}", "{b}", "{c}"] {
            client.send(&encode(&["GET", key])).unwrap();
        }
        client.send(&encode(&["MGET", "{a}", "{b}", "{c}"])).unwrap();
        if number == CLIENTS_IN_THE_WAY / 2 {
            // From tables too.
            assert_eq!(small.say("FLUSHDB"), Reply::ok());
        }
        is_within_bounds(&mut small);
    }
    assert_eq!(small.say("SET small 1"), Reply::ok());
    assert_eq!(small.say("GET small"), Reply::bulk("1"));
    assert!(server.client().say("GET {a}") == Reply::bulk(&value), "its turn comes");
    is_within_bounds(&mut small);
}

#[test]
fn more_large_requests_than_there_is_memory_for_are_all_answered() {
    let server = server();
    let port = server.port();
    let writers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::connect(port).unwrap();
                let value = Random(number as u64).bytes(VALUE_BYTES);
                let key = format!("large:{number}");
                let set = [b"SET".as_slice(), key.as_bytes(), &value];
                assert_eq!(client.command(&set), Reply::ok());
                assert!(client.command(&["GET", &key]) == Reply::bulk(&value), "{key}");
                is_within_bounds(&mut client);
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert!(!server.stderr().contains("memory is short"), "{}", server.stderr());
}
