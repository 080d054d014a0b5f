//! The state of a shard, and what its parts share.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tidegate_core::metrics::ShardMetrics;
use tidegate_core::{Drained, Hub, Inbox, Policy, Verifier};
use tidegate_types::codes::{self, Disconnect};
use tidegate_types::limits::GIVEN_SOCKETS_MAX;
use tidegate_types::{ChannelName, ClientId};

use crate::channel::Channel;
use crate::connection::{Connection, Phase};
use crate::one_way;
use crate::options::{HandedOver, ShardOptions};
use crate::slab::{Place, Slab};
use crate::socket;
use crate::users::Users;
use crate::wheel::Wheel;

/// What other threads may tell a shard beside its inbox.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Stop accepting, close everything at a pace, end.
    pub(crate) drain: AtomicBool,
    /// Close what is left at once.
    pub(crate) stop: AtomicBool,
    given: Mutex<Given>,
}

/// Sockets that others accepted for a shard; bounded.
#[derive(Debug, Default)]
struct Given {
    waiting: VecDeque<HandedOver>,
    /// The shard has ended: nobody would take them.
    closed: bool,
}

impl Control {
    /// Gives a socket; back where too many wait, or the shard has ended.
    pub(crate) fn give(&self, socket: HandedOver) -> Result<(), HandedOver> {
        let mut given = self.given();
        if given.closed || given.waiting.len() >= GIVEN_SOCKETS_MAX {
            return Err(socket);
        }
        given.waiting.push_back(socket);
        Ok(())
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.given().waiting.len()
    }

    /// The shard ends: what waits is dropped, and nothing more is taken.
    pub(crate) fn close(&self) {
        let mut given = self.given();
        given.closed = true;
        let waiting = std::mem::take(&mut given.waiting);
        drop(given);
        drop(waiting);
    }

    /// Takes some of them; whether more wait.
    pub(crate) fn take_given(&self, most: usize) -> (Vec<HandedOver>, bool) {
        let mut given = self.given();
        let count = given.waiting.len().min(most);
        let taken = given.waiting.drain(..count).collect();
        (taken, !given.waiting.is_empty())
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shard as the others see it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) control: Arc<Control>,
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// See the module docs.
pub(crate) struct Shard {
    pub(crate) id: u16,
    pub(crate) epoll: OwnedFd,
    pub(crate) listener: Option<Arc<OwnedFd>>,
    /// The listener is not watched until then, because descriptors ran out.
    pub(crate) accept_again_ms: Option<u64>,
    /// Held so that it stays watched.
    pub(crate) _wake: Arc<OwnedFd>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) control: Arc<Control>,
    pub(crate) peers: Arc<[Peer]>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) options: Arc<ShardOptions>,
    pub(crate) version: &'static str,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) connections: Slab<Connection>,
    pub(crate) channels: Slab<Channel>,
    pub(crate) by_name: HashMap<ChannelName, u32, RandomState>,
    pub(crate) users: Users,
    /// The same by the names of their tokens.
    pub(crate) tokens: Users,
    pub(crate) next_registration: u32,
    /// Subscriptions that have begun.
    pub(crate) begun: u32,
    /// Reads of the log for subscriptions that are behind, as numbers: 0 is none.
    pub(crate) reads: u32,
    /// Channels with a fan-out under way.
    pub(crate) dirty: VecDeque<u32>,
    /// Connections by their clients' ids, as they were at the first order of this turn that named one.
    pub(crate) clients: Option<HashMap<ClientId, u32, RandomState>>,
    /// How often the inbox has left publications out.
    pub(crate) overflows: u32,
    /// How many sockets the last look found.
    pub(crate) heard: usize,
    /// Answers that let what they caused go first.
    pub(crate) later: VecDeque<(Place, Vec<u8>)>,
    /// Answers from the log went out; until then who got them may ask on, microseconds of the shard's clock.
    pub(crate) asked_until_us: u64,
    /// Connections with more to read than one turn takes.
    pub(crate) readable: VecDeque<Place>,
    /// Connections that are writable and have subscriptions behind.
    pub(crate) catching_up: VecDeque<Place>,
    /// Connections with commands that were put off.
    pub(crate) put_off: VecDeque<Place>,
    /// Bytes of replies that the present read or event has caused.
    pub(crate) replied_bytes: usize,
    /// Connections to end, noted where ending them would disturb a walk.
    pub(crate) doomed: Vec<(Place, Option<Disconnect>)>,
    pub(crate) wheel: Wheel,
    pub(crate) pings: Vec<Bytes>,
    pub(crate) drained: Drained,
    /// Everything read goes through here: no connection has a read buffer.
    pub(crate) scratch: Vec<u8>,
    /// What was in the TLS records of a read.
    pub(crate) plain: Vec<u8>,
    /// TLS records being built.
    pub(crate) records: Vec<u8>,
    /// TLS handshakes that wait for their turn.
    pub(crate) handshakes: VecDeque<Place>,
    /// A run of replies being built, and whose.
    pub(crate) batch: Vec<u8>,
    pub(crate) batch_of: Option<Place>,
    /// A message being built.
    pub(crate) message: Vec<u8>,
    /// Frames being built.
    pub(crate) frames: Vec<u8>,
    /// Monotonic clock of this turn.
    pub(crate) now_us: u64,
    pub(crate) drain_from_ms: Option<u64>,
    /// Connections closed since the drain began.
    pub(crate) drained_count: u64,
    pub(crate) random: u64,
}

