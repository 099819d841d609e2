//! Sequential writing of one new file: bytes of any length in, aligned pieces out, a CRC over all of them.

use std::path::{Path, PathBuf};

use super::PIECE_BYTES;
use crate::env::{Env, File, IoBuf, Lane, Open, align_up, write_all_at};
use crate::error::{Error, Result};
use crate::limits::ALIGN;

/// A file being written from start to end.
pub(super) struct Writer<E: Env> {
    env: E,
    file: E::File,
    path: PathBuf,
    /// Bytes not yet written; the first one belongs at `offset`, which is aligned.
    pending: IoBuf,
    /// The other buffer: takes the unaligned rest of `pending` when that is written.
    spare: IoBuf,
    offset: u64,
    crc: crc32fast::Hasher,
}

impl<E: Env> Writer<E> {
    /// Creates the file.
    ///
    /// # Errors
    /// `Io`; also if it exists.
    pub(super) async fn create(env: &E, path: PathBuf, lane: Lane) -> Result<Self> {
        let file = env
            .open(&path, Open::CreateNew, lane)
            .await
            .map_err(|error| Error::io("create", &path, &error))?;
        Ok(Self {
            env: env.clone(),
            file,
            path,
            pending: IoBuf::new(),
            spare: IoBuf::new(),
            offset: 0,
            crc: crc32fast::Hasher::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Offset of the next byte, and the number of bytes so far.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    /// Appends `bytes`. They are written by [`Writer::write_pending`].
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.pending.extend_from_slice(bytes);
    }

    /// Appends zeroes up to a multiple of `align`.
    pub(super) fn pad(&mut self, align: usize) {
        const ZEROES: [u8; super::META_ALIGN] = [0; super::META_ALIGN];
        assert!(align <= ZEROES.len());
        let position = usize::try_from(self.position()).expect("64-bit platforms only");
        let missing = position.next_multiple_of(align) - position;
        self.put(ZEROES.get(..missing).unwrap_or_default());
    }

    /// Whether a whole piece waits.
    pub(super) fn is_due(&self) -> bool {
        self.pending.len() >= PIECE_BYTES
    }

    /// Writes all whole blocks that wait.
    ///
    /// # Errors
    /// `Io`; the file is then of no use.
    pub(super) async fn write_pending(&mut self) -> Result<()> {
        let whole = self.pending.len() - self.pending.len() % ALIGN;
        if whole == 0 {
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.spare);
        rest.clear();
        rest.extend_from_slice(self.pending.get(whole..).unwrap_or_default());
        let mut piece = std::mem::replace(&mut self.pending, rest);
        piece.resize(whole, 0);
        let (written, piece) = write_all_at(&self.file, piece, self.offset).await;
        // One huge value must not keep its memory for the rest of the file.
        if piece.capacity() <= 4 * PIECE_BYTES {
            self.spare = piece;
        }
        written.map_err(|error| Error::io("write", &self.path, &error))?;
        self.offset += whole as u64;
        Ok(())
    }

    /// Writes the rest, zero-padded to the alignment, and makes the bytes durable (not the name).
    /// Answers the exact bytes and their CRC.
    ///
    /// # Errors
    /// `Io`; the file is then of no use.
    pub(super) async fn sync(&mut self) -> Result<(u64, u32)> {
        let bytes = self.position();
        let crc = self.crc.clone().finalize();
        let padding = usize::try_from(align_up(bytes) - bytes).expect("below ALIGN");
        self.pending.resize(self.pending.len() + padding, 0);
        self.write_pending().await?;
        self.file.sync().await.map_err(|error| Error::io("sync", &self.path, &error))?;
        Ok((bytes, crc))
    }

    /// Closes the file.
    ///
    /// # Errors
    /// `Io`.
    pub(super) async fn close(self) -> Result<()> {
        self.file.close().await.map_err(|error| Error::io("close", &self.path, &error))
    }

    /// Closes and removes the file (the removal is durable after the next sync of its directory).
    ///
    /// # Errors
    /// `Io` of the removal: the file then stays until the next start removes it.
    pub(super) async fn discard(self) -> Result<()> {
        // Nothing in the file is of worth any more: only the removal counts.
        let _ = self.file.close().await;
        self.env.remove(&self.path).await.map_err(|error| Error::io("remove", &self.path, &error))
    }
}
