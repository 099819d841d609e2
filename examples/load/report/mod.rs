//! A run's figures, as one structure that is shown as a table, written as JSON, drawn, and read again to be compared.

pub(crate) mod compare;
mod files;
mod html;
mod plot;
mod text;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub(crate) use files::write_all;
pub(crate) use text::table;

use crate::facts::Fact;
use crate::run::Outcome;
use crate::series::SeriesRow;
use crate::settings::{Pace, Settings};
use crate::tally::{Checks, histogram};

/// Of `run.json`; raised when a field changes its meaning.
const FORMAT: u32 = 1;
/// The row of all kinds together.
const ALL: &str = "all";
/// Points of a percentile curve for each halving of what is beyond it, as HdrHistogram's own plots have.
const TICKS: u32 = 5;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) format: u32,
    pub(crate) facts: Vec<Fact>,
    pub(crate) seconds: f64,
    /// Requests a second that were asked for, if any were.
    pub(crate) rate_asked: Option<f64>,
    /// Answered without an error, a second.
    pub(crate) rate: f64,
    pub(crate) requests: u64,
    pub(crate) warmup_requests: u64,
    pub(crate) unanswered: u64,
    pub(crate) held_back: u64,
    pub(crate) error_count: u64,
    pub(crate) errors: Vec<ErrorRow>,
    pub(crate) checks: CheckRow,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// The longest time without an answer on one thread, while some were due.
    pub(crate) gap_us: f64,
    /// CPU of the generator for each request, warm-up included.
    pub(crate) client_cpu_us: f64,
    /// By kind, and all together last where there are several.
    pub(crate) rows: Vec<Row>,
    /// How late the generator sent; none in a closed loop.
    pub(crate) lateness: Option<Row>,
    pub(crate) series: Vec<SeriesRow>,
}

/// Latencies of one kind of request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) p9999_us: f64,
    pub(crate) max_us: f64,
    /// Percentile and latency in us, for plots.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// Errors by their first word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ErrorRow {
    pub(crate) word: String,
    pub(crate) count: u64,
    pub(crate) first: String,
}

/// What `--verify` and absent values say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CheckRow {
    pub(crate) compared: u64,
    pub(crate) wrong: u64,
    pub(crate) missing: u64,
    pub(crate) unexpected: u64,
    pub(crate) first: Option<String>,
}

impl From<&Checks> for CheckRow {
    fn from(checks: &Checks) -> Self {
        let Checks { compared, wrong, missing, unexpected, first } = checks.clone();
        Self { compared, wrong, missing, unexpected, first }
    }
}

