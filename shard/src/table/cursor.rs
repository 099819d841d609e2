//! Iteration over one table, in either direction.
//!
//! Two sources: *hot* goes block by block through the block cache, for a client's scan; *cold* reads large pieces in
//! file order past the cache, for compaction, which sees each block once and would only drive others out.

use std::ops::Range;
use std::rc::Rc;

use super::PIECE_BYTES;
use super::block::{Block, Window};
use super::index::BlockHandle;
use super::reader::{Table, position, read, span};
use crate::cache::BlockCache;
use crate::cursor::{Cursor, Direction, Step};
use crate::env::{Env, File, IoBuf, Lane, Open, align_down, align_up};
use crate::error::{Error, Result};
use crate::event::Turnstile;
use crate::key::Entry;

/// Where only keys are asked for, blocks above this are held without their values.
const KEYS_BLOCK_BYTES_MAX: usize = 64 << 10;

/// A cursor over a table.
///
/// # Invariants
/// - `wanted` is set exactly between a movement that answered `Load` and the `load` that completes it; the cursor
///   does not stand then. A dropped `load` can be called again.
/// - While it stands, `window` holds the entries of `restart` of `block`, and `item` is one of them.
pub struct TableCursor<E: Env> {
    table: Rc<Table<E>>,
    source: Source<E>,
    direction: Direction,
    block: Option<(usize, Rc<Block>)>,
    window: Window,
    restart: usize,
    item: usize,
    stands: bool,
    failed: bool,
    wanted: Option<(usize, Place)>,
    /// The key of the last seek.
    target: Vec<u8>,
    /// Values of large blocks are not needed, and one such block is loaded at a time by all who share this.
    keys_only: Option<Rc<Turnstile>>,
}

/// Where in a block to stand; `false` from `stand` means: not in this one, at the near end of the next.
#[derive(Debug, Clone, Copy)]
enum Place {
    First,
    Last,
    /// The first entry at or above `target`.
    AtOrAbove,
    /// The last entry below `target`.
    Below,
}

enum Source<E: Env> {
    Hot(Rc<BlockCache>),
    Cold(Ahead<E::File>),
}

/// One piece of the file, read ahead.
struct Ahead<F> {
    file: F,
    piece: IoBuf,
    /// Where the piece lies in the file.
    offset: u64,
    /// Aligned end of the data blocks.
    data_end: u64,
}

impl<E: Env> std::fmt::Debug for TableCursor<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableCursor")
            .field("table", &self.table)
            .field("direction", &self.direction)
            .field("stands", &self.stands)
            .finish_non_exhaustive()
    }
}

impl<E: Env> TableCursor<E> {
    /// A cursor that reads through `cache`.
    pub fn hot(table: Rc<Table<E>>, cache: Rc<BlockCache>, direction: Direction) -> Self {
        Self::new(table, Source::Hot(cache), direction)
    }

    /// For who needs no values, if so: those of large blocks are empty, so that a scan over many tables does not hold a large
    /// value of each. Cursors that share a turnstile load one such block at a time.
    pub(crate) fn keys_only(self, keys_only: Option<Rc<Turnstile>>) -> Self {
        Self { keys_only, ..self }
    }

    /// A cursor that reads large pieces past the cache, through a file of its own on [`Lane::Cold`]; close it with
    /// [`TableCursor::close`].
    ///
    /// # Errors
    /// `Io` of opening the file.
    pub async fn cold(table: Rc<Table<E>>, direction: Direction) -> Result<Self> {
        let file = table
            .env()
            .open(table.path(), Open::Read, Lane::Cold)
            .await
            .map_err(|error| Error::io("open", table.path(), &error))?;
        let last = table.blocks().checked_sub(1).and_then(|last| table.block(last));
        let data_end = align_up(last.map_or(0, |last| last.end()));
        let ahead = Ahead { file, piece: IoBuf::new(), offset: 0, data_end };
        Ok(Self::new(table, Source::Cold(ahead), direction))
    }

