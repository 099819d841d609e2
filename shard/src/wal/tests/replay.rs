//! Whole logs: what was written is read, and the rules of the chain.

use std::path::Path;

use super::super::frame::{FrameBuilder, FrameHead, FrameKind, Head, seal};
use super::super::reader::Replay;
use super::super::walk::operations;
use super::{DIR, ID, Log, corruption, op, replay, small_log};
use crate::batch::Op;
use crate::coding::crc32;
use crate::env::sim::{Fault, Kind, Sim};
use crate::env::{Env, IoBuf, Lane, Open, Sync, write_all_at};
use crate::error::Error;
use crate::key::{Identity, SeqNo};
use crate::manifest::edit::{CleanStop, WalMeta};
use crate::options::SyncPolicy;

#[test]
fn what_was_written_is_read() {
    let sim = Sim::new(1);
    sim.run(|env| async move {
        let log = small_log(&env).await;
        let listed = log.listed();
        let replayed = replay(&env, &listed, 0, None).await.unwrap();
        assert_eq!((replayed.last_seq.0, replayed.frames, replayed.ops), (12, 7, 12));
        assert_eq!((replayed.segment, replayed.end), log.end());
        assert_eq!(replayed.bytes_cut, 0);
        let clean_stop = Some(log.clean_stop());
        assert_eq!(replay(&env, &listed, 0, clean_stop).await.unwrap(), replayed);
        log.close().await.unwrap();
    });
    assert_eq!(sim.dropped_open(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn flushed_operations_are_verified_and_skipped_and_their_segments_may_be_gone() {
    let sim = Sim::new(2);
    sim.run(|env| async move {
        let log = small_log(&env).await;
        let listed = log.listed();
        for flushed_seq in 0..=12 {
            assert_eq!(replay(&env, &listed, flushed_seq, None).await.unwrap().last_seq.0, 12);
        }
        // Segment 1 ends with operation 4, segment 4 with 8.
        for (from, flushed_seq) in [(1, 4), (1, 8), (2, 8), (2, 12)] {
            let replayed = replay(&env, &listed[from..], flushed_seq, None).await.unwrap();
            assert_eq!(replayed.last_seq.0, 12);
        }
        // One operation is in no table and no segment.
        let error = replay(&env, &listed[1..], 3, None).await.unwrap_err();
        assert_eq!(corruption(&error), ("/000004.wal".into(), 4096));
        // Tables know more than the log: the log has lost something.
        let error = replay(&env, &listed, 13, None).await.unwrap_err();
        assert_eq!(corruption(&error), ("/000005.wal".into(), 5 * 4096));
        // A hole in the list.
        let holed = [listed[0], listed[2]];
        assert!(replay(&env, &holed, 0, None).await.is_err());
    });
}

#[test]
fn segments_that_were_never_used_are_nothing() {
    let sim = Sim::new(3);
    sim.run(|env| async move {
        assert_eq!(replay(&env, &[], 5, None).await.unwrap().last_seq.0, 5);
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.create(1, 4).await.unwrap();
        let unused = replay(&env, &log.listed(), 5, None).await.unwrap();
        assert_eq!((unused.last_seq.0, unused.segment, unused.end), (5, 0, 0));
        // In front, between, and behind.
        log.begin(2, 4, None).await.unwrap();
        log.batch(2).await.unwrap();
        log.create(3, 4).await.unwrap();
        log.begin(4, 4, None).await.unwrap();
        log.batch(1).await.unwrap();
        log.create(5, 4).await.unwrap();
        log.create(6, 2).await.unwrap();
        let listed = log.listed();
        let replayed = replay(&env, &listed, 0, None).await.unwrap();
        assert_eq!((replayed.last_seq.0, replayed.segment, replayed.end), (3, 4, 12288));
        let stop = log.clean_stop();
        assert_eq!(replay(&env, &listed, 0, Some(stop)).await.unwrap(), replayed);
    });
}

#[test]
fn a_segment_can_be_filled_to_its_last_block() {
    let sim = Sim::new(4);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 4, None).await.unwrap();
        log.batch(2).await.unwrap();
        log.batch(1).await.unwrap();
        log.begin(2, 4, None).await.unwrap();
        log.batch(1).await.unwrap();
        let listed = log.listed();
        let replayed = replay(&env, &listed, 0, None).await.unwrap();
        assert_eq!((replayed.last_seq.0, replayed.end), (4, 16384));
    });
}

