//! Model: a map of (key, newest first) to (kind, value). Arrays have 16 to 256 entries here, see `run.rs`.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "dropped on another thread; the strategies of proptest share by Arc"
)]

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::run::TAIL_ENTRIES_MAX;
use super::*;
use crate::cursor::{Cursor, Step};
use crate::key::Entry;

type Model = BTreeMap<(Vec<u8>, Reverse<u64>), (Kind, Vec<u8>)>;

#[derive(Debug, Clone)]
enum Action {
    Put {
        key: usize,
        value: usize,
    },
    Delete {
        key: usize,
    },
    /// `back` counts versions of the whole table from the newest.
    Get {
        key: usize,
        back: u64,
    },
    Seek {
        cursor: usize,
        key: Option<usize>,
    },
    Step {
        cursor: usize,
        count: usize,
    },
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let byte = || prop::sample::select(vec![0_u8, 1, b'a', 0xff]);
    prop_oneof![
        6 => prop::collection::vec(byte(), 0..4),
        6 => prop::collection::vec(byte(), 0..3).prop_map(|tail| [b"sixteen-bytes-xx", &tail[..]].concat()),
        3 => prop::collection::vec(byte(), 14..19),
        1 => (byte(), KEY_BYTES_MAX - 1..=KEY_BYTES_MAX).prop_map(|(last, len)| {
            let mut key = vec![b'a'; len];
            key[len - 1] = last;
            key
        }),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    let key = || 0_usize..1000;
    let value = prop_oneof![20 => 0_usize..200, 1 => Just(140 << 10)];
    prop_oneof![
        12 => (key(), value).prop_map(|(key, value)| Action::Put { key, value }),
        3 => key().prop_map(|key| Action::Delete { key }),
        3 => (key(), 0_u64..300).prop_map(|(key, back)| Action::Get { key, back }),
        1 => (0_usize..4, prop::option::weighted(0.8, key()))
            .prop_map(|(cursor, key)| Action::Seek { cursor, key }),
        3 => (0_usize..4, 1_usize..40).prop_map(|(cursor, count)| Action::Step { cursor, count }),
    ]
}

/// A cursor, and where the model says that it stands. Even ones go forward.
struct Walker {
    cursor: MemCursor,
    direction: Direction,
    pin: u64,
    expected: Option<(Vec<u8>, Reverse<u64>)>,
}

impl Walker {
    fn new(table: &Rc<MemTable>, number: usize) -> Self {
        let direction =
            if number.is_multiple_of(2) { Direction::Forward } else { Direction::Backward };
        Self {
            cursor: MemCursor::new(Rc::clone(table), direction),
            direction,
            pin: 0,
            expected: None,
        }
    }

    fn seek(&mut self, model: &Model, pin: u64, key: Option<&[u8]>) {
        self.pin = pin;
        assert_eq!(self.cursor.seek(key), Step::Ready);
        let mut visible = model.keys().filter(|(_, seq)| seq.0 <= pin);
        self.expected = match (self.direction, key) {
            (Direction::Forward, None) => visible.next(),
            (Direction::Forward, Some(key)) => visible.find(|(other, _)| &other[..] >= key),
            (Direction::Backward, None) => visible.next_back(),
            (Direction::Backward, Some(key)) => visible.rfind(|(other, _)| &other[..] < key),
        }
        .cloned();
        self.check(model);
    }

    fn step(&mut self, model: &Model) {
        let Some(here) = self.expected.take() else { return };
        assert_eq!(self.cursor.step(), Step::Ready);
        let visible = |entry: &&(Vec<u8>, Reverse<u64>)| entry.1.0 <= self.pin;
        self.expected = match self.direction {
            Direction::Forward => model
                .range(here.clone()..)
                .map(|(key, _)| key)
                .filter(visible)
                .find(|key| **key != here),
            Direction::Backward => model.range(..here).map(|(key, _)| key).rfind(visible),
        }
        .cloned();
        self.check(model);
    }

