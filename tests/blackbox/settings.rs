//! Settings that act, and those that change while the server runs.

use std::thread;
use std::time::Duration;

use crate::common::{Client, Options, Peer, Reply, Server, encode, is_stand_in, transcript};

/// Says PING now and then, so that the server never finds it idle, until it has slept `rounds` times.
fn keep_busy(client: &mut Client, rounds: u32) {
    for _ in 0..rounds {
        assert_eq!(client.say("PING"), Reply::Simple("PONG".into()));
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn idle_clients_are_closed_after_the_timeout_and_busy_ones_stay() {
    if is_stand_in() {
        return;
    }
    let options = Options { more: &["--set", "timeout=1s"], ..Options::default() };
    let server = Server::start(&options);
    let mut idle = server.client();
    assert_eq!(idle.say("PING"), Reply::Simple("PONG".into()));
    // Half a request is no sign of life either.
    let mut half = server.client();
    half.send(b"*2\r\n$3\r\nGET").unwrap();
    let mut busy = server.client();
    assert_eq!(busy.setting("timeout"), "1");
    keep_busy(&mut busy, 25);
    // The client's own patience is longer than any timeout here: an error would be a connection left open.
    assert_eq!(idle.rest().unwrap(), b"");
    assert_eq!(half.rest().unwrap(), b"");
    keep_busy(&mut busy, 1);
}

#[test]
fn the_timeout_changes_while_the_server_runs() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    // Of each core, whichever it is that they came to.
    let mut idle: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut idle {
        assert_eq!(client.setting("timeout"), "0");
    }
    let mut busy = server.client();
    assert_eq!(busy.say("CONFIG SET timeout 1"), Reply::ok());
    keep_busy(&mut busy, 25);
    for client in &mut idle {
        assert_eq!(client.rest().unwrap(), b"");
    }
    assert_eq!(busy.say("CONFIG SET timeout 0"), Reply::ok());
    assert_eq!(busy.setting("timeout"), "0");
}

/// The texts of Redis, for the settings that both have.
#[test]
fn refused_settings_are_told_in_redis_words() {
    let server = Server::start(&Options::default());
    let Some(peer) = Peer::start() else { return };
    for line in [
        "CONFIG SET",
        "CONFIG SET timeout",
        "CONFIG SET timeout 1 maxclients",
        "CONFIG SET nosuch 1",
        "CONFIG SET nosuch 1 databases 2",
        "CONFIG SET databases 2 nosuch 1",
        "CONFIG SET databases 3",
        "CONFIG SET timeout x databases 2",
        "CONFIG SET timeout x",
        "CONFIG SET timeout -1",
        "CONFIG SET timeout 4294967296",
        "CONFIG SET timeout 5 TIMEOUT 6",
        "CONFIG SET timeout 5 databases 3",
        "CONFIG SET maxclients 0",
        "CONFIG SET maxclients 9999999999",
        "CONFIG SET appendfsync often",
        "CONFIG SET TimeOut 0 MAXCLIENTS 100",
        "CONFIG GET timeout",
        "CONFIG GET maxclient?",
        "CONFIG RESETSTAT",
        "CONFIG RESETSTAT 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let request = encode(&words);
        let ask = |port| String::from_utf8(transcript(port, &[&request]).unwrap()).unwrap();
        assert_eq!(ask(server.port()), ask(peer.port()), "{line}");
    }
}

#[test]
fn what_is_fixed_at_start_says_so() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let mut client = server.client();
    for name in ["port", "dir", "shards", "block-size", "memtable-capacity", "maxmemory"] {
        let text = client.command(&["CONFIG", "SET", name, "1"]).text();
        let expected = format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config"
        );
        assert_eq!(text, expected);
    }
    // Our own names in both spellings of words.
    for name in ["block_size", "memtable_capacity"] {
        let text = client.command(&["CONFIG", "SET", name, "1"]).text();
        assert!(text.ends_with("can't set immutable config"), "{text}");
    }
}

#[test]
fn maxclients_changes_while_the_server_runs() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    assert_eq!(client.say("CONFIG SET maxclients 2"), Reply::ok());
    assert_eq!(client.setting("maxclients"), "2");
    assert_eq!(client.info("maxclients"), "2");
    let mut second = server.client();
    assert_eq!(second.say("PING"), Reply::Simple("PONG".into()));
    let refused = server.client().rest().unwrap();
    assert_eq!(String::from_utf8_lossy(&refused), "-ERR max number of clients reached\r\n");
    // No more than there are descriptors for.
    let text = client.say("CONFIG SET maxclients 4000000000").text();
    assert!(
        text.contains("not able to handle the specified number of clients, try with "),
        "{text}"
    );
    assert_eq!(client.setting("maxclients"), "2");
}

