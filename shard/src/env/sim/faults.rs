//! Faults on demand: the Nth operation, of a kind, on a path, once or from then on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named after the methods of Env and File")]
pub enum Kind {
    Open,
    Read,
    Write,
    Allocate,
    Sync,
    SyncDir,
    Rename,
    Link,
    Remove,
    List,
    CreateDir,
    FreeBytes,
    Len,
    Close,
}

/// What happens to the operation that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Error(i32),
    Short,
    Slow(Duration),
}

/// One fault: by default it hits the next operation, whatever it is, once.
#[derive(Debug, Clone)]
#[must_use = "a fault does nothing until it is added to Faults"]
pub struct Fault {
    effect: Effect,
    kind: Option<Kind>,
    path: String,
    at: u64,
    forever: bool,
}

impl Fault {
    fn new(effect: Effect) -> Self {
        Self { effect, kind: None, path: String::new(), at: 1, forever: false }
    }

    /// Fails with an error of the operating system. A failed sync drops what it should have made durable, or some of it:
    /// later syncs succeed without it, and reads get what was there before. A failed write may have written some of its sectors.
    pub fn error(errno: i32) -> Self {
        Self::new(Effect::Error(errno))
    }

    /// The device failed.
    pub fn eio() -> Self {
        Self::error(libc::EIO)
    }

    /// Nothing fails, but it takes so much longer: a disk that hangs.
    pub fn slow(by: Duration) -> Self {
        Self::new(Effect::Slow(by))
    }

    /// No space.
    pub fn enospc() -> Self {
        Self::error(libc::ENOSPC)
    }

    /// Interrupted before anything happened.
    pub fn eintr() -> Self {
        Self::error(libc::EINTR)
    }

    /// A read or write that transfers only part: a multiple of 512 bytes, at least one unit, less than asked.
    /// Counts reads and writes only.
    pub fn short() -> Self {
        Self::new(Effect::Short)
    }

    /// Counts only operations of this kind.
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Counts only operations on paths that contain this text.
    pub fn path(self, part: &str) -> Self {
        Self { path: part.to_owned(), ..self }
    }

    /// Hits the `number`-th of the operations counted since it was added, from 1.
    pub fn at(self, number: u64) -> Self {
        assert!(number > 0);
        Self { at: number, ..self }
    }

    /// Goes on hitting from there.
    pub fn forever(self) -> Self {
        Self { forever: true, ..self }
    }

    fn counts(&self, kind: Kind, path: &str) -> bool {
        let transfer = matches!(kind, Kind::Read | Kind::Write);
        self.kind.is_none_or(|wanted| wanted == kind)
            && path.contains(&self.path)
            && (self.effect != Effect::Short || transfer)
    }
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    on: Cell<bool>,
    seen: Cell<u64>,
    hits: Cell<u64>,
}

/// A fault that was added: to switch it and to ask whether it hit.
#[derive(Debug, Clone)]
pub struct FaultHandle(Rc<Armed>);

impl FaultHandle {
    /// Stops it. Operations are not counted meanwhile.
    pub fn off(&self) {
        self.0.on.set(false);
    }

    /// Starts it again, where its count stood.
    pub fn on(&self) {
        self.0.on.set(true);
    }

    /// How many operations it hit.
    pub fn hits(&self) -> u64 {
        self.0.hits.get()
    }
}

/// The faults of one simulation; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Rc<RefCell<Vec<Rc<Armed>>>>);

impl Faults {
    /// Arms a fault.
    pub fn add(&self, fault: Fault) -> FaultHandle {
        let armed = Armed { fault, on: Cell::new(true), seen: Cell::new(0), hits: Cell::new(0) };
        let armed = Rc::new(armed);
        self.0.borrow_mut().push(armed.clone());
        FaultHandle(armed)
    }

    /// Removes all.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// Whether none is armed.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Counts an operation; the first fault that hits it wins.
    pub(super) fn check(&self, kind: Kind, path: &str) -> Option<Effect> {
        let mut effect = None;
        for armed in self.0.borrow().iter().filter(|armed| armed.on.get()) {
            let fault = &armed.fault;
            if !fault.counts(kind, path) {
                continue;
            }
            let seen = armed.seen.get() + 1;
            armed.seen.set(seen);
            if effect.is_none() && (seen == fault.at || fault.forever && seen > fault.at) {
                armed.hits.set(armed.hits.get() + 1);
                effect = Some(fault.effect);
            }
        }
        effect
    }
}
