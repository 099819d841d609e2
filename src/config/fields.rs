//! The table of settings. A new setting is a field of `LsmConfig`, a default, and an entry here.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use shard::options::{CompactionStyle, SyncPolicy};

use super::value::{CacheCapacity, parse_seconds, parse_size, show_size, show_time};
use super::{FlushDb, LogFormat, LogLevel, LsmConfig, sync_name};
use crate::access::{DebugCommand, PasswordDigest};
use crate::limits::SHARDS_MAX;

/// One setting.
pub(super) struct Field {
    /// Key in the file, where a dot goes into a table; in upper case behind `RUSTY_LSM_`, the dot as `_`, the variable.
    pub(super) name: &'static str,
    /// What it is, its unit, and what a larger value costs.
    pub(super) doc: &'static str,
    /// What holds if it is not set.
    pub(super) default: &'static str,
    pub(super) set: fn(&mut LsmConfig, &str) -> Result<(), String>,
    /// The value as TOML; `None`: derived at start.
    pub(super) get: fn(&LsmConfig) -> Option<String>,
}

/// Other names for a setting.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("memtable_size", "memtable_capacity"),
    ("appendfsync", "sync"),
    ("maxmemory", "memory"),
    ("dir", "data_dir"),
];

pub(super) static FIELDS: &[Field] = &[
    Field {
        name: "port",
        doc: "TCP port of the Redis protocol.",
        default: "8080",
        set: |config, text| whole(text, 1, u16::MAX.into()).map(|port| config.port = port),
        get: |config| Some(config.port.to_string()),
    },
    Field {
        name: "bind",
        doc: "Address to listen on. 0.0.0.0 is every IPv4 network of this machine: set a password then (requirepass_file).",
        default: "127.0.0.1",
        set: |config, text| {
            let bind = text.parse().map_err(|_| format!("'{text}' is not an IP address"))?;
            config.bind = bind;
            Ok(())
        },
        get: |config| Some(quoted(&config.bind.to_string())),
    },
    Field {
        name: "requirepass",
        doc: "Password of the default user; empty: none. Kept as its SHA-256 only, and shown nowhere. Not as a flag: others could\n\
              read it there; a file that has it must not be readable by others.",
        default: "",
        set: |config, text| {
            config.requirepass = password(text);
            config.requirepass_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "requirepass_sha256",
        doc: "The same as its SHA-256, in 64 hexadecimal digits.",
        default: "",
        set: |config, text| {
            config.requirepass = password_digest(text)?;
            config.requirepass_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "requirepass_file",
        doc: "File whose first line is the password of the default user; must not be readable by others (chmod 600).",
        default: "",
        set: |config, text| {
            config.requirepass_file = path(text);
            config.requirepass = None;
            Ok(())
        },
        get: |config| Some(shown_path(config.requirepass_file.as_deref())),
    },
    Field {
        name: "readonly_user",
        doc: "Name of a second user, who may use no command that writes or administers; empty: none. Needs a password.",
        default: "",
        set: |config, text| {
            if text == crate::access::DEFAULT_USER {
                return Err("the default user is another one".into());
            }
            if !text.chars().all(|char| char.is_ascii_graphic()) {
                return Err(format!(
                    "'{text}' has other characters than letters, digits and signs"
                ));
            }
            config.readonly_user = text.into();
            Ok(())
        },
        get: |config| Some(quoted(&config.readonly_user)),
    },
    Field {
        name: "readonly_password",
        doc: "Password of readonly_user. What is said of requirepass holds.",
        default: "",
        set: |config, text| {
            config.readonly_password = password(text);
            config.readonly_password_file = None;
            Ok(())
        },
        get: |_| None,
    },
    Field {
        name: "readonly_password_file",
        doc: "File whose first line is that password; must not be readable by others.",
        default: "",
        set: |config, text| {
            config.readonly_password_file = path(text);
            config.readonly_password = None;
            Ok(())
        },
        get: |config| Some(shown_path(config.readonly_password_file.as_deref())),
    },
    Field {
        name: "deny_commands",
        doc: "Commands that nobody may use, and categories: \"flushall, config|set, @dangerous\". Fixed at start.",
        default: "",
        set: |config, text| {
            crate::access::deny_list(text)?;
            config.deny_commands = text.into();
            Ok(())
        },
        get: |config| Some(quoted(&config.deny_commands)),
    },
    Field {
        name: "protected_mode",
        doc: "yes: as long as there is no password, clients of other machines are refused. no: they are served.",
        default: "yes",
        set: |config, text| yes_or_no(text).map(|on| config.protected_mode = on),
        get: |config| Some(quoted(yes_no(config.protected_mode))),
    },
    Field {
        name: "allow_remote_admin",
        doc: "yes: CONFIG SET, SHUTDOWN and DEBUG are taken from other machines, too. no: over loopback and the unix socket only.",
        default: "no",
        set: |config, text| yes_or_no(text).map(|on| config.allow_remote_admin = on),
        get: |config| Some(quoted(yes_no(config.allow_remote_admin))),
    },
    Field {
        name: "enable_debug_command",
        doc: "DEBUG, which can stop a core for a while. no: never. local: for clients of this machine. yes: for all administrators.",
        default: "no",
        set: |config, text| {
            config.enable_debug_command = choice(text, &DEBUG_COMMAND)?;
            Ok(())
        },
        get: |config| {
            let is_it = |(_, value): &&(&str, DebugCommand)| *value == config.enable_debug_command;
            DEBUG_COMMAND.iter().find(is_it).map(|(name, _)| quoted(name))
        },
    },
    Field {
        name: "unixsocket",
        doc: "Path of a unix socket to listen at, beside the port; empty: none. One that a killed server left behind is replaced.",
        default: "",
        set: |config, text| {
            config.unixsocket = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.unixsocket.as_deref())),
    },
    Field {
        name: "unixsocketperm",
        doc: "Mode of that socket, in octal: 700 for this user, 770 for the group, too.",
        default: "700",
        set: |config, text| {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
            let problem = || format!("'{text}' is not a mode from 0 to 777");
            config.unixsocketperm = mode.ok_or_else(problem)?;
            Ok(())
        },
        get: |config| Some(quoted(&format!("{:o}", config.unixsocketperm))),
    },
    Field {
        name: "tls_port",
        doc: "TCP port of the Redis protocol over TLS (1.2 or 1.3), beside the plain one; 0: none. Needs tls_cert and tls_key.",
        default: "0",
        set: |config, text| whole(text, 0, u16::MAX.into()).map(|port| config.tls_port = port),
        get: |config| Some(config.tls_port.to_string()),
    },
    Field {
        name: "tls_cert",
        doc: "File of the server's certificate and those between it and its authority, PEM.",
        default: "",
        set: |config, text| {
            config.tls_cert = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.tls_cert.as_deref())),
    },
    Field {
        name: "tls_key",
        doc: "File of its private key, PEM; must not be readable by others.",
        default: "",
        set: |config, text| {
            config.tls_key = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.tls_key.as_deref())),
    },
    Field {
        name: "tls_ca",
        doc: "File of authorities, PEM: clients must show a certificate of one of them. Empty: they need none.",
        default: "",
        set: |config, text| {
            config.tls_ca = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.tls_ca.as_deref())),
    },
    Field {
        name: "data_dir",
        doc: "Directory of all data. Made with mode 0700 if absent; belongs to one server at a time.",
        default: "./db_data",
        set: |config, text| {
            if text.is_empty() {
                return Err("it is empty".into());
            }
            config.data_dir = text.into();
            Ok(())
        },
        get: |config| Some(quoted(&config.data_dir.to_string_lossy())),
    },
    Field {
        name: "backup_dir",
        doc: "Directory for checkpoints (CHECKPOINT, SAVE, BGSAVE), on the file system of the data directory; empty: data_dir/backups.",
        default: "",
        set: |config, text| {
            config.backup_dir = path(text);
            Ok(())
        },
        get: |config| Some(shown_path(config.backup_dir.as_deref())),
    },
    Field {
        name: "shards",
        doc: "LSM trees, each on a core of its own. Fixed when the data directory is made.",
        default: "one per core that the process may use, or what the data directory has",
        set: |config, text| {
            whole(text, 1, SHARDS_MAX.into()).map(|shards| config.shards = Some(shards))
        },
        get: |config| config.shards.map(|shards| shards.to_string()),
    },
    Field {
        name: "sync",
        doc: "When a write is acknowledged. always: once it is on disk. everysec: at once, on disk within a second.\n\
              no: at once, on disk when the kernel likes.",
        default: "always",
        set: |config, text| {
            config.sync = choice(
                text,
                &[
                    ("always", SyncPolicy::Always),
                    ("everysec", SyncPolicy::EverySecond),
                    ("no", SyncPolicy::Never),
                ],
            )?;
            Ok(())
        },
        get: |config| Some(quoted(sync_name(config.sync))),
    },
    Field {
        name: "memory",
        doc: "Memory of the whole process, in bytes. All buffers, memtables and caches are cut from it.",
        default: "half of the container's limit, or else a quarter of the machine's memory",
        set: |config, text| parse_size(text).map(|bytes| config.memory = Some(bytes)),
        get: |config| config.memory.map(size),
    },
    Field {
        name: "memtable_capacity",
        doc: "Writes gathered before a flush, in bytes, all shards together. Larger: fewer and larger flushes, longer\n\
              recovery, more memory. Flag: --memtable-size.",
        default: "64MB, or an eighth of the memory if that is less",
        set: |config, text| parse_size(text).map(|bytes| config.memtable_capacity = Some(bytes)),
        get: |config| config.memtable_capacity.map(size),
    },
    Field {
        name: "block_size",
        doc: "Data block before compression, in bytes, 1KB to 64KB. Larger: smaller index, better compression, more\n\
              bytes per read.",
        default: "4KB",
        set: |config, text| {
            config.block_size = size_between(text, 1 << 10, 64 << 10)?;
            Ok(())
        },
        get: |config| Some(size(config.block_size)),
    },
    Field {
        name: "block_cache_capacity",
        doc: "Cached data blocks, all shards together: a size, or a number of blocks of block_size as in \"65536 blocks\". \
              Larger: fewer reads from disk.",
        default: "what the other parts leave of the memory",
        set: |config, text| {
            config.block_cache_capacity = Some(CacheCapacity::parse(text)?);
            Ok(())
        },
        get: |config| config.block_cache_capacity.map(|capacity| quoted(&capacity.to_string())),
    },
    Field {
        name: "compression",
        doc: "Snappy, for blocks where it pays.",
        default: "true",
        set: |config, text| {
            config.compression = choice(text, &[("true", true), ("false", false)])?;
            Ok(())
        },
        get: |config| Some(config.compression.to_string()),
    },
    Field {
        name: "filter_bits_per_key",
        doc: "Filter memory per key, in bits, 0 (none) to 32. Larger: fewer needless reads of absent keys.",
        default: "10",
        set: |config, text| whole(text, 0, 32).map(|bits| config.filter_bits_per_key = bits),
        get: |config| Some(config.filter_bits_per_key.to_string()),
    },
    Field {
        name: "table_size",
        doc: "Size at which a table is cut, in bytes, 1MB to 1GB. Larger: fewer files, longer compactions.",
        default: "16MB",
        set: |config, text| {
            config.table_size = size_between(text, 1 << 20, 1 << 30)?;
            Ok(())
        },
        get: |config| Some(size(config.table_size)),
    },
    Field {
        name: "verify_tables",
        doc: "true: a new table is read through before the log or the tables that it replaces are given up. What did not\n\
              reach the disk as it was written is found while the data is still elsewhere; all that is written is read\n\
              once more.",
        default: "false",
        set: |config, text| {
            config.verify_tables = choice(text, &[("true", true), ("false", false)])?;
            Ok(())
        },
        get: |config| Some(config.verify_tables.to_string()),
    },
    Field {
        name: "compaction_style",
        doc: "leveled: least space and fewest reads. size-tiered: least writing.",
        default: "leveled",
        set: |config, text| {
            let styles = [
                ("leveled", CompactionStyle::Leveled),
                ("size-tiered", CompactionStyle::SizeTiered),
            ];
            config.compaction_style = choice(text, &styles)?;
            Ok(())
        },
        get: |config| {
            Some(quoted(match config.compaction_style {
                CompactionStyle::Leveled => "leveled",
                CompactionStyle::SizeTiered => "size-tiered",
            }))
        },
    },
    Field {
        name: "wal_segment_size",
        doc: "One segment of the write-ahead log, in bytes, 1MB to 1GB. Larger: fewer files, more written in advance.",
        default: "16MB",
        set: |config, text| {
            config.wal_segment_size = size_between(text, 1 << 20, 1 << 30)?;
            Ok(())
        },
        get: |config| Some(size(config.wal_segment_size)),
    },
    Field {
        name: "wal_capacity",
        doc: "Write-ahead log of one shard at which it is flushed even if its memtable is not full, in bytes.\n\
              Larger: fewer flushes of small writes, longer recovery.",
        default: "256MB",
        set: |config, text| {
            config.wal_capacity = size_between(text, 2 << 20, 1 << 40)?;
            Ok(())
        },
        get: |config| Some(size(config.wal_capacity)),
    },
    Field {
        name: "flushdb",
        doc: "What FLUSHDB does. memtable: writes the memtables to disk, erases nothing. erase: erases all keys.",
        default: "memtable",
        set: |config, text| {
            config.flushdb =
                choice(text, &[("memtable", FlushDb::Memtable), ("erase", FlushDb::Erase)])?;
            Ok(())
        },
        get: |config| Some(quoted(config.flushdb.name())),
    },
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
    Field {
        name: "compaction_thresholds.l0_compact_tables",
        doc: "Tables in level 0 that start a compaction. Larger: fewer and larger merges, slower reads.",
        default: "4",
        set: |config, text| {
            whole(text, 1, 1_000)
                .map(|tables| config.compaction_thresholds.l0_compact_tables = tables)
        },
        get: |config| Some(config.compaction_thresholds.l0_compact_tables.to_string()),
    },
    Field {
        name: "compaction_thresholds.l0_slow_tables",
        doc: "Tables in level 0 from which writes are slowed, in proportion to how many there are.",
        default: "12",
        set: |config, text| {
            whole(text, 1, 1_000).map(|tables| config.compaction_thresholds.l0_slow_tables = tables)
        },
        get: |config| Some(config.compaction_thresholds.l0_slow_tables.to_string()),
    },
    Field {
        name: "compaction_thresholds.l0_stop_tables",
        doc: "Tables in level 0 at which writes wait.",
        default: "24",
        set: |config, text| {
            whole(text, 1, 1_000).map(|tables| config.compaction_thresholds.l0_stop_tables = tables)
        },
        get: |config| Some(config.compaction_thresholds.l0_stop_tables.to_string()),
    },
    Field {
        name: "compaction_thresholds.level_base_bytes",
        doc: "Target of level 1 of one shard, in bytes. Larger: less writing above it, longer merges of level 0.",
        default: "64MB",
        set: |config, text| {
            config.compaction_thresholds.level_base_bytes = size_between(text, 1 << 20, 1 << 40)?;
            Ok(())
        },
        get: |config| Some(size(config.compaction_thresholds.level_base_bytes)),
    },
    Field {
        name: "compaction_thresholds.level_ratio",
        doc: "Target of a level over the one above it. Larger: fewer levels, more written per merge.",
        default: "10",
        set: |config, text| {
            whole(text, 2, 100).map(|ratio| config.compaction_thresholds.level_ratio = ratio)
        },
        get: |config| Some(config.compaction_thresholds.level_ratio.to_string()),
    },
    Field {
        name: "compaction_thresholds.tier_width",
        doc: "size-tiered: tables of similar size that are merged together.",
        default: "4",
        set: |config, text| {
            whole(text, 2, 100).map(|width| config.compaction_thresholds.tier_width = width)
        },
        get: |config| Some(config.compaction_thresholds.tier_width.to_string()),
    },
];

