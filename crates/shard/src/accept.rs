//! New sockets: accepted, spread over the shards, watched.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use tidegate_types::limits::{ACCEPTS_PER_TURN_MAX, HTTP_IDLE_MAX};

use crate::connection::{Connection, Phase};
use crate::event_loop::LISTENER;
use crate::options::HandedOver;
use crate::shard::Shard;
use crate::socket::{self, Accepted};
use crate::timers::millis;

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
        let handed = HandedOver::new(socket);
        let mine = self.metrics.connections.get();
        let least = self.peers.iter().min_by_key(|p| p.metrics.connections.get());
        match least {
            Some(peer) if peer.metrics.connections.get() + IMBALANCE < mine => match peer.control.give(handed) {
                Ok(()) => peer.inbox.nudge(),
                Err(handed) => self.adopt(handed),
            },
            _ => self.adopt(handed),
        }
    }

    /// Makes a connection of a socket.
    pub(crate) fn adopt(&mut self, handed: HandedOver) {
        self.replied_bytes = 0;
        let HandedOver { socket, head: mut bytes, tls, client, served, .. } = handed;
        let tls = match (tls, &self.options.tls) {
            (None, Some(acceptor)) if client.is_none() => match acceptor.session() {
                Ok(session) => Some(session),
                Err(error) => return tracing::error!(%error, "cannot begin a TLS session"),
            },
            (tls, _) => tls,
        };
        // It was served elsewhere before, and something may be left to send.
        let blocked = tls.as_ref().is_some_and(|tls| !tls.unsent().is_empty());
        let ends = tls.as_ref().is_some_and(|tls| tls.is_peer_closed());
        let place = self.connections.next_place();
        if let Err(error) = socket::watch(&self.epoll, &socket, place.to_u64()) {
            tracing::error!(%error, "cannot watch a socket");
            return;
        }
        let (phase, patience) = match served && bytes.is_empty() {
            true => (Phase::Requests, HTTP_IDLE_MAX),
            false => (Phase::Head, self.options.client.stale_close_delay),
        };
        self.connections.insert(Connection { client: client.map(Box::new), phase, ..Connection::new(socket, tls) });
        self.metrics.connections.add(1);
        self.set_deadline(place.index, millis(patience));
        if blocked {
            self.block(place.index, Bytes::new());
            self.writable(place.index);
        }
        if !bytes.is_empty() {
            self.take_bytes(place, &mut bytes);
        }
        if ends {
            // The socket may not say so again.
            self.readable.push_back(place);
        }
    }
}
