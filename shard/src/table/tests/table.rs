//! Whole tables: round trips, the builder's edges, failing disks.

use proptest::prelude::*;

use super::super::{PIECE_BYTES, Table, TableBuilder, path};
use super::{
    IDENTITY, Rows, build, dir, entry, key, long_key, open, options, plain_rows, read, rows,
};
use crate::env::sim::{Crash, Fault, Kind as Op, Sim};
use crate::env::{Env, Lane};
use crate::error::Error;
use crate::key::{Entry, Kind, SeqNo, hash};
use crate::limits::{ALIGN, BLOCK_RAW_BYTES_MAX};
use crate::options::TableOptions;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_table_answers_like_a_map(rows in rows(200), options in options(), others in prop::collection::vec(key(), 30)) {
        Sim::new(1).run(|env| async move {
            let meta = build(&env, 7, &rows, &options).await;
            let table = open(&env, &meta).await;
            assert_eq!(&meta.smallest, rows.keys().next().unwrap());
            assert_eq!(&meta.largest, rows.keys().last().unwrap());
            assert_eq!(meta.tombstones, rows.values().filter(|row| row.1 == Kind::Delete).count() as u64);
            assert_eq!(meta.seq_min, rows.values().map(|row| row.0).min().unwrap());
            assert_eq!(meta.seq_max, rows.values().map(|row| row.0).max().unwrap());
            for key in rows.keys().chain(&others) {
                assert_eq!(read(&table, key).await.unwrap(), rows.get(key).cloned());
                assert!(table.may_contain(hash(key)) || !rows.contains_key(key));
            }
            table.close().await.unwrap();
            assert_eq!(env.open_files(), 0);
        });
    }
}

#[test]
fn the_manifest_gets_the_exact_length_and_checksum() {
    Sim::new(1).run(|env| async move {
        let rows = plain_rows(5000);
        let meta = build(&env, 7, &rows, &TableOptions::default()).await;
        let bytes = env.read_raw(path(dir(), 7));
        assert_eq!(bytes.len() % ALIGN, 0);
        let (ours, padding) = bytes.split_at(usize::try_from(meta.bytes).unwrap());
        assert!(padding.iter().all(|&byte| byte == 0) && padding.len() < ALIGN);
        assert_eq!(crc32fast::hash(ours), meta.crc);
        let raw: usize = rows.iter().map(|(key, row)| key.len() + row.2.len()).sum();
        assert_eq!((meta.number, meta.raw_bytes), (7, raw as u64));
        assert!(env.dropped_open().is_empty() && env.open_files() == 0);
    });
}

#[test]
fn keys_and_values_of_the_greatest_lengths() {
    let mut rows = plain_rows(100);
    for last in 0..20 {
        rows.insert(long_key(last), (1, Kind::Put, vec![last; 70_000]));
    }
    let value: Vec<u8> = (0..3_u32 << 20).map(|at| (at * 31 % 251) as u8).collect();
    rows.insert(b"key:00000050 large".to_vec(), (2, Kind::Put, value.clone()));
    rows.insert(b"z".to_vec(), (3, Kind::Put, value));
    Sim::new(2).run(|env| async move {
        let meta = build(&env, 7, &rows, &TableOptions::default()).await;
        let table = open(&env, &meta).await;
        for (key, row) in &rows {
            assert_eq!(read(&table, key).await.unwrap().as_ref(), Some(row));
        }
        // A large value is handed out in the buffer that was read.
        let handle = table.find_block(b"z").unwrap();
        let block = table.read_block(handle).await.unwrap();
        assert!(block.memory_bytes() < (3 << 20) + 3 * ALIGN, "{}", block.memory_bytes());
        table.close().await.unwrap();
    });
}

