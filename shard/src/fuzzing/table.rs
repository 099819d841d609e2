//! A table, edited, opened and read in every way.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use super::base::{IDENTITY, LATER_MS};
use super::block::Rows;
use super::script::Script;
use super::{FORGED, forge, names_its_place, on};
use crate::cache::BlockCache;
use crate::check::table_is_sound;
use crate::cursor::{Cursor, Direction, seek, step};
use crate::env::Lane;
use crate::env::sim::{Sim, SimEnv};
use crate::error::{Error, Result};
use crate::key::{Entry, Kind, SeqNo, hash};
use crate::manifest::edit::TableMeta;
use crate::options::TableOptions;
use crate::table::{Table, TableBuilder, TableCursor, found, path};

const DIR: &str = "/";
const NUMBER: u64 = 7;

/// Which of the tables: two bits of the flags.
const WHICH_SHIFT: u32 = 1;
/// Flag of a forgery: the manifest says of the table what the table says of itself.
const AGREED: u8 = 8;
/// Blocks in the cache, in bytes.
const CACHE_BYTES: usize = 1 << 20;

/// A table as the engine writes it.
#[derive(Debug)]
struct Made {
    bytes: Vec<u8>,
    meta: TableMeta,
    rows: Rows,
    blocks: Vec<Range<usize>>,
}

thread_local! {
    static MADE: [Rc<Made>; 4] = [
        // Plain, Snappy, without a filter, and one block of everything.
        (120, false, 10, 18),
        (300, true, 10, 24),
        (150, false, 0, 7),
        (64 << 10, true, 3, 14),
    ]
    .map(|(block_bytes, compression, filter_bits_per_key, keys)| {
        let options = TableOptions {
            block_bytes,
            compression,
            filter_bits_per_key,
            ..TableOptions::default()
        };
        Rc::new(make(options, keys))
    });
}

fn make(options: TableOptions, keys: u8) -> Made {
    let rows: Rows = (0..keys)
        .map(|number| {
            let key = match number % 5 {
                0 => format!("user:{number:04}").into_bytes(),
                _ => format!("user:{number:04}:{}", "name".repeat(1 + usize::from(number) % 3))
                    .into(),
            };
            let value = format!("value {number} ").repeat(usize::from(number) % 7).into_bytes();
            match number % 9 {
                8 => (key, SeqNo(u64::from(number) + 1), Kind::Delete, Vec::new()),
                7 => {
                    let stored = [&LATER_MS.to_le_bytes()[..], &value].concat();
                    (key, SeqNo(u64::from(number) + 1), Kind::Expiring, stored)
                }
                _ => (key, SeqNo(u64::from(number) + 1), Kind::Put, value),
            }
        })
        .collect();
    let sim = Sim::new(1).fifo();
    let (meta, blocks) = sim.run(async |env| {
        let dir = Path::new(DIR);
        let made = TableBuilder::create(&env, dir, IDENTITY, NUMBER, options, Lane::Cold).await;
        let mut builder = made.expect("an empty disk");
        for (key, seq, kind, value) in &rows {
            builder.add(&Entry { key, seq: *seq, kind: *kind, value });
        }
        let meta = builder.finish().await.expect("a disk without faults");
        let table = Table::open(&env, dir, IDENTITY, &meta).await.expect("it was just written");
        let blocks = (0..table.blocks()).filter_map(|index| table.block(index));
        let place = |at: u64| usize::try_from(at).expect("a small file");
        let blocks = blocks.map(|handle| place(handle.offset())..place(handle.end())).collect();
        (meta, blocks)
    });
    Made { bytes: sim.read_raw(path(Path::new(DIR), NUMBER)), meta, rows, blocks }
}

/// A table, edited.
///
/// # Panics
/// If a read of a damaged table gives something that is neither an error nor what was written; if two ways to read a forged one
/// disagree that `check` calls sound, or iterating forward and backward in any.
pub fn table(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.byte();
    let forged = flags & FORGED != 0;
    let made = MADE.with(|made| Rc::clone(&made[usize::from(flags >> WHICH_SHIFT & 3)]));
    let mut files = [made.bytes.clone()];
    script.edit(&mut files, !forged);
    let [mut file] = files;
    let length = usize::try_from(made.meta.bytes).expect("a small file");
    if forged {
        forge::table(&mut file, &IDENTITY, NUMBER, length, &made.blocks);
    }
    let path = path(Path::new(DIR), NUMBER);
    let bytes_max = file.len().max(made.bytes.len());
    on([(path.as_path(), file.as_slice())].into_iter(), async |env| {
        let mut meta = made.meta.clone();
        if forged && flags & AGREED != 0 {
            match found::describe(&env, &path).await {
                Ok((_, described)) => meta = described,
                Err(error) => return names_its_place(&error, Path::new(DIR), bytes_max),
            }
        }
        // A table of another number is refused by the one that the manifest names.
        meta.number = NUMBER;
        match Table::open(&env, Path::new(DIR), IDENTITY, &meta).await {
            Err(error) => names_its_place(&error, Path::new(DIR), bytes_max),
            Ok(table) => {
                let sound = table_is_sound(&env, path.clone(), IDENTITY, &meta).await;
                let reads = Reads { table: Rc::new(table), bytes_max, sound };
                reads.all(&made, forged).await;
            }
        }
    });
}

