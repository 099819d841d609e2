//! Checkpoints: made under load, copied away with rsync, restored; SAVE and its kin; what is refused; and what a kill leaves.
//!
//! # The oracle
//! Each writer keeps its keys in one shard by a hash tag and writes version after version, one command at a time. What a checkpoint
//! holds of it must be its history up to one point: not before what was acknowledged when the checkpoint was asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{
    Client, Options, Reply, Server, free_port, is_stand_in, program, program_command, run_to_end,
    skip, temp_dir,
};

const DAMAGED: i32 = 65;
const LOCKED: i32 = 75;
const CONFIG: i32 = 78;
const FAILURE: i32 = 1;

const KEYS: u64 = 50;

fn two_shards() -> Options {
    Options { shards: Some(2), memtable: Some("2MB"), ..Options::default() }
}

/// A tool's exit code and what it printed.
fn tool(words: &[&str]) -> (i32, String) {
    let mut command = program_command();
    let output = command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!text.contains("panicked") && !text.contains('\x1b'), "{text}");
    (output.status.code().unwrap(), text)
}

fn has_end(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == end)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn restore(checkpoint: &Path, to: &Path, more: &[&str]) -> (i32, String) {
    tool(&[&["restore", shown(checkpoint), "--data-dir", shown(to)], more].concat())
}

fn restored(checkpoint: &Path, to: &Path, more: &[&str]) {
    let (code, text) = restore(checkpoint, to, more);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("no damage").count(), 2, "before and after: {text}");
}

fn checkpoint(client: &mut Client, name: &str) -> PathBuf {
    match client.command(&["CHECKPOINT", name]) {
        Reply::Bulk(path) => PathBuf::from(String::from_utf8(path).unwrap()),
        other => panic!("{other:?}"),
    }
}

/// A server on a directory that lies in a home of its own, as `d`.
fn serve(home: &Rc<tempfile::TempDir>) -> Server {
    Server::start_at(&program(), Rc::clone(home), &two_shards(), 9)
}

fn value(writer: u64, version: u64) -> String {
    format!("{writer}|{version}|{}", "x".repeat(usize::try_from(version * 37 % 900).unwrap()))
}

/// Writes until told to stop. `acked`: the newest version that was acknowledged.
fn write(port: u16, writer: u64, stop: &AtomicBool, acked: &AtomicU64) {
    let mut client = Client::connect(port).unwrap();
    let mut version = 0;
    while !stop.load(Ordering::Acquire) {
        version += 1;
        let key = format!("{{w{writer}}}:{}", version % KEYS);
        let reply = client.command(&["SET", &key, &value(writer, version)]);
        assert_eq!(reply, Reply::ok());
        acked.store(version, Ordering::Release);
    }
}

/// The history of `writer` up to one version, which is not before `least`.
fn verify(client: &mut Client, writer: u64, least: u64) -> u64 {
    let mut found = BTreeMap::new();
    for key in 0..KEYS {
        if let Reply::Bulk(bytes) = client.command(&["GET", &format!("{{w{writer}}}:{key}")]) {
            let text = String::from_utf8(bytes).unwrap();
            let version: u64 = text.split('|').nth(1).unwrap().parse().unwrap();
            assert_eq!(text, value(writer, version));
            found.insert(key, version);
        }
    }
    let upto = found.values().copied().max().unwrap_or(0);
    assert!(upto >= least, "writer {writer}: up to {upto}, {least} was acknowledged before");
    for key in 0..KEYS {
        let wanted = (1..=upto).rev().find(|version| version % KEYS == key);
        assert_eq!(found.get(&key).copied(), wanted, "writer {writer}, key {key}, up to {upto}");
    }
    upto
}

