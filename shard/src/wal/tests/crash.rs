//! T1, T2: the log and its manifest, stopped or failing at every operation. What is found is a prefix that holds all
//! that was durable, a second look finds the same, and the log goes on from there, through a crash in recovery too.

use std::future::{Future as _, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::super::GRAIN_BYTES;
use super::super::reader::Replayed;
use super::super::segment::Segment;
use super::{DIR, ID, Log, Progress, replay};
use crate::env::IoBuf;
use crate::env::sim::{Crash, Fault, Kind, Sim, SimEnv};
use crate::error::{Error, Result};
use crate::limits::ALIGN;
use crate::manifest::edit::VersionEdit;
use crate::manifest::{self, FileName, Manifest, Numbers};
use crate::options::SyncPolicy;

const SEEDS: u64 = 3;

/// A shard's life in small: segments of few blocks, batches, and a flush that makes the first segment obsolete.
async fn live(env: &SimEnv, log: &mut Log<SimEnv>, before: Option<(u64, u64)>) -> Result<()> {
    let numbers = Numbers::new();
    let manifest = log.manifest.clone().unwrap();
    let first = numbers.next(&manifest).await?;
    log.begin(first, 6, before).await?;
    log.batch(2).await?;
    log.batch(1).await?;
    let spare = numbers.next(&manifest).await?;
    log.create(spare, 3).await?.close().await?;
    let second = numbers.next(&manifest).await?;
    log.begin(second, 8, None).await?;
    log.batch(3).await?;
    log.sync().await?;
    log.batch(1).await?;
    log.witness().await?;
    log.batch(2).await?;
    log.sync().await?;
    let flushed_seq = Some(log.last_seq - 2);
    let edit = VersionEdit { flushed_seq, wal_first_live: Some(second), ..VersionEdit::default() };
    manifest.append(&edit).await?;
    for meta in log.listed.take() {
        if meta.number < second {
            let old = super::super::path(Path::new(DIR), meta.number);
            env_remove(env, &old).await?;
        } else {
            log.listed.borrow_mut().push(meta);
        }
    }
    log.batch(1).await
}

async fn env_remove(env: &SimEnv, path: &Path) -> Result<()> {
    use crate::env::Env;
    env.remove(path).await.map_err(|error| Error::io("remove", path, &error))
}

async fn found(env: &SimEnv) -> Result<(manifest::Loaded, Replayed)> {
    let loaded = Manifest::read(env, Path::new(DIR), ID).await?;
    let state = &loaded.state;
    let replayed = replay(env, &state.wal, state.flushed_seq.0, state.clean_stop).await?;
    Ok((loaded, replayed))
}

/// Opens what is there, checks it, and lives once more.
async fn recover(env: &SimEnv, policy: SyncPolicy, old: &Progress, new: &Progress) -> Result<()> {
    let dir = Path::new(DIR);
    if !manifest::exists(env, dir).await? {
        assert_eq!(old.intended.get(), 0, "CURRENT is gone");
        let manifest = Manifest::create(env, dir, ID).await?;
        return go_on(env, policy, manifest, Replayed::default(), new).await;
    }
    let (loaded, replayed) = found(env).await?;
    let last_seq = replayed.last_seq.0;
    assert!(last_seq >= old.durable.get(), "{last_seq} of {old:?}");
    assert!(last_seq <= old.intended.get(), "{last_seq} of {old:?}");
    assert_eq!(found(env).await?.1, replayed, "a second look");
    for cell in [&new.intended, &new.written, &new.durable] {
        cell.set(last_seq);
    }
    let manifest = Manifest::start(env, dir, ID, loaded).await?;
    go_on(env, policy, manifest, replayed, new).await
}

async fn go_on(
    env: &SimEnv,
    policy: SyncPolicy,
    manifest: Manifest<SimEnv>,
    replayed: Replayed,
    progress: &Progress,
) -> Result<()> {
    let mut log = Log::new(env, policy);
    log.progress = progress.clone();
    log.manifest = Some(Rc::new(manifest));
    *log.listed.borrow_mut() = log.manifest.as_ref().unwrap().state().wal.clone();
    log.last_seq = replayed.last_seq.0;
    live(env, &mut log, Some((replayed.segment, replayed.end))).await
}

fn after_kill(policy: SyncPolicy, kind: Crash, progress: &Progress) {
    // Killed, not powered off: what the kernel has is there.
    if kind == Crash::Everything && policy != SyncPolicy::Always {
        progress.durable.set(progress.written.get());
    }
}

fn every_crash(policy: SyncPolicy) {
    let mut stopped = 0;
    for operation in 1.. {
        let mut lived_on = false;
        for kind in [Crash::SyncedOnly, Crash::Everything, Crash::Random] {
            for seed in 0..SEEDS {
                let sim = Sim::new(seed);
                sim.crash_at(operation);
                let first = Progress::default();
                let outcome = sim.try_run(async |env| {
                    recover(&env, policy, &Progress::default(), &first).await.unwrap();
                });
                lived_on |= outcome.is_some();
                after_kill(policy, kind, &first);
                // The second life may be cut anywhere too.
                let second = Progress::default();
                let sim = sim.crash(kind, operation * 100 + seed);
                let cut = (operation * 7 + seed * 13) % 90 + 1;
                sim.crash_at(cut);
                let ended = sim.try_run(async |env| {
                    recover(&env, policy, &first, &second).await.unwrap();
                });
                let (before, kind) = match ended {
                    // Stopped before it had looked: what held then holds still.
                    None if second.intended.get() == 0 => (&first, kind),
                    _ => (&second, kind),
                };
                after_kill(policy, kind, before);
                let sim = sim.crash(kind, operation * 100 + seed + 50);
                let third = Progress::default();
                sim.run(async |env| recover(&env, policy, before, &third).await.unwrap());
                stopped += 1;
            }
        }
        if lived_on {
            break;
        }
    }
    assert!(stopped > 500, "{stopped}");
}

#[test]
fn crash_after_every_operation_always() {
    every_crash(SyncPolicy::Always);
}

#[test]
fn crash_after_every_operation_every_second() {
    every_crash(SyncPolicy::EverySecond);
}

/// T2: an error, a short transfer, an interruption at each operation.
#[test]
fn every_operation_fails_once_or_for_ever() {
    let faults = [
        Fault::eio(),
        Fault::eio().forever(),
        Fault::enospc(),
        Fault::short(),
        Fault::eintr().kind(Kind::Write),
    ];
    for policy in [SyncPolicy::Always, SyncPolicy::EverySecond] {
        for fault in &faults {
            for number in 1.. {
                let sim = Sim::new(number);
                let handle = sim.faults().add(fault.clone().at(number));
                let progress = Progress::default();
                let lived = sim
                    .run(async |env| recover(&env, policy, &Progress::default(), &progress).await);
                if handle.hits() == 0 {
                    break;
                }
                if let Err(error) = &lived {
                    assert!(matches!(error, Error::Io { .. }), "{error}");
                }
                sim.faults().clear();
                // Never less than what was promised: with the machine on, and off.
                for sim in [sim.crash(Crash::SyncedOnly, number), sim] {
                    let after = Progress::default();
                    sim.run(async |env| recover(&env, policy, &progress, &after).await.unwrap());
                }
            }
        }
    }
}

#[test]
fn a_segment_that_could_not_be_made_leaves_nothing() {
    for (policy, least) in [(SyncPolicy::Always, 9), (SyncPolicy::EverySecond, 4)] {
        let mut failures = 0;
        for number in 1.. {
            let sim = Sim::new(1);
            let handle = sim.faults().add(Fault::enospc().at(number));
            let made = sim.run(async |env| {
                let made = Segment::create(&env, Path::new(DIR), ID, 7, 3 << 20, policy).await;
                match made {
                    Ok(segment) => segment.close().await.map(|()| true),
                    Err(error) => {
                        assert!(error.is_no_space(), "{error}");
                        Ok(false)
                    }
                }
            });
            if handle.hits() == 0 {
                break;
            }
            if let Ok(false) = made {
                assert_eq!(sim.files(), []);
                failures += 1;
            }
        }
        assert!(failures > least, "{policy:?}: {failures}");
    }
}

/// Makes a segment of 3 MiB; the file, and the bytes that were written for it.
fn made(policy: SyncPolicy, fault: Option<Fault>) -> (Vec<u8>, u64) {
    let sim = Sim::new(1);
    if let Some(fault) = fault {
        sim.faults().add(fault);
    }
    sim.run(async |env| {
        let made = Segment::create(&env, Path::new(DIR), ID, 7, 3 << 20, policy).await;
        made.unwrap().close().await.unwrap();
    });
    let written = sim.trace().into_iter().filter(|line| line.contains(" Write /"));
    let bytes = written.map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "at").unwrap();
        words[at - 1].parse::<u64>().unwrap()
    });
    // What a power cut leaves.
    (sim.crash(Crash::SyncedOnly, 1).read_raw("/000007.wal"), bytes.sum())
}

