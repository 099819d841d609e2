//! Data, memory and tables.

use shard::options::{CompactionStyle, SyncPolicy};

use super::{Field, choice, path, quoted, shown_path, size, size_between, whole};
use crate::config::value::{CacheCapacity, parse_size};
use crate::config::{FlushDb, sync_name};
use crate::limits::SHARDS_MAX;

pub(super) static FIELDS: &[Field] = &[
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
        doc: "LSM trees, each on a core of its own. The data directory keeps its number until `rusty-lsm reshard` changes it.",
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
];
