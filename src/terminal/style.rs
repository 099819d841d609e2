//! Colours on a terminal, unless `NO_COLOR` is set (<https://no-color.org>): text that goes into a pipe or file has none.

use std::fmt::Display;
use std::io::IsTerminal as _;

/// How text may look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    has_colours: bool,
}

impl Style {
    /// For what goes to the output.
    pub(super) fn of_output() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { has_colours: wanted && !is_dumb && std::io::stdout().is_terminal() }
    }

    pub(super) fn has_colours(self) -> bool {
        self.has_colours
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub(super) fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub(super) fn red(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    pub(super) fn green(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub(super) fn yellow(self, text: impl Display) -> String {
        self.paint("33", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_plain_text() {
        let plain = Style { has_colours: false };
        assert_eq!(plain.red("no"), "no");
        assert_eq!(Style { has_colours: true }.red("no"), "\x1b[31mno\x1b[0m");
    }
}
