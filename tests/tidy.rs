//! What a machine can see of the rules in ARCHITECTURE: which file may name what, how long a file may grow, what a comment
//! may leave behind. Reads the sources as text; says file and line of every breach at once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A file longer than this is listed; a reader judges.
const LINES_AIM: usize = 500;
/// A file longer than this is refused.
const LINES_MAX: usize = 700;

/// The only files that may contain `unsafe` code, each with the reason.
const UNSAFE_ALLOWED: &[(&str, &str)] = &[
    ("shard/src/env/ring", "submission of buffers to the kernel, registered buffer rings"),
    ("shard/src/env/mod.rs", "the aligned buffer of direct I/O"),
    (
        "shard/src/env/glommio/cached.rs",
        "a file as memory: the mapping, its advice, copies into it, and a look at what is dirty",
    ),
    ("shard/src/env/glommio/file.rs", "a descriptor borrowed from the runtime"),
    ("shard/src/env/glommio/driver.rs", "a descriptor handed to the runtime"),
    ("shard/src/env/glommio/tests.rs", "the CPU time of a thread"),
    ("shard/src/memtable/raw.rs", "entries addressed by pointer inside an arena"),
    ("shard/src/prefetch.rs", "the instruction that fetches a cache line"),
    ("shard/src/huge_pages.rs", "the advice that a large buffer gets huge pages"),
    ("shard/src/tests/allocations.rs", "an allocator that notes the largest request"),
    ("src/runtime", "file descriptors and signals of the executors"),
    ("src/net", "sockets on the core's ring"),
    ("src/sys.rs", "system calls that ask what the kernel allows"),
    ("tests/blackbox/common/seccomp.rs", "a filter installed between fork and exec"),
];

/// One source file, its path relative to the root.
#[derive(Debug)]
struct Source {
    path: String,
    text: String,
    /// Its `mod` line stands under `#[cfg(test)]`, here or in a folder above it.
    test_only: bool,
}

impl Source {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/")
            || path.starts_with("shard/tests/")
            || ["benches/", "examples/"]
                .iter()
                .any(|dir| path.trim_start_matches("shard/").starts_with(dir))
            || path.contains("/env/sim")
            || self.test_only
    }

    /// Lines with their numbers, without comments, up to the file's own `mod tests`.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ");
        let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
        let code = lines.into_iter().take(end).enumerate();
        code.map(|(index, line)| (index + 1, line.split("//").next().unwrap()))
    }

    fn is_under(&self, prefixes: &[&str]) -> bool {
        prefixes.iter().any(|prefix| self.path.starts_with(prefix))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All text files of the repository, in order; build outputs and data left out.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let ignored = ["target", "db_data", ".git", "corpus", "artifacts", "shared"];
            if ignored.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push(Source { path, text, test_only: false });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|source| source.path == "src/main.rs"), "the sources were not found");
    let tests: Vec<String> = found.iter().flat_map(test_modules).collect();
    for source in &mut found {
        let stem = source.path.trim_end_matches(".rs");
        source.test_only =
            tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/")));
    }
    found
}

/// The modules that `source` declares for tests only, as paths without an extension.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = file.trim_end_matches(".rs");
    let folder = match stem {
        "mod" | "lib" | "main" => folder.to_owned(),
        _ => format!("{folder}/{stem}"),
    };
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let pairs =
        lines.windows(2).filter(|pair| pair[0].starts_with("#[cfg(") && pair[0].contains("test"));
    let names = pairs.filter_map(|pair| {
        let name = pair[1]
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ")
            .strip_prefix("mod ")?;
        name.strip_suffix(';')
    });
    names.map(|name| format!("{folder}/{name}")).collect()
}

fn none(breaches: &[String], rule: &str) {
    assert!(breaches.is_empty(), "{rule}:\n{}", breaches.join("\n"));
}

