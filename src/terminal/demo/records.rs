//! What is written, by number and version, and what must therefore be there. A write counts once its OK was read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::DemoError;
use crate::client::{Client, ClientError, Reply};

/// Commands that are under way at a time.
const UNDER_WAY_MAX: usize = 256;

/// Keys that are asked for at a time.
const KEYS_AT_ONCE: u32 = 256;

/// Bytes of a value, about.
const VALUE_BYTES: usize = 100;

/// The version of each record that was acknowledged last; 0: deleted, or never written.
#[derive(Debug, Clone)]
pub(super) struct Records(Vec<u32>);

/// What was there of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) values: u64,
    pub(super) absent: u64,
    pub(super) in_doubt_there: u64,
    pub(super) lost: u64,
}

fn key(number: u32) -> String {
    format!("record:{number:07}")
}

/// Made of number and version alone, so that none need be kept.
fn value(number: u32, version: u32) -> String {
    let mut value = format!("record {number} version {version} ");
    let mut state =
        (u64::from(number) << 32 | u64::from(version)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while value.len() < VALUE_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let letter = u8::try_from(state >> 59).unwrap_or(0).min(25);
        value.push(char::from(b'a' + letter));
    }
    value
}

impl Records {
    pub(super) fn new(count: u32) -> Self {
        Self(vec![0; count as usize])
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn acknowledged(&mut self, write: Write) {
        self.0[write.number as usize] = write.version;
    }

    /// Writes version after version of all records until the connection breaks. Answers what the server refused, if that ended it.
    pub(super) fn overwrite_for_ever(
        &mut self,
        writer: &mut Writer,
        acknowledged: &AtomicU64,
    ) -> Reply {
        let count = self.count();
        for version in 3.. {
            for number in 0..count {
                match writer.set(self, number, version) {
                    Ok(()) => acknowledged.store(writer.acknowledged, Ordering::Relaxed),
                    Err(DemoError::Refused(text)) => return Reply::Error(text),
                    Err(_) => {
                        acknowledged.store(writer.acknowledged, Ordering::Relaxed);
                        return Reply::Nil;
                    }
                }
            }
        }
        Reply::Nil
    }

    /// Reads every record. Those `in_doubt` may have a newer version, which was sent.
    pub(super) fn compare(
        &self,
        client: &mut Client,
        in_doubt: &[u32],
        mut look: impl FnMut() -> Result<(), DemoError>,
    ) -> Result<Found, DemoError> {
        let mut found = Found::default();
        for first in (0..self.count()).step_by(KEYS_AT_ONCE as usize) {
            look()?;
            let end = self.count().min(first + KEYS_AT_ONCE);
            for number in first..end {
                client.queue(&["GET", &key(number)]);
            }
            client.send()?;
            for number in first..end {
                self.judge(number, &client.receive()?, in_doubt.contains(&number), &mut found)?;
            }
        }
        Ok(found)
    }

    fn judge(
        &self,
        number: u32,
        reply: &Reply,
        is_in_doubt: bool,
        found: &mut Found,
    ) -> Result<(), DemoError> {
        let version = self.0[number as usize];
        let is = |version: u32| reply.bytes() == Some(value(number, version).as_bytes());
        match reply {
            Reply::Error(text) => return Err(DemoError::Refused(text.clone())),
            Reply::Nil if version == 0 => found.absent += 1,
            Reply::Bulk(_) if version > 0 && is(version) => found.values += 1,
            // The next version: of a record that was not written in this round, the round's.
            Reply::Bulk(bytes) if is_in_doubt && is_newer(number, version, bytes) => {
                found.in_doubt_there += 1;
            }
            _ => found.lost += 1,
        }
        Ok(())
    }
}

/// Whether these bytes are a whole version that was written later.
fn is_newer(number: u32, version: u32, bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let written = text.split(' ').nth(3).and_then(|version| version.parse::<u32>().ok());
    written.is_some_and(|written| written > version && value(number, written).as_bytes() == bytes)
}

#[derive(Debug, Clone, Copy)]
struct Write {
    number: u32,
    /// 0: a delete.
    version: u32,
}

/// Writes with some commands under way, and knows which were answered.
pub(super) struct Writer {
    client: Client,
    sent: VecDeque<Write>,
    acknowledged: u64,
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self { client, sent: VecDeque::new(), acknowledged: 0 }
    }

    /// # Errors
    /// The connection breaks, or a write is refused.
    pub(super) fn set(
        &mut self,
        records: &mut Records,
        number: u32,
        version: u32,
    ) -> Result<(), DemoError> {
        self.client.queue(&["SET", &key(number), &value(number, version)]);
        self.under_way(records, Write { number, version })
    }

    /// # Errors
    /// As [`Writer::set`].
    pub(super) fn delete(&mut self, records: &mut Records, number: u32) -> Result<(), DemoError> {
        self.client.queue(&["DEL", &key(number)]);
        self.under_way(records, Write { number, version: 0 })
    }

    fn under_way(&mut self, records: &mut Records, write: Write) -> Result<(), DemoError> {
        self.sent.push_back(write);
        if self.sent.len() >= UNDER_WAY_MAX {
            self.client.send()?;
            // Half of them stay under way, so that the server always has something to do.
            self.receive(records, UNDER_WAY_MAX / 2)?;
        }
        Ok(())
    }

    /// Waits for all that is under way.
    ///
    /// # Errors
    /// As [`Writer::set`].
    pub(super) fn finish(&mut self, records: &mut Records) -> Result<(), DemoError> {
        self.client.send()?;
        self.receive(records, 0)
    }

    fn receive(&mut self, records: &mut Records, left: usize) -> Result<(), DemoError> {
        while self.sent.len() > left {
            let reply =
                self.client.receive().map_err(|error: ClientError| DemoError::Client(error))?;
            if let Reply::Error(text) = reply {
                return Err(DemoError::Refused(text));
            }
            let Some(write) = self.sent.pop_front() else { unreachable!("it was counted") };
            records.acknowledged(write);
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// Records whose writes were sent and not answered.
    pub(super) fn into_sent(self) -> Vec<u32> {
        self.sent.into_iter().map(|write| write.number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_judged() {
        let records = Records(vec![0, 1, 2]);
        let mut found = Found::default();
        let reply = |number, version| Reply::Bulk(value(number, version).into_bytes());
        for (number, reply, is_in_doubt) in [
            (0, Reply::Nil, false),
            (1, reply(1, 1), false),
            (2, reply(2, 3), true),
            // Lost: an old version, another record's value, a torn one, an absent one, a newer one that nobody sent.
            (2, reply(2, 1), true),
            (1, reply(2, 1), false),
            (2, Reply::Bulk(value(2, 3).as_bytes()[..50].to_vec()), true),
            (1, Reply::Nil, false),
            (1, reply(1, 2), false),
        ] {
            records.judge(number, &reply, is_in_doubt, &mut found).unwrap();
        }
        assert_eq!(found, Found { values: 1, absent: 1, in_doubt_there: 1, lost: 5 });
    }

    #[test]
    fn values_differ() {
        assert!(value(1, 1) != value(1, 2) && value(1, 1) != value(2, 1));
        assert_eq!(value(7, 1).len(), VALUE_BYTES);
    }
}
