//! Values as a whole: GET, SET and their relatives.

use super::options::{Clock, Expiry, Of, Options, integer, positive_ms};
use super::{Outcome, Txn, Value};
use crate::command::CommandError;
use crate::pubsub::NotifyClass;
use crate::resp::{Args, Protocol, writer};

/// A value as a reply, or null.
fn write_value(out: &mut Vec<u8>, value: Option<Value<'_>>, protocol: Protocol) {
    match value {
        Some(value) => writer::bulk(out, value.bytes),
        None => writer::null(out, protocol),
    }
}

pub(super) fn get(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (key, protocol) = (args.arg(1), txn.protocol());
    let found = txn.look(key, |value| {
        write_value(out, value, protocol);
        value.is_some()
    })?;
    if !found {
        txn.event(NotifyClass::KeyMiss, "keymiss", key);
    }
    Ok(())
}

pub(super) fn set(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (key, value) = (args.arg(1), args.arg(2));
    let options = Options::parse(args, 3, Of::Set)?;
    let at_ms = options.expiry.at_ms(txn.context.now_ms, "set")?;
    let protocol = txn.protocol();
    let mut before = None;
    if options.get || options.only_if_exists.is_some() || options.expiry == Expiry::Keep {
        before = txn.look(key, |value| {
            if options.get {
                write_value(out, value, protocol);
            }
            value.map(|value| value.expires_at_ms)
        })?;
    }
    if options.only_if_exists.is_some_and(|wanted| wanted != before.is_some()) {
        if !options.get {
            writer::null(out, protocol);
        }
        return Ok(());
    }
    let kept = if options.expiry == Expiry::Keep { before.unwrap_or(0) } else { 0 };
    txn.put("set", key, value.to_vec(), at_ms.unwrap_or(kept))?;
    if at_ms.is_some() {
        txn.event(NotifyClass::Generic, "expire", key);
    }
    if !options.get {
        writer::ok(out);
    }
    Ok(())
}

pub(super) fn setnx(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (key, value) = (args.arg(1), args.arg(2));
    let is_new = !txn.exists(key)?;
    if is_new {
        txn.put("set", key, value.to_vec(), 0)?;
    }
    writer::integer(out, i64::from(is_new));
    Ok(())
}

/// SETEX and PSETEX.
pub(super) fn setex(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let in_seconds = !args.arg(0).first().is_some_and(|letter| letter.eq_ignore_ascii_case(&b'p'));
    let name = if in_seconds { "setex" } else { "psetex" };
    let clock = Clock { in_seconds, is_absolute: false };
    let at_ms = positive_ms(integer(args.arg(2))?, clock, txn.context.now_ms, name)?;
    txn.put("set", args.arg(1), args.arg(3).to_vec(), at_ms)?;
    txn.event(NotifyClass::Generic, "expire", args.arg(1));
    writer::ok(out);
    Ok(())
}

pub(super) fn getex(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    let options = Options::parse(args, 2, Of::Getex)?;
    if options.expiry == Expiry::Unsaid {
        return get(txn, args, out);
    }
    let Some((value, before_ms)) = txn.get(key)? else {
        writer::null(out, txn.protocol());
        return Ok(());
    };
    let at_ms = options.expiry.at_ms(txn.context.now_ms, "getex")?.unwrap_or(0);
    writer::bulk(out, &value);
    if at_ms != before_ms {
        txn.put(if at_ms == 0 { "persist" } else { "expire" }, key, value, at_ms)?;
    }
    Ok(())
}

pub(super) fn getdel(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    get(txn, args, out)?;
    txn.delete(args.arg(1))
}

pub(super) fn getset(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    get(txn, args, out)?;
    txn.put("set", args.arg(1), args.arg(2).to_vec(), 0)
}

pub(super) fn mget(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let protocol = txn.protocol();
    writer::array(out, args.len() - 1);
    for key in args.iter().skip(1) {
        txn.look(key, |value| write_value(out, value, protocol))?;
    }
    Ok(())
}

/// Key, value, key, value.
fn put_pairs(txn: &mut Txn<'_>, args: Args<'_>) -> Outcome {
    for index in (2..args.len()).step_by(2) {
        txn.check_length(args.arg(index).len())?;
    }
    for index in (1..args.len() - 1).step_by(2) {
        txn.put("set", args.arg(index), args.arg(index + 1).to_vec(), 0)?;
    }
    Ok(())
}

pub(super) fn mset(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    // Asked before, too, but not of a command that a transaction has queued.
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset").into());
    }
    put_pairs(txn, args)?;
    writer::ok(out);
    Ok(())
}

pub(super) fn msetnx(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("msetnx").into());
    }
    let mut any = false;
    for index in (1..args.len()).step_by(2) {
        any |= txn.exists(args.arg(index))?;
    }
    if !any {
        put_pairs(txn, args)?;
    }
    writer::integer(out, i64::from(!any));
    Ok(())
}
