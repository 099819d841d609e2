//! The state's rules, numbers, names, and a manifest's life without accidents.

use std::path::Path;
use std::rc::Rc;

use super::super::edit::{CleanStop, TableMeta, VersionEdit, WalMeta};
use super::super::{FileName, Manifest, Numbers, State, exists};
use super::{DIR, ID, edits, show, states, table};
use crate::env::sim::Sim;
use crate::env::{Env, Queue};
use crate::error::Error;
use crate::expiry::Expiring;
use crate::key::{Identity, SeqNo};

#[test]
fn edits_that_cannot_be_are_refused_and_change_nothing() {
    let mut state = State { numbers_reserved: 100, ..State::default() };
    let wal_added = vec![WalMeta { number: 5, bytes: 8192 }];
    let added = vec![(1, table(6, "c", "f"))];
    let base = VersionEdit { wal_added, added, flushed_seq: Some(7), ..VersionEdit::default() };
    state.apply(&base).unwrap();
    let before = show(&state);
    let none = VersionEdit::default;
    let segment =
        |number, bytes| VersionEdit { wal_added: vec![WalMeta { number, bytes }], ..none() };
    let stop = |segment, end| {
        let clean_stop = Some(CleanStop { segment, end, last_seq: 7 });
        VersionEdit { clean_stop, ..none() }
    };
    let wrong = [
        ("overlap", VersionEdit { added: vec![(1, table(7, "e", "g"))], ..none() }),
        ("absent", VersionEdit { removed: vec![(1, 7)], ..none() }),
        ("level", VersionEdit { added: vec![(7, table(7, "x", "y"))], ..none() }),
        ("reserved", VersionEdit { added: vec![(1, table(100, "x", "y"))], ..none() }),
        ("numbers down", VersionEdit { numbers_reserved: Some(99), ..none() }),
        ("too many numbers", VersionEdit { numbers_reserved: Some(u64::MAX), ..none() }),
        ("flushed down", VersionEdit { flushed_seq: Some(6), ..none() }),
        ("segment order", segment(5, 8192)),
        ("segment number", segment(100, 8192)),
        ("segment size", segment(8, 4096)),
        ("segment alignment", segment(8, 8193)),
        ("clean stop elsewhere", stop(6, 8192)),
        ("clean stop behind", stop(5, 12288)),
        ("clean stop before", stop(5, 0)),
    ];
    for (what, edit) in wrong {
        assert!(state.apply(&edit).is_err(), "{what}");
        assert_eq!(show(&state), before, "{what}");
    }
}

#[test]
fn a_clean_stop_is_gone_with_the_next_edit() {
    let mut state = State::default();
    let clean_stop = Some(CleanStop { segment: 0, end: 0, last_seq: 0 });
    state.apply(&VersionEdit { clean_stop, ..VersionEdit::default() }).unwrap();
    assert_eq!(state.clean_stop, clean_stop);
    state.apply(&VersionEdit::default()).unwrap();
    assert_eq!(state.clean_stop, None);
}

#[test]
fn names_are_ours_in_one_form_only() {
    for (name, parsed) in [
        ("000007.sst", Some(FileName::Table(7))),
        ("000123.wal", Some(FileName::Segment(123))),
        ("1234567.wal", Some(FileName::Segment(1_234_567))),
        ("manifest-000001", Some(FileName::Manifest(1))),
        ("CURRENT", Some(FileName::Current)),
        ("CURRENT.tmp", Some(FileName::CurrentTmp)),
        ("7.sst", None),
        ("0000007.sst", None),
        ("+00007.sst", None),
        ("manifest-1", None),
        ("18446744073709551615.wal", None),
        ("LOCK", None),
        ("", None),
    ] {
        assert_eq!(FileName::parse(name), parsed, "{name}");
    }
}

