//! The memtable at 64 MiB of 16-byte keys and 100-byte values. Budget (design D7): insert 0.7 us, get 0.4, miss 0.15.
#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a bench measures real time and says what it found"
)]

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use shard::batch::Op;
use shard::cursor::{Cursor, Direction};
use shard::key::{SeqNo, hash};
use shard::memtable::{MemCursor, MemTable};

const TABLE_BYTES: usize = 64 << 20;
const KEYS: usize = 1 << 20;

/// "key:" and twelve digits, as redis-benchmark makes them.
fn keys(mut seed: u64) -> Vec<[u8; 16]> {
    let mut key = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let digits = format!("key:{:012}", (seed >> 20) % 1_000_000_000_000);
        digits.as_bytes().try_into().expect("16 bytes")
    };
    (0..KEYS).map(|_| key()).collect()
}

fn put(table: &MemTable, seq: usize, key: &[u8]) {
    table.insert(SeqNo(seq as u64 + 1), Op::Put { key, value: &[b'v'; 100], expires_at_ms: 0 });
}

/// A full table and the number of its keys.
fn filled(keys: &[[u8; 16]]) -> (MemTable, usize) {
    let table = MemTable::new(1);
    let mut seq = 0;
    while table.bytes() < TABLE_BYTES {
        put(&table, seq, &keys[seq]);
        seq += 1;
    }
    (table, seq)
}

fn insert(c: &mut Criterion) {
    let keys = keys(1);
    c.bench_function("memtable/insert", |b| {
        b.iter_custom(|mut iters| {
            let mut spent = Duration::ZERO;
            while iters > 0 {
                let table = MemTable::new(1);
                let mut seq = 0;
                let start = Instant::now();
                while iters > 0 && table.bytes() < TABLE_BYTES {
                    put(&table, seq, &keys[seq]);
                    seq += 1;
                    iters -= 1;
                }
                spent += start.elapsed();
            }
            spent
        });
    });
    c.bench_function("memtable/overwrite_100k_keys", |b| {
        b.iter_custom(|mut iters| {
            let mut spent = Duration::ZERO;
            while iters > 0 {
                let table = MemTable::new(1);
                let mut seq = 0;
                let start = Instant::now();
                while iters > 0 && table.bytes() < TABLE_BYTES {
                    put(&table, seq, &keys[seq * 7919 % 100_000]);
                    seq += 1;
                    iters -= 1;
                }
                spent += start.elapsed();
            }
            spent
        });
    });
}

/// The longest single insert of a fill, and freeing it all: what a core would notice.
fn steps(c: &mut Criterion) {
    let keys = keys(1);
    let mut group = c.benchmark_group("memtable/whole");
    group.sample_size(10);
    group.bench_function("longest_insert", |b| {
        b.iter_custom(|iters| (0..iters).map(|_| longest_insert(&keys)).sum());
    });
    group.bench_function("drop", |b| {
        b.iter_custom(|iters| {
            let one = |_| {
                let (table, _) = filled(&keys);
                let start = Instant::now();
                drop(table);
                start.elapsed()
            };
            (0..iters).map(one).sum()
        });
    });
    group.finish();
}

fn longest_insert(keys: &[[u8; 16]]) -> Duration {
    let table = MemTable::new(1);
    let mut longest = Duration::ZERO;
    let mut seq = 0;
    while table.bytes() < TABLE_BYTES {
        let start = Instant::now();
        put(&table, seq, &keys[seq]);
        longest = longest.max(start.elapsed());
        seq += 1;
    }
    longest
}

fn read(c: &mut Criterion) {
    let keys = keys(1);
    let absent = self::keys(2);
    let (table, count) = filled(&keys);
    println!("{count} entries, {} bytes", table.bytes());
    let mut at = 0;
    let mut random = || {
        at = (at + 7919) % count;
        at
    };
    c.bench_function("memtable/get", |b| {
        b.iter(|| {
            let key = &keys[random()];
            // The value is read, as a reply would.
            table.get_newest(hash(key), key).map(|entry| black_box(entry.value[0]))
        });
    });
    c.bench_function("memtable/miss", |b| {
        b.iter(|| {
            let key = &absent[random()];
            table.get_newest(hash(key), key).is_some()
        });
    });

    let table = Rc::new(table);
    for (name, direction) in [("forward", Direction::Forward), ("backward", Direction::Backward)] {
        let mut cursor = MemCursor::new(Rc::clone(&table), direction);
        c.bench_function(&format!("memtable/seek_{name}"), |b| {
            b.iter(|| {
                let _ = cursor.seek(Some(&keys[random()]));
                cursor.entry().map(|entry| entry.seq)
            });
        });
        let _ = cursor.seek(None);
        c.bench_function(&format!("memtable/step_{name}"), |b| {
            b.iter(|| {
                let _ = cursor.step();
                if cursor.entry().is_none() {
                    let _ = cursor.seek(None);
                }
                cursor.entry().map(|entry| black_box(entry.value[0]))
            });
        });
    }
}

criterion_group!(benches, insert, steps, read);
criterion_main!(benches);
