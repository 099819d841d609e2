//! The Nth operation of the disk fails, once or from then on: `EIO`, `ENOSPC`, `EINTR`, a short read or write; N = 1, 2, ...
//! until nothing is hit any more.
//!
//! Watched: each write is acknowledged or answers an error, in bounded time; a read is right or an error; after a failed
//! write the shard is read-only and says so, or it goes on; nothing is left open, no task and no descriptor; a healthy
//! start after that (the process alone died, or the power was cut) has all that was acknowledged, and leaves no file that
//! the manifest does not name.
//!
//! `SIM_EVERY=1` is the full run; see `effort`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::effort::{Effort, Place, say};
use super::story::{check_closed, contents, roll_over_often};
use super::{key, open, open_with_report, tiny};
use crate::batch::Op;
use crate::env::Env;
use crate::env::sim::{Crash, Fault, FaultHandle, Faults, Kind, Sim, SimEnv};
use crate::error::Error;
use crate::options::{Options, SyncPolicy};
use crate::shard::Shard;

/// Virtual time after which something counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITES: u32 = 100;
const KEYS: u32 = 30;

type Model = BTreeMap<Rc<[u8]>, Rc<[u8]>>;

fn nth(n: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    let value = format!("{n}:{}", "x".repeat((n as usize * 53) % 500)).into_bytes();
    (key(n * 7 % KEYS), (!n.is_multiple_of(5)).then_some(value))
}

fn model(upto: u32) -> Model {
    let mut model = Model::new();
    for n in 1..=upto {
        match nth(n) {
            (key, Some(value)) => model.insert(key.into(), value.into()),
            (key, None) => model.remove(&*key),
        };
    }
    model
}