#[test]
fn each_state_is_read_back_and_goes_on_in_a_new_manifest() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        assert!(!exists(&env, dir).await.unwrap());
        let mut manifest = Manifest::create(&env, dir, ID).await.unwrap();
        assert!(exists(&env, dir).await.unwrap());
        let states = states();
        for (index, edit) in edits().iter().enumerate() {
            manifest.append(edit).await.unwrap();
            assert_eq!(show(&manifest.state()), states[index + 1]);
            let before = env.files();
            let loaded = Manifest::read(&env, dir, ID).await.unwrap();
            assert_eq!(env.files(), before);
            assert_eq!(show(&loaded.state), states[index + 1]);
            assert_eq!(loaded.state.numbers_reserved, manifest.state().numbers_reserved);
            if index % 2 == 1 {
                manifest.close().await.unwrap();
                let closed = manifest.append(edit).await.unwrap_err();
                assert!(matches!(closed, Error::Closing));
                manifest = Manifest::start(&env, dir, ID, loaded).await.unwrap();
                assert_eq!(show(&manifest.state()), states[index + 1]);
            }
        }
        manifest.close().await.unwrap();
        // CURRENT and one manifest.
        assert_eq!(env.files().len(), 2);
        let other = Identity { directory: 9, ..ID };
        let error = Manifest::read(&env, dir, other).await.unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    });
    assert_eq!(sim.dropped_open(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_large_state_becomes_a_snapshot_of_several_parts() {
    let sim = Sim::new(2);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        let manifest = Manifest::create(&env, dir, ID).await.unwrap();
        let mut added = Vec::new();
        for number in 10..200 {
            let smallest = format!("{number:06}{}", "s".repeat(5000));
            added.push((2, table(number, &smallest, &format!("{smallest}~"))));
        }
        let clean_stop = Some(CleanStop { segment: 0, end: 0, last_seq: 3 });
        let numbers_reserved = Some(200);
        let edit = VersionEdit { added, numbers_reserved, clean_stop, ..VersionEdit::default() };
        manifest.append(&edit).await.unwrap();
        let shown = show(&manifest.state());
        manifest.close().await.unwrap();
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        let manifest = Manifest::start(&env, dir, ID, loaded).await.unwrap();
        manifest.close().await.unwrap();
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        assert!(loaded.frames > 5, "{}", loaded.frames);
        assert_eq!(show(&loaded.state), shown);
    });
}

#[test]
fn a_directory_with_a_shard_in_it_is_not_created_again() {
    let sim = Sim::new(3);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        Manifest::create(&env, dir, ID).await.unwrap().close().await.unwrap();
        assert!(Manifest::create(&env, dir, ID).await.is_err());
        // CURRENT lost, a segment there: an empty shard in its place would remove it as an orphan.
        env.remove(Path::new("/CURRENT")).await.unwrap();
        env.write_raw("/000007.wal", &[0; 8192]);
        assert!(Manifest::create(&env, dir, ID).await.is_err());
        env.remove(Path::new("/000007.wal")).await.unwrap();
        Manifest::create(&env, dir, ID).await.unwrap().close().await.unwrap();
    });
}

#[test]
fn numbers_are_given_once_across_callers_starts_and_new_manifests() {
    let sim = Sim::new(4);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        let mut manifest = Rc::new(Manifest::create(&env, dir, ID).await.unwrap());
        let given = Rc::new(std::cell::RefCell::new(Vec::new()));
        for _ in 0..3 {
            let numbers = Rc::new(Numbers::new());
            let done = Rc::new(std::cell::Cell::new(0));
            for _ in 0..4 {
                let (numbers, manifest, given) = (numbers.clone(), manifest.clone(), given.clone());
                let done = done.clone();
                env.spawn(Queue::Compaction, async move {
                    for _ in 0..40 {
                        // Every append becomes a new manifest, which takes a number too.
                        manifest.rollover_bytes.set(0);
                        let number = numbers.next(&manifest).await.unwrap();
                        given.borrow_mut().push(number);
                    }
                    done.set(done.get() + 1);
                });
            }
            while done.get() < 4 {
                env.pause().await;
            }
            manifest.close().await.unwrap();
            let loaded = Manifest::read(&env, dir, ID).await.unwrap();
            let last = *given.borrow().iter().max().unwrap();
            assert!(loaded.state.numbers_reserved > last);
            given.borrow_mut().push(loaded.number);
            manifest = Rc::new(Manifest::start(&env, dir, ID, loaded).await.unwrap());
        }
        let mut given = given.take();
        let count = given.len();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), count);
        manifest.close().await.unwrap();
    });
}

