//! Commands of connections that are not like others: that listen or monitor, or while commands are held back.

use super::Pause;
use crate::command::table::Flags;
use crate::command::{CommandId, Spec};
use crate::net::connection::Connection;
use crate::resp::{Args, Protocol, writer};

/// What becomes of a command of a connection that is not like others.
pub(super) enum Special {
    /// Its reply is written.
    Answered,
    /// It waits for the replies before it.
    Later,
    /// It waits for the end of a pause.
    Paused,
    /// Its core carries it out, as it does not for others.
    ForCore,
}

/// What makes a connection unlike others.
pub(super) struct Modes {
    publishes: bool,
    /// It listens and speaks RESP2, where a message cannot be told from a reply.
    listens_only: bool,
    pause: Option<Pause>,
    monitors: bool,
}

impl Modes {
    pub(super) fn of(conn: &Connection, pause: Option<Pause>) -> Self {
        Self {
            publishes: conn.asks.publishes() > 0,
            listens_only: conn.is_subscriber() && conn.session.protocol == Protocol::Resp2,
            pause,
            monitors: conn.monitors,
        }
    }

    /// Looks at a command; `None`: it is run like any other.
    #[cold]
    pub(super) fn heed(
        &self,
        spec: &'static Spec,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Special> {
        use CommandId as Id;
        let is_publish = matches!(spec.id, Id::Publish | Id::Spublish);
        if self.publishes && !is_publish {
            return Some(Special::Later);
        }
        if self.monitors && (spec.is_write() || spec.flags.has(Flags::READONLY) || is_publish) {
            writer::error(out, "ERR Replica can't interact with the keyspace");
            return Some(Special::Answered);
        }
        if self.pause.is_some_and(|pause| pause.holds(spec)) {
            return Some(Special::Paused);
        }
        if spec.id == Id::Reset {
            return Some(Special::ForCore);
        }
        if !self.listens_only {
            return None;
        }
        match spec.id {
            Id::Ping if args.len() <= 2 => {
                writer::array(out, 2);
                writer::bulk(out, b"pong");
                writer::bulk(out, args.get(1).unwrap_or_default());
                Some(Special::Answered)
            }
            Id::Subscribe
            | Id::Unsubscribe
            | Id::Psubscribe
            | Id::Punsubscribe
            | Id::Ssubscribe
            | Id::Sunsubscribe
            | Id::Ping
            | Id::Quit => None,
            _ => {
                writer::error(
                    out,
                    format_args!(
                        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                         RESET are allowed in this context",
                        spec.name
                    ),
                );
                Some(Special::Answered)
            }
        }
    }
}
