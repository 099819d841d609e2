//! SCAN, KEYS and RANDOMKEY on this core's shard: they read keys in their order, in long-lived tasks that pause.
//!
//! # Cursors
//! A cursor names a shard and a ticket: the number of a position that the shard has saved, the last key that was looked at.
//! `cursor = ticket << 8 | shard`; ticket 0 is the shard's beginning, cursor 0 the beginning and the end of all. It stays below
//! 2^53, since JavaScript takes it for a number. Each call saves a new position, so an older cursor goes on to mean what it
//! meant, until [`POSITIONS_MAX`] or [`POSITION_BYTES_MAX`] newer ones have come: then it is refused. Who would begin anew in
//! silence could go in circles for ever.
//!
//! # Invariants
//! - A key that is there from the first call to the last is returned, whatever is flushed or compacted meanwhile: a position is a
//!   key, and keys come in their order.

use std::collections::VecDeque;
use std::ops::Bound;

use shard::cursor::Direction;
use shard::env::Env as _;
use shard::env::glommio::GlommioEnv;
use shard::scan::Range;
use shard::shard::Shard;

use super::{Executor, Filled, Target};
use crate::command::{CommandError, CommandId, ScanOptions};
use crate::error;
use crate::glob;
use crate::ledger::Holding;
use crate::limits::{KEYS_REPLY_BYTES_MAX, SCAN_REPLY_BYTES_MAX};
use crate::reply::Sink;
use crate::resp::{Args, Protocol, writer};
use crate::work::WorkQueue;

/// Tasks of one core that read keys.
pub(super) const SCANNERS: usize = 8;
/// Keys looked at between two pauses.
const KEYS_PER_PAUSE: u64 = 256;
/// Positions that one shard remembers, and the bytes of their keys.
const POSITIONS_MAX: usize = 16 << 10;
const POSITION_BYTES_MAX: usize = 4 << 20;
/// Bits of a cursor for the shard.
const SHARD_BITS: u32 = 8;
/// Keys of which RANDOMKEY takes one, from a random place on.
const SAMPLED_KEYS: u64 = 64;

const _: () = assert!(crate::limits::SHARDS_MAX as usize <= 1 << SHARD_BITS);

/// The shard that a cursor names.
pub(crate) fn shard_of_cursor(cursor: u64) -> usize {
    usize::try_from(cursor & ((1 << SHARD_BITS) - 1)).unwrap_or(0)
}

fn cursor(shard: usize, ticket: u64) -> u64 {
    ticket << SHARD_BITS | shard as u64
}

/// Where scans have come to.
#[derive(Debug, Default)]
pub(super) struct Positions {
    keys: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The ticket of the oldest one, less one.
    forgotten: u64,
}

impl Positions {
    fn save(&mut self, key: Vec<u8>) -> u64 {
        self.bytes += key.len();
        self.keys.push_back(key);
        while self.keys.len() > POSITIONS_MAX || self.bytes > POSITION_BYTES_MAX {
            let Some(oldest) = self.keys.pop_front() else { break };
            self.bytes -= oldest.len();
            self.forgotten += 1;
        }
        self.forgotten + self.keys.len() as u64
    }

    fn get(&self, ticket: u64) -> Option<&[u8]> {
        let index = ticket.checked_sub(self.forgotten + 1)?;
        self.keys.get(usize::try_from(index).ok()?).map(Vec::as_slice)
    }
}

/// What is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// Of about so many keys those that match (SCAN).
    Some { count: u64 },
    /// All that match (KEYS).
    All,
    /// Any one (RANDOMKEY).
    Any,
}

#[derive(Debug)]
pub(super) struct ScanOrder {
    wanted: Wanted,
    range: Range,
    pattern: Option<Vec<u8>>,
    /// Nothing can match, whatever the key.
    is_void: bool,
    target: Target,
    hole: u32,
    protocol: Protocol,
}

