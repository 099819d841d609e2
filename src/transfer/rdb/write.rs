//! A file of strings, as Redis 7.0 reads it.

use std::io::{self, Write};

use super::string::{put_length, put_string};
use super::{Crc64, MAGIC, TYPE_STRING, VERSION_WRITTEN};
use crate::transfer::Entry;

/// Writes a file from its head to its checksum.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    crc: Crc64,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut writer = Self { out, crc: Crc64::default(), buffer: Vec::new() };
        writer.buffer.extend_from_slice(MAGIC);
        writer.buffer.extend_from_slice(format!("{VERSION_WRITTEN:04}").as_bytes());
        for (name, value) in [("rusty-lsm-ver", env!("CARGO_PKG_VERSION")), ("redis-bits", "64")] {
            writer.buffer.push(0xFA);
            put_string(&mut writer.buffer, name.as_bytes());
            put_string(&mut writer.buffer, value.as_bytes());
        }
        writer.buffer.push(0xFE);
        put_length(&mut writer.buffer, 0);
        writer.pass_on()?;
        Ok(writer)
    }

    /// Writes one key.
    ///
    /// # Errors
    /// The output's.
    pub fn put(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.expires_at_ms > 0 {
            self.buffer.push(0xFC);
            self.buffer.extend_from_slice(&entry.expires_at_ms.to_le_bytes());
        }
        self.buffer.push(TYPE_STRING);
        put_string(&mut self.buffer, &entry.key);
        put_string(&mut self.buffer, &entry.value);
        self.pass_on()
    }

    /// Writes the end and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn end(mut self) -> io::Result<W> {
        self.buffer.push(0xFF);
        self.pass_on()?;
        self.out.write_all(&self.crc.value().to_le_bytes())?;
        Ok(self.out)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.crc.add(&self.buffer);
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
