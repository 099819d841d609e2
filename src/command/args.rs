//! Arguments of the commands that shards carry out, checked before they travel: a shard sees valid ones only.

use super::error::CommandError;
use super::info::Sections;
use super::table::{self, CommandId, CommandSet, Spec};
use crate::backup::Name;
use crate::limits::{GLOB_BYTES_MAX, SCAN_COUNT_DEFAULT};
use crate::resp::{Args, strict_number};

/// What STATS is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsScope {
    Server,
    EachShard,
    /// Everything, as JSON.
    Report,
}

/// How FLUSHALL and FLUSHDB are asked to work. Both are answered once the result is durable: a reply to ASYNC before
/// that would break the durability contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    Default,
    Async,
    Sync,
}

/// Whether the arguments, whose number is right, can be carried out.
///
/// # Errors
/// As Redis, and for a key above `KEY_BYTES_MAX`.
#[inline]
pub fn check(spec: &Spec, args: Args<'_>) -> Result<(), CommandError> {
    match spec.id {
        CommandId::Ping if args.len() > 2 => return Err(CommandError::Arity(spec.name)),
        CommandId::Mset if args.len().is_multiple_of(2) => {
            return Err(CommandError::Arity(spec.name));
        }
        CommandId::Flushdb | CommandId::Flushall => {
            flush_mode(args)?;
        }
        CommandId::Bgsave => match args.get(1) {
            Some(word) if args.len() > 2 || !word.eq_ignore_ascii_case(b"schedule") => {
                return Err(CommandError::Syntax);
            }
            _ => {}
        },
        CommandId::Checkpoint => {
            Name::parse(args.arg(1)).map_err(|what| CommandError::text(format!("ERR {what}")))?;
        }
        CommandId::Stats => {
            stats_scope(args)?;
        }
        CommandId::Scan => {
            ScanOptions::parse(args)?;
        }
        CommandId::Keys => check_pattern(args.arg(1))?,
        _ => {}
    }
    check_keys(spec, args)
}

/// Whether the keys are keys.
///
/// # Errors
/// One is longer than `KEY_BYTES_MAX`.
#[inline]
pub fn check_keys(spec: &Spec, args: Args<'_>) -> Result<(), CommandError> {
    for position in spec.key_positions(args.len()) {
        let bytes = args.arg(position).len();
        if bytes > shard::limits::KEY_BYTES_MAX {
            return Err(CommandError::KeyTooLong { bytes });
        }
    }
    Ok(())
}

fn check_pattern(pattern: &[u8]) -> Result<(), CommandError> {
    if pattern.len() > GLOB_BYTES_MAX {
        return Err(CommandError::PatternTooLong { bytes: pattern.len() });
    }
    Ok(())
}

/// A cursor as C takes it for an unsigned number: nothing is 0, and a negative one wraps around.
fn cursor(text: &[u8]) -> Option<u64> {
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return text.is_empty().then_some(0);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

/// `cursor [MATCH pattern] [COUNT count] [TYPE type]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    pub cursor: u64,
    pub pattern: Option<&'a [u8]>,
    /// Keys to look at.
    pub count: u64,
    /// All keys are strings: another type matches none.
    pub type_matches: bool,
}

impl<'a> ScanOptions<'a> {
    /// # Errors
    /// No cursor, no count of at least one, a pattern that is too long, anything else.
    pub fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self {
            cursor: cursor(args.arg(1)).ok_or(CommandError::Cursor)?,
            pattern: None,
            count: SCAN_COUNT_DEFAULT,
            type_matches: true,
        };
        for index in (2..args.len()).step_by(2) {
            let (option, value) = (args.arg(index), args.get(index + 1));
            let value = value.ok_or(CommandError::Syntax)?;
            if option.eq_ignore_ascii_case(b"match") {
                check_pattern(value)?;
                options.pattern = Some(value);
            } else if option.eq_ignore_ascii_case(b"count") {
                let count = strict_number(value).ok_or(CommandError::NotInteger)?;
                options.count = u64::try_from(count).map_err(|_| CommandError::Syntax)?;
                if options.count == 0 {
                    return Err(CommandError::Syntax);
                }
            } else if option.eq_ignore_ascii_case(b"type") {
                options.type_matches = value.eq_ignore_ascii_case(b"string");
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// `[ASYNC | SYNC]`
///
/// # Errors
/// Anything else.
pub fn flush_mode(args: Args<'_>) -> Result<FlushMode, CommandError> {
    flush_mode_at(args, 1)
}

/// The same from argument `at` on.
pub(super) fn flush_mode_at(args: Args<'_>, at: usize) -> Result<FlushMode, CommandError> {
    match (args.len() - at, args.get(at)) {
        (0, _) => Ok(FlushMode::Default),
        (1, Some(mode)) if mode.eq_ignore_ascii_case(b"async") => Ok(FlushMode::Async),
        (1, Some(mode)) if mode.eq_ignore_ascii_case(b"sync") => Ok(FlushMode::Sync),
        _ => Err(CommandError::Syntax),
    }
}

/// `[SHARDS | JSON]`
///
/// # Errors
/// Anything else.
pub fn stats_scope(args: Args<'_>) -> Result<StatsScope, CommandError> {
    match (args.len(), args.get(1)) {
        (1, _) => Ok(StatsScope::Server),
        (2, Some(scope)) if scope.eq_ignore_ascii_case(b"shards") => Ok(StatsScope::EachShard),
        (2, Some(scope)) if scope.eq_ignore_ascii_case(b"json") => Ok(StatsScope::Report),
        _ => Err(CommandError::Syntax),
    }
}

/// The sections that INFO is asked for; unknown names are none, as in Redis.
pub fn info_sections(args: Args<'_>) -> Sections {
    Sections::named(args.iter().skip(1))
}

/// The commands that LATENCY HISTOGRAM is asked for, containers with their subcommands; unknown names are none, as in Redis.
/// One that is named twice is shown once (Redis: twice), so that no list of names makes a reply larger than all of them.
pub fn histograms_named(args: Args<'_>) -> CommandSet {
    if args.len() == 2 {
        return CommandSet::ALL;
    }
    let mut named = CommandSet::default();
    for spec in args.iter().skip(2).filter_map(table::find) {
        named.insert(spec.id);
        spec.subcommands.iter().for_each(|sub| named.insert(sub.id));
    }
    named
}

/// Whether the answer to a command that goes to all shards shows latencies or counts of commands: only then do they travel.
pub fn shows_commands(id: CommandId, args: Args<'_>) -> bool {
    match id {
        CommandId::Stats | CommandId::LatencyHistogram => true,
        CommandId::Info => info_sections(args).show_commands(),
        _ => false,
    }
}
