//! A file as it is read: bytes in order, how far it was read, and a checksum on the way.
//!
//! # Invariants
//! - Nothing is allocated by a length that the file claims: a buffer grows with the bytes that were there.

use std::io::{self, BufRead, BufReader, Read};

use super::TransferError;
use super::rdb::Crc64;

/// Bytes by which a buffer grows, at most, before they have been read.
const PIECE_BYTES: usize = 64 << 10;

type Result<T> = std::result::Result<T, TransferError>;

/// Reads a file from its beginning to its end, once.
pub struct Input<R> {
    reader: BufReader<R>,
    offset: u64,
    crc: Crc64,
}

impl<R> std::fmt::Debug for Input<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Input").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl<R: Read> Input<R> {
    pub fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(PIECE_BYTES, reader),
            offset: 0,
            crc: Crc64::default(),
        }
    }

    /// Bytes that were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The checksum of all bytes since the last [`Input::begin_checksum`].
    pub fn checksum(&self) -> u64 {
        self.crc.value()
    }

    pub fn begin_checksum(&mut self) {
        self.crc = Crc64::default();
    }

    /// Damage at the present place.
    pub fn damaged(&self, what: impl Into<String>) -> TransferError {
        TransferError::Damaged { offset: self.offset, what: what.into() }
    }

    /// The bytes that come next, at least one unless the file has ended.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn peek(&mut self) -> Result<&[u8]> {
        let offset = self.offset;
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransferError::Read { offset, source: error }),
            }
        }
        Ok(self.reader.buffer())
    }

    fn consume(&mut self, count: usize) {
        let taken = self.reader.buffer().get(..count).unwrap_or_default();
        self.crc.add(taken);
        self.offset += taken.len() as u64;
        self.reader.consume(count);
    }

    fn ended<T>(&self) -> Result<T> {
        Err(self.damaged("the file ends here, in the middle of something"))
    }

    /// Fills `out`.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    pub fn exact(&mut self, mut out: &mut [u8]) -> Result<()> {
        while !out.is_empty() {
            let some = self.peek()?;
            let count = some.len().min(out.len());
            if count == 0 {
                return self.ended();
            }
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&some[..count]);
            out = later;
            self.consume(count);
        }
        Ok(())
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// As [`Input::exact`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        self.exact(&mut array)?;
        Ok(array)
    }

    /// The next byte.
    ///
    /// # Errors
    /// As [`Input::exact`].
    pub fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// The next `len` bytes. The caller has compared `len` with what it takes.
    ///
    /// # Errors
    /// As [`Input::exact`].
    pub fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut left = len;
        while left > 0 {
            let some = self.peek()?;
            let count = some.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return self.ended();
            }
            bytes.extend_from_slice(&some[..count]);
            left -= count as u64;
            self.consume(count);
        }
        Ok(bytes)
    }

    /// Passes over `len` bytes.
    ///
    /// # Errors
    /// As [`Input::exact`].
    pub fn skip(&mut self, len: u64) -> Result<()> {
        let mut left = len;
        while left > 0 {
            let count = self.peek()?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return self.ended();
            }
            left -= count as u64;
            self.consume(count);
        }
        Ok(())
    }

    /// The next line without its end (LF or CR LF); `None` at the end of the file. The last line may lack its end.
    ///
    /// # Errors
    /// It is longer than `bytes_max`; the file cannot be read.
    pub fn line(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let some = self.peek()?;
            if some.is_empty() {
                return Ok((!line.is_empty()).then_some(line));
            }
            let end = memchr::memchr(b'\n', some);
            let count = end.map_or(some.len(), |end| end + 1);
            if line.len() + count > bytes_max {
                return Err(self.damaged(format!("a line is longer than {bytes_max} bytes")));
            }
            line.extend_from_slice(&some[..count]);
            self.consume(count);
            if end.is_some() {
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut out[..1])
        }
    }

    #[test]
    fn pieces_of_any_size_are_the_same_file() {
        let mut input = Input::new(Drops(b"abc\r\nde\nf"));
        assert_eq!(input.array::<2>().unwrap(), *b"ab");
        assert_eq!(input.line(10).unwrap().unwrap(), b"c");
        assert_eq!(input.offset(), 5);
        assert_eq!(input.line(10).unwrap().unwrap(), b"de");
        assert_eq!(input.line(10).unwrap().unwrap(), b"f");
        assert_eq!(input.line(10).unwrap(), None);
        assert!(input.byte().unwrap_err().to_string().contains("offset 9"));
    }

    #[test]
    fn a_length_that_lies_costs_nothing() {
        let mut input = Input::new(&b"abc"[..]);
        let error = input.bytes(u64::MAX).unwrap_err();
        assert!(error.to_string().contains("ends here"), "{error}");
        assert!(Input::new(&b"abc"[..]).skip(u64::MAX).is_err());
        let error = Input::new(&b"abcdef\n"[..]).line(4).unwrap_err();
        assert!(error.to_string().contains("longer than 4 bytes"), "{error}");
    }
}
