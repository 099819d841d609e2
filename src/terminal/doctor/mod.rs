//! `doctor`: this machine, looked at. Each check is a line: what is so, whether that is good, and what to do about it.
//!
//! - `machine`: kernel, io_uring, limits, memory, clock. `disk`: the directory, its file system, what a sync costs.

mod disk;
mod machine;

use std::fmt::Write as _;

use serde::Serialize;

use super::print;
use super::style::Style;
use crate::cli::DoctorArgs;
use crate::error::ServerError;

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// A sentence.
    what: String,
    /// Empty if there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

impl Check {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, what: what.into(), remedy: String::new() }
    }

    fn warn(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, what: what.into(), remedy: remedy.into() }
    }

    fn fail(name: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, what: what.into(), remedy: remedy.into() }
    }

    /// What a start would refuse.
    fn refused(name: &'static str, error: &ServerError) -> Self {
        match error {
            ServerError::Unavailable { what, remedy }
            | ServerError::DataDir { what, remedy, .. } => Self::fail(name, what, remedy),
            other => Self::fail(name, other.to_string(), ""),
        }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// Looks at everything. Answers whether nothing failed; a warning is no failure.
///
/// # Errors
/// None: what cannot be looked at is a check that failed.
pub fn doctor(args: &DoctorArgs) -> Result<bool, ServerError> {
    let mut checks = machine::checks();
    checks.extend(disk::checks(&args.data_dir));
    let ok = checks.iter().all(|check| check.status != Status::Fail);
    if args.json {
        // Words: nothing that could fail.
        let text = serde_json::to_string(&Report { ok, checks }).unwrap_or_default();
        print(&format!("{text}\n"));
        return Ok(ok);
    }
    let style = Style::of_output();
    let mut text = String::new();
    for check in &checks {
        let status = match check.status {
            Status::Ok => style.green("ok  "),
            Status::Warn => style.yellow("warn"),
            Status::Fail => style.red("fail"),
        };
        // A String takes every write.
        let _ = writeln!(text, "{status}  {:<14}{}", check.name, check.what);
        if !check.remedy.is_empty() {
            let _ = writeln!(text, "{:<20}-> {}", "", check.remedy);
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let _ = writeln!(
        text,
        "{} ok, {} to look at, {} failed",
        count(Status::Ok),
        count(Status::Warn),
        count(Status::Fail)
    );
    print(&text);
    Ok(ok)
}
