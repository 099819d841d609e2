//! Flush: a sealed memtable becomes a table of L0.

use std::rc::Rc;

use crate::compaction::outputs::{Outputs, Site};
use crate::compaction::pace::{Pace, entry_bytes};
use crate::compaction::retain::Retain;
use crate::compaction::verify::check_output;
use crate::cursor::{self, Cursor, Direction};
use crate::env::Env;
use crate::error::Result;
use crate::manifest::edit::TableMeta;
use crate::memtable::{MemCursor, MemTable};

/// What a flush wrote.
#[derive(Debug)]
pub(crate) struct Flushed {
    /// The tables, in key order.
    pub tables: Vec<TableMeta>,
    /// Values that had expired, and stand there as tombstones.
    pub expired: u64,
}

/// Writes the newest version of each key in `memtable`, tombstones included, to tables: one, or more when the builder
/// is full before the end; none if the memtable is empty. Files and directory are synced; the caller installs them in L0.
///
/// With `verify` they are read through before.
///
/// Values that have expired become tombstones. Newest version only: readers with an older view still hold the memtable. `told` hears of each key that is written.
///
/// # Errors
/// Writing, or `Closing` when told to end. Nothing is left behind, the memtable is as before.
pub(crate) async fn build<E, N>(
    site: &Site<'_, E>,
    memtable: Rc<MemTable>,
    pace: &Pace<E>,
    numbers: &N,
    verify: bool,
    told: &impl Fn(&[u8]),
) -> Result<Flushed>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    assert!(memtable.is_sealed(), "what is flushed changes no more");
    // Boxed: the builder makes it many kilobytes, which every caller's future would hold.
    Box::pin(write_or_remove(site, memtable, pace, numbers, verify, told)).await
}

async fn write_or_remove<E, N>(
    site: &Site<'_, E>,
    memtable: Rc<MemTable>,
    pace: &Pace<E>,
    numbers: &N,
    verify: bool,
    told: &impl Fn(&[u8]),
) -> Result<Flushed>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    let mut outputs = Outputs::new(site, numbers);
    let mut written = write(memtable, site.env.wall_ms(), pace, &mut outputs, told).await;
    if let (Ok(flushed), true) = (&written, verify) {
        let verified = verify_all(site, pace, &flushed.tables).await;
        written = verified.and(written);
    }
    match written {
        Ok(written) => Ok(written),
        Err(error) => {
            outputs.abandon().await;
            Err(error)
        }
    }
}

async fn verify_all<E: Env>(
    site: &Site<'_, E>,
    pace: &Pace<E>,
    tables: &[TableMeta],
) -> Result<()> {
    for meta in tables {
        check_output(site, pace, meta, true).await?;
    }
    Ok(())
}

async fn write<E, N>(
    memtable: Rc<MemTable>,
    now_ms: u64,
    pace: &Pace<E>,
    outputs: &mut Outputs<'_, E, N>,
    told: &impl Fn(&[u8]),
) -> Result<Flushed>
where
    E: Env,
    N: AsyncFn() -> Result<u64>,
{
    let keys = memtable.keys() as u64;
    let mut cursor = MemCursor::new(memtable, Direction::Forward);
    let mut retain = Retain::keeping_tombstones(now_ms);
    cursor::seek(&mut cursor, None).await?;
    while let Some(entry) = cursor.entry() {
        let bytes = entry_bytes(&entry);
        if let Some(kept) = retain.keep(entry) {
            outputs.add(&kept).await?;
            told(kept.key);
        }
        pace.after(bytes).await?;
        cursor::step(&mut cursor).await?;
    }
    let tables = outputs.finish().await?;
    let entries: u64 = tables.iter().map(|meta| meta.entries).sum();
    assert_eq!(entries, keys, "every key of the memtable is in a table, once");
    Ok(Flushed { tables, expired: retain.expired })
}
