//! The layers of settings, and their way back to text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::fields::{self, ALIASES, Field, SECRETS};
use super::secrets;
use super::{ConfigError, LsmConfig, Source};
use crate::limits::CONFIG_BYTES_MAX;
use crate::overrides;

/// What the variables begin with.
pub const ENV_PREFIX: &str = "RUSTY_LSM_";
/// Names the file, for want of `--config`.
const ENV_FILE: &str = "RUSTY_LSM_CONFIG";

/// Defaults, then the file (by `file`, else by `RUSTY_LSM_CONFIG`), then what CONFIG REWRITE has kept in the data directory
/// that all layers together name, then the variables that begin with `RUSTY_LSM_`, then `flags`: each a flag, its setting and
/// its value.
///
/// # Errors
/// The first unknown name, with a suggestion, or unusable value.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(String, String, String)],
) -> Result<LsmConfig, ConfigError> {
    let mut variables: BTreeMap<String, String> =
        environment.filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    let named = variables.remove(ENV_FILE);
    let file = file.or(named.as_deref().map(Path::new));
    let mut files = Vec::new();
    if let Some(path) = file {
        let source = Source::File(path.to_owned());
        let failed = |error| ConfigError::new(&source, error);
        let text = read(path).map_err(failed)?;
        if has_secrets(&text) {
            secrets::is_private(path).map_err(failed)?;
        }
        files.push((text, source));
    }
    let mut config = layers(&files, &variables, flags)?;
    let source = Source::File(config.data_dir.join(overrides::FILE));
    let failed = |error| ConfigError::new(&source, error);
    if let Some(text) = overrides::read(&config.data_dir).map_err(failed)? {
        let kept = overridden(&text).map_err(failed)?;
        files.push((text, source.clone()));
        config = layers(&files, &variables, flags)?;
        config.overridden = kept;
    }
    config.read_secrets()?;
    Ok(config)
}

/// The settings that a file of overrides has.
///
/// # Errors
/// One of them is not for CONFIG SET: the data directory, for one, must not name another.
fn overridden(text: &str) -> Result<Vec<String>, String> {
    let table: toml::Table = text.parse().map_err(|error| format!("not TOML: {error}"))?;
    let names: Vec<String> = table.keys().cloned().collect();
    match names.iter().find(|name| !crate::live::can_change(name)) {
        None => Ok(names),
        Some(name) => {
            Err(format!("{name}: not a setting that CONFIG SET changes; delete the line"))
        }
    }
}

/// Whether a file of settings has a password in it.
fn has_secrets(text: &str) -> bool {
    let table: toml::Table = text.parse().unwrap_or_default();
    table.iter().any(|(name, value)| {
        let is_set = value.as_str().is_none_or(|text| !text.is_empty());
        is_set && SECRETS.contains(&name.replace('-', "_").as_str())
    })
}

/// [`load`] of what was read: the files' texts, the variables with our prefix, the flags.
pub(crate) fn layers(
    files: &[(String, Source)],
    variables: &BTreeMap<String, String>,
    flags: &[(String, String, String)],
) -> Result<LsmConfig, ConfigError> {
    let mut config = LsmConfig::default();
    for (text, source) in files {
        config.apply_toml(text, source)?;
    }
    for (name, value) in variables {
        let source = Source::Environment(name.clone());
        let key = name.strip_prefix(ENV_PREFIX).unwrap_or(name).to_ascii_lowercase();
        let field = find(&key, |field| field.name.replace('.', "_") == key)
            .ok_or_else(|| unknown(&source, &key))?;
        config.set(field, value, &source)?;
    }
    for (flag, key, value) in flags {
        let source = Source::Flag(flag.clone());
        let key = key.replace('-', "_");
        let field = find(&key, |field| field.name == key).ok_or_else(|| unknown(&source, &key))?;
        if SECRETS.contains(&field.name) {
            let problem = "others can read it on a command line; use a file, or the environment";
            // The source would repeat it.
            let source = Source::Flag(format!("--set {}", field.name));
            return Err(ConfigError::new(&source, problem));
        }
        config.set(field, value, &source)?;
    }
    config.check()?;
    Ok(config)
}

impl LsmConfig {
    /// Takes the settings of a TOML file.
    ///
    /// # Errors
    /// As [`load`].
    pub(super) fn apply_toml(&mut self, text: &str, source: &Source) -> Result<(), ConfigError> {
        let table: toml::Table =
            text.parse().map_err(|error| ConfigError::new(source, format!("not TOML: {error}")))?;
        for (key, value) in &table {
            match value {
                toml::Value::Table(inner) => {
                    for (name, value) in inner {
                        self.apply_value(&format!("{key}.{name}"), value, source)?;
                    }
                }
                value => self.apply_value(key, value, source)?,
            }
        }
        Ok(())
    }

