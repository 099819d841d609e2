//! What a connection has told of itself, and what local commands may know of the server.

use std::sync::Arc;

use crate::live::Live;
use crate::resp::Protocol;

/// The version that we report to clients: some refuse a server below 7.4.
pub const REDIS_VERSION: &str = "7.4.0";

/// One connection's state, as commands see and change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Unique in the life of the process, from 1.
    pub id: u64,
    pub protocol: Protocol,
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
}

/// What local commands know of the server. One per core; its owner keeps it current.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts {
    /// Wall clock of this pass of the core's loop, in microseconds since 1970.
    pub now_us: u64,
    /// For CONFIG GET.
    pub live: Arc<Live>,
}
