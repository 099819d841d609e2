//! rusty-lsm: a persistent key-value server that speaks the Redis protocol, one LSM tree per core.
//!
//! # Modules, in the order a command meets them
//! - [`runtime`]: threads and executors. `server`: start, stop, what cores share. `worker`: one core's loop.
//!   `loading`: who answers before there are shards.
//! - `net`: sockets. [`resp`]: bytes to a command. [`command`]: the one table, and commands that need no shard.
//! - [`slots`], `dispatch`: which shard. `mesh`, `requests`, `gather`: between cores. `execute`: on a shard.
//! - `reply`: back, in order. `telemetry`: INFO and STATS.
//! - [`engine`]: the same without a socket.
//!
//! [`client`] is the other end of all that: what speaks to a server, this one or another.
//!
//! [`terminal`]: what people type and watch in a terminal.
//!
//! [`access`] is asked before each command whether this client may use it.
//!
//! Around them: [`cli`], [`config`], [`preflight`], [`format`](mod@format) (the data directory's own file and lock),
//! [`live`] (settings that change), [`start`], [`error`] (exit codes and reply texts), [`limits`]; [`tools`] (check, repair
//! and dumps of a closed directory).
//!
//! # The life of a write
//! `net` -> `resp` -> `command` -> `dispatch` -> (own shard, or `mesh` -> `requests`) -> `execute` -> `shard` (admission,
//! WAL frame, memtable) -> `reply` holds it until the shard has released its sequence number -> `net`.
//!
//! # The life of a read
//! The same way to `execute`; what is in memory is answered at once, else a long-lived task reads the blocks and fills
//! the hole that the reply left.
pub mod access;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod engine;
pub mod error;
pub mod error_classes;
pub mod format;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod glob;
pub mod http;
pub mod latency;
pub mod limits;
pub mod live;
pub mod preflight;
pub mod resp;
pub mod runtime;
pub mod server;
pub mod service;
pub mod slots;
pub mod start;
pub mod telemetry;
pub mod terminal;
pub mod tools;
pub mod transfer;

mod apply;
mod ask;
mod asked;
pub mod backup;
mod dispatch;
mod execute;
mod facts;
mod gather;
mod ledger;
mod loading;
mod mesh;
mod monitor;
mod multishard;
pub mod net;
mod overrides;
mod pubsub;
mod reply;
mod requests;
mod series;
mod slab;
mod slowlog;
mod sys;
mod transaction;
mod watch;
mod work;
mod worker;

pub use engine::{Engine, EngineError, Options, WriteBatch};
