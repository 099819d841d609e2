//! Parse, look, start, wait, stop.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use clap::Parser as _;
use rusty_lsm::backup;
use rusty_lsm::cli::{Cli, Command, PingArgs, StartArgs, ping};
use rusty_lsm::config::HostMemory;
use rusty_lsm::error::{ServerError, exit};
use rusty_lsm::http::Http;
use rusty_lsm::live::StopWish;
use rusty_lsm::start::{self, Prepared};
use rusty_lsm::transfer::{TransferError, run};
use rusty_lsm::{service, terminal, tools};
use shard::check::dump::Kinds;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Signals that follow the first one within this time are the same wish: `timeout`, supervisors and terminals send theirs to
/// the process and to its group, or twice.
const SAME_WISH: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    end_with_a_panic();
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
        Command::Import(args) => end_transfer(run::run_import(&args)),
        Command::Export(args) => end_transfer(run::run_export(&args)),
        Command::Checkpoint(args) => end(backup::checkpoint(&args)),
        Command::Restore(args) => end(backup::restore(&args)),
        Command::Reshard(args) => end(tools::reshard(&args)),
        Command::DumpWal(args) => end(tools::dump(&args, Kinds::Segment)),
        Command::DumpSst(args) => end(tools::dump(&args, Kinds::Table)),
        Command::DumpManifest(args) => end(tools::dump(&args, Kinds::Manifest)),
        Command::Repl(args) => end_or(terminal::repl(&args), exit::FAILURE),
        Command::Demo(args) => end_or(terminal::demo(&args), exit::FAILURE),
        Command::Top(args) => end_or(terminal::top(&args), exit::FAILURE),
        Command::Doctor(args) => end_or(terminal::doctor(&args), exit::FAILURE),
        Command::Clear(args) => end_or(terminal::clear(&args), exit::FAILURE),
        Command::Compact(args) => end_or(terminal::compact(&args), exit::FAILURE),
        Command::Stats(args) => end(tools::stats(&args)),
        Command::Scan(args) => end(tools::scan(&args)),
        Command::Completions(args) => end(terminal::completions(&args)),
        Command::Man(args) => end(terminal::man(&args)),
    }
}

/// A panic ends the process, whichever thread it was in. Release builds abort anyway; those for tests unwind, because tests
/// must, and a binary beside them that did not would need each dependency a second time.
fn end_with_a_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// What a tool ends with: whether it left no damage, or why it could not look.
fn end(result: Result<bool, ServerError>) -> ExitCode {
    end_or(result, exit::DAMAGED)
}

/// What a command ends with that answers whether all went well; `otherwise` is the code for not.
fn end_or(result: Result<bool, ServerError>, otherwise: u8) -> ExitCode {
    match result {
        Ok(true) => ExitCode::from(exit::OK),
        Ok(false) => ExitCode::from(otherwise),
        Err(error) => {
            say(&format!("rusty-lsm: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What a transfer ends with.
fn end_transfer(result: Result<u8, TransferError>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
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
    if let (true, Some(shards)) = (args.reshard, config.shards) {
        tools::reshard_for_start(&config.data_dir, shards)?;
    }
    serve(start::prepare(config)?)
}

fn serve(prepared: Prepared) -> Result<(), ServerError> {
    start::init_log(&prepared.config);
    // Before any thread: each of them inherits the mask, and none takes a signal meant for us.
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(ServerError::Runtime)?;
    prepared.machine.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    say(&prepared.banner());
    let listener = prepared.listen()?;
    let more = prepared.listen_more()?;
    let address = listener.local_addr().map_err(ServerError::Runtime)?;
    let http = match prepared.listen_http()? {
        Some(listener) => {
            let options = prepared.http_options();
            Some(Http::start(listener, options).map_err(ServerError::Runtime)?)
        }
        None => None,
    };
    if let Some(http) = &http {
        say(&format!("  http    {}", http.address()));
    }
    let serving = Arc::new(AtomicBool::new(false));
    let (ask, asked) = channel();
    let answer = Arc::clone(&serving);
    let shutdown = ask.clone();
    std::thread::spawn(move || heed(signals, &ask, &answer));
    let server = prepared.start(Some(listener), more, Some(shutdown))?;
    if let Some(http) = &http {
        http.serve(server.connector());
    }
    serving.store(true, Ordering::Release);
    say(&start::recovery_banner(server.recovery(), &address));
    service::ready(&address.to_string());
    service::wait(&server, &asked);
    tracing::info!("stopping: finishing what was read; a second signal ends at once");
    service::stopping();
    if let Some(http) = http {
        http.stop();
    }
    server.stop()?;
    tracing::info!("stopped in order");
    Ok(())
}

/// Takes signals: the first asks for an orderly end, a later one ends at once. Before the server serves, the first does,
/// too: nothing was acknowledged yet, and a start that was ended half-way is begun anew by the next.
#[expect(clippy::exit, reason = "whoever sent the signal does not want to wait")]
fn heed(mut signals: Signals, ask: &Sender<StopWish>, serving: &AtomicBool) {
    let mut first: Option<Instant> = None;
    for _ in signals.forever() {
        match first {
            None if !serving.load(Ordering::Acquire) => {
                tracing::info!("stopped while starting; nothing is lost");
                std::process::exit(exit::OK.into());
            }
            None => {
                first = Some(Instant::now());
                // The receiver lives as long as the process.
                let _ = ask.send(StopWish { save: false });
            }
            Some(first) if first.elapsed() < SAME_WISH => {}
            Some(_) => std::process::exit(exit::FAILURE.into()),
        }
    }
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
