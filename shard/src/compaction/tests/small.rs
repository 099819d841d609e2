//! Pace, and where outputs are cut.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::super::job::Cuts;
use super::super::pace::{Abort, Pace};
use super::super::plan::{Plan, Reason};
use crate::env::sim::Sim;
use crate::env::{Env, Queue};
use crate::error::Error;
use crate::expiry::Expiring;
use crate::limits::BACKGROUND_SLICE_US;
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::version::Version;

#[test]
fn others_run_once_a_slice_is_used_up_and_not_before() {
    Sim::new(1).fifo().run(async |env| {
        let turns = Rc::new(Cell::new(0_u64));
        let (counted, other) = (Rc::clone(&turns), env.clone());
        env.spawn(Queue::Compaction, async move {
            for _ in 0..10_000 {
                counted.set(counted.get() + 1);
                other.pause().await;
            }
        });
        let abort = Abort::default();
        let pace = Pace::new(&env, Rc::clone(&abort));
        let before = turns.get();
        pace.look().await.unwrap();
        assert_eq!(turns.get(), before, "the slice has just begun");
        env.sleep(Duration::from_micros(BACKGROUND_SLICE_US)).await;
        for bytes in [1_u64 << 20, 0] {
            let before = turns.get();
            pace.after(bytes).await.unwrap();
            let paused = turns.get() > before;
            assert_eq!(
                paused,
                bytes > 0,
                "a large entry is worth a look at the clock, the next slice has just begun"
            );
        }
        env.sleep(Duration::from_micros(BACKGROUND_SLICE_US)).await;
        let before = turns.get();
        for _ in 0..30 {
            pace.after(100).await.unwrap();
        }
        assert_eq!(turns.get(), before, "the clock is not read for each small entry");
        pace.after(100).await.unwrap();
        assert!(turns.get() > before);
        abort.set(true);
        assert!(matches!(pace.look().await, Err(Error::Closing)));
    });
}

/// Feeds the keys a, b, c .. of `bytes` each into outputs of 100 bytes above tables of L2 with the given ranges and
/// sizes; answers the outputs, one word each.
fn cut(target: u8, limit_overlap: bool, bytes: u64, below: &[(&str, &str, u64)]) -> String {
    let mut version: Version<()> = Version::default();
    for (number, &(smallest, largest, bytes)) in below.iter().enumerate() {
        let meta = TableMeta {
            number: number as u64,
            bytes,
            crc: 0,
            entries: 1,
            tombstones: 0,
            expiring: Expiring::default(),
            raw_bytes: 0,
            smallest: smallest.into(),
            largest: largest.into(),
            seq_min: 1,
            seq_max: 1,
        };
        let edit = VersionEdit { added: vec![(2, meta)], ..VersionEdit::default() };
        version = version.apply(&edit, vec![()]).unwrap();
    }
    let plan = Plan {
        level: 0,
        target,
        inputs: Vec::new(),
        trivial: false,
        drop: false,
        reason: Reason::LevelFull,
        smallest: b"a".to_vec(),
        largest: b"z".to_vec(),
        limit_overlap,
    };
    let mut cuts = Cuts::new(&version, &plan, 100);
    let (mut outputs, mut written) = (String::new(), 0);
    for key in 'a'..='p' {
        if cuts.before(key.to_string().as_bytes(), written) {
            outputs.push(' ');
            written = 0;
        }
        outputs.push(key);
        written += bytes;
    }
    outputs
}

#[test]
fn outputs_end_when_full_at_borders_below_and_over_too_much() {
    assert_eq!(cut(1, true, 25, &[]), "abcd efgh ijkl mnop");
    assert_eq!(cut(1, true, 40, &[]), "abc def ghi jkl mno p");
    // Nearly full (75 of 100) at the border behind c; half full at the one behind e is not enough.
    assert_eq!(cut(1, true, 25, &[("a", "c", 1), ("d", "e", 1)]), "abc defg hijk lmno p");
    // Ten tables' worth below is allowed, what goes beyond ends the output, however small it is.
    let heavy = [("a", "a", 600), ("b", "b", 400), ("c", "c", 1), ("d", "d", 999), ("e", "f", 2)];
    assert_eq!(cut(1, true, 1, &heavy), "abc def ghijklmnop");
    // What lies before the first key of an output does not count for it.
    let heavy = [("A", "B", 5_000), ("a", "b", 1_000), ("c", "c", 1_000), ("x", "z", 5_000)];
    assert_eq!(cut(1, true, 1, &heavy), "abc defghijklmnop");
    // Size-tiered, and within L0.
    assert_eq!(cut(1, false, 25, &heavy), "abcd efgh ijkl mnop");
    assert_eq!(cut(0, false, 25, &heavy), "abcdefghijklmnop");
}
