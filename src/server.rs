//! Starting and stopping: the order of both stands here.
//!
//! Start: cores -> each inspects its shard (reading only) -> all passed -> each opens its shard -> all opened -> serve.
//! Stop: no new connections or commands -> what was read is answered -> every core is quiet -> shards close -> cores end.
//!
//! The atomics that all cores share lie in `Shared`; cores exchange everything else as messages.

mod connector;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use shard::env::Env as _;
use shard::env::glommio::{Driver, GlommioEnv};
use shard::env::ring::Bell;
use shard::key::Identity;
use shard::options::Options;
use shard::recovery::{Recovery, inspect};
use shard::shard::Shard;

use crate::access::Penalties;
use crate::backup::saver::Outcome;
use crate::backup::{Name, Saver};
use crate::command::{Report as Telemetry, info};
use crate::error::ServerError;
use crate::execute::Executor;
use crate::facts::CoreStats;
use crate::format::DataDir;
use crate::ledger::Ledger;
use crate::live::Live;
use crate::loading::Greeter;
use crate::mesh::{Door, Message, Wires, wire};
use crate::net::listeners::{Listener, MoreListeners, SocketFile, Transport};
use crate::pubsub::Audience;
use crate::runtime::{self, CoreContext, CoreOptions, Cores, WatchCounters};
use crate::slots::SlotTable;
use crate::worker::Worker;

pub use connector::Connector;

/// How often a core that waits for the others looks whether they are there.
const STAGE_POLL: Duration = Duration::from_millis(1);

/// How often whoever waits for a core looks whether it still lives.
pub(crate) const LIFE_CHECK: Duration = Duration::from_millis(100);

/// Stages of a start.
const INSPECTING: u8 = 0;
const OPENING: u8 = 1;
const SERVING: u8 = 2;
const GIVEN_UP: u8 = 3;

/// Everything that a server is made from. The directory is locked and its format known.
#[derive(Debug)]
pub struct Setup {
    /// The CPU of each shard's core; as many as there are shards.
    pub cpus: Vec<usize>,
    /// Of one shard.
    pub options: Options,
    /// Where clients come in; `None`: embedded.
    pub listener: Option<TcpListener>,
    pub more: MoreListeners,
    pub bulk_bytes_max: u32,
    /// What all connections together may hold.
    pub connection_bytes: u64,
    pub live: Live,
    pub telemetry: crate::telemetry::Static,
    /// Where checkpoints go.
    pub backup_root: PathBuf,
    /// Whom a long start is told of, in words.
    pub tell: Option<fn(&str)>,
}

/// What all cores share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cores: usize,
    pub(crate) bulk_bytes_max: u32,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) live: Arc<Live>,
    pub(crate) saver: Saver,
    /// Of wrong passwords, by address.
    pub(crate) penalties: Penalties,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) audience: Arc<Audience>,
    /// On which cores there are monitors.
    pub(crate) monitored: Audience,
    /// The number of the next slow command.
    pub(crate) slow_ids: AtomicU64,
    pub(crate) telemetry: crate::telemetry::Static,
    pub(crate) watch: OnceLock<Arc<WatchCounters>>,
    /// Set when all shards are open.
    pub(crate) recovery: OnceLock<info::Recovery>,
    clients: AtomicUsize,
    last_client_id: AtomicU64,
    stage: AtomicU8,
    stopping: AtomicBool,
    quiet_cores: AtomicUsize,
    /// By core: it is among them.
    is_quiet: Vec<AtomicBool>,
    doors: OnceLock<Vec<Door>>,
    /// By core: it has ended.
    ends: OnceLock<Vec<Arc<AtomicBool>>>,
}

impl Shared {
    /// Counts a client in, if there is room.
    pub(crate) fn enter_client(&self) -> bool {
        let max = self.live.clients_max() as usize;
        let entered = self.clients.fetch_add(1, Ordering::Relaxed) < max;
        if !entered {
            self.clients.fetch_sub(1, Ordering::Relaxed);
        }
        entered
    }

