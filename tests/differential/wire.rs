//! A connection that keeps replies as the bytes that came, RESP2 and RESP3 alike.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No reply takes this long, on a busy machine too.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One command: its words.
pub(crate) type Command = Vec<Vec<u8>>;

/// The length of the first reply in `bytes`, `None` while it is not whole.
///
/// # Errors
/// What begins here is no reply.
pub(crate) fn frame_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = end + 2;
    let count = || -> Result<i64, String> {
        let text = String::from_utf8_lossy(&bytes[1..end]).into_owned();
        text.parse().map_err(|_| format!("the length {text:?}"))
    };
    let items = match bytes[0] {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => return Ok(Some(line)),
        b'$' | b'=' | b'!' => {
            let Ok(len) = usize::try_from(count()?) else { return Ok(Some(line)) };
            return Ok((bytes.len() >= line + len + 2).then_some(line + len + 2));
        }
        b'*' | b'~' | b'>' => usize::try_from(count()?).unwrap_or(0),
        b'%' => 2 * usize::try_from(count()?).unwrap_or(0),
        other => return Err(format!("a reply of type {:?}", char::from(other))),
    };
    let mut at = line;
    for _ in 0..items {
        match frame_len(&bytes[at..])? {
            Some(len) => at += len,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The elements of an array, a set, a push or a map (there: names and values in turn); `None` if `frame` is none of them.
pub(crate) fn elements(frame: &[u8]) -> Option<Vec<&[u8]>> {
    if !matches!(frame.first()?, b'*' | b'~' | b'>' | b'%') {
        return None;
    }
    let mut at = frame.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let mut found = Vec::new();
    while at < frame.len() {
        let len = frame_len(&frame[at..]).ok()??;
        found.push(&frame[at..at + len]);
        at += len;
    }
    Some(found)
}

/// The number that `frame` is.
pub(crate) fn integer(frame: &[u8]) -> Option<i64> {
    let digits = frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The bytes of a bulk or simple string.
pub(crate) fn string(frame: &[u8]) -> Option<&[u8]> {
    let end = frame.windows(2).position(|pair| pair == b"\r\n")?;
    match frame[0] {
        b'+' => Some(&frame[1..end]),
        b'$' if frame[1] != b'-' => Some(&frame[end + 2..frame.len() - 2]),
        _ => None,
    }
}

/// Bytes as ASCII, the middle of long ones left out.
pub(crate) fn show(bytes: &[u8]) -> String {
    const MAX: usize = 400;
    let text: String = bytes.escape_ascii().map(char::from).collect();
    if text.len() <= MAX {
        return text;
    }
    format!("{} .. {} ({} bytes)", &text[..MAX - 80], &text[text.len() - 80..], bytes.len())
}

/// A command as one could type it.
pub(crate) fn show_command(words: &Command) -> String {
    let quoted = words.iter().map(|word| {
        let plain = !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
        if plain { show(word) } else { format!("\"{}\"", show(word)) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next reply, or push, as it came.
    pub(crate) fn reply(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match frame_len(&self.buffer) {
                Ok(Some(len)) => return Ok(self.buffer.drain(..len).collect()),
                Ok(None) => self.fill()?,
                Err(what) => {
                    let what = format!("{what}: {}", show(&self.buffer));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }

    /// Sends one command and takes its reply.
    pub(crate) fn ask<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Vec<u8>> {
        self.send(&crate::common::encode(words))?;
        self.reply()
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let count = match self.stream.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            read => read?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

#[test]
fn replies_are_cut_where_they_end() {
    let whole: [&[u8]; 9] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"_\r\n",
        b"$-1\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n",
        b"%1\r\n+a\r\n,1.5\r\n",
        b">3\r\n$1\r\nm\r\n$1\r\nc\r\n#t\r\n",
        b"*-1\r\n",
    ];
    for frame in whole {
        for cut in 0..frame.len() {
            assert_eq!(frame_len(&frame[..cut]), Ok(None), "{} at {cut}", show(frame));
        }
        let followed = [frame, b"+NEXT\r\n"].concat();
        assert_eq!(frame_len(&followed), Ok(Some(frame.len())), "{}", show(frame));
    }
    assert!(frame_len(b"hello\r\n").is_err());
}

#[test]
fn a_frame_has_its_parts() {
    assert_eq!(elements(b"*2\r\n:1\r\n$1\r\na\r\n").unwrap(), [&b":1\r\n"[..], b"$1\r\na\r\n"]);
    assert_eq!(elements(b"+OK\r\n"), None);
    assert_eq!(integer(b":-7\r\n"), Some(-7));
    assert_eq!(string(b"$2\r\nhi\r\n"), Some(&b"hi"[..]));
    assert_eq!(string(b"$-1\r\n"), None);
}
