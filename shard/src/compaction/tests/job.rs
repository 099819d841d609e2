//! Flushes and jobs on the simulated disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use super::super::OVERLAP_TABLES_MAX;
use super::super::plan::Plan;
use super::super::verify::check_output;
use super::world::{IDENTITY, World};
use crate::env::Env;
use crate::env::sim::{Crash, Fault, Kind, Sim, SimEnv};
use crate::error::Error;
use crate::manifest::edit::TableMeta;
use crate::memtable::MemTable;
use crate::options::CompactionStyle;
use crate::table::Table;

const STYLES: [CompactionStyle; 2] = [CompactionStyle::Leveled, CompactionStyle::SizeTiered];

#[test]
fn readers_find_what_was_written_through_flushes_and_compactions() {
    for style in STYLES {
        let mut jobs = 0;
        for seed in 0..3 {
            Sim::new(seed).run(async |env| {
                let mut world = World::new(env, seed).await;
                for _ in 0..16 {
                    let operations = 1 + world.random.below(400);
                    let memtable = world.memtable(operations);
                    world.flush(&memtable).await.unwrap();
                    jobs += world.settle(style, false).await;
                    world.check().await;
                }
                let deepest = world.version.tables().map(|(level, _)| level).max();
                assert!(deepest >= Some(2), "{style:?}: L{deepest:?}");
                assert_eq!(world.env.dropped_open().len(), 0);
            });
        }
        assert!(jobs >= 12, "{style:?}: {jobs} jobs");
    }
}

#[test]
fn deleting_everything_leaves_nothing_once_idle() {
    for style in STYLES {
        Sim::new(5).run(async |env| {
            let mut world = World::new(env, 5).await;
            for _ in 0..8 {
                let memtable = world.memtable(300);
                world.flush(&memtable).await.unwrap();
                world.settle(style, false).await;
            }
            let memtable = MemTable::new(1);
            for key in world.model.keys().cloned().collect::<Vec<_>>() {
                world.put(&memtable, key, None);
            }
            memtable.seal();
            world.flush(&Rc::new(memtable)).await.unwrap();
            world.settle(style, true).await;
            assert_eq!(world.version.tables().count(), 0, "{style:?}");
            world.remove_obsolete().await;
            assert_eq!(world.files(), [""; 0]);
        });
    }
}

/// Four tables of L0 over a full L1, and the plan that merges them.
async fn before_a_job(env: SimEnv) -> (World, Plan) {
    let mut world = World::new(env, 9).await;
    world.options.table_bytes = 3 << 10;
    world.space = Some(300);
    for _ in 0..8 {
        let memtable = world.memtable(90);
        world.flush(&memtable).await.unwrap();
        if world.version.levels[0].len() < 4 {
            continue;
        }
        let plan = world.pick(CompactionStyle::Leveled, false).unwrap();
        if world.version.levels[1].is_empty() {
            let done = world.run(&plan).await.unwrap();
            world.install(done.edit).await;
            world.remove_obsolete().await;
            world.env.sync_dir(&world.dir).await.unwrap();
        } else {
            return (world, plan);
        }
    }
    panic!("no plan");
}

#[test]
fn the_counters_of_a_job_add_up() {
    Sim::new(1).run(async |env| {
        let (world, plan) = before_a_job(env).await;
        let inputs: Vec<_> =
            world.version.tables().filter(|(_, table)| plan.reads(table.meta.number)).collect();
        let entries: u64 = inputs.iter().map(|(_, table)| table.meta.entries).sum();
        let bytes: u64 = inputs.iter().map(|(_, table)| table.meta.bytes).sum();
        let done = world.run(&plan).await.unwrap();
        let written = || done.edit.added.iter().map(|(_, meta)| meta);
        assert!(written().count() >= 2);
        let stats = done.stats;
        assert_eq!((stats.bytes_read, stats.entries_read), (bytes, entries));
        assert_eq!(stats.bytes_written, written().map(|meta| meta.bytes).sum::<u64>());
        let kept: u64 = written().map(|meta| meta.entries).sum();
        assert!(stats.entries_shadowed > 0 && stats.tombstones_dropped > 0);
        assert_eq!(entries, kept + stats.entries_shadowed + stats.tombstones_dropped);
        assert!(!stats.duration.is_zero());
    });
}

