//! The request head that decides where a connection goes: a client of this shard, a request that shards answer, or
//! somebody else's.
//!
//! Not an HTTP server: what the [`crate::RequestHandler`] does not want goes to the HTTP side with its bytes, and comes
//! back when nothing is asked there for a while. One request of a connection is answered at a time; the next is not read before.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use smallvec::SmallVec;
use tidegate_core::{Inbox, ShardEvent, Ticket};
use tidegate_framing::http::{Head, Status, query_value, text_response};
use tidegate_framing::websocket::{Origins, handshake};
use tidegate_types::limits::{HTTP_IDLE_MAX, REQUEST_HEAD_BYTES_MAX};
use tokio::sync::OwnedSemaphorePermit;

use crate::connection::{Connection, Partial, Phase, Request};
use crate::http2;
use crate::options::{HandedOver, Response, Route};
use crate::shard::Shard;
use crate::slab::Place;
use crate::socket;
use crate::timers::millis;
use crate::tls;

/// How long a peer has to end a connection on which it was refused.
const REFUSED_MS: u64 = 1_000;

/// Tells the shard of a connection that its response may be there.
struct ResponseWaker {
    inbox: Arc<Inbox>,
    place: Place,
}

impl Wake for ResponseWaker {
    fn wake(self: Arc<Self>) {
        let Place { index: connection, generation } = self.place;
        self.inbox.send(ShardEvent::Response { ticket: Ticket { connection, generation, command: 0 } });
    }
}

/// A short answer of now that ends the connection, see [`text_response`].
pub(crate) fn text_answer(status: Status, headers: &str, body: &str) -> Vec<u8> {
    text_response(SystemTime::now(), status, headers, body)
}

/// What a request led to.
pub(crate) enum Next {
    /// The connection is a client's. Frames follow these bytes of head.
    Frames(usize),
    /// It was answered at once. The next one follows these bytes.
    Request(usize),
    /// It is not whole or not answered yet, or the connection is gone from here.
    Nothing,
}

