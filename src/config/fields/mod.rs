//! The table of settings. A new setting is a field of `LsmConfig`, a default, and an entry in one of the files here, each for
//! an area; this file has what they share.

mod data;
mod doors;
mod http;
mod thresholds;
mod traffic;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::LsmConfig;
use super::value::{parse_size, show_size};
use crate::access::PasswordDigest;

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

/// All of them, those of the file's tables last.
pub(super) fn all() -> impl Iterator<Item = &'static Field> {
    [doors::FIELDS, http::FIELDS, data::FIELDS, traffic::FIELDS, thresholds::FIELDS]
        .into_iter()
        .flatten()
}

/// Settings that are secrets: a command line can be read by everyone on the machine.
pub(super) const SECRETS: &[&str] =
    &["requirepass", "requirepass_sha256", "readonly_password", "http_token"];

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