#[test]
fn a_job_that_fails_anywhere_leaves_its_inputs_and_nothing_else() {
    let faults: [fn() -> Fault; 3] = [Fault::enospc, Fault::eio, || Fault::enospc().forever()];
    for (index, fault) in faults.into_iter().enumerate() {
        let mut failures = 0;
        for nth in (1..).step_by([1, 3, 5][index]) {
            let sim = Sim::new(2).fifo();
            let ended = sim.run(async |env| {
                let (world, plan) = before_a_job(env.clone()).await;
                let (files, open) = (world.files(), env.open_files());
                let inputs: Vec<_> =
                    files.iter().map(|name| env.read_raw(world.dir.join(name))).collect();
                let handle = env.faults().add(fault().at(nth));
                let result = world.run(&plan).await;
                handle.off();
                if result.is_ok() && handle.hits() == 0 {
                    return true;
                }
                // With the third, no file can be removed either: what stays is for the next start.
                if index < 2 {
                    let error = result.expect_err("a fault hit");
                    assert_eq!(error.is_no_space(), index == 0, "{error}");
                    assert_eq!(world.files(), files, "operation {nth}");
                }
                let after: Vec<_> =
                    files.iter().map(|name| env.read_raw(world.dir.join(name))).collect();
                assert!(inputs == after, "an input was changed");
                assert!(env.open_files() <= open, "operation {nth}: a file stays open");
                // The same again succeeds.
                let done = world.run(&plan).await.unwrap();
                let mut world = world;
                world.install(done.edit).await;
                world.check().await;
                false
            });
            if ended {
                break;
            }
            failures += 1;
        }
        assert!(failures > 8, "only {failures} operations");
    }
}

#[test]
fn a_full_disk_stops_a_job_and_room_lets_it_go_on() {
    Sim::new(3).run(async |env| {
        let (mut world, plan) = before_a_job(env.clone()).await;
        let files = world.files();
        env.set_free_bytes(8 << 10);
        let error = world.run(&plan).await.expect_err("the outputs need more");
        assert!(error.is_no_space(), "{error}");
        assert_eq!(world.files(), files);
        assert_eq!(env.free_bytes(&world.dir).await.unwrap(), 8 << 10, "all of it came back");
        env.set_free_bytes(1 << 20);
        let done = world.run(&plan).await.unwrap();
        world.install(done.edit).await;
        world.check().await;
    });
}

#[test]
fn an_abort_ends_a_job_and_a_flush_and_removes_what_they_wrote() {
    let mut aborted = 0;
    for delay_us in [1, 200, 500, 1_000, 2_000, 3_000, 5_000, 8_000] {
        Sim::new(4).run(async |env| {
            let (mut world, plan) = before_a_job(env.clone()).await;
            world.verify = false;
            let files = world.files();
            let abort = Rc::clone(&world.abort);
            let timer = env.clone();
            env.spawn(crate::env::Queue::Compaction, async move {
                timer.sleep(std::time::Duration::from_micros(delay_us)).await;
                abort.set(true);
            });
            match world.run(&plan).await {
                Ok(_) => {}
                Err(Error::Closing) => {
                    aborted += 1;
                    assert_eq!(world.files(), files);
                    assert_eq!(env.dropped_open().len(), 0);
                }
                Err(error) => panic!("{error}"),
            }
            let files = world.files();
            world.abort.set(true);
            let memtable = world.memtable(100);
            assert!(matches!(world.flush(&memtable).await, Err(Error::Closing)));
            assert_eq!(world.files(), files);
        });
    }
    assert!(aborted >= 4, "{aborted}");
}

