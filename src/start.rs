//! From settings to all that must hold before the first thread starts, in the order that a refusal costs least.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::Sender;
use std::time::Instant;

use crate::backup;
use crate::config::{HostMemory, LogFormat, LogLevel, LsmConfig, MemoryPlan, show_size};
use crate::error::ServerError;
use crate::format::{DataDir, Shards, random_bytes};
use crate::http::HttpOptions;
use crate::live::{Live, StopWish};
use crate::net::listeners::{self, MoreListeners, once_free};
use crate::net::tls;
use crate::preflight::{self, Machine};
use crate::runtime;
use crate::server::{Server, Setup};
use crate::service;
use crate::sys;
use crate::telemetry::Static;
use shard::options::SyncPolicy;
use shard::recovery::Recovery;

/// Hexadecimal digits of INFO's `run_id` (Redis' figure).
const RUN_ID_DIGITS: usize = 40;

/// Where HTTP is if nobody says another place.
const HTTP_PORT_DEFAULT: u16 = 8081;
/// Longest body of HTTP if nobody says another.
const HTTP_BODY_BYTES_DEFAULT: u64 = 64 << 20;
/// What lies around a value in JSON, and its key, in bytes.
const HTTP_BODY_OVERHEAD_BYTES: u64 = 256 << 10;

/// A machine that was looked at and a data directory that is held.
#[derive(Debug)]
pub struct Prepared {
    pub config: LsmConfig,
    pub machine: Machine,
    pub data_dir: DataDir,
    pub plan: MemoryPlan,
}

/// Cores that this process may use.
pub fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX).min(crate::limits::SHARDS_MAX)
}

/// 1. Settings are within their limits and fit the machine's memory. 2. Kernel, ring, limits, port. 3. The data directory is ours, held, and of this
///    number of shards. 4. It lies where data can be kept.
///
/// # Errors
/// The first thing that is missing; what was made of a data directory is removed again.
pub fn prepare(config: LsmConfig) -> Result<Prepared, ServerError> {
    config.validate()?;
    let host = HostMemory::detect();
    let wanted = config.shards.map_or_else(|| Shards::Default(cores()), Shards::Asked);
    let (Shards::Asked(shards) | Shards::Default(shards)) = wanted;
    config.derive(shards, &host)?;
    let mut machine = preflight::machine(&config, shards)?;
    let data_dir = DataDir::open(&config.data_dir, wanted)?;
    match preflight::data_dir(data_dir.path(), config.sync) {
        Ok(warnings) => machine.warnings.extend(warnings),
        Err(error) => {
            data_dir.discard();
            return Err(error);
        }
    }
    if let Err(error) = preflight::backup_dir(data_dir.path(), config.backup_dir.as_deref()) {
        data_dir.discard();
        return Err(error);
    }
    if data_dir.shards() != shards {
        machine.warnings.push(format!(
            "{} shards on {shards} cores: the data directory was made so; to change it, stop and run: rusty-lsm reshard --shards {shards} {}",
            data_dir.shards(),
            data_dir.path().display()
        ));
    }
    let plan = config.derive(data_dir.shards(), &host)?;
    Ok(Prepared { config, machine, data_dir, plan })
}

/// The shards of a data directory on their cores, without a socket: the engine of a program, the REPL, import.
///
/// # Errors
/// As [`prepare`] and [`Prepared::start`].
pub fn embedded(config: LsmConfig) -> Result<Server, ServerError> {
    // Port 0: the preflight looks whether the address is free, and there is none. Nor is there HTTP, whose descriptors it would
    // keep and whose address it would judge.
    let local =
        LsmConfig { bind: Ipv4Addr::LOCALHOST.into(), port: 0, http_port: Some(0), ..config };
    prepare(local)?.start(None, MoreListeners::default(), None)
}

impl Prepared {
    /// Listens at the configured address.
    ///
    /// # Errors
    /// `Address`: it is in use, or not ours.
    pub fn listen(&self) -> Result<TcpListener, ServerError> {
        let address = (self.config.bind, self.config.port);
        let failed = |error: std::io::Error| ServerError::Address {
            what: format!("cannot listen on {}:{}: {error}", address.0, address.1),
            remedy: "use another --port or --bind, or stop what uses it".into(),
        };
        let listener = once_free(|| TcpListener::bind(address)).map_err(failed)?;
        sys::tune_listener(&listener, self.config.tcp_keepalive).map_err(failed)?;
        Ok(listener)
    }

