//! How many distinct keys there are, about, from a few kilobytes: `HyperLogLog` over the hashes of keys.
//!
//! Registers and estimate: P. Flajolet et al., "`HyperLogLog`: the analysis of a near-optimal cardinality estimation algorithm",
//! 2007; the estimate without corrections by range: O. Ertl, "New cardinality estimation algorithms for `HyperLogLog`
//! sketches", 2017 (arXiv 1702.01284), section 2. With 4096 registers the standard error is 1.6 %.
//!
//! On disk (of a table, in its meta region):
//! ```text
//! sketch   = register u8 * 4096 | (register number u16 LE, register u8)*      the second, ascending, where it is shorter
//! register = 1 + leading zeros of the hash behind its first 12 bits, the greatest of all hashes with those bits; 0: none
//! ```
//!
//! # Invariants
//! - The sketch of a union is the greater of each pair of registers: whatever is merged, and in whatever order.
#![deny(clippy::indexing_slicing)]

use std::cell::Cell;

/// The first bits of a hash, which choose its register.
const INDEX_BITS: u32 = 12;

/// Registers.
const REGISTERS: usize = 1 << INDEX_BITS;

/// The greatest register: all other bits are zero.
const RANK_MAX: u8 = 53;

const _: () = assert!(RANK_MAX as u32 == u64::BITS - INDEX_BITS + 1);

/// One register on disk, of a sketch with few.
const SPARSE_BYTES: usize = 3;

const _: () =
    assert!(!REGISTERS.is_multiple_of(SPARSE_BYTES), "the length tells the two forms apart");

/// A sketch of the keys that were added. 4 KiB.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    registers: Box<[Cell<u8>; REGISTERS]>,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch").field("estimate", &self.estimate()).finish()
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self { registers: Box::new([const { Cell::new(0) }; REGISTERS]) }
    }
}

impl Sketch {
    /// Adds a key by its [`hash`](crate::key::hash).
    #[inline]
    pub(crate) fn add(&self, hash: u64) {
        let index = (hash >> (u64::BITS - INDEX_BITS)) as usize;
        #[expect(clippy::cast_possible_truncation, reason = "at most RANK_MAX")]
        let rank = ((hash << INDEX_BITS | 1 << (INDEX_BITS - 1)).leading_zeros() + 1) as u8;
        if let Some(register) = self.registers.get(index)
            && register.get() < rank
        {
            register.set(rank);
        }
    }

    /// Adds all that `other` has.
    pub(crate) fn merge(&self, other: &Self) {
        for (ours, theirs) in self.registers.iter().zip(&*other.registers) {
            ours.set(ours.get().max(theirs.get()));
        }
    }

    /// Adds all that the sketch encoded as `bytes` has, which [`check`] has passed.
    pub(crate) fn merge_encoded(&self, bytes: &[u8]) {
        if bytes.len() == REGISTERS {
            for (ours, theirs) in self.registers.iter().zip(bytes) {
                ours.set(ours.get().max(*theirs));
            }
            return;
        }
        for (index, rank) in sparse(bytes) {
            if let Some(ours) = self.registers.get(index) {
                ours.set(ours.get().max(rank));
            }
        }
    }

    /// As it lies in a table.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let set = || self.registers.iter().enumerate().filter(|(_, register)| register.get() > 0);
        if set().count() * SPARSE_BYTES >= REGISTERS {
            return self.registers.iter().map(Cell::get).collect();
        }
        let place = |index| u16::try_from(index).expect("fewer registers").to_le_bytes();
        set()
            .flat_map(|(index, register)| {
                let [low, high] = place(index);
                [low, high, register.get()]
            })
            .collect()
    }

    /// How many distinct keys were added, about.
    pub(crate) fn estimate(&self) -> f64 {
        /// 1 / (2 ln 2).
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        const COUNT: f64 = (1_u32 << INDEX_BITS) as f64;
        let mut counts = [0_u32; RANK_MAX as usize + 1];
        for register in &*self.registers {
            if let Some(count) = counts.get_mut(usize::from(register.get())) {
                *count += 1;
            }
        }
        let [none, between @ .., full] = counts;
        let mut sum = COUNT * tau(1.0 - f64::from(full) / COUNT);
        for count in between.iter().rev() {
            sum = 0.5 * (sum + f64::from(*count));
        }
        sum += COUNT * sigma(f64::from(none) / COUNT);
        ALPHA * COUNT * COUNT / sum
    }
}

