//! The ring without any executor: sockets on 127.0.0.1, and the bell.
#![expect(clippy::disallowed_methods, reason = "the other ends of the sockets are threads")]
#![expect(clippy::disallowed_macros, reason = "figures for whoever runs the test by hand")]
#![expect(clippy::cast_possible_truncation, reason = "patterns are cut to bytes")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;

const LISTENER: u64 = TOKEN_MAX;

fn ring_of(recv_buffers: u16, recv_buffer_bytes: u32) -> Ring {
    let options = RingOptions { recv_buffers, recv_buffer_bytes, ..RingOptions::default() };
    Ring::new(&options, Bell::new().unwrap()).unwrap()
}

/// Passes that find nothing before that counts as a hang: a minute of naps and more.
const PASSES_MAX: usize = 1_000_000;

/// Passes until `done`, which looks at what completed.
fn pass_until(ring: &Ring, mut done: impl FnMut(Completion) -> bool) {
    let mut completed = Vec::new();
    for _ in 0..PASSES_MAX {
        ring.pass(&mut completed).unwrap();
        let mut over = false;
        for completion in completed.drain(..) {
            over |= done(completion);
        }
        if over {
            return;
        }
        thread::sleep(Duration::from_micros(50));
    }
    panic!("nothing more completes");
}

/// A connected pair: our side, and the peer's.
fn pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0.into(), peer)
}

/// One connection of the echo server.
struct Echo {
    socket: OwnedFd,
    waiting: Vec<u8>,
    sending: bool,
    starved: bool,
}

/// Echoes until `connections` have come and gone. Answers how often a receive starved.
fn serve_echo(ring: &Ring, listener: &TcpListener, connections: usize) -> usize {
    let mut echoes: HashMap<u64, Echo> = HashMap::new();
    let (mut next, mut gone, mut starved) = (0, 0, 0);
    ring.accept_multi(listener, LISTENER);
    let feed = |echo: &mut Echo, token: u64| {
        if !echo.sending && !echo.waiting.is_empty() {
            echo.sending = true;
            ring.send(&echo.socket, std::mem::take(&mut echo.waiting), 0, token);
        }
    };
    pass_until(ring, |completion| {
        let token = completion.token;
        match completion.event {
            SocketEvent::Accepted(socket) => {
                assert!(completion.more);
                ring.recv(&socket, next);
                let echo = Echo { socket, waiting: Vec::new(), sending: false, starved: false };
                echoes.insert(next, echo);
                next += 1;
            }
            SocketEvent::Received(buffer) => {
                let echo = echoes.get_mut(&token).unwrap();
                echo.waiting.extend_from_slice(&buffer);
                feed(echo, token);
                if !completion.more {
                    ring.recv(&echo.socket, token);
                }
            }
            SocketEvent::Sent { buf, from, written } => {
                assert_eq!((from, written), (0, buf.len()));
                let echo = echoes.get_mut(&token).unwrap();
                echo.sending = false;
                feed(echo, token);
            }
            SocketEvent::Starved => {
                assert!(!completion.more);
                starved += 1;
                echoes.get_mut(&token).unwrap().starved = true;
            }
            SocketEvent::Closed => {
                let echo = echoes.remove(&token).unwrap();
                assert!(!echo.sending);
                ring.close(echo.socket);
                gone += 1;
            }
            event => panic!("{event:?}"),
        }
        if ring.buffers_free() > 0 {
            for (&token, echo) in echoes.iter_mut().filter(|(_, echo)| echo.starved) {
                echo.starved = false;
                ring.recv(&echo.socket, token);
            }
        }
        gone == connections
    });
    starved
}

