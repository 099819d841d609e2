//! The storage engine of one core: an LSM tree over an [`Env`](env::Env). No sockets, no threads, no RESP.
//!
//! # Modules, in the order of the data's way
//! - Shapes: [`key`], [`batch`], [`coding`], [`cursor`], [`options`], [`limits`], [`error`], `event`.
//! - [`shard`]: the state. [`admission`], `backlog`, `throttle`, `write`, `commit`: in. [`read`], [`scan`], `view`: out.
//! - `wal`, [`memtable`], [`table`], `cache`, `manifest`: what it is made of.
//! - `flush`, `compaction`, [`merge`], `level`, `background`, `gc`: what goes on behind it.
//! - [`recovery`]: how it begins. [`stats`]: what it tells. [`check`]: what holds of it on disk, and how it is repaired.
//! - [`checkpoint`]: a copy of it, made while it goes on. [`reshard`]: its keys, in other shards.
//! - [`env`](mod@env): the one door to the world.
#![warn(missing_docs)]

pub mod admission;
pub mod batch;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod bench;
pub mod check;
pub mod checkpoint;
pub mod coding;
pub mod cursor;
pub mod env;
pub mod error;
pub mod estimate;
pub mod expiry;

pub mod foresee;
#[doc(hidden)]
#[cfg(any(test, feature = "sim"))]
pub mod fuzzing;
pub mod huge_pages;
pub mod key;
pub mod limits;
pub mod memtable;
pub mod merge;
pub mod options;
pub mod read;
pub mod recovery;
pub mod reshard;
pub mod scan;
pub mod shard;
pub mod snapshot;
pub mod space;
pub mod stats;
pub mod table;

mod background;
mod backlog;
mod cache;
mod commit;
mod compaction;
mod event;
mod flush;
mod gc;
mod level;
mod manifest;
mod prefetch;
mod sketch;
mod stall;
mod throttle;
mod view;
mod wal;
mod write;

#[cfg(test)]
mod tests;
