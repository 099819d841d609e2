//! LCS: the longest common subsequence of two values, by the usual table of lengths.
//!
//! Time and memory are the product of the lengths; [`TABLE_BYTES_MAX`] bounds both.

use super::options::{integer, is};
use super::{Outcome, Txn};
use crate::command::CommandError;
use crate::resp::{Args, writer};

/// Memory of the table, in bytes: some tens of milliseconds to fill.
const TABLE_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Clone, Copy, Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Outcome<Self> {
        let mut options = Self::default();
        let mut index = 3;
        while let Some(option) = args.get(index) {
            if is(option, "idx") {
                options.idx = true;
            } else if is(option, "len") {
                options.len = true;
            } else if is(option, "withmatchlen") {
                options.with_match_len = true;
            } else if let Some(number) = args.get(index + 1)
                && is(option, "minmatchlen")
            {
                options.min_match_len = usize::try_from(integer(number)?.max(0)).unwrap_or(0);
                index += 1;
            } else {
                return Err(CommandError::Syntax.into());
            }
            index += 1;
        }
        if options.idx && options.len {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::text(text).into());
        }
        Ok(options)
    }
}

/// Lengths of the common subsequences of all prefixes.
struct Lengths {
    table: Vec<u32>,
    width: usize,
}

impl Lengths {
    fn new(a: &[u8], b: &[u8]) -> Outcome<Self> {
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width);
        let cells = cells.filter(|cells| *cells <= TABLE_BYTES_MAX / size_of::<u32>());
        let cells = cells.ok_or(CommandError::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ))?;
        let mut lengths = Self { table: vec![0; cells], width };
        for (i, x) in a.iter().enumerate() {
            let (above, row) = lengths.table.split_at_mut((i + 1) * width);
            let above = &above[i * width..];
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Ok(lengths)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.table[i * self.width + j]
    }
}

/// A run that both values have: its last places in both, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    a_end: usize,
    b_end: usize,
    len: usize,
}

/// The subsequence, and the runs that it is made of, the last one first.
fn walk(a: &[u8], b: &[u8], lengths: &Lengths) -> (Vec<u8>, Vec<Match>) {
    let (mut i, mut j) = (a.len(), b.len());
    let (mut common, mut matches) = (Vec::new(), Vec::<Match>::new());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            common.push(a[i - 1]);
            match matches.last_mut() {
                Some(run) if run.a_end + 1 == i + run.len && run.b_end + 1 == j + run.len => {
                    run.len += 1;
                }
                _ => matches.push(Match { a_end: i - 1, b_end: j - 1, len: 1 }),
            }
            (i, j) = (i - 1, j - 1);
        } else if lengths.at(i - 1, j) > lengths.at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    common.reverse();
    (common, matches)
}

pub(super) fn lcs(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    let (a, b) = (txn.get(args.arg(1))?, txn.get(args.arg(2))?);
    let options = Options::parse(args)?;
    let (a, b) = (a.unwrap_or_default().0, b.unwrap_or_default().0);
    let lengths = Lengths::new(&a, &b)?;
    let total = i64::from(lengths.at(a.len(), b.len()));
    if options.len {
        writer::integer(out, total);
        return Ok(());
    }
    let (common, matches) = walk(&a, &b, &lengths);
    if !options.idx {
        writer::bulk(out, &common);
        return Ok(());
    }
    let place = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
    let shown: Vec<&Match> =
        matches.iter().filter(|run| run.len >= options.min_match_len.max(1)).collect();
    writer::map(out, 2, txn.protocol());
    writer::bulk(out, b"matches");
    writer::array(out, shown.len());
    for run in shown {
        writer::array(out, if options.with_match_len { 3 } else { 2 });
        for end in [run.a_end, run.b_end] {
            writer::array(out, 2);
            writer::integer(out, place(end + 1 - run.len));
            writer::integer(out, place(end));
        }
        if options.with_match_len {
            writer::integer(out, place(run.len));
        }
    }
    writer::bulk(out, b"len");
    writer::integer(out, total);
    Ok(())
}
