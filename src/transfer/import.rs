//! Items of a file to commands of a client, many under way at once.
//!
//! # Invariants
//! - At most `COMMANDS_MAX` commands and about `BYTES_MAX` bytes are unanswered; with more both sides would wait for each
//!   other. A longer value is one command.
//! - Commands are sent in the order of the file: the last value of a key stays.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::{Entry, Item, Skipped, TransferError};
use crate::client::{Client, Reply};
use crate::config::parse_size;
use crate::limits::REQUEST_SLACK_BYTES;

/// Commands that are under way at once.
const COMMANDS_MAX: usize = 1_000;
/// Bytes of them: less than the two sockets hold and the server reads ahead.
const BYTES_MAX: usize = 256 << 10;

/// Keys that are told as examples.
const EXAMPLE_BYTES_MAX: usize = 64;

/// What becomes of a key that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the import has failed in that.
    Refuse,
    Replace,
    /// It stays, as is meant.
    Skip,
}

/// What an import is told.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub existing: Existing,
    /// Values end when the file says so; else never.
    pub keeps_ttl: bool,
}

/// What came of an import, so far or in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Keys that were set.
    pub keys: u64,
    /// Commands that were carried out as they stood (AOF).
    pub commands: u64,
    /// Of the keys' names and values.
    pub bytes: u64,
    pub skipped: BTreeMap<Skipped, u64>,
    /// The first refusal, with its key.
    pub refusal: Option<String>,
    /// Times that commands were sent and answers awaited.
    pub round_trips: u64,
}

impl Summary {
    pub fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }

    pub fn skipped(&self, why: Skipped) -> u64 {
        self.skipped.get(&why).copied().unwrap_or(0)
    }
}

/// What an answer is for.
#[derive(Debug)]
enum Sent {
    /// Its length, and the beginning of its key.
    Key(u64, Vec<u8>),
    Command(Vec<u8>),
}

/// Sends what it is given; without a client it only counts.
pub struct Importer {
    client: Option<Client>,
    rules: Rules,
    /// Longest value that the target takes; it closes connections that send more.
    value_bytes_max: usize,
    sent: VecDeque<Sent>,
    bytes: usize,
    pub summary: Summary,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Importer").field("summary", &self.summary).finish_non_exhaustive()
    }
}

impl Importer {
    /// Asks the target what it takes. `None`: nothing is sent, and all is counted as if it were taken.
    ///
    /// # Errors
    /// The target does not answer, or wants a login.
    pub fn new(mut client: Option<Client>, rules: Rules) -> Result<Self, TransferError> {
        let mut value_bytes_max = shard::limits::VALUE_BYTES_CAP;
        if let Some(client) = &mut client {
            let reply = client.command(&["CONFIG", "GET", "proto-max-bulk-len"])?;
            if let Some(error) = reply.error().filter(|error| is_of_the_server(error)) {
                return Err(TransferError::Server(error.to_owned()));
            }
            // Who does not say takes what is usual.
            let said = reply.items().and_then(|items| items.get(1)).and_then(Reply::bytes);
            let said = said.and_then(|text| std::str::from_utf8(text).ok());
            let said = said.and_then(|text| parse_size(text).ok());
            value_bytes_max =
                said.and_then(|max| usize::try_from(max).ok()).unwrap_or(value_bytes_max);
        }
        let (sent, bytes, summary) = (VecDeque::new(), 0, Summary::default());
        Ok(Self { client, rules, value_bytes_max, sent, bytes, summary })
    }

    /// Takes the next item of the file.
    ///
    /// # Errors
    /// The connection broke, or the server takes nothing any more.
    pub fn take(&mut self, item: Item) -> Result<(), TransferError> {
        match item {
            Item::Skip(why) => self.summary.skip(why),
            Item::Set(entry) => return self.set(&entry),
            Item::Command(words) => return self.command(words),
        }
        Ok(())
    }

    fn set(&mut self, entry: &Entry) -> Result<(), TransferError> {
        let Entry { key, value, expires_at_ms } = entry;
        if *expires_at_ms > 0 && *expires_at_ms <= now_ms() {
            self.summary.skip(Skipped::Expired);
            return Ok(());
        }
        if value.len() > self.value_bytes_max || key.len() > self.value_bytes_max {
            self.summary.skip(Skipped::TooLong);
            return Ok(());
        }
        let mut words: Vec<&[u8]> = vec![b"SET", key, value];
        if self.rules.existing != Existing::Replace {
            words.push(b"NX");
        }
        let mut digits = itoa::Buffer::new();
        if *expires_at_ms > 0 && self.rules.keeps_ttl {
            words.push(b"PXAT");
            words.push(digits.format(*expires_at_ms).as_bytes());
        }
        let bytes = (key.len() + value.len()) as u64;
        let beginning = key[..key.len().min(EXAMPLE_BYTES_MAX)].to_vec();
        self.send(&words, Sent::Key(bytes, beginning))
    }

    fn command(&mut self, mut words: Vec<Vec<u8>>) -> Result<(), TransferError> {
        if !self.rules.keeps_ttl && !drop_ttl(&mut words) {
            return Ok(());
        }
        let bytes = words.iter().map(Vec::len).sum::<usize>();
        // What a server takes of one command is a value and what may lie around it.
        if words.iter().any(|word| word.len() > self.value_bytes_max)
            || bytes > self.value_bytes_max + REQUEST_SLACK_BYTES as usize
        {
            self.summary.skip(Skipped::TooLong);
            return Ok(());
        }
        let name = words.first().cloned().unwrap_or_default();
        self.send(&words, Sent::Command(name))
    }

