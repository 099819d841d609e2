//! The engine in an asynchronous program: the same calls as futures, here on tokio; any other runtime does as well.
//!
//! `cargo run --release --example async_usage` works in a new directory and removes it.

use rusty_lsm::{EngineError, Options};

const TASKS: u32 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Not in /tmp: that is often memory, where no sync makes anything durable.
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    // Opening blocks for a moment: before the runtime, or on a thread for such things.
    let engine = Options::new().open(dir.path())?;
    let db = engine.asynch();

    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        // All at once, on one thread: their writes share syncs.
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let db = db.clone();
                tokio::spawn(async move {
                    let key = format!("task:{number:03}");
                    db.put(key.as_bytes(), b"done").await?;
                    db.get(key.as_bytes()).await
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await??.as_deref(), Some(&b"done"[..]));
        }
        println!("{TASKS} tasks have written and read");

        let mut count = 0;
        let mut scan = db.prefix(b"task:");
        while let Some(entry) = scan.next().await {
            entry?;
            count += 1;
        }
        println!("a scan found {count}");
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;

    // Without a runtime, for one future.
    let value = rusty_lsm::engine::block_on(db.get(b"task:007"))?;
    println!("task:007 -> {:?}", value.as_deref().map(String::from_utf8_lossy));

    // The last handle closes the database; this waits for it and says if something was wrong.
    drop(db);
    close(engine)?;
    Ok(())
}

fn close(engine: rusty_lsm::Engine) -> Result<(), EngineError> {
    engine.close()
}
