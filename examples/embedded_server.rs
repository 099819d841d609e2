//! A whole server inside a program: clients come in over TCP, the program itself through a connection that needs no port.
//!
//! `cargo run --release --example embedded_server` works in a new directory, shows both ways and ends;
//! with `-- 7000` it serves at that port until its input ends (control-D).

use std::io::Read as _;

use rusty_lsm::client::{Client, Reply};
use rusty_lsm::config::LsmConfig;
use rusty_lsm::start;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: Option<u16> = std::env::args().nth(1).map(|port| port.parse()).transpose()?;
    // Not in /tmp: that is often memory, where no sync makes anything durable.
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let config = LsmConfig {
        data_dir: dir.path().into(),
        // 0: any that is free.
        port: port.unwrap_or(0),
        ..LsmConfig::default()
    };
    // All that can be wrong with the machine, the settings or the directory is told here, before a thread starts.
    let prepared = start::prepare(config)?;
    let listener = prepared.listen()?;
    let more = prepared.listen_more()?;
    let address = listener.local_addr()?;
    let server = prepared.start(Some(listener), more, None)?;
    println!("serving at {address}");

    // A client, as any Redis client is one.
    let mut outside = Client::connect(&address.to_string())?;
    println!("outside: SET city Bern -> {:?}", outside.command(&["SET", "city", "Bern"])?);

    // The program's own connections: no port, no login, one to the core that a key is on needs no hop.
    let connector = server.connector();
    let mut inside = Client::over_unix(connector.connect(connector.core_of(b"city"))?);
    println!("inside: GET city -> {:?}", inside.command(&["GET", "city"])?);

    // A pipeline: queue, send, take the answers in order.
    for number in 0..1000 {
        inside.queue(&["INCRBY", "sum", &number.to_string()]);
    }
    inside.send()?;
    let mut sum = Reply::Nil;
    while inside.awaited() > 0 {
        sum = inside.receive()?;
    }
    println!("inside: 1000 times INCRBY -> {sum:?}");

    if port.is_some() {
        println!("control-D ends it; meanwhile: redis-cli -p {}", address.port());
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    // What was read is answered, what was acknowledged is on disk.
    server.stop()?;
    println!("stopped");
    Ok(())
}
