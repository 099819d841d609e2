//! When the bytes came that a connection has not parsed yet.
//!
//! A command has come when its last byte has: a large value is not late because its client took long to send it. Bytes that
//! wait behind others (a round under way, admission) keep the time of their own receive, [`ARRIVALS_MAX`] of them; what
//! comes beyond that counts from the last of these, so that a latency is shown too long, never too short.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::ARRIVALS_MAX;

/// Bytes that came together.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    bytes: usize,
    at: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    waiting: VecDeque<Arrival>,
}

/// How far a round has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reach {
    next: usize,
    /// Bytes up to the end of the arrivals before `next`.
    upto: usize,
    at: Duration,
}

impl Arrivals {
    /// `bytes` came. `is_rest`: what is here already is the beginning of a request that they go on with; it comes only now.
    pub(crate) fn came(&mut self, bytes: usize, at: Duration, is_rest: bool) {
        if is_rest {
            let before = self.bytes();
            self.waiting.clear();
            self.waiting.push_back(Arrival { bytes: before + bytes, at });
        } else if self.waiting.len() < ARRIVALS_MAX {
            self.waiting.push_back(Arrival { bytes, at });
        } else if let Some(last) = self.waiting.back_mut() {
            last.bytes += bytes;
        }
    }

    /// When the byte before `upto` came, counted from the first unparsed one; `reach` begins as its default and only grows.
    #[inline]
    pub(crate) fn reached(&self, reach: &mut Reach, upto: usize) -> Duration {
        while upto > reach.upto {
            let Some(arrival) = self.waiting.get(reach.next) else {
                unreachable!("no byte is parsed that did not come")
            };
            *reach =
                Reach { next: reach.next + 1, upto: reach.upto + arrival.bytes, at: arrival.at };
        }
        reach.at
    }

    /// The first `bytes` were parsed.
    pub(crate) fn parsed(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let Some(first) = self.waiting.front_mut() else {
                unreachable!("no byte is parsed that did not come")
            };
            if bytes < first.bytes {
                first.bytes -= bytes;
                return;
            }
            bytes -= first.bytes;
            self.waiting.pop_front();
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.waiting.iter().map(|arrival| arrival.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_command_came_with_its_last_byte() {
        let mut arrivals = Arrivals::default();
        arrivals.came(10, ms(1), false);
        arrivals.came(10, ms(2), false);
        let mut reach = Reach::default();
        for (upto, at) in [(4, 1), (10, 1), (11, 2), (20, 2)] {
            assert_eq!(arrivals.reached(&mut reach, upto), ms(at), "byte {upto}");
        }
        // A second round goes on where the first one stopped.
        arrivals.parsed(7);
        arrivals.came(5, ms(3), false);
        let mut reach = Reach::default();
        for (upto, at) in [(3, 1), (13, 2), (18, 3)] {
            assert_eq!(arrivals.reached(&mut reach, upto), ms(at), "byte {upto}");
        }
        arrivals.parsed(18);
        assert_eq!(arrivals.bytes(), 0);
    }

    #[test]
    fn a_request_in_parts_came_when_it_was_whole() {
        let mut arrivals = Arrivals::default();
        for at in 1..=100 {
            arrivals.came(1000, ms(at), at > 1);
        }
        assert_eq!(arrivals.bytes(), 100_000);
        assert_eq!(arrivals.reached(&mut Reach::default(), 1), ms(100));
    }

    #[test]
    fn of_many_arrivals_the_late_ones_count_from_an_earlier_one() {
        let mut arrivals = Arrivals::default();
        let count = ARRIVALS_MAX + 10;
        for at in 1..=count {
            arrivals.came(1, ms(at as u64), false);
        }
        assert_eq!((arrivals.bytes(), arrivals.waiting.len()), (count, ARRIVALS_MAX));
        let last = arrivals.reached(&mut Reach::default(), count);
        assert_eq!(last, ms(ARRIVALS_MAX as u64));
    }
}
