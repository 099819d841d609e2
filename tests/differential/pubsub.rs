//! Subscribers and publishers, one command at a time: after each, every connection is asked for what reached it.
//!
//! A PING with a text of its own ends what a connection has received: it is answered in every state, and behind what was
//! published before. What Redis takes from a hash table has no order: several patterns that one message matches, and the
//! channels that an UNSUBSCRIBE without names leaves.

use crate::common::skip;
use crate::compare::same;
use crate::dice::Dice;
use crate::episode::{Difference, Protocol};
use crate::generate::Step;
use crate::known;
use crate::report::explain;
use crate::servers::Pair;
use crate::shrink::shrink;
use crate::wire::{Command, Wire, elements, string};

const CONNECTIONS: usize = 3;
/// Commands of one sequence, and sequences.
const LENGTH: usize = 120;
const SEQUENCES: u64 = 12;

/// None is empty: no pattern but the empty one matches that in Redis, where `*` does here.
const CHANNELS: &[&str] = &["news", "news.art", "other", "\r\n", "n\0\x7f", "a{t}", "b{t}"];
const PATTERNS: &[&str] = &["*", "news*", "n?ws", "[a-n]*", "other", "", "news.*", "\\*"];
const LINES: &[&str] = &[
    "PUBLISH channel text",
    "PUBLISH channel text",
    "PUBLISH channel text",
    "PUBLISH channel text",
    "SUBSCRIBE channel",
    "SUBSCRIBE channel channel channel",
    "PSUBSCRIBE pattern",
    "PSUBSCRIBE pattern pattern",
    "UNSUBSCRIBE channel",
    "UNSUBSCRIBE channel channel",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE pattern",
    "PUNSUBSCRIBE",
    "PUBSUB CHANNELS",
    "PUBSUB CHANNELS pattern",
    "PUBSUB NUMSUB channel channel",
    "PUBSUB NUMSUB",
    "PUBSUB NUMPAT",
    "PUBSUB NOSUCH",
    "PUBSUB",
    "PUBLISH channel",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "PING",
    "PING text",
    "PING text text",
    "GET channel",
    "SET channel text",
    "ECHO text",
    "SELECT 0",
    "MULTI",
    "DISCARD",
    "NOSUCH text",
    "CLIENT GETNAME",
    "RESET",
    "SSUBSCRIBE channel",
    "SUNSUBSCRIBE channel",
    "SPUBLISH channel text",
    "PUBSUB SHARDCHANNELS",
    "PUBSUB SHARDNUMSUB channel",
];

fn sequence(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut steps = Vec::new();
    // A MULTI would queue the PING that ends each step: it is closed at once.
    while steps.len() < LENGTH {
        let connection = dice.below(CONNECTIONS);
        let line = dice.pick(LINES);
        let word = |part: &str| match part {
            "channel" => dice.pick(CHANNELS).into(),
            "pattern" => dice.pick(PATTERNS).into(),
            "text" => dice.pick(&["hello", "", "\r\n", "+OK\r\n", "\0"]).into(),
            _ => part.into(),
        };
        let words: Command = line.split(' ').map(word).collect();
        if words[0] != b"MULTI" {
            steps.push(Step { connection, words });
        }
    }
    steps
}

/// What reached each connection, frame by frame.
type Heard = Vec<Vec<Vec<u8>>>;

/// One server's side.
struct Side(Vec<Wire>);

impl Side {
    fn open(port: u16, protocol: Protocol) -> Self {
        let open = |_| {
            let mut wire = Wire::connect(port).unwrap();
            if protocol == Protocol::Resp3 {
                wire.ask(&["HELLO", "3"]).unwrap();
            }
            wire
        };
        Self((0..CONNECTIONS).map(open).collect())
    }

    fn step(&mut self, step: &Step, number: usize) -> Result<Heard, String> {
        let mark = format!("end-of-step-{number}").into_bytes();
        let said = |error: std::io::Error| format!("<{error}>");
        self.0[step.connection].send(&crate::common::encode(&step.words)).map_err(said)?;
        let mut heard = vec![Vec::new(); CONNECTIONS];
        // First the one that caused it: what the others hear is on its way once it has its answer.
        let others = (0..CONNECTIONS).filter(|&other| other != step.connection);
        for at in std::iter::once(step.connection).chain(others) {
            self.0[at].send(&crate::common::encode(&[b"PING", mark.as_slice()])).map_err(said)?;
            loop {
                let frame = self.0[at].reply().map_err(said)?;
                let last = elements(&frame).and_then(|parts| parts.last().copied());
                if string(last.unwrap_or(&frame)) == Some(mark.as_slice()) {
                    break;
                }
                heard[at].push(frame);
            }
        }
        Ok(heard)
    }
}

