//! From readable sockets to commands.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use tidegate_framing::websocket::{Decoder, Event, Limits, Role, close_code};
use tidegate_protocol::{Command, DecodeError};
use tidegate_types::codes::Disconnect;
use tidegate_types::limits::COMMANDS_PER_FRAME_MAX;

use crate::connection::{Connection, Phase};
use crate::shard::Shard;
use crate::slab::Place;
use crate::socket::{self, Received};
use crate::tls;
use crate::wire::Wire;

/// Bytes read from one connection before the others get their turn.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// What a message of the framing asks of the connection.
enum Asked {
    Commands(Vec<Command>, Option<DecodeError>),
    Pong(Vec<u8>),
    Ponged,
    Close(u16),
    WrongKind,
}

impl Shard {
    /// Reads once from a connection and acts on it.
    pub(crate) fn read(&mut self, place: Place) {
        if !self.connections.is_at(place) || self.is_answering(place) || self.is_holding(place) {
            return;
        }
        self.replied_bytes = 0;
        if self.connections.get(place.index).is_some_and(|c| c.tls.is_some()) {
            return self.read_tls(place);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let (received, hung_up) = match self.connections.get(place.index) {
            Some(connection) => (socket::receive(&connection.socket, &mut scratch), connection.hung_up),
            None => (Received::Empty, false),
        };
        match received {
            Received::Bytes(n) => {
                // Readiness is told once per change: where bytes and the end came together, nothing tells of the end again.
                let more = n == scratch.len() || hung_up;
                self.take_bytes(place, &mut scratch[..n]);
                if more {
                    self.readable.push_back(place);
                }
            }
            Received::Empty => {}
            Received::Closed => {
                // Who says nothing more may still want to hear.
                self.send_later();
                self.drop_connection(place.index);
            }
        }
        self.scratch = scratch;
    }

    /// Acts on bytes of a connection.
    pub(crate) fn take_bytes(&mut self, place: Place, bytes: &mut [u8]) {
        let Some(connection) = self.connections.get(place.index) else { return };
        let frames = match connection.phase {
            Phase::Head | Phase::Requests => match self.read_head(place, bytes) {
                Some(used) => &mut bytes[used..],
                None => return,
            },
            Phase::Open | Phase::Closing => bytes,
            Phase::Refused => return,
        };
        if !frames.is_empty() {
            self.take_frames(place, frames);
        }
    }

    /// Acts on a message that is whole already.
    pub(crate) fn take_message(&mut self, place: Place, message: &[u8]) {
        let Some(connection) = self.connections.get(place.index) else { return };
        let wire = self.options.wires[usize::from(connection.wire)].clone();
        let (commands, error) = commands(&wire, message);
        self.on_commands(place, commands, error);
        self.flush_replies(place.index);
    }

    fn take_frames(&mut self, place: Place, mut bytes: &mut [u8]) {
        let duplex = |c: &Connection| self.options.wires[usize::from(c.wire)].is_duplex();
        if !self.connections.get(place.index).is_some_and(duplex) {
            // Nothing is to be said there any more.
            return;
        }
        let limits = Limits { message_bytes_max: self.options.client.message_bytes_max };
        while !bytes.is_empty() {
            let Some(connection) = self.connections.get_mut(place.index) else { return };
            // The decoder leaves its connection while events are acted upon, because they may end the connection.
            let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new(Role::Server));
            let wire = self.options.wires[usize::from(connection.wire)].clone();
            let mut asked = None;
            let taken = decoder.decode(bytes, &limits, &mut |event| {
                asked = ask(&wire, event);
                if asked.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Some(connection) = self.connections.get_mut(place.index) {
                connection.decoder = decoder;
            }
            if let Some(asked) = asked {
                self.act(place, asked);
            }
            match taken {
                Ok(taken) => bytes = &mut bytes[taken..],
                Err(error) => {
                    tracing::debug!(%error, "a client broke the framing");
                    self.metrics.closed_protocol.add(1);
                    self.end(place, Some(Disconnect { code: error.close_code(), reason: "protocol error" }));
                    self.end_output(place);
                    return;
                }
            }
            if !self.connections.is_at(place) {
                return;
            }
        }
        self.flush_replies(place.index);
    }

    /// Says that nothing follows the close. Where frames are lost the peer's close is not seen, and a peer that waits for
    /// the end of the connection (RFC 6455 section 7.1.1) would wait until the deadline. What it still sends is taken and
    /// ignored, because a socket closed over unread bytes takes the close back from the peer.
    fn end_output(&mut self, place: Place) {
        let is_there = self.connections.is_at(place);
        if let Some(connection) = self.connections.get_mut(place.index).filter(|c| is_there && c.blocked.is_none()) {
            tls::end_output(connection, &mut self.records);
        }
    }

    fn act(&mut self, place: Place, asked: Asked) {
        let closing = self.connections.get(place.index).is_none_or(|c| c.phase == Phase::Closing || c.doomed);
        match asked {
            Asked::Close(code) => self.on_close(place, closing, code),
            _ if closing => {}
            Asked::Commands(commands, error) => self.on_commands(place, commands, error),
            Asked::Pong(payload) => {
                let mut frame = Vec::new();
                tidegate_framing::websocket::write_frame(
                    &mut frame,
                    tidegate_framing::websocket::Opcode::Pong,
                    &payload,
                );
                self.send_control(place.index, frame.into());
            }
            Asked::Ponged => self.ponged_by_frame(place),
            Asked::WrongKind => {
                self.end(place, Some(Disconnect { code: close_code::UNSUPPORTED, reason: "wrong kind of message" }))
            }
        }
    }

    pub(crate) fn on_commands(&mut self, place: Place, commands: Vec<Command>, error: Option<DecodeError>) {
        let wrong = match &error {
            Some(DecodeError(text)) => {
                tracing::debug!("a client sent what is no command: {text}");
                true
            }
            None => commands.is_empty(),
        };
        let mut commands = VecDeque::from(commands);
        loop {
            let left = commands.len() as u64;
            if self.put_off_rest(place, &mut commands, wrong) {
                return self.metrics.commands.add(left);
            }
            let Some(command) = commands.pop_front() else { return self.end_if_wrong(place, wrong) };
            self.metrics.commands.add(1);
            self.command(place, command);
            let goes_on = self.connections.get(place.index).is_some_and(Connection::takes_commands);
            if !self.connections.is_at(place) || !goes_on {
                return;
            }
        }
    }

    /// Ends a connection that said what is no command, after what it said before that.
    pub(crate) fn end_if_wrong(&mut self, place: Place, wrong: bool) {
        if !wrong {
            return;
        }
        let held = self.connections.get_mut(place.index).and_then(|c| c.held.as_mut());
        if let Some(held) = held.filter(|held| held.put_off) {
            held.wrong = true;
        } else {
            self.flush_replies(place.index);
            self.end(place, Some(Disconnect::BAD_REQUEST));
        }
    }

    /// The peer closes, or answers our close: the socket ends.
    fn on_close(&mut self, place: Place, closing: bool, code: u16) {
        if !closing {
            let mut frame = Vec::new();
            tidegate_framing::websocket::write_close(&mut frame, code, "");
            self.flush_replies(place.index);
            self.send_control(place.index, frame.into());
        }
        if let Some(connection) = self.connections.get_mut(place.index) {
            tls::end_output(connection, &mut self.records);
        }
        // A page that is left or loaded anew goes away; who closes otherwise means it.
        self.release(place.index, code == close_code::GOING_AWAY);
        self.drop_connection(place.index);
    }
}

fn ask(wire: &Wire, event: Event<'_>) -> Option<Asked> {
    let message = match event {
        Event::Text(text) if wire.is_text() => text.as_bytes(),
        Event::Binary(bytes) if !wire.is_text() => bytes,
        Event::Text(_) | Event::Binary(_) => return Some(Asked::WrongKind),
        Event::Ping(payload) => return Some(Asked::Pong(payload.to_vec())),
        Event::Pong(_) => return Some(Asked::Ponged),
        Event::Close(frame) => return Some(Asked::Close(frame.map_or(close_code::NORMAL, |f| f.code))),
    };
    let (commands, error) = commands(wire, message);
    Some(Asked::Commands(commands, error))
}

/// The commands of a message, up to the first that is none.
pub(crate) fn commands(wire: &Wire, message: &[u8]) -> (Vec<Command>, Option<DecodeError>) {
    let mut commands = Vec::with_capacity(1);
    let mut too_many = false;
    let decoded = wire.decode(message, &mut |command| {
        too_many = commands.len() == COMMANDS_PER_FRAME_MAX;
        if too_many {
            return ControlFlow::Break(());
        }
        commands.push(command);
        ControlFlow::Continue(())
    });
    let error = match decoded {
        Ok(()) if too_many => Some(DecodeError(format!("more than {COMMANDS_PER_FRAME_MAX} commands in one message"))),
        Ok(()) => None,
        Err(error) => Some(error),
    };
    (commands, error)
}
