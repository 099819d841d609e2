//! Each path of a shard, once.

use std::ops::Bound;
use std::time::Duration;

use super::{key, open, open_with_report, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Fault, Kind, Sim, SimEnv};
use crate::error::Error;
use crate::manifest::FileName;
use crate::options::{Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

async fn put(shard: &Shard<SimEnv>, key: &[u8], value: &[u8]) {
    shard.put_all(&[Op::Put { key, value, expires_at_ms: 0 }]).await.unwrap();
}

async fn keys(shard: &Shard<SimEnv>, range: Range, direction: Direction) -> Vec<Vec<u8>> {
    let mut scan = shard.scan(range, direction);
    let mut keys = Vec::new();
    while let Some(entry) = scan.next().await.unwrap() {
        keys.push(entry.key.to_vec());
    }
    keys
}

#[test]
fn what_was_written_is_read_and_survives_a_reopen() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never] {
        let sim = Sim::new(1);
        sim.run(async move |env| {
            let shard = open(&env, Options { sync: policy, ..Options::default() }).await;
            put(&shard, b"a", b"1").await;
            put(&shard, b"b", b"").await;
            put(&shard, b"a", b"2").await;
            shard
                .put_all(&[
                    Op::Delete { key: b"b" },
                    Op::Put { key: b"c", value: b"3", expires_at_ms: 0 },
                ])
                .await
                .unwrap();
            assert_eq!(shard.get(b"a").await.unwrap().as_deref(), Some(&b"2"[..]));
            assert_eq!(shard.get(b"b").await.unwrap(), None);
            shard.close().await.unwrap();
            let (shard, report) = open_with_report(&env, tiny(policy)).await.unwrap();
            assert_eq!((report.wal_ops, report.bytes_cut), (5, 0));
            assert_eq!(shard.get(b"a").await.unwrap().as_deref(), Some(&b"2"[..]));
            assert_eq!(shard.get(b"b").await.unwrap(), None);
            assert_eq!(shard.get(b"c").await.unwrap().as_deref(), Some(&b"3"[..]));
            shard.close().await.unwrap();
        });
    }
}

#[test]
fn flush_and_compaction_keep_what_was_written() {
    let sim = Sim::new(2);
    sim.run(async |env| {
        let options = Options { block_cache_bytes: 2 << 10, ..tiny(SyncPolicy::Always) };
        let shard = open(&env, options).await;
        for round in 0..6_u32 {
            for number in 0..200 {
                put(&shard, &key(number), format!("value {number} of round {round}").as_bytes())
                    .await;
            }
        }
        shard.flush().await.unwrap();
        let stats = shard.stats();
        assert!(stats.counters.flushes > 10, "{stats:?}");
        assert!(stats.counters.compactions > 3, "{stats:?}");
        assert_eq!(stats.memtable_entries, 0);
        assert!(stats.compaction_pending_bytes > 0, "{stats:?}");
        for number in 0..200 {
            let value = shard.get(&key(number)).await.unwrap().unwrap();
            assert_eq!(value, format!("value {number} of round 5").into_bytes());
        }
        assert_eq!(shard.get(b"key-00200").await.unwrap(), None);
        assert!(shard.stats().counters.disk_reads > 0);
        // What is obsolete is gone: segments below the flushed one, and tables that no version names.
        env.sleep(Duration::from_secs(5)).await;
        let names = env.list(shard.dir()).await.unwrap();
        let stats = shard.stats();
        assert_eq!((stats.compaction_pending_bytes, stats.compaction_running), (0, false));
        let count =
            |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count() as u64;
        assert_eq!(count(".sst"), stats.tables(), "{names:?}");
        assert!(count(".wal") <= stats.wal_live_segments + 1, "{names:?} {stats:?}");
        shard.close().await.unwrap();
    });
    assert!(sim.dropped_open().is_empty(), "{:?}", sim.dropped_open());
}

