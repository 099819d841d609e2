//! A log that replay refuses: the operations that can still be told to follow on what is known, and what cannot.
//!
//! A hole is no loss while all that can have been in it is in tables. Else the log ends there: what survives is a prefix
//! of the order of application (R3), also after a repair. What stands behind the hole is counted and named, and stays in
//! the file that is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::show_key;
use crate::batch::Op;
use crate::compaction::outputs::Site;
use crate::compaction::pace::{Abort, Pace};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::flush;
use crate::key::{Identity, SeqNo};
use crate::manifest::edit::TableMeta;
use crate::memtable::MemTable;
use crate::wal;
use crate::wal::frame::{FrameKind, read_chain};
use crate::wal::header::Magic;
use crate::wal::walk::{Piece, Walk, operations};

/// Where the log is to be read.
#[derive(Debug)]
pub(super) struct Source<'a, E> {
    pub env: &'a E,
    pub dir: &'a Path,
    pub identity: Identity,
    /// Segments, ascending.
    pub segments: &'a [u64],
    /// Operations up to this one are in tables, so far as they can be: a hole below is no loss.
    pub floor: SeqNo,
    /// Operations up to this one are not taken again.
    pub taken: SeqNo,
    /// The last operation that is known to have been there.
    pub known: SeqNo,
}

/// Where the log was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    pub path: PathBuf,
    pub offset: u64,
    /// First and last operation that are gone.
    pub gone: (u64, u64),
    /// Operations behind the cut that could be read.
    pub behind: u64,
    /// Their smallest and largest key.
    pub keys: Option<(Vec<u8>, Vec<u8>)>,
}

impl Cut {
    /// For a person.
    pub(super) fn what(&self) -> String {
        let (first, last) = self.gone;
        let cut = format!("the log is cut here: operations {first} to {last} are lost");
        let Some((smallest, largest)) = &self.keys else {
            return format!("{cut}; their keys are not known");
        };
        let (smallest, largest) = (show_key(smallest), show_key(largest));
        let rest =
            if self.behind <= last - first { "; the keys of the others are not known" } else { "" };
        format!(
            "{cut}; {} of them, on keys {smallest} to {largest}, stand behind the damage and can be seen with dump-wal{rest}",
            self.behind
        )
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Salvaged {
    /// The last operation of the prefix.
    pub upto: SeqNo,
    /// The last operation that is known to have been there.
    pub known: SeqNo,
    /// Operations taken.
    pub taken: u64,
    /// `None`: nothing is lost.
    pub cut: Option<Cut>,
}

/// Takes operations and makes tables of them.
pub(super) struct Sink<'a, E: Env, N> {
    pub site: Site<'a, E>,
    pub numbers: N,
    pub memtable: Rc<MemTable>,
    /// Bytes at which a memtable becomes a table.
    pub memtable_bytes: usize,
    pub made: Vec<TableMeta>,
}

impl<E: Env, N: AsyncFn() -> Result<u64>> Sink<'_, E, N> {
    async fn insert(&mut self, seq: SeqNo, op: Op<'_>) -> Result<()> {
        self.memtable.insert(seq, op);
        if self.memtable.bytes() >= self.memtable_bytes { self.flush().await } else { Ok(()) }
    }

    /// Makes a table of what is in memory.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.memtable.is_empty() {
            return Ok(());
        }
        let fresh = Rc::new(MemTable::new(self.site.env.random_u64()));
        let full = std::mem::replace(&mut self.memtable, fresh);
        full.seal();
        let pace = Pace::new(self.site.env, Abort::default());
        let made = flush::build(&self.site, full, &pace, &self.numbers, true, &|_| {}).await?;
        self.made.extend(made.tables);
        Ok(())
    }
}

/// The same, taking nothing.
///
/// # Errors
/// None that a repair could do without.
pub(super) async fn look<E: Env>(source: &Source<'_, E>) -> Result<Salvaged> {
    salvage::<E, fn() -> std::future::Ready<Result<u64>>>(source, None).await
}

/// The last operation before the first segment, if that one says it.
pub(super) async fn first_taken<E: Env>(source: &Source<'_, E>) -> Option<SeqNo> {
    chains(source).await.1
}

