//! The request head that decides where a connection goes: a client of this shard, a request that is answered at once, or
//! somebody else's.
//!
//! Not an HTTP server: what has to wait, has a body in pieces or is refused for any reason of its own goes to the HTTP
//! side with its bytes, and stays there.

use std::borrow::Cow;
use std::net::TcpStream;

use tidegate_framing::http::{Head, Status, text_response};
use tidegate_framing::websocket::handshake;
use tidegate_types::limits::{HTTP_IDLE_MAX, REQUEST_HEAD_BYTES_MAX};

use crate::connection::Phase;
use crate::options::HandedOver;
use crate::shard::Shard;
use crate::slab::Place;
use crate::socket;

/// What a request led to.
enum Next {
    /// The connection is a client's. Frames follow these bytes of head.
    Frames(usize),
    /// It was answered. The next one follows these bytes.
    Request(usize),
    /// It is not whole yet, or the connection is gone from here.
    Nothing,
}

impl Shard {
    /// Takes bytes of requests. Once the connection is a client's, returns how many of them were: what follows are frames.
    pub(crate) fn read_head(&mut self, place: Place, bytes: &[u8]) -> Option<usize> {
        let held = self.connections.get_mut(place.index)?.head.take();
        let before = held.as_ref().map_or(0, |held| held.len());
        let bytes = match held {
            None => Cow::Borrowed(bytes),
            Some(mut held) => {
                held.extend_from_slice(bytes);
                Cow::Owned(*held)
            }
        };
        let mut answers = std::mem::take(&mut self.frames);
        answers.clear();
        let mut at = 0;
        let mut frames_at = None;
        while at < bytes.len() {
            match self.request(place, &bytes[at..], &mut answers) {
                Next::Frames(used) => {
                    frames_at = Some(at + used - before);
                    break;
                }
                Next::Request(used) => at += used,
                Next::Nothing => break,
            }
        }
        self.send_answers(place, &mut answers);
        self.frames = answers;
        frames_at
    }

    fn request(&mut self, place: Place, bytes: &[u8], answers: &mut Vec<u8>) -> Next {
        let head = match Head::parse(bytes) {
            Ok(Some(head)) => head,
            Ok(None) if bytes.len() < REQUEST_HEAD_BYTES_MAX => return self.hold(place, bytes),
            Ok(None) => {
                let text = format!("the request head is longer than {REQUEST_HEAD_BYTES_MAX} bytes");
                return self.refuse(place, answers, &text_response(Status::HEADERS_TOO_LARGE, "", &text));
            }
            Err(error) => return self.refuse(place, answers, &text_response(error.status(), "", &error.to_string())),
        };
        if let Some(route) = self.options.routes.iter().find(|r| r.path == head.path()) {
            let wire = route.wire;
            return self.upgrade(place, &head, wire, answers);
        }
        let Some(body_bytes) = self.options.at_once.as_ref().and_then(|at_once| at_once.body_bytes(&head)) else {
            return self.give_away(place, bytes, answers);
        };
        let size = head.bytes() + body_bytes;
        if bytes.len() < size {
            return self.hold(place, bytes);
        }
        if let Some(at_once) = &self.options.at_once {
            at_once.answer(&head, &bytes[head.bytes()..size], answers);
        }
        if let Some(connection) = self.connections.get_mut(place.index) {
            connection.phase = Phase::Between;
        }
        self.set_deadline(place.index, u64::try_from(HTTP_IDLE_MAX.as_millis()).unwrap_or(u64::MAX));
        Next::Request(size)
    }

    /// Keeps what is there of a request until the rest comes.
    fn hold(&mut self, place: Place, bytes: &[u8]) -> Next {
        if let Some(connection) = self.connections.get_mut(place.index) {
            connection.head = Some(Box::new(bytes.to_vec()));
        }
        Next::Nothing
    }

    fn send_answers(&mut self, place: Place, answers: &mut Vec<u8>) {
        if !answers.is_empty() && self.connections.is_at(place) {
            self.send_bytes(place.index, answers);
        }
        answers.clear();
    }

    fn upgrade(&mut self, place: Place, head: &Head<'_>, wire: u8, answers: &mut Vec<u8>) -> Next {
        let answer = match handshake::check(head) {
            Err(error) => Err(error.response()),
            Ok(upgrade) if !self.options.origins.allows(upgrade.origin(), upgrade.host()) => {
                let text = format!(
                    "origin {:?} is not allowed: add it to client.allowed_origins",
                    upgrade.origin().unwrap_or_default()
                );
                Err(text_response(Status::FORBIDDEN, "", &text))
            }
            Ok(upgrade) => Ok(upgrade.response(upgrade.choose(&["centrifuge-json"]))),
        };
        match (answer, self.connections.get_mut(place.index)) {
            (Ok(response), Some(connection)) => {
                connection.phase = Phase::Open;
                connection.wire = wire;
                self.send_answers(place, answers);
                self.send_control(place.index, response.into());
                Next::Frames(head.bytes())
            }
            (Ok(_), None) => Next::Nothing,
            (Err(response), _) => self.refuse(place, answers, &response),
        }
    }

    /// Answers and ends a connection that is no client's.
    fn refuse(&mut self, place: Place, answers: &mut Vec<u8>, response: &[u8]) -> Next {
        answers.extend_from_slice(response);
        self.send_answers(place, answers);
        if let Some(connection) = self.connections.get(place.index) {
            // Whether the peer reads the reason is its own affair.
            socket::shutdown_write(&connection.socket);
        }
        self.drop_connection(place.index);
        Next::Nothing
    }

    /// Hands a connection whose request is none of a shard's to the side that serves those.
    fn give_away(&mut self, place: Place, bytes: &[u8], answers: &mut Vec<u8>) -> Next {
        self.send_answers(place, answers);
        let Some(connection) = self.connections.remove(place.index) else { return Next::Nothing };
        self.metrics.connections.add(-1);
        socket::unwatch(&self.epoll, &connection.socket);
        if connection.blocked.is_some() {
            // It asks on without reading what it was answered.
            return Next::Nothing;
        }
        let handed = HandedOver { stream: TcpStream::from(connection.socket), head: bytes.to_vec() };
        if let Err(refused) = (self.options.hand_over)(handed) {
            let text = "too many requests are being served, try again";
            let response = text_response(Status::UNAVAILABLE, "Retry-After: 1\r\n", text);
            let _ = rustix::net::send(&refused.stream, &response, rustix::net::SendFlags::NOSIGNAL);
        }
        Next::Nothing
    }
}
