//! `CURRENT`: the one name from which everything else is found.

use std::io;
use std::path::{Path, PathBuf};

use crate::env::{Env, File, IoBuf, Lane, Open, write_all_at};
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::limits::ALIGN;
use crate::wal::header::{Header, Magic};
use crate::wal::window::Window;

/// A switch to another manifest, or an edit, that failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// What is read is what it was: `CURRENT` names the same manifest, and no edit was added to it.
    Untouched(Error),
    /// `CURRENT` may name either manifest, or the manifest may hold the edit, now or after a crash.
    Unknown(Error),
}

impl Failed {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Untouched(error) | Self::Unknown(error) => error,
        }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("CURRENT")
}

/// Number of the manifest in use, and where its snapshot ends (`extent`).
///
/// # Errors
/// `Corruption` also if the file is absent; `Foreign`; `Io`.
pub(super) async fn read<E: Env>(env: &E, dir: &Path, identity: Identity) -> Result<Header> {
    let mut window = Window::<E>::open(env, path(dir)).await?;
    if window.end() < ALIGN as u64 {
        return Err(window.damage(window.end(), "the file is cut short"));
    }
    window.fetch(0, ALIGN as u64).await?;
    let header = Header::decode(window.bytes(0, ALIGN), Magic::Current, identity, window.path());
    window.close().await;
    header
}

/// Makes `header` what [`read`] answers, durably, whenever a crash comes.
pub(super) async fn switch<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    header: Header,
) -> std::result::Result<(), Failed> {
    let tmp = dir.join("CURRENT.tmp");
    let block = header.encode(Magic::Current, identity);
    write_tmp(env, &tmp, block)
        .await
        .map_err(|error| Failed::Untouched(Error::io("write", &tmp, &error)))?;
    let path = path(dir);
    env.rename(&tmp, &path)
        .await
        .map_err(|error| Failed::Unknown(Error::io("rename a new file to", &path, &error)))?;
    env.sync_dir(dir)
        .await
        .map_err(|error| Failed::Unknown(Error::io("sync the directory", dir, &error)))
}

async fn write_tmp<E: Env>(env: &E, tmp: &Path, block: IoBuf) -> io::Result<()> {
    let file = match env.open(tmp, Open::CreateNew, Lane::Cold).await {
        // Left by a crash between its creation and the rename.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            env.remove(tmp).await?;
            env.open(tmp, Open::CreateNew, Lane::Cold).await?
        }
        opened => opened?,
    };
    let (written, _block) = write_all_at(&file, block, 0).await;
    written?;
    file.sync().await?;
    file.close().await
}
