//! All blocks of a table in file order, past the cache: for whoever looks at every byte. A block that is damaged is
//! one answer among others, not the end.
#![deny(clippy::indexing_slicing)]

use std::rc::Rc;

use super::PIECE_BYTES;
use super::block::Block;
use super::index::BlockHandle;
use super::reader::{Table, position, read, span};
use crate::env::{Env, File, IoBuf, Lane, Open, align_down, align_up};
use crate::error::{Error, Result};

/// Goes over the blocks, reading large pieces ahead.
pub(crate) struct Blocks<E: Env> {
    table: Rc<Table<E>>,
    file: E::File,
    piece: IoBuf,
    /// Where the piece lies in the file.
    offset: u64,
    next: usize,
    /// Of all bytes so far; `None` once some could not be read.
    crc: Option<crc32fast::Hasher>,
}

impl<E: Env> std::fmt::Debug for Blocks<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("table", &self.table).finish_non_exhaustive()
    }
}

impl<E: Env> Blocks<E> {
    /// Before the first block. I/O: opens a file of its own on [`Lane::Cold`]; end with [`Blocks::finish`].
    ///
    /// # Errors
    /// `Io` of opening the file.
    pub(crate) async fn open(table: Rc<Table<E>>) -> Result<Self> {
        let file = table
            .env()
            .open(table.path(), Open::Read, Lane::Cold)
            .await
            .map_err(|error| Error::io("open", table.path(), &error))?;
        let crc = Some(crc32fast::Hasher::new());
        Ok(Self { table, file, piece: IoBuf::new(), offset: 0, next: 0, crc })
    }

    /// The next block with its number, or why it cannot be read; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(usize, BlockHandle, Result<Rc<Block>>)> {
        let index = self.next;
        let handle = self.table.block(index)?;
        self.next += 1;
        let block = self.load(handle).await;
        Some((index, handle, block))
    }

    async fn load(&mut self, handle: BlockHandle) -> Result<Rc<Block>> {
        if self.held(&handle).is_none() {
            self.fetch(&handle).await?;
        }
        let Some(range) = self.held(&handle) else { unreachable!("read around the block") };
        let stored = self.piece.get(range).unwrap_or_default();
        if let Some(crc) = &mut self.crc {
            crc.update(stored);
        }
        let block = self.table.copy_block(stored, handle);
        if stored.len() > PIECE_BYTES {
            // A giant is not kept: its memory is wanted for others.
            self.piece = IoBuf::new();
        }
        block
    }

    /// Where in the piece the block lies, if all of it is there.
    fn held(&self, handle: &BlockHandle) -> Option<std::ops::Range<usize>> {
        let from = position(handle.offset.checked_sub(self.offset)?.min(usize::MAX as u64));
        let to = from.checked_add(handle.stored_len)?;
        (to <= self.piece.len()).then_some(from..to)
    }

    async fn fetch(&mut self, handle: &BlockHandle) -> Result<()> {
        let (from, len) = span(handle);
        let last = self.table.blocks().checked_sub(1).and_then(|last| self.table.block(last));
        let end = align_up(last.map_or(0, |last| last.end()));
        let ahead = position((end - from).min(PIECE_BYTES as u64)).max(len);
        let path = self.table.path();
        // Both pieces would be in memory at once.
        self.piece = IoBuf::new();
        let piece = match read(&self.file, path, from, ahead).await {
            // Only one block of the piece need be beyond reading.
            Err(_) if ahead > len => read(&self.file, path, from, len).await,
            piece => piece,
        };
        match piece {
            Ok(piece) => {
                self.piece = piece;
                self.offset = from;
                Ok(())
            }
            Err(error) => {
                self.crc = None;
                Err(error)
            }
        }
    }

    /// Closes the file before the end.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn abandon(self) -> Result<()> {
        let closed = self.file.close().await;
        closed.map_err(|error| Error::io("close", self.table.path(), &error))
    }

    /// Closes the file. Answers its length, and the CRC of the table's first `bytes` bytes if all were read.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn finish(mut self, bytes: u64) -> Result<(u64, Option<u32>)> {
        assert!(self.next >= self.table.blocks(), "all blocks were asked for");
        let path = self.table.path();
        let len = self.file.len().await.map_err(|error| Error::io("measure", path, &error))?;
        let mut at = self.table.block(self.next - 1).map_or(0, |last| last.end());
        while let Some(crc) = self.crc.as_mut().filter(|_| at < bytes) {
            let from = align_down(at);
            let want = position((align_up(bytes) - from).min(PIECE_BYTES as u64));
            let piece = read(&self.file, path, from, want).await?;
            let to = (from + want as u64).min(bytes);
            crc.update(piece.get(position(at - from)..position(to - from)).unwrap_or_default());
            at = to;
        }
        let closed = self.file.close().await;
        closed.map_err(|error| Error::io("close", path, &error))?;
        Ok((len, self.crc.map(crc32fast::Hasher::finalize)))
    }
}
