//! One manifest file: its snapshot, the edits behind it, and how both are read.

use std::path::{Path, PathBuf};

use rkyv::rancor::Error as ArchiveError;

use super::edit::VersionEdit;
use super::log::Loaded;
use super::state::State;
use super::{current, path, v1};
use crate::env::{Env, File, IoBuf, Lane, Open, write_all_at};
use crate::error::{Error, Result};
use crate::key::{Identity, SeqNo};
use crate::limits::{ALIGN, EDIT_BYTES_MAX, IO_BYTES_MAX};
use crate::wal::frame::{self, FRAME_HEAD_BYTES, FrameHead, FrameKind, Head, Place};
use crate::wal::header::{FORMAT, FORMAT_1, Header, Magic};
use crate::wal::window::Window;
use crate::wal::{FIRST_FRAME, FRAME_BYTES_MAX};

const _: () = assert!(EDIT_BYTES_MAX + FRAME_HEAD_BYTES <= FRAME_BYTES_MAX);

/// Zeros written ahead of the edits at a time: sixteen of the usual ones. More means longer files, fewer of these writes.
const PREWRITE_BYTES: u64 = 16 * ALIGN as u64;

/// A manifest that is being written.
pub(super) struct ManifestFile<E: Env> {
    file: E::File,
    path: PathBuf,
    place: Place,
    /// Where the next frame begins; everything before is synced, unless the snapshot is being written.
    offset: u64,
    /// Of the next frame.
    index: u64,
    snapshot_end: u64,
    /// The file has zeros from `offset` up to here at least: an edit within needs no more of the disk.
    prewritten: u64,
}

impl<E: Env> ManifestFile<E> {
    /// Writes a manifest that says `state`, and syncs it. Its name is not durable yet, and nothing names it.
    ///
    /// # Errors
    /// `Io`, `TooLarge`; the partial file is removed.
    pub(super) async fn create(
        env: &E,
        dir: &Path,
        identity: Identity,
        number: u64,
        state: &State,
    ) -> Result<Self> {
        let path = path(dir, number);
        let file = env
            .open(&path, Open::CreateNew, Lane::Cold)
            .await
            .map_err(|error| Error::io("create", &path, &error))?;
        let place = Place { identity, number, epoch: env.random_u64(), grain_bytes: ALIGN };
        let offset = FIRST_FRAME;
        let mut new = Self { file, path, place, offset, index: 0, snapshot_end: 0, prewritten: 0 };
        match new.write_snapshot(env, state).await {
            Ok(()) => Ok(new),
            Err(error) => {
                new.remove(env).await;
                Err(error)
            }
        }
    }

    async fn write_snapshot(&mut self, env: &E, state: &State) -> Result<()> {
        let Place { identity, number, epoch, grain_bytes } = self.place;
        let header = Header { format: FORMAT, number, epoch, extent: 0, grain_bytes };
        self.write_at(header.encode(Magic::Manifest, identity), 0).await?;
        let parts = state.parts();
        for (index, tables) in parts.iter().enumerate() {
            let edit = state.part(tables, index + 1 == parts.len());
            let frame = self.frame(FrameKind::Snapshot, &edit)?;
            self.write_frame(frame).await?;
            env.pause().await;
        }
        self.snapshot_end = self.offset;
        self.sync().await
    }

    /// Makes an edit durable.
    ///
    /// # Errors
    /// `Untouched`: there is no space for it, nothing of it is on disk, and it may be tried again. `Unknown`: it may or may
    /// not be on disk, and nothing more may be appended here; also `TooLarge`.
    pub(super) async fn append(
        &mut self,
        edit: &VersionEdit,
    ) -> std::result::Result<(), current::Failed> {
        use current::Failed;
        let frame = self.frame(FrameKind::Edit, edit).map_err(Failed::Unknown)?;
        match self.make_room(frame.len() as u64).await {
            Err(error) if error.is_no_space() => return Err(Failed::Untouched(error)),
            made => made.map_err(Failed::Unknown)?,
        }
        self.write_frame(frame).await.map_err(Failed::Unknown)?;
        self.sync().await.map_err(Failed::Unknown)
    }

    /// Zeros where the next edits go, unless they are there. A full disk shows here, where it leaves no doubt about what is
    /// on disk: zeros say nothing, whether they are written or not.
    async fn make_room(&mut self, bytes: u64) -> Result<()> {
        let end = self.offset + bytes;
        if end <= self.prewritten {
            return Ok(());
        }
        let mut from = self.prewritten.max(self.offset);
        let to = end + PREWRITE_BYTES;
        while from < to {
            let len = (to - from).min(IO_BYTES_MAX as u64);
            let mut zeros = IoBuf::new();
            zeros.resize(usize::try_from(len).expect("at most IO_BYTES_MAX"), 0);
            self.write_at(zeros, from).await?;
            from += len;
        }
        self.prewritten = to;
        Ok(())
    }

    fn frame(&self, kind: FrameKind, edit: &VersionEdit) -> Result<IoBuf> {
        let head = FrameHead {
            identity: self.place.identity,
            segment: self.place.number,
            epoch: self.place.epoch,
            offset: self.offset,
            first_seq: SeqNo(self.index),
            synced_upto: if kind == FrameKind::Edit { self.offset } else { 0 },
            grain_bytes: self.place.grain_bytes,
        };
        encode(kind, edit, &head)
    }

