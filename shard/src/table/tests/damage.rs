//! Whatever the bytes on disk are: the same answers, or an error that names the file. Never a panic, never wrong data.

use super::super::footer::{FOOTER_BYTES, Footer};
use super::super::stored::Seed;
use super::super::{Table, path};
use super::{IDENTITY, Rows, build, dir, plain_rows, read};
use crate::cursor::{Cursor, Direction, seek, step};
use crate::env::sim::{Sim, SimEnv};
use crate::error::{Error, Result};
use crate::key::{Identity, Kind};
use crate::manifest::edit::TableMeta;
use crate::options::TableOptions;
use crate::table::TableCursor;
use std::rc::Rc;

fn small_rows() -> Rows {
    let mut rows = plain_rows(30);
    rows.insert(
        b"noise".to_vec(),
        (7, Kind::Put, (0..1100_u32).map(|at| (at * at % 251) as u8).collect()),
    );
    for (key, ends) in [("ends", 1_000), ("ends later", 5_000)] {
        rows.insert(key.into(), (8, Kind::Expiring, super::expiring(ends, b"value")));
    }
    rows
}

fn small_options() -> TableOptions {
    TableOptions { block_bytes: 1024, ..TableOptions::default() }
}

/// Opens the table, reads every key and some that are not there, walks it. `Ok(true)`: all answers right.
async fn look(env: &SimEnv, meta: &TableMeta, rows: &Rows) -> Result<bool> {
    let table = Rc::new(Table::open(env, dir(), IDENTITY, meta).await?);
    let answers = answers(&table, rows).await;
    Rc::into_inner(table).unwrap().close().await.unwrap();
    answers
}

async fn answers(table: &Rc<Table<SimEnv>>, rows: &Rows) -> Result<bool> {
    for (key, row) in rows {
        if !table.may_contain(crate::key::hash(key)) {
            return Ok(false);
        }
        if read(table, key).await?.as_ref() != Some(row) {
            return Ok(false);
        }
    }
    for key in ["", "a", "key:", "key:000000011", "zz"] {
        if read(table, key.as_bytes()).await?.is_some() {
            return Ok(false);
        }
    }
    let mut cursor = TableCursor::cold(Rc::clone(table), Direction::Forward).await?;
    let walked = walk(&mut cursor).await;
    cursor.close().await?;
    Ok(walked? == *rows)
}

async fn walk(cursor: &mut TableCursor<SimEnv>) -> Result<Rows> {
    let mut rows = Rows::new();
    seek(cursor, None).await?;
    while let Some(entry) = cursor.entry() {
        rows.insert(entry.key.to_vec(), (entry.seq.0, entry.kind, entry.value.to_vec()));
        step(cursor).await?;
    }
    Ok(rows)
}

/// Whether what came out is allowed: the truth, or an error that says which file is damaged or foreign.
fn allowed(outcome: &Result<bool>) -> bool {
    match outcome {
        Ok(right) => *right,
        Err(Error::Corruption { path: at, .. } | Error::Foreign { path: at, .. }) => {
            *at == path(dir(), 7)
        }
        Err(_) => false,
    }
}

#[test]
fn every_byte_changed() {
    let sim = Sim::new(1);
    sim.run(|env| async move {
        let rows = small_rows();
        let meta = build(&env, 7, &rows, &small_options()).await;
        let bytes = env.read_raw(path(dir(), 7));
        let (mut errors, mut harmless) = (0, Vec::new());
        let exact = usize::try_from(meta.bytes).unwrap();
        for at in (0..exact).chain((exact..bytes.len()).step_by(64)) {
            for byte in [bytes[at] ^ (1 << (at % 8)), 0, 0xff] {
                if byte == bytes[at] {
                    continue;
                }
                let mut changed = bytes.clone();
                changed[at] = byte;
                env.write_raw(path(dir(), 7), &changed);
                let outcome = look(&env, &meta, &rows).await;
                assert!(allowed(&outcome), "byte {at} = {byte:02x}: {outcome:?}");
                match outcome {
                    Ok(_) => harmless.push(at),
                    Err(_) => errors += 1,
                }
            }
        }
        // Only what belongs to no one may change unseen: zeroes before the meta region and behind the footer.
        harmless.dedup();
        let inside = harmless.iter().filter(|at| **at < exact).count();
        assert!(inside < super::super::META_ALIGN, "{inside} bytes unseen");
        assert!(errors > 2 * exact, "{errors}");
        assert_eq!(env.open_files(), 0);
    });
}

#[test]
fn every_truncation() {
    Sim::new(2).run(|env| async move {
        let rows = small_rows();
        let meta = build(&env, 7, &rows, &small_options()).await;
        let bytes = env.read_raw(path(dir(), 7));
        for len in (0..bytes.len()).step_by(64).chain([bytes.len() - 1]) {
            env.write_raw(path(dir(), 7), &bytes[..len]);
            let outcome = look(&env, &meta, &rows).await;
            assert!(matches!(outcome, Err(Error::Corruption { .. })), "{len}: {outcome:?}");
        }
        // Zeroes or rubbish behind the exact length do not matter.
        let mut longer = bytes.clone();
        longer.extend_from_slice(&[0x55; 8192]);
        env.write_raw(path(dir(), 7), &longer);
        assert!(look(&env, &meta, &rows).await.unwrap());
        env.write_raw(path(dir(), 7), &vec![0; bytes.len()]);
        assert!(matches!(look(&env, &meta, &rows).await, Err(Error::Corruption { .. })));
    });
}

