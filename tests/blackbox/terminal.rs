//! Programs for a terminal, run as programs: demo, doctor, top, clear, and the looks at a closed directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::{
    Options, Reply, Server, free_port, is_stand_in, program, program_command, temp_dir, typed,
};

/// Exit code, output, error output.
fn run(words: &[&str], place: &Path) -> (i32, String, String) {
    let mut command = program_command();
    command.args(words).current_dir(place).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!out.contains('\x1b') && !err.contains("panicked"), "{out}\n{err}");
    (output.status.code().unwrap(), out, err)
}

/// Every file below `dir` with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A directory of two shards with keys in tables and in the log, some of them deleted, some expired: killed, not closed.
fn directory() -> (Server, BTreeMap<String, String>) {
    let mut server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    let mut expected = BTreeMap::new();
    for round in 0..2 {
        for number in (0..300).filter(|number| round == 0 || number % 3 == 0) {
            let (key, value) = (format!("key:{number:03}"), format!("{round}:{number}"));
            assert_eq!(client.command(&["SET", &key, &value]), Reply::ok());
            expected.insert(key, value);
        }
        if round == 0 {
            assert_eq!(client.say("FLUSHDB"), Reply::ok());
        }
    }
    for number in (0..300).step_by(7) {
        let key = format!("key:{number:03}");
        client.command(&["DEL", &key]);
        expected.remove(&key);
    }
    for number in 0..20 {
        client.command(&["SET", &format!("gone:{number}"), "x", "PX", "1"]);
    }
    client.command(&["SET", "late", "z", "PX", "9999999"]);
    expected.insert("late".into(), "z".into());
    thread::sleep(Duration::from_millis(20));
    server.kill9();
    (server, expected)
}

