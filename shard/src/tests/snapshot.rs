//! Snapshots: nothing that happens later changes what they show, and what they hold is given back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{key, open, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::options::SyncPolicy;
use crate::scan::Range;
use crate::shard::Shard;
use crate::snapshot::Snapshot;

const LIFE_MS: u64 = 60_000;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// Writes some keys, of which every seventh ends and every fifth is removed again.
async fn fill(shard: &Shard<SimEnv>, round: u8, model: &mut Model) {
    for number in 0..300_u32 {
        let (key, value) = (key(number), vec![round; 40]);
        let expires_at_ms = if number % 7 == 0 { shard.env().wall_ms() + LIFE_MS } else { 0 };
        let put = Op::Put { key: &key, value: &value, expires_at_ms };
        shard.put_all(&[put]).await.unwrap();
        model.insert(key.clone(), (value, expires_at_ms));
        if number % 5 == u32::from(round) % 5 {
            shard.put_all(&[Op::Delete { key: &key }]).await.unwrap();
            model.remove(&key);
        }
    }
}

async fn compare(snapshot: &Snapshot<SimEnv>, model: &Model) {
    for number in 0..310 {
        let key = key(number);
        assert_eq!(snapshot.get(&key).await.unwrap(), model.get(&key).cloned(), "{number}");
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let mut scan = snapshot.scan(Range::all(), direction);
        let mut seen = Model::new();
        while let Some(entry) = scan.next().await.unwrap() {
            seen.insert(entry.key.to_vec(), (entry.value.to_vec(), entry.expires_at_ms));
        }
        assert_eq!(&seen, model, "{direction:?}");
    }
}

#[test]
fn a_snapshot_shows_its_moment_whatever_comes() {
    for sync in [SyncPolicy::Always, SyncPolicy::Never] {
        Sim::new(1).run(async |env| {
            let shard = open(&env, tiny(sync)).await;
            let (mut model, mut taken) = (Model::new(), Vec::new());
            for round in 0..4 {
                fill(&shard, round, &mut model).await;
                taken.push((shard.snapshot(), model.clone()));
                // In the middle of a memtable, too.
                if round % 2 == 1 {
                    shard.compact_all().await.unwrap();
                }
            }
            for (snapshot, then) in &taken {
                compare(snapshot, then).await;
            }
            // Everything that ends has ended, and then all is erased.
            env.sleep(Duration::from_millis(LIFE_MS + 1)).await;
            shard.compact_all().await.unwrap();
            assert_eq!(shard.get(&key(7)).await.unwrap(), None);
            for (snapshot, then) in &taken {
                compare(snapshot, then).await;
            }
            shard.erase().await.unwrap();
            fill(&shard, 9, &mut model).await;
            for (snapshot, then) in &taken {
                compare(snapshot, then).await;
            }
            drop(taken);
            shard.close().await.unwrap();
        });
    }
}

#[test]
fn a_snapshot_that_is_dropped_gives_its_tables_back() {
    Sim::new(1).run(async |env| {
        let shard = open(&env, tiny(SyncPolicy::Never)).await;
        let mut model = Model::new();
        fill(&shard, 1, &mut model).await;
        shard.compact_all().await.unwrap();
        let tables = async || {
            let files = env.list(shard.dir()).await.unwrap();
            files.iter().filter(|name| name.rsplit('.').next() == Some("sst")).count()
        };
        let before = tables().await;
        let snapshot = shard.snapshot();
        fill(&shard, 2, &mut model).await;
        shard.compact_all().await.unwrap();
        let held = tables().await;
        drop(snapshot);
        // The next look of the collector takes them.
        fill(&shard, 3, &mut model).await;
        shard.compact_all().await.unwrap();
        let after = tables().await;
        assert!(held >= 2 * before && after < held, "{before} {held} {after}");
        shard.close().await.unwrap();
    });
}