    /// Entries newer than the pin may be met or not.
    fn check(&mut self, model: &Model) {
        while self.cursor.entry().is_some_and(|entry| entry.seq.0 > self.pin) {
            assert_eq!(self.cursor.step(), Step::Ready);
        }
        let expected = self.expected.as_ref().map(|at| (at, &model[at]));
        let expected = expected.map(|((key, seq), (kind, value))| Entry {
            key,
            seq: SeqNo(seq.0),
            kind: *kind,
            value,
        });
        assert_eq!(self.cursor.entry(), expected);
    }
}

fn model_get(model: &Model, key: &[u8], at: u64) -> Option<(u64, Kind, Vec<u8>)> {
    let (found, (kind, value)) = model.range((key.to_vec(), Reverse(at))..).next()?;
    (found.0 == key).then(|| (found.1.0, *kind, value.clone()))
}

fn run(keys: &[Vec<u8>], actions: &[Action]) {
    let table = Rc::new(MemTable::new(7));
    let mut model = Model::new();
    let mut seq = 0_u64;
    let mut walkers: Vec<_> = (0..4).map(|number| Walker::new(&table, number)).collect();
    let pick = |number: usize| &keys[number % keys.len()][..];
    for action in actions {
        match *action {
            Action::Put { key, value } => {
                seq += 1 + value as u64 % 2;
                let value = vec![seq.to_le_bytes()[0]; value];
                table.insert(
                    SeqNo(seq),
                    Op::Put { key: pick(key), value: &value, expires_at_ms: 0 },
                );
                model.insert((pick(key).to_vec(), Reverse(seq)), (Kind::Put, value));
            }
            Action::Delete { key } => {
                seq += 1;
                table.insert(SeqNo(seq), Op::Delete { key: pick(key) });
                model.insert((pick(key).to_vec(), Reverse(seq)), (Kind::Delete, Vec::new()));
            }
            Action::Get { key, back } => {
                let (key, at) = (pick(key), seq.saturating_sub(back));
                let got = table.get(key::hash(key), key, SeqNo(at));
                let got = got.map(|entry| (entry.seq.0, entry.kind, entry.value.to_vec()));
                assert_eq!(got, model_get(&model, key, at));
            }
            Action::Seek { cursor, key } => walkers[cursor].seek(&model, seq, key.map(pick)),
            Action::Step { cursor, count } => (0..count).for_each(|_| walkers[cursor].step(&model)),
        }
    }
    assert_eq!((table.entries(), table.last_seq().0), (model.len(), seq));
    table.seal();
    for walker in &mut walkers {
        walker.seek(&model, seq, None);
        while walker.expected.is_some() {
            walker.step(&model);
        }
    }
}

/// `PROPTEST_CASES` can lower it, for valgrind.
fn cases() -> u32 {
    ProptestConfig::default().cases.min(128)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { cases() }))]

    #[test]
    fn behaves_as_a_sorted_map_of_versions(
        keys in prop::collection::vec(any_key(), 1..40),
        actions in prop::collection::vec(any_action(), 1..if cfg!(miri) { 150 } else { 700 }),
    ) {
        run(&keys, &actions);
    }
}

fn put(table: &MemTable, seq: u64, key: &[u8]) {
    table.insert(SeqNo(seq), Op::Put { key, value: &seq.to_le_bytes(), expires_at_ms: 0 });
}

fn newest(table: &MemTable, key: &[u8]) -> Option<u64> {
    table.get_newest(key::hash(key), key).map(|entry| entry.seq.0)
}

#[test]
fn keys_that_differ_only_in_zero_bytes_are_different_and_ordered() {
    let table = Rc::new(MemTable::new(0));
    let long = [0_u8; 40];
    let mut keys: Vec<&[u8]> = (0..=40).map(|len| &long[..len]).collect();
    keys.extend([&b"a"[..], b"a\0", b"a\0\0", b"a\0\0b", b"aa"]);
    for (index, key) in keys.iter().enumerate() {
        put(&table, 1 + index as u64, key);
    }
    let mut cursor = MemCursor::new(Rc::clone(&table), Direction::Forward);
    assert_eq!(cursor.seek(None), Step::Ready);
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(newest(&table, key), Some(1 + index as u64));
        assert_eq!(cursor.entry().map(|entry| entry.key), Some(*key));
        assert_eq!(cursor.step(), Step::Ready);
    }
    assert_eq!(cursor.entry(), None);
}

