//! Tests of check, repair and dumps on the simulated disk.
//!
//! - `contents`: what a closed shard holds, read in order.
//! - `findings`: each kind of thing that does not hold, made by hand, and the line that tells of it.
//! - `repairs`: damage of every kind of file, and what a repair makes of it; killed at each operation and run again.
//! - `rows`: the dumps of a small shard.

mod contents;
mod findings;
mod repairs;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::repair::{Repaired, repair};
use super::{Checked, Event, check};
use crate::batch::Op;
use crate::cursor::Direction;
use crate::env::sim::{Sim, SimEnv};
use crate::manifest::{Loaded, Manifest};
use crate::options::{Options, SyncPolicy};
use crate::scan::Range;
use crate::shard::Shard;
use crate::tests::{DIR, IDENTITY, key, open, tiny};

/// Operations of a [`World`].
const WRITES: u32 = 700;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
/// Every value that a key ever had.
type History = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// A shard with tables in several levels and a log, closed.
struct World {
    sim: Sim,
    model: Model,
    history: History,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::with(seed, WRITES)
    }

    fn with(seed: u64, writes: u32) -> Self {
        let sim = Sim::new(seed);
        let (mut model, mut history) = (Model::new(), History::new());
        sim.run(async |env| {
            let shard = open(&env, options()).await;
            for n in 0..writes {
                let name = key(n.wrapping_mul(n + 7) % 211);
                if n % 9 == 4 {
                    shard.put_all(&[Op::Delete { key: &name }]).await.unwrap();
                    model.remove(&name);
                } else {
                    let mut value = format!("{n}:").into_bytes();
                    value.extend((0..n * 31 % 300).map(|at| ((at * at * 7 + at * n) % 251) as u8));
                    // The year 2191, for some.
                    let expires_at_ms = if n % 9 == 7 { 7_000_000_000_000 } else { 0 };
                    let op = Op::Put { key: &name, value: &value, expires_at_ms };
                    shard.put_all(&[op]).await.unwrap();
                    history.entry(name.clone()).or_default().push(value.clone());
                    model.insert(name, value);
                }
                if n == writes - 30 {
                    shard.flush().await.unwrap();
                }
            }
            shard.close().await.unwrap();
        });
        Self { sim, model, history }
    }

    fn loaded(&self) -> Loaded {
        self.sim.run(async |env| Manifest::read(&env, Path::new(DIR), IDENTITY).await.unwrap())
    }

    /// A live table, the first or the last of the manifest's order.
    fn table(&self, last: bool) -> PathBuf {
        let loaded = self.loaded();
        let mut tables = loaded.state.version.tables().map(|(_, table)| table.meta.number);
        let number = if last { tables.last() } else { tables.next() };
        crate::table::path(Path::new(DIR), number.unwrap())
    }

    /// The segment in which the log ends.
    fn segment(&self) -> PathBuf {
        let stop = self.loaded().state.clean_stop.unwrap();
        crate::wal::path(Path::new(DIR), stop.segment)
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.sim.files().into_iter();
        files.map(|(path, _)| (path.clone(), self.sim.read_raw(path))).collect()
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// What a repair has kept of the file `path`.
fn kept(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.quarantine-now", path.display()))
}

/// Everything that was told, one line each, without progress.
fn line(event: &Event) -> Option<String> {
    let (word, finding) = match event {
        Event::Damage(finding) => ("damage", finding),
        Event::Note(finding) => ("note", finding),
        Event::Lost(finding) => ("lost", finding),
        Event::Done(finding) => ("done", finding),
        Event::Progress { done, total } => {
            assert!(done <= total);
            return None;
        }
    };
    let name = finding.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = finding.offset.map_or(String::new(), |offset| format!(" @{offset}"));
    Some(format!("{word} {name}{at}: {}", finding.what))
}

fn checked(sim: &Sim) -> (Checked, Vec<String>) {
    let mut lines = Vec::new();
    let checked = sim.run(async |env| {
        let mut tell = |event: Event| lines.extend(line(&event));
        check(&env, Path::new(DIR), IDENTITY, &mut tell).await.unwrap()
    });
    (checked, lines)
}

async fn repair_in(
    env: &SimEnv,
    dry_run: bool,
    lines: &mut Vec<String>,
) -> crate::error::Result<Repaired> {
    let mut tell = |event: Event| lines.extend(line(&event));
    repair(env, Path::new(DIR), "now", IDENTITY, dry_run, &mut tell).await
}

fn repaired(sim: &Sim) -> (Repaired, Vec<String>) {
    let mut lines = Vec::new();
    let repaired = sim.run(async |env| repair_in(&env, false, &mut lines).await.unwrap());
    (repaired, lines)
}

/// No damage.
fn assert_clean(sim: &Sim, context: &str) -> Checked {
    let (checked, lines) = checked(sim);
    assert_eq!(checked.damages, 0, "{context}: {lines:#?}");
    checked
}

async fn contents(shard: &Shard<SimEnv>) -> Model {
    let mut scan = shard.scan(Range::all(), Direction::Forward);
    let mut contents = Model::new();
    while let Some(entry) = scan.next().await.unwrap() {
        contents.insert(entry.key.to_vec(), entry.value.to_vec());
    }
    for (key, value) in &contents {
        assert!(shard.get(key).await.unwrap().as_ref() == Some(value), "scan and get agree");
    }
    contents
}

/// What a start finds.
fn opened(sim: &Sim) -> Model {
    sim.run(async |env| {
        let shard = open(&env, options()).await;
        let found = contents(&shard).await;
        shard.close().await.unwrap();
        found
    })
}

/// Levels so small that there are several.
fn options() -> Options {
    let mut options = tiny(SyncPolicy::Always);
    options.table.table_bytes = 3 << 10;
    options.thresholds.l0_compact_tables = 3;
    options.thresholds.level_base_bytes = 6 << 10;
    options.thresholds.level_ratio = 2;
    options
}