/// What `future` answers, or `None` once `PATIENCE` is over; then it can be awaited further.
async fn within<T>(env: &SimEnv, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut timeout = pin!(env.sleep(PATIENCE));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        timeout.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// What the clients know.
#[derive(Debug, Default)]
struct Known {
    begun: Cell<u32>,
    acknowledged: Cell<u32>,
    /// The first fault, for the report.
    error: RefCell<Option<Error>>,
    /// The shard has failed: under the weaker policies what was acknowledged and not synced may be gone.
    is_lost: Cell<bool>,
}

fn options(policy: SyncPolicy) -> Options {
    Options { memtable_bytes: 3 << 10, wal_segment_bytes: 20 << 10, ..tiny(policy) }
}

/// Writes one after the other until one is refused for good.
async fn write(env: &SimEnv, shard: &Shard<SimEnv>, known: &Known, faults: &Faults, upto: u32) {
    while known.acknowledged.get() < upto {
        let n = known.acknowledged.get() + 1;
        let (key, value) = nth(n);
        let op = match &value {
            Some(value) => Op::Put { key: &key, value, expires_at_ms: 0 },
            None => Op::Delete { key: &key },
        };
        let ops = [op];
        known.begun.set(known.begun.get().max(n));
        let mut put = pin!(shard.put_all(&ops));
        let answer = if let Some(answer) = within(env, put.as_mut()).await {
            answer
        } else {
            // Only for space may a write wait without an end, and it goes on when the space is back.
            assert!(shard.failure().is_none() && !faults.is_empty(), "a write hangs");
            faults.clear();
            within(env, put.as_mut()).await.expect("space is back, and a write still hangs")
        };
        match answer {
            Ok(_) => known.acknowledged.set(n),
            Err(error) => {
                known.error.borrow_mut().get_or_insert(error);
                break;
            }
        }
    }
    if known.acknowledged.get() < upto && shard.failure().is_some() {
        // Refused for good: a later write is refused as well, at once.
        let again = shard.write(&[Op::Put { key: b"again", value: b"", expires_at_ms: 0 }]);
        assert!(again.is_err());
    }
    // A read may fail, but never answers wrongly.
    let (least, most) = (model(known.acknowledged.get()), model(known.begun.get()));
    for number in 0..KEYS {
        let key = key(number);
        let mut get = pin!(shard.get(&key));
        let Some(answer) = within(env, get.as_mut()).await else { panic!("a read hangs") };
        if let Ok(found) = answer {
            let found = found.as_deref();
            let is_known = |model: &Model| found == model.get(&*key).map(|value| &**value);
            // Under the weaker policies a failed shard goes back to what is durable.
            let goes_back = shard.policy() != SyncPolicy::Always && shard.failure().is_some();
            let was_known = || (0..known.begun.get()).any(|n| is_known(&model(n)));
            let fits = is_known(&least) || is_known(&most) || goes_back && was_known();
            assert!(fits, "key {number}: {found:?}");
        }
    }
}

/// Two lives of the shard on a disk that fails.
async fn live(env: &SimEnv, policy: SyncPolicy, known: &Known, faults: &Faults) {
    for upto in [WRITES / 2, WRITES] {
        let mut opening = pin!(open_with_report(env, options(policy)));
        let opened = within(env, opening.as_mut()).await.expect("opening hangs");
        let shard = match opened {
            Ok((shard, _)) => shard,
            Err(error) => {
                known.error.borrow_mut().get_or_insert(error);
                break;
            }
        };
        roll_over_often(&shard);
        write(env, &shard, known, faults, upto).await;
        let mut flush = pin!(shard.flush());
        if within(env, flush.as_mut()).await.is_none() {
            // It is tried again for as long as it fails.
            assert!(!faults.is_empty(), "a flush hangs");
        }
        let mut close = pin!(shard.close());
        let closed = within(env, close.as_mut()).await.expect("closing hangs");
        let is_lost = shard.failure().is_some();
        assert!(!is_lost || closed.is_err(), "a failed shard closes with its failure");
        known.is_lost.set(known.is_lost.get() || is_lost);
    }
    // Let what was dropped with a pass of the loop end.
    env.pause().await;
    assert!(env.tasks().is_empty(), "still running: {:?}", env.tasks());
    assert_eq!(env.open_files(), 0, "descriptors are open");
}

/// One run with one fault; whether it hit.
fn run(fault: Fault, seed: u64, policy: SyncPolicy) -> bool {
    let sim = Sim::new(seed);
    let faults = sim.faults();
    let handle: FaultHandle = faults.add(fault);
    let known = Known::default();
    sim.run(async |env| live(&env, policy, &known, &faults).await);
    faults.clear();
    if handle.hits() == 0 {
        assert_eq!(known.acknowledged.get(), WRITES, "nothing failed: {:?}", known.error);
    }
    for kind in [Crash::Process, Crash::SyncedOnly, Crash::Random] {
        let _place = Place(format!(
            "after {:?}, {kind:?}: acknowledged {}, begun {}",
            known.error,
            known.acknowledged.get(),
            known.begun.get()
        ));
        // Under the weaker policies a power cut takes what it may.
        let promised = match (policy, kind) {
            (SyncPolicy::Always, _) => known.acknowledged.get(),
            (_, Crash::Process) if !known.is_lost.get() => known.acknowledged.get(),
            _ => 0,
        };
        let healthy = sim.crash(kind, seed);
        let found = healthy.run(async |env| {
            let shard = open(&env, options(policy)).await;
            let found = contents(&shard).await;
            let fits = (promised..=known.begun.get()).any(|n| model(n) == found);
            assert!(fits, "what is found is no state that may be: {:?}", found.keys());
            shard.close().await.unwrap();
            check_closed(&env).await;
            found
        });
        // What a start has shown is durable, also where an earlier sync of it failed.
        healthy.crash(Crash::SyncedOnly, seed).run(async |env| {
            let shard = open(&env, options(policy)).await;
            assert!(contents(&shard).await == found, "a start showed what was not durable");
            shard.close().await.unwrap();
        });
    }
    handle.hits() > 0
}

fn every_nth(name: &str, policy: SyncPolicy, make: impl Fn() -> Fault) {
    let effort = Effort::or(1, 0, 11);
    let mut runs = 0;
    for seed in effort.seeds.clone() {
        let mut at = 1 + seed % effort.every;
        loop {
            let _place = Place(format!(
                "{name}, operation {at}, {policy:?}; replay: SIM_SEED={seed} SIM_EVERY={} cargo test -p shard --features sim --lib tests::failure",
                effort.every
            ));
            if !run(make().at(at), seed, policy) {
                break;
            }
            runs += 1;
            at += effort.every;
        }
        assert!(at > 250, "only {at} operations");
    }
    say(&format!("{name}, {policy:?}: seeds {:?}, {runs} faults: no violation", effort.seeds));
}

fn in_each_policy(name: &str, make: impl Fn() -> Fault) {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond] {
        every_nth(name, policy, &make);
    }
}

