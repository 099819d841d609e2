//! Redis and the server under test, and which commands each has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::{Options, Server, program, skip};
use crate::wire::{Command, Wire, elements, string};

/// Shapes of a command that came later than its name: a server that refuses the probe does not have it yet.
const SHAPES: &[Shape] = &[Shape {
    name: "set with options",
    probe: &["SET", "probe", "1", "EX", "400000"],
    needed: |words| words[0].eq_ignore_ascii_case(b"set") && words.len() > 3,
}];

struct Shape {
    name: &'static str,
    probe: &'static [&'static str],
    needed: fn(&Command) -> bool,
}

/// The two that are compared.
#[derive(Debug)]
pub(crate) struct Pair {
    redis: Server,
    ours: Server,
    /// Of what stands before ours.
    proxy: Option<u16>,
    /// Names in Redis' COMMAND that ours does not have, subcommands as `client|list`.
    lacking: BTreeSet<String>,
    shapes_lacking: BTreeSet<&'static str>,
}

impl Pair {
    /// `None`, said aloud, where `redis-server` is not installed (`scripts/test` installs it).
    pub(crate) fn start(shards: u32) -> Option<Self> {
        Self::of(&program(), shards)
    }

    /// Redis twice: as if it were both.
    pub(crate) fn redis_twice() -> Option<Self> {
        Self::of(&redis_program()?, 1)
    }

    fn of(program: &Path, shards: u32) -> Option<Self> {
        let redis = redis_program()?;
        // Nothing of this is about durability: no sync on either side.
        let options = Options { sync: Some("no"), ..Options::default() };
        let redis = Server::start_program(&redis, &options);
        let ours = Server::start_program(
            program,
            &Options { shards: Some(shards), more: &["--flushdb", "erase"], ..options },
        );
        let (theirs, had) = (names(&redis), names(&ours));
        // A container that names no subcommand answers them all.
        let answers_all = |name: &str| {
            name.split_once('|').is_some_and(|(container, _)| {
                let begin = format!("{container}|");
                had.contains(container) && !had.iter().any(|name| name.starts_with(&begin))
            })
        };
        let lacking = theirs.difference(&had).filter(|name| !answers_all(name)).cloned().collect();
        let mut pair = Self { redis, ours, proxy: None, lacking, shapes_lacking: BTreeSet::new() };
        let mut wire = Wire::connect(pair.ours.port()).unwrap();
        for shape in SHAPES {
            if wire.ask(shape.probe).unwrap().starts_with(b"-") {
                pair.shapes_lacking.insert(shape.name);
            }
        }
        pair.erase();
        Some(pair)
    }

    pub(crate) fn redis_port(&self) -> u16 {
        self.redis.port()
    }

    pub(crate) fn our_port(&self) -> u16 {
        self.proxy.unwrap_or_else(|| self.ours.port())
    }

    /// From now on ours is reached by this port.
    pub(crate) fn reach_ours_by(&mut self, port: u16) {
        self.proxy = Some(port);
    }

    /// What ours lacks of what `words` needs; `None` if it has all, or if Redis does not have it either.
    pub(crate) fn lacks(&self, words: &Command) -> Option<String> {
        let name = lower(words, 0);
        if self.lacking.contains(&name) {
            return Some(name);
        }
        let sub = format!("{name}|{}", lower(words, 1));
        if self.lacking.contains(&sub) {
            return Some(sub);
        }
        // Which keys a command has is known of commands that are there.
        if sub == "command|getkeys" && self.lacking.contains(&lower(words, 2)) {
            return Some(lower(words, 2));
        }
        let mut shapes = SHAPES.iter().filter(|shape| self.shapes_lacking.contains(shape.name));
        shapes.find(|shape| (shape.needed)(words)).map(|shape| shape.name.to_owned())
    }

    /// All that ours lacks.
    pub(crate) fn lacking_count(&self) -> usize {
        self.lacking.len() + self.shapes_lacking.len()
    }

    /// No keys on either side.
    pub(crate) fn erase(&self) {
        for port in [self.redis.port(), self.ours.port()] {
            let mut wire = Wire::connect(port).unwrap();
            assert_eq!(wire.ask(&["FLUSHALL"]).unwrap(), b"+OK\r\n", "FLUSHALL on port {port}");
        }
    }
}

/// Whether Redis stands in for ours.
pub(crate) fn redis_stands_in() -> bool {
    program().file_name().is_some_and(|name| name == "redis-server")
}

fn redis_program() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .map(|dir| dir.join("redis-server"))
        .find(|path| path.is_file());
    if found.is_none() {
        skip("redis-server is not installed");
    }
    found
}

fn lower(words: &Command, at: usize) -> String {
    let word = words.get(at).map(Vec::as_slice).unwrap_or_default();
    String::from_utf8_lossy(word).to_ascii_lowercase()
}

/// The names in a server's COMMAND, with those of subcommands.
fn names(server: &Server) -> BTreeSet<String> {
    let reply = Wire::connect(server.port()).unwrap().ask(&["COMMAND"]).unwrap();
    let mut found = BTreeSet::new();
    gather(&reply, &mut found);
    assert!(found.contains("get"), "COMMAND names no GET on port {}", server.port());
    found
}

fn gather(entries: &[u8], found: &mut BTreeSet<String>) {
    const SUBCOMMANDS: usize = 9;
    for entry in elements(entries).unwrap_or_default() {
        let entry = elements(entry).unwrap_or_default();
        let Some(name) = entry.first().and_then(|name| string(name)) else { continue };
        found.insert(String::from_utf8_lossy(name).to_ascii_lowercase());
        if let Some(subcommands) = entry.get(SUBCOMMANDS) {
            gather(subcommands, found);
        }
    }
}
