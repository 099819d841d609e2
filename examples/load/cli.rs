//! The command line: words, units, defaults, and what cannot be.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Loads a server that speaks the Redis protocol, and measures what it answers.
///
/// Without --rate each client sends a batch of --pipeline requests, waits for all answers and sends the next (a closed loop:
/// it measures the highest rate, and hides waiting). With --rate every request has a moment at which it is due, whatever the
/// server does, and its latency counts from that moment: a server that stalls for a second is seen to stall for a second.
///
/// Exit code: 0 done; 1 --verify found a wrong, missing or unexpected value; 2 it could not be measured.
#[derive(Debug, Clone, Parser)]
#[command(name = "load", version, max_term_width = 120)]
pub(crate) struct Cli {
    /// Address or name of the server
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port of the server
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// What is asked of the server: loading, one kind of request, or YCSB A-F on strings
    #[arg(long, value_enum, required_unless_present = "compare")]
    pub(crate) workload: Option<Workload>,
    /// Threads of the generator; connections are dealt to them in turn
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Connections in all
    #[arg(long, default_value_t = 50)]
    pub(crate) clients: usize,
    /// Requests that a client sends together, and whose answers it awaits before the next ones [default: 1]
    #[arg(long, conflicts_with = "rate")]
    pub(crate) pipeline: Option<usize>,
    /// Requests a second, all clients together; absent: as fast as the answers come
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// How the moments of --rate follow each other
    #[arg(long, value_enum, default_value_t = Arrivals::Uniform, requires = "rate")]
    pub(crate) arrivals: Arrivals,
    /// With --rate: requests under way per client; what is due beyond them waits, and its latency grows [default: 1024]
    #[arg(long, requires = "rate")]
    pub(crate) outstanding: Option<usize>,
    /// Seconds measured, after the warm-up [default: 10, where --requests is not given]
    #[arg(long, conflicts_with = "requests")]
    pub(crate) duration: Option<f64>,
    /// Requests measured, all clients together, after the warm-up
    #[arg(long)]
    pub(crate) requests: Option<u64>,
    /// Seconds of the same load before anything is counted
    #[arg(long, default_value_t = 0.0)]
    pub(crate) warmup: f64,
    /// Keys that exist (workload load makes them), numbered from 0
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) keys: u64,
    /// Bytes of a key
    #[arg(long, default_value_t = 16)]
    pub(crate) key_bytes: usize,
    /// Bytes of a value: one size, or FROM-TO, drawn so that each doubling is as likely as any other
    #[arg(long, default_value = "100")]
    pub(crate) value_bytes: Sizes,
    /// Share of each value that compresses, 0 to 1
    #[arg(long, default_value_t = 0.5)]
    pub(crate) compressible: f64,
    /// Which keys are asked for [default: zipfian for a, b, c, e and f, latest for d, else uniform]
    #[arg(long, value_enum)]
    pub(crate) distribution: Option<Distribution>,
    /// Skew of zipfian and latest: 0 is none, 0.99 is YCSB's
    #[arg(long, default_value_t = 0.99)]
    pub(crate) theta: f64,
    /// Give each client keys of its own with its own hash tag ({c12}): all keys of a client lie on one shard
    #[arg(long)]
    pub(crate) tagged: bool,
    /// Seed of keys, values and arrivals: the same words send the same requests
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Check that a value belongs to its key, that loaded keys exist, and that absent ones do not
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write all figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a percentile distribution per kind of request (KIND.hgrm, HdrHistogram's text, milliseconds) into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write a row a second to this file: requests, errors, p50, p99, p99.9, max and the longest
    /// time without an answer in us, by the second of the answer
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) series: Option<PathBuf>,
    /// Write index.html with plots, table and metadata, run.json, series.csv and the .hgrm files into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// A line of metadata for the report; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) note: Vec<String>,
    /// Compare two reports (directories with run.json) and end; with --report DIR also as index.html with a plot of both
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["workload", "json", "hgrm", "series"])]
    pub(crate) compare: Option<Vec<PathBuf>>,
}

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// SET of every key once, in an order that is not theirs (in theirs with --distribution sequential); ends by itself
    Load,
    /// SET
    Set,
    /// GET of keys that exist
    Get,
    /// GET of keys that do not exist, each between two that do
    Miss,
    /// 50 % GET, 50 % SET
    A,
    /// 95 % GET, 5 % SET
    B,
    /// GET
    C,
    /// 95 % GET, mostly of what was inserted last, 5 % SET of new keys
    D,
    /// 95 % MGET of 1 to 100 consecutive keys (a scan, as strings have it), 5 % SET of new keys
    E,
    /// 50 % GET, 50 % GET and then SET of the same key, with one latency over both
    F,
    /// SET of keys that exist: like set, for a store that is loaded
    Overwrite,
}

/// Which keys are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// Each alike
    Uniform,
    /// A few very often, scattered over the key space
    Zipfian,
    /// The newest most often, of each client's own keys
    Latest,
    /// In order, each client its own share, again and again
    Sequential,
}

/// How the moments of a fixed rate follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly spaced
    Uniform,
    /// Independent of each other: exponential gaps
    Poisson,
}

/// Sizes of values, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl std::str::FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<usize>().map_err(|_| format!("'{text}' is not a number of bytes"))
        };
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        let sizes = Self { min: number(min)?, max: number(max)? };
        if sizes.min > sizes.max {
            return Err(format!("{min} is larger than {max}"));
        }
        Ok(sizes)
    }
}