    async fn write_frame(&mut self, frame: IoBuf) -> Result<()> {
        let bytes = frame.len() as u64;
        self.write_at(frame, self.offset).await?;
        self.offset += bytes;
        self.index += 1;
        Ok(())
    }

    async fn write_at(&self, buf: IoBuf, offset: u64) -> Result<()> {
        let (written, _buf) = write_all_at(&self.file, buf, offset).await;
        written.map_err(|error| Error::io("write", &self.path, &error))
    }

    async fn sync(&self) -> Result<()> {
        self.file.sync().await.map_err(|error| Error::io("sync", &self.path, &error))
    }

    /// Closes and removes the file. Best effort: recovery removes what `CURRENT` does not name.
    pub(super) async fn remove(self, env: &E) {
        let _closed = self.file.close().await;
        if let Err(error) = env.remove(&self.path).await {
            tracing::warn!("remove {}: {error}; the next start removes it", self.path.display());
        }
    }

    pub(super) async fn close(self) -> Result<()> {
        self.file.close().await.map_err(|error| Error::io("close", &self.path, &error))
    }

    pub(super) fn number(&self) -> u64 {
        self.place.number
    }

    pub(super) fn bytes(&self) -> u64 {
        self.offset
    }

    pub(super) fn snapshot_end(&self) -> u64 {
        self.snapshot_end
    }
}

/// An edit as a frame.
pub(super) fn encode(kind: FrameKind, edit: &VersionEdit, head: &FrameHead) -> Result<IoBuf> {
    let mut buf = IoBuf::with_capacity(ALIGN);
    buf.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    let mut buf = rkyv::api::high::to_bytes_in::<_, rkyv::rancor::Error>(edit, buf)
        .expect("an edit has no shared pointers and stays in memory");
    let len = buf.len() - FRAME_HEAD_BYTES;
    if len > EDIT_BYTES_MAX {
        return Err(Error::TooLarge { what: "a manifest edit", len, max: EDIT_BYTES_MAX });
    }
    frame::seal(&mut buf, kind, 0, head);
    Ok(buf)
}

/// Reads the manifest that `CURRENT` names; changes nothing.
pub(super) async fn read<E: Env>(env: &E, dir: &Path, identity: Identity) -> Result<Loaded> {
    let named = current::read(env, dir, identity).await?;
    read_named(env, dir, identity, named).await
}

/// Reads the manifest `named.number`, whose snapshot ends at `named.extent`; changes nothing.
pub(super) async fn read_named<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    named: Header,
) -> Result<Loaded> {
    let mut window = Window::<E>::open(env, path(dir, named.number)).await?;
    if window.end() < named.extent.max(FIRST_FRAME) {
        let what = format!("the file ends here, CURRENT says that it has {} bytes", named.extent);
        return Err(window.damage(window.end(), &what));
    }
    window.fetch(0, ALIGN as u64).await?;
    let header = Header::decode(window.bytes(0, ALIGN), Magic::Manifest, identity, window.path())?;
    if header.number != named.number {
        let what = format!("it says that it is manifest {}", header.number);
        return Err(Error::Foreign { path: window.path().to_owned(), what });
    }
    let place = header.place(identity);
    let (mut state, mut offset, mut index) = (State::default(), FIRST_FRAME, 0);
    while let Some(head) = window.frame(&place, offset).await? {
        let edit = decode(&window, offset, &head, index, named.extent, header.format)?;
        state.apply(&edit).map_err(|what| window.damage(offset, &what))?;
        offset += head.padded();
        index += 1;
        env.pause().await;
    }
    if offset < named.extent {
        return Err(window.damage(offset, "no valid frame inside the snapshot"));
    }
    let probe = window.probe(&place, offset).await?;
    if let Some((at, _)) = probe.witness {
        let what = format!("no valid edit, but another one was written after it at offset {at}");
        return Err(window.damage(offset, &what));
    }
    window.close().await;
    Ok(Loaded { state, number: named.number, frames: index, end: offset, bytes_cut: probe.cut })
}

/// What the writer guarantees about the frame at `offset`.
fn decode<E: Env>(
    window: &Window<E>,
    offset: u64,
    head: &Head,
    index: u64,
    snapshot_end: u64,
    format: u32,
) -> Result<VersionEdit> {
    let in_snapshot = offset < snapshot_end;
    let kind = if in_snapshot { FrameKind::Snapshot } else { FrameKind::Edit };
    if head.kind != kind || (in_snapshot && offset + head.padded() > snapshot_end) {
        return Err(window.damage(offset, "the snapshot does not end where CURRENT says"));
    }
    if head.first_seq.0 != index {
        let what = format!("frame {} stands where frame {index} should", head.first_seq.0);
        return Err(window.damage(offset, &what));
    }
    let payload = window.bytes(offset, head.len).get(FRAME_HEAD_BYTES..).unwrap_or_default();
    edit(payload, format).map_err(|what| window.damage(offset, &what))
}

/// The edit in the payload of a frame that is whole, in a file of this format. The payload is aligned as it was in the file.
///
/// # Errors
/// What is wrong.
pub(crate) fn edit(payload: &[u8], format: u32) -> std::result::Result<VersionEdit, String> {
    let edit = match format {
        FORMAT_1 => rkyv::from_bytes::<v1::VersionEdit, ArchiveError>(payload).map(Into::into),
        _ => rkyv::from_bytes::<VersionEdit, ArchiveError>(payload),
    };
    edit.map_err(|error| format!("the frame is whole, but its edit is not ({error})"))
}
