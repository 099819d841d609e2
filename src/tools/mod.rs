//! Work on a data directory that no server has open: `check`, `repair`, and the dumps. Each takes the directory's lock, runs
//! on one core with the engine's own readers (`shard::check`), and prints lines; nobody waits for this process, so what
//! it prints is written where it arises.
//!
//! - `scan`, `stats`: its keys in order, and what it is made of; both change nothing.
//! - `check`, `repair`: findings of all shards, and what concerns more than one of them.
//! - `reshard`: the same keys in another number of shards. `shards`: all shards of a directory, opened.
//! - `rows`: a dump's records as text or JSON.
//! - `output`: lines, and the progress on a terminal.

pub(crate) mod check;
pub(crate) mod output;
mod repair;
mod reshard;
mod rows;
mod scan;
pub(crate) mod shards;
mod stats;

use std::future::Future;
use std::path::Path;

use shard::check::dump::{self, Kinds};
use shard::env::glommio::GlommioEnv;
use shard::error::Error;

use crate::cli::DumpArgs;
use crate::error::ServerError;
use crate::format;
use crate::preflight;
use crate::runtime::{self, CoreContext, CoreOptions};

pub use self::check::check;
pub use self::repair::repair;
pub(crate) use self::repair::stamp;
pub use self::reshard::{reshard, reshard_for_start};
pub use self::scan::scan;
pub use self::stats::stats;

/// Prints the records of a file. Answers whether all of it could be read.
///
/// # Errors
/// `Locked`, if a server has the file's directory open; what leaves nothing to be read; a missing io_uring.
pub fn dump(args: &DumpArgs, kind: Kinds) -> Result<bool, ServerError> {
    let (path, json, full) = (args.file.clone(), args.json, args.full);
    // A file of a data directory lies two levels below it; one that was copied elsewhere belongs to nobody.
    let absolute = path.canonicalize().map_err(|e| ServerError::io("open", &path, e))?;
    let data_dir = absolute.parent().and_then(Path::parent);
    let _lock = data_dir.map(format::look_lock).transpose()?;
    let dumped = on_a_core(async move |env| {
        let mut printer = rows::Printer::new(json, full);
        let result = dump::dump(&env, &path, kind, &mut |row| printer.print(&row)).await;
        printer.finish();
        result
    })?;
    match dumped {
        Ok(damages) => Ok(damages == 0),
        // Nothing of it can be read: that is what was asked.
        Err(error @ (Error::Corruption { .. } | Error::Foreign { .. })) => {
            output::Output::new(Path::new("")).line(&format!("damage: {error}"));
            Ok(false)
        }
        Err(error) => Err(ServerError::Shard(error)),
    }
}

/// Bytes of the files in a directory; 0 if it is absent.
fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// Runs `work` on a core of its own.
pub(crate) fn on_a_core<T, Run>(
    work: impl FnOnce(GlommioEnv) -> Run + Send + 'static,
) -> Result<T, ServerError>
where
    Run: Future<Output = T> + 'static,
    T: Send + 'static,
{
    preflight::core()?;
    let cpus = runtime::available_cpus().map_err(ServerError::Runtime)?;
    // The last one: a server on this machine has its first core on the first.
    let cpu = cpus.last().copied().unwrap_or_default();
    let options = CoreOptions { cpus: vec![cpu], ..CoreOptions::default() };
    let mut work = Some(work);
    let cores = runtime::start(&options, |_| {
        let work = work.take();
        move |context: CoreContext| async move {
            let CoreContext { env, mut driver, .. } = context;
            let Some(work) = work else { unreachable!("one core, made once") };
            let work = Box::pin(work(env));
            driver.run(work).await
        }
    });
    let results = cores.and_then(runtime::Cores::join).map_err(ServerError::Runtime)?;
    let Some(result) = results.into_iter().next() else { return Err(ServerError::CoreDied) };
    result.map_err(ServerError::Runtime)
}