impl Shard {
    /// Takes bytes of requests. Once the connection is a client's, returns how many of them were: what follows are frames.
    pub(crate) fn read_head(&mut self, place: Place, bytes: &[u8]) -> Option<usize> {
        let connection = self.connections.get_mut(place.index)?;
        let before = connection.head.as_ref().map_or(0, |held| held.bytes.len());
        let bytes = match connection.head.take() {
            None => Cow::Borrowed(bytes),
            Some(mut held) => {
                held.bytes.extend_from_slice(bytes);
                if held.bytes.len() < held.wanted {
                    connection.head = Some(held);
                    return None;
                }
                Cow::Owned(held.bytes)
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
        if frames_at.is_none() && self.lets_fan_out_first() {
            self.send_answers_later(place, answers);
        } else {
            self.send_answers(place, &mut answers);
            self.frames = answers;
        }
        frames_at
    }

    fn request(&mut self, place: Place, bytes: &[u8], answers: &mut Vec<u8>) -> Next {
        if let Some(next) = self.take_http2(place, bytes, answers) {
            return next;
        }
        let head = match Head::parse(bytes) {
            Ok(Some(head)) if head.bytes() <= REQUEST_HEAD_BYTES_MAX => head,
            Ok(None) if bytes.len() < REQUEST_HEAD_BYTES_MAX => return self.hold(place, bytes, 0),
            Ok(_) => {
                let text = format!("the request head is longer than {REQUEST_HEAD_BYTES_MAX} bytes");
                return self.refuse(place, answers, &text_answer(Status::HEADERS_TOO_LARGE, "", &text));
            }
            Err(error) => return self.refuse(place, answers, &text_answer(error.status(), "", &error.to_string())),
        };
        if let Some(at) = self.options.routes.iter().position(|r| r.path == head.path()) {
            let options = self.options.clone();
            let route = &options.routes[at];
            return match options.is_duplex(route) {
                true => self.upgrade(place, &head, route, answers),
                false => self.open_stream(place, &head, route, bytes, answers),
            };
        }
        let handler = self.options.handler.as_ref();
        let Some((handler, body_bytes)) = handler.and_then(|h| Some((h, h.body_bytes(&head)?))) else {
            return self.give_away(place, bytes, None, answers);
        };
        let size = head.bytes() + body_bytes;
        if bytes.len() < size {
            return self.hold(place, bytes, size);
        }
        let response = handler.handle(&head, Bytes::copy_from_slice(&bytes[head.bytes()..size]));
        self.answer(place, response, size, bytes, answers)
    }

    /// Looks whether the response is there already, and keeps it until it is.
    fn answer(
        &mut self,
        place: Place,
        mut response: Response,
        size: usize,
        bytes: &[u8],
        answers: &mut Vec<u8>,
    ) -> Next {
        self.set_deadline(place.index, millis(HTTP_IDLE_MAX));
        // What never waits needs nobody to wake it.
        let mut polled = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            polled = self.poll(place, &mut response);
        }
        let Some(connection) = self.connections.get_mut(place.index) else { return Next::Nothing };
        connection.phase = Phase::Requests;
        match polled {
            Poll::Ready(response) => {
                answers.extend_from_slice(&response);
                Next::Request(size)
            }
            Poll::Pending => {
                let rest = bytes[size..].to_vec();
                connection.request = Some(Box::new(Request { response, rest, unread: false }));
                Next::Nothing
            }
        }
    }

    fn poll(&self, place: Place, response: &mut Response) -> Poll<Vec<u8>> {
        let waker = Arc::new(ResponseWaker { inbox: self.inbox.clone(), place }).into();
        response.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Whether a request is being answered: then its connection is read later.
    pub(crate) fn is_answering(&mut self, place: Place) -> bool {
        let request = self.connections.get_mut(place.index).and_then(|c| c.request.as_mut());
        request.map(|request| request.unread = true).is_some()
    }

    /// A response may be there.
    pub(crate) fn go_on_answering(&mut self, place: Place) {
        if !self.connections.is_at(place) {
            return;
        }
        let Some(mut request) = self.connections.get_mut(place.index).and_then(|c| c.request.take()) else { return };
        match self.poll(place, &mut request.response) {
            Poll::Pending => {
                if let Some(connection) = self.connections.get_mut(place.index) {
                    connection.request = Some(request);
                }
            }
            Poll::Ready(response) => {
                self.send_later();
                self.send_bytes(place.index, &response);
                if self.is_draining() {
                    return self.drop_connection(place.index);
                }
                self.take_bytes(place, &mut request.rest);
                if request.unread && !self.is_answering(place) {
                    self.readable.push_back(place);
                }
            }
        }
    }

    /// Keeps what is there of a request until so many bytes of it have come.
    pub(crate) fn hold(&mut self, place: Place, bytes: &[u8], wanted: usize) -> Next {
        if let Some(connection) = self.connections.get_mut(place.index) {
            connection.head = Some(Box::new(Partial { bytes: bytes.to_vec(), wanted }));
        }
        Next::Nothing
    }

    fn send_answers_later(&mut self, place: Place, answers: Vec<u8>) {
        if answers.is_empty() {
            self.frames = answers;
        } else {
            self.later.push_back((place, answers));
        }
    }

    /// Sends the answers that waited.
    pub(crate) fn send_later(&mut self) {
        while let Some((place, answers)) = self.later.pop_front() {
            if self.connections.is_at(place) {
                self.send_bytes(place.index, &answers);
            }
            self.frames = answers;
        }
    }

    /// Sends answers now, after those that waited.
    pub(crate) fn send_answers(&mut self, place: Place, answers: &mut Vec<u8>) {
        self.send_later();
        if !answers.is_empty() && self.connections.is_at(place) {
            self.send_bytes(place.index, answers);
        }
        answers.clear();
    }

    fn upgrade(&mut self, place: Place, head: &Head<'_>, route: &Route, answers: &mut Vec<u8>) -> Next {
        let mut wire = 0;
        let answer = match handshake::check(head) {
            Err(error) => Err(error.response(SystemTime::now())),
            Ok(upgrade) => self.check_origin(upgrade.origin(), upgrade.host()).map(|()| {
                let protocols: SmallVec<[&str; 2]> = route.choices.iter().map(|c| c.protocol).collect();
                let protocol = upgrade.choose(&protocols);
                wire = route.choose(protocol, head).map_or(0, |choice| choice.wire);
                upgrade.response(protocol)
            }),
        };
        match (answer, self.connections.get_mut(place.index)) {
            (Ok(response), Some(connection)) => {
                connection.phase = Phase::Open;
                connection.wire = wire;
                let by_frame = head.query().and_then(|query| query_value(query, "cf_ws_frame_ping_pong"));
                connection.pings_by_frame = by_frame.is_some_and(|value| value == b"true");
                self.expect_connect(place);
                self.send_answers(place, answers);
                self.send_control(place.index, response.into());
                self.identify(place, head);
                let one_way = self.options.wires[usize::from(wire)].is_one_way();
                if let Some(message) = head.query().filter(|_| one_way).and_then(|q| query_value(q, "cf_connect")) {
                    self.take_one_way(place, head, &message);
                }
                Next::Frames(head.bytes())
            }
            (Ok(_), None) => Next::Nothing,
            (Err(response), _) => self.refuse(place, answers, &response),
        }
    }

    /// A client has opened its connection, and has its time to say who it is, however long the connection was kept before.
    pub(crate) fn expect_connect(&mut self, place: Place) {
        self.set_deadline(place.index, millis(self.options.client.stale_close_delay));
    }

    /// Whether a page from there may open a connection; the answer, where it may not.
    pub(crate) fn check_origin(&self, origin: Option<&str>, host: Option<&str>) -> Result<(), Vec<u8>> {
        if self.options.origins.allows(origin, host) {
            return Ok(());
        }
        Err(text_answer(Status::FORBIDDEN, "", &Origins::refusal(origin)))
    }

    /// Answers and ends a connection that is no client's.
    pub(crate) fn refuse(&mut self, place: Place, answers: &mut Vec<u8>, response: &[u8]) -> Next {
        answers.extend_from_slice(response);
        self.send_answers(place, answers);
        match self.connections.get_mut(place.index) {
            Some(connection) if connection.blocked.is_none() => {
                tls::end_output(connection, &mut self.records);
                connection.phase = Phase::Refused;
                self.set_deadline(place.index, REFUSED_MS);
            }
            // Whether the peer reads the reason is its own affair.
            _ => self.drop_connection(place.index),
        }
        Next::Nothing
    }

    /// Refuses a connection that was given away in vain.
    fn refuse_anew(&mut self, connection: Connection, answers: &mut Vec<u8>, response: &[u8]) -> Next {
        let place = self.connections.next_place();
        if let Err(error) = socket::watch(&self.epoll, &connection.socket, place.to_u64()) {
            tracing::error!(%error, "cannot watch a socket");
            return Next::Nothing;
        }
        self.connections.insert(connection);
        self.metrics.connections.add(1);
        self.refuse(place, answers, response)
    }

    /// Hands a connection whose request is none of a shard's to the side that serves those.
    pub(crate) fn give_away(
        &mut self,
        place: Place,
        bytes: &[u8],
        http2: Option<OwnedSemaphorePermit>,
        answers: &mut Vec<u8>,
    ) -> Next {
        self.send_answers(place, answers);
        let Some(connection) = self.connections.remove(place.index) else { return Next::Nothing };
        self.metrics.connections.add(-1);
        socket::unwatch(&self.epoll, &connection.socket);
        if connection.blocked.is_some() {
            // It asks on without reading what it was answered.
            return Next::Nothing;
        }
        let Connection { socket, tls, client, .. } = connection;
        let client = client.map(|client| *client);
        let handed = HandedOver { socket, head: bytes.to_vec(), tls, client, http2, served: true };
        if let Err(HandedOver { socket, tls, http2, .. }) = (self.options.hand_over)(handed) {
            let text = "too many requests are being served, try again";
            let response = match http2 {
                Some(_) => http2::REFUSAL.to_vec(),
                None => text_answer(Status::UNAVAILABLE, "Retry-After: 1\r\n", text),
            };
            return self.refuse_anew(Connection::new(socket, tls), answers, &response);
        }
        Next::Nothing
    }
}
