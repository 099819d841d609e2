//! When levels are merged and writes slowed.

use super::{Field, size, size_between, whole};

pub(super) static FIELDS: &[Field] = &[
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
