//! What may wait for the file system's journal is not done on the core's thread.

use super::*;

/// Threads of the kernel that carry out this thread's operations.
fn workers() -> usize {
    let this = std::fs::read_link("/proc/thread-self").unwrap();
    let name = format!("iou-wrk-{}", this.file_name().unwrap().display());
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads
        .filter(|thread| {
            let path = thread.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(path).is_ok_and(|found| found.trim_end() == name)
        })
        .count()
}

/// A write of blocks that were written before needs no worker, unless it is asked for.
#[test]
fn every_write_is_done_by_a_worker_of_the_kernel() {
    for lane in [Lane::Hot, Lane::Cold] {
        for how in [Open::Write(Sync::Explicit), Open::Write(Sync::EachWrite)] {
            let dir = directory();
            let path = dir.path().join("file");
            // By another core, whose workers are its own; nothing of it is in the page cache.
            let first = path.clone();
            on_core(move |env, mut driver| async move {
                driver.run(round_trip(&env, first, Lane::Hot, 4 * ALIGN)).await.unwrap();
            });
            on_core(move |env, mut driver| async move {
                let work = async {
                    let file = env.open(&path, how, lane).await.unwrap();
                    let before = workers();
                    for round in 0..8 {
                        let offset = round % 4 * ALIGN as u64;
                        let (written, _) = write_all_at(&file, pattern(ALIGN, 2), offset).await;
                        written.unwrap();
                    }
                    assert!(workers() > before, "{lane:?} {how:?}");
                    file.close().await.unwrap();
                };
                driver.run(work).await.unwrap();
            });
        }
    }
}
