//! BITFIELD: integers of any width inside of a value.

use super::bits::{bit_at, bit_offset, grow_for, set_bit_at};
use super::options::{integer, is};
use super::{Outcome, Txn};
use crate::command::CommandError;
use crate::resp::{Args, strict_number, writer};

/// `i5`, `u16`: a signed integer has up to 64 bits, an unsigned one up to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Width {
    is_signed: bool,
    bits: u32,
}

impl Width {
    fn parse(argument: &[u8]) -> Outcome<Self> {
        let wrong = CommandError::text(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (is_signed, digits) = match argument.split_first() {
            Some((b'i', digits)) => (true, digits),
            Some((b'u', digits)) => (false, digits),
            _ => return Err(wrong.into()),
        };
        let most = if is_signed { 64 } else { 63 };
        let bits = strict_number(digits).and_then(|bits| u32::try_from(bits).ok());
        let bits = bits.filter(|bits| (1..=most).contains(bits)).ok_or(wrong)?;
        Ok(Self { is_signed, bits })
    }

    fn range(self) -> (i128, i128) {
        if self.is_signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// The number that the low bits of `raw` are.
    fn number(self, raw: u64) -> i128 {
        let raw = i128::from(raw) & ((1 << self.bits) - 1);
        let (_, largest) = self.range();
        if raw > largest { raw - (1 << self.bits) } else { raw }
    }

    fn read(self, bytes: &[u8], offset: u64) -> i128 {
        let bits = (offset..offset + u64::from(self.bits)).map(|at| bit_at(bytes, at));
        self.number(bits.fold(0, |raw, bit| raw << 1 | u64::from(bit)))
    }

    fn write(self, bytes: &mut [u8], offset: u64, number: i128) {
        for bit in 0..self.bits {
            let is_set = number >> (self.bits - 1 - bit) & 1 == 1;
            set_bit_at(bytes, offset + u64::from(bit), is_set);
        }
    }

    /// `wanted` as this width can have it; `None`: it must not be written.
    fn fit(self, wanted: i128, overflow: Overflow) -> Option<i128> {
        let (smallest, largest) = self.range();
        if (smallest..=largest).contains(&wanted) {
            return Some(wanted);
        }
        match overflow {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "wraps")]
            Overflow::Wrap => Some(self.number(wanted as u64)),
            Overflow::Saturate => Some(wanted.clamp(smallest, largest)),
            Overflow::Fail => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

#[derive(Debug, Clone, Copy)]
struct Step {
    width: Width,
    offset: u64,
    action: Action,
    overflow: Overflow,
}

fn parse(txn: &Txn<'_>, args: Args<'_>) -> Outcome<Vec<Step>> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while let Some(word) = args.get(index) {
        let left = args.len() - index - 1;
        if is(word, "overflow") && left >= 1 {
            overflow = match args.arg(index + 1).to_ascii_lowercase().as_slice() {
                b"wrap" => Overflow::Wrap,
                b"sat" => Overflow::Saturate,
                b"fail" => Overflow::Fail,
                _ => {
                    let text = "ERR Invalid OVERFLOW type specified";
                    return Err(CommandError::text(text).into());
                }
            };
            index += 2;
            continue;
        }
        let needed = if is(word, "get") { 2 } else { 3 };
        let known = is(word, "get") || is(word, "set") || is(word, "incrby");
        if !known || left < needed {
            return Err(CommandError::Syntax.into());
        }
        let width = Width::parse(args.arg(index + 1))?;
        let offset = bit_offset(txn, args.arg(index + 2), Some(width.bits))?;
        let action = match needed {
            2 => Action::Get,
            _ if is(word, "set") => Action::Set(integer(args.arg(index + 3))?),
            _ => Action::Add(integer(args.arg(index + 3))?),
        };
        steps.push(Step { width, offset, action, overflow });
        index += needed + 1;
    }
    Ok(steps)
}

pub(super) fn bitfield(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let steps = parse(txn, args)?;
    run(txn, args.arg(1), &steps, out)
}

pub(super) fn bitfield_ro(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let steps = parse(txn, args)?;
    if steps.iter().any(|step| step.action != Action::Get) {
        let text = "ERR BITFIELD_RO only supports the GET subcommand";
        return Err(CommandError::text(text).into());
    }
    run(txn, args.arg(1), &steps, out)
}

fn run(txn: &mut Txn<'_>, key: &[u8], steps: &[Step], out: &mut Vec<u8>) -> Outcome {
    let (mut bytes, expires_at_ms) = txn.get(key)?.unwrap_or_default();
    let writes = steps.iter().filter(|step| step.action != Action::Get);
    let last = writes.map(|step| step.offset + u64::from(step.width.bits) - 1).max();
    let held = bytes.len();
    if let Some(last) = last {
        grow_for(txn, &mut bytes, last)?;
    }
    let mut changed = bytes.len() > held;
    writer::array(out, steps.len());
    for step in steps {
        let Step { width, offset, action, overflow } = *step;
        let before = width.read(&bytes, offset);
        let (answer, wanted) = match action {
            Action::Get => (Some(before), None),
            // A number is taken for the bits that it has; only what is too wide for the field overflows.
            Action::Set(number) => {
                let number = if width.is_signed {
                    i128::from(number)
                } else {
                    i128::from(number.cast_unsigned())
                };
                let fit = width.fit(number, overflow);
                (fit.map(|_| before), fit)
            }
            Action::Add(by) => {
                let fit = width.fit(before + i128::from(by), overflow);
                (fit, fit)
            }
        };
        if let Some(number) = wanted {
            width.write(&mut bytes, offset, number);
            changed |= number != before;
        }
        match answer.and_then(|number| i64::try_from(number).ok()) {
            Some(number) => writer::integer(out, number),
            None => writer::null(out, txn.protocol()),
        }
    }
    if changed { txn.put("setbit", key, bytes, expires_at_ms) } else { Ok(()) }
}
