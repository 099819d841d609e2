//! Ordered iteration, one shape for memtables, tables, levels and merges.
//!
//! A cursor has one direction for life. `step` and `seek` are plain calls; only when the bytes are not in memory do
//! they answer [`Step::Load`], and the caller awaits `load`. So a merge over cached blocks never suspends.

use crate::error::Result;
use crate::key::Entry;

/// Which way a cursor goes, for life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the largest key down.
    Backward,
}

/// What a movement needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a cursor that needs a load has no position until then"]
pub enum Step {
    /// The cursor stands on an entry or at its end.
    Ready,
    /// Call [`Cursor::load`]; it completes the movement.
    Load,
}

/// Iteration in the internal order (key ascending, newest first), or, backward, in its exact reverse
/// (key descending, and among the versions of a key the oldest first).
pub trait Cursor {
    /// The entry stood on; `None` before the first seek and at the end.
    fn entry(&self) -> Option<Entry<'_>>;
    /// Forward: to the first entry with key >= `key`. Backward: to the first, in reverse, with key < `key`.
    /// `None`: to the very first in the cursor's direction.
    fn seek(&mut self, key: Option<&[u8]>) -> Step;
    /// To the next entry in the cursor's direction. Must stand on one.
    fn step(&mut self) -> Step;
    /// Completes a movement that answered [`Step::Load`].
    ///
    /// # Errors
    /// Reading or verifying a block; the cursor is then at its end for good.
    async fn load(&mut self) -> Result<()>;
}

/// `seek` and its load, if any.
///
/// # Errors
/// See [`Cursor::load`].
pub async fn seek<C: Cursor>(cursor: &mut C, key: Option<&[u8]>) -> Result<()> {
    match cursor.seek(key) {
        Step::Ready => Ok(()),
        Step::Load => cursor.load().await,
    }
}

/// `step` and its load, if any.
///
/// # Errors
/// See [`Cursor::load`].
pub async fn step<C: Cursor>(cursor: &mut C) -> Result<()> {
    match cursor.step() {
        Step::Ready => Ok(()),
        Step::Load => cursor.load().await,
    }
}
