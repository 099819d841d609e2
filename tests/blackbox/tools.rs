//! check, repair and the dumps, on the data directories of all formats that there were and on what a server leaves.
//!
//! `tests/golden/v1` to `v3` were each written once (`shard/src/tests/golden.rs`) and stay as they are: two shards, several
//! levels, one of them stopped in order, the other one killed; since `v2` values that end, in `v3` a log whose batches share
//! blocks. Opening one changes it, so each test takes a copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;

use tempfile::TempDir;

use crate::common::{
    Client, Options, Reply, Server, is_stand_in, program, program_command, run_to_end, temp_dir,
};

const DAMAGED: i32 = 65;
const LOCKED: i32 = 75;
const CONFIG: i32 = 78;

/// Of the present format.
const PRESENT: &str = "v3";

fn golden_of(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format)
}

fn golden() -> PathBuf {
    golden_of(PRESENT)
}

/// A copy of the golden directory, where a server of this home looks for its data.
fn copied() -> (Rc<TempDir>, PathBuf) {
    copied_of(PRESENT)
}

fn copied_of(format: &str) -> (Rc<TempDir>, PathBuf) {
    let home = temp_dir();
    let dir = home.path().join("d");
    copy(&golden_of(format), &dir);
    (Rc::new(home), dir)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
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

fn expected() -> BTreeMap<String, String> {
    expected_of(PRESENT)
}

fn expected_of(format: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(golden_of(format).with_extension("txt")).unwrap();
    let pairs = text.lines().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A tool's exit code and what it printed.
fn tool(words: &[&str]) -> (i32, String) {
    let mut command = program_command();
    let output = command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("panicked") && !text.contains('\x1b'), "{text}");
    (output.status.code().unwrap(), text)
}

fn on(word: &str, path: &Path) -> (i32, String) {
    tool(&[word, path.to_str().unwrap()])
}

fn assert_clean(dir: &Path) -> String {
    let (code, text) = on("check", dir);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no damage"), "{text}");
    text
}

/// The values of all keys that the golden directory holds, and of no others.
fn values(client: &mut Client) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for tag in ["{a}", "{b}"] {
        for number in 0..300 {
            let key = format!("{tag}:{number:03}");
            if let Reply::Bulk(value) = client.command(&["GET", &key]) {
                found.insert(key, String::from_utf8(value).unwrap());
            }
        }
    }
    let count = i64::try_from(found.len()).unwrap();
    assert_eq!(client.say("DBSIZE"), Reply::Integer(count));
    found
}

fn start(home: &Rc<TempDir>) -> Server {
    Server::start_at(&program(), Rc::clone(home), &Options::default(), 0)
}

/// Flips a bit.
fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// The files of a shard whose names end or begin so, in order.
fn named(dir: &Path, part: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().contains(part));
    paths.sort();
    paths
}

/// A table whose first block has a value that nothing above it hides.
fn table_that_counts(shard: &Path) -> PathBuf {
    let expected = expected();
    let counts = |path: &PathBuf| {
        let (_, json) = tool(&["dump-sst", "--json", "--full", path.to_str().unwrap()]);
        let mut rows = json.lines().map(|line| serde_json::from_str(line).unwrap());
        let put = rows.find(|row: &serde_json::Value| row["record"] == "put");
        let Some((key, value)) = put.map(|row| (row["key"].clone(), row["value"].clone())) else {
            return false;
        };
        let held = key.as_str().and_then(|key| expected.get(key));
        held.is_some_and(|held| {
            Some(held.as_bytes().escape_ascii().to_string().as_str()) == value.as_str()
        })
    };
    named(shard, ".sst").into_iter().find(counts).unwrap()
}

#[test]
fn a_directory_of_each_format_opens_for_ever() {
    if is_stand_in() {
        return;
    }
    for (format, holds) in [
        ("v1", "34 tables with 355 entries"),
        ("v2", "38 tables with 329 entries"),
        ("v3", "31 tables with 287 entries"),
    ] {
        let (home, dir) = copied_of(format);
        let before = files(&dir);
        let text = assert_clean(&dir);
        assert!(text.contains(&format!("checked 2 shards: {holds}")), "{format}: {text}");
        assert!(files(&dir) == before, "check changes nothing");
        let mut server = start(&home);
        assert_eq!(values(&mut server.client()), expected_of(format), "{format}");
        server.crash_and_restart();
        assert_eq!(values(&mut server.client()), expected_of(format), "{format}");
        assert_eq!(server.client().command(&["SET", "{a}:001", "new"]), Reply::ok());
        server.restart();
        assert_eq!(server.client().command(&["GET", "{a}:001"]), Reply::Bulk(b"new".to_vec()));
        assert_eq!(server.terminate().code, Some(0));
        assert_clean(&dir);
    }
}