/// Sends `rounds` messages of `len` bytes and checks their echoes; half of each is sent while the echo comes back.
fn talk(address: std::net::SocketAddr, rounds: usize, len: usize, seed: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    for round in 0..rounds {
        let message: Vec<u8> = (0..len).map(|i| ((i * 31) ^ (round + seed)) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let copy = message.clone();
        let writing = thread::spawn(move || writer.write_all(&copy).unwrap());
        let mut echo = vec![0; len];
        stream.read_exact(&mut echo).unwrap();
        writing.join().unwrap();
        assert_eq!(echo, message);
    }
}

#[test]
fn echo_to_many_connections() {
    const CONNECTIONS: usize = 40;
    let ring = ring_of(256, 16 << 10);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peers: Vec<_> = (0..CONNECTIONS)
        .map(|seed| thread::spawn(move || talk(address, 5, 1 + seed * 700, seed)))
        .collect();
    serve_echo(&ring, &listener, CONNECTIONS);
    for peer in peers {
        peer.join().unwrap();
    }
    assert_eq!(ring.buffers_free(), 256);
    assert_eq!(ring.sends_in_flight(), 0);
}

#[test]
fn a_receive_takes_one_buffer_and_starves_when_none_is_free() {
    let ring = ring_of(2, 64);
    let (socket, mut peer) = pair();
    peer.write_all(&[1; 64 * 5]).unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        ring.recv(&socket, 7);
        pass_until(&ring, |completion| {
            assert_eq!((completion.token, completion.more), (7, false));
            let SocketEvent::Received(buffer) = completion.event else { panic!("{held:?}") };
            held.push(buffer);
            true
        });
    }
    assert_eq!((ring.buffers_free(), ring.in_flight()), (0, 0));
    ring.recv(&socket, 7);
    pass_until(&ring, |completion| {
        assert!(matches!(completion.event, SocketEvent::Starved), "{completion:?}");
        assert_eq!((completion.token, completion.more), (7, false));
        true
    });
    held.pop();
    assert_eq!(ring.buffers_free(), 1);
    held.clear();
    let mut received = 64 * 2;
    ring.recv(&socket, 7);
    pass_until(&ring, |completion| {
        let SocketEvent::Received(buffer) = completion.event else { panic!("{completion:?}") };
        assert!(buffer.iter().all(|&byte| byte == 1));
        received += buffer.len();
        ring.recv(&socket, 7);
        received == 64 * 5
    });
}

/// Much at once, and where none of the few large buffers is free the ordinary ones do.
#[test]
fn a_large_receive_takes_a_large_buffer() {
    let ring = ring_of(2, 64);
    let (socket, mut peer) = pair();
    let sender = thread::spawn(move || {
        peer.write_all(&vec![1; 4 << 20]).unwrap();
        peer
    });
    let mut held = Vec::new();
    let mut received = 0;
    for _ in 0..ring.large_buffers_free() {
        ring.recv_large(&socket, 7);
        pass_until(&ring, |completion| {
            assert_eq!((completion.token, completion.more), (7, false));
            let SocketEvent::Received(buffer) = completion.event else { panic!("{held:?}") };
            received += buffer.len();
            held.push(buffer);
            true
        });
    }
    assert!(held.iter().any(|buffer| buffer.len() > 16 << 10));
    assert_eq!((ring.large_buffers_free(), ring.buffers_free()), (0, 2));
    ring.recv_large(&socket, 7);
    pass_until(&ring, |completion| {
        assert!(matches!(completion.event, SocketEvent::Starved), "{completion:?}");
        true
    });
    ring.recv(&socket, 7);
    pass_until(&ring, |completion| {
        let SocketEvent::Received(buffer) = completion.event else { panic!("{completion:?}") };
        received += buffer.len();
        true
    });
    held.clear();
    ring.recv_large(&socket, 7);
    pass_until(&ring, |completion| {
        let SocketEvent::Received(buffer) = completion.event else { panic!("{completion:?}") };
        assert!(buffer.iter().all(|&byte| byte == 1));
        received += buffer.len();
        ring.recv_large(&socket, 7);
        received == 4 << 20
    });
    ring.cancel(7);
    pass_until(&ring, |completion| {
        assert!(matches!(completion.event, SocketEvent::Cancelled), "{completion:?}");
        true
    });
    assert_eq!(ring.in_flight(), 0);
    drop(sender.join().unwrap());
}

