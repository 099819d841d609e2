//! Crash clones: a random workload on one machine; at both ends of each operation of its disk, the state is cloned as a
//! crash would leave it, started, checked, and crashed again somewhere in what follows.
//!
//! Strategy: few keys, so that overwrites, deletes and versions of one key in many runs are the rule; memtable, segments
//! and manifest so small that flush, compaction, change of segment, roll-over and deletion happen all the time; bursts
//! that share a frame, values larger than a memtable, values that end and some that have ended, erase, idle seconds, restarts.
//! Kinds: a power cut that leaves only what was synced, all that completed, or by chance each write kept, dropped or torn
//! at 512 bytes and each name kept or not; and the death of the process alone, with a power cut later.
//! Watched: the oracle of `story`, at each start.
//!
//! `SIM_SEEDS=50 SIM_OPS=2000 SIM_EVERY=1` is the full run; see `effort`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::effort::{Dice, Effort, Place, say};
use super::story::{Bytes, Change, Deal, Story, Teller, contents, verify};
use super::{key, open, tiny};
use crate::batch::Op;
use crate::env::Env;
use crate::env::sim::{Crash, Kind, Sim, SimEnv};
use crate::options::{CompactionStyle, Options, SyncPolicy};

const KEYS: u32 = 24;

/// What was tried, over all clones.
#[derive(Debug, Default)]
struct Tally {
    operations: Cell<u64>,
    clones: Cell<u64>,
    starts: Cell<u64>,
    /// Disks that were tried already under the same promise.
    known: RefCell<BTreeSet<(u64, u64, usize)>>,
}

fn count(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}

fn options(policy: SyncPolicy, seed: u64) -> Options {
    let style = if seed % 4 == 3 { CompactionStyle::SizeTiered } else { CompactionStyle::Leveled };
    let mut options = Options { memtable_bytes: 3 << 10, style, ..tiny(policy) };
    options.wal_segment_bytes = if seed.is_multiple_of(2) { 20 << 10 } else { 32 << 10 };
    options.table.table_bytes = 4 << 10;
    options
}

fn universe() -> Vec<Bytes> {
    (0..KEYS).map(|number| Bytes::from(key(number))).collect()
}

fn value(dice: &Dice, stamp: u64) -> Bytes {
    let len = match dice.below(20) {
        0 => 4000 + dice.index(6000),
        1..=3 => 300 + dice.index(1500),
        _ => dice.index(120),
    };
    let mut value = format!("{stamp}:").into_bytes();
    value.resize(value.len() + len, b'a' + u8::try_from(stamp % 26).expect("below 26"));
    value.into()
}

fn changes(dice: &Dice, stamp: u64) -> Vec<Change> {
    let several = if dice.chance(1, 3) { 2 + dice.index(4) } else { 1 };
    let change = |at: usize| {
        let key = Bytes::from(key(u32::try_from(dice.below(KEYS.into())).expect("below KEYS")));
        let value = || value(dice, stamp * 10 + at as u64);
        let deal = match dice.below(20) {
            0..9 => Deal::Put(value(), false),
            9..14 => Deal::Put(value(), true),
            14..17 => Deal::PutExpired(value()),
            _ => Deal::Delete,
        };
        (key, deal)
    };
    (0..several).map(change).collect()
}

/// The workload: `steps` things that happen.
async fn work(env: &SimEnv, teller: &Teller, options: &Options, dice: &Dice, steps: u64) {
    let mut shard = teller.open(env, options).await;
    let mut step = 0;
    while step < steps {
        step += 1;
        match dice.below(100) {
            0..70 => {
                let burst = 1 + dice.below(4);
                let mut last = teller.write(&shard, changes(dice, step * 10)).await;
                for other in 1..burst {
                    step += 1;
                    last = teller.write(&shard, changes(dice, step * 10 + other)).await;
                }
                // Most clients wait for their answer; some have sent the next command already.
                if dice.chance(3, 4) {
                    shard.released(last).await.unwrap();
                }
            }
            70..80 => {
                let key = key(u32::try_from(dice.below(KEYS.into())).expect("below KEYS"));
                let wanted = teller.live().get(&*key).cloned();
                assert!(shard.get(&key).await.unwrap().as_deref() == wanted.as_deref());
            }
            80..84 => assert!(contents(&shard).await == teller.live()),
            84..90 => shard.flush().await.unwrap(),
            90..95 => env.sleep(Duration::from_millis(dice.below(2_500))).await,
            95..98 => {
                teller.close(&shard).await;
                shard = teller.open(env, options).await;
            }
            98 => teller.erase(&shard).await,
            _ => env.pause().await,
        }
    }
    teller.close(&shard).await;
}

/// What one clone is to go through.
struct Clone<'a> {
    kind: Crash,
    seed: u64,
    options: &'a Options,
    universe: &'a [Bytes],
    tally: &'a Tally,
}

impl Clone<'_> {
    /// Crashes `env` as it is now, and checks all that may follow.
    fn explore(&self, env: &SimEnv, story: &Story) {
        let Self { kind, seed, options, universe, tally } = *self;
        let _place = Place(format!("the clone is {kind:?} with seed {seed}"));
        let only_process = kind == Crash::Process;
        let machine = env.crash(kind, seed);
        let least = story.least(only_process);
        count(&tally.clones, 1);
        let state = (machine.digest(), story.last_seq(), least);
        if !only_process && !tally.known.borrow_mut().insert(state) {
            return;
        }
        let found = machine.run(async |env| verify(&env, options, story, least, universe).await);
        // The same crash again: the next process finds the same, starts, writes, and is crashed itself, on the way or later.
        let story = story.clone().found(found.steps, only_process);
        let dice = Dice::new(seed);
        let machine = env.crash(kind, seed);
        let again = if only_process && dice.chance(3, 4) { Crash::Random } else { second(&dice) };
        let at = 1 + dice.below(found.start_operations + if dice.chance(1, 2) { 0 } else { 60 });
        let _place = Place(format!("then {again:?} at operation {at} after it"));
        machine.crash_at(at);
        let teller = Teller::new(story);
        machine.try_run(async |env| go_on(&env, &teller, options, &dice).await);
        teller.look();
        let story = teller.story();
        teller.let_go();
        let twice = machine.crash(again, seed ^ 0x63);
        let only_process = again == Crash::Process;
        let least = story.least(only_process);
        twice.run(async |env| verify(&env, options, &story, least, universe).await);
        count(&tally.starts, 5);
    }
}

