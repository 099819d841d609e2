//! Settings from everywhere.
//!
//! Input: text. A line `env NAME=value` is a variable (the prefix is added), `flag name=value` a flag, `host BYTES` a
//! container's limit; all other lines together are the file.
//!
//! What holds: an error names its source, in bounded length; settings that were taken, printed as `--print-config` does, are
//! read back as the same; the parts of a memory plan never exceed its budget; the order of layers is that of the docs.

use std::collections::BTreeMap;

use crate::config::{ENV_PREFIX, HostMemory, LsmConfig, Source, layers};
use crate::limits::SHARDS_MAX;

/// Most that an error says beyond what it quotes, in bytes.
const ERROR_TEXT_BYTES_MAX: usize = 4 << 10;

/// See the module's head.
///
/// # Panics
/// If something does not hold.
pub fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let source = Source::File("x.toml".into());
    let (mut file, mut variables, mut flags) = (String::new(), BTreeMap::new(), Vec::new());
    let mut host = HostMemory { bytes: 24 << 30, is_limit: false };
    for line in text.split_inclusive('\n') {
        let pair = |rest: &str| {
            let (name, value) = rest.trim_end_matches('\n').split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        if let Some((name, value)) = line.strip_prefix("env ").and_then(pair) {
            variables.insert(format!("{ENV_PREFIX}{name}"), value);
        } else if let Some((name, value)) = line.strip_prefix("flag ").and_then(pair) {
            flags.push((format!("--{name}"), name, value));
        } else if let Some(bytes) = line.strip_prefix("host ").and_then(|n| n.trim().parse().ok()) {
            host = HostMemory { bytes, is_limit: true };
        } else {
            file.push_str(line);
        }
    }
    // Every name of a variable is the prefix and one setting: `find` must not take anything else off it.
    let twice = variables.keys().any(|name| name[ENV_PREFIX.len()..].starts_with(ENV_PREFIX));
    match layers(&[(file, source)], &variables, &flags) {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(": "), "no source: {text}");
            // The parser of TOML shows the line; we quote a name or a value, a name twice.
            assert!(text.len() <= 4 * input.len() * 3 + ERROR_TEXT_BYTES_MAX, "{}", text.len());
        }
        Ok(config) => {
            assert!(!twice, "a prefix that stands twice is taken for one");
            taken(&config, &host, flags.last());
        }
    }
}

/// What must hold of settings that were taken.
fn taken(config: &LsmConfig, host: &HostMemory, last: Option<&(String, String, String)>) {
    // Passwords are not printed, nor does the user make sense without its own.
    let config = &LsmConfig {
        requirepass: None,
        readonly_user: String::new(),
        readonly_password: None,
        readonly_password_file: None,
        ..config.clone()
    };
    let printed = config.to_toml();
    let source = Source::File("printed.toml".into());
    let files = [(printed, source)];
    let again = layers(&files, &BTreeMap::new(), &[]);
    assert_eq!(again.as_ref(), Ok(config), "what is printed reads back\n{}", files[0].0);
    if let Some(last) = last {
        // The last flag wins over all else: once more, it changes nothing.
        let again = layers(&files, &BTreeMap::new(), std::slice::from_ref(last));
        assert_eq!(again.as_ref(), Ok(config), "the last flag did not win: {last:?}");
    }
    let shards = config.shards.unwrap_or(2);
    assert!((1..=SHARDS_MAX).contains(&shards));
    match config.derive(shards, host) {
        Err(error) => assert!(!error.is_usage(), "{error}"),
        Ok(plan) => {
            let count = u64::from(plan.shards);
            let memtables = plan.memtable_bytes * count * (1 + plan.sealed_memtables_max);
            let parts = [
                memtables,
                plan.block_cache_bytes * count,
                plan.table_meta_bytes,
                plan.connection_bytes,
                plan.work_bytes,
            ];
            let sum: u128 = parts.into_iter().map(u128::from).sum();
            assert!(sum <= u128::from(plan.budget_bytes), "{plan}");
            assert!(plan.value_bytes_max > 0 && plan.memtable_bytes > 0);
            let options = config.shard_options(&plan);
            assert!(options.wal_bytes_max >= 2 * options.wal_segment_bytes);
            assert!(!config.redis_settings(&plan).is_empty());
        }
    }
}