#[test]
fn a_closed_directory_is_read_in_order_and_not_changed() {
    if is_stand_in() {
        return;
    }
    let (server, expected) = directory();
    let dir = server.data_dir();
    let place = server.home().path().to_owned();
    let before = files(&dir);
    let scan = |words: &[&str]| run(&[&["scan", "d"], words].concat(), &place);
    let lines: Vec<String> =
        expected.iter().map(|(key, value)| format!("{key}\t{value}")).collect();
    let (code, out, err) = scan(&[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out.lines().collect::<Vec<_>>(), lines, "ascending over both shards");
    let out_of_all = out;
    let keys = |words: &[&str]| scan(&[words, &["--keys-only"]].concat()).1;
    let count = |text: &str| text.lines().count();
    assert_eq!(
        count(&keys(&["--prefix", "key:1"])),
        expected.keys().filter(|key| key.starts_with("key:1")).count()
    );
    assert_eq!(
        count(&keys(&["--from", "key:290", "--to", "late"])),
        expected.range("key:290".to_owned().."late".to_owned()).count()
    );
    assert_eq!(keys(&["--limit", "2"]), "key:001\nkey:002\n");
    assert_eq!(scan(&["--hex", "--prefix", "6c617465"]).1, "6c617465\t7a\n");
    let late: Value = serde_json::from_str(&scan(&["--json", "--prefix", "late"]).1).unwrap();
    assert!(late["value"] == "z" && late["expires_at_ms"].is_u64(), "{late}");
    let (code, _, err) = scan(&["--hex", "--from", "xyz"]);
    assert!(code == 2 && err.contains("--from") && err.contains("hexadecimal"), "{code} {err}");
    assert_eq!(scan(&["--prefix", "a", "--from", "b"]).0, 2);
    // What it is made of.
    let (code, out, _) = run(&["stats", "d"], &place);
    assert_eq!(code, 0);
    for part in ["d: 2 shards", "not closed in order", "L0: ", "operations", "all: "] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let json: Value = serde_json::from_str(&run(&["stats", "d", "--json"], &place).1).unwrap();
    let shards = json["shards"].as_array().unwrap();
    let sum = |name: &str| shards.iter().map(|shard| shard[name].as_u64().unwrap()).sum::<u64>();
    assert!(shards.len() == 2 && sum("keys_max") >= expected.len() as u64, "{json}");
    assert_eq!(sum("entries"), 300);
    assert!(files(&dir) == before, "a byte was changed");
    // Its objects are what an import reads.
    fs::write(place.join("keys.jsonl"), scan(&["--json"]).1).unwrap();
    let (code, _, err) = run(&["import", "keys.jsonl", "--data-dir", "e"], &place);
    assert_eq!(code, 0, "{err}");
    assert_eq!(run(&["scan", "e"], &place).1, out_of_all);
    // A reader that goes away is no failure.
    let script = format!("{} scan d | head -n 1", program().display());
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", &script]).current_dir(&place).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}\n", lines[0]));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_closed_directory_is_merged_and_cleared() {
    if is_stand_in() {
        return;
    }
    let (server, expected) = directory();
    let (dir, place) = (server.data_dir(), server.home().path().to_owned());
    let (code, out, err) = run(&["compact", "d"], &place);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("compacted 2 shards: "), "{out}");
    assert!(out.ends_with(&format!("{} keys\n", expected.len())), "{out}");
    assert_eq!(run(&["scan", "d", "--keys-only"], &place).1.lines().count(), expected.len());
    assert_eq!(run(&["check", "d"], &place).0, 0);
    // Not asked, not agreed; a file of somebody else; then all of it.
    let (code, _, err) = run(&["clear", "--data-dir", "d"], &place);
    assert!(code == 1 && err.contains("--yes") && err.contains("nothing was removed"), "{err}");
    let foreign = dir.join("shard-000/letters.txt");
    fs::write(&foreign, "mine").unwrap();
    let before = files(&dir);
    let (code, _, err) = run(&["clear", "--data-dir", "d", "--yes"], &place);
    assert!(
        code == 78 && err.contains("letters.txt is not ours; nothing was removed"),
        "{code} {err}"
    );
    assert_eq!(files(&dir).len(), before.len());
    fs::remove_file(&foreign).unwrap();
    let (code, out, err) = run(&["clear", "--data-dir", "d", "--yes"], &place);
    assert!(code == 0 && out.starts_with("removed d: "), "{out}{err}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "the directory itself stays");
    assert_eq!(
        run(&["clear", "--data-dir", "d", "--yes"], &place).0,
        78,
        "not one of ours any more"
    );
    assert_eq!(run(&["compact", "nowhere"], &place).0, 78);
    assert!(!place.join("nowhere").exists());
}

#[test]
fn a_running_server_keeps_its_directory() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let place = server.home().path().to_owned();
    for words in [
        &["clear", "--data-dir", "d", "--yes"][..],
        &["compact", "d"],
        &["scan", "d"],
        &["stats", "d"],
    ] {
        let (code, out, err) = run(words, &place);
        assert!(
            code == 75 && err.contains("in use by another process"),
            "{words:?}: {code} {out} {err}"
        );
    }
    assert_eq!(server.client().say("SET a 1"), Reply::ok());
}

#[test]
fn one_frame_of_top() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&Options { shards: Some(2), ..Options::default() });
    let mut client = server.client();
    for number in 0..50 {
        assert_eq!(client.command(&["SET", &format!("k{number}"), "v"]), Reply::ok());
    }
    let address = format!("127.0.0.1:{}", server.port());
    let words = ["top", "--once", "--interval", "0.2", "--connect", &address];
    let (code, out, err) = run(&words, server.home().path());
    assert_eq!(code, 0, "{err}");
    for part in [
        &address,
        "Traffic",
        "Memory",
        "Levels by shard",
        "L6",
        "SET",
        "p99 now",
        "Slow log",
        "log (always)",
    ] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let (code, _, err) = run(&["top", "--once", "--connect", &nobody], server.home().path());
    assert!(code == 1 && err.contains("cannot connect"), "{err}");
    assert!(
        run(&["top", "--once", "--interval", "0"], server.home().path()).2.contains("0.2 to 60")
    );
    server.kill9_whole();
    let (code, _, err) = run(&words, server.home().path());
    assert!(code == 1 && err.contains(&format!("cannot connect to {address}")), "{err}");
}

