//! What a closed shard is said to hold is what a start finds, and nothing is changed by the look.

use std::ops::Bound;
use std::path::Path;

use super::{Model, World, opened};
use crate::check::contents::{Contents, is_ours, outline};
use crate::env::sim::Sim;
use crate::error::Error;
use crate::scan::Range;
use crate::tests::{DIR, IDENTITY};

type Pair = (Vec<u8>, Vec<u8>);

fn read(sim: &Sim, range: &Range) -> Result<Vec<Pair>, Error> {
    sim.run(async |env| {
        let opened = Contents::open(&env, Path::new(DIR), IDENTITY, range.clone()).await?;
        let mut found = Vec::new();
        let Some(mut contents) = opened else { return Ok(found) };
        contents.advance().await?;
        while let Some(entry) = contents.entry() {
            found.push((entry.key.to_vec(), entry.value.to_vec()));
            contents.advance().await?;
        }
        contents.close().await?;
        Ok(found)
    })
}

#[test]
fn it_is_what_a_start_finds_in_order_and_the_files_stay_as_they_are() {
    for (seed, writes) in [(50, 700), (51, 120), (52, 40)] {
        let world = World::with(seed, writes);
        let before = world.files();
        let found = read(&world.sim, &Range::all()).unwrap();
        assert!(found.is_sorted_by(|one, next| one.0 < next.0), "each key once, ascending");
        let outline =
            world.sim.run(async |env| outline(&env, Path::new(DIR), IDENTITY).await.unwrap());
        assert!(world.files() == before, "a byte was changed");
        assert_eq!(found.into_iter().collect::<Model>(), world.model, "seed {seed}");
        assert_eq!(outline.last_seq, u64::from(writes));
        assert!(outline.is_closed_in_order && !outline.is_new && outline.torn_bytes == 0);
        assert!(outline.keys_max() >= world.model.len() as u64);
        assert_eq!(opened(&world.sim), world.model);
    }
}

#[test]
fn a_range_has_its_ends() {
    let world = World::new(53);
    let keys: Vec<&Vec<u8>> = world.model.keys().collect();
    let (from, to) = (keys[3].clone(), keys[keys.len() - 2].clone());
    for (range, expected) in [
        ((Bound::Included(from.clone()), Bound::Excluded(to.clone())), 3..keys.len() - 2),
        ((Bound::Excluded(from.clone()), Bound::Included(to.clone())), 4..keys.len() - 1),
        ((Bound::Unbounded, Bound::Excluded(from)), 0..3),
    ] {
        let range = Range { from: range.0, to: range.1 };
        let found = read(&world.sim, &range).unwrap();
        let found: Vec<&Vec<u8>> = found.iter().map(|(key, _)| key).collect();
        assert_eq!(found, keys[expected].to_vec(), "{range:?}");
    }
    let none = Range::prefix(b"nothing begins so");
    assert!(read(&world.sim, &none).unwrap().is_empty());
}

#[test]
fn a_new_shard_is_empty_and_damage_is_an_error() {
    let sim = Sim::new(54);
    assert!(read(&sim, &Range::all()).unwrap().is_empty());
    let found = sim.run(async |env| outline(&env, Path::new(DIR), IDENTITY).await.unwrap());
    assert!(found.is_new);
    let world = World::new(55);
    let table = world.table(false);
    world.sim.flip(&table, 70, 4);
    assert!(matches!(read(&world.sim, &Range::all()), Err(Error::Corruption { .. })));
}

#[test]
fn names_of_our_files() {
    for name in
        ["000012.sst", "000007.wal", "manifest-000003", "CURRENT", "CURRENT.tmp", "REPAIR-000009"]
    {
        assert!(is_ours(name), "{name}");
        assert!(is_ours(&format!("{name}.quarantine-20261127-1")), "{name}");
    }
    for name in ["notes.txt", "12.sst", "000012.sst.bak", "current", ".quarantine-1", "lost+found"]
    {
        assert!(!is_ours(name), "{name}");
    }
}
