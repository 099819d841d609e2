//! Cursors against a `BTreeMap`: hot and cold, both directions, seeks and steps in any order.

use std::ops::Bound;
use std::rc::Rc;

use proptest::prelude::*;

use super::super::{PIECE_BYTES, Table, TableCursor, path};
use super::{Rows, build, dir, key, open, options, plain_rows, rows};
use crate::cache::BlockCache;
use crate::cursor::{Cursor, Direction, Step, seek, step};
use crate::env::sim::{Fault, Kind as Op, Sim, SimEnv};
use crate::error::Error;
use crate::key::Kind;
use crate::options::TableOptions;

/// The model: where a cursor stands, as a key of the map.
struct Model<'a> {
    rows: &'a Rows,
    direction: Direction,
    at: Option<Vec<u8>>,
}

impl Model<'_> {
    fn seek(&mut self, key: Option<&[u8]>) {
        let found = match (self.direction, key) {
            (Direction::Forward, None) => self.rows.keys().next(),
            (Direction::Backward, None) => self.rows.keys().next_back(),
            (Direction::Forward, Some(key)) => self
                .rows
                .range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
                .next()
                .map(|row| row.0),
            (Direction::Backward, Some(key)) => self
                .rows
                .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)))
                .next_back()
                .map(|row| row.0),
        };
        self.at = found.cloned();
    }

    fn step(&mut self) {
        let at = self.at.take().unwrap();
        let found = match self.direction {
            Direction::Forward => self
                .rows
                .range::<[u8], _>((Bound::Excluded(at.as_slice()), Bound::Unbounded))
                .next(),
            Direction::Backward => self
                .rows
                .range::<[u8], _>((Bound::Unbounded, Bound::Excluded(at.as_slice())))
                .next_back(),
        };
        self.at = found.map(|row| row.0.clone());
    }

    fn check(&self, cursor: &TableCursor<SimEnv>) {
        let found = cursor.entry().map(|entry| (entry.key, entry.seq.0, entry.kind, entry.value));
        let expected = self.at.as_ref().map(|key| {
            let (seq, kind, value) = &self.rows[key];
            (key.as_slice(), *seq, *kind, value.as_slice())
        });
        assert!(found == expected, "{:?} instead of {:?}", found.map(|found| found.0), self.at);
    }
}

async fn cursors(table: &Rc<Table<SimEnv>>) -> Vec<TableCursor<SimEnv>> {
    let mut cursors = Vec::new();
    for direction in [Direction::Forward, Direction::Backward] {
        for bytes in [0, 64 << 20] {
            let cache = Rc::new(BlockCache::new(bytes, 1));
            cursors.push(TableCursor::hot(Rc::clone(table), cache, direction));
        }
        cursors.push(TableCursor::cold(Rc::clone(table), direction).await.unwrap());
    }
    cursors
}

fn direction(cursor: usize) -> Direction {
    if cursor < 3 { Direction::Forward } else { Direction::Backward }
}

