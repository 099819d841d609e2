//! What every black-box test needs: a server, a client, a peer to compare with.

mod client;
mod http;
mod peer;
mod seccomp;
mod server;
mod typed;

pub(crate) use client::{Client, Reply, encode};
pub(crate) use http::Http;
pub(crate) use peer::{Peer, transcript};
pub(crate) use seccomp::deny_io_uring;
pub(crate) use server::{
    Exit, Options, Server, free_port, is_stand_in, program, program_command, run_to_end, skip,
    temp_dir,
};
pub(crate) use typed::typed;

/// Small deterministic generator (splitmix64): a failing run is repeated by its seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        self.next() % bound
    }

    /// Bytes that do not compress.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
