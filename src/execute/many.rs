//! DEL, EXISTS and MGET: commands over several keys of this shard, whose answers come together.

use shard::admission::Refusal;
use shard::batch::Op;
use shard::env::glommio::GlommioEnv;
use shard::key::SeqNo;
use shard::read::{PointRead, Read};

use super::{Executor, Parts, Place, Ran, Target, admit_reply};
use crate::error;
use crate::ledger::Holding;
use crate::reply::Sink;
use crate::resp::{Args, Protocol, writer};

#[derive(Debug)]
pub(super) enum Combined {
    Count(i64),
    Array(Vec<Option<Vec<u8>>>),
}

impl Executor {
    pub(super) fn del<S: Sink>(
        &mut self,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        let mut keys: Vec<&[u8]> = args.iter().skip(1).collect();
        if keys.len() > 1 {
            keys.sort_unstable();
            keys.dedup();
        }
        let mut count = 0;
        let mut gate = SeqNo(0);
        let mut reads = Vec::new();
        let mut ops = Vec::with_capacity(keys.len());
        for key in keys {
            match self.shard.read(key, |found| (found.value.is_some(), found.gate)) {
                Read::Done((true, _)) => {
                    count += 1;
                    ops.push(Op::Delete { key });
                }
                Read::Done((false, seen)) => gate = gate.max(seen),
                Read::Disk(read) => {
                    reads.push(read);
                    ops.push(Op::Delete { key });
                }
            }
        }
        let expected = reads.iter().map(PointRead::expected_bytes).sum();
        if let Err(not_now) = admit_reply(&self.output, is_next, expected) {
            return not_now;
        }
        if !ops.is_empty() {
            match self.shard.write(&ops) {
                Ok(seq) => {
                    self.written(ops.iter().map(Op::key));
                    gate = seq;
                }
                Err(Refusal::Wait(_)) => return Ran::Wait,
                Err(Refusal::Error(error)) => {
                    writer::error(sink.buffer(), error::reply_text(&error));
                    sink.done(SeqNo(0));
                    return Ran::Done;
                }
            }
        }
        let reads = reads.into_iter().enumerate().collect();
        self.combine(Combined::Count(count), gate, reads, protocol, target, sink);
        Ran::Done
    }

    pub(super) fn exists<S: Sink>(
        &mut self,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        let mut count = 0;
        let mut gate = SeqNo(0);
        let mut reads = Vec::new();
        for (position, key) in args.iter().skip(1).enumerate() {
            match self.shard.read(key, |found| (found.value.is_some(), found.gate)) {
                Read::Done((exists, seen)) => {
                    count += i64::from(exists);
                    gate = gate.max(seen);
                }
                Read::Disk(read) => reads.push((position, read)),
            }
        }
        if let Err(not_now) = admit_reply(&self.output, is_next, expected_bytes(&reads)) {
            return not_now;
        }
        self.combine(Combined::Count(count), gate, reads, protocol, target, sink);
        Ran::Done
    }

    pub(super) fn mget<S: Sink>(
        &mut self,
        args: Args<'_>,
        protocol: Protocol,
        target: Target,
        is_next: bool,
        sink: &mut S,
    ) -> Ran {
        let mut here = 0;
        let mut values = Vec::with_capacity(args.len() - 1);
        let mut gate = SeqNo(0);
        let mut reads = Vec::new();
        for (position, key) in args.iter().skip(1).enumerate() {
            let read = self.shard.read(key, |found| (found.value.map(<[u8]>::to_vec), found.gate));
            match read {
                Read::Done((value, seen)) => {
                    here += value.as_ref().map_or(0, Vec::len);
                    values.push(value);
                    gate = gate.max(seen);
                }
                Read::Disk(read) => {
                    values.push(None);
                    reads.push((position, read));
                }
            }
        }
        let expected = here + expected_bytes(&reads);
        if let Err(not_now) = admit_reply(&self.output, is_next, expected) {
            return not_now;
        }
        self.combine(Combined::Array(values), gate, reads, protocol, target, sink);
        Ran::Done
    }

    /// Answers now if nothing has to be read from disk, else when the last read is done.
    fn combine<S: Sink>(
        &mut self,
        combined: Combined,
        gate: SeqNo,
        reads: Vec<(usize, PointRead<GlommioEnv>)>,
        protocol: Protocol,
        target: Target,
        sink: &mut S,
    ) {
        if reads.is_empty() {
            combined.write(sink.buffer(), protocol);
            sink.done(gate);
            return;
        }
        let here = combined.bytes();
        let expected = match &combined {
            Combined::Count(_) => 0,
            Combined::Array(_) => here + expected_bytes(&reads),
        };
        let hole = sink.hole(expected);
        let open = reads.len();
        let holding = Holding::of(&self.output, here);
        let parts = Parts { target, hole, protocol, gate, open, combined, error: None, holding };
        let parts = self.parts.insert(parts);
        for (position, read) in reads {
            self.fetch(read, Place::Part { parts, position });
        }
    }
}

fn expected_bytes(reads: &[(usize, PointRead<GlommioEnv>)]) -> usize {
    reads.iter().map(|(_, read)| read.expected_bytes()).sum()
}

impl Combined {
    /// Values that it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Count(_) => 0,
            Self::Array(values) => values.iter().flatten().map(Vec::len).sum(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, protocol: Protocol) {
        match self {
            Self::Count(count) => writer::integer(out, *count),
            Self::Array(values) => {
                writer::array(out, values.len());
                for value in values {
                    match value {
                        Some(value) => writer::bulk(out, value),
                        None => writer::null(out, protocol),
                    }
                }
            }
        }
    }
}
