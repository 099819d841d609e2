//! Replies that leave when their time has come: to a wrong password, to DEBUG SLEEP, to what a thread does meanwhile.
//!
//! # Invariants
//! - Each has a hole in its connection's replies: what the client sent behind it waits for it, and nothing else does.

use std::path::PathBuf;
use std::time::Duration;

use shard::env::Env as _;
use shard::key::SeqNo;

use super::Worker;
use crate::backup::saver;
use crate::command::CommandError;
use crate::overrides::Outcome;
use crate::resp::writer;
use crate::slab::Key;

/// How often it is looked whether a thread has come to its end.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Late {
    pub(super) due: Duration,
    pub(super) key: Key,
    pub(super) hole: u32,
    pub(super) reply: LateReply,
}

#[derive(Debug)]
pub(super) enum LateReply {
    Ready(Vec<u8>),
    /// CONFIG REWRITE's.
    Rewrite(Outcome),
    /// SAVE's, and CHECKPOINT's, which tells the path.
    Save(saver::Outcome),
    Checkpoint(saver::Outcome),
}

impl LateReply {
    /// The reply, if it is known.
    fn take(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Ready(reply) => Some(std::mem::take(reply)),
            Self::Rewrite(outcome) => outcome.get().map(|written| {
                let mut reply = Vec::new();
                match written {
                    Ok(()) => writer::ok(&mut reply),
                    Err(problem) => rewrite_failed(problem).write(&mut reply),
                }
                reply
            }),
            Self::Save(outcome) => {
                outcome.get().map(|made| reply_of(made, |_, out| writer::ok(out)))
            }
            Self::Checkpoint(outcome) => outcome.get().map(|made| {
                reply_of(made, |path, out| writer::bulk(out, path.as_os_str().as_encoded_bytes()))
            }),
        }
    }
}

fn reply_of(made: &Result<PathBuf, String>, write: impl FnOnce(&PathBuf, &mut Vec<u8>)) -> Vec<u8> {
    let mut reply = Vec::new();
    match made {
        Ok(path) => write(path, &mut reply),
        Err(problem) => CommandError::text(format!("ERR {problem}")).write(&mut reply),
    }
    reply
}

/// In Redis' words.
pub(super) fn rewrite_failed(problem: &str) -> CommandError {
    tracing::warn!(problem, "CONFIG REWRITE failed");
    CommandError::text(format!("ERR Rewriting config file: {problem}"))
}

impl Worker {
    /// The next reply of connection `key` is this one, once it is known.
    pub(super) fn answer_when(&mut self, key: Key, reply: LateReply) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let due = self.env.now() + LOOK;
        let hole = crate::reply::Sink::hole(&mut conn.replies, 0);
        self.late.push(Late { due, key, hole, reply });
        self.next_sweep = self.next_sweep.min(due);
    }

    /// Sends the replies whose time has come; answers when the next one's comes.
    pub(super) fn answer_late(&mut self, now: Duration) -> Option<Duration> {
        let mut next = 0;
        while let Some(late) = self.late.get_mut(next) {
            if late.due > now {
                next += 1;
                continue;
            }
            let Some(reply) = late.reply.take() else {
                late.due = now + LOOK;
                next += 1;
                continue;
            };
            let Late { key, hole, .. } = self.late.swap_remove(next);
            if let Some(conn) = self.conns.get_mut(key) {
                conn.replies.fill(hole, reply.into(), SeqNo(0));
                self.flush(key);
            }
        }
        self.late.iter().map(|late| late.due).min()
    }
}