#[test]
fn check_finds_nothing_after_a_kill() {
    if is_stand_in() {
        return;
    }
    let mut server = Server::start(&Options { shards: Some(2), ..Options::default() });
    for index in 0..300 {
        let reply = server.client().command(&["SET", &format!("k{index}"), "value"]);
        assert_eq!(reply, Reply::ok());
    }
    server.kill9();
    let text = assert_clean(&server.data_dir());
    assert!(text.contains("with 300 operations"), "{text}");
}

#[test]
fn tools_keep_away_from_a_running_server_and_from_strangers() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options { shards: Some(1), ..Options::default() });
    let dir = server.data_dir();
    let shard = dir.join("shard-000");
    let segment = named(&shard, ".wal").remove(0);
    for (word, path) in [("check", &dir), ("repair", &dir), ("dump-wal", &segment)] {
        let (code, text) = on(word, path);
        assert_eq!(code, LOCKED, "{word}: {text}");
        assert!(text.contains(&format!("(pid {})", server.pid())), "{text}");
    }
    let empty = temp_dir();
    for word in ["check", "repair"] {
        let (code, text) = on(word, empty.path());
        assert_eq!(code, CONFIG, "{text}");
        assert!(text.contains("not a data directory"), "{text}");
    }
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing was written");
    let (code, _) = on("check", &empty.path().join("absent"));
    assert_eq!(code, CONFIG);
}

#[test]
fn damage_is_named_repaired_and_kept() {
    if is_stand_in() {
        return;
    }
    let (home, dir) = copied();
    let shard = dir.join("shard-000");
    let table = table_that_counts(&shard);
    flip(&table, 9);
    let damaged = fs::read(&table).unwrap();
    let before = files(&dir);
    let (code, text) = on("check", &dir);
    assert_eq!(code, DAMAGED, "{text}");
    let name = table.file_name().unwrap().to_string_lossy().into_owned();
    let line = format!("damage: shard-000/{name} offset 0: a block's checksum");
    assert!(text.contains(&line) && text.contains("1 finding of damage"), "{text}");
    let (code, text) = tool(&["repair", "--dry-run", dir.to_str().unwrap()]);
    assert_eq!(code, DAMAGED, "{text}");
    assert!(text.contains(&format!("lost: shard-000/{name} offset 0: keys \"{{b}}:")), "{text}");
    assert!(files(&dir) == before, "neither changes anything");
    let lost = text.lines().find(|line| line.starts_with("lost: ")).unwrap();
    let mut keys = lost.split('"').skip(1).step_by(2);
    let (from, to) = (keys.next().unwrap(), keys.next().unwrap());

    let (code, done) = on("repair", &dir);
    assert_eq!(code, 0, "{done}");
    assert!(done.contains("repaired: 1 findings of damage, 1 losses"), "{done}");
    assert!(done.contains("kept in"), "{done}");
    assert_clean(&dir);
    let quarantine = named(&dir, "quarantine-").remove(0).join("shard-000");
    assert!(fs::read(quarantine.join(&name)).unwrap() == damaged, "the original is kept");
    assert!(quarantine.join("CURRENT").exists());
    assert!(named(&shard, "quarantine").is_empty());
    let (code, again) = on("repair", &dir);
    assert_eq!(code, 0);
    assert!(again.starts_with("nothing to repair"), "{again}");
    let mut server = start(&home);
    let found = values(&mut server.client());
    let expected = expected();
    let differs: Vec<_> =
        expected.iter().filter(|(key, value)| found.get(*key) != Some(value)).collect();
    assert!(!differs.is_empty(), "the block held something");
    assert!(differs.iter().all(|(key, _)| (from..=to).contains(&key.as_str())), "{differs:?}");
    assert_eq!(server.terminate().code, Some(0));
}

/// Does harm to a shard.
type Harm = fn(&Path);

/// What a start refuses, it refuses with the words that name the remedy; and the remedy is one.
#[test]
fn a_refused_start_names_a_repair_that_works() {
    if is_stand_in() {
        return;
    }
    let harm: [(&str, Harm); 4] = [
        ("CURRENT", |shard| fs::remove_file(shard.join("CURRENT")).unwrap()),
        ("manifest", |shard| flip(&named(shard, "manifest-").remove(0), 4096 + 60)),
        ("table", |shard| {
            let table = named(shard, ".sst").remove(1);
            let len = fs::metadata(&table).unwrap().len();
            fs::File::options().write(true).open(&table).unwrap().set_len(len - 4096).unwrap();
        }),
        ("log", |shard| {
            // The first frame behind the chain of the segment in use.
            let segments = named(shard, ".wal");
            let used = |path: &&PathBuf| fs::read(path).unwrap()[8192..].iter().any(|&b| b != 0);
            flip(segments.iter().rev().find(used).unwrap(), 8192 + 50);
        }),
    ];
    for (what, harm) in harm {
        let (home, dir) = copied();
        harm(&dir.join("shard-000"));
        let port = crate::common::free_port().to_string();
        let mut refused = program_command();
        refused.args(["start", "--port", &port, "--data-dir", dir.to_str().unwrap()]);
        run_to_end(&mut refused).refused(&[1], &["is damaged at offset", "rusty-lsm repair"]);
        let (code, text) = on("repair", &dir);
        assert_eq!(code, 0, "{what}: {text}");
        assert_clean(&dir);
        let mut server = start(&home);
        let found = values(&mut server.client());
        if !text.contains("lost:") {
            assert_eq!(found, expected(), "{what}: {text}");
        }
        assert!(found.len() > expected().len() / 2, "{what}: {text}");
        assert_eq!(server.terminate().code, Some(0), "{what}");
    }
}

