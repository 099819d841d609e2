//! A table that no manifest describes: what the manifest would say of it, from the file alone. For repair and dumps.
#![deny(clippy::indexing_slicing)]

use std::path::Path;

use super::footer::{FOOTER_BYTES, Footer};
use super::meta::{MetaBuf, MetaCell};
use super::reader::{position, read};
use super::stored::Seed;
use super::{META_ALIGN, PIECE_BYTES};
use crate::env::{Env, File, Lane, Open, align_down, align_up};
use crate::error::{Error, Result};
use crate::key::Identity;
use crate::limits::TABLE_META_BYTES_MAX;
use crate::manifest::edit::TableMeta;

/// Bytes at the end of a file in which its footer is looked for: what is appended to a file is rarely more.
const TAIL_BYTES: u64 = 64 << 10;

/// The table in the file `path`, and whose it says to be. I/O: reads the whole file once, for its checksum.
///
/// # Errors
/// `Corruption` without a footer or with a damaged meta region; `Foreign` for another format; `Io`.
pub(crate) async fn describe<E: Env>(env: &E, path: &Path) -> Result<(Identity, TableMeta)> {
    let opened = env.open(path, Open::Read, Lane::Cold).await;
    let file = opened.map_err(|error| Error::io("open", path, &error))?;
    let described = read_all(env, &file, path).await;
    // Read only: closing it can lose nothing.
    let _closed = file.close().await;
    described
}

async fn read_all<E: Env>(env: &E, file: &E::File, path: &Path) -> Result<(Identity, TableMeta)> {
    let len = file.len().await.map_err(|error| Error::io("measure", path, &error))?;
    let (bytes, footer) = find_footer(file, path, align_down(len)).await?;
    let footer_at = bytes - FOOTER_BYTES as u64;
    let possible = footer.meta_offset.checked_add(u64::from(footer.meta_len)) == Some(footer_at)
        && footer.meta_offset.is_multiple_of(META_ALIGN as u64)
        && footer.meta_len as usize <= TABLE_META_BYTES_MAX;
    if !possible {
        let what = "the footer gives the meta region no possible place";
        return Err(Error::corruption(path, footer_at, what));
    }
    let mut region = MetaBuf::with_capacity(footer.meta_len as usize);
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < bytes {
        let want = position((align_up(bytes) - at).min(PIECE_BYTES as u64));
        let piece = read(file, path, at, want).await?;
        let end = (at + want as u64).min(bytes);
        crc.update(piece.get(..position(end - at)).unwrap_or_default());
        let (from, to) = (footer.meta_offset.max(at), footer_at.min(end));
        if from < to {
            let part = piece.get(position(from - at)..position(to - at));
            region.extend_from_slice(part.unwrap_or_default());
        }
        at = end;
        env.pause().await;
    }
    let damage = |what: &str| Error::corruption(path, footer.meta_offset, what);
    let mut meta_crc = Seed::new(&footer.identity, footer.number).hasher(footer.meta_offset);
    meta_crc.update(&region);
    if meta_crc.finalize() != footer.meta_crc {
        return Err(damage("the meta region's checksum does not match its bytes"));
    }
    let cell = MetaCell::new(region, footer.format).map_err(damage)?;
    let meta = cell.get().properties().table_meta(footer.number, bytes, crc.finalize());
    Ok((footer.identity, meta))
}

/// The last footer in the file: its end is the table's, what follows belongs to no one.
async fn find_footer<F: File>(file: &F, path: &Path, len: u64) -> Result<(u64, Footer)> {
    if len == 0 {
        return Err(Error::corruption(path, 0, "the file is empty"));
    }
    let from = align_down(len.saturating_sub(TAIL_BYTES));
    let tail = read(file, path, from, position(len - from)).await?;
    for end in (FOOTER_BYTES..=tail.len()).rev() {
        let Some(bytes) = tail.get(..end).and_then(|bytes| bytes.last_chunk()) else { break };
        let Some((identity, number)) = Footer::claims(bytes) else { continue };
        let at = from + end as u64;
        let footer = Footer::decode(bytes, &identity, number);
        return footer
            .map(|footer| (at, footer))
            .map_err(|why| why.into_error(path, at - FOOTER_BYTES as u64));
    }
    Err(Error::corruption(path, len, "no footer of a table ends this file"))
}