#[test]
fn a_checkpoint_under_load_is_one_moment_of_each_shard() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&two_shards());
    let stop = Arc::new(AtomicBool::new(false));
    let acked: Vec<Arc<AtomicU64>> = (0..4).map(|_| Arc::default()).collect();
    let writers: Vec<_> = (0..)
        .zip(&acked)
        .map(|(writer, acked)| {
            let (port, stop, acked) = (server.port(), Arc::clone(&stop), Arc::clone(acked));
            thread::spawn(move || write(port, writer, &stop, &acked))
        })
        .collect();
    let mut client = server.client();
    let mut made = Vec::new();
    for round in 0..4 {
        while acked.iter().any(|acked| acked.load(Ordering::Acquire) < 300 * (round + 1)) {
            thread::sleep(Duration::from_millis(1));
        }
        let before: Vec<u64> = acked.iter().map(|acked| acked.load(Ordering::Acquire)).collect();
        let path = checkpoint(&mut client, &format!("round-{round}"));
        made.push((path, before));
    }
    stop.store(true, Ordering::Release);
    for writer in writers {
        writer.join().unwrap();
    }
    let mut last = [0; 4];
    for (path, before) in made {
        let home = Rc::new(temp_dir());
        restored(&path, &home.path().join("d"), &[]);
        let copy = serve(&home);
        let mut client = copy.client();
        for (writer, least) in (0..).zip(before) {
            let upto = verify(&mut client, writer, least);
            let place = usize::try_from(writer).unwrap();
            assert!(upto >= last[place], "a later checkpoint holds more");
            last[place] = upto;
        }
    }
}

fn fill(client: &mut Client, from: u32, to: u32) {
    let numbers: Vec<u32> = (from..to).collect();
    for some in numbers.chunks(100) {
        let set = |number: &u32| {
            let value = format!("value {number} ").repeat(40);
            vec!["SET".to_owned(), format!("key:{number}"), value]
        };
        let commands: Vec<_> = some.iter().map(set).collect();
        assert!(client.pipeline(&commands).iter().all(|reply| *reply == Reply::ok()));
    }
    assert_eq!(client.say("PEXPIREAT key:7 4000000000000"), Reply::Integer(1));
    assert!(!client.say("DEL key:8").is_error());
}

fn verify_filled(client: &mut Client, count: u32) {
    let numbers: Vec<u32> = (0..count).collect();
    for some in numbers.chunks(100) {
        let get = |number: &u32| vec!["GET".to_owned(), format!("key:{number}")];
        let commands: Vec<_> = some.iter().map(get).collect();
        for (number, reply) in some.iter().zip(client.pipeline(&commands)) {
            let wanted = match number {
                8 => Reply::Nil,
                _ => Reply::bulk(format!("value {number} ").repeat(40)),
            };
            assert_eq!(reply, wanted, "{number}");
        }
    }
    assert_eq!(client.say("PEXPIRETIME key:7"), Reply::Integer(4_000_000_000_000));
    assert_eq!(client.say("DBSIZE"), Reply::Integer(i64::from(count) - 1));
}

#[test]
fn destroyed_and_restored_every_key_is_there() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&two_shards());
    let mut client = server.client();
    fill(&mut client, 0, 2_000);
    let path = checkpoint(&mut client, "before");
    // Its tables are merged away, and everything goes.
    fill(&mut client, 2_000, 4_000);
    assert_eq!(client.say("COMPACT"), Reply::ok());
    assert_eq!(client.say("FLUSHALL"), Reply::ok());
    let data_dir = server.data_dir();
    let (code, text) = restore(&path, &data_dir, &["--replace"]);
    assert_eq!(code, LOCKED, "{text}");
    server.terminate();
    let (code, text) = restore(&path, &data_dir, &[]);
    assert_eq!(code, CONFIG, "{text}");
    assert!(text.contains("it has data") && text.contains("--replace"), "{text}");
    for shard in ["shard-000", "shard-001"] {
        fs::remove_dir_all(data_dir.join(shard)).unwrap();
    }
    restored(&path, &data_dir, &["--replace"]);
    assert!(path.join("CHECKPOINT").exists(), "checkpoints stay where they were");
    let names = fs::read_dir(server.home().path()).unwrap();
    let names: Vec<String> =
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("d.replaced-")), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("restoring")), "{names:?}");
    server.start_again(&two_shards());
    verify_filled(&mut server.client(), 2_000);
    // The next one is made as if nothing had been.
    let mut client = server.client();
    fill(&mut client, 2_000, 2_100);
    let again = checkpoint(&mut client, "after");
    let home = Rc::new(temp_dir());
    restored(&again, &home.path().join("d"), &["--copy"]);
    verify_filled(&mut serve(&home).client(), 2_100);
}

/// Every file below `dir`, by its path from there.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(shown(path.strip_prefix(dir).unwrap()).to_owned());
            }
        }
    }
    found
}