impl Shard {
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.hub.clock().wall_ms()
    }

    pub(crate) fn policy<'a>(
        options: &'a ShardOptions,
        verifier: &'a Verifier,
        hub: &'a Hub,
        version: &'static str,
        now_ms: i64,
    ) -> Policy<'a> {
        Policy {
            options: &options.client,
            verifier,
            namespaces: hub.namespaces(),
            rules: hub.rules().map(Arc::as_ref),
            version,
            now_ms,
        }
    }

    /// A number that spreads timers; nothing depends on it being unguessable.
    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Ends a connection: with a close where one is given, and at once where none is.
    pub(crate) fn end(&mut self, place: Place, why: Option<Disconnect>) {
        if !self.connections.is_at(place) {
            return;
        }
        match why {
            Some(why) => self.close(place.index, why),
            None => self.drop_connection(place.index),
        }
    }

    /// Sends a close and waits for the peer's. Its subscriptions end now.
    pub(crate) fn close(&mut self, index: u32, why: Disconnect) {
        self.close_with(index, why.code, why.reason);
    }

    /// [`Shard::close`] with any code and reason.
    pub(crate) fn close_with(&mut self, index: u32, code: u16, reason: &str) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.phase == Phase::Closing {
            return;
        }
        if matches!(connection.phase, Phase::Head | Phase::Requests | Phase::Refused) {
            return self.drop_connection(index);
        }
        // Nothing follows a close.
        self.flush_replies(index);
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.phase = Phase::Closing;
        let wire = usize::from(connection.wire);
        self.count_close(code);
        let early = self.connections.get_mut(index).and_then(|c| c.head.take());
        self.release(index, codes::reconnects(code));
        let mut frame = Vec::new();
        if let Some(head) = early {
            if let Some(response) = one_way::refusal(&head.bytes, code, reason) {
                self.send_bytes(index, &response);
                self.end_response(index);
                return self.set_deadline(index, CLOSING_MS);
            }
            frame.extend_from_slice(&head.bytes);
        }
        self.options.wires[wire].close(code, reason, &mut frame);
        self.send_control(index, frame.into());
        self.end_response(index);
        self.set_deadline(index, CLOSING_MS);
    }

    fn count_close(&self, code: u16) {
        let counters = [
            (Disconnect::NO_PONG, &self.metrics.closed_no_pong),
            (Disconnect::SLOW, &self.metrics.closed_slow),
            (Disconnect::STALE, &self.metrics.closed_stale),
            (Disconnect::BAD_REQUEST, &self.metrics.closed_protocol),
        ];
        counters.iter().filter(|(why, _)| why.code == code).for_each(|(_, counter)| counter.add(1));
    }

    /// Ends every subscription and the session, and keeps the socket. `away`: the client has not said that it goes.
    pub(crate) fn release(&mut self, index: u32, away: bool) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let client = connection.session.client_id();
        if connection.session.is_open() {
            self.metrics.clients.add(-1);
            self.users.remove(connection.session.user(), index);
            self.tokens.remove(connection.session.token(), index);
            self.hub.users().leave(connection.session.user());
        }
        connection.session = tidegate_core::Session::default();
        if let Some(key) = connection.uplink.take() {
            self.hub.close_uplink(*key);
        }
        let subscriptions = std::mem::take(&mut connection.subscriptions);
        let behind = std::mem::take(&mut connection.behind);
        connection.waiting = None;
        connection.held = None;
        self.metrics.behind.add(-i64::from(behind));
        for subscription in subscriptions {
            self.leave(index, &subscription, client, away);
        }
    }

    /// Forgets a connection and closes its socket.
    pub(crate) fn drop_connection(&mut self, index: u32) {
        self.release(index, true);
        if let Some(mut connection) = self.connections.remove(index) {
            self.metrics.connections.add(-1);
            self.end_tls(&mut connection);
            socket::unwatch(&self.epoll, &connection.socket);
        }
    }

    /// Notes a connection to end with this turn. Nothing more that it asks for is done.
    pub(crate) fn doom(&mut self, place: Place, why: Option<Disconnect>) {
        if self.connections.is_at(place)
            && let Some(connection) = self.connections.get_mut(place.index)
        {
            connection.doomed = true;
        }
        self.doomed.push((place, why));
    }

    /// Ends what was noted while walking.
    pub(crate) fn end_doomed(&mut self) {
        while let Some((place, why)) = self.doomed.pop() {
            self.end(place, why);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.control.drain.load(Relaxed)
    }
}

/// How long a peer may take to answer a close.
const CLOSING_MS: u64 = 5_000;
