//! Many cursors as one, and of each key the one version that a reader sees.
//!
//! # Invariants
//! - [`Merge`] yields its sources' entries in the internal order or its exact reverse; no (key, sequence number) is in
//!   two sources.
//! - While a load is pending, and after a failed one, there is no position.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::cursor::{self, Cursor, Direction, Step};
use crate::error::{Error, Result};
use crate::expiry;
use crate::key::{Entry, Kind, SeqNo};

/// Versions of one key stepped over one by one before a seek past the rest of them. A seek costs about this many steps.
const STEPS_BEFORE_SEEK: usize = 16;

/// A buffer that grew above this for one large value is not kept for the next.
const HELD_BYTES_KEPT: usize = 1 << 20;

/// The first 16 bytes of `key` as big-endian numbers, padded with zeros: where these differ, they are ordered as the
/// keys are; where they are equal, nothing is known.
#[inline]
pub(crate) fn prefix(key: &[u8]) -> [u64; 2] {
    let words = |head: &[u8; 16]| {
        let all = u128::from_be_bytes(*head);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
        [(all >> 64) as u64, all as u64]
    };
    if let Some(head) = key.first_chunk::<16>() {
        return words(head);
    }
    let mut head = [0; 16];
    head[..key.len()].copy_from_slice(key);
    words(&head)
}

/// A k-way merge as a loser tree: one comparison per level and step, most of them between two cached prefixes.
#[derive(Debug)]
pub struct Merge<C> {
    direction: Direction,
    sources: Vec<C>,
    /// What each source stands on, in the direction's order; the greatest rank also stands for "at its end".
    ranks: Vec<[u64; 2]>,
    /// `tree[0]` is the winner; `tree[1..]` are the losers of the matches played at inner nodes, whose leaves are
    /// `sources.len()..`.
    tree: Vec<usize>,
    /// Sources whose movement still needs a load.
    pending: Vec<usize>,
    failed: bool,
}

impl<C: Cursor> Merge<C> {
    /// Merges `sources`, all of which move in `direction`.
    pub fn new(sources: Vec<C>, direction: Direction) -> Self {
        Self {
            direction,
            ranks: vec![[u64::MAX; 2]; sources.len()],
            tree: (0..sources.len()).collect(),
            pending: Vec::new(),
            failed: false,
            sources,
        }
    }

    /// What was merged, for whoever closes it.
    pub(crate) fn into_sources(self) -> Vec<C> {
        self.sources
    }

    fn winner(&self) -> Option<usize> {
        if self.failed || !self.pending.is_empty() { None } else { self.tree.first().copied() }
    }

    fn rank(&self, source: usize) -> [u64; 2] {
        let Some(entry) = self.sources[source].entry() else { return [u64::MAX; 2] };
        let [high, low] = prefix(entry.key);
        match self.direction {
            Direction::Forward => [high, low],
            Direction::Backward => [!high, !low],
        }
    }

    /// Whether `left` comes out before `right`.
    #[inline]
    fn beats(&self, left: usize, right: usize) -> bool {
        match self.ranks[left].cmp(&self.ranks[right]) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => self.beats_by_entry(left, right),
        }
    }

    fn beats_by_entry(&self, left: usize, right: usize) -> bool {
        let (left, right) = match (self.sources[left].entry(), self.sources[right].entry()) {
            (Some(left), Some(right)) => (left, right),
            (left, _) => return left.is_some(),
        };
        match self.direction {
            Direction::Forward => left.order(&right).is_lt(),
            Direction::Backward => left.order(&right).is_gt(),
        }
    }

    /// Plays every match.
    fn rebuild(&mut self) {
        let count = self.sources.len();
        for source in 0..count {
            self.ranks[source] = self.rank(source);
        }
        let mut winners = vec![0; 2 * count];
        for leaf in 0..count {
            winners[count + leaf] = leaf;
        }
        for node in (1..count).rev() {
            let (left, right) = (winners[2 * node], winners[2 * node + 1]);
            let left_wins = self.beats(left, right);
            winners[node] = if left_wins { left } else { right };
            self.tree[node] = if left_wins { right } else { left };
        }
        if let (Some(top), Some(&winner)) = (self.tree.first_mut(), winners.get(1)) {
            *top = winner;
        }
    }

    /// Plays the matches on the way up from the winner's leaf, after the winner has moved.
    #[inline]
    fn replay(&mut self, source: usize) {
        self.ranks[source] = self.rank(source);
        let mut winner = source;
        let mut node = usize::midpoint(source, self.sources.len());
        while node > 0 {
            if self.beats(self.tree[node], winner) {
                std::mem::swap(&mut self.tree[node], &mut winner);
            }
            node /= 2;
        }
        self.tree[0] = winner;
    }

    /// Loads all pending sources at once: a seek over ten tables waits for the slowest disk read, not for their sum.
    /// Those which are done leave `pending`, so that a dropped future can be begun again.
    async fn load_all(&mut self) -> Result<()> {
        let Self { sources, pending, .. } = self;
        if let [source] = pending[..] {
            sources[source].load().await?;
            pending.clear();
            return Ok(());
        }
        let mut loads = Vec::with_capacity(pending.len());
        for (source, cursor) in sources.iter_mut().enumerate() {
            if pending.contains(&source) {
                loads.push((source, Box::pin(cursor.load())));
            }
        }
        let mut failure = None;
        poll_fn(move |context| poll_loads(&mut loads, pending, &mut failure, context)).await
    }
}

