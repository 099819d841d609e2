//! One connection: requests encoded into its output, replies read out of its input, and what is under way in between.
//!
//! # Invariants
//! Requests under way are answered in their order. The first `sent` bytes of the output are with the kernel; input lies in
//! `start..end` of a buffer that grows up to the limit of a reply.

use std::collections::VecDeque;

use crate::keys::KeyNames;
use crate::limits::{OUTPUT_BYTES_MAX, REPLY_BYTES_MAX};
use crate::resp::{Items, Malformed, Parsed, Reply, append_head, parse};
use crate::settings::Settings;
use crate::tally::{Checks, Tally};
use crate::values::{Values, belongs};
use crate::workload::{Kind, Operation, Source};

/// Room for the replies of a usual batch. Untouched pages cost nothing.
const INPUT_BYTES: usize = 64 << 10;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Context {
    names: KeyNames,
    values: Values,
    verify: bool,
    /// The heads of requests up to the key: the same each time.
    get_head: Vec<u8>,
    set_head: Vec<u8>,
}

impl Context {
    pub(crate) fn new(settings: &Settings) -> Self {
        let head = |words: usize, name: &[u8]| {
            let mut head = Vec::new();
            append_head(&mut head, b'*', words);
            append_head(&mut head, b'$', name.len());
            head.extend_from_slice(name);
            head.extend_from_slice(b"\r\n");
            append_head(&mut head, b'$', settings.names.bytes());
            head
        };
        Self {
            names: settings.names,
            values: Values::new(settings.sizes, settings.compressible, settings.seed),
            verify: settings.verify,
            get_head: head(2, b"GET"),
            set_head: head(3, b"SET"),
        }
    }
}

/// Why what was received cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("a reply that nothing was asked for")]
    Unasked,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
struct Pending {
    operation: Operation,
    intended_ns: u64,
    /// The GET of a read-modify-write.
    has_second_part: bool,
}

/// One connection without its socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) source: Source,
    pending: VecDeque<Pending>,
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that the reply at `start` has at least: before they are there it need not be looked at again.
    needed: usize,
}

