//! A whole thread against a server of its own making: a store that takes a fixed time per request, in a time that passes only
//! when somebody waits.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;

use super::*;
use crate::settings::tests::settings;
use crate::workload::Kind;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A server with one processor.
#[derive(Debug, Default)]
struct World {
    now_ns: u64,
    service_ns: u64,
    /// From when until when it does nothing.
    stall: Option<(u64, u64)>,
    busy_until_ns: u64,
    connections: Vec<Wire>,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys of every SET, in order.
    written: Vec<Vec<u8>>,
    commands: u64,
    /// Gives this many bytes of a reply at a time.
    piece_bytes: Option<usize>,
    /// Takes so many bytes a write, and then none until the next wait.
    write_bytes_max: Option<usize>,
    write_is_full: bool,
    /// What it answers instead, for its nth command.
    instead: Option<(u64, Vec<u8>)>,
    closes_at_command: Option<u64>,
    closes_after_a_reply: bool,
    most_in_flight: usize,
}

#[derive(Debug, Default)]
struct Wire {
    inbox: Vec<u8>,
    replies: VecDeque<(u64, Vec<u8>)>,
    wants_write: bool,
}

impl World {
    fn serve(&mut self, connection: usize) {
        while let Some((words, bytes)) = command(&self.connections[connection].inbox) {
            self.connections[connection].inbox.drain(..bytes);
            let reply = self.execute(&words);
            let mut begins_ns = self.busy_until_ns.max(self.now_ns);
            if let Some((from, to)) = self.stall
                && (from..to).contains(&begins_ns)
            {
                begins_ns = to;
            }
            self.busy_until_ns = begins_ns + self.service_ns;
            let ready_ns = self.busy_until_ns;
            let wire = &mut self.connections[connection];
            let piece_bytes = self.piece_bytes.unwrap_or(reply.len()).max(1);
            for piece in reply.chunks(piece_bytes) {
                wire.replies.push_back((ready_ns, piece.to_vec()));
            }
        }
        let in_flight = self.connections.iter().map(|wire| wire.replies.len()).sum();
        self.most_in_flight = self.most_in_flight.max(in_flight);
    }

    fn execute(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        self.commands += 1;
        if let Some((number, reply)) = &self.instead
            && *number == self.commands
        {
            return reply.clone();
        }
        match words[0].as_slice() {
            b"SET" => {
                self.written.push(words[1].clone());
                self.store.insert(words[1].clone(), words[2].clone());
                b"+OK\r\n".to_vec()
            }
            b"GET" => self.bulk(&words[1]),
            b"MGET" => {
                let mut reply = format!("*{}\r\n", words.len() - 1).into_bytes();
                words[1..].iter().for_each(|key| reply.extend(self.bulk(key)));
                reply
            }
            other => panic!("{:?}", String::from_utf8_lossy(other)),
        }
    }

