//! One thread: sends what may be sent, reads what has come, and waits.
//!
//! Generic over its sockets and its clock, so that the whole of it is tested against a server of its own making in a time of its
//! own making (`worker/tests`).

use std::io;

use crate::connection::{Connection, Context, Fault};
use crate::limits::{DRAIN_NS, SILENCE_NS};
use crate::pace::{Pacer, Schedule};
use crate::settings::{End, Pace, Settings};
use crate::tally::Tally;
use crate::workload::Source;

#[cfg(test)]
mod tests;

/// The longest wait: how soon an end by time, or a silent server, is noticed.
const WAIT_NS_MAX: u64 = 100_000_000;

/// The sockets of one thread, and its clock.
pub(crate) trait Net {
    /// Nanoseconds since the start of the run.
    fn now_ns(&self) -> u64;
    /// Waits until something can be done, at most so long; appends the connections that can be read from or, where that was
    /// asked for, written to.
    fn wait(&mut self, timeout_ns: u64, ready: &mut Vec<usize>) -> io::Result<()>;
    /// `WouldBlock` where nothing has come.
    fn read(&mut self, connection: usize, into: &mut [u8]) -> io::Result<usize>;
    /// `WouldBlock` where the socket takes nothing now.
    fn write(&mut self, connection: usize, bytes: &[u8]) -> io::Result<usize>;
    /// Whether `wait` shall also report that the connection can be written to.
    fn want_write(&mut self, connection: usize, is_wanted: bool) -> io::Result<()>;
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(
        "client {client}: the server closed the connection, with {in_flight} requests under way{said}"
    )]
    Closed { client: usize, in_flight: usize, said: String },
    #[error("client {client}: {error}")]
    Io { client: usize, error: io::Error },
    #[error("client {client}: {fault}")]
    Reply { client: usize, fault: Fault },
    #[error("no answer for {} s, with {in_flight} requests under way", SILENCE_NS / 1_000_000_000)]
    Silent { in_flight: usize },
    #[error("cannot wait for sockets: {0}")]
    Wait(io::Error),
}

/// A connection and its place in the run.
#[derive(Debug)]
struct Client {
    /// Its number among all clients.
    number: usize,
    connection: Connection,
    /// Requests of its batch that are not encoded yet.
    batch_left: usize,
    /// The moment of the batch.
    batch_ns: u64,
    is_write_wanted: bool,
    /// Its output has grown since it was last written.
    is_touched: bool,
}

#[derive(Debug)]
enum Mode {
    Closed {
        pipeline: usize,
        /// Requests that may still be sent after the warm-up.
        measured_left: u64,
        /// No request is made after this.
        ends_ns: u64,
    },
    Open {
        pacer: Pacer,
        outstanding: usize,
        /// When answers, and requests not even sent, are given up: some time after the end of a run by time.
        gives_up_ns: Option<u64>,
    },
}

/// One thread's part of a run.
#[derive(Debug)]
pub(crate) struct Worker<'a, N> {
    net: N,
    context: &'a Context,
    clients: Vec<Client>,
    mode: Mode,
    measured_from_ns: u64,
    in_flight: usize,
    /// When something was last read, or first awaited.
    heard_ns: u64,
    touched: Vec<usize>,
    pub(crate) tally: Tally,
}

