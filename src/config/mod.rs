//! Settings: one struct, filled by defaults < TOML file < environment < flags.
//!
//! - `fields`: the one table of names, docs, parsers and printers. File keys, `RUSTY_LSM_*`, `--print-config` and
//!   CONFIG GET come from it.
//! - `load`: the layers, unknown names, `--print-config`.
//! - `memory`: the one budget and its split.
//! - `redis_names`: what CONFIG GET says of Redis' settings that are fixed here.
//! - `secrets`: passwords that lie in files of their own.
//! - `value`: sizes and times as text.

mod fields;
mod load;
mod memory;
mod redis_names;
mod secrets;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::access::{DebugCommand, PasswordDigest, Policy};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use load::layers;
pub use load::{ENV_PREFIX, load};
pub use memory::{HostMemory, MemoryPlan};
pub(crate) use secrets::{is_private, password};
use shard::options::{CompactionStyle, CompactionThresholds, SyncPolicy};
pub use value::{CacheCapacity, parse_seconds, parse_size, parse_time, show_size, show_time};

/// What FLUSHDB does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushDb {
    /// Writes the memtables to disk; erases nothing.
    #[default]
    Memtable,
    /// Erases all keys, as in Redis.
    Erase,
}

impl FlushDb {
    /// As the setting is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memtable => "memtable",
            Self::Erase => "erase",
        }
    }
}

/// The values of `sync`, as they are written, in Redis' order.
pub const SYNC_NAMES: [(&str, SyncPolicy); 3] = [
    ("everysec", SyncPolicy::EverySecond),
    ("always", SyncPolicy::Always),
    ("no", SyncPolicy::Never),
];

/// As the setting is written.
pub fn sync_name(policy: SyncPolicy) -> &'static str {
    match policy {
        SyncPolicy::Always => "always",
        SyncPolicy::EverySecond => "everysec",
        SyncPolicy::Never => "no",
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// From which importance on lines are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Everything that can be set. Units, costs and defaults are told by the field table, for people too; `None` means
/// "derived at start".
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each yes or no by itself")]
pub struct LsmConfig {
    pub port: u16,
    pub unixsocket: Option<PathBuf>,
    pub unixsocketperm: u32,
    /// 0: none.
    pub tls_port: u16,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_ca: Option<PathBuf>,
    pub bind: IpAddr,
    /// 0: none; `None`: the default, and none if that is taken.
    pub http_port: Option<u16>,
    pub http_bind: IpAddr,
    pub http_token: Option<PasswordDigest>,
    /// Read once all layers are known.
    pub http_token_file: Option<PathBuf>,
    /// Further names under which HTTP is asked for.
    pub http_hosts: Vec<String>,
    /// Bytes.
    pub http_body_max: Option<u64>,
    /// The default user's; `None`: it needs none.
    pub requirepass: Option<PasswordDigest>,
    /// Read once all layers are known.
    pub requirepass_file: Option<PathBuf>,
    /// Its name; empty: there is none.
    pub readonly_user: String,
    pub readonly_password: Option<PasswordDigest>,
    pub readonly_password_file: Option<PathBuf>,
    /// Commands and categories that nobody may use, as text that was checked.
    pub deny_commands: String,
    pub protected_mode: bool,
    pub allow_remote_admin: bool,
    pub enable_debug_command: DebugCommand,
    pub data_dir: PathBuf,
    /// `None`: in the data directory.
    pub backup_dir: Option<PathBuf>,
    pub shards: Option<u32>,
    pub sync: SyncPolicy,
    /// Bytes, the whole process.
    pub memory: Option<u64>,
    /// Bytes, all shards together.
    pub memtable_capacity: Option<u64>,
    /// Bytes.
    pub block_size: u64,
    /// All shards together.
    pub block_cache_capacity: Option<CacheCapacity>,
    pub compression: bool,
    pub filter_bits_per_key: u64,
    /// Bytes.
    pub table_size: u64,
    pub verify_tables: bool,
    pub compaction_style: CompactionStyle,
    pub compaction_thresholds: CompactionThresholds,
    /// Bytes.
    pub wal_segment_size: u64,
    /// Bytes, one shard.
    pub wal_capacity: u64,
    pub flushdb: FlushDb,
    pub maxclients: u32,
    /// Zero: never.
    pub timeout: Duration,
    /// Zero: never.
    pub request_timeout: Duration,
    /// Zero: off.
    pub tcp_keepalive: Duration,
    /// Bytes.
    pub proto_max_bulk_len: Option<u64>,
    /// Microseconds; negative: off.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: i64,
    /// Milliseconds; 0: off.
    pub latency_monitor_threshold: i64,
    pub latency_tracking: bool,
    /// EXEC refuses a transaction that is not all in one shard.
    pub atomic_transactions: bool,
    /// Flags of [`crate::live::notify`].
    pub notify_keyspace_events: u32,
    pub log_format: LogFormat,
    pub log_level: LogLevel,
    /// Not a setting: the names of those that the data directory's overrides have.
    pub overridden: Vec<String>,
}

impl Default for LsmConfig {
    fn default() -> Self {
        Self {
            port: 8080,
            unixsocket: None,
            unixsocketperm: 0o700,
            tls_port: 0,
            tls_cert: None,
            tls_key: None,
            tls_ca: None,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http_port: None,
            http_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http_token: None,
            http_token_file: None,
            http_hosts: Vec::new(),
            http_body_max: None,
            requirepass: None,
            requirepass_file: None,
            readonly_user: String::new(),
            readonly_password: None,
            readonly_password_file: None,
            deny_commands: String::new(),
            protected_mode: true,
            allow_remote_admin: false,
            enable_debug_command: DebugCommand::No,
            data_dir: "./db_data".into(),
            backup_dir: None,
            shards: None,
            sync: SyncPolicy::Always,
            memory: None,
            memtable_capacity: None,
            block_size: 4 << 10,
            block_cache_capacity: None,
            compression: true,
            filter_bits_per_key: 10,
            table_size: 16 << 20,
            verify_tables: false,
            compaction_style: CompactionStyle::Leveled,
            compaction_thresholds: CompactionThresholds::default(),
            wal_segment_size: 16 << 20,
            wal_capacity: 256 << 20,
            flushdb: FlushDb::Memtable,
            maxclients: 10_000,
            timeout: Duration::ZERO,
            request_timeout: Duration::from_secs(60),
            tcp_keepalive: Duration::from_secs(60),
            proto_max_bulk_len: None,
            slowlog_log_slower_than: 10_000,
            slowlog_max_len: 128,
            latency_monitor_threshold: 0,
            latency_tracking: true,
            atomic_transactions: false,
            notify_keyspace_events: 0,
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            overridden: Vec::new(),
        }
    }
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// The variable's name.
    Environment(String),
    /// The flag, with its dashes.
    Flag(String),
    /// Derived or default.
    Start,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Start => f.write_str("the settings as a whole"),
        }
    }
}

