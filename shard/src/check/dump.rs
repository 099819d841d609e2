//! The records of one file, in file order, as rows of named values: for a person or a program to read. The file may lie
//! anywhere, under any name; damage is a row like others, and what stands behind it follows.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::batch::Op;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::expiry;
use crate::key::{Entry, Identity, Kind};
use crate::limits::ALIGN;
use crate::manifest::decode_edit;
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::table::Table;
use crate::table::block::{Block, Window};
use crate::table::blocks::Blocks;
use crate::table::found::describe;
use crate::wal::frame::{FrameKind, Head, read_chain};
use crate::wal::header::{Header, Magic};
use crate::wal::walk::{Piece, Walk, claims, operations};
use crate::wal::window;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A count, a length, a number.
    Number(u64),
    /// Words.
    Text(String),
    /// Bytes of a user.
    Bytes(Vec<u8>),
}

/// One record, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub record: &'static str,
    /// Where it begins in the file; of a part, where its whole does.
    pub offset: u64,
    /// Belongs to the row before it that is none.
    pub is_part: bool,
    /// What it says.
    pub fields: Vec<(&'static str, Value)>,
}

impl Row {
    fn new(record: &'static str, offset: u64) -> Self {
        Self { record, offset, is_part: false, fields: Vec::new() }
    }

    fn part(record: &'static str, offset: u64) -> Self {
        Self { is_part: true, ..Self::new(record, offset) }
    }

    fn number(mut self, name: &'static str, value: u64) -> Self {
        self.fields.push((name, Value::Number(value)));
        self
    }

    fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, Value::Text(value.into())));
        self
    }

    fn bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        self.fields.push((name, Value::Bytes(value.to_vec())));
        self
    }

    fn of(self, identity: Identity) -> Self {
        self.text("directory", format!("{:032x}", identity.directory))
            .number("shard", u64::from(identity.shard))
    }
}

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// `NNNNNN.wal`
    Segment,
    /// `NNNNNN.sst`
    Table,
    /// `manifest-NNNNNN` or `CURRENT`
    Manifest,
}

/// Takes rows until it answers `false`.
pub type Rows<'a> = &'a mut dyn FnMut(Row) -> bool;

/// The rows of the file `path`. Answers how many of them are of damage.
///
/// # Errors
/// What leaves nothing to be read: a header, footer or index that is damaged or of another kind or format; `Io`.
pub async fn dump<E: Env>(env: &E, path: &Path, kind: Kinds, rows: Rows<'_>) -> Result<u64> {
    let mut dump = Dump { env, path: path.to_owned(), rows, damages: 0, goes_on: true };
    match kind {
        Kinds::Segment => dump.frames(Magic::Segment).await?,
        Kinds::Table => dump.table().await?,
        Kinds::Manifest if path.file_name().is_some_and(|name| name == "CURRENT") => {
            dump.current().await?;
        }
        Kinds::Manifest => dump.frames(Magic::Manifest).await?,
    }
    Ok(dump.damages)
}

struct Dump<'a, E> {
    env: &'a E,
    path: PathBuf,
    rows: Rows<'a>,
    damages: u64,
    /// The taker wants more.
    goes_on: bool,
}

