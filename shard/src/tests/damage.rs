//! Damage behind the program's back, in every file of a small data set: every byte with a bit flipped, 0x00 and 0xFF; every
//! truncation; files and blocks exchanged; an old block over a new one; garbage behind the end; nothing left.
//!
//! Watched: the start, each point read and the full scan give what was written, or an error that names the damaged file;
//! never another value, a missing one, a panic, a hang, or an allocation that a damaged length has sized.
//!
//! Two data sets, each with tables, a manifest and a log that holds the newest operations: one closed in order, one whose
//! power was cut after an idle second. Either way something vouches for the last batch.
//!
//! `SIM_EVERY=1` is the full run; see `effort`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use super::allocations::largest_in;
use super::effort::{Dice, Effort, Place, say};
use super::story::roll_over_often;
use super::{DIR, key, open, open_with_report, tiny};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::{Crash, Sim, SimEnv};
use crate::error::Error;
use crate::options::{Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;

const KEYS: u32 = 150;
const BLOCK: usize = 4096;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A disk, what is in it, and an earlier state of it.
struct DataSet {
    name: &'static str,
    disk: Sim,
    before: Sim,
    model: Model,
    /// The largest allocation that the whole data set takes, in bytes.
    allocation: usize,
}

fn options() -> Options {
    let mut options = tiny(SyncPolicy::Always);
    options.memtable_bytes = 16 << 10;
    options.wal_segment_bytes = 32 << 10;
    options.table.table_bytes = 16 << 10;
    options.thresholds.l0_compact_tables = 3;
    options
}

fn value(dice: &Dice, number: u32) -> Vec<u8> {
    let mut value = format!("{number}:").into_bytes();
    // Half of it does not compress.
    for _ in 0..dice.below(90) {
        value.extend_from_slice(&dice.next().to_le_bytes());
        value.extend_from_slice(b"88888888");
    }
    value
}

/// Overwrites and deletes.
async fn write(
    shard: &Shard<SimEnv>,
    dice: &Dice,
    numbers: std::ops::Range<u32>,
    model: &mut Model,
) {
    for number in numbers {
        let key = key(u32::try_from(dice.below(KEYS.into())).unwrap());
        if number % 7 == 3 {
            shard.put_all(&[Op::Delete { key: &key }]).await.unwrap();
            model.remove(&key);
        } else {
            let value = value(dice, number);
            shard.put_all(&[Op::Put { key: &key, value: &value, expires_at_ms: 0 }]).await.unwrap();
            model.insert(key, value);
        }
    }
}

/// Tables of several levels, and a last part that only the log has.
async fn fill(env: &SimEnv, dice: &Dice, model: &mut Model) {
    let shard = open(env, options()).await;
    roll_over_often(&shard);
    write(&shard, dice, 100..700, model).await;
    shard.flush().await.unwrap();
    env.sleep(Duration::from_secs(3)).await;
    let stats = shard.stats();
    assert!(stats.counters.compactions > 0 && stats.tables() > 3, "{stats:?}");
    write(&shard, dice, 800..812, model).await;
    env.sleep(Duration::from_secs(3)).await;
    assert!(shard.stats().memtable_entries > 5, "{:?}", shard.stats());
}

fn data_set(name: &'static str, in_order: bool) -> DataSet {
    let sim = Sim::new(31);
    let dice = Dice::new(7);
    let mut model = Model::new();
    let before = sim.run(async |env| {
        let shard = open(&env, options()).await;
        write(&shard, &dice, 0..20, &mut model).await;
        env.crash(Crash::Everything, 0)
    });
    let sim = sim.crash(Crash::SyncedOnly, 0);
    sim.run(async |env| fill(&env, &dice, &mut model).await);
    let sim = sim.crash(Crash::SyncedOnly, 0);
    if in_order {
        sim.run(async |env| open(&env, options()).await.close().await.unwrap());
    }
    let mut set = DataSet { name, disk: sim, before, model, allocation: usize::MAX };
    let (errors, allocation) = largest_in(|| check(&set, &set.disk.crash(Crash::Everything, 0)));
    assert_eq!(errors.len(), 0, "{errors:?}");
    set.allocation = allocation;
    set
}

fn data_sets() -> [DataSet; 2] {
    [data_set("closed in order", true), data_set("idle, then cut", false)]
}

impl DataSet {
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = self.disk.files().into_iter().map(|(path, _)| path);
        paths.map(|path| (path.clone(), self.disk.read_raw(path))).collect()
    }

    /// One damaged copy: whoever complains must name one of `blamed`, if any are given.
    fn damaged(&self, what: &str, blamed: &[&Path], damage: impl FnOnce(&Sim)) {
        let place = Place(format!("{}: {what}", self.name));
        let disk = self.disk.crash(Crash::Everything, 0);
        damage(&disk);
        let (errors, largest) = largest_in(|| check(self, &disk));
        for error in errors {
            let path = match &error {
                Error::Corruption { path, .. } | Error::Foreign { path, .. } => path,
                other => panic!("it should name file and offset: {other}"),
            };
            assert!(path.starts_with(DIR), "{error}");
            let is_blamed = blamed.is_empty() || blamed.contains(&path.as_path());
            assert!(is_blamed, "it names the wrong file: {error}");
        }
        let limit = 2 * self.allocation;
        assert!(largest <= limit, "an allocation of {largest} bytes, the limit is {limit}");
        drop(place);
    }
}