#[test]
fn a_large_value_by_add_or_by_add_large_gives_the_same_bytes() {
    let rows: Rows = [
        (b"a".to_vec(), (1, Kind::Put, b"1".to_vec())),
        (b"b".to_vec(), (2, Kind::Put, vec![2; 2 << 20])),
        (b"c".to_vec(), (3, Kind::Put, b"3".to_vec())),
    ]
    .into();
    Sim::new(3).run(|env| async move {
        let with = build(&env, 7, &rows, &TableOptions::default()).await;
        let first = env.read_raw(path(dir(), 7));
        env.write_raw(path(dir(), 7), b"");
        env.remove(&path(dir(), 7)).await.unwrap();
        let mut builder =
            TableBuilder::create(&env, dir(), IDENTITY, 7, TableOptions::default(), Lane::Cold)
                .await
                .unwrap();
        for row in &rows {
            builder.add(&entry(row));
        }
        assert!(builder.wants_write());
        let estimate = builder.estimated_bytes();
        let without = builder.finish().await.unwrap();
        assert_eq!(with, without);
        assert!(first == env.read_raw(path(dir(), 7)));
        assert!(estimate.abs_diff(without.bytes) < 1000, "{estimate} {}", without.bytes);
    });
}

#[test]
fn a_meta_region_larger_than_the_guess_takes_a_second_read() {
    // Hundreds of long separators: no guess from the number of entries expects that.
    let rows: Rows = (0..40_u8)
        .map(|index| {
            let mut key = vec![index; 60_000];
            key[0] = b'k';
            (key, (1, Kind::Put, Vec::new()))
        })
        .collect();
    Sim::new(4).run(|env| async move {
        let options = TableOptions { filter_bits_per_key: 13, ..TableOptions::default() };
        let meta = build(&env, 7, &rows, &options).await;
        let before = env.operations();
        let table = open(&env, &meta).await;
        assert!(env.operations() - before <= 4);
        for (key, row) in &rows {
            assert_eq!(read(&table, key).await.unwrap().as_ref(), Some(row));
        }
        table.close().await.unwrap();
    });
}

#[test]
fn opening_reads_once() {
    Sim::new(5).run(|env| async move {
        let meta = build(&env, 7, &plain_rows(20_000), &TableOptions::default()).await;
        let before = env.operations();
        let table = open(&env, &meta).await;
        assert_eq!(env.operations() - before, 2, "open and one read");
        assert!(table.memory_bytes() < 64 << 10, "{}", table.memory_bytes());
        table.close().await.unwrap();
    });
}

#[test]
fn the_builder_says_when_index_and_filter_are_full() {
    Sim::new(6).run(|env| async move {
        // 400 bits a key: the filter alone reaches the limit after 1.3 M keys.
        let options = TableOptions { filter_bits_per_key: 400, ..TableOptions::default() };
        let mut builder =
            TableBuilder::create(&env, dir(), IDENTITY, 7, options, Lane::Cold).await.unwrap();
        let mut count = 0_u64;
        while !builder.is_full() && count < 2_000_000 {
            let entry =
                Entry { key: &count.to_be_bytes(), seq: SeqNo(1), kind: Kind::Put, value: b"" };
            builder.add(&entry);
            count += 1;
            if builder.wants_write() {
                builder.write_pending().await.unwrap();
            }
        }
        assert!((1_300_000..1_350_000).contains(&count), "{count}");
        let meta = builder.finish().await.unwrap();
        let table = open(&env, &meta).await;
        assert!(read(&table, &(count - 1).to_be_bytes()).await.unwrap().is_some());
        table.close().await.unwrap();
    });
}

#[test]
fn a_finished_table_is_durable_once_its_directory_is() {
    let sim = Sim::new(9);
    let rows = plain_rows(2000);
    let meta = sim.run(|env| {
        let rows = rows.clone();
        async move {
            let meta = build(&env, 7, &rows, &TableOptions::default()).await;
            env.sync_dir(dir()).await.unwrap();
            meta
        }
    });
    for (seed, kind) in [(1, Crash::SyncedOnly), (2, Crash::Random), (3, Crash::Random)] {
        sim.crash(kind, seed).run(|env| {
            let (meta, rows) = (meta.clone(), rows.clone());
            async move {
                assert_eq!(
                    crc32fast::hash(
                        &env.read_raw(path(dir(), 7))[..usize::try_from(meta.bytes).unwrap()]
                    ),
                    meta.crc
                );
                let table = open(&env, &meta).await;
                for (key, row) in rows.iter().step_by(97) {
                    assert_eq!(read(&table, key).await.unwrap().as_ref(), Some(row));
                }
                table.close().await.unwrap();
            }
        });
    }
}

