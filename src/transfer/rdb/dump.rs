//! The payload of DUMP and RESTORE: one value, the version of its format, and a checksum over both.

use super::string::{put_string, string};
use super::{Crc64, TYPE_STRING, VERSION_MAX, VERSION_WRITTEN, skip};
use crate::transfer::Input;

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is of a later version, or its bytes are not those that were written.
    VersionOrChecksum,
    /// The checksum is right, and yet it is no value.
    Format,
    /// It is a value of a type that is not there.
    Kind(&'static str),
}

/// The payload of a string: byte for byte what Redis 7.0 makes, but for strings above 20 bytes, which Redis compresses if it can
/// and this does not.
///
/// ```
/// use rusty_lsm::transfer::rdb::dump;
/// let payload = dump::encode(b"10");
/// assert_eq!(payload[..4], *b"\0\xC0\x0A\x0A");
/// assert_eq!(dump::decode(&payload, 64), Ok(b"10".to_vec()));
/// ```
pub fn encode(value: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(value.len() + 2 * FOOTER_BYTES);
    payload.push(TYPE_STRING);
    put_string(&mut payload, value);
    payload.extend_from_slice(&VERSION_WRITTEN.to_le_bytes());
    let crc = Crc64::of(&payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// The string that a payload holds, of at most `bytes_max`.
///
/// # Errors
/// See [`Refused`].
pub fn decode(payload: &[u8], bytes_max: usize) -> Result<Vec<u8>, Refused> {
    let split = payload.len().checked_sub(FOOTER_BYTES);
    let (body, footer) =
        split.and_then(|at| payload.split_at_checked(at)).ok_or(Refused::VersionOrChecksum)?;
    let (version, stored) = footer.split_first_chunk::<2>().ok_or(Refused::VersionOrChecksum)?;
    let summed = &payload[..payload.len() - stored.len()];
    if u16::from_le_bytes(*version) > VERSION_MAX || Crc64::of(summed).to_le_bytes() != *stored {
        return Err(Refused::VersionOrChecksum);
    }
    let (&code, value) = body.split_first().ok_or(Refused::Format)?;
    match skip::kind(code) {
        Some("string") => {}
        Some(kind) => return Err(Refused::Kind(kind)),
        None => return Err(Refused::Format),
    }
    let mut input = Input::new(value);
    let read = string(&mut input, bytes_max).ok().and_then(Result::ok);
    let is_all = input.offset() == value.len() as u64;
    read.filter(|_| is_all).ok_or(Refused::Format)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    /// What redis-server 7.0.15 answers to DUMP.
    #[test]
    fn payloads_are_redis_s() {
        for (value, payload) in [
            (&b""[..], &b"\x00\x00\n\x00]\x9b\\@\x0f\x7f\xa2\xda"[..]),
            (b"10", b"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb"),
            (b"hello", b"\x00\x05hello\n\x00cr\xdfve4 \n"),
            (b"128", b"\x00\xc1\x80\x00\n\x00\xebz\xb3\xb5\x10\xcfKe"),
            (b"-32769", b"\x00\xc2\xff\x7f\xff\xff\n\x00\xae\xe3LM\x06\xc6\x856"),
            (b"2147483648", b"\x00\n2147483648\n\x00\xe7\xb1)\xa3L\x1dv\xee"),
        ] {
            assert_eq!(encode(value), payload, "{}", value.escape_ascii());
            assert_eq!(decode(payload, MAX).as_deref(), Ok(value));
        }
        let packed = b"\x00\xc3\t@d\x01xx\xe0W\x00\x01xx\n\x00]\xb7\xf6c\xbb\x08b_";
        assert_eq!(decode(packed, MAX), Ok(vec![b'x'; 100]));
    }

    #[test]
    fn what_is_refused_says_why() {
        let good = encode(b"hello world");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad, MAX), Err(Refused::VersionOrChecksum), "byte {at}");
            assert_eq!(decode(&good[..at], MAX), Err(Refused::VersionOrChecksum), "{at} bytes");
        }
        let signed = |body: &[u8], version: u16| {
            let mut payload = [body, &version.to_le_bytes()].concat();
            let crc = Crc64::of(&payload);
            payload.extend_from_slice(&crc.to_le_bytes());
            payload
        };
        assert_eq!(decode(&signed(b"\0\x01a", 12), MAX), Ok(b"a".to_vec()));
        assert_eq!(decode(&signed(b"\0\x01a", 13), MAX), Err(Refused::VersionOrChecksum));
        assert_eq!(decode(&signed(b"", 10), MAX), Err(Refused::Format));
        assert_eq!(decode(&signed(b"\0\x02a", 10), MAX), Err(Refused::Format));
        assert_eq!(decode(&signed(b"\0\x01ab", 10), MAX), Err(Refused::Format));
        assert_eq!(decode(&signed(b"\0\x03abc", 10), 2), Err(Refused::Format));
        assert_eq!(decode(&signed(b"\x12\x01a", 10), MAX), Err(Refused::Kind("list")));
        assert_eq!(decode(&signed(b"\x63\x01a", 10), MAX), Err(Refused::Format));
    }

    proptest! {
        #[test]
        fn what_is_dumped_is_restored(value in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(decode(&encode(&value), MAX), Ok(value));
        }

        #[test]
        fn no_bytes_do_harm(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            drop(decode(&body, MAX));
            let mut payload = [&body[..], &10_u16.to_le_bytes()].concat();
            let crc = Crc64::of(&payload);
            payload.extend_from_slice(&crc.to_le_bytes());
            drop(decode(&payload, MAX));
        }
    }
}
