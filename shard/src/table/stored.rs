//! A data block as it lies on disk: payload, type, CRC. See the picture in [`super`].

use std::ops::Range;

use super::block::Block;
use crate::env::IoBuf;
use crate::key::Identity;
use crate::limits::COMPRESS_BYTES_MAX;

/// Type and CRC behind each payload, in bytes.
pub const TRAILER_BYTES: usize = 1 + 4;

const TYPE_PLAIN: u8 = 1;
const TYPE_SNAPPY: u8 = 2;

/// A block is compressed only where that saves this fraction of it: less is not worth decompressing at each read.
const SAVING_MIN: usize = 8;

/// A buffer of a direct read is kept as it is if the block fills this many eighths of it: a block of one 4 KiB
/// page's length lies on two, and keeping both would halve what a cache holds.
const KEEP_EIGHTHS: usize = 7;

/// What seeds the checksums of one table: a block that is whole but in the wrong file or place fails.
#[derive(Debug, Clone, Copy)]
pub struct Seed {
    identity: [u64; 3],
    number: u64,
}

impl Seed {
    /// The seed of table `number`.
    pub fn new(identity: &Identity, number: u64) -> Self {
        Self { identity: identity.seed(), number }
    }

    /// A CRC that has seen the seed and the offset.
    pub fn hasher(&self, offset: u64) -> crc32fast::Hasher {
        let mut hasher = crc32fast::Hasher::new();
        for word in self.identity.iter().chain(&[self.number, offset]) {
            hasher.update(&word.to_le_bytes());
        }
        hasher
    }
}

/// Compresses bodies, in memory that is used again.
pub struct Packer {
    snappy: snap::raw::Encoder,
    out: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self { snappy: snap::raw::Encoder::new(), out: Vec::new() }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// The payload to store for `body`, and its type: Snappy where it pays.
    pub fn pack<'a>(&'a mut self, body: &'a [u8], compress: bool) -> (&'a [u8], u8) {
        if !compress || body.len() > COMPRESS_BYTES_MAX {
            return (body, TYPE_PLAIN);
        }
        self.out.resize(snap::raw::max_compress_len(body.len()), 0);
        match self.snappy.compress(body, &mut self.out) {
            Ok(len) if len <= body.len() - body.len() / SAVING_MIN => {
                (self.out.get(..len).unwrap_or(body), TYPE_SNAPPY)
            }
            // An error is a matter of lengths, which were right; a plain block is right in any case.
            _ => (body, TYPE_PLAIN),
        }
    }
}

/// Type and CRC of a payload that `hasher` (seeded by [`Seed::hasher`]) has seen.
pub fn trailer(mut hasher: crc32fast::Hasher, kind: u8) -> [u8; TRAILER_BYTES] {
    hasher.update(&[kind]);
    let [a, b, c, d] = hasher.finalize().to_le_bytes();
    [kind, a, b, c, d]
}

/// The type of a payload that is the body itself.
pub const fn plain() -> u8 {
    TYPE_PLAIN
}

/// Splits a stored block into payload, type and CRC.
fn split(stored: &[u8]) -> Option<(&[u8], u8, u32)> {
    let (rest, crc) = stored.split_last_chunk::<4>()?;
    let (&kind, payload) = rest.split_last()?;
    Some((payload, kind, u32::from_le_bytes(*crc)))
}

/// Whether the CRC of `stored` is the one of its bytes; `hasher` is seeded.
pub fn crc_holds(stored: &[u8], mut hasher: crc32fast::Hasher) -> bool {
    let Some((rest, crc)) = stored.split_last_chunk::<4>() else { return false };
    hasher.update(rest);
    hasher.finalize() == u32::from_le_bytes(*crc)
}

/// What a CRC that does not hold is called.
pub const CRC_FAILED: &str = "a block's checksum does not match its bytes";

/// The body of `stored`, whose CRC holds and whose body is `raw_len` long according to the index.
///
/// # Errors
/// What is wrong with it.
fn unpack(payload: &[u8], kind: u8, raw_len: usize) -> Result<Vec<u8>, &'static str> {
    match kind {
        TYPE_PLAIN if payload.len() == raw_len => Ok(payload.to_vec()),
        TYPE_SNAPPY if raw_len <= COMPRESS_BYTES_MAX => {
            // Six bytes can claim 4 GiB: the index's length is allocated, and a claim beyond it does not fit.
            let mut body = vec![0; raw_len];
            match snap::raw::Decoder::new().decompress(payload, &mut body) {
                Ok(len) if len == raw_len => Ok(body),
                _ => Err("a compressed block that does not decompress"),
            }
        }
        TYPE_PLAIN | TYPE_SNAPPY => Err("a block of another length than the index says"),
        _ => Err("a block of an unknown type"),
    }
}

/// The block stored in `stored`, copied out of it. The CRC is known to hold.
///
/// # Errors
/// What is wrong with it.
pub fn open_copy(stored: &[u8], raw_len: usize) -> Result<Block, &'static str> {
    let (payload, kind, _) = split(stored).ok_or("a block shorter than its trailer")?;
    Block::new(unpack(payload, kind, raw_len)?)
}

/// The block stored at `range` of a read, which is kept if it is not much larger. The CRC is known to hold.
///
/// # Errors
/// What is wrong with it.
pub fn open_read(buf: IoBuf, range: Range<usize>, raw_len: usize) -> Result<Block, &'static str> {
    let stored = buf.get(range.clone()).unwrap_or_default();
    let (payload, kind, _) = split(stored).ok_or("a block shorter than its trailer")?;
    if kind == TYPE_PLAIN
        && payload.len() == raw_len
        && raw_len >= buf.capacity() / 8 * KEEP_EIGHTHS
    {
        let from = range.start;
        return Block::from_read(buf, from..from + raw_len);
    }
    Block::new(unpack(payload, kind, raw_len)?)
}
