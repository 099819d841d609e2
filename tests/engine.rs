//! The embedded engine on a real directory: what its handle promises.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusty_lsm::client::{Client, ClientError, Reply};
use rusty_lsm::command::Report;
use rusty_lsm::config::LsmConfig;
use rusty_lsm::net::listeners::MoreListeners;
use rusty_lsm::{Engine, EngineError};
use tempfile::TempDir;

const MEMTABLE_BYTES: usize = 8 << 20;

/// Not in /tmp, which may be memory.
fn temp_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn open(dir: &Path) -> Engine {
    Engine::open(dir, MEMTABLE_BYTES).unwrap()
}

/// Small segments: what is written in advance is most of what a short test writes.
fn open_small(dir: &Path) -> Engine {
    let config = LsmConfig {
        data_dir: dir.into(),
        memtable_capacity: Some(1 << 20),
        wal_segment_size: 1 << 20,
        ..LsmConfig::default()
    };
    Engine::with_config(config).unwrap()
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:06}").into_bytes()
}

fn all(engine: &Engine) -> Vec<(Vec<u8>, Vec<u8>)> {
    engine.scan::<&[u8]>(..).map(Result::unwrap).collect()
}

#[test]
fn put_get_delete() {
    let dir = temp_dir();
    let engine = open(dir.path());
    assert_eq!(engine.get(b"city").unwrap(), None);
    engine.put(b"city", b"Bern").unwrap();
    engine.put(b"", b"an empty key").unwrap();
    engine.put(b"empty", b"").unwrap();
    assert_eq!(engine.get(b"city").unwrap().unwrap(), b"Bern");
    assert_eq!(engine.get(b"").unwrap().unwrap(), b"an empty key");
    assert_eq!(engine.get(b"empty").unwrap().unwrap(), b"");
    engine.put(b"city", b"Basel").unwrap();
    assert_eq!(engine.get(b"city").unwrap().unwrap(), b"Basel");
    engine.delete(b"city").unwrap();
    engine.delete(b"never there").unwrap();
    assert_eq!(engine.get(b"city").unwrap(), None);
    engine.close().unwrap();
}

#[test]
fn a_scan_is_in_key_order_across_shards_and_within_its_bounds() {
    let dir = temp_dir();
    let engine = open(dir.path());
    // More than a page of each shard.
    let mut model = BTreeMap::new();
    for number in 0..1500 {
        // Written in another order than read.
        let number = number * 7919 % 1500;
        engine.put(&key(number), &number.to_le_bytes()).unwrap();
        model.insert(key(number), number.to_le_bytes().to_vec());
    }
    for number in (0..1500).step_by(3) {
        engine.delete(&key(number)).unwrap();
        model.remove(&key(number));
    }
    assert_eq!(all(&engine), model.clone().into_iter().collect::<Vec<_>>());
    let bounds = [
        (Bound::Included(key(100)), Bound::Excluded(key(200))),
        (Bound::Excluded(key(100)), Bound::Included(key(200))),
        (Bound::Excluded(key(101)), Bound::Included(key(101))),
        (Bound::Unbounded, Bound::Included(key(301))),
        (Bound::Included(key(1400)), Bound::Unbounded),
        (Bound::Included(b"l".to_vec()), Bound::Unbounded),
    ];
    for range in bounds {
        let found: Vec<_> = engine.scan(range.clone()).map(Result::unwrap).collect();
        // A map refuses a range that excludes its one key at both ends.
        let expected: Vec<_> = match &range {
            (Bound::Excluded(from), Bound::Included(to)) if from == to => Vec::new(),
            _ => model.range(range.clone()).map(|(k, v)| (k.clone(), v.clone())).collect(),
        };
        assert_eq!(found, expected, "{range:?}");
    }
    let backwards = (Bound::Included(key(200)), Bound::Excluded(key(100)));
    assert_eq!(engine.scan(backwards).count(), 0);
}

#[test]
fn a_scan_sees_what_was_there_when_it_began() {
    let dir = temp_dir();
    let engine = open(dir.path());
    for number in 0..1000 {
        engine.put(&key(number), b"before").unwrap();
    }
    let mut scan = engine.scan::<&[u8]>(..);
    assert_eq!(scan.next().unwrap().unwrap().0, key(0));
    for number in 0..1000 {
        engine.put(&key(number), b"after").unwrap();
    }
    engine.put(b"key:x", b"after").unwrap();
    engine.delete(&key(999)).unwrap();
    let rest: Vec<_> = scan.map(Result::unwrap).collect();
    assert_eq!(rest.len(), 999);
    assert!(rest.iter().all(|(_, value)| value == b"before"));
    assert_eq!(all(&engine).len(), 1000);
}