#[test]
fn every_version_of_a_hot_key_is_found_at_its_number() {
    let table = MemTable::new(0);
    let versions = 20 * TAIL_ENTRIES_MAX as u64;
    for seq in 1..=versions {
        put(&table, 2 * seq, if seq % 3 == 0 { b"other" } else { b"hot" });
    }
    for at in 0..=2 * versions + 1 {
        let expected = (1..=at / 2).rev().find(|seq| seq % 3 != 0).map(|seq| 2 * seq);
        let got = table.get(key::hash(b"hot"), b"hot", SeqNo(at)).map(|entry| entry.seq.0);
        assert_eq!(got, expected, "at {at}");
    }
}

#[test]
fn keys_of_one_hash_are_all_found() {
    let arena = Arena::new();
    let mut index = Index::new(1);
    let keys: Vec<_> = (0..300_u64).map(u64::to_be_bytes).collect();
    for round in 0..2 {
        for (number, key) in (1_u64..).zip(&keys) {
            let op = Op::Put { key, value: b"", expires_at_ms: 0 };
            let seq = SeqNo(1000 * round + number);
            index.replace(42, key, |prev| {
                assert_eq!(prev.map(|prev| prev.seq().0), (round > 0).then_some(number));
                arena.push(prev, seq, op)
            });
        }
    }
    for (number, key) in (1_u64..).zip(&keys) {
        assert_eq!(index.find(42, key).map(|entry| entry.seq().0), Some(1000 + number));
        assert!(index.find(43, key).is_none());
    }
    assert!(index.find(42, b"absent").is_none());
    assert_eq!((index.keys(), index.in_tables()), (300, 8));
}

#[test]
fn a_cursor_outlives_every_other_handle_of_its_table() {
    let table = Rc::new(MemTable::new(0));
    (1..=1000).for_each(|seq| put(&table, seq, &(seq * 7919 % 1000).to_be_bytes()));
    let mut cursor = MemCursor::new(Rc::clone(&table), Direction::Backward);
    drop(table);
    assert_eq!(cursor.seek(None), Step::Ready);
    for expected in (0_u64..1000).rev() {
        assert_eq!(
            cursor.entry().map(|entry| entry.key.to_vec()),
            Some(expected.to_be_bytes().to_vec())
        );
        assert_eq!(cursor.step(), Step::Ready);
    }
    assert_eq!(cursor.entry(), None);
}

#[test]
fn bytes_follow_what_is_put_in() {
    let table = MemTable::new(0);
    assert_eq!((table.bytes(), table.is_empty()), (0, true));
    put(&table, 1, b"a");
    let one = table.bytes();
    assert!(one > 33 && one < 1000, "{one}");
    let big = vec![0; 3 << 20];
    table.insert(SeqNo(2), Op::Put { key: b"big", value: &big, expires_at_ms: 0 });
    assert!(table.bytes() - one >= big.len());
    put(&table, 3, b"b");
    assert!(
        table.bytes() < one + big.len() + 500,
        "a large value must not cost the rest of a chunk"
    );
    let before = table.bytes();
    (4..6).for_each(|seq| {
        table.insert(
            SeqNo(seq),
            Op::Put { key: b"large", value: &big[..900 << 10], expires_at_ms: 0 },
        );
    });
    assert!(table.bytes() < before + (1800 << 10) + 500, "nor what is left of one");
    let big = table.bytes() - one;
    (6..2000).for_each(|seq| put(&table, seq, &seq.to_be_bytes()));
    let per_entry = (table.bytes() - big) / 2000;
    assert!((60..200).contains(&per_entry), "{per_entry}");
}

#[test]
fn it_can_be_sent_and_dropped_elsewhere() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let table = MemTable::new(0);
    (1..=200).for_each(|seq| put(&table, seq, &seq.to_be_bytes()));
    let table = send(table);
    std::thread::spawn(move || drop(table)).join().expect("the drop does not panic");
}

#[test]
#[should_panic(expected = "seq > self.last_seq")]
fn a_sequence_number_out_of_order_is_a_bug() {
    let table = MemTable::new(0);
    put(&table, 2, b"a");
    put(&table, 2, b"b");
}

#[test]
#[should_panic(expected = "self.sealed")]
fn an_insert_after_the_seal_is_a_bug() {
    let table = MemTable::new(0);
    table.seal();
    put(&table, 1, b"a");
}
