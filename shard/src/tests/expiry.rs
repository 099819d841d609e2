//! Values that end at a time: absent from then on through every way in, wherever they lie.

use super::{key, open, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::options::{Options, SyncPolicy};
use crate::read::Read;
use crate::scan::Range;
use crate::shard::Shard;

/// How long the values of these tests live, in milliseconds.
const LIFE_MS: u64 = 60_000;

/// A cache that holds everything.
fn cached() -> Options {
    Options { block_cache_bytes: 1 << 20, ..tiny(SyncPolicy::Never) }
}

async fn put(shard: &Shard<SimEnv>, key: &[u8], value: &[u8], expires_at_ms: u64) {
    shard.put_all(&[Op::Put { key, value, expires_at_ms }]).await.unwrap();
}

/// What a point read answers, with the time of the end, and whether a block had to be read for it.
async fn look(shard: &Shard<SimEnv>, key: &[u8]) -> (Option<(Vec<u8>, u64)>, bool) {
    let owned = |value: &[u8], expires: u64| (value.to_vec(), expires);
    match shard.read(key, |found| found.value.map(|value| owned(value, found.expires_at_ms))) {
        Read::Done(found) => (found, false),
        Read::Disk(read) => {
            let found = read.finish().await.unwrap();
            (found.map(|value| owned(&value, value.expires_at_ms())), true)
        }
    }
}

/// Keys and values of a scan, with the times of their ends.
async fn scan(shard: &Shard<SimEnv>, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
    let mut scan = shard.scan(Range::all(), direction);
    let mut entries = Vec::new();
    while let Some(entry) = scan.next().await.unwrap() {
        entries.push((entry.key.to_vec(), entry.value.to_vec(), entry.expires_at_ms));
    }
    entries
}

/// One key that ends and one that stays, looked at by `way` before and after the end of the first.
#[expect(clippy::needless_pass_by_value, reason = "closures, written where they are given")]
fn absent_after_its_time(
    options: Options,
    prepare: impl AsyncFn(&Shard<SimEnv>),
    way: impl AsyncFn(&Shard<SimEnv>, &[u8]) -> Option<(Vec<u8>, u64)>,
) {
    Sim::new(1).run(async |env| {
        let shard = open(&env, options).await;
        let ends = env.wall_ms() + LIFE_MS;
        put(&shard, b"ends", b"value", ends).await;
        put(&shard, b"stays", b"value", 0).await;
        prepare(&shard).await;
        assert_eq!(way(&shard, b"ends").await, Some((b"value".to_vec(), ends)));
        assert_eq!(way(&shard, b"stays").await, Some((b"value".to_vec(), 0)));
        env.shift_wall_ms(LIFE_MS.cast_signed());
        assert_eq!(way(&shard, b"ends").await, None);
        assert_eq!(way(&shard, b"stays").await, Some((b"value".to_vec(), 0)));
        shard.close().await.unwrap();
    });
}

#[test]
fn expired_in_a_memtable() {
    absent_after_its_time(
        cached(),
        async |_| {},
        async |shard, key| {
            let (found, read) = look(shard, key).await;
            assert!(!read);
            found
        },
    );
}

#[test]
fn expired_in_a_cached_block() {
    absent_after_its_time(
        cached(),
        async |shard| shard.flush().await.unwrap(),
        async |shard, key| {
            // Without its location: by filter, index and cache.
            shard.cache().forget(crate::key::hash(key));
            let (found, read) = look(shard, key).await;
            assert!(!read, "new tables of L0 are in the cache");
            found
        },
    );
}

#[test]
fn expired_where_it_was_found_last() {
    absent_after_its_time(
        cached(),
        async |shard| shard.flush().await.unwrap(),
        async |shard, key| {
            look(shard, key).await;
            let hash = crate::key::hash(key);
            assert!(
                shard.cache().location(hash).is_some_and(|at| shard.cache().located(&at).is_some())
            );
            look(shard, key).await.0
        },
    );
}

#[test]
fn expired_and_foreseen() {
    for forget in [false, true] {
        absent_after_its_time(
            cached(),
            async |shard| shard.flush().await.unwrap(),
            async |shard, key| {
                if forget {
                    shard.cache().forget(crate::key::hash(key));
                }
                shard.foresee([key].into_iter());
                look(shard, key).await.0
            },
        );
    }
}

#[test]
fn expired_between_being_foreseen_and_read() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, cached()).await;
        put(&shard, b"ends", b"value", env.wall_ms() + LIFE_MS).await;
        shard.flush().await.unwrap();
        shard.foresee([&b"ends"[..]].into_iter());
        env.shift_wall_ms(LIFE_MS.cast_signed());
        assert_eq!(look(&shard, b"ends").await.0, None);
        shard.close().await.unwrap();
    });
}