    pub(crate) fn leave_client(&self) {
        let before = self.clients.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0);
    }

    /// The shards are not all open yet.
    pub(crate) fn is_loading(&self) -> bool {
        self.stage.load(Ordering::Acquire) < SERVING
    }

    pub(crate) fn next_client_id(&self) -> u64 {
        self.last_client_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A stopping core has no connection and no request left, or has died. The last one sends all of them home.
    pub(crate) fn core_is_quiet(&self, index: usize) {
        if self.is_quiet[index].swap(true, Ordering::AcqRel) {
            return;
        }
        let quiet = self.quiet_cores.fetch_add(1, Ordering::AcqRel) + 1;
        if quiet == self.cores {
            self.tell_all(|| Message::Leave);
        }
    }

    /// Whether a core has ended, which it does only when the server stops, or by a bug.
    pub(crate) fn any_core_has_ended(&self) -> bool {
        self.ends.get().into_iter().flatten().any(|end| end.load(Ordering::Acquire))
    }

    /// Gives `message` to `core`, from a thread that is none.
    ///
    /// # Errors
    /// `Closing`: the cores have ended.
    pub(crate) fn call(&self, core: usize, message: Message) -> Result<(), ServerError> {
        let door = self.doors.get().and_then(|doors| doors.get(core));
        let mut message = message;
        while let (Some(door), false) = (door, self.any_core_has_ended()) {
            match door.send(message) {
                Ok(()) => return Ok(()),
                // A full inbox empties within a pass of the core's loop.
                Err(back) => message = back,
            }
            std::thread::yield_now();
        }
        Err(ServerError::Shard(shard::error::Error::Closing))
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for door in self.doors.get().into_iter().flatten() {
            let mut message = message();
            // An inbox empties within a pass of its core's loop; a core that is gone needs no message.
            for _ in 0..DOOR_ATTEMPTS_MAX {
                match door.send(message) {
                    Ok(()) => break,
                    Err(back) => message = back,
                }
                std::thread::yield_now();
            }
        }
    }
}

/// Attempts to put a message into a full inbox when the server stops.
const DOOR_ATTEMPTS_MAX: usize = 100_000;

/// A running server, or the engine without a socket.
pub struct Server {
    shared: Arc<Shared>,
    slots: SlotTable,
    cores: Option<Cores<Result<(), ServerError>>>,
    /// By core: it has ended.
    ends: Vec<Arc<AtomicBool>>,
    recovery: Vec<Recovery>,
    tell: Option<fn(&str)>,
    /// Held for the life of the server: the name of the unix socket, and the lock on the directory.
    _socket_file: Option<SocketFile>,
    _data_dir: DataDir,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("cores", &self.shared.cores).finish_non_exhaustive()
    }
}

/// What a core reports while it starts.
enum Report {
    Inspected(Result<Looked, ServerError>),
    Opened(usize, Result<Recovery, ServerError>),
    /// Bytes of the log replayed, and their total.
    Replayed(usize, u64, u64),
}

