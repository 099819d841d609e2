//! The steps of a command over keys of several shards (see [`crate::multishard`]).

use super::Worker;
use crate::command::CommandId;
use crate::gather::{GATHERED_GATE, Rule};
use crate::mesh::{ConnRef, Message, Request};
use crate::multishard::{Reading, Writing};
use crate::slab::Key;

/// What has come.
#[derive(Debug)]
pub(super) enum Step {
    /// All values.
    Read(Box<Reading>),
    /// The acknowledgement of all changes that were sent.
    Written(Box<Writing>),
}

impl Worker {
    /// The command whose reply hole `hole` of connection `key` waits for goes on.
    pub(super) fn go_on_multishard(&mut self, key: Key, hole: u32, step: Step) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let (parts, writing) = match step {
            Step::Read(reading) => {
                reading.run(self.executor.context(conn.session.protocol), &self.slots)
            }
            Step::Written(mut writing) => (std::mem::take(&mut writing.removals), *writing),
        };
        if parts.is_empty() {
            conn.replies.fill(hole, writing.reply, GATHERED_GATE);
            return;
        }
        conn.gathers.begin(hole, parts.len(), Rule::Write(Box::new(writing)));
        let protocol = conn.session.protocol;
        let head = conn.replies.first_open_hole().unwrap_or_default();
        for (core, words) in parts {
            let from = ConnRef { core: u32::try_from(self.index).unwrap_or(u32::MAX), key };
            let mut request = Request::new(from);
            request.head = head;
            let id = CommandId::InternalWrite;
            request.push(id, protocol, (hole, false), words.args().iter());
            self.send_request(core, Box::new(request));
        }
    }

    /// To the shard of `core`, which may be this one.
    pub(super) fn send_request(&mut self, core: usize, request: Box<Request>) {
        let message = Message::Request(request);
        if core == self.index {
            self.received(message);
        } else {
            self.mesh.send(core, message);
        }
    }
}
