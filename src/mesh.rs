//! The mesh: how cores send each other work.
//!
//! One bounded single-producer queue for each ordered pair of cores, a bounded inbox per core for threads that are no
//! core (start, stop, the embedded engine), and a bell per core. A full queue never blocks its sender: the message waits
//! in the sender's overflow list, which is bounded by what a core may have under way (one request per connection and
//! shard, one response per request).
//!
//! # Invariants
//! - Messages between two cores arrive in the order in which they were sent.
//! - A core that was sent something is rung after it was sent.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use shard::env::ring::Bell;

use crate::ask::{Answer, Ask};
use crate::command::CommandId;
use crate::engine::CoreTools;
use crate::facts::CoreStats;
use crate::ledger::{Account, HOLDING_BYTES_FREE, Holding};
use crate::net::listeners::Transport;
use crate::resp::{ArgRange, Args, Protocol};
use crate::slab::Key;
use crate::watch::Flag;

/// Messages in one queue between two cores.
const QUEUE_MESSAGES: usize = 1024;
/// Messages in a core's inbox from foreign threads.
const INBOX_MESSAGES: usize = 4096;

/// Which connection, on which core, waits for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnRef {
    pub(crate) core: u32,
    pub(crate) key: Key,
}

/// One command of a request; its arguments are `ranges[first..first + count]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed {
    pub(crate) id: CommandId,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The place of its reply at the origin.
    pub(crate) hole: u32,
    /// Its answer is the reply, not a part of one.
    pub(crate) is_whole: bool,
    /// That its connection spoke when it was sent.
    pub(crate) protocol: Protocol,
    /// Which of the request's flags is its watch (WATCH, EXEC).
    watch: Option<u32>,
}

/// Commands for one shard, from one pipeline of one connection.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) origin: ConnRef,
    data: Vec<u8>,
    ranges: Vec<ArgRange>,
    commands: Vec<Packed>,
    watches: Vec<Flag>,
    /// Commands that were answered by earlier responses.
    answered: usize,
    /// For `data`.
    holding: Holding,
    /// The hole that its connection's next reply fills: what fills it can leave at once.
    pub(crate) head: u32,
}

impl Request {
    pub(crate) fn new(origin: ConnRef) -> Self {
        Self {
            origin,
            data: Vec::new(),
            ranges: Vec::new(),
            commands: Vec::new(),
            watches: Vec::new(),
            answered: 0,
            holding: Holding::default(),
            head: 0,
        }
    }

    /// Writes down what it holds, beginning with what its connection held for it.
    pub(crate) fn hold(&mut self, account: &Arc<Account>, holding: Holding) {
        self.holding = holding;
        self.holding.set(account, self.data.len());
    }

    /// Whether it is worth writing down.
    pub(crate) fn is_large(&self) -> bool {
        self.data.len() > HOLDING_BYTES_FREE
    }

    /// Adds a command; `words` are its arguments, the name first.
    pub(crate) fn push<'a>(
        &mut self,
        id: CommandId,
        protocol: Protocol,
        (hole, is_whole): (u32, bool),
        words: impl Iterator<Item = &'a [u8]>,
    ) {
        let offset =
            |len| u32::try_from(len).expect("the input limits forbid 4 GiB in one request");
        let first = offset(self.ranges.len());
        for word in words {
            let start = offset(self.data.len());
            self.data.extend_from_slice(word);
            self.ranges.push((start, offset(self.data.len())));
        }
        let count = offset(self.ranges.len()) - first;
        self.commands.push(Packed { id, first, count, hole, is_whole, protocol, watch: None });
    }

    /// The watch of the command that was added last.
    pub(crate) fn watched_by(&mut self, flag: Flag) {
        let index = u32::try_from(self.watches.len()).unwrap_or(u32::MAX);
        self.watches.push(flag);
        if let Some(command) = self.commands.last_mut() {
            command.watch = Some(index);
        }
    }

    pub(crate) fn watch(&self, command: &Packed) -> Option<&Flag> {
        self.watches.get(command.watch? as usize)
    }

    /// Those that are not answered yet.
    pub(crate) fn commands(&self) -> &[Packed] {
        &self.commands[self.answered..]
    }

    /// What is left once the first `answered` of [`Request::commands`] are answered, if anything.
    pub(crate) fn rest(mut self, answered: usize) -> Option<Box<Self>> {
        self.answered += answered;
        assert!(self.answered <= self.commands.len());
        (self.answered < self.commands.len()).then(|| Box::new(self))
    }

    pub(crate) fn args(&self, command: &Packed) -> Args<'_> {
        let first = command.first as usize;
        Args::new(&self.data, &self.ranges[first..first + command.count as usize])
    }
}

/// A command's answer.
#[derive(Debug)]
pub(crate) enum Payload {
    Reply(Bytes),
    Stats(Box<CoreStats>),
}

/// The answers to a request: hole and payload, in order.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) parts: Vec<(u32, Payload)>,
    /// Commands that were not run, so that the answers stay below a bound: to be sent again when these have left.
    pub(crate) rest: Option<Box<Request>>,
    /// For the payloads.
    pub(crate) holding: Holding,
}

