//! Checkpoints on the simulated disk: what they hold, what a crash at any operation leaves of shard and checkpoint, failures,
//! and shards that are restored from them.
//!
//! Strategy of the crashes: a shard whose flushes, merges and deletions happen all the time is written to while a checkpoint of
//! it is made under a temporary name, then renamed. At both ends of each operation of the disk the machine is cloned as a
//! crash would leave it. Watched: the shard holds its own oracle (`story`); the checkpoint is there whole or not at all, holds a
//! prefix with all that was acknowledged before the call, and once it was reported it stays.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::effort::{Dice, Effort, Place, say};
use super::story::{Bytes, Deal, Model, Story, Teller, contents, verify};
use super::{DIR, IDENTITY, key, open, tiny};
use crate::batch::Op;
use crate::check::{Event, check};
use crate::checkpoint::{self, Checkpoint, Transfer};
use crate::compaction;
use crate::env::sim::{Crash, Fault, Kind, Sim, SimEnv};
use crate::env::{Env, Queue};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::options::{Options, SyncPolicy};
use crate::recovery::inspect;
use crate::shard::Shard;

const KEYS: u32 = 24;
/// Where checkpoints lie, and the parts of this one.
const ROOT: &str = "/b";
const TMP: &str = "/b/.c.tmp";
const WHOLE: &str = "/b/c";
const SHARD: &str = "shard-003";

fn options() -> Options {
    let mut options = Options { memtable_bytes: 3 << 10, ..tiny(SyncPolicy::Always) };
    // What is written is what takes space.
    options.table.compression = false;
    options
}

async fn open_at(env: &SimEnv, dir: &Path) -> Shard<SimEnv> {
    match inspect(env, dir, IDENTITY, options()).await {
        Ok(inspected) => inspected.open(|_, _| {}).await.unwrap().0,
        Err(error) => panic!("looking at {}: {error}", dir.display()),
    }
}

/// As the server does it: under a temporary name, which is replaced when all is durable.
async fn make(env: &SimEnv, shard: &Shard<SimEnv>) -> Result<Checkpoint, Error> {
    let io = |error: std::io::Error| Error::io("making", Path::new(ROOT), &error);
    env.create_dir(Path::new(TMP)).await.map_err(io)?;
    let made = shard.checkpoint(&Path::new(TMP).join(SHARD)).await?;
    env.rename(Path::new(TMP), Path::new(WHOLE)).await.map_err(io)?;
    env.sync_dir(Path::new(ROOT)).await.map_err(io)?;
    Ok(made)
}

async fn make_root(env: &SimEnv) {
    env.create_dir(Path::new(ROOT)).await.unwrap();
    env.sync_dir(Path::new("/")).await.unwrap();
}

async fn put(shard: &Shard<SimEnv>, number: u32, value: &[u8]) {
    let op = Op::Put { key: &key(number), value, expires_at_ms: 0 };
    shard.put_all(&[op]).await.unwrap();
}

async fn fill(shard: &Shard<SimEnv>, round: u32) {
    for number in 0..200 {
        put(shard, number, format!("{round}-{number}").repeat(8).as_bytes()).await;
    }
    for number in (0..200).step_by(7) {
        shard.put_all(&[Op::Delete { key: &key(number) }]).await.unwrap();
    }
    let (soon, late) = (shard.env().wall_ms() + 1, shard.env().wall_ms() + 1_000_000_000);
    for (number, expires_at_ms) in [(3, soon), (4, late)] {
        let op = Op::Put { key: &key(number), value: b"ends", expires_at_ms };
        shard.put_all(&[op]).await.unwrap();
    }
    shard.env().sleep(Duration::from_millis(5)).await;
}

async fn assert_sound(env: &SimEnv, dir: &Path) {
    let mut tell = |event: Event| {
        assert!(!matches!(event, Event::Damage(_) | Event::Note(_)), "{event:?}");
    };
    let checked = check(env, dir, IDENTITY, &mut tell).await.unwrap();
    assert_eq!((checked.damages, checked.notes, checked.segments), (0, 0, 0));
}

