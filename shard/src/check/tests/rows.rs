//! Dumps of the files of a small shard, as text.

use std::fmt::Write as _;
use std::path::Path;

use super::{World, path};
use crate::check::dump::{Kinds, Row, Value, dump};
use crate::env::sim::Sim;
use crate::tests::DIR;

fn rows(sim: &Sim, path: &Path, kind: Kinds) -> (u64, String) {
    let mut text = String::new();
    let damages = sim.run(async |env| {
        let mut take = |row: Row| {
            write!(text, "{}{} {}", if row.is_part { "  " } else { "" }, row.offset, row.record)
                .unwrap();
            for (name, value) in row.fields {
                match value {
                    Value::Number(number) => write!(text, " {name}={number}").unwrap(),
                    Value::Text(words) => write!(text, " {name}={words}").unwrap(),
                    Value::Bytes(bytes) => write!(text, " {name}=[{}]", bytes.len()).unwrap(),
                }
            }
            text.push('\n');
            true
        };
        dump(&env, path, kind, &mut take).await.unwrap()
    });
    (damages, text)
}

fn has(text: &str, words: &[&str]) {
    let found = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no row with {words:?}:\n{text}");
}

#[test]
fn a_segment() {
    let world = World::with(40, 58);
    let stop = world.loaded().state.clean_stop.unwrap();
    let path = world.segment();
    let (damages, text) = rows(&world.sim, &path, Kinds::Segment);
    assert_eq!(damages, 0, "{text}");
    has(
        &text,
        &[
            "0 segment",
            &format!("number={}", stop.segment),
            "directory=00000000000000000000000000005eed",
            "shard=3",
        ],
    );
    has(&text, &["4096 chain", "after_segment="]);
    has(&text, &[" batch", "ops=1"]);
    has(&text, &["  ", "put seq=58 key=[9] value="]);
    has(&text, &[&format!("{} blank", stop.end)]);
    // A hole is damage if a frame stands behind it, and a torn tail if not.
    world.sim.flip(&path, stop.end - 4096 + 60, 1);
    let (damages, text) = rows(&world.sim, &path, Kinds::Segment);
    assert_eq!(damages, 0, "{text}");
    has(&text, &[&format!("{} torn", stop.end - 4096)]);
    world.sim.flip(&path, stop.end - 2 * 4096 + 60, 1);
    world.sim.flip(&path, stop.end - 4096 + 60, 1);
    let (damages, text) = rows(&world.sim, &path, Kinds::Segment);
    assert_eq!(damages, 1, "{text}");
    has(&text, &[&format!("{} damage what=4096 bytes without a whole frame", stop.end - 2 * 4096)]);
}

#[test]
fn a_table_under_any_name() {
    let world = World::with(41, 60);
    let table = world.table(false);
    let (damages, text) = rows(&world.sim, &table, Kinds::Table);
    assert_eq!(damages, 0, "{text}");
    has(&text, &["0 table", "shard=3", "entries=", "filter_bytes="]);
    has(&text, &["0 block", "upto=["]);
    let entries = text.lines().filter(|line| line.starts_with("  ")).count() as u64;
    let meta = world.loaded().state.version.tables().next().unwrap().1.meta.clone();
    assert_eq!(entries, meta.entries);
    world.sim.write_raw("/elsewhere", &world.sim.read_raw(&table));
    assert_eq!(rows(&world.sim, Path::new("/elsewhere"), Kinds::Table).1, text);
    world.sim.flip("/elsewhere", 7, 1);
    let (damages, text) = rows(&world.sim, Path::new("/elsewhere"), Kinds::Table);
    assert_eq!(damages, 1);
    has(&text, &["0 damage what=a block's checksum"]);
}

#[test]
fn a_manifest_and_current() {
    let world = World::with(42, 130);
    let number = world.loaded().number;
    let manifest = crate::manifest::path(Path::new(DIR), number);
    let (damages, text) = rows(&world.sim, &manifest, Kinds::Manifest);
    assert_eq!(damages, 0, "{text}");
    has(&text, &["0 manifest", &format!("number={number}")]);
    has(&text, &["4096 snapshot", "index=0"]);
    for part in ["add_table level=0", "remove_table", "add_segment", "clean_stop"] {
        has(&text, &[part]);
    }
    let (_, text) = rows(&world.sim, &path("CURRENT"), Kinds::Manifest);
    has(&text, &["0 current", &format!("manifest={number}"), "snapshot_end=8192"]);
}

#[test]
fn whoever_has_seen_enough_ends_it() {
    let world = World::with(43, 60);
    let (path, mut taken) = (world.segment(), 0);
    world.sim.run(async |env| {
        let mut take = |_| {
            taken += 1;
            taken < 3
        };
        dump(&env, &path, Kinds::Segment, &mut take).await.unwrap();
    });
    assert_eq!(taken, 3);
}
