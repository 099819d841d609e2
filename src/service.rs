//! What a service manager is told (systemd's `Type=notify`): ready, what a long start does, stopping, and that it lives.
//! Without one, nothing happens: the socket's name comes from it, in `NOTIFY_SOCKET`.

use std::sync::mpsc::{Receiver, RecvTimeoutError};

use sd_notify::NotifyState;

use crate::server::Server;

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
/// time that the server lives, as long as every core goes round: one that does not is worth a restart.
pub fn wait(server: &Server, asked: &Receiver<()>) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        // An error would be a thread that ended without a signal, which it does not.
        let _ = asked.recv();
        return;
    };
    while asked.recv_timeout(interval / 2) == Err(RecvTimeoutError::Timeout) {
        match server.stalled_cores() {
            0 => notify(&[NotifyState::Watchdog]),
            cores => {
                tracing::warn!(cores, "stalled; the service manager is not told that all is well");
            }
        }
    }
}
