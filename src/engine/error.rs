//! Why a call on the engine failed.

use std::sync::Arc;

use crate::error::ServerError;

/// Why a call on the engine failed. The text says what, where, the limit and the remedy; `source` leads to the cause below.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// use rusty_lsm::{Engine, EngineError};
/// let engine = Engine::open(dir.path(), 64 << 20)?;
/// match Engine::open(dir.path(), 64 << 20) {
///     Err(EngineError::Locked(why)) => println!("{why}"), // names the process that has it
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Another process, or another engine of this one, has the directory open. Nothing was changed.
    #[error(transparent)]
    Locked(Arc<ServerError>),
    /// The engine could not be started: the directory, the settings or the system.
    #[error(transparent)]
    Start(Arc<ServerError>),
    /// The shard of a key refused or failed. A write that is refused has changed nothing in that shard; after
    /// [`shard::error::Error::ReadOnly`] it is not known whether it survives.
    #[error(transparent)]
    Shard(#[from] shard::error::Error),
    /// No checkpoint was made.
    #[error(transparent)]
    Checkpoint(Arc<ServerError>),
    /// A core has ended without being told to; the log says why.
    #[error("the engine is closed")]
    Closed,
    /// The engine's threads did not end in order. Acknowledged writes are in the log all the same.
    #[error("closing the engine: {0}")]
    Stop(#[source] Arc<ServerError>),
}

/// What a call on the engine answers.
///
/// ```
/// use rusty_lsm::engine::{Engine, Result};
/// fn count(engine: &Engine) -> Result<u64> {
///     Ok(engine.stats()?.keyspace.keys)
/// }
/// ```
pub type Result<T> = std::result::Result<T, EngineError>;

impl EngineError {
    /// Of an engine that does not start.
    pub(super) fn start(error: ServerError) -> Self {
        match error {
            ServerError::Locked { .. } => Self::Locked(Arc::new(error)),
            other => Self::Start(Arc::new(other)),
        }
    }

    /// Of an engine that does not stop in order.
    pub(super) fn stop(error: ServerError) -> Self {
        match error {
            ServerError::Shard(error) => Self::Shard(error),
            other => Self::Stop(Arc::new(other)),
        }
    }

    /// Whether the same call may succeed later without anything being done to this engine.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// let again = rusty_lsm::Engine::open(dir.path(), 64 << 20).unwrap_err();
    /// assert!(again.is_retryable(), "once the first one is closed: {again}");
    /// let too_long = engine.put(&vec![0; 65_537], b"").unwrap_err();
    /// assert!(!too_long.is_retryable(), "{too_long}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            // Whoever has the directory open may close it.
            Self::Locked(_) => true,
            Self::Shard(error) => error.is_retryable(),
            // Settings, files and system stay as they are, and a core that is gone does not come back.
            Self::Start(_) | Self::Closed | Self::Stop(_) => false,
            Self::Checkpoint(error) => match &**error {
                ServerError::Shard(error) => error.is_retryable(),
                // The place, or what lies there.
                _ => false,
            },
        }
    }
}
