//! Telemetry from the cores, and whether the server is ready for work.

use std::time::Instant;

use tokio::sync::Mutex;

use super::answer::Failure;
use super::links::{Class, Commands, LinkError};
use super::server::Site;
use crate::client::Reply;
use crate::command::Report;
use crate::limits::HTTP_REPORT_TIME_MAX;

/// For which an answer about readiness is given again: nobody has to log in for it.
const READINESS_MS_MAX: u128 = 500;
/// Time in which no write of a shard got through, though some waited all the while, after which it is stalled.
const STALL_MS_MIN: u128 = 2_000;
const STALLED: &str = "a core does not answer: it is stalled";

/// The report of all cores, as JSON in one line.
///
/// # Errors
/// 503; 403 where STATS is on the deny-list.
pub(super) async fn fresh(site: &Site) -> Result<Vec<u8>, Failure> {
    let links = site.links()?;
    let asked = Commands::one(&["STATS", "JSON"]);
    let replies = links.ask_all(links.any_core(), Class::Slow, asked, HTTP_REPORT_TIME_MAX).await;
    let reply = match replies.map(|mut replies| replies.pop()) {
        Err(LinkError::Late) => {
            return Err(Failure::unavailable(STALLED));
        }
        Err(error) => return Err(error.into()),
        Ok(reply) => reply,
    };
    match reply {
        Some(Reply::Bulk(json) | Reply::Verbatim(json)) => Ok(json),
        Some(Reply::Error(text)) => Err(Failure::of_reply(&text)),
        _ => Err(Failure::unavailable("telemetry of an unknown form")),
    }
}

/// [`fresh`], read.
pub(super) async fn report(site: &Site) -> Result<Report, Failure> {
    let json = fresh(site).await?;
    Report::from_json(&json)
        .map_err(|error| Failure::unavailable(format!("telemetry of an unknown form: {error}")))
}

/// Of one shard at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    stall_us: u64,
    writes: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// The last answer, and when it was found.
    last: Option<(Instant, Result<(), &'static str>)>,
    /// What the next look is compared with.
    samples: Option<(Instant, Vec<Sample>)>,
}

/// Whether work should come here.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Whoever asks while another asks waits for its answer.
    known: Mutex<Known>,
}

impl Readiness {
    /// # Errors
    /// In one or two words, why not. No details: nobody has to log in for this.
    pub(super) async fn look(&self, site: &Site) -> Result<(), &'static str> {
        if site.is_stopping() {
            return Err("stopping");
        }
        if site.links().is_err() {
            return Err("recovering");
        }
        let mut known = self.known.lock().await;
        if let Some((at, result)) = known.last
            && at.elapsed().as_millis() < READINESS_MS_MAX
        {
            return result;
        }
        let result = match report(site).await {
            Ok(report) => known.judge(&report, Instant::now()),
            Err(failure) if failure.text == STALLED => Err("stalled"),
            // Too much is under way, or telemetry is on the deny-list: that is no reason to send work elsewhere.
            Err(failure) if failure.status != hyper::StatusCode::SERVICE_UNAVAILABLE => Ok(()),
            Err(_) => Err("unreachable"),
        };
        known.last = Some((Instant::now(), result));
        result
    }
}

impl Known {
    fn judge(&mut self, report: &Report, now: Instant) -> Result<(), &'static str> {
        if report.persistence.loading {
            return Err("recovering");
        }
        if report.lsm.read_only_shards > 0 {
            return Err("read-only");
        }
        let shards = report.shards.iter();
        let samples: Vec<Sample> =
            shards.map(|shard| Sample { stall_us: shard.stall_us, writes: shard.writes }).collect();
        let Some((before, olds)) = &self.samples else {
            self.samples = Some((now, samples));
            return Ok(());
        };
        let passed = now.saturating_duration_since(*before);
        let waited = |old: &Sample, new: &Sample| {
            let stalled_us = u128::from(new.stall_us.saturating_sub(old.stall_us));
            // Nearly all of the time: the two clocks are looked at at two moments.
            new.writes == old.writes && stalled_us * 10 >= passed.as_micros() * 9
        };
        let is_stalled = passed.as_millis() >= STALL_MS_MIN
            && olds.iter().zip(&samples).any(|(old, new)| waited(old, new));
        if is_stalled {
            return Err("stalled");
        }
        if passed.as_millis() >= STALL_MS_MIN {
            self.samples = Some((now, samples));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::info::Shard;

    fn report(stall_us: u64, writes: u64) -> Report {
        let shard = Shard { stall_us, writes, ..Shard::default() };
        Report { shards: vec![Shard::default(), shard], ..Report::default() }
    }

    #[test]
    fn a_shard_that_takes_no_write_is_stalled_one_that_slows_them_is_not() {
        let mut known = Known::default();
        let start = Instant::now();
        let mut look = |at_ms, stall_us, writes| {
            known.judge(&report(stall_us, writes), start + Duration::from_millis(at_ms))
        };
        assert_eq!(look(0, 0, 0), Ok(()));
        assert_eq!(look(1_000, 1_000_000, 5), Ok(()));
        // Writes wait much, and get on.
        assert_eq!(look(3_000, 2_900_000, 6), Ok(()));
        // None gets on.
        assert_eq!(look(4_000, 3_900_000, 6), Ok(()), "not long enough to tell");
        assert_eq!(look(5_500, 5_400_000, 6), Err("stalled"));
        assert_eq!(look(9_000, 8_900_000, 6), Err("stalled"));
        assert_eq!(look(10_000, 9_000_000, 7), Ok(()));
    }

    #[test]
    fn a_shard_that_is_read_only_is_not_ready() {
        let mut report = report(0, 0);
        report.lsm.read_only_shards = 1;
        assert_eq!(Known::default().judge(&report, Instant::now()), Err("read-only"));
    }
}
