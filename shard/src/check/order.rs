//! Versions across runs: a read stops at the first run that has the key, so of each key the version in the newer run
//! must be the newer one.

use std::rc::Rc;

use super::{Report, show_key};
use crate::compaction::pace::{Abort, Pace, entry_bytes};
use crate::cursor::{self, Cursor, Direction};
use crate::env::Env;
use crate::error::Result;
use crate::key::SeqNo;
use crate::level::{LevelCursor, LevelTable};
use crate::manifest::version::Version;
use crate::table::Table;

/// Steps through all runs side by side. I/O: reads all tables.
///
/// # Errors
/// Reading a table that was read before without error.
pub(super) async fn verify<E: Env>(
    env: &E,
    version: &Version<Rc<Table<E>>>,
    report: &mut Report<'_>,
) -> Result<()> {
    let runs = runs(version);
    if runs.len() < 2 {
        return Ok(());
    }
    let mut cursors: Vec<LevelCursor<E>> =
        runs.iter().map(|run| LevelCursor::cold(run.clone(), Direction::Forward)).collect();
    let compared = compare(env, &runs, &mut cursors, report).await;
    for cursor in cursors {
        cursor.close().await?;
    }
    compared
}

/// From the newest to the oldest: each table of L0, each level below.
fn runs<E: Env>(version: &Version<Rc<Table<E>>>) -> Vec<Vec<LevelTable<E>>> {
    let [upper, lower @ ..] = &version.levels;
    let upper = upper.iter().map(|table| vec![Rc::clone(table)]);
    upper.chain(lower.iter().filter(|level| !level.is_empty()).cloned()).collect()
}

async fn compare<E: Env>(
    env: &E,
    runs: &[Vec<LevelTable<E>>],
    cursors: &mut [LevelCursor<E>],
    report: &mut Report<'_>,
) -> Result<()> {
    let pace = Pace::new(env, Abort::default());
    for cursor in cursors.iter_mut() {
        cursor::seek(cursor, None).await?;
    }
    let (mut key, mut here) = (Vec::new(), Vec::new());
    loop {
        let least = cursors.iter().filter_map(Cursor::entry).map(|entry| entry.key).min();
        let Some(least) = least else { return Ok(()) };
        key.clear();
        key.extend_from_slice(least);
        here.clear();
        let (mut newer, mut bytes) = (None::<(usize, SeqNo)>, 0);
        for (run, cursor) in cursors.iter().enumerate() {
            let Some(entry) = cursor.entry().filter(|entry| entry.key == key) else { continue };
            here.push(run);
            bytes += entry_bytes(&entry);
            if let Some((above, seq)) = newer.filter(|&(_, seq)| entry.seq >= seq) {
                let table = |run: usize| {
                    let mut tables = runs[run].iter();
                    tables.find(|table| key.as_slice() <= table.meta.largest.as_slice())
                };
                if let (Some(hiding), Some(hidden)) = (table(above), table(run)) {
                    let what = format!(
                        "an older version of {} (operation {}) hides operation {} in table {}",
                        show_key(&key),
                        seq.0,
                        entry.seq.0,
                        hidden.meta.number
                    );
                    report.damage(hiding.handle.path(), None, what);
                }
            }
            newer = Some((run, entry.seq));
        }
        for &run in &here {
            cursor::step(&mut cursors[run]).await?;
        }
        report.progress(bytes);
        pace.after(bytes).await?;
    }
}
