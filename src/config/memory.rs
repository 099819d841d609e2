//! The one memory budget: where it comes from, and how it is split.
//!
//! ```text
//! budget = working memory (fixed, per shard) + connections + table indexes and filters
//!        + memtables (active and sealed) + block cache (the rest)
//! ```
//! A part that is set by hand is taken as it is, or refused with the limit it breaks; nothing is silently made smaller.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use shard::options::{Options, TableOptions};

use super::{ConfigError, LsmConfig, show_size};

const MB: u64 = 1 << 20;
/// Code, log, counters and threads, in bytes.
const PROCESS_BYTES: u64 = 8 * MB;
/// Ring, its buffers, WAL frames, and what one flush and one compaction read and write at a time, per shard, in bytes.
const SHARD_WORK_BYTES: u64 = 8 * MB;
/// Default and largest default of the memtables, all shards together, in bytes.
const MEMTABLES_DEFAULT: u64 = 64 * MB;
/// Smallest memtable of one shard, in bytes: below it a flush is all overhead.
const MEMTABLE_MIN: u64 = 64 << 10;
/// Smallest block cache of one shard, in bytes.
const CACHE_MIN: u64 = MB;
/// Largest default of the longest value, in bytes: it must fit a WAL frame and a memtable.
const VALUE_DEFAULT: u64 = 64 * MB;
/// How many of the longest values the budget holds, by default: what a merge of L0 at its stop may hold, and some.
const VALUES_IN_BUDGET: u64 = 32;
/// Sealed memtables that may wait for their flush, if there is memory for so many.
const SEALED_MAX: u64 = 2;

/// The memory that this process can have, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMemory {
    /// In bytes.
    pub bytes: u64,
    /// Whether a container's limit holds, rather than the machine's size.
    pub is_limit: bool,
}

impl HostMemory {
    /// Of this process: the smallest limit of its control groups (both versions), or the machine's memory.
    pub fn detect() -> Self {
        Self::detect_under(Path::new("/"))
    }

    fn detect_under(root: &Path) -> Self {
        /// If even `/proc` cannot be read.
        const UNKNOWN: u64 = 1 << 30;
        let total = meminfo(root).unwrap_or(UNKNOWN);
        match cgroup_limit(root) {
            Some(limit) if limit < total => Self { bytes: limit, is_limit: true },
            _ => Self { bytes: total, is_limit: false },
        }
    }

    /// The default budget: half of a container, which is ours, a quarter of a machine, which others use too.
    fn share(&self) -> (u64, String) {
        let (part, of) =
            if self.is_limit { (2, "the container's limit of") } else { (4, "the machine's") };
        let share = if part == 2 { "half" } else { "a quarter" };
        let bytes = (self.bytes / part) / MB * MB;
        (bytes, format!("{share} of {of} {}", rounded(self.bytes)))
    }
}

fn meminfo(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The smallest limit on the way from our group to the root of its tree. In a container that tree may be mounted
/// without the path that `/proc/self/cgroup` tells: then its root is our group.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mut least = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (base, name) = if controllers.is_empty() {
            (root.join("sys/fs/cgroup"), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut dir: PathBuf = base.join(path.trim_start_matches('/'));
        while dir.starts_with(&base) {
            let limit = fs::read_to_string(dir.join(name))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            least = least.into_iter().chain(limit).min();
            if !dir.pop() {
                break;
            }
        }
    }
    least
}

/// How the budget is split. In bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    pub budget_bytes: u64,
    /// Where the budget comes from, for people.
    pub derived_from: String,
    pub shards: u32,
    /// One memtable of one shard.
    pub memtable_bytes: u64,
    /// Memtables of one shard that may wait for their flush.
    pub sealed_memtables_max: u64,
    /// Of one shard.
    pub block_cache_bytes: u64,
    /// Indexes and filters of open tables, all shards together.
    pub table_meta_bytes: u64,
    /// Input and output of all connections together.
    pub connection_bytes: u64,
    /// All else that the process needs.
    pub work_bytes: u64,
    /// Longest value.
    pub value_bytes_max: u64,
}

