//! The `redis` crate as it comes. The lines are those of `checks.py`: one a check, `ok`, `lacking` or `FAILED`.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use redis::{Client, Commands, Connection, ConnectionLike, RedisError, RedisResult, TypedCommands};

type Check = (&'static str, fn(&mut Peer) -> Result<(), Failure>);

/// The server, and a connection to it.
struct Peer {
    client: Client,
    connection: Connection,
}

/// Why a check failed.
struct Failure(String);

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure(format!("{found:?} instead of {expected:?}")))
}

fn holds(condition: bool, what: &str) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(Failure(format!("not so: {what}"))) }
}

/// Asks again until it is answered.
fn eventually<T>(mut question: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Some(answer) = question() {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Failure("nothing came".into()))
}

fn port_of(name: &str) -> u16 {
    let text = std::env::var(name).expect("tests/clients/run names the ports");
    text.parse().expect("a port")
}

fn ask<T: redis::FromRedisValue>(peer: &mut Peer, words: &[&str]) -> RedisResult<T> {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut peer.connection)
}

const CHECKS: &[Check] = &[
    ("strings", |peer| {
        let r = &mut peer.connection;
        TypedCommands::set(r, "s", "one")?;
        same(TypedCommands::get(r, "s")?, Some("one".into()))?;
        same(TypedCommands::get(r, "never")?, None)?;
        same(TypedCommands::append(r, "s", " two")?, 7)?;
        same(TypedCommands::strlen(r, "s")?, 7)?;
        same(TypedCommands::getrange(r, "s", 0, 2)?, "one".into())?;
        same(TypedCommands::setrange(r, "s", 4, "TWO")?, 7)?;
        same(TypedCommands::get_del(r, "s")?, Some("one TWO".into()))
    }),
    ("set with options", |peer| {
        same(ask::<bool>(peer, &["SET", "o", "1", "NX"])?, true)?;
        same(ask::<Option<String>>(peer, &["SET", "o", "2", "NX"])?, None)?;
        same(ask::<String>(peer, &["SET", "o", "3", "GET", "EX", "100"])?, "1".into())?;
        same(ask::<bool>(peer, &["SET", "o", "4", "KEEPTTL"])?, true)?;
        holds(ask::<i64>(peer, &["TTL", "o"])? > 90, "KEEPTTL")?;
        TypedCommands::set_ex(&mut peer.connection, "ex", "v", 100)?;
        TypedCommands::pset_ex(&mut peer.connection, "px", "v", 100_000)?;
        same(TypedCommands::set_nx(&mut peer.connection, "ex", "w")?, false)
    }),
    ("many at once", |peer| {
        let pairs: Vec<(String, i64)> = (0..100).map(|i| (format!("m{i}"), i)).collect();
        let names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
        let r = &mut peer.connection;
        TypedCommands::mset(r, &pairs)?;
        let values: Vec<i64> = redis::cmd("MGET").arg(&names).query(r)?;
        same(values, (0..100).collect())?;
        same(TypedCommands::del(r, &names)?, 100)?;
        same(TypedCommands::mset_nx(r, &[("{n}1", 1), ("{n}2", 2)])?, true)
    }),
    ("counters", |peer| {
        let r = &mut peer.connection;
        same(TypedCommands::incr(r, "c", 42)?, 42)?;
        same(TypedCommands::decr(r, "c", 2)?, 40)?;
        let float: String = redis::cmd("INCRBYFLOAT").arg("c").arg("0.5").query(r)?;
        same(float, "40.5".into())?;
        TypedCommands::set(r, "word", "abc")?;
        let error = TypedCommands::incr(r, "word", 1).err().map(|error| error.to_string());
        holds(error.is_some_and(|text| text.contains("not an integer")), "INCR of a word")
    }),
    ("bits", |peer| {
        let r = &mut peer.connection;
        same(TypedCommands::setbit(r, "b", 7, true)?, false)?;
        same(TypedCommands::getbit(r, "b", 7)?, true)?;
        same(TypedCommands::bitcount(r, "b")?, 1)?;
        same(ask::<Vec<i64>>(peer, &["BITFIELD", "f", "SET", "u8", "0", "255"])?, vec![0])
    }),
    ("binary values", |peer| {
        let all: Vec<u8> = (0..=255).collect();
        for value in [&all[..], b"", b"\r\n", "\u{e4}".as_bytes()] {
            let r = &mut peer.connection;
            redis::cmd("SET").arg(&all).arg(value).exec(r)?;
            let found: Vec<u8> = redis::cmd("GET").arg(&all).query(r)?;
            same(found, value.to_vec())?;
        }
        Ok(())
    }),
    ("a large value", |peer| {
        let value = vec![b'x'; 8 << 20];
        let r = &mut peer.connection;
        redis::cmd("SET").arg("large").arg(&value).exec(r)?;
        let found: Vec<u8> = redis::cmd("GET").arg("large").query(r)?;
        holds(found == value, "8 MiB come back")
    }),
    ("expiry", |peer| {
        TypedCommands::set(&mut peer.connection, "e", "v")?;
        same(TypedCommands::expire(&mut peer.connection, "e", 100)?, true)?;
        holds(ask::<i64>(peer, &["TTL", "e"])? > 90, "TTL")?;
        same(ask::<i64>(peer, &["PEXPIRE", "e", "200000"])?, 1)?;
        holds(ask::<i64>(peer, &["PTTL", "e"])? > 190_000, "PTTL")?;
        same(ask::<i64>(peer, &["EXPIREAT", "e", "4102444800"])?, 1)?;
        same(ask::<i64>(peer, &["EXPIRETIME", "e"])?, 4_102_444_800)?;
        same(TypedCommands::persist(&mut peer.connection, "e")?, true)?;
        same(ask::<i64>(peer, &["TTL", "never"])?, -2)
    }),
    ("a key goes when its time is over", |peer| {
        TypedCommands::pset_ex(&mut peer.connection, "short", "v", 30)?;
        eventually(|| {
            let gone = TypedCommands::exists(&mut peer.connection, "short").ok();
            gone.filter(|there| !there)
        })
        .map(drop)
    }),
    ("keys", |peer| {
        let r = &mut peer.connection;
        TypedCommands::mset(r, &[("k1", 1), ("k2", 2)])?;
        same(TypedCommands::exists(r, "k1")?, true)?;
        same(TypedCommands::unlink(r, &["k1", "k2"])?, 2)?;
        TypedCommands::set(r, "{r}1", "v")?;
        TypedCommands::rename(r, "{r}1", "{r}2")?;
        same(TypedCommands::rename_nx(r, "{r}2", "{r}3")?, true)?;
        same(ask::<i64>(peer, &["COPY", "{r}3", "{r}4"])?, 1)?;
        same(ask::<String>(peer, &["TYPE", "{r}4"])?, "string".into())?;
        same(ask::<i64>(peer, &["TOUCH", "{r}4"])?, 1)?;
        same(ask::<String>(peer, &["OBJECT", "ENCODING", "{r}4"])?, "embstr".into())
    }),
    ("scan iterator", |peer| {
        let names: HashSet<String> = (0..500).map(|i| format!("scan:{i}")).collect();
        for name in &names {
            TypedCommands::set(&mut peer.connection, name, "v")?;
        }
        let found: RedisResult<HashSet<String>> =
            Commands::scan_match::<_, String>(&mut peer.connection, "scan:*")?.collect();
        same(found?, names)
    }),
    ("pipeline", |peer| {
        let mut pipe = redis::pipe();
        for i in 0..500 {
            pipe.set(format!("plain:{i}"), i).ignore().get(format!("plain:{i}"));
        }
        let values: Vec<i64> = pipe.query(&mut peer.connection)?;
        same(values, (0..500).collect())
    }),
    ("atomic pipeline", |peer| {
        let mut pipe = redis::pipe();
        pipe.atomic().set("p", 1).ignore().incr("p", 1).get("p").del("p");
        let values: (i64, i64, i64) = pipe.query(&mut peer.connection)?;
        same(values, (2, 2, 1))
    }),
    ("transaction with watch", |peer| {
        let mut other = peer.client.get_connection()?;
        TypedCommands::set(&mut peer.connection, "w", 1)?;
        let mut tries = 0;
        let value: (i64,) = redis::transaction(&mut peer.connection, &["w"], |r, pipe| {
            tries += 1;
            let value: i64 = Commands::get(r, "w")?;
            if tries == 1 {
                // Comes between: the first try must not go through.
                let () = Commands::set(&mut other, "w", 10)?;
            }
            pipe.set("w", value + 1).ignore().get("w").query(r)
        })?;
        same((tries, value.0), (2, 11))
    }),
    ("publish and subscribe", |peer| {
        let mut connection = peer.client.get_connection()?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut subscriber = connection.as_pubsub();
        subscriber.subscribe("news")?;
        subscriber.psubscribe("n*")?;
        same(TypedCommands::publish(&mut peer.connection, "news", "hello\r\n")?, 2)?;
        for _ in 0..2 {
            let message = subscriber.get_message()?;
            same(message.get_channel_name(), "news")?;
            same(message.get_payload::<String>()?, "hello\r\n".into())?;
        }
        subscriber.unsubscribe("news")?;
        subscriber.punsubscribe("n*")?;
        same(TypedCommands::publish(&mut peer.connection, "news", "x")?, 0)
    }),
    ("the server", |peer| {
        holds(peer.connection.check_connection(), "PING")?;
        same(ask::<String>(peer, &["ECHO", "x"])?, "x".into())?;
        holds(ask::<String>(peer, &["INFO"])?.contains("redis_version:"), "INFO")?;
        holds(ask::<i64>(peer, &["COMMAND", "COUNT"])? > 20, "COMMAND COUNT")?;
        ask::<()>(peer, &["CLIENT", "SETNAME", "checker"])?;
        same(ask::<String>(peer, &["CLIENT", "GETNAME"])?, "checker".into())?;
        holds(ask::<i64>(peer, &["DBSIZE"])? > 0, "DBSIZE")
    }),
    ("a new connection after CLIENT KILL", |peer| {
        let mut other = peer.client.get_connection()?;
        let id: i64 = redis::cmd("CLIENT").arg("ID").query(&mut other)?;
        same(ask::<i64>(peer, &["CLIENT", "KILL", "ID", &id.to_string()])?, 1)?;
        eventually(|| redis::cmd("PING").exec(&mut other).err())?;
        peer.client.get_connection().map(drop).map_err(Failure::from)
    }),
    ("a new connection after a restart", |peer| {
        TypedCommands::set(&mut peer.connection, "kept", "v")?;
        let mut control = TcpStream::connect(("127.0.0.1", port_of("CONTROL")))?;
        control.write_all(b"restart\n")?;
        let mut answer = String::new();
        control.read_to_string(&mut answer)?;
        same(answer, "done\n".into())?;
        peer.connection = peer.client.get_connection()?;
        same(TypedCommands::get(&mut peer.connection, "kept")?, Some("v".into()))
    }),
    ("flushall", |peer| {
        TypedCommands::flushall(&mut peer.connection)?;
        same(ask::<i64>(peer, &["DBSIZE"])?, 0)
    }),
];

