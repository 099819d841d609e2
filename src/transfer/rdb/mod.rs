//! Redis' snapshot files: strings in all their encodings are read and written, all else is passed over.
//!
//! ```text
//! file   "REDIS", version in 4 digits, part*, 0xFF, CRC-64 of all before it, u64 LE (0: none; none at all before version 5)
//! part   0xFA string string (facts) | 0xFE length (database) | 0xFB length length (sizes) | 0xF5 string (functions)
//!        0xF4 length length length (a slot) | 0xF7 module | 0xFC u64 LE or 0xFD u32 LE (end of the next value, ms or s)
//!        0xF8 length | 0xF9 u8 (use of the next value) | type, string (key), value
//! DUMP   type, value, version u16 LE, CRC-64 of all before it, u64 LE
//! ```
//!
//! - `string`: lengths and strings. `skip`: all other types. `lzf`, `crc64`. `dump`: DUMP's payload. `write`: a file.

mod crc64;
pub mod dump;
mod lzf;
mod skip;
mod string;
mod write;

use std::io::Read;

pub use crc64::Crc64;
pub use write::Writer;

use self::string::{length, skip_string};
use super::{Entry, Input, Item, Skipped, TransferError};

/// What our files and payloads say they are: Redis 7.0's, so that it and all later ones read them.
pub const VERSION_WRITTEN: u16 = 10;

/// The newest that is read: Redis 7.4's and 8.0's. A later one may have types that cannot be passed over.
pub const VERSION_MAX: u16 = 12;

const MAGIC: &[u8; 5] = b"REDIS";
const TYPE_STRING: u8 = 0;
/// From this version on a file ends with a checksum.
const VERSION_WITH_CHECKSUM: u16 = 5;

type Result<T> = std::result::Result<T, TransferError>;

/// Reads a file, one item after the other.
#[derive(Debug)]
pub struct Reader {
    version: u16,
    database: u64,
    is_over: bool,
}

impl Reader {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// It is no such file, or a newer one.
    pub fn begin<R: Read>(input: &mut Input<R>) -> Result<Self> {
        input.begin_checksum();
        if &input.array::<5>()? != MAGIC {
            return Err(input.damaged("it does not begin with REDIS: no RDB file"));
        }
        let digits = input.array::<4>()?;
        let version = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
        let Some(version) = version else { return Err(input.damaged("its version is no number")) };
        if version > VERSION_MAX {
            let what = format!(
                "version {version} is newer than {VERSION_MAX}, the last one that is known"
            );
            return Err(input.damaged(what));
        }
        Ok(Self { version, database: 0, is_over: false })
    }

    /// The next item; `None` once the end and its checksum were read.
    ///
    /// # Errors
    /// Damage, with its place.
    pub fn next_item<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Item>> {
        let mut expires_at_ms = 0;
        while !self.is_over {
            match input.byte()? {
                0xFF => self.end(input)?,
                0xFE => self.database = length(input)?,
                0xFD => {
                    expires_at_ms = u64::from(u32::from_le_bytes(input.array()?)) * 1000;
                }
                0xFC => expires_at_ms = u64::from_le_bytes(input.array()?),
                0xFB => {
                    length(input)?;
                    length(input)?;
                }
                0xFA => {
                    skip_string(input)?;
                    skip_string(input)?;
                }
                0xF9 => drop(input.byte()?),
                0xF8 => drop(length(input)?),
                // What a module has beside its values is written like one.
                0xF7 => skip::module(input)?,
                0xF5 => {
                    skip_string(input)?;
                    return Ok(Some(Item::Skip(Skipped::Other("functions"))));
                }
                0xF4 => {
                    length(input)?;
                    length(input)?;
                    length(input)?;
                }
                code => return self.key(input, code, expires_at_ms).map(Some),
            }
        }
        Ok(None)
    }

    fn key<R: Read>(&mut self, input: &mut Input<R>, code: u8, expires_at_ms: u64) -> Result<Item> {
        let Some(kind) = skip::kind(code) else {
            return Err(input.damaged(format!("{code:#04x} is no type of a value")));
        };
        let key = string::string(input, shard::limits::KEY_BYTES_MAX)?;
        if code != TYPE_STRING {
            skip::value(input, code)?;
            return Ok(Item::Skip(Skipped::Kind(kind)));
        }
        let value = string::string(input, shard::limits::VALUE_BYTES_CAP)?;
        let (Ok(key), Ok(value)) = (key, value) else { return Ok(Item::Skip(Skipped::TooLong)) };
        if self.database != 0 {
            return Ok(Item::Skip(Skipped::Database));
        }
        Ok(Item::Set(Entry { key, value, expires_at_ms }))
    }

