//! The first block of a segment and of a manifest, and all of `CURRENT`: who wrote this file, for which shard, under
//! which number. The table of fields is at the head of [`crate::wal`].
#![deny(clippy::indexing_slicing)]

use std::path::Path;

use crate::coding::{Reader, crc32};
use crate::env::IoBuf;
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::limits::ALIGN;

use super::frame::Place;
use super::{GRAIN_BYTES, REMEDY};

/// The layout of this file and of its frames. A change of bytes is a new number.
pub(crate) const FORMAT: u32 = 3;

/// The first one, which is read, too: no operation has a time, and the edits of a manifest are `manifest::v1`'s.
pub(crate) const FORMAT_1: u32 = 1;

/// The one between them, which is read, too: every frame is padded to whole blocks.
pub(crate) const FORMAT_2: u32 = 2;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    /// `{number:06}.wal`
    Segment,
    /// `manifest-{number:06}`
    Manifest,
    /// `CURRENT`
    Current,
}

impl Magic {
    fn word(self) -> u64 {
        u64::from_le_bytes(match self {
            Self::Segment => *b"RLSMWAL\0",
            Self::Manifest => *b"RLSMMANI",
            Self::Current => *b"RLSMCURR",
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Segment => "a write-ahead log segment",
            Self::Manifest => "a manifest",
            Self::Current => "a CURRENT file",
        }
    }
}

/// The fields that differ between two files of one kind and shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The layout of what follows.
    pub format: u32,
    /// File number.
    pub number: u64,
    /// Random; part of the seed of every frame's CRC.
    pub epoch: u64,
    /// See the table of fields.
    pub extent: u64,
    /// Batches are padded to a multiple of it: a block, or [`GRAIN_BYTES`] in a segment of the weaker policies.
    pub grain_bytes: usize,
}

impl Header {
    /// One block.
    pub(crate) fn encode(&self, magic: Magic, identity: Identity) -> IoBuf {
        let mut rest = IoBuf::with_capacity(ALIGN);
        rest.extend_from_slice(&[0; 4]);
        rest.extend_from_slice(&self.format.to_le_bytes());
        rest.extend_from_slice(&magic.word().to_le_bytes());
        rest.extend_from_slice(&identity.directory.to_le_bytes());
        rest.extend_from_slice(&identity.shard.to_le_bytes());
        rest.extend_from_slice(&[0; 4]);
        rest.extend_from_slice(&self.number.to_le_bytes());
        rest.extend_from_slice(&self.epoch.to_le_bytes());
        rest.extend_from_slice(&self.extent.to_le_bytes());
        if self.format > FORMAT_2 {
            let grain_bytes = u32::try_from(self.grain_bytes).expect("at most a block");
            rest.extend_from_slice(&grain_bytes.to_le_bytes());
        }
        rest.resize(ALIGN, 0);
        if let Some((crc, covered)) = rest.split_first_chunk_mut::<4>() {
            *crc = crc32(&[], &[covered]).to_le_bytes();
        }
        rest
    }

    /// Of the frames behind it.
    pub(crate) fn place(&self, identity: Identity) -> Place {
        let Self { number, epoch, grain_bytes, .. } = *self;
        Place { identity, number, epoch, grain_bytes }
    }

    /// Whose file a header says to be the start of; [`Header::decode`] tells whether that can be believed. For a file
    /// that nothing names.
    pub(crate) fn claims(block: &[u8]) -> Option<Identity> {
        let mut reader = Reader::new(block.get(16..36)?);
        let directory = u128::from_le_bytes(reader.array()?);
        Some(Identity { directory, shard: reader.u32()? })
    }

    /// The header in `block`, the first bytes of the file `path`.
    ///
    /// # Errors
    /// `Corruption` if the block is damaged; if it is whole, `Newer`, and `Foreign` of another kind, directory or shard.
    pub(crate) fn decode(
        block: &[u8],
        magic: Magic,
        identity: Identity,
        path: &Path,
    ) -> Result<Self> {
        let damaged = |what: &str| Error::corruption(path, 0, format!("{what}; {REMEDY}"));
        let foreign = |what: String| Error::Foreign { path: path.to_owned(), what };
        let short = || damaged("the header is cut short");
        let (crc, covered) = block
            .get(..ALIGN)
            .and_then(|block| block.split_first_chunk::<4>())
            .ok_or_else(short)?;
        if u32::from_le_bytes(*crc) != crc32(&[], &[covered]) {
            return Err(damaged("the header does not match its checksum"));
        }
        let mut reader = Reader::new(covered);
        let format = reader.u32().ok_or_else(short)?;
        if reader.u64().ok_or_else(short)? != magic.word() {
            return Err(foreign(format!("this is not {}", magic.name())));
        }
        if !(FORMAT_1..=FORMAT).contains(&format) {
            return Err(Error::Newer { path: path.to_owned(), format, reads: FORMAT });
        }
        let directory = u128::from_le_bytes(reader.array().ok_or_else(short)?);
        let shard = reader.u32().ok_or_else(short)?;
        if (directory, shard) != (identity.directory, identity.shard) {
            return Err(foreign(format!(
                "it belongs to shard {shard} of directory {directory:032x}, not to shard {} of {:032x}",
                identity.shard, identity.directory
            )));
        }
        let _reserved = reader.u32().ok_or_else(short)?;
        let mut word = || reader.u64().ok_or_else(short);
        let (number, epoch, extent) = (word()?, word()?, word()?);
        let grain_bytes = match reader.u32().ok_or_else(short)? as usize {
            _ if format <= FORMAT_2 => ALIGN,
            ALIGN => ALIGN,
            GRAIN_BYTES if magic == Magic::Segment => GRAIN_BYTES,
            other => return Err(damaged(&format!("frames on multiples of {other} bytes"))),
        };
        Ok(Self { format, number, epoch, extent, grain_bytes })
    }
}
