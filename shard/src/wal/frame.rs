//! Frames: how they are built without a second copy, and how their heads are checked. The table of fields is at the
//! head of [`crate::wal`].
//!
//! # Invariants
//! - A buffer handed out by [`FrameBuilder::finish`] is padded to the alignment with zeros that were written for this
//!   frame: buffers are used again and hold the bytes of older frames, whose checksums are still good.
//! - The CRC is computed once, over the finished frame.
#![deny(clippy::indexing_slicing)]

use crate::batch::Op;
use crate::coding::{Reader, crc32};
use crate::env::IoBuf;
use crate::huge_pages::prefer_huge_pages;
use crate::key::{Identity, SeqNo};
use crate::limits::{ALIGN, SEQ_READ_MAX};

use super::{Chain, FRAME_BYTES_MAX};

/// Bytes before the payload.
pub(crate) const FRAME_HEAD_BYTES: usize = 48;

/// An operation's bytes beside its key and value, at most: kind and two lengths of at most 32 bits.
pub(crate) const OP_HEAD_BYTES_MAX: usize = 1 + 5 + 5;

/// Buffers that a builder keeps for the next frames.
const SPARES_MAX: usize = 4;

/// Bytes on disk of a batch with a payload of `payload` bytes, at most: what it takes in whole blocks.
pub(crate) const fn frame_bytes(payload: usize) -> usize {
    (FRAME_HEAD_BYTES + payload).next_multiple_of(ALIGN)
}

/// What a frame is. The numbers are on disk; 0 is invalid, so that zeros never parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// Operations.
    Batch = 1,
    /// First of its segment: where the log stood before.
    Chain = 2,
    /// Nothing but `synced_upto`, written after an idle second.
    Witness = 3,
    /// Manifest: a part of the state at the manifest's start.
    Snapshot = 4,
    /// Manifest: a change.
    Edit = 5,
}

impl FrameKind {
    fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Batch),
            2 => Some(Self::Chain),
            3 => Some(Self::Witness),
            4 => Some(Self::Snapshot),
            5 => Some(Self::Edit),
            _ => None,
        }
    }
}

/// Where a frame stands and what it vouches for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHead {
    /// Directory and shard.
    pub identity: Identity,
    /// Number of the file.
    pub segment: u64,
    /// Epoch of the file.
    pub epoch: u64,
    /// Where in the file the frame begins.
    pub offset: u64,
    /// Of its first operation.
    pub first_seq: SeqNo,
    /// Every byte of the file before this offset is durable now.
    pub synced_upto: u64,
    /// Of the file: see [`Header::grain_bytes`](super::header::Header::grain_bytes).
    pub grain_bytes: usize,
}

impl FrameHead {
    pub(super) fn place(&self) -> Place {
        let Self { identity, segment, epoch, grain_bytes, .. } = *self;
        Place { identity, number: segment, epoch, grain_bytes }
    }
}

/// The file that frames belong to: with the offset, the seed of their checksums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) identity: Identity,
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) grain_bytes: usize,
}

impl Place {
    /// Where the next frame begins behind one of this kind and length at `offset`. What is not a batch fills its block, so that
    /// the log goes on in a fresh one.
    fn after(&self, kind: FrameKind, offset: u64, len: usize) -> u64 {
        let grain = if kind == FrameKind::Batch { self.grain_bytes } else { ALIGN };
        (offset + len as u64).next_multiple_of(grain as u64)
    }

    pub(super) fn seed(&self, offset: u64) -> [u64; 6] {
        let [low, high, shard] = self.identity.seed();
        [low, high, shard, self.number, self.epoch, offset]
    }
}

/// A head that was read and whose `head_crc` holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    crc: u32,
    /// Header, payload and padding.
    padded: u64,
    /// Header and payload.
    pub(crate) len: usize,
    pub(crate) kind: FrameKind,
    pub(crate) first_seq: SeqNo,
    pub(crate) synced_upto: u64,
    pub(crate) ops: u32,
}

