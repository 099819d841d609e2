//! What keeps a server from starting: one clear line (what, where, remedy), the right exit code, and nothing lost.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use crate::common::{
    Exit, Options, Reply, Server, deny_io_uring, free_port, is_stand_in, program, program_command,
    run_to_end, skip, temp_dir,
};

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 69;
const LOCKED: i32 = 75;
const CONFIG: i32 = 78;
const FAILURE: i32 = 1;

/// A user without rights.
const NOBODY: u32 = 65_534;

fn start(data_dir: &Path, words: &[&str]) -> Command {
    let mut command = program_command();
    let port = free_port().to_string();
    command.args(["start", "--port", &port, "--data-dir", data_dir.to_str().unwrap()]).args(words);
    command
}

fn refuse(data_dir: &Path, words: &[&str]) -> Exit {
    run_to_end(&mut start(data_dir, words))
}

#[test]
fn a_wrong_flag_or_value_is_a_usage_error_with_a_suggestion() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    refuse(&dir, &["--prot", "1"]).refused(&[USAGE], &["--prot", "--port"]);
    refuse(&dir, &["--sync", "sometimes"]).refused(&[USAGE], &["sometimes", "always", "everysec"]);
    refuse(&dir, &["--memtable-size", "64XB"]).refused(&[USAGE, CONFIG], &["64XB"]);
    refuse(&dir, &["--memtable-size", "-1"]).refused(&[USAGE, CONFIG], &[]);
    refuse(&dir, &["--block-size", "1GB"]).refused(&[USAGE, CONFIG], &["64"]);
    refuse(&dir, &["--block-size", "100"]).refused(&[USAGE, CONFIG], &["1"]);
    refuse(&dir, &["--shards", "0"]).refused(&[USAGE, CONFIG], &["shards"]);
    refuse(&dir, &["--shards", "many"]).refused(&[USAGE], &["many", "--shards"]);
    // Not by `refuse`, which gives a port of its own.
    let mut far = program_command();
    far.args(["start", "--data-dir", dir.to_str().unwrap(), "--port", "70000"]);
    run_to_end(&mut far).refused(&[USAGE], &["70000", "--port"]);
    refuse(&dir, &["--bind", "not an address"]).refused(&[USAGE, CONFIG], &["not an address"]);
    refuse(&dir, &["--memory", "1KB"]).refused(&[USAGE, CONFIG], &["memory"]);
    run_to_end(program_command().arg("strat")).refused(&[USAGE], &["strat", "start"]);
    assert!(!dir.exists(), "a refused start leaves nothing behind");
}

#[test]
fn a_wrong_configuration_names_file_and_key() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let file = home.path().join("c.toml");
    let name = file.to_str().unwrap();
    let refuse_text = |text: &str, words: &[&str]| {
        fs::write(&file, text).unwrap();
        for check in [&["--config", name][..], &["--config", name, "--check-config"]] {
            let mut all = words.to_vec();
            all.push("c.toml");
            refuse(&dir, check).refused(&[CONFIG], &all);
        }
    };
    refuse_text("memtable_capacty = \"64MB\"\n", &["memtable_capacty", "memtable_capacity"]);
    refuse_text("memtable_capacity = \"64QB\"\n", &["memtable_capacity"]);
    refuse_text("memtable_capacity = [1]\n", &["memtable_capacity"]);
    refuse_text("sync = \"perhaps\"\n", &["sync", "perhaps"]);
    refuse_text("this is not toml\n", &["line 1"]);
    let absent = home.path().join("absent.toml");
    refuse(&dir, &["--config", absent.to_str().unwrap()]).refused(&[CONFIG], &["absent.toml"]);
    let exit = run_to_end(start(&dir, &[]).env("RUSTY_LSM_SYNC", "perhaps"));
    exit.refused(&[USAGE, CONFIG], &["RUSTY_LSM_SYNC", "perhaps"]);
    assert!(!dir.exists(), "a refused start leaves nothing behind");
}

