//! The embedded engine beyond put and get: batches, values that end, snapshots, futures, and what is left when things go away.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rusty_lsm::engine::{
    AsyncEngine, CompactionThresholds, EngineFuture, Snapshot, SyncPolicy, block_on,
};
use rusty_lsm::{Engine, EngineError, Options, WriteBatch};
use tempfile::TempDir;

/// Not in /tmp, which may be memory.
fn temp_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Two shards, small segments.
fn open(dir: &Path) -> Engine {
    let options = Options::new().shards(2).memtable_bytes(1 << 20).wal_segment_bytes(1 << 20);
    options.memory(256 << 20).open(dir).unwrap()
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:06}").into_bytes()
}

fn all(
    pairs: impl Iterator<Item = rusty_lsm::engine::Result<(Vec<u8>, Vec<u8>)>>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.map(Result::unwrap).collect()
}

#[test]
fn a_batch_is_written_in_order_over_all_shards() {
    let dir = temp_dir();
    let engine = open(dir.path());
    engine.put(b"gone", b"x").unwrap();
    let mut batch = WriteBatch::new();
    for number in 0..500 {
        batch.put(&key(number), b"first");
        batch.put(&key(number), &number.to_le_bytes());
    }
    batch.delete(&key(7));
    batch.delete(b"gone");
    engine.write(batch).unwrap();
    engine.write(WriteBatch::new()).unwrap();
    let found = all(engine.scan::<&[u8]>(..));
    assert_eq!(found.len(), 499);
    assert!(found.iter().all(|(name, value)| *name != key(7) && value.len() == 8));
    drop(engine);
    // Crash or close, the log has all of it.
    let engine = open(dir.path());
    assert_eq!(all(engine.scan::<&[u8]>(..)), found);
    // Too large a part of a shard is refused as a whole.
    let mut batch = WriteBatch::new();
    batch.put(b"{t}small", b"x");
    batch.put(&[&b"{t}"[..], &vec![b'k'; 65_536]].concat(), b"x");
    assert!(matches!(engine.write(batch), Err(EngineError::Shard(_))));
    assert_eq!(engine.get(b"{t}small").unwrap(), None);
}

#[test]
fn values_end_and_say_when() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let mut batch = WriteBatch::new();
    batch.put(b"stays", b"1");
    batch.put_with_ttl(b"ends", b"2", Duration::from_secs(3600));
    batch.put_until(b"ended", b"3", 1);
    engine.write(batch).unwrap();
    let soon = SystemTime::now() + Duration::from_secs(3500);
    assert!(engine.expires_at(b"ends").unwrap().unwrap() > soon);
    assert_eq!(engine.expires_at(b"stays").unwrap(), None);
    assert_eq!(engine.expires_at(b"ended").unwrap(), None);
    assert_eq!(engine.get(b"ended").unwrap(), None);
    assert_eq!(all(engine.scan::<&[u8]>(..)).len(), 2);
    engine.flush().unwrap();
    assert!(engine.expires_at(b"ends").unwrap().unwrap() > soon, "in a table");
    engine.put(b"ends", b"plain").unwrap();
    assert_eq!(engine.expires_at(b"ends").unwrap(), None);
    // Longer than any clock goes.
    engine.put_with_ttl(b"far", b"x", Duration::MAX).unwrap();
    assert_eq!(engine.get(b"far").unwrap().unwrap(), b"x");
}

