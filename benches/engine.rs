//! The embedded engine: what a call costs one thread, and what eight threads get done in batches.
//!
//! Bars: a get of what is in a memtable takes at most 10 us; eight threads do at least 500,000 keys a second, read or written.
//! The directory lies beside the build's outputs, not in /tmp. `sync` is `no`: the disk is not what is measured here.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rusty_lsm::engine::SyncPolicy;
use rusty_lsm::{Engine, Options, WriteBatch};
use tempfile::TempDir;

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
const THREADS: u64 = 8;
const BATCH_KEYS: u64 = 100;

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

/// Keys in some order that is not theirs.
fn shuffled(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS
}

fn open() -> (TempDir, Engine) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let options = Options::new().sync(SyncPolicy::Never).memtable_bytes(256 << 20).memory(1 << 30);
    let engine = options.open(dir.path()).expect("the engine opens");
    for from in (0..KEYS).step_by(1_000) {
        let mut batch = WriteBatch::new();
        (from..from + 1_000).for_each(|number| batch.put(&key(number), &[7; VALUE_BYTES]));
        engine.write(batch).expect("written");
    }
    (dir, engine)
}

/// Time that `THREADS` threads need for `batches` calls of `work` in all.
fn together(engine: &Engine, batches: u64, work: impl Fn(&Engine, u64) + Sync) -> Duration {
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (next, work) = (Arc::clone(&next), &work);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= batches {
                        return;
                    }
                    work(engine, number * BATCH_KEYS);
                }
            });
        }
    });
    began.elapsed()
}

fn calls(criterion: &mut Criterion) {
    let (_dir, engine) = open();
    let mut group = criterion.benchmark_group("engine");
    let mut number = 0;
    group.bench_function("get from a memtable", |bench| {
        bench.iter(|| {
            number += 1;
            black_box(engine.get(&key(shuffled(number))).expect("read"))
        });
    });
    group.bench_function("put, sync no", |bench| {
        bench.iter(|| {
            number += 1;
            engine.put(&key(shuffled(number)), &[8; VALUE_BYTES]).expect("written");
        });
    });
    group.throughput(Throughput::Elements(BATCH_KEYS));
    group.bench_function("multi_get of 100 keys, one thread", |bench| {
        bench.iter(|| {
            number += BATCH_KEYS;
            let keys: Vec<_> = (number..number + BATCH_KEYS).map(|at| key(shuffled(at))).collect();
            black_box(engine.multi_get(&keys).expect("read"))
        });
    });
    group.bench_function("multi_get of 100 keys, 8 threads", |bench| {
        bench.iter_custom(|batches| {
            together(&engine, batches, |engine, from| {
                let keys: Vec<_> = (from..from + BATCH_KEYS).map(|at| key(shuffled(at))).collect();
                black_box(engine.multi_get(&keys).expect("read"));
            })
        });
    });
    group.bench_function("write of 100 keys, 8 threads", |bench| {
        bench.iter_custom(|batches| {
            together(&engine, batches, |engine, from| {
                let mut batch = WriteBatch::new();
                for at in from..from + BATCH_KEYS {
                    batch.put(&key(shuffled(at)), &[9; VALUE_BYTES]);
                }
                engine.write(batch).expect("written");
            })
        });
    });
    group.finish();
    engine.close().expect("closed");
}

criterion_group!(benches, calls);
criterion_main!(benches);
