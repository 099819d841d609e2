//! HTTP: REST, dashboard, metrics. One thread of its own with an executor of its own; no core runs any of it.
//!
//! # Modules, in the order a request meets them
//! - `server`: accepts, within its limits, and ends. `socket`: a connection and its deadlines; `framing`: where its requests
//!   begin and end.
//! - `routes`: the one table of paths, and what is looked at before each; `guard`: from where, and who. `body`: what was sent.
//! - `routes/*`: what a path does, as commands of the Redis protocol over `links` to the cores: the same way, the same order,
//!   the same rights as any client's.
//! - `answer`: what goes back. `reports`: telemetry, for `metrics`, `events` and readiness. `page`, `openapi`: what is fixed.
//!
//! # Invariants
//! - Nothing of a request is done before its name, its origin, its sender, its kind and its length were looked at.
//! - Nothing waits for ever, and nothing grows without a bound: see `limits`, everything that begins with `HTTP_`.
//! - A value is never answered as something that a browser would run or show.

mod answer;
mod body;
mod events;
mod framing;
mod guard;
mod links;
mod metrics;
mod openapi;
mod page;
mod reports;
mod routes;
mod server;
mod socket;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::access::PasswordDigest;
use crate::server::Connector;
use crate::sys;

/// By how much the thread's nice value is above the cores'. Where nobody else wants the CPU it has all of it; beside a
/// busy core a tenth.
const NICE: i32 = 10;

/// What is fixed at start.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    pub token: Option<PasswordDigest>,
    /// Further names under which it may be asked for, in lower case.
    pub hosts: Vec<String>,
    /// Longest body of a request.
    pub body_bytes_max: usize,
    /// Connections at a time.
    pub connections_max: usize,
}

/// HTTP, serving on its thread. Dropping it leaves it running: end it with [`Http::stop`].
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    connector: Arc<OnceLock<Connector>>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Http {
    /// Serves at `listener` at once; what needs the shards is answered 503 until [`Http::serve`].
    ///
    /// # Errors
    /// No thread, no descriptor.
    pub fn start(listener: TcpListener, options: HttpOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let connector = Arc::new(OnceLock::new());
        let (stop, stopped) = watch::channel(false);
        let known = Arc::clone(&connector);
        let run = move || {
            // A pinned core cannot go elsewhere when this thread runs on its CPU.
            sys::stand_back(NICE);
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, server::run(listener, options, known, stopped));
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(run)?;
        Ok(Self { address, connector, stop, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The shards are open.
    pub fn serve(&self, connector: Connector) {
        // Once: a second one would be of another server.
        let _ = self.connector.set(connector);
    }

    /// Takes no more requests, finishes those under way, and waits for that: some seconds at most.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::warn!("the thread of HTTP had ended by a panic");
        }
    }
}
