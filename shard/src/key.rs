//! Keys, sequence numbers and entries: what every room of the engine passes around.
//!
//! # Invariants
//! - Order is by user key ascending (bytewise), then by sequence number descending: the newest version first.
//! - A sequence number names one operation of one shard and is never used twice.

/// The number of one operation in the shard's order of application. 0 means "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeqNo(pub u64);

/// What an operation did to its key. The numbers are on disk; 0 is invalid, so that zeroes never parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The key has a value.
    Put = 1,
    /// A tombstone: the key is absent, whatever older runs say.
    Delete = 2,
    /// The key has a value that ends at a time; [`crate::expiry`] has what is stored of both.
    Expiring = 3,
}

impl Kind {
    /// The kind whose number on disk is `byte`.
    pub fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::Expiring),
            _ => None,
        }
    }
}

/// One version of one key, borrowed from where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The user key.
    pub key: &'a [u8],
    /// The operation that made this version.
    pub seq: SeqNo,
    /// What that operation did.
    pub kind: Kind,
    /// As it is stored: empty for a tombstone, with the time before it for an expiring value.
    pub value: &'a [u8],
}

impl Entry<'_> {
    /// The internal order: key ascending, then newest first.
    pub fn order(&self, other: &Entry<'_>) -> std::cmp::Ordering {
        self.key.cmp(other.key).then(other.seq.cmp(&self.seq))
    }
}

/// The hash of a key that filters and the memtable's index use (xxh3, 64 bit). It is on disk (filters):
/// changing it changes the format.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// Mixes a hash that all may know with a secret seed: who knows only the hash cannot choose keys that meet in a table.
#[inline]
pub(crate) fn spread(hash: u64, seed: u64) -> u64 {
    /// An odd number without pattern: the golden ratio's bits.
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = u128::from(hash ^ seed) * u128::from(ODD);
    #[expect(clippy::cast_possible_truncation, reason = "folds 128 bits to 64")]
    {
        (product >> 64) as u64 ^ product as u64
    }
}

/// Where a file belongs. Part of every header and of every checksum's seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Random, made with the data directory.
    pub directory: u128,
    /// The shard's number in it.
    pub shard: u32,
}

impl Identity {
    /// The identity as words of a checksum's seed.
    pub fn seed(&self) -> [u64; 3] {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
        [self.directory as u64, (self.directory >> 64) as u64, u64::from(self.shard)]
    }
}
