//! Commands, error texts, inline requests, protocol errors and limits.
//!
//! Where the meaning is Redis' own, the raw replies are compared with those of a `redis-server` started beside: its texts
//! are the expectation, not our memory of them.

use crate::common::{Client, Options, Peer, Reply, Server, encode, is_stand_in, transcript};

/// Bytes from the outside of an ASCII string, for messages.
fn show(bytes: &[u8]) -> String {
    let text: String = bytes.escape_ascii().map(char::from).collect();
    if text.len() <= 300 { text } else { format!("{}.. ({} bytes)", &text[..300], bytes.len()) }
}

/// Sends each request to both servers and compares every byte of the answers.
fn same_as_redis(requests: &[Vec<u8>]) {
    let Some(peer) = Peer::start() else { return };
    let server = Server::start(&Options::default());
    let mut different = Vec::new();
    for request in requests {
        let theirs = transcript(peer.port(), &[request]).unwrap();
        let ours = transcript(server.port(), &[request]).unwrap();
        if theirs != ours {
            different.push(format!(
                "request {}\n  redis: {}\n  ours:  {}",
                show(request),
                show(&theirs),
                show(&ours)
            ));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        requests.len(),
        different.join("\n")
    );
}

/// Each line a request: words without spaces.
fn requests(lines: &str) -> Vec<Vec<u8>> {
    let words = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| !words.is_empty()).map(|words| encode(&words)).collect()
}

#[test]
fn commands_answer_as_redis_does() {
    let mut all = requests(
        "PING
         ping
         PING hello
         ECHO hello
         eChO x
         SET a 1
         GET a
         SET a 2
         GET a
         GET never
         EXISTS a
         EXISTS a a a never
         DEL a
         DEL a
         DEL a b c
         GET a
         MSET a 1 b 2 c 3
         MGET a b c never a
         MSET a 1 a 2 a 3
         GET a
         DEL a a
         EXISTS b c
         DBSIZE
         SELECT 0
         CONFIG GET save
         CONFIG GET appendonly
         CONFIG GET no-such-name
         CLIENT SETNAME worker-1
         HELLO 2 SETNAME worker-2 EXTRA
         FLUSHALL
         DBSIZE
         GET b
         FLUSHALL ASYNC
         FLUSHALL SYNC",
    );
    // Keys and values are bytes: line ends, zeros, nothing at all.
    let odd: [&[u8]; 6] = [b"", b"\r\n", b"\0", b"*1\r\n$4\r\nPING\r\n", b" ", b"\xff\xfe\x80"];
    for bytes in odd {
        all.push(encode(&[b"SET".as_slice(), bytes, bytes]));
        all.push(encode(&[b"GET".as_slice(), bytes]));
        all.push(encode(&[b"MGET".as_slice(), bytes, b"never", bytes]));
        all.push(encode(&[b"ECHO".as_slice(), bytes]));
        all.push(encode(&[b"DEL".as_slice(), bytes]));
    }
    same_as_redis(&all);
}

#[test]
fn wrong_commands_get_the_texts_of_redis() {
    let mut all = requests(
        "GET
         GET a b
         get a b
         SET
         SET a
         DEL
         EXISTS
         MGET
         MSET
         MSET a
         MSET a 1 b
         ECHO
         ECHO a b
         PING a b
         DBSIZE 1
         SELECT
         SELECT 1
         SELECT -1
         SELECT x
         SELECT 99999999999999999999
         FLUSHALL NOW
         FLUSHALL SYNC ASYNC
         NOSUCH
         NOSUCH a b
         nosuch A B
         CLIENT
         CLIENT NOSUCH
         CLIENT SETNAME
         CLIENT SETNAME a b
         CONFIG
         CONFIG NOSUCH
         CONFIG GET
         COMMAND NOSUCH
         HELLO 4
         HELLO x
         HELLO 1
         SET a 1 NOSUCH",
    );
    all.push(encode(&["CLIENT", "SETNAME", "two words"]));
    all.push(encode(&["CLIENT", "SETNAME", "line\nend"]));
    all.push(encode(&[""]));
    all.push(encode(&["", ""]));
    all.push(encode(&["NOSUCH", "line\r\nend"]));
    all.push(encode(&["NO\r\nSUCH"]));
    // The text is cut, and the rest of the arguments with it.
    let long = "x".repeat(300);
    all.push(encode(&["NOSUCH", &long]));
    all.push(encode(&[&long, "a"]));
    all.push(encode(&["NOSUCH", &long[..100], &long[..100], "more"]));
    let many = ["NOSUCH"].into_iter().chain(std::iter::repeat_n("argument", 100));
    all.push(encode(&many.collect::<Vec<_>>()));
    same_as_redis(&all);
}

