//! Commands on the server.

use super::*;

pub(super) static TABLE: &[Spec] = &[
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
        categories: &["admin", "slow", "dangerous"],
        group: "server",
        summary: "Shows every command of every client from here on",
        ..spec("monitor", Id::Monitor, Place::Core, 1, Flags::ADMIN.with(PRIVATE))
    },
    Spec {
        categories: &["slow"],
        group: "server",
        since: "2.2.12",
        summary: "Commands that took long",
        complexity: "By subcommand",
        subcommands: SLOWLOG,
        ..spec("slowlog", Id::Slowlog, Place::Container, -2, Flags::NONE)
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
        categories: &["slow", "dangerous"],
        tips: &[ANY_OUTPUT, ALL_SHARDS, "response_policy:special"],
        group: "server",
        summary: "The engine's state as text: memtables, tables, levels; with SHARDS also of each shard; with JSON everything as data",
        args: &[ArgDoc {
            flags: OPTIONAL,
            inner: &[token("shards", "SHARDS"), token("json", "JSON")],
            ..arg("scope", "oneof")
        }],
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
        since: "7.0.0",
        summary: "The keys among the arguments of a whole command, each with what is done to it",
        complexity: "O(N) in the number of arguments",
        args: &[arg("command", "string"), ArgDoc { flags: ANY_NUMBER, ..arg("arg", "string") }],
        ..command("command|getkeysandflags", Id::CommandGetkeysandflags, -4)
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
        group: "server",
        since: "2.8.0",
        summary: "Keeps what CONFIG SET has changed for the next start, in overrides.toml of the data directory",
        ..spec("config|rewrite", Id::ConfigRewrite, Place::Core, 2, Flags::ADMIN.with(PRIVATE))
    },
    Spec {
        categories: &["admin", "slow", "dangerous"],
        tips: &["request_policy:all_nodes", ALL_SUCCEEDED],
        group: "server",
        since: "2.0.0",
        summary: "Changes settings until the next start, or for good with CONFIG REWRITE",
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

const fn slowlog(name: &'static str, id: Id, arity: i32) -> Spec {
    Spec {
        categories: &["admin", "slow", "dangerous"],
        group: "server",
        since: "2.2.12",
        ..spec(name, id, Place::Core, arity, Flags::ADMIN.with(ANYTIME))
    }
}

static SLOWLOG: &[Spec] = &[
    Spec {
        tips: &["request_policy:all_nodes", ANY_OUTPUT],
        summary: "The newest commands that took long: how long their shard took, waiting for it left out",
        complexity: "O(N) in the number of entries",
        args: &[ArgDoc { flags: OPTIONAL, ..arg("count", "integer") }],
        ..slowlog("slowlog|get", Id::SlowlogGet, -2)
    },
    Spec {
        categories: &["slow"],
        since: "6.2.0",
        summary: "Lists the subcommands",
        place: Place::Local,
        flags: ANYTIME,
        ..slowlog("slowlog|help", Id::SlowlogHelp, 2)
    },
    Spec {
        tips: &["request_policy:all_nodes", "response_policy:agg_sum", ANY_OUTPUT],
        summary: "How many are kept",
        ..slowlog("slowlog|len", Id::SlowlogLen, 2)
    },
    Spec {
        tips: &["request_policy:all_nodes", ALL_SUCCEEDED],
        summary: "Forgets them",
        ..slowlog("slowlog|reset", Id::SlowlogReset, 2)
    },
];

const EVENT: &[ArgDoc] = &[arg("event", "string")];
const FROM_ALL: &[&str] = &[ANY_OUTPUT, "request_policy:all_nodes", "response_policy:special"];

/// On series of events.
const fn series(name: &'static str, id: Id, arity: i32) -> Spec {
    Spec { tips: FROM_ALL, place: Place::Core, ..latency(name, id, arity) }
}

static LATENCY: &[Spec] = &[
    Spec {
        summary: "What was slow, as a text for people",
        ..series("latency|doctor", Id::LatencyDoctor, 2)
    },
    Spec {
        summary: "A series as a graph of characters",
        args: EVENT,
        ..series("latency|graph", Id::LatencyGraph, 3)
    },
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
        summary: "The seconds of a series, and the worst of each, in milliseconds",
        complexity: "O(1): there are 160 at most",
        args: EVENT,
        ..series("latency|history", Id::LatencyHistory, 3)
    },
    Spec {
        summary: "For each series the newest second, its worst, and the worst of all, in milliseconds",
        ..series("latency|latest", Id::LatencyLatest, 2)
    },
    Spec {
        tips: &["request_policy:all_nodes", ALL_SUCCEEDED],
        summary: "Forgets the series named, or all and the histograms; answers how many series had samples",
        place: Place::Core,
        args: &[ArgDoc { flags: ANY_NUMBER, ..arg("event", "string") }],
        ..latency("latency|reset", Id::LatencyReset, -2)
    },
];
