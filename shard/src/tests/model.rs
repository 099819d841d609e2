//! Random operations against a `BTreeMap`. Strategy: short lists over few keys, so that overwrites, tombstones and
//! versions of one key in many runs are the rule; values of all sizes, some that end, while hours pass at once; flush, reopen,
//! crash and scans in between.
//! Watched: point reads, full scans in both directions and the model agree at every check; after a crash under
//! `always` (everything was acknowledged) nothing is missing.
#![expect(clippy::disallowed_types, reason = "the strategies of proptest share by Arc")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::effort::Effort;
use super::{key, open, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Crash, Sim, SimEnv};
use crate::options::{CompactionStyle, Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

/// Values, and the hour at whose middle each ends.
#[derive(Debug, Clone, Default)]
struct Model {
    values: BTreeMap<Vec<u8>, (Vec<u8>, Option<u32>)>,
    hour: u32,
}

impl Model {
    fn live(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let there = |until: &Option<u32>| until.is_none_or(|until| self.hour <= until);
        let live = self.values.iter().filter(|(_, (_, until))| there(until));
        live.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.live().remove(key)
    }
}

const HOUR_MS: u64 = 3_600_000;

/// The beginning of an hour. What runs between two of them takes seconds, so that the middle is never reached by itself.
fn hour_ms(hour: u32) -> u64 {
    1_800_000_000_000 + u64::from(hour) * HOUR_MS
}

/// When a value ends that is there until this hour, the next one not included.
pub(super) fn expires_at_ms(until: Option<u32>) -> u64 {
    until.map_or(0, |hour| hour_ms(hour) + HOUR_MS / 2)
}

/// It is the beginning of this hour.
pub(super) fn set_hour(env: &SimEnv, hour: u32) {
    let by = hour_ms(hour).cast_signed() - env.wall_ms().cast_signed();
    env.shift_wall_ms(by);
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Put(u32, usize),
    /// There for so many hours besides this one.
    PutFor(u32, usize, u32),
    /// So many hours pass.
    Hours(u32),
    Delete(u32),
    Batch(Vec<(u32, Option<usize>)>),
    Get(u32),
    Flush,
    Check,
    Reopen,
    Crash,
}

impl Action {
    /// How long what it writes is there.
    pub(super) fn hours(&self) -> Option<u32> {
        match self {
            Self::PutFor(_, _, hours) => Some(*hours),
            _ => None,
        }
    }

    /// The keys that it writes, with the length of the new value; none for a delete.
    pub(super) fn changes(&self) -> Vec<(u32, Option<usize>)> {
        match self {
            Self::Put(key, len) | Self::PutFor(key, len, _) => vec![(*key, Some(*len))],
            Self::Delete(key) => vec![(*key, None)],
            Self::Batch(changes) => changes.clone(),
            Self::Hours(_)
            | Self::Get(_)
            | Self::Flush
            | Self::Check
            | Self::Reopen
            | Self::Crash => Vec::new(),
        }
    }
}

fn value_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..200_usize, 2 => 200..3000_usize, 1 => 3000..20_000_usize]
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let keys = 0..60_u32;
    prop_oneof![
        30 => (keys.clone(), value_bytes()).prop_map(|(key, len)| Action::Put(key, len)),
        10 => keys.clone().prop_map(Action::Delete),
        10 => (keys.clone(), value_bytes(), 0..4_u32)
            .prop_map(|(key, len, hours)| Action::PutFor(key, len, hours)),
        4 => (1..3_u32).prop_map(Action::Hours),
        5 => prop::collection::vec((keys.clone(), prop::option::weighted(0.7, value_bytes())), 1..8)
            .prop_map(Action::Batch),
        10 => keys.prop_map(Action::Get),
        2 => Just(Action::Flush),
        2 => Just(Action::Check),
        1 => Just(Action::Reopen),
        1 => Just(Action::Crash),
    ]
}

pub(super) fn value(len: usize, step: usize) -> Vec<u8> {
    let mut value = format!("{step}:").into_bytes();
    value.resize(value.len() + len, b'v');
    value
}

