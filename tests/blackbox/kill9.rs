//! kill -9 under load. The record of what was acknowledged is kept here, in a process that the crash does not touch.
//!
//! # Strategy
//! Each client owns its keys and sends one command at a time: an *intent* is noted before sending, an *acknowledgement* after
//! the reply. Half the clients keep all their keys in one shard by a hash tag: what survives of such a client must be its
//! history up to one point, every command whole. The keys of the others lie in all shards: each key by itself must hold a
//! version between the last one acknowledged and the last one intended. A value is a function of client, key and version,
//! so every byte is checked. Rounds go on in the same directory, some are killed again while they recover.
//! `scripts/crash-loop` does the same for longer and with more variety.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use crate::common::{Client, Options, Random, Reply, Server};

const CLIENTS: u64 = 6;
const KEYS: u64 = 40;

/// A version of a key: the number of the command that wrote it; none = absent.
type Version = Option<u64>;

/// What one client knows: the state behind its last acknowledged command, and the command whose fate is open.
#[derive(Debug, Clone)]
struct History {
    client: u64,
    state: BTreeMap<u64, Version>,
    sent: u64,
    open: Option<Vec<(u64, Version)>>,
}

impl History {
    fn new(client: u64) -> Self {
        let state = (0..KEYS).map(|key| (key, None)).collect();
        Self { client, state, sent: 0, open: None }
    }

    fn one_shard(&self) -> bool {
        self.client.is_multiple_of(2)
    }

    fn key(&self, key: u64) -> String {
        if self.one_shard() {
            format!("{{c{}}}:{key}", self.client)
        } else {
            format!("c{}:{key}", self.client)
        }
    }

    fn value(&self, key: u64, version: u64) -> Vec<u8> {
        let mut random = Random(version << 16 | self.client << 8 | key);
        let len = match random.below(100) {
            0 => 70_000,
            1..10 => 5_000,
            _ => random.below(400),
        };
        let mut value = format!("{}|{key}|{version}|", self.client).into_bytes();
        value.extend(random.bytes(usize::try_from(len).unwrap()));
        value
    }

    fn apply(&mut self, changes: &[(u64, Version)]) {
        self.state.extend(changes.iter().copied());
    }

    /// The next command: what it changes, and its words.
    fn next(&mut self, random: &mut Random) -> (Vec<(u64, Version)>, Vec<Vec<u8>>) {
        self.sent += 1;
        let number = self.sent;
        let mut changes: Vec<(u64, Version)> = Vec::new();
        let mut words: Vec<Vec<u8>> = Vec::new();
        let kind = random.below(10);
        let count = if kind < 6 { 1 } else { 2 + random.below(4) };
        words.push(
            if kind < 6 {
                "SET"
            } else if kind < 8 {
                "MSET"
            } else {
                "DEL"
            }
            .into(),
        );
        for _ in 0..count {
            let key = random.below(KEYS);
            words.push(self.key(key).into_bytes());
            if kind < 8 {
                words.push(self.value(key, number));
            }
            changes.push((key, (kind < 8).then_some(number)));
        }
        (changes, words)
    }

    /// Writes until the server is gone.
    fn write_until_killed(mut self, port: u16, mut random: Random) -> Self {
        let Ok(mut client) = Client::connect(port) else { return self };
        loop {
            let (changes, words) = self.next(&mut random);
            let Ok(reply) = client.try_command(&words) else {
                self.open = Some(changes);
                return self;
            };
            assert!(!reply.is_error(), "a write was refused: {reply:?}");
            self.apply(&changes);
        }
    }

    /// Reads every key back, compares, and takes what is there as the new state.
    fn verify(&mut self, client: &mut Client, what: &str) {
        let mut found = BTreeMap::new();
        for key in 0..KEYS {
            let name = self.key(key);
            let version = match client.command(&["GET", &name]) {
                Reply::Nil => None,
                Reply::Bulk(value) => {
                    let text = String::from_utf8_lossy(&value);
                    let version = text.split('|').nth(2).and_then(|part| part.parse().ok());
                    let version: u64 =
                        version.unwrap_or_else(|| panic!("{what}: {name} holds a foreign value"));
                    assert!(value == self.value(key, version), "{what}: {name}: damaged value");
                    Some(version)
                }
                other => panic!("{what}: GET {name}: {other:?}"),
            };
            found.insert(key, version);
        }
        let mut with_open = self.clone();
        with_open.apply(&self.open.take().unwrap_or_default());
        if self.one_shard() {
            let whole = found == self.state || found == with_open.state;
            assert!(
                whole,
                "{what}: client {}: neither all acknowledged commands nor those and the open one:\n found {found:?}\n \
                 acknowledged {:?}\n with the open one {:?}",
                self.client, self.state, with_open.state
            );
        } else {
            for (key, version) in &found {
                let allowed = [self.state[key], with_open.state[key]];
                assert!(
                    allowed.contains(version),
                    "{what}: {}: version {version:?}, allowed {allowed:?}",
                    self.key(*key)
                );
            }
        }
        self.state = found;
    }
}

fn verify_all(server: &Server, histories: &mut [History], what: &str) {
    let mut client = server.client();
    for history in histories.iter_mut() {
        history.verify(&mut client, what);
    }
    let live = histories.iter().flat_map(|history| history.state.values()).flatten().count();
    assert_eq!(client.say("DBSIZE"), Reply::Integer(i64::try_from(live).unwrap()), "{what}");
}

/// One directory through several loads, each cut by kill -9.
fn rounds(options: &Options, seed: u64, rounds: u64) {
    let mut random = Random(seed);
    let mut server = Server::start(options);
    let mut histories: Vec<History> = (0..CLIENTS).map(History::new).collect();
    for round in 0..rounds {
        let what = format!("seed {seed}, round {round}, {options:?}");
        let port = server.port();
        let writers: Vec<_> = histories
            .drain(..)
            .map(|history| {
                let random = Random(random.next());
                thread::spawn(move || history.write_until_killed(port, random))
            })
            .collect();
        thread::sleep(Duration::from_millis(100 + random.below(700)));
        server.kill9();
        histories = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        assert!(histories.iter().any(|history| history.sent > 0), "{what}: nothing was written");

        // Killed again while it recovers, at ever later moments.
        for attempt in 0..round.min(3) {
            let starts = 1_000 + u32::try_from(round * 10 + attempt).unwrap();
            let mut unready = Server::start_unready(server.home(), options, starts);
            thread::sleep(Duration::from_millis(random.below(120)));
            unready.kill9();
        }
        server.start_again(options);
        verify_all(&server, &mut histories, &what);
        // A second start answers the same.
        server.crash_and_restart();
        verify_all(&server, &mut histories, &format!("{what}, second start"));
    }
}

#[test]
fn acknowledged_writes_survive_in_always() {
    rounds(&Options { shards: Some(2), memtable: Some("2MB"), ..Options::default() }, 1, 4);
}

#[test]
fn acknowledged_writes_survive_in_everysec() {
    let options = Options {
        shards: Some(3),
        memtable: Some("3MB"),
        sync: Some("everysec"),
        ..Options::default()
    };
    rounds(&options, 2, 4);
}

#[test]
fn acknowledged_writes_survive_in_one_shard_with_the_default_memtable() {
    rounds(&Options { shards: Some(1), ..Options::default() }, 3, 2);
}