/// Polls each load that is not done; ready when none is left. After a failure the others are still awaited: an
/// operation in flight is not to be dropped.
fn poll_loads<F: Future<Output = Result<()>>>(
    loads: &mut Vec<(usize, Pin<Box<F>>)>,
    pending: &mut Vec<usize>,
    failure: &mut Option<Error>,
    context: &mut Context<'_>,
) -> Poll<Result<()>> {
    let mut index = 0;
    while let Some((source, load)) = loads.get_mut(index) {
        let Poll::Ready(loaded) = load.as_mut().poll(context) else {
            index += 1;
            continue;
        };
        if let Err(error) = loaded {
            failure.get_or_insert(error);
        }
        pending.retain(|other| other != source);
        drop(loads.swap_remove(index));
    }
    if !loads.is_empty() {
        return Poll::Pending;
    }
    Poll::Ready(failure.take().map_or(Ok(()), Err))
}

impl<C: Cursor> Cursor for Merge<C> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.sources[self.winner()?].entry()
    }

    fn seek(&mut self, key: Option<&[u8]>) -> Step {
        if self.failed {
            return Step::Ready;
        }
        self.pending.clear();
        for (source, cursor) in self.sources.iter_mut().enumerate() {
            if cursor.seek(key) == Step::Load {
                self.pending.push(source);
            }
        }
        if !self.pending.is_empty() {
            return Step::Load;
        }
        self.rebuild();
        Step::Ready
    }

    #[inline]
    fn step(&mut self) -> Step {
        let winner = self.winner().expect("a step needs a position");
        match self.sources[winner].step() {
            Step::Ready => {
                self.replay(winner);
                Step::Ready
            }
            Step::Load => {
                self.pending.push(winner);
                Step::Load
            }
        }
    }

    async fn load(&mut self) -> Result<()> {
        if let Err(error) = self.load_all().await {
            self.failed = true;
            return Err(error);
        }
        assert!(self.pending.is_empty());
        if !self.failed {
            self.rebuild();
        }
        Ok(())
    }
}

/// Whether a key whose visible version is a tombstone, or has expired, is yielded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tombstones {
    /// Yielded: a compaction above other levels.
    Show,
    /// Passed over: a reader.
    Hide {
        /// The reader's time, in milliseconds since 1970.
        now_ms: u64,
    },
}

impl Tombstones {
    #[inline]
    fn hides(self, kind: Kind, stored: &[u8]) -> bool {
        match self {
            Self::Show => false,
            Self::Hide { now_ms } => expiry::live(kind, stored, || now_ms).is_none(),
        }
    }
}

/// Of each key the newest version at or below a sequence number, in either direction.
///
/// Cost: a step of the cursor per version passed; long tails of versions that cannot be the answer are passed by a seek.
/// Backward the visible version comes after all older ones, so keys and values are copied once per candidate.
/// Suspends only where the cursor needs a load. After an error, or a future dropped before its end, there is no
/// position: after the latter, seek again.
#[derive(Debug)]
pub struct Newest<C> {
    cursor: C,
    direction: Direction,
    at: SeqNo,
    tombstones: Tombstones,
    standing: bool,
    /// Forward: scratch for the key whose other versions are passed over. Backward: the key stood on.
    key: Vec<u8>,
    /// Backward: the version stood on; the cursor is already behind it.
    held: Option<Held>,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    seq: SeqNo,
    kind: Kind,
}

