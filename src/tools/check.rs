//! `check`: every shard of a data directory, and what holds between them.

use shard::check::{Checked, Event, Finding, check as check_shard};
use shard::env::glommio::GlommioEnv;
use shard::key::Identity;

use super::on_a_core;
use super::output::Output;
use crate::cli::CheckArgs;
use crate::error::ServerError;
use crate::format::{DataDir, Format};

/// Verifies a data directory and prints what it finds. Answers whether there is no damage.
///
/// # Errors
/// `Locked`, `DataDir`; a missing io_uring; a directory that cannot be listed.
pub fn check(args: &CheckArgs) -> Result<bool, ServerError> {
    let data_dir = match DataDir::existing(&args.dir, true) {
        Ok(data_dir) => data_dir,
        Err(error @ ServerError::Damaged { .. }) => {
            Output::new(&args.dir).line(&format!("damage: {error}"));
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    on_a_core(async move |env| {
        let mut output = Output::new(data_dir.path());
        check_all(&env, &data_dir, &mut output).await
    })?
}

/// The shards of a data directory, in order: number, and whose files they are.
pub(crate) fn shards(data_dir: &DataDir) -> impl Iterator<Item = (u32, Identity)> {
    identities(data_dir.format())
}

/// The same of a format.
pub(crate) fn identities(format: &Format) -> impl Iterator<Item = (u32, Identity)> + use<> {
    let directory = format.directory;
    (0..format.slots.shards()).map(move |shard| (shard, Identity { directory, shard }))
}

/// All shards; findings and a summary are printed. Answers whether there is no damage.
pub(crate) async fn check_all(
    env: &GlommioEnv,
    data_dir: &DataDir,
    output: &mut Output,
) -> Result<bool, ServerError> {
    let count = data_dir.shards();
    let mut all = Vec::new();
    for (shard, identity) in shards(data_dir) {
        output.begin(format!("checking shard {} of {count}", shard + 1));
        let dir = data_dir.shard_path(shard);
        let mut tell = |event: Event| output.event(&event);
        all.push(check_shard(env, &dir, identity, &mut tell).await?);
    }
    let mut damages: u64 = all.iter().map(|checked| checked.damages).sum();
    for shard in missing(&all) {
        damages += 1;
        let path = data_dir.shard_path(shard);
        let what = "no shard is here, though others hold data: all keys of this one are gone";
        output.finding("damage", &Finding { path, offset: None, what: what.to_owned() });
    }
    output.line(&summary(&all, damages));
    Ok(damages == 0)
}

/// Shards that are not there, though a server has served with them: before it serves, it has opened all of them.
pub(crate) fn missing(all: &[Checked]) -> Vec<u32> {
    let has_served = all.iter().any(|checked| checked.last_seq > 0);
    let missing = (0..).zip(all).filter(|(_, checked)| checked.is_new && has_served);
    missing.map(|(shard, _)| shard).collect()
}

fn summary(all: &[Checked], damages: u64) -> String {
    let sum = |field: fn(&Checked) -> u64| all.iter().map(field).sum::<u64>();
    let verdict = match damages {
        0 => "no damage".to_owned(),
        1 => "1 finding of damage".to_owned(),
        damages => format!("{damages} findings of damage"),
    };
    format!(
        "checked {} shards: {} tables with {} entries, {} log segments with {} operations: {verdict}, {} notes",
        all.len(),
        sum(|one| one.tables),
        sum(|one| one.entries),
        sum(|one| one.segments),
        sum(|one| one.operations),
        sum(|one| one.notes),
    )
}
