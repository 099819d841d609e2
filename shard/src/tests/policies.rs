//! The sync policy changes while a small workload runs, which is crashed after every operation of the disk.
//!
//! The oracle: one writer writes `(key, n)` for n = 1, 2, 3, ... Recorded outside: the last n whose write was begun,
//! the last that was acknowledged, the last that a reader saw. After recovery the shard must be the model after exactly
//! n writes for one n with `acknowledged <= n <= begun` and `seen <= n`: a prefix, nothing lost, nothing torn.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::effort::{Effort, Place, say};
use super::{key, open, tiny};
use crate::admission::Refusal;
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Crash, Fault, Kind, Sim, SimEnv};
use crate::error::Error;
use crate::options::{Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

const KEYS: u32 = 7;

/// The n-th write of the workload: two operations that belong together, sometimes a delete.
fn nth(n: u32) -> [(Vec<u8>, Option<Vec<u8>>); 2] {
    let filler = "x".repeat((n as usize * 37) % 400);
    let value = format!("{n}:{filler}").into_bytes();
    let second = (!n.is_multiple_of(3)).then(|| value.clone());
    [(key(n % KEYS), Some(value)), (key(100 + n % 5), second)]
}

fn model(upto: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut model = BTreeMap::new();
    for n in 1..=upto {
        for (key, value) in nth(n) {
            match value {
                Some(value) => model.insert(key, value),
                None => model.remove(&key),
            };
        }
    }
    model
}

#[derive(Debug, Default)]
struct Oracle {
    begun: Cell<u32>,
    acknowledged: Cell<u32>,
    /// Acknowledged under `Always`, or before the policy became that.
    durable: Cell<u32>,
}

async fn write_all(shard: &Shard<SimEnv>, oracle: &Oracle, from: u32, count: u32) {
    for n in from..from + count {
        let ops = nth(n);
        let ops: Vec<Op<'_>> = ops
            .iter()
            .map(|(key, value)| match value {
                Some(value) => Op::Put { key, value, expires_at_ms: 0 },
                None => Op::Delete { key },
            })
            .collect();
        oracle.begun.set(n);
        if shard.put_all(&ops).await.is_err() {
            return;
        }
        oracle.acknowledged.set(n);
        if shard.policy() == SyncPolicy::Always {
            oracle.durable.set(n);
        }
    }
}

/// The same, with another policy every few writes.
async fn write_under_changing_policies(shard: &Shard<SimEnv>, oracle: &Oracle, count: u32) {
    const TURN: u32 = 6;
    let policies = [SyncPolicy::EverySecond, SyncPolicy::Always, SyncPolicy::Never];
    for (turn, policy) in (0..count / TURN).zip(policies.into_iter().cycle()) {
        if shard.set_policy(policy).await.is_err() {
            return;
        }
        if policy == SyncPolicy::Always {
            oracle.durable.set(oracle.acknowledged.get());
        }
        write_all(shard, oracle, 1 + turn * TURN, TURN).await;
    }
}

async fn contents(shard: &Shard<SimEnv>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut scan = shard.scan(Range::all(), Direction::Forward);
    let mut contents = BTreeMap::new();
    while let Some(entry) = scan.next().await.unwrap() {
        contents.insert(entry.key.to_vec(), entry.value.to_vec());
    }
    for (key, value) in &contents {
        assert!(shard.get(key).await.unwrap().as_ref() == Some(value), "scan and get agree");
    }
    contents
}

/// Recovers and answers which prefix it finds.
async fn recovered(env: &SimEnv, options: Options, oracle: &Oracle, least: u32) -> u32 {
    let shard = open(env, options).await;
    let found = contents(&shard).await;
    let begun = oracle.begun.get();
    let Some(prefix) = (least..=begun).find(|n| model(*n) == found) else {
        let near = (0..=begun).find(|n| model(*n) == found);
        panic!("acknowledged {least}, begun {begun}, found the state after {near:?}");
    };
    // It goes on, and closes in order.
    shard
        .put_all(&[
            Op::Put { key: b"zz", value: b"1", expires_at_ms: 0 },
            Op::Delete { key: b"zz" },
        ])
        .await
        .unwrap();
    shard.close().await.unwrap();
    prefix
}

fn options(policy: SyncPolicy) -> Options {
    Options { memtable_bytes: 3 << 10, ..tiny(policy) }
}

/// Runs the workload with a crash at operation `at`; false once it ends before that.
fn crashed_at(at: u64, seed: u64, policy: SyncPolicy, writes: u32) -> bool {
    let sim = Sim::new(seed);
    sim.crash_at(at);
    let oracle = Rc::new(Oracle::default());
    let ended = sim.try_run({
        let oracle = Rc::clone(&oracle);
        async move |env| {
            let shard = open(&env, options(policy)).await;
            write_under_changing_policies(&shard, &oracle, writes).await;
            drop(shard.close().await);
        }
    });
    for (kind, crash_seed) in [
        (Crash::Everything, 0),
        (Crash::SyncedOnly, 0),
        (Crash::Random, 1),
        (Crash::Random, 2),
        (Crash::Random, 3),
    ] {
        let promised = match kind {
            // A process kill takes nothing that was acknowledged; a power cut takes what was not synced.
            Crash::Everything => oracle.acknowledged.get(),
            _ => oracle.durable.get(),
        };
        let after = sim.crash(kind, crash_seed ^ at);
        // Crashed again, somewhere in the recovery.
        let again = Sim::new(0);
        drop(again);
        let inner = sim.crash(kind, crash_seed ^ at);
        inner.crash_at(inner.operations() + 1 + at * 7 % 60);
        let probe = Rc::clone(&oracle);
        let _first_try = inner
            .try_run(async move |env| recovered(&env, options(policy), &probe, promised).await);
        let twice = inner.crash(kind, at ^ 0x63);
        for machine in [after, twice] {
            let oracle = Rc::clone(&oracle);
            machine.run(async move |env| {
                let prefix = recovered(&env, options(policy), &oracle, promised).await;
                // A second start finds the same.
                let same = recovered(&env, options(policy), &oracle, prefix).await;
                assert_eq!(same, prefix);
            });
        }
    }
    ended.is_none()
}

/// Answers how often it crashed.
fn crash_everywhere(seed: u64, policy: SyncPolicy, writes: u32, stride: u64) -> u64 {
    let mut at = 1 + seed % stride;
    while crashed_at(at, seed, policy, writes) {
        at += stride;
    }
    assert!(at > 300, "the workload is {at} operations long: too short to mean anything");
    at / stride
}

/// What was acknowledged under `always`, or before a change to it was, stays whatever the policy was before or is after.
#[test]
fn after_every_operation_under_changing_policies() {
    let effort = Effort::or(1, 90, 4);
    for seed in effort.seeds.clone() {
        for policy in [SyncPolicy::EverySecond, SyncPolicy::Always] {
            let _place = Place(format!(
                "replay: SIM_SEED={seed} SIM_EVERY={} cargo test -p shard --features sim --lib tests::policies",
                effort.every
            ));
            let writes = u32::try_from(effort.ops).unwrap();
            let ends = crash_everywhere(seed, policy, writes, effort.every);
            say(&format!(
                "changing policies, from {policy:?}: seed {seed}, {ends} crashes: no violation"
            ));
        }
    }
}

/// Found by `crash-loop power`: the committer, woken by the end of a failed sync, wrote on for the next one.
#[test]
fn nothing_is_written_behind_a_failed_sync() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        sim.run(async |env| {
            let shard = open(&env, tiny(SyncPolicy::EverySecond)).await;
            // From here on each frame of the segment is synced as soon as the one before it is. The spare is made meanwhile.
            shard.set_policy(SyncPolicy::Always).await.unwrap();
            env.sleep(Duration::from_millis(100)).await;
            let fault = env.faults().add(Fault::eio().kind(Kind::Sync).path(".wal").at(3));
            let mut written = 0;
            let error = loop {
                assert!(written < 1000);
                let op = Op::Put { key: &key(written), value: b"value", expires_at_ms: 0 };
                match shard.write(&[op]) {
                    Ok(_) => written += 1,
                    Err(Refusal::Wait(_)) => {}
                    Err(Refusal::Error(error)) => break error,
                }
                env.sleep(Duration::from_micros(20)).await;
            };
            assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
            assert!(written > 0 && fault.hits() == 1);
            drop(shard.close().await);
        });
    }
}
