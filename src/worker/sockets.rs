//! Step 1 of a pass: what sockets did, and replies on their way out.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use shard::env::Env as _;
use shard::env::ring::{Completion, SocketEvent};

use super::{Worker, listener_place};
use crate::command::Session;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::mesh::Message;
use crate::net::connection::{Connection, Phase};
use crate::net::listeners::Transport;
use crate::net::tls::Tls;
use crate::slab::Key;

impl Worker {
    pub(super) fn completed(&mut self, completion: Completion) {
        let Completion { token, event, more } = completion;
        if let Some(place) = listener_place(token) {
            self.listener_event(place, event, more);
            return;
        }
        let key = Key::from_token(token);
        let Some(conn) = self.conns.get_mut(key) else {
            // A late event of a connection that is gone. An accepted socket would be closed by its drop.
            return;
        };
        match event {
            SocketEvent::Received(buffer) => {
                conn.receiving = false;
                let bytes: &[u8] = &buffer;
                self.net.input_bytes += bytes.len() as u64;
                conn.note_received(bytes.len(), self.reaped_at);
                if conn.phase == Phase::Open && !conn.hung_up {
                    if conn.tls.is_some() {
                        self.sealed_input(key, bytes);
                    } else {
                        conn.note_arrival(bytes.len(), self.reaped_at);
                        self.input(key, bytes);
                    }
                } else if conn.phase == Phase::Lingering {
                    if conn.discard(bytes.len()) {
                        self.rearm(key);
                    } else {
                        self.remove(key);
                    }
                }
            }
            SocketEvent::Starved => {
                conn.receiving = false;
                conn.starved = true;
                self.starved.push(key);
            }
            SocketEvent::Cancelled => {
                conn.receiving = false;
                self.rearm(key);
            }
            SocketEvent::Closed => {
                conn.receiving = false;
                // The peer sends no more; what it asked for is still answered.
                self.hang_up(key);
            }
            SocketEvent::Failed(_) => {
                conn.receiving = false;
                self.kill(key);
            }
            SocketEvent::Sent { buf, from, written } => self.sent(key, buf, from, written),
            SocketEvent::SendFailed { .. } => {
                conn.sending = false;
                self.kill(key);
            }
            SocketEvent::Accepted(_) => unreachable!("only the listener accepts"),
        }
    }

    /// Bytes of a connection that speaks TLS.
    fn sealed_input(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(tls) = &mut conn.tls else { return };
        let mut plain = Vec::new();
        let opened = tls.open(bytes, &mut plain);
        if let Err(error) = &opened {
            tracing::debug!(peer = conn.session.peer, %error, "closed: no TLS that we speak");
            // The alert leaves; nothing that came is run.
            conn.phase = Phase::Finishing;
            self.flush(key);
            return;
        }
        if plain.is_empty() {
            self.flush(key);
        } else {
            conn.note_arrival(plain.len(), self.reaped_at);
            self.input(key, &plain);
        }
        if matches!(opened, Ok(true)) {
            self.hang_up(key);
        }
    }

    fn listener_event(&mut self, place: usize, event: SocketEvent, more: bool) {
        // A late event of a listener that is closed.
        let Some(listener) = self.listeners.get_mut(place) else { return };
        let transport = listener.transport;
        // Armed again by the sweep: a full descriptor table must not make this spin.
        listener.is_paused |= !more;
        match event {
            SocketEvent::Accepted(socket) => {
                let target = self.next_core;
                self.next_core = (self.next_core + 1) % self.shared.cores;
                if target == self.index {
                    self.adopt(socket, transport);
                } else {
                    self.mesh.send(target, Message::Adopt(socket, transport));
                }
            }
            SocketEvent::Failed(error) => {
                tracing::warn!(%error, "accepting a connection; trying again with the next sweep");
            }
            _ => {}
        }
        if !more {
            self.next_sweep = self.next_sweep.min(self.env.now() + Duration::from_millis(100));
        }
    }

    pub(super) fn adopt(&mut self, socket: OwnedFd, transport: Transport) {
        if transport == Transport::Internal {
            if self.stopping.is_none() {
                self.adopt_internal(socket);
            }
            return;
        }
        self.net.connections_received += 1;
        if !self.shared.enter_client() {
            self.net.connections_rejected += 1;
            crate::net::reject(&socket, b"-ERR max number of clients reached\r\n");
            return;
        }
        if self.stopping.is_some() {
            self.shared.leave_client();
            return;
        }
        if transport != Transport::Unix {
            crate::net::tune(&socket);
        }
        let addresses = crate::net::addresses(&socket, transport);
        if !addresses.is_local && self.shared.live.refuses_others() {
            self.net.connections_rejected += 1;
            crate::net::reject(&socket, crate::access::PROTECTED_MODE.as_bytes());
            self.shared.leave_client();
            return;
        }
        let mut conn = self.connection(socket, addresses, false);
        if let (Transport::Tls, Some(settings)) = (transport, &self.shared.tls) {
            match Tls::new(settings) {
                Ok(tls) => conn.tls = Some(tls),
                Err(error) => {
                    tracing::warn!(%error, "a connection for TLS is refused");
                    self.shared.leave_client();
                    return;
                }
            }
        }
        let key = self.conns.insert(conn);
        self.rearm(key);
    }

    fn adopt_internal(&mut self, socket: OwnedFd) {
        let addresses = crate::net::addresses(&socket, Transport::Internal);
        let conn = self.connection(socket, addresses, true);
        let key = self.conns.insert(conn);
        self.internal_conns += 1;
        self.rearm(key);
    }

