//! The log, edited and replayed.

use std::path::{Path, PathBuf};

use super::base::{DIR, IDENTITY, Logged, base};
use super::script::Script;
use super::{FORGED, forge, names_its_place, on};
use crate::env::sim::SimEnv;
use crate::error::Result;
use crate::key::SeqNo;
use crate::manifest::edit::{CleanStop, WalMeta};
use crate::wal::reader::{Replay, Replayed};

/// Flag: the log of a shard whose power was cut.
const CUT: u8 = 2;
/// Flags of a forgery: the manifest says nothing of what is flushed, or of a clean stop.
const NOTHING_FLUSHED: u8 = 4;
const NO_STOP: u8 = 8;

/// Segments of a real shard, edited.
///
/// # Panics
/// If the replay of damage is no prefix of what was written, or one of a forgery differs from the next one.
pub fn wal(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.byte();
    let forged = flags & FORGED != 0;
    let base = base(flags & CUT != 0);
    let (paths, mut files) =
        base.some(|name| Path::new(name).extension().is_some_and(|extension| extension == "wal"));
    script.edit(&mut files, !forged);
    let state = &base.loaded.state;
    let (mut flushed_seq, mut stop) = (state.flushed_seq, state.clean_stop);
    if forged {
        for file in &mut files {
            forge::frames(file);
        }
        if flags & NOTHING_FLUSHED != 0 {
            flushed_seq = SeqNo(0);
        }
        stop = stop.filter(|_| flags & NO_STOP == 0);
    }
    let bytes_max = files.iter().map(Vec::len).max().unwrap_or(0).max(64 << 10);
    match replay(&paths, &files, &state.wal, flushed_seq, stop) {
        Err(error) => names_its_place(&error, Path::new(DIR), bytes_max),
        Ok((log, end)) => {
            assert!(log.is_sorted_by(|one, next| one.0.0 + 1 == next.0.0), "a gap");
            assert!(end.last_seq >= flushed_seq, "shorter than what tables hold");
            if let Some((last, ..)) = log.last() {
                assert_eq!(*last, end.last_seq);
            }
            if forged {
                let again = replay(&paths, &files, &state.wal, flushed_seq, stop);
                assert!(again.is_ok_and(|again| again == (log, end)), "a second replay differs");
            } else {
                assert!(base.log.starts_with(&log), "not a prefix of what was written");
                let is_whole = log.len() == base.log.len();
                assert!(is_whole || stop.is_none(), "the manifest knows that there was more");
            }
        }
    }
}

fn replay(
    paths: &[PathBuf],
    files: &[Vec<u8>],
    segments: &[WalMeta],
    flushed_seq: SeqNo,
    stop: Option<CleanStop>,
) -> Result<(Vec<Logged>, Replayed)> {
    let files = paths.iter().map(PathBuf::as_path).zip(files.iter().map(Vec::as_slice));
    on(files, async |env| {
        read(Replay::open(&env, Path::new(DIR), IDENTITY, segments, flushed_seq, stop).await?).await
    })
}

/// All operations, and where they end.
pub(super) async fn read(mut replay: Replay<SimEnv>) -> Result<(Vec<Logged>, Replayed)> {
    let mut log = Vec::new();
    while let Some(frame) = replay.next_frame().await? {
        assert!(frame.payload_bytes() > 0 && frame.first_seq <= frame.last_seq);
        let before = log.len();
        let ops = frame.ops();
        log.extend(ops.map(|(seq, op)| (seq, op.kind(), op.key().to_vec(), op.value().to_vec())));
        assert_eq!((log.len() - before) as u64, frame.last_seq.0 - frame.first_seq.0 + 1);
    }
    Ok((log, replay.finish()))
}