/// What was found.
#[derive(Debug)]
pub(super) struct ScanDone {
    order: ScanOrder,
    result: shard::error::Result<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// As bulk strings, one behind the other.
    keys: Vec<u8>,
    count: usize,
    /// The last key that was looked at; `None`: the range is at its end.
    last: Option<Vec<u8>>,
    too_large: bool,
}

/// Takes orders until the queue ends.
pub(super) async fn scanner(
    shard: Shard<GlommioEnv>,
    env: GlommioEnv,
    orders: WorkQueue<ScanOrder>,
    done: WorkQueue<ScanDone>,
) {
    while let Some(order) = orders.pop().await {
        let result = look(&shard, &env, &order).await;
        done.push(ScanDone { order, result });
    }
}

async fn look(
    shard: &Shard<GlommioEnv>,
    env: &GlommioEnv,
    order: &ScanOrder,
) -> shard::error::Result<Seen> {
    let mut seen = Seen::default();
    if order.is_void {
        return Ok(seen);
    }
    let (most, reply_bytes_max) = match order.wanted {
        Wanted::Some { count } => (count, SCAN_REPLY_BYTES_MAX),
        Wanted::All => (u64::MAX, KEYS_REPLY_BYTES_MAX),
        Wanted::Any => (SAMPLED_KEYS, usize::MAX),
    };
    let mut scan = shard.scan_keys(order.range.clone(), Direction::Forward);
    let mut looked_at = 0;
    while let Some(entry) = scan.next().await? {
        looked_at += 1;
        let matches = |pattern: &Vec<u8>| glob::matches(pattern, entry.key, glob::Case::Sensitive);
        if order.pattern.as_ref().is_none_or(matches) {
            if order.wanted == Wanted::Any {
                if env.random_u64().is_multiple_of(looked_at) {
                    seen.keys.clear();
                    writer::bulk(&mut seen.keys, entry.key);
                }
            } else {
                writer::bulk(&mut seen.keys, entry.key);
            }
            seen.count += 1;
        }
        let is_full = seen.keys.len() >= reply_bytes_max;
        if looked_at >= most || is_full {
            seen.last = Some(entry.key.to_vec());
            seen.too_large = is_full && order.wanted == Wanted::All;
            break;
        }
        if looked_at.is_multiple_of(KEYS_PER_PAUSE) {
            env.pause().await;
        }
    }
    let gate = scan.gate();
    drop(scan);
    shard.released(gate).await?;
    Ok(seen)
}

