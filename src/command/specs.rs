//! The entries of the command table. Names, arity, flags, positions and categories are Redis 7.0's; a command that we
//! support in part documents that part only.

use super::table::{ArgDoc, CommandId as Id, Flags, Keys, Place, Spec};

const FAST: Flags = Flags::FAST;
const READ: Flags = Flags::READONLY.with(FAST);
const WRITE: Flags = Flags::WRITE;
const STORE: Flags = WRITE.with(Flags::DENYOOM);
const ANYTIME: Flags = Flags::LOADING.with(Flags::STALE);
const PRIVATE: Flags = Flags::NOSCRIPT.with(ANYTIME);
const BEFORE_AUTH: Flags = PRIVATE.with(FAST).with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY);

const ONE: &str = "O(1)";
const PER_KEY: &str = "O(N) in the number of keys";
const PER_COMMAND: &str = "O(N) in the number of commands asked for";

const MULTI_SHARD: &str = "request_policy:multi_shard";
const ALL_SHARDS: &str = "request_policy:all_shards";
const ALL_SUCCEEDED: &str = "response_policy:all_succeeded";
const SUM: &str = "response_policy:agg_sum";
const ANY_OUTPUT: &str = "nondeterministic_output";
const ANY_ORDER: &str = "nondeterministic_output_order";

const OPTIONAL: &[&str] = &["optional"];
const MULTIPLE: &[&str] = &["multiple"];
const ANY_NUMBER: &[&str] = &["optional", "multiple"];

const KEY: ArgDoc = arg("key", "key");
const VALUE: ArgDoc = arg("value", "string");
const FLUSH_MODE: ArgDoc = ArgDoc {
    flags: OPTIONAL,
    inner: &[token("async", "ASYNC"), token("sync", "SYNC")],
    ..arg("mode", "oneof")
};

const fn arg(name: &'static str, kind: &'static str) -> ArgDoc {
    ArgDoc { name, kind, token: None, flags: &[], inner: &[] }
}

const fn token(name: &'static str, token: &'static str) -> ArgDoc {
    ArgDoc { token: Some(token), ..arg(name, "pure-token") }
}

const fn spec(name: &'static str, id: Id, place: Place, arity: i32, flags: Flags) -> Spec {
    Spec {
        name,
        id,
        place,
        arity,
        flags,
        keys: Keys::NONE,
        categories: &["fast", "connection"],
        tips: &[],
        group: "connection",
        since: "1.0.0",
        summary: "",
        complexity: ONE,
        args: &[],
        subcommands: &[],
    }
}