#[test]
fn inline_requests_answer_as_redis_does() {
    let all = [
        "PING\r\n",
        "PING\n",
        "\r\n\r\nPING\r\n",
        "\n\n\nPING\n",
        "  PING  \r\n",
        "SET inline value\r\nGET inline\r\n",
        "SET inline \"two words\"\r\nGET inline\r\n",
        "SET inline 'it\\'s'\r\nGET inline\r\n",
        "SET inline \"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\"\r\nGET inline\r\n",
        "SET inline \"\"\r\nGET inline\r\n",
        "MGET inline\tnever\r\n",
        "NOSUCH a b\r\n",
        "GET\r\n",
        "PING \"unbalanced\r\n",
        "PING 'unbalanced\r\n",
        "PING \"glued\"on\r\n",
        "PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
        "QUIT\r\nPING\r\n",
    ];
    same_as_redis(&all.map(|text| text.as_bytes().to_vec()));
}

#[test]
fn broken_framing_gets_the_texts_of_redis_and_a_close() {
    let all = [
        // Said nothing, done nothing.
        "*0\r\n",
        "*-1\r\n",
        "*0\r\n*0\r\n*1\r\n$4\r\nPING\r\n",
        "\r\n",
        // The count of arguments.
        "*\r\n",
        "*x\r\n",
        "*1x\r\n",
        "*+1\r\n",
        "*01\r\n",
        "* 1\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*9223372036854775807\r\n",
        // The length of an argument.
        "*1\r\n$\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$+4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$4 \r\nPING\r\n",
        "*1\r\n$67108865\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*1\r\n$9223372036854775807\r\n",
        "*2\r\n$3\r\nGET\r\n$-1\r\n",
        // Something else where a length must stand.
        "*1\r\n:4\r\nPING\r\n",
        "*1\r\n+PING\r\n",
        "*1\r\n*1\r\n$4\r\nPING\r\n",
        "*1\r\nPING\r\n",
        "*1\r\n\r\n",
        // What comes before the fault is answered, what comes after it is not.
        "*1\r\n$4\r\nPING\r\n*x\r\n*1\r\n$4\r\nPING\r\n",
        "PING\r\n*1\r\n$-5\r\nPING\r\n",
    ]
    .map(|text| text.as_bytes().to_vec());
    same_as_redis(&all);
}

/// Nothing follows here: whether Redis finds the line end first depends on how much it reads at once.
#[test]
fn a_line_without_an_end_is_cut_off_at_64_kib() {
    let Some(peer) = Peer::start() else { return };
    let server = Server::start(&Options::default());
    for head in ["", "*", "*1\r\n$"] {
        let line = head.to_owned() + &"9".repeat(100_000);
        let said = |port| {
            let mut client = Client::connect(port).unwrap();
            // The server may close before it has read everything.
            let _ = client.send(line.as_bytes());
            String::from_utf8(client.rest().unwrap()).unwrap()
        };
        let theirs = said(peer.port());
        assert!(theirs.starts_with("-ERR Protocol error: too big "), "{theirs}");
        assert_eq!(said(server.port()), theirs, "after {head:?}");
    }
}

