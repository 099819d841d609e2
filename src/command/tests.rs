//! Local commands and the table, against texts taken from redis-server 7.0.15 by hand.

use std::sync::Arc;

use super::*;
use crate::live::Live;
use crate::resp::{Parsed, Parser, ParserLimits, Protocol};

fn facts() -> ServerFacts {
    ServerFacts {
        now_us: 1_700_000_000_000_042,
        live: Arc::new(Live::showing(&[
            ("save", ""),
            ("appendonly", "yes"),
            ("appendfsync", ""),
            ("port", "8080"),
        ])),
    }
}

fn session() -> Session {
    Session::new(7, "127.0.0.1:1".into(), "127.0.0.1:2".into(), 1_699_999_990_000_000)
}

/// Runs one command as a connection does; the reply with `|` for CRLF.
fn ask(session: &mut Session, words: &[&[u8]]) -> (String, Flow) {
    let mut input = Vec::new();
    writer::array(&mut input, words.len());
    for word in words {
        writer::bulk(&mut input, word);
    }
    let mut parser = Parser::new(ParserLimits::new(1 << 20));
    assert_eq!(parser.parse(&input), Ok(Parsed::Command { consumed: input.len() }));
    let args = parser.args(&input);
    let mut out = Vec::new();
    let flow = match resolve(args) {
        Err(refusal) => refusal.write(args, &mut out),
        Ok(spec) if spec.place == Place::Local => run(session, &facts(), spec, args, &mut out),
        Ok(spec) => {
            match check(spec, args) {
                Ok(()) => writer::simple(&mut out, "routed"),
                Err(error) => error.write(&mut out),
            }
            Flow::Continue
        }
    };
    (String::from_utf8_lossy(&out).replace("\r\n", "|"), flow)
}

fn reply(line: &str) -> String {
    reply_in(&mut session(), line)
}

fn reply_in(session: &mut Session, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    ask(session, &words).0
}