impl Head {
    /// The head at the start of `block`, which stands at `offset`; `None` if none was written there.
    ///
    /// # Errors
    /// What is impossible about a head whose checksum holds.
    pub(crate) fn read(
        block: &[u8],
        place: &Place,
        offset: u64,
    ) -> Result<Option<Self>, &'static str> {
        let Some(head) = block.first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
        // Kind 0 is never valid: blocks of zeros, most of what is probed, end here.
        if head[8] == 0 {
            return Ok(None);
        }
        let covered: &[u8] = &head[4..44];
        if crc32(&place.seed(offset), &[covered]).to_le_bytes() != head[44..48] {
            return Ok(None);
        }
        Self::parse(&mut Reader::new(head), place, offset).map(Some)
    }

    fn parse(reader: &mut Reader<'_>, place: &Place, offset: u64) -> Result<Self, &'static str> {
        let short = "a frame's head is cut short";
        let crc = reader.u32().ok_or(short)?;
        let len = reader.u32().ok_or(short)? as usize;
        let [kind, zero_a, zero_b, zero_c] = reader.array::<4>().ok_or(short)?;
        let shard = reader.u32().ok_or(short)?;
        let number = reader.u64().ok_or(short)?;
        let first_seq = SeqNo(reader.u64().ok_or(short)?);
        let synced_upto = reader.u64().ok_or(short)?;
        let ops = reader.u32().ok_or(short)?;
        let kind = FrameKind::from_u8(kind).ok_or("a frame's kind is unknown")?;
        if !(FRAME_HEAD_BYTES..=FRAME_BYTES_MAX).contains(&len) {
            return Err("a frame's length is out of range");
        }
        if [zero_a, zero_b, zero_c] != [0; 3] {
            return Err("a frame's reserved bytes are not zero");
        }
        if (shard, number) != (place.identity.shard, place.number) {
            return Err("a frame names another shard or file");
        }
        if first_seq.0 > SEQ_READ_MAX {
            return Err("a frame's sequence number is out of range");
        }
        let padded = place.after(kind, offset, len) - offset;
        Ok(Self { crc, padded, len, kind, first_seq, synced_upto, ops })
    }

    /// Whether `bytes` (header and payload, `self.len` of them) are what was written at `offset`.
    pub(crate) fn is_whole(&self, bytes: &[u8], place: &Place, offset: u64) -> bool {
        match bytes.split_first_chunk::<4>() {
            Some((_, covered)) if bytes.len() == self.len => {
                crc32(&place.seed(offset), &[covered]) == self.crc
            }
            _ => false,
        }
    }

    /// Bytes on disk, padding included.
    pub(crate) fn padded(&self) -> u64 {
        self.padded
    }
}

/// Completes a frame: `buf` holds [`FRAME_HEAD_BYTES`] of anything, then the payload.
pub(crate) fn seal(buf: &mut IoBuf, kind: FrameKind, ops: u32, head: &FrameHead) {
    assert!(buf.len() >= FRAME_HEAD_BYTES);
    assert!(buf.len() <= FRAME_BYTES_MAX);
    assert!(head.offset.is_multiple_of(head.grain_bytes as u64));
    assert!(head.synced_upto <= head.offset);
    let len = u32::try_from(buf.len()).expect("FRAME_BYTES_MAX is below 32 bits");
    let place = head.place();
    let seed = place.seed(head.offset);
    let mut bytes = [0; FRAME_HEAD_BYTES];
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8] = kind as u8;
    bytes[12..16].copy_from_slice(&place.identity.shard.to_le_bytes());
    bytes[16..24].copy_from_slice(&place.number.to_le_bytes());
    bytes[24..32].copy_from_slice(&head.first_seq.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.synced_upto.to_le_bytes());
    bytes[40..44].copy_from_slice(&ops.to_le_bytes());
    let head_crc = crc32(&seed, &[&bytes[4..44]]);
    bytes[44..48].copy_from_slice(&head_crc.to_le_bytes());
    if let Some(reserved) = buf.first_chunk_mut::<FRAME_HEAD_BYTES>() {
        *reserved = bytes;
    }
    if let Some((crc, covered)) = buf.split_first_chunk_mut::<4>() {
        *crc = crc32(&seed, &[covered]).to_le_bytes();
    }
    let padded = place.after(kind, head.offset, buf.len()) - head.offset;
    buf.resize(usize::try_from(padded).expect("FRAME_BYTES_MAX and a block"), 0);
}

/// A frame's buffer with its head reserved.
fn reserve_head(buf: &mut IoBuf) {
    buf.clear();
    buf.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
}

/// The first frame of a segment. Written only when every byte of the log before it is durable: it is the proof of
/// where that log ended. `head.first_seq` is set to the operation after `chain.last_seq`.
pub(crate) fn chain_frame(chain: Chain, head: FrameHead) -> IoBuf {
    assert_eq!(head.offset, super::FIRST_FRAME);
    assert!(chain.segment < head.segment);
    let mut buf = IoBuf::with_capacity(ALIGN);
    reserve_head(&mut buf);
    buf.extend_from_slice(&chain.segment.to_le_bytes());
    buf.extend_from_slice(&chain.end.to_le_bytes());
    buf.extend_from_slice(&chain.last_seq.0.to_le_bytes());
    let head = FrameHead { first_seq: SeqNo(chain.last_seq.0 + 1), ..head };
    seal(&mut buf, FrameKind::Chain, 0, &head);
    buf
}

