//! Values that travel between cores, for commands over keys of several shards.
//!
//! ```text
//! values = presence u8 | (present only) expires_at_ms u64 LE | length u32 LE | bytes      for each key that was asked for
//! writes = key | value | 0 if it is to be removed, else 1 and expires_at_ms u64 LE        three words for each key
//! ```

use std::collections::HashMap;

use super::{Change, NewValue, Outcome, Source, Stop, Txn, Value, is_past};
use crate::resp::{Args, OwnedArgs, writer};

/// The values of keys, as a reply that only our own cores see.
pub(super) fn read(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    for key in args.iter().skip(1) {
        txn.look(key, |value| match value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                out.extend_from_slice(&value.expires_at_ms.to_le_bytes());
                let len = u32::try_from(value.bytes.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(value.bytes);
            }
        })?;
    }
    Ok(())
}

pub(super) fn write(txn: &mut Txn<'_>, args: Args<'_>, out: &mut Vec<u8>) -> Outcome {
    for at in (1..args.len()).step_by(3) {
        let (key, value) = (args.arg(at), args.arg(at + 1));
        match args.arg(at + 2).split_first_chunk::<1>() {
            Some(([1], expiry)) => {
                let expires_at_ms = u64::from_le_bytes(expiry.try_into().unwrap_or_default());
                txn.put("set", key, value.to_vec(), expires_at_ms)?;
            }
            _ => txn.remove_unseen(key),
        }
    }
    writer::ok(out);
    Ok(())
}

/// The words of a change, behind those that are there.
pub(crate) fn write_words(change: &Change, words: &mut OwnedArgs) {
    words.push(&change.key);
    if let Some((value, expires_at_ms)) = &change.new {
        words.push(value);
        let mut kind = vec![1];
        kind.extend_from_slice(&expires_at_ms.to_le_bytes());
        words.push(&kind);
    } else {
        words.push(b"");
        words.push(&[0]);
    }
}

/// Values that have come from several shards.
#[derive(Debug, Default)]
pub(crate) struct Values {
    by_key: HashMap<Box<[u8]>, Option<NewValue>>,
    pub(crate) now_ms: u64,
}

impl Values {
    /// What [`read`] has written for `keys`.
    pub(crate) fn add<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, mut reply: &[u8]) {
        for key in keys {
            let value = take(&mut reply).expect("our own cores answer for each key");
            self.by_key.insert(key.into(), value);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.by_key.values().flatten().map(|(bytes, _)| bytes.len()).sum()
    }
}

#[expect(clippy::option_option, reason = "outer: the bytes end; inner: there is no value")]
fn take(reply: &mut &[u8]) -> Option<Option<NewValue>> {
    let (presence, rest) = reply.split_first()?;
    *reply = rest;
    if *presence == 0 {
        return Some(None);
    }
    let (expires, rest) = reply.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *reply = rest;
    Some(Some((bytes.to_vec(), u64::from_le_bytes(*expires))))
}

impl Source for Values {
    fn read(&mut self, key: &[u8], see: &mut dyn FnMut(Option<Value<'_>>)) -> Outcome {
        let Some(value) = self.by_key.get(key) else { return Err(Stop::Fetch) };
        let value = value.as_ref().filter(|(_, at)| !is_past(*at, self.now_ms));
        see(value.map(|(bytes, expires_at_ms)| Value { bytes, expires_at_ms: *expires_at_ms }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::Context;
    use crate::resp::Protocol;

    fn context() -> Context {
        Context {
            protocol: Protocol::Resp2,
            now_ms: 1000,
            value_bytes_max: 1 << 20,
            notifies: false,
        }
    }

    #[test]
    fn values_and_changes_survive_their_way() {
        let mut there = Values { now_ms: 1000, ..Values::default() };
        there.by_key.insert(b"a"[..].into(), Some((b"x\r\ny".to_vec(), 0)));
        there.by_key.insert(b"b"[..].into(), None);
        there.by_key.insert(b"c"[..].into(), Some((Vec::new(), 5000)));
        there.by_key.insert(b"d"[..].into(), Some((b"old".to_vec(), 999)));
        let asked: OwnedArgs = [&b"READ"[..], b"a", b"b", b"c", b"d"].into_iter().collect();
        let mut reply = Vec::new();
        read(&mut Txn::new(&mut there, context()), asked.args(), &mut reply).unwrap();
        let mut here = Values::default();
        here.add(asked.args().iter().skip(1), &reply);
        assert_eq!(here.by_key[&b"a"[..]], Some((b"x\r\ny".to_vec(), 0)));
        assert_eq!(here.by_key[&b"b"[..]], None);
        assert_eq!(here.by_key[&b"c"[..]], Some((Vec::new(), 5000)));
        assert_eq!(here.by_key[&b"d"[..]], None, "it has expired");

        let changes = [
            Change { key: b"a".to_vec(), new: None },
            Change { key: b"b".to_vec(), new: Some((b"new".to_vec(), 7000)) },
        ];
        let mut words: OwnedArgs = [&b"WRITE"[..]].into_iter().collect();
        for change in &changes {
            write_words(change, &mut words);
        }
        let mut txn = Txn::new(&mut here, context());
        let mut reply = Vec::new();
        write(&mut txn, words.args(), &mut reply).unwrap();
        assert_eq!(txn.into_changes().iter().cloned().collect::<Vec<_>>(), changes);
    }
}
