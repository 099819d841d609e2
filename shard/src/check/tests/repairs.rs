//! What a repair makes of damage, and that killing it loses nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::repair::{QUARANTINE, make_empty};
use super::{
    Model, World, assert_clean, checked, contents, kept, opened, options, path, repair_in, repaired,
};
use crate::batch::Op;
use crate::env::Env;
use crate::env::sim::{Crash, Sim};
use crate::error::Error;
use crate::manifest::{FileName, Manifest};
use crate::recovery::inspect;
use crate::tests::{DIR, IDENTITY, key, open, open_with_report};

/// Every value was one of its key's, and nothing is there that never was.
fn assert_from_history(world: &World, found: &Model, context: &str) {
    for (key, value) in found {
        let history = world.history.get(key);
        assert!(history.is_some_and(|values| values.contains(value)), "{context}: a strange value");
    }
}

/// Repairs; then all is in order, a second repair has nothing to do, and a start works. Answers what was told and what
/// is there.
fn mended(world: &World, sim: &Sim, context: &str) -> (Vec<String>, Model) {
    let (done, lines) = repaired(sim);
    assert!(done.changed, "{context}: nothing was done");
    assert_clean(sim, context);
    let (again, told) = repaired(sim);
    assert!(!again.changed && told.is_empty(), "{context}: twice: {told:#?}");
    let found = opened(sim);
    assert_from_history(world, &found, context);
    if done.losses == 0 {
        assert!(found == world.model, "{context}: nothing was said to be lost: {lines:#?}");
    }
    (lines, found)
}

