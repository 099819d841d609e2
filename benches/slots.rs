//! Key to slot to shard: what every command with a key pays before it runs.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rusty_lsm::slots::{SlotTable, slot};

const KEYS: u64 = 1024;

fn keys(make: impl Fn(u64) -> String) -> Vec<Vec<u8>> {
    (0..KEYS).map(|number| make(number).into_bytes()).collect()
}

fn slots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slots");
    group.throughput(Throughput::Elements(KEYS));
    let loads = [
        ("16 bytes", keys(|number| format!("key:{number:012}"))),
        ("64 bytes", keys(|number| format!("session:{number:056}"))),
        ("hash tag of 8", keys(|number| format!("{{u{number:07}}}:profile:name"))),
        ("open brace only", keys(|number| format!("{{key:{number:011}"))),
    ];
    for (name, keys) in &loads {
        group.bench_with_input(BenchmarkId::new("slot", name), keys, |bench, keys| {
            bench.iter(|| keys.iter().map(|key| u64::from(slot(black_box(key)))).sum::<u64>());
        });
    }
    let table = SlotTable::contiguous(16);
    group.bench_function("shard of key, 16 bytes, 16 shards", |bench| {
        let keys = &loads[0].1;
        bench.iter(|| {
            keys.iter().map(|key| u64::from(table.shard_of_key(black_box(key)))).sum::<u64>()
        });
    });
    group.finish();
}

criterion_group!(benches, slots);
criterion_main!(benches);