#[test]
fn a_frame_longer_than_a_piece_is_read_whole() {
    let sim = Sim::new(5);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 700, None).await.unwrap();
        log.batch(1).await.unwrap();
        log.batch(1200).await.unwrap();
        log.batch(3).await.unwrap();
        let listed = log.listed();
        let replayed = replay(&env, &listed, 0, None).await.unwrap();
        assert_eq!(replayed.last_seq.0, 1204);
        assert!(replayed.bytes > 512 << 10);
    });
}

#[test]
fn a_log_is_replayed_only_where_it_belongs() {
    let sim = Sim::new(6);
    sim.run(|env| async move {
        let log = small_log(&env).await;
        let listed = log.listed();
        for other in [Identity { directory: 1, ..ID }, Identity { shard: 0, ..ID }] {
            let opened = Replay::open(&env, Path::new(DIR), other, &listed, SeqNo(0), None).await;
            assert!(matches!(opened.unwrap_err(), Error::Foreign { .. }));
        }
        // Whole, but under another name; and with another length than listed.
        let whole = env.read_raw("/000001.wal");
        env.write_raw("/000002.wal", &whole);
        for meta in [WalMeta { number: 2, bytes: 8 << 12 }, WalMeta { number: 1, bytes: 7 << 12 }] {
            let error = replay(&env, &[meta], 0, None).await.unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error}");
        }
        let mut newer = whole.clone();
        newer[4] = 4;
        let crc = crc32(&[], &[&newer[4..4096]]);
        newer[..4].copy_from_slice(&crc.to_le_bytes());
        env.write_raw("/000001.wal", &newer);
        let error = replay(&env, &listed, 0, None).await.unwrap_err();
        assert!(error.to_string().contains("newer version"), "{error}");
    });
}

#[test]
fn an_absent_or_short_segment_is_damage() {
    let sim = Sim::new(7);
    sim.run(|env| async move {
        let log = small_log(&env).await;
        log.create(6, 4).await.unwrap();
        let listed = log.listed();
        for meta in &listed {
            let path = format!("/{:06}.wal", meta.number);
            let whole = env.read_raw(&path);
            env.truncate(&path, 4096 * 3 + 100);
            let error = replay(&env, &listed, 0, None).await.unwrap_err();
            assert_eq!(corruption(&error), (path.clone().into(), 4096 * 3));
            env.remove(Path::new(&path)).await.unwrap();
            let error = replay(&env, &listed, 0, None).await.unwrap_err();
            assert_eq!(corruption(&error), (path.clone().into(), 0));
            // Longer than listed: what is behind does not belong to it.
            let mut longer = whole.clone();
            longer.extend_from_slice(&[0xff; 5000]);
            env.write_raw(&path, &longer);
            assert_eq!(replay(&env, &listed, 0, None).await.unwrap().bytes_cut, 0);
            env.write_raw(&path, &whole);
        }
    });
}

#[test]
fn a_clean_stop_must_be_where_the_log_ends() {
    let sim = Sim::new(8);
    sim.run(|env| async move {
        let log = small_log(&env).await;
        log.create(6, 4).await.unwrap();
        let listed = log.listed();
        let stop = log.clean_stop();
        assert!(replay(&env, &listed, 0, Some(stop)).await.is_ok());
        let wrong = [
            CleanStop { last_seq: stop.last_seq + 1, ..stop },
            CleanStop { last_seq: stop.last_seq - 1, ..stop },
            CleanStop { end: stop.end + 4096, ..stop },
            CleanStop { end: stop.end - 4096, ..stop },
            CleanStop { end: stop.end + 1, ..stop },
            CleanStop { end: u64::MAX, ..stop },
            CleanStop { segment: 4, ..stop },
            CleanStop { segment: 6, ..stop },
            CleanStop { segment: 6, end: 4096, last_seq: 11 },
            CleanStop { segment: 7, ..stop },
        ];
        for stop in wrong {
            assert!(replay(&env, &listed, 0, Some(stop)).await.is_err(), "{stop:?}");
        }
        // Once it was true, and then the log went on.
        let (.., end, last_seq) = *log.frames.iter().rfind(|frame| frame.0 == 4).unwrap();
        let stop = CleanStop { segment: 4, end: end.next_multiple_of(4096), last_seq };
        let error = replay(&env, &listed, 0, Some(stop)).await.unwrap_err().to_string();
        assert!(error.contains("used after segment 4"), "{error}");
        // A segment that was used has its chain.
        let stop = CleanStop { segment: 6, end: 8192, last_seq: 12 };
        let error = replay(&env, &listed, 0, Some(stop)).await.unwrap_err().to_string();
        assert!(error.contains("no valid chain frame, but the manifest"), "{error}");
        // Closed when the next segment was in use and had no frame yet.
        let stop = CleanStop { segment: 6, end: 4096, last_seq: 12 };
        assert_eq!(replay(&env, &listed, 0, Some(stop)).await.unwrap().last_seq.0, 12);
        // Nothing but a clean stop vouches for the last batch.
        let last = log.frames.last().unwrap();
        env.flip("/000005.wal", last.1 + 100, 1);
        assert_eq!(replay(&env, &listed, 0, None).await.unwrap().last_seq.0, 10);
        let error = replay(&env, &listed, 0, Some(log.clean_stop())).await.unwrap_err();
        assert_eq!(corruption(&error), ("/000005.wal".into(), last.1));
    });
}

