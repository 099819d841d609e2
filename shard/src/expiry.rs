//! Values that end at a time: how their stored bytes are told apart, and whether one has ended.
//!
//! ```text
//! stored value of `Kind::Expiring` = expires_at_ms u64 LE (milliseconds since 1970, never 0) | value
//! ```
//! So it lies in an operation of the log, in a memtable and in a block: no layout but this one knows of the time.
//!
//! # Invariants
//! - A value is absent from `expires_at_ms` on, for every reader, whoever still holds its bytes.
//! - Only an expiring value asks for the time: a plain one costs no look at the clock.

use crate::key::{Entry, Kind};
use crate::limits::VALUE_BYTES_CAP;

/// What a stored value has before the user's.
pub const EXPIRY_BYTES: usize = size_of::<u64>();

/// Longest value as it is stored, in bytes.
pub const STORED_BYTES_MAX: usize = VALUE_BYTES_CAP + EXPIRY_BYTES;

/// A value that a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live<'a> {
    /// The user's.
    pub value: &'a [u8],
    /// When it ends, in milliseconds since 1970; 0: never.
    pub expires_at_ms: u64,
}

/// When a stored value of [`Kind::Expiring`] ends, and the user's value; `None` if the bytes are no such value, which
/// cannot be once the block or frame that they lie in was checked.
#[inline]
pub fn split(stored: &[u8]) -> Option<(u64, &[u8])> {
    let (head, value) = stored.split_first_chunk::<EXPIRY_BYTES>()?;
    let expires_at_ms = u64::from_le_bytes(*head);
    (expires_at_ms != 0).then_some((expires_at_ms, value))
}

/// Whether bytes that were read can be the stored value of an entry of this kind.
#[inline]
pub(crate) fn is_possible(kind: Kind, stored: &[u8]) -> bool {
    match kind {
        Kind::Put => stored.len() <= VALUE_BYTES_CAP,
        Kind::Delete => stored.is_empty(),
        Kind::Expiring => stored.len() <= STORED_BYTES_MAX && split(stored).is_some(),
    }
}

/// What of a version is there at `now_ms`; `None`: a tombstone, or it has ended.
#[inline]
pub fn live<'a>(kind: Kind, stored: &'a [u8], now_ms: impl FnOnce() -> u64) -> Option<Live<'a>> {
    match kind {
        Kind::Put => Some(Live { value: stored, expires_at_ms: 0 }),
        Kind::Delete => None,
        Kind::Expiring => {
            let (expires_at_ms, value) = split(stored)?;
            (now_ms() < expires_at_ms).then_some(Live { value, expires_at_ms })
        }
    }
}

/// Whether `entry` had a value that has ended at `now_ms`.
#[inline]
pub(crate) fn has_expired(entry: &Entry<'_>, now_ms: u64) -> bool {
    entry.kind == Kind::Expiring && live(entry.kind, entry.value, || now_ms).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_until_its_time_and_not_at_it() {
        let stored = [&7_u64.to_le_bytes()[..], b"v"].concat();
        let at = |now| live(Kind::Expiring, &stored, || now);
        assert_eq!(at(6), Some(Live { value: b"v", expires_at_ms: 7 }));
        assert_eq!((at(7), at(u64::MAX)), (None, None));
        let plain = live(Kind::Put, &stored, || panic!("a plain value asks for no time"));
        assert_eq!(plain, Some(Live { value: &stored, expires_at_ms: 0 }));
        assert_eq!(live(Kind::Delete, b"", || panic!("nor does a tombstone")), None);
    }

    #[test]
    fn bytes_that_are_no_stored_value_are_told() {
        let stored = |expires: u64, value: &[u8]| [&expires.to_le_bytes()[..], value].concat();
        assert!(is_possible(Kind::Expiring, &stored(1, b"")));
        assert!(!is_possible(Kind::Expiring, &stored(0, b"value")), "it never ends");
        assert!(!is_possible(Kind::Expiring, &stored(1, b"")[..7]), "too short");
        assert!(!is_possible(Kind::Delete, b"x") && is_possible(Kind::Delete, b""));
        assert_eq!(split(b"1234567"), None);
    }
}