#[test]
fn rsync_copies_what_is_new_and_the_copy_restores() {
    if is_stand_in() {
        return;
    }
    if Command::new("rsync").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip("rsync is not installed");
        return;
    }
    let server = Server::start(&two_shards());
    let mut client = server.client();
    let home = Rc::new(temp_dir());
    let copy = home.path().join("copy");
    let rsync = |from: &Path| -> Vec<String> {
        let from = format!("{}/", shown(from));
        let words = ["-a", "--delete", "--out-format=%n", &from, shown(&copy)];
        let output = Command::new("rsync").args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| has_end(line, "sst") && !line.starts_with("del"))
            .map(str::to_owned)
            .collect()
    };
    fill(&mut client, 0, 2_000);
    let first = checkpoint(&mut client, "first");
    let copied = rsync(&first);
    let tables = files(&first).iter().filter(|name| has_end(name, "sst")).count();
    assert_eq!(copied.len(), tables);
    fill(&mut client, 2_000, 2_040);
    let second = checkpoint(&mut client, "second");
    let mut new = rsync(&second);
    new.sort();
    let before = files(&first);
    let mut wanted: Vec<String> = files(&second)
        .into_iter()
        .filter(|name| has_end(name, "sst") && !before.contains(name))
        .collect();
    wanted.sort();
    assert_eq!(new, wanted, "what both have is not copied again");
    restored(&copy, &home.path().join("d"), &[]);
    verify_filled(&mut serve(&home).client(), 2_040);
}

#[test]
fn names_and_places_that_cannot_be_are_refused() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&two_shards());
    let mut client = server.client();
    for (name, says) in [
        ("../x", "ERR '../x' is no name for a checkpoint"),
        ("", "ERR '' is no name"),
        (".hidden", "is no name"),
        ("a/b", "is no name"),
    ] {
        let said = client.command(&["CHECKPOINT", name]).text();
        assert!(said.starts_with("ERR ") && said.contains(says), "{said}");
    }
    assert!(client.say("CHECKPOINT").text().contains("wrong number of arguments"));
    let path = checkpoint(&mut client, "once");
    assert_eq!(path, fs::canonicalize(server.data_dir()).unwrap().join("backups/once"));
    let said = client.say("CHECKPOINT once").text();
    assert!(said.contains("it exists") && said.contains("--delete once"), "{said}");
    std::os::unix::fs::symlink("/tmp", server.data_dir().join("backups/link")).unwrap();
    assert!(client.say("CHECKPOINT link").text().contains("it is no directory"));
    // A checkpoint is no data directory, and a data directory no checkpoint.
    let start = ["start", "--port", "1", "--data-dir", shown(&path)];
    run_to_end(program_command().args(start))
        .refused(&[CONFIG], &["checkpoint", "rusty-lsm restore"]);
    let home = temp_dir();
    let to = home.path().join("d");
    let (code, text) = restore(&server.data_dir(), &to, &[]);
    assert_eq!(code, FAILURE, "{text}");
    assert!(text.contains("it is no checkpoint"), "{text}");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("mine"), "x").unwrap();
    let (code, text) = restore(&path, &to, &["--replace"]);
    assert_eq!(code, CONFIG, "not ours: {text}");
    assert!(to.join("mine").exists());
    // Another file system.
    let elsewhere = format!("backup_dir=/dev/shm/rusty-lsm-{}", std::process::id());
    let words = ["start", "--port", "1", "--data-dir", shown(home.path()), "--set", &elsewhere];
    let data = home.path().join("x");
    let words: Vec<&str> = words
        .into_iter()
        .map(|word| if word == shown(home.path()) { shown(&data) } else { word })
        .collect();
    run_to_end(program_command().args(words))
        .refused(&[69], &["another file system", "backup_dir"]);
    assert!(!data.exists(), "nothing is left of a refused start");
}

#[test]
fn a_damaged_checkpoint_is_not_restored() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&two_shards());
    let mut client = server.client();
    fill(&mut client, 0, 500);
    let path = checkpoint(&mut client, "good");
    let home = temp_dir();
    let (copy, to) = (home.path().join("copy"), home.path().join("d"));
    for name in files(&path) {
        fs::create_dir_all(copy.join(&name).parent().unwrap()).unwrap();
        fs::copy(path.join(&name), copy.join(&name)).unwrap();
    }
    let table = files(&copy).into_iter().find(|name| has_end(name, "sst")).unwrap();
    let table = copy.join(table);
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, &bytes).unwrap();
    let (code, text) = restore(&copy, &to, &[]);
    assert_eq!(code, DAMAGED, "{text}");
    assert!(text.contains("damage:") && text.contains("nothing was restored"), "{text}");
    assert!(!to.exists());
    fs::remove_file(&table).unwrap();
    assert_eq!(restore(&copy, &to, &[]).0, DAMAGED);
    // The original shares no bytes with it.
    restored(&path, &to, &[]);
}

