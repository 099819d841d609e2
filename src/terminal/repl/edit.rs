//! The line that a person types: history in a file of its own, completion and hints from the commands' docs.

use std::borrow::Cow;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::docs::Docs;
use super::{Outcome, Session};
use crate::resp;
use crate::terminal::style::Style;
use crate::terminal::{complain, print, render};

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 10_000;

/// Reads lines and runs them until Ctrl-D.
///
/// # Errors
/// The terminal.
pub(super) fn talk(session: &mut Session) -> io::Result<()> {
    let style = session.style;
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(io::Error::other)?
        .completion_type(CompletionType::List)
        .bracketed_paste(true)
        .build();
    let mut editor: Editor<Typist, FileHistory> =
        Editor::with_config(config).map_err(io::Error::other)?;
    editor.set_helper(Some(Typist { docs: session.docs(), style }));
    let history = history_file();
    if let Some(path) = &history {
        // One that cannot be read is as good as none.
        let _ = editor.load_history(path);
    }
    greet(session);
    loop {
        if let Some(note) = session.link.take_note() {
            complain(&style.yellow(note));
        }
        let line = match editor.readline(&prompt(session)) {
            Ok(line) => line,
            // Ctrl-C: the line is cleared.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error)),
        };
        if !line.trim().is_empty() && !is_secret(line.as_bytes()) {
            // A history that cannot be written is no reason to stop.
            let _ = editor.add_history_entry(&line);
            if let Some(path) = &history {
                let _ = editor.append_history(path);
            }
        }
        session.interrupt.forget();
        match session.run(line.as_bytes()) {
            Outcome::Done => {}
            Outcome::Ends => return Ok(()),
            Outcome::Failed(text) => {
                print(&format!("{}\n", style.red(format!("(error) {}", render::printable(&text)))));
            }
            Outcome::Interrupted(text) => complain(&style.yellow(text)),
            Outcome::Lost(text) => {
                session.in_transaction = false;
                complain(&style.red(format!("{text}; the next command connects again")));
            }
        }
    }
}

fn greet(session: &Session) {
    let what = if session.link.is_embedded() {
        "on a directory of its own, no server".to_owned()
    } else {
        session.link.place()
    };
    let version = env!("CARGO_PKG_VERSION");
    print(&format!(
        "rusty-lsm {version}: {what}. HELP lists commands, Tab completes, Ctrl-D ends.\n"
    ));
}

fn prompt(session: &Session) -> String {
    let place = session.link.place();
    match (session.link.is_connected(), session.in_transaction) {
        (false, _) => format!("{place} (not connected)> "),
        (true, true) => format!("{place} (TX)> "),
        (true, false) => format!("{place}> "),
    }
}

/// Whether a line may hold a password, which no file is to keep.
pub(super) fn is_secret(line: &[u8]) -> bool {
    // A line that is no command is not understood, and may be one with a slip in it.
    let words = resp::words(line)
        .unwrap_or_else(|| line.split(u8::is_ascii_whitespace).map(<[u8]>::to_vec).collect());
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let has =
        |word: &[u8], part: &str| String::from_utf8_lossy(word).to_ascii_lowercase().contains(part);
    let is_acl = words.first().is_some_and(|first| is(first, "acl"));
    let is_config = words.first().is_some_and(|first| is(first, "config"));
    words.iter().any(|word| is(word, "auth") || is(word, "auth2") || has(word, "\"auth"))
        || (is_acl && words.get(1).is_some_and(|second| has(second, "setuser")))
        || (is_config && words.iter().any(|word| has(word, "pass") || has(word, "auth")))
}

/// `$XDG_STATE_HOME/rusty-lsm/history`, made if need be, for its owner alone. `None`: there is no place for it.
fn history_file() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    make_history(&state.join("rusty-lsm")).ok()
}

fn make_history(dir: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join("history");
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// What helps while a line is typed.
struct Typist {
    docs: Rc<Docs>,
    style: Style,
}

impl Helper for Typist {}

impl Validator for Typist {}

/// How a command goes on: shown behind the cursor, never inserted.
struct UsageHint(String);

impl Hint for UsageHint {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Typist {
    type Hint = UsageHint;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<UsageHint> {
        if pos < line.len() {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let hint = self.docs.hint(&words)?;
        let space = if line.ends_with(char::is_whitespace) { "" } else { " " };
        Some(UsageHint(format!("{space}{hint}")))
    }
}

impl Highlighter for Typist {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.style.dim(hint))
    }
}

impl Completer for Typist {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or_default();
        let start = typed.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let mut words: Vec<&str> = typed[..start].split_whitespace().collect();
        words.push(&typed[start..]);
        Ok((start, self.docs.completions(&words)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_passwords_are_not_kept() {
        for line in [
            "AUTH secret",
            " auth user secret",
            "\"AUTH\" secret",
            "HELLO 3 AUTH default secret SETNAME x",
            "CONFIG SET requirepass secret",
            "config set port 1 masterauth secret",
            "ACL SETUSER bob >secret",
            "MIGRATE host 1 k 0 1 AUTH2 u p",
            "AUTH \"not closed",
        ] {
            assert!(is_secret(line.as_bytes()), "{line}");
        }
        for line in ["SET author me", "GET passport", "CONFIG GET maxmemory", "ACL LIST", ""] {
            assert!(!is_secret(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn the_history_is_its_owners() {
        let home = tempfile::tempdir().unwrap();
        let path = make_history(&home.path().join("a/b")).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        make_history(path.parent().unwrap()).unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