fn has(lines: &[String], words: &[&str]) {
    let found = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no line with {words:?}: {lines:#?}");
}

fn refused(sim: &Sim) -> Error {
    sim.run(async |env| {
        let inspected = inspect(&env, Path::new(DIR), IDENTITY, options()).await;
        match inspected {
            Ok(inspected) => inspected.open(|_, _| {}).await.map(|_| ()).unwrap_err(),
            Err(error) => error,
        }
    })
}

#[test]
fn a_sound_shard_is_left_alone() {
    let world = World::new(20);
    let before = world.files();
    let (done, lines) = repaired(&world.sim);
    assert!(!done.changed && lines.is_empty(), "{lines:#?}");
    assert!(world.files() == before);
}

#[test]
fn a_dry_run_tells_the_same_and_changes_nothing() {
    let world = World::new(21);
    world.sim.flip(world.table(true), 5, 1);
    world.sim.flip(world.segment(), 4096 * 2 + 60, 1);
    let before = world.files();
    let mut dry = Vec::new();
    world.sim.run(async |env| repair_in(&env, true, &mut dry).await.unwrap());
    assert!(world.files() == before);
    let (lines, _) = mended(&world, &world.sim, "dry run");
    let told: Vec<String> = lines.into_iter().filter(|line| !line.starts_with("done ")).collect();
    assert_eq!(dry, told);
}

#[test]
fn a_block_is_cut_out_of_its_table() {
    let world = World::new(22);
    let table = world.table(false);
    let original = world.sim.read_raw(&table);
    world.sim.flip(&table, 5, 1);
    let damaged = world.sim.read_raw(&table);
    assert_ne!(original, damaged);
    let (lines, found) = mended(&world, &world.sim, "block");
    has(&lines, &["lost", ".sst @0", "keys \"key-", "may be absent, or show an older value"]);
    // Only keys of the block that was named are concerned.
    let named = lines.iter().find(|line| line.starts_with("lost")).unwrap();
    let mut keys = named.split('"').skip(1).step_by(2).map(str::as_bytes);
    let (from, to) = (keys.next().unwrap(), keys.next().unwrap());
    let differs: Vec<_> =
        world.model.iter().filter(|(key, value)| found.get(*key) != Some(value)).collect();
    assert!(!differs.is_empty(), "the block held something");
    assert!(differs.iter().all(|(key, _)| (from..=to).contains(&key.as_slice())), "{named}");
    // What was taken out is kept as it was.
    let kept_as = kept(&table);
    assert!(world.sim.read_raw(kept_as) == damaged);
}

#[test]
fn a_table_beyond_reading_is_taken_out() {
    let world = World::new(23);
    let table = world.table(true);
    let len = world.sim.read_raw(&table).len() as u64;
    world.sim.truncate(&table, len / 8192 * 4096);
    let error = refused(&world.sim).to_string();
    assert!(error.contains("rusty-lsm repair"), "{error}");
    let (lines, _) = mended(&world, &world.sim, "table");
    has(&lines, &["lost", ".sst: keys \"key-", "may be absent"]);
    has(&lines, &["done", ".sst: taken out, and kept in the quarantine"]);

    let world = World::new(24);
    let table = world.table(false);
    world.sim.run(async |env| env.remove(&table).await.unwrap());
    let error = refused(&world.sim).to_string();
    assert!(error.contains("the file is absent") && error.contains("rusty-lsm repair"), "{error}");
    mended(&world, &world.sim, "absent table");
}

#[test]
fn the_log_is_cut_at_the_damage() {
    let world = World::new(25);
    let segment = world.segment();
    let stop = world.loaded().state.clean_stop.unwrap();
    // The one before the last frame: one operation behind it can still be read.
    world.sim.flip(&segment, stop.end - 2 * 4096 + 60, 1);
    let error = refused(&world.sim).to_string();
    assert!(error.contains("rusty-lsm repair"), "{error}");
    let (lines, found) = mended(&world, &world.sim, "log");
    let last = super::WRITES;
    let gone = format!("operations {} to {last} are lost; 1 of them, on keys", last - 1);
    has(&lines, &["lost", &format!("@{}", stop.end - 2 * 4096), &gone]);
    has(&lines, &["lost", "the keys of the others are not known"]);
    assert_ne!(found, world.model);
    let kept_as = kept(&segment);
    assert!(world.sim.files().iter().any(|(path, _)| *path == kept_as), "the segment is kept");
    let next = world.sim.run(async |env| {
        let shard = open(&env, options()).await;
        let next = shard
            .put_all(&[Op::Put { key: b"next", value: b"1", expires_at_ms: 0 }])
            .await
            .unwrap();
        shard.close().await.unwrap();
        next
    });
    assert_eq!(next.0, u64::from(last) + 1, "numbers of what is lost are not given again");
}

/// Frames whose operations are in tables need not be readable.
#[test]
fn damage_before_what_is_flushed_loses_nothing() {
    // So many that the flush near their end falls into the middle of a segment.
    let world = World::with(26, 690);
    let first = world.loaded().state.wal[0].number;
    let path = crate::wal::path(Path::new(DIR), first);
    for at in [4096 + 60, 2 * 4096 + 60] {
        let sim = world.sim.crash(Crash::Everything, 1);
        sim.flip(&path, at, 1);
        let _refused = refused(&sim);
        let (lines, found) = mended(&world, &sim, "flushed frames");
        assert!(!lines.iter().any(|line| line.starts_with("lost")), "at {at}: {lines:#?}");
        assert!(found == world.model);
    }
}

#[test]
fn without_current_the_newest_whole_manifest_is_taken() {
    for cut in [true, false] {
        let world = World::new(27);
        let current = path("CURRENT");
        if cut {
            world.sim.truncate(&current, 100);
        } else {
            world.sim.run(async |env| env.remove(&current).await.unwrap());
        }
        let (_, found) = mended(&world, &world.sim, "CURRENT");
        assert!(found == world.model);
    }
}

#[test]
fn without_a_manifest_the_tables_say_enough() {
    let world = World::new(28);
    let number = world.loaded().number;
    let manifest = crate::manifest::path(Path::new(DIR), number);
    for at in [10, 4096 + 60, 2 * 4096 + 60, 30 * 4096 + 8] {
        let sim = world.sim.crash(Crash::Everything, 1);
        sim.flip(&manifest, at, 1);
        let (lines, found) = mended(&world, &sim, &format!("manifest at {at}"));
        assert!(found == world.model, "at {at}: {lines:#?}");
    }
    let sim = world.sim.crash(Crash::Everything, 1);
    sim.run(async |env| env.remove(&manifest).await.unwrap());
    let (lines, found) = mended(&world, &sim, "no manifest");
    assert!(found == world.model, "{lines:#?}");
    has(&lines, &["done", "rebuilt from its tables"]);
}

/// Tables that a merge has replaced, and whose files are still there: what was deleted since stays deleted.
#[test]
fn without_a_manifest_replaced_tables_are_left_out() {
    let sim = Sim::new(31);
    let (shard, old) = sim.run(async |env| {
        let shard = open(&env, options()).await;
        for number in 0..20 {
            shard
                .put_all(&[Op::Put { key: &key(number), value: b"deleted", expires_at_ms: 0 }])
                .await
                .unwrap();
        }
        shard.flush().await.unwrap();
        (shard, env.list(Path::new(DIR)).await.unwrap())
    });
    let is_table = |name: &&String| matches!(FileName::parse(name), Some(FileName::Table(_)));
    let tables = old.iter().filter(is_table).map(|name| path(name));
    let old: Vec<_> = tables.map(|path| (path.clone(), sim.read_raw(&path))).collect();
    sim.run(async |env| {
        for number in 0..19 {
            shard.put_all(&[Op::Delete { key: &key(number) }]).await.unwrap();
        }
        shard.flush().await.unwrap();
        // Idle: everything is merged, and nothing is left to shadow.
        env.sleep(Duration::from_secs(60)).await;
        shard.close().await.unwrap();
        let names = env.list(Path::new(DIR)).await.unwrap();
        for (path, bytes) in &old {
            assert!(!names.iter().any(|name| path.ends_with(name)), "{} stands", path.display());
            sim.write_raw(path, bytes);
        }
    });
    let number =
        sim.run(async |env| Manifest::read(&env, Path::new(DIR), IDENTITY).await.unwrap().number);
    sim.flip(crate::manifest::path(Path::new(DIR), number), 4096 + 60, 1);
    let (_, lines) = repaired(&sim);
    has(&lines, &["done", "rebuilt from its tables"]);
    let found = opened(&sim);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [key(19)], "{lines:#?}");
}

