//! A block's body, as it is: what stands behind its checksum.

use std::rc::Rc;

use crate::env::IoBuf;
use crate::key::{Entry, Kind, SeqNo, hash};
use crate::table::block::{Block, BlockBuilder, BlockValue, Window};

/// Keys, numbers, kinds and values, front to back.
pub(super) type Rows = Vec<(Vec<u8>, SeqNo, Kind, Vec<u8>)>;

/// The input is a body.
///
/// # Panics
/// If a body that was taken cannot be read whole, or is read differently in two ways; if one whose keys ascend lacks a key, or is
/// not the same after it was built again.
pub fn block(input: &[u8]) {
    let Ok(block) = Block::new(input.to_vec()) else { return };
    let rows = rows(&block);
    assert!(!rows.is_empty() && rows.len() <= input.len());
    assert!(block.memory_bytes() >= input.len());
    in_a_read(input, &rows);
    for (key, ..) in &rows {
        // Whatever the order: an answer, and no panic.
        let _found = block.get(key);
    }
    if !rows.is_sorted_by(|one, next| one.0 < next.0) {
        return;
    }
    let block = Rc::new(block);
    let mut builder = BlockBuilder::default();
    for (key, seq, kind, value) in &rows {
        let entry = Entry { key, seq: *seq, kind: *kind, value };
        assert!(block.get(key) == Some(entry), "{} is not found", key.escape_ascii());
        // The first search by hash does without tags, the later ones use them.
        assert!(block.get_hashed(key, hash(key)) == Some(entry), "not found by its hash");
        let held = BlockValue::find(&block, key);
        assert!(held.is_some_and(|held| (held.0, held.1, &*held.2) == (*seq, *kind, value)));
        builder.add(&entry);
        // What lies right behind a key, and is none.
        let absent = [key.as_slice(), b"\0"].concat();
        let is_there = rows.binary_search_by(|row| row.0.as_slice().cmp(&absent)).is_ok();
        assert_eq!(block.get(&absent).is_some(), is_there);
        assert_eq!(block.get_hashed(&absent, hash(&absent)).is_some(), is_there);
    }
    let again = Block::new(builder.finish().to_vec()).expect("it was just built");
    assert!(self::rows(&again) == rows, "built again, it is another");
}

pub(super) fn rows(block: &Block) -> Rows {
    let (mut rows, mut window) = (Rows::new(), Window::default());
    for restart in 0..block.restarts() {
        block.window(restart, &mut window);
        assert!(!window.is_empty());
        rows.extend((0..window.len()).map(|index| {
            let entry = window.entry(index, block).expect("below the length");
            (entry.key.to_vec(), entry.seq, entry.kind, entry.value.to_vec())
        }));
    }
    rows
}

/// The same where the body lies inside a larger read.
fn in_a_read(body: &[u8], expected: &Rows) {
    const BEFORE: usize = 7;
    let mut buf = IoBuf::new();
    buf.extend_from_slice(&[0xa5; BEFORE]);
    buf.extend_from_slice(body);
    buf.extend_from_slice(&[0x5a; 9]);
    let block = Block::from_read(buf, BEFORE..BEFORE + body.len());
    let block = block.expect("the body was taken");
    assert!(rows(&block) == *expected, "it depends on where the body lies");
}
