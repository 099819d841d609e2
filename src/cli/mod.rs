//! The command line.

pub mod data;
mod terminal;
pub mod transfer;

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, ConfigError, LsmConfig};

pub use terminal::{
    ClearArgs, CompactArgs, CompletionsArgs, DemoArgs, DirStatsArgs, DoctorArgs, LoginArgs,
    ManArgs, ReplArgs, ScanArgs, TopArgs,
};

/// Time for each of `ping`'s connect, send and receive.
const PING_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest answer to `ping` that is read, in bytes.
const PING_BYTES_MAX: u64 = 1 << 10;

const EXIT_CODES: &str = "Exit codes:
  0   stopped in order
  1   failure; a command of repl or a check of doctor has failed; ping: no answer
  2   wrong command line
  65  check, repair or a dump: there is damage (after a repair: damage is left)
  69  io_uring is not available, or the kernel is older than 6.1
  75  the data directory is in use by another process
  78  a setting, or the data directory it names, cannot be used";

const CHECK_HELP: &str = "One line per finding: damage (exit code 65) or note (in order, worth knowing), file, offset, what.
Reads the tables twice, and the log as a start would.";

const REPAIR_HELP: &str = "Changes no byte of any file: what is damaged is written again without the damage, under a new name, and
a new manifest makes it count. Says what is lost: keys of a table, operations of the log. Killed, it can be run again.";

const START_HELP: &str = "Every setting of --print-config can be given as a variable RUSTY_LSM_NAME, in the file named by
--config or RUSTY_LSM_CONFIG, or with --set. Flags win over variables, variables over the file.
Sizes: 64MB, 4KB or plain bytes; 1 MB is 1024 KB.";

/// A persistent key-value server that speaks the Redis protocol.
#[derive(Debug, Parser)]
#[command(name = "rusty-lsm", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the server
    #[command(after_help = START_HELP)]
    Start(Box<StartArgs>),
    /// Ask a running server whether it is alive (exit code 0 or 1); it is while it loads its data
    Ping(PingArgs),
    /// Verify everything in a data directory that no server has open; changes nothing
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Make a damaged data directory usable; what is taken out is kept in DIR/quarantine-TIME
    #[command(after_help = REPAIR_HELP)]
    Repair(RepairArgs),
    /// Bring keys in from a file: jsonl, csv, Redis' aof or rdb
    #[command(after_help = transfer::IMPORT_HELP)]
    Import(transfer::ImportArgs),
    /// Write all keys to a file: jsonl, csv, Redis' aof or rdb
    #[command(after_help = transfer::EXPORT_HELP)]
    Export(transfer::ExportArgs),
    /// Make a checkpoint: a whole copy of the data at one moment, while the server goes on
    #[command(after_help = data::CHECKPOINT_HELP)]
    Checkpoint(data::CheckpointArgs),
    /// Make a data directory out of a checkpoint
    #[command(after_help = data::RESTORE_HELP)]
    Restore(data::RestoreArgs),
    /// Change the number of shards of a data directory that no server has open
    #[command(after_help = data::RESHARD_HELP)]
    Reshard(data::ReshardArgs),
    /// Print the records of a segment of the write-ahead log (NNNNNN.wal)
    DumpWal(DumpArgs),
    /// Print the blocks and entries of a table (NNNNNN.sst)
    DumpSst(DumpArgs),
    /// Print the edits of a manifest (manifest-NNNNNN), or what CURRENT says
    DumpManifest(DumpArgs),
    /// Type commands: on a data directory, or on a running server
    #[command(after_help = terminal::REPL_HELP)]
    Repl(ReplArgs),
    /// Show what it does, step by step, on a directory of its own: writes, merges, a kill, recovery
    #[command(after_help = terminal::DEMO_HELP)]
    Demo(DemoArgs),
    /// Watch a running server
    #[command(after_help = terminal::TOP_HELP)]
    Top(TopArgs),
    /// Look whether this machine is fit for it, and what a sync costs
    #[command(after_help = terminal::DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Remove all data of a data directory that no server has open
    #[command(after_help = terminal::CLEAR_HELP)]
    Clear(ClearArgs),
    /// Merge all tables of a data directory that no server has open
    #[command(after_help = terminal::COMPACT_HELP)]
    Compact(CompactArgs),
    /// Tell what a data directory is made of that no server has open; changes nothing
    #[command(after_help = terminal::STATS_HELP)]
    Stats(DirStatsArgs),
    /// Print the keys and values of a data directory that no server has open, in order; changes nothing
    #[command(after_help = terminal::SCAN_HELP)]
    Scan(ScanArgs),
    /// Print what a shell needs to complete our commands
    #[command(after_help = terminal::COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write all pages into a directory
    #[command(after_help = terminal::MAN_HELP)]
    Man(ManArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The data directory
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// The data directory
    pub dir: PathBuf,
    /// Say what would be done and lost, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DumpArgs {
    /// The file; it may lie anywhere, under any name
    pub file: PathBuf,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Keys and values in full; else their first 48 bytes
    #[arg(long)]
    pub full: bool,
}

