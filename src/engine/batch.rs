//! Writes that are made together.

use std::ops::Range;
use std::time::Duration;

use shard::batch::Op;

/// When a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Never,
    /// In so many milliseconds from the moment at which its shard takes it.
    In(u64),
    /// At so many milliseconds since 1970.
    At(u64),
}

#[derive(Debug, Clone)]
struct Planned {
    key: Range<usize>,
    /// `None`: the key is removed.
    value: Option<(Range<usize>, Ends)>,
}

/// Writes that are made together, in order: the last one of a key counts.
///
/// All of one shard are atomic: readers see all of them or none, and so does a crash. Across shards each shard's part is made
/// by itself. Keys with the same hash tag (`{user:1}:name`, `{user:1}:mail`) are of one shard.
///
/// ```
/// # let dir = tempfile::tempdir_in(".")?;
/// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
/// use std::time::Duration;
/// use rusty_lsm::WriteBatch;
///
/// let mut batch = WriteBatch::new();
/// batch.put(b"{user:1}:name", b"Ada");
/// batch.put_with_ttl(b"{user:1}:session", b"f00", Duration::from_secs(3600));
/// batch.delete(b"{user:1}:invitation");
/// engine.write(batch)?;
/// assert_eq!(engine.get(b"{user:1}:name")?.as_deref(), Some(&b"Ada"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Memory: the keys and values, and 64 bytes for each write. The part of one shard has at most 513 MiB.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    writes: Vec<Planned>,
}

impl WriteBatch {
    /// Nothing to write yet.
    ///
    /// ```
    /// let batch = rusty_lsm::WriteBatch::new();
    /// assert!(batch.is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    ///
    /// ```
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put(b"a", b"1");
    /// assert_eq!((batch.len(), batch.bytes()), (1, 2));
    /// ```
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(key, Some((value, Ends::Never)));
    }

    /// Sets `key` to `value` until `ttl` is over, counted from the moment at which the shard takes the write.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// use std::time::Duration;
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put_with_ttl(b"session", b"f00", Duration::from_secs(3600));
    /// engine.write(batch)?;
    /// assert!(engine.expires_at(b"session")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_with_ttl(&mut self, key: &[u8], value: &[u8], ttl: Duration) {
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.push(key, Some((value, Ends::In(ms))));
    }

    /// Sets `key` to `value` until `expires_at_ms`, milliseconds since 1970 (0: for ever). A time that is over makes the key
    /// absent.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put_until(b"offer", b"-20 %", 4_102_444_800_000); // until 2100
    /// batch.put_until(b"old offer", b"-10 %", 946_684_800_000); // until 2000
    /// engine.write(batch)?;
    /// assert!(engine.get(b"offer")?.is_some());
    /// assert_eq!(engine.get(b"old offer")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_until(&mut self, key: &[u8], value: &[u8], expires_at_ms: u64) {
        let ends = if expires_at_ms == 0 { Ends::Never } else { Ends::At(expires_at_ms) };
        self.push(key, Some((value, ends)));
    }

    /// Removes `key`, whether it is there or not.
    ///
    /// ```
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.delete(b"a");
    /// assert!(!batch.is_empty());
    /// ```
    pub fn delete(&mut self, key: &[u8]) {
        self.push(key, None);
    }

    /// Writes in it.
    ///
    /// ```
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put(b"a", b"1");
    /// batch.delete(b"a");
    /// assert_eq!(batch.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there is nothing to write.
    ///
    /// ```
    /// assert!(rusty_lsm::WriteBatch::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values: a batch of some hundred KB is as fast as they get.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in(".")?;
    /// # let engine = rusty_lsm::Engine::open(dir.path(), 64 << 20)?;
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// for number in 0..10_000_u32 {
    ///     batch.put(&number.to_be_bytes(), b"value");
    ///     if batch.bytes() >= 256 << 10 {
    ///         engine.write(std::mem::take(&mut batch))?;
    ///     }
    /// }
    /// engine.write(batch)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes all writes out; the memory is kept for the next ones.
    ///
    /// ```
    /// let mut batch = rusty_lsm::WriteBatch::new();
    /// batch.put(b"a", b"1");
    /// batch.clear();
    /// assert_eq!((batch.len(), batch.bytes()), (0, 0));
    /// ```
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
    }

    fn push(&mut self, key: &[u8], value: Option<(&[u8], Ends)>) {
        let key = self.copy(key);
        let value = value.map(|(value, ends)| (self.copy(value), ends));
        self.writes.push(Planned { key, value });
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// The keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.writes.iter().map(|write| &self.bytes[write.key.clone()])
    }

    /// The writes at `places`, or all, for a shard whose clock says `now_ms`.
    pub(super) fn ops(&self, places: Option<&[usize]>, now_ms: u64) -> Vec<Op<'_>> {
        let op = |write: &Planned| {
            let key = &self.bytes[write.key.clone()];
            match &write.value {
                None => Op::Delete { key },
                Some((value, ends)) => {
                    let expires_at_ms = ends.at_ms(now_ms);
                    Op::Put { key, value: &self.bytes[value.clone()], expires_at_ms }
                }
            }
        };
        match places {
            None => self.writes.iter().map(op).collect(),
            Some(places) => places.iter().map(|place| op(&self.writes[*place])).collect(),
        }
    }
}

impl Ends {
    /// Milliseconds since 1970; 0: never. No later than Redis' commands can say.
    fn at_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Never => 0,
            Self::In(ms) => now_ms.saturating_add(ms).clamp(1, i64::MAX.cast_unsigned()),
            Self::At(at_ms) => at_ms.min(i64::MAX.cast_unsigned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_its_writes_in_order() {
        let mut batch = WriteBatch::new();
        batch.put(b"a", b"1");
        batch.put_with_ttl(b"", b"", Duration::from_secs(2));
        batch.delete(b"a");
        batch.put_with_ttl(b"b", b"x", Duration::MAX);
        batch.put_until(b"c", b"y", 7);
        assert_eq!(batch.keys().collect::<Vec<_>>(), [&b"a"[..], b"", b"a", b"b", b"c"]);
        let last = i64::MAX.cast_unsigned();
        let all = [
            Op::Put { key: b"a", value: b"1", expires_at_ms: 0 },
            Op::Put { key: b"", value: b"", expires_at_ms: 2_500 },
            Op::Delete { key: b"a" },
            Op::Put { key: b"b", value: b"x", expires_at_ms: last },
            Op::Put { key: b"c", value: b"y", expires_at_ms: 7 },
        ];
        assert_eq!(batch.ops(None, 500), all);
        assert_eq!(batch.ops(Some(&[2, 0]), 500), [all[2], all[0]]);
        batch.clear();
        assert!(batch.is_empty() && batch.bytes() == 0);
    }
}