/// A frame that our own code would have to be wrong to write: its checksum holds, and still nothing of it is used.
#[test]
fn a_whole_frame_that_makes_no_sense_is_damage() {
    let sim = Sim::new(9);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 8, None).await.unwrap();
        log.batch(2).await.unwrap();
        let listed = log.listed();
        let whole = env.read_raw("/000001.wal");
        let head = log.head(3);
        let mut payload = Vec::new();
        op(3).op().encode(&mut payload);
        op(5).op().encode(&mut payload);
        for (what, kind, ops, first_seq) in [
            ("fewer operations", FrameKind::Batch, 3, 3),
            ("more operations", FrameKind::Batch, 1, 3),
            ("none", FrameKind::Batch, 0, 3),
            ("a second chain", FrameKind::Chain, 0, 3),
            ("a witness with a payload", FrameKind::Witness, 0, 3),
            ("a manifest's edit", FrameKind::Edit, 0, 3),
            ("a gap", FrameKind::Batch, 2, 4),
            ("a repetition", FrameKind::Batch, 2, 2),
            ("the last number", FrameKind::Batch, 2, u64::MAX),
        ] {
            let head = FrameHead { first_seq: SeqNo(first_seq), ..head };
            let buf = sealed(&payload, kind, ops, &head);
            let mut bytes = whole.clone();
            let at = usize::try_from(head.offset).unwrap();
            bytes[at..at + 4096].copy_from_slice(&buf);
            env.write_raw("/000001.wal", &bytes);
            let error = replay(&env, &listed, 0, None).await.expect_err(what);
            assert_eq!(corruption(&error), ("/000001.wal".into(), head.offset), "{what}");
        }
    });
}

/// The first frame of a segment, whole, and of another log than it says.
#[test]
fn a_chain_that_contradicts_itself_is_damage() {
    let sim = Sim::new(13);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 8, None).await.unwrap();
        log.batch(2).await.unwrap();
        let (segment, end) = log.end();
        log.begin(2, 8, None).await.unwrap();
        let listed = log.listed();
        let whole = env.read_raw("/000002.wal");
        let payload = [segment, end, 2].map(u64::to_le_bytes).concat();
        for (first_seq, ops, is_sound) in
            [(3, 0, true), (2, 0, false), (4, 0, false), (3, 1, false)]
        {
            let head = FrameHead {
                first_seq: SeqNo(first_seq),
                offset: 4096,
                synced_upto: 0,
                ..log.head(0)
            };
            let buf = sealed(&payload, FrameKind::Chain, ops, &head);
            let mut bytes = whole.clone();
            bytes[4096..8192].copy_from_slice(&buf);
            env.write_raw("/000002.wal", &bytes);
            match replay(&env, &listed, 0, None).await {
                Ok(_) => assert!(is_sound, "first {first_seq}, {ops} operations"),
                Err(error) => {
                    assert_eq!(corruption(&error), ("/000002.wal".into(), 4096));
                    let is_told = error.to_string().contains("first frame is not a chain");
                    assert!(!is_sound && is_told, "{error}");
                }
            }
        }
    });
}

