//! Options and numbers of commands on values, in Redis' order of checks.

use super::Outcome;
use crate::command::CommandError;
use crate::resp::{Args, strict_number};

/// An integer as Redis takes it: digits and a minus sign, nothing else.
pub(super) fn integer(argument: &[u8]) -> Outcome<i64> {
    strict_number(argument).ok_or_else(|| CommandError::NotInteger.into())
}

pub(super) fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// How a time is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) in_seconds: bool,
    /// Since 1970, not from now on.
    pub(super) is_absolute: bool,
}

impl Clock {
    /// By an option's name.
    fn named(option: &[u8]) -> Option<Self> {
        let of = |in_seconds, is_absolute| Some(Self { in_seconds, is_absolute });
        match option.to_ascii_lowercase().as_slice() {
            b"ex" => of(true, false),
            b"px" => of(false, false),
            b"exat" => of(true, true),
            b"pxat" => of(false, true),
            _ => None,
        }
    }
}

/// When a value is to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry<'a> {
    /// As the command does without an option.
    Unsaid,
    At(Clock, &'a [u8]),
    /// As the value before (SET).
    Keep,
    /// Never (GETEX).
    Persist,
}

impl Expiry<'_> {
    /// Milliseconds since 1970, if it names a time.
    ///
    /// # Errors
    /// No number; zero, negative, or beyond what milliseconds can say.
    pub(super) fn at_ms(self, now_ms: u64, command: &'static str) -> Outcome<Option<u64>> {
        let Self::At(clock, argument) = self else { return Ok(None) };
        positive_ms(integer(argument)?, clock, now_ms, command).map(Some)
    }
}

/// A time that must lie after the epoch.
pub(super) fn positive_ms(
    number: i64,
    clock: Clock,
    now_ms: u64,
    command: &'static str,
) -> Outcome<u64> {
    let wrong = CommandError::ExpireTime(command);
    if number <= 0 {
        return Err(wrong.into());
    }
    let ms = if clock.in_seconds { number.checked_mul(1000) } else { Some(number) };
    let base = if clock.is_absolute { 0 } else { now_ms.cast_signed() };
    let at = ms.and_then(|ms| ms.checked_add(base)).filter(|at| *at > 0);
    at.map(i64::cast_unsigned).ok_or_else(|| wrong.into())
}

/// What SET and GETEX are told beside key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options<'a> {
    pub(super) expiry: Expiry<'a>,
    /// SET: only if the key exists (`Some(true)`), or only if it does not.
    pub(super) only_if_exists: Option<bool>,
    /// SET: the reply is the value before.
    pub(super) get: bool,
}

/// Whose options they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Set,
    Getex,
}

impl<'a> Options<'a> {
    /// The arguments from `from` on.
    ///
    /// # Errors
    /// An option that is none, or that contradicts an earlier one.
    pub(super) fn parse(args: Args<'a>, from: usize, of: Of) -> Outcome<Self> {
        let mut options = Self { expiry: Expiry::Unsaid, only_if_exists: None, get: false };
        let mut index = from;
        while let Some(option) = args.get(index) {
            let next = args.get(index + 1);
            let is_set = of == Of::Set;
            if is_set && is(option, "nx") && options.only_if_exists != Some(true) {
                options.only_if_exists = Some(false);
            } else if is_set && is(option, "xx") && options.only_if_exists != Some(false) {
                options.only_if_exists = Some(true);
            } else if is_set && is(option, "get") {
                options.get = true;
            } else if is_set
                && is(option, "keepttl")
                && matches!(options.expiry, Expiry::Unsaid | Expiry::Keep)
            {
                options.expiry = Expiry::Keep;
            } else if !is_set
                && is(option, "persist")
                && matches!(options.expiry, Expiry::Unsaid | Expiry::Persist)
            {
                options.expiry = Expiry::Persist;
            } else if let (Some(clock), Some(time)) = (Clock::named(option), next)
                && options.may_expire(clock)
            {
                options.expiry = Expiry::At(clock, time);
                index += 1;
            } else {
                return Err(CommandError::Syntax.into());
            }
            index += 1;
        }
        Ok(options)
    }

    /// Whether a time given in this way contradicts nothing: the same option again is taken, and the last one counts.
    fn may_expire(&self, clock: Clock) -> bool {
        match self.expiry {
            Expiry::Unsaid => true,
            Expiry::At(before, _) => before == clock,
            Expiry::Keep | Expiry::Persist => false,
        }
    }
}
