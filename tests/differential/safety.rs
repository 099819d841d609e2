//! Which commands do the same on every run, and in little memory and time.

use crate::values::INTEGERS;
use crate::wire::Command;

/// A time to live up to here, in seconds or milliseconds, could end while the sequence still runs.
const SHORT_LIFE: std::ops::RangeInclusive<i128> = 1..=300_000;
/// Beyond it a value of this many bytes would be refused by both (64 MiB), below it is small.
const LARGE_BYTES: std::ops::Range<i128> = 2_000..(64 << 20);

/// Longest time to live of RESTORE, in milliseconds.
const RESTORE_TTL_MAX: i128 = 1 << 60;

/// What begins in the next century, in seconds: what is less, and not nothing, is over.
const FUTURE_S: i128 = 4_000_000_000;

/// Whether Redis keeps a key that is over: SET takes a moment of the past, and the key counts until Redis comes by.
pub(crate) fn leaves_a_dead_key(words: &Command) -> bool {
    let moments = words.windows(2).filter_map(|pair| {
        let unit = match pair[0].to_ascii_lowercase().as_slice() {
            b"exat" => 1,
            b"pxat" => 1000,
            _ => return None,
        };
        number(&pair[1]).map(|moment| moment < FUTURE_S * unit)
    });
    words[0].eq_ignore_ascii_case(b"set") && moments.into_iter().any(|over| over)
}

/// Whether this asks how many keys there are, dead ones among them.
pub(crate) fn counts_keys(words: &Command) -> bool {
    words[0].eq_ignore_ascii_case(b"dbsize")
}

/// Whether a run can hold this command.
pub(crate) fn is_repeatable(words: &Command) -> bool {
    let name = words[0].to_ascii_lowercase();
    // Where a relative time stands, or may stand after a mutation.
    let lives = match name.as_slice() {
        b"set" => 3..words.len(),
        b"getex" => 2..words.len(),
        b"expire" | b"pexpire" | b"setex" | b"psetex" | b"restore" => 2..3,
        _ => 0..0,
    };
    let within = |range: std::ops::Range<usize>| words.get(range).unwrap_or_default();
    if within(lives).iter().filter_map(number).any(|life| SHORT_LIFE.contains(&life)) {
        return false;
    }
    // The same time to live twice: which is later is a question of a millisecond.
    let compares = words
        .iter()
        .skip(3)
        .any(|option| option.eq_ignore_ascii_case(b"gt") || option.eq_ignore_ascii_case(b"lt"));
    let usual = |word: &Vec<u8>| INTEGERS.iter().any(|usual| usual.as_bytes() == word.as_slice());
    if name.ends_with(b"expire") && compares && within(2..3).iter().any(usual) {
        return false;
    }
    match name.as_slice() {
        // Beyond what a moment can say Redis counts round to the past.
        b"restore" => !within(2..3).iter().filter_map(number).any(|ttl| ttl > RESTORE_TTL_MAX),
        b"setrange" => !within(2..3).iter().filter_map(number).any(|at| LARGE_BYTES.contains(&at)),
        b"setbit" => {
            !within(2..3).iter().filter_map(number).any(|at| LARGE_BYTES.contains(&(at / 8)))
        }
        b"bitfield" => !within(2..words.len()).iter().any(|word| {
            let text = word.strip_prefix(b"#").map(<[u8]>::to_vec);
            // An index counts in fields of up to 64 bits.
            let bytes = text.as_ref().map_or_else(
                || number(word).map(|at| at / 8),
                |index| number(index).map(|at| at * 8),
            );
            bytes.is_some_and(|bytes| LARGE_BYTES.contains(&bytes))
        }),
        // A protocol that is switched in the middle: the handshakes have that.
        b"hello" => words.get(1).is_some_and(|version| !matches!(version.as_slice(), b"2" | b"3")),
        // All commands or all settings, in an order that each server chose at its start.
        b"command" => {
            let sub = words.get(1).map(|sub| sub.to_ascii_lowercase()).unwrap_or_default();
            !matches!(sub.as_slice(), b"" | b"list" | b"docs" | b"info")
                || words.len() > 1 && sub.is_empty()
        }
        b"config" => within(2..words.len()).iter().all(|word| word != b"*" && word != b"**"),
        // Several replies, or none.
        b"client" => words.get(1).is_none_or(|sub| !sub.eq_ignore_ascii_case(b"reply")),
        _ => true,
    }
}

fn number(word: impl AsRef<[u8]>) -> Option<i128> {
    std::str::from_utf8(word.as_ref()).ok()?.trim().parse().ok()
}

#[cfg(test)]
fn words(line: &str) -> Command {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn what_would_end_or_grow_is_left_out() {
    for line in [
        "SET k v EX 10",
        "set k v NX px 250000",
        "GETEX k EX 1",
        "EXPIRE k 7",
        "SETEX k 10 v",
        "SETRANGE k 100000 v",
        "SETBIT k 1000000 1",
        "BITFIELD k SET u8 1000000 1",
        "BITFIELD k SET u8 #65535 1",
        "HELLO 3",
        "COMMAND",
        "CONFIG GET save *",
        "RESTORE k 10 payload",
        "RESTORE k 9223372036854775807 payload",
        "EXPIRE k 2147483647 GT",
    ] {
        assert!(!is_repeatable(&words(line)), "{line}");
    }
    for line in [
        "SET k 10",
        "SET k v EX 400000",
        "SET k v EX -1",
        "EXPIRE k 0",
        "EXPIREAT k 7",
        "SETRANGE k 4294967296 v",
        "SETBIT k 4294967296 1",
        "SETRANGE k 20 v",
        "HELLO 4",
        "GET",
    ] {
        assert!(is_repeatable(&words(line)), "{line}");
    }
}

#[test]
fn a_moment_of_the_past_leaves_a_key_that_counts() {
    assert!(leaves_a_dead_key(&words("SET k v EXAT 1000000000")));
    assert!(leaves_a_dead_key(&words("set k v NX pxat 4102444800")));
    assert!(!leaves_a_dead_key(&words("SET k v EXAT 4102444800")));
    assert!(!leaves_a_dead_key(&words("SET k v EX 1000000000")));
    assert!(counts_keys(&words("dbsize")));
}
