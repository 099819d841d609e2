//! How fast writes may come while the background is behind: slowed early and in proportion, so that they need not be
//! stopped.
//!
//! One [`Throttle`] watches one backlog (tables of L0; memtables that wait for their flush). Its *pressure* says how far
//! the backlog lies between where writes are slowed and where they stop. It knows how fast the background took such a backlog
//! down of late, and lets bytes in at twice that pace at no pressure, falling to none at full pressure: at half way
//! they come as fast as they go, and the backlog settles there.
//!
//! Plain values, no I/O; the caller says what time it is.

use std::cell::Cell;
use std::time::Duration;

/// Full pressure.
pub(crate) const FULL_PERMILLE: u64 = 1000;

/// The background's pace before any was measured, in bytes a second.
const PACE_FIRST: u64 = 64 << 20;

/// A measured pace is believed within these bounds, in bytes a second: a job of a few bytes says little.
const PACE_MIN: u64 = 1 << 20;
const PACE_MAX: u64 = 4 << 30;

/// Time whose allowance may be used at once: the timer that lets writes in again is not finer than a millisecond or so.
const BURST: Duration = Duration::from_millis(5);

/// What is let in of one backlog.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes a second at which the background takes this backlog down.
    pace: Cell<u64>,
    pressure_permille: Cell<u64>,
    /// Bytes that may still come now; below zero: what came too early.
    allowance: Cell<i64>,
    refilled_at: Cell<Duration>,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self {
            pace: Cell::new(PACE_FIRST),
            pressure_permille: Cell::new(0),
            allowance: Cell::new(0),
            refilled_at: Cell::new(Duration::ZERO),
        }
    }

    /// The background took `bytes` of the backlog down in `took`.
    pub(crate) fn drained(&self, bytes: u64, took: Duration) {
        let per_second = u128::from(bytes) * 1_000_000 / took.as_micros().max(1);
        let measured = u64::try_from(per_second).unwrap_or(u64::MAX).clamp(PACE_MIN, PACE_MAX);
        self.pace.set(self.pace.get() / 2 + measured / 2);
    }

    /// The backlog is `at`; writes are slowed from `slow` and stop at `stop`.
    pub(crate) fn press(&self, at: u64, slow: u64, stop: u64, now: Duration) {
        let pressure = if at < slow {
            0
        } else {
            ((at - slow) * FULL_PERMILLE / stop.saturating_sub(slow).max(1)).clamp(1, FULL_PERMILLE)
        };
        if self.pressure_permille.replace(pressure) == 0 {
            self.allowance.set(0);
            self.refilled_at.set(now);
        }
    }

    /// Whether writes are slowed at all: else nobody need ask for the time.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressure_permille.get() > 0
    }

    /// Bytes a second that may come now.
    pub(crate) fn rate(&self) -> u64 {
        let open = FULL_PERMILLE - self.pressure_permille.get();
        // Never quite closed: what stops writes is the ladder's own rung.
        (self.pace.get() / FULL_PERMILLE * 2 * open).max(PACE_MIN / 8)
    }

    /// Whether a write may come now.
    pub(crate) fn is_open(&self, now: Duration) -> bool {
        if !self.is_pressed() {
            return true;
        }
        let passed = now.saturating_sub(self.refilled_at.get());
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let burst_us = u64::try_from(BURST.as_micros()).unwrap_or(u64::MAX);
        let rate = self.rate();
        let earned = bytes_in(rate, micros);
        if earned > 0 {
            self.refilled_at.set(now);
            let most = bytes_in(rate, burst_us).max(1);
            self.allowance.set(self.allowance.get().saturating_add(earned).min(most));
        }
        self.allowance.get() > 0
    }

    /// A write of `bytes` came. One larger than the allowance is let in whole, and the next ones wait for it.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize) {
        if self.is_pressed() {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            self.allowance.set(self.allowance.get().saturating_sub(bytes));
        }
    }
}

/// Bytes at `rate` a second in `micros`.
fn bytes_in(rate: u64, micros: u64) -> i64 {
    i64::try_from(u128::from(rate) * u128::from(micros) / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Bytes let in within `millis`, asked each 1/4 ms, in writes of 1000 bytes.
    fn let_in(throttle: &Throttle, from: Duration, millis: u64) -> u64 {
        let mut bytes = 0;
        for quarter in 0..millis * 4 {
            let now = from + Duration::from_micros(quarter * 250);
            while throttle.is_open(now) && bytes < 1 << 40 {
                throttle.charge(1000);
                bytes += 1000;
                if !throttle.is_pressed() {
                    return u64::MAX;
                }
            }
        }
        bytes
    }

    #[test]
    fn without_pressure_everything_is_let_in() {
        let throttle = Throttle::new();
        throttle.press(3, 4, 8, ms(0));
        assert_eq!(let_in(&throttle, ms(0), 1), u64::MAX);
    }

    #[test]
    fn half_way_bytes_come_as_fast_as_they_go_and_fewer_towards_the_stop() {
        let throttle = Throttle::new();
        // 1 MB in 100 ms, often enough to be believed.
        for _ in 0..30 {
            throttle.drained(1_000_000, ms(100));
        }
        let mut rates = Vec::new();
        for at in [12, 18, 23, 24] {
            throttle.press(at, 12, 24, ms(0));
            rates.push(let_in(&throttle, ms(1000 * at), 1000) / 100_000);
        }
        // Twice the pace at once, about the pace half way, a twelfth of the double before the stop, a trickle at it.
        assert_eq!(rates, [200, 100, 16, 1]);
    }

    #[test]
    fn a_large_write_is_let_in_whole_and_paid_for_after() {
        let throttle = Throttle::new();
        throttle.press(18, 12, 24, ms(0));
        assert!(!throttle.is_open(ms(0)));
        assert!(throttle.is_open(ms(1)));
        // About a second's worth at the first pace.
        throttle.charge(64 << 20);
        assert!(!throttle.is_open(ms(900)));
        assert!(throttle.is_open(ms(1100)));
    }

    #[test]
    fn idle_time_saves_no_more_than_a_burst() {
        let throttle = Throttle::new();
        throttle.press(18, 12, 24, ms(0));
        assert!(throttle.is_open(ms(60_000)));
        throttle.charge(usize::try_from(throttle.rate() / 100).unwrap());
        assert!(!throttle.is_open(ms(60_000)));
    }
}