    fn apply_value(
        &mut self,
        key: &str,
        value: &toml::Value,
        source: &Source,
    ) -> Result<(), ConfigError> {
        let name = key.replace('-', "_");
        let field = find(&name, |field| field.name == name).ok_or_else(|| unknown(source, key))?;
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => {
                let kind = other.type_str();
                return Err(ConfigError::new(
                    source,
                    format!("{key}: {kind} where one value is expected"),
                ));
            }
        };
        self.set(field, &text, source)
    }

    fn set(&mut self, field: &Field, text: &str, source: &Source) -> Result<(), ConfigError> {
        (field.set)(self, text)
            .map_err(|problem| ConfigError::new(source, format!("{}: {problem}", field.name)))
    }

    /// Each setting by the rule by which its text is read, and all of them together: they may have been given by a program.
    ///
    /// # Errors
    /// The first one that is outside of its limits.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        // Any port that is free: of use to programs alone.
        let text = Self { port: self.port.max(1), ..self.clone() }.to_toml();
        Self::default().apply_toml(&text, &Source::Start)?;
        self.check()
    }

    /// What no single setting can tell.
    fn check(&self) -> Result<(), ConfigError> {
        let has_password =
            self.readonly_password.is_some() || self.readonly_password_file.is_some();
        if !self.readonly_user.is_empty() && !has_password {
            return Err(ConfigError::whole(
                "readonly_user",
                &self.readonly_user,
                "it has no password; set readonly_password_file",
            ));
        }
        if self.tls_port != 0 && (self.tls_cert.is_none() || self.tls_key.is_none()) {
            let problem = "it needs tls_cert and tls_key";
            return Err(ConfigError::whole("tls_port", self.tls_port, problem));
        }
        let needs_no_login = self.http_token.is_none()
            && self.http_token_file.is_none()
            && self.requirepass.is_none()
            && self.requirepass_file.is_none();
        if self.http_port != Some(0) && !self.http_bind.is_loopback() && needs_no_login {
            return Err(ConfigError::whole(
                "http_bind",
                self.http_bind,
                "other machines reach that address, and anyone could read and erase all data; set http_token_file or \
                 requirepass_file",
            ));
        }
        if has_password && self.readonly_user.is_empty() {
            return Err(ConfigError::whole("readonly_password", "..", "there is no readonly_user"));
        }
        let thresholds = &self.compaction_thresholds;
        let (slow, stop) = (thresholds.l0_slow_tables, thresholds.l0_stop_tables);
        if slow < thresholds.l0_compact_tables {
            let limit = thresholds.l0_compact_tables;
            return Err(ConfigError::whole(
                "compaction_thresholds.l0_slow_tables",
                slow,
                format_args!(
                    "below l0_compact_tables = {limit}: writes would slow before anything is compacted"
                ),
            ));
        }
        if stop <= slow {
            return Err(ConfigError::whole(
                "compaction_thresholds.l0_stop_tables",
                stop,
                format_args!("must be above l0_slow_tables = {slow}"),
            ));
        }
        if self.wal_capacity < 2 * self.wal_segment_size {
            return Err(ConfigError::whole(
                "wal_capacity",
                super::show_size(self.wal_capacity),
                format_args!("below two segments of {}", super::show_size(self.wal_segment_size)),
            ));
        }
        Ok(())
    }

    /// All settings as a TOML file with their docs: what is derived at start is commented out. It reads back to the
    /// same settings.
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# Settings of rusty-lsm. Later ones win: defaults, this file, RUSTY_LSM_* variables, flags.\n\
             # Sizes: \"64MB\" or bytes; 1 MB is 1024 KB, 1 KB is 1024 bytes. Times: \"5s\", \"100ms\".\n",
        );
        let mut table = "";
        for field in fields::all() {
            let (section, name) = field.name.split_once('.').unwrap_or(("", field.name));
            if section != table {
                // A String takes every write.
                let _ = writeln!(out, "\n[{section}]");
                table = section;
            }
            out.push('\n');
            for line in field.doc.lines() {
                let _ = writeln!(out, "# {line}");
            }
            let default = if field.default.is_empty() { "none" } else { field.default };
            let _ = writeln!(out, "# Default: {default}.");
            let _ = match (field.get)(self) {
                Some(value) => writeln!(out, "{name} = {value}"),
                None => writeln!(out, "# {name} ="),
            };
        }
        out
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let read = file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes as u64 > CONFIG_BYTES_MAX {
        return Err(format!("longer than {CONFIG_BYTES_MAX} bytes: is it a settings file?"));
    }
    Ok(text)
}

fn find(key: &str, is: impl Fn(&Field) -> bool) -> Option<&'static Field> {
    if let Some((_, name)) = ALIASES.iter().find(|(alias, _)| *alias == key) {
        return fields::all().find(|field| field.name == *name);
    }
    fields::all().find(|field| is(field))
}

/// The error for a name that is no setting, with the nearest that is.
fn unknown(source: &Source, key: &str) -> ConfigError {
    /// Below this, a suggestion would be a guess.
    const SIMILARITY_MIN: f64 = 0.8;
    let wanted = key.replace('-', "_");
    let similarity = |name: &str| {
        let last = name.split('.').next_back().unwrap_or(name);
        strsim::jaro_winkler(name, &wanted).max(strsim::jaro_winkler(last, &wanted))
    };
    let nearest = fields::all()
        .map(|field| field.name)
        .chain(ALIASES.iter().map(|(alias, _)| *alias))
        .map(|name| (similarity(name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN);
    let hint = match (nearest, source) {
        (None, _) => "; --print-config lists all settings".to_owned(),
        (Some((_, name)), Source::Environment(_)) => {
            format!("; did you mean {ENV_PREFIX}{}?", name.replace('.', "_").to_ascii_uppercase())
        }
        (Some((_, name)), _) => format!("; did you mean '{name}'?"),
    };
    ConfigError::new(source, format!("unknown setting '{key}'{hint}"))
}