#[test]
fn replies_are_those_of_redis() {
    for (line, expected) in [
        ("PING", "+PONG|"),
        ("ping hello", "$5|hello|"),
        ("ping a b", "-ERR wrong number of arguments for 'ping' command|"),
        ("echo", "-ERR wrong number of arguments for 'echo' command|"),
        ("echo hi", "$2|hi|"),
        ("get", "-ERR wrong number of arguments for 'get' command|"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command|"),
        ("SeT k v", "+routed|"),
        ("mset a", "-ERR wrong number of arguments for 'mset' command|"),
        ("mset a b c", "-ERR wrong number of arguments for 'mset' command|"),
        ("mset a b c d", "+routed|"),
        ("flushdb x", "-ERR syntax error|"),
        ("flushall async x", "-ERR syntax error|"),
        ("flushall SYNC", "+routed|"),
        ("stats shards", "+routed|"),
        ("stats x", "-ERR syntax error|"),
        ("select 0", "+OK|"),
        ("select 1", "-ERR DB index is out of range|"),
        ("select -1", "-ERR DB index is out of range|"),
        ("select 1a", "-ERR value is not an integer or out of range|"),
        (
            "select 9999999999",
            "-ERR value is out of range, value must between -2147483648 and 2147483647|",
        ),
        ("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' |"),
        ("foo", "-ERR unknown command 'foo', with args beginning with: |"),
        ("hello 4", "-NOPROTO unsupported protocol version|"),
        ("hello x", "-ERR Protocol version is not an integer or out of range|"),
        ("hello 2 foo", "-ERR Syntax error in HELLO option 'foo'|"),
        ("hello 2 auth x", "-ERR Syntax error in HELLO option 'auth'|"),
        ("hello 2 auth d x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        ("client", "-ERR wrong number of arguments for 'client' command|"),
        ("client foo", "-ERR unknown subcommand 'foo'. Try CLIENT HELP.|"),
        (
            "client maint_notifications on",
            "-ERR unknown subcommand 'maint_notifications'. Try CLIENT HELP.|",
        ),
        ("client id", ":7|"),
        ("client id x", "-ERR wrong number of arguments for 'client|id' command|"),
        ("client setinfo lib-name redis-py", "+OK|"),
        ("client setinfo LIB-VER 1.0", "+OK|"),
        ("client setinfo foo bar", "-ERR Unrecognized option 'foo'|"),
        ("config foo", "-ERR unknown subcommand 'foo'. Try CONFIG HELP.|"),
        ("config get", "-ERR wrong number of arguments for 'config|get' command|"),
        ("config get nosuch", "*0|"),
        ("config get save", "*2|$4|save|$0||"),
        ("config get APPEND* appendonly", "*4|$10|appendonly|$3|yes|$11|appendfsync|$8|everysec|"),
        ("command foo", "-ERR unknown subcommand 'foo'. Try COMMAND HELP.|"),
        ("command count x", "-ERR wrong number of arguments for 'command|count' command|"),
        ("command docs nosuch", "*0|"),
        ("command info nosuch get|x", "*2|*-1|*-1|"),
        ("command list x", "-ERR syntax error|"),
        ("command list filterby x y", "-ERR syntax error|"),
        ("command list filterby pattern gete*", "*1|$5|getex|"),
        ("command list filterby module x", "*0|"),
        ("command getkeys get a", "*1|$1|a|"),
        ("command getkeys mset a b c d", "*2|$1|a|$1|c|"),
        ("command getkeys mset a b c", "*2|$1|a|$1|c|"),
        ("command getkeys ping x", "-ERR The command has no key arguments|"),
        ("command getkeys nosuch x", "-ERR Invalid command specified|"),
        ("command getkeys get a b", "-ERR Invalid number of arguments specified for command|"),
        ("command getkeys get", "-ERR wrong number of arguments for 'command|getkeys' command|"),
        ("readonly", "-ERR This instance has cluster support disabled|"),
        ("cluster info", "-ERR This instance has cluster support disabled|"),
        ("cluster", "-ERR wrong number of arguments for 'cluster' command|"),
        ("time", "*2|$10|1700000000|$2|42|"),
        ("reset", "+RESET|"),
    ] {
        assert_eq!(reply(line), expected, "{line}");
    }
}

#[test]
fn an_unknown_command_shows_little_of_its_arguments_and_no_line_end() {
    let long = [b'x'; 200];
    let (text, _) = ask(&mut session(), &[b"foo", b"a\r\nb", &long]);
    let shown = "x".repeat(128 - "'a  b' ".len());
    assert_eq!(
        text,
        format!("-ERR unknown command 'foo', with args beginning with: 'a  b' '{shown}' |")
    );
    let (text, _) = ask(&mut session(), &[&long]);
    assert_eq!(
        text,
        format!("-ERR unknown command '{}', with args beginning with: |", "x".repeat(128))
    );
}

#[test]
fn flow() {
    assert_eq!(ask(&mut session(), &[b"QUIT"]), ("+OK|".into(), Flow::CloseAfterReply));
    assert_eq!(ask(&mut session(), &[b"quit", b"x"]).1, Flow::CloseAfterReply);
    for name in [b"POST".as_slice(), b"host:"] {
        assert_eq!(ask(&mut session(), &[name, b"/"]), (String::new(), Flow::CloseSilently));
    }
}

#[test]
fn hello_changes_the_protocol_and_lists_its_fields_in_order() {
    let session = &mut session();
    let fields = "$6|server|$5|redis|$7|version|$5|7.4.0|$5|proto|:2|$2|id|:7|$4|mode|$10|standalone|$4|role|$6|master|$7|modules|*0|";
    assert_eq!(reply_in(session, "HELLO 2"), format!("*14|{fields}"));
    assert_eq!(
        reply_in(session, "HELLO 3 SETNAME me"),
        format!("%7|{}", fields.replace(":2|", ":3|"))
    );
    assert_eq!((session.protocol, session.name.as_slice()), (Protocol::Resp3, b"me".as_slice()));
    assert_eq!(reply_in(session, "CONFIG GET nosuch"), "%0|");
    assert_eq!(reply_in(session, "COMMAND INFO nosuch"), "*1|_|");
    // Nothing changes unless all is right.
    assert!(
        reply_in(session, "HELLO 2 SETNAME other SETNAME")
            .starts_with("-ERR Syntax error in HELLO")
    );
    assert_eq!((session.protocol, session.name.as_slice()), (Protocol::Resp3, b"me".as_slice()));
    assert!(reply_in(session, "HELLO").starts_with("%7|"));
    assert_eq!(reply_in(session, "RESET"), "+RESET|");
    assert_eq!((session.protocol, session.name.is_empty()), (Protocol::Resp2, true));
}

#[test]
fn a_connection_tells_of_itself() {
    let session = &mut session();
    assert_eq!(reply_in(session, "CLIENT GETNAME"), "$-1|");
    assert_eq!(reply_in(session, "CLIENT SETNAME worker-1"), "+OK|");
    assert_eq!(reply_in(session, "CLIENT GETNAME"), "$8|worker-1|");
    let refused = "-ERR Client names cannot contain spaces, newlines or special characters.|";
    for name in [b"a b".as_slice(), b"a\n", b"\x7f", "é".as_bytes()] {
        assert_eq!(ask(session, &[b"CLIENT", b"SETNAME", name]).0, refused);
    }
    let long = vec![b'x'; crate::limits::CLIENT_NAME_BYTES_MAX + 1];
    assert!(ask(session, &[b"CLIENT", b"SETNAME", &long]).0.starts_with("-ERR a client's name"));
    reply_in(session, "CLIENT SETINFO LIB-NAME lettuce");
    assert_eq!(session.lib_name, b"lettuce");
    assert_eq!(reply_in(session, "CLIENT SETNAME "), "+OK|");
    assert_eq!(reply_in(session, "CLIENT GETNAME"), "$-1|");
}

#[test]
fn a_key_is_as_long_as_the_limit_and_no_longer() {
    let key = vec![b'k'; shard::limits::KEY_BYTES_MAX + 1];
    let most = &key[1..];
    assert_eq!(ask(&mut session(), &[b"GET", most]).0, "+routed|");
    assert_eq!(ask(&mut session(), &[b"MSET", b"a", &key, b"b", b"v"]).0, "+routed|");
    let refused = "-ERR key is 65537 bytes long, the limit is 65536|";
    assert_eq!(ask(&mut session(), &[b"GET", &key]).0, refused);
    assert_eq!(ask(&mut session(), &[b"MSET", b"a", b"v", &key, b"v"]).0, refused);
}

#[test]
fn lookup_knows_each_name_in_any_case_and_nothing_else() {
    for spec in table::all() {
        assert_eq!(lookup(spec.name.as_bytes()).map(|found| found.id), Some(spec.id));
        assert_eq!(
            lookup(spec.name.to_uppercase().as_bytes()).map(|found| found.id),
            Some(spec.id)
        );
        let mut longer = spec.name.as_bytes().to_vec();
        longer.push(0);
        assert!(lookup(&longer).is_none());
        // Bit 5 apart from a letter, and not the letter in upper case.
        let mut near = spec.name.as_bytes().to_vec();
        near[0] ^= 0x40;
        assert!(lookup(&near).is_none(), "{}", near.escape_ascii());
    }
    assert!(lookup(b"").is_none() && lookup(b"\0get").is_none() && lookup(b"ge\x14").is_none());
}

#[test]
fn the_table_is_consistent() {
    let mut ids = std::collections::HashSet::new();
    for spec in table::all_with_subcommands() {
        assert!(ids.insert(spec.id), "{} twice", spec.name);
        assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{}", spec.name);
        let has_keys = spec.keys != table::Keys::NONE;
        // WATCH is the connection's own, and the names of shard channels are keys by their slots alone.
        let is_of_keys = spec.place == Place::Keys || spec.id == CommandId::Watch;
        let is_channel = spec.group == "pubsub";
        assert!(is_of_keys == has_keys || is_channel, "{}", spec.name);
        assert!(spec.arity != 0);
        assert_eq!(
            spec.categories.contains(&"fast"),
            spec.flags.has(table::Flags::FAST),
            "{}",
            spec.name
        );
        assert_eq!(spec.categories.contains(&"write"), spec.is_write(), "{}", spec.name);
        for sub in spec.subcommands {
            assert!(sub.name.strip_prefix(spec.name).is_some_and(|rest| rest.starts_with('|')));
        }
    }
}

#[test]
fn key_positions_never_leave_the_arguments() {
    for spec in table::all() {
        for args in 0..8 {
            assert!(spec.key_positions(args).all(|position| position >= 1 && position < args));
        }
    }
    let mset = lookup(b"mset").unwrap();
    assert_eq!(mset.key_positions(5).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(lookup(b"get").unwrap().key_positions(1).count(), 0);
}

/// Whole replies of COMMAND parse as what they say they are, in both protocols.
#[test]
fn command_replies_are_well_formed() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for line in [
            "COMMAND",
            "COMMAND DOCS",
            "COMMAND INFO",
            "COMMAND LIST",
            "COMMAND HELP",
            "CLIENT HELP",
            "CONFIG HELP",
            "CONFIG GET *",
        ] {
            let mut session = session();
            session.protocol = protocol;
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let (text, _) = ask(&mut session, &words);
            let mut rest = text.as_str();
            skip(&mut rest);
            assert_eq!(rest, "", "{line}");
        }
    }
}

/// Reads one reply off `text` (CRLF are `|`; our table holds no other bars but in names, whose lengths are known).
fn skip(text: &mut &str) {
    let (head, rest) = text.split_once('|').unwrap();
    *text = rest;
    let (kind, number) = head.split_at(1);
    match kind {
        "*" | "~" => (0..number.parse::<usize>().unwrap()).for_each(|_| skip(text)),
        "%" => (0..2 * number.parse::<usize>().unwrap()).for_each(|_| skip(text)),
        "$" => {
            let bytes: usize = number.parse().unwrap();
            assert_eq!(&text[bytes..=bytes], "|", "{head}");
            *text = &text[bytes + 1..];
        }
        "+" if head.matches('(').count() > head.matches(')').count() => {
            // Choices in a HELP line: their bars are not its end.
            let mut open = true;
            while open {
                let (rest, behind) = text.split_once(')').unwrap().1.split_once('|').unwrap();
                (open, *text) = (rest.contains('('), behind);
            }
        }
        "+" | ":" | "_" => {}
        other => panic!("{other}"),
    }
}
