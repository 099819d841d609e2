//! Commands for administrators that need no shard, and what a server without replicas, scripts and modules answers about them.

use std::time::Duration;

use super::Flow;
use super::args::flush_mode_at;
use super::error::CommandError;
use super::session::{REDIS_VERSION, ServerFacts};
use crate::resp::{Args, Protocol, strict_number, writer};

/// Longest sleep of DEBUG SLEEP, in seconds.
const DEBUG_SLEEP_S_MAX: f64 = 3_600.0;

const NO_REPLICATION: &str = "ERR this server does not replicate: only REPLICAOF NO ONE is taken";

pub(super) fn role(out: &mut Vec<u8>) {
    writer::array(out, 3);
    writer::bulk(out, b"master");
    writer::integer(out, 0);
    writer::array(out, 0);
}

pub(super) fn wait(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    // In Redis' order of looking at them.
    let timeout = strict_number(args.arg(2))
        .ok_or(CommandError::text("ERR timeout is not an integer or out of range"));
    strict_number(args.arg(1)).ok_or(CommandError::NotInteger)?;
    if timeout? < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    writer::integer(out, 0);
    Ok(())
}

pub(super) fn replicaof(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let (host, port) = (args.arg(1), args.arg(2));
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        writer::ok(out);
        return Ok(());
    }
    match strict_number(port) {
        Some(0..=65_535) => Err(CommandError::text(NO_REPLICATION)),
        _ => Err(CommandError::text("ERR Invalid master port")),
    }
}

pub(super) fn failover(args: Args<'_>) -> CommandError {
    match (args.len(), args.get(1)) {
        (1, _) => CommandError::text("ERR FAILOVER requires connected replicas."),
        (2, Some(word)) if word.eq_ignore_ascii_case(b"abort") => {
            CommandError::text("ERR No failover in progress.")
        }
        (_, Some(word))
            if [&b"to"[..], b"force", b"timeout"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known)) =>
        {
            CommandError::text("ERR FAILOVER requires connected replicas.")
        }
        _ => CommandError::Syntax,
    }
}

pub(super) fn lolwut(out: &mut Vec<u8>, protocol: Protocol) {
    let picture = [
        "        L0  |#|#|#|",
        "       L1  |####|###|",
        "     L2  |######|#####|##|",
        "   L3  |########|#######|####|",
    ];
    let version = env!("CARGO_PKG_VERSION");
    let text =
        format!("{}\n\nRedis ver. {REDIS_VERSION}, rusty-lsm {version}\n", picture.join("\n"));
    writer::verbatim(out, text.as_bytes(), protocol);
}

pub(super) fn function_list(args: Args<'_>, out: &mut Vec<u8>) -> Result<(), CommandError> {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        if word.eq_ignore_ascii_case(b"withcode") {
            at += 1;
        } else if word.eq_ignore_ascii_case(b"libraryname") {
            if args.get(at + 1).is_none() {
                return Err(CommandError::text("ERR library name argument was not given"));
            }
            at += 2;
        } else {
            let word = String::from_utf8_lossy(word);
            return Err(CommandError::text(format!("ERR Unknown argument {word}")));
        }
    }
    writer::array(out, 0);
    Ok(())
}

/// FUNCTION FLUSH and SCRIPT FLUSH: `[ASYNC | SYNC]`, else `refusal`.
pub(super) fn flush_nothing(
    args: Args<'_>,
    refusal: &'static str,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    flush_mode_at(args, 2).map_err(|_| CommandError::text(refusal))?;
    writer::ok(out);
    Ok(())
}

pub(super) fn script_exists(args: Args<'_>, out: &mut Vec<u8>) {
    writer::array(out, args.len() - 2);
    (2..args.len()).for_each(|_| writer::integer(out, 0));
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`. Nothing acknowledged is lost, whatever they say. With SAVE the checkpoint is
/// made before; the server goes on if that fails.
pub(super) fn shutdown(server: &ServerFacts, args: Args<'_>) -> Result<Flow, CommandError> {
    let (mut save, mut nosave, mut now, mut force, mut abort) = (false, false, false, false, false);
    for word in args.iter().skip(1) {
        let flag = [
            (&b"save"[..], &mut save),
            (b"nosave", &mut nosave),
            (b"now", &mut now),
            (b"force", &mut force),
            (b"abort", &mut abort),
        ]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name));
        *flag.ok_or(CommandError::Syntax)?.1 = true;
    }
    if (save && nosave) || (abort && (save || nosave || now || force)) {
        return Err(CommandError::Syntax);
    }
    if abort {
        return Err(CommandError::text("ERR No shutdown in progress."));
    }
    if !server.live.ask_to_stop(save) {
        return Err(CommandError::text("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    tracing::info!("SHUTDOWN: a client asked for an orderly end");
    // As in Redis: there is no reply, the connection ends.
    Ok(Flow::CloseSilently)
}

/// `DEBUG SLEEP seconds`: this connection waits, nobody else does.
pub(super) fn debug(args: Args<'_>, out: &mut Vec<u8>) -> Result<Flow, CommandError> {
    let is = |word: &[u8]| args.arg(1).eq_ignore_ascii_case(word);
    if is(b"sleep") && args.len() == 3 {
        let text = std::str::from_utf8(args.arg(2)).ok();
        let seconds = text.and_then(|text| text.parse::<f64>().ok());
        let seconds = seconds.filter(|seconds| (0.0..=DEBUG_SLEEP_S_MAX).contains(seconds));
        let seconds = seconds.ok_or(CommandError::text("ERR value is not a valid float"))?;
        writer::ok(out);
        return Ok(Flow::Late(Duration::from_secs_f64(seconds)));
    }
    if is(b"help") && args.len() == 2 {
        let lines = [
            "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "SLEEP <seconds>",
            "    The reply to this connection comes so much later; others are served meanwhile.",
            "HELP",
            "    Prints this help.",
        ];
        writer::array(out, lines.len());
        for line in lines {
            writer::simple(out, line);
        }
        return Ok(Flow::Continue);
    }
    Err(CommandError::text(
        "ERR DEBUG has only SLEEP here. For a key use OBJECT ENCODING and MEMORY USAGE, for the server INFO and STATS SHARDS.",
    ))
}