/// Starts and reads everything; answers the errors. Whatever is no error is right.
fn check(set: &DataSet, disk: &Sim) -> Vec<Error> {
    disk.run(async |env| {
        let mut work = pin!(check_all(&env, &set.model));
        let mut timeout = pin!(env.sleep(Duration::from_secs(600)));
        std::future::poll_fn(|context| {
            assert!(timeout.as_mut().poll(context).is_pending(), "it hangs");
            work.as_mut().poll(context)
        })
        .await
    })
}

async fn check_all(env: &SimEnv, model: &Model) -> Vec<Error> {
    let mut errors = Vec::new();
    let shard = match open_with_report(env, options()).await {
        Ok((shard, _)) => shard,
        Err(error) => return vec![error],
    };
    for number in 0..KEYS {
        let key = key(number);
        match shard.get(&key).await {
            Ok(found) => assert!(found.as_ref() == model.get(&key), "a wrong value of {number}"),
            Err(error) => errors.push(error),
        }
    }
    let mut scan = shard.scan(Range::all(), Direction::Forward);
    let mut wanted = model.iter();
    loop {
        match scan.next().await {
            Ok(Some(entry)) => {
                let next = wanted.next().map(|(key, value)| (key.as_slice(), value.as_slice()));
                assert!(next == Some((entry.key, entry.value)), "a wrong entry in the scan");
            }
            Ok(None) => {
                assert!(wanted.next().is_none(), "entries are missing in the scan");
                break;
            }
            Err(error) => {
                errors.push(error);
                break;
            }
        }
    }
    drop(scan);
    shard.close().await.unwrap();
    errors
}

fn run(name: &str, every: u64, test: impl Fn(&DataSet, &Effort) -> u64) {
    let effort = Effort::or(1, 0, every);
    for set in data_sets() {
        let bytes: usize = set.files().iter().map(|(_, bytes)| bytes.len()).sum();
        let cases = test(&set, &effort);
        say(&format!("{name}, {}: {cases} cases on {bytes} bytes: no violation", set.name));
        assert!(cases > 0);
    }
}

/// Which of `count` places are tried.
fn places(count: usize, every: u64) -> impl Iterator<Item = usize> {
    let every = usize::try_from(every).unwrap();
    // Not always the same ones of each file.
    (count * 7 % every..count).step_by(every)
}

#[test]
fn every_byte() {
    run("bytes", 997, |set, effort| {
        let mut cases = 0;
        for (path, bytes) in set.files() {
            for at in places(bytes.len(), effort.every) {
                let old = bytes[at];
                for new in [old ^ 1 << (at % 8), 0x00, 0xff] {
                    if new == old {
                        continue;
                    }
                    let what = format!("byte {at} of {} is {new:#04x}", path.display());
                    let blamed = blamed(&path);
                    set.damaged(&what, &blamed, |disk| disk.flip(&path, at as u64, old ^ new));
                    cases += 1;
                }
            }
        }
        cases
    });
}

