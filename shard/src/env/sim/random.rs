//! A stream of seeded random numbers (SplitMix64): the only source of chance in the simulation.

use std::cell::Cell;

/// One stream. Streams for different purposes are kept apart, so that a change in one leaves the others alone.
#[derive(Debug, Clone)]
pub(super) struct Random(Cell<u64>);

impl Random {
    /// The stream of `purpose` under `seed`.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        let stream = Self(Cell::new(seed ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93)));
        stream.next();
        stream
    }

    pub(super) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is above zero. The bias of the remainder does not matter here.
    pub(super) fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0);
        self.next() % bound
    }

    /// True `hits` times out of `of`.
    pub(super) fn chance(&self, hits: u64, of: u64) -> bool {
        self.below(of) < hits
    }
}
