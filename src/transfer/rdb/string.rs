//! Lengths and strings of RDB, as they are read and written.
//!
//! ```text
//! length  00LLLLLL | 01LLLLLL LLLLLLLL | 0x80 u32 BE | 0x81 u64 BE
//! string  length, bytes
//!         0xC0 i8 | 0xC1 i16 LE | 0xC2 i32 LE          a number, in its digits
//!         0xC3, length packed, length, packed bytes    LZF
//! ```

use std::io::Read;

use super::lzf;
use crate::transfer::{Input, TransferError};

type Result<T> = std::result::Result<T, TransferError>;

const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const LZF: u8 = 3;

/// Digits and sign of the longest string that may be stored as a number.
const NUMBER_BYTES_MAX: usize = 11;

/// What stands where a length may stand.
enum Length {
    Bytes(u64),
    /// The string is stored in another way.
    Encoding(u8),
}

fn length_or_encoding<R: Read>(input: &mut Input<R>) -> Result<Length> {
    let first = input.byte()?;
    let low = first & 0x3F;
    Ok(match first >> 6 {
        0 => Length::Bytes(low.into()),
        1 => Length::Bytes(u64::from(u16::from_be_bytes([low, input.byte()?]))),
        2 if first == 0x80 => Length::Bytes(u32::from_be_bytes(input.array()?).into()),
        2 if first == 0x81 => Length::Bytes(u64::from_be_bytes(input.array()?)),
        2 => return Err(input.damaged(format!("{first:#04x} begins no length"))),
        _ => Length::Encoding(low),
    })
}

/// A length, or a number that is stored as one.
pub(super) fn length<R: Read>(input: &mut Input<R>) -> Result<u64> {
    match length_or_encoding(input)? {
        Length::Bytes(length) => Ok(length),
        Length::Encoding(how) => {
            Err(input.damaged(format!("a length was expected, not a string of encoding {how}")))
        }
    }
}

/// A string, or its length if that is above `bytes_max`: then it was passed over.
pub(super) fn string<R: Read>(
    input: &mut Input<R>,
    bytes_max: usize,
) -> Result<std::result::Result<Vec<u8>, u64>> {
    let how = match length_or_encoding(input)? {
        Length::Bytes(len) if len > bytes_max as u64 => {
            input.skip(len)?;
            return Ok(Err(len));
        }
        Length::Bytes(len) => return input.bytes(len).map(Ok),
        Length::Encoding(how) => how,
    };
    let number = match how {
        INT8 => i64::from(i8::from_le_bytes(input.array()?)),
        INT16 => i64::from(i16::from_le_bytes(input.array()?)),
        INT32 => i64::from(i32::from_le_bytes(input.array()?)),
        LZF => {
            let (packed, len) = (length(input)?, length(input)?);
            // Nothing that is packed is longer than what it makes.
            if len > bytes_max as u64 || packed > bytes_max as u64 {
                input.skip(packed)?;
                return Ok(Err(len));
            }
            let packed = input.bytes(packed)?;
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let unpacked = lzf::decompress(&packed, len);
            return unpacked.map(Ok).ok_or_else(|| input.damaged("a compressed string is damaged"));
        }
        other => return Err(input.damaged(format!("strings of encoding {other} are unknown"))),
    };
    Ok(Ok(itoa::Buffer::new().format(number).as_bytes().to_vec()))
}

/// Passes over a string, without making anything of it.
pub(super) fn skip_string<R: Read>(input: &mut Input<R>) -> Result<()> {
    match length_or_encoding(input)? {
        Length::Bytes(len) => input.skip(len),
        Length::Encoding(INT8) => input.skip(1),
        Length::Encoding(INT16) => input.skip(2),
        Length::Encoding(INT32) => input.skip(4),
        Length::Encoding(LZF) => {
            let packed = length(input)?;
            length(input)?;
            input.skip(packed)
        }
        Length::Encoding(other) => {
            Err(input.damaged(format!("strings of encoding {other} are unknown")))
        }
    }
}

