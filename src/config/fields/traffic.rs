//! Connections, values, what is noted of commands, the log.

use super::{Field, choice, integer, quoted, size, size_between, whole, yes_no, yes_or_no};
use crate::config::value::{parse_seconds, show_time};
use crate::config::{LogFormat, LogLevel};

pub(super) static FIELDS: &[Field] = &[
    Field {
        name: "maxclients",
        doc: "Connections at a time. Lowered at start if the process may not open that many files.",
        default: "10000",
        set: |config, text| whole(text, 1, 1_000_000).map(|clients| config.maxclients = clients),
        get: |config| Some(config.maxclients.to_string()),
    },
    Field {
        name: "timeout",
        doc: "Time after which an idle connection is closed, in seconds, or as 90s or 5m; 0: never.",
        default: "0",
        set: |config, text| parse_seconds(text).map(|time| config.timeout = time),
        get: |config| Some(quoted(&show_time(config.timeout))),
    },
    Field {
        name: "request_timeout",
        doc: "Time in which a client that has begun a request must send the rest, or 16 KB more of it, in seconds, or as 60s;\n\
              0: it may take for ever.",
        default: "60s",
        set: |config, text| parse_seconds(text).map(|time| config.request_timeout = time),
        get: |config| Some(quoted(&show_time(config.request_timeout))),
    },
    Field {
        name: "tcp_keepalive",
        doc: "Silence after which a connection is asked whether it still lives, in seconds, or as 60s; 0: off.",
        default: "60s",
        set: |config, text| parse_seconds(text).map(|time| config.tcp_keepalive = time),
        get: |config| Some(quoted(&show_time(config.tcp_keepalive))),
    },
    Field {
        name: "proto_max_bulk_len",
        doc: "Longest value, in bytes, up to 512MB. Larger: one client can make the server hold more.",
        default: "64MB, or a 32nd of the memory if that is less",
        set: |config, text| {
            config.proto_max_bulk_len =
                Some(size_between(text, 64 << 10, crate::limits::BULK_BYTES_CAP.into())?);
            Ok(())
        },
        get: |config| config.proto_max_bulk_len.map(size),
    },
    Field {
        name: "slowlog_log_slower_than",
        doc: "Commands that took at least so long are kept for SLOWLOG, in microseconds; 0: all, -1: none.",
        default: "10000",
        set: |config, text| integer(text, -1).map(|micros| config.slowlog_log_slower_than = micros),
        get: |config| Some(config.slowlog_log_slower_than.to_string()),
    },
    Field {
        name: "slowlog_max_len",
        doc: "Entries that SLOWLOG keeps. Larger: more memory, up to some KB an entry.",
        default: "128",
        set: |config, text| integer(text, 0).map(|entries| config.slowlog_max_len = entries),
        get: |config| Some(config.slowlog_max_len.to_string()),
    },
    Field {
        name: "latency_monitor_threshold",
        doc: "Events that took at least so long are kept for LATENCY, in milliseconds; 0: none.",
        default: "0",
        set: |config, text| {
            integer(text, 0).map(|millis| config.latency_monitor_threshold = millis)
        },
        get: |config| Some(config.latency_monitor_threshold.to_string()),
    },
    Field {
        name: "latency_tracking",
        doc: "yes: latencies are counted by command, for LATENCY HISTOGRAM and INFO latencystats. no: they are not.",
        default: "yes",
        set: |config, text| yes_or_no(text).map(|on| config.latency_tracking = on),
        get: |config| Some(quoted(yes_no(config.latency_tracking))),
    },
    Field {
        name: "atomic_transactions",
        doc: "yes: EXEC refuses a transaction whose keys lie in several shards, or with a command over all of them: it would not be\n\
              atomic. Keys with one {hash tag} lie in one shard. no: it runs like the pipeline of its commands.",
        default: "no",
        set: |config, text| yes_or_no(text).map(|on| config.atomic_transactions = on),
        get: |config| Some(quoted(yes_no(config.atomic_transactions))),
    },
    Field {
        name: "notify_keyspace_events",
        doc: "Which events of keys are published, in Redis' letters, as KEA; empty: none.",
        default: "",
        set: |config, text| {
            let events = crate::live::notify::parse(text)
                .ok_or_else(|| format!("'{text}' has other letters than Ag$lshzxeKEtmdn"))?;
            config.notify_keyspace_events = events;
            Ok(())
        },
        get: |config| Some(quoted(&crate::live::notify::show(config.notify_keyspace_events))),
    },
    Field {
        name: "log_format",
        doc: "text: for people. json: one object per line.",
        default: "text",
        set: |config, text| {
            config.log_format =
                choice(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])?;
            Ok(())
        },
        get: |config| {
            Some(quoted(match config.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }))
        },
    },
    Field {
        name: "log_level",
        doc: "error, warn, info, debug or trace.",
        default: "info",
        set: |config, text| {
            config.log_level = choice(text, &LEVELS)?;
            Ok(())
        },
        get: |config| {
            LEVELS
                .iter()
                .find(|(_, level)| *level == config.log_level)
                .map(|(name, _)| quoted(name))
        },
    },
];

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