#[test]
fn print_config_and_check_config_start_nothing() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let file = home.path().join("c.toml");
    let output = start(&dir, &["--print-config", "--sync", "everysec"])
        .stdout(fs::File::create(&file).unwrap())
        .status()
        .unwrap();
    assert!(output.success());
    let printed = fs::read_to_string(&file).unwrap();
    for field in ["memtable_capacity", "block_cache_capacity", "compaction_thresholds", "everysec"]
    {
        assert!(printed.contains(field), "{field}:\n{printed}");
    }
    // What it prints it also reads.
    let exit = refuse(&dir, &["--config", file.to_str().unwrap(), "--check-config"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!dir.exists());
}

#[test]
fn two_servers_cannot_share_a_directory() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    let dir = server.data_dir();
    let exit = refuse(&dir, &[]);
    exit.refused(&[LOCKED], &[dir.to_str().unwrap()]);
    // By another name it is the same directory.
    let home = temp_dir();
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    refuse(&link, &[]).refused(&[LOCKED, CONFIG, FAILURE], &["link"]);
    assert_eq!(server.client().say("SET a 1"), Reply::ok());
}

#[test]
fn a_lock_dies_with_its_process() {
    let mut server = Server::start(&Options::default());
    for _ in 0..3 {
        server.crash_and_restart();
    }
}

#[test]
fn a_port_in_use_is_refused_even_by_ourselves() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let server = Server::start(&Options::default());
    let port = server.port().to_string();
    let again = |dir: &str, port: &str| {
        let dir = home.path().join(dir);
        run_to_end(program_command().args([
            "start",
            "--port",
            port,
            "--data-dir",
            dir.to_str().unwrap(),
        ]))
    };
    again("a", &port).refused(&[FAILURE], &[&port, "use"]);
    // Somebody else's, listening without SO_REUSEPORT, and listening on all addresses.
    let other = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    again("b", &port).refused(&[FAILURE], &[&port, "use"]);
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
}

/// The kernel lets go of the listeners of a killed server some time after it is gone.
#[test]
fn an_address_that_is_about_to_be_free_is_waited_for() {
    if is_stand_in() {
        return;
    }
    let home = Rc::new(temp_dir());
    let path = home.path().join("s");
    let word: &'static str = path.to_str().unwrap().to_owned().leak();
    let options = Options { more: vec!["--unixsocket", word].leak(), ..Options::default() };
    let port = free_port();
    let tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let letting_go = thread::spawn(move || {
        thread::sleep(Duration::from_millis(400));
        drop(tcp);
        thread::sleep(Duration::from_millis(400));
        drop(unix);
    });
    let server = Server::start_on(port, &program(), home, &options, 0);
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
    letting_go.join().unwrap();
}

#[test]
fn an_address_of_another_machine_is_refused() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    refuse(&home.path().join("d"), &["--bind", "192.0.2.1"])
        .refused(&[FAILURE, CONFIG], &["192.0.2.1"]);
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_alone() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    fs::write(dir.join("thesis.txt"), "do not touch").unwrap();
    refuse(&dir, &[]).refused(&[FAILURE, CONFIG], &[dir.to_str().unwrap()]);
    let names: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.txt"], "nothing was added");
    // A file where the directory, or one above it, should be; and a place where none can be made.
    refuse(&dir.join("thesis.txt"), &[]).refused(&[CONFIG], &["thesis.txt"]);
    refuse(&dir.join("thesis.txt/d"), &[]).refused(&[CONFIG], &["thesis.txt/d", "--data-dir"]);
    refuse(Path::new("/proc/d"), &[]).refused(&[CONFIG], &["/proc/d", "--data-dir"]);
    assert_eq!(fs::read_to_string(dir.join("thesis.txt")).unwrap(), "do not touch");
}

