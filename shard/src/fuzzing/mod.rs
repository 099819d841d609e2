//! What the targets in `fuzz/` call, one function a target: any bytes in, a panic if something does not hold that must.
//! The corpora in `fuzz/corpus` run through the same functions with every `cargo test`.
//!
//! - [`block`]: the body of a data block, as it is.
//! - [`table`], [`wal`], [`manifest`]: files that the engine has written ([`base`]), edited by a [`script`], read by what reads
//!   them at a start.
//! - [`repair`](fn@repair): all files of a shard, edited; opened, checked, repaired, checked, opened.
//!
//! The first byte of an input is flags. `FORGED` set: somebody with a file editor, who corrects every checksum
//! ([`forge`]); a CRC is no signature, so other data may come out, but nothing may panic, hang, or take memory by the length
//! that a file claims. Clear: damage, and then what comes out is what was written, or an error that names file and offset.
//!
//! Those of the server are in `rusty_lsm::fuzzing`.

mod base;
mod block;
mod forge;
mod manifest;
mod repair;
mod script;
mod table;
#[cfg(test)]
mod tests;
mod wal;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

pub use block::block;
pub use manifest::manifest;
pub use repair::repair;
pub use table::table;
pub use wal::wal;

use crate::env::Env;
use crate::env::sim::{Sim, SimEnv};
use crate::error::Error;

/// Flag: checksums are corrected.
const FORGED: u8 = 1;

/// Virtual time that any of this may take: an operation takes some microseconds.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Runs `work` on a machine that has `files`, and stops it when it goes on for ever.
fn on<'a, T>(
    files: impl Iterator<Item = (&'a Path, &'a [u8])>,
    work: impl AsyncFnOnce(SimEnv) -> T,
) -> T {
    let sim = Sim::new(1).fifo();
    for (path, bytes) in files {
        if let Some(dir) = path.parent() {
            sim.make_dir(dir);
        }
        sim.write_raw(path, bytes);
    }
    sim.run(async |env| in_time(&env, work(env.clone())).await)
}

async fn in_time<T>(env: &SimEnv, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut timeout = pin!(env.sleep(TIME_MAX));
    std::future::poll_fn(|context| {
        assert!(timeout.as_mut().poll(context).is_pending(), "it hangs");
        work.as_mut().poll(context)
    })
    .await
}

/// An error of a reader names a file under `dir`, and an offset that can be in it, or says whose the file is.
fn names_its_place(error: &Error, dir: &Path, bytes_max: usize) {
    match error {
        Error::Corruption { path, offset, what } => {
            assert!(path.starts_with(dir), "{error}");
            assert!(*offset <= bytes_max as u64, "an offset beyond the file: {error}");
            assert!(!what.is_empty());
        }
        Error::Foreign { path, .. } | Error::Newer { path, .. } => {
            assert!(path.starts_with(dir), "{error}");
        }
        other => panic!("neither damage nor foreign: {other}"),
    }
}
