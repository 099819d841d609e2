//! Import, export, DUMP and RESTORE: with files that redis-server itself has made, and with ours given to it.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{
    Client, Options, Random, Reply, Server, free_port, is_stand_in, program_command, skip, temp_dir,
};

const DAMAGED: i32 = 65;
const LOCKED: i32 = 75;
const CONFIG: i32 = 78;
const FAR_MS: u64 = 4_102_444_800_000;

/// A Redis whose directory is known, for the files that it writes and reads.
struct Redis {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Redis {
    /// In `dir`, with these words more; `None`, said aloud, where it is not installed.
    fn start(dir: TempDir, words: &[&str]) -> Option<Self> {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1", "--dir"]);
        command.arg(dir.path()).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            skip("redis-server is not installed");
            return None;
        };
        let redis = Self { child, port, dir };
        let began = Instant::now();
        loop {
            let loaded =
                Client::connect(redis.port).and_then(|mut client| client.try_command(&["PING"]));
            // Who has to log in is told so.
            if loaded.is_ok_and(|reply| {
                ["PONG", "NOAUTH"].iter().any(|word| reply.text().starts_with(word))
            }) {
                return Some(redis);
            }
            assert!(began.elapsed() < Duration::from_secs(60), "redis-server does not start");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.port).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn end(mut self) -> TempDir {
        let _ = self.client().try_command(&["SHUTDOWN", "NOSAVE"]);
        self.child.wait().unwrap();
        let dir = tempfile::tempdir_in(self.dir.path().parent().unwrap()).unwrap();
        std::mem::replace(&mut self.dir, dir)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(words: &[&str]) -> Output {
    program_command().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

/// What it said, once it has ended with this code.
#[track_caller]
fn ended(words: &[&str], code: i32) -> String {
    let output = run(words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?} said:\n{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every key with its value and its end, sorted.
fn everything(client: &mut Client) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    let Reply::Array(keys) = client.command(&["KEYS", "*"]) else { panic!() };
    let mut all = Vec::new();
    for key in keys {
        let Reply::Bulk(key) = key else { panic!() };
        let Reply::Bulk(value) = client.command(&[&b"GET"[..], &key]) else { continue };
        let Reply::Integer(at) = client.command(&[&b"PEXPIRETIME"[..], &key]) else { panic!() };
        all.push((key, value, at));
    }
    all.sort();
    all
}

/// Strings in all encodings that Redis has, some with an end.
fn fill(client: &mut Client) {
    let mut random = Random(7);
    for (key, value) in [
        (&b"empty"[..], &b""[..]),
        (b"", b"an empty key"),
        (b"n8", b"-128"),
        (b"n16", b"32767"),
        (b"n32", b"-2147483648"),
        (b"n64", b"9223372036854775807"),
        (b"007", b"007"),
        (b"bin\r\n\0\xff", b"*1\r\n$4\r\nPING\r\n\xff\0"),
        (b"\"quoted\", key", b"a,\"b\"\nc"),
    ] {
        client.command(&[&b"SET"[..], key, value]);
    }
    let packs: Vec<u8> = b"the same again and again, ".repeat(500);
    client.command(&[&b"SET"[..], b"packs", &packs]);
    client.command(&[&b"SET"[..], b"large", &random.bytes(200_000)]);
    for number in 0..300 {
        let len = usize::try_from(random.below(100)).unwrap();
        let (key, value) = (format!("key:{number}"), random.bytes(len));
        let at = (FAR_MS + number).to_string();
        if number % 3 == 0 {
            client.command(&[&b"SET"[..], key.as_bytes(), &value, b"PXAT", at.as_bytes()]);
        } else {
            client.command(&[&b"SET"[..], key.as_bytes(), &value]);
        }
    }
}

/// Values of all other types, small and large, and a function; how many keys.
fn fill_others(client: &mut Client) -> u64 {
    let small = [
        "RPUSH list a b 3",
        "SADD set a b",
        "SADD ints 1 2 3",
        "ZADD zset 1 a 2.5 b inf c",
        "HSET hash f v g 7",
        "XADD stream 1-1 f v",
        "XADD stream 2-1 f v",
        "XGROUP CREATE stream g 0",
        "XREADGROUP GROUP g me COUNT 1 STREAMS stream >",
        "EXPIRE list 100000",
    ];
    for line in small {
        let reply = client.say(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    let long = "x".repeat(200);
    for number in 0..600 {
        let word = format!("{number}-{long}");
        client.command(&["RPUSH", "long-list", &word]);
        client.command(&["SADD", "long-set", &word]);
        client.command(&["ZADD", "long-zset", &number.to_string(), &word]);
        client.command(&["HSET", "long-hash", &word, &word]);
    }
    let code = "#!lua name=l\nredis.register_function('f', function() return 1 end)";
    assert_eq!(client.command(&["FUNCTION", "LOAD", code]), Reply::bulk("l"));
    10
}

#[test]
fn a_snapshot_of_redis_is_imported_whole_and_ours_goes_back() {
    if is_stand_in() {
        return;
    }
    let Some(redis) = Redis::start(temp_dir(), &[]) else { return };
    let mut theirs = redis.client();
    fill(&mut theirs);
    let expected = everything(&mut theirs);
    let others = fill_others(&mut theirs);
    theirs.say("SAVE");
    let file = redis.path("dump.rdb");

    // Into a running server.
    let server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let address = format!("127.0.0.1:{}", server.port());
    let said = ended(&["import", text(&file), "--connect", &address, "--dry-run"], 0);
    assert!(said.contains(&format!("would import {} keys", expected.len())), "{said}");
    assert_eq!(server.client().say("DBSIZE"), Reply::Integer(0));
    let said = ended(&["import", text(&file), "--connect", &address], 0);
    assert!(said.contains(&format!("imported {} keys", expected.len())), "{said}");
    let skipped: u64 = said
        .lines()
        .filter(|line| line.ends_with("only strings are stored here"))
        .map(|line| line.split([' ', ':']).nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(skipped, others, "{said}");
    assert!(said.contains("skipped 1: functions"), "{said}");
    for kind in ["list", "set", "sorted set", "hash", "stream"] {
        assert!(said.contains(&format!(": {kind}: only")), "{kind}: {said}");
    }
    assert!(everything(&mut server.client()) == expected);

    // Once more: nothing is overwritten unless that is said.
    let said = ended(&["import", text(&file), "--connect", &address], 1);
    assert!(
        said.contains(&format!("skipped {}: the key exists already", expected.len())),
        "{said}"
    );
    ended(&["import", text(&file), "--connect", &address, "--skip-existing"], 0);
    server.client().say("SET key:1 changed");
    ended(&["import", text(&file), "--connect", &address, "--replace", "--ttl", "drop"], 0);
    let dropped = everything(&mut server.client());
    assert!(dropped.iter().all(|(.., at)| *at == -1) && dropped.len() == expected.len());
    ended(&["import", text(&file), "--connect", &address, "--replace"], 0);
    assert!(everything(&mut server.client()) == expected);

    // And back, in Redis' own format.
    let home = temp_dir();
    let export = home.path().join("dump.rdb");
    let said = ended(&["export", text(&export), "--connect", &address], 0);
    assert!(said.contains(&format!("exported {} keys", expected.len())), "{said}");
    let again = Redis::start(home, &[]).unwrap();
    assert!(everything(&mut again.client()) == expected);
    // A Redis that holds other types is exported without them.
    let their_address = format!("127.0.0.1:{}", redis.port);
    let all = again.path("all.jsonl");
    let said = ended(&["export", text(&all), "--connect", &their_address], 0);
    assert!(said.contains(&format!("exported {} keys", expected.len())), "{said}");
    assert!(said.contains(&format!("skipped {others}: not a string")), "{said}");
}

#[test]
fn the_append_only_files_of_redis_are_imported() {
    if is_stand_in() {
        return;
    }
    for preamble in ["yes", "no"] {
        let words =
            ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble];
        let Some(redis) = Redis::start(temp_dir(), &words) else { return };
        let mut theirs = redis.client();
        fill(&mut theirs);
        theirs.say("BGREWRITEAOF");
        while theirs.info("aof_rewrite_in_progress") != "0"
            || theirs.info("aof_rewrite_scheduled") != "0"
        {
            thread::sleep(Duration::from_millis(10));
        }
        // What comes behind the base: commands of all kinds.
        for line in [
            "SET later 1",
            "INCR later",
            "APPEND later x",
            "SETRANGE later 5 yz",
            "MSET m1 a m2 b",
            "DEL key:2",
            "EXPIRE key:4 100000",
            "PERSIST key:3",
            "RPUSH list a",
            "SETBIT bits 9 1",
            "RENAME m1 m3",
            "GETDEL m2",
            "INCRBYFLOAT float 1.5",
            "COPY later copied",
            "MULTI",
            "SET in-multi 1",
            "INCR in-multi",
            "EXEC",
            "SETEX ends 100000 v",
            "GETEX later EX 100000",
            "BITOP NOT inverted bits",
        ] {
            let reply = theirs.say(line);
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
        let expected = everything(&mut theirs);
        drop(theirs);
        let dir = redis.end();
        let folder = dir.path().join("appendonlydir");
        let home = temp_dir();
        let data = home.path().join("d");
        let said = ended(&["import", text(&folder), "--data-dir", text(&data)], 0);
        assert!(said.contains("skipped 1: lists: only strings"), "{said}");
        let server = Server::start_at(
            &crate::common::program(),
            std::rc::Rc::new(home),
            &Options::default(),
            0,
        );
        assert!(everything(&mut server.client()) == expected, "preamble {preamble}");
        // Commands upon what is there already: only if that is meant.
        let address = format!("127.0.0.1:{}", server.port());
        let said = ended(&["import", text(&folder), "--connect", &address], 2);
        assert!(said.contains("--replace"), "{said}");
        let said = ended(&["import", text(&folder), "--connect", &address, "--skip-existing"], 2);
        assert!(said.contains("build on each other"), "{said}");
    }
}

#[test]
fn every_format_goes_out_and_comes_back_the_same() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    fill(&mut server.client());
    let expected = everything(&mut server.client());
    let address = format!("127.0.0.1:{}", server.port());
    for format in ["jsonl", "csv", "aof", "rdb"] {
        let home = temp_dir();
        let file = home.path().join(format!("keys.{format}"));
        ended(&["export", text(&file), "--connect", &address], 0);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let said = ended(&["export", text(&file), "--connect", &address], 2);
        assert!(said.contains("exists already; --replace"), "{said}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing unfinished is left");
        let data = home.path().join("d");
        ended(&["import", text(&file), "--data-dir", text(&data)], 0);
        // Through a pipe, and from a closed directory.
        let output = run(&["export", "-", "--format", format, "--data-dir", text(&data)]);
        assert!(output.status.success());
        let second = home.path().join("second");
        let mut child = program_command()
            .args(["import", "-", "--format", format, "--data-dir", text(&second)])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&output.stdout).unwrap();
        let imported = child.wait_with_output().unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        fs::rename(&second, home.path().join("d2")).unwrap();
        fs::remove_dir_all(&data).unwrap();
        fs::rename(home.path().join("d2"), &data).unwrap();
        let again = Server::start_at(
            &crate::common::program(),
            std::rc::Rc::new(home),
            &Options::default(),
            0,
        );
        assert!(everything(&mut again.client()) == expected, "{format}");
    }
    // A part of them, by a prefix that has a pattern's letters.
    server.client().say("SET a*b:1 x");
    server.client().say("SET aab:1 x");
    let output = run(&["export", "-", "--format", "csv", "--connect", &address, "--prefix", "a*b"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "key,value,encoding,expires_at_ms\na*b:1,x,utf8,\n"
    );
}

#[test]
fn an_import_takes_a_fraction_of_the_round_trips() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let file = home.path().join("keys.jsonl");
    let lines: String = (0..10_000)
        .map(|n| format!("{{\"key\":\"key:{n}\",\"value\":\"v\"}}\n"))
        .collect::<Vec<_>>()
        .concat();
    fs::write(&file, lines).unwrap();
    let said = ended(&["import", text(&file), "--data-dir", text(&home.path().join("d"))], 0);
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "round").unwrap();
    let round_trips: u64 = words[at - 1].parse().unwrap();
    assert!(round_trips >= 1 && round_trips * 5 <= 10_000, "{said}");
}

#[test]
fn what_a_set_would_be_refused_is_refused_and_told() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options {
        more: &["--set", "proto_max_bulk_len=1MB"],
        ..Options::default()
    });
    let address = format!("127.0.0.1:{}", server.port());
    let home = temp_dir();
    let file = home.path().join("keys.jsonl");
    let line = |key: &str, value: &str| format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n");
    let text_of = [
        line("good", "v"),
        line(&"k".repeat(65_537), "v"),
        line("long", &"v".repeat((1 << 20) + 1)),
        "{\"key\":\"over\",\"value\":\"v\",\"expires_at_ms\":1}\n".to_owned(),
        line("last", "v"),
    ];
    fs::write(&file, text_of.concat()).unwrap();
    let said = ended(&["import", text(&file), "--connect", &address], 1);
    assert!(said.contains("imported 2 keys"), "{said}");
    assert!(said.contains("skipped 1: expired"), "{said}");
    assert!(said.contains("skipped 1: too long a key or value"), "{said}");
    assert!(said.contains("skipped 1: refused") && said.contains("the limit is 65536"), "{said}");
    // A damaged end: what came before it is there.
    let mut cut = text_of.concat();
    cut.push_str("{\"key\":\"cut\",\"va");
    fs::write(&file, &cut).unwrap();
    server.client().say("FLUSHALL");
    let said = ended(&["import", text(&file), "--connect", &address], DAMAGED);
    assert!(said.contains("imported before the error 2 keys"), "{said}");
    let offset = text_of.concat().len();
    assert!(said.contains(&format!("offset {offset}: the line is no entry")), "{said}");
    assert_eq!(server.client().say("GET last"), Reply::bulk("v"));
}

#[test]
fn what_cannot_be_done_is_said() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let home = temp_dir();
    let file = home.path().join("keys.jsonl");
    fs::write(&file, "{\"key\":\"a\",\"value\":\"b\"}\n").unwrap();
    let data = server.data_dir();
    let said = ended(&["import", text(&file), "--data-dir", text(&data)], LOCKED);
    assert!(said.contains("in use by another process"), "{said}");
    ended(&["export", "-", "--format", "csv", "--data-dir", text(&data)], LOCKED);
    let said = ended(
        &["export", "-", "--format", "csv", "--data-dir", text(&home.path().join("no"))],
        CONFIG,
    );
    assert!(said.contains("no database"), "{said}");
    assert!(!home.path().join("no").exists());
    let said = ended(
        &["import", text(&home.path().join("no.rdb")), "--data-dir", text(&home.path().join("d"))],
        1,
    );
    assert!(said.contains("no.rdb"), "{said}");
    assert!(!home.path().join("d").exists(), "a file that is not there makes no directory");
    let said = ended(&["import", text(&file)], 2);
    assert!(said.contains("--data-dir DIR or --connect"), "{said}");
    ended(&["import", text(&file), "--data-dir", "d", "--connect", "h:1"], 2);
    let said = ended(&["import", "-", "--data-dir", "d"], 2);
    assert!(said.contains("--format"), "{said}");
    let dead = format!("127.0.0.1:{}", free_port());
    let said = ended(&["import", text(&file), "--connect", &dead], 1);
    assert!(said.contains(&dead), "{said}");
    let said = ended(
        &["import", text(&file), "--format", "rdb", "--data-dir", text(&home.path().join("d"))],
        DAMAGED,
    );
    assert!(said.contains("no RDB file"), "{said}");
}

#[test]
fn a_password_is_wanted_and_given() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let secret = home.path().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let Some(redis) = Redis::start(temp_dir(), &["--requirepass", "hunter2"]) else { return };
    let address = format!("127.0.0.1:{}", redis.port);
    let file = home.path().join("keys.csv");
    fs::write(&file, "key,value\na,b\n").unwrap();
    let said = ended(&["import", text(&file), "--connect", &address], 1);
    assert!(said.contains("NOAUTH"), "{said}");
    let words = ["import", text(&file), "--connect", &address, "--password-file", text(&secret)];
    let said = ended(&words, 2);
    assert!(said.contains("others may read it"), "{said}");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    ended(&["import", text(&file), "--connect", &address, "--password-file", text(&secret)], 0);
    fs::write(&secret, "wrong\n").unwrap();
    let said =
        ended(&["import", text(&file), "--connect", &address, "--password-file", text(&secret)], 1);
    assert!(said.contains("WRONGPASS"), "{said}");
}

#[test]
fn dump_and_restore_go_both_ways() {
    if is_stand_in() {
        return;
    }
    let Some(redis) = Redis::start(temp_dir(), &[]) else { return };
    let server = Server::start(&Options::default());
    let (mut ours, mut theirs) = (server.client(), redis.client());
    fill(&mut ours);
    fill(&mut theirs);
    for (key, value, _) in everything(&mut ours) {
        let Reply::Bulk(from_us) = ours.command(&[&b"DUMP"[..], &key]) else { panic!() };
        let Reply::Bulk(from_them) = theirs.command(&[&b"DUMP"[..], &key]) else { panic!() };
        if value.len() <= 20 {
            assert_eq!(from_us, from_them, "{}", key.escape_ascii());
        }
        let copy = [&b"copy:"[..], &key].concat();
        assert_eq!(theirs.command(&[&b"RESTORE"[..], &copy, b"0", &from_us]), Reply::ok());
        assert_eq!(ours.command(&[&b"RESTORE"[..], &copy, b"0", &from_them]), Reply::ok());
        assert!(ours.command(&[&b"GET"[..], &copy]) == Reply::bulk(&value));
        assert!(theirs.command(&[&b"GET"[..], &copy]) == Reply::bulk(&value));
    }
    // The same words to both, the same answers.
    let Reply::Bulk(payload) = theirs.say("DUMP n8") else { panic!() };
    let mut damaged = payload.clone();
    damaged[1] ^= 1;
    let at = FAR_MS.to_string();
    let cases: &[&[&[u8]]] = &[
        &[b"RESTORE", b"n8", b"0", &payload],
        &[b"RESTORE", b"n8", b"0", &payload, b"REPLACE"],
        &[b"RESTORE", b"n8", b"x", &payload],
        &[b"RESTORE", b"new", b"x", &payload],
        &[b"RESTORE", b"new", b"-1", &payload],
        &[b"RESTORE", b"new", b"0", &damaged],
        &[b"RESTORE", b"new", b"0", b""],
        &[b"RESTORE", b"new", b"0", &payload, b"NOSUCH"],
        &[b"RESTORE", b"new", b"0", &payload, b"FREQ"],
        &[b"RESTORE", b"new", b"0", &payload, b"FREQ", b"256"],
        &[b"RESTORE", b"new", b"0", &payload, b"FREQ", b"x"],
        &[b"RESTORE", b"new", b"0", &payload, b"IDLETIME", b"-1"],
        &[b"RESTORE", b"new", b"0", &payload, b"IDLETIME", b"1", b"FREQ", b"1"],
        &[b"RESTORE", b"new", at.as_bytes(), &payload, b"absttl", b"idletime", b"5"],
        &[b"PEXPIRETIME", b"new"],
        &[b"RESTORE", b"new", b"1", &payload, b"ABSTTL", b"REPLACE"],
        &[b"EXISTS", b"new"],
        &[b"RESTORE", b"new", b"0", &payload, b"FREQ", b"7"],
        &[b"GET", b"new"],
        &[b"DUMP", b"absent"],
        &[b"DUMP"],
        &[b"RESTORE", b"new", b"0"],
    ];
    for words in cases {
        assert_eq!(ours.command(words), theirs.command(words), "{words:?}");
    }
    // What is no string is refused in one line.
    theirs.say("RPUSH list a");
    let Reply::Bulk(list) = theirs.say("DUMP list") else { panic!() };
    let refused = ours.command(&[&b"RESTORE"[..], b"list", b"0", &list]);
    assert_eq!(refused.text(), "ERR the payload is a list: this server has strings alone");
    // In a transaction, and to a shard of another core.
    let two = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut two = two.client();
    for number in 0..20 {
        let key = format!("k{number}");
        assert_eq!(two.command(&[&b"RESTORE"[..], key.as_bytes(), b"0", &payload]), Reply::ok());
        assert_eq!(two.command(&["DUMP", &key]), Reply::bulk(&payload));
    }
    two.say("MULTI");
    two.command(&[&b"RESTORE"[..], b"k1", b"0", &payload, b"REPLACE"]);
    two.say("DUMP k1");
    assert_eq!(two.say("EXEC"), Reply::Array(vec![Reply::ok(), Reply::bulk(&payload)]));
}
