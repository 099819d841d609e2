//! Commands over several shards: their parts go out together, and one reply comes of the answers.

use bytes::Bytes;
use shard::key::SeqNo;

use crate::command::CommandSet;
use crate::command::info::Sections;
use crate::facts::CoreStats;
use crate::mesh::Payload;
use crate::multishard::{Reading, Writing};
use crate::resp::{Protocol, writer};

/// How the answers become one reply.
#[derive(Debug)]
pub(crate) enum Rule {
    /// Integers are added (DEL, EXISTS, DBSIZE).
    Sum(i64),
    /// All say OK (MSET, FLUSHDB, FLUSHALL).
    Ok,
    /// All say OK, and the client is told this (BGREWRITEAOF).
    Said(&'static str),
    /// Arrays are put back in the order of the keys: for each shard the positions that it was asked for (MGET).
    Array { positions: Vec<(u32, Vec<u32>)>, values: Vec<Bytes> },
    /// Arrays one behind the other (KEYS).
    Concat { elements: usize, bytes: Vec<u8> },
    /// One of those that are not null, each as likely as any other (RANDOMKEY).
    Pick { seen: u64, picked: Option<Bytes>, protocol: Protocol },
    /// Values for a command that then runs here (`multishard`).
    Read(Box<Reading>),
    /// Its changes.
    Write(Box<Writing>),
    /// Telemetry of all cores (STATS, INFO, LATENCY HISTOGRAM); rendered by the caller.
    Stats { cores: Vec<CoreStats>, show: Show },
}

/// What telemetry is shown as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Show {
    Stats {
        per_shard: bool,
    },
    Info(Sections),
    /// STATS JSON.
    Report,
    Latency(CommandSet),
    /// When memtables last became tables.
    LastSave,
    /// MEMORY STATS.
    Memory,
}

/// One command under way.
#[derive(Debug)]
struct Gather {
    hole: u32,
    open: usize,
    rule: Rule,
    /// The first error of any shard is the reply.
    error: Option<Bytes>,
    /// Bytes of values so far.
    held_bytes: usize,
}

/// A gathered command that has all its answers.
#[derive(Debug)]
pub(crate) enum Gathered {
    Reply(Bytes),
    Stats(Vec<CoreStats>, Show),
    Read(Box<Reading>),
    Written(Box<Writing>),
}

/// The gathered commands of one connection. At most one pipeline's worth.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    open: Vec<Gather>,
}

impl Gathers {
    /// Expects `parts` answers for `hole`.
    pub(crate) fn begin(&mut self, hole: u32, parts: usize, rule: Rule) {
        assert!(parts > 0);
        self.open.push(Gather { hole, open: parts, rule, error: None, held_bytes: 0 });
    }

    /// Bytes that wait here for other shards' answers.
    pub(crate) fn held_bytes(&self) -> usize {
        self.open.iter().map(|gather| gather.held_bytes).sum()
    }

    /// Takes the answer of `shard` for `hole`. `None`: more to come. A hole that nobody gathers is answered as it is.
    pub(crate) fn take(&mut self, hole: u32, shard: u32, payload: Payload) -> Option<Gathered> {
        let Some(index) = self.open.iter().position(|gather| gather.hole == hole) else {
            let Payload::Reply(bytes) = payload else {
                unreachable!("telemetry is always gathered")
            };
            return Some(Gathered::Reply(bytes));
        };
        let gather = &mut self.open[index];
        gather.add(shard, payload);
        gather.open -= 1;
        if gather.open > 0 {
            return None;
        }
        Some(self.open.swap_remove(index).finish())
    }
}

impl Gather {
    fn add(&mut self, shard: u32, payload: Payload) {
        let bytes = match (payload, &mut self.rule) {
            (Payload::Stats(stats), Rule::Stats { cores, .. }) => {
                cores.push(*stats);
                return;
            }
            (Payload::Reply(bytes), _) => bytes,
            (Payload::Stats(_), _) => unreachable!("telemetry goes where it was asked for"),
        };
        if bytes.first() == Some(&b'-') {
            self.error.get_or_insert(bytes);
            return;
        }
        match &mut self.rule {
            Rule::Sum(sum) => *sum += integer_of(&bytes),
            Rule::Ok | Rule::Said(_) | Rule::Write(_) => assert_eq!(bytes, writer::OK),
            Rule::Concat { elements, bytes: all } => {
                let (count, body) = array_of(&bytes);
                *elements += count;
                all.extend_from_slice(body);
                self.held_bytes = all.len();
            }
            Rule::Pick { seen, picked, .. } => {
                if bytes.first() == Some(&b'$') && !bytes.starts_with(b"$-1") {
                    *seen += 1;
                    if random().is_multiple_of(*seen) {
                        *picked = Some(bytes);
                    }
                }
            }
            Rule::Read(reading) => {
                reading.add(shard as usize, &bytes);
                self.held_bytes = reading.held_bytes();
            }
            Rule::Array { positions, values } => {
                let Some((_, positions)) = positions.iter().find(|(of, _)| *of == shard) else {
                    unreachable!("a shard answers what it was asked")
                };
                self.held_bytes += bytes.len();
                let elements = elements_of(&bytes);
                assert_eq!(elements.len(), positions.len());
                for (position, element) in positions.iter().zip(elements) {
                    values[*position as usize] = element;
                }
            }
            Rule::Stats { .. } => {}
        }
    }