#[test]
fn outputs_survive_a_power_cut_once_the_job_has_answered() {
    for seed in 0..3 {
        let sim = Sim::new(seed);
        let (edit, dir) = sim.run(async |env| {
            let (world, plan) = before_a_job(env).await;
            (world.run(&plan).await.unwrap().edit, world.dir.clone())
        });
        let after = sim.crash(Crash::SyncedOnly, seed);
        after.run(async |env| {
            assert!(!edit.added.is_empty());
            for (_, meta) in &edit.added {
                let table = Table::open(&env, &dir, IDENTITY, meta).await.unwrap();
                table.close().await.unwrap();
            }
        });
    }
}

#[test]
fn a_crash_anywhere_in_a_job_leaves_the_inputs_whole() {
    for nth in (1..).step_by(11) {
        let sim = Sim::new(6);
        let (metas, started) = sim.run(async |env| {
            let (world, _) = before_a_job(env.clone()).await;
            let metas: Vec<_> =
                world.version.tables().map(|(_, table)| table.meta.clone()).collect();
            (metas, env.operations())
        });
        let sim = Sim::new(6);
        sim.crash_at(started + nth);
        let finished = sim.try_run(async |env| {
            let (world, plan) = before_a_job(env).await;
            world.run(&plan).await.unwrap();
        });
        let after = sim.crash(Crash::Random, nth);
        after.run(async |env| {
            for meta in &metas {
                let table =
                    Table::open(&env, Path::new("/shard-003"), IDENTITY, meta).await.unwrap();
                table.close().await.unwrap();
            }
        });
        if finished.is_some() {
            assert!(nth > 30);
            break;
        }
    }
}

#[test]
fn outputs_are_cut_by_size_and_by_what_lies_below() {
    Sim::new(8).run(async |env| {
        let mut world = World::new(env, 8).await;
        let mut cuts = BTreeSet::new();
        for _ in 0..40 {
            let memtable = world.memtable(300);
            world.flush(&memtable).await.unwrap();
            while let Some(plan) = world.pick(CompactionStyle::Leveled, false) {
                if plan.trivial {
                    let edit = plan.trivial_edit(&world.version).unwrap();
                    world.install(edit).await;
                    continue;
                }
                let done = world.run(&plan).await.unwrap();
                let full = world.options.table_bytes;
                for (level, meta) in &done.edit.added {
                    assert!(meta.bytes < full + (2 << 10), "{} bytes", meta.bytes);
                    cuts.insert(meta.bytes >= full);
                    let below = usize::from(*level) + 1;
                    let overlap: u64 = world
                        .version
                        .overlapping(below, &meta.smallest, &meta.largest)
                        .iter()
                        .map(|table| table.meta.bytes)
                        .sum();
                    // The tables at either end are met in part.
                    assert!(overlap <= full * (OVERLAP_TABLES_MAX + 2) + (4 << 10), "{overlap}");
                }
                world.install(done.edit).await;
            }
        }
        assert_eq!(cuts.len(), 2, "some outputs are full, some end early");
    });
}

#[test]
fn a_merge_within_l0_makes_one_table() {
    Sim::new(10).run(async |env| {
        let mut world = World::new(env, 10).await;
        for _ in 0..6 {
            let memtable = world.memtable(300);
            world.flush(&memtable).await.unwrap();
        }
        let tables: Vec<_> =
            world.version.levels[0].iter().take(4).map(|table| table.meta.clone()).collect();
        let plan = Plan {
            level: 0,
            target: 0,
            inputs: tables.iter().map(|meta| (0, meta.number)).collect(),
            trivial: false,
            drop: false,
            reason: super::super::plan::Reason::L0Waits,
            smallest: tables.iter().map(|meta| meta.smallest.clone()).min().unwrap(),
            largest: tables.iter().map(|meta| meta.largest.clone()).max().unwrap(),
            limit_overlap: false,
        };
        // A flush that ends while the merge runs has a lower number and newer data.
        let memtable = world.memtable(300);
        let done = world.run(&plan).await.unwrap();
        assert_eq!(done.edit.added.len(), 1);
        assert!(done.edit.added[0].1.bytes > 2 * world.options.table_bytes);
        world.flush(&memtable).await.unwrap();
        world.install(done.edit).await;
        world.check().await;
    });
}

