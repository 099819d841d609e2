//! Whoever breaks the contract of `Env` is told so.

use super::*;
use crate::env::Queue;
use crate::limits::IO_BYTES_MAX;

/// One request against a file of two blocks, and the word in the panic that answers it.
fn broken(word: &str, request: impl AsyncFn(SimEnv, SimFile)) {
    let sim = Sim::new(1);
    given(&sim, "/a", &[1, 1]);
    let run = std::panic::AssertUnwindSafe(|| {
        sim.run(|env| async move {
            let file = open(&env, "/a", Sync::Explicit).await.expect("it exists");
            request(env, file).await;
        });
    });
    let panic = std::panic::catch_unwind(run).expect_err(word);
    let text = panic.downcast_ref::<String>().expect("a formatted message");
    assert!(text.contains(word), "{word} is missing in: {text}");
}

#[test]
fn alignment_and_length() {
    let read = async |file: &SimFile, offset, len| {
        let _ = file.read_at(IoBuf::new(), offset, len).await;
    };
    let write = async |file: &SimFile, from, len| {
        let _ = file.write_at(blocks(1, IO_BYTES_MAX / BLOCK + 1), from, len, 0).await;
    };
    broken("a request at 512", async |_, file| read(&file, 512, BLOCK).await);
    broken("a request of 100 bytes", async |_, file| read(&file, 0, 100).await);
    broken("an empty request", async |_, file| write(&file, 0, 0).await);
    broken("a buffer at", async |_, file| write(&file, 512, BLOCK).await);
    let long = IO_BYTES_MAX + BLOCK;
    broken("a request of 528384 bytes", async |_, file| write(&file, 0, long).await);
}

#[test]
fn writes_in_flight_do_not_overlap() {
    broken("two writes in flight overlap", async |env, file| {
        let file = Rc::new(file);
        for _ in 0..2 {
            let file = file.clone();
            env.spawn(Queue::Flush, async move {
                let _ = write(&file, 1, 2, 1).await;
            });
        }
        env.sleep(Duration::from_secs(1)).await;
    });
}

#[test]
fn an_operation_is_not_cancelled() {
    broken("cancelled in flight: #2 Sync /a", async |env, file| {
        let mut sync = Box::pin(file.sync());
        std::future::poll_fn(|context| {
            assert!(sync.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(sync);
        drop(env);
    });
}

#[test]
fn files_opened_for_reading_are_not_written() {
    broken("opened for reading", async |env, _| {
        let file = env.open(Path::new("/a"), Open::Read, Lane::Cold).await.expect("it exists");
        let _ = write(&file, 0, 2, 1).await;
    });
}

#[test]
fn renames_stay_in_one_directory() {
    broken("a rename across directories", async |env, _| {
        env.create_dir(Path::new("/d")).await.expect("no fault is armed");
        let _ = env.rename(Path::new("/a"), Path::new("/d/a")).await;
    });
}

#[test]
fn files_dropped_open_are_listed() {
    let sim = Sim::new(1);
    given(&sim, "/a", &[1]);
    run(&sim, |env| async move {
        let (kept, closed) =
            (open(&env, "/a", Sync::Explicit).await?, open(&env, "/a", Sync::Explicit).await?);
        assert_eq!(env.open_files(), 2);
        closed.close().await?;
        drop(kept);
        Ok(())
    });
    assert_eq!((sim.open_files(), sim.dropped_open()), (0, vec![PathBuf::from("/a")]));
}

#[test]
fn errors_of_names_are_those_of_linux() {
    let sim = Sim::new(1);
    given(&sim, "/a", &[1]);
    run(&sim, |env| async move {
        use io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory, NotFound};
        let path = Path::new;
        env.create_dir(path("/d")).await?;
        env.create_dir(path("/d")).await?;
        let kind = |result: io::Result<()>| result.err().map(|error| error.kind());
        assert_eq!(kind(create(&env, "/a").await.map(drop)), Some(AlreadyExists));
        assert_eq!(kind(create(&env, "/e/a").await.map(drop)), Some(NotFound));
        assert_eq!(kind(create(&env, "/a/b").await.map(drop)), Some(NotADirectory));
        assert_eq!(kind(open(&env, "/b", Sync::Explicit).await.map(drop)), Some(NotFound));
        assert_eq!(kind(open(&env, "/d", Sync::Explicit).await.map(drop)), Some(IsADirectory));
        assert_eq!(kind(env.create_dir(path("/a")).await), Some(AlreadyExists));
        assert_eq!(kind(env.remove(path("/b")).await), Some(NotFound));
        assert_eq!(kind(env.remove(path("/d")).await), Some(IsADirectory));
        assert_eq!(kind(env.rename(path("/b"), path("/c")).await), Some(NotFound));
        env.link(path("/a"), path("/d/a")).await?;
        assert_eq!(kind(env.link(path("/a"), path("/d/a")).await), Some(AlreadyExists));
        assert_eq!(kind(env.link(path("/b"), path("/d/b")).await), Some(NotFound));
        assert_eq!(kind(env.sync_dir(path("/e")).await), Some(NotFound));
        assert_eq!(env.list(path("/")).await?, ["a", "d"]);
        Ok(())
    });
}

/// Reads end at the end of the file, and see what was written, synced or not.
#[test]
fn reads_see_completed_writes() {
    let sim = Sim::new(1);
    given(&sim, "/a", &[1, 2]);
    run(&sim, |env| async move {
        let file = open(&env, "/a", Sync::PageCache).await?;
        write(&file, 1, 3, 1).await?;
        let (read, buf) = file.read_at(blocks(9, 1), BLOCK as u64, 4 * BLOCK).await;
        read?;
        assert_eq!(buf[..], [3; BLOCK]);
        let (read, buf) = file.read_at(buf, 8 * BLOCK as u64, BLOCK).await;
        read?;
        assert!(buf.is_empty());
        let beyond = read_exact_at(&file, 0, 3 * BLOCK).await.expect_err("it ends before");
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        // A file without a name stays readable through its handle.
        env.remove(Path::new("/a")).await?;
        assert_eq!(read_exact_at(&file, 0, BLOCK).await?[..], [1; BLOCK]);
        file.close().await
    });
}
