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
        since: "1.0.0",
        summary: "Gives a key a value, whatever it had before; with options only if it exists or not, and for a time",
        args: &[
            arg("key", "key"),
            arg("value", "string"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("NX"), ..arg("nx", "pure-token") },
                    ArgDoc { token: Some("XX"), ..arg("xx", "pure-token") },
                ],
                ..arg("condition", "oneof")
            },
            ArgDoc { token: Some("GET"), flags: &["optional"], ..arg("get", "pure-token") },
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("EX"), ..arg("seconds", "integer") },
                    ArgDoc { token: Some("PX"), ..arg("milliseconds", "integer") },
                    ArgDoc { token: Some("EXAT"), ..arg("unix-time-seconds", "unix-time") },
                    ArgDoc { token: Some("PXAT"), ..arg("unix-time-milliseconds", "unix-time") },
                    ArgDoc { token: Some("KEEPTTL"), ..arg("keepttl", "pure-token") },
                ],
                ..arg("expiration", "oneof")
            },
        ],
        ..spec("set", Id::Set, Place::Keys, -3, Flags::WRITE.with(Flags::DENYOOM))
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
    Spec {
        keys: keys(1, 1, 1, &["RW", "insert"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "2.0.0",
        summary: "Adds bytes to the end of a value; answers its new length",
        complexity: "O(N)",
        args: &[arg("key", "key"), arg("value", "string")],
        ..spec(
            "append",
            Id::Append,
            Place::Keys,
            3,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "bitmap", "slow"],
        group: "bitmap",
        since: "2.6.0",
        summary: "Counts the bits that are set, in a range of bytes or bits",
        complexity: "O(N)",
        args: &[
            arg("key", "key"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    arg("start", "integer"),
                    arg("end", "integer"),
                    ArgDoc {
                        flags: &["optional"],
                        inner: &[
                            ArgDoc { token: Some("BYTE"), ..arg("byte", "pure-token") },
                            ArgDoc { token: Some("BIT"), ..arg("bit", "pure-token") },
                        ],
                        ..arg("index_unit", "oneof")
                    },
                ],
                ..arg("index", "block")
            },
        ],
        ..spec("bitcount", Id::Bitcount, Place::Keys, -2, Flags::READONLY)
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update", "variable_flags"]),
        categories: &["write", "bitmap", "slow"],
        group: "bitmap",
        since: "3.2.0",
        summary: "Reads and changes integers of any width inside of a value",
        complexity: "O(N)",
        args: &[
            arg("key", "key"),
            ArgDoc {
                flags: &["optional", "multiple"],
                inner: &[
                    ArgDoc {
                        token: Some("GET"),
                        inner: &[arg("encoding", "string"), arg("offset", "integer")],
                        ..arg("encoding_offset", "block")
                    },
                    ArgDoc {
                        inner: &[
                            ArgDoc {
                                token: Some("OVERFLOW"),
                                flags: &["optional"],
                                inner: &[
                                    ArgDoc { token: Some("WRAP"), ..arg("wrap", "pure-token") },
                                    ArgDoc { token: Some("SAT"), ..arg("sat", "pure-token") },
                                    ArgDoc { token: Some("FAIL"), ..arg("fail", "pure-token") },
                                ],
                                ..arg("wrap_sat_fail", "oneof")
                            },
                            ArgDoc {
                                inner: &[
                                    ArgDoc {
                                        token: Some("SET"),
                                        inner: &[
                                            arg("encoding", "string"),
                                            arg("offset", "integer"),
                                            arg("value", "integer"),
                                        ],
                                        ..arg("encoding_offset_value", "block")
                                    },
                                    ArgDoc {
                                        token: Some("INCRBY"),
                                        inner: &[
                                            arg("encoding", "string"),
                                            arg("offset", "integer"),
                                            arg("increment", "integer"),
                                        ],
                                        ..arg("encoding_offset_increment", "block")
                                    },
                                ],
                                ..arg("write_operation", "oneof")
                            },
                        ],
                        ..arg("write", "block")
                    },
                ],
                ..arg("operation", "oneof")
            },
        ],
        ..spec("bitfield", Id::Bitfield, Place::Keys, -2, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "bitmap", "fast"],
        group: "bitmap",
        since: "6.0.0",
        summary: "Reads integers of any width inside of a value",
        complexity: "O(N)",
        args: &[
            arg("key", "key"),
            ArgDoc {
                token: Some("GET"),
                flags: &["optional", "multiple", "multiple_token"],
                inner: &[arg("encoding", "string"), arg("offset", "integer")],
                ..arg("encoding_offset", "block")
            },
        ],
        ..spec("bitfield_ro", Id::BitfieldRo, Place::Keys, -2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(2, -1, 1, &["OW", "update"]),
        categories: &["write", "bitmap", "slow"],
        group: "bitmap",
        since: "2.6.0",
        summary: "Combines the bits of several values into a key",
        complexity: "O(N)",
        args: &[
            arg("operation", "string"),
            arg("destkey", "key"),
            ArgDoc { flags: &["multiple"], ..arg("key", "key") },
        ],
        ..spec("bitop", Id::Bitop, Place::Keys, -4, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "bitmap", "slow"],
        group: "bitmap",
        since: "2.8.7",
        summary: "Finds the first bit that is set, or clear",
        complexity: "O(N)",
        args: &[
            arg("key", "key"),
            arg("bit", "integer"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    arg("start", "integer"),
                    ArgDoc {
                        flags: &["optional"],
                        inner: &[
                            arg("end", "integer"),
                            ArgDoc {
                                flags: &["optional"],
                                inner: &[
                                    ArgDoc { token: Some("BYTE"), ..arg("byte", "pure-token") },
                                    ArgDoc { token: Some("BIT"), ..arg("bit", "pure-token") },
                                ],
                                ..arg("index_unit", "oneof")
                            },
                        ],
                        ..arg("end_index", "block")
                    },
                ],
                ..arg("index", "block")
            },
        ],
        ..spec("bitpos", Id::Bitpos, Place::Keys, -3, Flags::READONLY)
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "1.0.0",
        summary: "Takes one from an integer",
        args: &[arg("key", "key")],
        ..spec(
            "decr",
            Id::Decr,
            Place::Keys,
            2,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "1.0.0",
        summary: "Takes a number from an integer",
        args: &[arg("key", "key"), arg("decrement", "integer")],
        ..spec(
            "decrby",
            Id::Decrby,
            Place::Keys,
            3,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "bitmap", "fast"],
        group: "bitmap",
        since: "2.2.0",
        summary: "Returns one bit of a value",
        args: &[arg("key", "key"), arg("offset", "integer")],
        ..spec("getbit", Id::Getbit, Place::Keys, 3, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "delete"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "6.2.0",
        summary: "Returns the value of a key and removes the key",
        args: &[arg("key", "key")],
        ..spec("getdel", Id::Getdel, Place::Keys, 2, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "6.2.0",
        summary: "Returns the value of a key and changes when it expires",
        args: &[
            arg("key", "key"),
            ArgDoc {
                flags: &["optional"],
                inner: &[
                    ArgDoc { token: Some("EX"), ..arg("seconds", "integer") },
                    ArgDoc { token: Some("PX"), ..arg("milliseconds", "integer") },
                    ArgDoc { token: Some("EXAT"), ..arg("unix-time-seconds", "unix-time") },
                    ArgDoc { token: Some("PXAT"), ..arg("unix-time-milliseconds", "unix-time") },
                    ArgDoc { token: Some("PERSIST"), ..arg("persist", "pure-token") },
                ],
                ..arg("expiration", "oneof")
            },
        ],
        ..spec("getex", Id::Getex, Place::Keys, -2, Flags::WRITE.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "string", "slow"],
        group: "string",
        since: "2.4.0",
        summary: "Returns some bytes of a value",
        complexity: "O(N)",
        args: &[arg("key", "key"), arg("start", "integer"), arg("end", "integer")],
        ..spec("getrange", Id::Getrange, Place::Keys, 4, Flags::READONLY)
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "1.0.0",
        summary: "Gives a key a value and returns the one before",
        args: &[arg("key", "key"), arg("value", "string")],
        ..spec(
            "getset",
            Id::Getset,
            Place::Keys,
            3,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "1.0.0",
        summary: "Adds one to an integer",
        args: &[arg("key", "key")],
        ..spec(
            "incr",
            Id::Incr,
            Place::Keys,
            2,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "1.0.0",
        summary: "Adds a number to an integer",
        args: &[arg("key", "key"), arg("increment", "integer")],
        ..spec(
            "incrby",
            Id::Incrby,
            Place::Keys,
            3,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "2.6.0",
        summary: "Adds a decimal number to a number",
        args: &[arg("key", "key"), arg("increment", "double")],
        ..spec(
            "incrbyfloat",
            Id::Incrbyfloat,
            Place::Keys,
            3,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 2, 1, &["RO", "access"]),
        categories: &["read", "string", "slow"],
        group: "string",
        since: "7.0.0",
        summary: "Finds the longest common subsequence of two values",
        complexity: "O(N)",
        args: &[
            arg("key1", "key"),
            arg("key2", "key"),
            ArgDoc { token: Some("LEN"), flags: &["optional"], ..arg("len", "pure-token") },
            ArgDoc { token: Some("IDX"), flags: &["optional"], ..arg("idx", "pure-token") },
            ArgDoc { token: Some("MINMATCHLEN"), flags: &["optional"], ..arg("len", "integer") },
            ArgDoc {
                token: Some("WITHMATCHLEN"),
                flags: &["optional"],
                ..arg("withmatchlen", "pure-token")
            },
        ],
        ..spec("lcs", Id::Lcs, Place::Keys, -3, Flags::READONLY)
    },
    Spec {
        keys: keys(1, -1, 2, &["OW", "insert"]),
        categories: &["write", "string", "slow"],
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        group: "string",
        since: "1.0.1",
        summary: "Gives several keys their values if none of them exists",
        complexity: PER_KEY,
        args: &[ArgDoc {
            flags: &["multiple"],
            inner: &[arg("key", "key"), arg("value", "string")],
            ..arg("key_value", "block")
        }],
        ..spec("msetnx", Id::Msetnx, Place::Keys, -3, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["OW", "update"]),
        categories: &["write", "string", "slow"],
        group: "string",
        since: "2.6.0",
        summary: "Gives a key a value that expires, in milliseconds",
        args: &[arg("key", "key"), arg("milliseconds", "integer"), arg("value", "string")],
        ..spec("psetex", Id::Psetex, Place::Keys, 4, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "access", "update"]),
        categories: &["write", "bitmap", "slow"],
        group: "bitmap",
        since: "2.2.0",
        summary: "Changes one bit of a value; answers the one before",
        args: &[arg("key", "key"), arg("offset", "integer"), arg("value", "integer")],
        ..spec("setbit", Id::Setbit, Place::Keys, 4, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["OW", "update"]),
        categories: &["write", "string", "slow"],
        group: "string",
        since: "2.0.0",
        summary: "Gives a key a value that expires, in seconds",
        args: &[arg("key", "key"), arg("seconds", "integer"), arg("value", "string")],
        ..spec("setex", Id::Setex, Place::Keys, 4, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["OW", "insert"]),
        categories: &["write", "string", "fast"],
        group: "string",
        since: "1.0.0",
        summary: "Gives a key a value if it has none",
        args: &[arg("key", "key"), arg("value", "string")],
        ..spec(
            "setnx",
            Id::Setnx,
            Place::Keys,
            3,
            Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        )
    },
    Spec {
        keys: keys(1, 1, 1, &["RW", "update"]),
        categories: &["write", "string", "slow"],
        group: "string",
        since: "2.2.0",
        summary: "Writes bytes into a value from an offset on",
        complexity: "O(N)",
        args: &[arg("key", "key"), arg("offset", "integer"), arg("value", "string")],
        ..spec("setrange", Id::Setrange, Place::Keys, 4, Flags::WRITE.with(Flags::DENYOOM))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO"]),
        categories: &["read", "string", "fast"],
        group: "string",
        since: "2.2.0",
        summary: "Returns the length of a value",
        args: &[arg("key", "key")],
        ..spec("strlen", Id::Strlen, Place::Keys, 2, Flags::READONLY.with(Flags::FAST))
    },
    Spec {
        keys: keys(1, 1, 1, &["RO", "access"]),
        categories: &["read", "string", "slow"],
        group: "string",
        since: "1.0.0",
        summary: "Returns some bytes of a value: the old name of GETRANGE",
        complexity: "O(N)",
        args: &[arg("key", "key"), arg("start", "integer"), arg("end", "integer")],
        ..spec("substr", Id::Substr, Place::Keys, 4, Flags::READONLY)
    },
];
