//! When requests are due.
//!
//! Each connection is a **lane** with a schedule of its own; all lanes together have the rate. A request is due at its moment,
//! whatever became of those before it: that is what keeps the generator from waiting politely while the server stalls
//! (coordinated omission). A lane that may have no more requests under way is **held**: its next request stays due.
//!
//! # Invariants
//! A lane is in the queue, or held, or at its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::cli::Arrivals;
use crate::keys::unit;
use crate::settings::{End, NS_PER_S, Settings};

/// The moments of one lane, in nanoseconds from the start of the run.
#[derive(Debug)]
pub(crate) struct Schedule {
    spacing: Spacing,
    /// No moment at or after this.
    ends_ns: Option<u64>,
    measured_from_ns: u64,
    /// So many more moments at or after `measured_from_ns`.
    measured_left: u64,
}

#[derive(Debug)]
enum Spacing {
    /// Moment `n` is `(first + n * step) * gap_ns`: computed anew each time, so that no rounding adds up.
    Uniform {
        first: u64,
        step: u64,
        gap_ns: f64,
    },
    Poisson {
        last_ns: f64,
        mean_ns: f64,
        random: Box<SmallRng>,
    },
}

impl Schedule {
    /// Of client `client`; `load_count` is what it writes in a load.
    pub(crate) fn new(
        settings: &Settings,
        (rate, arrivals): (f64, Arrivals),
        client: usize,
        load_count: u64,
        seed: u64,
    ) -> Self {
        let (client, clients) = (client as u64, settings.clients as u64);
        let gap_ns = NS_PER_S / rate;
        let spacing = match arrivals {
            Arrivals::Uniform => Spacing::Uniform { first: client, step: clients, gap_ns },
            Arrivals::Poisson => Spacing::Poisson {
                last_ns: 0.0,
                mean_ns: gap_ns * clients as f64,
                random: Box::new(SmallRng::seed_from_u64(seed)),
            },
        };
        let measured_left = match settings.end {
            End::After(_) => u64::MAX,
            End::Requests(all) => all / clients + u64::from(client < all % clients),
            End::EveryKey => load_count,
        };
        Self {
            spacing,
            ends_ns: settings.ends_ns(),
            measured_from_ns: settings.measured_from_ns(),
            measured_left,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to nanoseconds of a week; a larger one is beyond the end"
    )]
    fn next(&mut self) -> Option<u64> {
        let moment = match &mut self.spacing {
            Spacing::Uniform { first, step, gap_ns } => {
                let moment = *first as f64 * *gap_ns;
                *first += *step;
                moment
            }
            Spacing::Poisson { last_ns, mean_ns, random } => {
                *last_ns -= (1.0 - unit(random)).ln() * *mean_ns;
                *last_ns
            }
        } as u64;
        if self.ends_ns.is_some_and(|end| moment >= end) || self.measured_left == 0 {
            return None;
        }
        if moment >= self.measured_from_ns {
            self.measured_left -= 1;
        }
        Some(moment)
    }
}

#[derive(Debug)]
struct Lane {
    schedule: Schedule,
    due_ns: Option<u64>,
    is_held: bool,
    /// When it was last released.
    free_since_ns: u64,
}

/// A request whose moment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) lane: usize,
    /// When it was due.
    pub(crate) intended_ns: u64,
    /// When it could first be sent: later than `intended_ns` only where its lane was held.
    pub(crate) possible_ns: u64,
}

/// The lanes of one thread.
#[derive(Debug)]
pub(crate) struct Pacer {
    lanes: Vec<Lane>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    held: usize,
}

impl Pacer {
    pub(crate) fn new(schedules: impl Iterator<Item = Schedule>) -> Self {
        let lanes = schedules.map(|schedule| Lane {
            schedule,
            due_ns: None,
            is_held: false,
            free_since_ns: 0,
        });
        let mut pacer = Self { lanes: lanes.collect(), queue: BinaryHeap::new(), held: 0 };
        for lane in 0..pacer.lanes.len() {
            pacer.advance(lane);
        }
        pacer
    }

