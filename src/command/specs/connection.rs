//! Commands on the connection.

use super::*;

pub(super) static TABLE: &[Spec] = &[
    Spec {
        summary: "Logs in: as the default user, or as the one named",
        complexity: "O(N) in the bytes of the password",
        args: &[ArgDoc { flags: OPTIONAL, ..arg("username", "string") }, arg("password", "string")],
        ..spec("auth", Id::Auth, Place::Local, -2, BEFORE_AUTH)
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
];

const fn client(name: &'static str, id: Id, arity: i32, flags: Flags) -> Spec {
    Spec { categories: &["slow", "connection"], ..spec(name, id, Place::Local, arity, flags) }
}

/// One that concerns other clients.
const fn operator(name: &'static str, id: Id, place: Place, arity: i32) -> Spec {
    Spec {
        categories: &["admin", "slow", "dangerous", "connection"],
        ..spec(name, id, place, arity, Flags::ADMIN.with(PRIVATE))
    }
}

const KIND: ArgDoc = ArgDoc {
    token: Some("TYPE"),
    flags: OPTIONAL,
    inner: &[
        token("normal", "NORMAL"),
        token("master", "MASTER"),
        token("replica", "REPLICA"),
        token("pubsub", "PUBSUB"),
    ],
    ..arg("client-type", "oneof")
};
const YES_NO: &[ArgDoc] = &[token("yes", "YES"), token("no", "NO")];
const ON_OFF: &[ArgDoc] =
    &[ArgDoc { inner: &[token("on", "ON"), token("off", "OFF")], ..arg("enabled", "oneof") }];
const PER_CLIENT: &str = "O(N) in the number of clients";

static CLIENT: &[Spec] = &[
    Spec {
        since: "6.0.0",
        summary: "Refused: keys are not tracked for clients",
        args: &[ArgDoc { inner: YES_NO, ..arg("mode", "oneof") }],
        ..client("client|caching", Id::ClientCaching, 3, PRIVATE)
    },
    Spec {
        since: "2.6.9",
        summary: "The name that the connection was given",
        ..client("client|getname", Id::ClientGetname, 2, PRIVATE)
    },
    Spec {
        since: "6.0.0",
        summary: "Where invalidations are sent to: nowhere",
        ..client("client|getredir", Id::ClientGetredir, 2, PRIVATE)
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
        place: Place::Core,
        tips: &[ANY_OUTPUT],
        since: "6.2.0",
        summary: "One line on this connection",
        ..client("client|info", Id::ClientInfo, 2, PRIVATE)
    },
    Spec {
        since: "2.4.0",
        summary: "Closes the connection from an address, or those for which all options hold",
        complexity: PER_CLIENT,
        args: &[
            ArgDoc { flags: OPTIONAL, ..arg("ip:port", "string") },
            ArgDoc { token: Some("ID"), flags: OPTIONAL, ..arg("client-id", "integer") },
            KIND,
            ArgDoc { token: Some("USER"), flags: OPTIONAL, ..arg("username", "string") },
            ArgDoc { token: Some("ADDR"), flags: OPTIONAL, ..arg("addr", "string") },
            ArgDoc { token: Some("LADDR"), flags: OPTIONAL, ..arg("laddr", "string") },
            ArgDoc {
                token: Some("SKIPME"),
                flags: OPTIONAL,
                inner: YES_NO,
                ..arg("skipme", "oneof")
            },
            ArgDoc { token: Some("MAXAGE"), flags: OPTIONAL, ..arg("maxage", "integer") },
        ],
        ..operator("client|kill", Id::ClientKill, Place::Core, -3)
    },
    Spec {
        tips: &[ANY_OUTPUT],
        since: "2.4.0",
        summary: "A line on each connection, or on those of a type or of these numbers",
        complexity: PER_CLIENT,
        args: &[
            KIND,
            ArgDoc { token: Some("ID"), flags: ANY_NUMBER, ..arg("client-id", "integer") },
        ],
        ..operator("client|list", Id::ClientList, Place::Core, -2)
    },
    Spec {
        since: "7.0.0",
        summary: "Noted, without effect: no client is closed for want of memory for others' data",
        args: ON_OFF,
        ..operator("client|no-evict", Id::ClientNoEvict, Place::Local, 3)
    },
    Spec {
        since: "7.2.0",
        summary: "Noted, without effect: reads do not change when a key is evicted",
        args: ON_OFF,
        ..client("client|no-touch", Id::ClientNoTouch, 3, PRIVATE)
    },
    Spec {
        since: "3.0.0",
        summary: "Holds back all commands, or those that write, of all clients for so many milliseconds",
        args: &[
            arg("timeout", "integer"),
            ArgDoc {
                flags: OPTIONAL,
                inner: &[token("write", "WRITE"), token("all", "ALL")],
                ..arg("mode", "oneof")
            },
        ],
        ..operator("client|pause", Id::ClientPause, Place::Core, -3)
    },
    Spec {
        since: "3.2.0",
        summary: "Whether replies are sent, or that to the next command is not",
        args: &[ArgDoc {
            inner: &[token("on", "ON"), token("off", "OFF"), token("skip", "SKIP")],
            ..arg("on_off_skip", "oneof")
        }],
        place: Place::Core,
        ..client("client|reply", Id::ClientReply, 3, PRIVATE)
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
    Spec {
        since: "6.0.0",
        summary: "Keys are not tracked for clients: it can only be switched off",
        args: &[ArgDoc {
            inner: &[token("on", "ON"), token("off", "OFF")],
            ..arg("status", "oneof")
        }],
        ..client("client|tracking", Id::ClientTracking, -3, PRIVATE)
    },
    Spec {
        since: "6.2.0",
        summary: "That keys are not tracked for this client",
        ..client("client|trackinginfo", Id::ClientTrackinginfo, 2, PRIVATE)
    },
    Spec {
        since: "5.0.0",
        summary: "Answers 0: no command here blocks its client",
        args: &[
            arg("client-id", "integer"),
            ArgDoc {
                flags: OPTIONAL,
                inner: &[token("timeout", "TIMEOUT"), token("error", "ERROR")],
                ..arg("unblock-type", "oneof")
            },
        ],
        ..operator("client|unblock", Id::ClientUnblock, Place::Local, -3)
    },
    Spec {
        since: "6.2.0",
        summary: "Lets commands go on that PAUSE holds back",
        ..operator("client|unpause", Id::ClientUnpause, Place::Core, 2)
    },
];