/// A shard made for one that is gone: a power cut leaves it, and what is written to it.
#[test]
fn an_empty_shard_survives_a_power_cut() {
    let sim = Sim::new(32);
    sim.run(async |env| make_empty(&env, Path::new(DIR), IDENTITY).await.unwrap());
    let sim = sim.crash(Crash::SyncedOnly, 1);
    sim.run(async |env| {
        let found = inspect(&env, Path::new(DIR), IDENTITY, options()).await.unwrap();
        assert!(!found.is_new());
    });
}

/// Also where only edits that are gone name the tables that replaced others.
#[test]
fn a_manifest_that_was_cut_short_is_not_believed() {
    (29..45).for_each(cut_short);
}

fn cut_short(seed: u64) {
    let world = World::new(seed);
    let loaded = world.loaded();
    let manifest = crate::manifest::path(Path::new(DIR), loaded.number);
    let mut at = 3 * 4096;
    while at < loaded.end {
        let sim = world.sim.crash(Crash::Everything, 1);
        let len = sim.read_raw(&manifest).len();
        let mut bytes = sim.read_raw(&manifest);
        bytes[usize::try_from(at).unwrap()..len].fill(0);
        sim.write_raw(&manifest, &bytes);
        // What only the last edits say, they may say or not: the clean stop.
        if checked(&sim).0.damages > 0 {
            let (_, found) = mended(&world, &sim, &format!("seed {seed}, cut at {at}"));
            assert!(found == world.model, "seed {seed}, cut at {at}");
        }
        at += 5 * 4096;
    }
}

/// Any byte of any file: all is told, mended, and what is there was there before.
#[test]
fn one_byte_anywhere() {
    let world = World::new(30);
    let mut damaged = 0;
    for (index, (path, bytes)) in world.files().into_iter().enumerate() {
        // A segment is zeros for the most part.
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let mut at = index * 131 % 509;
        while at < end {
            let sim = world.sim.crash(Crash::Everything, 1);
            sim.flip(&path, at as u64, 1 << (at % 8));
            let context = format!("{} at {at}", path.display());
            if checked(&sim).0.damages > 0 {
                mended(&world, &sim, &context);
                damaged += 1;
            } else {
                // Padding of a frame, or of a file: nobody reads it.
                assert!(opened(&sim) == world.model, "{context}: not found");
            }
            at += 4999;
        }
    }
    assert!(damaged > 10, "{damaged}");
}

fn is_intent(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("REPAIR-"))
}

/// What a repair has kept, with its bytes.
fn all_kept(sim: &Sim) -> Vec<(PathBuf, Vec<u8>)> {
    let names = sim.files().into_iter().map(|(path, _)| path);
    let kept = names.filter(|path| path.to_string_lossy().contains(QUARANTINE));
    kept.map(|path| (path.clone(), sim.read_raw(path))).collect()
}

/// What a start finds, unless it is refused.
fn started(sim: &Sim) -> Option<Model> {
    sim.run(async |env| {
        let (shard, _) = open_with_report(&env, options()).await.ok()?;
        let found = contents(&shard).await;
        shard.close().await.unwrap();
        Some(found)
    })
}

/// Does harm to a world.
type Harm = fn(&World);

