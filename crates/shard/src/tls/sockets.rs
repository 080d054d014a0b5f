//! Sessions on the sockets of a shard: reading, handshakes in line, sending, ending.

use rustls::Error;
use tidegate_framing::http::Status;
use tidegate_types::limits::{HANDSHAKE_STEPS_PER_TURN_MAX, TLS_RECORD_BYTES};

use super::session::{Stage, TlsSession};
use crate::connection::Connection;
use crate::output::Sent;
use crate::request::text_answer;
use crate::shard::Shard;
use crate::slab::Place;
use crate::socket::{self, Received};

/// Sends bytes on a connection that is not blocked. `records` is the buffer of the thread. `None` = the connection is
/// broken.
pub(crate) fn send(connection: &mut Connection, bytes: &[u8], records: &mut Vec<u8>) -> Option<Sent> {
    let Some(tls) = &mut connection.tls else {
        let taken = socket::send(&connection.socket, bytes)?;
        return Some(Sent { taken, blocked: taken < bytes.len() });
    };
    let mut taken = 0;
    let mut blocked = !flush(tls, &connection.socket)?;
    // Record by record: when the socket takes no more, the rest of one is all that is kept.
    while taken < bytes.len() && !blocked {
        let piece = &bytes[taken..bytes.len().min(taken + TLS_RECORD_BYTES)];
        records.clear();
        tls.seal(piece, records).ok()?;
        taken += piece.len();
        blocked = !send_records(tls, &connection.socket, records)?;
    }
    Some(Sent { taken, blocked })
}

/// Sends what is unsent; whether all of it went.
fn flush(tls: &mut TlsSession, socket: &std::os::fd::OwnedFd) -> Option<bool> {
    if tls.unsent().is_empty() {
        return Some(true);
    }
    let count = socket::send(socket, tls.unsent())?;
    tls.sent(count);
    Some(tls.unsent().is_empty())
}

/// Sends records behind what is unsent; whether all of it went.
fn send_records(tls: &mut TlsSession, socket: &std::os::fd::OwnedFd, records: &[u8]) -> Option<bool> {
    let count = if flush(tls, socket)? { socket::send(socket, records)? } else { 0 };
    let whole = count == records.len();
    (whole || tls.keep_unsent(&records[count..])).then_some(whole)
}

/// Says on a connection that nothing follows.
pub(crate) fn end_output(connection: &mut Connection, records: &mut Vec<u8>) {
    say_close(connection, records);
    socket::shutdown_write(&connection.socket);
}

/// Says so to a TLS peer, where it can be said at once.
pub(crate) fn say_close(connection: &mut Connection, records: &mut Vec<u8>) {
    if let Some(tls) = &mut connection.tls
        && tls.unsent().is_empty()
    {
        records.clear();
        tls.seal_close(records);
        if !records.is_empty() {
            // A peer that is gone already needs no word.
            let _ = socket::send(&connection.socket, records);
        }
    }
}

/// What a plain request to a TLS port is answered.
fn wrong_port() -> Vec<u8> {
    text_answer(Status::BAD_REQUEST, "", "this port speaks TLS: use https:// or wss://")
}

impl Shard {
    /// Reads once from a connection with TLS. Whoever is in its handshake waits in line.
    pub(crate) fn read_tls(&mut self, place: Place) {
        let Some(tls) = self.connections.get_mut(place.index).and_then(|c| c.tls.as_mut()) else { return };
        if matches!(tls.stage, Stage::Open | Stage::Over) {
            self.read_records(place);
        } else if !std::mem::replace(&mut tls.in_line, true) {
            self.handshakes.push_back(place);
        }
    }

    /// Goes on with handshakes in line, until a number of them made an answer: that is what takes time.
    pub(crate) fn shake_hands(&mut self) {
        let mut left = HANDSHAKE_STEPS_PER_TURN_MAX;
        for _ in 0..self.handshakes.len() {
            let Some(place) = self.handshakes.pop_front() else { return };
            if !self.connections.is_at(place) {
                continue;
            }
            if let Some(tls) = self.connections.get_mut(place.index).and_then(|c| c.tls.as_mut()) {
                tls.in_line = false;
                self.replied_bytes = 0;
                left -= usize::from(self.read_records(place));
            }
            if left == 0 {
                return;
            }
        }
    }

