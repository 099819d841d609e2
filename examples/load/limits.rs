//! Every bound of the generator, each with its reason.

/// Threads: more than any machine at hand has cores.
pub(crate) const THREADS_MAX: usize = 256;
/// Connections: what a server takes by default.
pub(crate) const CLIENTS_MAX: usize = 10_000;
/// Requests of one batch: what a client may send before it reads.
pub(crate) const PIPELINE_MAX: usize = 10_000;
/// Requests under way on one connection at a fixed rate.
pub(crate) const OUTSTANDING_MAX: usize = 1_000_000;
/// Requests a second in all: two moments of the schedule must not fall into one nanosecond.
pub(crate) const RATE_MAX: f64 = 1e8;
/// Seconds of a run, its warm-up included: a week. Moments in nanoseconds stay exact in an `f64`, and a series has a row a second.
pub(crate) const SECONDS_MAX: f64 = 604_800.0;
/// Requests of a run: years at any rate reached here.
pub(crate) const REQUESTS_MAX: u64 = 1_000_000_000_000;
/// Keys: their numbers stay exact in an `f64`, and what a run inserts still fits `INSERT_DIGITS`.
pub(crate) const KEYS_MAX: u64 = 10_000_000_000;
/// Bytes of a key: longer ones say nothing new about a server.
pub(crate) const KEY_BYTES_MAX: usize = 1024;
/// Bytes of a value: a reply holds at least one of them.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 20;
/// Bytes of one reply, and so of a connection's input buffer: 100 values of 64 KiB, four times over.
pub(crate) const REPLY_BYTES_MAX: usize = 32 << 20;
/// Bytes of one line of the protocol (an error, a number).
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;
/// Arrays within arrays in a reply.
pub(crate) const DEPTH_MAX: usize = 8;
/// Bytes of requests that wait for a socket; then nothing more is encoded for it, and its next requests wait unsent.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Keys of one MGET of workload E.
pub(crate) const SCAN_KEYS_MAX: u32 = 100;
/// Skew of a zipfian distribution: beyond it one key has all requests.
pub(crate) const THETA_MAX: f64 = 10.0;
/// Different first words of errors that are counted apart; what comes later is counted together.
pub(crate) const ERROR_WORDS_MAX: usize = 32;
/// Nanoseconds after the end of a schedule for which answers are awaited; then the rest counts as unanswered.
pub(crate) const DRAIN_NS: u64 = 10_000_000_000;
/// Nanoseconds without any answer, though some are due, after which a run without a rate gives up.
pub(crate) const SILENCE_NS: u64 = 60_000_000_000;
/// The smallest latency that is told apart, and the largest: an hour.
pub(crate) const LATENCY_NS_MIN: u64 = 100;
pub(crate) const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits of a key's name where the workload inserts: ten times `KEYS_MAX`, more than a week of inserting.
pub(crate) const INSERT_DIGITS: usize = 11;
