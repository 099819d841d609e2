//! Commands for administrators, and what tools ask of a Redis that has replicas, scripts and modules.

use super::*;

const ADMIN: Flags = Flags::ADMIN.with(Flags::NOSCRIPT);
const ADMIN_CATEGORIES: &[&str] = &["admin", "slow", "dangerous"];

const fn admin(name: &'static str, id: Id, place: Place, arity: i32, flags: Flags) -> Spec {
    Spec {
        categories: ADMIN_CATEGORIES,
        group: "server",
        ..spec(name, id, place, arity, ADMIN.with(flags))
    }
}

const fn slow(name: &'static str, id: Id, place: Place, arity: i32, flags: Flags) -> Spec {
    Spec { categories: &["slow"], group: "server", ..spec(name, id, place, arity, flags) }
}

const fn help(name: &'static str, id: Id, since: &'static str) -> Spec {
    Spec { since, summary: "Lists the subcommands", ..slow(name, id, Place::Local, 2, ANYTIME) }
}

const fn container(
    name: &'static str,
    id: Id,
    since: &'static str,
    summary: &'static str,
    subcommands: &'static [Spec],
) -> Spec {
    Spec {
        since,
        summary,
        complexity: "By subcommand",
        subcommands,
        ..slow(name, id, Place::Container, -2, Flags::NONE)
    }
}

pub(super) static TABLE: &[Spec] = &[
    container("acl", Id::Acl, "6.0.0", "Users and what they may do; fixed by the settings", ACL),
    Spec {
        since: "1.0.0",
        summary: "Makes the checkpoint `dump` anew, and waits until it is durable. Nobody else waits",
        complexity: "O(N) in the bytes not yet in tables, and in the number of tables",
        ..admin("save", Id::Save, Place::Core, 1, Flags::NO_MULTI)
    },
    Spec {
        since: "1.0.0",
        summary: "Begins to make the checkpoint `dump` anew; INFO persistence and LASTSAVE tell when it is there",
        complexity: "O(N) in the bytes not yet in tables, and in the number of tables",
        args: &[ArgDoc { flags: OPTIONAL, ..token("schedule", "SCHEDULE") }],
        ..admin("bgsave", Id::Bgsave, Place::Core, -1, Flags::NONE)
    },
    Spec {
        since: "1.0.0",
        summary: "Ours: makes a checkpoint of all shards under a new name in backup_dir; answers its path once it is durable",
        complexity: "O(N) in the bytes not yet in tables, and in the number of tables",
        args: &[arg("name", "string")],
        ..admin("checkpoint", Id::Checkpoint, Place::Core, 2, Flags::NO_MULTI)
    },
    Spec {
        since: "1.0.0",
        summary: "Writes the memtables of all shards to tables: the log begins anew behind them",
        complexity: "O(N) in the bytes not yet in tables",
        ..admin("bgrewriteaof", Id::Bgrewriteaof, Place::AllShards, 1, Flags::NONE)
    },
    Spec {
        categories: &["admin", "fast", "dangerous"],
        tips: &[ANY_OUTPUT],
        group: "server",
        since: "1.0.0",
        summary: "When SAVE or BGSAVE last made their checkpoint, or the start, in seconds since 1970",
        ..spec("lastsave", Id::Lastsave, Place::AllShards, 1, ANYTIME.with(FAST))
    },
    Spec {
        tips: &[ALL_SHARDS, ALL_SUCCEEDED],
        since: "1.0.0",
        summary: "Ours: merges all tables of each shard down to one level. Needs as much space again while it works",
        complexity: "O(N) in the bytes of all tables",
        ..admin("compact", Id::Compact, Place::AllShards, 1, Flags::NO_MULTI)
    },
    Spec {
        since: "1.0.0",
        summary: "Stops the server in order; nothing acknowledged is lost. With SAVE it makes the checkpoint `dump` before",
        args: &[
            ArgDoc {
                flags: OPTIONAL,
                inner: &[token("nosave", "NOSAVE"), token("save", "SAVE")],
                ..arg("save_selector", "oneof")
            },
            ArgDoc { flags: OPTIONAL, ..token("now", "NOW") },
            ArgDoc { flags: OPTIONAL, ..token("force", "FORCE") },
            ArgDoc { flags: OPTIONAL, ..token("abort", "ABORT") },
        ],
        ..admin(
            "shutdown",
            Id::Shutdown,
            Place::Local,
            -1,
            ANYTIME.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        )
    },
    Spec {
        since: "1.0.0",
        summary: "For tests: SLEEP. Refused unless enable_debug_command says otherwise",
        ..admin("debug", Id::Debug, Place::Local, -2, ANYTIME)
    },
    Spec {
        categories: &["admin", "fast", "dangerous"],
        group: "server",
        since: "2.8.12",
        summary: "The role in a replication: a master without replicas",
        ..spec("role", Id::Role, Place::Local, 1, PRIVATE.with(FAST))
    },
    Spec {
        since: "5.0.0",
        summary: "NO ONE is answered OK; any other master is refused: there is no replication",
        args: &[arg("host", "string"), arg("port", "integer")],
        ..admin("replicaof", Id::Replicaof, Place::Local, 3, Flags::STALE)
    },
    Spec {
        since: "1.0.0",
        summary: "As REPLICAOF",
        args: &[arg("host", "string"), arg("port", "integer")],
        ..admin("slaveof", Id::Slaveof, Place::Local, 3, Flags::STALE)
    },
    Spec {
        since: "6.2.0",
        summary: "Refused: there are no replicas",
        ..admin("failover", Id::Failover, Place::Local, -1, Flags::STALE)
    },
    Spec {
        categories: &["slow", "connection"],
        tips: &[ALL_SHARDS, "response_policy:agg_min"],
        group: "generic",
        since: "3.0.0",
        summary: "The number of replicas that have the connection's writes: 0, at once",
        args: &[arg("numreplicas", "integer"), arg("timeout", "integer")],
        ..spec("wait", Id::Wait, Place::Local, 3, Flags::NOSCRIPT)
    },
    Spec {
        categories: &["read", "fast"],
        group: "server",
        since: "5.0.0",
        summary: "The version, and a picture",
        args: &[ArgDoc { token: Some("VERSION"), flags: OPTIONAL, ..arg("version", "integer") }],
        ..spec("lolwut", Id::Lolwut, Place::Local, -1, READ)
    },
    container("memory", Id::Memory, "4.0.0", "What memory is used for", &MEMORY),
    container("function", Id::Function, "7.0.0", "There are no functions", FUNCTION),
    container("script", Id::Script, "2.6.0", "There are no scripts", SCRIPT),
    container("module", Id::Module, "4.0.0", "There are no modules", MODULE),
];

