//! `stats`: what a closed directory is made of, shard by shard: tables, levels, log, how many keys there are at most.

use serde::Serialize;
use shard::check::contents::{Outline, outline};
use shard::limits::LEVELS;

use super::check::shards;
use super::on_a_core;
use super::output::Output;
use crate::cli::DirStatsArgs;
use crate::error::ServerError;
use crate::format::DataDir;
use crate::terminal::size;

/// Prints it. Answers true: all could be read.
///
/// # Errors
/// `Locked`, `DataDir`; damage where a start would refuse; a missing io_uring.
pub fn stats(args: &DirStatsArgs) -> Result<bool, ServerError> {
    let data_dir = DataDir::existing(&args.dir, true)?;
    let (path, count) = (data_dir.path().to_owned(), data_dir.shards());
    let outlines = on_a_core(async move |env| {
        let mut outlines = Vec::new();
        for (shard, identity) in shards(&data_dir) {
            outlines.push(outline(&env, &data_dir.shard_path(shard), identity).await?);
        }
        Ok::<_, ServerError>(outlines)
    })??;
    let mut output = Output::new(&path);
    let shown: Vec<Facts> =
        (0..).zip(&outlines).map(|(number, one)| Facts::of(number, one)).collect();
    if args.json {
        let all = Directory { directory: path.display().to_string(), shards: &shown };
        // Numbers and text: nothing that could fail.
        output.line(&serde_json::to_string(&all).unwrap_or_default());
        return Ok(true);
    }
    output.line(&format!("{}: {count} shards", path.display()));
    for (shard, outline) in shown.iter().zip(&outlines) {
        for line in shard.lines(outline.is_new) {
            output.line(&line);
        }
    }
    let sum = |field: fn(&Facts) -> u64| shown.iter().map(field).sum::<u64>();
    output.line(&format!(
        "all: {} keys at most, {} tables of {}, log {} with {} operations not in tables yet",
        sum(|one| one.keys_max),
        sum(|one| one.level_tables.iter().sum()),
        size(sum(|one| one.level_bytes.iter().sum())),
        size(sum(|one| one.log_bytes)),
        sum(|one| one.log_operations),
    ));
    Ok(true)
}

#[derive(Debug, Serialize)]
struct Directory<'a> {
    directory: String,
    shards: &'a [Facts],
}

/// As it is shown.
#[derive(Debug, Serialize)]
struct Facts {
    shard: u32,
    keys_max: u64,
    level_tables: [u64; LEVELS],
    level_bytes: [u64; LEVELS],
    raw_bytes: u64,
    entries: u64,
    tombstones: u64,
    expiring: u64,
    log_segments: u64,
    log_bytes: u64,
    log_operations: u64,
    log_operation_bytes: u64,
    torn_bytes: u64,
    last_seq: u64,
    flushed_seq: u64,
    is_closed_in_order: bool,
}

impl Facts {
    fn of(shard: u32, outline: &Outline) -> Self {
        Self {
            shard,
            keys_max: outline.keys_max(),
            level_tables: outline.level_tables,
            level_bytes: outline.level_bytes,
            raw_bytes: outline.raw_bytes,
            entries: outline.entries,
            tombstones: outline.tombstones,
            expiring: outline.expiring,
            log_segments: outline.segments,
            log_bytes: outline.log_bytes,
            log_operations: outline.log_operations,
            log_operation_bytes: outline.log_operation_bytes,
            torn_bytes: outline.torn_bytes,
            last_seq: outline.last_seq,
            flushed_seq: outline.flushed_seq,
            is_closed_in_order: outline.is_closed_in_order,
        }
    }

    fn lines(&self, is_new: bool) -> Vec<String> {
        let number = self.shard;
        if is_new {
            return vec![format!("shard {number}: nothing was ever written")];
        }
        let end = match (self.is_closed_in_order, self.torn_bytes) {
            (true, _) => "closed in order".to_owned(),
            (false, 0) => "not closed in order, as after a kill".to_owned(),
            (false, torn) => format!("not closed in order; a torn end of {torn} bytes"),
        };
        let mut lines = vec![
            format!("shard {number}: {} keys at most; {end}", self.keys_max),
            format!(
                "  tables: {} versions ({} tombstones, {} that end), {} before compression",
                self.entries,
                self.tombstones,
                self.expiring,
                size(self.raw_bytes)
            ),
        ];
        for level in (0..LEVELS).filter(|level| self.level_tables[*level] > 0) {
            lines.push(format!(
                "  L{level}: {} tables, {}",
                self.level_tables[level],
                size(self.level_bytes[level])
            ));
        }
        lines.push(format!(
            "  log: {} segments, {}; {} operations ({}) not in tables yet; newest operation {}, in tables {}",
            self.log_segments,
            size(self.log_bytes),
            self.log_operations,
            size(self.log_operation_bytes),
            self.last_seq,
            self.flushed_seq
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_in_lines_and_json() {
        let mut outline =
            Outline { entries: 5, tombstones: 1, log_operations: 2, ..Outline::default() };
        (outline.level_tables[1], outline.level_bytes[1], outline.torn_bytes) = (3, 3 << 20, 512);
        let shard = Facts::of(1, &outline);
        let text = shard.lines(false).join("\n");
        assert!(
            text.starts_with(
                "shard 1: 6 keys at most; not closed in order; a torn end of 512 bytes"
            ),
            "{text}"
        );
        assert!(text.contains("\n  L1: 3 tables, 3.0 MB\n") && !text.contains("L0"), "{text}");
        let json = serde_json::to_value(&shard).unwrap();
        assert_eq!((&json["keys_max"], &json["level_tables"][1]), (&6.into(), &3.into()));
        assert!(shard.lines(true)[0].contains("nothing was ever written"));
    }
}
