//! Settings that change while the server runs: what CONFIG SET may change, its rules, and what all cores read of it.
//!
//! # Invariants
//! - All of one CONFIG SET is taken, or nothing.
//! - A value is stored here before any core is told to look: whatever the order in which two changes reach a core, the one
//!   that it sees last is the one that stands here.

pub mod notify;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use shard::options::SyncPolicy;

use crate::access::{DigestCell, PasswordDigest, Policy};
use crate::command::CommandError;
use crate::config::{FlushDb, LsmConfig, MemoryPlan, SYNC_NAMES, sync_name};
use crate::overrides::{Outcome, Overrides};
use crate::resp::{Args, strict_number};

/// Longest timeout that CONFIG SET takes, in seconds (Redis' figure).
const TIMEOUT_S_MAX: u64 = i32::MAX as u64;

/// Settings as they are now.
#[derive(Debug, Default)]
pub struct Live {
    /// Index in [`SYNC_NAMES`].
    sync: AtomicU8,
    flushdb_erases: AtomicBool,
    timeout_ms: AtomicU64,
    /// Fixed at start; zero: never.
    request_timeout: Duration,
    clients_max: AtomicU32,
    /// By [`Number::place`].
    numbers: [AtomicI64; NUMBERS.len()],
    /// Flags of [`notify`].
    notify_events: AtomicU32,
    /// The default user's password.
    requirepass: DigestCell,
    /// Who may do what, as far as it is fixed at start.
    policy: Policy,
    /// Settings that CONFIG REWRITE keeps: those that CONFIG SET has changed, and those that were kept before. A bit for each
    /// place in [`Setting::all`].
    changed: AtomicU32,
    overrides: Overrides,
    /// Whom SHUTDOWN tells; empty: nobody stops this one (an embedded engine).
    stop: OnceLock<Sender<StopWish>>,
    /// As many clients as there are descriptors for.
    clients_ceiling: u32,
    /// Everything that CONFIG GET shows, as it was at start.
    at_start: Vec<(String, String)>,
}

/// Somebody wants the server to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopWish {
    /// Only once the checkpoint of SAVE is made.
    pub save: bool,
}

/// A setting that can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Sync,
    FlushDb,
    Timeout,
    MaxClients,
    Notify,
    RequirePass,
    Number(Number),
}

/// A setting that is a whole number and nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    SlowlogLogSlowerThan,
    SlowlogMaxLen,
    LatencyMonitorThreshold,
    LatencyTracking,
    ProtectedMode,
    AtomicTransactions,
}

/// How they are written, and what they may be.
struct NumberRule {
    number: Number,
    name: &'static str,
    least: i64,
    most: i64,
    /// 0 and 1 are `no` and `yes`.
    is_switch: bool,
}

const NUMBERS: [NumberRule; 6] = [
    NumberRule {
        number: Number::SlowlogLogSlowerThan,
        name: "slowlog-log-slower-than",
        least: -1,
        most: i64::MAX,
        is_switch: false,
    },
    NumberRule {
        number: Number::SlowlogMaxLen,
        name: "slowlog-max-len",
        least: 0,
        most: i64::MAX,
        is_switch: false,
    },
    NumberRule {
        number: Number::LatencyMonitorThreshold,
        name: "latency-monitor-threshold",
        least: 0,
        most: i64::MAX,
        is_switch: false,
    },
    NumberRule {
        number: Number::LatencyTracking,
        name: "latency-tracking",
        least: 0,
        most: 1,
        is_switch: true,
    },
    NumberRule {
        number: Number::ProtectedMode,
        name: "protected-mode",
        least: 0,
        most: 1,
        is_switch: true,
    },
    NumberRule {
        number: Number::AtomicTransactions,
        name: "atomic-transactions",
        least: 0,
        most: 1,
        is_switch: true,
    },
];

impl Number {
    /// In [`NUMBERS`] and in [`Live::numbers`].
    const fn place(self) -> usize {
        self as usize
    }
}

const _: () = {
    let mut place = 0;
    while place < NUMBERS.len() {
        assert!(NUMBERS[place].number.place() == place);
        place += 1;
    }
};

/// Its names; more than one for one setting.
const SETTINGS: [(&str, Setting); 7] = [
    ("requirepass", Setting::RequirePass),
    ("notify-keyspace-events", Setting::Notify),
    ("appendfsync", Setting::Sync),
    ("sync", Setting::Sync),
    ("flushdb", Setting::FlushDb),
    ("timeout", Setting::Timeout),
    ("maxclients", Setting::MaxClients),
];

