//! A step of a merge over k sources in memory.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shard::cursor::{Cursor, Direction, Step};
use shard::error::Result;
use shard::key::{Entry, Kind, SeqNo};
use shard::merge::Merge;

const ENTRIES: usize = 100_000;

/// A sorted vector of keys.
struct Source {
    keys: Vec<([u8; 16], u64)>,
    index: usize,
}

impl Cursor for Source {
    fn entry(&self) -> Option<Entry<'_>> {
        let (key, seq) = self.keys.get(self.index)?;
        Some(Entry { key, seq: SeqNo(*seq), kind: Kind::Put, value: b"value" })
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        self.index = key.map_or(0, |key| self.keys.partition_point(|(other, _)| &other[..] < key));
        Step::Ready
    }

    fn step(&mut self) -> Step {
        self.index += 1;
        Step::Ready
    }

    async fn load(&mut self) -> Result<()> {
        Ok(())
    }
}

fn sources(count: usize) -> Vec<Source> {
    let mut seed = 1_u64;
    let mut parts = vec![Vec::new(); count];
    for seq in 0..ENTRIES {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = format!("key:{:012}", (seed >> 20) % 1_000_000_000_000);
        let key = key.as_bytes().try_into().expect("16 bytes");
        parts[seq % count].push((key, seq as u64 + 1));
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts.into_iter().map(|keys| Source { keys, index: 0 }).collect()
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge/step");
    for count in [1, 2, 4, 12, 32] {
        let mut merge = Merge::new(sources(count), Direction::Forward);
        let _ = merge.seek(None);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let _ = merge.step();
                if merge.entry().is_none() {
                    let _ = merge.seek(None);
                }
                merge.entry().map(|entry| entry.seq)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
