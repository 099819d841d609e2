//! Sizes and times as text.

use std::fmt;
use std::time::Duration;

/// Bytes: a plain number, or one with B, KB, MB, GB, TB or KiB, MiB, GiB, TiB, in any case. KB is 1024 bytes, as in
/// Redis: there is no decimal unit, and none of one letter, since Redis' `1m` is not its `1mb`.
///
/// # Errors
/// What was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kb" | "kib" => 10,
        "mb" | "mib" => 20,
        "gb" | "gib" => 30,
        "tb" | "tib" => 40,
        _ => {
            return Err(format!(
                "'{text}' is not a size: a number and KB, MB or GB, as in 64MB (1 MB = 1024 KB)"
            ));
        }
    };
    let number: u64 = number.parse().map_err(|_| {
        format!("'{text}' is not a size: a whole number and KB, MB or GB, as in 64MB")
    })?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{text}' is more bytes than there are"))
}

/// How much the block cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheCapacity {
    /// So many bytes.
    Bytes(u64),
    /// So many blocks of `block_size`.
    Blocks(u64),
}

impl CacheCapacity {
    /// A size, or a number of blocks: `256MB`, `65536 blocks`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match split(text) {
            (number, "blocks") => match number.parse() {
                Ok(blocks) => Ok(Self::Blocks(blocks)),
                Err(_) => Err(format!("'{text}' is not a number of blocks, as in 65536 blocks")),
            },
            _ => parse_size(text).map(Self::Bytes),
        }
    }

    /// In bytes, with blocks of `block_bytes`.
    pub fn bytes(self, block_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Blocks(blocks) => blocks.saturating_mul(block_bytes),
        }
    }
}

impl fmt::Display for CacheCapacity {
    /// The shortest text that [`CacheCapacity::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&show_size(*bytes)),
            Self::Blocks(blocks) => write!(f, "{blocks} blocks"),
        }
    }
}

/// A time: a number and us, ms, s, m, h or d; 0 needs no unit.
///
/// # Errors
/// What was expected.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a time: a whole number and ms, s, m, h or d, as in 5s");
    let (number, unit) = split(text);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let micros = match unit.to_ascii_lowercase().as_str() {
        "" if number == 0 => 1,
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(bad()),
    };
    number.checked_mul(micros).map(Duration::from_micros).ok_or_else(bad)
}

/// A time as [`parse_time`] takes it, where a number alone is seconds: for settings that have Redis' name.
///
/// # Errors
/// What was expected.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<u64>() {
        // No longer than what `parse_time` takes: else what is shown could not be read back.
        Ok(seconds) => parse_time(&format!("{seconds}s")),
        Err(_) => parse_time(text),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// The shortest text that [`parse_size`] reads back.
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// The shortest text that [`parse_time`] reads back.
pub fn show_time(time: Duration) -> String {
    let micros = time.as_micros();
    for (unit_micros, unit) in
        [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")]
    {
        if micros > 0 && micros.is_multiple_of(unit_micros) {
            return format!("{}{unit}", micros / unit_micros);
        }
    }
    if micros == 0 { "0s".into() } else { format!("{micros}us") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_capacities() {
        use CacheCapacity::{Blocks, Bytes};
        for (text, capacity) in
            [("64MB", Bytes(64 << 20)), ("1000 blocks", Blocks(1000)), ("7blocks", Blocks(7))]
        {
            assert_eq!(CacheCapacity::parse(text), Ok(capacity));
            assert_eq!(CacheCapacity::parse(&capacity.to_string()), Ok(capacity));
        }
        assert_eq!(Blocks(3).bytes(4096), 12288);
        assert!(CacheCapacity::parse("blocks").unwrap_err().contains("65536 blocks"));
        assert!(CacheCapacity::parse("3 pages").unwrap_err().contains("not a size"));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4KB", 4096),
            ("64MB", 64 << 20),
            ("64MiB", 64 << 20),
            ("64mb", 64 << 20),
            ("2 GB", 2 << 30),
            ("1b", 1),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for text in ["", "MB", "-1", "1.5GB", "64m", "64 M B", "20000000TB", "1e9"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(1536 << 10), "1536KB");
    }

    #[test]
    fn a_number_alone_is_seconds_where_redis_says_so() {
        for (text, seconds) in [("5", 5), ("0", 0), ("5s", 5), ("2m", 120)] {
            assert_eq!(parse_seconds(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert!(parse_seconds("-5").is_err());
        assert!(parse_seconds("9223372036854775807").is_err(), "shown, it would not be read back");
    }

    #[test]
    fn times() {
        for (text, micros) in [
            ("0", 0),
            ("5s", 5_000_000),
            ("100ms", 100_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
            ("7us", 7),
        ] {
            let time = Duration::from_micros(micros);
            assert_eq!(parse_time(text), Ok(time), "{text}");
            assert_eq!(parse_time(&show_time(time)), Ok(time));
        }
        for text in ["", "5", "5 x", "-5s", "99999999999999d"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
