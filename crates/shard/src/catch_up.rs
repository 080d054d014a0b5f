//! Subscriptions that are behind read on from their cursors: from the window, or through the hub from the log.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_core::{ReadAfter, ReplyTo, Ticket};
use tidegate_protocol::Data;
use tidegate_types::codes::{Disconnect, Unsubscribe};
use tidegate_types::limits::{CATCH_UP_BYTES, CATCH_UPS_PER_TURN_MAX};
use tidegate_types::{ClientId, Offset, Publication};

use crate::channel::Deltas;
use crate::ids::Progress;
use crate::output::Sent;
use crate::shard::Shard;
use crate::slab::Place;
use crate::tls;

/// Whether a publication is not for this session.
fn is_excluded(publication: &Publication, client: ClientId) -> bool {
    let excluded = publication.meta.as_ref().and_then(|meta| meta.exclude.as_deref());
    excluded.and_then(ClientId::parse) == Some(client)
}

impl Shard {
    /// Serves some of the connections that have something to catch up with, one page each.
    pub(crate) fn catch_up(&mut self) {
        for _ in 0..self.catching_up.len().min(CATCH_UPS_PER_TURN_MAX) {
            let Some(place) = self.catching_up.pop_front() else { return };
            if self.connections.is_at(place) && self.catch_up_one(place) {
                self.catching_up.push_back(place);
            }
        }
    }

    /// One page for the first subscription of a connection that is behind and not waiting for the log, which is the last
    /// one from then on: they take turns. Whether there may be more to do at once.
    fn catch_up_one(&mut self, place: Place) -> bool {
        let Some(connection) = self.connections.get_mut(place.index) else { return false };
        if connection.blocked.is_some() || connection.behind == 0 {
            return false;
        }
        let behind = connection.subscriptions.iter().enumerate().filter(|(_, s)| s.reading == 0).find_map(|(at, s)| {
            let entry = self.channels.get(s.slot)?.entries.get(s.entry as usize)?;
            entry.behind.then_some((at, s.slot, s.entry, entry.cursor, s.replaying))
        });
        let Some((at, slot, entry, cursor, replaying)) = behind else { return false };
        if connection.behind > 1 {
            connection.subscriptions[at..].rotate_left(1);
        }
        let Some(channel) = self.channels.get(slot) else { return false };
        match self.hub.read_after(&channel.hub, Offset(cursor), CATCH_UP_BYTES) {
            ReadAfter::Publications(publications) if publications.is_empty() => self.live_again(place, slot, entry),
            ReadAfter::Publications(publications) => self.send_page(place, slot, &publications),
            ReadAfter::NeedsLog if self.is_strict(slot) && !replaying => self.doom(place, Some(Disconnect::SLOW)),
            ReadAfter::NeedsLog => self.ask_log(place, slot, cursor),
            ReadAfter::Lost => self.lose(place, slot),
        }
        true
    }

    fn live_again(&mut self, place: Place, slot: u32, entry: u32) {
        if let Some(entry) = self.channels.get_mut(slot).and_then(|c| c.entries.get_mut(entry as usize)) {
            entry.behind = false;
        }
        if let Some(connection) = self.connections.get_mut(place.index) {
            connection.behind -= 1;
            self.metrics.behind.add(-1);
            if let Some(subscription) = connection.subscription(slot) {
                subscription.replaying = false;
            }
        }
    }

    fn ask_log(&mut self, place: Place, slot: u32, cursor: u64) {
        let Some(subscription) = self.connections.get_mut(place.index).and_then(|c| c.subscription(slot)) else {
            return;
        };
        // By the slot an answer would find also who took it over meanwhile.
        self.reads = self.reads.checked_add(1).unwrap_or(1);
        subscription.reading = self.reads;
        let Some(channel) = self.channels.get(slot) else { return };
        let ticket = Ticket { connection: place.index, generation: place.generation, command: self.reads };
        let reply_to = ReplyTo { shard: self.id, ticket };
        self.hub.read_behind(&channel.hub, Offset(cursor), CATCH_UP_BYTES, reply_to);
    }