/// Under every policy it has its length, zeros, and its name before it is listed; only `always` pays for that by writing it all.
#[test]
fn a_segment_of_the_weaker_policies_is_written_once() {
    let (whole, all) = made(SyncPolicy::Always, None);
    assert_eq!((whole.len(), all), (3 << 20, 3 << 20));
    assert!(whole[ALIGN..].iter().all(|&byte| byte == 0));
    for policy in [SyncPolicy::EverySecond, SyncPolicy::Never] {
        let (taken, written) = made(policy, None);
        assert_eq!(written, ALIGN as u64);
        assert_eq!(taken[ALIGN..], whole[ALIGN..]);
        // A file system that cannot do so, and an interruption.
        let unsupported = Fault::error(libc::EOPNOTSUPP).kind(Kind::Allocate);
        let (zeros, written) = made(policy, Some(unsupported));
        assert_eq!((written, &zeros[ALIGN..]), (all, &whole[ALIGN..]));
        let (taken, written) = made(policy, Some(Fault::eintr().kind(Kind::Allocate)));
        assert_eq!((written, &taken[ALIGN..]), (ALIGN as u64, &whole[ALIGN..]));
    }
}

/// A number that was used is refused, and its file untouched.
#[test]
fn a_segment_never_overwrites_a_file() {
    let sim = Sim::new(1);
    sim.write_raw("/000007.wal", b"precious");
    sim.run(async |env| {
        let made = Segment::create(&env, Path::new(DIR), ID, 7, 8192, SyncPolicy::Always).await;
        assert!(matches!(made, Err(Error::Io { kind: std::io::ErrorKind::AlreadyExists, .. })));
    });
    assert_eq!(sim.read_raw("/000007.wal"), b"precious");
}

