//! While the log is replayed clients are told so.

use std::process::Stdio;

use crate::common::{Client, Options, Reply, Server, encode, is_stand_in, program_command};

const VALUES: usize = 60_000;

/// A server that was killed with a log that takes a while to replay.
fn with_a_long_log() -> (Server, Options) {
    let options = Options {
        shards: Some(2),
        sync: Some("no"),
        memtable: Some("128MB"),
        memory: Some("1GB"),
        ..Options::default()
    };
    let mut server = Server::start(&options);
    let mut client = server.client();
    let value = "v".repeat(500);
    for from in (0..VALUES).step_by(1_000) {
        let mut pipeline = Vec::new();
        for index in from..from + 1_000 {
            pipeline.extend(encode(&["SET", &format!("key:{index}"), &value]));
        }
        client.send(&pipeline).unwrap();
        for _ in 0..1_000 {
            assert_eq!(client.reply().unwrap(), Reply::ok());
        }
    }
    server.kill9();
    (server, options)
}

#[test]
fn clients_are_told_that_the_data_is_being_loaded() {
    const LOADING: &str = "LOADING rusty-lsm is loading the dataset in memory";
    if is_stand_in() {
        return;
    }
    let (old, options) = with_a_long_log();
    let server = Server::start_unready(old.home(), &options, 9);
    let mut connected = Vec::new();
    while connected.len() < 3 {
        match Client::connect(server.port()) {
            Ok(client) => connected.push(client),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    let [mut client, mut named, mut broken] = <[Client; 3]>::try_from(connected).unwrap();
    // At once, so that a fast machine does not load in between.
    named.send(&encode(&["CLIENT", "SETNAME", "importer"])).unwrap();
    broken.send(b"*1\r\n:1\r\n").unwrap();
    let mut pipeline = Vec::new();
    for line in ["PING", "GET key:1", "INFO", "CONFIG GET appendonly", "NOSUCH a", "GET"] {
        pipeline.extend(encode(&line.split(' ').collect::<Vec<_>>()));
    }
    client.send(&pipeline).unwrap();
    let mut reply = || client.reply().unwrap();
    assert_eq!(reply(), Reply::Error(LOADING.into()), "PING, as in Redis");
    assert_eq!(reply(), Reply::Error(LOADING.into()));
    assert!(reply().text().contains("\r\nloading:1\r\n"));
    assert_eq!(reply(), Reply::Array(vec![Reply::bulk("appendonly"), Reply::bulk("yes")]));
    assert!(reply().text().starts_with("ERR unknown command 'NOSUCH'"));
    assert!(reply().text().starts_with("ERR wrong number of arguments"));
    let ping = program_command()
        .args(["ping", "--port", &server.port().to_string()])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ping.stdout).into_owned();
    assert!([format!("-{LOADING}\n"), "+PONG\n".into()].contains(&said), "{said}");
    assert_eq!(ping.status.code(), Some(0), "alive");
    assert_eq!(named.reply().unwrap(), Reply::ok());
    assert!(broken.reply().unwrap().text().starts_with("ERR Protocol error"));
    // The connection is served on once the data is there.
    let answer = loop {
        match client.say("PING") {
            Reply::Error(text) => assert_eq!(text, LOADING),
            other => break other,
        }
    };
    assert_eq!(answer, Reply::Simple("PONG".into()));
    assert_eq!(client.info("loading"), "0");
    assert_eq!(
        client.command(&["GET", &format!("key:{}", VALUES - 1)]),
        Reply::bulk("v".repeat(500))
    );
    // A name and a protocol that were agreed on must not be forgotten: closed, not served anew.
    assert_eq!(named.rest().unwrap(), b"");
    assert_eq!(client.info("connected_clients"), "1");
}

/// A signal while the data is loaded ends it, and loses nothing.
#[test]
fn a_signal_while_loading_ends_the_server() {
    if is_stand_in() {
        return;
    }
    let (old, options) = with_a_long_log();
    let mut server = Server::start_unready(old.home(), &options, 9);
    while Client::connect(server.port()).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let exit = server.terminate();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    server.start_again(&options);
    assert_eq!(server.client().say("GET key:7"), Reply::bulk("v".repeat(500)));
}