#[test]
fn flushdb_changes_its_meaning_on_every_core() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    for index in 0..20 {
        assert_eq!(client.say(&format!("SET k{index} 1")), Reply::ok());
    }
    assert_eq!(client.say("FLUSHDB"), Reply::ok());
    assert_eq!(client.say("DBSIZE"), Reply::Integer(20));
    assert_eq!(client.say("CONFIG SET flushdb erase"), Reply::ok());
    // Those who are connected already, and on whichever core.
    for mut other in (0..4).map(|_| server.client()) {
        assert_eq!(other.setting("flushdb"), "erase");
        assert_eq!(other.info("flushdb"), "erase");
    }
    assert_eq!(client.say("FLUSHDB"), Reply::ok());
    assert_eq!(client.say("DBSIZE"), Reply::Integer(0));
    assert_eq!(client.say("CONFIG SET flushdb memtable"), Reply::ok());
    assert_eq!(client.say("SET k 1"), Reply::ok());
    assert_eq!(client.say("FLUSHDB"), Reply::ok());
    assert_eq!(client.say("DBSIZE"), Reply::Integer(1));
    let text = client.say("CONFIG SET flushdb perhaps").text();
    assert!(text.ends_with("argument(s) must be one of the following: memtable, erase"), "{text}");
}

#[test]
fn resetstat_begins_the_counts_anew() {
    let server = Server::start(&Options { shards: None, ..Options::default() });
    let mut client = server.client();
    for index in 0..50 {
        assert_eq!(client.say(&format!("SET k{index} 1")), Reply::ok());
        assert_eq!(client.say(&format!("GET k{index}")), Reply::bulk("1"));
        assert_eq!(client.say(&format!("GET never{index}")), Reply::Nil);
    }
    assert!(client.say("NOSUCH").is_error());
    assert_eq!(client.info("keyspace_hits"), "50");
    assert_eq!(client.info("keyspace_misses"), "50");
    assert_eq!(client.say("CONFIG RESETSTAT"), Reply::ok());
    let count = |client: &mut Client, name: &str| client.info(name).parse::<u64>().unwrap();
    assert_eq!(client.info("keyspace_hits"), "0");
    assert_eq!(client.info("keyspace_misses"), "0");
    assert_eq!(client.info("total_connections_received"), "0");
    assert_eq!(client.info("total_error_replies"), "0");
    assert!(count(&mut client, "total_commands_processed") < 20);
    assert!(count(&mut client, "total_net_input_bytes") < 2_000);
    assert_eq!(client.info("connected_clients"), "1", "what is so now is no count");
    assert_eq!(client.say("GET k1"), Reply::bulk("1"));
    assert_eq!(client.info("keyspace_hits"), "1");
}

/// R7: what was acknowledged under a weaker policy is on disk before the OK of the stronger one, and from then on each
/// write is before its own.
#[test]
fn sync_changes_while_the_server_runs() {
    if is_stand_in() {
        return;
    }
    let options = Options { shards: Some(2), sync: Some("no"), ..Options::default() };
    let mut server = Server::start(&options);
    let mut client = server.client();
    assert_eq!(client.setting("appendfsync"), "no");
    for index in 0..200 {
        assert_eq!(client.say(&format!("SET weak:{index} {index}")), Reply::ok());
    }
    assert_ne!(client.info("wal_unsynced_operations"), "0");
    assert_eq!(client.say("CONFIG SET sync always"), Reply::ok());
    assert_eq!(client.info("wal_unsynced_operations"), "0");
    for mut other in (0..4).map(|_| server.client()) {
        assert_eq!(other.setting("appendfsync"), "always");
        assert_eq!(other.setting("sync"), "always");
        assert_eq!(other.info("sync"), "always");
    }
    for index in 0..200 {
        assert_eq!(client.say(&format!("SET strong:{index} {index}")), Reply::ok());
        assert_eq!(client.info("wal_unsynced_operations"), "0");
    }
    for policy in ["everysec", "always", "no", "everysec"] {
        assert_eq!(client.command(&["CONFIG", "SET", "appendfsync", policy]), Reply::ok());
        assert_eq!(client.setting("sync"), policy);
        assert_eq!(client.command(&["SET", policy, "1"]), Reply::ok());
    }
    server.crash_and_restart();
    let mut client = server.client();
    assert_eq!(client.setting("sync"), "no", "not written down anywhere");
    assert_eq!(client.say("DBSIZE"), Reply::Integer(403));
}

