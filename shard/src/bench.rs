//! What the programs in `benches/` measure of rooms that are private.

use crate::batch::Op;
use crate::key::{Identity, SeqNo};
use crate::wal::frame::{FrameBuilder, FrameHead};

/// Builds frames of the log at one place, one after the other, with the buffers of the ones before.
#[derive(Debug)]
pub struct Frames {
    builder: FrameBuilder,
}

impl Frames {
    /// Frames up to `capacity` bytes allocate nothing.
    pub fn new(capacity: usize) -> Self {
        Self { builder: FrameBuilder::new(capacity) }
    }

    /// Adds an operation to the frame that gathers.
    #[inline]
    pub fn push(&mut self, op: &Op<'_>) {
        self.builder.push(op);
    }

    /// Finishes the frame: head, checksum, padding. Answers its bytes on disk.
    pub fn finish(&mut self) -> usize {
        let head = FrameHead {
            identity: Identity { directory: 7, shard: 0 },
            segment: 3,
            epoch: 11,
            offset: 8192,
            first_seq: SeqNo(1000),
            synced_upto: 4096,
            grain_bytes: crate::wal::GRAIN_BYTES,
        };
        let frame = self.builder.finish(head);
        let bytes = frame.len();
        self.builder.give_back(frame);
        bytes
    }
}
