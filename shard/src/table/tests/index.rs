//! Separators, the index, the footer.

use proptest::prelude::*;

use super::super::filter::Filter;
use super::super::footer::{FOOTER_BYTES, FORMAT, Footer, NotAFooter};
use super::super::index::{Index, separator};
use super::super::meta::{Meta, MetaBuf, MetaCell, Properties};
use super::super::stored::TRAILER_BYTES;
use super::{IDENTITY, key};
use crate::key::Identity;

fn between(last: &[u8], next: &[u8]) -> Vec<u8> {
    let mut out = b"rubbish".to_vec();
    separator(last, next, &mut out);
    out
}

proptest! {
    #[test]
    fn a_separator_lies_between(one in key(), two in key()) {
        prop_assume!(one != two);
        let (last, next) = if one < two { (one, two) } else { (two, one) };
        let found = between(&last, &next);
        prop_assert!(last <= found && found < next);
        prop_assert!(found.len() <= last.len());
    }

    #[test]
    fn find_answers_the_first_separator_at_or_above(
        keys in prop::collection::btree_set(key(), 1..40),
        wanted in key(),
    ) {
        let keys: Vec<_> = keys.into_iter().collect();
        let mut index = Index::default();
        for (at, key) in keys.iter().enumerate() {
            index.push(key, (at as u64 + 1) * 100, 200);
        }
        let cell = cell(index);
        let index = &cell.get().index;
        index.check(0, keys.len(), 100 * keys.len() as u64).unwrap();
        prop_assert_eq!(index.find(&wanted), keys.partition_point(|key| *key < wanted));
        for (at, key) in keys.iter().enumerate() {
            prop_assert_eq!(index.separator(at), Some(key.as_slice()));
            let handle = index.handle(at).unwrap();
            prop_assert_eq!((handle.offset(), handle.stored_len()), (at as u64 * 100, 100));
        }
        prop_assert!(index.handle(keys.len()).is_none());
    }
}

fn cell(index: Index) -> MetaCell {
    let meta = Meta {
        filter: Filter::default(),
        index,
        properties: Properties::default(),
        sketch: Vec::new(),
    };
    MetaCell::new(meta.encode(), FORMAT).unwrap()
}

#[test]
fn separators_are_short() {
    assert_eq!(between(b"key00000999", b"key00001000"), b"key00001");
    assert_eq!(between(b"apple pie", b"banana"), b"b");
    assert_eq!(between(b"abcdefghij", b"b"), b"abcdefghij");
    assert_eq!(between(b"abcdefghij", b"c"), b"b");
    assert_eq!(between(b"a", b"aa"), b"a");
    assert_eq!(between(b"", b"a"), b"");
    assert_eq!(between(b"a\xff\xff\xff", b"b"), b"a\xff\xff\xff");
}

#[test]
fn an_index_that_breaks_its_invariants_is_refused() {
    let raw = 200;
    let good = [("b", 100, raw), ("d", 300, raw)];
    let check = |blocks: &[(&str, u64, usize)], data_end| {
        let mut index = Index::default();
        for (key, end, raw_len) in blocks {
            index.push(key.as_bytes(), *end, *raw_len);
        }
        cell(index).get().index.check(0, blocks.len(), data_end)
    };
    check(&good, 300).unwrap();
    assert!(check(&good, 299).is_err(), "beyond the data");
    assert!(check(&[good[1], good[0]], 300).is_err(), "descending");
    assert!(check(&[good[0], ("b", 300, raw)], 300).is_err(), "equal keys");
    assert!(check(&[good[0], ("d", 100, raw)], 300).is_err(), "empty block");
    assert!(
        check(&[good[0], ("d", 100 + TRAILER_BYTES as u64, raw)], 300).is_err(),
        "only a trailer"
    );
    assert!(check(&[("b", 100, 94)], 300).is_err(), "stored longer than plain");
    check(&[("b", 100, 95)], 300).unwrap();
}

#[test]
fn bytes_that_are_no_archive_are_refused() {
    let mut index = Index::default();
    index.push(b"key", 100, 200);
    let meta = Meta {
        filter: Filter::default(),
        index,
        properties: Properties::default(),
        sketch: Vec::new(),
    };
    let bytes = meta.encode();
    for len in 0..bytes.len() {
        let mut cut = MetaBuf::new();
        cut.extend_from_slice(&bytes[..len]);
        // A cut may leave an archive of something; reading it must not panic.
        if let Ok(cell) = MetaCell::new(cut, FORMAT) {
            let index = &cell.get().index;
            let _ = index.check(0, index.len(), u64::MAX);
        }
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        if let Ok(cell) = MetaCell::new(changed, FORMAT) {
            let (index, filter) = (&cell.get().index, &cell.get().filter);
            let _ = (index.check(0, index.len(), u64::MAX), filter.check());
            let _ = (index.find(b"key"), index.handle(0), filter.may_contain(1, 2));
        }
    }
}

fn footer() -> Footer {
    Footer {
        format: FORMAT,
        identity: IDENTITY,
        number: 7,
        meta_offset: 4096,
        meta_len: 1000,
        meta_crc: 5,
    }
}

#[test]
fn a_footer_comes_back_and_every_flip_of_it_is_damage() {
    let bytes = footer().encode();
    assert_eq!(Footer::decode(&bytes, &IDENTITY, 7), Ok(footer()));
    for bit in 0..FOOTER_BYTES * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = Footer::decode(&flipped, &IDENTITY, 7).unwrap_err();
        assert!(matches!(error, NotAFooter::Damaged(_)), "bit {bit}: {error:?}");
    }
    assert!(Footer::decode(&[0; FOOTER_BYTES], &IDENTITY, 7).is_err());
}

#[test]
fn a_footer_of_something_else_is_foreign() {
    let bytes = footer().encode();
    let others = [
        (Identity { shard: 4, ..IDENTITY }, 7, "of shard 3, not of 4"),
        (Identity { directory: 1, ..IDENTITY }, 7, "of data directory"),
        (IDENTITY, 8, "this is table 7, not 8"),
    ];
    for (identity, number, text) in others {
        match Footer::decode(&bytes, &identity, number) {
            Err(NotAFooter::Foreign(what)) => assert!(what.contains(text), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    // A later format, with its CRC in order.
    let mut later = bytes;
    later[52..56].copy_from_slice(&3_u32.to_le_bytes());
    let crc = crate::coding::crc32(&[], &[&later[..48], &later[52..]]);
    later[48..52].copy_from_slice(&crc.to_le_bytes());
    match Footer::decode(&later, &IDENTITY, 7) {
        Err(NotAFooter::Newer { format: 3, reads: 2 }) => {}
        other => panic!("{other:?}"),
    }
}
