//! The guard's own test: Redis against Redis through a proxy that changes a reply now and then must be found.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::episode::{self, Protocol};
use crate::generate::sequence;
use crate::report::Counts;
use crate::servers::Pair;
use crate::shrink::shrink;
use crate::wire::show;

/// What the proxy writes in place of what: as long, so that no frame breaks. Appended to, cut and counted, it is not seen.
const CHANGE: (&[u8], &[u8]) = (b"$9\r\nmynewtext\r\n", b"$9\r\nmynewtexT\r\n");

/// A proxy to `port` that changes replies; it ends with the test.
fn proxy(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (client_in, server_out) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || forward(client_in, server_out, false));
            thread::spawn(move || forward(server, client, true));
        }
    });
    own
}

fn forward(mut from: TcpStream, mut to: TcpStream, changes: bool) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut chunk) {
        let (search, replace) = CHANGE;
        let bytes = &mut chunk[..count];
        let found = bytes.windows(search.len()).position(|window| window == search);
        if let Some(at) = found.filter(|_| changes) {
            bytes[at..at + search.len()].copy_from_slice(replace);
        }
        if count == 0 || to.write_all(bytes).is_err() {
            break;
        }
    }
    // Fails only if the other side has closed already.
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[test]
fn one_changed_letter_is_found_and_shrunk() {
    let Some(mut pair) = Pair::redis_twice() else { return };
    pair.reach_ours_by(proxy(pair.our_port()));
    let run = |steps: &[_]| {
        episode::run(&pair, steps, Protocol::Resp2, None, &mut Counts::default()).err()
    };
    let found = (1..100).find_map(|seed| {
        let steps = sequence(seed, 500);
        let difference = run(&steps)?;
        Some((steps, difference))
    });
    let (steps, difference) = found.expect("a changed letter is a difference");
    assert!(show(&difference.ours).contains("mynewtexT"), "{difference:?}");
    let shrunk = shrink(&steps[..=difference.index], |part| run(part).is_some());
    assert!(shrunk.len() <= 2, "a SET and what reads it, or an ECHO: {shrunk:?}");
}