impl<E: Env> Dump<'_, E> {
    fn row(&mut self, row: Row) {
        self.goes_on = self.goes_on && (self.rows)(row);
    }

    fn damage(&mut self, offset: u64, what: impl Into<String>) {
        self.damages += 1;
        self.row(Row::new("damage", offset).text("what", what));
    }

    async fn current(&mut self) -> Result<()> {
        let identity = claims(self.env, &self.path).await?;
        let mut window = window::Window::open(self.env, self.path.clone()).await?;
        window.fetch(0, ALIGN as u64).await?;
        let block = window.bytes(0, ALIGN);
        let header = Header::decode(block, Magic::Current, identity, &self.path);
        window.close().await;
        let header = header?;
        let row = Row::new("current", 0).of(identity);
        self.row(row.number("manifest", header.number).number("snapshot_end", header.extent));
        Ok(())
    }

    // ---- frames ----

    async fn frames(&mut self, magic: Magic) -> Result<()> {
        let identity = claims(self.env, &self.path).await?;
        let mut walk = Walk::open(self.env, self.path.clone(), magic, identity).await?;
        let Header { format, number, epoch, extent, grain_bytes } = walk.header();
        let name = if magic == Magic::Segment { "segment" } else { "manifest" };
        let row = Row::new(name, 0).number("number", number).of(identity);
        let row = row.text("epoch", format!("{epoch:016x}"));
        self.row(if magic == Magic::Segment {
            row.number("bytes", extent).number("grain", grain_bytes as u64)
        } else {
            row
        });
        // What a gap is shows when it is known whether anything stands behind it.
        let mut gap: Option<(u64, u64, bool)> = None;
        while self.goes_on
            && let Some(piece) = walk.next().await?
        {
            match piece {
                Piece::Gap { offset, bytes, is_blank } => gap = Some((offset, bytes, is_blank)),
                Piece::Frame { offset, head, payload } => {
                    if let Some((at, bytes, _)) = gap.take() {
                        self.damage(at, format!("{bytes} bytes without a whole frame"));
                    }
                    self.frame(format, offset, &head, payload);
                }
            }
        }
        match gap {
            Some((at, bytes, true)) => self.row(Row::new("blank", at).number("bytes", bytes)),
            Some((at, bytes, false)) => {
                let what =
                    "no whole frame from here on: a torn tail, unless the manifest says more";
                self.row(Row::new("torn", at).number("bytes", bytes).text("what", what));
            }
            None => {}
        }
        walk.close().await;
        Ok(())
    }

    fn frame(&mut self, format: u32, offset: u64, head: &Head, payload: &[u8]) {
        let name = match head.kind {
            FrameKind::Batch => "batch",
            FrameKind::Chain => "chain",
            FrameKind::Witness => "witness",
            FrameKind::Snapshot => "snapshot",
            FrameKind::Edit => "edit",
        };
        let row = Row::new(name, offset)
            .number("bytes", head.len as u64)
            .number("synced_upto", head.synced_upto);
        match head.kind {
            FrameKind::Batch => self.batch(row, head, payload),
            FrameKind::Chain => match read_chain(payload) {
                Some(chain) => self.row(
                    row.number("after_segment", chain.segment)
                        .number("after_end", chain.end)
                        .number("after_seq", chain.last_seq.0),
                ),
                None => self.damage(offset, "a chain frame that says nothing"),
            },
            FrameKind::Witness => self.row(row.number("next_seq", head.first_seq.0)),
            FrameKind::Snapshot | FrameKind::Edit => match decode_edit(payload, format) {
                Ok(edit) => self.edit(row.number("index", head.first_seq.0), &edit),
                Err(what) => self.damage(offset, what),
            },
        }
    }

    fn batch(&mut self, row: Row, head: &Head, payload: &[u8]) {
        let offset = row.offset;
        let Some(ops) = operations(head, payload) else {
            self.damage(offset, "the frame is whole, but its operations are not");
            return;
        };
        self.row(row.number("first_seq", head.first_seq.0).number("ops", u64::from(head.ops)));
        for (seq, op) in ops {
            let row = match op {
                Op::Put { .. } => Row::part("put", offset),
                Op::Delete { .. } => Row::part("delete", offset),
            };
            let row = row.number("seq", seq.0).bytes("key", op.key());
            self.row(match op {
                Op::Put { value, expires_at_ms: 0, .. } => row.bytes("value", value),
                Op::Put { value, expires_at_ms, .. } => {
                    row.number("expires_at_ms", expires_at_ms).bytes("value", value)
                }
                Op::Delete { .. } => row,
            });
        }
    }

    fn edit(&mut self, mut row: Row, edit: &VersionEdit) {
        let offset = row.offset;
        let scalars = [
            ("flushed_seq", edit.flushed_seq),
            ("wal_first_live", edit.wal_first_live),
            ("numbers_reserved", edit.numbers_reserved),
        ];
        for (name, value) in scalars {
            if let Some(value) = value {
                row = row.number(name, value);
            }
        }
        self.row(row);
        for (level, number) in &edit.removed {
            let row = Row::part("remove_table", offset).number("level", u64::from(*level));
            self.row(row.number("number", *number));
        }
        for (level, meta) in &edit.added {
            let row = Row::part("add_table", offset).number("level", u64::from(*level));
            self.row(table_fields(row, meta));
        }
        for segment in &edit.wal_added {
            let row = Row::part("add_segment", offset).number("number", segment.number);
            self.row(row.number("bytes", segment.bytes));
        }
        if let Some(stop) = &edit.clean_stop {
            let row = Row::part("clean_stop", offset).number("segment", stop.segment);
            self.row(row.number("end", stop.end).number("last_seq", stop.last_seq));
        }
    }

    // ---- tables ----

    async fn table(&mut self) -> Result<()> {
        let (identity, meta) = describe(self.env, &self.path).await?;
        let table = Table::open_path(self.env, self.path.clone(), identity, &meta).await?;
        let table = Rc::new(table);
        let row = table_fields(Row::new("table", 0).of(identity), &meta);
        let row = row.number("blocks", table.blocks() as u64);
        self.row(row.number("filter_bytes", table.filter_bytes() as u64));
        let mut blocks = Blocks::open(Rc::clone(&table)).await?;
        let mut window = Window::default();
        while self.goes_on
            && let Some((index, handle, block)) = blocks.next().await
        {
            match block {
                Ok(block) => {
                    let row = Row::new("block", handle.offset())
                        .number("bytes", handle.stored_len() as u64)
                        .number("raw_bytes", handle.raw_len() as u64)
                        .bytes("upto", table.separator(index).unwrap_or_default());
                    self.row(row);
                    self.entries(handle.offset(), &block, &mut window);
                }
                Err(Error::Corruption { offset, what, .. }) => self.damage(offset, what),
                Err(error) => self.damage(handle.offset(), error.to_string()),
            }
            self.env.pause().await;
        }
        Ok(())
    }

    fn entries(&mut self, offset: u64, block: &Block, window: &mut Window) {
        for restart in 0..block.restarts() {
            block.window(restart, window);
            for index in 0..window.len() {
                let Some(Entry { key, seq, kind, value }) = window.entry(index, block) else {
                    continue;
                };
                let name = if kind == Kind::Delete { "delete" } else { "put" };
                let row = Row::part(name, offset).number("seq", seq.0).bytes("key", key);
                self.row(match (kind, expiry::split(value)) {
                    (Kind::Delete, _) => row,
                    (Kind::Expiring, Some((expires_at_ms, value))) => {
                        row.number("expires_at_ms", expires_at_ms).bytes("value", value)
                    }
                    (Kind::Put | Kind::Expiring, _) => row.bytes("value", value),
                });
            }
        }
    }
}

fn table_fields(row: Row, meta: &TableMeta) -> Row {
    row.number("number", meta.number)
        .number("bytes", meta.bytes)
        .text("crc", format!("{:08x}", meta.crc))
        .number("entries", meta.entries)
        .number("tombstones", meta.tombstones)
        .number("expiring", meta.expiring.entries)
        .number("expires_first_ms", meta.expiring.first_ms)
        .number("expires_last_ms", meta.expiring.last_ms)
        .number("raw_bytes", meta.raw_bytes)
        .number("seq_min", meta.seq_min)
        .number("seq_max", meta.seq_max)
        .bytes("smallest", &meta.smallest)
        .bytes("largest", &meta.largest)
}
