//! Ranges: by prefix, between two keys, backwards, and all of it as it was at one moment.
//!
//! `cargo run --release --example range_scan` works in a new directory and removes it.

use rusty_lsm::{Options, WriteBatch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Not in /tmp: that is often memory, where no sync makes anything durable.
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let engine = Options::new().open(dir.path())?;

    let mut batch = WriteBatch::new();
    for (day, degrees) in [(24, "3.5"), (25, "1.0"), (26, "-0.5"), (27, "2.0")] {
        batch.put(format!("bern:2026-11-{day}").as_bytes(), degrees.as_bytes());
        batch.put(format!("oslo:2026-11-{day}").as_bytes(), b"-7");
    }
    engine.write(batch)?;

    println!("by prefix:");
    for entry in engine.prefix(b"bern:") {
        show(&entry?);
    }
    println!("between two days:");
    for entry in engine.scan("bern:2026-11-25"..="bern:2026-11-26") {
        show(&entry?);
    }
    println!("the newest before the 27th:");
    if let Some(entry) = engine.scan_reverse("bern:".."bern:2026-11-27").next() {
        show(&entry?);
    }

    // What is written from here on, it does not see.
    let snapshot = engine.snapshot()?;
    engine.put(b"bern:2026-11-28", b"4.0")?;
    engine.delete(b"bern:2026-11-24")?;
    println!(
        "in the snapshot {} readings of Bern, the first of {:?} degrees; now {}",
        snapshot.prefix(b"bern:").count(),
        snapshot.get(b"bern:2026-11-24")?.as_deref().map(String::from_utf8_lossy),
        engine.prefix(b"bern:").count(),
    );
    engine.close()?;
    Ok(())
}

fn show((key, value): &(Vec<u8>, Vec<u8>)) {
    println!("  {} {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value));
}