impl<C: Cursor> Newest<C> {
    /// Sees the versions of `cursor`, which moves in `direction`, as of `at`. Without a position until the first seek.
    pub fn new(cursor: C, direction: Direction, at: SeqNo, tombstones: Tombstones) -> Self {
        Self {
            cursor,
            direction,
            at,
            tombstones,
            standing: false,
            key: Vec::new(),
            held: None,
            value: Vec::new(),
        }
    }

    /// What it moves over, for whoever closes that.
    pub(crate) fn into_cursor(self) -> C {
        self.cursor
    }

    /// The version stood on; `None` at the end.
    #[inline]
    pub fn entry(&self) -> Option<Entry<'_>> {
        if !self.standing {
            return None;
        }
        match (self.direction, self.held) {
            (Direction::Forward, _) => self.cursor.entry(),
            (Direction::Backward, Some(Held { seq, kind })) => {
                Some(Entry { key: &self.key, seq, kind, value: &self.value })
            }
            (Direction::Backward, None) => None,
        }
    }

    /// Forward: to the first visible key >= `key`. Backward: to the last visible key < `key`. `None`: to the very first
    /// in the direction.
    ///
    /// # Errors
    /// See [`Cursor::load`].
    pub async fn seek(&mut self, key: Option<&[u8]>) -> Result<()> {
        self.standing = false;
        cursor::seek(&mut self.cursor, key).await?;
        self.settle().await
    }

    /// To the next visible key. Must stand on one.
    ///
    /// # Errors
    /// See [`Cursor::load`].
    pub async fn next(&mut self) -> Result<()> {
        assert!(self.standing, "next needs a position");
        self.standing = false;
        if self.direction == Direction::Forward {
            self.leave_key().await?;
        }
        self.settle().await
    }

    async fn settle(&mut self) -> Result<()> {
        match self.direction {
            Direction::Forward => self.settle_forward().await,
            Direction::Backward => self.settle_backward().await,
        }
    }

    /// From the newest version of a key to the first version at or below `at`, of this key or a later one.
    async fn settle_forward(&mut self) -> Result<()> {
        while let Some(entry) = self.cursor.entry() {
            if entry.seq > self.at {
                cursor::step(&mut self.cursor).await?;
            } else if self.tombstones.hides(entry.kind, entry.value) {
                self.leave_key().await?;
            } else {
                self.standing = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// From the oldest version of a key to the first version of the next one, until a key had a visible version; holds that.
    async fn settle_backward(&mut self) -> Result<()> {
        self.held = None;
        while let Some(entry) = self.cursor.entry() {
            replace(&mut self.key, entry.key);
            while let Some(entry) = self.cursor.entry()
                && entry.key == self.key
            {
                if entry.seq > self.at {
                    // All that follow are newer still.
                    self.pass_versions().await?;
                    break;
                }
                replace(&mut self.value, entry.value);
                self.held = Some(Held { seq: entry.seq, kind: entry.kind });
                cursor::step(&mut self.cursor).await?;
            }
            self.held = self.held.filter(|held| !self.tombstones.hides(held.kind, &self.value));
            if self.held.is_some() {
                self.standing = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Forward, from any version of a key to the next key.
    async fn leave_key(&mut self) -> Result<()> {
        let Some(entry) = self.cursor.entry() else { return Ok(()) };
        replace(&mut self.key, entry.key);
        self.pass_versions().await
    }

    /// From a version of `self.key` to the first entry of another key.
    async fn pass_versions(&mut self) -> Result<()> {
        for _ in 0..STEPS_BEFORE_SEEK {
            cursor::step(&mut self.cursor).await?;
            if self.cursor.entry().is_none_or(|entry| entry.key != self.key) {
                return Ok(());
            }
        }
        match self.direction {
            Direction::Forward => {
                // The least key above this one.
                self.key.push(0);
                cursor::seek(&mut self.cursor, Some(&self.key)).await
            }
            Direction::Backward => cursor::seek(&mut self.cursor, Some(&self.key)).await,
        }
    }
}

/// `buffer` = `bytes`, without keeping memory that only one large value needed.
fn replace(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if buffer.capacity() > HELD_BYTES_KEPT && bytes.len() <= HELD_BYTES_KEPT {
        *buffer = Vec::new();
    }
    buffer.clear();
    buffer.extend_from_slice(bytes);
}