#[test]
fn a_browser_is_cut_off_and_nothing_of_its_request_runs() {
    for head in ["POST / HTTP/1.1\r\n", "post /\r\n", "Host: example.org\r\n", "HOST: x\r\n"] {
        let server = Server::start(&Options::default());
        let request = format!("{head}Content-Length: 20\r\n\r\nSET smuggled 1\r\n");
        let said = transcript(server.port(), &[request.as_bytes()]).unwrap();
        assert_eq!(said, b"<closed>", "{head:?}");
        assert_eq!(server.client().say("GET smuggled"), Reply::Nil, "{head:?}");
    }
}

#[test]
fn a_bulk_string_must_end_with_its_line_end() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let said = transcript(server.port(), &[b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n"]).unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("-ERR Protocol error"), "{said}");
    assert!(said.ends_with("\r\n<closed>"), "{said}");
}

#[test]
fn one_argument_too_many_is_refused_before_it_is_sent() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let said = transcript(server.port(), &[b"*1048577\r\n"]).unwrap();
    assert_eq!(said, b"-ERR Protocol error: invalid multibulk length\r\n<closed>".as_slice());
    // At the limit the server waits for the arguments, and has reserved next to nothing for them.
    let mut waiting = server.client();
    waiting.send(b"*1048576\r\n$4\r\nMGET\r\n").unwrap();
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn quit_answers_then_closes() {
    let server = Server::start(&Options::default());
    let mut client = server.client();
    client.send(b"*1\r\n$4\r\nQUIT\r\n*3\r\n$3\r\nSET\r\n$1\r\nq\r\n$1\r\n1\r\n").unwrap();
    assert_eq!(client.rest().unwrap(), b"+OK\r\n");
    assert_eq!(server.client().say("GET q"), Reply::Nil);
}

#[test]
fn stats_has_its_shape_in_all_and_per_shard() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    client.say("MSET a 1 b 2 c 3");
    let whole = client.say("STATS").text();
    assert_eq!(stats_blocks(&whole), 1, "{whole}");
    let shards = client.say("STATS SHARDS").text();
    assert_eq!(stats_blocks(&shards), 3, "the sum, then one block per shard:\n{shards}");
}

/// Checks each block between its two rulers and counts them.
fn stats_blocks(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let heads: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with("--- ")).collect();
    for &head in &heads {
        let block = &lines[head..];
        assert!(block[1].starts_with(" MemTable Size: "), "{text}");
        assert!(block[1].ends_with(" MB"), "{text}");
        let size = &block[1][" MemTable Size: ".len()..block[1].len() - " MB".len()];
        assert!(size.parse::<f64>().is_ok() && size.contains('.'), "{text}");
        let tables = block[2].strip_prefix(" SSTables (Active): ").expect(text);
        assert!(tables.parse::<u64>().is_ok(), "{text}");
        let levels = block[3].strip_prefix(" Level Distribution: [").expect(text);
        let levels: Vec<&str> = levels.strip_suffix(']').expect(text).split(", ").collect();
        assert_eq!(levels.len(), 7, "{text}");
        assert!(levels.iter().all(|count| count.parse::<u64>().is_ok()), "{text}");
        let sum: u64 = levels.iter().map(|count| count.parse::<u64>().unwrap()).sum();
        assert_eq!(sum.to_string(), tables, "{text}");
        assert!(block.contains(&" ----------------"), "{text}");
    }
    if let Some(&first) = heads.first() {
        assert_eq!(lines[first], "--- DB Stats ---");
    }
    heads.len()
}

#[test]
fn hello_lists_its_fields_in_order() {
    let server = Server::start(&Options::default());
    let Reply::Array(fields) = server.client().say("HELLO 2") else { panic!("no array") };
    let names: Vec<String> = fields.iter().step_by(2).map(Reply::text).collect();
    assert_eq!(names, ["server", "version", "proto", "id", "mode", "role", "modules"]);
    assert_eq!(fields[5], Reply::Integer(2));
    assert_eq!(fields[11].text(), "master");
}

