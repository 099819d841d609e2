//! CLIENT: what a connection tells of itself.

use super::connection::shortened;
use super::error::CommandError;
use super::session::Session;
use super::table::{CommandId, Spec};
use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::resp::{Args, Protocol, strict_number, writer};

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

/// NO-EVICT and NO-TOUCH: neither evicts nor ages anything here, so that the switch is only noted.
pub(super) fn switch(
    session: &mut Session,
    spec: &Spec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let on = match args.arg(2) {
        on if on.eq_ignore_ascii_case(b"on") => true,
        off if off.eq_ignore_ascii_case(b"off") => false,
        _ => return Err(CommandError::Syntax),
    };
    if spec.id == CommandId::ClientNoEvict {
        session.no_evict = on;
    } else {
        session.no_touch = on;
    }
    writer::ok(out);
    Ok(())
}

/// Nothing tells clients what they should forget: TRACKING can only be switched off.
pub(super) fn tracking(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    match (args.len(), args.arg(2)) {
        (3, off) if off.eq_ignore_ascii_case(b"off") => {
            writer::ok(out);
            Ok(())
        }
        (_, on) if on.eq_ignore_ascii_case(b"on") => {
            let text =
                "ERR client side caching is not supported: this server sends no invalidations";
            Err(CommandError::Text(text.into()))
        }
        _ => Err(CommandError::Syntax),
    }
}

pub(super) fn trackinginfo(protocol: Protocol, out: &mut Vec<u8>) {
    writer::map(out, 3, protocol);
    writer::bulk(out, b"flags");
    writer::set(out, 1, protocol);
    writer::bulk(out, b"off");
    writer::bulk(out, b"redirect");
    writer::integer(out, -1);
    writer::bulk(out, b"prefixes");
    writer::array(out, 0);
}

pub(super) fn caching() -> CommandError {
    let text = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
    CommandError::Text(text.into())
}

/// UNBLOCK: no command of ours blocks its client.
pub(super) fn unblock(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::SubcommandArity(shortened(args.arg(1)), "CLIENT"));
    }
    let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    if args.get(3).is_some_and(|reason| !is(reason, "timeout") && !is(reason, "error")) {
        let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
        return Err(CommandError::Text(text.into()));
    }
    if strict_number(args.arg(2)).is_none() {
        return Err(CommandError::NotInteger);
    }
    writer::integer(out, 0);
    Ok(())
}
