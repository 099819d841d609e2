//! Parts of values: APPEND, STRLEN, GETRANGE, SETRANGE.

use super::options::integer;
use super::{Outcome, Txn};
use crate::command::CommandError;
use crate::resp::{Args, writer};

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn append(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (key, added) = (args.arg(1), args.arg(2));
    let (mut value, expires_at_ms) = txn.get(key)?.unwrap_or_default();
    txn.check_length(value.len() + added.len())?;
    value.extend_from_slice(added);
    writer::integer(out, length(value.len()));
    txn.put("append", key, value, expires_at_ms)
}

pub(super) fn strlen(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let bytes = txn.look(args.arg(1), |value| value.map_or(0, |value| value.bytes.len()))?;
    writer::integer(out, length(bytes));
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative ones count from the end. Empty where there are none.
pub(super) fn between(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = length(bytes.len());
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_end = |at: i64| if at < 0 { len.saturating_add(at).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end {
        return &[];
    }
    let index = |at: i64| usize::try_from(at).unwrap_or(0);
    bytes.get(index(start)..=index(end)).unwrap_or_default()
}

pub(super) fn getrange(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (start, end) = (integer(args.arg(2))?, integer(args.arg(3))?);
    txn.look(args.arg(1), |value| {
        writer::bulk(out, value.map_or(&[], |value| between(value.bytes, start, end)));
    })
}

pub(super) fn setrange(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (key, added) = (args.arg(1), args.arg(3));
    let offset = integer(args.arg(2))?;
    let Ok(offset) = usize::try_from(offset) else { return Err(CommandError::Offset.into()) };
    if added.is_empty() {
        return strlen(txn, args, out);
    }
    let end = offset.saturating_add(added.len());
    let (mut value, expires_at_ms) = {
        txn.check_length(end)?;
        txn.get(key)?.unwrap_or_default()
    };
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset..end].copy_from_slice(added);
    writer::integer(out, length(value.len()));
    txn.put("setrange", key, value, expires_at_ms)
}
