//! The edits of a manifest of format 1: read for ever, written no more. Their tables know of no time.

use rkyv::{Archive, Deserialize};

use super::edit::{self, CleanStop, WalMeta};
use crate::expiry::Expiring;

/// As [`edit::TableMeta`].
#[derive(Debug, Archive, Deserialize)]
#[cfg_attr(test, derive(rkyv::Serialize))]
pub(super) struct TableMeta {
    pub number: u64,
    pub bytes: u64,
    pub crc: u32,
    pub entries: u64,
    pub tombstones: u64,
    pub raw_bytes: u64,
    pub smallest: Vec<u8>,
    pub largest: Vec<u8>,
    pub seq_min: u64,
    pub seq_max: u64,
}

/// As [`edit::VersionEdit`].
#[derive(Debug, Archive, Deserialize)]
#[cfg_attr(test, derive(rkyv::Serialize))]
pub(super) struct VersionEdit {
    pub added: Vec<(u8, TableMeta)>,
    pub removed: Vec<(u8, u64)>,
    pub wal_added: Vec<WalMeta>,
    pub wal_first_live: Option<u64>,
    pub flushed_seq: Option<u64>,
    pub numbers_reserved: Option<u64>,
    pub clean_stop: Option<CleanStop>,
}

impl From<TableMeta> for edit::TableMeta {
    fn from(meta: TableMeta) -> Self {
        Self {
            number: meta.number,
            bytes: meta.bytes,
            crc: meta.crc,
            entries: meta.entries,
            tombstones: meta.tombstones,
            expiring: Expiring::default(),
            raw_bytes: meta.raw_bytes,
            smallest: meta.smallest,
            largest: meta.largest,
            seq_min: meta.seq_min,
            seq_max: meta.seq_max,
        }
    }
}

impl From<VersionEdit> for edit::VersionEdit {
    fn from(edit: VersionEdit) -> Self {
        Self {
            added: edit.added.into_iter().map(|(level, meta)| (level, meta.into())).collect(),
            removed: edit.removed,
            wal_added: edit.wal_added,
            wal_first_live: edit.wal_first_live,
            flushed_seq: edit.flushed_seq,
            numbers_reserved: edit.numbers_reserved,
            clean_stop: edit.clean_stop,
        }
    }
}