#[test]
#[should_panic(expected = "key > self.block.last_key()")]
fn keys_that_do_not_ascend_are_our_bug() {
    Sim::new(1).run(|env| async move {
        let options = TableOptions { block_bytes: 1024, ..TableOptions::default() };
        let mut builder =
            TableBuilder::create(&env, dir(), IDENTITY, 7, options, Lane::Cold).await.unwrap();
        for key in [b"b", b"a"] {
            builder.add(&Entry { key, seq: SeqNo(1), kind: Kind::Put, value: &[0; 2000] });
        }
    });
}

#[test]
fn abandoned_and_failed_tables_leave_no_file() {
    let sim = Sim::new(7);
    sim.run(|env| async move {
        let options = TableOptions::default;
        let create = || TableBuilder::create(&env, dir(), IDENTITY, 7, options(), Lane::Cold);
        let mut builder = create().await.unwrap();
        builder.add(&Entry { key: b"a", seq: SeqNo(1), kind: Kind::Put, value: b"1" });
        assert!(create().await.is_err(), "the file exists");
        builder.abandon().await.unwrap();
        assert_eq!(env.files(), []);
        for (kind, fault) in [
            (Op::Write, Fault::enospc()),
            (Op::Write, Fault::eio().at(3)),
            (Op::Sync, Fault::eio()),
        ] {
            env.faults().clear();
            let hits = env.faults().add(fault.kind(kind));
            let mut builder = create().await.unwrap();
            let large = vec![1; 3 * PIECE_BYTES];
            builder.add(&Entry { key: b"a", seq: SeqNo(1), kind: Kind::Put, value: &large });
            builder.add(&Entry { key: b"b", seq: SeqNo(1), kind: Kind::Put, value: &large });
            assert!(matches!(builder.finish().await, Err(Error::Io { .. })));
            assert_eq!((hits.hits(), env.files().len(), env.open_files()), (1, 0, 0));
        }
    });
}

#[test]
fn short_and_interrupted_transfers_change_nothing() {
    for at in 1..12 {
        for fault in [
            Fault::short().at(at),
            Fault::eintr().kind(Op::Write).at(at),
            Fault::eintr().kind(Op::Read).at(at),
        ] {
            Sim::new(at).run(|env| async move {
                env.faults().add(fault);
                let mut rows = plain_rows(300);
                rows.insert(b"l".to_vec(), (1, Kind::Put, vec![3; 1 << 20]));
                let meta = build(&env, 7, &rows, &TableOptions::default()).await;
                let table = open(&env, &meta).await;
                for key in ["key:00000000", "key:00000299", "l"] {
                    let row = read(&table, key.as_bytes()).await.unwrap();
                    assert_eq!(row.as_ref(), rows.get(key.as_bytes()));
                }
                table.close().await.unwrap();
            });
        }
    }
}

#[test]
fn a_failed_read_is_an_error_and_no_more_than_that() {
    Sim::new(8).run(|env| async move {
        let rows = plain_rows(300);
        let meta = build(&env, 7, &rows, &TableOptions::default()).await;
        env.faults().add(Fault::eio().kind(Op::Read));
        assert!(matches!(Table::open(&env, dir(), IDENTITY, &meta).await, Err(Error::Io { .. })));
        assert_eq!(env.open_files(), 0);
        let table = open(&env, &meta).await;
        env.faults().add(Fault::eio().kind(Op::Read));
        assert!(matches!(read(&table, b"key:00000001").await, Err(Error::Io { .. })));
        assert!(read(&table, b"key:00000001").await.unwrap().is_some());
        table.close().await.unwrap();
    });
}

#[test]
fn the_largest_block_fits_its_limit() {
    let entry = crate::limits::KEY_BYTES_MAX + crate::limits::VALUE_BYTES_CAP;
    assert!(entry + super::super::block::ENTRY_OVERHEAD_BYTES + 4 <= BLOCK_RAW_BYTES_MAX);
}