    fn finish(self) -> Gathered {
        if let Some(error) = self.error {
            return Gathered::Reply(error);
        }
        let mut out = Vec::new();
        match self.rule {
            Rule::Sum(sum) => writer::integer(&mut out, sum),
            Rule::Ok => writer::ok(&mut out),
            Rule::Said(text) => writer::simple(&mut out, text),
            Rule::Array { values, .. } => {
                writer::array(&mut out, values.len());
                for value in values {
                    assert!(!value.is_empty(), "every position was answered");
                    out.extend_from_slice(&value);
                }
            }
            Rule::Concat { elements, bytes } => {
                writer::array(&mut out, elements);
                out.extend_from_slice(&bytes);
            }
            Rule::Pick { picked: Some(picked), .. } => return Gathered::Reply(picked),
            Rule::Pick { picked: None, protocol, .. } => writer::null(&mut out, protocol),
            Rule::Read(reading) => return Gathered::Read(reading),
            Rule::Write(writing) => return Gathered::Written(writing),
            Rule::Stats { mut cores, show } => {
                cores.sort_by_key(|core| core.index);
                return Gathered::Stats(cores, show);
            }
        }
        Gathered::Reply(out.into())
    }
}

/// The gate of a gathered reply: its parts waited for their own shards already.
pub(crate) const GATHERED_GATE: SeqNo = SeqNo(0);

/// std seeds each of these at random.
fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0)
}

/// The elements of an array reply of ours: how many, and their bytes.
fn array_of(reply: &[u8]) -> (usize, &[u8]) {
    let end = reply.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
    let count = reply.get(1..end).and_then(|digits| std::str::from_utf8(digits).ok());
    let count = count.and_then(|digits| digits.parse().ok());
    (count.expect("our own arrays are well-formed"), reply.get(end + 2..).unwrap_or_default())
}

/// The number of an integer reply of ours.
fn integer_of(reply: &[u8]) -> i64 {
    let number = reply.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
    match number.and_then(|digits| digits.parse().ok()) {
        Some(number) => number,
        None => {
            panic!("a shard answered {:?} where a number belongs", String::from_utf8_lossy(reply))
        }
    }
}

/// The elements of an array reply of ours: bulk strings and nulls, each with its framing.
fn elements_of(reply: &Bytes) -> Vec<Bytes> {
    let line_end = |from: usize| match memchr::memchr(b'\n', &reply[from..]) {
        Some(at) => from + at + 1,
        None => panic!("a shard's array ends early"),
    };
    let number = |from: usize, to: usize| -> i64 {
        let text = std::str::from_utf8(&reply[from + 1..to - 2]).unwrap_or_default();
        text.parse().unwrap_or(-1)
    };
    assert_eq!(reply.first(), Some(&b'*'));
    let mut at = line_end(0);
    let count = usize::try_from(number(0, at)).unwrap_or(0);
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        let head = line_end(at);
        let end = match (reply[at], number(at, head)) {
            (b'$', len) if len >= 0 => head + usize::try_from(len).unwrap_or(0) + 2,
            _ => head,
        };
        elements.push(reply.slice(at..end));
        at = end;
    }
    assert_eq!(at, reply.len());
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &'static str) -> Payload {
        Payload::Reply(Bytes::from_static(text.as_bytes()))
    }

    fn text(gathered: Option<Gathered>) -> String {
        match gathered {
            Some(Gathered::Reply(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_array_comes_back_in_the_order_of_the_keys() {
        let mut gathers = Gathers::default();
        let positions = vec![(0, vec![1]), (1, vec![0, 2])];
        let rule = Rule::Array { positions, values: vec![Bytes::new(); 3] };
        gathers.begin(4, 2, rule);
        assert!(gathers.take(4, 1, reply("*2\r\n$1\r\na\r\n$-1\r\n")).is_none());
        let whole = gathers.take(4, 0, reply("*1\r\n$4\r\n\r\nb\n\r\n"));
        assert_eq!(text(whole), "*3\r\n$1\r\na\r\n$4\r\n\r\nb\n\r\n$-1\r\n");
    }

    #[test]
    fn sums_add_and_the_first_error_wins() {
        let mut gathers = Gathers::default();
        gathers.begin(0, 2, Rule::Sum(0));
        gathers.begin(1, 2, Rule::Ok);
        assert!(gathers.take(0, 0, reply(":2\r\n")).is_none());
        assert!(gathers.take(1, 0, reply("-ERR full\r\n")).is_none());
        assert_eq!(text(gathers.take(0, 1, reply(":40\r\n"))), ":42\r\n");
        assert_eq!(text(gathers.take(1, 1, reply("+OK\r\n"))), "-ERR full\r\n");
        assert_eq!(text(gathers.take(9, 1, reply("+OK\r\n"))), "+OK\r\n");
    }
}