async fn close(cursors: Vec<TableCursor<SimEnv>>, table: Rc<Table<SimEnv>>) {
    for cursor in cursors {
        cursor.close().await.unwrap();
    }
    Rc::into_inner(table).unwrap().close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_cursor_walks_like_a_map(
        rows in rows(200),
        options in options(),
        seeks in prop::collection::vec((prop::option::of(key()), 0_usize..40), 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        Sim::new(1).run(|env| async move {
            let meta = build(&env, 7, &rows, &options).await;
            let table = Rc::new(open(&env, &meta).await);
            let mut cursors = cursors(&table).await;
            for (index, cursor) in cursors.iter_mut().enumerate() {
                let mut model = Model { rows: &rows, direction: direction(index), at: None };
                assert!(cursor.entry().is_none());
                for ((key, steps), pick) in seeks.iter().zip(&picks) {
                    // Half of the keys sought are in the table.
                    let present = rows.keys().nth(pick.index(rows.len())).cloned();
                    let key = if *steps % 2 == 0 { key.clone() } else { present };
                    seek(cursor, key.as_deref()).await.unwrap();
                    model.seek(key.as_deref());
                    model.check(cursor);
                    for _ in 0..*steps {
                        if model.at.is_none() {
                            break;
                        }
                        step(cursor).await.unwrap();
                        model.step();
                        model.check(cursor);
                    }
                }
            }
            close(cursors, table).await;
            assert_eq!(env.open_files(), 0);
        });
    }
}

#[test]
fn every_key_and_its_neighbours_are_found_both_ways() {
    Sim::new(2).run(|env| async move {
        let rows = plain_rows(300);
        let options = TableOptions { block_bytes: 1024, ..TableOptions::default() };
        let meta = build(&env, 7, &rows, &options).await;
        let table = Rc::new(open(&env, &meta).await);
        let mut cursors = cursors(&table).await;
        for (index, cursor) in cursors.iter_mut().enumerate() {
            let mut model = Model { rows: &rows, direction: direction(index), at: None };
            for key in rows.keys() {
                let mut above = key.clone();
                above.push(0);
                let below = &key[..key.len() - 1];
                for key in [key.as_slice(), &above, below, b"", b"zzz"] {
                    seek(cursor, Some(key)).await.unwrap();
                    model.seek(Some(key));
                    model.check(cursor);
                }
            }
        }
        close(cursors, table).await;
    });
}

/// About 5 MiB, with two values larger than a piece.
fn large_rows() -> Rows {
    let mut rows: Rows = (0..2000_u64)
        .map(|index| {
            let noise = crate::key::hash(&index.to_le_bytes()).to_le_bytes().repeat(250);
            (format!("{index:06}").into_bytes(), (index, Kind::Put, noise))
        })
        .collect();
    for key in ["000100x", "001999x"] {
        rows.insert(key.into(), (1, Kind::Put, vec![1; 3 * PIECE_BYTES]));
    }
    rows
}

#[test]
fn a_cold_cursor_reads_each_piece_about_once() {
    for direction in [Direction::Forward, Direction::Backward] {
        Sim::new(3).run(|env| async move {
            let rows = large_rows();
            let options = TableOptions { compression: false, ..TableOptions::default() };
            let meta = build(&env, 7, &rows, &options).await;
            let table = Rc::new(open(&env, &meta).await);
            let mut cursor = TableCursor::cold(Rc::clone(&table), direction).await.unwrap();
            let before = env.operations();
            let mut model = Model { rows: &rows, direction, at: None };
            seek(&mut cursor, None).await.unwrap();
            model.seek(None);
            model.check(&cursor);
            while model.at.is_some() {
                step(&mut cursor).await.unwrap();
                model.step();
                model.check(&cursor);
            }
            let reads = env.operations() - before;
            let pieces = meta.bytes / PIECE_BYTES as u64;
            // The two large values are read in requests of twice a piece.
            assert!((pieces - 2..pieces + 6).contains(&reads), "{reads} reads, {pieces} pieces");
            close(vec![cursor], table).await;
        });
    }
}

#[test]
fn a_warm_hot_cursor_needs_no_load() {
    Sim::new(4).run(|env| async move {
        let rows = plain_rows(500);
        let meta = build(&env, 7, &rows, &TableOptions::default()).await;
        let table = Rc::new(open(&env, &meta).await);
        let cache = Rc::new(BlockCache::new(1 << 20, 1));
        for round in 0..2 {
            let mut cursor =
                TableCursor::hot(Rc::clone(&table), Rc::clone(&cache), Direction::Forward);
            let (mut count, mut loads) = (0, 0);
            let mut moved = cursor.seek(None);
            loop {
                if moved == Step::Load {
                    loads += 1;
                    assert!(cursor.entry().is_none());
                    cursor.load().await.unwrap();
                }
                if cursor.entry().is_none() {
                    break;
                }
                count += 1;
                moved = cursor.step();
            }
            assert_eq!(count, rows.len());
            assert_eq!(loads, if round == 0 { table.blocks() } else { 0 });
        }
        assert_eq!(cache.counts().misses, table.blocks() as u64);
        close(Vec::new(), table).await;
    });
}

#[test]
fn after_an_error_a_cursor_is_at_its_end_for_good() {
    Sim::new(5).run(|env| async move {
        let options = TableOptions { compression: false, ..TableOptions::default() };
        let meta = build(&env, 7, &plain_rows(5000), &options).await;
        let table = Rc::new(open(&env, &meta).await);
        // Damage in the middle: met at a step, in the cold case within a piece that is already in memory.
        let damaged = table.block(table.blocks() / 2).unwrap().offset();
        env.flip(path(dir(), 7), damaged + 10, 1);
        for (index, mut cursor) in cursors(&table).await.into_iter().enumerate() {
            seek(&mut cursor, None).await.unwrap();
            let error = loop {
                assert!(cursor.entry().is_some(), "cursor {index} passed the damage");
                if let Err(error) = step(&mut cursor).await {
                    break error;
                }
            };
            assert!(
                matches!(error, Error::Corruption { offset, .. } if offset == damaged),
                "{error}"
            );
            assert!(cursor.entry().is_none());
            seek(&mut cursor, None).await.unwrap();
            assert!(cursor.entry().is_none());
            cursor.close().await.unwrap();
        }
        env.faults().add(Fault::eio().kind(Op::Read));
        let mut cursor = TableCursor::cold(Rc::clone(&table), Direction::Forward).await.unwrap();
        assert!(matches!(seek(&mut cursor, None).await, Err(Error::Io { .. })));
        cursor.close().await.unwrap();
        close(Vec::new(), table).await;
    });
}