    fn end<R: Read>(&mut self, input: &mut Input<R>) -> Result<()> {
        self.is_over = true;
        if self.version < VERSION_WITH_CHECKSUM {
            return Ok(());
        }
        let computed = input.checksum();
        let stored = u64::from_le_bytes(input.array()?);
        // 0: it was written without.
        if stored != 0 && stored != computed {
            return Err(
                input.damaged("the checksum of the file is wrong: something before it is damaged")
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Item>> {
        let mut input = Input::new(bytes);
        let mut reader = Reader::begin(&mut input)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next_item(&mut input)? {
            items.push(item);
        }
        Ok(items)
    }

    fn entry(key: &[u8], value: &[u8], expires_at_ms: u64) -> Entry {
        Entry { key: key.to_vec(), value: value.to_vec(), expires_at_ms }
    }

    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::begin(&mut out).unwrap();
        for entry in entries {
            writer.put(entry).unwrap();
        }
        writer.end().unwrap();
        out
    }

    /// A file of these parts, with its checksum.
    fn file(parts: &[u8]) -> Vec<u8> {
        let mut file = b"REDIS0011".to_vec();
        file.extend_from_slice(parts);
        file.push(0xFF);
        let crc = Crc64::of(&file);
        file.extend_from_slice(&crc.to_le_bytes());
        file
    }

    #[test]
    fn parts_that_are_not_ours_are_passed_over_and_told() {
        let parts = [
            &b"\xFA\x09redis-ver\x057.0.0\xFE\0\xFB\x02\x01"[..],
            b"\xFD\x01\0\0\0\0\x01a\x01b",
            b"\xF9\x05\xF8\x07\x01\x01l\x02\x01x\xC0\x05",
            b"\x03\x01z\x01\x01m\xFE",
            b"\xF5\x03lib",
            b"\xF7\x01\x02\x02\x05\x01x\x04\0\0\0\0\0\0\0\0\0",
            b"\x18\x01h\0\0\0\0\0\0\0\0\x01\x00\x01f\x01v",
            b"\xFE\x01\0\x01c\x01d",
        ]
        .concat();
        let items = read(&file(&parts)).unwrap();
        assert_eq!(
            items,
            [
                Item::Set(entry(b"a", b"b", 1000)),
                Item::Skip(Skipped::Kind("list")),
                Item::Skip(Skipped::Kind("sorted set")),
                Item::Skip(Skipped::Other("functions")),
                Item::Skip(Skipped::Kind("hash")),
                Item::Skip(Skipped::Database),
            ]
        );
    }

    #[test]
    fn a_damaged_file_is_told_with_its_place() {
        let good = written(&[entry(b"a", b"hello", 0), entry(b"b", b"7", 5_000)]);
        assert_eq!(read(&good).unwrap().len(), 2);
        // Cut anywhere, it is no whole file.
        for len in 0..good.len() {
            let error = read(&good[..len]).unwrap_err().to_string();
            assert!(error.contains(&format!("offset {len}")), "{len}: {error}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad).is_err(), "byte {at}");
        }
        let error = read(b"REDIS0099\xFF").unwrap_err().to_string();
        assert!(error.contains("version 99 is newer"), "{error}");
        // Without a checksum: zeros instead.
        let end = good.len() - 8;
        let zeros = [&good[..end], &[0; 8]].concat();
        assert_eq!(read(&zeros).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 0..400), 0_u64..1 << 62),
                0..20,
            )
        ) {
            let entries: Vec<Entry> =
                entries.iter().map(|(key, value, at)| entry(key, value, *at)).collect();
            let items = read(&written(&entries)).unwrap();
            prop_assert_eq!(items, entries.into_iter().map(Item::Set).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(read(&file(&bytes)));
            drop(read(&bytes));
        }

        /// Any type, followed by anything.
        #[test]
        fn no_value_does_harm(code in 0_u8..30, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            drop(read(&file(&[&[code, 1, b'k'], &bytes[..]].concat())));
        }
    }
}
