//! The data directory: who may use it, and what it says of itself.
//!
//! ```text
//! LOCK          held with flock for the life of the process; its content is the holder's pid
//! FORMAT        below; written when the directory is made, and anew when its number of shards changes
//! shard-000/    one directory per shard, described in the crate `shard`; shard-000-g1/ after the first change of their number
//! RESHARD       `moving`: such a change is under way
//! backups/      checkpoints (`backup`), unless `backup_dir` names another place
//!
//! FORMAT, little-endian:
//!   magic     8  "RLSM-DIR"
//!   version   4  1, or 2 with a generation
//!   directory 16 random; part of every file's identity; another one for each generation
//!   generation 4 version 2 only: changes of the number of shards so far; part of the names of their directories
//!   shards    4
//!   ranges    4  then per range: first slot 2, shard 2; ascending, the first at slot 0
//!   crc       4  CRC-32 (IEEE) of all before it
//! ```
//!
//! # Invariants
//! - Nothing is written into a directory that is not ours: not ours is one with files and no FORMAT.
//! - FORMAT is whole or absent: tmp, sync, rename, sync of the directory.
//! - The lock is taken before FORMAT is read.
//! - Which shards are the data is decided by FORMAT alone: a change of their number is its replacement, one rename.
//! - A checkpoint is no data directory: it is restored, and never opened where it lies.

pub(crate) mod moving;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use shard::coding::{Reader, crc32};

use crate::error::ServerError;
use crate::limits::FORMAT_BYTES_MAX;
use crate::preflight;
use crate::slots::{SLOTS, SlotRange, SlotTable};
use crate::sys;

const FORMAT: &str = "FORMAT";
const FORMAT_TMP: &str = "FORMAT.tmp";
const LOCK: &str = "LOCK";
/// Beside the shards' directories; whoever removes them all removes them in this order, the lock last.
pub(crate) const NAMES: [&str; 5] =
    [preflight::DOCTOR_FILE, preflight::PROBE_FILE, FORMAT_TMP, FORMAT, LOCK];
/// How long a lock that somebody holds is waited for, and how often it is looked at. A process that was killed with much
/// memory and I/O in flight holds it for some ten milliseconds more.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);
const LOCK_LOOK: Duration = Duration::from_millis(20);
/// For a path that leads nowhere.
const OTHER_PLACE: &str = "name another --data-dir, or mend the directories above it";
const MAGIC: &[u8; 8] = b"RLSM-DIR";
/// Raised with every change of bytes in the directory: the newest that is read.
pub const VERSION: u32 = 2;
/// What is written where there is no generation to tell: older releases read it.
const VERSION_1: u32 = 1;
/// What may lie in a directory that is to become ours: our own beginnings, what a new file system holds, and checkpoints.
pub(crate) const HARMLESS: [&str; 5] =
    [LOCK, FORMAT_TMP, preflight::DOCTOR_FILE, "lost+found", BACKUPS];
/// Where checkpoints lie unless `backup_dir` says otherwise.
pub(crate) const BACKUPS: &str = "backups";
/// In the directory of a checkpoint: what it is.
pub(crate) const CHECKPOINT: &str = "CHECKPOINT";

/// What a data directory says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Random, made with the directory.
    pub directory: u128,
    /// Changes of the number of shards so far.
    pub generation: u32,
    pub slots: SlotTable,
}

