//! The text of STATS: for people, in a fixed frame whose first and last lines tools may look for.
//!
//! ```text
//! --- DB Stats ---
//!  MemTable Size: 0.12 MB
//!  SSTables (Active): 4
//!  Level Distribution: [2, 1, 0, 0, 0, 0, 0]
//!  ... more lines of the same shape ...
//!  ----------------
//! ```

use std::fmt::Write as _;

use super::info::{list, ratio};
use super::latency::quantile_us;
use crate::latency::{Latencies, add_latencies};

/// What STATS tells, of one shard or summed over all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatsFacts {
    /// Bytes of all memtables, active and sealed.
    pub memtable_bytes: u64,
    pub memtables_sealed: u64,
    pub tables: u64,
    /// Tables of each level.
    pub level_tables: Vec<u64>,
    pub table_bytes: u64,
    pub cache_bytes: u64,
    pub cache_capacity_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// Bytes of live segments.
    pub wal_bytes: u64,
    pub wal_writes: u64,
    pub wal_operations: u64,
    pub keys: u64,
    pub keys_estimated: bool,
    pub stalls: u64,
    /// Of the commands of its core's connections.
    pub get: Option<Latencies>,
    pub set: Option<Latencies>,
}

impl StatsFacts {
    /// Adds another shard.
    pub fn add(&mut self, other: &Self) {
        let levels = self.level_tables.len().max(other.level_tables.len());
        self.level_tables.resize(levels, 0);
        for (sum, tables) in self.level_tables.iter_mut().zip(&other.level_tables) {
            *sum += tables;
        }
        self.memtable_bytes += other.memtable_bytes;
        self.memtables_sealed += other.memtables_sealed;
        self.tables += other.tables;
        self.table_bytes += other.table_bytes;
        self.cache_bytes += other.cache_bytes;
        self.cache_capacity_bytes += other.cache_capacity_bytes;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.wal_bytes += other.wal_bytes;
        self.wal_writes += other.wal_writes;
        self.wal_operations += other.wal_operations;
        self.keys += other.keys;
        self.keys_estimated |= other.keys_estimated;
        self.stalls += other.stalls;
        add_latencies(&mut self.get, other.get.as_ref());
        add_latencies(&mut self.set, other.set.as_ref());
    }
}

/// The block of the whole server, then, if `each_shard`, one of each shard.
pub fn render(shards: &[StatsFacts], each_shard: bool) -> String {
    let mut sum = StatsFacts::default();
    for shard in shards {
        sum.add(shard);
    }
    let mut out = String::with_capacity(512 * (1 + shards.len()));
    block(&mut out, "DB Stats", &sum, Some(shards.len()));
    if each_shard {
        for (index, shard) in shards.iter().enumerate() {
            out.push('\n');
            block(&mut out, &format!("Shard {index} Stats"), shard, None);
        }
    }
    out
}

fn block(out: &mut String, title: &str, facts: &StatsFacts, shards: Option<usize>) {
    let percent = |part, whole| ratio(part, whole) * 100.0;
    let about = if facts.keys_estimated { " (estimated)" } else { "" };
    // A String takes every write.
    let _ = writeln!(out, "--- {title} ---");
    let _ = writeln!(out, " MemTable Size: {:.2} MB", megabytes(facts.memtable_bytes));
    let _ = writeln!(out, " SSTables (Active): {}", facts.tables);
    let _ = writeln!(out, " Level Distribution: {}", list(&facts.level_tables));
    let _ = writeln!(out, " SSTable Size: {:.2} MB", megabytes(facts.table_bytes));
    let _ = writeln!(out, " Sealed MemTables: {}", facts.memtables_sealed);
    let _ = writeln!(
        out,
        " Block Cache: {:.2} of {:.2} MB, {:.1} % hits",
        megabytes(facts.cache_bytes),
        megabytes(facts.cache_capacity_bytes),
        percent(facts.cache_hits, facts.cache_hits + facts.cache_misses),
    );
    let _ = writeln!(
        out,
        " WAL: {:.2} MB, {} writes, {:.1} operations each",
        megabytes(facts.wal_bytes),
        facts.wal_writes,
        ratio(facts.wal_operations, facts.wal_writes),
    );
    let _ = writeln!(out, " Write Stalls: {}", facts.stalls);
    latencies(out, "GET", facts.get.as_ref());
    latencies(out, "SET", facts.set.as_ref());
    let _ = writeln!(out, " Keys: {}{about}", facts.keys);
    if let Some(shards) = shards {
        let _ = writeln!(out, " Shards: {shards}");
    }
    let _ = writeln!(out, " ----------------");
}

fn latencies(out: &mut String, command: &str, latencies: Option<&Latencies>) {
    let _ = match latencies {
        None => writeln!(out, " {command} Latency: none yet"),
        Some(latencies) => {
            let us = |quantile| quantile_us(latencies, quantile);
            let (p50, p99, p999, max) = (us(0.5), us(0.99), us(0.999), us(1.0));
            writeln!(
                out,
                " {command} Latency: p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1} us"
            )
        }
    };
}

fn megabytes(bytes: u64) -> f64 {
    ratio(bytes, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies_of(micros: u64) -> Latencies {
        let mut latencies = crate::latency::no_latencies();
        latencies.saturating_record_n(micros * 1000, 10);
        latencies
    }

    #[test]
    fn the_frame_is_fixed_and_shards_are_summed() {
        let shard = |tables: u64| StatsFacts {
            memtable_bytes: 63 << 10,
            tables,
            level_tables: vec![tables, 1, 0, 0, 0, 0, 0],
            keys: 7,
            keys_estimated: true,
            get: Some(latencies_of(tables * 100)),
            ..StatsFacts::default()
        };
        let text = render(&[shard(2), shard(3)], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "--- DB Stats ---",
                " MemTable Size: 0.12 MB",
                " SSTables (Active): 5",
                " Level Distribution: [5, 2, 0, 0, 0, 0, 0]"
            ]
        );
        assert_eq!(lines.last(), Some(&" ----------------"));
        assert!(lines.contains(&" Keys: 14 (estimated)") && lines.contains(&" Shards: 2"));
        assert!(
            lines.contains(&" GET Latency: p50 200.7, p99 301.1, p99.9 301.1, max 301.1 us"),
            "{text}"
        );
        assert!(lines.contains(&" SET Latency: none yet"));
        let both = render(&[shard(2), shard(3)], true);
        assert!(both.starts_with(&text));
        assert!(
            both.contains(
                "\n--- Shard 1 Stats ---\n MemTable Size: 0.06 MB\n SSTables (Active): 3\n"
            )
        );
        assert_eq!(both.matches(" ----------------\n").count(), 3);
    }
}
