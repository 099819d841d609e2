//! The project's own load generator: requests of the Redis protocol at a fixed rate or as fast as they are answered, and what
//! became of them. `cargo run --release --example load -- --help` has the options.
//!
//! ```text
//! cli -> settings -> run -> a thread each: worker over net -> report
//!                              |
//!   pace: when a request is due   workload: which one (keys, values)   connection: encoded, under way, answered (resp)
//!                              |
//!                            tally: latencies by kind and second, errors, checks
//! ```
//!
//! Nothing is allocated per request; there is one write per batch and one read per wake-up.
#![expect(clippy::cast_precision_loss, reason = "figures for a reader, and draws at random")]

mod cli;
mod connection;
mod facts;
mod keys;
mod limits;
mod net;
mod pace;
mod report;
mod resp;
mod run;
mod series;
mod settings;
mod tally;
mod values;
mod worker;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::report::Run;
use crate::settings::Settings;

/// `--verify` has found something.
const WRONG: u8 = 1;
/// It could not be measured; clap has the same code for words that it does not know.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match perform(&Cli::parse()) {
        Ok((text, code)) => {
            // Whoever reads has gone: there is nobody to tell.
            let _ = std::io::stdout().write_all(text.as_bytes());
            code
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "load: {why}");
            ExitCode::from(FAILED)
        }
    }
}

/// What to say, and the exit code.
fn perform(cli: &Cli) -> Result<(String, ExitCode), String> {
    if let Some([a, b]) = cli.compare.as_deref() {
        return Ok((report::compare::compare(a, b, cli.report.as_deref())?, ExitCode::SUCCESS));
    }
    let settings = Settings::new(cli)?;
    let notes: Vec<facts::Fact> =
        cli.note.iter().map(|note| fact(note)).collect::<Result<_, _>>()?;
    let address = format!("{}:{}", cli.host, cli.port);
    let stream =
        net::connect(&cli.host, cli.port).map_err(|error| format!("{address}: {error}"))?;
    let mut facts = facts::server(stream).map_err(|error| format!("{address}: {error}"))?;
    facts.extend(facts::machine());
    facts.extend(notes);

    let outcome = run::run(&settings, &cli.host, cli.port)?;
    let run = Run::new(&settings, &outcome, facts);
    report::write_all(cli, &run, &outcome)?;
    let is_wrong = settings.verify && outcome.tally.checks.faults() > 0;
    let code = if is_wrong { ExitCode::from(WRONG) } else { ExitCode::SUCCESS };
    Ok((report::table(&run), code))
}

fn fact(note: &str) -> Result<facts::Fact, String> {
    let (name, value) =
        note.split_once('=').ok_or_else(|| format!("--note {note}: it is NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
