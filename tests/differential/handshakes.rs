//! What real clients and tools send when they connect, and what each needs of the answer.
//!
//! Bytes as their versions of today send them: redis-cli and redis_exporter of Debian, redis-py 8, node-redis 6, ioredis 6,
//! go-redis 9, Lettuce, Jedis, redis-rs, RedisInsight, HAProxy, Sentinel's first requests. `tests/clients` runs those that
//! can be installed; here also the others, without a network.

use crate::common::{is_stand_in, skip};
use crate::servers::Pair;
use crate::wire::{Command, Wire, elements, integer, show, string};

/// What a client needs of a reply.
#[derive(Debug, Clone, Copy)]
enum Needs {
    /// As Redis answers, byte for byte.
    Same,
    /// The same type of reply as Redis.
    Type,
    Ok,
    /// An error, never OK: a client would wait for pushes that never come.
    Refusal,
    /// An error that begins like this; clients match on it.
    Error(&'static str),
    /// A HELLO in the protocol of this number: the fields in this order.
    Hello(i64),
    /// An INFO with a line that begins like this.
    Line(&'static str),
}

use Needs::{Error, Hello, Line, Ok, Refusal, Same, Type};

type Handshake = (&'static str, &'static [(&'static str, Needs)]);

const SETINFO: (&str, Needs) = ("CLIENT SETINFO LIB-NAME some-client", Ok);
const SETINFO_VERSION: (&str, Needs) = ("CLIENT SETINFO LIB-VER 1.2.3", Ok);
const MAINTENANCE: (&str, Needs) =
    ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type external-ip", Refusal);
const NO_CLUSTER: Needs = Error("ERR This instance has cluster support disabled");

const HANDSHAKES: &[Handshake] = &[
    (
        "redis-cli",
        &[("COMMAND DOCS", Type), ("COMMAND", Type), ("INFO SERVER", Line("redis_version:"))],
    ),
    ("redis-cli -3", &[("HELLO 3", Hello(3)), ("PING", Same)]),
    (
        "redis-py",
        &[
            ("HELLO 3", Hello(3)),
            MAINTENANCE,
            SETINFO,
            SETINFO_VERSION,
            ("SELECT 0", Ok),
            ("PING", Same),
        ],
    ),
    ("node-redis", &[("HELLO 3", Hello(3)), SETINFO, SETINFO_VERSION, MAINTENANCE, ("PING", Same)]),
    ("ioredis", &[("hello 3", Hello(3)), SETINFO, SETINFO_VERSION, ("info", Line("loading:0"))]),
    (
        "go-redis",
        &[
            ("hello 3", Hello(3)),
            ("client setname worker", Ok),
            SETINFO,
            SETINFO_VERSION,
            MAINTENANCE,
        ],
    ),
    ("Lettuce", &[("HELLO 3 SETNAME worker", Hello(3)), SETINFO, SETINFO_VERSION, ("PING", Same)]),
    ("Jedis", &[("CLIENT SETNAME worker", Ok), SETINFO, SETINFO_VERSION, ("SELECT 0", Ok)]),
    ("redis-rs", &[SETINFO, SETINFO_VERSION, ("PING", Same)]),
    ("HELLO without a version", &[("HELLO", Type), ("HELLO 2", Hello(2)), ("HELLO 4", Same)]),
    (
        "redis_exporter",
        &[
            ("CLIENT SETNAME redis_exporter", Ok),
            ("CONFIG GET *", Type),
            ("INFO ALL", Line("redis_version:")),
            ("LATENCY LATEST", Type),
            ("LATENCY HISTOGRAM", Type),
            ("SLOWLOG LEN", Type),
            ("SLOWLOG GET 1", Type),
        ],
    ),
    (
        "RedisInsight",
        &[
            ("INFO", Line("redis_mode:standalone")),
            ("CLUSTER INFO", NO_CLUSTER),
            ("MODULE LIST", Same),
            ("CONFIG GET databases", Same),
            ("DBSIZE", Same),
            ("CLIENT LIST", Type),
        ],
    ),
    ("HAProxy", &[("PING", Same), ("info replication", Line("role:master")), ("QUIT", Ok)]),
    ("Sentinel", &[("CLIENT SETNAME sentinel-cmd", Ok), ("PING", Same), ("INFO", Line("run_id:"))]),
    ("redis-benchmark", &[("CONFIG GET save", Same), ("CONFIG GET appendonly", Same)]),
    ("redis-cli of 8", &[("READONLY", NO_CLUSTER), ("CONFIG GET databases", Same)]),
    ("an unknown command", &[("NOSUCH a b", Same), ("NOSUCH", Same), ("CLIENT NOSUCH", Same)]),
];

fn words(line: &str) -> Command {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn hello_fields(reply: &[u8], protocol: i64) -> bool {
    let Some(parts) = elements(reply) else { return false };
    let names: Vec<_> =
        parts.iter().step_by(2).map(|name| string(name).unwrap_or_default()).collect();
    let expected: [&[u8]; 7] =
        [b"server", b"version", b"proto", b"id", b"mode", b"role", b"modules"];
    let kind = if protocol == 3 { b'%' } else { b'*' };
    names == expected
        && reply[0] == kind
        && string(parts[1]) == Some(b"redis")
        && string(parts[3]).is_some_and(|version| version.contains(&b'.'))
        && integer(parts[5]) == Some(protocol)
        && string(parts[9]) == Some(b"standalone")
        && string(parts[11]) == Some(b"master")
}

fn is_met(needs: Needs, theirs: &[u8], ours: &[u8]) -> bool {
    match needs {
        Same => theirs == ours,
        Type => theirs[0] == ours[0],
        Ok => ours == b"+OK\r\n",
        Refusal => ours.starts_with(b"-ERR"),
        Error(begin) => {
            ours.strip_prefix(b"-").is_some_and(|text| text.starts_with(begin.as_bytes()))
        }
        Hello(protocol) => hello_fields(ours, protocol),
        Line(begin) => {
            let text = String::from_utf8_lossy(ours);
            matches!(ours[0], b'$' | b'=') && text.lines().any(|line| line.starts_with(begin))
        }
    }
}

/// All requests of a handshake at once, or one after the other.
fn replies(port: u16, requests: &[Command], at_once: bool) -> Vec<Vec<u8>> {
    let mut wire = Wire::connect(port).unwrap();
    if at_once {
        let bytes: Vec<u8> =
            requests.iter().flat_map(|words| crate::common::encode(words)).collect();
        wire.send(&bytes).unwrap();
        return requests.iter().map(|_| wire.reply().unwrap()).collect();
    }
    requests.iter().map(|words| wire.ask(words).unwrap()).collect()
}

fn replay(begin: &[&str]) {
    if is_stand_in() {
        return;
    }
    let Some(pair) = Pair::start(2) else { return };
    let mut failed = Vec::new();
    for (client, steps) in HANDSHAKES {
        let have = |line: &str| {
            let lacking = pair.lacks(&words(line)).filter(|name| name != "client|setinfo");
            if let Some(name) = &lacking {
                skip(&format!("{client}: there is no {name} yet"));
            }
            lacking.is_none()
        };
        let steps: Vec<_> = steps.iter().filter(|(line, _)| have(line)).collect();
        // QUIT, and nothing behind it, ends a connection: the steps before are asked with it.
        let lines = begin.iter().copied().chain(steps.iter().map(|(line, _)| *line));
        let requests: Vec<Command> = lines.map(words).collect();
        let theirs = replies(pair.redis_port(), &requests, false);
        for at_once in [false, true] {
            let ours = replies(pair.our_port(), &requests, at_once);
            let both = theirs.iter().zip(&ours).skip(begin.len());
            for ((line, needs), (theirs, ours)) in steps.iter().zip(both) {
                if !is_met(*needs, theirs, ours) {
                    failed.push(format!(
                        "{client}, at once {at_once}: {line} needs {needs:?}\n  redis: {}\n  ours:  {}",
                        show(theirs),
                        show(ours)
                    ));
                }
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} answers would stop a client:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn every_client_gets_through_its_handshake_resp2() {
    replay(&[]);
}

/// Those that begin without HELLO, in RESP3; a HELLO of their own changes nothing but back.
#[test]
fn every_client_gets_through_its_handshake_resp3() {
    replay(&["HELLO 3"]);
}
