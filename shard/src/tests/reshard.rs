//! The keys of two shards in three, on the simulated disk: all of them, after a crash at any operation and a copy that goes on, and
//! on a disk that is full for a while. And that the comparison sees what is not the same.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use super::effort::{Effort, Place, say};
use super::story::{Bytes, Model, contents};
use super::{key, tiny};
use crate::batch::Op;
use crate::env::Env;
use crate::env::sim::{Crash, Fault, Sim, SimEnv};
use crate::error::{Error, Result};
use crate::key::{Identity, hash};
use crate::manifest::{FileName, Manifest};
use crate::options::{Options, SyncPolicy, TableOptions};
use crate::recovery::inspect;
use crate::reshard::{Compared, Target, compare, copy, reading_options};
use crate::shard::Shard;

const LATER_MS: u64 = 7_000_000_000_000;

fn table() -> TableOptions {
    TableOptions { table_bytes: 3 << 10, compression: false, ..tiny(SyncPolicy::Always).table }
}

fn route(shards: u64) -> impl Fn(&[u8]) -> usize {
    move |key| usize::try_from(hash(key) % shards).unwrap()
}

fn targets(generation: u128, shards: u32) -> Vec<Target> {
    let target = |shard| Target {
        dir: PathBuf::from(format!("/g{generation}-{shard}")),
        identity: Identity { directory: generation, shard },
    };
    (0..shards).map(target).collect()
}

async fn open_all(env: &SimEnv, targets: &[Target], options: &Options) -> Vec<Shard<SimEnv>> {
    try_open_all(env, targets, options).await.unwrap()
}

async fn try_open_all(
    env: &SimEnv,
    targets: &[Target],
    options: &Options,
) -> Result<Vec<Shard<SimEnv>>> {
    let mut shards = Vec::new();
    for Target { dir, identity } in targets {
        let inspected = inspect(env, dir, *identity, options.clone()).await?;
        shards.push(inspected.open(|_, _| {}).await?.0);
    }
    Ok(shards)
}

async fn close_all(shards: Vec<Shard<SimEnv>>) {
    for shard in shards {
        shard.close().await.unwrap();
    }
}

/// Two shards with keys that were overwritten, deleted, that end and that have ended; part of them in the log only.
async fn fill(env: &SimEnv) -> Model {
    let options = Options { memtable_bytes: 3 << 10, ..tiny(SyncPolicy::Always) };
    let shards = open_all(env, &targets(1, 2), &options).await;
    let mut model = Model::new();
    for step in 0..500_u32 {
        let key = key(step % 170);
        let shard = &shards[route(2)(&key)];
        let value = format!("{step}").repeat(120).into_bytes();
        let op = match step % 11 {
            0 => Op::Delete { key: &key },
            1 => Op::Put { key: &key, value: &value, expires_at_ms: LATER_MS + u64::from(step) },
            2 => Op::Put { key: &key, value: &value, expires_at_ms: 1 },
            _ => Op::Put { key: &key, value: &value, expires_at_ms: 0 },
        };
        shard.put_all(&[op]).await.unwrap();
        match step % 11 {
            0 | 2 => model.remove(key.as_slice()),
            _ => model.insert(Bytes::from(key), Bytes::from(value)),
        };
    }
    close_all(shards).await;
    model
}

/// From two shards to three, and the comparison. A failure leaves all closed.
async fn reshard(env: &SimEnv) -> Result<Compared> {
    let options = reading_options(table());
    let sources = try_open_all(env, &targets(1, 2), &options).await?;
    let copied = copy(env, &sources, &targets(2, 3), &route(3), &table(), &mut |_| {}).await;
    let opened = match copied {
        Ok(()) => try_open_all(env, &targets(2, 3), &options).await,
        Err(error) => Err(error),
    };
    let compared = match opened {
        Ok(made) => {
            let compared = compare(env, &sources, &made, &route(3), &mut |_| {}).await;
            let mut closed = Ok(());
            for shard in made {
                closed = shard.close().await.and(closed);
            }
            compared.and_then(|compared| closed.map(|()| compared))
        }
        Err(error) => Err(error),
    };
    close_all(sources).await;
    compared
}

