//! Raw bytes, cut at every place: the answer is Redis', wherever the reads split. Here also what ends a connection.

use crate::common::transcript;
use crate::episode::Protocol;
use crate::servers::{Pair, redis_stands_in};
use crate::wire::show;

/// What begins with a good command shows that it was still answered. Nothing depends on an earlier one.
///
/// Not here, because Redis' own answer is an accident: what it says before a POST or Host: (it may close before it sends the
/// replies that it has; we send them), and a zero byte in an inline command (its search for the line's end stops there).
const INPUTS: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"PING\r\n",
    b"PING\n",
    b"\r\n\r\nPING\r\n",
    b"  PING   hello  \r\n",
    b"SET a \"b\\x41\\n\\\"\" \r\nGET a\r\n",
    b"SET a 'it\\'s'\r\nGET a\r\n",
    b"PING\r\nSET a \"unbalanced\r\nPING\r\n",
    b"ECHO \"a\"b\r\n",
    b"*0\r\n*1\r\n$4\r\nPING\r\n",
    b"*-1\r\nPING\r\n",
    b"*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
    b"QUIT\r\n",
    b"quit now\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"Host: x\r\nPING\r\n",
    b"*1\r\n:4\r\n",
    b"PING\r\n*1\r\nPING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$a\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$9999999999\r\n",
    b"*a\r\n",
    b"*+1\r\n",
    b"*2147483648\r\n",
    b"*99999999999999999999\r\n",
    b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n*2\r\n$4\r\nECHO\r\n*\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"HELLO 3\r\nHELLO 9\r\nPING\r\n",
    b"MULTI\r\nSET a 1\r\nGET a\r\nEXEC\r\n",
    b"MULTI\r\nNOSUCH\r\nSET a\r\nEXEC\r\n",
    b"SUBSCRIBE a b\r\nPING\r\nGET a\r\nUNSUBSCRIBE b a\r\n",
    b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n",
    b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\nCLIENT REPLY NO\r\n",
    b"MULTI\r\nQUIT\r\n",
    b"MULTI\r\nMULTI\r\nDISCARD\r\nDISCARD\r\nEXEC\r\n",
];

/// Names that must be there for an input to be sent: (what its bytes contain, the command).
const NEEDS: &[(&[u8], &str, &str)] = &[
    (b"MULTI", "multi", ""),
    (b"SUBSCRIBE", "subscribe", ""),
    (b"CLIENT REPLY", "client", "reply"),
];

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// HELLO tells a version and the connection's number: both are cut out.
fn without_identity(reply: &[u8]) -> Vec<u8> {
    let position = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|at| at == part);
    let mut left = reply;
    let mut kept = Vec::new();
    while let Some(begin) = position(left, b"version\r\n") {
        kept.extend_from_slice(&left[..begin]);
        let end = position(&left[begin..], b"mode\r\n").map_or(left.len(), |end| begin + end);
        left = &left[end..];
    }
    kept.extend_from_slice(left);
    kept
}

/// What Redis answers. Where it closes while bytes are still under way, the reset may take its last words: the most of three.
fn settled(port: u16, pieces: &[&[u8]]) -> Vec<u8> {
    let tries = (0..3).map(|_| transcript(port, pieces).unwrap());
    tries.max_by_key(Vec::len).unwrap()
}

fn compare(protocol: Protocol) {
    let Some(pair) = Pair::start(2) else { return };
    let mut different = Vec::new();
    let mut cuts = 0;
    for input in INPUTS {
        let lacks = NEEDS.iter().any(|(part, name, sub)| {
            contains(input, part) && pair.lacks(&vec![(*name).into(), (*sub).into()]).is_some()
        });
        if lacks {
            continue;
        }
        let closes = input.starts_with(b"POST") || input.starts_with(b"Host");
        let begin: &[u8] =
            if protocol == Protocol::Resp3 && !closes { b"HELLO 3\r\n" } else { b"" };
        let theirs = without_identity(&settled(pair.redis_port(), &[begin, input]));
        let mut check = |pieces: &[&[u8]], how: &str| {
            let ours = if redis_stands_in() {
                settled(pair.our_port(), pieces)
            } else {
                transcript(pair.our_port(), pieces).unwrap()
            };
            let ours = without_identity(&ours);
            cuts += 1;
            if ours != theirs {
                let (input, theirs, ours) = (show(input), show(&theirs), show(&ours));
                different.push(format!("{input} {how}\n  redis: {theirs}\n  ours:  {ours}"));
            }
            ours == theirs
        };
        if !check(&[begin, input], "whole") {
            continue;
        }
        for cut in 1..input.len() {
            check(&[begin, &input[..cut], &input[cut..]], &format!("cut at {cut}"));
        }
        let bytes: Vec<&[u8]> = std::iter::once(begin).chain(input.chunks(1)).collect();
        check(&bytes, "a byte at a time");
    }
    eprintln!("{protocol:?}: {} inputs in {cuts} cuts compared", INPUTS.len());
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn bytes_cut_anywhere_answer_as_redis_does_resp2() {
    compare(Protocol::Resp2);
}

#[test]
fn bytes_cut_anywhere_answer_as_redis_does_resp3() {
    compare(Protocol::Resp3);
}
