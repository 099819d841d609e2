//! One connection of HTTP, as hyper reads and writes it: every byte that comes goes through `framing`, and everything that a
//! client could drag out has its deadline. A timer per read would not do: one byte in time would reset it.
//!
//! | what | how long |
//! |---|---|
//! | a head, from accept or its first byte | `HTTP_HEAD_TIME_MAX`, then 408 |
//! | nothing, between two requests | `HTTP_IDLE_TIME_MAX`, then the end |
//! | a body | `HTTP_BODY_TIME` and what its bytes are worth, at most `HTTP_BODY_TIME_MAX`, then 408 |
//! | a response that makes no progress | `HTTP_OUTPUT_STALL_MAX`, then the end |

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::framing::{Framing, Phase, Refusal, Verdict};
use crate::limits::{
    HTTP_BODY_BYTES_PER_S_MIN, HTTP_BODY_TIME, HTTP_BODY_TIME_MAX, HTTP_HEAD_TIME_MAX,
    HTTP_IDLE_TIME_MAX, HTTP_LINGER_BYTES_MAX, HTTP_LINGER_TIME_MAX, HTTP_OUTPUT_STALL_MAX,
};

/// Bytes that one read takes at most; one buffer for all connections of the thread.
const READ_BYTES: usize = 64 << 10;
/// Largest buffer of input that a connection keeps, in bytes.
const INPUT_KEPT_BYTES: usize = 16 << 10;

/// Where the bytes of a read lie until they are looked at.
pub(super) type Scratch = Rc<RefCell<Box<[u8]>>>;

pub(super) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; READ_BYTES].into_boxed_slice()))
}

/// What a connection and the service of its requests tell each other.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Of heads that went on and whose requests have not been served.
    pub(super) verdicts: RefCell<VecDeque<Verdict>>,
    /// A request that is served, or whose response is being sent.
    pub(super) is_busy: Cell<bool>,
    /// The body that is read took too long.
    pub(super) is_late: Cell<bool>,
}