#[test]
fn it_holds_what_was_there_whatever_becomes_of_the_shard() {
    let sim = Sim::new(7);
    sim.run(async |env| {
        make_root(&env).await;
        let shard = open(&env, options()).await;
        fill(&shard, 1).await;
        let before = contents(&shard).await;
        let dir = Path::new(ROOT).join(SHARD);
        let made = shard.checkpoint(&dir).await.unwrap();
        assert_eq!(made.last_seq, shard.last_seq().0);
        assert!(made.tables > 0 && made.bytes > 0);
        assert_eq!(checkpoint::read(&env, &dir, IDENTITY).await.unwrap(), made);
        assert_sound(&env, &dir).await;
        // All of its tables go from the shard.
        fill(&shard, 2).await;
        shard.compact_all().await.unwrap();
        shard.erase().await.unwrap();
        shard.close().await.unwrap();
        assert_sound(&env, &dir).await;
        // Where it is not wanted, and what is none.
        let shard = open(&env, options()).await;
        let again = shard.checkpoint(&dir).await.unwrap_err().to_string();
        assert!(again.contains("something in it already"), "{again}");
        let none = checkpoint::read(&env, Path::new(DIR), IDENTITY).await.unwrap_err().to_string();
        assert!(none.contains("no checkpoint"), "{none}");
        shard.close().await.unwrap();
        assert!(shard.checkpoint(Path::new("/b/late")).await.is_err());
        let copy = open_at(&env, &dir).await;
        assert!(contents(&copy).await == before);
        copy.close().await.unwrap();
        assert_eq!(env.open_files(), 0);
    });
}

#[test]
fn an_empty_shard_has_an_empty_one() {
    let sim = Sim::new(1);
    sim.run(async |env| {
        make_root(&env).await;
        let shard = open(&env, options()).await;
        let dir = Path::new(ROOT).join(SHARD);
        assert_eq!(shard.checkpoint(&dir).await.unwrap(), Checkpoint::default());
        shard.close().await.unwrap();
        let copy = open_at(&env, &dir).await;
        assert!(contents(&copy).await.is_empty());
        put(&copy, 1, b"it goes on").await;
        copy.close().await.unwrap();
    });
}

/// Tables that are merged away while their names are made stay until they have them.
#[test]
fn what_is_pinned_is_not_deleted() {
    let sim = Sim::new(3);
    sim.run(async |env| {
        make_root(&env).await;
        let shard = open(&env, options()).await;
        fill(&shard, 1).await;
        let before = contents(&shard).await;
        env.faults().add(Fault::slow(Duration::from_millis(300)).kind(Kind::Link).forever());
        let done = Rc::new(Cell::new(false));
        let (told, of, dir) = (Rc::clone(&done), shard.clone(), Path::new(ROOT).join(SHARD));
        let making = dir.clone();
        env.spawn(Queue::Flush, async move {
            let made = of.checkpoint(&making).await.unwrap();
            assert!(made.tables > 2, "{made:?}");
            told.set(true);
        });
        // The pin is there once the first name is.
        while env.list(&dir).await.map_or(true, |names| names.is_empty()) {
            env.sleep(Duration::from_millis(1)).await;
        }
        assert!(!done.get());
        shard.erase().await.unwrap();
        assert!(compaction::everything(&shard.view().version).is_none(), "no table is left");
        while !done.get() {
            env.sleep(Duration::from_millis(50)).await;
        }
        shard.close().await.unwrap();
        let copy = open_at(&env, &dir).await;
        assert!(contents(&copy).await == before);
        copy.close().await.unwrap();
    });
}

/// What was written, state by state; lives outside the machine.
#[derive(Default)]
struct History {
    states: RefCell<Vec<(u64, Model)>>,
    /// What was acknowledged when the checkpoint was asked for.
    asked: Cell<Option<u64>>,
    reported: Cell<bool>,
}

impl History {
    /// Whatever a crash has left of the checkpoint.
    async fn verify_checkpoint(&self, env: &SimEnv) {
        let names = env.list(Path::new(ROOT)).await.unwrap();
        let is_there = names.iter().any(|name| name == "c");
        assert!(is_there || !self.reported.get(), "it was reported, and is gone");
        for dir in [TMP, WHOLE].map(|dir| Path::new(dir).join(SHARD)) {
            let has_current =
                env.list(&dir).await.is_ok_and(|names| names.iter().any(|name| name == "CURRENT"));
            if !has_current {
                assert!(!dir.starts_with(WHOLE) || !is_there, "under its name, and not whole");
                continue;
            }
            assert_sound(env, &dir).await;
            let shard = open_at(env, &dir).await;
            let last_seq = shard.stats().last_seq;
            assert!(self.asked.get().is_some_and(|asked| asked <= last_seq), "all before the call");
            let found = contents(&shard).await;
            let is_prefix = {
                let states = self.states.borrow();
                let state = states.iter().find(|(seq, _)| *seq == last_seq);
                state.is_some_and(|(_, model)| *model == found)
            };
            assert!(is_prefix, "up to {last_seq}");
            shard.close().await.unwrap();
        }
    }
}

