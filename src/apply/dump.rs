//! DUMP and RESTORE: a value as bytes that another server takes.

use super::options::{integer, is};
use super::{Outcome, Txn, is_past};
use crate::command::CommandError;
use crate::pubsub::NotifyClass;
use crate::resp::{Args, writer};
use crate::transfer::rdb::dump::{Refused, decode, encode};

pub(super) fn dump(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let protocol = txn.protocol();
    txn.look(args.arg(1), |value| match value {
        Some(value) => writer::bulk(out, &encode(value.bytes)),
        None => writer::null(out, protocol),
    })
}

#[derive(Debug, Default)]
struct Options {
    replace: bool,
    /// The time is one since 1970, not from now on.
    is_absolute: bool,
}

impl Options {
    /// How long it was not used, or how often it was, is checked and then forgotten: neither is kept here.
    fn parse(args: Args<'_>) -> Outcome<Self> {
        let mut of = Self::default();
        let (mut has_idle, mut has_freq) = (false, false);
        let mut index = 4;
        while let Some(option) = args.get(index) {
            let next = args.get(index + 1);
            if is(option, "replace") {
                of.replace = true;
            } else if is(option, "absttl") {
                of.is_absolute = true;
            } else if let Some(seconds) = next
                && is(option, "idletime")
                && !has_freq
            {
                if integer(seconds)? < 0 {
                    return Err(
                        CommandError::text("ERR Invalid IDLETIME value, must be >= 0").into()
                    );
                }
                has_idle = true;
                index += 1;
            } else if let Some(frequency) = next
                && is(option, "freq")
                && !has_idle
            {
                if !(0..=255).contains(&integer(frequency)?) {
                    let text = "ERR Invalid FREQ value, must be >= 0 and <= 255";
                    return Err(CommandError::text(text).into());
                }
                has_freq = true;
                index += 1;
            } else {
                return Err(CommandError::Syntax.into());
            }
            index += 1;
        }
        Ok(of)
    }
}

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
pub(super) fn restore(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (key, payload) = (args.arg(1), args.arg(3));
    let options = Options::parse(args)?;
    let existed = txn.exists(key)?;
    if existed && !options.replace {
        return Err(CommandError::BusyKey.into());
    }
    let ttl_ms = integer(args.arg(2))?;
    if ttl_ms < 0 {
        return Err(CommandError::text("ERR Invalid TTL value, must be >= 0").into());
    }
    let ttl_ms = ttl_ms.cast_unsigned();
    let value = decode(payload, txn.context.value_bytes_max).map_err(|refused| match refused {
        Refused::VersionOrChecksum => CommandError::DumpPayload,
        Refused::Format => CommandError::text("ERR Bad data format"),
        Refused::Kind(kind) => CommandError::DumpKind(kind),
    })?;
    let expires_at_ms = match ttl_ms {
        0 => 0,
        at if options.is_absolute => at,
        ttl => txn.context.now_ms.saturating_add(ttl).min(i64::MAX.cast_unsigned()),
    };
    if is_past(expires_at_ms, txn.context.now_ms) {
        txn.delete(key)?;
    } else {
        // To who listens it is a new key, whatever was there.
        if existed {
            txn.event(NotifyClass::New, "new", key);
        }
        txn.put("restore", key, value, expires_at_ms)?;
    }
    writer::ok(out);
    Ok(())
}
