//! Comma-separated values with a line of names: `key,value` and, in any order, `encoding` and `expires_at_ms`.
//!
//! A field with a comma, a quote or a line end stands in quotes (RFC 4180). `encoding` is of key and value both: `utf8`, or
//! nothing, takes the bytes as they are.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use csv::ByteRecord;

use super::{Encoding, Entry, Item, TransferError};

/// Longest record: the longest value in base64, its key, and what is around them. A quote that is never closed ends here, and
/// not with the memory.
const RECORD_BYTES_MAX: u64 = 768 << 20;

/// What a record may still take from the file.
struct Bounded<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.get().checked_sub(1) else {
            let what =
                format!("a record is longer than {RECORD_BYTES_MAX} bytes: is a quote not closed?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let len = out.len().min(usize::try_from(left + 1).unwrap_or(usize::MAX));
        let count = self.reader.read(&mut out[..len])?;
        self.left.set(self.left.get() - count as u64);
        Ok(count)
    }
}

/// Which column has what.
#[derive(Debug, Clone, Copy, Default)]
struct Columns {
    key: Option<usize>,
    value: Option<usize>,
    encoding: Option<usize>,
    expires_at_ms: Option<usize>,
}

/// Reads a file record by record.
pub struct Reader<R> {
    csv: csv::Reader<Bounded<R>>,
    left: Rc<Cell<u64>>,
    columns: Columns,
    record: ByteRecord,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the line of names.
    ///
    /// # Errors
    /// A name that is none of ours, or one that is lacking.
    pub fn begin(reader: R) -> Result<Self, TransferError> {
        let left = Rc::new(Cell::new(RECORD_BYTES_MAX));
        let bounded = Bounded { reader, left: Rc::clone(&left) };
        let mut csv = csv::ReaderBuilder::new().has_headers(true).from_reader(bounded);
        let names = csv.byte_headers().map_err(|error| damaged(&error))?.clone();
        let mut columns = Columns::default();
        let refused = |what: String| TransferError::Damaged { offset: 0, what };
        for (place, name) in names.iter().enumerate() {
            let column = match name.trim_ascii() {
                b"key" => &mut columns.key,
                b"value" => &mut columns.value,
                b"encoding" => &mut columns.encoding,
                b"expires_at_ms" => &mut columns.expires_at_ms,
                other => {
                    return Err(refused(format!(
                        "the first line names '{}'; known are key, value, encoding, expires_at_ms",
                        String::from_utf8_lossy(&other[..other.len().min(64)]).escape_debug()
                    )));
                }
            };
            if column.replace(place).is_some() {
                return Err(refused("the first line names a column twice".into()));
            }
        }
        if columns.key.is_none() || columns.value.is_none() {
            return Err(refused("the first line must name the columns key and value".into()));
        }
        Ok(Self { csv, left, columns, record: ByteRecord::new() })
    }

    /// Bytes that were read, or nearly so.
    pub fn offset(&self) -> u64 {
        self.csv.position().byte()
    }

    /// The next record.
    ///
    /// # Errors
    /// Damage, with the place where the record begins.
    pub fn next_item(&mut self) -> Result<Option<Item>, TransferError> {
        self.left.set(RECORD_BYTES_MAX);
        let offset = self.offset();
        let is_there =
            self.csv.read_byte_record(&mut self.record).map_err(|error| damaged(&error))?;
        if !is_there {
            return Ok(None);
        }
        let field = |column: Option<usize>| {
            column.and_then(|place| self.record.get(place)).unwrap_or_default()
        };
        let refused = |what: &str| TransferError::Damaged { offset, what: what.into() };
        let encoding = Encoding::named(field(self.columns.encoding))
            .ok_or_else(|| refused("encoding is neither utf8 nor base64"))?;
        let decode = |column| {
            encoding
                .decode(field(column).to_vec())
                .ok_or_else(|| refused("key or value is no base64"))
        };
        let (key, value) = (decode(self.columns.key)?, decode(self.columns.value)?);
        let expires_at_ms = match field(self.columns.expires_at_ms) {
            b"" => 0,
            digits => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| refused("expires_at_ms is no number of milliseconds since 1970"))?,
        };
        Ok(Some(Item::Set(Entry { key, value, expires_at_ms })))
    }
}

fn damaged(error: &csv::Error) -> TransferError {
    let offset = error.position().map_or(0, csv::Position::byte);
    TransferError::Damaged { offset, what: error.to_string() }
}

/// Writes a file record by record.
pub struct Writer<W: Write>(csv::Writer<W>);

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Writes the line of names.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(out: W) -> io::Result<Self> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(["key", "value", "encoding", "expires_at_ms"])?;
        Ok(Self(csv))
    }

    /// Writes one key.
    ///
    /// # Errors
    /// The output's.
    pub fn put(&mut self, entry: &Entry) -> io::Result<()> {
        let encoding = Encoding::of(entry);
        let expires =
            if entry.expires_at_ms > 0 { entry.expires_at_ms.to_string() } else { String::new() };
        let (key, value) = (encoding.encode(&entry.key), encoding.encode(&entry.value));
        self.0.write_record([key.as_str(), &value, encoding.name(), &expires])?;
        Ok(())
    }

    /// Passes on what is left, and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn end(self) -> io::Result<W> {
        self.0.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}
