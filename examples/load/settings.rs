//! A run, checked: what the command line says, with its defaults and within the limits.

use crate::cli::{Arrivals, Cli, Distribution, Sizes, Workload};
use crate::keys::{KeyNames, digits_of};
use crate::limits::{
    CLIENTS_MAX, INSERT_DIGITS, KEYS_MAX, OUTSTANDING_MAX, PIPELINE_MAX, RATE_MAX, REPLY_BYTES_MAX,
    REQUESTS_MAX, SCAN_KEYS_MAX, SECONDS_MAX, THETA_MAX, THREADS_MAX, VALUE_BYTES_MAX,
};
use crate::values::STAMP_BYTES;

pub(crate) const NS_PER_S: f64 = 1e9;

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    pub(crate) clients: usize,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    pub(crate) warmup_ns: u64,
    pub(crate) keys: u64,
    pub(crate) names: KeyNames,
    pub(crate) sizes: Sizes,
    pub(crate) compressible: f64,
    pub(crate) distribution: Distribution,
    pub(crate) theta: f64,
    pub(crate) seed: u64,
    pub(crate) verify: bool,
}

/// When a request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// With all others of its client's batch, once the batch before it is answered.
    Closed { pipeline: usize },
    /// At its moment.
    Open { rate: f64, arrivals: Arrivals, outstanding: usize },
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// So many nanoseconds after the warm-up.
    After(u64),
    /// With so many requests after the warm-up.
    Requests(u64),
    /// When each key was written once.
    EveryKey,
}

impl Settings {
    /// # Errors
    /// A sentence that names the option and its limit.
    pub(crate) fn new(cli: &Cli) -> Result<Self, String> {
        let workload = cli.workload.ok_or("--workload is missing")?;
        within("--threads", cli.threads, 1, THREADS_MAX)?;
        within("--clients", cli.clients, 1, CLIENTS_MAX)?;
        if cli.clients < cli.threads {
            return Err(format!(
                "--clients {}: each of the {} threads needs one",
                cli.clients, cli.threads
            ));
        }
        within("--keys", cli.keys, 1, KEYS_MAX)?;
        if cli.keys < cli.clients as u64 {
            return Err(format!(
                "--keys {}: each of the {} clients needs one",
                cli.keys, cli.clients
            ));
        }
        let inserts = matches!(workload, Workload::D | Workload::E);
        let digits = if inserts { INSERT_DIGITS } else { digits_of(cli.keys - 1) };
        let names = KeyNames::new(cli.key_bytes, cli.tagged.then_some(cli.clients), digits)?;
        within("--value-bytes", cli.value_bytes.max, 0, VALUE_BYTES_MAX)?;
        if cli.verify && cli.value_bytes.min < STAMP_BYTES {
            return Err(format!(
                "--value-bytes {}: --verify needs at least {STAMP_BYTES}, they say which key a value belongs to",
                cli.value_bytes.min
            ));
        }
        let scan_bytes = cli.value_bytes.max.saturating_mul(SCAN_KEYS_MAX as usize);
        if workload == Workload::E && scan_bytes > REPLY_BYTES_MAX {
            return Err(format!(
                "--value-bytes {}: {SCAN_KEYS_MAX} of them are above the limit of a reply, {REPLY_BYTES_MAX}",
                cli.value_bytes.max
            ));
        }
        within_f64("--compressible", cli.compressible, 0.0, 1.0)?;
        within_f64("--theta", cli.theta, 0.0, THETA_MAX)?;
        within_f64("--warmup", cli.warmup, 0.0, SECONDS_MAX)?;
        if workload == Workload::Load && cli.warmup > 0.0 {
            return Err("--warmup: load writes every key once, and measures all of it".into());
        }
        Ok(Self {
            workload,
            threads: cli.threads,
            clients: cli.clients,
            pace: pace(cli)?,
            end: end(cli, workload)?,
            warmup_ns: nanoseconds(cli.warmup),
            keys: cli.keys,
            names,
            sizes: cli.value_bytes,
            compressible: cli.compressible,
            distribution: cli.distribution.unwrap_or_else(|| usual_distribution(workload)),
            theta: cli.theta,
            seed: cli.seed,
            verify: cli.verify,
        })
    }

    /// The moment from which requests count.
    pub(crate) fn measured_from_ns(&self) -> u64 {
        self.warmup_ns
    }

    /// The moment at which a run by time ends.
    pub(crate) fn ends_ns(&self) -> Option<u64> {
        match self.end {
            End::After(ns) => Some(self.warmup_ns + ns),
            End::Requests(_) | End::EveryKey => None,
        }
    }
}

