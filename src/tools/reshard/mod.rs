//! `reshard`: the same keys in another number of shards.
//!
//! # The steps
//! 1. RESHARD notes both sides (`format::moving`). One that is there with the same number of shards is gone on with; with another
//!    one, what it has made is removed.
//! 2. There must be space for the data once more.
//! 3. Every live key is written into its new shard (`shard::reshard`), under another identity and other names of directories.
//! 4. Both sides are read again and compared, key by key.
//! 5. FORMAT is replaced: one rename, the switch.
//! 6. The old shards are removed, then RESHARD.
//!
//! Killed before 5, the old shards are the data, and 3 goes on where it was. Killed after it, the new ones are, and the next
//! start does 6. A start before 5 removes what was made: the data goes on, and it would be stale.

use std::path::Path;

use shard::check::Event;
use shard::env::Env as _;
use shard::env::glommio::GlommioEnv;
use shard::error::Error;
use shard::options::TableOptions;
use shard::reshard::{Compared, Target, compare, copy, reading_options};
use shard::shard::Shard;

use super::output::Output;
use super::{on_a_core, shards};
use crate::cli::data::ReshardArgs;
use crate::error::ServerError;
use crate::format::moving::Move;
use crate::format::{DataDir, Format};
use crate::slots::SlotTable;

type Shards = Vec<Shard<GlommioEnv>>;

/// Gives a data directory another number of shards, and prints what is done. Answers true.
///
/// # Errors
/// `Locked`, `DataDir`; a missing io_uring; damage, a difference, a full disk: the data is as it was.
pub fn reshard(args: &ReshardArgs) -> Result<bool, ServerError> {
    let data_dir = DataDir::existing(&args.dir, false)?;
    let shards = args.shards;
    on_a_core(async move |env| run(&env, data_dir, shards).await)??;
    Ok(true)
}

/// The same before a start, if there is a data directory and it has another number of shards.
///
/// # Errors
/// As [`reshard`].
pub fn reshard_for_start(dir: &Path, shards: u32) -> Result<(), ServerError> {
    if !crate::format::is_made(dir) {
        return Ok(());
    }
    reshard(&ReshardArgs { dir: dir.to_owned(), shards }).map(drop)
}

async fn run(env: &GlommioEnv, mut data_dir: DataDir, wanted: u32) -> Result<(), ServerError> {
    let mut output = Output::new(data_dir.path());
    let Some(moving) = begin(&data_dir, wanted, &mut output)? else {
        output.line(&format!("{} shards already: nothing to do", data_dir.shards()));
        return Ok(());
    };
    match move_keys(env, &data_dir, &moving, &mut output).await {
        Ok(compared) => {
            data_dir.replace_format(moving.new.clone())?;
            moving.clear(data_dir.path(), data_dir.format())?;
            output.line(&format!(
                "{} shards instead of {}: {} keys of {} MB, each compared with the old one",
                moving.new.slots.shards(),
                moving.old.slots.shards(),
                compared.keys,
                compared.bytes >> 20
            ));
            Ok(())
        }
        Err(error) => {
            let is_wrong = matches!(&error, ServerError::Shard(Error::Corruption { path, .. }) if is_new(&moving, &data_dir, path));
            if is_wrong {
                // What is not the same as the old data is of no use to anyone.
                moving.clear(data_dir.path(), data_dir.format())?;
                output.line("what was made was not the same, and is removed; the old shards are as they were");
            } else {
                output.line(
                    "the old shards are as they were; run it again, and it goes on where it was",
                );
            }
            Err(error)
        }
    }
}

/// Whether `path` is of a new shard.
fn is_new(moving: &Move, data_dir: &DataDir, path: &Path) -> bool {
    crate::format::moving::shard_paths(&moving.new, data_dir.path())
        .any(|dir| path.starts_with(dir))
}

