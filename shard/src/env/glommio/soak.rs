//! Everything at once for two seconds: sockets, hot and cold files, background work, timers, bells.
#![expect(clippy::disallowed_macros, reason = "figures for whoever runs the test by hand")]
#![expect(clippy::cast_possible_truncation, reason = "patterns are cut to bytes")]

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::tests::{directory, on_core, pattern, spin};
use super::{Driver, GlommioEnv};
use crate::env::ring::{Bell, Ring, SocketEvent};
use crate::env::{Env, File, Lane, Open, Queue, read_exact_at, write_all_at};
use crate::limits::ALIGN;

const TIME: Duration = Duration::from_secs(2);
const CLIENTS: usize = 6;
const LISTENER: u64 = 1 << 40;

/// Sends messages of many lengths and checks their echoes. Answers how many, and the slowest.
fn client(address: SocketAddr, seed: usize) -> (usize, Duration) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (began, mut count, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < TIME {
        let len = 1 + (count * 7919 + seed * 31) % 40_000;
        let message: Vec<u8> = (0..len).map(|i| (i ^ count ^ seed) as u8).collect();
        let sent = Instant::now();
        stream.write_all(&message).unwrap();
        let mut echo = vec![0; len];
        stream.read_exact(&mut echo).unwrap();
        assert!(echo == message, "message {count} of client {seed}");
        slowest = slowest.max(sent.elapsed());
        count += 1;
        if count.is_multiple_of(16) {
            // Lets the core fall asleep now and then.
            thread::sleep(Duration::from_micros(seed as u64 * 400));
        }
    }
    (count, slowest)
}

/// Rings and waits for the answer.
fn ringer(bell: &Bell, questions: &Sender<Instant>, answers: &Receiver<()>) -> usize {
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        questions.send(Instant::now()).unwrap();
        bell.ring();
        answers.recv_timeout(Duration::from_secs(10)).expect("a bell is answered");
        count += 1;
        thread::sleep(Duration::from_micros(count as u64 % 7 * 300));
    }
    count
}

#[derive(Default)]
struct Echoes {
    sockets: HashMap<u64, (OwnedFd, Vec<u8>, bool)>,
    next: u64,
    gone: usize,
}

impl Echoes {
    fn handle(&mut self, ring: &Ring, token: u64, event: SocketEvent, more: bool) {
        match event {
            SocketEvent::Accepted(socket) => {
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true).unwrap();
                let socket = OwnedFd::from(stream);
                ring.recv(&socket, self.next);
                self.sockets.insert(self.next, (socket, Vec::new(), false));
                self.next += 1;
            }
            SocketEvent::Received(buffer) => {
                let (socket, waiting, _) = self.sockets.get_mut(&token).unwrap();
                waiting.extend_from_slice(&buffer);
                if !more {
                    ring.recv(&*socket, token);
                }
            }
            SocketEvent::Sent { buf, from, written } => {
                assert_eq!(written, buf.len() - from);
                self.sockets.get_mut(&token).unwrap().2 = false;
            }
            SocketEvent::Closed => {
                ring.close(self.sockets.remove(&token).unwrap().0);
                self.gone += 1;
            }
            event => panic!("{event:?}"),
        }
        if let Some((socket, waiting, sending)) = self.sockets.get_mut(&token)
            && !*sending
            && !waiting.is_empty()
        {
            *sending = true;
            ring.send(&*socket, std::mem::take(waiting), 0, token);
        }
    }
}