    fn send<W: AsRef<[u8]>>(&mut self, words: &[W], sent: Sent) -> Result<(), TransferError> {
        let bytes = words.iter().map(|word| word.as_ref().len() + 16).sum::<usize>();
        if !self.sent.is_empty()
            && (self.sent.len() == COMMANDS_MAX || self.bytes + bytes > BYTES_MAX)
        {
            self.settle()?;
        }
        let Some(client) = &mut self.client else {
            return self.answered(&sent, &Reply::Status("OK".into()));
        };
        client.queue(words);
        self.bytes += bytes;
        self.sent.push_back(sent);
        Ok(())
    }

    /// Sends what waits, and takes the answers.
    ///
    /// # Errors
    /// As [`Importer::take`].
    pub fn settle(&mut self) -> Result<(), TransferError> {
        let Some(client) = self.client.as_mut().filter(|_| !self.sent.is_empty()) else {
            return Ok(());
        };
        client.send()?;
        self.bytes = 0;
        self.summary.round_trips += 1;
        while let Some(sent) = self.sent.pop_front() {
            let Some(client) = &mut self.client else { break };
            let reply = client.receive()?;
            self.answered(&sent, &reply)?;
        }
        Ok(())
    }

    fn answered(&mut self, sent: &Sent, reply: &Reply) -> Result<(), TransferError> {
        if let Some(error) = reply.error() {
            if is_of_the_server(error) {
                return Err(TransferError::Server(error.to_owned()));
            }
            self.summary.skip(Skipped::Refused);
            let (Sent::Key(_, what) | Sent::Command(what)) = sent;
            let refusal = || format!("'{}': {error}", String::from_utf8_lossy(what).escape_debug());
            self.summary.refusal.get_or_insert_with(refusal);
            return Ok(());
        }
        match (sent, reply) {
            (Sent::Key(..), Reply::Nil) => self.summary.skip(Skipped::Exists),
            (Sent::Key(bytes, _), _) => {
                self.summary.keys += 1;
                self.summary.bytes += bytes;
            }
            (Sent::Command(_), _) => self.summary.commands += 1,
        }
        Ok(())
    }

    /// Whether the target has keys.
    ///
    /// # Errors
    /// As [`Importer::take`].
    pub fn target_has_keys(&mut self) -> Result<bool, TransferError> {
        let Some(client) = &mut self.client else { return Ok(false) };
        let reply = client.command(&["RANDOMKEY"])?;
        match reply.error() {
            Some(error) => Err(TransferError::Server(error.to_owned())),
            None => Ok(reply != Reply::Nil),
        }
    }
}

/// Whether an error is about the server's state, and not about the command: the next one would fail as well.
fn is_of_the_server(error: &str) -> bool {
    !error.starts_with("ERR ") && !error.starts_with("WRONGTYPE") && !error.starts_with("BUSYKEY")
}

/// Takes the end of a value out of a command; `false`: nothing is left of it.
fn drop_ttl(words: &mut Vec<Vec<u8>>) -> bool {
    let name = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    match name.as_slice() {
        b"expire" | b"pexpire" | b"expireat" | b"pexpireat" | b"persist" | b"getex" => {
            return false;
        }
        b"setex" | b"psetex" if words.len() == 4 => {
            words[0] = b"SET".to_vec();
            words.remove(2);
        }
        b"set" => {
            let is_time = |word: &[u8]| {
                ["ex", "px", "exat", "pxat"]
                    .iter()
                    .any(|option| word.eq_ignore_ascii_case(option.as_bytes()))
            };
            if let Some(at) = words.iter().skip(3).position(|word| is_time(word)) {
                let from = at + 3;
                let upto = words.len().min(from + 2);
                words.drain(from..upto);
            }
        }
        _ => {}
    }
    true
}

/// Wall clock, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(line: &str) -> Option<String> {
        let mut words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let text = |words: Vec<Vec<u8>>| String::from_utf8(words.join(&b' ')).unwrap();
        drop_ttl(&mut words).then(|| text(words))
    }

    #[test]
    fn an_end_is_taken_out_of_a_command() {
        assert_eq!(dropped("SET k v PXAT 5 NX").unwrap(), "SET k v NX");
        assert_eq!(dropped("set k px").unwrap(), "set k px");
        assert_eq!(dropped("SETEX k 5 v").unwrap(), "SET k v");
        assert_eq!(dropped("PEXPIREAT k 5"), None);
        assert_eq!(dropped("APPEND k ex").unwrap(), "APPEND k ex");
    }

    #[test]
    fn without_a_client_all_is_counted() {
        let rules = Rules { existing: Existing::Refuse, keeps_ttl: true };
        let mut importer = Importer::new(None, rules).unwrap();
        let entry =
            |expires_at_ms| Entry { key: b"k".to_vec(), value: b"vv".to_vec(), expires_at_ms };
        for item in [
            Item::Set(entry(0)),
            Item::Set(entry(u64::MAX)),
            Item::Set(entry(1)),
            Item::Skip(Skipped::Kind("list")),
            Item::Command(vec![b"DEL".to_vec(), b"k".to_vec()]),
        ] {
            importer.take(item).unwrap();
        }
        importer.settle().unwrap();
        let summary = importer.summary;
        assert_eq!((summary.keys, summary.commands, summary.bytes), (2, 1, 6));
        assert_eq!(summary.skipped(Skipped::Expired), 1);
        assert_eq!(summary.skipped(Skipped::Kind("list")), 1);
        assert_eq!(summary.round_trips, 0);
    }

    #[test]
    fn an_error_of_the_server_is_told_from_one_of_a_command() {
        assert!(is_of_the_server("MISCONF disk full") && is_of_the_server("NOAUTH x"));
        assert!(!is_of_the_server("ERR key is 65537 bytes long, the limit is 65536"));
    }
}
