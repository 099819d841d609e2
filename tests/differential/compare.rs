//! When two replies are the same.

use crate::wire::{Command, elements, integer, string};

/// Two servers are asked one after the other, and each counts from its own start of a command: on a busy machine their
/// clocks' answers are this far apart. Only for what a clock enters, named in `rule`.
const CLOCK_SLACK_MS: i64 = 20_000;

/// What must be the same in two replies to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Bytes,
    /// A time left, or a moment that was counted from now: nearly the same.
    Clock {
        slack: i64,
    },
    /// The elements in any order.
    Elements,
    /// A cursor and elements that say nothing alone: `episode` follows the cursor.
    Scan,
    /// Both something or both nothing.
    Presence,
}

fn rule(words: &Command) -> Rule {
    let lower = |at: usize| words.get(at).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    match lower(0).as_slice() {
        b"ttl" | b"expiretime" => Rule::Clock { slack: CLOCK_SLACK_MS / 1000 },
        b"pttl" | b"pexpiretime" => Rule::Clock { slack: CLOCK_SLACK_MS },
        b"keys" => Rule::Elements,
        b"pubsub" if lower(1).ends_with(b"channels") => Rule::Elements,
        b"config" if lower(1) == b"get" => Rule::Elements,
        b"scan" => Rule::Scan,
        b"randomkey" => Rule::Presence,
        _ => Rule::Bytes,
    }
}

/// Whether the replies to `words` are the same. `queued` are the commands whose replies an EXEC has, in order.
pub(crate) fn same(words: &Command, queued: &[Command], theirs: &[u8], ours: &[u8]) -> bool {
    theirs == ours
        || parts(words, queued, theirs, ours).map_or_else(
            || same_by_rule(words, theirs, ours),
            |parts| parts.iter().all(|part| same_by_rule(part.words, part.theirs, part.ours)),
        )
}

/// The replies to one command, on its own or within an EXEC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) words: &'a Command,
    pub(crate) theirs: &'a [u8],
    pub(crate) ours: &'a [u8],
}

/// The replies of an EXEC one by one; `None` if it is none, or if the replies do not have as many elements as are queued.
pub(crate) fn parts<'a>(
    words: &Command,
    queued: &'a [Command],
    theirs: &'a [u8],
    ours: &'a [u8],
) -> Option<Vec<Part<'a>>> {
    if !words[0].eq_ignore_ascii_case(b"exec") || queued.is_empty() {
        return None;
    }
    let (theirs, ours) = (elements(theirs)?, elements(ours)?);
    if theirs.len() != queued.len() || ours.len() != queued.len() {
        return None;
    }
    let replies = theirs.into_iter().zip(ours);
    let parts =
        queued.iter().zip(replies).map(|(words, (theirs, ours))| Part { words, theirs, ours });
    Some(parts.collect())
}

fn same_by_rule(words: &Command, theirs: &[u8], ours: &[u8]) -> bool {
    if theirs == ours {
        return true;
    }
    match rule(words) {
        Rule::Bytes => false,
        Rule::Clock { slack } => match (integer(theirs), integer(ours)) {
            // -1 and -2 say something else than a time.
            (Some(a), Some(b)) => a > slack && b > slack && a.abs_diff(b) <= slack.unsigned_abs(),
            _ => false,
        },
        Rule::Elements => {
            theirs.first() == ours.first()
                && match (sorted(theirs), sorted(ours)) {
                    (Some(a), Some(b)) => a == b,
                    _ => false,
                }
        }
        Rule::Scan => is_page(theirs) && is_page(ours),
        Rule::Presence => string(theirs).is_some() && string(ours).is_some(),
    }
}

fn sorted(frame: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = elements(frame)?;
    found.sort_unstable();
    Some(found)
}

/// Whether `frame` is a cursor and an array.
fn is_page(frame: &[u8]) -> bool {
    elements(frame).is_some_and(|parts| {
        parts.len() == 2 && string(parts[0]).is_some() && elements(parts[1]).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Command {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    fn alike(line: &str, theirs: &[u8], ours: &[u8]) -> bool {
        same(&words(line), &[], theirs, ours)
    }

    #[test]
    fn one_byte_makes_a_difference() {
        let reply = b"$5\r\nhello\r\n";
        assert!(alike("GET a", reply, reply));
        for at in 0..reply.len() {
            let mut mangled = *reply;
            mangled[at] ^= 1;
            assert!(!alike("GET a", reply, &mangled), "byte {at}");
        }
        assert!(!alike("GET a", b"$-1\r\n", b"_\r\n"));
        assert!(!alike("INCR a", b":100000\r\n", b":100001\r\n"));
    }

    #[test]
    fn a_clock_has_slack_and_its_signs_have_none() {
        assert!(alike("pTTL a", b":500000\r\n", b":499990\r\n"));
        assert!(alike("TTL a", b":500000\r\n", b":499999\r\n"));
        assert!(!alike("TTL a", b":500000\r\n", b":400000\r\n"));
        assert!(!alike("TTL a", b":-1\r\n", b":-2\r\n"));
        assert!(!alike("TTL a", b":-1\r\n", b":5\r\n"));
    }

    #[test]
    fn order_is_free_where_it_says_nothing() {
        let (one, two) = (b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n");
        assert!(alike("KEYS *", one, two));
        assert!(!alike("MGET a b", one, two));
        assert!(!alike("KEYS *", one, b"*1\r\n$1\r\na\r\n"));
        assert!(alike("RANDOMKEY", b"$1\r\na\r\n", b"$1\r\nb\r\n"));
        assert!(!alike("RANDOMKEY", b"$1\r\na\r\n", b"$-1\r\n"));
    }

    #[test]
    fn the_replies_of_a_transaction_are_compared_one_by_one() {
        let queued = [words("TTL a"), words("GET a")];
        let exec = words("EXEC");
        let theirs = b"*2\r\n:500000\r\n$1\r\nx\r\n";
        assert!(same(&exec, &queued, theirs, b"*2\r\n:499999\r\n$1\r\nx\r\n"));
        assert!(!same(&exec, &queued, theirs, b"*2\r\n:499999\r\n$1\r\ny\r\n"));
        assert!(!same(&exec, &queued, theirs, b"*1\r\n:500000\r\n"));
        assert!(!same(&exec, &queued, theirs, b"*-1\r\n"));
    }
}