async fn all(env: &SimEnv, targets: &[Target]) -> Model {
    let shards = open_all(env, targets, &reading_options(table())).await;
    let mut found = Model::new();
    for shard in &shards {
        found.extend(contents(shard).await);
    }
    close_all(shards).await;
    found
}

#[test]
fn every_key_is_in_its_new_shard_and_the_old_ones_are_as_they_were() {
    let sim = Sim::new(4);
    sim.run(async |env| {
        let model = fill(&env).await;
        let compared = reshard(&env).await.unwrap();
        assert_eq!(compared.keys, model.len() as u64);
        for generation in [targets(1, 2), targets(2, 3)] {
            assert!(all(&env, &generation).await == model);
        }
        // It is complete: nothing is written again, and it goes on as any shard.
        let shards = open_all(&env, &targets(2, 3), &tiny(SyncPolicy::Always)).await;
        let tables: Vec<u64> = shards.iter().map(|shard| shard.stats().level_tables[6]).collect();
        assert!(tables.iter().all(|&tables| tables > 2), "{tables:?}");
        let some = key(5);
        let shard = &shards[route(3)(&some)];
        let before = shard.last_seq();
        let put = shard.put_all(&[Op::Put { key: &some, value: b"new", expires_at_ms: 0 }]).await;
        assert_eq!(put.unwrap().0, before.0 + 1);
        shard.compact_all().await.unwrap();
        assert_eq!(shard.get(&some).await.unwrap().as_deref(), Some(&b"new"[..]));
        close_all(shards).await;
        assert_eq!(env.open_files(), 0);
    });
}

/// Goes on with a copy: then no table lies there that no manifest names. (Opening the new shards would remove it, too.)
async fn nothing_is_left_over(env: &SimEnv) {
    let sources = open_all(env, &targets(1, 2), &reading_options(table())).await;
    copy(env, &sources, &targets(2, 3), &route(3), &table(), &mut |_| {}).await.unwrap();
    close_all(sources).await;
    for Target { dir, identity } in targets(2, 3) {
        let state = Manifest::read(env, &dir, identity).await.unwrap().state;
        let in_manifest = state.version.tables().count();
        let names = env.list(&dir).await.unwrap();
        let found =
            names.iter().filter(|name| matches!(FileName::parse(name), Some(FileName::Table(_))));
        assert_eq!(found.count(), in_manifest, "{}", dir.display());
    }
}

/// Killed at an operation, by a power cut or alone, once or twice: the next one goes on, and everything is there.
#[test]
fn a_copy_that_is_killed_is_gone_on_with() {
    let effort = Effort::or(1, 0, 29);
    let prepared = Sim::new(4);
    let model = prepared.run(async |env| fill(&env).await);
    let start = || prepared.crash(Crash::SyncedOnly, 1);
    let whole = start();
    whole.run(async |env| reshard(&env).await.unwrap());
    let operations = whole.operations();
    let kinds = [Crash::SyncedOnly, Crash::Random, Crash::Process, Crash::Everything];
    let mut crashes = 0;
    for at in (1..operations).step_by(usize::try_from(effort.every).unwrap()) {
        for (kind, seed) in kinds.into_iter().zip(at..) {
            let _place =
                Place(format!("killed at operation {at} of {operations}, {kind:?}, seed {seed}"));
            let sim = start();
            sim.crash_at(at);
            sim.try_run(async |env| reshard(&env).await.map(drop));
            // Once more, somewhere in what follows.
            let again = sim.crash(kind, seed);
            again.crash_at(1 + seed % operations);
            again.try_run(async |env| reshard(&env).await.map(drop));
            again.crash(kind, seed + 1).run(async |env| {
                nothing_is_left_over(&env).await;
                let compared = reshard(&env).await.unwrap();
                assert_eq!(compared.keys, model.len() as u64);
                assert!(all(&env, &targets(1, 2)).await == model);
            });
            crashes += 2;
        }
    }
    say(&format!("{crashes} crashes in {operations} operations of a copy: no violation"));
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let prepared = Sim::new(4);
    prepared.run(async |env| fill(&env).await);
    let written = |sim: &Sim| {
        sim.run(async |env| reshard(&env).await.unwrap());
        sim.trace()
            .iter()
            .filter(|line| line.contains("Open /g2-") && line.contains(".sst CreateNew"))
            .count()
    };
    let whole = prepared.crash(Crash::SyncedOnly, 1);
    let tables = written(&whole);
    let rest = |tenths: u64| {
        let part = prepared.crash(Crash::SyncedOnly, 1);
        part.crash_at(whole.operations() * tenths / 10);
        part.try_run(async |env| reshard(&env).await.map(drop));
        written(&part.crash(Crash::Process, 1))
    };
    let rests: Vec<usize> = (1..10).map(rest).collect();
    assert!(rests.iter().any(|&rest| rest > 0 && rest < tables * 3 / 4), "{rests:?} of {tables}");
    assert!(rests.is_sorted_by(|before, after| before >= after), "{rests:?}");
    assert!(written(&whole.crash(Crash::SyncedOnly, 1)) == 0, "complete");
}