impl Server {
    /// Starts all cores and opens all shards; returns when the server serves.
    ///
    /// # Errors
    /// The first shard's or the runtime's error. Unless all shards pass inspection, nothing on disk is changed.
    pub fn start(setup: Setup, data_dir: DataDir) -> Result<Self, ServerError> {
        let cores = setup.cpus.len();
        let format = data_dir.format().clone();
        assert_eq!(cores, format.slots.shards() as usize);
        let MoreListeners { unix, tls } = setup.more;
        let (tls, tls_settings) = tls.unzip();
        let (unix, socket_file) = unix.unzip();
        let shared = Arc::new(Shared {
            cores,
            bulk_bytes_max: setup.bulk_bytes_max,
            ledger: Arc::new(Ledger::new(setup.connection_bytes)),
            live: Arc::new(setup.live),
            saver: Saver::new(setup.backup_root, format.clone()),
            penalties: Penalties::default(),
            tls: tls_settings,
            audience: Arc::new(Audience::new(cores)),
            monitored: Audience::new(cores),
            slow_ids: AtomicU64::new(0),
            telemetry: setup.telemetry,
            watch: OnceLock::new(),
            recovery: OnceLock::new(),
            clients: AtomicUsize::new(0),
            last_client_id: AtomicU64::new(0),
            stage: AtomicU8::new(INSPECTING),
            stopping: AtomicBool::new(false),
            quiet_cores: AtomicUsize::new(0),
            is_quiet: (0..cores).map(|_| AtomicBool::new(false)).collect(),
            doors: OnceLock::new(),
            ends: OnceLock::new(),
        });
        let wires = wire(cores);
        let inboxes: Vec<_> = wires.iter().map(Wires::inbox).collect();
        let (report, reports) = channel();
        let greeter = match &setup.listener {
            Some(listener) => {
                Some(Greeter::start(listener, Arc::clone(&shared)).map_err(ServerError::Runtime)?)
            }
            None => None,
        };
        let listeners = [
            setup.listener.map(|socket| Listener::new(socket, Transport::Tcp)),
            unix.map(|socket| Listener::new(socket, Transport::Unix)),
            tls.map(|socket| Listener::new(socket, Transport::Tls)),
        ];
        let mut listeners: Vec<Listener> = listeners.into_iter().flatten().collect();
        let mut seeds: Vec<Option<Seed>> = wires
            .into_iter()
            .enumerate()
            .map(|(index, wires)| {
                Some(Seed {
                    wires,
                    dir: data_dir.shard_path(shard_number(index)),
                    identity: Identity { directory: format.directory, shard: shard_number(index) },
                    options: setup.options.clone(),
                    slots: format.slots.clone(),
                    listeners: if index == 0 { std::mem::take(&mut listeners) } else { Vec::new() },
                    shared: Arc::clone(&shared),
                    report: report.clone(),
                })
            })
            .collect();
        drop(report);
        let options = CoreOptions { cpus: setup.cpus, ..CoreOptions::default() };
        let running = runtime::start(&options, |index| {
            let seed = seeds[index].take();
            move |context: CoreContext| async move {
                match seed {
                    // Boxed: 20 KiB, once per core.
                    Some(seed) => Box::pin(seed.run(context)).await,
                    None => unreachable!("each core is made once"),
                }
            }
        })
        .map_err(ServerError::Runtime)?;
        let doors = inboxes
            .into_iter()
            .zip(running.bells().iter())
            .map(|(inbox, bell)| Door::new(inbox, bell.clone()))
            .collect();
        drop(shared.doors.set(doors));
        drop(shared.watch.set(running.watch_counters()));
        drop(shared.ends.set(running.ends()));
        let mut server = Self {
            shared,
            slots: format.slots,
            ends: running.ends(),
            cores: Some(running),
            recovery: vec![Recovery::default(); cores],
            tell: setup.tell,
            _socket_file: socket_file,
            _data_dir: data_dir,
        };
        let seen_through = server.see_through_start(&reports);
        let waiting = greeter.map(Greeter::end).unwrap_or_default();
        match seen_through {
            Ok(()) => {
                server.shared.recovery.get_or_init(|| server.recovery_sum());
                server.shared.stage.store(SERVING, Ordering::Release);
                server.hand_over(waiting);
                Ok(server)
            }
            Err(error) => {
                server.shared.stage.store(GIVEN_UP, Ordering::Release);
                // The cores' own results repeat what was reported.
                drop(server.join());
                Err(error)
            }
        }
    }