#[test]
fn many_keys_at_once_from_memory_and_disk() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let value = |number: u64| vec![u8::try_from(number % 251).unwrap(); 3_000];
    for from in (0..2_000).step_by(100) {
        let mut batch = WriteBatch::new();
        (from..from + 100).for_each(|number| batch.put(&key(number), &value(number)));
        engine.write(batch).unwrap();
    }
    engine.compact().unwrap();
    drop(engine);
    // Nothing cached.
    let engine = open(dir.path());
    let keys: Vec<Vec<u8>> = (0..2_100).rev().map(key).collect();
    for _ in 0..2 {
        let values = engine.multi_get(&keys).unwrap();
        assert_eq!(values.len(), 2_100);
        for (number, found) in (0..2_100_u64).rev().zip(values) {
            let expected = (number < 2_000).then(|| value(number));
            assert!(found == expected, "{number}");
        }
    }
    assert_eq!(engine.multi_get::<&[u8]>(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
    let stats = engine.stats().unwrap();
    assert!(stats.lsm.disk_reads > 0 && stats.keyspace.keys == 2_000, "{:?}", stats.keyspace);
}

#[test]
fn a_scan_goes_backwards_and_by_prefix() {
    let dir = temp_dir();
    let engine = open(dir.path());
    for number in 0..900 {
        engine.put(&key(number * 7919 % 900), b"v").unwrap();
    }
    engine.put(b"other", b"v").unwrap();
    let forward = all(engine.prefix(b"key:"));
    assert_eq!(forward.len(), 900);
    let mut backward = all(engine.scan_reverse("key:".."key;"));
    backward.reverse();
    assert_eq!(forward, backward);
    let some = all(engine.scan_reverse(key(10)..=key(12)));
    assert_eq!(
        some.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
        [key(12), key(11), key(10)]
    );
    assert_eq!(engine.prefix(b"nothing").count(), 0);
    assert_eq!(engine.prefix(b"").count(), 901);
}

#[test]
fn a_snapshot_stays_as_it_is() {
    let dir = temp_dir();
    let engine = open(dir.path());
    for number in 0..1_000 {
        engine.put(&key(number), b"before").unwrap();
    }
    engine.put_with_ttl(b"ends", b"soon", Duration::from_millis(1_500)).unwrap();
    let snapshot = engine.snapshot().unwrap();
    let clone = snapshot.clone();
    for number in 0..1_000 {
        if number % 2 == 0 {
            engine.put(&key(number), b"after").unwrap();
        } else {
            engine.delete(&key(number)).unwrap();
        }
    }
    // Through a flush and a compaction, which drop what nobody sees any more.
    engine.compact().unwrap();
    while engine.get(b"ends").unwrap().is_some() {
        std::thread::yield_now();
    }
    assert_eq!(engine.prefix(b"key:").count(), 500);
    for number in [0, 1, 500, 999] {
        assert_eq!(snapshot.get(&key(number)).unwrap().unwrap(), b"before");
    }
    // Its time stands still, too.
    assert_eq!(snapshot.get(b"ends").unwrap().unwrap(), b"soon");
    assert_eq!(snapshot.get(b"absent").unwrap(), None);
    drop(snapshot);
    let seen = all(clone.scan::<&[u8]>(..));
    assert_eq!(seen.len(), 1_001);
    assert!(seen.iter().all(|(key, value)| key == b"ends" || value == b"before"));
    let mut backward = all(clone.scan_reverse::<&[u8]>(..));
    backward.reverse();
    assert_eq!(backward, seen);
    assert_eq!(clone.prefix(b"key:0000").count(), 100);
    // It is a handle: the engine goes when it does.
    drop(engine);
    assert!(matches!(Options::new().open(dir.path()), Err(EngineError::Locked(_))));
    drop(clone);
    assert_eq!(all(open(dir.path()).prefix(b"key:")).len(), 500);
}

#[test]
fn a_scan_of_a_snapshot_outlives_it() {
    let dir = temp_dir();
    let engine = open(dir.path());
    for number in 0..2_000 {
        engine.put(&key(number), b"before").unwrap();
    }
    let mut scan = engine.snapshot().unwrap().scan::<&[u8]>(..);
    assert!(scan.next().is_some());
    engine.delete(&key(1_999)).unwrap();
    engine.compact().unwrap();
    assert_eq!(scan.count(), 1_999);
}

#[test]
fn what_is_flushed_and_compacted_is_told() {
    let dir = temp_dir();
    let engine = open(dir.path());
    for number in 0..200 {
        engine.put(&key(number % 10), &key(number)).unwrap();
    }
    let before = engine.stats().unwrap();
    assert!(before.persistence.changes_since_flush > 0 && before.lsm.tables == 0);
    engine.flush().unwrap();
    let after = engine.stats().unwrap();
    assert_eq!(after.persistence.changes_since_flush, 0);
    assert!(after.lsm.tables > 0);
    engine.compact().unwrap();
    assert_eq!(engine.stats().unwrap().keyspace.keys, 10);
    assert_eq!(engine.stats().unwrap().shards.len(), 2);
}

#[test]
fn futures_do_all_that_blocking_calls_do() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let db = engine.asynch();
    block_on(async {
        db.put(b"a", b"1").await?;
        db.put_with_ttl(b"b", b"2", Duration::from_secs(60)).await?;
        let mut batch = WriteBatch::new();
        batch.put(b"c", b"3");
        db.write(batch).await?;
        assert_eq!(db.get(b"a").await?.unwrap(), b"1");
        assert!(db.expires_at(b"b").await?.is_some());
        assert_eq!(
            db.multi_get(&["a", "x", "c"]).await?,
            [Some(b"1".to_vec()), None, Some(b"3".to_vec())]
        );
        let snapshot = db.snapshot().await?;
        db.delete(b"a").await?;
        assert_eq!(db.get(b"a").await?, None);
        assert_eq!(snapshot.get(b"a").await?.unwrap(), b"1");
        let mut scan = snapshot.scan::<&[u8]>(..);
        let mut keys = Vec::new();
        while let Some(pair) = scan.next().await {
            keys.push(pair?.0);
        }
        assert_eq!(keys, [b"a", b"b", b"c"]);
        let mut last = db.scan_reverse::<&[u8]>(..);
        assert_eq!(last.next().await.unwrap()?.0, b"c");
        assert_eq!(snapshot.prefix(b"c").next().await.unwrap()?.1, b"3");
        db.flush().await?;
        db.compact().await?;
        assert_eq!(db.stats().await?.keyspace.keys, 2);
        let checkpoint = dir.path().join("monday");
        db.checkpoint(&checkpoint).await?;
        assert!(checkpoint.exists());
        assert!(matches!(db.checkpoint(&checkpoint).await, Err(EngineError::Checkpoint(_))));
        Ok::<(), EngineError>(())
    })
    .unwrap();
    // The other kind of handle is gone: the database is open still.
    drop(engine);
    assert!(matches!(Options::new().open(dir.path()), Err(EngineError::Locked(_))));
    block_on(db.clone().close()).unwrap();
    assert!(matches!(Options::new().open(dir.path()), Err(EngineError::Locked(_))), "db is open");
    block_on(db.close()).unwrap();
    open(dir.path()).close().unwrap();
}