const DEBUG_COMMAND: [(&str, DebugCommand); 3] =
    [("no", DebugCommand::No), ("local", DebugCommand::Local), ("yes", DebugCommand::Yes)];

/// Settings that are secrets: a command line can be read by everyone on the machine.
pub(super) const SECRETS: &[&str] = &["requirepass", "requirepass_sha256", "readonly_password"];

fn password(text: &str) -> Option<PasswordDigest> {
    (!text.is_empty()).then(|| PasswordDigest::of(text.as_bytes()))
}

fn password_digest(text: &str) -> Result<Option<PasswordDigest>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let digest = PasswordDigest::from_hex(text);
    digest.map(Some).ok_or_else(|| "not 64 hexadecimal digits".to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn shown_path(path: Option<&Path>) -> String {
    quoted(&path.unwrap_or(Path::new("")).to_string_lossy())
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// A whole number from `least` to `most`.
fn whole<T: FromStr + TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("'{text}' is not a whole number from {least} to {most}"))
}

/// A whole number from `least` on.
fn integer(text: &str, least: i64) -> Result<i64, String> {
    let number = text.parse::<i64>().ok().filter(|number| *number >= least);
    number.ok_or_else(|| format!("'{text}' is not a whole number from {least} on"))
}

/// `yes` or `no`, as Redis writes them; TOML's own words are taken too.
fn yes_or_no(text: &str) -> Result<bool, String> {
    choice(text, &[("yes", true), ("no", false), ("true", true), ("false", false)])
}

fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

fn size_between(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if (least..=most).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("'{text}' is not between {} and {}", show_size(least), show_size(most)))
    }
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(format!("'{text}' is none of {}", names.join(", ")))
}

fn size(bytes: u64) -> String {
    quoted(&show_size(bytes))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