impl Format {
    /// The bytes of the file FORMAT.
    pub fn encode(&self) -> Vec<u8> {
        let ranges = self.slots.ranges();
        let mut out = MAGIC.to_vec();
        let version = if self.generation == 0 { VERSION_1 } else { VERSION };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&self.directory.to_le_bytes());
        if version == VERSION {
            out.extend_from_slice(&self.generation.to_le_bytes());
        }
        out.extend_from_slice(&self.slots.shards().to_le_bytes());
        let count =
            u32::try_from(ranges.len()).unwrap_or_else(|_| unreachable!("at most one per slot"));
        out.extend_from_slice(&count.to_le_bytes());
        for range in ranges {
            out.extend_from_slice(&range.first.to_le_bytes());
            out.extend_from_slice(&range.shard.to_le_bytes());
        }
        let crc = crc32(&[], &[&out]);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the bytes of the file at `path`.
    ///
    /// # Errors
    /// `DataDir` for a foreign or newer one, `Damaged` for all else that is not exactly what was written.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, ServerError> {
        let damaged = |what: String| ServerError::Damaged {
            path: path.to_owned(),
            what,
            remedy: "restore it from a backup of this data directory".into(),
        };
        let refused = |what: String, remedy: &str| ServerError::DataDir {
            path: path.parent().unwrap_or(path).to_owned(),
            what,
            remedy: remedy.into(),
        };
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(*MAGIC) {
            let remedy = "name another --data-dir, or remove that file if it is not needed";
            return Err(refused(format!("its file {FORMAT} is not ours"), remedy));
        }
        let version = reader.u32().ok_or_else(|| damaged("it is too short".into()))?;
        if version > VERSION {
            let remedy = "start it with that release";
            return Err(refused(
                format!(
                    "it has format {version}, made by a newer release; this one reads up to {VERSION}"
                ),
                remedy,
            ));
        }
        let Some((body, crc)) = bytes.split_last_chunk() else {
            return Err(damaged("it is too short".into()));
        };
        if crc32(&[], &[body]) != u32::from_le_bytes(*crc) {
            return Err(damaged("its checksum does not match".into()));
        }
        if !(VERSION_1..=VERSION).contains(&version) {
            return Err(damaged(format!("there is no format {version}")));
        }
        Self::decode_body(&mut reader, version).map_err(damaged)
    }

    /// What follows the version; the checksum, known to be right, ends it.
    fn decode_body(reader: &mut Reader<'_>, version: u32) -> Result<Self, String> {
        let short = || "it is too short".to_owned();
        let directory = reader.array().map(u128::from_le_bytes).ok_or_else(short)?;
        let generation = if version == VERSION_1 { 0 } else { reader.u32().ok_or_else(short)? };
        let shards = reader.u32().ok_or_else(short)?;
        let count = reader.u32().ok_or_else(short)?;
        if count > u32::from(SLOTS) || reader.remaining() != 4 * count as usize + 4 {
            return Err(format!("{count} slot ranges do not fit its length"));
        }
        let mut ranges = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let first = reader.array().map(u16::from_le_bytes).ok_or_else(short)?;
            let shard = reader.array().map(u16::from_le_bytes).ok_or_else(short)?;
            ranges.push(SlotRange { first, shard });
        }
        Ok(Self { directory, generation, slots: SlotTable::from_ranges(shards, &ranges)? })
    }

    /// Of a directory that is made now.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn new(shards: u32, generation: u32) -> Result<Self, ServerError> {
        let slots = SlotTable::contiguous(shards);
        Ok(Self { directory: random_id()?, generation, slots })
    }

    /// Where shard `index` lies in the data directory at `path`.
    pub(crate) fn shard_path(&self, path: &Path, index: u32) -> PathBuf {
        match self.generation {
            0 => path.join(format!("shard-{index:03}")),
            generation => path.join(format!("shard-{index:03}-g{generation}")),
        }
    }
}

/// How many shards are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// By the user: another number in the directory is an error.
    Asked(u32),
    /// One per core: for a new directory. An old one keeps its own, as keys lie where its table says.
    Default(u32),
}

/// Whether there is a data directory at `path`: one that has its FORMAT.
pub(crate) fn is_made(path: &Path) -> bool {
    path.join(FORMAT).exists()
}

/// A data directory that is ours and nobody else's while this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    format: Format,
    /// Made by this call.
    is_new: bool,
    /// Directories and files made by this call, in that order.
    made: Vec<PathBuf>,
    /// Keeps the lock; `None`: nobody ever locked it.
    _lock: Option<File>,
}

