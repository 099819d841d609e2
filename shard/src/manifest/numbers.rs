//! File numbers. Each is given once, whatever crashes: a chunk of them is reserved in the manifest before its first use.

use std::cell::Cell;

use super::Manifest;
use crate::env::Env;
use crate::error::Result;
use crate::event::Turnstile;
use crate::limits::NUMBERS_PER_RESERVATION;

/// The source of all file numbers of an open shard.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    next: Cell<u64>,
    end: Cell<u64>,
    turnstile: Turnstile,
}

impl Numbers {
    /// Nothing reserved yet: what an earlier run reserved and did not use is not used any more.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A number that no file ever had.
    ///
    /// I/O: an edit of the manifest each [`NUMBERS_PER_RESERVATION`] calls.
    ///
    /// # Errors
    /// See [`Manifest::append`].
    pub(crate) async fn next<E: Env>(&self, manifest: &Manifest<E>) -> Result<u64> {
        let _pass = self.turnstile.enter().await;
        if self.next == self.end {
            let first = manifest.reserve(NUMBERS_PER_RESERVATION).await?;
            self.next.set(first);
            self.end.set(first + NUMBERS_PER_RESERVATION);
        }
        let number = self.next.get();
        self.next.set(number + 1);
        Ok(number)
    }
}
