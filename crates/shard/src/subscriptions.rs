//! Subscriptions: from the command to the first live delivery, and their end.
//!
//! A subscription begins at a cursor that the hub read under the partition's lock, after this shard had registered its
//! interest. So every later publication is either in the inbox or read back from the window, and the cursor tells which
//! of them count.

use bytes::Bytes;
use tidegate_core::{Grant, ReplyTo, ShardEvent, Start, Ticket};
use tidegate_protocol::{Push, Reply, Subscribe, SubscribeResult};
use tidegate_types::codes::{Disconnect, ErrorCode, Unsubscribe};
use tidegate_types::limits::PENDING_PER_CONNECTION_MAX;
use tidegate_types::{ChannelName, ClientId, Offset};

use crate::channel::{Channel, Deltas, Entry};
use crate::connection::{Asked, Subscription, Waiting};
use crate::shard::Shard;
use crate::slab::Place;

use tidegate_core::Refusal;

/// When a subscription must be refreshed, in whole seconds; 0 = never.
pub(crate) fn expire_at_seconds(grant: &Grant) -> u32 {
    grant.expire_at_ms.and_then(|ms| u32::try_from(ms / 1000).ok()).unwrap_or(0)
}

/// A subscription that is about to deliver.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) slot: u32,
    grant: Grant,
    /// Everything up to here is told.
    cursor: u64,
    /// What follows may lie before what this shard has heard of.
    replays: bool,
    /// See [`Waiting::overflows`].
    overflows: u32,
}

/// What is kept of what a token says of a client in a channel.
pub(crate) fn info_of(grant: &Grant) -> Option<Box<Bytes>> {
    (!grant.info.is_empty()).then(|| Box::new(grant.info.clone()))
}

/// What a client is told of a subscription, and where it begins. With `replay` what it missed is no part of that, but
/// comes as publications.
pub(crate) fn begin_at(waiting: Waiting, start: Start, replay: bool) -> (SubscribeResult, Beginning) {
    let Waiting { slot, mut grant, overflows, .. } = waiting;
    let first = start.publications.first().filter(|_| replay);
    let cursor = first.map_or(start.cursor.0, |first| first.offset.0 - 1);
    let replays = first.is_some();
    let mut position = start.position;
    if replays {
        position.offset = Offset(cursor);
    }
    let told = SubscribeResult {
        recoverable: grant.recoverable,
        positioned: grant.positioned,
        position: grant.positioned.then_some(position),
        publications: if replay { Vec::new() } else { start.publications },
        recovered: start.recovered,
        was_recovering: grant.since.is_some(),
        ttl_seconds: grant.ttl_seconds,
        data: std::mem::take(&mut grant.data),
        delta: grant.delta,
    };
    (told, Beginning { slot, grant, cursor, replays, overflows })
}