/// Writes and checks blocks in turn until told to stop.
async fn write_and_read(
    env: GlommioEnv,
    path: PathBuf,
    lane: Lane,
    stop: Rc<Cell<bool>>,
    count: Rc<Cell<u64>>,
) {
    let file = env.open(&path, Open::CreateNew, lane).await.unwrap();
    let mut round = 0_u64;
    while !stop.get() {
        let blocks = 1 + (round % 5) as usize;
        let offset = round % 32 * 8 * ALIGN as u64;
        let (written, buf) =
            write_all_at(&file, pattern(blocks * ALIGN, round as u8), offset).await;
        written.unwrap();
        if round.is_multiple_of(3) {
            file.sync().await.unwrap();
        }
        let read = read_exact_at(&file, offset, blocks * ALIGN).await.unwrap();
        assert!(read.as_slice() == buf.as_slice(), "{lane:?} round {round}");
        if round.is_multiple_of(10) {
            env.sleep(Duration::from_micros(round % 700)).await;
        }
        env.pause().await;
        round += 1;
        count.set(round);
    }
    file.close().await.unwrap();
    env.remove(&path).await.unwrap();
    count.set(u64::MAX);
    env.ring().nudge();
}

/// The core's side of it all.
async fn serve(
    env: &GlommioEnv,
    driver: &mut Driver,
    listener: &TcpListener,
    stop: &Cell<bool>,
    over: impl Fn() -> bool,
    answer: impl Fn(),
) {
    let ring = env.ring().clone();
    let (mut echoes, mut completed) = (Echoes::default(), Vec::new());
    ring.accept_multi(listener, LISTENER);
    while echoes.gone < CLIENTS || !over() {
        let busy = ring.pass(&mut completed).unwrap();
        answer();
        for completion in completed.drain(..) {
            echoes.handle(&ring, completion.token, completion.event, completion.more);
        }
        stop.set(echoes.gone == CLIENTS);
        driver.after_pass(busy).await.unwrap();
    }
}

#[test]
fn everything_at_once() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<JoinHandle<_>> =
            (0..CLIENTS).map(|seed| thread::spawn(move || client(address, seed))).collect();
        let (bell, (ask, questions), (reply, answers)) =
            (env.ring().bell().clone(), channel(), channel());
        let ringing = thread::spawn(move || ringer(&bell, &ask, &answers));

        let stop = Rc::new(Cell::new(false));
        let counts: Vec<Rc<Cell<u64>>> = (0..4).map(|_| Rc::new(Cell::new(0))).collect();
        for (index, (queue, lane)) in [
            (Queue::Commit, Lane::Hot),
            (Queue::Flush, Lane::Cold),
            (Queue::Compaction, Lane::Cold),
            (Queue::Compaction, Lane::Hot),
        ]
        .into_iter()
        .enumerate()
        {
            let path = root.join(format!("{index}"));
            let (stop, count) = (Rc::clone(&stop), Rc::clone(&counts[index]));
            env.spawn(queue, write_and_read(env.clone(), path, lane, stop, count));
        }
        let (env2, stop2) = (env.clone(), Rc::clone(&stop));
        env.spawn(Queue::Compaction, async move {
            while !stop2.get() {
                spin(Duration::from_micros(300));
                env2.pause().await;
            }
        });
        let seen: Rc<[Cell<u64>]> = counts.iter().map(|_| Cell::new(0)).collect();
        let over = || {
            for (seen, count) in seen.iter().zip(&counts) {
                if count.get() != u64::MAX {
                    seen.set(count.get());
                }
            }
            counts.iter().all(|count| count.get() == u64::MAX)
        };
        let slowest = Cell::new(Duration::ZERO);
        let answer = || {
            while let Ok(asked) = questions.try_recv() {
                slowest.set(slowest.get().max(asked.elapsed()));
                reply.send(()).ok();
            }
        };
        serve(&env, &mut driver, &listener, &stop, over, answer).await;
        let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        println!("echoes and the slowest: {clients:?}");
        println!(
            "bells: {} answered, slowest {:?}; rounds of files: {seen:?}; {} turns, {} sleeps",
            ringing.join().unwrap(),
            slowest.get(),
            driver.turns(),
            driver.sleeps()
        );
        assert!(clients.iter().all(|&(count, _)| count > 0));
        assert!(seen.iter().all(|seen| seen.get() > 0));
        assert_eq!(env.ring().buffers_free(), 256);
        assert_eq!(env.ring().files_in_flight(), 0);
        assert!(std::fs::read_dir(&root).unwrap().next().is_none());
    });
}
