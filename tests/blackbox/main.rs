//! Black-box tests: each starts the real binary on a free port with a data directory of its own and talks to it over TCP.
//!
//! One test program instead of one per file: it links once, and helpers that only some files use are not dead code.
//! `cargo test --test blackbox kill9::` runs one file.
//!
//! `RUSTY_LSM_TEST_BIN=PATH` runs another binary. If its name is `redis-server` it is started as Redis: that validates
//! client, oracle and expected texts; what only this server does is then skipped, and each skip says so.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "black-box tests wait for another process, with plain threads"
)]

mod common;

mod admin;
mod backup;
mod clients;
mod clients_command;
mod doors;
mod events;
mod flush;
mod http;
mod http_doors;
mod http_limits;
mod info;
mod kill9;
mod large;
mod latency;
mod linger;
mod load;
mod loading;
mod memory;
mod multikey;
mod pipelining;
mod pubsub;
mod repl;
mod reshard;
mod resp;
mod restart;
mod security;
mod service;
mod settings;
mod shutdown;
mod startup;
mod terminal;
mod tools;
mod transfer;
mod values;
mod watching;
