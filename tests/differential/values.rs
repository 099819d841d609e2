//! What the words of commands are: keys that collide, numbers at their edges, bytes that look like protocol.

use crate::dice::Dice;

/// Keys that one shard holds.
pub(crate) const TAGGED: &[&[u8]] =
    &[b"{t}1", b"{t}2", b"{t}3", b"{t}4", b"{t}5", b"{t}6", b"{t}7", b"{t}\r\n", b"x{t}\xff"];

/// Keys of any shard.
pub(crate) const PLAIN: &[&[u8]] =
    &[b"a", b"b", b"c", b"d", b"e", b"f", b"key:1", b"key:2", b"", b"\r\n", b"\0\xff", b"{}z"];

/// Integers as text, and what only looks like one. None is hexadecimal: see `FLOATS`.
pub(crate) const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "10",
    "-1",
    "-2",
    "-10",
    "100",
    "-0",
    "+1",
    "01",
    " 1",
    "1 ",
    "",
    "1.0",
    "abc",
    "1e3",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
];

/// None is hexadecimal: that is a number for Redis' C library only.
pub(crate) const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "-0.1",
    "3.0e3",
    "1.5",
    "-0",
    "10.25",
    "1e2",
    "1e-5",
    "123456789.123456",
    "1e17",
    "1e308",
    "1e400",
    "1e5000",
    "-1e400",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "1.",
    ".5",
    "5e",
    " 1",
    "1 ",
    "+1.5",
    "",
    "abc",
    "1,5",
    "9007199254740993",
    "0.000000000000000001",
];

const STRINGS: &[&[u8]] = &[
    b"",
    b"a",
    b"hello",
    b"Hello World",
    b"\r\n",
    b"\0",
    b"\xff\xfe\x00\x80",
    b"*1\r\n$4\r\nPING\r\n",
    b"ohmytext",
    b"mynewtext",
    b"12345678901234567890",
    b"12345678901234567890123456789012345678901234",
    b"123456789012345678901234567890123456789012345",
    b"   ",
    b"3.14",
    b"\xf0\x9f\xa6\x80",
];

/// A value for a key.
pub(crate) fn value(dice: &mut Dice) -> Vec<u8> {
    match dice.below(20) {
        0..6 => dice.pick(STRINGS).to_vec(),
        6..11 => dice.pick(INTEGERS).into(),
        11..13 => dice.pick(FLOATS).into(),
        13..17 => dice.below(1000).to_string().into(),
        17..19 => {
            let len = dice.below(70);
            (0..len).map(|_| dice.pick(&[b"ab", b"b\xff"])[dice.below(2)]).collect()
        }
        _ => vec![b'x'; dice.between(100, 900)],
    }
}

/// A position in a value, from either end.
pub(crate) fn index(dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0..4 => dice.below(12).to_string().into(),
        4..7 => format!("-{}", dice.below(12)).into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

/// Where SETRANGE writes: near, or so far that it is refused. Nothing between: the values would be large.
pub(crate) fn offset(dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0..6 => dice.below(60).to_string().into(),
        6 => dice.between(60, 300).to_string().into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

/// The same in bits.
pub(crate) fn bit_offset(dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0..6 => dice.below(200).to_string().into(),
        6 => dice.between(200, 2400).to_string().into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

/// A time to live in seconds: none that could end during a run, some that are over at once, some that are none.
pub(crate) fn seconds(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..7 => dice.between(400_000, 90_000_000).to_string().into(),
        7 => dice.pick(&["0", "-1", "-100", "9223372036854775", "9223372036854776"]).into(),
        // As far as a moment goes, and not the same twice: GT would see who came a millisecond later.
        8 => dice.between(9_223_369_000_000_000, 9_223_369_900_000_000).to_string().into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

pub(crate) fn milliseconds(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..7 => dice.between(400_000_000, 90_000_000_000).to_string().into(),
        7 => dice.pick(&["0", "-1", "-100000", "9223372036854775807"]).into(),
        8 => dice.between(9_223_369_000_000_000_000, 9_223_369_900_000_000_000).to_string().into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

/// A moment in seconds since 1970: in the next century, or long ago.
pub(crate) fn moment(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..7 => dice.between(4_102_444_800, 7_000_000_000).to_string().into(),
        7 => dice.pick(&["1", "1000000000", "-5", "9223372036854775"]).into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

pub(crate) fn moment_ms(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..7 => dice.between(4_102_444_800_000, 7_000_000_000_000).to_string().into(),
        7 => dice.pick(&["1", "1000000000000", "-5", "9223372036854775807"]).into(),
        _ => dice.pick(INTEGERS).into(),
    }
}

/// A time to live for RESTORE, in milliseconds from now or since 1970.
pub(crate) fn restore_ttl(dice: &mut Dice) -> Vec<u8> {
    match dice.below(10) {
        0..6 => b"0".to_vec(),
        6 => dice.between(400_000_000, 90_000_000_000).to_string().into(),
        7 => dice.between(4_102_444_800_000, 7_000_000_000_000).to_string().into(),
        _ => dice.pick(&["-1", "x", "", "1.5", "0", "00"]).into(),
    }
}

/// What DUMP makes, or what is left of it.
pub(crate) fn payload(dice: &mut Dice) -> Vec<u8> {
    let mut payload = rusty_lsm::transfer::rdb::dump::encode(&value(dice));
    match dice.below(10) {
        0..8 => {}
        8 => {
            let at = dice.below(payload.len());
            payload[at] ^= 1;
        }
        _ => payload.truncate(dice.below(payload.len())),
    }
    payload
}

/// A word that belongs nowhere.
pub(crate) fn junk(dice: &mut Dice) -> Vec<u8> {
    match dice.below(6) {
        0..3 => dice.pick(INTEGERS).into(),
        3 => dice.pick(FLOATS).into(),
        4 => dice.pick(STRINGS).to_vec(),
        _ => dice.pick(&["NX", "xx", "GET", "KEEPTTL", "EX", "MATCH", "COUNT", "u8", "*"]).into(),
    }
}
