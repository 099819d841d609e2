//! The load generator (`examples/load`) against the real server, and against Redis: what it asks for is understood, and with
//! `--verify` every value is the right one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::common::{Client, Options, Peer, Server, free_port, temp_dir};

/// The generator, built by the cargo that runs these tests: `cargo test` builds no example for a test program, and one that lies
/// there from earlier may be an older one. Nothing to do where `scripts/test` has built it.
fn generator() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/PROFILE/deps/blackbox-HASH
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
        let profile = folder.file_name().and_then(OsStr::to_str).unwrap();
        let profile = if profile == "debug" { "dev" } else { profile };
        let done = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--example", "load", "--profile", profile])
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        folder.join("examples/load")
    })
}

fn load(port: u16, line: &str) -> Output {
    let words = line.split_whitespace();
    Command::new(generator()).args(["--port", &port.to_string()]).args(words).output().unwrap()
}

/// It ends with code 0, and says so.
pub(crate) fn succeeds(port: u16, line: &str) -> String {
    let done = load(port, line);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{line}\n{said}\n{complaint}");
    said
}

/// Loads, runs each workload, and leaves every key with its value.
fn runs_all_workloads(port: u16, mut client: Client) {
    const KEYS: &str = "--keys 2000 --value-bytes 16-3000 --verify";
    succeeds(port, &format!("--workload load --clients 7 --threads 2 {KEYS}"));
    assert_eq!(client.say("DBSIZE"), crate::common::Reply::Integer(2000));
    for workload in ["set", "get", "miss", "a", "b", "c", "f", "overwrite", "d", "e"] {
        let count = if workload == "e" { 300 } else { 3000 };
        for pace in ["--pipeline 16 --threads 2", "--rate 20000 --arrivals poisson"] {
            let line =
                format!("--workload {workload} --requests {count} --clients 10 {pace} {KEYS}");
            let said = succeeds(port, &line);
            assert!(said.contains(&format!(" {count} ")), "{line}\n{said}");
        }
    }
    succeeds(port, &format!("--workload load --tagged --key-bytes 20 --clients 7 {KEYS}"));
    succeeds(
        port,
        &format!("--workload f --tagged --key-bytes 20 --clients 7 --requests 2000 {KEYS}"),
    );
}

#[test]
fn the_generator_runs_all_workloads_against_the_server() {
    let server = Server::start(&Options { sync: Some("everysec"), ..Options::default() });
    runs_all_workloads(server.port(), server.client());
}

#[test]
fn the_generator_runs_all_workloads_against_redis() {
    let Some(redis) = Peer::start() else { return };
    runs_all_workloads(redis.port(), Client::connect(redis.port()).unwrap());
}

#[test]
fn the_generator_writes_its_report_and_compares_two() {
    let server = Server::start(&Options { sync: Some("everysec"), ..Options::default() });
    let home = temp_dir();
    let dir = home.path().display().to_string();
    succeeds(server.port(), "--workload load --keys 1000 --pipeline 16");
    for name in ["a", "b"] {
        let line = format!(
            "--workload a --keys 1000 --rate 2000 --duration 2 --note commit=c{name} --report {dir}/{name} --json {dir}/{name}.json"
        );
        let said = succeeds(server.port(), &line);
        for wanted in ["p99.99 us", "GET", "SET", "lateness", "server   ", "of 2000 asked for"] {
            assert!(said.contains(wanted), "{wanted} is not in\n{said}");
        }
    }
    for file in [
        "index.html",
        "run.json",
        "series.csv",
        "percentiles.svg",
        "series.svg",
        "GET.hgrm",
        "all.hgrm",
    ] {
        assert!(home.path().join("a").join(file).is_file(), "{file}");
    }
    let said = succeeds(1, &format!("--compare {dir}/a {dir}/b.json --report {dir}/c"));
    assert!(said.contains("only A: commit ca") && said.contains("B / A"), "{said}");
    assert!(home.path().join("c/index.html").is_file());
}

#[test]
fn the_generator_ends_by_its_exit_codes() {
    let mut server = Server::start(&Options { sync: Some("everysec"), ..Options::default() });
    succeeds(server.port(), "--workload load --keys 100");
    // A value of another key, and a key that is not there.
    let mut client = server.client();
    let value = client.say("GET key:000000000007").text();
    client.command(&["SET", "key:000000000008", &value]);
    let line = "--workload get --keys 100 --requests 1000 --distribution sequential";
    succeeds(server.port(), line);
    let done = load(server.port(), &format!("{line} --verify"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("key key:000000000008 has another key's value"), "{said}");

    let refused = |line: &str, port: u16, wanted: &str| {
        let done = load(port, line);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains(wanted), "{line}: {said}");
    };
    refused("--workload a --clients 0", server.port(), "--clients 0 is not between 1 and 10000");
    refused("--workload a --theta x", server.port(), "--theta");
    let port = server.port();
    // Killed under way: the connections close.
    let running = std::thread::spawn(move || load(port, "--workload a --keys 100 --duration 60"));
    while client.info("total_commands_processed").parse::<u64>().unwrap() < 5000 {}
    server.kill9();
    let done = running.join().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("the server closed the connection"), "{said}");
    // Not the port of the killed server: its ring, and with it the listener, is gone a little later than its process.
    refused("--workload a", free_port(), "refused");
}
