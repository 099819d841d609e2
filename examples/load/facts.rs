//! What a figure needs to be understood later: server, machine, command line, time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::REPLY_BYTES_MAX;
use crate::resp::{Parsed, Reply, parse};

/// How long the server may take to describe itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A name and its value, in the order in which they are shown.
pub(crate) type Fact = (String, String);

/// Of the server at the other end.
/// # Errors
/// It does not answer, or still loads its data.
pub(crate) fn server(mut stream: TcpStream) -> Result<Vec<Fact>, String> {
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(|error| error.to_string())?;
    let mut ask =
        |request: &[u8]| ask(&mut stream, request).map_err(|error| format!("INFO: {error}"));
    let info = ask(b"*1\r\n$4\r\nINFO\r\n")?;
    let field = |name: &str| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| *field == name).map(|(_, value)| value.trim().to_owned())
    };
    if field("loading").is_some_and(|loading| loading != "0") {
        return Err("the server still loads its data; try again later".into());
    }
    let fact = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
    let version = match (field("rusty_lsm_version"), field("redis_version")) {
        (Some(version), _) => Some(format!("rusty-lsm {version}")),
        (None, Some(version)) => Some(format!("redis {version}")),
        (None, None) => None,
    };
    // Redis has its policy among the settings; ours has it there, too, under the same name.
    let policy = ask(b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$11\r\nappendfsync\r\n")?;
    let policy = policy.lines().nth(1).map(str::to_owned);
    let is_durable = field("aof_enabled").is_none_or(|enabled| enabled != "0");
    let sync = if is_durable { field("sync").or(policy) } else { Some("none (no AOF)".into()) };
    let facts = [fact("server", version), fact("shards", field("shards")), fact("sync", sync)];
    Ok(facts.into_iter().flatten().collect())
}

/// The reply as text, the items of an array on lines of their own; empty for an error.
fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<String> {
    stream.write_all(request)?;
    let mut received = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match parse(&received).map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))? {
            Parsed::Needs(bytes) if bytes > REPLY_BYTES_MAX => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Parsed::Needs(_) => {}
            Parsed::Whole(Reply::Array(items), _) => {
                let lines = items.map(|item| match item {
                    Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    _ => String::new(),
                });
                return Ok(lines.collect::<Vec<_>>().join("\n"));
            }
            Parsed::Whole(Reply::Bulk(bytes), _) => {
                return Ok(String::from_utf8_lossy(bytes).into_owned());
            }
            Parsed::Whole(..) => return Ok(String::new()),
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => received.extend_from_slice(&chunk[..bytes]),
        }
    }
}

/// Of this machine and this process.
pub(crate) fn machine() -> Vec<Fact> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kernel = read("/proc/sys/kernel/osrelease").map(|text| format!("Linux {}", text.trim()));
    let model = read("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
        Some(line.trim_start_matches(['\t', ' ', ':']).to_owned())
    });
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    [
        ("kernel", kernel.unwrap_or_else(|| "?".into())),
        ("CPU", format!("{}, {cpus} usable", model.unwrap_or_else(|| "?".into()))),
        ("command", format!("load {}", words.join(" "))),
        ("date", date(now)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Seconds since 1970 as date and time.
fn date(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{:02}-{:02} {hours:02}:{minutes:02}:{seconds:02} UTC", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_795_289_559), "2026-11-21 19:32:39 UTC");
    }
}
