//! A write batch: operations that are applied together or not at all. Its encoding is the payload of a WAL frame.
//!
//! ```text
//! operation = kind u8 | key length varint | key | (not of Delete) value length varint | value
//!             of kind Expiring the value begins with the time of its end (`expiry`), which the length counts
//! payload   = operation*          the k-th operation of a frame has sequence number first_seq + k
//! ```

use crate::coding::{Reader, put_varint};
use crate::expiry::{self, EXPIRY_BYTES, STORED_BYTES_MAX};
use crate::key::Kind;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_CAP};

/// One operation, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets a key.
    Put {
        /// At most `KEY_BYTES_MAX`.
        key: &'a [u8],
        /// At most the option `value_bytes_max`.
        value: &'a [u8],
        /// When the value ends, in milliseconds since 1970; 0: never.
        expires_at_ms: u64,
    },
    /// Removes a key, whether it is there or not.
    Delete {
        /// At most `KEY_BYTES_MAX`.
        key: &'a [u8],
    },
}

impl<'a> Op<'a> {
    /// The key.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// The user's value; empty for a delete.
    pub fn value(&self) -> &'a [u8] {
        match self {
            Self::Put { value, .. } => value,
            Self::Delete { .. } => &[],
        }
    }

    /// What it does to its key.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Put { expires_at_ms: 0, .. } => Kind::Put,
            Self::Put { .. } => Kind::Expiring,
            Self::Delete { .. } => Kind::Delete,
        }
    }

    /// What is stored before the user's value.
    #[inline]
    pub fn expiry(&self) -> Option<[u8; EXPIRY_BYTES]> {
        match self {
            Self::Put { expires_at_ms: 0, .. } | Self::Delete { .. } => None,
            Self::Put { expires_at_ms, .. } => Some(expires_at_ms.to_le_bytes()),
        }
    }

    /// Length of the value as it is stored, in bytes.
    #[inline]
    pub fn stored_bytes(&self) -> usize {
        self.value().len() + self.expiry().map_or(0, |expiry| expiry.len())
    }

    /// Upper bound of the encoded length, in bytes.
    pub fn encoded_bytes_max(&self) -> usize {
        1 + 5 + self.key().len() + 5 + self.stored_bytes()
    }

    /// Appends the encoding above.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        put_varint(out, self.key().len() as u64);
        out.extend_from_slice(self.key());
        if let Self::Put { value, .. } = self {
            put_varint(out, self.stored_bytes() as u64);
            out.extend_from_slice(self.expiry().as_ref().map_or(&[], |expiry| expiry));
            out.extend_from_slice(value);
        }
    }

    /// The next operation; `None` if the bytes are not one (the caller knows the file and offset).
    pub fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let kind = Kind::from_u8(reader.u8()?)?;
        let key = reader.prefixed(KEY_BYTES_MAX)?;
        match kind {
            Kind::Put => {
                let value = reader.prefixed(VALUE_BYTES_CAP)?;
                Some(Self::Put { key, value, expires_at_ms: 0 })
            }
            Kind::Delete => Some(Self::Delete { key }),
            Kind::Expiring => {
                let (expires_at_ms, value) = expiry::split(reader.prefixed(STORED_BYTES_MAX)?)?;
                Some(Self::Put { key, value, expires_at_ms })
            }
        }
    }
}
