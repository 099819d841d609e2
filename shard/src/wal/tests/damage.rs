//! T4: each byte of a small log damaged in three ways, each truncation, blocks and files swapped. The replay gives
//! every operation that something vouches for, or refuses and names the place; it never gives a wrong one.

use std::collections::BTreeMap;

use super::{Log, corruption, replay, small_log};
use crate::env::sim::{Sim, SimEnv};
use crate::manifest::edit::WalMeta;
use crate::options::SyncPolicy;

const BLOCK: usize = 4096;

struct Case {
    listed: Vec<WalMeta>,
    /// Segment, begin, unpadded end, last operation of each frame.
    frames: Vec<(u64, u64, u64, u64)>,
    files: BTreeMap<u64, Vec<u8>>,
    last_seq: u64,
}

fn path(number: u64) -> String {
    format!("/{number:06}.wal")
}

async fn case(env: &SimEnv) -> Case {
    let log: Log<SimEnv> = small_log(env).await;
    let listed = log.listed();
    let files = listed.iter().map(|meta| (meta.number, env.read_raw(path(meta.number)))).collect();
    Case { listed, files, last_seq: log.last_seq, frames: log.frames.clone() }
}

impl Case {
    /// The last operation that another frame or a chain vouches for.
    fn witnessed_seq(&self) -> u64 {
        self.frames[self.frames.len() - 2].3
    }

    /// Which frame a byte belongs to; padding belongs to none.
    fn frame_of(&self, segment: u64, offset: u64) -> Option<usize> {
        self.frames
            .iter()
            .position(|frame| frame.0 == segment && (frame.1..frame.2).contains(&offset))
    }

    async fn check_flip(&self, env: &SimEnv, number: u64, offset: usize) {
        let place = format!("{} at {offset}", path(number));
        let result = replay(env, &self.listed, 0, None).await;
        let at = u64::try_from(offset).unwrap();
        match self.frame_of(number, at) {
            _ if offset < BLOCK => {
                assert_eq!(corruption(&result.expect_err(&place)), (path(number).into(), 0));
            }
            Some(frame) if frame + 1 == self.frames.len() => {
                assert_eq!(result.expect(&place).last_seq.0, self.witnessed_seq(), "{place}");
            }
            Some(frame) => {
                let begin = self.frames[frame].1;
                let error = result.expect_err(&place);
                assert_eq!(corruption(&error), (path(number).into(), begin), "{place}: {error}");
            }
            // Padding and the zeros behind the end.
            None => assert_eq!(result.expect(&place).last_seq.0, self.last_seq, "{place}"),
        }
    }
}

/// All bytes of headers and frames. Of padding and unused zeros each 61st, or all of them with `WAL_DAMAGE_ALL=1`.
#[test]
fn every_byte() {
    let sim = Sim::new(20).fifo();
    let all = std::env::var_os("WAL_DAMAGE_ALL").is_some();
    sim.run(|env| async move {
        let case = case(&env).await;
        let mut tried = 0_u32;
        for (&number, whole) in &case.files {
            for offset in 0..whole.len() {
                let is_used = case.frame_of(number, offset as u64).is_some() || offset < 64;
                if !all && !is_used && offset % 61 != 0 {
                    continue;
                }
                let old = whole[offset];
                for new in [old ^ (1 << (offset % 8)), 0, 0xff] {
                    if new == old {
                        continue;
                    }
                    let mut bytes = whole.clone();
                    bytes[offset] = new;
                    env.write_raw(path(number), &bytes);
                    case.check_flip(&env, number, offset).await;
                    tried += 1;
                }
            }
            env.write_raw(path(number), whole);
        }
        assert!(tried > 20_000, "{tried}");
    });
}

/// Batches that share blocks, in the segments of a policy that syncs now and then: a frame that something vouches for is damage
/// where it is damaged, the others are the torn tail. What stands in the same block before it is read.
#[test]
fn every_byte_of_blocks_that_are_shared() {
    let sim = Sim::new(23).fifo();
    sim.run(|env| async move {
        let mut log = Log::new(&env, SyncPolicy::EverySecond);
        log.begin(1, 5, None).await.unwrap();
        for count in [1, 2, 1, 3] {
            log.batch(count).await.unwrap();
        }
        log.sync().await.unwrap();
        log.batch(1).await.unwrap();
        log.begin(4, 7, None).await.unwrap();
        for count in [1, 1, 2] {
            log.batch(count).await.unwrap();
        }
        log.sync().await.unwrap();
        for count in [1, 1, 1] {
            log.batch(count).await.unwrap();
        }
        let (listed, frames) = (log.listed(), log.frames.clone());
        let is_shared = |pair: &[(u64, u64, u64, u64)]| {
            pair[0].0 == pair[1].0 && pair[0].1 / 4096 == pair[1].1 / 4096
        };
        assert!(frames.windows(2).filter(|pair| is_shared(pair)).count() > 6, "{frames:?}");
        let mut outcomes = BTreeMap::new();
        for meta in &listed {
            let whole = env.read_raw(path(meta.number));
            let synced_upto = |begin: u64| {
                let at = usize::try_from(begin).unwrap() + 32;
                u64::from_le_bytes(whole[at..at + 8].try_into().unwrap())
            };
            for (index, &(segment, begin, end, _)) in frames.iter().enumerate() {
                if segment != meta.number {
                    continue;
                }
                let is_vouched_for = frames[index + 1..]
                    .iter()
                    .any(|other| other.0 != segment || synced_upto(other.1) > begin);
                for offset in usize::try_from(begin).unwrap()..usize::try_from(end).unwrap() {
                    let mut bytes = whole.clone();
                    bytes[offset] ^= 1 << (offset % 8);
                    env.write_raw(path(segment), &bytes);
                    let place = format!("segment {segment} at {offset}");
                    match replay(&env, &listed, 0, None).await {
                        Ok(replayed) => {
                            assert!(!is_vouched_for, "{place}");
                            assert_eq!(replayed.last_seq.0, frames[index - 1].3, "{place}");
                        }
                        Err(error) => {
                            assert!(is_vouched_for, "{place}: {error}");
                            assert_eq!(corruption(&error), (path(segment).into(), begin));
                        }
                    }
                    *outcomes.entry(is_vouched_for).or_insert(0) += 1;
                }
            }
            env.write_raw(path(meta.number), &whole);
        }
        assert!(outcomes[&true] > 5000 && outcomes[&false] > 200, "{outcomes:?}");
    });
}

