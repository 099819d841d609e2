//! MEMORY, but for USAGE.

use super::info::{InfoFacts, ratio};
use crate::resp::{Protocol, writer};

pub(super) fn doctor(out: &mut Vec<u8>, protocol: Protocol) {
    let text = "Nothing to report: all buffers, memtables and caches are cut from one budget (maxmemory), which is \
                never exceeded to hold data. INFO memory and MEMORY STATS show what it is used for.\n";
    writer::verbatim(out, text.as_bytes(), protocol);
}

enum Value {
    Bytes(u64),
    Ratio(f64),
}

/// MEMORY STATS: Redis' names, as far as there is such a thing here, then ours.
pub(crate) fn memory_stats(facts: &InfoFacts, protocol: Protocol, out: &mut Vec<u8>) {
    use Value::{Bytes, Ratio};
    let (memory, lsm) = (&facts.memory, &facts.lsm);
    let overhead = memory.used.saturating_sub(memory.dataset);
    let keys = facts.keyspace.keys;
    let fields = [
        ("peak.allocated", Bytes(memory.peak)),
        ("total.allocated", Bytes(memory.used)),
        ("startup.allocated", Bytes(0)),
        ("replication.backlog", Bytes(0)),
        ("clients.slaves", Bytes(0)),
        ("clients.normal", Bytes(memory.clients)),
        ("cluster.links", Bytes(0)),
        ("aof.buffer", Bytes(0)),
        ("lua.caches", Bytes(0)),
        ("functions.caches", Bytes(0)),
        ("overhead.total", Bytes(overhead)),
        ("keys.count", Bytes(keys)),
        ("keys.bytes-per-key", Bytes(memory.dataset.checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", Bytes(memory.dataset)),
        ("dataset.percentage", Ratio(100.0 * ratio(memory.dataset, memory.used))),
        ("peak.percentage", Ratio(100.0 * ratio(memory.used, memory.peak))),
        ("allocator.allocated", Bytes(memory.allocated)),
        ("allocator.active", Bytes(memory.active)),
        ("allocator.resident", Bytes(memory.resident)),
        ("allocator-fragmentation.ratio", Ratio(ratio(memory.active, memory.allocated))),
        ("allocator-fragmentation.bytes", Bytes(memory.active.saturating_sub(memory.allocated))),
        ("fragmentation", Ratio(ratio(memory.rss, memory.used))),
        ("fragmentation.bytes", Bytes(memory.rss.saturating_sub(memory.used))),
        ("memtables.bytes", Bytes(lsm.memtable_bytes)),
        ("block-cache.bytes", Bytes(lsm.cache_bytes)),
        ("tables.bytes", Bytes(lsm.table_memory_bytes)),
    ];
    writer::map(out, fields.len(), protocol);
    for (name, value) in fields {
        writer::bulk(out, name.as_bytes());
        match value {
            Bytes(bytes) => writer::integer(out, i64::try_from(bytes).unwrap_or(i64::MAX)),
            Ratio(ratio) => writer::double(out, ratio, protocol),
        }
    }
}
