//! Why a connection is closed for what it sent: one error reply in Redis' words, then nothing more is read.

use std::fmt;

use super::writer;

/// A request that is no request. Final for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// An HTTP request: closed without a reply, and nothing behind it runs.
    CrossProtocol,
    /// An inline request of more than `LINE_BYTES_MAX`.
    InlineTooLong,
    /// An inline request with a quote that does not close, or that closes inside a word.
    UnbalancedQuotes,
    /// A count line without an end in `LINE_BYTES_MAX`.
    CountTooLong,
    /// A length line without an end in `LINE_BYTES_MAX`.
    LengthTooLong,
    /// Not a number, or above the most arguments of a command.
    InvalidCount,
    /// More arguments than are taken before login.
    UnauthenticatedCount,
    /// Something else where a bulk string must begin.
    ExpectedBulk { got: u8 },
    /// Not a number, or above the longest bulk string.
    InvalidLength,
    /// A longer bulk string than is taken before login.
    UnauthenticatedLength,
    /// A bulk string that does not end where its length says.
    MissingNewline,
    /// All bulk strings of the command together exceed what one request may hold.
    RequestTooLong { max: u32 },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrossProtocol => f.write_str("HTTP sent to the Redis port"),
            Self::InlineTooLong => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            Self::CountTooLong => f.write_str("too big mbulk count string"),
            Self::LengthTooLong => f.write_str("too big bulk count string"),
            Self::InvalidCount => f.write_str("invalid multibulk length"),
            Self::UnauthenticatedCount => f.write_str("unauthenticated multibulk length"),
            Self::ExpectedBulk { got } => {
                let shown = if got.is_ascii_graphic() { char::from(*got) } else { ' ' };
                write!(f, "expected '$', got '{shown}'")
            }
            Self::InvalidLength => f.write_str("invalid bulk length"),
            Self::UnauthenticatedLength => f.write_str("unauthenticated bulk length"),
            Self::MissingNewline => f.write_str("expected CRLF after a bulk string"),
            Self::RequestTooLong { max } => {
                write!(f, "request is longer than {max} bytes")
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

impl ProtocolError {
    /// Appends the one error reply before the connection closes; nothing for [`Self::CrossProtocol`].
    pub fn write(&self, out: &mut Vec<u8>) {
        if *self != Self::CrossProtocol {
            writer::error(out, format_args!("ERR Protocol error: {self}"));
        }
    }
}
