//! Sequences of commands from a seed.
//!
//! # Invariants
//! - One seed, one sequence: nothing here asks a clock, so that a failure comes again.
//! - Every command has one reply, on its own connection (pub/sub has its own sequences, in `pubsub`).
//! - What a command does is the same on each run: no time to live ends during a run, no value gets large (`safety`).

use crate::dice::Dice;
use crate::safety;
use crate::templates::TEMPLATES;
use crate::values;
use crate::wire::Command;

/// Connections of a sequence.
pub(crate) const CONNECTIONS: usize = 3;
/// Commands sent in one go, at most.
const PIPELINE_MAX: usize = 100;

/// A command and who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) connection: usize,
    pub(crate) words: Command,
}

/// A sequence that begins with no keys and new connections.
pub(crate) fn sequence(seed: u64, length: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    // Half of the sequences dwell on a few commands, and meet each other there more often.
    let dwell = dice.once_in(2).then(|| dice.between(3, 10));
    let favourites: Vec<&str> = (0..dwell.unwrap_or(0)).map(|_| template(&mut dice, &[])).collect();
    // A sequence either counts keys or has keys that are over: how long Redis counts those is chance.
    let counts = dice.once_in(2);
    let leave_out = if counts { safety::leaves_a_dead_key } else { safety::counts_keys };
    let mut steps = Vec::with_capacity(length + PIPELINE_MAX);
    let mut in_multi = [false; CONNECTIONS];
    while steps.len() < length {
        let connection = dice.below(CONNECTIONS);
        let run = match dice.below(4) {
            0 => 1,
            1 => dice.between(2, 8),
            _ => dice.between(10, PIPELINE_MAX),
        };
        for _ in 0..run {
            let words = transaction(&mut dice, in_multi[connection])
                .unwrap_or_else(|| command(&mut dice, &favourites));
            if leave_out(&words) {
                continue;
            }
            match words[0].to_ascii_lowercase().as_slice() {
                b"multi" => in_multi[connection] = true,
                b"exec" | b"discard" | b"reset" => in_multi[connection] = false,
                _ => {}
            }
            steps.push(Step { connection, words });
        }
    }
    steps.truncate(length);
    steps
}

/// What makes transactions that begin and end: once in a while WATCH and MULTI, and an end before long.
fn transaction(dice: &mut Dice, in_multi: bool) -> Option<Command> {
    let words = |line: &str| Some(line.split(' ').map(|word| word.as_bytes().to_vec()).collect());
    match (in_multi, dice.below(24)) {
        (true, 0..3) => words("EXEC"),
        (true, 3) => words("DISCARD"),
        (false, 0) => words("MULTI"),
        (false, 1) => words("WATCH a b {t}1 {t}2"),
        _ => None,
    }
}

fn template<'a>(dice: &mut Dice, favourites: &[&'a str]) -> &'a str
where
    'static: 'a,
{
    if !favourites.is_empty() && !dice.once_in(4) {
        return dice.pick(favourites);
    }
    let all: usize = TEMPLATES.iter().map(|(weight, _)| weight).sum();
    let mut at = dice.below(all);
    for (weight, line) in TEMPLATES {
        if at < *weight {
            return line;
        }
        at -= weight;
    }
    unreachable!("at is below the sum of all weights")
}

/// One command, often a wrong one.
fn command(dice: &mut Dice, favourites: &[&str]) -> Command {
    loop {
        let line = template(dice, favourites);
        let tagged = dice.once_in(2);
        let mut words: Command = Vec::new();
        for part in line.split(' ') {
            fill(dice, part, tagged, &mut words);
        }
        if dice.once_in(12) {
            mutate(dice, &mut words);
        }
        if dice.once_in(8) {
            let at = dice.below(words.len());
            if at == 0 || words[at].iter().all(u8::is_ascii_uppercase) {
                random_case(dice, &mut words[at]);
            }
        }
        if safety::is_repeatable(&words) {
            return words;
        }
    }
}

fn random_case(dice: &mut Dice, word: &mut [u8]) {
    for byte in word {
        if dice.once_in(2) {
            *byte = if byte.is_ascii_uppercase() {
                byte.to_ascii_lowercase()
            } else {
                byte.to_ascii_uppercase()
            };
        }
    }
}

/// Makes a command a wrong one, mostly. The name stays.
fn mutate(dice: &mut Dice, words: &mut Command) {
    let at = dice.below(words.len());
    match dice.below(6) {
        0 if at > 0 => drop(words.remove(at)),
        1 if at > 0 => words.insert(at, words[at].clone()),
        2 if at > 0 => words[at] = values::junk(dice),
        3 if at > 0 => {
            let other = dice.between(1, words.len() - 1);
            words.swap(at, other);
        }
        4 => words.truncate(at + 1),
        _ => words.push(values::junk(dice)),
    }
}