impl Shard {
    /// Begins a subscription, or leaves it to [`Shard::started`].
    pub(crate) fn subscribe(&mut self, place: Place, id: u32, request: &Subscribe) -> Result<(), Refusal> {
        if request.channel.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let name = ChannelName::parse(&request.channel).map_err(|_| ErrorCode::BAD_REQUEST)?;
        let namespace = self.hub.namespaces().for_client(&name)?.clone();
        let now_ms = self.wall_ms();
        let known = self.by_name.get(&name).copied();
        let policy = Self::policy(&self.options, &self.verifier, &self.hub, self.version, now_ms);
        let Some(connection) = self.connections.get_mut(place.index) else { return Ok(()) };
        if known.is_some_and(|slot| connection.subscription(slot).is_some()) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED.into());
        }
        if connection.subscriptions.len() >= self.options.client.channel_limit {
            return Err(ErrorCode::LIMIT_EXCEEDED.into());
        }
        // Those that were given up before they began, which the hub still works for, count among these.
        if usize::from(connection.pending) >= PENDING_PER_CONNECTION_MAX {
            return Err(ErrorCode::TOO_MANY_REQUESTS.into());
        }
        let grant = connection.session.may_subscribe(&policy, &namespace.options, &name, request)?;
        let slot = self.slot_of(name)?;
        let asked = Asked::Client { command: id, reject_unrecovered: request.reject_unrecovered };
        self.begin(place, Waiting::new(slot, grant, asked));
        Ok(())
    }

    /// The place of a channel on this shard, opened where nobody here had it.
    pub(crate) fn slot_of(&mut self, name: ChannelName) -> Result<u32, Refusal> {
        match self.by_name.get(&name) {
            Some(slot) => Ok(*slot),
            None => self.open_channel(name),
        }
    }

    /// Registers this shard's interest in a channel that nobody here has.
    fn open_channel(&mut self, name: ChannelName) -> Result<u32, Refusal> {
        let hub = self.hub.channel(&name).map_err(|error| {
            tracing::debug!(%error, "cannot subscribe");
            error.code()
        })?;
        self.next_registration = self.next_registration.wrapping_add(1);
        let registration = self.next_registration;
        let slot = self.channels.insert(Channel::new(name.clone(), hub.clone(), registration)).index;
        self.hub.listen(&hub, self.id, slot, registration);
        self.by_name.insert(name, slot);
        self.metrics.channels.add(1);
        Ok(slot)
    }

    /// Asks the hub where a subscription begins.
    pub(crate) fn begin(&mut self, place: Place, mut waiting: Waiting) {
        let slot = waiting.slot;
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        channel.pending += 1;
        let expire_at = expire_at_seconds(&waiting.grant);
        let subscription = Subscription {
            slot,
            entry: Subscription::PENDING,
            expire_at,
            reading: 0,
            present: false,
            join_leave: false,
            server_side: !matches!(waiting.asked, Asked::Client { .. }),
            replaying: false,
            token: waiting.grant.token.take(),
            info: info_of(&waiting.grant),
        };
        if let Some(token) = &subscription.token {
            self.tokens.add(&token.id, place.index);
        }
        connection.subscriptions.push(subscription);
        self.begun = self.begun.wrapping_add(1);
        let number = self.begun;
        let waiting = Waiting { number, overflows: self.overflows, ..waiting };
        let ticket = Ticket { connection: place.index, generation: place.generation, command: number };
        let reply_to = ReplyTo { shard: self.id, ticket };
        let started = self.hub.subscribe(&channel.hub, waiting.grant.since.as_ref(), reply_to);
        connection.waiting.get_or_insert_default().push(waiting);
        if let Some(start) = started {
            self.started(place, number, Ok(start));
        }
    }

    /// The hub has said where the subscription of that number begins. It may have been given up meanwhile.
    pub(crate) fn started(&mut self, place: Place, number: u32, result: Result<Start, ErrorCode>) {
        if !self.connections.is_at(place) {
            return;
        }
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let Some(waiting) = connection.take_waiting(|w| w.number == number) else {
            connection.pending = connection.pending.saturating_sub(1);
            return;
        };
        let slot = waiting.slot;
        match waiting.asked {
            Asked::Client { command, reject_unrecovered } => {
                let unrecovered = |start: &Start| waiting.grant.since.is_some() && !start.recovered;
                let result = match result {
                    Ok(start) if reject_unrecovered && unrecovered(&start) => Err(ErrorCode::UNRECOVERABLE_POSITION),
                    other => other,
                };
                match result {
                    Ok(start) => {
                        // What waits for a socket is bounded, and publications are read from where they are kept.
                        let replay = connection.blocked.is_some();
                        let (result, beginning) = begin_at(waiting, start, replay);
                        // The reply comes before any publication: replies are flushed before the next sweep, and those of
                        // many subscriptions that a client asked for in one message go together.
                        self.reply(place.index, command, &Reply::Subscribe(Box::new(result)));
                        self.go_live(place, beginning);
                    }
                    Err(code) => {
                        self.forget_subscription(place, slot);
                        self.reply(place.index, command, &Reply::Error(code));
                    }
                }
            }
            Asked::Connect => self.started_at_connect(place, waiting, result),
            Asked::Order => self.started_by_order(place, waiting, result),
        }
    }

    /// A subscription that was told to the client delivers from here on.
    pub(crate) fn go_live(&mut self, place: Place, beginning: Beginning) {
        let Beginning { slot, grant, cursor, replays, overflows } = beginning;
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let Some(channel) = self.channels.get_mut(slot) else { return };
        channel.pending -= 1;
        // What this shard has drained beyond the cursor is read back from the window, and so is what it was not given.
        let missed = channel.head > cursor || self.overflows != overflows;
        let behind = missed || replays || connection.blocked.is_some();
        let deltas = if grant.delta { Deltas::Baseless } else { Deltas::Off };
        let (wire, join_leave) = (connection.wire, grant.join_leave);
        let entry = Entry { cursor, connection: place.index, wire, behind, deltas, join_leave };
        let at = channel.join(entry);
        let Some(subscription) = connection.subscription(slot) else { return };
        subscription.entry = at;
        subscription.replaying = replays;
        let expires = subscription.expire_at > 0;
        (subscription.present, subscription.join_leave) = (grant.present, grant.join_leave);
        self.metrics.subscriptions.add(1);
        if behind {
            self.mark_behind(place);
        }
        if expires {
            self.set_alarm(place.index);
        }
        self.appear(place, slot, grant.info);
    }

    /// Counts one more subscription of a connection as behind, and sees to it that it catches up.
    pub(crate) fn mark_behind(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        connection.behind += 1;
        self.metrics.behind.add(1);
        if connection.blocked.is_none() {
            self.catching_up.push_back(place);
        }
    }

    /// The same for one that was live. Where the socket is blocked, whatever by, the policy of its namespace holds.
    pub(crate) fn mark_late(&mut self, slot: u32, index: u32) {
        self.mark_behind(self.connections.place(index));
        self.lag(slot, index);
    }

    /// Ends a subscription that the client gives up.
    pub(crate) fn unsubscribe(&mut self, place: Place, channel: &str) -> Result<(), Refusal> {
        if channel.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let slot = ChannelName::parse(channel).ok().and_then(|name| self.by_name.get(&name).copied());
        if let Some(slot) = slot {
            self.forget_subscription(place, slot);
        }
        Ok(())
    }

    /// Ends a subscription that the server gives up, and says why. One that the server made and cannot keep ends the
    /// connection: its client gets it back with the next one.
    pub(crate) fn end_subscription(&mut self, place: Place, slot: u32, code: Unsubscribe) {
        let Some(name) = self.channels.get(slot).map(|c| c.name.clone()) else { return };
        let Some(subscription) = self.connections.get_mut(place.index).and_then(|c| c.subscription(slot)) else {
            return;
        };
        let broken = match code {
            Unsubscribe::INSUFFICIENT_STATE => Some(Disconnect::INSUFFICIENT_STATE),
            Unsubscribe::EXPIRED => Some(Disconnect::SUBSCRIPTION_EXPIRED),
            Unsubscribe::STATE_INVALIDATED => Some(Disconnect::STATE_INVALIDATED),
            _ => None,
        };
        if let Some(why) = broken.filter(|_| subscription.server_side) {
            self.flush_replies(place.index);
            return self.close(place.index, why);
        }
        if self.is_connecting(place) {
            return self.forget_subscription(place, slot);
        }
        self.flush_replies(place.index);
        self.forget_subscription(place, slot);
        self.push(place.index, &Push::Unsubscribed { channel: name.as_str(), code });
        self.flush_replies(place.index);
    }

    /// Takes a subscription out of its connection and its channel.
    pub(crate) fn forget_subscription(&mut self, place: Place, slot: u32) {
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let Some(at) = connection.subscriptions.iter().position(|s| s.slot == slot) else { return };
        let subscription = connection.subscriptions.swap_remove(at);
        let waiting = connection.take_waiting(|waiting| waiting.slot == slot);
        connection.pending = connection.pending.saturating_add(u16::from(waiting.is_some()));
        let entry = usize::try_from(subscription.entry).unwrap_or(usize::MAX);
        let behind = self.channels.get(slot).and_then(|c| c.entries.get(entry)).is_some_and(|e| e.behind);
        if behind {
            connection.behind -= 1;
            self.metrics.behind.add(-1);
        }
        let client = connection.session.client_id();
        self.leave(place.index, &subscription, client, false);
        if let Some(Asked::Client { command, .. }) = waiting.as_ref().map(|waiting| &waiting.asked) {
            // Given up before it began: a command without an answer would run into the client's timeout.
            self.reply(place.index, *command, &Reply::Error(ErrorCode::INTERNAL));
        }
        self.forget_at_connect(place, slot, waiting.is_some());
    }

    /// Takes a subscription of `client` out of its channel; the channel goes with its last one. `away`: its connection
    /// broke.
    pub(crate) fn leave(&mut self, index: u32, subscription: &Subscription, client: ClientId, away: bool) {
        let slot = subscription.slot;
        if let Some(token) = &subscription.token {
            self.tokens.remove(&token.id, index);
        }
        self.disappear(subscription, client, away);
        let Some(channel) = self.channels.get_mut(slot) else { return };
        if subscription.entry == Subscription::PENDING {
            channel.pending -= 1;
        } else {
            self.metrics.subscriptions.add(-1);
            let moved = channel.leave(subscription.entry as usize);
            if let Some(mover) = moved.and_then(|m| self.connections.get_mut(m)).and_then(|c| c.subscription(slot)) {
                mover.entry = subscription.entry;
            }
        }
        self.close_channel_if_unused(slot);
    }

    fn close_channel_if_unused(&mut self, slot: u32) {
        if self.channels.get(slot).is_some_and(Channel::is_unused)
            && let Some(channel) = self.channels.remove(slot)
        {
            self.by_name.remove(&channel.name);
            self.hub.unlisten(&channel.hub, self.id, slot, channel.registration);
            self.metrics.channels.add(-1);
        }
    }

    /// What the hub tells beside publications. Replies gather in the batch, which the caller flushes.
    pub(crate) fn on_shard_event(&mut self, event: ShardEvent) {
        self.replied_bytes = 0;
        match event {
            ShardEvent::Started { ticket, result } => {
                let place = Place { index: ticket.connection, generation: ticket.generation };
                self.started(place, ticket.command, result);
            }
            ShardEvent::Answered { ticket, reply } => {
                self.expect_more();
                let place = Place { index: ticket.connection, generation: ticket.generation };
                if self.connections.is_at(place) {
                    if let Some(connection) = self.connections.get_mut(place.index) {
                        connection.pending = connection.pending.saturating_sub(1);
                    }
                    self.reply_if_room(place.index, ticket.command, &reply);
                }
            }
            ShardEvent::Read { ticket, until, result } => {
                let place = Place { index: ticket.connection, generation: ticket.generation };
                self.read_back(place, ticket.command, until, result);
            }
            ShardEvent::Response { ticket } => {
                self.expect_more();
                self.go_on_answering(Place { index: ticket.connection, generation: ticket.generation });
            }
            ShardEvent::Uplink { ticket, data } => self.on_uplink(ticket, &data),
            ShardEvent::Fetched { ticket, in_time } => {
                self.go_on_holding(Place { index: ticket.connection, generation: ticket.generation }, in_time);
            }
            ShardEvent::Presence(change) => self.tell_of(&change),
            ShardEvent::Survey { pattern, reply } => drop(reply.send(self.count_channels(&pattern))),
            ShardEvent::Order(order) => self.obey(&order),
            ShardEvent::Unclaimed { ticket } => {
                self.claim_again(Place { index: ticket.connection, generation: ticket.generation });
            }
            ShardEvent::RulesRead => self.revoke_any(),
            ShardEvent::Revoked(rule) => self.revoke(&rule),
            ShardEvent::Invalidated { cell } => self.invalidate(cell),
        }
    }

    /// Ends every subscription on a partition whose positions are void, and those that would begin there.
    fn invalidate(&mut self, cell: tidegate_core::CellId) {
        let waiting = self.connections.indices().into_iter().filter_map(|index| {
            let waiting = self.connections.get(index)?.waiting.as_deref()?;
            let lies_there = |w: &&Waiting| self.channels.get(w.slot).is_some_and(|c| c.hub.cell() == cell);
            let place = self.connections.place(index);
            Some(waiting.iter().filter(lies_there).map(move |w| (place, w.number)).collect::<Vec<_>>())
        });
        for (place, number) in waiting.flatten().collect::<Vec<_>>() {
            // The hub will answer all the same.
            if let Some(connection) = self.connections.get_mut(place.index) {
                connection.pending = connection.pending.saturating_add(1);
            }
            self.started(place, number, Err(ErrorCode::INTERNAL));
        }
        for slot in self.channels.indices() {
            let Some(channel) = self.channels.get(slot).filter(|c| c.hub.cell() == cell) else { continue };
            let connections: Vec<u32> = channel.entries.iter().map(|e| e.connection).collect();
            self.metrics.insufficient_state.add(connections.len() as u64);
            for index in connections {
                self.end_subscription(self.connections.place(index), slot, Unsubscribe::INSUFFICIENT_STATE);
            }
        }
        self.invalidate_at_connect(cell);
    }
}
