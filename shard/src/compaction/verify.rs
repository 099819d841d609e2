//! A new table, looked at as a reader will before the manifest names it; on demand, read through (R26).

use std::rc::Rc;

use super::outputs::Site;
use super::pace::{Pace, entry_bytes};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::manifest::edit::TableMeta;
use crate::table::Table;
use crate::table::block::Window;
use crate::table::blocks::Blocks;

/// Opens an output as a reader will; with `all` reads every byte of it.
///
/// # Errors
/// `Corruption` where the disk does not give back what was written; `Io`; `Closing` when told to end.
pub(crate) async fn check_output<E: Env>(
    site: &Site<'_, E>,
    pace: &Pace<E>,
    meta: &TableMeta,
    all: bool,
) -> Result<()> {
    let Site { env, dir, identity, .. } = *site;
    let table = Rc::new(Table::open(env, dir, identity, meta).await?);
    let read = if all { read_through(&table, pace, meta).await } else { Ok(()) };
    let table = Rc::into_inner(table).expect("nobody else has it");
    let closed = table.close().await;
    read.and(closed)
}

/// Reads every block past the cache: checksums hold, the entries are as many as were written, and so are the bytes.
async fn read_through<E: Env>(
    table: &Rc<Table<E>>,
    pace: &Pace<E>,
    meta: &TableMeta,
) -> Result<()> {
    let mut blocks = Blocks::open(Rc::clone(table)).await?;
    let counted = count(&mut blocks, pace).await;
    let finished = match &counted {
        Ok(_) => blocks.finish(meta.bytes).await.map(|(_, crc)| crc),
        Err(_) => blocks.abandon().await.map(|()| None),
    };
    let (entries, raw_bytes) = counted?;
    let crc = finished?;
    if (entries, raw_bytes, crc) != (meta.entries, meta.raw_bytes, Some(meta.crc)) {
        let what = format!(
            "it does not read back as it was written: {entries} entries of {}",
            meta.entries
        );
        return Err(Error::corruption(table.path(), 0, what));
    }
    Ok(())
}

/// Entries and their bytes.
async fn count<E: Env>(blocks: &mut Blocks<E>, pace: &Pace<E>) -> Result<(u64, u64)> {
    let (mut entries, mut raw_bytes, mut window) = (0, 0, Window::default());
    while let Some((_, _, block)) = blocks.next().await {
        let block = block?;
        for restart in 0..block.restarts() {
            block.window(restart, &mut window);
            for index in 0..window.len() {
                let bytes = window.entry(index, &block).map_or(0, |entry| entry_bytes(&entry));
                entries += 1;
                raw_bytes += bytes;
                pace.after(bytes).await?;
            }
        }
    }
    Ok((entries, raw_bytes))
}
