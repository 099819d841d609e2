//! Commands for administrators, and what tools ask of a Redis.

use crate::common::{Options, Peer, Reply, Server, encode, is_stand_in, transcript};

/// Where both must say the same.
#[test]
fn what_tools_ask_is_answered_in_redis_words() {
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let Some(peer) = Peer::start() else { return };
    for line in [
        "ROLE",
        "ROLE x",
        "WAIT 0 100",
        "WAIT a 1",
        "WAIT 1 -1",
        "WAIT 0 a",
        "WAIT -1 1",
        "WAIT a a",
        "REPLICAOF no one",
        "SLAVEOF NO ONE",
        "REPLICAOF a b",
        "REPLICAOF a",
        "FAILOVER",
        "FAILOVER abort",
        "FAILOVER xx",
        "FUNCTION LIST",
        "FUNCTION FLUSH",
        "FUNCTION FLUSH x",
        "FUNCTION LIST x",
        "FUNCTION LIST WITHCODE",
        "FUNCTION nosuch",
        "SCRIPT FLUSH",
        "SCRIPT FLUSH x",
        "SCRIPT EXISTS a b",
        "SCRIPT EXISTS",
        "MODULE LIST",
        "MEMORY PURGE",
        "MEMORY x",
        "SAVE",
        "SAVE x",
        "BGSAVE x",
        "SHUTDOWN x",
        "SHUTDOWN save nosave",
        "SHUTDOWN abort",
        "SHUTDOWN abort now",
        "TIME x",
        "ACL WHOAMI",
        "ACL USERS",
        "ACL LIST",
        "ACL GETUSER default",
        "ACL GETUSER nosuch",
        "ACL CAT",
        "ACL CAT nosuch",
        "ACL CAT a b",
        "ACL GENPASS 0",
        "ACL GENPASS 4097",
        "ACL GENPASS x",
        "ACL GENPASS 1 2",
        "ACL LOG",
        "ACL LOG RESET",
        "ACL LOG x",
        "ACL SETUSER",
        "ACL nosuch",
        "COMMAND GETKEYSANDFLAGS GET a",
        "COMMAND GETKEYSANDFLAGS DEL a b",
        "COMMAND GETKEYSANDFLAGS GET",
        "COMMAND GETKEYSANDFLAGS MSET a b c d",
        "DEBUG",
        "LASTSAVE x",
        "LOLWUT nosuch x",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let request = encode(&words);
        let ask = |port| String::from_utf8(transcript(port, &[&request]).unwrap()).unwrap();
        let (ours, theirs) = (ask(server.port()), ask(peer.port()));
        // A picture is not compared.
        if !theirs.contains("Redis ver.") {
            assert_eq!(ours, theirs, "{line}");
        }
    }
}

#[test]
fn a_command_of_a_type_that_is_not_here_says_so() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let mut client = server.client();
    for (line, what) in [
        ("HSET h f v", "hashes"),
        ("lpush l 1", "lists"),
        ("SADD s 1", "sets"),
        ("ZADD z 1 a", "sorted sets"),
        ("XADD x * a b", "streams"),
        ("EVAL x 0", "scripts and functions"),
        ("GEOADD g 1 1 a", "geographic indexes"),
        ("PFADD p a", "HyperLogLogs"),
    ] {
        let text = client.say(line).text();
        let name = line.split(' ').next().unwrap();
        assert!(
            text.starts_with(&format!("ERR unknown command '{name}', with args beginning with: '")),
            "{text}"
        );
        assert!(text.contains(&format!("has no {what};")) && text.contains("README"), "{text}");
    }
    assert!(!client.say("NOSUCH a").text().contains("README"));
}

