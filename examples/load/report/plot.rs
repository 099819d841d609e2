//! Plots as SVG: latency over percentile, on an axis of nines; rate and latency over time.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::series::SeriesRow;

/// A line of the series: its name, and its milliseconds in a row.
type Latency = (&'static str, fn(&SeriesRow) -> f64);
type Failure = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (960, 540);
/// Labels of an axis of nines: no run has 10^20 requests.
const NINES_MAX: u8 = 20;
/// Distinct also to those who do not see red and green apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(26, 140, 90),
    RGBColor(153, 79, 0),
    RGBColor(93, 58, 155),
    RGBColor(90, 90, 90),
];

/// One line of a percentile plot: percentile (0 to 100) and latency in us.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The nines of a percentile: 0 at 0, 1 at 90, 2 at 99.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// The percentile of so many nines, in as many digits as it needs.
fn percentile(nines: f64) -> String {
    let digits = (nines.round() - 2.0).max(0.0);
    let value = 100.0 * (1.0 - 10f64.powf(-nines));
    match digits {
        digits if digits < 0.5 => format!("{value:.0}"),
        digits if digits < 1.5 => format!("{value:.1}"),
        digits if digits < 2.5 => format!("{value:.2}"),
        digits if digits < 3.5 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn duration(ms: f64) -> String {
    if ms < 1.0 {
        format!("{:.0} us", ms * 1e3)
    } else if ms < 1e3 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.0} s", ms / 1e3)
    }
}

/// Below this nobody looks.
const MS_MIN: f64 = 1e-3;

/// Whole decades around all values above zero, for an axis by logarithm.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut min, mut max) = (f64::INFINITY, 0.0f64);
    for value in values.filter(|value| *value > 0.0) {
        (min, max) = (min.min(value.max(MS_MIN)), max.max(value));
    }
    if max == 0.0 {
        return (0.1, 1.0);
    }
    let low = 10f64.powf(min.log10().floor()).max(MS_MIN);
    (low, 10f64.powf(max.log10().ceil()).max(low * 10.0))
}

fn drawn(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Failure>,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let all = || -> Result<(), Failure> {
            area.fill(&WHITE)?;
            draw(&area)?;
            Ok(area.present()?)
        };
        all().map_err(|error| format!("plot: {error}"))?;
    }
    Ok(svg)
}

/// Latency over percentile, a line each.
/// # Errors
/// Nothing that is known of; the drawing library may refuse.
pub(crate) fn percentiles(curves: &[Curve]) -> Result<String, String> {
    let (low, high) =
        decades(curves.iter().flat_map(|curve| &curve.points).map(|(_, us)| us / 1e3));
    // The last point, the maximum, has no place on an axis of nines: it is drawn where the point before it is.
    let lines: Vec<Vec<(f64, f64)>> = curves
        .iter()
        .map(|curve| {
            let mut last = 0.0;
            let place = |&(percentile, us): &(f64, f64)| {
                if percentile < 100.0 {
                    last = nines(percentile);
                }
                (last, (us / 1e3).max(low))
            };
            curve.points.iter().map(place).collect()
        })
        .collect();
    let end = lines.iter().flatten().map(|(x, _)| *x).fold(2.0, f64::max).ceil();
    // One at each whole number of nines.
    let labels = (0..NINES_MAX).filter(|nines| f64::from(*nines) <= end).count();
    drawn(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .caption("Latency by percentile", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..end, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("percentile")
            .x_labels(labels)
            .x_label_formatter(&|x| percentile(*x))
            .y_label_formatter(&|ms| duration(*ms))
            .light_line_style(WHITE)
            .draw()?;
        for (at, (curve, line)) in curves.iter().zip(lines).enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
                .label(curve.label.as_str())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                });
        }
        legend(&mut chart)
    })
}

/// Rate above, latencies below, a point a second. The last second is not a whole one (`seconds` is where it ended), and has no rate.
/// # Errors
/// Nothing that is known of; the drawing library may refuse.
pub(crate) fn series(rows: &[SeriesRow], seconds: f64) -> Result<String, String> {
    let end = rows.len().max(2) as f64 - 1.0;
    let at = |row: &SeriesRow| row.second as f64;
    let highest = rows.iter().map(|row| row.requests).max().unwrap_or(0).max(1) as f64;
    let latencies: [Latency; 4] = [
        ("p50", |row| row.p50_us / 1e3),
        ("p99", |row| row.p99_us / 1e3),
        ("p99.9", |row| row.p999_us / 1e3),
        ("max", |row| row.max_us / 1e3),
    ];
    let values = latencies.iter().flat_map(|(_, of)| rows.iter().map(of));
    let (low, high) = decades(values);
    drawn((SIZE.0, SIZE.1 + 200), |area| {
        let (upper, lower) = area.split_vertically(260);
        let mut chart = ChartBuilder::on(&upper)
            .caption("Answers a second", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(30)
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..end, 0.0..highest * 1.05)?;
        chart
            .configure_mesh()
            .y_label_formatter(&|rate| format!("{rate:.0}"))
            .light_line_style(WHITE)
            .draw()?;
        let whole = rows.iter().filter(|row| at(row) + 1.0 <= seconds);
        let line = whole.map(|row| (at(row), row.requests as f64));
        chart.draw_series(LineSeries::new(line, COLOURS[0].stroke_width(2)))?;

        let mut chart = ChartBuilder::on(&lower)
            .caption("Latency", ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..end, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("seconds since the end of the warm-up")
            .y_label_formatter(&|ms| duration(*ms))
            .light_line_style(WHITE)
            .draw()?;
        for (number, (label, of)) in latencies.iter().enumerate() {
            let colour = COLOURS[number];
            // A second without answers has no latency: the line is drawn from its neighbours.
            let answered = rows.iter().filter(|row| row.requests > 0);
            let line = answered.map(|row| (at(row), of(row).max(low)));
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?.label(*label).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)),
            );
        }
        legend(&mut chart)
    })
}

fn legend<'a, X: Ranged<ValueType = f64>, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Result<(), Failure> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_nines_is_labelled_by_percentiles() {
        let labels: Vec<String> = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0].map(percentile).to_vec();
        assert_eq!(labels, ["0", "90", "99", "99.9", "99.99", "99.999"]);
        assert!((nines(99.99) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_plot_has_its_lines_labels_and_escaped_text() {
        let points =
            (0..1000).map(|at| (f64::from(at) / 10.0, f64::from(at + 1))).chain([(100.0, 5e6)]);
        let curve = Curve { label: "<GET> & co".into(), points: points.collect() };
        let svg = percentiles(&[curve]).unwrap();
        for wanted in ["<svg", "</svg>", "<polyline", "99", "&lt;GET&gt; &amp; co"] {
            assert!(svg.contains(wanted), "{wanted}");
        }
        assert!(!svg.contains("<GET>"));
    }

    #[test]
    fn nothing_measured_is_drawn_as_nothing() {
        assert!(percentiles(&[]).unwrap().contains("<svg"));
        assert!(series(&[], 0.0).unwrap().contains("<svg"));
        let row = SeriesRow {
            second: 0,
            requests: 0,
            errors: 0,
            p50_us: 0.0,
            p99_us: 0.0,
            p999_us: 0.0,
            max_us: 0.0,
            gap_us: 0.0,
        };
        assert!(series(&[row], 1.0).unwrap().contains("<svg"));
    }
}
