//! The corpora, through the same functions, without libFuzzer.

use std::path::Path;

/// Every file of `fuzz/corpus/{target}`, the one being tried named if it fails.
fn replay(target: &str, run: fn(&[u8])) {
    struct Trying(String);
    impl Drop for Trying {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("with {}; see fuzz/README.md", self.0);
            }
        }
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "no corpus in fuzz/corpus/{target}");
    for path in paths {
        let trying = Trying(path.display().to_string());
        run(&std::fs::read(&path).unwrap());
        drop(trying);
    }
}

#[test]
fn resp() {
    replay("resp", super::resp);
}

#[test]
fn config() {
    replay("config", super::config);
}

#[test]
fn commands() {
    replay("commands", super::commands);
}
