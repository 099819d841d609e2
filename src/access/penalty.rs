//! What wrong passwords cost: the answer to each further one from an address comes later.
//!
//! # Invariants
//! - One table of one size, whatever number of addresses is seen. Two addresses that meet in a place exchange each other: what is
//!   lost is a delay, never the password.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{AUTH_ADDRESSES_MAX, AUTH_DELAY_MAX, AUTH_DELAY_MIN, AUTH_FAILURES_KEPT};

/// Failures by address. A place: 24 bits of the address' hash, 8 of a count, 32 of the second of the last failure.
#[derive(Debug)]
pub(crate) struct Penalties {
    /// Of this process alone: who does not know it cannot choose addresses that meet.
    seed: RandomState,
    places: Vec<AtomicU64>,
}

impl Default for Penalties {
    fn default() -> Self {
        let places = (0..AUTH_ADDRESSES_MAX).map(|_| AtomicU64::new(0)).collect();
        Self { seed: RandomState::new(), places }
    }
}

impl Penalties {
    /// A wrong password came from `peer` (address and port as text) at `now`. Answers how long its reply waits.
    pub(crate) fn failed(&self, peer: &str, now: Duration) -> Duration {
        let (place, tag) = self.place(peer);
        let before = place.load(Ordering::Relaxed);
        // A clock that began at 0 must not look like "never".
        let now_s = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let [.., count] = (before >> 32 & 0xff).to_be_bytes();
        let last_s = u32::try_from(before & u64::from(u32::MAX)).unwrap_or(0);
        let is_fresh = u64::from(now_s.saturating_sub(last_s)) < AUTH_FAILURES_KEPT.as_secs();
        let count = if before >> 40 == tag && is_fresh { count.saturating_add(1) } else { 1 };
        let after = tag << 40 | u64::from(count) << 32 | u64::from(now_s);
        // Where another core just counted one, this one is not: they came at the same time.
        let _ = place.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
        let doubled = 1_u32.checked_shl(u32::from(count) - 1).unwrap_or(u32::MAX);
        AUTH_DELAY_MIN.saturating_mul(doubled).min(AUTH_DELAY_MAX)
    }

    /// Who logs in from `peer` is no guesser.
    pub(crate) fn succeeded(&self, peer: &str) {
        let (place, tag) = self.place(peer);
        let before = place.load(Ordering::Relaxed);
        if before != 0 && before >> 40 == tag {
            let _ = place.compare_exchange(before, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn place(&self, peer: &str) -> (&AtomicU64, u64) {
        let hash = self.seed.hash_one(network(peer));
        let index = usize::try_from(hash & 0xffff_ffff).unwrap_or(0) % self.places.len();
        (&self.places[index], hash >> 40)
    }
}

/// Whose address it is: an IPv6 customer has 2^64 of them.
fn network(peer: &str) -> u128 {
    match peer.parse::<SocketAddr>().map(|address| address.ip().to_canonical()) {
        Ok(IpAddr::V4(address)) => u128::from(u32::from(address)),
        Ok(IpAddr::V6(address)) => u128::from(address) >> 64 << 64,
        // The unix socket's.
        Err(_) => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_password_costs_more_until_a_right_one_comes() {
        let penalties = Penalties::default();
        let at = Duration::from_secs;
        let ms = |peer: &str, now| penalties.failed(peer, now).as_millis();
        let own: Vec<u128> = (0..9).map(|_| ms("10.0.0.1:5", at(1))).collect();
        assert_eq!(own, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(ms("10.0.0.1:6", at(2)), 5000, "another port is the same peer");
        assert_eq!(ms("[::ffff:10.0.0.1]:6", at(2)), 5000);
        assert_eq!(ms("10.0.0.2:6", at(2)), 100);
        penalties.succeeded("10.0.0.1:7");
        assert_eq!(ms("10.0.0.1:5", at(3)), 100);
        assert_eq!(ms("10.0.0.1:5", at(4)), 200);
        assert_eq!(ms("10.0.0.1:5", at(64)), 100, "forgotten after a minute");
        assert_eq!((ms("[fd00::1]:1", at(9)), ms("[fd00::ffff:2]:1", at(9))), (100, 200));
        for time in 0..300 {
            let cost = ms("10.0.0.9:1", at(9));
            assert!(time < 6 || cost == 5000, "the count does not wrap: {cost} at the {time}th");
        }
    }

    #[test]
    fn who_meets_a_guesser_in_a_place_does_not_wait_for_him() {
        let place = [(); 1].map(|()| AtomicU64::new(0)).into();
        let penalties = Penalties { places: place, ..Penalties::default() };
        let at = Duration::from_secs(1);
        let ms = |peer: &str| penalties.failed(peer, at).as_millis();
        assert_eq!([ms("10.0.0.1:5"), ms("10.0.0.1:5"), ms("10.0.0.2:5")], [100, 200, 100]);
        penalties.succeeded("10.0.0.1:5");
        assert_eq!(ms("10.0.0.2:5"), 200, "his own failures were not another's to end");
    }

    #[test]
    fn many_addresses_take_no_more_memory() {
        let penalties = Penalties::default();
        for address in 0..100_000_u32 {
            let peer = SocketAddr::from((address.to_be_bytes(), 1)).to_string();
            assert!(penalties.failed(&peer, Duration::from_secs(1)) <= AUTH_DELAY_MAX);
        }
        assert_eq!(penalties.places.len(), AUTH_ADDRESSES_MAX);
    }
}