    /// The stream has a hole that nobody can fill: the client is told, subscribes again and recovers what it can.
    fn lose(&mut self, place: Place, slot: u32) {
        self.metrics.insufficient_state.add(1);
        self.end_subscription(place, slot, Unsubscribe::INSUFFICIENT_STATE);
    }

    /// What the log had for a subscription that was behind, after its cursor and up to `until`, by the number of the read.
    pub(crate) fn read_back(&mut self, place: Place, read: u32, until: Offset, result: ReadAfter) {
        if !self.connections.is_at(place) {
            return;
        }
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let blocked = connection.blocked.is_some();
        let Some(subscription) = connection.subscriptions.iter_mut().find(|s| s.reading == read) else { return };
        subscription.reading = 0;
        let slot = subscription.slot;
        match result {
            ReadAfter::Lost => return self.lose(place, slot),
            ReadAfter::Publications(publications) if publications.is_empty() => {
                // The log has nothing there, so the cursor may stand where the window goes on.
                let entry = subscription.entry as usize;
                if let Some(entry) = self.channels.get_mut(slot).and_then(|c| c.entries.get_mut(entry)) {
                    entry.has_nothing_before(until.0 + 1);
                }
            }
            ReadAfter::Publications(publications) if !blocked => self.send_page(place, slot, &publications),
            ReadAfter::Publications(_) | ReadAfter::NeedsLog => {}
        }
        self.catching_up.push_back(place);
    }

    /// Sends publications after the cursor of a subscription that is behind, up to a page of bytes.
    fn send_page(&mut self, place: Place, slot: u32, publications: &[Arc<Publication>]) {
        let mut ids = self.connections.get(place.index).and_then(|c| {
            let has_ids = self.options.wires[usize::from(c.wire)].has_ids();
            has_ids.then(|| self.ids(place.index, slot))
        });
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        let wire = &self.options.wires[usize::from(connection.wire)];
        let Some((entry, replaying)) = connection.subscription(slot).map(|s| (s.entry, s.replaying)) else { return };
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let Some(entry) = channel.entries.get_mut(entry as usize) else { return };
        let client = connection.session.client_id();
        let data = if entry.deltas == Deltas::Off { Data::Plain } else { Data::Whole };
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let mut ends: Vec<(u64, usize)> = Vec::with_capacity(publications.len());
        for publication in publications.iter().filter(|p| p.offset.0 > entry.cursor) {
            if frames.len() >= CATCH_UP_BYTES {
                break;
            }
            if is_excluded(publication, client) {
                // It counts as sent, in no bytes.
                ends.push((publication.offset.0, frames.len()));
                continue;
            }
            // Each on its own: what the subscriber has of the stream need not be what comes before here.
            let name = channel.name.as_str();
            match &mut ids {
                None => wire.publication(name, publication, data, &mut self.message, &mut frames),
                Some(ids) => {
                    let mut message = Vec::new();
                    wire.publication(name, publication, data, &mut self.message, &mut message);
                    wire.frame_with_id(ids.at(publication.offset.0), &message, &mut frames);
                }
            }
            ends.push((publication.offset.0, frames.len()));
        }
        let sent = match frames.is_empty() {
            true => Some(Sent { taken: 0, blocked: false }),
            false => tls::send(connection, &frames, &mut self.records),
        };
        match sent {
            Some(Sent { taken: sent, blocked }) => {
                self.metrics.sent_bytes.add(sent as u64);
                let Progress { delivered, cut } = Progress::of(&ends, sent);
                if let Some((offset, _)) = delivered.checked_sub(1).and_then(|i| ends.get(i)) {
                    entry.advance(*offset);
                    let last = publications.iter().find(|p| p.offset.0 == *offset);
                    if entry.deltas == Deltas::Based && last.is_some_and(|p| is_excluded(p, client)) {
                        entry.deltas = Deltas::Baseless;
                    }
                }
                self.metrics.deliveries.add(delivered as u64);
                if blocked {
                    let rest = cut.map_or(Bytes::new(), |end| Bytes::copy_from_slice(&frames[sent..end]));
                    self.block(place.index, rest);
                    if !replaying {
                        self.lag(slot, place.index);
                    }
                }
            }
            None => self.doom(place, None),
        }
        self.frames = frames;
    }
}