#[test]
fn save_and_bgsave_make_the_dump_anew() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&two_shards());
    let mut client = server.client();
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    assert_eq!(client.info("rdb_last_bgsave_time_sec"), "-1");
    fill(&mut client, 0, 100);
    assert_eq!(client.say("SAVE"), Reply::ok());
    let dump = server.data_dir().join("backups/dump");
    let first = fs::read_to_string(dump.join("CHECKPOINT")).unwrap();
    assert_eq!(client.info("rdb_bgsave_in_progress"), "0");
    assert_ne!(client.info("rdb_last_bgsave_time_sec"), "-1");
    fill(&mut client, 100, 200);
    // One at a time, in Redis' words.
    client.send(b"BGSAVE\r\nBGSAVE\r\nBGSAVE SCHEDULE\r\n").unwrap();
    assert_eq!(client.reply().unwrap(), Reply::Simple("Background saving started".into()));
    for _ in 0..2 {
        let second = client.reply().unwrap();
        let started = second == Reply::Simple("Background saving started".into());
        assert!(
            started || second.text() == "ERR Background save already in progress",
            "{second:?}"
        );
    }
    while client.info("rdb_bgsave_in_progress") != "0" {
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    assert_eq!(
        client.info("rdb_last_save_time"),
        match client.say("LASTSAVE") {
            Reply::Integer(seconds) => seconds.to_string(),
            other => panic!("{other:?}"),
        }
    );
    assert_ne!(fs::read_to_string(dump.join("CHECKPOINT")).unwrap(), first);
    // What cannot be made is an error, and the one that is there stays.
    fs::remove_file(dump.join("CHECKPOINT")).unwrap();
    let said = client.say("SAVE").text();
    assert!(said.contains("it is no checkpoint of ours"), "{said}");
    assert_eq!(client.info("rdb_last_bgsave_status"), "err");
    fs::remove_dir_all(&dump).unwrap();
    fill(&mut client, 200, 300);
    client.send(b"SHUTDOWN SAVE\r\n").unwrap();
    assert_eq!(server.wait_exit().code, Some(0));
    let home = Rc::new(temp_dir());
    restored(&dump, &home.path().join("d"), &[]);
    verify_filled(&mut serve(&home).client(), 300);
}

/// SHUTDOWN SAVE without a checkpoint is no shutdown.
#[test]
fn a_server_that_cannot_save_goes_on() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&two_shards());
    let mut client = server.client();
    fs::create_dir_all(server.data_dir().join("backups/dump")).unwrap();
    client.send(b"SHUTDOWN SAVE\r\n").unwrap();
    while !server.stderr().contains("the server goes on") {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
}