/// Settings are text here: one parser, in `config`, for flags, variables and file.
#[derive(Debug, Clone, Default, Args)]
pub struct StartArgs {
    /// TCP port of the Redis protocol [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// Address to listen on; 0.0.0.0 is every network of this machine [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// TCP port of HTTP: REST, dashboard, metrics; 0: none [default: 8081, or none if that is in use]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<String>,
    /// Address of HTTP; one that others reach needs a token or a password [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub http_bind: Option<String>,
    /// File whose first line is the token that HTTP's clients must send [default: none]
    #[arg(long, value_name = "FILE")]
    pub http_token_file: Option<String>,
    /// Path of a unix socket to listen at, too [default: none]
    #[arg(long, value_name = "PATH")]
    pub unixsocket: Option<String>,
    /// TCP port of the Redis protocol over TLS, beside the plain one [default: none]
    #[arg(long, value_name = "PORT")]
    pub tls_port: Option<String>,
    /// Its certificates, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Authorities whose certificates clients must show, PEM [default: clients need none]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// File whose first line is the password that clients must give [default: none]
    #[arg(long, value_name = "FILE")]
    pub requirepass_file: Option<String>,
    /// Directory of all data; made if absent [default: ./db_data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// LSM trees, each on a core of its own [default: one per core, or as the data directory has]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Change the number of shards to that of --shards before, if the data directory has another one
    #[arg(long, requires = "shards")]
    pub reshard: bool,
    /// When a write is acknowledged: always (on disk), everysec, no [default: always]
    #[arg(long, value_name = "POLICY")]
    pub sync: Option<String>,
    /// Memory of the whole process, as 256MB [default: half of a container's limit, a quarter of a machine]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Writes gathered before a flush, all shards together [default: 64MB]
    #[arg(long, value_name = "SIZE", alias = "memtable-capacity")]
    pub memtable_size: Option<String>,
    /// Data block before compression, 1KB to 64KB [default: 4KB]
    #[arg(long, value_name = "SIZE")]
    pub block_size: Option<String>,
    /// Cached data blocks, all shards together [default: what the memory leaves]
    #[arg(long, value_name = "SIZE")]
    pub block_cache_capacity: Option<String>,
    /// What FLUSHDB does: memtable (write to disk, erase nothing) or erase [default: memtable]
    #[arg(long, value_name = "MEANING")]
    pub flushdb: Option<String>,
    /// Connections at a time [default: 10000]
    #[arg(long, value_name = "N")]
    pub maxclients: Option<String>,
    /// Log lines as text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Least importance of a log line: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Any setting of --print-config, as --set wal_capacity=512MB (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// File of settings (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print all settings as such a file, with docs, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Check all settings, and that they fit this machine's memory, and exit
    #[arg(long)]
    pub check_config: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PingArgs {
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Its TCP port
    #[arg(long, default_value_t = 8080, env = "RUSTY_LSM_PORT")]
    pub port: u16,
}

impl StartArgs {
    /// The settings from all layers.
    ///
    /// # Errors
    /// An unknown or unusable setting.
    pub fn load(&self) -> Result<LsmConfig, ConfigError> {
        config::load(self.config.as_deref(), environment(), &self.flags())
    }