impl Setting {
    fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Sync,
            Self::FlushDb,
            Self::Timeout,
            Self::MaxClients,
            Self::Notify,
            Self::RequirePass,
        ];
        plain.into_iter().chain(NUMBERS.iter().map(|rule| Self::Number(rule.number)))
    }

    /// Its name in a file of settings.
    fn key(self) -> String {
        match self {
            Self::Sync => "sync".into(),
            Self::FlushDb => "flushdb".into(),
            Self::Timeout => "timeout".into(),
            Self::MaxClients => "maxclients".into(),
            Self::Notify => "notify_keyspace_events".into(),
            Self::RequirePass => "requirepass_sha256".into(),
            Self::Number(number) => NUMBERS[number.place()].name.replace('-', "_"),
        }
    }

    fn bit(self) -> u32 {
        Self::all().position(|other| other == self).map_or(0, |place| 1 << place)
    }
}

fn by_key(key: &str) -> Option<Setting> {
    Setting::all().find(|setting| setting.key() == key)
}

/// Whether the setting of that name in a file is one that CONFIG SET changes.
pub(crate) fn can_change(key: &str) -> bool {
    by_key(key).is_some()
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Sync(u8),
    FlushDb(bool),
    TimeoutMs(u64),
    MaxClients(u32),
    Notify(u32),
    RequirePass(Option<PasswordDigest>),
    Number(Number, i64),
}

impl Change {
    fn setting(self) -> Setting {
        match self {
            Self::Sync(_) => Setting::Sync,
            Self::FlushDb(_) => Setting::FlushDb,
            Self::TimeoutMs(_) => Setting::Timeout,
            Self::MaxClients(_) => Setting::MaxClients,
            Self::Notify(_) => Setting::Notify,
            Self::RequirePass(_) => Setting::RequirePass,
            Self::Number(number, _) => Setting::Number(number),
        }
    }
}

