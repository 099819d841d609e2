//! Background work in small slices: gives way by its own clock, and ends when it is told to.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::Entry;
use crate::limits::BACKGROUND_SLICE_US;

/// The clock is read after this much work: 32 small entries, a few microseconds.
const UNITS_PER_LOOK: u64 = 32;

/// Entry bytes that count as one more unit of work.
const BYTES_PER_UNIT: u64 = 256;

/// Set from outside to end a job early.
pub(crate) type Abort = Rc<Cell<bool>>;

/// The slices of one job.
#[derive(Debug)]
pub(crate) struct Pace<E> {
    env: E,
    abort: Abort,
    slice_began: Cell<Duration>,
    units: Cell<u64>,
}

impl<E: Env> Pace<E> {
    /// The first slice begins now.
    pub(crate) fn new(env: &E, abort: Abort) -> Self {
        let slice_began = Cell::new(env.now());
        Self { env: env.clone(), abort, slice_began, units: Cell::new(0) }
    }

    /// Counts the work done for `entry`; now and then lets everything else run.
    ///
    /// # Errors
    /// `Closing` once the job was told to end.
    #[inline]
    pub(crate) async fn after(&self, entry_bytes: u64) -> Result<()> {
        self.units.set(self.units.get() + 1 + entry_bytes / BYTES_PER_UNIT);
        if self.units.get() < UNITS_PER_LOOK {
            return Ok(());
        }
        self.units.set(0);
        self.look().await
    }

    /// Gives way if the slice is used up.
    ///
    /// # Errors
    /// `Closing` once the job was told to end.
    pub(crate) async fn look(&self) -> Result<()> {
        if self.abort.get() {
            return Err(Error::Closing);
        }
        let slice = Duration::from_micros(BACKGROUND_SLICE_US);
        if self.env.now().saturating_sub(self.slice_began.get()) >= slice {
            self.env.pause().await;
            self.slice_began.set(self.env.now());
        }
        Ok(())
    }
}

/// Key and value bytes of an entry.
pub(crate) fn entry_bytes(entry: &Entry<'_>) -> u64 {
    (entry.key.len() + entry.value.len()) as u64
}
