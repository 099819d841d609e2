//! False positives are measured; false negatives do not exist.

use super::super::filter::{FilterBuilder, seed};
use super::super::footer::FORMAT;
use super::super::index::Index;
use super::super::meta::{Meta, MetaCell, Properties};
use super::IDENTITY;
use crate::env::sim::Sim;
use crate::key::hash;

/// A filter over the keys `0..keys`, in the archive in which it is used.
fn filter(keys: u64, bits_per_key: usize, seed: u64) -> MetaCell {
    let mut builder = FilterBuilder::new(bits_per_key, seed);
    for key in 0..keys {
        builder.add(hash(&key.to_le_bytes()));
    }
    let bytes = builder.bytes();
    let filter = Sim::new(1).run(|env| async move { builder.finish(&env).await });
    let meta = Meta {
        filter,
        index: Index::default(),
        properties: Properties::default(),
        sketch: Vec::new(),
    };
    let cell = MetaCell::new(meta.encode(), FORMAT).unwrap();
    cell.get().filter.check().unwrap();
    assert_eq!(cell.get().filter.bytes(), bytes);
    cell
}

fn false_positives(cell: &MetaCell, keys: u64, seed: u64) -> f64 {
    let probes = 200_000_u32;
    let others = keys..keys + u64::from(probes);
    let passed =
        others.filter(|key| cell.get().filter.may_contain(hash(&key.to_le_bytes()), seed)).count();
    f64::from(u32::try_from(passed).unwrap()) / f64::from(probes)
}

#[test]
fn what_was_added_passes_and_what_was_not_rarely_does() {
    // Bits per key, and the most false positives that pass.
    for (bits, most) in [(4, 0.16), (6, 0.065), (8, 0.028), (10, 0.013), (12, 0.007), (16, 0.0025)]
    {
        for keys in [1, 50, 1000, 100_000] {
            let seed = seed(&IDENTITY, keys);
            let cell = filter(keys, bits, seed);
            for key in 0..keys {
                assert!(cell.get().filter.may_contain(hash(&key.to_le_bytes()), seed));
            }
            if keys > 1000 {
                let rate = false_positives(&cell, keys, seed);
                assert!(rate <= most, "{bits} bits, {keys} keys: {:.2} %", rate * 100.0);
            }
        }
    }
}

#[test]
fn each_table_has_bits_of_its_own() {
    let one = filter(1000, 10, seed(&IDENTITY, 1));
    let passed = (0..1000_u64)
        .filter(|key| one.get().filter.may_contain(hash(&key.to_le_bytes()), seed(&IDENTITY, 2)))
        .count();
    assert!(passed < 50, "{passed} of 1000 keys pass under another table's seed");
}

#[test]
fn without_bits_everything_passes() {
    let cell = filter(1000, 0, 7);
    assert_eq!(cell.get().filter.bytes(), 0);
    assert!(cell.get().filter.may_contain(hash(b"anything"), 7));
}

#[test]
fn lines_are_cache_lines() {
    let cell = filter(1000, 10, 7);
    assert_eq!(cell.get().filter.first_address() % 64, 0);
}
