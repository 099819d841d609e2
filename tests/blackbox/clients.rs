//! Real clients from Debian: redis-cli and redis-benchmark.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::{Options, Reply, Server, encode, skip};

/// The program with its port, or `None`, said aloud, where it is not installed.
fn tool(name: &str, server: &Server) -> Option<Command> {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skip(&format!("{name} is not installed"));
        return None;
    }
    let mut command = Command::new(name);
    command.args(["-h", "127.0.0.1", "-p", &server.port().to_string()]);
    Some(command)
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn redis_cli_sets_and_gets() {
    let server = Server::start(&Options::default());
    let Some(mut set) = tool("redis-cli", &server) else { return };
    assert_eq!(output(set.args(["set", "greeting", "hello world"])), "OK\n");
    let mut get = tool("redis-cli", &server).unwrap();
    assert_eq!(output(get.args(["get", "greeting"])), "hello world\n");
    let mut several = tool("redis-cli", &server).unwrap();
    assert_eq!(output(several.args(["mget", "greeting", "never"])), "hello world\n\n");
    let mut size = tool("redis-cli", &server).unwrap();
    assert_eq!(output(size.args(["dbsize"])), "1\n");
}

/// Mass insertion: thousands of commands, an empty line at the end and an ECHO that must come back.
#[test]
fn redis_cli_pipe_inserts_all() {
    const KEYS: u32 = 20_000;
    let server = Server::start(&Options::default());
    let Some(mut pipe) = tool("redis-cli", &server) else { return };
    let mut child =
        pipe.arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for index in 0..KEYS {
        input.write_all(&encode(&["SET", &format!("pipe:{index}"), &index.to_string()])).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("errors: 0, replies: {KEYS}")), "{text}");
    assert_eq!(server.client().say("GET pipe:19999"), Reply::bulk("19999"));
}

/// Any error reply ends redis-benchmark with status 1.
#[test]
fn redis_benchmark_finds_nothing_wrong() {
    let server = Server::start(&Options::default());
    for depth in ["1", "16", "200"] {
        let Some(mut benchmark) = tool("redis-benchmark", &server) else { return };
        let tests =
            ["-t", "ping,set,get,mset", "-n", "5000", "-r", "1000", "-d", "100", "-P", depth];
        let text = output(benchmark.args(tests).arg("-q"));
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "MSET (10 keys)"] {
            assert!(text.contains(&format!("{test}: ")), "-P {depth}: {test} is missing:\n{text}");
        }
    }
}
