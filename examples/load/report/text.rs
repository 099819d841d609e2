//! The table in the terminal.

use std::fmt::Write as _;

use super::{Row, Run};

/// All that a run has found, as text.
pub(crate) fn table(run: &Run) -> String {
    let mut out = String::new();
    for (name, value) in &run.facts {
        line(&mut out, format_args!("{name:8} {value}"));
    }
    line(&mut out, format_args!(""));
    line(
        &mut out,
        format_args!(
            "{:11} {:>11} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "kind",
            "requests",
            "rate/s",
            "p50 us",
            "p90 us",
            "p99 us",
            "p99.9 us",
            "p99.99 us",
            "max us"
        ),
    );
    for row in run.rows.iter().chain(&run.lateness) {
        line(&mut out, format_args!("{}", cells(row)));
    }
    line(&mut out, format_args!(""));
    let asked = run.rate_asked.map_or_else(String::new, |asked| {
        format!(" of {asked:.0} asked for ({:.1} %)", 100.0 * run.rate / asked)
    });
    line(
        &mut out,
        format_args!(
            "{:.0} requests/s{asked} over {:.1} s; {} in the warm-up; sent {:.1} MB, received {:.1} MB",
            run.rate,
            run.seconds,
            run.warmup_requests,
            run.sent_bytes as f64 / 1e6,
            run.received_bytes as f64 / 1e6
        ),
    );
    line(
        &mut out,
        format_args!(
            "longest time without an answer {:.1} ms; the generator took {:.2} us of CPU a request",
            run.gap_us / 1e3,
            run.client_cpu_us
        ),
    );
    for warning in warnings(run) {
        line(&mut out, format_args!("{warning}"));
    }
    out
}

/// Sentences about what is not as it should be.
pub(super) fn warnings(run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    if run.unanswered > 0 {
        found.push(format!(
            "GAVE UP on {} requests that were due: their latencies are at least what is shown",
            run.unanswered
        ));
    }
    if run.held_back > 0 {
        found.push(format!(
            "{} requests waited because their client had --outstanding of them under way (their latencies have it)",
            run.held_back
        ));
    }
    if let Some(lateness) = &run.lateness
        && lateness.p99_us * 2.0 > run.rows.last().map_or(0.0, |all| all.p99_us)
        && lateness.requests > 0
    {
        found.push(format!(
            "the GENERATOR was late: p99 {:.0} us is a large part of what it measured; more --threads, or a lower rate",
            lateness.p99_us
        ));
    }
    for error in &run.errors {
        found.push(format!("{} errors {}, the first: {}", error.count, error.word, error.first));
    }
    let checks = &run.checks;
    if checks.compared > 0 {
        found.push(format!("{} values compared with their keys", checks.compared));
    }
    if checks.wrong + checks.missing + checks.unexpected > 0 {
        found.push(format!(
            "WRONG VALUES: {} of another key, {} missing, {} that nobody wrote; the first: {}",
            checks.wrong,
            checks.missing,
            checks.unexpected,
            checks.first.as_deref().unwrap_or("?")
        ));
    }
    found
}

fn cells(row: &Row) -> String {
    let mut cells = format!("{:11} {:11} {:10.0}", row.kind, row.requests, row.rate);
    for (_, us) in row.percentiles() {
        let _ = write!(cells, " {:>9}", short_us(us));
    }
    cells
}

/// Microseconds with as many digits as say something.
pub(super) fn short_us(us: f64) -> String {
    if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn the_table_has_all_kinds_and_what_went_wrong() {
        let text = table(&run("--workload a --rate 1000000 --duration 2"));
        for wanted in [
            "server   rusty-lsm <0.1>",
            "GET               10000       5000      5001      9003",
            "all               10001",
            "lateness",
            "of 1000000 asked for (0.5 %)",
            "1 errors ERR, the first: ERR <b>no</b> & so on",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
    }
}
