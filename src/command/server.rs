//! Commands on the server that need no shard.

use super::error::CommandError;
use super::session::ServerFacts;
use crate::glob::{self, Case};
use crate::resp::{Args, Protocol, strict_number, writer};

/// Exchanging the one database with itself is all that can be asked for.
pub(super) fn swapdb(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let texts = ["ERR invalid first DB index", "ERR invalid second DB index"];
    for (index, text) in (1..).zip(texts) {
        if strict_number(args.arg(index)).and_then(|number| i32::try_from(number).ok()).is_none() {
            return Err(CommandError::text(text));
        }
    }
    if (1..=2).any(|index| strict_number(args.arg(index)) != Some(0)) {
        return Err(CommandError::DbIndex);
    }
    writer::ok(out);
    Ok(())
}

/// Each setting once, whatever number of patterns it matches; none is an empty map.
pub(super) fn config_get(
    server: &ServerFacts,
    args: Args<'_>,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    let matching: Vec<_> = server
        .live
        .settings()
        .filter(|(name, _)| {
            args.iter()
                .skip(2)
                .any(|pattern| glob::matches(pattern, name.as_bytes(), Case::Ignored))
        })
        .collect();
    writer::map(out, matching.len(), protocol);
    for (name, value) in matching {
        writer::bulk(out, name.as_bytes());
        writer::bulk(out, value.as_bytes());
    }
}
