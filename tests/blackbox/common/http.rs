//! A plain HTTP/1.1 client: what goes out is exactly what the test says, what comes back is taken apart, not interpreted.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// No answer takes this long; a test that waits longer has found a hang.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header; names in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// It is an error of that status, as all of them look, and says `word`.
    pub(crate) fn refused(&self, status: u16, word: &str) {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        let json = self.json();
        assert_eq!(json["code"], status, "{json}");
        let text = json["error"].as_str().unwrap();
        assert!(text.contains(word), "{word:?} in {text:?}");
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect(("127.0.0.1", port))?))
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request with these header lines, each with its line end, beside Host and the length of the body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        let host = if headers.lines().any(|line| line.starts_with("Host:")) {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let length = match (body.is_empty(), method) {
            (true, "GET" | "HEAD" | "DELETE") => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let mut request =
            format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}\r\n").into_bytes();
        request.extend_from_slice(body);
        // Who is refused early may see a closed connection while it sends.
        let _ = self.send(&request);
        self.response(method == "HEAD").unwrap()
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, "", b"")
    }

    pub(crate) fn put(&mut self, path: &str, value: &[u8]) -> Response {
        self.ask("PUT", path, "Content-Type: application/octet-stream\r\n", value)
    }

    pub(crate) fn post(&mut self, path: &str, json: &str) -> Response {
        self.ask("POST", path, "Content-Type: application/json\r\n", json.as_bytes())
    }

    /// The next response; `bare`: it has no body whatever its head says.
    pub(crate) fn response(&mut self, bare: bool) -> io::Result<Response> {
        let head = self.head()?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
        let mut response = Response { status, head, body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        if !bare && status != 204 {
            response.body = self.exactly(length)?;
        }
        Ok(response)
    }

    /// The next head, without its empty line.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect::<Vec<u8>>();
                return Ok(String::from_utf8_lossy(&head[..end]).into_owned());
            }
            self.fill()?;
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Up to and with `end`.
    pub(crate) fn upto(&mut self, end: &[u8]) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|part| part == end) {
                let bytes: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            self.fill()?;
        }
    }

    /// All that still comes, until the other side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_ok() {}
        std::mem::take(&mut self.buffer)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}
