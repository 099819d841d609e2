//! What a core asks of all cores for one command: who listens, whose connections there are, what was slow.
//!
//! The core of the connection answers itself at once, sends the same question to the others, and leaves a hole in the replies; each
//! core answers in the pass in which the question comes. The answers are put together when the last one is here.
//!
//! # Invariants
//! - Nobody waits: a question is answered in the pass that takes it, from what the core has in memory.
//! - A connection has at most one question under way, PUBLISH aside: `worker` runs no other command of it meanwhile.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::clients::ClientFilter;
use crate::pubsub::{Kind, Published};
use crate::series::AllSeries;
use crate::slab::Key;
use crate::slowlog::Slow;
use crate::worker::SlowNote;

/// A question.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// Send this to your subscribers; how many were there? -> `Count`
    Publish(Published),
    /// Names of this kind that someone listens to, and that match the pattern. -> `Names`
    Names(Kind, Option<Bytes>),
    /// How many listen to each of these? -> `Counts`
    Listeners(Kind, Vec<Bytes>),
    /// The connections that are meant. -> `Lines`
    Clients(Arc<ClientFilter>),
    /// Close the connections that are meant, this one once it has its reply; how many are they? -> `Count`
    Kill(Arc<ClientFilter>, u64),
    /// Hold back the commands that write, or all. -> `Count`
    Pause { millis: u64, all: bool },
    /// Let them go on. -> `Count`
    Unpause,
    /// The newest slow commands, at most so many. -> `Slow`
    Slowest(usize),
    /// How many slow commands are kept? -> `Count`
    SlowCount,
    /// Forget them. -> `Count`
    ForgetSlow,
    /// A command of this connection of yours took long.
    NoteSlow(Key, Box<SlowNote>),
    /// What was slow when. -> `Series`
    Series,
    /// Forget those named, or all and the histograms; which were there? -> `Names`
    ForgetSeries(Arc<[Vec<u8>]>),
    /// Lines for your monitors.
    Monitored(Bytes),
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Count(u64),
    Counts(Vec<u64>),
    Names(Vec<Bytes>),
    /// By number.
    Lines(Vec<(u64, String)>),
    Slow(Vec<Slow>),
    Series(Box<AllSeries>),
}

/// Makes the reply of all answers. They come in any order.
pub(crate) type Finish = Box<dyn FnOnce(Vec<Answer>) -> Vec<u8>>;

struct UnderWay {
    hole: u32,
    open: usize,
    answers: Vec<Answer>,
    is_publish: bool,
    finish: Finish,
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UnderWay")
            .field("hole", &self.hole)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// The questions of one connection.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    under_way: Vec<UnderWay>,
    publishes: u32,
}

impl Asks {
    /// `open` answers will come for `hole`, beside `first`.
    pub(crate) fn begin(
        &mut self,
        hole: u32,
        open: usize,
        first: Answer,
        is_publish: bool,
        finish: Finish,
    ) {
        assert!(open > 0);
        self.publishes += u32::from(is_publish);
        self.under_way.push(UnderWay { hole, open, answers: vec![first], is_publish, finish });
    }

    /// Messages that other cores have not confirmed yet: holes that no other command has to wait for but in its order.
    pub(crate) fn publishes(&self) -> u32 {
        self.publishes
    }

    /// Takes an answer for `hole`; the reply, once it is the last.
    pub(crate) fn take(&mut self, hole: u32, answer: Answer) -> Option<Vec<u8>> {
        let is_it = |ask: &UnderWay| ask.hole == hole;
        let Some(index) = self.under_way.iter().position(is_it) else {
            unreachable!("an answer was asked for")
        };
        let ask = &mut self.under_way[index];
        ask.answers.push(answer);
        ask.open -= 1;
        if ask.open > 0 {
            return None;
        }
        let UnderWay { answers, is_publish, finish, .. } = self.under_way.remove(index);
        self.publishes -= u32::from(is_publish);
        Some(finish(answers))
    }
}

/// The sum of counts.
pub(crate) fn sum(answers: Vec<Answer>) -> u64 {
    let counts = answers.into_iter().map(|answer| match answer {
        Answer::Count(count) => count,
        other => unreachable!("a count was asked for: {other:?}"),
    });
    counts.sum()
}

/// The sums of counts, place by place.
pub(crate) fn sums(answers: Vec<Answer>) -> Vec<u64> {
    let mut sums: Vec<u64> = Vec::new();
    for answer in answers {
        let Answer::Counts(counts) = answer else { unreachable!("counts were asked for") };
        sums.resize(counts.len(), 0);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// All names, each once.
pub(crate) fn union(answers: Vec<Answer>) -> Vec<Bytes> {
    let mut names = Vec::new();
    for answer in answers {
        let Answer::Names(some) = answer else { unreachable!("names were asked for") };
        names.extend(some);
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// All slow commands, in no order.
pub(crate) fn slowest(answers: Vec<Answer>) -> Vec<Slow> {
    let each = answers.into_iter().flat_map(|answer| match answer {
        Answer::Slow(some) => some,
        other => unreachable!("slow commands were asked for: {other:?}"),
    });
    each.collect()
}

/// All lines, in the order of their numbers.
pub(crate) fn lines(answers: Vec<Answer>) -> String {
    let mut lines = Vec::new();
    for answer in answers {
        let Answer::Lines(some) = answer else { unreachable!("lines were asked for") };
        lines.extend(some);
    }
    lines.sort_unstable_by_key(|(number, _)| *number);
    lines.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(answers: Vec<Answer>) -> Vec<u8> {
        sum(answers).to_string().into_bytes()
    }

    #[test]
    fn the_last_answer_brings_the_reply() {
        let mut asks = Asks::default();
        asks.begin(7, 2, Answer::Count(1), true, Box::new(counted));
        asks.begin(9, 1, Answer::Count(5), false, Box::new(counted));
        assert_eq!(asks.publishes(), 1);
        assert_eq!(asks.take(7, Answer::Count(10)), None);
        assert_eq!(asks.take(9, Answer::Count(0)).as_deref(), Some(&b"5"[..]));
        assert_eq!(asks.take(7, Answer::Count(100)).as_deref(), Some(&b"111"[..]));
        assert_eq!(asks.publishes(), 0);
    }

    #[test]
    fn answers_are_put_together() {
        let counts = vec![Answer::Counts(vec![1, 0]), Answer::Counts(vec![2, 5])];
        assert_eq!(sums(counts), [3, 5]);
        let names =
            [["b", "a"], ["c", "a"]].map(|names| Answer::Names(names.map(Bytes::from).to_vec()));
        assert_eq!(union(names.into()), ["a", "b", "c"]);
    }
}