impl Executor {
    /// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`, whose arguments were checked and whose cursor names this
    /// shard.
    pub(super) fn scan<S: Sink>(
        &mut self,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        sink: &mut S,
    ) {
        let parsed = ScanOptions::parse(args).and_then(|options| {
            let ticket = options.cursor >> SHARD_BITS;
            let from = if ticket == 0 {
                Bound::Unbounded
            } else {
                let key = self.positions.get(ticket).ok_or(CommandError::CursorIsOld)?;
                Bound::Excluded(key.to_vec())
            };
            Ok((options, from))
        });
        let (options, from) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                error.write(sink.buffer());
                sink.done(shard::key::SeqNo(0));
                return;
            }
        };
        let mut range = range_of(options.pattern);
        if from != Bound::Unbounded {
            range.from = from;
        }
        let order = ScanOrder {
            wanted: Wanted::Some { count: options.count },
            range,
            pattern: options.pattern.map(<[u8]>::to_vec),
            is_void: !options.type_matches,
            target,
            hole: sink.hole(0),
            protocol,
        };
        self.scans.push(order);
    }

    /// `KEYS pattern` and `RANDOMKEY`.
    pub(super) fn look_for_keys<S: Sink>(
        &mut self,
        id: CommandId,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        sink: &mut S,
    ) {
        let pattern = args.get(1);
        let (wanted, range) = if id == CommandId::Keys {
            (Wanted::All, range_of(pattern))
        } else {
            let from = self.shard.random_place().map_or(Bound::Unbounded, Bound::Included);
            (Wanted::Any, Range { from, to: Bound::Unbounded })
        };
        let pattern = pattern.map(<[u8]>::to_vec);
        let hole = sink.hole(0);
        self.scans.push(ScanOrder {
            wanted,
            range,
            pattern,
            is_void: false,
            target,
            hole,
            protocol,
        });
    }

    /// What a scanner has found becomes a reply; or there is more to do.
    pub(super) fn scanned(&mut self, done: ScanDone) -> Option<Filled> {
        let ScanDone { mut order, result } = done;
        let mut bytes = Vec::new();
        match result {
            Err(error) => writer::error(&mut bytes, error::reply_text(&error)),
            Ok(seen) => match order.wanted {
                Wanted::Some { .. } => self.write_page(seen, &mut bytes),
                Wanted::All if seen.too_large => {
                    CommandError::TooManyKeys.write(&mut bytes);
                }
                Wanted::All => {
                    writer::array(&mut bytes, seen.count);
                    bytes.extend_from_slice(&seen.keys);
                }
                Wanted::Any if seen.count > 0 => bytes = seen.keys,
                Wanted::Any if order.range.from != Bound::Unbounded => {
                    // Nothing from there on: from the beginning.
                    order.range.from = Bound::Unbounded;
                    self.scans.push(order);
                    return None;
                }
                Wanted::Any => writer::null(&mut bytes, order.protocol),
            },
        }
        let holding = Holding::of(&self.output, bytes.len());
        let ScanOrder { target, hole, .. } = order;
        Some(Filled { target, hole, bytes: bytes.into(), gate: shard::key::SeqNo(0), holding })
    }

    fn write_page(&mut self, seen: Seen, out: &mut Vec<u8>) {
        let next = match seen.last {
            Some(key) => cursor(self.index, self.positions.save(key)),
            None if self.index + 1 < self.shards => cursor(self.index + 1, 0),
            None => 0,
        };
        writer::array(out, 2);
        writer::bulk(out, itoa::Buffer::new().format(next).as_bytes());
        writer::array(out, seen.count);
        out.extend_from_slice(&seen.keys);
    }
}

/// The keys that can match: those with the pattern's beginning, as far as that is plain.
fn range_of(pattern: Option<&[u8]>) -> Range {
    let plain = pattern
        .map_or(0, |pattern| pattern.iter().take_while(|byte| !b"*?[\\".contains(byte)).count());
    match pattern {
        Some(pattern) if plain > 0 => Range::prefix(&pattern[..plain]),
        _ => Range::all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_kept_in_their_order_and_within_their_bounds() {
        let mut positions = Positions::default();
        assert_eq!(positions.save(b"a".to_vec()), 1);
        assert_eq!(positions.save(b"b".to_vec()), 2);
        assert_eq!((positions.get(1), positions.get(2)), (Some(&b"a"[..]), Some(&b"b"[..])));
        assert_eq!((positions.get(0), positions.get(3)), (None, None));
        for number in 0..POSITIONS_MAX {
            positions.save(number.to_le_bytes().to_vec());
        }
        assert_eq!((positions.get(2), positions.keys.len()), (None, POSITIONS_MAX));
        positions.save(vec![0; POSITION_BYTES_MAX - 10]);
        assert!(positions.bytes <= POSITION_BYTES_MAX && positions.keys.len() <= 2);
    }

    #[test]
    fn cursors_are_numbers_for_everyone() {
        let largest = cursor(255, 1 << 44);
        assert!(largest < 1 << 53 && shard_of_cursor(largest) == 255);
        assert_eq!(shard_of_cursor(cursor(3, 0)), 3);
    }

    #[test]
    fn a_plain_beginning_is_a_range() {
        assert_eq!(range_of(Some(b"user:*")), Range::prefix(b"user:"));
        assert_eq!(range_of(Some(b"us\\*")), Range::prefix(b"us"));
        assert_eq!(range_of(Some(b"*")), Range::all());
        assert_eq!(range_of(None), Range::all());
    }
}
