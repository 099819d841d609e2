//! The whole way of commands: parser, table, dispatch, mesh, shards, replies, on a real server of two cores.
//!
//! Input: text, a command a line, words between spaces. `1 ` before it: from the second connection (the first speaks to core 0,
//! it to core 1). A word `#N` stands for N bytes (a run, up to 64 KiB), `%` for no byte. Lines between two `|` leave in one write.
//!
//! What holds: every command is answered once, in order, by something well-formed; the server lives on; afterwards what is said
//! of each key from different sides agrees (EXISTS, TYPE, STRLEN, GET, PTTL, SCAN).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{Client, ClientError, Reply};
use crate::command::{CommandId, lookup};
use crate::config::LsmConfig;
use crate::server::{Connector, Server};
use crate::start;

/// Commands of one input.
const COMMANDS_MAX: usize = 64;
/// Words of one command.
const WORDS_MAX: usize = 64;
/// Longest run, in bytes.
const RUN_BYTES_MAX: usize = 64 << 10;
/// Bytes of all commands of an input.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// An answer that takes longer never comes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// What a directory of this target begins with; the rest is the process.
const DIR_PREFIX: &str = "fuzz-commands-";

struct World {
    /// Its cores serve as long as it is there.
    _server: Server,
    connector: Connector,
    clients: [Client; 2],
    token: u64,
}

/// See the module's head.
///
/// # Panics
/// If something does not hold.
pub fn commands(input: &[u8]) {
    // One for all inputs of the thread: libFuzzer has one, and so has the test.
    thread_local! {
        static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    }
    WORLD.with_borrow_mut(|world| world.get_or_insert_with(World::new).run(input));
}

impl World {
    fn new() -> Self {
        let config = LsmConfig {
            data_dir: new_dir(),
            shards: Some(2),
            sync: shard::options::SyncPolicy::Never,
            memory: Some(256 << 20),
            memtable_capacity: Some(1 << 20),
            wal_segment_size: 1 << 20,
            ..LsmConfig::default()
        };
        let server = start::embedded(config).expect("a new directory, and io_uring");
        let connector = server.connector();
        let clients = [0, 1].map(|core| connect(&connector, core));
        Self { _server: server, connector, clients, token: 0 }
    }

    fn run(&mut self, input: &[u8]) {
        self.begin_anew();
        let mut bytes = 0;
        let mut sent: [Sent; 2] = Default::default();
        for line in input.split(|byte| *byte == b'\n').take(COMMANDS_MAX) {
            let (from, line) = match line {
                [b'1', b' ', line @ ..] => (1, line),
                line => (0, line),
            };
            if line == b"|" {
                self.settle(&mut sent);
                continue;
            }
            let words = words(line);
            bytes += words.iter().map(Vec::len).sum::<usize>();
            if bytes > INPUT_BYTES_MAX {
                break;
            }
            if !words.is_empty() && is_played(&words) {
                sent[from].note(&words);
                self.clients[from].queue(&words);
            }
        }
        self.settle(&mut sent);
        self.look_from_all_sides();
    }

    /// Nothing of the input before is left.
    fn begin_anew(&mut self) {
        let anew: [&[&str]; 3] = [&["FLUSHALL"], &["CLIENT", "UNPAUSE"], &["RESET"]];
        // Erasing is the slow one, and does both shards.
        for (client, commands) in self.clients.iter_mut().zip([&anew[..], &anew[1..]]) {
            for words in commands {
                client.queue(words);
            }
            client.send().expect("the server lives");
            for words in commands {
                let reply = client.receive();
                assert!(
                    reply.as_ref().is_ok_and(|reply| reply.error().is_none()),
                    "{words:?}: {reply:?}"
                );
            }
        }
    }

    /// Sends what is queued, and waits until all of it is answered.
    fn settle(&mut self, sent: &mut [Sent; 2]) {
        for client in &mut self.clients {
            // What does not fit into the socket waits for the server, which waits for nobody here: replies are small.
            client.send().expect("the server lives");
        }
        for (core, sent) in sent.iter_mut().enumerate() {
            let sent = std::mem::take(sent);
            self.token += 1;
            let token = format!("token-{}", self.token);
            let client = &mut self.clients[core];
            // Out of MULTI, subscriptions and MONITOR, and a reply that is known.
            client.queue(&["RESET"]);
            client.queue(&["ECHO", &token]);
            client.send().expect("the server lives");
            let mut replies = 0;
            loop {
                match client.receive() {
                    Ok(Reply::Bulk(bytes)) if bytes == token.as_bytes() => break,
                    Ok(_) => replies += 1,
                    Err(ClientError::Closed) if sent.may_close => {
                        *client = connect(&self.connector, core);
                        break;
                    }
                    Err(error) => {
                        panic!("after {replies} replies to {} commands: {error}", sent.commands)
                    }
                }
            }
            let is_counted = !sent.may_close && !sent.is_uncounted;
            assert!(
                !is_counted || replies == sent.commands + 1,
                "{replies} replies to {} commands",
                sent.commands
            );
        }
    }

