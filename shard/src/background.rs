//! Flush, compaction, erase and close: the long-lived tasks of a shard, and what keeps them apart.
//!
//! A durable install is one sequence (R20, R25): files and directory synced -> manifest edit synced -> new view in memory
//! -> only then are old files deleted.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::compaction::job::{self, Job};
use crate::compaction::outputs::Site;
use crate::compaction::pace::{Abort, Pace};
use crate::compaction::plan::{Busy, Plan};
use crate::compaction::{self, Pointers, Situation};
use crate::env::{Env, Queue};
use crate::error::{Error, Result};
use crate::flush;
use crate::key;
use crate::manifest::edit::{CleanStop, VersionEdit};
use crate::manifest::version::Version;
use crate::memtable::MemTable;
use crate::shard::Shard;
use crate::stats::add;
use crate::table::Table;
use crate::view::View;

/// Pause after a failed background job, doubled up to the second figure.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The pause after which a job that writes wait for has failed often enough: six times in over three seconds.
const STUCK_FROM: Duration = Duration::from_millis(3200);

/// The deepest level whose new tables go into the block cache.
const WARM_LEVEL_MAX: u8 = 1;

/// How long a sleeping task may take to notice that the shard is closing.
const NAP: Duration = Duration::from_millis(100);

impl<E: Env> Shard<E> {
    pub(crate) fn start_task(&self, queue: Queue, task: impl Future<Output = ()> + 'static) {
        let tasks = &self.inner.background.tasks;
        tasks.set(tasks.get() + 1);
        self.env().spawn(queue, task);
    }

    pub(crate) fn task_ended(&self) {
        let tasks = &self.inner.background.tasks;
        assert!(tasks.get() > 0);
        tasks.set(tasks.get() - 1);
        self.inner.background.ended.signal();
    }

    pub(crate) fn start_background(&self) {
        self.start_task(Queue::Flush, self.clone().flush_loop());
        self.start_task(Queue::Compaction, self.clone().compact_loop());
        self.start_task(Queue::Commit, self.clone().let_in_loop());
    }

    /// Sleeps, but no longer than it takes to notice that the shard is closing.
    pub(crate) async fn nap(&self, duration: Duration) {
        let until = self.env().now() + duration;
        while !self.is_stopped() {
            let rest = until.saturating_sub(self.env().now());
            if rest.is_zero() {
                break;
            }
            self.env().sleep(rest.min(NAP)).await;
        }
    }

    fn is_stopped(&self) -> bool {
        self.inner.closing.get()
    }

    // ---- flush ----