#[test]
fn verify_finds_an_output_that_does_not_read_back() {
    let sim = Sim::new(11);
    sim.run(async |env| {
        let mut world = World::new(env.clone(), 11).await;
        let memtable = world.memtable(300);
        world.flush(&memtable).await.unwrap();
        let meta = world.version.levels[0][0].meta.clone();
        env.flip(world.dir.join(format!("{:06}.sst", meta.number)), 700, 1);
        let (site, pace) = (world.site(), world.pace());
        // The block is not read.
        check_output(&site, &pace, &meta, false).await.unwrap();
        let error = check_output(&site, &pace, &meta, true).await.unwrap_err();
        assert!(matches!(error, Error::Corruption { .. }), "{error}");
        env.flip(world.dir.join(format!("{:06}.sst", meta.number)), 700, 1);
        check_output(&site, &pace, &meta, true).await.unwrap();
        // Blocks that are whole, and not the ones that were written.
        let other = TableMeta { crc: meta.crc ^ 1, ..meta.clone() };
        check_output(&site, &pace, &other, false).await.unwrap();
        for wrong in [other, TableMeta { entries: meta.entries + 1, ..meta }] {
            let error = check_output(&site, &pace, &wrong, true).await.unwrap_err();
            assert!(matches!(error, Error::Corruption { .. }), "{error}");
        }
        assert_eq!(env.open_files(), 1, "only the one in the version");
    });
}

#[test]
fn a_damaged_input_ends_the_job() {
    Sim::new(12).run(async |env| {
        let (world, plan) = before_a_job(env.clone()).await;
        let files = world.files();
        env.flip(world.dir.join(&files[0]), 900, 0x10);
        let error = world.run(&plan).await.unwrap_err();
        assert!(matches!(error, Error::Corruption { .. }), "{error}");
        assert_eq!(world.files(), files);
    });
}

#[test]
fn a_flush_that_fails_anywhere_leaves_nothing() {
    for nth in 1.. {
        let done = Sim::new(13).run(async |env| {
            let mut world = World::new(env.clone(), 13).await;
            let memtable = world.memtable(300);
            let fault = env.faults().add(Fault::enospc().at(nth));
            let result = world.flush(&memtable).await;
            fault.off();
            if fault.hits() == 0 || (result.is_ok() && nth > 4) {
                return true;
            }
            if result.is_ok() {
                return false;
            }
            assert_eq!(world.files(), [""; 0], "operation {nth}");
            world.flush(&memtable).await.unwrap();
            world.check().await;
            false
        });
        if done {
            assert!(nth > 4);
            break;
        }
    }
}

#[test]
fn a_flush_is_durable_and_syncs_before_it_answers() {
    let sim = Sim::new(14);
    let (meta, dir) = sim.run(async |env| {
        let mut world = World::new(env, 14).await;
        let memtable = world.memtable(300);
        world.flush(&memtable).await.unwrap();
        (world.version.levels[0][0].meta.clone(), world.dir.clone())
    });
    sim.crash(Crash::SyncedOnly, 1).run(async |env| {
        Table::open(&env, &dir, IDENTITY, &meta).await.unwrap().close().await.unwrap();
    });
}

#[test]
fn a_flush_keeps_tombstones_and_large_values_and_takes_an_empty_memtable() {
    Sim::new(15).run(async |env| {
        let mut world = World::new(env.clone(), 15).await;
        let memtable = MemTable::new(2);
        for version in 0..3 {
            world.put(&memtable, b"large".to_vec(), Some(vec![version; 700 << 10]));
            world.put(&memtable, b"gone".to_vec(), Some(b"x".to_vec()));
            world.put(&memtable, b"gone".to_vec(), None);
        }
        memtable.seal();
        world.flush(&Rc::new(memtable)).await.unwrap();
        let meta = &world.version.levels[0][0].meta;
        assert_eq!((meta.entries, meta.tombstones), (2, 1));
        world.check().await;

        let memtable = MemTable::new(3);
        memtable.seal();
        let writes = env.faults().add(Fault::eio().kind(Kind::Open));
        world.flush(&Rc::new(memtable)).await.unwrap();
        assert_eq!((writes.hits(), world.version.levels[0].len()), (0, 1));
    });
}
