//! The meta region: everything about a table but its data, one archive, read in place.

use std::fmt;

use rkyv::rancor::Error as ArchiveError;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use super::filter::{ArchivedFilter, Filter};
use super::footer::FORMAT_1;
use super::index::{ArchivedIndex, Index};
use super::{META_ALIGN, v1};
use crate::expiry::Expiring;
use crate::manifest::edit::TableMeta;

/// The region's own memory, aligned so that a filter line is a cache line.
pub type MetaBuf = AlignedVec<META_ALIGN>;

/// What the region holds. The filter stands first: its bits then lie at the region's start, aligned like it.
#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
pub struct Meta {
    /// Which keys are certainly not here.
    pub filter: Filter,
    /// Where each block lies.
    pub index: Index,
    /// What is known of the table as a whole.
    pub properties: Properties,
    /// Of its keys (`crate::sketch`).
    pub sketch: Vec<u8>,
}

/// The manifest's knowledge of the table, once more: the two are compared at open, and repair can do without one.
#[derive(Debug, Default, PartialEq, Eq, Archive, Serialize)]
#[rkyv(derive(Debug))]
pub struct Properties {
    /// Entries, tombstones included.
    pub entries: u64,
    /// Entries of kind `Delete`.
    pub tombstones: u64,
    /// Entries whose values end, and when.
    pub expiring: Expiring,
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

impl Properties {
    /// What the manifest says of a table with these.
    pub(super) fn table_meta(self, number: u64, bytes: u64, crc: u32) -> TableMeta {
        let Self { entries, tombstones, expiring, raw_bytes, .. } = self;
        let Self { smallest, largest, seq_min, seq_max, .. } = self;
        TableMeta {
            number,
            bytes,
            crc,
            entries,
            tombstones,
            expiring,
            raw_bytes,
            smallest,
            largest,
            seq_min,
            seq_max,
        }
    }
}

impl Meta {
    /// The region's bytes.
    pub fn encode(&self) -> MetaBuf {
        rkyv::api::high::to_bytes_in::<_, ArchiveError>(self, MetaBuf::new())
            .expect("an archive of plain arrays into memory cannot fail")
    }
}

/// The region's parts, of whatever format, where they lie.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Which keys are certainly not here.
    pub filter: &'a ArchivedFilter,
    /// Where each block lies.
    pub index: &'a ArchivedIndex,
    /// Of its keys; `None`: a table of format 1.
    pub sketch: Option<&'a [u8]>,
    properties: AnyProperties<'a>,
}

#[derive(Debug)]
enum AnyProperties<'a> {
    V1(&'a v1::ArchivedProperties),
    V2(&'a ArchivedProperties),
}

impl<'a> Parts<'a> {
    fn access(bytes: &'a [u8], format: u32) -> Result<Self, ArchiveError> {
        if format == FORMAT_1 {
            let v1::ArchivedMeta { filter, index, properties } =
                rkyv::access::<v1::ArchivedMeta, ArchiveError>(bytes)?;
            let properties = AnyProperties::V1(properties);
            return Ok(Self { filter, index, sketch: None, properties });
        }
        let ArchivedMeta { filter, index, properties, sketch } =
            rkyv::access::<ArchivedMeta, ArchiveError>(bytes)?;
        let properties = AnyProperties::V2(properties);
        Ok(Self { filter, index, sketch: Some(sketch), properties })
    }

    /// What is known of the table as a whole.
    pub fn properties(&self) -> Properties {
        match self.properties {
            AnyProperties::V1(properties) => properties.to_native(),
            AnyProperties::V2(properties) => properties.to_native(),
        }
    }
}

impl ArchivedProperties {
    fn to_native(&self) -> Properties {
        Properties {
            entries: self.entries.to_native(),
            tombstones: self.tombstones.to_native(),
            expiring: Expiring {
                entries: self.expiring.entries.to_native(),
                first_ms: self.expiring.first_ms.to_native(),
                last_ms: self.expiring.last_ms.to_native(),
            },
            raw_bytes: self.raw_bytes.to_native(),
            smallest: self.smallest.to_vec(),
            largest: self.largest.to_vec(),
            seq_min: self.seq_min.to_native(),
            seq_max: self.seq_max.to_native(),
        }
    }
}

self_cell::self_cell!(
    struct Cell {
        owner: MetaBuf,
        #[covariant]
        dependent: Parts,
    }
);

/// The region of an open table: the bytes and the archive in them.
pub struct MetaCell(Cell);

impl fmt::Debug for MetaCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetaCell").field("bytes", &self.0.borrow_owner().len()).finish()
    }
}

impl MetaCell {
    /// Verifies that `bytes`, whose CRC holds, are an archive of [`Meta`], in the format that the footer tells. Its invariants
    /// are the caller's to check.
    ///
    /// # Errors
    /// What is wrong.
    pub fn new(bytes: MetaBuf, format: u32) -> Result<Self, &'static str> {
        Cell::try_new(bytes, |bytes| Parts::access(bytes, format))
            .map(Self)
            .map_err(|_| "the meta region is not an archive of this format")
    }

    /// The archive's parts.
    #[inline]
    pub fn get(&self) -> &Parts<'_> {
        self.0.borrow_dependent()
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.borrow_owner().capacity()
    }
}
