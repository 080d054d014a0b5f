//! New sockets, and the request head that decides where they go: a client of this shard, or somebody else's request.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use tidegate_framing::http::{Head, Status, text_response};
use tidegate_framing::websocket::handshake;
use tidegate_types::limits::{ACCEPTS_PER_TURN_MAX, REQUEST_HEAD_BYTES_MAX};

use crate::connection::{Connection, Phase};
use crate::event_loop::LISTENER;
use crate::options::HandedOver;
use crate::shard::Shard;
use crate::slab::Place;
use crate::socket::{self, Accepted};

/// A shard gives a socket away when it has this many more than the least loaded one.
const IMBALANCE: i64 = 16;
/// Pause when descriptors ran out.
const EXHAUSTED_PAUSE_MS: u64 = 250;

impl Shard {
    /// Takes what waits at the listener, a bounded number at a time.
    pub(crate) fn accept(&mut self) {
        let Some(listener) = self.listener.clone() else { return };
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            match socket::accept(&*listener) {
                Accepted::Socket(socket) => {
                    self.metrics.accepted.add(1);
                    self.place_socket(socket);
                }
                Accepted::Gone => {}
                Accepted::Empty => return,
                Accepted::Exhausted(error) => {
                    tracing::error!(%error, "cannot accept connections: raise the limit of open files (ulimit -n)");
                    socket::unwatch(&self.epoll, &*listener);
                    self.accept_again_ms = Some(self.now_ms() + EXHAUSTED_PAUSE_MS);
                    return;
                }
            }
        }
    }

    /// Watches the listener again after a pause.
    pub(crate) fn resume_accepting(&mut self) {
        if self.accept_again_ms.is_some_and(|at| at <= self.now_ms()) {
            self.accept_again_ms = None;
            if let Some(listener) = &self.listener
                && let Err(error) = socket::watch_listener(&self.epoll, &**listener, LISTENER)
            {
                tracing::error!(%error, "cannot watch the listener");
            }
        }
    }

    /// Keeps a socket, or gives it to a shard with clearly fewer.
    fn place_socket(&mut self, socket: OwnedFd) {
        let mine = self.metrics.connections.get();
        let least = self.peers.iter().min_by_key(|p| p.metrics.connections.get());
        match least {
            Some(peer) if peer.metrics.connections.get() + IMBALANCE < mine => {
                peer.control.given.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
                peer.inbox.nudge();
            }
            _ => self.adopt(socket),
        }
    }

    /// Makes a connection of a socket.
    pub(crate) fn adopt(&mut self, socket: OwnedFd) {
        let place = self.connections.next_place();
        if let Err(error) = socket::watch(&self.epoll, &socket, place.to_u64()) {
            tracing::error!(%error, "cannot watch a socket");
            return;
        }
        self.connections.insert(Connection::new(socket, 0));
        self.metrics.connections.add(1);
        let patience = u64::try_from(self.options.client.stale_close_delay.as_millis()).unwrap_or(u64::MAX);
        self.set_deadline(place.index, patience);
    }

    /// Takes bytes of a request head that lie in the scratch buffer. Returns how many belong to the head once it is
    /// whole and the connection is a client's; what follows are frames.
    pub(crate) fn read_head(&mut self, place: Place, bytes: &[u8]) -> Option<usize> {
        let connection = self.connections.get_mut(place.index)?;
        let Some(mut head) = connection.head.take() else {
            return self.try_head(place, bytes).map(|used| used.min(bytes.len()));
        };
        let before = head.len();
        head.extend_from_slice(bytes);
        let used = self.try_head(place, &head)?;
        Some(used - before)
    }

    fn try_head(&mut self, place: Place, bytes: &[u8]) -> Option<usize> {
        let head = match Head::parse(bytes) {
            Ok(Some(head)) => head,
            Ok(None) if bytes.len() < REQUEST_HEAD_BYTES_MAX => {
                if let Some(connection) = self.connections.get_mut(place.index) {
                    connection.head = Some(Box::new(bytes.to_vec()));
                }
                return None;
            }
            Ok(None) => {
                let text = format!("the request head is longer than {REQUEST_HEAD_BYTES_MAX} bytes");
                self.refuse(place, &text_response(Status::HEADERS_TOO_LARGE, "", &text));
                return None;
            }
            Err(error) => {
                self.refuse(place, &text_response(error.status(), "", &error.to_string()));
                return None;
            }
        };
        match self.options.routes.iter().find(|r| r.path == head.path()) {
            Some(route) => {
                let wire = route.wire;
                self.upgrade(place, &head, wire)
            }
            None => {
                self.give_away(place, bytes);
                None
            }
        }
    }

    fn upgrade(&mut self, place: Place, head: &Head<'_>, wire: u8) -> Option<usize> {
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
        match answer {
            Ok(response) => {
                let connection = self.connections.get_mut(place.index)?;
                connection.phase = Phase::Open;
                connection.wire = wire;
                self.send_control(place.index, response.into());
                Some(head.bytes())
            }
            Err(response) => {
                self.refuse(place, &response);
                None
            }
        }
    }

    /// Answers and ends a connection that is no client's.
    fn refuse(&mut self, place: Place, response: &[u8]) {
        if let Some(connection) = self.connections.get(place.index) {
            // Whether the peer reads the reason is its own affair.
            let _ = socket::send(&connection.socket, response);
            socket::shutdown_write(&connection.socket);
        }
        self.drop_connection(place.index);
    }

    /// Hands a connection whose request is none of a shard's to the side that serves those.
    fn give_away(&mut self, place: Place, bytes: &[u8]) {
        let Some(connection) = self.connections.remove(place.index) else { return };
        self.metrics.connections.add(-1);
        socket::unwatch(&self.epoll, &connection.socket);
        let handed = HandedOver { stream: TcpStream::from(connection.socket), head: bytes.to_vec() };
        if let Err(refused) = (self.options.hand_over)(handed) {
            let text = "too many requests are being served, try again";
            let response = text_response(Status::UNAVAILABLE, "Retry-After: 1\r\n", text);
            let _ = rustix::net::send(&refused.stream, &response, rustix::net::SendFlags::NOSIGNAL);
        }
    }
}
