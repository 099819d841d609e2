use std::os::unix::fs::PermissionsExt as _;

use shard::checkpoint::Checkpoint;

use super::*;
use crate::format::Format;

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("backups");
    (dir, root)
}

fn format() -> Format {
    Format::new(1, 0).unwrap()
}

/// A checkpoint whose one shard holds this.
fn make(root: &Path, of: &str, holds: &str, replaces: bool) -> Result<PathBuf, ServerError> {
    let draft = Draft::begin(root, name(of), format(), replaces)?;
    fs::create_dir(draft.shard_path(0)).unwrap();
    fs::write(draft.shard_path(0).join("000001.sst"), holds).unwrap();
    let part = Checkpoint { last_seq: 7, tables: 1, bytes: holds.len() as u64 };
    draft.commit(&[part]).map(|(path, _)| path)
}

fn held(path: &Path) -> String {
    fs::read_to_string(path.join("shard-000/000001.sst")).unwrap()
}

#[test]
fn a_name_leads_nowhere_else() {
    for good in ["dump", "a", "_", "2026-11-27.full", &"x".repeat(64)] {
        assert_eq!(name(good).as_str(), good);
    }
    let long = "x".repeat(65);
    let bad = ["", ".", "..", ".a", "-a", "a/b", "/a", "a b", "a\0", "\u{e9}", "a\n", &long];
    for bad in bad {
        let error = Name::parse(bad.as_bytes()).unwrap_err();
        assert!(error.contains("is no name for a checkpoint") && !error.contains('\n'), "{error}");
    }
    assert!(Name::parse(b"a\xff").is_err());
    assert!(Name::is_tmp(".a.tmp"));
    for other in ["a.tmp", ".tmp", "..tmp", ".a", ".-.tmp", ".lock"] {
        assert!(!Name::is_tmp(other), "{other}");
    }
}

#[test]
fn a_draft_gets_its_name_or_leaves_nothing() {
    let (_guard, root) = dir();
    drop(Draft::begin(&root, name("a"), format(), false).unwrap());
    assert!(list(&root).unwrap().is_empty());
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "the lock alone");
    let path = make(&root, "a", "1", false).unwrap();
    assert_eq!(path, root.join("a"));
    for (path, mode) in [(&root, 0o700), (&path, 0o700), (&path.join(CHECKPOINT), 0o600)] {
        let found = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
    let [(of, description)] = list(&root).unwrap().try_into().unwrap();
    assert_eq!((of.as_str(), description.tables(), description.bytes()), ("a", 1, 1));
    assert_eq!(description.shards[0].last_seq, 7);
    let again = make(&root, "a", "2", false).unwrap_err().to_string();
    assert!(again.contains("it exists") && again.contains("--delete a"), "{again}");
    assert_eq!(held(&path), "1");
}

/// All of it is durable before it has its name, and a replaced one goes last.
#[test]
fn a_checkpoint_is_durable_in_this_order() {
    let (_guard, root) = dir();
    make(&root, "a", "1", true).unwrap();
    let (outer, tmp) = (root.parent().unwrap(), root.join(".a.tmp"));
    let parts = [CHECKPOINT, "FORMAT", "FORMAT.tmp", "shard-000"];
    for there in [&[][..], &["a"]] {
        let wanted: Vec<(PathBuf, Vec<&str>)> = vec![
            (outer.to_owned(), vec!["backups"]),
            (tmp.join(CHECKPOINT), vec![parts[0], parts[3]]),
            (tmp.join("FORMAT.tmp"), vec![parts[0], parts[2], parts[3]]),
            (tmp.clone(), vec![parts[0], parts[1], parts[3]]),
            // The replaced one has the other name then.
            (root.clone(), [&[".a.tmp"][..there.len()], &[".lock", "a"]].concat()),
        ];
        let skipped = there.len();
        let found = crate::format::tests::synced();
        let found: Vec<(PathBuf, Vec<&str>)> = found
            .iter()
            .map(|(path, names)| (path.clone(), names.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(found, wanted[skipped..]);
        make(&root, "a", "2", true).unwrap();
    }
}

#[test]
fn one_that_is_replaced_is_whole_until_the_new_one_is() {
    let (_guard, root) = dir();
    make(&root, "dump", "1", true).unwrap();
    let draft = Draft::begin(&root, name("dump"), format(), true).unwrap();
    assert_eq!(held(&root.join("dump")), "1");
    drop(draft);
    assert_eq!(held(&root.join("dump")), "1");
    make(&root, "dump", "2", true).unwrap();
    assert_eq!(held(&root.join("dump")), "2");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2, "nothing is left");
}

/// Copiers take files of one name, size and second for the same.
#[test]
fn no_two_are_dated_alike() {
    use std::os::unix::fs::MetadataExt as _;
    let (_guard, root) = dir();
    let dates = ["a", "b", "c"].map(|of| {
        let path = make(&root, of, "1", false).unwrap();
        fs::metadata(path.join("shard-000/000001.sst")).unwrap().mtime()
    });
    assert!(dates[0] < dates[1] && dates[1] < dates[2], "{dates:?}");
}

#[test]
fn one_at_a_time() {
    let (_guard, root) = dir();
    let draft = Draft::begin(&root, name("a"), format(), false).unwrap();
    for other in [make(&root, "b", "1", false).map(drop), delete(&root, &name("a")).map(drop)] {
        assert!(other.is_err());
    }
    drop(draft);
    make(&root, "b", "1", false).unwrap();
}

/// Left by somebody who was killed; and what is not ours, which stays.
#[test]
fn what_was_left_goes_and_what_is_not_ours_stays() {
    let (_guard, root) = dir();
    fs::create_dir_all(root.join(".old.tmp/shard-000")).unwrap();
    fs::create_dir_all(root.join("mine")).unwrap();
    fs::write(root.join(".note"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    make(&root, "a", "1", false).unwrap();
    assert!(!root.join(".old.tmp").exists());
    fs::create_dir_all(root.join(".old.tmp/shard-000")).unwrap();
    clear_left_over(&root);
    assert!(!root.join(".old.tmp").exists() && root.join(".note").exists());
    for taken in ["mine", "link"] {
        for error in [
            make(&root, taken, "1", true).map(drop).unwrap_err(),
            delete(&root, &name(taken)).map(drop).unwrap_err(),
        ] {
            assert!(error.to_string().contains("it is no"), "{error}");
        }
    }
    assert!(Path::new("/etc/passwd").exists());
    assert_eq!(list(&root).unwrap().len(), 1);
}

#[test]
fn a_deleted_one_is_gone() {
    let (_guard, root) = dir();
    assert!(list(&root).unwrap().is_empty());
    make(&root, "a", "1", false).unwrap();
    make(&root, "b", "1", false).unwrap();
    delete(&root, &name("a")).unwrap();
    let error = delete(&root, &name("a")).unwrap_err().to_string();
    assert!(error.contains("there is none"), "{error}");
    assert_eq!(list(&root).unwrap().len(), 1);
    assert!(!root.join("a").exists());
}