/// Reads all segments; hands the operations that belong to the prefix to `sink`, if there is one.
///
/// # Errors
/// Writing. What cannot be read is a hole.
pub(super) async fn salvage<E: Env, N: AsyncFn() -> Result<u64>>(
    source: &Source<'_, E>,
    mut sink: Option<&mut Sink<'_, E, N>>,
) -> Result<Salvaged> {
    let Source { env, dir, identity, segments, .. } = *source;
    let (ends, first) = chains(source).await;
    let start = source.taken.max(first.unwrap_or_default());
    let mut prefix = Prefix {
        floor: source.floor,
        taken: source.taken,
        upto: if source.taken == SeqNo(0) { start } else { source.taken },
        known: source.known.max(source.floor),
        count: 0,
        hole: None,
        cut: None,
    };
    for &number in segments {
        let path = wal::path(dir, number);
        let mut walk = match Walk::open(env, path.clone(), Magic::Segment, identity).await {
            Ok(walk) => walk,
            Err(error @ Error::Newer { .. }) => return Err(error),
            Err(_) => {
                prefix.hole(&path, 0);
                continue;
            }
        };
        if let Some(&end) = ends.get(&number) {
            walk.limit(end);
        }
        loop {
            match walk.next().await {
                Ok(None) => break,
                Ok(Some(Piece::Gap { offset, .. })) => prefix.hole(&path, offset),
                Ok(Some(Piece::Frame { offset, head, payload })) => {
                    let ops = operations(&head, payload);
                    match (head.kind, ops) {
                        (FrameKind::Batch, Some(ops)) => {
                            for (seq, op) in prefix.frame(&path, offset, &ops) {
                                if let Some(sink) = &mut sink {
                                    sink.insert(*seq, *op).await?;
                                }
                            }
                        }
                        (FrameKind::Batch, None) => prefix.hole(&path, offset),
                        // What the next one is to be, was told when all before was durable.
                        _ => prefix.told(&path, offset, SeqNo(head.first_seq.0.saturating_sub(1))),
                    }
                }
                Err(Error::Io { .. } | Error::Corruption { .. }) => {
                    prefix.hole(&path, 0);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        walk.close().await;
    }
    if let Some(sink) = sink {
        sink.flush().await?;
    }
    Ok(prefix.end(dir, segments))
}

/// Where later segments say that earlier ones end, and the last operation before the first segment, if that one says it.
async fn chains<E: Env>(source: &Source<'_, E>) -> (BTreeMap<u64, u64>, Option<SeqNo>) {
    let Source { env, dir, identity, segments, .. } = *source;
    let (mut ends, mut first) = (BTreeMap::new(), None);
    for &number in segments {
        let path = wal::path(dir, number);
        let Ok(mut walk) = Walk::open(env, path, Magic::Segment, identity).await else { continue };
        if let Ok(Some(Piece::Frame { head, payload, .. })) = walk.next().await
            && head.kind == FrameKind::Chain
            && let Some(chain) = read_chain(payload)
        {
            ends.insert(chain.segment, chain.end);
            if segments.first() == Some(&number) {
                first = Some(chain.last_seq);
            }
        }
        walk.close().await;
    }
    (ends, first)
}

/// The operations that follow on each other without a gap.
struct Prefix {
    floor: SeqNo,
    taken: SeqNo,
    /// The last one.
    upto: SeqNo,
    known: SeqNo,
    count: u64,
    /// The first place since `upto` where something may have been.
    hole: Option<(PathBuf, u64)>,
    cut: Option<Cut>,
}

impl Prefix {
    fn hole(&mut self, path: &Path, offset: u64) {
        self.hole.get_or_insert_with(|| (path.to_owned(), offset));
    }

    /// Something proves that operation `last` stood before `offset`.
    fn told(&mut self, path: &Path, offset: u64, last: SeqNo) {
        self.known = self.known.max(last);
        if self.cut.is_none() && last > self.upto {
            if last <= self.floor {
                self.upto = last;
                self.hole = None;
            } else {
                self.cut(path.to_owned(), offset, last);
            }
        }
    }

    /// The operations of a frame that belong to the prefix.
    fn frame<'a, 'b>(
        &mut self,
        path: &Path,
        offset: u64,
        ops: &'a [(SeqNo, Op<'b>)],
    ) -> &'a [(SeqNo, Op<'b>)] {
        let (Some((first, _)), Some((last, _))) = (ops.first(), ops.last()) else { return &[] };
        self.told(path, offset, SeqNo(first.0.saturating_sub(1)));
        self.known = self.known.max(*last);
        if let Some(cut) = &mut self.cut {
            cut.gone.1 = cut.gone.1.max(last.0);
            cut.behind += ops.len() as u64;
            for (_, op) in ops {
                let key = op.key();
                let (smallest, largest) =
                    cut.keys.get_or_insert_with(|| (key.to_vec(), key.to_vec()));
                if key < smallest.as_slice() {
                    *smallest = key.to_vec();
                }
                if key > largest.as_slice() {
                    *largest = key.to_vec();
                }
            }
            return &[];
        }
        self.hole = None;
        // Only a forged log gives a number twice; its first operation stands.
        let before = self.upto.max(self.taken);
        if *last <= before {
            return &[];
        }
        self.upto = *last;
        let from = ops.partition_point(|&(seq, _)| seq <= before);
        let ops = ops.get(from..).unwrap_or_default();
        self.count += ops.len() as u64;
        ops
    }

    fn cut(&mut self, path: PathBuf, offset: u64, last: SeqNo) {
        let (path, offset) = self.hole.take().unwrap_or((path, offset));
        let gone = (self.upto.0 + 1, last.0);
        self.cut = Some(Cut { path, offset, gone, behind: 0, keys: None });
    }

    fn end(mut self, dir: &Path, segments: &[u64]) -> Salvaged {
        if self.cut.is_none() && self.known > self.upto.max(self.floor) {
            let path = wal::path(dir, segments.last().copied().unwrap_or(0));
            self.cut(path, 0, self.known);
        }
        Salvaged { upto: self.upto, known: self.known, taken: self.count, cut: self.cut }
    }
}