fn run(pair: &Pair, steps: &[Step], protocol: Protocol) -> Result<(), Difference> {
    pair.erase();
    let mut redis = Side::open(pair.redis_port(), protocol);
    let mut ours = Side::open(pair.our_port(), protocol);
    for (index, step) in steps.iter().enumerate() {
        let theirs = redis.step(step, index).unwrap();
        let ours = ours.step(step, index);
        if !ours.as_ref().is_ok_and(|ours| alike(step, &theirs, ours)) {
            let ours = ours.map_or_else(String::into_bytes, |heard| flat(&heard));
            return Err(Difference { index, theirs: flat(&theirs), ours });
        }
    }
    Ok(())
}

/// All that was heard, for a reader: each connection's number, then its frames.
fn flat(heard: &Heard) -> Vec<u8> {
    let heard = heard.iter().enumerate().filter(|(_, frames)| !frames.is_empty());
    heard
        .flat_map(|(at, frames)| [format!(" [{at}] ").into_bytes(), frames.concat()].concat())
        .collect()
}

fn alike(step: &Step, theirs: &Heard, ours: &Heard) -> bool {
    (0..CONNECTIONS).all(|at| {
        let (theirs, ours) = (ordered(step, &theirs[at]), ordered(step, &ours[at]));
        let replies = theirs.iter().zip(&ours);
        theirs.len() == ours.len()
            && replies.into_iter().all(|(theirs, ours)| {
                same(&step.words, &[], theirs, ours)
                    || known::find(&step.words, &[], theirs, ours).is_some()
            })
    })
}

/// Frames in an order that says something: as they came, but for what has none.
fn ordered(step: &Step, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut frames = frames.to_vec();
    let leaves_all = step.words.len() == 1 && step.words[0].ends_with(b"UNSUBSCRIBE");
    if leaves_all {
        // Which channel goes first is chance, the count that is left is not.
        let split = |frame: &Vec<u8>| {
            let parts = elements(frame).unwrap_or_default();
            let (name, count) = parts.split_at(parts.len().saturating_sub(1));
            (name.concat(), count.concat())
        };
        let (mut names, counts): (Vec<_>, Vec<_>) = frames.iter().map(split).unzip();
        names.sort_unstable();
        return [names, counts].concat();
    }
    if step.words[0].ends_with(b"PUBLISH") {
        frames.sort_unstable();
    }
    frames
}

fn compare(protocol: Protocol) {
    let mut failed = Vec::new();
    for shards in [1, 2] {
        let Some(pair) = Pair::start(shards) else { return };
        if pair.lacks(&vec![b"subscribe".to_vec()]).is_some() {
            skip("there is no SUBSCRIBE yet");
            return;
        }
        let mut compared = 0;
        for seed in 1..=SEQUENCES {
            let mut steps = sequence(seed);
            steps.retain(|step| pair.lacks(&step.words).is_none());
            compared += steps.len();
            let Err(difference) = run(&pair, &steps, protocol) else { continue };
            let mut smallest = difference.clone();
            let shrunk = shrink(&steps[..=difference.index], |part| {
                run(&pair, part, protocol)
                    .err()
                    .inspect(|difference| smallest = difference.clone())
                    .is_some()
            });
            let text = explain(&shrunk, &smallest, true);
            failed.push(format!("seed {seed} ({protocol:?}, {shards} shards)\n{text}"));
        }
        eprintln!("{protocol:?}, {shards} shards: {compared} commands of pub/sub compared");
    }
    assert!(failed.is_empty(), "pub/sub differs from Redis\n{}", failed.join("\n"));
}

#[test]
fn what_is_published_reaches_the_same_resp2() {
    compare(Protocol::Resp2);
}

#[test]
fn what_is_published_reaches_the_same_resp3() {
    compare(Protocol::Resp3);
}