#[test]
fn a_scan_sees_one_moment_in_both_directions() {
    let sim = Sim::new(3);
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for number in 0..300 {
            put(&shard, &key(number), b"old").await;
        }
        let mut scan = shard.scan(Range::all(), Direction::Forward);
        assert_eq!(scan.next().await.unwrap().unwrap().key, key(0));
        for number in 0..300 {
            if number % 3 == 0 {
                shard.put_all(&[Op::Delete { key: &key(number) }]).await.unwrap();
            } else {
                put(&shard, &key(number), b"new").await;
            }
        }
        shard.flush().await.unwrap();
        let mut seen = 1;
        while let Some(entry) = scan.next().await.unwrap() {
            assert_eq!((entry.key, entry.value), (key(seen).as_slice(), &b"old"[..]));
            seen += 1;
        }
        assert_eq!(seen, 300);
        drop(scan);
        let live: Vec<_> = (0..300).filter(|number| number % 3 != 0).map(key).collect();
        assert_eq!(keys(&shard, Range::all(), Direction::Forward).await, live);
        let mut back = keys(&shard, Range::all(), Direction::Backward).await;
        back.reverse();
        assert_eq!(back, live);
        let range = Range { from: Bound::Excluded(key(10)), to: Bound::Included(key(14)) };
        let some = keys(&shard, range.clone(), Direction::Forward).await;
        assert_eq!(some, [key(11), key(13), key(14)]);
        let mut back = keys(&shard, range, Direction::Backward).await;
        back.reverse();
        assert_eq!(back, some);
        assert_eq!(keys(&shard, Range::prefix(b"key-0001"), Direction::Forward).await.len(), 7);
        shard.close().await.unwrap();
    });
}

#[test]
fn an_erase_is_durable_and_leaves_nothing() {
    let sim = Sim::new(4);
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for number in 0..500 {
            put(&shard, &key(number), b"value").await;
        }
        shard.erase().await.unwrap();
        assert_eq!(keys(&shard, Range::all(), Direction::Forward).await.len(), 0);
        put(&shard, b"after", b"1").await;
        assert_eq!(shard.stats().tables(), 0);
        shard.close().await.unwrap();
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        assert_eq!(keys(&shard, Range::all(), Direction::Forward).await, [b"after"]);
        let names = env.list(shard.dir()).await.unwrap();
        let is_table = |name: &String| matches!(FileName::parse(name), Some(FileName::Table(_)));
        assert!(!names.iter().any(is_table), "{names:?}");
        shard.close().await.unwrap();
    });
}

/// R25: what an erase calls flushed the log holds, also where a completed write is not durable by itself.
#[test]
fn an_erase_waits_until_the_log_holds_what_it_erases() {
    for policy in [SyncPolicy::EverySecond, SyncPolicy::Never] {
        let sim = Sim::new(4);
        sim.run(async |env| {
            let shard = open(&env, tiny(policy)).await;
            put(&shard, b"a", b"1").await;
            assert_eq!(shard.stats().durable_seq, 0);
            shard.erase().await.unwrap();
            assert_eq!(shard.stats().durable_seq, 1);
        });
        let after = sim.crash(crate::env::sim::Crash::SyncedOnly, 0);
        after.run(async |env| {
            let shard = open(&env, tiny(policy)).await;
            assert_eq!(keys(&shard, Range::all(), Direction::Forward).await.len(), 0);
            shard.close().await.unwrap();
        });
    }
}

#[test]
fn large_values_and_keys_up_to_their_limits() {
    let sim = Sim::new(5);
    sim.run(async |env| {
        let options = tiny(SyncPolicy::Always);
        let shard = open(&env, options.clone()).await;
        let large = vec![7; options.value_bytes_max];
        let long = vec![b'k'; crate::limits::KEY_BYTES_MAX];
        put(&shard, b"large", &large).await;
        put(&shard, &long, b"long").await;
        let over = vec![7; options.value_bytes_max + 1];
        let refused = shard.put_all(&[Op::Put { key: b"x", value: &over, expires_at_ms: 0 }]).await;
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
        let over = vec![b'k'; crate::limits::KEY_BYTES_MAX + 1];
        assert!(shard.put_all(&[Op::Delete { key: &over }]).await.is_err());
        for _ in 0..2 {
            assert_eq!(shard.get(b"large").await.unwrap().unwrap(), large);
            assert_eq!(shard.get(&long).await.unwrap().unwrap(), b"long");
            shard.flush().await.unwrap();
        }
        shard.close().await.unwrap();
        let shard = open(&env, options).await;
        assert_eq!(shard.get(b"large").await.unwrap().unwrap(), large);
        shard.close().await.unwrap();
    });
}

#[test]
fn a_read_of_an_unsynced_write_is_gated_under_always_only() {
    use crate::read::Read;
    for (policy, gated) in [(SyncPolicy::Always, true), (SyncPolicy::EverySecond, false)] {
        let sim = Sim::new(6);
        sim.run(async move |env| {
            let shard = open(&env, tiny(policy)).await;
            let seq = shard.write(&[Op::Put { key: b"a", value: b"1", expires_at_ms: 0 }]).unwrap();
            assert!(shard.released_seq() < seq);
            let Read::Done(gate) = shard.read(b"a", |found| found.gate) else {
                panic!("in memory")
            };
            assert_eq!(gate > shard.released_seq(), gated);
            // Whoever waits for the value has it once it is durable.
            assert_eq!(shard.get(b"a").await.unwrap().as_deref(), Some(&b"1"[..]));
            assert_eq!(shard.released_seq() >= seq, gated);
            shard.released(seq).await.unwrap();
            assert_eq!(shard.released_seq(), seq);
            shard.close().await.unwrap();
        });
    }
}

