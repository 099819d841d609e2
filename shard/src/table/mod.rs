//! A table: one immutable sorted file, one version per key.
//!
//! ```text
//! file     = block* | zeroes to META_ALIGN | meta | footer | zeroes to ALIGN        (the last ones belong to no one)
//!
//! block    = payload | type u8 | crc u32
//!            type: 1 payload = body, 2 payload = Snappy(body); 0 is invalid, so that zeroes never parse
//!            crc: over payload and type; seed: identity, table number, offset of the block in the file
//! body     = entry* | restart u32 * n | n u32           restart i = offset of entry RESTART_INTERVAL * i in the body
//! entry    = shared varint | unshared varint | kind u8 | seq varint | value length varint | key tail | value
//!            the key is `shared` bytes of the key before it and the tail; shared = 0 at a restart
//!
//! meta     = one rkyv archive (`meta::Meta`): filter, index, properties, sketch; its root lies at the end
//!            crc in the footer; seed: identity, table number, offset of the region
//! footer   = FOOTER_BYTES at the end of the exact length that the manifest holds (`footer`)
//! ```
//! Of format 1, which the footer tells, the archive has no sketch and its properties no times (`v1`), and no entry is of
//! kind Expiring. It is read as it is and never written.
//!
//! All integers are little-endian. An archive's layout depends on rkyv's features (pinned in Cargo.toml) and on the
//! order of the fields; `testscripts/table/` pins the bytes.
//!
//! # Trust
//! 1. Footer: its CRC, then magic, format, identity and number.
//! 2. Meta region: length against the file's, CRC, `rkyv::access` once, then every invariant of index and filter
//!    that a later read relies on, and the sketch's. After that it is read in place.
//! 3. Block: its handle comes from the checked index; CRC, then the decompressed length against the index before
//!    anything is allocated, then the body's structure once. After that no read of it can fail.
//!
//! # What lies where in memory
//! Filter and index stay for the life of the table (about 2 % of it); blocks come and go with the block cache.
#![deny(clippy::indexing_slicing)]

pub mod block;
pub(crate) mod blocks;
pub mod builder;
pub mod cursor;
pub mod filter;
pub mod footer;
pub(crate) mod found;
pub mod index;
pub mod meta;
pub mod reader;
pub mod stored;
pub mod v1;
mod writer;

pub use block::{Block, BlockValue};
pub use builder::TableBuilder;
pub use cursor::TableCursor;
pub use index::BlockHandle;
pub(crate) use reader::Pace;
pub use reader::Table;

use std::path::{Path, PathBuf};

/// Alignment of the meta region in the file, and of its copy in memory: the filter lies first in it, so that each
/// of its 512-bit lines is one cache line.
pub const META_ALIGN: usize = 64;

/// Bytes gathered before a write, and read ahead by a sequential reader: large enough that the device, not the
/// request rate, is the limit.
pub const PIECE_BYTES: usize = 256 << 10;

/// Where table `number` lies in a shard's directory.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.sst"))
}

const _: () = assert!(PIECE_BYTES.is_multiple_of(crate::limits::ALIGN));
const _: () = assert!(PIECE_BYTES <= crate::limits::IO_BYTES_MAX);
const _: () = assert!(crate::limits::ALIGN.is_multiple_of(META_ALIGN));

#[cfg(test)]
mod tests;
