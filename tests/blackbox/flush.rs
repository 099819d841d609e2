//! FLUSHDB writes memtables to disk and keeps the data; FLUSHALL erases it, and it stays erased.

use crate::common::{Client, Options, Reply, Server, is_stand_in};

fn tables(client: &mut Client) -> u64 {
    let stats = client.say("STATS").text();
    let line = stats.lines().find_map(|line| line.strip_prefix(" SSTables (Active): "));
    line.expect(&stats).parse().unwrap()
}

fn fill(client: &mut Client, count: u32, value: &str) {
    for index in 0..count {
        assert_eq!(client.command(&["SET", &format!("k{index}"), value]), Reply::ok());
    }
}

#[test]
fn flushdb_moves_memtables_to_tables_and_keeps_every_key() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    fill(&mut client, 400, "first");
    assert_eq!(tables(&mut client), 0, "nothing was flushed yet");
    assert_eq!(client.say("FLUSHDB"), Reply::ok());
    assert_eq!(tables(&mut client), 2, "one table per shard");
    assert_eq!(client.say("DBSIZE"), Reply::Integer(400));
    // Nothing to do the second time.
    assert_eq!(client.say("FLUSHDB"), Reply::ok());
    assert_eq!(tables(&mut client), 2);
    fill(&mut client, 100, "second");
    assert_eq!(client.say("FLUSHDB"), Reply::ok());

    for _ in 0..2 {
        for index in 0..400 {
            let want = if index < 100 { "second" } else { "first" };
            assert_eq!(
                client.command(&["GET", &format!("k{index}")]),
                Reply::bulk(want),
                "k{index}"
            );
        }
        server.crash_and_restart();
        client = server.client();
    }
}

#[test]
fn flushall_erases_memtables_and_tables_and_they_stay_erased() {
    let mut server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    fill(&mut client, 300, "old");
    if !is_stand_in() {
        assert_eq!(client.say("FLUSHDB"), Reply::ok());
    }
    fill(&mut client, 100, "in the memtable");
    assert_eq!(client.say("FLUSHALL"), Reply::ok());
    assert_eq!(client.say("DBSIZE"), Reply::Integer(0));
    assert_eq!(client.say("GET k1"), Reply::Nil);
    // Durable the moment it is acknowledged: kill -9 right behind the reply.
    server.crash_and_restart();
    let mut client = server.client();
    assert_eq!(client.say("DBSIZE"), Reply::Integer(0));
    for index in 0..300 {
        assert_eq!(client.command(&["GET", &format!("k{index}")]), Reply::Nil, "k{index}");
    }
    // And what is written after it is kept.
    fill(&mut client, 50, "new");
    server.crash_and_restart();
    let mut client = server.client();
    assert_eq!(client.say("GET k49"), Reply::bulk("new"));
    assert_eq!(client.say("GET k50"), Reply::Nil);
    assert_eq!(client.say("DBSIZE"), Reply::Integer(50));
}

#[test]
fn flushall_between_pipelined_writes_keeps_their_order() {
    let mut server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    for round in 0..20 {
        client.send(b"SET before 1\r\nFLUSHALL\r\nSET after 1\r\nMGET before after\r\n").unwrap();
        for _ in 0..3 {
            assert_eq!(client.reply().unwrap(), Reply::ok());
        }
        let expected = Reply::Array(vec![Reply::Nil, Reply::bulk("1")]);
        assert_eq!(client.reply().unwrap(), expected, "round {round}");
    }
    server.crash_and_restart();
    let expected = Reply::Array(vec![Reply::Nil, Reply::bulk("1")]);
    assert_eq!(server.client().say("MGET before after"), expected);
}