/// Chains that are whole, and do not fit to the segments that are there.
#[test]
fn a_chain_that_does_not_fit_is_damage() {
    let sim = Sim::new(15);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 8, None).await.unwrap();
        log.batch(2).await.unwrap();
        let first_end = log.end().1;
        log.begin(2, 8, None).await.unwrap();
        log.batch(1).await.unwrap();
        let second_end = log.end().1;
        log.begin(3, 8, None).await.unwrap();
        let listed = log.listed();
        let whole = env.read_raw("/000003.wal");
        for (segment, end, last_seq, words) in [
            (2, second_end, 3, ""),
            (1, first_end, 3, "but segment 2 lies between"),
            (2, second_end, 4, "ends here with operation 3, but"),
            (2, second_end, 2, "ends here with operation 3, but"),
        ] {
            let payload = [segment, end, last_seq].map(u64::to_le_bytes).concat();
            let first_seq = SeqNo(last_seq + 1);
            let head = FrameHead { first_seq, offset: 4096, synced_upto: 0, ..log.head(0) };
            let mut bytes = whole.clone();
            let frame = sealed(&payload, FrameKind::Chain, 0, &head);
            bytes[4096..8192].copy_from_slice(&frame);
            env.write_raw("/000003.wal", &bytes);
            match replay(&env, &listed, 0, None).await {
                Ok(replayed) => assert_eq!((words, replayed.last_seq.0), ("", 3)),
                Err(error) => assert!(
                    !words.is_empty() && error.to_string().contains(words),
                    "{segment}, {last_seq}: {error}"
                ),
            }
        }
    });
}

/// A batch with something behind its operations, or without all of them, is none for whoever looks at frames one by one.
#[test]
fn a_batch_that_does_not_decode_has_no_operations() {
    let mut payload = Vec::new();
    op(3).op().encode(&mut payload);
    op(5).op().encode(&mut payload);
    let place = FrameHead {
        identity: ID,
        segment: 7,
        epoch: 1,
        offset: 4096,
        first_seq: SeqNo(3),
        synced_upto: 0,
        grain_bytes: 4096,
    };
    let head = |ops| {
        let frame = sealed(b"", FrameKind::Batch, ops, &place);
        Head::read(&frame, &place.place(), place.offset).unwrap().unwrap()
    };
    let count = |ops, payload| operations(&head(ops), payload).map(|operations| operations.len());
    assert_eq!(count(2, &payload), Some(2));
    assert_eq!(count(1, &payload), None);
    assert_eq!(count(3, &payload), None);
    assert_eq!(count(2, &payload[..payload.len() - 1]), None);
}

/// A forged frame that says of itself that it was durable when it was made.
#[test]
fn a_frame_that_vouches_for_itself_is_damage() {
    let sim = Sim::new(14);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 8, None).await.unwrap();
        log.batch(2).await.unwrap();
        let listed = log.listed();
        let head = log.head(3);
        let mut payload = Vec::new();
        op(3).op().encode(&mut payload);
        for more in [0, 1, 4096, u64::MAX - head.offset] {
            let mut frame = sealed(&payload, FrameKind::Batch, 1, &head);
            let seed = head.place().seed(head.offset);
            frame[32..40].copy_from_slice(&(head.offset + more).to_le_bytes());
            let head_crc = crc32(&seed, &[&frame[4..44]]);
            frame[44..48].copy_from_slice(&head_crc.to_le_bytes());
            let crc = crc32(&seed, &[&frame[4..48 + payload.len()]]);
            frame[..4].copy_from_slice(&crc.to_le_bytes());
            let mut bytes = env.read_raw("/000001.wal");
            let at = usize::try_from(head.offset).unwrap();
            bytes[at..at + 4096].copy_from_slice(&frame);
            env.write_raw("/000001.wal", &bytes);
            match replay(&env, &listed, 0, None).await {
                Ok(replayed) => assert_eq!((more, replayed.last_seq.0), (0, 3)),
                Err(error) => assert!(more > 0 && error.to_string().contains("vouches"), "{error}"),
            }
        }
    });
}

fn sealed(payload: &[u8], kind: FrameKind, ops: u32, head: &FrameHead) -> IoBuf {
    let mut buf = IoBuf::with_capacity(4096);
    buf.resize(48, 0);
    buf.extend_from_slice(payload);
    seal(&mut buf, kind, ops, head);
    buf
}