/// A manifest that was damaged in its last edit reads like one that ends before it, and an old CURRENT names an old
/// manifest: then what contradicts it is named.
fn blamed(path: &Path) -> Vec<&Path> {
    let text = path.to_string_lossy();
    if text.contains("manifest") || text.contains("CURRENT") { Vec::new() } else { vec![path] }
}

#[test]
fn every_truncation() {
    run("truncations", 997, |set, effort| {
        let mut cases = 0;
        for (path, bytes) in set.files() {
            let boundaries =
                (0..=bytes.len()).filter(|len| len % BLOCK <= 1 || len % BLOCK == 4095);
            let some = places(bytes.len(), effort.every);
            for len in boundaries.filter(|_| effort.every > 1).chain(some) {
                let what = format!("{} ends at {len}", path.display());
                set.damaged(&what, &blamed(&path), |disk| disk.truncate(&path, len as u64));
                cases += 1;
            }
        }
        cases
    });
}

#[test]
fn every_tail_of_garbage() {
    run("garbage behind the end", 1, |set, _| {
        let dice = Dice::new(3);
        let mut cases = 0;
        for (path, bytes) in set.files() {
            for len in [1, 511, 512, 4095, 4096, 5000, 70_000] {
                let random: Vec<u8> = (0..len).map(|_| dice.next().to_le_bytes()[0]).collect();
                let again: Vec<u8> = bytes.iter().rev().take(len).rev().copied().collect();
                for garbage in [random, again, vec![0; len]] {
                    let what = format!("{len} bytes behind {}", path.display());
                    set.damaged(&what, &blamed(&path), |disk| {
                        disk.write_raw(&path, &[bytes.as_slice(), &garbage].concat());
                    });
                    cases += 1;
                }
            }
        }
        cases
    });
}

#[test]
fn every_two_files_exchanged() {
    run("files exchanged", 1, |set, _| {
        let files = set.files();
        let mut cases = 0;
        for (index, (one, one_bytes)) in files.iter().enumerate() {
            for (other, other_bytes) in &files[..index] {
                let what = format!("{} and {} exchanged", one.display(), other.display());
                set.damaged(&what, &[one, other], |disk| {
                    disk.write_raw(one, other_bytes);
                    disk.write_raw(other, one_bytes);
                });
                let what = format!("{} over {}", one.display(), other.display());
                set.damaged(&what, &[one, other], |disk| disk.write_raw(other, one_bytes));
                cases += 2;
            }
        }
        cases
    });
}

#[test]
fn every_two_blocks_exchanged() {
    run("blocks exchanged", 23, |set, effort| {
        let blocks: Vec<(PathBuf, Vec<u8>, usize)> = set
            .files()
            .into_iter()
            .flat_map(|(path, bytes)| {
                let starts = (0..bytes.len() / BLOCK).map(|index| index * BLOCK);
                starts.map(move |start| (path.clone(), bytes.clone(), start)).collect::<Vec<_>>()
            })
            .collect();
        let mut cases = 0;
        for index in places(blocks.len() * blocks.len(), effort.every) {
            let (one, one_bytes, one_at) = &blocks[index % blocks.len()];
            let (other, other_bytes, other_at) = &blocks[index / blocks.len()];
            let one_block = &one_bytes[*one_at..one_at + BLOCK];
            let other_block = &other_bytes[*other_at..other_at + BLOCK];
            if one_block == other_block {
                continue;
            }
            let place = |path: &Path, at: &usize| format!("{} at {at}", path.display());
            let what = format!("the block of {} in {}", place(one, one_at), place(other, other_at));
            let both = [blamed(one), blamed(other)];
            let blamed = if both.iter().any(Vec::is_empty) { Vec::new() } else { both.concat() };
            set.damaged(&what, &blamed, |disk| put_block(disk, other, *other_at, one_block));
            set.damaged(&format!("{what}, exchanged"), &blamed, |disk| {
                put_block(disk, other, *other_at, one_block);
                put_block(disk, one, *one_at, other_block);
            });
            cases += 2;
        }
        cases
    });
}