/// The registers of a sketch encoded by number.
fn sparse(bytes: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let (chunks, _) = bytes.as_chunks::<SPARSE_BYTES>();
    chunks.iter().map(|[low, high, rank]| (usize::from(u16::from_le_bytes([*low, *high])), *rank))
}

/// Whether bytes that were read are an encoded sketch.
///
/// # Errors
/// What is wrong.
pub(crate) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let sound = if bytes.len() == REGISTERS {
        bytes.iter().all(|rank| *rank <= RANK_MAX)
    } else {
        bytes.len().is_multiple_of(SPARSE_BYTES)
            && bytes.len() < REGISTERS
            && sparse(bytes)
                .all(|(index, rank)| index < REGISTERS && (1..=RANK_MAX).contains(&rank))
            && sparse(bytes).is_sorted_by(|(one, _), (next, _)| one < next)
    };
    if sound { Ok(()) } else { Err("the sketch of its keys is none") }
}

/// What registers without a key stand for: `x` is their share. (Ertl, algorithm 6.)
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum <= before {
            return sum;
        }
    }
}

/// What full registers stand for: `x` is the share of all others.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * power;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::hash;

    fn of(keys: std::ops::Range<u64>) -> Sketch {
        let sketch = Sketch::default();
        keys.for_each(|key| sketch.add(hash(format!("key:{key:012}").as_bytes())));
        sketch
    }

    /// Within five standard errors of 1.6 %, and nearly exact while most registers hold one key at most.
    #[test]
    fn the_error_is_what_the_source_says() {
        let mut squares = Vec::new();
        for (index, count) in [1, 10, 100, 1_000, 4_096, 10_000, 40_000, 100_000, 300_000]
            .into_iter()
            .flat_map(|count| [count; 4])
            .enumerate()
        {
            let from = index as u64 * 1_000_000;
            let estimate = of(from..from + count).estimate();
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let error = estimate / count as f64 - 1.0;
            let bound = if count <= 100 { 0.03 } else { 0.08 };
            assert!(error.abs() < bound, "{count}: {estimate}");
            squares.push(error * error);
        }
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let deviation = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        assert!(deviation < 0.025, "{deviation}");
        assert_eq!(Sketch::default().estimate().to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_union_counts_each_key_once() {
        let (left, right) = (of(0..60_000), of(40_000..100_000));
        let both = left.clone();
        both.merge(&right);
        assert_eq!(both, of(0..100_000));
        let encoded = Sketch::default();
        for part in [&left, &right, &of(7..9)] {
            encoded.merge_encoded(&part.encode());
        }
        assert_eq!(encoded, both);
    }

    #[test]
    fn both_forms_on_disk_say_the_same() {
        for count in [0, 1, 500, 1_300, 1_600, 50_000] {
            let sketch = of(0..count);
            let bytes = sketch.encode();
            assert_eq!(check(&bytes), Ok(()));
            assert!(bytes.len() <= REGISTERS);
            assert!(count > 1_300 || bytes.len() < REGISTERS, "few are listed");
            let again = Sketch::default();
            again.merge_encoded(&bytes);
            assert_eq!(again, sketch);
        }
    }

    #[test]
    fn bytes_that_are_no_sketch_are_told() {
        assert!(check(&[RANK_MAX; REGISTERS]).is_ok());
        assert!(check(&[RANK_MAX + 1; REGISTERS]).is_err());
        for sparse in [&[0, 0][..], &[0, 16, 1], &[0, 0, 0], &[1, 0, 1, 1, 0, 1], &[1, 0, 54]] {
            assert!(check(sparse).is_err(), "{sparse:?}");
        }
        assert!(check(&[0; 3 * 1366]).is_err(), "the longer form");
    }

    #[test]
    fn hashes_at_the_ends_fit() {
        let sketch = Sketch::default();
        for hash in [0, u64::MAX, u64::MAX << 52, (1 << 52) - 1] {
            sketch.add(hash);
        }
        assert_eq!(sketch.registers.first().map(Cell::get), Some(RANK_MAX));
        assert!(sketch.estimate() >= 2.0);
    }
}
