//! Words of the commands on whole data directories: checkpoint, restore, reshard.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// Below `checkpoint --help`.
pub const CHECKPOINT_HELP: &str = "A checkpoint has second names of the tables (hard links): it takes no space at first, and keeps
what the data directory gives up meanwhile, at most as much again as the data was. Copy it away
with any tool, as rsync -a: its files never change, and the next one shares most of them.

  rusty-lsm checkpoint monday --connect 127.0.0.1:8080
  rusty-lsm checkpoint --list --data-dir ./db_data
  rusty-lsm checkpoint --delete monday --data-dir ./db_data";

/// Below `restore --help`.
pub const RESTORE_HELP: &str = "The checkpoint, which may be a copy from anywhere, is verified before, and the result after. Exit
code 65: it is damaged, and nothing was made. Settings that CONFIG REWRITE has kept are not in it.";

/// Below `reshard --help`.
pub const RESHARD_HELP: &str = "Every key is written anew, and compared with the old one before the new shards count: that takes
the space of the data once more until the old shards are removed. Killed, or out of space, it is
run again and goes on; a server that is started instead goes on with the old shards, and what was
made is removed.";

#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["name", "list", "delete"])))]
pub struct CheckpointArgs {
    /// Its name: 1 to 64 of A-Z a-z 0-9 _ . - (no dot or dash first)
    pub name: Option<String>,
    /// The server that is to make it, as 127.0.0.1:8080
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["list", "delete", "backup_dir", "data_dir"])]
    pub connect: Option<String>,
    /// File whose first line is the server's password
    #[arg(long, value_name = "FILE", requires = "connect")]
    pub password_file: Option<PathBuf>,
    /// The data directory, which no server has open when one is to be made
    #[arg(long, value_name = "DIR", required_unless_present_any = ["connect", "backup_dir"])]
    pub data_dir: Option<PathBuf>,
    /// Where checkpoints lie [default: DIR/backups]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// List those that are there
    #[arg(long)]
    pub list: bool,
    /// Delete one
    #[arg(long, value_name = "NAME")]
    pub delete: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The checkpoint's directory
    pub checkpoint: PathBuf,
    /// The data directory to be made
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// There may be data: it is kept beside, as DIR.replaced-TIME
    #[arg(long)]
    pub replace: bool,
    /// Copy the tables also where links could be made
    #[arg(long)]
    pub copy: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ReshardArgs {
    /// The data directory, which no server has open
    pub dir: PathBuf,
    /// How many shards it is to have: one for each core is right
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::limits::SHARDS_MAX)))]
    pub shards: u32,
}
