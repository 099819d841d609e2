//! What a connection has told of itself, and what local commands may know of the server.

use std::sync::Arc;

use crate::access::{DEFAULT_USER, Login};
use crate::live::Live;
use crate::resp::Protocol;

/// The version that we report to clients: some refuse a server below 7.4.
pub const REDIS_VERSION: &str = "7.4.0";

/// One connection's state, as commands see and change it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts about it, each true or not by itself")]
pub struct Session {
    /// Unique in the life of the process, from 1.
    pub id: u64,
    pub protocol: Protocol,
    /// As whom it acts.
    pub login: Login,
    /// It comes from this machine: over loopback, or the unix socket.
    pub is_local: bool,
    /// It comes from within the process.
    pub is_internal: bool,
    /// Nothing but commands of administrators needs a look at its rights.
    pub is_free: bool,
    /// By CLIENT SETNAME; empty if it has none.
    pub name: Vec<u8>,
    /// By CLIENT SETINFO.
    pub lib_name: Vec<u8>,
    pub lib_version: Vec<u8>,
    /// Address and port.
    pub peer: String,
    pub local: String,
    /// Descriptor, or 0 where there is none to show.
    pub descriptor: i64,
    /// Wall clock at accept, in microseconds since 1970.
    pub connected_us: u64,
    /// By CLIENT NO-EVICT and CLIENT NO-TOUCH.
    pub no_evict: bool,
    pub no_touch: bool,
}

impl Session {
    pub fn new(id: u64, peer: String, local: String, now_us: u64) -> Self {
        Self {
            id,
            protocol: Protocol::Resp2,
            login: Login::None,
            is_local: false,
            is_internal: false,
            is_free: false,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            peer,
            local,
            descriptor: 0,
            connected_us: now_us,
            no_evict: false,
            no_touch: false,
        }
    }

    /// As it begins, and after RESET: logged in where no password is needed.
    pub(crate) fn begin(&mut self, live: &Live) {
        let needs_login = live.requires_password() && !self.is_internal;
        self.log_in_as(if needs_login { Login::None } else { Login::Default }, live);
    }

    pub(crate) fn log_in_as(&mut self, login: Login, live: &Live) {
        self.login = login;
        self.is_free = login == Login::Default && !live.policy().denies();
    }

    /// It has not logged in, and there is a password.
    pub(crate) fn must_log_in(&self, live: &Live) -> bool {
        self.login == Login::None && live.requires_password()
    }

    /// The name of its user.
    pub(crate) fn user<'a>(&self, live: &'a Live) -> &'a str {
        match (self.login, &live.policy().readonly) {
            (Login::ReadOnly, Some((name, _))) => name,
            _ => DEFAULT_USER,
        }
    }
}

/// What local commands know of the server. One per core; its owner keeps it current.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts {
    /// Wall clock of this pass of the core's loop, in microseconds since 1970.
    pub now_us: u64,
    /// For CONFIG GET.
    pub live: Arc<Live>,
}
