//! What the tests of this room share: a life of edits, and the states that it goes through.

mod crash;
mod damage;
mod dump;
mod rules;

use std::fmt::Write as _;

use super::edit::{CleanStop, TableMeta, VersionEdit, WalMeta};
use super::state::State;
use crate::expiry::Expiring;
use crate::key::Identity;

pub(super) const ID: Identity =
    Identity { directory: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, shard: 3 };
pub(super) const DIR: &str = "/";

pub(super) fn table(number: u64, smallest: &str, largest: &str) -> TableMeta {
    TableMeta {
        number,
        bytes: 1000 + number,
        crc: 0x1234_5678,
        entries: 10,
        tombstones: 1,
        expiring: Expiring::default(),
        raw_bytes: 2000,
        smallest: smallest.into(),
        largest: largest.into(),
        seq_min: 1,
        seq_max: 10,
    }
}

/// Each with another `flushed_seq`, which tells the states apart.
pub(super) fn edits() -> Vec<VersionEdit> {
    let edit =
        |flushed_seq| VersionEdit { flushed_seq: Some(flushed_seq), ..VersionEdit::default() };
    let segment = |number| WalMeta { number, bytes: 1 << 20 };
    // Of more than one block, with bytes of a client in it.
    let long = "long".repeat(3000);
    vec![
        VersionEdit { numbers_reserved: Some(500), ..edit(1) },
        VersionEdit { wal_added: vec![segment(10), segment(11)], ..edit(2) },
        VersionEdit {
            added: vec![(0, table(12, "a", "m")), (0, table(13, "b", &long))],
            ..edit(3)
        },
        VersionEdit { wal_added: vec![segment(14)], wal_first_live: Some(11), ..edit(4) },
        VersionEdit {
            removed: vec![(0, 12), (0, 13)],
            added: vec![(1, table(15, "a", "f")), (1, table(16, "g", &long))],
            ..edit(5)
        },
        VersionEdit {
            clean_stop: Some(CleanStop { segment: 14, end: 8192, last_seq: 99 }),
            ..edit(6)
        },
    ]
}

/// Everything but the reserved numbers, which a new manifest raises.
pub(super) fn show(state: &State) -> String {
    let mut out = format!("flushed {}\n", state.flushed_seq.0);
    for (level, table) in state.version.tables() {
        let meta = &table.meta;
        let [smallest, largest] =
            [&meta.smallest, &meta.largest].map(|key| String::from_utf8_lossy(key));
        let rest =
            (meta.number, meta.bytes, meta.crc, meta.entries, meta.tombstones, meta.raw_bytes);
        let seqs = (meta.seq_min, meta.seq_max);
        writeln!(out, "L{level} {smallest}..{largest} {rest:?} {seqs:?}").unwrap();
    }
    for meta in &state.wal {
        writeln!(out, "{meta:?}").unwrap();
    }
    writeln!(out, "{:?}", state.clean_stop).unwrap();
    out
}

/// The texts of the states before the first edit and after each.
pub(super) fn states() -> Vec<String> {
    let mut state = State::default();
    let mut states = vec![show(&state)];
    for edit in edits() {
        state.apply(&edit).unwrap();
        states.push(show(&state));
    }
    states
}
