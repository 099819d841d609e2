//! `compact`: all tables of a closed directory merged, by the engine itself: the directory is opened as a server opens it, told
//! COMPACT, and closed.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::link::{Link, LinkError};
use super::{Interrupt, complain, grouped, print, size};
use crate::cli::CompactArgs;
use crate::client::{Client, Reply};
use crate::command::Report;
use crate::error::ServerError;
use crate::format::DataDir;

/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Merges all tables of the directory. Answers whether it was done to its end.
///
/// # Errors
/// `Locked`, `DataDir`, and all that a start may refuse.
pub fn compact(args: &CompactArgs) -> Result<bool, ServerError> {
    // A start would make a directory that is not there.
    drop(DataDir::existing(&args.dir, true)?);
    let Some(dir) = args.dir.to_str() else {
        return Err(ServerError::DataDir {
            path: args.dir.clone(),
            what: "its name is no UTF-8, which settings are".into(),
            remedy: "give it another name, or a link to it one".into(),
        });
    };
    let mut link = Link::embedded(Some(dir), &[])?;
    let interrupt = Interrupt::watch().map_err(ServerError::Runtime)?;
    let done = merge(&mut link, &interrupt);
    link.close()?;
    match done {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&format!("rusty-lsm: {error}"));
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Debug, thiserror::Error)]
enum CompactError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0}")]
    Refused(String),
    #[error("ended by Ctrl-C; the tables are as they were, as far as they were not merged")]
    Interrupted,
}

fn merge(link: &mut Link, interrupt: &Interrupt) -> Result<String, CompactError> {
    let mut watcher = link.another()?;
    let before = look(&mut watcher)?;
    let total = tables_bytes(&before);
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
    let template = "merging {bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    link.send(&["COMPACT"])?;
    loop {
        let reply = link.client()?.receive_within(LOOK_INTERVAL).map_err(LinkError::Client)?;
        match reply {
            Some(Reply::Error(text)) => return Err(CompactError::Refused(text)),
            Some(_) => break,
            None if interrupt.was_pressed() => return Err(CompactError::Interrupted),
            None => {}
        }
        let now = look(&mut watcher)?;
        let read = now.lsm.compaction_read_bytes - before.lsm.compaction_read_bytes;
        // A flush comes first, which makes tables that were not counted.
        bar.set_length(total.max(read));
        bar.set_position(read);
    }
    bar.finish_and_clear();
    let after = look(&mut watcher)?;
    Ok(format!(
        "compacted {} shards: {} tables of {} before, {} tables of {} now, {} keys\n",
        after.shards.len(),
        grouped(before.lsm.tables),
        size(total),
        grouped(after.lsm.tables),
        size(tables_bytes(&after)),
        grouped(after.keyspace.keys),
    ))
}

fn tables_bytes(report: &Report) -> u64 {
    report.lsm.level_bytes.iter().sum()
}

fn look(client: &mut Client) -> Result<Report, CompactError> {
    let reply = client.command(&["STATS", "JSON"]).map_err(LinkError::Client)?;
    let report = reply.bytes().and_then(|text| Report::from_json(text).ok());
    report
        .ok_or_else(|| CompactError::Refused("STATS JSON was answered with something else".into()))
}
