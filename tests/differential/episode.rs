//! One sequence on both servers, from no keys to its end or to the first difference.

use std::collections::BTreeSet;
use std::io;

use crate::common::encode;
use crate::compare::same;
use crate::dice::Dice;
use crate::generate::{CONNECTIONS, Step};
use crate::known;
use crate::report::Counts;
use crate::servers::Pair;
use crate::wire::{Command, Wire, elements, string};

/// Bytes of a pipeline: what both sockets take at once, so that no side waits for the other to read.
const PIPELINE_BYTES_MAX: usize = 32 << 10;
const PIPELINE_MAX: usize = 100;
/// A pipeline up to here is sent a byte at a time, now and then.
const BYTEWISE_MAX: usize = 300;
/// A SCAN that needs more pages has a cursor that leads nowhere.
const PAGES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

/// The first replies that are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The step whose replies they are.
    pub(crate) index: usize,
    pub(crate) theirs: Vec<u8>,
    pub(crate) ours: Vec<u8>,
}

/// How the bytes are cut into writes: `None` sends each pipeline whole.
pub(crate) type Cuts<'a> = Option<&'a mut Dice>;

/// A connection to both.
#[derive(Debug)]
struct Both {
    redis: Wire,
    ours: Wire,
    /// Commands that a MULTI holds back, as Redis said.
    queued: Vec<Command>,
}

impl Both {
    fn open(pair: &Pair, protocol: Protocol) -> Self {
        let mut both = Self {
            redis: Wire::connect(pair.redis_port()).unwrap(),
            ours: Wire::connect(pair.our_port()).unwrap(),
            queued: Vec::new(),
        };
        if protocol == Protocol::Resp3 {
            for wire in [&mut both.redis, &mut both.ours] {
                let hello = wire.ask(&["HELLO", "3"]).unwrap();
                assert_eq!(hello[0], b'%', "HELLO 3 answers a map");
            }
        }
        both
    }
}

/// Runs the steps that both servers have; what ours lacks must have been left out by the caller.
pub(crate) fn run(
    pair: &Pair,
    steps: &[Step],
    protocol: Protocol,
    mut cuts: Cuts<'_>,
    counts: &mut Counts,
) -> Result<(), Difference> {
    pair.erase();
    let mut connections: Vec<Both> = (0..CONNECTIONS).map(|_| Both::open(pair, protocol)).collect();
    let mut at = 0;
    while at < steps.len() {
        let end = pipeline_end(steps, at);
        let both = &mut connections[steps[at].connection];
        pipeline(both, steps, at..end, cuts.as_deref_mut(), counts)?;
        at = end;
    }
    Ok(())
}

/// Where the pipeline that begins at `from` ends: one connection's steps, not too many, SCAN alone.
fn pipeline_end(steps: &[Step], from: usize) -> usize {
    let mut bytes = 0;
    let mut end = from;
    while end < steps.len()
        && end - from < PIPELINE_MAX
        && steps[end].connection == steps[from].connection
    {
        let scans = is_scan(&steps[end].words);
        bytes += steps[end].words.iter().map(|word| word.len() + 16).sum::<usize>();
        if end > from && (scans || bytes > PIPELINE_BYTES_MAX) {
            break;
        }
        end += 1;
        if scans {
            break;
        }
    }
    end
}

fn is_scan(words: &Command) -> bool {
    words[0].eq_ignore_ascii_case(b"scan")
}

fn pipeline(
    both: &mut Both,
    steps: &[Step],
    range: std::ops::Range<usize>,
    cuts: Cuts<'_>,
    counts: &mut Counts,
) -> Result<(), Difference> {
    let bytes: Vec<u8> = steps[range.clone()].iter().flat_map(|step| encode(&step.words)).collect();
    send(both, &bytes, cuts);
    let mut difference = None;
    // All are waited for, behind a difference too: what is still under way would run into the next sequence.
    for index in range {
        let words = &steps[index].words;
        let theirs = both.redis.reply().unwrap();
        let ours = match both.ours.reply() {
            Ok(ours) => ours,
            Err(error) => {
                let ours = lost(&error);
                return Err(difference.unwrap_or(Difference { index, theirs, ours }));
            }
        };
        if difference.is_none() {
            let judged = judge(both, words, theirs, ours, counts);
            difference = judged.err().map(|(theirs, ours)| Difference { index, theirs, ours });
        }
    }
    difference.map_or(Ok(()), Err)
}

