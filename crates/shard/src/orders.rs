//! Orders of a backend for connections of this shard: the server API's `disconnect`, `unsubscribe` and `refresh`.
//!
//! Every shard of every node gets every order and looks for the sessions that it names; most have none.

use tidegate_core::{Action, Order};
use tidegate_protocol::Push;
use tidegate_types::codes::{Disconnect, Unsubscribe};

use crate::connection::Connection;
use crate::shard::Shard;
use crate::slab::Place;

/// Whether an order is for this connection.
fn is_named(order: &Order, connection: &Connection) -> bool {
    let session = &connection.session;
    session.is_open()
        && (order.user.is_empty() || session.user() == order.user)
        && (order.client.is_empty() || session.client_id().to_string() == order.client)
        && (order.session.is_empty() || connection.uplink.as_ref().is_some_and(|key| key.is(&order.session)))
}

impl Shard {
    /// Carries an order out.
    pub(crate) fn obey(&mut self, order: &Order) {
        let indices = self.connections.indices().into_iter();
        let named = |index: &u32| self.connections.get(*index).is_some_and(|c| is_named(order, c));
        let places: Vec<Place> = indices.filter(named).map(|index| self.connections.place(index)).collect();
        for place in places {
            match &order.action {
                Action::Disconnect { code, reason, whitelist } => self.disconnect(place, *code, reason, whitelist),
                Action::Unsubscribe { channel } => {
                    if let Some(slot) = self.by_name.get(channel.as_str()).copied()
                        && self.connections.get_mut(place.index).is_some_and(|c| c.subscription(slot).is_some())
                    {
                        self.end_subscription(place, slot, Unsubscribe::SERVER);
                    }
                }
                Action::Refresh { expire_at } => self.set_expiry(place, *expire_at),
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

    fn set_expiry(&mut self, place: Place, expire_at: Option<i64>) {
        let now_ms = self.wall_ms();
        if expire_at.is_some_and(|at| at.saturating_mul(1000) <= now_ms) {
            return self.close(place.index, Disconnect::EXPIRED);
        }
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let ttl_seconds = connection.session.set_expiry(expire_at, now_ms);
        self.push(place.index, &Push::Refreshed { ttl_seconds });
        self.flush_replies(place.index);
        self.set_alarm(place.index);
    }
}
