//! Values as arrays of bits, the most significant bit of each byte first.

use super::options::{integer, is};
use super::{Outcome, Txn};
use crate::command::CommandError;
use crate::resp::{Args, strict_number, writer};

/// The place of a bit, from an argument: `7`, or `#7` where that counts fields of `width` bits.
pub(super) fn bit_offset(txn: &Txn<'_>, argument: &[u8], width: Option<u32>) -> Outcome<u64> {
    let wrong = || CommandError::BitOffset;
    let (digits, factor) = match (argument.strip_prefix(b"#"), width) {
        (Some(digits), Some(width)) => (digits, i64::from(width)),
        _ => (argument, 1),
    };
    let number = strict_number(digits).ok_or_else(wrong)?.checked_mul(factor).ok_or_else(wrong)?;
    let offset = u64::try_from(number).map_err(|_| wrong())?;
    if offset >> 3 >= txn.context.value_bytes_max as u64 {
        return Err(wrong().into());
    }
    Ok(offset)
}

fn place(offset: u64) -> (usize, u32) {
    let byte = usize::try_from(offset >> 3).unwrap_or(usize::MAX);
    (byte, 7 - (offset & 7) as u32)
}

pub(super) fn bit_at(bytes: &[u8], offset: u64) -> bool {
    let (byte, shift) = place(offset);
    bytes.get(byte).is_some_and(|byte| byte >> shift & 1 == 1)
}

/// Changes a bit that lies in `bytes`.
pub(super) fn set_bit_at(bytes: &mut [u8], offset: u64, bit: bool) {
    let (byte, shift) = place(offset);
    if let Some(byte) = bytes.get_mut(byte) {
        *byte = *byte & !(1 << shift) | u8::from(bit) << shift;
    }
}

/// Makes a value as long as a bit at `offset` needs.
pub(super) fn grow_for(txn: &Txn<'_>, bytes: &mut Vec<u8>, offset: u64) -> Outcome {
    let needed = place(offset).0 + 1;
    if bytes.len() < needed {
        txn.check_length(needed)?;
        bytes.resize(needed, 0);
    }
    Ok(())
}

pub(super) fn setbit(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    let offset = bit_offset(txn, args.arg(2), None)?;
    let bit = match strict_number(args.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => {
            let text = "ERR bit is not an integer or out of range";
            return Err(CommandError::text(text).into());
        }
    };
    let (mut bytes, expires_at_ms) = txn.get(key)?.unwrap_or_default();
    let held = bytes.len();
    grow_for(txn, &mut bytes, offset)?;
    let was = bit_at(&bytes, offset);
    writer::integer(out, i64::from(was));
    if was == bit && bytes.len() == held {
        // As in Redis, what changes nothing is no write: nobody who watches the key is told.
        return Ok(());
    }
    set_bit_at(&mut bytes, offset, bit);
    txn.put("setbit", key, bytes, expires_at_ms)
}

pub(super) fn getbit(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let offset = bit_offset(txn, args.arg(2), None)?;
    let bit = txn.look(args.arg(1), |value| value.is_some_and(|it| bit_at(it.bytes, offset)))?;
    writer::integer(out, i64::from(bit));
    Ok(())
}

/// Bits `from..to` of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BitRange {
    from: u64,
    to: u64,
}

impl BitRange {
    /// From arguments that count bytes or bits from either end; `None`: no bit at all.
    fn new(start: i64, end: i64, in_bits: bool, bytes: usize) -> Option<Self> {
        let total = i64::try_from(bytes).ok()?.checked_mul(if in_bits { 8 } else { 1 })?;
        let from_end = |at: i64| if at < 0 { total.saturating_add(at).max(0) } else { at };
        let (start, end) = (from_end(start), from_end(end).min(total - 1));
        if start > end {
            return None;
        }
        let unit = if in_bits { 1 } else { 8 };
        Some(Self { from: start.cast_unsigned() * unit, to: (end.cast_unsigned() + 1) * unit })
    }

    fn whole(bytes: usize) -> Self {
        Self { from: 0, to: bytes as u64 * 8 }
    }

    /// How many bits are set.
    fn count(self, bytes: &[u8]) -> u64 {
        self.by_byte(bytes).map(|(_, byte, mask)| u64::from((byte & mask).count_ones())).sum()
    }

    /// The first bit that is `wanted`.
    fn find(self, bytes: &[u8], wanted: bool) -> Option<u64> {
        self.by_byte(bytes).find_map(|(at, byte, mask)| {
            let looked_for = if wanted { byte & mask } else { !byte & mask };
            (looked_for != 0).then(|| at as u64 * 8 + u64::from(looked_for.leading_zeros()))
        })
    }

