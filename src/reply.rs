//! Replies of one connection, in the order of its commands, whatever the order in which they become ready.
//!
//! ```text
//! segments:  Ready(5 replies, gate 812) | Hole 7 | Ready(2 replies, gate 0) | Hole 8 (filled)
//!            bytes lie in `staged`        waits    bytes lie in `staged`       brings its own bytes
//! ```
//!
//! # Invariants
//! - A segment leaves only when all before it have left, and, if it is gated, once the core's shard has released that
//!   sequence number: this is where "acknowledged" becomes bytes on a socket.
//! - `staged` holds exactly the bytes of the Ready segments, in order.
//! - A hole is filled once.
//! - `asked` has an entry for each reply in `segments`, in order, and for those that have left and are not told yet.
//! - A push (a message to a subscriber) is no reply: it stands between replies, never within one, and `asked` knows nothing of it.
//!   Its bytes are shared by all who get it, and copied only when they are about to be sent.
//! - A muted reply (CLIENT REPLY) is one without bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use shard::key::SeqNo;

use crate::asked::Asked;
use crate::command::CommandId;
use crate::error_classes::ErrorClasses;
use crate::latency::Tallies;
use crate::resp::writer;

/// Where a command's reply goes: a connection's queue here, or the answer to another core's request.
pub(crate) trait Sink {
    /// The buffer to append one reply to; then call [`Sink::done`].
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// The reply just appended is complete, and may leave once the shard has released `gate`.
    fn done(&mut self, gate: SeqNo);
    /// The reply comes later, probably with so many bytes (0: few, or not known); the answer names its place.
    fn hole(&mut self, expected_bytes: usize) -> u32;
}

#[derive(Debug)]
enum Segment {
    Ready { bytes: usize, replies: u32, gate: SeqNo, muted: bool },
    Hole { id: u32, filled: Option<(Bytes, SeqNo)>, muted: bool },
    Push(Bytes),
}

/// Bytes up to which pushes are gathered for one send; one push more than that.
const PUSHES_PER_SEND_BYTES: usize = 64 << 10;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    staged: Vec<u8>,
    /// Bytes of `staged` that belong to segments; the rest is the reply being written.
    staged_bytes: usize,
    segments: VecDeque<Segment>,
    /// Bytes of holes that were filled and have not left.
    filled_bytes: usize,
    /// Bytes that the open holes are expected to bring; counted down when all of them are filled.
    expected_bytes: usize,
    next_hole: u32,
    open_holes: u32,
    /// What the replies answer.
    asked: Asked,
    /// Errors that were not told yet, by their first word.
    errors: Option<Box<ErrorClasses>>,
    muted: Muted,
}

/// Replies that are not sent (CLIENT REPLY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Muted {
    #[default]
    No,
    /// The next one.
    Next,
    /// All that follow.
    All,
}

impl Segment {
    fn replies(&self) -> usize {
        match self {
            Self::Ready { replies, .. } => *replies as usize,
            Self::Hole { .. } => 1,
            Self::Push(_) => 0,
        }
    }
}

/// Whether a reply is an error.
fn is_error(reply: &[u8]) -> bool {
    reply.first() == Some(&b'-')
}

impl Sink for Replies {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.staged
    }

    fn done(&mut self, gate: SeqNo) {
        let added = self.staged.len() - self.staged_bytes;
        assert!(added > 0, "a reply has bytes");
        let failed = is_error(&self.staged[self.staged_bytes..]);
        self.asked.added(failed);
        if failed {
            self.errors.get_or_insert_default().count(&self.staged[self.staged_bytes..]);
        }
        let muted = self.muted != Muted::No && self.take_muted();
        if muted {
            self.staged.truncate(self.staged_bytes);
        }
        let added = self.staged.len() - self.staged_bytes;
        self.staged_bytes = self.staged.len();
        match self.segments.back_mut() {
            Some(Segment::Ready { bytes, replies, gate: first, muted: same }) if *same == muted => {
                *bytes += added;
                *replies += 1;
                *first = (*first).max(gate);
            }
            _ => self.segments.push_back(Segment::Ready { bytes: added, replies: 1, gate, muted }),
        }
    }

    fn hole(&mut self, expected_bytes: usize) -> u32 {
        self.expected_bytes += expected_bytes;
        let id = self.next_hole;
        self.next_hole = self.next_hole.wrapping_add(1);
        self.open_holes += 1;
        let muted = self.take_muted();
        self.segments.push_back(Segment::Hole { id, filled: None, muted });
        self.asked.added(false);
        id
    }
}

