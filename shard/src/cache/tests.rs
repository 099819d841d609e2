//! Shared reads: one reader, many waiters, every way to end.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::cursor::Direction;
use crate::env::Lane;
use crate::env::sim::{Fault, Kind as Op, Sim, SimEnv};
use crate::error::Error;
use crate::key::{Entry, Identity, Kind, SeqNo};
use crate::options::TableOptions;
use crate::table::TableBuilder;
use crate::table::block::BlockBuilder;
use std::path::Path;

fn block(len: usize) -> Rc<Block> {
    let mut builder = BlockBuilder::default();
    builder.add(&Entry { key: b"k", seq: SeqNo(1), kind: Kind::Put, value: &vec![1; len] });
    Rc::new(Block::new(builder.finish().to_vec()).unwrap())
}

fn key(offset: u64) -> Key {
    Key { table: 7, offset }
}

/// A read that ends when told to.
#[derive(Default)]
struct Manual {
    outcome: RefCell<Option<Result<Rc<Block>>>>,
    begun: Cell<u32>,
    done: Event,
}

impl Manual {
    async fn read(&self) -> Result<Rc<Block>> {
        self.begun.set(self.begun.get() + 1);
        self.done.until(|| self.outcome.borrow().clone()).await
    }

    fn end(&self, outcome: Result<Rc<Block>>) {
        *self.outcome.borrow_mut() = Some(outcome);
        self.done.signal();
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn misses_share_one_read() {
    let (cache, read) = (BlockCache::new(1 << 20, 1), Manual::default());
    let mut tasks: Vec<_> = (0..5).map(|_| Box::pin(cache.share(key(0), read.read()))).collect();
    for task in &mut tasks {
        assert!(poll(task.as_mut()).is_none());
    }
    assert_eq!(read.begun.get(), 1);
    let ours = block(10);
    read.end(Ok(Rc::clone(&ours)));
    for task in &mut tasks {
        assert!(Rc::ptr_eq(&poll(task.as_mut()).unwrap().unwrap(), &ours));
    }
    assert_eq!(read.begun.get(), 1);
    assert_eq!(cache.counts(), CacheCounts { hits: 0, misses: 1, shared: 4 });
    assert!(Rc::ptr_eq(&cache.get(7, 0).unwrap(), &ours));
    assert!(cache.get(7, 1).is_none() && cache.get(8, 0).is_none());
    assert!(cache.reads.borrow().is_empty());
}

#[test]
fn an_error_reaches_all_waiters_and_the_next_caller_reads_again() {
    let (cache, read) = (BlockCache::new(1 << 20, 1), Manual::default());
    let mut tasks: Vec<_> = (0..3).map(|_| Box::pin(cache.share(key(0), read.read()))).collect();
    for task in &mut tasks {
        assert!(poll(task.as_mut()).is_none());
    }
    read.end(Err(Error::corruption(Path::new("/x"), 5, "rubbish")));
    // A waiter may be polled before the reader.
    for task in tasks.iter_mut().rev().chain([]) {
        let _ = poll(task.as_mut()).map(|outcome| assert!(outcome.is_err()));
    }
    let again = Manual::default();
    again.end(Ok(block(1)));
    let mut task = pin!(cache.share(key(0), again.read()));
    assert!(poll(task.as_mut()).unwrap().is_ok());
    assert_eq!((read.begun.get(), again.begun.get()), (1, 1));
}

#[test]
fn when_the_reader_is_dropped_the_next_waiter_reads() {
    let (cache, read) = (BlockCache::new(1 << 20, 1), Manual::default());
    let mut reader = Box::pin(cache.share(key(0), read.read()));
    let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(cache.share(key(0), read.read()))).collect();
    assert!(poll(reader.as_mut()).is_none());
    for waiter in &mut waiters {
        assert!(poll(waiter.as_mut()).is_none());
    }
    drop(reader);
    for waiter in &mut waiters {
        assert!(poll(waiter.as_mut()).is_none());
    }
    assert_eq!(read.begun.get(), 2);
    // And once more, with the new reader and one that only waits.
    drop(waiters.remove(0));
    drop(waiters.remove(1));
    assert!(poll(waiters[0].as_mut()).is_none());
    assert_eq!(read.begun.get(), 3);
    read.end(Ok(block(1)));
    assert!(poll(waiters[0].as_mut()).unwrap().is_ok());
    assert!(cache.reads.borrow().is_empty());
}

#[test]
fn a_waiter_is_woken_when_the_reader_is_dropped() {
    // On the executor, where only a wake brings a task back.
    Sim::new(1).run(|env| async move {
        let cache = Rc::new(BlockCache::new(1 << 20, 1));
        let read = Manual::default();
        let mut reader = Box::pin(cache.share(key(0), read.read()));
        assert!(poll(reader.as_mut()).is_none());
        let (ended, task_cache, task_ended) = (Rc::new(Cell::new(false)), cache.clone(), ());
        let flag = ended.clone();
        env.spawn(crate::env::Queue::Flush, async move {
            let () = task_ended;
            let now = async { Ok(block(1)) };
            flag.set(task_cache.share(key(0), now).await.is_ok());
        });
        for _ in 0..10 {
            env.pause().await;
        }
        assert!(!ended.get());
        drop(reader);
        for _ in 0..10 {
            env.pause().await;
        }
        assert!(ended.get());
    });
}

#[test]
fn memory_stays_below_the_cap() {
    let cache = BlockCache::new(100_000, 1);
    for offset in 0..200 {
        let mut task = pin!(cache.share(key(offset), async { Ok(block(2000)) }));
        poll(task.as_mut()).unwrap().unwrap();
        assert!(cache.bytes() <= 100_000);
    }
    assert!(cache.bytes() > 50_000, "{}", cache.bytes());
    for offset in 0..200 {
        cache.drop_block(8, offset);
    }
    assert!(cache.bytes() > 50_000);
    for offset in 0..200 {
        cache.drop_block(7, offset);
    }
    assert_eq!(cache.bytes(), 0);
}

/// Puts a block into the cache.
fn fill(cache: &BlockCache, offset: u64) -> Rc<Block> {
    let block = block(2000);
    let made = Rc::clone(&block);
    let mut task = pin!(cache.share(key(offset), async { Ok(made) }));
    poll(task.as_mut()).unwrap().unwrap();
    block
}

#[test]
fn a_location_leads_to_its_block_until_that_leaves_the_cache() {
    let cache = BlockCache::new(100_000, 1);
    let located = |hash| cache.located(&cache.location(hash)?).map(|(block, _)| block);
    assert!(cache.knows_nothing());
    cache.note(11, Spot::default(), 0);
    assert!(cache.knows_nothing(), "of a block that is not there nothing is noted");
    let first = fill(&cache, 0);
    let spot = |offset| cache.get_at(7, offset).map_or(Spot::default(), |(_, spot)| spot);
    cache.note(11, spot(0), 5);
    assert!(Rc::ptr_eq(&located(11).unwrap(), &first));
    assert_eq!(cache.located(&cache.location(11).unwrap()).unwrap().1, 5);
    cache.drop_block(7, 0);
    assert!(located(11).is_none() && Rc::strong_count(&first) == 1);
    // Driven out by others: nothing keeps a block that the cache has let go of.
    let held: Vec<_> = (0..200).map(|offset| fill(&cache, offset)).collect();
    for offset in 0..200 {
        cache.note(offset, spot(offset), 0);
    }
    let there = |offset: u64| cache.get(7, offset).is_some();
    for (offset, block) in (0..200).zip(&held) {
        assert_eq!(located(offset).is_some(), there(offset), "{offset}");
        assert_eq!(Rc::strong_count(block), if there(offset) { 3 } else { 1 }, "{offset}");
    }
    assert!((0..200).any(there) && !(0..200).all(there));
}

#[test]
fn a_block_that_is_read_by_location_stays() {
    let cache = BlockCache::new(100_000, 1);
    fill(&cache, 0);
    cache.note(11, cache.get_at(7, 0).unwrap().1, 0);
    for offset in 1..2000 {
        for _ in 0..2 * TOUCH_EVERY {
            assert!(cache.located(&cache.location(11).unwrap()).is_some(), "{offset}");
        }
        fill(&cache, offset);
    }
}

#[test]
fn one_large_block_does_not_drive_out_the_rest() {
    let cache = BlockCache::new(100_000, 1);
    let mut small = pin!(cache.share(key(0), async { Ok(block(2000)) }));
    poll(small.as_mut()).unwrap().unwrap();
    for (offset, len) in [(1, 50_000), (2, 99_000), (3, 1_000_000)] {
        let mut task = pin!(cache.share(key(offset), async move { Ok(block(len)) }));
        assert_eq!(poll(task.as_mut()).unwrap().unwrap().restarts(), 1);
        assert!(cache.get(7, offset).is_none());
    }
    assert!(cache.get(7, 0).is_some());
}

#[test]
fn a_scan_does_not_drive_out_what_is_used_again() {
    let cache = BlockCache::new(400_000, 1);
    let load = |offset: u64| {
        let mut task = pin!(cache.share(key(offset), async { Ok(block(1800)) }));
        poll(task.as_mut()).unwrap().unwrap();
    };
    for _ in 0..5 {
        (0..50).for_each(load);
    }
    (1000..3000).for_each(load);
    let kept = (0..50).filter(|offset| cache.get(7, *offset).is_some()).count();
    assert!(kept > 40, "{kept} of 50 survive a scan of ten times the cache");
}

#[test]
fn without_memory_nothing_is_kept() {
    let cache = BlockCache::new(0, 1);
    for _ in 0..2 {
        let mut task = pin!(cache.share(key(0), async { Ok(block(10)) }));
        poll(task.as_mut()).unwrap().unwrap();
        assert!(cache.get(7, 0).is_none());
    }
    assert_eq!((cache.counts().misses, cache.bytes()), (2, 0));
}

async fn table(env: &SimEnv) -> Rc<Table<SimEnv>> {
    let identity = Identity { directory: 1, shard: 0 };
    let (dir, options) = (Path::new("/"), TableOptions::default());
    let mut builder =
        TableBuilder::create(env, dir, identity, 7, options, Lane::Cold).await.unwrap();
    for index in 0..1000_u64 {
        let entry =
            Entry { key: &index.to_be_bytes(), seq: SeqNo(1), kind: Kind::Put, value: &[0; 50] };
        builder.add(&entry);
    }
    let meta = builder.finish().await.unwrap();
    Rc::new(Table::open(env, dir, identity, &meta).await.unwrap())
}

#[test]
fn on_a_disk_too() {
    for fails in [false, true] {
        Sim::new(1).run(|env| async move {
            let table = table(&env).await;
            let cache = Rc::new(BlockCache::new(1 << 20, env.random_u64()));
            let before = env.operations();
            if fails {
                env.faults().add(Fault::eio().kind(Op::Read));
            }
            let (left, errors) = (Rc::new(Cell::new(20)), Rc::new(Cell::new(0)));
            let over = Rc::new(Event::new());
            for _ in 0..20 {
                let (table, cache) = (Rc::clone(&table), Rc::clone(&cache));
                let (left, errors, over) = (left.clone(), errors.clone(), over.clone());
                env.spawn(crate::env::Queue::Flush, async move {
                    let handle = table.find_block(&500_u64.to_be_bytes()).unwrap();
                    let outcome = cache.load(&table, handle).await;
                    errors.set(errors.get() + u32::from(outcome.is_err()));
                    left.set(left.get() - 1);
                    over.signal();
                });
            }
            over.until(|| (left.get() == 0).then_some(())).await;
            assert_eq!(env.operations() - before, 1, "one read for all");
            assert_eq!(errors.get(), if fails { 20 } else { 0 });
            assert_eq!(cache.counts().shared, 19);
            let _ = Direction::Forward;
            Rc::into_inner(table).unwrap().close().await.unwrap();
        });
    }
}

#[test]
fn what_others_need_is_lent_step_by_step_and_a_quarter_is_kept() {
    let bytes = 64 << 20;
    let cache = BlockCache::new(bytes, 1);
    let whole = cache.capacity_bytes();
    assert!(whole <= bytes as u64 && whole > bytes as u64 - (1 << 20));
    for offset in 0..40_000 {
        fill(&cache, offset);
    }
    let full = cache.bytes();
    assert!(full > 55 << 20);
    let mut before = full;
    for step in 1..=10 {
        cache.lend((10 << 20) - 5);
        assert_eq!(cache.capacity_bytes(), whole - step * LENT_STEP_BYTES);
        assert!(cache.bytes() <= cache.capacity_bytes());
        assert!(before - cache.bytes() <= 2 * LENT_STEP_BYTES, "one step at a time");
        before = cache.bytes();
    }
    cache.lend(10 << 20);
    assert_eq!(cache.capacity_bytes(), whole - (10 << 20));
    for _ in 0..100 {
        cache.lend(u64::MAX / 2);
    }
    let kept = cache.blocks_bytes / KEPT_SHARE;
    assert_eq!(cache.blocks.borrow().capacity(), kept);
    cache.lend(0);
    assert_eq!(cache.capacity_bytes(), whole);
}