impl<'a, N: Net> Worker<'a, N> {
    /// `numbers` are those of its clients; connection `i` of `net` is client `numbers[i]`.
    pub(crate) fn new(
        settings: &Settings,
        context: &'a Context,
        numbers: &[usize],
        net: N,
        tally: Tally,
    ) -> Self {
        let client = |&number: &usize| Client {
            number,
            connection: Connection::new(Source::new(settings, number)),
            batch_left: 0,
            batch_ns: 0,
            is_write_wanted: false,
            is_touched: false,
        };
        let mut clients: Vec<Client> = numbers.iter().map(client).collect();
        let mode = match settings.pace {
            Pace::Closed { pipeline } => Mode::Closed {
                pipeline,
                measured_left: quota(settings, numbers),
                ends_ns: settings.ends_ns().unwrap_or(u64::MAX),
            },
            Pace::Open { rate, arrivals, outstanding } => {
                let schedules = clients.iter_mut().map(|client| {
                    let source = &mut client.connection.source;
                    let (count, seed) = (source.stripe_count(), source.next_seed());
                    Schedule::new(settings, (rate, arrivals), client.number, count, seed)
                });
                let gives_up_ns = settings.ends_ns().map(|end| end + DRAIN_NS);
                Mode::Open { pacer: Pacer::new(schedules), outstanding, gives_up_ns }
            }
        };
        Self {
            net,
            context,
            clients,
            mode,
            measured_from_ns: settings.measured_from_ns(),
            in_flight: 0,
            heard_ns: 0,
            touched: Vec::new(),
            tally,
        }
    }

    /// To the end of the run.
    pub(crate) fn run(&mut self) -> Result<(), Stop> {
        let mut ready = Vec::new();
        for client in 0..self.clients.len() {
            self.refill(client);
            self.write(client)?;
        }
        loop {
            self.send_due()?;
            let Some(timeout_ns) = self.timeout_ns()? else { break };
            ready.clear();
            self.net.wait(timeout_ns, &mut ready).map_err(Stop::Wait)?;
            for &client in &ready {
                self.read(client)?;
                self.refill(client);
                self.write(client)?;
            }
        }
        self.tally.finish();
        Ok(())
    }

    /// How long to wait at most; `None` at the end of the run.
    fn timeout_ns(&mut self) -> Result<Option<u64>, Stop> {
        let now_ns = self.net.now_ns();
        match &mut self.mode {
            Mode::Closed { .. } => {
                if self.in_flight == 0 {
                    return Ok(None);
                }
                if now_ns.saturating_sub(self.heard_ns) > SILENCE_NS {
                    return Err(Stop::Silent { in_flight: self.in_flight });
                }
                Ok(Some(WAIT_NS_MAX))
            }
            Mode::Open { pacer, gives_up_ns, .. } => {
                if pacer.is_done() && self.in_flight == 0 {
                    return Ok(None);
                }
                let until_ns = gives_up_ns.unwrap_or(self.heard_ns.saturating_add(SILENCE_NS));
                if now_ns >= until_ns && self.in_flight > 0 {
                    self.abandon(now_ns);
                    return Ok(None);
                }
                let moment_ns = pacer.next_moment().unwrap_or(u64::MAX);
                Ok(Some(moment_ns.saturating_sub(now_ns).min(WAIT_NS_MAX)))
            }
        }
    }

    fn abandon(&mut self, now_ns: u64) {
        for client in &mut self.clients {
            client.connection.abandon(now_ns, &mut self.tally);
        }
        if let Mode::Open { pacer, .. } = &mut self.mode {
            pacer.abandon(now_ns, |lane, intended_ns| {
                if let Some(operation) = self.clients[lane].connection.source.next() {
                    self.tally.gave_up(operation.kind, intended_ns, now_ns);
                }
            });
        }
        self.in_flight = 0;
    }

    /// Open: encodes everything whose moment has come, and writes once to each socket concerned.
    fn send_due(&mut self) -> Result<(), Stop> {
        let Mode::Open { pacer, outstanding, .. } = &mut self.mode else { return Ok(()) };
        let now_ns = self.net.now_ns();
        while let Some(due) = pacer.take_due(now_ns) {
            let client = &mut self.clients[due.lane];
            let connection = &mut client.connection;
            if connection.in_flight() >= *outstanding || !connection.has_room() {
                if due.intended_ns >= self.measured_from_ns {
                    self.tally.held_back += 1;
                }
                pacer.hold(due.lane);
                continue;
            }
            if connection.push_next(due.intended_ns, self.context) {
                if self.in_flight == 0 {
                    self.heard_ns = now_ns;
                }
                self.in_flight += 1;
                self.tally.sent(due.possible_ns, now_ns);
                if !client.is_touched {
                    client.is_touched = true;
                    self.touched.push(due.lane);
                }
            }
            pacer.advance(due.lane);
        }
        while let Some(client) = self.touched.pop() {
            self.clients[client].is_touched = false;
            self.write(client)?;
        }
        Ok(())
    }

