//! `repair`: every shard of a data directory, then the quarantine, then a check.
//!
//! The engine renames what it takes out, within the shard's directory: a rename that a power cut can only do or not do.
//! When all shards are in order, those files are moved to `DIR/quarantine-TIME/shard-NNN/`, where nobody takes them
//! for data. A repair that was killed before that has left them beside the data; the next one moves them.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use shard::check::repair::{QUARANTINE, make_empty, repair as repair_shard};
use shard::check::{Event, Finding, check as check_shard};
use shard::env::glommio::GlommioEnv;

use super::check::{check_all, missing, shards};
use super::on_a_core;
use super::output::Output;
use crate::cli::RepairArgs;
use crate::error::ServerError;
use crate::format::DataDir;

/// Repairs a data directory and prints what was wrong, what was done and what is lost. Answers whether it is in order now.
///
/// # Errors
/// `Locked`, `DataDir`; a missing io_uring; what keeps the repair from being done, as a full disk.
pub fn repair(args: &RepairArgs) -> Result<bool, ServerError> {
    let data_dir = DataDir::existing(&args.dir, args.dry_run)?;
    let dry_run = args.dry_run;
    on_a_core(async move |env| {
        let mut output = Output::new(data_dir.path());
        repair_all(&env, &data_dir, dry_run, &mut output).await
    })?
}

async fn repair_all(
    env: &GlommioEnv,
    data_dir: &DataDir,
    dry_run: bool,
    output: &mut Output,
) -> Result<bool, ServerError> {
    let stamp = stamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()));
    let count = data_dir.shards();
    let (mut changed, mut damages, mut losses) = (false, 0, 0);
    for (shard, identity) in shards(data_dir) {
        output.begin(format!("repairing shard {} of {count}", shard + 1));
        let dir = data_dir.shard_path(shard);
        let mut tell = |event: Event| output.event(&event);
        let done = repair_shard(env, &dir, &stamp, identity, dry_run, &mut tell).await?;
        changed |= done.changed;
        damages += done.damages;
        losses += done.losses;
    }
    let (made, lost) = make_missing(env, data_dir, dry_run, output).await?;
    changed |= made;
    losses += lost;
    if dry_run {
        let would = if changed { "would change the directory" } else { "has nothing to do" };
        output.line(&format!("a repair {would}: {damages} findings of damage, {losses} losses"));
        return Ok(!changed);
    }
    let kept = move_out(data_dir, &stamp)?;
    if kept > 0 {
        let place = data_dir.path().join(format!("quarantine-{stamp}"));
        output.line(&format!("{kept} files are kept in {}", place.display()));
    }
    let verdict = if changed { "repaired" } else { "nothing to repair" };
    output.line(&format!("{verdict}: {damages} findings of damage, {losses} losses"));
    check_all(env, data_dir, output).await
}

/// Shards that are gone as a whole become empty ones. Answers whether there are any, and how many.
async fn make_missing(
    env: &GlommioEnv,
    data_dir: &DataDir,
    dry_run: bool,
    output: &mut Output,
) -> Result<(bool, u64), ServerError> {
    let mut all = Vec::new();
    for (shard, identity) in shards(data_dir) {
        let checked = check_shard(env, &data_dir.shard_path(shard), identity, &mut |_| {}).await;
        all.push(checked?);
    }
    let missing = missing(&all);
    for (shard, identity) in shards(data_dir).filter(|(shard, _)| missing.contains(shard)) {
        let path = data_dir.shard_path(shard);
        if !dry_run {
            make_empty(env, &path, identity).await?;
        }
        let what = "all keys of this shard: it is gone, an empty one takes its place".to_owned();
        output.finding("lost", &Finding { path, offset: None, what });
    }
    Ok((!missing.is_empty(), missing.len() as u64))
}

/// Moves what repairs have taken out to the quarantine; answers how many files.
fn move_out(data_dir: &DataDir, stamp: &str) -> Result<usize, ServerError> {
    let place = data_dir.path().join(format!("quarantine-{stamp}"));
    let mut moved = 0;
    for (shard, _) in shards(data_dir) {
        let dir = data_dir.shard_path(shard);
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names: Vec<String> = names.filter(|name| name.contains(QUARANTINE)).collect();
        if names.is_empty() {
            continue;
        }
        let to = place.join(dir.file_name().unwrap_or_default());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&to);
        made.map_err(|e| ServerError::io("create", &to, e))?;
        for name in names {
            // The first part is what it was; a name that is taken keeps its stamp.
            let plain = name.split(QUARANTINE).next().unwrap_or(&name);
            let target = if to.join(plain).exists() { &name } else { plain };
            let from = dir.join(&name);
            fs::rename(&from, to.join(target)).map_err(|e| ServerError::io("move", &from, e))?;
            moved += 1;
        }
        for dir in [&to, &dir] {
            sync(dir)?;
        }
    }
    if moved > 0 {
        sync(&place)?;
        sync(data_dir.path())?;
    }
    Ok(moved)
}

fn sync(dir: &Path) -> Result<(), ServerError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| ServerError::io("sync", dir, e))
}

/// Seconds since 1970 as `20261121T143000Z`. Days to dates: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn times_are_named_by_date() {
        for (seconds, name) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_000_000_000, "20010909T014640Z"),
            (1_798_761_599, "20261231T235959Z"),
        ] {
            assert_eq!(stamp(seconds), name);
        }
    }
}
