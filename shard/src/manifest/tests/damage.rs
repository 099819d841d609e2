//! T4: each byte of CURRENT and of the manifest damaged in three ways, each truncation, blocks swapped. What is read is
//! a state that was, with every edit but perhaps the last, or damage with its place.

use std::path::{Path, PathBuf};

use super::super::Manifest;
use super::{DIR, ID, edits, show, states};
use crate::env::IoBuf;
use crate::env::sim::{Sim, SimEnv};
use crate::error::Error;
use crate::key::SeqNo;
use crate::wal::frame::{FrameHead, FrameKind, seal};
use crate::wal::header::{Header, Magic};

const BLOCK: usize = 4096;
const MANIFEST: &str = "/manifest-000001";

/// A manifest with all edits; where each frame begins and ends, unpadded.
async fn sample(env: &SimEnv) -> Vec<(usize, usize)> {
    let manifest = Manifest::create(env, Path::new(DIR), ID).await.unwrap();
    for edit in edits() {
        manifest.append(&edit).await.unwrap();
    }
    manifest.close().await.unwrap();
    let bytes = env.read_raw(MANIFEST);
    let (mut frames, mut at) = (Vec::new(), BLOCK);
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if len == 0 {
            // Zeros for edits to come: they say nothing, and are left out here.
            env.write_raw(MANIFEST, &bytes[..at]);
            break;
        }
        frames.push((at, at + len));
        at += len.next_multiple_of(BLOCK);
    }
    assert_eq!(frames.len(), edits().len() + 1);
    frames
}