#[test]
fn idle_shards_drain_and_everysec_syncs_without_traffic() {
    let sim = Sim::new(7);
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::EverySecond)).await;
        put(&shard, b"a", b"1").await;
        let stats = shard.stats();
        assert!(stats.durable_seq < stats.last_seq);
        env.sleep(Duration::from_secs(3)).await;
        let stats = shard.stats();
        assert_eq!(stats.durable_seq, stats.last_seq);
        shard.close().await.unwrap();
    });
}

#[test]
fn a_stronger_policy_waits_for_what_was_acknowledged_under_a_weaker_one() {
    let sim = Sim::new(7);
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::Never)).await;
        put(&shard, b"a", b"1").await;
        assert!(shard.stats().durable_seq < shard.stats().last_seq);
        shard.set_policy(SyncPolicy::Always).await.unwrap();
        assert_eq!(shard.stats().durable_seq, shard.stats().last_seq);
        // In the segment that was made for the weaker one, and in those that follow.
        for number in 0..200 {
            put(&shard, &key(number), &[b'v'; 400]).await;
            assert_eq!(shard.stats().durable_seq, shard.stats().last_seq);
        }
        shard.set_policy(SyncPolicy::Never).await.unwrap();
        assert_eq!(shard.policy(), SyncPolicy::Never);
        put(&shard, b"b", b"1").await;
        shard.set_policy(SyncPolicy::Always).await.unwrap();
        assert_eq!(shard.stats().durable_seq, shard.stats().last_seq);
        shard.close().await.unwrap();
    });
}

/// Found by starting an empty database five times: each start left its two segments behind.
#[test]
fn restarts_do_not_pile_up_segments() {
    let sim = Sim::new(8);
    sim.run(async |env| {
        for start in 0..12_u32 {
            let shard =
                open(&env, Options { memtable_bytes: 1 << 20, ..tiny(SyncPolicy::Always) }).await;
            // Empty at first; then something small that never fills a memtable.
            if start > 4 {
                put(&shard, &key(start), b"value").await;
            }
            env.sleep(Duration::from_secs(3)).await;
            let names = env.list(shard.dir()).await.unwrap();
            let segments = names.iter().filter(|name| name.contains(".wal")).count();
            assert!(segments <= 12, "{segments} after {start} starts");
            if start == 4 {
                assert!(segments <= 3, "{segments} for an empty database");
            }
            shard.close().await.unwrap();
        }
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for start in 5..12 {
            assert!(shard.get(&key(start)).await.unwrap().is_some());
        }
        shard.close().await.unwrap();
    });
}

/// R21: such a file says that the manifest lacks edits. It is data that a start would remove as an orphan.
#[test]
fn a_file_whose_number_was_never_given_out_is_no_orphan() {
    for (number, refused) in [(1, false), (900_000, true)] {
        let sim = Sim::new(32);
        sim.run(async |env| {
            let shard = open(&env, tiny(SyncPolicy::Always)).await;
            put(&shard, b"a", b"1").await;
            shard.close().await.unwrap();
        });
        let stray = crate::table::path(std::path::Path::new(crate::tests::DIR), number);
        sim.write_raw(&stray, b"a table");
        sim.run(async |env| match open_with_report(&env, tiny(SyncPolicy::Always)).await {
            Ok((shard, report)) => {
                assert!(!refused);
                assert_eq!(report.orphans_removed, 1);
                shard.close().await.unwrap();
            }
            Err(Error::Corruption { what, .. }) => {
                assert!(refused && what.contains("a number that was never given out"), "{what}");
                assert!(sim.files().iter().any(|(path, _)| *path == stray), "it was removed");
            }
            Err(other) => panic!("{other}"),
        });
    }
}