#[test]
fn a_shard_that_is_gone_is_damage() {
    if is_stand_in() {
        return;
    }
    let (home, dir) = copied();
    fs::remove_dir_all(dir.join("shard-001")).unwrap();
    let (code, text) = on("check", &dir);
    assert_eq!(code, DAMAGED, "{text}");
    assert!(text.contains("damage: shard-001: no shard is here"), "{text}");
    // A start does not put an empty one in its place.
    let port = crate::common::free_port().to_string();
    let mut refused = program_command();
    refused.args(["start", "--port", &port, "--data-dir", dir.to_str().unwrap()]);
    run_to_end(&mut refused).refused(&[CONFIG], &["shard-001", "absent", "rusty-lsm repair"]);
    assert!(!dir.join("shard-001").exists());
    let (code, text) = on("repair", &dir);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("lost: shard-001: all keys of this shard"), "{text}");
    let mut server = start(&home);
    let found = values(&mut server.client());
    assert!(!found.is_empty() && found.keys().all(|key| key.starts_with("{b}")));
    assert_eq!(server.terminate().code, Some(0));
}

/// By start and by tools, for each kind of file that has a format of its own; `shard` has the same for all of them.
#[test]
fn what_a_newer_release_wrote_is_refused_with_what_to_do() {
    if is_stand_in() {
        return;
    }
    let (_home, dir) = copied();
    let format = dir.join("FORMAT");
    let mut bytes = fs::read(&format).unwrap();
    bytes[8] = 3;
    fs::write(&format, &bytes).unwrap();
    for words in [&["check"][..], &["repair"], &["start", "--data-dir"]] {
        let mut command = program_command();
        command.args(words).arg(&dir);
        run_to_end(&mut command).refused(&[CONFIG], &["format 3", "start it with that release"]);
    }
    bytes[8] = 9;
    bytes[0] = b'r';
    fs::write(&format, &bytes).unwrap();
    let (code, text) = on("check", &dir);
    assert_eq!(code, CONFIG, "{text}");
    let mut bytes = fs::read(golden().join("FORMAT")).unwrap();
    bytes[20] ^= 1;
    fs::write(&format, &bytes).unwrap();
    let (code, text) = on("check", &dir);
    assert_eq!(code, DAMAGED, "{text}");
    assert!(text.contains("FORMAT is damaged"), "{text}");
}

#[test]
fn dumps_are_read_by_people_and_programs() {
    if is_stand_in() {
        return;
    }
    let shard = golden().join("shard-000");
    let last = |part: &str| named(&shard, part).pop().unwrap();
    let dumps = [
        ("dump-sst", named(&shard, ".sst").remove(0), ["table", "block", "put"]),
        ("dump-manifest", last("manifest-"), ["manifest", "snapshot", "add_table"]),
        ("dump-manifest", shard.join("CURRENT"), ["current", "current", "current"]),
        ("dump-wal", last(".wal"), ["segment", "segment", "segment"]),
    ];
    for (word, path, records) in dumps {
        let (code, text) = on(word, &path);
        assert_eq!(code, 0, "{text}");
        let (code, json) = tool(&[word, "--json", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{json}");
        assert_eq!(text.lines().count(), json.lines().count());
        let rows: Vec<serde_json::Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for record in records {
            assert!(rows.iter().any(|row| row["record"] == record), "{record}: {json}");
            assert!(text.contains(record), "{record}: {text}");
        }
    }
    // Values are shortened, unless all is wanted.
    let long = expected().into_iter().find(|(_, value)| value.len() > 100).unwrap();
    let everything = |full: &[&str]| -> String {
        let tables = ["shard-000", "shard-001"].map(|shard| named(&golden().join(shard), ".sst"));
        let dump = |path: &PathBuf| tool(&[&["dump-sst", path.to_str().unwrap()], full].concat()).1;
        tables.iter().flatten().map(dump).collect()
    };
    let shown = long.1.escape_default().to_string().replace("\\'", "'");
    assert!(!everything(&[]).contains(&shown[60..100]));
    assert!(everything(&["--full"]).replace("\\'", "'").contains(&shown[60..100]));
    // What is wrong is a row and an exit code.
    let (_home, dir) = copied();
    let table = named(&dir.join("shard-000"), ".sst").remove(0);
    flip(&table, 9);
    let (code, text) = on("dump-sst", &table);
    assert_eq!(code, DAMAGED, "{text}");
    assert!(text.contains("damage what=\"a block's checksum"), "{text}");
    let (code, text) = on("dump-wal", &table);
    assert_eq!(code, DAMAGED, "{text}");
}
