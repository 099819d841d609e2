//! INFO tells the truth.

use crate::common::{Options, Reply, Server, is_stand_in};

#[test]
fn the_run_id_is_40_random_digits() {
    let ids: Vec<String> =
        (0..2).map(|_| Server::start(&Options::default()).client().info("run_id")).collect();
    for id in &ids {
        assert_eq!(id.len(), 40, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(!id.starts_with("00000000"), "{id}");
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_peak_of_memory_is_not_below_what_is_used() {
    let server = Server::start(&Options::default());
    let mut client = server.client();
    for round in 0..50 {
        assert_eq!(
            client.command(&["SET", &format!("k{round}"), &"v".repeat(100_000)]),
            Reply::ok()
        );
        let text = client.say("INFO memory").text();
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.parse().unwrap()
        };
        assert!(field("used_memory_peak:") >= field("used_memory:"), "{text}");
    }
}

#[test]
fn persistence_is_told_as_it_is() {
    if is_stand_in() {
        return;
    }
    let options = Options { shards: Some(2), sync: Some("no"), ..Options::default() };
    let mut server = Server::start(&options);
    let mut client = server.client();
    assert_eq!(client.info("keys_estimated"), "0", "no keys: that is exact");
    let started: u64 = client.info("rdb_last_save_time").parse().unwrap();
    assert!(started > 1_600_000_000, "as in Redis, the start counts as a save: {started}");
    assert_eq!(client.info("recovery_operations"), "0");
    for index in 0..100 {
        assert_eq!(client.say(&format!("SET k{index} {index}")), Reply::ok());
    }
    assert_eq!(client.info("keys_estimated"), "0", "known: all are in one memtable");
    assert_eq!(client.info("rdb_changes_since_last_save"), "100");
    assert_eq!(client.info("wal_last_write_status"), "ok");
    assert_eq!(client.info("wal_unsynced_operations"), "100");
    assert_ne!(client.info("unflushed_bytes"), "0");
    assert_eq!(client.info("failed_shards"), "0");
    assert_eq!(client.info("disk_full_shards"), "0");
    assert_eq!(client.say("FLUSHDB"), Reply::ok());
    assert_eq!(client.info("rdb_changes_since_last_save"), "0");
    assert_eq!(client.info("unflushed_bytes"), "0");
    assert_eq!(client.info("wal_unsynced_operations"), "0", "a flush is of what is durable");
    assert_eq!(client.say("SET last 1"), Reply::ok());
    server.crash_and_restart();
    let mut client = server.client();
    assert_ne!(client.info("recovery_operations"), "0");
    assert_eq!(client.info("recovery_cut_bytes"), "0");
    assert_ne!(client.info("recovery_segments"), "0");
    assert_eq!(client.say("GET last"), Reply::bulk("1"));
}

/// Each reason for which a write waits has its own count, and the time in which one waited is counted.
#[test]
fn why_writes_wait_is_told() {
    if is_stand_in() {
        return;
    }
    let options =
        Options { shards: Some(1), memtable: Some("1MB"), sync: Some("no"), ..Options::default() };
    let server = Server::start(&options);
    let mut client = server.client();
    let number = |client: &mut crate::common::Client, name: &str| -> u64 {
        client.info(name).parse().unwrap()
    };
    assert_eq!(number(&mut client, "write_stall_usec"), 0);
    let value = "v".repeat(50_000);
    // Faster than tables are written: some of them must wait.
    for round in 0..500 {
        let mut bytes = Vec::new();
        for index in 0..40 {
            let key = format!("k{round}:{index}");
            bytes.extend(crate::common::encode(&["SET", &key, &value]));
        }
        client.send(&bytes).unwrap();
        (0..40).for_each(|_| assert_eq!(client.reply().unwrap(), Reply::ok()));
        if number(&mut client, "write_stalls") > 0 {
            break;
        }
    }
    let text = client.say("INFO lsm").text();
    let field = |name: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    };
    let reasons = ["commit", "memtable", "l0", "sync", "slowed", "erasing"];
    let sum: u64 = reasons.iter().map(|reason| field(&format!("stalls_{reason}:"))).sum();
    assert_eq!(field("write_stalls:"), sum, "{text}");
    assert!(sum > 0 && field("write_stall_usec:") > 0, "{text}");
}