    fn new(table: Rc<Table<E>>, source: Source<E>, direction: Direction) -> Self {
        Self {
            table,
            source,
            direction,
            block: None,
            window: Window::default(),
            restart: 0,
            item: 0,
            stands: false,
            failed: false,
            wanted: None,
            target: Vec::new(),
            keys_only: None,
        }
    }

    /// What is held of a block.
    fn to_hold(&self, block: Rc<Block>) -> Rc<Block> {
        let is_slim = self.keys_only.is_some() && block.body().len() > KEYS_BLOCK_BYTES_MAX;
        if is_slim { Rc::new(block.without_values()) } else { block }
    }

    /// Closes the file of a cold cursor.
    ///
    /// # Errors
    /// `Io`.
    pub async fn close(self) -> Result<()> {
        match self.source {
            Source::Hot(_) => Ok(()),
            Source::Cold(ahead) => {
                let closed = ahead.file.close().await;
                closed.map_err(|error| Error::io("close", self.table.path(), &error))
            }
        }
    }

    /// Moves to `place` in block `index` or, where that is beyond the block, to the near end of the next one.
    fn go(&mut self, index: usize, place: Place) -> Step {
        let (mut index, mut place) = (Some(index), place);
        loop {
            let Some((at, handle)) = index.and_then(|at| Some((at, self.table.block(at)?))) else {
                return Step::Ready;
            };
            if self.block.as_ref().is_none_or(|(held, _)| *held != at) {
                let Some(block) = self.source.held(&self.table, handle) else {
                    self.wanted = Some((at, place));
                    return Step::Load;
                };
                self.block = Some((at, self.to_hold(block)));
            }
            if self.stand(place) {
                self.stands = true;
                return Step::Ready;
            }
            (index, place) = self.beside(at);
        }
    }

    /// The next block in the cursor's direction, and its near end.
    fn beside(&self, index: usize) -> (Option<usize>, Place) {
        match self.direction {
            Direction::Forward => (index.checked_add(1), Place::First),
            Direction::Backward => (index.checked_sub(1), Place::Last),
        }
    }

    /// Stands at `place` in the block held; `false` if that is beyond its end.
    fn stand(&mut self, place: Place) -> bool {
        let Some((_, block)) = &self.block else { return false };
        let (first, last) = (0, block.restarts() - 1);
        let mut open = |restart: usize, window: &mut Window| {
            self.restart = restart;
            block.window(restart, window);
        };
        let item = match place {
            Place::First => {
                open(first, &mut self.window);
                Some(0)
            }
            Place::Last => {
                open(last, &mut self.window);
                self.window.len().checked_sub(1)
            }
            Place::AtOrAbove => {
                let restart = block.restart_before(&self.target);
                open(restart, &mut self.window);
                let below = self.window.below(&self.target);
                if below < self.window.len() {
                    Some(below)
                } else if restart < last {
                    open(restart + 1, &mut self.window);
                    Some(0)
                } else {
                    None
                }
            }
            Place::Below => {
                let restart = block.restart_before(&self.target);
                open(restart, &mut self.window);
                match self.window.below(&self.target) {
                    0 if restart > first => {
                        open(restart - 1, &mut self.window);
                        self.window.len().checked_sub(1)
                    }
                    below => below.checked_sub(1),
                }
            }
        };
        self.item = item.unwrap_or_default();
        item.is_some()
    }

    /// One entry on within the block held; `false` at its end.
    fn step_within(&mut self) -> bool {
        let Some((_, block)) = &self.block else { return false };
        match self.direction {
            Direction::Forward if self.item + 1 < self.window.len() => self.item += 1,
            Direction::Forward if self.restart + 1 < block.restarts() => {
                self.restart += 1;
                block.window(self.restart, &mut self.window);
                self.item = 0;
            }
            Direction::Backward if self.item > 0 => self.item -= 1,
            Direction::Backward if self.restart > 0 => {
                self.restart -= 1;
                block.window(self.restart, &mut self.window);
                self.item = self.window.len() - 1;
            }
            _ => return false,
        }
        true
    }
}

