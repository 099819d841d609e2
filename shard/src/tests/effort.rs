//! How much the long tests do. Without a variable: what fits into every run. One seed again, or many:
//!
//! ```text
//! SIM_SEED=7 cargo test -p shard --features sim --lib tests::crash
//! SIM_SEEDS=50 SIM_OPS=2000 SIM_EVERY=1 cargo test -p shard --features sim --lib tests::crash
//! ```

use std::ops::Range;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    /// `SIM_SEED` is one seed, `SIM_SEEDS` how many from 1.
    pub(crate) seeds: Range<u64>,
    /// `SIM_OPS`: operations of a workload.
    pub(crate) ops: u64,
    /// `SIM_EVERY`: of the places where something could happen, each so-many-th is tried.
    pub(crate) every: u64,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

impl Effort {
    /// What the environment asks for, else this.
    pub(crate) fn or(seeds: u64, ops: u64, every: u64) -> Self {
        let seeds = match (number("SIM_SEED"), number("SIM_SEEDS")) {
            (Some(seed), _) => seed..seed + 1,
            (None, count) => 1..count.unwrap_or(seeds) + 1,
        };
        let ops = number("SIM_OPS").unwrap_or(ops);
        Self { seeds, ops, every: number("SIM_EVERY").unwrap_or(every).max(1) }
    }
}

/// One line about a long run, on the test's own output.
#[expect(clippy::disallowed_macros, reason = "a test reports to whoever runs it")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Says where a test was when it panicked: the seed, and how to run it again.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) String);

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&self.0);
        }
    }
}

/// A stream of numbers from a seed (SplitMix64), for what a test itself decides.
#[derive(Debug)]
pub(crate) struct Dice(std::cell::Cell<u64>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(std::cell::Cell::new(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93)))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// As an index.
    pub(crate) fn index(&self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a length")
    }

    pub(crate) fn chance(&self, hits: u64, of: u64) -> bool {
        self.below(of) < hits
    }
}
