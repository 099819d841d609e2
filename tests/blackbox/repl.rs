//! The REPL as a program: scripts on a directory and against a server, what it prints, and what it ends with.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{Options, Server, is_stand_in, program, program_command, temp_dir, typed};

/// Exit code, output, error output.
type Ended = (i32, String, String);

/// Runs `rusty-lsm repl` with these words and this input.
fn repl(words: &[&str], input: &str) -> Ended {
    let mut command = program_command();
    command.arg("repl").args(words);
    piped(command, input)
}

fn piped(mut command: Command, input: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!out.contains('\x1b') && !err.contains("panicked"), "{out}\n{err}");
    (output.status.code().unwrap(), out, err)
}

fn on(dir: &Path) -> [&str; 2] {
    ["--data-dir", dir.to_str().unwrap()]
}

#[test]
fn a_script_on_a_directory() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let script = "# a comment\n\nSET city \"Bern \\x41\\n\"\nGET city\nGET absent\nset 'two words' 'it''s'\n\
                  MSET a 1 b 2\nDELETE a nothing\nGET b\nQUIT\nGET never\n";
    let (code, out, err) = repl(&on(&dir), script);
    assert_eq!(code, 1, "{out}{err}");
    assert_eq!(out, "OK\nBern A\n\nKey not found\nOK\n1\n2\n");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.starts_with("line 6: (error) a quote is not closed"), "{err}");
    // What was written is there in the next run; quotes and types where they are wanted.
    let words = [&on(&dir)[..], &["--no-raw"]].concat();
    let (code, out, _) = repl(&words, "GET city\nINCR n\nMGET b a\nSTRLEN city\nEXISTS zz\n");
    assert_eq!(code, 0);
    assert_eq!(out, "\"Bern A\\n\"\n(integer) 1\n1) \"2\"\n2) (nil)\n(integer) 7\n(integer) 0\n");
}

#[test]
fn commands_of_the_command_line_and_their_exit_codes() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let run = |commands: &[&str]| {
        let flags = commands.iter().flat_map(|command| ["-c", command]);
        let words: Vec<&str> = on(&dir).into_iter().chain(flags).collect();
        repl(&words, "")
    };
    assert_eq!(run(&["SET k v", "GET k"]), (0, "OK\nv\n".into(), String::new()));
    let (code, out, err) = run(&["SET k", "GET k", "NOSUCH"]);
    assert_eq!((code, out.as_str()), (1, "v\n"));
    assert!(
        err.contains("'SET k': (error) ERR wrong number") && err.contains("'NOSUCH': (error)"),
        "{err}"
    );
    let (code, _, err) = run(&["CLIENT REPLY OFF"]);
    assert!(code == 1 && err.contains("CLIENT REPLY"), "{err}");
    // Wrong words on the command line, a directory that a server has, a server that is not there.
    assert_eq!(repl(&["--nosuch"], "").0, 2);
    assert_eq!(repl(&["--data-dir", "d", "--connect", "h:1"], "").0, 2);
    let server = Server::start(&Options::default());
    let (code, _, err) = repl(&on(&server.data_dir()), "PING\n");
    assert_eq!(code, 75, "{err}");
    assert!(err.contains("in use by another process") && err.contains("--connect"), "{err}");
    let (code, _, err) = repl(&["--connect", "127.0.0.1:1"], "PING\n");
    assert!(code == 1 && err.contains("cannot connect to 127.0.0.1:1"), "{err}");
}

#[test]
fn against_a_server_with_a_password_and_one_that_goes_away() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let secret = home.path().join("secret");
    fs::write(&secret, "hush\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let path: &'static str = secret.to_str().unwrap().to_owned().leak();
    let more: &'static [&'static str] = vec!["--requirepass-file", path].leak();
    let mut server = Server::start(&Options { more, ..Options::default() });
    let address = format!("127.0.0.1:{}", server.port());
    let connect = ["--connect", &address];
    let (code, _, err) = repl(&connect, "SET a 1\n");
    assert!(code == 1 && err.contains("NOAUTH"), "{err}");
    let login = [&connect[..], &["--password-file", path]].concat();
    assert_eq!(repl(&login, "SET a 1\nGET a\n"), (0, "OK\n1\n".into(), String::new()));
    assert_eq!(repl(&connect, "AUTH hush\nGET a\n").1, "OK\n1\n");
    fs::write(&secret, "wrong\n").unwrap();
    let (code, _, err) = repl(&login, "GET a\n");
    assert!(code == 1 && err.contains("refuses the login") && err.contains("WRONGPASS"), "{err}");
    // The connection breaks: said once, with its line, and no more is tried.
    let (code, _, err) = repl(&connect, "AUTH hush\nSHUTDOWN\nGET a\nGET b\n");
    assert_eq!(code, 1);
    assert!(err.starts_with("line 2: ") && err.lines().count() == 1, "{err}");
    assert_eq!(server.wait_exit().code, Some(0));
}

