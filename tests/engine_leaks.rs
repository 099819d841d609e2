//! What a closed engine leaves behind in its process: nothing that adds up, but for one known thing. A program of its own,
//! so that no other test opens files meanwhile. `RUSTY_LSM_LEAK_ROUNDS=1000` opens and closes as often as the bar says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use rusty_lsm::config::LsmConfig;
use rusty_lsm::engine::block_on;
use rusty_lsm::{Engine, WriteBatch};

/// Opened and closed in a usual run.
const ROUNDS: usize = 100;
const SHARDS: u32 = 2;

/// Eventfds that the end of each core leaves open: one that the runtime's executor never closes (glommio 0.9 leaks a
/// reference to its notifier with each task).
const EVENTFDS_PER_CORE: usize = 1;

/// Open descriptors of this process: eventfds, and all others.
fn descriptors() -> (usize, usize) {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    // The directory's own descriptor may be gone before it is asked.
    let names: Vec<_> = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok()).collect();
    let eventfds = names.iter().filter(|name| name.to_string_lossy().contains("[eventfd]")).count();
    (eventfds, names.len() - eventfds)
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// All that a core makes something for, and what nobody waits for any more.
fn everything(engine: &Engine) {
    let snapshot = engine.snapshot().unwrap();
    let mut batch = WriteBatch::new();
    (0..20_u8).for_each(|key| batch.put(&[key], &[key]));
    engine.write(batch).unwrap();
    assert_eq!(engine.multi_get(&[[1_u8], [2]]).unwrap(), [Some(vec![1]), Some(vec![2])]);
    engine.flush().unwrap();
    assert_eq!(snapshot.scan_reverse::<&[u8]>(..).count(), 1);
    let db = engine.asynch();
    assert_eq!(block_on(db.get(&[3])).unwrap().unwrap(), [3]);
    let mut scan = db.prefix(b"");
    assert!(block_on(scan.next()).is_some());
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(db.put(b"left", b"alone")).poll(&mut context);
    let _ = pin!(db.get(b"left")).poll(&mut context);
}

#[test]
fn opening_and_closing_leaves_no_file_and_no_thread() {
    let rounds =
        std::env::var("RUSTY_LSM_LEAK_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let round = |number: usize| {
        let config = LsmConfig {
            // A new one each time: what is measured is the process.
            data_dir: dir.path().join(number.to_string()),
            shards: Some(SHARDS),
            wal_segment_size: 1 << 20,
            memory: Some(256 << 20),
            ..LsmConfig::default()
        };
        let engine = Engine::with_config(config.clone()).unwrap();
        engine.put(b"round", &number.to_le_bytes()).unwrap();
        let scan = engine.scan::<&[u8]>(..);
        engine.close().unwrap();
        // Half of the rounds end by the drop of the last handle, and the iterator is one.
        assert_eq!(scan.count(), 1);
        let engine = Engine::with_config(config.clone()).unwrap();
        assert_eq!(engine.get(b"round").unwrap().unwrap(), number.to_le_bytes());
        everything(&engine);
        engine.close().unwrap();
        fs::remove_dir_all(config.data_dir).unwrap();
    };
    // What a process makes once.
    round(0);
    let ((eventfds, others), tasks) = (descriptors(), threads());
    (1..=rounds / 2).for_each(round);
    let ((eventfds_after, others_after), tasks_after) = (descriptors(), threads());
    assert_eq!((others_after, tasks_after), (others, tasks));
    let known = rounds / 2 * 2 * SHARDS as usize * EVENTFDS_PER_CORE;
    assert_eq!(eventfds_after - eventfds, known, "eventfds");
}
