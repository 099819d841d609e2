//! SIGTERM and SIGINT: finish what was read, sync, close, exit 0. A second signal, later, ends at once.

use std::thread;
use std::time::Duration;

use crate::common::{Client, Options, Reply, Server, encode, is_stand_in};

#[test]
fn sigterm_and_sigint_end_with_code_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&Options::default());
        assert_eq!(server.client().say("SET a 1"), Reply::ok());
        server.signal(signal);
        let exit = server.wait_exit();
        assert_eq!(exit.code, Some(0), "SIG{signal}: {exit:?}");
        server.start_again(&Options::default());
        assert_eq!(server.client().say("GET a"), Reply::bulk("1"));
    }
}

/// Everything acknowledged before the end is there after it, and an end under load is still clean. Under `no` nothing but
/// the orderly close itself puts the last writes on disk.
#[test]
fn sigterm_under_load_loses_nothing_acknowledged() {
    for sync in ["always", "no"] {
        let options = Options { sync: Some(sync), ..Options::default() };
        let mut server = Server::start(&options);
        let port = server.port();
        let writers: Vec<_> = (0..4)
            .map(|number| {
                thread::spawn(move || {
                    let mut client = Client::connect(port).unwrap();
                    let mut acked = 0;
                    for index in 0_u32.. {
                        let set =
                            ["SET".to_owned(), format!("{number}:{index}"), index.to_string()];
                        match client.try_command(&set) {
                            Ok(Reply::Simple(_)) => acked = index + 1,
                            // Closing may be told before the connection ends.
                            Ok(_) | Err(_) => return (number, acked),
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        let exit = server.terminate();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let acked: Vec<(u32, u32)> =
            writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        server.start_again(&options);
        let mut client = server.client();
        for (number, count) in acked {
            assert!(count > 0, "client {number} wrote nothing");
            for index in 0..count {
                let key = format!("{number}:{index}");
                assert_eq!(client.command(&["GET", &key]), Reply::bulk(index.to_string()), "{key}");
            }
        }
    }
}

/// Connections that idle, and one that sent half a request, hold nothing up.
#[test]
fn open_connections_do_not_hold_up_the_end() {
    let mut server = Server::start(&Options::default());
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.say("PING"), Reply::Simple("PONG".into()));
    }
    clients[0].send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf").unwrap();
    let exit = server.terminate();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!exit.stderr.contains("last replies"), "{}", exit.stderr);
    for client in &mut clients {
        assert_eq!(client.rest().unwrap(), b"");
    }
}

#[test]
fn what_was_read_before_the_signal_is_answered() {
    let mut server = Server::start(&Options::default());
    let mut client = server.client();
    let mut pipeline = Vec::new();
    for index in 0..200 {
        pipeline.extend(encode(&["SET", &format!("k{index}"), "1"]));
    }
    client.send(&pipeline).unwrap();
    // The first reply says that the pipeline has been read.
    assert_eq!(client.reply().unwrap(), Reply::ok());
    let exit = server.terminate();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let rest = client.rest().unwrap();
    if !is_stand_in() {
        assert_eq!(rest, b"+OK\r\n".repeat(199), "{} bytes of replies", rest.len());
    }
}

/// A stop that lasts: a client that does not take its replies is waited for.
fn with_a_slow_reader() -> (Server, Client) {
    let server = Server::start(&Options::default());
    let mut slow = server.client();
    assert_eq!(slow.command(&["SET", "large", &"v".repeat(1 << 20)]), Reply::ok());
    for _ in 0..64 {
        slow.send(&encode(&["GET", "large"])).unwrap();
    }
    // The first piece says that the server answers.
    assert_eq!(slow.reply().unwrap(), Reply::bulk("v".repeat(1 << 20)));
    (server, slow)
}

/// `timeout` and some supervisors send a signal twice, or to the group and to the process: that is one wish.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    if is_stand_in() {
        return;
    }
    let (mut server, _slow) = with_a_slow_reader();
    server.signal("TERM");
    server.signal("INT");
    server.signal("TERM");
    let exit = server.wait_exit();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_signal_later_ends_at_once() {
    if is_stand_in() {
        return;
    }
    let (mut server, _slow) = with_a_slow_reader();
    server.signal("TERM");
    thread::sleep(Duration::from_millis(1_500));
    server.signal("TERM");
    let exit = server.wait_exit();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    server.start_again(&Options::default());
    assert_eq!(server.client().say("EXISTS large"), Reply::Integer(1));
}

#[test]
fn ping_tells_a_live_server_from_a_dead_one() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&Options::default());
    let port = server.port().to_string();
    let ping = || {
        crate::common::run_to_end(crate::common::program_command().args(["ping", "--port", &port]))
    };
    assert_eq!(ping().code, Some(0), "{:?}", ping());
    server.kill9();
    let exit = ping();
    exit.refused(&[1], &[&port]);
}
