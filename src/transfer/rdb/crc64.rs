//! The checksum of RDB files: CRC-64 with Jones' polynomial, bits reflected, beginning at 0.

const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// A checksum in progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crc64(u64);

impl Crc64 {
    /// Of all of `bytes`.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Self::default();
        crc.add(bytes);
        crc.0
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = TABLE[usize::from(low ^ byte)] ^ (self.0 >> 8);
        }
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that Redis has in its source, too.
    #[test]
    fn it_is_redis_s() {
        assert_eq!(Crc64::of(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
        assert_eq!(Crc64::of(b""), 0);
    }
}
