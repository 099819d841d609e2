//! Bodies and stored blocks, without a disk.

use proptest::prelude::*;

use super::super::block::{Block, BlockBuilder, BlockValue, RESTART_INTERVAL};
use super::super::stored::{self, Packer, Seed, plain, trailer};
use super::{IDENTITY, Rows, all, entry, key, plain_rows, rows};
use crate::env::IoBuf;
use crate::key::{Entry, Kind, SeqNo, hash};
use std::rc::Rc;

fn body(rows: &Rows) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    for row in rows {
        builder.add(&entry(row));
    }
    builder.finish().to_vec()
}

/// The block as it lies on disk at `offset` of table 7.
fn store(body: &[u8], compress: bool, offset: u64) -> Vec<u8> {
    let mut packer = Packer::default();
    let (payload, kind) = packer.pack(body, compress);
    let mut crc = Seed::new(&IDENTITY, 7).hasher(offset);
    crc.update(payload);
    let mut stored = payload.to_vec();
    stored.extend_from_slice(&trailer(crc, kind));
    stored
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_block_answers_like_a_map(rows in rows(120), others in prop::collection::vec(key(), 50)) {
        let block = Block::new(body(&rows)).unwrap();
        for key in rows.keys().chain(&others) {
            let row = |entry: Entry<'_>| (entry.seq.0, entry.kind, entry.value.to_vec());
            prop_assert_eq!(block.get(key).map(row), rows.get(key).cloned());
            // The first one without tags, all others with them.
            prop_assert_eq!(block.get_hashed(key, hash(key)).map(row), rows.get(key).cloned());
        }
        let listed: Rows =
            all(&block).into_iter().map(|(key, seq, kind, value)| (key, (seq, kind, value))).collect();
        prop_assert_eq!(listed, rows);
    }

    #[test]
    fn no_bytes_make_a_block_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), restarts in 0_u32..4) {
        bytes.extend_from_slice(&restarts.to_le_bytes());
        if let Ok(block) = Block::new(bytes) {
            all(&block);
            block.get(b"key");
            block.get(b"");
        }
    }

    #[test]
    fn a_damaged_body_is_refused_or_read_without_panic(at: prop::sample::Index, byte: u8) {
        let mut body = body(&plain_rows(40));
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(block) = Block::new(body) {
            all(&block);
            for key in plain_rows(40).keys() {
                block.get(key);
            }
        }
    }
}

#[test]
fn neighbours_of_keys_are_not_found() {
    let rows = plain_rows(100);
    let block = Block::new(body(&rows)).unwrap();
    assert_eq!(block.restarts(), 100_usize.div_ceil(RESTART_INTERVAL));
    for key in rows.keys() {
        let mut other = key.clone();
        other.push(0);
        assert_eq!(block.get(&other), None);
        other.truncate(key.len() - 1);
        assert_eq!(block.get(&other), None);
    }
    assert_eq!(block.get(b""), None);
    assert_eq!(block.get(&[0xff; 20]), None);
}

