//! Shards as the engine writes them, the same in each run: what scripts edit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::batch::Op;
use crate::env::Env;
use crate::env::sim::{Crash, Sim, SimEnv};
use crate::key::{Identity, Kind, SeqNo};
use crate::manifest::{Loaded, Manifest};
use crate::options::{CompactionThresholds, Options, SyncPolicy, TableOptions};
use crate::recovery::inspect;
use crate::shard::Shard;
use crate::wal::reader::Replay;

pub(super) const DIR: &str = "/db";
pub(super) const IDENTITY: Identity = Identity { directory: 0x5eed, shard: 3 };

/// Keys of a shard.
pub(super) const KEYS: u32 = 80;
/// Operations that make its tables, and those that only its log has.
const WRITES: u32 = 600;
const WRITES_LOGGED: u32 = 30;

/// An operation out of a log: number, kind, key, value.
pub(super) type Logged = (SeqNo, Kind, Vec<u8>, Vec<u8>);

/// A shard on disk.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    /// What its manifest says.
    pub(super) loaded: Loaded,
    /// What its log holds.
    pub(super) log: Vec<Logged>,
    /// Every value that a key ever had.
    pub(super) history: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

thread_local! {
    static BASES: [Rc<Base>; 2] = [Rc::new(build(true)), Rc::new(build(false))];
}

/// One that was closed in order, or one whose power was cut after an idle second.
pub(super) fn base(is_cut: bool) -> Rc<Base> {
    BASES.with(|bases| Rc::clone(&bases[usize::from(is_cut)]))
}

impl Base {
    /// The files whose names satisfy `wanted`.
    pub(super) fn some(&self, wanted: impl Fn(&str) -> bool) -> (Vec<PathBuf>, Vec<Vec<u8>>) {
        let name =
            |path: &Path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy()));
        let files = self.files.iter().filter(|(path, _)| name(path));
        files.map(|(path, bytes)| (path.clone(), bytes.clone())).unzip()
    }
}

/// So small that a script of a few bytes reaches every part.
pub(super) fn options() -> Options {
    Options {
        memtable_bytes: 16 << 10,
        block_cache_bytes: 16 << 10,
        wal_segment_bytes: 32 << 10,
        wal_bytes_max: 256 << 10,
        value_bytes_max: 1 << 20,
        table: TableOptions {
            block_bytes: 1 << 10,
            table_bytes: 2 << 10,
            ..TableOptions::default()
        },
        thresholds: CompactionThresholds {
            l0_compact_tables: 3,
            l0_slow_tables: 6,
            l0_stop_tables: 8,
            level_base_bytes: 4 << 10,
            level_ratio: 4,
            ..CompactionThresholds::default()
        },
        ..Options::default()
    }
}

pub(super) async fn open(env: &SimEnv) -> crate::error::Result<Shard<SimEnv>> {
    let inspected = inspect(env, Path::new(DIR), IDENTITY, options()).await?;
    Ok(inspected.open(|_, _| {}).await?.0)
}

pub(super) fn key(number: u32) -> Vec<u8> {
    format!("key-{number:03}").into_bytes()
}

/// After any simulated time.
pub(super) const LATER_MS: u64 = 7_000_000_000_000;

fn value(number: u32) -> Vec<u8> {
    let mut value = format!("{number}:").into_bytes();
    // Half of them compress.
    let varied = (0..number * 31 % 200).map(|at| (at * (at * 7 + number) % 251).to_le_bytes()[0]);
    match number % 2 {
        0 => value.extend(varied),
        _ => value.resize(80, b'8'),
    }
    value
}

fn build(in_order: bool) -> Base {
    let sim = Sim::new(31).fifo();
    let mut history = BTreeMap::<Vec<u8>, Vec<Vec<u8>>>::new();
    sim.run(async |env| {
        let mut shard = open(&env).await.expect("a new shard");
        for number in 0..WRITES + WRITES_LOGGED {
            // The first go to a level below, the last two stay in L0. A start makes the manifest short.
            if matches!(WRITES.checked_sub(number), Some(0 | 60 | 120 | 180 | 240)) {
                shard.flush().await.expect("a disk without faults");
                env.sleep(Duration::from_secs(3)).await;
            }
            if number + 20 == WRITES {
                shard.close().await.expect("a disk without faults");
                shard = open(&env).await.expect("closed in order");
                if !in_order {
                    // After a few segments: then batches share blocks.
                    let changed = shard.set_policy(SyncPolicy::EverySecond).await;
                    changed.expect("a disk without faults");
                }
            }
            let (key, value) = (key(number * 37 % KEYS), value(number));
            let op = match number % 9 {
                4 => Op::Delete { key: &key },
                7 => Op::Put { key: &key, value: &value, expires_at_ms: LATER_MS },
                _ => Op::Put { key: &key, value: &value, expires_at_ms: 0 },
            };
            shard.put_all(&[op]).await.expect("a disk without faults");
            if number % 9 != 4 {
                history.entry(key).or_default().push(value);
            }
        }
        env.sleep(Duration::from_secs(3)).await;
        if in_order {
            shard.close().await.expect("a disk without faults");
        }
    });
    let sim = sim.crash(Crash::SyncedOnly, 0);
    let files = sim.files().into_iter().map(|(path, _)| (path.clone(), sim.read_raw(path)));
    let files: BTreeMap<_, _> = files.collect();
    let (loaded, log) = sim.run(async |env| {
        let dir = Path::new(DIR);
        let loaded = Manifest::read(&env, dir, IDENTITY).await.expect("written by the engine");
        let state = &loaded.state;
        let opened =
            Replay::open(&env, dir, IDENTITY, &state.wal, state.flushed_seq, state.clean_stop)
                .await;
        let log = super::wal::read(opened.expect("written by the engine")).await;
        (loaded, log.expect("written by the engine").0)
    });
    let tables = loaded.state.version.tables().count();
    let longest = files.values().map(Vec::len).max().unwrap_or(0);
    assert!(longest <= super::script::FILE_BYTES_MAX, "{longest} bytes would be cut by any edit");
    assert!(tables > 2 && log.len() > 20, "{tables} tables, {} operations", log.len());
    Base { files, loaded, log, history }
}
