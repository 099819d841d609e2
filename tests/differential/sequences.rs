//! Generated sequences, RESP2 and RESP3, one shard and two.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::episode::{self, Difference, Protocol};
use crate::generate::{Step, sequence};
use crate::report::{Counts, explain};
use crate::servers::Pair;
use crate::shrink::shrink;
use crate::wire::{Command, show};

/// Commands of one sequence: enough for states to build up, few enough to be shrunk.
const LENGTH: usize = 1000;
/// Commands for each protocol in an ordinary test.
const COMMANDS: usize = 20_000;
const SEED: u64 = 1;
/// After so many differences the rest would say nothing new.
const FAILURES_MAX: usize = 300;
/// A known command may differ in many ways: so many kinds are shrunk and shown.
const KINDS_MAX: usize = 60;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is not a number")))
}

fn compare(protocol: Protocol) {
    let seed = from_environment("DIFF_SEED").unwrap_or(SEED);
    let commands = from_environment("DIFF_COMMANDS")
        .map_or(COMMANDS, |commands| usize::try_from(commands).unwrap());
    let mut failed = Vec::new();
    for shards in [1, 2] {
        let Some(pair) = Pair::start(shards) else { return };
        let mut run = Run::new(pair, protocol, shards);
        let sequences = (commands / 2).div_ceil(LENGTH);
        for number in 0..sequences {
            // The seed of a failure is that of its sequence: it comes again as the first of its run.
            run.sequence(seed + number as u64);
            if run.failures >= FAILURES_MAX {
                break;
            }
        }
        let summary = run.counts.summary(run.failures);
        let lacking = run.pair.lacking_count();
        eprintln!(
            "{protocol:?}, {shards} shards: {summary}\n  ({lacking} names of Redis' COMMAND in all)"
        );
        if run.failures > 0 {
            failed.push(format!("{shards} shards:\n{}", run.explained()));
        }
    }
    assert!(failed.is_empty(), "{protocol:?} differs from Redis\n{}", failed.join("\n"));
}

/// Sequences against one pair of servers.
struct Run {
    pair: Pair,
    protocol: Protocol,
    shards: u32,
    counts: Counts,
    failures: usize,
    /// How often a kind of difference came, and its first case.
    kinds: BTreeMap<String, (usize, String)>,
}

impl Run {
    fn new(pair: Pair, protocol: Protocol, shards: u32) -> Self {
        let kinds = BTreeMap::new();
        Self { pair, protocol, shards, counts: Counts::default(), failures: 0, kinds }
    }

    fn sequence(&mut self, seed: u64) {
        let mut steps = sequence(seed, LENGTH);
        steps.retain(|step| match self.pair.lacks(&step.words) {
            None => true,
            Some(name) => {
                *self.counts.lacking.entry(name).or_default() += 1;
                false
            }
        });
        let mut cuts = Dice::new(!seed);
        // Behind a difference nothing would be the same: what is left of the sequence begins anew, without keys.
        let mut rest = steps.as_slice();
        while let Err(difference) =
            episode::run(&self.pair, rest, self.protocol, Some(&mut cuts), &mut self.counts)
        {
            self.failures += 1;
            self.note(seed, rest, &difference);
            rest = &rest[difference.index + 1..];
            if self.failures >= FAILURES_MAX {
                break;
            }
        }
    }

    /// Shrinks a difference, unless its like is known already.
    fn note(&mut self, seed: u64, steps: &[Step], difference: &Difference) {
        let kind = kind(&steps[difference.index].words, difference);
        if let Some((count, _)) = self.kinds.get_mut(&kind) {
            *count += 1;
            return;
        }
        if self.kinds.len() >= KINDS_MAX {
            return;
        }
        let mut smallest = difference.clone();
        let mut again = |part: &[Step]| {
            let mut counts = Counts::default();
            let ran = episode::run(&self.pair, part, self.protocol, None, &mut counts);
            ran.err().inspect(|difference| smallest = difference.clone()).is_some()
        };
        let prefix = &steps[..=difference.index];
        let comes_again = again(prefix);
        let shrunk = if comes_again { shrink(prefix, again) } else { prefix.to_vec() };
        let header = format!(
            "DIFF_SEED={seed} ({:?}, {} shards), command {}\n",
            self.protocol, self.shards, difference.index
        );
        let text = header + &explain(&shrunk, &smallest, comes_again);
        self.kinds.insert(kind, (1, text));
    }

    fn explained(&self) -> String {
        let kinds = self.kinds.values().map(|(count, text)| format!("[{count} times] {text}"));
        kinds.collect::<Vec<_>>().join("\n")
    }
}

/// What differences have in common: the command, and how both replies begin, numbers left out.
fn kind(words: &Command, difference: &Difference) -> String {
    let begin = |reply: &[u8]| -> String {
        let text = show(reply);
        let digits = text.chars().filter(|c| !c.is_ascii_digit());
        digits.take(if text.starts_with('-') { 40 } else { 1 }).collect()
    };
    let name = show(&words[0]).to_ascii_lowercase();
    format!("{name} {} {}", begin(&difference.theirs), begin(&difference.ours))
}

#[test]
fn generated_sequences_answer_as_redis_does_resp2() {
    compare(Protocol::Resp2);
}

#[test]
fn generated_sequences_answer_as_redis_does_resp3() {
    compare(Protocol::Resp3);
}
