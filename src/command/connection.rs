//! Commands on the connection itself.

use super::client::check_name;
use super::error::CommandError;
use super::session::{REDIS_VERSION, ServerFacts, Session};
use crate::access;
use crate::live::Live;
use crate::resp::{Args, Protocol, strict_number, writer};

pub(super) fn ping(args: Args<'_>, out: &mut Vec<u8>) {
    match args.get(1) {
        None => out.extend_from_slice(writer::PONG),
        Some(message) => writer::bulk(out, message),
    }
}

pub(super) fn select(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    match strict_number(args.arg(1)) {
        None => Err(CommandError::NotInteger),
        Some(index) if i32::try_from(index).is_err() => Err(CommandError::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )),
        Some(0) => {
            writer::ok(out);
            Ok(())
        }
        Some(_) => Err(CommandError::DbIndex),
    }
}

const HELLO_BEFORE_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
     HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
     same time";

const AUTH_WITHOUT_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?";

/// `AUTH [user] password`
pub(super) fn auth(
    session: &mut Session,
    live: &Live,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let (user, password) = match args.len() {
        2 if !live.requires_password() => {
            return Err(CommandError::text(AUTH_WITHOUT_PASSWORD));
        }
        2 => (access::DEFAULT_USER.as_bytes(), args.arg(1)),
        3 => (args.arg(1), args.arg(2)),
        _ => return Err(CommandError::Syntax),
    };
    let login = access::log_in(live, user, password).ok_or(CommandError::WrongPassword)?;
    session.log_in_as(login, live);
    writer::ok(out);
    Ok(())
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`. Nothing changes unless all of it is right.
pub(super) fn hello(
    session: &mut Session,
    live: &Live,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let protocol = match args.get(1).map(strict_number) {
        None => session.protocol,
        Some(None) => return Err(CommandError::ProtocolNotInteger),
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err(CommandError::NoProtocol),
    };
    let mut name = None;
    let mut login = None;
    let mut index = 2;
    while let Some(option) = args.get(index) {
        match (args.get(index + 1), args.get(index + 2)) {
            (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"auth") => {
                login = Some((user, password));
                index += 3;
            }
            (Some(value), _) if option.eq_ignore_ascii_case(b"setname") => {
                check_name(value, "Client names")?;
                name = Some(value);
                index += 2;
            }
            _ => return Err(CommandError::HelloOption(shortened(option))),
        }
    }
    match login {
        Some((user, password)) => {
            let login = access::log_in(live, user, password).ok_or(CommandError::WrongPassword)?;
            session.log_in_as(login, live);
        }
        None if session.must_log_in(live) => return Err(CommandError::text(HELLO_BEFORE_AUTH)),
        None => {}
    }
    if let Some(name) = name {
        session.name = name.to_vec();
    }
    session.protocol = protocol;
    describe(session, out);
    Ok(())
}

/// Clients read these by name, and one of them by position: the order is fixed.
fn describe(session: &Session, out: &mut Vec<u8>) {
    writer::map(out, 7, session.protocol);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        writer::bulk(out, name.as_bytes());
        writer::bulk(out, value.as_bytes());
    }
    writer::bulk(out, b"proto");
    writer::integer(out, session.protocol.number());
    writer::bulk(out, b"id");
    writer::integer(out, session.id.cast_signed());
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        writer::bulk(out, name.as_bytes());
        writer::bulk(out, value.as_bytes());
    }
    writer::bulk(out, b"modules");
    writer::array(out, 0);
}

pub(crate) fn reset(session: &mut Session, live: &Live, out: &mut Vec<u8>) {
    session.protocol = Protocol::Resp2;
    session.begin(live);
    session.name.clear();
    writer::simple(out, "RESET");
}

pub(super) fn time(server: &ServerFacts, out: &mut Vec<u8>) {
    writer::array(out, 2);
    for part in [server.now_us / 1_000_000, server.now_us % 1_000_000] {
        writer::bulk(out, itoa::Buffer::new().format(part).as_bytes());
    }
}

/// As much of an argument as an error text shows.
pub(super) fn shortened(argument: &[u8]) -> Vec<u8> {
    argument.get(..crate::limits::ERROR_ARG_BYTES).unwrap_or(argument).to_vec()
}
