//! Faults hit what they name, as often as they say, and do what Linux does.

use super::*;

fn kind(result: io::Result<()>) -> String {
    result.map_or_else(|error| error.kind().to_string(), |()| "ok".to_owned())
}

#[test]
fn the_nth_operation_of_a_kind_on_a_path() {
    // fault, answers of: open b, write a, write b, write b, sync b, write b
    let table = [
        (Fault::eio(), "I ok ok ok ok ok"),
        (Fault::eio().at(3), "ok ok I ok ok ok"),
        (Fault::eio().at(3).forever(), "ok ok I I I I"),
        (Fault::eio().kind(Kind::Write).at(2), "ok ok I ok ok ok"),
        (Fault::eio().kind(Kind::Write).path("b").at(2), "ok ok ok I ok ok"),
        (Fault::eio().path("b").at(2).forever(), "ok ok I I I I"),
        (Fault::enospc().kind(Kind::Sync), "ok ok ok ok S ok"),
        (Fault::eintr().kind(Kind::Write).path("b").at(3), "ok ok ok ok ok ok"),
        (Fault::eio().at(100), "ok ok ok ok ok ok"),
    ];
    for (fault, expected) in table {
        let sim = Sim::new(1);
        given(&sim, "/a", &[1]);
        given(&sim, "/b", &[1]);
        let (armed, answers) = sim.run(|env| async move {
            let a = open(&env, "/a", Sync::Explicit).await.expect("not armed yet");
            let b = open(&env, "/b", Sync::Explicit).await.expect("not armed yet");
            let armed = env.faults().add(fault);
            let again = open(&env, "/b", Sync::Explicit).await;
            let mut answers = vec![again.map(drop)];
            answers.push(write(&a, 0, 2, 1).await);
            answers.push(write(&b, 0, 2, 1).await);
            answers.push(write(&b, 1, 2, 1).await);
            answers.push(b.sync().await);
            answers.push(write(&b, 2, 2, 1).await);
            armed.off();
            (armed, answers)
        });
        let short = |answer: io::Result<()>| match answer.map_err(|error| error.raw_os_error()) {
            Ok(()) => "ok",
            Err(Some(libc::EIO)) => "I",
            Err(Some(libc::ENOSPC)) => "S",
            Err(other) => panic!("{other:?}"),
        };
        let failed = answers.iter().filter(|answer| answer.is_err()).count() as u64;
        let answers: Vec<_> = answers.into_iter().map(short).collect();
        assert_eq!(answers.join(" "), expected);
        assert!(armed.hits() == failed || armed.hits() == 1, "an EINTR was retried");
    }
}

#[test]
fn a_fault_is_switched_at_runtime() {
    let sim = Sim::new(1);
    let fault = sim.faults().add(Fault::eio().kind(Kind::SyncDir).forever());
    let sync = || kind(sim.run(|env| async move { sync_root(&env).await }));
    let failed = sync();
    fault.off();
    assert_eq!(sync(), "ok");
    fault.on();
    assert_eq!(sync(), failed);
    sim.faults().clear();
    assert_eq!((sync(), fault.hits()), ("ok".to_owned(), 2));
}

/// Less than a block written counts as nothing written: the helper has no boundary to go on from.
#[test]
fn short_transfers_are_completed_by_the_helpers() {
    let mut completed = 0;
    for seed in 0..50 {
        let sim = Sim::new(seed);
        let faults = [Kind::Write, Kind::Read].map(|kind| Fault::short().kind(kind));
        let handles = faults.map(|fault| sim.faults().add(fault));
        let (written, read) = run(&sim, |env| async move {
            let file = create(&env, "/a").await?;
            let written = write(&file, 0, 7, 16).await;
            let read = read_exact_at(&file, 0, 16 * BLOCK).await;
            file.close().await?;
            Ok((written, read))
        });
        assert_eq!(handles.map(|handle| handle.hits()), [1, 1]);
        match written {
            Ok(()) => {
                assert_eq!(read.expect("it is complete")[..], blocks(7, 16)[..]);
                completed += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WriteZero);
                assert!(sim.read_raw("/a").len() < BLOCK);
            }
        }
    }
    assert!(completed > 40, "{completed} of 50");
}

