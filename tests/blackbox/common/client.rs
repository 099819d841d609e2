//! A plain RESP2 client: what goes out is exactly what the test says, what comes back is typed.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// No reply takes this long; a test that waits longer has found a hang.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One RESP2 reply.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Simple("OK".into())
    }

    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// The text of a bulk string or error, for searching in.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("no text in {other:?}"),
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// Long strings are cut: a 64 MiB value in a panic message helps nobody.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) if bytes.len() <= 128 => {
                write!(f, "\"{}\"", String::from_utf8_lossy(bytes))
            }
            Self::Bulk(bytes) => {
                write!(f, "\"{}..\" ({} bytes)", String::from_utf8_lossy(&bytes[..64]), bytes.len())
            }
            Self::Nil => write!(f, "nil"),
            Self::Array(items) => f.debug_list().entries(items).finish(),
        }
    }
}

/// A request as an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Client {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::new(), at: 0 })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends raw bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// No more requests: the server sees the end of input.
    pub(crate) fn finish(&mut self) {
        // Fails only if the server has closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends one command and reads its reply.
    pub(crate) fn try_command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(&encode(args))?;
        self.reply()
    }

    /// Sends one command and reads its reply; the connection must hold.
    pub(crate) fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_command(args).unwrap()
    }

    /// Sends commands as one pipeline and reads their replies. Some hundred short ones: more, and both sides could wait.
    pub(crate) fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Reply> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
        self.send(&bytes).unwrap();
        commands.iter().map(|_| self.reply().unwrap()).collect()
    }

    /// The value of one setting, by CONFIG GET.
    pub(crate) fn setting(&mut self, name: &str) -> String {
        match self.command(&["CONFIG", "GET", name]) {
            Reply::Array(pair) if pair.len() == 2 => pair[1].text(),
            other => panic!("CONFIG GET {name}: {other:?}"),
        }
    }

    /// A field of INFO.
    pub(crate) fn info(&mut self, name: &str) -> String {
        let text = self.say("INFO").text();
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        match fields.find(|(field, _)| *field == name) {
            Some((_, value)) => value.to_owned(),
            None => panic!("no {name} in INFO:\n{text}"),
        }
    }

    /// A command of words without spaces: `say("SET a 1")`.
    pub(crate) fn say(&mut self, line: &str) -> Reply {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.command(&args)
    }

    /// Reads one reply.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_first().ok_or_else(|| bad("an empty line"))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        match kind {
            b'+' => Ok(Reply::Simple(text)),
            b'-' => Ok(Reply::Error(text)),
            b':' => Ok(Reply::Integer(number(&text)?)),
            b'$' => match usize::try_from(number(&text)?) {
                Err(_) => Ok(Reply::Nil),
                Ok(len) => {
                    let mut bytes = self.exactly(len + 2)?;
                    if bytes.split_off(len) != b"\r\n" {
                        return Err(bad("a bulk string without its end"));
                    }
                    Ok(Reply::Bulk(bytes))
                }
            },
            b'*' => match usize::try_from(number(&text)?) {
                Err(_) => Ok(Reply::Nil),
                Ok(count) => {
                    let items: io::Result<Vec<Reply>> = (0..count).map(|_| self.reply()).collect();
                    Ok(Reply::Array(items?))
                }
            },
            other => Err(bad(&format!("a reply of type {:?}", char::from(*other)))),
        }
    }

    /// Everything the server still says until it closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if is_closed(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let rest = self.buffer.split_off(self.at);
        self.buffer.clear();
        self.at = 0;
        Ok(rest)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = self.at;
        loop {
            if let Some(end) = self.buffer[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let end = searched + end;
                let line = self.buffer[self.at..end].to_vec();
                self.consume(end + 2);
                return Ok(line);
            }
            searched = self.at.max(self.buffer.len().saturating_sub(1));
            self.fill()?;
        }
    }

    fn exactly(&mut self, len: usize) -> io::Result<Vec<u8>> {
        self.buffer.reserve(len.saturating_sub(self.buffer.len() - self.at));
        while self.buffer.len() - self.at < len {
            self.fill()?;
        }
        let bytes = self.buffer[self.at..self.at + len].to_vec();
        self.consume(self.at + len);
        Ok(bytes)
    }

    fn consume(&mut self, to: usize) {
        self.at = to;
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        } else if self.at > 1 << 20 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let count = loop {
            match self.stream.read(&mut chunk) {
                // A process that is stopped and goes on: with a timeout, the kernel does not wait on by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

/// Whether the other side has closed, politely or not.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {what}"))
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| bad(&format!("the number {text:?}")))
}
