//! All files of a shard, edited: opened as they are, checked, repaired, checked, opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::base::{Base, DIR, IDENTITY, KEYS, base, key, open};
use super::script::Script;
use super::{FORGED, forge, names_its_place, on};
use crate::batch::Op;
use crate::check::repair::{Repaired, repair as mend};
use crate::check::{Event, check};
use crate::cursor::Direction;
use crate::env::sim::SimEnv;
use crate::error::{Error, Result};
use crate::scan::Range;

/// Flag: of a shard whose power was cut.
const CUT: u8 = 2;

/// Files of a real shard, edited.
///
/// # Panics
/// If a repair of damage leaves what `check` finds, or fails, but for a file of a later release; if any repair leaves what a start
/// refuses; if a value comes out of damage that was never written.
pub fn repair(input: &[u8]) {
    let mut script = Script::new(input);
    let flags = script.byte();
    let forged = flags & FORGED != 0;
    let base = base(flags & CUT != 0);
    let (paths, mut files) = base.some(|_| true);
    script.edit(&mut files, !forged);
    if forged {
        for (path, file) in paths.iter().zip(&mut files) {
            forge_one(&base, path, file);
        }
    }
    let files = || paths.iter().map(PathBuf::as_path).zip(files.iter().map(Vec::as_slice));
    let known = (!forged).then_some(&base.history);
    let opened = on(files(), async |env| read_all(&env, known).await);
    if let Err(error) = opened {
        let bytes_max = files().map(|(_, bytes)| bytes.len()).max().unwrap_or(0).max(64 << 10);
        // A forged manifest says of a file how long it is.
        names_its_place(&error, Path::new(DIR), if forged { usize::MAX } else { bytes_max });
    }
    on(files(), async |env| repaired(&env, known).await);
}

fn forge_one(base: &Base, path: &Path, file: &mut [u8]) {
    if path.extension().is_none_or(|extension| extension != "sst") {
        return forge::frames(file);
    }
    let mut tables = base.loaded.state.version.tables();
    let dir = Path::new(DIR);
    let named = tables.find(|(_, table)| crate::table::path(dir, table.meta.number) == *path);
    if let Some((_, table)) = named {
        let bytes = usize::try_from(table.meta.bytes).unwrap_or(usize::MAX);
        forge::table(file, &IDENTITY, table.meta.number, bytes, &[]);
    }
}

async fn repaired(env: &SimEnv, known: Option<&BTreeMap<Vec<u8>, Vec<Vec<u8>>>>) {
    let dir = Path::new(DIR);
    let mut found = Vec::new();
    // What it finds is the repair's business; here, that it ends.
    let _checked = check(env, dir, IDENTITY, &mut |event| found.push(event)).await;
    let told = async |dry_run| -> Result<Repaired> {
        let mut told = 0;
        let mut tell = |event| told += u64::from(matches!(event, Event::Damage(_)));
        let answer = mend(env, dir, "fuzzed", IDENTITY, dry_run, &mut tell).await?;
        assert_eq!(answer.damages, told);
        Ok(answer)
    };
    let dry = told(true).await;
    let done = match told(false).await {
        Ok(done) => done,
        // Told by the dry run, too.
        Err(Error::Newer { .. }) => return assert!(dry.is_err(), "the dry run missed it"),
        // Tables that contradict each other, each whole: there is nothing to go by.
        Err(Error::Corruption { .. }) if known.is_none() => return,
        Err(error) => panic!("a repair failed: {error}"),
    };
    assert!(dry.is_ok_and(|dry| dry.changed == done.changed), "the dry run saw it differently");
    let mut left = Vec::new();
    let mut tell = |event| {
        if matches!(event, Event::Damage(_)) {
            left.push(event);
        }
    };
    let checked = check(env, dir, IDENTITY, &mut tell).await.expect("a disk without faults");
    // Sequence numbers that a forger has put into a table are told, and nobody knows the right ones.
    assert!(checked.damages == 0 || known.is_none(), "the repair left {left:?}");
    if let Err(error) = read_all(env, known).await {
        panic!("a start refuses what was repaired: {error}");
    }
}

/// Starts, reads each key and scans, writes, closes. Of damage only values come out that were written once.
async fn read_all(env: &SimEnv, known: Option<&BTreeMap<Vec<u8>, Vec<Vec<u8>>>>) -> Result<()> {
    let shard = open(env).await?;
    let was = |key: &[u8], value: &[u8]| {
        known.is_none_or(|known| {
            known.get(key).is_some_and(|values| values.iter().any(|known| known == value))
        })
    };
    let mut first = None;
    for number in 0..KEYS {
        let key = key(number);
        match shard.get(&key).await {
            Ok(found) => assert!(found.is_none_or(|value| was(&key, &value)), "never written"),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let mut scan = shard.scan(Range::all(), Direction::Forward);
    let mut before = None;
    loop {
        match scan.next().await {
            Ok(Some(entry)) => {
                assert!(was(entry.key, entry.value), "never written");
                let is_above = before.as_deref().is_none_or(|before| before < entry.key);
                assert!(is_above || known.is_none(), "a scan out of order");
                before = Some(entry.key.to_vec());
            }
            Ok(None) => break,
            Err(error) => {
                first = first.or(Some(error));
                break;
            }
        }
    }
    drop(scan);
    let write = shard.put_all(&[Op::Put { key: b"new", value: b"value", expires_at_ms: 0 }]).await;
    // A forged log may have used up the numbers.
    assert!(write.is_ok() || known.is_none(), "{write:?}");
    shard.close().await?;
    first.map_or(Ok(()), Err)
}