struct Reads {
    table: Rc<Table<SimEnv>>,
    bytes_max: usize,
    /// `check` finds nothing wrong.
    sound: bool,
}

impl Reads {
    async fn all(&self, made: &Made, forged: bool) {
        let hot = self.walk(Direction::Forward, false).await;
        let back = self.walk(Direction::Backward, false).await;
        let cold = self.walk(Direction::Forward, true).await;
        let cold_back = self.walk(Direction::Backward, true).await;
        let all = [&hot, &back, &cold, &cold_back];
        // Each of them reads every block: all fail, or none.
        let failed = all.iter().filter(|read| read.is_err()).count();
        assert!(failed == 0 || failed == all.len(), "{failed} of {} walks failed", all.len());
        assert!(failed == 0 || !self.sound, "`check` missed it");
        if let (Ok(hot), Ok(mut back), Ok(cold), Ok(mut cold_back)) = (hot, back, cold, cold_back) {
            back.reverse();
            cold_back.reverse();
            assert!(hot == back && hot == cold && hot == cold_back, "iterations differ");
            assert!(forged || hot == made.rows, "other rows than were written");
            if self.sound {
                self.points(&hot).await;
            }
        }
        if !forged && failed > 0 {
            for row in &made.rows {
                match self.point(&row.0).await {
                    Ok(found) => assert!(found.as_ref() == Some(row), "a wrong answer"),
                    Err(error) => self.expected(&error),
                }
            }
        }
    }

    fn expected(&self, error: &Error) {
        names_its_place(error, Path::new(DIR), self.bytes_max);
    }

    /// Every key of a sound table is found by each way to look for one.
    async fn points(&self, rows: &Rows) {
        assert!(rows.is_sorted_by(|one, next| one.0 < next.0), "`check` missed the order");
        let cache = Rc::new(BlockCache::new(CACHE_BYTES, 1));
        let open =
            |direction| TableCursor::hot(Rc::clone(&self.table), Rc::clone(&cache), direction);
        let mut forward = open(Direction::Forward);
        let mut backward = open(Direction::Backward);
        for (index, row) in rows.iter().enumerate() {
            let found = self.point(&row.0).await.expect("a sound table");
            assert!(found.as_ref() == Some(row), "{} is not found", row.0.escape_ascii());
            seek(&mut forward, Some(&row.0)).await.expect("a sound table");
            assert!(forward.entry().is_some_and(|entry| entry.key == row.0));
            seek(&mut backward, Some(&row.0)).await.expect("a sound table");
            let before = index.checked_sub(1).and_then(|before| rows.get(before));
            assert_eq!(
                backward.entry().map(|entry| entry.key),
                before.map(|row| row.0.as_slice()),
                "the entry below a key"
            );
        }
    }

    /// A point read. The filter is asked only of what is known to be there.
    async fn point(&self, key: &[u8]) -> Result<Option<(Vec<u8>, SeqNo, Kind, Vec<u8>)>> {
        if self.sound {
            assert!(self.table.may_contain(hash(key)), "the filter denies it");
        }
        let Some(handle) = self.table.find_block(key) else { return Ok(None) };
        let block = self.table.read_block(handle).await?;
        let entry = block.get(key);
        let found = entry.map(|entry| (key.to_vec(), entry.seq, entry.kind, entry.value.to_vec()));
        for _ in 0..2 {
            let hashed = block.get_hashed(key, hash(key)).map(|entry| entry.seq);
            assert!(!self.sound || hashed == found.as_ref().map(|found| found.1));
        }
        Ok(found)
    }

    async fn walk(&self, direction: Direction, cold: bool) -> Result<Rows> {
        let table = Rc::clone(&self.table);
        let mut cursor = if cold {
            TableCursor::cold(table, direction).await?
        } else {
            TableCursor::hot(table, Rc::new(BlockCache::new(CACHE_BYTES, 1)), direction)
        };
        let walked = rows(&mut cursor).await;
        if let Err(error) = &walked {
            self.expected(error);
            assert!(cursor.entry().is_none(), "a cursor that failed stands");
        }
        cursor.close().await?;
        walked
    }
}

async fn rows(cursor: &mut TableCursor<SimEnv>) -> Result<Rows> {
    let mut rows = Rows::new();
    seek(cursor, None).await?;
    while let Some(entry) = cursor.entry() {
        rows.push((entry.key.to_vec(), entry.seq, entry.kind, entry.value.to_vec()));
        step(cursor).await?;
    }
    Ok(rows)
}
