//! Commands: the one table, their arguments, and those that need no shard.
//!
//! A command's way: [`resolve`] (table, subcommand, arity) -> [`check`] (arguments) -> by [`Place`]: [`run`] here, or
//! the dispatcher, which sends it to the shards of its keys or to all of them. Nothing here does I/O or reads a clock.

mod args;
mod client;
mod connection;
mod error;
pub mod info;
mod introspect;
pub mod latency;
mod server;
mod session;
mod specs;
pub mod stats_text;
pub mod table;
#[cfg(test)]
mod tests;

pub use args::{
    FlushMode, ScanOptions, StatsScope, check, check_keys, flush_mode, histograms_named,
    info_sections, shows_commands, stats_scope,
};
pub use error::CommandError;
pub use session::{REDIS_VERSION, ServerFacts, Session};
pub use table::{
    CommandId, CommandSet, PackedHead, Place, Refusal, Spec, by_id, lookup, packed, resolve,
    unpacked,
};

use crate::resp::{Args, writer};

/// What happens to the connection after a command's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// The next command.
    Continue,
    /// Send the replies, then close; nothing more is run.
    CloseAfterReply,
    /// Close at once, without a reply to this command; nothing more is run.
    CloseSilently,
}

/// Runs a command that needs no shard ([`Place::Local`]) and appends its one reply.
///
/// `args` has passed [`resolve`].
pub fn run(
    session: &mut Session,
    server: &ServerFacts,
    spec: &Spec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Flow {
    assert!(spec.place == Place::Local, "{} needs a shard", spec.name);
    if let Err(error) = check(spec, args) {
        error.write(out);
        return Flow::Continue;
    }
    match local(session, server, spec, args, out) {
        Ok(flow) => flow,
        Err(error) => {
            error.write(out);
            Flow::Continue
        }
    }
}

fn local(
    session: &mut Session,
    server: &ServerFacts,
    spec: &Spec,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Flow, CommandError> {
    use CommandId as Id;
    let protocol = session.protocol;
    match spec.id {
        Id::Ping => connection::ping(args, out),
        Id::Echo => writer::bulk(out, args.arg(1)),
        Id::Select => connection::select(args, out)?,
        Id::Hello => connection::hello(session, args, out)?,
        Id::Reset => connection::reset(session, out),
        Id::Time => connection::time(server, out),
        Id::Quit => {
            writer::ok(out);
            return Ok(Flow::CloseAfterReply);
        }
        Id::Cluster | Id::Readonly | Id::Readwrite => return Err(CommandError::NoCluster),
        Id::ClientId => writer::integer(out, session.id.cast_signed()),
        Id::ClientInfo => client::info(session, server, out),
        Id::ClientGetname => client::getname(session, out),
        Id::ClientSetname => client::setname(session, args, out)?,
        Id::ClientSetinfo => client::setinfo(session, args, out)?,
        Id::ConfigGet => server::config_get(server, args, protocol, out),
        Id::Command => introspect::all(protocol, out),
        Id::CommandCount => introspect::count(out),
        Id::CommandDocs => introspect::docs(args, protocol, out),
        Id::CommandInfo => introspect::info(args, protocol, out),
        Id::CommandList => introspect::list(args, out)?,
        Id::Swapdb => server::swapdb(args, out)?,
        Id::CommandGetkeys => introspect::getkeys(args, out)?,
        Id::ClientHelp | Id::CommandHelp | Id::ConfigHelp | Id::LatencyHelp | Id::ObjectHelp => {
            introspect::help(spec, out);
        }
        _ => unreachable!("{} is not local", spec.name),
    }
    Ok(Flow::Continue)
}
