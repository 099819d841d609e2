//! Commands: the one table, their arguments, and those that need no shard.
//!
//! A command's way: [`resolve`] (table, subcommand, arity) -> [`check`] (arguments) -> by [`Place`]: [`run`] here, or
//! the dispatcher, which sends it to the shards of its keys or to all of them. Nothing here does I/O or reads a clock.

mod absent;
mod acl;
mod admin;
mod args;
mod client;
pub mod clients;
mod connection;
mod error;
pub mod info;
mod introspect;
pub mod latency;
mod memory;
pub mod report;
mod server;
mod session;
mod specs;
pub mod stats_text;
pub mod table;
#[cfg(test)]
mod tests;

pub(crate) use absent::needs;
pub use args::{
    FlushMode, ScanOptions, StatsScope, check, check_keys, flush_mode, histograms_named,
    info_sections, shows_commands, stats_scope,
};
pub(crate) use connection::reset;
pub use error::CommandError;
pub(crate) use memory::memory_stats;
pub use report::{CommandReport, Report};
pub use session::{REDIS_VERSION, ServerFacts, Session};
pub use table::{
    CommandId, CommandSet, PackedHead, Place, Refusal, Spec, by_id, lookup, packed,
    packed_commands, resolve, unpacked,
};

use std::time::Duration;

use crate::resp::{Args, writer};

/// The reply to COMMAND DOCS, in RESP3: what help is made of where no server tells.
pub(crate) fn docs() -> Vec<u8> {
    let mut out = Vec::new();
    let args = Args::new(b"COMMANDDOCS", &[(0, 7), (7, 11)]);
    introspect::docs(args, crate::resp::Protocol::Resp3, &mut out);
    out
}

/// What happens to the connection after a command's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// The next command.
    Continue,
    /// The reply was an error for a wrong password: it leaves as late as the address has deserved.
    WrongPassword,
    /// The reply leaves so much later.
    Late(Duration),
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
            if error == CommandError::WrongPassword { Flow::WrongPassword } else { Flow::Continue }
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
        Id::Auth => connection::auth(session, &server.live, args, out)?,
        Id::Hello => connection::hello(session, &server.live, args, out)?,
        Id::Reset => reset(session, &server.live, out),
        Id::Time => connection::time(server, out),
        Id::Quit => {
            writer::ok(out);
            return Ok(Flow::CloseAfterReply);
        }
        Id::Cluster | Id::Readonly | Id::Readwrite => return Err(CommandError::NoCluster),
        Id::ClientId => writer::integer(out, session.id.cast_signed()),
        Id::ClientGetredir => writer::integer(out, -1),
        Id::ClientNoEvict | Id::ClientNoTouch => client::switch(session, spec, args, out)?,
        Id::ClientTracking => client::tracking(args, out)?,
        Id::ClientTrackinginfo => client::trackinginfo(protocol, out),
        Id::ClientCaching => return Err(client::caching()),
        Id::ClientUnblock => client::unblock(args, out)?,
        Id::ClientGetname => client::getname(session, out),
        Id::ClientSetname => client::setname(session, args, out)?,
        Id::ClientSetinfo => client::setinfo(session, args, out)?,
        Id::AclCat => acl::cat(args, out)?,
        Id::AclGenpass => acl::genpass(args, out)?,
        Id::AclGetuser => acl::getuser(&server.live, args, protocol, out),
        Id::AclList => acl::list(&server.live, out),
        Id::AclLog => acl::log(args, out)?,
        Id::AclSetuser => return Err(acl::setuser()),
        Id::AclUsers => acl::names(&server.live, out),
        Id::AclWhoami => acl::whoami(session, server, out),
        Id::Debug => return admin::debug(args, out),
        Id::Failover => return Err(admin::failover(args)),
        Id::FunctionFlush => {
            let refusal = "ERR FUNCTION FLUSH only supports SYNC|ASYNC option";
            admin::flush_nothing(args, refusal, out)?;
        }
        Id::FunctionList => admin::function_list(args, out)?,
        Id::Lolwut => admin::lolwut(out, protocol),
        Id::MemoryDoctor => memory::doctor(out, protocol),
        Id::MemoryMallocStats => {
            writer::bulk(out, b"Stats not supported for the current allocator");
        }
        Id::MemoryPurge => writer::ok(out),
        Id::ModuleList => writer::array(out, 0),
        Id::Replicaof | Id::Slaveof => admin::replicaof(args, out)?,
        Id::Role => admin::role(out),
        Id::ScriptExists => admin::script_exists(args, out),
        Id::ScriptFlush => {
            let refusal = "ERR SCRIPT FLUSH only support SYNC|ASYNC option";
            admin::flush_nothing(args, refusal, out)?;
        }
        Id::Shutdown => return admin::shutdown(server, args),
        Id::Wait => admin::wait(args, out)?,
        Id::ConfigGet => server::config_get(server, args, protocol, out),
        Id::Command => introspect::all(protocol, out),
        Id::CommandCount => introspect::count(out),
        Id::CommandDocs => introspect::docs(args, protocol, out),
        Id::CommandInfo => introspect::info(args, protocol, out),
        Id::CommandList => introspect::list(args, out)?,
        Id::Swapdb => server::swapdb(args, out)?,
        Id::CommandGetkeys => introspect::getkeys(args, out)?,
        Id::CommandGetkeysandflags => introspect::getkeysandflags(args, protocol, out)?,
        Id::AclHelp
        | Id::ClientHelp
        | Id::CommandHelp
        | Id::ConfigHelp
        | Id::FunctionHelp
        | Id::LatencyHelp
        | Id::MemoryHelp
        | Id::ModuleHelp
        | Id::ObjectHelp
        | Id::PubsubHelp
        | Id::SlowlogHelp
        | Id::ScriptHelp => introspect::help(spec, out),
        _ => unreachable!("{} is not local", spec.name),
    }
    Ok(Flow::Continue)
}
