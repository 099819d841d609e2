//! Events of keys (`notify-keyspace-events`): what commands tell of what they did, to listeners on any core.

use crate::common::{Options, Reply, Server};

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn commands_tell_what_they_did() {
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let (mut listener, mut writer) = (server.client(), server.client());
    // Nobody is told before the setting says so.
    listener.say("PSUBSCRIBE __keyevent@0__:*");
    writer.say("SET quiet 1");
    assert_eq!(writer.say("CONFIG SET notify-keyspace-events EA"), Reply::ok());
    for line in [
        "SET {k}a 1",
        "INCR {k}a",
        "APPEND {k}a 0",
        "EXPIRE {k}a 100",
        "PERSIST {k}a",
        "SET {k}a v EX 100",
        "RENAME {k}a {k}b",
        "COPY {k}b {k}c",
        "GETDEL {k}c",
        "MSET {k}d 1 {k}e 2",
        "SETBIT {k}d 6 1",
        // Set already: nothing was done.
        "SETBIT {k}d 3 1",
        "DEL {k}b {k}absent",
        "EXPIREAT {k}d 1",
        "SET {k}e x NX",
    ] {
        assert!(!writer.say(line).is_error(), "{line}");
    }
    writer.say("MULTI");
    writer.say("INCRBY {k}f 2");
    writer.say("DEL {k}f");
    writer.say("EXEC");
    let wanted = [
        "set {k}a",
        "incrby {k}a",
        "append {k}a",
        "expire {k}a",
        "persist {k}a",
        "set {k}a",
        "expire {k}a",
        "rename_from {k}a",
        "rename_to {k}b",
        "copy_to {k}c",
        "del {k}c",
        "set {k}d",
        "set {k}e",
        "setbit {k}d",
        "del {k}b",
        "del {k}d",
        "incrby {k}f",
        "del {k}f",
    ];
    for event in wanted {
        let Reply::Array(message) = listener.reply().unwrap() else { panic!("a message") };
        let name = text(&message[2]);
        let name = name.trim_start_matches("__keyevent@0__:");
        assert_eq!(format!("{name} {}", text(&message[3])), event);
    }
}