    /// Listens at the unix socket and at the port for TLS, if there are to be any.
    ///
    /// # Errors
    /// `Address`: it is in use or cannot be made; a file for TLS cannot be used.
    pub fn listen_more(&self) -> Result<MoreListeners, ServerError> {
        let config = &self.config;
        let mut more = MoreListeners::default();
        if let Some(path) = &config.unixsocket {
            let failed = |error: std::io::Error| ServerError::Address {
                what: format!("cannot listen at {}: {error}", path.display()),
                remedy: "use another --unixsocket, or stop what uses it".into(),
            };
            let listen = || listeners::listen_unix(path, config.unixsocketperm);
            more.unix = Some(once_free(listen).map_err(failed)?);
        }
        if let (port @ 1.., Some(cert), Some(key)) =
            (config.tls_port, &config.tls_cert, &config.tls_key)
        {
            let unusable = |what| ServerError::Address {
                what: format!("cannot speak TLS: {what}"),
                remedy: "check --tls-cert, --tls-key and --tls-ca".into(),
            };
            let failed = |error: std::io::Error| ServerError::Address {
                what: format!("cannot listen on {}:{port}: {error}", config.bind),
                remedy: "use another --tls-port or --bind, or stop what uses it".into(),
            };
            let settings =
                tls::server_config(cert, key, config.tls_ca.as_deref()).map_err(unusable)?;
            let listener = once_free(|| TcpListener::bind((config.bind, port))).map_err(failed)?;
            sys::tune_listener(&listener, config.tcp_keepalive).map_err(failed)?;
            more.tls = Some((listener, settings));
        }
        Ok(more)
    }