    /// Each byte with the bits of it that belong to the range.
    fn by_byte(self, bytes: &[u8]) -> impl Iterator<Item = (usize, u8, u8)> + '_ {
        let (first, last) = (self.from >> 3, self.to.div_ceil(8));
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let (begin, end) = (index(first), index(last));
        bytes[begin..end.max(begin)].iter().enumerate().map(move |(offset, byte)| {
            let at = begin + offset;
            let mut mask = u8::MAX;
            if at as u64 == first {
                mask &= u8::MAX >> (self.from & 7);
            }
            if (at as u64 + 1) * 8 > self.to {
                mask &= u8::MAX << (8 - (self.to & 7));
            }
            (at, *byte, mask)
        })
    }
}

fn unit_is_bit(argument: Option<&[u8]>) -> Outcome<bool> {
    match argument {
        None => Ok(false),
        Some(unit) if is(unit, "bit") => Ok(true),
        Some(unit) if is(unit, "byte") => Ok(false),
        Some(_) => Err(CommandError::Syntax.into()),
    }
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub(super) fn bitcount(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    // An absent key is answered before the range is looked at, as by Redis.
    if !txn.exists(key)? {
        writer::integer(out, 0);
        return Ok(());
    }
    let range = match args.len() {
        2 => None,
        4 | 5 => {
            let (start, end) = (integer(args.arg(2))?, integer(args.arg(3))?);
            if start < 0 && end < 0 && start > end {
                writer::integer(out, 0);
                return Ok(());
            }
            Some((start, end, unit_is_bit(args.get(4))?))
        }
        _ => return Err(CommandError::Syntax.into()),
    };
    let count = txn.look(key, |value| {
        let bytes = value.map_or(&[][..], |value| value.bytes);
        let range = match range {
            None => Some(BitRange::whole(bytes.len())),
            Some((start, end, in_bits)) => BitRange::new(start, end, in_bits, bytes.len()),
        };
        range.map_or(0, |range| range.count(bytes))
    })?;
    writer::integer(out, count.cast_signed());
    Ok(())
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub(super) fn bitpos(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let key = args.arg(1);
    let wanted = match integer(args.arg(2))? {
        0 => false,
        1 => true,
        _ => {
            return Err(CommandError::text("ERR The bit argument must be 1 or 0.").into());
        }
    };
    // Absent is an endless array of zeroes, whatever the range.
    if !txn.exists(key)? {
        writer::integer(out, if wanted { -1 } else { 0 });
        return Ok(());
    }
    if args.len() > 6 {
        return Err(CommandError::Syntax.into());
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let in_bits = unit_is_bit(args.get(5))?;
    let end = args.get(4).map(integer).transpose()?;
    let found = txn.look(key, |value| {
        let bytes = value.map_or(&[][..], |value| value.bytes);
        let range = BitRange::new(start, end.unwrap_or(-1), in_bits, bytes.len())?;
        match range.find(bytes, wanted) {
            // Behind the last byte all is zero, unless the range ends before.
            None if !wanted && end.is_none() => Some(bytes.len() as u64 * 8),
            found => found,
        }
    })?;
    writer::integer(out, found.map_or(-1, u64::cast_signed));
    Ok(())
}

/// `BITOP AND | OR | XOR | NOT destination key..`
pub(super) fn bitop(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (operation, destination) = (args.arg(1), args.arg(2));
    let combine: fn(u8, u8) -> u8 = match operation.to_ascii_lowercase().as_slice() {
        b"and" => |a, b| a & b,
        b"or" => |a, b| a | b,
        b"xor" => |a, b| a ^ b,
        b"not" => |a, _| !a,
        _ => return Err(CommandError::Syntax.into()),
    };
    if is(operation, "not") && args.len() != 4 {
        let text = "ERR BITOP NOT must be called with a single source key.";
        return Err(CommandError::text(text).into());
    }
    let mut result = txn.get(args.arg(3))?.map_or_else(Vec::new, |(bytes, _)| bytes);
    if is(operation, "not") {
        for byte in &mut result {
            *byte = combine(*byte, 0);
        }
    }
    for key in args.iter().skip(4) {
        txn.look(key, |value| {
            let bytes = value.map_or(&[][..], |value| value.bytes);
            result.resize(result.len().max(bytes.len()), 0);
            for (at, byte) in result.iter_mut().enumerate() {
                *byte = combine(*byte, bytes.get(at).copied().unwrap_or(0));
            }
        })?;
    }
    writer::integer(out, i64::try_from(result.len()).unwrap_or(i64::MAX));
    if result.is_empty() { txn.delete(destination) } else { txn.put("set", destination, result, 0) }
}