impl fmt::Display for MemoryPlan {
    /// One line, for the banner.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = u64::from(self.shards);
        write!(
            f,
            "{} ({}): memtables {} ({} active + {} sealed, {} shards), block cache {}, indexes and filters {}, \
             connections {}, work {}",
            rounded(self.budget_bytes),
            self.derived_from,
            rounded(self.memtable_bytes * shards * (1 + self.sealed_memtables_max)),
            rounded(self.memtable_bytes * shards),
            self.sealed_memtables_max,
            shards,
            rounded(self.block_cache_bytes * shards),
            rounded(self.table_meta_bytes),
            rounded(self.connection_bytes),
            rounded(self.work_bytes),
        )
    }
}

impl LsmConfig {
    /// Splits the budget over `shards` shards.
    ///
    /// # Errors
    /// The setting that does not fit, its value, and the limit it breaks.
    pub fn derive(&self, shards: u32, host: &HostMemory) -> Result<MemoryPlan, ConfigError> {
        assert!(shards > 0);
        let (budget, derived_from) = match self.memory {
            Some(bytes) => (bytes, "memory".to_owned()),
            None => host.share(),
        };
        let count = u64::from(shards);
        let work = PROCESS_BYTES + count * SHARD_WORK_BYTES;
        let (connections, metas) = (budget / 8, budget / 8);
        let (memtables, sealed) = self.memtables(budget, count)?;
        let left = budget.saturating_sub(work + connections + metas + memtables * (1 + sealed));
        if left < count * CACHE_MIN {
            let least = self.least_budget(work + count * CACHE_MIN);
            return Err(ConfigError::whole(
                "memory",
                show_size(budget),
                format_args!(
                    "too little for {shards} shards with memtables of {}; set it to {} or more, or use fewer \
                     shards, or a smaller memtable_capacity",
                    rounded(memtables),
                    show_size(least)
                ),
            ));
        }
        let cache = match self.block_cache_capacity {
            None => left,
            Some(capacity)
                if (count * CACHE_MIN..=left).contains(&capacity.bytes(self.block_size)) =>
            {
                capacity.bytes(self.block_size)
            }
            Some(capacity) => {
                return Err(ConfigError::whole(
                    "block_cache_capacity",
                    capacity.to_string(),
                    format_args!(
                        "must be between {} and {}, what the other parts leave of memory = {}",
                        show_size(count * CACHE_MIN),
                        rounded(left),
                        show_size(budget)
                    ),
                ));
            }
        };
        Ok(MemoryPlan {
            budget_bytes: budget,
            derived_from,
            shards,
            memtable_bytes: memtables / count,
            sealed_memtables_max: sealed,
            block_cache_bytes: cache / count,
            table_meta_bytes: metas,
            connection_bytes: connections,
            work_bytes: work,
            value_bytes_max: self.longest_value(budget)?,
        })
    }

    /// A budget of whole megabytes that leaves `fixed` bytes beside the parts that grow with it.
    fn least_budget(&self, fixed: u64) -> u64 {
        let bytes = match self.memtable_capacity {
            // Two memtables, and a quarter for connections, indexes and filters.
            Some(memtables) => (fixed + 2 * memtables) * 4 / 3,
            // Three memtables of an eighth each, or of their default, whichever is less.
            None => (fixed * 8 / 3).min((fixed + 3 * MEMTABLES_DEFAULT) * 4 / 3),
        };
        bytes / MB * MB + 2 * MB
    }

    /// Bytes of the active memtables of all shards, and how many sealed ones of each may wait: half of the budget at
    /// most for both.
    fn memtables(&self, budget: u64, shards: u64) -> Result<(u64, u64), ConfigError> {
        let wanted = self.memtable_capacity.unwrap_or(MEMTABLES_DEFAULT.min(budget / 8));
        let (least, most) = (shards * MEMTABLE_MIN, budget / 4);
        if self.memtable_capacity.is_some() && !(least..=most).contains(&wanted) {
            return Err(ConfigError::whole(
                "memtable_capacity",
                show_size(wanted),
                format_args!(
                    "must be between {} ({} a shard) and {} (a quarter of memory = {})",
                    show_size(least),
                    show_size(MEMTABLE_MIN),
                    rounded(most),
                    show_size(budget)
                ),
            ));
        }
        let memtables = wanted.max(least);
        let sealed = if memtables * (1 + SEALED_MAX) <= budget / 2 { SEALED_MAX } else { 1 };
        Ok((memtables, sealed))
    }