/// On a runtime that knows nothing of the engine, many at once.
#[test]
fn futures_run_on_any_runtime_and_together() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let db = engine.asynch();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..300)
            .map(|number| {
                let db: AsyncEngine = db.clone();
                tokio::spawn(async move {
                    db.put(&key(number), &number.to_le_bytes()).await?;
                    db.get(&key(number)).await
                })
            })
            .collect();
        for (number, task) in (0..300_u64).zip(tasks) {
            assert_eq!(task.await.unwrap().unwrap().unwrap(), number.to_le_bytes());
        }
        let mut scan = db.scan::<&[u8]>(..);
        let mut count = 0;
        while let Some(pair) = scan.next().await {
            pair.unwrap();
            count += 1;
        }
        assert_eq!(count, 300);
    });
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_dropped_future_takes_nothing_back_and_does_nothing_before_its_first_poll() {
    let dir = temp_dir();
    let engine = open(dir.path());
    let db = engine.asynch();
    drop(db.put(b"never polled", b"x"));
    for number in 0..100 {
        let _ = poll_once(&mut db.put(&key(number), b"x"));
    }
    // Reads that nobody waits for, from memory and of pages, and a scan left in the middle of a page.
    for number in 0..100 {
        let _ = poll_once(&mut db.get(&key(number)));
        let mut scan = db.scan::<&[u8]>(..);
        let _ = pin!(scan.next()).poll(&mut Context::from_waker(Waker::noop()));
    }
    // A page on its way is not lost with the future that asked for it.
    let mut scan = db.scan::<&[u8]>(..);
    let mut seen = 0;
    loop {
        let polled = pin!(scan.next()).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(None) => break,
            Poll::Ready(Some(pair)) => {
                pair.unwrap();
                seen += 1;
            }
            Poll::Pending => std::thread::yield_now(),
        }
    }
    assert_eq!(seen, 100);
    assert_eq!(engine.get(b"never polled").unwrap(), None);
    drop((scan, db));
    engine.close().unwrap();
    assert_eq!(all(open(dir.path()).scan::<&[u8]>(..)).len(), 100);
}

#[test]
fn all_handles_and_futures_go_to_any_thread() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + Unpin + 'static>() {}
    shared::<Engine>();
    shared::<AsyncEngine>();
    shared::<Snapshot>();
    sent::<EngineFuture<()>>();
    sent::<rusty_lsm::engine::ScanIter>();
    sent::<rusty_lsm::engine::AsyncScan>();
    sent::<WriteBatch>();
}

#[test]
fn options_reach_the_shards_and_wrong_ones_are_refused() {
    let dir = temp_dir();
    let engine = Options::new()
        .shards(1)
        .sync(SyncPolicy::Never)
        .memory(512 << 20)
        .memtable_bytes(2 << 20)
        .block_cache_bytes(8 << 20)
        .block_bytes(16 << 10)
        .compression(false)
        .filter_bits_per_key(12)
        .table_bytes(4 << 20)
        .verify_tables(true)
        .wal_segment_bytes(1 << 20)
        .wal_bytes(64 << 20)
        .value_bytes_max(1 << 20)
        .open(dir.path().join("d"))
        .unwrap();
    let stats = engine.stats().unwrap();
    assert_eq!((stats.shards.len(), stats.lsm.sync.as_str()), (1, "no"));
    let error = engine.put(b"k", &vec![0; (1 << 20) + 1]).unwrap_err().to_string();
    assert!(error.contains("the limit is 1048576"), "{error}");
    engine.close().unwrap();
    let error = Options::new().shards(3).open(dir.path().join("d")).unwrap_err();
    assert!(matches!(error, EngineError::Start(_)), "{error:?}");
    assert!(!error.is_retryable() && error.to_string().contains("shard"), "{error}");
}

