//! Commands on keys.

use super::*;

pub(super) static TABLE: &[Spec] = &[
    Spec {
        keys: keys(1, -1, 1, &["RM", "delete"]),
        categories: &["keyspace", "write", "slow"],
        tips: &[MULTI_SHARD, SUM],
        group: "generic",
        summary: "Removes keys; answers how many existed",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: MULTIPLE, ..KEY }],
        ..spec("del", Id::Del, Place::Keys, -2, WRITE)
    },
    Spec {
        keys: keys(1, -1, 1, &["RO"]),
        categories: &["keyspace", "read", "fast"],
        tips: &[MULTI_SHARD, SUM],
        group: "generic",
        summary: "Counts how many of the keys exist",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: MULTIPLE, ..KEY }],
        ..spec("exists", Id::Exists, Place::Keys, -2, READ)
    },
    Spec {
        categories: &["keyspace", "read", "fast"],
        tips: &[ALL_SHARDS, SUM],
        group: "server",
        summary: "The number of keys",
        ..spec("dbsize", Id::Dbsize, Place::AllShards, 1, READ)
    },
    Spec {
        categories: &["keyspace", "write", "slow", "dangerous"],
        tips: &[ALL_SHARDS, ALL_SUCCEEDED],
        group: "server",
        summary: "Writes the memtables of all shards to disk; erases nothing unless flushdb = \"erase\"",
        complexity: "O(N) in the bytes not yet in tables",
        args: &[FLUSH_MODE],
        ..spec("flushdb", Id::Flushdb, Place::AllShards, -1, WRITE)
    },
    Spec {
        categories: &["keyspace", "write", "slow", "dangerous"],
        tips: &[ALL_SHARDS, ALL_SUCCEEDED],
        group: "server",
        summary: "Erases all keys",
        complexity: "O(N) in the number of files",
        args: &[FLUSH_MODE],
        ..spec("flushall", Id::Flushall, Place::AllShards, -1, WRITE)
    },
];
