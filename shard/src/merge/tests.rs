//! Model: sorted vectors. The sources answer `Load` at random, and their loads suspend a few times.
#![expect(clippy::disallowed_types, reason = "the strategies of proptest share by Arc")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;

use proptest::prelude::*;

use super::*;

type Version = (Vec<u8>, u64, Kind, Vec<u8>);

/// A cursor over a sorted vector.
#[derive(Debug)]
struct Source {
    versions: Rc<Vec<Version>>,
    direction: Direction,
    /// Index of the entry stood on; outside: the end.
    index: usize,
    /// Bit k: the k-th movement needs a load.
    lazy: u64,
    moves: u32,
    loading: bool,
    /// How many times a load suspends.
    suspensions: usize,
    broken: bool,
}

impl Source {
    fn new(versions: Vec<Version>, direction: Direction, lazy: u64) -> Self {
        let index = usize::MAX;
        let versions = Rc::new(versions);
        Self {
            versions,
            direction,
            index,
            lazy,
            moves: 0,
            loading: false,
            suspensions: 2,
            broken: false,
        }
    }

    fn moved(&mut self, index: usize) -> Step {
        self.index = index;
        self.loading = self.lazy.rotate_right(self.moves) & 1 == 1;
        self.moves += 1;
        if self.loading { Step::Load } else { Step::Ready }
    }
}

impl Cursor for Source {
    fn entry(&self) -> Option<Entry<'_>> {
        assert!(!self.loading, "no one may look while a load is pending");
        let (key, seq, kind, value) = self.versions.get(self.index)?;
        Some(Entry { key, seq: SeqNo(*seq), kind: *kind, value })
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        let below = key.map(|key| self.versions.partition_point(|version| &version.0[..] < key));
        let index = match self.direction {
            Direction::Forward => below.unwrap_or(0),
            Direction::Backward => below.unwrap_or(self.versions.len()).wrapping_sub(1),
        };
        self.moved(index)
    }

    fn step(&mut self) -> Step {
        assert!(self.entry().is_some());
        let index = match self.direction {
            Direction::Forward => self.index + 1,
            Direction::Backward => self.index.wrapping_sub(1),
        };
        self.moved(index)
    }

    async fn load(&mut self) -> Result<()> {
        assert!(self.loading);
        for _ in 0..self.suspensions {
            suspend().await;
        }
        self.loading = false;
        if self.broken { Err(Error::Closing) } else { Ok(()) }
    }
}

/// Pending once.
async fn suspend() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

/// The result, and how often the future suspended.
fn drive<T>(future: impl Future<Output = T>) -> (T, usize) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for suspended in 0..1000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return (value, suspended);
        }
    }
    panic!("the future never ends");
}

fn merge_seek(merge: &mut Merge<Source>, key: Option<&[u8]>) {
    drive(cursor::seek(merge, key)).0.expect("no source fails");
}

fn rest(merge: &mut Merge<Source>) -> Vec<Version> {
    let mut out = Vec::new();
    while let Some(entry) = merge.entry() {
        out.push((entry.key.to_vec(), entry.seq.0, entry.kind, entry.value.to_vec()));
        drive(cursor::step(merge)).0.expect("no source fails");
    }
    out
}

/// Versions with distinct sequence numbers, each with the number of its source.
fn any_versions() -> impl Strategy<Value = Vec<(Version, usize)>> {
    let byte = || prop::sample::select(vec![0_u8, b'a', 0xff]);
    let key = prop_oneof![
        prop::collection::vec(byte(), 0..3),
        prop::collection::vec(byte(), 0..2).prop_map(|tail| [&[0xff; 16], &tail[..]].concat()),
        Just(b"hot".to_vec()),
    ];
    prop::collection::vec((key, any::<bool>(), 0_usize..9), 0..120).prop_map(|versions| {
        let number = |(index, (key, delete, source)): (usize, (Vec<u8>, bool, usize))| {
            let kind = if delete { Kind::Delete } else { Kind::Put };
            let value = if delete { Vec::new() } else { vec![b'v'; index] };
            ((key, index as u64 + 1, kind, value), source)
        };
        versions.into_iter().enumerate().map(number).collect()
    })
}

fn sorted(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|left, right| left.0.cmp(&right.0).then(right.1.cmp(&left.1)));
    versions
}