    /// A value is in memory up to three times at once on its way in: input, WAL frame, memtable. And a merge or a scan holds
    /// one for each table of L0: by default they are about the budget once more at the worst, by hand it is the operator's choice.
    fn longest_value(&self, budget: u64) -> Result<u64, ConfigError> {
        let limit = budget / 4;
        match self.proto_max_bulk_len {
            None => Ok(VALUE_DEFAULT.min(budget / VALUES_IN_BUDGET / MB * MB).max(MB)),
            Some(bytes) if bytes <= limit => Ok(bytes),
            Some(bytes) => Err(ConfigError::whole(
                "proto_max_bulk_len",
                show_size(bytes),
                format_args!(
                    "above {}, a quarter of memory = {}",
                    rounded(limit),
                    show_size(budget)
                ),
            )),
        }
    }

    /// What each shard is told.
    pub fn shard_options(&self, plan: &MemoryPlan) -> Options {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Options {
            sync: self.sync,
            memtable_bytes: size(plan.memtable_bytes),
            sealed_memtables_max: size(plan.sealed_memtables_max),
            block_cache_bytes: size(plan.block_cache_bytes),
            table_meta_bytes: size(plan.table_meta_bytes / u64::from(plan.shards)),
            wal_segment_bytes: self.wal_segment_size,
            wal_bytes_max: self.wal_capacity,
            value_bytes_max: size(plan.value_bytes_max),
            verify_tables: self.verify_tables,
            shards_beside: plan.shards - 1,
            table: TableOptions {
                block_bytes: size(self.block_size),
                compression: self.compression,
                filter_bits_per_key: size(self.filter_bits_per_key),
                table_bytes: self.table_size,
            },
            style: self.compaction_style,
            thresholds: self.compaction_thresholds.clone(),
            ..Options::default()
        }
    }
}

/// For people: whole megabytes, or less.
fn rounded(bytes: u64) -> String {
    if bytes >= MB { format!("{}MB", bytes / MB) } else { show_size(bytes) }
}

#[cfg(test)]
mod tests {
    use super::super::CacheCapacity;
    use super::*;

    const HOST: HostMemory = HostMemory { bytes: 24 << 30, is_limit: false };

    fn total(plan: &MemoryPlan) -> u64 {
        let per_shard =
            plan.memtable_bytes * (1 + plan.sealed_memtables_max) + plan.block_cache_bytes;
        per_shard * u64::from(plan.shards)
            + plan.table_meta_bytes
            + plan.connection_bytes
            + plan.work_bytes
    }

    #[test]
    fn the_parts_never_exceed_the_budget() {
        for memory in [None, Some(128 * MB), Some(256 * MB), Some(MB * 4096)] {
            for shards in [1, 2, 4] {
                let config = LsmConfig { memory, ..LsmConfig::default() };
                let plan = config.derive(shards, &HOST).unwrap();
                assert!(total(&plan) <= plan.budget_bytes, "{plan}");
                assert!(
                    total(&plan) + u64::from(shards) * 2 > plan.budget_bytes,
                    "nothing is left over: {plan}"
                );
            }
        }
    }

