//! Golden scripts: blocks of commands, `---`, and the output; blocks are parted by an empty line, `#` says why.
//! `UPDATE_GOLDEN=1` writes the outputs anew; the difference is reviewed like code.

use std::fmt::Write as _;
use std::path::Path;

/// Runs the script `shard/testscripts/{name}`; each command line (without its comment) gives lines of output.
#[expect(clippy::disallowed_methods, reason = "scripts lie in the source tree")]
pub(crate) fn run(name: &str, mut command: impl FnMut(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts").join(name);
    let script = std::fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    for block in script.split("\n\n") {
        let commands = block.split("---").next().unwrap().trim();
        let mut output = String::new();
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            output.push_str(&command(line));
        }
        writeln!(actual, "{commands}\n---\n{}\n", output.trim_end()).unwrap();
    }
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    } else {
        assert!(script == actual, "{name} differs; UPDATE_GOLDEN=1 rewrites it. Now:\n{actual}");
    }
}

/// Rows of 16 bytes, those of zeros left out.
pub(crate) fn hex(bytes: &[u8], start: usize) -> String {
    let mut out = String::new();
    for (row, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().all(|&byte| byte == 0) {
            continue;
        }
        write!(out, "{:06x} ", start + row * 16).unwrap();
        for byte in chunk {
            write!(out, " {byte:02x}").unwrap();
        }
        for _ in chunk.len()..16 {
            out.push_str("   ");
        }
        out.push_str("  ");
        out.extend(chunk.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        }));
        out.push('\n');
    }
    out
}
