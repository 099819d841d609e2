//! The same bytes to `redis-server` and to this server: what both answer must be the same, byte for byte.
//!
//! Strategy: sequences of commands are generated from a seed (`templates`, `generate`), over some twenty keys so that states
//! collide, and sent over three connections in pipelines that are cut anywhere (`episode`). Each reply is compared
//! (`compare`); where this server differs on purpose stands in one list, each entry with its reason (`known`). Commands that
//! this server does not have, by its own COMMAND, are left out on both sides and counted. A difference is shrunk to the
//! shortest sequence that still shows it (`shrink`), and the failure prints it with its seed.
//!
//! `DIFF_SEED=7 DIFF_COMMANDS=1000000 cargo test --release --test differential -- --nocapture` is the long run.
//! `RUSTY_LSM_TEST_BIN=/usr/bin/redis-server` compares Redis with Redis: what differs then is the generator's fault.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "black-box tests wait for another process, with plain threads"
)]

#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the black-box tests, which use all of it"
)]
#[path = "../blackbox/common/mod.rs"]
mod common;

mod compare;
mod dice;
mod episode;
mod framing;
mod generate;
mod handshakes;
mod known;
mod mangled;
mod pubsub;
mod report;
mod safety;
mod sequences;
mod servers;
mod shrink;
mod templates;
mod values;
mod wire;
