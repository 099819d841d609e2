//! Keys: their names, who owns which, and which one is next.
//!
//! A key is a number; its name has it in decimal digits, at a fixed length. Numbers are dealt to clients in turn: client `c`
//! owns `c`, `c + clients`, `c + 2 * clients` and so on, its **stripe**, without an end. The first `--keys` numbers are loaded;
//! a client that inserts goes on in its stripe, so no two ever insert the same key, and none has to ask another.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, Zipf};
use xxhash_rust::xxh3::xxh3_64;

use crate::cli::Distribution;
use crate::limits::KEY_BYTES_MAX;

/// In front of the digits where there is room for it.
const PREFIX: &[u8] = b"key:";

/// Turns numbers into names of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyNames {
    bytes: usize,
    prefix: &'static [u8],
    /// The clients, where each has a hash tag.
    tags: Option<usize>,
}

impl KeyNames {
    /// Names of `bytes` bytes with room for `digits` digits, and for the tags of so many clients.
    /// # Errors
    /// There is no such room, or more than enough.
    pub(crate) fn new(bytes: usize, tags: Option<usize>, digits: usize) -> Result<Self, String> {
        let tag = tags.map_or(0, |clients| "{c}".len() + digits_of(clients as u64 - 1));
        let min = tag + digits;
        if bytes < min || bytes > KEY_BYTES_MAX {
            let tagged = if tags.is_some() { " and the clients' tags" } else { "" };
            return Err(format!(
                "--key-bytes {bytes} is not between {min} ({digits} digits{tagged}) and {KEY_BYTES_MAX}"
            ));
        }
        let has_prefix = tags.is_none() && bytes >= min + PREFIX.len();
        Ok(Self { bytes, prefix: if has_prefix { PREFIX } else { b"" }, tags })
    }

    pub(crate) fn is_tagged(&self) -> bool {
        self.tags.is_some()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the name of key `number`.
    pub(crate) fn append(&self, out: &mut Vec<u8>, number: u64) {
        let end = out.len() + self.bytes;
        out.extend_from_slice(self.prefix);
        if let Some(clients) = self.tags {
            out.extend_from_slice(b"{c");
            let mut buffer = itoa::Buffer::new();
            out.extend_from_slice(buffer.format(number % clients as u64).as_bytes());
            out.push(b'}');
        }
        let digits_from = out.len();
        out.resize(end, b'0');
        write_digits(&mut out[digits_from..], number);
    }

    /// Appends a name that no key has: between those of `number` and `number + 1` in order, so that only a filter, and no
    /// range of keys, can tell that it is absent.
    pub(crate) fn append_absent(&self, out: &mut Vec<u8>, number: u64) {
        self.append(out, number);
        if let Some(last) = out.last_mut() {
            *last = *last - b'0' + b'a';
        }
    }
}

/// Writes `number` at the right end of `zeros`.
pub(crate) fn write_digits(zeros: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in zeros.iter_mut().rev() {
        if rest == 0 {
            return;
        }
        *digit = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
    }
    assert!(rest == 0, "a number with more digits than there is room for");
}

pub(crate) fn digits_of(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The keys of one client: `first`, `first + step`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stripe {
    pub(crate) first: u64,
    pub(crate) step: u64,
    pub(crate) count: u64,
}

impl Stripe {
    /// What client `client` of `clients` owns of `keys` loaded keys.
    pub(crate) fn of(client: usize, clients: usize, keys: u64) -> Self {
        let (first, step) = (client as u64, clients as u64);
        assert!(first < step && step <= keys, "each client has a key");
        Self { first, step, count: (keys - first).div_ceil(step) }
    }

    pub(crate) fn number(&self, at: u64) -> u64 {
        assert!(at < self.count, "beyond the end of the stripe");
        self.first + at * self.step
    }

    /// The next key is there now.
    pub(crate) fn grow(&mut self) -> u64 {
        self.count += 1;
        self.number(self.count - 1)
    }
}

/// Chooses among the first `count` places.
#[derive(Debug)]
pub(crate) enum Chooser {
    Uniform,
    /// The rank is hashed to a place, so that the popular ones lie anywhere.
    Zipfian(Zipf<f64>),
    /// The rank counts from the newest.
    Latest(Zipf<f64>),
    Sequential {
        next: u64,
    },
}

impl Chooser {
    pub(crate) fn new(kind: Distribution, count: u64, theta: f64) -> Self {
        // What is inserted later is not among the ranks of `Latest`: the newest `count` keys are asked for.
        let ranks =
            || Zipf::new(count as f64, theta).expect("a count of one or more, theta 0 or more");
        match kind {
            Distribution::Uniform => Self::Uniform,
            Distribution::Zipfian => Self::Zipfian(ranks()),
            Distribution::Latest => Self::Latest(ranks()),
            Distribution::Sequential => Self::Sequential { next: 0 },
        }
    }

    pub(crate) fn choose(&mut self, count: u64, random: &mut SmallRng) -> u64 {
        match self {
            Self::Uniform => below(random, count),
            Self::Zipfian(zipf) => xxh3_64(&rank(zipf, count, random).to_le_bytes()) % count,
            Self::Latest(zipf) => count - 1 - rank(zipf, count, random),
            Self::Sequential { next } => {
                let at = *next % count;
                *next = at + 1;
                at
            }
        }
    }
}

/// A rank from 0, most likely first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 1 to KEYS_MAX"
)]
fn rank(zipf: &Zipf<f64>, count: u64, random: &mut SmallRng) -> u64 {
    ((zipf.sample(random) as u64).saturating_sub(1)).min(count - 1)
}

