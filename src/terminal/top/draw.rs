//! One frame: what a `View` looks like, on a terminal or as text.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::View;
use super::rates::CommandRate;
use crate::command::{CommandReport, Report};
use crate::terminal::{grouped, micros, size};

/// Characters of a level's bar.
const BAR_COLUMNS: usize = 6;

/// Commands shown.
const COMMANDS_MAX: usize = 10;

/// Lines of the three boxes in the middle, borders included.
const BOX_LINES: u16 = 9;

pub(super) fn frame(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    let Some(report) = &view.report else {
        frame.render_widget(Paragraph::new(vec![head(view, None), trouble(view)]), area);
        return;
    };
    let shards = u16::try_from(report.shards.len()).unwrap_or(u16::MAX).saturating_add(3);
    let commands = u16::try_from(report.commands.len().min(COMMANDS_MAX)).unwrap_or(0) + 3;
    let slow = u16::try_from(view.slow.len()).unwrap_or(0) + 2;
    let [top, boxes, levels, by_command, slowest, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(BOX_LINES),
        Constraint::Length(shards.min(area.height / 3).max(4)),
        Constraint::Length(commands),
        Constraint::Length(slow),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(vec![head(view, Some(report)), trouble(view)]), top);
    let [traffic, memory, disk] = Layout::horizontal([Constraint::Ratio(1, 3); 3]).areas(boxes);
    boxed(frame, traffic, "Traffic, a second", traffic_lines(view, report));
    boxed(frame, memory, "Memory", memory_lines(view, report));
    boxed(frame, disk, "Log and background", disk_lines(view, report));
    level_table(frame, levels, view, report);
    command_table(frame, by_command, view, report);
    let slow = view.slow.iter().map(|slow| {
        let took = u32::try_from(slow.took_us).unwrap_or(u32::MAX);
        Line::from(format!("{:>10}  {}", micros(f64::from(took)), slow.command))
    });
    boxed(frame, slowest, "Slow log, newest first", slow.collect());
    let keys = "q ends   p pauses   + - interval";
    frame.render_widget(
        Paragraph::new(painted(view, keys, Style::new().add_modifier(Modifier::DIM))),
        foot,
    );
}

