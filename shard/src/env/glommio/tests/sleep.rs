//! A core sleeps when there is nothing to do, and only then.

use super::*;

/// A task of the core's own queue that is woken by a timer and queues an operation while the loop sleeps.
#[test]
fn an_operation_queued_while_the_loop_sleeps_wakes_it() {
    let dir = directory();
    let root = dir.path().to_owned();
    on_core(|env, mut driver| async move {
        let done = Rc::new(Cell::new(false));
        let (env2, done2) = (env.clone(), Rc::clone(&done));
        env.spawn(Queue::Flush, async move {
            let hot = env2.open(&root.join("hot"), Open::CreateNew, Lane::Hot).await.unwrap();
            for _ in 0..5 {
                // Served by glommio alone, the loop sleeps on.
                env2.sync_dir(&root).await.unwrap();
                let (written, _) = write_all_at(&hot, pattern(ALIGN, 1), 0).await;
                written.unwrap();
                hot.sync().await.unwrap();
                env2.pause().await;
            }
            hot.close().await.unwrap();
            done2.set(true);
            env2.ring().nudge();
        });
        let mut completed = Vec::new();
        while !done.get() {
            let busy = env.ring().pass(&mut completed).unwrap();
            driver.after_pass(busy).await.unwrap();
        }
        assert!(driver.sleeps() > 0);
    });
}

/// A background task that only glommio serves pauses while the loop sleeps.
#[test]
fn a_pause_while_the_loop_sleeps_wakes_it() {
    on_core(|env, mut driver| async move {
        driver.never_linger();
        let done = Rc::new(Cell::new(false));
        let (env2, done2) = (env.clone(), Rc::clone(&done));
        env.spawn(Queue::Flush, async move {
            for _ in 0..5 {
                env2.blocking(|| std::thread::sleep(Duration::from_millis(2))).await;
                env2.pause().await;
            }
            done2.set(true);
            env2.ring().nudge();
        });
        let mut completed = Vec::new();
        while !done.get() {
            let busy = env.ring().pass(&mut completed).unwrap();
            driver.after_pass(busy).await.unwrap();
        }
        assert!(driver.sleeps() >= 5);
    });
}

/// What a task changes while the loop sleeps (an admission, a reply that is ready) is seen by a pass at once, although
/// the task queues nothing more.
#[test]
fn a_task_that_ran_while_the_loop_slept_wakes_it() {
    on_core(|env, mut driver| async move {
        let done = Rc::new(Cell::new(false));
        let (env2, done2) = (env.clone(), Rc::clone(&done));
        env.spawn(Queue::Flush, async move {
            env2.blocking(|| std::thread::sleep(Duration::from_millis(20))).await;
            done2.set(true);
        });
        // Only so that a failure ends: the next timer of a real shard.
        let (env3, by_timer) = (env.clone(), Rc::new(Cell::new(false)));
        let by_timer2 = Rc::clone(&by_timer);
        env.spawn(Queue::Commit, async move {
            env3.sleep(Duration::from_secs(20)).await;
            by_timer2.set(true);
        });
        let mut completed = Vec::new();
        while !done.get() {
            let busy = env.ring().pass(&mut completed).unwrap();
            driver.after_pass(busy).await.unwrap();
        }
        assert!(!by_timer.get(), "only the timer woke it");
        assert!(driver.sleeps() > 0);
    });
}

/// A task that is started behind the last look at what is runnable: the loop yields, and before it goes on somebody else of
/// this thread starts one.
#[test]
fn a_core_does_not_sleep_over_a_task_that_was_just_started() {
    // In the first pass, and in the first one in which nothing else has run.
    for look in [2, 3] {
        on_core(move |env, mut driver| async move {
            driver.never_linger();
            // Only so that a failure ends: the next timer of a real shard.
            let (env2, by_timer) = (env.clone(), Rc::new(Cell::new(false)));
            let by_timer2 = Rc::clone(&by_timer);
            env.spawn(Queue::Commit, async move {
                env2.sleep(Duration::from_secs(5)).await;
                by_timer2.set(true);
            });
            let ran = Rc::new(Cell::new(false));
            let mut looks = 0;
            // Polled before the loop is, each time that the loop has yielded.
            let work = poll_fn(|_| {
                looks += 1;
                if looks == look {
                    let ran = Rc::clone(&ran);
                    env.spawn(Queue::Commit, async move { ran.set(true) });
                }
                if ran.get() { Poll::Ready(()) } else { Poll::Pending }
            });
            driver.run(work).await.unwrap();
            assert!(!by_timer.get(), "the core slept until its next timer");
        });
    }
}
