//! Commands on the connection.

use super::*;

pub(super) static TABLE: &[Spec] = &[
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
