//! The write-ahead log: what was acknowledged, in the order of application, until a table holds it.
//!
//! # A segment: `{number:06}.wal`
//! ```text
//! 0       header block (see below), then frames without a gap, then zeros to the listed length
//! 4096    chain frame: where the log stood before this segment
//! ...     batch frames, witness frames
//! ```
//! All integers are little-endian. A segment has its whole length, all zeros, before it is listed in the manifest: a full disk is
//! met there, and never by a frame. Under `always` the zeros are written, so that a frame changes no metadata and one
//! `O_DSYNC` write makes it durable; under the weaker policies the space is only taken.
//!
//! # Header block, 4096 bytes (also of a manifest and of `CURRENT`)
//! ```text
//! offset  bytes
//!      0      4  crc        CRC-32 of bytes 4..4096, unseeded: tells damage from a file of another place
//!      4      4  format     3 (1 and 2: the grain is 4096, and its field 0)
//!      8      8  magic      "RLSMWAL\0"; "RLSMMANI" and "RLSMCURR" for the others
//!     16     16  directory  identity of the data directory
//!     32      4  shard
//!     36      4  0
//!     40      8  number     file number (`CURRENT`: of the manifest it names)
//!     48      8  epoch      random, new with each file: bytes inside a value cannot pass for a frame
//!     56      8  extent     segment: its length; `CURRENT`: where the manifest's snapshot ends; manifest: 0
//!     64      4  grain      segment: 4096 under `always`, else 64; others: 4096
//!     68   4028  0
//! ```
//! # Frame (also an edit of the manifest): begins at a multiple of `grain`
//! ```text
//! offset  bytes
//!      0      4  crc          of bytes 4..len, seeded: directory, shard, number, epoch, offset of the frame
//!      4      4  len          header and payload, without padding
//!      8      1  kind         1 batch, 2 chain, 3 witness (4 snapshot, 5 edit: manifest); 0 is invalid
//!      9      3  0
//!     12      4  shard
//!     16      8  number       of the file
//!     24      8  first_seq    of the first operation (chain, witness: of the next one to come; manifest: index)
//!     32      8  synced_upto  every byte of this file before that offset was durable when the frame was built
//!     40      4  ops          operations in the payload (chain, witness, manifest: 0)
//!     44      4  head_crc     of bytes 4..44, same seed: the length is checked before the payload is read
//!     48      -  payload, and zeros: a batch to the next multiple of the grain, others to the next block of 4096
//! ```
//! A durable byte is never written again, nor is a block that holds one: before each sync of a segment of small grain a witness
//! fills the block in which the log ends, so that what follows begins in another one.
//!
//! Payload of a batch: [`crate::batch`]. Of a chain: segment u64 | end u64 | last_seq u64 of the log before (zeros:
//! none). Of a witness: nothing.
//!
//! # Validity
//! - A head whose `head_crc` holds was written by us at this place. All that is left to fail is its payload.
//! - Torn tail or damage: at the first frame that is not whole, at offset X, the later multiples of the grain are probed. A head
//!   there with `synced_upto > X`, the chain of a later segment, or a clean stop in the manifest that puts the end
//!   beyond X proves that X was durable: damage, and the log is refused. Else X is the end.
//! - Bytes behind an end that a chain names were cut by an earlier recovery, and are not looked at.
//! - Known limit: nothing vouches for the last batch but a clean stop or witness frames, two of which `always` writes after an
//!   idle second. Damage that hits the batch and all of them reads like a torn tail.

pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod reader;
pub(crate) mod segment;
pub(crate) mod walk;
pub(crate) mod window;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::key::SeqNo;
use crate::limits::{ALIGN, KEY_BYTES_MAX, VALUE_BYTES_CAP};

/// Longest frame, padding included, in bytes: one operation with the longest key and value fits, and so does any
/// group of smaller ones that the caller keeps below it.
pub(crate) const FRAME_BYTES_MAX: usize = VALUE_BYTES_CAP + (1 << 20);

/// What batches are padded to where a completed write is not durable by itself, in bytes: many small ones share a block. At
/// least a frame's head, so that a witness has room in what is left of any block; a line of the processor's cache.
pub(crate) const GRAIN_BYTES: usize = 64;

/// Shortest segment: header and chain frame.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 2 * ALIGN as u64;

/// Where the first frame of any file begins.
pub(crate) const FIRST_FRAME: u64 = ALIGN as u64;

/// What a segment holds beside operations: its header and the chain frame.
pub(crate) const SEGMENT_OVERHEAD_BYTES: u64 = FIRST_FRAME + ALIGN as u64;

const _: () = assert!(
    frame::frame_bytes(crate::expiry::STORED_BYTES_MAX + KEY_BYTES_MAX + frame::OP_HEAD_BYTES_MAX)
        <= FRAME_BYTES_MAX
);
const _: () = assert!(FRAME_BYTES_MAX.is_multiple_of(ALIGN));
const _: () = assert!(GRAIN_BYTES >= frame::FRAME_HEAD_BYTES && ALIGN.is_multiple_of(GRAIN_BYTES));
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);

/// How every report of damage ends.
pub(crate) const REMEDY: &str = "restore a backup, or run `rusty-lsm repair` on the data directory, which keeps what it takes out";

fn file_name(number: u64) -> String {
    format!("{number:06}.wal")
}

/// The name of a segment.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(file_name(number))
}

/// Where the log stood when a segment was begun: what its chain frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Chain {
    /// The segment before; 0: there was none.
    pub segment: u64,
    /// The exact end of its frames, in bytes from its start.
    pub end: u64,
    /// The last operation before this segment.
    pub last_seq: SeqNo,
}
