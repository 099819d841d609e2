//! The files of a report: run.json, series.csv, KIND.hgrm, plots and index.html.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;

use super::{Run, TICKS, histograms, html, plot};
use crate::cli::Cli;
use crate::run::Outcome;
use crate::series::SeriesRow;

/// Everything that the command line asks for.
/// # Errors
/// A sentence that names the file.
pub(crate) fn write_all(cli: &Cli, run: &Run, outcome: &Outcome) -> Result<(), String> {
    if let Some(path) = &cli.json {
        write(path, &json(run)?)?;
    }
    if let Some(path) = &cli.series {
        write(path, &csv(&run.series))?;
    }
    if let Some(dir) = &cli.hgrm {
        write_hgrm(dir, outcome)?;
    }
    if let Some(dir) = &cli.report {
        make_dir(dir)?;
        write(&dir.join("run.json"), &json(run)?)?;
        write(&dir.join("series.csv"), &csv(&run.series))?;
        write_hgrm(dir, outcome)?;
        let percentiles = plot::percentiles(&curves(run))?;
        let series = plot::series(&run.series, run.seconds)?;
        write(&dir.join("percentiles.svg"), &percentiles)?;
        write(&dir.join("series.svg"), &series)?;
        write(&dir.join("index.html"), &html::page(run, &percentiles, &series))?;
    }
    Ok(())
}

/// A curve for each kind; all together only where there is no other.
fn curves(run: &Run) -> Vec<plot::Curve> {
    let rows = run.rows.iter().chain(&run.lateness).filter(|row| row.requests > 0);
    rows.map(|row| plot::Curve { label: row.kind.clone(), points: row.curve.clone() }).collect()
}

fn json(run: &Run) -> Result<String, String> {
    serde_json::to_string_pretty(run).map_err(|error| format!("run.json: {error}"))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

pub(super) fn make_dir(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

fn write_hgrm(dir: &Path, outcome: &Outcome) -> Result<(), String> {
    make_dir(dir)?;
    for (kind, latencies) in histograms(outcome) {
        write(&dir.join(format!("{kind}.hgrm")), &hgrm(&latencies))?;
    }
    Ok(())
}

fn csv(rows: &[SeriesRow]) -> String {
    let mut out = String::from("second,requests,errors,p50_us,p99_us,p999_us,max_us,gap_us\n");
    for row in rows {
        let SeriesRow { second, requests, errors, p50_us, p99_us, p999_us, max_us, gap_us } = row;
        let _ = writeln!(
            out,
            "{second},{requests},{errors},{p50_us:.1},{p99_us:.1},{p999_us:.1},{max_us:.1},{gap_us:.1}"
        );
    }
    out
}

/// HdrHistogram's text, as its plotting pages read it: milliseconds.
fn hgrm(latencies: &Histogram<u64>) -> String {
    const NS_PER_MS: f64 = 1e6;
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for point in latencies.iter_quantiles(TICKS) {
        let quantile = point.quantile_iterated_to();
        let value = point.value_iterated_to() as f64 / NS_PER_MS;
        let _ = write!(out, "{value:12.3} {quantile:2.12}");
        let _ = if quantile < 1.0 {
            writeln!(
                out,
                " {:10} {:14.2}",
                latencies.count_between(0, point.value_iterated_to()),
                1.0 / (1.0 - quantile)
            )
        } else {
            writeln!(out, " {:10}", latencies.len())
        };
    }
    let (mean, deviation) = (latencies.mean() / NS_PER_MS, latencies.stdev() / NS_PER_MS);
    let max = latencies.max() as f64 / NS_PER_MS;
    let _ = writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", latencies.len());
    // 2048 values a bucket at three significant digits.
    let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", latencies.buckets(), 2048);
    out
}
