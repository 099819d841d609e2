//! Flags of `import` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::transfer::Format;

/// What stands below the help of `import`.
pub const IMPORT_HELP: &str =
    "Only strings are imported; what is left out is counted, with the reason.
Every key goes the way of a SET: limits, durability and a full disk hold for it.
An AOF holds commands: they go into an empty target, or with --replace.

Exit codes: 0 all of it; 1 a key was refused, or exists and neither --replace nor
--skip-existing was given; 65 the file is damaged (what came before stays imported).

Examples:
  rusty-lsm import dump.rdb --connect 127.0.0.1:8080
  rusty-lsm import appendonlydir/ --data-dir ./db_data
  zcat keys.jsonl.gz | rusty-lsm import - --format jsonl --data-dir ./db_data";

/// What stands below the help of `export`.
pub const EXPORT_HELP: &str =
    "A data directory is exported as it is at one moment; a server that is written to is not.
Files of the formats rdb and aof are read by redis-server 7.0 and later.

Examples:
  rusty-lsm export keys.csv --connect 127.0.0.1:8080 --prefix user:
  rusty-lsm export - --format jsonl --data-dir ./db_data | gzip > keys.jsonl.gz";

/// Where the keys are.
#[derive(Debug, Clone, Args)]
#[group(required = false, multiple = true)]
pub struct TargetArgs {
    /// Data directory that no server has open; import makes it if it is absent
    #[arg(long, value_name = "DIR", conflicts_with = "connect")]
    pub data_dir: Option<PathBuf>,
    /// A running server, this one or Redis, as 127.0.0.1:8080
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<String>,
    /// File whose first line is the password of that server
    #[arg(long, value_name = "FILE", requires = "connect")]
    pub password_file: Option<PathBuf>,
}

/// What becomes of the ends of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ttl {
    /// Values end when the file says so
    Keep,
    /// Values never end
    Drop,
}

#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The file; - is the standard input; the folder or manifest of a Redis 7 AOF
    pub file: PathBuf,
    #[command(flatten)]
    pub target: TargetArgs,
    /// Overwrite keys that exist
    #[arg(long, conflicts_with = "skip_existing")]
    pub replace: bool,
    /// Leave keys that exist as they are
    #[arg(long)]
    pub skip_existing: bool,
    /// When values end
    #[arg(long, value_enum, default_value = "keep")]
    pub ttl: Ttl,
    /// Format of the file [default: by its name]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Read and check the file, and import nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// The file to write; - is the standard output
    pub file: PathBuf,
    #[command(flatten)]
    pub target: TargetArgs,
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Format of the file [default: by its name]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub replace: bool,
}