/// What a refused start has made it removes; what was there before stays.
#[test]
fn a_refused_start_leaves_no_directory_behind() {
    let shm = Path::new("/dev/shm");
    if is_stand_in() {
        return;
    }
    let Ok(home) = tempfile::tempdir_in(shm) else {
        skip("no /dev/shm to write to");
        return;
    };
    let exit = refuse(&home.path().join("a/b/d"), &[]);
    if exit.stderr.contains("direct I/O") {
        skip("/dev/shm is no tmpfs");
        return;
    }
    exit.refused(&[CONFIG], &["tmpfs", "--sync no"]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "a/b/d was made by that start");
    let own = home.path().join("own");
    fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
    refuse(&own, &[]).refused(&[CONFIG], &["tmpfs"]);
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "only the directory itself was there");
}

#[test]
fn an_empty_directory_is_fine() {
    if is_stand_in() {
        return;
    }
    let home = Rc::new(temp_dir());
    fs::DirBuilder::new().mode(0o700).create(home.path().join("d")).unwrap();
    let server = Server::start_at(&program(), home, &Options::default(), 0);
    assert_eq!(server.client().say("PING"), Reply::Simple("PONG".into()));
}

#[test]
fn another_number_of_shards_is_refused_and_the_data_stays() {
    if is_stand_in() {
        return;
    }
    let two = Options { shards: Some(2), ..Options::default() };
    let mut server = Server::start(&two);
    assert_eq!(server.client().say("SET a 1"), Reply::ok());
    assert_eq!(server.terminate().code, Some(0));
    let dir = server.data_dir();
    refuse(&dir, &["--shards", "3"]).refused(&[FAILURE, CONFIG], &["2", "3", "--shards"]);
    server.start_again(&two);
    assert_eq!(server.client().say("GET a"), Reply::bulk("1"));
}

