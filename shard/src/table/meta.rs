//! The meta region: everything about a table but its data, one archive, read in place.

use std::fmt;

use rkyv::rancor::Error as ArchiveError;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use super::META_ALIGN;
use super::filter::Filter;
use super::index::Index;

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
}

/// The manifest's knowledge of the table, once more: the two are compared at open, and repair can do without one.
#[derive(Debug, Default, PartialEq, Eq, Archive, Serialize)]
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

impl Meta {
    /// The region's bytes.
    pub fn encode(&self) -> MetaBuf {
        rkyv::api::high::to_bytes_in::<_, ArchiveError>(self, MetaBuf::new())
            .expect("an archive of plain arrays into memory cannot fail")
    }
}

type Archived<'a> = &'a ArchivedMeta;

self_cell::self_cell!(
    struct Cell {
        owner: MetaBuf,
        #[covariant]
        dependent: Archived,
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
    /// Verifies that `bytes`, whose CRC holds, are an archive of [`Meta`]. Its invariants are the caller's to check.
    ///
    /// # Errors
    /// What is wrong.
    pub fn new(bytes: MetaBuf) -> Result<Self, &'static str> {
        Cell::try_new(bytes, |bytes| rkyv::access::<ArchivedMeta, ArchiveError>(bytes))
            .map(Self)
            .map_err(|_| "the meta region is not an archive of this format")
    }

    /// The archive.
    #[inline]
    pub fn get(&self) -> &ArchivedMeta {
        self.0.borrow_dependent()
    }

    /// Memory held, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.borrow_owner().capacity()
    }
}