#[test]
fn large_values_are_scanned() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let value = |number: u64| vec![u8::try_from(number).unwrap(); 1_000_000];
    for number in 0..12 {
        engine.put(&key(number), &value(number)).unwrap();
    }
    let found = all(&engine);
    assert_eq!(found.len(), 12);
    for (number, (name, bytes)) in (0..).zip(found) {
        assert_eq!(name, key(number));
        assert!(bytes == value(number));
    }
}

#[test]
fn a_reopened_database_has_everything() {
    let dir = temp_dir();
    for round in 0..4_u64 {
        let engine = open(dir.path());
        let found = all(&engine);
        assert_eq!(found.len() as u64, round * 100);
        for number in round * 100..round * 100 + 100 {
            engine.put(&key(number), &round.to_le_bytes()).unwrap();
        }
        engine.close().unwrap();
    }
}

#[test]
fn a_database_larger_than_its_memtables_is_read_back_from_tables() {
    let dir = temp_dir();
    let value = |number: u64| {
        let word = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        word.iter().copied().cycle().take(2000).collect::<Vec<u8>>()
    };
    // Many writers: each sync carries the writes of all that wait.
    let engine = open_small(dir.path());
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let engine = engine.clone();
            scope.spawn(move || {
                for number in (writer..4000).step_by(16) {
                    engine.put(&key(number), &value(number)).unwrap();
                }
            });
        }
    });
    let tables = |dir: &Path| {
        let shards = fs::read_dir(dir).unwrap().map(|shard| shard.unwrap().path());
        let files =
            shards.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
        files
            .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "sst"))
            .count()
    };
    assert!(tables(dir.path()) > 0, "nothing was flushed");
    for number in 0..4000 {
        assert_eq!(engine.get(&key(number)).unwrap().unwrap(), value(number), "{number}");
    }
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(all(&engine).len(), 4000);
    assert_eq!(engine.get(&key(77)).unwrap().unwrap(), value(77));
    assert_eq!(engine.get(b"key:absent").unwrap(), None);
}

#[test]
fn a_dropped_handle_keeps_what_was_acknowledged() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let other = engine.clone();
    engine.put(b"a", b"1").unwrap();
    // Not the last handle: the database stays open.
    engine.close().unwrap();
    other.put(b"b", b"2").unwrap();
    let scan = other.scan::<&[u8]>(..);
    drop(other);
    // A scan is a handle, too.
    assert_eq!(scan.map(Result::unwrap).count(), 2);
    let engine = open(dir.path());
    assert_eq!(all(&engine).len(), 2);
}

#[test]
fn a_directory_is_opened_once_at_a_time() {
    let dir = temp_dir();
    let engine = open(dir.path());
    engine.put(b"a", b"1").unwrap();
    match Engine::open(dir.path(), MEMTABLE_BYTES) {
        Err(error @ EngineError::Locked(_)) => {
            let text = error.to_string();
            assert!(text.contains("is in use"), "{text}");
            assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
            assert!(error.is_retryable());
        }
        other => panic!("{other:?}"),
    }
    // The refused open has hurt nothing.
    engine.put(b"b", b"2").unwrap();
    engine.close().unwrap();
    let engine = open(dir.path());
    assert_eq!(all(&engine).len(), 2);
}

#[test]
fn what_cannot_be_opened_is_said() {
    let dir = temp_dir();
    fs::write(dir.path().join("letter.txt"), "not a database").unwrap();
    let error = Engine::open(dir.path(), MEMTABLE_BYTES).unwrap_err().to_string();
    assert!(error.contains("letter.txt"), "{error}");
    let error = Engine::open(dir.path().join("letter.txt"), MEMTABLE_BYTES).unwrap_err();
    assert!(error.to_string().contains("not a directory"), "{error}");
    let error = Engine::open(dir.path().join("new"), 1).unwrap_err().to_string();
    assert!(error.contains("memtable_capacity"), "{error}");
}