impl DataDir {
    /// Opens the data directory at `path`, or makes it, and locks it. Blocking I/O: at start only, before any core runs.
    ///
    /// # Errors
    /// `Locked`; `DataDir` for a foreign, unsafe or newer one and for another number of shards; `Damaged`; `Io`.
    /// Nothing is changed then.
    pub fn open(path: &Path, shards: Shards) -> Result<Self, ServerError> {
        let mut made = Made::default();
        create(path, &mut made)?;
        check_owner(path)?;
        let has_format =
            path.join(FORMAT).try_exists().map_err(|e| ServerError::io("look for", path, e))?;
        if !has_format {
            check_empty(path)?;
        }
        check_no_checkpoint(path)?;
        let lock = lock(path, &mut made)?;
        let file = path.join(FORMAT);
        let (format, is_new) = match read(&file)? {
            Some(bytes) => (Format::decode(&file, &bytes)?, false),
            None => (make(path, shards, &mut made)?, true),
        };
        if let Shards::Asked(asked) = shards {
            check_shards(path, asked, format.slots.shards())?;
        }
        moving::settle(path, &format)?;
        let made = std::mem::take(&mut made.0);
        Ok(Self { path: path.to_owned(), format, is_new, made, _lock: Some(lock) })
    }

    /// Removes again what [`DataDir::open`] made, for a start that is refused before it has written anything else. What it
    /// found stays.
    pub fn discard(self) {
        drop(Made(self.made));
    }

    /// A data directory that is there already, for whoever works on it offline. Only to look at it changes nothing in it,
    /// not even the holder's name in its lock; and a copy without a LOCK can be looked at, too: no server has it open.
    ///
    /// # Errors
    /// `Locked`; `DataDir` for what is not a data directory of this or an earlier release; `Damaged`; `Io`.
    pub fn existing(path: &Path, only_look: bool) -> Result<Self, ServerError> {
        let file = path.join(FORMAT);
        let found = match read(&file) {
            Err(ServerError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotADirectory =>
            {
                return Err(refuse(path, "it is not a directory", "name the data directory"));
            }
            found => found?,
        };
        let Some(bytes) = found else {
            let what = format!("it has no {FORMAT}: it is not a data directory of ours");
            return Err(refuse(path, &what, "name the directory that --data-dir names"));
        };
        let lock = if only_look {
            look_lock(path)?
        } else {
            check_no_checkpoint(path)?;
            check_owner(path)?;
            let mut made = Made::default();
            let lock = lock(path, &mut made)?;
            // A lock that was made here stays, or another one could be made and taken beside it.
            made.0.clear();
            Some(lock)
        };
        let format = Format::decode(&file, &bytes)?;
        Ok(Self { path: path.to_owned(), format, is_new: false, made: Vec::new(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Whether it was made by this start.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    pub fn shards(&self) -> u32 {
        self.format.slots.shards()
    }

    /// Where shard `index` lives. The shard makes it.
    pub fn shard_path(&self, index: u32) -> PathBuf {
        self.format.shard_path(&self.path, index)
    }

    /// For who would take the shards of an unfinished change of their number for something else.
    ///
    /// # Errors
    /// `DataDir` if there is one; `Damaged`, `Io`.
    pub(crate) fn check_settled(&self) -> Result<(), ServerError> {
        let Some(found) = moving::Move::read(&self.path)? else { return Ok(()) };
        let shards = found.new.slots.shards();
        let what = format!("its change to {shards} shards is not finished");
        let remedy =
            format!("run rusty-lsm reshard --shards {shards} again, or start the server once");
        Err(refuse(&self.path, &what, &remedy))
    }

    /// Replaces what the directory says of itself, durably: the one step that changes its number of shards.
    ///
    /// # Errors
    /// `Io`; either of the two holds then.
    pub(crate) fn replace_format(&mut self, format: Format) -> Result<(), ServerError> {
        write_format(&self.path, &format)?;
        self.format = format;
        Ok(())
    }
}

/// What a start has made: removed when this is dropped, the last first. A directory in which somebody else has put
/// something meanwhile stays.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            if let Err(error) = removed {
                tracing::debug!(path = %path.display(), %error, "left behind");
            }
        }
    }
}

/// Makes the directory (0700 whatever the umask) and its parents if it is absent.
fn create(path: &Path, made: &mut Made) -> Result<(), ServerError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(refuse(path, "it is not a directory", "name another --data-dir")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(refuse(path, &format!("it cannot be looked at: {error}"), OTHER_PLACE));
        }
    }
    let is_absent = |dir: &&Path| match fs::symlink_metadata(dir) {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let absent = path.ancestors().take_while(is_absent);
    // The path of a relative directory ends in the empty one.
    made.0 = absent.filter(|dir| !dir.as_os_str().is_empty()).map(Path::to_owned).collect();
    made.0.reverse();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(|e| refuse(path, &format!("it cannot be made: {e}"), OTHER_PLACE))?;
    for dir in &made.0 {
        // Each name lies in the directory above it. Only with all of them durable can the path be found after a power cut.
        match dir.parent() {
            Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new("."))?,
            Some(parent) => sync_dir(parent)?,
            None => {}
        }
    }
    Ok(())
}