/// Step 1. `None`: the directory has so many shards.
fn begin(
    data_dir: &DataDir,
    wanted: u32,
    output: &mut Output,
) -> Result<Option<Move>, ServerError> {
    let (path, format) = (data_dir.path(), data_dir.format());
    if let Some(found) = Move::read(path)? {
        if found.old == *format && found.new.slots.shards() == wanted {
            output.line(&format!("going on with the change to {wanted} shards"));
            return Ok(Some(found));
        }
        found.clear(path, format)?;
    }
    if format.slots.shards() == wanted {
        return Ok(None);
    }
    let new = Format::new(wanted, format.generation + 1)?;
    let moving = Move { old: format.clone(), new };
    moving.write(path)?;
    Ok(Some(moving))
}

/// Steps 2 to 4.
async fn move_keys(
    env: &GlommioEnv,
    data_dir: &DataDir,
    moving: &Move,
    output: &mut Output,
) -> Result<Compared, ServerError> {
    let options = reading_options(TableOptions::default());
    let sources = shards::open(env, data_dir, &options).await?;
    let moved = move_opened(env, data_dir, moving, &sources, output).await;
    let closed = shards::close(sources).await;
    let compared = moved?;
    closed?;
    Ok(compared)
}

async fn move_opened(
    env: &GlommioEnv,
    data_dir: &DataDir,
    moving: &Move,
    sources: &Shards,
    output: &mut Output,
) -> Result<Compared, ServerError> {
    check_space(env, data_dir, moving, sources, output).await?;
    let table = TableOptions::default();
    let slots: &SlotTable = &moving.new.slots;
    let route = |key: &[u8]| usize::from(slots.shard_of_key(key));
    let targets: Vec<Target> = super::check::identities(&moving.new)
        .map(|(index, identity)| Target {
            dir: moving.new.shard_path(data_dir.path(), index),
            identity,
        })
        .collect();
    output.begin(format!("writing {} shards", targets.len()));
    let mut tell = |event: Event| output.event(&event);
    copy(env, sources, &targets, &route, &table, &mut tell).await?;
    let mut made = Vec::with_capacity(targets.len());
    for Target { dir, identity } in &targets {
        let options = reading_options(table.clone());
        let inspected = shard::recovery::inspect(env, dir, *identity, options).await?;
        made.push(inspected.open(|_, _| {}).await?.0);
    }
    output.begin("comparing them with the old ones".to_owned());
    let mut tell = |event: Event| output.event(&event);
    let compared = compare(env, sources, &made, &route, &mut tell).await;
    let closed = shards::close(made).await;
    let compared = compared?;
    closed?;
    Ok(compared)
}

/// Step 2: the tables once more, less what was written already.
async fn check_space(
    env: &GlommioEnv,
    data_dir: &DataDir,
    moving: &Move,
    sources: &Shards,
    output: &mut Output,
) -> Result<(), ServerError> {
    let bytes = |shard: &Shard<GlommioEnv>| {
        let stats = shard.stats();
        stats.level_bytes.iter().sum::<u64>() + stats.memtable_bytes
    };
    let all: u64 = sources.iter().map(bytes).sum();
    let written: u64 = crate::format::moving::shard_paths(&moving.new, data_dir.path())
        .map(|dir| super::bytes_in(&dir))
        .sum();
    let needed = all.saturating_sub(written);
    let path = data_dir.path();
    let free = env.free_bytes(path).await.map_err(|e| ServerError::io("statvfs", path, e))?;
    let (needed_mb, free_mb) = (needed.div_ceil(1 << 20), free >> 20);
    output.line(&format!(
        "from {} to {} shards: needs {needed_mb} MB more until the old ones are removed, {free_mb} MB are free",
        moving.old.slots.shards(),
        moving.new.slots.shards()
    ));
    if needed > free {
        return Err(ServerError::DataDir {
            path: path.to_owned(),
            what: format!("it needs {needed_mb} MB more, and {free_mb} MB are free"),
            remedy: "free some space, and run it again".into(),
        });
    }
    Ok(())
}