/// Appends a length.
pub(super) fn put_length(out: &mut Vec<u8>, len: u64) {
    match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
        (Ok(len), ..) if len < 1 << 6 => out.push(len),
        (_, Ok(len), _) if len < 1 << 14 => out.extend_from_slice(&(len | 1 << 14).to_be_bytes()),
        (.., Ok(len)) => {
            out.push(0x80);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Appends a string as Redis does, but never compressed: numbers of up to 32 bits in binary, all else as it is.
pub(super) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    let Some(number) = number(string) else {
        put_length(out, string.len() as u64);
        out.extend_from_slice(string);
        return;
    };
    if let Ok(number) = i8::try_from(number) {
        out.push(0xC0 | INT8);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xC0 | INT16);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(0xC0 | INT32);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// The number whose digits `string` is, and nothing else.
fn number(string: &[u8]) -> Option<i32> {
    if string.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let number = crate::resp::strict_number(string)?;
    i32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<std::result::Result<Vec<u8>, u64>> {
        string(&mut Input::new(bytes), 1 << 20)
    }

    fn written(string: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, string);
        out
    }

    #[test]
    fn strings_are_written_as_redis_writes_them() {
        for (string, bytes) in [
            (&b""[..], &b"\0"[..]),
            (b"abc", b"\x03abc"),
            (b"0", b"\xC0\0"),
            (b"-128", b"\xC0\x80"),
            (b"128", b"\xC1\x80\0"),
            (b"-32769", b"\xC2\xFF\x7F\xFF\xFF"),
            (b"2147483647", b"\xC2\xFF\xFF\xFF\x7F"),
            (b"2147483648", b"\x0A2147483648"),
            (b"007", b"\x03007"),
            (b"-0", b"\x02-0"),
            (b"+1", b"\x02+1"),
        ] {
            assert_eq!(written(string), bytes, "{}", string.escape_ascii());
        }
        assert_eq!(written(&[b'x'; 64])[..2], [0x40, 64]);
        assert_eq!(written(&[b'x'; 1 << 14])[..5], [0x80, 0, 0, 0x40, 0]);
    }

    #[test]
    fn damage_is_told_and_what_is_too_long_passed_over() {
        assert!(read(b"\x82").unwrap_err().to_string().contains("begins no length"));
        assert!(read(b"\xC9").unwrap_err().to_string().contains("encoding 9"));
        assert!(read(b"\xC3\x02\x05\x07x").unwrap_err().to_string().contains("compressed"));
        let mut input = Input::new(&b"\x05abcdez"[..]);
        assert_eq!(string(&mut input, 4).unwrap(), Err(5));
        assert_eq!(input.byte().unwrap(), b'z');
        // A compressed one that claims gigabytes.
        let mut input = Input::new(&b"\xC3\x01\x81\0\0\x01\0\0\0\0\0xz"[..]);
        assert_eq!(string(&mut input, 1 << 20).unwrap(), Err(1 << 40));
        assert_eq!(input.byte().unwrap(), b'z');
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(string in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(read(&written(&string)).unwrap().unwrap(), string);
        }

        #[test]
        fn numbers_survive(number in any::<i64>()) {
            let text = number.to_string();
            prop_assert_eq!(read(&written(text.as_bytes())).unwrap().unwrap(), text.as_bytes());
        }

        #[test]
        fn lengths_survive(len in any::<u64>(), shift in 0_u32..64) {
            let mut out = Vec::new();
            put_length(&mut out, len >> shift);
            prop_assert_eq!(length(&mut Input::new(&out[..])).unwrap(), len >> shift);
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let read = read(&bytes);
            let mut input = Input::new(&bytes[..]);
            let skipped = skip_string(&mut input);
            // What can be read can be passed over.
            if read.is_ok() {
                prop_assert!(skipped.is_ok());
            }
        }
    }
}
