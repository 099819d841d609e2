//! `demo`: what the server does, told step by step, with the real binary as a process of its own: it is killed in the middle of
//! writes, and then every write that it acknowledged is looked for.
//!
//! - `child`: the server's process. `records`: what is written, and what must be there.

mod child;
mod records;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::child::{Child, Wait};
use self::records::{Records, Writer};
use super::style::Style;
use super::{Interrupt, complain, grouped, micros, print, size};
use crate::cli::DemoArgs;
use crate::client::{Client, ClientError, Reply};
use crate::command::Report;
use crate::error::ServerError;
use crate::format::random_bytes;

/// How often a wait looks up.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Why the demonstration ended early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Server(#[from] ServerError),
    #[error("the server answered {0}")]
    Refused(String),
    #[error("the server ended while it started; it said:\n{0}")]
    Ended(String),
    #[error("the server has not done it after {seconds} s; it said:\n{log}")]
    Late { seconds: u64, log: String },
    #[error(
        "{0} of the acknowledged writes are not there: this is a bug, please report it; the directory is kept"
    )]
    Lost(u64),
    #[error("ended by Ctrl-C")]
    Interrupted,
}

/// Runs all of it. Answers whether every acknowledged write was there.
///
/// # Errors
/// None so far: what goes wrong is said, and answered with false.
pub fn demo(args: &DemoArgs) -> Result<bool, ServerError> {
    let interrupt = Interrupt::watch().map_err(ServerError::Runtime)?;
    let dir = make_dir()?;
    let mut told = Told { style: Style::of_output(), step: 0 };
    let result = run(&dir, args.records, &mut told, &interrupt);
    let keeps = args.keep || matches!(result, Err(DemoError::Lost(_)));
    if keeps {
        print(&format!("\nkept: {}\n", dir.display()));
    } else {
        fs::remove_dir_all(&dir).map_err(|e| ServerError::io("remove", &dir, e))?;
    }
    match result {
        Ok(()) => {
            if !keeps {
                print(&format!("\nremoved {}\n", dir.display()));
            }
            Ok(true)
        }
        Err(error) => {
            complain(&format!("rusty-lsm: {error}"));
            Ok(false)
        }
    }
}

/// Beside what is here: on this disk, not in a memory that would make no write durable.
fn make_dir() -> Result<PathBuf, ServerError> {
    let random = u32::from_le_bytes(random_bytes()?);
    let dir = PathBuf::from(format!("rusty-lsm-demo-{random:08x}"));
    fs::create_dir(&dir).map_err(|e| ServerError::io("create", &dir, e))?;
    Ok(dir)
}

/// What is told, numbered.
struct Told {
    style: Style,
    step: u32,
}

impl Told {
    fn step(&mut self, text: &str) {
        self.step += 1;
        print(&format!("\n{}\n", self.style.bold(format!("{}. {text}", self.step))));
    }

    #[expect(clippy::unused_self, reason = "beside `step`")]
    fn line(&self, text: &str) {
        print(&format!("   {text}\n"));
    }
}

fn run(dir: &Path, count: u32, told: &mut Told, interrupt: &Interrupt) -> Result<(), DemoError> {
    print(&format!(
        "rusty-lsm demo: a server, its data in ./{}, killed and looked at.\n",
        dir.display()
    ));
    told.step("A server starts on an empty directory");
    let wait = Wait { interrupt: interrupt.clone() };
    let mut child = Child::start(dir, &wait)?;
    told.line(&format!("$ {}", child.command_line()));
    for line in child.said(&["data", "sync", "memory", "ready"]) {
        told.line(&line);
    }
    let mut records = Records::new(count);
    first_writes(&mut child, &mut records, told, interrupt)?;
    flush(&mut child, told)?;
    change_and_merge(&mut child, &mut records, told, interrupt)?;
    let in_doubt = kill(&mut child, &mut records, told, interrupt)?;
    recover(&mut child, told, &wait)?;
    compare(&mut child, &records, &in_doubt, told, interrupt)?;
    told.step("It stops in order");
    child.stop(&wait)?;
    told.line(
        "what was read was answered, the log is synced and its end noted, the files are closed",
    );
    Ok(())
}

fn first_writes(
    child: &mut Child,
    records: &mut Records,
    told: &mut Told,
    interrupt: &Interrupt,
) -> Result<(), DemoError> {
    let count = records.count();
    told.step(&format!("{} records are written", grouped(count.into())));
    told.line("with --sync always: each OK is sent once its record is on disk; writes that wait share one sync");
    let began = Instant::now();
    let mut writer = Writer::new(child.client()?);
    for number in 0..count {
        writer.set(records, number, 1)?;
        stop_if(interrupt)?;
    }
    writer.finish(records)?;
    let report = report(&mut child.client()?)?;
    told.line(&format!(
        "{} OKs in {:.2} s; {} writes of the log, {:.0} records each",
        grouped(count.into()),
        began.elapsed().as_secs_f64(),
        grouped(report.lsm.wal_writes),
        share(report.lsm.wal_operations, report.lsm.wal_writes),
    ));
    told.line(&format!(
        "they lie in the log and, in order, in memtables of {}",
        size(report.lsm.memtable_bytes)
    ));
    Ok(())
}

