//! The format, pinned: any change of bytes, rkyv's included, shows here.

use super::super::edit::{CleanStop, VersionEdit, WalMeta};
use super::super::file::encode;
use super::{ID, table};
use crate::expiry::Expiring;
use crate::key::SeqNo;
use crate::wal::frame::{FrameHead, FrameKind};
use crate::wal::golden;
use crate::wal::header::{FORMAT, Header, Magic};

/// Commands: `current <number> <snapshot end>`, `manifest <number> <epoch>`, then frames: `snapshot` or `edit`, each with
/// words `+<level>/<number>/<smallest>/<largest>[/<expiring>/<first ms>/<last ms>]`, `-<level>/<number>`, `wal=<number>/<bytes>`, `live=`, `flushed=`,
/// `numbers=`, `stop=<segment>/<end>/<last_seq>`.
#[test]
fn manifests_look_as_they_did() {
    let mut head = FrameHead {
        identity: ID,
        segment: 0,
        epoch: 0,
        offset: 0,
        first_seq: SeqNo(0),
        synced_upto: 0,
        grain_bytes: 4096,
    };
    golden::run("manifest/format.txt", |line| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        let block = match words[0] {
            "current" => {
                let (format, number, extent) = (FORMAT, number(1), number(2));
                let header = Header { format, number, epoch: 0, extent, grain_bytes: 4096 };
                return golden::hex(&header.encode(Magic::Current, ID), 0);
            }
            "manifest" => {
                (head.segment, head.epoch, head.offset) = (number(1), number(2), 0);
                let (format, number, epoch) = (FORMAT, number(1), number(2));
                let header = Header { format, number, epoch, extent: 0, grain_bytes: 4096 };
                header.encode(Magic::Manifest, ID)
            }
            "snapshot" => encode(FrameKind::Snapshot, &edit(&words[1..]), &head).unwrap(),
            "edit" => {
                head.synced_upto = head.offset;
                encode(FrameKind::Edit, &edit(&words[1..]), &head).unwrap()
            }
            other => panic!("{other}"),
        };
        let dump = golden::hex(&block, usize::try_from(head.offset).unwrap());
        if head.offset > 0 {
            head.first_seq.0 += 1;
        }
        head.offset += block.len() as u64;
        format!("{} bytes\n{dump}", block.len())
    });
}

fn edit(words: &[&str]) -> VersionEdit {
    let mut edit = VersionEdit::default();
    for word in words {
        let (name, rest) = match word.split_once('=') {
            Some(pair) => pair,
            None => word.split_at(1),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let number = |index: usize| parts[index].parse::<u64>().unwrap();
        let level = || parts[0].parse().unwrap();
        match name {
            "+" => {
                let mut meta = table(number(1), parts[2], parts[3]);
                if parts.len() > 4 {
                    let (entries, first_ms, last_ms) = (number(4), number(5), number(6));
                    meta.expiring = Expiring { entries, first_ms, last_ms };
                }
                edit.added.push((level(), meta));
            }
            "-" => edit.removed.push((level(), number(1))),
            "wal" => edit.wal_added.push(WalMeta { number: number(0), bytes: number(1) }),
            "live" => edit.wal_first_live = Some(number(0)),
            "flushed" => edit.flushed_seq = Some(number(0)),
            "numbers" => edit.numbers_reserved = Some(number(0)),
            "stop" => {
                let (segment, end, last_seq) = (number(0), number(1), number(2));
                edit.clean_stop = Some(CleanStop { segment, end, last_seq });
            }
            other => panic!("{other}"),
        }
    }
    edit
}