fn second(dice: &Dice) -> Crash {
    let kinds =
        [Crash::SyncedOnly, Crash::Everything, Crash::Process, Crash::Random, Crash::Random];
    kinds[dice.index(kinds.len())]
}

/// What happens between the two crashes.
async fn go_on(env: &SimEnv, teller: &Teller, options: &Options, dice: &Dice) {
    let shard = teller.open(env, options).await;
    assert!(contents(&shard).await == teller.live());
    for round in 0..3 {
        let last = teller.write(&shard, changes(dice, 900_000 + round)).await;
        shard.released(last).await.unwrap();
    }
    shard.flush().await.unwrap();
    teller.close(&shard).await;
}

/// Whether an operation of this kind may leave another disk than before.
fn changes_disk(kind: Kind) -> bool {
    !matches!(kind, Kind::Read | Kind::List | Kind::Len | Kind::FreeBytes | Kind::Close)
}

/// One seed: the workload, and a clone at every `every`-th moment.
fn crash_everywhere(policy: SyncPolicy, seed: u64, ops: u64, every: u64, tally: &Rc<Tally>) {
    let _place = Place(format!(
        "replay: SIM_SEED={seed} SIM_OPS={ops} SIM_EVERY={every} cargo test -p shard --features sim --lib tests::crash ({policy:?})"
    ));
    let options = options(policy, seed);
    let teller = Teller::new(Story::default());
    let sim = Sim::new(seed);
    let moments = Cell::new(seed);
    let watcher = {
        let (teller, options, tally) = (Rc::clone(&teller), options.clone(), Rc::clone(tally));
        let universe = universe();
        move |env: &SimEnv, kind: Kind| {
            teller.look();
            if !changes_disk(kind) {
                return;
            }
            moments.set(moments.get() + 1);
            if !moments.get().is_multiple_of(every) {
                return;
            }
            let story = teller.story();
            let operation = env.operations();
            let _place = Place(format!("at operation {operation} of the disk, {kind:?}"));
            // Every kind in turn where not every moment is tried.
            let kinds = [
                Crash::SyncedOnly,
                Crash::Random,
                Crash::Process,
                Crash::Random,
                Crash::Everything,
            ];
            let turn = usize::try_from(moments.get() / every).expect("few moments");
            let kinds = if every > 1 { &kinds[turn % 5..=turn % 5] } else { &kinds };
            for (index, kind) in (0..).zip(kinds) {
                let seed = moments.get() * 10 + index;
                Clone { kind: *kind, seed, options: &options, universe: &universe, tally: &tally }
                    .explore(env, &story);
            }
        }
    };
    sim.watch(watcher);
    tally.known.borrow_mut().clear();
    let dice = Dice::new(seed);
    sim.run(async |env| work(&env, &teller, &options, &dice, ops).await);
    sim.unwatch();
    count(&tally.operations, sim.operations());
    assert!(sim.dropped_open().is_empty(), "{:?}", sim.dropped_open());
}

fn crash_all(policy: SyncPolicy) {
    let effort = Effort::or(2, 150, 23);
    let tally = Rc::new(Tally::default());
    for seed in effort.seeds.clone() {
        crash_everywhere(policy, seed, effort.ops, effort.every, &tally);
    }
    let Tally { operations, clones, starts, .. } = &*tally;
    say(&format!(
        "{policy:?}: seeds {:?}, {} steps each, {} operations of the disk, {} crashes, {} starts on different disks: no violation",
        effort.seeds,
        effort.ops,
        operations.get(),
        clones.get(),
        starts.get()
    ));
}

#[test]
fn after_every_operation_under_always() {
    crash_all(SyncPolicy::Always);
}

#[test]
fn after_every_operation_under_everysec() {
    crash_all(SyncPolicy::EverySecond);
}

#[test]
fn after_every_operation_under_no() {
    crash_all(SyncPolicy::Never);
}

/// Found by the clones: the successor of a killed process took what it read from the page cache for durable.
#[test]
fn what_a_killed_process_left_is_durable_before_anything_is_built_on_it() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond, SyncPolicy::Never] {
        let sim = Sim::new(1);
        sim.run(async |env| {
            let shard = open(&env, tiny(policy)).await;
            for number in 0..3 {
                let (key, value) = (key(number), b"value");
                shard.put_all(&[Op::Put { key: &key, value, expires_at_ms: 0 }]).await.unwrap();
            }
        });
        let next = sim.crash(Crash::Process, 1);
        next.run(async |env| {
            let shard = open(&env, tiny(policy)).await;
            assert_eq!(shard.stats().durable_seq, 3);
        });
        let last = next.crash(Crash::SyncedOnly, 1);
        last.run(async |env| {
            let shard = open(&env, tiny(policy)).await;
            assert_eq!(contents(&shard).await.len(), 3, "{policy:?}");
            shard.close().await.unwrap();
        });
    }
}