#[test]
fn expired_on_disk() {
    absent_after_its_time(
        Options { block_cache_bytes: 0, ..tiny(SyncPolicy::Never) },
        async |shard| shard.flush().await.unwrap(),
        async |shard, key| {
            let (found, read) = look(shard, key).await;
            assert!(read, "nothing is kept in memory");
            found
        },
    );
}

#[test]
fn expired_in_scans() {
    for direction in [Direction::Forward, Direction::Backward] {
        for flush in [false, true] {
            absent_after_its_time(
                cached(),
                async |shard| {
                    if flush {
                        shard.flush().await.unwrap();
                    }
                },
                async |shard, key| {
                    let found = scan(shard, direction).await;
                    let found = found.into_iter().find(|(found, ..)| found == key);
                    found.map(|(_, value, ends)| (value, ends))
                },
            );
        }
    }
}

/// Large values are not kept for a scan of keys; the time of their end is.
#[test]
fn expired_in_scans_of_keys() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, cached()).await;
        let large = vec![7; 200 << 10];
        let ends = env.wall_ms() + LIFE_MS;
        put(&shard, b"a", &large, ends).await;
        put(&shard, b"b", &large, 0).await;
        shard.flush().await.unwrap();
        let keys = async || {
            let mut scan = shard.scan_keys(Range::all(), Direction::Forward);
            let mut keys = Vec::new();
            while let Some(entry) = scan.next().await.unwrap() {
                keys.push((entry.key.to_vec(), entry.expires_at_ms));
            }
            keys
        };
        assert_eq!(keys().await, [(b"a".to_vec(), ends), (b"b".to_vec(), 0)]);
        env.shift_wall_ms(LIFE_MS.cast_signed());
        assert_eq!(keys().await, [(b"b".to_vec(), 0)]);
        shard.close().await.unwrap();
    });
}

#[test]
fn a_scan_has_the_time_of_its_beginning() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, cached()).await;
        put(&shard, b"ends", b"value", env.wall_ms() + LIFE_MS).await;
        let mut scan = shard.scan(Range::all(), Direction::Forward);
        env.shift_wall_ms(LIFE_MS.cast_signed());
        assert!(scan.next().await.unwrap().is_some());
        shard.close().await.unwrap();
    });
}

#[test]
fn an_older_value_stays_hidden_below_an_expired_one() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, cached()).await;
        put(&shard, b"k", b"older", 0).await;
        shard.flush().await.unwrap();
        put(&shard, b"k", b"newer", env.wall_ms() + LIFE_MS).await;
        let absent = async |place: &str| {
            assert_eq!(look(&shard, b"k").await.0, None, "{place}");
            assert!(scan(&shard, Direction::Forward).await.is_empty(), "{place}");
            assert!(scan(&shard, Direction::Backward).await.is_empty(), "{place}");
        };
        env.shift_wall_ms(LIFE_MS.cast_signed());
        absent("in a memtable").await;
        shard.flush().await.unwrap();
        absent("in a table").await;
        env.sleep(std::time::Duration::from_secs(10)).await;
        absent("after compactions").await;
        shard.close().await.unwrap();
    });
}

#[test]
fn times_survive_a_restart_from_log_and_tables() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        let ends = env.wall_ms() + LIFE_MS;
        let shard = open(&env, cached()).await;
        put(&shard, &key(1), b"in a table", ends).await;
        shard.flush().await.unwrap();
        put(&shard, &key(2), b"in the log", ends).await;
        shard.close().await.unwrap();
        let shard = open(&env, cached()).await;
        for (number, value) in [(1, &b"in a table"[..]), (2, b"in the log")] {
            assert_eq!(look(&shard, &key(number)).await.0, Some((value.to_vec(), ends)));
        }
        shard.close().await.unwrap();
        env.shift_wall_ms(LIFE_MS.cast_signed());
        let shard = open(&env, cached()).await;
        for number in [1, 2] {
            assert_eq!(look(&shard, &key(number)).await.0, None);
        }
        shard.close().await.unwrap();
    });
}

#[test]
fn the_bound_of_a_value_is_of_the_users() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, cached()).await;
        let max = shard.options().value_bytes_max;
        put(&shard, b"k", &vec![1; max], u64::MAX).await;
        let over = vec![1; max + 1];
        let op = Op::Put { key: b"k", value: &over, expires_at_ms: u64::MAX };
        assert!(shard.put_all(&[op]).await.is_err());
        shard.flush().await.unwrap();
        assert_eq!(look(&shard, b"k").await.0, Some((vec![1; max], u64::MAX)));
        shard.close().await.unwrap();
    });
}