#[test]
fn json_is_one_object_for_each_reply() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let words = [&on(&dir)[..], &["--json"]].concat();
    let script =
        "SET k \"\\xff\"\nGET k\nGET absent\nNOSUCH\nCONFIG GET port*\nSCAN\nSTATS\nBATCH 10 5\n";
    let (code, out, err) = repl(&words, script);
    assert_eq!(code, 1, "{err}");
    let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 8, "{out}");
    assert_eq!(objects[0]["reply"], "OK");
    assert_eq!(objects[1]["reply"]["base64"], "/w==");
    assert!(objects[2]["reply"].is_null() && objects[2]["command"] == "GET absent");
    assert!(objects[3]["error"].as_str().unwrap().starts_with("ERR unknown command"));
    assert!(objects[4]["reply"]["port"].is_string(), "{}", objects[4]);
    assert_eq!(objects[5]["reply"][0]["type"], "string");
    assert_eq!(objects[5]["is_all"], true);
    assert!(objects[6]["reply"]["lsm"]["level_bytes"].is_array());
    assert_eq!(objects[7]["reply"]["records"], 10);
    assert!(objects.iter().take(5).all(|object| object["time_us"].is_u64()));
    assert!(err.starts_with("line 4: "), "{err}");
}

#[test]
fn a_thousand_records_in_a_batch() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let (code, out, err) = repl(&on(&dir), "BATCH 1000\nDBSIZE\nBATCH 0\n");
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("1,000 records of 100 bytes in ") && out.contains(" a second"), "{out}");
    assert!(out.contains("a command") && out.contains("a batch") && out.contains("p99.9"), "{out}");
    assert!(out.ends_with("\n1000\n"), "{out}");
    assert!(err.contains("line 3: (error) BATCH takes 1 to"), "{err}");
    let (_, out, _) = repl(&on(&dir), "SCAN batch: LIMIT 3\nSCAN 0 COUNT 5000 MATCH batch:*999\n");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("key") && lines[0].contains("ttl"), "{out}");
    assert_eq!(lines.iter().filter(|line| line.contains("string")).count(), 3, "{out}");
    // A number first: the server's own SCAN, which answers a cursor and a page of one shard.
    assert!(lines[4].parse::<u64>().is_ok(), "{out}");
}

#[test]
fn keys_by_prefix_with_sizes_and_ttl() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let words = [&on(&dir)[..], &["--json"]].concat();
    let script = "SET user:2 bb\nSET user:1 a EX 1000\nSET user*x 1\nSET visit:1 x\nSET 2024:1 y\n\
                  SCAN user:\nSCAN user*\nSCAN \"2024\"\nSCAN user: LIMIT 1\nSCAN nothing\nSCAN a b\n";
    let (code, out, _) = repl(&words, script);
    assert_eq!(code, 1, "the last one is wrong");
    let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |at: usize| {
        let rows = objects[at]["reply"].as_array().unwrap();
        rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(5), ["user:1", "user:2"]);
    assert_eq!(objects[5]["reply"][1]["bytes"], 2);
    assert!(objects[5]["reply"][0]["ttl_ms"].as_u64().unwrap() <= 1_000_000);
    assert!(objects[5]["reply"][1]["ttl_ms"].is_null());
    assert_eq!(keys(6), ["user*x"], "no pattern");
    assert_eq!(keys(7), ["2024:1"]);
    assert_eq!((keys(8).len(), &objects[8]["is_all"]), (1, &Value::Bool(false)));
    assert!(keys(9).is_empty());
}

#[test]
fn help_tells_of_the_server_s_commands() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let dir = home.path().join("d");
    let (code, out, err) =
        repl(&on(&dir), "HELP\nHELP set\nHELP client kill\nSTATS\nHELP nosuch\n");
    assert_eq!(code, 1);
    for part in [
        "BATCH n [VALUE_BYTES]",
        "SUBSCRIBE",
        "SET key value",
        "CLIENT KILL",
        "--- DB Stats ---",
        "tables L0-L6",
    ] {
        assert!(out.contains(part), "no {part:?} in\n{out}");
    }
    assert!(err.contains("no help on nosuch"), "{err}");
}

#[test]
fn on_a_terminal_with_a_history_that_holds_no_password() {
    if is_stand_in() {
        return;
    }
    let home = temp_dir();
    let command = format!("{} repl --data-dir d", program().display());
    let input = "SET k value\nGET k\nGET absent\nAUTH hush\nCONFIG SET requirepass hush\nMULTI\nDISCARD\nNOSUCH\n";
    let Some((code, shown)) = typed(&command, input, home.path()) else { return };
    assert_eq!(code, 0, "{shown}");
    for part in [
        "rusty-lsm> ",
        "\"value\"",
        "Key not found",
        "(TX)>",
        "\x1b[31m(error) ERR unknown command",
        "ms)",
    ] {
        assert!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let history = home.path().join("state/rusty-lsm/history");
    let text = fs::read_to_string(&history).unwrap();
    assert!(text.contains("SET k value") && text.contains("MULTI"), "{text}");
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
