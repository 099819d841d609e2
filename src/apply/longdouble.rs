//! The numbers of INCRBYFLOAT: Redis computes them as x87 extended precision (64 bits of mantissa) and shows 17 decimals, so a
//! client that compares texts sees the same only from the same arithmetic. Here it is done exactly and then rounded, half to
//! even, as the processor would.

use num_bigint::{BigInt, Sign};

/// Bits of the mantissa.
const MANTISSA_BITS: u64 = 64;
/// The largest number is below 2 to this.
const EXPONENT_MAX: i64 = 16_384;
/// Numbers below 2 to this are zero.
const EXPONENT_MIN: i64 = -16_445;
/// Decimals that are shown.
const DECIMALS: u32 = 17;
/// Longest text of a number (Redis' figure).
const TEXT_BYTES_MAX: usize = 5 * 1024;

/// `mantissa * 2^exponent`, or infinite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LongDouble {
    Finite { mantissa: BigInt, exponent: i64 },
    Infinite,
}

/// `numerator / 2^shift`, half to even.
fn shifted_right(numerator: &BigInt, shift: u64) -> BigInt {
    divided(numerator, &(BigInt::from(1) << shift))
}

/// The quotient, half to even; `by` is positive.
fn divided(numerator: &BigInt, by: &BigInt) -> BigInt {
    let magnitude = BigInt::from_biguint(Sign::Plus, numerator.magnitude().clone());
    let quotient = &magnitude / by;
    let twice: BigInt = (&magnitude - &quotient * by) * 2;
    let up = twice > *by || twice == *by && quotient.bit(0);
    let rounded = if up { quotient + 1 } else { quotient };
    if numerator.sign() == Sign::Minus { -rounded } else { rounded }
}

impl LongDouble {
    pub(super) const ZERO: Self = Self::Finite { mantissa: BigInt::ZERO, exponent: 0 };

    /// `numerator / denominator`, rounded; `None` beyond the largest number, or if it is not zero and becomes so.
    fn rounded(numerator: &BigInt, denominator: &BigInt) -> Option<Self> {
        if numerator.sign() == Sign::NoSign {
            return Some(Self::ZERO);
        }
        let bits = |number: &BigInt| i64::try_from(number.bits()).unwrap_or(i64::MAX);
        // A quotient of 64 or 65 bits; of 65 the last one is rounded away below.
        let wanted = i64::try_from(MANTISSA_BITS).unwrap_or(i64::MAX);
        let mut exponent = (bits(numerator) - bits(denominator) - wanted).max(EXPONENT_MIN);
        let quotient = |exponent: i64| {
            let shift = exponent.unsigned_abs();
            if exponent >= 0 {
                divided(numerator, &(denominator << shift))
            } else {
                divided(&(numerator << shift), denominator)
            }
        };
        let mut mantissa = quotient(exponent);
        if mantissa.bits() > MANTISSA_BITS {
            exponent += 1;
            mantissa = quotient(exponent);
        }
        if mantissa.sign() == Sign::NoSign || bits(&mantissa) + exponent > EXPONENT_MAX {
            return None;
        }
        Some(Self::Finite { mantissa, exponent })
    }

    /// A decimal number as `strtold` takes it, without spaces and hexadecimal digits.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (negative, unsigned) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, text),
        };
        if [&b"inf"[..], b"infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word)) {
            return Some(Self::Infinite);
        }
        let (number, exponent) =
            match unsigned.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) {
                Some(at) => (&unsigned[..at], exponent_of(&unsigned[at + 1..])?),
                None => (unsigned, 0),
            };
        let (whole, fraction) = match number.iter().position(|byte| *byte == b'.') {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &[][..]),
        };
        let digits = [whole, fraction].concat();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let magnitude = BigInt::parse_bytes(&digits, 10)?;
        let numerator = if negative { -magnitude } else { magnitude };
        let exponent = exponent - i64::try_from(fraction.len()).ok()?;
        let power = BigInt::from(10).pow(u32::try_from(exponent.unsigned_abs()).ok()?);
        if exponent >= 0 {
            Self::rounded(&(numerator * power), &BigInt::from(1))
        } else {
            Self::rounded(&numerator, &power)
        }
    }

    /// The sum; `None` if it is no number.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let (
            Self::Finite { mantissa: a, exponent: a_exponent },
            Self::Finite { mantissa: b, exponent: b_exponent },
        ) = (self, other)
        else {
            return None;
        };
        let exponent = *a_exponent.min(b_exponent);
        let aligned = |mantissa: &BigInt, of: i64| mantissa << (of - exponent).unsigned_abs();
        let sum = aligned(a, *a_exponent) + aligned(b, *b_exponent);
        let shift = exponent.unsigned_abs();
        if exponent >= 0 {
            Self::rounded(&(sum << shift), &BigInt::from(1))
        } else {
            Self::rounded(&sum, &(BigInt::from(1) << shift))
        }
    }

    /// With at most 17 decimals, without zeroes at their end.
    pub(super) fn to_text(&self) -> String {
        let Self::Finite { mantissa, exponent } = self else { return "inf".to_owned() };
        let shift = exponent.unsigned_abs();
        if *exponent >= 0 {
            return (mantissa << shift).to_string();
        }
        let scaled = shifted_right(&(mantissa * BigInt::from(10).pow(DECIMALS)), shift);
        let digits =
            format!("{:0>width$}", scaled.magnitude().to_string(), width = DECIMALS as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - DECIMALS as usize);
        let text = format!("{whole}.{fraction}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if scaled.sign() == Sign::Minus { format!("-{text}") } else { text.to_owned() }
    }
}

/// Exponents beyond this make any mantissa of [`TEXT_BYTES_MAX`] infinite or zero.
const EXPONENT_DIGITS_MAX: i64 = 12_000;

fn exponent_of(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_i64, |number, digit| {
        (number * 10 + i64::from(digit - b'0')).min(EXPONENT_DIGITS_MAX)
    });
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let parse = |text: &str| LongDouble::parse(text.as_bytes()).unwrap();
        parse(a).plus(&parse(b)).unwrap().to_text()
    }

    #[test]
    fn sums_are_those_of_redis() {
        // Each seen from redis-server 7.0.15.
        for (a, b, wanted) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-1.5", "1.5"),
            ("0.1", "0.2", "0.3"),
            ("1", "1e-17", "1.00000000000000001"),
            ("3.0e17", "1.5", "300000000000000001.5"),
            ("-1", "1", "0"),
            ("1e20", "1", "100000000000000000000"),
            ("0.1", "-0.1000000000000000001", "0"),
        ] {
            assert_eq!(sum(a, b), wanted, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " 1", "1 ", "nan", "1e", "0x10", "1e5000", "1e-6000", ".", "--1", "1.2.3"]
        {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        let infinite = LongDouble::parse(b"-Infinity").unwrap();
        assert_eq!(infinite.plus(&LongDouble::ZERO), None);
        let large = LongDouble::parse(b"1e4932").unwrap();
        let larger = (0..4).try_fold(large, |number, _| number.plus(&number));
        assert_eq!(larger, None, "beyond the largest number");
    }
}
