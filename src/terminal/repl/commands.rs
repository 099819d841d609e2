//! Which command is whose: a few are ours, all others go to the server as they were typed.

use super::{Format, Outcome, Session, batch, scan, stats, stream, timed};
use crate::client::Reply;
use crate::resp;
use crate::terminal::print;

/// What is printed for a key that is not there.
const NOT_FOUND: &str = "Key not found";

impl Session {
    /// Runs one line; nothing but blanks is done at once.
    pub(super) fn run(&mut self, line: &[u8]) -> Outcome {
        let Some(mut words) = resp::words(line) else {
            return Outcome::Failed(
                "a quote is not closed, or something follows a closing quote without a space"
                    .into(),
            );
        };
        let Some(name) = words.first() else { return Outcome::Done };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        match (name.as_str(), words.len()) {
            ("EXIT" | "QUIT", 1) => Outcome::Ends,
            // There is no server beside this process that could end.
            ("SHUTDOWN", _) if self.link.is_embedded() => Outcome::Ends,
            ("HELP" | "?", _) => self.help(&words[1..]),
            ("SCAN", _) if scan::is_ours(line, &words) => scan::run(self, line, &words[1..]),
            ("STATS", 1) => stats::run(self, line),
            ("BATCH", _) => batch::run(self, line, &words[1..]),
            ("SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR", _) => {
                stream::run(self, line, &words)
            }
            ("CLIENT", 3..) if is_mute(&words) => Outcome::Failed(
                "CLIENT REPLY OFF and SKIP leave commands without a reply to show here".into(),
            ),
            ("GET", 2) => self.get(line, &words),
            ("DELETE", _) => {
                words[0] = b"DEL".to_vec();
                self.forward(line, &words)
            }
            _ => self.forward(line, &words),
        }
    }

    fn get(&mut self, line: &[u8], words: &[Vec<u8>]) -> Outcome {
        let (reply, took) = timed(|| self.link.command(words, &self.interrupt));
        match reply {
            Ok(Reply::Nil) if self.format != Format::Json => {
                self.say(NOT_FOUND, took);
                Outcome::Done
            }
            Ok(reply) => self.show(line, &reply, took),
            Err(error) => error.into(),
        }
    }

    fn forward(&mut self, line: &[u8], words: &[Vec<u8>]) -> Outcome {
        let (reply, took) = timed(|| self.link.command(words, &self.interrupt));
        match reply {
            Ok(reply) => {
                self.follow(&words[0], &reply);
                self.show(line, &reply, took)
            }
            Err(error) => {
                self.in_transaction = false;
                error.into()
            }
        }
    }

    /// Keeps in mind what the prompt shows.
    fn follow(&mut self, name: &[u8], reply: &Reply) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("MULTI") && reply.error().is_none() {
            self.in_transaction = true;
        } else if is("EXEC") || is("DISCARD") || is("RESET") {
            self.in_transaction = false;
        }
    }

    fn help(&mut self, words: &[Vec<u8>]) -> Outcome {
        let named: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let docs = self.docs();
        if named.is_empty() {
            print(&docs.overview());
            return Outcome::Done;
        }
        if let Some(text) = docs.help(&named.join(" "), self.style) {
            print(&text);
            return Outcome::Done;
        }
        let near = docs.like(&named[0]);
        let near = near.map_or(String::new(), |name| format!("; did you mean {name}"));
        Outcome::Failed(format!("no help on {}{near}; HELP lists all", named.join(" ")))
    }
}

/// `CLIENT REPLY OFF`, `CLIENT REPLY SKIP`.
fn is_mute(words: &[Vec<u8>]) -> bool {
    words[1].eq_ignore_ascii_case(b"REPLY") && !words[2].eq_ignore_ascii_case(b"ON")
}
