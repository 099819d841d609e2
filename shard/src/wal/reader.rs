//! Replay: every operation of the log above what tables hold, in order, and the answer to where the log ends.
//!
//! # Steps
//! 1. Each listed segment must exist with its length and header. Its first frame, the chain, is looked at.
//! 2. Segments with a chain frame form one line: each names the exact end of the one before. The others were created
//!    ahead and never used. The line begins at or below `flushed_seq + 1`.
//! 3. Frames are replayed one by one; sequence numbers go on without a gap. Where a later chain or a clean stop says
//!    how long a segment is, it is exactly that long.
//! 4. Elsewhere the first frame that is not whole is the end, unless something behind it proves that it was durable.
//!
//! # Invariants
//! - Reads only. A second replay of the same files gives the same answer.
//! - No operation is handed out before its whole frame was verified and decoded.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use crate::batch::Op;
use crate::coding::Reader;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::key::{Identity, SeqNo};
use crate::limits::ALIGN;
use crate::manifest::edit::{CleanStop, WalMeta};

use super::frame::{FRAME_HEAD_BYTES, FrameKind, Head, Place, read_chain};
use super::header::{Header, Magic};
use super::window::Window;
use super::{Chain, FIRST_FRAME, REMEDY, file_name, path};

/// What a replay found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replayed {
    /// The last operation of the shard: the next one is one more.
    pub last_seq: SeqNo,
    /// The segment in which the log ends; 0: no listed segment was ever used.
    pub segment: u64,
    /// Where in that segment it ends. The next segment's chain names both.
    pub end: u64,
    /// Bytes behind the end that were cut: a torn tail, never acknowledged. Worth a line in the log.
    pub bytes_cut: u64,
    /// Batches, those below `flushed_seq` included.
    pub frames: u64,
    /// Operations in them.
    pub ops: u64,
    /// Bytes of all frames, padding included.
    pub bytes: u64,
}

/// One batch, verified and decoded.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// Sequence number of the first operation.
    pub first_seq: SeqNo,
    /// Sequence number of the last operation.
    pub last_seq: SeqNo,
    flushed_seq: SeqNo,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes of its operations as encoded.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload.len() as u64
    }

    /// The operations that no table holds yet, in order.
    pub(crate) fn unflushed(&self) -> impl Iterator<Item = (SeqNo, Op<'a>)> + use<'a> {
        let flushed_seq = self.flushed_seq;
        self.ops().filter(move |&(seq, _)| seq > flushed_seq)
    }

    /// All operations, in order.
    pub(crate) fn ops(&self) -> impl Iterator<Item = (SeqNo, Op<'a>)> + use<'a> {
        let mut reader = Reader::new(self.payload);
        (self.first_seq.0..=self.last_seq.0)
            .map_while(move |seq| Op::decode(&mut reader).map(|op| (SeqNo(seq), op)))
    }
}

/// A listed segment, as step 1 found it.
struct Listed {
    path: PathBuf,
    place: Place,
    bytes: u64,
    /// `None`: never used.
    chain: Option<Chain>,
    /// Known from elsewhere.
    end: Option<End>,
}

/// Where something else says that a segment ends.
#[derive(Clone)]
struct End {
    at: u64,
    last_seq: SeqNo,
    /// The witness, for the report.
    says: String,
}

/// A running replay.
pub(crate) struct Replay<E: Env> {
    env: E,
    listed: Vec<Listed>,
    /// The segment being read, or the next to be opened if `window` is none.
    index: usize,
    window: Option<Window<E>>,
    offset: u64,
    flushed_seq: SeqNo,
    /// The clean stop of an unused log, if any: checked at the end.
    clean_seq: Option<SeqNo>,
    totals: Replayed,
    done: bool,
}

impl<E: Env> std::fmt::Debug for Replay<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Replay")
            .field("index", &self.index)
            .field("offset", &self.offset)
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}