/// `POST /backup` makes what `restore` takes, and says where it is; the same name again is refused.
#[test]
fn a_backup_over_http_is_restored() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { http: Some(free_port()), ..two_shards() });
    fill(&mut server.client(), 0, 300);
    let mut http = server.http();
    let made = http.post("/backup", r#"{"name":"by-http"}"#);
    assert_eq!(made.status, 200, "{made:?}");
    let path = server.data_dir().join("backups/by-http");
    let said = made.json();
    assert_eq!(said["name"], "by-http");
    assert_eq!(Path::new(said["reply"].as_str().unwrap()), fs::canonicalize(&path).unwrap());
    let again = http.post("/backup", r#"{"name":"by-http"}"#);
    assert!(again.status >= 400 && again.text().contains("it exists"), "{again:?}");
    let outside = http.post("/backup", r#"{"name":"../by-http"}"#);
    assert!(outside.status >= 400 && outside.text().contains("is no name"), "{outside:?}");
    let home = Rc::new(temp_dir());
    restored(&path, &home.path().join("d"), &[]);
    verify_filled(&mut serve(&home).client(), 300);
}

#[test]
fn a_closed_directory_has_checkpoints_made_listed_and_deleted() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&two_shards());
    fill(&mut server.client(), 0, 300);
    let data_dir = server.data_dir();
    let dir = shown(&data_dir);
    let (code, text) = tool(&["checkpoint", "cold", "--data-dir", dir]);
    assert_eq!(code, LOCKED, "{text}");
    let (code, text) =
        tool(&["checkpoint", "asked", "--connect", &format!("127.0.0.1:{}", server.port())]);
    assert_eq!((code, text.trim().ends_with("backups/asked")), (0, true), "{text}");
    let (code, text) =
        tool(&["checkpoint", "asked", "--connect", &format!("127.0.0.1:{}", server.port())]);
    assert_eq!((code, text.contains("it exists")), (FAILURE, true), "{text}");
    // What is in the log only is in it, too.
    fill(&mut server.client(), 300, 320);
    server.kill9();
    let (code, text) = tool(&["checkpoint", "cold", "--data-dir", dir]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = tool(&["checkpoint", "--list", "--data-dir", dir]);
    assert_eq!(code, 0, "{text}");
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["asked", "cold"], "{text}");
    let cold = data_dir.join("backups/cold");
    let home = Rc::new(temp_dir());
    restored(&cold, &home.path().join("d"), &[]);
    verify_filled(&mut serve(&home).client(), 320);
    let (code, text) = tool(&["checkpoint", "--delete", "cold", "--data-dir", dir]);
    assert_eq!((code, cold.exists()), (0, false), "{text}");
    let (code, text) = tool(&["checkpoint", "--delete", "cold", "--data-dir", dir]);
    assert_eq!((code, text.contains("there is none")), (FAILURE, true), "{text}");
    for words in [
        vec!["checkpoint"],
        vec!["checkpoint", "x"],
        vec!["checkpoint", "x", "--list", "--data-dir", dir],
    ] {
        assert_eq!(tool(&words).0, 2, "{words:?}");
    }
    // The data is what it was.
    server.start_again(&two_shards());
    verify_filled(&mut server.client(), 320);
}

/// Killed while one is made, at whatever moment: under its name there is a whole one or none, and what is left goes.
#[test]
fn a_kill_leaves_a_whole_checkpoint_or_none() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&two_shards());
    fill(&mut server.client(), 0, 1_500);
    let mut whole = 0;
    for round in 0..8_u32 {
        let mut client = server.client();
        assert_eq!(client.command(&["SET", &format!("key:{}", 1_500 + round), "x"]), Reply::ok());
        client.send(format!("CHECKPOINT c{round}\r\nSAVE\r\n").as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(u64::from(round) * u64::from(round) * 12));
        server.kill9();
        let path = server.data_dir().join(format!("backups/c{round}"));
        for path in [path, server.data_dir().join("backups/dump")] {
            if path.exists() {
                let (code, text) = tool(&["check", shown(&path)]);
                assert_eq!(code, 0, "{text}");
                whole += 1;
            }
        }
        server.start_again(&two_shards());
        let left = fs::read_dir(server.data_dir().join("backups"));
        let left = left.map(|names| {
            names
                .filter(|name| has_end(name.as_ref().unwrap().file_name().to_str().unwrap(), "tmp"))
                .count()
        });
        assert_eq!(left.unwrap_or(0), 0, "removed at the start");
    }
    assert!(whole > 0, "none was made in eight rounds");
}

/// Killed at whatever moment, a restore leaves the old data or the new, and is run again.
#[test]
fn a_killed_restore_leaves_the_old_data_or_the_new() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&two_shards());
    fill(&mut server.client(), 0, 1_000);
    let path = checkpoint(&mut server.client(), "monday");
    fill(&mut server.client(), 1_000, 1_100);
    server.terminate();
    let data_dir = server.data_dir();
    for round in 0..10_u64 {
        let mut command = program_command();
        let words =
            ["restore", shown(&path), "--data-dir", shown(&data_dir), "--replace", "--copy"];
        let mut child = command.args(words).spawn().unwrap();
        thread::sleep(Duration::from_millis(round * round * 6));
        child.kill().unwrap();
        child.wait().unwrap();
        let (code, text) = tool(&["check", shown(&data_dir)]);
        assert_eq!(code, 0, "{text}");
    }
    restored(&path, &data_dir, &["--replace"]);
    server.start_again(&two_shards());
    verify_filled(&mut server.client(), 1_000);
}