/// R18, R19: an idle second after the last batch, and after a close, damage in it is no torn tail any more.
#[test]
fn damage_in_the_last_batch_is_told_from_a_torn_tail_after_an_idle_second() {
    use crate::env::sim::Crash;
    for (idle_ms, is_closed) in [(0, false), (2_500, false), (0, true)] {
        let refused = idle_ms > 0 || is_closed;
        let sim = Sim::new(9);
        let at = sim.run(async |env| {
            let shard =
                open(&env, Options { sync: SyncPolicy::Always, ..Options::default() }).await;
            put(&shard, b"a", b"1").await;
            put(&shard, b"last", b"2").await;
            let before = shard.stats().counters;
            env.sleep(Duration::from_millis(idle_ms)).await;
            let after = shard.stats().counters;
            // Two frames, once: the seconds after them are silent.
            let written = after.wal_bytes - before.wal_bytes;
            assert_eq!(written, if idle_ms > 0 { 2 * 4096 } else { 0 });
            assert_eq!(after.wal_ops, 2);
            if is_closed {
                shard.close().await.unwrap();
            }
            // Header, chain, the first batch.
            3 * 4096
        });
        let after = sim.crash(Crash::SyncedOnly, 0);
        let (log, _) = after
            .files()
            .into_iter()
            .find(|(path, _)| path.extension().is_some_and(|ending| ending == "wal"))
            .unwrap();
        after.flip(&log, at + 52, 1);
        after.run(async |env| match open_with_report(&env, tiny(SyncPolicy::Always)).await {
            Ok((shard, report)) => {
                assert!(!refused);
                assert_eq!((report.wal_ops, report.bytes_cut), (1, 4096));
                shard.close().await.unwrap();
            }
            Err(Error::Corruption { path, offset, .. }) => {
                assert!(refused);
                assert_eq!((path, offset), (log, at));
            }
            Err(other) => panic!("{other}"),
        });
    }
}

/// A write just after a sync began waited for the second tick after it: almost two seconds.
#[test]
fn everysec_syncs_within_a_second_whenever_the_last_sync_was() {
    for offset_ms in (0..1_000).step_by(90) {
        let sim = Sim::new(10);
        sim.run(async |env| {
            let shard = open(&env, tiny(SyncPolicy::EverySecond)).await;
            env.sleep(Duration::from_millis(1_000 + offset_ms)).await;
            // The last sync is long ago: this one is synced at once, and starts the second.
            put(&shard, &key(1), b"value").await;
            env.sleep(Duration::from_millis(20)).await;
            assert_eq!(shard.stats().durable_seq, 1);
            put(&shard, &key(2), b"value").await;
            env.sleep(Duration::from_millis(1_100)).await;
            assert_eq!(shard.stats().durable_seq, 2, "the tick was {offset_ms} ms before");
            shard.close().await.unwrap();
        });
    }
}

/// Found by an old block over the last one: a segment that is full to its last block has no room for a witness.
#[test]
fn the_next_segment_is_the_witness_of_a_full_one() {
    let sim = Sim::new(11);
    let options = Options { memtable_bytes: 1 << 20, ..tiny(SyncPolicy::Always) };
    let opened = options.clone();
    sim.run(async |env| {
        let shard = open(&env, opened).await;
        // One block each: header, chain and these fill the first segment.
        for number in 0..6 {
            put(&shard, &key(number), b"value").await;
        }
        env.sleep(Duration::from_millis(2_500)).await;
        assert_eq!(shard.stats().wal_live_segments, 2);
    });
    let after = sim.crash(crate::env::sim::Crash::SyncedOnly, 0);
    let mut files = after.files().into_iter().map(|(path, _)| path);
    let first = files.find(|path| path.to_string_lossy().ends_with(".wal")).unwrap();
    let mut bytes = after.read_raw(&first);
    assert_eq!(bytes.len(), 8 * 4096);
    assert!(bytes[7 * 4096..].iter().any(|&byte| byte != 0), "the last block is used");
    bytes[7 * 4096..].fill(0);
    after.write_raw(&first, &bytes);
    after.run(async |env| match open_with_report(&env, options).await {
        Err(Error::Corruption { path, offset, .. }) => {
            assert_eq!((path, offset), (first, 7 * 4096));
        }
        other => panic!("{other:?}"),
    });
}

/// The first read of a new table is its end, as a reader opens it; the second one its blocks.
#[test]
fn verify_tables_reads_what_a_flush_has_written() {
    for (verify_tables, errors) in [(true, 1), (false, 0)] {
        let sim = Sim::new(31);
        sim.run(async |env| {
            let options = Options { verify_tables, ..tiny(SyncPolicy::Always) };
            let shard = open(&env, options).await;
            let fault = Fault::eio().kind(Kind::Read).path(".sst").at(2);
            let handle = env.faults().add(fault);
            shard.put_all(&[Op::Put { key: b"k", value: b"v", expires_at_ms: 0 }]).await.unwrap();
            shard.flush().await.unwrap();
            assert_eq!((shard.stats().counters.background_errors, handle.hits()), (errors, errors));
            assert_eq!(shard.get(b"k").await.unwrap().as_deref(), Some(&b"v"[..]));
            shard.close().await.unwrap();
        });
    }
}

