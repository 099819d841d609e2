//! The memory that connections hold, against its part of the budget: one account for requests that come in, one for
//! replies that go out, each for the whole process.
//!
//! Only what is large is written down: a holder of up to [`HOLDING_BYTES_FREE`] costs no atomic operation, and clients of
//! small requests never meet the limit. What a holding covers moves with it between cores, in requests and responses.
//!
//! Who is to take more asks first ([`Holding::try_grow`], [`Account::is_full`]), and waits if it must: the socket is not
//! read, the command is not run. What is there already is written down unasked ([`Holding::set`]).
//!
//! # Invariants
//! - Growth beyond the limit is granted to one holding at a time, so that one always gets on, whatever the limit.
//! - Who waits is woken after memory was given back: either it sees the lower sum, or its core is rung.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use shard::env::ring::Bell;

/// What a holder may hold in each direction without being counted, in bytes.
pub(crate) const HOLDING_BYTES_FREE: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Requests: from the first byte of a large one until it is in the log and the memtable.
    pub(crate) input: Arc<Account>,
    /// Replies: from the value that is read until the last byte is with the kernel.
    pub(crate) output: Arc<Account>,
}

impl Ledger {
    /// Half of `bytes` each way.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { input: Account::new(bytes / 2), output: Account::new(bytes / 2) }
    }

    /// Whom to ring; told once the cores have bells.
    pub(crate) fn set_bells(&self, bells: &Arc<[Bell]>) {
        for account in [&self.input, &self.output] {
            account.bells.get_or_init(|| Arc::clone(bells));
        }
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.input.used() + self.output.used()
    }
}

/// Memory of one direction.
#[derive(Debug)]
pub(crate) struct Account {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    /// The one holding that may grow beyond the limit is out.
    overdrawn: AtomicBool,
    /// How often something was given back.
    returns: AtomicU64,
    waited_for: AtomicBool,
    bells: OnceLock<Arc<[Bell]>>,
}

impl Account {
    fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            overdrawn: AtomicBool::new(false),
            returns: AtomicU64::new(0),
            waited_for: AtomicBool::new(false),
            bells: OnceLock::new(),
        })
    }

    fn used(&self) -> u64 {
        self.used_bytes.load(Ordering::SeqCst)
    }

    /// Whether what is held has reached the limit.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.limit_bytes
    }

    /// Moves with each return: who waits asks again.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::SeqCst)
    }

    /// Someone waits, and will ask once more now: a return from here on rings all cores.
    pub(crate) fn expect_returns(&self) {
        self.waited_for.store(true, Ordering::SeqCst);
    }

    /// Whether someone waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waited_for.load(Ordering::SeqCst)
    }

    fn give_back(&self, bytes: u64, overdraft: bool) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
        assert!(before >= bytes, "given back is what was taken");
        if overdraft {
            self.overdrawn.store(false, Ordering::SeqCst);
        }
        self.returns.fetch_add(1, Ordering::SeqCst);
        if self.waited_for.swap(false, Ordering::SeqCst) {
            for bell in self.bells.get().into_iter().flat_map(|bells| bells.iter()) {
                bell.ring();
            }
        }
    }
}

/// Bytes that one holder has in an account, always the same one; given back when dropped. One that has nothing points
/// nowhere: the account's reference count is shared by all cores, and not touched for what is small.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    account: Option<Arc<Account>>,
    bytes: u64,
    overdraft: bool,
}

impl Holding {
    /// Of what is there already.
    pub(crate) fn of(account: &Arc<Account>, bytes: usize) -> Self {
        let mut holding = Self::default();
        holding.set(account, bytes);
        holding
    }

    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// Writes down what is held now; up to [`HOLDING_BYTES_FREE`] as nothing.
    #[inline]
    pub(crate) fn set(&mut self, account: &Arc<Account>, bytes: usize) {
        let bytes = if bytes <= HOLDING_BYTES_FREE { 0 } else { bytes as u64 };
        if bytes > self.bytes {
            account.used_bytes.fetch_add(bytes - self.bytes, Ordering::SeqCst);
            self.account.get_or_insert_with(|| Arc::clone(account));
            self.bytes = bytes;
        } else if bytes < self.bytes {
            self.shrink(bytes);
        }
    }

    #[cold]
    fn shrink(&mut self, bytes: u64) {
        let overdraft = bytes == 0 && std::mem::take(&mut self.overdraft);
        let Some(account) = &self.account else { unreachable!("what is held is held somewhere") };
        account.give_back(self.bytes - bytes, overdraft);
        self.bytes = bytes;
        if bytes == 0 {
            self.account = None;
        }
    }

    /// Grows to `bytes` if the limit allows it, or nobody else is beyond it. Where that fails, call
    /// [`Account::expect_returns`], then ask again before waiting.
    #[must_use]
    pub(crate) fn try_grow(&mut self, account: &Arc<Account>, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if bytes <= self.bytes {
            return true;
        }
        let more = bytes - self.bytes;
        let within = account.used_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            (used + more <= account.limit_bytes).then_some(used + more)
        });
        if within.is_err() {
            if !self.overdraft && account.overdrawn.swap(true, Ordering::SeqCst) {
                return false;
            }
            self.overdraft = true;
            account.used_bytes.fetch_add(more, Ordering::SeqCst);
        }
        self.account.get_or_insert_with(|| Arc::clone(account));
        self.bytes = bytes;
        true
    }

    /// What is held, to be held by another.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shrink(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = HOLDING_BYTES_FREE + 1;

    #[test]
    fn what_is_small_is_free_and_what_is_large_is_given_back() {
        let account = Account::new(100_000);
        let mut holding = Holding::of(&account, HOLDING_BYTES_FREE);
        assert_eq!((account.used(), account.returns()), (0, 0));
        holding.set(&account, PIECE);
        assert_eq!(account.used(), PIECE as u64);
        let moved = holding.take();
        assert_eq!((holding.bytes(), moved.bytes(), account.used()), (0, PIECE, PIECE as u64));
        drop(moved);
        assert_eq!((account.used(), account.returns()), (0, 1));
        holding.set(&account, 200_000);
        assert!(account.is_full(), "what is there is written down, whatever the limit");
    }

    #[test]
    fn one_at_a_time_grows_beyond_the_limit() {
        let account = Account::new(100_000);
        let [mut a, mut b, mut c] = [(); 3].map(|()| Holding::default());
        assert!(a.try_grow(&account, 60_000));
        assert!(b.try_grow(&account, 60_000), "the overdraft");
        assert!(!c.try_grow(&account, 20_000) && !a.try_grow(&account, 70_000));
        assert!(b.try_grow(&account, 500_000), "it goes on");
        assert_eq!(account.used(), 560_000);
        let moved = b.take();
        assert!(!c.try_grow(&account, 20_000), "it moves with the holding");
        drop(moved);
        assert!(c.try_grow(&account, 20_000) && a.try_grow(&account, 80_000));
        assert!(b.try_grow(&account, 20_000), "and is there again");
    }

    #[test]
    fn whoever_waits_is_rung() {
        let account = Account::new(20_000);
        let bell = Bell::new().unwrap();
        account.bells.get_or_init(|| vec![bell.clone()].into());
        let mut holding = Holding::of(&account, 30_000);
        holding.set(&account, 0);
        assert!(!bell.is_rung(), "nobody waits");
        holding.set(&account, 30_000);
        account.expect_returns();
        holding.set(&account, 25_000);
        assert!(bell.is_rung() && !account.is_waited_for());
    }
}
