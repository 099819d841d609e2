//! A shard without its head: memtables are flushed, plans carried out, edits installed, all on the simulated disk;
//! beside it a map of what a reader must find.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::job::{self, Done, Job};
use super::super::outputs::Site;
use super::super::pace::{Abort, Pace};
use super::super::plan::{Busy, Plan};
use super::super::{Pointers, Situation, pick};
use super::Random;
use crate::batch::Op;
use crate::cache::BlockCache;
use crate::cursor::Direction;
use crate::env::Env;
use crate::env::sim::SimEnv;
use crate::error::Result;
use crate::flush;
use crate::key::{Identity, SeqNo};
use crate::level::LevelCursor;
use crate::manifest::edit::VersionEdit;
use crate::manifest::version::Version;
use crate::memtable::MemTable;
use crate::merge::{Merge, Newest, Tombstones};
use crate::options::{CompactionStyle, CompactionThresholds, TableOptions};
use crate::table::Table;

pub(super) const IDENTITY: Identity = Identity { directory: 7, shard: 3 };

pub(super) struct World {
    pub(super) env: SimEnv,
    pub(super) dir: PathBuf,
    pub(super) random: Random,
    pub(super) options: TableOptions,
    pub(super) thresholds: CompactionThresholds,
    pub(super) version: Version<Rc<Table<SimEnv>>>,
    /// What every key holds; `None` once deleted.
    pub(super) model: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) abort: Abort,
    pub(super) verify: bool,
    /// Random memtables have keys of this many; otherwise each of some stretch of its own.
    pub(super) space: Option<u64>,
    /// Whether random memtables delete keys.
    pub(super) deletes: bool,
    cache: Rc<BlockCache>,
    pointers: Pointers,
    number: Cell<u64>,
    seq: u64,
}

impl World {
    pub(super) async fn new(env: SimEnv, seed: u64) -> Self {
        let dir = PathBuf::from("/shard-003");
        env.create_dir(&dir).await.unwrap();
        env.sync_dir(Path::new("/")).await.unwrap();
        Self {
            env,
            dir,
            random: Random(seed),
            options: TableOptions {
                table_bytes: 8 << 10,
                block_bytes: 1 << 10,
                ..TableOptions::default()
            },
            thresholds: CompactionThresholds {
                level_base_bytes: 16 << 10,
                level_ratio: 4,
                ..CompactionThresholds::default()
            },
            version: Version::default(),
            model: BTreeMap::new(),
            abort: Abort::default(),
            verify: true,
            space: None,
            deletes: true,
            cache: Rc::new(BlockCache::new(64 << 10, seed)),
            pointers: Pointers::default(),
            number: Cell::new(0),
            seq: 0,
        }
    }

