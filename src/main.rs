//! Parse, look, start, wait, stop.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use rusty_lsm::cli::{Cli, Command, PingArgs, StartArgs, ping};
use rusty_lsm::config::HostMemory;
use rusty_lsm::error::{ServerError, exit};
use rusty_lsm::start::{self, Prepared};
use rusty_lsm::tools;
use shard::check::dump::Kinds;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Ping(args) => run_ping(&args),
        Command::Start(args) => match run_start(&args) {
            Ok(()) => ExitCode::from(exit::OK),
            Err(error) => {
                say(&format!("rusty-lsm: {error}"));
                ExitCode::from(error.exit_code())
            }
        },
        Command::Check(args) => end(tools::check(&args)),
        Command::Repair(args) => end(tools::repair(&args)),
        Command::DumpWal(args) => end(tools::dump(&args, Kinds::Segment)),
        Command::DumpSst(args) => end(tools::dump(&args, Kinds::Table)),
        Command::DumpManifest(args) => end(tools::dump(&args, Kinds::Manifest)),
    }
}

/// What a tool ends with: whether it left no damage, or why it could not look.
fn end(result: Result<bool, ServerError>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::from(exit::OK),
        Ok(false) => ExitCode::from(exit::DAMAGED),
        Err(error) => {
            say(&format!("rusty-lsm: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_start(args: &StartArgs) -> Result<(), ServerError> {
    let config = args.load()?;
    if args.print_config {
        print(&config.to_toml());
        return Ok(());
    }
    if args.check_config {
        let shards = config.shards.unwrap_or_else(start::cores);
        let plan = config.derive(shards, &HostMemory::detect())?;
        print(&format!("the settings are usable; memory: {plan}\n"));
        return Ok(());
    }
    serve(start::prepare(config)?)
}

fn serve(prepared: Prepared) -> Result<(), ServerError> {
    start::init_log(&prepared.config);
    // Before any thread: each of them inherits the mask, and none takes a signal meant for us.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(ServerError::Runtime)?;
    prepared.machine.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    say(&prepared.banner());
    let listener = prepared.listen()?;
    let address = listener.local_addr().map_err(ServerError::Runtime)?;
    let server = prepared.start(Some(listener))?;
    say(&start::recovery_banner(server.recovery(), &address));
    if signals.forever().next().is_some() {
        tracing::info!("stopping: finishing what was read; a second signal ends at once");
    }
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            #[expect(
                clippy::exit,
                reason = "the second signal: whoever sent it does not want to wait"
            )]
            std::process::exit(exit::FAILURE.into());
        }
    });
    server.stop()?;
    tracing::info!("stopped in order");
    Ok(())
}

fn run_ping(args: &PingArgs) -> ExitCode {
    match ping(&args.host, args.port) {
        Ok(reply) => {
            print(&format!("{reply}\n"));
            ExitCode::from(exit::OK)
        }
        Err(error) => {
            say(&format!("rusty-lsm: {}:{} does not answer: {error}", args.host, args.port));
            ExitCode::from(exit::FAILURE)
        }
    }
}

/// To the one who asked; a closed pipe is not our failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