    /// Closed: the rest of the client's batch, or the next batch. Open: a held lane may go on.
    fn refill(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let connection = &mut client.connection;
        match &mut self.mode {
            Mode::Open { pacer, outstanding, .. } => {
                if connection.in_flight() < *outstanding && connection.has_room() {
                    pacer.release(at, self.net.now_ns());
                }
            }
            Mode::Closed { pipeline, measured_left, ends_ns } => {
                if connection.in_flight() == 0 && client.batch_left == 0 {
                    client.batch_ns = self.net.now_ns();
                    client.batch_left = *pipeline;
                }
                while client.batch_left > 0 && connection.has_room() {
                    let is_measured = client.batch_ns >= self.measured_from_ns;
                    let may_send =
                        client.batch_ns < *ends_ns && (!is_measured || *measured_left > 0);
                    if !may_send || !connection.push_next(client.batch_ns, self.context) {
                        client.batch_left = 0;
                        break;
                    }
                    client.batch_left -= 1;
                    *measured_left -= u64::from(is_measured);
                    if self.in_flight == 0 {
                        self.heard_ns = client.batch_ns;
                    }
                    self.in_flight += 1;
                }
            }
        }
    }

    fn write(&mut self, at: usize) -> Result<(), Stop> {
        let client = &mut self.clients[at];
        let number = client.number;
        let failed = |error| Stop::Io { client: number, error };
        while !client.connection.unsent().is_empty() {
            match self.net.write(at, client.connection.unsent()) {
                Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    self.tally.sent_bytes += bytes as u64;
                    client.connection.sent(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_closed(&error) => return Err(self.closed(at)),
                Err(error) => return Err(failed(error)),
            }
        }
        let is_wanted = !client.connection.unsent().is_empty();
        if is_wanted != client.is_write_wanted {
            client.is_write_wanted = is_wanted;
            self.net.want_write(at, is_wanted).map_err(failed)?;
        }
        Ok(())
    }

    fn read(&mut self, at: usize) -> Result<(), Stop> {
        let client = &mut self.clients[at];
        let bytes = match self.net.read(at, client.connection.room()) {
            Ok(0) => return Err(self.closed(at)),
            Ok(bytes) => bytes,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) if is_closed(&error) => return Err(self.closed(at)),
            Err(error) => return Err(Stop::Io { client: client.number, error }),
        };
        let now_ns = self.net.now_ns();
        let gap_ns = now_ns.saturating_sub(self.heard_ns.max(self.measured_from_ns));
        self.tally.heard_after(gap_ns, now_ns);
        self.heard_ns = now_ns;
        let before = client.connection.in_flight();
        client
            .connection
            .received(bytes, now_ns, self.context, &mut self.tally)
            .map_err(|fault| Stop::Reply { client: client.number, fault })?;
        self.in_flight -= before - client.connection.in_flight();
        Ok(())
    }

    fn closed(&self, at: usize) -> Stop {
        let client = &self.clients[at];
        // As a server does that has too many clients.
        let said = self.tally.errors.0.first();
        let said = said.map_or_else(String::new, |error| format!("; it had said: {}", error.first));
        Stop::Closed { client: client.number, in_flight: client.connection.in_flight(), said }
    }
}

/// Requests that the clients of one thread send after the warm-up.
fn quota(settings: &Settings, numbers: &[usize]) -> u64 {
    let End::Requests(all) = settings.end else { return u64::MAX };
    let clients = settings.clients as u64;
    let share = |&number: &usize| all / clients + u64::from((number as u64) < all % clients);
    numbers.iter().map(share).sum()
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}