/// The keys are those of a scan with values; values of large blocks are left out, small ones may be there.
#[test]
fn a_scan_of_keys_leaves_large_values_out() {
    Sim::new(31).run(async |env| {
        let options = Options { memtable_bytes: 1 << 20, ..tiny(SyncPolicy::Always) };
        let shard = open(&env, options).await;
        let large = vec![b'l'; 200 << 10];
        for number in 0..12 {
            let value = if number % 3 == 0 { &b"small"[..] } else { &large };
            shard.put_all(&[Op::Put { key: &key(number), value, expires_at_ms: 0 }]).await.unwrap();
            if number % 2 == 0 {
                shard.flush().await.unwrap();
            }
        }
        shard.put_all(&[Op::Delete { key: &key(4) }]).await.unwrap();
        for direction in [Direction::Forward, Direction::Backward] {
            let mut found = Vec::new();
            let mut left_out = 0;
            let mut scan = shard.scan_keys(Range::all(), direction);
            while let Some(entry) = scan.next().await.unwrap() {
                assert!(entry.value.len() <= 5 || entry.value == large, "not a part of one");
                left_out += u32::from(entry.value.is_empty());
                found.push(entry.key.to_vec());
            }
            let mut wanted = Vec::new();
            let mut scan = shard.scan(Range::all(), direction);
            while let Some(entry) = scan.next().await.unwrap() {
                assert!(entry.value.len() == 5 || entry.value == large);
                wanted.push(entry.key.to_vec());
            }
            assert_eq!((found.len(), &found), (11, &wanted));
            assert!(left_out >= 5, "{left_out}");
        }
        shard.close().await.unwrap();
    });
}

#[test]
fn indexes_and_filters_beyond_their_part_take_it_from_the_block_cache() {
    let sim = Sim::new(11);
    sim.run(async |env| {
        let options = Options {
            block_cache_bytes: 16 << 20,
            table_meta_bytes: 4 << 10,
            ..tiny(SyncPolicy::Never)
        };
        let shard = open(&env, options).await;
        let whole = shard.stats().cache_capacity_bytes;
        for number in 0..3_000 {
            put(&shard, &key(number), b"value").await;
        }
        shard.flush().await.unwrap();
        env.sleep(Duration::from_secs(2)).await;
        let stats = shard.stats();
        assert!(stats.table_memory_bytes > 8 << 10, "{stats:?}");
        assert_eq!(stats.cache_capacity_bytes, whole - (1 << 20), "{stats:?}");
        shard.erase().await.unwrap();
        env.sleep(Duration::from_secs(2)).await;
        assert_eq!(shard.stats().cache_capacity_bytes, whole);
        assert_eq!(shard.stats().table_memory_bytes, 0);
        shard.close().await.unwrap();
    });
}

#[test]
fn compact_all_leaves_one_level_and_one_version_of_each_key() {
    let sim = Sim::new(12);
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        shard.compact_all().await.unwrap();
        assert_eq!(shard.stats().tables(), 0);
        for round in 0..8_u32 {
            for number in 0..200 {
                put(&shard, &key(number), format!("value {number} of round {round}").as_bytes())
                    .await;
            }
        }
        for number in 0..100 {
            shard.put_all(&[Op::Delete { key: &key(number) }]).await.unwrap();
        }
        shard.compact_all().await.unwrap();
        let stats = shard.stats();
        assert_eq!((stats.entries, stats.tombstones), (100, 0), "{stats:?}");
        let levels = stats.level_tables.iter().filter(|tables| **tables > 0).count();
        assert_eq!((levels, stats.level_tables[0]), (1, 0), "{stats:?}");
        assert_eq!(shard.get(&key(5)).await.unwrap(), None);
        let value = b"value 150 of round 7";
        assert_eq!(shard.get(&key(150)).await.unwrap().as_deref(), Some(&value[..]));
        shard.close().await.unwrap();
        let (shard, _) = open_with_report(&env, tiny(SyncPolicy::Always)).await.unwrap();
        assert_eq!(keys(&shard, Range::all(), Direction::Forward).await.len(), 100);
        shard.close().await.unwrap();
        assert!(matches!(shard.compact_all().await, Err(Error::Closing)));
    });
}
