//! Checkpoints that whoever holds the server asks for, without a connection: SHUTDOWN SAVE, the embedded engine.

use std::path::{Path, PathBuf};

use super::Server;
use crate::backup::Name;
use crate::backup::saver::Outcome;
use crate::error::ServerError;

impl Server {
    /// Begins to make the checkpoint that SAVE makes.
    ///
    /// # Errors
    /// One is being made.
    pub fn begin_save(&self) -> Result<Outcome, String> {
        self.shared.begin_save(Name::dump(), true)
    }

    /// Makes a checkpoint in `dir`, which is absent and lies on the file system of the data directory, and waits for it.
    ///
    /// # Errors
    /// `Backup`: the name is taken or none, or one is being made; a shard's error; `Io`.
    pub fn checkpoint(&self, dir: &Path) -> Result<PathBuf, ServerError> {
        let name = dir.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
        let name = Name::parse(name).map_err(|what| ServerError::Backup {
            path: dir.to_owned(),
            what,
            remedy: "use another name".into(),
        })?;
        let root = dir.parent().filter(|root| !root.as_os_str().is_empty());
        self.shared.save(root.unwrap_or(Path::new(".")), name)
    }
}
