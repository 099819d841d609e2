//! When keys expire.

use super::options::integer;
use super::{Outcome, Txn};
use crate::command::{CommandError, CommandId, lookup};
use crate::resp::{Args, writer};

/// Whether a time that a value has (0: none) has come.
#[inline]
pub(crate) fn is_past(expires_at_ms: u64, now_ms: u64) -> bool {
    expires_at_ms != 0 && expires_at_ms <= now_ms
}

/// Under which condition on the time before EXPIRE does something.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "options, each given or not")]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Outcome<Self> {
        let mut of = Self::default();
        for option in args.iter().skip(3) {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => of.nx = true,
                b"xx" => of.xx = true,
                b"gt" => of.gt = true,
                b"lt" => of.lt = true,
                _ => return Err(CommandError::unsupported_option(option).into()),
            }
        }
        if of.nx && (of.xx || of.gt || of.lt) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(CommandError::text(text).into());
        }
        if of.gt && of.lt {
            let text = "ERR GT and LT options at the same time are not compatible";
            return Err(CommandError::text(text).into());
        }
        Ok(of)
    }

    /// Whether a key that expires at `before` (0: never, which is later than any time) may get `at`.
    fn allow(self, before: u64, at: i64) -> bool {
        let before = before.cast_signed();
        !(self.nx && before != 0
            || self.xx && before == 0
            || self.gt && (before == 0 || at <= before)
            || self.lt && before != 0 && at >= before)
    }
}

fn id_and_name(args: Args<'_>) -> (CommandId, &'static str) {
    lookup(args.arg(0)).map_or((CommandId::Expire, "expire"), |spec| (spec.id, spec.name))
}

/// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT.
pub(super) fn expire(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    let (id, name) = id_and_name(args);
    let conditions = Conditions::parse(args)?;
    let mut at = integer(args.arg(2))?;
    let wrong = CommandError::ExpireTime(name);
    if matches!(id, CommandId::Expire | CommandId::Expireat) {
        at = at.checked_mul(1000).ok_or_else(|| wrong.clone())?;
    }
    if matches!(id, CommandId::Expire | CommandId::Pexpire) {
        at = at.checked_add(txn.context.now_ms.cast_signed()).ok_or(wrong)?;
    }
    let Some(before) = txn.look(key, |value| value.map(|value| value.expires_at_ms))? else {
        writer::integer(out, 0);
        return Ok(());
    };
    let allowed = conditions.allow(before, at);
    writer::integer(out, i64::from(allowed));
    if !allowed || at.cast_unsigned() == before && at > 0 {
        return Ok(());
    }
    if at <= txn.context.now_ms.cast_signed() {
        return txn.delete(key);
    }
    if let Some((value, _)) = txn.get(key)? {
        txn.put("expire", key, value, at.cast_unsigned())?;
    }
    Ok(())
}

/// TTL, PTTL, EXPIRETIME, PEXPIRETIME.
pub(super) fn ttl(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    const ABSENT: i64 = -2;
    const NEVER: i64 = -1;
    let (id, _) = id_and_name(args);
    let now_ms = txn.context.now_ms;
    let at = txn.look(args.arg(1), |value| value.map(|value| value.expires_at_ms))?;
    let answer = match at {
        None => ABSENT,
        Some(0) => NEVER,
        Some(at) => {
            let is_time = matches!(id, CommandId::Expiretime | CommandId::Pexpiretime);
            let ms = if is_time { at } else { at.saturating_sub(now_ms) };
            let in_seconds = matches!(id, CommandId::Ttl | CommandId::Expiretime);
            (if in_seconds { ms.saturating_add(500) / 1000 } else { ms }).cast_signed()
        }
    };
    writer::integer(out, answer);
    Ok(())
}

pub(super) fn persist(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    let expires = txn.look(key, |value| value.is_some_and(|value| value.expires_at_ms != 0))?;
    writer::integer(out, i64::from(expires));
    if expires && let Some((value, _)) = txn.get(key)? {
        txn.put("persist", key, value, 0)?;
    }
    Ok(())
}
