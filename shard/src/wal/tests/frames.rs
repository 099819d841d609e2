//! Frames without a disk.

use super::super::frame::{
    FRAME_HEAD_BYTES, FrameBuilder, FrameHead, FrameKind, Head, Place, frame_bytes, witness_frame,
};
use super::{ID, Owned, op};
use crate::batch::Op;
use crate::coding::Reader;
use crate::key::{Identity, SeqNo};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_CAP};
use crate::wal::FRAME_BYTES_MAX;

fn head(offset: u64) -> FrameHead {
    let first_seq = SeqNo(9);
    FrameHead {
        identity: ID,
        segment: 7,
        epoch: 0xe0,
        offset,
        first_seq,
        synced_upto: 0,
        grain_bytes: 4096,
    }
}

fn place() -> Place {
    Place { identity: ID, number: 7, epoch: 0xe0, grain_bytes: 4096 }
}

fn sample(builder: &mut FrameBuilder, count: u64) {
    for seq in 1..=count {
        builder.push(&op(seq).op());
    }
}

#[test]
fn the_builder_encodes_as_op_does() {
    let mut ops: Vec<Owned> = (1..=20).map(op).collect();
    for len in [0, 1, 127, 128, 16_383, 16_384, KEY_BYTES_MAX] {
        ops.push(Owned { key: vec![1; len], value: Some(vec![2; len]) });
        ops.push(Owned { key: vec![1; len], value: None });
    }
    let (mut builder, mut expected) = (FrameBuilder::new(4096), Vec::new());
    for op in &ops {
        builder.push(&op.op());
        op.op().encode(&mut expected);
        assert_eq!(builder.bytes(), expected.len());
    }
    let frame = builder.finish(head(4096));
    assert_eq!(frame.len(), frame_bytes(expected.len()));
    assert_eq!(&frame[FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + expected.len()], expected);
    let read = Head::read(&frame, &place(), 4096).unwrap().unwrap();
    assert_eq!((read.kind, read.ops, read.first_seq), (FrameKind::Batch, 34, SeqNo(9)));
    assert!(read.is_whole(&frame[..read.len], &place(), 4096));
    let mut reader = Reader::new(&frame[FRAME_HEAD_BYTES..read.len]);
    for op in &ops {
        assert_eq!(Owned::of(Op::decode(&mut reader).unwrap()), *op);
    }
}

#[test]
fn buffers_come_back_without_a_new_allocation_and_without_their_old_bytes() {
    let mut builder = FrameBuilder::new(64 << 10);
    let mut addresses = std::collections::BTreeSet::new();
    for _ in 0..10 {
        sample(&mut builder, 12);
        let frame = builder.finish(head(8192));
        addresses.insert(frame.as_ptr() as usize);
        let len = Head::read(&frame, &place(), 8192).unwrap().unwrap().len;
        assert!(frame[len..].iter().all(|&byte| byte == 0), "stale bytes in the padding");
        // One frame in flight while the next one gathers.
        builder.give_back(frame);
    }
    assert_eq!(addresses.len(), 2);
}

#[test]
fn a_buffer_that_a_large_frame_made_grow_is_not_kept() {
    let mut builder = FrameBuilder::new(4096);
    builder.push(&Op::Put { key: b"k", value: &vec![0; 1 << 20], expires_at_ms: 0 });
    let frame = builder.finish(head(4096));
    let large = frame.as_ptr();
    builder.give_back(frame);
    for _ in 0..3 {
        builder.push(&Op::Delete { key: b"k" });
        assert_ne!(builder.finish(head(4096)).as_ptr(), large);
    }
}

#[test]
fn a_frame_holds_one_operation_of_the_largest_size_and_says_when_it_is_full() {
    let mut builder = FrameBuilder::new(4096);
    let (key, value) = (vec![1; KEY_BYTES_MAX], vec![0; VALUE_BYTES_CAP]);
    let op = Op::Put { key: &key, value: &value, expires_at_ms: 0 };
    assert!(builder.fits(&op));
    builder.push(&Op::Put { key: b"k", value: &vec![0; 1 << 20], expires_at_ms: 0 });
    assert!(!builder.fits(&op));
    assert!(frame_bytes(op.encoded_bytes_max()) <= FRAME_BYTES_MAX);
}

/// R10, R15, R22: the same bytes in another place are nothing.
#[test]
fn a_frame_is_valid_in_its_own_place_only() {
    let mut builder = FrameBuilder::new(4096);
    sample(&mut builder, 3);
    let frame = builder.finish(head(4096));
    let other_directory = Identity { directory: 1, ..ID };
    let other_shard = Identity { shard: 4, ..ID };
    let places = [
        (place(), 8192),
        (Place { epoch: 0xe1, ..place() }, 4096),
        (Place { number: 8, ..place() }, 4096),
        (Place { identity: other_directory, ..place() }, 4096),
        (Place { identity: other_shard, ..place() }, 4096),
    ];
    let len = Head::read(&frame, &place(), 4096).unwrap().unwrap().len;
    for (place, offset) in places {
        assert!(Head::read(&frame, &place, offset).unwrap().is_none());
        // The head forged for the new place, the payload's checksum not.
        let mut forged = witness_frame(FrameHead {
            identity: place.identity,
            segment: place.number,
            epoch: place.epoch,
            ..head(offset)
        });
        let forged_head = Head::read(&forged, &place, offset).unwrap().unwrap();
        assert!(forged_head.is_whole(&forged[..48], &place, offset));
        forged[..4].copy_from_slice(&frame[..4]);
        let forged_head = Head::read(&forged, &place, offset).unwrap().unwrap();
        assert!(!forged_head.is_whole(&forged[..48], &place, offset));
    }
    assert!(len > 48);
}

#[test]
fn zeros_and_short_blocks_are_no_frame() {
    assert!(Head::read(&[0; 4096], &place(), 4096).unwrap().is_none());
    assert!(Head::read(&[1; 47], &place(), 4096).unwrap().is_none());
}
