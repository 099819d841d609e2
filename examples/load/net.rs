//! The sockets of one thread: nonblocking, watched by one epoll, with a clock in nanoseconds.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::worker::Net;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Sockets reported by one wait.
const EVENTS_MAX: usize = 256;

/// One blocking connection.
pub(crate) fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The sockets of one thread.
pub(crate) struct Sockets {
    epoll: OwnedFd,
    streams: Vec<TcpStream>,
    events: Vec<epoll::Event>,
    began: Instant,
    /// Another thread has failed.
    is_over: Arc<AtomicBool>,
}

impl Sockets {
    /// Connection `i` is `streams[i]`; the clock counts from `began`.
    pub(crate) fn new(
        streams: Vec<TcpStream>,
        began: Instant,
        is_over: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, stream) in streams.iter().enumerate() {
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&epoll, stream, data, epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, streams, events: Vec::with_capacity(EVENTS_MAX), began, is_over })
    }

    /// For the thread that will wait: without this the kernel may wake it 50 us late.
    pub(crate) fn wake_punctually() {
        // Where it is refused, the histogram of lateness shows it.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }
}

impl Net for Sockets {
    fn now_ns(&self) -> u64 {
        // A run is at most weeks long.
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wait(&mut self, timeout_ns: u64, ready: &mut Vec<usize>) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("another thread has failed"));
        }
        let timeout = Timespec::try_from(Duration::from_nanos(timeout_ns))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let data = event.data;
            // What was put in.
            ready.push(usize::try_from(data.u64()).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    fn read(&mut self, connection: usize, into: &mut [u8]) -> io::Result<usize> {
        self.streams[connection].read(into)
    }

    fn write(&mut self, connection: usize, bytes: &[u8]) -> io::Result<usize> {
        self.streams[connection].write(bytes)
    }

    fn want_write(&mut self, connection: usize, is_wanted: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, is_wanted);
        let data = epoll::EventData::new_u64(connection as u64);
        Ok(epoll::modify(&self.epoll, &self.streams[connection], data, flags)?)
    }
}
