//! Level cursors against a sorted list.

use std::rc::Rc;

use super::world::World;
use crate::cache::BlockCache;
use crate::cursor::{self, Cursor, Direction};
use crate::env::sim::{Fault, Kind, Sim};
use crate::level::{LevelCursor, LevelTable};
use crate::options::CompactionStyle;

/// A world whose L1 has many tables; its tables and all their keys.
async fn level(world: &mut World) -> (Vec<LevelTable<crate::env::sim::SimEnv>>, Vec<Vec<u8>>) {
    world.thresholds.level_base_bytes = 1 << 30;
    world.thresholds.l0_compact_tables = 1;
    world.deletes = false;
    for _ in 0..4 {
        let memtable = world.memtable(400);
        world.flush(&memtable).await.unwrap();
    }
    world.settle(CompactionStyle::Leveled, false).await;
    assert!(world.version.levels[0].is_empty());
    let tables = world.version.levels[1].clone();
    assert!(tables.len() >= 4);
    (tables, world.model.keys().cloned().collect())
}

#[test]
fn seeks_and_steps_find_what_a_list_has_in_both_directions_hot_and_cold() {
    for seed in 0..3 {
        Sim::new(seed).run(async |env| {
            let mut world = World::new(env.clone(), seed).await;
            let (tables, keys) = level(&mut world).await;
            let cache = Rc::new(BlockCache::new(16 << 10, 1));
            for direction in [Direction::Forward, Direction::Backward] {
                let hot = LevelCursor::hot(tables.clone(), Rc::clone(&cache), direction);
                let cold = LevelCursor::cold(tables.clone(), direction);
                for mut cursor in [hot, cold] {
                    assert!(cursor.entry().is_none());
                    for _ in 0..60 {
                        walk(&mut world, &mut cursor, &keys, direction).await;
                    }
                    cursor.close().await.unwrap();
                }
            }
            assert_eq!(env.dropped_open().len(), 0);
        });
    }
}

/// A seek to a random place, some of it at the ends, then some steps.
async fn walk(
    world: &mut World,
    cursor: &mut LevelCursor<crate::env::sim::SimEnv>,
    keys: &[Vec<u8>],
    direction: Direction,
) {
    let place = usize::try_from(world.random.below(keys.len() as u64)).unwrap();
    let target = match world.random.below(8) {
        0 => None,
        1 => Some(b"a".to_vec()),
        2 => Some(b"z".to_vec()),
        3 => Some([keys[place].as_slice(), b"+"].concat()),
        _ => Some(keys[place].clone()),
    };
    let split = target.as_ref().map(|target| keys.partition_point(|key| key < target));
    let expected: Vec<&Vec<u8>> = match direction {
        Direction::Forward => keys[split.unwrap_or(0)..].iter().collect(),
        Direction::Backward => keys[..split.unwrap_or(keys.len())].iter().rev().collect(),
    };
    let steps = usize::try_from(1 + world.random.below(200)).unwrap();
    cursor::seek(cursor, target.as_deref()).await.unwrap();
    for key in expected.iter().take(steps) {
        assert_eq!(cursor.entry().map(|entry| entry.key), Some(key.as_slice()));
        cursor::step(cursor).await.unwrap();
    }
    if expected.len() <= steps {
        assert!(cursor.entry().is_none());
    }
}

#[test]
fn an_empty_run_has_no_entry() {
    Sim::new(1).run(async |_| {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut cursor = LevelCursor::<crate::env::sim::SimEnv>::cold(Vec::new(), direction);
            cursor::seek(&mut cursor, None).await.unwrap();
            assert!(cursor.entry().is_none());
            cursor::seek(&mut cursor, Some(b"k")).await.unwrap();
            assert!(cursor.entry().is_none());
        }
    });
}

#[test]
fn a_failed_read_ends_the_cursor_for_good_and_skips_no_table() {
    for kind in [Kind::Open, Kind::Read, Kind::Close] {
        for nth in 1..4 {
            Sim::new(2).run(async |env| {
                let mut world = World::new(env.clone(), 2).await;
                let (tables, keys) = level(&mut world).await;
                let mut cursor = LevelCursor::cold(tables, Direction::Forward);
                env.faults().add(Fault::eio().kind(kind).at(nth));
                let mut found = 0;
                let mut result = cursor::seek(&mut cursor, None).await;
                while result.is_ok() && cursor.entry().is_some() {
                    assert_eq!(cursor.entry().unwrap().key, keys[found]);
                    found += 1;
                    result = cursor::step(&mut cursor).await;
                }
                assert!(result.is_err() && found < keys.len(), "{kind:?} {nth}");
                env.faults().clear();
                assert!(cursor.entry().is_none());
                cursor::seek(&mut cursor, None).await.unwrap();
                assert!(cursor.entry().is_none(), "at its end for good");
            });
        }
    }
}
