//! Tasks, timers, the clock, and one order for each seed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::env::Queue;
use crate::event::Event;

type Log = Rc<RefCell<Vec<u32>>>;

/// Several tasks that write, sync and sleep.
async fn busy(env: SimEnv) -> io::Result<u64> {
    let (done, left) = (Rc::new(Event::new()), Rc::new(Cell::new(4_u8)));
    for task in 0..4 {
        let (env, done, left) = (env.clone(), done.clone(), left.clone());
        env.clone().spawn(Queue::Flush, async move {
            let program = async {
                let file = create(&env, &format!("/{task}")).await?;
                for block in 0..3 {
                    write(&file, block, task, 1).await?;
                    env.sleep(Duration::from_micros(50)).await;
                }
                file.sync().await?;
                file.close().await
            };
            program.await.expect("no fault is armed");
            left.set(left.get() - 1);
            done.signal();
        });
    }
    done.until(|| (left.get() == 0).then_some(())).await;
    sync_root(&env).await?;
    Ok(env.random_u64())
}

#[test]
fn one_seed_is_one_order() {
    let of = |seed| {
        let sim = Sim::new(seed);
        let drawn = run(&sim, busy);
        let cut = picture(&sim.crash(Crash::Random, seed));
        (sim.trace(), sim.fingerprint(), drawn, cut)
    };
    let all: BTreeSet<_> = (0..20).map(|seed| of(seed).1).collect();
    assert_eq!(all.len(), 20, "each seed has its own order");
    for seed in 0..20 {
        assert_eq!(of(seed), of(seed));
    }
}

#[test]
fn fifo_is_the_same_for_all_seeds() {
    let of = |seed| {
        let sim = Sim::new(seed).fifo();
        run(&sim, busy);
        sim.fingerprint()
    };
    assert_eq!(of(1), of(2));
}

#[test]
fn the_clock_jumps_to_the_next_timer() {
    let sim = Sim::new(1);
    let log = Log::default();
    sim.run(|env| {
        let log = log.clone();
        async move {
            let start = (env.now(), env.wall_ms());
            for (number, seconds) in [(3, 3600), (1, 60), (2, 1800)] {
                let (other, log) = (env.clone(), log.clone());
                env.spawn(Queue::Compaction, async move {
                    other.sleep(Duration::from_secs(seconds)).await;
                    log.borrow_mut().push(number);
                });
            }
            env.sleep(Duration::from_secs(7200)).await;
            let passed = env.now().saturating_sub(start.0);
            assert!(passed >= Duration::from_secs(7200) && passed < Duration::from_secs(7201));
            assert!((7_200_000..7_201_000).contains(&(env.wall_ms() - start.1)));
            env.shift_wall_ms(-7_200_000);
            assert!(env.wall_ms() < start.1 + 1000);
        }
    });
    assert_eq!(*log.borrow(), [1, 2, 3]);
}

#[test]
fn a_loop_that_watches_the_clock_ends() {
    Sim::new(1).run(|env| async move {
        let start = env.now();
        while env.now().saturating_sub(start) < Duration::from_millis(1) {}
        let start = env.wall_ms();
        while env.wall_ms() < start + 2 {
            env.pause().await;
        }
    });
}

#[test]
fn tasks_take_turns() {
    let orders: BTreeSet<Vec<u32>> = (0..50)
        .map(|seed| {
            let log = Log::default();
            let sim = Sim::new(seed);
            sim.run(|env| {
                let log = log.clone();
                async move {
                    for task in 0..3 {
                        let (other, log) = (env.clone(), log.clone());
                        env.spawn(Queue::Flush, async move {
                            for _ in 0..2 {
                                log.borrow_mut().push(task);
                                other.pause().await;
                            }
                        });
                    }
                    while log.borrow().len() < 6 {
                        env.pause().await;
                    }
                }
            });
            log.take()
        })
        .collect();
    // 90 orders exist.
    assert!(orders.len() > 25, "{}", orders.len());
}

#[test]
fn urgent_queues_come_first_more_often() {
    let mut first = 0;
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let log = Log::default();
        sim.run(|env| {
            let log = log.clone();
            async move {
                for (number, queue) in [(0, Queue::Compaction), (1, Queue::Commit)] {
                    let log = log.clone();
                    env.spawn(queue, async move { log.borrow_mut().push(number) });
                }
                env.sleep(Duration::from_millis(1)).await;
            }
        });
        first += log.borrow()[0];
    }
    assert!((105..180).contains(&first), "{first} of 200");
}

#[test]
fn tasks_live_on_into_the_next_run_and_end_with_the_machine() {
    let sim = Sim::new(1);
    let alive = Rc::new(());
    sim.run(|env| {
        let alive = alive.clone();
        async move {
            let other = env.clone();
            env.spawn(Queue::Flush, async move {
                loop {
                    other.sleep(Duration::from_secs(1)).await;
                    let _ = (&alive, sync_root(&other).await);
                }
            });
        }
    });
    assert_eq!((sim.tasks().len(), sim.operations()), (1, 0));
    sim.run(|env| async move { env.sleep(Duration::from_millis(5500)).await });
    assert_eq!(sim.operations(), 5);
    drop(sim);
    assert_eq!(Rc::strong_count(&alive), 1, "the task is gone");
}

#[test]
#[should_panic(expected = "deadlock: nothing can run")]
fn a_deadlock_is_found() {
    Sim::new(1).run(|env| async move {
        let event = Event::new();
        sync_root(&env).await.expect("no fault is armed");
        event.wait().await;
    });
}

#[test]
fn a_deadlock_names_who_waits() {
    async fn waits_in_vain() {
        std::future::pending::<()>().await;
    }
    let sim = Sim::new(1);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sim.run(|env| async move {
            sync_root(&env).await.expect("no fault is armed");
            env.spawn(Queue::Compaction, waits_in_vain());
            std::future::pending::<()>().await;
        });
    }));
    let panic = panic.expect_err("it hangs");
    let text = panic.downcast_ref::<String>().expect("a formatted message");
    for part in ["waiting: the run itself", "Compaction", "waits_in_vain", "#1 SyncDir /: ok"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[test]
fn what_is_disposed_of_is_dropped_at_once() {
    struct Flag(std::sync::mpsc::Sender<()>);
    impl Drop for Flag {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, dropped) = std::sync::mpsc::channel();
    Sim::new(1).run(|env| async move { env.dispose(Box::new(Flag(sender))) });
    assert!(dropped.try_recv().is_ok());
}