    /// The next moment of a lane that is not held.
    pub(crate) fn next_moment(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((moment, _))| *moment)
    }

    /// No request is due any more, now or later.
    pub(crate) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.held == 0
    }

    /// The request that has been due longest; the caller then says `advance` or `hold`.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<Due> {
        let &Reverse((intended_ns, lane)) = self.queue.peek()?;
        if intended_ns > now_ns {
            return None;
        }
        self.queue.pop();
        let possible_ns = intended_ns.max(self.lanes[lane].free_since_ns);
        Some(Due { lane, intended_ns, possible_ns })
    }

    /// The lane's request was sent: on to its next.
    pub(crate) fn advance(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        assert!(!state.is_held, "a held lane sends nothing");
        state.due_ns = state.schedule.next();
        if let Some(moment) = state.due_ns {
            self.queue.push(Reverse((moment, lane)));
        }
    }

    /// The lane's request cannot be sent now.
    pub(crate) fn hold(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        assert!(!state.is_held, "a lane is held once");
        state.is_held = true;
        self.held += 1;
    }

    /// The lane may send again; nothing happens if it was not held.
    pub(crate) fn release(&mut self, lane: usize, now_ns: u64) {
        let state = &mut self.lanes[lane];
        if !state.is_held {
            return;
        }
        state.is_held = false;
        state.free_since_ns = now_ns;
        self.held -= 1;
        let moment = state.due_ns.expect("a held lane has a request that is due");
        self.queue.push(Reverse((moment, lane)));
    }

    /// Gives up what is still due, held or not, and calls `unsent` with lane and moment of each.
    pub(crate) fn abandon(&mut self, now_ns: u64, mut unsent: impl FnMut(usize, u64)) {
        self.queue.clear();
        self.held = 0;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.is_held = false;
            while let Some(moment) = lane.due_ns.filter(|&moment| moment <= now_ns) {
                unsent(index, moment);
                lane.due_ns = lane.schedule.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Pace;
    use crate::settings::tests::settings;

    fn pacer(line: &str) -> Pacer {
        let settings = settings(line).unwrap();
        let Pace::Open { rate, arrivals, .. } = settings.pace else { panic!("no rate") };
        let schedule =
            |client| Schedule::new(&settings, (rate, arrivals), client, 10, client as u64);
        Pacer::new((0..settings.clients).map(schedule))
    }

    /// All moments, by lane.
    fn moments(pacer: &mut Pacer) -> Vec<(u64, usize)> {
        let mut all = Vec::new();
        while let Some(due) = pacer.take_due(u64::MAX) {
            all.push((due.intended_ns, due.lane));
            pacer.advance(due.lane);
        }
        assert!(pacer.is_done());
        all
    }

    #[test]
    fn uniform_moments_are_evenly_spaced_over_all_lanes() {
        let all = moments(&mut pacer("--workload a --rate 1000 --clients 3 --duration 1"));
        let wanted: Vec<(u64, usize)> =
            (0..1000).map(|n| (n * 1_000_000, usize::try_from(n % 3).unwrap())).collect();
        assert_eq!(all, wanted);
    }

    #[test]
    fn no_rounding_adds_up() {
        let all = moments(&mut pacer("--workload a --rate 3000 --clients 1 --duration 1000"));
        assert_eq!(all.len(), 3_000_000);
        assert_eq!(all[2_999_997].0, 999_999_000_000);
    }

    #[test]
    fn poisson_moments_have_the_rate_and_no_rhythm() {
        let line = "--workload a --rate 10000 --arrivals poisson --clients 10 --duration 10";
        let all = moments(&mut pacer(line));
        assert!((98_000..102_000).contains(&all.len()), "{}", all.len());
        // Of exponential gaps, 1 - 1/e are shorter than their mean.
        let short = all.windows(2).filter(|pair| pair[1].0 - pair[0].0 < 100_000).count();
        let share = short as f64 / all.len() as f64;
        assert!((0.62..0.645).contains(&share), "{share}");
    }

    #[test]
    fn a_number_of_requests_counts_from_the_end_of_the_warm_up() {
        for arrivals in ["uniform", "poisson"] {
            let line = format!(
                "--workload a --rate 1000 --clients 7 --requests 500 --warmup 1 --arrivals {arrivals}"
            );
            let all = moments(&mut pacer(&line));
            let measured = all.iter().filter(|(moment, _)| *moment >= 1_000_000_000).count();
            assert_eq!(measured, 500);
            assert!(all.len() > 1200);
        }
        assert_eq!(moments(&mut pacer("--workload load --rate 1000 --clients 7")).len(), 70);
    }

    #[test]
    fn a_held_lane_keeps_its_moment_and_stops_nobody() {
        let mut pacer = pacer("--workload a --rate 1000 --clients 2 --duration 1");
        let first = pacer.take_due(0).unwrap();
        assert_eq!((first.lane, first.intended_ns), (0, 0));
        pacer.hold(0);
        assert_eq!(pacer.next_moment(), Some(1_000_000));
        let second = pacer.take_due(1_000_000).unwrap();
        assert_eq!(second.lane, 1);
        pacer.advance(1);
        pacer.release(0, 1_500_000);
        let again = pacer.take_due(1_600_000).unwrap();
        assert_eq!(again, Due { lane: 0, intended_ns: 0, possible_ns: 1_500_000 });
        pacer.advance(0);
        let mut unsent = Vec::new();
        pacer.abandon(4_000_000, |lane, moment| unsent.push((lane, moment)));
        unsent.sort_unstable();
        assert_eq!(unsent, [(0, 2_000_000), (0, 4_000_000), (1, 3_000_000)]);
        assert!(pacer.is_done());
    }
}