fn key(dice: &mut Dice, tagged: bool) -> Vec<u8> {
    if tagged || dice.once_in(3) {
        dice.pick(values::TAGGED).to_vec()
    } else {
        dice.pick(values::PLAIN).to_vec()
    }
}

/// Appends what `part` of a template stands for.
fn fill(dice: &mut Dice, part: &str, tagged: bool, words: &mut Command) {
    let word = match part {
        "key" => key(dice, tagged),
        "value" => values::value(dice),
        "integer" => dice.pick(values::INTEGERS).into(),
        "float" => dice.pick(values::FLOATS).into(),
        "index" => values::index(dice),
        "offset" => values::offset(dice),
        "bit-offset" => values::bit_offset(dice),
        "seconds" => values::seconds(dice),
        "milliseconds" => values::milliseconds(dice),
        "moment" => values::moment(dice),
        "moment-ms" => values::moment_ms(dice),
        "restore-ttl" => values::restore_ttl(dice),
        "payload" => values::payload(dice),
        "bit" => dice.pick(&["0", "1", "0", "1", "0", "1", "2", "-1", "a", ""]).into(),
        "operation" => dice.pick(&["AND", "OR", "XOR", "NOT", "and", "NOR", ""]).into(),
        "pattern" => dice.pick(PATTERNS).into(),
        "cursor" => dice.pick(&["0", "0", "0", "0", "0", "0", "-1", "abc", "", "0x", " 0"]).into(),
        "database" => dice.pick(&["0", "0", "0", "1", "-1", "99999", "a", "00"]).into(),
        "name" => dice.pick(&["worker-1", "", "a b", "a\nb", "x"]).into(),
        "subcommand" => dice.pick(&["NOSUCH", "", "help", "get", "\r\n", "ID "]).into(),
        "bad-version" => dice.pick(&["1", "4", "abc", "", "-3", "3.0"]).into(),
        "setting" => dice
            .pick(&["save", "appendonly", "APPENDONLY", "databases", "nosuch", "time?ut"])
            .into(),
        "channel" => dice.pick(&["news", "other", ""]).into(),
        "unknown" => dice.pick(UNKNOWN).into(),
        "long-key" => vec![b'k'; (64 << 10) + 1],
        "long-value" => vec![b'v'; 200],
        "keys" => {
            for _ in 0..dice.between(1, 5) {
                words.push(key(dice, tagged));
            }
            return;
        }
        "pairs" => {
            for _ in 0..dice.between(1, 5) {
                words.push(key(dice, tagged));
                words.push(values::value(dice));
            }
            return;
        }
        _ if part.chars().all(|c| c.is_ascii_uppercase() || "-_".contains(c)) => part.into(),
        _ => return options(dice, part, words),
    };
    words.push(word);
}

/// None but `*` matches the empty key: in Redis that one alone does.
const PATTERNS: &[&str] = &[
    "*", "?", "{t}*", "[abc]", "[a-c]*", "[^a]", "", "key:*", "*\r\n", "\\*", "[", "a*b*c", "a**",
];

const UNKNOWN: &[&str] =
    &["NOSUCH", "GETT", "", "\r\n", "get ", "SET\0", "a b", "12", "nosuch\u{7f}", "'quoted'"];

