//! Every reason for which a write waits is counted, and how long: the time in which at least one did.

use std::time::Duration;

use super::{key, open, tiny};
use crate::admission::{Refusal, Wait};
use crate::batch::Op;
use crate::commit::GATHER_BYTES_MAX;
use crate::env::sim::{Fault, Kind, Sim, SimEnv};
use crate::env::{Env, Queue};
use crate::options::{CompactionThresholds, Options, SyncPolicy};
use crate::shard::Shard;
use crate::stats::CounterValues;

fn write(shard: &Shard<SimEnv>, bytes: usize) -> Result<(), Wait> {
    let value = vec![b'v'; bytes];
    match shard.write(&[Op::Put { key: &key(1), value: &value, expires_at_ms: 0 }]) {
        Ok(_) => Ok(()),
        Err(Refusal::Wait(wait)) => Err(wait),
        Err(Refusal::Error(error)) => panic!("{error}"),
    }
}

/// Times told to wait, by reason.
fn stalls(counters: &CounterValues) -> [(Wait, u64); 6] {
    [
        (Wait::Commit, counters.stalls_commit),
        (Wait::SyncLate, counters.stalls_sync),
        (Wait::Memtables, counters.stalls_memtable),
        (Wait::L0, counters.stalls_l0),
        (Wait::Slowed, counters.stalls_slowed),
        (Wait::Erasing, counters.stalls_erasing),
    ]
}

/// A write of `bytes` waits for `wanted`; then it, and nothing else, was counted, from its refusal to its admission.
async fn waits(env: &SimEnv, shard: &Shard<SimEnv>, bytes: usize, wanted: Wait) {
    let before = shard.stats().counters;
    let refused_from = env.now();
    assert_eq!(write(shard, bytes), Err(wanted));
    let refused_upto = env.now();
    let mut refusals = 1;
    loop {
        shard.inner.admission.wait().await;
        if write(shard, bytes).is_ok() {
            break;
        }
        refusals += 1;
    }
    let after = shard.stats().counters;
    let counted = Duration::from_nanos(after.stalled_ns - before.stalled_ns);
    assert!(counted <= env.now().saturating_sub(refused_from), "{wanted:?}: {counted:?}");
    // The last look at the clock was after the write had been taken.
    let slack = Duration::from_micros(10);
    assert!(counted + slack >= env.now().saturating_sub(refused_upto), "{wanted:?}: {counted:?}");
    let mut told = 0;
    for ((reason, now), (_, then)) in stalls(&after).into_iter().zip(stalls(&before)) {
        assert!(reason != wanted || now > then, "{wanted:?} is counted under its own name");
        told += now - then;
    }
    assert_eq!(told, refusals, "{wanted:?}");
    env.sleep(Duration::from_secs(1)).await;
    assert_eq!(shard.stats().counters.stalled_ns, after.stalled_ns, "nobody waits any more");
}

#[test]
fn waiting_for_a_frame_for_a_sync_and_for_an_erase() {
    let sim = Sim::new(41);
    let faults = sim.faults();
    sim.run(async |env| {
        let options = Options {
            wal_segment_bytes: 32 << 20,
            wal_bytes_max: 256 << 20,
            memtable_bytes: 64 << 20,
            value_bytes_max: GATHER_BYTES_MAX,
            ..tiny(SyncPolicy::EverySecond)
        };
        let shard = open(&env, options).await;
        write(&shard, 1000).unwrap();
        assert_eq!(shard.stats().counters.stalled_ns, 0);
        waits(&env, &shard, GATHER_BYTES_MAX - 500, Wait::Commit).await;

        let erasing = shard.clone();
        env.spawn(Queue::Commit, async move { erasing.erase().await.unwrap() });
        while !shard.is_erasing() {
            env.pause().await;
        }
        waits(&env, &shard, 10, Wait::Erasing).await;

        let slow = Fault::slow(Duration::from_secs(20)).kind(Kind::Sync).path(".wal").forever();
        let slow = faults.add(slow);
        write(&shard, 10).unwrap();
        env.sleep(Duration::from_millis(1_500)).await;
        write(&shard, 10).unwrap();
        env.sleep(Duration::from_millis(2_500)).await;
        slow.off();
        waits(&env, &shard, 10, Wait::SyncLate).await;
        shard.close().await.unwrap();
    });
}

fn with_l0(compact: usize, slow: usize, stop: usize) -> Options {
    let tiny = tiny(SyncPolicy::Always);
    let thresholds = CompactionThresholds {
        l0_compact_tables: compact,
        l0_slow_tables: slow,
        l0_stop_tables: stop,
        ..tiny.thresholds
    };
    Options { thresholds, ..tiny }
}

#[test]
fn waiting_for_a_flush() {
    let sim = Sim::new(42);
    let faults = sim.faults();
    sim.run(async |env| {
        let shard = open(&env, with_l0(100, 100, 100)).await;
        let slow = Fault::slow(Duration::from_secs(2)).kind(Kind::Write).path(".sst").forever();
        faults.add(slow);
        let told = loop {
            match write(&shard, 500) {
                Ok(()) => env.sleep(Duration::from_millis(5)).await,
                // Those that come as memtables fill are slowed; that is not asked for here.
                Err(Wait::Slowed) => shard.inner.admission.wait().await,
                Err(wait) => break wait,
            }
        };
        assert_eq!(told, Wait::Memtables);
        shard.inner.admission.wait().await;
        while write(&shard, 500).is_ok() {}
        waits(&env, &shard, 500, Wait::Memtables).await;
        shard.close().await.unwrap();
    });
}

#[test]
fn waiting_for_l0() {
    Sim::new(43).run(async |env| {
        let shard = open(&env, with_l0(2, 2, 2)).await;
        for _ in 0..2 {
            shard
                .put_all(&[Op::Put { key: &key(1), value: b"value", expires_at_ms: 0 }])
                .await
                .unwrap();
            shard.flush().await.unwrap();
        }
        waits(&env, &shard, 10, Wait::L0).await;
        shard.close().await.unwrap();
    });
}

#[test]
fn being_slowed() {
    Sim::new(44).run(async |env| {
        let options = Options {
            memtable_bytes: 64 << 20,
            wal_segment_bytes: 32 << 20,
            wal_bytes_max: 256 << 20,
            ..with_l0(100, 1, 100)
        };
        let shard = open(&env, options).await;
        shard
            .put_all(&[Op::Put { key: &key(1), value: b"value", expires_at_ms: 0 }])
            .await
            .unwrap();
        shard.flush().await.unwrap();
        // More than a burst: let in whole, and paid for by the next one.
        write(&shard, 1 << 20).unwrap();
        waits(&env, &shard, 10, Wait::Slowed).await;
        shard.close().await.unwrap();
    });
}
