//! Keys as such: DEL, RENAME, COPY, TYPE, OBJECT.

use super::options::{integer, is};
use super::{Outcome, Txn};
use crate::command::CommandError;
use crate::resp::{Args, strict_number, writer};

/// DEL and UNLINK.
pub(super) fn del(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let mut count = 0;
    for key in args.iter().skip(1) {
        count += i64::from(txn.exists(key)?);
        txn.delete(key)?;
    }
    writer::integer(out, count);
    Ok(())
}

/// EXISTS and TOUCH.
pub(super) fn exists(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let mut count = 0;
    for key in args.iter().skip(1) {
        count += i64::from(txn.exists(key)?);
    }
    writer::integer(out, count);
    Ok(())
}

pub(super) fn kind(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let exists = txn.exists(args.arg(1))?;
    writer::simple(out, if exists { "string" } else { "none" });
    Ok(())
}

/// Moves a value; whether it was moved.
fn rename_to(txn: &mut Txn<'_>, args: Args<'_>, only_if_new: bool) -> Outcome<bool> {
    let (from, to) = (args.arg(1), args.arg(2));
    let Some((value, expires_at_ms)) = txn.get(from)? else {
        return Err(CommandError::NoSuchKey.into());
    };
    if only_if_new && txn.exists(to)? {
        return Ok(false);
    }
    if from != to {
        txn.remove("rename_from", from)?;
        txn.put("rename_to", to, value, expires_at_ms)?;
    }
    Ok(true)
}

pub(super) fn rename(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    rename_to(txn, args, false)?;
    writer::ok(out);
    Ok(())
}

pub(super) fn renamenx(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let renamed = rename_to(txn, args, true)?;
    writer::integer(out, i64::from(renamed));
    Ok(())
}

/// `COPY source destination [DB 0] [REPLACE]`
pub(super) fn copy(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (from, to) = (args.arg(1), args.arg(2));
    let mut replace = false;
    let mut index = 3;
    while let Some(option) = args.get(index) {
        if is(option, "replace") {
            replace = true;
        } else if let Some(database) = args.get(index + 1)
            && is(option, "db")
        {
            check_database(database)?;
            index += 1;
        } else {
            return Err(CommandError::Syntax.into());
        }
        index += 1;
    }
    if from == to {
        return Err(CommandError::SameObject.into());
    }
    let Some((value, expires_at_ms)) = txn.get(from)? else {
        writer::integer(out, 0);
        return Ok(());
    };
    let free = replace || !txn.exists(to)?;
    if free {
        txn.put("copy_to", to, value, expires_at_ms)?;
    }
    writer::integer(out, i64::from(free));
    Ok(())
}

fn check_database(argument: &[u8]) -> Outcome {
    if integer(argument)? == 0 { Ok(()) } else { Err(CommandError::DbIndex.into()) }
}

/// MOVE: with one database there is no other to move to.
pub(super) fn change_database(_: &mut Txn<'_>, args: Args<'_>, _: &mut Vec<u8>) -> Outcome {
    match strict_number(args.arg(2)) {
        Some(0) => Err(CommandError::SameObject.into()),
        Some(_) => Err(CommandError::DbIndex.into()),
        None => Err(CommandError::NotInteger.into()),
    }
}

/// Longest value that Redis keeps in one piece with its header: tools know the word for it.
const EMBEDDED_BYTES_MAX: usize = 44;

/// OBJECT ENCODING: what Redis would say of such a value after a SET.
pub(super) fn encoding(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let protocol = txn.protocol();
    txn.look(args.arg(2), |value| match value {
        None => writer::null(out, protocol),
        Some(value) if strict_number(value.bytes).is_some() => writer::bulk(out, b"int"),
        Some(value) if value.bytes.len() <= EMBEDDED_BYTES_MAX => writer::bulk(out, b"embstr"),
        Some(_) => writer::bulk(out, b"raw"),
    })
}

/// A number that is the same for each key that exists.
fn constant(txn: &mut Txn<'_>, key: &[u8], number: i64, out: &mut Vec<u8>) -> Outcome {
    if txn.exists(key)? {
        writer::integer(out, number);
    } else {
        writer::null(out, txn.protocol());
    }
    Ok(())
}

/// OBJECT FREQ: not counted, so 0, since tools stop at an error.
pub(super) fn freq(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    constant(txn, args.arg(2), 0, out)
}

/// OBJECT IDLETIME: not kept.
pub(super) fn idletime(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    constant(txn, args.arg(2), 0, out)
}

pub(super) fn refcount(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    constant(txn, args.arg(2), 1, out)
}

/// What an entry takes beside key and value: its head, its part of the index and of the filter, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 24;

/// `MEMORY USAGE key [SAMPLES n]`: the bytes of the entry, on disk before compression or in the memtable.
pub(super) fn memory_usage(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    match (args.get(3), args.get(4)) {
        (None, _) => {}
        (Some(option), Some(samples)) if is(option, "samples") && args.len() == 5 => {
            if integer(samples)? < 0 {
                return Err(CommandError::Syntax.into());
            }
        }
        _ => return Err(CommandError::Syntax.into()),
    }
    let (key, protocol) = (args.arg(2), txn.protocol());
    txn.look(key, |value| match value {
        None => writer::null(out, protocol),
        Some(value) => {
            let bytes = key.len() + value.bytes.len() + ENTRY_OVERHEAD_BYTES;
            writer::integer(out, i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    })
}
