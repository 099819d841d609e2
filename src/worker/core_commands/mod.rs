//! Commands that the core itself carries out ([`Place::Core`](crate::command::Place)): they see its connections, and send
//! to other cores.
//!
//! A round ends with such a command. It is run once all that its connection asked before it is done and released, so that
//! what others see of it comes after what they see of that; messages of one connection follow each other without waiting.

mod clients;
mod pubsub;
mod watching;

use shard::key::SeqNo;

use shard::env::Env as _;

use super::Worker;
use super::late::{LateReply, rewrite_failed};
use super::slow::note_run;
use crate::backup::Name;
use crate::command::{CommandError, CommandId, Spec};
use crate::reply::Sink;
use crate::resp::{Args, writer};
use crate::slab::Key;

impl Worker {
    /// Carries out the command that the round of connection `key` has ended with, if it has. Answers whether the next
    /// command may be run in the same turn.
    pub(super) fn run_for_core(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let Some((spec, args)) = conn.for_core.take() else { return false };
        let began = self.core_command_began();
        if let Err(error) = self.run_core_command(key, spec, args.args())
            && let Some(conn) = self.conns.get_mut(key)
        {
            error.write(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
        }
        if let Some(began) = began
            && let Some(conn) = self.conns.get_mut(key)
        {
            let took = (self.env.now().saturating_sub(began), false);
            note_run(&mut self.slow, self.thresholds, &conn.session, spec, args.args(), took);
        }
        self.conns.get_mut(key).is_some_and(|conn| conn.may_go_on())
    }

    /// Appends the reply, or makes a hole for it.
    fn run_core_command(
        &mut self,
        key: Key,
        spec: &'static Spec,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        use CommandId as Id;
        match spec.id {
            Id::Publish | Id::Spublish => self.publish(key, spec.id, args),
            Id::Subscribe
            | Id::Psubscribe
            | Id::Ssubscribe
            | Id::Unsubscribe
            | Id::Punsubscribe
            | Id::Sunsubscribe => self.subscribe(key, spec.id, args),
            Id::PubsubChannels
            | Id::PubsubShardchannels
            | Id::PubsubNumsub
            | Id::PubsubShardnumsub
            | Id::PubsubNumpat => {
                self.pubsub(key, spec.id, args);
                Ok(())
            }
            Id::ClientList => self.client_list(key, args),
            Id::ClientKill => self.client_kill(key, args),
            Id::ClientPause => self.client_pause(key, args),
            Id::ClientReply => self.client_reply(key, args),
            Id::ClientUnpause => {
                self.client_unpause(key);
                Ok(())
            }
            Id::ClientInfo => {
                self.client_info(key);
                Ok(())
            }
            Id::SlowlogGet | Id::SlowlogLen | Id::SlowlogReset => self.slowlog(key, spec.id, args),
            Id::LatencyLatest | Id::LatencyHistory | Id::LatencyGraph | Id::LatencyDoctor => {
                self.latency(key, spec.id, args);
                Ok(())
            }
            Id::LatencyReset => {
                self.latency_reset(key, args);
                Ok(())
            }
            Id::ConfigRewrite => {
                let outcome =
                    self.shared.live.rewrite().map_err(|problem| rewrite_failed(&problem))?;
                self.answer_when(key, LateReply::Rewrite(outcome));
                Ok(())
            }
            Id::Save | Id::Bgsave | Id::Checkpoint => self.save(key, spec.id, args),
            Id::Monitor => {
                self.monitor(key);
                Ok(())
            }
            Id::Reset => {
                self.reset(key);
                Ok(())
            }
            _ => unreachable!("{} is not for the core", spec.name),
        }
    }

    /// SAVE, BGSAVE, CHECKPOINT: a thread makes it.
    fn save(&mut self, key: Key, id: CommandId, args: Args<'_>) -> Result<(), CommandError> {
        let busy = |what: String| CommandError::text(format!("ERR {what}"));
        if id == CommandId::Checkpoint {
            let name = Name::parse(args.arg(1)).map_err(busy)?;
            let outcome = self.shared.begin_save(name, false).map_err(busy)?;
            self.answer_when(key, LateReply::Checkpoint(outcome));
            return Ok(());
        }
        let outcome = self.shared.begin_save(Name::dump(), true).map_err(busy)?;
        if id == CommandId::Save {
            self.answer_when(key, LateReply::Save(outcome));
        } else if let Some(conn) = self.conns.get_mut(key) {
            writer::simple(conn.replies.buffer(), "Background saving started");
            conn.replies.done(SeqNo(0));
        }
        Ok(())
    }

    /// RESET of a connection that is not like others.
    fn reset(&mut self, key: Key) {
        self.registry.forget(key);
        self.subscriptions_changed(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if std::mem::take(&mut conn.monitors) {
            self.forget_monitor(key);
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.leave_transaction();
        conn.replies.reset_mute();
        crate::command::reset(&mut conn.session, &self.shared.live, conn.replies.buffer());
        conn.replies.done(SeqNo(0));
    }
}