fn merge_of(
    versions: &[(Version, usize)],
    count: usize,
    direction: Direction,
    lazy: u64,
) -> Merge<Source> {
    let mut parts = vec![Vec::new(); count];
    for (version, source) in versions {
        if let Some(part) = parts.get_mut(source % count.max(1)) {
            part.push(version.clone());
        }
    }
    let lazy = |part: u32| lazy.rotate_left(13 * part);
    let sources = (0..).zip(parts);
    Merge::new(
        sources
            .map(|(part, versions)| Source::new(sorted(versions), direction, lazy(part)))
            .collect(),
        direction,
    )
}

/// What [`Newest`] yields, by definition.
fn visible(
    versions: &[(Version, usize)],
    at: u64,
    tombstones: Tombstones,
) -> BTreeMap<Vec<u8>, Version> {
    let mut out = BTreeMap::new();
    for (version, _) in versions {
        if version.1 <= at {
            out.insert(version.0.clone(), version.clone());
        }
    }
    out.retain(|_, version| tombstones == Tombstones::Show || version.2 == Kind::Put);
    out
}

fn newest_rest(newest: &mut Newest<Merge<Source>>) -> Vec<Version> {
    let mut out = Vec::new();
    while let Some(entry) = newest.entry() {
        out.push((entry.key.to_vec(), entry.seq.0, entry.kind, entry.value.to_vec()));
        drive(newest.next()).0.expect("no source fails");
    }
    out
}

proptest! {
    #[test]
    fn a_merge_is_the_sorted_union(
        versions in any_versions(),
        count in 0_usize..9,
        lazy in prop_oneof![Just(0_u64), any::<u64>()],
        seeks in prop::collection::vec(prop::option::of(prop::collection::vec(prop::sample::select(vec![0_u8, b'a', 0xff]), 0..3)), 1..4),
    ) {
        let all = if count == 0 { Vec::new() } else { sorted(versions.iter().map(|(version, _)| version.clone()).collect()) };
        let mut forward = merge_of(&versions, count, Direction::Forward, lazy);
        let mut backward = merge_of(&versions, count, Direction::Backward, lazy);
        prop_assert!(forward.entry().is_none() || count > 0);
        for key in &seeks {
            let below = key.as_ref().map(|key| all.partition_point(|version| version.0 < *key));
            merge_seek(&mut forward, key.as_deref());
            prop_assert_eq!(&rest(&mut forward)[..], &all[below.unwrap_or(0)..]);
            merge_seek(&mut backward, key.as_deref());
            let mut reverse = rest(&mut backward);
            reverse.reverse();
            prop_assert_eq!(&reverse[..], &all[..below.unwrap_or(all.len())]);
        }
    }

    #[test]
    fn newest_is_one_visible_version_per_key(
        versions in any_versions(),
        lazy in prop_oneof![Just(0_u64), any::<u64>()],
        at in 0_u64..130,
        key in prop::option::of(prop_oneof![Just(b"hot".to_vec()), prop::collection::vec(prop::sample::select(vec![0_u8, b'a', 0xff]), 0..3)]),
    ) {
        for tombstones in [Tombstones::Show, Tombstones::Hide { now_ms: 0 }] {
            let all = visible(&versions, at, tombstones);
            let from = key.clone().unwrap_or_default();
            let expected: Vec<_> = all.range(from..).map(|(_, version)| version.clone()).collect();
            let merge = merge_of(&versions, 5, Direction::Forward, lazy);
            let mut newest = Newest::new(merge, Direction::Forward, SeqNo(at), tombstones);
            prop_assert_eq!(newest.entry(), None);
            drive(newest.seek(key.as_deref())).0.expect("no source fails");
            prop_assert_eq!(newest_rest(&mut newest), expected);

            let below = all.iter().rev().filter(|(other, _)| key.as_ref().is_none_or(|key| *other < key));
            let expected: Vec<_> = below.map(|(_, version)| version.clone()).collect();
            let merge = merge_of(&versions, 5, Direction::Backward, lazy);
            let mut newest = Newest::new(merge, Direction::Backward, SeqNo(at), tombstones);
            drive(newest.seek(key.as_deref())).0.expect("no source fails");
            prop_assert_eq!(newest_rest(&mut newest), expected);
        }
    }
}

fn version(key: &[u8], seq: u64) -> Version {
    (key.to_vec(), seq, Kind::Put, b"value".to_vec())
}

/// Three sources whose every movement needs a load that suspends five times.
fn slow_merge() -> Merge<Source> {
    let source = |seq| {
        let versions = vec![version(b"a", seq), version(b"b", seq + 10)];
        Source { suspensions: 5, ..Source::new(versions, Direction::Forward, u64::MAX) }
    };
    Merge::new(vec![source(1), source(2), source(3)], Direction::Forward)
}

