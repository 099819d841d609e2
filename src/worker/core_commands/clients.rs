//! CLIENT: LIST, INFO, KILL, PAUSE, REPLY.

use std::sync::Arc;
use std::time::Duration;

use shard::env::{Env as _, Queue};
use shard::key::SeqNo;

use crate::ask::{Answer, Ask, lines, sum};
use crate::command::CommandError;
use crate::command::clients::{ClientFacts, ClientFilter, ClientKind, pause_args};
use crate::live::Live;
use crate::net::connection::{Connection, Phase};
use crate::reply::{Muted, Sink};
use crate::resp::{Args, writer};
use crate::slab::Key;
use crate::worker::{Pause, Worker};

/// What a connection looks like from outside.
fn facts<'a>(conn: &'a Connection, live: &'a Live, now: Duration, now_us: u64) -> ClientFacts<'a> {
    let is_subscriber = conn.is_subscriber();
    ClientFacts {
        kind: if is_subscriber { ClientKind::PubSub } else { ClientKind::Normal },
        age_s: now_us.saturating_sub(conn.session.connected_us) / 1_000_000,
        idle_s: now.saturating_sub(conn.last_active_at).as_secs(),
        monitors: conn.monitors,
        subscriptions: conn.subscriptions,
        input_bytes: conn.input.len(),
        input_free_bytes: conn.input.capacity() - conn.input.len(),
        output_bytes: conn.waiting_output(),
        sending_bytes: conn.sending_bytes,
        closes: conn.phase != Phase::Open,
        command: conn.replies.last_asked(),
        user: conn.session.user(live),
        session: &conn.session,
    }
}

impl Worker {
    pub(super) fn client_info(&mut self, key: Key) {
        let (now, now_us) = (self.env.now(), self.facts.now_us);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let line = facts(conn, &self.shared.live, now, now_us).line();
        writer::verbatim(conn.replies.buffer(), line.as_bytes(), conn.session.protocol);
        conn.replies.done(SeqNo(0));
    }

    pub(super) fn client_list(&mut self, key: Key, args: Args<'_>) -> Result<(), CommandError> {
        let filter = Arc::new(ClientFilter::of_list(args)?);
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let protocol = conn.session.protocol;
        let finish = move |answers| {
            let mut out = Vec::new();
            writer::verbatim(&mut out, lines(answers).as_bytes(), protocol);
            out
        };
        self.ask_all(key, &Ask::Clients(filter), Box::new(finish));
        Ok(())
    }

    /// Those connections of this core that are meant, with their numbers.
    pub(in crate::worker) fn client_lines(&mut self, filter: &ClientFilter) -> Vec<(u64, String)> {
        let (now, now_us) = (self.env.now(), self.facts.now_us);
        let mut lines = Vec::new();
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let facts = facts(conn, &self.shared.live, now, now_us);
            if !facts.closes && !facts.session.is_internal && filter.means(&facts) {
                lines.push((facts.session.id, facts.line()));
            }
        }
        lines
    }

    pub(super) fn client_kill(&mut self, key: Key, args: Args<'_>) -> Result<(), CommandError> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let own = conn.session.id;
        let readonly = self.shared.live.policy().readonly.as_ref().map(|(name, _)| name.as_str());
        let filter = Arc::new(ClientFilter::of_kill(args, own, readonly)?);
        let is_old_form = args.len() == 3;
        let finish = move |answers| {
            let mut out = Vec::new();
            match sum(answers) {
                0 if is_old_form => {
                    writer::error(&mut out, "ERR No such client");
                }
                _ if is_old_form => writer::ok(&mut out),
                count => writer::integer(&mut out, i64::try_from(count).unwrap_or(i64::MAX)),
            }
            out
        };
        self.ask_all(key, &Ask::Kill(filter, own), Box::new(finish));
        Ok(())
    }

    /// Closes those connections of this core that are meant; `asker` once it has its reply.
    pub(in crate::worker) fn kill_clients(&mut self, filter: &ClientFilter, asker: u64) -> u64 {
        let (now, now_us) = (self.env.now(), self.facts.now_us);
        let mut killed = 0;
        for key in self.conns.keys() {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let facts = facts(conn, &self.shared.live, now, now_us);
            if facts.closes || facts.session.is_internal || !filter.means(&facts) {
                continue;
            }
            killed += 1;
            if conn.session.id == asker {
                conn.phase = Phase::Finishing;
            } else {
                self.kill(key);
            }
        }
        killed
    }

    /// CLIENT REPLY. Only ON has a reply of its own.
    pub(super) fn client_reply(&mut self, key: Key, args: Args<'_>) -> Result<(), CommandError> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let is = |name: &str| args.arg(2).eq_ignore_ascii_case(name.as_bytes());
        let was = conn.replies.muted();
        if is("on") {
            conn.replies.mute(Muted::No);
            writer::ok(conn.replies.buffer());
            conn.replies.done(SeqNo(0));
        } else if is("off") {
            conn.replies.mute(Muted::All);
        } else if is("skip") {
            conn.replies.mute(if was == Muted::All { was } else { Muted::Next });
        } else {
            return Err(CommandError::Syntax);
        }
        Ok(())
    }

    /// CLIENT PAUSE: answered when all cores hold commands back.
    pub(super) fn client_pause(&mut self, key: Key, args: Args<'_>) -> Result<(), CommandError> {
        let (millis, all) = pause_args(args)?;
        self.ask_all(key, &Ask::Pause { millis, all }, Box::new(all_ok));
        Ok(())
    }

    pub(super) fn client_unpause(&mut self, key: Key) {
        self.ask_all(key, &Ask::Unpause, Box::new(all_ok));
    }

    /// Holds commands back from now on. Of two pauses the longer and stricter one is kept.
    pub(in crate::worker) fn pause(&mut self, millis: u64, all: bool) {
        let time = Duration::from_millis(millis);
        let Some(until) = self.env.now().checked_add(time).filter(|_| millis > 0) else { return };
        let pause = self.pause.get_or_insert(Pause { until, all });
        pause.until = pause.until.max(until);
        pause.all |= all;
        // Whoever sleeps is woken when it is over.
        let env = self.env.clone();
        self.env.spawn(Queue::Commit, async move { env.sleep(time).await });
    }

    /// Lets the commands go on that were held back.
    pub(in crate::worker) fn unpause(&mut self) {
        self.pause = None;
        for key in std::mem::take(&mut self.paused) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.paused = false;
                if !conn.queued {
                    conn.queued = true;
                    self.ready.push_back(key);
                }
            }
        }
    }

    /// Ends a pause whose time is up.
    pub(in crate::worker) fn end_pause(&mut self) -> bool {
        let is_over = self.pause.is_some_and(|pause| self.env.now() >= pause.until);
        if is_over {
            self.unpause();
        }
        is_over
    }
}

fn all_ok(answers: Vec<Answer>) -> Vec<u8> {
    drop(answers);
    writer::OK.to_vec()
}
