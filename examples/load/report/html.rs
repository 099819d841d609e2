//! The page: table, metadata and plots, in one file that needs no other.

use std::fmt::Write as _;

use super::text::{short_us, warnings};
use super::{Row, Run};
use crate::facts::Fact;

const STYLE: &str = "body{font:15px/1.45 sans-serif;margin:2em auto;max-width:1000px;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}.facts td{text-align:left}svg{max-width:100%;height:auto}";

/// Text that stands for itself in a page.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole page; `body` is HTML already.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escape(title)
    )
}

pub(super) fn facts(facts: &[Fact]) -> String {
    let mut out = String::from("<table class=\"facts\">\n");
    for (name, value) in facts {
        let _ = writeln!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value));
    }
    out + "</table>\n"
}

/// The page of one run. The plots are our own drawing library's, with its text escaped.
pub(super) fn page(run: &Run, percentiles: &str, series: &str) -> String {
    let mut body = String::from("<h1>Latency report</h1>\n");
    let asked = run.rate_asked.map_or_else(
        || " in a closed loop".to_owned(),
        |asked| format!(" of {asked:.0} asked for"),
    );
    let _ = writeln!(body, "<p>{:.0} requests/s{asked}, {:.1} s.</p>", run.rate, run.seconds);
    body += "<table>\n<tr><th>kind</th><th>requests</th><th>rate/s</th>";
    if let Some(row) = run.rows.first() {
        for (name, _) in row.percentiles() {
            let _ = write!(body, "<th>{name} us</th>");
        }
    }
    body += "</tr>\n";
    run.rows.iter().chain(&run.lateness).for_each(|row| body += &table_row(row));
    body += "</table>\n";
    for warning in warnings(run) {
        let _ = writeln!(body, "<p>{}</p>", escape(&warning));
    }
    let _ = write!(body, "{percentiles}\n{series}\n<h2>Run</h2>\n{}", facts(&run.facts));
    body += "<p>Also here: run.json (all figures), series.csv (a row a second), *.hgrm (HdrHistogram, ms).</p>\n";
    document("Latency report", &body)
}

fn table_row(row: &Row) -> String {
    let mut out = format!(
        "<tr><td>{}</td><td>{}</td><td>{:.0}</td>",
        escape(&row.kind),
        row.requests,
        row.rate
    );
    for (_, us) in row.percentiles() {
        let _ = write!(out, "<td>{}</td>", short_us(us));
    }
    out + "</tr>\n"
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn what_the_server_says_is_text_and_no_markup() {
        let page = page(&run("--workload a"), "<svg>1</svg>", "<svg>2</svg>");
        for wanted in [
            "rusty-lsm &lt;0.1&gt;",
            "ERR &lt;b&gt;no&lt;/b&gt; &amp; so on",
            "<svg>1</svg>",
            "<td>all</td>",
        ] {
            assert!(page.contains(wanted), "{wanted} is not in\n{page}");
        }
        assert!(!page.contains("<b>no"));
        assert_eq!(escape("\"'"), "&quot;&#39;");
    }
}
