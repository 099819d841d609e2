//! What a client asks for, one operation after the other.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::cli::{Distribution, Workload};
use crate::keys::{Chooser, Shuffle, Stripe, below};
use crate::limits::SCAN_KEYS_MAX;
use crate::settings::Settings;

/// Kinds of requests, each with its own latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Get,
    Miss,
    Scan,
    Set,
    Insert,
    ReadModifyWrite,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Get, Self::Miss, Self::Scan, Self::Set, Self::Insert, Self::ReadModifyWrite];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Miss => "GET-absent",
            Self::Scan => "MGET",
            Self::Set => "SET",
            Self::Insert => "SET-new",
            Self::ReadModifyWrite => "GET+SET",
        }
    }
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) key: u64,
    /// Keys that it asks for: `key`, `key + step`, ..
    pub(crate) keys: u32,
    pub(crate) step: u64,
}

/// The operations of one client. They depend on the seed and the client's number alone.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) random: SmallRng,
    workload: Workload,
    chooser: Chooser,
    /// What this client owns; it inserts at the end.
    stripe: Stripe,
    /// Of these keys `chooser` chooses.
    space: Stripe,
    /// `Load`: keys written so far, and their order.
    loaded: u64,
    order: Option<Shuffle>,
}

impl Source {
    pub(crate) fn new(settings: &Settings, client: usize) -> Self {
        let stripe = Stripe::of(client, settings.clients, settings.keys);
        // All clients share all keys, unless a client is to stay with its own: for its tag, its share of a sequence, or
        // because it alone knows what it has inserted.
        let kind = settings.distribution;
        let is_own = settings.names.is_tagged()
            || matches!(kind, Distribution::Sequential | Distribution::Latest)
            || settings.workload == Workload::D;
        let space =
            if is_own { stripe } else { Stripe { first: 0, step: 1, count: settings.keys } };
        let order = (kind != Distribution::Sequential).then(|| Shuffle::new(stripe.count));
        // Odd multiplier: different clients never share a seed.
        let seed = settings.seed ^ (client as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self {
            random: SmallRng::seed_from_u64(seed),
            workload: settings.workload,
            chooser: Chooser::new(kind, space.count, settings.theta),
            stripe,
            space,
            loaded: 0,
            order,
        }
    }

    /// Keys that `Load` writes.
    pub(crate) fn stripe_count(&self) -> u64 {
        self.stripe.count
    }

    /// `None` once a load is complete.
    pub(crate) fn next(&mut self) -> Option<Operation> {
        let kind = match self.workload {
            Workload::Load => return self.next_load(),
            Workload::Set | Workload::Overwrite => Kind::Set,
            Workload::Get | Workload::C => Kind::Get,
            Workload::Miss => Kind::Miss,
            Workload::A => self.mix(50, Kind::Get, Kind::Set),
            Workload::B => self.mix(95, Kind::Get, Kind::Set),
            Workload::D => self.mix(95, Kind::Get, Kind::Insert),
            Workload::E => self.mix(95, Kind::Scan, Kind::Insert),
            Workload::F => self.mix(50, Kind::Get, Kind::ReadModifyWrite),
        };
        Some(match kind {
            Kind::Insert => self.insert(),
            Kind::Scan => self.scan(),
            Kind::Get | Kind::Miss | Kind::Set | Kind::ReadModifyWrite => {
                let key = self.choose();
                Operation { kind, key, keys: 1, step: 1 }
            }
        })
    }

    fn mix(&mut self, percent: u64, first: Kind, second: Kind) -> Kind {
        if below(&mut self.random, 100) < percent { first } else { second }
    }

    fn next_load(&mut self) -> Option<Operation> {
        if self.loaded == self.stripe.count {
            return None;
        }
        let place = self.order.map_or(self.loaded, |order| order.place(self.loaded));
        self.loaded += 1;
        Some(Operation { kind: Kind::Insert, key: self.stripe.number(place), keys: 1, step: 1 })
    }

    fn choose(&mut self) -> u64 {
        // What this client has inserted is there for its own later requests: one connection keeps their order.
        if self.workload == Workload::D {
            self.space = self.stripe;
        }
        let place = self.chooser.choose(self.space.count, &mut self.random);
        self.space.number(place)
    }

    fn insert(&mut self) -> Operation {
        Operation { kind: Kind::Insert, key: self.stripe.grow(), keys: 1, step: 1 }
    }

    fn scan(&mut self) -> Operation {
        let place = self.chooser.choose(self.space.count, &mut self.random);
        let wanted = below(&mut self.random, u64::from(SCAN_KEYS_MAX)) + 1;
        let keys = wanted.min(self.space.count - place);
        Operation {
            kind: Kind::Scan,
            key: self.space.number(place),
            keys: u32::try_from(keys).expect("at most SCAN_KEYS_MAX"),
            step: self.space.step,
        }
    }

    /// A number for whatever else is drawn for this client.
    pub(crate) fn next_seed(&mut self) -> u64 {
        self.random.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::settings::tests::settings;

    fn operations(line: &str, client: usize, count: usize) -> Vec<Operation> {
        let mut source = Source::new(&settings(line).unwrap(), client);
        std::iter::from_fn(|| source.next()).take(count).collect()
    }

    #[test]
    fn mixes_are_those_of_ycsb() {
        let cases = [
            ("a", Kind::Get, 50, Kind::Set),
            ("b", Kind::Get, 95, Kind::Set),
            ("c", Kind::Get, 100, Kind::Set),
            ("d", Kind::Get, 95, Kind::Insert),
            ("e", Kind::Scan, 95, Kind::Insert),
            ("f", Kind::Get, 50, Kind::ReadModifyWrite),
            ("set", Kind::Set, 100, Kind::Get),
            ("overwrite", Kind::Set, 100, Kind::Get),
            ("get", Kind::Get, 100, Kind::Set),
            ("miss", Kind::Miss, 100, Kind::Set),
        ];
        for (workload, first, percent, second) in cases {
            let mut counts = BTreeMap::new();
            for operation in operations(&format!("--workload {workload}"), 3, 10_000) {
                *counts.entry(operation.kind).or_insert(0) += 1;
            }
            let had: usize = counts.get(&first).copied().unwrap_or(0) / 100;
            assert!(had.abs_diff(percent) <= 2, "{workload}: {counts:?}");
            let others = counts.keys().filter(|kind| **kind != first && **kind != second);
            assert_eq!(others.count(), 0, "{workload}: {counts:?}");
        }
    }

    #[test]
    fn keys_exist_when_they_are_asked_for() {
        let words = ["", " --tagged", " --distribution uniform", " --distribution sequential"];
        for workload in ["get", "a", "d", "e", "f"] {
            for more in words {
                let line = format!("--workload {workload} --clients 7 --keys 1000 {more}");
                let mut inserted: BTreeSet<u64> = (0..1000).collect();
                for operation in operations(&line, 5, 20_000) {
                    let keys = (0..u64::from(operation.keys))
                        .map(|at| operation.key + at * operation.step);
                    for key in keys {
                        if operation.kind == Kind::Insert {
                            assert!(inserted.insert(key), "{line}: {key} again");
                        } else {
                            assert!(inserted.contains(&key), "{line}: {key} is not there");
                        }
                        assert!(!more.contains("tagged") || key % 7 == 5, "{line}: {key}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_load_has_every_key_once_over_any_number_of_clients() {
        for clients in [1, 2, 7, 100] {
            for order in ["uniform", "sequential"] {
                let line = format!(
                    "--workload load --clients {clients} --keys 1000 --distribution {order}"
                );
                let mut seen = BTreeSet::new();
                for client in 0..clients {
                    for operation in operations(&line, client, usize::MAX) {
                        assert!(seen.insert(operation.key), "{line}: {} twice", operation.key);
                    }
                }
                assert_eq!(seen, (0..1000).collect());
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let line = "--workload a --value-bytes 16-64";
        assert_eq!(operations(line, 1, 100), operations(line, 1, 100));
        assert_ne!(operations(line, 1, 100), operations(line, 2, 100));
        assert_ne!(operations(line, 1, 100), operations(&format!("{line} --seed 2"), 1, 100));
    }
}
