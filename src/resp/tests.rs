//! One oracle for the parser: whatever the input and wherever it is cut, the commands and the error are the same.
#![expect(clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::limits::{ARG_SLOTS_RESERVED, ARGS_MAX, LINE_BYTES_MAX};

const LIMITS: ParserLimits =
    ParserLimits { bulk_bytes_max: 1 << 20, request_bytes_max: 2 << 20, before_auth: false };

type Commands = Vec<Vec<Vec<u8>>>;

/// What a connection makes of `chunks`, arriving one after the other.
fn drive(limits: ParserLimits, chunks: &[&[u8]]) -> (Commands, Option<ProtocolError>, usize) {
    let mut parser = Parser::new(limits);
    let mut commands = Vec::new();
    let mut buffer = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match parser.parse(&buffer) {
                Err(error) => {
                    assert_eq!(parser.parse(b"*1\r\n$4\r\nPING\r\n"), Err(error), "final");
                    return (commands, Some(error), 0);
                }
                Ok(Parsed::Incomplete) => break,
                Ok(Parsed::Empty { consumed }) => drop(buffer.drain(..consumed)),
                Ok(Parsed::Command { consumed }) => {
                    commands.push(parser.args(&buffer).iter().map(<[u8]>::to_vec).collect());
                    buffer.drain(..consumed);
                }
            }
        }
    }
    (commands, None, buffer.len())
}

fn whole(input: &[u8]) -> (Commands, Option<ProtocolError>) {
    let (commands, error, _) = drive(LIMITS, &[input]);
    (commands, error)
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    writer::array(&mut out, words.len());
    for word in words {
        writer::bulk(&mut out, word);
    }
    out
}

fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

/// The reply to `input`'s error.
fn refusal(input: &[u8]) -> String {
    let (_, error) = whole(input);
    let mut out = Vec::new();
    error
        .unwrap_or_else(|| panic!("taken: {}", input[..input.len().min(40)].escape_ascii()))
        .write(&mut out);
    String::from_utf8(out).unwrap()
}

fn taken(input: &[u8]) -> Commands {
    let (commands, error, rest) = drive(LIMITS, &[input]);
    assert_eq!((error, rest), (None, 0), "{}", input.escape_ascii());
    commands
}

#[test]
fn commands_of_each_form() {
    assert_eq!(taken(&command(&[b"SET", b"k", b""])), [words(&[b"SET", b"k", b""])]);
    assert_eq!(taken(b"PING\r\n"), [words(&[b"PING"])]);
    assert_eq!(taken(b"PING\n"), [words(&[b"PING"])]);
    assert_eq!(taken(b"*1\r\n$0\r\n\r\n"), [words(&[b""])]);
    let binary: Vec<u8> = (0..=255).collect();
    assert_eq!(taken(&command(&[&binary, b"\r\n"])), [words(&[&binary, b"\r\n"])]);
    // Lengths of more digits than the quick path takes.
    let long = vec![b'x'; 1 << 20];
    assert_eq!(taken(&command(&[&long])), [words(&[&long])]);
}

#[test]
fn nothing_is_skipped_without_a_reply() {
    assert_eq!(taken(b"*0\r\n*-1\r\n*-99\r\n\r\n\n  \t\r\nPING\r\n"), [words(&[b"PING"])]);
}