#[test]
fn swapped_blocks_fail_their_checksum() {
    Sim::new(3).run(|env| async move {
        // Without compression, fixed lengths: blocks of the same length, each whole in itself.
        let rows: Rows = (0..40_u64)
            .map(|index| (format!("{index:04}").into_bytes(), (1, Kind::Put, vec![b'v'; 200])))
            .collect();
        let options = TableOptions { compression: false, ..small_options() };
        let meta = build(&env, 7, &rows, &options).await;
        let table = super::open(&env, &meta).await;
        let one = table.block(1).unwrap();
        let mut others = (2..table.blocks()).map(|index| table.block(index).unwrap());
        let two = others.find(|two| two.stored_len() == one.stored_len()).unwrap();
        table.close().await.unwrap();
        let mut bytes = env.read_raw(path(dir(), 7));
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let (first, second) = bytes.split_at_mut(at(two.offset()));
        first[at(one.offset())..][..one.stored_len()]
            .swap_with_slice(&mut second[..two.stored_len()]);
        env.write_raw(path(dir(), 7), &bytes);
        match look(&env, &meta, &rows).await {
            Err(Error::Corruption { offset, .. }) => assert_eq!(offset, one.offset()),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn another_table_is_foreign() {
    Sim::new(4).run(|env| async move {
        let rows = small_rows();
        let meta = build(&env, 7, &rows, &small_options()).await;
        let other = build(&env, 8, &rows, &small_options()).await;
        assert_eq!(meta.bytes, other.bytes);
        for identity in [Identity { shard: 4, ..IDENTITY }, Identity { directory: 5, ..IDENTITY }] {
            let opened = Table::open(&env, dir(), identity, &meta).await;
            assert!(matches!(opened, Err(Error::Foreign { .. })), "{opened:?}");
        }
        env.write_raw(path(dir(), 7), &env.read_raw(path(dir(), 8)));
        let outcome = look(&env, &meta, &rows).await;
        assert!(matches!(outcome, Err(Error::Foreign { .. })), "{outcome:?}");
        assert_eq!(env.open_files(), 0);
    });
}

/// A table's file with its footer changed, whose own checksum is corrected.
fn with_footer(bytes: &[u8], meta: &TableMeta, change: impl FnOnce(&mut Footer)) -> Vec<u8> {
    let at = footer_at(meta);
    let mut footer = Footer::decode(bytes[at..].first_chunk().unwrap(), &IDENTITY, 7).unwrap();
    change(&mut footer);
    let mut bytes = bytes.to_vec();
    bytes[at..at + FOOTER_BYTES].copy_from_slice(&footer.encode());
    bytes
}

fn footer_at(meta: &TableMeta) -> usize {
    usize::try_from(meta.bytes).unwrap() - FOOTER_BYTES
}

/// A forger's footer: where it puts the meta region must be where one can be.
#[test]
fn a_footer_that_gives_the_meta_region_no_possible_place_is_damage() {
    Sim::new(7).run(|env| async move {
        let rows = small_rows();
        let meta = build(&env, 7, &rows, &small_options()).await;
        let bytes = env.read_raw(path(dir(), 7));
        let changes: [fn(&mut Footer); 6] = [
            |footer| footer.meta_len = 0,
            |footer| footer.meta_len -= 16,
            |footer| footer.meta_len += 16,
            |footer| footer.meta_len = u32::MAX,
            |footer| (footer.meta_offset, footer.meta_len) = (u64::MAX, 64),
            |footer| {
                (footer.meta_offset, footer.meta_len) =
                    (footer.meta_offset - 1, footer.meta_len + 1);
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            env.write_raw(path(dir(), 7), &with_footer(&bytes, &meta, change));
            let outcome = look(&env, &meta, &rows).await;
            let error = outcome.expect_err(&format!("change {index}")).to_string();
            assert!(error.contains("no possible place"), "change {index}: {error}");
        }
        env.write_raw(path(dir(), 7), &with_footer(&bytes, &meta, |_| ()));
        assert!(look(&env, &meta, &rows).await.unwrap());
    });
}

/// A forger's index that ends before or behind the largest key: keys would be there that no search finds.
#[test]
fn an_index_that_does_not_end_with_the_largest_key_is_damage() {
    Sim::new(8).run(|env| async move {
        let mut rows = small_rows();
        let largest = b"the largest of its keys";
        rows.insert(largest.to_vec(), (31, Kind::Put, b"value".to_vec()));
        let meta = build(&env, 7, &rows, &small_options()).await;
        let bytes = env.read_raw(path(dir(), 7));
        let (mut from, end) = (0, footer_at(&meta));
        with_footer(&bytes, &meta, |footer| from = usize::try_from(footer.meta_offset).unwrap());
        let places = (from..end).filter(|&at| bytes[at..].starts_with(largest));
        let places: Vec<_> = places.collect();
        assert_eq!(places.len(), 2, "in the index and in the properties");
        for (at, by) in [(places[0], 1), (places[0], -1), (places[1], 1), (places[1], -1)] {
            let mut forged = bytes.clone();
            let last = &mut forged[at + largest.len() - 1];
            *last = last.wrapping_add_signed(by);
            let mut crc = Seed::new(&IDENTITY, 7).hasher(from as u64);
            crc.update(&forged[from..end]);
            let crc = crc.finalize();
            let forged = with_footer(&forged, &meta, |footer| footer.meta_crc = crc);
            env.write_raw(path(dir(), 7), &forged);
            let outcome = look(&env, &meta, &rows).await;
            let error = outcome.expect_err("a forged index").to_string();
            assert!(error.contains("does not end with the largest key"), "at {at}: {error}");
        }
    });
}

#[test]
fn a_manifest_that_says_something_else_is_noticed() {
    Sim::new(5).run(|env| async move {
        let rows = small_rows();
        let meta = build(&env, 7, &rows, &small_options()).await;
        let changes: [fn(&mut TableMeta); 17] = [
            |meta| meta.bytes = 0,
            |meta| meta.bytes = 63,
            |meta| meta.bytes = 64,
            |meta| meta.bytes -= 1,
            |meta| meta.bytes += 4096,
            |meta| meta.bytes = 1 << 50,
            |meta| meta.bytes = u64::MAX,
            |meta| meta.entries = u64::MAX,
            |meta| meta.tombstones += 1,
            |meta| meta.expiring.first_ms += 1,
            |meta| meta.expiring.last_ms += 1,
            |meta| meta.expiring.entries -= 1,
            |meta| meta.raw_bytes = u64::MAX,
            |meta| meta.smallest = b"a".to_vec(),
            |meta| meta.largest.push(0),
            |meta| meta.seq_min = 0,
            |meta| meta.seq_max += 1,
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut wrong = meta.clone();
            change(&mut wrong);
            let outcome = look(&env, &wrong, &rows).await;
            assert!(
                matches!(outcome, Err(Error::Corruption { .. })),
                "change {index}: {outcome:?}"
            );
        }
        assert!(look(&env, &meta, &rows).await.unwrap());
    });
}

#[test]
fn a_large_value_that_is_damaged_is_not_handed_out() {
    // Its checksum is verified in slices, by code of its own.
    Sim::new(6).run(|env| async move {
        let rows: Rows = [(b"k".to_vec(), (1, Kind::Put, vec![7; 3 << 20]))].into();
        let meta = build(&env, 7, &rows, &TableOptions::default()).await;
        let table = Rc::new(super::open(&env, &meta).await);
        let handle = table.block(0).unwrap();
        for at in [1000, handle.end() / 2, handle.end() - 20, handle.end() - 1] {
            env.flip(path(dir(), 7), at, 0x10);
            let outcome = table.read_block(handle).await;
            assert!(matches!(outcome, Err(Error::Corruption { offset: 0, .. })), "byte {at}");
            let mut cursor =
                TableCursor::cold(Rc::clone(&table), Direction::Forward).await.unwrap();
            assert!(matches!(walk(&mut cursor).await, Err(Error::Corruption { .. })), "byte {at}");
            cursor.close().await.unwrap();
            env.flip(path(dir(), 7), at, 0x10);
            assert_eq!(read(&table, b"k").await.unwrap().as_ref(), rows.get(b"k".as_slice()));
        }
        Rc::into_inner(table).unwrap().close().await.unwrap();
    });
}

/// Whole, by its checksums, and its sketch is none.
#[test]
fn a_sketch_that_is_none_is_damage() {
    Sim::new(9).run(|env| async move {
        let rows = small_rows();
        let meta = build(&env, 7, &rows, &small_options()).await;
        let mut bytes = env.read_raw(path(dir(), 7));
        let at = footer_at(&meta);
        let footer = Footer::decode(bytes[at..].first_chunk().unwrap(), &IDENTITY, 7).unwrap();
        let region = usize::try_from(footer.meta_offset).unwrap()..at;
        let table = super::open(&env, &meta).await;
        let sketch = table.sketch().unwrap().to_vec();
        table.close().await.unwrap();
        let mut places = bytes[region.clone()].windows(sketch.len());
        let place = region.start + places.position(|window| window == sketch).unwrap();
        // The rank of its first register.
        bytes[place + 2] = 0;
        let mut crc = Seed::new(&IDENTITY, 7).hasher(footer.meta_offset);
        crc.update(&bytes[region]);
        let forged = Footer { meta_crc: crc.finalize(), ..footer };
        bytes[at..at + FOOTER_BYTES].copy_from_slice(&forged.encode());
        env.write_raw(path(dir(), 7), &bytes);
        let error = Table::open(&env, dir(), IDENTITY, &meta).await.unwrap_err();
        assert!(error.to_string().contains("sketch"), "{error}");
    });
}