impl Replies {
    /// The next reply answers `kind` (`None`: no command that we know), whose last byte came at `received_at`.
    #[inline]
    pub(crate) fn answering(&mut self, kind: Option<CommandId>, received_at: Duration) {
        self.asked.next(kind, received_at);
    }

    /// Whether replies have left that [`Replies::tell`] has not told.
    pub(crate) fn has_left(&self) -> bool {
        self.asked.has_left()
    }

    /// Counts the replies that left by `now`; answers how many of them were errors.
    pub(crate) fn tell(&mut self, now: Duration, tallies: &mut Tallies) -> u64 {
        self.asked.tell(now, tallies)
    }

    /// The errors since this was last asked.
    pub(crate) fn take_errors(&mut self) -> Option<Box<ErrorClasses>> {
        self.errors.take()
    }

    /// Whether replies of this connection are still to come from elsewhere.
    pub(crate) fn has_open_holes(&self) -> bool {
        self.open_holes > 0
    }

    /// Holes that are open.
    pub(crate) fn open_holes(&self) -> u32 {
        self.open_holes
    }

    /// The hole that was made last, if it is the last reply here.
    pub(crate) fn last_hole(&self) -> Option<u32> {
        match self.segments.back() {
            Some(Segment::Hole { id, filled: None, .. }) => Some(*id),
            _ => None,
        }
    }

    /// Whether nothing here waits for the log.
    pub(crate) fn is_released(&self, released: SeqNo) -> bool {
        self.segments.iter().all(|segment| match segment {
            Segment::Ready { gate, .. } | Segment::Hole { filled: Some((_, gate)), .. } => {
                *gate <= released
            }
            Segment::Hole { filled: None, .. } | Segment::Push(_) => true,
        })
    }

    /// Whether replies to the commands that follow are sent.
    pub(crate) fn mute(&mut self, muted: Muted) {
        self.muted = muted;
    }

    /// RESET: replies are sent again, its own among them. One that CLIENT REPLY SKIP has named is still skipped, as in Redis.
    pub(crate) fn reset_mute(&mut self) {
        if self.muted == Muted::All {
            self.muted = Muted::No;
        }
    }

    pub(crate) fn muted(&self) -> Muted {
        self.muted
    }

    /// Whether the reply that is added now is muted.
    fn take_muted(&mut self) -> bool {
        let muted = self.muted;
        if muted == Muted::Next {
            self.muted = Muted::No;
        }
        muted != Muted::No
    }

    /// The command that was asked last.
    pub(crate) fn last_asked(&self) -> Option<CommandId> {
        self.asked.last()
    }

