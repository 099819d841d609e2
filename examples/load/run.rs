//! A run: connections made, threads started together, what they have seen added up.

use std::io;
use std::io::{IsTerminal, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::Context;
use crate::net::{Sockets, connect};
use crate::series::{Series, SeriesRow};
use crate::settings::{NS_PER_S, Settings};
use crate::tally::{Second, Tally};
use crate::worker::{Stop, Worker};

/// Time for all threads to be started before the clock begins.
const HEAD_START: Duration = Duration::from_millis(20);

/// What a run has found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) series: Vec<SeriesRow>,
    /// Measured, from the end of the warm-up to the end of the run or the last answer, whichever was later.
    pub(crate) seconds: f64,
    /// CPU of this process, warm-up included.
    pub(crate) cpu_seconds: f64,
}

/// Drives the server at `host`:`port`.
/// # Errors
/// A sentence: it cannot be reached, it closed a connection, its replies are none, it is silent.
pub(crate) fn run(settings: &Settings, host: &str, port: u16) -> Result<Outcome, String> {
    let connect = |_| connect(host, port).map_err(|error| format!("{host}:{port}: {error}"));
    let mut streams: Vec<Option<TcpStream>> =
        (0..settings.clients).map(|client| connect(client).map(Some)).collect::<Result<_, _>>()?;
    let context = Context::new(settings);
    let is_over = Arc::new(AtomicBool::new(false));
    let (sender, seconds) = channel();
    let began = Instant::now() + HEAD_START;

    thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..settings.threads {
            let numbers: Vec<usize> =
                (thread..settings.clients).step_by(settings.threads).collect();
            let streams = numbers.iter().filter_map(|&number| streams[number].take()).collect();
            let tally = Tally::new(settings.measured_from_ns(), thread, Some(sender.clone()));
            let (context, is_over) = (&context, Arc::clone(&is_over));
            threads.push(scope.spawn(move || {
                let run = || -> Result<Tally, Stop> {
                    Sockets::wake_punctually();
                    let net =
                        Sockets::new(streams, began, Arc::clone(&is_over)).map_err(Stop::Wait)?;
                    let mut worker = Worker::new(settings, context, &numbers, net, tally);
                    wait_until(began);
                    worker.run()?;
                    Ok(worker.tally)
                };
                let ended = run();
                if ended.is_err() {
                    is_over.store(true, Ordering::Relaxed);
                }
                ended
            }));
        }
        drop(sender);
        let series = collect(&seconds, settings);
        let ended: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        let mut all = Tally::new(settings.measured_from_ns(), 0, None);
        for tally in first_failure(ended)? {
            all.merge(tally);
        }
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let ends_ns = settings.ends_ns().unwrap_or(0).max(all.last_answer_ns);
        Ok(Outcome {
            series,
            seconds: ends_ns.saturating_sub(settings.measured_from_ns()) as f64 / NS_PER_S,
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / NS_PER_S,
            tally: all,
        })
    })
}

/// All tallies, or the failure that ended the others.
fn first_failure(ended: Vec<Result<Tally, Stop>>) -> Result<Vec<Tally>, String> {
    let mut tallies = Vec::new();
    let mut failures = Vec::new();
    for ended in ended {
        match ended {
            Ok(tally) => tallies.push(tally),
            // A thread that was told of another's failure has nothing to say.
            Err(Stop::Wait(error)) => failures.push(error.to_string()),
            Err(stop) => failures.insert(0, stop.to_string()),
        }
    }
    failures.into_iter().next().map_or(Ok(tallies), Err)
}

fn wait_until(moment: Instant) {
    loop {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // May wake early.
        thread::park_timeout(left);
    }
}

/// Rows of all threads together, shown as they come where somebody looks.
fn collect(seconds: &Receiver<Second>, settings: &Settings) -> Vec<SeriesRow> {
    let mut series = Series::new(settings.threads);
    let mut progress = io::stderr();
    let is_shown = progress.is_terminal();
    for second in seconds {
        for row in series.add(second) {
            if is_shown {
                // A terminal that is gone is no reason to stop measuring.
                let _ = writeln!(
                    progress,
                    "{:5} s {:9} requests {:6} errors   p50 {:9.0} us   p99 {:9.0} us   max {:9.0} us",
                    row.second, row.requests, row.errors, row.p50_us, row.p99_us, row.max_us
                );
            }
        }
    }
    series.finish()
}
