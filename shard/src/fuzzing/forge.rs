//! Checksums made right after an edit, as whoever edits files for a purpose would.

use std::ops::Range;

use super::base::IDENTITY;
use crate::coding::crc32;
use crate::key::Identity;
use crate::limits::ALIGN;
use crate::table::footer::FOOTER_BYTES;
use crate::table::meta::{MetaBuf, MetaCell};
use crate::table::stored::Seed;
use crate::wal::frame::{FRAME_HEAD_BYTES, FrameKind};
use crate::wal::{FIRST_FRAME, GRAIN_BYTES};

fn number(file: &[u8], at: usize, bytes: usize) -> u64 {
    let bytes = file.get(at..).unwrap_or_default().iter().take(bytes).rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn put(file: &mut [u8], at: usize, crc: u32) {
    let field = file.iter_mut().skip(at);
    field.zip(crc.to_le_bytes()).for_each(|(byte, new)| *byte = new);
}

/// A segment, a manifest or `CURRENT`: its header, and every head from which a frame can begin.
pub(super) fn frames(file: &mut [u8]) {
    if let Some((_, covered)) = file.get(..ALIGN).and_then(<[u8]>::split_first_chunk::<4>) {
        let crc = crc32(&[], &[covered]);
        put(file, 0, crc);
    }
    let (name, epoch) = (number(file, 40, 8), number(file, 48, 8));
    let grain = if number(file, 64, 4) == GRAIN_BYTES as u64 { GRAIN_BYTES } else { ALIGN };
    let [low, high, shard] = IDENTITY.seed();
    let mut at = usize::try_from(FIRST_FRAME).expect("a block");
    while let Some(&kind) = file.get(at + 8) {
        if kind == 0 {
            at += grain;
            continue;
        }
        let seed = [low, high, shard, name, epoch, at as u64];
        if let Some(head) = file.get(at + 4..at + 44) {
            let crc = crc32(&seed, &[head]);
            put(file, at + 44, crc);
        }
        let len = usize::try_from(number(file, at + 4, 4)).expect("32 bits");
        match file.get(at + 4..at.saturating_add(len)) {
            Some(covered) if len >= FRAME_HEAD_BYTES => {
                let crc = crc32(&seed, &[covered]);
                put(file, at, crc);
                let unit = if kind == FrameKind::Batch as u8 { grain } else { ALIGN };
                at = (at + len).next_multiple_of(unit);
            }
            _ => at += grain,
        }
    }
}

/// A table of `bytes` bytes: blocks where its index says, or at `blocks`; meta region; footer.
pub(super) fn table(
    file: &mut [u8],
    identity: &Identity,
    table: u64,
    bytes: usize,
    blocks: &[Range<usize>],
) {
    let seed = Seed::new(identity, table);
    let Some(footer_at) = bytes.checked_sub(FOOTER_BYTES).filter(|_| bytes <= file.len()) else {
        return;
    };
    let (offset, len) = (number(file, footer_at, 8), number(file, footer_at + 8, 4));
    let region = usize::try_from(offset).ok().and_then(|from| {
        file.get(from..from.checked_add(usize::try_from(len).ok()?)?).map(<[u8]>::to_vec)
    });
    let mut indexed = Vec::new();
    if let Some(region) = region {
        let mut crc = seed.hasher(offset);
        crc.update(&region);
        put(file, footer_at + 12, crc.finalize());
        let mut copy = MetaBuf::with_capacity(region.len());
        copy.extend_from_slice(&region);
        let format = u32::try_from(number(file, bytes - 12, 4)).expect("32 bits");
        if let Ok(cell) = MetaCell::new(copy, format) {
            let index = &cell.get().index;
            let handles = (0..index.len()).map_while(|at| index.handle(at));
            indexed.extend(handles.map_while(|handle| {
                let from = usize::try_from(handle.offset()).ok()?;
                Some(from..from.checked_add(handle.stored_len())?)
            }));
        }
    }
    for block in if indexed.is_empty() { blocks } else { &indexed } {
        let Some(crc_at) = block.end.checked_sub(4).filter(|at| *at > block.start) else {
            continue;
        };
        if let Some(covered) = file.get(block.start..crc_at) {
            let mut crc = seed.hasher(block.start as u64);
            crc.update(covered);
            put(file, crc_at, crc.finalize());
        }
    }
    let crc_at = bytes - 16;
    if let (Some(body), Some(rest)) = (file.get(footer_at..crc_at), file.get(crc_at + 4..bytes)) {
        let crc = crc32(&[], &[body, rest]);
        put(file, crc_at, crc);
    }
}
