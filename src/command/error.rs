//! Error replies to commands, in Redis' exact words where it has them: clients match their beginnings.

use std::borrow::Cow;
use std::fmt;

use super::connection::shortened;
use crate::limits::{
    CLIENT_NAME_BYTES_MAX, ERROR_ARG_BYTES, GLOB_BYTES_MAX, KEYS_REPLY_BYTES_MAX,
    TRANSACTION_BYTES_MAX, TRANSACTION_COMMANDS_MAX,
};
use crate::resp::writer;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    Arity(&'static str),
    Syntax,
    NotInteger,
    DbIndex,
    NoCluster,
    KeyTooLong {
        bytes: usize,
    },
    ProtocolNotInteger,
    NoProtocol,
    HelloOption(Vec<u8>),
    WrongPassword,
    /// A command before login.
    NoAuth,
    /// The user may not use the command of that name.
    NoPermission(&'static str),
    /// The command of that name is taken from this machine only.
    RemoteAdmin(&'static str),
    DebugDisabled,
    /// In Redis' words, or our own where it has none.
    Text(Cow<'static, str>),
    NameTooLong,
    NameCharacters(&'static str),
    UnknownOption(Vec<u8>),
    NoSuchCommand,
    NoKeys,
    WrongCount,
    /// An option of EXPIRE.
    UnsupportedOption(Vec<u8>),
    ValueTooLong,
    /// The command that was given a time that cannot be.
    ExpireTime(&'static str),
    Offset,
    BitOffset,
    Overflow,
    DecrementOverflow,
    NotFloat,
    NanOrInfinity,
    NoSuchKey,
    /// RESTORE without REPLACE.
    BusyKey,
    /// RESTORE: damaged, or of a later version.
    DumpPayload,
    /// RESTORE: a value of that type.
    DumpKind(&'static str),
    SameObject,
    Cursor,
    /// Of a scan that newer ones have made the shard forget.
    CursorIsOld,
    PatternTooLong {
        bytes: usize,
    },
    TooManyKeys,
    TransactionTooLarge,
    UnknownSetting(Vec<u8>),
    /// CONFIG SET: the name as it was given, and what is wrong.
    Setting(Vec<u8>, String),
    /// A subcommand that checks the number of its arguments itself: its name as it was given, and its command.
    SubcommandArity(Vec<u8>, &'static str),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((before, bytes, after)) = self.quoting() {
            return write!(f, "{before}{}{after}", quoted(bytes));
        }
        match self {
            Self::Arity(name) => write!(f, "ERR wrong number of arguments for '{name}' command"),
            Self::Syntax => f.write_str("ERR syntax error"),
            Self::NotInteger => f.write_str("ERR value is not an integer or out of range"),
            Self::DbIndex => f.write_str("ERR DB index is out of range"),
            Self::NoCluster => f.write_str("ERR This instance has cluster support disabled"),
            Self::KeyTooLong { bytes } => {
                let max = shard::limits::KEY_BYTES_MAX;
                write!(f, "ERR key is {bytes} bytes long, the limit is {max}")
            }
            Self::ProtocolNotInteger => {
                f.write_str("ERR Protocol version is not an integer or out of range")
            }
            Self::NoProtocol => f.write_str("NOPROTO unsupported protocol version"),
            Self::WrongPassword => {
                f.write_str("WRONGPASS invalid username-password pair or user is disabled.")
            }
            Self::NoAuth => f.write_str("NOAUTH Authentication required."),
            Self::NoPermission(name) => {
                write!(f, "NOPERM this user has no permissions to run the '{name}' command")
            }
            Self::RemoteAdmin(name) => write!(
                f,
                "ERR the '{name}' command is taken from this machine only (loopback or the unix socket), \
                 unless the server is started with allow_remote_admin = \"yes\""
            ),
            Self::DebugDisabled => f.write_str(
                "ERR DEBUG command not allowed. If the enable_debug_command setting is \"local\", you can run it \
                 from a local connection, otherwise you need to set it and then restart the server.",
            ),
            Self::Text(text) => f.write_str(text),
            Self::NameTooLong => {
                write!(f, "ERR a client's name is at most {CLIENT_NAME_BYTES_MAX} bytes long")
            }
            Self::NameCharacters(what) => {
                write!(f, "ERR {what} cannot contain spaces, newlines or special characters.")
            }
            Self::NoSuchCommand => f.write_str("ERR Invalid command specified"),
            Self::NoKeys => f.write_str("ERR The command has no key arguments"),
            Self::WrongCount => {
                f.write_str("ERR Invalid number of arguments specified for command")
            }
            Self::ValueTooLong => {
                f.write_str("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
            }
            Self::ExpireTime(command) => {
                write!(f, "ERR invalid expire time in '{command}' command")
            }
            Self::Offset => f.write_str("ERR offset is out of range"),
            Self::BitOffset => f.write_str("ERR bit offset is not an integer or out of range"),
            Self::Overflow => f.write_str("ERR increment or decrement would overflow"),
            Self::DecrementOverflow => f.write_str("ERR decrement would overflow"),
            Self::NotFloat => f.write_str("ERR value is not a valid float"),
            Self::NanOrInfinity => f.write_str("ERR increment would produce NaN or Infinity"),
            Self::NoSuchKey => f.write_str("ERR no such key"),
            Self::BusyKey => f.write_str("BUSYKEY Target key name already exists."),
            Self::DumpPayload => f.write_str("ERR DUMP payload version or checksum are wrong"),
            Self::DumpKind(kind) => {
                write!(f, "ERR the payload is a {kind}: this server has strings alone")
            }
            Self::SameObject => f.write_str("ERR source and destination objects are the same"),
            Self::CursorIsOld => {
                f.write_str("ERR invalid cursor: it is of an earlier start, or many scans ago")
            }
            Self::PatternTooLong { bytes } => {
                write!(f, "ERR pattern is {bytes} bytes long, the limit is {GLOB_BYTES_MAX}")
            }
            Self::TooManyKeys => write!(
                f,
                "ERR the keys of one shard that match are more than {KEYS_REPLY_BYTES_MAX} bytes: use SCAN"
            ),
            Self::TransactionTooLarge => write!(
                f,
                "ERR a transaction holds at most {TRANSACTION_COMMANDS_MAX} commands and {TRANSACTION_BYTES_MAX} bytes"
            ),
            Self::Cursor => f.write_str("ERR invalid cursor"),
            // What is wrong may have a client's bytes in it, too: all of it is made harmless as a text.
            Self::Setting(name, problem) => write!(
                f,
                "ERR CONFIG SET failed (possibly related to argument '{}') - {problem}",
                quoted(name)
            ),
            Self::HelloOption(_)
            | Self::UnknownOption(_)
            | Self::UnsupportedOption(_)
            | Self::UnknownSetting(_)
            | Self::SubcommandArity(..) => unreachable!("it quotes"),
        }
    }
}

impl std::error::Error for CommandError {}

impl CommandError {
    pub(crate) fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn unknown_setting(name: &[u8]) -> Self {
        Self::UnknownSetting(shortened(name))
    }

    pub(crate) fn unsupported_option(option: &[u8]) -> Self {
        Self::UnsupportedOption(shortened(option))
    }

    pub(crate) fn config(name: &[u8], problem: impl Into<String>) -> Self {
        Self::Setting(shortened(name), problem.into())
    }

    /// The client's bytes that the text quotes, as they came, and what stands before and behind them.
    fn quoting(&self) -> Option<(&'static str, &[u8], Cow<'static, str>)> {
        Some(match self {
            Self::HelloOption(option) => ("ERR Syntax error in HELLO option '", option, "'".into()),
            Self::UnknownOption(option) => ("ERR Unrecognized option '", option, "'".into()),
            Self::UnsupportedOption(option) => ("ERR Unsupported option ", option, "".into()),
            Self::UnknownSetting(name) => {
                ("ERR Unknown option or number of arguments for CONFIG SET - '", name, "'".into())
            }
            Self::SubcommandArity(name, parent) => (
                "ERR unknown subcommand or wrong number of arguments for '",
                name,
                format!("'. Try {parent} HELP.").into(),
            ),
            _ => return None,
        })
    }

    /// Appends the error reply.
    #[cold]
    pub fn write(&self, out: &mut Vec<u8>) {
        let Some((before, bytes, after)) = self.quoting() else {
            return writer::error(out, self);
        };
        writer::error_quoting(out, before, bytes, &after);
    }
}

fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.get(..ERROR_ARG_BYTES).unwrap_or(bytes))
}
