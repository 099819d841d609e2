//! Key to slot, and slot to shard.
//!
//! slot = CRC16 (XMODEM) of the key, or of its hash tag, & 16383: exactly Redis Cluster's, so that a client's idea of
//! which keys live together holds here too. The table slot -> shard is stored in the data directory (`format`).

use crate::limits::SHARDS_MAX;

/// Number of slots.
pub const SLOTS: u16 = 16_384;

/// The slot of a key. If the key holds `{` and, behind it, a `}` with something between, only what is between counts.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) & (SLOTS - 1)
}

/// The part of a key that decides its slot.
#[inline]
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        None | Some(0) => key,
        Some(close) => &after[..close],
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, start 0, no reflection.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

static CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// Slots from `first` up to the next range's first belong to `shard`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRange {
    pub first: u16,
    pub shard: u16,
}

/// Which shard holds which slot. Every slot has one.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotTable {
    owners: Box<[u16]>,
    shards: u32,
}

impl std::fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotTable")
            .field("shards", &self.shards)
            .field("ranges", &self.ranges())
            .finish_non_exhaustive()
    }
}

impl SlotTable {
    /// One range of slots for each shard, as even as possible.
    pub fn contiguous(shards: u32) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards));
        let mut owners = vec![0; usize::from(SLOTS)].into_boxed_slice();
        for (slot, owner) in (0_u32..).zip(owners.iter_mut()) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "below `shards`, at most SHARDS_MAX"
            )]
            let shard = (slot * shards / u32::from(SLOTS)) as u16;
            *owner = shard;
        }
        Self { owners, shards }
    }

    /// From ranges in ascending order of their first slots, the first of them 0.
    ///
    /// # Errors
    /// What is wrong with the ranges: they may come from disk.
    pub fn from_ranges(shards: u32, ranges: &[SlotRange]) -> Result<Self, String> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(format!("{shards} shards, the limit is {SHARDS_MAX}"));
        }
        if ranges.first().map(|range| range.first) != Some(0) {
            return Err("the first range does not begin at slot 0".into());
        }
        let mut owners = vec![0; usize::from(SLOTS)].into_boxed_slice();
        for (index, range) in ranges.iter().enumerate() {
            let end = ranges.get(index + 1).map_or(SLOTS, |next| next.first);
            if range.first >= end || end > SLOTS {
                return Err(format!("slots {} to {end} are not a range", range.first));
            }
            if u32::from(range.shard) >= shards {
                return Err(format!(
                    "slot {} belongs to shard {} of {shards}",
                    range.first, range.shard
                ));
            }
            owners[usize::from(range.first)..usize::from(end)].fill(range.shard);
        }
        Ok(Self { owners, shards })
    }

    /// The shortest list that [`Self::from_ranges`] takes.
    pub fn ranges(&self) -> Vec<SlotRange> {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for (first, &shard) in (0..SLOTS).zip(self.owners.iter()) {
            if ranges.last().is_none_or(|last| last.shard != shard) {
                ranges.push(SlotRange { first, shard });
            }
        }
        ranges
    }

    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The shard that holds `slot`.
    #[inline]
    pub fn shard(&self, slot: u16) -> u16 {
        self.owners[usize::from(slot % SLOTS)]
    }

    /// The shard that holds `key`. One shard: no hashing.
    #[inline]
    pub fn shard_of_key(&self, key: &[u8]) -> u16 {
        if self.shards == 1 { 0 } else { self.shard(slot(key)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of CLUSTER KEYSLOT, redis-server 7.0.15.
    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, expected) in [
            ("", 0),
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5_061),
            ("{user1000}.following", 3_443),
            ("{user1000}.followers", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(tag(b"foo{bar"), b"foo{bar");
        assert_eq!(tag(b"}{a}"), b"a");
    }

    #[test]
    fn the_default_table_is_even_and_goes_through_ranges() {
        for shards in [1, 2, 3, 7, 64, SHARDS_MAX] {
            let table = SlotTable::contiguous(shards);
            let mut counts = vec![0_u32; shards as usize];
            (0..SLOTS).for_each(|slot| counts[usize::from(table.shard(slot))] += 1);
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
            assert_eq!(table.ranges().len(), shards as usize);
            assert_eq!(SlotTable::from_ranges(shards, &table.ranges()), Ok(table));
        }
        assert_eq!(SlotTable::contiguous(2).shard_of_key(b"foo"), 1);
    }

    #[test]
    fn ranges_that_do_not_cover_or_overlap_are_refused() {
        let range = |first, shard| SlotRange { first, shard };
        for (shards, ranges) in [
            (0, vec![range(0, 0)]),
            (SHARDS_MAX + 1, vec![range(0, 0)]),
            (2, vec![]),
            (2, vec![range(1, 0)]),
            (2, vec![range(0, 0), range(0, 1)]),
            (2, vec![range(0, 0), range(9, 1), range(5, 0)]),
            (2, vec![range(0, 0), range(SLOTS, 1)]),
            (2, vec![range(0, 2)]),
        ] {
            assert!(SlotTable::from_ranges(shards, &ranges).is_err(), "{ranges:?}");
        }
    }
}
