//! What one thread has seen: latencies by kind and by second, errors, values that are not what they should be.

use std::sync::mpsc::Sender;

use hdrhistogram::Histogram;

use crate::limits::{ERROR_WORDS_MAX, LATENCY_NS_MAX, LATENCY_NS_MIN};
use crate::workload::Kind;

const SECOND_NS: u64 = 1_000_000_000;
/// Significant digits of every histogram.
const DIGITS: u8 = 3;
/// Where errors are counted whose first word came too late for a row of its own.
const OTHER_WORDS: &str = "(others)";

/// An empty histogram of nanoseconds.
pub(crate) fn histogram<C: hdrhistogram::Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS)
        .expect("bounds that a histogram can have")
}

/// Errors of one first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorWord {
    pub(crate) word: String,
    pub(crate) count: u64,
    pub(crate) first: String,
}

/// Errors by their first word.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errors(pub(crate) Vec<ErrorWord>);

impl Errors {
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|error| error.count).sum()
    }

    fn add(&mut self, line: &[u8]) {
        let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let word = &line[..end];
        if let Some(known) = self.0.iter_mut().find(|error| error.word.as_bytes() == word) {
            known.count += 1;
            return;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.merge_one(ErrorWord { word: text(word), count: 1, first: text(line) });
    }

    fn merge_one(&mut self, other: ErrorWord) {
        let is_full = self.0.len() >= ERROR_WORDS_MAX - 1;
        let is_known = self.0.iter().any(|error| error.word == other.word);
        let word = if is_full && !is_known { OTHER_WORDS.to_owned() } else { other.word };
        match self.0.iter_mut().find(|error| error.word == word) {
            Some(known) => known.count += other.count,
            None => self.0.push(ErrorWord { word, ..other }),
        }
    }
}

/// What happened within one second.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) thread: usize,
    /// Seconds since the end of the warm-up.
    pub(crate) index: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// The longest time without an answer that ended in it, while some were due.
    pub(crate) gap_ns: u64,
    pub(crate) latencies: Histogram<u32>,
}

impl Second {
    pub(crate) fn new(thread: usize, index: u64) -> Self {
        Self { thread, index, requests: 0, errors: 0, gap_ns: 0, latencies: histogram() }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        assert_eq!(self.index, other.index);
        self.requests += other.requests;
        self.errors += other.errors;
        self.gap_ns = self.gap_ns.max(other.gap_ns);
        add(&mut self.latencies, &other.latencies);
    }
}

fn add<C: hdrhistogram::Counter>(to: &mut Histogram<C>, from: &Histogram<C>) {
    to.add(from).expect("histograms of the same bounds");
}

/// Answers that say which values are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// Values compared with their keys (`--verify`).
    pub(crate) compared: u64,
    /// Values of another key.
    pub(crate) wrong: u64,
    /// Keys that were loaded or inserted, and have no value.
    pub(crate) missing: u64,
    /// Values of keys that nobody wrote.
    pub(crate) unexpected: u64,
    /// The first of these.
    pub(crate) first: Option<String>,
}

impl Checks {
    pub(crate) fn faults(&self) -> u64 {
        self.wrong + self.missing + self.unexpected
    }

    fn merge(&mut self, other: Self) {
        self.compared += other.compared;
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.first = self.first.take().or(other.first);
    }
}

/// What one thread has seen, and after `merge` all of them.
#[derive(Debug)]
pub(crate) struct Tally {
    measured_from_ns: u64,
    kinds: [Option<Box<Histogram<u64>>>; Kind::ALL.len()],
    /// How much later than it could a request was encoded: the generator's own slowness.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) errors: Errors,
    pub(crate) checks: Checks,
    /// Answered requests that were due before the end of the warm-up.
    pub(crate) warmup_requests: u64,
    /// Requests that were due while their client had as many under way as it may.
    pub(crate) held_back: u64,
    /// Requests that had no answer when the run was given up; their latencies are recorded as what they were until then.
    pub(crate) unanswered: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// The longest time without an answer while some were due.
    pub(crate) gap_ns: u64,
    /// The moment of the last answer that counts.
    pub(crate) last_answer_ns: u64,
    second: Second,
    seconds: Option<Sender<Second>>,
}

