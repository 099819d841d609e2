//! What was written is there after a restart, however it came about.

use crate::common::{Client, Options, Random, Reply, Server};

fn load(client: &mut Client, random: &mut Random, keys: u32) -> Vec<(String, Option<Vec<u8>>)> {
    let mut expected = Vec::new();
    for index in 0..keys {
        let key = format!("key:{index}");
        let len = usize::try_from(random.below(2_000)).unwrap();
        let value = random.bytes(len);
        assert_eq!(client.command(&[b"SET".as_slice(), key.as_bytes(), &value]), Reply::ok());
        expected.push((key, Some(value)));
    }
    // Every fifth is deleted, every seventh overwritten: a restart must not bring old versions back.
    for (index, (key, value)) in expected.iter_mut().enumerate() {
        if index % 5 == 0 {
            assert_eq!(client.command(&["DEL", key]), Reply::Integer(1));
            *value = None;
        } else if index % 7 == 0 {
            let newer = random.bytes(40);
            assert_eq!(client.command(&[b"SET".as_slice(), key.as_bytes(), &newer]), Reply::ok());
            *value = Some(newer);
        }
    }
    expected
}

fn verify(client: &mut Client, expected: &[(String, Option<Vec<u8>>)]) {
    for (key, value) in expected {
        let want = value.as_ref().map_or(Reply::Nil, Reply::bulk);
        assert_eq!(client.command(&["GET", key]), want, "{key}");
    }
    let live = i64::try_from(expected.iter().filter(|(_, value)| value.is_some()).count()).unwrap();
    let keys: Vec<&str> = expected.iter().map(|(key, _)| key.as_str()).collect();
    let mut exists = vec!["EXISTS"];
    exists.extend(keys);
    assert_eq!(client.command(&exists), Reply::Integer(live));
}

/// Small memtables, so that values come back from tables as well as from the log.
fn round_trip(options: &Options, keys: u32, crash: bool) {
    let mut server = Server::start(options);
    let expected = load(&mut server.client(), &mut Random(u64::from(keys)), keys);
    for _ in 0..2 {
        if crash {
            server.crash_and_restart();
        } else {
            server.restart();
        }
        verify(&mut server.client(), &expected);
    }
}

#[test]
fn values_survive_a_clean_restart() {
    round_trip(&Options::default(), 500, false);
}

#[test]
fn values_survive_kill_9() {
    round_trip(&Options::default(), 500, true);
}

#[test]
fn values_survive_in_tables_too() {
    let options = Options { memtable: Some("1MB"), sync: Some("everysec"), ..Options::default() };
    round_trip(&options, 3_000, false);
}

#[test]
fn each_number_of_shards_keeps_its_values() {
    for shards in [1, 3, 8] {
        let options = Options {
            shards: Some(shards),
            memtable: Some("8MB"),
            sync: Some("everysec"),
            ..Options::default()
        };
        round_trip(&options, 400, shards == 3);
    }
}

#[test]
fn under_every_sync_policy_a_clean_stop_loses_nothing() {
    for sync in ["always", "everysec", "no"] {
        round_trip(&Options { sync: Some(sync), ..Options::default() }, 200, false);
    }
}

#[test]
fn deletes_stay_deleted_when_their_values_lie_in_tables() {
    let mut server = Server::start(&Options::default());
    let mut client = server.client();
    for index in 0..300 {
        assert_eq!(client.command(&["SET", &format!("k{index}"), "old"]), Reply::ok());
    }
    // On a stand-in this erases: the deletes below then find nothing, and nothing is what must be there.
    let flushed = client.say("FLUSHDB");
    assert_eq!(flushed, Reply::ok());
    for index in 0..300 {
        assert!(!client.command(&["DEL", &format!("k{index}")]).is_error());
    }
    server.crash_and_restart();
    let mut client = server.client();
    for index in 0..300 {
        assert_eq!(client.command(&["GET", &format!("k{index}")]), Reply::Nil, "k{index}");
    }
}