fn flush(child: &mut Child, told: &mut Told) -> Result<(), DemoError> {
    told.step("FLUSHDB: the memtables become tables of level 0");
    let mut client = child.client()?;
    let before = tables_bytes(&report(&mut client)?);
    ok(client.command(&["FLUSHDB"])?)?;
    let after = report(&mut client)?;
    told.line(&format!("tables: {} before, {} now", size(before), size(tables_bytes(&after))));
    told.line(&format!(
        "tables by level: {:?}; memtables: {}",
        after.lsm.level_tables,
        size(after.lsm.memtable_bytes)
    ));
    told.line("(it erases nothing; FLUSHALL would)");
    Ok(())
}

fn change_and_merge(
    child: &mut Child,
    records: &mut Records,
    told: &mut Told,
    interrupt: &Interrupt,
) -> Result<(), DemoError> {
    told.step(
        "Half of them are overwritten, a quarter is deleted, and everything is merged (COMPACT)",
    );
    let mut writer = Writer::new(child.client()?);
    for number in 0..records.count() {
        match number % 4 {
            0 | 1 => writer.set(records, number, 2)?,
            2 => writer.delete(records, number)?,
            _ => {}
        }
        stop_if(interrupt)?;
    }
    writer.finish(records)?;
    let mut client = child.client()?;
    ok(client.command(&["FLUSHDB"])?)?;
    let before = report(&mut client)?;
    let began = Instant::now();
    ok(client.command(&["COMPACT"])?)?;
    let after = report(&mut client)?;
    told.line(&format!(
        "before: {} in tables by level {:?}",
        size(tables_bytes(&before)),
        before.lsm.level_tables
    ));
    told.line(&format!(
        "after:  {} in tables by level {:?}, {} keys; it took {}",
        size(tables_bytes(&after)),
        after.lsm.level_tables,
        grouped(after.keyspace.keys),
        micros(began.elapsed().as_secs_f64() * 1e6)
    ));
    told.line("of each key one version is left, of the deleted ones nothing");
    Ok(())
}

/// Answers the writes that were sent and not answered.
fn kill(
    child: &mut Child,
    records: &mut Records,
    told: &mut Told,
    interrupt: &Interrupt,
) -> Result<Vec<u32>, DemoError> {
    told.step("kill -9, in the middle of writes");
    let acknowledged = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&acknowledged);
    let mut writer = Writer::new(child.client()?);
    let mut written = records.clone();
    let wanted = u64::from(records.count()) / 8;
    let writing = std::thread::spawn(move || {
        // Ends by the error that the kill makes.
        let error = written.overwrite_for_ever(&mut writer, &seen);
        (written, writer.into_sent(), error)
    });
    while acknowledged.load(Ordering::Relaxed) < wanted && !writing.is_finished() {
        if interrupt.was_pressed() {
            child.kill()?;
            let _ = writing.join();
            return Err(DemoError::Interrupted);
        }
        std::thread::park_timeout(LOOK_INTERVAL);
    }
    child.kill()?;
    let Ok((written, in_doubt, error)) = writing.join() else {
        return Err(DemoError::Refused("nothing: the writer ended".into()));
    };
    if let Reply::Error(text) = error {
        return Err(DemoError::Refused(text));
    }
    *records = written;
    told.line(&format!(
        "the server was killed (signal 9) after {} more OKs; {} writes had been sent and not answered",
        grouped(acknowledged.load(Ordering::Relaxed)),
        in_doubt.len()
    ));
    Ok(in_doubt)
}

fn recover(child: &mut Child, told: &mut Told, wait: &Wait) -> Result<(), DemoError> {
    told.step("The same command again: it recovers");
    let began = Instant::now();
    child.start_again(wait)?;
    for line in child.said(&["found", "ready"]) {
        told.line(&line);
    }
    told.line(&format!("ready after {}", micros(began.elapsed().as_secs_f64() * 1e6)));
    Ok(())
}

fn compare(
    child: &mut Child,
    records: &Records,
    in_doubt: &[u32],
    told: &mut Told,
    interrupt: &Interrupt,
) -> Result<(), DemoError> {
    told.step("Every acknowledged write is looked for");
    let found = records.compare(&mut child.client()?, in_doubt, || stop_if(interrupt))?;
    told.line(&format!(
        "{} keys read: {} have the value that was acknowledged last, {} deleted ones are absent",
        grouped(u64::from(records.count())),
        grouped(found.values),
        grouped(found.absent)
    ));
    told.line(&format!(
        "of {} writes without an answer {} are there: they may be, or not, but each is whole",
        in_doubt.len(),
        found.in_doubt_there
    ));
    if found.lost > 0 {
        return Err(DemoError::Lost(found.lost));
    }
    told.line(&told.style.green("none is lost"));
    Ok(())
}

fn stop_if(interrupt: &Interrupt) -> Result<(), DemoError> {
    if interrupt.was_pressed() { Err(DemoError::Interrupted) } else { Ok(()) }
}

fn ok(reply: Reply) -> Result<(), DemoError> {
    match reply {
        Reply::Error(text) => Err(DemoError::Refused(text)),
        _ => Ok(()),
    }
}

fn report(client: &mut Client) -> Result<Report, DemoError> {
    let reply = client.command(&["STATS", "JSON"])?;
    let report = reply.bytes().and_then(|text| Report::from_json(text).ok());
    report.ok_or_else(|| DemoError::Refused("STATS JSON with something else".into()))
}

fn tables_bytes(report: &Report) -> u64 {
    report.lsm.level_bytes.iter().sum()
}

#[expect(clippy::cast_precision_loss, reason = "two digits for people")]
fn share(all: u64, of: u64) -> f64 {
    all as f64 / of.max(1) as f64
}