/// What is shown in place of a reply that did not come.
fn lost(error: &io::Error) -> Vec<u8> {
    let what = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no reply".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed".to_owned(),
        _ => error.to_string(),
    };
    format!("<{what}>").into_bytes()
}

/// Sends to both: whole, a byte at a time, or cut at random places.
fn send(both: &mut Both, bytes: &[u8], cuts: Cuts<'_>) {
    let mut ends = Vec::new();
    if let Some(dice) = cuts {
        match dice.below(8) {
            0 if bytes.len() <= BYTEWISE_MAX => ends.extend(1..bytes.len()),
            0..3 => ends.extend((0..dice.between(1, 4)).map(|_| dice.below(bytes.len()))),
            _ => {}
        }
        ends.sort_unstable();
    }
    ends.push(bytes.len());
    let mut from = 0;
    for end in ends {
        let piece = &bytes[from..end];
        from = end;
        if !piece.is_empty() {
            both.redis.send(piece).unwrap();
            // A server that closed is seen at its next reply, which does not come.
            let _ = both.ours.send(piece);
        }
    }
}

/// Compares the two replies to `words` and counts the verdict; gives them back if they differ.
fn judge(
    both: &mut Both,
    words: &Command,
    theirs: Vec<u8>,
    ours: Vec<u8>,
    counts: &mut Counts,
) -> Result<(), (Vec<u8>, Vec<u8>)> {
    counts.compared += 1;
    // From another cursor than 0 it may find anything.
    let whole = is_scan(words) && words.get(1).is_some_and(|cursor| cursor == b"0");
    let scanned = whole && elements(&theirs).is_some() && elements(&ours).is_some();
    if scanned {
        let all =
            [whole_scan(&mut both.redis, words, &theirs), whole_scan(&mut both.ours, words, &ours)];
        if all[0] != all[1] {
            let shown = all.map(|keys| format!("<whole scan: {keys:?}>").into_bytes());
            let [theirs, ours] = shown;
            return Err((theirs, ours));
        }
        counts.same += 1;
    } else if same(words, &both.queued, &theirs, &ours) {
        counts.same += 1;
    } else if let Some(entry) = known::find(words, &both.queued, &theirs, &ours) {
        *counts.known.entry(entry.name).or_default() += 1;
    } else {
        return Err((theirs, ours));
    }
    match words[0].to_ascii_lowercase().as_slice() {
        _ if theirs == b"+QUEUED\r\n" => both.queued.push(words.clone()),
        b"multi" | b"exec" | b"discard" | b"reset" if !theirs.starts_with(b"-ERR") => {
            both.queued.clear();
        }
        _ => {}
    }
    Ok(())
}

/// All keys of a SCAN with the options of `words`, from its first page to cursor 0.
fn whole_scan(wire: &mut Wire, words: &Command, first: &[u8]) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let mut page = first.to_vec();
    for _ in 0..PAGES_MAX {
        let parts = elements(&page).filter(|parts| parts.len() == 2).ok_or("not a page")?;
        let keys = elements(parts[1]).ok_or("no keys in a page")?;
        for key in keys {
            found.insert(string(key).ok_or("a key is a string")?.escape_ascii().to_string());
        }
        let cursor = string(parts[0]).ok_or("a cursor is a string")?.to_vec();
        if cursor == b"0" {
            return Ok(found);
        }
        let mut next = words.clone();
        next[1] = cursor;
        page = wire.ask(&next).map_err(|error| error.to_string())?;
    }
    Err("no end".into())
}
