//! Stopping at an operation, and what is left of those in flight.

use std::collections::BTreeSet;

use super::*;
use crate::env::Queue;

async fn save(env: SimEnv) -> io::Result<()> {
    let file = create(&env, "/new").await?;
    write(&file, 0, 2, 1).await?;
    file.sync().await?;
    file.close().await?;
    env.rename(Path::new("/new"), Path::new("/a")).await?;
    sync_root(&env).await
}

/// Outcomes of a stop at each operation of `save`, over many seeds.
fn outcomes(kind: Crash) -> Vec<BTreeSet<String>> {
    let mut found = Vec::new();
    for number in 1.. {
        let mut here = BTreeSet::new();
        let mut finished = false;
        for seed in 0..400 {
            let sim = Sim::new(seed);
            given(&sim, "/a", &[1]);
            sim.crash_at(number);
            finished = sim.try_run(save).is_some();
            assert_eq!(sim.is_stopped(), !finished);
            here.insert(picture(&sim.crash(kind, seed)));
        }
        if finished {
            assert_eq!(here, BTreeSet::from(["a: 2".to_owned()]));
            return found;
        }
        found.push(here);
    }
    unreachable!()
}

/// create, write, sync, close, rename, sync_dir.
#[test]
fn a_stop_leaves_the_operation_in_flight() {
    let text = |kind| {
        let of = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(" | ");
        outcomes(kind).into_iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(text(Crash::SyncedOnly), ["a: 1"; 6]);
    let killed = [
        "a: 1 | a: 1; new:",
        "a: 1; new: | a: 1; new: 0 | a: 1; new: 2 | a: 1; new: torn",
        "a: 1; new: 2",
        "a: 1; new: 2",
        "a: 1; new: 2 | a: 2",
        "a: 2",
    ];
    assert_eq!(text(Crash::Everything), killed);
    let cut = [
        "a: 1 | a: 1; new:",
        "a: 1 | a: 1; new: | a: 1; new: 0 | a: 1; new: 2 | a: 1; new: spoilt | a: 1; new: torn",
        "a: 1 | a: 1; new: | a: 1; new: 0 | a: 1; new: 2 | a: 1; new: spoilt | a: 1; new: torn",
        "a: 1 | a: 1; new: 2",
        "a: 1 | a: 1; new: 2 | a: 2",
        "a: 1 | a: 1; new: 2 | a: 2",
    ];
    assert_eq!(text(Crash::Random), cut);
}

#[test]
fn nothing_happens_after_the_stop() {
    let sim = Sim::new(3);
    sim.crash_at(5);
    let stopped = sim.try_run(|env| async move {
        for task in 0..4 {
            let other = env.clone();
            env.spawn(Queue::Flush, async move {
                loop {
                    let _ = other.len_of_nothing(task).await;
                }
            });
        }
        std::future::pending::<()>().await;
    });
    assert_eq!((stopped, sim.operations(), sim.tasks().len()), (None, 5, 0));
    assert!(sim.trace().len() < 5, "operation 5 has not ended");
    assert_eq!(sim.try_run(|env| async move { sync_root(&env).await.is_ok() }), None);
    assert_eq!(sim.operations(), 5);
}

/// Not even what was due in the very poll that stopped the machine.
#[test]
fn the_stop_holds_within_one_poll() {
    let sim = Sim::new(1).fifo();
    given(&sim, "/a", &[1]);
    sim.crash_at(3);
    let stopped = sim.try_run(|env| async move {
        let file = open(&env, "/a", Sync::EachWrite).await.expect("it exists");
        let mut write = Box::pin(write(&file, 0, 2, 1));
        let mut stop = Box::pin(async {
            // As long as an operation takes.
            env.sleep(Duration::from_micros(100)).await;
            sync_root(&env).await
        });
        std::future::poll_fn(|context| {
            assert!(stop.as_mut().poll(context).is_pending());
            write.as_mut().poll(context)
        })
        .await
    });
    assert!(stopped.is_none());
    assert_eq!(sim.trace().len(), 1, "the write has not ended");
    assert_eq!(picture(&sim.crash(Crash::SyncedOnly, 0)), "a: 1");
}

impl SimEnv {
    async fn len_of_nothing(&self, task: u32) -> io::Result<SimFile> {
        open(self, &format!("/missing-{task}"), Sync::Explicit).await
    }
}

/// A write that completes while a sync is under way is not covered by it.
#[test]
fn a_sync_covers_only_what_completed_before_it() {
    let mut lost = 0;
    for seed in 0..100 {
        let sim = Sim::new(seed);
        given(&sim, "/a", &[1, 1]);
        run(&sim, |env| async move {
            let file = Rc::new(open(&env, "/a", Sync::Explicit).await?);
            write(&file, 0, 2, 1).await?;
            let syncing = file.clone();
            env.spawn(Queue::Commit, async move {
                syncing.sync().await.expect("no fault is armed");
            });
            env.pause().await;
            write(&file, 1, 2, 1).await?;
            env.sleep(Duration::from_secs(1)).await;
            Rc::into_inner(file).expect("the task has ended").close().await
        });
        let sync_first = sim.trace().iter().any(|line| line.contains("#3 Sync"));
        match picture(&sim.crash(Crash::SyncedOnly, 0)).as_str() {
            "a: 2 1" => lost += u32::from(sync_first),
            "a: 2 2" => assert!(!sync_first, "it began before the write"),
            other => panic!("{other}"),
        }
    }
    assert!(lost > 25, "{lost} of 100");
}

/// The same for names.
#[test]
fn a_directory_sync_covers_only_what_completed_before_it() {
    let mut lost = 0;
    for seed in 0..50 {
        let sim = Sim::new(seed);
        given(&sim, "/a", &[1]);
        run(&sim, |env| async move {
            let syncing = env.clone();
            env.spawn(Queue::Commit, async move {
                sync_root(&syncing).await.expect("no fault is armed");
            });
            env.pause().await;
            env.rename(Path::new("/a"), Path::new("/b")).await?;
            env.sleep(Duration::from_secs(1)).await;
            Ok(())
        });
        lost += u32::from(picture(&sim.crash(Crash::SyncedOnly, 0)) == "a: 1");
    }
    assert!(lost > 25, "{lost} of 50");
}

/// Writes in flight at the stop: kept, dropped and torn are all seen, in every combination.
#[test]
fn writes_in_flight_end_in_any_way() {
    let mut seen = BTreeSet::new();
    for seed in 0..500 {
        let sim = Sim::new(seed);
        given(&sim, "/a", &[1, 1]);
        sim.crash_at(3);
        let stopped = sim.try_run(|env| async move {
            let file = Rc::new(open(&env, "/a", Sync::EachWrite).await.expect("it exists"));
            for block in 0..2 {
                let file = file.clone();
                env.spawn(Queue::Commit, async move {
                    write(&file, block, 2, 1).await.expect("no fault is armed");
                });
            }
            std::future::pending::<()>().await;
        });
        assert!(stopped.is_none());
        // One of the two may have completed, and is then durable.
        seen.insert(picture(&sim.crash(Crash::Random, seed)));
    }
    let word = ["1", "2", "spoilt", "torn"];
    let all = word.iter().flat_map(|one| word.map(|two| format!("a: {one} {two}")));
    assert_eq!(seen, all.collect());
}

#[test]
fn the_restarted_program_draws_new_numbers() {
    let sim = Sim::new(7);
    let draw = |sim: &Sim| sim.run(|env| async move { (env.random_u64(), env.wall_ms()) });
    let first = draw(&sim);
    sim.run(|env| async move { env.sleep(Duration::from_secs(3600)).await });
    let again = sim.crash(Crash::Everything, 7);
    let third = again.crash(Crash::Everything, 7);
    let (second, third) = (draw(&again), draw(&third));
    assert!(first.0 != second.0 && second.0 != third.0 && first.0 != third.0);
    assert!(second.1 >= first.1 + 3_600_000, "the wall clock goes on");
}

#[test]
fn a_crash_leaves_the_machine_as_it_was() {
    let sim = Sim::new(9);
    run(&sim, save_into_a);
    let before = picture(&sim);
    let other = sim.crash(Crash::SyncedOnly, 1);
    run(&other, |env| async move { env.create_dir(Path::new("/d")).await });
    other.write_raw("/a", &[5; BLOCK]);
    assert_eq!(picture(&sim), before);
}

async fn save_into_a(env: SimEnv) -> io::Result<()> {
    let file = create(&env, "/a").await?;
    write(&file, 0, 2, 1).await?;
    file.close().await
}

#[test]
fn damage_is_durable() {
    let sim = Sim::new(9);
    sim.make_dir("/db/shard-000");
    sim.write_raw("/db/shard-000/x", &[1; 2 * BLOCK]);
    sim.flip("/db/shard-000/x", 5000, 0x80);
    sim.truncate("/db/shard-000/x", 5001);
    for sim in [sim.crash(Crash::SyncedOnly, 0), sim] {
        let bytes = sim.read_raw("/db/shard-000/x");
        assert_eq!((bytes.len(), bytes[4999], bytes[5000]), (5001, 1, 0x81));
        assert_eq!(sim.files(), [(PathBuf::from("/db/shard-000/x"), 5001)]);
    }
}
