//! Transactions.

use super::*;

pub(super) static TABLE: &[Spec] = &[
    Spec {
        categories: &["fast", "transaction"],
        group: "transactions",
        since: "2.0.0",
        summary: "Throws the transaction away",
        complexity: "O(N)",
        ..spec(
            "discard",
            Id::Discard,
            Place::Transaction,
            1,
            Flags::NOSCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::FAST)
                .with(Flags::ALLOW_BUSY),
        )
    },
    Spec {
        categories: &["slow", "transaction"],
        group: "transactions",
        since: "1.2.0",
        summary: "Runs the transaction",
        complexity: "O(N)",
        ..spec(
            "exec",
            Id::Exec,
            Place::Transaction,
            1,
            Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::SKIP_SLOWLOG),
        )
    },
    Spec {
        categories: &["fast", "transaction"],
        group: "transactions",
        since: "1.2.0",
        summary: "Begins a transaction",
        ..spec(
            "multi",
            Id::Multi,
            Place::Transaction,
            1,
            Flags::NOSCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::FAST)
                .with(Flags::ALLOW_BUSY),
        )
    },
    Spec {
        categories: &["fast", "transaction"],
        group: "transactions",
        since: "2.2.0",
        summary: "Forgets all watched keys",
        ..spec(
            "unwatch",
            Id::Unwatch,
            Place::Transaction,
            1,
            Flags::NOSCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::FAST)
                .with(Flags::ALLOW_BUSY),
        )
    },
    Spec {
        keys: keys(1, -1, 1, &["RO"]),
        categories: &["fast", "transaction"],
        group: "transactions",
        since: "2.2.0",
        summary: "Lets the transaction run only if these keys stay as they are",
        complexity: PER_KEY,
        args: &[ArgDoc { flags: &["multiple"], ..arg("key", "key") }],
        ..spec(
            "watch",
            Id::Watch,
            Place::Transaction,
            -2,
            Flags::NOSCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::FAST)
                .with(Flags::ALLOW_BUSY),
        )
    },
];
