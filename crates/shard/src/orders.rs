//! Orders of a backend for connections of this shard: the server API's `disconnect`, `subscribe`, `unsubscribe` and
//! `refresh`; and what it revokes.
//!
//! Every shard of every node gets every order. One for a user finds the user's sessions by [`crate::users::Users`]. Clients
//! are found by a table that is made for the orders of a turn: it costs a connection no memory, and many orders one look at
//! all.

use bytes::Bytes;
use tidegate_core::{Action, Bearer, Order, OrderedSubscription, Rule, ServerSubscription, Start};
use tidegate_protocol::{Push, Since, Subscribe};
use tidegate_types::codes::{Disconnect, ErrorCode, Unsubscribe};
use tidegate_types::{ChannelName, ClientId};

use crate::connecting::POSITIONS_MAX;
use crate::connection::{Asked, Connection, Subscription, Waiting};
use crate::shard::Shard;
use crate::slab::Place;
use crate::subscriptions::begin_at;

/// Whether an order is for this connection.
fn is_named(order: &Order, client: Option<ClientId>, connection: &Connection) -> bool {
    let session = &connection.session;
    session.is_open()
        && (order.user.is_empty() || session.user() == order.user)
        && (order.client.is_empty() || client == Some(session.client_id()))
        && (order.session.is_empty() || connection.uplink.as_ref().is_some_and(|key| key.is(&order.session)))
}

impl Shard {
    /// Carries an order out.
    pub(crate) fn obey(&mut self, order: &Order) {
        let candidates = self.candidates(order);
        let client = ClientId::parse(&order.client);
        let named = |index: &u32| self.connections.get(*index).is_some_and(|c| is_named(order, client, c));
        let places: Vec<Place> = candidates.into_iter().filter(named).map(|i| self.connections.place(i)).collect();
        for place in places {
            match &order.action {
                Action::Disconnect { code, reason, whitelist } => self.disconnect(place, *code, reason, whitelist),
                Action::Subscribe(subscription) => self.subscribe_by_order(place, subscription),
                Action::Unsubscribe { channel } => {
                    if let Some(slot) = self.by_name.get(channel.as_str()).copied() {
                        self.end_subscription(place, slot, Unsubscribe::SERVER);
                    }
                }
                Action::Single { client } => self.yield_to(place, client),
                Action::Refresh { expire_at, info } => {
                    self.set_info(place, info);
                    self.set_expiry(place, *expire_at);
                }
                Action::Nothing => {}
            }
        }
    }

    /// Connections that an order may be for.
    fn candidates(&mut self, order: &Order) -> Vec<u32> {
        if !order.user.is_empty() {
            return self.users.of(&order.user).to_vec();
        }
        if !order.session.is_empty() {
            let found = self.hub.session(&order.session).filter(|(shard, _)| *shard == self.id);
            return found.map(|(_, ticket)| ticket.connection).into_iter().collect();
        }
        if !order.client.is_empty() {
            return ClientId::parse(&order.client).and_then(|client| self.index_of(client)).into_iter().collect();
        }
        self.connections.indices()
    }

    /// The connection of a client.
    fn index_of(&mut self, client: ClientId) -> Option<u32> {
        let connections = &self.connections;
        let all = || {
            let named = |index| Some((connections.get(index)?.session.client_id(), index));
            connections.indices().into_iter().filter_map(named).collect()
        };
        self.clients.get_or_insert_with(all).get(&client).copied()
    }

    /// Ends the sessions that stand on what is revoked, and of the others the subscriptions that do.
    pub(crate) fn revoke(&mut self, rule: &Rule) {
        let candidates = match rule {
            Rule::Block { user, .. } | Rule::Before { user, .. } | Rule::Unblock { user } => {
                self.users.of(user).to_vec()
            }
            Rule::Token { id, .. } => self.tokens.of(id).to_vec(),
            Rule::Remove { .. } => return,
        };
        for index in candidates {
            if let Some(why) = self.connections.get(index).and_then(|c| c.session.ended_by(rule)) {
                self.flush_replies(index);
                self.close(index, why);
            } else {
                self.end_subscriptions(index, |token| token.revoked_by(rule).is_some());
            }
        }
    }

