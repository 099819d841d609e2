//! Redis' append-only file: commands in the protocol, on their way to be carried out in order.
//!
//! What has no meaning here is left out and counted: commands on other types, other databases. Transactions are carried out
//! once their EXEC has come, as Redis does at its start. The file may begin with a snapshot (`rdb`). Redis 7 has a folder with a
//! manifest that names several files; [`manifest`] reads it.
//!
//! ```text
//! manifest  "file NAME seq N type b|h|i" a line: base, history (not read), increment; in the order of their numbers
//! ```

use std::io::Read;

use super::{Input, Item, Skipped, TransferError, rdb};
use crate::command;
use crate::limits::{BULK_BYTES_CAP, REQUEST_SLACK_BYTES};

type Result<T> = std::result::Result<T, TransferError>;

/// Arguments of one command; the server's own bound.
const ARGS_MAX: u64 = crate::limits::ARGS_MAX as u64;
/// Bytes of one command's words: what no server takes more of.
const COMMAND_BYTES_MAX: u64 = BULK_BYTES_CAP as u64 + REQUEST_SLACK_BYTES as u64;
/// What a command that waits takes beside its words, about.
const COMMAND_OVERHEAD_BYTES: usize = 128;
/// A line of the file that is no string, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of one transaction that wait for its EXEC.
const TRANSACTION_BYTES_MAX: usize = crate::limits::TRANSACTION_BYTES_MAX;
/// Bytes of a manifest.
const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Reads a file, one item after the other.
#[derive(Debug, Default)]
pub struct Reader {
    /// Of the snapshot that the file begins with.
    snapshot: Option<rdb::Reader>,
    has_begun: bool,
    is_other_database: bool,
    /// Commands between MULTI and EXEC, where that MULTI stands, and their bytes.
    open: Option<(Vec<Item>, u64, usize)>,
    /// Those of a transaction that is whole, the last one first.
    ready: Vec<Item>,
}

impl Reader {
    /// The next item; `None` at the end of the file.
    ///
    /// # Errors
    /// Damage, or the end within a command or transaction, with its place.
    pub fn next_item<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Item>> {
        if !self.has_begun {
            self.has_begun = true;
            if input.peek()?.first() == Some(&b'R') {
                self.snapshot = Some(rdb::Reader::begin(input)?);
            }
        }
        if let Some(snapshot) = &mut self.snapshot {
            if let Some(item) = snapshot.next_item(input)? {
                return Ok(Some(item));
            }
            self.snapshot = None;
        }
        loop {
            if let Some(item) = self.ready.pop() {
                return Ok(Some(item));
            }
            let offset = input.offset();
            let Some(words) = next_command(input)? else {
                return match &self.open {
                    None => Ok(None),
                    Some((_, offset, _)) => Err(TransferError::Damaged {
                        offset: *offset,
                        what: "a transaction begins here that has no end; it was not imported"
                            .into(),
                    }),
                };
            };
            if let Some(item) = self.take(words, offset)? {
                return Ok(Some(item));
            }
        }
    }

    /// What becomes of a command; `None`: nothing, or nothing yet.
    fn take(&mut self, words: Vec<Vec<u8>>, offset: u64) -> Result<Option<Item>> {
        let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        match name.as_slice() {
            b"multi" => self.open = Some((Vec::new(), offset, 0)),
            b"exec" => {
                let (mut items, ..) = self.open.take().unwrap_or_default();
                items.reverse();
                self.ready = items;
            }
            b"select" => {
                self.is_other_database = words.get(1).is_none_or(|database| database != b"0");
            }
            _ => {
                let bytes =
                    words.iter().map(|word| word.len() + COMMAND_OVERHEAD_BYTES).sum::<usize>();
                let item = self.judge(words, &name);
                let Some((items, begin, held)) = &mut self.open else { return Ok(Some(item)) };
                *held += bytes;
                if *held > TRANSACTION_BYTES_MAX {
                    let what = format!("a transaction of more than {TRANSACTION_BYTES_MAX} bytes");
                    return Err(TransferError::Damaged { offset: *begin, what });
                }
                items.push(item);
            }
        }
        Ok(None)
    }

