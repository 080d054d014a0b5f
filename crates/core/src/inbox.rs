//! What crosses from the log's side to a shard: one bounded queue and one wake-up per drain.
//!
//! Invariant: nobody who delivers ever waits. When the queue is full the *shard* is behind: the publications are left
//! out, [`Drained::overflowed`] says so, and the shard reads what it missed from the window. A connection whose commands
//! were left out is in [`Drained::unheard`] and ends, so that its client knows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidegate_protocol::Reply;
use tidegate_types::codes::ErrorCode;
use tidegate_types::limits::SHARD_EVENTS_MAX;
use tidegate_types::{Offset, Publication};
use tokio::sync::oneshot;

use crate::control::{Change, ChannelCounts, ChannelPattern, Order};
use crate::hub::CellId;
use crate::rules::Rule;
use crate::start::{ReadAfter, Start};

/// A command of a connection that waits for an answer from outside the shard. Opaque to everybody but the shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket {
    /// Place of the connection on its shard.
    pub connection: u32,
    /// Tells a connection from an earlier one at the same place.
    pub generation: u32,
    /// Id of the client's command.
    pub command: u32,
}

/// One publication for one channel of a shard.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Place of the channel on the shard.
    pub slot: u32,
    /// The registration that it is meant for; an older one is stale.
    pub registration: u32,
    /// When it entered the window: microseconds of the node's monotonic clock.
    pub entered_us: u64,
    /// What to deliver.
    pub publication: Arc<Publication>,
}

/// Anything else that a shard is told.
#[derive(Debug)]
pub enum ShardEvent {
    /// A subscription can begin, or cannot.
    Started {
        /// Whose.
        ticket: Ticket,
        /// Where it begins.
        result: Result<Start, ErrorCode>,
    },
    /// The answer to a command that needed the broker.
    Answered {
        /// Whose.
        ticket: Ticket,
        /// What to say.
        reply: Reply,
    },
    /// What a reader that is further back than the window asked for; the ticket's `command` is the channel's slot.
    Read {
        /// Whose.
        ticket: Ticket,
        /// Up to where the log was asked: there is nothing up to here when nothing came.
        until: Offset,
        /// What follows its cursor.
        result: ReadAfter,
    },
    /// Commands of a client that came by another way than its connection. The ticket's `command` means nothing.
    Uplink {
        /// Whose.
        ticket: Ticket,
        /// One or more commands, as the connection's dialect spells them.
        data: Bytes,
    },
    /// A response that is being made may be there. The ticket's `command` means nothing.
    Response {
        /// Whose.
        ticket: Ticket,
    },
    /// Keys that a command waits for were fetched, or not. The ticket's `command` means nothing.
    Fetched {
        /// Whose.
        ticket: Ticket,
        /// The fetch ended; otherwise the command has waited long enough.
        in_time: bool,
    },
    /// Somebody joined or left a channel, and this shard has asked to be told.
    Presence(Change),
    /// Which channels the shard has of a kind, and how many subscribers.
    Survey {
        /// Of which kind.
        pattern: ChannelPattern,
        /// Who asks.
        reply: oneshot::Sender<ChannelCounts>,
    },
    /// A backend orders something for connections that this shard may have.
    Order(Arc<Order>),
    /// A session that is to be its user's only one could not be made known. The ticket's `command` means nothing.
    Unclaimed {
        /// Whose.
        ticket: Ticket,
    },
    /// Something is revoked that sessions of this shard may stand on.
    Revoked(Arc<Rule>),
    /// All that is revoked was read again: sessions may stand on something of that.
    RulesRead,
    /// The numbering of a partition changed or has a hole: its subscriptions end with "insufficient state".
    Invalidated {
        /// The partition.
        cell: CellId,
    },
}

#[derive(Default)]
struct Queue {
    deliveries: Vec<Delivery>,
    events: Vec<ShardEvent>,
    overflowed: bool,
    /// One each for connections of the shard, so no more than those.
    unheard: HashSet<Ticket>,
    /// The shard will look here without being woken.
    awake: bool,
}

/// What a drain took out.
#[derive(Debug, Default)]
pub struct Drained {
    /// Publications in order per channel.
    pub deliveries: Vec<Delivery>,
    /// Everything else.
    pub events: Vec<ShardEvent>,
    /// Publications were left out since the last drain.
    pub overflowed: bool,
    /// Connections whose commands were left out since the last drain. A ticket's `command` means nothing.
    pub unheard: Vec<Ticket>,
}

/// The inbox of one shard.
pub struct Inbox {
    queue: Mutex<Queue>,
    deliveries_max: usize,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// An inbox for at most `deliveries_max` publications; `wake` ends the wait of its shard.
    ///
    /// Events that answer something that the shard itself asked for are bounded by it; others are offered.
    pub fn new(deliveries_max: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { queue: Mutex::default(), deliveries_max, wake: Box::new(wake) }
    }

    /// Hands over a publication, or marks the shard as behind.
    pub fn deliver(&self, delivery: Delivery) {
        let mut queue = self.lock();
        if queue.deliveries.len() < self.deliveries_max {
            queue.deliveries.push(delivery);
        } else {
            queue.overflowed = true;
        }
        self.wake_if_asleep(queue);
    }

    /// Hands over an event.
    pub fn send(&self, event: ShardEvent) {
        let mut queue = self.lock();
        queue.events.push(event);
        self.wake_if_asleep(queue);
    }

    /// Hands over an event that the shard did not ask for; `false` when too much waits.
    pub fn offer(&self, event: ShardEvent) -> bool {
        let mut queue = self.lock();
        if queue.events.len() >= SHARD_EVENTS_MAX {
            return false;
        }
        queue.events.push(event);
        self.wake_if_asleep(queue);
        true
    }

    /// Hands over commands of a client that were answered already, which nobody can take back: where too much waits the
    /// connection is to end.
    pub fn oblige(&self, ticket: Ticket, data: Bytes) {
        if !self.offer(ShardEvent::Uplink { ticket, data }) {
            let mut queue = self.lock();
            queue.unheard.insert(ticket);
            self.wake_if_asleep(queue);
        }
    }

    /// Ends the shard's wait without telling it anything.
    pub fn nudge(&self) {
        (self.wake)();
    }

    /// Takes everything out; `into` gives its vectors for reuse. The inbox counts as watched from here on.
    pub fn drain(&self, into: &mut Drained) {
        into.deliveries.clear();
        into.events.clear();
        let mut queue = self.lock();
        std::mem::swap(&mut queue.deliveries, &mut into.deliveries);
        std::mem::swap(&mut queue.events, &mut into.events);
        into.overflowed = std::mem::take(&mut queue.overflowed);
        into.unheard.clear();
        into.unheard.extend(queue.unheard.drain());
        queue.awake = true;
    }

    /// Says that the shard is about to wait. `false` when something came meanwhile: drain instead.
    pub fn try_sleep(&self) -> bool {
        let mut queue = self.lock();
        let told = queue.overflowed || !queue.unheard.is_empty();
        let empty = queue.deliveries.is_empty() && queue.events.is_empty() && !told;
        queue.awake = !empty;
        empty
    }

    /// Says that the shard waits no more and will drain: until then nobody needs to wake it, least of all itself.
    pub fn woke(&self) {
        self.lock().awake = true;
    }

    fn wake_if_asleep(&self, mut queue: MutexGuard<'_, Queue>) {
        let asleep = !std::mem::replace(&mut queue.awake, true);
        drop(queue);
        if asleep {
            (self.wake)();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