/// A number below `bound`, by one multiplication: the bias is below `bound / 2^64`.
pub(crate) fn below(random: &mut SmallRng, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// A number from 0 to 1, 1 excluded.
pub(crate) fn unit(random: &mut SmallRng) -> f64 {
    random.random::<f64>()
}

/// Every place below `count` once, in an order that jumps: each next one is about 0.618 of `count` further on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shuffle {
    count: u64,
    stride: u64,
}

impl Shuffle {
    pub(crate) fn new(count: u64) -> Self {
        // Fibonacci hashing's ratio spreads any run of places evenly; coprime to `count`, so that no place comes twice.
        let golden = u128::from(count) * 618_033_988_749 / 1_000_000_000_000;
        let mut stride = u64::try_from(golden).unwrap_or(1).max(1);
        while gcd(stride, count) != 1 {
            stride += 1;
        }
        Self { count, stride }
    }

    pub(crate) fn place(&self, at: u64) -> u64 {
        assert!(at < self.count, "beyond the last place");
        let place = u128::from(at) * u128::from(self.stride) % u128::from(self.count);
        u64::try_from(place).expect("below a count of 64 bits")
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn name(names: &KeyNames, number: u64) -> String {
        let mut out = Vec::new();
        names.append(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_have_one_length_and_the_order_of_their_numbers() {
        let names = KeyNames::new(16, None, 6).unwrap();
        assert_eq!(name(&names, 0), "key:000000000000");
        assert_eq!(name(&names, 123_456), "key:000000123456");
        let short = KeyNames::new(6, None, 6).unwrap();
        assert_eq!(name(&short, 123_456), "123456");
        let mut absent = Vec::new();
        names.append_absent(&mut absent, 41);
        assert_eq!(absent, b"key:00000000004b");
        assert!(absent > name(&names, 41).into_bytes());
        assert!(absent < name(&names, 50).into_bytes());
    }

    #[test]
    fn a_tag_is_that_of_the_owner() {
        let names = KeyNames::new(16, Some(50), 6).unwrap();
        assert_eq!(name(&names, 112), "{c12}00000000112");
        for client in 0..50 {
            let stripe = Stripe::of(client, 50, 1000);
            for at in 0..stripe.count {
                let tag = format!("{{c{client}}}");
                assert!(name(&names, stripe.number(at)).starts_with(&tag));
            }
        }
    }

    #[test]
    fn a_name_without_room_is_refused() {
        let said = KeyNames::new(5, None, 6).unwrap_err();
        assert!(said.contains("--key-bytes 5 is not between 6"), "{said}");
        let said = KeyNames::new(10, Some(50), 6).unwrap_err();
        assert!(said.contains("between 11"), "{said}");
        assert!(KeyNames::new(11, Some(50), 6).is_ok());
        assert!(KeyNames::new(KEY_BYTES_MAX + 1, None, 6).is_err());
    }

    #[test]
    fn stripes_share_all_keys_out_and_grow_apart() {
        for clients in [1, 2, 3, 7, 50] {
            let mut seen = BTreeSet::new();
            for client in 0..clients {
                let mut stripe = Stripe::of(client, clients, 101);
                for at in 0..stripe.count {
                    assert!(seen.insert(stripe.number(at)));
                }
                for _ in 0..5 {
                    let number = stripe.grow();
                    assert!(number >= 101);
                    assert!(seen.insert(number), "{number} was inserted by another client");
                }
            }
            assert_eq!(seen.range(..101).count(), 101);
        }
    }

    #[test]
    fn a_shuffle_has_every_place_once() {
        for count in (1..200).chain([1000, 1024, 9973]) {
            let shuffle = Shuffle::new(count);
            let places: BTreeSet<u64> = (0..count).map(|at| shuffle.place(at)).collect();
            assert_eq!(places.len() as u64, count);
            assert_eq!(places.last(), Some(&(count - 1)));
        }
    }

    fn chosen(kind: Distribution, count: u64, times: u64) -> Vec<u64> {
        let mut chooser = Chooser::new(kind, count, 0.99);
        let mut random = SmallRng::seed_from_u64(7);
        let mut hits = vec![0; usize::try_from(count).unwrap()];
        for _ in 0..times {
            hits[usize::try_from(chooser.choose(count, &mut random)).unwrap()] += 1;
        }
        hits
    }

    #[test]
    fn uniform_keys_are_all_alike() {
        let hits = chosen(Distribution::Uniform, 100, 100_000);
        assert!(hits.iter().all(|&hits| (800..1200).contains(&hits)), "{hits:?}");
    }

    #[test]
    fn sequential_keys_come_round() {
        assert_eq!(chosen(Distribution::Sequential, 10, 35), [4, 4, 4, 4, 4, 3, 3, 3, 3, 3]);
    }

    /// The n-th most popular of 1000 keys has 1 / n^0.99 of the first one's requests; all together are one.
    #[test]
    fn zipfian_keys_are_as_skewed_as_they_should_be_and_scattered() {
        let (count, times) = (1000, 400_000);
        let zeta: f64 = (1..=count).map(|n: u32| f64::from(n).powf(-0.99)).sum();
        let hits = chosen(Distribution::Zipfian, u64::from(count), times);
        let of_rank = |rank: u64| hits[(xxh3_64(&rank.to_le_bytes()) % 1000) as usize];
        // Where two ranks fall on one place, it has the hits of both; the first ranks do not.
        for rank in 0..5 {
            let wanted = times as f64 * (rank as f64 + 1.0).powf(-0.99) / zeta;
            let had = of_rank(rank) as f64;
            assert!((had / wanted - 1.0).abs() < 0.15, "rank {rank}: {had}, not {wanted:.0}");
        }
        let mut places: Vec<usize> = (0..hits.len()).collect();
        places.sort_by_key(|&place| std::cmp::Reverse(hits[place]));
        let half = places[..10].iter().filter(|&&place| place < 500).count();
        assert!((1..=9).contains(&half), "the popular keys lie together: {:?}", &places[..10]);
    }

    #[test]
    fn the_latest_keys_are_the_popular_ones() {
        let hits = chosen(Distribution::Latest, 1000, 100_000);
        assert!(hits[999] > hits[990] && hits[990] > hits[900], "{hits:?}");
        assert!(hits[999] > 10_000);
    }
}
