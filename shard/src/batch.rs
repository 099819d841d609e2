//! A write batch: operations that are applied together or not at all. Its encoding is the payload of a WAL frame.
//!
//! ```text
//! operation = kind u8 | key length varint | key | (Put only) value length varint | value
//! payload   = operation*          the k-th operation of a frame has sequence number first_seq + k
//! ```

use crate::coding::{Reader, put_varint};
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

    /// The value; empty for a delete.
    pub fn value(&self) -> &'a [u8] {
        match self {
            Self::Put { value, .. } => value,
            Self::Delete { .. } => &[],
        }
    }

    /// What it does to its key.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Put { .. } => Kind::Put,
            Self::Delete { .. } => Kind::Delete,
        }
    }

    /// Upper bound of the encoded length, in bytes.
    pub fn encoded_bytes_max(&self) -> usize {
        1 + 5 + self.key().len() + 5 + self.value().len()
    }

    /// Appends the encoding above.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        put_varint(out, self.key().len() as u64);
        out.extend_from_slice(self.key());
        if let Self::Put { value, .. } = self {
            put_varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
    }

    /// The next operation; `None` if the bytes are not one (the caller knows the file and offset).
    pub fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let kind = Kind::from_u8(reader.u8()?)?;
        let key = reader.prefixed(KEY_BYTES_MAX)?;
        match kind {
            Kind::Put => Some(Self::Put { key, value: reader.prefixed(VALUE_BYTES_CAP)? }),
            Kind::Delete => Some(Self::Delete { key }),
        }
    }
}