/// Appends none, some or too many of the options that `part` names.
fn options(dice: &mut Dice, part: &str, words: &mut Command) {
    let mut push = |word: &str| words.push(word.into());
    let count: usize = *dice.pick(&[&0, &1, &1, &1, &2, &2, &3]);
    match part {
        "set-options" | "getex-options" => {
            let all = if part == "set-options" {
                &["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "PERSIST"][..]
            } else {
                &["EX", "PX", "EXAT", "PXAT", "PERSIST", "KEEPTTL"]
            };
            for _ in 0..count + usize::from(dice.once_in(2)) {
                let option = dice.pick(all);
                words.push(option.into());
                let time = match option {
                    "EX" => values::seconds(dice),
                    "PX" => values::milliseconds(dice),
                    "EXAT" => values::moment(dice),
                    "PXAT" => values::moment_ms(dice),
                    _ => continue,
                };
                words.push(time);
            }
        }
        "expire-options" => {
            for _ in 0..dice.below(4).min(2) {
                push(dice.pick(&["NX", "XX", "GT", "LT", "gt", "AB"]));
            }
        }
        "lcs-options" => {
            for _ in 0..count {
                match dice.below(4) {
                    0 => push("LEN"),
                    1 => push("IDX"),
                    2 => push("WITHMATCHLEN"),
                    _ => {
                        push("MINMATCHLEN");
                        push(dice.pick(&["0", "1", "2", "4", "-1", "a"]));
                    }
                }
            }
        }
        "restore-options" => {
            for _ in 0..count {
                match dice.below(6) {
                    0..3 => push("REPLACE"),
                    3 => push("ABSTTL"),
                    4 => {
                        push("IDLETIME");
                        push(dice.pick(&["0", "10", "-1", "a"]));
                    }
                    _ => {
                        push("FREQ");
                        push(dice.pick(&["0", "255", "256", "-1", "a"]));
                    }
                }
            }
        }
        "copy-options" => match dice.below(6) {
            0..3 => {}
            3 | 4 => push("REPLACE"),
            _ => {
                push("DB");
                push(dice.pick(&["0", "1", "a", "-1"]));
            }
        },
        "flush-mode" => match dice.below(8) {
            0..4 => {}
            4 | 5 => push("ASYNC"),
            6 => push("sync"),
            _ => push("NOW"),
        },
        "range-unit" => match dice.below(6) {
            0..2 => {}
            2 => push("BYTE"),
            3 | 4 => push("BIT"),
            _ => push("bits"),
        },
        "scan-options" => {
            for _ in 0..count {
                match dice.below(3) {
                    0 => {
                        push("MATCH");
                        push(dice.pick(PATTERNS));
                    }
                    1 => {
                        push("COUNT");
                        push(dice.pick(&["1", "2", "10", "1000", "0", "-1", "a"]));
                    }
                    _ => {
                        push("TYPE");
                        push(dice.pick(&["string", "STRING", "list", "nosuch"]));
                    }
                }
            }
        }
        "fields" | "field-reads" => {
            for _ in 0..dice.between(1, 5) {
                field(dice, part == "fields", words);
            }
        }
        "other-command" => {
            let line = template(dice, &[]);
            // Not itself, and no key that makes a long reply longer.
            let line = if line.contains("other-command") { "GET key" } else { line };
            for part in line.split(' ') {
                fill(dice, part, false, words);
            }
        }
        other => panic!("no meaning for {other:?} in a template"),
    }
}

/// One operation of BITFIELD.
fn field(dice: &mut Dice, writes: bool, words: &mut Command) {
    let types = ["u8", "i8", "u1", "i1", "u16", "i16", "u32", "i64", "u63", "i5", "u7"];
    let odd = ["u64", "i65", "u0", "i0", "8", "x8", "", "u", "I8"];
    let kind =
        if dice.once_in(20) { dice.pick(&odd).to_owned() } else { dice.pick(&types).to_owned() };
    let at = match dice.below(8) {
        0..4 => dice.below(100).to_string().into(),
        4..7 => format!("#{}", dice.below(12)).into(),
        _ => dice.pick(&["-1", "#-1", "a", "", "#", "4294967296", "9223372036854775807"]).into(),
    };
    let operation = match (writes || dice.once_in(10), dice.below(8)) {
        (true, 0..2) => "SET",
        (true, 2..5) => "INCRBY",
        (true, 5) => {
            words.push("OVERFLOW".into());
            words.push(dice.pick(&["WRAP", "SAT", "FAIL", "fail", "NONE"]).into());
            "INCRBY"
        }
        _ => "GET",
    };
    words.extend([operation.into(), kind.into(), at]);
    if operation != "GET" {
        let value = match dice.below(3) {
            0 => dice.pick(values::INTEGERS).into(),
            1 => dice.below(300).to_string().into(),
            _ => format!("-{}", dice.below(300)).into(),
        };
        words.push(value);
    }
}

#[test]
fn one_seed_gives_one_sequence() {
    let once = sequence(7, 3000);
    assert_eq!(once, sequence(7, 3000));
    assert_ne!(once, sequence(8, 3000));
    assert_eq!(once.len(), 3000);
}

#[test]
fn every_template_can_be_filled() {
    let mut dice = Dice::new(1);
    for (_, line) in TEMPLATES {
        for _ in 0..50 {
            let mut words = Vec::new();
            for part in line.split(' ') {
                fill(&mut dice, part, false, &mut words);
            }
            assert_eq!(words[0].is_empty(), line.starts_with("unknown") && words[0].is_empty());
        }
    }
}