/// The blocks of all segments that were written, headers left out: file, offset, bytes.
fn blocks_of_the_log(disk: &Sim) -> Vec<(PathBuf, usize, Vec<u8>)> {
    let mut blocks = Vec::new();
    for (path, _) in disk.files() {
        if path.extension().is_none_or(|extension| extension != "wal") {
            continue;
        }
        for (index, block) in disk.read_raw(&path).chunks_exact(BLOCK).enumerate().skip(1) {
            if block.iter().any(|&byte| byte != 0) {
                blocks.push((path.clone(), index * BLOCK, block.to_vec()));
            }
        }
    }
    blocks
}

/// Found by the full run: the last batch exchanged with the only frame that vouched for it read like a torn tail. So these few
/// are always tried: each two written blocks of the log.
#[test]
fn every_two_blocks_of_the_log_exchanged() {
    for set in data_sets() {
        let blocks = blocks_of_the_log(&set.disk);
        assert!(blocks.len() > 5, "{}", blocks.len());
        for (index, (one, one_at, one_block)) in blocks.iter().enumerate() {
            for (other, other_at, other_block) in &blocks[..index] {
                let what = format!(
                    "the blocks of {} at {one_at} and of {} at {other_at}, exchanged",
                    one.display(),
                    other.display()
                );
                set.damaged(&what, &[], |disk| {
                    put_block(disk, other, *other_at, one_block);
                    put_block(disk, one, *one_at, other_block);
                });
            }
        }
    }
}

/// The same for a batch that a start has found, and the chain that it wrote behind it.
#[test]
fn an_idle_start_vouches_for_what_it_found() {
    let sim = Sim::new(33);
    sim.run(async |env| {
        let shard = open(&env, options()).await;
        shard.put_all(&[Op::Put { key: b"key", value: b"value", expires_at_ms: 0 }]).await.unwrap();
    });
    let sim = sim.crash(Crash::SyncedOnly, 0);
    sim.run(async |env| {
        let _shard = open(&env, options()).await;
        env.sleep(Duration::from_secs(3)).await;
    });
    let sim = sim.crash(Crash::SyncedOnly, 0);
    let written = blocks_of_the_log(&sim);
    // The chain before the batch, the batch; the chain of the start, and what it wrote behind that.
    let [_, (one, one_at, one_block), (other, other_at, other_block), ..] = &written[..] else {
        panic!("{} blocks", written.len())
    };
    put_block(&sim, one, *one_at, other_block);
    put_block(&sim, other, *other_at, one_block);
    sim.run(async |env| {
        let opened = open_with_report(&env, options()).await;
        assert!(matches!(opened, Err(Error::Corruption { .. })), "{opened:?}");
    });
}

fn put_block(disk: &Sim, path: &Path, at: usize, block: &[u8]) {
    let mut bytes = disk.read_raw(path);
    bytes[at..at + BLOCK].copy_from_slice(block);
    disk.write_raw(path, &bytes);
}

/// Writes that were acknowledged and never arrived: zeros as prewritten, or what stood there before.
#[test]
fn every_block_as_it_was_before() {
    run("old blocks", 1, |set, _| {
        let mut cases = 0;
        for (path, bytes) in set.files() {
            let is_known = set.before.files().iter().any(|(other, _)| *other == path);
            let before = if is_known { set.before.read_raw(&path) } else { Vec::new() };
            for start in (0..bytes.len() / BLOCK).map(|index| index * BLOCK) {
                for old in [before.get(start..start + BLOCK), Some(&[0; BLOCK][..])] {
                    let Some(old) = old.filter(|old| **old != bytes[start..start + BLOCK]) else {
                        continue;
                    };
                    let what = format!("an old block at {start} of {}", path.display());
                    set.damaged(&what, &blamed(&path), |disk| put_block(disk, &path, start, old));
                    cases += 1;
                }
            }
        }
        cases
    });
}
