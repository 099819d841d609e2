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
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["keyspace", "read", "slow"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "2.6.0",
        summary: "The value of a key, as RESTORE takes it",
        complexity: "O(N) in its length",
        args: &[KEY],
        ..spec("dump", Id::Dump, Place::Keys, 2, Flags::READONLY)
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
    Spec {
        keys: keys(1, 2, 1, &["RO", "access"]),
        categories: &["keyspace", "write", "slow"],
        group: "generic",
        since: "6.2.0",
        summary: "Gives another key the value of a key, and its expiry",
        complexity: "O(N)",
        args: &[
            arg("source", "key"),
            arg("destination", "key"),
            ArgDoc { token: Some("DB"), flags: &["optional"], ..arg("destination-db", "integer") },
            ArgDoc { token: Some("REPLACE"), flags: &["optional"], ..arg("replace", "pure-token") },
        ],
        ..spec("copy", Id::Copy, Place::Keys, -3, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "update"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "1.0.0",
        summary: "Lets a key expire, in seconds from now",
        args: &[
            arg("key", "key"),
            arg("seconds", "integer"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("NX"), ..arg("nx", "pure-token") },
                    ArgDoc { token: Some("XX"), ..arg("xx", "pure-token") },
                    ArgDoc { token: Some("GT"), ..arg("gt", "pure-token") },
                    ArgDoc { token: Some("LT"), ..arg("lt", "pure-token") },
                ],
                ..arg("condition", "oneof")
            },
        ],
        ..spec("expire", Id::Expire, Place::Keys, -3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "update"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "1.2.0",
        summary: "Lets a key expire, at a second since 1970",
        args: &[
            arg("key", "key"),
            arg("unix-time-seconds", "unix-time"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("NX"), ..arg("nx", "pure-token") },
                    ArgDoc { token: Some("XX"), ..arg("xx", "pure-token") },
                    ArgDoc { token: Some("GT"), ..arg("gt", "pure-token") },
                    ArgDoc { token: Some("LT"), ..arg("lt", "pure-token") },
                ],
                ..arg("condition", "oneof")
            },
        ],
        ..spec("expireat", Id::Expireat, Place::Keys, -3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["keyspace", "read", "fast"],
        group: "generic",
        since: "7.0.0",
        summary: "Returns when a key expires, in seconds since 1970",
        args: &[arg("key", "key")],
        ..spec("expiretime", Id::Expiretime, Place::Keys, 2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        categories: &["keyspace", "read", "slow", "dangerous"],
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        group: "generic",
        since: "1.0.0",
        summary: "Lists the keys that match a pattern",
        complexity: "O(N)",
        args: &[arg("pattern", "pattern")],
        ..spec("keys", Id::Keys, Place::AllShards, 2, Flags::READONLY)
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "1.0.0",
        summary: "Refused: there is one database",
        args: &[arg("key", "key"), arg("db", "integer")],
        ..spec("move", Id::Move, Place::Keys, 3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "update"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "2.2.0",
        summary: "Lets a key no longer expire",
        args: &[arg("key", "key")],
        ..spec("persist", Id::Persist, Place::Keys, 2, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "update"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "2.6.0",
        summary: "Lets a key expire, in milliseconds from now",
        args: &[
            arg("key", "key"),
            arg("milliseconds", "integer"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("NX"), ..arg("nx", "pure-token") },
                    ArgDoc { token: Some("XX"), ..arg("xx", "pure-token") },
                    ArgDoc { token: Some("GT"), ..arg("gt", "pure-token") },
                    ArgDoc { token: Some("LT"), ..arg("lt", "pure-token") },
                ],
                ..arg("condition", "oneof")
            },
        ],
        ..spec("pexpire", Id::Pexpire, Place::Keys, -3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "update"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "2.6.0",
        summary: "Lets a key expire, at a millisecond since 1970",
        args: &[
            arg("key", "key"),
            arg("unix-time-milliseconds", "unix-time"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("NX"), ..arg("nx", "pure-token") },
                    ArgDoc { token: Some("XX"), ..arg("xx", "pure-token") },
                    ArgDoc { token: Some("GT"), ..arg("gt", "pure-token") },
                    ArgDoc { token: Some("LT"), ..arg("lt", "pure-token") },
                ],
                ..arg("condition", "oneof")
            },
        ],
        ..spec("pexpireat", Id::Pexpireat, Place::Keys, -3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["keyspace", "read", "fast"],
        group: "generic",
        since: "7.0.0",
        summary: "Returns when a key expires, in milliseconds since 1970",
        args: &[arg("key", "key")],
        ..spec("pexpiretime", Id::Pexpiretime, Place::Keys, 2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["keyspace", "read", "fast"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "2.6.0",
        summary: "Returns the time to live of a key, in milliseconds",
        args: &[arg("key", "key")],
        ..spec("pttl", Id::Pttl, Place::Keys, 2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        categories: &["keyspace", "read", "slow"],
        tips: &["request_policy:all_shards", "nondeterministic_output"],
        group: "generic",
        since: "1.0.0",
        summary: "Returns some key",
        ..spec("randomkey", Id::Randomkey, Place::AllShards, 1, Flags::READONLY)
    },
    Spec {
        keys: keys(1, 2, 1, &["RW", "access", "delete"]),
        categories: &["keyspace", "write", "slow"],
        group: "generic",
        since: "1.0.0",
        summary: "Gives a key another name",
        args: &[arg("key", "key"), arg("newkey", "key")],
        ..spec("rename", Id::Rename, Place::Keys, 3, Flags::WRITE)
    },
    Spec {
        keys: keys(1, 2, 1, &["RW", "access", "delete"]),
        categories: &["keyspace", "write", "fast"],
        group: "generic",
        since: "1.0.0",
        summary: "Gives a key another name if that does not exist",
        args: &[arg("key", "key"), arg("newkey", "key")],
        ..spec("renamenx", Id::Renamenx, Place::Keys, 3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["OW", "update"]),
        categories: &["keyspace", "write", "slow", "dangerous"],
        group: "generic",
        since: "2.6.0",
        summary: "Gives a key the value that DUMP has made; strings alone",
        complexity: "O(N) in its length",
        args: &[
            KEY,
            arg("ttl", "integer"),
            arg("serialized-value", "string"),
            ArgDoc { flags: OPTIONAL, ..token("replace", "REPLACE") },
            ArgDoc { flags: OPTIONAL, ..token("absttl", "ABSTTL") },
            ArgDoc { token: Some("IDLETIME"), flags: OPTIONAL, ..arg("seconds", "integer") },
            ArgDoc { token: Some("FREQ"), flags: OPTIONAL, ..arg("frequency", "integer") },
        ],
        ..spec("restore", Id::Restore, Place::Keys, -4, STORE)
    },
    Spec {
        categories: &["keyspace", "read", "slow"],
        tips: &["nondeterministic_output", "request_policy:special"],
        group: "generic",
        since: "2.8.0",
        summary: "Goes through the keys, some with each call",
        complexity: "O(N)",
        args: &[
            arg("cursor", "integer"),
            ArgDoc { token: Some("MATCH"), flags: &["optional"], ..arg("pattern", "pattern") },
            ArgDoc { token: Some("COUNT"), flags: &["optional"], ..arg("count", "integer") },
            ArgDoc { token: Some("TYPE"), flags: &["optional"], ..arg("type", "string") },
        ],
        ..spec("scan", Id::Scan, Place::Cursor, -2, Flags::READONLY)
    },
    Spec {
        categories: &["keyspace", "write", "fast", "dangerous"],
        group: "server",
        since: "4.0.0",
        summary: "Exchanges two databases; there is only 0",
        complexity: "O(N)",
        args: &[arg("index1", "integer"), arg("index2", "integer")],
        ..spec("swapdb", Id::Swapdb, Place::Local, 3, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, -1, 1, &["RO"]),
        categories: &["keyspace", "read", "fast"],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        group: "generic",
        since: "3.2.1",
        summary: "Counts how many of the keys exist",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: &["multiple"], ..arg("key", "key") }],
        ..spec("touch", Id::Touch, Place::Keys, -2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["keyspace", "read", "fast"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "1.0.0",
        summary: "Returns the time to live of a key, in seconds",
        args: &[arg("key", "key")],
        ..spec("ttl", Id::Ttl, Place::Keys, 2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO"]),
        categories: &["keyspace", "read", "fast"],
        group: "generic",
        since: "1.0.0",
        summary: "Returns what kind of value a key has",
        args: &[arg("key", "key")],
        ..spec("type", Id::Type, Place::Keys, 2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, -1, 1, &["RM", "delete"]),
        categories: &["keyspace", "write", "fast"],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        group: "generic",
        since: "4.0.0",
        summary: "Removes keys; answers how many existed",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: &["multiple"], ..arg("key", "key") }],
        ..spec("unlink", Id::Unlink, Place::Keys, -2, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        categories: &["slow"],
        group: "generic",
        since: "2.2.3",
        summary: "What a key's value is like",
        complexity: "By subcommand",
        subcommands: OBJECT,
        ..spec("object", Id::Object, Place::Container, -2, Flags::NONE)
    },
];

static OBJECT: &[Spec] = &[
    Spec {
        keys: keys(2, 2, 1, &["RO"]),
        categories: &["keyspace", "read", "slow"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "2.2.3",
        summary: "How Redis would keep the value",
        args: &[arg("key", "key")],
        ..spec("object|encoding", Id::ObjectEncoding, Place::Keys, 3, Flags::READONLY)
    },
    Spec {
        keys: keys(2, 2, 1, &["RO"]),
        categories: &["keyspace", "read", "slow"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "4.0.0",
        summary: "How often the key is used: not counted, always 0",
        args: &[arg("key", "key")],
        ..spec("object|freq", Id::ObjectFreq, Place::Keys, 3, Flags::READONLY)
    },
    Spec {
        categories: &["keyspace", "slow"],
        group: "generic",
        since: "6.2.0",
        summary: "Lists the subcommands",
        ..spec("object|help", Id::ObjectHelp, Place::Local, 2, Flags::LOADING.with(Flags::STALE))
    },
    Spec {
        keys: keys(2, 2, 1, &["RO"]),
        categories: &["keyspace", "read", "slow"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "2.2.3",
        summary: "Seconds since the key was used: not kept, always 0",
        args: &[arg("key", "key")],
        ..spec("object|idletime", Id::ObjectIdletime, Place::Keys, 3, Flags::READONLY)
    },
    Spec {
        keys: keys(2, 2, 1, &["RO"]),
        categories: &["keyspace", "read", "slow"],
        tips: &["nondeterministic_output"],
        group: "generic",
        since: "2.2.3",
        summary: "How many share the value: always 1",
        args: &[arg("key", "key")],
        ..spec("object|refcount", Id::ObjectRefcount, Place::Keys, 3, Flags::READONLY)
    },
];
