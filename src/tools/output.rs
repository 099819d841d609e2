//! Lines on the output; the progress on the error output, where that is a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shard::check::{Event, Finding};

/// Between two looks at the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Where a tool's lines go.
pub(crate) struct Output {
    /// Paths are shown from here.
    root: PathBuf,
    shows_progress: bool,
    shown: Option<Instant>,
    /// What is being looked at, for the progress.
    label: String,
}

impl Output {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            shows_progress: std::io::stderr().is_terminal(),
            shown: None,
            label: String::new(),
        }
    }

    /// Names what the following events are about.
    pub(crate) fn begin(&mut self, label: String) {
        self.label = label;
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Damage(finding) => self.finding("damage", finding),
            Event::Note(finding) => self.finding("note", finding),
            Event::Lost(finding) => self.finding("lost", finding),
            Event::Done(finding) => self.finding("done", finding),
            Event::Progress { done, total } => self.progress(*done, *total),
        }
    }

    pub(crate) fn finding(&mut self, word: &str, finding: &Finding) {
        let path = finding.path.strip_prefix(&self.root).unwrap_or(&finding.path);
        let offset = finding.offset.map_or(String::new(), |offset| format!(" offset {offset}"));
        self.line(&format!("{word}: {}{offset}: {}", path.display(), finding.what));
    }

    /// One line; a closed pipe is not our failure.
    pub(crate) fn line(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    fn progress(&mut self, done: u64, total: u64) {
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS_INTERVAL);
        if !self.shows_progress || !is_due {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let (done, total) = (done >> 20, total >> 20);
        let mut err = std::io::stderr();
        let _ = write!(err, "\r\x1b[K{}: {percent} % ({done} of {total} MB)", self.label);
        let _ = err.flush();
    }

    /// Takes the progress off the terminal.
    pub(crate) fn clear(&mut self) {
        if self.shows_progress && self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