#[test]
fn restart_points_that_do_not_fit_are_refused() {
    let body = body(&plain_rows(40));
    let (end, restarts) = (body.len(), 40_usize.div_ceil(RESTART_INTERVAL));
    let second = end - 4 - 4 * (restarts - 1);
    for (at, value) in [
        (second, 0_u32),
        (second, u32::MAX),
        (second + 4, u32::from_le_bytes(*body[second..].first_chunk().unwrap())),
        (end - 4, 0),
        (end - 4, 2),
        (end - 4, 4),
        (end - 4, u32::MAX),
    ] {
        let mut wrong = body.clone();
        wrong[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(Block::new(wrong).is_err(), "{value} at {at} of {end}");
    }
    for len in 0..body.len() {
        assert!(Block::new(body[..len].to_vec()).is_err(), "{len} bytes of {end}");
    }
    Block::new(body).unwrap();
}

#[test]
fn the_builder_is_used_again_and_keeps_the_last_key() {
    let mut builder = BlockBuilder::default();
    let rows = plain_rows(20);
    for row in &rows {
        builder.add(&entry(row));
    }
    let first = builder.finish().to_vec();
    builder.clear();
    assert_eq!(builder.last_key(), rows.keys().last().unwrap());
    builder.add(&Entry { key: b"z", ..entry(rows.iter().next().unwrap()) });
    assert_eq!(all(&Block::new(builder.finish().to_vec()).unwrap()).len(), 1);
    assert_eq!(all(&Block::new(first).unwrap()).len(), 20);
}

#[test]
fn a_value_keeps_its_block_alive() {
    let rows = plain_rows(20);
    let block = Rc::new(Block::new(body(&rows)).unwrap());
    let (seq, kind, value) = BlockValue::find(&block, b"key:00000003").unwrap();
    drop(block);
    assert_eq!((seq.0, kind, value.to_vec()), rows[b"key:00000003".as_slice()]);
    assert!(BlockValue::find(&value.block, b"key").is_none());
    let (_, kind, value) = BlockValue::find(&value.block, b"key:00000009").unwrap();
    assert_eq!((kind, value.len()), (Kind::Delete, 0));
}

#[test]
fn compression_is_used_where_it_saves_an_eighth() {
    let text = body(&plain_rows(40));
    let mut packer = Packer::default();
    let (payload, kind) = packer.pack(&text, true);
    assert!(payload.len() < text.len() && kind != plain());
    assert_eq!(packer.pack(&text, false), (text.as_slice(), plain()));
    // Every other kilobyte repeats one byte: saves half. Random bytes save nothing.
    let noise: Vec<u8> = (0..4096_u64).map(|at| (hash(&at.to_le_bytes()) & 0xff) as u8).collect();
    assert_eq!(packer.pack(&noise, true), (noise.as_slice(), plain()));
    let large = vec![0; crate::limits::COMPRESS_BYTES_MAX + 1];
    assert_eq!(packer.pack(&large, true).1, plain());
    assert_ne!(packer.pack(&large[1..], true).1, plain());
}

#[test]
fn a_stored_block_opens_and_one_elsewhere_fails_its_crc() {
    let body = body(&plain_rows(40));
    for compress in [false, true] {
        let bytes = store(&body, compress, 4096);
        let seed = Seed::new(&IDENTITY, 7);
        assert!(stored::crc_holds(&bytes, seed.hasher(4096)));
        assert!(!stored::crc_holds(&bytes, seed.hasher(8192)));
        assert!(!stored::crc_holds(&bytes, Seed::new(&IDENTITY, 8).hasher(4096)));
        let other = crate::key::Identity { shard: 4, ..IDENTITY };
        assert!(!stored::crc_holds(&bytes, Seed::new(&other, 7).hasher(4096)));
        assert_eq!(stored::open_copy(&bytes, body.len()).unwrap().body(), body);
        assert!(stored::open_copy(&bytes, body.len() - 1).is_err());
        assert!(stored::open_copy(&bytes, body.len() + 1).is_err());
    }
    for len in 0..10 {
        assert!(
            !stored::crc_holds(&vec![0; len], Seed::new(&IDENTITY, 7).hasher(0)),
            "{len} zeroes"
        );
        assert!(stored::open_copy(&vec![0; len], 100).is_err(), "{len} zeroes");
    }
}

#[test]
fn a_claim_of_a_huge_length_is_refused_before_anything_is_allocated() {
    // Snappy's header claims 4,294,967,295 bytes.
    let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    bytes.extend_from_slice(&trailer(Seed::new(&IDENTITY, 7).hasher(0), 2));
    for raw_len in [100, crate::limits::COMPRESS_BYTES_MAX, u32::MAX as usize] {
        assert!(stored::open_copy(&bytes, raw_len).is_err());
    }
}

#[test]
fn a_read_is_kept_where_the_block_fills_it_and_copied_where_not() {
    let large: Rows = [(b"k".to_vec(), (1, Kind::Put, vec![1; 30_000]))].into();
    for (rows, from, kept) in [(large, 100, true), (plain_rows(20), 100, false)] {
        let body = body(&rows);
        let bytes = store(&body, false, 100);
        let mut buf = IoBuf::with_capacity((from + bytes.len()).next_multiple_of(4096));
        buf.resize(from, 0);
        buf.extend_from_slice(&bytes);
        buf.resize(buf.capacity(), 0);
        let (start, capacity) = (buf.as_ptr(), buf.capacity());
        let block = stored::open_read(buf, from..from + bytes.len(), body.len()).unwrap();
        assert_eq!(block.body(), body);
        assert_eq!(block.body().as_ptr() == start.wrapping_add(from), kept);
        assert_eq!(block.memory_bytes() >= capacity, kept);
    }
}

#[test]
fn a_value_that_ends_without_a_time_is_damage() {
    let body = |value: &[u8]| {
        let mut body =
            vec![0, 1, Kind::Expiring as u8, 1, u8::try_from(value.len()).unwrap(), b'k'];
        body.extend_from_slice(value);
        body.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
        body
    };
    assert!(Block::new(body(&super::expiring(5, b"value"))).is_ok());
    assert!(Block::new(body(&super::expiring(5, b""))).is_ok());
    assert!(Block::new(body(&super::expiring(0, b"value"))).is_err());
    assert!(Block::new(body(b"1234567")).is_err());
}

#[test]
fn without_values_the_times_stay() {
    let mut builder = BlockBuilder::default();
    let stored = super::expiring(77, b"value");
    builder.add(&Entry { key: b"a", seq: SeqNo(1), kind: Kind::Expiring, value: &stored });
    builder.add(&Entry { key: b"b", seq: SeqNo(2), kind: Kind::Put, value: b"value" });
    let slim = Block::new(builder.finish().to_vec()).unwrap().without_values();
    assert_eq!(slim.get(b"a").unwrap().value, &super::expiring(77, b"")[..]);
    assert_eq!(slim.get(b"b").unwrap().value, b"");
}
