//! The engine without a server: open, put, get, delete, scan, close.
//!
//! `cargo run --release --example basic_usage` works in a new directory and removes it;
//! `cargo run --release --example basic_usage -- ./my_db` keeps what it writes, so run it twice.

use rusty_lsm::{Engine, EngineError};

/// Writes gathered in memory before they go to a table, all shards together.
const MEMTABLE_BYTES: usize = 64 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = std::env::args_os().nth(1);
    let temporary = if given.is_none() {
        // Beside the program and not in /tmp: that is often memory, where no sync makes anything durable.
        Some(tempfile::tempdir_in(std::env::current_dir()?)?)
    } else {
        None
    };
    let dir = match (&given, &temporary) {
        (Some(dir), _) => dir.as_ref(),
        (None, Some(dir)) => dir.path(),
        (None, None) => unreachable!("one of them was made"),
    };

    println!("open {}", dir.display());
    let engine = Engine::open(dir, MEMTABLE_BYTES)?;
    if let Some(value) = engine.get(b"user:1")? {
        println!("get user:1 -> {:?}, from an earlier run", text(&value));
    }

    // Returns once it is on disk: from here on neither kill -9 nor a power cut takes it back.
    for (key, value) in [("user:1", "Ada"), ("user:2", "Grace"), ("user:3", "Edsger")] {
        engine.put(key.as_bytes(), value.as_bytes())?;
        println!("put {key} = {value:?}");
    }
    let found = engine.get(b"user:1")?;
    println!("get user:1 -> {:?}", found.as_deref().map(text));

    engine.delete(b"user:2")?;
    println!("delete user:2, get user:2 -> {:?}", engine.get(b"user:2")?);

    // Clones share the database and may go to other threads: writes that wait together share one sync.
    std::thread::scope(|scope| -> Result<(), EngineError> {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let engine = engine.clone();
                scope.spawn(move || {
                    (0..25).try_for_each(|number| {
                        let key = format!("event:{number:02}:{writer}");
                        engine.put(key.as_bytes(), b"happened")
                    })
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| match writer.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    println!("put 100 events from 4 threads");

    println!("scan user:..");
    for entry in engine.scan("user:".."user;") {
        let (key, value) = entry?;
        println!("  {} = {:?}", text(&key), text(&value));
    }
    let events = engine.scan("event:".."event;").count();
    println!("scan event:.. -> {events} entries");

    engine.close()?;
    println!("closed");
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
