//! The estimate of the number of keys, beside what a scan counts.

use super::{key, open, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::options::{CompactionStyle, Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

async fn count(shard: &Shard<SimEnv>) -> u64 {
    let mut scan = shard.scan_keys(Range::all(), Direction::Forward);
    let mut count = 0;
    while scan.next().await.unwrap().is_some() {
        count += 1;
    }
    count
}

/// The estimate is exact if it says so, never 0 in vain, and else not far off.
async fn check(shard: &Shard<SimEnv>, off: u64, place: &str) {
    let (counted, estimate) = (count(shard).await, shard.key_estimate());
    assert!(!estimate.exact || estimate.keys == counted, "{place}: {estimate:?}, not {counted}");
    assert!(estimate.keys > 0 || counted == 0, "{place}: {estimate:?}, not {counted}");
    let far = estimate.keys.abs_diff(counted);
    assert!(far <= off, "{place}: {estimate:?}, not {counted}");
    assert!(estimate.expiring <= estimate.keys, "{place}: {estimate:?}");
}

/// Room for a few thousand small entries.
fn options() -> Options {
    Options {
        memtable_bytes: 1 << 20,
        wal_bytes_max: 16 << 20,
        wal_segment_bytes: 1 << 20,
        ..tiny(SyncPolicy::Never)
    }
}

async fn write(shard: &Shard<SimEnv>, numbers: std::ops::Range<u32>, op: impl Fn(&[u8]) -> Op<'_>) {
    let keys: Vec<_> = numbers.map(key).collect();
    let ops: Vec<_> = keys.iter().map(|key| op(key)).collect();
    shard.put_all(&ops).await.unwrap();
}

async fn put(shard: &Shard<SimEnv>, numbers: std::ops::Range<u32>, expires_at_ms: u64) {
    write(shard, numbers, |key| Op::Put { key, value: b"value", expires_at_ms }).await;
}

async fn delete(shard: &Shard<SimEnv>, numbers: std::ops::Range<u32>) {
    write(shard, numbers, |key| Op::Delete { key }).await;
}

#[test]
fn it_is_exact_where_there_is_one_run() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, options()).await;
        let exact = |keys, expiring, place: &str| {
            let found = shard.key_estimate();
            assert_eq!(
                (found.keys, found.expiring, found.exact),
                (keys, expiring, true),
                "{place}"
            );
        };
        exact(0, 0, "empty");
        put(&shard, 0..500, 0).await;
        put(&shard, 0..500, 0).await;
        exact(500, 0, "a memtable with overwrites");
        delete(&shard, 400..600).await;
        exact(400, 0, "with tombstones");
        let ends = env.wall_ms() + 60_000;
        put(&shard, 350..450, ends).await;
        exact(450, 100, "with times");
        put(&shard, 350..360, 0).await;
        delete(&shard, 360..370).await;
        exact(440, 80, "which are taken away");
        shard.flush().await.unwrap();
        exact(440, 80, "a table of L0");
        env.shift_wall_ms(59_000);
        exact(440, 80, "nearly at the end");
        env.shift_wall_ms(1_000);
        exact(360, 0, "expired");
        check(&shard, 0, "expired").await;
        shard.close().await.unwrap();
    });
}

#[test]
fn a_key_whose_end_was_put_off_is_there() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, options()).await;
        let now = env.wall_ms();
        put(&shard, 0..1, now + 60_000).await;
        put(&shard, 0..1, now + 600_000).await;
        env.shift_wall_ms(120_000);
        check(&shard, 0, "in a memtable").await;
        shard.flush().await.unwrap();
        check(&shard, 0, "in a table").await;
        shard.close().await.unwrap();
    });
}

#[test]
fn it_counts_each_key_of_several_runs_once() {
    for style in [CompactionStyle::Leveled, CompactionStyle::SizeTiered] {
        Sim::new(1).run(async |env| {
            let shard = open(&env, Options { style, ..options() }).await;
            for round in 0..6 {
                put(&shard, round * 400..round * 400 + 1200, 0).await;
                check(&shard, 120 + 40 * u64::from(round), "in memory").await;
                shard.flush().await.unwrap();
                check(&shard, 120 + 40 * u64::from(round), "flushed").await;
            }
            delete(&shard, 100..900).await;
            check(&shard, 250, "deleted").await;
            shard.flush().await.unwrap();
            check(&shard, 250, "deleted, flushed").await;
            env.sleep(std::time::Duration::from_secs(30)).await;
            check(&shard, 50, "at rest").await;
            shard.close().await.unwrap();
            let shard = open(&env, Options { style, ..options() }).await;
            check(&shard, 50, "after a restart").await;
            shard.close().await.unwrap();
        });
    }
}

/// The older versions have all expired, the newer ones of the same keys not: those count.
#[test]
fn keys_that_are_renewed_are_there() {
    Sim::new(1).run(async |env| {
        let options = Options {
            thresholds: crate::options::CompactionThresholds {
                l0_compact_tables: 50,
                l0_slow_tables: 60,
                l0_stop_tables: 70,
                ..options().thresholds
            },
            ..options()
        };
        let shard = open(&env, options).await;
        for round in 0..5 {
            put(&shard, 0..1500, env.wall_ms() + 60_000).await;
            shard.flush().await.unwrap();
            check(&shard, 150, &format!("round {round}")).await;
            env.shift_wall_ms(50_000);
            check(&shard, 150, &format!("round {round}, later")).await;
        }
        put(&shard, 0..1500, env.wall_ms() + 60_000).await;
        check(&shard, 100, "in memory").await;
        shard.close().await.unwrap();
    });
}
