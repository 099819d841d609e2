//! Commands from a pipe, a line each, or from `-c`: no prompt; errors on the error output with their line.

use std::io::{BufRead as _, Read as _};

use super::{Outcome, Session};
use crate::terminal::{complain, render};

/// Bytes of one line: the longest value, escaped.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Runs the lines of the input. Answers whether none failed.
pub(super) fn lines(session: &mut Session) -> bool {
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    let mut all_done = true;
    for number in 1_u64.. {
        line.clear();
        match input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(count) if count as u64 > LINE_BYTES_MAX => {
                complain(&format!("line {number}: longer than {LINE_BYTES_MAX} bytes"));
                return false;
            }
            Ok(_) => {}
            Err(error) => {
                complain(&format!("line {number}: cannot be read: {error}"));
                return false;
            }
        }
        if line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        match told(session.run(&line), &format!("line {number}")) {
            Some(Next::Go) => {}
            Some(Next::GoFailed) => all_done = false,
            Some(Next::Stop) => return false,
            None => break,
        }
    }
    all_done
}

/// Runs the commands of the command line. Answers whether none failed.
pub(super) fn words(session: &mut Session, commands: &[String]) -> bool {
    let mut all_done = true;
    for command in commands {
        match told(session.run(command.as_bytes()), &format!("'{command}'")) {
            Some(Next::Go) => {}
            Some(Next::GoFailed) => all_done = false,
            Some(Next::Stop) => return false,
            None => break,
        }
    }
    all_done
}

enum Next {
    Go,
    GoFailed,
    Stop,
}

/// Says what went wrong. `None`: it asked for the end.
fn told(outcome: Outcome, what: &str) -> Option<Next> {
    match outcome {
        Outcome::Done => Some(Next::Go),
        Outcome::Ends => None,
        Outcome::Failed(text) => {
            complain(&format!("{what}: (error) {}", render::printable(&text)));
            Some(Next::GoFailed)
        }
        // Every further line would say the same.
        Outcome::Lost(text) | Outcome::Interrupted(text) => {
            complain(&format!("{what}: {}", render::printable(&text)));
            Some(Next::Stop)
        }
    }
}