#[test]
fn limits_are_errors_and_nothing_else_changes() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let error = engine.put(&vec![b'k'; 65_537], b"v").unwrap_err();
    assert!(matches!(error, EngineError::Shard(_)), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(error.to_string(), "the key is 65537 bytes long, the limit is 65536");
    engine.put(&vec![b'k'; 65_536], b"v").unwrap();
    assert_eq!(all(&engine).len(), 1);
}

#[test]
fn a_handle_goes_to_any_thread() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Engine>();
    let dir = temp_dir();
    let engine = open(dir.path());
    let seen = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..8_u64 {
            let (engine, seen) = (engine.clone(), &seen);
            scope.spawn(move || {
                for number in 0..50 {
                    let key = key(writer * 50 + number);
                    engine.put(&key, &key).unwrap();
                    assert_eq!(engine.get(&key).unwrap().unwrap(), key);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(seen.into_inner(), 400);
    assert_eq!(all(&engine).len(), 400);
}

/// The way in for HTTP and the REPL: commands over a connection that is no port, though clients have to log in.
#[test]
fn a_connection_from_within_speaks_the_protocol_and_is_no_client() {
    let dir = temp_dir();
    let mut config = LsmConfig {
        data_dir: dir.path().into(),
        shards: Some(2),
        wal_segment_size: 1 << 20,
        ..LsmConfig::default()
    };
    config.requirepass = Some(rusty_lsm::access::PasswordDigest::of(b"secret"));
    let prepared = rusty_lsm::start::prepare(LsmConfig { port: 0, ..config }).unwrap();
    let server = prepared.start(None, MoreListeners::default(), None).unwrap();
    let connector = server.connector();
    let mut clients: Vec<Client> =
        (0..2).map(|core| Client::over_unix(connector.connect(core).unwrap())).collect();
    for number in 0..100_u8 {
        let client = &mut clients[usize::from(number % 2)];
        assert_eq!(
            client.command(&[&b"SET"[..], &[number], b"v"]).unwrap(),
            Reply::Status("OK".into())
        );
    }
    assert_eq!(clients[0].command(&["DBSIZE"]).unwrap(), Reply::Integer(100));
    assert_eq!(clients[1].command(&["RESET"]).unwrap(), Reply::Status("RESET".into()));
    assert_eq!(clients[1].command(&["GET", "\u{7}"]).unwrap(), Reply::Bulk(b"v".to_vec()));
    assert_eq!(clients[0].command(&["CLIENT", "LIST"]).unwrap(), Reply::Bulk(Vec::new()));
    assert_eq!(
        clients[0].command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap(),
        Reply::Integer(0)
    );
    let report = clients[0].command(&["STATS", "JSON"]).unwrap();
    let report = Report::from_json(report.bytes().unwrap()).unwrap();
    assert_eq!((report.keyspace.keys, report.clients.connected, report.shards.len()), (100, 0, 2));
    assert_eq!(report.commands["set"].calls, 100);
    server.stop().unwrap();
    assert!(matches!(clients[0].command(&["PING"]), Err(ClientError::Closed | ClientError::Io(_))));
    assert!(connector.connect(0).is_err());
}

/// A checkpoint of an open engine is a database of its own once it is restored, and refuses to be taken for one before.
#[test]
fn a_checkpoint_is_restored_as_it_was() {
    let dir = temp_dir();
    let (data, copy) = (dir.path().join("db"), dir.path().join("copy"));
    let engine = open_small(&data);
    for number in 0..200_u32 {
        engine.put(&number.to_le_bytes(), b"before").unwrap();
    }
    let made = dir.path().join("monday");
    engine.checkpoint(&made).unwrap();
    for number in 0..300_u32 {
        engine.put(&number.to_le_bytes(), b"after").unwrap();
    }
    let again = engine.checkpoint(&made).unwrap_err().to_string();
    assert!(again.contains("it exists"), "{again}");
    engine.close().unwrap();
    assert!(Engine::open(&made, MEMTABLE_BYTES).is_err(), "it is no data directory");
    let args = rusty_lsm::cli::data::RestoreArgs {
        checkpoint: made,
        data_dir: copy.clone(),
        replace: false,
        copy: false,
    };
    assert!(rusty_lsm::backup::restore(&args).unwrap());
    let engine = open_small(&copy);
    let all = all(&engine);
    assert_eq!(all.len(), 200);
    assert!(all.iter().all(|(_, value)| value == b"before"));
    engine.close().unwrap();
}