/// Recovery and start leave no manifest behind but the one in use.
#[test]
fn one_manifest_remains() {
    let sim = Sim::new(1);
    let (first, second) = (Progress::default(), Progress::default());
    sim.run(async |env| {
        recover(&env, SyncPolicy::Always, &Progress::default(), &first).await.unwrap();
        recover(&env, SyncPolicy::Always, &first, &second).await.unwrap();
    });
    let names = sim
        .files()
        .into_iter()
        .filter_map(|(path, _)| FileName::parse(path.file_name().unwrap().to_str().unwrap()));
    let manifests = names.filter(|name| matches!(name, FileName::Manifest(_))).count();
    assert_eq!(manifests, 1);
}

/// A sync covers what it was asked for and no more: frames behind it, written before it or meanwhile, are not durable.
#[test]
fn a_sync_covers_what_it_was_asked_for() {
    let sim = Sim::new(1);
    let upto = sim.run(async |env| {
        let segment = Log::new(&env, SyncPolicy::EverySecond).create(1, 8).await.unwrap();
        let frame = |len| {
            let mut frame = IoBuf::new();
            frame.resize(len, 1);
            frame
        };
        segment.write(frame(GRAIN_BYTES)).await.0.unwrap();
        segment.write(frame(ALIGN - GRAIN_BYTES)).await.0.unwrap();
        let upto = segment.next_offset();
        assert!(segment.is_between_blocks());
        segment.write(frame(3 * GRAIN_BYTES)).await.0.unwrap();
        segment.sync_to(upto).await.unwrap();
        segment.close().await.unwrap();
        upto
    });
    let left = sim.crash(Crash::SyncedOnly, 1).read_raw("/000001.wal");
    let frames = &left[ALIGN..];
    assert_eq!(upto, 2 * ALIGN as u64);
    assert!(frames[..ALIGN].iter().all(|&byte| byte == 1));
    assert!(frames[ALIGN..].iter().all(|&byte| byte == 0));
}

/// R30: after an error nothing about the segment is certain: a later sync is none, whatever the disk says, and a write that
/// ran beside a failed sync does not count.
#[test]
fn a_segment_is_finished_by_its_first_error() {
    let block = || {
        let mut block = IoBuf::new();
        block.resize(ALIGN, 1);
        block
    };
    for kind in [Kind::Write, Kind::Sync] {
        Sim::new(3).run(async |env| {
            let segment = Log::new(&env, SyncPolicy::EverySecond).create(1, 8).await.unwrap();
            segment.write(block()).await.0.unwrap();
            let fault = env.faults().add(Fault::eio().kind(kind));
            if kind == Kind::Write {
                assert!(segment.write(block()).await.0.is_err());
            } else {
                assert!(segment.sync_to(segment.next_offset()).await.is_err());
            }
            assert_eq!(fault.hits(), 1);
            assert!(
                segment.sync_to(segment.next_offset()).await.is_err(),
                "after a failed {kind:?}"
            );
            segment.close().await.unwrap();
        });
    }
    Sim::new(4).run(async |env| {
        let segment = Log::new(&env, SyncPolicy::EverySecond).create(1, 8).await.unwrap();
        segment.write(block()).await.0.unwrap();
        env.faults().add(Fault::eio().kind(Kind::Sync));
        env.faults().add(Fault::slow(Duration::from_secs(1)).kind(Kind::Write));
        {
            let mut write = pin!(segment.write(block()));
            poll_fn(|context| {
                assert!(write.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            assert!(segment.sync_to(segment.next_offset()).await.is_err());
            assert!(write.await.0.is_err(), "it ended after the sync had failed");
        }
        segment.close().await.unwrap();
    });
}
