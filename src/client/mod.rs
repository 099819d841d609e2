//! A client of this server, or of Redis: blocking, one connection, pipelines. For our own ways in that are no socket of a
//! core: REPL, import, `top`. What waits on many connections at once takes [`encode`] and [`ReplyReader`] alone.

mod reply;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub use reply::{Malformed, Reply, ReplyReader};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// Time for a connection to be made, to one address.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Why a command was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    /// The connection broke, or a reply took too long. Whether what was sent has been done is not known.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("not the Redis protocol: {0}")]
    Malformed(#[from] Malformed),
}

/// Appends a command as it is sent.
pub fn encode<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[W]) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(words.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for word in words {
        let word = word.as_ref();
        out.push(b'$');
        out.extend_from_slice(digits.format(word.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether a read has ended because its time was over.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What a connection is made of.
trait Stream: Read + Write + Send {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }
}

impl Stream for UnixStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }
}

/// One connection. After an error it is of no further use.
pub struct Client {
    stream: Box<dyn Stream>,
    reader: ReplyReader,
    out: Vec<u8>,
    chunk: Box<[u8]>,
    /// Replies that are still to come.
    awaited: usize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("awaited", &self.awaited).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the server at `address`, as `127.0.0.1:8080`.
    ///
    /// # Errors
    /// `Connect`: no address of that name answers.
    pub fn connect(address: &str) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Connect { address: address.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no such address");
        for one in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&one, CONNECT_TIME_MAX) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    return Ok(Self::over(Box::new(stream)));
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Over a connection that there is: of [`crate::server::Connector`], or to a unix socket.
    pub fn over_unix(stream: UnixStream) -> Self {
        Self::over(Box::new(stream))
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        let chunk = vec![0; READ_BYTES].into_boxed_slice();
        Self { stream, reader: ReplyReader::default(), out: Vec::new(), chunk, awaited: 0 }
    }

    /// How long a reply may take; `None`, as at first: for ever.
    ///
    /// # Errors
    /// `Io`: the system refuses it.
    pub fn set_reply_time_max(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.stream.set_read_timeout(timeout).map_err(ClientError::Io)
    }

    /// Adds a command to those that [`Client::send`] sends. Memory is the caller's matter.
    pub fn queue<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        encode(&mut self.out, words);
        self.awaited += 1;
    }

    /// Bytes that are queued.
    pub fn queued_bytes(&self) -> usize {
        self.out.len()
    }

    /// Replies that are still to come, of commands queued or sent.
    pub fn awaited(&self) -> usize {
        self.awaited
    }

    /// Sends what is queued. With more than some hundred KB under way read replies in between, else both sides wait.
    ///
    /// # Errors
    /// `Io`.
    pub fn send(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next reply; blocks until it is there. Pushes are replies of their own here.
    ///
    /// # Errors
    /// `Closed`, `Malformed`, `Io` (also for a reply that takes too long).
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.reader.next_reply()? {
                if !matches!(reply, Reply::Push(_)) {
                    self.awaited = self.awaited.saturating_sub(1);
                }
                return Ok(reply);
            }
            let received = match self.stream.read(&mut self.chunk) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if received == 0 {
                return Err(ClientError::Closed);
            }
            self.reader.feed(&self.chunk[..received]);
        }
    }

    /// As [`Client::receive`], for so long at most; `None`: nothing whole has come, and it may be asked again.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn receive_within(&mut self, time: Duration) -> Result<Option<Reply>, ClientError> {
        self.stream.set_read_timeout(Some(time))?;
        let received = self.receive();
        self.stream.set_read_timeout(None)?;
        match received {
            Err(ClientError::Io(error)) if is_late(&error) => Ok(None),
            received => received.map(Some),
        }
    }

    /// Sends a command and waits for its reply; an error of the server is a [`Reply::Error`].
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn command<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Reply, ClientError> {
        self.queue(words);
        self.send()?;
        self.receive()
    }
}