    /// Returns whether a handshake step was made.
    fn read_records(&mut self, place: Place) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut stepped = false;
        if let Some(connection) = self.connections.get(place.index)
            && let Some(tls) = &connection.tls
        {
            let held = tls.put_held(&mut scratch);
            let received = match tls.is_peer_closed() {
                true => Received::Closed,
                false => socket::receive(&connection.socket, &mut scratch[held..]),
            };
            match received {
                Received::Bytes(n) => {
                    let more = held + n == scratch.len() || connection.hung_up;
                    stepped = self.take_records(place, &mut scratch[..held + n]);
                    if more && self.connections.is_at(place) {
                        self.readable.push_back(place);
                    }
                }
                Received::Empty => {}
                Received::Closed => {
                    self.send_later();
                    self.drop_connection(place.index);
                }
            }
        }
        self.scratch = scratch;
        stepped
    }

    /// Acts on what is in records. Returns whether a handshake step was made.
    fn take_records(&mut self, place: Place, bytes: &mut [u8]) -> bool {
        let Some(connection) = self.connections.get_mut(place.index) else { return false };
        let Some(tls) = &mut connection.tls else { return false };
        if tls.stage == Stage::Fresh && bytes.first().is_some_and(u8::is_ascii_uppercase) {
            let _ = socket::send(&connection.socket, &wrong_port());
            socket::shutdown_write(&connection.socket);
            self.drop_connection(place.index);
            return false;
        }
        let mut plain = std::mem::take(&mut self.plain);
        self.records.clear();
        plain.clear();
        let was_open = tls.stage == Stage::Open;
        let result = tls.take(bytes, &mut plain, &mut self.records);
        let opened = !was_open && tls.stage == Stage::Open;
        let stepped = !was_open && !self.records.is_empty();
        let ends = tls.is_peer_closed();
        if opened {
            self.metrics.tls_handshakes.add(1);
        }
        self.send_answer(place);
        match result {
            Ok(()) if plain.is_empty() => {}
            Ok(()) => self.take_bytes(place, &mut plain),
            Err(error) => self.end_broken(place, was_open, &error),
        }
        if ends && self.connections.is_at(place) {
            // After what came before it, which may have to wait.
            self.readable.push_back(place);
        }
        self.plain = plain;
        stepped
    }

    /// Sends what TLS itself has to say: it is in the record buffer.
    fn send_answer(&mut self, place: Place) {
        if self.records.is_empty() {
            return;
        }
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let was_blocked = connection.blocked.is_some();
        let Some(tls) = &mut connection.tls else { return };
        match send_records(tls, &connection.socket, &self.records) {
            Some(true) => {}
            Some(false) if was_blocked => {}
            Some(false) => self.block(place.index, bytes::Bytes::new()),
            None => self.doom(place, None),
        }
    }

    /// The peer broke TLS. It was sent an alert.
    fn end_broken(&mut self, place: Place, was_open: bool, error: &Error) {
        tracing::debug!(%error, "a peer broke TLS");
        match was_open {
            true => self.metrics.closed_protocol.add(1),
            false => self.metrics.tls_handshakes_failed.add(1),
        }
        if let Some(connection) = self.connections.get(place.index) {
            socket::shutdown_write(&connection.socket);
        }
        self.drop_connection(place.index);
    }

    /// The last of a connection with TLS that is forgotten: its peer is told, and a handshake that led to nothing counted.
    pub(crate) fn end_tls(&mut self, connection: &mut Connection) {
        match connection.tls.as_ref().map(|tls| tls.stage) {
            None | Some(Stage::Fresh | Stage::Over) => {}
            Some(Stage::Handshake) => self.metrics.tls_handshakes_failed.add(1),
            Some(Stage::Open) => say_close(connection, &mut self.records),
        }
    }

    /// Sends what is unsent of a connection whose socket takes bytes again.
    pub(crate) fn flush_records(connection: &mut Connection) -> Option<Sent> {
        let Some(tls) = &mut connection.tls else { return Some(Sent { taken: 0, blocked: false }) };
        let before = tls.unsent().len();
        let whole = flush(tls, &connection.socket)?;
        Some(Sent { taken: before - tls.unsent().len(), blocked: !whole })
    }
}
