//! Questions to all cores for one command, and their answers (`crate::ask`).

use shard::key::SeqNo;

use super::Worker;
use crate::ask::{Answer, Ask, Finish};
use crate::mesh::{ConnRef, Message};
use crate::pubsub::Kind;
use crate::reply::Sink;
use crate::slab::Key;

impl Worker {
    /// Asks this core and `others` for connection `key`; the reply is what `finish` makes of all answers.
    pub(super) fn ask(
        &mut self,
        key: Key,
        others: impl IntoIterator<Item = usize>,
        ask: &Ask,
        finish: Finish,
    ) {
        let first = self.answer(ask);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let mut hole = None;
        let mut open = 0;
        for core in others {
            if core == self.index {
                continue;
            }
            let hole = *hole.get_or_insert_with(|| conn.replies.hole(0));
            let from = ConnRef { core: u32::try_from(self.index).unwrap_or(u32::MAX), key };
            self.mesh.send(core, Message::Ask(Some((from, hole)), Box::new(ask.clone())));
            open += 1;
        }
        if let Some(hole) = hole {
            let is_publish = matches!(ask, Ask::Publish(_));
            conn.asks.begin(hole, open, first, is_publish, finish);
        } else {
            conn.replies.buffer().extend_from_slice(&finish(vec![first]));
            conn.replies.done(SeqNo(0));
        }
    }

    /// Asks all cores.
    pub(super) fn ask_all(&mut self, key: Key, ask: &Ask, finish: Finish) {
        self.ask(key, 0..self.shared.cores, ask, finish);
    }

    /// A question of another core.
    pub(super) fn asked(&mut self, from: Option<(ConnRef, u32)>, ask: &Ask) {
        let answer = self.answer(ask);
        if let Some((ConnRef { core, key }, hole)) = from {
            self.mesh.send(core as usize, Message::Answer(key, hole, Box::new(answer)));
        }
    }

    /// An answer of another core.
    pub(super) fn answered(&mut self, key: Key, hole: u32, answer: Answer) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(reply) = conn.asks.take(hole, answer) {
            conn.replies.fill(hole, reply.into(), SeqNo(0));
            self.flush(key);
        }
    }

    /// What this core says.
    fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Publish(published) => Answer::Count(self.deliver_message(published)),
            Ask::Names(kind, pattern) => Answer::Names(self.names(*kind, pattern.as_deref())),
            Ask::Clients(filter) => Answer::Lines(self.client_lines(filter)),
            Ask::Kill(filter, asker) => Answer::Count(self.kill_clients(filter, *asker)),
            Ask::Pause { millis, all } => {
                self.pause(*millis, *all);
                Answer::Count(0)
            }
            Ask::Unpause => {
                self.unpause();
                Answer::Count(0)
            }
            Ask::Slowest(count) => {
                self.keep_slow();
                Answer::Slow(self.slowlog.newest(*count))
            }
            Ask::SlowCount => {
                self.keep_slow();
                Answer::Count(self.slowlog.len() as u64)
            }
            Ask::ForgetSlow => {
                self.keep_slow();
                self.slowlog.clear();
                Answer::Count(0)
            }
            Ask::NoteSlow(key, note) => {
                self.hear_slow(*key, (**note).clone());
                Answer::Count(0)
            }
            Ask::Series => {
                self.keep_slow();
                Answer::Series(Box::new(self.series.clone()))
            }
            Ask::ForgetSeries(names) => Answer::Names(self.forget_series(names)),
            Ask::Monitored(lines) => {
                self.show_monitors(lines);
                Answer::Count(0)
            }
            Ask::Listeners(kind, names) => Answer::Counts(self.listeners(*kind, names)),
        }
    }

    fn listeners(&self, kind: Kind, names: &[bytes::Bytes]) -> Vec<u64> {
        names.iter().map(|name| self.registry.listeners(kind, name).len() as u64).collect()
    }
}
