//! Error replies to commands, in Redis' exact words where it has them: clients match their beginnings.

use std::borrow::Cow;
use std::fmt;

use super::connection::shortened;
use crate::limits::{CLIENT_NAME_BYTES_MAX, ERROR_ARG_BYTES};
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
    UnknownSetting(Vec<u8>),
    /// CONFIG SET: the name as it was given, and what is wrong.
    Setting(Vec<u8>, String),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            Self::HelloOption(option) => {
                write!(f, "ERR Syntax error in HELLO option '{}'", quoted(option))
            }
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
            Self::UnknownOption(option) => {
                write!(f, "ERR Unrecognized option '{}'", quoted(option))
            }
            Self::NoSuchCommand => f.write_str("ERR Invalid command specified"),
            Self::NoKeys => f.write_str("ERR The command has no key arguments"),
            Self::WrongCount => {
                f.write_str("ERR Invalid number of arguments specified for command")
            }
            Self::UnknownSetting(name) => write!(
                f,
                "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                quoted(name)
            ),
            Self::Setting(name, problem) => write!(
                f,
                "ERR CONFIG SET failed (possibly related to argument '{}') - {problem}",
                quoted(name)
            ),
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

    pub(crate) fn config(name: &[u8], problem: impl Into<String>) -> Self {
        Self::Setting(shortened(name), problem.into())
    }

    /// Appends the error reply.
    #[cold]
    pub fn write(&self, out: &mut Vec<u8>) {
        writer::error(out, self);
    }
}

fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.get(..ERROR_ARG_BYTES).unwrap_or(bytes))
}
