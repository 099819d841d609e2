//! Values that are no strings: passed over by their lengths alone.

use std::io::Read;

use super::string::{length, skip_string};
use crate::transfer::{Input, TransferError};

type Result<T> = std::result::Result<T, TransferError>;

/// What a value is, by its type in the file; `None`: unknown, or of an unreleased version.
pub(super) fn kind(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "string",
        1 | 10 | 14 | 18 => "list",
        2 | 11 | 20 => "set",
        3 | 5 | 12 | 17 => "sorted set",
        4 | 9 | 13 | 16 | 24 | 25 => "hash",
        7 => "module value",
        15 | 19 | 21 => "stream",
        _ => return None,
    })
}

fn strings<R: Read>(input: &mut Input<R>, count: u64) -> Result<()> {
    // Ends with the file at the latest: each has a byte at least.
    for _ in 0..count {
        skip_string(input)?;
    }
    Ok(())
}

fn lengths<R: Read>(input: &mut Input<R>, count: usize) -> Result<()> {
    (0..count).try_for_each(|_| length(input).map(drop))
}

/// Passes over a value of the type `code`.
pub(super) fn value<R: Read>(input: &mut Input<R>, code: u8) -> Result<()> {
    match code {
        0 | 9..=13 | 16 | 17 | 20 => skip_string(input),
        1 | 2 | 14 => {
            let count = length(input)?;
            strings(input, count)
        }
        3 => {
            for _ in 0..length(input)? {
                skip_string(input)?;
                // Three lengths are infinities and no number.
                let len = input.byte()?;
                input.skip(if len < 253 { len.into() } else { 0 })?;
            }
            Ok(())
        }
        4 => {
            for _ in 0..length(input)? {
                strings(input, 2)?;
            }
            Ok(())
        }
        5 => {
            for _ in 0..length(input)? {
                skip_string(input)?;
                input.skip(8)?;
            }
            Ok(())
        }
        7 => module(input),
        15 | 19 | 21 => stream(input, code),
        18 => {
            for _ in 0..length(input)? {
                length(input)?;
                skip_string(input)?;
            }
            Ok(())
        }
        // Fields that end: the first end, then each field's.
        24 => {
            input.skip(8)?;
            for _ in 0..length(input)? {
                length(input)?;
                strings(input, 2)?;
            }
            Ok(())
        }
        25 => {
            input.skip(8)?;
            skip_string(input)
        }
        other => Err(input.damaged(format!("values of type {other} are unknown"))),
    }
}

/// A module's value, or what it has beside the keys: its number, then parts that say what they are.
pub(super) fn module<R: Read>(input: &mut Input<R>) -> Result<()> {
    length(input)?;
    loop {
        match length(input)? {
            0 => return Ok(()),
            1 | 2 => drop(length(input)?),
            3 => input.skip(4)?,
            4 => input.skip(8)?,
            5 => skip_string(input)?,
            other => {
                return Err(input.damaged(format!("parts {other} of a module are unknown")));
            }
        }
    }
}

fn stream<R: Read>(input: &mut Input<R>, code: u8) -> Result<()> {
    // Nodes: the first identifier, and a block of entries.
    for _ in 0..length(input)? {
        strings(input, 2)?;
    }
    // Entries and the last identifier; since 7.0 the first one, the largest deleted one, and how many there were.
    lengths(input, if code == 15 { 3 } else { 8 })?;
    for _ in 0..length(input)? {
        group(input, code)?;
    }
    Ok(())
}

fn group<R: Read>(input: &mut Input<R>, code: u8) -> Result<()> {
    const IDENTIFIER_BYTES: u64 = 16;
    skip_string(input)?;
    lengths(input, if code == 15 { 2 } else { 3 })?;
    for _ in 0..length(input)? {
        // Identifier and time of the delivery, then how often.
        input.skip(IDENTIFIER_BYTES + 8)?;
        length(input)?;
    }
    for _ in 0..length(input)? {
        skip_string(input)?;
        input.skip(if code == 21 { 16 } else { 8 })?;
        for _ in 0..length(input)? {
            input.skip(IDENTIFIER_BYTES)?;
        }
    }
    Ok(())
}