/// A buffer as text, without what is blank at the ends.
pub(super) fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let lines = buffer.content.chunks(width).map(|cells| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    let mut lines: Vec<String> = lines.collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

/// Colours where they may be.
fn painted<'a>(view: &View, text: impl Into<String>, style: Style) -> Line<'a> {
    let style = if view.has_colours { style } else { Style::new() };
    Line::from(Span::styled(text.into(), style))
}

fn head<'a>(view: &View, report: Option<&Report>) -> Line<'a> {
    let paused = if view.is_paused { "  PAUSED" } else { "" };
    let what = report.map_or_else(
        || "not seen yet".to_owned(),
        |report| {
            format!(
                "{}  up {}  pid {}  {} clients  {}{} keys",
                report.server.version,
                uptime(report.server.uptime_s),
                report.server.process_id,
                report.clients.connected,
                if report.keyspace.keys_estimated { "about " } else { "" },
                grouped(report.keyspace.keys),
            )
        },
    );
    let every = view.interval.as_secs_f64();
    let text = format!("rusty-lsm {}  {what}  every {every:.1} s{paused}", view.address);
    painted(view, text, Style::new().add_modifier(Modifier::BOLD))
}

/// What must not be overlooked, or nothing.
fn trouble<'a>(view: &View) -> Line<'a> {
    let alarm = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    if let Some(error) = &view.error {
        let gone = view.seen.elapsed().as_secs();
        let since = if view.report.is_some() {
            format!("; what is shown is {gone} s old")
        } else {
            String::new()
        };
        return painted(view, format!("{error}; trying again{since}"), alarm);
    }
    let Some(report) = &view.report else { return Line::default() };
    let mut troubles = Vec::new();
    if report.persistence.loading {
        troubles.push("loading".to_owned());
    }
    for shard in &report.shards {
        if !shard.read_only.is_empty() {
            troubles.push(format!("shard {} is read-only: {}", shard.core, shard.read_only));
        }
        if shard.disk_full {
            troubles.push(format!("shard {}: the disk is full", shard.core));
        }
    }
    if view.rates.stalled_part > 0.01 {
        troubles.push(format!(
            "writes wait {:.0} % of the time",
            (view.rates.stalled_part * 100.0).min(100.0)
        ));
    }
    painted(view, troubles.join("; "), alarm)
}

fn boxed(frame: &mut Frame<'_>, area: Rect, title: &'static str, lines: Vec<Line<'_>>) {
    let block = Block::new().borders(Borders::ALL).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn row<'a>(name: &str, value: impl Into<String>) -> Line<'a> {
    Line::from(format!("{name:<13}{:>14}", value.into()))
}

fn traffic_lines<'a>(view: &View, report: &Report) -> Vec<Line<'a>> {
    let rates = &view.rates;
    let looked = report.lsm.cache_hits + report.lsm.cache_misses;
    vec![
        row("commands", rate(rates.commands)),
        row("reads", rate(rates.reads)),
        row("writes", rate(rates.writes)),
        row("in", format!("{}/s", bytes(rates.input_bytes))),
        row("out", format!("{}/s", bytes(rates.output_bytes))),
        row("errors", rate(rates.errors)),
        row("cache hits", percent(report.lsm.cache_hits, looked)),
    ]
}

fn memory_lines<'a>(view: &View, report: &Report) -> Vec<Line<'a>> {
    let (lsm, memory) = (&report.lsm, &report.memory);
    vec![
        row("budget", size(memory.max)),
        row("process", size(memory.rss)),
        row("memtables", format!("{} +{}", size(lsm.memtable_bytes), lsm.memtables_sealed)),
        row("block cache", size(lsm.cache_bytes)),
        row("tables' meta", size(lsm.table_memory_bytes)),
        row("clients", size(memory.clients)),
        row("CPU", format!("{:.0} %", view.rates.cpu_part * 100.0)),
    ]
}

fn disk_lines<'a>(view: &View, report: &Report) -> Vec<Line<'a>> {
    let (lsm, rates) = (&report.lsm, &view.rates);
    let written = lsm.wal_written_bytes + lsm.flushed_bytes + lsm.compacted_bytes;
    #[expect(clippy::cast_precision_loss, reason = "two digits for people")]
    let amplification = match lsm.written_user_bytes {
        0 => "-".to_owned(),
        user => format!("{:.1}", written as f64 / user as f64),
    };
    vec![
        row(&format!("log ({})", lsm.sync), size(lsm.wal_bytes)),
        row("log writes", format!("{}/s", bytes(rates.log_bytes))),
        row("mean wait", micros(rates.log_wait_us)),
        row("compacting", format!("{} of {}", lsm.compactions_running, report.shards.len())),
        row("to compact", size(lsm.compaction_pending_bytes)),
        row("stalls", rate(rates.stalls)),
        row("write ampl.", amplification),
    ]
}

fn level_table(frame: &mut Frame<'_>, area: Rect, view: &View, report: &Report) {
    let levels = report.lsm.level_bytes.len();
    let largest =
        report.shards.iter().flat_map(|shard| &shard.level_bytes).max().copied().unwrap_or(0);
    let mut names = vec!["shard".to_owned(), "keys".to_owned(), "log".to_owned()];
    names.extend((0..levels).map(|level| format!("L{level}")));
    let bar_style = if view.has_colours { Style::new().fg(Color::Cyan) } else { Style::new() };
    let rows = report.shards.iter().map(|shard| {
        let mut cells = vec![
            Cell::from(shard.core.to_string()),
            Cell::from(grouped(shard.keys)),
            Cell::from(size(shard.wal_bytes)),
        ];
        cells.extend(shard.level_bytes.iter().map(|bytes| {
            let amount = if *bytes == 0 { "-".to_owned() } else { short(*bytes) };
            Cell::from(Line::from(vec![
                Span::styled(bar(*bytes, largest), bar_style),
                Span::raw(amount),
            ]))
        }));
        Row::new(cells)
    });
    let mut widths = vec![Constraint::Length(5), Constraint::Length(11), Constraint::Length(9)];
    widths.extend(vec![Constraint::Fill(1); levels]);
    let table = Table::new(rows, widths)
        .header(Row::new(names).style(header_style(view)))
        .block(Block::new().borders(Borders::ALL).title("Levels by shard"));
    frame.render_widget(table, area);
}

/// As long as its part of the largest; what is not nothing has a mark at least.
fn bar(bytes: u64, largest: u64) -> String {
    if bytes == 0 || largest == 0 {
        return String::new();
    }
    let eighths = u128::from(bytes) * (BAR_COLUMNS as u128 * 8) / u128::from(largest);
    let eighths = usize::try_from(eighths).unwrap_or(0).max(1);
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    format!("{}{} ", "█".repeat(eighths / 8), parts[eighths % 8])
}

fn header_style(view: &View) -> Style {
    if view.has_colours { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() }
}

/// Those that took most time since the last look first, then those that took most in all.
fn command_table(frame: &mut Frame<'_>, area: Rect, view: &View, report: &Report) {
    let rate_of = |name: &str| view.rates.by_command.get(name).copied().unwrap_or_default();
    let mut commands: Vec<(&String, &CommandReport, CommandRate)> =
        report.commands.iter().map(|(name, command)| (name, command, rate_of(name))).collect();
    commands.sort_by(|one, other| {
        other.2.busy.total_cmp(&one.2.busy).then(other.1.total_us.cmp(&one.1.total_us))
    });
    let rows = commands.into_iter().take(COMMANDS_MAX).map(|(name, command, rate_now)| {
        let now = match rate_now.p99_us {
            0 => "-".to_owned(),
            #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
            us => format!("< {}", micros(us as f64)),
        };
        Row::new(vec![
            name.to_ascii_uppercase().replace('|', " "),
            rate(rate_now.calls),
            grouped(command.calls),
            grouped(command.failed + command.rejected),
            micros(command.p50_us),
            micros(command.p99_us),
            micros(command.p999_us),
            micros(command.max_us),
            now,
        ])
    });
    let names = ["command", "a second", "calls", "failed", "p50", "p99", "p99.9", "max", "p99 now"];
    let mut widths = vec![Constraint::Fill(2)];
    widths.extend(vec![Constraint::Fill(1); names.len() - 1]);
    let table = Table::new(rows, widths)
        .header(Row::new(names).style(header_style(view)))
        .block(Block::new().borders(Borders::ALL).title("Commands"));
    frame.render_widget(table, area);
}

fn rate(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is no negative number"
    )]
    grouped(value as u64)
}

