//! Moments at which the server was slow, by kind: what LATENCY LATEST, HISTORY and GRAPH show. Each core keeps its own.
//!
//! # Invariants
//! - A series has a sample for each second at most, the worst of it, and `SAMPLES_MAX` of them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

/// Samples kept of one kind (Redis' figure).
const SAMPLES_MAX: usize = 160;

/// What was slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slowness {
    /// A command that is not a fast one (SLOWLOG's time).
    Command,
    FastCommand,
    /// Replies waited for the log.
    WalSync,
    /// A write waited to be admitted.
    WriteStall,
}

impl Slowness {
    const ALL: [Self; 4] = [Self::Command, Self::FastCommand, Self::WalSync, Self::WriteStall];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::WalSync => "wal-sync",
            Self::WriteStall => "write-stall",
        }
    }

    fn cause(self) -> &'static str {
        match self {
            Self::Command | Self::FastCommand => {
                "SLOWLOG GET says which commands; reads of keys that are not in the cache wait for the disk"
            }
            Self::WalSync => {
                "the disk took long to make the log durable; sync everysec does not wait for it"
            }
            Self::WriteStall => {
                "writes came faster than the background could merge them; INFO's stalls_* say why"
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Seconds since 1970.
    pub(crate) at_s: u64,
    pub(crate) ms: u64,
}

/// One kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Series {
    /// Ascending in time.
    pub(crate) samples: VecDeque<Sample>,
    pub(crate) worst_ms: u64,
}

impl Series {
    fn note(&mut self, sample: Sample) {
        self.worst_ms = self.worst_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => last.ms = last.ms.max(sample.ms),
            _ => self.samples.push_back(sample),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Adds another core's.
    fn add(&mut self, other: &Self) {
        let mut all: Vec<Sample> = self.samples.iter().chain(&other.samples).copied().collect();
        all.sort_unstable_by_key(|sample| sample.at_s);
        self.samples.clear();
        let worst_ms = self.worst_ms.max(other.worst_ms);
        for sample in all {
            self.note(sample);
        }
        self.worst_ms = worst_ms;
    }
}

/// All kinds of one core, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllSeries([Series; Slowness::ALL.len()]);

impl AllSeries {
    /// Something took so long; it counts from `threshold_ms` on, and not at all if that is 0.
    pub(crate) fn note(&mut self, what: Slowness, at_s: u64, took: Duration, threshold_ms: u64) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if threshold_ms > 0 && ms >= threshold_ms {
            self.0[what as usize].note(Sample { at_s, ms });
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, series)| sum.add(series));
    }

    /// Those that have samples, by name.
    pub(crate) fn present(&self) -> impl Iterator<Item = (Slowness, &Series)> {
        let all = Slowness::ALL.into_iter().zip(&self.0);
        all.filter(|(_, series)| !series.samples.is_empty())
    }

    pub(crate) fn named(&self, name: &[u8]) -> Option<&Series> {
        let mut present = self.present();
        let is_it = |what: Slowness| name == what.name().as_bytes();
        present.find(|(what, _)| is_it(*what)).map(|(_, series)| series)
    }

    /// Forgets those named, or all if none is; which had samples?
    pub(crate) fn forget(&mut self, names: &[Vec<u8>]) -> Vec<&'static str> {
        let mut forgotten = Vec::new();
        for (what, series) in Slowness::ALL.into_iter().zip(&mut self.0) {
            let is_meant = |name: &Vec<u8>| name == what.name().as_bytes();
            if (names.is_empty() || names.iter().any(is_meant)) && !series.samples.is_empty() {
                *series = Series::default();
                forgotten.push(what.name());
            }
        }
        forgotten
    }

    /// LATENCY DOCTOR, for people.
    pub(crate) fn report(&self, threshold_ms: u64) -> String {
        let mut text = String::new();
        if threshold_ms == 0 {
            text.push_str(
                "Nothing is watched: set latency-monitor-threshold to some milliseconds.\n",
            );
            return text;
        }
        for (what, series) in self.present() {
            let count = series.samples.len() as u64;
            let mean = series.samples.iter().map(|sample| sample.ms).sum::<u64>() / count.max(1);
            // A String takes every write.
            let _ = writeln!(
                text,
                "{}: in {count} seconds at or above {threshold_ms} ms, {mean} ms on average, {} ms at worst. Look at this: {}.",
                what.name(),
                series.worst_ms,
                what.cause()
            );
        }
        if text.is_empty() {
            let _ =
                writeln!(text, "Nothing took {threshold_ms} ms or longer since the last reset.");
        }
        text
    }
}

/// LATENCY GRAPH: a bar for each sample, the newest last.
pub(crate) fn graph(name: &str, series: &Series, now_s: u64) -> String {
    const BARS: usize = 70;
    let skipped = series.samples.len().saturating_sub(BARS);
    let shown = || series.samples.iter().skip(skipped);
    let most = shown().map(|sample| sample.ms).max().unwrap_or(0).max(1);
    let least = shown().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text =
        format!("{name} - high {most} ms, low {least} ms (all time high {} ms)\n", series.worst_ms);
    text.push_str(&"-".repeat(BARS));
    text.push('\n');
    for row in (0..4).rev() {
        let line: String = shown()
            .map(|sample| match (sample.ms * 8).div_ceil(most).saturating_sub(row * 2) {
                0 => ' ',
                1 => '_',
                _ => '#',
            })
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let ages: Vec<String> = shown().map(|sample| age(now_s.saturating_sub(sample.at_s))).collect();
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let line: String = ages.iter().map(|age| age.chars().nth(row).unwrap_or(' ')).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_second_has_its_worst_and_cores_are_put_together() {
        let mut ours = AllSeries::default();
        for (at, took) in [(5, 20), (5, 50), (5, 30), (9, 12), (11, 9)] {
            ours.note(Slowness::Command, at, ms(took), 10);
        }
        ours.note(Slowness::WalSync, 9, ms(500), 0);
        let mut theirs = AllSeries::default();
        theirs.note(Slowness::Command, 7, ms(99), 10);
        theirs.note(Slowness::Command, 9, ms(15), 10);
        ours.add(&theirs);
        let series = ours.named(b"command").unwrap();
        let samples: Vec<(u64, u64)> = series.samples.iter().map(|it| (it.at_s, it.ms)).collect();
        assert_eq!((samples, series.worst_ms), (vec![(5, 50), (7, 99), (9, 15)], 99));
        assert!(ours.named(b"wal-sync").is_none() && ours.report(10).starts_with("command: in 3 "));
        assert_eq!(ours.forget(&[b"wal-sync".to_vec()]), [] as [&str; 0]);
        assert_eq!(ours.forget(&[]), ["command"]);
        assert!(
            ours.report(10).starts_with("Nothing took") && ours.report(0).starts_with("Nothing is")
        );
    }

    #[test]
    fn a_series_is_bounded_and_drawn() {
        let mut all = AllSeries::default();
        (0..400).for_each(|at| all.note(Slowness::WriteStall, at, ms(at + 1), 1));
        let series = all.named(b"write-stall").unwrap();
        assert_eq!((series.samples.len(), series.samples[0].at_s), (SAMPLES_MAX, 240));
        let graph = graph("write-stall", series, 400);
        let lines: Vec<&str> = graph.lines().collect();
        assert_eq!(lines[0], "write-stall - high 400 ms, low 331 ms (all time high 400 ms)");
        assert_eq!((lines[1].len(), lines[5].len()), (70, 70));
        assert!(graph.lines().count() <= 9, "{graph}");
    }
}
