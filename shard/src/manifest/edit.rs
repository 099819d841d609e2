//! What changes in a shard's set of files. One edit is applied whole or not at all.

use rkyv::{Archive, Deserialize, Serialize};

use crate::expiry::Expiring;
use crate::limits::{FILE_BYTES_MAX, SEQ_READ_MAX};

/// One table, as the manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct TableMeta {
    /// File number; the name is `{number:06}.sst`. Never used twice.
    pub number: u64,
    /// Exact bytes that belong to the table; what follows (alignment padding) is ignored.
    pub bytes: u64,
    /// CRC-32 of those bytes in order, unseeded: for `check` and verification after a write.
    pub crc: u32,
    /// Versions, tombstones included.
    pub entries: u64,
    /// How many of them are tombstones.
    pub tombstones: u64,
    /// Those whose values end, and when.
    pub expiring: Expiring,
    /// Key and value bytes before compression.
    pub raw_bytes: u64,
    /// The first user key.
    pub smallest: Vec<u8>,
    /// The last user key.
    pub largest: Vec<u8>,
    /// The oldest sequence number.
    pub seq_min: u64,
    /// The newest sequence number.
    pub seq_max: u64,
}

impl TableMeta {
    /// Whether a table can be so, whatever is in it: sums over many of them fit, and so do numbers that follow on theirs.
    ///
    /// # Errors
    /// What cannot be.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let Self { bytes, entries, tombstones, expiring, raw_bytes, seq_max, .. } = *self;
        if bytes > FILE_BYTES_MAX || entries > FILE_BYTES_MAX || tombstones > entries {
            return Err("a table of an impossible size");
        }
        if !expiring.is_possible(entries, tombstones) {
            return Err("a table with impossible times");
        }
        // Snappy makes of 64 bytes no fewer than 3.
        if raw_bytes > FILE_BYTES_MAX << 8 {
            return Err("a table of impossible contents");
        }
        if seq_max > SEQ_READ_MAX {
            return Err("a table whose sequence numbers are out of range");
        }
        Ok(())
    }
}

/// One WAL segment, as the manifest knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WalMeta {
    /// File number; the name is `{number:06}.wal`. Never used twice.
    pub number: u64,
    /// Length it was prewritten to, header included.
    pub bytes: u64,
}

/// Where the WAL ended when the shard was closed in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CleanStop {
    /// File number of the last segment.
    pub segment: u64,
    /// Where its last frame ends, in bytes, padding included.
    pub end: u64,
    /// The newest operation.
    pub last_seq: u64,
}

/// An edit; empty fields change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct VersionEdit {
    /// Level and table.
    pub added: Vec<(u8, TableMeta)>,
    /// Level and file number.
    pub removed: Vec<(u8, u64)>,
    /// Segments that may hold frames from now on, in order.
    pub wal_added: Vec<WalMeta>,
    /// Segments below this number are obsolete.
    pub wal_first_live: Option<u64>,
    /// Every operation up to this one is in tables (or erased).
    pub flushed_seq: Option<u64>,
    /// All file numbers below this may be in use.
    pub numbers_reserved: Option<u64>,
    /// Valid only as the last edit.
    pub clean_stop: Option<CleanStop>,
}