#[test]
fn info_names_what_clients_look_for() {
    let server = Server::start(&Options::default());
    let mut client = server.client();
    let all = client.say("INFO").text();
    for field in ["redis_version:", "tcp_port:", "role:master", "loading:0"] {
        let found = all.lines().any(|line| line.starts_with(field));
        assert!(found || is_stand_in(), "{field} is missing:\n{all}");
    }
    assert!(all.starts_with("# Server\r\n"), "{all}");
    assert!(all.contains(&format!("tcp_port:{}\r\n", server.port())), "{all}");
    // One section, by name and in any case.
    let one = client.say("INFO SERVER").text();
    assert!(one.starts_with("# Server\r\n") && !one.contains("# Clients"), "{one}");
    if !is_stand_in() {
        assert!(all.contains("rusty_lsm_version:"), "{all}");
    }
}

#[test]
fn command_and_its_docs_come_from_one_table() {
    let server = Server::start(&Options::default());
    let mut client = server.client();
    let Reply::Array(commands) = client.say("COMMAND") else { panic!("no array") };
    let name = |entry: &Reply| match entry {
        Reply::Array(fields) => fields[0].text(),
        other => panic!("an entry is an array, not {other:?}"),
    };
    let mut listed: Vec<String> = commands.iter().map(name).collect();
    let Reply::Array(docs) = client.say("COMMAND DOCS") else { panic!("no array") };
    let mut documented: Vec<String> = docs.iter().step_by(2).map(Reply::text).collect();
    listed.sort();
    documented.sort();
    assert_eq!(listed, documented);
    for name in ["get", "set", "del", "exists", "mget", "mset", "flushdb", "flushall", "dbsize"] {
        assert!(listed.iter().any(|listed| listed == name), "{name} is missing: {listed:?}");
    }
    // Arity and key positions as Redis gives them, so that a client library routes alike.
    let Some(peer) = Peer::start() else { return };
    let mut theirs = Client::connect(peer.port()).unwrap();
    for name in ["get", "set", "del", "exists", "mget", "mset", "ping", "echo", "flushall"] {
        let positions = |client: &mut Client| match client.command(&["COMMAND", "INFO", name]) {
            Reply::Array(entries) => match &entries[0] {
                Reply::Array(fields) => {
                    let mut kept = fields[..2].to_vec();
                    kept.extend_from_slice(&fields[3..6]);
                    kept
                }
                other => panic!("{name}: {other:?}"),
            },
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(positions(&mut client), positions(&mut theirs), "{name}");
    }
}

#[test]
fn what_clients_say_at_connect_is_understood() {
    let server = Server::start(&Options::default());
    let mut client = server.client();
    if !is_stand_in() {
        assert_eq!(client.say("CLIENT SETINFO LIB-NAME tester"), Reply::ok());
        assert_eq!(client.say("CLIENT SETINFO LIB-VER 1.0"), Reply::ok());
        assert_eq!(
            client.say("CONFIG GET databases"),
            Reply::Array(vec!["databases", "1"].into_iter().map(Reply::bulk).collect())
        );
    }
    // OK would make a client wait for pushes that never come.
    assert!(client.say("CLIENT MAINT_NOTIFICATIONS ON").is_error());
    assert_eq!(client.say("CLIENT SETNAME a-name"), Reply::ok());
    assert_eq!(client.say("SELECT 0"), Reply::ok());
    assert_eq!(client.say("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn connections_do_not_see_each_other() {
    let server = Server::start(&Options::default());
    let mut clients: Vec<Client> = (0..50).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(&encode(&["SET", &format!("k{index}"), &format!("v{index}")])).unwrap();
        client.send(&encode(&["GET", &format!("k{index}")])).unwrap();
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.reply().unwrap(), Reply::ok());
        assert_eq!(client.reply().unwrap(), Reply::bulk(format!("v{index}")));
    }
}