fn bytes(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is no negative number"
    )]
    size(value as u64)
}

/// Bytes in few characters, for a narrow column.
fn short(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    match unit {
        #[expect(clippy::cast_precision_loss, reason = "two digits for people")]
        Some((shift, unit)) if bytes >> shift < 10 => {
            format!("{:.1}{unit}", bytes as f64 / (1_u64 << shift) as f64)
        }
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

fn percent(part: u64, all: u64) -> String {
    match (part * 1000).checked_div(all) {
        Some(permille) => format!("{}.{} %", permille / 10, permille % 10),
        None => "-".to_owned(),
    }
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::command::info::Shard;

    fn shown(view: &View, columns: u16, lines: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|target| frame(target, view)).unwrap();
        text(terminal.backend().buffer())
    }

    fn view() -> View {
        let mut view = View::new("host:1", Duration::from_secs(1), false);
        let mut report = Report::default();
        report.server.uptime_s = 3_700;
        report.lsm.level_bytes = vec![0, 3 << 20];
        let shard = Shard { level_bytes: vec![0, 3 << 20], keys: 1_234, ..Shard::default() };
        report.shards = vec![shard];
        report
            .commands
            .insert("client|list".into(), CommandReport { calls: 7, ..CommandReport::default() });
        view.report = Some(report);
        view
    }

    #[test]
    fn a_frame_has_everything() {
        let text = shown(&view(), 120, 60);
        for part in [
            "host:1",
            "up 1h01m",
            "Levels by shard",
            "L1",
            "1,234",
            "██████ 3.0M",
            "CLIENT LIST",
            "Slow log",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn trouble_is_said_and_a_small_terminal_is_no_trouble() {
        let mut view = view();
        view.report.as_mut().unwrap().shards[0].read_only = "EIO".into();
        assert!(shown(&view, 120, 60).contains("shard 0 is read-only: EIO"));
        view.error = Some("gone".into());
        assert!(shown(&view, 120, 60).contains("gone; trying again; what is shown is 0 s old"));
        for (columns, lines) in [(1, 1), (20, 5), (300, 100)] {
            shown(&view, columns, lines);
        }
        view.report = None;
        assert!(shown(&view, 80, 20).contains("not seen yet"));
    }

    #[test]
    fn bars_and_times() {
        assert_eq!([bar(0, 9), bar(9, 9), bar(1, 1_000_000)], ["", "██████ ", "▏ "]);
        assert_eq!([59, 3_700, 90_000].map(uptime), ["0m59s", "1h01m", "1d01h"]);
        assert_eq!([5, 1536, 300 << 10, 20 << 30].map(short), ["5B", "1.5K", "300K", "20G"]);
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3 %".into(), "-".into()));
    }
}