impl<E: Env> Replay<E> {
    /// Steps 1 and 2. `segments` are those live in the manifest, in order.
    ///
    /// I/O: 8 KiB of each segment.
    ///
    /// # Errors
    /// `Corruption` if a segment is absent, short or damaged, or if the line has a gap; `Foreign` if it belongs
    /// elsewhere; `Io`.
    pub(crate) async fn open(
        env: &E,
        dir: &Path,
        identity: Identity,
        segments: &[WalMeta],
        flushed_seq: SeqNo,
        clean_stop: Option<CleanStop>,
    ) -> Result<Self> {
        assert!(segments.is_sorted_by(|before, after| before.number < after.number));
        let mut listed = Vec::with_capacity(segments.len());
        for meta in segments {
            listed.push(inspect(env, path(dir, meta.number), identity, *meta).await?);
        }
        link(&mut listed, flushed_seq)?;
        if let Some(stop) = clean_stop {
            place_clean_stop(&mut listed, stop, dir)?;
        }
        let first = listed.iter().find_map(|segment| segment.chain);
        let last_seq = first.map_or(flushed_seq, |chain| chain.last_seq);
        Ok(Self {
            env: env.clone(),
            listed,
            index: 0,
            window: None,
            offset: FIRST_FRAME,
            flushed_seq,
            clean_seq: clean_stop.map(|stop| SeqNo(stop.last_seq)),
            totals: Replayed { last_seq, ..Replayed::default() },
            done: false,
        })
    }

    /// The next batch; `None` at the end of the log.
    ///
    /// I/O: at most one read per 512 KiB or frame, whichever is more. Between two calls the caller may await anything.
    ///
    /// # Errors
    /// `Corruption` naming file and offset, `Io`. The replay is over then.
    pub(crate) async fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        let Some(head) = self.advance().await? else { return Ok(None) };
        let Some(window) = &self.window else { return Ok(None) };
        let at = self.offset - head.padded();
        let payload = window.bytes(at, head.len).get(FRAME_HEAD_BYTES..).unwrap_or_default();
        Ok(Some(Frame {
            first_seq: head.first_seq,
            last_seq: self.totals.last_seq,
            flushed_seq: self.flushed_seq,
            payload,
        }))
    }

    /// What was found, once [`Replay::next_frame`] has answered `None`.
    pub(crate) fn finish(self) -> Replayed {
        assert!(self.done, "the log was not read to its end");
        self.totals
    }

    /// Moves over one batch, and over whatever is not one before it.
    async fn advance(&mut self) -> Result<Option<Head>> {
        loop {
            if self.window.is_none() && !self.begin_segment().await? {
                return Ok(None);
            }
            let Some(listed) = self.listed.get(self.index) else { return Ok(None) };
            let Some(window) = &mut self.window else { return Ok(None) };
            let Some(head) = window.frame(&listed.place, self.offset).await? else {
                self.end_segment().await?;
                continue;
            };
            let last_seq = check_frame(window, self.offset, &head, self.totals.last_seq)?;
            self.totals.last_seq = last_seq;
            self.totals.bytes += head.padded();
            self.offset += head.padded();
            if head.kind == FrameKind::Batch {
                self.totals.frames += 1;
                self.totals.ops += u64::from(head.ops);
                return Ok(Some(head));
            }
        }
    }

    /// Opens the next segment that was used; unused ones are only looked through. `false` at the end of the list.
    async fn begin_segment(&mut self) -> Result<bool> {
        while let Some(listed) = self.listed.get(self.index) {
            let mut window = Window::open(&self.env, listed.path.clone()).await?;
            check_length(&window, listed.bytes)?;
            window.limit(listed.end.as_ref().map_or(listed.bytes, |end| end.at));
            if listed.chain.is_some() {
                self.totals.segment = listed.place.number;
                self.window = Some(window);
                self.offset = FIRST_FRAME;
                return Ok(true);
            }
            self.totals.bytes_cut += probe_end(&mut window, &listed.place, FIRST_FRAME).await?;
            window.close().await;
            self.index += 1;
        }
        if !self.done {
            self.check_last_seq()?;
            self.done = true;
        }
        Ok(false)
    }

    /// Step 4: no whole frame stands at `offset`. Is that the end, or damage?
    async fn end_segment(&mut self) -> Result<()> {
        let (Some(listed), Some(mut window)) = (self.listed.get(self.index), self.window.take())
        else {
            return Ok(());
        };
        if let Some(end) = &listed.end {
            if self.offset != end.at {
                let what = format!("no valid frame, but {} at offset {}", end.says, end.at);
                return Err(window.damage(self.offset, &what));
            }
            if self.totals.last_seq != end.last_seq {
                let what = format!(
                    "the log ends here with operation {}, but {} with operation {}",
                    self.totals.last_seq.0, end.says, end.last_seq.0
                );
                return Err(window.damage(self.offset, &what));
            }
        } else {
            self.totals.bytes_cut += probe_end(&mut window, &listed.place, self.offset).await?;
        }
        window.close().await;
        self.totals.end = self.offset;
        self.index += 1;
        Ok(())
    }

    /// What is in tables was durable in the log before (R25): a log that ends earlier has lost something.
    fn check_last_seq(&self) -> Result<()> {
        let last_seq = self.totals.last_seq;
        let says = match self.clean_seq {
            Some(clean) if clean != last_seq => {
                format!("the manifest says that the shard was closed after operation {}", clean.0)
            }
            _ if last_seq < self.flushed_seq => {
                format!("tables hold operations up to {}", self.flushed_seq.0)
            }
            _ => return Ok(()),
        };
        let (path, offset) = match self.listed.iter().rev().find(|listed| listed.chain.is_some()) {
            Some(listed) => (listed.path.as_path(), self.totals.end),
            None => (self.listed.last().map_or(Path::new(""), |listed| &listed.path), FIRST_FRAME),
        };
        let what = format!("the log ends here with operation {}, but {says}; {REMEDY}", last_seq.0);
        Err(Error::corruption(path, offset, what))
    }
}

