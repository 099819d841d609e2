//! What the targets in `fuzz/` call, one function a target: any bytes in, a panic if something does not hold that must.
//! The corpora in `fuzz/corpus` run through the same functions with every `cargo test`.
//!
//! - [`resp`](fn@resp): a client's bytes, in any pieces: to commands, to errors, and the commands back to bytes.
//! - [`config`](fn@config): the layers of settings, the way through `--print-config`, and the split of the memory.
//! - [`commands`](fn@commands): commands of two connections, through a whole server of two cores.
//!
//! Those of the engine are in `shard::fuzzing`.

mod commands;
mod config;
mod resp;
#[cfg(test)]
mod tests;

pub use commands::commands;
pub use config::config;
pub use resp::resp;