#[test]
fn a_long_manifest_is_replaced_by_a_short_one() {
    let sim = Sim::new(5).fifo();
    sim.run(async |env| {
        let dir = Path::new(DIR);
        let manifest = Manifest::create(&env, dir, ID).await.unwrap();
        for seq in 1..=1100 {
            let edit = VersionEdit { flushed_seq: Some(seq), ..VersionEdit::default() };
            manifest.append(&edit).await.unwrap();
        }
        manifest.close().await.unwrap();
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        assert_eq!(loaded.state.flushed_seq, SeqNo(1100));
        assert!(loaded.number > 1 && loaded.frames < 200, "{} {}", loaded.number, loaded.frames);
        assert_eq!(env.files().len(), 2);
    });
}

/// A full disk refuses an edit without a doubt about what is on disk, and the same file goes on when there is space.
#[test]
fn an_edit_that_has_no_space_is_not_written_and_may_be_tried_again() {
    let sim = Sim::new(8);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        let manifest = Manifest::create(&env, dir, ID).await.unwrap();
        let edit = |seq| VersionEdit { flushed_seq: Some(seq), ..VersionEdit::default() };
        env.set_free_bytes(0);
        let mut seq = 1;
        let error = loop {
            match manifest.append(&edit(seq)).await {
                Ok(()) => seq += 1,
                Err(error) => break error,
            }
        };
        assert!(error.is_no_space() && manifest.failure().is_none(), "{error}");
        assert!(manifest.append(&edit(seq)).await.is_err());
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        assert_eq!(loaded.state.flushed_seq, SeqNo(seq - 1));
        env.set_free_bytes(1 << 20);
        for seq in seq..seq + 40 {
            manifest.append(&edit(seq)).await.unwrap();
        }
        manifest.close().await.unwrap();
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        assert_eq!(loaded.state.flushed_seq, SeqNo(seq + 39));
        assert_eq!(loaded.number, 1, "the same file");
    });
}

/// Appends of many tasks: each is durable when it returns, none is lost.
#[test]
fn callers_come_one_at_a_time() {
    let sim = Sim::new(6);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        let manifest = Rc::new(Manifest::create(&env, dir, ID).await.unwrap());
        let numbers_reserved = Some(1000);
        let edit = VersionEdit { numbers_reserved, ..VersionEdit::default() };
        manifest.append(&edit).await.unwrap();
        let done = Rc::new(std::cell::Cell::new(0));
        for task in 0..5 {
            let (manifest, done) = (manifest.clone(), done.clone());
            env.spawn(Queue::Flush, async move {
                for index in 0..10 {
                    let number = 10 + task * 10 + index;
                    let added = vec![(0, table(number, "a", "b"))];
                    manifest
                        .append(&VersionEdit { added, ..VersionEdit::default() })
                        .await
                        .unwrap();
                }
                done.set(done.get() + 1);
            });
        }
        while done.get() < 5 {
            env.pause().await;
        }
        manifest.close().await.unwrap();
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        assert_eq!(loaded.state.version.levels[0].len(), 50);
    });
}

#[test]
fn times_that_no_table_can_have_are_refused() {
    let with = |entries, first_ms, last_ms| {
        let expiring = Expiring { entries, first_ms, last_ms };
        let edit = VersionEdit {
            added: vec![(0, TableMeta { expiring, ..table(1, "a", "b") })],
            numbers_reserved: Some(10),
            ..VersionEdit::default()
        };
        State::default().apply(&edit)
    };
    // Ten entries, one of them a tombstone.
    assert_eq!(with(9, 1, 1), Ok(()));
    for (entries, first_ms, last_ms) in
        [(10, 1, 1), (9, 2, 1), (9, 0, 1), (0, 1, 1), (u64::MAX, 1, 2)]
    {
        assert!(with(entries, first_ms, last_ms).unwrap_err().contains("impossible times"));
    }
}