/// YCSB's own.
fn usual_distribution(workload: Workload) -> Distribution {
    match workload {
        Workload::A | Workload::B | Workload::C | Workload::E | Workload::F => {
            Distribution::Zipfian
        }
        Workload::D => Distribution::Latest,
        Workload::Load | Workload::Set | Workload::Get | Workload::Miss | Workload::Overwrite => {
            Distribution::Uniform
        }
    }
}

fn pace(cli: &Cli) -> Result<Pace, String> {
    let Some(rate) = cli.rate else {
        let pipeline = cli.pipeline.unwrap_or(1);
        within("--pipeline", pipeline, 1, PIPELINE_MAX)?;
        return Ok(Pace::Closed { pipeline });
    };
    // One request a client and 1000 s is a rate at which a thread may well sleep; slower ones are typing errors.
    within_f64("--rate", rate, 0.001, RATE_MAX)?;
    let outstanding = cli.outstanding.unwrap_or(1024);
    within("--outstanding", outstanding, 1, OUTSTANDING_MAX)?;
    Ok(Pace::Open { rate, arrivals: cli.arrivals, outstanding })
}

fn end(cli: &Cli, workload: Workload) -> Result<End, String> {
    if workload == Workload::Load {
        if cli.requests.is_some() || cli.duration.is_some() {
            return Err("--requests, --duration: load ends when it has written every key".into());
        }
        return Ok(End::EveryKey);
    }
    if let Some(requests) = cli.requests {
        within("--requests", requests, 1, REQUESTS_MAX)?;
        return Ok(End::Requests(requests));
    }
    let seconds = cli.duration.unwrap_or(10.0);
    within_f64("--duration", seconds, 0.001, SECONDS_MAX)?;
    Ok(End::After(nanoseconds(seconds)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 0 to SECONDS_MAX, checked where it is read"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * NS_PER_S) as u64
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    name: &str,
    value: T,
    min: T,
    max: T,
) -> Result<(), String> {
    if value < min || value > max {
        return Err(format!("{name} {value} is not between {min} and {max}"));
    }
    Ok(())
}

/// Refuses what is no number, too.
fn within_f64(name: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    if value.is_nan() {
        return Err(format!("{name} {value} is not between {min} and {max}"));
    }
    within(name, value, min, max)
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    /// The settings of a line such as `--workload a --rate 10`.
    pub(crate) fn settings(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        Settings::new(&cli)
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let run = settings("--workload d").unwrap();
        assert_eq!(run.pace, Pace::Closed { pipeline: 1 });
        assert_eq!(run.end, End::After(10_000_000_000));
        assert_eq!(run.distribution, Distribution::Latest);
        assert_eq!(run.sizes, Sizes { min: 100, max: 100 });
        let run = settings("--workload a --rate 10 --requests 5 --value-bytes 16-65536").unwrap();
        let pace = Pace::Open { rate: 10.0, arrivals: Arrivals::Uniform, outstanding: 1024 };
        assert_eq!(run.pace, pace);
        assert_eq!(run.end, End::Requests(5));
        assert_eq!(run.distribution, Distribution::Zipfian);
        assert_eq!(run.sizes, Sizes { min: 16, max: 65536 });
    }

    #[test]
    fn refusals_name_the_option_and_its_limit() {
        let cases = [
            ("--workload a --clients 20000", "--clients 20000 is not between 1 and 10000"),
            ("--workload a --clients 2 --threads 3", "each of the 3 threads needs one"),
            ("--workload a --keys 10", "each of the 50 clients needs one"),
            ("--workload a --pipeline 0", "--pipeline 0 is not between 1 and 10000"),
            ("--workload a --rate 0", "--rate 0 is not between 0.001 and 100000000"),
            ("--workload a --rate NaN", "--rate NaN is not between"),
            ("--workload a --rate 5 --pipeline 4", "cannot be used with"),
            ("--workload a --duration 1 --requests 1", "cannot be used with"),
            ("--workload a --arrivals poisson", "--rate"),
            ("--workload a --value-bytes 9-5", "9 is larger than 5"),
            ("--workload a --value-bytes x", "'x' is not a number of bytes"),
            ("--workload a --value-bytes 99999999", "--value-bytes 99999999 is not between 0 and"),
            ("--workload a --value-bytes 8 --verify", "--verify needs at least 16"),
            ("--workload e --value-bytes 1000000", "above the limit of a reply, 33554432"),
            ("--workload a --compressible 2", "--compressible 2 is not between 0 and 1"),
            ("--workload a --theta=-1", "--theta -1 is not between 0 and 10"),
            ("--workload a --key-bytes 5", "--key-bytes 5"),
            ("--workload load --requests 5", "every key"),
            ("--workload load --warmup 5", "every key"),
            ("--workload nonsense", "nonsense"),
            ("--keys 100", "--workload"),
        ];
        for (line, wanted) in cases {
            let said = settings(line).unwrap_err();
            assert!(said.contains(wanted), "{line}: {said}");
        }
    }
}