/// Each line compared by hand with redis-server 7.0.15.
#[test]
fn inline_words_are_those_of_redis() {
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"  a\tb \x0b\x0cc  \r\n", &[b"a", b"b", b"c"]),
        (br#"echo "a b""#, &[b"echo", b"a b"]),
        (br#"echo "a\x41\n\q""#, &[b"echo", b"aA\nq"]),
        (br#"echo "\xzz\x4g\t\a\b\r\"""#, &[b"echo", b"xzzx4g\t\x07\x08\r\""]),
        (br"echo 'a\'b\n'", &[b"echo", br"a'b\n"]),
        (br#"echo a"b c""#, &[b"echo", b"ab c"]),
        (b"echo ''", &[b"echo", b""]),
        (br#"" ""#, &[b" "]),
        (b"PING\rPING", &[b"PING", b"PING"]),
        (b"echo a\x0b", &[b"echo", b"a\x0b"]),
    ];
    for (line, expected) in cases {
        let mut line = line.to_vec();
        line.push(b'\n');
        assert_eq!(taken(&line), [words(expected)], "{}", line.escape_ascii());
    }
    for line in
        [br#"echo "a"b"#.as_slice(), br#"echo "a"#, b"echo 'a'b", b"echo 'a", br#"echo "a\"#]
    {
        let mut line = line.to_vec();
        line.extend_from_slice(b"\r\n");
        assert_eq!(refusal(&line), "-ERR Protocol error: unbalanced quotes in request\r\n");
    }
}

#[test]
fn a_broken_request_gets_the_text_of_redis() {
    let cases: &[(&[u8], &str)] = &[
        (b"*3\r\n$-1\r\n", "invalid bulk length"),
        (b"*3\r\n$+5\r\n", "invalid bulk length"),
        (b"*3\r\n$05\r\n", "invalid bulk length"),
        (b"*3\r\n$00000005\r\n", "invalid bulk length"),
        (b"*3\r\n$\r\n", "invalid bulk length"),
        (b"*3\r\n$99999999999999999999\r\n", "invalid bulk length"),
        (b"*3\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*3\r\n$5\rx", "invalid bulk length"),
        (b"*3\r\n:5\r\n", "expected '$', got ':'"),
        (b"*3\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\x00\r\n", "expected '$', got ' '"),
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*1\rx", "invalid multibulk length"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF after a bulk string"),
        (b"*1\r\n$4\r\nPING\rx", "expected CRLF after a bulk string"),
    ];
    for (input, text) in cases {
        let expected = drive(LIMITS, &[input]);
        for cut in 0..input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(drive(LIMITS, &[head, tail]), expected, "{} {cut}", input.escape_ascii());
        }
        assert_eq!(
            refusal(input),
            format!("-ERR Protocol error: {text}\r\n"),
            "{}",
            input.escape_ascii()
        );
    }
}

#[test]
fn http_is_closed_without_a_reply_and_nothing_behind_it_runs() {
    for line in ["POST / HTTP/1.1", "post /", " Host: a", "HOST:", "POST /\" x"] {
        let input = format!("{line}\r\nFLUSHALL\r\n");
        assert_eq!(whole(input.as_bytes()), (vec![], Some(ProtocolError::CrossProtocol)));
        assert_eq!(refusal(input.as_bytes()), "");
    }
    assert_eq!(taken(b"POSTER x\r\n"), [words(&[b"POSTER", b"x"])]);
}

#[test]
fn each_limit_holds_on_it_and_one_above() {
    let count = |count: u32| format!("*{count}\r\n").into_bytes();
    assert_eq!(whole(&count(ARGS_MAX)), (vec![], None));
    assert_eq!(whole(&count(ARGS_MAX + 1)).1, Some(ProtocolError::InvalidCount));
    let length = |len: u32| format!("*1\r\n${len}\r\n").into_bytes();
    assert_eq!(whole(&length(LIMITS.bulk_bytes_max)), (vec![], None));
    assert_eq!(whole(&length(LIMITS.bulk_bytes_max + 1)).1, Some(ProtocolError::InvalidLength));

    let line = |prefix: &str, bytes: usize| {
        let mut line = prefix.as_bytes().to_vec();
        line.resize(prefix.len() + bytes, b'1');
        line
    };
    for (prefix, error) in [
        ("", ProtocolError::InlineTooLong),
        ("*", ProtocolError::CountTooLong),
        ("*1\r\n$", ProtocolError::LengthTooLong),
    ] {
        let own = usize::from(!prefix.is_empty());
        assert_eq!(whole(&line(prefix, LINE_BYTES_MAX - own)), (vec![], None));
        assert_eq!(whole(&line(prefix, LINE_BYTES_MAX + 1 - own)), (vec![], Some(error)));
    }
    let mut longest = line("", LINE_BYTES_MAX);
    longest.push(b'\n');
    assert_eq!(taken(&longest)[0][0].len(), LINE_BYTES_MAX);
}

#[test]
fn a_request_is_bounded_as_a_whole() {
    let bulk = vec![b'x'; 1 << 20];
    let both = command(&[&bulk, &bulk]);
    let limits = ParserLimits { request_bytes_max: u32::try_from(both.len()).unwrap(), ..LIMITS };
    assert_eq!(drive(limits, &[&both]).0.len(), 1);
    let max = limits.request_bytes_max - 1;
    let below = ParserLimits { request_bytes_max: max, ..LIMITS };
    assert_eq!(drive(below, &[&both]).1, Some(ProtocolError::RequestTooLong { max }));
}

#[test]
fn before_login_less_is_taken() {
    let limits = ParserLimits::before_auth(1 << 20);
    let error = |input: &[u8]| drive(limits, &[input]).1;
    assert_eq!(error(b"*10\r\n$16384\r\n"), None);
    assert_eq!(error(b"*11\r\n"), Some(ProtocolError::UnauthenticatedCount));
    assert_eq!(error(b"*1\r\n$16385\r\n"), Some(ProtocolError::UnauthenticatedLength));
    assert_eq!(error(b"a b c d e f g h i j k\n"), Some(ProtocolError::UnauthenticatedCount));
    let mut out = Vec::new();
    ProtocolError::UnauthenticatedCount.write(&mut out);
    assert_eq!(out, b"-ERR Protocol error: unauthenticated multibulk length\r\n");
    let mut parser = Parser::new(limits);
    assert_eq!(parser.parse(b"*0\r\n"), Ok(Parsed::Empty { consumed: 4 }));
    parser.set_limits(LIMITS);
    assert_eq!(parser.parse(b"*11\r\n"), Ok(Parsed::Incomplete));
}

#[test]
fn a_claimed_count_reserves_little_and_a_large_command_gives_its_slots_back() {
    let mut parser = Parser::new(LIMITS);
    let _ = parser.parse(format!("*{ARGS_MAX}\r\n").as_bytes());
    assert!(parser.slots() <= 2 * ARG_SLOTS_RESERVED);
    let mut parser = Parser::new(LIMITS);
    let many = command(&vec![b"x".as_slice(); 100_000]);
    assert_eq!(parser.parse(&many), Ok(Parsed::Command { consumed: many.len() }));
    assert_eq!(parser.args(&many).len(), 100_000);
    let _ = parser.parse(b"*1\r\n");
    assert!(parser.slots() <= 2 * ARG_SLOTS_RESERVED);
}

#[test]
fn the_hint_is_what_a_shortest_rest_would_take() {
    let input = command(&[b"SET", b"", &vec![b'v'; 300]]);
    let mut parser = Parser::new(LIMITS);
    for cut in 0..input.len() {
        assert_eq!(parser.parse(&input[..cut]), Ok(Parsed::Incomplete));
        let hint = parser.needed_hint(cut);
        assert!(hint >= 1 && cut + hint <= input.len(), "at {cut}: {hint}");
    }
    let mut parser = Parser::new(LIMITS);
    let _ = parser.parse(b"*2\r\n$1000\r\nab");
    assert_eq!(parser.needed_hint(13), 1000 - 2 + 2 + 6);
    assert!(parser.in_request());
}

#[test]
fn a_bulk_string_byte_by_byte_is_never_searched_again() {
    // Quadratic work would take minutes here.
    let input = command(&[b"SET", b"key", &vec![b'\r'; 1 << 20]]);
    let mut parser = Parser::new(LIMITS);
    for end in 0..input.len() {
        assert_eq!(parser.parse(&input[..end]), Ok(Parsed::Incomplete));
    }
    assert_eq!(parser.parse(&input), Ok(Parsed::Command { consumed: input.len() }));
}

/// Requests, broken requests and noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let argument = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => proptest::collection::vec(any::<u8>(), 90..120),
    ];
    let request = proptest::collection::vec(argument, 1..5)
        .prop_map(|arguments| command(&arguments.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    let token = proptest::sample::select(
        [
            "*",
            "$",
            "\r\n",
            "\r",
            "\n",
            "1",
            "2",
            "0",
            "-1",
            "05",
            "+",
            " ",
            "\"",
            "'",
            "\\",
            "\\x4",
            "a",
            "PING",
            "post",
            "Host:",
            "*1\r\n",
            "$4\r\n",
            "$100000000\r\n",
            "*3\r\n$3\r\nGET\r\n",
            ":1\r\n",
        ]
        .as_slice(),
    );
    let noise =
        proptest::collection::vec(token, 1..12).prop_map(|tokens| tokens.concat().into_bytes());
    prop_oneof![4 => request, 1 => noise, 1 => Just(b"PING x\r\n".to_vec()), 1 => Just(b"*0\r\n\r\n".to_vec())]
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_the_splits(
        pieces in proptest::collection::vec(piece(), 1..6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let input = pieces.concat();
        let expected = drive(LIMITS, &[&input]);
        for cut in 0..=input.len() {
            prop_assert_eq!(&drive(LIMITS, &[&input[..cut], &input[cut..]]), &expected, "cut at {}", cut);
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&drive(LIMITS, &bytes), &expected);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        let mut start = 0;
        let chunks: Vec<&[u8]> =
            ends.into_iter().map(|end| &input[std::mem::replace(&mut start, end)..end]).collect();
        prop_assert_eq!(&drive(LIMITS, &chunks), &expected);
    }

    #[test]
    fn what_was_sent_is_what_is_parsed(
        commands in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..8), 0..8),
    ) {
        let input: Vec<u8> = commands
            .iter()
            .flat_map(|words| command(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(drive(LIMITS, &[&input]), (commands, None, 0));
    }
}

#[test]
fn replies_of_each_kind() {
    let mut out = Vec::new();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        writer::null(&mut out, protocol);
        writer::null_array(&mut out, protocol);
        writer::map(&mut out, 7, protocol);
        writer::set(&mut out, 2, protocol);
        writer::verbatim(&mut out, b"a\r\n", protocol);
        writer::boolean(&mut out, true, protocol);
    }
    assert_eq!(
        out.escape_ascii().to_string().replace("\\r\\n", "|"),
        "$-1|*-1|*14|*2|$3|a||:1|_|_|%7|~2|=7|txt:a||#t|"
    );
    let mut out = Vec::new();
    writer::simple(&mut out, "OK");
    writer::integer(&mut out, i64::MIN);
    writer::bulk(&mut out, b"");
    writer::bulk(&mut out, &[b'x'; 10]);
    writer::array(&mut out, 1_000_000);
    assert_eq!(out, b"+OK\r\n:-9223372036854775808\r\n$0\r\n\r\n$10\r\nxxxxxxxxxx\r\n*1000000\r\n");
}

#[test]
fn an_error_text_cannot_split_the_reply() {
    let mut out = Vec::new();
    writer::error(&mut out, "ERR bad\r\n+OK\x00");
    writer::error_quoting(&mut out, "ERR '", b"a\r\n+OK\r\n", "'");
    assert_eq!(out, b"-ERR bad  +OK \r\n-ERR 'a  +OK  '\r\n");
    out.clear();
    writer::error_quoting(&mut out, "", &[b'x'; 1000], "");
    assert_eq!(out.len(), 1 + 128 + 2);
    out.clear();
    writer::error(&mut out, "x".repeat(10_000));
    assert_eq!(out.len(), 1 + 1024 + 2);
}
