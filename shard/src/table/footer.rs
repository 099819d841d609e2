//! The last bytes of a table: whose it is and where its meta region lies.
//!
//! ```text
//! meta offset u64 | meta length u32 | meta crc u32 | directory u128 | number u64 | shard u32 | reserved u32 = 0 |
//! crc u32 (over the bytes before it, format and magic) | format u32 | magic u64
//! ```
//! Format and magic stay at the end, and under the CRC in this way, in every format to come: an older program can
//! then tell a newer file from a damaged one.

use std::path::Path;

use crate::coding::{Reader, crc32};
use crate::error::Error;
use crate::key::Identity;

/// Length of the footer, in bytes.
pub const FOOTER_BYTES: usize = 64;

/// The format that this program writes.
pub const FORMAT: u32 = 2;

/// The one before it, which is read, too ([`super::v1`]).
pub const FORMAT_1: u32 = 1;

const MAGIC: [u8; 8] = *b"rustysst";

/// What a footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The layout of the meta region, and what kinds of entries there are.
    pub format: u32,
    /// Whose table this is.
    pub identity: Identity,
    /// The table's number.
    pub number: u64,
    /// Where the meta region begins in the file.
    pub meta_offset: u64,
    /// Its length in bytes; it ends where the footer begins.
    pub meta_len: u32,
    /// Seeded with identity, number and `meta_offset`.
    pub meta_crc: u32,
}

/// Why bytes are not the footer of a table of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAFooter {
    /// They are not what was written.
    Damaged(&'static str),
    /// They are whole, and of something else.
    Foreign(String),
    /// They are whole, and of a later release.
    Newer {
        /// Its format.
        format: u32,
        /// Ours.
        reads: u32,
    },
}

impl NotAFooter {
    /// The error of a footer at `offset` of `path`.
    pub fn into_error(self, path: &Path, offset: u64) -> Error {
        match self {
            Self::Damaged(what) => Error::corruption(path, offset, what),
            Self::Foreign(what) => Error::Foreign { path: path.to_owned(), what },
            Self::Newer { format, reads } => Error::Newer { path: path.to_owned(), format, reads },
        }
    }
}

impl Footer {
    /// The footer's bytes.
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&self.meta_offset.to_le_bytes());
        out.extend_from_slice(&self.meta_len.to_le_bytes());
        out.extend_from_slice(&self.meta_crc.to_le_bytes());
        out.extend_from_slice(&self.identity.directory.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.identity.shard.to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        let crc = crc32(&[], &[&out, &self.format.to_le_bytes(), &MAGIC]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out.try_into().expect("the fields add up to FOOTER_BYTES")
    }

    /// Reads a footer and compares it with whose it should be.
    ///
    /// # Errors
    /// Damage first; what is whole but of another format, directory, shard or number after it.
    pub fn decode(
        bytes: &[u8; FOOTER_BYTES],
        identity: &Identity,
        number: u64,
    ) -> Result<Self, NotAFooter> {
        let short = NotAFooter::Damaged("the footer is too short");
        let mut reader = Reader::new(bytes);
        let (body, crc, format, magic) = (|| {
            let body = reader.bytes(FOOTER_BYTES - 16)?;
            Some((body, reader.u32()?, reader.u32()?, reader.array::<8>()?))
        })()
        .ok_or_else(|| short.clone())?;
        if crc != crc32(&[], &[body, &format.to_le_bytes(), &magic]) {
            return Err(NotAFooter::Damaged("the footer's checksum does not match its bytes"));
        }
        if magic != MAGIC {
            return Err(NotAFooter::Foreign("this is not a table".to_owned()));
        }
        if !(FORMAT_1..=FORMAT).contains(&format) {
            return Err(NotAFooter::Newer { format, reads: FORMAT });
        }
        let footer = Self::fields(body, format).ok_or(short)?;
        footer.expect(identity, number)?;
        Ok(footer)
    }

    /// Whose table a footer says to be the end of, if it is whole: for a file that nothing names.
    pub fn claims(bytes: &[u8; FOOTER_BYTES]) -> Option<(Identity, u64)> {
        let body = bytes.get(..FOOTER_BYTES - 16)?;
        let Self { identity, number, .. } = Self::fields(body, FORMAT)?;
        // A format that is not ours claims what it wants: `decode` tells of it.
        match Self::decode(bytes, &identity, number) {
            Err(NotAFooter::Damaged(_)) => None,
            Err(NotAFooter::Foreign(_) | NotAFooter::Newer { .. }) | Ok(_) => {
                Some((identity, number))
            }
        }
    }

    fn fields(body: &[u8], format: u32) -> Option<Self> {
        let mut reader = Reader::new(body);
        let (meta_offset, meta_len, meta_crc) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let directory = u128::from_le_bytes(reader.array()?);
        let (number, shard) = (reader.u64()?, reader.u32()?);
        let identity = Identity { directory, shard };
        Some(Self { format, identity, number, meta_offset, meta_len, meta_crc })
    }

    fn expect(&self, identity: &Identity, number: u64) -> Result<(), NotAFooter> {
        if self.identity.directory != identity.directory {
            return Err(NotAFooter::Foreign(format!(
                "a table of data directory {:032x}, not of {:032x}",
                self.identity.directory, identity.directory
            )));
        }
        if self.identity.shard != identity.shard {
            return Err(NotAFooter::Foreign(format!(
                "a table of shard {}, not of {}",
                self.identity.shard, identity.shard
            )));
        }
        if self.number != number {
            return Err(NotAFooter::Foreign(format!(
                "this is table {}, not {number}",
                self.number
            )));
        }
        Ok(())
    }
}
