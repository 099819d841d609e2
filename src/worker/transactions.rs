//! MULTI, EXEC, DISCARD, WATCH and UNWATCH of a connection (see [`crate::transaction`]).

use shard::key::SeqNo;

use crate::command::{self, CommandError, CommandId, Flow, ServerFacts, Spec};
use crate::dispatch::{ConnParts, Dispatched, Dispatcher};
use crate::net::connection::Connection;
use crate::reply::Sink;
use crate::resp::{Args, writer};
use crate::slab::Key;
use crate::transaction::{Home, Transaction};

/// Appends a reply that is ready.
fn answer(conn: &mut Connection, write: impl FnOnce(&mut Vec<u8>)) -> Dispatched {
    write(conn.replies.buffer());
    conn.replies.done(SeqNo(0));
    Dispatched::Next
}

fn refuse(conn: &mut Connection, error: &CommandError) -> Dispatched {
    answer(conn, |out| error.write(out))
}

/// Queues a command of an open transaction.
pub(super) fn queue(
    conn: &mut Connection,
    spec: &'static Spec,
    args: Args<'_>,
    dispatcher: &Dispatcher<'_>,
) -> Dispatched {
    let Some(transaction) = &mut conn.transaction else { unreachable!("it is open") };
    if spec.flags.has(command::table::Flags::NO_MULTI) {
        transaction.fail();
        let text = "ERR Command not allowed inside a transaction";
        return refuse(conn, &CommandError::text(text));
    }
    let queued = transaction.queue(spec, args, dispatcher.slots);
    conn.hold_transaction();
    match queued {
        Ok(()) => answer(conn, |out| writer::simple(out, "QUEUED")),
        Err(error) => refuse(conn, &error),
    }
}

/// One of the commands of this file.
pub(super) fn run(
    conn: &mut Connection,
    key: Key,
    spec: &'static Spec,
    args: Args<'_>,
    facts: &ServerFacts,
    dispatcher: &mut Dispatcher<'_>,
) -> Dispatched {
    let error = match spec.id {
        CommandId::Multi if conn.transaction.is_some() => "ERR MULTI calls can not be nested",
        CommandId::Multi => {
            conn.transaction = Some(Transaction::default());
            return answer(conn, writer::ok);
        }
        CommandId::Discard if conn.transaction.is_none() => "ERR DISCARD without MULTI",
        CommandId::Discard => {
            conn.leave_transaction();
            return answer(conn, writer::ok);
        }
        CommandId::Unwatch => {
            conn.watch = None;
            return answer(conn, writer::ok);
        }
        CommandId::Watch if conn.transaction.is_some() => "ERR WATCH inside MULTI is not allowed",
        CommandId::Watch => {
            let flag = conn.watch.get_or_insert_default().clone();
            let mut parts = ConnParts {
                protocol: conn.session.protocol,
                replies: &mut conn.replies,
                gathers: &mut conn.gathers,
            };
            return dispatcher.watch(key, spec, args, &flag, &mut parts);
        }
        _ => return exec(conn, key, facts, dispatcher),
    };
    refuse(conn, &CommandError::text(error))
}

/// EXEC with arguments: it takes none, and ends the transaction all the same.
pub(super) fn abort(conn: &mut Connection, spec: &Spec) -> Dispatched {
    conn.leave_transaction();
    let why = CommandError::Arity(spec.name).to_string();
    let why = why.trim_start_matches("ERR ");
    let text = format!("EXECABORT Transaction discarded because of: {why}");
    refuse(conn, &CommandError::text(text))
}

fn exec(
    conn: &mut Connection,
    key: Key,
    facts: &ServerFacts,
    dispatcher: &mut Dispatcher<'_>,
) -> Dispatched {
    let Some(transaction) = &conn.transaction else {
        return refuse(conn, &CommandError::text("ERR EXEC without MULTI"));
    };
    let home = transaction.home();
    if transaction.has_failed() {
        conn.leave_transaction();
        let text = "EXECABORT Transaction discarded because of previous errors.";
        return refuse(conn, &CommandError::text(text));
    }
    // Whether a watched key was written is only known when all that was sent before has been done.
    if conn.watch.is_some() && conn.replies.has_open_holes() {
        return Dispatched::Later;
    }
    if conn.watch.as_ref().is_some_and(crate::watch::Flag::is_set) {
        conn.leave_transaction();
        let protocol = conn.session.protocol;
        return answer(conn, |out| writer::null_array(out, protocol));
    }
    let commands = transaction.commands();
    if home == Home::Many && facts.live.atomic_transactions() {
        conn.leave_transaction();
        let text = "EXECABORT Transaction discarded because of: it is not all in one shard (atomic-transactions yes); \
                    keys with one {hash tag} are";
        return refuse(conn, &CommandError::text(text));
    }
    if home == Home::Many {
        let replay = conn.transaction.take().map(Transaction::into_replay).unwrap_or_default();
        conn.watch = None;
        conn.replay = replay;
        return answer(conn, |out| writer::array(out, commands));
    }
    let session = &mut conn.session;
    let words = transaction.with_local_replies(|spec, args| {
        let mut out = Vec::new();
        if spec.id == CommandId::Unwatch {
            writer::ok(&mut out);
        } else {
            let flow = command::run(session, facts, spec, args, &mut out);
            assert!(flow == Flow::Continue, "{} is never queued", spec.name);
        }
        out
    });
    let home = if let Home::One(home) = home { home } else { dispatcher.index };
    let mut parts = ConnParts {
        protocol: conn.session.protocol,
        replies: &mut conn.replies,
        gathers: &mut conn.gathers,
    };
    let watch = conn.watch.as_ref();
    let result = dispatcher.exec(home, key, words.args(), watch, &mut parts);
    if matches!(result, Dispatched::Next | Dispatched::Barrier) {
        conn.leave_transaction();
    }
    result
}
