//! Commands on values.

use super::*;

pub(super) static TABLE: &[Spec] = &[
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "string", "fast"],
        group: "string",
        summary: "Returns the value of a key",
        args: &[KEY],
        ..spec("get", Id::Get, Place::Keys, 2, READ)
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update", "variable_flags"]),
        categories: &["write", "string", "slow"],
        group: "string",
        summary: "Gives a key a value, whatever it had before",
        args: &[KEY, VALUE],
        ..spec("set", Id::Set, Place::Keys, -3, STORE)
    },
    Spec {
        keys: keys(1, -1, 1, &["RO", "access"]),
        categories: &["read", "string", "fast"],
        tips: &[MULTI_SHARD],
        group: "string",
        summary: "Returns the values of several keys",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: MULTIPLE, ..KEY }],
        ..spec("mget", Id::Mget, Place::Keys, -2, READ)
    },
    Spec {
        keys: keys(1, -1, 2, &["OW", "update"]),
        categories: &["write", "string", "slow"],
        tips: &[MULTI_SHARD, ALL_SUCCEEDED],
        group: "string",
        since: "1.0.1",
        summary: "Gives several keys their values; atomic within one shard",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: MULTIPLE, inner: &[KEY, VALUE], ..arg("key_value", "block") }],
        ..spec("mset", Id::Mset, Place::Keys, -3, STORE)
    },
];
