//! Passwords that lie in files of their own, as container platforms hand them out.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{ConfigError, LsmConfig, Source};
use crate::access::PasswordDigest;
use crate::limits::PASSWORD_FILE_BYTES_MAX;

/// Bits of a mode that let those read, write or execute who are neither owner nor in the group.
const OTHERS: u32 = 0o007;

impl LsmConfig {
    /// Reads the files that hold passwords.
    ///
    /// # Errors
    /// One cannot be read, is empty, or can be read by others.
    pub(super) fn read_secrets(&mut self) -> Result<(), ConfigError> {
        for (file, digest) in [
            (&self.requirepass_file, &mut self.requirepass),
            (&self.readonly_password_file, &mut self.readonly_password),
            (&self.http_token_file, &mut self.http_token),
        ] {
            if let Some(path) = file {
                let failed = |error| ConfigError::new(&Source::File(path.clone()), error);
                *digest = Some(read(path).map_err(failed)?);
            }
        }
        Ok(())
    }
}

/// # Errors
/// Others can read the file, or it is not there.
pub(crate) fn is_private(path: &Path) -> Result<(), String> {
    let mode = path.metadata().map_err(|error| format!("cannot be opened: {error}"))?;
    if mode.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    Err(format!(
        "it holds a secret, and others may read it; run: chmod o= {path}",
        path = path.display()
    ))
}

fn read(path: &Path) -> Result<PasswordDigest, String> {
    Ok(PasswordDigest::of(&password(path)?))
}

/// The password in the first line of a file.
///
/// # Errors
/// It cannot be read, is empty or too long, or others can read it.
pub(crate) fn password(path: &Path) -> Result<Vec<u8>, String> {
    is_private(path)?;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let read = file.take(PASSWORD_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if read.map_err(|error| format!("cannot be read: {error}"))? as u64 > PASSWORD_FILE_BYTES_MAX {
        return Err(format!("longer than {PASSWORD_FILE_BYTES_MAX} bytes: is it a password?"));
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let password = line.strip_suffix(b"\r").unwrap_or(line);
    if password.is_empty() {
        return Err("its first line is empty: no password".into());
    }
    Ok(password.to_vec())
}
