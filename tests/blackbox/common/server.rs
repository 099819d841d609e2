//! Starts the real binary, knows when it is ready, and ends it in every way a test needs.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use tempfile::TempDir;

use super::client::{Client, Reply};
use super::http::Http;

/// A start with recovery, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// An end on request, on a busy machine.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// What a test says on the command line; `None` leaves the server's default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) shards: Option<u32>,
    pub(crate) sync: Option<&'static str>,
    pub(crate) memtable: Option<&'static str>,
    pub(crate) memory: Option<&'static str>,
    /// A port for HTTP; `None`: there is none, so that tests do not meet at the default port.
    pub(crate) http: Option<u16>,
    /// Further words; not for Redis.
    pub(crate) more: &'static [&'static str],
}

impl Options {
    fn arguments(&self, program: &Path, port: u16, data_dir: &Path) -> Vec<String> {
        let port = port.to_string();
        let data_dir = data_dir.to_str().unwrap().to_owned();
        let sync = self.sync.map(str::to_owned);
        let mut words: Vec<String> = Vec::new();
        let mut push = |name: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        if is_redis(program) {
            push("--port", Some(port));
            push("--bind", Some("127.0.0.1".into()));
            push("--dir", Some(data_dir));
            push("--save", Some(String::new()));
            push("--databases", Some("1".into()));
            push("--appendonly", Some("yes".into()));
            // Never `everysec`: while a sync runs, Redis puts off its write too, and kill -9 then loses what it acknowledged.
            let sync = sync.filter(|policy| policy != "everysec");
            push("--appendfsync", sync.or(Some("always".into())));
            push("--proto-max-bulk-len", Some((64 << 20).to_string()));
            return words;
        }
        push("--port", Some(port));
        push("--http-port", Some(self.http.unwrap_or(0).to_string()));
        push("--data-dir", Some(data_dir));
        push("--sync", sync);
        push("--shards", self.shards.map(|shards| shards.to_string()));
        push("--memory", self.memory.map(str::to_owned));
        push("--memtable-size", self.memtable.map(str::to_owned));
        words.extend(self.more.iter().map(|&word| word.to_owned()));
        words.insert(0, "start".into());
        words
    }
}

/// How a process ended, and what it said on stderr.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stderr: String,
}

impl Exit {
    fn new(status: ExitStatus, stderr: String) -> Self {
        Self { code: status.code(), signal: status.signal(), stderr }
    }

    /// A refusal: this exit code, one of them, and a message that names each of `words` (in any case).
    pub(crate) fn refused(&self, codes: &[i32], words: &[&str]) {
        assert!(
            self.code.is_some_and(|code| codes.contains(&code)),
            "exit {:?} (signal {:?}) instead of one of {codes:?}; it said:\n{}",
            self.code,
            self.signal,
            self.stderr
        );
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "the message does not name {word:?}; it said:\n{}",
                self.stderr
            );
        }
        assert!(!said.contains("panicked at"), "a refusal is not a panic:\n{}", self.stderr);
        assert!(!said.contains("backtrace"), "a refusal shows no backtrace:\n{}", self.stderr);
    }
}

/// A running server and its directories.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    program: PathBuf,
    home: Rc<TempDir>,
    options: Options,
    starts: u32,
}

impl Server {
    /// In a new, empty directory.
    pub(crate) fn start(options: &Options) -> Self {
        Self::start_program(&program(), options)
    }

    pub(crate) fn start_program(program: &Path, options: &Options) -> Self {
        Self::start_at(program, Rc::new(temp_dir()), options, 0)
    }

    /// In a directory of the caller's.
    pub(crate) fn start_at(
        program: &Path,
        home: Rc<TempDir>,
        options: &Options,
        starts: u32,
    ) -> Self {
        Self::start_on(free_port(), program, home, options, starts)
    }

    pub(crate) fn start_on(
        port: u16,
        program: &Path,
        home: Rc<TempDir>,
        options: &Options,
        starts: u32,
    ) -> Self {
        let child = spawn(program, &home, port, options, starts);
        let mut server = Self {
            child,
            port,
            program: program.to_owned(),
            home,
            options: options.clone(),
            starts,
        };
        server.wait_ready();
        server
    }

    /// Starts without waiting until it serves: for a kill during recovery.
    pub(crate) fn start_unready(home: &Rc<TempDir>, options: &Options, starts: u32) -> Self {
        let (program, port) = (program(), free_port());
        let child = spawn(&program, home, port, options, starts);
        Self { child, port, program, home: Rc::clone(home), options: options.clone(), starts }
    }