const fn keys(first: i64, last: i64, step: i64, access: &'static [&'static str]) -> Keys {
    Keys { first, last, step, access }
}

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
        tips: &[ALL_SHARDS, ALL_SUCCEEDED],
        summary: "Answers PONG, or the message",
        args: &[ArgDoc { flags: OPTIONAL, ..arg("message", "string") }],
        ..spec("ping", Id::Ping, Place::Local, -1, FAST)
    },
    Spec {
        summary: "Answers the message",
        args: &[arg("message", "string")],
        ..spec("echo", Id::Echo, Place::Local, 2, ANYTIME.with(FAST))
    },
    Spec {
        summary: "Chooses the database; there is only 0",
        args: &[arg("index", "integer")],
        ..spec("select", Id::Select, Place::Local, 2, ANYTIME.with(FAST))
    },
    Spec {
        since: "6.0.0",
        summary: "Chooses the protocol (2 or 3) and describes the server",
        args: &[ArgDoc {
            flags: OPTIONAL,
            inner: &[
                arg("protover", "integer"),
                ArgDoc {
                    token: Some("AUTH"),
                    flags: OPTIONAL,
                    inner: &[arg("username", "string"), arg("password", "string")],
                    ..arg("username_password", "block")
                },
                ArgDoc { token: Some("SETNAME"), flags: OPTIONAL, ..arg("clientname", "string") },
            ],
            ..arg("arguments", "block")
        }],
        ..spec("hello", Id::Hello, Place::Local, -1, BEFORE_AUTH)
    },
    Spec {
        summary: "Closes the connection",
        ..spec("quit", Id::Quit, Place::Local, -1, BEFORE_AUTH)
    },
    Spec {
        since: "6.2.0",
        summary: "Brings the connection back to its first state",
        ..spec("reset", Id::Reset, Place::Local, 1, BEFORE_AUTH)
    },
    Spec {
        categories: &["slow"],
        since: "2.4.0",
        summary: "What a connection tells of itself",
        complexity: "By subcommand",
        subcommands: CLIENT,
        ..spec("client", Id::Client, Place::Container, -2, Flags::NONE)
    },
    Spec {
        categories: &["slow", "connection"],
        tips: &[ANY_ORDER],
        group: "server",
        since: "2.8.13",
        summary: "Describes all commands",
        complexity: "O(N) in the number of commands",
        subcommands: COMMAND,
        ..spec("command", Id::Command, Place::Local, -1, ANYTIME)
    },
    Spec {
        categories: &["slow"],
        group: "server",
        since: "2.0.0",
        summary: "The server's settings",
        complexity: "By subcommand",
        subcommands: CONFIG,
        ..spec("config", Id::Config, Place::Container, -2, Flags::NONE)
    },
    Spec {
        categories: &["slow"],
        group: "server",
        since: "2.8.13",
        summary: "How long commands took from their bytes to their reply",
        complexity: "By subcommand",
        subcommands: LATENCY,
        ..spec("latency", Id::Latency, Place::Container, -2, Flags::NONE)
    },
    Spec {
        categories: &["fast"],
        tips: &[ANY_OUTPUT],
        group: "server",
        since: "2.6.0",
        summary: "The server's clock: seconds since 1970, and microseconds of this second",
        ..spec("time", Id::Time, Place::Local, 1, ANYTIME.with(FAST))
    },
    Spec {
        categories: &["slow", "dangerous"],
        tips: &[ANY_OUTPUT, ALL_SHARDS, "response_policy:special"],
        group: "server",
        summary: "The server's state as text, by section",
        args: &[ArgDoc { flags: ANY_NUMBER, ..arg("section", "string") }],
        ..spec("info", Id::Info, Place::AllShards, -1, ANYTIME)
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
        categories: &["slow", "dangerous"],
        tips: &[ANY_OUTPUT, ALL_SHARDS, "response_policy:special"],
        group: "server",
        summary: "The engine's state as text: memtables, tables, levels; with SHARDS also of each shard",
        args: &[ArgDoc { flags: OPTIONAL, ..token("shards", "SHARDS") }],
        ..spec("stats", Id::Stats, Place::AllShards, -1, ANYTIME)
    },
    Spec {
        categories: &["slow"],
        group: "cluster",
        since: "3.0.0",
        summary: "Refused: this server is not part of a cluster",
        ..spec("cluster", Id::Cluster, Place::Local, -2, Flags::NONE)
    },
    Spec {
        group: "cluster",
        since: "3.0.0",
        summary: "Refused: this server is not part of a cluster",
        ..spec("readonly", Id::Readonly, Place::Local, 1, ANYTIME.with(FAST))
    },
    Spec {
        group: "cluster",
        since: "3.0.0",
        summary: "Refused: this server is not part of a cluster",
        ..spec("readwrite", Id::Readwrite, Place::Local, 1, ANYTIME.with(FAST))
    },
];

const fn client(name: &'static str, id: Id, arity: i32, flags: Flags) -> Spec {
    Spec { categories: &["slow", "connection"], ..spec(name, id, Place::Local, arity, flags) }
}

static CLIENT: &[Spec] = &[
    Spec {
        since: "2.6.9",
        summary: "The name that the connection was given",
        ..client("client|getname", Id::ClientGetname, 2, PRIVATE)
    },
    Spec {
        since: "5.0.0",
        summary: "Lists the subcommands",
        ..client("client|help", Id::ClientHelp, 2, ANYTIME)
    },
    Spec {
        since: "5.0.0",
        summary: "The connection's number",
        ..client("client|id", Id::ClientId, 2, PRIVATE)
    },
    Spec {
        tips: &[ANY_OUTPUT],
        since: "6.2.0",
        summary: "One line on this connection",
        ..client("client|info", Id::ClientInfo, 2, PRIVATE)
    },
    Spec {
        since: "7.2.0",
        summary: "Tells the client library's name or version",
        args: &[ArgDoc {
            inner: &[
                ArgDoc { token: Some("LIB-NAME"), ..arg("libname", "string") },
                ArgDoc { token: Some("LIB-VER"), ..arg("libver", "string") },
            ],
            ..arg("attr", "oneof")
        }],
        ..client("client|setinfo", Id::ClientSetinfo, 4, PRIVATE)
    },
    Spec {
        since: "2.6.9",
        summary: "Names the connection",
        args: &[arg("connection-name", "string")],
        ..client("client|setname", Id::ClientSetname, 3, PRIVATE)
    },
];

const fn command(name: &'static str, id: Id, arity: i32) -> Spec {
    Spec {
        categories: &["slow", "connection"],
        group: "server",
        since: "2.8.13",
        ..spec(name, id, Place::Local, arity, ANYTIME)
    }
}

const COMMAND_NAMES: &[ArgDoc] = &[ArgDoc { flags: ANY_NUMBER, ..arg("command-name", "string") }];