    /// Flags that were given: flag, setting, value. Those of `--set` first.
    fn flags(&self) -> Vec<(String, String, String)> {
        let named = [
            ("port", &self.port),
            ("bind", &self.bind),
            ("http-port", &self.http_port),
            ("http-bind", &self.http_bind),
            ("http-token-file", &self.http_token_file),
            ("unixsocket", &self.unixsocket),
            ("tls-port", &self.tls_port),
            ("tls-cert", &self.tls_cert),
            ("tls-key", &self.tls_key),
            ("tls-ca", &self.tls_ca),
            ("requirepass-file", &self.requirepass_file),
            ("data-dir", &self.data_dir),
            ("shards", &self.shards),
            ("sync", &self.sync),
            ("memory", &self.memory),
            ("memtable-size", &self.memtable_size),
            ("block-size", &self.block_size),
            ("block-cache-capacity", &self.block_cache_capacity),
            ("flushdb", &self.flushdb),
            ("maxclients", &self.maxclients),
            ("log-format", &self.log_format),
            ("log-level", &self.log_level),
        ];
        let set = self.set.iter().map(|setting| {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            (format!("--set {setting}"), name.trim().to_owned(), value.trim().to_owned())
        });
        let named = named.into_iter().filter_map(|(name, value)| {
            value.as_ref().map(|value| (format!("--{name}"), name.to_owned(), value.clone()))
        });
        set.chain(named).collect()
    }
}

/// Variables that are text; others cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Asks the server at `host`:`port` for a PONG; answers its reply. A server that wants a password, or is still
/// recovering, is alive.
///
/// # Errors
/// No connection, no answer in time, or another answer.
pub fn ping(host: &str, port: u16) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PING_TIME_MAX) {
            Ok(stream) => return ask(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PING_TIME_MAX))?;
    stream.set_write_timeout(Some(PING_TIME_MAX))?;
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut line = Vec::new();
    BufReader::new(stream).take(PING_BYTES_MAX).read_until(b'\n', &mut line)?;
    let reply = String::from_utf8_lossy(&line).trim_end().to_owned();
    let alive = ["+PONG", "-NOAUTH", "-LOADING"];
    if alive.iter().any(|start| reply.starts_with(start)) {
        Ok(reply)
    } else if reply.is_empty() {
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection was closed without an answer",
        ))
    } else {
        Err(io::Error::other(format!("answered {}", reply.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn flags(line: &str) -> Vec<(String, String, String)> {
        let Command::Start(start) = parse(line).unwrap().command else { panic!() };
        start.flags()
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for code in ["0 ", "1 ", "2 ", "69", "75", "78"] {
            assert!(help.contains(&format!("\n  {code}")), "{help}");
        }
    }

    #[test]
    fn the_readme_s_command_sets_what_it_says() {
        let flags = flags(
            "rusty-lsm start --port 8080 --data-dir ./db_data --memtable-size 64MB --block-size 4KB --set wal_capacity=1GB",
        );
        let config = config::load(None, std::iter::empty(), &flags).unwrap();
        let expected = LsmConfig {
            memtable_capacity: Some(64 << 20),
            wal_capacity: 1 << 30,
            ..LsmConfig::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn wrong_flags_are_usage_errors() {
        assert_eq!(parse("rusty-lsm start --prot 1").unwrap_err().exit_code(), 2);
        assert_eq!(parse("rusty-lsm").unwrap_err().exit_code(), 2);
        let refused = |line| config::load(None, std::iter::empty(), &flags(line)).unwrap_err();
        let error = refused("rusty-lsm start --port eighty");
        assert!(
            error.is_usage() && error.to_string().starts_with("--port: port: 'eighty'"),
            "{error}"
        );
        let error = refused("rusty-lsm start --set nosuch");
        assert!(error.to_string().starts_with("--set nosuch: unknown setting 'nosuch'"), "{error}");
    }

    /// Answers one request with `reply`.
    fn server(reply: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 14]).unwrap();
            stream.write_all(reply).unwrap();
        });
        port
    }

    #[test]
    fn ping_knows_who_is_alive() {
        for reply in ["+PONG", "-NOAUTH Authentication required.", "-LOADING 5 %"] {
            let port = server(format!("{reply}\r\n").leak().as_bytes());
            assert_eq!(ping("127.0.0.1", port).unwrap(), reply);
        }
        for reply in ["", "HTTP/1.1 400 Bad Request\r\n", "-ERR max number of clients reached\r\n"]
        {
            let port = server(reply.as_bytes());
            assert!(ping("127.0.0.1", port).is_err(), "{reply}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(ping("127.0.0.1", free).is_err());
    }
}