/// The first operation of a segment that the manifest does not list. `None`: there is none, or the file is not a whole
/// segment of ours. Used only for files that would be removed otherwise.
///
/// I/O: 8 KiB and one frame.
///
/// # Errors
/// `Io`.
pub(crate) async fn first_operation<E: Env>(
    env: &E,
    dir: &Path,
    identity: Identity,
    number: u64,
) -> Result<Option<SeqNo>> {
    let mut window = Window::open(env, path(dir, number)).await?;
    let found = first_batch(&mut window, identity, number).await;
    window.close().await;
    found
}

async fn first_batch<E: Env>(
    window: &mut Window<E>,
    identity: Identity,
    number: u64,
) -> Result<Option<SeqNo>> {
    if window.end() <= FIRST_FRAME {
        return Ok(None);
    }
    window.fetch(0, ALIGN as u64).await?;
    let block = window.bytes(0, ALIGN);
    let Ok(header) = Header::decode(block, Magic::Segment, identity, window.path()) else {
        return Ok(None);
    };
    let place = Place { number, ..header.place(identity) };
    let Some(chain) = window.frame(&place, FIRST_FRAME).await? else { return Ok(None) };
    let first = window.frame(&place, FIRST_FRAME + chain.padded()).await?;
    Ok(first.filter(|head| head.kind == FrameKind::Batch).map(|head| head.first_seq))
}