impl Live {
    /// As configured. `clients_max` is what the limit of descriptors leaves of the setting, `clients_ceiling` what it would
    /// leave of any.
    pub fn new(
        config: &LsmConfig,
        plan: &MemoryPlan,
        clients_max: u32,
        clients_ceiling: u32,
    ) -> Self {
        let live = Self {
            clients_ceiling,
            at_start: config.redis_settings(plan),
            policy: config.access_policy(),
            request_timeout: config.request_timeout,
            overrides: Overrides::new(config.data_dir.clone()),
            ..Self::default()
        };
        let sync = SYNC_NAMES.iter().position(|(_, policy)| *policy == config.sync);
        live.store(Change::Sync(sync.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)));
        live.store(Change::FlushDb(config.flushdb == FlushDb::Erase));
        live.store(Change::TimeoutMs(millis(config.timeout)));
        live.store(Change::MaxClients(clients_max));
        live.store(Change::Notify(config.notify_keyspace_events));
        live.store(Change::RequirePass(config.requirepass));
        for (number, value) in [
            (Number::SlowlogLogSlowerThan, config.slowlog_log_slower_than),
            (Number::SlowlogMaxLen, config.slowlog_max_len),
            (Number::LatencyMonitorThreshold, config.latency_monitor_threshold),
            (Number::LatencyTracking, i64::from(config.latency_tracking)),
            (Number::ProtectedMode, i64::from(config.protected_mode)),
            (Number::AtomicTransactions, i64::from(config.atomic_transactions)),
        ] {
            live.store(Change::Number(number, value));
        }
        let kept = config.overridden.iter().filter_map(|name| by_key(name));
        live.changed
            .store(kept.map(Setting::bit).fold(0, |bits, bit| bits | bit), Ordering::Relaxed);
        live
    }

    /// With these for CONFIG GET.
    #[cfg(test)]
    pub(crate) fn showing(at_start: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let at_start = at_start.iter().map(own).collect();
        Self { at_start, clients_ceiling: 1_000, clients_max: 500.into(), ..Self::default() }
    }

    pub fn sync(&self) -> SyncPolicy {
        SYNC_NAMES[usize::from(self.sync.load(Ordering::Acquire))].1
    }

    /// What FLUSHDB does.
    pub fn flushdb(&self) -> FlushDb {
        let erases = self.flushdb_erases.load(Ordering::Acquire);
        if erases { FlushDb::Erase } else { FlushDb::Memtable }
    }

    /// Time after which an idle connection is closed; `None`: never.
    pub fn timeout(&self) -> Option<Duration> {
        let ms = self.timeout_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// Time in which a request that was begun must go on; `None`: it need not.
    pub(crate) fn request_timeout(&self) -> Option<Duration> {
        (!self.request_timeout.is_zero()).then_some(self.request_timeout)
    }

    pub fn clients_max(&self) -> u32 {
        self.clients_max.load(Ordering::Relaxed)
    }

    /// Which events of keys are published: flags of [`notify`].
    #[inline]
    pub fn notify_keyspace_events(&self) -> u32 {
        self.notify_events.load(Ordering::Relaxed)
    }

    /// Commands that took at least so many microseconds are kept in the slow log; negative: none, 0: all.
    #[inline]
    pub fn slowlog_log_slower_than_us(&self) -> i64 {
        self.number(Number::SlowlogLogSlowerThan)
    }

    /// Entries that the slow log keeps.
    pub fn slowlog_max_len(&self) -> u64 {
        self.number(Number::SlowlogMaxLen).cast_unsigned()
    }

    /// Events that took at least so many milliseconds are kept for LATENCY; 0: none.
    #[inline]
    pub fn latency_monitor_threshold_ms(&self) -> u64 {
        self.number(Number::LatencyMonitorThreshold).cast_unsigned()
    }

    /// Whether latencies are counted by command.
    #[inline]
    pub fn latency_tracking(&self) -> bool {
        self.number(Number::LatencyTracking) != 0
    }

    /// Whether clients must log in.
    #[inline]
    pub(crate) fn requires_password(&self) -> bool {
        self.requirepass.is_set()
    }

    pub(crate) fn requirepass(&self) -> Option<PasswordDigest> {
        self.requirepass.get()
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// SHUTDOWN tells `stop` once the server serves.
    pub(crate) fn stop_by(&self, stop: Sender<StopWish>) {
        // There is one for the life of the server.
        drop(self.stop.set(stop));
    }

    /// Whether somebody heeds the wish. Does not wait: the channel has no bound, and one message a SHUTDOWN.
    pub(crate) fn ask_to_stop(&self, save: bool) -> bool {
        self.stop.get().is_some_and(|stop| stop.send(StopWish { save }).is_ok())
    }

    /// EXEC refuses what would not be atomic.
    pub(crate) fn atomic_transactions(&self) -> bool {
        self.number(Number::AtomicTransactions) != 0
    }

    /// Clients of other machines are refused: there is no password.
    pub(crate) fn refuses_others(&self) -> bool {
        self.number(Number::ProtectedMode) != 0 && !self.requires_password()
    }

    #[inline]
    fn number(&self, number: Number) -> i64 {
        self.numbers[number.place()].load(Ordering::Relaxed)
    }

    /// CONFIG REWRITE: begins to write the settings that were changed.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) fn rewrite(&self) -> Result<Outcome, String> {
        let changed = self.changed.load(Ordering::Acquire);
        let kept = Setting::all().filter(|setting| changed & setting.bit() != 0);
        let lines: Vec<String> = kept.map(|setting| self.line(setting)).collect();
        self.overrides.write(&lines)
    }

    /// A setting as a line of TOML.
    fn line(&self, setting: Setting) -> String {
        let value = match setting {
            Setting::RequirePass => {
                self.requirepass().map(PasswordDigest::to_hex).unwrap_or_default()
            }
            Setting::Timeout => format!("{}ms", self.timeout_ms.load(Ordering::Relaxed)),
            other => self.show(other),
        };
        // All of them are read from strings, too.
        format!("{} = {}\n", setting.key(), toml::Value::String(value))
    }

    /// Names and values for CONFIG GET.
    pub fn settings(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.at_start.iter().map(|(name, value)| {
            let now = setting(name).map(|setting| Cow::Owned(self.show(setting)));
            (name.as_str(), now.unwrap_or(Cow::Borrowed(value.as_str())))
        })
    }

    fn show(&self, setting: Setting) -> String {
        match setting {
            Setting::Sync => sync_name(self.sync()).into(),
            Setting::FlushDb => self.flushdb().name().into(),
            // Part of a second is not never.
            Setting::Timeout => self.timeout_ms.load(Ordering::Relaxed).div_ceil(1000).to_string(),
            Setting::MaxClients => self.clients_max().to_string(),
            // Nobody needs to read it here: whoever may ask has logged in.
            Setting::RequirePass => if self.requires_password() { "(redacted)" } else { "" }.into(),
            Setting::Notify => notify::show(self.notify_keyspace_events()),
            Setting::Number(number) => {
                match (NUMBERS[number.place()].is_switch, self.number(number)) {
                    (true, on) => if on == 0 { "no" } else { "yes" }.into(),
                    (false, value) => value.to_string(),
                }
            }
        }
    }

    /// CONFIG SET: names and values from the third argument on. `sync` is only stored: the shards are told by the caller.
    ///
    /// # Errors
    /// In Redis' words: the first name that cannot be set, else the first value that cannot be used. Nothing is changed then.
    pub fn set(&self, args: Args<'_>) -> Result<(), CommandError> {
        if !args.len().is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        let pairs = || (2..args.len()).step_by(2).map(|at| (args.arg(at), args.arg(at + 1)));
        let (mut settings, mut changes) = (Vec::new(), Vec::new());
        for (name, value) in pairs() {
            let text = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
            let Some(setting) = setting(&text) else {
                match self.at_start.iter().find(|(known, _)| *known == text) {
                    // Scripts of setups say again what holds anyway: `appendonly yes`, `save ""`.
                    Some((_, now)) if value.eq_ignore_ascii_case(now.as_bytes()) => continue,
                    Some(_) => {
                        return Err(CommandError::config(name, "can't set immutable config"));
                    }
                    None => return Err(CommandError::unknown_setting(name)),
                }
            };
            if settings.contains(&setting) {
                return Err(CommandError::config(name, "duplicate parameter"));
            }
            settings.push(setting);
            changes.push((setting, name, value));
        }
        let parsed = changes.into_iter().map(|(setting, name, value)| {
            self.parse(setting, value).map_err(|problem| CommandError::config(name, problem))
        });
        let changes = parsed.collect::<Result<Vec<_>, _>>()?;
        for change in changes {
            self.store(change);
            self.changed.fetch_or(change.setting().bit(), Ordering::AcqRel);
        }
        Ok(())
    }

    fn parse(&self, setting: Setting, value: &[u8]) -> Result<Change, String> {
        match setting {
            Setting::Sync => {
                let index = choice(value, SYNC_NAMES.map(|(name, _)| name))?;
                Ok(Change::Sync(u8::try_from(index).unwrap_or(0)))
            }
            Setting::FlushDb => {
                let names = [FlushDb::Memtable, FlushDb::Erase].map(FlushDb::name);
                Ok(Change::FlushDb(choice(value, names)? == 1))
            }
            Setting::Timeout => {
                Ok(Change::TimeoutMs(whole(value, 0, TIMEOUT_S_MAX)?.saturating_mul(1000)))
            }
            Setting::RequirePass => {
                Ok(Change::RequirePass((!value.is_empty()).then(|| PasswordDigest::of(value))))
            }
            Setting::Notify => {
                let letters = std::str::from_utf8(value).ok().and_then(notify::parse);
                letters.map(Change::Notify).ok_or_else(|| {
                    "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()
                })
            }
            Setting::Number(number) => {
                let rule = &NUMBERS[number.place()];
                let value = if rule.is_switch {
                    switch(value)?.into()
                } else {
                    integer(value, rule.least, rule.most)?
                };
                Ok(Change::Number(number, value))
            }
            Setting::MaxClients => {
                let clients = whole(value, 1, u32::MAX.into())?;
                match u32::try_from(clients).ok().filter(|clients| *clients <= self.clients_ceiling)
                {
                    Some(clients) => Ok(Change::MaxClients(clients)),
                    None => Err(format!(
                        "The operating system is not able to handle the specified number of clients, try with {}",
                        self.clients_ceiling
                    )),
                }
            }
        }
    }

    fn store(&self, change: Change) {
        match change {
            Change::Sync(index) => self.sync.store(index, Ordering::Release),
            Change::FlushDb(erases) => self.flushdb_erases.store(erases, Ordering::Release),
            Change::TimeoutMs(ms) => self.timeout_ms.store(ms, Ordering::Relaxed),
            Change::MaxClients(clients) => self.clients_max.store(clients, Ordering::Relaxed),
            Change::RequirePass(digest) => self.requirepass.set(digest),
            Change::Notify(flags) => self.notify_events.store(flags, Ordering::Relaxed),
            Change::Number(number, value) => {
                self.numbers[number.place()].store(value, Ordering::Relaxed);
            }
        }
    }
}

