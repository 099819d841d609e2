//! Values that end, and a clock that jumps both ways, against a map. Strategy: few keys, so that each has versions in many
//! runs; hours pass, or are taken back, at once; flushes, idle time for compactions, restarts and power cuts in between.
//!
//! Watched, by each key and in scans both ways: what has ended is absent; what has not is there, unless the clock was beyond
//! its end in between (then a merge may have dropped it); and in no case is an older version there.
//! Space: what has ended gives it back, without another write.
#![expect(clippy::disallowed_types, reason = "the strategies of proptest share by Arc")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::effort::Effort;
use super::model::{expires_at_ms, set_hour};
use super::{key, open, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Crash, Sim, SimEnv};
use crate::options::{CompactionStyle, Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

const KEYS: u32 = 30;

#[derive(Debug, Clone)]
enum Action {
    /// There for so many hours besides this one, or for ever.
    Put(u32, Option<u32>),
    Delete(u32),
    Get(u32),
    Jump(i32),
    Flush,
    /// Compactions run.
    Idle,
    Reopen,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    let keys = 0..KEYS;
    prop_oneof![
        30 => (keys.clone(), prop::option::weighted(0.7, 0..4_u32))
            .prop_map(|(key, hours)| Action::Put(key, hours)),
        5 => keys.clone().prop_map(Action::Delete),
        10 => keys.prop_map(Action::Get),
        8 => (-3..4_i32).prop_map(Action::Jump),
        6 => Just(Action::Flush),
        3 => Just(Action::Idle),
        1 => Just(Action::Reopen),
        1 => Just(Action::Crash),
    ]
}

/// The newest version of a key.
#[derive(Debug, Clone)]
struct Newest {
    value: Vec<u8>,
    until: Option<u32>,
    /// The clock was beyond its end.
    had_ended: bool,
}

#[derive(Debug, Clone)]
struct Model {
    keys: BTreeMap<Vec<u8>, Newest>,
    hour: u32,
}

impl Model {
    fn set_hour(&mut self, hour: u32) {
        self.hour = hour;
        for newest in self.keys.values_mut() {
            newest.had_ended |= newest.until.is_some_and(|until| hour > until);
        }
    }

    fn check(&self, key: &[u8], found: Option<&[u8]>, place: &str) {
        let newest = self.keys.get(key);
        let live = newest.filter(|newest| newest.until.is_none_or(|until| self.hour <= until));
        let sound = match (live, found) {
            (None, found) => found.is_none(),
            (Some(live), Some(found)) => live.value == found,
            (Some(live), None) => live.had_ended,
        };
        assert!(
            sound,
            "{place}: {:?} of {newest:?} at {}",
            found.map(<[u8]>::escape_ascii),
            self.hour
        );
    }
}

async fn check(shard: &Shard<SimEnv>, model: &Model) {
    for direction in [Direction::Forward, Direction::Backward] {
        let mut scan = shard.scan(Range::all(), direction);
        let mut seen = BTreeMap::new();
        while let Some(entry) = scan.next().await.unwrap() {
            let ends = model.keys.get(entry.key).and_then(|newest| newest.until);
            assert_eq!(entry.expires_at_ms, expires_at_ms(ends));
            assert!(seen.insert(entry.key.to_vec(), entry.value.to_vec()).is_none());
        }
        for key in (0..KEYS).map(key) {
            model.check(&key, seen.get(&key).map(Vec::as_slice), "a scan");
        }
    }
    for key in (0..KEYS).map(key) {
        let found = shard.get(&key).await.unwrap();
        model.check(&key, found.as_deref(), "a read");
    }
}

fn run(seed: u64, options: &Options, actions: &[Action]) {
    let mut sim = Sim::new(seed);
    let (mut step, mut model) = (0, Model { keys: BTreeMap::new(), hour: 1_000 });
    while step < actions.len() {
        sim.run(async |env| {
            set_hour(&env, model.hour);
            let mut shard = open(&env, options.clone()).await;
            check(&shard, &model).await;
            while let Some(action) = actions.get(step) {
                step += 1;
                match action {
                    Action::Put(number, hours) => {
                        let (key, value) = (key(*number), format!("{step:0>60}").into_bytes());
                        let until = hours.map(|hours| model.hour + hours);
                        let ends = expires_at_ms(until);
                        let op = Op::Put { key: &key, value: &value, expires_at_ms: ends };
                        shard.put_all(&[op]).await.unwrap();
                        model.keys.insert(key, Newest { value, until, had_ended: false });
                    }
                    Action::Delete(number) => {
                        shard.put_all(&[Op::Delete { key: &key(*number) }]).await.unwrap();
                        model.keys.remove(&key(*number));
                    }
                    Action::Get(number) => {
                        let found = shard.get(&key(*number)).await.unwrap();
                        model.check(&key(*number), found.as_deref(), "a read");
                    }
                    Action::Jump(hours) => {
                        model.set_hour(model.hour.saturating_add_signed(*hours));
                        set_hour(&env, model.hour);
                    }
                    Action::Flush => shard.flush().await.unwrap(),
                    Action::Idle => env.sleep(Duration::from_secs(5)).await,
                    Action::Reopen => {
                        shard.close().await.unwrap();
                        shard = open(&env, options.clone()).await;
                    }
                    Action::Crash => return,
                }
                if step % 8 == 0 {
                    check(&shard, &model).await;
                }
            }
            check(&shard, &model).await;
            shard.close().await.unwrap();
        });
        sim = sim.crash(Crash::Random, seed ^ step as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(Effort::or(40, 0, 1).seeds.count()).unwrap(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_clock_does_nothing_old_comes_back(
        seed: u64,
        tiered: bool,
        actions in prop::collection::vec(action(), 1..200),
    ) {
        let style = if tiered { CompactionStyle::SizeTiered } else { CompactionStyle::Leveled };
        run(seed, &Options { memtable_bytes: 2 << 10, style, ..tiny(SyncPolicy::Always) }, &actions);
    }
}

fn table_bytes(shard: &Shard<SimEnv>) -> u64 {
    shard.stats().level_bytes.iter().sum()
}

/// Keys between those that stay, which end at the hour `until`.
async fn write(shard: &Shard<SimEnv>, offset: u32, until: Option<u32>) {
    for number in 0..1_500 {
        let (key, value) = (key(number * 10 + offset), [7; 40]);
        let ends = expires_at_ms(until);
        shard.put_all(&[Op::Put { key: &key, value: &value, expires_at_ms: ends }]).await.unwrap();
    }
    shard.flush().await.unwrap();
}

/// Over and over, all of it ends; each time the space comes back while nothing is written, also if it ends while the shard is closed.
#[test]
fn what_has_ended_gives_its_space_back_by_itself() {
    for style in [CompactionStyle::Leveled, CompactionStyle::SizeTiered] {
        Sim::new(5).run(async |env| {
            let options = Options { style, ..tiny(SyncPolicy::Never) };
            let mut hour = 0;
            set_hour(&env, hour);
            let mut shard = open(&env, options.clone()).await;
            write(&shard, 0, None).await;
            env.sleep(Duration::from_secs(60)).await;
            let base = table_bytes(&shard);
            for round in 1..6 {
                write(&shard, round, Some(hour)).await;
                env.sleep(Duration::from_secs(30)).await;
                let full = table_bytes(&shard);
                assert!(full > base * 5 / 4, "{full} bytes above {base}");
                hour += 1;
                if round % 2 == 0 {
                    shard.close().await.unwrap();
                    set_hour(&env, hour);
                    shard = open(&env, options.clone()).await;
                } else {
                    set_hour(&env, hour);
                }
                env.sleep(Duration::from_secs(60)).await;
                let left = table_bytes(&shard);
                assert!(
                    left <= base + base / 10,
                    "{style:?}, round {round}: {left} bytes of {base}"
                );
                let found = shard.key_estimate();
                assert!(found.keys.abs_diff(1_500) < 75, "{style:?}, round {round}: {found:?}");
            }
            shard.close().await.unwrap();
        });
    }
}

/// Nothing but values that end: the tables go unread, and are counted.
#[test]
fn tables_of_which_all_has_ended_go_without_being_read() {
    Sim::new(5).run(async |env| {
        set_hour(&env, 0);
        let shard = open(&env, tiny(SyncPolicy::Never)).await;
        write(&shard, 0, Some(0)).await;
        env.sleep(Duration::from_secs(60)).await;
        let before = shard.stats();
        assert!(before.tables() > 5 && before.counters.expired_keys == 0);
        set_hour(&env, 1);
        env.sleep(Duration::from_secs(10)).await;
        let after = shard.stats();
        assert_eq!((after.tables(), after.counters.expired_keys), (0, 1_500));
        assert_eq!(after.counters.compaction_read_bytes, before.counters.compaction_read_bytes);
        shard.close().await.unwrap();
    });
}