    fn look_from_all_sides(&mut self) {
        let client = &mut self.clients[1];
        let mut ask = |words: &[&[u8]]| client.command(words).expect("the server lives");
        let Reply::Array(keys) = ask(&[b"KEYS", b"*"]) else { panic!("KEYS") };
        let keys: Vec<Vec<u8>> =
            keys.iter().filter_map(|key| Some(key.bytes()?.to_vec())).collect();
        let mut scanned = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        loop {
            let Reply::Array(page) = ask(&[b"SCAN", &cursor]) else { panic!("SCAN") };
            let [Reply::Bulk(next), Reply::Array(items)] = &page[..] else { panic!("{page:?}") };
            scanned.extend(items.iter().filter_map(|key| Some(key.bytes()?.to_vec())));
            cursor.clone_from(next);
            if cursor == b"0" {
                break;
            }
        }
        for key in &keys {
            let sides = ["EXISTS", "GET", "STRLEN", "PTTL", "TYPE", "EXISTS"];
            for side in sides {
                client.queue(&[side.as_bytes(), key]);
            }
            client.send().expect("the server lives");
            let [exists, value, length, ttl_ms, kind, exists_still] =
                sides.map(|_| client.receive().expect("the server lives"));
            let Reply::Bulk(value) = value else {
                // It has expired in between.
                assert_eq!(exists_still, Reply::Integer(0), "{}", key.escape_ascii());
                continue;
            };
            assert!(exists == Reply::Integer(1) && scanned.contains(key), "{}", key.escape_ascii());
            if kind == Reply::Status("string".into()) {
                assert_eq!(
                    length.integer(),
                    i64::try_from(value.len()).ok(),
                    "{}",
                    key.escape_ascii()
                );
                assert!(
                    ttl_ms.integer().is_some_and(|ms| ms >= -1),
                    "{}: {ttl_ms:?}",
                    key.escape_ascii()
                );
            }
        }
    }
}

/// What was sent on one connection and not yet answered.
#[derive(Default)]
struct Sent {
    commands: usize,
    /// Its replies are not one a command.
    is_uncounted: bool,
    may_close: bool,
}

impl Sent {
    fn note(&mut self, words: &[Vec<u8>]) {
        use CommandId as Id;
        self.commands += 1;
        let id = id_of(words);
        self.may_close |= matches!(id, Some(Id::Quit)) || is_of_http(words);
        self.is_uncounted |= matches!(
            id,
            Some(
                Id::Subscribe
                    | Id::Psubscribe
                    | Id::Ssubscribe
                    | Id::Unsubscribe
                    | Id::Punsubscribe
                    | Id::Sunsubscribe
                    | Id::Monitor
                    | Id::ClientReply
            )
        );
    }
}

fn connect(connector: &Connector, core: usize) -> Client {
    let stream = connector.connect(core).expect("the server lives");
    let client = Client::over_unix(stream);
    client.set_reply_time_max(Some(ANSWER_TIME_MAX)).expect("a socket takes a timeout");
    client
}

fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).take(WORDS_MAX);
    words
        .map(|word| match word {
            b"%" => Vec::new(),
            [b'#', digits @ ..] => {
                let count = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                count.map_or_else(
                    || word.to_vec(),
                    |count: usize| vec![b'x'; count.min(RUN_BYTES_MAX)],
                )
            }
            word => word.to_vec(),
        })
        .collect()
}

fn id_of(words: &[Vec<u8>]) -> Option<CommandId> {
    let spec = lookup(words.first()?)?;
    let sub = words.get(1).and_then(|sub| {
        spec.subcommands.iter().find(|one| {
            let name = one.name.split_once('|').map_or(one.name, |(_, name)| name);
            name.as_bytes().eq_ignore_ascii_case(sub)
        })
    });
    Some(sub.unwrap_or(spec).id)
}

/// A connection that begins like HTTP is closed.
fn is_of_http(words: &[Vec<u8>]) -> bool {
    words.first().is_some_and(|name| {
        name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
    })
}

/// Left out: what ends or holds up the server itself, and what changes it for the inputs that follow.
fn is_played(words: &[Vec<u8>]) -> bool {
    use CommandId as Id;
    !matches!(
        id_of(words),
        Some(
            Id::Shutdown
                | Id::ClientPause
                | Id::ConfigSet
                | Id::ConfigRewrite
                | Id::Wait
                | Id::Debug
        )
    )
}

/// An empty directory of this process; those of processes that are gone are taken away.
fn new_dir() -> PathBuf {
    let root = Path::new("target/tmp");
    std::fs::create_dir_all(root).expect("a directory can be made here");
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(DIR_PREFIX));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let dir = root.join(format!("{DIR_PREFIX}{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}