/// CONFIG REWRITE: what was changed is there after a start, above the file of settings and below flags.
#[test]
fn what_was_rewritten_is_there_after_a_start() {
    if is_stand_in() {
        return;
    }
    let options = Options { shards: Some(2), ..Options::default() };
    let mut server = Server::start(&options);
    let mut client = server.client();
    assert_eq!(client.say("CONFIG REWRITE"), Reply::ok(), "nothing was changed");
    assert_eq!(
        client.say("CONFIG SET timeout 77 slowlog-max-len 5 notify-keyspace-events KEA"),
        Reply::ok()
    );
    assert_eq!(client.say("CONFIG SET appendfsync everysec maxclients 55"), Reply::ok());
    assert_eq!(client.say("CONFIG SET requirepass foo"), Reply::ok());
    assert_eq!(client.say("CONFIG REWRITE"), Reply::ok());
    assert_eq!(client.say("CONFIG SET timeout 99"), Reply::ok());
    let file = server.data_dir().join("overrides.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("requirepass_sha256 = \"2c26b46b") && !text.contains("foo"), "{text}");
    assert!(!text.contains("protected_mode"), "only what was changed: {text}");
    server.kill9();
    let more = &["--set", "slowlog_max_len=9"];
    server.start_again(&Options { more, ..options.clone() });
    let mut client = server.client();
    assert!(client.say("PING").is_error());
    assert_eq!(client.say("AUTH foo"), Reply::ok());
    for (name, value) in [
        ("timeout", "77"),
        ("slowlog-max-len", "9"),
        ("notify-keyspace-events", "AKE"),
        ("appendfsync", "everysec"),
        ("maxclients", "55"),
        ("requirepass", "(redacted)"),
    ] {
        assert_eq!(client.setting(name), value, "{name}");
    }
    // What was kept before is kept again, and a password can be taken away for good.
    assert_eq!(client.command(&["CONFIG", "SET", "requirepass", ""]), Reply::ok());
    assert_eq!(client.say("CONFIG REWRITE"), Reply::ok());
    server.terminate();
    server.start_again(&options);
    let mut client = server.client();
    assert_eq!(client.setting("maxclients"), "55");
    assert_eq!(client.setting("requirepass"), "");
    server.terminate();
    std::fs::write(&file, "port = 1\n").unwrap();
    let mut command = crate::common::program_command();
    command.args(["start", "--data-dir", server.data_dir().to_str().unwrap(), "--check-config"]);
    crate::common::run_to_end(&mut command).refused(&[78], &["overrides.toml", "port"]);
}

#[test]
fn tools_find_the_settings_that_they_ask_for() {
    let server = Server::start(&Options::default());
    let mut client = server.client();
    for name in [
        "appendfsync",
        "appendonly",
        "save",
        "maxmemory",
        "maxmemory-policy",
        "maxclients",
        "timeout",
        "requirepass",
        "dir",
        "port",
        "bind",
        "databases",
        "slowlog-log-slower-than",
        "slowlog-max-len",
        "latency-monitor-threshold",
        "latency-tracking",
        "proto-max-bulk-len",
        "notify-keyspace-events",
        "tcp-keepalive",
        "client-output-buffer-limit",
        "unixsocket",
        "tls-port",
        "protected-mode",
        "replica-priority",
        "hz",
        "lfu-log-factor",
        "lfu-decay-time",
        "loglevel",
        "cluster-enabled",
        "io-threads",
    ] {
        client.setting(name);
    }
    let Reply::Array(all) = client.say("CONFIG GET *") else { panic!("no array") };
    let names: Vec<String> = all.iter().step_by(2).map(Reply::text).collect();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "each once");
    assert_eq!(client.setting("*-tracking"), "yes");
    if is_stand_in() {
        return;
    }
    // What holds anyway may be said again: scripts of setups do.
    assert_eq!(
        client.command(&["CONFIG", "SET", "save", "", "appendonly", "yes", "databases", "1"]),
        Reply::ok()
    );
    assert!(client.command(&["CONFIG", "SET", "save", "900 1"]).is_error());
}