    /// Puts bytes that answer nothing behind all that is here. No reply is being written.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        assert_eq!(self.staged.len(), self.staged_bytes, "a push never stands within a reply");
        self.filled_bytes += bytes.len();
        self.segments.push_back(Segment::Push(bytes));
    }

    /// Bytes that wait here.
    pub(crate) fn held_bytes(&self) -> usize {
        self.staged_bytes + self.filled_bytes
    }

    /// Bytes that open holes are expected to bring.
    pub(crate) fn expected_bytes(&self) -> usize {
        self.expected_bytes
    }

    /// The first hole that is still open: all that comes after it waits for it.
    pub(crate) fn first_open_hole(&self) -> Option<u32> {
        self.segments.iter().find_map(|segment| match segment {
            Segment::Hole { id, filled: None, .. } => Some(*id),
            _ => None,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Puts the reply of hole `id` in its place; it may leave once the shard has released `gate`.
    pub(crate) fn fill(&mut self, id: u32, bytes: Bytes, gate: SeqNo) {
        assert!(!bytes.is_empty(), "a reply has bytes");
        let is_it =
            |segment: &Segment| matches!(segment, Segment::Hole { id: other, .. } if *other == id);
        let Some(place) = self.segments.iter().position(is_it) else {
            panic!("hole {id} is not open")
        };
        if is_error(&bytes) {
            self.errors.get_or_insert_default().count(&bytes);
            self.asked.failed(self.segments.range(..place).map(Segment::replies).sum());
        }
        let Segment::Hole { filled, muted, .. } = &mut self.segments[place] else {
            unreachable!("it was found as a hole")
        };
        assert!(filled.is_none(), "hole {id} is filled once");
        let bytes = if *muted { Bytes::new() } else { bytes };
        self.filled_bytes += bytes.len();
        *filled = Some((bytes, gate));
        self.open_holes -= 1;
        if self.open_holes == 0 {
            self.expected_bytes = 0;
        }
    }

    /// The number that the first segment waits for, if it is gated above `released`.
    pub(crate) fn gate(&self, released: SeqNo) -> Option<SeqNo> {
        match self.segments.front() {
            Some(Segment::Ready { gate, .. } | Segment::Hole { filled: Some((_, gate)), .. })
                if *gate > released =>
            {
                Some(*gate)
            }
            _ => None,
        }
    }

    /// Moves everything that may leave to `out`, in order. `with_pushes`: `out` is about to be sent; else they stay, shared,
    /// and so does what is behind them.
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>, released: SeqNo, with_pushes: bool) {
        let mut taken = 0;
        while let Some(front) = self.segments.front_mut() {
            match front {
                Segment::Ready { bytes, gate, .. } if *gate <= released => {
                    let bytes = *bytes;
                    self.asked.left(front.replies());
                    self.segments.pop_front();
                    if taken == 0 && self.segments.is_empty() && out.is_empty() {
                        // The common case: all of it leaves, without a copy.
                        assert_eq!(bytes, self.staged.len());
                        std::mem::swap(out, &mut self.staged);
                        self.staged_bytes = 0;
                        return;
                    }
                    out.extend_from_slice(&self.staged[taken..taken + bytes]);
                    taken += bytes;
                }
                Segment::Hole { filled: Some((bytes, gate)), .. } if *gate <= released => {
                    out.extend_from_slice(bytes);
                    self.filled_bytes -= bytes.len();
                    self.asked.left(1);
                    self.segments.pop_front();
                }
                Segment::Push(bytes)
                    if with_pushes
                        && (out.is_empty() || out.len() + bytes.len() <= PUSHES_PER_SEND_BYTES) =>
                {
                    out.extend_from_slice(bytes);
                    self.filled_bytes -= bytes.len();
                    self.segments.pop_front();
                }
                _ => break,
            }
        }
        if taken > 0 {
            self.staged.drain(..taken);
            self.staged_bytes -= taken;
        }
    }

    /// The shard failed: whatever waits for more than `released` becomes an error, one for each reply.
    pub(crate) fn fail_gated(&mut self, released: SeqNo, error: &str) {
        let mut rebuilt = Vec::with_capacity(self.staged.len());
        let (mut from, mut before) = (0, 0);
        for segment in &mut self.segments {
            let behind = before + segment.replies();
            if let Segment::Hole { filled: Some((bytes, gate)), muted, .. } = segment
                && *gate > released
            {
                self.asked.failed(before);
                let mut text = Vec::new();
                if !*muted {
                    writer::error(&mut text, error);
                }
                self.filled_bytes = self.filled_bytes - bytes.len() + text.len();
                (*bytes, *gate) = (text.into(), SeqNo(0));
            }
            if let Segment::Ready { bytes, replies, gate, muted } = segment {
                let rebuilt_before = rebuilt.len();
                if *gate > released {
                    for _ in 0..if *muted { 0 } else { *replies } {
                        writer::error(&mut rebuilt, error);
                    }
                    (before..behind).for_each(|reply| self.asked.failed(reply));
                    *gate = SeqNo(0);
                } else {
                    rebuilt.extend_from_slice(&self.staged[from..from + *bytes]);
                }
                from += *bytes;
                *bytes = rebuilt.len() - rebuilt_before;
            }
            before = behind;
        }
        assert_eq!(from, self.staged_bytes);
        self.staged_bytes = rebuilt.len();
        self.staged = rebuilt;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(replies: &mut Replies, text: &str, gate: u64) {
        replies.buffer().extend_from_slice(text.as_bytes());
        replies.done(SeqNo(gate));
    }

    fn drained(replies: &mut Replies, released: u64) -> String {
        let mut out = Vec::new();
        replies.drain(&mut out, SeqNo(released), true);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_leave_in_order_across_holes_and_gates() {
        let mut replies = Replies::default();
        push(&mut replies, "a", 0);
        let first = replies.hole(0);
        push(&mut replies, "c", 5);
        push(&mut replies, "d", 0);
        let second = replies.hole(0);
        assert_eq!(drained(&mut replies, 0), "a");
        assert_eq!((replies.held_bytes(), replies.first_open_hole()), (2, Some(first)));
        replies.fill(second, Bytes::from_static(b"e"), SeqNo(0));
        assert_eq!(drained(&mut replies, 9), "");
        assert_eq!((replies.held_bytes(), replies.first_open_hole()), (3, Some(first)));
        replies.fill(first, Bytes::from_static(b"b"), SeqNo(3));
        assert_eq!(drained(&mut replies, 2), "");
        assert_eq!(drained(&mut replies, 4), "b");
        assert_eq!(replies.gate(SeqNo(4)), Some(SeqNo(5)));
        assert_eq!(drained(&mut replies, 5), "cde");
        assert!(replies.is_empty() && !replies.has_open_holes());
        assert_eq!((replies.held_bytes(), replies.first_open_hole()), (0, None));
    }

    #[test]
    fn replies_that_leave_together_wait_for_the_last_of_them() {
        for (first, second) in [(3, 5), (5, 3)] {
            let mut replies = Replies::default();
            push(&mut replies, "a", first);
            push(&mut replies, "b", second);
            assert_eq!(drained(&mut replies, 4), "");
            assert_eq!(drained(&mut replies, 5), "ab");
        }
    }

    #[test]
    fn a_failed_shard_answers_each_gated_reply_with_an_error() {
        let mut replies = Replies::default();
        push(&mut replies, "+OK\r\n", 3);
        push(&mut replies, "+OK\r\n", 4);
        let hole = replies.hole(0);
        push(&mut replies, "+PONG\r\n", 0);
        let read = replies.hole(0);
        replies.fill(read, Bytes::from_static(b"$1\r\nv\r\n"), SeqNo(4));
        replies.fail_gated(SeqNo(2), "ERR gone");
        replies.fill(hole, Bytes::from_static(b":1\r\n"), SeqNo(0));
        let wanted = "-ERR gone\r\n-ERR gone\r\n:1\r\n+PONG\r\n-ERR gone\r\n";
        assert_eq!(drained(&mut replies, 2), wanted);
        assert_eq!(replies.held_bytes(), 0);
        assert_eq!(replies.tell(Duration::ZERO, &mut Tallies::default()), 3);
    }

    #[test]
    fn each_reply_is_counted_when_it_leaves_and_as_what_it_became() {
        let mut replies = Replies::default();
        let mut tallies = Tallies::default();
        let ask = |replies: &mut Replies, kind| replies.answering(Some(kind), Duration::ZERO);
        let told = |tallies: &Tallies| {
            [CommandId::Set, CommandId::Get, CommandId::Del].map(|kind| {
                let tally = tallies.of(kind);
                (tally.calls, tally.failed)
            })
        };
        ask(&mut replies, CommandId::Set);
        push(&mut replies, "+OK\r\n", 3);
        push(&mut replies, "-ERR full\r\n", 0);
        ask(&mut replies, CommandId::Get);
        let read = replies.hole(0);
        ask(&mut replies, CommandId::Set);
        push(&mut replies, "+OK\r\n", 0);
        push(&mut replies, "+OK\r\n", 0);
        ask(&mut replies, CommandId::Del);
        let count = replies.hole(0);
        push(&mut replies, ":1\r\n", 9);
        ask(&mut replies, CommandId::Get);
        push(&mut replies, "$1\r\nv\r\n", 9);
        drained(&mut replies, 2);
        assert!(!replies.has_left(), "all wait for the first");
        drained(&mut replies, 3);
        assert!(replies.has_left());
        // The two that left are told later than the sixth becomes an error: it is the sixth all the same.
        replies.fill(count, Bytes::from_static(b"-ERR broken\r\n"), SeqNo(0));
        assert_eq!(replies.tell(Duration::ZERO, &mut tallies), 1);
        assert_eq!(told(&tallies), [(2, 1), (0, 0), (0, 0)]);
        replies.fail_gated(SeqNo(3), "ERR gone");
        replies.fill(read, Bytes::from_static(b"$1\r\nv\r\n"), SeqNo(0));
        drained(&mut replies, 3);
        assert_eq!(replies.tell(Duration::ZERO, &mut tallies), 3);
        assert_eq!(told(&tallies), [(4, 1), (2, 1), (2, 2)]);
        assert!(replies.is_empty() && !replies.has_left());
    }

    #[test]
    fn a_push_stands_between_replies_and_waits_for_its_turn() {
        let mut replies = Replies::default();
        push(&mut replies, "a", 0);
        let hole = replies.hole(0);
        replies.push(Bytes::from_static(b"<1>"));
        push(&mut replies, "c", 0);
        replies.push(Bytes::from_static(b"<2>"));
        assert_eq!(drained(&mut replies, 0), "a");
        replies.fill(hole, Bytes::from_static(b"b"), SeqNo(0));
        let mut out = Vec::new();
        replies.drain(&mut out, SeqNo(0), false);
        assert_eq!(out, b"b", "shared until it is sent");
        assert_eq!(replies.held_bytes(), 7);
        assert_eq!(drained(&mut replies, 0), "<1>c<2>");
        assert!(replies.is_empty() && replies.held_bytes() == 0);
        let mut tallies = Tallies::default();
        assert_eq!(replies.tell(Duration::ZERO, &mut tallies), 0);
        // Of many only what one send should take.
        for _ in 0..3 {
            replies.push(Bytes::from(vec![b'x'; PUSHES_PER_SEND_BYTES / 2]));
        }
        assert_eq!(drained(&mut replies, 0).len(), PUSHES_PER_SEND_BYTES);
        assert_eq!(drained(&mut replies, 0).len(), PUSHES_PER_SEND_BYTES / 2);
    }

    #[test]
    fn a_muted_reply_leaves_without_bytes_and_is_counted() {
        let mut replies = Replies::default();
        replies.answering(Some(CommandId::Set), Duration::ZERO);
        push(&mut replies, "a", 0);
        replies.mute(Muted::All);
        push(&mut replies, "-ERR b\r\n", 3);
        let hole = replies.hole(0);
        push(&mut replies, "d", 7);
        replies.mute(Muted::No);
        push(&mut replies, "e", 0);
        replies.mute(Muted::Next);
        push(&mut replies, "not", 0);
        push(&mut replies, "f", 0);
        assert_eq!(drained(&mut replies, 2), "a");
        replies.fill(hole, Bytes::from_static(b"c"), SeqNo(0));
        replies.fail_gated(SeqNo(5), "ERR gone");
        assert_eq!(drained(&mut replies, 5), "ef");
        assert!(replies.is_empty() && replies.held_bytes() == 0);
        let mut tallies = Tallies::default();
        assert_eq!(replies.tell(Duration::ZERO, &mut tallies), 2);
        assert_eq!(tallies.of(CommandId::Set).calls, 7);
    }
}
