//! Two reports beside each other.

use std::fmt::Write as _;
use std::path::Path;

use super::files::{make_dir, write};
use super::text::short_us;
use super::{FORMAT, Row, Run, html, plot};

/// Reads two reports; gives the comparison as text, and writes it as a page with a plot of both into `report` if that is given.
/// # Errors
/// A sentence that names the file.
pub(crate) fn compare(a: &Path, b: &Path, report: Option<&Path>) -> Result<String, String> {
    let (runs, names) = ([read(a)?, read(b)?], [a.display().to_string(), b.display().to_string()]);
    let text = table(&runs, &names);
    if let Some(dir) = report {
        make_dir(dir)?;
        let curve = |run: &Run, name: &String| {
            let points = run.rows.last().map_or_else(Vec::new, |row| row.curve.clone());
            plot::Curve { label: name.clone(), points }
        };
        let curves: Vec<plot::Curve> =
            runs.iter().zip(&names).map(|(run, name)| curve(run, name)).collect();
        let svg = plot::percentiles(&curves)?;
        write(&dir.join("percentiles.svg"), &svg)?;
        let mut body = format!("<h1>Two runs</h1>\n<pre>{}</pre>\n{svg}\n", html::escape(&text));
        for (run, name) in runs.iter().zip(&names) {
            let _ = write!(body, "<h2>{}</h2>\n{}", html::escape(name), html::facts(&run.facts));
        }
        write(&dir.join("index.html"), &html::document("Two runs", &body))?;
    }
    Ok(text)
}

fn read(path: &Path) -> Result<Run, String> {
    let path = if path.is_dir() { path.join("run.json") } else { path.to_owned() };
    let failed = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let run: Run = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    if run.format != FORMAT {
        return Err(failed(format!("format {}, and this program reads {FORMAT}", run.format)));
    }
    Ok(run)
}

/// Kinds that both have, in the order of the first.
fn common<'a>(a: &'a Run, b: &'a Run) -> impl Iterator<Item = (&'a Row, &'a Row)> {
    a.rows.iter().filter_map(|row| {
        let other = b.rows.iter().find(|other| other.kind == row.kind)?;
        Some((row, other))
    })
}

fn table([a, b]: &[Run; 2], names: &[String; 2]) -> String {
    let mut out = format!("A  {}\nB  {}\n\n", names[0], names[1]);
    let _ = writeln!(out, "{:11} {:10} {:>12} {:>12} {:>7}", "kind", "", "A", "B", "B / A");
    let mut row = |kind: &str, what: &str, a: f64, b: f64, text: fn(f64) -> String| {
        let ratio = if a > 0.0 { format!("{:.2}x", b / a) } else { "-".into() };
        let _ = writeln!(out, "{kind:11} {what:10} {:>12} {:>12} {ratio:>7}", text(a), text(b));
    };
    for (a, b) in common(a, b) {
        row(&a.kind, "rate/s", a.rate, b.rate, |rate| format!("{rate:.0}"));
        for ((what, a_us), (_, b_us)) in a.percentiles().into_iter().zip(b.percentiles()) {
            row(&a.kind, &format!("{what} us"), a_us, b_us, short_us);
        }
    }
    row("", "gap ms", a.gap_us / 1e3, b.gap_us / 1e3, |ms| format!("{ms:.1}"));
    row("", "errors", a.error_count as f64, b.error_count as f64, |count| format!("{count:.0}"));
    let facts = |run: &Run| -> Vec<String> {
        run.facts.iter().map(|(name, value)| format!("{name} {value}")).collect()
    };
    let (a_facts, b_facts) = (facts(a), facts(b));
    let differ = |mine: &[String], other: &[String]| -> Vec<String> {
        mine.iter().filter(|fact| !other.contains(fact)).cloned().collect()
    };
    for (name, only) in [("A", differ(&a_facts, &b_facts)), ("B", differ(&b_facts, &a_facts))] {
        for fact in only {
            let _ = writeln!(out, "only {name}: {fact}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{outcome, run};
    use super::*;

    #[test]
    fn a_report_is_read_again_and_compared() {
        let home = tempfile::tempdir().unwrap();
        let dirs = ["a", "b"].map(|name| home.path().join(name));
        for (dir, line) in dirs.iter().zip(["--workload a", "--workload a --rate 5"]) {
            let words = format!("load {line} --report {}", dir.display());
            let cli = clap::Parser::try_parse_from(words.split_whitespace()).unwrap();
            let mut run = run(line);
            if line.contains("rate") {
                run.rows.iter_mut().for_each(|row| row.p99_us *= 2.0);
                run.facts.push(("commit".into(), "<x>".into()));
            }
            super::super::write_all(&cli, &run, &outcome()).unwrap();
            for file in [
                "run.json",
                "series.csv",
                "GET.hgrm",
                "all.hgrm",
                "percentiles.svg",
                "series.svg",
                "index.html",
            ] {
                assert!(dir.join(file).metadata().unwrap().len() > 50, "{file}");
            }
        }
        let page = home.path().join("c");
        let text = compare(&dirs[0], &dirs[1], Some(&page)).unwrap();
        assert!(
            text.contains("p99 us") && text.contains("2.00x") && text.contains("1.00x"),
            "{text}"
        );
        assert!(text.contains("only B: commit <x>"), "{text}");
        let page = std::fs::read_to_string(page.join("index.html")).unwrap();
        assert!(page.contains("<svg") && page.contains("&lt;x&gt;") && !page.contains("<x>"));

        let said = compare(&dirs[0], home.path(), None).unwrap_err();
        assert!(said.contains("run.json"), "{said}");
    }

    /// What HdrHistogram's own readers expect: a head, rows that grow in every column, and a foot.
    #[test]
    fn the_text_of_a_histogram_has_its_form() {
        let home = tempfile::tempdir().unwrap();
        let words =
            format!("load --workload a --hgrm {0} --series {0}/s.csv", home.path().display());
        let cli = clap::Parser::try_parse_from(words.split_whitespace()).unwrap();
        super::super::write_all(&cli, &run("--workload a"), &outcome()).unwrap();
        let text = std::fs::read_to_string(home.path().join("GET.hgrm")).unwrap();
        let head: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 20);
        assert!(rows.windows(2).all(|pair| (0..3).all(|at| pair[0][at] <= pair[1][at])), "{text}");
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((median[0] - 5.0).abs() < 0.05 && (median[2] - 5000.0).abs() < 50.0, "{median:?}");
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 10_000.0, 3));
        assert!(
            text.contains("#[Max     =       10.")
                && text.contains("Total count    =        10000]")
        );
        let csv = std::fs::read_to_string(home.path().join("s.csv")).unwrap();
        assert_eq!(csv.lines().nth(1), Some("0,10000,1,5000.0,9900.0,9990.0,10000.0,250.0"));
    }
}