#[test]
fn echo_with_two_small_buffers() {
    const CONNECTIONS: usize = 8;
    let ring = ring_of(2, 512);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peers: Vec<_> = (0..CONNECTIONS)
        .map(|seed| thread::spawn(move || talk(address, 2, 100_000, seed)))
        .collect();
    let starved = serve_echo(&ring, &listener, CONNECTIONS);
    println!("starved {starved} times");
    for peer in peers {
        peer.join().unwrap();
    }
    assert_eq!(ring.buffers_free(), 2);
}

#[test]
fn a_cancelled_receive_says_so_and_may_be_armed_again() {
    let ring = ring_of(4, 256);
    let (socket, mut peer) = pair();
    ring.recv(&socket, 3);
    ring.pass(&mut Vec::new()).unwrap();
    assert_eq!(ring.in_flight(), 1);
    ring.cancel(3);
    pass_until(&ring, |completion| {
        assert!(matches!(completion.event, SocketEvent::Cancelled), "{completion:?}");
        assert_eq!((completion.token, completion.more), (3, false));
        true
    });
    assert_eq!(ring.in_flight(), 0);
    // Nothing to cancel is no event.
    ring.cancel(3);
    peer.write_all(b"later").unwrap();
    ring.recv(&socket, 3);
    pass_until(&ring, |completion| {
        let SocketEvent::Received(buffer) = completion.event else { panic!("{completion:?}") };
        assert_eq!(&*buffer, b"later");
        true
    });
}

#[test]
fn an_accept_can_be_cancelled() {
    let ring = ring_of(4, 256);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ring.accept_multi(&listener, LISTENER);
    ring.pass(&mut Vec::new()).unwrap();
    ring.cancel(LISTENER);
    pass_until(&ring, |completion| {
        assert!(matches!(completion.event, SocketEvent::Cancelled), "{completion:?}");
        true
    });
}

/// A peer that does not read fills the socket; the send waits until the socket is closed, and gives its buffer back.
#[test]
fn close_ends_what_is_in_flight() {
    let ring = ring_of(4, 256);
    let (socket, mut peer) = pair();
    ring.recv(&socket, 1);
    let mut filler = TcpStream::from(socket.try_clone().unwrap());
    filler.set_nonblocking(true).unwrap();
    let bytes = vec![9; 1 << 16];
    while filler.write(&bytes).is_ok() {}
    filler.set_nonblocking(false).unwrap();
    drop(filler);
    ring.send(&socket, vec![9; 32 << 20], 0, 1);
    for _ in 0..10 {
        let mut completed = Vec::new();
        ring.pass(&mut completed).unwrap();
        assert_eq!(completed.len(), 0);
    }
    assert_eq!((ring.in_flight(), ring.sends_in_flight()), (2, 1));
    ring.close(socket);
    let (mut buf, mut cancelled) = (None, false);
    pass_until(&ring, |completion| {
        match completion.event {
            SocketEvent::Cancelled => cancelled = true,
            SocketEvent::Sent { buf: back, written, .. } => {
                assert!(written < back.len());
                buf = Some(back);
            }
            SocketEvent::SendFailed { buf: back, .. } => buf = Some(back),
            event => panic!("{event:?}"),
        }
        cancelled && buf.is_some()
    });
    assert_eq!(buf.unwrap().len(), 32 << 20);
    assert_eq!(ring.in_flight(), 0);
    // The peer sees the end, though it may have lost what was not sent.
    let mut rest = Vec::new();
    let end = peer.read_to_end(&mut rest);
    println!("the peer read {} bytes, then {end:?}", rest.len());
}

#[test]
fn a_send_to_a_closed_peer_fails_and_gives_the_buffer_back() {
    let ring = ring_of(4, 256);
    let (socket, peer) = pair();
    drop(peer);
    let mut failed = false;
    for _ in 0..100 {
        ring.send(&socket, b"anyone?".to_vec(), 0, 5);
        pass_until(&ring, |completion| {
            match completion.event {
                SocketEvent::Sent { written, .. } => assert_eq!(written, 7),
                SocketEvent::SendFailed { buf, error } => {
                    assert_eq!(buf, b"anyone?");
                    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                    failed = true;
                }
                event => panic!("{event:?}"),
            }
            true
        });
    }
    assert!(failed);
}

