//! A bounded view of a file of frames: one piece in memory at a time. Shared by the log's and the manifest's readers.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use crate::env::{Env, File, IoBuf, Lane, Open, align_down, align_up, read_exact_at};
use crate::error::{Error, Result};
use crate::limits::IO_BYTES_MAX;

use super::REMEDY;
use super::frame::{FRAME_HEAD_BYTES, Head, Place};

/// An open file and the piece of it that is in memory.
///
/// Memory: [`IO_BYTES_MAX`], or one frame if that is longer.
pub(crate) struct Window<E: Env> {
    env: E,
    file: E::File,
    path: PathBuf,
    /// Where the file's bytes are taken to end.
    end: u64,
    /// Where `buf` lies in the file.
    start: u64,
    buf: IoBuf,
}

/// What lies behind the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    /// A frame's offset and what it vouches for, if that proves that the end is damage.
    pub(crate) witness: Option<(u64, u64)>,
    /// Bytes from the end to the last place for a frame that is not all zeros.
    pub(crate) cut: u64,
}

impl<E: Env> Window<E> {
    /// Opens `path` for reading, as far as its last whole block.
    ///
    /// # Errors
    /// `Corruption` if the file is absent: whoever asks for it was told that it exists.
    pub(crate) async fn open(env: &E, path: PathBuf) -> Result<Self> {
        let file = match env.open(&path, Open::Read, Lane::Cold).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("the file is absent, though it is in use; {REMEDY}");
                return Err(Error::corruption(&path, 0, what));
            }
            Err(error) => return Err(Error::io("open", &path, &error)),
        };
        let len = file.len().await.map_err(|error| Error::io("measure", &path, &error))?;
        let end = align_down(len);
        Ok(Self { env: env.clone(), file, path, end, start: 0, buf: IoBuf::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file ends, rounded down to whole blocks, or is taken to end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Takes the file to end at `end`.
    pub(crate) fn limit(&mut self, end: u64) {
        assert!(end <= self.end);
        self.end = end;
    }

    pub(crate) async fn close(self) {
        // Nothing was written through it: an error means nothing.
        let _closed = self.file.close().await;
    }

    /// Brings `len` bytes at `offset`, which must lie before the end, into memory.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn fetch(&mut self, offset: u64, len: u64) -> Result<()> {
        assert!(offset + len <= self.end);
        if offset >= self.start && offset + len <= self.start + self.buf.len() as u64 {
            return Ok(());
        }
        let (offset, len) = (align_down(offset), offset + len - align_down(offset));
        // The old piece goes first: never two in memory.
        self.buf = IoBuf::new();
        // What lies between the end and the next block is of the file, and is not looked at.
        let want = align_up(len.max((self.end - offset).min(IO_BYTES_MAX as u64)));
        let want = usize::try_from(want).expect("a frame or a piece");
        self.buf = read_exact_at(&self.file, offset, want)
            .await
            .map_err(|error| Error::io("read", &self.path, &error))?;
        self.start = offset;
        Ok(())
    }

    /// Bytes that [`Window::fetch`] has brought.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let fetched = usize::try_from(offset - self.start)
            .ok()
            .and_then(|from| self.buf.get(from..)?.get(..len));
        fetched.expect("asked for what was fetched")
    }

    /// The frame at `offset`, whole and in memory; `None` if there is none, or a torn one.
    ///
    /// # Errors
    /// `Io`; `Corruption` if a head is valid and impossible.
    pub(crate) async fn frame(&mut self, place: &Place, offset: u64) -> Result<Option<Head>> {
        if offset + FRAME_HEAD_BYTES as u64 > self.end {
            return Ok(None);
        }
        self.fetch(offset, FRAME_HEAD_BYTES as u64).await?;
        let head = Head::read(self.bytes(offset, FRAME_HEAD_BYTES), place, offset)
            .map_err(|what| self.damage(offset, what))?;
        // A head is cut off from its payload only where the file was truncated.
        let Some(head) = head.filter(|head| head.padded() <= self.end - offset) else {
            return Ok(None);
        };
        self.fetch(offset, head.padded()).await?;
        let whole = head.is_whole(self.bytes(offset, head.len), place, offset);
        Ok(whole.then_some(head))
    }

    /// Looks at every place for a frame after `end`, where the frames end, for one that proves that they did not end there.
    /// Heads only: a head was written after the bytes that it vouches for were durable, whatever became of its payload.
    ///
    /// # Errors
    /// `Io`; `Corruption` if a head is valid and impossible.
    pub(crate) async fn probe(&mut self, place: &Place, end: u64) -> Result<Probe> {
        let mut probe = Probe { witness: None, cut: 0 };
        let mut offset = end;
        while offset < self.end {
            // To a boundary of what is read at once, whatever the grain.
            let piece_end = (offset + 1).next_multiple_of(IO_BYTES_MAX as u64).min(self.end);
            let len = usize::try_from(piece_end - offset).expect("at most IO_BYTES_MAX");
            self.fetch(offset, len as u64).await?;
            for block in self.bytes(offset, len).chunks_exact(place.grain_bytes) {
                if block.iter().any(|&byte| byte != 0) {
                    probe.cut = offset + block.len() as u64 - end;
                }
                let head =
                    Head::read(block, place, offset).map_err(|what| self.damage(offset, what))?;
                let proof = head.filter(|head| offset > end && head.synced_upto > end);
                if let Some(head) = proof {
                    probe.witness = Some((offset, head.synced_upto));
                    return Ok(probe);
                }
                offset += block.len() as u64;
            }
            self.env.pause().await;
        }
        Ok(probe)
    }

    /// Damage in this file.
    pub(crate) fn damage(&self, offset: u64, what: &str) -> Error {
        Error::corruption(&self.path, offset, format!("{what}; {REMEDY}"))
    }
}