/// Step 1 for one segment.
async fn inspect<E: Env>(
    env: &E,
    path: PathBuf,
    identity: Identity,
    meta: WalMeta,
) -> Result<Listed> {
    let mut window = Window::open(env, path).await?;
    check_length(&window, meta.bytes)?;
    window.limit(meta.bytes);
    window.fetch(0, ALIGN as u64).await?;
    let block = window.bytes(0, ALIGN);
    let header = Header::decode(block, Magic::Segment, identity, window.path())?;
    if (header.number, header.extent) != (meta.number, meta.bytes) {
        let what = format!(
            "it says that it is segment {} of {} bytes, the manifest lists segment {} of {} bytes",
            header.number, header.extent, meta.number, meta.bytes
        );
        return Err(Error::Foreign { path: window.path().to_owned(), what });
    }
    let place = header.place(identity);
    let chain = match window.frame(&place, FIRST_FRAME).await? {
        None => None,
        Some(head) => Some(decode_chain(&window, &head)?),
    };
    let path = window.path().to_owned();
    window.close().await;
    Ok(Listed { path, place, bytes: meta.bytes, chain, end: None })
}

fn check_length<E: Env>(window: &Window<E>, bytes: u64) -> Result<()> {
    if window.end() >= bytes {
        return Ok(());
    }
    let what = format!("the file ends here, the manifest lists it with {bytes} bytes");
    Err(window.damage(window.end(), &what))
}

fn decode_chain<E: Env>(window: &Window<E>, head: &Head) -> Result<Chain> {
    let payload = window.bytes(FIRST_FRAME, head.len).get(FRAME_HEAD_BYTES..).unwrap_or_default();
    let chain =
        if head.kind == FrameKind::Chain && head.ops == 0 { read_chain(payload) } else { None };
    chain
        .filter(|chain| chain.last_seq.0.checked_add(1) == Some(head.first_seq.0))
        .ok_or_else(|| window.damage(FIRST_FRAME, "the first frame is not a chain frame"))
}

/// Step 2.
fn link(listed: &mut [Listed], flushed_seq: SeqNo) -> Result<()> {
    let first_live = listed.first().map_or(0, |segment| segment.place.number);
    let used: Vec<u64> = listed
        .iter()
        .filter(|segment| segment.chain.is_some())
        .map(|segment| segment.place.number)
        .collect();
    let mut before: Option<&mut Listed> = None;
    for segment in listed {
        let Some(chain) = segment.chain else { continue };
        let broken = |number: u64, what: String| {
            let path = segment.path.with_file_name(file_name(number));
            Err(Error::corruption(&path, FIRST_FRAME, format!("{what}; {REMEDY}")))
        };
        if chain.segment >= first_live && !used.contains(&chain.segment) {
            let what = format!(
                "no valid chain frame, but {} says that the log went on to offset {}",
                segment.path.display(),
                chain.end
            );
            return broken(chain.segment, what);
        }
        match before {
            None if chain.last_seq > flushed_seq => {
                let what = format!(
                    "operations {} to {} are in no table and no live segment",
                    flushed_seq.0.saturating_add(1),
                    chain.last_seq.0
                );
                return broken(segment.place.number, what);
            }
            None => {}
            Some(before) if before.place.number != chain.segment => {
                let what = format!(
                    "the log before this segment ended in segment {}, but segment {} lies between",
                    chain.segment, before.place.number
                );
                return broken(segment.place.number, what);
            }
            Some(before) => {
                let says = format!("{} says that this segment ended", segment.path.display());
                set_end(before, chain.end, chain.last_seq, says)?;
            }
        }
        before = Some(segment);
    }
    Ok(())
}

/// Notes where a segment ends, if that is a place where a segment can end.
fn set_end(listed: &mut Listed, at: u64, last_seq: SeqNo, says: String) -> Result<()> {
    if at < FIRST_FRAME || at > listed.bytes || !at.is_multiple_of(listed.place.grain_bytes as u64)
    {
        let what = format!("{says} at offset {at}, which cannot be; {REMEDY}");
        return Err(Error::corruption(&listed.path, FIRST_FRAME, what));
    }
    listed.end = Some(End { at, last_seq, says });
    Ok(())
}