#[test]
fn short_counts_are_told() {
    let sim = Sim::new(1);
    sim.faults().add(Fault::short().forever());
    run(&sim, |env| async move {
        let file = create(&env, "/a").await?;
        let written = file.write_at(blocks(7, 4), 0, 4 * BLOCK, 0).await.0?;
        assert!(written > 0 && written < 4 * BLOCK && written.is_multiple_of(512));
        assert_eq!(file.len().await?, written as u64);
        let (read, buf) = file.read_at(IoBuf::with_capacity(BLOCK), 0, BLOCK).await;
        read?;
        assert!(!buf.is_empty() && buf.len() < BLOCK);
        file.close().await
    });
}

/// A failed write may have written anything of what was asked, and nothing else; the length has not grown.
#[test]
fn a_failed_write_is_uncertain() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let sim = Sim::new(seed);
        given(&sim, "/a", &[1]);
        sim.faults().add(Fault::eio().kind(Kind::Write));
        let program = |env: SimEnv| async move {
            let file = open(&env, "/a", Sync::EachWrite).await?;
            assert!(write(&file, 0, 2, 2).await.is_err());
            file.close().await
        };
        run(&sim, program);
        seen.insert(picture(&sim));
        assert_eq!(picture(&sim.crash(Crash::SyncedOnly, 0)), "a: 1", "it promised nothing");
    }
    assert!(seen.contains("a: 1") && seen.contains("a: torn") && seen.len() <= 3, "{seen:?}");
}

#[test]
fn space_runs_out_and_comes_back() {
    let sim = Sim::new(1);
    given(&sim, "/a", &[1]);
    sim.set_free_bytes(2 * BLOCK as u64 + 100);
    run(&sim, |env| async move {
        let root = Path::new("/");
        let file = create(&env, "/b").await?;
        write(&file, 0, 2, 1).await?;
        assert_eq!(env.free_bytes(root).await?, BLOCK as u64 + 100);
        // One block fits, then none: the helper meets the error behind the short write.
        let error = write(&file, 1, 2, 2).await.expect_err("one block too many");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((file.len().await?, env.free_bytes(root).await?), (2 * BLOCK as u64, 100));
        write(&file, 0, 3, 2).await?;
        // An open file keeps its space beyond its name.
        env.remove(Path::new("/b")).await?;
        assert_eq!(env.free_bytes(root).await?, 100);
        file.close().await?;
        assert_eq!(env.free_bytes(root).await?, 2 * BLOCK as u64 + 100);
        env.remove(Path::new("/a")).await?;
        assert_eq!(env.free_bytes(root).await?, 3 * BLOCK as u64 + 100);
        Ok(())
    });
    let after = sim.crash(Crash::SyncedOnly, 0);
    let free = run(&after, |env| async move { env.free_bytes(Path::new("/")).await });
    assert_eq!(free, 2 * BLOCK as u64 + 100, "the file is back");
}

#[test]
fn failed_operations_on_names_change_nothing() {
    for fault in [Kind::Open, Kind::Rename, Kind::Link, Kind::Remove, Kind::CreateDir, Kind::List] {
        let sim = Sim::new(1);
        given(&sim, "/a", &[1]);
        sim.faults().add(Fault::eio().kind(fault).forever());
        sim.run(|env| async move {
            let failed = match fault {
                Kind::Open => create(&env, "/b").await.is_err(),
                Kind::Rename => env.rename(Path::new("/a"), Path::new("/b")).await.is_err(),
                Kind::Link => env.link(Path::new("/a"), Path::new("/d/b")).await.is_err(),
                Kind::Remove => env.remove(Path::new("/a")).await.is_err(),
                Kind::CreateDir => env.create_dir(Path::new("/b")).await.is_err(),
                _ => env.list(Path::new("/")).await.is_err(),
            };
            assert!(failed);
        });
        sim.faults().clear();
        let names = run(&sim, |env| async move { env.list(Path::new("/")).await });
        assert_eq!((names, picture(&sim)), (vec!["a".to_owned()], "a: 1".to_owned()));
    }
}