impl Connection {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            pending: VecDeque::new(),
            output: Vec::new(),
            sent: 0,
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
            needed: 1,
        }
    }

    /// Requests under way, encoded ones included.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Whether another request may be encoded.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() - self.sent < OUTPUT_BYTES_MAX
    }

    /// Encodes the next request; `false` when there is none.
    pub(crate) fn push_next(&mut self, intended_ns: u64, context: &Context) -> bool {
        let Some(operation) = self.source.next() else { return false };
        let Operation { kind, key, .. } = operation;
        match kind {
            Kind::Get | Kind::Miss | Kind::ReadModifyWrite => {
                self.output.extend_from_slice(&context.get_head);
                if kind == Kind::Miss {
                    context.names.append_absent(&mut self.output, key);
                } else {
                    context.names.append(&mut self.output, key);
                }
                self.output.extend_from_slice(b"\r\n");
            }
            Kind::Scan => self.append_scan(operation, context),
            Kind::Set | Kind::Insert => self.append_set(key, context),
        }
        let has_second_part = kind == Kind::ReadModifyWrite;
        self.pending.push_back(Pending { operation, intended_ns, has_second_part });
        true
    }

    fn append_set(&mut self, key: u64, context: &Context) {
        self.output.extend_from_slice(&context.set_head);
        context.names.append(&mut self.output, key);
        self.output.extend_from_slice(b"\r\n");
        let random = &mut self.source.random;
        let bytes = context.values.draw_bytes(random);
        append_head(&mut self.output, b'$', bytes);
        context.values.append(&mut self.output, bytes, key, random);
        self.output.extend_from_slice(b"\r\n");
    }

    fn append_scan(&mut self, operation: Operation, context: &Context) {
        append_head(&mut self.output, b'*', operation.keys as usize + 1);
        self.output.extend_from_slice(b"$4\r\nMGET\r\n");
        for at in 0..u64::from(operation.keys) {
            append_head(&mut self.output, b'$', context.names.bytes());
            context.names.append(&mut self.output, operation.key + at * operation.step);
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// What waits for the socket.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// The socket has taken so many bytes.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        assert!(self.sent <= self.output.len());
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        } else if self.sent >= OUTPUT_BYTES_MAX {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Where to receive into; never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.input[self.end..]
    }

    /// So many bytes were received.
    /// # Errors
    /// They are no reply, or one too many.
    pub(crate) fn received(
        &mut self,
        bytes: usize,
        now_ns: u64,
        context: &Context,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        self.end += bytes;
        tally.received_bytes += bytes as u64;
        if self.end - self.start >= self.needed {
            // Taken out while replies borrow from it, so that a second part may be encoded meanwhile.
            let input = std::mem::take(&mut self.input);
            let read = self.read_replies(&input[..self.end], now_ns, context, tally);
            self.input = input;
            self.needed = read?;
        }
        self.make_room(self.needed);
        Ok(())
    }

    /// Bytes that the reply at `start` has at least.
    fn read_replies(
        &mut self,
        input: &[u8],
        now_ns: u64,
        context: &Context,
        tally: &mut Tally,
    ) -> Result<usize, Fault> {
        loop {
            if self.start == input.len() {
                return Ok(1);
            }
            match parse(&input[self.start..])? {
                Parsed::Needs(bytes) => return Ok(bytes),
                Parsed::Whole(reply, bytes) => {
                    self.start += bytes;
                    self.answer(&reply, now_ns, context, tally)?;
                }
            }
        }
    }

    fn answer(
        &mut self,
        reply: &Reply<'_>,
        now_ns: u64,
        context: &Context,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let pending = self.pending.pop_front().ok_or(Fault::Unasked)?;
        let Pending { operation, intended_ns, has_second_part } = pending;
        if !is_as_asked(reply, &pending, context, &mut tally.checks) {
            let line: &[u8] = match reply {
                Reply::Error(line) => line,
                _ => b"(a reply of another type)",
            };
            tally.refused(line, intended_ns, now_ns);
        } else if has_second_part {
            self.append_set(operation.key, context);
            self.pending.push_back(Pending { has_second_part: false, ..pending });
        } else {
            tally.answered(operation.kind, intended_ns, now_ns);
        }
        Ok(())
    }

    fn make_room(&mut self, needed: usize) {
        assert!(needed <= REPLY_BYTES_MAX, "the parser refuses longer replies");
        if self.start > 0 {
            // The beginning of one reply, and copied once: from then on it starts at 0.
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // One more than is there, at least: `room` is never empty.
        let wanted = needed.max(self.end + 1);
        if wanted > self.input.len() {
            self.input.resize(wanted.next_power_of_two(), 0);
        }
    }

    /// Gives up what is under way.
    pub(crate) fn abandon(&mut self, now_ns: u64, tally: &mut Tally) {
        for pending in self.pending.drain(..) {
            tally.gave_up(pending.operation.kind, pending.intended_ns, now_ns);
        }
    }
}

/// Whether the reply is of the type that was asked for; notes what is wrong with the values in it.
fn is_as_asked(
    reply: &Reply<'_>,
    pending: &Pending,
    context: &Context,
    checks: &mut Checks,
) -> bool {
    let operation = &pending.operation;
    let is_read = pending.has_second_part || operation.kind == Kind::Get;
    match reply {
        Reply::Bulk(_) | Reply::Nil if is_read || operation.kind == Kind::Miss => {
            check(reply, operation.key, operation.kind != Kind::Miss, context, checks);
            true
        }
        Reply::Array(items) if operation.kind == Kind::Scan => {
            check_scan(items.clone(), operation, context, checks)
        }
        Reply::Simple(_) => {
            !is_read && operation.kind != Kind::Miss && operation.kind != Kind::Scan
        }
        _ => false,
    }
}

fn check_scan(
    items: Items<'_>,
    operation: &Operation,
    context: &Context,
    checks: &mut Checks,
) -> bool {
    if items.left() != operation.keys as usize {
        return false;
    }
    for (at, item) in items.enumerate() {
        if !matches!(item, Reply::Bulk(_) | Reply::Nil) {
            return false;
        }
        check(&item, operation.key + at as u64 * operation.step, true, context, checks);
    }
    true
}

/// Compares a value, or its absence, with what key `key` should have.
fn check(reply: &Reply<'_>, key: u64, is_there: bool, context: &Context, checks: &mut Checks) {
    let what = match reply {
        Reply::Nil if is_there => {
            checks.missing += 1;
            "has no value"
        }
        Reply::Bulk(_) if !is_there => {
            checks.unexpected += 1;
            "has a value, and nobody wrote it"
        }
        Reply::Bulk(value) if context.verify => {
            checks.compared += 1;
            if belongs(value, key) {
                return;
            }
            checks.wrong += 1;
            "has another key's value"
        }
        _ => return,
    };
    if checks.first.is_none() {
        let mut name = Vec::new();
        if is_there {
            context.names.append(&mut name, key);
        } else {
            context.names.append_absent(&mut name, key);
        }
        checks.first = Some(format!("key {} {what}", String::from_utf8_lossy(&name)));
    }
}
