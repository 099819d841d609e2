//! The bytes of small tables, pinned. Scripts: lines of input, `---`, output; blocks are parted by an empty line;
//! `#` says why. `UPDATE_GOLDEN=1` rewrites the outputs, and the diff is reviewed like code.
//!
//! ```text
//! options block=BYTES compression=on|off filter=BITS
//! put KEY SEQ VALUE [xCOUNT]       the value COUNT times over
//! until KEY SEQ VALUE MS           a value that ends then
//! del KEY SEQ
//! table                            builds it: dump of the file, block by block
//! ```

use std::fmt::Write as _;
use std::path::Path;

use super::super::footer::FOOTER_BYTES;
use super::super::path;
use super::{Rows, all, build, dir, open};
use crate::env::sim::Sim;
use crate::key::Kind;
use crate::options::TableOptions;

#[test]
fn table_bytes() {
    run("format.txt");
}

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/table").join(name);
    #[expect(clippy::disallowed_methods, reason = "the script, not the engine's files")]
    let script = std::fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    for block in script.split("\n\n") {
        let input = block.split("---").next().unwrap().trim_end();
        let output = script_block(input);
        writeln!(actual, "{input}").unwrap();
        if !output.is_empty() {
            write!(actual, "---\n{}\n", output.trim_end()).unwrap();
        }
        actual.push('\n');
    }
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        #[expect(clippy::disallowed_methods, reason = "the script, not the engine's files")]
        std::fs::write(&path, actual).unwrap();
    } else {
        assert!(script == actual, "{name} differs (UPDATE_GOLDEN=1 rewrites it):\n{actual}");
    }
}

fn script_block(input: &str) -> String {
    let (mut rows, mut options, mut output) = (Rows::new(), TableOptions::default(), String::new());
    for line in input.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["options", settings @ ..] => {
                for setting in settings {
                    match setting.split_once('=').unwrap() {
                        ("block", bytes) => options.block_bytes = bytes.parse().unwrap(),
                        ("compression", on) => options.compression = on == "on",
                        ("filter", bits) => options.filter_bits_per_key = bits.parse().unwrap(),
                        other => panic!("{other:?}"),
                    }
                }
            }
            ["put", key, seq, value, rest @ ..] => {
                let times = rest.first().map_or(1, |times| times[1..].parse().unwrap());
                let value = value.repeat(times).into_bytes();
                rows.insert((*key).into(), (seq.parse().unwrap(), Kind::Put, value));
            }
            ["until", key, seq, value, ends] => {
                let value = super::expiring(ends.parse().unwrap(), value.as_bytes());
                rows.insert((*key).into(), (seq.parse().unwrap(), Kind::Expiring, value));
            }
            ["del", key, seq] => {
                rows.insert((*key).into(), (seq.parse().unwrap(), Kind::Delete, Vec::new()));
            }
            ["table"] => output += &dump(&rows, &options),
            other => panic!("{other:?}"),
        }
    }
    output
}

fn dump(rows: &Rows, options: &TableOptions) -> String {
    let (rows, options) = (rows.clone(), options.clone());
    Sim::new(1).run(|env| async move {
        let meta = build(&env, 7, &rows, &options).await;
        let bytes = env.read_raw(path(dir(), 7));
        let table = open(&env, &meta).await;
        let mut out = String::new();
        let mut data_end = 0;
        for index in 0..table.blocks() {
            let handle = table.block(index).unwrap();
            let from = usize::try_from(handle.offset()).unwrap();
            data_end = from + handle.stored_len();
            writeln!(
                out,
                "block {index} at {from}, {} stored, {} raw",
                handle.stored_len(),
                handle.raw_len
            )
            .unwrap();
            for (key, seq, kind, value) in all(&table.read_block(handle).await.unwrap()) {
                let key = key.escape_ascii();
                writeln!(out, "  {key} @{seq} {kind:?} {} bytes", value.len()).unwrap();
            }
            out += &hex(&bytes[from..data_end]);
        }
        let end = usize::try_from(meta.bytes).unwrap();
        let meta_at = data_end.next_multiple_of(super::super::META_ALIGN);
        writeln!(out, "meta at {meta_at}").unwrap();
        out += &hex(&bytes[meta_at..end - FOOTER_BYTES]);
        writeln!(out, "footer at {}", end - FOOTER_BYTES).unwrap();
        out += &hex(&bytes[end - FOOTER_BYTES..end]);
        writeln!(out, "bytes {} of {}, crc {:08x}", meta.bytes, bytes.len(), meta.crc).unwrap();
        table.close().await.unwrap();
        out
    })
}

/// Rows of 16 bytes.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(16) {
        out += "   ";
        for byte in chunk {
            write!(out, " {byte:02x}").unwrap();
        }
        let text = chunk.iter().map(|&byte| match byte {
            b'!'..=b'~' => char::from(byte),
            _ => '.',
        });
        out += &"   ".repeat(16 - chunk.len());
        out += "  ";
        out.extend(text);
        out.push('\n');
    }
    out
}