/// The clean stop is the last word: it names the end of the last segment that was used.
fn place_clean_stop(listed: &mut [Listed], stop: CleanStop, dir: &Path) -> Result<()> {
    let used = listed.iter().rposition(|segment| segment.chain.is_some());
    let named = listed.iter().position(|segment| segment.place.number == stop.segment);
    let says = "the manifest says that the shard was closed with the end of the log here";
    match (used, named) {
        // Closed before any listed segment was used.
        (None, None) if stop.segment == 0 => Ok(()),
        (Some(used), Some(named)) if used > named => {
            let path = listed.get(used).map_or(dir, |segment| &segment.path);
            let what = format!(
                "this segment was used after segment {}, where the manifest says that the log ended; {REMEDY}",
                stop.segment
            );
            Err(Error::corruption(path, FIRST_FRAME, what))
        }
        (_, Some(named)) => match listed.get_mut(named) {
            Some(segment) if segment.chain.is_none() && stop.end > FIRST_FRAME => {
                let what = format!(
                    "no valid chain frame, but the manifest says that the log ended at offset {}; {REMEDY}",
                    stop.end
                );
                Err(Error::corruption(&segment.path, FIRST_FRAME, what))
            }
            Some(segment) => set_end(segment, stop.end, SeqNo(stop.last_seq), says.to_owned()),
            None => Ok(()),
        },
        (_, None) => {
            let what = format!("the log ended in segment {}, which is not live", stop.segment);
            Err(Error::Foreign { path: dir.to_owned(), what })
        }
    }
}

/// Step 4's question about the frames of one segment that end at `end`: bytes cut, or damage.
async fn probe_end<E: Env>(window: &mut Window<E>, place: &Place, end: u64) -> Result<u64> {
    let probe = window.probe(place, end).await?;
    match probe.witness {
        None => Ok(probe.cut),
        Some((at, synced_upto)) => {
            let what = format!(
                "no valid frame, but the frame at offset {at} says that all before offset {synced_upto} was durable"
            );
            Err(window.damage(end, &what))
        }
    }
}

/// What the writer guarantees about a frame behind `last_seq`; answers the last sequence number after it.
fn check_frame<E: Env>(
    window: &Window<E>,
    offset: u64,
    head: &Head,
    last_seq: SeqNo,
) -> Result<SeqNo> {
    let damage = |what: &str| window.damage(offset, what);
    if last_seq.0.checked_add(1) != Some(head.first_seq.0) {
        let what = format!(
            "a gap: the frame begins with operation {}, the one before ended with {}",
            head.first_seq.0, last_seq.0
        );
        return Err(damage(&what));
    }
    if head.synced_upto > offset {
        return Err(damage("the frame vouches for bytes behind it"));
    }
    let payload = window.bytes(offset, head.len).get(FRAME_HEAD_BYTES..).unwrap_or_default();
    match head.kind {
        FrameKind::Chain if offset == FIRST_FRAME => Ok(last_seq),
        FrameKind::Witness if head.ops == 0 && payload.is_empty() => Ok(last_seq),
        FrameKind::Batch if head.ops > 0 => {
            let mut reader = Reader::new(payload);
            for _ in 0..head.ops {
                if Op::decode(&mut reader).is_none() {
                    return Err(damage("the frame is whole, but an operation in it is not"));
                }
            }
            if reader.remaining() != 0 {
                return Err(damage("the frame is whole, but longer than its operations"));
            }
            last_seq
                .0
                .checked_add(u64::from(head.ops))
                .map(SeqNo)
                .ok_or_else(|| damage("sequence numbers overflow"))
        }
        FrameKind::Chain | FrameKind::Witness | FrameKind::Batch => {
            Err(damage("a frame of this kind cannot stand here"))
        }
        FrameKind::Snapshot | FrameKind::Edit => Err(damage("a frame of a manifest")),
    }
}