#[test]
fn loads_of_a_seek_overlap() {
    let mut merge = slow_merge();
    let (result, suspended) = drive(cursor::seek(&mut merge, None));
    result.expect("no source fails");
    assert_eq!(suspended, 5);
    assert_eq!(merge.entry().map(|entry| entry.seq), Some(SeqNo(3)));
}

#[test]
fn a_dropped_load_can_be_begun_again() {
    let mut merge = slow_merge();
    merge.sources[1].suspensions = 1;
    assert_eq!(merge.seek(None), Step::Load);
    {
        let mut load = pin!(merge.load());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(load.as_mut().poll(&mut context).is_pending());
        }
    }
    assert_eq!((merge.pending.clone(), merge.entry()), (vec![0, 2], None));
    drive(merge.load()).0.expect("no source fails");
    assert_eq!(rest(&mut merge).len(), 6);
}

#[test]
fn after_a_failed_load_it_is_at_its_end_for_good() {
    let mut merge = slow_merge();
    merge_seek(&mut merge, None);
    merge.sources[2].broken = true;
    assert_eq!(merge.step(), Step::Load);
    assert!(drive(merge.load()).0.is_err());
    assert_eq!(merge.entry(), None);
    assert_eq!((merge.seek(None), merge.entry()), (Step::Ready, None));
}

#[test]
fn a_failed_load_waits_for_the_others_in_flight() {
    let mut merge = slow_merge();
    merge.sources[1].broken = true;
    merge.sources[1].suspensions = 1;
    assert_eq!(merge.seek(None), Step::Load);
    let (result, suspended) = drive(merge.load());
    assert!(result.is_err());
    assert_eq!(suspended, 5);
    assert!(merge.sources.iter().all(|source| !source.loading));
}

#[test]
fn a_failed_load_of_many_is_reported() {
    let mut merge = slow_merge();
    merge.sources[1].broken = true;
    let mut newest =
        Newest::new(merge, Direction::Forward, SeqNo(9), Tombstones::Hide { now_ms: 0 });
    assert!(drive(newest.seek(None)).0.is_err());
    assert_eq!(newest.entry(), None);
}

#[test]
fn cached_sources_never_suspend() {
    let versions = (0..100_u8)
        .map(|number| (version(&[number], u64::from(number) + 1), usize::from(number) % 9));
    let merge = merge_of(&versions.collect::<Vec<_>>(), 9, Direction::Backward, 0);
    let mut newest =
        Newest::new(merge, Direction::Backward, SeqNo(50), Tombstones::Hide { now_ms: 0 });
    assert_eq!(drive(newest.seek(None)).1, 0);
    for _ in 0..49 {
        assert_eq!(drive(newest.next()).1, 0);
    }
    assert_eq!(newest.entry().map(|entry| entry.seq), Some(SeqNo(1)));
}

#[test]
fn a_long_tail_of_versions_is_passed_by_a_seek() {
    for direction in [Direction::Forward, Direction::Backward] {
        let hot = (1..=1000).map(|seq| (version(b"hot", seq), 0));
        let versions: Vec<_> =
            hot.chain([(version(b"a", 1001), 0), (version(b"z", 1002), 0)]).collect();
        let at = if direction == Direction::Forward { 1002 } else { 1 };
        let mut newest = Newest::new(
            merge_of(&versions, 1, direction, 0),
            direction,
            SeqNo(at),
            Tombstones::Hide { now_ms: 0 },
        );
        drive(newest.seek(None)).0.expect("no source fails");
        while newest.entry().is_some() {
            drive(newest.next()).0.expect("no source fails");
        }
        assert!(
            newest.cursor.sources[0].moves < 30,
            "{direction:?} {}",
            newest.cursor.sources[0].moves
        );
    }
}

#[test]
fn prefixes_are_ordered_as_keys_or_equal() {
    let keys: [&[u8]; 8] =
        [b"", b"\0", b"a", b"a\0", b"b", &[0xff; 16], &[0xff; 17], b"sixteen-bytes-xxy"];
    for left in keys {
        for right in keys {
            let order = prefix(left).cmp(&prefix(right));
            assert!(order.is_eq() || order == left.cmp(right));
        }
    }
    assert_eq!(prefix(b"sixteen-bytes-xxy"), prefix(b"sixteen-bytes-xx"));
}
