//! Layers, unknown names, and the way through `--print-config`.

use super::*;

fn from_toml(text: &str) -> Result<LsmConfig, ConfigError> {
    let mut config = LsmConfig::default();
    config.apply_toml(text, &Source::File("x.toml".into())).map(|()| config)
}

fn with(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<LsmConfig, ConfigError> {
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<_> = flags
        .iter()
        .map(|(key, value)| (format!("--{key}"), (*key).to_owned(), (*value).to_owned()))
        .collect();
    load(None, environment, &flags)
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    std::fs::write(&file, "port = 1\nbind = \"::1\"\nmaxclients = 5\nblock_size = 8192\n").unwrap();
    let environment = [
        ("RUSTY_LSM_PORT", "2"),
        ("RUSTY_LSM_MAXCLIENTS", "6"),
        ("RUSTY_LSM_COMPACTION_THRESHOLDS_LEVEL_RATIO", "7"),
        ("PATH", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flags = [("--port".to_owned(), "port".to_owned(), "3".to_owned())];
    let config = load(Some(&file), environment.clone().into_iter(), &flags).unwrap();
    assert_eq!((config.port, config.maxclients, config.block_size), (3, 6, 8192));
    assert_eq!(config.bind.to_string(), "::1");
    assert_eq!(config.compaction_thresholds.level_ratio, 7);
    let named = ("RUSTY_LSM_CONFIG".to_owned(), file.display().to_string());
    let config = load(None, environment.into_iter().chain([named]), &[]).unwrap();
    assert_eq!((config.port, config.block_size), (2, 8192));
}

#[test]
fn values_are_refused_with_source_name_and_limit() {
    let text = |result: Result<LsmConfig, ConfigError>| result.unwrap_err().to_string();
    assert_eq!(
        text(with(&[], &[("port", "0")])),
        "--port: port: '0' is not a whole number from 1 to 65535"
    );
    assert_eq!(
        text(with(&[("RUSTY_LSM_BLOCK_SIZE", "128KB")], &[])),
        "the environment variable RUSTY_LSM_BLOCK_SIZE: block_size: '128KB' is not between 1KB and 64KB"
    );
    assert_eq!(
        text(from_toml("sync = \"never\"")),
        "x.toml: sync: 'never' is none of always, everysec, no"
    );
    assert_eq!(text(from_toml("port = [1]")), "x.toml: port: array where one value is expected");
    assert!(text(from_toml("port = ")).starts_with("x.toml: not TOML: "));
    assert!(text(from_toml("timeout = \"5 x\"")).contains("not a time"));
    assert_eq!(from_toml("timeout = 5").unwrap().timeout.as_secs(), 5, "as in Redis");
    assert!(with(&[], &[("port", "0")]).unwrap_err().is_usage());
    assert!(!from_toml("port = 0").unwrap_err().is_usage());
    let missing = load(Some("/nonexistent/x.toml".as_ref()), std::iter::empty(), &[]);
    assert!(text(missing).starts_with("/nonexistent/x.toml: cannot be opened: "));
}

#[test]
fn unknown_names_are_errors_with_a_suggestion() {
    let text = |result: Result<LsmConfig, ConfigError>| result.unwrap_err().to_string();
    assert_eq!(text(from_toml("prot = 1")), "x.toml: unknown setting 'prot'; did you mean 'port'?");
    assert_eq!(
        text(from_toml("[compaction_thresholds]\nlevel_ration = 1")),
        "x.toml: unknown setting 'compaction_thresholds.level_ration'; did you mean 'compaction_thresholds.level_ratio'?"
    );
    assert!(text(from_toml("memtable_sise = 1")).ends_with("did you mean 'memtable_size'?"));
    assert!(text(from_toml("zzz = 1")).ends_with("--print-config lists all settings"));
    assert!(text(with(&[("RUSTY_LSM_PROT", "1")], &[])).ends_with("did you mean RUSTY_LSM_PORT?"));
}

#[test]
fn other_names_mean_the_same() {
    assert_eq!(from_toml("memtable-size = \"8MB\"").unwrap().memtable_capacity, Some(8 << 20));
    assert_eq!(from_toml("memtable_capacity = \"8MB\"").unwrap().memtable_capacity, Some(8 << 20));
    assert_eq!(from_toml("appendfsync = \"everysec\"").unwrap().sync, SyncPolicy::EverySecond);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let check = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.toml");
        std::fs::write(&file, text).unwrap();
        load(Some(&file), std::iter::empty(), &[]).unwrap_err().to_string()
    };
    assert!(
        check("[compaction_thresholds]\nl0_stop_tables = 12")
            .contains("l0_stop_tables = 12: must be above")
    );
    assert!(
        check("[compaction_thresholds]\nl0_slow_tables = 3")
            .contains("below l0_compact_tables = 4")
    );
    assert!(check("wal_capacity = \"16MB\"").contains("below two segments of 16MB"));
}

#[test]
fn the_printed_file_reads_back_to_the_same_settings() {
    assert_eq!(from_toml(&LsmConfig::default().to_toml()).unwrap(), LsmConfig::default());
    let mut odd = LsmConfig {
        port: 1,
        bind: "::".parse().unwrap(),
        data_dir: "a \"b\"\\c".into(),
        shards: Some(3),
        sync: SyncPolicy::Never,
        memory: Some(1_000_001),
        memtable_capacity: Some(1 << 30),
        block_cache_capacity: Some(CacheCapacity::Blocks(768)),
        compression: false,
        verify_tables: true,
        compaction_style: CompactionStyle::SizeTiered,
        flushdb: FlushDb::Erase,
        timeout: Duration::from_millis(1500),
        proto_max_bulk_len: Some(1 << 20),
        log_format: LogFormat::Json,
        log_level: LogLevel::Trace,
        ..LsmConfig::default()
    };
    odd.compaction_thresholds.tier_width = 9;
    let text = odd.to_toml();
    assert_eq!(from_toml(&text).unwrap(), odd, "{text}");
    assert!(text.contains("# Default: 4KB.\nblock_size = \"4KB\"\n"), "{text}");
}

/// The docs say what the code does.
#[test]
fn stated_defaults_are_the_defaults() {
    for field in fields::all() {
        let Some(value) = (field.get)(&LsmConfig::default()) else { continue };
        let mut config = LsmConfig::default();
        (field.set)(&mut config, field.default).unwrap();
        assert_eq!(config, LsmConfig::default(), "{} = {value}", field.name);
        assert!(field.doc.ends_with('.'), "{}", field.name);
    }
}

#[test]
fn config_get_knows_redis_names_and_ours_once() {
    let host = HostMemory { bytes: 8 << 30, is_limit: false };
    let config = LsmConfig::default();
    let settings = config.redis_settings(&config.derive(2, &host).unwrap());
    let get = |name: &str| {
        let found: Vec<_> = settings.iter().filter(|(known, _)| known == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0].1.as_str()
    };
    assert_eq!((get("save"), get("appendonly"), get("appendfsync")), ("", "yes", "always"));
    assert_eq!((get("databases"), get("maxmemory"), get("port")), ("1", "2147483648", "8080"));
    assert_eq!((get("block-size"), get("flushdb"), get("timeout")), ("4KB", "memtable", "0"));
    assert_eq!(get("compaction-thresholds.level-ratio"), "10");
}

/// What a program fills in is held to the same rules as what is read, and the defaults are within them.
#[test]
fn values_of_a_program_have_the_same_limits() {
    LsmConfig::default().validate().unwrap();
    LsmConfig { port: 0, ..LsmConfig::default() }.validate().unwrap();
    let text = |config: LsmConfig| config.validate().unwrap_err().to_string();
    assert_eq!(
        text(LsmConfig { block_size: 1 << 20, ..LsmConfig::default() }),
        "the settings as a whole: block_size: '1MB' is not between 1KB and 64KB"
    );
    let wrong = LsmConfig { wal_capacity: 16 << 20, ..LsmConfig::default() };
    assert!(text(wrong).contains("below two segments"));
}