    fn see_through_start(&mut self, reports: &Receiver<Report>) -> Result<(), ServerError> {
        let mut inspected = Vec::new();
        let mut opened = 0;
        let mut told = Instant::now();
        while opened < self.shared.cores {
            let report = match reports.recv_timeout(LIFE_CHECK) {
                Ok(report) => report,
                // One that fails says so before it ends.
                Err(RecvTimeoutError::Timeout) if !self.any_core_has_ended() => continue,
                Err(_) => return Err(ServerError::CoreDied),
            };
            match report {
                Report::Inspected(result) => {
                    inspected.push(result?);
                    if inspected.len() == self.shared.cores {
                        none_is_missing(&inspected)?;
                        self.shared.stage.store(OPENING, Ordering::Release);
                    }
                }
                Report::Opened(index, result) => {
                    self.recovery[index] = result?;
                    opened += 1;
                }
                Report::Replayed(index, bytes, total) => {
                    if told.elapsed() >= Duration::from_secs(1) {
                        told = Instant::now();
                        if let Some(tell) = &self.tell {
                            let percent = (bytes * 100).checked_div(total).unwrap_or(100);
                            tell(&format!("replaying the log of shard {index}: {percent} %"));
                        }
                        tracing::info!(
                            shard = index,
                            bytes,
                            total,
                            "replaying the write-ahead log"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the connections that came while the shards were opened to the cores.
    fn hand_over(&self, sockets: Vec<OwnedFd>) {
        for (number, socket) in sockets.into_iter().enumerate() {
            // They are fewer than an inbox holds. One that does not get in is closed.
            let adopt = Message::Adopt(socket, Transport::Tcp);
            drop(self.door(number % self.shared.cores).send(adopt));
        }
    }

    fn recovery_sum(&self) -> info::Recovery {
        let sum = |field: fn(&Recovery) -> u64| self.recovery.iter().map(field).sum::<u64>();
        let longest = self.recovery.iter().map(|one| one.duration).max().unwrap_or_default();
        info::Recovery {
            tables: sum(|one| one.tables),
            segments: sum(|one| one.wal_segments),
            operations: sum(|one| one.wal_ops),
            bytes: sum(|one| one.wal_bytes),
            cut_bytes: sum(|one| one.bytes_cut),
            ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Cores that have not gone round for a second, though nothing keeps them waiting.
    pub fn stalled_cores(&self) -> u64 {
        self.shared.watch.get().map_or(0, |watch| watch.stalled_cores.load(Ordering::Relaxed))
    }

    /// For connections from within the process.
    pub fn connector(&self) -> Connector {
        Connector::new(Arc::clone(&self.shared), self.slots.clone())
    }

    /// Begins to make the checkpoint that SAVE makes.
    ///
    /// # Errors
    /// One is being made.
    pub fn begin_save(&self) -> Result<Outcome, String> {
        self.shared.begin_save(Name::dump(), true)
    }

    /// Makes a checkpoint in `dir`, which is absent and lies on the file system of the data directory, and waits for it.
    ///
    /// # Errors
    /// `Backup`: the name is taken or none, or one is being made; a shard's error; `Io`.
    pub fn checkpoint(&self, dir: &Path) -> Result<PathBuf, ServerError> {
        let name = dir.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
        let name = Name::parse(name).map_err(|what| ServerError::Backup {
            path: dir.to_owned(),
            what,
            remedy: "use another name".into(),
        })?;
        let root = dir.parent().filter(|root| !root.as_os_str().is_empty());
        self.shared.save(root.unwrap_or(Path::new(".")), name)
    }

    /// What recovery did, shard by shard.
    pub fn recovery(&self) -> &[Recovery] {
        &self.recovery
    }

    /// Shards, and cores.
    pub fn shards(&self) -> usize {
        self.shared.cores
    }

    /// `cores` as data.
    pub(crate) fn report(&self, cores: &[CoreStats]) -> Telemetry {
        self.shared.report(cores)
    }

    /// Calls `notice` now and then from when a core has ended on.
    pub(crate) fn when_a_core_ends(&self, notice: impl Fn() + Send + Sync + 'static) {
        if let Some(watch) = self.shared.watch.get() {
            watch.ends.tell(notice);
        }
    }

    pub(crate) fn shard_of(&self, key: &[u8]) -> usize {
        usize::from(self.slots.shard_of_key(key))
    }

    pub(crate) fn door(&self, core: usize) -> &Door {
        match self.shared.doors.get() {
            Some(doors) => &doors[core],
            None => unreachable!("set before the server is handed out"),
        }
    }

    /// Whether a core has ended, which it does only when the server stops, or by a bug.
    pub(crate) fn core_has_ended(&self, core: usize) -> bool {
        self.ends[core].load(Ordering::Acquire)
    }

    fn any_core_has_ended(&self) -> bool {
        self.shared.any_core_has_ended()
    }

    /// Stops in order and waits for it: what was read is answered, everything is durable, files are closed.
    ///
    /// # Errors
    /// The first shard that could not be closed in order; its acknowledged writes are in its log all the same.
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.begin_stop();
        self.join()
    }

    fn begin_stop(&self) {
        if !self.shared.stopping.swap(true, Ordering::AcqRel) {
            self.shared.tell_all(|| Message::Stop);
        }
    }

    fn join(&mut self) -> Result<(), ServerError> {
        let Some(cores) = self.cores.take() else { return Ok(()) };
        // A core that has died never says that it is quiet, and the others would wait for it for ever.
        let count = self.shared.cores;
        while (0..count).any(|core| !self.core_has_ended(core)) {
            for core in (0..count).filter(|core| self.core_has_ended(*core)) {
                self.shared.core_is_quiet(core);
            }
            std::thread::park_timeout(STAGE_POLL);
        }
        let results = cores.join().map_err(ServerError::Runtime);
        // A checkpoint that was under way is given up by its thread, which removes what it has made.
        while self.shared.saver.is_busy() {
            std::thread::park_timeout(STAGE_POLL);
        }
        for result in results? {
            result?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.cores.is_some() {
            self.begin_stop();
            if let Err(error) = self.join() {
                tracing::warn!(%error, "stopping the server");
            }
        }
    }
}

/// What one core is made from.
struct Seed {
    wires: Wires,
    dir: PathBuf,
    identity: Identity,
    options: Options,
    slots: SlotTable,
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
    report: Sender<Report>,
}

impl Seed {
    /// The life of a core.
    async fn run(self, context: CoreContext) -> Result<(), ServerError> {
        let CoreContext { index, bells, env, mut driver, .. } = context;
        let result = Box::pin(self.serve(index, bells, env, &mut driver)).await;
        driver.close().await;
        result
    }

    async fn serve(
        self,
        index: usize,
        bells: Arc<[Bell]>,
        env: GlommioEnv,
        driver: &mut Driver,
    ) -> Result<(), ServerError> {
        let Self { wires, slots, listeners, shared, .. } = self;
        let opening = Opening {
            index,
            dir: self.dir,
            identity: self.identity,
            options: self.options,
            shared: &shared,
            report: self.report,
        };
        let opened =
            Box::pin(driver.run(opening.open(&env))).await.map_err(ServerError::Runtime)?;
        let Some(shard) = opened? else { return Ok(()) };
        shared.ledger.set_bells(&bells);
        let output = Arc::clone(&shared.ledger.output);
        let executor =
            Executor::new(shard, &env, Arc::clone(&shared.live), output, (index, shared.cores));
        let endpoint = wires.attach(bells);
        let mut worker = Worker::new(index, env, endpoint, executor, slots, shared, listeners);
        if let Err(error) = worker.run(driver).await {
            // A server without one of its cores is worse than a restart.
            tracing::error!(core = index, %error, "the core's ring is broken");
            std::process::abort();
        }
        let shard = worker.into_shard();
        let closed = driver.run(async move { shard.close().await }).await;
        closed.map_err(ServerError::Runtime)?.map_err(ServerError::Shard)
    }
}

/// What a core found in its shard's directory.
pub(crate) struct Looked {
    pub(crate) dir: PathBuf,
    pub(crate) is_new: bool,
    pub(crate) has_data: bool,
}

/// Before a server serves, it has opened all shards: one that was never there, beside one that holds data, was taken away. An
/// empty one in its place would answer "no such key" for all that it held.
pub(crate) fn none_is_missing(inspected: &[Looked]) -> Result<(), ServerError> {
    let has_served = inspected.iter().any(|looked| looked.has_data);
    match inspected.iter().find(|looked| looked.is_new && has_served) {
        None => Ok(()),
        Some(looked) => Err(ServerError::DataDir {
            path: looked.dir.clone(),
            what: "this shard is absent, though others hold data: its keys are gone".into(),
            remedy: "put the directory back; or let `rusty-lsm repair` put an empty shard there"
                .into(),
        }),
    }
}

struct Opening<'a> {
    index: usize,
    dir: PathBuf,
    identity: Identity,
    options: Options,
    shared: &'a Shared,
    report: Sender<Report>,
}

impl Opening<'_> {
    /// `None`: another core gave up.
    async fn open(self, env: &GlommioEnv) -> Result<Option<Shard<GlommioEnv>>, ServerError> {
        let index = self.index;
        // The receiver lives until all have reported, or the start was given up.
        let tell = |report| drop(self.report.send(report));
        let inspected = match inspect(env, &self.dir, self.identity, self.options.clone()).await {
            Ok(inspected) => inspected,
            Err(error) => {
                tell(Report::Inspected(Err(ServerError::Shard(error.clone()))));
                return Err(ServerError::Shard(error));
            }
        };
        tell(Report::Inspected(Ok(Looked {
            dir: self.dir.clone(),
            is_new: inspected.is_new(),
            has_data: inspected.has_data(),
        })));
        if self.wait_for(env, OPENING).await == GIVEN_UP {
            return Ok(None);
        }
        let progress = |bytes, total| tell(Report::Replayed(index, bytes, total));
        let shard = match inspected.open(progress).await {
            Ok((shard, recovery)) => {
                tell(Report::Opened(index, Ok(recovery)));
                shard
            }
            Err(error) => {
                tell(Report::Opened(index, Err(ServerError::Shard(error.clone()))));
                return Err(ServerError::Shard(error));
            }
        };
        if self.wait_for(env, SERVING).await == GIVEN_UP {
            shard.close().await.map_err(ServerError::Shard)?;
            return Ok(None);
        }
        Ok(Some(shard))
    }

    async fn wait_for(&self, env: &GlommioEnv, stage: u8) -> u8 {
        loop {
            let now = self.shared.stage.load(Ordering::Acquire);
            if now >= stage {
                return now;
            }
            env.sleep(STAGE_POLL).await;
        }
    }
}

fn shard_number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_else(|_| unreachable!("bounded by SHARDS_MAX"))
}