/// From some operation on the disk has no room for the new shards.
#[test]
fn a_full_disk_ends_it_and_changes_nothing() {
    let prepared = Sim::new(4);
    let model = prepared.run(async |env| fill(&env).await);
    let mut refused = 0;
    for at in (1..).step_by(7) {
        let sim = prepared.crash(Crash::SyncedOnly, 1);
        let was_hit = sim.run(async |env| {
            let fault = env.faults().add(Fault::enospc().path("/g2-").at(at).forever());
            let result = reshard(&env).await;
            let was_hit = fault.hits() > 0;
            fault.off();
            match result {
                Ok(compared) => assert_eq!(compared.keys, model.len() as u64),
                Err(error) => {
                    assert!(was_hit && error.is_no_space(), "{error}");
                    refused += 1;
                }
            }
            assert!(all(&env, &targets(1, 2)).await == model);
            assert_eq!(reshard(&env).await.unwrap().keys, model.len() as u64);
            was_hit
        });
        if !was_hit {
            break;
        }
    }
    assert!(refused > 10, "{refused}");
}

/// One key is changed in a target, or is not there, or one is too many, or in another shard.
#[test]
fn the_comparison_sees_each_difference() {
    let prepared = Sim::new(4);
    let model = prepared.run(async |env| {
        let model = fill(&env).await;
        reshard(&env).await.unwrap();
        model
    });
    let (some, value) =
        model.iter().nth(40).map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap();
    let home = route(3)(&some);
    let changes: Vec<(usize, Op<'_>, &str)> = vec![
        (home, Op::Delete { key: &some }, "is missing"),
        (home, Op::Put { key: &some, value: b"x", expires_at_ms: 0 }, "is another one"),
        (
            home,
            Op::Put { key: &some, value: &value, expires_at_ms: LATER_MS - 1 },
            "is another one",
        ),
        // The same again has another number.
        (home, Op::Put { key: &some, value: &value, expires_at_ms: 0 }, "is another one"),
        (
            (home + 1) % 3,
            Op::Put { key: b"key-zzz", value: b"x", expires_at_ms: 0 },
            "was never there",
        ),
    ];
    for (target, op, says) in changes {
        let sim = prepared.crash(Crash::SyncedOnly, 1);
        let said = Rc::new(RefCell::new(String::new()));
        sim.run(async |env| {
            let options = reading_options(table());
            let sources = open_all(&env, &targets(1, 2), &options).await;
            let made = open_all(&env, &targets(2, 3), &options).await;
            made[target].put_all(&[op]).await.unwrap();
            let compared = compare(&env, &sources, &made, &route(3), &mut |_| {}).await;
            match compared {
                Err(error @ Error::Corruption { .. }) => *said.borrow_mut() = error.to_string(),
                other => panic!("{other:?}"),
            }
            close_all(sources).await;
            close_all(made).await;
        });
        assert!(said.borrow().contains(says), "{} instead of {says}", said.borrow());
    }
}