    fn judge(&self, words: Vec<Vec<u8>>, name: &[u8]) -> Item {
        if self.is_other_database {
            return Item::Skip(Skipped::Database);
        }
        if let Some(kind) = command::needs(name) {
            return Item::Skip(Skipped::Kind(kind));
        }
        match command::lookup(name) {
            Some(spec) if spec.is_write() && !spec.takes(words.len()) => {
                Item::Skip(Skipped::Other("a command with a wrong number of arguments"))
            }
            // FLUSHDB erases nothing here unless it is told to.
            Some(_) if name == b"flushdb" => Item::Command(vec![b"FLUSHALL".to_vec()]),
            Some(spec) if spec.is_write() => Item::Command(words),
            Some(_) => Item::Skip(Skipped::Other("a command that writes nothing")),
            None => Item::Skip(Skipped::Other("an unknown command")),
        }
    }
}

/// The next command; `None` at the end of the file.
fn next_command<R: Read>(input: &mut Input<R>) -> Result<Option<Vec<Vec<u8>>>> {
    loop {
        match input.peek()?.first() {
            None => return Ok(None),
            // A remark, such as the time.
            Some(b'#') => drop(input.line(LINE_BYTES_MAX)?),
            Some(_) => break,
        }
    }
    let count = announced(input, b'*')?;
    if count == 0 || count > ARGS_MAX {
        return Err(input.damaged(format!("a command of {count} words; 1 to {ARGS_MAX} are taken")));
    }
    let (mut words, mut all_bytes) = (Vec::new(), 0_u64);
    for _ in 0..count {
        let len = announced(input, b'$')?;
        all_bytes = all_bytes.saturating_add(len);
        if all_bytes > COMMAND_BYTES_MAX {
            let what = format!("a command of more than {COMMAND_BYTES_MAX} bytes");
            return Err(input.damaged(what));
        }
        words.push(input.bytes(len)?);
        if input.array()? != *b"\r\n" {
            return Err(input.damaged("a word is not followed by CR LF"));
        }
    }
    Ok(Some(words))
}

/// A count or length with its mark.
fn announced<R: Read>(input: &mut Input<R>, mark: u8) -> Result<u64> {
    let offset = input.offset();
    let line = input.line(LINE_BYTES_MAX)?.unwrap_or_default();
    let digits = line.strip_prefix(&[mark]).unwrap_or_default();
    let number =
        if digits.iter().all(u8::is_ascii_digit) { std::str::from_utf8(digits).ok() } else { None };
    number.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        let what = format!("'{}' and a number was expected", char::from(mark));
        // Cut within a line, that is what it is.
        let is_cut = !digits.is_empty() || line.is_empty();
        let what = if is_cut && input.peek().is_ok_and(<[u8]>::is_empty) {
            "the file ends here, in the middle of a command".into()
        } else {
            what
        };
        TransferError::Damaged { offset, what }
    })
}

/// The files that a manifest names, in order.
///
/// # Errors
/// A line that is none, or a name with a folder in it.
pub fn manifest<R: Read>(input: &mut Input<R>) -> Result<Vec<String>> {
    let mut files = Vec::new();
    while let Some(line) = input.line(LINE_BYTES_MAX)? {
        if input.offset() > MANIFEST_BYTES_MAX as u64 {
            return Err(
                input.damaged(format!("a manifest of more than {MANIFEST_BYTES_MAX} bytes"))
            );
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [remark, ..] if remark.starts_with('#') => {}
            ["file", name, "seq", number, "type", kind @ ("b" | "h" | "i")] => {
                let Ok(number) = number.parse::<u64>() else {
                    return Err(input.damaged("a line of the manifest has no number"));
                };
                if name.contains('/') || *name == ".." {
                    return Err(input.damaged("a file of the manifest lies in another folder"));
                }
                if *kind != "h" {
                    files.push((*kind == "i", number, (*name).to_owned()));
                }
            }
            _ => {
                let what = "a line of the manifest is not: file NAME seq NUMBER type b|h|i";
                return Err(input.damaged(what));
            }
        }
    }
    files.sort();
    let files = files.into_iter().map(|(.., name)| name).collect();
    Ok(files)
}