#[test]
fn top_on_a_terminal_gives_it_back() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let command = format!("{} top --connect 127.0.0.1:{}", program().display(), server.port());
    let Some((code, shown)) = typed(&command, "p\n+\nq\n", server.home().path()) else { return };
    assert_eq!(code, 0, "{shown}");
    for part in ["\x1b[?1049h", "Levels", "PAUSED", "\x1b[?1049l"] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
}

#[test]
fn clear_asks_who_sits_there() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&Options::default());
    assert_eq!(server.client().say("SET a 1"), Reply::ok());
    assert_eq!(server.terminate().code, Some(0));
    let (dir, place) = (server.data_dir(), server.home().path().to_owned());
    let command = format!("{} clear --data-dir d", program().display());
    let before = files(&dir).len();
    let Some((code, shown)) = typed(&command, "y\n", &place) else { return };
    assert!(
        code == 1 && shown.contains("Type yes:") && shown.contains("nothing was removed"),
        "{shown}"
    );
    assert_eq!(files(&dir).len(), before);
    let Some((code, shown)) = typed(&command, "yes\n", &place) else { return };
    assert!(code == 0 && shown.contains("removed d: "), "{shown}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn the_doctor_looks_at_everything() {
    let home = temp_dir();
    let (code, out, err) = run(&["doctor", "--json"], home.path());
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code == 0, report["ok"] == true, "{out}{err}");
    let checks = report["checks"].as_array().unwrap();
    for name in [
        "kernel",
        "io_uring",
        "memlock",
        "open files",
        "file system",
        "O_DSYNC",
        "fdatasync",
        "clock",
        "disk",
    ] {
        let check = checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no {name} in {out}"));
        assert!(["ok", "warn", "fail"].contains(&check["status"].as_str().unwrap()), "{check}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "it leaves nothing behind");
    let (_, out, _) = run(&["doctor", "--data-dir", "."], home.path());
    assert!(out.lines().any(|line| line.contains("O_DSYNC") && line.contains("p99")), "{out}");
    fs::write(home.path().join("file"), "x").unwrap();
    let (code, out, _) = run(&["doctor", "--data-dir", "file"], home.path());
    assert!(code == 1 && out.contains("fail  directory"), "{out}");
}

#[test]
fn the_demo_loses_nothing_and_leaves_nothing() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let (code, out, err) = run(&["demo", "--records", "2000"], home.path());
    assert_eq!(code, 0, "{out}{err}");
    for part in [
        "1. A server starts",
        "2,000 OKs",
        "COMPACT",
        "kill -9",
        "operations in",
        "none is lost",
        "removed",
    ] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    assert_eq!(run(&["demo", "--records", "1"], home.path()).0, 2);
}

#[test]
fn completions_and_manual_pages_know_the_commands() {
    let home = temp_dir();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completions", shell], home.path());
        assert!(code == 0 && out.contains("doctor") && out.contains("data-dir"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"], home.path()).0, 2);
    let (code, out, _) = run(&["man"], home.path());
    assert!(code == 0 && out.contains(".TH rusty") && out.contains("Exit codes"), "{out}");
    assert_eq!(run(&["man", "pages/man1"], home.path()).0, 0);
    let page = fs::read_to_string(home.path().join("pages/man1/rusty-lsm-scan.1")).unwrap();
    assert!(page.contains("prefix"), "{page}");
}

#[test]
fn every_help_of_ours_has_an_example() {
    let home = temp_dir();
    for command in
        ["repl", "demo", "top", "doctor", "clear", "compact", "stats", "scan", "completions", "man"]
    {
        let (code, out, _) = run(&[command, "--help"], home.path());
        assert!(
            code == 0 && out.contains("Example") && out.contains(&format!("  rusty-lsm {command}")),
            "{out}"
        );
    }
}
