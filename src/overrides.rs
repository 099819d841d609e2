//! `overrides.toml` in the data directory: what CONFIG REWRITE keeps of CONFIG SET. Read at start, above the user's file of
//! settings, which is never written, and below the environment.
//!
//! # Invariants
//! - The file is whole or as it was before: tmp, sync, rename, sync of the directory.
//! - One is written at a time, by a thread of its own: no core waits for the disk.
//! - It holds settings that CONFIG SET can change, and nothing else; no password, only a SHA-256.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::limits::CONFIG_BYTES_MAX;

pub(crate) const FILE: &str = "overrides.toml";
const TMP: &str = "overrides.toml.tmp";

/// What a rewrite, or one that was killed, leaves in the data directory.
pub(crate) const NAMES: [&str; 2] = [FILE, TMP];

const HEAD: &str = "# Settings that CONFIG SET has changed, written by CONFIG REWRITE: they win over the file of settings, and lose to\n\
                    # RUSTY_LSM_* variables and flags. Delete the file to forget them.\n";

/// What became of a rewrite; empty: it is under way.
pub(crate) type Outcome = Arc<OnceLock<Result<(), String>>>;

/// The directory, and whether a rewrite is under way.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    dir: PathBuf,
    is_writing: Arc<AtomicBool>,
}

impl Overrides {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, is_writing: Arc::default() }
    }

    /// Begins to write these lines of TOML.
    ///
    /// # Errors
    /// Another rewrite is under way, or there is no thread.
    pub(crate) fn write(&self, lines: &[String]) -> Result<Outcome, String> {
        if self.is_writing.swap(true, Ordering::AcqRel) {
            return Err("another rewrite is under way".into());
        }
        let text = format!("{HEAD}{}", lines.concat());
        let outcome = Outcome::default();
        let (dir, is_writing) = (self.dir.clone(), Arc::clone(&self.is_writing));
        let tell = Arc::clone(&outcome);
        let thread = std::thread::Builder::new().name("rewrite".into()).spawn(move || {
            let written = write(&dir, text.as_bytes());
            is_writing.store(false, Ordering::Release);
            // Nobody else sets it.
            drop(tell.set(written.map_err(|error| error.to_string())));
        });
        match thread {
            Ok(_) => Ok(outcome),
            Err(error) => {
                self.is_writing.store(false, Ordering::Release);
                Err(error.to_string())
            }
        }
    }
}

fn write(dir: &Path, text: &[u8]) -> io::Result<()> {
    let tmp = dir.join(TMP);
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tmp)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&tmp, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// The text of the file in `dir`, if it is there.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(dir: &Path) -> Result<Option<String>, String> {
    // Nothing there; or a directory that cannot be used, of which the start says more.
    let path = dir.join(FILE);
    if fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut text = String::new();
    let bytes = file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text);
    match bytes {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(bytes) if bytes as u64 > CONFIG_BYTES_MAX => Err(format!(
            "longer than {CONFIG_BYTES_MAX} bytes: delete it, and the settings are as the other layers say"
        )),
        Ok(_) => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_whole_and_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(None));
        fs::write(dir.path().join(TMP), "half a li").unwrap();
        for text in ["timeout = \"5s\"\n", ""] {
            write(dir.path(), text.as_bytes()).unwrap();
            assert_eq!(read(dir.path()), Ok(Some(text.to_owned())));
        }
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!dir.path().join(TMP).exists());
        let gone = Overrides::new(dir.path().join("absent"));
        let outcome = gone.write(&[]).unwrap();
        while outcome.get().is_none() {
            std::thread::yield_now();
        }
        assert!(outcome.get().unwrap().is_err());
        assert!(gone.write(&[]).is_ok(), "it can be tried again");
    }
}