/// Breaches of a rule about Rust code, as `path:line: text`.
fn breaches(breach: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in
        sources().iter().filter(|source| source.is_rust() && source.path != "tests/tidy.rs")
    {
        for (number, line) in source.code().filter(|(_, line)| breach(source, line)) {
            found.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    found
}

/// Whether `line` names the crate `name`: as a path or in a `use`, not as a part of another word.
fn names_crate(line: &str, name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    line.match_indices(name).any(|(at, _)| {
        let before =
            line.as_bytes()[..at].last().is_none_or(|&byte| !is_word(byte) && byte != b':');
        let after = &line[at + name.len()..];
        before
            && (after.starts_with("::")
                || (line.trim_start().starts_with("use ") && after.starts_with(';')))
    })
}

#[test]
fn the_runtime_is_named_behind_its_doors_only() {
    let doors = ["shard/src/env/glommio", "src/runtime"];
    let found = breaches(|source, line| {
        names_crate(line, "glommio") && !source.is_under(&doors) && !source.is_test()
    });
    none(&found, "glommio is named only in shard/src/env/glommio.rs and src/runtime");
}

#[test]
fn io_uring_is_named_in_the_ring_only() {
    let found = breaches(|source, line| {
        names_crate(line, "io_uring")
            && !source.is_under(&["shard/src/env/ring"])
            && !source.is_test()
    });
    none(&found, "the io-uring crate is named only in shard/src/env/ring");
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    let mut too_long = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let count = source.text.lines().count();
        if count > LINES_MAX {
            too_long.push(format!("{}: {count} lines", source.path));
        } else if count > LINES_AIM {
            long.push(format!("{}: {count} lines", source.path));
        }
    }
    if !long.is_empty() {
        eprintln!("longer than {LINES_AIM} lines, could each be two?\n{}", long.join("\n"));
    }
    none(&too_long, &format!("no file is longer than {LINES_MAX} lines"));
}

#[test]
fn a_promise_in_a_comment_names_its_issue() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (index, line) in source.text.lines().enumerate() {
            let open = ["TODO", "FIXME", "XXX", "HACK"].iter().any(|word| {
                line.match_indices(word).any(|(at, _)| {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let before = line[..at].chars().next_back().is_none_or(|c| !is_word(c));
                    before && line[at + word.len()..].chars().next().is_none_or(|c| !is_word(c))
                })
            });
            let issue = line
                .match_indices('#')
                .any(|(at, _)| line[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
            if open && !issue && source.is_rust() {
                found.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    none(&found, "a TODO names an issue (#12)");
}

#[test]
fn unsafe_code_stands_where_it_may() {
    let allowed: Vec<&str> = UNSAFE_ALLOWED.iter().map(|(prefix, _)| *prefix).collect();
    let found = breaches(|source, line| {
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"];
        words.iter().any(|word| line.contains(word)) && !source.is_under(&allowed)
    });
    none(&found, "unsafe code outside the list in tests/tidy.rs (each entry has its reason)");
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let found = breaches(|source, line| {
        !source.is_test() && (line.contains(".unwrap()") || line.contains(".unwrap_err()"))
    });
    none(
        &found,
        "no unwrap outside tests: Result for disk, network and client, expect(\"why\") for our own invariants",
    );
}

#[test]
fn nothing_is_left_from_debugging() {
    let found = breaches(|source, line| {
        line.contains("dbg!(")
            || (!source.is_test() && (line.contains("todo!(") || line.contains("unimplemented!(")))
    });
    none(&found, "no dbg!, todo! or unimplemented!");
}

#[test]
fn scripts_run_as_they_are() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("scripts")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Data that a script or a container reads, not a program.
        if name == "seccomp.json" || path.is_dir() {
            continue;
        }
        let executable = fs::metadata(&path).unwrap().permissions().mode() & 0o111 == 0o111;
        let shebang = fs::read_to_string(&path).unwrap().starts_with("#!/usr/bin/env ");
        if !executable || !shebang || name.contains('.') {
            found
                .push(format!("scripts/{name}: executable {executable}, #!/usr/bin/env {shebang}"));
        }
    }
    none(&found, "a script is executable, begins with #!/usr/bin/env and has no extension");
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let mut found = Vec::new();
    let roots = ["/home/", "/root/", "/Users/", "/work/", "/mnt/"];
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (index, line) in source.text.lines().enumerate() {
            let own = roots.iter().any(|root| {
                line.match_indices(root).any(|(at, _)| {
                    line[..at]
                        .chars()
                        .next_back()
                        .is_none_or(|c| !c.is_ascii_alphanumeric() && !".-_*$~}".contains(c))
                })
            });
            if own {
                found.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    none(&found, "no absolute path of one machine");
}

#[test]
fn lines_end_plainly() {
    let mut found = Vec::new();
    for source in sources() {
        for (index, line) in source.text.split('\n').enumerate() {
            let tab = source.is_rust() && line.contains('\t');
            if tab || line.ends_with([' ', '\t', '\r']) {
                found.push(format!("{}:{}", source.path, index + 1));
            }
        }
        if !source.text.is_empty() && !source.text.ends_with('\n') {
            found.push(format!("{}: no line end at the end", source.path));
        }
    }
    none(
        &found,
        "no tabs in Rust files, no space at the end of a line, a line end at the end of a file",
    );
}

#[test]
fn every_fuzz_target_has_a_small_corpus_that_is_replayed() {
    const FILES_MAX: usize = 300;
    const BYTES_MAX: u64 = 1 << 20;
    let replays: String = ["src/fuzzing/tests.rs", "shard/src/fuzzing/tests.rs"]
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .concat();
    let mut found = Vec::new();
    let mut all_bytes = 0;
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let target = path.file_stem().unwrap().to_string_lossy().into_owned();
        let corpus = fs::read_dir(root().join("fuzz/corpus").join(&target));
        let files: Vec<_> = corpus.into_iter().flatten().map(Result::unwrap).collect();
        all_bytes += files.iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
        if files.is_empty() || files.len() > FILES_MAX {
            found.push(format!("{target}: {} files in its corpus, 1 to {FILES_MAX}", files.len()));
        }
        if !replays.contains(&format!("replay(\"{target}\", ")) {
            found.push(format!("{target}: no test replays it"));
        }
    }
    if all_bytes > BYTES_MAX {
        found.push(format!("{all_bytes} bytes in all corpora, at most {BYTES_MAX}"));
    }
    none(&found, "a fuzz target has a corpus, and `cargo test` replays it");
}

#[test]
fn fuzz_targets_are_built_with_the_same_crates() {
    let versions = |path: &str| -> Vec<(String, String)> {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let value = |line: &str| line.split('"').nth(1).unwrap().to_owned();
        let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("name = "));
        pairs.map(|pair| (value(pair[0]), value(pair[1]))).collect()
    };
    let main = versions("Cargo.lock");
    let mut found = Vec::new();
    for (name, version) in versions("fuzz/Cargo.lock") {
        let known: Vec<&String> =
            main.iter().filter(|(other, _)| *other == name).map(|(_, version)| version).collect();
        if !known.is_empty() && !known.contains(&&version) {
            found.push(format!("{name} {version}, but {known:?} in Cargo.lock"));
        }
    }
    none(&found, "fuzz/Cargo.lock names the versions of Cargo.lock: copy it there and build");
}

/// Of the library that programs use: `rusty_lsm::engine`.
#[test]
fn every_public_item_of_the_engine_has_an_example() {
    let mut missing = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/engine/")) {
        let mut has_example = false;
        for (index, line) in source.text.lines().map(str::trim).enumerate() {
            if line.starts_with("///") {
                has_example |= line.starts_with("/// ```");
            } else if !line.starts_with("#[") {
                let item = line.strip_prefix("pub ").unwrap_or("");
                let words = ["fn ", "async fn ", "struct ", "enum ", "trait ", "type "];
                if !has_example && words.iter().any(|word| item.starts_with(word)) {
                    missing.push(format!("{}:{}: {line}", source.path, index + 1));
                }
                has_example = false;
            }
        }
    }
    none(&missing, "every public item of the engine has an example");
}