impl<E: Env> Cursor for TableCursor<E> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        let (_, block) = self.block.as_ref().filter(|_| self.stands)?;
        self.window.entry(self.item, block)
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        self.stands = false;
        self.wanted = None;
        if self.failed {
            return Step::Ready;
        }
        self.target.clear();
        self.target.extend_from_slice(key.unwrap_or_default());
        let last = self.table.blocks().saturating_sub(1);
        let index = key.map(|key| self.table.block_index(key));
        match (self.direction, index) {
            (Direction::Forward, None) => self.go(0, Place::First),
            (Direction::Forward, Some(index)) => self.go(index, Place::AtOrAbove),
            // A key above all: the very last entry is below it.
            (Direction::Backward, Some(index)) if index <= last => self.go(index, Place::Below),
            (Direction::Backward, _) => self.go(last, Place::Last),
        }
    }

    #[inline]
    fn step(&mut self) -> Step {
        assert!(self.stands, "step from nowhere");
        if self.step_within() {
            return Step::Ready;
        }
        self.stands = false;
        let Some((index, _)) = self.block else { return Step::Ready };
        match self.beside(index) {
            (Some(next), place) => self.go(next, place),
            (None, _) => Step::Ready,
        }
    }

    async fn load(&mut self) -> Result<()> {
        while let Some((index, place)) = self.wanted {
            let Some(handle) = self.table.block(index) else { break };
            let turnstile = self.keys_only.clone();
            let is_large = handle.raw_len() > KEYS_BLOCK_BYTES_MAX;
            let _pass = match turnstile.as_ref().filter(|_| is_large) {
                Some(turnstile) => Some(turnstile.enter().await),
                None => None,
            };
            // What is held is dropped before as much more is read.
            self.block = None;
            match self.source.load(&self.table, handle, self.direction).await {
                Ok(block) => {
                    self.wanted = None;
                    self.block = Some((index, self.to_hold(block)));
                    // It may find that the key is beyond this block, and want the next one.
                    let _ = self.go(index, place);
                }
                Err(error) => {
                    self.wanted = None;
                    self.failed = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl<E: Env> Source<E> {
    /// The block, if it takes no I/O. A damaged one is left to [`Source::load`], which can tell of it.
    fn held(&self, table: &Table<E>, handle: BlockHandle) -> Option<Rc<Block>> {
        match self {
            Self::Hot(cache) => cache.get(table.number(), handle.offset()),
            Self::Cold(ahead) => table.copy_block(ahead.find(&handle)?, handle).ok(),
        }
    }

    async fn load(
        &mut self,
        table: &Table<E>,
        handle: BlockHandle,
        direction: Direction,
    ) -> Result<Rc<Block>> {
        let ahead = match self {
            Self::Hot(cache) => return cache.load(table, handle).await,
            Self::Cold(ahead) => ahead,
        };
        if let Some(stored) = ahead.find(&handle) {
            return table.copy_block(stored, handle);
        }
        let Range { start, end } = ahead.piece_for(&handle, direction);
        let len = position(end - start);
        let buf = read(&ahead.file, table.path(), start, len).await?;
        if len > PIECE_BYTES {
            return table.open_block(buf, start, handle).await;
        }
        ahead.piece = buf;
        ahead.offset = start;
        match ahead.find(&handle) {
            Some(stored) => table.copy_block(stored, handle),
            None => unreachable!("the piece was read around the block"),
        }
    }
}

impl<F: File> Ahead<F> {
    /// The bytes of a block, if the piece has all of them.
    fn find(&self, handle: &BlockHandle) -> Option<&[u8]> {
        let from = position(handle.offset.checked_sub(self.offset)?.min(usize::MAX as u64));
        self.piece.get(from..from.checked_add(handle.stored_len)?)
    }

    /// What to read for a block: a whole piece in the direction of travel, or just a block that is larger.
    fn piece_for(&self, handle: &BlockHandle, direction: Direction) -> Range<u64> {
        let (from, len) = span(handle);
        let to = from + len as u64;
        let piece = PIECE_BYTES as u64;
        match direction {
            _ if len >= PIECE_BYTES => from..to,
            Direction::Forward => from..to.max((from + piece).min(self.data_end)),
            Direction::Backward => from.min(align_down(to.saturating_sub(piece)))..to,
        }
    }
}
