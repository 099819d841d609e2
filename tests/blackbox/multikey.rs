//! Commands over several keys: split by shard, gathered in the order of the request.

use crate::common::{Options, Random, Reply, Server, encode};

fn started() -> Server {
    Server::start(&Options { shards: Some(4), memtable: Some("16MB"), ..Options::default() })
}

#[test]
fn mget_gathers_in_the_order_of_the_request() {
    let server = started();
    let mut client = server.client();
    let keys: Vec<String> = (0..500).map(|index| format!("key:{index}")).collect();
    let mut set = vec!["MSET".to_owned()];
    for key in &keys {
        set.extend([key.clone(), format!("value of {key}")]);
    }
    assert_eq!(client.command(&set), Reply::ok());
    let mut random = Random(11);
    for _ in 0..20 {
        // With repeats, and with keys that are not there.
        let asked: Vec<String> = (0..300).map(|_| format!("key:{}", random.below(700))).collect();
        let mut get = vec!["MGET".to_owned()];
        get.extend(asked.iter().cloned());
        let expected = asked.iter().map(|key| {
            if keys.contains(key) { Reply::bulk(format!("value of {key}")) } else { Reply::Nil }
        });
        assert_eq!(client.command(&get), Reply::Array(expected.collect()));
    }
}

#[test]
fn del_and_exists_count_each_key_once_per_mention() {
    let server = started();
    let mut client = server.client();
    let mut set = vec!["MSET".to_owned()];
    let keys: Vec<String> = (0..100).map(|index| format!("k{index}")).collect();
    set.extend(keys.iter().flat_map(|key| [key.clone(), "1".into()]));
    assert_eq!(client.command(&set), Reply::ok());

    let mut exists = vec!["EXISTS".to_owned()];
    exists.extend(keys.iter().cloned());
    exists.extend(["never".to_owned(), "k0".to_owned(), "k0".to_owned()]);
    assert_eq!(client.command(&exists), Reply::Integer(102));

    // A key named twice is deleted once.
    let mut del = vec!["DEL".to_owned()];
    del.extend(keys[..50].iter().cloned());
    del.extend(["never".to_owned(), "k0".to_owned(), "k49".to_owned()]);
    assert_eq!(client.command(&del), Reply::Integer(50));
    assert_eq!(client.command(&del), Reply::Integer(0));
    assert_eq!(client.command(&exists), Reply::Integer(50));
    assert_eq!(client.say("DBSIZE"), Reply::Integer(50));
}

#[test]
fn the_last_of_equal_keys_wins() {
    let server = started();
    let mut client = server.client();
    assert_eq!(client.say("MSET a 1 b 1 a 2 c 1 a 3 b 2"), Reply::ok());
    let expected = ["3", "2", "1"].map(Reply::bulk).to_vec();
    assert_eq!(client.say("MGET a b c"), Reply::Array(expected));
}

#[test]
fn a_wrong_mset_changes_nothing() {
    let server = started();
    let mut client = server.client();
    assert!(client.say("MSET a 1 b 2 c").is_error());
    let long = "k".repeat((64 << 10) + 1);
    let refused = client.command(&["MSET", "a", "1", &long, "2", "b", "3"]);
    if !crate::common::is_stand_in() {
        assert!(refused.is_error(), "{refused:?}");
        assert_eq!(client.say("MGET a b c"), Reply::Array(vec![Reply::Nil; 3]));
    }
}

/// Within one shard (the hash tag sees to that) a command is applied whole: a reader never sees half of it.
#[test]
fn mset_with_a_hash_tag_is_seen_whole() {
    let server = started();
    let mut client = server.client();
    assert_eq!(client.say("MSET {t}a 0 {t}b 0 {t}c 0 {t}d 0"), Reply::ok());
    let port = server.port();
    let writer = std::thread::spawn(move || {
        let mut client = crate::common::Client::connect(port).unwrap();
        for round in 0..2_000 {
            let round = round.to_string();
            let set = ["MSET", "{t}a", &round, "{t}b", &round, "{t}c", &round, "{t}d", &round];
            assert_eq!(client.command(&set), Reply::ok());
        }
    });
    let mut seen = 0;
    while !writer.is_finished() {
        let Reply::Array(values) = client.say("MGET {t}a {t}b {t}c {t}d") else {
            panic!("no array")
        };
        assert!(values.iter().all(|value| value == &values[0]), "half an MSET: {values:?}");
        seen += 1;
    }
    writer.join().unwrap();
    assert!(seen > 0);
}

/// Parts of a command over several shards and whole commands after it: each shard runs them in the order of the pipeline.
#[test]
fn a_pipeline_sees_its_own_multi_key_commands() {
    let server = Server::start(&Options::default());
    let keys: Vec<String> = (0..8).map(|index| format!("order:{index}")).collect();
    let all = |name: &str, value: Option<&str>| {
        let mut words = vec![name.to_owned()];
        for key in &keys {
            words.push(key.clone());
            words.extend(value.map(str::to_owned));
        }
        encode(&words)
    };
    // As many connections as there may be cores.
    for round in 0..4 {
        let mut client = server.client();
        let value = round.to_string();
        let mut pipeline = all("MSET", Some(&value));
        for key in &keys {
            pipeline.extend(encode(&["GET", key]));
        }
        pipeline.extend(all("DEL", None));
        for key in &keys {
            pipeline.extend(encode(&["SET", key, "after"]));
        }
        pipeline.extend(all("MGET", None));
        client.send(&pipeline).unwrap();
        assert_eq!(client.reply().unwrap(), Reply::ok());
        for key in &keys {
            assert_eq!(client.reply().unwrap(), Reply::bulk(&value), "GET {key} after MSET");
        }
        assert_eq!(client.reply().unwrap(), Reply::Integer(8));
        for key in &keys {
            assert_eq!(client.reply().unwrap(), Reply::ok(), "SET {key}");
        }
        let after = vec![Reply::bulk("after"); 8];
        assert_eq!(
            client.reply().unwrap(),
            Reply::Array(after),
            "a SET overtook the DEL before it"
        );
    }
}
