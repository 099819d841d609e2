//! Connections to the cores: a few to each, opened when they are first needed, each a pipeline that many requests share.
//!
//! A request goes to the core of its key, over the link that has the least under way. What takes its time (pages, telemetry,
//! backups) has links of its own: replies come in order, and it would hold up all that is behind it. All commands that were
//! asked in one turn of the executor leave in one write.
//!
//! # Invariants
//! - Replies belong to the oldest waiter; one that waits no longer still takes its replies.
//! - A link that broke is used no more: what was under way on it is told so, the next request opens another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};

use crate::client::{Reply, ReplyReader, encode};
use crate::limits::{
    HTTP_LINK_REQUESTS_MAX, HTTP_LINKS_QUICK, HTTP_LINKS_SLOW, HTTP_REPLY_TIME_MAX,
    HTTP_REQUESTS_MAX, HTTP_SLOW_LINK_REQUESTS_MAX,
};
use crate::server::Connector;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// Largest buffer of commands that a link keeps, in bytes.
const COMMANDS_KEPT_BYTES: usize = 64 << 10;

/// How long an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// As long as one look.
    Quick,
    Slow,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkError {
    /// Too much is under way; nothing was sent.
    Busy,
    /// The server stops, or there are no descriptors left; nothing was sent.
    Unreachable,
    /// Whether it was done is not known.
    Broken,
    /// It takes too long; it may still be done.
    Late,
}

/// Commands on their way to a core.
#[derive(Debug, Default)]
pub(super) struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

impl Commands {
    pub(super) fn one<W: AsRef<[u8]>>(words: &[W]) -> Self {
        let mut commands = Self::default();
        commands.push(words);
        commands
    }

    pub(super) fn push<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        encode(&mut self.bytes, words);
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A request whose replies are still to come.
struct Waiter {
    left: usize,
    replies: Vec<Reply>,
    /// It may have gone.
    answer: oneshot::Sender<Vec<Reply>>,
}

struct Link {
    out: RefCell<Vec<u8>>,
    waiters: RefCell<VecDeque<Waiter>>,
    /// There is something to write, or the link broke.
    wake: Notify,
    is_broken: Cell<bool>,
    /// Of all links together.
    under_way: Rc<Cell<usize>>,
}

impl Link {
    /// Whoever waits learns it from the end of its channel.
    fn fail(&self) {
        self.is_broken.set(true);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        self.under_way.set(self.under_way.get() - waiters.len());
        self.wake.notify_one();
    }

    fn answer(&self, reply: Reply) {
        let mut waiters = self.waiters.borrow_mut();
        let Some(waiter) = waiters.front_mut() else { return };
        waiter.replies.push(reply);
        waiter.left -= 1;
        if waiter.left > 0 {
            return;
        }
        if let Some(waiter) = waiters.pop_front() {
            self.under_way.set(self.under_way.get() - 1);
            // It may have stopped waiting.
            let _ = waiter.answer.send(waiter.replies);
        }
    }

    async fn write(self: Rc<Self>, mut half: OwnedWriteHalf) {
        let mut bytes = Vec::new();
        while !self.is_broken.get() {
            std::mem::swap(&mut bytes, &mut *self.out.borrow_mut());
            if bytes.is_empty() {
                self.wake.notified().await;
                continue;
            }
            if half.write_all(&bytes).await.is_err() {
                self.fail();
            }
            bytes.clear();
            bytes.shrink_to(COMMANDS_KEPT_BYTES);
        }
    }

