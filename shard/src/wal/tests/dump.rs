//! The format, pinned: any change of bytes shows here.

use super::super::frame::{FrameBuilder, FrameHead, chain_frame, witness_frame};
use super::super::header::{FORMAT, Header, Magic};
use super::super::{Chain, golden};
use super::ID;
use crate::batch::Op;
use crate::env::IoBuf;
use crate::key::SeqNo;

/// Commands: `segment <number> <epoch> <bytes> <grain>`, `chain <segment> <end> <last_seq>`, `put <key> <value>`,
/// `until <key> <value> <expires_at_ms>`, `delete <key>`, `batch`, `witness`. What is written is dumped.
#[test]
fn segments_look_as_they_did() {
    let mut builder = FrameBuilder::new(4096);
    let mut head = FrameHead {
        identity: ID,
        segment: 0,
        epoch: 0,
        offset: 0,
        first_seq: SeqNo(0),
        synced_upto: 0,
        grain_bytes: 4096,
    };
    golden::run("wal/format.txt", |line| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        let frame: IoBuf = match words[0] {
            "segment" => {
                (head.segment, head.epoch, head.offset) = (number(1), number(2), 0);
                head.grain_bytes = usize::try_from(number(4)).unwrap();
                let header = Header {
                    format: FORMAT,
                    number: number(1),
                    epoch: number(2),
                    extent: number(3),
                    grain_bytes: head.grain_bytes,
                };
                header.encode(Magic::Segment, ID)
            }
            "chain" => {
                let last_seq = SeqNo(number(3));
                head.first_seq = SeqNo(last_seq.0 + 1);
                chain_frame(Chain { segment: number(1), end: number(2), last_seq }, head)
            }
            "put" => {
                builder.push(&Op::Put {
                    key: words[1].as_bytes(),
                    value: words[2].as_bytes(),
                    expires_at_ms: 0,
                });
                return String::new();
            }
            "until" => {
                let (key, value) = (words[1].as_bytes(), words[2].as_bytes());
                builder.push(&Op::Put { key, value, expires_at_ms: number(3) });
                return String::new();
            }
            "delete" => {
                builder.push(&Op::Delete { key: words[1].as_bytes() });
                return String::new();
            }
            "batch" => {
                let ops = u64::from(builder.ops());
                let frame = builder.finish(head);
                head.first_seq.0 += ops;
                frame
            }
            "witness" => witness_frame(head),
            other => panic!("{other}"),
        };
        let dump = golden::hex(&frame, usize::try_from(head.offset).unwrap());
        head.offset += frame.len() as u64;
        head.synced_upto = head.offset;
        format!("{} bytes\n{dump}", frame.len())
    });
}
