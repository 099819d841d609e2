//! Metamorphic: one list of operations, run under configurations that must not change an answer: one, two and four
//! shards, block size, filter, compression, cache, merge strategy, forced flushes, memtable size, sync policy, and restarts.
//! Every get, every count and every full scan on the way is compared with the plainest of them.

use std::path::PathBuf;

use proptest::prelude::*;

use super::effort::Effort;
use super::model::{Action, action, expires_at_ms, set_hour, value};
use super::{IDENTITY, key, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::sim::{Crash, Sim, SimEnv};
use crate::key::Identity;
use crate::options::{CompactionStyle, Options, SyncPolicy, TableOptions};
use crate::recovery::inspect;
use crate::scan::Range;
use crate::shard::Shard;

/// One way to run the list.
struct Way {
    name: &'static str,
    options: Options,
    shards: u32,
    /// A flush after each so-many-th write.
    flush_every: usize,
    /// Whether `Reopen` and `Crash` are obeyed.
    restarts: bool,
}

fn ways() -> Vec<Way> {
    let plain = || tiny(SyncPolicy::Always);
    let table = |table: TableOptions| Options { table, ..plain() };
    let way = |name, options| Way { name, options, shards: 1, flush_every: 0, restarts: false };
    let small = || plain().table;
    vec![
        // The first is what the others are held against: everything in one memtable.
        way("one memtable", Options { memtable_bytes: 64 << 20, ..plain() }),
        way("tiny", plain()),
        Way { restarts: true, ..way("restarts and power cuts", plain()) },
        Way { flush_every: 3, ..way("forced flushes", plain()) },
        Way { shards: 2, ..way("two shards", plain()) },
        Way { shards: 4, restarts: true, ..way("four shards", plain()) },
        way("large blocks", table(TableOptions { block_bytes: 16 << 10, ..small() })),
        way("no filter", table(TableOptions { filter_bits_per_key: 0, ..small() })),
        way("no compression", table(TableOptions { compression: false, ..small() })),
        way("no cache", Options { block_cache_bytes: 0, ..plain() }),
        way("size-tiered", Options { style: CompactionStyle::SizeTiered, ..plain() }),
        way("everysec", tiny(SyncPolicy::EverySecond)),
        way("no sync", tiny(SyncPolicy::Never)),
    ]
}

/// The shards of one way, keys spread over them as a server would.
struct Shards(Vec<Shard<SimEnv>>);

impl Shards {
    async fn open(env: &SimEnv, way: &Way) -> Self {
        let mut shards = Vec::new();
        for number in 0..way.shards {
            let dir = PathBuf::from(format!("/db-{number}"));
            let identity = Identity { shard: number, ..IDENTITY };
            let found = inspect(env, &dir, identity, way.options.clone()).await.unwrap();
            shards.push(found.open(|_, _| {}).await.unwrap().0);
        }
        Self(shards)
    }

    async fn close(&self) {
        for shard in &self.0 {
            shard.close().await.unwrap();
        }
    }

    fn index(&self, key: &[u8]) -> usize {
        usize::try_from(xxhash_rust::xxh3::xxh3_64(key) % self.0.len() as u64).unwrap()
    }

    /// Each shard's part of a batch, in order.
    async fn write(&self, ops: &[Op<'_>]) {
        for (index, shard) in self.0.iter().enumerate() {
            let mine: Vec<Op<'_>> =
                ops.iter().filter(|op| self.index(op.key()) == index).copied().collect();
            if !mine.is_empty() {
                shard.put_all(&mine).await.unwrap();
            }
        }
    }

    async fn entries(&self, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries = Vec::new();
        for shard in &self.0 {
            let mut scan = shard.scan(Range::all(), direction);
            while let Some(entry) = scan.next().await.unwrap() {
                entries.push((entry.key.to_vec(), entry.value.to_vec()));
            }
        }
        entries.sort();
        entries
    }
}

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Value(Option<Vec<u8>>),
    Entries(Vec<(Vec<u8>, Vec<u8>)>),
}

fn run(way: &Way, seed: u64, actions: &[Action]) -> Vec<Answer> {
    let mut sim = Sim::new(seed);
    let (mut step, mut answers, mut writes, mut hour) = (0, Vec::new(), 0, 0);
    loop {
        let crashed = sim.run(async |env| {
            set_hour(&env, hour);
            let mut shards = Shards::open(&env, way).await;
            while let Some(action) = actions.get(step) {
                step += 1;
                match action {
                    Action::Crash if way.restarts => return true,
                    Action::Reopen if way.restarts => {
                        shards.close().await;
                        shards = Shards::open(&env, way).await;
                    }
                    Action::Reopen | Action::Crash => {}
                    Action::Flush => {
                        for shard in &shards.0 {
                            shard.flush().await.unwrap();
                        }
                    }
                    Action::Get(number) => {
                        let key = key(*number);
                        let shard = &shards.0[shards.index(&key)];
                        answers.push(Answer::Value(shard.get(&key).await.unwrap()));
                    }
                    Action::Check => {
                        for direction in [Direction::Forward, Direction::Backward] {
                            answers.push(Answer::Entries(shards.entries(direction).await));
                        }
                    }
                    Action::Hours(hours) => {
                        hour += hours;
                        set_hour(&env, hour);
                    }
                    Action::Put(..) | Action::PutFor(..) | Action::Delete(_) | Action::Batch(_) => {
                        let ends = expires_at_ms(action.hours().map(|hours| hour + hours));
                        let changes = action.changes();
                        let named: Vec<_> = changes
                            .iter()
                            .map(|(number, len)| (key(*number), len.map(|len| value(len, step))))
                            .collect();
                        let ops: Vec<Op<'_>> = named
                            .iter()
                            .map(|(key, value)| match value {
                                Some(value) => Op::Put { key, value, expires_at_ms: ends },
                                None => Op::Delete { key },
                            })
                            .collect();
                        shards.write(&ops).await;
                        writes += 1;
                        if way.flush_every > 0 && writes % way.flush_every == 0 {
                            for shard in &shards.0 {
                                shard.flush().await.unwrap();
                            }
                        }
                    }
                }
            }
            answers.push(Answer::Entries(shards.entries(Direction::Forward).await));
            shards.close().await;
            false
        });
        if !crashed {
            return answers;
        }
        sim = sim.crash(Crash::Random, seed ^ step as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(Effort::or(6, 0, 1).seeds.count()).unwrap(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_configuration_changes_no_answer(
        seed: u64,
        actions in prop::collection::vec(action(), 1..200),
    ) {
        let ways = ways();
        let wanted = run(&ways[0], seed, &actions);
        for way in &ways[1..] {
            let answers = run(way, seed, &actions);
            prop_assert!(answers == wanted, "{} answers otherwise than {}", way.name, ways[0].name);
        }
    }
}