    /// Listens for HTTP, if it is to be there. Where nobody asked for a port and the default is in use, it is not, and the
    /// log says so: a second server on a machine is no mistake.
    ///
    /// # Errors
    /// `Address`: the port that was asked for is in use, or the address is not ours.
    pub fn listen_http(&self) -> Result<Option<TcpListener>, ServerError> {
        let (bind, asked) = (self.config.http_bind, self.config.http_port);
        let port = asked.unwrap_or(HTTP_PORT_DEFAULT);
        if port == 0 {
            return Ok(None);
        }
        match TcpListener::bind((bind, port)) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if asked.is_none() && error.kind() == std::io::ErrorKind::AddrInUse => {
                tracing::warn!("no HTTP: port {port} of {bind} is in use; --http-port names another, 0 none");
                Ok(None)
            }
            Err(error) => Err(ServerError::Address {
                what: format!("cannot listen for HTTP on {bind}:{port}: {error}"),
                remedy: "use another --http-port or --http-bind, or stop what uses it; --http-port 0: no HTTP".into(),
            }),
        }
    }

    /// What HTTP is given.
    pub fn http_options(&self) -> HttpOptions {
        let value_bytes_max = self.plan.value_bytes_max;
        // In base64, with a long key and what lies around it.
        let needed = value_bytes_max + value_bytes_max / 2 + HTTP_BODY_OVERHEAD_BYTES;
        let most = self.config.http_body_max.unwrap_or(HTTP_BODY_BYTES_DEFAULT).min(needed);
        HttpOptions {
            token: self.config.http_token,
            hosts: self.config.http_hosts.clone(),
            body_bytes_max: usize::try_from(most).unwrap_or(usize::MAX),
            connections_max: preflight::http_connections(self.machine.descriptors),
        }
    }

    /// Starts the cores and opens the shards. `stop`: whom SHUTDOWN tells.
    ///
    /// # Errors
    /// The first shard's or the runtime's error.
    pub fn start(
        self,
        listener: Option<TcpListener>,
        more: MoreListeners,
        stop: Option<Sender<StopWish>>,
    ) -> Result<Server, ServerError> {
        let Self { config, machine, data_dir, plan } = self;
        let backup_root = backup::root(data_dir.path(), config.backup_dir.as_deref());
        backup::clear_left_over(&backup_root);
        let cpus = runtime::available_cpus().map_err(ServerError::Runtime)?;
        let shards = data_dir.shards() as usize;
        let random = random_bytes::<{ RUN_ID_DIGITS / 2 }>()?;
        let run_id = random.iter().fold(String::new(), |mut digits, byte| {
            // A String takes every write.
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        let port = listener.as_ref().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port());
        let live = Live::new(&config, &plan, machine.maxclients, machine.clients_ceiling);
        // Who can be told to stop is a program of its own, and may speak for its process.
        let tell = stop.is_some().then_some(service::status as fn(&str));
        if let Some(stop) = stop {
            live.stop_by(stop);
        }
        let setup = Setup {
            tell,
            // More shards than cores share them: the directory decides the number.
            cpus: cpus.iter().copied().cycle().take(shards).collect(),
            options: config.shard_options(&plan),
            listener,
            more,
            bulk_bytes_max: u32::try_from(plan.value_bytes_max).unwrap_or(u32::MAX),
            connection_bytes: plan.connection_bytes,
            live,
            telemetry: Static {
                started: Instant::now(),
                started_wall_s: sys::wall_us() / 1_000_000,
                kernel: machine.kernel,
                run_id,
                port,
                config_file: String::new(),
                memory_budget_bytes: plan.budget_bytes,
                system_memory_bytes: HostMemory::detect().bytes,
            },
            backup_root,
        };
        Server::start(setup, data_dir)
    }

    /// What is known before recovery, a line each.
    pub fn banner(&self) -> String {
        let sync = match self.config.sync {
            SyncPolicy::Always => "always: a write is acknowledged once it is on disk",
            SyncPolicy::EverySecond => "everysec: a power cut may take the last second",
            SyncPolicy::Never => "no: a power cut may take what the kernel had not written",
        };
        let origin = if self.data_dir.is_new() { "new" } else { "found" };
        let mut out = String::new();
        // A String takes every write.
        let _ =
            writeln!(out, "rusty-lsm {}, Linux {}", env!("CARGO_PKG_VERSION"), self.machine.kernel);
        let _ = writeln!(
            out,
            "  data    {} ({origin}), {} shards, {} cores",
            self.data_dir.path().display(),
            self.data_dir.shards(),
            cores()
        );
        let _ = writeln!(out, "  sync    {sync}");
        let _ = writeln!(out, "  memory  {}", self.plan);
        let reserve = shard::space::reserve_bytes(&self.config.shard_options(&self.plan));
        let _ = writeln!(
            out,
            "  disk    {} kept free: with less, writes are refused until there is more",
            show_size(reserve >> 20 << 20)
        );
        let _ = write!(
            out,
            "  clients {} at most, {} open files",
            self.machine.maxclients, self.machine.descriptors
        );
        out
    }
}

/// Log lines to the error output, in the format and from the level that the settings name.
pub fn init_log(config: &LsmConfig) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match config.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // An embedding program may have set its own before.
    let _ = match config.log_format {
        LogFormat::Json => log.json().try_init(),
        LogFormat::Text => log.with_ansi(is_terminal).with_target(false).try_init(),
    };
}

/// What recovery did and where clients come in, a line each.
pub fn recovery_banner(recovery: &[Recovery], address: &std::net::SocketAddr) -> String {
    let sum = |field: fn(&Recovery) -> u64| recovery.iter().map(field).sum::<u64>();
    let longest = recovery.iter().map(|one| one.duration).max().unwrap_or_default();
    let mut out = String::new();
    let _ = write!(
        out,
        "  found   {} tables, {} operations in {} log segments",
        sum(|one| one.tables),
        sum(|one| one.wal_ops),
        sum(|one| one.wal_segments),
    );
    let cut = sum(|one| one.bytes_cut);
    if cut > 0 {
        let _ = write!(out, "; cut {cut} bytes that were never acknowledged");
    }
    let _ = writeln!(out, " ({:.1} s)", longest.as_secs_f64());
    let _ = write!(out, "  ready   {address}");
    out
}
