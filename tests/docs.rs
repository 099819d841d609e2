//! What the pages say exists: commands with their flags, files, links, settings.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use rusty_lsm::cli::Cli;
use rusty_lsm::config::LsmConfig;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path and text of each page.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths =
        vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CHANGELOG.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// What stands between backticks within a line, and lines of code blocks.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push((index + 1, line.trim().trim_start_matches("$ ").to_owned()));
        } else {
            let inline = line.split('`').skip(1).step_by(2);
            found.extend(inline.map(|code| (index + 1, code.to_owned())));
        }
    }
    found
}

/// The words of a shell line up to what the shell takes for itself; quotes only around whole words.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" # ").next().unwrap_or(line);
    let end = line.find([';', '|', '>', '&']).unwrap_or(line.len());
    line[..end].split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect()
}

#[test]
fn every_command_line_is_one() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in pages() {
        for (number, line) in code(&text) {
            let words = words(&line);
            let ours =
                words.iter().position(|word| word == "rusty-lsm" || word.ends_with("/rusty-lsm"));
            // `cargo run --release -- start ..` is one, too; what a program prints is not.
            let cargo =
                words.first().is_some_and(|word| word == "cargo") && line.contains("--release -- ");
            let args: Vec<String> = match (ours, cargo) {
                (Some(0), _) => words[1..].to_vec(),
                (_, true) => {
                    words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect()
                }
                _ => continue,
            };
            let names_one = args
                .first()
                .is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            // `rusty-lsm 0.1.0, Linux` is a banner, and a bare name a mention.
            if !names_one || line.contains("..") || line.contains('[') || line.contains('{') {
                continue;
            }
            seen += 1;
            let parsed =
                Cli::try_parse_from(std::iter::once("rusty-lsm".to_owned()).chain(args.clone()));
            if let Err(error) = parsed {
                use clap::error::ErrorKind as Kind;
                // A mention without its arguments is one all the same.
                let is_mention = matches!(
                    error.kind(),
                    Kind::MissingRequiredArgument
                        | Kind::DisplayHelp
                        | Kind::DisplayVersion
                        | Kind::DisplayHelpOnMissingArgumentOrSubcommand
                );
                // N and the like stand for a number.
                let has_stand_in = args
                    .iter()
                    .any(|word| word.len() < 3 && word.chars().all(|c| c.is_ascii_uppercase()));
                let is_mention =
                    is_mention || has_stand_in && error.kind() == Kind::ValueValidation;
                if !is_mention {
                    wrong.push(format!("{}:{number}: {line}: {}", path.display(), error.kind()));
                }
            }
        }
    }
    assert!(seen > 10, "{seen} command lines: are they still found?");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_and_link_is_there() {
    let mut wrong = Vec::new();
    for (path, text) in pages() {
        let base = path.parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = base.join(file);
            let Ok(linked) = fs::read(&target) else {
                if !target.is_dir() {
                    wrong.push(format!("{}: link to {link}", path.display()));
                }
                continue;
            };
            if !anchor.is_empty() && !anchors(&String::from_utf8_lossy(&linked)).contains(anchor) {
                wrong.push(format!("{}: no heading #{anchor} in {file}", path.display()));
            }
        }
        for (number, code) in code(&text) {
            let first = code.split_whitespace().next().unwrap_or_default();
            let is_script = first.starts_with("scripts/") && !first.contains(['*', '{', '.']);
            if is_script && !root().join(first.trim_end_matches('/')).exists() {
                wrong.push(format!("{}:{number}: {first} is not there", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// As a Git host makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_setting_is_one() {
    let known: BTreeSet<String> = LsmConfig::default()
        .to_toml()
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    assert!(known.contains("wal_capacity"), "{known:?}");
    for (path, text) in pages() {
        for (number, code) in code(&text) {
            let after =
                code.split("--set ").skip(1).filter_map(|rest| rest.split(['=', ' ']).next());
            for name in
                after.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            {
                // What the pages show as wrong on purpose.
                let is_shown_wrong = code.contains("unknown setting");
                assert!(
                    known.contains(name) || is_shown_wrong,
                    "{}:{number}: {name}",
                    path.display()
                );
            }
        }
    }
}