    /// The same directory and port again, with other options if need be; the old process must have ended.
    pub(crate) fn start_again(&mut self, options: &Options) {
        assert!(self.child.try_wait().unwrap().is_some(), "the old process still runs");
        let home = Rc::clone(&self.home);
        let next = Self::start_on(self.port, &self.program, home, options, self.starts + 1);
        *self = next;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection to its HTTP, for which there must be a port in the options.
    pub(crate) fn http(&self) -> Http {
        Http::connect(self.options.http.unwrap()).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn home(&self) -> &Rc<TempDir> {
        &self.home
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("d")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port).unwrap()
    }

    /// What this process has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        let bytes = fs::read(log_path(&self.home, self.starts)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same, and waits until its listeners are gone, too: its ring holds them a little longer.
    pub(crate) fn kill9_whole(&mut self) {
        self.kill9();
        while Client::connect(self.port).is_ok() {
            thread::sleep(POLL);
        }
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(&mut self) -> Exit {
        self.signal("TERM");
        self.wait_exit()
    }

    pub(crate) fn wait_exit(&mut self) -> Exit {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Exit::new(status, self.stderr());
            }
            assert!(began.elapsed() < STOPPED_WITHIN, "still running; it said:\n{}", self.stderr());
            thread::sleep(POLL);
        }
    }

    /// SIGKILL and the same directory again.
    pub(crate) fn crash_and_restart(&mut self) {
        self.kill9();
        self.start_again(&self.options.clone());
    }

    /// SIGTERM, a clean end, and the same directory again.
    pub(crate) fn restart(&mut self) {
        let exit = self.terminate();
        assert_eq!(exit.code, Some(0), "signal {:?}; it said:\n{}", exit.signal, exit.stderr);
        self.start_again(&self.options.clone());
    }

    fn wait_ready(&mut self) {
        let began = Instant::now();
        loop {
            let pong =
                Client::connect(self.port).and_then(|mut client| client.try_command(&["PING"]));
            // Who has to log in is told so while data is loaded, too.
            let serves = |reply: Reply| {
                let needs_login = reply.is_error() && reply.text().starts_with("NOAUTH");
                !reply.is_error() || (needs_login && self.stderr().contains("\n  ready "))
            };
            if pong.is_ok_and(serves) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended at start ({status}); it said:\n{}", self.stderr());
            }
            assert!(began.elapsed() < READY_WITHIN, "not ready; it said:\n{}", self.stderr());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("-- stderr of the server on port {}:\n{}", self.port, self.stderr());
        }
    }
}

/// Runs the binary with these words to its end, which must come by itself.
pub(crate) fn run_to_end(command: &mut Command) -> Exit {
    let home = temp_dir();
    let log = home.path().join("err");
    let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let said = || String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        if let Some(status) = child.try_wait().unwrap() {
            return Exit::new(status, said());
        }
        if began.elapsed() > STOPPED_WITHIN {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} runs on instead of refusing; it said:\n{}", said());
        }
        thread::sleep(POLL);
    }
}

/// The binary under test, without words yet.
pub(crate) fn program_command() -> Command {
    bare_command(&program())
}

/// A program with an environment that no test machine can colour.
fn bare_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RUSTY_LSM_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    // A panic of the server must show as one line, or a test could take a backtrace for an explanation.
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The binary under test.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("RUSTY_LSM_TEST_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rusty-lsm")), PathBuf::from)
}

fn is_redis(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name == "redis-server")
}

/// Whether Redis stands in for the server: then what only this server does cannot be tested.
pub(crate) fn is_stand_in() -> bool {
    let stands_in = is_redis(&program());
    if stands_in {
        skip("only rusty-lsm does this, and redis-server stands in for it");
    }
    stands_in
}

/// Says that a test, or a part of it, did not run.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED {}: {why}", thread::current().name().unwrap_or("?"));
}

/// A directory for one test, on the disk of the build (a tmpfs could not do direct I/O).
pub(crate) fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("t")
        .rand_bytes(4)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

/// A port that nothing listens on, below the range that outgoing connections take theirs from. The look does not listen: a
/// process that another test is just starting has its listener until it is the program that it becomes, and lets in
/// whoever connects to the port meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let start = u16::try_from(std::process::id() * 37 % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let socket =
            net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        if net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
            return port;
        }
    }
    panic!("no free port in {FIRST}..{}", FIRST + COUNT);
}

fn log_path(home: &TempDir, starts: u32) -> PathBuf {
    home.path().join(format!("err{starts}"))
}

fn spawn(program: &Path, home: &TempDir, port: u16, options: &Options, starts: u32) -> Child {
    let data_dir = home.path().join("d");
    if is_redis(program) && !data_dir.exists() {
        fs::DirBuilder::new().mode(0o700).create(&data_dir).unwrap();
    }
    bare_command(program)
        .args(options.arguments(program, port, &data_dir))
        .stderr(File::create(log_path(home, starts)).unwrap())
        .spawn()
        .unwrap()
}