#[test]
fn shutdown_ends_both_directions() {
    let ring = ring_of(4, 256);
    let (socket, _peer) = pair();
    ring.recv(&socket, 1);
    ring.shutdown(&socket);
    pass_until(&ring, |completion| {
        assert!(matches!(completion.event, SocketEvent::Closed), "{completion:?}");
        true
    });
}

/// More operations than the submission queue holds.
#[test]
fn a_full_submission_queue_is_no_limit() {
    let options = RingOptions { submissions: 4, completions: 8, ..RingOptions::default() };
    let ring = Ring::new(&options, Bell::new().unwrap()).unwrap();
    let pairs: Vec<_> = (0..100).map(|_| pair()).collect();
    for (token, (socket, _)) in (0..).zip(&pairs) {
        ring.recv(socket, token);
        ring.send(socket, vec![token as u8; 10], 0, token);
    }
    for (token, (_, peer)) in (0_u8..).zip(&pairs) {
        (&*peer).write_all(&[token; 20]).unwrap();
    }
    let (mut sent, mut received) = (0, 0);
    pass_until(&ring, |completion| {
        match completion.event {
            SocketEvent::Sent { written, .. } => sent += written,
            SocketEvent::Received(buffer) => {
                assert!(buffer.iter().all(|&byte| u64::from(byte) == completion.token));
                received += buffer.len();
                ring.recv(&pairs[usize::try_from(completion.token).unwrap()].0, completion.token);
            }
            event => panic!("{event:?}"),
        }
        (sent, received) == (1000, 2000)
    });
    for (token, (_, peer)) in (0_u8..).zip(&pairs) {
        let mut ten = [0; 10];
        (&*peer).read_exact(&mut ten).unwrap();
        assert_eq!(ten, [token; 10]);
    }
}

#[test]
fn an_idle_ring_makes_no_system_calls() {
    let ring = ring_of(4, 256);
    let (socket, _peer) = pair();
    ring.recv(&socket, 1);
    ring.pass(&mut Vec::new()).unwrap();
    let before = ring.enters();
    for _ in 0..1000 {
        assert!(!ring.pass(&mut Vec::new()).unwrap());
    }
    assert_eq!(ring.enters(), before);
}

#[test]
fn dropping_a_ring_ends_its_operations() {
    let ring = ring_of(4, 256);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (socket, mut peer) = pair();
    ring.accept_multi(&listener, LISTENER);
    ring.recv(&socket, 1);
    ring.send(&socket, vec![9; 32 << 20], 0, 1);
    ring.pass(&mut Vec::new()).unwrap();
    drop(ring);
    drop(socket);
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).ok();
    assert!(rest.len() < 32 << 20);
}

#[test]
fn a_buffer_may_outlive_its_ring() {
    let ring = ring_of(4, 256);
    let (socket, mut peer) = pair();
    ring.recv(&socket, 1);
    peer.write_all(b"kept").unwrap();
    let mut kept = None;
    pass_until(&ring, |completion| {
        let SocketEvent::Received(buffer) = completion.event else { panic!("{completion:?}") };
        kept = Some(buffer);
        true
    });
    drop(ring);
    assert_eq!(&*kept.unwrap(), b"kept");
}

/// The bell's eventfd is written only when the core sleeps, and once per sleep.
#[test]
fn the_bell_signals_a_sleeping_core_once() {
    let bell = Bell::new().unwrap();
    let signals = || {
        let mut poll =
            libc::pollfd { fd: bell.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut poll, 1, 0) }
    };
    bell.ring();
    assert!(bell.is_rung());
    assert_eq!(signals(), 0, "the core is awake");
    assert!(!bell.lie_down(), "rung: it must look first");
    assert!(!bell.is_asleep());
    assert!(bell.take());
    assert!(!bell.take());
    assert!(bell.lie_down());
    bell.ring();
    assert_eq!(signals(), 1);
    assert!(!bell.is_asleep());
    bell.ring();
    let mut count = [0; 8];
    std::fs::File::from(bell.as_fd().try_clone_to_owned().unwrap()).read_exact(&mut count).unwrap();
    // In the machine's byte order.
    assert_eq!(count.iter().sum::<u8>(), 1);
}
