//! Golden scripts: layouts drawn as text, and what the pickers and `retain` say to them.
//!
//! A script is blocks of input, `---`, output, and a blank line; `#` begins a comment. `UPDATE_GOLDEN=1` rewrites the
//! output. Input of a block:
//!
//! ```text
//! L0: 12[a-f] 11[c-z,32]          tables: number[smallest-largest, MiB (16), tPER-CENT tombstones (0),
//!                                 ePER-CENT@FIRST>LAST expiring, sLARGEST SEQ (10 x number)]
//! running L1>2 [a-f] 7 8          a compaction under way: levels, hull, inputs
//! after L1 k                      the pointer of a level
//! targets | leveled | tiered | expired   the command, with `idle`, the time and thresholds (`at=0 l0=4 slow=12 base=64 width=4`)
//! retain L1>2 7 8: a9 b7x b3@5    entries in order (x: tombstone, @: expires then) through the merge of these inputs;
//! retain L1>2 at 6 7 8: ...       the same at the time 6
//! ```

#![expect(clippy::disallowed_methods, reason = "golden scripts are files of the repository")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::super::plan::{Busy, Plan, Reason};
use super::super::retain::Retain;
use super::super::{Pointers, Situation, expired, leveled, tiered};
use crate::expiry::Expiring;
use crate::key::{Entry, Kind, SeqNo};
use crate::manifest::edit::{TableMeta, VersionEdit};
use crate::manifest::version::Version;
use crate::options::CompactionThresholds;

const MIB: u64 = 1 << 20;

/// Everything a block sets up before its command.
#[derive(Default)]
struct Scene {
    version: Version<()>,
    busy: Busy,
    pointers: Pointers,
}

fn range(text: &str) -> (&str, &str) {
    text.split_once('-').expect("smallest-largest")
}

/// `12[a-f,32,t50,s7]`
fn table(text: &str) -> TableMeta {
    let (number, rest) = text.strip_suffix(']').and_then(|text| text.split_once('[')).expect(text);
    let number: u64 = number.parse().expect(text);
    let mut parts = rest.split(',');
    let (smallest, largest) = range(parts.next().expect(text));
    let mut meta = TableMeta {
        number,
        bytes: 16 * MIB,
        crc: 0,
        entries: 100,
        tombstones: 0,
        expiring: Expiring::default(),
        raw_bytes: 0,
        smallest: smallest.into(),
        largest: largest.into(),
        seq_min: 1,
        seq_max: number * 10,
    };
    for part in parts {
        match part.split_at(1) {
            ("t", percent) => meta.tombstones = percent.parse().expect(text),
            ("e", rest) => {
                let (percent, times) = rest.split_once('@').expect(text);
                let (first, last) = times.split_once('>').expect(text);
                meta.expiring = Expiring {
                    entries: percent.parse().expect(text),
                    first_ms: first.parse().expect(text),
                    last_ms: last.parse().expect(text),
                };
            }
            ("s", seq) => meta.seq_max = seq.parse().expect(text),
            _ => meta.bytes = part.parse::<u64>().expect(text) * MIB,
        }
    }
    meta
}

/// `1>2` and the inputs' numbers, looked up in the version.
fn plan(version: &Version<()>, levels: &str, numbers: &str) -> Plan {
    let (level, target) = levels.split_once('>').expect(levels);
    let (level, target) = (level.parse().expect(levels), target.parse().expect(levels));
    let wanted: Vec<u64> = numbers.split_whitespace().map(|n| n.parse().expect(n)).collect();
    let inputs: Vec<_> =
        version.tables().filter(|(_, table)| wanted.contains(&table.meta.number)).collect();
    assert_eq!(inputs.len(), wanted.len(), "{numbers}");
    Plan {
        level,
        target,
        inputs: inputs
            .iter()
            .map(|(level, table)| (u8::try_from(*level).unwrap(), table.meta.number))
            .collect(),
        trivial: false,
        drop: false,
        reason: Reason::LevelFull,
        smallest: inputs.iter().map(|(_, table)| table.meta.smallest.clone()).min().unwrap(),
        largest: inputs.iter().map(|(_, table)| table.meta.largest.clone()).max().unwrap(),
        limit_overlap: true,
    }
}

