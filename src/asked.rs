//! What the replies of a connection that have not left answer: a byte for each, and when the commands came.
//!
//! Replies leave in the order of their commands, so a number of replies that left says which commands were answered.

use std::collections::VecDeque;
use std::time::Duration;

use crate::command::CommandId;
use crate::latency::Tallies;
use crate::limits::KINDS_KEPT;

/// A reply to no command that we know.
const NO_COMMAND: u16 = 0x7fff;
/// The reply is an error.
const FAILED: u16 = 0x8000;
/// CONFIG RESETSTAT, which did not fail.
#[expect(clippy::cast_possible_truncation, reason = "fewer than NO_COMMAND")]
const RESET: u16 = CommandId::ConfigResetstat.index() as u16;

const _: () = assert!(CommandId::COUNT < NO_COMMAND as usize);

/// Commands that came together.
#[derive(Debug)]
struct Batch {
    received_at: Duration,
    replies: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Which command, and whether it failed.
    kinds: VecDeque<u16>,
    batches: VecDeque<Batch>,
    /// Of the next reply.
    next_kind: Option<CommandId>,
    next_received_at: Duration,
    /// The first replies that have left and are not told yet.
    left: usize,
}

impl Asked {
    /// The next reply answers `kind`, which came at `received_at`.
    #[inline]
    pub(crate) fn next(&mut self, kind: Option<CommandId>, received_at: Duration) {
        self.next_kind = kind;
        self.next_received_at = received_at;
    }

    /// What the last reply answers.
    pub(crate) fn last(&self) -> Option<CommandId> {
        self.next_kind
    }

    /// A reply, or its place, was added.
    #[inline]
    pub(crate) fn added(&mut self, is_error: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "fewer than NO_COMMAND")]
        let kind = self.next_kind.map_or(NO_COMMAND, |kind| kind.index() as u16);
        self.kinds.push_back(if is_error { kind | FAILED } else { kind });
        let received_at = self.next_received_at;
        match self.batches.back_mut() {
            Some(batch) if batch.received_at == received_at => batch.replies += 1,
            _ => self.batches.push_back(Batch { received_at, replies: 1 }),
        }
    }

    /// The reply with so many before it that have not left became an error.
    #[cold]
    pub(crate) fn failed(&mut self, behind: usize) {
        self.kinds[self.left + behind] |= FAILED;
    }

    /// The first `replies` of those that had not left did.
    pub(crate) fn left(&mut self, replies: usize) {
        self.left += replies;
    }

    /// Whether some have left that are not told.
    pub(crate) fn has_left(&self) -> bool {
        self.left > 0
    }

    /// Counts those that have left by `now`: once for each run of one kind among those that came together. What stood before a
    /// CONFIG RESETSTAT in its pipeline is not counted, as in Redis. Answers how many of them were errors.
    pub(crate) fn tell(&mut self, now: Duration, tallies: &mut Tallies) -> u64 {
        let mut errors = 0;
        while self.left > 0 {
            let Some(batch) = self.batches.front_mut() else {
                unreachable!("every reply is of a batch")
            };
            let count = self.left.min(batch.replies);
            let latency = now.saturating_sub(batch.received_at);
            batch.replies -= count;
            if batch.replies == 0 {
                self.batches.pop_front();
            }
            self.left -= count;
            let mut run = (NO_COMMAND, 0);
            for kind in self.kinds.drain(..count) {
                if kind == RESET {
                    tallies.begin_anew();
                    run = (RESET, 1);
                    continue;
                }
                let index = kind & !FAILED;
                if kind & FAILED != 0 {
                    errors += 1;
                    if index != NO_COMMAND {
                        tallies.failed(usize::from(index));
                    }
                }
                if run.0 == index {
                    run.1 += 1;
                } else {
                    count_run(std::mem::replace(&mut run, (index, 1)), latency, tallies);
                }
            }
            count_run(run, latency, tallies);
        }
        if self.kinds.is_empty() && self.kinds.capacity() > KINDS_KEPT {
            self.kinds = VecDeque::new();
        }
        errors
    }
}

/// Counts replies of one kind that stood one behind the other.
fn count_run((kind, replies): (u16, u64), latency: Duration, tallies: &mut Tallies) {
    if kind != NO_COMMAND && replies > 0 {
        tallies.answered(usize::from(kind), replies, latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn counts(tallies: &Tallies, id: CommandId) -> (u64, u64, u64) {
        let tally = tallies.of(id);
        (tally.calls, tally.failed, tally.total_ns / 1000)
    }

    #[test]
    fn what_leaves_is_counted_by_kind_from_when_it_came() {
        let (mut asked, mut tallies) = (Asked::default(), Tallies::default());
        let (get, set) = (CommandId::Get, CommandId::Set);
        for (kind, at, is_error) in [
            (Some(get), 10, false),
            (Some(set), 10, false),
            (Some(get), 10, true),
            (None, 10, true),
            (Some(set), 30, false),
            (Some(get), 30, false),
        ] {
            asked.next(kind, us(at));
            asked.added(is_error);
        }
        assert!(!asked.has_left());
        asked.left(2);
        assert!(asked.has_left());
        assert_eq!(asked.tell(us(100), &mut tallies), 0);
        assert_eq!(counts(&tallies, get), (1, 0, 90));
        assert_eq!(counts(&tallies, set), (1, 0, 90));
        // Two of the first batch and one of the second, the last of which failed later.
        asked.failed(2);
        asked.left(3);
        assert_eq!(asked.tell(us(200), &mut tallies), 3);
        assert_eq!(counts(&tallies, get), (2, 1, 90 + 190));
        assert_eq!(counts(&tallies, set), (2, 1, 90 + 170));
        asked.left(1);
        assert_eq!(asked.tell(us(1030), &mut tallies), 0);
        assert_eq!(counts(&tallies, get), (3, 1, 90 + 190 + 1000));
        assert!(asked.kinds.is_empty() && asked.batches.is_empty() && !asked.has_left());
    }

    #[test]
    fn what_stands_before_a_reset_is_not_counted() {
        let (mut asked, mut tallies) = (Asked::default(), Tallies::default());
        let (get, set, reset) = (CommandId::Get, CommandId::Set, CommandId::ConfigResetstat);
        tallies.track(false);
        for (kind, at, is_error) in [
            (set, 10, false),
            (get, 20, false),
            (reset, 20, false),
            (reset, 20, false),
            (get, 20, true),
            (get, 20, false),
            (reset, 20, true),
        ] {
            asked.next(Some(kind), us(at));
            asked.added(is_error);
        }
        asked.left(7);
        assert_eq!(asked.tell(us(100), &mut tallies), 2);
        assert_eq!(counts(&tallies, set), (0, 0, 0));
        assert_eq!(counts(&tallies, get), (2, 1, 160));
        assert_eq!(
            counts(&tallies, reset),
            (2, 1, 160),
            "the last that reset, and the one that failed"
        );
        assert_eq!(tallies.of(get).latencies, None, "nobody wants them, as before");
    }

    #[test]
    fn the_memory_of_a_long_pipeline_is_given_back() {
        let mut asked = Asked::default();
        (0..KINDS_KEPT * 2).for_each(|_| asked.added(false));
        asked.left(KINDS_KEPT * 2);
        asked.tell(us(1), &mut Tallies::default());
        assert_eq!(asked.kinds.capacity(), 0);
    }
}