/// A data directory with 300 keys, some of them in tables, its server ended.
fn filled() -> Server {
    let mut server = Server::start(&Options { shards: Some(1), ..Options::default() });
    let mut client = server.client();
    for index in 0..300 {
        assert_eq!(client.command(&["SET", &format!("k{index}"), &"v".repeat(100)]), Reply::ok());
        if index == 200 {
            assert_eq!(client.say("FLUSHDB"), Reply::ok());
        }
    }
    server.kill9();
    server
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Damage that no crash can leave behind is refused by name and offset; nothing on disk is changed by the refusal.
#[test]
fn damage_in_a_table_or_manifest_is_refused_by_name() {
    if is_stand_in() {
        return;
    }
    let server = filled();
    let dir = server.data_dir();
    let mut tried = 0;
    let all = files(&dir);
    for path in all.clone() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_table = path.extension().is_some_and(|extension| extension == "sst");
        if !is_table && !name.starts_with("manifest") && name != "CURRENT" {
            continue;
        }
        tried += 1;
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        // A table's footer (what follows it, up to a whole block, belongs to no one) and the start of the others.
        let last = whole.iter().rposition(|byte| *byte != 0).unwrap();
        let at = if is_table { last - 20 } else { 6 };
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        refuse(&dir, &["--shards", "1"]).refused(&[FAILURE, CONFIG], &[&name]);
        // Cut off, gone: the manifest knows the length of a table, and its own by the log that it does not name.
        // Behind its edits a manifest has zeros, which nobody misses.
        let half = if is_table { whole.len() / 2 } else { last / 2 };
        fs::write(&path, &whole[..half]).unwrap();
        refuse(&dir, &["--shards", "1"]).refused(&[FAILURE, CONFIG], &[&name]);
        fs::remove_file(&path).unwrap();
        refuse(&dir, &["--shards", "1"]).refused(&[FAILURE, CONFIG], &[&name]);
        let mut kept = files(&dir);
        kept.push(path.clone());
        kept.sort();
        assert_eq!(kept, all, "a refusal changes nothing");
        fs::write(&path, &whole).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(tried >= 3, "a CURRENT, a manifest and a table: {:?}", files(&dir));
    let mut server = server;
    server.start_again(&Options { shards: Some(1), ..Options::default() });
    assert_eq!(server.client().say("DBSIZE"), Reply::Integer(300));
}

/// FORMAT tells the version of everything in the directory: magic (8 bytes), version (4), little-endian.
#[test]
fn a_newer_format_is_refused_and_left_alone() {
    if is_stand_in() {
        return;
    }
    let mut server = filled();
    let dir = server.data_dir();
    let path = dir.join("FORMAT");
    let whole = fs::read(&path).unwrap();
    let mut newer = whole.clone();
    newer[8..12].copy_from_slice(&1_000_u32.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    let before = files(&dir);
    refuse(&dir, &["--shards", "1"]).refused(&[CONFIG], &[dir.to_str().unwrap(), "1000", "newer"]);
    assert_eq!(files(&dir), before);
    assert_eq!(fs::read(&path).unwrap(), newer);
    // Somebody else's file of that name, and a damaged one.
    fs::write(&path, b"a note on formats").unwrap();
    refuse(&dir, &["--shards", "1"]).refused(&[FAILURE, CONFIG], &["FORMAT"]);
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    fs::write(&path, &damaged).unwrap();
    refuse(&dir, &["--shards", "1"]).refused(&[FAILURE, CONFIG], &["FORMAT"]);
    fs::write(&path, &whole).unwrap();
    server.start_again(&Options { shards: Some(1), ..Options::default() });
    assert_eq!(server.client().say("DBSIZE"), Reply::Integer(300));
}

#[test]
fn a_missing_permission_names_the_directory() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    let name = dir.to_str().unwrap();
    let mut command = start(&dir, &[]);
    if is_root() {
        // Root may do everything: be somebody else, who can reach the program but not the directory.
        command.uid(NOBODY).gid(NOBODY);
        if Command::new(program()).arg("--version").uid(NOBODY).gid(NOBODY).output().is_err() {
            skip("another user cannot run the program where it lies");
            return;
        }
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        run_to_end(&mut command).refused(&[FAILURE, CONFIG], &[name, "user 0", "chown"]);
        std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
    run_to_end(&mut command).refused(&[FAILURE, CONFIG], &[name, "permission"]);
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    refuse(&dir, &[]).refused(&[FAILURE, CONFIG], &[dir.to_str().unwrap(), "chmod"]);
}

#[test]
fn without_io_uring_the_remedy_is_told() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let mut docker = start(&dir, &[]);
    deny_io_uring(&mut docker, libc::EPERM);
    // The kernel's own switch is on here, or no other test would run: so it must be the filter.
    run_to_end(&mut docker).refused(&[UNAVAILABLE], &["io_uring", "seccomp", "--security-opt"]);
    let mut old = start(&dir, &[]);
    deny_io_uring(&mut old, libc::ENOSYS);
    run_to_end(&mut old).refused(&[UNAVAILABLE], &["io_uring", "kernel", "6.1"]);
    let mut locked = start(&dir, &[]);
    deny_io_uring(&mut locked, libc::ENOMEM);
    run_to_end(&mut locked).refused(&[UNAVAILABLE], &["io_uring", "memlock"]);
    assert!(!dir.exists(), "a refused start leaves nothing behind");
}

#[test]
fn the_banner_says_what_runs() {
    if is_stand_in() {
        return;
    }
    let server =
        Server::start(&Options { shards: Some(2), sync: Some("everysec"), ..Options::default() });
    let said = server.stderr();
    let port = server.port().to_string();
    for word in [env!("CARGO_PKG_VERSION"), "everysec", "shards", "memory", &port] {
        assert!(said.contains(word), "the banner lacks {word:?}:\n{said}");
    }
    assert!(said.lines().count() <= 30, "one screen:\n{said}");
}

/// Directories 0700, files 0600, whatever the umask.
#[test]
fn nobody_else_can_read_the_data() {
    if is_stand_in() {
        return;
    }
    let server = Server::start(&Options::default());
    assert_eq!(server.client().say("SET a secret"), Reply::ok());
    assert_eq!(server.client().say("FLUSHDB"), Reply::ok());
    let mut all = files(&server.data_dir());
    let dirs: Vec<_> = all.iter().map(|path| path.parent().unwrap().to_owned()).collect();
    all.extend(dirs);
    for path in all {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{} has mode {mode:o}", path.display());
    }
}

fn is_root() -> bool {
    // A file of ours belongs to us.
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
