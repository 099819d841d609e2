//! What people type in a terminal: REPL, demo, top, doctor, clear, completions, man pages, and the looks at a closed directory.

use std::path::PathBuf;

use clap::Args;

pub(super) const REPL_HELP: &str = "\
Without --connect it opens the data directory itself (no server may have it open: exit code 75).
Beside every command of the server it has
  SCAN [PREFIX] [LIMIT n]   keys that begin so, with type, size and TTL (digits alone: in quotes)
  BATCH n [VALUE_BYTES]     inserts n random records of 100 bytes, or so many; rate and latencies
  STATS                     what the server tells of itself, and a table of its shards
  HELP [COMMAND]            what there is, and how it is written
  EXIT                      ends, as Ctrl-D does; Ctrl-C clears the line or ends what runs
Words are separated by spaces; \"in double quotes\" with escapes (\\n, \\\", \\x00), or 'in
single ones'. From a pipe it reads a command a line, without prompt, quotes and times; lines
that begin with # are skipped. Exit code 0, or 1 if a command failed (its line number and error
are on stderr).

Examples:
  rusty-lsm repl
  rusty-lsm repl --connect 127.0.0.1:8080
  rusty-lsm repl -c 'SET user:1 \"Ada Lovelace\"' -c 'GET user:1'
  rusty-lsm repl --json < commands.txt";

pub(super) const DEMO_HELP: &str = "\
Makes a directory rusty-lsm-demo-XXXXXX beside the current one's files, and removes it at the
end. Some 20 MB, half a minute.

Example:
  rusty-lsm demo --keep";

pub(super) const CLEAR_HELP: &str = "\
Takes the directory's lock (a running server: exit code 75), looks at every name in it, and if
one is not ours removes nothing and says which (exit code 78). The directory itself stays.

Example:
  rusty-lsm clear --data-dir ./db_data --yes";

pub(super) const TOP_HELP: &str = "\
Keys: q or Ctrl-C ends, p pauses, + and - change the interval (0.2 to 60 s). A server that goes
away is waited for. Rates are those since the last look; latencies those since the server's
start (CONFIG RESETSTAT begins anew), and the p99 of the last interval, known to a power of two.

Examples:
  rusty-lsm top --connect 127.0.0.1:8080
  rusty-lsm top --once";

pub(super) const DOCTOR_HELP: &str = "\
One line a check: ok, warn or fail, with the remedy. Exit code 1 if one failed. It writes two
files of 1 MB into the directory (or, if there is none yet, into the one above it) to measure
what a sync costs, and removes them.

Examples:
  rusty-lsm doctor
  rusty-lsm doctor --data-dir /srv/db --json";

pub(super) const COMPACT_HELP: &str = "\
Flushes and merges all tables of a shard into one level: of each key one version stays, nothing
of what was deleted or has expired. Needs as much free space as the data has. Exit codes: 0, 75
(a server has the directory open), 1.

Example:
  rusty-lsm compact ./db_data";

pub(super) const STATS_HELP: &str = "\
Changes nothing. Keys are an upper bound: every version that is no tombstone, as if each were of
another key; `rusty-lsm scan DIR --keys-only | wc -l` counts them. 1 MB is 1024 KB.

Examples:
  rusty-lsm stats ./db_data
  rusty-lsm stats ./db_data --json";

pub(super) const SCAN_HELP: &str = "\
Ascending by the keys' bytes over all shards, read from the files: not a byte of the directory
is changed. A line is key, tab, value, both escaped as \\n, \\t, \\\\, \\xff; with --hex in
hexadecimal digits; with --json one object each: key, value, expires_at_ms if it ends, and
encoding base64 where bytes are no UTF-8. Memory: the part of the live log that is asked for.

Examples:
  rusty-lsm scan ./db_data --prefix user: --limit 10
  rusty-lsm scan ./db_data --from a --to b --keys-only
  rusty-lsm scan ./db_data --json";

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  rusty-lsm completions bash > /etc/bash_completion.d/rusty-lsm
  rusty-lsm completions zsh > ~/.zfunc/_rusty-lsm
  rusty-lsm completions fish > ~/.config/fish/completions/rusty-lsm.fish";

pub(super) const MAN_HELP: &str = "\
Examples:
  rusty-lsm man | man -l -
  rusty-lsm man /usr/local/share/man/man1";

/// Which server, and as whom.
#[derive(Debug, Clone, Default, Args)]
pub struct LoginArgs {
    /// User to log in as [default: default, if there is a password]
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File whose first line is the password; others must not be able to read it
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct ReplArgs {
    /// Directory to open; made if absent [default: ./db_data]
    #[arg(long, value_name = "DIR", conflicts_with = "connect")]
    pub data_dir: Option<String>,
    /// A running server instead, as 127.0.0.1:8080
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<String>,
    #[command(flatten)]
    pub login: LoginArgs,
    /// One JSON object for each reply: command, reply or error, time_us
    #[arg(long)]
    pub json: bool,
    /// Replies as they are, without quotes and types [default: if the output is no terminal]
    #[arg(long, conflicts_with = "no_raw")]
    pub raw: bool,
    /// Replies with quotes and types also where the output is no terminal
    #[arg(long)]
    pub no_raw: bool,
    /// Run this command and end (repeatable)
    #[arg(short, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// A setting of the embedded server, as --set memory=256MB (repeatable)
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "connect")]
    pub set: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Keep the directory, and say where it is
    #[arg(long)]
    pub keep: bool,
    /// Records to write, 1000 to 1000000
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub records: u32,
}

#[derive(Debug, Clone, Args)]
pub struct ClearArgs {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct TopArgs {
    /// The server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub connect: String,
    #[command(flatten)]
    pub login: LoginArgs,
    /// Seconds between two looks, 0.2 to 60
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub interval: String,
    /// Print one frame as text and end
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// The data directory, which need not exist yet
    #[arg(long, value_name = "DIR", default_value = "./db_data")]
    pub data_dir: PathBuf,
    /// One JSON object: checks with name, status, what, remedy
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
    /// The data directory
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct DirStatsArgs {
    /// The data directory
    pub dir: PathBuf,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ScanArgs {
    /// The data directory
    pub dir: PathBuf,
    /// First key [default: the first there is]
    #[arg(long, value_name = "KEY")]
    pub from: Option<String>,
    /// Key before which to end [default: behind the last]
    #[arg(long, value_name = "KEY")]
    pub to: Option<String>,
    /// Only keys that begin so
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["from", "to"])]
    pub prefix: Option<String>,
    /// Keys at most [default: all]
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Keys and values in hexadecimal digits, also those of --from, --to and --prefix
    #[arg(long)]
    pub hex: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Keys without their values
    #[arg(long)]
    pub keys_only: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write a page for each command into this directory [default: print the main page]
    pub dir: Option<PathBuf>,
}
