//! Tables of text, as wide as the terminal at most.

use std::io::IsTerminal as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// Columns where the output is no terminal: wide enough that nothing is wrapped that a program reads.
const PIPE_COLUMNS: u16 = 500;

/// Lines of `rows` under `header`; columns whose header begins with `>` stand to the right.
pub(super) fn lines(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let is_terminal = std::io::stdout().is_terminal();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(columns());
    let right: Vec<bool> = header.iter().map(|name| name.starts_with('>')).collect();
    let cell = |(index, text): (usize, String)| {
        let is_right = right.get(index).copied().unwrap_or_default();
        let side = if is_right { CellAlignment::Right } else { CellAlignment::Left };
        Cell::new(text).set_alignment(side)
    };
    let names = header.iter().map(|name| name.trim_start_matches('>').to_owned());
    table.set_header(names.enumerate().map(cell).collect::<Vec<Cell>>());
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(cell).collect::<Vec<Cell>>());
    }
    // Without a border the padding of the first column is for nothing.
    let text = table.trim_fmt();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
    let width = lines.clone().map(|line| line.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (index, line) in lines.enumerate() {
        text.push_str(line);
        text.push('\n');
        if index == 0 && is_terminal {
            text.push_str(&"─".repeat(width));
            text.push('\n');
        }
    }
    text
}

/// Of the terminal.
pub(super) fn columns() -> u16 {
    let is_terminal = std::io::stdout().is_terminal();
    let size = ratatui::crossterm::terminal::size().ok().filter(|_| is_terminal);
    size.map_or(PIPE_COLUMNS, |(columns, _)| columns.max(40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_columns_without_lines() {
        let text = lines(
            &["key", ">size"],
            vec![vec!["a".into(), "5".into()], vec!["long".into(), "1000".into()]],
        );
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines, ["key   size", "a        5", "long  1000"]);
    }
}