impl Scene {
    fn line(&mut self, line: &str) -> String {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "running" => {
                let (levels, rest) = rest.split_once(' ').unwrap();
                let (hull, numbers) = rest.split_once(' ').unwrap();
                let (smallest, largest) = range(hull.trim_matches(['[', ']']));
                let plan = plan(&self.version, levels.trim_start_matches('L'), numbers);
                let plan = Plan { smallest: smallest.into(), largest: largest.into(), ..plan };
                self.busy.start(&plan);
                String::new()
            }
            "after" => {
                let (level, key) = rest.split_once(' ').unwrap();
                let level: usize = level.trim_start_matches('L').parse().unwrap();
                self.pointers.after[level] = key.into();
                String::new()
            }
            "targets" | "leveled" | "tiered" | "expired" => self.pick(word, rest),
            "retain" => self.retain(rest),
            _ => {
                let level = word.strip_prefix('L').and_then(|word| word.strip_suffix(':'));
                let level: u8 = level.expect(line).parse().expect(line);
                let added: Vec<_> =
                    rest.split_whitespace().map(|text| (level, table(text))).collect();
                let handles = vec![(); added.len()];
                let edit = VersionEdit { added, ..VersionEdit::default() };
                self.version = self.version.apply(&edit, handles).expect(line);
                String::new()
            }
        }
    }

    fn pick(&self, command: &str, arguments: &str) -> String {
        let mut thresholds = CompactionThresholds::default();
        let (mut idle, mut now_ms) = (false, 0);
        for argument in arguments.split_whitespace() {
            match argument.split_once('=') {
                None => idle = argument == "idle",
                Some(("l0", count)) => thresholds.l0_compact_tables = count.parse().unwrap(),
                Some(("slow", count)) => thresholds.l0_slow_tables = count.parse().unwrap(),
                Some(("base", mib)) => {
                    thresholds.level_base_bytes = mib.parse::<u64>().unwrap() * MIB;
                }
                Some(("at", now)) => now_ms = now.parse().unwrap(),
                Some(("width", count)) => thresholds.tier_width = count.parse().unwrap(),
                Some(_) => panic!("{argument}"),
            }
        }
        let situation = Situation {
            thresholds: &thresholds,
            table_bytes: 16 * MIB,
            busy: &self.busy,
            pointers: &self.pointers,
            idle,
            now_ms,
        };
        let plan = match command {
            "targets" => {
                let targets = leveled::targets(&self.version, &thresholds);
                let mib = targets[1..].iter().map(|bytes| match bytes {
                    &u64::MAX => "any".to_owned(),
                    bytes => (bytes / MIB).to_string(),
                });
                return mib.collect::<Vec<_>>().join(" ") + "\n";
            }
            "leveled" => leveled::pick(&self.version, &situation),
            "expired" => expired::pick(&self.version, &situation),
            _ => tiered::pick(&self.version, &situation),
        };
        plan.map_or("nothing\n".to_owned(), |plan| format!("{plan}\n"))
    }

    fn retain(&self, arguments: &str) -> String {
        let (inputs, entries) = arguments.split_once(':').unwrap();
        let (levels, numbers) = inputs.split_once(' ').unwrap();
        let timed = numbers.strip_prefix("at ").and_then(|rest| rest.split_once(' '));
        let (now_ms, numbers) =
            timed.map_or((0, numbers), |(now, numbers)| (now.parse().unwrap(), numbers));
        let plan = plan(&self.version, levels.trim_start_matches('L'), numbers);
        let mut retain = Retain::new(&self.version, &plan, now_ms);
        let mut kept = String::new();
        for text in entries.split_whitespace() {
            let (key, seq) = text.split_at(1);
            let (seq, expires) = seq.split_once('@').unwrap_or((seq, ""));
            let (kind, seq) =
                seq.strip_suffix('x').map_or((Kind::Put, seq), |seq| (Kind::Delete, seq));
            let value = expires.parse::<u64>().map_or(Vec::new(), |at| at.to_le_bytes().to_vec());
            let kind = if value.is_empty() { kind } else { Kind::Expiring };
            let seq = SeqNo(seq.parse().expect(text));
            match retain.keep(Entry { key: key.as_bytes(), seq, kind, value: &value }) {
                Some(kept_entry) if kept_entry.kind == kind => write!(kept, "{text} ").unwrap(),
                Some(tombstone) => {
                    assert_eq!((tombstone.kind, tombstone.value), (Kind::Delete, &b""[..]));
                    write!(kept, "{}{}x ", key, tombstone.seq.0).unwrap();
                }
                None => {}
            }
        }
        let expired = match retain.expired {
            0 => String::new(),
            expired => format!(", {expired} expired"),
        };
        format!("{kept}({} shadowed, {} buried{expired})\n", retain.shadowed, retain.buried)
    }
}

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/compaction").join(name);
    let script = fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    for block in script.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut scene = Scene::default();
        let mut output = String::new();
        let mut commands = false;
        for line in block.lines().take_while(|line| *line != "---") {
            writeln!(actual, "{line}").unwrap();
            if !line.starts_with('#') && !line.is_empty() {
                commands = true;
                output += &scene.line(line);
            }
        }
        if commands {
            write!(actual, "---\n{output}").unwrap();
        }
        actual.push('\n');
    }
    let actual = actual.trim_end().to_owned() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    } else {
        assert_eq!(script, actual, "{name}: differs (UPDATE_GOLDEN=1 rewrites it)");
    }
}

#[test]
fn leveled_picks() {
    run("leveled.txt");
}

#[test]
fn expired_picks() {
    run("expired.txt");
}

#[test]
fn tiered_picks() {
    run("tiered.txt");
}

#[test]
fn retain_keeps() {
    run("retain.txt");
}