    fn connection(
        &self,
        socket: OwnedFd,
        addresses: crate::net::Addresses,
        is_internal: bool,
    ) -> Connection {
        let crate::net::Addresses { peer, local, is_local } = addresses;
        let mut session =
            Session::new(self.shared.next_client_id(), peer, local, self.facts.now_us);
        session.descriptor = i64::from(socket.as_raw_fd());
        (session.is_local, session.is_internal) = (is_local, is_internal);
        session.begin(&self.shared.live);
        let limits = self.limits.of(&session, &self.shared.live);
        let ledger = Arc::clone(&self.shared.ledger);
        Connection::new(socket, limits, session, ledger, self.env.now())
    }

    /// Arms a connection's receive if it wants input and there is memory for it. One that is armed brings a buffer at most.
    pub(super) fn rearm(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let may_receive = conn.wants_input() && conn.may_take_room() && conn.take_room();
        if conn.waits_for_room && !conn.is_roomless {
            conn.is_roomless = true;
            self.roomless.push_back(key);
        }
        if may_receive && !conn.receiving && !conn.starved {
            conn.receiving = true;
            if conn.is_to_send_much() && self.ring.large_buffers_free() > 0 {
                self.ring.recv_large(&conn.socket, key.token());
            } else {
                self.ring.recv(&conn.socket, key.token());
            }
        }
    }

    /// Memory was given back: those who wait for it get theirs, the first one first.
    pub(super) fn give_room(&mut self) -> bool {
        let returns = self.shared.ledger.input.returns();
        if self.roomless.is_empty() || returns == self.room_seen {
            return false;
        }
        self.room_seen = returns;
        while let Some(&key) = self.roomless.front() {
            if let Some(conn) = self.conns.get_mut(key) {
                if conn.wants_input() && !conn.take_room() {
                    break;
                }
                conn.has_room_again(self.env.now());
            }
            self.roomless.pop_front();
            self.rearm(key);
        }
        true
    }

    /// Moves the replies that may leave to the socket, and sees what the connection does next.
    pub(super) fn flush(&mut self, key: Key) {
        let released = self.released;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.held_pushes.is_empty() {
            conn.release_pushes();
        }
        let is_idle = !conn.sending;
        conn.replies.drain(&mut conn.out, released, is_idle);
        if conn.settles && conn.replies.is_released(released) {
            conn.settles = false;
        }
        let mut now = None;
        if conn.replies.has_left() {
            let now = *now.insert(self.env.now());
            self.net.errors += conn.replies.tell(now, &mut self.tallies);
            if let Some(errors) = conn.replies.take_errors() {
                self.net.error_classes.add(&errors);
            }
        }
        if !conn.gated && conn.replies.gate(released).is_some() {
            conn.gated = true;
            self.gated.push(key);
        }
        if conn.waiting_output() > OUTPUT_BYTES_MAX {
            tracing::warn!(peer = conn.session.peer, "closed: it does not read its replies");
            self.net.output_closed += 1;
            self.kill(key);
            return;
        }
        let finishes = conn.phase == Phase::Finishing && conn.is_drained();
        if !conn.sending
            && (!conn.out.is_empty() || conn.tls.is_some())
            && conn.phase != Phase::Dead
            && let out = conn.next_output(finishes)
            && !out.is_empty()
        {
            conn.sending = true;
            conn.sending_bytes = out.len();
            conn.progress_at = now.unwrap_or_else(|| self.env.now());
            self.ring.send(&conn.socket, out, 0, key.token());
        }
        conn.hold_output(|| self.env.now());
        // A request that is not whole yet waits for bytes, not for a turn.
        let may_run_on = conn.has_commands()
            && conn.may_run()
            && !conn.waits_for_admission
            && !conn.is_clogged();
        if !conn.queued && (may_run_on || conn.askable_rest().is_some()) {
            conn.queued = true;
            self.ready.push_back(key);
        }
        if conn.hung_up && conn.phase == Phase::Open && !conn.has_commands() {
            conn.phase = Phase::Finishing;
        }
        if conn.phase == Phase::Finishing && conn.is_drained() {
            conn.phase = Phase::Lingering;
            conn.lingers_since = self.env.now();
            if !conn.hung_up {
                crate::net::shut_write(&conn.socket);
            }
        }
        if conn.phase == Phase::Lingering && conn.hung_up {
            self.remove(key);
        } else {
            self.rearm(key);
        }
    }

    pub(super) fn sent(&mut self, key: Key, mut buf: Vec<u8>, from: usize, written: usize) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.progress_at = self.env.now();
        self.net.output_bytes += written as u64;
        if conn.phase == Phase::Dead {
            conn.sending = false;
            self.remove(key);
            return;
        }
        let done = from + written;
        if done < buf.len() {
            self.ring.send(&conn.socket, buf, done, key.token());
            return;
        }
        conn.sending = false;
        conn.sending_bytes = 0;
        if conn.tls.is_none()
            && conn.out.is_empty()
            && buf.capacity() <= crate::limits::OUTPUT_BUFFER_KEPT_BYTES
        {
            buf.clear();
            conn.out = buf;
        }
        self.flush(key);
    }

    /// No more input; what was received whole is still run and answered.
    pub(super) fn hang_up(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.hung_up = true;
        self.flush(key);
    }

    /// Ends a connection without another byte.
    pub(super) fn kill(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.phase = Phase::Dead;
        if conn.sending {
            self.ring.shutdown(&conn.socket);
        } else {
            self.remove(key);
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(conn) = self.conns.remove(key) {
            self.forget_subscriptions(key, &conn);
            if conn.session.is_internal {
                self.internal_conns -= 1;
            } else {
                self.shared.leave_client();
            }
            self.ring.close(conn.socket);
        }
    }
}