fn crash_everywhere(seed: u64, every: u64, clones: &Rc<Cell<u64>>) {
    let _place = Place(format!(
        "replay: SIM_SEED={seed} SIM_EVERY={every} cargo test -p shard --features sim --lib tests::checkpoint"
    ));
    let teller = Teller::new(Story::default());
    let history = Rc::new(History::default());
    let universe: Vec<Bytes> = (0..KEYS).map(|number| Bytes::from(key(number))).collect();
    let sim = Sim::new(seed);
    let moments = Cell::new(seed);
    let watch = {
        let (teller, history, clones) =
            (Rc::clone(&teller), Rc::clone(&history), Rc::clone(clones));
        move |env: &SimEnv, kind: Kind| {
            teller.look();
            let changes = !matches!(kind, Kind::Read | Kind::List | Kind::Len | Kind::Close);
            if history.asked.get().is_none() || !changes {
                return;
            }
            moments.set(moments.get() + 1);
            if !moments.get().is_multiple_of(every) {
                return;
            }
            let _place = Place(format!("at operation {} of the disk, {kind:?}", env.operations()));
            let kinds = [
                Crash::SyncedOnly,
                Crash::Random,
                Crash::Random,
                Crash::Everything,
                Crash::Process,
            ];
            let turn = usize::try_from(moments.get() / every % 5).unwrap();
            let (kind, seed) = (kinds[turn], moments.get());
            let _place = Place(format!("{kind:?} with seed {seed}"));
            let story = teller.story();
            let least = story.least(kind == Crash::Process);
            env.crash(kind, seed).run(async |env| {
                verify(&env, &options(), &story, least, &universe).await;
                history.verify_checkpoint(&env).await;
            });
            clones.set(clones.get() + 1);
        }
    };
    sim.watch(watch);
    let dice = Dice::new(seed);
    sim.run(async |env| {
        make_root(&env).await;
        let shard = teller.open(&env, &options()).await;
        let mut stamp = 0;
        let mut step = async || {
            stamp += 1;
            let deal = match dice.below(10) {
                0..3 => Deal::Delete,
                3 => Deal::Put(vec![b'l'; 4000].into(), false),
                _ => Deal::Put(format!("{stamp}").repeat(30).into_bytes().into(), false),
            };
            let of = key(u32::try_from(dice.below(KEYS.into())).unwrap());
            let seq = teller.write(&shard, vec![(of.into(), deal)]).await;
            history.states.borrow_mut().push((seq.0, teller.live()));
            shard.released(seq).await.unwrap();
        };
        for _ in 0..60 {
            step().await;
        }
        history.asked.set(Some(shard.released_seq().0));
        let (own, of, told) = (env.clone(), shard.clone(), Rc::clone(&history));
        env.spawn(Queue::Flush, async move {
            make(&own, &of).await.unwrap();
            told.reported.set(true);
        });
        while !history.reported.get() {
            step().await;
        }
        for _ in 0..5 {
            step().await;
        }
        teller.close(&shard).await;
    });
    sim.unwatch();
}

#[test]
fn a_crash_at_any_operation_leaves_the_shard_and_a_whole_checkpoint_or_none() {
    let effort = Effort::or(4, 0, 3);
    let clones = Rc::new(Cell::new(0));
    for seed in effort.seeds.clone() {
        crash_everywhere(seed, effort.every, &clones);
    }
    say(&format!(
        "seeds {:?}: {} crashes around a checkpoint: no violation",
        effort.seeds,
        clones.get()
    ));
}

