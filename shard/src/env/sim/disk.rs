//! The simulated disk: names, files, and what a crash leaves of both. No tasks, no time: plain state and changes.
//!
//! A directory has the names that the program sees, those that are durable, and the changes in between, in order.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::cut::{Crash, Cut};
use super::inode::{FileNode, InFlight};
use super::pages::Pages;
use super::random::Random;
use crate::env::align_down;

pub(super) type Ino = u64;

const ROOT: Ino = 0;
/// Space of a new disk, in bytes.
const CAPACITY: u64 = 1 << 40;

#[derive(Debug, Clone)]
pub(super) struct Disk {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    /// Changes of names, submitted and not completed, by operation.
    in_flight: BTreeMap<u64, NameOp>,
    capacity: u64,
    used: u64,
    /// Completed changes of names so far.
    serial: u64,
}

#[derive(Debug, Clone)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Debug, Clone, Default)]
struct DirNode {
    seen: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
    pending: Vec<(u64, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Link { name: String, ino: Ino },
    Unlink { name: String },
    Rename { to: String, ino: Ino },
}

/// A change of names as submitted.
#[derive(Debug, Clone)]
pub(super) struct NameOp {
    dir: Ino,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Create(String),
    CreateDir(String),
    Remove(String),
    Rename {
        from: String,
        to: String,
    },
    /// A second name, here, for a file of any directory.
    LinkTo {
        ino: Ino,
        to: String,
    },
}

/// How a write ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum WriteEnd {
    Whole,
    /// Fewer bytes than asked.
    Short(usize),
    Error(i32),
}

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Ino>) {
        match self {
            Self::Link { name, ino } => {
                names.insert(name.clone(), *ino);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { to, ino } => {
                // By file, not by old name: an earlier rename of the same file may have been lost.
                names.retain(|_, other| other != ino);
                names.insert(to.clone(), *ino);
            }
        }
    }

    fn names(&self, ino: Ino) -> bool {
        matches!(self, Self::Link { ino: other, .. } | Self::Rename { ino: other, .. } if *other == ino)
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        Self {
            nodes,
            next: ROOT + 1,
            in_flight: BTreeMap::new(),
            capacity: CAPACITY,
            used: 0,
            serial: 0,
        }
    }

    fn dir(&self, ino: Ino) -> &DirNode {
        match &self.nodes[&ino] {
            Node::Dir(dir) => dir,
            Node::File(_) => unreachable!("resolved as a directory"),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> &mut DirNode {
        match self.nodes.get_mut(&ino) {
            Some(Node::Dir(dir)) => dir,
            _ => unreachable!("resolved as a directory"),
        }
    }

    pub(super) fn file(&self, ino: Ino) -> &FileNode {
        match &self.nodes[&ino] {
            Node::File(file) => file,
            Node::Dir(_) => unreachable!("resolved as a file"),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> &mut FileNode {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => file,
            _ => unreachable!("resolved as a file"),
        }
    }

    fn add(&mut self, node: Node) -> Ino {
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, node);
        ino
    }

    /// The directory at `path`.
    pub(super) fn find_dir(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for part in path.components() {
            let name = match part {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name.to_str().expect("names are UTF-8"),
                Component::ParentDir | Component::Prefix(_) => {
                    panic!("plain paths only: {}", path.display())
                }
            };
            at = *self.dir(at).seen.get(name).ok_or_else(|| errno(libc::ENOENT))?;
            if !matches!(self.nodes[&at], Node::Dir(_)) {
                return Err(errno(libc::ENOTDIR));
            }
        }
        Ok(at)
    }

    fn split(&self, path: &Path) -> io::Result<(Ino, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a path that ends in a name, in UTF-8").to_owned();
        let dir = self.find_dir(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir, name))
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Ino> {
        let (dir, name) = self.split(path)?;
        let ino = *self.dir(dir).seen.get(&name).ok_or_else(|| errno(libc::ENOENT))?;
        match self.nodes[&ino] {
            Node::File(_) => Ok(ino),
            Node::Dir(_) => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(self.find_dir(dir)?).seen.keys().cloned().collect())
    }

    /// Every file that the program sees, sorted by path, with its length.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut todo = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = todo.pop() {
            for (name, ino) in &self.dir(dir).seen {
                match &self.nodes[ino] {
                    Node::File(file) => found.push((path.join(name), file.seen.len())),
                    Node::Dir(_) => todo.push((path.join(name), *ino)),
                }
            }
        }
        found.sort();
        found
    }

    /// Feeds all that the program sees: names, lengths, bytes.
    pub(super) fn digest(&self, hasher: &mut impl Hasher) {
        for node in self.nodes.values() {
            let Node::Dir(dir) = node else { continue };
            for (name, ino) in &dir.seen {
                name.hash(hasher);
                if let Node::File(file) = &self.nodes[ino] {
                    file.seen.digest(hasher);
                }
            }
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    pub(super) fn set_free(&mut self, bytes: u64) {
        self.capacity = self.used.saturating_add(bytes);
    }

    // Changes of names.

    pub(super) fn begin_create(&mut self, operation: u64, path: &Path) -> io::Result<()> {
        let (dir, name) = self.split(path)?;
        self.in_flight.insert(operation, NameOp { dir, what: What::Create(name) });
        Ok(())
    }

    pub(super) fn begin_create_dir(&mut self, operation: u64, path: &Path) -> io::Result<()> {
        let (dir, name) = self.split(path)?;
        self.in_flight.insert(operation, NameOp { dir, what: What::CreateDir(name) });
        Ok(())
    }

    pub(super) fn begin_remove(&mut self, operation: u64, path: &Path) -> io::Result<()> {
        let (dir, name) = self.split(path)?;
        self.in_flight.insert(operation, NameOp { dir, what: What::Remove(name) });
        Ok(())
    }

    pub(super) fn begin_rename(
        &mut self,
        operation: u64,
        from: &Path,
        to: &Path,
    ) -> io::Result<()> {
        let ((dir, from), (target, to)) = (self.split(from)?, self.split(to)?);
        assert_eq!(dir, target, "a rename across directories is not atomic after a crash");
        self.in_flight.insert(operation, NameOp { dir, what: What::Rename { from, to } });
        Ok(())
    }

    pub(super) fn begin_link(&mut self, operation: u64, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.find_file(from)?;
        let (dir, to) = self.split(to)?;
        // The changes of a directory are replayed by file: two names of one file in one of them would be one.
        let (source, _) = self.split(from)?;
        assert_ne!(source, dir, "a second name in the same directory: nobody needs it");
        self.in_flight.insert(operation, NameOp { dir, what: What::LinkTo { ino, to } });
        Ok(())
    }

    /// Carries out what was begun, or forgets it where `error` is set. The answer is the file created, else zero.
    pub(super) fn end_names(&mut self, operation: u64, error: Option<i32>) -> io::Result<Ino> {
        let op = self.in_flight.remove(&operation).expect("each operation ends once");
        match error {
            Some(number) => Err(errno(number)),
            None => self.change(&op),
        }
    }

    fn change(&mut self, op: &NameOp) -> io::Result<Ino> {
        let seen = |name: &String| self.dir(op.dir).seen.get(name).copied();
        match &op.what {
            What::Create(name) => {
                if seen(name).is_some() {
                    return Err(errno(libc::EEXIST));
                }
                let ino = self.add(Node::File(FileNode::settled(Pages::default())));
                self.record(op.dir, Change::Link { name: name.clone(), ino });
                Ok(ino)
            }
            What::CreateDir(name) => {
                match seen(name).map(|ino| &self.nodes[&ino]) {
                    Some(Node::Dir(_)) => return Ok(ROOT),
                    Some(Node::File(_)) => return Err(errno(libc::EEXIST)),
                    None => {}
                }
                let ino = self.add(Node::Dir(DirNode::default()));
                self.record(op.dir, Change::Link { name: name.clone(), ino });
                Ok(ROOT)
            }
            What::LinkTo { ino, to } => {
                if seen(to).is_some() {
                    return Err(errno(libc::EEXIST));
                }
                // Its last name may have gone meanwhile.
                match self.nodes.get_mut(ino) {
                    Some(Node::File(file)) if file.names > 0 => file.names += 1,
                    _ => return Err(errno(libc::ENOENT)),
                }
                self.record(op.dir, Change::Link { name: to.clone(), ino: *ino });
                Ok(ROOT)
            }
            What::Remove(name) => {
                let ino = seen(name).ok_or_else(|| errno(libc::ENOENT))?;
                if matches!(self.nodes[&ino], Node::Dir(_)) {
                    return Err(errno(libc::EISDIR));
                }
                self.record(op.dir, Change::Unlink { name: name.clone() });
                self.unlinked(ino);
                Ok(ROOT)
            }
            What::Rename { from, to } => {
                let ino = seen(from).ok_or_else(|| errno(libc::ENOENT))?;
                let replaced = seen(to).filter(|other| *other != ino);
                if replaced.is_some_and(|other| matches!(self.nodes[&other], Node::Dir(_))) {
                    return Err(errno(libc::EEXIST));
                }
                self.record(op.dir, Change::Rename { to: to.clone(), ino });
                if let Some(other) = replaced {
                    self.unlinked(other);
                }
                Ok(ROOT)
            }
        }
    }

    fn record(&mut self, dir: Ino, change: Change) {
        self.serial += 1;
        let serial = self.serial;
        let dir = self.dir_mut(dir);
        change.apply(&mut dir.seen);
        dir.pending.push((serial, change));
    }

    fn unlinked(&mut self, ino: Ino) {
        self.file_mut(ino).names -= 1;
        self.release(ino);
    }

    /// Gives the space back once neither a name nor a handle holds the file.
    fn release(&mut self, ino: Ino) {
        let file = self.file(ino);
        if file.names == 0 && file.open == 0 {
            self.used -= file.seen.len();
            self.forget(ino);
        }
    }

    /// Drops a file that nothing can bring back. An unlink that is not durable can be undone by a crash.
    fn forget(&mut self, ino: Ino) {
        let named = |dir: &DirNode| {
            dir.durable.values().chain(dir.seen.values()).any(|other| *other == ino)
                || dir.pending.iter().any(|(_, change)| change.names(ino))
        };
        let kept = self.nodes.values().any(|node| matches!(node, Node::Dir(dir) if named(dir)));
        if !kept {
            self.nodes.remove(&ino);
        }
    }

    pub(super) fn dir_watermark(&self) -> u64 {
        self.serial
    }

    pub(super) fn sync_dir(&mut self, ino: Ino, watermark: u64) {
        let dir = self.dir_mut(ino);
        let before: Vec<Ino> = dir.durable.values().copied().collect();
        let mut touched = before;
        let count = dir.pending.iter().take_while(|(serial, _)| *serial <= watermark).count();
        for (_, change) in dir.pending.drain(..count) {
            if let Change::Link { ino, .. } | Change::Rename { ino, .. } = change {
                touched.push(ino);
            }
            change.apply(&mut dir.durable);
        }
        touched.retain(|ino| match self.nodes.get(ino) {
            Some(Node::File(file)) => file.names == 0 && file.open == 0,
            _ => false,
        });
        for ino in touched {
            self.forget(ino);
        }
    }

    // Files.

    pub(super) fn opened(&mut self, ino: Ino) {
        self.file_mut(ino).open += 1;
    }

    pub(super) fn closed(&mut self, ino: Ino) {
        let file = self.file_mut(ino);
        assert!(file.open > 0);
        assert!(file.is_idle(), "closed while a write is in flight");
        file.open -= 1;
        self.release(ino);
    }

    pub(super) fn begin_write(&mut self, ino: Ino, operation: u64, offset: u64, data: &[u8]) {
        self.file_mut(ino).begin_write(operation, offset, Rc::from(data));
    }

    /// Ends a write; a disk with too little space makes it short or fails it.
    pub(super) fn end_write(
        &mut self,
        ino: Ino,
        operation: u64,
        end: WriteEnd,
        durable: bool,
        random: &Random,
    ) -> io::Result<usize> {
        let write = self.file_mut(ino).end_write(operation);
        let len = match end {
            WriteEnd::Whole => self.fitting(ino, &write),
            WriteEnd::Short(len) => self.fitting(ino, &write).min(len),
            WriteEnd::Error(number) => {
                if number != libc::EINTR {
                    self.file_mut(ino).land_failed(&write, random);
                }
                return Err(errno(number));
            }
        };
        if len == 0 {
            return Err(errno(libc::ENOSPC));
        }
        let file = self.file_mut(ino);
        let before = file.seen.len();
        file.land(&write, len, durable);
        self.used += self.file(ino).seen.len() - before;
        Ok(len)
    }

    /// How much of a write the free space takes, in whole blocks.
    fn fitting(&self, ino: Ino, write: &InFlight) -> usize {
        let limit = self.file(ino).seen.len().saturating_add(align_down(self.free()));
        let fits = limit.saturating_sub(write.offset);
        usize::try_from(fits).unwrap_or(usize::MAX).min(write.data.len())
    }

    // Behind the program's back.

    /// Makes the file exist with these bytes, durable, name and all.
    pub(super) fn put(&mut self, path: &Path, pages: Pages) {
        let (dir, name) = self.split(path).expect("the directory of a raw write exists");
        let len = pages.len();
        if let Ok(ino) = self.find_file(path) {
            self.used = self.used - self.file(ino).seen.len() + len;
            self.file_mut(ino).replace(pages);
            return;
        }
        self.used += len;
        let ino = self.add(Node::File(FileNode::settled(pages)));
        let dir = self.dir_mut(dir);
        dir.seen.insert(name.clone(), ino);
        dir.durable.insert(name, ino);
    }

    /// Makes a directory and those above it exist, durable.
    pub(super) fn put_dir(&mut self, path: &Path) {
        if self.find_dir(path).is_ok() {
            return;
        }
        self.put_dir(path.parent().unwrap_or(Path::new("")));
        let (dir, name) = self.split(path).expect("the parent was just made");
        let ino = self.add(Node::Dir(DirNode::default()));
        let dir = self.dir_mut(dir);
        dir.seen.insert(name.clone(), ino);
        dir.durable.insert(name, ino);
    }

    /// The disk after the process died and the machine went on.
    fn orphaned(mut self, cut: &Cut) -> Self {
        let held = |node: &Node| matches!(node, Node::File(file) if file.open > 0);
        let held: Vec<Ino> =
            self.nodes.iter().filter(|(_, node)| held(node)).map(|(ino, _)| *ino).collect();
        for ino in held {
            let before = self.file(ino).seen.len();
            self.file_mut(ino).left_behind(cut);
            self.used += self.file(ino).seen.len() - before;
            self.release(ino);
        }
        self
    }

    /// The disk after a crash: all that is left is durable, unless only the process died.
    pub(super) fn crash(&self, kind: Crash, random: Random) -> Self {
        let cut = Cut::new(kind, random);
        let mut before = self.clone();
        for op in std::mem::take(&mut before.in_flight).values() {
            if cut.happens() {
                // It may fail as it would have failed for the program.
                let _ = before.change(op);
            }
        }
        if cut.is_process() {
            return before.orphaned(&cut);
        }
        let mut after = Self::new();
        after.capacity = self.capacity;
        let mut todo = vec![(ROOT, ROOT)];
        // A file of two names has one fate.
        let mut copies: BTreeMap<Ino, Ino> = BTreeMap::new();
        while let Some((old, new)) = todo.pop() {
            let dir = before.dir(old);
            let mut names =
                if cut.keeps_completed() { dir.seen.clone() } else { dir.durable.clone() };
            if !cut.keeps_completed() {
                let kept = cut.changes(dir.pending.len());
                for ((_, change), kept) in dir.pending.iter().zip(kept) {
                    if kept {
                        change.apply(&mut names);
                    }
                }
            }
            for (name, ino) in names {
                let copy = match &before.nodes[&ino] {
                    Node::File(_) if copies.contains_key(&ino) => {
                        let copy = copies[&ino];
                        after.file_mut(copy).names += 1;
                        copy
                    }
                    Node::File(file) => {
                        let pages = file.after(&cut);
                        after.used += pages.len();
                        let copy = after.add(Node::File(FileNode::settled(pages)));
                        copies.insert(ino, copy);
                        copy
                    }
                    Node::Dir(_) => {
                        let copy = after.add(Node::Dir(DirNode::default()));
                        todo.push((ino, copy));
                        copy
                    }
                };
                let dir = after.dir_mut(new);
                dir.seen.insert(name.clone(), copy);
                dir.durable.insert(name, copy);
            }
        }
        after
    }
}
