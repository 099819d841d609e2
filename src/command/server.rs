//! Commands on the server that need no shard.

use super::session::ServerFacts;
use crate::glob::{self, Case};
use crate::resp::{Args, Protocol, writer};

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