/// Any payload under a good checksum: no panic, and no operation of a batch that is not whole.
#[test]
fn nonsense_under_a_good_checksum_never_panics() {
    let sim = Sim::new(12).fifo();
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 4, None).await.unwrap();
        let (listed, head) = (log.listed(), log.head(1));
        let whole = env.read_raw("/000001.wal");
        let mut payload = Vec::new();
        op(9).op().encode(&mut payload);
        op(11).op().encode(&mut payload);
        for at in 0..payload.len() {
            for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut payload = payload.clone();
                payload[at] = byte;
                let buf = sealed(&payload, FrameKind::Batch, 2, &head);
                let mut bytes = whole.clone();
                bytes[8192..12288].copy_from_slice(&buf);
                env.write_raw("/000001.wal", &bytes);
                let dir = Path::new(DIR);
                let mut replay =
                    Replay::open(&env, dir, ID, &listed, SeqNo(0), None).await.unwrap();
                match replay.next_frame().await {
                    Ok(frame) => assert_eq!(frame.unwrap().ops().count(), 2),
                    Err(error) => assert_eq!(corruption(&error), ("/000001.wal".into(), 8192)),
                }
            }
        }
    });
}

#[test]
fn an_error_of_the_disk_is_no_end_of_the_log() {
    let sim = Sim::new(10);
    sim.run(|env| async move {
        let log = small_log(&env).await;
        let listed = log.listed();
        let mut hits = 0;
        for number in 1.. {
            let fault = env.faults().add(Fault::eio().at(number));
            let result = replay(&env, &listed, 0, None).await;
            env.faults().clear();
            match result {
                // A failed close after reading changes nothing.
                Ok(replayed) => assert_eq!(replayed.last_seq.0, 12),
                Err(error) => {
                    assert!(matches!(error, Error::Io { .. }), "{error}");
                    hits += 1;
                }
            }
            if fault.hits() == 0 {
                break;
            }
        }
        assert!(hits > 10);
        for fault in [Fault::short(), Fault::eintr().kind(Kind::Read)] {
            for number in 1..20 {
                let handle = env.faults().add(fault.clone().at(number));
                assert_eq!(replay(&env, &listed, 0, None).await.unwrap().last_seq.0, 12);
                assert!(handle.hits() > 0 || number > 6);
                env.faults().clear();
            }
        }
    });
}

/// R18: what a client can put into a value is never a witness and never replayed.
#[test]
fn frames_inside_a_value_are_nothing() {
    let sim = Sim::new(11);
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::Always);
        log.begin(1, 16, None).await.unwrap();
        log.batch(2).await.unwrap();
        let torn = log.head(3);
        // Frames as a client would forge them: for the right shard, segment, offset and number, of another epoch.
        let mut value = vec![0; 4096 - 48 - 1 - 1 - 3 - 3];
        for block in 1..6 {
            let mut forged = FrameBuilder::new(4096);
            forged.push(&Op::Put { key: b"evil", value: b"evil", expires_at_ms: 0 });
            let offset = torn.offset + block * 4096;
            let head =
                FrameHead { epoch: 0, offset, synced_upto: offset, first_seq: SeqNo(3), ..torn };
            value.extend_from_slice(&forged.finish(head));
        }
        let mut builder = FrameBuilder::new(4096);
        builder.push(&Op::Put { key: b"key", value: &value, expires_at_ms: 0 });
        let frame = builder.finish(torn);
        assert_eq!(&frame[4096 + 8..4096 + 16], &[1, 0, 0, 0, 3, 0, 0, 0], "a frame at a boundary");
        let path = Path::new("/000001.wal");
        let file = env.open(path, Open::Write(Sync::EachWrite), Lane::Hot).await.unwrap();
        write_all_at(&file, frame, torn.offset).await.0.unwrap();
        let listed = log.listed();
        // Whole: it is one operation, with that value.
        let dir = Path::new(DIR);
        let mut whole = Replay::open(&env, dir, ID, &listed, SeqNo(0), None).await.unwrap();
        let mut found = Vec::new();
        while let Some(frame) = whole.next_frame().await.unwrap() {
            found.extend(frame.ops().map(|(seq, op)| (seq.0, op.value().to_vec())));
        }
        assert_eq!(found.len(), 3);
        assert_eq!(found[2], (3, value.clone()));
        // Torn, at its head or behind it: the end of the log.
        for at in [0, 8, 30, 45, 60, 4096 * 5] {
            env.flip(path, torn.offset + at, 0x40);
            let replayed = replay(&env, &listed, 0, None).await.unwrap();
            assert_eq!((replayed.last_seq.0, replayed.end), (2, torn.offset));
            assert!(replayed.bytes_cut >= 6 * 4096);
            env.flip(path, torn.offset + at, 0x40);
        }
    });
}