fn check_owner(path: &Path) -> Result<(), ServerError> {
    let metadata = fs::metadata(path).map_err(|e| ServerError::io("look at", path, e))?;
    let user = sys::effective_user();
    if metadata.uid() != user {
        let what = format!("it belongs to user {}, this process is user {user}", metadata.uid());
        return Err(refuse(path, &what, &format!("run as its owner, or: chown -R {user} it")));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        let what = format!("others can write to it (mode {mode:o})");
        return Err(refuse(path, &what, "make it private: chmod 700 it"));
    }
    Ok(())
}

fn check_empty(path: &Path) -> Result<(), ServerError> {
    let entries = fs::read_dir(path).map_err(|e| ServerError::io("read directory", path, e))?;
    for entry in entries {
        let name = entry.map_err(|e| ServerError::io("read directory", path, e))?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            let what = format!(
                "it holds other files ({}) and no {FORMAT}: it is not a data directory of ours",
                name.display()
            );
            let remedy = format!("name an empty --data-dir, or restore its {FORMAT}");
            return Err(refuse(path, &what, &remedy));
        }
    }
    Ok(())
}

/// A checkpoint stays as it was made: a server would change it.
fn check_no_checkpoint(path: &Path) -> Result<(), ServerError> {
    if !path.join(CHECKPOINT).exists() {
        return Ok(());
    }
    let remedy =
        format!("make a data directory of it: rusty-lsm restore {} --data-dir DIR", path.display());
    Err(refuse(path, "it is a checkpoint, and stays as it is", &remedy))
}

fn check_shards(path: &Path, asked: u32, stored: u32) -> Result<(), ServerError> {
    if asked == stored {
        return Ok(());
    }
    let what = format!("it was made with {stored} shards, not {asked}");
    let remedy = format!(
        "start it with --shards {stored}, or change it: `rusty-lsm reshard --shards {asked} {}` (or start with --reshard)",
        path.display()
    );
    Err(refuse(path, &what, &remedy))
}

/// The lock on the data directory at `path`, without a trace in it. `None`: it has no LOCK, as a copy may not.
///
/// # Errors
/// `Locked`, `Io`.
pub(crate) fn look_lock(path: &Path) -> Result<Option<File>, ServerError> {
    let name = path.join(LOCK);
    match File::open(&name) {
        Ok(file) => take(path, &name, &file).map(|()| Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServerError::io("open", &name, error)),
    }
}

/// Waits a moment for a holder that was just killed: the kernel takes some time to end it, and whoever restarts it is often
/// quicker.
fn take(path: &Path, name: &Path, file: &File) -> Result<(), ServerError> {
    let began = Instant::now();
    loop {
        if sys::try_lock(file).map_err(|e| ServerError::io("lock", name, e))? {
            return Ok(());
        }
        if began.elapsed() >= LOCK_WAIT_MAX {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "before any core is started")]
        thread::sleep(LOCK_LOOK);
    }
    // Only to tell whom to look for: the holder may just be writing it.
    let mut text = String::new();
    let _ = file.take(20).read_to_string(&mut text);
    Err(ServerError::Locked { path: path.to_owned(), pid: text.trim().parse().ok() })
}

