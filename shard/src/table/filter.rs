//! Which keys are certainly not in a table: a Bloom filter whose bits are read in place.
//!
//! A key's bits all lie in one line of 512, so a probe costs one cache miss. They are 9-bit fields of one 64-bit
//! word: at most seven. Ours and not the `fastbloom` crate because that one owns its bits: each open table would
//! hold a second copy of them, made in one long stretch.
//!
//! Lines against plain double hashing over all bits, both at 10 bits and 6 probes a key, the better of two runs on a
//! busy machine (best of 15 passes each, every probe waiting for the one before; hashes by a stand-in for xxh3):
//!
//! | keys | false positives | a hit | a miss |
//! |---|---|---|---|
//! | 100 k | 0.96 % / 0.85 % | 8.3 / 9.0 ns | 16 / 20 ns |
//! | 1 M | 0.96 % / 0.82 % | 10 / 11 ns | 18 / 27 ns |
//! | 8 M (10 MB) | 0.97 % / 0.85 % | 41 / 51 ns | 43 / 169 ns |
//!
//! So lines cost a tenth of a percent of false positives, and save most where a filter is out of the cache.

use std::time::Duration;

use rkyv::{Archive, Serialize};

use crate::env::Env;
use crate::key::Identity;
use crate::limits::BACKGROUND_SLICE_US;

/// Words of one line: 512 bits, one cache line.
const LINE_WORDS: usize = 8;
const LINE_BITS: usize = LINE_WORDS * 64;

/// Bits of a probe's position in its line.
const FIELD_BITS: u32 = 9;
/// Most probes that one 64-bit word gives.
const PROBES_MAX: u32 = 7;

/// Hashes entered between two looks at the clock.
const HASHES_PER_SLICE: usize = 4096;

const _: () = assert!(LINE_BITS == 1 << FIELD_BITS);
const _: () = assert!(PROBES_MAX * FIELD_BITS <= u64::BITS);

/// The filter of one table, as archived.
#[derive(Debug, Default, PartialEq, Eq, Archive, Serialize)]
#[rkyv(derive(Debug))]
pub struct Filter {
    /// Lines of eight words; none = no filter.
    words: Vec<u64>,
    /// Bits set per key; 0 = no filter.
    probes: u8,
}

/// Mixed into every hash, different for each table of each directory, and secret: hashes of keys alone are not, and
/// whoever could choose keys that all pass would make every miss a read. Not stored: it follows from the identity.
pub fn seed(identity: &Identity, number: u64) -> u64 {
    let [low, high, shard] = identity.seed();
    spread(low ^ spread(high ^ spread(shard << 48 ^ number)))
}

/// One round of multiply and fold: every input bit reaches the upper half, and from there the lower one.
#[inline]
fn spread(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9fb2_1c65_1e98_df25);
    value ^ (value >> 32)
}

/// The line of a hash and the word whose 9-bit fields are its positions.
#[inline]
fn place(hash: u64, seed: u64, lines: usize) -> (usize, u64) {
    let first = spread(hash ^ seed);
    // Upper half times the number of lines: a line without a division.
    let line = ((first >> 32) * lines as u64) >> 32;
    (line as usize, spread(first))
}

/// Word and bit of each position in `fields`.
#[inline]
fn positions(fields: u64, probes: u32) -> impl Iterator<Item = (usize, u64)> {
    (0..probes).map(move |probe| {
        let bit = (fields >> (probe * FIELD_BITS)) & (LINE_BITS as u64 - 1);
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

impl ArchivedFilter {
    /// Verifies what [`ArchivedFilter::may_contain`] relies on.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        if !self.words.len().is_multiple_of(LINE_WORDS) || self.words.len() / LINE_WORDS > LINES_MAX
        {
            return Err("a filter of an impossible length");
        }
        if u32::from(self.probes) > PROBES_MAX || (self.probes == 0) != self.words.is_empty() {
            return Err("a filter with an impossible number of probes");
        }
        Ok(())
    }

    /// Whether a key with this hash may be in the table; `false` is certain. One cache miss, no allocation.
    #[inline]
    pub fn may_contain(&self, hash: u64, seed: u64) -> bool {
        let lines = self.words.len() / LINE_WORDS;
        if lines == 0 {
            return true;
        }
        let (line, fields) = place(hash, seed, lines);
        let Some(words) = self.words.get(line * LINE_WORDS..(line + 1) * LINE_WORDS) else {
            return true;
        };
        positions(fields, u32::from(self.probes))
            .all(|(word, bit)| words.get(word).is_none_or(|word| word.to_native() & bit != 0))
    }

    /// Where the bits lie in memory: a multiple of a cache line.
    #[cfg(test)]
    pub(super) fn first_address(&self) -> usize {
        self.words.as_ptr().addr()
    }

    /// Memory of the bits, in bytes.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

/// Most lines that one table's meta region could hold.
const LINES_MAX: usize = crate::limits::TABLE_META_BYTES_MAX / (LINE_BITS / 8);

/// Gathers the hashes of a table's keys (8 bytes each) and sets the bits at the end, when their number is known.
#[derive(Debug)]
pub struct FilterBuilder {
    hashes: Vec<u64>,
    bits_per_key: usize,
    seed: u64,
}

impl FilterBuilder {
    /// `bits_per_key` 0: no filter.
    pub fn new(bits_per_key: usize, seed: u64) -> Self {
        Self { hashes: Vec::new(), bits_per_key, seed }
    }

    /// Enters a key by its [`hash`](crate::key::hash).
    pub fn add(&mut self, hash: u64) {
        if self.bits_per_key > 0 {
            self.hashes.push(hash);
        }
    }

    /// Length of the filter over what was added, in bytes.
    pub fn bytes(&self) -> usize {
        self.lines() * LINE_WORDS * size_of::<u64>()
    }

    fn lines(&self) -> usize {
        (self.hashes.len() * self.bits_per_key).div_ceil(LINE_BITS)
    }

    /// The filter. Pauses every [`BACKGROUND_SLICE_US`].
    pub async fn finish<E: Env>(self, env: &E) -> Filter {
        let lines = self.lines();
        if lines == 0 {
            return Filter::default();
        }
        // 0.69 bits set per bit of memory is the optimum of a plain Bloom filter, and near it for lines.
        let probes = u32::try_from(self.bits_per_key * 69 / 100)
            .map_or(PROBES_MAX, |probes| probes.clamp(1, PROBES_MAX));
        let mut words = vec![0; lines * LINE_WORDS];
        let mut slice_start = env.now();
        for hashes in self.hashes.chunks(HASHES_PER_SLICE) {
            for &hash in hashes {
                set(&mut words, place(hash, self.seed, lines), probes);
            }
            if env.now().saturating_sub(slice_start) > Duration::from_micros(BACKGROUND_SLICE_US) {
                env.pause().await;
                slice_start = env.now();
            }
        }
        Filter { words, probes: u8::try_from(probes).unwrap_or(u8::MAX) }
    }
}

/// Sets the bits of one key.
fn set(words: &mut [u64], (line, fields): (usize, u64), probes: u32) {
    let Some(words) = words.get_mut(line * LINE_WORDS..(line + 1) * LINE_WORDS) else { return };
    for (word, bit) in positions(fields, probes) {
        if let Some(word) = words.get_mut(word) {
            *word |= bit;
        }
    }
}
