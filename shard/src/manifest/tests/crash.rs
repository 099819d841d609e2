//! T1, T2: a manifest that is created, appended to and replaced, stopped or failing at every operation. What is read is
//! the state before the edit in flight, or after it.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use super::super::{FileName, Manifest, Numbers, exists};
use super::{DIR, ID, edits, show, states};
use crate::env::sim::{Crash, Fault, Kind, Sim, SimEnv};
use crate::error::{Error, Result};

/// Edits acknowledged, edits begun, and the last number given.
#[derive(Debug, Clone, Default)]
struct Progress {
    created: Rc<Cell<bool>>,
    acked: Rc<Cell<usize>>,
    begun: Rc<Cell<usize>>,
    number: Rc<Cell<u64>>,
}

/// Creates or starts, then appends what is still to come. With `roll`, each second edit needs a new manifest.
async fn live(env: &SimEnv, progress: &Progress, roll: bool) -> Result<()> {
    let dir = Path::new(DIR);
    let manifest = if exists(env, dir).await? {
        let loaded = check(env, progress).await?;
        Manifest::start(env, dir, ID, loaded).await?
    } else {
        assert!(!progress.created.get(), "CURRENT is gone");
        Manifest::create(env, dir, ID).await?
    };
    progress.created.set(true);
    let numbers = Numbers::new();
    let states = states();
    let at = |manifest: &Manifest<SimEnv>| {
        let shown = show(&manifest.state());
        states.iter().position(|state| *state == shown).expect("a state that was")
    };
    let from = at(&manifest);
    progress.acked.set(from);
    progress.begun.set(from);
    for (index, edit) in edits().iter().enumerate().skip(from) {
        let mut edit = edit.clone();
        if edit.numbers_reserved.is_some() {
            edit.numbers_reserved = Some(manifest.state().numbers_reserved.max(500));
        }
        if roll && index % 2 == 0 {
            manifest.rollover_bytes.set(0);
        }
        progress.begun.set(index + 1);
        if let Err(error) = manifest.append(&edit).await {
            // The state in memory is as it was. For want of space that is all: there may be some the next time.
            assert_eq!(at(&manifest), index);
            if manifest.failure().is_none() {
                assert!(error.is_no_space(), "{error}");
                manifest.append(&edit).await?;
                progress.acked.set(index + 1);
                continue;
            }
            // Else it is final: the same answer from now on.
            let again = manifest.append(&edit).await.unwrap_err();
            assert_eq!(again.to_string(), error.to_string());
            assert!(Numbers::new().next(&manifest).await.is_err());
            return Err(error);
        }
        progress.acked.set(index + 1);
        if index == 2 {
            let number = numbers.next(&manifest).await?;
            assert!(number > progress.number.get(), "a number was given twice");
            progress.number.set(number);
        }
    }
    manifest.close().await
}

async fn check(env: &SimEnv, progress: &Progress) -> Result<super::super::Loaded> {
    let loaded = Manifest::read(env, Path::new(DIR), ID).await?;
    let shown = show(&loaded.state);
    let found = states().iter().position(|state| *state == shown).expect("a state that was");
    assert!(found >= progress.acked.get(), "{found} of {progress:?}");
    assert!(found <= progress.begun.get(), "{found} of {progress:?}");
    assert!(loaded.state.numbers_reserved > progress.number.get());
    Ok(loaded)
}

fn manifests(env: &SimEnv) -> usize {
    let names = env.files();
    let names = names.iter().filter_map(|(path, _)| path.file_name()?.to_str());
    names.filter(|name| matches!(FileName::parse(name), Some(FileName::Manifest(_)))).count()
}

fn every_crash(roll: bool) {
    let mut states_seen = 0;
    for operation in 1.. {
        let mut ended = false;
        for kind in [Crash::SyncedOnly, Crash::Everything, Crash::Random] {
            for seed in 0..6 {
                let progress = Progress::default();
                let sim = Sim::new(seed);
                sim.crash_at(operation);
                ended |=
                    sim.try_run(async |env| live(&env, &progress, roll).await.unwrap()).is_some();
                // And again while it starts.
                // Another crash for each operation, not the same dice each time.
                let sim = sim.crash(kind, operation * 100 + seed);
                sim.crash_at(1 + (operation * 5 + seed * 11) % 40);
                let _stopped = sim.try_run(async |env| live(&env, &progress, roll).await.unwrap());
                let sim = sim.crash(kind, operation * 100 + seed + 50);
                sim.run(async |env| live(&env, &progress, roll).await.unwrap());
                assert_eq!(progress.acked.get(), edits().len());
                assert_eq!(manifests(&sim), 1);
                states_seen += 1;
            }
        }
        if ended {
            break;
        }
    }
    assert!(states_seen > 500, "{states_seen}");
}

