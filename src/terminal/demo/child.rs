//! The server's process: this very program, told to start.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{DemoError, LOOK_INTERVAL};
use crate::client::{Client, Reply};
use crate::config::ENV_PREFIX;
use crate::terminal::Interrupt;

/// A start on a slow disk, with recovery; a stop.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Waits that Ctrl-C ends.
pub(super) struct Wait {
    pub(super) interrupt: Interrupt,
}

impl Wait {
    /// # Errors
    /// `Interrupted`.
    fn a_moment(&self) -> Result<(), DemoError> {
        if self.interrupt.was_pressed() {
            return Err(DemoError::Interrupted);
        }
        std::thread::park_timeout(LOOK_INTERVAL);
        Ok(())
    }
}

/// A running server; killed when this is dropped.
pub(super) struct Child {
    process: std::process::Child,
    dir: PathBuf,
    port: u16,
    starts: u32,
}

impl Child {
    /// Starts a server on `dir`/data and waits until it serves.
    ///
    /// # Errors
    /// It ends, or is not ready in time.
    pub(super) fn start(dir: &Path, wait: &Wait) -> Result<Self, DemoError> {
        // Free now, and in the moment in which the server takes it, most likely.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = spawn(dir, port, 0)?;
        let mut child = Self { process, dir: dir.to_owned(), port, starts: 0 };
        child.wait_ready(wait)?;
        Ok(child)
    }

    /// The same command on the same directory, after the process has ended.
    ///
    /// # Errors
    /// As [`Child::start`].
    pub(super) fn start_again(&mut self, wait: &Wait) -> Result<(), DemoError> {
        self.starts += 1;
        self.process = spawn(&self.dir, self.port, self.starts)?;
        self.wait_ready(wait)
    }

    fn wait_ready(&mut self, wait: &Wait) -> Result<(), DemoError> {
        let began = Instant::now();
        loop {
            let pong = self.client().and_then(|mut client| Ok(client.command(&["PING"])?));
            if pong.is_ok_and(|pong| matches!(pong, Reply::Status(_))) {
                return Ok(());
            }
            if self.process.try_wait()?.is_some() {
                return Err(DemoError::Ended(self.log()));
            }
            if began.elapsed() > READY_WITHIN {
                return Err(self.late());
            }
            wait.a_moment()?;
        }
    }

    pub(super) fn client(&self) -> Result<Client, DemoError> {
        Ok(Client::connect(&format!("127.0.0.1:{}", self.port))?)
    }

    /// As it would be typed.
    pub(super) fn command_line(&self) -> String {
        format!(
            "rusty-lsm start --port {} --data-dir {}",
            self.port,
            self.dir.join("data").display()
        )
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn kill(&mut self) -> Result<(), DemoError> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It does not end.
    pub(super) fn stop(&mut self, wait: &Wait) -> Result<(), DemoError> {
        // Answered by the closed connection.
        let _ = self.client()?.command(&["SHUTDOWN"]);
        let began = Instant::now();
        while self.process.try_wait()?.is_none() {
            if began.elapsed() > READY_WITHIN {
                return Err(self.late());
            }
            wait.a_moment()?;
        }
        Ok(())
    }

    fn late(&self) -> DemoError {
        DemoError::Late { seconds: READY_WITHIN.as_secs(), log: self.log() }
    }

    fn log(&self) -> String {
        fs::read_to_string(log_path(&self.dir, self.starts)).unwrap_or_default()
    }

    /// Those lines of its banner.
    pub(super) fn said(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| {
            line.strip_prefix("  ")
                .is_some_and(|line| words.iter().any(|word| line.starts_with(word)))
        });
        lines.map(|line| line.trim().to_owned()).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log_path(dir: &Path, starts: u32) -> PathBuf {
    dir.join(format!("server-{starts}.log"))
}

fn spawn(dir: &Path, port: u16, starts: u32) -> Result<std::process::Child, DemoError> {
    let mut command = Command::new(std::env::current_exe()?);
    // The user's own server may be set by variables: this one is not.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(ENV_PREFIX))
    {
        command.env_remove(name);
    }
    command
        .args(["start", "--port", &port.to_string(), "--data-dir"])
        .arg(dir.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log_path(dir, starts))?)
        // Ctrl-C is for the demonstration, which ends it.
        .process_group(0);
    Ok(command.spawn()?)
}