    pub(super) fn site(&self) -> Site<'_, SimEnv> {
        let Self { env, dir, options, .. } = self;
        Site { env, dir, identity: IDENTITY, options, warm: None }
    }

    pub(super) fn pace(&self) -> Pace<SimEnv> {
        Pace::new(&self.env, Rc::clone(&self.abort))
    }

    fn next_number(&self) -> u64 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// A sealed memtable of `operations` random ones on keys around a random place; the model has them too.
    pub(super) fn memtable(&mut self, operations: u64) -> Rc<MemTable> {
        let memtable = MemTable::new(self.random.next());
        let (start, space) = match self.space {
            Some(space) => (0, space),
            None => (self.random.below(3_000), 1 + self.random.below(3_000)),
        };
        let deletes = if self.deletes { self.random.below(3) * 3 } else { 0 };
        for _ in 0..operations {
            let key = format!("key-{:05}", start + self.random.below(space)).into_bytes();
            let value = format!("{}-", self.random.next())
                .repeat(1 + usize::try_from(self.random.below(4)).unwrap());
            let value = (self.random.below(10) >= deletes).then(|| value.into_bytes());
            self.put(&memtable, key, value);
        }
        memtable.seal();
        Rc::new(memtable)
    }

    /// One operation into `memtable` and the model.
    pub(super) fn put(&mut self, memtable: &MemTable, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.seq += 1;
        let op = match &value {
            Some(value) => Op::Put { key: &key, value, expires_at_ms: 0 },
            None => Op::Delete { key: &key },
        };
        memtable.insert(SeqNo(self.seq), op);
        self.model.insert(key, value);
    }

    pub(super) async fn flush(&mut self, memtable: &Rc<MemTable>) -> Result<()> {
        let numbers = async || Ok(self.next_number());
        let flushed = flush::build(
            &self.site(),
            Rc::clone(memtable),
            &self.pace(),
            &numbers,
            self.verify,
            &|_| {},
        )
        .await?;
        let added = flushed.tables.into_iter().map(|meta| (0, meta)).collect();
        self.env.faults().clear();
        self.install(VersionEdit { added, ..VersionEdit::default() }).await;
        Ok(())
    }

    /// Opens what is new and takes it over; closes what is in no version any more.
    pub(super) async fn install(&mut self, edit: VersionEdit) {
        let mut opened = Vec::new();
        for (_, meta) in &edit.added {
            let mut tables = self.version.tables();
            let held = tables.find(|(_, table)| table.meta.number == meta.number);
            opened.push(match held {
                Some((_, table)) => Rc::clone(&table.handle),
                None => Rc::new(Table::open(&self.env, &self.dir, IDENTITY, meta).await.unwrap()),
            });
        }
        let next = self.version.apply(&edit, opened).unwrap();
        let before = std::mem::replace(&mut self.version, next);
        for table in before.levels.into_iter().flatten().filter_map(Rc::into_inner) {
            if let Some(table) = Rc::into_inner(table.handle) {
                table.close().await.unwrap();
            }
        }
    }

    pub(super) fn pick(&mut self, style: CompactionStyle, idle: bool) -> Option<Plan> {
        let situation = Situation {
            thresholds: &self.thresholds,
            table_bytes: self.options.table_bytes,
            busy: &Busy::new(),
            pointers: &self.pointers,
            idle,
            now_ms: 0,
        };
        let plan = pick(style, &self.version, &situation)?;
        self.pointers.advance(&plan);
        Some(plan)
    }

    pub(super) async fn run(&self, plan: &Plan) -> Result<Done> {
        let pace = self.pace();
        let job = Job {
            site: self.site(),
            version: &self.version,
            plan,
            pace: &pace,
            verify: self.verify,
        };
        job::run(&job, &async || Ok(self.next_number())).await
    }

    /// Carries out what is due until nothing is; answers how many plans that were not trivial.
    pub(super) async fn settle(&mut self, style: CompactionStyle, idle: bool) -> usize {
        let mut jobs = 0;
        for round in 0.. {
            assert!(round < 1_000, "the tree does not come to rest");
            let Some(plan) = self.pick(style, idle) else { break };
            let edit = if plan.trivial {
                plan.trivial_edit(&self.version).unwrap()
            } else {
                jobs += 1;
                self.run(&plan).await.unwrap().edit
            };
            self.install(edit).await;
        }
        jobs
    }

    /// A cursor over each sorted run, through the cache.
    pub(super) fn runs(&self, direction: Direction) -> Vec<LevelCursor<SimEnv>> {
        let l0 = self.version.levels[0].iter().map(|table| vec![Rc::clone(table)]);
        let deeper = self.version.levels[1..].iter().filter(|tables| !tables.is_empty()).cloned();
        l0.chain(deeper)
            .map(|tables| LevelCursor::hot(tables, Rc::clone(&self.cache), direction))
            .collect()
    }

    /// Everything that a reader finds, in either direction, is what the model holds.
    pub(super) async fn check(&self) {
        for direction in [Direction::Forward, Direction::Backward] {
            let merge = Merge::new(self.runs(direction), direction);
            let mut newest =
                Newest::new(merge, direction, SeqNo(u64::MAX), Tombstones::Hide { now_ms: 0 });
            newest.seek(None).await.unwrap();
            let mut found = Vec::new();
            while let Some(entry) = newest.entry() {
                found.push((entry.key.to_vec(), entry.value.to_vec()));
                newest.next().await.unwrap();
            }
            let live =
                self.model.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
            let mut live: Vec<_> = live.collect();
            if direction == Direction::Backward {
                live.reverse();
            }
            assert!(found == live, "{direction:?}: found {} keys, not {}", found.len(), live.len());
        }
    }

    /// Names of the table files on disk.
    pub(super) fn files(&self) -> Vec<String> {
        let files = self.env.files().into_iter();
        files.map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Removes the files of tables that are in no version, as gc will.
    pub(super) async fn remove_obsolete(&mut self) {
        let live: Vec<String> = self
            .version
            .tables()
            .map(|(_, table)| format!("{:06}.sst", table.meta.number))
            .collect();
        for name in self.files() {
            if !live.contains(&name) {
                self.env.remove(&self.dir.join(name)).await.unwrap();
            }
        }
    }
}