#[test]
fn crash_after_every_operation() {
    every_crash(false);
}

#[test]
fn crash_after_every_operation_of_new_manifests() {
    every_crash(true);
}

#[test]
fn every_operation_fails_once_or_for_ever() {
    let faults = [
        Fault::eio(),
        Fault::eio().forever(),
        Fault::enospc(),
        Fault::enospc().forever(),
        Fault::short(),
        Fault::eintr().kind(Kind::Write),
        Fault::eio().kind(Kind::Write),
        Fault::eio().kind(Kind::Sync),
        Fault::eio().kind(Kind::Rename),
        Fault::eio().kind(Kind::SyncDir).forever(),
    ];
    for roll in [false, true] {
        for fault in &faults {
            for number in 1.. {
                let sim = Sim::new(number);
                let progress = Progress::default();
                let handle = sim.faults().add(fault.clone().at(number));
                let lived = sim.run(async |env| live(&env, &progress, roll).await);
                if handle.hits() == 0 {
                    lived.unwrap();
                    break;
                }
                if let Err(error) = lived {
                    assert!(matches!(error, Error::Io { .. }), "{error}");
                }
                sim.faults().clear();
                let crashes =
                    [Crash::SyncedOnly, Crash::Random].map(|kind| sim.crash(kind, number));
                for sim in crashes.into_iter().chain([sim]) {
                    let progress = progress.clone_cells();
                    sim.run(async |env| live(&env, &progress, roll).await.unwrap());
                    assert_eq!(manifests(&sim), 1);
                }
            }
        }
    }
}

impl Progress {
    /// Cells of its own, with the same values.
    fn clone_cells(&self) -> Self {
        Self {
            created: Rc::new(Cell::new(self.created.get())),
            acked: Rc::new(Cell::new(self.acked.get())),
            begun: Rc::new(Cell::new(self.begun.get())),
            number: Rc::new(Cell::new(self.number.get())),
        }
    }
}

/// R24: one failure of an edit is survived by a whole new manifest, and the edit is durable.
#[test]
fn a_failed_edit_is_settled_by_a_new_manifest() {
    for kind in [Kind::Write, Kind::Sync] {
        let sim = Sim::new(1);
        sim.run(async |env| {
            let dir = Path::new(DIR);
            let manifest = Manifest::create(&env, dir, ID).await.unwrap();
            manifest.append(&edits()[0]).await.unwrap();
            let fault = env.faults().add(Fault::eio().kind(kind).path("manifest-"));
            manifest.append(&edits()[1]).await.unwrap();
            assert_eq!(fault.hits(), 1);
            manifest.append(&edits()[2]).await.unwrap();
        });
        let after = sim.crash(Crash::SyncedOnly, 1);
        after.run(async |env| {
            let loaded = Manifest::read(&env, Path::new(DIR), ID).await.unwrap();
            assert_eq!(show(&loaded.state), states()[3]);
            assert_ne!(loaded.number, 1);
        });
    }
}

/// A full disk must not stop a manifest that is only long.
#[test]
fn a_long_manifest_goes_on_where_a_new_one_has_no_room() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        let dir = Path::new(DIR);
        let manifest = Manifest::create(&env, dir, ID).await.unwrap();
        manifest.append(&edits()[0]).await.unwrap();
        manifest.rollover_bytes.set(0);
        let fault = env.faults().add(Fault::enospc().kind(Kind::Write).path("manifest-000500"));
        manifest.append(&edits()[1]).await.unwrap();
        assert_eq!(fault.hits(), 1);
        assert_eq!(manifests(&env), 1);
        // The number of the one that failed is not given again.
        assert_eq!(Numbers::new().next(&manifest).await.unwrap(), 501);
        manifest.rollover_bytes.set(0);
        manifest.append(&edits()[2]).await.unwrap();
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        assert_eq!((loaded.number, show(&loaded.state)), (565, states()[3].clone()));
    });
}
