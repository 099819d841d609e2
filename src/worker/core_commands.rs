//! Commands that the core itself carries out ([`Place::Core`](crate::command::Place)): they see its connections, and send
//! to other cores.
//!
//! A round ends with such a command: the commands before it have been sent off, and those behind it go on in the next pass.

use shard::key::SeqNo;

use super::late::LateReply;
use super::{Worker, late::rewrite_failed};
use crate::command::{CommandError, CommandId, Spec};
use crate::reply::Sink;
use crate::resp::Args;
use crate::slab::Key;

impl Worker {
    /// Carries out the command that the round of connection `key` has ended with, if it has.
    pub(super) fn run_for_core(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some((spec, args)) = conn.for_core.take() else { return };
        if let Err(error) = self.run_core_command(key, spec, args.args())
            && let Some(conn) = self.conns.get_mut(key)
        {
            error.write(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
        }
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.queued
            && conn.has_commands()
        {
            conn.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Appends the reply, or makes a hole for it.
    #[expect(clippy::match_single_binding, clippy::unused_self, reason = "there is none yet")]
    fn run_core_command(
        &mut self,
        key: Key,
        spec: &'static Spec,
        _args: Args<'_>,
    ) -> Result<(), CommandError> {
        match spec.id {
            CommandId::ConfigRewrite => {
                let outcome =
                    self.shared.live.rewrite().map_err(|problem| rewrite_failed(&problem))?;
                self.answer_when(key, LateReply::Rewrite(outcome));
                Ok(())
            }
            _ => unreachable!("{} is not for the core", spec.name),
        }
    }
}
