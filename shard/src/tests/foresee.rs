//! Reads that were foreseen answer as all others do.

use std::collections::BTreeMap;

use super::{key, open, tiny};
use crate::batch::Op;
use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::foresee::FORESEEN_MAX;
use crate::options::{Options, SyncPolicy};
use crate::shard::Shard;

fn below(env: &SimEnv, bound: u64) -> u64 {
    env.random_u64() % bound
}

/// Short keys, and some that are too long to be foreseen; neighbours share all but the end.
fn any_key(env: &SimEnv) -> Vec<u8> {
    let number = below(env, 150);
    let long = if number.is_multiple_of(10) { 80 } else { 0 };
    format!("{:0>long$}{number:04}", "").into_bytes()
}

async fn change(shard: &Shard<SimEnv>, env: &SimEnv, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let key = any_key(env);
    if below(env, 4) == 0 {
        shard.put_all(&[Op::Delete { key: &key }]).await.unwrap();
        model.remove(&key);
    } else {
        let value = env.random_u64().to_string().repeat(3).into_bytes();
        shard.put_all(&[Op::Put { key: &key, value: &value, expires_at_ms: 0 }]).await.unwrap();
        model.insert(key, value);
    }
}

#[test]
fn whatever_happens_between_a_foreseen_read_answers_what_is_so() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        sim.run(async |env| {
            let options = Options { block_cache_bytes: 1 << 20, ..tiny(SyncPolicy::Never) };
            let shard = open(&env, options).await;
            let mut model = BTreeMap::new();
            for _ in 0..60 {
                for _ in 0..below(&env, 20) {
                    change(&shard, &env, &mut model).await;
                }
                let count = usize::try_from(below(&env, 2 * FORESEEN_MAX as u64)).unwrap();
                let mut keys: Vec<_> = (0..count).map(|_| any_key(&env)).collect();
                if below(&env, 3) == 0 {
                    keys.sort();
                }
                shard.foresee(keys.iter().map(Vec::as_slice));
                for key in &keys {
                    match below(&env, 60) {
                        0 => shard.flush().await.unwrap(),
                        1 => {
                            shard.erase().await.unwrap();
                            model.clear();
                        }
                        2..20 => change(&shard, &env, &mut model).await,
                        20..25 => continue,
                        _ => {}
                    }
                    let got = shard.get(key).await.unwrap();
                    assert_eq!(got, model.get(key).cloned(), "seed {seed}");
                }
            }
            shard.close().await.unwrap();
        });
    }
}

#[test]
fn a_foreseen_read_goes_on_from_where_the_search_has_come_to() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        let shard = open(&env, Options::default()).await;
        let keys: Vec<_> = (0..).map(key).take(2 * FORESEEN_MAX).collect();
        for key in &keys {
            shard.put_all(&[Op::Put { key, value: b"value", expires_at_ms: 0 }]).await.unwrap();
        }
        shard.flush().await.unwrap();
        for key in &keys {
            assert!(shard.get(key).await.unwrap().is_some());
        }
        let hits = || shard.stats().cache_hits;
        let before = hits();
        shard.foresee(keys.iter().map(Vec::as_slice));
        assert_eq!(hits() - before, FORESEEN_MAX as u64);
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(shard.get(key).await.unwrap().as_deref(), Some(&b"value"[..]));
            assert_eq!(hits() - before, FORESEEN_MAX.max(index + 1) as u64, "{index}");
        }
        shard.close().await.unwrap();
    });
}
