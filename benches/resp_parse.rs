//! The parser: commands of a pipeline of 16, and one command that comes in pieces.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rusty_lsm::resp::{Parsed, Parser, ParserLimits};

const PIPELINE: usize = 16;
const BULK_BYTES_MAX: u32 = 64 << 20;

fn limits() -> ParserLimits {
    ParserLimits::new(BULK_BYTES_MAX)
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Parses all of `input`; answers the bytes of all arguments, so that they are looked at.
fn parse_all(parser: &mut Parser, input: &[u8]) -> usize {
    let (mut at, mut bytes) = (0, 0);
    while at < input.len() {
        let rest = &input[at..];
        match parser.parse(rest).expect("a sound request") {
            Parsed::Command { consumed } => {
                bytes += parser.args(rest).iter().map(<[u8]>::len).sum::<usize>();
                at += consumed;
            }
            Parsed::Empty { consumed } => at += consumed,
            Parsed::Incomplete => panic!("a whole request"),
        }
    }
    bytes
}

fn pipelines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resp_parse");
    let value = [b'x'; 100];
    let key: &[u8] = b"key:000000123456";
    let mset: Vec<&[u8]> =
        std::iter::once(&b"MSET"[..]).chain((0..10).flat_map(|_| [key, &value])).collect();
    let loads = [
        ("SET, 100 bytes", request(&[b"SET", key, &value])),
        ("GET", request(&[b"GET", key])),
        ("MSET of 10", request(&mset)),
        ("inline PING", b"PING\r\n".to_vec()),
    ];
    for (name, one) in &loads {
        let input = one.repeat(PIPELINE);
        group.throughput(Throughput::Elements(PIPELINE as u64));
        group.bench_with_input(BenchmarkId::new("pipeline of 16", name), &input, |bench, input| {
            let mut parser = Parser::new(limits());
            bench.iter(|| parse_all(&mut parser, black_box(input)));
        });
    }
    group.finish();
}

/// A large value over a socket: the parser is asked after each piece and must not look at the old ones again.
fn pieces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resp_parse");
    let value = vec![b'x'; 1 << 20];
    let input = request(&[b"SET", b"large", &value]);
    for piece in [4 << 10, 64 << 10] {
        let ends: Vec<usize> =
            (piece..input.len()).step_by(piece).chain(std::iter::once(input.len())).collect();
        group.throughput(Throughput::Elements(ends.len() as u64));
        group.bench_function(BenchmarkId::new("1 MiB in pieces of", piece), |bench| {
            let parser = || Parser::new(limits());
            bench.iter_batched_ref(
                parser,
                |parser| {
                    let whole = ends.iter().filter(|&&end| {
                        let parsed = parser.parse(black_box(&input[..end]));
                        matches!(parsed, Ok(Parsed::Command { .. }))
                    });
                    assert_eq!(whole.count(), 1);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, pipelines, pieces);
criterion_main!(benches);
