//! The Redis protocol: bytes to commands and replies to bytes. No I/O, no clock, no knowledge of commands.
//!
//! ```text
//! request = "*" count CRLF ( "$" length CRLF byte{length} CRLF ){count}
//!         | line LF                         inline: words apart by blanks, quoted as in Redis; CR before LF is dropped
//! nothing = "*0" CRLF | "*-N" CRLF | blank line         skipped without a reply
//! ```
//! Numbers are plain digits: no sign on a length, no leading zero. A request is flat: there is no nesting, so no
//! recursion over input anywhere.
//!
//! # Bounds
//! A claimed count reserves at most `ARG_SLOTS_RESERVED` slots, a claimed length nothing at all
//! ([`Parser::needed_hint`] tells the caller what to expect). See [`ParserLimits`] for the rest.
#![deny(clippy::indexing_slicing)]

mod args;
mod error;
mod inline;
mod lookahead;
mod parser;
#[cfg(test)]
mod tests;
pub mod writer;

pub use args::{ArgRange, Args, OwnedArgs};
pub use error::ProtocolError;
pub(crate) use inline::words;
pub(crate) use lookahead::{Ahead, look_ahead};
pub use parser::{Parsed, Parser, ParserLimits};
pub(crate) use parser::{is_http, strict_number};
pub use writer::Protocol;
