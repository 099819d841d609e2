//! Who may use the data directory, and what becomes of it.

use std::cell::RefCell;
use std::sync::mpsc;

use super::*;

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a").join("db");
    (dir, path)
}

fn code_and_text(result: Result<DataDir, ServerError>) -> (u8, String) {
    let error = result.map(|dir| dir.path).unwrap_err();
    (error.exit_code(), error.to_string())
}

thread_local! {
    /// What was synced, and what of a data directory was there at that moment.
    static SYNCED: RefCell<Vec<(PathBuf, Vec<String>)>> = const { RefCell::new(Vec::new()) };
}

/// The names in a directory, or beside a file.
fn names(path: &Path) -> Vec<String> {
    let dir = if path.is_dir() { path } else { path.parent().unwrap() };
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What was synced since the last call, and what was beside it at that moment.
pub(crate) fn synced() -> Vec<(PathBuf, Vec<String>)> {
    SYNCED.take()
}

pub(super) fn note_sync(path: &Path) {
    SYNCED.with_borrow_mut(|synced| synced.push((path.to_owned(), names(path))));
}

/// Found by the mutation check: of two directories made, only the name of the inner one was synced.
#[test]
fn a_new_directory_is_durable_in_this_order() {
    let (_guard, path) = dir();
    let outer = path.parent().unwrap();
    drop(DataDir::open(&path, Shards::Default(1)).unwrap());
    let synced = SYNCED.take();
    let tmp = path.join(FORMAT_TMP);
    let wanted: [(&Path, &[&str]); 4] = [
        (outer.parent().unwrap(), &["a"]),
        (outer, &["db"]),
        // Its bytes before it has its name, the name before anything is built on it.
        (&tmp, &[FORMAT_TMP, LOCK]),
        (&path, &[FORMAT, LOCK]),
    ];
    let synced: Vec<(&Path, Vec<&str>)> = synced
        .iter()
        .map(|(path, names)| (path.as_path(), names.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(synced, wanted.map(|(path, names)| (path, names.to_vec())));
}

#[test]
fn a_sync_that_cannot_be_is_an_error() {
    // No file system: nothing there can be made durable, and the kernel says so.
    let error = sync_dir(Path::new("/proc/self/fd")).unwrap_err().to_string();
    assert!(error.contains("sync directory"), "{error}");
}

#[test]
fn a_new_directory_is_private_and_reads_back() {
    let (_guard, path) = dir();
    let made = DataDir::open(&path, Shards::Default(3)).unwrap();
    assert!(made.is_new());
    assert_eq!(made.shards(), 3);
    assert_eq!(made.shard_path(2), path.join("shard-002"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    for name in [FORMAT, LOCK] {
        assert_eq!(fs::metadata(path.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
    let format = made.format().clone();
    drop(made);
    let again = DataDir::open(&path, Shards::Default(8)).unwrap();
    assert!(!again.is_new());
    assert_eq!(again.format(), &format, "an old directory keeps its shards");
    drop(again);
    DataDir::open(&path, Shards::Asked(3)).unwrap();
}

#[test]
fn a_second_process_is_told_who_holds_it() {
    let (_guard, path) = dir();
    let first = DataDir::open(&path, Shards::Default(1)).unwrap();
    let (code, text) = code_and_text(DataDir::open(&path, Shards::Default(1)));
    assert_eq!(code, 75);
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    drop(first);
    DataDir::open(&path, Shards::Default(1)).unwrap();
}

/// A supervisor is often quicker than the kernel that ends the process which it killed.
#[test]
fn a_lock_that_is_about_to_go_is_waited_for() {
    let (_guard, path) = dir();
    let first = DataDir::open(&path, Shards::Default(1)).unwrap();
    let (begun, wait) = mpsc::channel();
    let second = thread::spawn({
        let path = path.clone();
        move || {
            begun.send(()).unwrap();
            DataDir::open(&path, Shards::Default(1)).map(drop)
        }
    });
    wait.recv().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the other thread is to find it locked")]
    thread::sleep(LOCK_LOOK * 3);
    drop(first);
    second.join().unwrap().unwrap();
}

/// Who opened a lock that somebody else then removes holds one that nobody will ever ask for.
#[test]
fn a_lock_that_was_removed_meanwhile_is_not_the_one_that_others_see() {
    let (_guard, path) = dir();
    fs::create_dir_all(&path).unwrap();
    let name = path.join(LOCK);
    let first = File::create(&name).unwrap();
    assert!(is_seen(&name, &first).unwrap());
    fs::remove_file(&name).unwrap();
    assert!(!is_seen(&name, &first).unwrap());
    let second = File::create(&name).unwrap();
    assert!(!is_seen(&name, &first).unwrap());
    assert!(is_seen(&name, &second).unwrap());
}

#[test]
fn another_number_of_shards_is_refused_with_both_ways_out() {
    let (_guard, path) = dir();
    drop(DataDir::open(&path, Shards::Asked(2)).unwrap());
    let (code, text) = code_and_text(DataDir::open(&path, Shards::Asked(4)));
    assert_eq!(code, 78);
    for part in ["made with 2 shards", "--shards 2", "rusty-lsm reshard --shards 4 /", "--reshard"]
    {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (_guard, path) = dir();
    fs::create_dir_all(&path).unwrap();
    fs::create_dir(path.join("lost+found")).unwrap();
    fs::write(path.join("thesis.tex"), "x").unwrap();
    let (code, text) = code_and_text(DataDir::open(&path, Shards::Default(1)));
    assert_eq!(code, 78);
    assert!(text.contains("thesis.tex"), "{text}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "nothing was written");
    fs::remove_file(path.join("thesis.tex")).unwrap();
    fs::write(path.join(FORMAT_TMP), "half").unwrap();
    DataDir::open(&path, Shards::Default(1)).unwrap();

    let file = path.join(FORMAT);
    fs::write(&file, "something else").unwrap();
    assert!(code_and_text(DataDir::open(&path, Shards::Default(1))).1.contains("not ours"));
    let (_, text) = code_and_text(DataDir::open(&file, Shards::Default(1)));
    assert!(text.contains("not a directory"), "{text}");
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let (_guard, path) = dir();
    fs::create_dir_all(&path).unwrap();
    for mode in [0o770, 0o707] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (code, text) = code_and_text(DataDir::open(&path, Shards::Default(1)));
        assert_eq!(code, 78);
        assert!(text.contains(&format!("mode {mode:o}")) && text.contains("chmod 700"), "{text}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    DataDir::open(&path, Shards::Default(1)).unwrap();
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    let format = Format { directory: 7 << 90 | 5, generation: 0, slots: SlotTable::contiguous(3) };
    let bytes = format.encode();
    let path = Path::new("d/FORMAT");
    assert_eq!(Format::decode(path, &bytes).unwrap(), format);
    for end in 0..bytes.len() {
        assert!(Format::decode(path, &bytes[..end]).is_err(), "cut at {end}");
    }
    for index in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut bytes = bytes.clone();
            bytes[index] ^= bit;
            assert!(Format::decode(path, &bytes).is_err(), "bit {bit} of byte {index}");
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Format::decode(path, &longer).is_err());
}

/// As a whole directory: whatever becomes of FORMAT, the start is refused, names it, and changes nothing.
#[test]
fn a_damaged_format_is_refused_and_left_as_it_is() {
    let (_guard, path) = dir();
    drop(DataDir::open(&path, Shards::Asked(3)).unwrap());
    let file = path.join(FORMAT);
    let whole = fs::read(&file).unwrap();
    let refused = |what: &str, bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let (code, text) = code_and_text(DataDir::open(&path, Shards::Default(3)));
        assert!(code == 78 || code == 1, "{what}: exit code {code}");
        // A damaged version reads like a newer release's, which names the directory.
        assert!(text.contains(FORMAT) || text.contains("newer release"), "{what}: {text}");
        assert!(fs::read(&file).unwrap() == bytes, "{what}: it was changed");
    };
    for at in 0..whole.len() {
        for new in [whole[at] ^ 1 << (at % 8), 0x00, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = new;
            if bytes != whole {
                refused(&format!("byte {at} is {new:#04x}"), &bytes);
            }
        }
        refused(&format!("cut at {at}"), &whole[..at]);
    }
    for len in [1, 4, 4096, usize::try_from(FORMAT_BYTES_MAX).unwrap()] {
        refused(&format!("{len} bytes more"), &[whole.as_slice(), &vec![0x5a; len]].concat());
    }
    fs::write(&file, &whole).unwrap();
    DataDir::open(&path, Shards::Asked(3)).unwrap();
}

/// The lock is held by the kernel: what the file says is for people only.
#[test]
fn whatever_lock_says_it_is_only_a_lock() {
    let (_guard, path) = dir();
    drop(DataDir::open(&path, Shards::Default(1)).unwrap());
    let file = path.join(LOCK);
    for text in [&b""[..], b"1", b"\xff\xfe\x00", &[b'9'; 10_000], b"-5\n", b"no number"] {
        fs::write(&file, text).unwrap();
        let held = DataDir::open(&path, Shards::Default(1)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", std::process::id()));
        // Overwritten by hand while it is held: still held, and the pid is not made up.
        fs::write(&file, text).unwrap();
        let second = DataDir::open(&path, Shards::Default(1)).unwrap_err();
        assert_eq!(second.exit_code(), 75, "{second}");
        drop(held);
    }
}

/// The bytes are a contract with every later release.
#[test]
fn the_bytes_are_pinned() {
    let format = Format {
        directory: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
        generation: 0,
        slots: SlotTable::contiguous(2),
    };
    assert_eq!(
        format.encode().escape_ascii().to_string(),
        "RLSM-DIR\\x01\\x00\\x00\\x00\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\\t\\n\\x0b\\x0c\\r\\x0e\\x0f\
         \\x02\\x00\\x00\\x00\\x02\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00 \\x01\\x00yD%\\xfc"
    );
}

#[test]
fn a_newer_format_is_named_as_such() {
    let mut bytes =
        Format { directory: 1, generation: 0, slots: SlotTable::contiguous(1) }.encode();
    bytes[8] = 9;
    let error = Format::decode(Path::new("d/FORMAT"), &bytes).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("format 9, made by a newer release"), "{error}");
}

/// A generation makes it version 2; its shards have names of their own.
#[test]
fn a_generation_is_kept_and_names_the_shards() {
    let format = Format { directory: 9, generation: 3, slots: SlotTable::contiguous(2) };
    let bytes = format.encode();
    assert_eq!(bytes[8], 2);
    let found = Format::decode(Path::new("d/FORMAT"), &bytes).unwrap();
    assert_eq!(found, format);
    assert_eq!(found.shard_path(Path::new("d"), 1), Path::new("d/shard-001-g3"));
}

#[test]
fn a_checkpoint_is_not_opened_as_data() {
    let (_guard, path) = dir();
    drop(DataDir::open(&path, Shards::Default(1)).unwrap());
    fs::write(path.join(CHECKPOINT), "").unwrap();
    let (code, text) = code_and_text(DataDir::open(&path, Shards::Default(1)));
    assert_eq!(code, 78);
    assert!(text.contains("rusty-lsm restore"), "{text}");
    assert!(DataDir::existing(&path, false).is_err());
    DataDir::existing(&path, true).unwrap();
}