#[test]
fn bgrewriteaof_and_the_saves_make_tables_of_memtables() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    let flushes =
        |client: &mut crate::common::Client| client.info("tables").parse::<u64>().unwrap();
    let mut before = flushes(&mut client);
    for (line, said) in [
        ("SAVE", "OK"),
        ("BGSAVE", "Background saving started"),
        ("BGSAVE SCHEDULE", "Background saving started"),
        ("BGREWRITEAOF", "Background append only file rewriting started"),
    ] {
        for index in 0..20 {
            assert_eq!(client.say(&format!("SET {}{index} 1", line.replace(' ', ""))), Reply::ok());
        }
        assert_eq!(client.say(line), Reply::Simple(said.into()));
        while client.info("rdb_bgsave_in_progress") != "0" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let after = flushes(&mut client);
        assert!(after > before, "{line}: {before} tables, then {after}");
        assert_eq!(client.info("rdb_changes_since_last_save"), "0");
        before = after;
    }
    let Reply::Integer(saved) = client.say("LASTSAVE") else { panic!("no number") };
    assert_eq!(client.info("rdb_last_save_time"), saved.to_string());
    // Keys that were deleted take space until they are compacted away.
    assert_eq!(client.say("DEL SAVE1 SAVE2"), Reply::Integer(2));
    assert_eq!(client.say("COMPACT"), Reply::ok());
    assert_eq!(client.say("DBSIZE"), Reply::Integer(78));
    let levels = client.info("level_tables");
    let full = levels.trim_matches(['[', ']']).split(", ").filter(|tables| *tables != "0").count();
    assert_eq!(full, 1, "{levels}");
    assert_eq!(client.say("GET SAVE3"), Reply::bulk("1"));
}

#[test]
fn shutdown_ends_the_server_in_order() {
    if is_stand_in() {
        return;
    }
    for line in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE NOW FORCE"] {
        let options = Options { shards: Some(2), ..Options::default() };
        let mut server = Server::start(&options);
        let mut client = server.client();
        assert_eq!(client.say("SET a 1"), Reply::ok());
        let words: Vec<&str> = line.split(' ').collect();
        client.send(&encode(&words)).unwrap();
        assert_eq!(client.rest().unwrap(), b"", "{line}: no reply, as in Redis");
        let exit = server.wait_exit();
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(exit.stderr.contains("stopped in order"), "{}", exit.stderr);
        server.start_again(&options);
        assert_eq!(server.client().say("GET a"), Reply::bulk("1"));
    }
}

#[test]
fn debug_sleep_holds_up_its_own_connection_only() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(1), ..Options::default() });
    let text = server.client().say("DEBUG SLEEP 0").text();
    assert!(text.starts_with("ERR DEBUG command not allowed."), "{text}");
    drop(server);
    let more = &["--set", "enable_debug_command=local"];
    let server = Server::start(&Options { shards: Some(1), more, ..Options::default() });
    let (mut sleeper, mut other) = (server.client(), server.client());
    let began = std::time::Instant::now();
    sleeper.send(&[encode(&["DEBUG", "SLEEP", "0.7"]), encode(&["PING"])].concat()).unwrap();
    assert_eq!(other.say("PING"), Reply::Simple("PONG".into()));
    assert_eq!(sleeper.reply().unwrap(), Reply::ok());
    assert!(began.elapsed() >= std::time::Duration::from_millis(700));
    assert_eq!(sleeper.reply().unwrap(), Reply::Simple("PONG".into()));
    for line in
        ["DEBUG SLEEP x", "DEBUG SLEEP -1", "DEBUG SLEEP 1e9", "DEBUG JMAP", "DEBUG OBJECT a"]
    {
        assert!(sleeper.say(line).is_error(), "{line}");
    }
}

#[test]
fn info_counts_errors_by_their_first_word_and_memory_stats_has_redis_names() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    for _ in 0..3 {
        assert!(client.say("NOSUCH").is_error());
        assert!(client.say("HELLO 9").is_error());
    }
    assert_eq!(client.info("errorstat_ERR"), "count=3");
    assert_eq!(client.info("errorstat_NOPROTO"), "count=3");
    for section in ["everything", "all", "default", ""] {
        let text = client.say(&format!("INFO {section}")).text();
        let has = |title: &str| text.contains(&format!("# {title}\r\n"));
        for title in [
            "Server",
            "Clients",
            "Memory",
            "Persistence",
            "Stats",
            "Replication",
            "CPU",
            "Modules",
            "Errorstats",
            "Cluster",
            "Keyspace",
            "LSM",
            "Shards",
        ] {
            assert!(has(title), "{section}: {title}");
        }
        assert_eq!(has("Commandstats"), section == "everything" || section == "all", "{section}");
    }
    let Reply::Array(fields) = client.say("MEMORY STATS") else { panic!("no array") };
    let names: Vec<String> = fields.iter().step_by(2).map(Reply::text).collect();
    for name in
        ["peak.allocated", "total.allocated", "dataset.bytes", "keys.count", "fragmentation"]
    {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}