static ACL: &[Spec] = &[
    Spec {
        since: "6.0.0",
        summary: "The categories of commands, or the commands of one",
        args: &[ArgDoc { flags: OPTIONAL, ..arg("category", "string") }],
        ..slow("acl|cat", Id::AclCat, Place::Local, -2, PRIVATE)
    },
    Spec {
        since: "6.0.0",
        summary: "A password that nobody can guess, of so many bits (256)",
        args: &[ArgDoc { flags: OPTIONAL, ..arg("bits", "integer") }],
        ..slow("acl|genpass", Id::AclGenpass, Place::Local, -2, PRIVATE)
    },
    Spec {
        since: "6.0.0",
        summary: "What a user may do; passwords are not shown",
        args: &[arg("username", "string")],
        ..admin("acl|getuser", Id::AclGetuser, Place::Local, 3, ANYTIME)
    },
    help("acl|help", Id::AclHelp, "6.0.0"),
    Spec {
        since: "6.0.0",
        summary: "All users, in the form of Redis' file of users; passwords are not shown",
        ..admin("acl|list", Id::AclList, Place::Local, 2, ANYTIME)
    },
    Spec {
        since: "6.0.0",
        summary: "Refusals, which are not kept: the list is empty",
        args: &[ArgDoc {
            flags: OPTIONAL,
            inner: &[arg("count", "integer"), token("reset", "RESET")],
            ..arg("operation", "oneof")
        }],
        ..admin("acl|log", Id::AclLog, Place::Local, -2, ANYTIME)
    },
    Spec {
        since: "6.0.0",
        summary: "Refused: users are settings",
        args: &[arg("username", "string"), ArgDoc { flags: ANY_NUMBER, ..arg("rule", "string") }],
        ..admin("acl|setuser", Id::AclSetuser, Place::Local, -3, ANYTIME)
    },
    Spec {
        since: "6.0.0",
        summary: "The names of all users",
        ..admin("acl|users", Id::AclUsers, Place::Local, 2, ANYTIME)
    },
    Spec {
        since: "6.0.0",
        summary: "The name of the connection's user",
        ..slow("acl|whoami", Id::AclWhoami, Place::Local, 2, PRIVATE)
    },
];