    async fn read(self: Rc<Self>, mut half: OwnedReadHalf) {
        let mut reader = ReplyReader::default();
        let mut chunk = vec![0; READ_BYTES].into_boxed_slice();
        while let Ok(count @ 1..) = half.read(&mut chunk).await {
            reader.feed(&chunk[..count]);
            let mut replies = std::iter::from_fn(|| reader.next_reply().transpose());
            if !replies.all(|reply| reply.map(|reply| self.answer(reply)).is_ok()) {
                break;
            }
        }
        self.fail();
    }
}

/// Those of one core.
struct CoreLinks {
    quick: [RefCell<Option<Rc<Link>>>; HTTP_LINKS_QUICK],
    slow: [RefCell<Option<Rc<Link>>>; HTTP_LINKS_SLOW],
}

/// See the module.
pub(super) struct Links {
    connector: Connector,
    cores: Vec<CoreLinks>,
    under_way: Rc<Cell<usize>>,
    /// For what any core can do.
    next_core: Cell<usize>,
}

impl Links {
    pub(super) fn new(connector: Connector) -> Self {
        let links = |_| CoreLinks { quick: Default::default(), slow: Default::default() };
        let cores = (0..connector.shards()).map(links).collect();
        Self { connector, cores, under_way: Rc::default(), next_core: Cell::new(0) }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(super) fn core_of(&self, key: &[u8]) -> usize {
        self.connector.core_of(key)
    }

    /// A core for what any of them can do.
    pub(super) fn any_core(&self) -> usize {
        let core = self.next_core.get() % self.cores.len();
        self.next_core.set(core + 1);
        core
    }

    /// Sends a command and waits for its reply.
    pub(super) async fn ask<W: AsRef<[u8]>>(
        &self,
        core: usize,
        class: Class,
        words: &[W],
    ) -> Result<Reply, LinkError> {
        let mut replies =
            self.ask_all(core, class, Commands::one(words), HTTP_REPLY_TIME_MAX).await?;
        replies.pop().ok_or(LinkError::Broken)
    }

    /// Sends commands and waits for their replies, which are as many.
    pub(super) async fn ask_all(
        &self,
        core: usize,
        class: Class,
        commands: Commands,
        time_max: Duration,
    ) -> Result<Vec<Reply>, LinkError> {
        assert!(!commands.is_empty());
        let link = self.link(core, class)?;
        let (answer, answered) = oneshot::channel();
        {
            let mut waiters = link.waiters.borrow_mut();
            let most = match class {
                Class::Quick => HTTP_LINK_REQUESTS_MAX,
                Class::Slow => HTTP_SLOW_LINK_REQUESTS_MAX,
            };
            if waiters.len() >= most || self.under_way.get() >= HTTP_REQUESTS_MAX {
                return Err(LinkError::Busy);
            }
            self.under_way.set(self.under_way.get() + 1);
            waiters.push_back(Waiter { left: commands.count, replies: Vec::new(), answer });
            let mut out = link.out.borrow_mut();
            if out.is_empty() {
                *out = commands.bytes;
            } else {
                out.extend_from_slice(&commands.bytes);
            }
        }
        link.wake.notify_one();
        match tokio::time::timeout(time_max, answered).await {
            Ok(Ok(replies)) => Ok(replies),
            Ok(Err(_)) => Err(LinkError::Broken),
            Err(_) => Err(LinkError::Late),
        }
    }

    /// The one with the least under way; a new one before a second request waits behind a first.
    fn link(&self, core: usize, class: Class) -> Result<Rc<Link>, LinkError> {
        let links = match class {
            Class::Quick => &self.cores[core].quick[..],
            Class::Slow => &self.cores[core].slow[..],
        };
        let mut least: Option<Rc<Link>> = None;
        let mut free = None;
        for place in links {
            match &*place.borrow() {
                Some(link) if !link.is_broken.get() => {
                    let load = link.waiters.borrow().len();
                    if least.as_ref().is_none_or(|least| load < least.waiters.borrow().len()) {
                        least = Some(Rc::clone(link));
                    }
                }
                _ => free = free.or(Some(place)),
            }
        }
        let is_idle = least.as_ref().is_some_and(|least| least.waiters.borrow().is_empty());
        match (least, free) {
            (Some(least), None) => Ok(least),
            (Some(least), _) if is_idle => Ok(least),
            (least, Some(place)) => match (self.open(core), least) {
                (Ok(link), _) => {
                    *place.borrow_mut() = Some(Rc::clone(&link));
                    Ok(link)
                }
                (Err(_), Some(least)) => Ok(least),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {
                    Err(LinkError::Busy)
                }
                (Err(_), None) => Err(LinkError::Unreachable),
            },
            (None, None) => unreachable!("a place has a link or is free"),
        }
    }

    fn open(&self, core: usize) -> io::Result<Rc<Link>> {
        let stream = self.connector.connect(core)?;
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let link = Rc::new(Link {
            out: RefCell::default(),
            waiters: RefCell::default(),
            wake: Notify::new(),
            is_broken: Cell::new(false),
            under_way: Rc::clone(&self.under_way),
        });
        tokio::task::spawn_local(Rc::clone(&link).read(read));
        tokio::task::spawn_local(Rc::clone(&link).write(write));
        Ok(link)
    }
}