/// Each operation on the new directory fails in turn: an error, and the shard goes on as if nothing had been asked.
#[test]
fn a_checkpoint_that_fails_leaves_the_shard_as_it_was() {
    let mut failures = 0;
    for (number, fault) in
        (1..200).flat_map(|number| [(number, Fault::eio()), (number, Fault::enospc())])
    {
        let sim = Sim::new(11);
        let done = sim.run(async |env| {
            make_root(&env).await;
            let shard = open(&env, options()).await;
            fill(&shard, 1).await;
            shard.flush().await.unwrap();
            let handle = env.faults().add(fault.path(ROOT).at(number));
            let made = make(&env, &shard).await;
            handle.off();
            let hit = handle.hits() > 0;
            // A close that fails has lost nothing.
            assert!(made.is_err() || !hit || number > 1, "no false success");
            assert!(shard.failure().is_none());
            put(&shard, 1, b"goes on").await;
            let other = Path::new(ROOT).join("other");
            shard.checkpoint(&other).await.unwrap();
            assert_sound(&env, &other).await;
            if made.is_ok() {
                assert_sound(&env, &Path::new(WHOLE).join(SHARD)).await;
            }
            shard.close().await.unwrap();
            !hit
        });
        failures += u32::from(!done);
        if done {
            break;
        }
    }
    assert!(failures > 20, "{failures}");
}

async fn checkpointed(env: &SimEnv) -> (PathBuf, Model) {
    make_root(env).await;
    let shard = open(env, options()).await;
    fill(&shard, 1).await;
    let before = contents(&shard).await;
    let dir = Path::new(ROOT).join(SHARD);
    shard.checkpoint(&dir).await.unwrap();
    fill(&shard, 2).await;
    shard.close().await.unwrap();
    (dir, before)
}

#[test]
fn a_restored_shard_holds_the_same_linked_or_copied() {
    let exdev = || Fault::error(libc::EXDEV).kind(Kind::Link).forever();
    for (how, fault, copies) in [
        (Transfer::Link, None, false),
        (Transfer::Copy, None, true),
        (Transfer::Link, Some(exdev()), true),
    ] {
        let sim = Sim::new(5);
        sim.run(async |env| {
            let (from, before) = checkpointed(&env).await;
            let to = Path::new("/r");
            if let Some(fault) = fault {
                env.faults().add(fault);
            }
            let free = env.free_bytes(Path::new("/")).await.unwrap();
            let restored =
                checkpoint::restore(&env, &from, to, IDENTITY, how, &mut |_| {}).await.unwrap();
            assert_eq!(restored, checkpoint::read(&env, &from, IDENTITY).await.unwrap());
            let taken = free - env.free_bytes(Path::new("/")).await.unwrap();
            assert_eq!(taken >= restored.bytes, copies, "{taken} bytes for {restored:?}");
            assert_sound(&env, to).await;
            // Durable as a whole.
            let after = env.crash(Crash::SyncedOnly, 1);
            after.run(async |env| {
                let shard = open_at(&env, to).await;
                assert!(contents(&shard).await == before);
                fill(&shard, 3).await;
                shard.compact_all().await.unwrap();
                shard.close().await.unwrap();
                assert_sound(&env, &from).await;
            });
        });
    }
}

/// Files of two copies of one shard never have the same name, but for those that are the same.
#[test]
fn copies_of_one_shard_give_their_files_different_numbers() {
    let sim = Sim::new(9);
    sim.run(async |env| {
        let (from, _) = checkpointed(&env).await;
        let common = env.list(&from).await.unwrap();
        let dirs = [DIR, "/r", "/s"].map(Path::new);
        for to in &dirs[1..] {
            checkpoint::restore(&env, &from, to, IDENTITY, Transfer::Link, &mut |_| {})
                .await
                .unwrap();
        }
        let mut seen: Vec<String> = Vec::new();
        for dir in dirs {
            let shard = open_at(&env, dir).await;
            fill(&shard, 4).await;
            shard.flush().await.unwrap();
            shard.close().await.unwrap();
            let names = env.list(dir).await.unwrap();
            let numbered =
                names.into_iter().filter(|name| name != "CURRENT" && !common.contains(name));
            let own: Vec<String> = numbered.collect();
            assert!(own.len() > 3, "{own:?}");
            for name in &own {
                assert!(!seen.contains(name), "{name} in two copies");
            }
            seen.extend(own);
            assert!(Manifest::read(&env, dir, IDENTITY).await.is_ok());
        }
    });
}
