//! Where this server differs from Redis 7.0.15 on purpose. This list is complete: any other difference fails the test.
//!
//! An entry is about a reply, never about what a command leaves behind: from then on everything would differ.
//!
//! What settings make the same is not here: the servers are started with `flushdb = "erase"` (by default FLUSHDB erases
//! nothing here), one database and the same `proto-max-bulk-len`.

use rusty_lsm::transfer::rdb::dump::decode;

use crate::compare::{Part, parts};
use crate::wire::{Command, elements, integer, string};

/// One difference that is meant.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    matches: fn(&Part<'_>) -> bool,
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        name: "key length",
        reason: "a key has at most 64 KiB here",
        matches: |part| {
            part.words.iter().skip(1).any(|word| word.len() > 64 << 10)
                && part.ours.starts_with(b"-ERR")
        },
    },
    Known {
        name: "control bytes in an error",
        reason: "control bytes of a word in an error are shown as spaces here, so that no log or terminal obeys them; Redis replaces CR and LF, but at the end, and stops at a zero byte",
        matches: |part| {
            let unknown: [&[u8]; 2] = [b"-ERR unknown command", b"-ERR unknown subcommand"];
            let error = unknown
                .iter()
                .any(|text| part.theirs.starts_with(text) && part.ours.starts_with(text))
                || part.ours.starts_with(b"-ERR")
                    && part.theirs.trim_ascii_end() == part.ours.trim_ascii_end()
                || part.ours.starts_with(b"-ERR")
                    && part.words.iter().any(|word| word.contains(&0))
                    && part.ours.starts_with(part.theirs.trim_ascii_end());
            error && part.words.iter().flatten().any(u8::is_ascii_control)
        },
    },
    Known {
        name: "help",
        reason: "HELP describes what each server has, in its own words",
        matches: |part| {
            part.words.get(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"help"))
                && elements(part.theirs).is_some()
                && elements(part.ours).is_some()
        },
    },
    Known {
        name: "cursor",
        reason: "a cursor that no SCAN gave is refused here, before the options are looked at; Redis takes any number, \
                 nothing as 0 and less than nothing as what is left of 2^64",
        matches: |part| {
            is(part.words, &["scan"])
                && part.words.get(1).is_some_and(|cursor| cursor != b"0")
                && part.ours.starts_with(b"-ERR invalid cursor")
        },
    },
    Known {
        name: "number of commands",
        reason: "COMMAND COUNT counts what each server has",
        matches: |part| {
            is(part.words, &["command", "count"])
                && integer(part.theirs).is_some()
                && integer(part.ours).is_some()
        },
    },
    Known {
        name: "case of a setting",
        reason: "CONFIG GET answers the setting's own name; Redis the name as it was asked for, capitals and all",
        matches: |part| {
            is(part.words, &["config", "get"]) && part.theirs.eq_ignore_ascii_case(part.ours)
        },
    },
    Known {
        name: "dump",
        reason: "DUMP does not compress here; what it holds is the same",
        matches: |part| {
            let held = |reply| decode(string(reply)?, 64 << 20).ok();
            is(part.words, &["dump"])
                && held(part.theirs).is_some()
                && held(part.theirs) == held(part.ours)
        },
    },
    Known {
        name: "encoding",
        reason: "OBJECT ENCODING is made of the value; Redis also remembers by which command it came (APPEND: always raw)",
        matches: |part| {
            is(part.words, &["object", "encoding"])
                && matches!(string(part.theirs), Some(b"raw" | b"embstr"))
                && matches!(string(part.ours), Some(b"int" | b"embstr"))
                && part.theirs != part.ours
        },
    },
];

/// Whether a command begins with these words, in any case.
fn is(words: &Command, begin: &[&str]) -> bool {
    words.len() >= begin.len()
        && words.iter().zip(begin).all(|(word, begin)| word.eq_ignore_ascii_case(begin.as_bytes()))
}

/// The entry that names the difference between these replies; within an EXEC, the entry of the first that is not the same.
pub(crate) fn find(
    words: &Command,
    queued: &[Command],
    theirs: &[u8],
    ours: &[u8],
) -> Option<&'static Known> {
    let entry = |part: &Part<'_>| KNOWN.iter().find(|known| (known.matches)(part));
    let Some(parts) = parts(words, queued, theirs, ours) else {
        return entry(&Part { words, theirs, ours });
    };
    let mut found = None;
    for part in parts {
        if !crate::compare::same(part.words, &[], part.theirs, part.ours) {
            found = found.or(Some(entry(&part)?));
        }
    }
    found
}

#[test]
fn every_entry_has_its_reason() {
    for known in KNOWN {
        assert!(known.reason.len() > 20, "{}", known.name);
    }
}

#[test]
fn an_entry_excuses_what_it_names_and_nothing_else() {
    let words =
        |line: &str| -> Command { line.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let encoding = words("OBJECT ENCODING a");
    let found = |words, theirs: &[u8], ours: &[u8]| find(words, &[], theirs, ours).is_some();
    assert!(found(&encoding, b"$3\r\nraw\r\n", b"$6\r\nembstr\r\n"));
    assert!(!found(&encoding, b"$3\r\nint\r\n", b"$3\r\nraw\r\n"));
    assert!(!found(&words("GET a"), b"$3\r\nraw\r\n", b"$6\r\nembstr\r\n"));
    let queued = [encoding, words("GET a")];
    let exec = words("EXEC");
    let theirs = b"*2\r\n$3\r\nraw\r\n$1\r\nx\r\n";
    assert!(find(&exec, &queued, theirs, b"*2\r\n$6\r\nembstr\r\n$1\r\nx\r\n").is_some());
    assert!(find(&exec, &queued, theirs, b"*2\r\n$6\r\nembstr\r\n$1\r\ny\r\n").is_none());
}
