//! Makes the data directory that every later release must open: `tests/golden/v3`, and beside it what it holds, `v3.txt`; `v1` and
//! `v2` were made by earlier ones, in the same way, all of them under `always`.
//!
//! It is made once for each format and never again: a directory that is made anew shows nothing about old ones.
//! `GOLDEN_DIR=/path cargo test -p shard make_golden -- --ignored` writes one of the present format.
#![expect(clippy::disallowed_methods, reason = "the files of the source tree, not the engine's")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tiny;
use crate::batch::Op;
use crate::coding::crc32;
use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::key::Identity;
use crate::options::{Options, SyncPolicy};
use crate::recovery::inspect;
use crate::shard::Shard;

const DIRECTORY: u128 = 0x5eed_0000_0000_0000_0000_0000_0000_0001;

/// Shard 1 has the log of the weaker policies.
fn options(shard: u32) -> Options {
    let mut options = tiny([SyncPolicy::Always, SyncPolicy::EverySecond][shard as usize]);
    options.table.table_bytes = 3 << 10;
    options.thresholds.l0_compact_tables = 3;
    options.thresholds.level_base_bytes = 6 << 10;
    options.thresholds.level_ratio = 2;
    options.wal_segment_bytes = 16 << 10;
    options
}

async fn open(env: &SimEnv, shard: u32) -> Shard<SimEnv> {
    let dir = PathBuf::from(format!("/shard-{shard:03}"));
    let identity = Identity { directory: DIRECTORY, shard };
    inspect(env, &dir, identity, options(shard)).await.unwrap().open(|_, _| {}).await.unwrap().0
}

/// Hash tags that lie in the slots of shard 0 and of shard 1.
const TAGS: [&str; 2] = ["{b}", "{a}"];

/// The year 2200: values that end then are there.
const FAR_MS: u64 = 7_258_118_400_000;

/// Values that end so soon after the simulated time are gone whenever someone opens the directory.
const SOON_MS: u64 = 3_600_000;

async fn write(
    shard: &Shard<SimEnv>,
    tag: &str,
    numbers: std::ops::Range<u32>,
    model: &mut BTreeMap<String, String>,
) {
    for n in numbers {
        let key = format!("{tag}:{:03}", n * (n + 7) % 211);
        if n % 9 == 4 {
            shard.put_all(&[Op::Delete { key: key.as_bytes() }]).await.unwrap();
            model.remove(&key);
        } else {
            let filler: String = (0..n * 31 % 500)
                .map(|at| char::from(b'!' + ((at * at * (n % 13) + at * n / 7) % 90) as u8))
                .collect();
            let value = format!("{n}:{filler}");
            let expires_at_ms = match n % 7 {
                3 => FAR_MS,
                5 => shard.env().wall_ms() + SOON_MS,
                _ => 0,
            };
            let op = Op::Put { key: key.as_bytes(), value: value.as_bytes(), expires_at_ms };
            shard.put_all(&[op]).await.unwrap();
            model.insert(key.clone(), value);
            if n % 7 == 5 {
                model.remove(&key);
            }
        }
    }
}

/// As `src/format.rs` describes it: two shards, half of the slots each.
fn format() -> Vec<u8> {
    let mut out = b"RLSM-DIR".to_vec();
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&DIRECTORY.to_le_bytes());
    for number in [2_u32, 2] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [0_u16, 0, 8192, 1] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let crc = crc32(&[], &[&out]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

#[test]
#[ignore = "makes files; see above"]
fn make_golden() {
    let target = PathBuf::from(std::env::var_os("GOLDEN_DIR").unwrap());
    let sim = Sim::new(1);
    let mut model = BTreeMap::new();
    sim.run(async |env| {
        for (number, tag) in (0..).zip(TAGS) {
            let shard = open(&env, number).await;
            write(&shard, tag, 0..300, &mut model).await;
            shard.flush().await.unwrap();
            shard.close().await.unwrap();
            // A new manifest, whose snapshot has all levels; then edits behind it, and a log with operations.
            let shard = open(&env, number).await;
            write(&shard, tag, 300..309, &mut model).await;
            // What runs behind it ends, and the log is synced; the last batches are not.
            env.sleep(Duration::from_secs(3)).await;
            write(&shard, tag, 309..312, &mut model).await;
            if number == 0 {
                shard.close().await.unwrap();
            } else {
                // Shard 1 is killed: no clean stop.
                std::mem::forget(shard);
            }
        }
    });
    for (path, _) in sim.files() {
        let to = target.join(path.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, sim.read_raw(&path)).unwrap();
    }
    std::fs::write(target.join("FORMAT"), format()).unwrap();
    std::fs::write(target.join("LOCK"), "1\n").unwrap();
    let mut text = String::new();
    for (key, value) in model {
        writeln!(text, "{key} {value}").unwrap();
    }
    let expected = Path::new(&target).with_extension("txt");
    std::fs::write(expected, text).unwrap();
}