/// A value out of its limits is as wrong in a program as in a file, and nothing is made of it.
#[test]
fn each_option_has_the_limits_of_its_setting() {
    let dir = temp_dir();
    let place = dir.path().join("d");
    let thresholds = CompactionThresholds { tier_width: 0, ..CompactionThresholds::default() };
    for (name, options) in [
        ("block_size", Options::new().block_bytes(1 << 20)),
        ("block_size", Options::new().block_bytes(0)),
        ("table_size", Options::new().table_bytes(1)),
        ("filter_bits_per_key", Options::new().filter_bits_per_key(1 << 40)),
        ("wal_segment_size", Options::new().wal_segment_bytes(1)),
        ("wal_capacity", Options::new().wal_bytes(1)),
        ("proto_max_bulk_len", Options::new().value_bytes_max(1 << 40)),
        ("compaction_thresholds.tier_width", Options::new().compaction_thresholds(thresholds)),
        ("shards", Options::new().shards(0)),
        ("shards", Options::new().shards(1 << 20)),
        ("memtable_capacity", Options::new().memtable_bytes(0)),
        ("memory", Options::new().memory(0)),
        ("block_cache_capacity", Options::new().block_cache_bytes(0)),
    ] {
        let error = options.open(&place).unwrap_err();
        assert!(matches!(error, EngineError::Start(_)), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(!place.exists(), "{name}");
    }
}

/// One step of a made-up story.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Batch(Vec<(u8, Option<u8>)>),
    Snapshot,
    Flush,
    Compact,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..40_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..40_u8).prop_map(Step::Delete),
        3 => proptest::collection::vec((0..40_u8, any::<Option<u8>>()), 0..8).prop_map(Step::Batch),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Flush),
        1 => Just(Step::Compact),
        2 => Just(Step::Look),
    ];
    proptest::collection::vec(step, 1..60)
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn compare(seen: &[(Vec<u8>, Vec<u8>)], model: &Model) {
    assert_eq!(seen, model.clone().into_iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The engine beside a map, and each snapshot beside the map as it was.
    #[test]
    fn the_engine_is_a_map_and_snapshots_are_copies(story in steps()) {
        let dir = temp_dir();
        let options = Options::new().shards(2).sync(SyncPolicy::Never).wal_segment_bytes(1 << 20);
        let engine = options.memory(256 << 20).memtable_bytes(1 << 20).open(dir.path()).unwrap();
        let mut model = Model::new();
        let mut snapshots: Vec<(Snapshot, Model)> = Vec::new();
        for step in story {
            match step {
                Step::Put(key, value) => {
                    engine.put(&[key], &[value]).unwrap();
                    model.insert(vec![key], vec![value]);
                }
                Step::Delete(key) => {
                    engine.delete(&[key]).unwrap();
                    model.remove(&[key][..]);
                }
                Step::Batch(writes) => {
                    let mut batch = WriteBatch::new();
                    for (key, value) in writes {
                        if let Some(value) = value {
                            batch.put(&[key], &[value]);
                            model.insert(vec![key], vec![value]);
                        } else {
                            batch.delete(&[key]);
                            model.remove(&[key][..]);
                        }
                    }
                    engine.write(batch).unwrap();
                }
                Step::Snapshot => snapshots.push((engine.snapshot().unwrap(), model.clone())),
                Step::Flush => engine.flush().unwrap(),
                Step::Compact => engine.compact().unwrap(),
                Step::Look => compare(&all(engine.scan::<&[u8]>(..)), &model),
            }
        }
        compare(&all(engine.scan::<&[u8]>(..)), &model);
        let keys: Vec<[u8; 1]> = (0..40).map(|key| [key]).collect();
        let expected: Vec<_> = keys.iter().map(|key| model.get(&key[..]).cloned()).collect();
        prop_assert_eq!(engine.multi_get(&keys).unwrap(), expected);
        for (snapshot, then) in &snapshots {
            compare(&all(snapshot.scan::<&[u8]>(..)), then);
            for key in &keys {
                prop_assert_eq!(snapshot.get(key).unwrap(), then.get(&key[..]).cloned());
            }
        }
    }
}
