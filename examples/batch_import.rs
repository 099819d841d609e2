//! Many keys in as few writes as make sense: batches from several threads, read back with one call.
//!
//! `cargo run --release --example batch_import` works in a new directory and removes it; `-- 1000000` writes that many keys.

use std::time::Instant;

use rusty_lsm::{EngineError, Options, WriteBatch};

/// Bytes of keys and values after which a batch is written: large enough to share a sync, small enough to hold no core for long.
const BATCH_BYTES: usize = 64 << 10;
const THREADS: u64 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys: u64 = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    // Not in /tmp: that is often memory, where no sync makes anything durable.
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let engine = Options::new().memtable_bytes(64 << 20).open(dir.path())?;

    let began = Instant::now();
    std::thread::scope(|scope| -> Result<(), EngineError> {
        let writers: Vec<_> = (0..THREADS)
            .map(|writer| {
                let engine = engine.clone();
                scope.spawn(move || {
                    let mut batch = WriteBatch::new();
                    for number in (writer..keys).step_by(usize::try_from(THREADS).unwrap_or(1)) {
                        batch.put(format!("reading:{number:09}").as_bytes(), &number.to_le_bytes());
                        if batch.bytes() >= BATCH_BYTES {
                            engine.write(std::mem::take(&mut batch))?;
                        }
                    }
                    // Durable when it returns, as all before it.
                    engine.write(batch)
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| match writer.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let seconds = began.elapsed().as_secs_f64();
    println!("wrote {keys} keys in {seconds:.2} s");

    // All of one hash tag are of one shard: together or not at all, also in a crash.
    let mut transfer = WriteBatch::new();
    transfer.put(b"{account}:ada", b"90");
    transfer.put(b"{account}:grace", b"110");
    transfer.delete(b"{account}:pending");
    engine.write(transfer)?;

    let asked = ["reading:000000000", "{account}:ada", "{account}:pending"];
    for (key, value) in asked.iter().zip(engine.multi_get(&asked)?) {
        println!(
            "{key} -> {} bytes",
            value.map_or("no".to_owned(), |value| value.len().to_string())
        );
    }
    let stats = engine.stats()?;
    println!(
        "{} keys, {} tables, {} bytes in memory",
        stats.keyspace.keys, stats.lsm.tables, stats.lsm.memtable_bytes
    );
    engine.close()?;
    Ok(())
}