    async fn flush_loop(self) {
        let mut retry = RETRY_FIRST;
        while !self.is_stopped() {
            let oldest = self.view().sealed.last().cloned();
            let Some(memtable) = oldest else {
                self.inner.background.flush_wanted.wait().await;
                continue;
            };
            // What the log has not made durable must not become durable before it (R3, R25), whatever the policy: a log
            // that ends below what is flushed would be damage.
            if self.made_durable(memtable.last_seq()).await.is_err() {
                break;
            }
            let result = {
                let _pass = self.inner.background.flushing.enter().await;
                self.flush_one(&memtable).await
            };
            // The last reference to a large memtable is dropped where nobody waits.
            if let Some(memtable) = Rc::into_inner(memtable) {
                self.env().dispose(Box::new(memtable));
            }
            self.inner.background.flush_failing.set(result.is_err());
            match result {
                Ok(()) => {
                    retry = RETRY_FIRST;
                    self.space_taken();
                }
                Err(error) => {
                    self.background_error("flush", &error).await;
                    self.fail_if_stuck(&error, retry, true);
                    self.nap(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
            self.collect_garbage().await;
        }
        self.task_ended();
    }

    async fn flush_one(&self, memtable: &Rc<MemTable>) -> Result<()> {
        let inner = &self.inner;
        // FLUSHALL may have taken it away meanwhile.
        if !self.view().sealed.last().is_some_and(|oldest| Rc::ptr_eq(oldest, memtable)) {
            return Ok(());
        }
        // A flush is never ended early: it gives memory back.
        let pace = Pace::new(&inner.env, Abort::default());
        let began = self.env().now();
        let numbers = async || self.next_number().await;
        let site = self.site(0);
        let verify = inner.options.verify_tables;
        // While the memtable is in the view no read looks for its keys in tables: what is forgotten stays so.
        let cache = &inner.cache;
        let forget = |key: &[u8]| {
            if !cache.knows_nothing() {
                cache.forget(key::hash(key));
            }
        };
        let memory = Rc::clone(memtable);
        let flushed = flush::build(&site, memory, &pace, &numbers, verify, &forget).await?;
        let flushed_seq = memtable.last_seq();
        let wal_first_live = inner.log.borrow().first_live(flushed_seq);
        let bytes = flushed.tables.iter().map(|meta| meta.bytes).sum();
        let edit = VersionEdit {
            added: flushed.tables.into_iter().map(|meta| (0, meta)).collect(),
            flushed_seq: Some(flushed_seq.0),
            wal_first_live,
            ..VersionEdit::default()
        };
        self.install(&edit, View::flushed_into).await?;
        inner.pressure.flushed(memtable.bytes() as u64, self.env().now().saturating_sub(began));
        inner.progress.flushed_upto(flushed_seq);
        if let Some(first) = wal_first_live {
            let dropped = inner.log.borrow_mut().drop_below(first);
            self.obsolete_segments(dropped);
        }
        inner.background.last_flush_ms.set(inner.env.wall_ms());
        add(&inner.counters.flushes, 1);
        add(&inner.counters.flushed_bytes, bytes);
        add(&inner.counters.expired_keys, flushed.expired);
        inner.progress.moved.signal();
        inner.background.compaction_wanted.signal();
        Ok(())
    }

    fn obsolete_segments(&self, numbers: Vec<u64>) {
        let mut obsolete = self.inner.obsolete.borrow_mut();
        for number in numbers {
            obsolete.add_file(crate::wal::path(&self.inner.dir, number));
        }
    }

    /// Where tables of `level` are written. Those of the upper levels go into the block cache as they are made: they hold
    /// what was written last, and replace each other soon. Warming the deep ones would wash the cache.
    fn site(&self, level: u8) -> Site<'_, E> {
        let inner = &self.inner;
        let options = &inner.options.table;
        let warm = (level <= WARM_LEVEL_MAX).then_some(&inner.cache);
        Site { env: &inner.env, dir: &inner.dir, identity: inner.identity, options, warm }
    }

    /// Makes `edit` durable, then visible. Tables are opened (and verified) before the manifest names them.
    /// On an error nothing has changed in memory; on disk the edit may stand or not, and files are left to recovery (R24),
    /// unless it certainly does not stand: then the new tables are removed.
    async fn install(
        &self,
        edit: &VersionEdit,
        place: impl FnOnce(&View<E>, Rc<Version<Rc<Table<E>>>>) -> View<E>,
    ) -> Result<()> {
        let inner = &self.inner;
        let mut opened = Vec::with_capacity(edit.added.len());
        for (_, meta) in &edit.added {
            // A trivial move brings its open table along.
            let view = self.view();
            let known = view.version.tables().find(|(_, table)| table.meta.number == meta.number);
            opened.push(match known {
                Some((_, table)) => Rc::clone(&table.handle),
                None => Rc::new(Table::open(&inner.env, &inner.dir, inner.identity, meta).await?),
            });
        }
        if let Err(error) = inner.manifest.append(edit).await {
            if inner.manifest.failure().is_none() {
                self.discard(opened);
            }
            return Err(error);
        }
        // No await from here on.
        let view = self.view();
        let next = match view.version.apply(edit, opened) {
            Ok(next) => Rc::new(next),
            Err(what) => panic!("an edit that the manifest took does not apply: {what}"),
        };
        for (level, number) in &edit.removed {
            let moved = edit.added.iter().any(|(_, meta)| meta.number == *number);
            let tables = &view.version.levels[usize::from(*level)];
            let table = tables.iter().find(|table| table.meta.number == *number);
            if let Some(table) = table.filter(|_| !moved) {
                inner.obsolete.borrow_mut().add_table(Rc::clone(&table.handle));
            }
        }
        self.publish(place(&view, next));
        Ok(())
    }

    /// Tables that no manifest names and no view holds are deleted with the obsolete ones.
    fn discard(&self, tables: Vec<Rc<Table<E>>>) {
        let view = self.view();
        let is_live = |table: &Rc<Table<E>>| {
            view.version.tables().any(|(_, live)| Rc::ptr_eq(&live.handle, table))
        };
        for table in tables.into_iter().filter(|table| !is_live(table)) {
            self.inner.obsolete.borrow_mut().add_table(table);
        }
    }

    /// Counts and logs a failed job. A manifest that cannot be written any more ends the shard's writes.
    pub(crate) async fn background_error(&self, what: &str, error: &Error) {
        add(&self.inner.counters.background_errors, 1);
        tracing::warn!(shard = self.inner.identity.shard, %error, "{what} failed; it will be tried again");
        if let Some(error) = self.inner.manifest.failure() {
            // No edit can be made durable any more: nothing may be written that would need one.
            self.fail(&error);
        }
        if error.is_no_space() {
            self.space_refused(error).await;
        }
    }

    /// A job that failed again and again, for no lack that may pass, while writes wait for it: they would wait for ever.
    fn fail_if_stuck(&self, error: &Error, retry: Duration, is_waited_for: bool) {
        if is_waited_for && retry >= STUCK_FROM && !error.is_passing() {
            self.fail(error);
        }
    }

    /// Seals and flushes everything that is in memory now. Returns when it is in tables.
    ///
    /// # Errors
    /// `ReadOnly`, `Closing`.
    pub async fn flush(&self) -> Result<()> {
        let target = self.inner.progress.last.get();
        if !self.view().active.is_empty() {
            self.seal();
        }
        self.inner
            .progress
            .moved
            .until(|| {
                if self.inner.progress.flushed.get() >= target {
                    return Some(Ok(()));
                }
                if self.is_stopped() {
                    return Some(Err(Error::Closing));
                }
                self.failure().map(Err)
            })
            .await
    }

    // ---- compaction ----

    async fn compact_loop(self) {
        let mut retry = RETRY_FIRST;
        let mut pointers = Pointers::default();
        while !self.is_stopped() {
            let pass = self.inner.background.compacting.enter().await;
            let may_run = !self.inner.background.abort.get() && self.failure().is_none();
            let plan = if may_run { self.pick(&pointers) } else { None };
            let Some(plan) = plan else {
                drop(pass);
                self.inner.background.compaction_wanted.wait().await;
                self.inner.pressure.compaction_idle(self.env().now());
                continue;
            };
            pointers.advance(&plan);
            self.inner.background.running.set(true);
            let result = self.compact_one(&plan).await;
            self.inner.background.running.set(false);
            drop(pass);
            match result {
                Ok(()) => {
                    retry = RETRY_FIRST;
                    self.space_taken();
                }
                // Told to end: FLUSHALL, or the shard is closing.
                Err(Error::Closing) => {}
                Err(error) => {
                    self.background_error("compaction", &error).await;
                    let thresholds = &self.inner.options.thresholds;
                    let is_waited_for =
                        self.view().version.levels[0].len() >= thresholds.l0_stop_tables;
                    self.fail_if_stuck(&error, retry, is_waited_for);
                    self.nap(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
            self.collect_garbage().await;
        }
        self.task_ended();
    }

    /// Flushes, then merges all tables into the lowest level that has any (1 if there is none): one version of each key stays,
    /// and nothing of what was deleted. Flushes go on meanwhile; compactions that are due wait. I/O: all tables are read and
    /// written once; the old ones go when the new ones are there, so as much space again is needed.
    ///
    /// # Errors
    /// `ReadOnly`, `Closing`, or the compaction's own; then the tables are as they were.
    pub async fn compact_all(&self) -> Result<()> {
        self.flush().await?;
        let background = &self.inner.background;
        let pass = background.compacting.enter().await;
        // A closed shard has no tables either.
        if background.abort.get() || self.is_stopped() {
            return Err(Error::Closing);
        }
        let plan = compaction::everything(&self.view().version);
        let Some(plan) = plan else { return Ok(()) };
        background.running.set(true);
        let result = self.compact_one(&plan).await;
        background.running.set(false);
        drop(pass);
        match &result {
            Ok(()) => self.space_taken(),
            Err(Error::Closing) => {}
            Err(error) => self.background_error("compaction", error).await,
        }
        self.collect_garbage().await;
        background.compaction_wanted.signal();
        result
    }

    fn pick(&self, pointers: &Pointers) -> Option<Plan> {
        let options = &self.inner.options;
        let view = self.view();
        let situation = Situation {
            thresholds: &options.thresholds,
            table_bytes: options.table.table_bytes,
            // One compaction of a shard at a time.
            busy: &Busy::new(),
            pointers,
            idle: self.inner.quiet.get() && view.sealed.is_empty(),
            now_ms: self.env().wall_ms(),
        };
        compaction::pick(options.style, &view.version, &situation)
    }

    async fn compact_one(&self, plan: &Plan) -> Result<()> {
        let inner = &self.inner;
        let version = Rc::clone(&self.view().version);
        if plan.trivial {
            let Some(edit) = plan.trivial_edit(&version) else {
                unreachable!("the plan was made on this version")
            };
            self.install(&edit, View::with_version).await?;
            inner.pressure.compacted(plan, &version, self.env().now());
            if plan.drop {
                let gone = version.tables().filter(|(_, table)| plan.reads(table.meta.number));
                let entries = gone.map(|(_, table)| table.meta.entries).sum();
                add(&inner.counters.expired_keys, entries);
            } else {
                add(&inner.counters.trivial_moves, 1);
            }
            return Ok(());
        }
        let pace = Pace::new(&inner.env, Rc::clone(&inner.background.abort));
        let job = Job {
            site: self.site(plan.target),
            version: &version,
            plan,
            pace: &pace,
            verify: inner.options.verify_tables,
        };
        let done = job::run(&job, &async || self.next_number().await).await?;
        self.install(&done.edit, View::with_version).await?;
        inner.pressure.compacted(plan, &version, self.env().now());
        add(&inner.counters.compactions, 1);
        add(&inner.counters.compaction_read_bytes, done.stats.bytes_read);
        add(&inner.counters.compaction_written_bytes, done.stats.bytes_written);
        add(&inner.counters.expired_keys, done.stats.entries_expired);
        Ok(())
    }

    // ---- erase and close ----

    /// Erases everything written so far (FLUSHALL), durably. Reads and writes of this shard wait meanwhile: the server
    /// asks [`Shard::is_erasing`]. I/O: one manifest edit, then the deletion of the files.
    ///
    /// # Errors
    /// `ReadOnly`, or the manifest's own error; then nothing is erased.
    pub async fn erase(&self) -> Result<()> {
        let inner = &self.inner;
        inner.erasing.set(true);
        inner.background.abort.set(true);
        let result = self.erase_now().await;
        inner.background.abort.set(false);
        inner.erasing.set(false);
        self.admission_changed();
        inner.background.compaction_wanted.signal();
        self.collect_garbage().await;
        result
    }

    async fn erase_now(&self) -> Result<()> {
        let inner = &self.inner;
        let last = inner.progress.last.get();
        self.made_durable(last).await?;
        let _flushing = inner.background.flushing.enter().await;
        let _compacting = inner.background.compacting.enter().await;
        let view = self.view();
        let wal_first_live = inner.log.borrow().first_live(last);
        let removed = view
            .version
            .tables()
            .map(|(level, table)| (u8::try_from(level).unwrap_or(u8::MAX), table.meta.number));
        let edit = VersionEdit {
            removed: removed.collect(),
            flushed_seq: Some(last.0),
            wal_first_live,
            ..VersionEdit::default()
        };
        let fresh = Rc::new(MemTable::new(self.env().random_u64()));
        self.install(&edit, |_, version| View { active: fresh, sealed: Vec::new(), version })
            .await?;
        inner.cache.forget_all();
        assert_eq!(inner.progress.last.get(), last, "nothing is written while the shard is erased");
        inner.progress.flushed_upto(last);
        if let Some(first) = wal_first_live {
            let dropped = inner.log.borrow_mut().drop_below(first);
            self.obsolete_segments(dropped);
        }
        inner.progress.moved.signal();
        Ok(())
    }

    /// Stops in order: no new writes, what was taken becomes durable, the tasks end, and the manifest learns where the
    /// log ended. Nothing is flushed: the next start replays the log.
    ///
    /// # Errors
    /// The failure of the shard, if it has failed; its files are closed all the same.
    pub async fn close(&self) -> Result<()> {
        let inner = &self.inner;
        inner.closing.set(true);
        inner.background.abort.set(true);
        for event in [
            &inner.commit_wanted,
            &inner.spare_wanted,
            &inner.background.flush_wanted,
            &inner.background.compaction_wanted,
            &inner.pressure.wanted,
            &inner.admission,
            &inner.progress.moved,
        ] {
            event.signal();
        }
        inner.background.ended.until(|| (inner.background.tasks.get() == 0).then_some(())).await;
        let spare = inner.spare.take();
        if let Some(spare) = spare {
            let (segment, _) = spare.into_parts();
            segment.close().await?;
        }
        self.close_tables().await;
        if let Some(error) = self.failure() {
            return Err(error);
        }
        if let Some((segment, end)) = inner.clean_end.get() {
            let last_seq = inner.progress.last.get();
            assert_eq!(last_seq, inner.progress.written.get());
            let clean_stop = Some(CleanStop { segment, end, last_seq: last_seq.0 });
            inner.manifest.append(&VersionEdit { clean_stop, ..VersionEdit::default() }).await?;
        }
        inner.manifest.close().await?;
        Ok(())
    }

    /// Lets go of all tables. One that a reader still holds is closed by its last drop.
    async fn close_tables(&self) {
        self.collect_garbage().await;
        let view = self.view();
        let empty = Rc::new(Version::default());
        self.publish(view.with_version(empty));
        let handles: Vec<_> =
            view.version.tables().map(|(_, table)| Rc::clone(&table.handle)).collect();
        drop(view);
        for table in handles {
            if let Some(table) = Rc::into_inner(table)
                && let Err(error) = table.close().await
            {
                tracing::warn!(%error, "closing a table");
            }
        }
    }
}