/// The command that a server said it does not know.
fn lacking(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let at = ["unknown command", "unknown subcommand"]
        .iter()
        .find_map(|begin| text.find(begin).map(|at| at + begin.len()))?;
    let name: String = text[at..]
        .trim_start_matches([' ', '\'', '"'])
        .chars()
        .take_while(|c| !"',.\"".contains(*c))
        .collect();
    Some(name)
}

fn main() -> ExitCode {
    let mut failed = false;
    for (resp3, prefix) in [(false, ""), (true, "resp3/")] {
        let query = if resp3 { "?protocol=resp3" } else { "" };
        let client = Client::open(format!("redis://127.0.0.1:{}/{query}", port_of("PORT")))
            .expect("the address of a server");
        let connection = client.get_connection().expect("the server lets in");
        let mut peer = Peer { client, connection };
        for (name, check) in CHECKS {
            // The crate panics where a reply has another form than it expects.
            let ran = catch_unwind(AssertUnwindSafe(|| check(&mut peer)));
            match ran.unwrap_or_else(|_| Err(Failure("a panic".into()))) {
                Ok(()) => println!("ok {prefix}{name}"),
                Err(Failure(text)) => match lacking(&text) {
                    Some(command) => println!("lacking {prefix}{name}: {command}"),
                    None => {
                        failed = true;
                        println!("FAILED {prefix}{name}: {text}");
                    }
                },
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