    #[test]
    fn the_default_is_a_stated_share() {
        let plan = LsmConfig::default().derive(2, &HOST).unwrap();
        assert_eq!(plan.budget_bytes, 6 << 30);
        assert_eq!(plan.memtable_bytes * 2, 64 * MB);
        assert_eq!((plan.sealed_memtables_max, plan.value_bytes_max), (2, 64 * MB));
        assert!(
            plan.to_string()
                .starts_with("6144MB (a quarter of the machine's 24576MB): memtables 192MB"),
            "{plan}"
        );
        let container = HostMemory { bytes: 512 * MB, is_limit: true };
        let plan = LsmConfig::default().derive(2, &container).unwrap();
        assert_eq!(plan.budget_bytes, 256 * MB);
        assert_eq!(plan.value_bytes_max, 8 * MB);
        assert!(plan.to_string().contains("half of the container's limit of 512MB"), "{plan}");
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_limit() {
        let refuse = |config: LsmConfig| config.derive(2, &HOST).unwrap_err().to_string();
        let config = LsmConfig { memory: Some(256 * MB), ..LsmConfig::default() };
        let text = refuse(LsmConfig { memory: Some(16 * MB), ..config.clone() });
        assert!(text.contains("memory = 16MB: too little for 2 shards"), "{text}");
        let text = refuse(LsmConfig { memtable_capacity: Some(65 * MB), ..config.clone() });
        assert!(
            text.contains(
                "memtable_capacity = 65MB: must be between 128KB (64KB a shard) and 64MB"
            ),
            "{text}"
        );
        let text = refuse(LsmConfig { memtable_capacity: Some(64 << 10), ..config.clone() });
        assert!(text.contains("memtable_capacity = 64KB"), "{text}");
        let too_large = Some(CacheCapacity::Bytes(1 << 30));
        let text = refuse(LsmConfig { block_cache_capacity: too_large, ..config.clone() });
        assert!(text.contains("block_cache_capacity = 1GB: must be between 2MB and"), "{text}");
        let too_few = Some(CacheCapacity::Blocks(10));
        let text = refuse(LsmConfig { block_cache_capacity: too_few, ..config.clone() });
        assert!(text.contains("block_cache_capacity = 10 blocks: must be between"), "{text}");
        let text = refuse(LsmConfig { proto_max_bulk_len: Some(65 * MB), ..config.clone() });
        assert!(text.contains("proto_max_bulk_len = 65MB: above 64MB"), "{text}");
        // Just as large as it may be: one sealed memtable instead of two.
        let plan =
            LsmConfig { memtable_capacity: Some(64 * MB), ..config }.derive(2, &HOST).unwrap();
        assert_eq!(plan.sealed_memtables_max, 1);
        assert!(total(&plan) <= plan.budget_bytes);
    }

    #[test]
    fn a_too_small_budget_names_one_that_is_enough() {
        for shards in [1, 2, 8, 64] {
            let config = LsmConfig { memory: Some(MB), ..LsmConfig::default() };
            let text = config.derive(shards, &HOST).unwrap_err().to_string();
            let enough = text.split("set it to ").nth(1).unwrap().split(' ').next().unwrap();
            let memory = Some(super::super::parse_size(enough).unwrap());
            let again = LsmConfig { memory, ..LsmConfig::default() };
            assert!(again.derive(shards, &HOST).is_ok(), "{shards} shards: {text}");
        }
    }

    #[test]
    fn shards_are_told_their_part() {
        let config =
            LsmConfig { block_size: 8 << 10, memory: Some(256 * MB), ..LsmConfig::default() };
        let plan = config.derive(2, &HOST).unwrap();
        let options = config.shard_options(&plan);
        assert_eq!(options.memtable_bytes as u64, plan.memtable_bytes);
        assert_eq!(options.table.block_bytes, 8 << 10);
        assert_eq!(options.value_bytes_max as u64, plan.value_bytes_max);
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let detect = || HostMemory::detect_under(root.path());
        write("proc/meminfo", "MemFree: 1 kB\nMemTotal:       8388608 kB\n");
        assert_eq!(detect(), HostMemory { bytes: 8 << 30, is_limit: false });
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        write("sys/fs/cgroup/a/memory.max", "1073741824\n");
        write("sys/fs/cgroup/memory.max", "2147483648\n");
        assert_eq!(detect(), HostMemory { bytes: 1 << 30, is_limit: true });
        // The path is another namespace's: the mounted root is our group.
        write("proc/self/cgroup", "0::/elsewhere/x\n");
        assert_eq!(detect(), HostMemory { bytes: 2 << 30, is_limit: true });
        // The first version, whose "no limit" is a huge number.
        write("proc/self/cgroup", "5:cpu:/\n4:memory,x:/docker/1\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(detect(), HostMemory { bytes: 8 << 30, is_limit: false });
        write("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "536870912\n");
        assert_eq!(detect(), HostMemory { bytes: 512 * MB, is_limit: true });
    }
}
