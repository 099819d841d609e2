//! Commands typed or piped.
//!
//! - `edit`: the line, its history, what completes it. `script`: lines from a pipe or the command line.
//! - `commands`: which command is whose; ours beside the server's. `batch`, `scan`, `stats`, `stream`: one each.
//! - `docs`: what is known of the commands: help, hints and completion.

mod batch;
mod commands;
mod docs;
mod edit;
mod scan;
mod script;
mod stats;
mod stream;

use std::cell::OnceCell;
use std::io::IsTerminal as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;

use self::docs::Docs;
use super::link::{Link, LinkError, Login};
use super::style::Style;
use super::{Interrupt, complain, print, render};
use crate::cli::ReplArgs;
use crate::client::Reply;
use crate::error::ServerError;

/// How replies look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Pretty,
    Raw,
    Json,
}

/// What became of a line.
#[derive(Debug)]
enum Outcome {
    /// Its reply was printed.
    Done,
    /// Why it failed, to be printed.
    Failed(String),
    /// The connection is gone.
    Lost(String),
    /// Ctrl-C ended it.
    Interrupted(String),
    /// It asks for the end.
    Ends,
}

impl From<LinkError> for Outcome {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Interrupted => Self::Interrupted(error.to_string()),
            error => Self::Lost(error.to_string()),
        }
    }
}

/// What the commands of one run share.
struct Session {
    link: Link,
    format: Format,
    style: Style,
    interrupt: Interrupt,
    /// A person sits there: times are shown, and what is told beside the replies.
    is_interactive: bool,
    /// Between MULTI and EXEC.
    in_transaction: bool,
    docs: OnceCell<Rc<Docs>>,
}

/// Runs commands until their end. Answers whether none failed; interactive, failures are part of the talk.
///
/// # Errors
/// As a start, for a data directory; the terminal.
pub fn repl(args: &ReplArgs) -> Result<bool, ServerError> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let is_interactive = args.command.is_empty() && is_terminal;
    let login = match Login::of(&args.login) {
        Ok(login) => login,
        Err(error) => {
            complain(&format!("rusty-lsm: {error}"));
            return Ok(false);
        }
    };
    let mut link = match &args.connect {
        Some(address) => Link::remote(address, login),
        None => embedded(args)?,
    };
    if let Err(error) = link.client() {
        complain(&format!("rusty-lsm: {error}"));
        return Ok(false);
    }
    let mut session = Session {
        link,
        format: format(args),
        style: Style::of_output(),
        interrupt: Interrupt::watch().map_err(ServerError::Runtime)?,
        is_interactive,
        in_transaction: false,
        docs: OnceCell::new(),
    };
    let all_done = if is_interactive {
        edit::talk(&mut session).map_err(ServerError::Runtime)?;
        true
    } else if args.command.is_empty() {
        script::lines(&mut session)
    } else {
        script::words(&mut session, &args.command)
    };
    session.link.close()?;
    Ok(all_done)
}

fn embedded(args: &ReplArgs) -> Result<Link, ServerError> {
    Link::embedded(args.data_dir.as_deref(), &args.set).inspect_err(|error| {
        if matches!(error, ServerError::Locked { .. }) {
            complain("a server has it open? talk to that: rusty-lsm repl --connect 127.0.0.1:8080");
        }
    })
}

fn format(args: &ReplArgs) -> Format {
    if args.json {
        return Format::Json;
    }
    let is_raw = args.raw || (!args.no_raw && !std::io::stdout().is_terminal());
    if is_raw { Format::Raw } else { Format::Pretty }
}

impl Session {
    /// What is known of the commands; asked for once.
    fn docs(&mut self) -> Rc<Docs> {
        if let Some(docs) = self.docs.get() {
            return Rc::clone(docs);
        }
        let docs = self.link.command(&["COMMAND", "DOCS"], &self.interrupt);
        let docs = docs.ok().and_then(|reply| Docs::of(&reply)).unwrap_or_else(Docs::ours);
        Rc::clone(self.docs.get_or_init(|| Rc::new(docs)))
    }

    /// Prints the reply to `line`, or answers why it is an error.
    fn show(&self, line: &[u8], reply: &Reply, took: Duration) -> Outcome {
        if self.format == Format::Json {
            print(&format!("{}\n", object(line, reply, took)));
        }
        if let Reply::Error(text) = reply {
            return Outcome::Failed(text.clone());
        }
        match self.format {
            Format::Json => {}
            Format::Raw => {
                let mut out = Vec::new();
                render::raw(reply, &mut out);
                out.push(b'\n');
                self.write(&out);
            }
            Format::Pretty => self.say(&render::pretty(reply), took),
        }
        Outcome::Done
    }

    /// Bytes as they are.
    #[expect(clippy::unused_self, reason = "beside `say`")]
    fn write(&self, bytes: &[u8]) {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        // A closed pipe is not our failure.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// Text, and for a person what it took.
    fn say(&self, text: &str, took: Duration) {
        if !self.is_interactive {
            return print(&format!("{text}\n"));
        }
        let took = self.style.dim(format!("({})", shown(took)));
        let between = match text {
            "" => "",
            text if text.contains('\n') => "\n",
            _ => "  ",
        };
        print(&format!("{text}{between}{took}\n"));
    }
}

/// A reply and what belongs to it, on one line.
fn object(line: &[u8], reply: &Reply, took: Duration) -> serde_json::Value {
    let command = String::from_utf8_lossy(line.trim_ascii());
    let time_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match reply {
        Reply::Error(text) => json!({ "command": command, "error": text, "time_us": time_us }),
        reply => {
            json!({ "command": command, "reply": render::json(reply), "time_us": time_us })
        }
    }
}

/// Time for people.
fn shown(time: Duration) -> String {
    super::micros(time.as_secs_f64() * 1e6)
}

/// Runs `work` and answers how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}