/// Stopped at each of its operations, with whatever was not synced gone: a second repair ends where the first one would
/// have.
#[test]
fn killed_anywhere_it_is_run_again() {
    let damage: [(&str, Harm); 3] = [
        ("table and log", |world| {
            world.sim.flip(world.table(true), 5, 1);
            let end = world.loaded().state.clean_stop.unwrap().end;
            world.sim.flip(world.segment(), end - 2 * 4096 + 60, 1);
        }),
        ("CURRENT", |world| world.sim.flip(path("CURRENT"), 30, 1)),
        ("manifest", |world| {
            let number = world.loaded().number;
            let path = crate::manifest::path(Path::new(DIR), number);
            world.sim.flip(path, 4096 + 60, 1);
        }),
    ];
    for (context, damage) in damage {
        let world = World::with(31, 130);
        damage(&world);
        let whole = world.sim.crash(Crash::Everything, 2);
        let (_, expected) = mended(&world, &whole, context);
        let expected_kept = all_kept(&whole);
        let mut step: u64 = 1;
        loop {
            let first = world.sim.crash(Crash::Everything, step);
            first.crash_at(step);
            let mut lines = Vec::new();
            let ended = first.try_run(async |env| repair_in(&env, false, &mut lines).await);
            let done = ended.is_some();
            for kind in [Crash::SyncedOnly, Crash::Everything, Crash::Random] {
                let after = first.crash(kind, step);
                let context = format!("{context}, killed at {step}, {kind:?}");
                let (_, told) = repaired(&after);
                assert_clean(&after, &context);
                assert!(opened(&after) == expected, "{context}: {lines:#?}, then {told:#?}");
            }
            // Without a second repair: a start is refused, or all is as after the first one, with what it has kept.
            let is_late = done || !first.files().iter().any(|(path, _)| is_intent(path));
            for seed in 0..if is_late && step > 17 { 12 } else { 2 } {
                let kind = if seed == 0 { Crash::SyncedOnly } else { Crash::Random };
                let after = first.crash(kind, seed);
                let found = started(&after);
                let context = format!("{context}, killed at {step}, {kind:?} {seed}, then started");
                assert!(
                    found.is_some() || !done,
                    "{context}: refused, though the repair had ended"
                );
                if let Some(found) = found {
                    assert!(found == expected, "{context}");
                    assert!(all_kept(&after) == expected_kept, "{context}: not all is kept");
                }
            }
            if done {
                break;
            }
            // Looking, before anything is written, takes most of the operations.
            step += if first.files().iter().any(|(path, _)| is_intent(path)) { 1 } else { 17 };
        }
        assert!(step > 17, "{context}: {step}");
    }
}

/// Files may have names of both before and after: a start would take some of them for orphans.
#[test]
fn until_a_repair_is_finished_a_start_is_refused() {
    let world = World::new(33);
    world.sim.write_raw(path("REPAIR-000900"), b"");
    let before = world.files();
    let error = refused(&world.sim).to_string();
    assert!(error.contains("a repair was not finished"), "{error}");
    assert!(world.files() == before);
    mended(&world, &world.sim, "unfinished");
}

#[test]
fn what_a_newer_release_wrote_is_left_alone() {
    let world = World::new(32);
    let table = world.table(false);
    let mut footers = world.sim.read_raw(&table);
    let loaded = world.loaded();
    let (_, first) = loaded.state.version.tables().next().unwrap();
    let end = usize::try_from(first.meta.bytes).unwrap();
    let footer = &mut footers[end - 64..end];
    footer[52..56].copy_from_slice(&3_u32.to_le_bytes());
    let crc = crate::coding::crc32(&[], &[&footer[..48], &footer[52..]]);
    footer[48..52].copy_from_slice(&crc.to_le_bytes());
    let header = |path: &Path| {
        let mut bytes = world.sim.read_raw(path);
        bytes[4] = 4;
        let crc = crate::coding::crc32(&[], &[&bytes[4..4096]]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        (path.to_owned(), bytes)
    };
    let manifest = crate::manifest::path(Path::new(DIR), loaded.number);
    let files = [
        (3, (table, footers)),
        (4, header(&world.segment())),
        (4, header(&manifest)),
        (4, header(&path("CURRENT"))),
    ];
    for (newer, (path, bytes)) in files {
        let sim = world.sim.crash(Crash::Everything, 1);
        sim.write_raw(&path, &bytes);
        let before = sim.files();
        let text = refused(&sim).to_string();
        let named = format!("format {newer}");
        assert!(text.contains(&named) && text.contains("use that version"), "{text}");
        let (checked, lines) = checked(&sim);
        assert!(checked.damages > 0, "{lines:#?}");
        has(&lines, &[&format!("{named}, of a newer version")]);
        let mut lines = Vec::new();
        let refused = sim.run(async |env| repair_in(&env, false, &mut lines).await);
        let is_newer = matches!(refused, Err(Error::Newer { format, .. }) if format == newer);
        assert!(is_newer, "{path:?}: {refused:?}");
        assert!(sim.files() == before, "{path:?}");
    }
}
