//! Tests of the table's room, on the simulated disk.
#![expect(clippy::indexing_slicing, reason = "tests may panic")]

mod block;
mod cursor;
mod damage;
mod filter;
mod golden;
mod index;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use super::block::Block;
use super::{Table, TableBuilder};
use crate::env::Lane;
use crate::env::sim::SimEnv;
use crate::key::{Entry, Identity, Kind, SeqNo};
use crate::manifest::edit::TableMeta;
use crate::options::TableOptions;

pub(super) const IDENTITY: Identity =
    Identity { directory: 0x0123_4567_89ab_cdef_u128 << 32, shard: 3 };
pub(super) const DIR: &str = "/";

/// Key -> sequence number, kind, value.
pub(super) type Rows = BTreeMap<Vec<u8>, (u64, Kind, Vec<u8>)>;

pub(super) fn dir() -> &'static Path {
    Path::new(DIR)
}

pub(super) fn entry<'a>(row: (&'a Vec<u8>, &'a (u64, Kind, Vec<u8>))) -> Entry<'a> {
    let (key, (seq, kind, value)) = row;
    Entry { key, seq: SeqNo(*seq), kind: *kind, value }
}

/// Writes a table; values above 100 KB by `add_large`.
pub(super) async fn build(
    env: &SimEnv,
    number: u64,
    rows: &Rows,
    options: &TableOptions,
) -> TableMeta {
    let options = options.clone();
    let mut builder =
        TableBuilder::create(env, dir(), IDENTITY, number, options, Lane::Cold).await.unwrap();
    for row in rows {
        if row.1.2.len() > 100_000 {
            builder.add_large(&entry(row)).await.unwrap();
        } else {
            builder.add(&entry(row));
        }
        if builder.wants_write() {
            builder.write_pending().await.unwrap();
        }
    }
    assert_eq!(builder.entries(), rows.len() as u64);
    let meta = builder.finish().await.unwrap();
    assert_eq!(meta.entries, rows.len() as u64);
    meta
}

pub(super) async fn open(env: &SimEnv, meta: &TableMeta) -> Table<SimEnv> {
    Table::open(env, dir(), IDENTITY, meta).await.unwrap()
}

/// What a point read past the filter answers.
pub(super) async fn read(
    table: &Table<SimEnv>,
    key: &[u8],
) -> crate::error::Result<Option<(u64, Kind, Vec<u8>)>> {
    let Some(handle) = table.find_block(key) else { return Ok(None) };
    let block = table.read_block(handle).await?;
    let entry = block.get(key);
    Ok(entry.map(|entry| (entry.seq.0, entry.kind, entry.value.to_vec())))
}

/// Rows as a client makes them: `key:00000042` with a small value, now and then a tombstone.
pub(super) fn plain_rows(count: u64) -> Rows {
    (0..count)
        .map(|index| {
            let value = match index % 10 {
                9 => (index + 1, Kind::Delete, Vec::new()),
                _ => (index + 1, Kind::Put, format!("value {index} ").repeat(5).into_bytes()),
            };
            (format!("key:{index:08}").into_bytes(), value)
        })
        .collect()
}

/// All entries of a block, front to back.
pub(super) fn all(block: &Block) -> Vec<(Vec<u8>, u64, Kind, Vec<u8>)> {
    let mut window = super::block::Window::default();
    let mut rows = Vec::new();
    for restart in 0..block.restarts() {
        block.window(restart, &mut window);
        for index in 0..window.len() {
            let entry = window.entry(index, block).unwrap();
            rows.push((entry.key.to_vec(), entry.seq.0, entry.kind, entry.value.to_vec()));
        }
    }
    rows
}

/// Keys of every shape: empty, one byte, arbitrary, with long common prefixes, a prefix of one another, 64 KiB.
pub(super) fn key() -> impl Strategy<Value = Vec<u8>> {
    Union::new_weighted(vec![
        (1, Just(Vec::new()).boxed()),
        (4, any::<u8>().prop_map(|byte| vec![byte]).boxed()),
        (8, vec(any::<u8>(), 1..12).boxed()),
        (8, (0_u32..500).prop_map(|id| format!("user:{id:012}:name").into_bytes()).boxed()),
        (4, (1_usize..40).prop_map(|len| vec![b'a'; len]).boxed()),
        (4, vec(select(vec![0_u8, 255]), 1..6).boxed()),
        (1, (0_u8..4).prop_map(long_key).boxed()),
    ])
}

/// A key of the greatest length; different ones differ in their last byte.
pub(super) fn long_key(last: u8) -> Vec<u8> {
    let mut key = vec![b'k'; crate::limits::KEY_BYTES_MAX];
    *key.last_mut().unwrap() = last;
    key
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    Union::new_weighted(vec![
        (4, Just(Vec::new()).boxed()),
        (16, vec(any::<u8>(), 0..60).boxed()),
        (8, (0_usize..3000).prop_map(|len| vec![b'v'; len]).boxed()),
        (1, vec(any::<u8>(), 4000..9000).boxed()),
        (1, (100_000_usize..150_000).prop_map(|len| vec![7; len]).boxed()),
    ])
}

/// As a value that ends is stored.
pub(super) fn expiring(ends_ms: u64, value: &[u8]) -> Vec<u8> {
    [&ends_ms.to_le_bytes()[..], value].concat()
}

/// At least one row.
pub(super) fn rows(max: usize) -> impl Strategy<Value = Rows> {
    let row = (any::<bool>(), 1..=crate::limits::SEQ_READ_MAX, value(), 0_u8..10).prop_map(
        |(big, seq, value, kind)| {
            let seq = if big { seq } else { seq % 1000 };
            match kind {
                0 => (seq, Kind::Delete, Vec::new()),
                1..4 => (seq, Kind::Expiring, expiring(1 + seq % 1000, &value)),
                _ => (seq, Kind::Put, value),
            }
        },
    );
    proptest::collection::btree_map(key(), row, 1..max)
}

pub(super) fn options() -> impl Strategy<Value = TableOptions> {
    (select(vec![1024_usize, 4096, 65536]), any::<bool>(), 0_usize..14).prop_map(
        |(block_bytes, compression, filter_bits_per_key)| TableOptions {
            block_bytes,
            compression,
            filter_bits_per_key,
            ..TableOptions::default()
        },
    )
}
