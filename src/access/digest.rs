//! Passwords, of which only the SHA-256 is kept.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use sha2::{Digest as _, Sha256};

/// The SHA-256 of a password. Two of them are compared in the same time, whatever they have in common.
#[derive(Clone, Copy)]
pub struct PasswordDigest([u8; PasswordDigest::BYTES]);

impl PasswordDigest {
    const BYTES: usize = 32;

    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != 2 * Self::BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Whether it is this password's.
    pub fn matches(self, password: &[u8]) -> bool {
        self == Self::of(password)
    }
}

impl PartialEq for PasswordDigest {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |bits, (a, b)| bits | (a ^ b));
        // Else the compiler may end the loop at the first byte that differs.
        std::hint::black_box(differing) == 0
    }
}

impl Eq for PasswordDigest {}

/// Settings are printed and logged; this must not be.
impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// Two digits a byte, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

/// A digest that all cores read and CONFIG SET exchanges, or none.
///
/// # Invariants
/// - `version` is odd while the words are written. Who read an even one before and after has words of one digest.
#[derive(Debug, Default)]
pub(crate) struct DigestCell {
    version: AtomicU64,
    is_set: AtomicU64,
    words: [AtomicU64; 4],
}

impl DigestCell {
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire) != 0
    }

    pub(crate) fn get(&self) -> Option<PasswordDigest> {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let is_set = self.is_set.load(Ordering::Relaxed) != 0;
            let mut bytes = [0; PasswordDigest::BYTES];
            for (chunk, word) in bytes.chunks_exact_mut(8).zip(&self.words) {
                chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return is_set.then_some(PasswordDigest(bytes));
            }
            std::hint::spin_loop();
        }
    }

    /// Two writers at a time are two administrators at a time: one waits for the other's six stores.
    pub(crate) fn set(&self, digest: Option<PasswordDigest>) {
        let begun = loop {
            let version = self.version.load(Ordering::Relaxed);
            if version.is_multiple_of(2)
                && self
                    .version
                    .compare_exchange(version, version + 1, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                break version;
            }
            std::hint::spin_loop();
        };
        fence(Ordering::Release);
        let bytes = digest.map_or([0; PasswordDigest::BYTES], |digest| digest.0);
        for (chunk, word) in bytes.chunks_exact(8).zip(&self.words) {
            let mut eight = [0; 8];
            eight.copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
        self.is_set.store(u64::from(digest.is_some()), Ordering::Relaxed);
        self.version.store(begun + 2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_password_s() {
        let digest = PasswordDigest::of(b"foo");
        let hex = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(digest.to_hex(), hex, "as redis-server shows it in ACL LIST");
        assert_eq!(PasswordDigest::from_hex(&hex.to_uppercase()), Some(digest));
        assert!(digest.matches(b"foo"));
        for wrong in ["", "fo", "foo ", "Foo"] {
            assert!(!digest.matches(wrong.as_bytes()), "{wrong:?}");
        }
        for wrong in ["", "2c", &hex[1..], &hex.replace('2', "g"), &hex.replace("2c", "ä")] {
            assert_eq!(PasswordDigest::from_hex(wrong), None, "{wrong:?}");
        }
        assert_eq!(format!("{digest:?}"), "(redacted)");
    }

    #[test]
    fn whoever_reads_gets_one_whole_digest() {
        let cell = DigestCell::default();
        assert!(!cell.is_set() && cell.get().is_none());
        let known = [b"a", b"b", b"c"].map(|word| PasswordDigest::of(word));
        cell.set(Some(known[0]));
        std::thread::scope(|scope| {
            for first in 0..2 {
                let cell = &cell;
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        cell.set(Some(known[first + turn % 2]));
                    }
                });
            }
            for _ in 0..20_000 {
                assert!(known.contains(&cell.get().unwrap()));
            }
        });
        cell.set(None);
        assert!(!cell.is_set() && cell.get().is_none());
    }
}
