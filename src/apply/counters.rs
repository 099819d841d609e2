//! Values as numbers: INCR and its relatives.

use super::longdouble::LongDouble;
use super::options::integer;
use super::{Outcome, Txn};
use crate::command::CommandError;
use crate::resp::{Args, strict_number, writer};

/// Adds `by` to the integer that `key` holds.
fn add(txn: &mut Txn<'_>, key: &[u8], by: i64, out: &mut Vec<u8>) -> Outcome {
    let (number, expires_at_ms) = txn.look(key, |value| match value {
        None => (Some(0), 0),
        Some(value) => (strict_number(value.bytes), value.expires_at_ms),
    })?;
    let number = number.ok_or(CommandError::NotInteger)?;
    let sum = number.checked_add(by).ok_or(CommandError::Overflow)?;
    writer::integer(out, sum);
    txn.put("incrby", key, sum.to_string().into_bytes(), expires_at_ms)
}

pub(super) fn incr(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    add(txn, args.arg(1), 1, out)
}

pub(super) fn decr(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    add(txn, args.arg(1), -1, out)
}

pub(super) fn incrby(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    add(txn, args.arg(1), integer(args.arg(2))?, out)
}

pub(super) fn decrby(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let by = integer(args.arg(2))?.checked_neg().ok_or(CommandError::DecrementOverflow)?;
    add(txn, args.arg(1), by, out)
}

pub(super) fn incrbyfloat(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    let (number, expires_at_ms) = txn.look(key, |value| match value {
        None => (Some(LongDouble::ZERO), 0),
        Some(value) => (LongDouble::parse(value.bytes), value.expires_at_ms),
    })?;
    let (Some(number), Some(by)) = (number, LongDouble::parse(args.arg(2))) else {
        return Err(CommandError::NotFloat.into());
    };
    let sum = number.plus(&by).ok_or(CommandError::NanOrInfinity)?;
    let text = sum.to_text().into_bytes();
    writer::bulk(out, &text);
    txn.put("incrbyfloat", key, text, expires_at_ms)
}
