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

use rkyv::{Archive, Deserialize, Serialize};

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
pub fn live(kind: Kind, stored: &[u8], now_ms: impl FnOnce() -> u64) -> Option<Live<'_>> {
    match kind {
        Kind::Put => Some(Live { value: stored, expires_at_ms: 0 }),
        Kind::Delete => None,
        Kind::Expiring => {
            let (expires_at_ms, value) = split(stored)?;
            (now_ms() < expires_at_ms).then_some(Live { value, expires_at_ms })
        }
    }
}

/// What is known of the times in one table: enough to tell how much of it has expired, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[rkyv(derive(Debug))]
pub struct Expiring {
    /// Entries of [`Kind::Expiring`].
    pub entries: u64,
    /// When the first of them ends, in milliseconds since 1970; 0: there is none.
    pub first_ms: u64,
    /// When the last of them ends.
    pub last_ms: u64,
}

impl Expiring {
    /// Counts `entry`, if its value ends.
    #[inline]
    pub fn add(&mut self, entry: &Entry<'_>) {
        if entry.kind == Kind::Expiring
            && let Some((at, _)) = split(entry.value)
        {
            self.first_ms = if self.entries == 0 { at } else { self.first_ms.min(at) };
            self.last_ms = self.last_ms.max(at);
            self.entries += 1;
        }
    }

    /// How many have expired at `now_ms`: none before the first, all from the last on, and between them as if their times
    /// were spread evenly; then at least one, and never all.
    pub fn expired(&self, now_ms: u64) -> u64 {
        if self.entries == 0 || now_ms < self.first_ms {
            return 0;
        }
        if now_ms >= self.last_ms {
            return self.entries;
        }
        let (past, all) = (now_ms - self.first_ms, self.last_ms - self.first_ms);
        let share = u128::from(self.entries) * u128::from(past) / u128::from(all);
        let share = u64::try_from(share).expect("a part of a u64");
        // The last one has not.
        share.max(1).min(self.entries - 1)
    }

    /// Whether [`Expiring::expired`] is not an estimate.
    pub fn is_exact(&self, now_ms: u64) -> bool {
        now_ms < self.first_ms || now_ms >= self.last_ms
    }

    /// Whether a table with so many entries, `tombstones` of them tombstones, can have these.
    pub(crate) fn is_possible(&self, entries: u64, tombstones: u64) -> bool {
        let fits = entries.checked_sub(tombstones).is_some_and(|values| self.entries <= values);
        let times = if self.entries == 0 {
            self.first_ms == 0 && self.last_ms == 0
        } else {
            self.first_ms > 0 && self.first_ms <= self.last_ms
        };
        fits && times
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
    use crate::key::SeqNo;

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
    fn the_expired_share_of_a_table_is_interpolated() {
        let mut all = Expiring::default();
        assert!(all.is_possible(0, 0) && all.is_exact(5) && all.expired(5) == 0);
        for at in [1_000_u64, 3_000, 2_000, 5_000] {
            let value = at.to_le_bytes();
            all.add(&Entry { key: b"k", seq: SeqNo(1), kind: Kind::Expiring, value: &value });
        }
        all.add(&Entry { key: b"k", seq: SeqNo(1), kind: Kind::Put, value: &[9; 8] });
        assert_eq!(all, Expiring { entries: 4, first_ms: 1_000, last_ms: 5_000 });
        let at = [0, 999, 1_000, 2_000, 3_000, 4_999, 5_000, u64::MAX].map(|now| all.expired(now));
        assert_eq!(at, [0, 0, 1, 1, 2, 3, 4, 4]);
        assert!(!all.is_exact(1_000) && all.is_exact(999) && all.is_exact(5_000));
        assert!(all.is_possible(4, 0) && !all.is_possible(4, 1) && !all.is_possible(1, 2));
        assert!(!Expiring { first_ms: 6_000, ..all }.is_possible(4, 0));
        assert!(!Expiring { first_ms: 0, ..all }.is_possible(4, 0));
        assert!(!Expiring { entries: 0, ..all }.is_possible(4, 0));
        // Far apart, and one whose two ends are the same.
        let far = Expiring { entries: u64::MAX, first_ms: 1, last_ms: u64::MAX };
        assert!(far.expired(u64::MAX - 1) < u64::MAX);
        assert_eq!(Expiring { entries: 3, first_ms: 7, last_ms: 7 }.expired(7), 3);
        // A memtable's times are those of versions that are gone, too.
        assert_eq!(Expiring { entries: 1, first_ms: 1, last_ms: 9 }.expired(5), 0);
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
