//! The Nth operation of the disk fails, once or from then on. Never a false acknowledgement, a panic or a hang; after a
//! restart on a healthy disk everything acknowledged is there.

use std::cell::Cell;
use std::rc::Rc;

use super::{key, open, open_with_report, tiny};
use crate::batch::Op;
use crate::env::sim::{Crash, Fault, Sim};
use crate::options::SyncPolicy;

/// Writes key after key until one is refused; answers how many were acknowledged.
fn run(fault: Fault, seed: u64) -> (u32, u64) {
    let sim = Sim::new(seed);
    let handle = sim.faults().add(fault);
    let acknowledged = Rc::new(Cell::new(0));
    let count = Rc::clone(&acknowledged);
    sim.run(async move |env| {
        let Ok((shard, _)) = open_with_report(&env, tiny(SyncPolicy::Always)).await else { return };
        for number in 0..150 {
            let value = vec![b'v'; 120];
            let put = shard.put_all(&[Op::Put { key: &key(number), value: &value }]).await;
            if put.is_err() {
                // Refused for good: a later write is refused as well, and reads go on.
                let again = shard.put_all(&[Op::Put { key: b"again", value: b"" }]).await;
                assert!(again.is_err());
                break;
            }
            count.set(number + 1);
        }
        for number in 0..count.get() {
            // A read may fail, but never answers wrongly.
            if let Ok(found) = shard.get(&key(number)).await {
                assert_eq!(found, Some(vec![b'v'; 120]), "key {number}");
            }
        }
        drop(shard.close().await);
    });
    let hits = handle.hits();
    sim.faults().clear();
    let healthy = sim.crash(Crash::SyncedOnly, seed);
    let acknowledged = acknowledged.get();
    healthy.run(async move |env| {
        let shard = open(&env, tiny(SyncPolicy::Always)).await;
        for number in 0..acknowledged {
            let found = shard.get(&key(number)).await.unwrap();
            assert_eq!(found, Some(vec![b'v'; 120]), "key {number} of {acknowledged}");
        }
        shard.close().await.unwrap();
    });
    (acknowledged, hits)
}

fn every_nth(make: impl Fn() -> Fault, stride: u64) {
    let mut nth = 1;
    loop {
        let (_, hits) = run(make().at(nth), 21);
        if hits == 0 {
            break;
        }
        nth += stride;
    }
    assert!(nth > 50, "only {nth} operations");
}

#[test]
fn every_nth_operation_fails_once_with_eio() {
    every_nth(Fault::eio, 3);
}

#[test]
fn every_nth_operation_and_all_after_it_fail_with_eio() {
    every_nth(|| Fault::eio().forever(), 7);
}

#[test]
fn every_nth_operation_is_interrupted() {
    every_nth(Fault::eintr, 11);
}
