//! Reads that go straight to where the key was found last answer as all others do.

use std::collections::BTreeMap;

use super::{key, open, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::options::{CompactionStyle, Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

const KEYS: u32 = 40;

/// A cache that holds everything: what is read a second time is read by its location.
fn options(seed: u64) -> Options {
    let style =
        if seed.is_multiple_of(3) { CompactionStyle::SizeTiered } else { CompactionStyle::Leveled };
    Options { block_cache_bytes: 1 << 20, style, ..tiny(SyncPolicy::Never) }
}

async fn look(shard: &Shard<SimEnv>, model: &BTreeMap<u32, Vec<u8>>, number: u32, place: &str) {
    let got = shard.get(&key(number)).await.unwrap();
    assert_eq!(got, model.get(&number).cloned(), "{place}");
}

#[test]
fn a_newer_version_is_seen_wherever_the_older_one_was_found() {
    for seed in 0..60 {
        let sim = Sim::new(seed);
        sim.run(async |env| {
            let shard = open(&env, options(seed)).await;
            let mut model = BTreeMap::new();
            let below = |bound: u64| env.random_u64() % bound;
            for step in 0..120 {
                let number = u32::try_from(below(KEYS.into())).unwrap();
                let key = key(number);
                match below(20) {
                    0..8 => {
                        let value = format!("{step:0>90}").into_bytes();
                        shard
                            .put_all(&[Op::Put { key: &key, value: &value, expires_at_ms: 0 }])
                            .await
                            .unwrap();
                        model.insert(number, value);
                    }
                    8..11 => {
                        shard.put_all(&[Op::Delete { key: &key }]).await.unwrap();
                        model.remove(&number);
                    }
                    11..13 => shard.flush().await.unwrap(),
                    // Compactions run, and what they replaced is given back.
                    13 => env.sleep(std::time::Duration::from_millis(below(3_000))).await,
                    14 if below(6) == 0 => {
                        shard.erase().await.unwrap();
                        model.clear();
                    }
                    // Twice: found, and found by its location.
                    _ => {
                        look(&shard, &model, number, "once").await;
                        look(&shard, &model, number, "twice").await;
                    }
                }
                for number in 0..KEYS {
                    look(
                        &shard,
                        &model,
                        number,
                        &format!("seed {seed}, step {step}, key {number}"),
                    )
                    .await;
                }
            }
            shard.close().await.unwrap();
        });
    }
}

/// Reads that run while a flush writes the very key that they look for.
#[test]
fn a_flush_under_way_hides_nothing() {
    for seed in 0..40 {
        let sim = Sim::new(seed);
        sim.run(async |env| {
            let shard = open(&env, options(seed)).await;
            for round in 0..8_u64 {
                let value = |number: u32| format!("{round}-{number}").into_bytes();
                for number in 0..KEYS {
                    let (key, value) = (key(number), value(number));
                    shard
                        .put_all(&[Op::Put { key: &key, value: &value, expires_at_ms: 0 }])
                        .await
                        .unwrap();
                }
                let flushed = std::rc::Rc::new(std::cell::Cell::new(false));
                let (task, told) = (shard.clone(), std::rc::Rc::clone(&flushed));
                env.spawn(crate::env::Queue::Commit, async move {
                    task.flush().await.unwrap();
                    told.set(true);
                });
                while !flushed.get() {
                    for number in 0..KEYS {
                        let got = shard.get(&key(number)).await.unwrap();
                        assert_eq!(got, Some(value(number)), "seed {seed}, round {round}");
                        env.pause().await;
                    }
                }
            }
            shard.close().await.unwrap();
        });
    }
}

/// Whoever still reads the erased tables keeps their blocks in the cache: no location may lead there.
#[test]
fn what_was_erased_is_not_found_where_it_was() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        let shard = open(&env, options(1)).await;
        for number in 0..KEYS {
            shard
                .put_all(&[Op::Put { key: &key(number), value: b"value", expires_at_ms: 0 }])
                .await
                .unwrap();
        }
        shard.flush().await.unwrap();
        for number in (0..KEYS).chain(0..KEYS) {
            assert!(shard.get(&key(number)).await.unwrap().is_some());
        }
        let mut scan = shard.scan(Range::all(), Direction::Forward);
        assert!(scan.next().await.unwrap().is_some());
        shard.erase().await.unwrap();
        for number in 0..KEYS {
            assert_eq!(shard.get(&key(number)).await.unwrap(), None);
        }
        drop(scan);
        shard.close().await.unwrap();
    });
}

#[test]
fn a_second_read_asks_no_filter() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        let shard = open(&env, Options::default()).await;
        for number in 0..KEYS {
            shard
                .put_all(&[Op::Put { key: &key(number), value: b"value", expires_at_ms: 0 }])
                .await
                .unwrap();
        }
        shard.flush().await.unwrap();
        // A newer table that holds none of them: its filter says so.
        let outside = [key(0), b"0".to_vec()].concat();
        shard
            .put_all(&[
                Op::Put { key: &outside, value: b"", expires_at_ms: 0 },
                Op::Put { key: &key(KEYS), value: b"", expires_at_ms: 0 },
            ])
            .await
            .unwrap();
        shard.flush().await.unwrap();
        let useful = || shard.stats().counters.filter_useful;
        for number in 1..KEYS {
            assert!(shard.get(&key(number)).await.unwrap().is_some());
        }
        // From disk, or from the blocks that the flush left in the cache.
        for number in 1..KEYS {
            assert!(shard.get(&key(number)).await.unwrap().is_some());
        }
        let before = useful();
        assert!(before > 0);
        for number in 1..KEYS {
            assert_eq!(shard.get(&key(number)).await.unwrap().as_deref(), Some(&b"value"[..]));
        }
        assert_eq!(useful(), before);
        shard.close().await.unwrap();
    });
}
