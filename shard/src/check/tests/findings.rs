//! Each thing that does not hold, and the line that tells of it.

use std::path::Path;

use super::{World, assert_clean, checked, path};
use crate::env::sim::Crash;
use crate::manifest::edit::VersionEdit;
use crate::manifest::version::Version;
use crate::manifest::{Manifest, State};
use crate::table::filter;
use crate::table::footer::{FOOTER_BYTES, Footer};
use crate::table::stored::Seed;
use crate::tests::{DIR, IDENTITY};

fn finds(world: &World, words: &[&str]) {
    let (checked, lines) = checked(&world.sim);
    assert!(checked.damages > 0, "nothing found: {lines:#?}");
    let found = |line: &String| words.iter().all(|word| line.contains(word));
    assert!(lines.iter().any(found), "no line with {words:?}: {lines:#?}");
}

#[test]
fn a_sound_shard_is_clean_and_stays_as_it_is() {
    let world = World::new(1);
    let before = world.files();
    let checked = assert_clean(&world.sim, "closed in order");
    assert_eq!(checked.last_seq, u64::from(super::WRITES));
    assert!(checked.tables > 3 && checked.entries > 0, "{checked:?}");
    assert!(checked.operations > 0 && checked.segments > 0, "{checked:?}");
    let levels = world.loaded().state.version.levels;
    assert!(levels.iter().filter(|level| !level.is_empty()).count() > 1, "several levels");
    assert!(world.files() == before, "check changes nothing");
    assert_eq!(world.sim.open_files(), 0);
    assert_eq!(world.sim.dropped_open(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_a_crash_leaves_is_no_damage() {
    for seed in 0..40 {
        let sim = crate::env::sim::Sim::new(seed);
        sim.crash_at(100 + seed * 11);
        let stopped = sim.try_run(async |env| {
            let shard = crate::tests::open(&env, super::options()).await;
            for n in 0..400_u32 {
                let (key, value) = (crate::tests::key(n % 31), vec![b'x'; n as usize % 300]);
                let op = crate::batch::Op::Put { key: &key, value: &value, expires_at_ms: 0 };
                shard.put_all(&[op]).await.unwrap();
            }
        });
        assert!(stopped.is_none(), "it is a crash");
        for kind in [Crash::SyncedOnly, Crash::Everything, Crash::Random] {
            assert_clean(&sim.crash(kind, seed), &format!("seed {seed}, {kind:?}"));
        }
    }
}

#[test]
fn a_new_directory_is_no_finding() {
    let sim = crate::env::sim::Sim::new(1);
    let (found, lines) = checked(&sim);
    assert!(found.is_new && lines.is_empty());
    sim.make_dir(DIR);
    assert!(checked(&sim).0.is_new);
}

#[test]
fn bytes_of_a_table() {
    let world = World::new(2);
    let table = world.table(false);
    world.sim.flip(&table, 5, 1);
    finds(&world, &["@0", "a block's checksum", "keys \"key-"]);
    world.sim.flip(&table, 5, 1);
    let bytes = world.loaded().state.version.tables().next().unwrap().1.meta.bytes;
    world.sim.flip(&table, bytes - 70, 1);
    finds(&world, &["the meta region's checksum"]);
    world.sim.flip(&table, bytes - 70, 1);
    world.sim.flip(&table, bytes - 1, 1);
    finds(&world, &["the footer's checksum"]);
    world.sim.flip(&table, bytes - 1, 1);
    assert_clean(&world.sim, "put back");
}

/// Zeros between the last block and the meta region have no checksum of their own: only the manifest knows them.
#[test]
fn a_table_that_is_not_the_one_that_was_written() {
    let world = World::new(2);
    let loaded = world.loaded();
    let mut damaged = 0;
    for (_, table) in loaded.state.version.tables() {
        let path = crate::table::path(Path::new(DIR), table.meta.number);
        let bytes = world.sim.read_raw(&path);
        let at = usize::try_from(table.meta.bytes).unwrap() - FOOTER_BYTES;
        let footer = bytes[at..].first_chunk().unwrap();
        let footer = Footer::decode(footer, &IDENTITY, table.meta.number).unwrap();
        let before = usize::try_from(footer.meta_offset).unwrap() - 1;
        if bytes[before] == 0 && damaged == 0 {
            world.sim.flip(&path, footer.meta_offset - 1, 4);
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    finds(&world, &["its bytes are not those whose checksum the manifest has"]);
}

#[test]
fn a_filter_that_denies_its_keys() {
    let world = World::new(3);
    let loaded = world.loaded();
    let (_, table) = loaded.state.version.tables().next().unwrap();
    let path = crate::table::path(Path::new(DIR), table.meta.number);
    let mut bytes = world.sim.read_raw(&path);
    let end = usize::try_from(table.meta.bytes).unwrap();
    let footer = bytes[..end].last_chunk::<FOOTER_BYTES>().unwrap();
    let mut footer = Footer::decode(footer, &IDENTITY, table.meta.number).unwrap();
    let from = usize::try_from(footer.meta_offset).unwrap();
    // The filter's bits lie first in the region.
    bytes[from..from + 64].fill(0);
    let mut crc = Seed::new(&IDENTITY, table.meta.number).hasher(footer.meta_offset);
    crc.update(&bytes[from..end - FOOTER_BYTES]);
    footer.meta_crc = crc.finalize();
    bytes[end - FOOTER_BYTES..end].copy_from_slice(&footer.encode());
    world.sim.write_raw(&path, &bytes);
    assert_ne!(filter::seed(&IDENTITY, table.meta.number), 0);
    finds(&world, &["a key that the filter denies", "\"key-"]);
}

#[test]
fn an_absent_and_a_foreign_table() {
    let world = World::new(4);
    let (one, other) = (world.table(false), world.table(true));
    let bytes = world.sim.read_raw(&one);
    world.sim.write_raw(&one, &world.sim.read_raw(&other));
    finds(&world, &[".sst"]);
    world.sim.write_raw(&one, &bytes);
    world.sim.run(async |env| crate::env::Env::remove(&env, &one).await.unwrap());
    finds(&world, &["the file is absent, though the manifest names it"]);
}

#[test]
fn the_manifest_and_what_names_it() {
    let world = World::new(5);
    let number = world.loaded().number;
    let manifest = crate::manifest::path(Path::new(DIR), number);
    world.sim.flip(&manifest, 4096 + 60, 1);
    finds(&world, &["manifest-", "@4096"]);
    world.sim.flip(&manifest, 4096 + 60, 1);
    world.sim.flip(path("CURRENT"), 30, 1);
    finds(&world, &["CURRENT @0", "checksum"]);
}

#[test]
fn the_log() {
    let world = World::new(6);
    let stop = world.loaded().state.clean_stop.unwrap();
    let segment = world.segment();
    world.sim.flip(&segment, stop.end - 4096 + 50, 1);
    finds(&world, &[".wal", &format!("@{}", stop.end - 4096), "the shard was closed"]);
    world.sim.flip(&segment, stop.end - 4096 + 50, 1);
    world.sim.flip(&segment, 20, 1);
    finds(&world, &[".wal @0", "the header does not match its checksum"]);
}

fn with_state(world: &World, change: impl FnOnce(&mut State)) {
    let mut state = world.loaded().state;
    change(&mut state);
    world.sim.run(async |env| {
        Manifest::replace_all(&env, Path::new(DIR), IDENTITY, state).await.unwrap();
    });
}

#[test]
fn a_version_hidden_by_an_older_one() {
    let world = World::new(7);
    with_state(&world, |state| {
        // The same tables upside down: what is deepest becomes L0.
        let metas: Vec<_> =
            state.version.tables().map(|(level, t)| (level, t.meta.clone())).collect();
        let deepest = metas.iter().map(|(level, _)| *level).max().unwrap();
        assert!(deepest > 0);
        let flipped = |level: usize| match level {
            0 => 6,
            level if level == deepest => 0,
            level => u8::try_from(level).unwrap(),
        };
        // One table of each level: any two of L0 may overlap.
        let mut seen = Vec::new();
        let added = metas.into_iter().filter(|(level, _)| {
            let first = !seen.contains(level);
            seen.push(*level);
            first || *level == deepest
        });
        let added: Vec<_> = added.map(|(level, meta)| (flipped(level), meta)).collect();
        let edit = VersionEdit { added, ..VersionEdit::default() };
        state.version = Version::default().apply(&edit, vec![(); edit.added.len()]).unwrap();
    });
    finds(&world, &["an older version of \"key-", "hides operation"]);
}

#[test]
fn a_table_beyond_what_is_flushed() {
    let world = World::new(8);
    with_state(&world, |state| {
        state.flushed_seq = crate::key::SeqNo(3);
    });
    finds(&world, &["tables are said to hold those up to 3"]);
}

#[test]
fn orphans_and_strangers_are_noted() {
    let world = World::new(9);
    let table = world.sim.read_raw(world.table(false));
    world.sim.write_raw(path("000001.sst"), &table);
    world.sim.write_raw(path("CURRENT.tmp"), &[0; 4096]);
    world.sim.write_raw(path("notes.txt"), b"mine");
    let (checked, lines) = checked(&world.sim);
    assert_eq!((checked.damages, checked.notes), (0, 3), "{lines:#?}");
    for line in ["note 000001.sst: an orphan", "note CURRENT.tmp: an orphan", "note notes.txt: not"]
    {
        assert!(lines.iter().any(|told| told.starts_with(line)), "{line}: {lines:#?}");
    }
}
