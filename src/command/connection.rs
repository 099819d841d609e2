//! Commands on the connection itself.

use super::client::check_name;
use super::error::CommandError;
use super::session::{REDIS_VERSION, ServerFacts, Session};
use crate::resp::{Args, Protocol, strict_number, writer};

pub(super) fn ping(args: Args<'_>, out: &mut Vec<u8>) {
    match args.get(1) {
        None => out.extend_from_slice(writer::PONG),
        Some(message) => writer::bulk(out, message),
    }
}

pub(super) fn select(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    match strict_number(args.arg(1)).and_then(|index| i32::try_from(index).ok()) {
        None => Err(CommandError::NotInteger),
        Some(0) => {
            writer::ok(out);
            Ok(())
        }
        Some(_) => Err(CommandError::DbIndex),
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`. Nothing changes unless all of it is right.
pub(super) fn hello(
    session: &mut Session,
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
    let mut index = 2;
    while let Some(option) = args.get(index) {
        match (args.get(index + 1), args.get(index + 2)) {
            (Some(user), Some(_)) if option.eq_ignore_ascii_case(b"auth") => {
                // No password can be set yet, so the one user needs none, and there is no other.
                if user != b"default" {
                    return Err(CommandError::WrongPassword);
                }
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

pub(crate) fn reset(session: &mut Session, out: &mut Vec<u8>) {
    session.protocol = Protocol::Resp2;
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
