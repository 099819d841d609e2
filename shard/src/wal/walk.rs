//! One file of frames from end to end, whatever is wrong with it: for check, repair and dumps. Replay and the
//! manifest's reader stop where trust ends; this one says what stands behind that place.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use crate::batch::Op;
use crate::coding::Reader;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{Identity, SeqNo};
use crate::limits::ALIGN;

use super::FIRST_FRAME;
use super::frame::{FRAME_HEAD_BYTES, Head, Place};
use super::header::{Header, Magic};
use super::window::Window;

/// What stands somewhere in the file.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// A frame, whole.
    Frame {
        /// Where it begins.
        offset: u64,
        /// Its head.
        head: Head,
        /// What it carries.
        payload: &'a [u8],
    },
    /// No whole frame begins on any boundary in here.
    Gap {
        /// Where it begins.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Nothing but zeros: never written.
        is_blank: bool,
    },
}

/// A walk over the frames of one file.
pub(crate) struct Walk<E: Env> {
    env: E,
    window: Window<E>,
    header: Header,
    place: Place,
    offset: u64,
}

impl<E: Env> std::fmt::Debug for Walk<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Walk").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// Whose file `path` says to be. I/O: one block.
///
/// # Errors
/// `Corruption` if it is shorter than a header; `Io`.
pub(crate) async fn claims<E: Env>(env: &E, path: &Path) -> Result<Identity> {
    let mut window = Window::open(env, path.to_owned()).await?;
    if window.end() < ALIGN as u64 {
        return Err(Error::corruption(path, window.end(), "the file is cut short"));
    }
    window.fetch(0, ALIGN as u64).await?;
    let claimed = Header::claims(window.bytes(0, ALIGN));
    window.close().await;
    claimed.ok_or_else(|| Error::corruption(path, 0, "the file is cut short"))
}

impl<E: Env> Walk<E> {
    /// Before the first frame. I/O: one block.
    ///
    /// # Errors
    /// Of the header: without it no frame's checksum can be verified. `Io`.
    pub(crate) async fn open(
        env: &E,
        path: PathBuf,
        magic: Magic,
        identity: Identity,
    ) -> Result<Self> {
        let mut window = Window::open(env, path).await?;
        if window.end() < ALIGN as u64 {
            return Err(window.damage(window.end(), "the file is cut short"));
        }
        window.fetch(0, ALIGN as u64).await?;
        let header = Header::decode(window.bytes(0, ALIGN), magic, identity, window.path())?;
        let place = header.place(identity);
        Ok(Self { env: env.clone(), window, header, place, offset: FIRST_FRAME })
    }

    /// What the header says.
    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Takes the file to end at `end`, if it is longer.
    pub(crate) fn limit(&mut self, end: u64) {
        self.window.limit(end.min(self.window.end()));
    }

    /// The next frame or gap; `None` at the end.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece<'_>>> {
        let offset = self.offset;
        if offset >= self.window.end() {
            return Ok(None);
        }
        if let Some(head) = self.whole(offset).await? {
            self.offset += head.padded();
            let payload = self.window.bytes(offset, head.len);
            let payload = payload.get(FRAME_HEAD_BYTES..).unwrap_or_default();
            return Ok(Some(Piece::Frame { offset, head, payload }));
        }
        let mut is_blank = true;
        while self.offset < self.window.end() {
            if self.offset > offset && self.whole(self.offset).await?.is_some() {
                break;
            }
            let grain_bytes = self.place.grain_bytes;
            self.window.fetch(self.offset, grain_bytes as u64).await?;
            is_blank &= self.window.bytes(self.offset, grain_bytes).iter().all(|&byte| byte == 0);
            self.offset += grain_bytes as u64;
            if self.offset.is_multiple_of(1 << 20) {
                self.env.pause().await;
            }
        }
        Ok(Some(Piece::Gap { offset, bytes: self.offset - offset, is_blank }))
    }

    /// The frame at `offset`, if there is one: a head that is valid and impossible is none.
    async fn whole(&mut self, offset: u64) -> Result<Option<Head>> {
        match self.window.frame(&self.place, offset).await {
            Err(Error::Corruption { .. }) => Ok(None),
            read => read,
        }
    }

    /// Closes the file.
    pub(crate) async fn close(self) {
        self.window.close().await;
    }
}

/// The operations of a batch; `None` if they are not what its head promises.
pub(crate) fn operations<'a>(head: &Head, payload: &'a [u8]) -> Option<Vec<(SeqNo, Op<'a>)>> {
    let mut reader = Reader::new(payload);
    let mut operations = Vec::new();
    for index in 0..u64::from(head.ops) {
        let seq = head.first_seq.0.checked_add(index)?;
        operations.push((SeqNo(seq), Op::decode(&mut reader)?));
    }
    (reader.remaining() == 0).then_some(operations)
}
