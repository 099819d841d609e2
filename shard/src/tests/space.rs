//! A disk that has no room, of whichever kind, and one that nobody syncs any more: what is refused, what goes on, what comes back
//! by itself.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::story::check_files;
use super::{key, open, tiny};
use crate::admission::Refusal;
use crate::batch::Op;
use crate::env::sim::{Crash, Fault, FaultHandle, Kind, Sim, SimEnv};
use crate::env::{Env, Queue};
use crate::error::{Error, Result};
use crate::options::{Options, SyncPolicy};
use crate::shard::Shard;

const VALUE: [u8; 120] = [b'v'; 120];
/// So large that the writers together always have more to write than a segment holds.
const LARGE: [u8; 9000] = [b'w'; 9000];

async fn put(shard: &Shard<SimEnv>, number: u32) -> Result<()> {
    shard.put_all(&[Op::Put { key: &key(number), value: &VALUE, expires_at_ms: 0 }]).await.map(drop)
}

/// What the disk has no more of.
enum Lack {
    Of(Fault),
    Bytes,
}

/// The lack begins; writers who do not wait for each other all get an answer; it ends; writes are taken again, and after a
/// restart everything acknowledged is there.
fn refused_and_back(lack: Lack, is_told: bool) {
    const WRITERS: u32 = 8;
    let sim = Sim::new(7);
    let written = Rc::new(Cell::new(0_u32));
    let count = Rc::clone(&written);
    let faults = sim.faults().clone();
    sim.run(async move |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for number in 0..40 {
            put(&shard, number).await.unwrap();
        }
        count.set(40);
        let fault: Option<FaultHandle> = match lack {
            Lack::Of(fault) => Some(faults.add(fault)),
            Lack::Bytes => {
                env.set_free_bytes(0);
                None
            }
        };
        let ended = Rc::new(Cell::new(0));
        for writer in 0..WRITERS {
            let (shard, ended) = (shard.clone(), Rc::clone(&ended));
            env.spawn(Queue::Commit, async move {
                for number in 0..60 {
                    let key = key(1000 + writer * 2000 + number);
                    let ops = [Op::Put { key: &key, value: &LARGE, expires_at_ms: 0 }];
                    if let Err(error) = shard.put_all(&ops).await {
                        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
                        break;
                    }
                }
                ended.set(ended.get() + 1);
            });
        }
        env.sleep(Duration::from_secs(30)).await;
        assert!(fault.as_ref().is_none_or(|fault| fault.hits() > 0));
        assert!(shard.failure().is_none(), "a lack is no failure");
        if is_told {
            assert_eq!(ended.get(), WRITERS, "each was answered");
            let error = put(&shard, 40).await.unwrap_err().to_string();
            assert!(error.contains("writes resume by themselves"), "{error}");
            assert!(shard.stats().disk_full);
            // Nobody knows how long it lasts: deletes go on, or say why not.
            for number in 0..3 {
                if let Err(error) = shard.put_all(&[Op::Delete { key: &key(number) }]).await {
                    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
                }
            }
        }
        for number in 3..40 {
            assert_eq!(shard.get(&key(number)).await.unwrap(), Some(VALUE.to_vec()), "{number}");
        }
        match fault {
            Some(fault) => fault.off(),
            None => env.set_free_bytes(1 << 30),
        }
        for _ in 0..30 {
            env.sleep(Duration::from_secs(1)).await;
            if put(&shard, count.get()).await.is_ok() {
                count.set(count.get() + 1);
            }
        }
        assert!(count.get() > 45, "writes are taken again: {}", count.get());
        assert!(!shard.stats().disk_full && shard.failure().is_none());
        shard.flush().await.unwrap();
        shard.close().await.unwrap();
    });
    sim.faults().clear();
    sim.crash(Crash::SyncedOnly, 7).run(async move |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for number in 3..written.get() {
            assert_eq!(shard.get(&key(number)).await.unwrap(), Some(VALUE.to_vec()), "{number}");
        }
        shard.close().await.unwrap();
    });
}

#[test]
fn a_disk_without_inodes_refuses_writes_and_takes_them_again() {
    refused_and_back(Lack::Of(Fault::enospc().kind(Kind::Open).forever()), true);
}

#[test]
fn no_room_for_segments() {
    refused_and_back(Lack::Of(Fault::enospc().kind(Kind::Open).path(".wal").forever()), true);
}

#[test]
fn no_room_for_tables() {
    refused_and_back(Lack::Of(Fault::enospc().kind(Kind::Write).path(".sst").forever()), true);
}

#[test]
fn no_room_at_all() {
    refused_and_back(Lack::Bytes, true);
}

#[test]
fn without_descriptors_writes_wait_and_go_on() {
    refused_and_back(Lack::Of(Fault::error(libc::EMFILE).kind(Kind::Open).forever()), false);
}

/// Tables that cannot be read back are never installed: in the end that is told, instead of letting everyone wait.
#[test]
fn a_flush_that_never_succeeds_makes_the_shard_read_only() {
    let sim = Sim::new(5);
    let _read = sim.faults().add(Fault::eio().kind(Kind::Read).path(".sst").forever());
    sim.run(async move |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        let told = async {
            for number in 0.. {
                if let Err(error) = put(&shard, number).await {
                    return (number, error);
                }
            }
            unreachable!("the memtables are small")
        };
        let (number, error) = told.await;
        assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
        assert_eq!(shard.get(&key(number - 1)).await.unwrap(), Some(VALUE.to_vec()));
        drop(shard.close().await);
    });
    sim.faults().clear();
}