#[test]
fn every_nth_operation_fails_once_with_eio() {
    in_each_policy("EIO once", Fault::eio);
}

#[test]
fn every_nth_operation_and_all_after_it_fail_with_eio() {
    in_each_policy("EIO from then on", || Fault::eio().forever());
}

#[test]
fn every_nth_operation_finds_no_space() {
    in_each_policy("ENOSPC once", Fault::enospc);
}

#[test]
fn every_nth_operation_and_all_after_it_find_no_space() {
    in_each_policy("ENOSPC from then on", || Fault::enospc().forever());
}

#[test]
fn every_nth_operation_is_interrupted() {
    in_each_policy("EINTR once", Fault::eintr);
}

#[test]
fn every_nth_operation_and_all_after_it_are_interrupted() {
    in_each_policy("EINTR from then on", || Fault::eintr().forever());
}

#[test]
fn every_nth_transfer_is_short() {
    in_each_policy("short once", Fault::short);
}

#[test]
fn every_nth_transfer_and_all_after_it_are_short() {
    in_each_policy("short from then on", || Fault::short().forever());
}

/// Found by ENOSPC from then on: a manifest that has failed for good told the committer to wait for space, for ever, and
/// whoever makes spare segments to remember that there is none.
#[test]
fn a_manifest_that_finds_no_space_ends_the_writes_and_the_wait() {
    let sim = Sim::new(3);
    let faults = sim.faults();
    let known = Known::default();
    sim.run(async |env| {
        let shard = open(&env, options(SyncPolicy::Always)).await;
        for path in ["manifest", "CURRENT"] {
            faults.add(Fault::enospc().path(path).forever());
        }
        write(&env, &shard, &known, &faults, WRITES).await;
        assert!(!faults.is_empty(), "a write waited until the faults were gone");
        assert!(matches!(&*known.error.borrow(), Some(Error::ReadOnly { .. })), "{known:?}");
        assert!(shard.close().await.is_err());
    });
}

#[test]
fn a_transfer_that_is_interrupted_each_time_fails() {
    let sim = Sim::new(4);
    sim.faults().add(Fault::eintr().kind(Kind::Write).forever());
    sim.run(async |env| {
        let opened = open_with_report(&env, options(SyncPolicy::Always)).await;
        assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    });
    let sim = sim.crash(Crash::Everything, 4);
    sim.run(async |env| open(&env, options(SyncPolicy::Always)).await.close().await.unwrap());
    sim.faults().add(Fault::eintr().kind(Kind::Read).forever());
    sim.run(async |env| {
        let opened = open_with_report(&env, options(SyncPolicy::Always)).await;
        assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    });
}

/// R2: a write that the log refused is not shown, whatever it was written over; a later start does not have it either.
#[test]
fn a_failed_log_shows_what_is_durable_and_no_more() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond] {
        let sim = Sim::new(5);
        let faults = sim.faults();
        sim.run(async |env| {
            let shard = open(&env, options(policy)).await;
            let put = |value: &'static [u8]| [Op::Put { key: b"key", value, expires_at_ms: 0 }];
            shard.put_all(&put(b"old")).await.unwrap();
            shard.set_policy(SyncPolicy::Always).await.unwrap();
            shard.set_policy(policy).await.unwrap();
            faults.add(Fault::eio().path(".wal").forever());
            let failed = shard.put_all(&put(b"new")).await;
            assert!(failed.is_err() || policy == SyncPolicy::EverySecond, "{failed:?}");
            env.sleep(Duration::from_secs(3)).await;
            assert!(shard.failure().is_some());
            assert_eq!(shard.get(b"key").await.unwrap().as_deref(), Some(&b"old"[..]));
            let found = contents(&shard).await;
            assert_eq!(found.get(&b"key"[..]).map(|value| &**value), Some(&b"old"[..]));
            assert!(shard.close().await.is_err());
        });
    }
}