static COMMAND: &[Spec] = &[
    Spec { summary: "The number of commands", ..command("command|count", Id::CommandCount, 2) },
    Spec {
        tips: &[ANY_ORDER],
        since: "7.0.0",
        summary: "What commands do and which arguments they take",
        complexity: PER_COMMAND,
        args: COMMAND_NAMES,
        ..command("command|docs", Id::CommandDocs, -2)
    },
    Spec {
        summary: "The keys among the arguments of a whole command",
        complexity: "O(N) in the number of arguments",
        args: &[arg("command", "string"), ArgDoc { flags: ANY_NUMBER, ..arg("arg", "string") }],
        ..command("command|getkeys", Id::CommandGetkeys, -4)
    },
    Spec {
        since: "5.0.0",
        summary: "Lists the subcommands",
        ..command("command|help", Id::CommandHelp, 2)
    },
    Spec {
        tips: &[ANY_ORDER],
        summary: "Arity, flags and key positions of commands",
        complexity: PER_COMMAND,
        args: COMMAND_NAMES,
        ..command("command|info", Id::CommandInfo, -2)
    },
    Spec {
        tips: &[ANY_ORDER],
        since: "7.0.0",
        summary: "The names of all commands, or of those that a filter lets pass",
        complexity: "O(N) in the number of commands",
        args: &[ArgDoc {
            token: Some("FILTERBY"),
            flags: OPTIONAL,
            inner: &[
                ArgDoc { token: Some("MODULE"), ..arg("module-name", "string") },
                ArgDoc { token: Some("ACLCAT"), ..arg("category", "string") },
                ArgDoc { token: Some("PATTERN"), ..arg("pattern", "pattern") },
            ],
            ..arg("filterby", "oneof")
        }],
        ..command("command|list", Id::CommandList, -2)
    },
];

static CONFIG: &[Spec] = &[
    Spec {
        categories: &["admin", "slow", "dangerous"],
        group: "server",
        since: "2.0.0",
        summary: "Settings whose names match a pattern",
        complexity: "O(N) in the number of settings",
        args: &[ArgDoc { flags: MULTIPLE, ..arg("parameter", "pattern") }],
        ..spec("config|get", Id::ConfigGet, Place::Local, -3, Flags::ADMIN.with(PRIVATE))
    },
    Spec {
        categories: &["slow"],
        group: "server",
        since: "5.0.0",
        summary: "Lists the subcommands",
        ..spec("config|help", Id::ConfigHelp, Place::Local, 2, ANYTIME)
    },
    Spec {
        categories: &["admin", "slow", "dangerous"],
        group: "server",
        since: "2.0.0",
        summary: "Begins the counts of INFO's Stats and Commandstats sections and the latency histograms anew",
        ..spec(
            "config|resetstat",
            Id::ConfigResetstat,
            Place::AllShards,
            2,
            Flags::ADMIN.with(PRIVATE),
        )
    },
    Spec {
        categories: &["admin", "slow", "dangerous"],
        tips: &["request_policy:all_nodes", ALL_SUCCEEDED],
        group: "server",
        since: "2.0.0",
        summary: "Changes settings until the next start: sync (appendfsync), flushdb, timeout, maxclients",
        complexity: "O(N) in the number of settings; a stronger sync waits for what is not on disk yet",
        args: &[ArgDoc {
            flags: MULTIPLE,
            inner: &[arg("parameter", "string"), arg("value", "string")],
            ..arg("parameter_value", "block")
        }],
        ..spec("config|set", Id::ConfigSet, Place::AllShards, -4, Flags::ADMIN.with(PRIVATE))
    },
];

const fn latency(name: &'static str, id: Id, arity: i32) -> Spec {
    Spec {
        categories: &["admin", "slow", "dangerous"],
        group: "server",
        since: "2.8.13",
        ..spec(name, id, Place::AllShards, arity, Flags::ADMIN.with(PRIVATE))
    }
}

static LATENCY: &[Spec] = &[
    Spec {
        categories: &["slow"],
        group: "server",
        since: "2.8.13",
        summary: "Lists the subcommands",
        ..spec("latency|help", Id::LatencyHelp, Place::Local, 2, ANYTIME)
    },
    Spec {
        tips: &[ANY_OUTPUT, "request_policy:all_nodes", "response_policy:special"],
        since: "7.0.0",
        summary: "Latencies of the commands named, or of all: counts up to each power of two microseconds",
        complexity: PER_COMMAND,
        args: &[ArgDoc { flags: ANY_NUMBER, ..arg("command", "string") }],
        ..latency("latency|histogram", Id::LatencyHistogram, -2)
    },
    Spec {
        tips: &["request_policy:all_nodes", ALL_SUCCEEDED],
        summary: "Empties the histograms; answers the number of event series that it reset: there are none",
        args: &[ArgDoc { flags: ANY_NUMBER, ..arg("event", "string") }],
        ..latency("latency|reset", Id::LatencyReset, -2)
    },
];