/// A setting that cannot be used: what, where, limit, remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    source: Source,
    text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.text)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn new(source: &Source, text: impl Into<String>) -> Self {
        Self { source: source.clone(), text: text.into() }
    }

    /// Of a word on the command line that is no setting.
    pub(crate) fn of_flag(flag: &str, text: impl Into<String>) -> Self {
        Self { source: Source::Flag(flag.to_owned()), text: text.into() }
    }

    /// Of a setting that does not fit with the others, or with the machine.
    fn whole(field: &str, value: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { source: Source::Start, text: format!("{field} = {value}: {problem}") }
    }

    /// Whether the command line is wrong, rather than the configuration.
    pub fn is_usage(&self) -> bool {
        matches!(self.source, Source::Flag(_))
    }
}

impl LsmConfig {
    pub(crate) fn access_policy(&self) -> Policy {
        let name = self.readonly_user.clone();
        Policy {
            readonly: self.readonly_password.map(|digest| (name, digest)),
            // Checked when it was set.
            denied: crate::access::deny_list(&self.deny_commands).unwrap_or_default(),
            allow_remote_admin: self.allow_remote_admin,
            debug: self.enable_debug_command,
        }
    }

    /// In Redis' words.
    fn redis_log_level(&self) -> &'static str {
        match self.log_level {
            LogLevel::Error | LogLevel::Warn => "warning",
            LogLevel::Info => "notice",
            LogLevel::Debug => "verbose",
            LogLevel::Trace => "debug",
        }
    }

    /// Names and values for CONFIG GET: Redis' names first, as tools ask for them, then ours.
    pub fn redis_settings(&self, plan: &MemoryPlan) -> Vec<(String, String)> {
        let sync = sync_name(self.sync);
        let dir = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
        let redis = [
            ("appendfsync", sync.to_owned()),
            ("bind", self.bind.to_string()),
            ("dir", dir.display().to_string()),
            ("maxclients", self.maxclients.to_string()),
            ("maxmemory", plan.budget_bytes.to_string()),
            ("loglevel", self.redis_log_level().into()),
            ("port", self.port.to_string()),
            ("proto-max-bulk-len", plan.value_bytes_max.to_string()),
            ("requirepass", String::new()),
            ("tcp-keepalive", self.tcp_keepalive.as_secs().to_string()),
            ("timeout", self.timeout.as_secs().to_string()),
        ];
        let mut settings: Vec<(String, String)> =
            redis.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, value) in redis_names::FIXED {
            if settings.iter().all(|(known, _)| known != name) {
                settings.push(((*name).into(), (*value).into()));
            }
        }
        for field in fields::all() {
            // What is kept of passwords is not shown.
            if fields::SECRETS.contains(&field.name) && field.name != "requirepass" {
                continue;
            }
            let name = field.name.replace('_', "-");
            if settings.iter().all(|(known, _)| *known != name) {
                let value = (field.get)(self).unwrap_or_default();
                settings.push((name, value.trim_matches('"').to_owned()));
            }
        }
        settings
    }
}