const fn scripting(name: &'static str, id: Id, arity: i32, flags: Flags) -> Spec {
    Spec {
        categories: &["slow", "scripting"],
        group: "scripting",
        ..spec(name, id, Place::Local, arity, Flags::NOSCRIPT.with(flags))
    }
}

static FUNCTION: &[Spec] = &[
    Spec {
        since: "7.0.0",
        summary: "Answers OK: there is nothing to forget",
        args: &[FLUSH_MODE],
        ..scripting("function|flush", Id::FunctionFlush, -2, Flags::NONE)
    },
    help("function|help", Id::FunctionHelp, "7.0.0"),
    Spec {
        since: "7.0.0",
        summary: "The libraries: none",
        args: &[
            ArgDoc {
                token: Some("LIBRARYNAME"),
                flags: OPTIONAL,
                ..arg("library-name-pattern", "string")
            },
            ArgDoc { flags: OPTIONAL, ..token("withcode", "WITHCODE") },
        ],
        ..scripting("function|list", Id::FunctionList, -2, Flags::NONE)
    },
];

static SCRIPT: &[Spec] = &[
    Spec {
        since: "2.6.0",
        summary: "Which of the scripts are there: none",
        args: &[ArgDoc { flags: MULTIPLE, ..arg("sha1", "string") }],
        ..scripting("script|exists", Id::ScriptExists, -3, Flags::NONE)
    },
    Spec {
        since: "2.6.0",
        summary: "Answers OK: there is nothing to forget",
        args: &[FLUSH_MODE],
        ..scripting("script|flush", Id::ScriptFlush, -2, Flags::NONE)
    },
    help("script|help", Id::ScriptHelp, "5.0.0"),
];

static MODULE: &[Spec] = &[
    help("module|help", Id::ModuleHelp, "5.0.0"),
    Spec {
        since: "4.0.0",
        summary: "The modules: none",
        ..admin("module|list", Id::ModuleList, Place::Local, 2, Flags::NONE)
    },
];

/// MEMORY's, but for USAGE, which is about a key.
static MEMORY: [Spec; 6] = [
    Spec {
        since: "4.0.0",
        summary: "What is wrong with the use of memory",
        ..slow("memory|doctor", Id::MemoryDoctor, Place::Local, 2, Flags::NONE)
    },
    help("memory|help", Id::MemoryHelp, "4.0.0"),
    Spec {
        since: "4.0.0",
        summary: "The allocator's own report, which is not shown",
        ..slow("memory|malloc-stats", Id::MemoryMallocStats, Place::Local, 2, Flags::NONE)
    },
    Spec {
        since: "4.0.0",
        summary: "Answers OK: the allocator gives back what is free by itself",
        ..slow("memory|purge", Id::MemoryPurge, Place::Local, 2, Flags::NONE)
    },
    Spec {
        tips: &[ANY_OUTPUT, ALL_SHARDS, "response_policy:special"],
        since: "4.0.0",
        summary: "What the memory of the process is used for, in bytes",
        ..slow("memory|stats", Id::MemoryStats, Place::AllShards, 2, Flags::NONE)
    },
    Spec {
        keys: keys(2, 2, 1, &["RO"]),
        categories: &["read", "slow"],
        group: "server",
        since: "4.0.0",
        summary: "What a key and its value take, in bytes, before compression",
        args: &[KEY, ArgDoc { token: Some("SAMPLES"), flags: OPTIONAL, ..arg("count", "integer") }],
        ..slow("memory|usage", Id::MemoryUsage, Place::Keys, -3, Flags::READONLY)
    },
];