impl Row {
    fn new(kind: &str, latencies: &Histogram<u64>, seconds: f64) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |quantile| us(latencies.value_at_quantile(quantile));
        let points = latencies.iter_quantiles(TICKS);
        Self {
            kind: kind.to_owned(),
            requests: latencies.len(),
            rate: per_second(latencies.len(), seconds),
            mean_us: latencies.mean() / 1e3,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: us(latencies.max()),
            curve: points
                .map(|point| (point.quantile() * 100.0, us(point.value_iterated_to())))
                .collect(),
        }
    }

    /// What is shown of it, with names.
    fn percentiles(&self) -> [(&'static str, f64); 6] {
        [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
            ("p99.99", self.p9999_us),
            ("max", self.max_us),
        ]
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Latencies by kind, and of all kinds last where there are several.
pub(crate) fn histograms(outcome: &Outcome) -> Vec<(&'static str, Histogram<u64>)> {
    let mut all = histogram();
    let mut found: Vec<(&str, Histogram<u64>)> = Vec::new();
    for (kind, latencies) in outcome.tally.latencies() {
        all.add(latencies).expect("histograms of the same bounds");
        found.push((kind.name(), latencies.clone()));
    }
    if found.len() != 1 {
        found.push((ALL, all));
    }
    found
}

impl Run {
    pub(crate) fn new(settings: &Settings, outcome: &Outcome, facts: Vec<Fact>) -> Self {
        let (tally, seconds) = (&outcome.tally, outcome.seconds);
        let row = |(kind, latencies): &(&str, Histogram<u64>)| Row::new(kind, latencies, seconds);
        let rows: Vec<Row> = histograms(outcome).iter().map(row).collect();
        let requests = rows.last().map_or(0, |all| all.requests);
        let rate_asked = match settings.pace {
            Pace::Closed { .. } => None,
            Pace::Open { rate, .. } => Some(rate),
        };
        let done = requests + tally.warmup_requests + tally.errors.count();
        let error = |error: &crate::tally::ErrorWord| ErrorRow {
            word: error.word.clone(),
            count: error.count,
            first: error.first.clone(),
        };
        Self {
            format: FORMAT,
            facts,
            seconds,
            rate_asked,
            rate: per_second(requests - tally.unanswered, seconds),
            requests,
            warmup_requests: tally.warmup_requests,
            unanswered: tally.unanswered,
            held_back: tally.held_back,
            error_count: tally.errors.count(),
            errors: tally.errors.0.iter().map(error).collect(),
            checks: CheckRow::from(&tally.checks),
            sent_bytes: tally.sent_bytes,
            received_bytes: tally.received_bytes,
            gap_us: tally.gap_ns as f64 / 1e3,
            client_cpu_us: outcome.cpu_seconds * 1e6 / (done.max(1) as f64),
            rows,
            lateness: rate_asked.map(|_| Row::new("lateness", &tally.lateness, seconds)),
            series: outcome.series.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::tests::settings;
    use crate::tally::Tally;
    use crate::workload::Kind;

    /// 10,000 GETs of 1 to 10,000 us and one SET of a second.
    pub(crate) fn outcome() -> Outcome {
        let mut tally = Tally::new(0, 0, None);
        for us in 1..=10_000 {
            tally.answered(Kind::Get, 0, us * 1000);
        }
        tally.answered(Kind::Set, 0, 1_000_000_000);
        tally.refused(b"ERR <b>no</b> & so on", 0, 5);
        tally.sent(0, 1000);
        let series = vec![
            SeriesRow {
                second: 0,
                requests: 10_000,
                errors: 1,
                p50_us: 5000.0,
                p99_us: 9900.0,
                p999_us: 9990.0,
                max_us: 10_000.0,
                gap_us: 250.0,
            },
            SeriesRow {
                second: 1,
                requests: 0,
                errors: 0,
                p50_us: 0.0,
                p99_us: 0.0,
                p999_us: 0.0,
                max_us: 0.0,
                gap_us: 0.0,
            },
            SeriesRow {
                second: 2,
                requests: 1,
                errors: 0,
                p50_us: 1e6,
                p99_us: 1e6,
                p999_us: 1e6,
                max_us: 1e6,
                gap_us: 0.0,
            },
        ];
        Outcome { tally, series, seconds: 2.0, cpu_seconds: 0.5 }
    }

    pub(crate) fn run(line: &str) -> Run {
        let facts = vec![("server".to_owned(), "rusty-lsm <0.1>".to_owned())];
        Run::new(&settings(line).unwrap(), &outcome(), facts)
    }

    #[test]
    fn figures_are_those_of_the_histograms() {
        let run = run("--workload a --rate 1000 --duration 2");
        let kinds: Vec<&str> = run.rows.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["GET", "SET", "all"]);
        let get = &run.rows[0];
        let near = |had: f64, wanted: f64| assert!((had / wanted - 1.0).abs() < 0.002, "{had}");
        near(get.p50_us, 5000.0);
        near(get.p90_us, 9000.0);
        near(get.p99_us, 9900.0);
        near(get.p999_us, 9990.0);
        near(get.p9999_us, 9999.0);
        near(get.max_us, 10_000.0);
        near(run.rows[2].max_us, 1e6);
        assert!((run.rate - 5000.5).abs() < 0.01, "{}", run.rate);
        assert!(get.curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert!((get.curve.last().unwrap().0 - 100.0).abs() < 1e-9);
        assert_eq!(run.lateness.unwrap().requests, 1);
    }
}