async fn check(shard: &Shard<SimEnv>, model: &Model) {
    for direction in [Direction::Forward, Direction::Backward] {
        let mut scan = shard.scan(Range::all(), direction);
        let mut seen = Vec::new();
        while let Some(entry) = scan.next().await.unwrap() {
            seen.push((entry.key.to_vec(), entry.value.to_vec()));
        }
        if direction == Direction::Backward {
            seen.reverse();
        }
        let wanted: Vec<_> = model.live().into_iter().collect();
        assert_eq!(seen.len(), wanted.len());
        assert!(seen == wanted);
    }
    for number in 0..60 {
        assert!(shard.get(&key(number)).await.unwrap() == model.get(&key(number)));
    }
    let estimate = shard.key_estimate();
    let count = model.live().len() as u64;
    assert!(!estimate.exact || estimate.keys == count, "{estimate:?}, not {count}");
    assert!(estimate.keys > 0 || count == 0, "{estimate:?}, not {count}");
}

async fn apply(shard: &Shard<SimEnv>, model: &mut Model, action: &Action, step: usize) {
    match action {
        Action::Get(number) => {
            let got = shard.get(&key(*number)).await.unwrap();
            assert!(got == model.get(&key(*number)));
            return;
        }
        Action::Flush => return shard.flush().await.unwrap(),
        Action::Check => return check(shard, model).await,
        Action::Reopen | Action::Crash => unreachable!("done by the caller"),
        Action::Hours(hours) => {
            model.hour += hours;
            return set_hour(shard.env(), model.hour);
        }
        Action::Put(..) | Action::PutFor(..) | Action::Delete(_) | Action::Batch(_) => {}
    }
    let until = action.hours().map(|hours| model.hour + hours);
    let named: Vec<_> = action
        .changes()
        .iter()
        .map(|(number, len)| (key(*number), len.map(|len| value(len, step))))
        .collect();
    let ops: Vec<Op<'_>> = named
        .iter()
        .map(|(key, value)| match value {
            Some(value) => Op::Put { key, value, expires_at_ms: expires_at_ms(until) },
            None => Op::Delete { key },
        })
        .collect();
    shard.put_all(&ops).await.unwrap();
    for (key, value) in named {
        match value {
            Some(value) => model.values.insert(key, (value, until)),
            None => model.values.remove(&key),
        };
    }
}

fn run(seed: u64, options: &Options, actions: &[Action]) {
    let mut sim = Sim::new(seed);
    let mut model = Model::default();
    let mut step = 0;
    while step < actions.len() {
        let options = options.clone();
        let (next, changed) = sim.run({
            let (mut model, actions) = (model.clone(), actions.to_vec());
            async move |env| {
                set_hour(&env, model.hour);
                let mut shard = open(&env, options.clone()).await;
                check(&shard, &model).await;
                for (at, action) in actions.iter().enumerate().skip(step) {
                    match action {
                        Action::Crash => return (at + 1, model),
                        Action::Reopen => {
                            shard.close().await.unwrap();
                            shard = open(&env, options.clone()).await;
                        }
                        other => apply(&shard, &mut model, other, at).await,
                    }
                }
                check(&shard, &model).await;
                shard.close().await.unwrap();
                (actions.len(), model)
            }
        });
        (step, model) = (next, changed);
        sim = sim.crash(Crash::Random, seed ^ step as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(Effort::or(40, 0, 1).seeds.count()).unwrap(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn leveled_agrees_with_the_model(seed: u64, actions in prop::collection::vec(action(), 1..250)) {
        run(seed, &tiny(SyncPolicy::Always), &actions);
    }

    #[test]
    fn tiered_agrees_with_the_model(seed: u64, actions in prop::collection::vec(action(), 1..250)) {
        let options = Options { style: CompactionStyle::SizeTiered, ..tiny(SyncPolicy::Always) };
        run(seed, &options, &actions);
    }
}
