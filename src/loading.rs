//! While the shards are opened: a thread of its own answers clients, who would wait in silence otherwise.
//!
//! What Redis answers while it loads and needs no shard is answered as ever, INFO says `loading:1`, and all else gets
//! Redis' `-LOADING`, PING included. When the shards are open the cores take the connections over.
//!
//! # Invariants
//! - No command reaches a shard from here.
//! - A connection is handed over as if it had just come: one that has agreed on something (protocol, name), or whose next
//!   request has come in part, is closed instead.
//! - This thread has ended before core 0 accepts.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::access::{self, Login};
use crate::command::table::Flags;
use crate::command::{self, CommandId, Flow, Place, ServerFacts, Session, info, info_sections};
use crate::limits::{LOADING_CLIENTS_MAX, LOADING_INPUT_BYTES_MAX};
use crate::net::listeners::Transport;
use crate::resp::{Args, Parsed, Parser, ParserLimits, writer};
use crate::server::Shared;
use crate::sys;

/// How soon the thread sees that it is to end.
const POLL: Duration = Duration::from_millis(5);

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

const LOADING: &str = "LOADING rusty-lsm is loading the dataset in memory";

/// The thread.
#[derive(Debug)]
pub(crate) struct Greeter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<OwnedFd>>,
}

impl Greeter {
    /// Begins to accept.
    ///
    /// # Errors
    /// No thread, no descriptor.
    pub(crate) fn start(listener: &TcpListener, shared: Arc<Shared>) -> io::Result<Self> {
        let listener = listener.try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("loading".into()).spawn(move || {
            let served = Loading { listener: &listener, shared: &shared, clients: Vec::new() };
            let sockets = served.run(&ends);
            // The flag is the open file's, which core 0 has, too.
            if let Err(error) = listener.set_nonblocking(false) {
                tracing::warn!(%error, "the listener stays non-blocking");
            }
            sockets
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it; answers the connections that the cores may take over.
    pub(crate) fn end(self) -> Vec<OwnedFd> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

struct Loading<'a> {
    listener: &'a TcpListener,
    shared: &'a Shared,
    clients: Vec<Client>,
}

impl Loading<'_> {
    fn run(mut self, ends: &AtomicBool) -> Vec<OwnedFd> {
        if let Err(error) = self.listener.set_nonblocking(true) {
            tracing::warn!(%error, "clients wait until the data is loaded");
            return Vec::new();
        }
        while !ends.load(Ordering::Acquire) {
            let has_room = self.clients.len() < LOADING_CLIENTS_MAX;
            let listener = has_room.then(|| self.listener.as_fd());
            let reading = self.clients.iter().filter(|client| client.has_room());
            let sockets = reading.map(|client| client.stream.as_fd());
            let sockets: Vec<BorrowedFd<'_>> = listener.into_iter().chain(sockets).collect();
            if let Err(error) = sys::wait_readable(&sockets, POLL) {
                tracing::warn!(%error, "clients wait until the data is loaded");
                break;
            }
            while self.clients.len() < LOADING_CLIENTS_MAX
                && let Ok((stream, _)) = self.listener.accept()
            {
                self.clients.extend(Client::new(stream, self.shared));
            }
            let shared = self.shared;
            let count = self.clients.len() as u64;
            self.clients.retain_mut(|client| client.serve(shared, count));
        }
        self.clients.into_iter().filter_map(Client::hand_over).collect()
    }
}

struct Client {
    stream: TcpStream,
    parser: Parser,
    session: Session,
    began_as: Login,
    /// A part of a request.
    input: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream, shared: &Shared) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        let crate::net::Addresses { peer, local, is_local } =
            crate::net::addresses(&socket, Transport::Tcp);
        if !is_local && shared.live.refuses_others() {
            crate::net::reject(&socket, access::PROTECTED_MODE.as_bytes());
            return None;
        }
        let mut session = Session::new(shared.next_client_id(), peer, local, sys::wall_us());
        session.is_local = is_local;
        session.begin(&shared.live);
        // Whoever has logged in is closed before it can send more than these: see `hand_over`.
        let limits = if session.must_log_in(&shared.live) {
            ParserLimits::before_auth(shared.bulk_bytes_max)
        } else {
            ParserLimits::new(shared.bulk_bytes_max)
        };
        let parser = Parser::new(limits);
        let began_as = session.login;
        Some(Self { stream, parser, session, began_as, input: Vec::new() })
    }

    /// Longer requests wait in the kernel.
    fn has_room(&self) -> bool {
        self.input.len() < LOADING_INPUT_BYTES_MAX
    }

    /// Reads and answers what is there; false: it is over.
    fn serve(&mut self, shared: &Shared, clients: u64) -> bool {
        while self.has_room() {
            let mut chunk = [0; READ_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            let mut out = Vec::new();
            let goes_on = self.answer(shared, clients, &mut out);
            // Whoever does not take these few bytes is no loss.
            if self.stream.write_all(&out).is_err() || !goes_on {
                return false;
            }
        }
        true
    }

    /// Answers all whole requests of the input; false: nothing more is answered.
    fn answer(&mut self, shared: &Shared, clients: u64, out: &mut Vec<u8>) -> bool {
        let input = std::mem::take(&mut self.input);
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match self.parser.parse(rest) {
                Err(error) => {
                    error.write(out);
                    return false;
                }
                Ok(Parsed::Incomplete) => break,
                Ok(Parsed::Empty { consumed: bytes }) => consumed += bytes,
                Ok(Parsed::Command { consumed: bytes }) => {
                    let args = self.parser.args(rest);
                    if run(&mut self.session, shared, clients, args, out) != Flow::Continue {
                        return false;
                    }
                    consumed += bytes;
                }
            }
        }
        self.input = input;
        self.input.drain(..consumed);
        true
    }

    /// As it came from `accept`; `None`: it cannot be told from here what it has agreed on.
    fn hand_over(self) -> Option<OwnedFd> {
        let as_it_came = Session {
            login: self.began_as,
            is_free: self.session.is_free,
            is_local: self.session.is_local,
            ..Session::new(
                self.session.id,
                self.session.peer.clone(),
                self.session.local.clone(),
                self.session.connected_us,
            )
        };
        let is_new = self.session == as_it_came && self.input.is_empty();
        (is_new && self.stream.set_nonblocking(false).is_ok()).then(|| self.stream.into())
    }
}

fn run(
    session: &mut Session,
    shared: &Shared,
    clients: u64,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Flow {
    let spec = match command::resolve(args) {
        Ok(spec) => spec,
        Err(refusal) => return refusal.write(args, out),
    };
    if let Err(error) = access::permit(session, &shared.live, spec) {
        error.write(out);
        return Flow::Continue;
    }
    if !spec.flags.has(Flags::LOADING) {
        writer::error(out, LOADING);
        return Flow::Continue;
    }
    match spec.place {
        Place::Local => {
            let facts = ServerFacts { now_us: sys::wall_us(), live: Arc::clone(&shared.live) };
            command::run(session, &facts, spec, args, out)
        }
        _ if spec.id == CommandId::Info => {
            let text = info::render(&shared.loading_facts(clients), info_sections(args));
            writer::verbatim(out, text.as_bytes(), session.protocol);
            Flow::Continue
        }
        _ => {
            writer::error(out, LOADING);
            Flow::Continue
        }
    }
}
