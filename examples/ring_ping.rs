//! Answers `+PONG` to every PING of a RESP client, on one core: the floor of what the ring costs.
//!
//! `cargo run --release --example ring_ping -- 7777`, then
//! `redis-benchmark -p 7777 -n 1000000 -c 50 -t ping_mbulk`. Prints CPU time and system calls per request each second.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::naive_bytecount,
    reason = "a measurement, not a server"
)]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusty_lsm::runtime::{self, CoreContext, CoreOptions};
use shard::env::glommio::Driver;
use shard::env::ring::{Ring, RingOptions, SocketEvent};

const LISTENER: u64 = u32::MAX as u64;

struct Client {
    socket: Option<OwnedFd>,
    replies: Vec<u8>,
    sending: bool,
}

fn main() {
    let port = std::env::args().nth(1).map_or(7777, |port| port.parse().expect("a port"));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let cpus = vec![runtime::available_cpus().expect("affinity")[0]];
    let listener = Arc::new(listener);
    let cores = runtime::start(&CoreOptions { cpus, ring: RingOptions::default() }, |_| {
        let listener = Arc::clone(&listener);
        move |core: CoreContext| async move { serve(&core.ring, core.driver, &listener).await }
    });
    cores.expect("a core").join().expect("no end");
}

async fn serve(ring: &Ring, mut driver: Driver, listener: &TcpListener) {
    let mut clients: Vec<Client> = Vec::new();
    let mut completed = Vec::new();
    let (mut requests, mut last, mut enters, mut cpu) = (0_u64, Instant::now(), 0, cpu_time());
    ring.accept_multi(listener, LISTENER);
    loop {
        let mut busy = ring.pass(&mut completed).expect("ring");
        let mut touched = Vec::new();
        for completion in completed.drain(..) {
            busy = true;
            let index = completion.token as usize;
            match completion.event {
                SocketEvent::Accepted(socket) => {
                    let stream = std::net::TcpStream::from(socket);
                    stream.set_nodelay(true).expect("nodelay");
                    let socket = OwnedFd::from(stream);
                    ring.recv(&socket, clients.len() as u64);
                    clients.push(Client {
                        socket: Some(socket),
                        replies: Vec::new(),
                        sending: false,
                    });
                }
                SocketEvent::Received(bytes) => {
                    // Each request of the benchmark holds one dollar sign per word: PING has one word.
                    let count = bytes.iter().filter(|&&byte| byte == b'$').count();
                    requests += count as u64;
                    let client = &mut clients[index];
                    for _ in 0..count {
                        client.replies.extend_from_slice(b"+PONG\r\n");
                    }
                    touched.push(index);
                    ring.recv(client.socket.as_ref().expect("open"), completion.token);
                }
                SocketEvent::Sent { mut buf, .. } => {
                    let client = &mut clients[index];
                    client.sending = false;
                    buf.clear();
                    if client.replies.is_empty() {
                        client.replies = buf;
                    }
                    touched.push(index);
                }
                SocketEvent::Closed | SocketEvent::Failed(_) => {
                    if let Some(socket) = clients[index].socket.take() {
                        ring.close(socket);
                    }
                }
                _ => {}
            }
        }
        for index in touched {
            let client = &mut clients[index];
            if let (Some(socket), false, false) =
                (&client.socket, client.sending, client.replies.is_empty())
            {
                client.sending = true;
                ring.send(socket, std::mem::take(&mut client.replies), 0, index as u64);
            }
        }
        driver.after_pass(busy).await.expect("ring");
        if last.elapsed() > Duration::from_secs(1) && requests > 0 {
            let used = cpu_time().saturating_sub(cpu);
            println!(
                "{requests} requests in {:?}: {:.2} us of CPU and {:.2} enters each, {} turns, {} sleeps",
                last.elapsed(),
                used.as_secs_f64() * 1e6 / requests as f64,
                (ring.enters() - enters) as f64 / requests as f64,
                driver.turns(),
                driver.sleeps(),
            );
            (requests, last, enters, cpu) = (0, Instant::now(), ring.enters(), cpu_time());
        }
    }
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 =
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}