fn setting(name: &str) -> Option<Setting> {
    let number = NUMBERS.iter().find(|rule| rule.name == name);
    number
        .map(|rule| Setting::Number(rule.number))
        .or_else(|| SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, setting)| *setting))
}

fn millis(time: Duration) -> u64 {
    // A time below this unit is still no "never".
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn choice<const N: usize>(value: &[u8], names: [&str; N]) -> Result<usize, String> {
    let found = names.iter().position(|name| value.eq_ignore_ascii_case(name.as_bytes()));
    found.ok_or_else(|| format!("argument(s) must be one of the following: {}", names.join(", ")))
}

fn switch(value: &[u8]) -> Result<bool, String> {
    match value {
        _ if value.eq_ignore_ascii_case(b"yes") => Ok(true),
        _ if value.eq_ignore_ascii_case(b"no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn whole(value: &[u8], least: u64, most: u64) -> Result<u64, String> {
    // No bound here is beyond either.
    let bound = |bound| i64::try_from(bound).unwrap_or(i64::MAX);
    integer(value, bound(least), bound(most)).map(i64::cast_unsigned)
}

fn integer(value: &[u8], least: i64, most: i64) -> Result<i64, String> {
    match strict_number(value) {
        None => Err("argument couldn't be parsed into an integer".into()),
        Some(number) if (least..=most).contains(&number) => Ok(number),
        Some(_) => Err(format!("argument must be between {least} and {most} inclusive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Parsed, Parser, ParserLimits, writer};

    fn set(settings: &Live, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut input = Vec::new();
        writer::array(&mut input, words.len());
        for word in &words {
            writer::bulk(&mut input, word.as_bytes());
        }
        let mut parser = Parser::new(ParserLimits::new(1 << 20));
        assert!(matches!(parser.parse(&input), Ok(Parsed::Command { .. })));
        settings.set(parser.args(&input)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_is_taken_whole_or_not_at_all() {
        let live = Live::showing(&[("timeout", ""), ("maxclients", ""), ("port", "1")]);
        set(&live, "CONFIG SET TIMEOUT 5 maxclients 7 Sync everysec flushdb ERASE").unwrap();
        let now = || (live.timeout(), live.clients_max(), live.sync(), live.flushdb());
        let five = Some(Duration::from_secs(5));
        assert_eq!(now(), (five, 7, SyncPolicy::EverySecond, FlushDb::Erase));
        for (line, problem) in [
            ("timeout 6 maxclients 1001", "specified number of clients, try with 1000"),
            ("timeout 6 port 2", "can't set immutable config"),
            ("timeout 6 sync always appendfsync no", "duplicate parameter"),
            ("timeout 6 nosuch 2", "for CONFIG SET - 'nosuch'"),
            ("timeout 6 maxclients", "ERR syntax error"),
        ] {
            let error = set(&live, &format!("CONFIG SET {line}")).unwrap_err();
            assert!(error.ends_with(problem), "{line}: {error}");
            assert_eq!(now(), (five, 7, SyncPolicy::EverySecond, FlushDb::Erase), "{line}");
        }
        let shown: Vec<_> =
            live.settings().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["timeout=5", "maxclients=7", "port=1"]);
    }

    #[test]
    fn what_is_watched_can_be_set() {
        let names = [
            "slowlog-log-slower-than",
            "slowlog-max-len",
            "latency-monitor-threshold",
            "latency-tracking",
            "notify-keyspace-events",
        ];
        let live = Live::showing(&names.map(|name| (name, "")));
        set(&live, "CONFIG SET slowlog-log-slower-than -1 slowlog-max-len 7 latency-tracking YES latency-monitor-threshold 9 notify-keyspace-events KEA")
            .unwrap();
        assert_eq!((live.slowlog_log_slower_than_us(), live.slowlog_max_len()), (-1, 7));
        assert_eq!((live.latency_monitor_threshold_ms(), live.latency_tracking()), (9, true));
        let shown: Vec<_> = live.settings().map(|(_, value)| value.into_owned()).collect();
        assert_eq!(shown, ["-1", "7", "9", "yes", "AKE"]);
        for (line, problem) in [
            (
                "slowlog-log-slower-than -2",
                "argument must be between -1 and 9223372036854775807 inclusive",
            ),
            ("slowlog-max-len -1", "argument must be between 0 and 9223372036854775807 inclusive"),
            ("latency-tracking 1", "argument must be 'yes' or 'no'"),
            ("notify-keyspace-events q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ] {
            let error = set(&live, &format!("CONFIG SET {line}")).unwrap_err();
            assert!(error.ends_with(problem), "{line}: {error}");
        }
    }
}
