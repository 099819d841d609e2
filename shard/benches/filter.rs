//! The filter: false positives and cost at 10 bits a key, for a small table and one that exceeds the cache.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shard::env::sim::Sim;
use shard::key::hash;
use shard::table::filter::FilterBuilder;
use shard::table::footer::FORMAT;
use shard::table::index::Index;
use shard::table::meta::{Meta, MetaCell, Properties};

const SEED: u64 = 7;
const PROBES: u64 = 1 << 16;

fn build(keys: u64, bits_per_key: usize) -> MetaCell {
    let mut builder = FilterBuilder::new(bits_per_key, SEED);
    (0..keys).for_each(|key| builder.add(hash(&key.to_le_bytes())));
    let filter = Sim::new(1).run(|env| async move { builder.finish(&env).await });
    let meta = Meta {
        filter,
        index: Index::default(),
        properties: Properties::default(),
        sketch: Vec::new(),
    };
    MetaCell::new(meta.encode(), FORMAT).expect("a sound archive")
}

fn filters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    for (size, keys) in [("100 k keys", 100_000_u64), ("8 M keys", 8_000_000)] {
        let cell = build(keys, 10);
        let filter = &cell.get().filter;
        // Hashes in an order that no prefetcher guesses.
        let hit = |at: u64| hash(&(hash(&at.to_le_bytes()) % keys).to_le_bytes());
        let hits: Vec<u64> = (0..PROBES).map(hit).collect();
        let misses: Vec<u64> = (0..PROBES).map(|at| hash(&(keys + at).to_le_bytes())).collect();
        let passed = misses.iter().filter(|hash| filter.may_contain(**hash, SEED)).count();
        let name = format!("{size}, {passed} of {PROBES} false positives");
        group.throughput(Throughput::Elements(PROBES));
        for (what, hashes) in [("hit", &hits), ("miss", &misses)] {
            group.bench_function(format!("{name}, {what}"), |bench| {
                bench.iter(|| {
                    hashes.iter().filter(|hash| filter.may_contain(black_box(**hash), SEED)).count()
                });
            });
        }
    }
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(20);
    group.bench_function("build, 100 k keys", |bench| bench.iter(|| build(100_000, 10)));
    group.finish();
}

criterion_group!(benches, filters);
criterion_main!(benches);
