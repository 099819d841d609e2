//! The meta region of format 1: read for ever, written no more. It knows of no time and has no sketch.

use rkyv::Archive;

use super::filter::Filter;
use super::index::Index;

/// As [`super::meta::Meta`].
#[derive(Debug, Archive)]
#[cfg_attr(test, derive(rkyv::Serialize))]
#[rkyv(derive(Debug))]
pub struct Meta {
    /// Which keys are certainly not here.
    pub filter: Filter,
    /// Where each block lies.
    pub index: Index,
    /// What is known of the table as a whole.
    pub properties: Properties,
}

/// As [`super::meta::Properties`].
#[derive(Debug, Archive)]
#[cfg_attr(test, derive(rkyv::Serialize))]
#[rkyv(derive(Debug))]
pub struct Properties {
    /// Entries, tombstones included.
    pub entries: u64,
    /// Entries of kind `Delete`.
    pub tombstones: u64,
    /// Key and value bytes before compression.
    pub raw_bytes: u64,
    /// The first key.
    pub smallest: Vec<u8>,
    /// The last key.
    pub largest: Vec<u8>,
    /// The oldest sequence number.
    pub seq_min: u64,
    /// The newest sequence number.
    pub seq_max: u64,
}

impl ArchivedProperties {
    /// What the present format says of the same table.
    pub(super) fn to_native(&self) -> super::meta::Properties {
        super::meta::Properties {
            entries: self.entries.to_native(),
            tombstones: self.tombstones.to_native(),
            raw_bytes: self.raw_bytes.to_native(),
            smallest: self.smallest.to_vec(),
            largest: self.largest.to_vec(),
            seq_min: self.seq_min.to_native(),
            seq_max: self.seq_max.to_native(),
            ..super::meta::Properties::default()
        }
    }
}