async fn read(env: &SimEnv, states: &[String]) -> Result<usize, (PathBuf, u64)> {
    match Manifest::read(env, Path::new(DIR), ID).await {
        Ok(loaded) => {
            let shown = show(&loaded.state);
            Ok(states.iter().position(|state| *state == shown).expect("a state that was"))
        }
        Err(error @ Error::Corruption { .. }) => {
            assert!(error.to_string().contains("rusty-lsm repair"), "{error}");
            match error {
                Error::Corruption { path, offset, .. } => Err((path, offset)),
                _ => unreachable!(),
            }
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_byte() {
    let sim = Sim::new(1).fifo();
    sim.run(async |env| {
        let (frames, states) = (sample(&env).await, states());
        for path in ["/CURRENT", MANIFEST] {
            let whole = env.read_raw(path);
            for offset in 0..whole.len() {
                let at = frames.iter().position(|frame| (frame.0..frame.1).contains(&offset));
                let is_used =
                    offset < 64 || at.is_some_and(|frame| offset < frames[frame].0 + 1200);
                if !is_used && offset % 61 != 0 {
                    continue;
                }
                for new in [whole[offset] ^ (1 << (offset % 8)), 0, 0xff] {
                    if new == whole[offset] {
                        continue;
                    }
                    let mut bytes = whole.clone();
                    bytes[offset] = new;
                    env.write_raw(path, &bytes);
                    let expected = match at {
                        _ if offset < BLOCK => Err((path.into(), 0)),
                        // The last edit has no witness: it was never there.
                        Some(frame) if frame + 1 == frames.len() => Ok(edits().len() - 1),
                        Some(frame) => Err((path.into(), frames[frame].0 as u64)),
                        None => Ok(edits().len()),
                    };
                    assert_eq!(read(&env, &states).await, expected, "{path} at {offset}");
                }
            }
            env.write_raw(path, &whole);
        }
    });
}

/// An appended file may be cut anywhere by a crash that lost its length: what is left is a state that was. But never
/// in its snapshot, which was synced before CURRENT named it.
#[test]
fn every_truncation() {
    let sim = Sim::new(2).fifo();
    sim.run(async |env| {
        let (frames, states) = (sample(&env).await, states());
        let whole = env.read_raw(MANIFEST);
        for len in (0..whole.len()).filter(|len| len % 7 == 0 || len % BLOCK < 2) {
            env.write_raw(MANIFEST, &whole[..len]);
            let found = read(&env, &states).await;
            if len < 2 * BLOCK {
                let end = len - len % BLOCK;
                assert_eq!(found, Err((MANIFEST.into(), end as u64)));
            } else {
                let begin = |frame: &&(usize, usize)| frame.0 > 2 * BLOCK - 1;
                let padded = |frame: &(usize, usize)| frame.1.next_multiple_of(BLOCK) <= len;
                let edits = frames.iter().filter(begin).filter(|frame| padded(frame)).count();
                assert_eq!(found, Ok(edits), "{len}");
            }
        }
        env.write_raw(MANIFEST, &whole);
        let current = env.read_raw("/CURRENT");
        for len in 0..current.len() {
            env.write_raw("/CURRENT", &current[..len]);
            assert_eq!(read(&env, &states).await, Err(("/CURRENT".into(), 0)));
        }
    });
}

#[test]
fn every_block_in_the_place_of_another() {
    let sim = Sim::new(3).fifo();
    sim.run(async |env| {
        let (frames, states) = (sample(&env).await, states());
        let whole = env.read_raw(MANIFEST);
        let current = env.read_raw("/CURRENT");
        let last = frames.last().unwrap().0;
        for target in (0..whole.len()).step_by(BLOCK) {
            let sources = (0..whole.len()).step_by(BLOCK).map(|at| &whole[at..at + BLOCK]);
            for source in sources.chain([&current[..], &[0; BLOCK]]) {
                if *source == whole[target..target + BLOCK] {
                    continue;
                }
                let mut bytes = whole.clone();
                bytes[target..target + BLOCK].copy_from_slice(source);
                env.write_raw(MANIFEST, &bytes);
                match Manifest::read(&env, Path::new(DIR), ID).await {
                    Ok(loaded) => {
                        assert!(target >= last, "{target}");
                        assert_eq!(show(&loaded.state), states[edits().len() - 1]);
                    }
                    Err(error) => assert!(target < last, "{error}"),
                }
            }
        }
    });
}

#[test]
fn what_is_absent_or_elsewhere_is_refused() {
    let sim = Sim::new(4).fifo();
    sim.run(async |env| {
        sample(&env).await;
        let (current, whole) = (env.read_raw("/CURRENT"), env.read_raw(MANIFEST));
        env.write_raw("/CURRENT", &whole[..BLOCK]);
        let error = Manifest::read(&env, Path::new(DIR), ID).await.unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        env.write_raw("/CURRENT", &current);
        env.write_raw(MANIFEST, &current);
        assert!(read(&env, &states()).await.is_err());
    });
    let sim = Sim::new(5).fifo();
    sim.run(async |env| {
        use crate::env::Env;
        sample(&env).await;
        env.remove(Path::new(MANIFEST)).await.unwrap();
        assert_eq!(read(&env, &states()).await, Err((MANIFEST.into(), 0)));
        env.remove(Path::new("/CURRENT")).await.unwrap();
        assert_eq!(read(&env, &states()).await, Err(("/CURRENT".into(), 0)));
    });
}

/// No edit behind it that would prove that it was whole once: CURRENT says so.
#[test]
fn a_snapshot_alone_is_never_cut() {
    let sim = Sim::new(7).fifo();
    sim.run(async |env| {
        let dir = Path::new(DIR);
        sample(&env).await;
        let loaded = Manifest::read(&env, dir, ID).await.unwrap();
        let manifest = Manifest::start(&env, dir, ID, loaded).await.unwrap();
        let path = super::super::path(dir, manifest.state().numbers_reserved - 1);
        manifest.close().await.unwrap();
        let whole = env.read_raw(&path);
        for offset in (BLOCK..BLOCK + 200).chain([whole.len() - BLOCK]) {
            env.flip(&path, offset as u64, 1);
            let damaged = read(&env, &states()).await;
            let is_padding = whole[offset] == 0 && offset + BLOCK == whole.len();
            assert!(is_padding || damaged == Err((path.clone(), BLOCK as u64)), "{damaged:?}");
            env.write_raw(&path, &whole);
        }
        let zeros = vec![0; whole.len() - BLOCK];
        env.write_raw(&path, &[&whole[..BLOCK], &zeros].concat());
        assert_eq!(read(&env, &states()).await, Err((path, BLOCK as u64)));
    });
}

/// Any edit under a good checksum: no panic, a state or damage.
#[test]
fn nonsense_under_a_good_checksum_never_panics() {
    let sim = Sim::new(6).fifo();
    sim.run(async |env| {
        let frames = sample(&env).await;
        let whole = env.read_raw(MANIFEST);
        let epoch = u64::from_le_bytes(whole[48..56].try_into().unwrap());
        let mut refused = 0;
        for (index, &(begin, end)) in frames.iter().enumerate() {
            let kind = if index == 0 { FrameKind::Snapshot } else { FrameKind::Edit };
            let head = FrameHead {
                identity: ID,
                segment: 1,
                epoch,
                offset: begin as u64,
                first_seq: SeqNo(index as u64),
                synced_upto: if index == 0 { 0 } else { begin as u64 },
                grain_bytes: 4096,
            };
            for at in (begin + 48..end).filter(|at| at - begin < 100 || end - at < 250) {
                for byte in [0, 0x80, 0xff] {
                    let mut frame = IoBuf::with_capacity(BLOCK);
                    frame.extend_from_slice(&whole[begin..end]);
                    frame[at - begin] = byte;
                    seal(&mut frame, kind, 0, &head);
                    let mut bytes = whole.clone();
                    bytes[begin..begin + frame.len()].copy_from_slice(&frame);
                    env.write_raw(MANIFEST, &bytes);
                    let read = Manifest::read(&env, Path::new(DIR), ID).await;
                    refused += u32::from(read.is_err());
                }
            }
        }
        assert!(refused > 500, "{refused}");
    });
}

/// Whole, and not what the writer guarantees: another place in the order, a kind that cannot stand there.
#[test]
fn a_whole_frame_that_is_out_of_its_order_is_damage() {
    let sim = Sim::new(7).fifo();
    sim.run(async |env| {
        let frames = sample(&env).await;
        let whole = env.read_raw(MANIFEST);
        let epoch = u64::from_le_bytes(whole[48..56].try_into().unwrap());
        let last = frames.len() - 1;
        for (at, index, kind, what) in [
            (last, last + 1, FrameKind::Edit, "stands where frame"),
            (last, last - 1, FrameKind::Edit, "stands where frame"),
            (last, last, FrameKind::Snapshot, "the snapshot does not end where CURRENT says"),
            (0, 0, FrameKind::Edit, "the snapshot does not end where CURRENT says"),
            (last, last, FrameKind::Edit, ""),
        ] {
            let (begin, end) = frames[at];
            let head = FrameHead {
                identity: ID,
                segment: 1,
                epoch,
                offset: begin as u64,
                first_seq: SeqNo(index as u64),
                synced_upto: if at == 0 { 0 } else { begin as u64 },
                grain_bytes: 4096,
            };
            let mut frame = IoBuf::with_capacity(BLOCK);
            frame.extend_from_slice(&whole[begin..end]);
            seal(&mut frame, kind, 0, &head);
            let mut bytes = whole.clone();
            bytes[begin..begin + frame.len()].copy_from_slice(&frame);
            env.write_raw(MANIFEST, &bytes);
            let read = Manifest::read(&env, Path::new(DIR), ID).await;
            if what.is_empty() {
                assert!(read.is_ok(), "as it was: {read:?}");
                continue;
            }
            let error = read.unwrap_err();
            assert!(matches!(error, Error::Corruption { .. }), "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    });
}

/// The number seeds the frames as well; this says what has happened.
#[test]
fn another_manifest_under_the_name_in_current_is_foreign() {
    let sim = Sim::new(8).fifo();
    sim.run(async |env| {
        sample(&env).await;
        let mut bytes = env.read_raw(MANIFEST);
        let path = Path::new(MANIFEST);
        let header = Header::decode(&bytes, Magic::Manifest, ID, path).unwrap();
        let other = Header { number: header.number + 1, ..header }.encode(Magic::Manifest, ID);
        bytes[..BLOCK].copy_from_slice(&other);
        env.write_raw(MANIFEST, &bytes);
        let error = Manifest::read(&env, Path::new(DIR), ID).await.unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    });
}
