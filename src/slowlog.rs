//! Commands that took long, as SLOWLOG shows them. Each core keeps its own; they are merged by time where they are read.
//!
//! The time of a command is what it took from when its turn came to when its shard had carried it out: waiting for admission and
//! for the disk is in it; waiting behind other commands, for the log's sync and on the way between cores is not. So it says
//! which commands are slow, not that the server was. It is measured only where a command has to wait or is large: one that
//! is answered from memory at once costs no look at the clock.
//!
//! # Invariants
//! - No secret is kept: arguments are cut and hidden before they are stored.
//! - At most `SLOWLOG_ENTRIES_MAX` entries of `SLOWLOG_ARGS_MAX` arguments of `SLOWLOG_ARG_BYTES_MAX` bytes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::command::{CommandId, Spec};
use crate::limits::{SLOWLOG_ARG_BYTES_MAX, SLOWLOG_ARGS_MAX, SLOWLOG_ENTRIES_MAX};
use crate::resp::{Args, writer};

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slow {
    /// Ascending in the life of the process, over all cores.
    pub(crate) id: u64,
    /// When it was done, in seconds since 1970.
    pub(crate) at_s: u64,
    pub(crate) took: Duration,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) peer: String,
    pub(crate) name: Vec<u8>,
}

/// One core's.
#[derive(Debug, Default)]
pub(crate) struct Slowlog {
    /// The newest first.
    entries: VecDeque<Slow>,
}

impl Slowlog {
    /// Notes a command; the oldest go beyond `max`.
    pub(crate) fn note(&mut self, slow: Slow, max: usize) {
        self.entries.push_front(slow);
        self.entries.truncate(max.min(SLOWLOG_ENTRIES_MAX));
    }

    /// The newest, at most so many.
    pub(crate) fn newest(&self, count: usize) -> Vec<Slow> {
        self.entries.iter().take(count).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Whether argument `at` is a secret.
pub(crate) fn is_secret(spec: &Spec, args: Args<'_>, at: usize) -> bool {
    let is = |at: usize, word: &str| {
        args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    match spec.id {
        CommandId::Auth => at > 0,
        CommandId::Hello => (at > 0 && is(at - 1, "auth")) || (at > 1 && is(at - 2, "auth")),
        CommandId::AclSetuser => at > 2,
        CommandId::ConfigSet => {
            at > 2
                && !at.is_multiple_of(2)
                && args.get(at - 1).is_some_and(|name| {
                    let name = name.to_ascii_lowercase();
                    [&b"pass"[..], b"auth"]
                        .iter()
                        .any(|word| name.windows(word.len()).any(|part| part == *word))
                })
        }
        _ => false,
    }
}

/// What stands for a secret.
pub(crate) const HIDDEN: &[u8] = b"(redacted)";

/// The arguments as they are kept, cut as Redis does.
pub(crate) fn kept(spec: &Spec, args: Args<'_>) -> Vec<Vec<u8>> {
    let shown = if args.len() > SLOWLOG_ARGS_MAX { SLOWLOG_ARGS_MAX - 1 } else { args.len() };
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(shown + 1);
    for (at, arg) in args.iter().enumerate().take(shown) {
        kept.push(if is_secret(spec, args, at) {
            HIDDEN.to_vec()
        } else if arg.len() > SLOWLOG_ARG_BYTES_MAX {
            let mut cut = arg[..SLOWLOG_ARG_BYTES_MAX].to_vec();
            let more = arg.len() - SLOWLOG_ARG_BYTES_MAX;
            cut.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
            cut
        } else {
            arg.to_vec()
        });
    }
    if args.len() > shown {
        kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
    }
    kept
}

/// SLOWLOG GET: the newest of all cores.
pub(crate) fn render(mut entries: Vec<Slow>, count: usize) -> Vec<u8> {
    entries.sort_unstable_by_key(|slow| std::cmp::Reverse(slow.id));
    entries.truncate(count);
    let integer = |out: &mut Vec<u8>, number: u64| {
        writer::integer(out, i64::try_from(number).unwrap_or(i64::MAX));
    };
    let mut out = Vec::new();
    writer::array(&mut out, entries.len());
    for slow in entries {
        writer::array(&mut out, 6);
        integer(&mut out, slow.id);
        integer(&mut out, slow.at_s);
        integer(&mut out, u64::try_from(slow.took.as_micros()).unwrap_or(u64::MAX));
        writer::array(&mut out, slow.args.len());
        slow.args.iter().for_each(|arg| writer::bulk(&mut out, arg));
        writer::bulk(&mut out, slow.peer.as_bytes());
        writer::bulk(&mut out, &slow.name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{lookup, resolve};
    use crate::resp::OwnedArgs;

    fn slow(id: u64) -> Slow {
        let (args, name) = (vec![b"GET".to_vec(), b"k".to_vec()], b"n".to_vec());
        let took = Duration::from_micros(12_345);
        Slow { id, at_s: 17, took, args, peer: "p".into(), name }
    }

    #[test]
    fn the_newest_are_kept_and_shown_first() {
        let mut log = Slowlog::default();
        (0..10).for_each(|id| log.note(slow(id * 2), 4));
        assert_eq!(log.len(), 4);
        let mut entries = log.newest(2);
        entries.extend([slow(17), slow(3)]);
        let shown = String::from_utf8(render(entries, 3)).unwrap().replace("\r\n", "|");
        let rest = ":17|:12345|*2|$3|GET|$1|k|$1|p|$1|n|";
        assert_eq!(shown, format!("*3|*6|:18|{rest}*6|:17|{rest}*6|:16|{rest}"));
        log.note(slow(99), 0);
        assert_eq!(log.len(), 0);
    }

    fn words(words: &[&[u8]]) -> Vec<String> {
        let args: OwnedArgs = words.iter().copied().collect();
        let spec = resolve(args.args()).unwrap();
        let text = |arg: &Vec<u8>| String::from_utf8_lossy(arg).into_owned();
        kept(spec, args.args()).iter().map(text).collect()
    }

    #[test]
    fn arguments_are_cut_as_redis_cuts_them() {
        let long = [b'x'; 130];
        let cut = words(&[b"set", &long, &long[..128]]);
        assert_eq!(cut[1], format!("{}... (2 more bytes)", "x".repeat(128)));
        assert_eq!(cut[2], "x".repeat(128));
        let mget = |keys: usize| {
            let mut all: Vec<&[u8]> = vec![b"mget"];
            all.resize(keys + 1, b"k");
            words(&all)
        };
        assert_eq!(mget(31).len(), 32);
        assert_eq!(mget(32).len(), 32);
        assert_eq!(mget(32)[31], "... (2 more arguments)");
        assert_eq!(mget(100)[31], "... (70 more arguments)");
    }

    #[test]
    fn no_secret_is_shown() {
        let hello = words(&[b"hello", b"3", b"AUTH", b"me", b"secret", b"setname", b"x"]);
        assert_eq!(hello[3..], ["(redacted)", "(redacted)", "setname", "x"]);
        let config = words(&[b"config", b"set", b"RequirePass", b"secret", b"timeout", b"1"]);
        assert_eq!(config[2..], ["RequirePass", "(redacted)", "timeout", "1"]);
        if lookup(b"auth").is_some() {
            assert_eq!(words(&[b"auth", b"me", b"secret"])[1..], ["(redacted)", "(redacted)"]);
        }
    }
}