/// The payload of a chain frame; `None` if it is not one.
pub(crate) fn read_chain(payload: &[u8]) -> Option<Chain> {
    let mut reader = Reader::new(payload);
    let chain =
        Chain { segment: reader.u64()?, end: reader.u64()?, last_seq: SeqNo(reader.u64()?) };
    (reader.remaining() == 0).then_some(chain)
}

/// A frame without operations that vouches for `head.synced_upto`; `head.first_seq` is the next one to be given.
pub(crate) fn witness_frame(head: FrameHead) -> IoBuf {
    let mut buf = IoBuf::with_capacity(ALIGN);
    reserve_head(&mut buf);
    seal(&mut buf, FrameKind::Witness, 0, &head);
    buf
}

/// Gathers the operations of one frame in the buffer that goes to disk: one copy of each key and value, and one pass
/// for the checksum at the end.
pub(crate) struct FrameBuilder {
    buf: IoBuf,
    ops: u32,
    spares: Vec<IoBuf>,
    capacity: usize,
}

impl std::fmt::Debug for FrameBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FrameBuilder")
            .field("bytes", &self.bytes())
            .field("ops", &self.ops)
            .finish_non_exhaustive()
    }
}

impl FrameBuilder {
    /// Buffers of `capacity` bytes: frames up to that size never allocate once the buffers come back.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(ALIGN, FRAME_BYTES_MAX).next_multiple_of(ALIGN);
        let mut buf = IoBuf::with_capacity(capacity);
        reserve_head(&mut buf);
        Self { buf, ops: 0, spares: Vec::with_capacity(SPARES_MAX), capacity }
    }

    /// Appends an operation; it gets the next sequence number of the frame. The frame must have room for it
    /// ([`FrameBuilder::fits`]).
    #[inline]
    pub(crate) fn push(&mut self, op: &Op<'_>) {
        assert!(self.fits(op));
        let (key, value) = (op.key(), op.value());
        let room = OP_HEAD_BYTES_MAX + key.len() + op.stored_bytes();
        self.buf.reserve(room);
        prefer_huge_pages(self.buf.as_ptr().wrapping_add(self.buf.len()), room);
        self.buf.push(op.kind() as u8);
        put_len(&mut self.buf, key.len());
        self.buf.extend_from_slice(key);
        if let Op::Put { .. } = op {
            put_len(&mut self.buf, op.stored_bytes());
            if let Some(expiry) = op.expiry() {
                self.buf.extend_from_slice(&expiry);
            }
            self.buf.extend_from_slice(value);
        }
        self.ops += 1;
    }

    /// Whether the frame stays within [`FRAME_BYTES_MAX`] with this operation.
    pub(crate) fn fits(&self, op: &Op<'_>) -> bool {
        self.buf.len() + OP_HEAD_BYTES_MAX + op.key().len() + op.stored_bytes() <= FRAME_BYTES_MAX
            && self.ops < u32::MAX
    }

    /// Operations gathered.
    pub(crate) fn ops(&self) -> u32 {
        self.ops
    }

    /// Bytes of payload gathered; [`frame_bytes`] of it is what the frame takes on disk.
    pub(crate) fn bytes(&self) -> usize {
        self.buf.len() - FRAME_HEAD_BYTES
    }

    /// Whether nothing was gathered.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// The finished frame, and an empty builder. Give the buffer back once it is written.
    #[must_use = "the operations are in this buffer only"]
    pub(crate) fn finish(&mut self, head: FrameHead) -> IoBuf {
        assert!(!self.is_empty());
        let mut next = self.spares.pop().unwrap_or_else(|| IoBuf::with_capacity(self.capacity));
        reserve_head(&mut next);
        let mut frame = std::mem::replace(&mut self.buf, next);
        let ops = std::mem::take(&mut self.ops);
        seal(&mut frame, FrameKind::Batch, ops, &head);
        frame
    }

    /// Takes a buffer for a later frame. One that an unusually large frame has made grow is dropped: it would hold its
    /// memory for ever.
    pub(crate) fn give_back(&mut self, mut buf: IoBuf) {
        if self.spares.len() < SPARES_MAX && buf.capacity() <= 2 * self.capacity {
            if cfg!(test) {
                // What a stale byte would look like.
                buf.clear();
                buf.resize(buf.capacity(), 0xa5);
            }
            buf.clear();
            self.spares.push(buf);
        }
    }
}

/// A length as a varint of at most 32 bits, as in [`crate::coding::put_varint`].
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_len(buf: &mut IoBuf, len: usize) {
    let mut rest = len;
    while rest >= 0x80 {
        buf.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    buf.push(rest as u8);
}
