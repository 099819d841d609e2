//! Values: a stamp that says which key they belong to, then noise, then what compresses.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cli::Sizes;
use crate::keys::{below, unit, write_digits};

/// The number of the key in decimal digits. A shorter value has its right end.
pub(crate) const STAMP_BYTES: usize = 16;
/// Noise that values take a piece of, so that none is made per request: larger than any window of a block compressor.
const POOL_BYTES: usize = 1 << 20;

/// Makes values. One for all threads.
#[derive(Debug)]
pub(crate) struct Values {
    pool: Vec<u8>,
    sizes: Sizes,
    compressible: f64,
}

impl Values {
    pub(crate) fn new(sizes: Sizes, compressible: f64, seed: u64) -> Self {
        let mut pool = vec![0; POOL_BYTES.max(2 * sizes.max)];
        SmallRng::seed_from_u64(seed).fill_bytes(&mut pool);
        Self { pool, sizes, compressible }
    }

    /// The size of the next value.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between the two sizes, clamped"
    )]
    pub(crate) fn draw_bytes(&self, random: &mut SmallRng) -> usize {
        let Sizes { min, max } = self.sizes;
        if min == max {
            return max;
        }
        // Zero has no logarithm.
        let (low, high) = (min.max(1) as f64, max as f64 + 1.0);
        let drawn = (low.ln() + unit(random) * (high / low).ln()).exp();
        (drawn as usize).clamp(min, max)
    }

    /// Appends a value of `bytes` bytes for key `number`.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        bytes: usize,
        number: u64,
        random: &mut SmallRng,
    ) {
        let stamp = stamp(number);
        let stamp = &stamp[STAMP_BYTES.saturating_sub(bytes)..];
        let end = out.len() + bytes;
        out.extend_from_slice(stamp);
        let plain_bytes = self.plain_bytes(bytes).min(bytes - stamp.len());
        let noise_bytes = bytes - stamp.len() - plain_bytes;
        let places = (self.pool.len() - noise_bytes) as u64 + 1;
        let from = usize::try_from(below(random, places)).expect("a place in the pool");
        out.extend_from_slice(&self.pool[from..from + noise_bytes]);
        out.resize(end, b'x');
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1 of a length"
    )]
    fn plain_bytes(&self, bytes: usize) -> usize {
        (bytes as f64 * self.compressible).round() as usize
    }
}

/// Whether `value` was made for key `number`.
pub(crate) fn belongs(value: &[u8], number: u64) -> bool {
    value.starts_with(&stamp(number))
}

fn stamp(number: u64) -> [u8; STAMP_BYTES] {
    let mut stamp = [b'0'; STAMP_BYTES];
    write_digits(&mut stamp, number);
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_whose_it_is() {
        let values = Values::new(Sizes { min: 0, max: 200 }, 0.5, 1);
        let mut random = SmallRng::seed_from_u64(1);
        for bytes in 0..200 {
            let mut value = Vec::new();
            values.append(&mut value, bytes, 4711, &mut random);
            assert_eq!(value.len(), bytes);
            assert_eq!(belongs(&value, 4711), bytes >= STAMP_BYTES);
            assert!(!belongs(&value, 4712));
        }
    }

    #[test]
    fn the_compressible_share_is_plain_and_the_rest_is_not() {
        for (share, plain) in [(0.0, 0), (0.25, 250), (0.5, 500), (1.0, 984)] {
            let values = Values::new(Sizes { min: 1000, max: 1000 }, share, 1);
            let mut value = Vec::new();
            values.append(&mut value, 1000, 1, &mut SmallRng::seed_from_u64(1));
            let had = value.iter().rev().take_while(|&&byte| byte == b'x').count();
            assert!(had.abs_diff(plain) <= 2, "{had} of {plain}");
            let mut noise = value[STAMP_BYTES..1000 - had].to_vec();
            noise.sort_unstable();
            noise.dedup();
            assert!(had == 984 || noise.len() > 100, "{} different bytes", noise.len());
        }
    }

    #[test]
    fn each_doubling_of_the_size_is_as_likely_as_any_other() {
        let values = Values::new(Sizes { min: 16, max: 65536 }, 0.5, 1);
        let mut random = SmallRng::seed_from_u64(1);
        let mut doublings = [0; 13];
        for _ in 0..120_000 {
            let bytes = values.draw_bytes(&mut random);
            assert!((16..=65536).contains(&bytes));
            doublings[bytes.ilog2() as usize - 4] += 1;
        }
        for count in &doublings[..12] {
            assert!((9_000..11_000).contains(count), "{doublings:?}");
        }
    }
}