#[test]
fn every_truncation() {
    let sim = Sim::new(21).fifo();
    sim.run(|env| async move {
        let case = case(&env).await;
        for (&number, whole) in &case.files {
            let step = if std::env::var_os("WAL_DAMAGE_ALL").is_some() { 1 } else { 7 };
            for len in (0..whole.len()).step_by(step) {
                env.write_raw(path(number), &whole[..len]);
                let error = replay(&env, &case.listed, 0, None).await.unwrap_err();
                let end = u64::try_from(len - len % BLOCK).unwrap();
                assert_eq!(corruption(&error), (path(number).into(), end));
            }
            env.write_raw(path(number), whole);
        }
    });
}

/// A prewritten segment whose tail reads as zeros from any block on: a torn tail only if nothing vouches for it.
#[test]
fn every_tail_of_zeros() {
    let sim = Sim::new(22).fifo();
    sim.run(|env| async move {
        let case = case(&env).await;
        for (&number, whole) in &case.files {
            for from in (BLOCK..whole.len()).step_by(BLOCK) {
                let mut bytes = whole.clone();
                bytes[from..].fill(0);
                env.write_raw(path(number), &bytes);
                match replay(&env, &case.listed, 0, None).await {
                    // Only the last segment's tail has no witness outside of it.
                    Ok(replayed) if number == 5 => assert!(replayed.last_seq.0 >= 8),
                    Ok(replayed) => assert_eq!(replayed.last_seq.0, case.last_seq),
                    Err(error) => {
                        assert_ne!(number, 5, "{error}");
                        assert_eq!(corruption(&error).0, std::path::PathBuf::from(path(number)));
                    }
                }
            }
            env.write_raw(path(number), whole);
        }
    });
}

/// Misdirected and lost writes: every block over every other, in and between files.
#[test]
fn every_block_in_the_place_of_another() {
    let sim = Sim::new(23).fifo();
    sim.run(|env| async move {
        let case = case(&env).await;
        let blocks = || {
            case.files.iter().flat_map(|(&number, bytes)| {
                (0..bytes.len() / BLOCK).map(move |block| (number, block * BLOCK))
            })
        };
        for source in blocks() {
            for target in blocks() {
                let block = case.files[&source.0][source.1..source.1 + BLOCK].to_vec();
                let mut bytes = case.files[&target.0].clone();
                if bytes[target.1..target.1 + BLOCK] == block {
                    continue;
                }
                bytes[target.1..target.1 + BLOCK].copy_from_slice(&block);
                env.write_raw(path(target.0), &bytes);
                let damaged = case.frame_of(target.0, target.1 as u64);
                match replay(&env, &case.listed, 0, None).await {
                    Ok(replayed) => {
                        let least = match damaged {
                            Some(frame) if frame + 1 == case.frames.len() => case.witnessed_seq(),
                            _ => case.last_seq,
                        };
                        assert!(replayed.last_seq.0 >= least, "{source:?} over {target:?}");
                    }
                    Err(error) => {
                        assert_ne!(damaged.is_some(), target.1 == 0, "{error}");
                        assert!(error.to_string().contains(&path(target.0)), "{error}");
                    }
                }
                env.write_raw(path(target.0), &case.files[&target.0]);
            }
        }
    });
}

#[test]
fn a_file_in_the_place_of_another() {
    let sim = Sim::new(24).fifo();
    sim.run(|env| async move {
        let case = case(&env).await;
        for (source, target) in [(1, 4), (1, 5), (4, 5), (5, 1), (5, 4)] {
            env.write_raw(path(target), &case.files[&source]);
            assert!(replay(&env, &case.listed, 0, None).await.is_err());
            env.write_raw(path(target), &case.files[&target]);
        }
    });
}