fn lock(path: &Path, made: &mut Made) -> Result<File, ServerError> {
    let name = path.join(LOCK);
    let failed = |op, error| ServerError::io(op, &name, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = match options.clone().create_new(true).open(&name) {
        Ok(file) => {
            made.0.push(name.clone());
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.open(&name).map_err(|e| failed("open", e))?
        }
        Err(error) => return Err(failed("open", error)),
    };
    if let Err(error) = take(path, &name, &file) {
        // Whoever made it, it is theirs now.
        made.0.retain(|path| *path != name);
        return Err(error);
    }
    // A start that is refused removes the lock that it made: the one that we hold must be the one that others will see.
    if !is_seen(&name, &file).map_err(|e| failed("look at", e))? {
        return Err(ServerError::Locked { path: path.to_owned(), pid: None });
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| failed("write", e))?;
    Ok(file)
}

/// Whether `name` leads to `file`.
fn is_seen(name: &Path, file: &File) -> io::Result<bool> {
    let own = file.metadata()?;
    Ok(fs::metadata(name).is_ok_and(|seen| (seen.dev(), seen.ino()) == (own.dev(), own.ino())))
}

/// The bytes of FORMAT; `None` if it is absent.
fn read(file: &Path) -> Result<Option<Vec<u8>>, ServerError> {
    let open = match File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ServerError::io("open", file, error)),
    };
    let mut bytes = Vec::new();
    open.take(FORMAT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| ServerError::io("read", file, e))?;
    Ok(Some(bytes))
}

/// Writes the FORMAT of a new directory.
fn make(path: &Path, shards: Shards, made: &mut Made) -> Result<Format, ServerError> {
    let (Shards::Asked(count) | Shards::Default(count)) = shards;
    let format = Format::new(count, 0)?;
    // Whatever becomes of them: an absent one is no trouble.
    made.0.extend([path.join(FORMAT_TMP), path.join(FORMAT)]);
    write_format(path, &format)?;
    made.0.retain(|path| !path.ends_with(FORMAT_TMP));
    Ok(format)
}

/// Makes `format` the FORMAT of the directory at `path`, durably.
pub(crate) fn write_format(path: &Path, format: &Format) -> Result<(), ServerError> {
    replace(path, FORMAT, FORMAT_TMP, &format.encode())
}

/// Makes `bytes` the content of the file `name` in the directory `dir`, whole or not at all, durably.
fn replace(dir: &Path, name: &str, tmp: &str, bytes: &[u8]) -> Result<(), ServerError> {
    let (tmp, name) = (dir.join(tmp), dir.join(name));
    // Left by somebody who was killed here.
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ServerError::io("remove", &tmp, error));
        }
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tmp)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        sync(&file, &tmp)?;
        fs::rename(&tmp, &name)
    };
    write().map_err(|e| ServerError::io("write", &name, e))?;
    sync_dir(dir)
}

/// 128 random bits, not zero.
fn random_id() -> Result<u128, ServerError> {
    Ok(u128::from_le_bytes(random_bytes()?).max(1))
}

/// From the kernel, which has enough of them from its own start on: nobody waits.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], ServerError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| ServerError::io("read", source, e))?;
    Ok(bytes)
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), ServerError> {
    File::open(path)
        .and_then(|dir| sync(&dir, path))
        .map_err(|e| ServerError::io("sync directory", path, e))
}

/// Makes what `file`, open at `path`, holds durable: bytes, or names.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::note_sync(path);
    let _ = path;
    file.sync_all()
}

fn refuse(path: &Path, what: &str, remedy: &str) -> ServerError {
    ServerError::DataDir { path: path.to_owned(), what: what.into(), remedy: remedy.into() }
}

#[cfg(test)]
pub(crate) mod tests;
