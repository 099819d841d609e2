//! A frame of the log: encoding operations into it, and finishing it (head, checksum, padding).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shard::batch::Op;
use shard::bench::Frames;

/// As the group commit's builder: frames up to this size never allocate.
const FRAME_BYTES: usize = 256 << 10;

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal_encode");
    let key = *b"key:000000123456";
    // One write alone, a pipeline, 50 pipelines that waited for one sync; then large values.
    for (ops, value_bytes) in [(1, 100), (16, 100), (800, 100), (16, 4096), (1, 1 << 20)] {
        let value = vec![b'x'; value_bytes];
        let mut frames = Frames::new(FRAME_BYTES);
        group.throughput(Throughput::Elements(ops));
        let id = BenchmarkId::new(format!("frame of {ops}"), format!("{value_bytes} B"));
        group.bench_function(id, |bench| {
            bench.iter(|| {
                for _ in 0..ops {
                    frames.push(&Op::Put {
                        key: black_box(&key),
                        value: black_box(&value),
                        expires_at_ms: 0,
                    });
                }
                frames.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
