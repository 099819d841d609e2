//! What a service manager is told (systemd's `Type=notify`): ready, what a long start does, stopping, and that it lives.
//! Without one, nothing happens: the socket's name comes from it, in `NOTIFY_SOCKET`.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::live::StopWish;
use crate::server::Server;

/// How often it is looked whether a checkpoint is made.
const SAVE_LOOK: Duration = Duration::from_millis(50);

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// What the server does at the moment, in words.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// It serves.
pub fn ready(address: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("serving at {address}"))]);
}

/// It stops in order.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing what was read")]);
}

/// Waits until somebody asks for an end. Meanwhile a service manager that wants to know (`WatchdogSec=`) hears twice in that
/// time that the server lives, as long as every core goes round: one that does not is worth a restart. Who wants a checkpoint
/// before the end gets one, or the server goes on.
pub fn wait(server: &Server, asked: &Receiver<StopWish>) {
    let watchdog = sd_notify::watchdog_enabled();
    while let Some(wish) = next_wish(server, asked, watchdog) {
        if !wish.save || save_before_end(server, watchdog.is_some()) {
            return;
        }
    }
}

fn next_wish(
    server: &Server,
    asked: &Receiver<StopWish>,
    watchdog: Option<Duration>,
) -> Option<StopWish> {
    // An error would be a thread that ended without a signal, which it does not.
    let Some(interval) = watchdog else { return asked.recv().ok() };
    loop {
        match asked.recv_timeout(interval / 2) {
            Ok(wish) => return Some(wish),
            Err(RecvTimeoutError::Timeout) => tell_alive(server),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Whether the checkpoint was made.
fn save_before_end(server: &Server, has_watchdog: bool) -> bool {
    let made = server.begin_save().and_then(|outcome| {
        loop {
            if let Some(made) = outcome.get() {
                return made.clone();
            }
            if has_watchdog {
                tell_alive(server);
            }
            std::thread::park_timeout(SAVE_LOOK);
        }
    });
    if let Err(error) = &made {
        tracing::error!(%error, "SHUTDOWN SAVE: the server goes on");
    }
    made.is_ok()
}

fn tell_alive(server: &Server) {
    match server.stalled_cores() {
        0 => notify(&[NotifyState::Watchdog]),
        cores => {
            tracing::warn!(cores, "stalled; the service manager is not told that all is well");
        }
    }
}
