//! Data blocks: finding a key, walking, decoding, building. 4 KiB, keys of 16 bytes, values of 100.

use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shard::key::{Entry, Identity, Kind, SeqNo, hash};
use shard::table::block::{Block, BlockBuilder, Window};
use shard::table::filter::Filter;
use shard::table::footer::FORMAT;
use shard::table::index::Index;
use shard::table::meta::{Meta, MetaCell, Properties};
use shard::table::stored::{self, Packer, Seed, trailer};

const BLOCK_BYTES: usize = 4096;

fn key(index: u64) -> Vec<u8> {
    format!("key:{index:012}").into_bytes()
}

/// Half text, half noise: Snappy saves about a third.
fn value(index: u64) -> Vec<u8> {
    let noise = (0..6).flat_map(|part| hash(&(index * 6 + part).to_le_bytes()).to_le_bytes());
    noise.chain(b"a field of the record = ".iter().copied().cycle().take(52)).collect()
}

/// As many entries as fit.
fn fill(builder: &mut BlockBuilder, values: &[Vec<u8>]) -> u64 {
    for (index, value) in (0..).zip(values) {
        let key = key(index);
        let entry = Entry { key: &key, seq: SeqNo(1_000_000 + index), kind: Kind::Put, value };
        if builder.bytes_with(&entry) > BLOCK_BYTES {
            return index;
        }
        builder.add(&entry);
    }
    unreachable!("enough values for a block")
}

fn blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block");
    let values: Vec<Vec<u8>> = (0..100).map(value).collect();
    let mut builder = BlockBuilder::default();
    let entries = fill(&mut builder, &values);
    let body = builder.finish().to_vec();
    let block = Rc::new(Block::new(body.clone()).expect("a sound body"));
    let keys: Vec<Vec<u8>> = (0..entries).map(key).collect();

    group.throughput(Throughput::Elements(entries));
    group.bench_function("get, each entry once", |bench| {
        bench.iter(|| keys.iter().filter_map(|key| block.get(black_box(key))).count());
    });
    group.bench_function("walk by windows", |bench| {
        let mut window = Window::default();
        bench.iter(|| {
            let mut bytes = 0;
            for restart in 0..block.restarts() {
                block.window(restart, &mut window);
                for index in 0..window.len() {
                    bytes += window.entry(index, &block).map_or(0, |entry| entry.value.len());
                }
            }
            bytes
        });
    });
    group.bench_function("build", |bench| {
        bench.iter(|| {
            builder.clear();
            fill(&mut builder, &values);
            builder.finish().len()
        });
    });

    group.throughput(Throughput::Bytes(body.len() as u64));
    let seed = Seed::new(&Identity { directory: 1, shard: 0 }, 7);
    let mut packer = Packer::default();
    for (name, compress) in [("plain", false), ("Snappy", true)] {
        group.bench_function(format!("pack, {name}"), |bench| {
            bench.iter(|| {
                let (payload, kind) = packer.pack(&body, compress);
                let mut crc = seed.hasher(0);
                crc.update(payload);
                trailer(crc, kind)
            });
        });
        let (payload, kind) = packer.pack(&body, compress);
        let mut crc = seed.hasher(0);
        crc.update(payload);
        let stored = [payload, &trailer(crc, kind)].concat();
        group.bench_function(format!("open (CRC, body, check), {name}"), |bench| {
            bench.iter(|| {
                assert!(stored::crc_holds(&stored, seed.hasher(0)));
                stored::open_copy(&stored, body.len())
            });
        });
    }
    group.bench_function("check alone", |bench| bench.iter(|| Block::new(body.clone())));
    group.finish();
}

fn index(criterion: &mut Criterion) {
    const BLOCKS: u64 = 4096;
    let mut index = Index::default();
    for block in 0..BLOCKS {
        index.push(&key(block * 37), (block + 1) * 4096, 5000);
    }
    let meta = Meta {
        filter: Filter::default(),
        index,
        properties: Properties::default(),
        sketch: Vec::new(),
    };
    let cell = MetaCell::new(meta.encode(), FORMAT).expect("a sound archive");
    let index = &cell.get().index;
    let keys: Vec<Vec<u8>> =
        (0..1024_u64).map(|at| key(hash(&at.to_le_bytes()) % (BLOCKS * 37))).collect();
    let mut group = criterion.benchmark_group("index of 4096 blocks");
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("find", |bench| {
        bench.iter(|| keys.iter().map(|key| index.find(black_box(key))).sum::<usize>());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("check at open", |bench| {
        bench.iter(|| index.check(0, index.len(), u64::MAX));
    });
    group.finish();
}

criterion_group!(benches, blocks, index);
criterion_main!(benches);
