//! What a run says at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::episode::Difference;
use crate::generate::Step;
use crate::wire::{show, show_command};

/// Commands of a run, by what became of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) compared: usize,
    pub(crate) same: usize,
    /// By entry of `known`.
    pub(crate) known: BTreeMap<&'static str, usize>,
    /// Left out, by what this server lacks.
    pub(crate) lacking: BTreeMap<String, usize>,
}

impl Counts {
    /// One line, and one for what is behind its numbers.
    pub(crate) fn summary(&self, different: usize) -> String {
        let known: usize = self.known.values().sum();
        let lacking: usize = self.lacking.values().sum();
        let judged = (self.compared - known).max(1);
        let mut text = format!(
            "{} commands compared, {} identical ({:.4} % of those outside the list), {known} in the list, \
             {different} different; {lacking} left out, of commands unknown to us",
            self.compared,
            self.same,
            percent(self.same, judged),
        );
        for (name, count) in &self.known {
            let _ = write!(text, "\n  in the list: {name}: {count}");
        }
        if !self.lacking.is_empty() {
            let names: Vec<&str> = self.lacking.keys().map(String::as_str).collect();
            let _ = write!(text, "\n  unknown to us: {}", names.join(", "));
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share, shown with four digits")]
fn percent(part: usize, whole: usize) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// A difference with what leads to it, to be read by a person.
pub(crate) fn explain(steps: &[Step], difference: &Difference, shrunk: bool) -> String {
    const STEPS_MAX: usize = 40;
    let mut text = String::new();
    let shown = steps.len().min(difference.index + 1);
    let first = shown.saturating_sub(STEPS_MAX);
    if first > 0 {
        let _ = writeln!(text, "  .. {first} steps before");
    }
    for step in &steps[first..shown] {
        let _ = writeln!(text, "  {}> {}", step.connection, show_command(&step.words));
    }
    let _ = writeln!(text, "  redis: {}", show(&difference.theirs));
    let _ = writeln!(text, "  ours:  {}", show(&difference.ours));
    if !shrunk {
        text.push_str("  (did not come again in the same steps sent whole: timing, or where the bytes were cut)\n");
    }
    text
}
