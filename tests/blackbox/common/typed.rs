//! A program on a pseudo terminal, with keys that somebody types; util-linux' `script` makes one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::server::skip;

/// Runs `command` in `home` and types these lines, then Ctrl-D. Answers its exit code and all that was shown; `None`: `script` is not
/// installed, and that was said.
pub(crate) fn typed(command: &str, lines: &str, home: &Path) -> Option<(i32, String)> {
    let keys = home.join("typed");
    fs::write(&keys, lines).unwrap();
    // With pauses, as a person types: a terminal that is switched over may drop what came before.
    let keys = format!(
        "(sleep 1; while IFS= read -r line; do printf '%s\\n' \"$line\"; sleep 0.3; done < {}; printf '\\004'; sleep 1)",
        keys.display()
    );
    let line = format!("{keys} | script -qefc 'stty rows 50 cols 120; exec {command}' /dev/null");
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env("TERM", "xterm").env("XDG_STATE_HOME", home.join("state"));
    shell.env_remove("NO_COLOR").current_dir(home);
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if text.contains("script: not found") {
        skip("util-linux' script is not installed");
        return None;
    }
    Some((output.status.code().unwrap(), text))
}
