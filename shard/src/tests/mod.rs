//! Tests of a whole shard on the simulated disk.
//!
//! - `basics`: each path once, by hand.
//! - `model`: random operations against a `BTreeMap`, with flushes, compactions, reopens and crashes in between.
//! - `metamorphic`: one list of operations under many configurations, with the same answers.
//! - `clock`: values that end, and a clock that jumps both ways; the space that they give back.
//! - `crash`: a workload, cloned as a crash would leave it at every operation of the disk; recovered, checked, and crashed
//!   again inside the recovery. `story` is its oracle.
//! - `checkpoint`: a second directory, made under writes and crashes; restored, linked and copied.
//! - `reshard`: the keys of two shards in three, crashed and gone on with.
//! - `policies`: crashes while the sync policy changes.
//! - `estimate`: how many keys there are, about.
//! - `expiry`: values that end at a time, through every way in.
//! - `failure`: the Nth operation fails.
//! - `damage`: every byte of every file, every truncation, files and blocks exchanged.
//! - `effort`: how much of all this is done, and how to do more.
//! - `foresee`: reads that were looked up ahead.
//! - `locations`: reads that go straight to where the key was found last.
//! - `golden`: makes the data directory of this format that later releases must open.
//! - `snapshot`: what one shows, whatever comes after it.
//! - `space`: no room on the disk, no descriptors; the window of `everysec`.
//! - `stalls`: why and how long writes wait, as it is counted.

pub(crate) mod allocations;
mod basics;
mod checkpoint;
mod clock;
mod crash;
mod damage;
pub(crate) mod effort;
mod estimate;
mod expiry;
mod failure;
mod foresee;
mod golden;
mod locations;
mod metamorphic;
mod model;
mod policies;
mod reshard;
mod snapshot;
mod space;
mod stalls;
mod story;

use std::path::Path;

use crate::env::sim::SimEnv;
use crate::error::Result;
use crate::key::Identity;
use crate::options::{CompactionThresholds, Options, SyncPolicy, TableOptions};
use crate::recovery::{Recovery, inspect};
use crate::shard::Shard;

pub(crate) const DIR: &str = "/db";
pub(crate) const IDENTITY: Identity = Identity { directory: 0x5eed, shard: 3 };

/// So small that flushes, compactions and changes of segment happen all the time.
pub(crate) fn tiny(sync: SyncPolicy) -> Options {
    Options {
        sync,
        memtable_bytes: 6 << 10,
        sealed_memtables_max: 2,
        block_cache_bytes: 16 << 10,
        wal_segment_bytes: 32 << 10,
        wal_bytes_max: 256 << 10,
        value_bytes_max: 1 << 20,
        table: TableOptions {
            block_bytes: 1 << 10,
            table_bytes: 8 << 10,
            ..TableOptions::default()
        },
        thresholds: CompactionThresholds {
            l0_compact_tables: 2,
            l0_slow_tables: 4,
            l0_stop_tables: 6,
            level_base_bytes: 16 << 10,
            level_ratio: 4,
            ..CompactionThresholds::default()
        },
        ..Options::default()
    }
}

pub(crate) async fn open_with_report(
    env: &SimEnv,
    options: Options,
) -> Result<(Shard<SimEnv>, Recovery)> {
    inspect(env, Path::new(DIR), IDENTITY, options).await?.open(|_, _| {}).await
}

pub(crate) async fn open(env: &SimEnv, options: Options) -> Shard<SimEnv> {
    match open_with_report(env, options).await {
        Ok((shard, _)) => shard,
        Err(error) => panic!("opening: {error}"),
    }
}

pub(crate) fn key(number: u32) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}
