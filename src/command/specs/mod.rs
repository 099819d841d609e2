//! The entries of the command table. Names, arity, flags, positions and categories are Redis 7.0's; a command that we
//! support in part documents that part only.
#![cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "all the words that entries are written in")
)]

use super::table::{ArgDoc, CommandId as Id, Flags, Keys, Place, Spec};

mod admin;
mod connection;
mod keys;
mod pubsub;
mod server;
mod strings;
mod transactions;

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

/// The groups, most used names first.
static GROUPS: &[&[Spec]] = &[
    strings::TABLE,
    keys::TABLE,
    transactions::TABLE,
    connection::TABLE,
    server::TABLE,
    admin::TABLE,
    pubsub::TABLE,
];

const COUNT: usize = {
    let mut count = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        count += GROUPS[group].len();
        group += 1;
    }
    count
};

/// All commands, without subcommands.
pub(super) static TABLE: [&Spec; COUNT] = {
    let mut table = [&GROUPS[0][0]; COUNT];
    let (mut group, mut index, mut place) = (0, 0, 0);
    while place < COUNT {
        if index == GROUPS[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        table[place] = &GROUPS[group][index];
        (index, place) = (index + 1, place + 1);
    }
    table
};