/// What travels.
pub(crate) enum Message {
    Request(Box<Request>),
    /// For a connection of the receiving core, from the shard of that number.
    Response(Key, u32, Box<Response>),
    /// A new connection for the receiving core.
    Adopt(OwnedFd, Transport),
    /// A question, and which connection's hole the answer fills; `None`: no answer is wanted.
    Ask(Option<(ConnRef, u32)>, Box<Ask>),
    /// The answer, for the hole of a connection of the receiving core.
    Answer(Key, u32, Box<Answer>),
    /// Work of the embedded engine on the receiving core; it must not block.
    Call(Box<dyn FnOnce(&CoreTools) + Send>),
    /// Stop taking connections and commands; finish what was read.
    Stop,
    /// Every core is quiet: close the shard and end.
    Leave,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Request(_) => "Request",
            Self::Response(..) => "Response",
            Self::Adopt(..) => "Adopt",
            Self::Ask(..) => "Ask",
            Self::Answer(..) => "Answer",
            Self::Call(_) => "Call",
            Self::Stop => "Stop",
            Self::Leave => "Leave",
        })
    }
}

/// One core's side of the mesh.
#[derive(Debug)]
pub(crate) struct Endpoint {
    index: usize,
    /// By target core; `None` at our own place.
    outgoing: Vec<Option<Outgoing>>,
    /// By source core.
    incoming: Vec<Option<rtrb::Consumer<Message>>>,
    inbox: Arc<ArrayQueue<Message>>,
    bells: Arc<[Bell]>,
}

#[derive(Debug)]
struct Outgoing {
    queue: rtrb::Producer<Message>,
    overflow: VecDeque<Message>,
    /// Sent since the bell was last rung.
    unrung: bool,
}

/// The way in for threads that are no core.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    inbox: Arc<ArrayQueue<Message>>,
    bell: Bell,
}

impl Door {
    /// Sends a message to the core.
    ///
    /// # Errors
    /// Gives the message back when the inbox is full.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        self.inbox.push(message)?;
        self.bell.ring();
        Ok(())
    }
}

/// What becomes one core's [`Endpoint`] once the cores have bells.
#[derive(Debug)]
pub(crate) struct Wires {
    index: usize,
    outgoing: Vec<Option<Outgoing>>,
    incoming: Vec<Option<rtrb::Consumer<Message>>>,
    inbox: Arc<ArrayQueue<Message>>,
}

/// Queues for all pairs of `count` cores.
pub(crate) fn wire(count: usize) -> Vec<Wires> {
    let mut wires: Vec<Wires> = (0..count)
        .map(|index| Wires {
            index,
            outgoing: (0..count).map(|_| None).collect(),
            incoming: (0..count).map(|_| None).collect(),
            inbox: Arc::new(ArrayQueue::new(INBOX_MESSAGES)),
        })
        .collect();
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            let (queue, consumer) = rtrb::RingBuffer::new(QUEUE_MESSAGES);
            let overflow = VecDeque::new();
            wires[from].outgoing[to] = Some(Outgoing { queue, overflow, unrung: false });
            wires[to].incoming[from] = Some(consumer);
        }
    }
    wires
}

impl Wires {
    /// The way in for other threads.
    pub(crate) fn inbox(&self) -> Arc<ArrayQueue<Message>> {
        Arc::clone(&self.inbox)
    }

    /// The endpoint, on its core.
    pub(crate) fn attach(self, bells: Arc<[Bell]>) -> Endpoint {
        assert_eq!(bells.len(), self.outgoing.len());
        let Self { index, outgoing, incoming, inbox } = self;
        Endpoint { index, outgoing, incoming, inbox, bells }
    }
}

impl Door {
    pub(crate) fn new(inbox: Arc<ArrayQueue<Message>>, bell: Bell) -> Self {
        Self { inbox, bell }
    }
}

impl Endpoint {
    /// Sends to another core. Never blocks; rung by [`Endpoint::ring`].
    pub(crate) fn send(&mut self, to: usize, message: Message) {
        assert_ne!(to, self.index, "a core does not send to itself");
        let Some(outgoing) = self.outgoing[to].as_mut() else {
            unreachable!("wired for all pairs")
        };
        outgoing.unrung = true;
        if !outgoing.overflow.is_empty() {
            outgoing.overflow.push_back(message);
        } else if let Err(rtrb::PushError::Full(message)) = outgoing.queue.push(message) {
            outgoing.overflow.push_back(message);
        }
    }

    /// Messages to core `to` that its queue has no room for.
    pub(crate) fn backlog(&self, to: usize) -> usize {
        self.outgoing[to].as_ref().map_or(0, |outgoing| outgoing.overflow.len())
    }

    /// Moves what overflowed into queues with room, and rings everyone who was sent something. Once per pass.
    /// Answers whether something still waits.
    pub(crate) fn ring(&mut self) -> bool {
        let mut waiting = false;
        for (outgoing, bell) in self.outgoing.iter_mut().zip(self.bells.iter()) {
            let Some(outgoing) = outgoing else { continue };
            while let Some(message) = outgoing.overflow.pop_front() {
                if let Err(rtrb::PushError::Full(message)) = outgoing.queue.push(message) {
                    outgoing.overflow.push_front(message);
                    waiting = true;
                    break;
                }
                outgoing.unrung = true;
            }
            if std::mem::take(&mut outgoing.unrung) {
                bell.ring();
            }
        }
        waiting
    }

    /// Takes at most `max` messages, fairly from all sources.
    pub(crate) fn receive(&mut self, max: usize, into: &mut Vec<Message>) {
        let start = into.len();
        while into.len() - start < max {
            let Some(message) = self.inbox.pop() else { break };
            into.push(message);
        }
        let sources = self.incoming.iter().flatten().count().max(1);
        let share = (max / sources).max(1);
        for queue in self.incoming.iter_mut().flatten() {
            for _ in 0..share {
                let Ok(message) = queue.pop() else { break };
                into.push(message);
            }
        }
    }
}
