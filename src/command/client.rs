//! CLIENT: what a connection tells of itself.

use std::fmt::Write as _;

use super::connection::shortened;
use super::error::CommandError;
use super::session::{ServerFacts, Session};
use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::resp::{Args, writer};

/// A name may hold graphic ASCII only: it stands between blanks in lists of clients.
pub(super) fn check_name(name: &[u8], what: &'static str) -> Result<(), CommandError> {
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(CommandError::NameTooLong);
    }
    if name.iter().all(u8::is_ascii_graphic) {
        Ok(())
    } else {
        Err(CommandError::NameCharacters(what))
    }
}

pub(super) fn setname(
    session: &mut Session,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    check_name(args.arg(2), "Client names")?;
    session.name = args.arg(2).to_vec();
    writer::ok(out);
    Ok(())
}

pub(super) fn getname(session: &Session, out: &mut Vec<u8>) {
    if session.name.is_empty() {
        writer::null(out, session.protocol);
    } else {
        writer::bulk(out, &session.name);
    }
}

pub(super) fn setinfo(
    session: &mut Session,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let (attribute, value) = (args.arg(2), args.arg(3));
    if attribute.eq_ignore_ascii_case(b"lib-name") {
        check_name(value, "lib-name")?;
        session.lib_name = value.to_vec();
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        check_name(value, "lib-ver")?;
        session.lib_version = value.to_vec();
    } else {
        return Err(CommandError::UnknownOption(shortened(attribute)));
    }
    writer::ok(out);
    Ok(())
}

pub(super) fn info(session: &Session, server: &ServerFacts, out: &mut Vec<u8>) {
    let seconds = |since: u64| server.now_us.saturating_sub(since) / 1_000_000;
    let mut line = String::new();
    // A String takes every write.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 \
         qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 obl={} oll=0 omem=0 tot-mem={} events=r \
         cmd=client|info user=default redir=-1 resp={} lib-name={} lib-ver={}",
        session.id,
        session.peer,
        session.local,
        session.descriptor,
        String::from_utf8_lossy(&session.name),
        seconds(session.connected_us),
        seconds(session.last_command_us),
        session.input_bytes,
        session.output_bytes,
        session.input_bytes + session.output_bytes,
        session.protocol.number(),
        String::from_utf8_lossy(&session.lib_name),
        String::from_utf8_lossy(&session.lib_version),
    );
    writer::verbatim(out, line.as_bytes(), session.protocol);
}