    /// Ends the subscriptions of a connection whose tokens are revoked.
    fn end_subscriptions(&mut self, index: u32, is_revoked: impl Fn(Bearer<'_>) -> bool) {
        let Some(connection) = self.connections.get(index) else { return };
        let user = connection.session.user();
        let stands_on = |s: &&Subscription| s.token.as_ref().is_some_and(|token| is_revoked(token.of(user)));
        let slots: Vec<u32> = connection.subscriptions.iter().filter(stands_on).map(|s| s.slot).collect();
        for slot in slots {
            self.end_subscription(self.connections.place(index), slot, Unsubscribe::STATE_INVALIDATED);
        }
    }

    /// Ends what stands on anything that is revoked.
    pub(crate) fn revoke_any(&mut self) {
        let Some(rules) = self.hub.rules().cloned() else { return };
        for index in self.connections.indices() {
            if let Some(why) = self.connections.get(index).and_then(|c| c.session.ended_by_any(&rules)) {
                self.flush_replies(index);
                self.close(index, why);
            } else {
                self.end_subscriptions(index, |token| rules.check(token).is_some_and(|counts| counts.is_err()));
            }
        }
    }

    fn disconnect(&mut self, place: Place, code: u16, reason: &str, whitelist: &[String]) {
        let Some(connection) = self.connections.get(place.index) else { return };
        if whitelist.is_empty() || !whitelist.contains(&connection.session.client_id().to_string()) {
            self.flush_replies(place.index);
            self.close_with(place.index, code, reason);
        }
    }

    /// A user's newest session is `client`. Those whose own claim has not come by yet are newer, in the order that all
    /// nodes see.
    fn yield_to(&mut self, place: Place, client: &str) {
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        if connection.session.client_id().to_string() == client {
            connection.claiming = false;
        } else if !connection.claiming {
            self.flush_replies(place.index);
            self.close(place.index, Disconnect::CONNECTION_LIMIT);
        }
    }

    /// Who is present in a channel shows there as when it came.
    fn set_info(&mut self, place: Place, info: &str) {
        if let Some(connection) = self.connections.get_mut(place.index).filter(|_| !info.is_empty()) {
            connection.session.set_info(Bytes::copy_from_slice(info.as_bytes()));
        }
    }

    fn set_expiry(&mut self, place: Place, expire_at: Option<i64>) {
        let now_ms = self.wall_ms();
        if expire_at.is_some_and(|at| at.saturating_mul(1000) <= now_ms) {
            return self.close(place.index, Disconnect::EXPIRED);
        }
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let ttl_seconds = connection.session.set_expiry(expire_at, now_ms);
        match connection.connecting() {
            Some(connecting) => connecting.result.ttl_seconds = ttl_seconds,
            None => {
                self.push(place.index, &Push::Refreshed { ttl_seconds });
                self.flush_replies(place.index);
            }
        }
        self.set_alarm(place.index);
    }

    /// Subscribes a connection to a channel that it is not subscribed to yet.
    fn subscribe_by_order(&mut self, place: Place, ordered: &OrderedSubscription) {
        let Ok(name) = ChannelName::parse(&ordered.channel) else { return };
        let Some(namespace) = self.hub.namespace(&name).cloned() else { return };
        let known = self.by_name.get(&name).copied();
        let expired = ordered.expire_at.is_some_and(|at| at.saturating_mul(1000) <= self.wall_ms());
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        if expired || known.is_some_and(|slot| connection.subscription(slot).is_some()) {
            return;
        }
        let with_ids = self.options.wires[usize::from(connection.wire)].has_ids();
        let limit = self.options.client.channel_limit.min(if with_ids { POSITIONS_MAX } else { usize::MAX });
        if connection.subscriptions.len() >= limit {
            self.flush_replies(place.index);
            return self.close(place.index, Disconnect::CHANNEL_LIMIT);
        }
        let recover = ordered.since.clone().map(|(offset, epoch)| Since { offset, epoch });
        let wish = Subscribe { recover, ..Subscribe::default() };
        let subscription = ServerSubscription {
            channel: ordered.channel.clone(),
            info: ordered.info.clone().into(),
            data: ordered.data.clone().into(),
            overrides: ordered.overrides,
        };
        let mut grant = connection.session.server_grant(&namespace.options, &name, &subscription, &wish);
        grant.expire_at_ms = ordered.expire_at.map(|at| at.saturating_mul(1000));
        let asked = match connection.connecting() {
            Some(connecting) => {
                connecting.left += 1;
                Asked::Connect
            }
            None => Asked::Order,
        };
        match self.slot_of(name) {
            Ok(slot) => self.begin(place, Waiting::new(slot, grant, asked)),
            Err(_) => self.close(place.index, Disconnect::SERVER_ERROR),
        }
        self.flush_replies(place.index);
    }

    /// A subscription that a backend ordered can begin, or cannot: then the connection ends, because nobody else would
    /// know that it is missing.
    pub(crate) fn started_by_order(&mut self, place: Place, waiting: Waiting, result: Result<Start, ErrorCode>) {
        let Some(name) = self.channels.get(waiting.slot).map(|c| c.name.clone()) else { return };
        let start = match result {
            Ok(start) => start,
            Err(code) => {
                tracing::debug!(?code, "a subscription that was ordered cannot begin");
                return self.end(place, Some(Disconnect::SERVER_ERROR));
            }
        };
        let (told, beginning) = begin_at(waiting, start, true);
        self.push(place.index, &Push::Subscribed { channel: name.as_str(), result: &told });
        self.go_live(place, beginning);
    }
}
