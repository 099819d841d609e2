//! Another number of shards: every key with its end, there and back; killed at many points and gone on with; and a server that is
//! started in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::{Client, Options, Reply, Server, is_stand_in, program_command, run_to_end};

const LOCKED: i32 = 75;
const CONFIG: i32 = 78;
const KEYS: u32 = 3_000;

fn options(shards: u32) -> Options {
    Options {
        shards: Some(shards),
        memtable: Some("2MB"),
        sync: Some("everysec"),
        ..Options::default()
    }
}

fn reshard(shards: u32, dir: &Path) -> Command {
    let mut command = program_command();
    command.args(["reshard", "--shards", &shards.to_string(), dir.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn resharded(shards: u32, dir: &Path) -> String {
    let output = reshard(shards, dir).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

fn value(number: u32) -> String {
    format!("value of {number} ").repeat(1 + number as usize % 40)
}

/// Written twice, so that there are older versions; some end, some have ended, some are deleted; the last in the log only.
fn fill(client: &mut Client) {
    let numbers: Vec<u32> = (0..KEYS).chain(0..KEYS).collect();
    for some in numbers.chunks(100) {
        let set = |number: &u32| -> Vec<String> {
            let more: &[&str] = match number % 10 {
                1 => &["PXAT", "4000000000000"],
                2 => &["PX", "1"],
                _ => &[],
            };
            let words = ["SET".into(), format!("key:{number}"), value(*number)];
            words.into_iter().chain(more.iter().map(|&word| word.to_owned())).collect()
        };
        let commands: Vec<_> = some.iter().map(set).collect();
        assert!(client.pipeline(&commands).iter().all(|reply| *reply == Reply::ok()));
    }
    let deleted: Vec<u32> = (0..KEYS).filter(|number| number % 10 == 3).collect();
    for some in deleted.chunks(100) {
        let del = |number: &u32| vec!["DEL".to_owned(), format!("key:{number}")];
        let commands: Vec<_> = some.iter().map(del).collect();
        assert!(client.pipeline(&commands).iter().all(|reply| *reply == Reply::Integer(1)));
    }
}

fn verify(client: &mut Client) {
    let numbers: Vec<u32> = (0..KEYS).collect();
    for some in numbers.chunks(100) {
        for (word, wanted) in [
            ("GET", (|number| Reply::bulk(value(number))) as fn(u32) -> Reply),
            ("PEXPIRETIME", |number| {
                Reply::Integer(if number % 10 == 1 { 4_000_000_000_000 } else { -1 })
            }),
        ] {
            let commands: Vec<_> =
                some.iter().map(|number| vec![word.to_owned(), format!("key:{number}")]).collect();
            for (number, reply) in some.iter().zip(client.pipeline(&commands)) {
                let is_there = ![2, 3].contains(&(number % 10));
                let absent = if word == "GET" { Reply::Nil } else { Reply::Integer(-2) };
                let wanted = if is_there { wanted(*number) } else { absent };
                assert_eq!(reply, wanted, "{word} key:{number}");
            }
        }
    }
    assert_eq!(client.say("DBSIZE"), Reply::Integer(i64::from(KEYS) * 8 / 10));
}

/// Names in the data directory that are not of every one.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !["LOCK", "FORMAT"].contains(&name.as_str()));
    names.sort();
    names
}

#[test]
fn two_shards_become_three_and_two_again() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&options(2));
    let dir = server.data_dir();
    fill(&mut server.client());
    let running = run_to_end(program_command().args(["reshard", "--shards", "3"]).arg(&dir));
    running.refused(&[LOCKED], &["in use"]);
    server.kill9();
    // The refusal says the command.
    let command = format!("rusty-lsm reshard --shards 3 {}", dir.display());
    let start = ["start", "--port", "1", "--shards", "3", "--data-dir", dir.to_str().unwrap()];
    run_to_end(program_command().args(start)).refused(&[CONFIG], &[&command]);
    let said = resharded(3, &dir);
    assert!(
        said.contains("from 2 to 3 shards: needs ") && said.contains("3 shards instead of 2"),
        "{said}"
    );
    assert_eq!(names(&dir), ["shard-000-g1", "shard-001-g1", "shard-002-g1"]);
    server.start_again(&options(3));
    verify(&mut server.client());
    // It goes on: writes, a checkpoint, a clean end.
    let mut client = server.client();
    assert_eq!(client.say("SET key:0 other"), Reply::ok());
    assert_eq!(client.command(&["SET", "key:0", &value(0)]), Reply::ok());
    let Reply::Bulk(checkpoint) = client.say("CHECKPOINT three") else { panic!("no path") };
    server.terminate();
    let said = resharded(2, &dir);
    assert!(said.contains("2 shards instead of 3"), "{said}");
    assert!(resharded(2, &dir).contains("nothing to do"));
    assert_eq!(names(&dir), ["backups", "shard-000-g2", "shard-001-g2"]);
    let check = run_to_end(program_command().arg("check").arg(&dir));
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    server.start_again(&options(2));
    verify(&mut server.client());
    server.terminate();
    // A checkpoint of three shards restores three.
    let to = server.home().path().join("three");
    let from = PathBuf::from(String::from_utf8(checkpoint).unwrap());
    let restored =
        run_to_end(program_command().arg("restore").arg(from).arg("--data-dir").arg(&to));
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let check = run_to_end(program_command().arg("check").arg(&to));
    assert_eq!(check.code, Some(0), "{}", check.stderr);
}

#[test]
fn killed_at_any_point_it_goes_on() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&options(2));
    let dir = server.data_dir();
    fill(&mut server.client());
    server.terminate();
    let (mut kills, mut shards) = (0, 3);
    for delay in (0..).map(|step| step * 17) {
        let mut child = reshard(shards, &dir).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay));
        if child.try_wait().unwrap().is_some() {
            // As long as it takes: then the other way, until there were enough.
            let text = resharded(shards, &dir);
            assert!(text.contains("nothing to do"), "{text}");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if kills % 4 == 0 {
            resharded(shards, &dir);
            server.start_again(&options(shards));
            verify(&mut server.client());
            server.terminate();
            shards = 5 - shards;
        }
        if kills == 24 {
            break;
        }
    }
    assert!(kills >= 4, "{kills}");
    resharded(2, &dir);
    server.start_again(&options(2));
    verify(&mut server.client());
    assert!(names(&dir).iter().all(|name| name.starts_with("shard-00")), "{:?}", names(&dir));
}

/// What an unfinished change has made is stale once the server has run: it goes, and the data is what the old shards have.
#[test]
fn a_start_in_between_goes_on_with_the_old_shards() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&options(2));
    let dir = server.data_dir();
    fill(&mut server.client());
    server.terminate();
    let mut child = reshard(3, &dir).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && !dir.join("shard-002-g1").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if !dir.join("RESHARD").exists() {
        // It was quicker than this test.
        return;
    }
    server.start_again(&options(2));
    assert!(server.stderr().contains("was not finished"), "{}", server.stderr());
    assert_eq!(names(&dir), ["shard-000", "shard-001"]);
    verify(&mut server.client());
    server.terminate();
    // And at the start itself, if it is told to.
    let asked = Options { more: &["--reshard"], ..options(3) };
    server.start_again(&asked);
    verify(&mut server.client());
    server.restart();
    verify(&mut server.client());
}