impl Tally {
    /// Of thread `thread`, which hands its seconds over to `seconds` as they pass.
    pub(crate) fn new(
        measured_from_ns: u64,
        thread: usize,
        seconds: Option<Sender<Second>>,
    ) -> Self {
        Self {
            measured_from_ns,
            kinds: [const { None }; Kind::ALL.len()],
            lateness: histogram(),
            errors: Errors::default(),
            checks: Checks::default(),
            warmup_requests: 0,
            held_back: 0,
            unanswered: 0,
            sent_bytes: 0,
            received_bytes: 0,
            gap_ns: 0,
            last_answer_ns: 0,
            second: Second::new(thread, 0),
            seconds,
        }
    }

    pub(crate) fn latencies(&self) -> impl Iterator<Item = (Kind, &Histogram<u64>)> {
        let filled = Kind::ALL.into_iter().zip(&self.kinds);
        filled.filter_map(|(kind, latencies)| Some((kind, latencies.as_deref()?)))
    }

    /// An answered request that was due at `intended_ns`.
    pub(crate) fn answered(&mut self, kind: Kind, intended_ns: u64, now_ns: u64) {
        if intended_ns < self.measured_from_ns {
            self.warmup_requests += 1;
            return;
        }
        let latency_ns = now_ns.saturating_sub(intended_ns);
        let latencies = self.kinds[kind as usize].get_or_insert_with(|| Box::new(histogram()));
        latencies.saturating_record(latency_ns);
        self.last_answer_ns = self.last_answer_ns.max(now_ns);
        let second = self.second_of(now_ns);
        second.requests += 1;
        second.latencies.saturating_record(latency_ns);
    }

    /// A request that the server refused: no latency, since a refusal is fast.
    pub(crate) fn refused(&mut self, line: &[u8], intended_ns: u64, now_ns: u64) {
        self.errors.add(line);
        if intended_ns >= self.measured_from_ns {
            self.last_answer_ns = self.last_answer_ns.max(now_ns);
            self.second_of(now_ns).errors += 1;
        }
    }

    /// A request that is given up: its latency is at least this.
    pub(crate) fn gave_up(&mut self, kind: Kind, intended_ns: u64, now_ns: u64) {
        if intended_ns >= self.measured_from_ns {
            self.unanswered += 1;
            let latencies = self.kinds[kind as usize].get_or_insert_with(|| Box::new(histogram()));
            latencies.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// An answer has come, after so long without any while some were due.
    pub(crate) fn heard_after(&mut self, gap_ns: u64, now_ns: u64) {
        if now_ns < self.measured_from_ns {
            return;
        }
        self.gap_ns = self.gap_ns.max(gap_ns);
        let second = self.second_of(now_ns);
        second.gap_ns = second.gap_ns.max(gap_ns);
    }

    /// A request that could have been sent at `possible_ns` is sent now.
    pub(crate) fn sent(&mut self, possible_ns: u64, now_ns: u64) {
        if possible_ns >= self.measured_from_ns {
            self.lateness.saturating_record(now_ns.saturating_sub(possible_ns));
        }
    }

    fn second_of(&mut self, now_ns: u64) -> &mut Second {
        let index = now_ns.saturating_sub(self.measured_from_ns) / SECOND_NS;
        if index != self.second.index {
            let thread = self.second.thread;
            self.hand_over(Second::new(thread, index));
        }
        &mut self.second
    }

    fn hand_over(&mut self, next: Second) {
        let done = std::mem::replace(&mut self.second, next);
        if let Some(seconds) = &self.seconds {
            // Nobody listens any more only when the run is being given up.
            let _ = seconds.send(done);
        }
    }

    /// Nothing more will come.
    pub(crate) fn finish(&mut self) {
        self.hand_over(Second::new(0, u64::MAX));
        self.seconds = None;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.kinds.iter_mut().zip(other.kinds) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(mine), Some(theirs)) => add(mine, &theirs),
                (mine @ None, theirs) => *mine = theirs,
            }
        }
        add(&mut self.lateness, &other.lateness);
        for error in other.errors.0 {
            self.errors.merge_one(error);
        }
        self.checks.merge(other.checks);
        self.warmup_requests += other.warmup_requests;
        self.held_back += other.held_back;
        self.unanswered += other.unanswered;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.gap_ns = self.gap_ns.max(other.gap_ns);
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_their_first_word_and_stay_few() {
        let mut tally = Tally::new(0, 0, None);
        for number in 0..100 {
            tally.refused(b"ERR one", 0, number);
            tally.refused(b"ERR two", 0, number);
            tally.refused(format!("W{number} x").as_bytes(), 0, number);
        }
        let errors = &tally.errors.0;
        assert_eq!(
            errors[0],
            ErrorWord { word: "ERR".into(), count: 200, first: "ERR one".into() }
        );
        assert_eq!(errors.len(), ERROR_WORDS_MAX);
        assert_eq!(errors[ERROR_WORDS_MAX - 1].word, OTHER_WORDS);
        assert_eq!(tally.errors.count(), 300);
        assert_eq!(tally.latencies().count(), 0);
    }

