//! The corpora, through the same functions, without libFuzzer.

use std::path::Path;

use crate::tests::allocations::largest_in;

/// Largest single allocation of any input, in bytes: a machine of the simulator, and files of at most 128 KiB.
const ALLOCATION_MAX: usize = 8 << 20;

/// Every file of `fuzz/corpus/{target}`, the one being tried named if it fails.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "the corpora lie in the source tree"
)]
fn replay(target: &str, run: fn(&[u8])) {
    struct Trying(String);
    impl Drop for Trying {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("with {}; see fuzz/README.md", self.0);
            }
        }
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "no corpus in fuzz/corpus/{target}");
    // What is made once is not the inputs' doing.
    run(&[0; 4]);
    for path in paths {
        let trying = Trying(path.display().to_string());
        let input = std::fs::read(&path).unwrap();
        let ((), largest) = largest_in(|| run(&input));
        assert!(largest <= ALLOCATION_MAX, "an allocation of {largest} bytes");
        drop(trying);
    }
}

#[test]
fn block() {
    replay("block", super::block);
}

#[test]
fn table() {
    replay("table", super::table);
}

#[test]
fn wal() {
    replay("wal", super::wal);
}

#[test]
fn manifest() {
    replay("manifest", super::manifest);
}

#[test]
fn repair() {
    replay("repair", super::repair);
}