    fn bulk(&self, key: &[u8]) -> Vec<u8> {
        let Some(value) = self.store.get(key) else { return b"$-1\r\n".to_vec() };
        [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
    }
}

/// The words of the first command and its length, if it is whole.
fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let line = |from: usize| -> Option<(usize, usize)> {
        let end = from + bytes.get(from..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&bytes[from + 1..end]).unwrap().parse().unwrap();
        Some((number, end + 2))
    };
    let (count, mut at) = line(0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (len, from) = line(at)?;
        words.push(bytes.get(from..from + len)?.to_vec());
        at = from + len + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

#[derive(Debug, Clone)]
struct FakeNet(Rc<RefCell<World>>);

impl Net for FakeNet {
    fn now_ns(&self) -> u64 {
        self.0.borrow().now_ns
    }

    fn wait(&mut self, timeout_ns: u64, ready: &mut Vec<usize>) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        world.write_is_full = false;
        let fronts = world.connections.iter().filter_map(|wire| wire.replies.front());
        let earliest = fronts.map(|(ready_ns, _)| *ready_ns).min().unwrap_or(u64::MAX);
        let can_write = world.connections.iter().any(|wire| wire.wants_write);
        if !can_write {
            world.now_ns = earliest.min(world.now_ns + timeout_ns).max(world.now_ns);
        }
        let now_ns = world.now_ns;
        let is_ready = |wire: &Wire| {
            wire.wants_write
                || wire.replies.front().is_some_and(|(ready_ns, _)| *ready_ns <= now_ns)
        };
        let connections = world.connections.iter().enumerate();
        ready.extend(connections.filter(|(_, wire)| is_ready(wire)).map(|(at, _)| at));
        Ok(())
    }

    fn read(&mut self, connection: usize, into: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        if world.closes_at_command.is_some_and(|at| world.commands >= at) {
            return Ok(0);
        }
        let now_ns = world.now_ns;
        let wire = &mut world.connections[connection];
        let mut filled = 0;
        while let Some((ready_ns, reply)) = wire.replies.front_mut() {
            if *ready_ns > now_ns || filled == into.len() {
                break;
            }
            let bytes = reply.len().min(into.len() - filled);
            into[filled..filled + bytes].copy_from_slice(&reply[..bytes]);
            filled += bytes;
            reply.drain(..bytes);
            if reply.is_empty() {
                wire.replies.pop_front();
            }
            if world.piece_bytes.is_some() {
                break;
            }
        }
        if filled > 0 {
            if world.closes_after_a_reply {
                world.closes_at_command = Some(0);
            }
            return Ok(filled);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, connection: usize, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        if world.write_is_full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(world.write_bytes_max.unwrap_or(usize::MAX));
        world.write_is_full = world.write_bytes_max.is_some();
        world.connections[connection].inbox.extend_from_slice(&bytes[..taken]);
        world.serve(connection);
        Ok(taken)
    }

    fn want_write(&mut self, connection: usize, is_wanted: bool) -> io::Result<()> {
        self.0.borrow_mut().connections[connection].wants_write = is_wanted;
        Ok(())
    }
}

/// One thread over all clients of `line`, against `world`.
fn run_in(world: World, line: &str) -> (Result<(), Stop>, Tally, World) {
    let settings = settings(line).unwrap();
    let context = Context::new(&settings);
    let numbers: Vec<usize> = (0..settings.clients).collect();
    let connections = numbers.iter().map(|_| Wire::default()).collect();
    let world = Rc::new(RefCell::new(World { connections, ..world }));
    let tally = Tally::new(settings.measured_from_ns(), 0, None);
    let mut worker = Worker::new(&settings, &context, &numbers, FakeNet(Rc::clone(&world)), tally);
    let ended = worker.run();
    let Worker { net, tally, .. } = worker;
    drop(net);
    (ended, tally, Rc::into_inner(world).unwrap().into_inner())
}

/// The same, in a store that a load has filled.
fn run(line: &str) -> (Tally, World) {
    let (clients, keys) = (settings(line).unwrap().clients, settings(line).unwrap().keys);
    let tagged = if line.contains("--tagged") { " --tagged" } else { "" };
    let load = format!("--workload load --clients {clients} --keys {keys}{tagged}");
    let (ended, _, world) = run_in(World { service_ns: 1000, ..World::default() }, &load);
    ended.unwrap();
    let world = World { store: world.store, service_ns: 10_000, ..World::default() };
    let (ended, tally, world) = run_in(world, line);
    ended.unwrap();
    (tally, world)
}

fn requests(tally: &Tally) -> u64 {
    tally.latencies().map(|(_, latencies)| latencies.len()).sum()
}

/// A server that does nothing for a second, and otherwise answers in 0.1 ms: of 5 s at 1000 requests a second, those of that
/// second were late, by 1 s down to nothing, and the histogram has to say so. A closed loop would have sent none of them.
#[test]
fn a_stall_shows_in_the_latencies_of_all_that_were_due_in_it() {
    for (outstanding, held) in [(1024, 0), (1, 990)] {
        let world = World {
            service_ns: 100_000,
            stall: Some((2 * SECOND, 3 * SECOND)),
            ..World::default()
        };
        let line = format!(
            "--workload set --clients 1 --rate 1000 --duration 5 --outstanding {outstanding}"
        );
        let (ended, tally, world) = run_in(world, &line);
        ended.unwrap();
        assert_eq!((requests(&tally), world.commands), (5000, 5000));
        let (_, latencies) = tally.latencies().next().unwrap();
        let slower = |ms: u64| latencies.count_between(ms * MS, 10 * SECOND);
        // 0.1 ms each after the stall: the queue is drained at ten times the rate, in 0.11 s.
        assert!((990..=1010).contains(&(latencies.max() / MS)), "{} ms", latencies.max() / MS);
        assert!((540..=570).contains(&slower(500)), "{}", slower(500));
        assert!((95..=120).contains(&slower(900)), "{}", slower(900));
        assert!((1000..=1120).contains(&slower(1)), "{}", slower(1));
        assert!(latencies.value_at_quantile(0.5) <= 101_000);
        assert!(tally.held_back >= held, "{}", tally.held_back);
        assert!((990..=1010).contains(&(tally.gap_ns / MS)));
        // The generator itself was never late.
        assert_eq!(tally.lateness.max(), 0);
    }
}

/// The same server asked as fast as it answers: the one request that met the stall is all that shows.
#[test]
fn a_closed_loop_hides_a_stall() {
    let world =
        World { service_ns: 100_000, stall: Some((2 * SECOND, 3 * SECOND)), ..World::default() };
    let (ended, tally, _) = run_in(world, "--workload set --clients 1 --duration 5");
    ended.unwrap();
    let (_, latencies) = tally.latencies().next().unwrap();
    assert_eq!(latencies.count_between(MS, 10 * SECOND), 1);
}

#[test]
fn what_is_never_answered_counts_with_the_time_until_it_was_given_up() {
    let world =
        World { service_ns: 100_000, stall: Some((SECOND, 3600 * SECOND)), ..World::default() };
    let line = "--workload set --clients 2 --rate 1000 --duration 2 --outstanding 10";
    let (ended, tally, _) = run_in(world, line);
    ended.unwrap();
    assert_eq!(requests(&tally), 2000);
    assert_eq!(tally.unanswered, 1000);
    let (_, latencies) = tally.latencies().next().unwrap();
    assert_eq!(latencies.count_between(10 * SECOND, 12 * SECOND), 1000);
}

#[test]
fn a_server_that_is_too_slow_is_given_up_some_time_after_the_end() {
    let world = World { service_ns: 10 * MS, ..World::default() };
    let line = "--workload set --clients 5 --rate 1000 --duration 10";
    let (ended, tally, world) = run_in(world, line);
    ended.unwrap();
    assert_eq!(requests(&tally), 10_000);
    assert!((1990..=2010).contains(&(10_000 - tally.unanswered)), "{}", tally.unanswered);
    assert!(world.now_ns < 21 * SECOND);
}

#[test]
fn a_load_writes_every_key_once_over_any_number_of_clients() {
    for clients in [1, 3, 64] {
        for more in ["", "--pipeline 16", "--rate 5000", "--tagged --key-bytes 20"] {
            let line = format!("--workload load --keys 997 --clients {clients} {more}");
            let world = World { service_ns: 1000, ..World::default() };
            let (ended, tally, world) = run_in(world, &line);
            ended.unwrap();
            let keys: BTreeSet<&Vec<u8>> = world.written.iter().collect();
            assert_eq!((world.written.len(), keys.len()), (997, 997), "{line}");
            assert_eq!((requests(&tally), tally.unanswered), (997, 0));
        }
    }
}

#[test]
fn every_workload_finds_what_it_expects() {
    for workload in ["get", "set", "miss", "a", "b", "c", "d", "e", "f", "overwrite"] {
        for more in ["", "--pipeline 16", "--rate 50000", "--tagged --pipeline 5"] {
            for distribution in ["uniform", "zipfian", "latest", "sequential"] {
                let line = format!(
                    "--workload {workload} --keys 500 --clients 5 --requests 1000 --verify --distribution {distribution} {more}"
                );
                let (tally, world) = run(&line);
                assert_eq!(requests(&tally), 1000, "{line}");
                assert_eq!(tally.checks.faults(), 0, "{line}: {:?}", tally.checks);
                assert_eq!(tally.errors.count(), 0, "{line}: {:?}", tally.errors);
                let has_gets = !["set", "overwrite", "miss"].contains(&workload);
                assert_eq!(tally.checks.compared > 0, has_gets, "{line}");
                let is_rmw = workload == "f";
                assert_eq!(world.commands > 1000, is_rmw, "{line}");
            }
        }
    }
}

#[test]
fn replies_and_requests_may_come_in_any_pieces() {
    for piece_bytes in [1, 3, 100] {
        let world = World {
            service_ns: 1000,
            piece_bytes: Some(piece_bytes),
            write_bytes_max: Some(50),
            ..World::default()
        };
        let line = "--workload load --clients 3 --keys 300 --pipeline 7 --value-bytes 16-500";
        let (ended, _, world) = run_in(world, line);
        ended.unwrap();
        assert_eq!(world.store.len(), 300);
        let world =
            World { written: Vec::new(), commands: 0, now_ns: 0, busy_until_ns: 0, ..world };
        let line = "--workload e --clients 3 --keys 300 --pipeline 7 --value-bytes 16-500 --requests 20 --verify";
        let (ended, tally, _) = run_in(world, line);
        ended.unwrap();
        assert_eq!((requests(&tally), tally.checks.faults()), (20, 0), "{:?}", tally.checks);
    }
}

#[test]
fn a_wrong_a_missing_and_an_unexpected_value_are_found() {
    let keys = |world: &World| -> Vec<Vec<u8>> { world.store.keys().cloned().collect() };
    let (_, loaded) = run("--workload get --keys 100 --clients 1 --requests 1");
    let names = keys(&loaded);
    let line = "--keys 100 --clients 1 --requests 100 --distribution sequential --verify";

    let mut store = loaded.store.clone();
    store.insert(names[7].clone(), store[&names[8]].clone());
    store.remove(&names[9]);
    for workload in ["get", "c", "e --requests 1"] {
        let line = if workload.starts_with('e') {
            line.replace("--requests 100 ", "")
        } else {
            line.into()
        };
        let world = World { store: store.clone(), service_ns: 1000, ..World::default() };
        // A scan from the first key on: by chance short, so there are several of them.
        let line = line.replace("--requests 1 ", "--requests 40 ");
        let workload = workload.replace("--requests 1", "--requests 40");
        let (ended, tally, _) = run_in(world, &format!("--workload {workload} {line}"));
        ended.unwrap();
        let checks = &tally.checks;
        assert!(checks.wrong >= 1 && checks.missing >= 1, "{workload}: {checks:?}");
        let first = checks.first.clone().unwrap();
        assert!(first.starts_with("key key:00000000000"), "{first}");
    }

    let mut absent = names[7].clone();
    *absent.last_mut().unwrap() = b'a' + 7;
    store.insert(absent, b"x".to_vec());
    let world = World { store, service_ns: 1000, ..World::default() };
    let (ended, tally, _) = run_in(world, &format!("--workload miss {line}"));
    ended.unwrap();
    assert_eq!((tally.checks.unexpected, tally.checks.faults()), (1, 1));
}

#[test]
fn errors_are_counted_and_the_run_goes_on() {
    for instead in [&b"-OOM no memory\r\n"[..], b":1\r\n", b"*0\r\n", b"$-1\r\n"] {
        let world =
            World { service_ns: 1000, instead: Some((5, instead.to_vec())), ..World::default() };
        let (ended, tally, _) = run_in(world, "--workload set --clients 2 --requests 20");
        ended.unwrap();
        assert_eq!((requests(&tally), tally.errors.count()), (19, 1), "{instead:?}");
        let first = &tally.errors.0[0].word;
        assert_eq!(first == "OOM", instead.starts_with(b"-"), "{first}");
    }
}

#[test]
fn what_cannot_go_on_says_why() {
    let line = "--workload set --clients 2 --requests 20 --pipeline 4";
    let world = World { service_ns: 1000, closes_at_command: Some(10), ..World::default() };
    let said = run_in(world, line).0.unwrap_err().to_string();
    assert!(said.contains("the server closed the connection, with 4 requests"), "{said}");

    let instead = Some((1, b"-ERR max number of clients reached\r\n".to_vec()));
    let world = World { service_ns: 1000, instead, closes_after_a_reply: true, ..World::default() };
    let said = run_in(world, line).0.unwrap_err().to_string();
    assert!(said.contains("it had said: ERR max number of clients reached"), "{said}");

    let instead = Some((3, b"HTTP/1.1 400\r\n".to_vec()));
    let world = World { service_ns: 1000, instead, ..World::default() };
    let said = run_in(world, line).0.unwrap_err().to_string();
    assert!(said.contains("a reply begins with byte 0x48"), "{said}");

    let instead = Some((3, b"+OK\r\n+OK\r\n+OK\r\n".to_vec()));
    let world = World { service_ns: 1000, instead, ..World::default() };
    let said = run_in(world, "--workload set --clients 1 --requests 20").0.unwrap_err().to_string();
    assert!(said.contains("nothing was asked for"), "{said}");

    let world = World { stall: Some((0, u64::MAX / 2)), ..World::default() };
    let (ended, _, world) = run_in(world, line);
    let said = ended.unwrap_err().to_string();
    assert!(said.contains("no answer for 60 s"), "{said}");
    assert!((60 * SECOND..61 * SECOND).contains(&world.now_ns), "{} ns", world.now_ns);
}

#[test]
fn limits_of_what_is_under_way_hold() {
    let world = World { service_ns: 1000, ..World::default() };
    let line = "--workload set --clients 3 --requests 300 --pipeline 8";
    assert_eq!(run_in(world, line).2.most_in_flight, 24);
    let world = World { service_ns: 100 * MS, ..World::default() };
    let line = "--workload set --clients 3 --rate 1000 --duration 1 --outstanding 5";
    assert_eq!(run_in(world, line).2.most_in_flight, 15);
}

#[test]
fn a_warm_up_is_not_counted() {
    let line = "--workload set --clients 4 --keys 100 --warmup 1 --requests 500";
    let (tally, world) = run(line);
    assert_eq!(requests(&tally), 500);
    assert!(tally.warmup_requests > 1000);
    assert_eq!(world.commands, 500 + tally.warmup_requests);
    let (tally, world) =
        run("--workload a --clients 4 --keys 100 --warmup 1 --duration 1 --rate 2000");
    assert_eq!((requests(&tally), tally.warmup_requests, world.commands), (2000, 2000, 4000));
    assert!(tally.latencies().all(|(kind, _)| [Kind::Get, Kind::Set].contains(&kind)));
}