    #[test]
    fn a_second_has_what_was_answered_in_it() {
        let (sender, seconds) = std::sync::mpsc::channel();
        let mut tally = Tally::new(SECOND_NS, 0, Some(sender));
        tally.answered(Kind::Get, SECOND_NS - 1, SECOND_NS + 5);
        tally.answered(Kind::Get, SECOND_NS, SECOND_NS + 5);
        tally.answered(Kind::Set, SECOND_NS, 3 * SECOND_NS);
        tally.refused(b"ERR", 3 * SECOND_NS, 3 * SECOND_NS);
        tally.finish();
        let rows: Vec<(u64, u64, u64)> =
            seconds.iter().map(|second| (second.index, second.requests, second.errors)).collect();
        assert_eq!(rows, [(0, 1, 0), (2, 1, 1)]);
        assert_eq!(tally.warmup_requests, 1);
    }

    #[test]
    fn a_gap_belongs_to_the_second_in_which_it_ended() {
        let (sender, seconds) = std::sync::mpsc::channel();
        let mut tally = Tally::new(SECOND_NS, 0, Some(sender));
        tally.heard_after(9_000, SECOND_NS - 1);
        tally.heard_after(7_000, SECOND_NS + 7_000);
        tally.heard_after(5_000, SECOND_NS + 20_000);
        tally.heard_after(3 * SECOND_NS, 4 * SECOND_NS + 20_000);
        tally.finish();
        let rows: Vec<(u64, u64)> =
            seconds.iter().map(|second| (second.index, second.gap_ns)).collect();
        assert_eq!(rows, [(0, 7_000), (3, 3 * SECOND_NS)]);
        assert_eq!(tally.gap_ns, 3 * SECOND_NS);
    }

    #[test]
    fn threads_are_added_up() {
        let mut all = Tally::new(0, 0, None);
        for thread in 1..=3 {
            let mut tally = Tally::new(0, 0, None);
            tally.answered(Kind::Get, 0, thread * 1_000_000);
            tally.refused(b"ERR x", 0, 0);
            tally.sent(5, 10);
            tally.gap_ns = thread;
            all.merge(tally);
        }
        let (kind, latencies) = all.latencies().next().unwrap();
        assert_eq!((kind, latencies.len(), all.errors.count()), (Kind::Get, 3, 3));
        assert!(latencies.max() >= 3_000_000);
        assert_eq!((all.gap_ns, all.lateness.len()), (3, 3));
    }
}