/// R6: the last second and one sync, also of what was written just before everyone fell silent.
#[test]
fn everysec_syncs_what_was_written_last() {
    for phase_ms in (0..1000).step_by(70) {
        Sim::new(3).run(async move |env| {
            let shard = open(&env, tiny(SyncPolicy::EverySecond)).await;
            env.sleep(Duration::from_millis(1000 + phase_ms)).await;
            put(&shard, 0).await.unwrap();
            env.sleep(Duration::from_millis(30)).await;
            put(&shard, 1).await.unwrap();
            let written = shard.stats().last_seq;
            env.sleep(Duration::from_millis(1150)).await;
            assert_eq!(shard.stats().durable_seq, written, "phase {phase_ms} ms");
            shard.close().await.unwrap();
        });
    }
}

/// R6: behind a disk that hangs writes wait, so that no more than the window is ever at stake; and they go on with it.
#[test]
fn a_late_sync_holds_the_writes_of_everysec() {
    let sim = Sim::new(12);
    let faults = sim.faults();
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::EverySecond)).await;
        // The spare is made: the sync that hangs is the log's.
        env.sleep(Duration::from_secs(1)).await;
        let slow = Fault::slow(Duration::from_secs(20)).kind(Kind::Sync).path(".wal").forever();
        let slow = faults.add(slow);
        let write = |number| {
            shard.write(&[Op::Put { key: &key(number), value: b"value", expires_at_ms: 0 }])
        };
        write(1).unwrap();
        env.sleep(Duration::from_millis(1_500)).await;
        // The sync runs, and is not late yet.
        write(2).unwrap();
        env.sleep(Duration::from_millis(2_500)).await;
        assert!(matches!(write(3), Err(Refusal::Wait(_))));
        assert_eq!(slow.hits(), 1);
        slow.off();
        shard
            .put_all(&[Op::Put { key: &key(3), value: b"value", expires_at_ms: 0 }])
            .await
            .unwrap();
        assert!(env.clock() > Duration::from_secs(20));
        shard.close().await.unwrap();
    });
}

/// A flush whose edit finds no space is tried again under new numbers: what the first attempt made goes at once, not at the next start.
#[test]
fn tables_of_a_refused_edit_go() {
    let sim = Sim::new(13);
    let faults = sim.faults();
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for number in 0..200 {
            put(&shard, number).await.unwrap();
            // Which write it is differs: of an edit, which a new manifest settles; of the zeros ahead of one, which refuses it.
            let at = 1 + u64::from(number % 3);
            faults.add(Fault::enospc().kind(Kind::Write).path("manifest").at(at));
            shard.flush().await.unwrap();
            env.sleep(Duration::from_secs(1)).await;
            faults.clear();
            // A refusal that nothing was tried after is forgotten.
            env.sleep(Duration::from_secs(16)).await;
        }
        let refused = shard.stats().counters.background_errors;
        assert!(refused > 0, "no edit was refused");
        shard.close().await.unwrap();
        check_files(&env).await;
    });
}

/// What a witness fills before a sync, so that no block with a durable byte is written again, is not there for a write that
/// must not wait for a segment.
#[test]
fn what_is_left_of_a_block_is_no_room() {
    let sim = Sim::new(15);
    sim.run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::EverySecond)).await;
        put(&shard, 1).await.unwrap();
        let room = || shard.inner.space.log_room.get();
        let (before, syncs) = (room(), shard.stats().counters.wal_syncs);
        env.sleep(Duration::from_secs(3)).await;
        assert!(shard.stats().counters.wal_syncs > syncs, "nothing was synced");
        assert_eq!(room(), before);
        shard.close().await.unwrap();
    });
}

/// R32: below the reserve, not only without any space, values are refused and deletes are not; values come back with a margin.
#[test]
fn the_reserve_is_kept() {
    let sim = Sim::new(14);
    sim.run(async |env| {
        // A segment that lasts: what is free is not changed by the next one.
        let options = Options { wal_segment_bytes: 256 << 10, ..tiny(SyncPolicy::Always) };
        let shard = open(&env, options).await;
        put(&shard, 1).await.unwrap();
        // The spare segment is made, and takes no more of what is free.
        env.sleep(Duration::from_secs(1)).await;
        let reserve = crate::space::reserve_bytes(shard.options());
        for (percent, is_taken) in
            [(101, true), (99, false), (110, false), (124, false), (126, true)]
        {
            sim.set_free_bytes(reserve * percent / 100);
            env.sleep(Duration::from_millis(2_100)).await;
            let answer = put(&shard, 2).await;
            assert_eq!(answer.is_ok(), is_taken, "{percent} % of the reserve: {answer:?}");
            assert!(is_taken || matches!(answer, Err(Error::DiskFull { .. })), "{answer:?}");
            shard.put_all(&[Op::Delete { key: &key(1) }]).await.unwrap();
        }
        shard.close().await.unwrap();
    });
}
