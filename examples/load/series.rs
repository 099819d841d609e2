//! A row a second, over all threads, in constant memory: a second is closed once every thread is past it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tally::Second;

/// One second, counted from the end of the warm-up, by when the answers came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeriesRow {
    pub(crate) second: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// The longest time without an answer that ended in this second, on the thread that waited longest.
    #[serde(default)]
    pub(crate) gap_us: f64,
}

impl SeriesRow {
    fn new(second: &Second) -> Self {
        let quantile = |quantile| second.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            second: second.index,
            requests: second.requests,
            errors: second.errors,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: second.latencies.max() as f64 / 1e3,
            gap_us: second.gap_ns as f64 / 1e3,
        }
    }
}

/// Collects the seconds of all threads.
#[derive(Debug)]
pub(crate) struct Series {
    rows: Vec<SeriesRow>,
    open: BTreeMap<u64, Second>,
    /// By thread: the second that it last handed over.
    reached: Vec<Option<u64>>,
}

impl Series {
    pub(crate) fn new(threads: usize) -> Self {
        Self { rows: Vec::new(), open: BTreeMap::new(), reached: vec![None; threads] }
    }

    /// Adds one thread's second, and returns the rows that are complete by it.
    pub(crate) fn add(&mut self, second: Second) -> &[SeriesRow] {
        let before = self.rows.len();
        let (thread, index) = (second.thread, second.index);
        assert!(self.reached[thread] < Some(index), "a thread's seconds come in order");
        self.reached[thread] = Some(index);
        match self.open.get_mut(&index) {
            Some(open) => open.merge(&second),
            None => drop(self.open.insert(index, second)),
        }
        if let Some(Some(reached)) = self.reached.iter().min().copied() {
            self.close(reached);
        }
        &self.rows[before..]
    }

    /// Closes all seconds up to `last`; those in which nobody was answered have rows, too.
    fn close(&mut self, last: u64) {
        while let Some(entry) = self.open.first_entry()
            && *entry.key() <= last
        {
            let second = entry.remove();
            while (self.rows.len() as u64) < second.index {
                self.rows.push(SeriesRow::new(&Second::new(0, self.rows.len() as u64)));
            }
            self.rows.push(SeriesRow::new(&second));
        }
    }

    pub(crate) fn finish(mut self) -> Vec<SeriesRow> {
        self.close(u64::MAX);
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(thread: usize, index: u64, latencies_us: &[u64]) -> Second {
        let mut second = Second::new(thread, index);
        second.gap_ns = 1000 * (thread as u64 + 1);
        for us in latencies_us {
            second.requests += 1;
            second.latencies.saturating_record(us * 1000);
        }
        second
    }

    /// Reports of before have no gaps, and can be compared all the same.
    #[test]
    fn a_row_without_a_gap_is_read() {
        let text =
            r#"{"second":3,"requests":5,"errors":0,"p50_us":1,"p99_us":2,"p999_us":3,"max_us":4}"#;
        let row: SeriesRow = serde_json::from_str(text).unwrap();
        assert_eq!((row.second, row.requests), (3, 5));
        assert!(row.gap_us.abs() < 1e-9, "{}", row.gap_us);
    }

    #[test]
    fn a_row_is_complete_when_all_threads_are_past_it() {
        let mut series = Series::new(2);
        assert_eq!(series.add(second(0, 0, &[10])).len(), 0);
        assert_eq!(series.add(second(0, 1, &[10])).len(), 0);
        let rows = series.add(second(1, 0, &[30]));
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].second, rows[0].requests), (0, 2));
        assert!((rows[0].gap_us - 2.0).abs() < 1e-9, "{}", rows[0].gap_us);
        assert!((rows[0].max_us - 30.0).abs() < 0.1, "{}", rows[0].max_us);
        assert_eq!(series.add(second(0, 4, &[50])).len(), 0);
        // Nothing in seconds 2 and 3: rows all the same.
        assert_eq!(series.add(second(1, 5, &[50, 60])).len(), 4);
        let rows = series.finish();
        let requests: Vec<(u64, u64)> = rows.iter().map(|row| (row.second, row.requests)).collect();
        assert_eq!(requests, [(0, 2), (1, 1), (2, 0), (3, 0), (4, 1), (5, 2)]);
    }
}
