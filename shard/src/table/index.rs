//! Where each block lies and which keys it may hold: flat arrays, searched in place.
//!
//! # Invariants (verified once by [`ArchivedIndex::check`])
//! - Block `i` holds keys above `separator(i - 1)` and at or below `separator(i)`; separators ascend strictly.
//! - Blocks follow each other without a gap from offset 0.

use rkyv::{Archive, Serialize};

use super::block::common_prefix;
use super::stored::TRAILER_BYTES;
use crate::limits::{BLOCK_RAW_BYTES_MAX, KEY_BYTES_MAX};

/// The index of one table, as archived. All arrays but `keys` have one element per block.
#[derive(Debug, Default, PartialEq, Eq, Archive, Serialize)]
#[rkyv(derive(Debug))]
pub struct Index {
    /// The separators, one after the other.
    keys: Vec<u8>,
    /// End of each separator in `keys`.
    key_ends: Vec<u32>,
    /// End of each stored block in the file.
    block_ends: Vec<u64>,
    /// Length of each body before compression.
    raw_lens: Vec<u32>,
}

/// Bytes that one block takes in the index besides its separator.
const BLOCK_BYTES: usize = 4 + 8 + 4;

/// A block's place. Only a checked index makes one, so its lengths are within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockHandle {
    pub(super) index: usize,
    pub(super) offset: u64,
    pub(super) stored_len: usize,
    pub(super) raw_len: usize,
}

impl BlockHandle {
    /// Offset in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes on disk, trailer included.
    pub fn stored_len(&self) -> usize {
        self.stored_len
    }

    /// Bytes in memory: no value in it is longer.
    pub fn raw_len(&self) -> usize {
        self.raw_len
    }

    /// End in the file, in bytes.
    pub fn end(&self) -> u64 {
        self.offset + self.stored_len as u64
    }
}

impl Index {
    /// Appends a block that ends at `block_end`, under a separator.
    pub fn push(&mut self, separator: &[u8], block_end: u64, raw_len: usize) {
        assert!(raw_len <= BLOCK_RAW_BYTES_MAX);
        self.keys.extend_from_slice(separator);
        self.key_ends.push(u32::try_from(self.keys.len()).expect("bounded by is_full"));
        self.block_ends.push(block_end);
        self.raw_lens.push(u32::try_from(raw_len).expect("below the limit"));
    }

    /// Its length in the archive, in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.len() + self.key_ends.len() * BLOCK_BYTES
    }
}

impl ArchivedIndex {
    /// Blocks of the table.
    pub fn len(&self) -> usize {
        self.key_ends.len()
    }

    /// Whether there is no block: never in a table that opened.
    pub fn is_empty(&self) -> bool {
        self.key_ends.is_empty()
    }

    /// Verifies blocks `from..to` (and the arrays' lengths); the whole index, slice by slice, before any other use.
    /// `data_end` is where the last block may end at most.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self, from: usize, to: usize, data_end: u64) -> Result<(), &'static str> {
        if self.block_ends.len() != self.len() || self.raw_lens.len() != self.len() {
            return Err("an index whose arrays differ in length");
        }
        if self.key_ends.last().map_or(0, |end| end.to_native() as usize) != self.keys.len() {
            return Err("an index whose keys do not end where they should");
        }
        for index in from..to {
            let key = self.separator(index).ok_or("an index key out of place")?;
            if key.len() > KEY_BYTES_MAX {
                return Err("an index key above the limit");
            }
            if index > 0 && self.separator(index - 1).is_none_or(|before| before >= key) {
                return Err("index keys that do not ascend");
            }
            let handle = self.handle(index).ok_or("an index block out of place")?;
            if handle.stored_len <= TRAILER_BYTES || handle.end() > data_end {
                return Err("an index block of an impossible length");
            }
            // Compression only ever shortens.
            if handle.raw_len > BLOCK_RAW_BYTES_MAX
                || handle.stored_len > handle.raw_len + TRAILER_BYTES
            {
                return Err("an index block above the limit");
            }
        }
        Ok(())
    }

    /// The separator of block `index`.
    #[inline]
    pub fn separator(&self, index: usize) -> Option<&[u8]> {
        let from = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.key_ends.get(before)?.to_native() as usize,
        };
        self.keys.get(from..self.key_ends.get(index)?.to_native() as usize)
    }

    /// Block `index`.
    #[inline]
    pub fn handle(&self, index: usize) -> Option<BlockHandle> {
        let offset = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.block_ends.get(before)?.to_native(),
        };
        let stored_len = self.block_ends.get(index)?.to_native().checked_sub(offset)?;
        let raw_len = self.raw_lens.get(index)?.to_native() as usize;
        Some(BlockHandle { index, offset, stored_len: usize::try_from(stored_len).ok()?, raw_len })
    }

    /// The only block that may hold `key`: the first whose separator is at or above it; `len()` if none is.
    pub fn find(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.separator(middle).is_some_and(|separator| separator < key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Writes to `out` a short key that is at or above `last` and below `next` (`last < next`).
pub fn separator(last: &[u8], next: &[u8], out: &mut Vec<u8>) {
    assert!(last < next);
    let same = common_prefix(last, next);
    out.clear();
    if let Some(prefix) = next.get(..=same)
        && prefix.len() < next.len()
    {
        // One byte more than they share: differs from `last` upwards, and is a true prefix of `next`.
        out.extend_from_slice(prefix);
    } else if let (Some(prefix), Some(byte), Some(above)) =
        (last.get(..same), last.get(same), next.get(same))
        && byte + 1 < *above
    {
        out.extend_from_slice(prefix);
        out.push(byte + 1);
    }
    if out.is_empty() || out.len() >= last.len() {
        out.clear();
        out.extend_from_slice(last);
    }
}