/// See the module.
pub(super) struct Socket {
    stream: TcpStream,
    connection: Rc<Connection>,
    scratch: Scratch,
    framing: Framing,
    /// Looked at, and not yet given to hyper; `given` bytes of it are.
    input: Vec<u8>,
    given: usize,
    /// When what is being read began, and how much of it has come.
    began: Instant,
    came_bytes: u64,
    is_new: bool,
    /// A body is in another form than it must have: an error once all before it was given.
    is_broken: bool,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Rc<Connection>, scratch: Scratch) -> Self {
        let began = Instant::now();
        Self {
            stream,
            connection,
            scratch,
            framing: Framing::default(),
            input: Vec::new(),
            given: 0,
            began,
            came_bytes: 0,
            is_new: true,
            is_broken: false,
            reading: Box::pin(tokio::time::sleep_until(began + HTTP_HEAD_TIME_MAX)),
            writing: None,
            lingering: None,
        }
    }

    /// When what is being read must be there.
    fn deadline(&self) -> Instant {
        let time = match self.framing.phase() {
            // The first head must come as one that has begun.
            Phase::Idle if self.is_new => HTTP_HEAD_TIME_MAX,
            Phase::Idle | Phase::Ended => HTTP_IDLE_TIME_MAX,
            Phase::Head => HTTP_HEAD_TIME_MAX,
            Phase::Body => {
                let earned = Duration::from_secs(self.came_bytes / HTTP_BODY_BYTES_PER_S_MIN);
                (HTTP_BODY_TIME + earned).min(HTTP_BODY_TIME_MAX)
            }
        };
        self.began + time
    }

    /// Takes what was read.
    fn take(&mut self, count: usize) {
        let before = self.framing.phase();
        let scratch = self.scratch.borrow();
        let mut verdicts = self.connection.verdicts.borrow_mut();
        let requests = verdicts.len();
        let fed = self.framing.feed(&scratch[..count], &mut self.input, &mut verdicts);
        let after = self.framing.phase();
        if after != before || verdicts.len() != requests {
            self.is_new = false;
            self.began = Instant::now();
            self.came_bytes = 0;
        }
        self.came_bytes += count as u64;
        self.is_broken |= fed.is_err();
    }

    /// Nothing came. `Some`: what the reader is told, as the time is over.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Option<io::Result<()>> {
        let deadline = self.deadline();
        if deadline < self.reading.deadline() {
            self.reading.as_mut().reset(deadline);
        }
        loop {
            let deadline = self.deadline();
            if !self.reading.as_mut().poll_elapsed_at(cx, deadline) {
                return None;
            }
            if self.connection.is_busy.get() && self.framing.phase() != Phase::Body {
                // It waits for us.
                self.began = Instant::now();
                self.is_new = false;
                continue;
            }
            match self.framing.phase() {
                Phase::Body => {
                    self.connection.is_late.set(true);
                    return Some(Err(io::ErrorKind::TimedOut.into()));
                }
                Phase::Head => {
                    let text = format!("the head took longer than {HTTP_HEAD_TIME_MAX:?}");
                    let refusal =
                        Refusal { status: StatusCode::REQUEST_TIMEOUT, text: text.into() };
                    let mut verdicts = self.connection.verdicts.borrow_mut();
                    self.framing.refuse(refusal, &mut self.input, &mut verdicts);
                    return None;
                }
                // The end of input.
                Phase::Idle | Phase::Ended => return Some(Ok(())),
            }
        }
    }

    fn poll_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stall = self.writing.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + HTTP_OUTPUT_STALL_MAX))
        });
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A timer that is set again as late as possible: most deadlines move on before they come.
trait PollElapsed {
    /// Whether `deadline` is over; else whoever polls is woken then.
    fn poll_elapsed_at(self, cx: &mut Context<'_>, deadline: Instant) -> bool;
}

impl PollElapsed for Pin<&mut Sleep> {
    fn poll_elapsed_at(mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        while self.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            self.as_mut().reset(deadline);
        }
        false
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let ready = &this.input[this.given..];
            if !ready.is_empty() {
                let count = ready.len().min(cursor.remaining());
                cursor.put_slice(&ready[..count]);
                this.given += count;
                if this.given == this.input.len() {
                    this.given = 0;
                    this.input.clear();
                    this.input.shrink_to(INPUT_KEPT_BYTES);
                }
                return Poll::Ready(Ok(()));
            }
            if this.is_broken {
                let text = "a chunk in another form than it must have";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            if this.framing.phase() == Phase::Ended {
                return Poll::Ready(Ok(()));
            }
            let read = {
                let mut scratch = this.scratch.borrow_mut();
                let mut buffer = ReadBuf::new(&mut scratch);
                let read = Pin::new(&mut this.stream).poll_read(cx, &mut buffer);
                read.map_ok(|()| buffer.filled().len())
            };
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(count)) => this.take(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match this.poll_deadline(cx) {
                    Some(end) => return Poll::Ready(end),
                    None if this.input.is_empty() => return Poll::Pending,
                    None => {}
                },
            }
        }
    }
}

impl Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(result) => {
                this.writing = None;
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_writing(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(cx, slices) {
            Poll::Ready(result) => {
                this.writing = None;
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_writing(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing more is said. What still comes of a request that was refused is read for a while: a close with unread input
    /// would reset the connection, and its sender might never see why.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if matches!(this.framing.phase(), Phase::Idle) {
            return Poll::Ready(Ok(()));
        }
        let (time, bytes) = this.lingering.get_or_insert_with(|| {
            (Box::pin(tokio::time::sleep_until(Instant::now() + HTTP_LINGER_TIME_MAX)), 0)
        });
        while *bytes < HTTP_LINGER_BYTES_MAX {
            let mut scratch = this.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *bytes += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(time.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
