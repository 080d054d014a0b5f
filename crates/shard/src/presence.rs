//! Subscribers who show in presence, and those who are told of joins and leaves.
//!
//! Who is present is decided by the control log and not here: a shard says what its clients do, and tells its subscribers
//! what came of it.

use bytes::Bytes;
use tidegate_core::{CHANNELS_MAX, Change, ChannelCounts, ChannelPattern};
use tidegate_protocol::Push;
use tidegate_types::ClientId;

use crate::connection::Subscription;
use crate::shard::Shard;
use crate::slab::Place;

impl Shard {
    /// A subscription has begun: others see it, and it is told of others, as it was granted.
    pub(crate) fn appear(&mut self, place: Place, slot: u32, chan_info: Bytes) {
        let Some(control) = self.hub.control().cloned() else { return };
        let Some(channel) = self.channels.get(slot) else { return };
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let Some(subscription) = connection.subscription(slot) else { return };
        let present = subscription.present;
        if subscription.join_leave {
            control.watch(&channel.name, self.id);
        }
        if present {
            let mut info = connection.session.info();
            info.chan_info = chan_info;
            if let Err(error) = control.join(&channel.name, connection.session.client_id(), info) {
                // Only where the server made the subscription: a client that asks for one is refused.
                tracing::warn!(%error, channel = channel.name.as_str(), "a client does not show in presence");
            }
        }
    }

    /// A subscription ends. `away`: its connection broke, and its user may be back.
    pub(crate) fn disappear(&self, subscription: &Subscription, client: ClientId, away: bool) {
        if !subscription.present && !subscription.join_leave {
            return;
        }
        let Some(control) = self.hub.control() else { return };
        let Some(channel) = self.channels.get(subscription.slot) else { return };
        if subscription.join_leave {
            control.unwatch(&channel.name, self.id);
        }
        if subscription.present {
            control.leave(&channel.name, client, away);
        }
    }

    /// Channels with subscribers here.
    pub(crate) fn count_channels(&self, pattern: &ChannelPattern) -> ChannelCounts {
        let channels = self.channels.indices().into_iter().filter_map(|slot| self.channels.get(slot));
        let matching = channels.filter(|c| !c.entries.is_empty() && pattern.matches(c.name.as_str()));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        // One more than an answer may name says that there are too many.
        let matching = matching.take(CHANNELS_MAX + 1);
        matching.map(|c| (c.name.shared().clone(), count(c.entries.len()))).collect()
    }

    /// Tells a join or a leave to the subscribers who want to know.
    pub(crate) fn tell_of(&mut self, change: &Change) {
        let Some(slot) = self.by_name.get(&*change.channel).copied() else { return };
        // What begins a subscription goes before what it is told.
        if let Some(place) = self.batch_of {
            self.flush_replies(place.index);
        }
        let Some(channel) = self.channels.get(slot) else { return };
        // Few are told of what many do: the others' connections are not looked at.
        let told = channel.entries.iter().filter(|entry| entry.join_leave);
        let told: Vec<(u32, u8)> = told.map(|entry| (entry.connection, entry.wire)).collect();
        let push = match change.joined {
            true => Push::Joined { channel: &change.channel, info: &change.info },
            false => Push::Left { channel: &change.channel, info: &change.info },
        };
        let mut frames: Vec<Option<Bytes>> = vec![None; self.options.wires.len()];
        for (index, wire) in told {
            let wire = usize::from(wire);
            let frame = frames[wire].get_or_insert_with(|| self.options.wires[wire].push_frame(&push));
            let frame = frame.clone();
            self.send_control(index, frame);
        }
    }
}
